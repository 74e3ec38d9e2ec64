/* SPDX-License-Identifier: MIT */
/* The rows of a view; `push` is a DJ_ROWS_VIEW, and spans.glsl is included. */

/* A row's token, where token 0 of its sequence and head starts, in elements, and how many the sequence has. */
void find_sequence(uint row, out uint token, out uint from, out uint seen)
{
    const uint outer = row / push.tokens, i0 = outer / push.count1, i1 = outer - i0 * push.count1;
    token = row - outer * push.tokens;
    from = push.base + i0 * push.stride[0] + i1 * push.stride[1] + span_row(i0) * push.stride[2];
    seen = span_tokens(i0);
}

/* Where a row starts, in elements; false if its sequence has no such token. */
bool row_start(uint row, out uint start)
{
    uint token, from, seen;
    find_sequence(row, token, from, seen);
    start = from + token * push.stride[2];
    return token < seen;
}
