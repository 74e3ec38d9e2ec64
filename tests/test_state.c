/* SPDX-License-Identifier: MIT */
/* States: prefill, steps and any split are the same, whatever the map; slots are copied, forked and
 * hold what the header says. */
#include "pool.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    TOKENS = 150
};

static const float decays[] = {1, 0.97f, 0.5f};
#define DECAYS .decay = decays, .decay_count = 3

/* Every map, with key heads as many as heads, fewer and one, and the storage types. Head shapes are
 * few, for a driver compiles kernels for each. */
static const struct problem_params variants[] = {
    {SHAPE(2, TOKENS, 3, 60, 8), .map = DJ_MAP_WDCF, .normalise = true, .weighted = true,
     .own_numbers = true},
    {SHAPE(2, TOKENS, 3, 64, 64), .map = DJ_MAP_WDCF, .normalise = true, DECAYS, .sigma = 3},
    {SHAPE(2, TOKENS, 3, 8, 80), .map = DJ_MAP_SOFTMAX_DCT, DECAYS},
    {SHAPE(2, TOKENS, 6, 16, 8), .map = DJ_MAP_WDCF, .normalise = true, .key_heads = 2,
     .features = 24, .key_normalise = true, .own_numbers = true},
    {SHAPE(2, TOKENS, 4, 16, 8), .map = DJ_MAP_PFF, .normalise = true, .key_heads = 1,
     .features = 24, .weighted = true, DECAYS},
    {SHAPE(2, TOKENS, 2, 16, 8), .map = DJ_MAP_PRF, .features = 24, .gaussian = true},
    {SHAPE(2, TOKENS, 4, 16, 8), .map = DJ_MAP_PERFORMER_RELU, .normalise = true, .key_heads = 2,
     .features = 24},
    {SHAPE(2, TOKENS, 4, 16, 8), .map = DJ_MAP_COSFORMER, .normalise = true, .key_heads = 2},
    {SHAPE(2, TOKENS, 4, 16, 8), .map = DJ_MAP_ELU, .normalise = true, .key_heads = 2, DECAYS},
    {SHAPE(2, TOKENS, 2, 16, 8), .map = DJ_MAP_RELU, .normalise = true},
    {SHAPE(2, TOKENS, 4, 16, 8), .map = DJ_MAP_IDENTITY, .key_heads = 2, DECAYS},
    {SHAPE(2, TOKENS, 4, 16, 8), .map = DJ_MAP_ELU, .key_heads = 2, .query_places = TOKENS,
     .key_places = TOKENS + 10, DECAYS},
    {SHAPE(2, TOKENS, 4, 16, 8), .map = DJ_MAP_WDCF, .normalise = true, .key_heads = 2,
     .features = 24, .q_type = DJ_FLOAT16, .k_type = DJ_FLOAT16, .v_type = DJ_FLOAT16,
     .o_type = DJ_FLOAT16},
    {SHAPE(2, TOKENS, 2, 16, 8), .map = DJ_MAP_ELU, .normalise = true, .q_type = DJ_BFLOAT16,
     .k_type = DJ_BFLOAT16, .v_type = DJ_BFLOAT16, .o_type = DJ_BFLOAT16, DECAYS},
};
enum {
    VARIANTS = sizeof(variants) / sizeof(*variants)
};

/* A random length, steps and 0 among them. */
static uint64_t piece(uint64_t left)
{
    const uint64_t sizes[] = {0, 1, 1, 2, 31, 32, 33, 64, 65, 5 + harness_random() % 60};
    const uint64_t size = sizes[harness_random() % 10];
    return size < left ? size : left;
}

/* The pieces go to and fro between two sets of slots, so that reading and writing never share one.
 */
static void assert_splits(struct pool *pool)
{
    const int32_t slots[2][2] = {{0, 2}, {3, 1}}, none[2] = {-1, -1};
    for (int split = 0; split < 3; split++) {
        uint64_t first = 0;
        for (uint32_t turn = 0; first < TOKENS; turn++) {
            const uint64_t count = split ? piece(TOKENS - first) : TOKENS;
            pool_run(pool, first, count, turn ? slots[turn % 2] : none, slots[(turn + 1) % 2]);
            first += count;
            pool_assert_tokens(pool, (uint32_t)slots[(turn + 1) % 2][1], first);
        }
        pool_assert_solved(pool, split ? "random pieces" : "prefill");
        placed_poison(&pool->placed);
    }
}

/* Steps in place, all in one submission, in a recorder of exactly the size they need, after a
 * prefill. */
static void assert_steps(struct pool *pool)
{
    enum {
        STEPS = 70
    };
    static const int32_t slots[2] = {0, 1};
    const dj_attention *plan = pool->placed.plan;
    pool_zero(pool, 0);
    pool_zero(pool, 1);
    struct dj_needs needs;
    struct dj_attention_args step = placed_range(&pool->placed, 0, 1);
    step.slots_in.host = step.slots_out.host = slots;
    HARNESS_OK(dj_attention_needs(plan, &step, &needs));
    const struct dj_recorder_params size = {.dispatches = needs.dispatches * STEPS,
                                            .ring_size = needs.ring_size * STEPS};
    dj_recorder *recorder = NULL;
    HARNESS_OK(dj_recorder_create(pool->context, &size, &recorder));
    dj_buffer *scratch = harness_poisoned(pool->context, needs.scratch_size);
    HARNESS_OK(dj_recorder_begin(recorder));
    for (uint64_t token = 0; token < STEPS; token++) {
        step = placed_range(&pool->placed, token, 1);
        step.slots_in.host = step.slots_out.host = slots;
        step.scratch = (struct dj_scratch){.buffer = scratch, .size = needs.scratch_size};
        step.barriers = DJ_BARRIER_BEFORE | DJ_BARRIER_AFTER_COMPUTE | DJ_BARRIER_AFTER_HOST;
        HARNESS_OK(dj_attention_record(plan, recorder, &step));
    }
    HARNESS_OK(dj_recorder_submit(recorder));
    HARNESS_OK(dj_recorder_wait(recorder, UINT64_MAX));
    pool_assert_tokens(pool, 0, STEPS);
    pool_assert_tokens(pool, 1, STEPS);
    pool_run(pool, STEPS, TOKENS - STEPS, slots, slots);
    pool_assert_solved(pool, "steps, then a piece");
    pool_assert_tokens(pool, 1, TOKENS);
    dj_recorder_destroy(&recorder);
    dj_buffer_destroy(&scratch);
}

static void pieces_and_steps_equal_whole(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < harness_device_count(); i++) {
        for (size_t n = 0; n < VARIANTS; n++) {
            struct pool pool;
            pool_init(&pool, harness_context(i), &variants[n], 4);
            assert_splits(&pool);
            assert_steps(&pool);
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
    pool_zero(&pool, 0);
    pool_zero(&pool, 1);
    pool_run(&pool, 0, TOKENS, (const int32_t[]){0, 1}, NULL);
    float *zeros = placed_output(&pool.placed);
    problem_assert(&pool.problem, zeros, "zero slots");
    for (int way = 0; way < 2; way++) {
        placed_poison(&pool.placed);
        pool_run(&pool, 0, TOKENS, way ? NULL : (const int32_t[]){-1, -1},
                 way ? NULL : (const int32_t[]){-1, -1});
        float *other = placed_output(&pool.placed);
        assert_memory_equal(zeros, other, problem_output_size(&pool.problem) * sizeof(*zeros));
        free(other);
    }
    pool_assert_untouched(&pool, 2);
    pool_assert_untouched(&pool, 3);
    free(zeros);
    pool_finish(&pool);
}

/* Zeros in the header alone make no empty state of what another sequence left. */
static void cleared_headers(void **state)
{
    (void)state;
    static const uint32_t families[] = {DJ_FAMILY_DEFAULT, DJ_FAMILY_TILED};
    static const int32_t slots[] = {0, 1}, others[] = {2, 3};
    static const struct dj_state_header zero = {0};
    for (size_t n = 0; n < 2; n++) {
        struct problem_params params = variants[1];
        params.family = families[n];
        for (uint64_t tokens = n == 0 ? 2 : 1; tokens < TOKENS; tokens += 90) {
            struct pool pool;
            pool_init(&pool, harness_context(0), &params, 4);
            pool_run(&pool, 0, 1, NULL, slots);
            for (uint32_t i = 0; i < 2; i++)
                HARNESS_OK(dj_buffer_write(pool.state, pool_offset(&pool, i), &zero, sizeof zero));
            pool_run(&pool, 0, tokens, slots, others);
            struct placed rows = pool.placed;
            rows.args = placed_range(&pool.placed, 0, tokens);
            float *got = placed_output(&rows);
            for (size_t i = 0; i < 2 * tokens * params.heads * params.value_dim; i++)
                harness_assert_nan(got[i]);
            free(got);
            pool_finish(&pool);
        }
    }
}

/* T = 0 copies states bit for bit; an empty one is written, or left as what is empty. */
static void no_tokens_copy_states(void **state)
{
    (void)state;
    const size_t which[] = {0, 1, 2, 3, 10};
    for (size_t n = 0; n < sizeof(which) / sizeof(*which); n++) {
        struct pool pool;
        pool_init(&pool, harness_context(0), &variants[which[n]], 6);
        pool_run(&pool, 0, 100, NULL, (const int32_t[]){0, 1});
        placed_poison(&pool.placed);
        pool_run(&pool, 0, 0, (const int32_t[]){0, 1}, (const int32_t[]){2, 1});
        pool_assert_equal(&pool, 0, 2);
        pool_assert_tokens(&pool, 1, 100);
        pool_run(&pool, 0, 0, (const int32_t[]){0, -1}, (const int32_t[]){-1, 4});
        pool_assert_untouched(&pool, 3);
        pool_assert_untouched(&pool, 5);
        struct dj_state_header empty; /* written or all zero: both are the empty state */
        harness_read(pool.state, pool_offset(&pool, 4), &empty, sizeof(empty));
        assert_int_equal(empty.tokens_low | empty.tokens_high, 0);
        /* nothing of o was written, and the copies and the empty state are worth what they copy */
        dj_buffer *o = pool.placed.args.o.buffer;
        harness_assert_poisoned(o, 0, dj_buffer_size(o));
        pool_run(&pool, 0, 100, (const int32_t[]){4, -1}, (const int32_t[]){4, 3});
        pool_run(&pool, 100, TOKENS - 100, (const int32_t[]){2, 1}, NULL);
        pool_assert_solved(&pool, "after copies");
        pool_assert_equal(&pool, 0, 4);
        pool_finish(&pool);
    }
}

/* One prefix, two continuations: the prefix's slot stays as it was, each branch is right. */
static void fork_continues_twice(void **state)
{
    (void)state;
    struct pool pool;
    pool_init(&pool, harness_context(0), &variants[1], 5);
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

    pool_run(&pool, 0, 90, NULL, (const int32_t[]){2, -1});
    void *before = pool_read(&pool, 2);
    pool_run(&pool, 90, 60, (const int32_t[]){2, 2}, (const int32_t[]){0, 4});
    void *after = pool_read(&pool, 2);
    assert_memory_equal(before, after, pool.needs.slot_size);
    pool_assert_solved(&pool, "fork");
    pool_assert_tokens(&pool, 0, TOKENS);
    pool_assert_tokens(&pool, 4, TOKENS);
    pool_assert_untouched(&pool, 1);
    pool_assert_untouched(&pool, 3);
    free(before);
    free(after);
    pool_finish(&pool);
}

/* Puts a pool of so many slots in the place of a pool's own. */
static void pool_grow(struct pool *pool, uint32_t slots)
{
    dj_buffer_destroy(&pool->state);
    pool->slots = slots;
    pool->state = harness_poisoned(pool->context, pool_offset(pool, slots) + 256);
    pool->placed.args.state = pool->state;
    pool->placed.args.slot_count = slots;
}

static void assert_large_pool(struct pool *pool)
{
    const int32_t last = (int32_t)pool->slots - 1;
    pool_run(pool, 0, 90, NULL, (const int32_t[]){last, 1});
    pool_run(pool, 90, 1, (const int32_t[]){last, 1}, (const int32_t[]){last, 0});
    pool_run(pool, 91, 59, (const int32_t[]){last, 0}, (const int32_t[]){2, 0});
    pool_assert_solved(pool, "large pool");
    pool_assert_tokens(pool, 2, TOKENS);
    pool_assert_tokens(pool, 0, TOKENS);
    pool_assert_tokens(pool, 1, 90);
    pool_assert_tokens(pool, (uint32_t)last, 91);
    pool_assert_untouched(pool, 3);
    pool_run(pool, 0, 0, (const int32_t[]){last, -1}, (const int32_t[]){4, -1});
    pool_assert_equal(pool, 4, (uint32_t)last);
}

/* The same with spans, snapshots and accepted: 70 and 33 tokens, of which the last but one or the
 * last is gone on from. */
static void assert_large_pool_of_lanes(struct pool *pool, uint32_t kind, bool device)
{
    const int32_t last = (int32_t)pool->slots - 1;
    float *got = calloc(problem_output_size(&pool->problem), sizeof(*got));
    assert_non_null(got);
    struct lane lanes[3] = {{.sequence = 0, .count = 70}, {.sequence = 1, .count = 33}, {0}};
    struct lanes call = {.lanes = lanes,
                         .count = 3,
                         .kind = kind,
                         .device = device,
                         .snapshots = 2,
                         .out = (const int32_t[]){6, last - 1, last, 5, -1, -1}};
    pool_run_lanes(pool, &call, got);
    pool_assert_tokens(pool, 6, 69);
    pool_assert_tokens(pool, (uint32_t)last - 1, 70);
    pool_assert_tokens(pool, (uint32_t)last, 32);
    pool_assert_tokens(pool, 5, 33);
    lanes[0] = (struct lane){.sequence = 0, .first = 70, .count = TOKENS - 70};
    lanes[1] = (struct lane){.sequence = 1, .first = 32, .count = TOKENS - 32};
    call.in = call.out;
    call.accepted = (const int32_t[]){1, 0, 1};
    call.out = (const int32_t[]){7, 8, 9, last - 2, -1, -1};
    pool_run_lanes(pool, &call, got);
    problem_assert(&pool->problem, got, "large pool of lanes");
    pool_assert_tokens(pool, (uint32_t)last - 2, TOKENS);
    pool_assert_tokens(pool, 7, TOKENS - 1);
    free(got);
}

/* A pool that one binding cannot reach: each sequence's slots are bound by themselves, or all of
 * them reached by address, and then slots may be chosen on the device. */
static void pool_beyond_binding_range(void **state)
{
    (void)state;
    struct dj_device_info info;
    HARNESS_OK(dj_context_device(harness_context(0), &info));
    if (info.max_storage_range > UINT64_C(1) << 29) {
        print_message("# a pool beyond this device's %llu bytes of binding range takes too much "
                      "memory\n",
                      (unsigned long long)info.max_storage_range);
        return;
    }
    const size_t which[] = {3, 7}; /* WDCF; cosFormer, which must find its place in the state */
    for (size_t n = 0; n < 2; n++) {
        struct pool pool;
        pool_init(&pool, harness_context(0), &variants[which[n]], 1);
        pool_grow(&pool, (uint32_t)(info.max_storage_range / pool.needs.slot_size) + 2);
        assert_large_pool(&pool);
        assert_large_pool_of_lanes(&pool, n ? DJ_SPANS_PACKED : DJ_SPANS_PADDED, false);
        if (dj_context_uses(pool.context) & DJ_USE_DEVICE_ADDRESSES) {
            pool_poison(&pool);
            assert_large_pool_of_lanes(&pool, n ? DJ_SPANS_PACKED : DJ_SPANS_PADDED, true);
        }
        pool_finish(&pool);
    }
}

/* Each sequence of a batch comes out bit for bit as when it runs alone, and so does its state; a
 * repeated call is the same to the last bit. */
static void assert_batch_equals_alone(const struct problem_params *params, uint32_t family)
{
    struct pool pool;
    pool_init(&pool, harness_context(0), params, 9);
    if (family) {
        pool.problem.plan_params.family = family;
        dj_attention_destroy(&pool.placed.plan);
        HARNESS_OK(dj_attention_create(pool.context, &pool.problem.plan_params, &pool.placed.plan));
    }
    pool_run(&pool, 0, TOKENS, NULL, (const int32_t[]){0, 1, 2});
    float *together = placed_output(&pool.placed);
    problem_assert(&pool.problem, together, "together");
    const size_t size = problem_output_size(&pool.problem) * sizeof(*together);
    for (int repeat = 0; repeat < 2; repeat++) {
        placed_poison(&pool.placed);
        if (repeat)
            pool_run(&pool, 0, TOKENS, NULL, (const int32_t[]){6, 7, 8});
        for (uint64_t b = 0; b < 3 && !repeat; b++) {
            struct dj_attention_args args = placed_sequence(&pool.placed, b);
            const int32_t out = (int32_t)(3 + b);
            args.slots_out.host = &out;
            HARNESS_OK(dj_attention_run(pool.placed.plan, &args));
        }
        float *other = placed_output(&pool.placed);
        assert_memory_equal(together, other, size);
        free(other);
    }
    for (uint32_t b = 0; b < 3; b++) {
        pool_assert_equal(&pool, b, 3 + b);
        pool_assert_equal(&pool, b, 6 + b);
    }
    free(together);
    pool_finish(&pool);
}

static void batch_equals_each_alone(void **state)
{
    (void)state;
    const size_t which[] = {0, 3, 10, 12};
    for (size_t n = 0; n < sizeof(which) / sizeof(*which); n++) {
        struct problem_params params = variants[which[n]];
        params.batch = 3;
        assert_batch_equals_alone(&params, n % 2 ? DJ_FAMILY_TILED : DJ_FAMILY_DEFAULT);
    }
}

/* Without causality the state counts as tokens before the first: two calls, of which the second
 * sees everything. */
static void state_joins_full_attention(void **state)
{
    (void)state;
    static const struct problem_params full[] = {
        {SHAPE(2, 90, 2, 16, 8), .map = DJ_MAP_WDCF, .full = true, .normalise = true,
         .features = 24},
        {SHAPE(2, 90, 2, 8, 80), .map = DJ_MAP_SOFTMAX_DCT, .full = true},
        {SHAPE(2, 90, 4, 16, 8), .map = DJ_MAP_COSFORMER, .full = true, .normalise = true,
         .key_heads = 2},
        {SHAPE(2, 90, 4, 16, 8), .map = DJ_MAP_IDENTITY, .full = true, .key_heads = 1},
    };
    for (size_t n = 0; n < sizeof(full) / sizeof(*full); n++) {
        const struct problem_params *params = &full[n];
        struct pool pool;
        pool_init(&pool, harness_context(0), params, 2);
        const int32_t slots[2] = {1, 0};
        pool_run(&pool, 0, 50, NULL, slots);
        pool_run(&pool, 50, 40, slots, slots);
        float *got = placed_output(&pool.placed);
        const size_t row = params->heads * params->value_dim;
        for (size_t b = 0; b < 2; b++) { /* the first call's rows saw 50 tokens alone */
            for (size_t i = b * 90 * row; i < (b * 90 + 50) * row; i++)
                got[i] = (float)pool.problem.want[i];
        }
        problem_assert(&pool.problem, got, "rows of the second call");
        pool_assert_tokens(&pool, 0, 90);
        free(got);
        pool_finish(&pool);
    }
}

/* What the published layout says of one key head: the twin's sums, the second of magnitudes. */
static void twin_sums(const struct problem *p, size_t h, double *sum, double *norm)
{
    const struct twin_attention *t = &p->twin;
    const size_t m = twin_features_count(t), e = t->value_dim, d = t->dim;
    double x[256], value[1024], exponent[1024];
    memset(sum, 0, m * e * sizeof(*sum));
    memset(norm, 0, m * sizeof(*norm));
    for (size_t i = 0; i < t->tokens; i++) {
        const size_t row = i * twin_key_heads(t) + h;
        for (size_t c = 0; c < d; c++)
            x[c] = sqrt(t->scale) * p->k[row * d + c];
        twin_features(t, h, 1, i, x, value, exponent);
        for (size_t f = 0; f < m; f++) {
            const double phi = value[f] * exp(exponent[f]);
            norm[f] += fabs(phi);
            for (size_t c = 0; c < e; c++)
                sum[f * e + c] += phi * p->v[row * e + c];
        }
    }
}

/* One head's block against them: float32's own precision, and exponents that are whole. */
static void assert_block(const struct problem *p, size_t h, const float *s)
{
    const size_t m = twin_features_count(&p->twin), e = p->twin.value_dim;
    const float *z = s + 2 * m * e, *exponents = z + 2 * m;
    double sum[2048], norm[64];
    assert_true(m * e <= 2048 && m <= 64);
    twin_sums(p, h, sum, norm);
    for (size_t f = 0; f < m; f++) {
        const double exponent = (double)exponents[f];
        assert_true(exponent == floor(exponent));
        const double got = ((double)z[f] + (double)z[m + f]) * exp2(exponent);
        if (!(fabs(got - norm[f]) <= 1e-5 * norm[f]))
            fail_msg("map %d, head %zu, norm %zu: %g, should be %g", p->twin.map, h, f, got,
                     norm[f]);
        for (size_t c = 0; c < e; c++) {
            const double value =
                ((double)s[f * e + c] + (double)s[m * e + f * e + c]) * exp2(exponent);
            if (!(fabs(value - sum[f * e + c]) <= 1e-5 * norm[f]))
                fail_msg("map %d, head %zu, sum %zu %zu: %g, should be %g", p->twin.map, h, f, c,
                         value, sum[f * e + c]);
        }
    }
}

static void slot_holds_published_sums(void **state)
{
    (void)state;
    static const struct problem_params shapes[] = {
        {SHAPE(1, 40, 4, 16, 8), .map = DJ_MAP_WDCF, .normalise = true, .key_heads = 2,
         .features = 24},
        {SHAPE(1, 40, 4, 16, 8), .map = DJ_MAP_COSFORMER, .normalise = true, .key_heads = 2},
        {SHAPE(1, 40, 4, 16, 8), .map = DJ_MAP_IDENTITY, .key_heads = 2},
        {SHAPE(1, 40, 4, 16, 8), .map = DJ_MAP_ELU, .key_heads = 1, .normalise = true},
    };
    for (size_t n = 0; n < sizeof(shapes) / sizeof(*shapes); n++) {
        struct pool pool;
        pool_init(&pool, harness_context(0), &shapes[n], 1);
        pool_run(&pool, 0, 40, NULL, (const int32_t[]){0});
        const struct twin_attention *t = &pool.problem.twin;
        const size_t m = twin_features_count(t), heads = twin_key_heads(t);
        const size_t block = (4 * (2 * m * t->value_dim + 3 * m) + 15) / 16 * 16;
        assert_int_equal(pool.needs.slot_size, sizeof(struct dj_state_header) + heads * block);
        uint8_t *slot = pool_read(&pool, 0);
        for (size_t h = 0; h < heads; h++)
            assert_block(&pool.problem, h,
                         (float *)(void *)(slot + sizeof(struct dj_state_header) + h * block));
        free(slot);
        pool_finish(&pool);
    }
}

/* Of a token whose place is beyond the scales the output is NaN, counted from the state's tokens;
 * others are as ever. */
static void places_count_from_the_state(void **state)
{
    (void)state;
    struct problem_params params = variants[11];
    params.query_places = 0;
    params.key_places = TOKENS;
    struct pool pool;
    pool_init(&pool, harness_context(0), &params, 2);
    const int32_t slots[2] = {0, 1};
    pool_run(&pool, 0, TOKENS, NULL, slots);
    pool_assert_solved(&pool, "all places");
    pool_run(&pool, 0, 20, slots, NULL); /* places 150 .. 169 */
    float *got = placed_output(&pool.placed);
    const size_t row = params.heads * params.value_dim;
    for (size_t i = 0; i < 2 * TOKENS * row; i++)
        if ((i / row % TOKENS < 20) != isnan(got[i]))
            fail_msg("token %zu is %g", i / row % TOKENS, got[i]);
    free(got);
    pool_finish(&pool);
}

static const struct CMUnitTest tests[] = {
    HARNESS_TEST(pieces_and_steps_equal_whole),
    HARNESS_TEST(zero_slot_is_empty),
    HARNESS_TEST(cleared_headers),
    HARNESS_TEST(no_tokens_copy_states),
    HARNESS_TEST(fork_continues_twice),
    HARNESS_TEST(batch_equals_each_alone),
    HARNESS_TEST(state_joins_full_attention),
    HARNESS_TEST(slot_holds_published_sums),
    HARNESS_TEST(places_count_from_the_state),
    HARNESS_TEST(pool_beyond_binding_range),
};

HARNESS_MAIN(tests)
