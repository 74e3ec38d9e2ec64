/* SPDX-License-Identifier: MIT */
/* What the three phases leave for each other in scratch memory, one record per tile, and the powers of
 * the decay they share. The including shader declares DIM, VALUE_DIM, DECAY and `vec2 decay[]`.
 *
 *   offset             floats   written by      contents
 *   0                  m e      sum, then scan  the tile's S; then the sums before the tile
 *   RECORD_NORM        m        sum             the tile's z
 *   RECORD_PEAK        m        sum             P, exponent of both
 *   RECORD_BEFORE_NORM m        scan            norms before the tile
 *   RECORD_BEFORE_PEAK m        scan            M, exponent of the sums and norms before the tile
 *
 * What is "before" is brought forward to the tile's first token: multiplied by gamma once more. */
const uint RECORD_NORM = DIM * VALUE_DIM;
const uint RECORD_PEAK = RECORD_NORM + DIM;
const uint RECORD_BEFORE_NORM = RECORD_PEAK + DIM;
const uint RECORD_BEFORE_PEAK = RECORD_BEFORE_NORM + DIM;
const uint RECORD_SIZE = RECORD_BEFORE_PEAK + DIM;

/* (mantissa, exponent) of gamma^n, n = 0 .. DJ_TILE_TOKENS. */
vec2 decay_power(uint head, uint n)
{
    return DECAY ? decay[head * DJ_DECAY_PAIRS + n] : vec2(1.0, 0.0);
}

/* (mantissa, exponent) of gamma^-n, n = 0 .. DJ_TILE_TOKENS. */
vec2 decay_growth(uint head, uint n)
{
    return DECAY ? decay[head * DJ_DECAY_PAIRS + DJ_TILE_TOKENS + 1 + n] : vec2(1.0, 0.0);
}
