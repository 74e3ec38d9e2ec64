#version 450
/* SPDX-License-Identifier: MIT */
/* Fills the table that ragged boxes read (DJ_SPAN_BOX): for each sequence of a box its first token in
 * the tensors' row, its tokens, how many its state has seen, and its tokens with those of snapshots.
 * Indices may come from a buffer that the host has not seen: they are clamped to the row. Of a call that
 * leaves snapshots this is the part of each sequence that leads to one of them. One invocation per
 * sequence. */
#extension GL_GOOGLE_include_directive : require
#include "kernels.h"
#include "bindings.glsl"

layout(local_size_x = DJ_SPAN_THREADS) in;

PUSH(spans_push)
/* the spans, then as many entries with the tokens seen: a state may be written where it was read before
 * the last kernel asks */
BUFFER(0, , Table, uvec4, table)
BUFFER(1, readonly, Indices, int, indices)
BUFFER(2, readonly, Slots, uint, slots)
BUFFER(3, readonly, SlotsIn, int, slots_in)
BUFFER(4, readonly, Accepted, int, accepted)

#include "slots.glsl"
#include "slot_in.glsl"

const uint MOST_SEEN = 0x40000000u; /* beyond any place that matters; sums with it do not overflow */

uint clamped_index(uint at)
{
    const int most = int(min(push.row_tokens, 0x7fffffffu));
    return uint(clamp(indices.data[push.indices_base + at], 0, most));
}

/* First token and number of tokens of sequence n. */
uvec2 whole_span(uint n)
{
    if (push.kind == DJ_KERNEL_SPANS_WHOLE)
        return uvec2(0, push.row_tokens);
    uvec2 span;
    if (push.kind == DJ_KERNEL_SPANS_PADDED) {
        span.x = clamped_index(2 * n);
        span.y = clamped_index(2 * n + 1);
    } else {
        span.x = clamped_index(n);
        span.y = max(clamped_index(n + 1), span.x) - span.x;
    }
    return uvec2(span.x, min(span.y, min(push.row_tokens - span.x, push.longest)));
}

uint tokens_of_slot(uint n)
{
    const int slot = slot_in(n);
    if (slot < 0)
        return 0;
    const uint low = slots.data[slot_start(slot) + 2], high = slots.data[slot_start(slot) + 3];
    return high != 0 ? MOST_SEEN : min(low, MOST_SEEN);
}

uint tokens_seen(uint sequence)
{
    if (push.seen == DJ_SEEN_NONE)
        return 0;
    if (push.seen == DJ_SEEN_KEPT)
        return table.data[push.sequences + sequence].x;
    const uint seen = tokens_of_slot(push.first_index + sequence);
    table.data[push.sequences + sequence] = uvec4(seen, 0, 0, 0);
    return seen;
}

void main()
{
    const uint sequence = gl_WorkGroupID.x * DJ_SPAN_THREADS + gl_LocalInvocationID.x;
    if (sequence >= push.sequences)
        return;
    const uint n = push.first_index + sequence;
    const uvec2 span = whole_span(n);
    const uint seen = tokens_seen(sequence);
    const uint body = span.y - min(span.y, push.states - 1); /* tokens before the first snapshot */
    if (push.snapshot == 0) {
        table.data[sequence] = uvec4(span.x, body, seen, span.y);
    } else { /* one token, or none where the sequence is too short to have it */
        const bool there = span.y + push.snapshot >= push.states;
        const uint before = there ? span.y + push.snapshot - push.states : 0;
        table.data[sequence] = uvec4(span.x + before, there ? 1 : 0, seen + before, 0);
    }
}
