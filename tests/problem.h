/* SPDX-License-Identifier: MIT */
/* An attention problem for the tests: random inputs, the twin's answer, and the same on a
 * device. */
#ifndef DJ_TESTS_PROBLEM_H
#define DJ_TESTS_PROBLEM_H

#include "harness.h"
#include "twin.h"

/* How q, k, v and o lie in their buffers. */
enum layout {
    LAYOUT_PLAIN,        /* [B,T,H,d] without gaps */
    LAYOUT_HEADS_FIRST,  /* [B,H,T,d] */
    LAYOUT_PACKED,       /* q, k and v of a token side by side in one buffer, by head
                          * ([B,T,H,2d+e]) or, where Hk is not H, one after another; k and v alone
                          * where Tq is not T; o plain */
    LAYOUT_SLICED,       /* every dimension a slice of a larger one, odd gaps and offsets (even
                          * ones for 2-byte elements on a device without 16-bit storage) */
    LAYOUT_TOKENS_FIRST, /* [T,B,H,d] */
    LAYOUT_COUNT,
};

/* All zero but the shape is a causal WDCF problem without normaliser, in float32. */
struct problem_params {
    int map; /* enum dj_map */
    size_t batch, tokens, heads, dim, value_dim;
    size_t key_heads;    /* 0: heads */
    size_t features;     /* m, or n' of Linformer; 0: the map's own, else dim */
    size_t max_tokens;   /* of the plan: cosFormer's M, Linformer's T; 0: tokens, at least 1 */
    bool cross;          /* Tq is query_tokens; else tokens. Not causal only */
    size_t query_tokens; /* may be 0 */
    bool full;           /* not causal; Linformer is so anyway */
    bool normalise;      /* given to the plan as on or off; softmax and Linformer are always on */
    bool key_normalise;
    bool gaussian;      /* PFF, PRF: DJ_KERNEL_GAUSSIAN */
    float scale;        /* 0: the default */
    const float *decay; /* decay[0 .. decay_count-1] go round the key heads */
    size_t decay_count; /* 0: none */
    bool own_numbers;   /* numbers per key head */
    bool weighted;      /* WDCF, PFF, PRF: random weights of both signs, a third of them 0 */
    double sigma;       /* of q and k; 0: 1 */
    uint32_t q_type, k_type, v_type, o_type; /* enum dj_type */
    uint32_t spans;       /* enum dj_spans_kind of k and v, if causal of q and o; drawn at random:
                           * PADDED left, right or both, some empty or whole; PACKED cut anywhere,
                           * not always from the first or to the last token */
    uint32_t query_spans; /* the same of q and o, not causal only */
    size_t sequences;     /* N, where one of them is PACKED (B is 1 then) */
    bool device_spans;    /* indices in a buffer, longest given exactly */
    size_t query_places, key_places; /* P of position scales, of both signs; 0: none */
    uint32_t family;                 /* enum dj_family */
};

/* Members of struct problem_params. */
#define SHAPE(B, T, H, d, e) .batch = (B), .tokens = (T), .heads = (H), .dim = (d), .value_dim = (e)

struct problem {
    struct problem_params params; /* as given */
    struct twin_attention twin;
    float *q, *k, *v; /* contiguous [B,Tq,H,.], [B,T,Hk,.]; rounded to their types */
    /* what twin points to; NULL where the map or the options have none */
    float *frequencies, *weights, *decay;
    float *directions, *key_projection, *value_projection;
    float *query_scales, *key_scales;
    struct twin_span *spans, *query_spans;  /* NULL: whole. A test may change them before solving */
    struct dj_attention_params plan_params; /* the plan that solves it */
    double *want;                           /* [B,Tq,H,e], by problem_solve; 0 outside sequences */
    double *terms;                          /* where weights have signs or factors are float16: the
                                             * sums of |terms| */
    double bound;                           /* by problem_solve */
};

void problem_init(struct problem *problem, const struct problem_params *params);
/* Another call of the same plan: new inputs, spans and scales for what params says of them (batch,
 * tokens, cross, query_tokens, sigma, spans, query_spans, sequences, device_spans, places); the
 * plan's params and numbers stay. */
void problem_redraw(struct problem *problem, const struct problem_params *params);
/* Asks the twin; the caller may change q, k and v before (they are rounded to their types). */
void problem_solve(struct problem *problem);
/* Multiplies v by a power of two that makes the largest output about 1 (v at most 256 times
 * larger), and solves: unnormalised sums leave float16's range otherwise. */
void problem_fit(struct problem *problem);
void problem_finish(struct problem *problem);

/* A problem's plan, numbers and tensors on a device. o is poisoned, with guard bands; what a kernel
 * must not use (gaps, tokens outside every sequence) is NaN in q, k and v. The problem must outlive
 * it and keep its spans. */
struct placed {
    const struct problem *problem;
    dj_attention *plan;
    dj_features *features; /* NULL for maps without numbers */
    bool borrowed;         /* plan and features are another's */
    dj_buffer *buffers[8]; /* q, k, v, o; indices of spans and query_spans; scales of q and k. In
                            * LAYOUT_PACKED tensors share the first of theirs */
    int32_t *indices[2];   /* of spans and query_spans on the host */
    struct dj_attention_args args;
};

void problem_place(const struct problem *problem, dj_context *context, enum layout layout,
                   struct placed *placed);
/* The same for a plan and numbers that exist. */
void problem_place_on(const struct problem *problem, dj_context *context, enum layout layout,
                      dj_attention *plan, dj_features *features, struct placed *placed);
void placed_finish(struct placed *placed);

/* The problem's numbers on a device, or NULL if its map has none. */
dj_features *problem_features(const struct problem *problem, dj_context *context);

/* Puts back the poison under o. */
void placed_poison(struct placed *placed);

/* o as a new contiguous [B,Tq,H,e] array of floats, to be freed; asserts that nothing else in its
 * buffer was written, nor the rows outside every sequence, which are 0 in the answer. */
float *placed_output(const struct placed *placed);

/* Sequence b of a call without spans, alone. */
struct dj_attention_args placed_sequence(const struct placed *placed, uint64_t b);
/* Tokens first .. first+count-1 of a call without spans; of q and o too if Tq = T. */
struct dj_attention_args placed_range(const struct placed *placed, uint64_t first, uint64_t count);

/* The elements of o that got holds. */
size_t problem_output_size(const struct problem *problem);

/* One line of text with everything that describes a problem; static storage. */
const char *problem_text(const struct problem *problem);

/* Asserts that got answers the problem: within its bound over all, and each row within 64 times
 * that of its own size; rows that are 0 exactly. Where weights have signs, sums of large terms may
 * come out small, and 2^-24 * 4 * rms(sums of |terms|) / rms(output) is added to the bound: the
 * roundings of the terms themselves (2^-12 where the context multiplies matrices of float16: the
 * roundings of their factors). With such factors that is added for each single row of any map, not
 * 64 times: one value may be much larger than the others, and cancel. */
void problem_assert(const struct problem *problem, const float *got, const char *what);
/* The same as a question: an empty text, or what is wrong (static storage). */
const char *problem_check(const struct problem *problem, const float *got);

/* Asserts that n elements are the same bits. */
void problem_assert_bits(const struct problem *problem, const float *want, const float *got,
                         size_t n, const char *what);

/* A plan and its numbers on one device of the harness, for several calls and problems. */
struct made {
    dj_context *context;
    dj_attention *plan;
    dj_features *features; /* or NULL */
};

struct made problem_make(const struct problem *problem, uint32_t device);
void made_finish(struct made *made);

/* The output of dj_attention_run for a problem of this plan; placed_output says what is asserted of
 * it, the answer is not. */
float *made_run(const struct made *made, const struct problem *problem, enum layout layout);
/* problem_make, made_run, made_finish. */
float *problem_run(const struct problem *problem, uint32_t device, enum layout layout);

/* problem_solve, place, dj_attention_run, problem_assert on every device. */
void problem_test(struct problem *problem, enum layout layout, const char *what);

/* problem_init, problem_test, problem_finish. */
void problem_test_random(const struct problem_params *params, enum layout layout, const char *what);

/* One plan on a device, and a call of so many tokens each, shape and inputs anew, which `change`
 * (NULL: nothing) may change; in the first `layouts` of enum layout, in turns. Values of float16
 * outputs that are not normalised are fitted. */
void problem_test_calls(uint32_t device, const struct problem_params *params, const size_t *tokens,
                        size_t count, size_t layouts,
                        void (*change)(struct problem *problem, size_t call), const char *what);

/* Maps that go different ways through the kernels: exponential, bounded, signed, by place, and
 * without features. */
enum {
    PROBLEM_MAPS = 6
};
extern const int problem_maps[PROBLEM_MAPS];
bool problem_may_normalise(int map);

#endif
