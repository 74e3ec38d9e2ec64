/* SPDX-License-Identifier: MIT */
/* The linear part of a map as a matrix: feature i's exponent is t[i] (rows[i] . x). */
#ifndef DJ_CALIBRATE_ROWS_H
#define DJ_CALIBRATE_ROWS_H

#include <stdint.h>

/* rows[features][dim] of WDCF: blocks of dim features by the orthonormal DCT-II, DCT-III, DCT-IV
 * and the DCT-II of x with signs flipped; features at most 4 dim. */
void dj_wdcf_rows(uint32_t dim, uint32_t features, double *rows);

#endif
