#version 450
/* SPDX-License-Identifier: MIT */
/* The resident prefix sum: a workgroup is one subgroup, goes through a sequence's tokens in order and
 * holds the sums of its columns in registers. Everything happens here: the transform or the products with
 * directions, the map, the sums, the outputs; q, k, v come from memory once and o is written once, its lines
 * fetched before.
 *
 * Two layouts of the lanes alternate:
 *
 *     features of LANES tokens              a token's columns
 *                lane = token                       lane = EACH columns
 *              +---------------+                  +---------------+
 *     x[0]     | t0 t1 .. t7   |        recent[0] | c0-3 c4-7 ..  |   one row of S for each feature
 *     x[1]     |               |  ->    recent[1] |               |
 *     ..       |  transform,   |        ..        |               |
 *     x[d-1]   |  map, weights |        v, o      | of one token  |
 *              +---------------+                  +---------------+
 *                          one lane's weights go to all lanes
 *
 * so that neither a transform nor a sum ever crosses lanes; but for the norms' prefix sums over the
 * tokens, which are cheap. Features of LANES tokens serve each strip of columns in turn, and a strip takes
 * two tokens at once.
 *
 * The sums are S = held + recent: `recent` begins with 0 and takes at most SPAN tokens, then it is
 * settled: added to the block of the state in memory, which is a pair of floats and known to it.
 *
 * Exponents. A weight of key j is phi_j[f] gamma^-j 2^-M[f], with M[f] at least HEADROOM above the
 * exponent of the norm z[f] when settled. Tokens are taken together as long as no weight exceeds 4:
 * then M is the same for all of them, and what a row sees is at least 2^-HEADROOM of the scale. A token
 * whose key is larger settles the sums, raises M and starts anew. So a row meets no exponent that comes
 * from later keys.
 *
 * Compiling takes long. Mesa unrolls one loop of a block in each turn of its optimisations, the innermost first, so
 * loops that follow each other are few; and functions that use globals return in one place, see compile.py.
 *
 * Workgroup (x, y): member of the head's group, block of columns; sequence and head. */
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_ballot : require
#extension GL_KHR_shader_subgroup_shuffle : require
#extension GL_KHR_shader_subgroup_shuffle_relative : require
#include "kernels.h"
#include "bindings.glsl"
#include "logscale.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LANES = 8;
layout(constant_id = 1) const uint FEATURES = 64;
layout(constant_id = 2) const uint VALUE_DIM = 64;
layout(constant_id = 3) const uint STRIPS = 1; /* of columns, a workgroup's: 1 or 2 */
layout(constant_id = 4) const bool DECAY = false;
layout(constant_id = 5) const uint FEATURE = DJ_FEATURE_EXPONENTIAL;
layout(constant_id = 6) const bool KEY_NORMALISE = false;
layout(constant_id = 7) const uint DENOMINATOR = DJ_DENOMINATOR_PLAIN;
layout(constant_id = 8) const uint Q_TYPE = DJ_ELEMENT_FLOAT32;
layout(constant_id = 9) const uint K_TYPE = DJ_ELEMENT_FLOAT32;
layout(constant_id = 10) const uint V_TYPE = DJ_ELEMENT_FLOAT32;
layout(constant_id = 11) const uint O_TYPE = DJ_ELEMENT_FLOAT32;
layout(constant_id = 12) const uint DIM = 64; /* read with DIRECTIONS alone */
layout(constant_id = 13) const uint SIDE = DJ_RESIDENT_BOTH;
const bool ADDS = SIDE != DJ_RESIDENT_QUERIES, SEES = SIDE != DJ_RESIDENT_KEYS; /* keys, queries */

PUSH(resident_push)
BUFFER(0, readonly, Queries, uint, queries)
BUFFER(1, readonly, Keys, uint, keys)
BUFFER(2, readonly, Values, uint, values)
BUFFER(4, coherent, Carry, float, carry) /* the states, then each workgroup's own memory */
BUFFER(5, readonly, Tables, float, tables)
BUFFER(6, readonly, Decay, vec4, decay)
#define OUTPUTS 3
#define VECTORS (LANES <= 8)
/* read_ahead's: Mesa 26.1 aborts where 16 lanes load by an address made of two words, as of `outputs` */
BUFFER(OUTPUTS, readonly, OutputLines, uint, lines)
#define SPANS 7
#define DECAY_SPAN DJ_RESIDENT_DECAY_SPAN
#include "decay.glsl"
#include "elements.glsl"
#include "outputs.glsl"
#include "spans.glsl"

/* A lane's columns of a strip, of a kernel that is compiled for WIDEST features at most. */
#if WIDEST <= DJ_RESIDENT_FOURS
#define EACH 4
#define floats vec4
#else
#define EACH 2
#define floats vec2
#endif

/* Sums in memory: a quarter of the loads and stores to compile. */
layout(buffer_reference, std430, buffer_reference_align = 4) coherent buffer Sums
{
    floats data[];
};

/* What is compiled in: DCT, the length of a transform; or DIRECTIONS, whose products with a row are what the map
 * works on. */
#ifdef DCT
#include "dct.glsl"
const uint WIDTH = DCT; /* of a row */
#elif defined DIRECTIONS
const uint WIDTH = DIM;
#else
const uint WIDTH = FEATURE == DJ_FEATURE_COSFORMER ? FEATURES / 2 : FEATURES;
#endif
const bool SOFTMAX = FEATURE == DJ_FEATURE_SOFTMAX || FEATURE == DJ_FEATURE_SOFTMAX_VALUE; /* of a DCT-III */
const bool EXPONENTIAL = SOFTMAX || FEATURE == DJ_FEATURE_EXPONENTIAL; /* logarithms of base 2 */
const bool LINEAR = !EXPONENTIAL && FEATURE != DJ_FEATURE_ELU || FEATURE == DJ_FEATURE_SOFTMAX_VALUE;
const uint STRIP = LANES * EACH;
const uint COLUMNS = STRIP * STRIPS; /* of a workgroup */
const uint BLOCKS = (VALUE_DIM + COLUMNS - 1) / COLUMNS;
const uint SPAN = DECAY ? DECAY_SPAN : DJ_RESIDENT_SPAN;
#define GROUP 16       /* features that are one straight line; #if reads it */
const uint LINE = 16;  /* elements of a row that lie in a line of a cache, or in half of one */
const float HEADROOM = 32.0;
const float LOG2E = 1.44269504;

float x[WIDTH];                          /* a lane's row */
float key[FEATURES], query[FEATURES];    /* its features */
float key_weight[FEATURES], query_weight[FEATURES];
float frequencies[FEATURES], log_weights[FEATURES];
floats recent[STRIPS * FEATURES], held[STRIPS * FEATURES];
float score, last_score; /* of the lane's query with its token's key, and with the key before that */
float recent_norm[FEATURES], held_norm[FEATURES], peak[FEATURES]; /* the same in all lanes */

uint ahead; /* words that read_ahead read */
uint sequence, head, lane; /* head: the key head in the plan */
uint state, own;           /* in carry: the state's block, the workgroup's memory */
uint q_row, k_row, v_row, o_row; /* of the sequence's first token: its row, from the workgroup's columns on */
uint first_column, columns;      /* that the workgroup has */

/* Always true: it cuts what a compiler would order as one block, and takes the longer for. The same condition
 * twice would be one, so each straight line has its own n. */
#define APART(n) (push.heads <= DJ_MOST_HEADS + (n))

#include "lanes.glsl"
#ifdef DIRECTIONS
#include "resident_project.glsl"
#endif
#include "resident_map.glsl"

void find_rows(uint member)
{
    const uint row = span_row(sequence), y = gl_WorkGroupID.y % push.heads;
    const uint query_y = y * (gl_NumWorkGroups.x / BLOCKS) + member;
    q_row = push.q_base + sequence * push.q_stride[0] + query_y * push.q_stride[1] + row * push.q_stride[2];
    k_row = push.k_base + sequence * push.k_stride[0] + y * push.k_stride[1] + row * push.k_stride[2];
    v_row = push.v_base + sequence * push.v_stride[0] + y * push.v_stride[1] + row * push.v_stride[2] +
            first_column;
    o_row = push.o_base + sequence * push.o_stride[0] + query_y * push.o_stride[1] +
            row * push.o_stride[2] + first_column;
}

/* Brings rows of the lanes' tokens into the caches, all lines at once: they lie a token apart, which is
 * too far for what a processor fetches by itself, and as they come to be used it would wait for one line
 * of each after another. Those of the outputs, too, whatever is in them. */
void read_ahead(uint q, uint k, uint v, uint o)
{
    [[unroll]] for (uint i = 0; i < max(WIDTH, COLUMNS); i += LINE) {
        const uint column = min(i, columns - 1);
        if (i < WIDTH && SEES)
            ahead |= queries.data[element_word(Q_TYPE, q + i)];
        if (i < WIDTH && ADDS)
            ahead |= keys.data[element_word(K_TYPE, k + i)];
        if (i < COLUMNS && ADDS)
            ahead |= values.data[element_word(V_TYPE, v + column)];
        if (i < COLUMNS && SEES)
            ahead |= lines.data[element_word(O_TYPE, o + column)];
    }
}

/* A row to x. */
#define LOAD_ROW(words, type, at) \
    { \
        Fours row = Fours(word_address(uvec2(words), element_word(type, at))); \
        [[unroll]] for (uint i = 0; i < WIDTH; i += 4) { \
            const bool whole = VECTORS && type == DJ_ELEMENT_FLOAT32; \
            const vec4 four = whole ? uintBitsToFloat(row.data[i / 4]) : ELEMENTS(words, type, at + i); \
            x[i] = four.x; \
            x[i + 1] = four.y; \
            x[i + 2] = four.z; \
            x[i + 3] = four.w; \
        } \
    }

/* Features of the lanes' tokens; rows beyond the last are read as the last one. */
void load_features(uint first_token, uint tokens)
{
    const uint token = min(first_token + lane, tokens - 1);
    const uint k = k_row + token * push.k_stride[2], q = q_row + token * push.q_stride[2];
    read_ahead(q, k, v_row + token * push.v_stride[2], o_row + token * push.o_stride[2]);
    /* one text for both: it is most of what there is to compile */
    [[dont_unroll]] for (uint side = ADDS ? 0 : 1; side < (SEES ? 2 : 1); side++) {
        if (ADDS && side == 0)
            LOAD_ROW(keys, K_TYPE, k)
        if (SEES && side == 1)
            LOAD_ROW(queries, Q_TYPE, q)
        map_row(token, side == 0);
        if (ADDS && side == 0) {
            [[unroll]] for (uint f = 0; f < FEATURES; f++)
                key[f] = query[f];
        }
    }
}

#include "resident_state.glsl"

/* The lanes from `from` on whose keys exceed the exponents in force, and the largest exponent of a query
 * with those. */
uint excess(uint from, uint count, float growth, out float largest)
{
    uint above = 0;
    largest = 2.0 * EMPTY;
    [[unroll]] for (uint f = 0; f < FEATURES; f++) {
        if (SEES) {
            const float n = exponent(query[f]) + peak[f];
            largest = n > largest ? n : largest;
        }
        if (ADDS)
            above |= uint(exponent(key[f]) + growth > peak[f]);
    }
    return subgroupBallot(above != 0 && lane >= from && lane < count).x;
}

/* Weights of the tokens from .. to - 1; returns each one's denominator. The norms are summed over the tokens
 * here. */
float weigh(uint from, uint to, vec2 growth, float largest)
{
    const bool is_taken = lane >= from && lane < to;
    float den = 0.0;
    score = last_score = 0.0;
    [[unroll]] for (uint f = 0; f < FEATURES; f++) {
        const float seen = SEES ? scaled(query[f], peak[f], largest) : 0.0;
        query_weight[f] = seen;
        float sum = 0.0;
        if (ADDS) {
            const float any_weight = growth.x * scaled(key[f], growth.y, peak[f]);
            const float weight = is_taken ? any_weight : 0.0;
            key_weight[f] = weight;
            if (SEES)
                score += seen * weight;
            if (SEES && !READS)
                last_score += seen * subgroupShuffleUp(weight, 1);
            sum = prefix_sum(abs(weight)) + recent_norm[f];
            recent_norm[f] = from_lane(sum, LANES - 1);
        }
        if (SEES)
            den += seen * (held_norm[f] + sum);
    }
    return den;
}

#include "resident_take.glsl"

/* The outputs of queries that see all keys, whose sums the carry holds. */
void see(uint tokens)
{
    load_state();
    ahead = 0;
    [[dont_unroll]] for (uint token = 0; token < tokens; token += LANES) {
        const uint count = min(tokens - token, LANES);
        float largest;
        load_features(token, tokens);
        excess(0, count, 0.0, largest);
        const vec2 scales = vec2(weigh(0, count, vec2(1.0, 0.0), largest), largest);
        take_strip(0, 0, count, token, token, scales);
        if (STRIPS > 1 && STRIP < columns)
            take_strip(1, 0, count, token, token, scales);
    }
    if (lane == 0 && gl_WorkGroupID.x < BLOCKS) /* of the group's workgroups one */
        keep_ahead();
}

void main()
{
    lane = gl_SubgroupInvocationID;
    sequence = gl_WorkGroupID.y / push.heads;
    head = push.first_head + gl_WorkGroupID.y % push.heads;
    const uint block = gl_WorkGroupID.x % BLOCKS, member = gl_WorkGroupID.x / BLOCKS;
    first_column = block * COLUMNS;
    columns = min(VALUE_DIM - first_column, COLUMNS);
    const uint states = gl_NumWorkGroups.y;
    state = gl_WorkGroupID.y * DJ_STATE_SIZE(FEATURES, VALUE_DIM);
    own = push.own + (gl_WorkGroupID.y * BLOCKS + block) * DJ_RESIDENT_MEMORY(FEATURES, COLUMNS);
    if (!ADDS) {
        find_rows(member);
        load_tables();
        see(span_tokens(sequence));
        return;
    }
    if (member > 0)
        state += carry_members() + (member - 1) * states * DJ_STATE_SIZE(FEATURES, VALUE_DIM);
    own += member * states * BLOCKS * DJ_RESIDENT_MEMORY(FEATURES, COLUMNS);
    adopt();
    if (push.tokens == 0)
        return;

    const uint tokens = span_tokens(sequence);
    if (tokens == 0 && push.read == DJ_RESIDENT_OWN)
        return;
    find_rows(member);
    load_tables();
    ahead = 0;
    uint token = 0, loaded = 0, count = 0;
    bool raise = false;
    [[dont_unroll]] for (;;) {
        settle(count, token < tokens ? HEADROOM : 0.0);
        if (token >= tokens)
            break;
        load_sums();
        /* at places that do not hang on raises, so that pieces of whole spans are the same bits */
        const uint start = token, stop = min(tokens, (token / SPAN + 1) * SPAN);
        const bool raised = raise; /* then the first token is as small as it gets */
        raise = false;
        [[dont_unroll]] while (token < stop) {
            const uint from = token % LANES, first = token - from;
            if (token == loaded) {
                load_features(token, tokens);
                loaded += LANES;
            }
            const vec2 growth = decay_growth(head, clamp(int(first + lane) - int(start), 0, int(SPAN)));
            const uint lanes = min(stop - first, LANES);
            float largest;
            const uint bits = excess(from, lanes, growth.y, largest);
            uint to = bits != 0 ? findLSB(bits) : lanes;
            if (raised && token == start)
                to = max(to, from + 1);
            if (to == from) {
                raise = true;
                break;
            }
            const vec2 scales = vec2(weigh(from, to, growth, largest), largest);
            take_strip(0, from, to, first, start, scales);
            if (STRIPS > 1 && STRIP < columns) /* a loop of its own: its sums are other registers */
                take_strip(1, from, to, first, start, scales);
            token = first + to;
        }
        count = token - start;
        store_sums(token % LANES, raise);
    }
    if (block == 0)
        publish(tokens);
}
