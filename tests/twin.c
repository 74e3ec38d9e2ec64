/* SPDX-License-Identifier: MIT */
#include "twin.h"

#include <dijiang/buffer.h>
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
    /* each type's last matrix is kept: tests transform many rows of one length */
    static struct {
        double *values;
        size_t n;
    } matrices[3];
    assert(type >= 2 && type <= 4 && x != y);
    double **matrix = &matrices[type - 2].values;
    if (!*matrix || matrices[type - 2].n != n) {
        free(*matrix);
        *matrix = allocate(n * n);
        dct_matrix(type, n, *matrix);
        matrices[type - 2].n = n;
    }
    for (size_t k = 0; k < n; k++) {
        double sum = 0;
        for (size_t i = 0; i < n; i++)
            sum += (*matrix)[k * n + i] * x[i];
        y[k] = sum;
    }
}

size_t twin_features_count(const struct twin_attention *t)
{
    if (t->features)
        return t->features;
    return t->map == DJ_MAP_COSFORMER ? 2 * t->dim : t->dim;
}

size_t twin_key_heads(const struct twin_attention *t)
{
    return t->key_heads ? t->key_heads : t->heads;
}

size_t twin_query_tokens(const struct twin_attention *t)
{
    return t->causal ? t->tokens : t->query_tokens;
}

size_t twin_sequences(const struct twin_attention *t)
{
    return t->spans || t->query_spans ? t->sequences : t->batch;
}

size_t twin_q_size(const struct twin_attention *t)
{
    return t->batch * twin_query_tokens(t) * t->heads * t->dim;
}

size_t twin_k_size(const struct twin_attention *t)
{
    return t->batch * t->tokens * twin_key_heads(t) * t->dim;
}

size_t twin_v_size(const struct twin_attention *t)
{
    return t->batch * t->tokens * twin_key_heads(t) * t->value_dim;
}

size_t twin_o_size(const struct twin_attention *t)
{
    return t->batch * twin_query_tokens(t) * t->heads * t->value_dim;
}

struct twin_span twin_key_span(const struct twin_attention *t, size_t n)
{
    if (t->spans)
        return t->spans[n];
    return (struct twin_span){n, 0, t->tokens};
}

struct twin_span twin_query_span(const struct twin_attention *t, size_t n)
{
    if (t->causal)
        return twin_key_span(t, n);
    if (t->query_spans)
        return t->query_spans[n];
    return (struct twin_span){n, 0, t->query_tokens};
}

int twin_is_exponential(int map)
{
    return map == DJ_MAP_WDCF || map == DJ_MAP_SOFTMAX_DCT || map == DJ_MAP_PFF ||
           map == DJ_MAP_PRF;
}

int twin_is_signed(const struct twin_attention *t)
{
    return t->map == DJ_MAP_IDENTITY || t->map == DJ_MAP_LINFORMER || t->query_scales ||
           t->key_scales;
}

/* Which of several sets of numbers a key head has. */
static size_t feature_set(const struct twin_attention *t, size_t head)
{
    return t->feature_heads > 1 ? head : 0;
}

/* Bit n of the sequence of words that splitmix64 gives from state 3, as a sign. */
static double flip_sign(size_t n)
{
    uint64_t state = 3, word = 0;
    for (size_t w = 0; w <= n / 64; w++) {
        state += 0x9e3779b97f4a7c15u;
        word = (state ^ (state >> 30)) * 0xbf58476d1ce4e5b9u;
        word = (word ^ (word >> 27)) * 0x94d049bb133111ebu;
        word ^= word >> 31;
    }
    return word >> (n % 64) & 1 ? -1 : 1;
}

/* y[m]: blocks of d by DCT-II, III, IV, and II of x with its signs flipped. */
static void transform_blocks(size_t d, size_t m, const double *x, double *y)
{
    static const int types[4] = {2, 3, 4, 2};
    double input[256], block[256];
    assert(d <= 256 && m <= 4 * d);
    for (size_t r = 0; r * d < m; r++) {
        for (size_t n = 0; n < d; n++)
            input[n] = r == 3 ? x[n] * flip_sign(n) : x[n];
        twin_dct(types[r], d, input, block);
        const size_t left = m - r * d;
        memcpy(y + r * d, block, (left < d ? left : d) * sizeof(*y));
    }
}

/* y = V x */
static void project(const float *V, size_t m, size_t d, const double *x, double *y)
{
    for (size_t i = 0; i < m; i++) {
        y[i] = 0;
        for (size_t c = 0; c < d; c++)
            y[i] += V[i * d + c] * x[c];
    }
}

/* ln sum exp(a) */
static double log_sum_exp(const double *a, size_t n)
{
    double max = -INFINITY, sum = 0;
    for (size_t i = 0; i < n; i++)
        max = fmax(max, a[i]);
    if (isinf(max))
        return max;
    for (size_t i = 0; i < n; i++)
        sum += exp(a[i] - max);
    return max + log(sum);
}

/* c |x|^2 */
static double quadratic(const struct twin_attention *t, const double *x)
{
    double square = 0;
    if (t->map != DJ_MAP_PFF && t->map != DJ_MAP_PRF)
        return 0;
    for (size_t c = 0; c < t->dim; c++)
        square += x[c] * x[c];
    return (t->kernel == DJ_KERNEL_GAUSSIAN ? 1 : 0.5) * square;
}

/* ln of the factor before the exponential: |D_i|, and m^-1/2 of PFF and PRF. */
static double log_weight(const struct twin_attention *t, size_t head, size_t i)
{
    const size_t m = twin_features_count(t);
    double weight = 0;
    if (t->map == DJ_MAP_PFF || t->map == DJ_MAP_PRF)
        weight -= log((double)m) / 2;
    if (t->weights)
        weight += log(fabs((double)t->weights[feature_set(t, head) * m + i]));
    return weight;
}

void twin_log_features(const struct twin_attention *t, size_t head, const double *x, double *a)
{
    const size_t d = t->dim, m = twin_features_count(t), set = feature_set(t, head);
    assert(twin_is_exponential(t->map));
    if (t->map == DJ_MAP_WDCF)
        transform_blocks(d, m, x, a);
    else if (t->map == DJ_MAP_SOFTMAX_DCT)
        twin_dct(3, d, x, a);
    else
        project(t->directions + set * m * d, m, d, x, a);
    for (size_t i = 0; i < m; i++) {
        if (t->map != DJ_MAP_PRF)
            a[i] *= t->frequencies[set * m + i];
        a[i] += log_weight(t, head, i) - quadratic(t, x);
    }
    if (t->map == DJ_MAP_SOFTMAX_DCT) {
        const double sum = log_sum_exp(a, m);
        for (size_t i = 0; i < m; i++)
            a[i] -= sum;
    }
}

/* ln (phi(0) . phi(k)) */
static double log_key_norm(const struct twin_attention *t, size_t head, const double *a)
{
    const size_t m = twin_features_count(t);
    double *sum = allocate(m);
    for (size_t i = 0; i < m; i++)
        sum[i] = log_weight(t, head, i) + a[i];
    const double result = log_sum_exp(sum, m);
    free(sum);
    return result;
}

static void signed_features(const struct twin_attention *t, size_t head, size_t place,
                            const double *x, double *value)
{
    const size_t d = t->dim, m = twin_features_count(t);
    if (t->map == DJ_MAP_PERFORMER_RELU)
        project(t->directions + feature_set(t, head) * m * d, m, d, x, value);
    const double angle =
        acos(-1.0) * (double)(place + 1) / (2 * (double)(t->max_tokens ? t->max_tokens : 1));
    for (size_t i = 0; i < m; i++) {
        if (t->map == DJ_MAP_PERFORMER_RELU)
            value[i] = fmax(value[i], 0) + 1e-3;
        else if (t->map == DJ_MAP_COSFORMER)
            value[i] = fmax(x[i % d], 0) * (i < d ? cos(angle) : sin(angle));
        else if (t->map == DJ_MAP_ELU)
            value[i] = x[i] > 0 ? x[i] + 1 : exp(x[i]);
        else
            value[i] = t->map == DJ_MAP_RELU ? fmax(x[i], 0) : x[i];
    }
}

void twin_features(const struct twin_attention *t, size_t head, int is_key, size_t place,
                   const double *x, double *value, double *exponent)
{
    const size_t m = twin_features_count(t);
    if (!twin_is_exponential(t->map)) {
        signed_features(t, head, place, x, value);
        memset(exponent, 0, m * sizeof(*exponent));
        return;
    }
    twin_log_features(t, head, x, exponent);
    const double norm = is_key && t->key_normalise ? log_key_norm(t, head, exponent) : 0;
    for (size_t i = 0; i < m; i++) {
        value[i] = isinf(exponent[i]) && exponent[i] < 0 ? 0 : 1;
        exponent[i] = value[i] == 0 ? 0 : exponent[i] - norm;
    }
}

/* Greatest magnitudes that the bound is made of. */
struct extremes {
    double exponent, norm;
};

static void see_row(const struct twin_attention *t, size_t head, int is_key, const float *row,
                    struct extremes *seen)
{
    const size_t m = twin_features_count(t);
    double *x = allocate(t->dim), *value = allocate(m), *a = allocate(m), square = 0;
    for (size_t c = 0; c < t->dim; c++) {
        x[c] = sqrt(t->scale) * row[c];
        square += x[c] * x[c];
    }
    seen->norm = fmax(seen->norm, sqrt(square));
    seen->exponent = fmax(seen->exponent, quadratic(t, x));
    for (int key = 0; key <= is_key; key++) { /* keys before and after their normalisation */
        twin_features(t, head, key, 0, x, value, a);
        for (size_t i = 0; i < m; i++)
            seen->exponent = fmax(seen->exponent, fabs(a[i]));
    }
    free(a);
    free(value);
    free(x);
}

/* max |t_i|, of PFF and PRF the length of t_i V_i. */
static double largest_frequency(const struct twin_attention *t)
{
    const size_t m = twin_features_count(t), d = t->dim;
    const size_t sets = t->feature_heads > 1 ? t->feature_heads : 1;
    double largest = 0;
    for (size_t i = 0; i < sets * m; i++) {
        double length = t->map == DJ_MAP_PRF ? 1 : fabs((double)t->frequencies[i]), square = 0;
        for (size_t c = 0; t->directions && c < d; c++)
            square += (double)t->directions[i * d + c] * t->directions[i * d + c];
        if (t->directions)
            length *= sqrt(square);
        largest = fmax(largest, length);
    }
    return largest;
}

static double exponent_term(const struct twin_attention *t, const float *q, const float *k)
{
    const size_t group = twin_key_heads(t) ? t->heads / twin_key_heads(t) : 1, d = t->dim;
    struct extremes seen = {0};
    for (size_t n = 0; n < twin_sequences(t); n++) {
        const struct twin_span qs = twin_query_span(t, n), ks = twin_key_span(t, n);
        for (size_t i = 0; i < qs.count; i++)
            for (size_t h = 0; h < t->heads; h++)
                see_row(t, h / group, 0,
                        q + ((qs.row * twin_query_tokens(t) + qs.first + i) * t->heads + h) * d,
                        &seen);
        for (size_t j = 0; j < ks.count; j++)
            for (size_t h = 0; h < twin_key_heads(t); h++)
                see_row(t, h, 1,
                        k + ((ks.row * t->tokens + ks.first + j) * twin_key_heads(t) + h) * d,
                        &seen);
    }
    return 4 * seen.exponent + largest_frequency(t) * seen.norm;
}

double twin_bound(const struct twin_attention *t, const float *q, const float *k)
{
    size_t longest = 0;
    for (size_t n = 0; n < twin_sequences(t); n++)
        longest = twin_key_span(t, n).count > longest ? twin_key_span(t, n).count : longest;
    double bound = longest <= 4096 ? 1e-5 : 5e-5;
    if (t->type != DJ_FLOAT32)
        bound = t->type == DJ_FLOAT16 ? 2e-3 : 1.5e-2;
    if (t->map == DJ_MAP_SOFTMAX || t->map == DJ_MAP_LINFORMER)
        return bound + 0x1p-24 * 4 * twin_largest_logit(t, q, k);
    return bound + (twin_is_exponential(t->map) ? 0x1p-24 * exponent_term(t, q, k) : 0);
}
