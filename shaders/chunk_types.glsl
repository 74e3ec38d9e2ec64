/* SPDX-License-Identifier: MIT */
/* What kernels that go through segments in chunks have in common (chunk.glsl, half.glsl): the constants of a plan, what
 * is bound, and the matrices. The including shader defines RECORD, the type of the records' elements. */
#include "matrices.glsl"
#include "kernels.h"
#include "bindings.glsl"
#include "logscale.glsl"

layout(constant_id = 0) const uint DIM = 64;
layout(constant_id = 1) const uint FEATURES = 64;
layout(constant_id = 2) const uint VALUE_DIM = 64;
layout(constant_id = 3) const uint CHUNK = 64; /* tokens */
layout(constant_id = 4) const uint FEATURE = DJ_FEATURE_EXPONENTIAL;
layout(constant_id = 5) const uint OPTIONS = 0;  /* of either kernels */
layout(constant_id = 6) const uint COLUMNS = 64; /* of a workgroup */
layout(constant_id = 7) const uint DENOMINATOR = DJ_DENOMINATOR_PLAIN;
layout(constant_id = 12) const uint GROUP = 1; /* query heads to a key head */

PUSH(chunk_push)
BUFFER_ALIGNED(0, readonly, Queries, uvec4, queries, 16)
BUFFER_ALIGNED(1, readonly, Keys, uvec4, keys, 16)
BUFFER_ALIGNED(2, readonly, Values, uvec4, values_in, 16)
BUFFER_ALIGNED(3, writeonly, Outputs, uvec4, outputs, 16)
BUFFER_ALIGNED(4, , Records, RECORD, records, 16) /* and notes behind them */
BUFFER(5, readonly, Tables, float, tables)
/* [FEATURES][DIM] of float16, the same of what those lack, [FEATURES] factors of half.glsl's, of float32 */
BUFFER_ALIGNED(6, readonly, Matrix, uvec4, matrix, 16)
#define SPANS 7
#include "spans.glsl"

#define SUMS coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator>
#define HALVES coopmat<float16_t, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator>
#define LEFT coopmat<float16_t, gl_ScopeSubgroup, M, K, gl_MatrixUseA>
#define RIGHT coopmat<float16_t, gl_ScopeSubgroup, K, N, gl_MatrixUseB>
const int BY_ROW = gl_CooperativeMatrixLayoutRowMajor, BY_COLUMN = gl_CooperativeMatrixLayoutColumnMajor;

const float LOG2E = 1.44269504;
