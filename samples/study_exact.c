/* SPDX-License-Identifier: MIT */
#include "study.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Columns that a row sees. */
static uint32_t seen(uint32_t row, uint32_t tokens, bool causal)
{
    return causal ? row + 1 : tokens;
}

/* Fills kernel with scale q.k and returns the largest; 0 where a row does not look. */
static double fill_logits(struct study_exact *e, const struct study_data *data, double scale,
                          bool causal)
{
    double most = -INFINITY, sum = 0, square = 0, count = 0;
    for (uint32_t i = 0; i < e->tokens; i++)
        for (uint32_t j = 0; j < seen(i, e->tokens, causal); j++) {
            double dot = 0;
            for (uint32_t c = 0; c < data->dim; c++)
                dot += (double)data->q[i * data->dim + c] * data->k[j * data->dim + c];
            dot *= scale;
            e->kernel[i * e->tokens + j] = dot;
            most = fmax(most, dot);
            if (j <= i) {
                sum += dot;
                square += dot * dot;
                count++;
            }
        }
    e->spread = sqrt(fmax(square / count - sum / count * (sum / count), 0));
    return most;
}

/* From a row of logits its weights, whose exp(entropy) it returns. */
static double soften(const double *logits, uint32_t count, double *weights)
{
    double most = -INFINITY, sum = 0, entropy = 0;
    for (uint32_t j = 0; j < count; j++)
        most = fmax(most, logits[j]);
    for (uint32_t j = 0; j < count; j++)
        sum += weights[j] = exp(logits[j] - most);
    for (uint32_t j = 0; j < count; j++) {
        weights[j] /= sum;
        entropy -= weights[j] > 0 ? weights[j] * log(weights[j]) : 0;
    }
    return exp(entropy);
}

bool study_exact_init(struct study_exact *exact, const struct study_data *data, bool causal)
{
    const uint32_t tokens = data->tokens, dim = data->value_dim;
    *exact = (struct study_exact){.tokens = tokens, .value_dim = dim};
    exact->kernel = calloc((size_t)tokens * tokens, sizeof(double));
    exact->weights = calloc((size_t)tokens * tokens, sizeof(double));
    exact->out = calloc((size_t)tokens * dim, sizeof(double));
    if (!exact->kernel || !exact->weights || !exact->out)
        return false;
    const double most = fill_logits(exact, data, (double)data->scale, causal);
    for (uint32_t i = 0; i < tokens; i++) {
        double *const row = exact->kernel + (size_t)i * tokens;
        double *const weights = exact->weights + (size_t)i * tokens;
        const uint32_t count = seen(i, tokens, causal);
        exact->keys += soften(row, count, weights) / tokens;
        for (uint32_t j = 0; j < count; j++) {
            row[j] = exp(row[j] - most);
            for (uint32_t c = 0; c < dim; c++)
                exact->out[i * dim + c] += weights[j] * data->v[j * dim + c];
        }
    }
    return true;
}

void study_exact_finish(struct study_exact *exact)
{
    free(exact->kernel);
    free(exact->weights);
    free(exact->out);
    *exact = (struct study_exact){0};
}

double study_error(const float *got, const double *want, size_t count, bool any_factor)
{
    double most = 0, product = 0, square = 0, difference = 0, whole = 0;
    for (size_t i = 0; i < count; i++)
        if (!isfinite(got[i]))
            return INFINITY;
        else
            most = fmax(most, fabs((double)got[i]));
    if (most == 0)
        return 1;
    for (size_t i = 0; i < count && any_factor; i++) {
        product += got[i] / most * want[i];
        square += got[i] / most * (got[i] / most);
    }
    const double factor = any_factor ? product / square / most : 1;
    for (size_t i = 0; i < count; i++) {
        difference += (factor * got[i] - want[i]) * (factor * got[i] - want[i]);
        whole += want[i] * want[i];
    }
    return sqrt(difference / whole);
}

void study_uniform(uint32_t tokens, bool causal, float *weights)
{
    memset(weights, 0, sizeof(float) * tokens * tokens);
    for (uint32_t i = 0; i < tokens; i++)
        for (uint32_t j = 0; j < seen(i, tokens, causal); j++)
            weights[i * tokens + j] = 1 / (float)seen(i, tokens, causal);
}

void study_apply(const struct study_data *data, const float *weights, float *o)
{
    for (uint32_t i = 0; i < data->tokens; i++)
        for (uint32_t c = 0; c < data->value_dim; c++) {
            double sum = 0;
            for (uint32_t j = 0; j < data->tokens; j++)
                sum += (double)weights[i * data->tokens + j] * data->v[j * data->value_dim + c];
            o[i * data->value_dim + c] = (float)sum;
        }
}
