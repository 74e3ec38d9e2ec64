/* SPDX-License-Identifier: MIT */
/* Exact softmax attention and Linformer: the two systems that are not linear in the tokens. */
#include "problem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* k = K u + 0.5 g, q = 0.5 g with one direction u: large logits, small differences. */
static void make_near_ties(struct problem *p, double K)
{
    const struct twin_attention *t = &p->twin;
    double u[256], norm = 0;
    for (size_t c = 0; c < t->dim; c++) {
        u[c] = harness_normal();
        norm += u[c] * u[c];
    }
    harness_fill_normal(p->q, twin_q_size(t), 0.5);
    for (size_t i = 0; i < twin_k_size(t); i++)
        p->k[i] = (float)(K * u[i % t->dim] / sqrt(norm) + 0.5 * harness_normal());
}

static void lengths_around_tiles(void **state)
{
    (void)state;
    static const size_t lengths[] = {0, 1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 300};
    for (int full = 0; full < 2; full++)
        for (size_t n = 0; n < sizeof(lengths) / sizeof(*lengths); n++)
            problem_test_random(&(struct problem_params){SHAPE(2, lengths[n], 3, 12, 20),
                                                         .map = DJ_MAP_SOFTMAX, .full = full},
                                (enum layout)(n % LAYOUT_COUNT), "softmax");
}

static void head_dimensions(void **state)
{
    (void)state;
    static const size_t d[] = {4, 36, 64, 80, 128, 252, 256};
    static const size_t e[] = {256, 4, 64, 80, 12, 44, 252};
    for (size_t n = 0; n < sizeof(d) / sizeof(*d); n++)
        for (int full = 0; full < 2; full++)
            problem_test_random(&(struct problem_params){SHAPE(1, 70, 2, d[n], e[n]),
                                                         .map = DJ_MAP_SOFTMAX, .full = full},
                                (enum layout)(n % LAYOUT_COUNT), "softmax, d and e");
}

static void long_rows(void **state)
{
    (void)state;
    for (int full = 0; full < 2; full++)
        problem_test_random(&(struct problem_params){SHAPE(1, 1000, 2, 64, 64), .full = full,
                                                     .map = DJ_MAP_SOFTMAX, .key_heads = 1},
                            LAYOUT_PLAIN, "softmax of 1000 tokens");
}

static void near_ties(void **state)
{
    (void)state;
    static const double K[] = {30, 300, 1000};
    for (int n = 0; n < 12; n++) {
        struct problem p;
        problem_init(&p, &(struct problem_params){SHAPE(1, 200, 2, 64, 16), .full = n & 1,
                                                  .map = DJ_MAP_SOFTMAX, .key_heads = n & 2 ? 1 : 2,
                                                  .scale = n & 2 ? 1 : 0});
        make_near_ties(&p, K[n / 4]);
        problem_test(&p, LAYOUT_PLAIN, "softmax of near ties");
        problem_finish(&p);
    }
}

/* Logits that grow, shrink or jump along the keys: the running maximum moves all the time. */
static void magnitudes_differ(void **state)
{
    (void)state;
    for (int n = 0; n < 8; n++) {
        struct problem p;
        problem_init(&p, &(struct problem_params){SHAPE(1, 150, 2, 16, 8), .map = DJ_MAP_SOFTMAX,
                                                  .full = n & 1, .scale = 1});
        const size_t row = 2 * 16;
        for (size_t j = 0; j < 150; j++) {
            const double at = (double)j / 150;
            const double factor = n < 2   ? pow(10, 4 * at - 2)
                                  : n < 4 ? pow(10, 2 - 4 * at)
                                  : n < 6 ? pow(10, 6 * harness_uniform() - 3)
                                          : (j % 32 == 7 ? 300 : 1);
            for (size_t c = 0; c < row; c++)
                p.k[j * row + c] *= (float)factor;
        }
        problem_test(&p, LAYOUT_PLAIN, "softmax of magnitudes");
        problem_finish(&p);
    }
}

/* Logits of 1e35: one key wins every row, and the answer lies between the values. */
static void huge_logits_stay_finite(void **state)
{
    (void)state;
    for (int map = DJ_MAP_SOFTMAX; map <= DJ_MAP_LINFORMER; map++) {
        struct problem p;
        struct placed placed;
        problem_init(&p,
                     &(struct problem_params){SHAPE(1, 60, 2, 16, 4), .sigma = 1e17, .map = map});
        if (map == DJ_MAP_LINFORMER) /* means of the values, so that they bound the answer */
            for (size_t i = 0; i < 16 * 60; i++)
                p.value_projection[i] = 1.f / 60;
        problem_place(&p, harness_context(0), LAYOUT_PLAIN, &placed);
        HARNESS_OK(dj_attention_run(placed.plan, &placed.args));
        float *got = placed_output(&placed);
        for (size_t i = 0; i < 60 * 2 * 4; i++)
            if (!(fabsf(got[i]) < 6))
                fail_msg("map %d, element %zu is %g", map, i, got[i]);
        free(got);
        placed_finish(&placed);
        problem_finish(&p);
    }
}

/* Identical keys: the plain mean of what is seen, however large the logit. */
static void identical_keys_give_the_mean(void **state)
{
    (void)state;
    for (int full = 0; full < 2; full++) {
        struct problem p;
        problem_init(&p, &(struct problem_params){SHAPE(1, 700, 1, 8, 4), .full = full,
                                                  .map = DJ_MAP_SOFTMAX, .sigma = 30});
        for (size_t i = 8; i < 700 * 8; i++)
            p.k[i] = p.k[i % 8];
        float *got = problem_run(&p, 0, LAYOUT_PLAIN);
        double total[4] = {0}, sum[4] = {0};
        for (size_t i = 0; i < 700 * 4; i++)
            total[i % 4] += p.v[i];
        for (size_t i = 0; i < 700 * 4; i++) {
            sum[i % 4] += p.v[i];
            const double want = full ? total[i % 4] / 700 : sum[i % 4] / (double)(i / 4 + 1);
            if (!(fabs(got[i] - want) <= 1e-5))
                fail_msg("element %zu: %g, should be %g", i, got[i], want);
        }
        free(got);
        problem_finish(&p);
    }
}

static void scales_heads_and_spans(void **state)
{
    (void)state;
    static const float scales[] = {0, 1, 0.02f};
    for (unsigned n = 0; n < 24; n++) {
        const bool full = n & 1, packed = n % 3 == 2;
        problem_test_random(
            &(struct problem_params){SHAPE(packed ? 1 : 3, packed ? 150 : 50, 6, 16, 8),
                                     .map = DJ_MAP_SOFTMAX, .key_heads = n & 2 ? 2 : 1,
                                     .full = full, .cross = full, .query_tokens = 70,
                                     .scale = scales[n / 8], .spans = n % 3, .query_spans = n % 3,
                                     .sequences = 9, .device_spans = n & 4},
            (enum layout)(n % LAYOUT_COUNT), "softmax of spans");
    }
}

static void storage_types(void **state)
{
    (void)state;
    for (uint32_t n = 0; n < 18; n++)
        problem_test_random(
            &(struct problem_params){SHAPE(2, 60, 2, 20, 12), .full = n & 1, .q_type = n % 3,
                                     .map = n < 9 ? DJ_MAP_SOFTMAX : DJ_MAP_LINFORMER,
                                     .k_type = n / 3 % 3, .v_type = (n + 1) % 3,
                                     .o_type = (n / 3 + n) % 3},
            (enum layout)(n % LAYOUT_COUNT), "types");
}

static void linformer_projects(void **state)
{
    (void)state;
    static const struct {
        size_t T, m;
    } cases[] = {{40, 1}, {40, 2},   {33, 16}, {64, 32},   {100, 33},  {65, 64},
                 {1, 8},  {300, 60}, {31, 63}, {200, 256}, {70, 1023}, {1000, 128}};
    for (size_t n = 0; n < sizeof(cases) / sizeof(*cases); n++)
        problem_test_random(&(struct problem_params){SHAPE(2, cases[n].T, 4, 12, 8),
                                                     .map = DJ_MAP_LINFORMER,
                                                     .features = cases[n].m, .own_numbers = n & 1,
                                                     .key_heads = n % 3 == 1 ? 2 : 0},
                            (enum layout)(n % LAYOUT_COUNT), "Linformer");
}

static void linformer_head_dimensions(void **state)
{
    (void)state;
    static const size_t d[] = {4, 64, 256, 80}, e[] = {252, 128, 4, 36};
    for (size_t n = 0; n < 4; n++)
        for (int own = 0; own < 2; own++)
            problem_test_random(&(struct problem_params){SHAPE(1, 50, 2, d[n], e[n]),
                                                         .map = DJ_MAP_LINFORMER, .features = 24,
                                                         .own_numbers = own, .cross = true,
                                                         .query_tokens = own ? 33 : 80},
                                LAYOUT_SLICED, "Linformer, d and e");
}

static void linformer_near_ties(void **state)
{
    (void)state;
    static const double K[] = {30, 300, 1000};
    for (size_t n = 0; n < 3; n++) {
        struct problem p;
        problem_init(&p, &(struct problem_params){SHAPE(1, 64, 2, 64, 8), .map = DJ_MAP_LINFORMER,
                                                  .features = 48, .scale = 1});
        make_near_ties(&p, K[n]);
        for (size_t i = 0; i < 48 * 64; i++) /* means: what is near stays near */
            p.key_projection[i] = (float)(1 + 0.001 * harness_normal()) / 64;
        problem_test(&p, LAYOUT_PLAIN, "Linformer of near ties");
        problem_finish(&p);
    }
}

/* Its T in whole rows of keys; anything else is refused. Queries may lie in any spans. */
static void linformer_has_its_number_of_tokens(void **state)
{
    (void)state;
    static const struct {
        size_t tokens;
        uint32_t spans;
        dj_result result;
    } cases[] = {{40, DJ_SPANS_WHOLE, DJ_SUCCESS},
                 {0, DJ_SPANS_WHOLE, DJ_ERROR_TOKEN_COUNT},
                 {39, DJ_SPANS_WHOLE, DJ_ERROR_TOKEN_COUNT},
                 {41, DJ_SPANS_WHOLE, DJ_ERROR_TOKEN_COUNT},
                 {40, DJ_SPANS_PADDED, DJ_ERROR_TOKEN_COUNT}};
    struct problem_params params = {SHAPE(3, 40, 2, 8, 8),
                                    .map = DJ_MAP_LINFORMER,
                                    .features = 12,
                                    .max_tokens = 40,
                                    .cross = true,
                                    .query_tokens = 50,
                                    .query_spans = DJ_SPANS_PADDED};
    struct problem p;
    problem_init(&p, &params);
    struct made made = problem_make(&p, 0);
    for (size_t n = 0; n < 2 * sizeof(cases) / sizeof(*cases); n++) {
        struct placed placed;
        params.tokens = cases[n / 2].tokens;
        params.spans = cases[n / 2].spans;
        params.device_spans = n & 1;
        problem_redraw(&p, &params);
        problem_place_on(&p, made.context, LAYOUT_SLICED, made.plan, made.features, &placed);
        HARNESS_RESULT(dj_attention_run(made.plan, &placed.args), cases[n / 2].result);
        if (cases[n / 2].result == DJ_SUCCESS) {
            problem_solve(&p);
            float *got = placed_output(&placed);
            problem_assert(&p, got, "Linformer's tokens");
            free(got);
        } else {
            harness_assert_poisoned(placed.buffers[3], 0, dj_buffer_size(placed.buffers[3]));
        }
        placed_finish(&placed);
    }
    made_finish(&made);
    problem_finish(&p);
}

/* The zero of every switch is what the header says. */
static void defaults_are_as_documented(void **state)
{
    (void)state;
    for (int map = DJ_MAP_SOFTMAX; map <= DJ_MAP_LINFORMER; map++) {
        struct problem p;
        problem_init(&p, &(struct problem_params){SHAPE(1, 40, 2, 16, 16), .map = map});
        p.plan_params = (struct dj_attention_params){
            .map = (uint32_t)map, .heads = 2, .dim = 16, .max_tokens = p.plan_params.max_tokens};
        problem_test(&p, LAYOUT_PLAIN, "defaults");
        problem_finish(&p);
    }
}

static const struct CMUnitTest tests[] = {
    HARNESS_TEST(lengths_around_tiles),
    HARNESS_TEST(head_dimensions),
    HARNESS_TEST(long_rows),
    HARNESS_TEST(near_ties),
    HARNESS_TEST(magnitudes_differ),
    HARNESS_TEST(huge_logits_stay_finite),
    HARNESS_TEST(identical_keys_give_the_mean),
    HARNESS_TEST(scales_heads_and_spans),
    HARNESS_TEST(storage_types),
    HARNESS_TEST(linformer_projects),
    HARNESS_TEST(linformer_head_dimensions),
    HARNESS_TEST(linformer_near_ties),
    HARNESS_TEST(linformer_has_its_number_of_tokens),
    HARNESS_TEST(defaults_are_as_documented),
};

HARNESS_MAIN(tests)
