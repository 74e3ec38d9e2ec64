/* SPDX-License-Identifier: MIT */
/* Attention that submits and waits: a call's pieces, in submissions as long as the caller wants. */
#include "attention.h"

#include "clock.h"
#include "quirks.h"

/* Floating-point operations of a piece where there is a budget but no max_work, if a tile has no
 * more: about a millisecond on a phone, and on discrete GPUs, which finer pieces would leave idle;
 * 20 on two CPU cores. */
static uint64_t budget_work(const struct dj_context *context)
{
    return (uint64_t)1 << (context->info.type == DJ_DEVICE_DISCRETE ? 28 : 25);
}

/* Dispatches of one submission, but for copies. */
enum {
    RUN_DISPATCHES = 2048
};

/* A run under way. */
struct run {
    struct dj_call call;
    struct dj_layout layout;
    struct dj_needs needs;
    struct dj_run_params params;
    uint64_t unit; /* pieces that are always submitted together */
    uint64_t most; /* units of one submission, at most */
};

/* Pieces keep their order whatever the submissions, and so do the bits of the result. */
static void choose_submissions(struct run *run)
{
    const uint64_t each = run->call.family->dispatches(&run->call, &run->layout);
    const uint64_t room = each < RUN_DISPATCHES ? RUN_DISPATCHES / each : 1;
    const uint64_t pieces = run->call.max_work > 0 ? run->layout.each : 1;
    run->unit = pieces < room ? pieces : room;
    run->most = run->params.budget_ns > 0 ? room / run->unit : 1;
}

/* Units for the next submission: what the budget has time for at the last one's pace, but no more
 * than twice as many as that had. */
static uint64_t next_units(const struct run *run, uint64_t units, uint64_t ns)
{
    const uint64_t fit = run->params.budget_ns / (ns / units + 1);
    const uint64_t twice = 2 * units < run->most ? 2 * units : run->most;
    return fit > twice ? twice : fit > 1 ? fit : 1;
}

static dj_result submit_pieces(struct run *run, dj_recorder *recorder, uint64_t first,
                               uint64_t count, uint64_t *ns)
{
    dj_result result = dj_recorder_begin(recorder);
    if (result == DJ_SUCCESS)
        result = dj_attention_record_pieces(&run->call, recorder, &run->layout, first, count);
    const uint64_t start = dj_now_ns();
    if (result == DJ_SUCCESS)
        result = dj_recorder_submit(recorder);
    if (result == DJ_SUCCESS)
        result = dj_recorder_wait(recorder, UINT64_MAX);
    *ns = dj_now_ns() - start;
    return result;
}

static dj_result ask_progress(const struct run *run, uint64_t done)
{
    const struct dj_run_params *const params = &run->params;
    if (params->progress == NULL || params->progress(params->user, done, run->layout.pieces) == 0)
        return DJ_SUCCESS;
    return dj_fail(&run->call.plan->context->log, DJ_ERROR_CANCELLED,
                   "attention: cancelled by progress after %llu of %llu", (unsigned long long)done,
                   (unsigned long long)run->layout.pieces);
}

static dj_result submit_all(struct run *run)
{
    choose_submissions(run);
    const uint64_t pieces = run->layout.pieces;
    const uint64_t most = run->unit * run->most < pieces ? run->unit * run->most : pieces;
    const struct dj_recorder_params params = {
        .dispatches = (uint32_t)(most * run->call.family->dispatches(&run->call, &run->layout) +
                                 run->layout.copies),
        .ring_size = run->needs.ring_size,
    };
    dj_recorder *recorder;
    dj_result result = dj_recorder_create(run->call.plan->context, &params, &recorder);
    uint64_t units = 1, ns;
    for (uint64_t first = 0; result == DJ_SUCCESS && first < pieces;) {
        const uint64_t wanted = units * run->unit, left = pieces - first;
        const uint64_t count = wanted < left ? wanted : left;
        result = ask_progress(run, first);
        if (result == DJ_SUCCESS)
            result = submit_pieces(run, recorder, first, count, &ns);
        if (result == DJ_SUCCESS)
            units = next_units(run, units, ns);
        first += count;
    }
    dj_recorder_destroy(&recorder);
    return result;
}

/* Where drivers lose the device to long submissions a run without a budget has this one. */
static const uint64_t SHORT_NS = 50 * 1000 * 1000;

/* Checks the call and cuts it; without pieces there is nothing to do. */
static dj_result prepare(struct run *run, const dj_attention *plan,
                         const struct dj_attention_args *args)
{
    dj_result result = dj_attention_check(plan, args, true, &run->call, &run->needs);
    if (result != DJ_SUCCESS)
        return result;
    const uint64_t work = budget_work(plan->context);
    if (run->params.budget_ns == 0 && dj_quirks_avoid(plan->context, DJ_AVOID_LONG_SUBMISSIONS))
        run->params.budget_ns = SHORT_NS;
    if (args->max_work == 0 && run->params.budget_ns > 0)
        run->call.max_work = work < run->needs.flops ? work : 0;
    run->call.atomic = run->call.atomic || run->params.progress != NULL;
    return dj_attention_lay_out(&run->call, &run->layout, &run->needs);
}

static dj_result check_run(const struct dj_attention *plan, const struct dj_run_params *params)
{
    if (params != NULL &&
        !dj_reserved_is_zero(&plan->context->log, params->reserved, 4, "dj_run_params"))
        return DJ_ERROR_VERSION;
    return DJ_SUCCESS;
}

/* function: as the caller knows it. */
static dj_result run_call(const char *function, const struct dj_attention *plan,
                          const struct dj_attention_args *args, const struct dj_run_params *params)
{
    if (plan == NULL)
        return DJ_ERROR_INVALID_ARGUMENT;
    if (args == NULL)
        return dj_fail(&plan->context->log, DJ_ERROR_INVALID_ARGUMENT, "%s: args is NULL",
                       function);
    struct dj_attention_args own = *args;
    own.barriers |= DJ_BARRIER_BEFORE | DJ_BARRIER_AFTER_COMPUTE | DJ_BARRIER_AFTER_HOST;
    if (own.scratch.buffer == NULL)
        own.scratch.offset = own.scratch.size = 0;
    struct run run = {.params = params != NULL ? *params : (struct dj_run_params){0}};
    dj_result result = check_run(plan, params);
    if (result == DJ_SUCCESS)
        result = dj_context_check_queue(plan->context, function);
    if (result == DJ_SUCCESS)
        result = prepare(&run, plan, &own);
    if (result != DJ_SUCCESS || run.layout.pieces == 0)
        return result;
    const uint64_t size = run.needs.scratch_size;
    struct dj_buffer *scratch = NULL;
    if (own.scratch.buffer == NULL && size > 0) {
        result = dj_buffer_create_named(plan->context, size, DJ_MEMORY_DEVICE, "attention scratch",
                                        &scratch);
        own.scratch = (struct dj_scratch){.buffer = scratch, .size = size};
    }
    if (result == DJ_SUCCESS)
        result = dj_attention_check_scratch(&run.call, size);
    if (result == DJ_SUCCESS)
        result = submit_all(&run);
    dj_buffer_destroy(&scratch);
    return result;
}

dj_result dj_attention_run(const dj_attention *plan, const struct dj_attention_args *args)
{
    return run_call("dj_attention_run", plan, args, NULL);
}

dj_result dj_attention_run_with(const dj_attention *plan, const struct dj_attention_args *args,
                                const struct dj_run_params *params)
{
    return run_call("dj_attention_run_with", plan, args, params);
}
