/* SPDX-License-Identifier: MIT */
/* Every feature map against its twin: options, dimensions, numbers of features, their own rules. */
#include "problem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const float decays[] = {0.97f, 1, 0.3f};

enum {
    FEATURE_MAPS = DJ_MAP_IDENTITY + 1, /* the others have no features */
};

static bool has_weights(int map)
{
    return map == DJ_MAP_WDCF || map == DJ_MAP_PFF || map == DJ_MAP_PRF;
}

/* One plan over lengths around the kernels' tiles of 32 tokens. */
static void test_lengths(struct problem_params params, const char *what)
{
    static const size_t lengths[] = {0, 1, 31, 32, 33, 64, 100};
    if (params.map == DJ_MAP_COSFORMER)
        params.max_tokens = 100;
    for (uint32_t i = 0; i < harness_device_count(); i++)
        problem_test_calls(i, &params, lengths, sizeof(lengths) / sizeof(*lengths), LAYOUT_COUNT,
                           NULL, what);
}

/* Causal or not, normalised or not, with a decay or without. */
static void options_and_lengths(void **state)
{
    (void)state;
    for (int map = 0; map < FEATURE_MAPS; map++) {
        for (int n = 0; n < 6; n++) {
            const bool full = n % 3 == 0, normalise = n >= 3;
            if (normalise && map == DJ_MAP_IDENTITY)
                continue;
            test_lengths((struct problem_params){SHAPE(2, 1, 3, 12, 20), .map = map, .full = full,
                                                 .normalise = normalise, .decay = decays,
                                                 .decay_count = n % 3 == 2 ? 3 : 0,
                                                 .own_numbers = n & 1,
                                                 .weighted = has_weights(map) && n & 2},
                         "options and lengths");
        }
    }
}

/* Odd multiples of 4 for d and e, the smallest, the largest, and what models have; three of them
 * for each map. */
static void head_dimensions(void **state)
{
    (void)state;
    static const size_t d[] = {4, 36, 80, 252, 256, 64}, e[] = {256, 44, 4, 12, 64, 128};
    for (size_t n = 0; n < 3 * FEATURE_MAPS; n++) {
        const int map = (int)(n / 3);
        const size_t at = n * 5 / 3 % 6;
        problem_test_random(
            &(struct problem_params){SHAPE(1, 45, 2, d[at], e[at]), .map = map, .full = n % 4 == 2,
                                     .normalise = map != DJ_MAP_IDENTITY && n % 3 != 1,
                                     .decay = decays, .decay_count = n % 4 == 1 ? 2 : 0},
            (enum layout)(n % LAYOUT_COUNT), "d and e");
    }
}

/* m from 4 to 4 d of WDCF, blocks whole and partial; m of the others below, at and above d. */
static void feature_counts(void **state)
{
    (void)state;
    static const struct {
        int map;
        size_t d, m;
    } cases[] = {
        {DJ_MAP_WDCF, 20, 4},
        {DJ_MAP_WDCF, 20, 16},
        {DJ_MAP_WDCF, 20, 20},
        {DJ_MAP_WDCF, 20, 24},
        {DJ_MAP_WDCF, 20, 40},
        {DJ_MAP_WDCF, 20, 56},
        {DJ_MAP_WDCF, 20, 64},
        {DJ_MAP_WDCF, 20, 80},
        {DJ_MAP_WDCF, 64, 128},
        {DJ_MAP_WDCF, 64, 192},
        {DJ_MAP_WDCF, 64, 256},
        {DJ_MAP_WDCF, 100, 364},
        {DJ_MAP_WDCF, 256, 1024},
        {DJ_MAP_WDCF, 4, 16},
        {DJ_MAP_PFF, 12, 4},
        {DJ_MAP_PFF, 12, 68},
        {DJ_MAP_PFF, 64, 128},
        {DJ_MAP_PFF, 8, 1024},
        {DJ_MAP_PRF, 12, 8},
        {DJ_MAP_PRF, 12, 100},
        {DJ_MAP_PRF, 64, 96},
        {DJ_MAP_PRF, 16, 1024},
        {DJ_MAP_PERFORMER_RELU, 12, 4},
        {DJ_MAP_PERFORMER_RELU, 12, 44},
        {DJ_MAP_PERFORMER_RELU, 64, 256},
        {DJ_MAP_PERFORMER_RELU, 8, 1024},
    };
    for (size_t n = 0; n < sizeof(cases) / sizeof(*cases); n++)
        problem_test_random(
            &(struct problem_params){SHAPE(1, 40, 2, cases[n].d, 12), .map = cases[n].map,
                                     .features = cases[n].m, .normalise = n % 3 != 0,
                                     .full = n % 4 == 1, .own_numbers = n & 1,
                                     .weighted = n & 2 && has_weights(cases[n].map)},
            LAYOUT_PLAIN, "number of features");
}

/* The features themselves, of every block: a key that a single feature reads. With D zero but at
 * feature i, the normalised answer is blind, so this is done without. */
static void features_one_by_one(void **state)
{
    (void)state;
    enum {
        D = 8,
        M = 4 * D
    };
    struct problem p;
    problem_init(&p, &(struct problem_params){SHAPE(1, 3, M, D, 4), .features = M, .sigma = 2,
                                              .weighted = true, .own_numbers = true});
    for (size_t h = 0; h < M; h++)
        for (size_t f = 0; f < M; f++)
            p.weights[h * M + f] = h == f ? -1.25f : 0;
    problem_solve(&p);
    float *got = problem_run(&p, 0, LAYOUT_PLAIN);
    for (size_t h = 0; h < M; h++) {
        for (size_t c = 0; c < 4; c++) {
            const double want = p.want[h * 4 + c];
            if (!(fabs(got[h * 4 + c] - want) <= 64 * p.bound * fabs(want)))
                fail_msg("feature %zu: %g, should be %g", h, got[h * 4 + c], want);
        }
    }
    free(got);
    problem_finish(&p);
}

static void key_normalisation(void **state)
{
    (void)state;
    static const int maps[] = {DJ_MAP_WDCF, DJ_MAP_PFF, DJ_MAP_PRF};
    for (int n = 0; n < 12; n++)
        problem_test_random(
            &(struct problem_params){SHAPE(2, 70, 4, 16, 8), .map = maps[n / 4],
                                     .features = n & 1 ? 40 : 0, .key_heads = n & 2 ? 2 : 0,
                                     .normalise = true, .key_normalise = true, .weighted = n & 1,
                                     .own_numbers = n & 2, .full = n % 4 == 3, .sigma = 3,
                                     .decay = decays, .decay_count = n % 4 == 2 ? 3 : 0},
            (enum layout)(n % LAYOUT_COUNT), "key normalisation");
}

/* A query of 0 sees every key alike, long or short: the output is the plain mean of the values. */
static void key_normalisation_is_exact_at_zero(void **state)
{
    (void)state;
    static const int maps[] = {DJ_MAP_WDCF, DJ_MAP_PFF, DJ_MAP_PRF};
    for (size_t n = 0; n < 3; n++) {
        struct problem p;
        problem_init(&p, &(struct problem_params){SHAPE(1, 50, 1, 32, 4), .map = maps[n],
                                                  .normalise = true, .key_normalise = true,
                                                  .weighted = true, .sigma = 2});
        memset(p.q, 0, twin_q_size(&p.twin) * sizeof(*p.q));
        for (size_t j = 0; j < 50; j++) /* lengths from 1 to 7 times as long */
            for (size_t c = 0; c < 32; c++)
                p.k[j * 32 + c] *= 1 + (float)(j % 7);
        problem_solve(&p);
        float *got = problem_run(&p, 0, LAYOUT_PLAIN);
        double sum[4] = {0};
        for (size_t i = 0; i < 50 * 4; i++) {
            sum[i % 4] += p.v[i];
            const double want = sum[i % 4] / (double)(i / 4 + 1);
            if (!(fabs(got[i] - want) <= 64 * p.bound))
                fail_msg("map %d, token %zu: %g, should be %g", maps[n], i / 4, got[i], want);
        }
        free(got);
        problem_finish(&p);
    }
}

static void kernels_of_random_maps(void **state)
{
    (void)state;
    for (int n = 0; n < 8; n++)
        problem_test_random(
            &(struct problem_params){SHAPE(1, 50, 2, 24, 12), .gaussian = n & 1, .features = 48,
                                     .map = n & 2 ? DJ_MAP_PRF : DJ_MAP_PFF, .weighted = true,
                                     .normalise = n & 4, .own_numbers = true},
            LAYOUT_SLICED, "kernel");
}

/* Decays over several tiles, also the smallest that there is. */
static void decays_over_tiles(void **state)
{
    (void)state;
    static const float all[] = {1, 0.97f, 0.5f, 0.05f, 1e-3f, 0x1p-126f, 0.999f};
    for (int map = 0; map < FEATURE_MAPS; map++)
        for (int normalise = 0; normalise < (map == DJ_MAP_IDENTITY ? 1 : 2); normalise++)
            problem_test_random(&(struct problem_params){SHAPE(1, 140, 7, 16, 4), .map = map,
                                                         .normalise = normalise, .decay = all,
                                                         .decay_count = 7},
                                LAYOUT_HEADS_FIRST, "decay");
}

/* Larger and smaller inputs than N(0, 1), without the rules for small denominators. */
static void magnitudes(void **state)
{
    (void)state;
    static const double sigmas[] = {1e-4, 0.05, 5};
    for (int map = 0; map < FEATURE_MAPS; map++) {
        const bool rule = map == DJ_MAP_RELU || map == DJ_MAP_COSFORMER;
        struct problem_params params = {SHAPE(1, 70, 2, 32, 8), .map = map,
                                        .normalise = map != DJ_MAP_IDENTITY && !rule};
        struct problem p;
        problem_init(&p, &params);
        for (uint32_t i = 0; i < harness_device_count(); i++) {
            struct made made = problem_make(&p, i);
            for (size_t n = 0; n < 3; n++) {
                params.sigma = sigmas[n];
                problem_redraw(&p, &params);
                problem_solve(&p);
                float *got = made_run(&made, &p, LAYOUT_PLAIN);
                problem_assert(&p, got, "magnitudes");
                free(got);
            }
            made_finish(&made);
        }
        problem_finish(&p);
    }
}

/* What a plan of all zeros but the map does. */
static void defaults_are_as_documented(void **state)
{
    (void)state;
    for (int map = 0; map < FEATURE_MAPS; map++) {
        struct problem p;
        problem_init(&p, &(struct problem_params){SHAPE(1, 40, 2, 16, 16), .map = map,
                                                  .normalise = map != DJ_MAP_SOFTMAX_DCT &&
                                                               map != DJ_MAP_IDENTITY});
        p.plan_params = (struct dj_attention_params){
            .map = (uint32_t)map, .heads = 2, .dim = 16, .max_tokens = p.plan_params.max_tokens};
        problem_test(&p, LAYOUT_PLAIN, "defaults");
        problem_finish(&p);
    }
}

/* Up to M tokens, where the cosine reaches 0, and no more. */
static void cosformer_counts_to_its_maximum(void **state)
{
    (void)state;
    static const size_t tokens[] = {1, 2, 33, 96, 1000};
    for (size_t n = 0; n < 5; n++)
        for (int full = 0; full < 2; full++)
            problem_test_random(&(struct problem_params){SHAPE(1, tokens[n], 2, 16, 8),
                                                         .map = DJ_MAP_COSFORMER, .full = full,
                                                         .normalise = n & 1},
                                LAYOUT_PLAIN, "T = M");
    for (uint32_t i = 0; i < harness_device_count(); i++) {
        struct problem p;
        struct placed placed;
        problem_init(&p, &(struct problem_params){SHAPE(1, 41, 2, 16, 8), .max_tokens = 40,
                                                  .map = DJ_MAP_COSFORMER});
        problem_place(&p, harness_context(i), LAYOUT_PLAIN, &placed);
        HARNESS_RESULT(dj_attention_run(placed.plan, &placed.args), DJ_ERROR_TOKEN_COUNT);
        harness_assert_poisoned(placed.buffers[3], 0, dj_buffer_size(placed.buffers[3]));
        placed_finish(&placed);
        problem_finish(&p);
    }
}

/* Keys whose features do not overlap the query's: ReLU's answer is 0 and no NaN, cosFormer's 0; and
 * denominators on both sides of 1e-6, also where sums are below the normal numbers and outputs
 * are not. */
static void denominators_that_vanish(void **state)
{
    (void)state;
    static const int maps[2] = {DJ_MAP_RELU, DJ_MAP_COSFORMER};
    for (int n = 0; n < 8; n++) {
        struct problem p;
        problem_init(&p, &(struct problem_params){SHAPE(1, 70, 2, 8, 4), .map = maps[n & 1],
                                                  .full = n & 2, .normalise = true, .scale = 1});
        for (size_t i = 0; n >= 4 && i < twin_v_size(&p.twin); i++)
            p.v[i] = ldexpf(p.v[i], -107);
        for (size_t i = 0; i < 70 * 2; i++) { /* q.k from 0 to 1e-5 */
            for (size_t c = 0; c < 8; c++) {
                p.q[8 * i + c] = i % 4 < 2 ? -fabsf(p.q[8 * i + c]) : 1e-4f * (float)(i % 16);
                p.k[8 * i + c] = n & 2 ? 2e-5f * (float)(c + 1) : 1e-4f * (float)(i % 5);
            }
        }
        problem_test(&p, LAYOUT_SLICED, "small denominators");
        problem_finish(&p);
    }
}

/* Factors by place, of both signs, for every map that takes them. */
static void position_scales(void **state)
{
    (void)state;
    static const int maps[] = {DJ_MAP_SOFTMAX_DCT, DJ_MAP_PERFORMER_RELU, DJ_MAP_COSFORMER,
                               DJ_MAP_ELU,         DJ_MAP_RELU,           DJ_MAP_IDENTITY};
    for (size_t n = 0; n < 24; n++)
        problem_test_random(
            &(struct problem_params){
                SHAPE(2, 70, 4, 12, 8), .map = maps[n / 4], .full = n % 4 == 3,
                .key_heads = n & 1 ? 2 : 0, .decay = decays, .decay_count = n % 4 == 1 ? 3 : 0,
                .query_places = n % 4 == 2 ? 0 : 70 + n % 3, .key_places = n % 4 == 1 ? 0 : 100,
                .spans = n % 4 == 2 ? DJ_SPANS_PADDED : DJ_SPANS_WHOLE},
            (enum layout)(n % LAYOUT_COUNT), "position scales");
}

/* The trained tables of the reference implementation stand for a decay: gamma^t and gamma^-t. */
static void position_scales_can_be_a_decay(void **state)
{
    (void)state;
    static const float gamma[] = {0.98f};
    struct problem p;
    problem_init(&p, &(struct problem_params){SHAPE(1, 100, 1, 16, 8), .map = DJ_MAP_SOFTMAX_DCT,
                                              .decay = gamma, .decay_count = 1});
    problem_solve(&p);
    struct problem scaled;
    problem_init(&scaled, &(struct problem_params){SHAPE(1, 100, 1, 16, 8), .query_places = 100,
                                                   .map = DJ_MAP_SOFTMAX_DCT, .key_places = 100});
    memcpy(scaled.q, p.q, twin_q_size(&p.twin) * sizeof(float));
    memcpy(scaled.k, p.k, twin_k_size(&p.twin) * sizeof(float));
    memcpy(scaled.v, p.v, twin_v_size(&p.twin) * sizeof(float));
    memcpy(scaled.frequencies, p.frequencies, 16 * sizeof(float));
    for (size_t i = 0; i < 100; i++) {
        scaled.query_scales[i] = (float)pow((double)gamma[0], (double)i);
        scaled.key_scales[i] = (float)pow((double)gamma[0], -(double)i);
    }
    for (uint32_t i = 0; i < harness_device_count(); i++) {
        float *got = problem_run(&scaled, i, LAYOUT_PLAIN);
        problem_assert(&p, got, "scales that are a decay");
        free(got);
    }
    problem_finish(&scaled);
    problem_finish(&p);
}

static const struct CMUnitTest tests[] = {
    HARNESS_TEST(options_and_lengths),
    HARNESS_TEST(head_dimensions),
    HARNESS_TEST(feature_counts),
    HARNESS_TEST(features_one_by_one),
    HARNESS_TEST(key_normalisation),
    HARNESS_TEST(key_normalisation_is_exact_at_zero),
    HARNESS_TEST(kernels_of_random_maps),
    HARNESS_TEST(decays_over_tiles),
    HARNESS_TEST(magnitudes),
    HARNESS_TEST(defaults_are_as_documented),
    HARNESS_TEST(cosformer_counts_to_its_maximum),
    HARNESS_TEST(denominators_that_vanish),
    HARNESS_TEST(position_scales),
    HARNESS_TEST(position_scales_can_be_a_decay),
};

HARNESS_MAIN(tests)
