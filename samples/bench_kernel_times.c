/* SPDX-License-Identifier: MIT */
/* Which kernels a call's time goes to. */
#include "bench.h"
#include "program.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* One run. */
struct kernels {
    struct bench_kernel list[BENCH_MAX_KERNELS];
    size_t count;
    double sum;
};

static int by_sum(const void *a, const void *b)
{
    const double x = ((const struct kernels *)a)->sum, y = ((const struct kernels *)b)->sum;
    return (x > y) - (x < y);
}

/* Dispatches of one kernel count together; those beyond so many kernels as "others". */
static void add(struct kernels *run, const struct dj_timing *timing)
{
    size_t i = 0;
    while (i < run->count && strcmp(run->list[i].name, timing->kernel) != 0)
        i++;
    if (i == BENCH_MAX_KERNELS)
        run->list[--i].name = "others";
    else if (i == run->count)
        run->list[run->count++] = (struct bench_kernel){.name = timing->kernel};
    run->list[i].dispatches++;
    run->list[i].seconds += 1e-9 * timing->nanoseconds;
    run->sum += 1e-9 * timing->nanoseconds;
}

static dj_result read(dj_recorder *recorder, struct kernels *run)
{
    uint32_t count = 0;
    dj_result result = dj_recorder_timings(recorder, NULL, &count);
    struct dj_timing *const timings = calloc(count + UINT64_C(1), sizeof *timings);
    if (timings == NULL)
        return DJ_ERROR_OUT_OF_HOST_MEMORY;
    if (result == DJ_SUCCESS)
        result = dj_recorder_timings(recorder, timings, &count);
    for (uint32_t i = 0; result == DJ_SUCCESS && i < count; i++)
        add(run, &timings[i]);
    free(timings);
    return result;
}

dj_result bench_time_kernels(const struct bench_gpu *gpu, const struct dj_needs *needs,
                             dj_recorder **recorder,
                             dj_result (*run)(void *user, struct bench_time *time), void *user,
                             struct bench_case *c)
{
    if (gpu->tick == 0)
        return DJ_SUCCESS;
    const struct dj_recorder_params params = {
        .dispatches = needs->dispatches, .timings = DJ_ON, .ring_size = needs->ring_size};
    dj_recorder *const untimed = *recorder;
    const uint64_t most = c->times.count < BENCH_KERNEL_RUNS ? c->times.count : BENCH_KERNEL_RUNS;
    struct kernels runs[BENCH_KERNEL_RUNS] = {{.count = 0}};
    struct bench_time time;
    const double start = program_seconds();
    uint64_t count = 0;
    dj_result result = dj_recorder_create(gpu->context, &params, recorder);
    while (result == DJ_SUCCESS && count < most &&
           (count == 0 || program_seconds() - start < bench_gpu_seconds(gpu))) {
        program_progress("%s %" PRIu64 ": its kernels", bench_kinds[c->kind], c->tokens);
        result = run(user, &time);
        if (result == DJ_SUCCESS)
            result = read(*recorder, &runs[count++]);
    }
    dj_recorder_destroy(recorder);
    *recorder = untimed;
    qsort(runs, count, sizeof runs[0], by_sum);
    memcpy(c->kernels, runs[count / 2].list, sizeof c->kernels);
    c->kernel_count = runs[count / 2].count;
    return result;
}
