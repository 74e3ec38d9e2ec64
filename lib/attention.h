/* SPDX-License-Identifier: MIT */
/* The inside of an attention plan, shared by its checks (attention.c), the recording of its kernels
 * (attention_tiled.c) and the state slots (state.c). */
#ifndef DJ_LIB_ATTENTION_H
#define DJ_LIB_ATTENTION_H

#include "buffer.h"
#include "tensor.h"
#include "transform.h"

#include <dijiang/attention.h>

struct dj_attention {
    struct dj_context *context;
    uint32_t map;
    uint32_t heads, dim, value_dim;
    bool causal, normalise;
    float scale;                    /* of q.k; never 0 */
    struct dj_transform *transform; /* of queries and keys */
    struct dj_buffer *decay;        /* DJ_DECAY_POWERS of every head; of one if there is none */
    struct {
        VkPipeline features, sum, scan, output;
    } pipelines;
};

/* How a checked call is cut into parts and where its scratch memory lies. A part is one box of
 * sequences, tokens and heads; parts of the same sequences and heads run in order and pass a carry.
 */
struct dj_tiled_layout {
    struct dj_grid grid;                /* [sequence][token][head] */
    uint64_t keys, tiles, carry, total; /* byte offsets in scratch; queries are at 0 */
    uint64_t passes;                    /* over the tokens: 2 without a causal mask */
    uint64_t parts;
    bool slot_bound; /* the pool is beyond the binding range: one sequence a box, its slot bound */
};

/* Fills in layout for at most budget bytes of scratch (0: as much as is useful). Returns
 * DJ_SUCCESS; DJ_ERROR_LIMIT; DJ_ERROR_SCRATCH, logged. */
dj_result dj_tiled_layout(const struct dj_attention *plan, const struct dj_attention_args *args,
                          uint64_t budget, struct dj_tiled_layout *layout);

/* The most dispatches one part takes. */
uint32_t dj_tiled_dispatches(const struct dj_attention *plan);

/* Records part number `part` of a checked call; slots binds the slot indices pushed to the ring
 * (dj_slots_push), or VK_NULL_HANDLE. Begins and ends with the caller's side of the contract in
 * dijiang/recorder.h; between two parts in one recording the caller puts a write-to-read barrier.
 */
void dj_tiled_record(const struct dj_attention *plan, struct dj_recorder *recorder,
                     const struct dj_attention_args *args, const struct dj_tiled_layout *layout,
                     const VkDescriptorBufferInfo *slots, uint64_t part);

/* Bytes of one head's block and of a whole slot. */
uint64_t dj_state_block_size(const struct dj_attention *plan);
uint64_t dj_state_slot_size(const struct dj_attention *plan);

/* Whether the call takes or leaves state. */
bool dj_slots_used(const struct dj_attention_args *args);

/* Checks the pool and, with batch numbers to work in, the slot indices. */
dj_result dj_slots_check(const struct dj_attention *plan, const struct dj_attention_args *args,
                         uint64_t batch);
dj_result dj_slots_check_indices(const struct dj_attention *plan,
                                 const struct dj_attention_args *args, uint64_t batch,
                                 uint64_t *work);

#endif
