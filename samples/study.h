/* SPDX-License-Identifier: MIT */
/* dijiang-study's parts: the data, the exact reference, the approximations and what they come to.
 */
#ifndef DJ_SAMPLES_STUDY_H
#define DJ_SAMPLES_STUDY_H

#include "systems.h"

#include <dijiang/dijiang.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    STUDY_COUNTS = 5, /* numbers of features that are measured, at most */
    STUDY_SCALES = 5, /* multiples of the scale of q.k */
    STUDY_SEEDS = 16, /* at most */
};

struct study_settings {
    const char *input, *output, *device;
    uint64_t head, tokens, features, seeds, seed; /* features: the most; 0: default */
    float scale;                                  /* 0: 1 / sqrt(d) */
    bool no_cache;
};

/* ---- The data: one head of one sequence, and other tokens to fit to. study_data.c reads them,
 * study_make.c makes them. */

struct study_data {
    uint32_t tokens, dim, value_dim; /* T, d, e */
    uint64_t heads;                  /* of queries, in the whole */
    float scale, decay;              /* decay: RetNet's of this head, 1/32 to 1/512 below 1 */
    float *q, *k, *v;                /* [T][d], [T][d], [T][e] */
    uint32_t sample_count;
    float *sample_q, *sample_k; /* [sample_count][d], none of them measured */
    char source[160], samples[160];
};

/* Reads the file or makes data. These return an enum program_exit, having said why. */
int study_data_open(const struct study_settings *settings, struct study_data *data);
void study_data_close(struct study_data *data);

/* The same data with scale q.k so many times as large. Returns false if memory is short. */
bool study_data_stretch(const struct study_data *data, double multiple,
                        struct study_data *stretched);

enum {
    STUDY_MADE_HEADS = 4,
    STUDY_MADE_DIM = 64,
    STUDY_MADE_SAMPLES = 16, /* sequences to fit to */
};

/* Allocates and fills all of data but scale and decay. */
int study_make(const struct study_settings *settings, struct study_data *data);

/* ---- The reference, in double precision on the host: study_exact.c. */

struct study_exact {
    uint32_t tokens, value_dim;
    double *kernel;  /* [T][T] exp(scale q.k) by the largest, 0 where a row does not look */
    double *weights; /* [T][T] of softmax attention, rows of sum 1 */
    double *out;     /* [T][e] */
    double spread;   /* standard deviation of scale q.k over the causal pairs */
    double keys;     /* exp(entropy) of a row's weights, the mean of all rows */
};

/* Returns false if memory is short. */
bool study_exact_init(struct study_exact *exact, const struct study_data *data, bool causal);
void study_exact_finish(struct study_exact *exact);

/* |c got - want| / |want|, Euclidean norms over count numbers; c is 1, or with any_factor the
 * number that makes it least. Infinite if something in got is not finite. */
double study_error(const float *got, const double *want, size_t count, bool any_factor);

/* The approximation that attends to nothing: every row's mean over the tokens it sees, [T][T]. */
void study_uniform(uint32_t tokens, bool causal, float *weights);

/* o [T][e] = weights [T][T] v. */
void study_apply(const struct study_data *data, const float *weights, float *o);

/* ---- The approximations of softmax attention whose number of features is free: study_method.c. */

enum study_method {
    STUDY_MONTE_CARLO,
    STUDY_ORTHOGONAL,
    STUDY_QUASI,
    STUDY_PFF,
    STUDY_WDCF,
    STUDY_WEIGHTED,
    STUDY_CALIBRATED,
    STUDY_METHODS,
};

/* In a table or legend, and in the CSV file. */
const char *study_method_title(enum study_method method);
const char *study_method_name(enum study_method method);

/* A map with its numbers. */
struct study_map {
    struct numbers numbers;
    bool key_normalise;
};

/* Draws or fits m features. */
int study_map_init(struct study_map *map, enum study_method method, const struct study_data *data,
                   uint32_t m, uint64_t seed);
void study_map_finish(struct study_map *map);

/* ---- What the library computes: study_device.c. */

struct study_device;

/* Returns NULL if memory is short. The context must outlive it. */
struct study_device *study_device_open(dj_context *context);
void study_device_close(struct study_device **device);

/* These two return an enum program_exit, having said why. Weights [T][T] of the map's attention, by
 * attending to the identity matrix, and its output [T][e]; causal but for Linformer, with the
 * data's decay for the identity map. */
int study_attend(struct study_device *device, const struct study_map *map,
                 const struct study_data *data, float *weights, float *out);

/* phi(q_i) . phi(k_j) of all pairs, [T][T], in the same way without normaliser and mask. */
int study_kernel(struct study_device *device, const struct study_map *map,
                 const struct study_data *data, float *kernel);

/* ---- The first figure: study_maps.c. */

enum {
    STUDY_MAPS = 8
};

struct study_maps {
    uint32_t features;
    double spread, keys; /* as of struct study_exact */
    const char *titles[STUDY_MAPS];
    float *weights[STUDY_MAPS]; /* [T][T] */
    double weights_error[STUDY_MAPS], output_error[STUDY_MAPS];
    double share[STUDY_MAPS]; /* of the output error of attending to nothing */
};

int study_maps_measure(struct study_device *device, const struct study_settings *settings,
                       const struct study_data *data, uint32_t m, struct study_maps *maps);
void study_maps_print(const struct study_maps *maps);
int study_maps_draw(const struct study_maps *maps, const struct study_data *data,
                    const char *directory);
void study_maps_finish(struct study_maps *maps);

/* Whether that map is one of the methods of study_method.c, or the exact one. */
bool study_maps_is_method(int map);

/* ---- The second one: study_errors.c measures, study_report.c prints, draws and writes. */

enum study_measure {
    STUDY_KERNEL,
    STUDY_WEIGHTS,
    STUDY_OUTPUT,
    STUDY_MEASURES
};

struct study_value {
    double median, low, high; /* over the seeds */
};

struct study_errors {
    uint32_t seeds;
    uint32_t counts, features[STUDY_COUNTS]; /* rising */
    uint32_t base;                           /* which of them all scales are measured with */
    double multiples[STUDY_SCALES], spread[STUDY_SCALES];
    double uniform[STUDY_MEASURES][STUDY_SCALES]; /* the error of attending to nothing */
    struct study_value values[STUDY_MEASURES][STUDY_SCALES][STUDY_METHODS][STUDY_COUNTS];
};

enum {
    STUDY_SCALE_LEAST = 0, /* these two are measured with all numbers of features, */
    STUDY_SCALE_OWN = 2,   /* this one is the data's own */
};

/* Whether there is a value. */
bool study_errors_has(const struct study_errors *errors, int scale, uint32_t count);

/* Which numbers of features: up to the most, 0 the default. */
void study_errors_plan(struct study_errors *errors, const struct study_settings *settings,
                       uint32_t dim);
int study_errors_measure(struct study_device *device, const struct study_settings *settings,
                         const struct study_data *data, struct study_errors *errors);
void study_errors_print(const struct study_errors *errors);
int study_errors_draw(const struct study_errors *errors, const char *directory);
int study_errors_write(const struct study_errors *errors, const char *directory);

/* In words, from the numbers: study_verdict.c. */
void study_verdict(const struct study_errors *errors, const struct study_maps *maps);

#endif
