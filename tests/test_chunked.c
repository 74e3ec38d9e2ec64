/* SPDX-License-Identifier: MIT */
/* The chunked kernels against the twin (plans are few and like each other: CPU devices compile them
 * for seconds): maps, dimensions, lengths around chunks and segments, magnitudes for which tokens
 * are taken one by one, groups, spans, states, and numbers that are none. */
#include "magnitudes.h"
#include "pool.h"
#include "reach.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define TYPES(type) .q_type = (type), .k_type = (type), .v_type = (type), .o_type = (type)
#define TILED .family = DJ_FAMILY_TILED

/* One plan; shape and inputs anew for each call, which `change` may change. */
static void test_calls(const struct problem_params *params, const size_t *tokens, size_t count,
                       void (*change)(struct problem *problem, size_t call), const char *what)
{
    struct problem p;
    problem_init(&p, params);
    struct made made = problem_make(&p, 0);
    for (size_t i = 0; i < count; i++) {
        struct problem_params next = *params;
        next.tokens = tokens[i];
        problem_redraw(&p, &next);
        if (change != NULL)
            change(&p, i);
        if (params->normalise)
            problem_solve(&p);
        else
            problem_fit(&p);
        static const enum layout layouts[] = {LAYOUT_PLAIN, LAYOUT_HEADS_FIRST, LAYOUT_TOKENS_FIRST,
                                              LAYOUT_PACKED};
        float *got = made_run(&made, &p, layouts[i % 4]);
        problem_assert(&p, got, what);
        free(got);
    }
    made_finish(&made);
    problem_finish(&p);
}

static void maps(void **state)
{
    (void)state;
    static const size_t tokens[] = {2, 31, 32, 33, 63, 64, 65, 128, 129, 300};
    static const int all[] = {DJ_MAP_WDCF, DJ_MAP_ELU, DJ_MAP_RELU, DJ_MAP_IDENTITY};
    for (size_t n = 0; n < sizeof all / sizeof *all; n++) {
        for (int normalise = 0; normalise <= problem_may_normalise(all[n]); normalise++)
            test_calls(&(struct problem_params){SHAPE(2, 300, 2, 32, 16), .map = all[n],
                                                .normalise = normalise,
                                                TYPES(1 + (uint32_t)(n + (size_t)normalise) % 2),
                                                TILED},
                       tokens, sizeof tokens / sizeof *tokens, NULL, "maps");
    }
}

static void dimensions(void **state)
{
    (void)state;
    static const size_t tokens[] = {150, 33};
    static const size_t sides[][3] = {{64, 64, 64}, {80, 96, 80}, {128, 128, 128}, {64, 32, 128}};
    for (size_t n = 0; n < sizeof sides / sizeof *sides; n++) {
        const size_t *const side = sides[n];
        test_calls(&(struct problem_params){SHAPE(1, 150, 2, side[0], side[1]), .features = side[2],
                                            .normalise = n % 3 != 0, .weighted = true,
                                            TYPES(1 + (uint32_t)n % 2), TILED},
                   tokens, 2, NULL, "dimensions");
    }
}

static void change_magnitudes(struct problem *p, size_t call)
{
    static const magnitude factors[] = {magnitude_any, magnitude_growing, magnitude_shrinking,
                                        magnitude_huge_once};
    magnitude_scale_keys(p, factors[call % 4]);
    if (call >= 4)
        magnitude_scale_queries(p, factors[(call + 1) % 4]);
}

static void magnitudes(void **state)
{
    (void)state;
    static const size_t tokens[] = {150, 150, 150, 150, 150, 150, 150, 150};
    for (uint32_t type = 1; type < 3; type++)
        test_calls(&(struct problem_params){SHAPE(1, 150, 2, 32, 16), .normalise = true,
                                            TYPES(type), TILED},
                   tokens, 8, change_magnitudes, "magnitudes");
}

/* Values at both ends of their type, of very different size in one chunk, and subnormal ones. */
static void change_values(struct problem *p, size_t call)
{
    static const double sizes[2][4] = {{1e4, 1e-6, 1, 1e3}, {1e30, 1e-30, 1e-3, 1e6}};
    const double *const of = sizes[p->params.v_type == DJ_BFLOAT16];
    const size_t row = p->twin.value_dim * p->twin.heads;
    for (size_t i = 0; i < twin_v_size(&p->twin); i++) {
        const double growth = call < 3 ? 1 : pow(1e-6, (double)(i / row) / (double)p->twin.tokens);
        p->v[i] *= (float)(of[call] * growth);
    }
}

static void values(void **state)
{
    (void)state;
    static const size_t tokens[] = {150, 150, 150, 150};
    for (uint32_t type = 1; type < 3; type++)
        test_calls(&(struct problem_params){SHAPE(1, 150, 2, 32, 16), .normalise = true,
                                            TYPES(type), TILED},
                   tokens, 4, change_values, "values");
}

/* Keys of large exponents and small differences. */
static void change_to_ties(struct problem *p, size_t call)
{
    static const double K[] = {30, 300, 1000};
    double u[64], norm = 0;
    for (size_t c = 0; c < 64; c++) {
        u[c] = harness_normal();
        norm += u[c] * u[c];
    }
    for (size_t i = 0; i < twin_k_size(&p->twin); i++)
        p->k[i] += (float)(K[call] * u[i % 64] / sqrt(norm));
}

static void near_ties(void **state)
{
    (void)state;
    static const size_t tokens[] = {200, 200, 200};
    test_calls(&(struct problem_params){SHAPE(1, 200, 2, 64, 16), .normalise = true, .sigma = 0.5,
                                        .scale = 1, TYPES(DJ_FLOAT16), TILED},
               tokens, 3, change_to_ties, "near ties");
}

/* Groups of query heads, and spans. */
static void spans(void **state)
{
    (void)state;
    static const size_t tokens[] = {200, 64, 130};
    for (uint32_t kind = 0; kind < 3; kind++)
        test_calls(&(struct problem_params){SHAPE(kind == 2 ? 1 : 3, 200, 4, 32, 16),
                                            .key_heads = 2, .normalise = true, .own_numbers = true,
                                            .spans = kind, .sequences = kind == 2 ? 4 : 0,
                                            TYPES(1 + kind % 2), TILED},
                   tokens, 3, NULL, "spans");
}

/* A sequence at once, in pieces, and in single tokens by the kernel for those. */
static void states(void **state)
{
    (void)state;
    enum {
        TOKENS = 300
    };
    static const uint64_t pieces[] = {1, 1, 31, 33, 70, 1, 128};
    for (uint32_t type = 1; type < 3; type++) {
        struct pool pool;
        pool_init(&pool, harness_context(0),
                  &(struct problem_params){SHAPE(2, TOKENS, 2, 32, 16), .normalise = true,
                                           TYPES(type), TILED},
                  4);
        pool_assert_pieces(&pool, pieces, sizeof pieces / sizeof *pieces);
        pool_finish(&pool);
    }
}

static void not_numbers(void **state)
{
    (void)state;
    static const int all[] = {DJ_MAP_ELU, DJ_MAP_WDCF};
    for (uint32_t n = 0; n < 2; n++) {
        struct problem p;
        problem_init(&p, &(struct problem_params){SHAPE(1, 200, 2, 32, 16), .map = all[n],
                                                  .normalise = true, TYPES(1 + n), TILED});
        problem_solve(&p);
        reach_assert(&p, 0, 45);
        problem_finish(&p);
    }
}

static const struct CMUnitTest tests[] = {
    HARNESS_TEST(maps),   HARNESS_TEST(dimensions),  HARNESS_TEST(magnitudes),
    HARNESS_TEST(values), HARNESS_TEST(near_ties),   HARNESS_TEST(spans),
    HARNESS_TEST(states), HARNESS_TEST(not_numbers),
};

/* Where there are no cooperative matrices, all is skipped. */
int main(void)
{
    dj_context *context = NULL;
    const bool there = dj_context_create(NULL, &context) == DJ_SUCCESS &&
                       (dj_context_uses(context) & DJ_USE_MATRICES);
    dj_context_destroy(&context);
    if (!there) {
        puts("1..0 # SKIP the device has no cooperative matrices, or this build knows none");
        return 0;
    }
    harness_prepare();
    return harness_status(cmocka_run_group_tests(tests, harness_setup, harness_teardown));
}
