#version 450
/* SPDX-License-Identifier: MIT */
/* Linformer's projection over the sequence, of one sequence and key head:
 *   y[r][c] = sum_t E[r][t] x[t][c],   r < n', t < T.
 * The sums of 32 tokens are formed by themselves and added with compensation. Tokens come in boxes;
 * sums and what they lack stay in memory between them.
 *
 * Workgroup (x, y, z): block of 64 columns, sequence and key head, tile of 32 rows of E.
 * Invocation t computes rows 8 (t / 16) .., columns 4 (t % 16) .. */
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "kernels.h"
#include "bindings.glsl"

layout(local_size_x = DJ_TILE_THREADS) in;
layout(constant_id = 0) const uint WIDTH = 64; /* columns */
layout(constant_id = 1) const uint ROWS = 64;  /* n' */
layout(constant_id = 2) const uint TYPE = DJ_ELEMENT_FLOAT32;

PUSH(rows_project_push)
BUFFER(0, readonly, Source, uint, source)
BUFFER(1, readonly, Matrix, float, matrix)
BUFFER(2, , Projected, float, projected)
BUFFER(3, , Lacking, float, lacking)
#include "compensated.glsl"
#define VECTORS false
#include "elements.glsl"
#include "walk.glsl"

const uint STRIDE = DJ_TILE_TOKENS / 4 + 1; /* vec4; rows begin at different banks */

shared vec4 matrix_tile[DJ_TILE_TOKENS * STRIDE]; /* [token][row / 4][row % 4] */

/* 32 tokens from t0 of the tile's rows of E; zeros where there are none. */
void load_matrix(uint base, uint first_row, uint t0)
{
    [[dont_unroll]] for (uint i = gl_LocalInvocationID.x; i < DJ_TILE_TOKENS * DJ_TILE_TOKENS;
                         i += DJ_TILE_THREADS) {
        const uint row = i / DJ_TILE_TOKENS, t = i % DJ_TILE_TOKENS;
        float e = 0.0;
        if (first_row + row < ROWS && t0 + t < push.tokens)
            e = matrix.data[base + row * push.row_stride + t0 + t];
        matrix_tile[t * STRIDE + row / 4][row % 4] = e;
    }
}

void main()
{
    const uint sequence = gl_WorkGroupID.y / push.heads, head = gl_WorkGroupID.y % push.heads;
    const uint first_row = gl_WorkGroupID.z * DJ_TILE_TOKENS;
    const uint row = gl_LocalInvocationID.x / 16 * 8;
    const uint column = gl_WorkGroupID.x * DJ_TILE_VALUES + gl_LocalInvocationID.x % 16 * 4;
    const uint matrix_base = push.matrix + (push.first_head + head) * push.head_stride +
                             first_row * push.row_stride;
    /* columns beyond the last are computed from the last ones, and not stored */
    const uint source_base = push.base + sequence * push.stride[0] + head * push.stride[1] +
                             min(column, WIDTH - 4);
    const uint projected_base = (gl_WorkGroupID.y * ROWS + first_row + row) * WIDTH + column;

    const uint stored = column < WIDTH ? min(ROWS - min(first_row + row, ROWS), 8) : 0; /* of its rows */
    vec4 sums[8], lows[8];
    for (uint i = 0; i < 8; i++)
        sums[i] = lows[i] = vec4(0.0);
    if ((push.carry & DJ_CARRY_READ) != 0) {
        [[dont_unroll]] for (uint i = 0; i < 8; i++) {
            vec4 sum = vec4(0.0), low = vec4(0.0);
            if (i < stored) {
                for (uint n = 0; n < 4; n++) {
                    sum[n] = projected.data[projected_base + i * WIDTH + n];
                    low[n] = lacking.data[projected_base + i * WIDTH + n];
                }
            }
            NEXT(sums)
            NEXT(lows)
            sums[7] = sum;
            lows[7] = low;
        }
    }
    [[dont_unroll]] for (uint t0 = 0; t0 < push.tokens; t0 += DJ_TILE_TOKENS) {
        barrier();
        load_matrix(matrix_base, first_row, t0);
        barrier();
        vec4 step[8];
        for (uint i = 0; i < 8; i++)
            step[i] = vec4(0.0);
        const uint tokens = min(push.tokens - t0, DJ_TILE_TOKENS);
        [[dont_unroll]] for (uint t = 0; t < tokens; t++) {
            const vec4 x = ELEMENTS(source, TYPE, source_base + (t0 + t) * push.stride[2]);
            const vec4 low = matrix_tile[t * STRIDE + row / 4];
            const vec4 high = matrix_tile[t * STRIDE + row / 4 + 1];
            for (uint i = 0; i < 4; i++) {
                step[i] += low[i] * x;
                step[4 + i] += high[i] * x;
            }
        }
        for (uint i = 0; i < 8; i++)
            add(sums[i], lows[i], step[i]);
    }
    [[dont_unroll]] for (uint i = 0; i < stored; i++) {
        for (uint n = 0; n < 4; n++) {
            projected.data[projected_base + i * WIDTH + n] = sums[0][n];
            if ((push.carry & DJ_CARRY_WRITE) != 0)
                lacking.data[projected_base + i * WIDTH + n] = lows[0][n];
        }
        NEXT(sums)
        NEXT(lows)
    }
}
