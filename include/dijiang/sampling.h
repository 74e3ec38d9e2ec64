/* SPDX-License-Identifier: MIT */
/* Numbers for feature maps drawn on the host: frequencies, directions on the sphere, Gaussian
 * matrices; by Monte Carlo or from low-discrepancy sequences.
 *
 * What is drawn follows from the parameters alone and is the same, bit for bit, on every platform
 * that computes double precision by IEEE 754 without extended intermediates: all of it comes from
 * exact integer arithmetic and + - * / sqrt. Nothing here allocates or needs a device, and all of
 * it is thread-safe.
 *
 * Sources: Chen et al., "DiJiang", ICML 2024, eq. 9 to 12 (frequencies); Sobol', USSR Comp. Math.
 * Math. Phys. 7(4), 1967, and Bratley, Fox, ACM TOMS 14, 1988 (the sequence); Owen, "Randomly
 * permuted (t,m,s)-nets", 1995 (its scrambling); McKay, Beckman, Conover, Technometrics 21, 1979
 * (Latin hypercubes); Choromanski et al., "Rethinking attention with Performers", ICLR 2021
 * (orthogonal Gaussian matrices). */
#ifndef DIJIANG_SAMPLING_H
#define DIJIANG_SAMPLING_H

#include <dijiang/result.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Where the u in (0, 1) come from. */
enum dj_sequence {
    DJ_SEQUENCE_MIDPOINT = 0,       /* (pi(i) + 1/2) / count, pi a permutation by seed; with several
                                     * coordinates one permutation each: a Latin hypercube */
    DJ_SEQUENCE_MONTE_CARLO = 1,    /* independent, splitmix64 from the seed */
    DJ_SEQUENCE_VAN_DER_CORPUT = 2, /* the binary digits of i mirrored at the point, each flipped or
                                     * not as a digital shift by seed says; one coordinate only */
    DJ_SEQUENCE_SOBOL = 3,          /* Sobol' points, one dimension per coordinate, with nested
                                     * uniform (Owen) scrambling by seed. The primitive polynomials
                                     * are taken in increasing order, the free direction numbers
                                     * from splitmix64 at a fixed state */
};

/* The law of the radius t of a feature exp(t x.v), v a unit vector. */
enum dj_radius {
    DJ_RADIUS_NORMAL = 0,   /* Phi^-1(u), the paper's: the inverse normal distribution function */
    DJ_RADIUS_CHI = 1,      /* the u-quantile of the chi distribution with dim degrees of freedom:
                             * t v is then distributed N(0, I) */
    DJ_RADIUS_CONSTANT = 2, /* sqrt(dim) */
};

struct dj_sampling_params {
    uint32_t sequence;   /* enum dj_sequence */
    uint32_t radius;     /* enum dj_radius; frequencies only */
    uint32_t dim;        /* d, 1 to 256; for frequencies with DJ_RADIUS_NORMAL it may be 0 */
    uint32_t orthogonal; /* enum dj_switch; Gaussian matrices only. Default on */
    float scale;         /* of every radius, 1e-30 to 1e30; 0: 1. Not for directions */
    uint32_t padding;    /* 0 */
    uint64_t seed;
    uint64_t reserved[4]; /* 0 */
};

/* frequencies[i] = scale * (the radius law at u[i]), i = 0 .. count-1, u one coordinate of the
 * sequence. count 0 writes nothing. Returns DJ_SUCCESS; DJ_ERROR_INVALID_ARGUMENT (NULL, or a rule
 * above); DJ_ERROR_VERSION. */
DJ_API dj_result dj_sample_frequencies(const struct dj_sampling_params *params, uint32_t count,
                                       float *frequencies);

/* directions[count][dim], each a unit vector to float32's precision, uniform on the sphere:
 * Phi^-1 of the dim coordinates of the sequence's i-th point, divided by their length. count 0
 * writes nothing. Returns DJ_SUCCESS; DJ_ERROR_INVALID_ARGUMENT (NULL, or a rule above);
 * DJ_ERROR_VERSION; DJ_ERROR_UNSUPPORTED (DJ_SEQUENCE_VAN_DER_CORPUT with dim above 1). */
DJ_API dj_result dj_sample_directions(const struct dj_sampling_params *params, uint32_t count,
                                      float *directions);

/* matrix[count][dim] with entries distributed N(0, scale^2), by Monte Carlo whatever the sequence:
 * all independent; or (orthogonal) in blocks of dim rows, the last one maybe partial, that are
 * orthogonal to each other, by Gram and Schmidt from independent normals, each row then of a length
 * drawn anew from the chi distribution, so that each row by itself is still distributed
 * N(0, scale^2 I). count 0 writes nothing. Returns DJ_SUCCESS; DJ_ERROR_INVALID_ARGUMENT (NULL, or
 * a rule above); DJ_ERROR_VERSION. */
DJ_API dj_result dj_sample_gaussians(const struct dj_sampling_params *params, uint32_t count,
                                     float *matrix);

/* Draws frequencies as the paper does: frequencies[i] = Phi^-1(u[i]), Phi^-1 the inverse of the
 * normal distribution function, u[i] = (pi(i) + 1/2) / count the midpoints of count equal cells (a
 * one-dimensional quasi-Monte Carlo sequence) in an order pi shuffled by seed. The same as
 * dj_sample_frequencies of params that are zero but for the seed. count 0 writes nothing. Returns
 * DJ_SUCCESS or DJ_ERROR_INVALID_ARGUMENT (frequencies is NULL and count is not 0). */
DJ_API dj_result dj_frequencies_draw(uint32_t count, uint64_t seed, float *frequencies);

#ifdef __cplusplus
}
#endif

#endif
