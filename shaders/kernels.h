/* SPDX-License-Identifier: MIT */
/* Shared by C and GLSL: push constants, layouts and tile sizes of the kernels. A push-constant block is a
 * struct of members 4 bytes wide; a shader says
 * `layout(push_constant) uniform Push { <struct> push; };`. */
#ifndef DJ_KERNELS_H
#define DJ_KERNELS_H

#ifdef VULKAN /* defined by GLSL compilers */
#define DJ_PUSH(name, members) \
    struct name { \
        members \
    };
#else
#include <assert.h>
#include <stdint.h>
typedef uint32_t uint;
#define DJ_PUSH(name, members) \
    struct name { \
        members \
    }; \
    static_assert(sizeof(struct name) <= 128, "push constants");
#endif

/* Tiles of the prefix-sum kernels: tokens, features per step, value columns per step; invocations. Shared
 * memory within 16 KiB and invocations within 128, what every Vulkan device has. */
#define DJ_TILE_TOKENS 32
#define DJ_TILE_FEATURES 32
#define DJ_TILE_VALUES 64
#define DJ_TILE_THREADS 64

/* Powers of a head's decay: gamma^0 .. gamma^32, then gamma^0 .. gamma^-32, each as vec4(mantissa,
 * exponent, what the mantissa lacks, 0). */
#define DJ_DECAY_POWERS (2 * (DJ_TILE_TOKENS + 1))

/* What the three phases leave for each other in scratch memory, one record per tile of m features and e
 * columns; floats from its start. What is "before" a tile is brought forward to its first token:
 * multiplied by gamma once more.
 *
 *            0              m e  the tile's S, by the sum; then the sums before it, by the scan */
#define DJ_RECORD_NORM(m, e) ((m) * (e))                  /* m: the tile's z */
#define DJ_RECORD_PEAK(m, e) ((m) * (e) + (m))            /* m: P, exponent of both */
#define DJ_RECORD_BEFORE_NORM(m, e) ((m) * (e) + 2 * (m)) /* m: norms before the tile */
#define DJ_RECORD_BEFORE_PEAK(m, e) ((m) * (e) + 3 * (m)) /* m: M, exponent of all before it */
#define DJ_RECORD_SIZE(m, e) ((m) * (e) + 4 * (m))

/* A head's block of a state (struct dj_state_header has the words); the carry between parts is such
 * blocks, then two words of tokens seen for each sequence. Memory of zero bytes is the empty state:
 * what has seen a token has a norm.
 *
 *            0              m e  sums */
#define DJ_STATE_LOW(m, e) ((m) * (e))                    /* m e: their low parts */
#define DJ_STATE_NORM(m, e) (2 * (m) * (e))               /* m: norms */
#define DJ_STATE_NORM_LOW(m, e) (2 * (m) * (e) + (m))     /* m: their low parts */
#define DJ_STATE_PEAK(m, e) (2 * (m) * (e) + 2 * (m))     /* m: exponents */
#define DJ_STATE_SIZE(m, e) (2 * (m) * (e) + 3 * (m))

/* Row copies: invocations, each of which moves so many elements. */
#define DJ_ROWS_THREADS 64
#define DJ_ROWS_EACH 8

/* Matrix products of rows: a workgroup computes DJ_DENSE_TILE rows x columns, each of its invocations
 * DJ_DENSE_EACH x DJ_DENSE_EACH of them, DJ_DENSE_STEP terms of the sum at a time. */
#define DJ_DENSE_TILE 64
#define DJ_DENSE_EACH 8
#define DJ_DENSE_STEP 16
#define DJ_DENSE_THREADS 64

/* Rows that one workgroup of the feature kernel maps, and invocations per row. */
#define DJ_FEATURE_ROWS 8
#define DJ_FEATURE_LANES 8

/* clang-format off */
/* Tiles of a box of sequences x heads x tokens. Packed rows lie as [sequence][head][token]. */
#define DJ_TILE_BOX \
    uint tokens;     /* per sequence in the box */ \
    uint tiles;      /* of them */ \
    uint heads;      /* in the box */ \
    uint first_head; /* of the box, in the plan */

/* The rows of a view: row = (i0 * count1 + i1) * count2 + i2 starts at base + i0 stride0 + .. */
#define DJ_ROWS_VIEW \
    uint rows; \
    uint count1; \
    uint count2; \
    uint base;      /* elements, as the strides */ \
    uint stride[3];

DJ_PUSH(rows_load_push,
    DJ_ROWS_VIEW
    uint padded;  /* rows to write; those beyond the view's are 0 */
    float factor;
    float first;  /* factor of each row's first element */
)

DJ_PUSH(rows_store_push,
    DJ_ROWS_VIEW
)

DJ_PUSH(rows_dense_push,
    DJ_ROWS_VIEW
    uint dim; /* columns and terms */
    float factor;
)

DJ_PUSH(features_push,
    uint rows;
    uint tokens;
    uint heads;
    uint first_head;
    uint head_stride; /* floats between the numbers of two heads; 0: shared */
    uint weights;     /* floats from the frequencies to ln D */
)

DJ_PUSH(tile_sum_push,
    DJ_TILE_BOX
    uint v_base;      /* elements, as all below */
    uint v_stride[3]; /* sequence, head, token */
)

DJ_PUSH(tile_scan_push,
    DJ_TILE_BOX
    uint read;         /* DJ_SCAN_EMPTY, _CARRY or _SLOTS: where the state comes from */
    uint write_carry;  /* 1 or 0 */
    uint write_slots;  /* 1 or 0 */
    uint slots_base;   /* words from the binding's start to slot 0 */
    uint slot_words;   /* from slot to slot; 0: the slot itself is bound */
    uint first_index;  /* of the box's first sequence in the slot indices */
    uint carry_tokens; /* words from the carry's start to its counts of tokens */
    uint plan_heads;
    uint tokens_added; /* to the headers' count */
    uint map;          /* enum dj_map, for the headers */
)
#define DJ_SCAN_EMPTY 0
#define DJ_SCAN_CARRY 1
#define DJ_SCAN_SLOTS 2

/* The state slot header's words, and its first one: struct dj_state_header, DJ_STATE_LAYOUT. */
#define DJ_STATE_HEADER_WORDS 16
#define DJ_KERNEL_STATE_LAYOUT 0x444a0001u

DJ_PUSH(tile_output_push,
    DJ_TILE_BOX
    uint v_base;      /* elements, as all below */
    uint v_stride[3]; /* sequence, head, token */
    uint o_base;
    uint o_stride[3];
    uint before;      /* from the sums before one tile to those before the next; 0: one for all */
    uint before_head; /* ... of one (sequence, head) to the next */
    uint before_norm; /* from those sums to the norms */
    uint before_peak; /* ... to the exponents */
)

/* clang-format on */

#endif
