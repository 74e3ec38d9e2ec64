#version 450
/* SPDX-License-Identifier: MIT */
/* Transformed rows to logarithms of features, in place:
 *   WDCF         a[i] = ln D[i] + t[i] y[i]
 *   softmax-DCT  a[i] = t[i] y[i] - ln sum_f exp(t[f] y[f])
 * with y[i] = scale[i] * row[i] the orthonormal transform. A workgroup maps DJ_FEATURE_ROWS
 * rows, DJ_FEATURE_LANES invocations each. */
#extension GL_GOOGLE_include_directive : require
#include "kernels.h"
#include "logscale.glsl"

layout(local_size_x = DJ_FEATURE_ROWS * DJ_FEATURE_LANES) in;
layout(constant_id = 0) const uint DIM = 64;
layout(constant_id = 1) const bool SOFTMAX = false;

layout(push_constant) uniform Push { features_push push; };
layout(set = 0, binding = 0) buffer Rows { float rows[]; };
layout(set = 0, binding = 1) readonly buffer Scale { float scale[]; };
layout(set = 0, binding = 2) readonly buffer Tables { float tables[]; };

shared float partial[DJ_FEATURE_ROWS * DJ_FEATURE_LANES];

float log_feature(uint row, uint i, uint table)
{
    const float y = scale[i] * rows[row * DIM + i];
    return tables[push.weights + table + i] + tables[table + i] * y;
}

/* ln s for s in [1, 2^10]: the built-in is only good to 2^-21 near 1; one Newton step mends it. */
float precise_log(float s)
{
    const float guess = log(s);
    float n;
    const float mantissa = split_exp(-guess, n);
    return guess + (s * (mantissa * exp2i(n)) - 1.0);
}

float log_sum_exp(uint row, uint table)
{
    const uint lane = gl_LocalInvocationID.x % DJ_FEATURE_LANES;
    const uint first = gl_LocalInvocationID.x - lane;
    float largest = -3.0e38;
    for (uint i = lane; i < DIM; i += DJ_FEATURE_LANES)
        largest = max(largest, log_feature(row, i, table));
    partial[gl_LocalInvocationID.x] = largest;
    barrier();
    for (uint l = 0; l < DJ_FEATURE_LANES; l++)
        largest = max(largest, partial[first + l]);
    barrier();

    float sum = 0.0;
    for (uint i = lane; i < DIM; i += DJ_FEATURE_LANES)
        sum += scaled_exp(max(log_feature(row, i, table) - largest, -1000.0), 0.0, 0.0);
    partial[gl_LocalInvocationID.x] = sum;
    barrier();
    sum = 0.0;
    for (uint l = 0; l < DJ_FEATURE_LANES; l++)
        sum += partial[first + l];
    return largest + precise_log(sum);
}

void main()
{
    /* the dispatch is folded into two axes: whole workgroups may be left over */
    if ((gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x) * DJ_FEATURE_ROWS >= push.rows)
        return;
    const uint lane = gl_LocalInvocationID.x % DJ_FEATURE_LANES;
    const uint row = (gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x) * DJ_FEATURE_ROWS +
                     gl_LocalInvocationID.x / DJ_FEATURE_LANES;
    /* rows beyond the last are read as the last one: barriers below need all invocations */
    const uint valid_row = min(row, push.rows - 1);
    const uint head = push.first_head + valid_row / push.tokens % push.heads;
    const uint table = head * push.head_stride;

    float shift = 0.0;
    if (SOFTMAX) {
        shift = log_sum_exp(valid_row, table);
        barrier();
    }
    if (row < push.rows) {
        for (uint i = lane; i < DIM; i += DJ_FEATURE_LANES)
            rows[row * DIM + i] = log_feature(row, i, table) - shift;
    }
}
