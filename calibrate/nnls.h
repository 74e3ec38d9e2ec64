/* SPDX-License-Identifier: MIT */
/* Non-negative least squares. */
#ifndef DJ_CALIBRATE_NNLS_H
#define DJ_CALIBRATE_NNLS_H

#include <stdbool.h>
#include <stddef.h>

/* w[n] >= 0 that minimises |A w - b|^2, from gram[n][n] = A^T A and image[n] = A^T b; all finite. A
 * column that depends on others to 1e-12 stays 0. False: no memory. */
bool dj_nnls(size_t n, const double *gram, const double *image, double *w);

#endif
