/* SPDX-License-Identifier: MIT */
/* The product of tile_sum.comp, of float32 factors in shared memory. */
#include "walk.glsl"

shared vec4 value[DJ_TILE_TOKENS][DJ_TILE_VALUES / 4];

/* Returns the weight as it is kept. */
float keep_weight(uint f, uint j, float weight)
{
    key[j][f / 4][f % 4] = weight;
    return weight;
}

/* An invocation's values are of one column: there are as many as DJ_TILE_VALUES. */
void load_values(uint base, uint count, uint c0)
{
    const uint c = gl_LocalInvocationID.x, column = min(c0 + c, VALUE_DIM - 1);
    [[dont_unroll]] for (uint first = 0; first < DJ_TILE_TOKENS; first += AHEAD) {
        float v[AHEAD];
        [[unroll]] for (uint i = 0; i < AHEAD; i++)
            v[i] = tile_value(base, min(first + i, count - 1), column);
        [[unroll]] for (uint i = 0; i < AHEAD; i++)
            value[first + i][c / 4][c % 4] = first + i < count && c0 + c < VALUE_DIM ? v[i] : 0.0;
    }
}

void write_sums(uint record, uint count, uint f0, uint c0)
{
    const uint row = gl_LocalInvocationID.x / 16, column = gl_LocalInvocationID.x % 16;
    vec4 sums[8];
    for (uint i = 0; i < 8; i++)
        sums[i] = vec4(0.0);
    for (uint j = 0; j < count; j++) {
        const vec4 v = value[j][column];
        const vec4 low = key[j][row * 2], high = key[j][row * 2 + 1];
        for (uint i = 0; i < 4; i++) {
            sums[i] += low[i] * v;
            sums[4 + i] += high[i] * v;
        }
    }
    if (c0 + column * 4 >= VALUE_DIM)
        return;
    const uint first = f0 + row * 8;
    for (uint f = first; f < min(first + 8, FEATURES); f++) {
        tiles.data[(record + f * VALUE_DIM + c0) / 4 + column] = sums[0];
        NEXT(sums)
    }
}
