/* SPDX-License-Identifier: MIT */
/* How the tiled family cuts a call into pieces, and its scratch memory into regions. */
#ifndef DJ_LIB_TILED_H
#define DJ_LIB_TILED_H

#include "attention.h"

/* Regions of scratch memory, in this order. */
enum dj_tiled_region {
    DJ_TILED_PROJECTED, /* rows of one side, by the projection */
    DJ_TILED_QUERIES,   /* features */
    DJ_TILED_KEYS,
    DJ_TILED_RECORDS, /* of tiles */
    DJ_TILED_CARRY,   /* states between pieces, each box's and snapshot's if they are kept */
    DJ_TILED_TABLE,   /* spans */
    DJ_TILED_REGIONS,
};

/* One piece: a box of sequences, tokens and key heads. Those of the same sequences and heads run in
 * order and pass a carry: first those of the keys' tokens, then one for each further snapshot, then
 * without a causal mask those of the queries' tokens. Where states are kept until the end, each box
 * of sequences and heads has a carry for each snapshot, and copies follow the last piece. */
struct dj_tiled_piece {
    struct dj_box box;
    uint64_t tokens;   /* of a sequence; 0: state moves, and nothing else */
    bool queries;      /* of the second pass, without a causal mask */
    bool copies;       /* a kept state to its slots, and nothing else */
    bool forks;        /* leaves its state in the carry behind the one that it reads */
    uint64_t carry;    /* the number of the carry that it reads, where states are kept */
    uint32_t snapshot; /* as in struct spans_push */
    bool fresh;        /* the first piece of its sequences, whatever the heads */
    bool first, last;  /* of the pieces that move the state of its sequences and heads */
    bool publishes;    /* leaves a state in a slot */
};

/* Tokens of a tile, for which scratch memory has a record; of segments those of the longest
 * sequence's. */
uint64_t dj_tiled_tokens(const struct dj_call *call);
/* Tiles of a sequence in a box of so many tokens, at most. */
uint64_t dj_tiled_count(const struct dj_call *call, uint64_t tokens);

dj_result dj_tiled_layout(const struct dj_call *call, uint64_t budget, struct dj_layout *layout);

/* Piece number `index` of a layout, or behind them a copy. */
struct dj_tiled_piece dj_tiled_cut(const struct dj_call *call, struct dj_layout *layout,
                                   uint64_t index);

#endif
