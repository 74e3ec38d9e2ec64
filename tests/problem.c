/* SPDX-License-Identifier: MIT */
#include "problem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    GUARD = 64
}; /* elements before and after o */

static float *allocate(size_t n)
{
    float *x = calloc(n ? n : 1, sizeof(*x));
    assert_non_null(x);
    return x;
}

static void draw_numbers(struct problem *problem, const struct problem_params *params)
{
    const size_t rows = params->own_numbers && params->heads > 0 ? params->heads : 1;
    const size_t d = params->dim;
    problem->frequencies = allocate(rows * d);
    for (size_t r = 0; r < rows; r++)
        HARNESS_OK(
            dj_frequencies_draw((uint32_t)d, harness_random(), problem->frequencies + r * d));
    if (!params->weighted)
        return;
    problem->weights = allocate(rows * d);
    for (size_t i = 0; i < rows * d; i++)
        if (i % d == 0 || harness_uniform() > 1. / 3)
            problem->weights[i] = (float)(harness_normal() + (harness_uniform() < 0.5 ? 1 : -1));
    for (size_t r = 0; r < rows; r++) /* every head keeps one feature, whatever was drawn */
        problem->weights[r * d] = 0.75f;
}

static void set_twin(struct problem *problem, const struct problem_params *params)
{
    const double standard = params->map == DJ_MAP_WDCF ? 1 / sqrt((double)params->dim) : 1;
    problem->twin = (struct twin_attention){
        .map = params->map,
        .batch = params->batch,
        .tokens = params->tokens,
        .heads = params->heads,
        .dim = params->dim,
        .value_dim = params->value_dim,
        .causal = !params->full,
        .normalise = params->normalise,
        .scale = params->scale > 0 ? params->scale : standard,
        .decay = problem->decay,
        .frequencies = problem->frequencies,
        .weights = problem->weights,
        .feature_heads = params->own_numbers ? params->heads : 0,
    };
}

void problem_init(struct problem *problem, const struct problem_params *params)
{
    *problem = (struct problem){0};
    draw_numbers(problem, params);
    if (params->decay_count) {
        problem->decay = allocate(params->heads);
        for (size_t h = 0; h < params->heads; h++)
            problem->decay[h] = params->decay[h % params->decay_count];
    }
    set_twin(problem, params);
    problem->plan_params = (struct dj_attention_params){
        .map = (uint32_t)params->map,
        .heads = (uint32_t)params->heads,
        .dim = (uint32_t)params->dim,
        .value_dim = (uint32_t)params->value_dim,
        .causal = params->full ? DJ_OFF : DJ_ON,
        .normalise = params->normalise ? DJ_ON : DJ_OFF,
        .scale = params->scale,
        .decay = problem->decay,
    };
    const size_t rows = params->batch * params->tokens * params->heads;
    const double sigma = params->sigma > 0 ? params->sigma : 1;
    problem->q = allocate(rows * params->dim);
    problem->k = allocate(rows * params->dim);
    problem->v = allocate(rows * params->value_dim);
    harness_fill_normal(problem->q, rows * params->dim, sigma);
    harness_fill_normal(problem->k, rows * params->dim, sigma);
    harness_fill_normal(problem->v, rows * params->value_dim, 1);
}

void problem_solve(struct problem *problem)
{
    const struct twin_attention *t = &problem->twin;
    free(problem->want);
    problem->want = calloc(t->batch * t->tokens * t->heads * t->value_dim + 1, sizeof(double));
    assert_non_null(problem->want);
    if (t->causal && t->tokens > 512)
        twin_attention_recurrent(t, problem->q, problem->k, problem->v, problem->want);
    else
        twin_attention(t, problem->q, problem->k, problem->v, problem->want);
    problem->bound = twin_bound(t, problem->q, problem->k);
}

void problem_finish(struct problem *problem)
{
    free(problem->q);
    free(problem->k);
    free(problem->v);
    free(problem->frequencies);
    free(problem->weights);
    free(problem->decay);
    free(problem->want);
    *problem = (struct problem){0};
}

/* The view of a [B,T,H,d] tensor in a layout; fields other than buffer, in elements. count: of the
 * buffer. */
struct placement {
    uint64_t offset, stride[3], count;
};

static struct placement place(enum layout layout, const uint64_t shape[4])
{
    const uint64_t T = shape[1], H = shape[2], d = shape[3];
    struct placement p = {.offset = GUARD, .stride = {T * H * d, H * d, d}};
    if (layout == LAYOUT_HEADS_FIRST) {
        p.stride[1] = d;
        p.stride[2] = T * d;
    } else if (layout == LAYOUT_SLICED) {
        p.offset += 5;
        p.stride[2] = d + 3;
        p.stride[1] = (H + 2) * p.stride[2] + 1;
        p.stride[0] = (T + 3) * p.stride[1] + 7;
    }
    p.count = p.offset + shape[0] * p.stride[0] + H * p.stride[2] + T * p.stride[1] + d + GUARD;
    return p;
}

static void set_tensor(struct dj_tensor *tensor, const struct placement *p, const uint64_t shape[4])
{
    tensor->offset = 4 * p->offset;
    memcpy(tensor->shape, shape, sizeof(tensor->shape));
    memcpy(tensor->stride, p->stride, sizeof(p->stride));
    tensor->stride[3] = 1;
    tensor->type = DJ_FLOAT32;
}

/* Copies contiguous rows to where a tensor's elements lie in image. */
static void scatter(const struct dj_tensor *tensor, const float *x, float *image)
{
    const uint64_t *n = tensor->shape, *s = tensor->stride;
    for (uint64_t b = 0; b < n[0]; b++)
        for (uint64_t i = 0; i < n[1]; i++)
            for (uint64_t h = 0; h < n[2]; h++, x += n[3])
                memcpy(image + tensor->offset / 4 + b * s[0] + i * s[1] + h * s[2], x, 4 * n[3]);
}

static void upload(dj_context *context, enum layout layout, const float *x, const uint64_t shape[4],
                   struct dj_tensor *tensor)
{
    const struct placement p = place(layout, shape);
    set_tensor(tensor, &p, shape);
    float *image = allocate(p.count);
    for (uint64_t i = 0; i < p.count; i++)
        image[i] = NAN; /* what a kernel must not read */
    scatter(tensor, x, image);
    tensor->buffer = harness_buffer(context, image, 4 * p.count);
    free(image);
}

static void upload_packed(dj_context *context, const struct problem *problem,
                          struct dj_attention_args *args)
{
    const struct twin_attention *t = &problem->twin;
    const uint64_t width = 2 * t->dim + t->value_dim;
    const struct placement whole =
        place(LAYOUT_PLAIN, (uint64_t[4]){t->batch, t->tokens, t->heads, width});
    struct dj_tensor *tensors[3] = {&args->q, &args->k, &args->v};
    const float *values[3] = {problem->q, problem->k, problem->v};
    float *image = allocate(whole.count);
    for (size_t i = 0; i < 3; i++) {
        struct placement p = whole;
        p.offset += i * t->dim;
        set_tensor(tensors[i], &p,
                   (uint64_t[4]){t->batch, t->tokens, t->heads, i < 2 ? t->dim : t->value_dim});
        scatter(tensors[i], values[i], image);
    }
    dj_buffer *buffer = harness_buffer(context, image, 4 * whole.count);
    args->q.buffer = args->k.buffer = args->v.buffer = buffer;
    free(image);
}

void problem_place(const struct problem *problem, dj_context *context, enum layout layout,
                   struct placed *placed)
{
    const struct twin_attention *t = &problem->twin;
    *placed = (struct placed){0};
    HARNESS_OK(dj_attention_create(context, &problem->plan_params, &placed->plan));
    const struct dj_features_params numbers = {
        .map = (uint32_t)t->map,
        .dim = (uint32_t)t->dim,
        .heads = (uint32_t)t->feature_heads,
        .frequencies = t->frequencies,
        .weights = t->weights,
    };
    HARNESS_OK(dj_features_create(context, &numbers, &placed->features));

    struct dj_attention_args *args = &placed->args;
    const uint64_t qk_shape[4] = {t->batch, t->tokens, t->heads, t->dim};
    const uint64_t vo_shape[4] = {t->batch, t->tokens, t->heads, t->value_dim};
    args->features = placed->features;
    if (layout == LAYOUT_PACKED) {
        upload_packed(context, problem, args);
        placed->buffers[0] = args->q.buffer;
    } else {
        upload(context, layout, problem->q, qk_shape, &args->q);
        upload(context, layout, problem->k, qk_shape, &args->k);
        upload(context, layout, problem->v, vo_shape, &args->v);
        placed->buffers[0] = args->q.buffer;
        placed->buffers[1] = args->k.buffer;
        placed->buffers[2] = args->v.buffer;
    }
    const struct placement p = place(layout == LAYOUT_PACKED ? LAYOUT_PLAIN : layout, vo_shape);
    set_tensor(&args->o, &p, vo_shape);
    placed->buffers[3] = args->o.buffer = harness_poisoned(context, 4 * p.count);
}

void placed_finish(struct placed *placed)
{
    for (size_t i = 0; i < 4; i++)
        dj_buffer_destroy(&placed->buffers[i]);
    dj_features_destroy(&placed->features);
    dj_attention_destroy(&placed->plan);
}

void placed_poison(struct placed *placed)
{
    const uint64_t size = dj_buffer_size(placed->buffers[3]);
    uint32_t *image = malloc(size);
    assert_non_null(image);
    for (uint64_t i = 0; i < size / 4; i++)
        image[i] = HARNESS_POISON;
    HARNESS_OK(dj_buffer_write(placed->buffers[3], 0, image, size));
    free(image);
}

float *placed_output(const struct placed *placed)
{
    const struct dj_tensor *o = &placed->args.o;
    const uint64_t *n = o->shape, *s = o->stride, size = dj_buffer_size(placed->buffers[3]);
    float *image = malloc(size), *result = allocate(n[0] * n[1] * n[2] * n[3]), *next = result;
    assert_non_null(image);
    harness_read(placed->buffers[3], 0, image, size);
    const uint32_t poison = HARNESS_POISON;
    for (uint64_t b = 0; b < n[0]; b++) {
        for (uint64_t i = 0; i < n[1]; i++) {
            for (uint64_t h = 0; h < n[2]; h++, next += n[3]) {
                float *row = image + o->offset / 4 + b * s[0] + i * s[1] + h * s[2];
                memcpy(next, row, 4 * n[3]);
                for (uint64_t c = 0; c < n[3]; c++)
                    memcpy(row + c, &poison, 4);
            }
        }
    }
    for (uint64_t i = 0; i < size / 4; i++)
        if (memcmp(image + i, &poison, 4) != 0)
            fail_msg("element %llu of o's buffer, outside o, was written", (unsigned long long)i);
    free(image);
    return result;
}

struct dj_attention_args placed_range(const struct placed *placed, uint64_t first, uint64_t count)
{
    struct dj_attention_args args = placed->args;
    struct dj_tensor *tensors[4] = {&args.q, &args.k, &args.v, &args.o};
    for (size_t i = 0; i < 4; i++) {
        tensors[i]->offset += 4 * first * tensors[i]->stride[1];
        tensors[i]->shape[1] = count;
    }
    return args;
}

void problem_assert(const struct problem *problem, const float *got, const char *what)
{
    const struct twin_attention *t = &problem->twin;
    const size_t e = t->value_dim, rows = t->batch * t->tokens * t->heads;
    char text[512];
    snprintf(text, sizeof(text), "%s (B=%zu T=%zu H=%zu d=%zu e=%zu map %d causal %d normalise %d)",
             what, t->batch, t->tokens, t->heads, t->dim, e, t->map, t->causal, t->normalise);
    const double error = harness_error(got, problem->want, rows * e);
    if (getenv("DIJIANG_TEST_VERBOSE"))
        print_message("# %s: error %.3g, bound %.3g\n", text, error, problem->bound);
    harness_assert_within(error, problem->bound, text);
    for (size_t r = 0; r < rows; r++) {
        const double row = harness_error(got + r * e, problem->want + r * e, e);
        if (row > 64 * problem->bound)
            fail_msg("%s: row %zu (token %zu, head %zu): error %.3g, bound %.3g", text, r,
                     r / t->heads % t->tokens, r % t->heads, row, 64 * problem->bound);
    }
}

void problem_test(struct problem *problem, enum layout layout, const char *what)
{
    problem_solve(problem);
    for (uint32_t i = 0; i < harness_device_count(); i++) {
        struct placed placed;
        problem_place(problem, harness_context(i), layout, &placed);
        HARNESS_OK(dj_attention_run(placed.plan, &placed.args));
        float *got = placed_output(&placed);
        problem_assert(problem, got, what);
        free(got);
        placed_finish(&placed);
    }
}

void problem_test_random(const struct problem_params *params, enum layout layout, const char *what)
{
    struct problem problem;
    problem_init(&problem, params);
    problem_test(&problem, layout, what);
    problem_finish(&problem);
}
