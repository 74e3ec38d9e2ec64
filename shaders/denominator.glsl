/* SPDX-License-Identifier: MIT */
/* From a row's sum to its output. The including shader declares the constant DENOMINATOR. */

/* scale: factors that a sum's exponents and its decay left out, of which 2^c, in two halves, may
 * overflow where the product does not: one by one, as a compiler might else multiply them first. */
vec4 unscaled(vec4 x, vec3 scale)
{
    precise vec4 y = x * scale.x;
    y = y * scale.y;
    y = y * scale.z;
    return y;
}

/* The same over 1e-6. x 2^c alone may be below the normal numbers, and a device take it for 0, where the
 * quotient is not. */
vec4 unscaled_over_least(vec4 x, vec3 scale)
{
    return unscaled(x, vec3(scale.x, scale.y * 1e6, scale.z));
}

/* Whether a denominator counts as none. */
bool is_least(float den, vec3 scale)
{
    return DENOMINATOR != DJ_DENOMINATOR_PLAIN && unscaled(vec4(den), scale).x < 1e-6;
}

/* num, with den up to that scale, to what is asked for. */
vec4 finish(vec4 num, float den, vec3 scale)
{
    if (DENOMINATOR == DJ_DENOMINATOR_NONE)
        return unscaled(num, scale);
    if (den == 0.0) /* no key was seen */
        return vec4(0.0);
    if (is_least(den, scale))
        return DENOMINATOR == DJ_DENOMINATOR_ZERO ? vec4(0.0) : unscaled_over_least(num, scale);
    return num / den;
}
