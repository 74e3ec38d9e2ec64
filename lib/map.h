/* SPDX-License-Identifier: MIT */
/* The table of maps: everything about a map that the rest of the library asks for. */
#ifndef DJ_LIB_MAP_H
#define DJ_LIB_MAP_H

#include <dijiang/features.h>

#include <stdbool.h>

/* How a row becomes what the map works on. */
enum dj_projection_kind {
    DJ_PROJECTION_NONE,   /* the row itself */
    DJ_PROJECTION_DCT,    /* transforms of it: blocks of d */
    DJ_PROJECTION_MATRIX, /* its products with m directions */
};

struct dj_map_kind {
    const char *name;
    uint32_t projection;      /* enum dj_projection_kind */
    uint32_t first_transform; /* enum dj_dct_type of the first block; those that follow count up */
    uint32_t feature;         /* DJ_FEATURE_* */
    uint32_t plain_feature;   /* ... of a plan without normaliser, where it is another: not 0 */
    bool linear;              /* features are values, not logarithms */
    bool plain_linear;        /* ... of a plan without normaliser */
    uint32_t denominator;     /* DJ_DENOMINATOR_* of a plan with it */
    uint32_t most_per_dim;    /* most features in units of d; 0: the library's limit */
    uint32_t fixed_per_dim;   /* features in units of d where they cannot be chosen; 0: they can */
    bool frequencies, weights, directions, projections; /* the numbers that it takes */
    bool squares;                                       /* needs |x|^2 */
    bool exponential;      /* may be key-normalised; takes no position scales */
    bool normalised;       /* by default */
    bool never_normalised; /* would divide by sums of any sign */
    bool unit_scale;       /* the default scale is 1, not 1/sqrt(d) */
    bool places;           /* depends on tokens' places in their sequences */
    bool softmax;          /* quadratic: no features, state or decay */
};

/* The row of a map, or NULL if there is no such map. */
const struct dj_map_kind *dj_map_find(uint32_t map);

/* The most features that a map may have. */
enum {
    DJ_MOST_FEATURES = 1024
};

/* How many features a map of dimension dim may have: least to most in steps of step. */
struct dj_feature_range {
    uint32_t least, most, step;
};
struct dj_feature_range dj_map_range(const struct dj_map_kind *kind, uint32_t dim);
bool dj_map_allows(const struct dj_map_kind *kind, uint32_t dim, uint32_t features);

#endif
