/* SPDX-License-Identifier: MIT */
/* Queries and keys whose sizes differ from token to token, as the kernels' exponents must follow.
 */
#ifndef DJ_TESTS_MAGNITUDES_H
#define DJ_TESTS_MAGNITUDES_H

#include "problem.h"

/* A factor for token i of n. */
typedef double (*magnitude)(size_t i, size_t n);
double magnitude_any(size_t i, size_t n);       /* 1e-3 to 1e3, at random */
double magnitude_growing(size_t i, size_t n);   /* 1e-3 to 1e3 */
double magnitude_shrinking(size_t i, size_t n); /* 1e3 to 1e-3 */
double magnitude_huge_once(size_t i, size_t n); /* 1, and 1000 in one token of 32 */

/* Multiplies the rows of each token by its factor, in every sequence and head. */
void magnitude_scale_queries(const struct problem *problem, magnitude factor);
void magnitude_scale_keys(const struct problem *problem, magnitude factor);

/* The changes of problem_test_calls: keys, and from the fifth call on queries, of sizes as above;
 * values at both ends of their 2-byte type, of very different size in one tile, and subnormal ones
 * (4 calls); keys as below, of K = 30, 300 and 1000 (3 calls). */
void magnitude_change(struct problem *problem, size_t call);
void magnitude_change_values(struct problem *problem, size_t call);
void magnitude_change_to_ties(struct problem *problem, size_t call);

/* Adds one random vector of length K to all keys, the same for every head: large exponents, small
 * differences. */
void magnitude_tie_keys(const struct problem *problem, double K);

#endif
