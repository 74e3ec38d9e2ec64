/* SPDX-License-Identifier: MIT */
/* Snapshots: the states after each of a call's last tokens, and calls that continue one of them, as
 * speculative decoding does. */
#include "pool.h"

#include <stdlib.h>
#include <string.h>

static const float decays[] = {0.97f, 1};

enum {
    TOKENS = 100,
    ROWS = 4 /* sequences of a problem */
};

static const struct problem_params variants[] = {
    {SHAPE(ROWS, TOKENS, 4, 16, 8), .map = DJ_MAP_WDCF, .normalise = true, .key_heads = 2,
     .features = 24, .decay = decays, .decay_count = 2},
    {SHAPE(ROWS, TOKENS, 2, 16, 8), .map = DJ_MAP_COSFORMER, .normalise = true},
    {SHAPE(ROWS, TOKENS, 2, 16, 8), .map = DJ_MAP_IDENTITY, .decay = decays, .decay_count = 2,
     .key_places = TOKENS},
};
enum {
    VARIANTS = sizeof(variants) / sizeof(*variants)
};

/* Tokens that a snapshot has seen: of K, number k, after a call over count tokens of a sequence
 * that had seen `before`. */
static size_t seen(size_t before, size_t count, size_t K, size_t k)
{
    return before + (count + k + 1 > K ? count + k + 1 - K : 0);
}

/* Each snapshot holds what a call over as many tokens leaves: its header and its sums. */
static void assert_snapshots(const struct pool *pool, const struct lane *lanes, const int32_t *out,
                             size_t K, uint32_t spare, float *got)
{
    for (size_t n = 0; n < ROWS; n++) {
        for (size_t k = 0; k < K; k++) {
            const size_t tokens = seen(lanes[n].first, lanes[n].count, K, k);
            const uint32_t slot = (uint32_t)out[n * K + k];
            if (out[n * K + k] < 0)
                continue;
            if (tokens == 0) { /* the empty state, written or all zero */
                struct dj_state_header empty;
                harness_read(pool->state, pool_offset(pool, slot), &empty, sizeof(empty));
                assert_int_equal(empty.tokens_low | empty.tokens_high, 0);
                continue;
            }
            pool_assert_tokens(pool, slot, tokens);
            if (k % 7 != 0 && k + 2 < K)
                continue; /* of 64, some */
            const struct lane alone = {.sequence = n, .count = tokens};
            const int32_t out_alone = (int32_t)spare;
            pool_run_lanes(
                pool,
                &(struct lanes){
                    .lanes = &alone, .count = 1, .out = &out_alone, .kind = DJ_SPANS_PADDED},
                got);
            pool_assert_same_sums(pool, slot, spare);
        }
    }
}

/* Every snapshot continues, all of them in one call, to the tokens' right outputs. */
static void assert_continue(const struct pool *pool, const struct lane *lanes, const int32_t *out,
                            size_t K)
{
    const size_t size = problem_output_size(&pool->problem);
    const size_t row = pool->problem.params.heads * pool->problem.params.value_dim;
    for (size_t k = 0; k < K; k++) {
        float *got = calloc(size, sizeof(*got));
        assert_non_null(got);
        struct lane next[ROWS];
        int32_t in[ROWS];
        for (size_t n = 0; n < ROWS; n++) {
            const size_t tokens = seen(lanes[n].first, lanes[n].count, K, k);
            const size_t left = TOKENS - tokens;
            in[n] = out[n * K + k];
            next[n] = (struct lane){.sequence = n, .first = tokens, .count = left < 9 ? left : 9};
            if (in[n] < 0)
                next[n].count = 0;
        }
        pool_run_lanes(
            pool,
            &(struct lanes){
                .lanes = next, .count = ROWS, .in = in, .device = k % 2, .kind = DJ_SPANS_PACKED},
            got);
        for (size_t i = 0; i < size; i++) { /* all but the continued tokens are given */
            const size_t n = i / row / TOKENS, token = i / row % TOKENS;
            if (token < next[n].first || token >= next[n].first + next[n].count)
                got[i] = (float)pool->problem.want[i];
        }
        problem_assert(&pool->problem, got, "continued from a snapshot");
        free(got);
    }
}

/* K snapshots of sequences that are long, short, empty and new, some of which are not wanted. */
static void test_snapshots(const struct pool *pool, size_t K, bool device, uint32_t kind)
{
    float *got = calloc(problem_output_size(&pool->problem), sizeof(*got));
    assert_non_null(got);
    int32_t out[ROWS * 64];
    const int32_t in[ROWS] = {1, 0, 2, -1};
    const uint32_t spare = 3;
    for (size_t i = 0; i < ROWS * K; i++)
        out[i] = i % 11 == 5 ? -1 : (int32_t)(4 + (i * 7) % (ROWS * K));
    /* states of 10, 40 and 20 tokens come in; the new sequence has none */
    struct lane lanes[ROWS] = {{.sequence = 0, .count = 10},
                               {.sequence = 1, .count = 40},
                               {.sequence = 2, .count = 20},
                               {.sequence = 3}};
    pool_poison(pool);
    pool_run_lanes(
        pool, &(struct lanes){.lanes = lanes, .count = ROWS, .out = in, .kind = DJ_SPANS_PADDED},
        got);
    const size_t counts[ROWS] = {70, 3, 0, K < 40 ? 33 : 40};
    for (size_t n = 0; n < ROWS; n++) {
        lanes[n].first = lanes[n].count;
        lanes[n].count = counts[n];
    }
    pool_run_lanes(pool,
                   &(struct lanes){.lanes = lanes,
                                   .count = ROWS,
                                   .in = in,
                                   .out = out,
                                   .kind = kind,
                                   .device = device,
                                   .tight = K > 2,
                                   .snapshots = (uint32_t)K},
                   got);
    const size_t row = pool->problem.params.heads * pool->problem.params.value_dim;
    for (size_t n = 0; n < ROWS; n++)
        harness_assert_within(harness_error(got + n * TOKENS * row,
                                            pool->problem.want + n * TOKENS * row,
                                            (lanes[n].first + lanes[n].count) * row),
                              64 * pool->problem.bound, "outputs of a call with snapshots");
    for (uint32_t n = 0; n < 3; n++) /* what came in is as it was */
        pool_assert_tokens(pool, (uint32_t)in[n], lanes[n].first);
    assert_snapshots(pool, lanes, out, K, spare, got);
    assert_continue(pool, lanes, out, K);
    free(got);
}

static void snapshots_are_of_the_last_tokens(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 2, 5, 64};
    for (uint32_t i = 0; i < harness_device_count(); i++) {
        for (size_t n = 0; n < VARIANTS; n++) {
            struct pool pool;
            pool_init(&pool, harness_context(i), &variants[n], 4 + ROWS * 64);
            for (size_t k = 0; k < sizeof(sizes) / sizeof(*sizes); k++)
                if (n == 0 || sizes[k] < 64)
                    test_snapshots(&pool, sizes[k], k % 2,
                                   (n + k) % 2 ? DJ_SPANS_PACKED : DJ_SPANS_PADDED);
            pool_finish(&pool);
        }
    }
}

/* Steps of one token with K = 2: the older snapshot is what came in. */
static void one_token_leaves_what_came_in(void **state)
{
    (void)state;
    struct pool pool;
    pool_init(&pool, harness_context(0), &variants[0], 12);
    pool_run(&pool, 0, 50, NULL, (const int32_t[]){0, 1, 2, 3});
    struct dj_attention_args args = placed_range(&pool.placed, 50, 1);
    args.snapshots = 2;
    args.slots_in.host = (const int32_t[]){0, 1, 2, 3};
    args.slots_out.host = (const int32_t[]){4, 5, 6, 7, 8, 9, 10, 11};
    HARNESS_OK(dj_attention_run(pool.placed.plan, &args));
    for (uint32_t n = 0; n < ROWS; n++) {
        pool_assert_equal(&pool, n, 4 + 2 * n);
        pool_assert_tokens(&pool, 5 + 2 * n, 51);
    }
    pool_finish(&pool);
}

/* What needs asks for is enough, also where a call has fewer tokens than snapshots. */
static void needs_are_enough_for_snapshots(void **state)
{
    (void)state;
    static const size_t snapshots[] = {2, 5, 64}, lengths[] = {1, 4, 5, 40};
    static int32_t slots[64];
    for (int32_t i = 0; i < 64; i++)
        slots[i] = i;
    struct problem_params params = variants[0];
    params.batch = 1;
    struct pool pool;
    pool_init(&pool, harness_context(0), &params, 64);
    for (size_t n = 0; n < 12; n++) {
        const uint32_t K = (uint32_t)snapshots[n / 4], T = (uint32_t)lengths[n % 4];
        struct dj_attention_args args = placed_range(&pool.placed, 0, T);
        struct dj_needs needs;
        args.snapshots = K;
        args.slots_out.host = slots;
        HARNESS_OK(dj_attention_needs(pool.placed.plan, &args, &needs));
        dj_buffer *scratch = harness_poisoned(pool.context, needs.scratch_size);
        args.scratch = (struct dj_scratch){.buffer = scratch, .size = needs.scratch_size};
        HARNESS_OK(dj_attention_run(pool.placed.plan, &args));
        pool_assert_tokens(&pool, K - 1, T);
        dj_buffer_destroy(&scratch);
    }
    pool_finish(&pool);
}

enum {
    DRAFT = 5
};

/* One of two sets of slots, between which snapshots go to and fro. */
static void set_slots(int32_t *slots, int set)
{
    for (int32_t i = 0; i < ROWS * DRAFT; i++)
        slots[i] = set * ROWS * DRAFT + (i * 3) % (ROWS * DRAFT);
}

/* Speculative decoding: each call checks DRAFT tokens of each sequence, of which the first few turn
 * out right; the next call goes on after those. Now and then a sequence starts anew. */
static void speculate(const struct pool *pool, bool device, uint32_t kind)
{
    size_t done[ROWS], restarts = 0;
    int32_t slots[2][ROWS * DRAFT], accepted[ROWS];
    float *got = calloc(problem_output_size(&pool->problem), sizeof(*got));
    assert_non_null(got);
    set_slots(slots[0], 0);
    set_slots(slots[1], 1);
    struct lane lanes[ROWS];
    for (size_t n = 0; n < ROWS; n++) { /* prompts of several lengths, one shorter than the draft */
        done[n] = 3 + 9 * n;
        accepted[n] = DRAFT - 1;
        lanes[n] = (struct lane){.sequence = n, .count = done[n]};
    }
    struct lanes call = {.lanes = lanes,
                         .count = ROWS,
                         .out = slots[0],
                         .kind = kind,
                         .device = device,
                         .snapshots = DRAFT};
    pool_run_lanes(pool, &call, got);
    for (uint32_t turn = 1;; turn++) {
        bool working = false;
        for (size_t n = 0; n < ROWS; n++) {
            if (restarts < 2 && done[n] > 60 && harness_random() % 4 == 0) {
                accepted[n] = restarts % 2 ? DRAFT : -1; /* neither is a snapshot */
                done[n] = 0;
                restarts++;
            }
            const size_t left = TOKENS - done[n];
            const size_t right = left < DRAFT ? left : 1 + harness_random() % DRAFT;
            lanes[n] = (struct lane){
                .sequence = n, .first = done[n], .count = DRAFT, .noise = DRAFT - right};
            working = working || left > 0;
        }
        if (!working)
            break;
        call.tight = turn % 2;
        call.in = slots[(turn + 1) % 2];
        call.out = slots[turn % 2];
        call.accepted = accepted;
        pool_run_lanes(pool, &call, got);
        for (size_t n = 0; n < ROWS; n++) {
            const size_t right = DRAFT - lanes[n].noise;
            done[n] += right;
            accepted[n] = right ? (int32_t)right - 1 : -1;
        }
    }
    problem_assert(&pool->problem, got, "speculative decoding");
    free(got);
}

static void accepted_snapshots_go_on(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < harness_device_count(); i++) {
        for (size_t n = 0; n < VARIANTS; n += 2) { /* noise beyond M is no cosFormer call */
            struct pool pool;
            struct problem_params params = variants[n];
            if (params.key_places)
                params.key_places += DRAFT;
            pool_init(&pool, harness_context(i), &params, 2 * ROWS * DRAFT);
            speculate(&pool, false, DJ_SPANS_PADDED);
            speculate(&pool, true, DJ_SPANS_PACKED);
            pool_finish(&pool);
        }
    }
}

static const struct CMUnitTest tests[] = {
    HARNESS_TEST(snapshots_are_of_the_last_tokens),
    HARNESS_TEST(one_token_leaves_what_came_in),
    HARNESS_TEST(needs_are_enough_for_snapshots),
    HARNESS_TEST(accepted_snapshots_go_on),
};

HARNESS_MAIN(tests)
