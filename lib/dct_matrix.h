/* SPDX-License-Identifier: MIT */
/* The orthonormal DCT on the host, in double precision: matrices, scales, and what kernels are
 * checked against. */
#ifndef DJ_LIB_DCT_MATRIX_H
#define DJ_LIB_DCT_MATRIX_H

#include <dijiang/dct.h>

#include <stdbool.h>

/* matrix[n * length + k]: what x[n] contributes to y[k]; false without memory. */
bool dj_dct_matrix(uint32_t type, uint32_t length, float *matrix);

/* scale[k]: the orthonormal y[k] over FFTW's unnormalised one, given that the input of a DCT-III
 * has had its x[0] multiplied by dj_dct_first. */
void dj_dct_scales(uint32_t type, uint32_t length, float *scale);
double dj_dct_first(uint32_t type);

/* y = the transform of x, by the definition; false without memory. */
bool dj_dct_host(uint32_t type, uint32_t length, const double *x, double *y);

#endif
