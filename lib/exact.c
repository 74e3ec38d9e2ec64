/* SPDX-License-Identifier: MIT */
#include "exact.h"

#include <assert.h>
#include <string.h>

/* ln 2 in two parts, the first with 21 trailing zero bits: its products with exponents are exact.
 */
static const double LN2_HIGH = 0x1.62e42feep-1, LN2_LOW = 0x1.a39ef35793c76p-33;

static double from_bits(uint64_t bits)
{
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* x = n ln 2 + r with |r| <= 0.35; e^r by its Taylor series, whose 14th term is below 1e-17. */
double dj_exact_exp(double x)
{
    if (x < -708.0)
        return 0.0;
    if (x > 709.0)
        x = 709.0;
    const double n = (double)(int32_t)(x * 0x1.71547652b82fep+0 + (x < 0.0 ? -0.5 : 0.5));
    const double r = x - n * LN2_HIGH - n * LN2_LOW;
    static const double c[14] = {1.0,
                                 1.0,
                                 1.0 / 2,
                                 1.0 / 6,
                                 1.0 / 24,
                                 1.0 / 120,
                                 1.0 / 720,
                                 1.0 / 5040,
                                 1.0 / 40320,
                                 1.0 / 362880,
                                 1.0 / 3628800,
                                 1.0 / 39916800,
                                 1.0 / 479001600,
                                 1.0 / 6227020800.0};
    double sum = c[13];
    for (int i = 12; i >= 0; i--)
        sum = sum * r + c[i];
    /* 2^n in two halves: 2^1023 is the largest power, 2^1024 would be wanted near 709 */
    return sum * from_bits((uint64_t)((int64_t)n / 2 + 1023) << 52) *
           from_bits((uint64_t)((int64_t)n - (int64_t)n / 2 + 1023) << 52);
}

/* x = 2^n f with f between sqrt(1/2) and sqrt(2); ln f = 2 artanh(s), s = (f - 1) / (f + 1). */
double dj_exact_log(double x)
{
    assert(x >= 0x1p-1022);
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    int n = (int)(bits >> 52) - 1023;
    double f = from_bits((bits & 0xfffffffffffffu) | 0x3ff0000000000000u);
    if (f > 0x1.6a09e667f3bcdp+0) {
        f *= 0.5;
        n++;
    }
    const double s = (f - 1.0) / (f + 1.0), s2 = s * s;
    double sum = 0.0;
    for (int i = 23; i >= 3; i -= 2)
        sum = sum * s2 + 1.0 / i;
    return n * LN2_HIGH + (2.0 * s + (2.0 * s * s2 * sum + n * LN2_LOW));
}
