/* SPDX-License-Identifier: MIT */
/* Choosing a plan's kernel family by measurement. */
#include "attention.h"

#include "choices.h"
#include "clock.h"

#include <stdlib.h>

enum {
    ROUNDS = 6 /* at most, and at least two: the first one of each family warms up */
};
static const uint64_t most_ns = 1000000000; /* after which no third round begins */

struct dj_choices {
    struct dj_choice_key key;
    atomic_uchar family[DJ_CHOICE_SIZES]; /* enum dj_family; 0: not measured */
};

static struct dj_choice_key key_of(const struct dj_attention *plan)
{
    return (struct dj_choice_key){
        {plan->map, plan->heads, plan->key_heads, plan->dim, plan->value_dim, plan->features,
         (plan->normalise ? 1u : 0u) | (plan->key_normalise ? 2u : 0u) |
             (plan->resident.decay != NULL ? 4u : 0u) |
             (plan->context->matrices > 0 && !plan->context->matrices_asked ? 8u : 0u) |
             (plan->causal ? 0u : 16u),
         plan->q_type, plan->k_type, plan->v_type, plan->o_type, dj_context_uses(plan->context)}};
}

dj_result dj_choices_create(struct dj_attention *plan)
{
    plan->choices = calloc(1, sizeof *plan->choices);
    if (plan->choices == NULL)
        return dj_fail(&plan->context->log, DJ_ERROR_OUT_OF_HOST_MEMORY,
                       "attention: no host memory for choices");
    plan->choices->key = key_of(plan);
    const struct dj_choice *choice = dj_choices_first(plan->context);
    for (; choice != NULL; choice = choice->next) {
        if (memcmp(&choice->key, &plan->choices->key, sizeof choice->key) == 0)
            atomic_init(&plan->choices->family[choice->size], (unsigned char)choice->family);
    }
    return DJ_SUCCESS;
}

void dj_choices_destroy(struct dj_attention *plan)
{
    free(plan->choices);
}

static uint32_t size_of(const struct dj_call *call)
{
    const uint64_t keys = call->keys.longest, queries = call->queries.longest;
    return dj_choice_size(call->keys.sequences, keys > queries ? keys : queries);
}

uint32_t dj_choice_of(const struct dj_call *call)
{
    const struct dj_choices *const choices = call->plan->choices;
    return choices != NULL
               ? atomic_load_explicit(&choices->family[size_of(call)], memory_order_relaxed)
               : DJ_FAMILY_DEFAULT;
}

static void choose(struct dj_attention *plan, uint32_t size, uint32_t family)
{
    atomic_store_explicit(&plan->choices->family[size], (unsigned char)family,
                          memory_order_relaxed);
}

/* Scratch memory for the families, each of which gets as much as it asks for. */
struct scratch {
    struct dj_buffer *own;      /* where the caller gives none; NULL: none is needed */
    struct dj_scratch given[2]; /* by family */
};

static const uint32_t families[] = {DJ_FAMILY_TILED, DJ_FAMILY_RESIDENT};

static dj_result make_scratch(struct dj_attention *plan, const struct dj_attention_args *args,
                              uint32_t size, struct scratch *scratch)
{
    uint64_t most = 0;
    *scratch = (struct scratch){.given = {args->scratch, args->scratch}};
    for (int i = 0; i < 2 && args->scratch.buffer == NULL; i++) {
        struct dj_needs needs;
        choose(plan, size, families[i]);
        const dj_result result = dj_attention_needs(plan, args, &needs);
        if (result != DJ_SUCCESS)
            return result;
        scratch->given[i].size = needs.scratch_size;
        most = needs.scratch_size > most ? needs.scratch_size : most;
    }
    if (most == 0)
        return DJ_SUCCESS;
    const dj_result result = dj_buffer_create_named(plan->context, most, DJ_MEMORY_DEVICE,
                                                    "attention scratch", &scratch->own);
    for (int i = 0; i < 2; i++)
        scratch->given[i].buffer = scratch->given[i].size > 0 ? scratch->own : NULL;
    return result;
}

/* Runs both families in turn, and leaves the one whose quickest run was quicker. */
static dj_result measure(struct dj_attention *plan, const struct dj_attention_args *args,
                         const struct scratch *scratch, uint32_t size)
{
    const uint64_t start = dj_now_ns();
    uint64_t least[2] = {UINT64_MAX, UINT64_MAX};
    for (int round = 0; round < ROUNDS && (round < 2 || dj_now_ns() - start < most_ns); round++) {
        for (int i = 0; i < 2; i++) {
            struct dj_attention_args own = *args;
            own.scratch = scratch->given[i];
            choose(plan, size, families[i]);
            const uint64_t from = dj_now_ns();
            const dj_result result = dj_attention_run(plan, &own);
            if (result != DJ_SUCCESS)
                return result;
            const uint64_t ns = dj_now_ns() - from;
            if (round > 0 && ns < least[i])
                least[i] = ns;
        }
    }
    choose(plan, size, families[least[1] < least[0]]);
    dj_log_line(&plan->context->log, DJ_LOG_DEBUG,
                "attention: %.3f ms in tiles, %.3f ms in registers", 1e-6 * (double)least[0],
                1e-6 * (double)least[1]);
    return DJ_SUCCESS;
}

/* Measures, and keeps the outcome in the context, where another thread's comes first. */
static dj_result make_choice(struct dj_attention *plan, const struct dj_attention_args *args,
                             uint32_t size)
{
    struct scratch scratch;
    dj_result result = make_scratch(plan, args, size, &scratch);
    if (result == DJ_SUCCESS)
        result = measure(plan, args, &scratch, size);
    dj_buffer_destroy(&scratch.own);
    if (result != DJ_SUCCESS)
        return result;
    const struct dj_choice made = {
        .key = plan->choices->key, .size = size, .family = plan->choices->family[size]};
    const struct dj_choice *const kept = dj_choices_add(plan->context, &made);
    if (kept == NULL)
        return dj_fail(&plan->context->log, DJ_ERROR_OUT_OF_HOST_MEMORY,
                       "attention: no host memory for a choice");
    choose(plan, size, kept->family);
    return DJ_SUCCESS;
}

/* Whether both families can do the call. */
static bool has_choice(struct dj_attention *plan, const struct dj_call *call)
{
    if (call->family == &dj_family_step)
        return false;
    choose(plan, size_of(call), DJ_FAMILY_RESIDENT);
    const bool can = dj_resident_can(call);
    choose(plan, size_of(call), DJ_FAMILY_DEFAULT);
    return can;
}

dj_result dj_attention_tune(dj_attention *plan, const struct dj_attention_args *args)
{
    if (plan == NULL)
        return DJ_ERROR_INVALID_ARGUMENT;
    const struct dj_log *const log = &plan->context->log;
    if (args == NULL)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT, "dj_attention_tune: args is NULL");
    if (plan->choices == NULL)
        return dj_fail(log, DJ_ERROR_UNSUPPORTED,
                       "dj_attention_tune: the plan's family is not DJ_FAMILY_TUNED");
    if (dj_slots_used(args))
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                       "dj_attention_tune runs the call several times: no slots");
    struct dj_attention_args own = *args;
    if (own.scratch.buffer == NULL)
        own.scratch.offset = own.scratch.size = 0;
    struct dj_call call;
    struct dj_layout layout;
    struct dj_needs needs;
    dj_result result = dj_context_check_queue(plan->context, "dj_attention_tune");
    if (result == DJ_SUCCESS)
        result = dj_attention_check(plan, &own, true, &call, &needs);
    if (result == DJ_SUCCESS)
        result = dj_attention_lay_out(&call, &layout, &needs);
    if (result != DJ_SUCCESS || layout.pieces == 0 || dj_choice_of(&call) != DJ_FAMILY_DEFAULT ||
        !has_choice(plan, &call))
        return result;
    const uint32_t size = size_of(&call);
    const struct dj_choice *const known = dj_choices_find(plan->context, &plan->choices->key, size);
    if (known != NULL) { /* from another plan */
        choose(plan, size, known->family);
        return DJ_SUCCESS;
    }
    result = make_choice(plan, &own, size);
    if (result != DJ_SUCCESS)
        choose(plan, size, DJ_FAMILY_DEFAULT);
    return result;
}
