/* SPDX-License-Identifier: MIT */
/* From a row's sum to its output. The including shader declares the constant DENOMINATOR. */

/* scale: factors that a sum's exponents and its decay left out, of which 2^c, in two halves, may
 * overflow where the product does not. */
vec4 unscaled(vec4 x, vec3 scale)
{
    return x * scale.x * scale.y * scale.z;
}

/* num, with den up to that scale, to what is asked for. */
vec4 finish(vec4 num, float den, vec3 scale)
{
    if (DENOMINATOR == DJ_DENOMINATOR_NONE)
        return unscaled(num, scale);
    if (den == 0.0) /* no key was seen */
        return vec4(0.0);
    if (DENOMINATOR != DJ_DENOMINATOR_PLAIN && unscaled(vec4(den), scale).x < 1e-6)
        return DENOMINATOR == DJ_DENOMINATOR_ZERO ? vec4(0.0) : unscaled(num, scale) * 1e6;
    return num / den;
}
