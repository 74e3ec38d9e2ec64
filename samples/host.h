/* SPDX-License-Identifier: MIT */
/* Feature maps and their attention on the host, in double precision: what the programs check
 * results with. docs/mathematics.md has the formulas. */
#ifndef DJ_SAMPLES_HOST_H
#define DJ_SAMPLES_HOST_H

#include <dijiang/features.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct host_map {
    uint32_t map, dim;
    uint32_t heads;           /* of the numbers; 0: shared */
    double scale;             /* of q.k */
    const float *frequencies; /* [heads or 1][dim] */
    const float *weights;     /* the same; NULL: all 1 */
    double *transform;        /* [dim][dim], input index first */
};

/* Computes the transform; the other members are the caller's. Returns false if memory is short. */
bool host_map_init(struct host_map *map);
void host_map_finish(struct host_map *map);

/* The largest |log phi| and |x|_2 seen, x = sqrt(scale) q or k: the sizes that bound the error. */
struct host_extremes {
    double exponent, norm;
};

/* a[dim] = log phi(sqrt(scale) row), -Inf for a feature of weight 0. Updates extremes. */
void host_features(const struct host_map *map, uint32_t head, const float *row, double *a,
                   struct host_extremes *extremes);

/* The error allowed on rms(out - want) / rms(want): storage's own share plus what float32 exponents
 * of that size are uncertain by. */
double host_bound(const struct host_map *map, const struct host_extremes *extremes, double storage);

/* The share of results stored as float32, for that many tokens. */
double host_bound_f32(uint64_t tokens);

/* Causal normalised attention of one head by the recurrence: q, k [tokens][dim], v, o [tokens][e].
 * For exponents up to about 300 only. Returns false if memory is short. */
bool host_attention(const struct host_map *map, uint32_t head, uint64_t tokens, uint32_t e,
                    const float *q, const float *k, const float *v, float *o,
                    struct host_extremes *extremes);

/* rms(got - want) / rms(want); rms(got) if want is all zero; not a number if either is not finite.
 */
struct host_error {
    double difference, want, got; /* sums of squares */
};
void host_error_add(struct host_error *error, const float *got, const float *want, size_t count);
double host_error_value(const struct host_error *error, uint64_t count);

#endif
