/* SPDX-License-Identifier: MIT */
/* The maps of exact attention and of what stands for it, side by side. */
#include "chart.h"
#include "program.h"
#include "study.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* By a method of study_method.c, or by the system of that name with what numbers_draw_missing
 * draws. */
static const struct {
    const char *title, *system;
    enum study_method method;
} rows[STUDY_MAPS] = {
    {"exact softmax", "softmax", 0},
    {"DiJiang (WDCF), drawn", NULL, STUDY_WDCF},
    {"DiJiang, calibrated", NULL, STUDY_CALIBRATED},
    {"PFF", NULL, STUDY_PFF},
    {"Performer", NULL, STUDY_ORTHOGONAL},
    {"cosFormer", "cosformer", 0},
    {"Linformer, not causal", "linformer", 0},
    {"RetNet", "identity", 0},
};

bool study_maps_is_method(int map)
{
    return !rows[map].system || map == 0;
}

static int make_map(uint32_t row, const struct study_settings *settings,
                    const struct study_data *data, uint32_t m, struct study_map *map)
{
    if (!rows[row].system)
        return study_map_init(map, rows[row].method, data, m, settings->seed);
    const struct system *system = system_find(rows[row].system);
    *map = (struct study_map){
        .numbers = {.system = system,
                    .dim = data->dim,
                    .features =
                        system_has_features(system) ? m : numbers_features(system, data->dim),
                    .tokens = system->map == DJ_MAP_LINFORMER ? data->tokens : 0}};
    const dj_result result = numbers_draw_missing(&map->numbers, settings->seed);
    return result ? program_fail_dj(rows[row].title, result) : PROGRAM_SUCCESS;
}

/* RetNet has no denominator, and in a layer its output is normalised: any factor will do. */
static int measure(struct study_device *device, const struct study_settings *settings,
                   const struct study_data *data, uint32_t m, const struct study_exact exacts[2],
                   uint32_t row, struct study_maps *maps)
{
    const size_t tokens = data->tokens, size = tokens * data->value_dim;
    float *o = malloc(size * sizeof(float)), *uniform = malloc(tokens * tokens * sizeof(float));
    float *weights = maps->weights[row] = malloc(tokens * tokens * sizeof(float));
    struct study_map map = {0};
    int code = o && weights && uniform ? make_map(row, settings, data, m, &map)
                                       : program_fail("out of memory");
    const uint32_t which = code ? 0 : map.numbers.system->map;
    const struct study_exact *exact = &exacts[which == DJ_MAP_LINFORMER];
    code = code ? code : study_attend(device, &map, data, weights, o);
    if (!code) {
        const bool any = which == DJ_MAP_IDENTITY;
        maps->weights_error[row] = study_error(weights, exact->weights, tokens * tokens, any);
        maps->output_error[row] = study_error(o, exact->out, size, any);
        study_uniform(data->tokens, which != DJ_MAP_LINFORMER, uniform);
        study_apply(data, uniform, o);
        maps->share[row] = maps->output_error[row] / study_error(o, exact->out, size, any);
    }
    study_map_finish(&map);
    free(uniform);
    free(o);
    return code;
}

int study_maps_measure(struct study_device *device, const struct study_settings *settings,
                       const struct study_data *data, uint32_t m, struct study_maps *maps)
{
    struct study_exact exacts[2] = {0}; /* causal, and not */
    *maps = (struct study_maps){.features = m};
    int code = PROGRAM_SUCCESS;
    if (!study_exact_init(&exacts[0], data, true) || !study_exact_init(&exacts[1], data, false))
        code = program_fail("out of memory");
    maps->spread = exacts[0].spread;
    maps->keys = exacts[0].keys;
    for (uint32_t i = 0; i < STUDY_MAPS && !code; i++) {
        maps->titles[i] = rows[i].title;
        program_progress("maps: %s", rows[i].title);
        code = program_interrupted() ? PROGRAM_FAILURE
                                     : measure(device, settings, data, m, exacts, i, maps);
    }
    program_progress(NULL);
    study_exact_finish(&exacts[0]);
    study_exact_finish(&exacts[1]);
    return code;
}

void study_maps_print(const struct study_maps *maps)
{
    printf("attention    scale q.k deviates by %.2f; a token attends to about %.1f keys\n",
           maps->spread, maps->keys);
    printf("\nmaps, %u features; errors are |got - exact| / |exact|\n", maps->features);
    printf("%-30s %10s %10s   %s\n", "", "weights", "output", "output, of the plain mean's error");
    for (int i = 0; i < STUDY_MAPS; i++)
        printf("%-30s %10.2g %10.2g   %.2f\n", maps->titles[i], maps->weights_error[i],
               maps->output_error[i], maps->share[i]);
    printf("RetNet's errors are those with the best factor, since its outputs are normalised "
           "afterwards.\n");
}

/* Weights as multiples of the row's mean, so that attending to nothing is one colour. */
static void shade(const float *weights, uint32_t tokens, bool causal, bool absolute, float *shades)
{
    for (uint32_t i = 0; i < tokens; i++) {
        const uint32_t count = causal ? i + 1 : tokens;
        double sum = 0;
        for (uint32_t j = 0; j < count; j++)
            sum += absolute ? fabs((double)weights[i * tokens + j]) : weights[i * tokens + j];
        for (uint32_t j = 0; j < tokens; j++)
            shades[i * tokens + j] = j < count ? (float)(weights[i * tokens + j] / sum * count) : 0;
    }
}

int study_maps_draw(const struct study_maps *maps, const struct study_data *data,
                    const char *directory)
{
    const size_t size = (size_t)data->tokens * data->tokens;
    float *shades = malloc(STUDY_MAPS * size * sizeof(float));
    struct chart_map drawn[STUDY_MAPS];
    struct chart_panel panels[STUDY_MAPS];
    if (!shades)
        return program_fail("out of memory");
    for (uint32_t i = 0; i < STUDY_MAPS; i++) {
        const bool linformer =
            rows[i].system && system_find(rows[i].system)->map == DJ_MAP_LINFORMER;
        const bool retnet = rows[i].system && system_find(rows[i].system)->map == DJ_MAP_IDENTITY;
        shade(maps->weights[i], data->tokens, !linformer, retnet || linformer, shades + i * size);
        drawn[i] = (struct chart_map){.values = shades + i * size,
                                      .rows = data->tokens,
                                      .columns = data->tokens,
                                      .low = 0,
                                      .high = 8};
        panels[i] = (struct chart_panel){.title = maps->titles[i], .map = &drawn[i]};
    }
    char title[160];
    snprintf(title, sizeof(title),
             "Attention of token (down) to token (across), as multiples of the row's mean; %u "
             "features",
             maps->features);
    const struct chart chart = {
        .title = title, .panels = panels, .panel_count = STUDY_MAPS, .columns = 4};
    const bool ok = chart_write(&chart, directory, "maps");
    free(shades);
    return ok ? PROGRAM_SUCCESS : PROGRAM_FAILURE;
}

void study_maps_finish(struct study_maps *maps)
{
    for (int i = 0; i < STUDY_MAPS; i++)
        free(maps->weights[i]);
    *maps = (struct study_maps){0};
}
