/* SPDX-License-Identifier: MIT */
/* DiJiang attention: linear in the number of tokens, constant memory per sequence. */
#ifndef DIJIANG_ATTENTION_H
#define DIJIANG_ATTENTION_H

#include <dijiang/features.h>
#include <dijiang/recorder.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A plan: head shapes and options, with every pipeline they need. Batch, tokens and strides are free
 * per call. Immutable; usable from any thread, by several at once. */
typedef struct dj_attention dj_attention;

/* With phi the feature map, gamma[h] the decay of head h and x = sqrt(scale) q or sqrt(scale) k:
 *   w[i][j] = gamma[h]^(i-j) phi(q[i]) . phi(k[j])
 *   o[i]    = sum_j w[i][j] v[j]                          without the normaliser (eq. 13)
 *   o[i]    = sum_j w[i][j] v[j] / sum_j w[i][j]          with it (eq. 4)
 * over j <= i if causal, else over all j; a state from an earlier call counts as tokens before the
 * first. Sums are float32; an exponential map cannot overflow or lose its denominator at any
 * magnitude (docs/mathematics.md): with the normaliser the result is finite for all
 * |log phi| <= 1e30 and |x| <= 1e18. */
struct dj_attention_params {
    uint32_t map;       /* enum dj_map */
    uint32_t heads;     /* H, 0 to 65535; 0 computes nothing */
    uint32_t dim;       /* d, of queries and keys: 4 to 256 in steps of 4 */
    uint32_t value_dim; /* e, of values and outputs: 4 to 256 in steps of 4; 0: as dim */
    uint32_t causal;    /* enum dj_switch; default on */
    uint32_t normalise; /* enum dj_switch; default on for DJ_MAP_WDCF, off for DJ_MAP_SOFTMAX_DCT */
    float scale;        /* of q.k, above 0; 0: 1/sqrt(d) for DJ_MAP_WDCF, 1 for DJ_MAP_SOFTMAX_DCT */
    uint32_t dct_path;  /* enum dj_dct_path of <dijiang/dct.h>, for the transforms inside */
    const float *decay; /* gamma[H], each above 0 (at least 2^-126) and at most 1; NULL: all 1. Read
                         * during the call only. Causal attention only */
    uint64_t reserved[4]; /* 0 */
};

/* Creates a plan. Submits nothing. May take some hundred milliseconds, holding no lock of the
 * context.
 *
 * Returns DJ_SUCCESS; DJ_ERROR_INVALID_ARGUMENT; DJ_ERROR_VERSION; DJ_ERROR_UNSUPPORTED (a decay
 * without causal, or a dct_path that cannot do dim); DJ_ERROR_COMPILER; DJ_ERROR_LIMIT;
 * DJ_ERROR_OUT_OF_HOST_MEMORY; DJ_ERROR_OUT_OF_DEVICE_MEMORY; DJ_ERROR_DEVICE_LOST;
 * DJ_ERROR_VULKAN. Thread-safe. */
DJ_API dj_result dj_attention_create(dj_context *context, const struct dj_attention_params *params,
                                     dj_attention **plan);

/* Destroys a plan and sets *plan to NULL. No submitted work may still use it. */
DJ_API void dj_attention_destroy(dj_attention **plan);

/* One call. B sequences of T tokens each, both free, 0 included: B = 0 does nothing, T = 0 leaves
 * every state as it was (slots_out then receives slots_in's, or the empty state). */
struct dj_attention_args {
    struct dj_tensor q; /* [B,T,H,d] f32, any strides; [B,H,T,d] and packed qkv are views of this */
    struct dj_tensor k; /* [B,T,H,d] f32 */
    struct dj_tensor v; /* [B,T,H,e] f32 */
    struct dj_tensor o; /* [B,T,H,e] f32, written; overlaps nothing else */
    const dj_features *features; /* of the plan's map and dim, with heads 0 or the plan's */

    /* State: a pool of slots of needs.slot_size bytes from state_offset on; see dj_state_header.
     * Slot indices are read during the call only. state NULL: no state goes in or out. */
    dj_buffer *state;
    uint64_t state_offset;    /* bytes, a multiple of needs.slot_alignment */
    uint32_t slot_count;      /* slots in the pool */
    uint32_t barriers;        /* enum dj_barrier, any together */
    const int32_t *slots_in;  /* [B] slot that sequence b continues, -1: starts empty. NULL: all -1 */
    const int32_t *slots_out; /* [B] slot that receives sequence b's state, -1: none. NULL: all -1.
                               * No two sequences share one, and none is another's slots_in; a
                               * sequence's own slots_in is fine */

    struct dj_scratch scratch; /* as dj_attention_needs says; a larger one is used in larger pieces */
    uint64_t reserved[4];      /* 0 */
};

/* The start of a state slot. A slot of zero bytes is the empty state. After the header, for each head,
 * float32 arrays, m = d features: sum[m][e], its low parts[m][e], norm[m], its low parts[m] and
 * exponent[m]. Feature f's true sum is (sum[f] + low[f]) * 2^exponent[f], the exponent a whole
 * number. Each head's block starts at a multiple of 16 bytes. */
struct dj_state_header {
    uint32_t layout;      /* DJ_STATE_LAYOUT once written */
    uint32_t map;         /* enum dj_map */
    uint32_t tokens_low;  /* tokens seen, low and high half */
    uint32_t tokens_high;
    uint32_t heads, dim, value_dim;
    uint32_t reserved[9]; /* 0 */
};
#define DJ_STATE_LAYOUT 0x444a0001u

/* What recording args takes. Pure: depends on plan, shapes, strides and args->scratch.size alone
 * (0: as much as is useful). slot_size and slot_alignment depend on the plan alone, and are all that
 * is filled in if args is NULL. Returns DJ_SUCCESS or what dj_attention_record would say of the
 * tensors. */
DJ_API dj_result dj_attention_needs(const dj_attention *plan, const struct dj_attention_args *args,
                                    struct dj_needs *needs);

/* Records one call, whole or not at all. Allocates nothing, locks nothing, waits for nothing. Begins
 * and ends with the barriers of recorder.h and those of args->barriers. One token is T = 1.
 *
 * Returns DJ_SUCCESS; DJ_ERROR_INVALID_ARGUMENT; DJ_ERROR_VERSION; DJ_ERROR_LIMIT (a tensor one of
 * whose rows cannot be bound); DJ_ERROR_SCRATCH; DJ_ERROR_RECORDER_FULL; DJ_ERROR_RECORDER_STATE
 * unless recording. */
DJ_API dj_result dj_attention_record(const dj_attention *plan, dj_recorder *recorder,
                                     const struct dj_attention_args *args);

/* Records, submits and waits, long work in several submissions; allocates scratch memory if args has
 * none. The result is visible to the host and to later work. Returns what dj_attention_record,
 * dj_recorder_submit and dj_recorder_wait do, and DJ_ERROR_OUT_OF_DEVICE_MEMORY. Thread-safe. */
DJ_API dj_result dj_attention_run(const dj_attention *plan, const struct dj_attention_args *args);

#ifdef __cplusplus
}
#endif

#endif
