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
 * Invocation t: 8 features 8 * (t / 16) .., 4 columns 4 * (t % 16) .. With MATRIX: column t, all features,
 * of the product of cooperative matrices.
 * Writes S, z and P of a tile record (kernels.h). */
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "kernels.h"
#include "bindings.glsl"
#include "logscale.glsl"
#ifdef MATRIX
#include "matrix.glsl"
#endif

layout(local_size_x = DJ_TILE_THREADS) in;
layout(constant_id = 0) const uint FEATURES = 64;
layout(constant_id = 1) const uint VALUE_DIM = 64;
layout(constant_id = 2) const bool DECAY = false;
layout(constant_id = 3) const bool LINEAR = false;
layout(constant_id = 4) const uint V_TYPE = DJ_ELEMENT_FLOAT32;
layout(constant_id = 5) const uint AHEAD = 1; /* loads that an invocation has under way at once: 1, 2, 4, 8 */

PUSH(tile_sum_push)
BUFFER(0, readonly, Keys, float, keys)
BUFFER(1, readonly, Values, uint, values)
BUFFER_ALIGNED(2, writeonly, Tiles, vec4, tiles, 16) /* scratch memory is aligned */
BUFFER(3, readonly, Decay, vec4, decay)
#define SPANS 4
#define DECAY_SPAN DJ_TILE_TOKENS
#include "decay.glsl"
#define VECTORS (AHEAD > 1)
#include "elements.glsl"
#include "feature.glsl"
#include "spans.glsl"

shared vec4 key[DJ_TILE_TOKENS][DJ_TILE_FEATURES / 4];
shared float partial[2][DJ_TILE_FEATURES];

float tile_value(uint base, uint j, uint c)
{
    return ELEMENT(values, V_TYPE, base + j * push.v_stride[2] + c);
}

#ifdef MATRIX
#include "tile_sum_matrix.glsl"
#else
#include "tile_sum_plain.glsl"
#endif

void load_keys(uint base, uint count, uint f0)
{
    const uint rows = DJ_TILE_THREADS / DJ_TILE_FEATURES; /* loaded at once; an invocation's are of one feature */
    const uint f = gl_LocalInvocationID.x % DJ_TILE_FEATURES, from = base + min(f0 + f, FEATURES - 1);
    [[dont_unroll]]
    for (uint first = gl_LocalInvocationID.x / DJ_TILE_FEATURES; first < DJ_TILE_TOKENS; first += rows * AHEAD) {
        float a[AHEAD];
        [[unroll]] for (uint i = 0; i < AHEAD; i++)
            a[i] = keys.data[from + min(first + rows * i, count - 1) * FEATURES];
        [[unroll]] for (uint i = 0; i < AHEAD; i++) {
            const uint j = first + rows * i;
            key[j][f / 4][f % 4] = j < count && f0 + f < FEATURES ? a[i] : MASKED;
        }
    }
}

/* From features to weights; returns the feature's P and z to all invocations of the
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
        sum += abs(keep_weight(f, j, g.x * scaled_feature(key[j][f / 4][f % 4], g.y, largest)));
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

    const uint sequence = sequence_head / push.heads;
    load_keys((sequence_head * push.tokens + first_token) * FEATURES, count, f0);
    load_values(push.v_base + sequence * push.v_stride[0] + sequence_head % push.heads * push.v_stride[1] +
                    (span_row(sequence) + first_token) * push.v_stride[2],
                count, c0);
    barrier();
    const vec2 scale_and_norm = weigh_keys(push.first_head + sequence_head % push.heads);
    if (c0 == 0 && t < DJ_TILE_FEATURES && f0 + t < FEATURES) {
        const uint norm = record + DJ_RECORD_NORM(FEATURES, VALUE_DIM) + f0 + t;
        const uint peak = record + DJ_RECORD_PEAK(FEATURES, VALUE_DIM) + f0 + t;
        tiles.data[norm / 4][norm % 4] = scale_and_norm.y;
        tiles.data[peak / 4][peak % 4] = scale_and_norm.x;
    }

    write_sums(record, count, f0, c0);
}
