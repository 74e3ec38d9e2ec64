/* SPDX-License-Identifier: MIT */
#include "host.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool host_map_init(struct host_map *map)
{
    const double pi = acos(-1.0);
    const uint32_t d = map->dim;
    map->transform = malloc((size_t)d * d * sizeof(double));
    if (!map->transform)
        return false;
    for (uint32_t n = 0; n < d; n++) {
        for (uint32_t k = 0; k < d; k++) {
            /* WDCF takes the DCT-II; the softmax map its transpose, the DCT-III */
            const uint32_t time = map->map == DJ_MAP_WDCF ? n : k;
            const uint32_t wave = map->map == DJ_MAP_WDCF ? k : n;
            map->transform[n * d + k] =
                sqrt((wave ? 2.0 : 1.0) / d) * cos(pi * (2.0 * time + 1) * wave / (2.0 * d));
        }
    }
    return true;
}

void host_map_finish(struct host_map *map)
{
    free(map->transform);
    map->transform = NULL;
}

static void subtract_log_sum_exp(double *a, uint32_t count)
{
    double max = -INFINITY, sum = 0;
    for (uint32_t i = 0; i < count; i++)
        max = fmax(max, a[i]);
    for (uint32_t i = 0; i < count; i++)
        sum += exp(a[i] - max);
    for (uint32_t i = 0; i < count; i++)
        a[i] -= max + log(sum);
}

void host_features(const struct host_map *map, uint32_t head, const float *row, double *a,
                   struct host_extremes *extremes)
{
    const uint32_t d = map->dim;
    const size_t numbers = map->heads ? (size_t)head * d : 0;
    const double factor = sqrt(map->scale);
    double square = 0;
    memset(a, 0, d * sizeof(*a));
    for (uint32_t n = 0; n < d; n++) {
        const double x = factor * row[n];
        const double *wave = map->transform + (size_t)n * d;
        square += x * x;
        for (uint32_t i = 0; i < d; i++)
            a[i] += wave[i] * x;
    }
    for (uint32_t i = 0; i < d; i++) {
        a[i] *= map->frequencies[numbers + i];
        if (map->weights)
            a[i] += log(fabs((double)map->weights[numbers + i]));
    }
    if (map->map == DJ_MAP_SOFTMAX_DCT)
        subtract_log_sum_exp(a, d);
    extremes->norm = fmax(extremes->norm, sqrt(square));
    for (uint32_t i = 0; i < d; i++)
        if (isfinite(a[i]))
            extremes->exponent = fmax(extremes->exponent, fabs(a[i]));
}

double host_bound(const struct host_map *map, const struct host_extremes *extremes, double storage)
{
    const size_t count = (size_t)(map->heads ? map->heads : 1) * map->dim;
    double frequency = 0;
    for (size_t i = 0; i < count; i++)
        frequency = fmax(frequency, fabs((double)map->frequencies[i]));
    return storage + 0x1p-24 * (4 * extremes->exponent + frequency * extremes->norm);
}

double host_bound_f32(uint64_t tokens)
{
    return tokens <= 4096 ? 1e-5 : 5e-5;
}

bool host_attention(const struct host_map *map, uint32_t head, uint64_t tokens, uint32_t e,
                    const float *q, const float *k, const float *v, float *o,
                    struct host_extremes *extremes)
{
    const uint32_t d = map->dim;
    const size_t columns = (size_t)e + 1; /* the last one sums phi(k) itself: the normaliser */
    double *sum = calloc(d * columns, sizeof(double));
    double *a = malloc(d * sizeof(double)), *row = malloc(columns * sizeof(double));
    const bool ok = sum && a && row;
    for (uint64_t t = 0; ok && t < tokens; t++) {
        host_features(map, head, k + t * d, a, extremes);
        for (uint32_t c = 0; c < e; c++)
            row[c] = v[t * e + c];
        row[e] = 1;
        for (uint32_t f = 0; f < d; f++) {
            const double phi = exp(a[f]);
            for (size_t c = 0; c < columns; c++)
                sum[f * columns + c] += phi * row[c];
        }
        host_features(map, head, q + t * d, a, extremes);
        memset(row, 0, columns * sizeof(double));
        for (uint32_t f = 0; f < d; f++) {
            const double phi = exp(a[f]);
            for (size_t c = 0; c < columns; c++)
                row[c] += phi * sum[f * columns + c];
        }
        for (uint32_t c = 0; c < e; c++)
            o[t * e + c] = (float)(row[c] / row[e]);
    }
    free(row);
    free(a);
    free(sum);
    return ok;
}

void host_error_add(struct host_error *error, const float *got, const float *want, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const double g = got[i], w = want[i];
        error->difference += (g - w) * (g - w);
        error->want += w * w;
        error->got += g * g;
    }
}

double host_error_value(const struct host_error *error, uint64_t count)
{
    if (count == 0)
        return 0;
    if (!isfinite(error->difference) || !isfinite(error->want))
        return NAN;
    return error->want > 0 ? sqrt(error->difference / error->want)
                           : sqrt(error->got / (double)count);
}
