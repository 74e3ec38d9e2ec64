/* SPDX-License-Identifier: MIT */
/* Calls at the edge of what the contract allows: no tokens, no memory, fewer tokens than
 * snapshots in tensors that one binding cannot reach, and what needs says taken at its word. */
#include "pool.h"

#include <stdlib.h>
#include <string.h>

/* A sequence without tokens moves its state to each of its snapshots, and needs no tensors. */
static void no_tokens_fill_every_snapshot(void **state)
{
    (void)state;
    struct pool pool;
    pool_init(
        &pool, harness_context(0),
        &(struct problem_params){SHAPE(2, 40, 2, 8, 12), .map = DJ_MAP_ELU, .normalise = true}, 8);
    pool_run(&pool, 0, 40, NULL, (const int32_t[]){0, 1});
    for (uint32_t kind = DJ_SPANS_WHOLE; kind <= DJ_SPANS_PACKED; kind++) {
        static const int32_t none[4] = {0};
        struct dj_attention_args args = placed_range(&pool.placed, 0, 0);
        args.q.buffer = args.k.buffer = args.v.buffer = args.o.buffer = NULL;
        args.snapshots = 3;
        args.slots_in.host = (const int32_t[]){0, 1};
        args.slots_out.host = (const int32_t[]){2, 3, 4, 5, 6, 7};
        if (kind != DJ_SPANS_WHOLE)
            args.spans = (struct dj_spans){.kind = kind, .indices.host = none};
        if (kind == DJ_SPANS_PACKED) {
            args.spans.count = 2;
            args.q.shape[0] = args.k.shape[0] = args.v.shape[0] = args.o.shape[0] = 1;
        }
        HARNESS_OK(dj_attention_run(pool.placed.plan, &args));
        for (uint32_t i = 0; i < 6; i++)
            pool_assert_equal(&pool, 2 + i, i / 3);
        for (uint32_t i = 0; i < 6; i++)
            pool_zero(&pool, 2 + i);
    }
    pool_finish(&pool);
}

/* Without state and queries there is nothing to do, however many sequences have keys. */
static void keys_without_queries_are_nothing(void **state)
{
    (void)state;
    struct problem p;
    problem_init(&p, &(struct problem_params){SHAPE(1, 1, 4, 8, 8), .map = DJ_MAP_ELU, .full = true,
                                              .normalise = true});
    problem_solve(&p);
    struct placed placed;
    problem_place(&p, harness_context(0), LAYOUT_PLAIN, &placed);
    struct dj_attention_args args = placed.args;
    args.q.shape[0] = args.k.shape[0] = args.v.shape[0] = args.o.shape[0] = UINT64_C(1) << 62;
    args.q.shape[1] = args.o.shape[1] = 0;
    args.k.stride[0] = args.v.stride[0] = 0;
    struct dj_needs needs;
    HARNESS_OK(dj_attention_needs(placed.plan, &args, &needs));
    assert_int_equal(needs.parts, 0);
    HARNESS_OK(dj_attention_run(placed.plan, &args));
    placed_finish(&placed);
    problem_finish(&p);
}

/* One token of many sequences, further apart than a binding reaches, with two snapshots each. */
static void few_tokens_far_apart_with_snapshots(void **state)
{
    (void)state;
    enum {
        ROWS = 64,
        D = 4
    };
    dj_context *context = harness_context(0);
    struct dj_device_info info;
    HARNESS_OK(dj_context_device(context, &info));
    const uint64_t step = info.max_storage_range / 32 / 16 * 4; /* floats from row to row */
    const uint64_t size = ROWS * step * sizeof(float);
    if (size > info.max_allocation || size > UINT64_C(1) << 30) {
        print_message("# rows beyond a binding range of %llu bytes take too much memory\n",
                      (unsigned long long)info.max_storage_range);
        return;
    }
    dj_attention *plan = NULL;
    HARNESS_OK(dj_attention_create(
        context, &(struct dj_attention_params){.map = DJ_MAP_ELU, .heads = 1, .dim = D}, &plan));
    struct dj_needs needs;
    HARNESS_OK(dj_attention_needs(plan, NULL, &needs));
    dj_buffer *inputs = NULL, *outputs = NULL, *slots = NULL;
    HARNESS_OK(dj_buffer_create(context, &(struct dj_buffer_params){.size = size}, &inputs));
    HARNESS_OK(dj_buffer_create(context, &(struct dj_buffer_params){.size = size}, &outputs));
    HARNESS_OK(dj_buffer_create(
        context, &(struct dj_buffer_params){.size = 2 * ROWS * needs.slot_size}, &slots));
    const uint64_t shape[4] = {ROWS, 1, 1, D};
    struct dj_attention_args args = {.state = slots, .slot_count = 2 * ROWS, .snapshots = 2};
    dj_tensor_init(&args.q, inputs, 0, DJ_FLOAT32, shape);
    args.q.stride[0] = step;
    args.k = args.v = args.o = args.q;
    args.o.buffer = outputs;
    int32_t out[2 * ROWS];
    for (int32_t n = 0; n < ROWS; n++) {
        const float row[D] = {(float)n, 1, -1, 0.5f};
        HARNESS_OK(dj_buffer_write(inputs, (uint64_t)n * step * 4, row, sizeof(row)));
        out[2 * n] = 2 * n;
        out[2 * n + 1] = 2 * n + 1;
    }
    args.slots_out.host = out;
    HARNESS_OK(dj_attention_run(plan, &args));
    for (uint32_t n = 0; n < ROWS; n++) { /* a token that sees itself alone gives its value */
        float got[D];
        harness_read(outputs, (uint64_t)n * step * 4, got, sizeof(got));
        const double want[D] = {n, 1, -1, 0.5};
        harness_assert_within(harness_error(got, want, D), 1e-6, "one token");
    }
    dj_buffer_destroy(&slots);
    dj_buffer_destroy(&outputs);
    dj_buffer_destroy(&inputs);
    dj_attention_destroy(&plan);
}

/* The memory that needs names, given, leads to the same parts and dispatches. */
static void needs_stand_when_taken_at_their_word(void **state)
{
    (void)state;
    static const struct dj_attention_params plans[] = {
        {.map = DJ_MAP_SOFTMAX,
         .heads = 9,
         .key_heads = 3,
         .dim = 32,
         .value_dim = 96,
         .causal = DJ_OFF},
        {.map = DJ_MAP_ELU,
         .heads = 9,
         .key_heads = 3,
         .dim = 32,
         .value_dim = 96,
         .causal = DJ_OFF},
        {.map = DJ_MAP_ELU, .heads = 6, .key_heads = 2, .dim = 16},
    };
    const struct dj_buffer_params huge = {.size = UINT64_C(2047) << 20};
    struct dj_device_info info;
    HARNESS_OK(dj_context_device(harness_context(0), &info));
    if (huge.size > info.max_allocation) {
        print_message("# the device allocates at most %llu bytes\n",
                      (unsigned long long)info.max_allocation);
        return;
    }
    dj_buffer *in = NULL, *out = NULL;
    HARNESS_OK(dj_buffer_create(harness_context(0), &huge, &in));
    HARNESS_OK(dj_buffer_create(harness_context(0), &huge, &out));
    for (size_t n = 0; n < 60; n++) {
        const struct dj_attention_params *p = &plans[n / 20];
        const uint64_t e = p->value_dim ? p->value_dim : p->dim;
        const bool causal = p->causal != DJ_OFF;
        const uint64_t B = n % 20 ? 1 + harness_random() % 12 : 9;
        const uint64_t T = n % 20 ? 1 + harness_random() % 120000 : 116580;
        const uint64_t Q = causal ? T : n % 20 ? 1 + harness_random() % 5000 : 2;
        struct dj_attention_args args = {0};
        dj_tensor_init(&args.q, in, 0, DJ_FLOAT32, (uint64_t[]){B, Q, p->heads, p->dim});
        dj_tensor_init(&args.k, in, 0, DJ_FLOAT32, (uint64_t[]){B, T, p->key_heads, p->dim});
        dj_tensor_init(&args.v, in, 0, DJ_FLOAT32, (uint64_t[]){B, T, p->key_heads, e});
        dj_tensor_init(&args.o, out, 0, DJ_FLOAT32, (uint64_t[]){B, Q, p->heads, e});
        for (int i = 0; i < 2 && B * T * p->key_heads * e * 4 > huge.size; i++)
            args.k.stride[i] = args.v.stride[i] = 0; /* so that all fits */
        if (causal)
            args.q.stride[0] = 0;
        dj_attention *plan = NULL;
        HARNESS_OK(dj_attention_create(harness_context(0), p, &plan));
        struct dj_needs first, again;
        if (dj_attention_needs(plan, &args, &first) == DJ_SUCCESS) {
            args.scratch.size = first.scratch_size;
            HARNESS_OK(dj_attention_needs(plan, &args, &again));
            if (first.parts != again.parts || first.dispatches != again.dispatches ||
                first.scratch_size != again.scratch_size)
                fail_msg("case %zu, B=%llu T=%llu Tq=%llu: %u parts, then %u", n,
                         (unsigned long long)B, (unsigned long long)T, (unsigned long long)Q,
                         first.parts, again.parts);
        } else {
            assert_true(causal); /* o beyond its buffer */
        }
        dj_attention_destroy(&plan);
    }
    dj_buffer_destroy(&in);
    dj_buffer_destroy(&out);
}

/* Indices that the call's own scratch memory would overwrite. */
static void indices_in_scratch_are_refused(void **state)
{
    (void)state;
    struct problem p;
    problem_init(
        &p, &(struct problem_params){SHAPE(1, 40, 2, 8, 8), .map = DJ_MAP_ELU, .normalise = true});
    problem_solve(&p);
    struct placed placed;
    problem_place(&p, harness_context(0), LAYOUT_PLAIN, &placed);
    struct dj_attention_args args = placed.args;
    struct dj_needs needs;
    args.spans = (struct dj_spans){.kind = DJ_SPANS_PADDED, .indices.buffer = placed.args.q.buffer};
    HARNESS_OK(dj_attention_needs(placed.plan, &args, &needs));
    dj_buffer *scratch = harness_poisoned(harness_context(0), needs.scratch_size);
    args.scratch = (struct dj_scratch){.buffer = scratch, .size = needs.scratch_size};
    args.spans.indices.buffer = scratch;
    HARNESS_RESULT(dj_attention_run(placed.plan, &args), DJ_ERROR_INVALID_ARGUMENT);
    harness_assert_poisoned(scratch, 0, needs.scratch_size);
    dj_buffer_destroy(&scratch);
    placed_finish(&placed);
    problem_finish(&p);
}

/* What no plan of this kind wrote is not taken for a state, but by one loud mark: by every head and
 * feature, although the slot may become a state meanwhile. */
static void strange_slots_give_nan(void **state)
{
    (void)state;
    enum {
        HEADS = 24,
        OUTPUTS = 40 * HEADS * 8
    };
    const struct problem_params params = {SHAPE(1, 40, HEADS, 8, 8), .map = DJ_MAP_WDCF,
                                          .normalise = true};
    struct problem_params wider = params;
    wider.features = 16;
    struct pool pool, other;
    pool_init(&pool, harness_context(0), &params, 4);
    pool_init(&other, harness_context(0), &wider, 4);
    pool_run(&other, 0, 40, NULL, (const int32_t[]){0});
    for (int way = 0; way < 6; way++) { /* poison, another plan's state, and one of its own */
        const bool in_place = way % 2 == 1;
        struct dj_attention_args args = pool.placed.args;
        const int32_t in = way / 2 == 2 ? 3 : 0;
        if (way / 2 == 1) {
            args.state = other.state;
            args.state_offset = pool_offset(&other, 0);
        }
        if (way / 2 == 2)
            pool_run(&pool, 0, 40, NULL, (const int32_t[]){3});
        args.slots_in.host = &in;
        if (in_place)
            args.slots_out.host = &in;
        HARNESS_OK(dj_attention_run(pool.placed.plan, &args));
        float *got = placed_output(&pool.placed);
        for (size_t i = 0; i < OUTPUTS; i++)
            assert_int_equal(got[i] == got[i], way / 2 == 2);
        free(got);
    }
    pool_finish(&other);
    pool_finish(&pool);
}

/* cosFormer beyond M, by way of a state, is NaN and not something of the wrong sign. */
static void cosformer_ends_at_its_last_place(void **state)
{
    (void)state;
    struct pool pool;
    pool_init(&pool, harness_context(0),
              &(struct problem_params){SHAPE(1, 12, 1, 8, 8), .map = DJ_MAP_COSFORMER,
                                       .normalise = true, .max_tokens = 16},
              1);
    pool_run(&pool, 0, 12, NULL, (const int32_t[]){0});
    pool_run(&pool, 0, 12, (const int32_t[]){0}, NULL);
    float *got = placed_output(&pool.placed);
    for (size_t i = 0; i < 12 * 8; i++)
        assert_int_equal(got[i] == got[i], i < 4 * 8);
    free(got);
    pool_finish(&pool);
}

static const struct CMUnitTest tests[] = {
    HARNESS_TEST(no_tokens_fill_every_snapshot),
    HARNESS_TEST(keys_without_queries_are_nothing),
    HARNESS_TEST(few_tokens_far_apart_with_snapshots),
    HARNESS_TEST(needs_stand_when_taken_at_their_word),
    HARNESS_TEST(indices_in_scratch_are_refused),
    HARNESS_TEST(strange_slots_give_nan),
    HARNESS_TEST(cosformer_ends_at_its_last_place),
};

HARNESS_MAIN(tests)
