/* SPDX-License-Identifier: MIT */
/* What the README's snippets have in hand. */
#include <dijiang/dijiang.h>

#include <stddef.h>

extern dj_context *gpu;
extern dj_attention *plan;
extern struct dj_attention_args args;
extern float q[512], k[512], v[512], o[512];
int next_token(float *q, float *k, float *v, const float *o);
