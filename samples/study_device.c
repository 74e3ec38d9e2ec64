/* SPDX-License-Identifier: MIT */
#include "program.h"
#include "study.h"

#include <stdlib.h>
#include <string.h>

enum {
    MOST_PLANS = 64
};

/* Plans take far longer to make than to run here, so each is kept. */
struct study_device {
    dj_context *context;
    uint32_t count;
    struct {
        struct dj_attention_params params;
        float decay;
        dj_attention *plan;
    } plans[MOST_PLANS];
};

struct study_device *study_device_open(dj_context *context)
{
    struct study_device *device = calloc(1, sizeof(*device));
    if (device)
        device->context = context;
    return device;
}

static void drop_plans(struct study_device *device)
{
    while (device->count > 0)
        dj_attention_destroy(&device->plans[--device->count].plan);
}

void study_device_close(struct study_device **device)
{
    if (*device)
        drop_plans(*device);
    free(*device);
    *device = NULL;
}

static dj_result find_plan(struct study_device *device, struct dj_attention_params params,
                           float decay, dj_attention **plan)
{
    for (uint32_t i = 0; i < device->count; i++)
        if (memcmp(&device->plans[i].params, &params, sizeof(params)) == 0 &&
            device->plans[i].decay == decay) {
            *plan = device->plans[i].plan;
            return DJ_SUCCESS;
        }
    if (device->count == MOST_PLANS)
        drop_plans(device);
    device->plans[device->count].params = params;
    device->plans[device->count].decay = decay;
    params.decay = decay > 0 ? &decay : NULL;
    const dj_result result = dj_attention_create(device->context, &params, plan);
    if (result == DJ_SUCCESS)
        device->plans[device->count++].plan = *plan;
    return result;
}

/* The identity matrix [T][T] in blocks of e columns, and v itself behind them: [blocks + 1][T][e].
 */
static float *make_values(const struct study_data *data, uint32_t blocks)
{
    const size_t e = data->value_dim, size = data->tokens * e;
    float *values = calloc((blocks + 1) * size, sizeof(float));
    for (uint32_t j = 0; values && j < data->tokens; j++)
        values[j / e * size + j * e + j % e] = 1;
    if (values)
        memcpy(values + blocks * size, data->v, size * sizeof(float));
    return values;
}

/* A tensor that repeats the same [count][d] for every block. */
static dj_result create_repeated(dj_context *context, const float *x, uint64_t count, uint64_t dim,
                                 uint64_t blocks, struct dj_tensor *tensor)
{
    const uint64_t shape[4] = {1, count, 1, dim};
    const dj_result result = dj_tensor_create(context, DJ_FLOAT32, shape, x, tensor);
    tensor->shape[0] = blocks;
    tensor->stride[0] = 0;
    return result;
}

/* o [blocks + 1][rows][e] = attention of q [rows][d] to all that make_values made. */
static dj_result attend(struct study_device *device, const struct study_map *map,
                        const struct study_data *data, const struct dj_attention_params *params,
                        float decay, const float *q, uint32_t rows, uint32_t blocks, float *o)
{
    const uint64_t v_shape[4] = {blocks + 1, data->tokens, 1, data->value_dim};
    const uint64_t o_shape[4] = {blocks + 1, rows, 1, data->value_dim};
    float *values = make_values(data, blocks);
    dj_features *features = NULL;
    dj_attention *plan = NULL;
    struct dj_attention_args args = {0};
    dj_context *const context = device->context;
    dj_result r = values ? DJ_SUCCESS : DJ_ERROR_OUT_OF_HOST_MEMORY;
    r = r ? r : numbers_create(context, &map->numbers, &features);
    r = r ? r : find_plan(device, *params, decay, &plan);
    r = r ? r : create_repeated(context, q, rows, data->dim, blocks + 1, &args.q);
    r = r ? r : create_repeated(context, data->k, data->tokens, data->dim, blocks + 1, &args.k);
    r = r ? r : dj_tensor_create(context, DJ_FLOAT32, v_shape, values, &args.v);
    r = r ? r : dj_tensor_create(context, DJ_FLOAT32, o_shape, NULL, &args.o);
    args.features = features;
    r = r ? r : dj_attention_run(plan, &args);
    r = r ? r : dj_buffer_read(args.o.buffer, 0, o, sizeof(float) * o_shape[0] * rows * o_shape[3]);
    dj_buffer_destroy(&args.q.buffer);
    dj_buffer_destroy(&args.k.buffer);
    dj_buffer_destroy(&args.v.buffer);
    dj_buffer_destroy(&args.o.buffer);
    dj_features_destroy(&features);
    free(values);
    return r;
}

static struct dj_attention_params plan_params(const struct study_map *map,
                                              const struct study_data *data)
{
    const struct system *system = map->numbers.system;
    const bool linformer = system->map == DJ_MAP_LINFORMER;
    return (struct dj_attention_params){
        .map = system->map,
        .heads = 1,
        .dim = data->dim,
        .value_dim = data->value_dim,
        .features = system_has_features(system) ? map->numbers.features : 0,
        .max_tokens = linformer || system->map == DJ_MAP_COSFORMER ? data->tokens : 0,
        .causal = linformer ? DJ_OFF : DJ_ON,
        .key_normalise = map->key_normalise ? DJ_ON : DJ_DEFAULT,
        .scale = data->scale,
    };
}

int study_attend(struct study_device *device, const struct study_map *map,
                 const struct study_data *data, float *weights, float *out)
{
    const size_t tokens = data->tokens, e = data->value_dim, blocks = (tokens + e - 1) / e;
    float *o = malloc((blocks + 1) * tokens * e * sizeof(float));
    if (!o)
        return program_fail("out of memory");
    const struct dj_attention_params params = plan_params(map, data);
    const float decay = params.map == DJ_MAP_IDENTITY ? data->decay : 0;
    const dj_result result =
        attend(device, map, data, &params, decay, data->q, data->tokens, (uint32_t)blocks, o);
    for (size_t i = 0; i < tokens && !result; i++)
        for (size_t j = 0; j < tokens; j++)
            weights[i * tokens + j] = o[(j / e * tokens + i) * e + j % e];
    if (!result)
        memcpy(out, o + blocks * tokens * e, tokens * e * sizeof(float));
    free(o);
    return result ? program_fail_dj(map->numbers.system->name, result) : PROGRAM_SUCCESS;
}

/* The keys' normalisation needs the normaliser, which the kernel has not; so it is made up for:
 * phi(k) is divided by phi(0) . phi(k), the row of a query of 0 behind the others. */
int study_kernel(struct study_device *device, const struct study_map *map,
                 const struct study_data *data, float *kernel)
{
    const size_t tokens = data->tokens, rows = tokens + 1, e = data->value_dim;
    const size_t blocks = (tokens + e - 1) / e;
    float *o = malloc((blocks + 1) * rows * e * sizeof(float));
    float *q = calloc(rows * data->dim, sizeof(float));
    int code = o && q ? PROGRAM_SUCCESS : program_fail("out of memory");
    if (!code) {
        struct dj_attention_params params = plan_params(map, data);
        params.causal = params.normalise = DJ_OFF;
        params.key_normalise = DJ_DEFAULT;
        memcpy(q, data->q, tokens * data->dim * sizeof(float));
        const dj_result result =
            attend(device, map, data, &params, 0, q, (uint32_t)rows, (uint32_t)blocks, o);
        if (result)
            code = program_fail_dj(map->numbers.system->name, result);
    }
    for (size_t i = 0; i < tokens && !code; i++)
        for (size_t j = 0; j < tokens; j++) {
            const float *const column = o + j / e * rows * e + j % e;
            kernel[i * tokens + j] =
                map->key_normalise ? column[i * e] / column[tokens * e] : column[i * e];
        }
    free(q);
    free(o);
    return code;
}
