/* SPDX-License-Identifier: MIT */
/* States on the host: saved and loaded they go on as if nothing had been, also elsewhere; what is
 * not a state of the plan is refused. */
#include "pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const float decays[] = {0.97f, 1};

enum {
    TOKENS = 60,
    CUT = 35
};

static const struct problem_params variants[] = {
    {SHAPE(2, TOKENS, 4, 16, 8), .map = DJ_MAP_WDCF, .normalise = true, .key_heads = 2,
     .features = 24, .decay = decays, .decay_count = 2},
    {SHAPE(2, TOKENS, 4, 16, 8), .map = DJ_MAP_COSFORMER, .normalise = true, .key_heads = 2},
    {SHAPE(2, TOKENS, 2, 16, 8), .map = DJ_MAP_IDENTITY, .decay = decays, .decay_count = 2},
    {SHAPE(2, TOKENS, 2, 16, 8), .map = DJ_MAP_ELU, .normalise = true, .q_type = DJ_BFLOAT16,
     .k_type = DJ_FLOAT16, .o_type = DJ_BFLOAT16},
};
enum {
    VARIANTS = sizeof(variants) / sizeof(*variants)
};

/* A slot as dj_state_save gives it, to be freed; it holds what the buffer does. */
static void *save(const struct pool *pool, uint32_t slot)
{
    const uint64_t size = pool->needs.slot_size;
    uint8_t *data = malloc(size + 4);
    assert_non_null(data);
    memset(data + size, 0x5a, 4);
    HARNESS_OK(dj_state_save(pool->placed.plan, &pool->placed.args, slot, data, size));
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(data[size + i], 0x5a);
    void *want = pool_read(pool, slot);
    assert_memory_equal(data, want, size);
    free(want);
    return data;
}

static void load(const struct pool *pool, uint32_t slot, const void *data)
{
    HARNESS_OK(
        dj_state_load(pool->placed.plan, &pool->placed.args, slot, data, pool->needs.slot_size));
    void *got = pool_read(pool, slot);
    assert_memory_equal(got, data, pool->needs.slot_size);
    free(got);
}

static void saved_states_go_on(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < harness_device_count(); i++) {
        for (size_t n = 0; n < VARIANTS; n++) {
            struct pool pool;
            pool_init(&pool, harness_context(i), &variants[n], 5);
            pool_run(&pool, 0, CUT, NULL, (const int32_t[]){1, 3});
            void *saved[2] = {save(&pool, 1), save(&pool, 3)};
            pool_poison(&pool);
            load(&pool, 4, saved[0]);
            load(&pool, 0, saved[1]);
            for (uint32_t slot = 1; slot < 4; slot++)
                pool_assert_untouched(&pool, slot);
            pool_run(&pool, CUT, TOKENS - CUT, (const int32_t[]){4, 0}, (const int32_t[]){4, 2});
            pool_assert_solved(&pool, "after saving and loading");
            pool_assert_tokens(&pool, 2, TOKENS);
            free(saved[0]);
            free(saved[1]);
            pool_finish(&pool);
        }
    }
}

/* The second half in a pool of another context's, given the first one's states. */
static void assert_goes_on_in(const struct pool *pool, dj_context *context)
{
    struct placed placed;
    void *saved[2] = {save(pool, 0), save(pool, 1)};
    problem_place(&pool->problem, context, LAYOUT_PLAIN, &placed);
    dj_buffer *state = harness_poisoned(context, 2 * pool->needs.slot_size);
    struct dj_attention_args args = placed_range(&placed, CUT, TOKENS - CUT);
    args.state = state;
    args.slot_count = 2;
    args.slots_in.host = args.slots_out.host = (const int32_t[]){1, 0};
    for (uint32_t b = 0; b < 2; b++)
        HARNESS_OK(dj_state_load(placed.plan, &args, 1 - b, saved[b], pool->needs.slot_size));
    HARNESS_OK(dj_attention_run(placed.plan, &args));
    float *first = placed_output(&pool->placed), *second = placed_output(&placed);
    const size_t row = pool->problem.params.heads * pool->problem.params.value_dim;
    for (size_t b = 0; b < 2; b++)
        memcpy(second + b * TOKENS * row, first + b * TOKENS * row, CUT * row * sizeof(*first));
    problem_assert(&pool->problem, second, "on another context");
    free(first);
    free(second);
    free(saved[0]);
    free(saved[1]);
    dj_buffer_destroy(&state);
    placed_finish(&placed);
}

static void saved_states_go_on_elsewhere(void **state)
{
    (void)state;
    struct dj_device_info info;
    HARNESS_OK(dj_context_device(harness_context(0), &info));
    char index[16];
    snprintf(index, sizeof(index), "%u", info.index);
    dj_context *other = NULL;
    HARNESS_OK(dj_context_create(&(struct dj_context_params){.device = index}, &other));
    for (size_t n = 0; n < VARIANTS; n += 3) {
        struct pool pool;
        pool_init(&pool, harness_context(0), &variants[n], 2);
        pool_run(&pool, 0, CUT, NULL, (const int32_t[]){0, 1});
        assert_goes_on_in(&pool, other);
        for (uint32_t i = 1; i < harness_device_count(); i++)
            assert_goes_on_in(&pool, harness_context(i));
        pool_finish(&pool);
    }
    dj_context_destroy(&other);
}

/* A slot of zeros is the empty state, saved, loaded and continued. */
static void empty_states_are_states(void **state)
{
    (void)state;
    struct pool pool;
    pool_init(&pool, harness_context(0), &variants[0], 3);
    pool_zero(&pool, 2);
    void *zeros = save(&pool, 2);
    load(&pool, 0, zeros);
    load(&pool, 1, zeros);
    pool_run(&pool, 0, TOKENS, (const int32_t[]){0, 1}, NULL);
    pool_assert_solved(&pool, "from empty states");
    free(zeros);
    pool_finish(&pool);
}

/* Tokens seen are counted in 64 bits, in steps, in one call and by snapshots. */
static void token_counts_carry(void **state)
{
    (void)state;
    struct pool pool;
    pool_init(&pool, harness_context(0), &variants[0], 6);
    pool_run(&pool, 0, CUT, NULL, (const int32_t[]){0, 1});
    uint32_t *data = save(&pool, 0);
    const uint32_t counts[2][2] = {{UINT32_MAX, 0}, {UINT32_MAX - 3, 41}}; /* low, high */
    for (uint32_t b = 0; b < 2; b++) {
        memcpy(data + 2, counts[b], sizeof(counts[b]));
        load(&pool, b, data);
    }
    pool_run(&pool, 0, 1, (const int32_t[]){0, 1}, (const int32_t[]){2, 3});
    pool_assert_tokens(&pool, 2, UINT64_C(1) << 32);
    pool_assert_tokens(&pool, 3, (UINT64_C(42) << 32) - 3);
    pool_run(&pool, 0, 40, (const int32_t[]){0, 1}, (const int32_t[]){2, 3});
    pool_assert_tokens(&pool, 2, (UINT64_C(1) << 32) + 39);
    pool_assert_tokens(&pool, 3, (UINT64_C(42) << 32) + 36);
    struct dj_attention_args args = placed_range(&pool.placed, 0, 5);
    args.snapshots = 2;
    args.slots_in.host = (const int32_t[]){0, 1};
    args.slots_out.host = (const int32_t[]){2, 3, 4, 5};
    HARNESS_OK(dj_attention_run(pool.placed.plan, &args));
    pool_assert_tokens(&pool, 2, (UINT64_C(1) << 32) + 3);
    pool_assert_tokens(&pool, 3, (UINT64_C(1) << 32) + 4);
    pool_assert_tokens(&pool, 4, UINT64_C(42) << 32);
    pool_assert_tokens(&pool, 5, (UINT64_C(42) << 32) + 1);
    free(data);
    pool_finish(&pool);
}

/* A header that is not the plan's. */
static const struct {
    const char *name;
    size_t word;    /* of the header */
    uint32_t value; /* what it becomes */
} wrong_headers[] = {
    {"no layout", 0, 0},
    {"the layout before", 0, DJ_STATE_LAYOUT - 1},
    {"the layout after", 0, DJ_STATE_LAYOUT + 1},
    {"the other byte order", 0, 0x02004a44},
    {"rubbish", 0, HARNESS_POISON},
    {"another map", 1, DJ_MAP_PFF},
    {"no map", 1, DJ_MAP_COUNT},
    {"more key heads", 4, 4},
    {"fewer key heads", 4, 1},
    {"another dim", 5, 12},
    {"another value_dim", 6, 16},
    {"other features", 7, 16},
    {"no features", 7, 0},
    {"a reserved word", 8, 1},
    {"the last one", 15, 1},
};

static void wrong_headers_are_refused(void **state)
{
    (void)state;
    struct pool pool;
    pool_init(&pool, harness_context(0), &variants[0], 3);
    const struct dj_attention_args *const args = &pool.placed.args;
    const uint64_t size = pool.needs.slot_size;
    pool_run(&pool, 0, CUT, NULL, (const int32_t[]){0, 1});
    for (size_t i = 0; i < sizeof(wrong_headers) / sizeof(*wrong_headers); i++) {
        uint32_t *data = save(&pool, 0);
        data[wrong_headers[i].word] = wrong_headers[i].value;
        harness_log_clear();
        harness_assert_result(dj_state_load(pool.placed.plan, args, 2, data, size),
                              DJ_ERROR_STATE_FORMAT, wrong_headers[i].name, __FILE__, __LINE__);
        assert_true(harness_log_last()[0] != 0);
        free(data);
    }
    pool_assert_untouched(&pool, 2);
    pool_finish(&pool);
}

/* The state of one plan is not another's, though their slots be of one size. */
static void states_of_other_plans_are_refused(void **state)
{
    (void)state;
    static const struct problem_params pairs[][2] = {
        {{SHAPE(1, 4, 2, 16, 8), .map = DJ_MAP_ELU, .normalise = true},
         {SHAPE(1, 4, 2, 16, 8), .map = DJ_MAP_RELU, .normalise = true}},
        {{SHAPE(1, 4, 2, 8, 8), .map = DJ_MAP_PRF, .features = 24, .normalise = true},
         {SHAPE(1, 4, 2, 16, 8), .map = DJ_MAP_PRF, .features = 24, .normalise = true}},
        {{SHAPE(1, 4, 4, 16, 8), .map = DJ_MAP_ELU, .key_heads = 2, .normalise = true},
         {SHAPE(1, 4, 4, 16, 8), .map = DJ_MAP_ELU, .key_heads = 1, .normalise = true}},
    };
    for (size_t n = 0; n < 3; n++) {
        struct pool pools[2];
        for (size_t i = 0; i < 2; i++) {
            pool_init(&pools[i], harness_context(0), &pairs[n][i], 1);
            pool_run(&pools[i], 0, 4, NULL, (const int32_t[]){0});
        }
        const bool same = pools[0].needs.slot_size == pools[1].needs.slot_size;
        assert_int_equal(same, n < 2);
        for (size_t i = 0; i < 2; i++) {
            void *data = save(&pools[1 - i], 0);
            HARNESS_RESULT(dj_state_load(pools[i].placed.plan, &pools[i].placed.args, 0, data,
                                         pools[1 - i].needs.slot_size),
                           same ? DJ_ERROR_STATE_FORMAT : DJ_ERROR_INVALID_ARGUMENT);
            free(data);
        }
        for (size_t i = 0; i < 2; i++) { /* the states are as they were */
            pool_assert_tokens(&pools[i], 0, 4);
            pool_finish(&pools[i]);
        }
    }
}

/* Another type of tensors, another decay or family is no other state. */
static void states_know_no_types(void **state)
{
    (void)state;
    struct pool pools[2];
    struct problem_params params = variants[3];
    pool_init(&pools[0], harness_context(0), &params, 1);
    params.q_type = params.k_type = params.o_type = DJ_FLOAT32;
    params.v_type = DJ_FLOAT16;
    params.heads = 4; /* of as many key heads */
    params.key_heads = 2;
    pool_init(&pools[1], harness_context(0), &params, 1);
    struct dj_attention_args args = placed_range(&pools[0].placed, 0, CUT);
    args.q.shape[0] = args.k.shape[0] = args.v.shape[0] = args.o.shape[0] = 1;
    args.slots_out.host = (const int32_t[]){0};
    HARNESS_OK(dj_attention_run(pools[0].placed.plan, &args));
    void *data = save(&pools[0], 0);
    load(&pools[1], 0, data);
    pool_assert_tokens(&pools[1], 0, CUT);
    free(data);
    pool_finish(&pools[0]);
    pool_finish(&pools[1]);
}

/* Arguments of both functions that break a rule; data holds a state. */
struct request {
    const dj_attention *plan;
    struct dj_attention_args args;
    const struct dj_attention_args *given; /* args, or NULL */
    uint32_t slot;
    void *data;
    uint64_t size;
};

static void both_refuse(const struct request *r, dj_result want, const char *what)
{
    harness_assert_result(dj_state_save(r->plan, r->given, r->slot, r->data, r->size), want, what,
                          __FILE__, __LINE__);
    harness_assert_result(dj_state_load(r->plan, r->given, r->slot, r->data, r->size), want, what,
                          __FILE__, __LINE__);
}

#define REFUSE(what, change) \
    { \
        struct request r = right; \
        r.given = &r.args; \
        change; \
        both_refuse(&r, DJ_ERROR_INVALID_ARGUMENT, what); \
    }

static void wrong_requests_are_refused(void **state)
{
    (void)state;
    struct pool pool;
    pool_init(&pool, harness_context(0), &variants[0], 3);
    struct dj_device_info info;
    HARNESS_OK(dj_context_device(harness_context(0), &info));
    char index[16];
    snprintf(index, sizeof(index), "%u", info.index);
    dj_context *other = NULL;
    HARNESS_OK(dj_context_create(&(struct dj_context_params){.device = index}, &other));
    dj_buffer *foreign = harness_poisoned(other, dj_buffer_size(pool.state));
    pool_run(&pool, 0, CUT, NULL, (const int32_t[]){0, 1});
    const uint64_t size = pool.needs.slot_size, alignment = pool.needs.slot_alignment;
    uint8_t *data = save(&pool, 0), *copy = save(&pool, 0);
    const struct request right = {
        .plan = pool.placed.plan, .args = pool.placed.args, .slot = 1, .data = data, .size = size};
    REFUSE("no plan", r.plan = NULL)
    REFUSE("no args", r.given = NULL)
    REFUSE("no data", r.data = NULL)
    REFUSE("the slot after the last", r.slot = 3)
    REFUSE("slot 2^32 - 1", r.slot = UINT32_MAX)
    REFUSE("a byte less", r.size--)
    REFUSE("a byte more", r.size++)
    REFUSE("a header alone", r.size = sizeof(struct dj_state_header))
    REFUSE("no bytes", r.size = 0)
    REFUSE("2^64 - 1 bytes", r.size = UINT64_MAX)
    REFUSE("no pool", r.args.state = NULL)
    REFUSE("a pool of another context", r.args.state = foreign)
    REFUSE("a pool of no slots", r.args.slot_count = 0)
    REFUSE("a pool that ends too late", r.args.slot_count = 4)
    REFUSE("a misaligned pool", r.args.state_offset += alignment / 2)
    REFUSE("a pool beyond its buffer", r.args.state_offset = alignment << 30)
    REFUSE("a pool whose end overflows", r.args.state_offset = UINT64_MAX - alignment + 1)
    assert_memory_equal(data, copy, size);
    pool_assert_untouched(&pool, 2);
    free(copy);
    free(data);
    dj_buffer_destroy(&foreign);
    dj_context_destroy(&other);
    pool_finish(&pool);
}

/* Nothing but the pool is looked at. */
static void only_the_pool_is_looked_at(void **state)
{
    (void)state;
    struct pool pool;
    pool_init(&pool, harness_context(0), &variants[0], 3);
    pool_run(&pool, 0, CUT, NULL, (const int32_t[]){0, 1});
    const struct dj_attention_args bare = {
        .state = pool.state, .state_offset = pool.placed.args.state_offset, .slot_count = 3};
    void *data = save(&pool, 0);
    memset(data, 0, pool.needs.slot_size);
    HARNESS_OK(dj_state_save(pool.placed.plan, &bare, 1, data, pool.needs.slot_size));
    HARNESS_OK(dj_state_load(pool.placed.plan, &bare, 2, data, pool.needs.slot_size));
    pool_assert_equal(&pool, 1, 2);
    free(data);
    pool_finish(&pool);
}

static void maps_without_state_have_none_to_save(void **state)
{
    (void)state;
    const uint32_t maps[] = {DJ_MAP_SOFTMAX, DJ_MAP_LINFORMER};
    for (size_t i = 0; i < 2; i++) {
        const struct dj_attention_params params = {
            .map = maps[i], .heads = 1, .dim = 8, .max_tokens = i ? 10 : 0};
        dj_attention *plan = NULL;
        HARNESS_OK(dj_attention_create(harness_context(0), &params, &plan));
        dj_buffer *pool = harness_poisoned(harness_context(0), 4096);
        const struct dj_attention_args args = {.state = pool, .slot_count = 1};
        uint32_t data[1024] = {0};
        HARNESS_RESULT(dj_state_save(plan, &args, 0, data, sizeof(data)), DJ_ERROR_STATELESS);
        HARNESS_RESULT(dj_state_load(plan, &args, 0, data, sizeof(data)), DJ_ERROR_STATELESS);
        harness_assert_poisoned(pool, 0, 4096);
        dj_buffer_destroy(&pool);
        dj_attention_destroy(&plan);
    }
}

static const struct CMUnitTest tests[] = {
    HARNESS_TEST(saved_states_go_on),         HARNESS_TEST(saved_states_go_on_elsewhere),
    HARNESS_TEST(empty_states_are_states),    HARNESS_TEST(token_counts_carry),
    HARNESS_TEST(wrong_headers_are_refused),  HARNESS_TEST(states_of_other_plans_are_refused),
    HARNESS_TEST(states_know_no_types),       HARNESS_TEST(wrong_requests_are_refused),
    HARNESS_TEST(only_the_pool_is_looked_at), HARNESS_TEST(maps_without_state_have_none_to_save),
};

HARNESS_MAIN(tests)
