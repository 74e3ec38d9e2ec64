/* SPDX-License-Identifier: MIT */
#ifndef DJ_LIB_FEATURE_MAP_H
#define DJ_LIB_FEATURE_MAP_H

#include "buffer.h"

#include <dijiang/features.h>

struct dj_features {
    struct dj_context *context;
    uint32_t map, dim;
    uint32_t heads;           /* as in the params: 0 is shared */
    uint32_t head_stride;     /* floats between two heads' numbers; 0: shared */
    uint32_t weights;         /* floats from the frequencies to ln D */
    struct dj_buffer *tables; /* t[heads or 1][dim], then ln |D|[heads or 1][dim] */
};

#endif
