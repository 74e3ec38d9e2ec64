/* SPDX-License-Identifier: MIT */
/* Features as features.comp leaves them, taken apart into mantissa and exponent; logscale.glsl is included
 * and the constant LINEAR declared. Logarithms: exp(a) = mantissa * 2^n. Values: a = mantissa * 2^n. */

/* a in (mantissa, exponent); a finite and not masked. Zero, and what is below the normal range, is
 * 0 * 2^EMPTY. */
float split_feature(float a, out float n)
{
    if (!LINEAR)
        return split_exp(a, n);
    const uint bits = floatBitsToUint(a), exponent = bits >> 23 & 0xffu;
    n = exponent == 0 ? EMPTY : float(int(exponent) - 127);
    return exponent == 0 ? 0.0 : uintBitsToFloat((bits & 0x807fffffu) | 0x3f800000u);
}

/* The feature times 2^(plus - minus): NaN if a is not finite, 0 for a token beyond the end. Where minus is
 * the largest of the sums exponent + plus, the sum is formed here as it was there, so that above 2^24,
 * too, the largest gives 2^0. */
float scaled_feature(float a, float plus, float minus)
{
    float n;
    const float mantissa = split_feature(a, n);
    precise float sum = n + plus;
    precise float exponent = sum - minus;
    const float scaled = mantissa * exp2i(exponent);
    return is_finite(a) ? is_masked(a) ? 0.0 : scaled : nan();
}

/* The exponent that a feature has in a maximum: EMPTY unless it is a number other than 0. */
float exponent_for_max(float a)
{
    float n;
    split_feature(a, n);
    return is_finite(a) ? is_masked(a) ? EMPTY : n : EMPTY;
}
