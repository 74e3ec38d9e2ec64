// SPDX-License-Identifier: MIT
// out[i] = in[i] * factor + addend + ring[1], after `spins` turns of useless work.
#version 450
layout(local_size_x = 64) in;
layout(constant_id = 0) const uint unused = 0;
layout(constant_id = 1) const uint addend = 0;
layout(binding = 0, std430) readonly buffer Input { uint x[]; };
layout(binding = 3, std430) buffer Output { uint y[]; };
layout(binding = 7, std430) readonly buffer Ring { uint ring[]; };
layout(push_constant) uniform Push { uint count; uint factor; uint spins; } push;

void main()
{
    uint i = gl_GlobalInvocationID.x;
    if (i >= push.count)
        return;
    uint z = x[i];
    uint noise = i + 1;
    for (uint n = 0; n < push.spins; n++)
        noise = (noise * 1664525u + 1013904223u) | 1u;
    y[i] = z * push.factor + addend + ring[1] + (noise == 0u ? 1u : 0u);
}
