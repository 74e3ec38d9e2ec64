/* SPDX-License-Identifier: MIT */
#include "chunk_matrix.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* To nearest, ties to even; |x| below 65520. */
static uint16_t to_half(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    const uint32_t sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;
    if (size < 0x38800000) /* below 2^-14: steps of 2^-24 */
        return (uint16_t)(sign | (uint32_t)lrintf(fabsf(x) * 0x1p24f));
    return (uint16_t)(sign | (size + 0xfff + (size >> 13 & 1) - 0x38000000) >> 13);
}

static float from_half(uint16_t half)
{
    const int exponent = half >> 10 & 31, mantissa = half & 0x3ff;
    const float size = exponent == 0 ? ldexpf((float)mantissa, -24)
                                     : ldexpf((float)(mantissa + 0x400), exponent - 25);
    return half & 0x8000 ? -size : size;
}

/* The transforms' matrix, times 256, as float16 numbers, then what those lack; then what each
 * feature's row of the first is to be multiplied by, so that along that row, which has few numbers,
 * they lack nothing. */
static void fill_matrix(const struct dj_attention *plan, const float *matrix, uint16_t *halves,
                        float *factors)
{
    const size_t count = (size_t)plan->dim * plan->features;
    for (uint32_t f = 0; f < plan->features; f++) {
        double product = 0, square = 0;
        for (uint32_t n = 0; n < plan->dim; n++) { /* features' rows become columns */
            const float entry = 256 * matrix[(size_t)n * plan->features + f];
            uint16_t *const half = &halves[(size_t)f * plan->dim + n];
            half[0] = to_half(entry);
            half[count] = to_half(entry - from_half(half[0]));
            product += (double)from_half(half[0]) * entry;
            square += (double)entry * entry;
        }
        factors[f] = product > 0 ? (float)(square / product / 256) : 0;
    }
}

dj_result dj_chunk_matrix_create(struct dj_attention *plan)
{
    const size_t count = (size_t)plan->dim * plan->features;
    const size_t size = 2 * count * sizeof(uint16_t) + plan->features * sizeof(float);
    const bool transform = plan->kind->projection == DJ_PROJECTION_DCT;
    float *const matrix = calloc(count, sizeof *matrix);
    uint16_t *const halves = calloc(1, size);
    dj_result result = DJ_ERROR_OUT_OF_HOST_MEMORY;
    if (matrix != NULL && halves != NULL &&
        (!transform || dj_projection_matrix(plan->projection, matrix))) {
        fill_matrix(plan, matrix, halves, (float *)(void *)(halves + 2 * count));
        result = dj_buffer_create_table(plan->context, halves, size, "chunked matrix",
                                        &plan->chunked.matrix);
    } else {
        dj_fail(&plan->context->log, result,
                "attention: no host memory for a matrix of %zu numbers", count);
    }
    free(halves);
    free(matrix);
    return result;
}
