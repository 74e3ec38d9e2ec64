/* SPDX-License-Identifier: MIT */
/* Times of something that runs again and again. */
#ifndef DJ_SAMPLES_BENCH_REPEAT_H
#define DJ_SAMPLES_BENCH_REPEAT_H

#include "bench_gpu.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    BENCH_MAX_REPEATS = 1000,
};

struct bench_times {
    double median, min, max;
    double first, third; /* quartiles */
    double spread;       /* (third - first) / median */
    double wall;         /* median from submission to completion, by the host's clock */
    bool stamped;        /* the others are of timestamps on the device, not of that clock */
    uint64_t count;
};

/* Runs it `repeat` times, 0: at least `least` times and for so many seconds; after an interrupt no
 * more, but once. label: of the line of progress. */
dj_result bench_repeat(const char *label, uint64_t repeat, uint64_t least, double duration,
                       dj_result (*run)(void *user, struct bench_time *time), void *user,
                       struct bench_times *times);

#endif
