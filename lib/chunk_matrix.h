/* SPDX-License-Identifier: MIT */
/* The matrix of a plan's transforms, as the chunked kernels multiply it: of float16 numbers. */
#ifndef DJ_LIB_CHUNK_MATRIX_H
#define DJ_LIB_CHUNK_MATRIX_H

#include "attention.h"

/* plan->chunked.matrix: the matrix, what its numbers lack, and factors of its rows; zeros for a map
 * without a transform. */
dj_result dj_chunk_matrix_create(struct dj_attention *plan);

#endif
