/* SPDX-License-Identifier: MIT */
/* Data that resembles attention's: a text is drawn, and what a head makes of its words and places.
 *
 * A word's query and key share a direction, whose components fall off as 1 / sqrt(1 + i) in a basis
 * of the head's own, so that words look at their like. Common parts of all queries and keys are
 * turned by the rotary embedding, so that near tokens see each other. The first key of a sequence
 * lies along the queries' mean: it is the sink. Both get noise, and the whole is stretched until
 * scale q.k has the head's standard deviation. */
#include "program.h"
#include "study.h"

#include <dijiang/sampling.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    D = STUDY_MADE_DIM,
    WORDS = 64,
    MOST_TOKENS = 256, /* of a sequence */
};

/* Shares of the square of a query or key, and the standard deviation of scale q.k. */
static const struct {
    double words, places, sink, noise, spread;
} heads[STUDY_MADE_HEADS] = {
    {0.35, 0.35, 0.15, 0.15, 1.5}, /* a bit of all */
    {0.10, 0.70, 0.05, 0.15, 2.0}, /* near tokens */
    {0.70, 0.05, 0.05, 0.20, 2.0}, /* like words */
    {0.30, 0.20, 0.10, 0.40, 0.7}, /* hardly anything in particular */
};

/* What a head and its text are made from. */
struct head {
    float basis[D * D], words[WORDS * D], mean[D], values[WORDS * D];
};

static dj_result gaussians(uint64_t seed, uint32_t orthogonal, uint32_t count, uint32_t dim,
                           float *x)
{
    return dj_sample_gaussians(
        &(struct dj_sampling_params){.dim = dim, .orthogonal = orthogonal, .seed = seed}, count, x);
}

/* A unit vector. */
static void normalise(float *x)
{
    double square = 0;
    for (int i = 0; i < D; i++)
        square += (double)x[i] * x[i];
    for (int i = 0; i < D; i++)
        x[i] = (float)(x[i] / sqrt(square));
}

/* Gives a normal vector the spectrum, in the head's basis. */
static void colour(const struct head *head, float *x)
{
    float coloured[D];
    for (int c = 0; c < D; c++) {
        double sum = 0;
        for (int i = 0; i < D; i++)
            sum += x[i] / sqrt(1.0 + i) * head->basis[i * D + c];
        coloured[c] = (float)sum;
    }
    memcpy(x, coloured, sizeof(coloured));
    normalise(x);
}

static dj_result make_head(struct head *head, uint64_t seed)
{
    dj_result r = gaussians(seed, DJ_ON, D, D, head->basis);
    r = r ? r : gaussians(seed + 1, DJ_OFF, WORDS, D, head->words);
    r = r ? r : gaussians(seed + 2, DJ_OFF, WORDS, D, head->values);
    r = r ? r : gaussians(seed + 3, DJ_OFF, 1, D, head->mean);
    for (int i = 0; i < D && !r; i++)
        normalise(head->basis + i * D);
    for (int i = 0; i < WORDS && !r; i++)
        colour(head, head->words + i * D);
    normalise(head->mean);
    return r;
}

/* Words of a text: half of them are among the last 16 again, the others drawn by Zipf's law. coins:
 * two normal numbers for each. */
static void write_text(const float *coins, uint32_t count, uint32_t *words)
{
    double total = 0;
    for (int i = 0; i < WORDS; i++)
        total += 1.0 / (1 + i);
    for (uint32_t t = 0; t < count; t++) {
        const double first = erfc(-(double)coins[2 * t] / sqrt(2)) / 2; /* uniform in 0 to 1 */
        const double second = erfc(-(double)coins[2 * t + 1] / sqrt(2)) / 2;
        const uint32_t window = t < 16 ? t : 16;
        if (first < 0.5 && window > 0) {
            words[t] = words[t - 1 - (uint32_t)fmin(second * window, window - 1)];
            continue;
        }
        double rest = second * total;
        for (words[t] = 0; words[t] + 1 < WORDS; words[t]++)
            if ((rest -= 1.0 / (1 + words[t])) < 0)
                break;
    }
}

/* The rotary embedding, with pairs of neighbours. */
static void turn(float *x, uint32_t place)
{
    for (int p = 0; p < D / 2; p++) {
        const double angle = place * pow(10000, -2.0 * p / D);
        const double a = x[2 * p], b = x[2 * p + 1];
        x[2 * p] = (float)(a * cos(angle) - b * sin(angle));
        x[2 * p + 1] = (float)(a * sin(angle) + b * cos(angle));
    }
}

/* One sequence's queries and keys [count][D], which hold noise to begin with. */
static void fill_sequence(const struct head *head, int which, const uint32_t *words, uint32_t count,
                          float *q, float *k)
{
    for (uint32_t n = 0; n < 2 * count; n++) {
        const uint32_t t = n % count;
        float *const x = (n < count ? q : k) + (size_t)t * D;
        const float *const word = head->words + words[t] * D;
        /* the sink has nothing but the queries' mean; other keys have none of it */
        const double sink = n < count || t == 0 ? sqrt(heads[which].sink) : 0;
        const double rest = n >= count && t == 0 ? 0 : 1;
        float places[D];
        for (int i = 0; i < D; i++)
            places[i] = (float)(i % 2 == 0) / sqrtf(D / 2); /* each pair's first axis */
        turn(places, t);
        colour(head, x);
        for (int i = 0; i < D; i++)
            x[i] = (float)(rest * (sqrt(heads[which].noise) * x[i] +
                                   sqrt(heads[which].words) * word[i] +
                                   sqrt(heads[which].places) * places[i]) +
                           sink * head->mean[i]);
    }
}

static void scale(float *x, size_t count, double factor)
{
    for (size_t i = 0; i < count; i++)
        x[i] = (float)(x[i] * factor);
}

/* Draws the sequence of that number; values may be NULL. */
static dj_result draw_sequence(const struct head *head, int which, uint64_t seed, uint32_t count,
                               float *q, float *k, float *values)
{
    float coins[2 * MOST_TOKENS];
    uint32_t words[MOST_TOKENS];
    dj_result r = gaussians(seed, DJ_OFF, 2 * count, 1, coins);
    r = r ? r : gaussians(seed + 1, DJ_OFF, count, D, q);
    r = r ? r : gaussians(seed + 2, DJ_OFF, count, D, k);
    if (values)
        r = r ? r : gaussians(seed + 3, DJ_OFF, count, D, values);
    if (r)
        return r;
    write_text(coins, count, words);
    fill_sequence(head, which, words, count, q, k);
    for (uint32_t i = 0; values && i < count * D; i++) /* a word's own, and the token's */
        values[i] =
            (float)(sqrt(0.7) * head->values[words[i / D] * D + i % D] + sqrt(0.3) * values[i]);
    return DJ_SUCCESS;
}

static dj_result draw_all(const struct study_settings *settings, struct head *head,
                          struct study_data *data)
{
    const int which = (int)settings->head;
    const uint64_t seed = (settings->seed * STUDY_MADE_HEADS + settings->head) * 1000;
    const size_t size = (size_t)data->tokens * D;
    dj_result r = make_head(head, seed);
    r = r ? r : draw_sequence(head, which, seed + 10, data->tokens, data->q, data->k, data->v);
    for (uint64_t i = 0; i < STUDY_MADE_SAMPLES && !r; i++)
        r = draw_sequence(head, which, seed + 20 + 10 * i, data->tokens, data->sample_q + i * size,
                          data->sample_k + i * size, NULL);
    struct study_exact exact;
    data->scale = 1 / sqrtf(D);
    if (!r && !study_exact_init(&exact, data, true))
        r = DJ_ERROR_OUT_OF_HOST_MEMORY;
    if (r)
        return r;
    const double factor = sqrt(heads[which].spread / exact.spread);
    study_exact_finish(&exact);
    scale(data->q, size, factor);
    scale(data->k, size, factor);
    scale(data->sample_q, STUDY_MADE_SAMPLES * size, factor);
    scale(data->sample_k, STUDY_MADE_SAMPLES * size, factor);
    return DJ_SUCCESS;
}

int study_make(const struct study_settings *settings, struct study_data *data)
{
    if (settings->head >= STUDY_MADE_HEADS)
        return program_usage("--head is %llu, but what is made has %d heads",
                             (unsigned long long)settings->head, STUDY_MADE_HEADS);
    data->tokens = (uint32_t)settings->tokens;
    data->dim = data->value_dim = D;
    data->heads = STUDY_MADE_HEADS;
    data->sample_count = STUDY_MADE_SAMPLES * data->tokens;
    const size_t size = (size_t)data->tokens * D * sizeof(float);
    data->q = malloc(size);
    data->k = malloc(size);
    data->v = malloc(size);
    data->sample_q = malloc(STUDY_MADE_SAMPLES * size);
    data->sample_k = malloc(STUDY_MADE_SAMPLES * size);
    struct head *head = malloc(sizeof(*head));
    int code = PROGRAM_SUCCESS;
    if (!data->q || !data->k || !data->v || !data->sample_q || !data->sample_k || !head)
        code = program_fail("out of memory");
    const dj_result result = code ? DJ_SUCCESS : draw_all(settings, head, data);
    if (result)
        code = program_fail_dj("making data", result);
    free(head);
    snprintf(data->source, sizeof(data->source), "made, seed %llu: head %llu of %d, d = %d",
             (unsigned long long)settings->seed, (unsigned long long)settings->head,
             STUDY_MADE_HEADS, D);
    snprintf(data->samples, sizeof(data->samples), "%u tokens of %d other sequences of that head",
             data->sample_count, STUDY_MADE_SAMPLES);
    return code;
}
