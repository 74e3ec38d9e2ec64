/* SPDX-License-Identifier: MIT */
#include "twin.h"

#include <dijiang/features.h>

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static double *allocate(size_t n)
{
    double *x = calloc(n ? n : 1, sizeof(*x));
    if (!x)
        abort();
    return x;
}

/* The orthonormal matrix [n][n], y = matrix x, from the definitions in <dijiang/dct.h>. */
static void dct_matrix(int type, size_t n, double *matrix)
{
    const double pi = acos(-1.0), N = (double)n;
    for (size_t r = 0; r < n; r++) {
        for (size_t c = 0; c < n; c++) {
            const double k = (double)r, x = (double)c;
            const double s2 = sqrt((r ? 2 : 1) / N), s3 = sqrt((c ? 2 : 1) / N);
            double value = 0;
            if (type == 2)
                value = s2 * cos(pi * (2 * x + 1) * k / (2 * N));
            else if (type == 3)
                value = s3 * cos(pi * (2 * k + 1) * x / (2 * N));
            else
                value = sqrt(2 / N) * cos(pi * (2 * x + 1) * (2 * k + 1) / (4 * N));
            matrix[r * n + c] = value;
        }
    }
}

void twin_dct(int type, size_t n, const double *x, double *y)
{
    /* the matrix of the last call is kept: tests transform many rows of one length */
    static double *matrix;
    static size_t matrix_n;
    static int matrix_type;
    assert(type >= 2 && type <= 4 && x != y);
    if (!matrix || matrix_n != n || matrix_type != type) {
        free(matrix);
        matrix = allocate(n * n);
        dct_matrix(type, n, matrix);
        matrix_n = n;
        matrix_type = type;
    }
    for (size_t k = 0; k < n; k++) {
        double sum = 0;
        for (size_t i = 0; i < n; i++)
            sum += matrix[k * n + i] * x[i];
        y[k] = sum;
    }
}

/* ln sum exp(a + b); b may be NULL for zeros. */
static double log_sum_exp(const double *a, const double *b, size_t n)
{
    double max = -INFINITY, sum = 0;
    for (size_t i = 0; i < n; i++)
        max = fmax(max, a[i] + (b ? b[i] : 0));
    if (isinf(max))
        return max;
    for (size_t i = 0; i < n; i++)
        sum += exp(a[i] + (b ? b[i] : 0) - max);
    return max + log(sum);
}

static size_t feature_row(const struct twin_attention *t, size_t head)
{
    return t->feature_heads > 1 ? head * t->dim : 0;
}

void twin_log_features(const struct twin_attention *t, size_t head, const double *x, double *a)
{
    const float *frequencies = t->frequencies + feature_row(t, head);
    const float *weights = t->weights ? t->weights + feature_row(t, head) : NULL;
    twin_dct(t->map == DJ_MAP_WDCF ? 2 : 3, t->dim, x, a);
    for (size_t i = 0; i < t->dim; i++) {
        a[i] *= frequencies[i];
        if (weights)
            a[i] += log(fabs((double)weights[i]));
    }
    if (t->map == DJ_MAP_SOFTMAX_DCT) {
        const double sum = log_sum_exp(a, NULL, t->dim);
        for (size_t i = 0; i < t->dim; i++)
            a[i] -= sum;
    }
}

/* Where token i of head h begins, in rows of the contiguous arrays. */
static size_t row(const struct twin_attention *t, size_t b, size_t i, size_t h)
{
    return (b * t->tokens + i) * t->heads + h;
}

/* Log features of one sequence and head, [tokens][dim]. */
static double *sequence_features(const struct twin_attention *t, size_t b, size_t h, const float *x)
{
    double *a = allocate(t->tokens * t->dim), *scaled = allocate(t->dim);
    for (size_t i = 0; i < t->tokens; i++) {
        for (size_t c = 0; c < t->dim; c++)
            scaled[c] = sqrt(t->scale) * x[row(t, b, i, h) * t->dim + c];
        twin_log_features(t, h, scaled, a + i * t->dim);
    }
    free(scaled);
    return a;
}

/* value * exp(exponent), in two halves: Inf or 0 only where the product is. */
static double times_exp(double value, double exponent)
{
    if (value == 0)
        return 0; /* and not 0 * Inf */
    return value * exp(exponent / 2) * exp(exponent / 2);
}

/* One output row from the log weights of the keys it sees. */
static void pair_row(const struct twin_attention *t, size_t b, size_t h, const double *log_weight,
                     size_t keys, const float *v, double *o)
{
    double max = -INFINITY, norm = 0;
    for (size_t j = 0; j < keys; j++)
        max = fmax(max, log_weight[j]);
    memset(o, 0, t->value_dim * sizeof(*o));
    for (size_t j = 0; j < keys; j++) {
        const double w = exp(log_weight[j] - max);
        norm += w;
        for (size_t c = 0; c < t->value_dim; c++)
            o[c] += w * v[row(t, b, j, h) * t->value_dim + c];
    }
    for (size_t c = 0; c < t->value_dim; c++)
        o[c] = t->normalise ? o[c] / norm : times_exp(o[c], max);
}

static void pair_sequence(const struct twin_attention *t, size_t b, size_t h, const float *q,
                          const float *k, const float *v, double *o)
{
    double *aq = sequence_features(t, b, h, q), *ak = sequence_features(t, b, h, k);
    double *log_weight = allocate(t->tokens);
    const double log_decay = t->decay ? log((double)t->decay[h]) : 0;
    for (size_t i = 0; i < t->tokens; i++) {
        const size_t keys = t->causal ? i + 1 : t->tokens;
        for (size_t j = 0; j < keys; j++)
            log_weight[j] = log_sum_exp(aq + i * t->dim, ak + j * t->dim, t->dim) +
                            (t->causal ? (double)(i - j) * log_decay : 0);
        pair_row(t, b, h, log_weight, keys, v, o + row(t, b, i, h) * t->value_dim);
    }
    free(log_weight);
    free(ak);
    free(aq);
}

void twin_attention(const struct twin_attention *t, const float *q, const float *k, const float *v,
                    double *o)
{
    for (size_t b = 0; b < t->batch; b++)
        for (size_t h = 0; h < t->heads; h++)
            pair_sequence(t, b, h, q, k, v, o);
}

/* Prefix sums of one head: feature f's true sums are sum[f][] and norm[f], times exp(scale[f]). */
struct prefix {
    double *sum, *norm, *scale;
};

/* S' = gamma S + phi(k) v^T, the larger of the two terms setting the new scale. The decay goes into
 * the scale, so that an old sum never underflows before it is outweighed. */
static void prefix_add(const struct twin_attention *t, struct prefix *p, double log_decay,
                       const double *a, const float *v)
{
    const size_t e = t->value_dim;
    for (size_t f = 0; f < t->dim; f++) {
        if (isinf(a[f]) && a[f] < 0)
            continue; /* a dropped feature */
        const double old = p->scale[f] + log_decay, scale = fmax(old, a[f]);
        const double keep = exp(old - scale), add = exp(a[f] - scale);
        p->scale[f] = scale;
        p->norm[f] = p->norm[f] * keep + add;
        for (size_t c = 0; c < e; c++)
            p->sum[f * e + c] = p->sum[f * e + c] * keep + add * v[c];
    }
}

static void prefix_output(const struct twin_attention *t, const struct prefix *p, const double *a,
                          double *o)
{
    const size_t e = t->value_dim;
    double max = -INFINITY, norm = 0;
    for (size_t f = 0; f < t->dim; f++)
        max = fmax(max, a[f] + p->scale[f]);
    memset(o, 0, e * sizeof(*o));
    for (size_t f = 0; f < t->dim; f++) {
        const double w = exp(a[f] + p->scale[f] - max);
        if (w == 0)
            continue;
        norm += w * p->norm[f];
        for (size_t c = 0; c < e; c++)
            o[c] += w * p->sum[f * e + c];
    }
    for (size_t c = 0; c < e; c++)
        o[c] = t->normalise ? o[c] / norm : times_exp(o[c], max);
}

static void recurrent_sequence(const struct twin_attention *t, size_t b, size_t h, const float *q,
                               const float *k, const float *v, double *o)
{
    double *aq = sequence_features(t, b, h, q), *ak = sequence_features(t, b, h, k);
    struct prefix p = {.sum = allocate(t->dim * t->value_dim),
                       .norm = allocate(t->dim),
                       .scale = allocate(t->dim)};
    for (size_t f = 0; f < t->dim; f++)
        p.scale[f] = -INFINITY;
    const double log_decay = t->decay ? log((double)t->decay[h]) : 0;
    for (size_t i = 0; i < t->tokens; i++) {
        const size_t r = row(t, b, i, h) * t->value_dim;
        prefix_add(t, &p, log_decay, ak + i * t->dim, v + r);
        prefix_output(t, &p, aq + i * t->dim, o + r);
    }
    free(p.sum);
    free(p.norm);
    free(p.scale);
    free(ak);
    free(aq);
}

void twin_attention_recurrent(const struct twin_attention *t, const float *q, const float *k,
                              const float *v, double *o)
{
    assert(t->causal);
    for (size_t b = 0; b < t->batch; b++)
        for (size_t h = 0; h < t->heads; h++)
            recurrent_sequence(t, b, h, q, k, v, o);
}

/* The largest |a| and the largest |x|_2 over all rows of x. */
static void extremes(const struct twin_attention *t, const float *x, double *exponent, double *norm)
{
    double *scaled = allocate(t->dim), *a = allocate(t->dim);
    const size_t rows = t->batch * t->tokens * t->heads;
    for (size_t r = 0; r < rows; r++) {
        double square = 0;
        for (size_t c = 0; c < t->dim; c++) {
            scaled[c] = sqrt(t->scale) * x[r * t->dim + c];
            square += scaled[c] * scaled[c];
        }
        *norm = fmax(*norm, sqrt(square));
        twin_log_features(t, t->heads ? r % t->heads : 0, scaled, a);
        for (size_t c = 0; c < t->dim; c++)
            if (isfinite(a[c]))
                *exponent = fmax(*exponent, fabs(a[c]));
    }
    free(a);
    free(scaled);
}

double twin_bound(const struct twin_attention *t, const float *q, const float *k)
{
    double exponent = 0, norm = 0, frequency = 0;
    extremes(t, q, &exponent, &norm);
    extremes(t, k, &exponent, &norm);
    const size_t numbers = (t->feature_heads > 1 ? t->heads : 1) * t->dim;
    for (size_t i = 0; i < numbers; i++)
        frequency = fmax(frequency, fabs((double)t->frequencies[i]));
    return (t->tokens <= 4096 ? 1e-5 : 5e-5) + 0x1p-24 * (4 * exponent + frequency * norm);
}
