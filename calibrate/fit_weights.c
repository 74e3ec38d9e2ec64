/* SPDX-License-Identifier: MIT */
#include "exact.h"
#include "fit.h"
#include "nnls.h"
#include "random.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    PAIRS_AT_A_TIME = 64
};

static double dot(const double *x, const double *y, size_t n)
{
    double sum = 0.0;
    for (size_t i = 0; i < n; i++)
        sum += x[i] * y[i];
    return sum;
}

/* row[i] = psi_i(q) psi_i(k) / exp(q . k) of one pair. Exponents beyond 300 either way are cut off:
 * their squares and sums stay finite, and no fit would do them justice. */
static void make_row(const struct dj_fitting *fitting, const double *t, size_t query, size_t key,
                     double *row)
{
    const struct dj_samples *const s = fitting->samples;
    const double *const q = s->q + query * s->dim, *const k = s->k + key * s->dim;
    const double shared =
        dot(q, k, s->dim) + fitting->squares * (dot(q, q, s->dim) + dot(k, k, s->dim));
    for (size_t i = 0; i < s->features; i++) {
        const double exponent =
            t[i] * (s->q_rows[query * s->features + i] + s->k_rows[key * s->features + i]) - shared;
        row[i] = dj_exact_exp(fmin(fmax(exponent, -300.0), 300.0));
    }
}

/* gram += A^T A, the lower triangle, and image += A^T 1 for some rows of A. */
static void accumulate(const double *rows, size_t count, size_t m, double *gram, double *image)
{
    for (size_t i = 0; i < m; i++) {
        for (size_t r = 0; r < count; r++) {
            const double *restrict const row = rows + r * m;
            const double factor = row[i];
            double *restrict const to = gram + i * m;
            for (size_t j = 0; j <= i; j++)
                to[j] += factor * row[j];
            image[i] += factor;
        }
    }
}

/* Columns of unit length, so that the tolerances of the solver mean the same for each. */
static void scale_columns(double *gram, double *image, double *lengths, size_t m)
{
    for (size_t i = 0; i < m; i++)
        lengths[i] = sqrt(gram[i * m + i]);
    for (size_t i = 0; i < m; i++) {
        image[i] /= lengths[i];
        for (size_t j = 0; j <= i; j++) {
            gram[i * m + j] /= lengths[i] * lengths[j];
            gram[j * m + i] = gram[i * m + j];
        }
    }
}

bool dj_fit_weights(const struct dj_fitting *fitting, struct dj_numbers *numbers)
{
    const struct dj_samples *const samples = fitting->samples;
    const size_t m = samples->features;
    bool ok = false;
    double *const gram = calloc(m * m, sizeof *gram), *const image = calloc(m, sizeof *image);
    double *const lengths = malloc(m * sizeof *lengths), *const w = malloc(m * sizeof *w);
    double *const rows = malloc(PAIRS_AT_A_TIME * m * sizeof *rows);
    if (gram == NULL || image == NULL || lengths == NULL || w == NULL || rows == NULL)
        goto done;

    uint64_t random = dj_random_stream(fitting->seed, 1);
    for (uint32_t done = 0, count; done < fitting->pairs; done += count) {
        count = fitting->pairs - done < PAIRS_AT_A_TIME ? fitting->pairs - done : PAIRS_AT_A_TIME;
        for (uint32_t r = 0; r < count; r++)
            make_row(fitting, numbers->t, (done + r) % samples->queries,
                     dj_random_next(&random) % samples->keys, rows + r * m);
        accumulate(rows, count, m, gram, image);
    }
    scale_columns(gram, image, lengths, m);
    if (!dj_nnls(m, gram, image, w))
        goto done;
    for (size_t i = 0; i < m; i++)
        numbers->log_w[i] = w[i] > 0.0 ? dj_exact_log(w[i] / lengths[i]) : -INFINITY;
    ok = true;

done:
    free(rows);
    free(w);
    free(lengths);
    free(image);
    free(gram);
    return ok;
}
