/* SPDX-License-Identifier: MIT */
/* Walks through the elements of packed rows of a view, DJ_ROWS_THREADS apart, and divides only where a row's
 * sequence or head ends; `push` is a DJ_ROWS_VIEW with a row_length, and spans.glsl is included. */
#include "rows_view.glsl"

uint row, column; /* of the element at hand */
uint token, from, seen; /* of the row, as find_sequence has them */

void start_walk(uint element)
{
    row = element / push.row_length;
    column = element - row * push.row_length;
    token = from = seen = 0;
    if (row < push.rows)
        find_sequence(row, token, from, seen);
}

void walk_on()
{
    const uint rows = DJ_ROWS_THREADS / push.row_length, rest = DJ_ROWS_THREADS - rows * push.row_length;
    const bool wraps = column + rest >= push.row_length;
    column += wraps ? rest - push.row_length : rest;
    row += wraps ? rows + 1 : rows;
    token += wraps ? rows + 1 : rows;
    if (token >= push.tokens && row < push.rows)
        find_sequence(row, token, from, seen);
}

/* Whether the view has the row, and its sequence the token; where the element then lies. */
bool is_there(out uint at)
{
    at = from + token * push.stride[2] + column;
    return row < push.rows && token < seen;
}
