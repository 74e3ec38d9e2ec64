#version 450
/* SPDX-License-Identifier: MIT */
/* The step of decoding: one token of every sequence, everything in one dispatch. Of each head
 *   S = gamma S + phi_k v,   z = gamma z + |phi_k|,   o = phi_q S  (over phi_q z),
 * S and z being read and written once; who reads and who writes a word is the same workgroup.
 *
 *     feature f of key and queries: invocation f, f + THREADS ..
 *     sums: columns 4 (t % LANES) .., features t / LANES, t / LANES + PARTS ..
 *
 *                 columns e                LANES invocations go along a row of sums, 4 columns each;
 *              +-------------+             PARTS = THREADS / LANES rows at a time
 *     features | 0 1 2 3 ... |  part 0
 *        m     |             |  part 1     shares of an output are added up over the parts
 *              |             |  part 0
 *              +-------------+
 *
 * Exponents are the scan's (tile_scan.comp): a sum is a pair of floats times 2^peak[f], its norm between
 * 1/2 and 2. The weights of a query belong to the peaks after the step, so no term of the sum exceeds
 * its scale.
 *
 * The slot's header. Where state goes out to the slot that it came in from, all heads judge a header that
 * head 0 is about to write. Of a header that is right, it changes nothing that they look at; of a slot of
 * zero bytes its first word comes last, and until then and afterwards the others read the same zeros;
 * one that is wrong stays so, and one of zeros before head 0's block that is not; of other heads' blocks head 0
 * knows nothing, and dijiang/attention.h promises nothing.
 *
 * Workgroup: sequence and key head. */
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "kernels.h"
#include "bindings.glsl"
#include "logscale.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint DIM = 64;
layout(constant_id = 2) const uint FEATURES = 64;
layout(constant_id = 3) const uint VALUE_DIM = 64;
layout(constant_id = 4) const uint GROUP = 1; /* query heads to a key head */
layout(constant_id = 5) const uint FEATURE = DJ_FEATURE_EXPONENTIAL;
layout(constant_id = 6) const uint DENOMINATOR = DJ_DENOMINATOR_PLAIN;
layout(constant_id = 7) const uint OPTIONS = 0; /* DJ_STEP_*, any together */
layout(constant_id = 8) const uint Q_TYPE = DJ_ELEMENT_FLOAT32;
layout(constant_id = 9) const uint K_TYPE = DJ_ELEMENT_FLOAT32;
layout(constant_id = 10) const uint V_TYPE = DJ_ELEMENT_FLOAT32;
layout(constant_id = 11) const uint O_TYPE = DJ_ELEMENT_FLOAT32;
layout(constant_id = 12) const uint AHEAD = 1; /* features whose sums an invocation has under way at once, and
                                           * fours of a product's terms: 1, 2, 4, as TERMS is 16 */

PUSH(step_push)
BUFFER(0, readonly, Queries, uint, queries)
BUFFER(1, readonly, Keys, uint, keys)
BUFFER(2, readonly, Values, uint, values)
BUFFER(4, coherent, Slots, uint, slots)       /* the headers */
BUFFER_ALIGNED(4, , Blocks, vec4, blocks, 16) /* ... and what is behind them: slots are aligned */
BUFFER(5, readonly, Numbers, float, numbers)  /* t, ln D, V of dj_features */
BUFFER(6, readonly, Indices, int, indices)    /* slots in and out */
BUFFER(7, readonly, Own, float, own)          /* gamma of each head, then the transforms' matrix */
#define OUTPUTS 3
#define HEADER_HEADS push.heads
#define HEADER_DIM DIM
#include "denominator.glsl"
#define VECTORS (AHEAD > 1)
#include "elements.glsl"
#include "outputs.glsl"
#include "slots.glsl"
#define HEADER_ORDER() memoryBarrierBuffer() /* of the device's scope */
#include "slot_header.glsl"

const bool DECAY = (OPTIONS & DJ_STEP_DECAY) != 0, LINEAR = (OPTIONS & DJ_STEP_LINEAR) != 0;
const bool KEY_NORMALISE = (OPTIONS & DJ_STEP_KEY_NORMALISE) != 0;
const bool TRANSFORM = (OPTIONS & DJ_STEP_TRANSFORM) != 0;
const bool DIRECTIONS = (OPTIONS & DJ_STEP_DIRECTIONS) != 0;
const bool SOFTMAX = FEATURE == DJ_FEATURE_SOFTMAX || FEATURE == DJ_FEATURE_SOFTMAX_VALUE;
const bool NUMBERS = SOFTMAX || FEATURE == DJ_FEATURE_EXPONENTIAL;
const uint THREADS = gl_WorkGroupSize.x;
const uint ROWS = 1 + GROUP; /* the key and its queries */
const uint FOURS = VALUE_DIM / 4, LANES = FOURS < THREADS ? FOURS : THREADS, PARTS = THREADS / LANES;
const uint TERMS = 16; /* of a product, summed by themselves: less rounding than one long sum */

#include "feature.glsl"

shared vec4 rows[ROWS * DIM / 4];
shared float weight[ROWS * FEATURES]; /* features, then weights */
shared float age[FEATURES];           /* factor of what came in, but for gamma's mantissa */
shared float rescale[FEATURES];       /* ... of what goes out */
shared float peak[FEATURES], norm[FEATURES]; /* after the step */
shared float partial[THREADS];
shared uint spoiled; /* 1: behind a header of zeros there is something */
shared vec4 shares[THREADS];

uint t, sequence, head;
float projections[ROWS], squares[ROWS]; /* of a feature, as is the next one */
vec2 own_numbers; /* t and ln D, loaded before what takes time */

/* Maps */

float projected(uint row, uint i)
{
    return projections[row];
}

float loaded_frequency(uint i)
{
    return numbers.data[head * push.head_stride + i];
}

float loaded_log_weight(uint i)
{
    return numbers.data[push.weights + head * push.head_stride + i];
}

float frequency(uint i)
{
    return own_numbers.x;
}

float log_weight(uint i)
{
    return own_numbers.y;
}

float square_sum(uint row)
{
    return push.square_factor * squares[row];
}

#define WITHOUT_PLACES
#include "maps.glsl"

void load_rows()
{
    const uint k = push.k_base + sequence * push.k_stride[0] + head * push.k_stride[1];
    const uint q = push.q_base + sequence * push.q_stride[0] + head * GROUP * push.q_stride[1];
    if (t == 0)
        spoiled = 0;
    for (uint n = t; n < DIM; n += THREADS) {
        float x[ROWS];
        x[0] = ELEMENT(keys, K_TYPE, k + n);
        for (uint r = 1; r < ROWS; r++)
            x[r] = ELEMENT(queries, Q_TYPE, q + (r - 1) * push.q_stride[1] + n);
        for (uint r = 0; r < ROWS; r++)
            rows[(r * DIM + n) / 4][n % 4] = x[r] * push.factor;
    }
    barrier();
}

float matrix(uint n, uint i)
{
    const uint at = n * FEATURES + i;
    return TRANSFORM ? own.data[push.matrix + at] : numbers.data[push.matrix + head * push.matrix_stride + at];
}

/* projections[] and squares[] for feature i. */
void project(uint i)
{
    for (uint r = 0; r < ROWS; r++)
        projections[r] = squares[r] = 0.0;
    if (!TRANSFORM && !DIRECTIONS) {
        for (uint r = 0; r < ROWS; r++)
            projections[r] = rows[(r * DIM + i) / 4][i % 4];
        return;
    }
    [[dont_unroll]] for (uint first = 0; first < DIM; first += TERMS) {
        float product[ROWS], square[ROWS];
        for (uint r = 0; r < ROWS; r++)
            product[r] = square[r] = 0.0;
        const uint end = min(first + TERMS, DIM);
        [[dont_unroll]] for (uint from = first; from < end; from += 4 * AHEAD) {
            float m[4 * AHEAD];
            [[unroll]] for (uint n = 0; n < 4 * AHEAD; n++)
                m[n] = matrix(min(from + n, DIM - 1), i);
            for (uint r = 0; r < ROWS; r++) {
                [[unroll]] for (uint four = 0; four < 4 * AHEAD; four += 4) {
                    if (from + four < end) {
                        const vec4 x = rows[(r * DIM + from + four) / 4];
                        for (uint n = 0; n < 4; n++) {
                            product[r] += x[n] * m[four + n];
                            square[r] += DIRECTIONS ? x[n] * x[n] : 0.0;
                        }
                    }
                }
            }
        }
        for (uint r = 0; r < ROWS; r++) {
            projections[r] += product[r];
            squares[r] += square[r];
        }
    }
}

/* Over all invocations' x; all of them take part and have the result. */
#define REDUCE(name, both) \
    float name(float x) \
    { \
        barrier(); \
        partial[t] = x; \
        barrier(); \
        [[dont_unroll]] for (uint half_way = THREADS / 2; half_way > 0; half_way /= 2) { \
            if (t < half_way) { \
                const float a = partial[t], b = partial[t + half_way]; \
                partial[t] = both; \
            } \
            barrier(); \
        } \
        return partial[0]; \
    }
REDUCE(find_largest, max(a, b))
REDUCE(find_sum, a + b)

/* What a row's sum is over, as a logarithm. */
float summand(uint row, uint i)
{
    return weight[row * FEATURES + i] + (KEY_NORMALISE ? loaded_log_weight(i) : 0.0);
}

void subtract_log_sum(uint row)
{
    float largest = -3.0e38, sum = 0.0;
    for (uint i = t; i < FEATURES; i += THREADS)
        largest = max(largest, summand(row, i));
    largest = find_largest(largest);
    for (uint i = t; i < FEATURES; i += THREADS)
        sum += exponential(summand(row, i) - largest);
    const float shift = largest + precise_log(find_sum(sum));
    for (uint i = t; i < FEATURES; i += THREADS) {
        const float a = weight[row * FEATURES + i] - shift;
        weight[row * FEATURES + i] = FEATURE == DJ_FEATURE_SOFTMAX_VALUE ? exponential(a) : a;
    }
}

/* weight[] = features of the key and its queries, each invocation its own. */
void find_features()
{
    load_rows();
    for (uint i = t; i < FEATURES; i += THREADS) {
        if (NUMBERS)
            own_numbers = vec2(loaded_frequency(i), loaded_log_weight(i));
        project(i);
        for (uint r = 0; r < ROWS; r++)
            weight[r * FEATURES + i] = feature(r, i);
    }
    if (SOFTMAX) {
        [[dont_unroll]] for (uint r = 0; r < ROWS; r++)
            subtract_log_sum(r);
    } else if (KEY_NORMALISE) {
        subtract_log_sum(0);
    }
}

/* State */

int find_slot(uint base)
{
    return base == DJ_STEP_NO_SLOTS ? -1 : checked_slot(indices.data[base + sequence]);
}

/* One invocation's matter, but all of the workgroup come: some drivers make a barrier of the order. */
void write_header(int in_slot, int out_slot, uint content)
{
    const uint to = slot_start(out_slot);
    if (in_slot == out_slot && (content == SLOT_ALIEN || spoiled != 0))
        return;
    const bool right = in_slot == out_slot && content == SLOT_STATE;
    if (t == 0) {
        const uvec2 seen = add_tokens(content == SLOT_STATE ? slot_tokens(in_slot) : uvec2(0), 1);
        for (uint i = right ? 2 : 1; i < (right ? 4 : DJ_STATE_HEADER_WORDS); i++)
            slots.data[to + i] = header_word(i, seen);
    }
    HEADER_ORDER();
    if (!right && t == 0)
        slots.data[to] = header_word(0, uvec2(0));
}

/* A word of the slots, by its place. */
#define WORD(at) blocks.data[(at) / 4][(at) % 4]

/* gamma: mantissa, exponent, low part of the mantissa */
vec3 decay()
{
    const uint at = head * 4;
    return DECAY ? vec3(own.data[at], own.data[at + 1], own.data[at + 2]) : vec3(1.0, 0.0, 0.0);
}

/* The norms' step, and from it the factors that the sums take; the key's features become weights. */
void step_norms(int in_slot, int out_slot, uint content)
{
    const uint from = slot_block(in_slot, head), to = slot_block(out_slot, head);
    const vec3 gamma = decay();
    for (uint f = t; f < FEATURES; f += THREADS) {
        float high = content == SLOT_ALIEN ? nan() : 0.0, low = 0.0, old = EMPTY;
        if (content == SLOT_ZERO && WORD(from + DJ_STATE_NORM(FEATURES, VALUE_DIM) + f) != 0.0) {
            high = nan();
            FLAG(spoiled);
        }
        if (content == SLOT_STATE) {
            high = WORD(from + DJ_STATE_NORM(FEATURES, VALUE_DIM) + f);
            low = WORD(from + DJ_STATE_NORM_LOW(FEATURES, VALUE_DIM) + f);
            old = WORD(from + DJ_STATE_PEAK(FEATURES, VALUE_DIM) + f);
        }
        old = high == 0.0 ? EMPTY : content == SLOT_STATE ? old + gamma.y : 0.0;
        const float key = weight[f];
        float now = max(old, exponent_for_max(key));
        const float aged = exp2i(old - now), of_key = scaled_feature(key, 0.0, now);
        if (DECAY)
            multiply(high, low, gamma.x, gamma.z);
        float error;
        high = two_sum(high * aged, abs(of_key), error);
        low = low * aged + error;
        const bool apart = is_finite(high) && high > 0.0 && (high < 0.5 || high >= 2.0);
        const float shift = apart ? exponent_of(high) : 0.0, power = exp2i(-shift);
        high *= power;
        low *= power;
        now += shift;
        weight[f] = of_key;
        age[f] = aged;
        rescale[f] = power;
        peak[f] = now;
        norm[f] = high + low;
        if (out_slot >= 0) {
            WORD(to + DJ_STATE_NORM(FEATURES, VALUE_DIM) + f) = high;
            WORD(to + DJ_STATE_NORM_LOW(FEATURES, VALUE_DIM) + f) = low;
            WORD(to + DJ_STATE_PEAK(FEATURES, VALUE_DIM) + f) = high == 0.0 ? 0.0 : now;
        }
    }
}

/* A query's features to weights; returns its exponent and, with a denominator, that. */
vec2 weigh_query(uint row)
{
    float largest = 2.0 * EMPTY, sum = 0.0;
    for (uint f = t; f < FEATURES; f += THREADS)
        largest = max(largest, exponent_for_max(weight[row * FEATURES + f]) + peak[f]);
    largest = find_largest(largest);
    for (uint f = t; f < FEATURES; f += THREADS) {
        const float w = scaled_feature(weight[row * FEATURES + f], peak[f], largest);
        weight[row * FEATURES + f] = w;
        sum += w * norm[f];
    }
    return vec2(largest, DENOMINATOR == DJ_DENOMINATOR_NONE ? 1.0 : find_sum(sum));
}

const bool EARLY = AHEAD > 1; /* sums are loaded before what they wait for is made */
vec4 next_highs[AHEAD], next_lows[AHEAD];

/* Of four columns, from `from` on, sums of features `first`, `first` + PARTS .. Loads without a condition do not wait;
 * beyond the last feature the first is loaded again, nobody else's. */
void load_sums(uint from, uint first)
{
    [[unroll]] for (uint i = 0; i < AHEAD; i++) {
        const uint f = first + i * PARTS < FEATURES ? first + i * PARTS : first;
        next_highs[i] = blocks.data[(from + f * VALUE_DIM) / 4];
        next_lows[i] = blocks.data[(from + DJ_STATE_LOW(FEATURES, VALUE_DIM) + f * VALUE_DIM) / 4];
    }
}

/* Whether the invocation has features, and such a column. */
bool has_sums(uint column)
{
    return t < LANES * PARTS && t / LANES < FEATURES && column < VALUE_DIM;
}

/* The step of four columns' sums, and the shares of the outputs of this invocation's features. */
void step_sums(uint column, int in_slot, int out_slot, uint content, out vec4 nums[GROUP])
{
    const uint low_words = DJ_STATE_LOW(FEATURES, VALUE_DIM);
    const uint from = slot_block(in_slot, head) + column, to = slot_block(out_slot, head) + column;
    const uint at = push.v_base + sequence * push.v_stride[0] + head * push.v_stride[1] + column;
    const vec3 gamma = decay();
    for (uint g = 0; g < GROUP; g++)
        nums[g] = vec4(0.0);
    if (!has_sums(column))
        return;
    if (EARLY && column >= LANES * 4 && content == SLOT_STATE)
        load_sums(from, t / LANES);
    const vec4 value = ELEMENTS(values, V_TYPE, at);
    [[dont_unroll]] for (uint first = t / LANES; first < FEATURES; first += AHEAD * PARTS) {
        vec4 highs[AHEAD], lows[AHEAD];
        if (!EARLY && content == SLOT_STATE)
            load_sums(from, first);
        [[unroll]] for (uint i = 0; i < AHEAD; i++) {
            highs[i] = next_highs[i];
            lows[i] = next_lows[i];
        }
        if (EARLY && content == SLOT_STATE && first + AHEAD * PARTS < FEATURES)
            load_sums(from, first + AHEAD * PARTS);
        [[unroll]] for (uint i = 0, f = first; i < AHEAD; i++, f += PARTS) {
            if (f < FEATURES) {
                vec4 high = highs[i], low = lows[i];
                if (content != SLOT_STATE) {
                    high = vec4(is_finite(norm[f]) ? 0.0 : nan());
                    low = vec4(0.0);
                }
                for (uint n = 0; n < 4; n++) {
                    float a = high[n], b = low[n], error;
                    if (DECAY)
                        multiply(a, b, gamma.x, gamma.z);
                    a = two_sum(a * age[f], weight[f] * value[n], error);
                    b = b * age[f] + error;
                    high[n] = a * rescale[f];
                    low[n] = b * rescale[f];
                }
                if (out_slot >= 0) {
                    blocks.data[(to + f * VALUE_DIM) / 4] = high;
                    blocks.data[(to + low_words + f * VALUE_DIM) / 4] = low;
                }
                for (uint g = 0; g < GROUP; g++)
                    nums[g] += weight[(1 + g) * FEATURES + f] * (high + low);
            }
        }
    }
}

/* The share of part 0 becomes the sum of all. */
vec4 add_parts(vec4 share)
{
    if (PARTS == 1)
        return share;
    barrier();
    shares[t] = share;
    barrier();
    if (t < LANES) {
        [[dont_unroll]] for (uint part = 1; part < PARTS; part++)
            share += shares[part * LANES + t];
    }
    return share;
}

void main()
{
    const uint group = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    if (group >= push.sequences * push.heads) /* two axes hold more than there are */
        return;
    t = gl_LocalInvocationID.x;
    sequence = group / push.heads;
    head = group % push.heads;
    const int in_slot = find_slot(push.in_base), out_slot = find_slot(push.out_base);
    const uint content = slot_content(in_slot);

    if (EARLY && content == SLOT_STATE && has_sums(t % LANES * 4))
        load_sums(slot_block(in_slot, head) + t % LANES * 4, t / LANES);
    find_features();
    step_norms(in_slot, out_slot, content);
    barrier();
    vec2 scales[GROUP];
    for (uint g = 0; g < GROUP; g++)
        scales[g] = weigh_query(1 + g);
    barrier();
    const uint outputs_base = push.o_base + sequence * push.o_stride[0] + head * GROUP * push.o_stride[1];
    [[dont_unroll]] for (uint first = 0; first < FOURS; first += LANES) {
        const uint column = (first + t % LANES) * 4;
        vec4 nums[GROUP];
        step_sums(column, in_slot, out_slot, content, nums);
        for (uint g = 0; g < GROUP; g++) {
            const vec4 num = add_parts(nums[g]);
            if (t < LANES && column < VALUE_DIM)
                store_four(outputs_base + g * push.o_stride[1] + column,
                           finish(num, scales[g].y, vec3(1.0, exp2_halves(scales[g].x))));
        }
    }
    if (head == 0 && out_slot >= 0)
        write_header(in_slot, out_slot, content);
}
