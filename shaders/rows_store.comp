#version 450
/* SPDX-License-Identifier: MIT */
/* Scatters packed rows to the rows of a view: y[row][i] = packed[row][i] * scale[i]. */
#extension GL_GOOGLE_include_directive : require
#include "kernels.h"

layout(local_size_x = DJ_ROWS_THREADS) in;
layout(constant_id = 0) const uint LENGTH = 64;

layout(push_constant) uniform Push { rows_store_push push; };
layout(set = 0, binding = 0) readonly buffer Packed { float packed[]; };
layout(set = 0, binding = 1) readonly buffer Scale { float scale[]; };
layout(set = 0, binding = 2) writeonly buffer Target { float target[]; };

#include "rows_view.glsl"

void main()
{
    const uint group = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    const uint first = group * (DJ_ROWS_THREADS * DJ_ROWS_EACH) + gl_LocalInvocationID.x;
    for (uint n = 0; n < DJ_ROWS_EACH; n++) {
        const uint element = first + n * DJ_ROWS_THREADS;
        const uint row = element / LENGTH;
        if (row >= push.rows)
            return;
        const uint i = element - row * LENGTH;
        target[row_start(row) + i] = packed[element] * scale[i];
    }
}
