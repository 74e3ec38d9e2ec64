/* SPDX-License-Identifier: MIT */
/* Where a row of a view starts; `push` is a DJ_ROWS_VIEW. */
uint row_start(uint row)
{
    const uint outer = row / push.count2;
    const uint i2 = row - outer * push.count2;
    const uint i0 = outer / push.count1;
    const uint i1 = outer - i0 * push.count1;
    return push.base + i0 * push.stride[0] + i1 * push.stride[1] + i2 * push.stride[2];
}
