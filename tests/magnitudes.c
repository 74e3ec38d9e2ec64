/* SPDX-License-Identifier: MIT */
#include "magnitudes.h"

#include <math.h>

double magnitude_any(size_t i, size_t n)
{
    (void)i;
    (void)n;
    return pow(10, 6 * harness_uniform() - 3);
}

double magnitude_growing(size_t i, size_t n)
{
    return pow(10, 6 * (double)i / (double)n - 3);
}

double magnitude_shrinking(size_t i, size_t n)
{
    return magnitude_growing(n - i, n);
}

double magnitude_huge_once(size_t i, size_t n)
{
    (void)n;
    return i % 32 == (17 + i / 32 * 11) % 32 ? 1000 : 1;
}

static void scale(float *x, size_t batch, size_t tokens, size_t row, magnitude factor)
{
    for (size_t i = 0; i < batch * tokens; i++) {
        const double f = factor(i % tokens, tokens);
        for (size_t c = 0; c < row; c++)
            x[i * row + c] = (float)(x[i * row + c] * f);
    }
}

void magnitude_scale_queries(const struct problem *problem, magnitude factor)
{
    const struct twin_attention *const t = &problem->twin;
    scale(problem->q, t->batch, t->query_tokens, t->heads * t->dim, factor);
}

void magnitude_scale_keys(const struct problem *problem, magnitude factor)
{
    const struct twin_attention *const t = &problem->twin;
    scale(problem->k, t->batch, t->tokens, twin_key_heads(t) * t->dim, factor);
}

void magnitude_tie_keys(const struct problem *problem, double K)
{
    const size_t d = problem->twin.dim;
    double u[256], norm = 0; /* the most that a head has */
    for (size_t c = 0; c < d; c++) {
        u[c] = harness_normal();
        norm += u[c] * u[c];
    }
    for (size_t i = 0; i < twin_k_size(&problem->twin); i++)
        problem->k[i] += (float)(K * u[i % d] / sqrt(norm));
}
