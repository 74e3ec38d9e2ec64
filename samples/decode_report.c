/* SPDX-License-Identifier: MIT */
/* The table for people, JSON and CSV for tools, the figure for papers. */
#include "decode.h"

#include "chart.h"
#include "json.h"
#include "program.h"
#include "whole_file.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

static const char *const keys[DECODE_SYSTEMS] = {"dijiang", "exact"};
static const char *const names[DECODE_SYSTEMS] = {"DiJiang", "exact, KV cache"};
static const double mib = 1 << 20;

/* Tokens per second; 0: not measured. */
static double speed(const struct decode_run *run, double seconds)
{
    return seconds > 0 ? (double)run->batch / seconds : 0;
}

void decode_print_header(const struct bench_gpu *gpu, const struct decode_run *run)
{
    const struct decode_model *const m = run->model;
    printf("device: %s (%s, %s)\n", gpu->info.name, program_device_type(gpu->info.type),
           gpu->info.driver);
    printf("attention of %s: %u layers, %u heads of dimension %u, %s, batch %" PRIu64 "\n", m->name,
           m->layers, m->heads, m->dim, run->type_name, run->batch);
    printf("times: medians of a token through all layers in one submission, %s\n",
           gpu->tick > 0 ? "by timestamps on the device"
                         : "to completion (the device has no timestamps)");
    printf("measured: copy %.2f GB/s\n\n", 1e-9 * run->copy);
    printf("%8s  %-32s  %s\n", "", names[DECODE_LINEAR], names[DECODE_EXACT]);
    printf("%8s  %10s %10s %10s  %10s %10s %10s %13s\n", "history", "tokens/s", "ms", "MiB",
           "tokens/s", "ms", "MiB", "memory bound");
    fflush(stdout);
}

static void print_result(const struct decode_run *run, const struct decode_result *r)
{
    printf("  %10.4g %10.3f %10.2f", speed(run, r->times.median), 1e3 * r->times.median,
           (double)r->bytes / mib);
}

void decode_print_row(const struct decode_run *run, const struct decode_point *p)
{
    printf("%8" PRIu64, p->history);
    print_result(run, &p->results[DECODE_LINEAR]);
    if (p->omitted[0]) {
        printf("  left out: %s\n", p->omitted);
    } else {
        print_result(run, &p->results[DECODE_EXACT]);
        printf(" %13.4g\n", decode_memory_speed(run, p->history));
    }
    fflush(stdout);
}

static void add_result(cJSON *point, const struct decode_run *run, uint64_t history,
                       enum decode_system system, const struct decode_result *r)
{
    if (r->times.count == 0) {
        cJSON_AddNullToObject(point, keys[system]);
        return;
    }
    cJSON *const object = cJSON_AddObjectToObject(point, keys[system]);
    json_number(object, "tokens_per_s", speed(run, r->times.median));
    json_number(object, "median_ms", 1e3 * r->times.median);
    json_number(object, "min_ms", 1e3 * r->times.min);
    json_number(object, "max_ms", 1e3 * r->times.max);
    json_number(object, "wall_ms", 1e3 * r->times.wall);
    json_count(object, "repetitions", r->times.count);
    json_count(object, "bytes", r->bytes);
    json_number(object, "error", r->error);
    json_number(object, "bound", r->bound);
    if (system == DECODE_EXACT)
        json_number(object, "memory_bound_tokens_per_s", decode_memory_speed(run, history));
}

int decode_print_json(const struct bench_gpu *gpu, const struct decode_run *run)
{
    cJSON *root = cJSON_CreateObject();
    cJSON_AddStringToObject(root, "device", gpu->info.name);
    cJSON_AddStringToObject(root, "type", program_device_type(gpu->info.type));
    cJSON_AddStringToObject(root, "driver", gpu->info.driver);
    cJSON_AddStringToObject(root, "clock", gpu->tick > 0 ? "device" : "host");
    cJSON_AddStringToObject(root, "model", run->model->name);
    json_count(root, "layers", run->model->layers);
    json_count(root, "heads", run->model->heads);
    json_count(root, "dim", run->model->dim);
    cJSON_AddStringToObject(root, "dtype", run->type_name);
    json_count(root, "batch", run->batch);
    json_number(root, "copy_bytes_per_s", run->copy);
    cJSON *const results = cJSON_AddArrayToObject(root, "results");
    for (uint32_t i = 0; i < run->count; i++) {
        const struct decode_point *const p = &run->points[i];
        cJSON *const point = cJSON_CreateObject();
        cJSON_AddItemToArray(results, point);
        json_count(point, "history", p->history);
        for (int s = 0; s < DECODE_SYSTEMS; s++)
            add_result(point, run, p->history, s, &p->results[s]);
        if (p->omitted[0])
            cJSON_AddStringToObject(point, "left_out", p->omitted);
    }
    if (!results) {
        cJSON_Delete(root);
        root = NULL;
    }
    return json_print(root, stdout);
}

static void write_row(FILE *stream, const struct decode_run *run, uint64_t history,
                      enum decode_system system, const struct decode_result *r)
{
    const struct bench_times *const t = &r->times;
    fprintf(stream, "%s,%s,%" PRIu64 ",%" PRIu64 ",%s,%.6g,%.6g,%.6g,%.6g,%" PRIu64 ",%" PRIu64,
            run->model->name, run->type_name, run->batch, history, keys[system],
            speed(run, t->median), 1e3 * t->median, 1e3 * t->min, 1e3 * t->max, t->count, r->bytes);
    fprintf(stream, ",%.3g,%.3g,", r->error, r->bound);
    if (system == DECODE_EXACT)
        fprintf(stream, "%.6g", decode_memory_speed(run, history));
    fputc('\n', stream);
}

static int write_table(const struct decode_run *run, const char *directory)
{
    struct whole_file file;
    if (!whole_file_open(&file, directory, "decode", ".csv"))
        return PROGRAM_FAILURE;
    fprintf(file.stream, "model,dtype,batch,history,system,tokens_per_s,median_ms,min_ms,max_ms,"
                         "repetitions,bytes,error,bound,memory_bound_tokens_per_s\n");
    for (uint32_t i = 0; i < run->count; i++)
        for (int s = 0; s < DECODE_SYSTEMS; s++)
            if (run->points[i].results[s].times.count > 0)
                write_row(file.stream, run, run->points[i].history, s, &run->points[i].results[s]);
    return whole_file_close(&file) ? PROGRAM_SUCCESS : PROGRAM_FAILURE;
}

/* The points of a system's lines; those left out are gaps. */
struct curve {
    double history[DECODE_MAX_POINTS], speed[DECODE_MAX_POINTS], slower[DECODE_MAX_POINTS],
        faster[DECODE_MAX_POINTS], memory_bound[DECODE_MAX_POINTS], memory[DECODE_MAX_POINTS];
};

static struct curve curve_of(const struct decode_run *run, enum decode_system system)
{
    struct curve curve;
    for (uint32_t i = 0; i < run->count; i++) {
        const struct decode_result *const r = &run->points[i].results[system];
        const bool measured = r->times.count > 0;
        curve.history[i] = (double)run->points[i].history;
        curve.speed[i] = measured ? speed(run, r->times.median) : NAN;
        curve.slower[i] = measured ? speed(run, r->times.third) : NAN;
        curve.faster[i] = measured ? speed(run, r->times.first) : NAN;
        curve.memory[i] = measured ? (double)r->bytes / mib : NAN;
        curve.memory_bound[i] = measured ? decode_memory_speed(run, run->points[i].history) : NAN;
    }
    return curve;
}

static int draw(const struct bench_gpu *gpu, const struct decode_run *run, const char *directory)
{
    struct curve curves[DECODE_SYSTEMS];
    struct chart_series speeds[DECODE_SYSTEMS + 1], memories[DECODE_SYSTEMS];
    for (int s = 0; s < DECODE_SYSTEMS; s++) {
        struct curve *const c = &curves[s];
        *c = curve_of(run, s);
        speeds[s] = (struct chart_series){.name = names[s],
                                          .x = c->history,
                                          .y = c->speed,
                                          .count = run->count,
                                          .low = c->slower,
                                          .high = c->faster};
        memories[s] = speeds[s];
        memories[s].y = c->memory;
        memories[s].low = memories[s].high = NULL;
    }
    speeds[DECODE_SYSTEMS] = (struct chart_series){.name = "memory bound of exact",
                                                   .x = curves[DECODE_EXACT].history,
                                                   .y = curves[DECODE_EXACT].memory_bound,
                                                   .count = run->count,
                                                   .dashed = true};
    const struct chart_axis history = {"history (tokens)", true};
    const struct chart_lines throughput = {
        history, {"tokens per second", true}, speeds, DECODE_SYSTEMS + 1};
    const struct chart_lines memory = {history, {"MiB", true}, memories, DECODE_SYSTEMS};
    const struct chart_panel panels[] = {{"Throughput", &throughput, NULL},
                                         {"Memory", &memory, NULL}};
    char title[400];
    snprintf(title, sizeof(title), "Decoding, attention of %s, %s, batch %" PRIu64 ", %s",
             run->model->name, run->type_name, run->batch, gpu->info.name);
    const struct chart chart = {title, panels, 2, 2};
    return chart_write(&chart, directory, "decode") ? PROGRAM_SUCCESS : PROGRAM_FAILURE;
}

int decode_write(const struct bench_gpu *gpu, const struct decode_run *run, const char *directory)
{
    program_progress("writing %s", directory);
    const int code = write_table(run, directory);
    return code ? code : draw(gpu, run, directory);
}
