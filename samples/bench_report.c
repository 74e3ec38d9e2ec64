/* SPDX-License-Identifier: MIT */
/* The table for people, and JSON for tools. */
#include "bench.h"
#include "json.h"
#include "program.h"
#include "whole_file.h"

#include <inttypes.h>
#include <stdio.h>

static double per_second(const struct bench_case *c, double amount)
{
    return c->times.median > 0 ? amount / c->times.median : 0;
}

static double tokens_of(const struct bench_case *c)
{
    return (double)c->batch * (double)c->tokens;
}

static const char *system_name(const struct bench_case *c)
{
    return c->system ? c->system->name : "-";
}

int bench_judge(const struct bench_case *c, double error, double bound)
{
    if (error <= bound) /* false for NaN */
        return PROGRAM_SUCCESS;
    program_fail("%s of %" PRIu64 " tokens is wrong: error %.3g exceeds the bound %.3g",
                 bench_kinds[c->kind], c->tokens, error, bound);
    return PROGRAM_CHECK_FAILED;
}

void bench_print_header(const struct bench_gpu *gpu, const struct bench_ceilings *ceilings)
{
    const struct dj_device_info *const info = &gpu->info;
    printf("device: %s (%s, %s)\n", info->name, program_device_type(info->type), info->driver);
    if (ceilings->copy > 0) {
        printf("measured: copy %.2f GB/s, float32 multiply-add %.1f GFLOP/s, ",
               1e-9 * ceilings->copy, 1e-9 * ceilings->fma);
        if (ceilings->matrix > 0)
            printf("matrices %.1f GFLOP/s\n", 1e-9 * ceilings->matrix);
        else
            printf("matrices none (%s)\n", ceilings->without);
    }
    printf("times: of whole calls, %s\n",
           gpu->tick > 0 ? "by timestamps on the device; wall: from submission to completion"
                         : "from submission to completion (the device has no timestamps)");
    printf("%-8s %-14s %-5s %5s %5s %5s %4s %5s %7s %11s %7s %11s %11s %9s %8s %9s %11s\n", "case",
           "features", "type", "batch", "heads", "keys", "dim", "value", "tokens", "median ms",
           "spread", "min ms", "wall ms", "tokens/s", "GFLOP/s", "GB/s", "of roofline");
    fflush(stdout);
}

void bench_print_row(const struct bench_case *c)
{
    const struct bench_times *const t = &c->times;
    char features[32];
    snprintf(features, sizeof features, "%s%s", system_name(c), c->key_normalise ? "/keys" : "");
    printf("%-8s %-14s %-5s %5" PRIu64 " %5" PRIu64 " %5" PRIu64 " %4" PRIu64 " %5" PRIu64
           " %7" PRIu64,
           bench_kinds[c->kind], features, dtype_names[c->type], c->batch, c->heads, c->key_heads,
           c->dim, c->value_dim, c->tokens);
    if (c->skipped > 0) {
        printf(" skipped: a repetition would take about %.2g s\n", c->skipped);
        return;
    }
    printf(" %11.4f %6.1f%% %11.4f %11.4f %9.0f %8.2f %9.3f", 1e3 * t->median, 1e2 * t->spread,
           1e3 * t->min, 1e3 * t->wall, per_second(c, tokens_of(c)),
           1e-9 * per_second(c, (double)c->flops), 1e-9 * per_second(c, (double)c->bytes));
    if (c->allowed > 0)
        printf(" %5.1f%% %s", 1e2 * per_second(c, c->allowed), c->arithmetic ? "flops" : "bytes");
    if (c->ratio > 0)
        printf(" %9.2f x", c->ratio);
    printf("\n");
    if (c->kernel_count > 1) {
        for (size_t i = 0; i < c->kernel_count; i++)
            printf("%s%s %.4f ms", i ? ", " : "         ", c->kernels[i].name,
                   1e3 * c->kernels[i].seconds);
        printf("\n");
    }
    fflush(stdout);
}

static const char *const families[] = {[DJ_FAMILY_TILED] = "tiled",
                                       [DJ_FAMILY_RESIDENT] = "resident",
                                       [DJ_FAMILY_STEP] = "step",
                                       [DJ_FAMILY_SOFTMAX] = "softmax"};

static void add_times(cJSON *object, const struct bench_case *c)
{
    const struct bench_times *const t = &c->times;
    cJSON_AddStringToObject(object, "clock", t->stamped ? "device" : "host");
    json_number(object, "median_ms", 1e3 * t->median);
    json_number(object, "min_ms", 1e3 * t->min);
    json_number(object, "max_ms", 1e3 * t->max);
    json_number(object, "spread", t->spread);
    json_number(object, "wall_ms", 1e3 * t->wall);
    json_count(object, "repetitions", t->count);
    if (c->family != 0)
        cJSON_AddStringToObject(object, "kernels", families[c->family]);
    json_number(object, "tokens_per_s", per_second(c, tokens_of(c)));
    json_count(object, "flops", c->flops);
    json_count(object, "bytes", c->bytes);
    json_number(object, "flops_per_s", per_second(c, (double)c->flops));
    json_number(object, "bytes_per_s", per_second(c, (double)c->bytes));
    if (c->allowed > 0) {
        json_number(object, "roofline_ms", 1e3 * c->allowed);
        json_number(object, "roofline", per_second(c, c->allowed));
        cJSON_AddStringToObject(object, "bound", c->arithmetic ? "flops" : "bytes");
    }
    if (c->ratio > 0)
        json_number(object, "ratio_to_linear", c->ratio);
}

static void add_kernels(cJSON *object, const struct bench_case *c)
{
    cJSON *const list = cJSON_AddArrayToObject(object, "kernel_times");
    for (size_t i = 0; i < c->kernel_count; i++) {
        cJSON *const kernel = cJSON_CreateObject();
        cJSON_AddItemToArray(list, kernel);
        cJSON_AddStringToObject(kernel, "kernel", c->kernels[i].name);
        json_count(kernel, "dispatches", c->kernels[i].dispatches);
        json_number(kernel, "ms", 1e3 * c->kernels[i].seconds);
    }
}

static void add_case(cJSON *results, const struct bench_case *c)
{
    cJSON *const object = cJSON_CreateObject();
    cJSON_AddItemToArray(results, object);
    cJSON_AddStringToObject(object, "case", bench_kinds[c->kind]);
    cJSON_AddStringToObject(object, "features", system_name(c));
    cJSON_AddBoolToObject(object, "key_normalise", c->key_normalise);
    cJSON_AddStringToObject(object, "dtype", dtype_names[c->type]);
    json_count(object, "batch", c->batch);
    json_count(object, "heads", c->heads);
    json_count(object, "key_heads", c->key_heads);
    json_count(object, "dim", c->dim);
    json_count(object, "value_dim", c->value_dim);
    json_count(object, "tokens", c->tokens);
    add_times(object, c);
    add_kernels(object, c);
}

static void add_ceilings(cJSON *root, const struct bench_ceilings *ceilings)
{
    cJSON *const object = cJSON_AddObjectToObject(root, "ceilings");
    json_number(object, "copy_bytes_per_s", ceilings->copy);
    json_number(object, "fma_flops_per_s", ceilings->fma);
    if (ceilings->matrix > 0)
        json_number(object, "matrix_flops_per_s", ceilings->matrix);
    else
        cJSON_AddNullToObject(object, "matrix_flops_per_s");
}

/* NULL without memory. */
static cJSON *make_json(const struct bench_gpu *gpu, const struct bench_ceilings *ceilings,
                        const struct bench_case *cases, size_t count)
{
    cJSON *root = cJSON_CreateObject();
    cJSON_AddStringToObject(root, "device", gpu->info.name);
    cJSON_AddStringToObject(root, "type", program_device_type(gpu->info.type));
    cJSON_AddStringToObject(root, "driver", gpu->info.driver);
    if (ceilings->copy > 0)
        add_ceilings(root, ceilings);
    if (program_interrupted())
        cJSON_AddTrueToObject(root, "interrupted");
    cJSON *const results = cJSON_AddArrayToObject(root, "results");
    for (size_t i = 0; i < count; i++)
        if (cases[i].times.count > 0)
            add_case(results, &cases[i]);
    if (!results) {
        cJSON_Delete(root);
        root = NULL;
    }
    return root;
}

int bench_print_json(const struct bench_gpu *gpu, const struct bench_ceilings *ceilings,
                     const struct bench_case *cases, size_t count)
{
    return json_print(make_json(gpu, ceilings, cases, count), stdout);
}

int bench_write_json(const struct bench_gpu *gpu, const struct bench_ceilings *ceilings,
                     const struct bench_case *cases, size_t count, const char *directory)
{
    struct whole_file file;
    if (!whole_file_open(&file, directory, "bench", ".json"))
        return PROGRAM_FAILURE;
    const int code = json_print(make_json(gpu, ceilings, cases, count), file.stream);
    if (code) {
        whole_file_discard(&file);
        return code;
    }
    return whole_file_close(&file) ? PROGRAM_SUCCESS : PROGRAM_FAILURE;
}
