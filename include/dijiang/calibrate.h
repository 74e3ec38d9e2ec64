/* SPDX-License-Identifier: MIT */
/* Fits the numbers of a feature map to sample queries and keys. In a library of its own,
 * libdijiang-calibrate (pkg-config: dijiang-calibrate), on the CPU alone: programs that only run
 * attention do not link it. docs/calibration.md has the objectives and what they gained.
 *
 * Sources: Chen et al., "DiJiang", ICML 2024 (the maps); Lawson, Hanson, "Solving Least Squares
 * Problems", 1974, chapter 23 (non-negative least squares); Kingma, Ba, "Adam", ICLR 2015. */
#ifndef DIJIANG_CALIBRATE_H
#define DIJIANG_CALIBRATE_H

#include <dijiang/context.h>
#include <dijiang/features.h>
#include <dijiang/sampling.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How much is fitted. x = sqrt(scale) q and y = sqrt(scale) k are samples; t frequencies, D weights
 * and phi the map of <dijiang/features.h>. */
enum dj_fit {
    DJ_FIT_GRADIENT = 0, /* radius law and scale, then t and D by gradient steps (Adam) on the
                          * squared error of normalised attention weights, which is what the output
                          * error is for values without structure. The best of the three */
    DJ_FIT_RADIUS = 1,   /* law and scale of t by the same error; all D alike */
    DJ_FIT_WEIGHTS = 2,  /* law and scale, and D by non-negative least squares: D * D minimise
                          * sum_n (phi(x_n) . phi(y_n) / exp(x_n . y_n) - 1)^2 over random pairs,
                          * phi without key normalisation. Many may become 0, often half of them:
                          * those features are dropped */
};

struct dj_calibration_params {
    uint32_t map;           /* DJ_MAP_WDCF or DJ_MAP_PFF (with fitted D: WPFF) */
    uint32_t dim;           /* d, 4 to 256 in steps of 4 */
    uint32_t features;      /* m, 4 to 1024 in steps of 4, for WDCF at most 4 d; 0: d */
    uint32_t heads;         /* 0: one set of numbers for all heads; else one for each key head, 1
                             * to 65535 */
    uint32_t query_count;   /* sample queries per head (per key head if they share it), at least 16;
                             * at most 4096, evenly spread, are used */
    uint32_t key_count;     /* sample keys per head, in the same way */
    uint32_t key_normalise; /* enum dj_switch, default on: the numbers are for a plan with
                             * key_normalise on (DJ_OFF: for one with it off) */
    uint32_t fit;           /* enum dj_fit */
    uint32_t pairs;         /* of DJ_FIT_WEIGHTS, 2048 to 1048576; 0: 2048, or 8 m if more */
    uint32_t steps;         /* of DJ_FIT_GRADIENT, 1 to 100000; 0: 300 */
    float scale;          /* of q.k, above 0; 0: 1/sqrt(d), as dj_attention_params. 1 if the samples
                           * are multiplied by sqrt(scale) already */
    uint32_t log_level;   /* enum dj_log_level; 0: DJ_LOG_WARNING */
    uint64_t seed;        /* of everything that is drawn */
    const float *queries; /* [heads or 1][query_count][d], finite */
    const float *keys;    /* [heads or 1][key_count][d], finite */
    const float *frequencies; /* t[heads or 1][m], finite, to start from; NULL: the radius law and
                               * scale are chosen. With DJ_FIT_RADIUS: NULL */
    const float *directions;  /* PFF: V[heads or 1][m][d], finite; NULL: unit vectors by seed, in
                               * blocks of d orthogonal to each other. WDCF: NULL */
    void (*progress)(void *user, float share); /* NULL, or told which share of the work is done, 0
                                                * to 1, from the calling thread */
    void *progress_user;
    dj_log_fn log; /* NULL: nothing is logged */
    void *log_user;
    uint64_t reserved[4]; /* 0 */
};

/* A calibrated map: what dj_features_create and dj_attention_create are given. A plain struct; the
 * arrays lie in one allocation with it. Arrays hold one set, or one for each key head. */
struct dj_calibration {
    uint32_t map;           /* enum dj_map */
    uint32_t dim;           /* d */
    uint32_t features;      /* m */
    uint32_t heads;         /* 0: shared by all heads */
    uint32_t key_normalise; /* enum dj_switch, DJ_ON or DJ_OFF: for dj_attention_params */
    uint32_t padding;       /* 0 */
    float *frequencies;     /* t[heads or 1][m] */
    float *weights;         /* D[heads or 1][m], at least 0; in each head one is above 0 */
    float *directions;      /* V[heads or 1][m][d] of PFF; NULL for WDCF */

    /* For the reader, and not in files; means over heads, of samples. */
    float error; /* rms error of the attention output for values without structure, as a share of
                  * the exact output's rms, not causal */
    float uniform_error;  /* the same of the plain mean of the values */
    uint64_t reserved[4]; /* 0 */
};

/* Fits. Runs in the calling thread and needs no device; takes about a second for d = m = 64. The
 * same parameters give the same bits.
 *
 * Returns DJ_SUCCESS; DJ_ERROR_INVALID_ARGUMENT (a rule above); DJ_ERROR_VERSION;
 * DJ_ERROR_UNSUPPORTED (another map, or directions for WDCF); DJ_ERROR_OUT_OF_HOST_MEMORY.
 * Thread-safe. */
DJ_API dj_result dj_calibration_create(const struct dj_calibration_params *params,
                                       struct dj_calibration **calibration);

/* Frees what dj_calibration_create or dj_calibration_load made, sets *calibration to NULL. */
DJ_API void dj_calibration_destroy(struct dj_calibration **calibration);

/* Writes a file in the safetensors format, whole or not at all: a temporary file beside it is
 * renamed once complete. F32 tensors frequency_weights (t), feature_weights (D) and, for PFF,
 * feature_directions (V), shaped [m] and [m,d], with heads [heads,m] and [heads,m,d]; metadata
 * format "dijiang-calibration", version "1", map ("wdcf" or "pff"), dim (d), key_normalise ("on" or
 * "off"). calibration may be the caller's own struct. log: NULL, or receives one line of a failure.
 *
 * Returns DJ_SUCCESS; DJ_ERROR_INVALID_ARGUMENT (NULL, or numbers that dj_calibration_load would
 * refuse); DJ_ERROR_VERSION; DJ_ERROR_FILE (it cannot be written). Thread-safe, but for two writers
 * of one path the last one wins. */
DJ_API dj_result dj_calibration_save(const struct dj_calibration *calibration, const char *path,
                                     dj_log_fn log, void *log_user);

/* Reads such a file. Everything is checked: the format, metadata, shapes against each other,
 * ranges, and that all numbers are finite and each head has a weight above 0. Other tensors and
 * metadata are ignored.
 *
 * Returns DJ_SUCCESS; DJ_ERROR_INVALID_ARGUMENT (NULL); DJ_ERROR_FILE (it cannot be read, or breaks
 * a rule); DJ_ERROR_OUT_OF_HOST_MEMORY. Thread-safe. */
DJ_API dj_result dj_calibration_load(const char *path, dj_log_fn log, void *log_user,
                                     struct dj_calibration **calibration);

#ifdef __cplusplus
}
#endif

#endif
