/* SPDX-License-Identifier: MIT */
/* Walks through the elements of packed rows of a view, DJ_ROWS_THREADS apart, and divides only where a row's
 * sequence or head ends; `push` is a DJ_ROWS_VIEW with a row_length, and spans.glsl is included. */

uint row, column; /* of the element at hand */
uint token;       /* of the row */
uint from, seen;  /* where token 0 of the row's sequence and head starts, in elements; the sequence's tokens */

void find_sequence()
{
    const uint outer = row / push.tokens, i0 = outer / push.count1, i1 = outer - i0 * push.count1;
    token = row - outer * push.tokens;
    from = push.base + i0 * push.stride[0] + i1 * push.stride[1] + span_row(i0) * push.stride[2];
    seen = span_tokens(i0);
}

void start_walk(uint element)
{
    row = element / push.row_length;
    column = element - row * push.row_length;
    token = from = seen = 0;
    if (row < push.rows)
        find_sequence();
}

void walk_on()
{
    const uint rows = DJ_ROWS_THREADS / push.row_length, rest = DJ_ROWS_THREADS - rows * push.row_length;
    const bool wraps = column + rest >= push.row_length;
    column += wraps ? rest - push.row_length : rest;
    row += wraps ? rows + 1 : rows;
    token += wraps ? rows + 1 : rows;
    if (token >= push.tokens && row < push.rows)
        find_sequence();
}

/* Whether the view has the row, and its sequence the token; where the element then lies. */
bool is_there(out uint at)
{
    at = from + token * push.stride[2] + column;
    return row < push.rows && token < seen;
}
