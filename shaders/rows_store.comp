#version 450
/* SPDX-License-Identifier: MIT */
/* Scatters packed rows to the rows of a view: y[row][i] = packed[row][i] * scale[i]. */
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "kernels.h"
#include "bindings.glsl"

layout(local_size_x = DJ_ROWS_THREADS) in;

PUSH(rows_store_push)
BUFFER(0, readonly, Packed, float, packed)
BUFFER(1, readonly, Scale, float, scale)
BUFFER(2, writeonly, Target, float, target)

#define SPANS 3
#include "spans.glsl"
#include "rows_walk.glsl"

void main()
{
    const uint group = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    const uint first = group * (DJ_ROWS_THREADS * DJ_ROWS_EACH) + gl_LocalInvocationID.x;
    start_walk(first);
    [[dont_unroll]] for (uint n = 0; n < DJ_ROWS_EACH && row < push.rows; n++) {
        uint at;
        if (is_there(at))
            target.data[at] = packed.data[first + n * DJ_ROWS_THREADS] * scale.data[column];
        walk_on();
    }
}
