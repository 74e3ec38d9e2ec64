/* SPDX-License-Identifier: MIT */
/* Products by cooperative matrices against the twin, within the bounds of 2-byte types: every map,
 * sides that fill no block, magnitudes that float16's range would not hold, states, and numbers
 * that are none. Plans are few and their calls many: what a driver compiles for one takes long. */
#include "magnitudes.h"
#include "pool.h"
#include "reach.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TYPES(type) .q_type = (type), .k_type = (type), .v_type = (type), .o_type = (type)
#define TILED .family = DJ_FAMILY_TILED

static const float decays[] = {0.97f, 1, 0.3f};

static void maps(void **state)
{
    (void)state;
    static const size_t tokens[] = {1, 31, 32, 33, 64, 97};
    for (int map = 0; map < DJ_MAP_SOFTMAX; map++) {
        const bool normalise = problem_may_normalise(map);
        problem_test_calls(0,
                           &(struct problem_params){SHAPE(2, 97, 4, 20, 12), .map = map,
                                                    .key_heads = 2, .normalise = normalise,
                                                    .max_tokens = 97, TYPES(1 + (uint32_t)map % 2),
                                                    TILED},
                           tokens, sizeof tokens / sizeof *tokens, LAYOUT_COUNT, NULL, "maps");
    }
}

/* Features and columns around a block's, with decays and without a causal mask. */
static void dimensions(void **state)
{
    (void)state;
    static const size_t tokens[] = {70, 33};
    static const size_t sides[][3] = {{64, 64, 64}, {80, 96, 80}, {128, 132, 128}, {16, 8, 64}};
    for (size_t n = 0; n < 2 * sizeof sides / sizeof *sides; n++) {
        const size_t *const side = sides[n / 2];
        problem_test_calls(0,
                           &(struct problem_params){SHAPE(1, 70, 3, side[0], side[1]),
                                                    .features = side[2], .normalise = n % 3 != 0,
                                                    .full = n & 1, .decay = decays,
                                                    .decay_count = n & 1 ? 0 : 3, .weighted = true,
                                                    TYPES(1 + (uint32_t)n / 2 % 2), TILED},
                           tokens, 2, LAYOUT_COUNT, NULL, "dimensions");
    }
}

/* Exponents that grow and fall within a tile: some tiles are evaluated pair by pair. */
static void magnitudes(void **state)
{
    (void)state;
    static const size_t tokens[] = {70, 70, 70, 70, 70, 70, 70, 70};
    static const float strong[] = {1, 0.9f, 0.05f, 0x1p-126f};
    for (uint32_t n = 0; n < 4; n++)
        problem_test_calls(0,
                           &(struct problem_params){SHAPE(1, 70, 4, 32, 8), .normalise = true,
                                                    .decay = strong, .decay_count = n & 1 ? 4 : 0,
                                                    TYPES(1 + n / 2), TILED},
                           tokens, 8, LAYOUT_COUNT, magnitude_change, "magnitudes");
}

static void values(void **state)
{
    (void)state;
    static const size_t tokens[] = {70, 70, 70, 70};
    for (uint32_t type = 1; type < 3; type++)
        problem_test_calls(
            0,
            &(struct problem_params){SHAPE(1, 70, 2, 16, 8), .normalise = true, TYPES(type), TILED},
            tokens, 4, LAYOUT_COUNT, magnitude_change_values, "values");
}

static void near_ties(void **state)
{
    (void)state;
    static const size_t tokens[] = {200, 200, 200};
    problem_test_calls(0,
                       &(struct problem_params){SHAPE(1, 200, 2, 64, 8), .normalise = true,
                                                .sigma = 0.5, .scale = 1, TYPES(DJ_FLOAT16), TILED},
                       tokens, 3, LAYOUT_COUNT, magnitude_change_to_ties, "near ties");
}

/* A sequence at once, in pieces, and in single tokens by the kernel for those. */
static void states(void **state)
{
    (void)state;
    enum {
        TOKENS = 150
    };
    static const uint64_t pieces[] = {1, 1, 31, 33, 70, 1};
    for (uint32_t type = 1; type < 3; type++) {
        struct pool pool;
        pool_init(&pool, harness_context(0),
                  &(struct problem_params){SHAPE(2, TOKENS, 2, 32, 20), .normalise = true,
                                           .decay = decays, .decay_count = 2, TYPES(type)},
                  4);
        pool_assert_pieces(&pool, pieces, sizeof pieces / sizeof *pieces);
        pool_finish(&pool);
    }
}

/* What is not a number goes to later tokens and its own column alone, columns of very different
 * size beside it. */
static void not_numbers(void **state)
{
    (void)state;
    enum {
        COLUMNS = 8
    };
    for (uint32_t type = 1; type < 3; type++) {
        struct problem p;
        problem_init(&p, &(struct problem_params){SHAPE(1, 80, 2, 16, COLUMNS), .map = DJ_MAP_ELU,
                                                  .normalise = true, TYPES(type), TILED});
        for (size_t i = 0; i < twin_v_size(&p.twin); i++)
            p.v[i] = ldexpf(p.v[i], i % COLUMNS == 5 ? 10 : -2 * (int)(i % COLUMNS));
        problem_solve(&p);
        reach_assert(&p, 0, 45);
        problem_finish(&p);
    }
}

/* They are used where they may be: if q, k, v and o are all of 2-byte types, and then with other
 * bits than without. */
static void used_where_they_may_be(void **state)
{
    (void)state;
    struct dj_device_info info;
    HARNESS_OK(dj_context_device(harness_context(0), &info));
    assert_true(info.matrix_rows > 0 && info.matrix_columns > 0 && info.matrix_terms > 0);
    char device[16];
    snprintf(device, sizeof device, "%u", info.index);
    const uint32_t uses = dj_context_uses(harness_context(0));
    dj_context *plain = NULL;
    HARNESS_OK(dj_context_create(
        &(struct dj_context_params){.device = device,
                                    .matrices = DJ_OFF,
                                    .device_addresses =
                                        uses & DJ_USE_DEVICE_ADDRESSES ? DJ_ON : DJ_OFF},
        &plain));
    assert_int_equal(dj_context_uses(plain), uses & ~(uint32_t)DJ_USE_MATRICES);
    for (uint32_t wide = 0; wide < 5; wide++) {
        struct problem p;
        problem_init(&p, &(struct problem_params){SHAPE(1, 70, 2, 16, 8), .normalise = true, TILED,
                                                  .q_type = wide == 1 ? DJ_FLOAT32 : DJ_FLOAT16,
                                                  .k_type = wide == 2 ? DJ_FLOAT32 : DJ_FLOAT16,
                                                  .v_type = wide == 3 ? DJ_FLOAT32 : DJ_FLOAT16,
                                                  .o_type = wide == 4 ? DJ_FLOAT32 : DJ_FLOAT16});
        problem_solve(&p);
        float *got = problem_run(&p, 0, LAYOUT_PLAIN);
        struct placed placed;
        problem_place(&p, plain, LAYOUT_PLAIN, &placed);
        HARNESS_OK(dj_attention_run(placed.plan, &placed.args));
        float *want = placed_output(&placed);
        problem_assert(&p, want, "without matrices");
        const size_t size = problem_output_size(&p) * sizeof *got;
        if (wide > 0)
            assert_memory_equal(want, got, size);
        else
            assert_memory_not_equal(want, got, size);
        free(got);
        free(want);
        placed_finish(&placed);
        problem_finish(&p);
    }
    dj_context_destroy(&plain);
}

/* Rows that see small sums alone: beside large ones of a feature that no query has, and before a
 * late key that asks for an exponent larger by ten bits. (With a decay calls are done in tiles.) */
static void change_to_unseen(struct problem *p, size_t call)
{
    enum {
        SMALL,
        LARGE
    };
    const size_t d = p->twin.dim, e = p->twin.value_dim, heads = p->twin.heads;
    for (size_t i = 0; i < 70 * heads; i++) {
        const size_t token = i / heads;
        const bool large = token < 32 && token % 2 == 1;
        const float key = token < 32 ? 1.0f : token == 63 ? 0x1p14f : 0.0f;
        for (size_t n = 0; n < d; n++) {
            p->q[i * d + n] = n == SMALL ? 1.0f : 0.0f;
            p->k[i * d + n] = n == (large ? LARGE : SMALL) ? key : 0.0f;
        }
        for (size_t c = 0; c < e; c++)
            p->v[i * e + c] = large ? (float)(8192 << call) : p->v[i * e + c] / 256;
    }
}

static void unseen(void **state)
{
    (void)state;
    static const size_t tokens[] = {70, 70, 70};
    static const float none[] = {1, 1};
    problem_test_calls(0,
                       &(struct problem_params){SHAPE(1, 70, 2, 16, 8), .map = DJ_MAP_RELU,
                                                .normalise = true, .decay = none, .decay_count = 2,
                                                TYPES(DJ_FLOAT16), TILED},
                       tokens, 3, LAYOUT_COUNT, change_to_unseen, "unseen");
}

static const struct CMUnitTest tests[] = {
    HARNESS_TEST(maps),        HARNESS_TEST(dimensions),
    HARNESS_TEST(magnitudes),  HARNESS_TEST(values),
    HARNESS_TEST(near_ties),   HARNESS_TEST(states),
    HARNESS_TEST(not_numbers), HARNESS_TEST(used_where_they_may_be),
    HARNESS_TEST(unseen),
};

/* Tiles are multiplied by them only if that is asked for. Where there are none, all is skipped. */
int main(void)
{
    setenv("DIJIANG_MATRICES", "1", 1);
    if (!harness_uses(DJ_USE_MATRICES,
                      "the device has no cooperative matrices, or this build knows none"))
        return 0;
    harness_prepare();
    return harness_status(cmocka_run_group_tests(tests, harness_setup, harness_teardown));
}
