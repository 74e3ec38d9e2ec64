/* SPDX-License-Identifier: MIT */
/* How the softmax family cuts a call into pieces, and its scratch memory into regions. */
#ifndef DJ_LIB_SOFTMAX_H
#define DJ_LIB_SOFTMAX_H

#include "attention.h"

/* Regions of scratch memory, in this order. */
enum dj_softmax_region {
    DJ_SOFTMAX_QUERY_TABLE, /* spans */
    DJ_SOFTMAX_KEY_TABLE,
    DJ_SOFTMAX_CARRY,       /* the kernel's, between boxes of keys */
    DJ_SOFTMAX_PROJECTED_K, /* E k and F v of the box's sequences and heads */
    DJ_SOFTMAX_PROJECTED_V,
    DJ_SOFTMAX_LACKING_K, /* what those lack, between boxes of keys */
    DJ_SOFTMAX_LACKING_V,
    DJ_SOFTMAX_REGIONS,
};

/* One piece. Those of the same queries run in order of their keys and pass a carry; Linformer's
 * first pieces of the same sequences and heads project all keys, a box of tokens after another. */
struct dj_softmax_piece {
    struct dj_box queries; /* of q and o: sequences, tokens, query heads */
    struct dj_box keys;    /* of k and v: sequences, tokens, key heads; empty if there are none */
    bool projects;         /* Linformer: these keys */
    bool attends;          /* these queries to these keys, or to the projected ones */
    bool first, last;      /* of the boxes of keys that these queries see, or that are projected */
};

/* Rows of queries to a workgroup. */
uint32_t dj_softmax_rows(const struct dj_attention *plan);

/* Blocks of DJ_TILE_VALUES columns to a workgroup, and workgroups that share a row's columns. */
uint32_t dj_softmax_blocks(const struct dj_attention *plan);
uint32_t dj_softmax_shares(const struct dj_attention *plan);

dj_result dj_softmax_layout(const struct dj_call *call, uint64_t budget, struct dj_layout *layout);

/* Piece number `index` of a layout. */
struct dj_softmax_piece dj_softmax_cut(const struct dj_call *call, struct dj_layout *layout,
                                       uint64_t index);

#endif
