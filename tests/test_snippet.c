/* SPDX-License-Identifier: MIT */
/* The README's snippet that decodes: run as it stands there, its outputs are those of one call. */
#include "harness.h"
#include "snippets_readme.h"

#include <math.h>
#include <string.h>

enum {
    TOKENS = T + 7,
    ROW = H * D,
};

dj_context *gpu;
dj_attention *plan;
struct dj_attention_args args;
float q[T * H * D], k[T * H * D], v[T * H * D], o[T * H * D];

void snippet_1(void); /* of the file that snippets.awk makes */

static uint32_t made;               /* tokens whose rows the model has given out */
static float outputs[TOKENS * ROW]; /* of each token, as the model was told them */

/* The rows of tokens first .. first + count - 1; any will do. */
static void make_rows(uint32_t first, uint32_t count, float *query, float *key, float *value)
{
    for (uint32_t i = 0; i < count * ROW; i++) {
        const float place = (float)(first * ROW + i);
        query[i] = sinf(place);
        key[i] = sinf(2 * place);
        value[i] = sinf(3 * place);
    }
}

int next_token(float *query, float *key, float *value, const float *output)
{
    memcpy(outputs + (made - 1) * ROW, output, ROW * sizeof(float));
    if (made == TOKENS)
        return 0;
    make_rows(made++, 1, query, key, value);
    return 1;
}

/* args.q, k and v with those tokens' rows in them, and args.o. */
static void make_tensors(uint32_t tokens)
{
    static float rows[3][TOKENS * ROW];
    const uint64_t shape[4] = {1, tokens, H, D};
    struct dj_tensor *const tensors[4] = {&args.q, &args.k, &args.v, &args.o};
    make_rows(0, tokens, rows[0], rows[1], rows[2]);
    for (int n = 0; n < 4; n++)
        HARNESS_OK(dj_tensor_create(gpu, DJ_FLOAT32, shape, n < 3 ? rows[n] : NULL, tensors[n]));
}

static void destroy_tensors(void)
{
    dj_buffer_destroy(&args.q.buffer);
    dj_buffer_destroy(&args.k.buffer);
    dj_buffer_destroy(&args.v.buffer);
    dj_buffer_destroy(&args.o.buffer);
}

static void decoding_attends_as_one_call_does(void **state)
{
    (void)state;
    float t[D];
    static float want[TOKENS * ROW];
    static double last[(TOKENS - T + 1) * ROW]; /* from the prompt's last token on */
    dj_features *features;
    HARNESS_OK(dj_frequencies_draw(D, 1, t));
    for (uint32_t i = 0; i < harness_device_count(); i++) {
        gpu = harness_context(i);
        HARNESS_OK(dj_features_create(gpu, &(struct dj_features_params){.dim = D, .frequencies = t},
                                      &features));
        HARNESS_OK(
            dj_attention_create(gpu, &(struct dj_attention_params){.heads = H, .dim = D}, &plan));
        args = (struct dj_attention_args){.features = features};
        make_tensors(TOKENS);
        HARNESS_OK(dj_attention_run(plan, &args));
        harness_read(args.o.buffer, 0, want, sizeof(want));
        destroy_tensors();
        for (size_t n = 0; n < sizeof(last) / sizeof(last[0]); n++)
            last[n] = (double)want[(T - 1) * ROW + n];

        memset(outputs, 0xff, sizeof(outputs));
        made = T;
        make_tensors(T);
        snippet_1();
        destroy_tensors();
        assert_null(args.state);
        assert_int_equal(made, TOKENS);
        harness_assert_within(
            harness_error(outputs + (T - 1) * ROW, last, sizeof(last) / sizeof(last[0])), 1e-5,
            "decoding by the README's snippet");
        dj_attention_destroy(&plan);
        dj_features_destroy(&features);
    }
}

static const struct CMUnitTest tests[] = {
    HARNESS_TEST(decoding_attends_as_one_call_does),
};

HARNESS_MAIN(tests)
