#version 450
/* SPDX-License-Identifier: MIT */
/* Gathers the rows of a view into packed rows: packed[row][i] = +-factor * x[row][i], with a factor of
 * its own for i = 0; rows of zeros for tokens that their sequence lacks, and at the end. */
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "kernels.h"
#include "bindings.glsl"

layout(local_size_x = DJ_ROWS_THREADS) in;

PUSH(rows_load_push)
BUFFER(0, readonly, Source, uint, source)
BUFFER(1, writeonly, Packed, float, packed)

#define SPANS 2
#define VECTORS false
#include "elements.glsl"
#include "spans.glsl"
#include "rows_walk.glsl"

void main()
{
    const uint group = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    const uint first = group * (DJ_ROWS_THREADS * DJ_ROWS_EACH) + gl_LocalInvocationID.x;
    start_walk(first);
    [[dont_unroll]] for (uint n = 0; n < DJ_ROWS_EACH && row < push.padded; n++) {
        float value = 0.0;
        uint at;
        if (is_there(at)) {
            value = ELEMENT(source, push.type, at) * (column == 0 ? push.first : push.factor);
            value = (push.signs[column / 32 % 8] >> column % 32 & 1) != 0 ? -value : value;
        }
        packed.data[first + n * DJ_ROWS_THREADS] = value;
        walk_on();
    }
}
