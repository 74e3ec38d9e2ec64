/* SPDX-License-Identifier: MIT */
#include "feature_map.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ln D of a dropped feature: far below all others, yet sums of two such are finite. */
static const float DROPPED = -8.5e37f;

static dj_result check_numbers(const struct dj_log *log, const struct dj_features_params *params)
{
    const uint32_t sets = params->heads > 0 ? params->heads : 1;
    for (uint32_t h = 0; h < sets; h++) {
        uint32_t kept = 0;
        for (uint32_t i = 0; i < params->dim; i++) {
            const size_t at = (size_t)h * params->dim + i;
            if (!isfinite(params->frequencies[at]))
                return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                               "features: frequency %u of head %u is %g", i, h,
                               (double)params->frequencies[at]);
            if (params->weights != NULL && !isfinite(params->weights[at]))
                return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                               "features: weight %u of head %u is %g", i, h,
                               (double)params->weights[at]);
            kept += params->weights == NULL || params->weights[at] != 0.0f;
        }
        if (kept == 0)
            return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT, "features: all weights of head %u are 0",
                           h);
    }
    return DJ_SUCCESS;
}

static dj_result check_params(const struct dj_log *log, const struct dj_features_params *params)
{
    if (!dj_reserved_is_zero(log, params->reserved, 4, "dj_features_params"))
        return DJ_ERROR_VERSION;
    if (params->padding != 0)
        return dj_fail(log, DJ_ERROR_VERSION, "features: padding is %u, not 0", params->padding);
    if (params->map > DJ_MAP_SOFTMAX_DCT)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT, "features: unknown map %u", params->map);
    if (params->dim < 4 || params->dim > 256 || params->dim % 4 != 0)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                       "features: dim %u is not 4 to 256 in steps of 4", params->dim);
    if (params->heads > 65535)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT, "features: heads %u is above 65535",
                       params->heads);
    if (params->frequencies == NULL)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT, "features: frequencies is NULL");
    if (params->weights != NULL && params->map != DJ_MAP_WDCF)
        return dj_fail(log, DJ_ERROR_UNSUPPORTED, "features: map %u has no weights", params->map);
    return check_numbers(log, params);
}

/* t as it is, then ln |D|. */
static float *make_tables(const struct dj_features_params *params, size_t count)
{
    float *const tables = malloc(2 * count * sizeof *tables);
    if (tables == NULL)
        return NULL;
    memcpy(tables, params->frequencies, count * sizeof *tables);
    for (size_t i = 0; i < count; i++) {
        const float weight = params->weights != NULL ? params->weights[i] : 1.0f;
        tables[count + i] = weight == 0.0f ? DROPPED : (float)log(fabs((double)weight));
    }
    return tables;
}

dj_result dj_features_create(dj_context *context, const struct dj_features_params *params,
                             dj_features **features)
{
    if (features != NULL)
        *features = NULL;
    if (context == NULL)
        return DJ_ERROR_INVALID_ARGUMENT;
    if (params == NULL || features == NULL)
        return dj_fail(&context->log, DJ_ERROR_INVALID_ARGUMENT, "dj_features_create: %s is NULL",
                       params == NULL ? "params" : "features");
    dj_result result = check_params(&context->log, params);
    if (result != DJ_SUCCESS)
        return result;

    const size_t count = (size_t)(params->heads > 0 ? params->heads : 1) * params->dim;
    if (2 * count * sizeof(float) > context->info.max_storage_range)
        return dj_fail(&context->log, DJ_ERROR_LIMIT,
                       "features: %zu bytes of tables exceed the device's binding range %llu",
                       2 * count * sizeof(float),
                       (unsigned long long)context->info.max_storage_range);
    float *const tables = make_tables(params, count);
    struct dj_features *const made = calloc(1, sizeof *made);
    if (tables == NULL || made == NULL) {
        result = dj_fail(&context->log, DJ_ERROR_OUT_OF_HOST_MEMORY,
                         "features: no host memory for %zu numbers", 2 * count);
        goto fail;
    }
    *made = (struct dj_features){
        .context = context,
        .map = params->map,
        .dim = params->dim,
        .heads = params->heads,
        .head_stride = params->heads > 0 ? params->dim : 0,
        .weights = (uint32_t)count,
    };
    result = dj_buffer_create_table(context, tables, 2 * count * sizeof *tables, "features",
                                    &made->tables);
    if (result != DJ_SUCCESS)
        goto fail;
    free(tables);
    *features = made;
    return DJ_SUCCESS;

fail:
    free(made);
    free(tables);
    return result;
}

void dj_features_destroy(dj_features **features)
{
    if (features == NULL || *features == NULL)
        return;
    dj_buffer_destroy(&(*features)->tables);
    free(*features);
    *features = NULL;
}

/* The x > 0 whose upper tail of the normal distribution is p, 0 < p <= 1/2. The tail is convex
 * there, so that Newton's method from 0 rises to the root without passing it. */
static double normal_upper_tail(double p)
{
    double x = 0.0;
    for (int i = 0; i < 200; i++) {
        const double tail = 0.5 * erfc(x * 0.70710678118654752440);
        const double density = 0.39894228040143267794 * exp(-0.5 * x * x);
        const double step = (tail - p) / density;
        x += step;
        if (fabs(step) <= 1e-14 * (1.0 + x))
            break;
    }
    return x;
}

/* splitmix64 (Steele, Lea, Flood 2014). */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

dj_result dj_frequencies_draw(uint32_t count, uint64_t seed, float *frequencies)
{
    if (frequencies == NULL && count > 0)
        return DJ_ERROR_INVALID_ARGUMENT;
    for (uint32_t i = 0; i < count; i++) {
        const double u = (i + 0.5) / count;
        frequencies[i] = (float)(u < 0.5 ? -normal_upper_tail(u) : normal_upper_tail(1.0 - u));
    }
    for (uint32_t i = count; i > 1; i--) { /* Fisher and Yates */
        const uint32_t j = (uint32_t)(next_random(&seed) % i);
        const float swap = frequencies[i - 1];
        frequencies[i - 1] = frequencies[j];
        frequencies[j] = swap;
    }
    return DJ_SUCCESS;
}
