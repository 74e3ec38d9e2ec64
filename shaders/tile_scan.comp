#version 450
/* SPDX-License-Identifier: MIT */
/* Phase 2 of the tiled prefix sum: an exclusive scan over the tiles of each sequence and head, from the
 * state that came in (nothing, the carry of the box before, or a slot) to the state that goes out.
 * With n the tokens of a tile and everything a mantissa times 2^exponent:
 *   state before the tile, times gamma, goes into the tile's record;
 *   state = gamma^n state + gamma^(n-1) tile.
 * A state is a sum of two floats, high + low, so that a long history does not swallow a new token.
 *
 * Workgroup (x, y): ROWS features; sequence and head. Invocation: of one feature, EACH columns side by side and those
 * that lie LANES times so many further on. All of a feature's invocations follow its norm and exponent, the first one
 * writes them. */
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "kernels.h"
#include "bindings.glsl"
#include "logscale.glsl"

layout(local_size_x = DJ_TILE_THREADS) in;
layout(constant_id = 0) const uint FEATURES = 64;
layout(constant_id = 1) const uint VALUE_DIM = 64;
layout(constant_id = 2) const bool DECAY = false;
layout(constant_id = 3) const uint AHEAD = 1; /* tiles whose numbers are under way at once */
layout(constant_id = 4) const uint EACH = 1;  /* or 4: then a feature has no more columns than 4 DJ_TILE_THREADS */

PUSH(tile_scan_push)
BUFFER(0, , Tiles, float, tiles)
BUFFER_ALIGNED(0, , Fours, vec4, fours, 16) /* the same */
BUFFER(1, , Slots, uint, slots)
BUFFER(2, , Carry, uint, carry)
BUFFER(3, readonly, SlotsIn, int, slots_in)
BUFFER(4, readonly, Decay, vec4, decay)
BUFFER(6, readonly, SlotsOut, int, slots_out)
BUFFER(7, readonly, Accepted, int, accepted)
#define SPANS 5
#define DECAY_SPAN DJ_TILE_TOKENS
#include "decay.glsl"
#define HEADER_HEADS push.plan_heads
#define HEADER_DIM push.dim
#include "slots.glsl"
#include "slot_in.glsl"
#include "slot_header.glsl"
#include "spans.glsl"

const uint LANES = EACH == 1 ? DJ_TILE_THREADS : VALUE_DIM / EACH, ROWS = DJ_TILE_THREADS / LANES;
const uint BLOCKS = (VALUE_DIM + EACH * LANES - 1) / (EACH * LANES), COLUMNS = BLOCKS * EACH; /* of an invocation */

float high[COLUMNS], low[COLUMNS];
float norm, norm_low, peak;
float ahead[AHEAD * COLUMNS], ahead_norm[AHEAD], ahead_peak[AHEAD];

uint lane()
{
    return gl_LocalInvocationID.x % LANES;
}

uint column(uint i)
{
    return (i / EACH * LANES + lane()) * EACH + i % EACH;
}

/* The slot that receives a state of sequence n, -1: none. */
int slot_out(uint n)
{
    return checked_slot(slots_out.data[push.out_base + n * push.snapshots + push.snapshot]);
}

/* Whatever is computed from it is NaN. */
void spoil_state()
{
    for (uint i = 0; i < COLUMNS; i++)
        high[i] = nan();
    norm = nan();
    peak = 0.0;
}

void clear_state()
{
    for (uint i = 0; i < COLUMNS; i++)
        high[i] = low[i] = 0.0;
    norm = norm_low = 0.0;
    peak = EMPTY;
}

#define LOAD_STATE(words, block, f) \
    for (uint i = 0; i < COLUMNS; i++) { \
        if (column(i) < VALUE_DIM) { \
            high[i] = uintBitsToFloat(words.data[(block) + (f) * VALUE_DIM + column(i)]); \
            low[i] = uintBitsToFloat(words.data[(block) + DJ_STATE_LOW(FEATURES, VALUE_DIM) + (f) * VALUE_DIM + column(i)]); \
        } \
    } \
    norm = uintBitsToFloat(words.data[(block) + DJ_STATE_NORM(FEATURES, VALUE_DIM) + (f)]); \
    norm_low = uintBitsToFloat(words.data[(block) + DJ_STATE_NORM_LOW(FEATURES, VALUE_DIM) + (f)]); \
    peak = norm == 0.0 ? EMPTY : uintBitsToFloat(words.data[(block) + DJ_STATE_PEAK(FEATURES, VALUE_DIM) + (f)]);

#define STORE_STATE(words, block, f) \
    for (uint i = 0; i < COLUMNS; i++) { \
        if (column(i) < VALUE_DIM) { \
            words.data[(block) + (f) * VALUE_DIM + column(i)] = floatBitsToUint(high[i]); \
            words.data[(block) + DJ_STATE_LOW(FEATURES, VALUE_DIM) + (f) * VALUE_DIM + column(i)] = floatBitsToUint(low[i]); \
        } \
    } \
    if (lane() == 0) { \
        words.data[(block) + DJ_STATE_NORM(FEATURES, VALUE_DIM) + (f)] = floatBitsToUint(norm); \
        words.data[(block) + DJ_STATE_NORM_LOW(FEATURES, VALUE_DIM) + (f)] = floatBitsToUint(norm_low); \
        words.data[(block) + DJ_STATE_PEAK(FEATURES, VALUE_DIM) + (f)] = floatBitsToUint(norm == 0.0 ? 0.0 : peak); \
    }

/* Multiplies by a power of two: exact. The exponent is the caller's to adjust. */
void shift_state(float power)
{
    for (uint i = 0; i < COLUMNS; i++) {
        high[i] *= power;
        low[i] *= power;
    }
    norm *= power;
    norm_low *= power;
}

/* Multiplies by gamma^n without its exponent. */
void age_state(vec3 power)
{
    if (!DECAY)
        return;
    for (uint i = 0; i < COLUMNS; i++)
        multiply(high[i], low[i], power.x, power.z);
    multiply(norm, norm_low, power.x, power.z);
}

/* Keeps the norm between 1/2 and 2 by moving its exponent into the peak: exact. */
void renormalise()
{
    if (!is_finite(norm) || norm <= 0.0 || (norm >= 0.5 && norm < 2.0))
        return;
    const float shift = exponent_of(norm);
    shift_state(exp2i(-shift));
    peak += shift;
}

void write_before(uint record, uint f, uint head)
{
    const vec3 once = decay_power(head, 1);
    for (uint block = 0; block < BLOCKS; block++) {
        const uint i = block * EACH, at = record + f * VALUE_DIM + column(i);
        if (column(i) < VALUE_DIM) {
            if (EACH == 4)
                fours.data[at / 4] = (vec4(high[i], high[i + 1], high[i + 2], high[i + 3]) +
                                      vec4(low[i], low[i + 1], low[i + 2], low[i + 3])) * once.x;
            else
                tiles.data[at] = (high[i] + low[i]) * once.x;
        }
    }
    if (lane() == 0) {
        tiles.data[record + DJ_RECORD_BEFORE_NORM(FEATURES, VALUE_DIM) + f] = (norm + norm_low) * once.x;
        tiles.data[record + DJ_RECORD_BEFORE_PEAK(FEATURES, VALUE_DIM) + f] = peak + once.y;
    }
}

/* What a tile's record has of a feature, number i of those that are under way; no condition stands between loads,
 * where each would wait for the one before. */
void load_tile(uint i, uint record, uint f)
{
    const uint norm_at = DJ_RECORD_NORM(FEATURES, VALUE_DIM) + f;
    for (uint block = 0; block < BLOCKS; block++) { /* beyond the last column is loaded from elsewhere, and not stored */
        const uint c = block * EACH, at = record + (column(c) < VALUE_DIM ? f * VALUE_DIM + column(c) : norm_at);
        if (EACH == 4) {
            const vec4 four = fours.data[at / 4];
            ahead[i * COLUMNS + c] = four.x;
            ahead[i * COLUMNS + c + 1] = four.y;
            ahead[i * COLUMNS + c + 2] = four.z;
            ahead[i * COLUMNS + c + 3] = four.w;
        } else {
            ahead[i * COLUMNS + c] = tiles.data[at];
        }
    }
    ahead_norm[i] = tiles.data[record + norm_at];
    ahead_peak[i] = tiles.data[record + DJ_RECORD_PEAK(FEATURES, VALUE_DIM) + f];
}

void add_tile(uint tile, uint head, uint count)
{
    const vec3 aged = decay_power(head, count), last = decay_power(head, count - 1);
    const float tile_peak = ahead_peak[tile] + last.y;
    const float old_peak = peak + aged.y;
    peak = max(old_peak, tile_peak);
    age_state(aged);
    shift_state(exp2i(old_peak - peak));

    const float tile_scale = last.x * exp2i(tile_peak - peak);
    float error;
    for (uint i = 0; i < COLUMNS; i++) {
        high[i] = two_sum(high[i], ahead[tile * COLUMNS + i] * tile_scale, error);
        low[i] += error;
    }
    norm = two_sum(norm, ahead_norm[tile] * tile_scale, error);
    norm_low += error;
    renormalise();
}

/* The count of tokens seen goes with the state: from a slot's header or the carry, to the same. */
uvec2 read_tokens(uint sequence, int slot)
{
    if (push.read == DJ_SCAN_CARRY) {
        const uint at = push.carry_tokens + 2 * sequence;
        return uvec2(carry.data[at], carry.data[at + 1]);
    }
    if (push.read == DJ_SCAN_SLOTS && slot >= 0)
        return slot_tokens(slot);
    return uvec2(0);
}

void write_tokens(uint sequence, int slot, uvec2 seen)
{
    const uvec2 total = add_tokens(seen, push.tiles > 0 ? span_tokens(sequence) : 0);
    if (push.write_carry != 0) {
        const uint at = push.carry_out + push.carry_tokens + 2 * sequence;
        carry.data[at] = total.x;
        carry.data[at + 1] = total.y;
    }
    if ((push.write_slots & DJ_WRITE_HEADER) == 0 || slot < 0)
        return;
    [[dont_unroll]] for (uint i = 0; i < DJ_STATE_HEADER_WORDS; i++)
        slots.data[slot_start(slot) + i] = header_word(i, total);
}

/* A state comes in, passes over the tiles of feature f and goes out; not of an invocation that has none. */
void scan(uint f, bool own, uint sequence, uint head, int in_slot, int out_slot)
{
    const uint sequence_head = gl_WorkGroupID.y;
    const uint carry_block = sequence_head * DJ_STATE_SIZE(FEATURES, VALUE_DIM);
    const uint content = slot_content(in_slot);
    clear_state();
    if (!own) {
        /* its feature is another's, who may be storing it */
    } else if (push.read == DJ_SCAN_CARRY) {
        LOAD_STATE(carry, carry_block, f)
    } else if (content == SLOT_STATE) {
        LOAD_STATE(slots, slot_block(in_slot, head), f)
    } else if (content == SLOT_ALIEN ||
               (content == SLOT_ZERO &&
                slots.data[slot_block(in_slot, head) + DJ_STATE_NORM(FEATURES, VALUE_DIM) + f] != 0)) {
        spoil_state();
    }
    /* state may go out where it came in: all have read norm and exponent before one writes them */
    WORKGROUP_BUFFERS();
    barrier();

    const uint tokens = push.tiles > 0 ? span_tokens(sequence) : 0;
    const uint first_record = sequence_head * push.tiles * DJ_RECORD_SIZE(FEATURES, VALUE_DIM);
    const uint tile_tokens = SPAN_TILE(sequence);
    const uint count = own ? (tokens + tile_tokens - 1) / tile_tokens : 0;
    for (uint first = 0; first < count; first += AHEAD) {
        [[unroll]] for (uint i = 0; i < AHEAD; i++)
            load_tile(i, first_record + min(first + i, count - 1) * DJ_RECORD_SIZE(FEATURES, VALUE_DIM), f);
        [[unroll]] for (uint i = 0; i < AHEAD; i++) {
            const uint first_token = (first + i) * tile_tokens;
            if (first + i < count) {
                write_before(first_record + (first + i) * DJ_RECORD_SIZE(FEATURES, VALUE_DIM), f, head);
                add_tile(i, head, min(tokens - first_token, tile_tokens));
            }
        }
    }

    if (own && push.write_carry != 0) {
        STORE_STATE(carry, push.carry_out + carry_block, f)
    }
    if (own && out_slot >= 0) {
        STORE_STATE(slots, slot_block(out_slot, head), f)
    }
}

void main()
{
    const uint row = gl_LocalInvocationID.x / LANES, f = gl_WorkGroupID.x * ROWS + row;
    const bool own = row < ROWS && f < FEATURES;
    const uint sequence = gl_WorkGroupID.y / push.heads;
    const uint head = push.first_head + gl_WorkGroupID.y % push.heads;
    const int in_slot = push.read == DJ_SCAN_SLOTS ? slot_in(push.first_index + sequence) : -1;
    const int out_slot = push.write_slots != 0 ? slot_out(push.first_index + sequence) : -1;
    if (push.write_slots != DJ_WRITE_HEADER)
        scan(f, own, sequence, head, in_slot, out_slot);
    /* the last head's: others have read the headers by then */
    if (gl_WorkGroupID.x == 0 && head == push.plan_heads - 1 && gl_LocalInvocationID.x == 0)
        write_tokens(sequence, out_slot, read_tokens(sequence, in_slot));
}
