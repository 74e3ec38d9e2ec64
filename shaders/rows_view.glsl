/* SPDX-License-Identifier: MIT */
/* The rows of a view; `push` is a DJ_ROWS_VIEW, and spans.glsl is included. */

/* Where a row starts, in elements; false if its sequence has no such token. */
bool row_start(uint row, out uint start)
{
    const uint outer = row / push.tokens;
    const uint i2 = row - outer * push.tokens;
    const uint i0 = outer / push.count1;
    const uint i1 = outer - i0 * push.count1;
    start = push.base + i0 * push.stride[0] + i1 * push.stride[1] +
            (span_row(i0) + i2) * push.stride[2];
    return i2 < span_tokens(i0);
}
