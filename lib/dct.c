/* SPDX-License-Identifier: MIT */
#include "kernels.h"
#include "pipeline.h"
#include "quirks.h"
#include "shaders.h"
#include "size.h"
#include "transform.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

enum {
    MIN_LENGTH = 4,
    MAX_LENGTH = 4096,
    RUN_DISPATCHES = 1536, /* of one submission of dj_dct_run; a multiple of those of one box */
};

/* Multiply-adds of a box, and of a submission of dj_dct_run: a sixth of a second and a third where
 * there are 50 * 10^9 a second, which small GPUs reach. Some drivers end submissions after 2. */
static const uint64_t BOX_WORK = (uint64_t)1 << 33, PART_WORK = (uint64_t)1 << 34;

struct dj_dct {
    struct dj_context *context;
    uint32_t length;
    struct dj_transform *transform;
    struct dj_pipeline store;
};

/* Scratch memory is worth having up to this size: larger boxes are no faster. */
static uint64_t useful_scratch(const struct dj_dct *plan)
{
    const bool brief = dj_quirks_avoid(plan->context, DJ_AVOID_LONG_SUBMISSIONS);
    return UINT64_C(1) << (brief ? 22 : 26);
}

/* A checked call: its boxes, and the packed rows they pass through. */
struct call {
    struct dj_grid grid;
    uint64_t boxes;
    uint64_t scratch_size; /* of the largest box; 0 if there is nothing to do */
};

static dj_result params_check(const struct dj_log *log, const struct dj_dct_params *params)
{
    if (!dj_reserved_is_zero(log, params->reserved, 4, "dj_dct_params"))
        return DJ_ERROR_VERSION;
    if (params->padding != 0)
        return dj_fail(log, DJ_ERROR_VERSION, "dj_dct_params.padding is %u and must be 0",
                       params->padding);
    if (params->type < DJ_DCT_2 || params->type > DJ_DCT_4)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                       "dj_dct_params.type is %u, which enum dj_dct_type does not have",
                       params->type);
    if (params->length < MIN_LENGTH || params->length > MAX_LENGTH)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                       "dj_dct_params.length is %u and must be %d to %d", params->length,
                       MIN_LENGTH, MAX_LENGTH);
    if (params->path > DJ_DCT_PATH_DENSE)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                       "dj_dct_params.path is %u, which enum dj_dct_path does not have",
                       params->path);
    return DJ_SUCCESS;
}

dj_result dj_dct_create(dj_context *context, const struct dj_dct_params *params, dj_dct **plan)
{
    if (plan != NULL)
        *plan = NULL;
    if (context == NULL)
        return DJ_ERROR_INVALID_ARGUMENT;
    if (params == NULL || plan == NULL)
        return dj_fail(&context->log, DJ_ERROR_INVALID_ARGUMENT, "dj_dct_create: %s is NULL",
                       params == NULL ? "params" : "plan");
    dj_result result = params_check(&context->log, params);
    if (result != DJ_SUCCESS)
        return result;
    struct dj_dct *made = calloc(1, sizeof *made);
    if (made == NULL)
        return dj_fail(&context->log, DJ_ERROR_OUT_OF_HOST_MEMORY, "DCT: out of memory");
    made->context = context;
    made->length = params->length;
    result =
        dj_transform_create(context, params->type, params->length, params->path, &made->transform);
    if (result == DJ_SUCCESS)
        result = dj_pipeline_get(context, &dj_shader_rows_store, NULL, &made->store);
    if (result != DJ_SUCCESS)
        goto fail;
    if (dj_transform_max_rows(made->transform) == 0) {
        result = dj_fail(&context->log, DJ_ERROR_LIMIT,
                         "DCT of length %u: one group of rows exceeds the device's binding range",
                         params->length);
        goto fail;
    }
    *plan = made;
    return DJ_SUCCESS;

fail:
    dj_dct_destroy(&made);
    return result;
}

void dj_dct_destroy(dj_dct **plan)
{
    if (plan == NULL || *plan == NULL)
        return;
    struct dj_dct *const dead = *plan;
    dj_transform_destroy(&dead->transform);
    free(dead);
    *plan = NULL;
}

/* placed: the buffers must be there. */
static dj_result tensors_check(const struct dj_dct *plan, const struct dj_dct_args *args,
                               bool placed)
{
    const struct dj_log *const log = &plan->context->log;
    if (!dj_reserved_is_zero(log, args->reserved, 4, "dj_dct_args"))
        return DJ_ERROR_VERSION;
    if (args->padding != 0)
        return dj_fail(log, DJ_ERROR_VERSION, "dj_dct_args.padding is %u and must be 0",
                       args->padding);
    if (!dj_reserved_is_zero(log, args->scratch.reserved, 2, "dj_scratch"))
        return DJ_ERROR_VERSION;
    if ((args->barriers & ~(uint32_t)DJ_BARRIERS) != 0)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                       "dj_dct_args.barriers is %u, with bits that enum dj_barrier does not have",
                       args->barriers);
    dj_result result =
        dj_tensor_check(plan->context, "input", &args->input, DJ_FLOAT32, false, placed);
    if (result == DJ_SUCCESS)
        result = dj_tensor_check(plan->context, "output", &args->output, DJ_FLOAT32, true, placed);
    if (result != DJ_SUCCESS)
        return result;
    for (int i = 0; i < 4; i++) {
        if (args->input.shape[i] != args->output.shape[i])
            return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                           "dimension %d: the input has %" PRIu64 " and the output %" PRIu64, i,
                           args->input.shape[i], args->output.shape[i]);
    }
    if (args->input.shape[3] != plan->length)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                       "the last dimension is %" PRIu64 " and the plan's length %u",
                       args->input.shape[3], plan->length);
    const bool there = args->input.buffer != NULL && args->output.buffer != NULL;
    if (!there || dj_tensor_same(&args->input, &args->output))
        return DJ_SUCCESS;
    return dj_tensor_check_apart(log, "output, which is another view,", &args->output, "input",
                                 &args->input);
}

/* Rows that a box may have. */
static uint64_t most_rows(const struct dj_dct *plan)
{
    const uint64_t most = dj_transform_max_rows(plan->transform);
    const uint64_t brief = BOX_WORK / dj_transform_row_work(plan->transform);
    return brief < most ? brief : most;
}

/* Bytes of packed rows that a box takes; UINT64_MAX if one recording cannot do it. */
static uint64_t box_cost(const void *user, const uint64_t size[3])
{
    const struct dj_dct *const plan = user;
    const uint64_t most = most_rows(plan);
    uint64_t rows;
    if (__builtin_mul_overflow(size[0], size[1], &rows) ||
        __builtin_mul_overflow(rows, size[2], &rows) || rows > most)
        return UINT64_MAX;
    const uint64_t multiple = dj_transform_row_multiple(plan->transform);
    return dj_round_up(rows, multiple) * plan->length * sizeof(float);
}

static bool is_empty(const struct dj_tensor *tensor)
{
    return tensor->shape[0] == 0 || tensor->shape[1] == 0 || tensor->shape[2] == 0;
}

/* Cuts a call with checked tensors into boxes for at most budget bytes of scratch memory. */
static dj_result plan_call(const struct dj_dct *plan, const struct dj_dct_args *args,
                           uint64_t budget, struct call *call)
{
    const struct dj_log *const log = &plan->context->log;
    *call = (struct call){0};
    if (is_empty(&args->input))
        return DJ_SUCCESS;
    const uint64_t one[3] = {1, 1, 1};
    const uint64_t least = box_cost(plan, one);
    if (budget < least)
        return dj_fail(log, DJ_ERROR_SCRATCH,
                       "the scratch memory has %" PRIu64
                       " bytes, and one group of rows takes %" PRIu64,
                       budget, least);
    const struct dj_tensor *const tensors[2] = {&args->input, &args->output};
    if (!dj_grid_fit(plan->context, tensors, 2, one, NULL, box_cost, plan, budget, &call->grid))
        return dj_fail(log, DJ_ERROR_LIMIT,
                       "one row exceeds the device's binding range of %" PRIu64,
                       plan->context->info.max_storage_range);
    const uint64_t *const boxes = call->grid.boxes;
    if (__builtin_mul_overflow(boxes[0], boxes[1], &call->boxes) ||
        __builtin_mul_overflow(call->boxes, boxes[2], &call->boxes) ||
        call->boxes > UINT32_MAX / (dj_transform_dispatches(plan->transform) + 1))
        return dj_fail(log, DJ_ERROR_LIMIT, "the tensor takes more than 2^32 dispatches");
    call->scratch_size = box_cost(plan, call->grid.size);
    return DJ_SUCCESS;
}

/* The budget that args give: what scratch they have, or what is useful. */
static uint64_t call_budget(const struct dj_dct *plan, const struct dj_dct_args *args)
{
    const uint64_t one[3] = {1, 1, 1};
    const uint64_t least = box_cost(plan, one);
    if (args->scratch.size != 0)
        return args->scratch.size;
    const uint64_t useful = useful_scratch(plan);
    return least > useful ? least : useful;
}

static dj_result scratch_check(const struct dj_dct *plan, const struct dj_dct_args *args)
{
    const struct dj_scratch *const scratch = &args->scratch;
    if (is_empty(&args->input))
        return DJ_SUCCESS;
    const struct dj_named_tensor tensors[2] = {{"input", &args->input}, {"output", &args->output}};
    const uint64_t one[3] = {1, 1, 1};
    return dj_scratch_check(plan->context, scratch, box_cost(plan, one), tensors, 2);
}

/* About 5/2 n log2 n per row of length n. */
static uint64_t row_flops(uint64_t length)
{
    uint64_t log2 = 0;
    while ((length >> log2) > 1)
        log2++;
    return 5 * length * log2 / 2;
}

static uint32_t box_dispatches(const struct dj_dct *plan)
{
    return dj_transform_dispatches(plan->transform) + 1;
}

/* Of a call with boxes. */
static uint32_t boxes_per_part(const struct dj_dct *plan, const struct call *call)
{
    const uint64_t *const size = call->grid.size;
    const uint64_t most = RUN_DISPATCHES / box_dispatches(plan);
    const uint64_t work = size[0] * size[1] * size[2] * dj_transform_row_work(plan->transform);
    const uint64_t brief = work < PART_WORK ? PART_WORK / work : 1;
    if (dj_quirks_avoid(plan->context, DJ_AVOID_LONG_SUBMISSIONS))
        return 1;
    return (uint32_t)(brief < most ? brief : most);
}

dj_result dj_dct_needs(const dj_dct *plan, const struct dj_dct_args *args, struct dj_needs *needs)
{
    if (plan == NULL)
        return DJ_ERROR_INVALID_ARGUMENT;
    if (args == NULL || needs == NULL)
        return dj_fail(&plan->context->log, DJ_ERROR_INVALID_ARGUMENT, "dj_dct_needs: %s is NULL",
                       args == NULL ? "args" : "needs");
    *needs = (struct dj_needs){0};
    struct call call;
    dj_result result = tensors_check(plan, args, false);
    if (result == DJ_SUCCESS)
        result = plan_call(plan, args, call_budget(plan, args), &call);
    if (result != DJ_SUCCESS)
        return result;
    needs->scratch_size = call.scratch_size;
    needs->scratch_alignment = plan->context->info.offset_alignment;
    needs->dispatches = (uint32_t)call.boxes * box_dispatches(plan);
    if (call.boxes > 0) {
        needs->parts = (uint32_t)dj_divide_up(call.boxes, boxes_per_part(plan, &call));
        const uint64_t rows = args->input.shape[0] * args->input.shape[1] * args->input.shape[2];
        needs->flops = rows * row_flops(plan->length);
        needs->bytes = rows * plan->length * 2 * sizeof(float);
    }
    return DJ_SUCCESS;
}

/* 1. The box's rows to packed rows, and their transform.
 * 2. The packed rows, scaled, to the output's rows. */
static void record_box(const struct dj_dct *plan, struct dj_recorder *recorder,
                       const struct dj_dct_args *args, const struct dj_box *box)
{
    struct dj_rows rows = {
        .view = dj_tensor_view(&args->input, box),
        .count = {(uint32_t)box->count[0], (uint32_t)box->count[1], (uint32_t)box->count[2]},
    };
    const struct dj_binding packed = {.buffer = args->scratch.buffer,
                                      .offset = args->scratch.offset,
                                      .range = box_cost(plan, box->count)};
    dj_transform_record(plan->transform, recorder, &rows, 1.0f, &packed);
    dj_recorder_write_to_read(recorder);
    rows.view = dj_tensor_view(&args->output, box);
    const struct rows_store_push push = {DJ_ROWS_PUSH(&rows), .row_length = plan->length};
    const struct dj_binding bindings[4] = {packed, dj_transform_scale(plan->transform),
                                           rows.view.binding, packed};
    const uint64_t each = DJ_ROWS_THREADS * DJ_ROWS_EACH;
    uint32_t groups[3];
    dj_transform_fold(plan->context, dj_divide_up((uint64_t)push.rows * plan->length, each),
                      groups);
    dj_recorder_dispatch(recorder, plan->store, bindings, 4, &push, sizeof push, groups);
}

/* Boxes first .. first + count - 1, in order, with barriers between those that share the scratch.
 */
static void record_boxes(const struct dj_dct *plan, struct dj_recorder *recorder,
                         const struct dj_dct_args *args, const struct call *call, uint64_t first,
                         uint64_t count)
{
    const uint64_t *const boxes = call->grid.boxes;
    for (uint64_t n = first; n < first + count; n++) {
        if (n > first)
            dj_recorder_write_to_read(recorder);
        const struct dj_box box = dj_grid_box(&call->grid, n / (boxes[1] * boxes[2]),
                                              n / boxes[2] % boxes[1], n % boxes[2]);
        record_box(plan, recorder, args, &box);
    }
}

dj_result dj_dct_record(const dj_dct *plan, dj_recorder *recorder, const struct dj_dct_args *args)
{
    if (plan == NULL)
        return DJ_ERROR_INVALID_ARGUMENT;
    const struct dj_log *const log = &plan->context->log;
    if (recorder == NULL || args == NULL)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT, "dj_dct_record: %s is NULL",
                       recorder == NULL ? "recorder" : "args");
    if (dj_recorder_context(recorder) != plan->context)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                       "the recorder is another context's, or was destroyed");
    struct call call;
    dj_result result = tensors_check(plan, args, true);
    if (result == DJ_SUCCESS)
        result = scratch_check(plan, args);
    if (result == DJ_SUCCESS)
        result = plan_call(plan, args, call_budget(plan, args), &call);
    if (result == DJ_SUCCESS)
        result = dj_recorder_reserve(recorder, (uint32_t)call.boxes * box_dispatches(plan), 0);
    if (result != DJ_SUCCESS)
        return result;
    dj_recorder_barriers_before(recorder, args->barriers);
    record_boxes(plan, recorder, args, &call, 0, call.boxes);
    dj_recorder_barriers_after(recorder, args->barriers);
    return DJ_SUCCESS;
}

/* Submits the call in parts, one after another; args have scratch memory. */
static dj_result run_parts(const struct dj_dct *plan, const struct dj_dct_args *args,
                           const struct call *call)
{
    const uint64_t per_part = boxes_per_part(plan, call);
    const uint64_t most = call->boxes < per_part ? call->boxes : per_part;
    const struct dj_recorder_params params = {.dispatches = (uint32_t)most * box_dispatches(plan),
                                              .ring_size = 256};
    dj_recorder *recorder = NULL;
    dj_result result = dj_recorder_create(plan->context, &params, &recorder);
    for (uint64_t first = 0; result == DJ_SUCCESS && first < call->boxes; first += per_part) {
        const uint64_t left = call->boxes - first;
        result = dj_recorder_begin(recorder);
        if (result != DJ_SUCCESS)
            break;
        dj_recorder_barriers_before(recorder, DJ_BARRIER_BEFORE);
        record_boxes(plan, recorder, args, call, first, left < per_part ? left : per_part);
        dj_recorder_barriers_after(recorder, DJ_BARRIER_AFTER_COMPUTE | DJ_BARRIER_AFTER_HOST);
        result = dj_recorder_submit(recorder);
        if (result == DJ_SUCCESS)
            result = dj_recorder_wait(recorder, UINT64_MAX);
    }
    dj_recorder_destroy(&recorder);
    return result;
}

dj_result dj_dct_run(const dj_dct *plan, const struct dj_dct_args *args)
{
    if (plan == NULL)
        return DJ_ERROR_INVALID_ARGUMENT;
    if (args == NULL)
        return dj_fail(&plan->context->log, DJ_ERROR_INVALID_ARGUMENT, "dj_dct_run: args is NULL");
    struct dj_dct_args mine = *args;
    const bool own = args->scratch.buffer == NULL;
    if (own)
        mine.scratch.offset = mine.scratch.size = 0;
    struct call call;
    dj_result result = dj_context_check_queue(plan->context, "dj_dct_run");
    if (result == DJ_SUCCESS)
        result = tensors_check(plan, &mine, true);
    if (result == DJ_SUCCESS && !own)
        result = scratch_check(plan, &mine);
    if (result == DJ_SUCCESS)
        result = plan_call(plan, &mine, call_budget(plan, &mine), &call);
    if (result != DJ_SUCCESS || call.boxes == 0)
        return result;
    if (own) {
        mine.scratch.size = call.scratch_size;
        result = dj_buffer_create_named(plan->context, call.scratch_size, DJ_MEMORY_DEVICE,
                                        "dijiang DCT scratch", &mine.scratch.buffer);
    }
    if (result == DJ_SUCCESS)
        result = run_parts(plan, &mine, &call);
    if (own)
        dj_buffer_destroy(&mine.scratch.buffer);
    return result;
}
