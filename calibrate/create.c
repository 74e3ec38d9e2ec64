/* SPDX-License-Identifier: MIT */
#include "calibration.h"
#include "exact.h"
#include "fit.h"
#include "random.h"
#include "rows.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    MOST_SAMPLES = 4096, /* of one head */
    LEAST_SAMPLES = 16,
    JUDGE = 256, /* samples of the block by which choices are made */
    LEAST_PAIRS = 2048,
    MOST_PAIRS = 1 << 20,
    DEFAULT_STEPS = 300,
    MOST_STEPS = 100000,
};

static uint32_t sets_of(uint32_t heads)
{
    return heads > 0 ? heads : 1;
}

static dj_result check_numbers(const struct dj_log *report, const struct dj_calibration_params *p)
{
    const uint64_t sets = sets_of(p->heads), m = p->features > 0 ? p->features : p->dim;
    const struct {
        const char *name;
        const float *values;
        uint64_t count;
    } arrays[] = {
        {"queries", p->queries, sets * p->query_count * p->dim},
        {"keys", p->keys, sets * p->key_count * p->dim},
        {"frequencies", p->frequencies, sets * m},
        {"directions", p->directions, sets * m * p->dim},
    };
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) {
        if (arrays[i].values == NULL)
            continue;
        const uint64_t at = dj_first_not_finite(arrays[i].values, arrays[i].count);
        if (at < arrays[i].count)
            return dj_fail(report, DJ_ERROR_INVALID_ARGUMENT, "calibration: %s[%" PRIu64 "] is %g",
                           arrays[i].name, at, (double)arrays[i].values[at]);
    }
    return DJ_SUCCESS;
}

static dj_result check_ranges(const struct dj_log *report, const struct dj_calibration_params *p)
{
    const struct {
        const char *name;
        uint32_t value, least, most;
        bool optional; /* 0 is a default */
    } ranges[] = {
        {"query_count", p->query_count, LEAST_SAMPLES, UINT32_MAX, false},
        {"key_count", p->key_count, LEAST_SAMPLES, UINT32_MAX, false},
        {"key_normalise", p->key_normalise, DJ_ON, DJ_OFF, true},
        {"fit", p->fit, DJ_FIT_GRADIENT, DJ_FIT_WEIGHTS, true},
        {"pairs", p->pairs, LEAST_PAIRS, MOST_PAIRS, true},
        {"steps", p->steps, 1, MOST_STEPS, true},
        {"log_level", p->log_level, DJ_LOG_ERROR, DJ_LOG_DEBUG, true},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        const uint32_t value = ranges[i].value;
        if ((value < ranges[i].least || value > ranges[i].most) &&
            !(value == 0 && ranges[i].optional))
            return dj_fail(report, DJ_ERROR_INVALID_ARGUMENT, "calibration: %s %u is not %u to %u",
                           ranges[i].name, value, ranges[i].least, ranges[i].most);
    }
    if (!(p->scale >= 0.0f && p->scale <= 1e30f))
        return dj_fail(report, DJ_ERROR_INVALID_ARGUMENT, "calibration: scale %g is not 0 to 1e30",
                       (double)p->scale);
    return DJ_SUCCESS;
}

static dj_result check(const struct dj_log *report, const struct dj_calibration_params *p)
{
    if (!dj_reserved_is_zero(report, p->reserved, 4, "dj_calibration_params"))
        return DJ_ERROR_VERSION;
    if (p->map != DJ_MAP_WDCF && p->map != DJ_MAP_PFF)
        return dj_fail(report, DJ_ERROR_UNSUPPORTED, "calibration: map %u is neither WDCF nor PFF",
                       p->map);
    if (p->map == DJ_MAP_WDCF && p->directions != NULL)
        return dj_fail(report, DJ_ERROR_UNSUPPORTED,
                       "calibration: directions are given, which WDCF does not have");
    dj_result result =
        dj_calibration_check_shape(report, DJ_ERROR_INVALID_ARGUMENT, "calibration", p->map, p->dim,
                                   p->features > 0 ? p->features : p->dim, p->heads);
    if (result == DJ_SUCCESS)
        result = check_ranges(report, p);
    if (result != DJ_SUCCESS)
        return result;
    if (p->queries == NULL || p->keys == NULL)
        return dj_fail(report, DJ_ERROR_INVALID_ARGUMENT, "calibration: %s is NULL",
                       p->queries == NULL ? "queries" : "keys");
    if (p->fit == DJ_FIT_RADIUS && p->frequencies != NULL)
        return dj_fail(report, DJ_ERROR_INVALID_ARGUMENT,
                       "calibration: frequencies are given, and none are to be fitted");
    return check_numbers(report, p);
}

/* One calibration under way. */
struct job {
    const struct dj_calibration_params *params;
    struct dj_log report;
    struct dj_calibration *made;
    uint32_t head;
    struct dj_samples samples;
    struct dj_block judge;
    struct dj_numbers numbers;
    double *rows;           /* [m][d] */
    double error, uniform;  /* squares, summed over heads */
    uint32_t stages, stage; /* of one head: for progress */
};

static void pass_progress(void *user, float share)
{
    const struct job *const job = user;
    const float heads = (float)sets_of(job->params->heads);
    const float stage = ((float)job->stage + share) / (float)job->stages;
    job->params->progress(job->params->progress_user, ((float)job->head + stage) / heads);
}

static bool allocate(struct job *job)
{
    const struct dj_calibration_params *const p = job->params;
    struct dj_samples *const s = &job->samples;
    const size_t d = p->dim, m = job->made->features;
    s->dim = p->dim;
    s->features = job->made->features;
    s->queries = p->query_count < MOST_SAMPLES ? p->query_count : MOST_SAMPLES;
    s->keys = p->key_count < MOST_SAMPLES ? p->key_count : MOST_SAMPLES;
    s->q = malloc(s->queries * d * sizeof *s->q);
    s->k = malloc(s->keys * d * sizeof *s->k);
    s->q_rows = malloc(s->queries * m * sizeof *s->q);
    s->k_rows = malloc(s->keys * m * sizeof *s->k);
    job->rows = malloc(m * d * sizeof *job->rows);
    job->numbers.t = malloc(m * sizeof *job->numbers.t);
    job->numbers.log_w = malloc(m * sizeof *job->numbers.t);
    return s->q != NULL && s->k != NULL && s->q_rows != NULL && s->k_rows != NULL &&
           job->rows != NULL && job->numbers.t != NULL && job->numbers.log_w != NULL &&
           dj_block_init(&job->judge, s, s->queries < JUDGE ? s->queries : JUDGE,
                         s->keys < JUDGE ? s->keys : JUDGE);
}

static void release(struct job *job)
{
    dj_block_finish(&job->judge);
    free(job->numbers.log_w);
    free(job->numbers.t);
    free(job->rows);
    free(job->samples.k_rows);
    free(job->samples.q_rows);
    free(job->samples.k);
    free(job->samples.q);
}

/* The i-th of `used` indices spread evenly over count. */
static size_t spread(uint32_t i, uint32_t count, uint32_t used)
{
    return (size_t)((uint64_t)i * count / used);
}

/* Unit vectors, in blocks of d orthogonal to each other: on the sets of docs/calibration.md their
 * error is a fifth or more below that of independent ones. */
static void draw_directions(uint64_t seed, uint32_t d, uint32_t m, float *directions)
{
    dj_sample_gaussians(&(struct dj_sampling_params){.dim = d, .seed = seed}, m, directions);
    for (float *row = directions; row < directions + (size_t)m * d; row += d) {
        double sum = 0.0;
        for (uint32_t i = 0; i < d; i++)
            sum += (double)row[i] * (double)row[i];
        for (uint32_t i = 0; i < d; i++)
            row[i] = (float)((double)row[i] / sqrt(sum));
    }
}

static void make_rows(struct job *job)
{
    const uint32_t d = job->samples.dim, m = job->samples.features;
    const size_t size = (size_t)m * d;
    if (job->params->map == DJ_MAP_WDCF) {
        dj_wdcf_rows(d, m, job->rows);
        return;
    }
    float *const directions = job->made->directions + job->head * size;
    if (job->params->directions != NULL)
        memcpy(directions, job->params->directions + job->head * size, size * sizeof *directions);
    else
        draw_directions(dj_random_stream(job->params->seed, job->head), d, m, directions);
    for (size_t i = 0; i < size; i++)
        job->rows[i] = (double)directions[i];
}

/* Samples in double, and their products with the rows. */
static void take(const struct job *job, const float *from, uint32_t count, uint32_t used, double *x,
                 double *products)
{
    const size_t d = job->samples.dim, m = job->samples.features;
    const double scale =
        job->params->scale == 0.0f ? 1.0 / sqrt((double)d) : (double)job->params->scale;
    from += (size_t)job->head * count * d;
    for (uint32_t n = 0; n < used; n++, x += d, products += m) {
        const float *const sample = from + spread(n, count, used) * d;
        for (size_t i = 0; i < d; i++)
            x[i] = sqrt(scale) * (double)sample[i];
        for (size_t f = 0; f < m; f++) {
            double sum = 0.0;
            for (size_t i = 0; i < d; i++)
                sum += job->rows[f * d + i] * x[i];
            products[f] = sum;
        }
    }
}

static void fill_judge(struct job *job)
{
    uint32_t queries[JUDGE], keys[JUDGE];
    for (uint32_t i = 0; i < job->judge.queries; i++)
        queries[i] = (uint32_t)spread(i, job->samples.queries, job->judge.queries);
    for (uint32_t i = 0; i < job->judge.keys; i++)
        keys[i] = (uint32_t)spread(i, job->samples.keys, job->judge.keys);
    dj_block_fill(&job->judge, &job->samples, queries, keys);
}

/* D from ln w, where w = D^2 in WDCF and D^2 / m in PFF. A common factor, if any, keeps them within
 * float32's range; then attention without normaliser is off by it. */
static void publish(struct job *job)
{
    const size_t m = job->samples.features;
    float *const t = job->made->frequencies + job->head * m;
    float *const weights = job->made->weights + job->head * m;
    double most = -INFINITY;
    for (size_t i = 0; i < m; i++) {
        if (job->params->map == DJ_MAP_PFF)
            job->numbers.log_w[i] += dj_exact_log((double)m);
        most = fmax(most, job->numbers.log_w[i]);
    }
    const double shift = fmax(most - 150.0, 0.0) + fmin(most + 150.0, 0.0);
    for (size_t i = 0; i < m; i++) {
        t[i] = (float)job->numbers.t[i];
        weights[i] = (float)dj_exact_exp(0.5 * (job->numbers.log_w[i] - shift));
    }
}

static bool fit(struct job *job)
{
    const struct dj_calibration_params *const p = job->params;
    const size_t m = job->samples.features;
    const struct dj_fitting fitting = {
        .samples = &job->samples,
        .judge = &job->judge,
        .key_normalise = p->key_normalise != DJ_OFF,
        .squares = p->map == DJ_MAP_PFF ? 0.5 : 0.0,
        .seed = dj_random_stream(p->seed, job->head),
        .pairs = p->pairs > 0          ? p->pairs
                 : m > LEAST_PAIRS / 8 ? (uint32_t)(8 * m)
                                       : LEAST_PAIRS,
        .steps = p->steps > 0 ? p->steps : DEFAULT_STEPS,
        .progress = p->progress != NULL ? pass_progress : NULL,
        .progress_user = job,
    };
    const bool weigh = p->fit == DJ_FIT_WEIGHTS;
    job->stages = (p->frequencies == NULL ? 1u : 0u) + (p->fit == DJ_FIT_GRADIENT ? 1u : 0u);
    job->stage = 0;
    if (p->frequencies == NULL) {
        uint32_t law;
        double alpha;
        if (!dj_fit_radius(&fitting, weigh, &job->numbers, &law, &alpha))
            return false;
        static const char *const laws[] = {"normal", "chi", "constant"};
        dj_log_line(&job->report, DJ_LOG_INFO,
                    "calibration: head %u: %s radius, rms %.2f sqrt(dim)", job->head, laws[law],
                    alpha);
        job->stage++;
    } else {
        for (size_t i = 0; i < m; i++) {
            job->numbers.t[i] = (double)p->frequencies[job->head * m + i];
            job->numbers.log_w[i] = -dj_exact_log((double)m);
        }
        if (weigh && !dj_fit_weights(&fitting, &job->numbers))
            return false;
    }
    if (p->fit == DJ_FIT_GRADIENT && !dj_fit_gradient(&fitting, &job->numbers))
        return false;
    const double error = dj_block_error(&job->judge, &job->numbers, fitting.key_normalise, NULL);
    const double uniform = dj_block_uniform_error(&job->judge);
    job->error += sqrt(error);
    job->uniform += sqrt(uniform);
    dj_log_line(&job->report, DJ_LOG_INFO,
                "calibration: head %u: error %.4f, of uniform attention %.4f", job->head,
                sqrt(error), sqrt(uniform));
    return true;
}

static dj_result run(struct job *job)
{
    const struct dj_calibration_params *const p = job->params;
    const uint32_t sets = sets_of(p->heads);
    if (!allocate(job))
        return dj_fail(&job->report, DJ_ERROR_OUT_OF_HOST_MEMORY,
                       "calibration: no memory for %u queries and %u keys of dim %u",
                       job->samples.queries, job->samples.keys, p->dim);
    for (job->head = 0; job->head < sets; job->head++) {
        make_rows(job);
        take(job, p->queries, p->query_count, job->samples.queries, job->samples.q,
             job->samples.q_rows);
        take(job, p->keys, p->key_count, job->samples.keys, job->samples.k, job->samples.k_rows);
        fill_judge(job);
        if (!fit(job))
            return dj_fail(&job->report, DJ_ERROR_OUT_OF_HOST_MEMORY,
                           "calibration: no memory to fit %u features", job->made->features);
        publish(job);
    }
    job->made->key_normalise = p->key_normalise == DJ_OFF ? DJ_OFF : DJ_ON;
    job->made->error = (float)(job->error / sets);
    job->made->uniform_error = (float)(job->uniform / sets);
    return DJ_SUCCESS;
}

dj_result dj_calibration_create(const struct dj_calibration_params *params,
                                struct dj_calibration **calibration)
{
    if (calibration != NULL)
        *calibration = NULL;
    if (params == NULL || calibration == NULL)
        return DJ_ERROR_INVALID_ARGUMENT;
    struct job job = {
        .params = params,
        .report = {params->log, params->log_user,
                   params->log_level > 0 ? params->log_level : DJ_LOG_WARNING},
    };
    dj_result result = check(&job.report, params);
    if (result != DJ_SUCCESS)
        return result;
    job.made = dj_calibration_allocate(params->map, params->dim,
                                       params->features > 0 ? params->features : params->dim,
                                       params->heads);
    result = job.made == NULL
                 ? dj_fail(&job.report, DJ_ERROR_OUT_OF_HOST_MEMORY,
                           "calibration: no memory for the numbers of %u heads", params->heads)
                 : run(&job);
    release(&job);
    if (result == DJ_SUCCESS)
        *calibration = job.made;
    else
        dj_calibration_destroy(&job.made);
    return result;
}
