/* SPDX-License-Identifier: MIT */
/* Sizes in steps. */
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

#endif
