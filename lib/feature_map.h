/* SPDX-License-Identifier: MIT */
#ifndef DJ_LIB_FEATURE_MAP_H
#define DJ_LIB_FEATURE_MAP_H

#include "buffer.h"

#include <dijiang/features.h>

struct dj_features {
    struct dj_context *context;
    uint32_t map, dim, features, tokens;
    uint32_t heads;       /* as in the params: 0 is shared */
    float square_factor;  /* c of exp(-c |x|^2) */
    uint32_t head_stride; /* floats between two heads' first numbers; 0: shared */
    uint32_t weights;     /* floats from the frequencies to ln D; Linformer: from E to F */
    /* t[sets][m], ln |D| - (ln m) / 2 where the map has that factor, then from directions on
     * V^T[sets][d][m]. Linformer: E[sets][n'][T], F[sets][n'][T] */
    struct dj_buffer *tables;
    uint64_t directions; /* bytes */
};

/* V^T, as a binding. */
struct dj_binding dj_features_directions(const struct dj_features *features);

#endif
