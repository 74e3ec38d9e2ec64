#version 450
/* SPDX-License-Identifier: MIT */
/* Phase 2 of the tiled prefix sum: an exclusive scan over the tiles of each sequence and head, from the
 * state that came in (nothing, the carry of the box before, or a slot) to the state that goes out.
 * With n the tokens of a tile and everything a mantissa times 2^exponent:
 *   state before the tile, times gamma, goes into the tile's record;
 *   state = gamma^n state + gamma^(n-1) tile.
 * A state is a sum of two floats, high + low, so that a long history does not swallow a new token.
 *
 * Workgroup (x, y): feature; sequence and head. Invocation: every 64th column. All invocations follow
 * the norm and the exponent, the first one writes them. */
#extension GL_GOOGLE_include_directive : require
#include "kernels.h"
#include "logscale.glsl"

layout(local_size_x = DJ_TILE_THREADS) in;
layout(constant_id = 0) const uint DIM = 64;
layout(constant_id = 1) const uint VALUE_DIM = 64;
layout(constant_id = 2) const bool DECAY = false;

layout(push_constant) uniform Push { tile_scan_push push; };
layout(set = 0, binding = 0) buffer Tiles { float tiles[]; };
layout(set = 0, binding = 1) readonly buffer SlotsIn { uint slots_in[]; };
layout(set = 0, binding = 2) buffer SlotsOut { uint slots_out[]; };
layout(set = 0, binding = 3) buffer Carry { uint carry[]; };
layout(set = 0, binding = 4) readonly buffer Indices { ivec2 indices[]; }; /* in, out */
layout(set = 0, binding = 5) readonly buffer Decay { vec2 decay[]; };

#include "tile_record.glsl"

/* A head's block of a state: sums, their low parts, norms, their low parts, exponents. Memory of zero
 * bytes is the empty state: what has seen a token has a norm. */
const uint BLOCK_LOW = DIM * VALUE_DIM;
const uint BLOCK_NORM = 2 * BLOCK_LOW;
const uint BLOCK_NORM_LOW = BLOCK_NORM + DIM;
const uint BLOCK_PEAK = BLOCK_NORM_LOW + DIM;
const uint BLOCK_SIZE = BLOCK_PEAK + DIM;

const uint COLUMNS = (VALUE_DIM + DJ_TILE_THREADS - 1) / DJ_TILE_THREADS;

float high[COLUMNS], low[COLUMNS];
float norm, norm_low, peak;

uint column(uint i)
{
    return i * DJ_TILE_THREADS + gl_LocalInvocationID.x;
}

uint slot_block(uint base, int slot, uint head)
{
    return base + uint(slot) * push.slot_words + DJ_STATE_HEADER_WORDS + head * BLOCK_SIZE;
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
            high[i] = uintBitsToFloat(words[(block) + (f) * VALUE_DIM + column(i)]); \
            low[i] = uintBitsToFloat(words[(block) + BLOCK_LOW + (f) * VALUE_DIM + column(i)]); \
        } \
    } \
    norm = uintBitsToFloat(words[(block) + BLOCK_NORM + (f)]); \
    norm_low = uintBitsToFloat(words[(block) + BLOCK_NORM_LOW + (f)]); \
    peak = norm == 0.0 ? EMPTY : uintBitsToFloat(words[(block) + BLOCK_PEAK + (f)]);

#define STORE_STATE(words, block, f) \
    for (uint i = 0; i < COLUMNS; i++) { \
        if (column(i) < VALUE_DIM) { \
            words[(block) + (f) * VALUE_DIM + column(i)] = floatBitsToUint(high[i]); \
            words[(block) + BLOCK_LOW + (f) * VALUE_DIM + column(i)] = floatBitsToUint(low[i]); \
        } \
    } \
    if (gl_LocalInvocationID.x == 0) { \
        words[(block) + BLOCK_NORM + (f)] = floatBitsToUint(norm); \
        words[(block) + BLOCK_NORM_LOW + (f)] = floatBitsToUint(norm_low); \
        words[(block) + BLOCK_PEAK + (f)] = floatBitsToUint(norm == 0.0 ? 0.0 : peak); \
    }

/* Leaves the exponent as it is. */
void scale_state(float factor)
{
    for (uint i = 0; i < COLUMNS; i++) {
        high[i] *= factor;
        low[i] *= factor;
    }
    norm *= factor;
    norm_low *= factor;
}

/* Keeps the norm between 1/2 and 2^30 by moving its exponent into the peak: exact. */
void renormalise()
{
    if (!is_finite(norm) || norm <= 0.0 || (norm >= 0.5 && norm < 1073741824.0))
        return;
    const float shift = exponent_of(norm);
    scale_state(exp2i(-shift));
    peak += shift;
}

void write_before(uint record, uint f, uint head)
{
    const vec2 once = decay_power(head, 1);
    for (uint i = 0; i < COLUMNS; i++) {
        if (column(i) < VALUE_DIM)
            tiles[record + f * VALUE_DIM + column(i)] = (high[i] + low[i]) * once.x;
    }
    if (gl_LocalInvocationID.x == 0) {
        tiles[record + RECORD_BEFORE_NORM + f] = (norm + norm_low) * once.x;
        tiles[record + RECORD_BEFORE_PEAK + f] = peak + once.y;
    }
}

void add_tile(uint record, uint f, uint head, uint count, float sums[COLUMNS])
{
    const vec2 aged = decay_power(head, count), last = decay_power(head, count - 1);
    const float tile_peak = tiles[record + RECORD_PEAK + f] + last.y;
    const float old_peak = peak + aged.y;
    peak = max(old_peak, tile_peak);
    scale_state(aged.x * exp2i(old_peak - peak));

    const float tile_scale = last.x * exp2i(tile_peak - peak);
    float error;
    for (uint i = 0; i < COLUMNS; i++) {
        high[i] = two_sum(high[i], sums[i] * tile_scale, error);
        low[i] += error;
    }
    norm = two_sum(norm, tiles[record + RECORD_NORM + f] * tile_scale, error);
    norm_low += error;
    renormalise();
}

void write_header(int slot_in, int slot_out)
{
    uint seen_low = 0, seen_high = 0;
    if (slot_in >= 0) {
        const uint from = push.in_base + uint(slot_in) * push.slot_words;
        seen_low = slots_in[from + 2];
        seen_high = slots_in[from + 3];
    }
    uint carry_bit;
    const uint total = uaddCarry(seen_low, push.tokens_added, carry_bit);
    const uint words[8] = uint[8](DJ_KERNEL_STATE_LAYOUT, push.map, total, seen_high + carry_bit,
                                  push.plan_heads, DIM, VALUE_DIM, 0u);
    const uint to = push.out_base + uint(slot_out) * push.slot_words;
    for (uint i = 0; i < DJ_STATE_HEADER_WORDS; i++)
        slots_out[to + i] = i < 8 ? words[i] : 0u;
}

void main()
{
    const uint f = gl_WorkGroupID.x, sequence_head = gl_WorkGroupID.y;
    const uint sequence = sequence_head / push.heads;
    const uint head = push.first_head + sequence_head % push.heads;

    ivec2 slot = ivec2(-1);
    if (push.read == DJ_SCAN_SLOTS || push.write_slots != 0)
        slot = indices[push.first_index + sequence];
    clear_state();
    if (push.read == DJ_SCAN_CARRY) {
        LOAD_STATE(carry, sequence_head * BLOCK_SIZE, f)
    } else if (push.read == DJ_SCAN_SLOTS && slot.x >= 0) {
        LOAD_STATE(slots_in, slot_block(push.in_base, slot.x, head), f)
    }
    barrier(); /* state in and out may be the same memory: all have read the norm and exponent */

    for (uint tile = 0; tile < push.tiles; tile++) {
        const uint record = (sequence_head * push.tiles + tile) * RECORD_SIZE;
        const uint count = min(push.tokens - tile * DJ_TILE_TOKENS, DJ_TILE_TOKENS);
        float sums[COLUMNS];
        for (uint i = 0; i < COLUMNS; i++)
            sums[i] = column(i) < VALUE_DIM ? tiles[record + f * VALUE_DIM + column(i)] : 0.0;
        write_before(record, f, head);
        add_tile(record, f, head, count, sums);
    }

    if (push.write_carry != 0) {
        STORE_STATE(carry, sequence_head * BLOCK_SIZE, f)
    }
    if (push.write_slots != 0 && slot.y >= 0) {
        STORE_STATE(slots_out, slot_block(push.out_base, slot.y, head), f)
        if (f == 0 && head == 0 && gl_LocalInvocationID.x == 0)
            write_header(slot.x, slot.y);
    }
}
