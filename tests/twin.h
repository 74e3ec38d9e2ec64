/* SPDX-License-Identifier: MIT */
/* Double-precision twins of everything the library computes, written from the definitions as
 * plainly as possible and sharing nothing with it. Inputs are the values the library was given,
 * already rounded to their storage type. */
#ifndef DJ_TESTS_TWIN_H
#define DJ_TESTS_TWIN_H

#include <stddef.h>

/* Orthonormal DCT of one row; type 2, 3 or 4; y must not be x. By the defining sum, O(n^2). */
void twin_dct(int type, size_t n, const double *x, double *y);

/* Tokens first .. first+count-1 of a tensor's row: one sequence. */
struct twin_span {
    size_t row, first, count;
};

/* One attention problem on contiguous arrays: q [B][Tq][H][d], k [B][T][Hk][d], v [B][T][Hk][e],
 * o [B][Tq][H][e]. Members named "0: .." have that meaning for 0 or NULL. */
struct twin_attention {
    int map; /* enum dj_map */
    size_t batch, tokens, heads, dim, value_dim;
    size_t key_heads;    /* Hk; 0: heads */
    size_t features;     /* m, or n' of Linformer; 0: what the map has of itself, else dim */
    size_t query_tokens; /* Tq; looked at only if not causal */
    size_t max_tokens;   /* M of cosFormer */
    int causal, normalise, key_normalise;
    int kernel;                          /* enum dj_kernel, PFF and PRF */
    double scale;                        /* of q.k; the actual value */
    const float *decay;                  /* [Hk]; 0: 1 */
    const float *frequencies, *weights;  /* [feature_heads][m]; weights 0: 1 */
    const float *directions;             /* [feature_heads][m][d] */
    const float *key_projection;         /* [feature_heads][n'][T] */
    const float *value_projection;       /* [feature_heads][n'][T] */
    size_t feature_heads;                /* 0 or 1: shared; else Hk */
    size_t sequences;                    /* of spans and query_spans */
    const struct twin_span *spans;       /* in k and v, if causal in q and o; 0: whole rows */
    const struct twin_span *query_spans; /* in q and o; 0: whole rows; if causal not looked at */
    const float *query_scales;           /* [H][query_places], of phi(q); 0: 1 */
    const float *key_scales;             /* [Hk][key_places], of phi(k); 0: 1 */
    size_t query_places, key_places;
    int type;     /* enum dj_type of o, for twin_bound */
    int absolute; /* every feature and value by its magnitude: the sum of |terms| */
};

/* What 0 means, put in: m, Hk, Tq, and the number of sequences; elements of q, k, v and o. */
size_t twin_features_count(const struct twin_attention *t);
size_t twin_key_heads(const struct twin_attention *t);
size_t twin_query_tokens(const struct twin_attention *t);
size_t twin_sequences(const struct twin_attention *t);
size_t twin_q_size(const struct twin_attention *t);
size_t twin_k_size(const struct twin_attention *t);
size_t twin_v_size(const struct twin_attention *t);
size_t twin_o_size(const struct twin_attention *t);

/* Sequence n in k and v, and in q and o. */
struct twin_span twin_key_span(const struct twin_attention *t, size_t n);
struct twin_span twin_query_span(const struct twin_attention *t, size_t n);

/* Whether phi is held as exponents: WDCF, SOFTMAX_DCT, PFF, PRF. */
int twin_is_exponential(int map);
/* Whether the weight of a value can be negative: IDENTITY, LINFORMER (whose F has signs), or with
 * position scales. */
int twin_is_signed(const struct twin_attention *t);

/* phi(x)[i] = value[i] exp(exponent[i]), i < m, of key head `head`; x already multiplied by
 * sqrt(scale), place the token's in its sequence from 0 on. Exponents are 0 but for exponential
 * maps, whose values are 1, and 0 for features with D = 0. Without position scales. is_key: with
 * the key normalisation, if any. */
void twin_features(const struct twin_attention *t, size_t head, int is_key, size_t place,
                   const double *x, double *value, double *exponent);

/* a[i] = log phi(x)[i] of an exponential map, of a query; features with D = 0 at -INFINITY. */
void twin_log_features(const struct twin_attention *t, size_t head, const double *x, double *a);

/* o by the definition, evaluated per pair of tokens, O(T^2); o is double. Rows outside every
 * sequence are left alone. */
void twin_attention(const struct twin_attention *t, const float *q, const float *k, const float *v,
                    double *o);

/* The same by the recurrence, O(T), for all feature maps. Must agree with the above to 1e-12 on
 * data where both run (tested). */
void twin_attention_recurrent(const struct twin_attention *t, const float *q, const float *k,
                              const float *v, double *o);

/* The largest |scale q.k| of SOFTMAX, or of LINFORMER with its projected keys. */
double twin_largest_logit(const struct twin_attention *t, const float *q, const float *k);

/* The error bound of docs/mathematics.md for this problem: by o's type 1e-5 (up to 4096 tokens) or
 * 5e-5, 2e-3, 1.5e-2; plus for exponents 2^-24 (4 max|a| + max|t| max|x|_2) over all q and k, where
 * c |x|^2 counts among |a|, and for PFF and PRF |t| is the length of t_i V_i; for softmax and
 * Linformer 2^-24 (4 max|logit|). */
double twin_bound(const struct twin_attention *t, const float *q, const float *k);

#endif
