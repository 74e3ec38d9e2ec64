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

void magnitude_change(struct problem *problem, size_t call)
{
    static const magnitude factors[] = {magnitude_any, magnitude_growing, magnitude_shrinking,
                                        magnitude_huge_once};
    magnitude_scale_keys(problem, factors[call % 4]);
    if (call >= 4)
        magnitude_scale_queries(problem, factors[(call + 1) % 4]);
}

void magnitude_change_values(struct problem *problem, size_t call)
{
    static const double sizes[2][4] = {{1e4, 1e-6, 1, 1e3}, {1e30, 1e-30, 1e-3, 1e6}};
    const double size = sizes[problem->params.v_type == DJ_BFLOAT16][call];
    const struct twin_attention *const t = &problem->twin;
    const size_t row = t->value_dim * t->heads;
    for (size_t i = 0; i < twin_v_size(t); i++) {
        const double growth = call < 3 ? 1 : pow(1e-6, (double)(i / row) / (double)t->tokens);
        problem->v[i] *= (float)(size * growth);
    }
}

void magnitude_change_to_ties(struct problem *problem, size_t call)
{
    static const double K[] = {30, 300, 1000};
    magnitude_tie_keys(problem, K[call]);
}
