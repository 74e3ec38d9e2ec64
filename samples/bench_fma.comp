#version 450
/* SPDX-License-Identifier: MIT */
/* Multiply-adds on registers alone, 12 chains that do not wait for each other, 10 of each in a
 * round: a smaller body would measure the loop. Invocation n's sum shows that all were done. */
layout(local_size_x = 64) in;

layout(binding = 1) writeonly buffer Sums { float sums[]; };
layout(push_constant) uniform Push { uint rounds; float factor, term; };

#define STEP \
    a = fma(a, x, y); b = fma(b, x, y); c = fma(c, x, y); d = fma(d, x, y); \
    e = fma(e, x, y); f = fma(f, x, y); g = fma(g, x, y); h = fma(h, x, y); \
    i = fma(i, x, y); j = fma(j, x, y); k = fma(k, x, y); l = fma(l, x, y);

void main()
{
    const uint n = gl_GlobalInvocationID.x;
    const float x = factor, y = term, z = float(n % 64);
    float a = z, b = z + 1, c = z + 2, d = z + 3, e = z + 4, f = z + 5;
    float g = z + 6, h = z + 7, i = z + 8, j = z + 9, k = z + 10, l = z + 11;
    for (uint round = 0; round < rounds; round++) {
        STEP STEP STEP STEP STEP STEP STEP STEP STEP STEP
    }
    sums[n] = (a + b + c + d) + (e + f + g + h) + (i + j + k + l);
}
