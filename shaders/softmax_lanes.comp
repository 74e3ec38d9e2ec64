#version 450
/* SPDX-License-Identifier: MIT */
/* Exact softmax attention, the weights and sums of softmax.comp, for CPU devices: a lane has whole rows of queries
 * and their sums in registers, and nothing is shared. KEYS rows of keys and values are loaded at once, four
 * neighbours to a lane, and go to all lanes one number after another:
 *
 *     scores    a[row]      += query[row][f] k[f]     lane = rows; k[f] and v[c] are the same in all of them
 *     outputs   sum[row][c] += w[row] v[c]
 *
 * so that no sum crosses lanes. What SPAN keys add is summed by itself and added with compensation.
 *
 * A weight of a key that a row does not see is never multiplied: keys that only some rows of the workgroup see are
 * taken one by one, and a row that does not see one keeps its sums.
 *
 * Workgroup (x, y): tile of ROWS LANES queries, of which a lane has every LANES-th; sequence and query head. */
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#extension GL_KHR_shader_subgroup_shuffle_relative : require
#include "kernels.h"
#include "bindings.glsl"
#include "logscale.glsl"

layout(constant_id = 0) const uint DIM = 64;
layout(constant_id = 1) const uint VALUE_DIM = 64;
layout(local_size_x_id = 2) in;
layout(constant_id = 2) const uint LANES = 8;
layout(constant_id = 3) const bool CAUSAL = true;
layout(constant_id = 4) const uint Q_TYPE = DJ_ELEMENT_FLOAT32;
layout(constant_id = 5) const uint K_TYPE = DJ_ELEMENT_FLOAT32;
layout(constant_id = 6) const uint V_TYPE = DJ_ELEMENT_FLOAT32;
layout(constant_id = 7) const uint O_TYPE = DJ_ELEMENT_FLOAT32;
layout(constant_id = 8) const uint ROWS = 2; /* of a lane */

PUSH(softmax_push)
BUFFER(0, readonly, Queries, uint, queries)
BUFFER(1, readonly, Keys, uint, keys)
BUFFER(2, readonly, Values, uint, values)
BUFFER(4, , Carry, vec4, carry)
BUFFER(6, readonly, KeySpans, uvec4, key_spans)
#define OUTPUTS 3
#define SPANS 5
#define VECTORS (LANES <= 8)
#include "compensated.glsl"
#include "elements.glsl"
#include "outputs.glsl"
#include "spans.glsl"
#include "walk.glsl"

#define KEYS 4   /* that are taken at once */
#define SPAN 64  /* keys whose weights and values are summed by themselves */
#define GROUP 16 /* features or columns that are one straight line */

const uint KEY_FOURS = (DIM / 4 + LANES - 1) / LANES; /* of a row of keys, a lane's */
const uint VALUE_FOURS = (VALUE_DIM / 4 + LANES - 1) / LANES;
const uint FOURS = VALUE_DIM / 4;

uint lane;

/* [row of the lane][feature or column] */
float query[ROWS * DIM];
float recent[ROWS * VALUE_DIM]; /* sums of the span */
vec4 sums[ROWS * FOURS], lows[ROWS * FOURS]; /* of all before it, and what they lack */
/* M, that of the sums, and the sums of weights as above */
float peak[ROWS], sums_peak[ROWS], recent_norm[ROWS];
vec4 norm[ROWS], norm_low[ROWS];

/* Always true, and cuts what a compiler would order as one block, as in resident.comp. */
#define APART(n) (push.heads <= DJ_MOST_HEADS + (n))

#include "lanes.glsl"
#include "softmax.glsl"

/* KEYS rows of keys and values, of which the first ones count; the others are copies of the last of those. */
struct rows {
    vec4 keys[KEYS][KEY_FOURS], values[KEYS][VALUE_FOURS];
};

rows load(uint j, uint live)
{
    rows loaded;
    [[unroll]] for (uint t = 0; t < KEYS; t++) {
        /* never behind the last key: Mesa 26.1 loads what all invocations share even when the loop has ended */
        const uint row = min(j + min(t, live - 1), key_count - 1);
        [[unroll]] for (uint i = 0; i < KEY_FOURS; i++) {
            const uint four = min(lane + LANES * i, DIM / 4 - 1);
            loaded.keys[t][i] = ELEMENTS(keys, K_TYPE, keys_base + row * push.k_stride[2] + 4 * four);
        }
        [[unroll]] for (uint i = 0; i < VALUE_FOURS; i++) {
            const uint four = min(lane + LANES * i, FOURS - 1);
            loaded.values[t][i] = ELEMENTS(values, V_TYPE, values_base + row * push.v_stride[2] + 4 * four);
        }
    }
    return loaded;
}

/* Element `at` of a row that lanes hold by fours. */
#define OF_ROW(fours, at) from_lane(fours[(at) / 4 / LANES][(at) % 4], (at) / 4 % LANES)

/* a += the products of GROUP features, which are summed by themselves: less rounding than one long sum. */
void add_scores(uint group, rows with, inout float a[ROWS][KEYS])
{
    if (APART(group)) {
        float some[ROWS][KEYS];
        [[unroll]] for (uint i = 0; i < GROUP; i++) {
            const uint f = group + i;
            if (f < DIM) {
                [[unroll]] for (uint t = 0; t < KEYS; t++) {
                    const float k = OF_ROW(with.keys[t], f);
                    [[unroll]] for (uint r = 0; r < ROWS; r++)
                        some[r][t] = (i == 0 ? 0.0 : some[r][t]) + query[r * DIM + f] * k;
                }
            }
        }
        [[unroll]] for (uint r = 0; r < ROWS; r++)
            [[unroll]] for (uint t = 0; t < KEYS; t++)
                a[r][t] += some[r][t];
    }
}

/* a = w; those from `live` on and those of keys that a row does not see are 0. */
void find_weights(bool sees[ROWS], uint live, inout float a[ROWS][KEYS], out float factor[ROWS])
{
    [[unroll]] for (uint r = 0; r < ROWS; r++) {
        float m = peak[r];
        [[unroll]] for (uint t = 0; t < KEYS; t++) {
            a[r][t] = sees[r] && t < live ? a[r][t] * push.scale : MASKED;
            const float n = exponent_for_max(a[r][t]);
            m = n > m ? n : m;
        }
        factor[r] = exp2i(peak[r] - m);
        peak[r] = m;
        float total = 0.0;
        [[unroll]] for (uint t = 0; t < KEYS; t++) {
            a[r][t] = scaled_exp(a[r][t], m);
            total += a[r][t];
        }
        recent_norm[r] = recent_norm[r] * factor[r] + total;
    }
}

/* recent = recent factor + w v of GROUP columns, in the rows that see the keys. */
void add_values(uint group, rows with, bool sees[ROWS], float w[ROWS][KEYS], float factor[ROWS])
{
    if (APART(DIM + group)) {
        [[unroll]] for (uint i = 0; i < GROUP; i++) {
            const uint c = group + i;
            if (c < VALUE_DIM) {
                float v[KEYS];
                [[unroll]] for (uint t = 0; t < KEYS; t++)
                    v[t] = OF_ROW(with.values[t], c);
                [[unroll]] for (uint r = 0; r < ROWS; r++) {
                    float sum = w[r][0] * v[0];
                    [[unroll]] for (uint t = 1; t < KEYS; t++)
                        sum += w[r][t] * v[t];
                    const float before = recent[r * VALUE_DIM + c];
                    recent[r * VALUE_DIM + c] = sees[r] ? before * factor[r] + sum : before;
                }
            }
        }
    }
}

/* The keys j .. j + live - 1: KEYS, which all rows see, or 1. */
void take(uint j, uint live)
{
    const rows with = load(j, live);
    float weights[ROWS][KEYS], factor[ROWS];
    bool sees[ROWS];
    [[unroll]] for (uint r = 0; r < ROWS; r++) {
        sees[r] = j < seen_by(lane + LANES * r);
        [[unroll]] for (uint t = 0; t < KEYS; t++)
            weights[r][t] = 0.0;
    }
    [[unroll]] for (uint group = 0; group < DIM; group += GROUP)
        add_scores(group, with, weights);
    find_weights(sees, live, weights, factor);
    [[unroll]] for (uint group = 0; group < VALUE_DIM; group += GROUP)
        add_values(group, with, sees, weights, factor);
}

/* The span's sums to those before it. */
void settle()
{
    [[unroll]] for (uint r = 0; r < ROWS; r++) {
        const float factor = exp2i(sums_peak[r] - peak[r]);
        sums_peak[r] = peak[r];
        norm[r] *= factor;
        norm_low[r] *= factor;
        add(norm[r], norm_low[r], vec4(recent_norm[r]));
        recent_norm[r] = 0.0;
        [[unroll]] for (uint i = 0; i < FOURS; i++) {
            const uint at = r * FOURS + i;
            const vec4 x = vec4(recent[4 * at], recent[4 * at + 1], recent[4 * at + 2], recent[4 * at + 3]);
            sums[at] *= factor;
            lows[at] *= factor;
            add(sums[at], lows[at], x);
            [[unroll]] for (uint n = 0; n < 4; n++)
                recent[4 * at + n] = 0.0;
        }
    }
}

/* Where the carry of a lane's row begins. */
uint carry_at(uint r)
{
    const uint group = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    return ((group * ROWS + r) * LANES + lane) * DJ_SOFTMAX_CARRY_ROW(VALUE_DIM);
}

void load_queries()
{
    [[unroll]] for (uint r = 0; r < ROWS; r++) {
        const uint q = queries_base + min(lane + LANES * r, count - 1) * push.q_stride[2];
        [[unroll]] for (uint i = 0; i < DIM / 4; i++) {
            const vec4 four = ELEMENTS(queries, Q_TYPE, q + 4 * i);
            [[unroll]] for (uint n = 0; n < 4; n++)
                query[r * DIM + 4 * i + n] = four[n];
        }
    }
}

void start()
{
    const bool carried = (push.carry & DJ_CARRY_READ) != 0;
    [[unroll]] for (uint r = 0; r < ROWS; r++) {
        const vec4 row = carried ? carry.data[carry_at(r)] : vec4(EMPTY, 0.0, 0.0, 0.0);
        peak[r] = sums_peak[r] = row.x;
        norm[r] = vec4(row.y);
        norm_low[r] = vec4(row.z);
        recent_norm[r] = 0.0;
    }
    [[unroll]] for (uint i = 0; i < ROWS * FOURS; i++)
        sums[i] = lows[i] = vec4(0.0);
    [[unroll]] for (uint i = 0; i < ROWS * VALUE_DIM; i++)
        recent[i] = 0.0;
    if (carried) {
        [[dont_unroll]] for (uint at = 0; at < ROWS * FOURS; at++) {
            const uint place = carry_at(at / FOURS) + 1 + at % FOURS * 2;
            NEXT(sums)
            NEXT(lows)
            sums[ROWS * FOURS - 1] = carry.data[place];
            lows[ROWS * FOURS - 1] = carry.data[place + 1];
        }
    }
}

void write_carry()
{
    [[unroll]] for (uint r = 0; r < ROWS; r++)
        carry.data[carry_at(r)] = vec4(peak[r], norm[r].x, norm_low[r].x, 0.0);
    [[dont_unroll]] for (uint at = 0; at < ROWS * FOURS; at++) {
        const uint place = carry_at(at / FOURS) + 1 + at % FOURS * 2;
        carry.data[place] = sums[0];
        carry.data[place + 1] = lows[0];
        NEXT(sums)
        NEXT(lows)
    }
}

void write_outputs()
{
    [[unroll]] for (uint r = 0; r < ROWS; r++) {
        const uint row = lane + LANES * r;
        const float n = norm[r].x; /* 0: no key was seen */
        [[dont_unroll]] for (uint i = 0; i < FOURS; i++) {
            if (row < count)
                store_four(outputs_base + row * push.o_stride[2] + 4 * i, n == 0.0 ? vec4(0.0) : sums[0] / n);
            NEXT(sums)
        }
    }
}

void main()
{
    lane = gl_SubgroupInvocationID;
    find_tile(ROWS * LANES);
    if (count == 0)
        return;

    const uint seen = seen_by(count - 1), all = seen_by(0);
    if (seen == 0 && push.carry == (DJ_CARRY_READ | DJ_CARRY_WRITE))
        return; /* the carry stays as it is */
    load_queries();
    start();
    uint j = 0;
    [[dont_unroll]] while (j < seen) {
        const uint stop = min(seen, j + SPAN);
        [[dont_unroll]] while (j < stop) {
            const uint live = j + KEYS <= min(all, stop) ? KEYS : 1;
            take(j, live);
            j += live;
        }
        settle();
    }
    if ((push.carry & DJ_CARRY_WRITE) != 0)
        write_carry();
    else
        write_outputs();
}
