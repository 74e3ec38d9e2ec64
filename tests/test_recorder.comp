// SPDX-License-Identifier: MIT
// out[i] = in[i] * factor + addend + ring[1], after `spins` turns of useless work.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "kernels.h"
#include "bindings.glsl"
layout(local_size_x = 64) in;
layout(constant_id = 0) const uint unused = 0;
layout(constant_id = 1) const uint addend = 0;
struct work { uint count; uint factor; uint spins; };
PUSH(work)
BUFFER(0, readonly, Input, uint, x)
BUFFER(3, , Output, uint, y)
BUFFER(7, readonly, Ring, uint, ring)

void main()
{
    uint i = gl_GlobalInvocationID.x;
    if (i >= push.count)
        return;
    uint z = x.data[i];
    uint noise = i + 1;
    for (uint n = 0; n < push.spins; n++)
        noise = (noise * 1664525u + 1013904223u) | 1u;
    y.data[i] = z * push.factor + addend + ring.data[1] + (noise == 0u ? 1u : 0u);
}
