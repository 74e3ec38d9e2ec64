/* SPDX-License-Identifier: MIT */
/* What the snippets of docs/calibration.md have in hand. */
#include <dijiang/calibrate.h>
#include <dijiang/dijiang.h>

#include <stddef.h>

extern dj_context *gpu;
extern struct dj_calibration *fitted;
extern const float *q, *k;
extern dj_features *features;
extern dj_attention *plan;
