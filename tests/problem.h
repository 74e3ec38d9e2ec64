/* SPDX-License-Identifier: MIT */
/* An attention problem for the tests: random inputs, the twin's answer, and the same on a
 * device. */
#ifndef DJ_TESTS_PROBLEM_H
#define DJ_TESTS_PROBLEM_H

#include "harness.h"
#include "twin.h"

/* How q, k, v and o lie in their buffers. */
enum layout {
    LAYOUT_PLAIN,       /* [B,T,H,d] without gaps */
    LAYOUT_HEADS_FIRST, /* [B,H,T,d] */
    LAYOUT_PACKED,      /* q, k, v of a head side by side in one [B,T,H,2d+e]; o plain */
    LAYOUT_SLICED,      /* every dimension a slice of a larger one, odd gaps */
    LAYOUT_COUNT,
};

struct problem_params {
    int map; /* enum dj_map */
    size_t batch, tokens, heads, dim, value_dim;
    bool full;          /* not causal */
    bool normalise;     /* given to the plan as on or off */
    float scale;        /* 0: the default */
    const float *decay; /* decay[0 .. decay_count-1] go round the heads */
    size_t decay_count; /* 0: none */
    bool own_numbers;   /* frequencies (and weights) per head */
    bool weighted;      /* WDCF: random weights of both signs, a third of them 0 */
    double sigma;       /* of q and k; 0: 1 */
};

/* Members of struct problem_params. */
#define SHAPE(B, T, H, d, e) .batch = (B), .tokens = (T), .heads = (H), .dim = (d), .value_dim = (e)

struct problem {
    struct twin_attention twin;
    float *q, *k, *v;                       /* contiguous [B,T,H,.] */
    float *frequencies, *weights, *decay;   /* what twin points to; weights and decay may be NULL */
    struct dj_attention_params plan_params; /* the plan that solves it */
    double *want;                           /* [B,T,H,e], by problem_solve */
    double bound;                           /* by problem_solve */
};

void problem_init(struct problem *problem, const struct problem_params *params);
/* Asks the twin; the caller may change q, k and v before. */
void problem_solve(struct problem *problem);
void problem_finish(struct problem *problem);

/* A problem's plan, numbers and tensors on a device. o is poisoned, with guard bands. */
struct placed {
    dj_attention *plan;
    dj_features *features;
    dj_buffer *buffers[4]; /* q, k, v, o; in LAYOUT_PACKED the first three are one */
    struct dj_attention_args args;
};

void problem_place(const struct problem *problem, dj_context *context, enum layout layout,
                   struct placed *placed);
void placed_finish(struct placed *placed);

/* Exchanges the inputs' or puts back the poison under o. */
void placed_poison(struct placed *placed);

/* o as a new contiguous [B,T,H,e] array, to be freed; asserts that nothing else in its buffer was
 * written. */
float *placed_output(const struct placed *placed);

/* Tokens first .. first+count-1 of a call. */
struct dj_attention_args placed_range(const struct placed *placed, uint64_t first, uint64_t count);

/* Asserts that got answers the problem: within its bound over all, and each row within 64 times
 * that of its own size. */
void problem_assert(const struct problem *problem, const float *got, const char *what);

/* problem_solve, place, dj_attention_run, problem_assert on every device. */
void problem_test(struct problem *problem, enum layout layout, const char *what);

/* problem_init, problem_test, problem_finish. */
void problem_test_random(const struct problem_params *params, enum layout layout, const char *what);

#endif
