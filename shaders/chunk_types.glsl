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

/* What a workgroup (segment, sequence and head, block of columns) has to do. */
struct Segment {
    uint start, end; /* tokens of the sequence, none if `end` is not beyond `start` */
    uint tile;       /* the number of its record */
    uint head;       /* the key head in the plan */
    uint member;     /* the query head in its group */
    uint c0;         /* the first column */
    uint q, k, v, o; /* elements, of the sequence's first token: rows, of values and outputs from c0 on */
};

/* `members`: of a group that workgroups have one each of; 1 for the sums, which are of key heads. */
Segment find_segment(uint members)
{
    const uint heads = push.heads * members;
    const uint sequence = gl_WorkGroupID.y / heads, query_head = gl_WorkGroupID.y % heads;
    const uint key_head = query_head / members, row = span_row(sequence);
    Segment s;
    const uint tokens = SPAN_TILE(sequence);
    s.start = gl_WorkGroupID.x * tokens;
    s.end = min(s.start + tokens, span_tokens(sequence));
    s.tile = (sequence * push.heads + key_head) * push.tiles + gl_WorkGroupID.x;
    s.head = push.first_head + key_head;
    s.member = query_head % members;
    s.c0 = gl_WorkGroupID.z * COLUMNS;
    s.q = push.q_base + sequence * push.q_stride[0] + query_head * push.q_stride[1] + row * push.q_stride[2];
    s.k = push.k_base + sequence * push.k_stride[0] + key_head * push.k_stride[1] + row * push.k_stride[2];
    s.v = push.v_base + sequence * push.v_stride[0] + key_head * push.v_stride[1] + row * push.v_stride[2] + s.c0;
    s.o = push.o_base + sequence * push.o_stride[0] + query_head * push.o_stride[1] + row * push.o_stride[2] + s.c0;
    return s;
}

/* One name to a declaration: glslang up to 14.3 forgets a matrix's shape behind the first. */
#define SUMS coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator>
#define HALVES coopmat<float16_t, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator>
#define LEFT coopmat<float16_t, gl_ScopeSubgroup, M, K, gl_MatrixUseA>
#define RIGHT coopmat<float16_t, gl_ScopeSubgroup, K, N, gl_MatrixUseB>
const int BY_ROW = gl_CooperativeMatrixLayoutRowMajor, BY_COLUMN = gl_CooperativeMatrixLayoutColumnMajor;

const float LOG2E = 1.44269504;
