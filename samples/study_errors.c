/* SPDX-License-Identifier: MIT */
/* Errors over numbers of features and over the scale of q.k, by several seeds. */
#include "program.h"
#include "study.h"

#include <math.h>
#include <stdlib.h>

void study_errors_plan(struct study_errors *errors, const struct study_settings *settings,
                       uint32_t dim)
{
    uint32_t most = settings->features ? (uint32_t)settings->features : 256;
    if (most > 4 * dim) /* WDCF has no more */
        most = 4 * dim;
    *errors = (struct study_errors){.seeds = (uint32_t)settings->seeds};
    for (int i = 0; i < STUDY_SCALES; i++)
        errors->multiples[i] = ldexp(1, i - STUDY_SCALE_OWN);
    for (int i = STUDY_COUNTS - 1; i >= 0; i--) {
        const uint32_t m = ((most >> i) + 3) / 4 * 4;
        if (errors->counts > 0 && errors->features[errors->counts - 1] == m)
            continue;
        errors->features[errors->counts++] = m;
        if (m <= dim)
            errors->base = errors->counts - 1;
    }
}

bool study_errors_has(const struct study_errors *errors, int scale, uint32_t count)
{
    return scale == STUDY_SCALE_LEAST || scale == STUDY_SCALE_OWN || count == errors->base;
}

/* What measurements at one scale share. */
struct bench {
    struct study_device *device;
    struct study_data data;
    struct study_exact exact;
    float *matrix, *o; /* [T][T], [T][e] */
};

static bool bench_init(struct bench *b, struct study_device *device, const struct study_data *data,
                       double multiple)
{
    const size_t tokens = data->tokens;
    *b = (struct bench){.device = device};
    b->matrix = malloc(tokens * tokens * sizeof(float));
    b->o = malloc(tokens * data->value_dim * sizeof(float));
    return study_data_stretch(data, multiple, &b->data) &&
           study_exact_init(&b->exact, &b->data, true) && b->matrix && b->o;
}

static void bench_finish(struct bench *b)
{
    study_exact_finish(&b->exact);
    study_data_close(&b->data);
    free(b->matrix);
    free(b->o);
}

/* Of the kernel in b->matrix. It may have any factor: normalised attention does not see it, and
 * WDCF has one. What a row does not see counts on neither side. */
static double kernel_error(struct bench *b)
{
    const uint32_t tokens = b->data.tokens;
    for (uint32_t i = 0; i < tokens; i++)
        for (uint32_t j = i + 1; j < tokens; j++)
            b->matrix[i * tokens + j] = 0;
    return study_error(b->matrix, b->exact.kernel, (size_t)tokens * tokens, true);
}

/* Of what b->matrix and b->o hold. */
static void attention_errors(const struct bench *b, double errors[STUDY_MEASURES])
{
    const size_t tokens = b->data.tokens;
    errors[STUDY_WEIGHTS] = study_error(b->matrix, b->exact.weights, tokens * tokens, false);
    errors[STUDY_OUTPUT] = study_error(b->o, b->exact.out, tokens * b->data.value_dim, false);
}

static void measure_uniform(struct bench *b, double errors[STUDY_MEASURES])
{
    const size_t tokens = b->data.tokens;
    study_uniform(b->data.tokens, true, b->matrix);
    study_apply(&b->data, b->matrix, b->o);
    attention_errors(b, errors);
    for (size_t i = 0; i < tokens * tokens; i++)
        b->matrix[i] = 1;
    errors[STUDY_KERNEL] = kernel_error(b);
}

static int measure_map(struct bench *b, enum study_method method, uint32_t m, uint64_t seed,
                       double errors[STUDY_MEASURES])
{
    struct study_map map;
    int code = study_map_init(&map, method, &b->data, m, seed);
    code = code ? code : study_kernel(b->device, &map, &b->data, b->matrix);
    errors[STUDY_KERNEL] = code ? NAN : kernel_error(b);
    code = code ? code : study_attend(b->device, &map, &b->data, b->matrix, b->o);
    if (!code)
        attention_errors(b, errors);
    study_map_finish(&map);
    return code;
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static struct study_value summarise(double *values, uint32_t count)
{
    qsort(values, count, sizeof(*values), compare);
    return (struct study_value){.median = (values[(count - 1) / 2] + values[count / 2]) / 2,
                                .low = values[0],
                                .high = values[count - 1]};
}

/* All seeds of one method with one number of features. */
static int measure_seeds(struct bench *b, const struct study_settings *settings, int scale,
                         enum study_method method, uint32_t count, struct study_errors *errors)
{
    double got[STUDY_SEEDS][STUDY_MEASURES], column[STUDY_SEEDS];
    for (uint32_t i = 0; i < errors->seeds; i++) {
        program_progress("scale x %g, %u features, %s: seed %u of %u", errors->multiples[scale],
                         errors->features[count], study_method_title(method), i + 1, errors->seeds);
        const int code =
            measure_map(b, method, errors->features[count], settings->seed + i, got[i]);
        if (program_interrupted())
            return PROGRAM_FAILURE;
        if (code)
            return code;
    }
    for (int measure = 0; measure < STUDY_MEASURES; measure++) {
        for (uint32_t i = 0; i < errors->seeds; i++)
            column[i] = got[i][measure];
        errors->values[measure][scale][method][count] = summarise(column, errors->seeds);
    }
    return PROGRAM_SUCCESS;
}

static int measure_scale(struct bench *b, const struct study_settings *settings, int scale,
                         struct study_errors *errors)
{
    double uniform[STUDY_MEASURES];
    int code = PROGRAM_SUCCESS;
    measure_uniform(b, uniform);
    for (int measure = 0; measure < STUDY_MEASURES; measure++)
        errors->uniform[measure][scale] = uniform[measure];
    errors->spread[scale] = b->exact.spread;
    for (uint32_t count = 0; count < errors->counts; count++)
        for (int method = 0; method < STUDY_METHODS && !code; method++)
            if (study_errors_has(errors, scale, count))
                code = measure_seeds(b, settings, scale, method, count, errors);
    return code;
}

int study_errors_measure(struct study_device *device, const struct study_settings *settings,
                         const struct study_data *data, struct study_errors *errors)
{
    int code = PROGRAM_SUCCESS;
    for (int scale = 0; scale < STUDY_SCALES && !code; scale++) {
        struct bench b;
        code = bench_init(&b, device, data, errors->multiples[scale])
                   ? measure_scale(&b, settings, scale, errors)
                   : program_fail("out of memory");
        bench_finish(&b);
    }
    program_progress(NULL);
    return code;
}
