/* SPDX-License-Identifier: MIT */
/* A problem on a device with a pool of state slots, and calls over any pieces of its sequences. */
#ifndef DJ_TESTS_POOL_H
#define DJ_TESTS_POOL_H

#include "problem.h"

struct pool {
    struct problem problem;
    struct placed placed; /* its args name the pool; no slots */
    struct dj_needs needs;
    dj_buffer *state; /* poisoned, with room before and behind the slots */
    uint32_t slots;
    dj_context *context;
};

void pool_init(struct pool *pool, dj_context *context, const struct problem_params *params,
               uint32_t slots);
void pool_finish(struct pool *pool);

/* Where a slot lies in pool->state, in bytes. */
uint64_t pool_offset(const struct pool *pool, uint32_t slot);
/* A slot's bytes, to be freed. */
void *pool_read(const struct pool *pool, uint32_t slot);
void pool_zero(const struct pool *pool, uint32_t slot);
/* Puts the poison back over every slot. */
void pool_poison(const struct pool *pool);

void pool_assert_equal(const struct pool *pool, uint32_t a, uint32_t b);
void pool_assert_untouched(const struct pool *pool, uint32_t slot);
/* A slot's header is that of the plan, after so many tokens. */
void pool_assert_tokens(const struct pool *pool, uint32_t slot, uint64_t tokens);
/* Two slots hold the same sums, within the bound of the problem. */
void pool_assert_same_sums(const struct pool *pool, uint32_t a, uint32_t b);
/* All of o answers the problem. */
void pool_assert_solved(const struct pool *pool, const char *what);

/* Runs tokens first .. first+count-1 of every sequence; slots as for the host, NULL: none. */
void pool_run(const struct pool *pool, uint64_t first, uint64_t count, const int32_t *in,
              const int32_t *out);

/* Every sequence at once, into slots 0 and 1, and in pieces, the last of which takes the rest, from
 * slots 2 and 3 to the same: both answer the problem and leave the same sums. The batch is two
 * sequences. */
void pool_assert_pieces(struct pool *pool, const uint64_t *pieces, size_t count);

/* A piece of a sequence of the problem, causal and without spans. */
struct lane {
    size_t sequence, first, count;
    size_t noise; /* this many of its last tokens are noise, and their outputs are dropped */
};

struct lanes {
    const struct lane *lanes;
    size_t count;
    uint32_t kind; /* DJ_SPANS_PADDED or DJ_SPANS_PACKED */
    bool device;   /* spans and slots in buffers */
    bool tight;    /* with the least scratch memory that is accepted: in many parts */
    uint32_t snapshots;
    const int32_t *in, *out, *accepted; /* as dj_attention_args has them; NULL: none */
};

/* Runs the lanes as the sequences of one call. Their outputs go where they belong in got
 * [B,T,H,e]; whatever else lies in the call's tensors is NaN, and its outputs stay unwritten. */
void pool_run_lanes(const struct pool *pool, const struct lanes *lanes, float *got);

#endif
