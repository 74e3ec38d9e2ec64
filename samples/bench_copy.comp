#version 450
/* SPDX-License-Identifier: MIT */
/* Copies 16 bytes per invocation: what the device's memory can do. */
layout(local_size_x = 64) in;

layout(binding = 0) readonly buffer Source { uvec4 source[]; };
layout(binding = 1) writeonly buffer Target { uvec4 target[]; };

void main()
{
    const uint group = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    const uint i = group * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
    target[i] = source[i];
}
