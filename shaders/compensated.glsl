/* SPDX-License-Identifier: MIT */
/* Sums that keep what rounding takes from them. */

/* (sum, low) += x, after Kahan: the error does not grow with the number of terms. */
void add(inout vec4 sum, inout vec4 low, vec4 x)
{
    precise vec4 y = x + low;
    precise vec4 larger = sum + y;
    precise vec4 taken = larger - sum;
    precise vec4 left = y - taken;
    sum = larger;
    low = left;
}
