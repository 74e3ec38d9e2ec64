/* SPDX-License-Identifier: MIT */
/* Double-precision twins of everything the library computes, written from the definitions as
 * plainly as possible and sharing nothing with it. Inputs are the float32 values the library was
 * given. */
#ifndef DJ_TESTS_TWIN_H
#define DJ_TESTS_TWIN_H

#include <stddef.h>
#include <stdint.h>

/* Orthonormal DCT of one row; type 2, 3 or 4; y must not be x. By the defining sum, O(n^2). */
void twin_dct(int type, size_t n, const double *x, double *y);

/* One attention problem on contiguous arrays: q, k [B][T][H][d], v, o [B][T][H][e]. */
struct twin_attention {
    int map; /* enum dj_map */
    size_t batch, tokens, heads, dim, value_dim;
    int causal, normalise;
    double scale;                       /* of q.k; the actual value */
    const float *decay;                 /* [H] or NULL */
    const float *frequencies, *weights; /* [H or 1][d]; weights NULL: 1 */
    size_t feature_heads;               /* 0 or 1: shared; else H */
};

/* a[i] = log phi(x)[i], features with D = 0 at -INFINITY; x already multiplied by sqrt(scale). */
void twin_log_features(const struct twin_attention *t, size_t head, const double *x, double *a);

/* o by the definition, evaluated per pair of tokens in log space, O(T^2); o is double. */
void twin_attention(const struct twin_attention *t, const float *q, const float *k, const float *v,
                    double *o);

/* The same by the recurrence in log space, O(T); for long sequences. Causal only. Must agree with
 * the above to 1e-12 on data where both run (tested). */
void twin_attention_recurrent(const struct twin_attention *t, const float *q, const float *k,
                              const float *v, double *o);

/* The error bound of docs/mathematics.md for this problem: 1e-5 (T <= 4096) or 5e-5, plus for
 * exponents 2^-24 (4 max|a| + max|t| max|x|_2) over all q and k. */
double twin_bound(const struct twin_attention *t, const float *q, const float *k);

#endif
