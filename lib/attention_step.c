/* SPDX-License-Identifier: MIT */
/* The step family: calls of one token a sequence, as decoding makes them, in one dispatch. */
#include "attention.h"

#include "decay.h"
#include "feature_map.h"
#include "kernels.h"
#include "shaders.h"
#include "size.h"
#include "tuning.h"

#include <math.h>
#include <stdlib.h>

enum {
    MOST_MEMBERS = 16 /* of a group: their outputs are in registers */
};

static bool fits(const struct dj_attention *plan, uint32_t threads)
{
    const uint64_t words =
        DJ_STEP_SHARED(plan->dim, (uint64_t)plan->features, 1 + plan->group, threads);
    return words * sizeof(uint32_t) <= plan->context->info.shared_memory;
}

/* What a plan has for this kernel: gamma of each head, then the matrix of the transforms. */
static dj_result create_table(struct dj_attention *plan, const float *decay)
{
    const size_t heads = decay != NULL ? plan->key_heads : 0;
    const bool transform = plan->kind->projection == DJ_PROJECTION_DCT;
    const size_t matrix = transform ? (size_t)plan->dim * plan->features : 0;
    plan->step.matrix = (uint32_t)(4 * heads);
    /* a binding is never empty, even if no kernel reads it */
    const size_t size = (4 * heads + matrix > 0 ? 4 * heads + matrix : 1) * sizeof(float);
    float *const table = calloc(1, size);
    if (table == NULL ||
        (transform && !dj_projection_matrix(plan->projection, table + 4 * heads))) {
        free(table);
        return dj_fail(&plan->context->log, DJ_ERROR_OUT_OF_HOST_MEMORY,
                       "attention: no host memory for a matrix of %zu numbers", matrix);
    }
    for (size_t h = 0; h < heads; h++)
        dj_decay_split((double)decay[h], table + 4 * h);
    const dj_result result =
        dj_buffer_create_table(plan->context, table, size, "step table", &plan->step.table);
    free(table);
    return result;
}

static dj_result create(struct dj_attention *plan, const struct dj_attention_params *params)
{
    struct dj_context *const context = plan->context;
    const struct dj_map_kind *const kind = plan->kind;
    const uint32_t threads = dj_tuning_of(context->info.type)->step_threads;
    const bool chosen =
        (params->family != DJ_FAMILY_DEFAULT && params->family != DJ_FAMILY_TUNED) ||
        (kind->projection == DJ_PROJECTION_DCT && params->dct_path != DJ_DCT_PATH_DEFAULT);
    /* heads agree on a slot's header across workgroups, for which memory must be ordered between
     * these */
    if (chosen || context->narrow_scope || !plan->causal || kind->places ||
        plan->group > MOST_MEMBERS || plan->heads == 0 || !fits(plan, threads))
        return DJ_SUCCESS;
    const uint32_t options = (params->decay != NULL ? DJ_STEP_DECAY : 0) |
                             (plan->linear ? DJ_STEP_LINEAR : 0) |
                             (plan->key_normalise ? DJ_STEP_KEY_NORMALISE : 0) |
                             (kind->projection == DJ_PROJECTION_DCT ? DJ_STEP_TRANSFORM : 0) |
                             (kind->projection == DJ_PROJECTION_MATRIX ? DJ_STEP_DIRECTIONS : 0);
    const struct dj_constants constants = {
        .count = 13,
        .values = {threads, plan->dim, plan->features, plan->value_dim, plan->group, plan->feature,
                   plan->denominator, options, plan->q_type, plan->k_type, plan->v_type,
                   plan->o_type, dj_tuning_of(context->info.type)->step_ahead}};
    dj_result result = create_table(plan, params->decay);
    if (result != DJ_SUCCESS)
        return result;
    result = dj_pipeline_try(context, plan->small_outputs ? &dj_shader_step_16 : &dj_shader_step,
                             &constants, &plan->step.attend);
    return result == DJ_ERROR_UNSUPPORTED ? DJ_SUCCESS : result;
}

/* Slots in and out are read by one binding: both are the host's, or lie in one buffer. */
static bool binds_indices(const struct dj_call *call)
{
    const struct dj_indices *const in = &call->args->slots_in, *const out = &call->args->slots_out;
    if (!dj_indices_given(in) || !dj_indices_given(out))
        return true;
    const uint64_t apart =
        in->offset > out->offset ? in->offset - out->offset : out->offset - in->offset;
    const struct dj_device_info *const info = &call->plan->context->info;
    return in->buffer == out->buffer &&
           apart + info->offset_alignment + call->keys.sequences * sizeof(int32_t) <=
               info->max_storage_range;
}

bool dj_step_can(const struct dj_call *call)
{
    const struct dj_attention *const plan = call->plan;
    const struct dj_attention_args *const args = call->args;
    const struct dj_device_info *const info = &plan->context->info;
    return plan->step.attend.handle != VK_NULL_HANDLE && call->keys.longest == 1 &&
           !dj_call_has_table(call, &call->keys) && args->query_scales.shape[3] == 0 &&
           args->key_scales.shape[3] == 0 && !dj_indices_given(&args->accepted) &&
           binds_indices(call) && dj_call_pool_fits(call) && dj_call_binds(call, &args->q) &&
           dj_call_binds(call, &args->k) && dj_call_binds(call, &args->v) &&
           dj_call_binds(call, &args->o) &&
           call->keys.sequences * plan->key_heads <=
               (uint64_t)info->max_workgroups[0] * info->max_workgroups[1];
}

static dj_result lay_out(const struct dj_call *call, uint64_t budget, struct dj_layout *layout)
{
    (void)call;
    (void)budget;
    *layout = (struct dj_layout){.pieces = 1, .work = UINT64_MAX}; /* it cannot be cut */
    return DJ_SUCCESS;
}

static struct dj_view view(const struct dj_tensor *tensor)
{
    const struct dj_box all = {.count = {tensor->shape[0], 1, tensor->shape[2]}};
    return dj_tensor_view(tensor, &all);
}

/* The binding of both; the bases become numbers from its start. */
static struct dj_binding bind_indices(const struct dj_call_indices *indices, struct step_push *push)
{
    const struct dj_bound_indices *const in = &indices->slots_in, *const out = &indices->slots_out;
    const bool given[2] = {in->binding.buffer != VK_NULL_HANDLE,
                           out->binding.buffer != VK_NULL_HANDLE};
    const struct dj_binding *const a = given[0] ? &in->binding : &out->binding;
    const struct dj_binding *const b = given[1] ? &out->binding : &in->binding;
    const uint64_t start = a->offset < b->offset ? a->offset : b->offset;
    const uint64_t a_end = a->offset + a->range, b_end = b->offset + b->range;
    push->in_base = push->out_base = DJ_STEP_NO_SLOTS;
    if (given[0])
        push->in_base = in->base + (uint32_t)((in->binding.offset - start) / sizeof(int32_t));
    if (given[1])
        push->out_base = out->base + (uint32_t)((out->binding.offset - start) / sizeof(int32_t));
    return (struct dj_binding){
        .buffer = a->buffer, .offset = start, .range = (a_end > b_end ? a_end : b_end) - start};
}

static void record(const struct dj_call *call, struct dj_recorder *recorder,
                   struct dj_layout *layout, const struct dj_call_indices *indices, uint64_t piece)
{
    (void)layout;
    (void)piece;
    const struct dj_attention *const plan = call->plan;
    const struct dj_attention_args *const args = call->args;
    const struct dj_features *const numbers = args->features;
    const struct dj_view q = view(&args->q), k = view(&args->k), v = view(&args->v),
                         o = view(&args->o);
    const struct dj_binding table = dj_buffer_whole(plan->step.table);
    struct step_push push = {
        .sequences = (uint32_t)call->keys.sequences,
        .heads = plan->key_heads,
        .map = plan->map,
        .slot_count = args->slot_count,
        .in_base = DJ_STEP_NO_SLOTS,
        .out_base = DJ_STEP_NO_SLOTS,
        .matrix = plan->step.matrix,
        .factor = sqrtf(plan->scale),
        .q_base = q.base,
        .q_stride = {q.stride[0], q.stride[2]},
        .k_base = k.base,
        .k_stride = {k.stride[0], k.stride[2]},
        .v_base = v.base,
        .v_stride = {v.stride[0], v.stride[2]},
        .o_base = o.base,
        .o_stride = {o.stride[0], o.stride[2]},
    };
    /* what the kernel will not touch is bound to something harmless all the same */
    struct dj_binding bindings[8] = {q.binding, k.binding, v.binding, o.binding,
                                     table,     table,     table,     table};
    if (call->slots) {
        bindings[4] = dj_call_slots(call, false, -1, &push.slots_base, &push.slot_words);
        bindings[6] = bind_indices(indices, &push);
    }
    if (numbers != NULL) {
        bindings[5] = dj_buffer_whole(numbers->tables);
        push.head_stride = numbers->head_stride;
        push.weights = numbers->weights;
        push.square_factor = numbers->square_factor;
    }
    if (plan->kind->projection == DJ_PROJECTION_MATRIX) {
        push.matrix = (uint32_t)(numbers->directions / sizeof(float));
        push.matrix_stride = numbers->heads > 0 ? plan->dim * plan->features : 0;
    }
    uint32_t groups[3];
    dj_transform_fold(plan->context, (uint64_t)push.sequences * push.heads, groups);
    dj_recorder_dispatch(recorder, plan->step.attend, bindings, 8, &push, sizeof push, groups);
}

static uint32_t dispatches(const struct dj_call *call, const struct dj_layout *layout)
{
    (void)call;
    (void)layout;
    return 1;
}

const struct dj_kernel_family dj_family_step = {
    .name = DJ_FAMILY_STEP,
    .dispatches = dispatches,
    .layout = lay_out,
    .record = record,
    .create = create,
};
