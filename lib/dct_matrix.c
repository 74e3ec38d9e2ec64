/* SPDX-License-Identifier: MIT */
#include "dct_matrix.h"

#include <math.h>
#include <stdlib.h>

/* x[n]'s angle in y[k], in units of pi / (4 length), reduced to one turn without rounding. */
static uint64_t phase(uint32_t type, uint32_t length, uint64_t n, uint64_t k)
{
    const uint64_t turn = UINT64_C(8) * length;
    switch (type) {
    case DJ_DCT_2:
        return (2 * n + 1) * k * 2 % turn;
    case DJ_DCT_3:
        return (2 * k + 1) * n * 2 % turn;
    default:
        return (2 * n + 1) * (2 * k + 1) % turn;
    }
}

/* The factor of the cosine of x[n] in y[k]. */
static double weight(uint32_t type, uint32_t length, uint32_t n, uint32_t k)
{
    const bool constant = (type == DJ_DCT_2 && k == 0) || (type == DJ_DCT_3 && n == 0);
    return sqrt((constant ? 1.0 : 2.0) / length);
}

/* All cosines there are: of 0 .. 8 length - 1 units; NULL if memory is short. */
static double *make_cosines(uint32_t length)
{
    double *const cosines = malloc(8 * (size_t)length * sizeof(double));
    for (uint32_t i = 0; cosines != NULL && i < 8 * length; i++)
        cosines[i] = cos((double)i * (acos(-1.0) / (4.0 * length)));
    return cosines;
}

bool dj_dct_matrix(uint32_t type, uint32_t length, float *matrix)
{
    double *const cosines = make_cosines(length);
    if (cosines == NULL)
        return false;
    for (uint32_t n = 0; n < length; n++) {
        for (uint32_t k = 0; k < length; k++)
            matrix[(uint64_t)n * length + k] =
                (float)(weight(type, length, n, k) * cosines[phase(type, length, n, k)]);
    }
    free(cosines);
    return true;
}

double dj_dct_first(uint32_t type)
{
    return type == DJ_DCT_3 ? sqrt(2.0) : 1.0;
}

void dj_dct_scales(uint32_t type, uint32_t length, float *scale)
{
    for (uint32_t k = 0; k < length; k++)
        scale[k] = (float)(weight(type, length, 1, k) / 2);
}

bool dj_dct_host(uint32_t type, uint32_t length, const double *x, double *y)
{
    double *const cosines = make_cosines(length);
    if (cosines == NULL)
        return false;
    for (uint32_t k = 0; k < length; k++) {
        double sum = 0;
        for (uint32_t n = 0; n < length; n++)
            sum += (type == DJ_DCT_3 && n == 0 ? sqrt(0.5) : 1.0) * x[n] *
                   cosines[phase(type, length, n, k)];
        y[k] = sum * (type == DJ_DCT_2 && k == 0 ? sqrt(0.5) : 1.0) * sqrt(2.0 / length);
    }
    free(cosines);
    return true;
}
