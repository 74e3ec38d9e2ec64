/* SPDX-License-Identifier: MIT */
#include "block.h"
#include "exact.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool dj_block_init(struct dj_block *block, const struct dj_samples *samples, uint32_t queries,
                   uint32_t keys)
{
    const size_t n = queries, k = keys, m = samples->features, d = samples->dim;
    *block = (struct dj_block){
        .dim = samples->dim, .features = samples->features, .queries = queries, .keys = keys};
    const struct {
        double **array;
        size_t count;
    } arrays[] = {
        {&block->exact, n * k},      {&block->q_rows, n * m},      {&block->k_rows, k * m},
        {&block->q, n * d},          {&block->k_columns, d * k},   {&block->phi_q, n * m},
        {&block->phi_k, k * m},      {&block->phi_columns, m * k}, {&block->weights, n * k},
        {&block->gradient_q, n * m}, {&block->gradient_k, k * m},
    };
    const size_t count = sizeof arrays / sizeof *arrays;
    size_t total = 0;
    for (size_t i = 0; i < count; i++)
        total += arrays[i].count;
    block->memory = malloc(total * sizeof *block->memory);
    if (block->memory == NULL)
        return false;
    double *next = block->memory;
    for (size_t i = 0; i < count; i++) {
        *arrays[i].array = next;
        next += arrays[i].count;
    }
    return true;
}

void dj_block_finish(struct dj_block *block)
{
    free(block->memory);
    *block = (struct dj_block){0};
}

/* c[rows][columns] = a b, a [rows][inner], b [inner][columns]; transposed: a is [inner][rows]. Sums
 * run in the order of inner, over contiguous rows of b and c: fast without reordering. */
static void multiply(const double *a, const double *b, double *c, size_t rows, size_t inner,
                     size_t columns, bool transposed)
{
    memset(c, 0, rows * columns * sizeof *c);
    for (size_t i = 0; i < rows; i++) {
        double *restrict const to = c + i * columns;
        size_t l = 0;
        for (; l + 4 <= inner; l += 4) {
            const double *restrict const from = b + l * columns;
            double f[4];
            for (size_t u = 0; u < 4; u++)
                f[u] = transposed ? a[(l + u) * rows + i] : a[i * inner + l + u];
            for (size_t j = 0; j < columns; j++)
                to[j] += f[0] * from[j] + f[1] * from[columns + j] + f[2] * from[2 * columns + j] +
                         f[3] * from[3 * columns + j];
        }
        for (; l < inner; l++) {
            const double f = transposed ? a[l * rows + i] : a[i * inner + l];
            for (size_t j = 0; j < columns; j++)
                to[j] += f * b[l * columns + j];
        }
    }
}

static double largest(const double *x, size_t n)
{
    double most = x[0];
    for (size_t i = 1; i < n; i++)
        most = x[i] > most ? x[i] : most;
    return most;
}

/* Divides each row by its sum, which is kept from 0. */
static void normalise_rows(double *x, size_t rows, size_t columns)
{
    for (size_t i = 0; i < rows; i++, x += columns) {
        double sum = 0.0;
        for (size_t j = 0; j < columns; j++)
            sum += x[j];
        const double factor = 1.0 / fmax(sum, 1e-300);
        for (size_t j = 0; j < columns; j++)
            x[j] *= factor;
    }
}

void dj_block_fill(struct dj_block *block, const struct dj_samples *samples,
                   const uint32_t *query_indices, const uint32_t *key_indices)
{
    const size_t d = block->dim, m = block->features, n = block->queries, keys = block->keys;
    for (size_t i = 0; i < n; i++) {
        const size_t from = query_indices[i];
        memcpy(block->q + i * d, samples->q + from * d, d * sizeof *block->q);
        memcpy(block->q_rows + i * m, samples->q_rows + from * m, m * sizeof *block->q);
    }
    for (size_t j = 0; j < keys; j++) {
        const size_t from = key_indices[j];
        memcpy(block->k_rows + j * m, samples->k_rows + from * m, m * sizeof *block->q);
        for (size_t i = 0; i < d; i++)
            block->k_columns[i * keys + j] = samples->k[from * d + i];
    }
    multiply(block->q, block->k_columns, block->exact, n, d, keys, false);
    for (size_t i = 0; i < n; i++) {
        double *const row = block->exact + i * keys;
        const double most = largest(row, keys);
        for (size_t j = 0; j < keys; j++)
            row[j] = dj_exact_exp(row[j] - most);
    }
    normalise_rows(block->exact, n, keys);
}

/* phi(q) without weights, each row up to a factor of its own, which attention does not see. */
static void make_query_features(struct dj_block *block, const struct dj_numbers *numbers)
{
    const size_t m = block->features;
    for (size_t i = 0; i < block->queries; i++) {
        double *const row = block->phi_q + i * m;
        for (size_t f = 0; f < m; f++)
            row[f] = numbers->t[f] * block->q_rows[i * m + f];
        const double most = largest(row, m);
        for (size_t f = 0; f < m; f++)
            row[f] = dj_exact_exp(row[f] - most);
    }
}

/* phi(k) with the weights of both sides: with key_normalise a softmax over features, else up to a
 * factor that all keys share. */
static void make_key_features(struct dj_block *block, const struct dj_numbers *numbers,
                              bool key_normalise)
{
    const size_t m = block->features, count = block->keys * m;
    for (size_t j = 0; j < block->keys; j++)
        for (size_t f = 0; f < m; f++)
            block->phi_k[j * m + f] = numbers->t[f] * block->k_rows[j * m + f] + numbers->log_w[f];
    const double most = largest(block->phi_k, count);
    for (size_t j = 0; j < block->keys; j++) {
        double *const row = block->phi_k + j * m;
        const double shift = key_normalise ? largest(row, m) : most;
        for (size_t f = 0; f < m; f++)
            row[f] = dj_exact_exp(row[f] - shift);
    }
    if (key_normalise)
        normalise_rows(block->phi_k, block->keys, m);
    for (size_t j = 0; j < block->keys; j++)
        for (size_t f = 0; f < m; f++)
            block->phi_columns[f * block->keys + j] = block->phi_k[j * m + f];
}

/* From d error / d a, in weights' place, to the derivatives by t and ln w:
 *   a = s / Z, s = phi_q . phi_k, Z = sum_j s   ->   ds = (da - sum_j da a) / Z
 *   phi = exp(t x) and exp(t x + ln w)          ->   dt = x phi dphi, d ln w = phi_k dphi_k
 *   phi_k / its sum over features               ->   what is common to a key's features drops out
 */
static void descend(struct dj_block *block, bool key_normalise, const struct dj_numbers *gradient)
{
    const size_t m = block->features, n = block->queries, keys = block->keys;
    multiply(block->weights, block->phi_k, block->gradient_q, n, keys, m, false);
    multiply(block->weights, block->phi_q, block->gradient_k, keys, n, m, true);
    memset(gradient->t, 0, m * sizeof *gradient->t);
    memset(gradient->log_w, 0, m * sizeof *gradient->t);
    for (size_t i = 0; i < n * m; i += m)
        for (size_t f = 0; f < m; f++)
            gradient->t[f] += block->gradient_q[i + f] * block->phi_q[i + f] * block->q_rows[i + f];
    for (size_t j = 0; j < keys * m; j += m) {
        double common = 0.0;
        for (size_t f = 0; f < m; f++)
            common += block->gradient_k[j + f] * block->phi_k[j + f];
        if (!key_normalise)
            common = 0.0;
        for (size_t f = 0; f < m; f++) {
            const double by_log = (block->gradient_k[j + f] - common) * block->phi_k[j + f];
            gradient->t[f] += by_log * block->k_rows[j + f];
            gradient->log_w[f] += by_log;
        }
    }
}

double dj_block_error(struct dj_block *block, const struct dj_numbers *numbers, bool key_normalise,
                      const struct dj_numbers *gradient)
{
    const size_t n = block->queries, keys = block->keys;
    make_query_features(block, numbers);
    make_key_features(block, numbers, key_normalise);
    multiply(block->phi_q, block->phi_columns, block->weights, n, block->features, keys, false);
    double square = 0.0, error = 0.0;
    for (size_t i = 0; i < n * keys; i++)
        square += block->exact[i] * block->exact[i];
    for (size_t i = 0; i < n; i++) {
        double *const row = block->weights + i * keys;
        const double *const exact = block->exact + i * keys;
        double sum = 0.0, common = 0.0;
        for (size_t j = 0; j < keys; j++)
            sum += row[j];
        const double factor = 1.0 / fmax(sum, 1e-300);
        for (size_t j = 0; j < keys; j++) {
            const double a = row[j] * factor, off = a - exact[j];
            error += off * off;
            common += off * a;
            row[j] = off;
        }
        for (size_t j = 0; j < keys; j++)
            row[j] = 2.0 * factor / square * (row[j] - common);
    }
    if (gradient != NULL)
        descend(block, key_normalise, gradient);
    return error / square;
}

double dj_block_uniform_error(const struct dj_block *block)
{
    const size_t count = (size_t)block->queries * block->keys;
    double square = 0.0, error = 0.0;
    for (size_t i = 0; i < count; i++) {
        const double off = block->exact[i] - 1.0 / block->keys;
        square += block->exact[i] * block->exact[i];
        error += off * off;
    }
    return error / square;
}
