/* SPDX-License-Identifier: MIT */
#include "random.h"

#include <assert.h>
#include <stdbool.h>

static uint64_t mix(uint64_t z)
{
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

uint64_t dj_random_next(uint64_t *state)
{
    return mix(*state += 0x9e3779b97f4a7c15u);
}

double dj_random_uniform(uint64_t *state)
{
    return ((double)(dj_random_next(state) >> 12) + 0.5) * 0x1p-52;
}

uint64_t dj_random_stream(uint64_t seed, uint64_t index)
{
    return mix(mix(seed + 0x9e3779b97f4a7c15u) + (index + 1) * 0xd1342543de82ef95u);
}

uint32_t dj_van_der_corput(uint32_t i)
{
    i = i >> 16 | i << 16;
    i = (i >> 8 & 0x00ff00ffu) | (i & 0x00ff00ffu) << 8;
    i = (i >> 4 & 0x0f0f0f0fu) | (i & 0x0f0f0f0fu) << 4;
    i = (i >> 2 & 0x33333333u) | (i & 0x33333333u) << 2;
    return (i >> 1 & 0x55555555u) | (i & 0x55555555u) << 1;
}

static uint32_t degree(uint32_t polynomial)
{
    uint32_t n = 0;
    while (polynomial >> (n + 1) != 0)
        n++;
    return n;
}

/* Whether x generates all 2^n - 1 nonzero residues modulo the polynomial over GF(2). */
static bool is_primitive(uint32_t polynomial)
{
    if ((polynomial & 1) == 0)
        return false;
    const uint32_t n = degree(polynomial), order = (1u << n) - 1;
    uint32_t power = 1, steps = 0;
    do {
        power <<= 1;
        if (power >> n != 0)
            power ^= polynomial;
        steps++;
    } while (power != 1 && steps < order);
    return power == 1 && steps == order;
}

/* Bratley and Fox 1988: with x^n + c_1 x^(n-1) + ... + c_(n-1) x + 1 the polynomial,
 * v_k = c_1 v_(k-1) + ... + c_(n-1) v_(k-n+1) + v_(k-n) + v_(k-n) / 2^n, sums by exclusive or; the
 * first n of them are free but for v_k = (an odd number below 2^k) / 2^k. */
static void set_directions(struct dj_sobol *sobol)
{
    const uint32_t n = degree(sobol->polynomial);
    uint64_t random = dj_random_stream(0, sobol->dimension);
    for (uint32_t k = 0; k < 32; k++) {
        if (k < n) {
            const uint32_t odd = ((uint32_t)dj_random_next(&random) & ((2u << k) - 1)) | 1;
            sobol->direction[k] = odd << (31 - k);
            continue;
        }
        uint32_t v = sobol->direction[k - n] ^ sobol->direction[k - n] >> n;
        for (uint32_t j = 1; j < n; j++)
            if (sobol->polynomial >> (n - j) & 1)
                v ^= sobol->direction[k - j];
        sobol->direction[k] = v;
    }
}

/* Dimension 0 is van der Corput's sequence, which the recurrence does not give. */
void dj_sobol_first(struct dj_sobol *sobol)
{
    *sobol = (struct dj_sobol){.polynomial = 2};
    for (uint32_t k = 0; k < 32; k++)
        sobol->direction[k] = 1u << (31 - k);
}

void dj_sobol_next(struct dj_sobol *sobol)
{
    do
        sobol->polynomial++;
    while (!is_primitive(sobol->polynomial));
    sobol->dimension++;
    set_directions(sobol);
}

uint32_t dj_sobol_point(const struct dj_sobol *sobol, uint32_t i)
{
    uint32_t x = 0;
    for (uint32_t k = 0; i != 0; i >>= 1, k++)
        if (i & 1)
            x ^= sobol->direction[k];
    return x;
}

uint32_t dj_owen_scramble(uint32_t x, uint64_t seed)
{
    uint32_t flips = 0;
    for (uint32_t digit = 0; digit < 32; digit++) {
        /* the digits before it, marked by a leading 1, so that no two places share a coin */
        const uint64_t place = 1ull << digit | (uint64_t)x >> (32 - digit);
        flips = flips << 1 | (uint32_t)(mix(seed + place * 0x9e3779b97f4a7c15u) >> 63);
    }
    return x ^ flips;
}
