#version 450
/* SPDX-License-Identifier: MIT */
/* Phase 1 of the tiled prefix sum: for each tile of keys and values
 *   P[f]    = max_j (exponent of phi_j[f] + exponent of gamma^-j)
 *   z[f]    = sum_j |phi_j[f]| gamma^-j 2^-P[f]
 *   S[f][c] = sum_j phi_j[f] gamma^-j 2^-P[f] v_j[c]
 * with j the token's place in the tile. Decay is so turned into growth of later keys, which the
 * exponents absorb at any strength.
 *
 * Workgroup (x, y, z): tile, sequence and head, block of 32 features x 64 columns.
 * Invocation t: 8 features 8 * (t / 16) .., 4 columns 4 * (t % 16) ..
 * Writes S, z and P of a tile record (kernels.h). */
#extension GL_GOOGLE_include_directive : require
#include "kernels.h"
#include "bindings.glsl"
#include "logscale.glsl"

layout(local_size_x = DJ_TILE_THREADS) in;
layout(constant_id = 0) const uint FEATURES = 64;
layout(constant_id = 1) const uint VALUE_DIM = 64;
layout(constant_id = 2) const bool DECAY = false;
layout(constant_id = 3) const bool LINEAR = false;
layout(constant_id = 4) const uint V_TYPE = DJ_ELEMENT_FLOAT32;

PUSH(tile_sum_push)
BUFFER(0, readonly, Keys, float, keys)
BUFFER(1, readonly, Values, uint, values)
BUFFER(2, writeonly, Tiles, float, tiles)
BUFFER(3, readonly, Decay, vec4, decay)
#define SPANS 4
#include "decay.glsl"
#include "elements.glsl"
#include "feature.glsl"
#include "spans.glsl"

shared vec4 key[DJ_TILE_TOKENS][DJ_TILE_FEATURES / 4];
shared vec4 value[DJ_TILE_TOKENS][DJ_TILE_VALUES / 4];
shared float partial[2][DJ_TILE_FEATURES];

void load_tile(uint sequence_head, uint first_token, uint count, uint f0, uint c0)
{
    const uint t = gl_LocalInvocationID.x;
    const uint keys_base = (sequence_head * push.tokens + first_token) * FEATURES;
    for (uint i = t; i < DJ_TILE_TOKENS * DJ_TILE_FEATURES; i += DJ_TILE_THREADS) {
        const uint j = i / DJ_TILE_FEATURES, f = i % DJ_TILE_FEATURES;
        const bool inside = j < count && f0 + f < FEATURES;
        key[j][f / 4][f % 4] = inside ? keys.data[keys_base + j * FEATURES + f0 + f] : MASKED;
    }
    const uint values_base = push.v_base + sequence_head / push.heads * push.v_stride[0] +
                             sequence_head % push.heads * push.v_stride[1] +
                             (span_row(sequence_head / push.heads) + first_token) * push.v_stride[2];
    for (uint i = t; i < DJ_TILE_TOKENS * DJ_TILE_VALUES; i += DJ_TILE_THREADS) {
        const uint j = i / DJ_TILE_VALUES, c = i % DJ_TILE_VALUES;
        const bool inside = j < count && c0 + c < VALUE_DIM;
        value[j][c / 4][c % 4] =
            inside ? ELEMENT(values, V_TYPE, values_base + j * push.v_stride[2] + c0 + c) : 0.0;
    }
}

/* Replaces the features in key by weights; returns the feature's P and z to all invocations of the
 * same feature. */
vec2 weigh_keys(uint head)
{
    const uint f = gl_LocalInvocationID.x % DJ_TILE_FEATURES;
    const uint half_tile = gl_LocalInvocationID.x / DJ_TILE_FEATURES;
    const uint first = half_tile * (DJ_TILE_TOKENS / 2);
    float largest = EMPTY;
    for (uint j = first; j < first + DJ_TILE_TOKENS / 2; j++)
        largest = max(largest, exponent_for_max(key[j][f / 4][f % 4]) + decay_growth(head, j).y);
    partial[half_tile][f] = largest;
    barrier();
    largest = max(partial[0][f], partial[1][f]);
    barrier();

    float sum = 0.0;
    for (uint j = first; j < first + DJ_TILE_TOKENS / 2; j++) {
        const vec2 g = decay_growth(head, j);
        const float weight = g.x * scaled_feature(key[j][f / 4][f % 4], g.y, largest);
        key[j][f / 4][f % 4] = weight;
        sum += abs(weight);
    }
    partial[half_tile][f] = sum;
    barrier();
    return vec2(largest, partial[0][f] + partial[1][f]);
}

void main()
{
    const uint t = gl_LocalInvocationID.x;
    const uint tile = gl_WorkGroupID.x, sequence_head = gl_WorkGroupID.y;
    const uint value_blocks = (VALUE_DIM + DJ_TILE_VALUES - 1) / DJ_TILE_VALUES;
    const uint f0 = gl_WorkGroupID.z / value_blocks * DJ_TILE_FEATURES;
    const uint c0 = gl_WorkGroupID.z % value_blocks * DJ_TILE_VALUES;
    const uint first_token = tile * DJ_TILE_TOKENS;
    const uint tokens = span_tokens(sequence_head / push.heads);
    if (first_token >= tokens)
        return;
    const uint count = min(tokens - first_token, DJ_TILE_TOKENS);
    const uint record = (sequence_head * push.tiles + tile) * DJ_RECORD_SIZE(FEATURES, VALUE_DIM);

    load_tile(sequence_head, first_token, count, f0, c0);
    barrier();
    const vec2 scale_and_norm = weigh_keys(push.first_head + sequence_head % push.heads);
    if (c0 == 0 && t < DJ_TILE_FEATURES && f0 + t < FEATURES) {
        tiles.data[record + DJ_RECORD_NORM(FEATURES, VALUE_DIM) + f0 + t] = scale_and_norm.y;
        tiles.data[record + DJ_RECORD_PEAK(FEATURES, VALUE_DIM) + f0 + t] = scale_and_norm.x;
    }

    const uint row = t / 16, column = t % 16;
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
    for (uint i = 0; i < 8; i++) {
        const uint f = f0 + row * 8 + i;
        if (f < FEATURES) {
            for (uint n = 0; n < 4; n++)
                tiles.data[record + f * VALUE_DIM + c0 + column * 4 + n] = sums[i][n];
        }
    }
}
