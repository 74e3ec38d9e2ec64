/* SPDX-License-Identifier: MIT */
#include "element.h"

#include <dijiang/buffer.h>

#include <math.h>
#include <string.h>

static float from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

float element_from_half(uint16_t half)
{
    const uint32_t sign = (half & 0x8000u) << 16, exponent = half >> 10 & 31;
    const uint32_t fraction = half & 1023;
    if (exponent == 31)
        return from_bits(sign | 0x7f800000 | fraction << 13);
    if (exponent > 0)
        return from_bits(sign | (exponent + 112) << 23 | fraction << 13);
    const float magnitude = (float)fraction * 0x1p-24f;
    return sign ? -magnitude : magnitude;
}

/* The magnitude is scaled so that the unit of its last place is 1, where rintf rounds as wanted. */
static uint16_t to_half(float value)
{
    const uint16_t sign = signbit(value) ? 0x8000 : 0;
    const float x = fabsf(value);
    if (isnan(value))
        return sign | 0x7e00;
    if (x >= 65520) /* halfway from the largest to the next power of two */
        return sign | 0x7c00;
    int exponent;
    frexpf(x, &exponent);
    if (exponent < -13 || x == 0)
        return sign | (uint16_t)rintf(x * 0x1p24f);
    /* 1024 to 2048 of the last place's units; the carry of 2048 is the next exponent's first number
     */
    return sign | (uint16_t)((exponent + 13) * 1024 + (int)rintf(ldexpf(x, 11 - exponent)));
}

static uint16_t to_bfloat(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    if (isnan(value))
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

void element_read(uint32_t type, const void *elements, float *data, size_t count)
{
    const uint16_t *narrow = elements;
    if (type == DJ_FLOAT32)
        memcpy(data, elements, count * sizeof(*data));
    else
        for (size_t i = 0; i < count; i++)
            data[i] = type == DJ_FLOAT16 ? element_from_half(narrow[i])
                                         : from_bits((uint32_t)narrow[i] << 16);
}

void element_write(uint32_t type, const float *data, void *elements, size_t count)
{
    uint16_t *narrow = elements;
    if (type == DJ_FLOAT32)
        memcpy(elements, data, count * sizeof(*data));
    else
        for (size_t i = 0; i < count; i++)
            narrow[i] = type == DJ_FLOAT16 ? to_half(data[i]) : to_bfloat(data[i]);
}
