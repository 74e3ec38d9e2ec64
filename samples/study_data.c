/* SPDX-License-Identifier: MIT */
#include "program.h"
#include "safetensors.h"
#include "study.h"

#include <dijiang/sampling.h>

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    LEAST_TOKENS = 16, /* to measure, and to fit to */
};

/* The file, and what its shapes say. */
struct source {
    const char *path;
    struct safetensors *file;
    const struct safetensors_tensor *q, *k, *v; /* v: NULL if there is none */
    uint64_t batch, heads, key_heads, tokens, dim, value_dim;
};

static int find(const struct source *s, const char *name, const struct safetensors_tensor **tensor)
{
    *tensor = safetensors_find(s->file, name);
    if (*tensor && (*tensor)->rank != 4)
        return program_fail("%s: tensor '%s' must have 4 dimensions [B,H,T,d]", s->path, name);
    return PROGRAM_SUCCESS;
}

static bool is_head_dim(uint64_t dim)
{
    return dim >= 4 && dim <= 256 && dim % 4 == 0;
}

static int describe(struct source *s)
{
    int code = find(s, "q", &s->q);
    code = code ? code : find(s, "k", &s->k);
    code = code ? code : find(s, "v", &s->v);
    if (code)
        return code;
    if (!s->q || !s->k)
        return program_fail("%s: tensor '%s' is missing", s->path, s->q ? "k" : "q");
    s->batch = s->q->shape[0];
    s->heads = s->q->shape[1];
    s->tokens = s->q->shape[2];
    s->dim = s->q->shape[3];
    s->key_heads = s->k->shape[1];
    s->value_dim = s->v ? s->v->shape[3] : s->dim;
    if (!is_head_dim(s->dim) || !is_head_dim(s->value_dim))
        return program_fail("%s: d and e must be multiples of 4 from 4 to 256", s->path);
    if (s->key_heads == 0 || s->heads % s->key_heads != 0)
        return program_fail("%s: k's heads must divide q's %" PRIu64, s->path, s->heads);
    const uint64_t k[4] = {s->batch, s->key_heads, s->tokens, s->dim};
    const uint64_t v[4] = {s->batch, s->key_heads, s->tokens, s->value_dim};
    if (memcmp(s->k->shape, k, sizeof(k)) != 0)
        return program_fail("%s: tensor 'k' must be [B,Hk,T,d] with q's B, T and d", s->path);
    if (s->v && memcmp(s->v->shape, v, sizeof(v)) != 0)
        return program_fail("%s: tensor 'v' must be [B,Hk,T,e] with k's B, Hk and T", s->path);
    return PROGRAM_SUCCESS;
}

/* How many tokens are measured, a multiple of 4. What is left, or other sequences, is fitted to. */
static int divide(const struct study_settings *settings, const struct source *s,
                  struct study_data *data)
{
    const uint64_t most = s->batch > 1 ? s->tokens : s->tokens / 2;
    const uint64_t tokens = (most < settings->tokens ? most : settings->tokens) / 4 * 4;
    if (s->batch == 0 || tokens < LEAST_TOKENS)
        return program_fail("%s: %" PRIu64 " sequences of %" PRIu64 " tokens are too few: one is "
                            "measured on half of its tokens, at least %d, and fitted to the other",
                            s->path, s->batch, s->tokens, LEAST_TOKENS);
    const uint64_t samples =
        s->batch > 1 ? (s->batch - 1) * s->tokens : s->tokens - tokens; /* at least as many */
    if (samples > UINT32_MAX)
        return program_fail("%s: %" PRIu64 " tokens to fit to are too many", s->path, samples);
    data->tokens = (uint32_t)tokens;
    data->sample_count = (uint32_t)samples;
    data->dim = (uint32_t)s->dim;
    data->value_dim = (uint32_t)s->value_dim;
    return PROGRAM_SUCCESS;
}

/* One head of a tensor: its first tokens, and the samples if they are wanted. */
static int read_head(const struct study_settings *settings, const struct source *s,
                     const struct safetensors_tensor *tensor, const struct study_data *data,
                     float **measured, float **samples)
{
    const uint64_t heads = tensor->shape[1], width = tensor->shape[3];
    const uint64_t head = settings->head / (s->heads / heads), size = s->tokens * width;
    const size_t first = (size_t)data->tokens * width;
    struct safetensors_error error;
    float *all = malloc(tensor->count * sizeof(float));
    *measured = malloc(first * sizeof(float));
    if (samples)
        *samples = malloc((size_t)data->sample_count * width * sizeof(float));
    int code = PROGRAM_SUCCESS;
    if (!all || !*measured || (samples && !*samples))
        code = program_fail("%s: tensor '%s' does not fit into memory", s->path, tensor->name);
    else if (!safetensors_read(s->file, tensor, all, &error))
        code = program_fail("%s: %s", s->path, error.text);
    for (uint64_t i = 0; i < tensor->count && !code; i++)
        if (!isfinite(all[i]))
            code = program_fail("%s: tensor '%s' holds a number that is not finite", s->path,
                                tensor->name);
    if (!code)
        memcpy(*measured, all + head * size, first * sizeof(float));
    if (!code && samples && s->batch == 1)
        memcpy(*samples, all + head * size + first, (size - first) * sizeof(float));
    for (uint64_t b = 1; b < s->batch && samples && !code; b++)
        memcpy(*samples + (b - 1) * size, all + (b * heads + head) * size, size * sizeof(float));
    free(all);
    return code;
}

static int draw_values(const struct study_settings *settings, struct study_data *data)
{
    const uint64_t seed = settings->seed;
    data->v = malloc((size_t)data->tokens * data->value_dim * sizeof(float));
    if (!data->v)
        return program_fail("out of memory");
    const dj_result result = dj_sample_gaussians(
        &(struct dj_sampling_params){.dim = data->value_dim, .orthogonal = DJ_OFF, .seed = seed},
        data->tokens, data->v);
    return result ? program_fail_dj("drawing v", result) : PROGRAM_SUCCESS;
}

static int read_all(const struct study_settings *settings, const struct source *s,
                    struct study_data *data)
{
    int code = divide(settings, s, data);
    if (!code && settings->head >= s->heads)
        code = program_fail("%s: --head is %" PRIu64 ", but q has %" PRIu64 " heads", s->path,
                            settings->head, s->heads);
    code = code ? code : read_head(settings, s, s->q, data, &data->q, &data->sample_q);
    code = code ? code : read_head(settings, s, s->k, data, &data->k, &data->sample_k);
    if (!code)
        code =
            s->v ? read_head(settings, s, s->v, data, &data->v, NULL) : draw_values(settings, data);
    snprintf(data->source, sizeof(data->source),
             "%.80s: head %" PRIu64 " of %" PRIu64 ", d = %" PRIu64 "%s", s->path, settings->head,
             s->heads, s->dim, s->v ? "" : ", v drawn from N(0, 1)");
    snprintf(data->samples, sizeof(data->samples), "%u tokens %s", data->sample_count,
             s->batch > 1 ? "of the other sequences" : "that follow");
    return code;
}

static int read_file(const struct study_settings *settings, struct study_data *data)
{
    struct safetensors_error error;
    struct source source = {.path = settings->input,
                            .file = safetensors_open(settings->input, &error)};
    if (!source.file)
        return program_fail("%s: %s", settings->input, error.text);
    int code = describe(&source);
    code = code ? code : read_all(settings, &source, data);
    safetensors_close(&source.file);
    data->heads = source.heads;
    return code;
}

int study_data_open(const struct study_settings *settings, struct study_data *data)
{
    *data = (struct study_data){0};
    const int code = settings->input ? read_file(settings, data) : study_make(settings, data);
    const double last = data->heads > 1 ? (double)data->heads - 1 : 1;
    data->decay = (float)(1 - exp(-log(32) - (double)settings->head / last * log(16)));
    data->scale = settings->scale > 0 ? settings->scale : 1 / sqrtf((float)data->dim);
    return code;
}

void study_data_close(struct study_data *data)
{
    free(data->q);
    free(data->k);
    free(data->v);
    free(data->sample_q);
    free(data->sample_k);
    *data = (struct study_data){0};
}

static float *stretch(const float *x, size_t count, double factor)
{
    float *y = malloc(count * sizeof(float));
    for (size_t i = 0; y && i < count; i++)
        y[i] = (float)(x[i] * factor);
    return y;
}

bool study_data_stretch(const struct study_data *data, double multiple,
                        struct study_data *stretched)
{
    const size_t size = (size_t)data->tokens * data->dim;
    const size_t samples = (size_t)data->sample_count * data->dim;
    const double factor = sqrt(multiple);
    *stretched = *data;
    stretched->q = stretch(data->q, size, factor);
    stretched->k = stretch(data->k, size, factor);
    stretched->v = stretch(data->v, (size_t)data->tokens * data->value_dim, 1);
    stretched->sample_q = stretch(data->sample_q, samples, factor);
    stretched->sample_k = stretch(data->sample_k, samples, factor);
    return stretched->q && stretched->k && stretched->v && stretched->sample_q &&
           stretched->sample_k;
}
