/* SPDX-License-Identifier: MIT */
/* One case of attention: its tensors and plan, its check, its times. */
#include "bench.h"
#include "element.h"
#include "host.h"
#include "program.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    READ_CHUNK = 1 << 20, /* elements */
    SOFTMAX_ROWS = 64,    /* about so many rows of exact softmax are checked: each costs O(T) */
};

/* Everything of one case. Tensors are [B,T,H,..] without gaps. */
struct work {
    struct bench_gpu *gpu;
    const struct bench_case *shape;
    uint64_t tokens; /* of the tensors */
    uint64_t step;   /* tokens per submission */
    uint64_t max_tokens;
    struct numbers numbers;
    int32_t *slots; /* 0 .. batch-1 for decoding, else NULL */
    dj_features *features;
    dj_attention *plan;
    dj_buffer *q, *k, *v, *o, *state, *scratch;
    dj_recorder *recorder;
    struct dj_attention_args args;
};

static bool is_decode(const struct work *w)
{
    return w->shape->kind == BENCH_DECODE;
}

static dj_result create_tensors(dj_context *context, struct work *w)
{
    const struct bench_case *s = w->shape;
    const uint64_t rows = s->batch * w->tokens * s->heads;
    const uint64_t key_rows = s->batch * w->tokens * s->key_heads;
    dj_result result = bench_random_buffer(context, 1, s->type, rows * s->dim, &w->q);
    if (result == DJ_SUCCESS)
        result = bench_random_buffer(context, 2, s->type, key_rows * s->dim, &w->k);
    if (result == DJ_SUCCESS)
        result = bench_random_buffer(context, 3, s->type, key_rows * s->value_dim, &w->v);
    if (result == DJ_SUCCESS)
        result = bench_random_buffer(context, 4, s->type, rows * s->value_dim, &w->o);
    return result;
}

/* A pool of one empty state per sequence. */
static dj_result create_state(dj_context *context, struct work *w)
{
    const uint64_t batch = w->shape->batch;
    struct dj_needs needs;
    dj_result result = dj_attention_needs(w->plan, NULL, &needs);
    if (result != DJ_SUCCESS)
        return result;
    result = dj_buffer_create(context, &(struct dj_buffer_params){.size = batch * needs.slot_size},
                              &w->state);
    void *empty = calloc(1, needs.slot_size);
    w->slots = calloc(batch, sizeof(*w->slots));
    if (!empty || !w->slots)
        result = DJ_ERROR_OUT_OF_HOST_MEMORY;
    for (uint64_t i = 0; result == DJ_SUCCESS && i < batch; i++) {
        w->slots[i] = (int32_t)i;
        result = dj_buffer_write(w->state, i * needs.slot_size, empty, needs.slot_size);
    }
    free(empty);
    w->args.state = w->state;
    w->args.slot_count = (uint32_t)batch;
    w->args.slots_in.host = w->args.slots_out.host = w->slots;
    return result;
}

static void view(struct dj_tensor *tensor, dj_buffer *buffer, const struct work *w, uint64_t heads,
                 uint64_t dim)
{
    const struct bench_case *s = w->shape;
    dj_tensor_init(tensor, buffer, 0, s->type,
                   (const uint64_t[4]){s->batch, w->tokens, heads, dim});
    tensor->shape[1] = w->step;
}

static dj_result create_recorder(dj_context *context, struct work *w)
{
    struct dj_needs needs;
    dj_result result = dj_attention_needs(w->plan, &w->args, &needs);
    if (result == DJ_SUCCESS)
        result = dj_buffer_create(context, &(struct dj_buffer_params){.size = needs.scratch_size},
                                  &w->scratch);
    if (result != DJ_SUCCESS)
        return result;
    w->args.scratch = (struct dj_scratch){.buffer = w->scratch, .size = needs.scratch_size};
    return dj_recorder_create(
        context,
        &(struct dj_recorder_params){.dispatches = needs.dispatches, .ring_size = needs.ring_size},
        &w->recorder);
}

static dj_result create_plan(dj_context *context, struct work *w)
{
    const struct bench_case *s = w->shape;
    const struct system *system = w->shape->system;
    /* decoding goes on from check to repetition, in one sequence */
    const uint64_t most =
        is_decode(w) ? BENCH_CHECK_STEPS + BENCH_MAX_REPEATS + BENCH_KERNEL_RUNS : w->tokens;
    w->max_tokens = system->map == DJ_MAP_COSFORMER || system->map == DJ_MAP_LINFORMER ? most : 0;
    w->numbers = (struct numbers){
        .system = system,
        .dim = (uint32_t)s->dim,
        .features = numbers_features(system, (uint32_t)s->dim),
        .tokens = system->map == DJ_MAP_LINFORMER ? (uint32_t)w->tokens : 0,
    };
    dj_result result = numbers_draw_missing(&w->numbers, 1);
    if (result == DJ_SUCCESS)
        result = numbers_create(context, &w->numbers, &w->features);
    if (result != DJ_SUCCESS)
        return result;
    w->args.features = w->features;
    return dj_attention_create(
        context,
        &(struct dj_attention_params){
            .map = system->map,
            .heads = (uint32_t)s->heads,
            .key_heads = (uint32_t)s->key_heads,
            .dim = (uint32_t)s->dim,
            .value_dim = (uint32_t)s->value_dim,
            .features = system_has_features(system) ? w->numbers.features : 0,
            .max_tokens = (uint32_t)w->max_tokens,
            .key_normalise = s->key_normalise ? DJ_ON : DJ_DEFAULT,
            .q_type = s->type,
            .k_type = s->type,
            .v_type = s->type,
            .o_type = s->type,
        },
        &w->plan);
}

static dj_result create_work(dj_context *context, struct work *w)
{
    const struct bench_case *s = w->shape;
    dj_result result = create_plan(context, w);
    if (result == DJ_SUCCESS)
        result = create_tensors(context, w);
    if (result == DJ_SUCCESS && is_decode(w))
        result = create_state(context, w);
    if (result != DJ_SUCCESS)
        return result;
    w->args.barriers = DJ_BARRIER_BEFORE | DJ_BARRIER_AFTER_HOST;
    view(&w->args.q, w->q, w, s->heads, s->dim);
    view(&w->args.k, w->k, w, s->key_heads, s->dim);
    view(&w->args.v, w->v, w, s->key_heads, s->value_dim);
    view(&w->args.o, w->o, w, s->heads, s->value_dim);
    return create_recorder(context, w);
}

static void destroy_work(struct work *w)
{
    dj_recorder_destroy(&w->recorder);
    dj_buffer_destroy(&w->scratch);
    dj_buffer_destroy(&w->state);
    dj_buffer_destroy(&w->o);
    dj_buffer_destroy(&w->v);
    dj_buffer_destroy(&w->k);
    dj_buffer_destroy(&w->q);
    dj_attention_destroy(&w->plan);
    dj_features_destroy(&w->features);
    free(w->slots);
    numbers_free(&w->numbers);
}

static dj_result run_once(void *user, struct bench_time *time)
{
    struct work *const w = user;
    dj_result result = bench_gpu_begin(w->gpu, w->recorder);
    if (result == DJ_SUCCESS)
        result = dj_attention_record(w->plan, w->recorder, &w->args);
    return result == DJ_SUCCESS ? bench_gpu_submit(w->gpu, time) : result;
}

/* Runs over all tokens of the tensors, step by step. */
static dj_result run_all(struct work *w)
{
    const struct dj_attention_args first = w->args;
    const uint64_t size = dj_type_size(w->shape->type);
    dj_result result = DJ_SUCCESS;
    struct bench_time time;
    for (uint64_t t = 0; result == DJ_SUCCESS && t < w->tokens; t += w->step) {
        w->args.q.offset = t * first.q.stride[1] * size;
        w->args.k.offset = t * first.k.stride[1] * size;
        w->args.v.offset = t * first.v.stride[1] * size;
        w->args.o.offset = t * first.o.stride[1] * size;
        result = run_once(w, &time);
    }
    w->args = first;
    return result;
}

/* The last sequence's last head of a random tensor, as [T][dim], rounded to its type. */
static void random_head(const struct work *w, uint64_t stream, uint64_t heads, uint64_t dim,
                        float *data)
{
    const struct bench_case *s = w->shape;
    float row[256]; /* the most that the library takes */
    for (uint64_t t = 0; t < w->tokens; t++) {
        const uint64_t start = (((s->batch - 1) * w->tokens + t) * heads + heads - 1) * dim;
        for (uint64_t c = 0; c < dim; c++)
            data[t * dim + c] = bench_random(stream, start + c);
        element_write(s->type, data + t * dim, row, dim);
        element_read(s->type, row, data + t * dim, dim);
    }
}

/* Exact softmax is too slow on the host for every row. */
static uint64_t rows_apart(const struct work *w)
{
    const bool all = w->shape->system->map != DJ_MAP_SOFTMAX || w->tokens < 2 * SOFTMAX_ROWS;
    return all ? 1 : w->tokens / SOFTMAX_ROWS;
}

/* The same head of the output, compared with what it should be. */
static dj_result compare_head(const struct work *w, const float *want, struct host_error *error)
{
    const struct bench_case *s = w->shape;
    const uint64_t size = dj_type_size(s->type), e = s->value_dim;
    const uint64_t width = s->heads * e, start = (s->batch - 1) * w->tokens;
    const uint64_t most = READ_CHUNK / width ? READ_CHUNK / width : 1; /* rows at a time */
    float row[256];
    dj_result result = DJ_SUCCESS;
    unsigned char *rows = malloc(most * width * size);
    if (!rows)
        return DJ_ERROR_OUT_OF_HOST_MEMORY;
    for (uint64_t t = 0; result == DJ_SUCCESS && t < w->tokens; t += most) {
        const uint64_t n = w->tokens - t < most ? w->tokens - t : most;
        result = dj_buffer_read(w->o, (start + t) * width * size, rows, n * width * size);
        for (uint64_t i = 0; result == DJ_SUCCESS && i < n; i++) {
            if ((w->tokens - 1 - t - i) % rows_apart(w) != 0)
                continue;
            element_read(s->type, rows + ((i + 1) * width - e) * size, row, e);
            host_error_add(error, row, want + (t + i) * e, e);
        }
    }
    free(rows);
    return result;
}

/* The error of one head against the host, and its bound. */
static dj_result measure_error(const struct work *w, double *value, double *bound)
{
    const struct bench_case *s = w->shape;
    struct host_map map = {.numbers = &w->numbers,
                           .scale = (double)system_scale(w->shape->system, s->dim),
                           .max_tokens = w->max_tokens,
                           .key_normalise = s->key_normalise};
    struct host_extremes extremes[2] = {0};
    struct host_error error = {0};
    dj_result result = DJ_ERROR_OUT_OF_HOST_MEMORY;
    float *q = malloc(w->tokens * s->dim * sizeof(float));
    float *k = malloc(w->tokens * s->dim * sizeof(float));
    float *v = malloc(w->tokens * s->value_dim * sizeof(float));
    float *o = malloc(w->tokens * s->value_dim * sizeof(float));
    if (q && k && v && o && host_map_init(&map)) {
        random_head(w, 1, s->heads, s->dim, q);
        random_head(w, 2, s->key_heads, s->dim, k);
        random_head(w, 3, s->key_heads, s->value_dim, v);
        if (host_attention(&map, w->tokens, (uint32_t)s->value_dim, rows_apart(w), q, k, v, o,
                           extremes))
            result = compare_head(w, o, &error);
    }
    if (result == DJ_SUCCESS) {
        *value = host_error_value(&error);
        *bound = host_bound(&map, extremes, s->type, w->tokens);
    }
    host_map_finish(&map);
    free(o);
    free(v);
    free(k);
    free(q);
    return result;
}

static int check(struct work *w)
{
    const char *const name = bench_kinds[w->shape->kind];
    double error = 0, bound = 0;
    program_progress("%s %" PRIu64 ": checking", name, w->step);
    dj_result result = run_all(w);
    if (result == DJ_SUCCESS)
        result = measure_error(w, &error, &bound);
    return result == DJ_SUCCESS ? bench_judge(w->shape, error, bound)
                                : program_fail_dj(name, result);
}

/* What the library says of a call, and what a continued state adds: it is read and written. */
static dj_result count_work(const struct work *w, struct dj_needs *needs, struct bench_case *c)
{
    const dj_result result = dj_attention_needs(w->plan, &w->args, needs);
    if (result == DJ_SUCCESS) {
        c->family = needs->family;
        c->flops = needs->flops;
        c->bytes = needs->bytes + (is_decode(w) ? 2 * c->batch * needs->slot_size : 0);
    }
    return result;
}

int bench_measure_attention(struct bench_gpu *gpu, uint64_t repeat, struct bench_case *c)
{
    struct work w = {.gpu = gpu,
                     .shape = c,
                     .tokens = c->kind == BENCH_DECODE ? BENCH_CHECK_STEPS : c->tokens,
                     .step = c->tokens};
    const char *const name = bench_kinds[c->kind];
    program_progress("%s %" PRIu64 ": preparing", name, c->tokens);
    dj_result result = create_work(gpu->context, &w);
    int code = result == DJ_SUCCESS ? check(&w) : program_fail_dj(name, result);
    if (!code) {
        struct dj_needs needs;
        result = count_work(&w, &needs, c);
        if (result == DJ_SUCCESS)
            result = bench_repeat_case(gpu, c, repeat, run_once, &w, &c->times);
        if (result == DJ_SUCCESS)
            result = bench_time_kernels(gpu, &needs, &w.recorder, run_once, &w, c);
        if (result != DJ_SUCCESS)
            code = program_fail_dj(name, result);
    }
    destroy_work(&w);
    program_progress(NULL);
    return code;
}
