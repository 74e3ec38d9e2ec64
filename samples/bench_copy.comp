#version 450
/* SPDX-License-Identifier: MIT */
/* Copies LOADS times 16 bytes per invocation: what the device's memory can do. Memory is fast while
 * much of it is under way, and stores wait for their loads: so an invocation begins all its loads
 * before its first store. In each of them neighbours take neighbouring 16 bytes. */
#extension GL_EXT_control_flow_attributes : require

layout(local_size_x = 128) in; /* what every device can do */
layout(constant_id = 0) const uint LOADS = 4;

layout(binding = 0) readonly buffer Source { uvec4 source[]; };
layout(binding = 1) writeonly buffer Target { uvec4 target[]; };

void main()
{
    const uint group = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    const uint first = group * gl_WorkGroupSize.x * LOADS + gl_LocalInvocationID.x;
    uvec4 words[LOADS];
    [[unroll]] for (uint i = 0; i < LOADS; i++)
        words[i] = source[first + i * gl_WorkGroupSize.x];
    [[unroll]] for (uint i = 0; i < LOADS; i++)
        target[first + i * gl_WorkGroupSize.x] = words[i];
}
