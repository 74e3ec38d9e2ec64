/* SPDX-License-Identifier: MIT */
/* Sizes in steps; products that stay UINT64_MAX where they exceed it. */
#ifndef DJ_LIB_SIZE_H
#define DJ_LIB_SIZE_H

#include <stdint.h>

static inline uint64_t dj_divide_up(uint64_t value, uint64_t divisor)
{
    return (value + divisor - 1) / divisor;
}

static inline uint64_t dj_round_up(uint64_t value, uint64_t multiple)
{
    return dj_divide_up(value, multiple) * multiple;
}

static inline uint64_t dj_times(uint64_t a, uint64_t b)
{
    uint64_t product;
    return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

static inline uint64_t dj_plus(uint64_t a, uint64_t b)
{
    uint64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

#endif
