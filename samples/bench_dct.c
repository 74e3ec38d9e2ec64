/* SPDX-License-Identifier: MIT */
/* One case of the DCT-II by itself, of all rows of [B,T,H,d]. */
#include "bench.h"
#include "host.h"
#include "program.h"

#include <inttypes.h>
#include <math.h>

enum {
    CHECK_ROWS = 64, /* about so many, spread evenly */
    MAX_LENGTH = 256,
};

struct work {
    struct bench_gpu *gpu;
    dj_dct *plan;
    dj_buffer *input, *output, *scratch;
    dj_recorder *recorder;
    struct dj_needs needs;
    struct dj_dct_args args;
};

static dj_result create_work(struct work *w, struct bench_case *c)
{
    dj_context *const context = w->gpu->context;
    const uint64_t shape[4] = {c->batch, c->tokens, c->heads, c->dim};
    const uint64_t count = shape[0] * shape[1] * shape[2] * shape[3];
    dj_result result = dj_dct_create(
        context, &(struct dj_dct_params){.type = DJ_DCT_2, .length = (uint32_t)c->dim}, &w->plan);
    if (result == DJ_SUCCESS)
        result = bench_random_buffer(context, 1, DJ_FLOAT32, count, &w->input);
    if (result == DJ_SUCCESS) /* what is left there is no DCT of it */
        result = bench_random_buffer(context, 2, DJ_FLOAT32, count, &w->output);
    dj_tensor_init(&w->args.input, w->input, 0, DJ_FLOAT32, shape);
    dj_tensor_init(&w->args.output, w->output, 0, DJ_FLOAT32, shape);
    w->args.barriers = DJ_BARRIER_BEFORE | DJ_BARRIER_AFTER_HOST;
    if (result == DJ_SUCCESS)
        result = dj_dct_needs(w->plan, &w->args, &w->needs);
    if (result == DJ_SUCCESS)
        result = dj_buffer_create(
            context, &(struct dj_buffer_params){.size = w->needs.scratch_size}, &w->scratch);
    w->args.scratch = (struct dj_scratch){.buffer = w->scratch, .size = w->needs.scratch_size};
    c->flops = w->needs.flops;
    c->bytes = w->needs.bytes;
    return result == DJ_SUCCESS
               ? dj_recorder_create(context,
                                    &(struct dj_recorder_params){.dispatches = w->needs.dispatches},
                                    &w->recorder)
               : result;
}

static void destroy_work(struct work *w)
{
    dj_recorder_destroy(&w->recorder);
    dj_buffer_destroy(&w->scratch);
    dj_buffer_destroy(&w->output);
    dj_buffer_destroy(&w->input);
    dj_dct_destroy(&w->plan);
}

static dj_result run_once(void *user, struct bench_time *time)
{
    struct work *const w = user;
    dj_result result = bench_gpu_begin(w->gpu, w->recorder);
    if (result == DJ_SUCCESS)
        result = dj_dct_record(w->plan, w->recorder, &w->args);
    return result == DJ_SUCCESS ? bench_gpu_submit(w->gpu, time) : result;
}

/* The definition of <dijiang/dct.h>, of a row that begins at that element. */
static void transform(uint64_t length, uint64_t start, float *row)
{
    const double pi = acos(-1.0), n = (double)length;
    for (uint64_t k = 0; k < length; k++) {
        double sum = 0;
        for (uint64_t i = 0; i < length; i++)
            sum += (double)bench_random(1, start + i) *
                   cos(pi * (2 * (double)i + 1) * (double)k / (2 * n));
        row[k] = (float)(sum * sqrt((k ? 2 : 1) / n));
    }
}

static dj_result measure_error(const struct work *w, const struct bench_case *c, double *error)
{
    const uint64_t rows = c->batch * c->tokens * c->heads;
    const uint64_t step = rows < CHECK_ROWS ? 1 : rows / CHECK_ROWS;
    struct host_error sums = {0};
    dj_result result = DJ_SUCCESS;
    for (uint64_t row = (rows - 1) % step; result == DJ_SUCCESS && row < rows; row += step) {
        float got[MAX_LENGTH], want[MAX_LENGTH];
        const uint64_t start = row * c->dim;
        result = dj_buffer_read(w->output, start * sizeof(float), got, c->dim * sizeof(float));
        transform(c->dim, start, want);
        host_error_add(&sums, got, want, c->dim);
    }
    *error = host_error_value(&sums);
    return result;
}

int bench_measure_dct(struct bench_gpu *gpu, uint64_t repeat, struct bench_case *c)
{
    struct work w = {.gpu = gpu};
    struct bench_time time;
    double error = 0;
    int code = PROGRAM_SUCCESS;
    program_progress("dct %" PRIu64 ": checking", c->tokens);
    dj_result result = create_work(&w, c);
    if (result == DJ_SUCCESS)
        result = run_once(&w, &time);
    if (result == DJ_SUCCESS)
        result = measure_error(&w, c, &error);
    if (result == DJ_SUCCESS)
        code = bench_judge(c, error, 1e-6);
    if (result == DJ_SUCCESS && !code)
        result = bench_repeat_case(gpu, c, repeat, run_once, &w, &c->times);
    if (result == DJ_SUCCESS && !code)
        result = bench_time_kernels(gpu, &w.needs, &w.recorder, run_once, &w, c);
    if (result != DJ_SUCCESS)
        code = program_fail_dj("dct", result);
    destroy_work(&w);
    program_progress(NULL);
    return code;
}
