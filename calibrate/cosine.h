/* SPDX-License-Identifier: MIT */
/* Cosines that are the same bits on every platform, as lib/exact.h says. */
#ifndef DJ_CALIBRATE_COSINE_H
#define DJ_CALIBRATE_COSINE_H

#include <stdint.h>

/* cos(pi p / q), q > 0; absolute error below 1e-15. */
double dj_cos_pi(uint64_t p, uint64_t q);

#endif
