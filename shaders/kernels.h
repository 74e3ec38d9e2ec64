/* SPDX-License-Identifier: MIT */
/* Shared by C and GLSL: push constants, layouts and tile sizes of the kernels. A push-constant block is a
 * struct of members 4 bytes wide; a shader says
 * `layout(push_constant) uniform Push { <struct> push; };`. */
#ifndef DJ_KERNELS_H
#define DJ_KERNELS_H

/* Kernels that bind by device addresses read, at this byte of their push constants, the address of a table of
 * addresses, one for each binding. */
#define DJ_ADDRESSES 8
#define DJ_ADDRESSES_OFFSET 120

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
    static_assert(sizeof(struct name) <= DJ_ADDRESSES_OFFSET, "push constants");
#endif

/* Tiles of the prefix-sum kernels: tokens, features per step, value columns per step; invocations. Shared
 * memory within 16 KiB and invocations within 128, what every Vulkan device has. */
#define DJ_TILE_TOKENS 32
#define DJ_TILE_FEATURES 32
#define DJ_TILE_VALUES 64
#define DJ_TILE_THREADS 64

/* Of those that multiply cooperative matrices: elements from row to row of a factor, whose rows begin in
 * different banks; bytes of shared memory: both factors, products, scores, and some hundred numbers. */
#define DJ_MATRIX_STRIDE(columns) ((columns) + 8)
#define DJ_MATRIX_SHARED \
    (2 * DJ_TILE_TOKENS * (DJ_MATRIX_STRIDE(DJ_TILE_TOKENS) + DJ_MATRIX_STRIDE(DJ_TILE_VALUES)) + \
     4 * DJ_TILE_TOKENS * (DJ_TILE_VALUES + DJ_TILE_TOKENS) + 4 * 512)

/* Powers of a head's decay for spans of so many tokens: gamma^0 .. gamma^span, then gamma^0 ..
 * gamma^-span, each as vec4(mantissa, exponent, what the mantissa lacks, 0). */
#define DJ_DECAY_POWERS(span) (2 * ((span) + 1))

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

/* A key head's block of a state (struct dj_state_header has the words); the carry between pieces is such
 * blocks, then two words of tokens seen for each sequence. Memory of zero bytes is the empty state:
 * what has seen a token has a norm.
 *
 *            0              m e  sums */
#define DJ_STATE_LOW(m, e) ((m) * (e))                    /* m e: their low parts */
#define DJ_STATE_NORM(m, e) (2 * (m) * (e))               /* m: norms */
#define DJ_STATE_NORM_LOW(m, e) (2 * (m) * (e) + (m))     /* m: their low parts */
#define DJ_STATE_PEAK(m, e) (2 * (m) * (e) + 2 * (m))     /* m: exponents */
#define DJ_STATE_SIZE(m, e) (2 * (m) * (e) + 3 * (m))

/* Heads of a plan, of queries or keys; the resident kernel has conditions that are always true by it. */
#define DJ_MOST_HEADS 65535u

/* Up to so many features a lane of the resident kernel has four columns of a strip, and two beyond, up to the
 * most that it is made for: more sums take long to compile. */
#define DJ_RESIDENT_FOURS 64
#define DJ_RESIDENT_MOST 256

/* The most numbers of a head's directions that it holds, for the same reason. */
#define DJ_RESIDENT_MATRIX 9216

/* For so many lanes it is written so that from one lane to all is all that crosses lanes (lanes.glsl). */
#define DJ_RESIDENT_READS(lanes) ((lanes) == 4 || (lanes) == 16)

/* The resident kernel's tokens between two additions to the state, without a decay and with one; floats
 * of a workgroup's own memory, for m features and c columns. */
#define DJ_RESIDENT_SPAN 512
#define DJ_RESIDENT_DECAY_SPAN 256
#define DJ_RESIDENT_MEMORY(m, c) ((m) * (c) + 5 * (m) + 1)

/* Chunks of tokens that cooperative matrices take whole: invocations of a workgroup; bytes of shared memory
 * for rows of w numbers (as many as the widest of d, m, c and t), m features, c columns and t tokens. */
#define DJ_CHUNK_THREADS 128
#define DJ_CHUNK_SHARED(w, m, c, t) \
    (4 * (t) * ((w) + 8) + 2 * ((t) + (m)) * ((c) + 8) + 32 * DJ_CHUNK_THREADS + 36 * (m) + 24 * (t) + \
     20 * (c) + 64)
/* Tokens of a segment, a tile of these kernels, given those of its sequence in the call: a long one has few. Sums are
 * rounded where segments meet, and a sequence's bits may not depend on what else is in the call. */
#define DJ_LONG_TOKENS 16384
#define DJ_SEGMENT_TOKENS(t) ((t) < DJ_LONG_TOKENS ? 512 : (t) < 2 * DJ_LONG_TOKENS ? 1024 : 2048)
#define DJ_CHUNK_LINEAR 1
#define DJ_CHUNK_TRANSFORM 2
#define DJ_CHUNK_FAILED 4 /* only what the kernels for features as float16 numbers failed at */
#define DJ_CHUNK_KEY_NORMALISE 8

/* Those kernels: bytes of shared memory of half_output.comp (half_sum.comp has a second buffer of values for the state,
 * and 8 c bytes, which is less) for rows of w numbers, a transform's matrix of so many bytes, m features, c
 * columns in matrices of n, t tokens. A segment's notes lie behind all records: for each of e columns the largest value, or
 * DJ_NOTE_FAILED where the sums failed; for each the sum of values' sizes; the largest norm, that of the first
 * block of columns; then for each block of each query head 0, or DJ_NOTE_FAILED where its outputs failed. */
#define DJ_HALF_MATRIX(d, m) (2 * (m) * ((d) + 8))
#define DJ_HALF_SHARED(w, matrix, m, c, n, t) \
    (4 * (t) * ((w) + 8) + 2 * (t) * ((c) + 8) + (matrix) + 2 * ((m) > (t) ? (m) : (t)) * ((c) + (n) + 8) + \
     8 * (m) + 4 * (t) + 4 * DJ_HALF_ROW_WORDS(m, t))
#define DJ_HALF_ROW_WORDS(m, t) ((m) > 2 * (t) ? (m) / 2 : (t))
#define DJ_HALF_FAR_MATRIX 1 /* the transform's stays in the device's memory */
#define DJ_HALF_KEY_NORMALISE 2
#define DJ_NOTE_SIZES(e) (e)
#define DJ_NOTE_NORM(e) (2 * (e))
#define DJ_NOTE_OUTPUTS(e) (2 * (e) + 1)
#define DJ_NOTE_SIZE(e, outputs) (2 * (e) + 1 + (outputs))
#define DJ_NOTE_FAILED (-1.0)

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

/* Invocations of the kernel that finds spans, one per sequence. */
#define DJ_SPAN_THREADS 64

/* Element types: enum dj_type. */
#define DJ_ELEMENT_FLOAT32 0
#define DJ_ELEMENT_FLOAT16 1
#define DJ_ELEMENT_BFLOAT16 2

/* enum dj_spans_kind */
#define DJ_KERNEL_SPANS_WHOLE 0
#define DJ_KERNEL_SPANS_PADDED 1

/* What features.comp does, and how tiles read what it leaves: logarithms, or signed values (LINEAR). */
#define DJ_FEATURE_EXPONENTIAL 0 /* ln D + t y - c |x|^2 */
#define DJ_FEATURE_SOFTMAX 1     /* the same less its log-sum-exp */
#define DJ_FEATURE_SOFTMAX_VALUE 2 /* ... and its exponential */
#define DJ_FEATURE_PERFORMER_RELU 3
#define DJ_FEATURE_COSFORMER 4
#define DJ_FEATURE_ELU 5
#define DJ_FEATURE_RELU 6
#define DJ_FEATURE_IDENTITY 7
#define DJ_FEATURE_ELU_VALUE 8 /* elu's exponential */

/* What becomes of a denominator. */
#define DJ_DENOMINATOR_NONE 0
#define DJ_DENOMINATOR_PLAIN 1 /* positive where a key was seen */
#define DJ_DENOMINATOR_ZERO 2  /* below 1e-6: the result is 0 */
#define DJ_DENOMINATOR_CLAMP 3 /* below 1e-6: it is 1e-6 */

/* clang-format off */
/* Tokens of a box. A sequence's token i of the box is token start + i of the sequence and lies in the
 * tensors at token place spans.x + start + i - origin from the views' base. Not ragged: every sequence
 * has all tokens of the box, spans.x is 0, and origin is start. */
#define DJ_SPAN_BOX \
    uint tokens; /* of each sequence in the box, at most */ \
    uint ragged; /* 1: the box's sequences are spans[] = (first token, tokens, tokens seen before, 0) */ \
    uint start; \
    uint origin;

/* Tiles of a box of sequences x heads x tokens. Packed rows lie as [sequence][head][token]. */
#define DJ_TILE_BOX \
    DJ_SPAN_BOX \
    uint tiles;      /* of each sequence in the box, at most */ \
    uint heads;      /* key heads in the box */ \
    uint first_head; /* of the box, in the plan */

/* The rows of a view: row = (i0 * count1 + i1) * count2 + i2 starts at base + i0 stride0 + .., its
 * token i2 taken as DJ_SPAN_BOX says, count2 being its `tokens`. */
#define DJ_ROWS_VIEW \
    DJ_SPAN_BOX \
    uint rows; \
    uint count1; \
    uint base;      /* elements, as the strides */ \
    uint stride[3]; \
    uint type;      /* of the view's elements */

/* q, k, v and o of a call, from the places of the kernel's bindings; all in elements. */
#define DJ_CALL_TENSORS \
    uint q_base; \
    uint q_stride[3]; /* sequence, query head, token */ \
    uint k_base; \
    uint k_stride[3]; /* sequence, key head, token */ \
    uint v_base; \
    uint v_stride[3]; \
    uint o_base; \
    uint o_stride[3];

DJ_PUSH(rows_load_push,
    DJ_ROWS_VIEW
    uint row_length;
    uint padded;   /* rows to write; those beyond the view's are 0 */
    float factor;
    float first;   /* factor of each row's first element */
    uint signs[8]; /* bit i % 32 of word i / 32: element i, up to 256, changes its sign */
)

DJ_PUSH(rows_store_push,
    DJ_ROWS_VIEW
    uint row_length;
)

DJ_PUSH(rows_dense_push,
    DJ_ROWS_VIEW
    uint terms;
    uint columns;
    float factor;
    uint squares;     /* floats from the packed rows to the rows' sums of squares; 0: not wanted */
    uint by_head;     /* 1: z is i1, and each key head has a matrix of its own */
    uint head_stride; /* floats between two key heads' matrices */
    uint first_head;  /* key head of i1 = 0 */
    uint group;       /* of i1 to a key head */
    uint signs[8];    /* as in rows_load_push */
)

DJ_PUSH(features_push,
    DJ_SPAN_BOX
    uint rows;
    uint heads;        /* in the box, of queries or keys */
    uint group;        /* of them to a key head */
    uint first_head;   /* key head of the box's first */
    uint head_stride;  /* floats between the numbers of two key heads; 0: shared */
    uint weights;      /* floats from the frequencies to ln D */
    uint block_stride; /* floats from one block of projected rows to the next */
    uint squares;      /* floats from the projected rows to their |x|^2; 0: none */
    float square_factor; /* c of c |x|^2 */
    uint max_tokens;   /* M of cosFormer */
    uint scales;       /* places that have a position scale; 0: there are none */
    uint scales_base;  /* floats to those of the plan's first head */
    uint scales_stride; /* ... from head to head */
    uint scales_head;  /* the box's first head among them */
)

DJ_PUSH(tile_sum_push,
    DJ_TILE_BOX
    uint v_base;      /* elements, as all below */
    uint v_stride[3]; /* sequence, head, token */
)

DJ_PUSH(tile_scan_push,
    DJ_TILE_BOX
    uint tile_tokens;  /* 0: segments, by the sequence's length (spans.glsl) */
    uint read;         /* DJ_SCAN_EMPTY, _CARRY or _SLOTS: where the state comes from */
    uint write_carry;  /* 1 or 0 */
    uint write_slots;  /* DJ_WRITE_*; DJ_WRITE_HEADER alone: nothing else is done */
    uint slots_base;   /* words from the binding's start to slot 0 */
    uint slot_words;   /* from slot to slot; 0: the slot itself is bound */
    uint slot_count;
    uint first_index;  /* of the box's first sequence among all */
    uint snapshots;    /* slots_out per sequence; slots_in too, if accepted */
    uint snapshot;     /* which of them this is */
    uint accepted;     /* 1: bound */
    uint in_base;      /* words to the first number: of slots_in, accepted, slots_out */
    uint accepted_base;
    uint out_base;
    uint carry_tokens; /* words from a carry's start to its counts of tokens */
    uint carry_out;    /* words from the carry that is read to the one that is written */
    uint plan_heads;   /* key heads */
    uint dim;          /* d, for the headers */
    uint map;          /* enum dj_map, for the headers */
)
#define DJ_WRITE_STATE 1
#define DJ_WRITE_HEADER 2
#define DJ_SCAN_EMPTY 0
#define DJ_SCAN_CARRY 1
#define DJ_SCAN_SLOTS 2

/* The state slot header's words, and its first one: struct dj_state_header, DJ_STATE_LAYOUT. */
#define DJ_STATE_HEADER_WORDS 16
#define DJ_KERNEL_STATE_LAYOUT 0x444a0002u

DJ_PUSH(tile_output_push,
    DJ_TILE_BOX
    uint group;       /* query heads to a key head */
    uint v_base;      /* elements, as all below */
    uint v_stride[3]; /* sequence, key head, token */
    uint o_base;
    uint o_stride[3]; /* sequence, query head, token */
    uint before;      /* from the sums before one tile to those before the next; 0: one for all */
    uint before_head; /* ... of one (sequence, key head) to the next */
    uint before_norm; /* from those sums to the norms */
    uint before_peak; /* ... to the exponents */
)

DJ_PUSH(chunk_push,
    DJ_TILE_BOX      /* a tile is a segment of a sequence */
    uint tile_tokens; /* 0: by the sequence's length (spans.glsl) */
    uint group;       /* query heads to a key head */
    uint head_stride; /* floats between the numbers of two key heads; 0: shared */
    uint weights;     /* floats from the frequencies to ln D */
    float factor;     /* of q and k */
    uint notes;       /* floats from the first record to the first segment's notes */
    DJ_CALL_TENSORS   /* all multiples of 8 */
)

DJ_PUSH(resident_push,
    DJ_SPAN_BOX
    uint heads;      /* key heads in the box */
    uint first_head; /* of the box, in the plan */
    uint read;       /* DJ_RESIDENT_*: where the state comes from; without tokens it is taken, no more */
    uint own;        /* floats from a carry's start to the workgroups' own memory */
    uint head_stride; /* floats between the numbers of two key heads; 0: shared */
    uint weights;    /* floats from the frequencies to ln D */
    uint matrix;     /* ... to the directions, which are d times as far from head to head */
    float square_factor; /* c of c |x|^2; 0: the map has none */
    uint max_tokens; /* M of cosFormer */
    float factor;    /* of q and k */
    DJ_CALL_TENSORS
)
/* What a resident kernel does: of a causal call all of it; else all keys first, then all queries. */
#define DJ_RESIDENT_BOTH 0
#define DJ_RESIDENT_KEYS 1
#define DJ_RESIDENT_QUERIES 2
#define DJ_RESIDENT_EMPTY 0
#define DJ_RESIDENT_CARRY 1
#define DJ_RESIDENT_OWN 2 /* the workgroup's own memory, which an earlier piece left */

DJ_PUSH(step_push,
    uint sequences;
    uint heads;         /* key heads */
    uint map;           /* enum dj_map, for the headers */
    uint slots_base;    /* words from the binding's start to slot 0 */
    uint slot_words;    /* from slot to slot */
    uint slot_count;
    uint in_base;       /* numbers to the first one, DJ_STEP_NO_SLOTS: none are given */
    uint out_base;
    uint head_stride;   /* floats between the numbers of two key heads; 0: shared */
    uint weights;       /* floats from the frequencies to ln D */
    uint matrix;        /* floats to the matrix [d][m] of the transforms, or to the directions */
    uint matrix_stride; /* floats between two key heads' directions; 0: shared */
    float square_factor; /* c of c |x|^2 */
    float factor;       /* of q and k */
    uint q_base;        /* elements, as all below */
    uint q_stride[2];   /* sequence, query head */
    uint k_base;
    uint k_stride[2];   /* sequence, key head */
    uint v_base;
    uint v_stride[2];
    uint o_base;
    uint o_stride[2];
)
#define DJ_STEP_NO_SLOTS 0xffffffffu
#define DJ_STEP_DECAY 1
#define DJ_STEP_LINEAR 2
#define DJ_STEP_KEY_NORMALISE 4
#define DJ_STEP_TRANSFORM 8   /* the map works on transforms of a row */
#define DJ_STEP_DIRECTIONS 16 /* ... on products with directions */

/* Words of shared memory for d, m, r rows (the key's and its queries') and t invocations. */
#define DJ_STEP_SHARED(d, m, r, t) ((r) * ((d) + (m)) + 4 * (m) + 5 * (t) + 1)

DJ_PUSH(spans_push,
    uint kind;        /* DJ_KERNEL_SPANS_* */
    uint sequences;   /* in the box */
    uint first_index; /* of the first among all */
    uint row_tokens;  /* of a row of the tensors */
    uint longest;     /* bound on a sequence's tokens */
    uint snapshots;   /* slots per sequence, where `accepted` chooses one */
    uint states;      /* that the call leaves of each sequence */
    uint snapshot;    /* 0: all but the last `states - 1` tokens; s: the one s - states from the end */
    uint seen;        /* DJ_SEEN_*: where the counts of tokens seen come from */
    uint slots_base;
    uint slot_words;
    uint slot_count;
    uint accepted;
    uint in_base; /* words to the first number: of slots_in, accepted, the spans' indices */
    uint accepted_base;
    uint indices_base;
)

/* The carry of softmax.comp between two boxes of keys, vec4 to a workgroup: of each invocation 8 sums and
 * what they lack for each block of columns, then of each row (exponent, sum of weights, what that
 * lacks, 0). */
#define DJ_SOFTMAX_CARRY_SIZE(blocks) (16 * (blocks) * DJ_TILE_THREADS + DJ_TILE_TOKENS)
/* Of softmax_lanes.comp, vec4 to a row: (exponent, sum of weights, what that lacks, 0), then sums and what they
 * lack in turns. */
#define DJ_SOFTMAX_CARRY_ROW(e) ((e) / 2 + 1)
#define DJ_CARRY_READ 1  /* there are earlier keys */
#define DJ_CARRY_WRITE 2 /* there are later ones: the carry is written, not the outputs */

DJ_PUSH(softmax_push,
    DJ_SPAN_BOX      /* of queries */
    uint key_tokens; /* as DJ_SPAN_BOX, of keys */
    uint key_ragged;
    uint key_start;
    uint key_origin;
    uint heads; /* query heads in the box */
    uint group; /* of them to a key head */
    uint shift; /* of a key head's query heads, those before the box */
    float scale;
    uint carry;       /* DJ_CARRY_* */
    DJ_CALL_TENSORS
)

DJ_PUSH(rows_project_push,
    uint tokens;      /* in the box */
    uint heads;       /* key heads in the box */
    uint first_head;
    uint matrix;      /* floats to E of the first head, from the box's first token */
    uint head_stride; /* ... from head to head; 0: shared */
    uint row_stride;  /* ... from row to row: T */
    uint carry;       /* DJ_CARRY_* */
    uint base;        /* elements, as the strides */
    uint stride[3];   /* sequence, key head, token */
)

#define DJ_SEEN_NONE 0
#define DJ_SEEN_SLOTS 1 /* the slots that the sequences continue; they are kept behind the table */
#define DJ_SEEN_KEPT 2

/* clang-format on */

#endif
