/* SPDX-License-Identifier: MIT */
#include "feature_map.h"

#include "kernels.h"
#include "map.h"
#include "size.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ln D of a dropped feature: far below all others, yet sums of two such are finite. */
static const float DROPPED = -8.5e37f;

/* One of the params' arrays: what it is called, whether the map takes it and must have it, and the
 * numbers of one set. */
struct array {
    const char *name;
    const float *numbers;
    bool taken, required;
    uint64_t count;
};

enum {
    ARRAYS = 5
};

static void list_arrays(const struct dj_features_params *params, const struct dj_map_kind *kind,
                        uint32_t features, struct array arrays[ARRAYS])
{
    const uint64_t m = features, d = params->dim, t = params->tokens;
    const struct array all[ARRAYS] = {
        {"frequencies", params->frequencies, kind->frequencies, true, m},
        {"weights", params->weights, kind->weights, false, m},
        {"directions", params->directions, kind->directions, true, m * d},
        {"key_projection", params->key_projection, kind->projections, true, m * t},
        {"value_projection", params->value_projection, kind->projections, true, m * t},
    };
    memcpy(arrays, all, sizeof all);
}

static dj_result check_array(const struct dj_log *log, const char *map, const struct array *array,
                             uint32_t sets)
{
    if (array->numbers == NULL)
        return array->taken && array->required
                   ? dj_fail(log, DJ_ERROR_INVALID_ARGUMENT, "features: %s is NULL, %s needs them",
                             array->name, map)
                   : DJ_SUCCESS;
    if (!array->taken)
        return dj_fail(log, DJ_ERROR_UNSUPPORTED, "features: %s has no %s", map, array->name);
    for (uint64_t i = 0; i < sets * array->count; i++) {
        if (!isfinite(array->numbers[i]))
            return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT, "features: %s[%llu] is %g", array->name,
                           (unsigned long long)i, (double)array->numbers[i]);
    }
    return DJ_SUCCESS;
}

static dj_result check_weights(const struct dj_log *log, const float *weights, uint32_t sets,
                               uint32_t features)
{
    for (uint32_t h = 0; weights != NULL && h < sets; h++) {
        uint32_t kept = 0;
        for (uint32_t i = 0; i < features; i++)
            kept += weights[(size_t)h * features + i] != 0.0f;
        if (kept == 0)
            return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT, "features: all weights of head %u are 0",
                           h);
    }
    return DJ_SUCCESS;
}

static dj_result check_sizes(const struct dj_log *log, const struct dj_features_params *params,
                             const struct dj_map_kind *kind, uint32_t features)
{
    if (params->dim < 4 || params->dim > 256 || params->dim % 4 != 0)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                       "features: dim %u is not 4 to 256 in steps of 4", params->dim);
    if (params->heads > DJ_MOST_HEADS)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT, "features: heads %u is above %u",
                       params->heads, DJ_MOST_HEADS);
    const struct dj_feature_range range = dj_map_range(kind, params->dim);
    if (!dj_map_allows(kind, params->dim, features))
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                       "features: %u features, %s with dim %u has %u to %u in steps of %u",
                       features, kind->name, params->dim, range.least, range.most, range.step);
    if (params->kernel > DJ_KERNEL_GAUSSIAN || (params->kernel != 0 && !kind->squares))
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT, "features: kernel %u is not one of %s's",
                       params->kernel, kind->name);
    if (kind->projections != (params->tokens > 0))
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                       "features: tokens is %u and must be %s for %s", params->tokens,
                       kind->projections ? "at least 1" : "0", kind->name);
    return DJ_SUCCESS;
}

/* Where the tables lie, in floats. */
struct sizes {
    uint64_t weights, directions, total;
};

static struct sizes find_sizes(const struct dj_context *context,
                               const struct dj_features_params *params, uint64_t features)
{
    const uint64_t sets = params->heads > 0 ? params->heads : 1;
    if (params->map == DJ_MAP_LINFORMER) {
        const uint64_t numbers = sets * features * params->tokens;
        return (struct sizes){.weights = numbers, .directions = 2 * numbers, .total = 2 * numbers};
    }
    const uint64_t alignment = context->info.offset_alignment;
    const uint64_t vectors = 2 * sets * features;
    const uint64_t directions = dj_round_up(vectors * sizeof(float), alignment) / sizeof(float);
    const bool matrix = params->directions != NULL;
    return (struct sizes){.weights = sets * features,
                          .directions = directions,
                          .total = directions + (matrix ? sets * features * params->dim : 0)};
}

static dj_result check_total(const struct dj_context *context,
                             const struct dj_features_params *params, uint32_t features)
{
    const struct sizes sizes = find_sizes(context, params, features);
    if (sizes.total > context->info.max_storage_range / sizeof(float) ||
        sizes.total > UINT32_MAX / sizeof(float))
        return dj_fail(&context->log, DJ_ERROR_LIMIT,
                       "features: %llu numbers exceed the device's binding range of %llu bytes",
                       (unsigned long long)sizes.total,
                       (unsigned long long)context->info.max_storage_range);
    return DJ_SUCCESS;
}

/* Everything of the params; the arrays last, since too many numbers are not read. */
static dj_result check_params(const struct dj_context *context,
                              const struct dj_features_params *params, uint32_t features)
{
    const struct dj_log *const log = &context->log;
    if (!dj_reserved_is_zero(log, params->reserved, 4, "dj_features_params"))
        return DJ_ERROR_VERSION;
    const struct dj_map_kind *const kind = dj_map_find(params->map);
    if (kind == NULL)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT, "features: unknown map %u", params->map);
    if (!kind->frequencies && !kind->directions && !kind->projections)
        return dj_fail(log, DJ_ERROR_UNSUPPORTED, "features: %s takes no numbers", kind->name);
    dj_result result = check_sizes(log, params, kind, features);
    if (result == DJ_SUCCESS)
        result = check_total(context, params, features);
    struct array arrays[ARRAYS];
    list_arrays(params, kind, features, arrays);
    const uint32_t sets = params->heads > 0 ? params->heads : 1;
    for (int i = 0; result == DJ_SUCCESS && i < ARRAYS; i++)
        result = check_array(log, kind->name, &arrays[i], sets);
    return result != DJ_SUCCESS ? result : check_weights(log, params->weights, sets, features);
}

static float log_weight(float weight, double shift)
{
    return weight == 0.0f ? DROPPED : (float)(log(fabs((double)weight)) + shift);
}

static void fill_tables(const struct dj_features_params *params, uint64_t features,
                        const struct sizes *sizes, float *tables)
{
    if (params->map == DJ_MAP_LINFORMER) {
        memcpy(tables, params->key_projection, sizes->weights * sizeof *tables);
        memcpy(tables + sizes->weights, params->value_projection, sizes->weights * sizeof *tables);
        return;
    }
    const bool divided = params->map == DJ_MAP_PFF || params->map == DJ_MAP_PRF; /* by sqrt(m) */
    const double shift = divided ? -0.5 * log((double)features) : 0.0;
    for (uint64_t i = 0; i < sizes->weights; i++) {
        tables[i] = params->frequencies != NULL ? params->frequencies[i] : 1.0f;
        tables[sizes->weights + i] =
            log_weight(params->weights != NULL ? params->weights[i] : 1.0f, shift);
    }
    const uint64_t dim = params->dim, sets = sizes->weights / features;
    for (uint64_t i = 0; params->directions != NULL && i < sets * features * dim; i++) {
        const uint64_t set = i / (features * dim), row = i / dim % features, column = i % dim;
        tables[sizes->directions + (set * dim + column) * features + row] = params->directions[i];
    }
}

dj_result dj_features_create(dj_context *context, const struct dj_features_params *params,
                             dj_features **features)
{
    if (features != NULL)
        *features = NULL;
    if (context == NULL)
        return DJ_ERROR_INVALID_ARGUMENT;
    if (params == NULL || features == NULL)
        return dj_fail(&context->log, DJ_ERROR_INVALID_ARGUMENT, "dj_features_create: %s is NULL",
                       params == NULL ? "params" : "features");
    const uint32_t m = params->features != 0 ? params->features : params->dim;
    dj_result result = check_params(context, params, m);
    if (result != DJ_SUCCESS)
        return result;

    const struct sizes sizes = find_sizes(context, params, m);
    float *const tables = calloc(sizes.total, sizeof *tables);
    struct dj_features *const made = calloc(1, sizeof *made);
    if (tables == NULL || made == NULL) {
        result =
            dj_fail(&context->log, DJ_ERROR_OUT_OF_HOST_MEMORY,
                    "features: no host memory for %llu numbers", (unsigned long long)sizes.total);
        goto fail;
    }
    const uint32_t set = params->map == DJ_MAP_LINFORMER ? m * params->tokens : m;
    *made = (struct dj_features){
        .context = context,
        .map = params->map,
        .dim = params->dim,
        .features = m,
        .tokens = params->tokens,
        .heads = params->heads,
        .square_factor = params->kernel == DJ_KERNEL_GAUSSIAN ? 1.0f : 0.5f,
        .head_stride = params->heads > 0 ? set : 0,
        .weights = (uint32_t)sizes.weights,
        .directions = sizes.directions * sizeof(float),
    };
    fill_tables(params, m, &sizes, tables);
    result = dj_buffer_create_table(context, tables, sizes.total * sizeof *tables, "features",
                                    &made->tables);
    if (result != DJ_SUCCESS)
        goto fail;
    free(tables);
    *features = made;
    return DJ_SUCCESS;

fail:
    free(made);
    free(tables);
    return result;
}

void dj_features_destroy(dj_features **features)
{
    if (features == NULL || *features == NULL)
        return;
    dj_buffer_destroy(&(*features)->tables);
    free(*features);
    *features = NULL;
}

struct dj_binding dj_features_directions(const struct dj_features *features)
{
    return (struct dj_binding){.buffer = features->tables,
                               .offset = features->directions,
                               .range = features->tables->size - features->directions};
}
