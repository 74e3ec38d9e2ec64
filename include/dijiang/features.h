/* SPDX-License-Identifier: MIT */
/* Feature maps, and the numbers they take.
 *
 * Sources: Chen, Liu, Wang, Tian, Wang, "DiJiang: Efficient Large Language Models through Compact
 * Kernelization", ICML 2024, arXiv 2403.19928 (WDCF, PFF, WPFF; equation numbers are that paper's);
 * Choromanski et al. 2021 (PRF, Performer); Qin et al. 2022 (cosFormer); Wang et al. 2020
 * (Linformer); Katharopoulos et al. 2020 (elu); Sun et al. 2023 (RetNet). docs/mathematics.md has
 * the formulas in full. */
#ifndef DIJIANG_FEATURES_H
#define DIJIANG_FEATURES_H

#include <dijiang/context.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The numbers of one feature map, on the device. Immutable, passed with each call, so that new
 * numbers need no new plan. Usable from any thread, by several at once. */
typedef struct dj_features dj_features;

/* phi(x), m features of a query or key head x of length d, already multiplied by sqrt(scale).
 * C is the orthonormal DCT-II matrix, C^T its inverse, the DCT-III; i = 0 .. m-1. The exponential
 * maps are held as logarithms and can neither overflow nor underflow. */
enum dj_map {
    /* exponential: D[i] exp(t[i] (C x)[i]), eq. 12, the paper's method; m = 4 to 4 d. Beyond the
     * first d, blocks of d features use DCT-III, DCT-IV, then the DCT-II of x with the signs
     * flipped that docs/mathematics.md section 3 gives. */
    DJ_MAP_WDCF = 0,
    /* softmax over i of t[i] (C^T x)[i]; m = d. As the paper's reference implementation. */
    DJ_MAP_SOFTMAX_DCT = 1,
    /* exponential: m^-1/2 D[i] exp(t[i] V[i] . x - c |x|^2), eq. 9 and, with weights D, eq. 10
     * (WPFF). V[i] are directions on the sphere, t[i] radii. */
    DJ_MAP_PFF = 2,
    /* exponential: m^-1/2 D[i] exp(V[i] . x - c |x|^2), eq. 5 with independent Gaussian V[i], the
     * Performer (FAVOR+) with orthogonal ones. */
    DJ_MAP_PRF = 3,
    DJ_MAP_PERFORMER_RELU = 4, /* max(V[i] . x, 0) + 1e-3 */
    /* max(x[i], 0) cos(pi p / 2M), then max(x[i], 0) sin(pi p / 2M); m = 2 d, p = 1, 2, .. the
     * token's place in its sequence, counted with its state's tokens, M the plan's max_tokens; NaN
     * beyond it */
    DJ_MAP_COSFORMER = 5,
    DJ_MAP_ELU = 6,      /* elu(x[i]) + 1, which is exp(x[i]) below 0; m = d (Linear Transformer) */
    DJ_MAP_RELU = 7,     /* max(x[i], 0); m = d */
    DJ_MAP_IDENTITY = 8, /* x[i]; m = d; without a normaliser (RetNet, with a decay) */
    /* not feature maps, but attention all the same: exp(scale q.k) normalised over the keys, in
     * quadratic time and with no T x T matrix in memory */
    DJ_MAP_SOFTMAX = 9,
    /* softmax attention over m = n' rows E k and F v, of projections over the sequence; not causal,
     * T fixed to the plan's max_tokens, every row of k and v one whole sequence */
    DJ_MAP_LINFORMER = 10,
    DJ_MAP_COUNT = 11,
};

/* c of exp(-c |x|^2) in PFF and PRF: what phi(x) . phi(y) estimates. */
enum dj_kernel {
    DJ_KERNEL_SOFTMAX = 0,  /* exp(x . y): c = 1/2 */
    DJ_KERNEL_GAUSSIAN = 1, /* exp(-|x - y|^2 / 2), as the paper prints eq. 9: c = 1 */
};

/* Arrays hold one set for all heads, or one after another for each key head. Each array must be
 * given where its map is named and NULL elsewhere; all are read during the call only. */
struct dj_features_params {
    uint32_t map;      /* enum dj_map; WDCF, SOFTMAX_DCT, PFF, PRF, PERFORMER_RELU or LINFORMER:
                        * the others take no numbers */
    uint32_t dim;      /* d, 4 to 256 in steps of 4 */
    uint32_t features; /* m, 4 to 1024 in steps of 4; 0: d. Linformer: n', 1 to 1024 */
    uint32_t heads;    /* 0: one set of numbers shared by all heads; else one per key head, at most
                        * 65535 */
    uint32_t kernel;   /* enum dj_kernel; PFF and PRF */
    uint32_t tokens;   /* T of Linformer, at least 1; 0 elsewhere */
    const float *frequencies; /* t[m], finite; WDCF, SOFTMAX_DCT, PFF */
    const float *weights; /* D[m], finite; NULL: all 1. Only D * D enters attention, so signs do not
                           * matter; a feature with D = 0 is dropped, but every head must keep one.
                           * WDCF, PFF, PRF */
    const float *directions;       /* V[m][d], finite; PFF, PRF, PERFORMER_RELU */
    const float *key_projection;   /* E[n'][T], finite; LINFORMER */
    const float *value_projection; /* F[n'][T], finite; LINFORMER */
    uint64_t reserved[4];          /* 0 */
};

/* Returns DJ_SUCCESS; DJ_ERROR_INVALID_ARGUMENT (a rule above); DJ_ERROR_VERSION;
 * DJ_ERROR_UNSUPPORTED (an array given to a map that has none such, or a map without numbers);
 * DJ_ERROR_LIMIT (more numbers than the device can bind at once); DJ_ERROR_OUT_OF_HOST_MEMORY;
 * DJ_ERROR_OUT_OF_DEVICE_MEMORY; DJ_ERROR_DEVICE_LOST; DJ_ERROR_VULKAN. Thread-safe. */
DJ_API dj_result dj_features_create(dj_context *context, const struct dj_features_params *params,
                                    dj_features **features);

/* Destroys the numbers and sets *features to NULL. No submitted work may still use them. */
DJ_API void dj_features_destroy(dj_features **features);

/* The name of a map in lower case, such as "wdcf" or "softmax-dct"; NULL for any other number.
 * The string is static. Thread-safe. */
DJ_API const char *dj_map_name(uint32_t map);

#ifdef __cplusplus
}
#endif

#endif
