/* SPDX-License-Identifier: MIT */
/* Random numbers that each follow from their index alone, so that a check can recompute a part of a
 * large tensor. */
#ifndef DJ_SAMPLES_BENCH_RANDOM_H
#define DJ_SAMPLES_BENCH_RANDOM_H

#include <dijiang/dijiang.h>

#include <stdint.h>

/* Element i of a stream, uniform with variance 1. */
float bench_random(uint64_t stream, uint64_t i);

/* A buffer of the stream's first elements. */
dj_result bench_random_buffer(dj_context *context, uint64_t stream, uint32_t type, uint64_t count,
                              dj_buffer **buffer);

#endif
