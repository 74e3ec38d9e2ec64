/* SPDX-License-Identifier: MIT */
/* Powers of a head's decay. The including shader declares DECAY and decay, of vec4, and defines
 * DECAY_SPAN, the tokens that the table is for. */

/* (mantissa, exponent, low part of the mantissa) of gamma^n, n = 0 .. DECAY_SPAN. */
vec3 decay_power(uint head, uint n)
{
    return DECAY ? decay.data[head * DJ_DECAY_POWERS(DECAY_SPAN) + n].xyz : vec3(1.0, 0.0, 0.0);
}

/* (mantissa, exponent) of gamma^-n, n = 0 .. DECAY_SPAN. */
vec2 decay_growth(uint head, uint n)
{
    return DECAY ? decay.data[head * DJ_DECAY_POWERS(DECAY_SPAN) + DECAY_SPAN + 1 + n].xy : vec2(1.0, 0.0);
}
