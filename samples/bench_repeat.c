/* SPDX-License-Identifier: MIT */
#include "bench_repeat.h"

#include "program.h"

#include <inttypes.h>
#include <stdlib.h>

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const double *sorted, uint64_t count)
{
    return (sorted[(count - 1) / 2] + sorted[count / 2]) / 2;
}

static void summarise(double *seconds, double *wall, uint64_t count, struct bench_times *times)
{
    qsort(seconds, count, sizeof(seconds[0]), compare_doubles);
    qsort(wall, count, sizeof(wall[0]), compare_doubles);
    times->count = count;
    times->median = median(seconds, count);
    times->min = seconds[0];
    times->max = seconds[count - 1];
    times->wall = median(wall, count);
    times->first = seconds[count / 4];
    times->third = seconds[(3 * count - 1) / 4];
    if (times->median > 0)
        times->spread = (times->third - times->first) / times->median;
}

dj_result bench_repeat(const char *label, uint64_t repeat, uint64_t least, double duration,
                       dj_result (*run)(void *user, struct bench_time *time), void *user,
                       struct bench_times *times)
{
    double seconds[BENCH_MAX_REPEATS], wall[BENCH_MAX_REPEATS], total = 0;
    uint64_t count = 0;
    dj_result result = DJ_SUCCESS;
    struct bench_time time = {0};
    *times = (struct bench_times){0};
    while (result == DJ_SUCCESS && count < BENCH_MAX_REPEATS &&
           (repeat ? count < repeat : count < least || total < duration) &&
           (count == 0 || !program_interrupted())) {
        if (count % 16 == 0 || time.wall > 0.1)
            program_progress("%s: repetition %" PRIu64, label, count + 1);
        result = run(user, &time);
        times->stamped = time.device > 0;
        seconds[count] = time.device > 0 ? time.device : time.wall;
        wall[count++] = time.wall;
        total += time.wall;
    }
    if (result == DJ_SUCCESS)
        summarise(seconds, wall, count, times);
    return result;
}
