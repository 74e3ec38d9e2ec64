/* SPDX-License-Identifier: MIT */
/* What kernels of exact softmax attention share: where a tile's rows and its keys lie, the keys that a row of queries
 * sees, and weights. `push` is softmax_push; the including shader declares KeySpans and CAUSAL, and includes
 * spans.glsl before. */

uint count;     /* of the tile's rows */
uint first_row; /* the first one's place in its sequence */
uint key_count; /* of the sequence's keys in the box */
uint queries_base, keys_base, values_base, outputs_base; /* of tile, or head */

uint key_tokens(uint sequence)
{
    if (push.key_ragged == 0)
        return push.key_tokens;
    const uint tokens = key_spans.data[sequence].y;
    return tokens > push.key_start ? min(tokens - push.key_start, push.key_tokens) : 0;
}

uint key_row(uint sequence)
{
    return push.key_ragged == 0 ? 0 : key_spans.data[sequence].x + push.key_start - push.key_origin;
}

/* The workgroup's tile, of so many rows; count is 0 behind the last one of its sequence. */
void find_tile(uint rows)
{
    const uint sequence = gl_WorkGroupID.y / push.heads, head = gl_WorkGroupID.y % push.heads;
    const uint key_head = (push.shift + head) / push.group;
    const uint tile_row = gl_WorkGroupID.x * rows, tokens = span_tokens(sequence);
    count = tile_row < tokens ? min(tokens - tile_row, rows) : 0;
    first_row = push.start + tile_row;
    key_count = key_tokens(sequence);
    const uint row = span_row(sequence) + tile_row;
    queries_base = push.q_base + sequence * push.q_stride[0] + head * push.q_stride[1] + row * push.q_stride[2];
    outputs_base = push.o_base + sequence * push.o_stride[0] + head * push.o_stride[1] + row * push.o_stride[2];
    keys_base = push.k_base + sequence * push.k_stride[0] + key_head * push.k_stride[1] +
                key_row(sequence) * push.k_stride[2];
    values_base = push.v_base + sequence * push.v_stride[0] + key_head * push.v_stride[1] +
                  key_row(sequence) * push.v_stride[2];
}

/* How many of the box's keys a row of the tile sees. */
uint seen_by(uint row)
{
    if (!CAUSAL)
        return key_count;
    const uint upto = first_row + row + 1;
    return upto > push.key_start ? min(upto - push.key_start, key_count) : 0;
}

/* The exponent that a has in a maximum: EMPTY unless it is a number. */
float exponent_for_max(float a)
{
    return !is_finite(a) || is_masked(a) ? EMPTY : roundEven(a * 1.44269504);
}

/* exp(a) 2^-m */
float scaled_exp(float a, float m)
{
    float n;
    const float mantissa = split_exp(a, n);
    const float w = is_masked(a) ? 0.0 : mantissa * exp2i(n - m);
    return is_finite(a) ? w : nan();
}
