#version 450
/* SPDX-License-Identifier: MIT */
/* The same with cooperative matrices, a += x y of size M x N x K, in 8 chains. */
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#pragma use_vulkan_memory_model

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint M = 16;
layout(constant_id = 2) const uint N = 16;
layout(constant_id = 3) const uint K = 16;

layout(binding = 1) buffer Sums { float sums[]; };
layout(push_constant) uniform Push { uint rounds; float factor, term; };

#define SUM coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator>
#define STEP \
    a = coopMatMulAdd(x, y, a); b = coopMatMulAdd(x, y, b); \
    c = coopMatMulAdd(x, y, c); d = coopMatMulAdd(x, y, d); \
    e = coopMatMulAdd(x, y, e); f = coopMatMulAdd(x, y, f); \
    g = coopMatMulAdd(x, y, g); h = coopMatMulAdd(x, y, h);

void main()
{
    const coopmat<float16_t, gl_ScopeSubgroup, M, K, gl_MatrixUseA> x =
        coopmat<float16_t, gl_ScopeSubgroup, M, K, gl_MatrixUseA>(float16_t(factor));
    const coopmat<float16_t, gl_ScopeSubgroup, K, N, gl_MatrixUseB> y =
        coopmat<float16_t, gl_ScopeSubgroup, K, N, gl_MatrixUseB>(float16_t(term));
    SUM a = SUM(0.0), b = SUM(1.0), c = SUM(2.0), d = SUM(3.0);
    SUM e = SUM(4.0), f = SUM(5.0), g = SUM(6.0), h = SUM(7.0);
    for (uint round = 0; round < rounds; round++) {
        STEP STEP STEP STEP
    }
    a = (a + b) + (c + d) + (e + f) + (g + h);
    coopMatStore(a, sums, gl_WorkGroupID.x * M * N, N, gl_CooperativeMatrixLayoutRowMajor);
}
