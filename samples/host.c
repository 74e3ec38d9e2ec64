/* SPDX-License-Identifier: MIT */
#include "host.h"

#include <dijiang/buffer.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Element [k][n] of the orthonormal DCT-II, or of its transpose, the DCT-III, or of the DCT-IV. */
static double dct_element(uint32_t type, uint32_t d, uint32_t k, uint32_t n)
{
    const double pi = acos(-1.0);
    if (type == 4)
        return sqrt(2.0 / d) * cos(pi * (2.0 * n + 1) * (2.0 * k + 1) / (4.0 * d));
    const uint32_t time = type == 2 ? n : k, wave = type == 2 ? k : n;
    return sqrt((wave ? 2.0 : 1.0) / d) * cos(pi * (2.0 * time + 1) * wave / (2.0 * d));
}

/* The sign that element n of x has in WDCF's last block: bit n of splitmix64's words from state 3.
 */
static double flip(uint32_t n)
{
    uint64_t z = 3 + (n / 64 + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return z >> n % 64 & 1 ? -1 : 1;
}

/* Feature i's row [d] before its frequency. */
static void fill_row(const struct numbers *n, size_t set, uint32_t i, double *row)
{
    static const uint32_t types[] = {2, 3, 4, 2}; /* of WDCF's blocks of d features */
    const uint32_t d = n->dim, block = i / d;
    const float *directions = n->arrays[NUMBERS_DIRECTIONS];
    for (uint32_t c = 0; c < d; c++) {
        if (directions)
            row[c] = directions[(set * n->features + i) * d + c];
        else if (n->system->map == DJ_MAP_WDCF)
            row[c] = dct_element(types[block], d, i % d, c) * (block == 3 ? flip(c) : 1);
        else
            row[c] = dct_element(3, d, i, c);
    }
}

bool host_map_init(struct host_map *map)
{
    const struct numbers *n = map->numbers;
    const float *frequencies = n->arrays[NUMBERS_FREQUENCIES];
    const size_t rows = (size_t)(n->heads ? n->heads : 1) * n->features;
    if (!frequencies && !n->arrays[NUMBERS_DIRECTIONS])
        return true;
    map->matrix = malloc(rows * n->dim * sizeof(double));
    for (size_t r = 0; map->matrix && r < rows; r++) {
        double *row = map->matrix + r * n->dim;
        fill_row(n, r / n->features, (uint32_t)(r % n->features), row);
        for (uint32_t c = 0; frequencies && c < n->dim; c++)
            row[c] *= frequencies[r];
    }
    return map->matrix != NULL;
}

void host_map_finish(struct host_map *map)
{
    free(map->matrix);
    map->matrix = NULL;
}

static double dot(const double *a, const double *b, uint32_t count)
{
    double sum = 0;
    for (uint32_t i = 0; i < count; i++)
        sum += a[i] * b[i];
    return sum;
}

static double log_sum_exp(const double *a, uint32_t count)
{
    double max = -INFINITY, sum = 0;
    for (uint32_t i = 0; i < count; i++)
        max = fmax(max, a[i]);
    for (uint32_t i = 0; i < count; i++)
        sum += exp(a[i] - max);
    return max + log(sum);
}

/* The matrix product [m] becomes phi [m]. */
static void exponential_features(const struct numbers *n, size_t set, double square, double *phi,
                                 struct host_extremes *extremes)
{
    const uint32_t m = n->features;
    const float *weights = n->arrays[NUMBERS_WEIGHTS];
    const bool estimate = n->system->map == DJ_MAP_PFF || n->system->map == DJ_MAP_PRF;
    double less = estimate ? square / 2 + log(m) / 2 : 0;
    if (n->system->map == DJ_MAP_SOFTMAX_DCT)
        less = log_sum_exp(phi, m);
    for (uint32_t i = 0; i < m; i++) {
        const double weight = weights ? fabs((double)weights[set * m + i]) : 1;
        const double a = phi[i] - less + log(weight);
        if (isfinite(a))
            extremes->exponent = fmax(extremes->exponent, fabs(a));
        phi[i] = exp(a);
    }
}

/* The features of the systems without numbers. */
static void plain_features(const struct host_map *map, uint64_t place, const double *x, double *phi)
{
    const uint32_t d = map->numbers->dim, which = map->numbers->system->map;
    const double angle = acos(-1.0) * (double)(place + 1) / (2 * (double)map->max_tokens);
    for (uint32_t i = 0; i < d; i++) {
        const double positive = fmax(x[i], 0);
        if (which == DJ_MAP_COSFORMER) {
            phi[i] = positive * cos(angle);
            phi[d + i] = positive * sin(angle);
        } else if (which == DJ_MAP_ELU) {
            phi[i] = x[i] > 0 ? x[i] + 1 : exp(x[i]);
        } else {
            phi[i] = which == DJ_MAP_RELU ? positive : x[i];
        }
    }
}

void host_features(const struct host_map *map, uint32_t head, uint64_t place, const float *row,
                   double *phi, struct host_extremes *extremes)
{
    const struct numbers *n = map->numbers;
    const size_t set = n->heads ? head : 0;
    double x[256]; /* the most that the library takes */
    for (uint32_t i = 0; i < n->dim; i++)
        x[i] = sqrt(map->scale) * row[i];
    const double square = dot(x, x, n->dim);
    extremes->norm = fmax(extremes->norm, sqrt(square));
    if (!system_has_state(n->system))
        return;
    if (!map->matrix) {
        plain_features(map, place, x, phi);
        return;
    }
    for (uint32_t i = 0; i < n->features; i++)
        phi[i] = dot(map->matrix + (set * n->features + i) * n->dim, x, n->dim);
    if (system_is_exponential(n->system))
        exponential_features(n, set, square, phi, extremes);
    else
        for (uint32_t i = 0; i < n->features; i++)
            phi[i] = fmax(phi[i], 0) + 1e-3;
}

void host_project(const struct host_map *map, enum number_kind kind, uint32_t head, uint32_t width,
                  const float *x, float *projected)
{
    const struct numbers *n = map->numbers;
    const size_t set = n->heads ? head : 0;
    double sums[256];
    for (uint32_t i = 0; i < n->features; i++) {
        const float *row = n->arrays[kind] + (set * n->features + i) * n->tokens;
        memset(sums, 0, sizeof(sums));
        for (uint32_t t = 0; t < n->tokens; t++)
            for (uint32_t c = 0; c < width; c++)
                sums[c] += (double)row[t] * x[(size_t)t * width + c];
        for (uint32_t c = 0; c < width; c++)
            projected[(size_t)i * width + c] = (float)sums[c];
    }
}

double host_bound(const struct host_map *map, const struct host_extremes extremes[2], uint32_t type,
                  uint64_t tokens)
{
    const struct numbers *n = map->numbers;
    const double long_f32 = tokens <= 4096 ? 1e-5 : 5e-5;
    const double storage = type == DJ_FLOAT32 ? long_f32 : type == DJ_FLOAT16 ? 2e-3 : 1.5e-2;
    if (!system_has_state(n->system)) /* exponents q.k, at most |q| |k| */
        return storage + 0x1p-24 * 4 * extremes[0].norm * extremes[1].norm;
    if (!system_is_exponential(n->system))
        return storage;
    const double exponent = fmax(extremes[0].exponent, extremes[1].exponent);
    const double norm = fmax(extremes[0].norm, extremes[1].norm);
    const size_t rows = (size_t)(n->heads ? n->heads : 1) * n->features;
    double square = 0; /* of the matrix's longest row; for a DCT that is the largest frequency */
    for (size_t r = 0; r < rows; r++) {
        const double *row = map->matrix + r * n->dim;
        square = fmax(square, dot(row, row, n->dim));
    }
    return storage + 0x1p-24 * (4 * exponent + sqrt(square) * norm);
}

/* o[e] = sum over keys of exp(scale q.k - max) v, normalised. */
static void softmax_row(const struct host_map *map, uint64_t keys, uint32_t e, const float *q,
                        const float *k, const float *v, double *scores, float *o)
{
    const uint32_t d = map->numbers->dim;
    double max = -INFINITY, sum = 0, out[256] = {0};
    for (uint64_t j = 0; j < keys; j++) {
        scores[j] = 0;
        for (uint32_t c = 0; c < d; c++)
            scores[j] += map->scale * q[c] * k[j * d + c];
        max = fmax(max, scores[j]);
    }
    for (uint64_t j = 0; j < keys; j++) {
        const double weight = exp(scores[j] - max);
        sum += weight;
        for (uint32_t c = 0; c < e; c++)
            out[c] += weight * v[j * e + c];
    }
    for (uint32_t c = 0; c < e; c++)
        o[c] = (float)(out[c] / sum);
}

/* Exact softmax, and Linformer's over its m projected rows. */
static bool softmax_attention(const struct host_map *map, uint64_t tokens, uint32_t e,
                              uint64_t rows_apart, const float *q, const float *k, const float *v,
                              float *o, struct host_extremes extremes[2])
{
    const struct numbers *n = map->numbers;
    const bool project = n->system->map == DJ_MAP_LINFORMER;
    const uint64_t keys = project ? n->features : tokens;
    float *ek = malloc(keys * n->dim * sizeof(float)), *fv = malloc(keys * e * sizeof(float));
    double *scores = malloc(keys * sizeof(double));
    const bool ok = ek && fv && scores;
    if (ok && project) {
        host_project(map, NUMBERS_KEY_PROJECTION, 0, n->dim, k, ek);
        host_project(map, NUMBERS_VALUE_PROJECTION, 0, e, v, fv);
    }
    for (uint64_t j = 0; ok && j < keys; j++)
        host_features(map, 0, j, (project ? ek : k) + j * n->dim, NULL, &extremes[1]);
    for (uint64_t t = 0; ok && t < tokens; t++) {
        host_features(map, 0, t, q + t * n->dim, NULL, &extremes[0]);
        if ((tokens - 1 - t) % rows_apart == 0)
            softmax_row(map, project ? keys : t + 1, e, q + t * n->dim, project ? ek : k,
                        project ? fv : v, scores, o + t * e);
    }
    free(scores);
    free(fv);
    free(ek);
    return ok;
}

/* The quotient, or what the library says of a denominator that is none. */
static double divide(const struct system *system, double sum, double norm)
{
    if (!system_normalises(system))
        return sum;
    if (system->map == DJ_MAP_RELU && norm < 1e-6)
        return 0;
    return sum / (system->map == DJ_MAP_COSFORMER ? fmax(norm, 1e-6) : norm);
}

/* phi of a row of zeros. */
static void features_of_zero(const struct host_map *map, double *phi)
{
    static const float zeros[256]; /* as long as the library's longest row */
    struct host_extremes none = {0};
    host_features(map, 0, 0, zeros, phi, &none);
}

static void normalise_key(double *phi, const double *of_zero, uint32_t m)
{
    double sum = 0;
    for (uint32_t f = 0; f < m; f++)
        sum += of_zero[f] * phi[f];
    for (uint32_t f = 0; f < m; f++)
        phi[f] /= sum;
}

/* The recurrence of linear attention. */
static bool linear_attention(const struct host_map *map, uint64_t tokens, uint32_t e,
                             uint64_t rows_apart, const float *q, const float *k, const float *v,
                             float *o, struct host_extremes extremes[2])
{
    const struct system *system = map->numbers->system;
    const uint32_t d = map->numbers->dim, m = map->numbers->features;
    const size_t columns = (size_t)e + 1; /* the last one sums phi(k) itself: the normaliser */
    double *sum = calloc(m * columns, sizeof(double));
    double *phi = malloc(m * sizeof(double)), *row = malloc(columns * sizeof(double));
    double *of_zero = malloc(m * sizeof(double));
    const bool ok = sum && phi && row && of_zero;
    if (ok && map->key_normalise)
        features_of_zero(map, of_zero);
    for (uint64_t t = 0; ok && t < tokens; t++) {
        host_features(map, 0, t, k + t * d, phi, &extremes[1]);
        if (map->key_normalise)
            normalise_key(phi, of_zero, m);
        for (uint32_t f = 0; f < m; f++) {
            for (uint32_t c = 0; c < e; c++)
                sum[f * columns + c] += phi[f] * v[t * e + c];
            sum[f * columns + e] += phi[f];
        }
        host_features(map, 0, t, q + t * d, phi, &extremes[0]);
        if ((tokens - 1 - t) % rows_apart != 0)
            continue;
        memset(row, 0, columns * sizeof(double));
        for (uint32_t f = 0; f < m; f++)
            for (size_t c = 0; c < columns; c++)
                row[c] += phi[f] * sum[f * columns + c];
        for (uint32_t c = 0; c < e; c++)
            o[t * e + c] = (float)divide(system, row[c], row[e]);
    }
    free(of_zero);
    free(row);
    free(phi);
    free(sum);
    return ok;
}

bool host_attention(const struct host_map *map, uint64_t tokens, uint32_t e, uint64_t rows_apart,
                    const float *q, const float *k, const float *v, float *o,
                    struct host_extremes extremes[2])
{
    return (system_has_state(map->numbers->system) ? linear_attention : softmax_attention)(
        map, tokens, e, rows_apart, q, k, v, o, extremes);
}

void host_error_add(struct host_error *error, const float *got, const float *want, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const double g = got[i], w = want[i];
        error->difference += (g - w) * (g - w);
        error->want += w * w;
        error->got += g * g;
    }
    error->count += count;
}

double host_error_value(const struct host_error *error)
{
    if (error->count == 0)
        return 0;
    if (!isfinite(error->difference) || !isfinite(error->want))
        return NAN;
    return error->want > 0 ? sqrt(error->difference / error->want)
                           : sqrt(error->got / (double)error->count);
}
