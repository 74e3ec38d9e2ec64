/* SPDX-License-Identifier: MIT */
#include "rows.h"
#include "cosine.h"
#include "random.h"

#include <math.h>

/* Whether x_n changes sign in the fourth block: bit n of splitmix64's output from state 3. */
static int is_flipped(uint32_t n)
{
    uint64_t state = 3, word = 0;
    for (uint32_t i = 0; i <= n / 64; i++)
        word = dj_random_next(&state);
    return (int)(word >> n % 64 & 1);
}

/* What coefficient k takes of x_n. */
static double dct_entry(uint32_t type, uint32_t dim, uint32_t k, uint32_t n)
{
    if (type == 4)
        return sqrt(2.0 / dim) * dj_cos_pi((2 * n + 1) * (2 * k + 1), 4 * dim);
    if (type == 3)
        return dct_entry(2, dim, n, k);
    return sqrt((k == 0 ? 1.0 : 2.0) / dim) * dj_cos_pi((2 * n + 1) * k, 2 * dim);
}

void dj_wdcf_rows(uint32_t dim, uint32_t features, double *rows)
{
    static const uint32_t types[4] = {2, 3, 4, 2};
    for (uint32_t i = 0; i < features; i++) {
        const uint32_t block = i / dim;
        for (uint32_t n = 0; n < dim; n++) {
            const double entry = dct_entry(types[block], dim, i % dim, n);
            rows[i * dim + n] = block == 3 && is_flipped(n) ? -entry : entry;
        }
    }
}
