#version 450
/* SPDX-License-Identifier: MIT */
/* Exact softmax attention of a tile of queries, with an online maximum:
 *   o_i = sum_j w_ij v_j / sum_j w_ij,   w_ij = exp(a_ij) 2^-M_i,   a_ij = scale q_i . k_j
 * over the keys that row i sees. M_i is the largest exponent so far, a whole number as all of
 * logscale.glsl's: what was summed before it grew is rescaled exactly. The sums of one tile of keys
 * are formed by themselves and added with compensation, so that long sequences lose nothing.
 * Keys come in boxes; M, the sums and what they lack are carried between boxes in scratch memory.
 *
 * A weight of a key that a row does not see is never multiplied: NaN in its value stays away.
 *
 * Workgroup (x, y, z): tile of queries, sequence and query head, share of the column blocks (64 each).
 * It has 64 invocations for each of its 1 or 2 blocks, BLOCKS.
 * Scores: invocation t computes rows 4 (t / KEY_LANES) .., keys t % KEY_LANES + KEY_LANES n.
 * Outputs: invocation t computes block t / 64, rows 8 (t % 64 / 16) .., columns 4 (t % 16) .. */
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "kernels.h"
#include "bindings.glsl"
#include "logscale.glsl"

layout(constant_id = 0) const uint DIM = 64;
layout(constant_id = 1) const uint VALUE_DIM = 64;
layout(local_size_x_id = 2) in; /* 64 BLOCKS */
layout(constant_id = 3) const bool CAUSAL = true;
layout(constant_id = 4) const uint Q_TYPE = DJ_ELEMENT_FLOAT32;
layout(constant_id = 5) const uint K_TYPE = DJ_ELEMENT_FLOAT32;
layout(constant_id = 6) const uint V_TYPE = DJ_ELEMENT_FLOAT32;
layout(constant_id = 7) const uint O_TYPE = DJ_ELEMENT_FLOAT32;
layout(constant_id = 8) const bool CARRY = false; /* keys come in several boxes */

PUSH(softmax_push)
BUFFER(0, readonly, Queries, uint, queries)
BUFFER(1, readonly, Keys, uint, keys)
BUFFER(2, readonly, Values, uint, values)
BUFFER(4, , Carry, vec4, carry)
BUFFER(6, readonly, KeySpans, uvec4, key_spans)
#define OUTPUTS 3
#define SPANS 5
#include "compensated.glsl"
#define VECTORS false
#include "elements.glsl"
#include "outputs.glsl"
#include "spans.glsl"
#include "walk.glsl"

const uint THREADS = gl_WorkGroupSize.x;
const uint BLOCKS = THREADS / DJ_TILE_THREADS;
const uint KEY_LANES = 8 * BLOCKS;
const uint KEYS_EACH = DJ_TILE_TOKENS / KEY_LANES;
const uint FOURS = DJ_TILE_FEATURES / 4;
const uint ROW_STRIDE = FOURS + 1; /* vec4; rows begin at different banks */
const uint WEIGHT_STRIDE = DJ_TILE_TOKENS / 4 + 1;

/* [row][feature / 4] of 32 queries, then of 32 keys */
shared vec4 tiles[2 * DJ_TILE_TOKENS * ROW_STRIDE];
shared vec4 weight[DJ_TILE_TOKENS * WEIGHT_STRIDE]; /* a, then w: [key][row / 4][row % 4] */
/* of each row: M, the sum of w, what that lacks, and the factor of what was summed before this tile */
shared float peak[DJ_TILE_TOKENS], norm[DJ_TILE_TOKENS], norm_low[DJ_TILE_TOKENS];
shared float rescale[DJ_TILE_TOKENS];

vec4 sums[8], lows[8]; /* of an invocation's rows and columns: sums, and what they lack */

uint rows, column; /* of an invocation: its first ones */

#include "softmax.glsl"

/* 32 features from f0 of the tile's queries and of 32 keys from j0; zeros where there are none. */
void load_tiles(uint j0, uint f0)
{
    const uint fours = min((DIM - f0) / 4, FOURS);
    [[dont_unroll]] for (uint i = gl_LocalInvocationID.x; i < DJ_TILE_TOKENS * FOURS;
                         i += THREADS) {
        const uint row = i / FOURS, four = i % FOURS;
        const uint q = queries_base + row * push.q_stride[2] + f0 + four * 4;
        const uint k = keys_base + (j0 + row) * push.k_stride[2] + f0 + four * 4;
        vec4 query = vec4(0.0), key = vec4(0.0);
        if (row < count && four < fours)
            query = ELEMENTS(queries, Q_TYPE, q);
        if (j0 + row < key_count && four < fours)
            key = ELEMENTS(keys, K_TYPE, k);
        tiles[row * ROW_STRIDE + four] = query;
        tiles[(DJ_TILE_TOKENS + row) * ROW_STRIDE + four] = key;
    }
}

/* weight = a of 32 keys from j0, MASKED where the row does not see the key. The products of 32
 * features are summed by themselves: less rounding than one long sum. */
void find_scores(uint j0)
{
    const uint four = gl_LocalInvocationID.x / KEY_LANES, key = gl_LocalInvocationID.x % KEY_LANES;
    vec4 scores[KEYS_EACH]; /* [key][row] */
    for (uint c = 0; c < KEYS_EACH; c++)
        scores[c] = vec4(0.0);
    [[dont_unroll]] for (uint f0 = 0; f0 < DIM; f0 += DJ_TILE_FEATURES) {
        barrier();
        load_tiles(j0, f0);
        barrier();
        vec4 step[KEYS_EACH];
        for (uint c = 0; c < KEYS_EACH; c++)
            step[c] = vec4(0.0);
        [[dont_unroll]] for (uint f = 0; f < FOURS; f++) {
            vec4 q[4];
            for (uint r = 0; r < 4; r++)
                q[r] = tiles[(four * 4 + r) * ROW_STRIDE + f];
            for (uint c = 0; c < KEYS_EACH; c++) {
                const uint j = DJ_TILE_TOKENS + key + c * KEY_LANES;
                const vec4 k = tiles[j * ROW_STRIDE + f];
                for (uint r = 0; r < 4; r++)
                    step[c][r] += dot(q[r], k);
            }
        }
        for (uint c = 0; c < KEYS_EACH; c++)
            scores[c] += step[c];
    }
    for (uint c = 0; c < KEYS_EACH; c++) {
        const uint j = key + c * KEY_LANES;
        vec4 a;
        for (uint r = 0; r < 4; r++)
            a[r] = j0 + j < seen_by(four * 4 + r) ? scores[c][r] * push.scale : MASKED;
        weight[j * WEIGHT_STRIDE + four] = a;
    }
    barrier();
}

/* weight = w; an invocation to a row. */
void find_weights()
{
    const uint row = gl_LocalInvocationID.x;
    if (row < DJ_TILE_TOKENS) {
        const uint four = row / 4, r = row % 4;
        float m = peak[row];
        [[dont_unroll]] for (uint j = 0; j < DJ_TILE_TOKENS; j++)
            m = max(m, exponent_for_max(weight[j * WEIGHT_STRIDE + four][r]));
        float total = 0.0;
        [[dont_unroll]] for (uint j = 0; j < DJ_TILE_TOKENS; j++) {
            const float w = scaled_exp(weight[j * WEIGHT_STRIDE + four][r], m);
            weight[j * WEIGHT_STRIDE + four][r] = w;
            total += w;
        }
        const float factor = exp2i(peak[row] - m);
        vec4 sum = vec4(norm[row] * factor), low = vec4(norm_low[row] * factor);
        add(sum, low, vec4(total));
        norm[row] = sum.x;
        norm_low[row] = low.x;
        rescale[row] = factor;
        peak[row] = m;
    }
    barrier();
}

/* Adds the share of 32 keys from j0. All rows of the invocation see the first ones, some the next. */
void add_values(uint j0)
{
    const uint all = min(seen_by(rows) - min(seen_by(rows), j0), DJ_TILE_TOKENS);
    const uint some = min(seen_by(rows + 7) - min(seen_by(rows + 7), j0), DJ_TILE_TOKENS);
    vec4 step[8];
    for (uint i = 0; i < 8; i++)
        step[i] = vec4(0.0);
    [[dont_unroll]] for (uint j = 0; j < some; j++) {
        /* columns beyond the last are computed from the last ones, and not stored; no key beyond the last is
         * loaded whatever j, since Mesa 26.1 loads what all invocations share even when the loop has ended */
        const uint at = values_base + min(j0 + j, key_count - 1) * push.v_stride[2] + min(column, VALUE_DIM - 4);
        const vec4 v = ELEMENTS(values, V_TYPE, at);
        const vec4 low = weight[j * WEIGHT_STRIDE + rows / 4];
        const vec4 high = weight[j * WEIGHT_STRIDE + rows / 4 + 1];
        if (j < all) {
            for (uint i = 0; i < 4; i++) {
                step[i] += low[i] * v;
                step[4 + i] += high[i] * v;
            }
        } else {
            for (uint i = 0; i < 8; i++) {
                const float w = i < 4 ? low[i % 4] : high[i % 4];
                step[i] = j0 + j < seen_by(rows + i) ? step[i] + w * v : step[i];
            }
        }
    }
    for (uint i = 0; i < 8; i++) {
        const float factor = rescale[rows + i];
        sums[i] *= factor;
        lows[i] *= factor;
        add(sums[i], lows[i], step[i]);
    }
}

/* The carry holds what the invocations of a workgroup hold, as they hold it. */
uint carry_at(uint i)
{
    const uint group = (gl_WorkGroupID.z * gl_NumWorkGroups.y + gl_WorkGroupID.y) *
                           gl_NumWorkGroups.x + gl_WorkGroupID.x;
    return group * DJ_SOFTMAX_CARRY_SIZE(BLOCKS) + i * THREADS + gl_LocalInvocationID.x;
}

void start()
{
    const uint t = gl_LocalInvocationID.x;
    const bool carried = CARRY && (push.carry & DJ_CARRY_READ) != 0;
    for (uint i = 0; i < 8; i++)
        sums[i] = lows[i] = vec4(0.0);
    if (carried) {
        [[dont_unroll]] for (uint i = 0; i < 8; i++) {
            NEXT(sums)
            NEXT(lows)
            sums[7] = carry.data[carry_at(i)];
            lows[7] = carry.data[carry_at(8 + i)];
        }
    }
    if (t < DJ_TILE_TOKENS) {
        const vec4 row = carried ? carry.data[carry_at(16)] : vec4(EMPTY, 0.0, 0.0, 0.0);
        peak[t] = row.x;
        norm[t] = row.y;
        norm_low[t] = row.z;
    }
}

void write_carry()
{
    const uint t = gl_LocalInvocationID.x;
    [[dont_unroll]] for (uint i = 0; i < 8; i++) {
        carry.data[carry_at(i)] = sums[0];
        carry.data[carry_at(8 + i)] = lows[0];
        NEXT(sums)
        NEXT(lows)
    }
    if (t < DJ_TILE_TOKENS)
        carry.data[carry_at(16)] = vec4(peak[t], norm[t], norm_low[t], 0.0);
}

void write_outputs()
{
    if (column >= VALUE_DIM)
        return;
    for (uint row = rows; row < min(rows + 8, count); row++) {
        const float n = norm[row]; /* 0: no key was seen */
        store_four(outputs_base + row * push.o_stride[2] + column, n == 0.0 ? vec4(0.0) : sums[0] / n);
        NEXT(sums)
    }
}

void main()
{
    find_tile(DJ_TILE_TOKENS);
    if (count == 0)
        return;
    rows = gl_LocalInvocationID.x % DJ_TILE_THREADS / 16 * 8;
    column = (gl_WorkGroupID.z * BLOCKS + gl_LocalInvocationID.x / DJ_TILE_THREADS) * DJ_TILE_VALUES +
             gl_LocalInvocationID.x % 16 * 4;

    const uint seen = seen_by(count - 1);
    if (CARRY && seen == 0 && push.carry == (DJ_CARRY_READ | DJ_CARRY_WRITE))
        return; /* the carry stays as it is */
    start();
    [[dont_unroll]] for (uint j0 = 0; j0 < seen; j0 += DJ_TILE_TOKENS) {
        find_scores(j0);
        find_weights();
        add_values(j0);
    }
    barrier();
    if (CARRY && (push.carry & DJ_CARRY_WRITE) != 0)
        write_carry();
    else
        write_outputs();
}
