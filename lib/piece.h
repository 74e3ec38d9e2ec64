/* SPDX-License-Identifier: MIT */
/* One piece of a call as the linear families record it. */
#ifndef DJ_LIB_PIECE_H
#define DJ_LIB_PIECE_H

#include "tiled.h"

/* What the steps of a piece share. */
struct dj_piece {
    const struct dj_call *call;
    const struct dj_attention *plan;
    struct dj_recorder *recorder;
    const struct dj_layout *layout;
    const struct dj_call_indices *indices;
    struct dj_tiled_piece cut;
    uint32_t sequences, tokens, heads; /* of the box; key heads */
    uint32_t tiles, tile_tokens;
    struct dj_binding projected, queries, keys, records, carry, table, decay;
};

struct dj_piece dj_piece_make(const struct dj_call *call, struct dj_recorder *recorder,
                              struct dj_layout *layout, const struct dj_call_indices *indices,
                              uint64_t index);

/* Records the table of the piece's spans, and a barrier, where there is one. */
void dj_piece_spans(const struct dj_piece *piece);

/* The rows of one of the call's tensors in the piece's box. Of q and o those of all query heads, or
 * where they are apart those of number `member` of every group. */
struct dj_rows dj_piece_rows(const struct dj_piece *piece, const struct dj_tensor *tensor,
                             bool queries, uint32_t member);

/* Members of a push block with DJ_CALL_TENSORS, of what that gives for q, k, v and o. */
#define DJ_PIECE_TENSORS(q, k, v, o) \
    DJ_PIECE_TENSOR(q, q), DJ_PIECE_TENSOR(k, k), DJ_PIECE_TENSOR(v, v), DJ_PIECE_TENSOR(o, o)
#define DJ_PIECE_TENSOR(name, rows) \
    .name##_base = (rows).view.base, \
    .name##_stride = {(rows).view.stride[0], (rows).view.stride[1], (rows).view.stride[2]}

/* Where a state is taken from and left. */
struct dj_scan_way {
    uint32_t read; /* DJ_SCAN_EMPTY, _CARRY or _SLOTS */
    bool write_carry;
    uint32_t write_slots; /* DJ_WRITE_*, any together */
    int32_t slot;         /* the one to bind where the whole pool cannot be */
};

/* Records one dispatch that moves states, scanning so many tiles in between. */
void dj_piece_move(const struct dj_piece *piece, struct dj_scan_way way, uint32_t tiles);

/* Records the scan of the piece's tiles from where its state is to where it belongs. One dispatch,
 * or two; three where the slots that are read and written cannot be bound together, the state then
 * going by the carry. */
void dj_piece_scan(const struct dj_piece *piece);

/* Records a kept state's way to the slots of its snapshot. */
void dj_piece_copy(const struct dj_piece *piece);

#endif
