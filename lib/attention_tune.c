/* SPDX-License-Identifier: MIT */
/* Choosing a plan's kernel family by measurement. */
#include "attention.h"

#include "tuning.h"

#include <stdlib.h>
#include <time.h>

enum {
    MOST_ROUNDS = 5 /* the fewest are two: the first one of each family warms up */
};
static const uint64_t most_ns = 1000000000; /* after which no round begins */

struct dj_choices {
    struct dj_choice_key key;
    atomic_uchar family[DJ_CHOICE_SIZES]; /* enum dj_family; 0: not measured */
};

static struct dj_choice_key key_of(const struct dj_attention *plan)
{
    return (struct dj_choice_key){
        {plan->map, plan->heads, plan->key_heads, plan->dim, plan->value_dim, plan->features,
         (plan->normalise ? 1u : 0u) | (plan->key_normalise ? 2u : 0u) |
             (plan->resident.decay ? 4u : 0u),
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
    return dj_choice_size(call->keys.sequences, call->keys.longest);
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

static dj_result run_timed(const struct dj_attention *plan, const struct dj_attention_args *args,
                           uint64_t *ns)
{
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    const dj_result result = dj_attention_run(plan, args);
    clock_gettime(CLOCK_MONOTONIC, &to);
    *ns = (uint64_t)(to.tv_sec - from.tv_sec) * 1000000000 + (uint64_t)to.tv_nsec -
          (uint64_t)from.tv_nsec;
    return result;
}

/* Runs both families in turn, and leaves the one whose quickest run was quicker. */
static dj_result measure(struct dj_attention *plan, const struct dj_attention_args *args,
                         uint32_t size)
{
    static const uint32_t families[] = {DJ_FAMILY_TILED, DJ_FAMILY_RESIDENT};
    uint64_t least[2] = {UINT64_MAX, UINT64_MAX}, spent = 0;
    for (int round = 0; round < 2 || (round <= MOST_ROUNDS && spent < most_ns); round++) {
        for (int i = 0; i < 2; i++) {
            uint64_t ns;
            choose(plan, size, families[i]);
            const dj_result result = run_timed(plan, args, &ns);
            if (result != DJ_SUCCESS)
                return result;
            spent += ns;
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

/* Scratch memory for either family, where the caller gives none: allocating is not what is
 * measured. */
static dj_result measure_with_scratch(struct dj_attention *plan,
                                      const struct dj_attention_args *args, uint32_t size)
{
    struct dj_attention_args own = *args;
    struct dj_buffer *scratch = NULL;
    uint64_t most = 0;
    dj_result result = DJ_SUCCESS;
    own.scratch = (struct dj_scratch){.size = 0};
    for (uint32_t family = DJ_FAMILY_TILED;
         result == DJ_SUCCESS && args->scratch.buffer == NULL && family <= DJ_FAMILY_RESIDENT;
         family++) {
        struct dj_needs needs;
        choose(plan, size, family);
        result = dj_attention_needs(plan, &own, &needs);
        most = needs.scratch_size > most ? needs.scratch_size : most;
    }
    if (result == DJ_SUCCESS && most > 0)
        result = dj_buffer_create_named(plan->context, most, DJ_MEMORY_DEVICE, "attention scratch",
                                        &scratch);
    own.scratch =
        scratch != NULL ? (struct dj_scratch){.buffer = scratch, .size = most} : args->scratch;
    if (result == DJ_SUCCESS)
        result = measure(plan, &own, size);
    dj_buffer_destroy(&scratch);
    return result;
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
    struct dj_call call;
    struct dj_layout layout;
    struct dj_needs needs;
    dj_result result = dj_context_check_queue(plan->context, "dj_attention_tune");
    if (result == DJ_SUCCESS)
        result = dj_attention_check(plan, args, true, &call, &needs);
    if (result == DJ_SUCCESS)
        result = dj_attention_lay_out(&call, &layout, &needs);
    if (result != DJ_SUCCESS || layout.pieces == 0 || dj_choice_of(&call) != DJ_FAMILY_DEFAULT ||
        !has_choice(plan, &call))
        return result;
    const uint32_t size = size_of(&call);
    result = measure_with_scratch(plan, args, size);
    if (result == DJ_SUCCESS)
        result = dj_choices_add(plan->context, &(struct dj_choice){.key = plan->choices->key,
                                                                   .size = size,
                                                                   .family = dj_choice_of(&call)});
    if (result != DJ_SUCCESS)
        choose(plan, size, DJ_FAMILY_DEFAULT);
    return result;
}
