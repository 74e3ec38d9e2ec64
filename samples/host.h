/* SPDX-License-Identifier: MIT */
/* The systems' feature maps and attention on the host, in double precision: what the programs check
 * results with. docs/mathematics.md has the formulas. */
#ifndef DJ_SAMPLES_HOST_H
#define DJ_SAMPLES_HOST_H

#include "systems.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct host_map {
    const struct numbers *numbers;
    double scale;        /* of q.k */
    uint64_t max_tokens; /* cosFormer's M */
    bool key_normalise;  /* phi(k) over phi(0).phi(k) */
    double *matrix;      /* [heads or 1][m][d]: the map is made of matrix x, x = sqrt(scale) q or k;
                          * NULL where it is made of x itself */
};

/* Computes the matrix; the other members are the caller's. Returns false if memory is short. */
bool host_map_init(struct host_map *map);
void host_map_finish(struct host_map *map);

/* The largest |log phi| and |x|_2 seen: the sizes that bound the error. Where there are two, they
 * are of queries and of keys. */
struct host_extremes {
    double exponent, norm;
};

/* phi[m] of one row of q or k, the token at that place (from 0) in its sequence; for exponents up
 * to about 300 only. Updates extremes. */
void host_features(const struct host_map *map, uint32_t head, uint64_t place, const float *row,
                   double *phi, struct host_extremes *extremes);

/* Linformer's E x and F x of one head, [m][width] of x [T][width]; kind chooses which. */
void host_project(const struct host_map *map, enum number_kind kind, uint32_t head, uint32_t width,
                  const float *x, float *projected);

/* The error allowed on rms(out - want) / rms(want): the share of the element type in which results
 * are stored, plus what float32 exponents of that size are uncertain by. */
double host_bound(const struct host_map *map, const struct host_extremes extremes[2], uint32_t type,
                  uint64_t tokens);

/* Attention of one head as the library computes it but for what map says, causal but for Linformer:
 * q, k [tokens][d], v, o [tokens][e]. Of o only the last row and every rows_apart-th before it are
 * written. Returns false if memory is short. */
bool host_attention(const struct host_map *map, uint64_t tokens, uint32_t e, uint64_t rows_apart,
                    const float *q, const float *k, const float *v, float *o,
                    struct host_extremes extremes[2]);

/* rms(got - want) / rms(want); rms(got) if want is all zero; not a number if either is not finite.
 */
struct host_error {
    double difference, want, got; /* sums of squares */
    uint64_t count;
};
void host_error_add(struct host_error *error, const float *got, const float *want, size_t count);
double host_error_value(const struct host_error *error);

#endif
