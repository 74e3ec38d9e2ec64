/* SPDX-License-Identifier: MIT */
/* Calls of one token a row, which one dispatch does: every map and shape against the twin, states
 * that go on from prefills and to where they belong, and what is left to other kernels. */
#include "magnitudes.h"
#include "pool.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    PREFIX = 40,
    STEPS = 30,
    TOKENS = PREFIX + STEPS
};

static const float decays[] = {0.97f, 1, 0.5f, 1e-3f};
#define DECAYS .decay = decays, .decay_count = 4

/* Whether the call is one dispatch without scratch memory. */
static bool is_step(const dj_attention *plan, const struct dj_attention_args *args)
{
    struct dj_needs needs;
    HARNESS_OK(dj_attention_needs(plan, args, &needs));
    return needs.family == DJ_FAMILY_STEP && needs.dispatches == 1 && needs.scratch_size == 0 &&
           needs.parts == 1;
}

/* pool_run of one token, which must be a step. */
static void run_step(const struct pool *pool, uint64_t token, const int32_t *in, const int32_t *out)
{
    struct dj_attention_args step = placed_range(&pool->placed, token, 1);
    step.slots_in.host = in;
    step.slots_out.host = out;
    assert_true(is_step(pool->placed.plan, &step));
    pool_run(pool, token, 1, in, out);
}

/* Every map, denominator and option; groups; columns that fill no row of invocations; the largest
 * d, m and group. */
static const struct problem_params variants[] = {
    {SHAPE(2, TOKENS, 3, 64, 64), .map = DJ_MAP_WDCF, .normalise = true, .weighted = true,
     .own_numbers = true},
    {SHAPE(2, TOKENS, 6, 32, 40), .map = DJ_MAP_WDCF, .normalise = true, .key_heads = 2,
     .features = 112, .key_normalise = true, .own_numbers = true, DECAYS},
    {SHAPE(1, TOKENS, 2, 256, 256), .map = DJ_MAP_WDCF, .normalise = true, .sigma = 3},
    {SHAPE(2, TOKENS, 4, 48, 4), .map = DJ_MAP_SOFTMAX_DCT, DECAYS},
    {SHAPE(2, TOKENS, 4, 16, 132), .map = DJ_MAP_SOFTMAX_DCT, .normalise = true},
    {SHAPE(2, TOKENS, 16, 16, 8), .map = DJ_MAP_PFF, .normalise = true, .key_heads = 1,
     .features = 24, .weighted = true, DECAYS},
    {SHAPE(2, TOKENS, 4, 16, 8), .map = DJ_MAP_PRF, .features = 128, .gaussian = true,
     .own_numbers = true, .key_heads = 2},
    {SHAPE(2, TOKENS, 4, 16, 8), .map = DJ_MAP_PERFORMER_RELU, .normalise = true, .features = 24},
    {SHAPE(2, TOKENS, 4, 36, 36), .map = DJ_MAP_ELU, .normalise = true, .key_heads = 2, DECAYS},
    {SHAPE(2, TOKENS, 4, 16, 8), .map = DJ_MAP_ELU},
    {SHAPE(2, TOKENS, 2, 16, 8), .map = DJ_MAP_RELU, .normalise = true},
    {SHAPE(2, TOKENS, 2, 16, 8), .map = DJ_MAP_RELU, .normalise = true, .sigma = 1e-5}, /* 0 */
    {SHAPE(2, TOKENS, 4, 128, 128), .map = DJ_MAP_IDENTITY, .key_heads = 2, DECAYS},
    {SHAPE(2, TOKENS, 4, 16, 8), .map = DJ_MAP_ELU, .normalise = true, .q_type = DJ_FLOAT16,
     .k_type = DJ_BFLOAT16, .v_type = DJ_FLOAT16, .o_type = DJ_BFLOAT16},
    {SHAPE(2, TOKENS, 4, 16, 8), .map = DJ_MAP_RELU, .q_type = DJ_BFLOAT16, .o_type = DJ_FLOAT16},
};
enum {
    VARIANTS = sizeof variants / sizeof *variants
};

/* A prefill, then steps in place; the state is what the whole sequence leaves. */
static void steps_go_on(void **state)
{
    (void)state;
    static const int32_t whole[] = {0, 1}, split[] = {2, 3};
    for (uint32_t i = 0; i < harness_device_count(); i++) {
        for (size_t n = 0; n < VARIANTS; n++) {
            const uint32_t batch = (uint32_t)variants[n].batch;
            struct pool pool;
            pool_init(&pool, harness_context(i), &variants[n], 4);
            pool_run(&pool, 0, TOKENS, NULL, whole);
            placed_poison(&pool.placed);
            pool_run(&pool, 0, PREFIX, NULL, split);
            for (uint64_t token = PREFIX; token < TOKENS; token++)
                run_step(&pool, token, split, split);
            pool_assert_solved(&pool, "steps");
            for (uint32_t b = 0; b < batch; b++) {
                pool_assert_tokens(&pool, 2 + b, TOKENS);
                /* a dropped feature's exponent is beyond what float32 tells apart */
                if (!variants[n].weighted)
                    pool_assert_same_sums(&pool, b, 2 + b);
            }
            pool_finish(&pool);
        }
    }
}

/* The first token, from nothing, in every layout; without slots as well. */
static void first_tokens(void **state)
{
    (void)state;
    for (size_t n = 0; n < VARIANTS; n++) {
        struct problem_params params = variants[n];
        params.tokens = 1;
        params.batch = 5;
        for (uint32_t i = 0; i < harness_device_count(); i++) {
            struct problem p;
            problem_init(&p, &params);
            problem_solve(&p);
            for (int layout = 0; layout < LAYOUT_COUNT; layout++) {
                struct placed placed;
                problem_place(&p, harness_context(i), (enum layout)layout, &placed);
                if (!is_step(placed.plan, &placed.args))
                    fail_msg("%s: no step in layout %d", problem_text(&p), layout);
                HARNESS_OK(dj_attention_run(placed.plan, &placed.args));
                float *got = placed_output(&placed);
                problem_assert(&p, got, "first token");
                free(got);
                placed_finish(&placed);
            }
            problem_finish(&p);
        }
    }
}

/* More workgroups than an axis of a dispatch need have. */
static void many_sequences(void **state)
{
    (void)state;
    struct problem p;
    struct placed placed;
    problem_init(&p, &(struct problem_params){SHAPE(40000, 1, 2, 4, 4), .map = DJ_MAP_IDENTITY});
    problem_solve(&p);
    problem_place(&p, harness_context(0), LAYOUT_PLAIN, &placed);
    assert_true(is_step(placed.plan, &placed.args));
    HARNESS_OK(dj_attention_run(placed.plan, &placed.args));
    float *got = placed_output(&placed);
    problem_assert(&p, got, "many sequences");
    /* whatever a part may take, it is one, and the same bits */
    placed_poison(&placed);
    placed.args.max_work = 1;
    assert_true(is_step(placed.plan, &placed.args));
    HARNESS_OK(dj_attention_run(placed.plan, &placed.args));
    float *again = placed_output(&placed);
    assert_memory_equal(got, again, problem_output_size(&p) * sizeof *got);
    free(got);
    free(again);
    placed_finish(&placed);
    problem_finish(&p);
}

/* Large sums come, swallow small ones for a thousand steps, and go again: what their low parts kept
 * is there. */
static void small_sums_outlast_large_ones(void **state)
{
    (void)state;
    enum {
        LENGTH = 1002,
        DIM = 16,
        VALUES = 8
    };
    static const int32_t slot[] = {0};
    struct pool pool;
    pool_init(&pool, harness_context(0),
              &(struct problem_params){SHAPE(1, LENGTH, 1, DIM, VALUES), .map = DJ_MAP_IDENTITY},
              1);
    struct problem *const p = &pool.problem;
    for (size_t c = 0; c < DIM; c++) {
        p->k[c] = 1024;
        p->k[(LENGTH - 2) * DIM + c] = -1024;
    }
    for (size_t c = 0; c < VALUES; c++)
        p->v[c] = p->v[(LENGTH - 2) * VALUES + c] = 1024;
    const struct dj_attention_args *const args = &pool.placed.args;
    HARNESS_OK(dj_buffer_write(args->k.buffer, args->k.offset, p->k, LENGTH * DIM * sizeof(float)));
    HARNESS_OK(
        dj_buffer_write(args->v.buffer, args->v.offset, p->v, LENGTH * VALUES * sizeof(float)));
    problem_solve(p);
    for (uint64_t token = 0; token < LENGTH; token++)
        run_step(&pool, token, token > 0 ? slot : NULL, slot);
    float *got = placed_output(&pool.placed);
    double difference = 0, size = 0;
    for (size_t i = (LENGTH - 2) * VALUES; i < LENGTH * VALUES; i++) {
        difference += pow((double)got[i] - p->want[i], 2);
        size += pow(p->want[i], 2);
    }
    assert_true(sqrt(difference) <= 1e-5 * sqrt(size));
    free(got);
    pool_finish(&pool);
}

/* Keys whose exponents grow, shrink and leap from step to step. */
static void exponents(void **state)
{
    (void)state;
    static const int32_t slots[] = {0, 1};
    static const magnitude factors[] = {magnitude_any, magnitude_growing, magnitude_shrinking,
                                        magnitude_huge_once};
    for (int way = 0; way < 4; way++) {
        struct pool pool;
        pool_init(&pool, harness_context(0),
                  &(struct problem_params){SHAPE(2, TOKENS, 2, 32, 8), .normalise = true,
                                           .decay = decays, .decay_count = 4},
                  2);
        const struct dj_tensor *const k = &pool.placed.args.k;
        const size_t size = 2 * (size_t)TOKENS * 2 * 32 * sizeof(float);
        magnitude_scale_keys(&pool.problem, factors[way]);
        HARNESS_OK(dj_buffer_write(k->buffer, k->offset, pool.problem.k, size));
        problem_solve(&pool.problem);
        for (uint64_t token = 0; token < TOKENS; token++)
            run_step(&pool, token, token > 0 ? slots : NULL, slots);
        pool_assert_solved(&pool, "exponents");
        pool_finish(&pool);
    }
}

/* From slot to slot, to two from one, from and to none; zeros are the empty state. */
static void slots_are_numbers(void **state)
{
    (void)state;
    struct pool pool;
    pool_init(&pool, harness_context(0),
              &(struct problem_params){SHAPE(2, TOKENS, 3, 16, 24), .normalise = true, DECAYS}, 6);
    pool_zero(&pool, 0);
    run_step(&pool, 0, (const int32_t[]){0, -1}, (const int32_t[]){0, 1});
    pool_assert_tokens(&pool, 0, 1);
    pool_assert_tokens(&pool, 1, 1);
    void *before = pool_read(&pool, 0);
    for (uint64_t token = 1; token < TOKENS; token++) {
        const int32_t there[] = {2, 3}, back[] = {4, 1};
        pool_run(&pool, token, 1,
                 token == 1  ? (const int32_t[]){0, 1}
                 : token % 2 ? back
                             : there,
                 token % 2 ? there : back);
    }
    pool_assert_solved(&pool, "to and fro");
    pool_assert_tokens(&pool, 2, TOKENS);
    pool_assert_untouched(&pool, 5);
    /* two continue from one, and a third leaves no state */
    run_step(&pool, 1, (const int32_t[]){0, 0}, (const int32_t[]){5, -1});
    void *after = pool_read(&pool, 0);
    assert_memory_equal(before, after, pool.needs.slot_size);
    pool_assert_tokens(&pool, 5, 2);
    free(before);
    free(after);
    pool_finish(&pool);
}

/* The same numbers by buffers: one for both is a step, two are not, with the same results. */
static void slots_in_buffers(void **state)
{
    (void)state;
    for (int way = 0; way < 2; way++) {
        struct pool pool;
        pool_init(&pool, harness_context(0),
                  &(struct problem_params){SHAPE(2, STEPS, 2, 16, 8), .normalise = true}, 4);
        static const int32_t numbers[] = {7, 0, 1, 2, 3, -1, 4};
        dj_buffer *buffers[2];
        for (int i = 0; i < 2; i++)
            buffers[i] = harness_buffer(pool.context, numbers, sizeof numbers);
        for (uint64_t token = 0; token < STEPS; token++) {
            struct dj_attention_args step = placed_range(&pool.placed, token, 1);
            const uint64_t there = 4 * (1 + 2 * (token % 2)), back = 4 * (3 - 2 * (token % 2));
            if (token > 0)
                step.slots_in = (struct dj_indices){.buffer = buffers[0], .offset = there};
            step.slots_out = (struct dj_indices){.buffer = buffers[way], .offset = back};
            assert_int_equal(is_step(pool.placed.plan, &step), token == 0 || way == 0);
            HARNESS_OK(dj_attention_run(pool.placed.plan, &step));
        }
        pool_assert_solved(&pool, "slots in buffers");
        for (int i = 0; i < 2; i++)
            dj_buffer_destroy(&buffers[i]);
        pool_finish(&pool);
    }
}

/* A slot that holds no state of the plan's makes NaN of what continues from it, every time. */
static void strange_slots(void **state)
{
    (void)state;
    struct pool pool;
    pool_init(&pool, harness_context(0),
              &(struct problem_params){SHAPE(2, TOKENS, 24, 16, 8), .normalise = true}, 4);
    static const int32_t ways[][2][2] = {
        {{0, 1}, {0, 1}}, {{0, 1}, {0, 1}}, {{0, 1}, {2, 3}}, {{2, 3}, {2, 3}}, {{2, 3}, {-1, -1}}};
    for (size_t n = 0; n < sizeof ways / sizeof *ways; n++) {
        placed_poison(&pool.placed);
        run_step(&pool, n, ways[n][0], ways[n][1]);
        struct placed row = pool.placed;
        row.args = placed_range(&pool.placed, n, 1);
        float *got = placed_output(&row);
        for (size_t i = 0; i < 2 * 24 * 8; i++)
            harness_assert_nan(got[i]);
        free(got);
    }
    run_step(&pool, 0, NULL, (const int32_t[]){0, 1}); /* it can be begun anew */
    for (uint64_t token = 1; token < TOKENS; token++)
        run_step(&pool, token, (const int32_t[]){0, 1}, (const int32_t[]){0, 1});
    pool_assert_solved(&pool, "begun anew");
    pool_finish(&pool);
}

/* Numbers of a buffer that name no slot count as none, and nothing but slots is written. */
static void wild_slots(void **state)
{
    (void)state;
    static const int32_t wild[] = {4, -2, INT32_MAX, INT32_MIN, 5, -1, 1 << 24, 4};
    struct pool pool;
    pool_init(&pool, harness_context(0),
              &(struct problem_params){SHAPE(4, 1, 2, 16, 8), .normalise = true}, 4);
    dj_buffer *indices = harness_buffer(pool.context, wild, sizeof wild);
    struct dj_attention_args step = pool.placed.args;
    step.slots_in = (struct dj_indices){.buffer = indices};
    step.slots_out = (struct dj_indices){.buffer = indices, .offset = 16};
    assert_true(is_step(pool.placed.plan, &step));
    HARNESS_OK(dj_attention_run(pool.placed.plan, &step));
    pool_assert_solved(&pool, "wild slots");
    harness_assert_poisoned(pool.state, 0, dj_buffer_size(pool.state));
    dj_buffer_destroy(&indices);
    pool_finish(&pool);
}

/* Zeros in the header alone make no empty state of what another sequence left. */
static void cleared_headers(void **state)
{
    (void)state;
    static const int32_t slots[] = {0, 1};
    struct pool pool;
    pool_init(&pool, harness_context(0),
              &(struct problem_params){SHAPE(2, TOKENS, 24, 16, 8), .normalise = true}, 2);
    pool_run(&pool, 0, PREFIX, NULL, slots);
    const struct dj_state_header zero = {0};
    for (uint32_t n = 0; n < 2; n++)
        HARNESS_OK(dj_buffer_write(pool.state, pool_offset(&pool, n), &zero, sizeof zero));
    for (uint64_t token = PREFIX; token < PREFIX + 2; token++) {
        placed_poison(&pool.placed);
        run_step(&pool, token, slots, slots);
        struct placed row = pool.placed;
        row.args = placed_range(&pool.placed, token, 1);
        float *got = placed_output(&row);
        for (size_t i = 0; i < 2 * 24 * 8; i++)
            harness_assert_nan(got[i]);
        free(got);
    }
    pool_finish(&pool);
}

/* What is not a number stays in its head, and in v in its column; from k and v on it stays in the
 * state. */
static void not_numbers(void **state)
{
    (void)state;
    enum {
        HEADS = 2,
        DIM = 16,
        VALUES = 8
    };
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    static const int32_t slot[] = {0};
    struct pool pool;
    pool_init(&pool, harness_context(0),
              &(struct problem_params){SHAPE(1, 3, HEADS, DIM, VALUES), .map = DJ_MAP_ELU,
                                       .normalise = true},
              1);
    struct dj_attention_args *const args = &pool.placed.args;
    const struct dj_tensor *const tensors[] = {&args->q, &args->k, &args->v};
    float *good = NULL;
    for (int n = -1; n < 9; n++) {
        const size_t width = n / 3 < 2 ? DIM : VALUES, at = (HEADS + 1) * width + 5;
        const struct dj_tensor *const tensor = n >= 0 ? tensors[n / 3] : NULL;
        float kept;
        if (tensor != NULL) {
            harness_read(tensor->buffer, tensor->offset + at * sizeof kept, &kept, sizeof kept);
            HARNESS_OK(dj_buffer_write(tensor->buffer, tensor->offset + at * sizeof kept,
                                       &bad[n % 3], sizeof kept));
        }
        for (uint64_t token = 0; token < 3; token++)
            run_step(&pool, token, token > 0 ? slot : NULL, slot);
        if (tensor != NULL)
            HARNESS_OK(dj_buffer_write(tensor->buffer, tensor->offset + at * sizeof kept, &kept,
                                       sizeof kept));
        float *got = placed_output(&pool.placed);
        for (size_t i = 0; n >= 0 && i < 3 * HEADS * VALUES; i++) {
            const size_t token = i / (HEADS * VALUES), head = i / VALUES % HEADS, c = i % VALUES;
            const bool seen = n / 3 == 0 ? token == 1 : token >= 1;
            if (head == 1 && seen && (n / 3 < 2 || c == 5))
                assert_false(isfinite(got[i]));
            else
                assert_memory_equal(&got[i], &good[i], sizeof *got);
        }
        if (n < 0)
            good = got;
        else
            free(got);
    }
    free(good);
    pool_finish(&pool);
}

/* What has other kernels still has. */
static void left_to_others(void **state)
{
    (void)state;
    static const struct problem_params params[] = {
        {SHAPE(2, 1, 2, 8, 8), .map = DJ_MAP_COSFORMER, .normalise = true},
        {SHAPE(2, 1, 17, 16, 8), .normalise = true, .key_heads = 1},
        {SHAPE(2, 1, 2, 16, 8), .normalise = true, .spans = DJ_SPANS_PADDED},
        {SHAPE(2, 1, 2, 8, 8), .map = DJ_MAP_ELU, .query_places = 9, .key_places = 9},
        {SHAPE(2, 1, 2, 16, 8), .normalise = true, .full = true},
        {SHAPE(2, 1, 2, 16, 8), .normalise = true, .family = DJ_FAMILY_TILED},
        {SHAPE(2, 2, 2, 16, 8), .normalise = true},
    };
    for (size_t n = 0; n < sizeof params / sizeof *params; n++) {
        struct problem p;
        struct placed placed;
        problem_init(&p, &params[n]);
        problem_solve(&p);
        problem_place(&p, harness_context(0), LAYOUT_PLAIN, &placed);
        assert_false(is_step(placed.plan, &placed.args));
        HARNESS_OK(dj_attention_run(placed.plan, &placed.args));
        float *got = placed_output(&placed);
        problem_assert(&p, got, "left to others");
        free(got);
        placed_finish(&placed);
        problem_finish(&p);
    }
}

static const struct CMUnitTest tests[] = {
    HARNESS_TEST(steps_go_on),
    HARNESS_TEST(first_tokens),
    HARNESS_TEST(many_sequences),
    HARNESS_TEST(exponents),
    HARNESS_TEST(slots_are_numbers),
    HARNESS_TEST(slots_in_buffers),
    HARNESS_TEST(small_sums_outlast_large_ones),
    HARNESS_TEST(wild_slots),
    HARNESS_TEST(cleared_headers),
    HARNESS_TEST(strange_slots),
    HARNESS_TEST(not_numbers),
    HARNESS_TEST(left_to_others),
};

HARNESS_MAIN(tests)
