/* SPDX-License-Identifier: MIT */
#include "transform.h"

#include "dct_matrix.h"
#include "kernels.h"
#include "pipeline.h"
#include "quirks.h"
#include "shaders.h"
#include "size.h"
#include "transform_check.h"
#include "tuning.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct dj_transform {
    struct dj_context *context;
    uint32_t type, length;
    float *scale;                   /* [length] */
    const struct dj_recipe *recipe; /* the context's; NULL: dense */
    struct dj_pipeline load;        /* packs rows for the recipe; not for dense */
    struct dj_pipeline kernel;      /* the recipe's, or the matrix product */
    struct dj_buffer *tables;       /* float scale[length], then at table the kernel's own */
    struct dj_binding table;        /* the recipe's table or the matrix; no buffer: none */
};

dj_result dj_dense_pipeline(struct dj_context *context, struct dj_pipeline *pipeline)
{
    const struct dj_constants constants = {
        .count = 1, .values = {dj_tuning_of(context->info.type)->dense_ahead}};
    return dj_pipeline_get(context, &dj_shader_rows_dense, &constants, pipeline);
}

/* Uploads the scales and a table as one buffer. */
static dj_result tables_create(struct dj_transform *transform, const void *table,
                               uint64_t table_size)
{
    struct dj_context *const context = transform->context;
    const uint64_t alignment = context->info.offset_alignment;
    const uint64_t scale_size = transform->length * sizeof(float);
    const uint64_t start = dj_round_up(scale_size, alignment);
    unsigned char *const data = calloc(1, start + table_size);
    if (data == NULL)
        return dj_fail(&context->log, DJ_ERROR_OUT_OF_HOST_MEMORY, "DCT tables: out of memory");
    memcpy(data, transform->scale, scale_size);
    if (table_size > 0)
        memcpy(data + start, table, table_size);
    const dj_result result = dj_buffer_create_table(context, data, start + table_size,
                                                    "dijiang DCT tables", &transform->tables);
    free(data);
    if (result == DJ_SUCCESS && table_size > 0)
        transform->table =
            (struct dj_binding){.buffer = transform->tables, .offset = start, .range = table_size};
    return result;
}

/* The verdict on an entry's recipe, by a trial if there was none yet and this context makes them.
 * Threads that try at the same time come to the same one. */
static dj_result judge(struct dj_transform *transform, struct dj_recipe_entry *entry,
                       uint32_t level)
{
    struct dj_context *const context = transform->context;
    if (atomic_load(&entry->verdict) != DJ_VERDICT_NONE || !context->trials)
        return DJ_SUCCESS;
    const dj_result result =
        dj_transform_check(transform, context, transform->type, transform->length, level);
    if (result == DJ_SUCCESS)
        atomic_store(&entry->verdict, DJ_VERDICT_RIGHT);
    else if (result == DJ_ERROR_COMPILER)
        atomic_store(&entry->verdict, DJ_VERDICT_WRONG);
    return result;
}

/* level: of the line that says that there is a kernel, and it is no good. */
static dj_result generated_create(struct dj_transform *transform, uint32_t level)
{
    struct dj_context *const context = transform->context;
    struct dj_recipe_entry *entry;
    dj_result result = dj_recipes_get(context, transform->type, transform->length, level, &entry);
    if (result != DJ_SUCCESS)
        return result;
    if (atomic_load(&entry->verdict) == DJ_VERDICT_WRONG)
        return dj_fail_at(
            &context->log, level, DJ_ERROR_COMPILER,
            "DCT-%u of length %u: the kernel was wrong on this device when it was tried",
            transform->type, transform->length);
    const struct dj_recipe *const recipe = &entry->recipe;
    transform->recipe = recipe;
    dj_dct_scales(transform->type, transform->length, transform->scale);
    result = tables_create(transform, recipe->table, recipe->table_size);
    const struct dj_shader shader = {
        .name = "dct_generated", .words = recipe->words, .size = recipe->words_size};
    if (result == DJ_SUCCESS)
        result = dj_pipeline_try(context, &shader, NULL, &transform->kernel);
    if (result == DJ_ERROR_UNSUPPORTED)
        return dj_fail_at(&context->log, level, DJ_ERROR_COMPILER,
                          "DCT-%u of length %u: the driver refused the generated kernel",
                          transform->type, transform->length);
    if (result == DJ_SUCCESS)
        result = dj_pipeline_get(context, &dj_shader_rows_load, NULL, &transform->load);
    return result == DJ_SUCCESS ? judge(transform, entry, level) : result;
}

static dj_result dense_create(struct dj_transform *transform)
{
    struct dj_context *const context = transform->context;
    const uint32_t length = transform->length;
    float *const matrix = malloc((uint64_t)length * length * sizeof(float));
    if (matrix == NULL)
        return dj_fail(&context->log, DJ_ERROR_OUT_OF_HOST_MEMORY, "DCT tables: out of memory");
    for (uint32_t i = 0; i < length; i++)
        transform->scale[i] = 1.0f;
    dj_result result = DJ_ERROR_OUT_OF_HOST_MEMORY;
    if (dj_dct_matrix(transform->type, length, matrix))
        result = tables_create(transform, matrix, (uint64_t)length * length * sizeof(float));
    else
        dj_log_line(&context->log, DJ_LOG_ERROR, "DCT tables: out of memory");
    free(matrix);
    if (result == DJ_SUCCESS)
        result = dj_dense_pipeline(context, &transform->kernel);
    return result;
}

/* Everything but the handle itself. */
static void reset(struct dj_transform *transform)
{
    dj_buffer_destroy(&transform->tables);
    transform->table = (struct dj_binding){0};
    transform->recipe = NULL;
}

static dj_result path_create(struct dj_transform *transform, uint32_t path)
{
    const struct dj_log *const log = &transform->context->log;
    if (path == DJ_DCT_PATH_DEFAULT && dj_quirks_avoid(transform->context, DJ_AVOID_GENERATED_DCT))
        path = DJ_DCT_PATH_DENSE;
    if (path == DJ_DCT_PATH_DENSE)
        return dense_create(transform);
    dj_result result =
        generated_create(transform, path == DJ_DCT_PATH_DEFAULT ? DJ_LOG_WARNING : DJ_LOG_ERROR);
    const bool none = result == DJ_ERROR_UNSUPPORTED || result == DJ_ERROR_COMPILER;
    if (path == DJ_DCT_PATH_DEFAULT && none) {
        if (result == DJ_ERROR_COMPILER)
            dj_log_line(log, DJ_LOG_WARNING, "DCT-%u of length %u: the dense kernel takes over",
                        transform->type, transform->length);
        reset(transform);
        return dense_create(transform);
    }
    if (result == DJ_ERROR_UNSUPPORTED)
        return dj_fail(log, result, "DCT-%u of length %u: VkFFT has no kernel of one pass for it",
                       transform->type, transform->length);
    return result;
}

dj_result dj_transform_create(struct dj_context *context, uint32_t type, uint32_t length,
                              uint32_t path, struct dj_transform **transform)
{
    assert(type >= DJ_DCT_2 && type <= DJ_DCT_4 && length >= 4 && path <= DJ_DCT_PATH_DENSE);
    *transform = NULL;
    struct dj_transform *made = calloc(1, sizeof *made);
    if (made == NULL)
        return dj_fail(&context->log, DJ_ERROR_OUT_OF_HOST_MEMORY, "DCT: out of memory");
    made->context = context;
    made->type = type;
    made->length = length;
    made->scale = malloc(length * sizeof(float));
    const dj_result result =
        made->scale != NULL
            ? path_create(made, path)
            : dj_fail(&context->log, DJ_ERROR_OUT_OF_HOST_MEMORY, "DCT tables: out of memory");
    if (result != DJ_SUCCESS)
        dj_transform_destroy(&made);
    *transform = made;
    return result;
}

void dj_transform_destroy(struct dj_transform **transform)
{
    if (transform == NULL || *transform == NULL)
        return;
    reset(*transform);
    free((*transform)->scale);
    free(*transform);
    *transform = NULL;
}

uint32_t dj_transform_row_multiple(const struct dj_transform *transform)
{
    return transform->recipe != NULL ? transform->recipe->rows_per_group : 1;
}

uint64_t dj_transform_max_rows(const struct dj_transform *transform)
{
    const struct dj_device_info *const info = &transform->context->info;
    const uint64_t multiple = dj_transform_row_multiple(transform);
    uint64_t range = info->max_storage_range;
    if (range > UINT32_MAX) /* kernels index by 32 bits */
        range = UINT32_MAX;
    uint64_t rows = range / (transform->length * sizeof(float));
    const uint64_t per_group = transform->recipe != NULL ? multiple : DJ_DENSE_TILE;
    if (rows > info->max_workgroups[1] * per_group)
        rows = info->max_workgroups[1] * per_group;
    if (transform->recipe != NULL && rows > transform->recipe->max_rows)
        rows = transform->recipe->max_rows;
    return rows - rows % multiple;
}

uint64_t dj_transform_row_work(const struct dj_transform *transform)
{
    const uint64_t length = transform->length;
    return transform->recipe != NULL ? 16 * length : length * length; /* the former: its memory */
}

uint32_t dj_transform_dispatches(const struct dj_transform *transform)
{
    return transform->recipe != NULL ? 2 : 1;
}

static void record_dense(const struct dj_transform *transform, struct dj_recorder *recorder,
                         const struct dj_rows *x, float factor, const struct dj_binding *packed)
{
    struct rows_dense_push push = {
        DJ_ROWS_PUSH(x),
        .terms = transform->length,
        .columns = transform->length,
        .factor = factor,
    };
    memcpy(push.signs, x->signs, sizeof push.signs);
    const struct dj_binding bindings[4] = {x->view.binding, *packed, transform->table,
                                           x->ragged ? x->spans : *packed};
    const uint32_t groups[3] = {(uint32_t)dj_divide_up(transform->length, DJ_DENSE_TILE),
                                (uint32_t)dj_divide_up(push.rows, DJ_DENSE_TILE), 1};
    dj_recorder_dispatch(recorder, transform->kernel, bindings, 4, &push, sizeof push, groups);
}

/* 1. The view's rows, times the factors, to packed rows; rows of zeros up to a whole group.
 * 2. The generated kernel, in place. */
static void record_generated(const struct dj_transform *transform, struct dj_recorder *recorder,
                             const struct dj_rows *x, float factor, const struct dj_binding *packed)
{
    const struct dj_recipe *const recipe = transform->recipe;
    const uint32_t rows = x->count[0] * x->count[1] * x->count[2];
    const uint32_t row_groups = (uint32_t)dj_divide_up(rows, recipe->rows_per_group);
    struct rows_load_push push = {
        DJ_ROWS_PUSH(x),
        .row_length = transform->length,
        .padded = row_groups * recipe->rows_per_group,
        .factor = factor,
        .first = factor * (float)dj_dct_first(transform->type),
    };
    memcpy(push.signs, x->signs, sizeof push.signs);
    const struct dj_binding load[3] = {x->view.binding, *packed, x->ragged ? x->spans : *packed};
    const uint64_t each = DJ_ROWS_THREADS * DJ_ROWS_EACH;
    const uint64_t load_groups = dj_divide_up((uint64_t)push.padded * transform->length, each);
    uint32_t groups[3];
    dj_transform_fold(transform->context, load_groups, groups);
    dj_recorder_dispatch(recorder, transform->load, load, 3, &push, sizeof push, groups);
    dj_recorder_write_to_read(recorder);

    struct dj_binding bindings[4] = {{0}};
    for (int i = 0; i < 4; i++) {
        if (recipe->roles[i] == DJ_RECIPE_INPUT || recipe->roles[i] == DJ_RECIPE_OUTPUT)
            bindings[i] = *packed;
        else if (recipe->roles[i] == DJ_RECIPE_TABLE)
            bindings[i] = transform->table;
    }
    const uint32_t kernel_groups[3] = {1, row_groups, 1};
    dj_recorder_dispatch(recorder, transform->kernel, bindings, 4, recipe->push, recipe->push_size,
                         kernel_groups);
}

void dj_transform_record(const struct dj_transform *transform, struct dj_recorder *recorder,
                         const struct dj_rows *x, float factor, const struct dj_binding *packed)
{
    assert(x->count[0] > 0 && x->count[1] > 0 && x->count[2] > 0);
    assert((uint64_t)x->count[0] * x->count[1] * x->count[2] <= dj_transform_max_rows(transform));
    if (transform->recipe != NULL)
        record_generated(transform, recorder, x, factor, packed);
    else
        record_dense(transform, recorder, x, factor, packed);
}

const float *dj_transform_scales(const struct dj_transform *transform)
{
    return transform->scale;
}

struct dj_binding dj_transform_scale(const struct dj_transform *transform)
{
    return (struct dj_binding){.buffer = transform->tables,
                               .range = transform->length * sizeof(float)};
}

void dj_transform_fold(const struct dj_context *context, uint64_t count, uint32_t groups[3])
{
    const uint64_t width = context->info.max_workgroups[0];
    groups[0] = (uint32_t)(count < width ? count : width);
    groups[1] = (uint32_t)dj_divide_up(count, groups[0]);
    groups[2] = 1;
}
