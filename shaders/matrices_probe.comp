#version 450
/* SPDX-License-Identifier: MIT */
/* What a build's tools must know for kernels with cooperative matrices; nothing runs it. */
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_memory_scope_semantics : require
#include "matrices.glsl"

layout(local_size_x = 32) in;
layout(set = 0, binding = 0) buffer Sums { float data[]; } sums;

void main()
{
    const coopmat<float16_t, gl_ScopeSubgroup, M, K, gl_MatrixUseA> a =
        coopmat<float16_t, gl_ScopeSubgroup, M, K, gl_MatrixUseA>(float16_t(1.0));
    const coopmat<float16_t, gl_ScopeSubgroup, K, N, gl_MatrixUseB> b =
        coopmat<float16_t, gl_ScopeSubgroup, K, N, gl_MatrixUseB>(float16_t(1.0));
    coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator> c;
    coopMatLoad(c, sums.data, 0, N, gl_CooperativeMatrixLayoutRowMajor);
    c = coopMatMulAdd(a, b, c);
    coopMatStore(c, sums.data, 0, N, gl_CooperativeMatrixLayoutRowMajor);
}
