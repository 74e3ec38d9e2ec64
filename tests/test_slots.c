/* SPDX-License-Identifier: MIT */
/* Slot indices in buffers, and batches whose sequences come and go. */
#include "pool.h"

#include <stdlib.h>
#include <string.h>

static const float decays[] = {0.97f, 1};

/* Slots by a buffer: -1 and what names no slot are none; slots that nothing names stay as they
 * were; the rest is as with the host's indices, bit for bit. */
static void device_slots_equal_the_hosts(void **state)
{
    (void)state;
    const struct problem_params params = {
        SHAPE(6, 40, 4, 16, 8), .map = DJ_MAP_WDCF, .normalise = true, .key_heads = 2,
        .features = 24,         .decay = decays,    .decay_count = 2};
    for (uint32_t i = 0; i < harness_device_count(); i++) {
        struct pool pool;
        pool_init(&pool, harness_context(i), &params, 16);
        float *got = calloc(problem_output_size(&pool.problem), sizeof(*got));
        assert_non_null(got);
        struct lane lanes[6];
        for (size_t n = 0; n < 6; n++)
            lanes[n] = (struct lane){.sequence = n, .count = n == 4 ? 0 : 25};
        /* sequences 0 to 2 are kept, 3 to 5 are not */
        const int32_t out[6] = {5, 0, 15, -1, 16, INT32_MIN};
        const int32_t host_out[6] = {4, 1, 14, -1, -1, -1};
        struct lanes call = {
            .lanes = lanes, .count = 6, .kind = DJ_SPANS_PACKED, .device = true, .out = out};
        pool_run_lanes(&pool, &call, got);
        call.device = false;
        call.out = host_out;
        pool_run_lanes(&pool, &call, got);
        for (uint32_t n = 0; n < 3; n++)
            pool_assert_equal(&pool, (uint32_t)out[n], (uint32_t)host_out[n]);
        for (uint32_t slot = 0; slot < 16; slot++)
            if (slot != 5 && slot != 0 && slot != 15 && slot != 4 && slot != 1 && slot != 14)
                pool_assert_untouched(&pool, slot);

        /* sequences 3 to 5 start anew from inputs that name no slot */
        const int32_t in[6] = {5, 0, 15, 16, INT32_MAX, -7};
        const int32_t next[6] = {5, 2, 15, 16, -2, 3};
        for (size_t n = 0; n < 6; n++)
            lanes[n] =
                (struct lane){.sequence = n, .first = n < 3 ? 25 : 0, .count = n < 3 ? 15 : 40};
        call = (struct lanes){.lanes = lanes,
                              .count = 6,
                              .kind = DJ_SPANS_PADDED,
                              .device = true,
                              .in = in,
                              .out = next};
        pool_run_lanes(&pool, &call, got);
        problem_assert(&pool.problem, got, "slots in a buffer");
        for (uint32_t n = 0; n < 6; n++)
            if (n != 3 && n != 4)
                pool_assert_tokens(&pool, (uint32_t)next[n], 40);
        pool_assert_tokens(&pool, 0, 25);
        pool_assert_untouched(&pool, 6);
        free(got);
        pool_finish(&pool);
    }
}

enum {
    MANY = 2500,
    MANY_TOKENS = 5
};

/* Thousands of sequences, each with its state: all of them in two calls, cut where chance will. */
static void thousands_of_sequences(void **state)
{
    (void)state;
    const struct problem_params params = {SHAPE(MANY, MANY_TOKENS, 2, 16, 8), .map = DJ_MAP_ELU,
                                          .normalise = true, .key_heads = 1};
    struct pool pool;
    pool_init(&pool, harness_context(0), &params, MANY);
    float *got = calloc(problem_output_size(&pool.problem), sizeof(*got));
    struct lane *lanes = calloc(MANY, sizeof(*lanes));
    int32_t *slots = calloc(MANY, sizeof(*slots));
    assert_true(got && lanes && slots);
    for (int way = 0; way < 3; way++) { /* packed, padded, packed by a buffer */
        for (size_t n = 0; n < MANY; n++) {
            slots[n] = (int32_t)((n * 1001) % MANY); /* 1001 and 2500 have no common factor */
            lanes[n] = (struct lane){.sequence = n, .count = harness_random() % 6};
        }
        struct lanes call = {.lanes = lanes,
                             .count = MANY,
                             .out = slots,
                             .kind = way == 1 ? DJ_SPANS_PADDED : DJ_SPANS_PACKED,
                             .device = way == 2};
        pool_run_lanes(&pool, &call, got);
        for (size_t n = 0; n < MANY; n++) {
            lanes[n].first = lanes[n].count;
            lanes[n].count = MANY_TOKENS - lanes[n].first;
        }
        call.in = slots;
        pool_run_lanes(&pool, &call, got);
        problem_assert(&pool.problem, got, "thousands of sequences");
        for (uint32_t slot = 0; slot < MANY; slot += 499)
            pool_assert_tokens(&pool, slot, MANY_TOKENS);
    }
    free(slots);
    free(lanes);
    free(got);
    pool_finish(&pool);
}

/* A server's batch: sequences join, prefill, step, pause, fork and leave; each call has its own
 * lanes in its own order. */

enum {
    SEQUENCES = 7,
    LENGTH = 60,
    SLOTS = 2 * SEQUENCES + 1,
    PARENT = 0, /* CHILD begins as PARENT does and is never prefilled: it forks */
    CHILD = 6,
    PREFIX = 23
};

struct server {
    size_t done[SEQUENCES];  /* tokens of each sequence */
    int32_t slot[SEQUENCES]; /* of each; -1: none yet, -2: not any more */
    bool used[SLOTS];
};

static int32_t free_slot(struct server *server)
{
    for (int32_t slot = 0; slot < SLOTS; slot++) {
        if (!server->used[slot]) {
            server->used[slot] = true;
            return slot;
        }
    }
    fail_msg("no slot is free");
    return -1;
}

/* How many tokens a sequence takes in this call. */
static size_t tokens_for(const struct server *server, size_t n)
{
    const size_t left = LENGTH - server->done[n], chance = harness_random() % 8;
    size_t count = chance < 4 ? 1 : chance == 4 ? 0 : harness_random() % 40;
    if (n == PARENT && server->done[n] < PREFIX && count > PREFIX - server->done[n])
        count = PREFIX - server->done[n]; /* stops where the child forks */
    return count < left ? count : left;
}

/* One call: fills lanes, in and out; returns how many lanes. */
static size_t plan_call(struct server *server, struct lane *lanes, int32_t *in, int32_t *out)
{
    const bool fork = server->slot[CHILD] == -1 && server->done[PARENT] == PREFIX;
    size_t count = 0;
    for (size_t i = 0, n = harness_random() % SEQUENCES; i < SEQUENCES;
         i++, n = (n + 1) % SEQUENCES) {
        if (harness_random() % 4 == 0 && !(fork && (n == PARENT || n == CHILD))) {
            if (harness_random() % 2) { /* an idle lane */
                lanes[count] = (struct lane){.sequence = n};
                in[count] = out[count] = -1;
                count++;
            }
            continue; /* else not in the call at all */
        }
        if (n == CHILD && server->slot[n] == -1 && !fork)
            continue; /* not born yet */
        if (server->done[n] == LENGTH)
            continue; /* has left */
        const bool born = fork && n == CHILD;
        if (born)
            server->done[n] = PREFIX;
        lanes[count] =
            (struct lane){.sequence = n, .first = server->done[n], .count = tokens_for(server, n)};
        in[count] = born ? server->slot[PARENT] : server->slot[n];
        /* in place, or elsewhere; while a child reads the parent's slot nobody writes there */
        const bool move = in[count] < 0 || fork || harness_random() % 2;
        out[count] = move ? free_slot(server) : in[count];
        server->done[n] += lanes[count].count;
        count++;
    }
    return count;
}

/* Slots that the call left behind are free, as are those of sequences that left. */
static void settle(struct server *server, const struct lane *lanes, const int32_t *out,
                   size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (out[i] >= 0)
            server->slot[lanes[i].sequence] =
                server->done[lanes[i].sequence] == LENGTH ? -2 : out[i];
    memset(server->used, 0, sizeof(server->used));
    for (size_t n = 0; n < SEQUENCES; n++)
        if (server->slot[n] >= 0)
            server->used[server->slot[n]] = true;
}

static bool all_done(const struct server *server)
{
    for (size_t n = 0; n < SEQUENCES; n++)
        if (server->done[n] < LENGTH)
            return false;
    return true;
}

static void serve(const struct pool *pool)
{
    struct server server = {0};
    float *got = calloc(problem_output_size(&pool->problem), sizeof(*got));
    assert_non_null(got);
    for (size_t n = 0; n < SEQUENCES; n++)
        server.slot[n] = -1;
    for (uint32_t call = 0; !all_done(&server); call++) {
        assert_true(call < 10000);
        struct lane lanes[SEQUENCES];
        int32_t in[SEQUENCES], out[SEQUENCES];
        const size_t count = plan_call(&server, lanes, in, out);
        pool_run_lanes(pool,
                       &(struct lanes){.lanes = lanes,
                                       .count = count,
                                       .in = in,
                                       .out = out,
                                       .kind = call % 3 ? DJ_SPANS_PACKED : DJ_SPANS_PADDED,
                                       .device = harness_random() % 2,
                                       .tight = harness_random() % 2},
                       got);
        settle(&server, lanes, out, count);
    }
    /* the child never saw its prefix: those rows are the parent's */
    const size_t row = pool->problem.params.heads * pool->problem.params.value_dim;
    memcpy(got + CHILD * LENGTH * row, got + PARENT * LENGTH * row, PREFIX * row * sizeof(*got));
    problem_assert(&pool->problem, got, "a continuous batch");
    free(got);
}

static void continuous_batch(void **state)
{
    (void)state;
    static const struct problem_params kinds[] = {
        {SHAPE(SEQUENCES, LENGTH, 4, 16, 8), .map = DJ_MAP_WDCF, .normalise = true, .key_heads = 2,
         .features = 24, .decay = decays, .decay_count = 2},
        {SHAPE(SEQUENCES, LENGTH, 4, 16, 8), .map = DJ_MAP_COSFORMER, .normalise = true,
         .key_heads = 2},
        {SHAPE(SEQUENCES, LENGTH, 2, 16, 8), .map = DJ_MAP_IDENTITY, .query_places = LENGTH,
         .key_places = LENGTH},
        {SHAPE(SEQUENCES, LENGTH, 4, 16, 8), .map = DJ_MAP_WDCF, .normalise = true, .key_heads = 2,
         .features = 24, .q_type = DJ_FLOAT16, .k_type = DJ_BFLOAT16, .v_type = DJ_FLOAT32,
         .o_type = DJ_FLOAT16},
    };
    for (size_t n = 0; n < sizeof(kinds) / sizeof(*kinds); n++) {
        struct pool pool;
        pool_init(&pool, harness_context(0), &kinds[n], SLOTS);
        struct problem *const p = &pool.problem;
        const size_t widths[3] = {p->params.heads * p->params.dim,
                                  twin_key_heads(&p->twin) * p->params.dim,
                                  twin_key_heads(&p->twin) * p->params.value_dim};
        float *const inputs[3] = {p->q, p->k, p->v};
        for (size_t i = 0; i < 3; i++)
            memcpy(inputs[i] + CHILD * LENGTH * widths[i], inputs[i] + PARENT * LENGTH * widths[i],
                   PREFIX * widths[i] * sizeof(float));
        problem_solve(p);
        serve(&pool);
        pool_finish(&pool);
    }
}

static const struct CMUnitTest tests[] = {
    HARNESS_TEST(device_slots_equal_the_hosts),
    HARNESS_TEST(thousands_of_sequences),
    HARNESS_TEST(continuous_batch),
};

HARNESS_MAIN(tests)
