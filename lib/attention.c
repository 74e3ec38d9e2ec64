/* SPDX-License-Identifier: MIT */
/* Attention plans: their checks, their creation, and the public calls. */
#include "attention.h"

#include "aside.h"
#include "kernels.h"
#include "pipeline.h"
#include "shaders.h"
#include "size.h"

#include <math.h>
#include <stdlib.h>

static dj_result check_switches(const struct dj_log *log, const struct dj_attention_params *params)
{
    const struct {
        const char *name;
        uint32_t value, most;
    } fields[] = {
        {"causal", params->causal, DJ_OFF},
        {"normalise", params->normalise, DJ_OFF},
        {"key_normalise", params->key_normalise, DJ_OFF},
        {"dct_path", params->dct_path, DJ_DCT_PATH_DENSE},
        {"family", params->family, DJ_FAMILY_TUNED},
        {"q_type", params->q_type, DJ_BFLOAT16},
        {"k_type", params->k_type, DJ_BFLOAT16},
        {"v_type", params->v_type, DJ_BFLOAT16},
        {"o_type", params->o_type, DJ_BFLOAT16},
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        if (fields[i].value > fields[i].most)
            return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT, "attention: %s is %u, at most %u",
                           fields[i].name, fields[i].value, fields[i].most);
    }
    if (!isfinite(params->scale) || params->scale < 0.0f)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT, "attention: scale %g is not above 0",
                       (double)params->scale);
    return DJ_SUCCESS;
}

static bool is_head_dim(uint32_t dim)
{
    return dim >= 4 && dim <= 256 && dim % 4 == 0;
}

/* The features that 0 stands for. */
static uint32_t standard_features(const struct dj_map_kind *kind, uint32_t dim)
{
    return kind->fixed_per_dim > 0 ? kind->fixed_per_dim * dim : dim;
}

static dj_result check_max_tokens(const struct dj_log *log, uint32_t tokens,
                                  const struct dj_map_kind *kind)
{
    const bool bounded = kind->places || kind->projections;
    const uint32_t most = kind->places ? DJ_MOST_PLACES : UINT32_MAX;
    if (!bounded && tokens != 0)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                       "attention: max_tokens is %u and must be 0 for %s", tokens, kind->name);
    if (bounded && (tokens == 0 || tokens > most))
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                       "attention: max_tokens is %u and must be 1 to %u for %s", tokens, most,
                       kind->name);
    return DJ_SUCCESS;
}

static dj_result check_sizes(const struct dj_log *log, const struct dj_attention_params *params,
                             const struct dj_map_kind *kind)
{
    const struct dj_feature_range range = dj_map_range(kind, params->dim);
    if (params->heads > DJ_MOST_HEADS)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT, "attention: heads %u is above %u",
                       params->heads, DJ_MOST_HEADS);
    if (params->key_heads > DJ_MOST_HEADS)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT, "attention: key_heads %u is above %u",
                       params->key_heads, DJ_MOST_HEADS);
    if (params->key_heads != 0 && params->heads % params->key_heads != 0)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                       "attention: key_heads %u is no divisor of heads %u", params->key_heads,
                       params->heads);
    if (!is_head_dim(params->dim))
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                       "attention: dim %u is not 4 to 256 in steps of 4", params->dim);
    if (params->value_dim != 0 && !is_head_dim(params->value_dim))
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                       "attention: value_dim %u is not 4 to 256 in steps of 4", params->value_dim);
    if (params->features != 0 && !dj_map_allows(kind, params->dim, params->features))
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                       "attention: %u features, %s with dim %u has %u to %u in steps of %u",
                       params->features, kind->name, params->dim, range.least, range.most,
                       range.step);
    return check_max_tokens(log, params->max_tokens, kind);
}

static dj_result check_decay(const struct dj_log *log, const struct dj_attention_params *params,
                             uint32_t heads)
{
    for (uint32_t h = 0; params->decay != NULL && h < heads; h++) {
        const float gamma = params->decay[h];
        if (!(gamma >= 0x1p-126f && gamma <= 1.0f))
            return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                           "attention: decay of key head %u is %g, outside 2^-126 to 1", h,
                           (double)gamma);
    }
    return DJ_SUCCESS;
}

/* What each switch comes to. */
struct options {
    bool causal, normalise, key_normalise;
};

static struct options resolve(const struct dj_attention_params *params,
                              const struct dj_map_kind *kind)
{
    return (struct options){
        .causal = params->causal == DJ_DEFAULT ? !kind->projections : params->causal == DJ_ON,
        .normalise =
            params->normalise == DJ_DEFAULT ? kind->normalised : params->normalise == DJ_ON,
        .key_normalise = params->key_normalise == DJ_ON,
    };
}

static dj_result check_combination(const struct dj_log *log,
                                   const struct dj_attention_params *params,
                                   const struct dj_map_kind *kind)
{
    const struct options options = resolve(params, kind);
    if (kind->softmax && params->decay != NULL)
        return dj_fail(log, DJ_ERROR_STATELESS, "attention: a decay for %s", kind->name);
    if (kind->never_normalised && options.normalise)
        return dj_fail(log, DJ_ERROR_NORMALISER, "attention: a normaliser for %s", kind->name);
    if (params->decay != NULL && !options.causal)
        return dj_fail(log, DJ_ERROR_UNSUPPORTED, "attention: a decay needs causal attention");
    if (kind->projections && options.causal)
        return dj_fail(log, DJ_ERROR_UNSUPPORTED, "attention: %s cannot be causal", kind->name);
    if (kind->softmax && !options.normalise)
        return dj_fail(log, DJ_ERROR_UNSUPPORTED, "attention: %s is always normalised", kind->name);
    if (options.key_normalise && !(kind->exponential && options.normalise))
        return dj_fail(log, DJ_ERROR_UNSUPPORTED,
                       "attention: key_normalise for %s%s: it is for WDCF, PFF and PRF with the "
                       "normaliser",
                       kind->name, options.normalise ? "" : " without a normaliser");
    if (kind->softmax && params->family != DJ_FAMILY_DEFAULT)
        return dj_fail(log, DJ_ERROR_UNSUPPORTED, "attention: %s has no family %u", kind->name,
                       params->family);
    return DJ_SUCCESS;
}

static dj_result check_params(const struct dj_log *log, const struct dj_attention_params *params)
{
    if (!dj_reserved_is_zero(log, params->reserved, 4, "dj_attention_params"))
        return DJ_ERROR_VERSION;
    if (params->padding != 0)
        return dj_fail(log, DJ_ERROR_VERSION, "dj_attention_params.padding is %u, not 0",
                       params->padding);
    const struct dj_map_kind *const kind = dj_map_find(params->map);
    if (kind == NULL)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT, "attention: unknown map %u", params->map);
    dj_result result = check_switches(log, params);
    if (result == DJ_SUCCESS)
        result = check_sizes(log, params, kind);
    if (result == DJ_SUCCESS)
        result = check_combination(log, params, kind);
    if (result == DJ_SUCCESS)
        result = check_decay(log, params, params->key_heads ? params->key_heads : params->heads);
    return result;
}

static struct dj_attention describe(dj_context *context, const struct dj_attention_params *params)
{
    const struct dj_map_kind *const kind = dj_map_find(params->map);
    const struct options options = resolve(params, kind);
    const uint32_t key_heads = params->key_heads != 0 ? params->key_heads : params->heads;
    const bool plain = !options.normalise && kind->plain_feature != 0;
    const float standard_scale = kind->unit_scale ? 1.0f : (float)(1.0 / sqrt((double)params->dim));
    return (struct dj_attention){
        .context = context,
        .family = kind->softmax ? &dj_family_softmax : &dj_family_tiled,
        .kind = kind,
        .map = params->map,
        .heads = params->heads,
        .key_heads = key_heads,
        .group = key_heads > 0 ? params->heads / key_heads : 1,
        .dim = params->dim,
        .value_dim = params->value_dim != 0 ? params->value_dim : params->dim,
        .features = params->features != 0 ? params->features : standard_features(kind, params->dim),
        .max_tokens = params->max_tokens,
        .causal = options.causal,
        .normalise = options.normalise,
        .key_normalise = options.key_normalise,
        .linear = options.normalise ? kind->linear : kind->linear || kind->plain_linear,
        .feature = plain ? kind->plain_feature : kind->feature,
        .denominator = options.normalise ? kind->denominator : DJ_DENOMINATOR_NONE,
        .small_outputs = params->o_type != DJ_FLOAT32 && context->storage_16bit,
        .q_type = params->q_type,
        .k_type = params->k_type,
        .v_type = params->v_type,
        .o_type = params->o_type,
        .scale = params->scale != 0.0f ? params->scale : standard_scale,
    };
}

/* A family of a plan to be created. */
struct creation {
    struct dj_attention *plan;
    const struct dj_attention_params *params;
    const struct dj_kernel_family *family;
    struct dj_aside aside;
};

static dj_result create_family(void *user)
{
    const struct creation *const creation = user;
    return creation->family->create(creation->plan, creation->params);
}

/* All families of linear attention; drivers compile their kernels at the same time. */
static dj_result create_linear(struct dj_attention *plan, const struct dj_attention_params *params)
{
    struct creation creations[] = {{.family = &dj_family_resident},
                                   {.family = &dj_family_chunked},
                                   {.family = &dj_family_step},
                                   {.family = &dj_family_tiled}};
    enum {
        COUNT = sizeof creations / sizeof *creations
    };
    dj_result result = dj_resident_choose(plan, params);
    if (result == DJ_SUCCESS)
        result = dj_tiled_prepare(plan, params);
    if (result != DJ_SUCCESS)
        return result;
    int begun = 0;
    while (begun < COUNT && result == DJ_SUCCESS) {
        struct creation *const creation = &creations[begun++];
        creation->plan = plan;
        creation->params = params;
        result = dj_aside_start(&creation->aside, plan->context->threads && begun < COUNT,
                                create_family, creation);
    }
    for (int i = 0; i < begun; i++) {
        const dj_result other = dj_aside_join(&creations[i].aside);
        result = result == DJ_SUCCESS ? other : result;
    }
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
    struct dj_attention *made = malloc(sizeof *made);
    if (made == NULL)
        return dj_fail(&context->log, DJ_ERROR_OUT_OF_HOST_MEMORY, "attention: no host memory");
    *made = describe(context, params);
    result = dj_pipeline_get(context, &dj_shader_spans, NULL, &made->spans);
    if (result == DJ_SUCCESS)
        result = made->family == &dj_family_tiled ? create_linear(made, params)
                                                  : made->family->create(made, params);
    if (result == DJ_SUCCESS && params->family == DJ_FAMILY_TUNED)
        result = dj_choices_create(made);
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
    dj_choices_destroy(old);
    dj_buffer_destroy(&old->decay);
    dj_buffer_destroy(&old->resident.decay);
    dj_buffer_destroy(&old->step.table);
    dj_buffer_destroy(&old->chunked.matrix);
    dj_projection_destroy(&old->projection);
    free(old);
    *plan = NULL;
}

/* Whether there is nothing to record: state moves even where there are no tokens. */
static bool is_empty(const struct dj_call *call)
{
    return call->keys.sequences == 0 || call->plan->heads == 0 ||
           (call->queries.longest == 0 && !call->slots);
}

uint64_t dj_call_row_work(const struct dj_attention *plan)
{
    const uint64_t d = plan->dim, m = plan->features;
    const uint64_t project = plan->kind->projection == DJ_PROJECTION_DCT      ? d * m
                             : plan->kind->projection == DJ_PROJECTION_MATRIX ? 2 * d * m
                                                                              : m;
    return 2 * m * plan->value_dim + project;
}

/* Arithmetic of one token and query head: softmax attention 2 (d + e) for each key it sees, all
 * others the state's update and the output 4 m e, and what makes features. UINT64_MAX if more. */
static void count_work(const struct dj_call *call, struct dj_needs *needs)
{
    const struct dj_attention *const plan = call->plan;
    const struct dj_attention_args *const args = call->args;
    const uint64_t queries = dj_times(args->q.shape[0], args->q.shape[1]);
    const uint64_t keys = dj_times(args->k.shape[0], args->k.shape[1]);
    const uint64_t d = plan->dim, e = plan->value_dim, m = plan->features;
    const uint64_t query_rows = dj_times(queries, plan->heads);
    const uint64_t key_rows = dj_times(keys, plan->key_heads);
    if (plan->map == DJ_MAP_SOFTMAX) {
        const uint64_t keys_seen = call->keys.longest;
        const uint64_t seen = plan->causal ? (keys_seen + 1) / 2 : keys_seen;
        needs->flops = dj_times(query_rows, seen * 2 * (d + e));
    } else if (plan->map == DJ_MAP_LINFORMER) {
        needs->flops = dj_times(dj_plus(query_rows, key_rows), m * 2 * (d + e));
    } else {
        needs->flops = dj_times(dj_plus(query_rows, key_rows), dj_call_row_work(plan));
    }
    needs->bytes = dj_plus(
        dj_times(query_rows, d * dj_type_size(plan->q_type) + e * dj_type_size(plan->o_type)),
        dj_times(key_rows, d * dj_type_size(plan->k_type) + e * dj_type_size(plan->v_type)));
}

dj_result dj_attention_check(const struct dj_attention *plan, const struct dj_attention_args *args,
                             bool placed, struct dj_call *call, struct dj_needs *needs)
{
    *needs = (struct dj_needs){.scratch_alignment = plan->context->info.offset_alignment,
                               .slot_size = dj_state_slot_size(plan),
                               .slot_alignment = 16};
    if (args == NULL)
        return DJ_SUCCESS;
    const dj_result result = dj_call_check(plan, args, placed, call);
    if (result != DJ_SUCCESS || is_empty(call))
        return result;
    count_work(call, needs);
    call->max_work = args->max_work < needs->flops ? args->max_work : 0;
    call->atomic = call->max_work > 0;
    return DJ_SUCCESS;
}

/* The family's layout for the memory that is given. */
static dj_result find_layout(const struct dj_call *call, struct dj_layout *layout)
{
    const struct dj_kernel_family *const family = call->family;
    dj_result result = family->layout(call, call->args->scratch.size, layout);
    /* what needs says of memory, given as memory, must come to the same pieces */
    for (uint64_t total = UINT64_MAX; result == DJ_SUCCESS && layout->total < total;) {
        total = layout->total;
        if (total > 0)
            result = family->layout(call, total, layout);
    }
    return result;
}

uint64_t dj_layout_dispatches(const struct dj_call *call, const struct dj_layout *layout,
                              uint64_t first, uint64_t count)
{
    return count * call->family->dispatches(call, layout) +
           (first + count == layout->pieces ? layout->copies : 0);
}

dj_result dj_attention_lay_out(struct dj_call *call, struct dj_layout *layout,
                               struct dj_needs *needs)
{
    const struct dj_log *const log = &call->plan->context->log;
    *layout = (struct dj_layout){0};
    if (is_empty(call))
        return DJ_SUCCESS;
    call->atomic = call->atomic && call->slots && dj_indices_given(&call->args->slots_out);
    call->family = dj_step_can(call)       ? &dj_family_step
                   : dj_resident_can(call) ? &dj_family_resident
                   : dj_chunked_can(call)  ? &dj_family_chunked
                                           : call->plan->family;
    const dj_result result = find_layout(call, layout);
    if (result != DJ_SUCCESS)
        return result;
    if (layout->copies > DJ_MOST_COPIES)
        return dj_fail(log, DJ_ERROR_LIMIT,
                       "attention: the last part would copy states in %llu dispatches, at most %d",
                       (unsigned long long)layout->copies, DJ_MOST_COPIES);
    if (layout->pieces > (UINT32_MAX - layout->copies) / call->family->dispatches(call, layout))
        return dj_fail(
            log, DJ_ERROR_LIMIT,
            "attention: %llu pieces of %u dispatches each and %llu copies; a call has at "
            "most 2^32 - 1 dispatches",
            (unsigned long long)layout->pieces, call->family->dispatches(call, layout),
            (unsigned long long)layout->copies);
    layout->each = layout->pieces;
    if (call->max_work > 0 && call->max_work / layout->work < layout->each)
        layout->each = call->max_work > layout->work ? call->max_work / layout->work : 1;
    const uint64_t parts = dj_divide_up(layout->pieces, layout->each);
    const uint64_t last = (parts - 1) * layout->each; /* its first piece */
    const uint64_t whole = dj_layout_dispatches(call, layout, 0, layout->each);
    const uint64_t rest = dj_layout_dispatches(call, layout, last, layout->pieces - last);
    needs->family = call->family->name;
    needs->scratch_size = layout->total;
    needs->parts = (uint32_t)parts;
    needs->dispatches = (uint32_t)(whole > rest ? whole : rest);
    needs->ring_size = dj_call_ring_size(call);
    return DJ_SUCCESS;
}

dj_result dj_attention_needs(const dj_attention *plan, const struct dj_attention_args *args,
                             struct dj_needs *needs)
{
    if (plan == NULL)
        return DJ_ERROR_INVALID_ARGUMENT;
    if (needs == NULL)
        return dj_fail(&plan->context->log, DJ_ERROR_INVALID_ARGUMENT,
                       "dj_attention_needs: needs is NULL");
    struct dj_call call;
    struct dj_layout layout;
    const dj_result result = dj_attention_check(plan, args, false, &call, needs);
    return result != DJ_SUCCESS || args == NULL ? result
                                                : dj_attention_lay_out(&call, &layout, needs);
}

dj_result dj_attention_check_scratch(const struct dj_call *call, uint64_t need)
{
    if (need == 0)
        return DJ_SUCCESS;
    const struct dj_attention_args *const args = call->args;
    const struct dj_tensor pool = dj_tensor_of_range(
        args->state, args->state_offset, args->slot_count * dj_state_slot_size(call->plan));
    struct dj_tensor ranges[DJ_INDEX_RANGES];
    dj_call_index_ranges(call, ranges);
    struct dj_named_tensor tensors[DJ_TENSORS_OF_CALL + DJ_INDEX_RANGES + 1];
    uint32_t count = DJ_TENSORS_OF_CALL;
    dj_call_tensors(args, tensors);
    for (int i = 0; i < DJ_INDEX_RANGES; i++)
        tensors[count++] = (struct dj_named_tensor){dj_call_index_names[i], &ranges[i]};
    if (call->slots)
        tensors[count++] = (struct dj_named_tensor){"the state slots", &pool};
    return dj_scratch_check(call->plan->context, &args->scratch, need, tensors, count);
}

dj_result dj_attention_record_pieces(const struct dj_call *call, struct dj_recorder *recorder,
                                     struct dj_layout *layout, uint64_t first, uint64_t count)
{
    const struct dj_kernel_family *const family = call->family;
    const struct dj_attention_args *const args = call->args;
    dj_result result = DJ_SUCCESS;
    if (count > 0)
        result = dj_recorder_reserve(recorder,
                                     (uint32_t)dj_layout_dispatches(call, layout, first, count),
                                     dj_call_ring_size(call));
    else
        result = dj_recorder_reserve(recorder, 0, 0);
    if (result == DJ_SUCCESS && count > 0 && dj_slots_used(args)) {
        const uint64_t written =
            call->slots && args->slots_out.host != NULL ? call->keys.sequences : 0;
        result = dj_slots_check_indices(
            call, dj_recorder_work(recorder, written * call->snapshots * sizeof(uint64_t)));
    }
    if (result != DJ_SUCCESS)
        return result;
    struct dj_call_indices indices = {0};
    if (count > 0)
        indices = dj_call_bind(call, recorder);
    dj_recorder_barriers_before(recorder, args->barriers);
    const uint64_t copies = count > 0 && first + count == layout->pieces ? layout->copies : 0;
    for (uint64_t i = 0; i < count + copies; i++) {
        if (i > 0 && i <= count) /* copies touch nothing of one another */
            dj_recorder_write_to_read(recorder);
        family->record(call, recorder, layout, &indices, first + i);
    }
    dj_recorder_barriers_after(recorder, args->barriers);
    return DJ_SUCCESS;
}

/* Everything before recording; function: as the caller knows it. */
static dj_result prepare(const char *function, const struct dj_attention *plan,
                         const struct dj_recorder *recorder, const struct dj_attention_args *args,
                         struct dj_call *call, struct dj_layout *layout, struct dj_needs *needs)
{
    const struct dj_log *const log = &plan->context->log;
    if (recorder == NULL || args == NULL)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT, "%s: %s is NULL", function,
                       args == NULL ? "args" : "recorder");
    if (dj_recorder_context(recorder) != plan->context)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                       "attention: the recorder is another context's, or was destroyed");
    dj_result result = dj_attention_check(plan, args, true, call, needs);
    if (result == DJ_SUCCESS)
        result = dj_attention_lay_out(call, layout, needs);
    if (result == DJ_SUCCESS)
        result = dj_attention_check_scratch(call, needs->scratch_size);
    return result;
}

dj_result dj_attention_record(const dj_attention *plan, dj_recorder *recorder,
                              const struct dj_attention_args *args)
{
    if (plan == NULL)
        return DJ_ERROR_INVALID_ARGUMENT;
    struct dj_call call;
    struct dj_layout layout;
    struct dj_needs needs;
    const dj_result result =
        prepare("dj_attention_record", plan, recorder, args, &call, &layout, &needs);
    return result != DJ_SUCCESS
               ? result
               : dj_attention_record_pieces(&call, recorder, &layout, 0, layout.pieces);
}

dj_result dj_attention_record_part(const dj_attention *plan, dj_recorder *recorder,
                                   const struct dj_attention_args *args, uint32_t part)
{
    if (plan == NULL)
        return DJ_ERROR_INVALID_ARGUMENT;
    struct dj_call call;
    struct dj_layout layout;
    struct dj_needs needs;
    const dj_result result =
        prepare("dj_attention_record_part", plan, recorder, args, &call, &layout, &needs);
    if (result != DJ_SUCCESS)
        return result;
    if (part >= needs.parts)
        return dj_fail(&plan->context->log, DJ_ERROR_INVALID_ARGUMENT,
                       "attention: part %u of a call of %u", part, needs.parts);
    const uint64_t first = part * layout.each, left = layout.pieces - first;
    return dj_attention_record_pieces(&call, recorder, &layout, first,
                                      left < layout.each ? left : layout.each);
}
