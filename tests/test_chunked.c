/* SPDX-License-Identifier: MIT */
/* The chunked kernels against the twin (plans are few and like each other: CPU devices compile them
 * for seconds): maps, dimensions, lengths around chunks and segments, magnitudes for which tokens
 * are taken one by one, groups, spans, states, and numbers that are none. */
#include "magnitudes.h"
#include "pool.h"
#include "reach.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define HALVES \
    .q_type = DJ_FLOAT16, .k_type = DJ_FLOAT16, .v_type = DJ_FLOAT16, .o_type = DJ_FLOAT16
#define TILED .family = DJ_FAMILY_TILED

static void maps(void **state)
{
    (void)state;
    static const size_t tokens[] = {2, 31, 32, 33, 63, 64, 65, 128, 129, 300};
    static const int all[] = {DJ_MAP_WDCF, DJ_MAP_ELU, DJ_MAP_RELU, DJ_MAP_IDENTITY};
    for (size_t n = 0; n < sizeof all / sizeof *all; n++) {
        for (int normalise = 0; normalise <= problem_may_normalise(all[n]); normalise++)
            problem_test_calls(0,
                               &(struct problem_params){SHAPE(2, 300, 2, 32, 16), .map = all[n],
                                                        .normalise = normalise, HALVES, TILED},
                               tokens, sizeof tokens / sizeof *tokens, LAYOUT_COUNT, NULL, "maps");
    }
    problem_test_calls(
        0,
        &(struct problem_params){SHAPE(2, 300, 2, 32, 16), .normalise = true, .key_normalise = true,
                                 .weighted = true, HALVES, TILED},
        tokens, sizeof tokens / sizeof *tokens, LAYOUT_COUNT, NULL, "normalised keys");
}

static void dimensions(void **state)
{
    (void)state;
    static const size_t tokens[] = {150, 33};
    static const size_t sides[][3] = {{64, 64, 64},  {80, 96, 80}, {128, 128, 128},
                                      {64, 32, 128}, {16, 64, 16}, {32, 48, 32}};
    for (size_t n = 0; n < sizeof sides / sizeof *sides; n++) {
        const size_t *const side = sides[n];
        problem_test_calls(0,
                           &(struct problem_params){SHAPE(1, 150, 2, side[0], side[1]),
                                                    .features = side[2], .normalise = n % 3 != 0,
                                                    .key_normalise = n % 3 == 2, .weighted = true,
                                                    HALVES, TILED},
                           tokens, 2, LAYOUT_COUNT, NULL, "dimensions");
    }
}

static void magnitudes(void **state)
{
    (void)state;
    static const size_t tokens[] = {150, 150, 150, 150, 150, 150, 150, 150};
    for (int normalised = 0; normalised < 2; normalised++)
        problem_test_calls(0,
                           &(struct problem_params){SHAPE(1, 150, 2, 32, 16), .normalise = true,
                                                    .key_normalise = normalised, HALVES, TILED},
                           tokens, 8, LAYOUT_COUNT, magnitude_change, "magnitudes");
}

static void values(void **state)
{
    (void)state;
    static const size_t tokens[] = {150, 150, 150, 150};
    problem_test_calls(
        0, &(struct problem_params){SHAPE(1, 150, 2, 32, 16), .normalise = true, HALVES, TILED},
        tokens, 4, LAYOUT_COUNT, magnitude_change_values, "values");
}

static void near_ties(void **state)
{
    (void)state;
    static const size_t tokens[] = {200, 200, 200};
    for (int normalised = 0; normalised < 2; normalised++)
        problem_test_calls(0,
                           &(struct problem_params){SHAPE(1, 200, 2, 32, 16), .normalise = true,
                                                    .key_normalise = normalised, .sigma = 0.5,
                                                    .scale = 1, HALVES, TILED},
                           tokens, 3, LAYOUT_COUNT, magnitude_change_to_ties, "near ties");
}

/* Groups of query heads, and spans. */
static void spans(void **state)
{
    (void)state;
    static const size_t tokens[] = {200, 64, 130};
    for (uint32_t kind = 0; kind < 3; kind++)
        problem_test_calls(0,
                           &(struct problem_params){
                               SHAPE(kind == 2 ? 1 : 3, 200, 4, 32, 16), .key_heads = 2,
                               .normalise = true, .key_normalise = kind == 1, .own_numbers = true,
                               .spans = kind, .sequences = kind == 2 ? 4 : 0, HALVES, TILED},
                           tokens, 3, LAYOUT_COUNT, NULL, "spans");
}

/* A sequence at once, in pieces, and in single tokens by the kernel for those. */
static void states(void **state)
{
    (void)state;
    enum {
        TOKENS = 300
    };
    static const uint64_t pieces[] = {1, 1, 31, 33, 70, 1, 128};
    for (int normalised = 0; normalised < 2; normalised++) {
        struct pool pool;
        pool_init(&pool, harness_context(0),
                  &(struct problem_params){SHAPE(2, TOKENS, 2, 32, 16), .normalise = true,
                                           .key_normalise = normalised, HALVES, TILED},
                  4);
        pool_assert_pieces(&pool, pieces, sizeof pieces / sizeof *pieces);
        pool_finish(&pool);
    }
}

static void not_numbers(void **state)
{
    (void)state;
    static const int all[] = {DJ_MAP_ELU, DJ_MAP_WDCF, DJ_MAP_WDCF};
    for (uint32_t n = 0; n < 3; n++) {
        struct problem p;
        problem_init(&p, &(struct problem_params){SHAPE(1, 200, 2, 32, 16), .map = all[n],
                                                  .normalise = true, .key_normalise = n == 2,
                                                  HALVES, TILED});
        problem_solve(&p);
        reach_assert(&p, 0, 45);
        problem_finish(&p);
    }
}

/* Rows of zeros, and rows whose features no key has had: the first half of them is the queries'
 * before token 64, then the keys'. */
static void change_to_sparse(struct problem *p, size_t call)
{
    const size_t d = p->twin.dim, heads = p->twin.heads;
    for (size_t row = 0; row < p->twin.tokens * heads; row++) {
        const size_t token = row / heads;
        for (size_t n = 0; n < d; n++) {
            const bool first = n < d / 2, early = token < 64;
            if (token % 7 == 3 || (call == 1 && first != early))
                p->q[row * d + n] = 0;
            if (token % 11 == 5 || (call == 1 && first == early))
                p->k[row * d + n] = 0;
        }
    }
}

/* Denominators below 1e-6, of rows of small features. */
static void change_to_small(struct problem *p, size_t call)
{
    const size_t d = p->twin.dim, heads = p->twin.heads;
    change_to_sparse(p, 0);
    for (size_t i = 0; i < twin_q_size(&p->twin); i++)
        p->q[i] *= i / (d * heads) % 3 == call % 3 ? 6e-8f : 1.0f;
}

static void zeros(void **state)
{
    (void)state;
    static const size_t tokens[] = {150, 150};
    for (int n = 0; n < 4; n++) {
        const bool relu = n % 2 == 0;
        problem_test_calls(0,
                           &(struct problem_params){SHAPE(1, 150, 2, 32, 16),
                                                    .map = relu ? DJ_MAP_RELU : DJ_MAP_IDENTITY,
                                                    .normalise = relu, HALVES, TILED},
                           tokens, 2, LAYOUT_COUNT, n < 2 ? change_to_sparse : change_to_small,
                           "zeros");
    }
}

/* Exponents far below 0 and far above: ELU's logarithms, and its values next to nothing. */
static void change_to_negative(struct problem *p, size_t call)
{
    const size_t d = p->twin.dim;
    static const float moves[] = {-60, -700, -9000, 300};
    for (size_t i = 0; i < twin_k_size(&p->twin); i++)
        p->k[i] += call % 2 == 0 || i / d % 5 == 0 ? moves[call % 4] : 0;
    for (size_t i = 0; i < twin_q_size(&p->twin); i++)
        p->q[i] += call >= 2 && i % d < 3 ? -40.0f : 0;
}

static void exponents(void **state)
{
    (void)state;
    for (int normalise = 0; normalise < 2; normalise++) {
        struct problem p;
        const struct problem_params params = {SHAPE(1, 100, 2, 32, 16),
                                              .map = DJ_MAP_ELU,
                                              .normalise = normalise,
                                              .scale = 1,
                                              HALVES,
                                              TILED};
        problem_init(&p, &params);
        struct made made = problem_make(&p, 0);
        for (size_t call = 0; call < (normalise ? 4 : 2); call++) {
            problem_redraw(&p, &params);
            change_to_negative(&p, call);
            problem_solve(&p);
            float *got = made_run(&made, &p, LAYOUT_PLAIN);
            for (size_t i = 0; i < twin_o_size(&p.twin); i++)
                assert_true(isfinite(got[i]));
            if (call != 2) /* there the twin's sums are 0, too */
                problem_assert(&p, got, "exponents");
            free(got);
        }
        made_finish(&made);
        problem_finish(&p);
    }
}

/* One late key in a chunk that is larger by some 20 to 40 bits: what rows before it see is small
 * beside what all keys ask for. */
static void change_to_late(struct problem *p, size_t call)
{
    const size_t row = p->twin.dim * p->twin.heads;
    for (size_t i = 40 * row; i < 41 * row; i++)
        p->k[i] *= 12.0f + 4.0f * (float)call;
}

static void late_keys(void **state)
{
    (void)state;
    static const size_t tokens[] = {70, 70, 70, 70};
    problem_test_calls(
        0, &(struct problem_params){SHAPE(1, 70, 2, 32, 16), .normalise = true, HALVES, TILED},
        tokens, 4, LAYOUT_COUNT, change_to_late, "late keys");
}

/* Segments of more than one chunk's tokens, and more than the scan has under way at once. */
static void segments(void **state)
{
    (void)state;
    static const size_t tokens[] = {1100, 600, 2100};
    problem_test_calls(
        0, &(struct problem_params){SHAPE(1, 2100, 2, 32, 16), .normalise = true, HALVES, TILED},
        tokens, 3, LAYOUT_COUNT, NULL, "segments");
}

/* A call at once, in parts and each of its sequences alone, with the same bits. least, most: how
 * many parts there are. */
static void assert_same_bits(const struct problem *p, uint64_t least, uint64_t most)
{
    struct placed placed;
    problem_place(p, harness_context(0), LAYOUT_PLAIN, &placed);
    HARNESS_OK(dj_attention_run(placed.plan, &placed.args));
    float *together = placed_output(&placed);
    problem_assert(p, together, "at once");
    for (int alone = 0; alone < 2; alone++) {
        struct dj_attention_args args = placed.args;
        placed_poison(&placed);
        if (!alone) {
            struct dj_needs needs;
            args.max_work = 1;
            HARNESS_OK(dj_attention_needs(placed.plan, &args, &needs));
            assert_in_range(needs.parts, least, most);
            HARNESS_OK(dj_attention_run(placed.plan, &args));
        }
        for (size_t b = 0; b < p->twin.batch && alone; b++) {
            const struct twin_span span = twin_key_span(&p->twin, b);
            args = placed_sequence(&placed, b);
            args.spans = (struct dj_spans){.kind = DJ_SPANS_WHOLE};
            struct dj_tensor *tensors[4] = {&args.q, &args.k, &args.v, &args.o};
            for (size_t i = 0; i < 4; i++) {
                tensors[i]->offset +=
                    dj_type_size(tensors[i]->type) * span.first * tensors[i]->stride[1];
                tensors[i]->shape[1] = span.count;
            }
            HARNESS_OK(dj_attention_run(placed.plan, &args));
        }
        float *got = placed_output(&placed);
        assert_memory_equal(got, together, problem_output_size(p) * sizeof *got);
        free(got);
    }
    free(together);
    placed_finish(&placed);
}

static void parts(void **state)
{
    (void)state;
    enum {
        BATCH = 3,
        HEADS = 2,
        TOKENS = 1400,
        PARTS = BATCH * HEADS * 3 /* of 512 tokens */
    };
    struct problem p;
    problem_init(&p, &(struct problem_params){SHAPE(BATCH, TOKENS, HEADS, 32, 16),
                                              .normalise = true, HALVES, TILED});
    problem_solve(&p);
    assert_same_bits(&p, PARTS, PARTS);
    problem_finish(&p);
}

/* Sequences that differ in their segments. */
static void long_sequences(void **state)
{
    (void)state;
    static const struct twin_span spans[] = {{0, 0, 33000}, {1, 5, 17000}, {2, 100, 600}};
    enum {
        BATCH = sizeof spans / sizeof *spans,
        PARTS = 17 /* of 2048 tokens, of the longest */
    };
    struct problem p;
    problem_init(&p, &(struct problem_params){SHAPE(BATCH, 33000, 1, 16, 16), .normalise = true,
                                              .spans = DJ_SPANS_PADDED, HALVES, TILED});
    memcpy(p.spans, spans, sizeof spans);
    problem_solve(&p);
    assert_same_bits(&p, PARTS, PARTS * BATCH);
    problem_finish(&p);
}

/* What float16 numbers as they are would lose, and look right: 0. one key and value that are much
 * larger than all others, which no query sees; 1. a key that all weigh most, whose value is 0; 2.
 * keys and values that are much smaller than those that come later. */
static void change_to_outlier(struct problem *p, size_t call)
{
    const size_t d = p->twin.dim, heads = p->twin.heads, e = p->twin.value_dim;
    const bool sink = call % 3 == 1, growth = call % 3 == 2;
    for (size_t row = 0; row < p->twin.tokens * heads; row++) {
        const bool special = row / heads == (sink ? 0 : 5);
        for (size_t n = 0; n < d; n++) {
            float *const q = &p->q[row * d + n], *const k = &p->k[row * d + n];
            *q = growth ? 1 : sink ? 0x1p-8f : n == 0 ? -1 : fabsf(*q);
            if (growth)
                *k = row / heads < 100 ? 1 : 4096;
            else if (sink)
                *k = special ? 2 : 0x1p-12f * (1 + fminf(fabsf(*k), 1));
            else
                *k = special ? n == 0 ? 1000 : 0 : n == 0 ? 0 : 0.01f * fabsf(*k);
        }
        for (size_t n = 0; n < e; n++)
            p->v[row * e + n] *= growth    ? row / heads < 100 ? 0x1p-10f : 10000
                                 : sink    ? special ? 0 : 1000
                                 : special ? 10000
                                           : 0.01f;
    }
}

static void outliers(void **state)
{
    (void)state;
    static const size_t tokens[] = {300, 64, 300, 300};
    problem_test_calls(0,
                       &(struct problem_params){SHAPE(1, 300, 2, 32, 16), .map = DJ_MAP_RELU,
                                                .normalise = true, HALVES, TILED},
                       tokens, 4, LAYOUT_COUNT, change_to_outlier, "outliers");
}

/* Rows of one number, whose transform has one large number: what its row of the matrix lacks is no
 * chance. */
static void change_to_constant(struct problem *p, size_t call)
{
    for (size_t i = 0; i < twin_q_size(&p->twin); i++)
        p->q[i] = 2.67f - (float)call;
    for (size_t i = 0; i < twin_k_size(&p->twin); i++)
        p->k[i] = 2.67f - (float)call;
}

static void constants(void **state)
{
    (void)state;
    static const size_t tokens[] = {150, 150, 150};
    problem_test_calls(0, &(struct problem_params){SHAPE(1, 150, 2, 32, 16), HALVES, TILED}, tokens,
                       3, LAYOUT_COUNT, change_to_constant, "constants");
}

/* Groups of query heads and blocks of columns, some of which are done again. */
static void blocks(void **state)
{
    (void)state;
    static const size_t tokens[] = {150, 150, 150, 150};
    problem_test_calls(0,
                       &(struct problem_params){SHAPE(1, 150, 4, 32, 128), .key_heads = 2,
                                                .normalise = true, HALVES, TILED},
                       tokens, 4, LAYOUT_COUNT, magnitude_change, "blocks");
}

/* Notes of segments that features as float16 numbers were not enough for: -1 in scratch memory,
 * which is nothing but sums of random numbers besides. */
static size_t count_failures(const struct problem *p)
{
    static const float failed = -1;
    struct placed placed;
    struct dj_needs needs;
    problem_place(p, harness_context(0), LAYOUT_PLAIN, &placed);
    HARNESS_OK(dj_attention_needs(placed.plan, &placed.args, &needs));
    assert_int_equal(needs.parts, 1);
    dj_buffer *const scratch = harness_poisoned(harness_context(0), needs.scratch_size);
    placed.args.scratch = (struct dj_scratch){.buffer = scratch, .size = needs.scratch_size};
    HARNESS_OK(dj_attention_run(placed.plan, &placed.args));
    float *const got = placed_output(&placed);
    problem_assert(p, got, "with notes");
    free(got);
    char *const bytes = malloc(needs.scratch_size);
    assert_non_null(bytes);
    HARNESS_OK(dj_buffer_read(scratch, 0, bytes, needs.scratch_size));
    size_t count = 0;
    for (size_t i = 0; i < needs.scratch_size; i += sizeof failed)
        count += memcmp(bytes + i, &failed, sizeof failed) == 0;
    free(bytes);
    dj_buffer_destroy((dj_buffer **)&placed.args.scratch.buffer);
    placed.args.scratch = (struct dj_scratch){.buffer = NULL};
    placed_finish(&placed);
    return count;
}

/* Float16 numbers are enough for ordinary features. Where a query is too large for them one
 * segment's outputs are done again; where a key is, its sums, which are as many notes as there are
 * columns, its outputs and, it may be, those of the last segment, which sees it too. */
static void notes(void **state)
{
    (void)state;
    enum {
        TOKENS = 300,
        TOKEN = 130, /* of the second segment */
        VALUE_DIM = 16
    };
    static const int all[] = {DJ_MAP_WDCF, DJ_MAP_ELU, DJ_MAP_RELU, DJ_MAP_IDENTITY, DJ_MAP_WDCF};
    for (size_t n = 0; n < sizeof all / sizeof *all; n++) {
        struct problem p;
        problem_init(&p, &(struct problem_params){SHAPE(1, TOKENS, 2, 32, VALUE_DIM), .map = all[n],
                                                  .normalise = problem_may_normalise(all[n]),
                                                  .key_normalise = n == 4, HALVES, TILED});
        const size_t row = TOKEN * 2 * p.twin.dim;
        const bool raw = all[n] == DJ_MAP_RELU || all[n] == DJ_MAP_IDENTITY; /* a score may be 0 */
        for (size_t i = 0; i < twin_q_size(&p.twin); i++)
            p.q[i] = 0.5f * (raw ? 1 + fabsf(p.q[i]) : p.q[i]);
        for (size_t i = 0; i < twin_k_size(&p.twin); i++)
            p.k[i] = 0.5f * (raw ? 1 + fabsf(p.k[i]) : p.k[i]);
        problem_solve(&p);
        assert_int_equal(count_failures(&p), 0);
        if (all[n] == DJ_MAP_WDCF) {
            for (size_t i = 0; i < p.twin.dim; i++)
                p.q[row + i] *= 64;
            problem_solve(&p);
            assert_int_equal(count_failures(&p), 1);
            for (size_t i = 0; i < p.twin.dim; i++)
                p.k[row + i] *= 64;
            problem_solve(&p);
            assert_in_range(count_failures(&p), VALUE_DIM + 1, VALUE_DIM + 2);
        }
        problem_finish(&p);
    }
}

/* Weights that differ, by head and feature, are no reason to fail; nor is D = 0 where keys are
 * normalised. */
static void weights(void **state)
{
    (void)state;
    for (int n = 0; n < 3; n++) {
        const bool normalised = n > 0, some = n == 2;
        struct problem p;
        problem_init(&p, &(struct problem_params){SHAPE(1, 150, 2, 64, 32), .normalise = true,
                                                  .key_normalise = normalised, .own_numbers = true,
                                                  .weighted = true, .sigma = 0.5, HALVES, TILED});
        for (size_t i = 0; i < 2 * p.twin.dim; i++)
            p.weights[i] = some && i % 3 == 1 ? 0 : exp2f((float)(6 * harness_uniform() - 3));
        problem_solve(&p);
        assert_int_equal(count_failures(&p), 0);
        problem_finish(&p);
    }
}

static const struct CMUnitTest tests[] = {
    HARNESS_TEST(maps),      HARNESS_TEST(dimensions),     HARNESS_TEST(magnitudes),
    HARNESS_TEST(values),    HARNESS_TEST(near_ties),      HARNESS_TEST(spans),
    HARNESS_TEST(states),    HARNESS_TEST(not_numbers),    HARNESS_TEST(zeros),
    HARNESS_TEST(exponents), HARNESS_TEST(late_keys),      HARNESS_TEST(segments),
    HARNESS_TEST(parts),     HARNESS_TEST(long_sequences), HARNESS_TEST(outliers),
    HARNESS_TEST(constants), HARNESS_TEST(blocks),         HARNESS_TEST(notes),
    HARNESS_TEST(weights),
};

/* Where there are no cooperative matrices, all is skipped. */
int main(void)
{
    if (!harness_uses(DJ_USE_MATRICES,
                      "the device has no cooperative matrices, or this build knows none"))
        return 0;
    harness_prepare();
    return harness_status(cmocka_run_group_tests(tests, harness_setup, harness_teardown));
}
