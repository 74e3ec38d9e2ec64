/* SPDX-License-Identifier: MIT */
#include "exact.h"
#include "random.h"

#include <dijiang/sampling.h>

#include <math.h>
#include <stdbool.h>
#include <stddef.h>

enum {
    MAX_DIM = 256
};

/* One coordinate of a sequence, drawn in order. */
struct coordinate {
    uint32_t sequence;
    uint64_t random;        /* Monte Carlo's state; else what shifts or scrambles */
    struct dj_sobol *sobol; /* at this coordinate */
};

static double centred(uint32_t x)
{
    return (x + 0.5) * 0x1p-32;
}

static double draw(struct coordinate *from, uint32_t i, uint32_t count)
{
    switch (from->sequence) {
    case DJ_SEQUENCE_MONTE_CARLO:
        return dj_random_uniform(&from->random);
    case DJ_SEQUENCE_VAN_DER_CORPUT:
        return centred(dj_van_der_corput(i) ^ (uint32_t)(from->random >> 32));
    case DJ_SEQUENCE_SOBOL:
        return centred(dj_owen_scramble(dj_sobol_point(from->sobol, i), from->random));
    default:
        return (i + 0.5) / count;
    }
}

/* By Fisher and Yates. */
static void shuffle(float *x, uint32_t count, size_t stride, uint64_t random)
{
    for (uint32_t i = count; i > 1; i--) {
        const size_t j = (size_t)(dj_random_next(&random) % i) * stride;
        const float swap = x[(i - 1) * stride];
        x[(i - 1) * stride] = x[j];
        x[j] = swap;
    }
}

static bool reserved_is_zero(const struct dj_sampling_params *params)
{
    uint64_t all = params->padding;
    for (int i = 0; i < 4; i++)
        all |= params->reserved[i];
    return all == 0;
}

static dj_result check(const struct dj_sampling_params *params, uint32_t count, const float *out)
{
    if (params == NULL || (out == NULL && count > 0))
        return DJ_ERROR_INVALID_ARGUMENT;
    if (!reserved_is_zero(params))
        return DJ_ERROR_VERSION;
    if (params->sequence > DJ_SEQUENCE_SOBOL || params->radius > DJ_RADIUS_CONSTANT ||
        params->orthogonal > DJ_OFF || params->dim > MAX_DIM)
        return DJ_ERROR_INVALID_ARGUMENT;
    if (!(params->scale == 0.0f || (params->scale >= 1e-30f && params->scale <= 1e30f)))
        return DJ_ERROR_INVALID_ARGUMENT;
    return DJ_SUCCESS;
}

static double radius_at(const struct dj_sampling_params *params, double u)
{
    switch (params->radius) {
    case DJ_RADIUS_CHI:
        return dj_chi_quantile(params->dim, u);
    case DJ_RADIUS_CONSTANT:
        return sqrt(params->dim);
    default:
        return dj_normal_quantile(u);
    }
}

static double scale_of(const struct dj_sampling_params *params)
{
    return params->scale == 0.0f ? 1.0 : (double)params->scale;
}

dj_result dj_sample_frequencies(const struct dj_sampling_params *params, uint32_t count,
                                float *frequencies)
{
    const dj_result result = check(params, count, frequencies);
    if (result != DJ_SUCCESS)
        return result;
    if (params->dim == 0 && params->radius != DJ_RADIUS_NORMAL)
        return DJ_ERROR_INVALID_ARGUMENT;
    struct dj_sobol sobol;
    dj_sobol_first(&sobol);
    struct coordinate from = {params->sequence, dj_random_stream(params->seed, 0), &sobol};
    for (uint32_t i = 0; i < count; i++)
        frequencies[i] = (float)(scale_of(params) * radius_at(params, draw(&from, i, count)));
    if (params->sequence == DJ_SEQUENCE_MIDPOINT)
        shuffle(frequencies, count, 1, params->seed);
    return DJ_SUCCESS;
}

/* The normals of which directions are made, coordinate by coordinate: what a coordinate needs to
 * know of its sequence is then small and the same for all points. */
static void draw_normals(const struct dj_sampling_params *params, uint32_t count, float *normals)
{
    struct dj_sobol sobol;
    dj_sobol_first(&sobol);
    for (uint32_t j = 0; j < params->dim; j++) {
        const uint64_t stream = dj_random_stream(params->seed, j);
        struct coordinate from = {params->sequence, stream, &sobol};
        if (params->sequence == DJ_SEQUENCE_SOBOL && j > 0)
            dj_sobol_next(&sobol);
        for (uint32_t i = 0; i < count; i++)
            normals[(size_t)i * params->dim + j] = (float)dj_normal_quantile(draw(&from, i, count));
        if (params->sequence == DJ_SEQUENCE_MIDPOINT)
            shuffle(normals + j, count, params->dim, stream);
    }
}

static double dot(const double *x, const float *y, uint32_t dim)
{
    double sum = 0.0;
    for (uint32_t i = 0; i < dim; i++)
        sum += x[i] * (double)y[i];
    return sum;
}

/* A row of normals that are all zero (an odd count of midpoints has one) has no direction: the
 * first axis then, which a seed will meet about never. */
static void normalise(float *row, uint32_t dim)
{
    double sum = 0.0;
    for (uint32_t i = 0; i < dim; i++)
        sum += (double)row[i] * (double)row[i];
    if (sum == 0.0)
        row[0] = 1.0f;
    else
        for (uint32_t i = 0; i < dim; i++)
            row[i] = (float)((double)row[i] / sqrt(sum));
}

dj_result dj_sample_directions(const struct dj_sampling_params *params, uint32_t count,
                               float *directions)
{
    const dj_result result = check(params, count, directions);
    if (result != DJ_SUCCESS)
        return result;
    if (params->dim == 0)
        return DJ_ERROR_INVALID_ARGUMENT;
    if (params->sequence == DJ_SEQUENCE_VAN_DER_CORPUT && params->dim > 1)
        return DJ_ERROR_UNSUPPORTED;
    draw_normals(params, count, directions);
    for (uint32_t i = 0; i < count; i++)
        normalise(directions + (size_t)i * params->dim, params->dim);
    return DJ_SUCCESS;
}

/* Makes row orthogonal to the block's earlier rows, which are so already. Once more than Gram and
 * Schmidt, because the first pass leaves rounding of what it took away ("twice is enough",
 * Giraud, Langou, Rozloznik 2005). */
static void orthogonalise(double *row, const float *block, uint32_t rows, uint32_t dim)
{
    for (uint32_t pass = 0; pass < 2; pass++) {
        for (uint32_t r = 0; r < rows; r++) {
            const float *const other = block + (size_t)r * dim;
            double length = 0.0;
            for (uint32_t i = 0; i < dim; i++)
                length += (double)other[i] * (double)other[i];
            const double share = dot(row, other, dim) / length;
            for (uint32_t i = 0; i < dim; i++)
                row[i] -= share * (double)other[i];
        }
    }
}

dj_result dj_sample_gaussians(const struct dj_sampling_params *params, uint32_t count,
                              float *matrix)
{
    const dj_result result = check(params, count, matrix);
    if (result != DJ_SUCCESS)
        return result;
    const uint32_t dim = params->dim;
    if (dim == 0)
        return DJ_ERROR_INVALID_ARGUMENT;
    uint64_t random = dj_random_stream(params->seed, 0);
    uint64_t lengths = dj_random_stream(params->seed, 1);
    for (uint32_t r = 0; r < count; r++) {
        float *const out = matrix + (size_t)r * dim;
        double row[MAX_DIM], factor = scale_of(params);
        for (uint32_t i = 0; i < dim; i++)
            row[i] = dj_normal_quantile(dj_random_uniform(&random));
        if (params->orthogonal != DJ_OFF) {
            orthogonalise(row, out - (size_t)(r % dim) * dim, r % dim, dim);
            double length = 0.0;
            for (uint32_t i = 0; i < dim; i++)
                length += row[i] * row[i];
            factor *= dj_chi_quantile(dim, dj_random_uniform(&lengths)) / sqrt(length);
        }
        for (uint32_t i = 0; i < dim; i++)
            out[i] = (float)(factor * row[i]);
    }
    return DJ_SUCCESS;
}

dj_result dj_frequencies_draw(uint32_t count, uint64_t seed, float *frequencies)
{
    return dj_sample_frequencies(&(struct dj_sampling_params){.seed = seed}, count, frequencies);
}
