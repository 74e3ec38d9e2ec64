#version 450
/* SPDX-License-Identifier: MIT */
/* Scatters packed rows to the rows of a view: y[row][i] = packed[row][i] * scale[i]. */
#extension GL_GOOGLE_include_directive : require
#include "kernels.h"

layout(local_size_x = DJ_ROWS_THREADS) in;

layout(push_constant) uniform Push { rows_store_push push; };
layout(set = 0, binding = 0) readonly buffer Packed { float packed[]; };
layout(set = 0, binding = 1) readonly buffer Scale { float scale[]; };
layout(set = 0, binding = 2) writeonly buffer Target { float target[]; };

#define SPANS 3
#include "spans.glsl"
#include "rows_view.glsl"

void main()
{
    const uint group = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    const uint first = group * (DJ_ROWS_THREADS * DJ_ROWS_EACH) + gl_LocalInvocationID.x;
    for (uint n = 0; n < DJ_ROWS_EACH; n++) {
        const uint element = first + n * DJ_ROWS_THREADS;
        const uint row = element / push.row_length;
        if (row >= push.rows)
            return;
        const uint i = element - row * push.row_length;
        uint start;
        row_start(row, start);
        target[start + i] = packed[element] * scale[i];
    }
}
