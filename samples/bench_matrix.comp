#version 450
/* SPDX-License-Identifier: MIT */
/* Products of cooperative matrices, M x N += M x K times K x N, in 8 chains. The 16 products of a
 * round have different factors, which the next round may change: else a compiler that takes
 * matrices apart does one for all. */
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#pragma use_vulkan_memory_model

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint M = 16;
layout(constant_id = 2) const uint N = 16;
layout(constant_id = 3) const uint K = 16;

layout(binding = 1) buffer Sums { float sums[]; };
layout(push_constant) uniform Push { uint rounds; float factor, term, one; };

#define LEFT coopmat<float16_t, gl_ScopeSubgroup, M, K, gl_MatrixUseA>
#define RIGHT coopmat<float16_t, gl_ScopeSubgroup, K, N, gl_MatrixUseB>
#define SUM coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator>
#define STEP(y, z) \
    a = coopMatMulAdd(p, y, a); b = coopMatMulAdd(q, y, b); \
    c = coopMatMulAdd(r, y, c); d = coopMatMulAdd(s, y, d); \
    e = coopMatMulAdd(p, z, e); f = coopMatMulAdd(q, z, f); \
    g = coopMatMulAdd(r, z, g); h = coopMatMulAdd(s, z, h);

void main()
{
    const float16_t x = float16_t(factor), y = float16_t(term), same = float16_t(one);
    const float16_t two = float16_t(2), three = float16_t(3), four = float16_t(4);
    LEFT p = LEFT(x), q = LEFT(two * x), r = LEFT(three * x), s = LEFT(four * x);
    const RIGHT t = RIGHT(y), u = RIGHT(two * y), v = RIGHT(three * y), w = RIGHT(four * y);
    SUM a = SUM(0.0), b = SUM(1.0), c = SUM(2.0), d = SUM(3.0);
    SUM e = SUM(4.0), f = SUM(5.0), g = SUM(6.0), h = SUM(7.0);
    for (uint round = 0; round < rounds; round++) {
        STEP(t, u)
        STEP(v, w)
        p = p * same;
        q = q * same;
        r = r * same;
        s = s * same;
    }
    a = (a + b) + (c + d) + (e + f) + (g + h);
    coopMatStore(a, sums, gl_WorkGroupID.x * M * N, N, gl_CooperativeMatrixLayoutRowMajor);
}
