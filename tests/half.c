/* SPDX-License-Identifier: MIT */
#include "half.h"

#include <dijiang/buffer.h>

#include <math.h>
#include <string.h>

uint16_t half_from_float(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, 4);
    const uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    const double size = fabs((double)x);
    if (isnan(x))
        return sign | 0x7e00;
    if (size >= 65520) /* halfway between the largest, 65504, and the next there would be */
        return sign | 0x7c00;
    /* steps of 2^-24 up to 2^-13, then 1024 to each power of two; nearbyint ties to even, and a
     * carry out of the mantissa is the next exponent's first value */
    int exponent = 0;
    frexp(size, &exponent); /* size < 2^exponent */
    if (size == 0 || exponent < -13)
        exponent = -13;
    const double steps = nearbyint(ldexp(size, 11 - exponent));
    return sign | (uint16_t)((uint32_t)(exponent + 13) * 1024 + (uint32_t)steps);
}

float half_to_float(uint16_t bits)
{
    const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
    const float sign = bits & 0x8000 ? -1.f : 1.f;
    if (exponent == 31)
        return mantissa ? NAN : sign * INFINITY;
    if (exponent == 0)
        return sign * ldexpf((float)mantissa, -24);
    return sign * ldexpf((float)(1024 + mantissa), exponent - 25);
}

uint16_t bfloat_from_float(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, 4);
    if (isnan(x))
        return (uint16_t)(bits >> 16 | 0x40);
    const uint32_t low = bits & 0xffff, high = bits >> 16;
    return (uint16_t)(high + (low > 0x8000 || (low == 0x8000 && (high & 1))));
}

float bfloat_to_float(uint16_t bits)
{
    const uint32_t wide = (uint32_t)bits << 16;
    float x;
    memcpy(&x, &wide, 4);
    return x;
}

void half_store(uint32_t type, void *to, const float *x, size_t n)
{
    uint8_t *next = to;
    for (size_t i = 0; i < n && type != DJ_FLOAT32; i++, next += 2) {
        const uint16_t bits = type == DJ_FLOAT16 ? half_from_float(x[i]) : bfloat_from_float(x[i]);
        memcpy(next, &bits, 2);
    }
    if (type == DJ_FLOAT32 && n)
        memcpy(to, x, n * sizeof(*x));
}

void half_load(uint32_t type, float *x, const void *from, size_t n)
{
    const uint8_t *next = from;
    for (size_t i = 0; i < n && type != DJ_FLOAT32; i++, next += 2) {
        uint16_t bits;
        memcpy(&bits, next, 2);
        x[i] = type == DJ_FLOAT16 ? half_to_float(bits) : bfloat_to_float(bits);
    }
    if (type == DJ_FLOAT32 && n)
        memcpy(x, from, n * sizeof(*x));
}

void half_round(uint32_t type, float *x, size_t n)
{
    for (size_t i = 0; i < n && type != DJ_FLOAT32; i++)
        x[i] = type == DJ_FLOAT16 ? half_to_float(half_from_float(x[i]))
                                  : bfloat_to_float(bfloat_from_float(x[i]));
}
