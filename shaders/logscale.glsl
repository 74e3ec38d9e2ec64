/* SPDX-License-Identifier: MIT */
/* Numbers of any magnitude as mantissa * 2^exponent, the exponent a float32 that holds a whole number:
 * exact below 2^24, and beyond that no coarser than the float32 exponents it comes from
 * (docs/mathematics.md, "Staying finite"). No Inf is ever used as a mark. */

/* The exponent of nothing: below any that a feature can have; sums of two stay finite. */
const float EMPTY = -1.5e38;

/* Stands for the logarithm of a feature beyond the last token; test it with is_masked before use. */
const float MASKED = -3.0e38;

bool is_masked(float a)
{
    return a < -2.0e38;
}

/* By bits: without SignedZeroInfNanPreserve a compiler may assume that comparisons see no NaN. */
bool is_finite(float x)
{
    return (floatBitsToUint(x) & 0x7f800000u) != 0x7f800000u;
}

float nan()
{
    return uintBitsToFloat(0x7fc00000u);
}

/* 2^k for a whole k up to 127: 0 below the normal range. The sum's last bits are k + 127; a conversion
 * to an integer is slow on CPU devices, and so are min and max where the sign of 0 counts. */
float exp2_down(float k)
{
    precise float biased = k + 8388735.0;
    return k < -126.0 ? 0.0 : uintBitsToFloat(floatBitsToUint(biased) << 23);
}

/* The same for any k: 2^127 above the range. */
float exp2i(float k)
{
    return k > 127.0 ? 1.7014118e38 : exp2_down(k);
}

/* exp(x) = split_exp(x, n) * 2^n with the mantissa in [0.70, 1.42]; x finite. ln 2 in two parts, the
 * first of 10 bits, so that n * LN2_HIGH is exact up to |n| = 2^14; beyond, the clamp keeps the
 * mantissa in range while x itself is known no better. The polynomial's relative error is 4e-9. */
float split_exp(float x, out float n)
{
    const float LN2_HIGH = 0.693359375;
    const float LN2_LOW = -2.12194440e-4;
    precise float whole = roundEven(x * 1.44269504);
    precise float r = x - whole * LN2_HIGH;
    r = r - whole * LN2_LOW;
    r = clamp(r, -0.3472, 0.3472);
    n = whole;
    float p = 1.3814348e-3;
    p = p * r + 8.3688376e-3;
    p = p * r + 4.1668400e-2;
    p = p * r + 1.6666520e-1;
    p = p * r + 4.9999994e-1;
    return 1.0 + (r + (r * r) * p);
}

/* The exponent of x, a positive normal float: 2^e <= x < 2^(e+1). */
float exponent_of(float x)
{
    return float(int(floatBitsToUint(x) >> 23) - 127);
}

/* hi + lo = a + b exactly, barring overflow (Knuth's TwoSum). */
float two_sum(float a, float b, out float low)
{
    precise float sum = a + b;
    precise float b_part = sum - a;
    precise float a_part = sum - b_part;
    precise float b_error = b - b_part;
    precise float a_error = a - a_part;
    precise float error = a_error + b_error;
    low = error;
    return sum;
}

/* The upper 12 bits of a mantissa; what is left has 12, too. */
float upper_half(float x)
{
    return uintBitsToFloat(floatBitsToUint(x) & 0xfffff000u);
}

/* a * b - product exactly, where product is a * b rounded (after Dekker, but split by bits, which
 * cannot overflow): fma() need not be fused. */
float product_error(float a, float b, float product)
{
    const float a_high = upper_half(a), b_high = upper_half(b);
    precise float a_low = a - a_high;
    precise float b_low = b - b_high;
    precise float error = a_high * b_high - product;
    error = error + a_high * b_low;
    error = error + a_low * b_high;
    error = error + a_low * b_low;
    return error;
}

/* (high, low) times (g, g_low): the product's own rounding error goes into low. */
void multiply(inout float high, inout float low, float g, float g_low)
{
    precise float product = high * g;
    precise float error = product_error(high, g, product);
    precise float lost = error + high * g_low;
    low = low * g + lost;
    high = product;
}

/* 2^e as two factors: it may overflow where what they multiply does not. */
vec2 exp2_halves(float e)
{
    const float whole = clamp(e, -400.0, 400.0), first = floor(whole * 0.5);
    return vec2(exp2i(first), exp2i(whole - first));
}

/* exp(x), 0 below e^-88; NaN if x is not finite. */
float exponential(float x)
{
    if (!is_finite(x))
        return nan();
    float n;
    const float mantissa = split_exp(max(x, -1000.0), n);
    return mantissa * exp2i(n);
}

/* ln s for a normal s >= 1: the built-in is only good to 2^-21 near 1; one Newton step mends it. */
float precise_log(float s)
{
    const float guess = log(s);
    return guess + (s * exponential(-guess) - 1.0);
}
