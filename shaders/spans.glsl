/* SPDX-License-Identifier: MIT */
/* The tokens of a box's sequences. `push` has a DJ_SPAN_BOX; the including shader defines SPANS, the
 * binding of the table, which is read only where the box is ragged. */
BUFFER(SPANS, readonly, Spans, uvec4, spans)

/* Tokens of a sequence in the box. */
uint span_tokens(uint sequence)
{
    uint tokens = push.tokens;
    if (push.ragged != 0) {
        const uint count = spans.data[sequence].y;
        tokens = count > push.start ? min(count - push.start, tokens) : 0;
    }
    return tokens;
}

/* Tokens of a sequence's tiles, where `push` has tile_tokens. */
#define SPAN_TILE(sequence) \
    (push.tile_tokens != 0 ? push.tile_tokens : DJ_SEGMENT_TOKENS(spans.data[sequence].w))

/* Where the sequence's first token of the box lies in the tensors, in tokens from the views' base. */
uint span_row(uint sequence)
{
    return push.ragged == 0 ? 0 : spans.data[sequence].x + push.start - push.origin;
}

/* The place in its sequence of the first token of the box, from 0, its state's tokens counted. */
uint span_place(uint sequence)
{
    return push.ragged == 0 ? push.start : spans.data[sequence].z + push.start;
}
