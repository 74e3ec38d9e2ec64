/* SPDX-License-Identifier: MIT */
/* Attention plans: their checks, their creation, and the public calls. */
#include "attention.h"

#include "feature_map.h"
#include "kernels.h"
#include "pipeline.h"
#include "shaders.h"

#include <math.h>
#include <stdlib.h>

static dj_result check_options(const struct dj_log *log, const struct dj_attention_params *params)
{
    if (params->causal > DJ_OFF)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT, "attention: causal is %u, no dj_switch",
                       params->causal);
    if (params->normalise > DJ_OFF)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT, "attention: normalise is %u, no dj_switch",
                       params->normalise);
    if (params->dct_path > DJ_DCT_PATH_DENSE)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT, "attention: unknown dct_path %u",
                       params->dct_path);
    if (!isfinite(params->scale) || params->scale < 0.0f)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT, "attention: scale %g is not above 0",
                       (double)params->scale);
    return DJ_SUCCESS;
}

static dj_result check_decay(const struct dj_log *log, const struct dj_attention_params *params)
{
    if (params->decay == NULL)
        return DJ_SUCCESS;
    if (params->causal == DJ_OFF)
        return dj_fail(log, DJ_ERROR_UNSUPPORTED, "attention: a decay needs causal attention");
    for (uint32_t h = 0; h < params->heads; h++) {
        const float gamma = params->decay[h];
        if (!(gamma >= 0x1p-126f && gamma <= 1.0f))
            return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                           "attention: decay of head %u is %g, outside 2^-126 to 1", h,
                           (double)gamma);
    }
    return DJ_SUCCESS;
}

static bool is_head_dim(uint32_t dim)
{
    return dim >= 4 && dim <= 256 && dim % 4 == 0;
}

static dj_result check_params(const struct dj_log *log, const struct dj_attention_params *params)
{
    if (!dj_reserved_is_zero(log, params->reserved, 4, "dj_attention_params"))
        return DJ_ERROR_VERSION;
    if (params->map > DJ_MAP_SOFTMAX_DCT)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT, "attention: unknown map %u", params->map);
    if (params->heads > 65535)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT, "attention: heads %u is above 65535",
                       params->heads);
    if (!is_head_dim(params->dim))
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                       "attention: dim %u is not 4 to 256 in steps of 4", params->dim);
    if (params->value_dim != 0 && !is_head_dim(params->value_dim))
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                       "attention: value_dim %u is not 4 to 256 in steps of 4", params->value_dim);
    const dj_result result = check_options(log, params);
    return result != DJ_SUCCESS ? result : check_decay(log, params);
}

/* gamma^n as mantissa in [1, 2), exponent, and what the mantissa lacks. In double with the exponent
 * kept apart: gamma^-32 may be beyond a double's range. */
static void decay_power(double gamma, int n, float power[4])
{
    double mantissa = 1.0;
    int exponent = 0, step;
    const double factor = n < 0 ? 1.0 / gamma : gamma;
    for (int i = abs(n); i > 0; i--) {
        mantissa = 2.0 * frexp(mantissa * factor, &step);
        exponent += step - 1;
    }
    power[0] = (float)mantissa;
    power[1] = (float)exponent;
    power[2] = (float)(mantissa - (double)power[0]);
    power[3] = 0.0f;
}

static dj_result create_decay(struct dj_attention *plan, const float *decay)
{
    /* a binding is never empty, even if no kernel reads it */
    const size_t heads = decay != NULL && plan->heads > 0 ? plan->heads : 1;
    float(*const powers)[4] = malloc(heads * DJ_DECAY_POWERS * sizeof *powers);
    if (powers == NULL)
        return dj_fail(&plan->context->log, DJ_ERROR_OUT_OF_HOST_MEMORY,
                       "attention: no host memory for the decay of %zu heads", heads);
    for (size_t h = 0; h < heads; h++) {
        const double gamma = decay != NULL && plan->heads > 0 ? (double)decay[h] : 1.0;
        for (int n = 0; n <= DJ_TILE_TOKENS; n++) {
            decay_power(gamma, n, powers[h * DJ_DECAY_POWERS + n]);
            decay_power(gamma, -n, powers[h * DJ_DECAY_POWERS + DJ_TILE_TOKENS + 1 + n]);
        }
    }
    const dj_result result = dj_buffer_create_table(
        plan->context, powers, heads * DJ_DECAY_POWERS * sizeof *powers, "decay", &plan->decay);
    free(powers);
    return result;
}

static dj_result create_pipelines(struct dj_attention *plan, bool decay)
{
    struct dj_context *const context = plan->context;
    const struct dj_constants features = {.count = 2,
                                          .values = {plan->dim, plan->map == DJ_MAP_SOFTMAX_DCT}};
    const struct dj_constants tiles = {
        .count = 5, .values = {plan->dim, plan->value_dim, decay, plan->causal, plan->normalise}};
    const struct dj_constants tiles_only = {.count = 3,
                                            .values = {plan->dim, plan->value_dim, decay}};
    dj_result result =
        dj_pipeline_create(context, &dj_shader_features, &features, &plan->pipelines.features);
    if (result == DJ_SUCCESS)
        result =
            dj_pipeline_create(context, &dj_shader_tile_sum, &tiles_only, &plan->pipelines.sum);
    if (result == DJ_SUCCESS)
        result =
            dj_pipeline_create(context, &dj_shader_tile_scan, &tiles_only, &plan->pipelines.scan);
    if (result == DJ_SUCCESS)
        result =
            dj_pipeline_create(context, &dj_shader_tile_output, &tiles, &plan->pipelines.output);
    return result;
}

dj_result dj_attention_create(dj_context *context, const struct dj_attention_params *params,
                              dj_attention **plan)
{
    if (plan != NULL)
        *plan = NULL;
    if (context == NULL)
        return DJ_ERROR_INVALID_ARGUMENT;
    if (params == NULL || plan == NULL)
        return dj_fail(&context->log, DJ_ERROR_INVALID_ARGUMENT, "dj_attention_create: %s is NULL",
                       params == NULL ? "params" : "plan");
    dj_result result = check_params(&context->log, params);
    if (result != DJ_SUCCESS)
        return result;

    const bool softmax = params->map == DJ_MAP_SOFTMAX_DCT;
    struct dj_attention *made = calloc(1, sizeof *made);
    if (made == NULL)
        return dj_fail(&context->log, DJ_ERROR_OUT_OF_HOST_MEMORY, "attention: no host memory");
    *made = (struct dj_attention){
        .context = context,
        .map = params->map,
        .heads = params->heads,
        .dim = params->dim,
        .value_dim = params->value_dim != 0 ? params->value_dim : params->dim,
        .causal = params->causal != DJ_OFF,
        .normalise = softmax ? params->normalise == DJ_ON : params->normalise != DJ_OFF,
        .scale = params->scale != 0.0f ? params->scale
                 : softmax             ? 1.0f
                                       : (float)(1.0 / sqrt((double)params->dim)),
    };
    result = dj_transform_create(context, softmax ? DJ_DCT_3 : DJ_DCT_2, params->dim,
                                 params->dct_path, &made->transform);
    if (result == DJ_SUCCESS)
        result = create_decay(made, params->decay);
    if (result == DJ_SUCCESS)
        result = create_pipelines(made, params->decay != NULL);
    if (result != DJ_SUCCESS) {
        dj_attention_destroy(&made);
        return result;
    }
    *plan = made;
    return DJ_SUCCESS;
}

void dj_attention_destroy(dj_attention **plan)
{
    if (plan == NULL || *plan == NULL)
        return;
    struct dj_attention *const old = *plan;
    dj_pipeline_destroy(old->context, &old->pipelines.output);
    dj_pipeline_destroy(old->context, &old->pipelines.scan);
    dj_pipeline_destroy(old->context, &old->pipelines.sum);
    dj_pipeline_destroy(old->context, &old->pipelines.features);
    dj_buffer_destroy(&old->decay);
    dj_transform_destroy(&old->transform);
    free(old);
    *plan = NULL;
}

static dj_result check_shape(const struct dj_log *log, const char *name,
                             const struct dj_tensor *tensor, const uint64_t want[4])
{
    const uint64_t *const s = tensor->shape;
    if (s[0] != want[0] || s[1] != want[1] || s[2] != want[2] || s[3] != want[3])
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                       "attention: %s has shape [%llu,%llu,%llu,%llu], not [%llu,%llu,%llu,%llu]",
                       name, (unsigned long long)s[0], (unsigned long long)s[1],
                       (unsigned long long)s[2], (unsigned long long)s[3],
                       (unsigned long long)want[0], (unsigned long long)want[1],
                       (unsigned long long)want[2], (unsigned long long)want[3]);
    return DJ_SUCCESS;
}

static dj_result check_tensors(const struct dj_attention *plan,
                               const struct dj_attention_args *args)
{
    const struct dj_log *log = &plan->context->log;
    const uint64_t batch = args->q.shape[0], tokens = args->q.shape[1];
    const uint64_t keys[4] = {batch, tokens, plan->heads, plan->dim};
    const uint64_t values[4] = {batch, tokens, plan->heads, plan->value_dim};
    const struct {
        const char *name;
        const struct dj_tensor *tensor;
        const uint64_t *shape;
    } rows[] = {{"q", &args->q, keys},
                {"k", &args->k, keys},
                {"v", &args->v, values},
                {"o", &args->o, values}};
    for (int i = 0; i < 4; i++) {
        dj_result result = check_shape(log, rows[i].name, rows[i].tensor, rows[i].shape);
        if (result == DJ_SUCCESS)
            result = dj_tensor_check(plan->context, rows[i].name, rows[i].tensor, i == 3);
        if (result != DJ_SUCCESS)
            return result;
        if (i < 3 && dj_tensor_overlap(rows[i].tensor, &args->o))
            return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT, "attention: o overlaps %s",
                           rows[i].name);
    }
    if (tokens > UINT32_MAX - DJ_TILE_TOKENS)
        return dj_fail(log, DJ_ERROR_LIMIT, "attention: %llu tokens in one call, at most 2^32 - 33",
                       (unsigned long long)tokens);
    return DJ_SUCCESS;
}

static dj_result check_features(const struct dj_attention *plan, const struct dj_features *features)
{
    const struct dj_log *log = &plan->context->log;
    if (features == NULL)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT, "attention: features is NULL");
    if (features->context != plan->context)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT, "attention: features are another context's");
    if (features->map != plan->map || features->dim != plan->dim)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                       "attention: features of map %u and dim %u for a plan of map %u and dim %u",
                       features->map, features->dim, plan->map, plan->dim);
    if (features->heads != 0 && features->heads != plan->heads)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                       "attention: features of %u heads for a plan of %u", features->heads,
                       plan->heads);
    return DJ_SUCCESS;
}

/* The pool may share memory with no tensor. */
static dj_result check_pool(const struct dj_attention *plan, const struct dj_attention_args *args)
{
    const struct dj_tensor *const tensors[4] = {&args->q, &args->k, &args->v, &args->o};
    const struct dj_tensor pool = dj_tensor_of_range(args->state, args->state_offset,
                                                     args->slot_count * dj_state_slot_size(plan));
    for (int i = 0; i < 4; i++) {
        if (dj_tensor_overlap(&pool, tensors[i]))
            return dj_fail(&plan->context->log, DJ_ERROR_INVALID_ARGUMENT,
                           "attention: the state slots overlap a tensor");
    }
    return DJ_SUCCESS;
}

/* The checks that needs and record share. */
static dj_result check_call(const struct dj_attention *plan, const struct dj_attention_args *args)
{
    if (!dj_reserved_is_zero(&plan->context->log, args->reserved, 4, "dj_attention_args"))
        return DJ_ERROR_VERSION;
    dj_result result = check_tensors(plan, args);
    if (result == DJ_SUCCESS)
        result = check_features(plan, args->features);
    if (result == DJ_SUCCESS)
        result = dj_slots_check(plan, args, args->q.shape[0]);
    if (result == DJ_SUCCESS && dj_slots_used(args))
        result = check_pool(plan, args);
    return result;
}

/* Whether there is anything to record: state moves even where there are no tokens. */
static bool is_empty(const struct dj_attention *plan, const struct dj_attention_args *args)
{
    return args->q.shape[0] == 0 || plan->heads == 0 ||
           (args->q.shape[1] == 0 && !dj_slots_used(args));
}

static uint64_t ring_size(const struct dj_attention *plan, const struct dj_attention_args *args)
{
    return dj_slots_used(args)
               ? dj_recorder_ring_size(plan->context, args->q.shape[0] * 2 * sizeof(int32_t))
               : 0;
}

/* Arithmetic of one token and head: state update and output 4 m e, both transforms, as even and odd
 * halves, 2 d^2. */
static void count_work(const struct dj_attention *plan, const struct dj_attention_args *args,
                       struct dj_needs *needs)
{
    const uint64_t rows = args->q.shape[0] * args->q.shape[1] * plan->heads;
    const uint64_t dim = plan->dim, value_dim = plan->value_dim;
    needs->flops = rows * (4 * dim * value_dim + 2 * dim * dim);
    needs->bytes = rows * 8 * (dim + value_dim);
}

dj_result dj_attention_needs(const dj_attention *plan, const struct dj_attention_args *args,
                             struct dj_needs *needs)
{
    if (plan == NULL)
        return DJ_ERROR_INVALID_ARGUMENT;
    if (needs == NULL)
        return dj_fail(&plan->context->log, DJ_ERROR_INVALID_ARGUMENT,
                       "dj_attention_needs: needs is NULL");
    *needs = (struct dj_needs){.scratch_alignment = plan->context->info.offset_alignment,
                               .slot_size = dj_state_slot_size(plan),
                               .slot_alignment = 16};
    if (args == NULL)
        return DJ_SUCCESS;
    dj_result result = check_call(plan, args);
    if (result != DJ_SUCCESS || is_empty(plan, args))
        return result;
    struct dj_tiled_layout layout;
    result = dj_tiled_layout(plan, args, args->scratch.size, &layout);
    if (result != DJ_SUCCESS)
        return result;
    if (layout.parts > UINT32_MAX / dj_tiled_dispatches(plan))
        return dj_fail(&plan->context->log, DJ_ERROR_LIMIT, "attention: %llu parts are too many",
                       (unsigned long long)layout.parts);
    needs->scratch_size = layout.total;
    needs->parts = (uint32_t)layout.parts;
    needs->dispatches = needs->parts * dj_tiled_dispatches(plan);
    needs->ring_size = ring_size(plan, args);
    count_work(plan, args, needs);
    return DJ_SUCCESS;
}

static dj_result check_scratch(const struct dj_attention *plan,
                               const struct dj_attention_args *args, uint64_t need)
{
    const uint64_t slots = args->slot_count * dj_state_slot_size(plan);
    const struct dj_tensor pool = dj_tensor_of_range(args->state, args->state_offset, slots);
    const struct dj_tensor *const tensors[5] = {&args->q, &args->k, &args->v, &args->o, &pool};
    return dj_scratch_check(plan->context, &args->scratch, need, tensors,
                            dj_slots_used(args) ? 5 : 4);
}

/* Checks the slot indices and puts them, as pairs (in, out), into the ring. */
static dj_result push_slots(const struct dj_attention *plan, struct dj_recorder *recorder,
                            const struct dj_attention_args *args, VkDescriptorBufferInfo *slots)
{
    const uint64_t batch = args->q.shape[0];
    *slots = (VkDescriptorBufferInfo){0};
    if (!dj_slots_used(args))
        return DJ_SUCCESS;
    void *const work = dj_recorder_work(recorder, batch * sizeof(uint64_t));
    const dj_result result = dj_slots_check_indices(plan, args, batch, work);
    if (result != DJ_SUCCESS)
        return result;
    int32_t *const pairs = work;
    for (uint64_t b = 0; b < batch; b++) {
        pairs[2 * b] = args->slots_in != NULL ? args->slots_in[b] : -1;
        pairs[2 * b + 1] = args->slots_out != NULL ? args->slots_out[b] : -1;
    }
    *slots = dj_recorder_ring_push(recorder, pairs, batch * 2 * sizeof(int32_t));
    return DJ_SUCCESS;
}

/* Records parts first .. first + count - 1, which is all that differs between a caller's recording
 * and one submission of run. */
static dj_result record_parts(const struct dj_attention *plan, struct dj_recorder *recorder,
                              const struct dj_attention_args *args,
                              const struct dj_tiled_layout *layout, uint64_t first, uint64_t count)
{
    const dj_result ready =
        dj_recorder_reserve(recorder, (uint32_t)count * dj_tiled_dispatches(plan),
                            count > 0 ? ring_size(plan, args) : 0);
    if (ready != DJ_SUCCESS)
        return ready;
    VkDescriptorBufferInfo slots;
    const dj_result result = count > 0 ? push_slots(plan, recorder, args, &slots) : DJ_SUCCESS;
    if (result != DJ_SUCCESS)
        return result;
    dj_recorder_barriers_before(recorder, args->barriers);
    for (uint64_t i = 0; i < count; i++) {
        if (i > 0)
            dj_recorder_write_to_read(recorder);
        dj_tiled_record(plan, recorder, args, layout, &slots, first + i);
    }
    dj_recorder_barriers_after(recorder, args->barriers);
    return DJ_SUCCESS;
}

static dj_result check_barriers(const struct dj_attention *plan, uint32_t barriers)
{
    if ((barriers & ~(uint32_t)DJ_BARRIERS) != 0)
        return dj_fail(&plan->context->log, DJ_ERROR_INVALID_ARGUMENT,
                       "attention: barriers 0x%x has unknown bits", barriers);
    return DJ_SUCCESS;
}

dj_result dj_attention_record(const dj_attention *plan, dj_recorder *recorder,
                              const struct dj_attention_args *args)
{
    if (plan == NULL)
        return DJ_ERROR_INVALID_ARGUMENT;
    if (recorder == NULL || args == NULL)
        return dj_fail(&plan->context->log, DJ_ERROR_INVALID_ARGUMENT,
                       "dj_attention_record: %s is NULL", args == NULL ? "args" : "recorder");
    if (dj_recorder_context(recorder) != plan->context)
        return dj_fail(&plan->context->log, DJ_ERROR_INVALID_ARGUMENT,
                       "attention: the recorder is another context's");
    struct dj_needs needs;
    dj_result result = dj_attention_needs(plan, args, &needs);
    if (result == DJ_SUCCESS)
        result = check_barriers(plan, args->barriers);
    if (result == DJ_SUCCESS && needs.parts > 0)
        result = check_scratch(plan, args, needs.scratch_size);
    if (result != DJ_SUCCESS)
        return result;
    struct dj_tiled_layout layout = {0};
    if (needs.parts > 0)
        result = dj_tiled_layout(plan, args, args->scratch.size, &layout);
    if (result != DJ_SUCCESS)
        return result;
    return record_parts(plan, recorder, args, &layout, 0, needs.parts);
}

/* One part a submission: no submission grows with the number of tokens. */
static dj_result run_parts(const struct dj_attention *plan, const struct dj_attention_args *args,
                           const struct dj_needs *needs)
{
    struct dj_tiled_layout layout;
    dj_result result = dj_tiled_layout(plan, args, args->scratch.size, &layout);
    if (result != DJ_SUCCESS)
        return result;
    dj_recorder *recorder;
    result = dj_recorder_create(plan->context,
                                &(struct dj_recorder_params){
                                    .dispatches = dj_tiled_dispatches(plan),
                                    .ring_size = needs->ring_size,
                                },
                                &recorder);
    for (uint64_t part = 0; result == DJ_SUCCESS && part < layout.parts; part++) {
        result = dj_recorder_begin(recorder);
        if (result == DJ_SUCCESS)
            result = record_parts(plan, recorder, args, &layout, part, 1);
        if (result == DJ_SUCCESS)
            result = dj_recorder_submit(recorder);
        if (result == DJ_SUCCESS)
            result = dj_recorder_wait(recorder, UINT64_MAX);
    }
    dj_recorder_destroy(&recorder);
    return result;
}

dj_result dj_attention_run(const dj_attention *plan, const struct dj_attention_args *args)
{
    if (plan == NULL)
        return DJ_ERROR_INVALID_ARGUMENT;
    if (args == NULL)
        return dj_fail(&plan->context->log, DJ_ERROR_INVALID_ARGUMENT,
                       "dj_attention_run: args is NULL");
    struct dj_attention_args own = *args;
    own.barriers = DJ_BARRIER_BEFORE | DJ_BARRIER_AFTER_COMPUTE | DJ_BARRIER_AFTER_HOST;
    if (own.scratch.buffer == NULL)
        own.scratch = (struct dj_scratch){0};
    struct dj_needs needs;
    dj_result result = dj_attention_needs(plan, &own, &needs);
    if (result == DJ_SUCCESS)
        result = check_barriers(plan, args->barriers);
    if (result != DJ_SUCCESS || needs.parts == 0)
        return result;
    struct dj_buffer *scratch = NULL;
    if (own.scratch.buffer == NULL) {
        result = dj_buffer_create_named(plan->context, needs.scratch_size, DJ_MEMORY_DEVICE,
                                        "attention scratch", &scratch);
        own.scratch = (struct dj_scratch){.buffer = scratch, .size = needs.scratch_size};
    }
    if (result == DJ_SUCCESS)
        result = check_scratch(plan, &own, needs.scratch_size);
    if (result == DJ_SUCCESS)
        result = run_parts(plan, &own, &needs);
    dj_buffer_destroy(&scratch);
    return result;
}
