/* SPDX-License-Identifier: MIT */
/* How far a number that is none may reach. */
#ifndef DJ_TESTS_REACH_H
#define DJ_TESTS_REACH_H

#include "problem.h"

/* Asserts of a causal problem of one sequence, solved, that NaN, Inf and -Inf in element 5 of a
 * token's q, k or v in the last head, each in turn, make no numbers of what sees them: in q that
 * token's row, in k all rows from it on, in v their column 5. All else keeps its bits. */
void reach_assert(const struct problem *problem, uint32_t device, size_t token);

#endif
