/* SPDX-License-Identifier: MIT */
/* From a lane's row, in x, to its features, and features taken apart into mantissa and exponent: what
 * resident.comp does to tokens before it sums. Logarithms are of base 2, unlike features.comp's. The
 * including shader declares x, frequencies and log_weights, with DIRECTIONS products and squares, the
 * sizes and what kind of map it is. */

float projected(uint row, uint i)
{
#ifdef DIRECTIONS
    return products[i];
#else
    return x[i];
#endif
}

float frequency(uint i)
{
    return frequencies[i];
}

float log_weight(uint i)
{
    return log_weights[i];
}

float square_sum(uint row)
{
#ifdef DIRECTIONS
    return push.square_factor * LOG2E * squares;
#else
    return 0.0;
#endif
}

uint place(uint row)
{
    return span_place(sequence) + row;
}

#include "maps.glsl"

/* Factors of the orthonormal transform: t_0 belongs to a constant row. */
float transform_factor(uint i)
{
    return sqrt((i == 0 ? 1.0 : 2.0) / float(WIDTH)) * push.factor;
}

/* The part of it that frequencies take: where the row is not multiplied before. */
float table_factor(uint i)
{
#ifdef DIRECTIONS
    return 1.0;
#else
    return SOFTMAX ? 1.0 : transform_factor(i);
#endif
}

void load_tables()
{
    const uint table = head * push.head_stride;
    [[unroll]] for (uint i = 0; i < FEATURES; i++) {
        frequencies[i] = log_weights[i] = 0.0;
        if (EXPONENTIAL) {
            frequencies[i] = tables.data[table + i] * LOG2E * table_factor(i);
            log_weights[i] = tables.data[push.weights + table + i] * LOG2E;
        }
    }
#ifdef DIRECTIONS
    load_directions();
#endif
}

/* 2^x for |x| <= 1/2, NaN for NaN; relative error 2e-8. */
float exp2_fraction(float x)
{
    float p = 1.5403530e-4;
    p = p * x + 1.3333558e-3;
    p = p * x + 9.6181291e-3;
    p = p * x + 5.5504109e-2;
    p = p * x + 2.4022651e-1;
    p = p * x + 6.9314718e-1;
    return p * x + 1.0;
}

/* Of a feature, as a whole number; EMPTY for 0. */
float exponent(float a)
{
    if (!LINEAR)
        return roundEven(a);
    const uint bits = floatBitsToUint(a) >> 23 & 0xffu;
    return bits == 0 ? EMPTY : float(int(bits) - 127);
}

/* The feature times 2^(plus - minus). Where minus is the largest of the sums exponent + plus, the sum is
 * formed here as it was there. */
float scaled(float a, float plus, float minus)
{
    const float n = exponent(a);
    precise float sum = n + plus;
    precise float above = sum - minus;
    const float power = above > 0.0 ? 0.0 : above; /* where exponents are too large to be told apart */
    if (!LINEAR)
        return exp2_fraction(a - n) * exp2_down(power);
    const float mantissa = uintBitsToFloat((floatBitsToUint(a) & 0x807fffffu) | 0x3f800000u);
    return is_finite(a) ? (n == EMPTY ? 0.0 : mantissa) * exp2_down(power) : nan();
}

/* log2 of the sum of 2^query[f], times D[f] if `weighted`. */
float log2_sum(bool weighted)
{
    float largest = -3.0e38, sum = 0.0;
    [[unroll]] for (uint i = 0; i < FEATURES; i++) {
        const float b = query[i] + (weighted ? log_weights[i] : 0.0);
        largest = b > largest ? b : largest;
    }
    [[unroll]] for (uint i = 0; i < FEATURES; i++) {
        const float b = query[i] + (weighted ? log_weights[i] : 0.0) - largest;
        const float n = roundEven(b);
        sum += exp2_fraction(b - n) * exp2i(n);
    }
    return largest + LOG2E * precise_log(sum);
}

/* The row in x to features, in query whichever it is. */
void map_row(uint row, bool of_key)
{
#ifndef DCT
    [[unroll]] for (uint i = 0; i < WIDTH; i++)
        x[i] *= push.factor;
#ifdef DIRECTIONS
    project();
#endif
#else
    if (SOFTMAX) {
        [[unroll]] for (uint i = 0; i < WIDTH; i++)
            x[i] *= transform_factor(i);
        DCT3(x);
    } else {
        DCT2(x);
    }
#endif
    [[unroll]] for (uint i = 0; i < FEATURES; i++)
        query[i] = feature(row, i) * (FEATURE == DJ_FEATURE_ELU ? LOG2E : 1.0);
    if (SOFTMAX || KEY_NORMALISE) {
        const float sum = log2_sum(KEY_NORMALISE);
        const float shift = SOFTMAX || of_key ? sum : 0.0;
        [[unroll]] for (uint i = 0; i < FEATURES; i++)
            query[i] -= shift;
    }
    if (FEATURE == DJ_FEATURE_SOFTMAX_VALUE) {
        [[unroll]] for (uint i = 0; i < FEATURES; i++) {
            const float n = roundEven(query[i]);
            query[i] = exp2_fraction(query[i] - n) * exp2_down(n);
        }
    }
}
