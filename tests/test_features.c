/* SPDX-License-Identifier: MIT */
#include "harness.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int compare(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double normal_distribution(double x)
{
    return 0.5 * erfc(-x / sqrt(2));
}

/* Whatever the order, the numbers are the normal quantiles of (i + 1/2) / count. */
static void draws_midpoint_quantiles(void **state)
{
    (void)state;
    const uint32_t counts[] = {1, 2, 3, 4, 64, 80, 255, 256, 1000, 65536};
    for (size_t n = 0; n < sizeof(counts) / sizeof(*counts); n++) {
        const uint32_t count = counts[n];
        float *x = malloc(count * sizeof(*x));
        assert_non_null(x);
        HARNESS_OK(dj_frequencies_draw(count, harness_random(), x));
        qsort(x, count, sizeof(*x), compare);
        for (uint32_t i = 0; i < count; i++) {
            const double u = (i + 0.5) / count;
            /* by how much x is off, to first order: float32 rounding and no more */
            const double density = exp(-0.5 * x[i] * x[i]) / sqrt(2 * acos(-1.0));
            const double off = (normal_distribution(x[i]) - u) / density;
            if (!(fabs(off) <= 2e-7 * fmax(1, fabs((double)x[i]))))
                fail_msg("count %u: %g is not the quantile of %g, off by %g", count, x[i], u, off);
        }
        free(x);
    }
}

static void draw_depends_on_seed_alone(void **state)
{
    (void)state;
    float a[256], b[256], c[256];
    HARNESS_OK(dj_frequencies_draw(256, 7, a));
    HARNESS_OK(dj_frequencies_draw(256, 7, b));
    HARNESS_OK(dj_frequencies_draw(256, 8, c));
    assert_memory_equal(a, b, sizeof(a));
    assert_memory_not_equal(a, c, sizeof(a));
    qsort(b, 256, sizeof(*b), compare);
    assert_memory_not_equal(a, b, sizeof(a)); /* shuffled */
}

static void draw_refuses_null(void **state)
{
    (void)state;
    float untouched = 42;
    HARNESS_OK(dj_frequencies_draw(0, 1, NULL));
    HARNESS_OK(dj_frequencies_draw(0, 1, &untouched));
    assert_true(untouched == 42);
    HARNESS_RESULT(dj_frequencies_draw(1, 1, NULL), DJ_ERROR_INVALID_ARGUMENT);
}

/* A value that breaks a rule, in params that are otherwise right. */
struct mutation {
    const char *name;
    dj_result result;
    void (*apply)(struct dj_features_params *params, float *frequencies, float *weights);
};

#define MUTATION(name, ...) \
    static void name(struct dj_features_params *params, float *frequencies, float *weights) \
    { \
        (void)params; \
        (void)frequencies; \
        (void)weights; \
        __VA_ARGS__ \
    }

MUTATION(unknown_map, params->map = 2;)
MUTATION(dim_zero, params->dim = 0;)
MUTATION(dim_no_multiple, params->dim = 62;)
MUTATION(dim_too_large, params->dim = 260;)
MUTATION(no_frequencies, params->frequencies = NULL;)
MUTATION(frequency_nan, frequencies[100] = NAN;)
MUTATION(frequency_inf, frequencies[0] = -INFINITY;)
MUTATION(weight_nan, weights[127] = NAN;)
MUTATION(weight_inf, weights[5] = INFINITY;)
MUTATION(head_without_feature, memset(weights + 64, 0, 64 * sizeof(*weights));)
MUTATION(weights_of_softmax, params->map = DJ_MAP_SOFTMAX_DCT;)
MUTATION(reserved_set, params->reserved[3] = 1;)

static const struct mutation mutations[] = {
    {"unknown map", DJ_ERROR_INVALID_ARGUMENT, unknown_map},
    {"dim 0", DJ_ERROR_INVALID_ARGUMENT, dim_zero},
    {"dim 62", DJ_ERROR_INVALID_ARGUMENT, dim_no_multiple},
    {"dim 260", DJ_ERROR_INVALID_ARGUMENT, dim_too_large},
    {"no frequencies", DJ_ERROR_INVALID_ARGUMENT, no_frequencies},
    {"frequency NaN", DJ_ERROR_INVALID_ARGUMENT, frequency_nan},
    {"frequency Inf", DJ_ERROR_INVALID_ARGUMENT, frequency_inf},
    {"weight NaN", DJ_ERROR_INVALID_ARGUMENT, weight_nan},
    {"weight Inf", DJ_ERROR_INVALID_ARGUMENT, weight_inf},
    {"a head without a feature", DJ_ERROR_INVALID_ARGUMENT, head_without_feature},
    {"weights of the softmax map", DJ_ERROR_UNSUPPORTED, weights_of_softmax},
    {"reserved", DJ_ERROR_VERSION, reserved_set},
};

static void invalid_params_are_refused(void **state)
{
    (void)state;
    dj_context *context = harness_context(0);
    float frequencies[128], weights[128];
    for (size_t i = 0; i <= sizeof(mutations) / sizeof(*mutations); i++) {
        harness_fill_normal(frequencies, 128, 1);
        for (size_t n = 0; n < 128; n++)
            weights[n] = 1;
        struct dj_features_params params = {
            .dim = 64, .heads = 2, .frequencies = frequencies, .weights = weights};
        dj_features *features = (void *)&params;           /* must become NULL on failure */
        if (i == sizeof(mutations) / sizeof(*mutations)) { /* without a mutation it is right */
            HARNESS_OK(dj_features_create(context, &params, &features));
            dj_features_destroy(&features);
            assert_null(features);
            continue;
        }
        mutations[i].apply(&params, frequencies, weights);
        harness_log_clear();
        harness_assert_result(dj_features_create(context, &params, &features), mutations[i].result,
                              mutations[i].name, __FILE__, __LINE__);
        assert_null(features);
        assert_true(harness_log_last()[0] != 0);
    }
}

static void null_is_refused_or_accepted(void **state)
{
    (void)state;
    float frequencies[4] = {0};
    const struct dj_features_params params = {.dim = 4, .frequencies = frequencies};
    dj_features *features = NULL;
    HARNESS_RESULT(dj_features_create(NULL, &params, &features), DJ_ERROR_INVALID_ARGUMENT);
    HARNESS_RESULT(dj_features_create(harness_context(0), NULL, &features),
                   DJ_ERROR_INVALID_ARGUMENT);
    HARNESS_RESULT(dj_features_create(harness_context(0), &params, NULL),
                   DJ_ERROR_INVALID_ARGUMENT);
    dj_features_destroy(&features);
    dj_features_destroy(NULL);
}

static const struct CMUnitTest tests[] = {
    HARNESS_TEST(draws_midpoint_quantiles),    HARNESS_TEST(draw_depends_on_seed_alone),
    HARNESS_TEST(draw_refuses_null),           HARNESS_TEST(invalid_params_are_refused),
    HARNESS_TEST(null_is_refused_or_accepted),
};

HARNESS_MAIN(tests)
