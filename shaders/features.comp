#version 450
/* SPDX-License-Identifier: MIT */
/* Projected rows to features (maps.glsl): logarithms, or values where the map is linear. On top of that
 *   softmax        a[i] -= ln sum_f exp(a[f])
 *   key-normalised a[i] -= ln sum_f D[f] exp(a[f]), so that phi(0) . phi(k) = 1
 *   position scales multiply values by a number of the row's head and place.
 * A workgroup maps DJ_FEATURE_ROWS rows, DJ_FEATURE_LANES invocations each. */
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "kernels.h"
#include "bindings.glsl"
#include "logscale.glsl"

layout(local_size_x = DJ_FEATURE_ROWS * DJ_FEATURE_LANES) in;
layout(constant_id = 0) const uint WIDTH = 64; /* of a projected row */
layout(constant_id = 1) const uint FEATURES = 64;
layout(constant_id = 2) const uint FEATURE = DJ_FEATURE_EXPONENTIAL;
layout(constant_id = 3) const bool KEY_NORMALISE = false;

PUSH(features_push)
BUFFER(0, readonly, Projected, float, projected_rows)
BUFFER(1, readonly, Scale, float, scale)
BUFFER(2, readonly, Tables, float, tables)
BUFFER(3, writeonly, Features, float, features)
BUFFER(5, readonly, Positions, float, position_scale)
#define SPANS 4
#include "spans.glsl"

const bool SUMMED =
    KEY_NORMALISE || FEATURE == DJ_FEATURE_SOFTMAX || FEATURE == DJ_FEATURE_SOFTMAX_VALUE;

shared float partial[DJ_FEATURE_ROWS * DJ_FEATURE_LANES];

uint table; /* of the row's head */

float frequency(uint i)
{
    return tables.data[table + i];
}

float log_weight(uint i)
{
    return tables.data[push.weights + table + i];
}

float projected(uint row, uint i)
{
    return scale.data[i] *
           projected_rows.data[i / WIDTH * push.block_stride + row * WIDTH + i % WIDTH];
}

float square_sum(uint row)
{
    return push.squares == 0 ? 0.0 : push.square_factor * projected_rows.data[push.squares + row];
}

uint place(uint row)
{
    return span_place(row / (push.tokens * push.heads)) + row % push.tokens;
}

#include "maps.glsl"

/* What the sum is over, as a logarithm. */
float summand(uint row, uint i)
{
    return feature(row, i) + (KEY_NORMALISE ? log_weight(i) : 0.0);
}

float log_sum_exp(uint row)
{
    const uint lane = gl_LocalInvocationID.x % DJ_FEATURE_LANES;
    const uint first = gl_LocalInvocationID.x - lane;
    float largest = -3.0e38;
    for (uint i = lane; i < FEATURES; i += DJ_FEATURE_LANES)
        largest = max(largest, summand(row, i));
    partial[gl_LocalInvocationID.x] = largest;
    barrier();
    [[dont_unroll]] for (uint l = 0; l < DJ_FEATURE_LANES; l++)
        largest = max(largest, partial[first + l]);
    barrier();

    float sum = 0.0;
    for (uint i = lane; i < FEATURES; i += DJ_FEATURE_LANES)
        sum += exponential(summand(row, i) - largest);
    partial[gl_LocalInvocationID.x] = sum;
    barrier();
    sum = 0.0;
    [[dont_unroll]] for (uint l = 0; l < DJ_FEATURE_LANES; l++)
        sum += partial[first + l];
    return largest + precise_log(sum);
}

/* The row's factor; NaN beyond the last place that has one. */
float position_factor(uint row)
{
    if (push.scales == 0)
        return 1.0;
    const uint at = place(row);
    const uint head = push.scales_head + row / push.tokens % push.heads;
    if (at >= push.scales)
        return nan();
    return position_scale.data[push.scales_base + head * push.scales_stride + at];
}

void main()
{
    /* the dispatch is folded into two axes: whole workgroups may be left over */
    const uint group = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    if (group * DJ_FEATURE_ROWS >= push.rows)
        return;
    const uint lane = gl_LocalInvocationID.x % DJ_FEATURE_LANES;
    const uint my_row = group * DJ_FEATURE_ROWS + gl_LocalInvocationID.x / DJ_FEATURE_LANES;
    /* rows beyond the last are read as the last one: barriers below need all invocations */
    const uint row = min(my_row, push.rows - 1);
    table = (push.first_head + row / push.tokens % push.heads / push.group) * push.head_stride;

    const float shift = SUMMED ? log_sum_exp(row) : 0.0;
    if (my_row >= push.rows)
        return;
    const float factor = position_factor(row);
    for (uint i = lane; i < FEATURES; i += DJ_FEATURE_LANES) {
        float a = feature(row, i);
        if (SUMMED)
            a -= shift;
        if (FEATURE == DJ_FEATURE_SOFTMAX_VALUE)
            a = exponential(a);
        features.data[row * FEATURES + i] = a * factor;
    }
}
