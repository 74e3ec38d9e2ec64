#version 450
/* SPDX-License-Identifier: MIT */
/* Gathers the rows of a view into packed rows: packed[row][i] = factor * x[row][i], with a factor of its
 * own for i = 0, and rows of zeros at the end. */
#extension GL_GOOGLE_include_directive : require
#include "kernels.h"

layout(local_size_x = DJ_ROWS_THREADS) in;
layout(constant_id = 0) const uint LENGTH = 64;

layout(push_constant) uniform Push { rows_load_push push; };
layout(set = 0, binding = 0) readonly buffer Source { float source[]; };
layout(set = 0, binding = 1) writeonly buffer Packed { float packed[]; };

#include "rows_view.glsl"

void main()
{
    const uint group = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    const uint first = group * (DJ_ROWS_THREADS * DJ_ROWS_EACH) + gl_LocalInvocationID.x;
    for (uint n = 0; n < DJ_ROWS_EACH; n++) {
        const uint element = first + n * DJ_ROWS_THREADS;
        const uint row = element / LENGTH;
        if (row >= push.padded)
            return;
        const uint i = element - row * LENGTH;
        float value = 0.0;
        if (row < push.rows)
            value = source[row_start(row) + i] * (i == 0 ? push.first : push.factor);
        packed[element] = value;
    }
}
