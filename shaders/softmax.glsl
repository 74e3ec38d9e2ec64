/* SPDX-License-Identifier: MIT */
/* What kernels of exact softmax attention share: the keys that a row of queries sees, and weights. `push` is
 * softmax_push; the including shader declares KeySpans, first_row (the place in its sequence of the tile's first
 * row), key_count (the sequence's keys in the box) and CAUSAL. */

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
