/* SPDX-License-Identifier: MIT */
/* States: prefill, steps and any split are the same; slots are copied, forked and refused as
 * promised. */
#include "problem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A problem on one device with a pool of slots. */
struct pool {
    struct problem problem;
    struct placed placed;
    struct dj_needs needs;
    dj_buffer *state;
    uint32_t slots;
};

enum {
    POOL_OFFSET_UNITS = 3
}; /* the pool begins at this many slot alignments */

static uint64_t slot_offset(const struct pool *pool, uint32_t slot)
{
    return POOL_OFFSET_UNITS * pool->needs.slot_alignment + slot * pool->needs.slot_size;
}

static void pool_init(struct pool *pool, dj_context *context, const struct problem_params *params,
                      uint32_t slots)
{
    problem_init(&pool->problem, params);
    problem_solve(&pool->problem);
    problem_place(&pool->problem, context, LAYOUT_PLAIN, &pool->placed);
    HARNESS_OK(dj_attention_needs(pool->placed.plan, NULL, &pool->needs));
    assert_true(pool->needs.slot_size >= sizeof(struct dj_state_header));
    pool->slots = slots;
    pool->state = harness_poisoned(context, slot_offset(pool, slots) + 256);
    pool->placed.args.state = pool->state;
    pool->placed.args.state_offset = slot_offset(pool, 0);
    pool->placed.args.slot_count = slots;
}

static void pool_finish(struct pool *pool)
{
    dj_buffer_destroy(&pool->state);
    placed_finish(&pool->placed);
    problem_finish(&pool->problem);
}

/* A slot's bytes, to be freed. */
static void *slot_read(const struct pool *pool, uint32_t slot)
{
    void *data = malloc(pool->needs.slot_size);
    assert_non_null(data);
    harness_read(pool->state, slot_offset(pool, slot), data, pool->needs.slot_size);
    return data;
}

static void slot_zero(const struct pool *pool, uint32_t slot)
{
    void *zeros = calloc(1, pool->needs.slot_size);
    assert_non_null(zeros);
    HARNESS_OK(dj_buffer_write(pool->state, slot_offset(pool, slot), zeros, pool->needs.slot_size));
    free(zeros);
}

static void assert_slots_equal(const struct pool *pool, uint32_t a, uint32_t b)
{
    void *x = slot_read(pool, a), *y = slot_read(pool, b);
    assert_memory_equal(x, y, pool->needs.slot_size);
    free(x);
    free(y);
}

static void assert_tokens(const struct pool *pool, uint32_t slot, uint64_t tokens)
{
    const struct twin_attention *t = &pool->problem.twin;
    struct dj_state_header header, zero = {0};
    harness_read(pool->state, slot_offset(pool, slot), &header, sizeof(header));
    assert_int_equal(header.layout, DJ_STATE_LAYOUT);
    assert_int_equal(header.map, t->map);
    assert_int_equal(header.tokens_low | (uint64_t)header.tokens_high << 32, tokens);
    assert_int_equal(header.heads, t->heads);
    assert_int_equal(header.dim, t->dim);
    assert_int_equal(header.value_dim, t->value_dim);
    assert_memory_equal(header.reserved, zero.reserved, sizeof(zero.reserved));
}

static void assert_slot_untouched(const struct pool *pool, uint32_t slot)
{
    harness_assert_poisoned(pool->state, slot_offset(pool, slot), pool->needs.slot_size);
}

static void run_range(const struct pool *pool, uint64_t first, uint64_t count, const int32_t *in,
                      const int32_t *out)
{
    struct dj_attention_args args = placed_range(&pool->placed, first, count);
    args.slots_in = in;
    args.slots_out = out;
    HARNESS_OK(dj_attention_run(pool->placed.plan, &args));
}

static void assert_solved(const struct pool *pool, const char *what)
{
    float *got = placed_output(&pool->placed);
    problem_assert(&pool->problem, got, what);
    free(got);
}

/* A random length, steps and 0 among them. */
static uint64_t piece(uint64_t left)
{
    const uint64_t sizes[] = {0, 1, 1, 2, 31, 32, 33, 64, 65, 5 + harness_random() % 60};
    const uint64_t size = sizes[harness_random() % 10];
    return size < left ? size : left;
}

static const float decays[] = {1, 0.97f, 0.5f};

static const struct problem_params variants[] = {
    {.map = DJ_MAP_WDCF,
     .batch = 2,
     .tokens = 150,
     .heads = 3,
     .dim = 60,
     .value_dim = 8,
     .normalise = true,
     .weighted = true,
     .own_numbers = true},
    {.map = DJ_MAP_WDCF,
     .batch = 2,
     .tokens = 150,
     .heads = 3,
     .dim = 64,
     .value_dim = 64,
     .normalise = true,
     .decay = decays,
     .decay_count = 3,
     .sigma = 3},
    {.map = DJ_MAP_SOFTMAX_DCT,
     .batch = 2,
     .tokens = 150,
     .heads = 3,
     .dim = 8,
     .value_dim = 80,
     .decay = decays,
     .decay_count = 3},
};
enum {
    VARIANT_COUNT = sizeof(variants) / sizeof(*variants)
};

/* The pieces go to and fro between two sets of slots, so that reading and writing never share one.
 */
static void splits_equal_whole(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < harness_device_count(); i++) {
        for (size_t n = 0; n < VARIANT_COUNT; n++) {
            struct pool pool;
            pool_init(&pool, harness_context(i), &variants[n], 4);
            const int32_t slots[2][2] = {{0, 2}, {3, 1}}, none[2] = {-1, -1};
            for (int split = 0; split < 4; split++) {
                uint64_t first = 0;
                for (uint32_t turn = 0; first < 150; turn++) {
                    const uint64_t count = split ? piece(150 - first) : 150;
                    run_range(&pool, first, count, turn ? slots[turn % 2] : none,
                              slots[(turn + 1) % 2]);
                    first += count;
                    assert_tokens(&pool, (uint32_t)slots[(turn + 1) % 2][1], first);
                }
                assert_solved(&pool, split ? "random pieces" : "prefill");
                placed_poison(&pool.placed);
            }
            pool_finish(&pool);
        }
    }
}

/* Steps in place, all in one submission, in a recorder of exactly the size they need. */
static void steps_equal_whole(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < harness_device_count(); i++) {
        for (size_t n = 0; n < VARIANT_COUNT; n++) {
            struct problem_params params = variants[n];
            params.tokens = 70;
            struct pool pool;
            pool_init(&pool, harness_context(i), &params, 2);
            slot_zero(&pool, 0);
            slot_zero(&pool, 1);
            struct dj_needs needs;
            struct dj_attention_args step = placed_range(&pool.placed, 0, 1);
            const int32_t slots[2] = {0, 1};
            step.slots_in = step.slots_out = slots;
            HARNESS_OK(dj_attention_needs(pool.placed.plan, &step, &needs));
            const struct dj_recorder_params size = {.dispatches =
                                                        needs.dispatches * (uint32_t)params.tokens,
                                                    .ring_size = needs.ring_size * params.tokens};
            dj_recorder *recorder = NULL;
            HARNESS_OK(dj_recorder_create(harness_context(i), &size, &recorder));
            dj_buffer *scratch = harness_poisoned(harness_context(i), needs.scratch_size);
            HARNESS_OK(dj_recorder_begin(recorder));
            for (uint64_t token = 0; token < params.tokens; token++) {
                step = placed_range(&pool.placed, token, 1);
                step.slots_in = step.slots_out = slots;
                step.scratch = (struct dj_scratch){.buffer = scratch, .size = needs.scratch_size};
                step.barriers =
                    DJ_BARRIER_BEFORE | DJ_BARRIER_AFTER_COMPUTE | DJ_BARRIER_AFTER_HOST;
                HARNESS_OK(dj_attention_record(pool.placed.plan, recorder, &step));
            }
            HARNESS_OK(dj_recorder_submit(recorder));
            HARNESS_OK(dj_recorder_wait(recorder, UINT64_MAX));
            assert_solved(&pool, "steps");
            assert_tokens(&pool, 0, params.tokens);
            assert_tokens(&pool, 1, params.tokens);
            dj_recorder_destroy(&recorder);
            dj_buffer_destroy(&scratch);
            pool_finish(&pool);
        }
    }
}

/* A slot of zeros, -1 and no slots at all start alike; -1 as output leaves every slot alone. */
static void zero_slot_is_empty(void **state)
{
    (void)state;
    struct pool pool;
    pool_init(&pool, harness_context(0), &variants[1], 4);
    slot_zero(&pool, 0);
    slot_zero(&pool, 1);
    run_range(&pool, 0, 150, (const int32_t[]){0, 1}, NULL);
    float *zeros = placed_output(&pool.placed);
    problem_assert(&pool.problem, zeros, "zero slots");
    for (int way = 0; way < 2; way++) {
        placed_poison(&pool.placed);
        run_range(&pool, 0, 150, way ? NULL : (const int32_t[]){-1, -1},
                  way ? NULL : (const int32_t[]){-1, -1});
        float *other = placed_output(&pool.placed);
        assert_memory_equal(zeros, other, 2 * 150 * 3 * 64 * sizeof(*zeros));
        free(other);
    }
    assert_slot_untouched(&pool, 2);
    assert_slot_untouched(&pool, 3);
    free(zeros);
    pool_finish(&pool);
}

/* T = 0 copies states bit for bit; an empty one is written with its header. */
static void no_tokens_copy_states(void **state)
{
    (void)state;
    for (size_t n = 0; n < VARIANT_COUNT; n++) {
        struct pool pool;
        pool_init(&pool, harness_context(0), &variants[n], 6);
        run_range(&pool, 0, 100, NULL, (const int32_t[]){0, 1});
        placed_poison(&pool.placed);
        run_range(&pool, 0, 0, (const int32_t[]){0, 1}, (const int32_t[]){2, 1});
        assert_slots_equal(&pool, 0, 2);
        assert_tokens(&pool, 1, 100);
        run_range(&pool, 0, 0, (const int32_t[]){0, -1}, (const int32_t[]){-1, 4});
        assert_slot_untouched(&pool, 3);
        assert_slot_untouched(&pool, 5);
        struct dj_state_header empty; /* written or all zero: both are the empty state */
        harness_read(pool.state, slot_offset(&pool, 4), &empty, sizeof(empty));
        assert_int_equal(empty.tokens_low | empty.tokens_high, 0);
        /* nothing of o was written, and the copies and the empty state are worth what they copy */
        harness_assert_poisoned(pool.placed.buffers[3], 0, dj_buffer_size(pool.placed.buffers[3]));
        run_range(&pool, 0, 100, (const int32_t[]){4, -1}, (const int32_t[]){4, 3});
        run_range(&pool, 100, 50, (const int32_t[]){2, 1}, NULL);
        assert_solved(&pool, "after copies");
        assert_slots_equal(&pool, 0, 4);
        pool_finish(&pool);
    }
}

/* One prefix, two continuations: the prefix's slot stays as it was, each branch is right. */
static void fork_continues_twice(void **state)
{
    (void)state;
    struct problem_params params = variants[1];
    struct pool pool;
    pool_init(&pool, harness_context(0), &params, 5);
    /* both sequences begin with the same 90 tokens */
    const struct twin_attention *t = &pool.problem.twin;
    const size_t prefix = 90 * t->heads * t->dim, whole = t->tokens * t->heads * t->dim;
    float *inputs[3] = {pool.problem.q, pool.problem.k, pool.problem.v}; /* d = e = 64 here */
    assert_int_equal(t->dim, t->value_dim);
    for (size_t i = 0; i < 3; i++) {
        memcpy(inputs[i] + whole, inputs[i], prefix * sizeof(float));
        struct dj_tensor *tensor = (struct dj_tensor *[]){&pool.placed.args.q, &pool.placed.args.k,
                                                          &pool.placed.args.v}[i];
        HARNESS_OK(
            dj_buffer_write(tensor->buffer, tensor->offset, inputs[i], 2 * whole * sizeof(float)));
    }
    problem_solve(&pool.problem);

    run_range(&pool, 0, 90, NULL, (const int32_t[]){2, -1});
    void *before = slot_read(&pool, 2);
    run_range(&pool, 90, 60, (const int32_t[]){2, 2}, (const int32_t[]){0, 4});
    void *after = slot_read(&pool, 2);
    assert_memory_equal(before, after, pool.needs.slot_size);
    assert_solved(&pool, "fork");
    assert_tokens(&pool, 0, 150);
    assert_tokens(&pool, 4, 150);
    assert_slot_untouched(&pool, 1);
    assert_slot_untouched(&pool, 3);
    harness_assert_poisoned(pool.state, 0, slot_offset(&pool, 0));
    harness_assert_poisoned(pool.state, slot_offset(&pool, 5), 256);
    free(before);
    free(after);
    pool_finish(&pool);
}

/* A pool that one binding cannot reach: each sequence's slots are bound by themselves. */
static void pool_beyond_binding_range(void **state)
{
    (void)state;
    struct problem_params params = variants[1];
    params.heads = 2;
    struct dj_device_info info;
    HARNESS_OK(dj_context_device(harness_context(0), &info));
    struct pool small, large;
    pool_init(&small, harness_context(0), &params, 4);
    const uint64_t slots = info.max_storage_range / small.needs.slot_size + 2;
    if (slots * small.needs.slot_size > UINT64_C(1) << 30) {
        print_message(
            "# a pool beyond this device's %llu bytes of binding range takes too much memory\n",
            (unsigned long long)info.max_storage_range);
        pool_finish(&small);
        return;
    }
    const int32_t last = (int32_t)slots - 1;
    pool_init(&large, harness_context(0), &params, (uint32_t)slots);
    run_range(&large, 0, 90, NULL, (const int32_t[]){last, 1});
    run_range(&large, 90, 1, (const int32_t[]){last, 1}, (const int32_t[]){last, 0});
    run_range(&large, 91, 59, (const int32_t[]){last, 0}, (const int32_t[]){2, 0});
    assert_solved(&large, "large pool");
    assert_tokens(&large, 2, 150);
    assert_tokens(&large, 0, 150);
    assert_tokens(&large, 1, 90);
    assert_tokens(&large, (uint32_t)last, 91);
    assert_slot_untouched(&large, 3);
    run_range(&large, 0, 0, (const int32_t[]){last, -1}, (const int32_t[]){4, -1});
    assert_slots_equal(&large, 4, (uint32_t)last);
    pool_finish(&large);
    pool_finish(&small);
}

/* Each sequence of a batch comes out bit for bit as when it runs alone, and so does its state. */
static void batch_equals_each_alone(void **state)
{
    (void)state;
    struct problem_params params = variants[0];
    params.batch = 3;
    struct pool pool;
    pool_init(&pool, harness_context(0), &params, 6);
    run_range(&pool, 0, 150, NULL, (const int32_t[]){0, 1, 2});
    float *together = placed_output(&pool.placed);
    problem_assert(&pool.problem, together, "together");
    placed_poison(&pool.placed);
    for (uint64_t b = 0; b < 3; b++) {
        struct dj_attention_args args = pool.placed.args;
        struct dj_tensor *tensors[4] = {&args.q, &args.k, &args.v, &args.o};
        for (size_t i = 0; i < 4; i++) {
            tensors[i]->offset += 4 * b * tensors[i]->stride[0];
            tensors[i]->shape[0] = 1;
        }
        const int32_t out = (int32_t)(3 + b);
        args.slots_out = &out;
        HARNESS_OK(dj_attention_run(pool.placed.plan, &args));
    }
    float *alone = placed_output(&pool.placed);
    problem_assert(&pool.problem, alone, "alone");
    for (uint32_t b = 0; b < 3; b++)
        assert_tokens(&pool, 3 + b, 150);
    const size_t count = 3 * 150 * params.heads * params.value_dim;
    assert_memory_equal(together, alone, count * sizeof(*alone));
    free(alone);
    free(together);
    pool_finish(&pool);
}

/* Without causality the state counts as tokens before the first: two calls, of which the second
 * sees everything. */
static void state_joins_full_attention(void **state)
{
    (void)state;
    for (int map = 0; map < 2; map++) {
        const struct problem_params params = {.map = map,
                                              .batch = 2,
                                              .tokens = 90,
                                              .heads = 2,
                                              .dim = 64,
                                              .value_dim = 60,
                                              .full = true,
                                              .normalise = !map};
        struct pool pool;
        pool_init(&pool, harness_context(0), &params, 2);
        const int32_t slots[2] = {1, 0};
        run_range(&pool, 0, 50, NULL, slots);
        run_range(&pool, 50, 40, slots, slots);
        float *got = placed_output(&pool.placed);
        for (size_t b = 0; b < 2; b++) { /* the first call's rows saw 50 tokens alone */
            const size_t at = (b * 90 + 50) * 2 * 60;
            harness_assert_within(harness_error(got + at, pool.problem.want + at, 40 * 2 * 60),
                                  pool.problem.bound, "rows of the second call");
        }
        assert_tokens(&pool, 0, 90);
        free(got);
        pool_finish(&pool);
    }
}

/* The sums in a slot are those of the published layout: the twin's, once scaled. */
static void slot_holds_published_sums(void **state)
{
    (void)state;
    const struct problem_params params = {
        .batch = 1, .tokens = 40, .heads = 2, .dim = 12, .value_dim = 8, .normalise = true};
    struct pool pool;
    pool_init(&pool, harness_context(0), &params, 1);
    run_range(&pool, 0, 40, NULL, (const int32_t[]){0});
    const struct twin_attention *t = &pool.problem.twin;
    uint8_t *slot = slot_read(&pool, 0);
    const size_t floats = 2 * 12 * 8 + 3 * 12, block = (floats * 4 + 15) / 16 * 16;
    assert_true(pool.needs.slot_size >= sizeof(struct dj_state_header) + 2 * block);
    for (size_t h = 0; h < 2; h++) {
        double sum[12][8] = {{0}}, norm[12] = {0}, a[12], x[12];
        for (size_t i = 0; i < 40; i++) {
            for (size_t c = 0; c < 12; c++)
                x[c] = sqrt(t->scale) * pool.problem.k[(i * 2 + h) * 12 + c];
            twin_log_features(t, h, x, a);
            for (size_t f = 0; f < 12; f++) {
                norm[f] += exp(a[f]);
                for (size_t c = 0; c < 8; c++)
                    sum[f][c] += exp(a[f]) * pool.problem.v[(i * 2 + h) * 8 + c];
            }
        }
        float s[2 * 96 + 36];
        memcpy(s, slot + sizeof(struct dj_state_header) + h * block, sizeof(s));
        for (size_t f = 0; f < 12; f++) {
            const double exponent = (double)s[216 + f];
            assert_true(exponent == floor(exponent));
            const double z = ((double)s[192 + f] + (double)s[204 + f]) * exp2(exponent);
            assert_true(fabs(z - norm[f]) <= 1e-5 * norm[f]);
            for (size_t c = 0; c < 8; c++) {
                const double value =
                    ((double)s[f * 8 + c] + (double)s[96 + f * 8 + c]) * exp2(exponent);
                assert_true(fabs(value - sum[f][c]) <= 1e-5 * norm[f]);
            }
        }
    }
    free(slot);
    pool_finish(&pool);
}

/* Slots that break a rule; the pool has 4, the batch 2. */
struct refusal {
    const char *name;
    int32_t in[2], out[2];
};

static const struct refusal refusals[] = {
    {"an input beyond the pool", {4, 0}, {-1, -1}},
    {"an output beyond the pool", {-1, -1}, {0, 4}},
    {"an input below -1", {-2, 0}, {-1, -1}},
    {"an output below -1", {-1, -1}, {1, -2}},
    {"one output for two", {0, 1}, {3, 3}},
    {"another's input as output", {0, 1}, {1, 2}},
    {"exchanged slots", {0, 1}, {1, 0}},
};

static void aliased_slots_are_refused(void **state)
{
    (void)state;
    struct pool pool;
    pool_init(&pool, harness_context(0), &variants[2], 4);
    for (size_t i = 0; i < sizeof(refusals) / sizeof(*refusals); i++) {
        struct dj_attention_args args = pool.placed.args;
        args.slots_in = refusals[i].in;
        args.slots_out = refusals[i].out;
        harness_assert_result(dj_attention_run(pool.placed.plan, &args), DJ_ERROR_INVALID_ARGUMENT,
                              refusals[i].name, __FILE__, __LINE__);
    }
    struct dj_attention_args args = pool.placed.args;
    args.slots_out = (const int32_t[]){0, 1};
    args.state_offset += pool.needs.slot_alignment / 2;
    HARNESS_RESULT(dj_attention_run(pool.placed.plan, &args), DJ_ERROR_INVALID_ARGUMENT);
    args.state_offset = slot_offset(&pool, 0);
    args.slot_count = 6; /* the buffer ends before that */
    HARNESS_RESULT(dj_attention_run(pool.placed.plan, &args), DJ_ERROR_INVALID_ARGUMENT);
    harness_assert_poisoned(pool.state, 0, dj_buffer_size(pool.state));
    harness_assert_poisoned(pool.placed.buffers[3], 0, dj_buffer_size(pool.placed.buffers[3]));
    pool_finish(&pool);
}

static const struct CMUnitTest tests[] = {
    HARNESS_TEST(splits_equal_whole),         HARNESS_TEST(steps_equal_whole),
    HARNESS_TEST(zero_slot_is_empty),         HARNESS_TEST(no_tokens_copy_states),
    HARNESS_TEST(fork_continues_twice),       HARNESS_TEST(batch_equals_each_alone),
    HARNESS_TEST(state_joins_full_attention), HARNESS_TEST(slot_holds_published_sums),
    HARNESS_TEST(aliased_slots_are_refused),  HARNESS_TEST(pool_beyond_binding_range),
};

HARNESS_MAIN(tests)
