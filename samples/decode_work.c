/* SPDX-License-Identifier: MIT */
/* Steps of decoding: their history, their check, their times. */
#include "decode.h"

#include "element.h"
#include "host.h"
#include "program.h"
#include "systems.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CHUNK = 1024,      /* tokens of a history that are added at a time */
    LEAST_REPEATS = 3, /* of a step, which may take seconds */
};

static const char *const names[DECODE_SYSTEMS] = {"DiJiang", "exact"};

struct work {
    struct bench_gpu *gpu;
    struct decode_run *run;
    struct decode_memory memory;
    struct numbers numbers[DECODE_SYSTEMS];
    dj_features *features;
    dj_attention *plans[DECODE_SYSTEMS];
    int32_t *slots;  /* 0 .. 2 batch - 1 */
    uint64_t tokens; /* that the states and caches hold */

    /* the step that is recorded */
    enum decode_system system;
    uint64_t history;
    const int32_t *slots_in, *slots_out;
    dj_buffer *scratch;
    uint64_t scratch_size;
    dj_recorder *recorder;
};

static dj_result create_plan(struct work *w, enum decode_system which)
{
    const struct decode_model *const model = w->run->model;
    const struct system *const system = system_find(which == DECODE_LINEAR ? "wdcf" : "softmax");
    struct numbers *const numbers = &w->numbers[which];
    *numbers = (struct numbers){
        .system = system, .dim = model->dim, .features = numbers_features(system, model->dim)};
    dj_result result = numbers_draw_missing(numbers, 1);
    if (result == DJ_SUCCESS && which == DECODE_LINEAR)
        result = numbers_create(w->gpu->context, numbers, &w->features);
    if (result != DJ_SUCCESS)
        return result;
    const struct dj_attention_params params = {
        .map = system->map,
        .heads = model->heads,
        .dim = model->dim,
        /* the one query is the last token of its keys, and sees them all */
        .causal = which == DECODE_LINEAR ? DJ_ON : DJ_OFF,
        .q_type = w->run->type,
        .k_type = w->run->type,
        .v_type = w->run->type,
        .o_type = w->run->type,
    };
    return dj_attention_create(w->gpu->context, &params, &w->plans[which]);
}

static dj_result create_work(struct work *w)
{
    struct dj_needs needs;
    dj_result result = create_plan(w, DECODE_LINEAR);
    if (result == DJ_SUCCESS)
        result = create_plan(w, DECODE_EXACT);
    if (result == DJ_SUCCESS)
        result = dj_attention_needs(w->plans[DECODE_LINEAR], NULL, &needs);
    if (result == DJ_SUCCESS)
        result = decode_memory_create(w->gpu, w->run, needs.slot_size, &w->memory);
    w->slots = calloc(2 * w->run->batch, sizeof(*w->slots));
    if (!w->slots)
        return DJ_ERROR_OUT_OF_HOST_MEMORY;
    for (uint64_t i = 0; i < 2 * w->run->batch; i++)
        w->slots[i] = (int32_t)i;
    return result;
}

static void destroy_work(struct work *w)
{
    dj_recorder_destroy(&w->recorder);
    dj_buffer_destroy(&w->scratch);
    decode_memory_destroy(&w->memory);
    dj_attention_destroy(&w->plans[DECODE_EXACT]);
    dj_attention_destroy(&w->plans[DECODE_LINEAR]);
    dj_features_destroy(&w->features);
    numbers_free(&w->numbers[DECODE_LINEAR]);
    numbers_free(&w->numbers[DECODE_EXACT]);
    free(w->slots);
}

static void view(const struct work *w, dj_buffer *buffer, uint64_t tokens, struct dj_tensor *tensor)
{
    const struct decode_model *const model = w->run->model;
    dj_tensor_init(tensor, buffer, 0, w->run->type,
                   (const uint64_t[4]){w->run->batch, tokens, model->heads, model->dim});
}

/* What continues the states of a layer: that many tokens, from slots to slots. */
static struct dj_attention_args linear_args(const struct work *w, uint32_t layer,
                                            const int32_t *slots_in, const int32_t *slots_out)
{
    return (struct dj_attention_args){.features = w->features,
                                      .state = w->memory.layers[layer].state,
                                      .slot_count = 2 * (uint32_t)w->run->batch,
                                      .slots_in.host = slots_in,
                                      .slots_out.host = slots_out};
}

static struct dj_attention_args step_args(const struct work *w, uint32_t layer)
{
    const struct decode_memory *const m = &w->memory;
    struct dj_attention_args args = {0};
    if (w->system == DECODE_LINEAR) {
        args = linear_args(w, layer, w->slots_in, w->slots_out);
        view(w, m->k, 1, &args.k);
        view(w, m->v, 1, &args.v);
    } else {
        view(w, m->layers[layer].k, m->longest, &args.k);
        view(w, m->layers[layer].v, m->longest, &args.v);
        args.k.shape[1] = args.v.shape[1] = w->history;
    }
    view(w, m->q, 1, &args.q);
    view(w, m->layers[layer].o, 1, &args.o);
    args.scratch = (struct dj_scratch){.buffer = w->scratch, .size = w->scratch_size};
    args.barriers = DJ_BARRIER_BEFORE | DJ_BARRIER_AFTER_HOST;
    return args;
}

/* The token's keys and values, at the end of a layer's cache. */
static void record_append(const struct work *w, uint32_t layer)
{
    const struct decode_memory *const m = &w->memory;
    const uint64_t size = decode_width(w->run) * dj_type_size(w->run->type);
    dj_buffer *const pairs[2][2] = {{m->k, m->layers[layer].k}, {m->v, m->layers[layer].v}};
    for (uint64_t b = 0; b < w->run->batch; b++)
        for (int i = 0; i < 2; i++) {
            const VkBufferCopy copy = {.srcOffset = b * size,
                                       .dstOffset = (b * m->longest + w->history - 1) * size,
                                       .size = size};
            vkCmdCopyBuffer(w->gpu->command, dj_buffer_handle(pairs[i][0]),
                            dj_buffer_handle(pairs[i][1]), 1, &copy);
        }
}

/* One token through all layers, one after the other as in a model. */
static dj_result run_step(void *user, struct bench_time *time)
{
    struct work *const w = user;
    if (program_interrupted())
        return DJ_ERROR_CANCELLED;
    dj_result result = bench_gpu_begin(w->gpu, w->recorder);
    for (uint32_t layer = 0; result == DJ_SUCCESS && layer < w->run->model->layers; layer++) {
        const struct dj_attention_args args = step_args(w, layer);
        if (w->system == DECODE_EXACT)
            record_append(w, layer);
        result = dj_attention_record(w->plans[w->system], w->recorder, &args);
    }
    return result == DJ_SUCCESS ? bench_gpu_submit(w->gpu, time) : result;
}

/* The recorder and scratch memory of the step. */
static dj_result prepare_step(struct work *w)
{
    const uint32_t layers = w->run->model->layers;
    const struct dj_attention_args args = step_args(w, 0);
    struct dj_needs needs;
    dj_recorder_destroy(&w->recorder);
    dj_buffer_destroy(&w->scratch);
    dj_result result = dj_attention_needs(w->plans[w->system], &args, &needs);
    if (result != DJ_SUCCESS)
        return result;
    w->scratch_size = needs.scratch_size;
    const struct dj_recorder_params recorder = {
        .dispatches = layers * needs.parts * needs.dispatches,
        .ring_size = (uint64_t)layers * needs.parts * needs.ring_size};
    result = dj_buffer_create(w->gpu->context, &(struct dj_buffer_params){.size = w->scratch_size},
                              &w->scratch);
    return result == DJ_SUCCESS ? dj_recorder_create(w->gpu->context, &recorder, &w->recorder)
                                : result;
}

/* A chunk of the history in the works: q, k, v and o, [B,count,H,d]. */
struct chunk {
    dj_buffer *buffers[4];
    float *data;
    void *elements;
};

/* Tokens of one sequence, into the chunk and, of keys and values, all layers' caches. */
static dj_result write_tokens(struct work *w, struct chunk *c, int which, uint64_t b,
                              uint64_t first, uint64_t count, bool cached)
{
    const struct decode_memory *const m = &w->memory;
    const uint64_t size = decode_width(w->run) * dj_type_size(w->run->type);
    decode_tokens(w->run, which, b, first, count, c->data);
    element_write(w->run->type, c->data, c->elements, count * decode_width(w->run));
    dj_result result =
        dj_buffer_write(c->buffers[which], b * count * size, c->elements, count * size);
    for (uint32_t i = 0; result == DJ_SUCCESS && which > 0 && cached && i < w->run->model->layers;
         i++)
        result = dj_buffer_write(which == 1 ? m->layers[i].k : m->layers[i].v,
                                 (b * m->longest + first) * size, c->elements, count * size);
    return result;
}

/* Adds count tokens to the caches and to the first layer's states. */
static dj_result add_chunk(struct work *w, struct chunk *c, uint64_t count, bool cached)
{
    dj_result result = DJ_SUCCESS;
    for (int which = 0; which < 3; which++)
        for (uint64_t b = 0; result == DJ_SUCCESS && b < w->run->batch; b++)
            result = write_tokens(w, c, which, b, w->tokens, count, cached);
    struct dj_attention_args args = linear_args(w, 0, w->slots, w->slots);
    struct dj_tensor *const views[] = {&args.q, &args.k, &args.v, &args.o};
    for (int i = 0; i < 4; i++)
        view(w, c->buffers[i], count, views[i]);
    if (result == DJ_SUCCESS)
        result = dj_attention_run(w->plans[DECODE_LINEAR], &args);
    w->tokens += count;
    return result;
}

static dj_result create_chunk(struct work *w, struct chunk *c)
{
    const uint64_t elements = CHUNK * decode_width(w->run), size = dj_type_size(w->run->type);
    const struct dj_buffer_params params = {.size = w->run->batch * elements * size};
    dj_result result = DJ_SUCCESS;
    c->data = malloc(elements * sizeof(float));
    c->elements = malloc(elements * size);
    if (!c->data || !c->elements)
        return DJ_ERROR_OUT_OF_HOST_MEMORY;
    for (int i = 0; result == DJ_SUCCESS && i < 4; i++)
        result = dj_buffer_create(w->gpu->context, &params, &c->buffers[i]);
    return result;
}

static void destroy_chunk(struct chunk *c)
{
    for (int i = 0; i < 4; i++)
        dj_buffer_destroy(&c->buffers[i]);
    free(c->elements);
    free(c->data);
}

/* All layers are given the same tokens, so one layer's states are those of all. */
static dj_result copy_states(struct work *w)
{
    const struct decode_memory *const m = &w->memory;
    const uint64_t size = w->run->batch * m->slot_size;
    void *const states = malloc(size);
    dj_result result =
        states ? dj_buffer_read(m->layers[0].state, 0, states, size) : DJ_ERROR_OUT_OF_HOST_MEMORY;
    for (uint32_t i = 1; result == DJ_SUCCESS && i < w->run->model->layers; i++)
        result = dj_buffer_write(m->layers[i].state, 0, states, size);
    free(states);
    return result;
}

/* Makes histories of that many tokens. */
static dj_result fill_history(struct work *w, uint64_t tokens, bool cached)
{
    struct chunk chunk = {0};
    dj_result result = create_chunk(w, &chunk);
    while (result == DJ_SUCCESS && w->tokens < tokens) {
        const uint64_t left = tokens - w->tokens;
        program_progress("history %" PRIu64 ": %" PRIu64 " tokens", tokens + 1, w->tokens);
        result = program_interrupted() ? DJ_ERROR_CANCELLED
                                       : add_chunk(w, &chunk, left < CHUNK ? left : CHUNK, cached);
    }
    destroy_chunk(&chunk);
    return result == DJ_SUCCESS ? copy_states(w) : result;
}

/* The token of the step, the last one of its history. */
static dj_result write_step_token(struct work *w, uint64_t history)
{
    dj_buffer *const buffers[] = {w->memory.q, w->memory.k, w->memory.v};
    const uint64_t width = decode_width(w->run), size = width * dj_type_size(w->run->type);
    float *const data = malloc(width * sizeof(float));
    void *const elements = malloc(size);
    dj_result result = data && elements ? DJ_SUCCESS : DJ_ERROR_OUT_OF_HOST_MEMORY;
    for (int which = 0; which < 3; which++)
        for (uint64_t b = 0; result == DJ_SUCCESS && b < w->run->batch; b++) {
            decode_tokens(w->run, which, b, history - 1, 1, data);
            element_write(w->run->type, data, elements, width);
            result = dj_buffer_write(buffers[which], b * size, elements, size);
        }
    free(elements);
    free(data);
    return result;
}

/* The last sequence's last head of the history, rounded as it is stored. */
static bool read_head(const struct work *w, int which, float *head)
{
    const uint64_t width = decode_width(w->run), dim = w->run->model->dim;
    float *const row = malloc(width * sizeof(float)), elements[256];
    for (uint64_t t = 0; row && t < w->history; t++) {
        decode_tokens(w->run, which, w->run->batch - 1, t, 1, row);
        element_write(w->run->type, row + width - dim, elements, dim);
        element_read(w->run->type, elements, head + t * dim, dim);
    }
    free(row);
    return row != NULL;
}

/* The same head of the last layer's result. */
static dj_result read_result(const struct work *w, float *row)
{
    const uint64_t dim = w->run->model->dim, size = dj_type_size(w->run->type);
    const uint64_t end = w->run->batch * decode_width(w->run);
    float elements[256];
    const dj_result result = dj_buffer_read(w->memory.layers[w->run->model->layers - 1].o,
                                            (end - dim) * size, elements, dim * size);
    element_read(w->run->type, elements, row, dim);
    return result;
}

/* NaN, so that what was not written is noticed. */
static dj_result poison_results(const struct work *w)
{
    const uint64_t size = w->run->batch * decode_width(w->run) * dj_type_size(w->run->type);
    void *const poison = malloc(size);
    dj_result result = poison ? DJ_SUCCESS : DJ_ERROR_OUT_OF_HOST_MEMORY;
    if (poison)
        memset(poison, 0xff, size);
    for (uint32_t i = 0; result == DJ_SUCCESS && i < w->run->model->layers; i++)
        result = dj_buffer_write(w->memory.layers[i].o, 0, poison, size);
    free(poison);
    return result;
}

/* Of the step that ran, against the host's double precision. */
static dj_result measure_error(const struct work *w, struct decode_result *r)
{
    const uint64_t dim = w->run->model->dim, floats = w->history * dim;
    struct host_map map = {.numbers = &w->numbers[w->system],
                           .scale = (double)system_scale(w->numbers[w->system].system, dim)};
    struct host_extremes extremes[2] = {0};
    struct host_error error = {0};
    float *heads[4] = {NULL}, row[256];
    bool ok = host_map_init(&map);
    for (int i = 0; i < 4; i++) {
        heads[i] = malloc(floats * sizeof(float));
        ok = ok && heads[i] && (i == 3 || read_head(w, i, heads[i]));
    }
    ok = ok && host_attention(&map, w->history, (uint32_t)dim, w->history, heads[0], heads[1],
                              heads[2], heads[3], extremes);
    const dj_result result = ok ? read_result(w, row) : DJ_ERROR_OUT_OF_HOST_MEMORY;
    if (result == DJ_SUCCESS) {
        host_error_add(&error, row, heads[3] + floats - dim, dim);
        r->error = host_error_value(&error);
        r->bound = host_bound(&map, extremes, w->run->type, w->history);
    }
    host_map_finish(&map);
    for (int i = 0; i < 4; i++)
        free(heads[i]);
    return result;
}

/* The first step: the history goes on by it. */
static dj_result run_first(struct work *w, struct decode_result *r)
{
    struct bench_time time;
    program_progress("history %" PRIu64 ": checking %s", w->history, names[w->system]);
    dj_result result = prepare_step(w);
    w->slots_in = w->slots_out = w->slots;
    if (result == DJ_SUCCESS)
        result = poison_results(w);
    if (result == DJ_SUCCESS)
        result = run_step(w, &time);
    return result == DJ_SUCCESS ? measure_error(w, r) : result;
}

/* Steps on the states beside, which go on from the history's; a cache's last token is written
 * again and again. */
static dj_result time_steps(struct work *w, struct decode_result *r)
{
    struct bench_time time;
    char label[64];
    snprintf(label, sizeof(label), "history %" PRIu64 ": %s", w->history, names[w->system]);
    dj_result result = DJ_SUCCESS;
    if (w->system == DECODE_LINEAR) {
        w->slots_out = w->slots + w->run->batch;
        result = run_step(w, &time);
        w->slots_in = w->slots_out;
    }
    return result == DJ_SUCCESS
               ? bench_repeat(label, w->run->repeat, LEAST_REPEATS, 1, run_step, w, &r->times)
               : result;
}

static int explain(const struct work *w, dj_result result)
{
    if (result == DJ_SUCCESS)
        return PROGRAM_SUCCESS;
    return program_interrupted() ? PROGRAM_FAILURE : program_fail_dj(names[w->system], result);
}

static int measure_system(struct work *w, enum decode_system system, struct decode_result *r)
{
    w->system = system;
    const int code = explain(w, run_first(w, r));
    if (code)
        return code;
    if (!(r->error <= r->bound)) { /* also of NaN */
        program_fail("%s after %" PRIu64 " tokens is wrong: error %.3g exceeds the bound %.3g",
                     names[system], w->history, r->error, r->bound);
        return PROGRAM_CHECK_FAILED;
    }
    return explain(w, time_steps(w, r));
}

static int measure_point(struct work *w, struct decode_point *p)
{
    const struct decode_run *const run = w->run;
    dj_result result = fill_history(w, p->history - 1, !p->omitted[0]);
    if (result == DJ_SUCCESS)
        result = write_step_token(w, p->history);
    int code = explain(w, result);
    w->history = p->history;
    if (!code)
        code = measure_system(w, DECODE_LINEAR, &p->results[DECODE_LINEAR]);
    if (!code && !p->omitted[0])
        code = measure_system(w, DECODE_EXACT, &p->results[DECODE_EXACT]);
    w->tokens = p->history;
    p->results[DECODE_LINEAR].bytes = run->model->layers * run->batch * w->memory.slot_size;
    p->results[DECODE_EXACT].bytes = (uint64_t)decode_cache_bytes(run, p->history);
    program_progress(NULL);
    return code;
}

int decode_measure(struct bench_gpu *gpu, struct decode_run *run,
                   void (*done)(const struct decode_run *run, const struct decode_point *point))
{
    struct work w = {.gpu = gpu, .run = run};
    program_progress("preparing");
    int code = explain(&w, create_work(&w));
    for (uint32_t i = 0; !code && i < run->count; i++) {
        code = measure_point(&w, &run->points[i]);
        if (!code && done)
            done(run, &run->points[i]);
    }
    destroy_work(&w);
    return code;
}
