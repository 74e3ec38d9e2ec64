/* SPDX-License-Identifier: MIT */
/* The products of tile_output.comp, by cooperative matrices. Sums before the tile, and values, are shifted
 * by what their largest in the block of columns asks for, a row's scores by their own largest; a
 * value that is not a finite number is left out of the product, and multiplied by itself. */
#include "matrix.glsl"

/* Bits, of which a float16 factor may lose as many in its upper range and still have 11. */
const float GROWTH = 14.0;

shared uint largest_sum, largest_value; /* of absolute values, as bits */
shared uint spoiled;                    /* 1: a value is not finite */
shared float row_shift[DJ_TILE_TOKENS];

/* The invocation's scores, [key][row]. */
vec4 block[4];

/* Features as they are, for the pairwise form. */
#define ROW_FEATURE(f, row) products[(f) * WIDTH + (row)]
#define KEY_FEATURE(f, j) products[(f) * WIDTH + DJ_TILE_TOKENS + (j)]

void set_row(uint f, uint row, float weight)
{
    left[row * LEFT_STRIDE + f] = float16_t(weight * WEIGHT_SCALE);
}

void set_key(uint f, uint j, float weight)
{
    right[f * RIGHT_STRIDE + j] = float16_t(weight * WEIGHT_SCALE);
}

/* As it was rounded. */
float row_weight(uint f, uint row)
{
    return float(left[row * LEFT_STRIDE + f]) * WEIGHT_UNSCALE;
}

void start_scores()
{
    start_products();
}

void add_scores(uint features, uint row, uint key_block)
{
    add_products(DJ_TILE_TOKENS);
}

void take_scores(uint row, uint key_block)
{
    store_products(DJ_TILE_TOKENS);
    barrier();
    for (uint i = 0; i < 16; i++)
        block[i / 4][i % 4] = products[(row * 4 + i % 4) * WIDTH + key_block * 4 + i / 4] *
                              (WEIGHT_UNSCALE * WEIGHT_UNSCALE);
}

/* Scores as float16 has them, so that numerators and denominators have the same; two invocations share a
 * row. */
void round_scores()
{
    const uint row = gl_LocalInvocationID.x % DJ_TILE_TOKENS;
    const uint part = gl_LocalInvocationID.x / DJ_TILE_TOKENS;
    const uint first = part * (DJ_TILE_TOKENS / 2), end = first + DJ_TILE_TOKENS / 2;
    float largest = 0.0;
    for (uint j = first; j < end; j++)
        largest = larger(largest, score[j][row / 4][row % 4]);
    partial[part][row] = largest;
    barrier();
    const float shift = half_shift(max(partial[0][row], partial[1][row]));
    const float up = exp2i(shift), down = exp2i(-shift);
    for (uint j = first; j < end; j++)
        score[j][row / 4][row % 4] = float(float16_t(score[j][row / 4][row % 4] * up)) * down;
    if (part == 0)
        row_shift[row] = shift;
    barrier();
}

void start_states(uint c0)
{
    const uint c = c0 + gl_LocalInvocationID.x;
    if (gl_LocalInvocationID.x == 0)
        largest_sum = 0;
    barrier();
    float largest = 0.0;
    for (uint f = 0; c < VALUE_DIM && f < FEATURES; f++)
        largest = larger(largest, sum_before(f, c));
    RAISE(largest_sum, floatBitsToUint(largest));
    start_products();
}

float state_shift()
{
    return half_shift(uintBitsToFloat(largest_sum));
}

void load_states(uint f0, uint c0)
{
    const uint c = c0 + gl_LocalInvocationID.x;
    const float up = exp2i(state_shift());
    for (uint f = 0; f < DJ_TILE_FEATURES; f++) {
        const float s = c < VALUE_DIM && f0 + f < FEATURES ? sum_before(f0 + f, c) * up : 0.0;
        right[f * RIGHT_STRIDE + gl_LocalInvocationID.x] = float16_t(s);
    }
}

void add_states(uint f0, uint row, uint c, inout vec4 sums[8])
{
    add_products(WIDTH);
}

/* Adds the products of the invocation's rows and columns, times 2^-shift. */
void take_products(uint row, float shift, inout vec4 sums[8])
{
    const uint column = gl_LocalInvocationID.x % 16 * 4;
    const float down = exp2i(-shift);
    store_products(WIDTH);
    barrier();
    for (uint i = 0; i < 8; i++)
        for (uint n = 0; n < 4; n++)
            sums[i][n] += products[(row + i) * WIDTH + column + n] * down;
}

void take_states(uint row, inout vec4 sums[8])
{
    take_products(row, state_shift(), sums);
    for (uint i = 0; i < 8; i++)
        sums[i] *= WEIGHT_UNSCALE;
}

/* Column c of the tile's value j. */
float tile_value(uint base, uint j, uint c)
{
    return j < count && c < VALUE_DIM ? ELEMENT(values, V_TYPE, base + j * push.v_stride[2] + c) : 0.0;
}

/* The scores, and 64 columns of the values, as factors; returns the values' shift. */
float load_values(uint values_base, uint c0)
{
    const uint t = gl_LocalInvocationID.x, c = c0 + t, row = t % DJ_TILE_TOKENS;
    if (t == 0)
        largest_value = spoiled = 0;
    barrier();
    const float row_up = exp2i(row_shift[row]);
    for (uint j = t / DJ_TILE_TOKENS; j < DJ_TILE_TOKENS; j += 2)
        left[row * LEFT_STRIDE + j] = float16_t(score[j][row / 4][row % 4] * row_up);
    float largest = 0.0;
    for (uint j = 0; j < count; j++) {
        const float v = tile_value(values_base, j, c);
        largest = larger(largest, v);
        if (!is_finite(v))
            FLAG(spoiled);
    }
    RAISE(largest_value, floatBitsToUint(largest));
    barrier();
    const float shift = half_shift(uintBitsToFloat(largest_value)), up = exp2i(shift);
    for (uint j = 0; j < DJ_TILE_TOKENS; j++) {
        const float v = tile_value(values_base, j, c);
        right[j * RIGHT_STRIDE + t] = is_finite(v) ? float16_t(v * up) : float16_t(0.0);
    }
    barrier();
    return shift;
}

/* Adds what the tile's own keys see. */
void add_values(uint values_base, uint c0, uint row, uint c, inout vec4 sums[8])
{
    const float shift = load_values(values_base, c0);
    vec4 own[8];
    for (uint i = 0; i < 8; i++)
        own[i] = vec4(0.0);
    start_products();
    add_products(WIDTH);
    take_products(row, shift, own);
    for (uint i = 0; i < 8; i++)
        sums[i] += own[i] * exp2i(-row_shift[row + i]);
    if (spoiled == 0)
        return;
    for (uint j = 0; j < min(row + 8, count); j++) {
        for (uint i = 0; i < 32; i++) {
            const uint r = row + i / 4;
            const float v = tile_value(values_base, j, c + i % 4);
            if (j <= r && !is_finite(v))
                sums[i / 4][i % 4] += score[j][r / 4][r % 4] * v;
        }
    }
}
