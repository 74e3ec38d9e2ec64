/* SPDX-License-Identifier: MIT */
#include "exact.h"
#include "fit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    LAWS = 3,
    ALPHAS = 13, /* tenths */
};

struct search {
    const struct dj_fitting *fitting;
    bool weigh;
    float *drawn;             /* [features] */
    struct dj_numbers trial;  /* numbers tried last */
    struct dj_numbers *best;  /* and the best so far */
    double best_error, alpha; /* of the best */
    uint32_t law;
    uint32_t tried;
};

/* Draws t, the rms of which is alpha sqrt(dim) whatever the law. */
static void draw(const struct search *search, uint32_t law, double alpha)
{
    const struct dj_samples *const samples = search->fitting->samples;
    const struct dj_sampling_params params = {
        .radius = law,
        .dim = samples->dim,
        .scale = (float)(law == DJ_RADIUS_NORMAL ? alpha * sqrt(samples->dim) : alpha),
        .seed = search->fitting->seed,
    };
    dj_sample_frequencies(&params, samples->features, search->drawn);
    for (uint32_t i = 0; i < samples->features; i++) {
        search->trial.t[i] = (double)search->drawn[i];
        search->trial.log_w[i] = -dj_exact_log(samples->features);
    }
}

static bool attempt(struct search *search, bool weigh, uint32_t law, double alpha)
{
    const struct dj_fitting *const fitting = search->fitting;
    const size_t size = fitting->samples->features * sizeof(double);
    draw(search, law, alpha);
    if (weigh && !dj_fit_weights(fitting, &search->trial))
        return false;
    const double error =
        dj_block_error(fitting->judge, &search->trial, fitting->key_normalise, NULL);
    if (error < search->best_error) {
        search->best_error = error;
        search->law = law;
        search->alpha = alpha;
        memcpy(search->best->t, search->trial.t, size);
        memcpy(search->best->log_w, search->trial.log_w, size);
    }
    search->tried++;
    const int all = LAWS * ALPHAS + (search->weigh ? ALPHAS : 0) + 2;
    if (fitting->progress != NULL)
        fitting->progress(fitting->progress_user, (float)search->tried / (float)all);
    return true;
}

/* All laws and scales by weights that are alike; of the best law all scales again with fitted
 * weights, if these are wanted; then halfway to the best one's neighbours. */
static bool run(struct search *search)
{
    for (uint32_t law = 0; law < LAWS; law++)
        for (int i = 1; i <= ALPHAS; i++)
            if (!attempt(search, false, law, 0.1 * i))
                return false;
    if (search->weigh) {
        search->best_error = INFINITY;
        for (int i = 1; i <= ALPHAS; i++)
            if (!attempt(search, true, search->law, 0.1 * i))
                return false;
    }
    const double center = search->alpha;
    return attempt(search, search->weigh, search->law, center - 0.05) &&
           attempt(search, search->weigh, search->law, center + 0.05);
}

bool dj_fit_radius(const struct dj_fitting *fitting, bool weigh, struct dj_numbers *numbers,
                   uint32_t *law, double *alpha)
{
    const size_t m = fitting->samples->features;
    struct search search = {
        .fitting = fitting, .weigh = weigh, .best = numbers, .best_error = INFINITY};
    search.drawn = malloc(m * sizeof *search.drawn);
    search.trial.t = malloc(m * sizeof *search.trial.t);
    search.trial.log_w = malloc(m * sizeof *search.trial.log_w);
    const bool ok = search.drawn != NULL && search.trial.t != NULL && search.trial.log_w != NULL &&
                    run(&search);
    free(search.trial.log_w);
    free(search.trial.t);
    free(search.drawn);
    *law = search.law;
    *alpha = search.alpha;
    return ok;
}
