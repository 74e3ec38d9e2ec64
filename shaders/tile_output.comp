#version 450
/* SPDX-License-Identifier: MIT */
/* Phase 3 of the tiled prefix sum: the outputs of a tile's tokens,
 *   num_i = sum_f w_i[f] 2^(M[f] - E[f]) S[f] + sum_{j<=i} A_ij v_j,   den_i likewise with z and 1,
 *   A_ij  = sum_f w_i[f] phi_j[f] gamma^-j 2^-E[f]
 * with S, z, M the state before the tile, P the exponents of the tile's keys, E[f] = max(M[f], P[f]), and a
 * row's weights
 *   w_i[f] = phi_i[f] 2^(E[f] - c_i),   c_i = max_f (exponent of phi_i[f] + E[f]).
 * c_i cancels in num / den; without the normaliser the result is num 2^c_i gamma^i.
 *
 * Every weight is at most 3. What a row cannot see must not make what it can see underflow: P comes
 * from all keys of the tile, and a row sees only those up to itself. Every row sees the state and the
 * tile's first key; if they alone would give it a c_i smaller by more than GROWTH bits, the scores are
 * evaluated pair by pair instead, with c_i from what row i sees, and E = M; both forms then lose nothing above
 * 2^-60 of a row's largest term. (Of float16 factors: GROWTH is tile_matrix.glsl's.)
 *
 * Workgroup (x, y, z): tile, sequence and query head, share of the column blocks (64 each).
 * A: invocation t has rows 4 (t / 8) .., keys 4 (t % 8) .. of a 32 x 32 block.
 * Outputs: invocation t has rows 8 (t / 16) .., columns 4 (t % 16) ..
 * The products are tile_plain.glsl's or, with MATRIX, those of cooperative matrices in tile_matrix.glsl.
 * Without CAUSAL all tokens are in the state, and there is no A. */
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "kernels.h"
#include "bindings.glsl"
#include "logscale.glsl"
#ifdef MATRIX
#include "matrix.glsl"
#endif

layout(local_size_x = DJ_TILE_THREADS) in;
layout(constant_id = 0) const uint FEATURES = 64;
layout(constant_id = 1) const uint VALUE_DIM = 64;
layout(constant_id = 2) const bool DECAY = false;
layout(constant_id = 3) const bool LINEAR = false;
layout(constant_id = 4) const uint V_TYPE = DJ_ELEMENT_FLOAT32;
layout(constant_id = 5) const uint AHEAD = 1; /* loads that an invocation has under way at once: 1, 2, 4 */
layout(constant_id = 6) const uint O_TYPE = DJ_ELEMENT_FLOAT32;
layout(constant_id = 7) const bool CAUSAL = true;
layout(constant_id = 12) const uint DENOMINATOR = DJ_DENOMINATOR_PLAIN;

PUSH(tile_output_push)
BUFFER(0, readonly, Queries, float, queries)
BUFFER(1, readonly, Keys, float, keys)
BUFFER(2, readonly, Values, uint, values)
BUFFER(4, readonly, Tiles, float, tiles)   /* CAUSAL: P */
BUFFER_ALIGNED(5, readonly, Before, vec4, before, 16) /* S, z, M; scratch memory is aligned */
BUFFER(6, readonly, Decay, vec4, decay)
#define OUTPUTS 3
#define SPANS 7
#define DECAY_SPAN DJ_TILE_TOKENS
#include "decay.glsl"
#include "denominator.glsl"
#define VECTORS (AHEAD > 1)
#include "elements.glsl"
#include "feature.glsl"
#include "outputs.glsl"
#include "spans.glsl"
#include "walk.glsl"

const uint HALF = DJ_TILE_FEATURES / 2;
const uint ROWS = DJ_TILE_THREADS / DJ_TILE_FEATURES; /* whose features are loaded at once */

/* Of one block of features: E; what every row sees of them, or else the norms before the tile; and what brings these
 * and the sums to the unit of the weights, 2^(M - E). */
shared float peak[DJ_TILE_FEATURES], seen_or_norm[DJ_TILE_FEATURES], state_power[DJ_TILE_FEATURES];
shared float centre[DJ_TILE_TOKENS];
shared float partial[2][DJ_TILE_TOKENS], partial_seen[2][DJ_TILE_TOKENS];
shared uint pairwise; /* 1: the guard failed */

uint count;                     /* of the tile's tokens */
uint queries_base, keys_base;   /* of the tile, in queries and keys */
uint before_base;               /* of the state, in before */
uint record;                    /* of the tile, in tiles */
uint head;                      /* the key head */

/* Loads are of what is there, and what is not is replaced behind them: a condition around them would make each
 * wait for the one before. Rows beyond the last are 0; features beyond the last are MASKED, of no weight. */
float query(uint row, uint f)
{
    const float a = queries.data[queries_base + min(row, count - 1) * FEATURES + min(f, FEATURES - 1)];
    return f < FEATURES ? row < count ? a : 0.0 : MASKED;
}

float key(uint j, uint f)
{
    const float a = keys.data[keys_base + min(j, count - 1) * FEATURES + min(f, FEATURES - 1)];
    return j < count && f < FEATURES ? a : MASKED;
}

/* The exponent of a key's feature as the tile sees it: decay turned into growth. */
float grown_exponent(float a, vec2 growth)
{
    return exponent_for_max(a) + growth.y;
}

float number_before(uint at)
{
    return before.data[(before_base + at) / 4][at % 4];
}

/* M[f], EMPTY where nothing was seen. */
float exponent_before(uint f)
{
    const float norm = number_before(push.before_norm + f), m = number_before(push.before_peak + f);
    return norm == 0.0 ? EMPTY : m;
}

/* P[f] */
float exponent_of_tile(uint f)
{
    return CAUSAL ? tiles.data[record + DJ_RECORD_PEAK(FEATURES, VALUE_DIM) + f] : EMPTY;
}

/* Without CAUSAL what is before is the carry, which keeps its low parts apart. */
float norm_before(uint f)
{
    const float high = number_before(push.before_norm + f);
    return CAUSAL ? high : high + number_before(push.before_norm + FEATURES + f);
}

/* Of four columns, and of one. */
vec4 sums_before(uint f, uint c)
{
    const uint at = before_base + f * VALUE_DIM + c;
    if (CAUSAL)
        return before.data[at / 4];
    return before.data[at / 4] + before.data[(at + DJ_STATE_LOW(FEATURES, VALUE_DIM)) / 4];
}

float sum_before(uint f, uint c)
{
    const uint at = f * VALUE_DIM + c;
    return CAUSAL ? number_before(at) : number_before(at) + number_before(DJ_STATE_LOW(FEATURES, VALUE_DIM) + at);
}

vec4 load_value(uint base, uint j, uint c)
{
    const uint at = base + j * push.v_stride[2] + c;
    return ELEMENTS(values, V_TYPE, at);
}

#ifdef MATRIX
#include "tile_matrix.glsl"
#else
#include "tile_plain.glsl"
#endif

/* centre[row] = c_row; false if the guard fails for one of the rows. Two invocations share a row; beyond the
 * last feature it counts again, which changes no maximum. */
bool find_centres()
{
    const uint t = gl_LocalInvocationID.x, row = t % DJ_TILE_TOKENS, part = t / DJ_TILE_TOKENS;
    float largest = 2.0 * EMPTY, seen = 2.0 * EMPTY;
    [[dont_unroll]] for (uint f0 = 0; f0 < FEATURES; f0 += DJ_TILE_FEATURES) {
        if (t < DJ_TILE_FEATURES) {
            const uint f = min(f0 + t, FEATURES - 1);
            const float m = exponent_before(f), p = exponent_of_tile(f);
            peak[t] = max(m, p);
            if (CAUSAL) /* of what every row sees */
                seen_or_norm[t] = max(m, grown_exponent(key(0, f), decay_growth(head, 0)));
        }
        barrier();
        [[dont_unroll]] for (uint first = part; first < DJ_TILE_FEATURES; first += 2 * AHEAD) {
            float a[AHEAD];
            [[unroll]] for (uint i = 0; i < AHEAD; i++)
                a[i] = query(row, min(f0 + first + 2 * i, FEATURES - 1));
            [[unroll]] for (uint i = 0; i < AHEAD; i++) {
                const float q = exponent_for_max(a[i]);
                largest = max(largest, q + peak[first + 2 * i]);
                if (CAUSAL)
                    seen = max(seen, q + seen_or_norm[first + 2 * i]);
            }
        }
        barrier();
    }
    partial[part][row] = largest;
    partial_seen[part][row] = seen;
    if (gl_LocalInvocationID.x == 0)
        pairwise = 0;
    barrier();
    if (part == 0) {
        centre[row] = max(partial[0][row], partial[1][row]);
        seen = max(partial_seen[0][row], partial_seen[1][row]);
        if (CAUSAL && row < count && centre[row] - seen > GROWTH)
            FLAG(pairwise);
    }
    barrier();
    return pairwise == 0;
}

/* The same of what each row sees, pair by pair. */
void find_visible_centres()
{
    const uint row = gl_LocalInvocationID.x % DJ_TILE_TOKENS;
    const uint part = gl_LocalInvocationID.x / DJ_TILE_TOKENS;
    float largest = 2.0 * EMPTY;
    [[dont_unroll]] for (uint f = part; f < FEATURES; f += 2) {
        float visible = exponent_before(f);
        [[dont_unroll]] for (uint j = 0; j <= row; j++)
            visible = max(visible, grown_exponent(key(j, f), decay_growth(head, j)));
        largest = max(largest, exponent_for_max(query(row, f)) + visible);
    }
    partial[part][row] = largest;
    barrier();
    if (part == 0)
        centre[row] = max(partial[0][row], partial[1][row]);
    barrier();
}

/* What is shared of 32 features from f0; others read it after a barrier. `together`: scores are not done by pairs. */
void load_peaks(uint f0, bool together)
{
    const uint t = gl_LocalInvocationID.x, f = min(f0 + t, FEATURES - 1);
    if (t >= DJ_TILE_FEATURES)
        return;
    const float norm = norm_before(f), m = exponent_before(f);
    const float e = together ? max(m, exponent_of_tile(f)) : m, power = exp2_down(m - e);
    peak[t] = e;
    state_power[t] = power;
    seen_or_norm[t] = f0 + t < FEATURES ? SUMS_SCALED ? norm * power : norm : 0.0;
}

/* Rows' weights of 32 features from f0; an invocation's are of one feature. */
void load_row_weights(uint f0)
{
    const uint f = gl_LocalInvocationID.x % DJ_TILE_FEATURES;
    [[dont_unroll]]
    for (uint first = gl_LocalInvocationID.x / DJ_TILE_FEATURES; first < DJ_TILE_TOKENS; first += ROWS * AHEAD) {
        float a[AHEAD];
        [[unroll]] for (uint i = 0; i < AHEAD; i++)
            a[i] = query(first + ROWS * i, f0 + f);
        [[unroll]] for (uint i = 0; i < AHEAD; i++) {
            const uint row = first + ROWS * i;
            set_row(f, row, scaled_feature(a[i], peak[f], centre[row]));
        }
    }
}

void load_key_weights(uint f0)
{
    const uint f = gl_LocalInvocationID.x % DJ_TILE_FEATURES;
    [[dont_unroll]]
    for (uint first = gl_LocalInvocationID.x / DJ_TILE_FEATURES; first < DJ_TILE_TOKENS; first += ROWS * AHEAD) {
        float a[AHEAD];
        [[unroll]] for (uint i = 0; i < AHEAD; i++)
            a[i] = key(first + ROWS * i, f0 + f);
        [[unroll]] for (uint i = 0; i < AHEAD; i++) {
            const uint j = first + ROWS * i;
            const vec2 growth = decay_growth(head, j);
            set_key(f, j, growth.x * scaled_feature(a[i], growth.y, peak[f]));
        }
    }
}

/* Features as they are, for the pairwise form. */
void load_features(uint f0)
{
    for (uint i = gl_LocalInvocationID.x; i < DJ_TILE_TOKENS * DJ_TILE_FEATURES;
         i += DJ_TILE_THREADS) {
        const uint j = i / DJ_TILE_FEATURES, f = i % DJ_TILE_FEATURES;
        ROW_FEATURE(f, j) = query(j, f0 + f);
        KEY_FEATURE(f, j) = key(j, f0 + f);
    }
}

/* phi_i phi_j gamma^-j 2^-c, at most about 4: c is at least the sum of the exponents. */
float pair_weight(float q, float k, vec2 growth, float c)
{
    if (!is_finite(q) || !is_finite(k))
        return nan();
    if (is_masked(k))
        return 0.0;
    float nq, nk;
    const float mq = split_feature(q, nq), mk = split_feature(k, nk);
    precise float of_key = nk + growth.y;
    precise float sum = nq + of_key;
    precise float exponent = sum - c;
    return mq * mk * growth.x * exp2i(exponent);
}

/* Adds 32 features' share to the invocation's block, pair by pair; to a copy, so that the block, which is
 * indexed here by what only the loop knows, need not lie in memory elsewhere. */
void add_pairs(uint features, uint row, uint key_block)
{
    vec4 sums[4] = block;
    [[dont_unroll]] for (uint f = 0; f < features; f++) {
        [[dont_unroll]] for (uint i = 0; i < 16; i++) {
            const uint j = key_block * 4 + i / 4, r = row * 4 + i % 4;
            if (j <= r)
                sums[i / 4][i % 4] += pair_weight(ROW_FEATURE(f, r), KEY_FEATURE(f, j),
                                                  decay_growth(head, j), centre[r]);
        }
    }
    block = sums;
}

/* The invocation's block of scores, 0 where a row does not see a key, for all to read. */
void share_scores(uint row, uint key_block)
{
    for (uint i = 0; i < 4; i++) {
        const uint j = key_block * 4 + i;
        score[j][row] = mix(vec4(0.0), block[i], lessThanEqual(uvec4(j), row * 4 + uvec4(0, 1, 2, 3)));
    }
    barrier();
    round_scores();
}

void find_scores_by_pairs()
{
    const uint row = gl_LocalInvocationID.x / 8, key_block = gl_LocalInvocationID.x % 8;
    [[dont_unroll]] for (uint f0 = 0; f0 < FEATURES; f0 += DJ_TILE_FEATURES) {
        load_features(f0);
        barrier();
        if (key_block <= row) /* else no row of the block sees any of its keys */
            add_pairs(min(FEATURES - f0, DJ_TILE_FEATURES), row, key_block);
        barrier();
    }
    share_scores(row, key_block);
}

/* Adds 32 features' share to the denominators; two invocations share a row. */
void add_norms(uint f0)
{
    const uint row = gl_LocalInvocationID.x % DJ_TILE_TOKENS;
    const uint part = gl_LocalInvocationID.x / DJ_TILE_TOKENS;
    float sum = 0.0;
    [[dont_unroll]] for (uint f = part * HALF; f < (part + 1) * HALF; f += AHEAD) {
        [[unroll]] for (uint i = 0; i < AHEAD; i++)
            sum += row_weight(f + i, row) * seen_or_norm[f + i];
    }
    partial[part][row] += sum;
}

/* ... and what a row sees of the tile's keys; others read it after a barrier. */
void add_score_sums()
{
    const uint row = gl_LocalInvocationID.x % DJ_TILE_TOKENS;
    if (!CAUSAL || gl_LocalInvocationID.x / DJ_TILE_TOKENS > 0)
        return;
    float sum = 0.0;
    for (uint j = 0; j <= row; j++)
        sum += score[j][row / 4][row % 4];
    partial[0][row] += sum;
}

/* 2^c gamma^i, as factors. */
vec3 scale_of(uint row)
{
    const vec3 power = decay_power(head, row);
    return vec3(power.x, exp2_halves(centre[row] + power.y));
}

/* Outputs of 64 columns from c0. With the workgroup's first ones come the denominators and, if `together`, the
 * scores, from the same weights. */
void write_columns(uint values_base, uint outputs_base, uint c0, bool first, bool together)
{
    const uint t = gl_LocalInvocationID.x, row = t / 16 * 8;
    const uint c = c0 + t % 16 * 4;
    const bool scores = CAUSAL && first && together;
    vec4 sums[8];
    for (uint i = 0; i < 8; i++)
        sums[i] = vec4(0.0);

    start_states(c0);
    [[dont_unroll]] for (uint f0 = 0; f0 < FEATURES; f0 += DJ_TILE_FEATURES) {
        barrier();
        load_peaks(f0, together);
        barrier();
        load_row_weights(f0);
        if (scores) {
            load_key_weights(f0);
            barrier();
            add_scores(min(FEATURES - f0, DJ_TILE_FEATURES), t / 8, t % 8);
        }
        load_states(f0, c0, scores);
        if (first)
            add_norms(f0);
        add_states(f0, row, c, sums);
    }
    if (scores) {
        take_scores(t / 8, t % 8);
        share_scores(t / 8, t % 8);
    }
    if (first)
        add_score_sums();
    take_states(row, sums);
    barrier();
    if (CAUSAL)
        add_values(values_base, c0, row, c, sums);
    if (c >= VALUE_DIM)
        return;
    for (uint r = row; r < min(row + 8, count); r++) {
        const vec4 result = finish(sums[0], partial[0][r] + partial[1][r], scale_of(r));
        store_four(outputs_base + r * push.o_stride[2] + c, result);
        NEXT(sums)
    }
}

void main()
{
    const uint tile = gl_WorkGroupID.x, query_heads = push.heads * push.group;
    const uint sequence = gl_WorkGroupID.y / query_heads, query_head = gl_WorkGroupID.y % query_heads;
    const uint key_head = query_head / push.group, sequence_head = sequence * push.heads + key_head;
    const uint first_token = tile * DJ_TILE_TOKENS, tokens = span_tokens(sequence);
    if (first_token >= tokens)
        return;
    count = min(tokens - first_token, DJ_TILE_TOKENS);
    queries_base = (gl_WorkGroupID.y * push.tokens + first_token) * FEATURES;
    keys_base = (sequence_head * push.tokens + first_token) * FEATURES;
    before_base = sequence_head * push.before_head + tile * push.before;
    record = (sequence_head * push.tiles + tile) * DJ_RECORD_SIZE(FEATURES, VALUE_DIM);
    head = push.first_head + key_head;

    for (uint i = 0; i < 4; i++)
        block[i] = vec4(0.0);
    start_scores();
    const bool together = find_centres();
    if (CAUSAL && !together) {
        find_visible_centres();
        find_scores_by_pairs();
    }
    partial[gl_LocalInvocationID.x / DJ_TILE_TOKENS][gl_LocalInvocationID.x % DJ_TILE_TOKENS] = 0.0;
    const uint row = span_row(sequence) + first_token;
    const uint values_base = push.v_base + sequence * push.v_stride[0] +
                             key_head * push.v_stride[1] + row * push.v_stride[2];
    const uint outputs_base = push.o_base + sequence * push.o_stride[0] +
                              query_head * push.o_stride[1] + row * push.o_stride[2];
    const uint first_column = gl_WorkGroupID.z * DJ_TILE_VALUES;
    for (uint c0 = first_column; c0 < VALUE_DIM; c0 += gl_NumWorkGroups.z * DJ_TILE_VALUES)
        write_columns(values_base, outputs_base, c0, c0 == first_column, together);
}
