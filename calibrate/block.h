/* SPDX-License-Identifier: MIT */
/* The samples of one head, and the error of attention over a block of them. */
#ifndef DJ_CALIBRATE_BLOCK_H
#define DJ_CALIBRATE_BLOCK_H

#include <stdbool.h>
#include <stdint.h>

/* All multiplied by sqrt(scale). */
struct dj_samples {
    uint32_t dim, features, queries, keys;
    double *q, *k;           /* [queries][dim], [keys][dim] */
    double *q_rows, *k_rows; /* [queries][features], [keys][features]: the map's linear part */
};

/* The numbers of a map: feature i of x is sqrt(w[i]) exp(t[i] (rows x)[i]) with w = D^2. */
struct dj_numbers {
    double *t, *log_w; /* [features] */
};

/* Some queries and some keys, each query attending to all of the keys. */
struct dj_block {
    uint32_t dim, features, queries, keys;
    double *exact;           /* [queries][keys] attention weights */
    double *q_rows, *k_rows; /* [queries][features], [keys][features] */
    /* work space */
    double *q, *k_columns;           /* [queries][dim], [dim][keys] */
    double *phi_q, *phi_k;           /* like q_rows and k_rows */
    double *phi_columns;             /* [features][keys] */
    double *weights;                 /* [queries][keys] */
    double *gradient_q, *gradient_k; /* like q_rows and k_rows */
    double *memory;
};

/* Memory for blocks of so many. False: none. */
bool dj_block_init(struct dj_block *block, const struct dj_samples *samples, uint32_t queries,
                   uint32_t keys);
void dj_block_finish(struct dj_block *block);

/* Fills the block with the samples of these indices. */
void dj_block_fill(struct dj_block *block, const struct dj_samples *samples,
                   const uint32_t *query_indices, const uint32_t *key_indices);

/* sum (a - exact)^2 / sum exact^2 over the block, a the weights of normalised attention by these
 * numbers: the expected squared error of the output, as a share of the exact one's square, where
 * values are independent of mean 0 and equal variance. With key_normalise phi(k) is divided by
 * sum_i w[i] exp(t[i] (rows k)[i]). If gradient is given it receives the derivatives. */
double dj_block_error(struct dj_block *block, const struct dj_numbers *numbers, bool key_normalise,
                      const struct dj_numbers *gradient);

/* The same of equal weights. */
double dj_block_uniform_error(const struct dj_block *block);

#endif
