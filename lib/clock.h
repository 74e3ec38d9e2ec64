/* SPDX-License-Identifier: MIT */
/* Time that passes. */
#ifndef DJ_LIB_CLOCK_H
#define DJ_LIB_CLOCK_H

#include <stdint.h>
#include <time.h>

/* Nanoseconds since some time. */
static inline uint64_t dj_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

#endif
