/* SPDX-License-Identifier: MIT */
/* The resident kernel family: one workgroup for each sequence, query head and block of columns goes
 * through the tokens of a piece in order. Its pieces are the tiled family's, of any length. */
#include "attention.h"

#include "decay.h"
#include "kernels.h"
#include "piece.h"
#include "pipeline.h"
#include "shaders.h"
#include "size.h"
#include "tuning.h"

#include <math.h>

enum {
    MOST_DECAYS = 4096, /* key heads: 32 MiB of their powers */
    SIDE = 13           /* of the kernel's constants */
};

/* The kernels that have a transform inside, by its length. */
static const struct {
    uint32_t length;
    const struct dj_shader *shader;
} transforms[] = {
#define TRANSFORM(n) {n, &dj_shader_resident_##n},
    DJ_RESIDENT_LENGTHS(TRANSFORM)
#undef TRANSFORM
};

/* Those for maps without one, by the most features that they are compiled for: without and with
 * products with directions. */
static const struct {
    uint32_t features;
    const struct dj_shader *shaders[2];
} others[] = {
    {DJ_RESIDENT_FOURS, {&dj_shader_resident, &dj_shader_resident_directions}},
    {128, {&dj_shader_resident_narrow, &dj_shader_resident_directions_narrow}},
    {DJ_RESIDENT_MOST, {&dj_shader_resident_wide, &dj_shader_resident_directions_wide}},
};

/* The kernel for a plan's map; NULL: there is none. `widest`: the features that it is compiled for.
 */
static const struct dj_shader *find_shader(const struct dj_attention *plan, uint32_t *widest)
{
    const uint32_t projection = plan->kind->projection;
    *widest = projection == DJ_PROJECTION_DCT ? plan->dim : plan->features;
    if (*widest > DJ_RESIDENT_MOST || plan->features > *widest)
        return NULL;
    if (projection == DJ_PROJECTION_MATRIX && plan->dim * plan->features > DJ_RESIDENT_MATRIX)
        return NULL;
    if (projection != DJ_PROJECTION_DCT) {
        size_t i = 0;
        while (*widest > others[i].features)
            i++;
        return others[i].shaders[projection == DJ_PROJECTION_MATRIX];
    }
    for (size_t i = 0; i < sizeof transforms / sizeof *transforms; i++) {
        if (transforms[i].length == plan->dim)
            return transforms[i].shader;
    }
    return NULL;
}

dj_result dj_resident_choose(struct dj_attention *plan, const struct dj_attention_params *params)
{
    struct dj_context *const context = plan->context;
    const struct dj_tuning *const tuning = dj_tuning_of(context->info.type);
    const bool forced = params->family == DJ_FAMILY_RESIDENT;
    const bool suited = tuning->resident && dj_tuning_permutes(context);
    const bool standard = params->family == DJ_FAMILY_DEFAULT && suited;
    uint32_t widest;
    const struct dj_shader *const shader = find_shader(plan, &widest);
    /* of very many decays no powers are made that nobody asked for */
    if (!forced && params->decay != NULL && plan->key_heads > MOST_DECAYS)
        return DJ_SUCCESS;
    /* products with directions take what a lane has by turns; so many take long to compile, too */
    if (!forced && plan->kind->projection == DJ_PROJECTION_MATRIX && context->subgroups != 8 &&
        !context->read_invocation)
        return DJ_SUCCESS;
    if (!forced && (params->dct_path != DJ_DCT_PATH_DEFAULT ||
                    (!standard && params->family != DJ_FAMILY_TUNED)))
        return DJ_SUCCESS;
    const bool offered = context->subgroups > 0 && context->device_addresses;
    if (!offered || shader == NULL)
        return !forced
                   ? DJ_SUCCESS
                   : dj_fail(&context->log, DJ_ERROR_UNSUPPORTED,
                             "attention: %s of dim %u and %u features has no resident kernel%s",
                             plan->kind->name, plan->dim, plan->features,
                             offered ? "" : " here: it needs whole subgroups and device addresses");
    const uint32_t strip = (widest <= DJ_RESIDENT_FOURS ? 4 : 2) * context->subgroups;
    const uint32_t strips = plan->heads >= tuning->two_strips && plan->value_dim > strip ? 2 : 1;
    plan->resident.shader = shader;
    plan->resident.constants = (struct dj_constants){
        .count = 14,
        .subgroup = context->subgroups,
        .read_invocation = context->read_invocation,
        .values = {context->subgroups, plan->features, plan->value_dim, strips,
                   params->decay != NULL, plan->feature, plan->key_normalise, plan->denominator,
                   plan->q_type, plan->k_type, plan->v_type, plan->o_type, plan->dim, 0}};
    plan->resident.preferred = forced || suited;
    plan->resident.columns = strips * strip;
    plan->resident.blocks = (uint32_t)dj_divide_up(plan->value_dim, plan->resident.columns);
    return DJ_SUCCESS;
}

/* The pipelines: of tokens, or of keys and of queries. */
static dj_result create_pipelines(struct dj_attention *plan, bool forced)
{
    struct dj_context *const context = plan->context;
    const struct dj_shader *const shader = plan->resident.shader;
    struct dj_constants constants = plan->resident.constants;
    dj_result (*const get)(struct dj_context *, const struct dj_shader *,
                           const struct dj_constants *, struct dj_pipeline *) =
        forced ? dj_pipeline_get : dj_pipeline_try;
    constants.values[SIDE] = plan->causal ? DJ_RESIDENT_BOTH : DJ_RESIDENT_QUERIES;
    dj_result result = get(context, shader, &constants, &plan->resident.see);
    constants.values[SIDE] = DJ_RESIDENT_KEYS;
    if (result == DJ_SUCCESS && !plan->causal)
        result = get(context, shader, &constants, &plan->resident.add);
    return result;
}

static dj_result create(struct dj_attention *plan, const struct dj_attention_params *params)
{
    const bool forced = params->family == DJ_FAMILY_RESIDENT;
    if (plan->resident.shader == NULL)
        return DJ_SUCCESS;
    const dj_result result = create_pipelines(plan, forced);
    if (!forced && result == DJ_ERROR_UNSUPPORTED) {
        plan->resident.see.handle = VK_NULL_HANDLE;
        return DJ_SUCCESS;
    }
    if (result != DJ_SUCCESS || params->decay == NULL)
        return result;
    return dj_decay_create(plan->context, params->decay, plan->key_heads, DJ_RESIDENT_DECAY_SPAN,
                           &plan->resident.decay);
}

/* Outputs of 2 bytes are stored in pairs, as whole words. */
static bool is_even(const struct dj_tensor *o)
{
    return dj_type_size(o->type) == 4 || (o->offset % 4 == 0 && o->stride[0] % 2 == 0 &&
                                          o->stride[1] % 2 == 0 && o->stride[2] % 2 == 0);
}

static bool binds_spans(const struct dj_call *call)
{
    const struct dj_attention *const plan = call->plan;
    const struct dj_attention_args *const args = call->args;
    const struct dj_device_info *const info = &plan->context->info;
    const uint64_t span = dj_resident_span(plan);
    return dj_call_binds_tokens(call, &call->queries, &args->q, span, plan->group) &&
           dj_call_binds_tokens(call, &call->queries, &args->o, span, plan->group) &&
           dj_call_binds_tokens(call, &call->keys, &args->k, span, 1) &&
           dj_call_binds_tokens(call, &call->keys, &args->v, span, 1) &&
           dj_state_block_size(plan) + dj_resident_memory(plan, 1) + info->offset_alignment <=
               info->max_storage_range &&
           (uint64_t)plan->resident.blocks * plan->group <= info->max_workgroups[0];
}

/* As was chosen for calls of this size, or else by the device. */
static bool is_preferred(const struct dj_call *call)
{
    const uint32_t choice = dj_choice_of(call);
    return choice != DJ_FAMILY_DEFAULT ? choice == DJ_FAMILY_RESIDENT
                                       : call->plan->resident.preferred;
}

bool dj_resident_can(const struct dj_call *call)
{
    const struct dj_attention_args *const args = call->args;
    return call->plan->resident.see.handle != VK_NULL_HANDLE && is_preferred(call) &&
           call->states == 1 && args->query_scales.shape[3] == 0 &&
           args->key_scales.shape[3] == 0 && dj_call_pool_fits(call) && is_even(&args->o) &&
           binds_spans(call);
}

uint64_t dj_resident_span(const struct dj_attention *plan)
{
    return plan->resident.decay != NULL ? DJ_RESIDENT_DECAY_SPAN : DJ_RESIDENT_SPAN;
}

/* Workgroups that add up the same keys, each for a query head that sees them. */
static uint32_t adders(const struct dj_attention *plan)
{
    return plan->causal ? plan->group : 1;
}

uint64_t dj_resident_memory(const struct dj_attention *plan, uint64_t heads)
{
    const uint64_t own = plan->resident.blocks *
                         DJ_RESIDENT_MEMORY(plan->features, (uint64_t)plan->resident.columns);
    return heads *
           ((adders(plan) - 1) * dj_state_block_size(plan) + adders(plan) * own * sizeof(float));
}

/* Of causal calls tokens, else keys or queries. tokens 0: the kernel takes over the state that came
 * in, and no more. */
static void record_kernel(const struct dj_piece *piece, uint32_t read, uint32_t tokens)
{
    const struct dj_attention *const plan = piece->plan;
    const struct dj_attention_args *const args = piece->call->args;
    const struct dj_features *const numbers = args->features;
    const bool adds = !piece->cut.queries, sees = plan->causal || piece->cut.queries;
    /* what the kernel will not touch is bound to something harmless all the same */
    const struct dj_rows q = dj_piece_rows(piece, sees ? &args->q : &args->k, sees, 0);
    const struct dj_rows o = dj_piece_rows(piece, sees ? &args->o : &args->k, sees, 0);
    const struct dj_rows k = adds ? dj_piece_rows(piece, &args->k, false, 0) : q;
    const struct dj_rows v = adds ? dj_piece_rows(piece, &args->v, false, 0) : q;
    const uint32_t states = piece->sequences * piece->heads;
    const uint32_t block = (uint32_t)(dj_state_block_size(plan) / sizeof(float));
    const uint32_t members = states * block + 2 * piece->sequences;
    const struct resident_push push = {
        .tokens = tokens,
        .ragged = k.ragged,
        .start = k.start,
        .origin = k.origin,
        .heads = piece->heads,
        .first_head = (uint32_t)piece->cut.box.start[2],
        .read = read,
        .own = members + (adders(plan) - 1) * states * block,
        .head_stride = numbers != NULL ? numbers->head_stride : 0,
        .weights = numbers != NULL ? numbers->weights : 0,
        .matrix = numbers != NULL ? (uint32_t)(numbers->directions / sizeof(float)) : 0,
        .square_factor = numbers != NULL && plan->kind->squares ? numbers->square_factor : 0.0f,
        .max_tokens = plan->max_tokens,
        .factor = sqrtf(plan->scale),
        DJ_PIECE_TENSORS(q, k, v, o),
    };
    struct dj_binding bindings[8] = {
        q.view.binding, k.view.binding, v.view.binding, o.view.binding,
        piece->carry,   piece->carry,   piece->decay,   k.ragged ? k.spans : piece->carry};
    if (plan->resident.decay != NULL)
        bindings[6] = dj_buffer_whole(plan->resident.decay);
    if (numbers != NULL)
        bindings[5] = dj_buffer_whole(numbers->tables);
    const uint32_t groups[3] = {plan->resident.blocks * (sees ? plan->group : 1), states, 1};
    dj_recorder_dispatch(piece->recorder, sees ? plan->resident.see : plan->resident.add, bindings,
                         8, &push, sizeof push, groups);
}

/* 1. spans of the box's sequences, where they differ;
 * 2. in the first piece, states from slots to the carry, and from there to the kernel's own memory;
 * 3. the tokens;  4. states from the carry to slots.
 * Without tokens states move, and no more. Where queries see all keys, 2 to 4 are of keys, and
 * pieces of queries follow, which read the carry. */
static void record(const struct dj_call *call, struct dj_recorder *recorder,
                   struct dj_layout *layout, const struct dj_call_indices *indices, uint64_t index)
{
    const struct dj_piece piece = dj_piece_make(call, recorder, layout, indices, index);
    const struct dj_attention_args *const args = call->args;
    if (piece.cut.copies) {
        dj_piece_copy(&piece);
        return;
    }
    dj_piece_spans(&piece);
    if (piece.cut.queries) {
        if (piece.tokens > 0)
            record_kernel(&piece, DJ_RESIDENT_CARRY, piece.tokens);
        return;
    }
    if (piece.tokens == 0) {
        dj_piece_scan(&piece);
        return;
    }
    uint32_t read = piece.cut.first ? DJ_RESIDENT_EMPTY : DJ_RESIDENT_OWN;
    if (piece.cut.first && call->slots && dj_indices_given(&args->slots_in)) {
        dj_piece_move(&piece, (struct dj_scan_way){.read = DJ_SCAN_SLOTS, .write_carry = true}, 0);
        dj_recorder_write_to_read(recorder);
        record_kernel(&piece, DJ_RESIDENT_CARRY, 0);
        dj_recorder_write_to_read(recorder);
        read = DJ_RESIDENT_OWN;
    }
    record_kernel(&piece, read, piece.tokens);
    if (piece.cut.publishes && call->slots && dj_indices_given(&args->slots_out) &&
        layout->copies == 0) {
        dj_recorder_write_to_read(recorder);
        dj_piece_move(&piece,
                      (struct dj_scan_way){.read = DJ_SCAN_CARRY,
                                           .write_slots = DJ_WRITE_STATE | DJ_WRITE_HEADER},
                      0);
    }
}

static uint32_t dispatches(const struct dj_call *call, const struct dj_layout *layout)
{
    (void)call;
    (void)layout;
    return 5; /* the table; states in, twice; the tokens; states out */
}

const struct dj_kernel_family dj_family_resident = {
    .name = DJ_FAMILY_RESIDENT,
    .dispatches = dispatches,
    .layout = dj_tiled_layout,
    .record = record,
    .create = create,
};
