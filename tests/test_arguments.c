/* SPDX-License-Identifier: MIT */
/* Every rule of <dijiang/attention.h>, broken one at a time: the result code, and an unchanged
 * world. */
#include "problem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    HEADS = 3,
    DIM = 64,
    VALUE_DIM = 32,
    TOKENS = 40,
    BATCH = 2
};

/* Plans */

struct plan_mutation {
    const char *name;
    dj_result result;
    void (*apply)(struct dj_attention_params *params, float *decay);
};

#define PLAN_MUTATION(name, ...) \
    static void name(struct dj_attention_params *params, float *decay) \
    { \
        (void)params; \
        (void)decay; \
        __VA_ARGS__ \
    }

PLAN_MUTATION(plan_map, params->map = 2;)
PLAN_MUTATION(plan_heads, params->heads = 65536; params->decay = NULL;)
PLAN_MUTATION(plan_dim_zero, params->dim = 0;)
PLAN_MUTATION(plan_dim_odd, params->dim = 66;)
PLAN_MUTATION(plan_dim_large, params->dim = 260;)
PLAN_MUTATION(plan_value_odd, params->value_dim = 33;)
PLAN_MUTATION(plan_value_large, params->value_dim = 260;)
PLAN_MUTATION(plan_causal, params->causal = 3;)
PLAN_MUTATION(plan_normalise, params->normalise = 3;)
PLAN_MUTATION(plan_scale_negative, params->scale = -1;)
PLAN_MUTATION(plan_scale_nan, params->scale = NAN;)
PLAN_MUTATION(plan_scale_inf, params->scale = INFINITY;)
PLAN_MUTATION(plan_path, params->dct_path = 3;)
PLAN_MUTATION(plan_decay_zero, decay[2] = 0;)
PLAN_MUTATION(plan_decay_negative, decay[0] = -0.5f;)
PLAN_MUTATION(plan_decay_large, decay[1] = 1.0001f;)
PLAN_MUTATION(plan_decay_nan, decay[1] = NAN;)
PLAN_MUTATION(plan_decay_tiny, decay[1] = 0x1p-127f;)
PLAN_MUTATION(plan_decay_full, params->causal = DJ_OFF;)
PLAN_MUTATION(plan_generated_bluestein, params->dim = 188;
              params->dct_path = DJ_DCT_PATH_GENERATED;)
PLAN_MUTATION(plan_reserved, params->reserved[0] = 1;)

static const struct plan_mutation plan_mutations[] = {
    {"unknown map", DJ_ERROR_INVALID_ARGUMENT, plan_map},
    {"65536 heads", DJ_ERROR_INVALID_ARGUMENT, plan_heads},
    {"dim 0", DJ_ERROR_INVALID_ARGUMENT, plan_dim_zero},
    {"dim 66", DJ_ERROR_INVALID_ARGUMENT, plan_dim_odd},
    {"dim 260", DJ_ERROR_INVALID_ARGUMENT, plan_dim_large},
    {"value_dim 33", DJ_ERROR_INVALID_ARGUMENT, plan_value_odd},
    {"value_dim 260", DJ_ERROR_INVALID_ARGUMENT, plan_value_large},
    {"causal 3", DJ_ERROR_INVALID_ARGUMENT, plan_causal},
    {"normalise 3", DJ_ERROR_INVALID_ARGUMENT, plan_normalise},
    {"negative scale", DJ_ERROR_INVALID_ARGUMENT, plan_scale_negative},
    {"scale NaN", DJ_ERROR_INVALID_ARGUMENT, plan_scale_nan},
    {"scale Inf", DJ_ERROR_INVALID_ARGUMENT, plan_scale_inf},
    {"dct_path 3", DJ_ERROR_INVALID_ARGUMENT, plan_path},
    {"decay 0", DJ_ERROR_INVALID_ARGUMENT, plan_decay_zero},
    {"negative decay", DJ_ERROR_INVALID_ARGUMENT, plan_decay_negative},
    {"decay above 1", DJ_ERROR_INVALID_ARGUMENT, plan_decay_large},
    {"decay NaN", DJ_ERROR_INVALID_ARGUMENT, plan_decay_nan},
    {"decay below 2^-126", DJ_ERROR_INVALID_ARGUMENT, plan_decay_tiny},
    {"decay without causal", DJ_ERROR_UNSUPPORTED, plan_decay_full},
    {"generated transform of 188", DJ_ERROR_UNSUPPORTED, plan_generated_bluestein},
    {"reserved", DJ_ERROR_VERSION, plan_reserved},
};
enum {
    PLAN_MUTATIONS = sizeof(plan_mutations) / sizeof(*plan_mutations)
};

static void invalid_plans_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i <= PLAN_MUTATIONS; i++) {
        float decay[HEADS] = {1, 0.5f, 0.9f};
        struct dj_attention_params params = {
            .heads = HEADS, .dim = DIM, .value_dim = VALUE_DIM, .decay = decay};
        dj_attention *plan = (void *)&params; /* must become NULL on failure */
        if (i == PLAN_MUTATIONS) {            /* without a mutation it is right */
            HARNESS_OK(dj_attention_create(harness_context(0), &params, &plan));
            dj_attention_destroy(&plan);
            assert_null(plan);
            continue;
        }
        plan_mutations[i].apply(&params, decay);
        harness_log_clear();
        harness_assert_result(dj_attention_create(harness_context(0), &params, &plan),
                              plan_mutations[i].result, plan_mutations[i].name, __FILE__, __LINE__);
        assert_null(plan);
        assert_true(harness_log_last()[0] != 0);
    }
}

static void null_plans_are_refused(void **state)
{
    (void)state;
    const struct dj_attention_params params = {.heads = 1, .dim = 4};
    dj_attention *plan = NULL;
    HARNESS_RESULT(dj_attention_create(NULL, &params, &plan), DJ_ERROR_INVALID_ARGUMENT);
    HARNESS_RESULT(dj_attention_create(harness_context(0), NULL, &plan), DJ_ERROR_INVALID_ARGUMENT);
    HARNESS_RESULT(dj_attention_create(harness_context(0), &params, NULL),
                   DJ_ERROR_INVALID_ARGUMENT);
    dj_attention_destroy(&plan);
    dj_attention_destroy(NULL);
}

/* Calls */

/* A call that is right, and what its mutations need. */
struct call {
    struct placed placed;
    struct dj_attention_args args;
    struct dj_needs needs;
    dj_buffer *state, *scratch;
    dj_features *other_map, *other_dim, *other_heads;
};

struct call_mutation {
    const char *name;
    dj_result result;
    void (*apply)(struct call *call, struct dj_attention_args *args);
};

#define CALL_MUTATION(name, ...) \
    static void name(struct call *call, struct dj_attention_args *args) \
    { \
        (void)call; \
        __VA_ARGS__ \
    }

CALL_MUTATION(q_no_buffer, args->q.buffer = NULL;)
CALL_MUTATION(o_no_buffer, args->o.buffer = NULL;)
CALL_MUTATION(k_type, args->k.type = 77;)
CALL_MUTATION(v_offset, args->v.offset += 2;)
CALL_MUTATION(q_last_stride, args->q.stride[3] = 2;)
CALL_MUTATION(k_beyond, args->k.offset += 1 << 20;)
CALL_MUTATION(v_stride_beyond, args->v.stride[0] = 1 << 24;)
CALL_MUTATION(q_stride_overflow, args->q.stride[0] = UINT64_MAX;)
CALL_MUTATION(o_stride_overflow, args->o.stride[1] = UINT64_MAX / TOKENS + 2;)
CALL_MUTATION(k_offset_overflow, args->k.offset = UINT64_MAX - 3;)
CALL_MUTATION(q_batch, args->q.shape[0]--;)
CALL_MUTATION(k_tokens, args->k.shape[1]--;)
CALL_MUTATION(v_heads, args->v.shape[2]--;)
CALL_MUTATION(q_dim, args->q.shape[3] -= 4;)
CALL_MUTATION(k_dim, args->k.shape[3] -= 4;)
CALL_MUTATION(v_dim, args->v.shape[3] -= 4;)
CALL_MUTATION(o_dim, args->o.shape[3] -= 4;)
CALL_MUTATION(all_heads, args->q.shape[2]--; args->k.shape[2]--; args->v.shape[2]--;
              args->o.shape[2]--;)
CALL_MUTATION(o_repeats, args->o.stride[0] = 0;)
CALL_MUTATION(o_overlaps_itself, args->o.stride[1] -= 1;)
CALL_MUTATION(o_is_v, args->o = args->v;)
CALL_MUTATION(o_in_q, args->o.buffer = args->q.buffer;)
CALL_MUTATION(no_features, args->features = NULL;)
CALL_MUTATION(features_map, args->features = call->other_map;)
CALL_MUTATION(features_dim, args->features = call->other_dim;)
CALL_MUTATION(features_heads, args->features = call->other_heads;)
CALL_MUTATION(unknown_barrier, args->barriers = 8;)
CALL_MUTATION(scratch_none, args->scratch.buffer = NULL;)
CALL_MUTATION(scratch_small, args->scratch.size = 64;)
CALL_MUTATION(scratch_misaligned, args->scratch.offset = 2;)
CALL_MUTATION(scratch_beyond, args->scratch.offset = call->needs.scratch_alignment;)
CALL_MUTATION(scratch_is_o, args->o.buffer = args->scratch.buffer; args->o.offset = 0;)
CALL_MUTATION(state_is_o, args->o.buffer = args->state; args->o.offset = 0;)
CALL_MUTATION(state_misaligned, args->state_offset = call->needs.slot_alignment / 2;)
CALL_MUTATION(state_short, args->slot_count = 5;)
CALL_MUTATION(state_beyond, args->state_offset = call->needs.slot_alignment << 30;)
CALL_MUTATION(slot_beyond, static const int32_t slots[2] = {0, 4}; args->slots_out = slots;)
CALL_MUTATION(reserved_set, args->reserved[2] = 1;)
CALL_MUTATION(tensor_reserved, args->k.reserved[1] = 1;)
CALL_MUTATION(scratch_reserved, args->scratch.reserved[0] = 1;)

static const struct call_mutation call_mutations[] = {
    {"q without buffer", DJ_ERROR_INVALID_ARGUMENT, q_no_buffer},
    {"o without buffer", DJ_ERROR_INVALID_ARGUMENT, o_no_buffer},
    {"k of unknown type", DJ_ERROR_INVALID_ARGUMENT, k_type},
    {"v at offset 2", DJ_ERROR_INVALID_ARGUMENT, v_offset},
    {"q's last stride 2", DJ_ERROR_INVALID_ARGUMENT, q_last_stride},
    {"k beyond its buffer", DJ_ERROR_INVALID_ARGUMENT, k_beyond},
    {"v's stride beyond its buffer", DJ_ERROR_INVALID_ARGUMENT, v_stride_beyond},
    {"q's stride overflows", DJ_ERROR_LIMIT, q_stride_overflow},
    {"o's stride overflows", DJ_ERROR_LIMIT, o_stride_overflow},
    {"k's offset overflows", DJ_ERROR_LIMIT, k_offset_overflow},
    {"q's batch", DJ_ERROR_INVALID_ARGUMENT, q_batch},
    {"k's tokens", DJ_ERROR_INVALID_ARGUMENT, k_tokens},
    {"v's heads", DJ_ERROR_INVALID_ARGUMENT, v_heads},
    {"q's dim", DJ_ERROR_INVALID_ARGUMENT, q_dim},
    {"k's dim", DJ_ERROR_INVALID_ARGUMENT, k_dim},
    {"v's dim", DJ_ERROR_INVALID_ARGUMENT, v_dim},
    {"o's dim", DJ_ERROR_INVALID_ARGUMENT, o_dim},
    {"heads not the plan's", DJ_ERROR_INVALID_ARGUMENT, all_heads},
    {"o repeats", DJ_ERROR_INVALID_ARGUMENT, o_repeats},
    {"o overlaps itself", DJ_ERROR_INVALID_ARGUMENT, o_overlaps_itself},
    {"o is v", DJ_ERROR_INVALID_ARGUMENT, o_is_v},
    {"o in q", DJ_ERROR_INVALID_ARGUMENT, o_in_q},
    {"no features", DJ_ERROR_INVALID_ARGUMENT, no_features},
    {"features of another map", DJ_ERROR_INVALID_ARGUMENT, features_map},
    {"features of another dim", DJ_ERROR_INVALID_ARGUMENT, features_dim},
    {"features of other heads", DJ_ERROR_INVALID_ARGUMENT, features_heads},
    {"unknown barrier", DJ_ERROR_INVALID_ARGUMENT, unknown_barrier},
    {"no scratch", DJ_ERROR_SCRATCH, scratch_none},
    {"scratch too small", DJ_ERROR_SCRATCH, scratch_small},
    {"scratch misaligned", DJ_ERROR_SCRATCH, scratch_misaligned},
    {"scratch beyond its buffer", DJ_ERROR_SCRATCH, scratch_beyond},
    {"scratch is o", DJ_ERROR_INVALID_ARGUMENT, scratch_is_o},
    {"state is o", DJ_ERROR_INVALID_ARGUMENT, state_is_o},
    {"state misaligned", DJ_ERROR_INVALID_ARGUMENT, state_misaligned},
    {"state too short", DJ_ERROR_INVALID_ARGUMENT, state_short},
    {"state beyond its buffer", DJ_ERROR_INVALID_ARGUMENT, state_beyond},
    {"slot beyond the pool", DJ_ERROR_INVALID_ARGUMENT, slot_beyond},
    {"reserved", DJ_ERROR_VERSION, reserved_set},
    {"reserved of a tensor", DJ_ERROR_VERSION, tensor_reserved},
    {"reserved of the scratch memory", DJ_ERROR_VERSION, scratch_reserved},
};
enum {
    CALL_MUTATIONS = sizeof(call_mutations) / sizeof(*call_mutations)
};

static dj_features *make_features(uint32_t map, uint32_t dim, uint32_t heads)
{
    static float frequencies[2 * 256];
    dj_features *features = NULL;
    const struct dj_features_params params = {
        .map = map, .dim = dim, .heads = heads, .frequencies = frequencies};
    HARNESS_OK(dj_features_create(harness_context(0), &params, &features));
    return features;
}

static void call_init(struct call *call, struct problem *problem)
{
    problem_init(problem, &(struct problem_params){SHAPE(BATCH, TOKENS, HEADS, DIM, VALUE_DIM),
                                                   .normalise = true});
    problem_solve(problem);
    problem_place(problem, harness_context(0), LAYOUT_PLAIN, &call->placed);
    call->args = call->placed.args;
    HARNESS_OK(dj_attention_needs(call->placed.plan, NULL, &call->needs));
    call->state = harness_poisoned(harness_context(0), 4 * call->needs.slot_size);
    call->args.state = call->state;
    call->args.slot_count = 4;
    static const int32_t out[BATCH] = {0, 3};
    call->args.slots_out = out;
    HARNESS_OK(dj_attention_needs(call->placed.plan, &call->args, &call->needs));
    call->scratch = harness_poisoned(harness_context(0), call->needs.scratch_size);
    call->args.scratch =
        (struct dj_scratch){.buffer = call->scratch, .size = call->needs.scratch_size};
    call->args.barriers = DJ_BARRIER_BEFORE | DJ_BARRIER_AFTER_HOST;
    call->other_map = make_features(DJ_MAP_SOFTMAX_DCT, DIM, 0);
    call->other_dim = make_features(DJ_MAP_WDCF, DIM - 4, 0);
    call->other_heads = make_features(DJ_MAP_WDCF, DIM, HEADS - 1);
}

static void call_finish(struct call *call, struct problem *problem)
{
    dj_features_destroy(&call->other_map);
    dj_features_destroy(&call->other_dim);
    dj_features_destroy(&call->other_heads);
    dj_buffer_destroy(&call->state);
    dj_buffer_destroy(&call->scratch);
    placed_finish(&call->placed);
    problem_finish(problem);
}

static void assert_untouched(const struct call *call)
{
    dj_buffer *o = call->placed.args.o.buffer;
    harness_assert_poisoned(o, 0, dj_buffer_size(o));
    harness_assert_poisoned(call->state, 0, dj_buffer_size(call->state));
    harness_assert_poisoned(call->scratch, 0, dj_buffer_size(call->scratch));
}

/* Recording what is refused records nothing: the same recorder then runs the call that is right. */
static void invalid_calls_are_refused(void **state)
{
    (void)state;
    struct problem problem;
    struct call call;
    call_init(&call, &problem);
    const struct dj_recorder_params exactly = {.dispatches = call.needs.dispatches,
                                               .ring_size = call.needs.ring_size};
    dj_recorder *recorder = NULL;
    HARNESS_OK(dj_recorder_create(harness_context(0), &exactly, &recorder));
    HARNESS_OK(dj_recorder_begin(recorder));
    unsigned wrong = 0; /* all are tried before the test fails */
    for (size_t i = 0; i < CALL_MUTATIONS; i++) {
        struct dj_attention_args args = call.args;
        call_mutations[i].apply(&call, &args);
        const dj_result want = call_mutations[i].result;
        harness_log_clear();
        const dj_result recorded = dj_attention_record(call.placed.plan, recorder, &args);
        const bool logged = harness_log_last()[0] != 0;
        /* dj_attention_run agrees, but that it would allocate scratch memory where none is given */
        const dj_result ran = call_mutations[i].apply == scratch_none
                                  ? want
                                  : dj_attention_run(call.placed.plan, &args);
        if (recorded == want && ran == want && logged)
            continue;
        wrong++;
        print_error("%s: record %s, run %s, not %s; %s\n", call_mutations[i].name,
                    dj_result_name(recorded), dj_result_name(ran), dj_result_name(want),
                    logged ? "logged" : "nothing logged");
    }
    assert_int_equal(wrong, 0);
    HARNESS_OK(dj_recorder_submit(recorder));
    HARNESS_OK(dj_recorder_wait(recorder, UINT64_MAX));
    assert_untouched(&call);

    HARNESS_OK(dj_recorder_begin(recorder));
    HARNESS_OK(dj_attention_record(call.placed.plan, recorder, &call.args));
    HARNESS_OK(dj_recorder_submit(recorder));
    HARNESS_OK(dj_recorder_wait(recorder, UINT64_MAX));
    float *got = placed_output(&call.placed);
    problem_assert(&problem, got, "after refusals");
    free(got);
    dj_recorder_destroy(&recorder);
    call_finish(&call, &problem);
}

static void null_calls_are_refused(void **state)
{
    (void)state;
    struct problem problem;
    struct call call;
    call_init(&call, &problem);
    dj_recorder *recorder = NULL;
    HARNESS_OK(dj_recorder_create(harness_context(0), &(struct dj_recorder_params){0}, &recorder));
    HARNESS_OK(dj_recorder_begin(recorder));
    const dj_attention *plan = call.placed.plan;
    HARNESS_RESULT(dj_attention_record(NULL, recorder, &call.args), DJ_ERROR_INVALID_ARGUMENT);
    HARNESS_RESULT(dj_attention_record(plan, NULL, &call.args), DJ_ERROR_INVALID_ARGUMENT);
    HARNESS_RESULT(dj_attention_record(plan, recorder, NULL), DJ_ERROR_INVALID_ARGUMENT);
    HARNESS_RESULT(dj_attention_run(NULL, &call.args), DJ_ERROR_INVALID_ARGUMENT);
    HARNESS_RESULT(dj_attention_run(plan, NULL), DJ_ERROR_INVALID_ARGUMENT);
    dj_recorder_destroy(&recorder);
    assert_untouched(&call);
    call_finish(&call, &problem);
}

static void recorders_must_record_and_have_room(void **state)
{
    (void)state;
    struct problem problem;
    struct call call;
    call_init(&call, &problem);
    assert_true(call.needs.dispatches > 1 && call.needs.ring_size > 0); /* it has slots */
    for (uint32_t calls = 0; calls < 2; calls++) { /* that fit: by dispatches none, by ring one */
        const struct dj_recorder_params params = {.dispatches = calls ? 3 * call.needs.dispatches
                                                                      : call.needs.dispatches - 1,
                                                  .ring_size = call.needs.ring_size};
        dj_recorder *recorder = NULL;
        const dj_attention *plan = call.placed.plan;
        HARNESS_OK(dj_recorder_create(harness_context(0), &params, &recorder));
        HARNESS_RESULT(dj_attention_record(plan, recorder, &call.args), DJ_ERROR_RECORDER_STATE);
        HARNESS_OK(dj_recorder_begin(recorder));
        if (calls)
            HARNESS_OK(dj_attention_record(plan, recorder, &call.args));
        HARNESS_RESULT(dj_attention_record(plan, recorder, &call.args), DJ_ERROR_RECORDER_FULL);
        HARNESS_OK(dj_recorder_begin(recorder)); /* drops what was recorded */
        HARNESS_OK(dj_recorder_submit(recorder));
        HARNESS_RESULT(dj_attention_record(plan, recorder, &call.args), DJ_ERROR_RECORDER_STATE);
        HARNESS_OK(dj_recorder_wait(recorder, UINT64_MAX));
        dj_recorder_destroy(&recorder);
    }
    assert_untouched(&call);
    call_finish(&call, &problem);
}

/* Objects of one context are refused by another's plan. */
static void contexts_do_not_mix(void **state)
{
    (void)state;
    struct problem problem;
    struct call call;
    call_init(&call, &problem);
    struct dj_device_info info;
    HARNESS_OK(dj_context_device(harness_context(0), &info));
    char index[16];
    snprintf(index, sizeof(index), "%u", info.index);
    dj_context *other = NULL;
    HARNESS_OK(dj_context_create(&(struct dj_context_params){.device = index}, &other));
    dj_buffer *buffer = harness_poisoned(other, dj_buffer_size(call.args.q.buffer));
    struct dj_attention_args args = call.args;
    args.q.buffer = buffer;
    HARNESS_RESULT(dj_attention_run(call.placed.plan, &args), DJ_ERROR_INVALID_ARGUMENT);
    args = call.args;
    args.o.buffer = buffer;
    HARNESS_RESULT(dj_attention_run(call.placed.plan, &args), DJ_ERROR_INVALID_ARGUMENT);
    dj_recorder *recorder = NULL;
    HARNESS_OK(dj_recorder_create(other, &(struct dj_recorder_params){0}, &recorder));
    HARNESS_OK(dj_recorder_begin(recorder));
    HARNESS_RESULT(dj_attention_record(call.placed.plan, recorder, &call.args),
                   DJ_ERROR_INVALID_ARGUMENT);
    dj_recorder_destroy(&recorder);
    dj_buffer_destroy(&buffer);
    dj_context_destroy(&other);
    assert_untouched(&call);
    call_finish(&call, &problem);
}

static const struct CMUnitTest tests[] = {
    HARNESS_TEST(invalid_plans_are_refused),           HARNESS_TEST(null_plans_are_refused),
    HARNESS_TEST(invalid_calls_are_refused),           HARNESS_TEST(null_calls_are_refused),
    HARNESS_TEST(recorders_must_record_and_have_room), HARNESS_TEST(contexts_do_not_mix),
};

HARNESS_MAIN(tests)
