/* SPDX-License-Identifier: MIT */
/* Random numbers, and the points of Sobol's sequence. */
#ifndef DJ_LIB_RANDOM_H
#define DJ_LIB_RANDOM_H

#include <stdint.h>

/* The next number of splitmix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number
 * generators", OOPSLA 2014). */
uint64_t dj_random_next(uint64_t *state);

/* Uniform in (0, 1): an odd multiple of 2^-53. */
double dj_random_uniform(uint64_t *state);

/* A stream of its own for each index: streams of neighbouring seeds and indices share nothing. */
uint64_t dj_random_stream(uint64_t seed, uint64_t index);

/* The digits of i in base 2 mirrored at the point, times 2^32 (van der Corput's sequence). */
uint32_t dj_van_der_corput(uint32_t i);

/* Sobol's sequence, dimension by dimension. */
struct dj_sobol {
    uint32_t dimension;     /* of direction[], from 0 */
    uint32_t polynomial;    /* the primitive one in use, bit k the coefficient of x^k */
    uint32_t direction[32]; /* direction[k] belongs to bit k of the point's index */
};

/* Dimension 0, and the next one; 255 times at most. */
void dj_sobol_first(struct dj_sobol *sobol);
void dj_sobol_next(struct dj_sobol *sobol);

/* The i-th point's coordinate times 2^32. */
uint32_t dj_sobol_point(const struct dj_sobol *sobol, uint32_t i);

/* Nested uniform scrambling (Owen 1995) of a coordinate times 2^32: each binary digit is flipped or
 * not by a coin that hangs on all digits before it. The flips of one coordinate share a seed. */
uint32_t dj_owen_scramble(uint32_t x, uint64_t seed);

#endif
