/* SPDX-License-Identifier: MIT */
#include "cosine.h"

#include <stdbool.h>

/* By symmetry down to an angle of at most pi / 4, and there by the Taylor series of cosine or sine,
 * whose terms beyond x^18 are below 1e-18. */
double dj_cos_pi(uint64_t p, uint64_t q)
{
    p %= 2 * q;
    if (p > q)
        p = 2 * q - p; /* cos(2 pi - x) = cos x */
    const double sign = 2 * p > q ? -1.0 : 1.0;
    if (2 * p > q)
        p = q - p; /* cos(pi - x) = -cos x */
    const bool sine = 4 * p > q;
    /* cos x = sin(pi / 2 - x), which is pi (q - 2 p) / (2 q) */
    const double pi = 0x1.921fb54442d18p+1;
    const double x = sine ? pi * (double)(q - 2 * p) / (double)(2 * q) : pi * (double)p / (double)q;
    double sum = 1.0;
    for (int k = 18; k >= 2; k -= 2)
        sum = 1.0 - sum * x * x / (sine ? k * (k + 1) : k * (k - 1));
    return sign * (sine ? x * sum : sum);
}
