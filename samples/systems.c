/* SPDX-License-Identifier: MIT */
#include "systems.h"

#include <dijiang/sampling.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    T = 1 << NUMBERS_FREQUENCIES,
    D = 1 << NUMBERS_WEIGHTS,
    V = 1 << NUMBERS_DIRECTIONS,
    EF = 1 << NUMBERS_KEY_PROJECTION | 1 << NUMBERS_VALUE_PROJECTION,
};

const char *const dtype_names[] = {"f32", "f16", "bf16", NULL};

const struct system systems[SYSTEM_COUNT] = {
    {"wdcf", DJ_MAP_WDCF, T | D, false, false},
    {"wpff", DJ_MAP_PFF, T | V | D, false, true},
    {"softmax-dct", DJ_MAP_SOFTMAX_DCT, T, false, false},
    {"pff", DJ_MAP_PFF, T | V, false, false},
    {"prf", DJ_MAP_PRF, V | D, false, false},
    {"performer", DJ_MAP_PRF, V | D, true, false},
    {"performer-relu", DJ_MAP_PERFORMER_RELU, V, true, false},
    {"cosformer", DJ_MAP_COSFORMER, 0, false, false},
    {"elu", DJ_MAP_ELU, 0, false, false},
    {"relu", DJ_MAP_RELU, 0, false, false},
    {"identity", DJ_MAP_IDENTITY, 0, false, false},
    {"softmax", DJ_MAP_SOFTMAX, 0, false, false},
    {"linformer", DJ_MAP_LINFORMER, EF, false, false},
};

const struct system *system_find(const char *name)
{
    for (int i = 0; i < SYSTEM_COUNT; i++)
        if (strcmp(systems[i].name, name) == 0)
            return &systems[i];
    return NULL;
}

bool system_takes(const struct system *system, enum number_kind kind)
{
    return system->takes >> kind & 1;
}

bool system_has_features(const struct system *system)
{
    return system->takes && system->map != DJ_MAP_SOFTMAX_DCT;
}

bool system_is_exponential(const struct system *system)
{
    return system->map == DJ_MAP_WDCF || system->map == DJ_MAP_SOFTMAX_DCT ||
           system->map == DJ_MAP_PFF || system->map == DJ_MAP_PRF;
}

bool system_can_normalise_keys(const struct system *system)
{
    return system_is_exponential(system) && system_normalises(system);
}

bool system_has_state(const struct system *system)
{
    return system->map != DJ_MAP_SOFTMAX && system->map != DJ_MAP_LINFORMER;
}

bool system_normalises(const struct system *system)
{
    return system->map != DJ_MAP_SOFTMAX_DCT && system->map != DJ_MAP_IDENTITY;
}

float system_scale(const struct system *system, uint64_t dim)
{
    return system->map == DJ_MAP_SOFTMAX_DCT ? 1 : 1 / sqrtf((float)dim);
}

uint32_t numbers_features(const struct system *system, uint32_t dim)
{
    if (system->map == DJ_MAP_SOFTMAX)
        return 0;
    return system->map == DJ_MAP_COSFORMER ? 2 * dim : dim;
}

size_t numbers_size(const struct numbers *numbers, enum number_kind kind)
{
    const size_t m = numbers->features;
    switch (kind) {
    case NUMBERS_FREQUENCIES:
    case NUMBERS_WEIGHTS:
        return m;
    case NUMBERS_DIRECTIONS:
        return m * numbers->dim;
    case NUMBERS_KEY_PROJECTION:
    case NUMBERS_VALUE_PROJECTION:
        return m * numbers->tokens;
    case NUMBERS_KINDS:
        break;
    }
    return 0;
}

/* Entries N(0, 1/m). They are independent, so that they may be drawn as a matrix of one column. */
static dj_result draw_projection(const struct numbers *n, uint64_t seed, float *projection)
{
    const uint64_t count = (uint64_t)n->features * n->tokens;
    if (count > UINT32_MAX)
        return DJ_ERROR_LIMIT;
    return dj_sample_gaussians(
        &(struct dj_sampling_params){
            .dim = 1, .orthogonal = DJ_OFF, .scale = 1 / sqrtf((float)n->features), .seed = seed},
        (uint32_t)count, projection);
}

static dj_result draw_directions(const struct numbers *n, uint64_t seed, float *directions)
{
    const struct dj_sampling_params params = {
        .dim = n->dim, .orthogonal = n->system->orthogonal ? DJ_ON : DJ_OFF, .seed = seed};
    if (n->system->map == DJ_MAP_PFF)
        return dj_sample_directions(&params, n->features, directions);
    return dj_sample_gaussians(&params, n->features, directions);
}

static dj_result draw_weights(const struct numbers *n, uint64_t seed, float *weights)
{
    const dj_result result = dj_frequencies_draw(n->features, seed, weights);
    for (uint32_t i = 0; result == DJ_SUCCESS && i < n->features; i++)
        weights[i] = expf(weights[i] / 2);
    return result;
}

dj_result numbers_draw(struct numbers *numbers, enum number_kind kind, uint64_t seed)
{
    const size_t size = numbers_size(numbers, kind);
    float *data = calloc(size ? size : 1, sizeof(float));
    if (!data)
        return DJ_ERROR_OUT_OF_HOST_MEMORY;
    numbers->arrays[kind] = data;
    /* a seed for each kind: frequencies and directions in the same order would not be independent
     */
    seed = seed * NUMBERS_KINDS + (uint64_t)kind;
    switch (kind) {
    case NUMBERS_FREQUENCIES:
        return dj_frequencies_draw(numbers->features, seed, data);
    case NUMBERS_DIRECTIONS:
        return draw_directions(numbers, seed, data);
    case NUMBERS_KEY_PROJECTION:
    case NUMBERS_VALUE_PROJECTION:
        return draw_projection(numbers, seed, data);
    case NUMBERS_WEIGHTS:
        return draw_weights(numbers, seed, data);
    case NUMBERS_KINDS:
        break;
    }
    return DJ_ERROR_INVALID_ARGUMENT;
}

dj_result numbers_draw_missing(struct numbers *numbers, uint64_t seed)
{
    dj_result result = DJ_SUCCESS;
    for (int kind = 0; kind < NUMBERS_KINDS && result == DJ_SUCCESS; kind++)
        if (system_takes(numbers->system, kind) && !numbers->arrays[kind] &&
            (kind != NUMBERS_WEIGHTS || numbers->system->weighted))
            result = numbers_draw(numbers, kind, seed);
    return result;
}

dj_result numbers_create(dj_context *context, const struct numbers *numbers, dj_features **features)
{
    *features = NULL;
    if (!numbers->system->takes)
        return DJ_SUCCESS;
    return dj_features_create(context,
                              &(struct dj_features_params){
                                  .map = numbers->system->map,
                                  .dim = numbers->dim,
                                  .features = numbers->features,
                                  .heads = numbers->heads,
                                  .tokens = numbers->tokens,
                                  .frequencies = numbers->arrays[NUMBERS_FREQUENCIES],
                                  .weights = numbers->arrays[NUMBERS_WEIGHTS],
                                  .directions = numbers->arrays[NUMBERS_DIRECTIONS],
                                  .key_projection = numbers->arrays[NUMBERS_KEY_PROJECTION],
                                  .value_projection = numbers->arrays[NUMBERS_VALUE_PROJECTION],
                              },
                              features);
}

void numbers_free(struct numbers *numbers)
{
    for (int kind = 0; kind < NUMBERS_KINDS; kind++)
        free(numbers->arrays[kind]);
    memset(numbers->arrays, 0, sizeof(numbers->arrays));
}
