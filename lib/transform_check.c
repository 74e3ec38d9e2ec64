/* SPDX-License-Identifier: MIT */
#include "transform_check.h"

#include "dct_matrix.h"

#include <math.h>
#include <stdlib.h>

/* One group of rows in mapped memory. */
struct trial {
    uint32_t type, length, rows;
    struct dj_buffer *input, *output;
    struct dj_recorder *recorder;
};

/* The same numbers in [-1, 1) everywhere. */
static void fill(float *x, uint64_t count)
{
    uint32_t state = 1;
    for (uint64_t i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = (float)(state >> 8) / 8388608.0f - 1.0f;
    }
}

static dj_result trial_run(const struct dj_transform *transform, struct dj_context *context,
                           struct trial *trial)
{
    const uint64_t bytes = (uint64_t)trial->rows * trial->length * sizeof(float);
    dj_result result = dj_buffer_create_named(context, bytes, DJ_MEMORY_UPLOAD,
                                              "dijiang check input", &trial->input);
    if (result == DJ_SUCCESS)
        result = dj_buffer_create_named(context, bytes, DJ_MEMORY_DOWNLOAD, "dijiang check output",
                                        &trial->output);
    const struct dj_recorder_params params = {.dispatches = dj_transform_dispatches(transform),
                                              .ring_size = 256};
    if (result == DJ_SUCCESS)
        result = dj_recorder_create(context, &params, &trial->recorder);
    if (result == DJ_SUCCESS)
        result = dj_recorder_begin(trial->recorder);
    if (result != DJ_SUCCESS)
        return result;
    fill(trial->input->mapped, (uint64_t)trial->rows * trial->length);
    const struct dj_rows rows = {
        .view = {.binding = {.buffer = trial->input, .range = bytes},
                 .stride = {0, 0, trial->length}},
        .count = {1, 1, trial->rows},
    };
    const struct dj_binding packed = {.buffer = trial->output, .range = bytes};
    dj_recorder_barriers_before(trial->recorder, DJ_BARRIER_BEFORE);
    dj_transform_record(transform, trial->recorder, &rows, 1.0f, &packed);
    dj_recorder_barriers_after(trial->recorder, DJ_BARRIER_AFTER_HOST);
    result = dj_recorder_submit(trial->recorder);
    return result != DJ_SUCCESS ? result : dj_recorder_wait(trial->recorder, UINT64_MAX);
}

/* Compares one row: the squares of its error and of its norm; false without memory. */
static bool compare_row(const struct trial *trial, uint32_t row, const float *scale, double *error,
                        double *norm)
{
    const uint32_t length = trial->length;
    const float *const x = (const float *)trial->input->mapped + (uint64_t)row * length;
    const float *const got = (const float *)trial->output->mapped + (uint64_t)row * length;
    double *const input = calloc(2 * (size_t)length, sizeof(double));
    if (input == NULL)
        return false;
    double *const want = input + length;
    for (uint32_t i = 0; i < length; i++)
        input[i] = x[i];
    const bool done = dj_dct_host(trial->type, length, input, want);
    for (uint32_t i = 0; done && i < length; i++) {
        const double difference = (double)got[i] * scale[i] - want[i];
        *error += difference * difference;
        *norm += want[i] * want[i];
    }
    free(input);
    return done;
}

/* The first and the last row. */
static dj_result trial_compare(struct dj_context *context, const struct trial *trial,
                               const float *scale, uint32_t level)
{
    double error = 0, norm = 0;
    if (!compare_row(trial, 0, scale, &error, &norm) ||
        !compare_row(trial, trial->rows - 1, scale, &error, &norm))
        return dj_fail(&context->log, DJ_ERROR_OUT_OF_HOST_MEMORY, "no memory to check a kernel");
    const double relative = sqrt(error / norm);
    if (!(relative <= DJ_TRANSFORM_ERROR))
        return dj_fail_at(&context->log, level, DJ_ERROR_COMPILER,
                          "DCT-%u of length %u: the kernel's error is %g on this device, above %g",
                          trial->type, trial->length, relative, DJ_TRANSFORM_ERROR);
    return DJ_SUCCESS;
}

dj_result dj_transform_check(const struct dj_transform *transform, struct dj_context *context,
                             uint32_t type, uint32_t length, uint32_t level)
{
    struct trial trial = {
        .type = type, .length = length, .rows = dj_transform_row_multiple(transform)};
    dj_result result = trial_run(transform, context, &trial);
    if (result == DJ_SUCCESS)
        result = trial_compare(context, &trial, dj_transform_scales(transform), level);
    dj_recorder_destroy(&trial.recorder);
    dj_buffer_destroy(&trial.output);
    dj_buffer_destroy(&trial.input);
    return result;
}
