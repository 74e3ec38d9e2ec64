/* SPDX-License-Identifier: MIT */
/* The product of tile_sum.comp, by cooperative matrices: weights by values, these shifted by what the
 * largest of the block asks for. */
#include "matrix.glsl"

shared uint largest_value; /* its size, as bits */

/* Returns the weight as it is kept. */
float keep_weight(uint f, uint j, float weight)
{
    const float16_t rounded = float16_t(weight * WEIGHT_SCALE);
    left[f * LEFT_STRIDE + j] = rounded;
    return float(rounded) * WEIGHT_UNSCALE;
}

void load_values(uint base, uint count, uint c0)
{
    const uint t = gl_LocalInvocationID.x, c = c0 + t;
    const uint seen = c < VALUE_DIM ? count : 0;
    if (t == 0)
        largest_value = 0;
    barrier();
    float largest = 0.0;
    for (uint j = 0; j < seen; j++)
        largest = larger(largest, tile_value(base, j, c));
    RAISE(largest_value, floatBitsToUint(largest));
    barrier();
    const float up = exp2i(half_shift(uintBitsToFloat(largest_value)));
    for (uint j = 0; j < DJ_TILE_TOKENS; j++)
        right[j * RIGHT_STRIDE + t] = j < seen ? float16_t(tile_value(base, j, c) * up) : float16_t(0.0);
}

void write_sums(uint record, uint count, uint f0, uint c0)
{
    const uint t = gl_LocalInvocationID.x, c = c0 + t;
    const float down = exp2i(-half_shift(uintBitsToFloat(largest_value)));
    start_products();
    add_products(WIDTH);
    store_products(WIDTH);
    barrier();
    for (uint f = 0; c < VALUE_DIM && f < DJ_TILE_FEATURES && f0 + f < FEATURES; f++)
        tiles.data[record + (f0 + f) * VALUE_DIM + c] = products[f * WIDTH + t] * WEIGHT_UNSCALE * down;
}
