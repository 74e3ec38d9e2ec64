/* SPDX-License-Identifier: MIT */
/* Powers of a head's decay. The including shader declares DECAY and decay, of vec4. */

/* (mantissa, exponent, low part of the mantissa) of gamma^n, n = 0 .. DJ_TILE_TOKENS. */
vec3 decay_power(uint head, uint n)
{
    return DECAY ? decay.data[head * DJ_DECAY_POWERS + n].xyz : vec3(1.0, 0.0, 0.0);
}

/* (mantissa, exponent) of gamma^-n, n = 0 .. DJ_TILE_TOKENS. */
vec2 decay_growth(uint head, uint n)
{
    return DECAY ? decay.data[head * DJ_DECAY_POWERS + DJ_TILE_TOKENS + 1 + n].xy : vec2(1.0, 0.0);
}
