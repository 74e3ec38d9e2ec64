#version 450
/* SPDX-License-Identifier: MIT */
/* Rows of a view times a matrix: packed[row][k] = factor * sum_n x[row][n] matrix[n][k]; if asked, also
 * the sum of the squares of factor * x[row][n]. A token that its sequence lacks counts as a row of
 * zeros. The matrix is one for all rows, or one for each key head.
 *
 * A workgroup computes a tile of 64 rows x 64 columns; both factors pass through shared memory, 16 terms
 * at a time:
 *
 *              columns 64
 *            +-----------+
 *   terms 16 |  matrix   |      invocation (tx, ty) of 8 x 8 has the rows ty + 8 r and the columns
 *            +-----------+      tx + 8 c, r, c = 0 .. 7
 *   +----+   +-----------+
 *   | x  |   |  sums in  |
 *   |    |   | registers |  rows 64
 *   +----+   +-----------+
 *
 * Each 16 terms are summed by themselves before they join the rest, so that the rounding error of long
 * rows grows with a sixteenth of their length.
 *
 * A row meets no element of another, so a NaN stays in its row. */
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "kernels.h"
#include "bindings.glsl"

layout(local_size_x = DJ_DENSE_THREADS) in;
layout(constant_id = 0) const uint AHEAD = 1; /* rows whose elements an invocation has under way at once: 1, 2, 4, 8 */
const uint TERMS = AHEAD < 4 ? 4 : AHEAD;     /* ... terms of the matrix */

PUSH(rows_dense_push)
BUFFER(0, readonly, Source, uint, source)
BUFFER(1, writeonly, Packed, float, packed)
BUFFER(2, readonly, Matrix, float, matrix)

#define SPANS 3
#define VECTORS (AHEAD > 1)
#include "elements.glsl"
#include "spans.glsl"
#include "rows_view.glsl"
#include "walk.glsl"

#define SIDE (DJ_DENSE_TILE / DJ_DENSE_EACH)
#define X_STRIDE (DJ_DENSE_STEP + 1) /* not a multiple of the number of banks */
#define ABSENT 0xffffffffu

shared uint starts[DJ_DENSE_TILE];
shared float x_tile[DJ_DENSE_TILE * X_STRIDE];                 /* [row][term] */
shared float matrix_tile[DJ_DENSE_STEP * DJ_DENSE_TILE];       /* [term][column] */

/* Rows that this workgroup's axis y counts, and the packed row of one of them. */
uint row_count()
{
    return push.by_head == 0 ? push.rows : push.rows / push.count1;
}

uint packed_row(uint row)
{
    if (push.by_head == 0)
        return row;
    return (row / push.tokens * push.count1 + gl_WorkGroupID.z) * push.tokens + row % push.tokens;
}

/* An invocation's elements are of one term. Where there is none another is loaded, of the view's first row, and
 * replaced: a condition around loads would make each wait for the one before. */
void load_x(uint first_term)
{
    const uint rows = DJ_DENSE_THREADS / DJ_DENSE_STEP; /* loaded at once */
    const uint term = gl_LocalInvocationID.x % DJ_DENSE_STEP, n = min(first_term + term, push.terms - 1);
    const float factor = (push.signs[n / 32 % 8] >> n % 32 & 1) != 0 ? -push.factor : push.factor;
    [[dont_unroll]]
    for (uint first = gl_LocalInvocationID.x / DJ_DENSE_STEP; first < DJ_DENSE_TILE; first += rows * AHEAD) {
        uint start[AHEAD], at[AHEAD], word[AHEAD];
        [[unroll]] for (uint i = 0; i < AHEAD; i++) {
            start[i] = starts[first + rows * i];
            at[i] = (start[i] == ABSENT ? push.base : start[i]) + n;
            word[i] = source.data[element_word(push.type, at[i])];
        }
        [[unroll]] for (uint i = 0; i < AHEAD; i++) {
            const float x = element_value(push.type, word[i], at[i]) * factor;
            const bool there = start[i] != ABSENT && first_term + term < push.terms;
            x_tile[(first + rows * i) * X_STRIDE + term] = there ? x : 0.0;
        }
    }
}

void load_matrix(uint base, uint first_term, uint first_column)
{
    const uint column = gl_LocalInvocationID.x;
    const uint at = base + min(first_column + column, push.columns - 1);
    [[dont_unroll]] for (uint term = 0; term < DJ_DENSE_STEP; term += TERMS) {
        float x[TERMS];
        [[unroll]] for (uint n = 0; n < TERMS; n++)
            x[n] = matrix.data[at + min(first_term + term + n, push.terms - 1) * push.columns];
        [[unroll]] for (uint n = 0; n < TERMS; n++) {
            const bool inside = first_term + term + n < push.terms && first_column + column < push.columns;
            matrix_tile[(term + n) * DJ_DENSE_TILE + column] = inside ? x[n] : 0.0;
        }
    }
}

/* Invocation i has the sum of row i's squares. */
float add_squares(float sum)
{
    float part = 0.0;
    [[dont_unroll]] for (uint term = 0; term < DJ_DENSE_STEP; term++) {
        const float x = x_tile[gl_LocalInvocationID.x * X_STRIDE + term];
        part += x * x;
    }
    return sum + part;
}

void main()
{
    const uint first_column = gl_WorkGroupID.x * DJ_DENSE_TILE;
    const uint first_row = gl_WorkGroupID.y * DJ_DENSE_TILE;
    const uint tx = gl_LocalInvocationID.x % SIDE, ty = gl_LocalInvocationID.x / SIDE;
    const uint my_row = first_row + gl_LocalInvocationID.x;
    uint start;
    const bool there = my_row < row_count() && row_start(packed_row(my_row), start);
    starts[gl_LocalInvocationID.x] = there ? start : ABSENT;
    const uint base =
        push.by_head == 0 ? 0 : (push.first_head + gl_WorkGroupID.z / push.group) * push.head_stride;
    float squares = 0.0;

    float sums[DJ_DENSE_EACH][DJ_DENSE_EACH], step[DJ_DENSE_EACH][DJ_DENSE_EACH];
    for (uint r = 0; r < DJ_DENSE_EACH; r++) {
        for (uint c = 0; c < DJ_DENSE_EACH; c++)
            sums[r][c] = step[r][c] = 0.0;
    }
    for (uint first_term = 0; first_term < push.terms; first_term += DJ_DENSE_STEP) {
        barrier();
        load_x(first_term);
        load_matrix(base, first_term, first_column);
        barrier();
        if (push.squares != 0)
            squares = add_squares(squares);
        for (uint term = 0; term < DJ_DENSE_STEP; term++) {
            float x[DJ_DENSE_EACH], m[DJ_DENSE_EACH];
            for (uint i = 0; i < DJ_DENSE_EACH; i++) {
                x[i] = x_tile[(ty + i * SIDE) * X_STRIDE + term];
                m[i] = matrix_tile[term * DJ_DENSE_TILE + tx + i * SIDE];
            }
            for (uint r = 0; r < DJ_DENSE_EACH; r++) {
                for (uint c = 0; c < DJ_DENSE_EACH; c++)
                    step[r][c] += x[r] * m[c];
            }
        }
        for (uint r = 0; r < DJ_DENSE_EACH; r++) {
            for (uint c = 0; c < DJ_DENSE_EACH; c++) {
                sums[r][c] += step[r][c];
                step[r][c] = 0.0;
            }
        }
    }
    const uint end = min(first_row + DJ_DENSE_TILE, row_count());
    for (uint row = first_row + ty; row < end; row += SIDE) {
        const uint at = packed_row(row) * push.columns;
        for (uint c = 0; c < DJ_DENSE_EACH; c++) {
            const uint column = first_column + tx + c * SIDE;
            if (column < push.columns)
                packed.data[at + column] = sums[0][c];
        }
        NEXT(sums)
    }
    if (push.squares != 0 && gl_WorkGroupID.x == 0 && my_row < row_count())
        packed.data[push.squares + packed_row(my_row)] = squares;
}
