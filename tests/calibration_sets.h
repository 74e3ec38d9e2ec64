/* SPDX-License-Identifier: MIT */
/* The two sets on which calibration is judged, drawn by seed, and the error of attention on them.
 */
#ifndef DJ_TESTS_CALIBRATION_SETS_H
#define DJ_TESTS_CALIBRATION_SETS_H

#include <dijiang/calibrate.h>

enum calibration_set {
    /* q, k ~ N(0, I), then unit norm */
    CALIBRATION_ISO = 0,
    /* g ~ N(0, I) times diag((1 + i)^-1/2) times one random orthogonal matrix shared by q and k,
     * then 0.3 added to every coordinate of k, then unit norm */
    CALIBRATION_ANIS = 1,
    CALIBRATION_SETS = 2,
};

enum {
    CALIBRATION_DIM = 64,
    CALIBRATION_TOKENS = 512,   /* of a judged sequence */
    CALIBRATION_SAMPLES = 2048, /* queries, and keys, of a fit */
    CALIBRATION_SEEDS = 8,
};

/* count queries and keys [count][64] of a set. seed: of the orthogonal matrix; part: tokens of
 * different parts are drawn independently. */
void calibration_draw(enum calibration_set set, uint64_t seed, uint64_t part, uint32_t count,
                      float *q, float *k);

/* The ways to a map that the table compares, all with m features. */
enum calibration_method {
    CALIBRATION_UNIFORM, /* the plain mean of the values */
    CALIBRATION_PRF,
    CALIBRATION_ORTHOGONAL_PRF,
    CALIBRATION_PFF,              /* normal radius */
    CALIBRATION_WDCF,             /* normal radius, the paper's method */
    CALIBRATION_WDCF_CHI_WEIGHTS, /* chi radius, D fitted, no key normalisation */
    CALIBRATION_WDCF_WEIGHTS,     /* radius chosen, D fitted, no key normalisation */
    CALIBRATION_WDCF_WEIGHTS_KEYS,
    CALIBRATION_WDCF_RADIUS_KEYS,   /* radius chosen, key-normalised */
    CALIBRATION_WDCF_GRADIENT,      /* t and D fitted, no key normalisation */
    CALIBRATION_WDCF_GRADIENT_KEYS, /* t and D fitted, key-normalised: the default */
    CALIBRATION_WPFF_GRADIENT_KEYS,
    CALIBRATION_METHODS,
};

const char *calibration_method_name(enum calibration_method method);

/* Error of one seed: causal normalised attention over 512 tokens that no fit has seen, values
 * ~ N(0, I); rms(output - exact output) / rms(exact output), in double. m: features, 4 to 256.
 * Below 0 if something failed. */
double calibration_error(enum calibration_method method, enum calibration_set set, uint64_t seed,
                         uint32_t m);

/* The mean over seeds 0 to 7. */
double calibration_mean_error(enum calibration_method method, enum calibration_set set, uint32_t m);

/* phi(x) by the definition, in double, but for the factor m^-1/2 of PFF; the key normalisation, if
 * the calibration has one and key is not 0, included. calibration->heads is 0. */
void calibration_features(const struct dj_calibration *calibration, const float *x, int key,
                          double *phi);

/* Causal normalised attention of 512 tokens, o[512][64] in double: by phi(q) . phi(k) of a
 * calibration, or by exp(q . k). */
void calibration_attend(const struct dj_calibration *calibration, const float *q, const float *k,
                        const float *v, double *o);
void calibration_attend_exactly(const float *q, const float *k, const float *v, double *o);

#endif
