/* SPDX-License-Identifier: MIT */
#include "fitted.h"
#include "files.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static char logged[2048];
int fitted_lines;

void fitted_log(void *user, uint32_t level, const char *message)
{
    (void)user;
    (void)level;
    snprintf(logged, sizeof logged, "%s", message);
    fitted_lines++;
}

void fitted_assert_logged(const char *text)
{
    if (strstr(logged, text) == NULL)
        fail_msg("'%s' does not contain '%s'", logged, text);
}

float fitted_queries[2 * FITTED_TOKENS * FITTED_DIM], fitted_keys[2 * FITTED_TOKENS * FITTED_DIM];

struct dj_calibration_params fitted_params(uint64_t seed)
{
    calibration_draw(CALIBRATION_ANIS, seed, 0, FITTED_TOKENS, fitted_queries, fitted_keys);
    return (struct dj_calibration_params){.dim = FITTED_DIM,
                                          .query_count = FITTED_TOKENS,
                                          .key_count = FITTED_TOKENS,
                                          .scale = 1,
                                          .seed = seed,
                                          .queries = fitted_queries,
                                          .keys = fitted_keys,
                                          .log = fitted_log};
}

void fitted_assert_sane(const struct dj_calibration *c)
{
    const size_t sets = c->heads > 0 ? c->heads : 1;
    for (size_t h = 0; h < sets; h++) {
        float most = 0;
        for (size_t i = h * c->features; i < (h + 1) * c->features; i++) {
            assert_true(isfinite(c->frequencies[i]) && isfinite(c->weights[i]));
            assert_true(c->weights[i] >= 0);
            most = fmaxf(most, c->weights[i]);
        }
        assert_true(most > 0);
    }
    assert_true(isfinite(c->error) && c->error >= 0);
}

uint64_t fitted_hash(const struct dj_calibration *c)
{
    const size_t sets = c->heads > 0 ? c->heads : 1;
    uint64_t h = harness_hash(c->frequencies, sets * c->features, HARNESS_HASH);
    h = harness_hash(c->weights, sets * c->features, h);
    return c->directions != NULL ? harness_hash(c->directions, sets * c->features * c->dim, h) : h;
}

int fitted_setup(void **state)
{
    return files_setup(state) != 0 || harness_setup(state) != 0 ? -1 : 0;
}

int fitted_teardown(void **state)
{
    const int result = harness_teardown(state);
    return files_teardown(state) != 0 ? -1 : result;
}
