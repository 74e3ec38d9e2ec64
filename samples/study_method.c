/* SPDX-License-Identifier: MIT */
#include "program.h"
#include "study.h"

#include <dijiang/calibrate.h>
#include <dijiang/sampling.h>

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *title, *name, *system;
} methods[STUDY_METHODS] = {
    [STUDY_MONTE_CARLO] = {"PRF, Monte Carlo", "prf-monte-carlo", "prf"},
    [STUDY_ORTHOGONAL] = {"PRF, orthogonal (Performer)", "performer", "performer"},
    [STUDY_QUASI] = {"PRF, quasi-Monte Carlo", "prf-quasi-monte-carlo", "pff"},
    [STUDY_PFF] = {"PFF, as the paper draws it", "pff", "pff"},
    [STUDY_WDCF] = {"DiJiang (WDCF), drawn", "wdcf", "wdcf"},
    [STUDY_WEIGHTED] = {"DiJiang, weighted", "wdcf-weighted", "wdcf"},
    [STUDY_CALIBRATED] = {"DiJiang, calibrated", "wdcf-calibrated", "wdcf"},
};

const char *study_method_title(enum study_method method)
{
    return methods[method].title;
}

const char *study_method_name(enum study_method method)
{
    return methods[method].name;
}

/* The law of PRF from low-discrepancy points: Sobol's on the sphere, the radii's chi quantiles. */
static dj_result draw_quasi(struct numbers *n, uint64_t seed)
{
    const struct dj_sampling_params directions = {
        .sequence = DJ_SEQUENCE_SOBOL, .dim = n->dim, .seed = seed};
    const struct dj_sampling_params radii = {
        .radius = DJ_RADIUS_CHI, .dim = n->dim, .seed = seed + 1};
    float **const arrays = n->arrays;
    arrays[NUMBERS_FREQUENCIES] = calloc(n->features, sizeof(float));
    arrays[NUMBERS_DIRECTIONS] = calloc((size_t)n->features * n->dim, sizeof(float));
    if (!arrays[NUMBERS_FREQUENCIES] || !arrays[NUMBERS_DIRECTIONS])
        return DJ_ERROR_OUT_OF_HOST_MEMORY;
    const dj_result result =
        dj_sample_directions(&directions, n->features, arrays[NUMBERS_DIRECTIONS]);
    return result ? result
                  : dj_sample_frequencies(&radii, n->features, arrays[NUMBERS_FREQUENCIES]);
}

static dj_result fit(struct study_map *map, enum study_method method, const struct study_data *data,
                     uint64_t seed)
{
    struct numbers *const n = &map->numbers;
    const size_t size = n->features * sizeof(float);
    map->key_normalise = method == STUDY_CALIBRATED;
    struct dj_calibration *fitted;
    const dj_result result = dj_calibration_create(
        &(struct dj_calibration_params){
            .map = DJ_MAP_WDCF,
            .dim = n->dim,
            .features = n->features,
            .query_count = data->sample_count,
            .key_count = data->sample_count,
            .key_normalise = map->key_normalise ? DJ_ON : DJ_OFF,
            .fit = method == STUDY_CALIBRATED ? DJ_FIT_GRADIENT : DJ_FIT_WEIGHTS,
            .scale = data->scale,
            .seed = seed,
            .queries = data->sample_q,
            .keys = data->sample_k,
        },
        &fitted);
    if (result)
        return result;
    float *const t = n->arrays[NUMBERS_FREQUENCIES] = malloc(size);
    float *const weights = n->arrays[NUMBERS_WEIGHTS] = malloc(size);
    if (t && weights) {
        memcpy(t, fitted->frequencies, size);
        memcpy(weights, fitted->weights, size);
    }
    dj_calibration_destroy(&fitted);
    return t && weights ? DJ_SUCCESS : DJ_ERROR_OUT_OF_HOST_MEMORY;
}

int study_map_init(struct study_map *map, enum study_method method, const struct study_data *data,
                   uint32_t m, uint64_t seed)
{
    *map = (struct study_map){.numbers = {.system = system_find(methods[method].system),
                                          .dim = data->dim,
                                          .features = m}};
    dj_result result;
    if (method == STUDY_WEIGHTED || method == STUDY_CALIBRATED)
        result = fit(map, method, data, seed);
    else if (method == STUDY_QUASI)
        result = draw_quasi(&map->numbers, seed);
    else
        result = numbers_draw_missing(&map->numbers, seed);
    return result ? program_fail_dj(methods[method].title, result) : PROGRAM_SUCCESS;
}

void study_map_finish(struct study_map *map)
{
    numbers_free(&map->numbers);
}
