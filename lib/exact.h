/* SPDX-License-Identifier: MIT */
/* Functions whose results are the same bits on every platform, unlike the C library's: double
 * precision + - * / sqrt only, without contraction (-ffp-contract=off). Relative errors stay below
 * 1e-15 for exp and log and below 1e-12 for the quantiles. */
#ifndef DJ_LIB_EXACT_H
#define DJ_LIB_EXACT_H

#include <stdint.h>

/* e^x; 0 below -708, as if at 709 above it. */
double dj_exact_exp(double x);

/* ln x of a normal number x > 0. */
double dj_exact_log(double x);

/* The x with Phi(x) = u, 0 < u < 1, Phi the normal distribution function. */
double dj_normal_quantile(double u);

/* The x > 0 below which a share u of the chi distribution with dim >= 1 degrees of freedom lies,
 * 0 < u < 1, dim at most 256. */
double dj_chi_quantile(uint32_t dim, double u);

#endif
