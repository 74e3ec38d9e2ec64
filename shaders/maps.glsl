/* SPDX-License-Identifier: MIT */
/* The feature maps: feature i of a row, as its logarithm (exponential maps, elu) or its value (the others:
 * "linear"). A new map is one more function here and one more line in feature().
 *
 * From features.comp: projected(row, i), the i-th projected value y of a row; log_weight(i) and
 * frequency(i), ln D and t of the row's head; square_sum(row), c |x|^2; place(row), its token's place in
 * the sequence, from 0 (WITHOUT_PLACES: there is none, and so no map that depends on it). */

float exponential_feature(uint row, uint i)
{
    return log_weight(i) + frequency(i) * projected(row, i) - square_sum(row);
}

/* max(x, 0), but what is not finite is NaN: a maximum may lose it. */
float rectified(float x)
{
    return is_finite(x) ? max(x, 0.0) : nan();
}

float performer_relu_feature(uint row, uint i)
{
    return rectified(projected(row, i)) + 1e-3;
}

/* sin(pi/2 z), 0 <= z <= 1, by its series up to z^13: the built-in is only good to 2^-11. */
float quarter_sine(float z)
{
    const float x = 1.57079632679 * z, x2 = x * x;
    float p = 1.6059043837e-10;
    p = p * x2 - 2.5052108385e-8;
    p = p * x2 + 2.7557319224e-6;
    p = p * x2 - 1.9841269841e-4;
    p = p * x2 + 8.3333333333e-3;
    p = p * x2 - 1.6666666667e-1;
    return x + x * (x2 * p);
}

#ifndef WITHOUT_PLACES
/* A token beyond the largest number is NaN: its cosine would be negative. */
float cosformer_feature(uint row, uint i)
{
    const uint at = place(row) + 1;
    const uint part = i < WIDTH ? push.max_tokens - at : at; /* cos(x) = sin(pi/2 - x) */
    const float turn = quarter_sine(float(part) / float(push.max_tokens));
    return at > push.max_tokens ? nan() : rectified(projected(row, i < WIDTH ? i : i - WIDTH)) * turn;
}
#endif

/* ln(elu(x) + 1) */
float elu_feature(uint row, uint i)
{
    const float x = projected(row, i);
    return !is_finite(x) ? nan() : x < 0.0 ? x : precise_log(1.0 + x);
}

float elu_value_feature(uint row, uint i)
{
    const float x = projected(row, i);
    return x < 0.0 ? exponential(x) : 1.0 + x;
}

float feature(uint row, uint i)
{
    float a;
    switch (FEATURE) {
    case DJ_FEATURE_PERFORMER_RELU:
        a = performer_relu_feature(row, i);
        break;
#ifndef WITHOUT_PLACES
    case DJ_FEATURE_COSFORMER:
        a = cosformer_feature(row, i);
        break;
#endif
    case DJ_FEATURE_ELU:
        a = elu_feature(row, i);
        break;
    case DJ_FEATURE_ELU_VALUE:
        a = elu_value_feature(row, i);
        break;
    case DJ_FEATURE_RELU:
        a = rectified(projected(row, i));
        break;
    case DJ_FEATURE_IDENTITY:
        a = projected(row, i);
        break;
    default:
        a = exponential_feature(row, i);
    }
    return a;
}
