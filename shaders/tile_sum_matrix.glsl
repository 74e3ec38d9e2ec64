/* SPDX-License-Identifier: MIT */
/* The product of tile_sum.comp, by cooperative matrices: weights by values, these shifted by what the
 * largest of their column asks for. */

float value_shift; /* of the invocation's column */

/* Returns the weight as it is kept. */
float keep_weight(uint f, uint j, float weight)
{
    const float16_t rounded = float16_t(weight * WEIGHT_SCALE);
    left[f * LEFT_STRIDE + j] = rounded;
    return float(rounded) * WEIGHT_UNSCALE;
}

void load_values(uint base, uint count, uint c0)
{
    const uint c = c0 + gl_LocalInvocationID.x, seen = c < VALUE_DIM ? count : 0;
    float largest = 0.0;
    for (uint j = 0; j < seen; j++)
        largest = larger(largest, tile_value(base, j, c));
    value_shift = half_shift(largest);
    const float up = exp2i(value_shift);
    for (uint j = 0; j < SIDE; j++)
        set_term(j, j < seen ? tile_value(base, j, c) * up : 0.0);
}

void write_sums(uint record, uint count, uint f0, uint c0)
{
    const uint t = gl_LocalInvocationID.x, c = c0 + t;
    const float down = exp2i(-value_shift);
    SUMS(sums);
    START_PRODUCTS(sums)
    ADD_PRODUCTS(sums, WIDTH)
    STORE_PRODUCTS(sums, WIDTH)
    barrier();
    for (uint f = 0; c < VALUE_DIM && f < DJ_TILE_FEATURES && f0 + f < FEATURES; f++) {
        const uint at = record + (f0 + f) * VALUE_DIM + c;
        tiles.data[at / 4][at % 4] = products[f * WIDTH + t] * WEIGHT_UNSCALE * down;
    }
}
