/* SPDX-License-Identifier: MIT */
/* Feature maps: the numbers that turn queries and keys into positive features.
 *
 * Source: Chen, Liu, Wang, Tian, Wang, "DiJiang: Efficient Large Language Models through Compact
 * Kernelization", ICML 2024, arXiv 2403.19928; docs/mathematics.md has the formulas in full. */
#ifndef DIJIANG_FEATURES_H
#define DIJIANG_FEATURES_H

#include <dijiang/context.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The numbers of one feature map, on the device. Immutable, passed with each call, so that new
 * numbers need no new plan. Usable from any thread, by several at once. */
typedef struct dj_features dj_features;

/* x is a query or key head of length d, already multiplied by sqrt(scale); C the orthonormal DCT-II
 * matrix, C^T its inverse, the DCT-III; i = 0 .. d-1. */
enum dj_map {
    DJ_MAP_WDCF = 0,        /* phi(x)[i] = D[i] exp(t[i] (C x)[i])         (the paper's eq. 12) */
    DJ_MAP_SOFTMAX_DCT = 1, /* phi(x) = softmax over i of t[i] (C^T x)[i]
                             * (as the paper's reference implementation computes it) */
};

struct dj_features_params {
    uint32_t map;             /* enum dj_map */
    uint32_t dim;             /* d, 4 to 256 in steps of 4 */
    uint32_t heads;           /* 0: one set of numbers shared by all heads; else one per head */
    uint32_t padding;         /* 0 */
    const float *frequencies; /* t[heads or 1][d], finite; required. Read during the call only */
    const float *weights; /* D[heads or 1][d], finite; NULL: all 1. Only D*D enters attention, so
                           * signs do not matter; a feature with D = 0 is dropped, but every
                           * head must keep one. WDCF only */
    uint64_t reserved[4]; /* 0 */
};

/* Returns DJ_SUCCESS; DJ_ERROR_INVALID_ARGUMENT (a rule above); DJ_ERROR_VERSION;
 * DJ_ERROR_UNSUPPORTED (weights given to a map that has none); DJ_ERROR_LIMIT (more numbers than
 * the device can bind at once); DJ_ERROR_OUT_OF_HOST_MEMORY;
 * DJ_ERROR_OUT_OF_DEVICE_MEMORY; DJ_ERROR_DEVICE_LOST; DJ_ERROR_VULKAN. Thread-safe. */
DJ_API dj_result dj_features_create(dj_context *context, const struct dj_features_params *params,
                                    dj_features **features);

/* Destroys the numbers and sets *features to NULL. No submitted work may still use them. */
DJ_API void dj_features_destroy(dj_features **features);

/* Draws frequencies as the paper does: frequencies[i] = Phi^-1(u[i]), Phi^-1 the inverse of the
 * normal distribution function, u[i] = (pi(i) + 1/2) / count the midpoints of count equal cells (a
 * one-dimensional quasi-Monte Carlo sequence) in an order pi shuffled by seed. The same on every
 * platform, but for the last bit of some where the C library's erfc and exp round otherwise. count
 * 0 writes nothing. Returns DJ_SUCCESS or DJ_ERROR_INVALID_ARGUMENT (frequencies is NULL and count
 * is not 0). Thread-safe. */
DJ_API dj_result dj_frequencies_draw(uint32_t count, uint64_t seed, float *frequencies);

#ifdef __cplusplus
}
#endif

#endif
