/* SPDX-License-Identifier: MIT */
/* What the README's snippets have in hand: its whole program's, and a model. */
#include <dijiang/dijiang.h>

#include <stddef.h>

enum {
    T = 40, /* tokens of the prompt */
    H = 8,
    D = 64
};
extern dj_context *gpu;
extern dj_attention *plan;
extern struct dj_attention_args args;
extern float q[T * H * D], k[T * H * D], v[T * H * D], o[T * H * D];
int next_token(float *q, float *k, float *v, const float *o);
