/* SPDX-License-Identifier: MIT */
/* The histories' data, and the device's memory for them. */
#include "decode.h"

#include "bench_random.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const double mib = 1 << 20;

uint64_t decode_width(const struct decode_run *run)
{
    return (uint64_t)run->model->heads * run->model->dim;
}

/* Of k or v of one layer. */
static double tensor_bytes(const struct decode_run *run, uint64_t tokens)
{
    return (double)run->batch * (double)tokens * (double)decode_width(run) *
           (double)dj_type_size(run->type);
}

double decode_cache_bytes(const struct decode_run *run, uint64_t history)
{
    return 2.0 * run->model->layers * tensor_bytes(run, history);
}

double decode_memory_speed(const struct decode_run *run, uint64_t history)
{
    return (double)run->batch * run->copy / decode_cache_bytes(run, history);
}

static bool is_step(const struct decode_run *run, uint64_t token)
{
    for (uint32_t i = 0; i < run->count; i++)
        if (run->points[i].history == token + 1)
            return true;
    return false;
}

void decode_tokens(const struct decode_run *run, int which, uint64_t b, uint64_t first,
                   uint64_t count, float *data)
{
    const uint64_t width = decode_width(run);
    for (uint64_t t = first; t < first + count; t++) {
        const uint64_t stream = (uint64_t)which + (is_step(run, t) ? 4 : 1);
        for (uint64_t i = 0; i < width; i++)
            *data++ = bench_random(stream, (t * run->batch + b) * width + i);
    }
}

/* Half of what the device has, or of what it shares with the host. */
static double memory_limit(const struct dj_device_info *info)
{
    const double device = (double)info->device_memory / 2;
    const double host = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) / 2;
    return info->type == DJ_DEVICE_DISCRETE || host <= 0 ? device : fmin(device, host);
}

/* Says of points that are too long why, and returns the longest of the others. */
static uint64_t find_longest(const struct dj_device_info *info, struct decode_run *run)
{
    const double limit = memory_limit(info);
    uint64_t longest = 0;
    for (uint32_t i = 0; i < run->count; i++) {
        struct decode_point *const p = &run->points[i];
        const double bytes = decode_cache_bytes(run, p->history);
        if (tensor_bytes(run, p->history) > (double)info->max_allocation)
            snprintf(p->omitted, sizeof(p->omitted),
                     "a layer's keys take %.0f MiB, the device allocates %.0f MiB at once",
                     tensor_bytes(run, p->history) / mib, (double)info->max_allocation / mib);
        else if (bytes > limit)
            snprintf(p->omitted, sizeof(p->omitted),
                     "a KV cache of %.0f MiB is more than half of the memory, %.0f MiB",
                     bytes / mib, limit / mib);
        else
            longest = p->history;
    }
    return longest;
}

static dj_result create_buffer(dj_context *context, uint64_t size, dj_buffer **buffer)
{
    return dj_buffer_create(context, &(struct dj_buffer_params){.size = size}, buffer);
}

static void destroy_caches(struct decode_memory *m)
{
    for (int i = 0; i < DECODE_MAX_LAYERS; i++) {
        dj_buffer_destroy(&m->layers[i].v);
        dj_buffer_destroy(&m->layers[i].k);
    }
}

static dj_result create_caches(dj_context *context, const struct decode_run *run,
                               struct decode_memory *m)
{
    const uint64_t size = (uint64_t)tensor_bytes(run, m->longest);
    dj_result result = DJ_SUCCESS;
    for (uint32_t i = 0; result == DJ_SUCCESS && i < run->model->layers; i++) {
        result = create_buffer(context, size, &m->layers[i].k);
        if (result == DJ_SUCCESS)
            result = create_buffer(context, size, &m->layers[i].v);
    }
    return result;
}

/* As long as the device's memory lasts. */
static dj_result create_longest_caches(dj_context *context, struct decode_run *run,
                                       struct decode_memory *m)
{
    dj_result result = m->longest ? create_caches(context, run, m) : DJ_SUCCESS;
    while (result == DJ_ERROR_OUT_OF_DEVICE_MEMORY || result == DJ_ERROR_OUT_OF_HOST_MEMORY) {
        uint64_t next = 0;
        destroy_caches(m);
        for (uint32_t i = 0; i < run->count; i++) {
            struct decode_point *const p = &run->points[i];
            if (p->history == m->longest)
                snprintf(p->omitted, sizeof(p->omitted), "no memory for a KV cache of %.0f MiB",
                         decode_cache_bytes(run, p->history) / mib);
            else if (p->history < m->longest)
                next = p->history;
        }
        m->longest = next;
        result = next ? create_caches(context, run, m) : DJ_SUCCESS;
    }
    return result;
}

/* Slots of zero bytes are empty states. */
static dj_result create_states(dj_context *context, const struct decode_run *run,
                               struct decode_memory *m)
{
    const uint64_t slots = 2 * run->batch;
    void *const empty = calloc(1, m->slot_size);
    dj_result result = empty ? DJ_SUCCESS : DJ_ERROR_OUT_OF_HOST_MEMORY;
    for (uint32_t i = 0; result == DJ_SUCCESS && i < run->model->layers; i++) {
        result = create_buffer(context, slots * m->slot_size, &m->layers[i].state);
        for (uint64_t s = 0; result == DJ_SUCCESS && s < slots; s++)
            result = dj_buffer_write(m->layers[i].state, s * m->slot_size, empty, m->slot_size);
    }
    free(empty);
    return result;
}

dj_result decode_memory_create(struct bench_gpu *gpu, struct decode_run *run, uint64_t slot_size,
                               struct decode_memory *m)
{
    dj_context *const context = gpu->context;
    const uint64_t size = (uint64_t)tensor_bytes(run, 1);
    *m = (struct decode_memory){.slot_size = slot_size, .longest = find_longest(&gpu->info, run)};
    dj_buffer **const tokens[] = {&m->q, &m->k, &m->v};
    dj_result result = create_states(context, run, m);
    for (int i = 0; result == DJ_SUCCESS && i < 3; i++)
        result = create_buffer(context, size, tokens[i]);
    for (uint32_t i = 0; result == DJ_SUCCESS && i < run->model->layers; i++)
        result = create_buffer(context, size, &m->layers[i].o);
    return result == DJ_SUCCESS ? create_longest_caches(context, run, m) : result;
}

void decode_memory_destroy(struct decode_memory *m)
{
    destroy_caches(m);
    for (int i = 0; i < DECODE_MAX_LAYERS; i++) {
        dj_buffer_destroy(&m->layers[i].state);
        dj_buffer_destroy(&m->layers[i].o);
    }
    dj_buffer_destroy(&m->v);
    dj_buffer_destroy(&m->k);
    dj_buffer_destroy(&m->q);
}
