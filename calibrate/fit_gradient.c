/* SPDX-License-Identifier: MIT */
#include "cosine.h"
#include "fit.h"
#include "random.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Kingma and Ba 2015, with a step that falls along half a cosine. As tried on both sets of
 * docs/calibration.md: results differ by less than 1 % for steps of half and twice the size, and
 * blocks of half and twice as many samples. */
static const double BETA1 = 0.9, BETA2 = 0.99, STEP_LOG_W = 0.1;
static const double STEP_T = 0.025; /* in units of sqrt(dim) */
enum {
    BLOCK = 128
};

struct adam {
    double *mean, *square; /* of t's derivatives, then of ln w's */
    double decay1, decay2; /* BETA1 and BETA2 to the power of the steps made */
};

static void adam_step(struct adam *adam, size_t at, size_t n, const double *gradient, double step,
                      double *x)
{
    for (size_t i = 0; i < n; i++) {
        double *const mean = &adam->mean[at + i], *const square = &adam->square[at + i];
        *mean = BETA1 * *mean + (1.0 - BETA1) * gradient[i];
        *square = BETA2 * *square + (1.0 - BETA2) * gradient[i] * gradient[i];
        x[i] -=
            step * (*mean / (1.0 - adam->decay1)) / (sqrt(*square / (1.0 - adam->decay2)) + 1e-30);
    }
}

/* The first n of the indices become a random choice of all. */
static void choose(uint32_t *indices, uint32_t count, uint32_t n, uint64_t *random)
{
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t j = i + (uint32_t)(dj_random_next(random) % (count - i));
        const uint32_t swap = indices[i];
        indices[i] = indices[j];
        indices[j] = swap;
    }
}

struct descent {
    struct dj_block block;
    struct adam adam;
    struct dj_numbers now, gradient;
    double *memory;           /* of the arrays of adam, now and gradient */
    uint32_t *queries, *keys; /* indices of all samples, in changing order */
};

static bool init(struct descent *descent, const struct dj_samples *samples)
{
    const size_t m = samples->features;
    descent->memory = calloc(8 * m, sizeof *descent->memory);
    descent->queries = malloc(samples->queries * sizeof *descent->queries);
    descent->keys = malloc(samples->keys * sizeof *descent->keys);
    if (descent->memory == NULL || descent->queries == NULL || descent->keys == NULL ||
        !dj_block_init(&descent->block, samples,
                       samples->queries < BLOCK ? samples->queries : BLOCK,
                       samples->keys < BLOCK ? samples->keys : BLOCK))
        return false;
    double *const memory = descent->memory;
    descent->adam = (struct adam){memory, memory + 2 * m, 1.0, 1.0};
    descent->now = (struct dj_numbers){memory + 4 * m, memory + 5 * m};
    descent->gradient = (struct dj_numbers){memory + 6 * m, memory + 7 * m};
    for (uint32_t i = 0; i < samples->queries; i++)
        descent->queries[i] = i;
    for (uint32_t i = 0; i < samples->keys; i++)
        descent->keys[i] = i;
    return true;
}

static void finish(struct descent *descent)
{
    dj_block_finish(&descent->block);
    free(descent->keys);
    free(descent->queries);
    free(descent->memory);
}

static void run(struct descent *descent, const struct dj_fitting *fitting)
{
    const struct dj_samples *const samples = fitting->samples;
    struct dj_block *const block = &descent->block;
    struct adam *const adam = &descent->adam;
    uint64_t random = dj_random_stream(fitting->seed, 2);
    for (uint32_t step = 0; step < fitting->steps; step++) {
        choose(descent->queries, samples->queries, block->queries, &random);
        choose(descent->keys, samples->keys, block->keys, &random);
        dj_block_fill(block, samples, descent->queries, descent->keys);
        dj_block_error(block, &descent->now, fitting->key_normalise, &descent->gradient);
        adam->decay1 *= BETA1;
        adam->decay2 *= BETA2;
        const double share = 0.5 + 0.5 * dj_cos_pi(step, fitting->steps);
        adam_step(adam, 0, samples->features, descent->gradient.t,
                  share * STEP_T * sqrt(samples->dim), descent->now.t);
        adam_step(adam, samples->features, samples->features, descent->gradient.log_w,
                  share * STEP_LOG_W, descent->now.log_w);
        if (fitting->progress != NULL)
            fitting->progress(fitting->progress_user, (float)(step + 1) / (float)fitting->steps);
    }
}

bool dj_fit_gradient(const struct dj_fitting *fitting, struct dj_numbers *numbers)
{
    const struct dj_samples *const samples = fitting->samples;
    const size_t size = samples->features * sizeof(double);
    struct descent descent = {0};
    const bool ok = init(&descent, samples);
    if (ok) {
        memcpy(descent.now.t, numbers->t, size);
        memcpy(descent.now.log_w, numbers->log_w, size);
        run(&descent, fitting);
        const double before = dj_block_error(fitting->judge, numbers, fitting->key_normalise, NULL);
        if (dj_block_error(fitting->judge, &descent.now, fitting->key_normalise, NULL) < before) {
            memcpy(numbers->t, descent.now.t, size);
            memcpy(numbers->log_w, descent.now.log_w, size);
        }
    }
    finish(&descent);
    return ok;
}
