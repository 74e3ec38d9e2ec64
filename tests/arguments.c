/* SPDX-License-Identifier: MIT */
#include "arguments.h"
#include "half.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What differs between the bases. */
static const struct base_params {
    uint32_t map, features, max_tokens, normalise;
    bool full, decayed, scaled, half, stateless;
    uint64_t tokens, queries;
} bases[BASE_COUNT] = {
    [BASE_CAUSAL] = {.map = DJ_MAP_WDCF,
                     .features = 24,
                     .decayed = true,
                     .tokens = CALL_TOKENS,
                     .queries = CALL_TOKENS},
    [BASE_FULL] = {.map = DJ_MAP_PRF,
                   .features = 24,
                   .full = true,
                   .tokens = CALL_TOKENS,
                   .queries = CALL_QUERIES},
    [BASE_SOFTMAX] = {.map = DJ_MAP_SOFTMAX,
                      .stateless = true,
                      .tokens = CALL_TOKENS,
                      .queries = CALL_TOKENS},
    [BASE_LINFORMER] = {.map = DJ_MAP_LINFORMER,
                        .features = 6,
                        .max_tokens = CALL_LINFORMER_TOKENS,
                        .full = true,
                        .stateless = true,
                        .tokens = CALL_LINFORMER_TOKENS,
                        .queries = CALL_QUERIES},
    [BASE_COSFORMER] = {.map = DJ_MAP_COSFORMER,
                        .max_tokens = CALL_MOST,
                        .tokens = CALL_TOKENS,
                        .queries = CALL_TOKENS},
    [BASE_SCALED] = {.map = DJ_MAP_ELU,
                     .normalise = DJ_OFF,
                     .scaled = true,
                     .tokens = CALL_TOKENS,
                     .queries = CALL_TOKENS},
    [BASE_HALF] = {.map = DJ_MAP_RELU, .half = true, .tokens = CALL_TOKENS, .queries = CALL_TOKENS},
};

/* Numbers for maps that take any; d, m and heads as given. */
static dj_features *make_features(dj_context *context, uint32_t map, uint32_t dim,
                                  uint32_t features, uint32_t heads, uint32_t tokens)
{
    static float numbers[8192];
    if (numbers[0] == 0)
        harness_fill_normal(numbers, sizeof(numbers) / sizeof(*numbers), 1);
    const bool rows = map == DJ_MAP_LINFORMER, directions = map == DJ_MAP_PRF;
    const struct dj_features_params params = {
        .map = map,
        .dim = dim,
        .features = features,
        .heads = heads,
        .tokens = tokens,
        .frequencies = rows || directions ? NULL : numbers,
        .directions = directions ? numbers : NULL,
        .key_projection = rows ? numbers : NULL,
        .value_projection = rows ? numbers + 1000 : NULL,
    };
    dj_features *made = NULL;
    HARNESS_OK(dj_features_create(context, &params, &made));
    return made;
}

static void make_plan(struct call *call, const struct base_params *base)
{
    const float decay[CALL_KEY_HEADS] = {0.9f, 1};
    const struct dj_attention_params params = {
        .map = base->map,
        .heads = CALL_HEADS,
        .key_heads = CALL_KEY_HEADS,
        .dim = CALL_DIM,
        .value_dim = CALL_VALUE_DIM,
        .features = base->features,
        .max_tokens = base->max_tokens,
        .causal = base->full ? DJ_OFF : DJ_DEFAULT,
        .normalise = base->normalise,
        .q_type = base->half ? DJ_FLOAT16 : DJ_FLOAT32,
        .k_type = base->half ? DJ_BFLOAT16 : DJ_FLOAT32,
        .o_type = base->half ? DJ_FLOAT16 : DJ_FLOAT32,
        .decay = base->decayed ? decay : NULL,
    };
    HARNESS_OK(dj_attention_create(call->context, &params, &call->plan));
}

/* Objects that belong elsewhere; of the maps that have numbers, numbers of another shape. */
static void make_others(struct call *call, const struct base_params *base)
{
    dj_context *const context = call->context;
    struct dj_device_info info;
    HARNESS_OK(dj_context_device(context, &info));
    char index[16];
    snprintf(index, sizeof(index), "%u", info.index);
    const struct dj_context_params params = {.device = index, .validation = DJ_OFF};
    HARNESS_OK(dj_context_create(&params, &call->other));
    call->foreign = harness_buffer(call->other, NULL, dj_buffer_size(call->inputs[0]));
    call->foreign_features =
        make_features(call->other, DJ_MAP_WDCF, CALL_DIM, bases[BASE_CAUSAL].features, 0, 0);
    call->other_map = make_features(context, DJ_MAP_SOFTMAX_DCT, CALL_DIM, 0, 0, 0);
    if (!call->features)
        return;
    const uint32_t map = base->map, m = base->features, T = base->max_tokens;
    call->other_dim = make_features(context, map, CALL_DIM - 4, m, 0, T);
    call->other_features = make_features(context, map, CALL_DIM, m - 4, 0, T);
    call->other_heads = make_features(context, map, CALL_DIM, m, CALL_HEADS, T);
    if (T)
        call->other_tokens = make_features(context, map, CALL_DIM, m, 0, T - 1);
}

void call_reshape(struct dj_attention_args *args, uint64_t batch, uint64_t tokens)
{
    struct dj_tensor *const tensors[] = {&args->q, &args->k, &args->v, &args->o};
    for (size_t i = 0; i < 4; i++) {
        const uint64_t *const n = tensors[i]->shape;
        dj_tensor_init(tensors[i], tensors[i]->buffer, tensors[i]->offset, tensors[i]->type,
                       (const uint64_t[4]){batch, tokens, n[2], n[3]});
    }
}

/* Four tensors in buffers twice their size, so that a mutation may grow them. */
static void make_tensors(struct call *call, const struct base_params *base)
{
    dj_context *const context = call->context;
    struct dj_attention_args *const args = &call->args;
    struct dj_tensor *const tensors[] = {&args->q, &args->k, &args->v, &args->o};
    for (size_t i = 0; i < 4; i++) {
        const bool queries = i == 0 || i == 3;
        const uint64_t shape[4] = {CALL_BATCH, queries ? base->queries : base->tokens,
                                   queries ? CALL_HEADS : CALL_KEY_HEADS,
                                   i < 2 ? CALL_DIM : CALL_VALUE_DIM};
        const uint32_t type = !base->half || i == 2 ? DJ_FLOAT32
                              : i == 1              ? DJ_BFLOAT16
                                                    : DJ_FLOAT16;
        const size_t count = 2 * shape[0] * shape[1] * shape[2] * shape[3];
        if (i == 3) {
            call->output = harness_poisoned(context, count * 4);
        } else {
            float *const values = malloc(count * sizeof(*values));
            void *const image = calloc(count, sizeof(*values));
            assert_non_null(values);
            assert_non_null(image);
            harness_fill_normal(values, count, 1);
            half_store(type, image, values, count);
            call->inputs[i] = harness_buffer(context, image, count * 4);
            free(image);
            free(values);
        }
        dj_tensor_init(tensors[i], i == 3 ? call->output : call->inputs[i], 0, type, shape);
    }
}

static void make_scales(struct call *call)
{
    float values[(CALL_HEADS + CALL_KEY_HEADS) * CALL_MOST];
    harness_fill_normal(values, sizeof(values) / sizeof(*values), 1);
    call->scales = harness_buffer(call->context, values, sizeof(values));
    dj_tensor_init(&call->args.query_scales, call->scales, 0, DJ_FLOAT32,
                   (const uint64_t[4]){1, 1, CALL_HEADS, CALL_MOST});
    dj_tensor_init(&call->args.key_scales, call->scales, 4 * CALL_HEADS * CALL_MOST, DJ_FLOAT32,
                   (const uint64_t[4]){1, 1, CALL_KEY_HEADS, CALL_MOST});
}

/* Words for mutations to point at: {0, 20, 40, 0, 1, 2, ..}: spans, packed and padded, and slots.
 */
static void make_indices(struct call *call)
{
    int32_t words[64] = {0, 20, 40};
    for (int32_t i = 3; i < 64; i++)
        words[i] = (i - 3) % CALL_SLOTS;
    call->indices = harness_buffer(call->context, words, sizeof(words));
}

static void make_pool(struct call *call)
{
    static const int32_t out[CALL_BATCH] = {0, 3};
    call->state = harness_poisoned(call->context, CALL_SLOTS * call->needs.slot_size);
    call->args.state = call->state;
    call->args.slot_count = CALL_SLOTS;
    call->args.slots_out.host = out;
}

static void poison(dj_buffer *buffer)
{
    const uint64_t words = dj_buffer_size(buffer) / 4;
    uint32_t *const data = malloc(words * 4);
    assert_non_null(data);
    for (uint64_t i = 0; i < words; i++)
        data[i] = HARNESS_POISON;
    HARNESS_OK(dj_buffer_write(buffer, 0, data, words * 4));
    free(data);
}

static void *contents(dj_buffer *buffer)
{
    void *const data = malloc(dj_buffer_size(buffer));
    assert_non_null(data);
    harness_read(buffer, 0, data, dj_buffer_size(buffer));
    return data;
}

void call_init(struct call *call, dj_context *context, enum base base)
{
    const struct base_params *const params = &bases[base];
    *call = (struct call){.base = base, .context = context};
    make_plan(call, params);
    make_tensors(call, params);
    make_indices(call);
    if (params->features)
        call->features = make_features(call->context, params->map, CALL_DIM, params->features, 0,
                                       params->max_tokens);
    call->args.features = call->features;
    if (params->scaled)
        make_scales(call);
    HARNESS_OK(dj_attention_needs(call->plan, NULL, &call->needs));
    if (!params->stateless)
        make_pool(call);
    HARNESS_OK(dj_attention_run(call->plan, &call->args));
    call->want = contents(call->output);
    poison(call->output);
    if (call->state)
        poison(call->state);

    HARNESS_OK(dj_attention_needs(call->plan, &call->args, &call->needs));
    call->scratch = harness_poisoned(call->context, call->needs.scratch_size);
    call->args.scratch =
        (struct dj_scratch){.buffer = call->scratch, .size = call->needs.scratch_size};
    call->args.barriers = DJ_BARRIER_BEFORE | DJ_BARRIER_AFTER_HOST;
    make_others(call, params);
}

void call_finish(struct call *call)
{
    dj_features **const features[] = {
        &call->features,    &call->other_map,    &call->other_dim,       &call->other_features,
        &call->other_heads, &call->other_tokens, &call->foreign_features};
    for (size_t i = 0; i < sizeof(features) / sizeof(*features); i++)
        dj_features_destroy(features[i]);
    dj_buffer **const buffers[] = {&call->inputs[0], &call->inputs[1], &call->inputs[2],
                                   &call->output,    &call->state,     &call->scratch,
                                   &call->scales,    &call->indices,   &call->foreign};
    for (size_t i = 0; i < sizeof(buffers) / sizeof(*buffers); i++)
        dj_buffer_destroy(buffers[i]);
    dj_context_destroy(&call->other);
    dj_attention_destroy(&call->plan);
    free(call->want);
}

void call_assert_untouched(const struct call *call)
{
    dj_buffer *const buffers[] = {call->output, call->state, call->scratch};
    for (size_t i = 0; i < 3; i++)
        if (buffers[i])
            harness_assert_poisoned(buffers[i], 0, dj_buffer_size(buffers[i]));
}

void call_assert_right(const struct call *call)
{
    void *const got = contents(call->output);
    assert_memory_equal(got, call->want, dj_buffer_size(call->output));
    free(got);
}

bool line_has_word(const char *line, const char *words)
{
    while (*words) {
        const size_t length = strcspn(words, "|");
        for (const char *at = line; *at; at++) {
            const bool starts = at == line || (!isalnum((unsigned char)at[-1]) && at[-1] != '_');
            const unsigned char after = strlen(at) >= length ? (unsigned char)at[length] : 'x';
            if (starts && strncmp(at, words, length) == 0 && !isalnum(after) && after != '_')
                return true;
        }
        words += length + (words[length] == '|');
    }
    return false;
}

static char own_line[1024];

void call_log(void *user, uint32_t level, const char *message)
{
    (void)user;
    if (level == DJ_LOG_ERROR)
        snprintf(own_line, sizeof(own_line), "%s", message);
}

/* What dj_attention_needs should say of a mutation, or what it said where that is left open. */
static dj_result needs_due(const struct mutation *mutation, dj_result said)
{
    return mutation->needs == NEEDS_AGREES  ? mutation->result
           : mutation->needs == NEEDS_BLIND ? DJ_SUCCESS
                                            : said;
}

unsigned call_try(struct call *call, dj_recorder *recorder, const struct dj_attention_args *args,
                  const struct mutation *mutation, const char *name)
{
    struct dj_needs needs;
    const dj_result want = mutation->result;
    const dj_result needed = dj_attention_needs(call->plan, args, &needs);
    harness_log_clear();
    own_line[0] = 0;
    const dj_result recorded = dj_attention_record(call->plan, recorder, args);
    char line[1024];
    snprintf(line, sizeof(line), "%s", own_line[0] ? own_line : harness_log_last());
    const bool logged =
        want == DJ_SUCCESS ? !line[0] : line[0] && line_has_word(line, mutation->words);
    /* what is right is only recorded; without scratch memory dj_attention_run allocates its own */
    const dj_result ran = want == DJ_SUCCESS || (want == DJ_ERROR_SCRATCH && !args->scratch.buffer)
                              ? want
                              : dj_attention_run(call->plan, args);
    if (needed == needs_due(mutation, needed) && recorded == want && ran == want && logged)
        return 0;
    print_error("base %d, %s: needs %s, record %s, run %s, due %s; \"%s\" %s: %s\n", call->base,
                name, dj_result_name(needed), dj_result_name(recorded), dj_result_name(ran),
                dj_result_name(want), mutation->words, logged ? "in" : "not in", line);
    return 1;
}

/* Room for a few of the call that is right. */
static dj_recorder *make_recorder(const struct call *call)
{
    const struct dj_recorder_params params = {.dispatches = 8 * call->needs.dispatches,
                                              .ring_size = 8 * call->needs.ring_size};
    dj_recorder *recorder = NULL;
    HARNESS_OK(dj_recorder_create(call->context, &params, &recorder));
    HARNESS_OK(dj_recorder_begin(recorder));
    return recorder;
}

/* Records the call that is right until the recorder is full; returns how often. */
static uint32_t fill(const struct call *call, dj_recorder *recorder)
{
    uint32_t calls = 0;
    dj_result result = DJ_SUCCESS;
    while ((result = dj_attention_record(call->plan, recorder, &call->args)) == DJ_SUCCESS)
        calls++;
    HARNESS_RESULT(result, DJ_ERROR_RECORDER_FULL);
    assert_true(calls >= 8);
    return calls;
}

void call_try_all(dj_context *context, enum base base, const struct mutation *mutations,
                  size_t count)
{
    static const struct dj_recorder_params much = {.dispatches = 4096, .ring_size = 1 << 20};
    struct call call;
    call_init(&call, context, base);
    dj_recorder *recorder = make_recorder(&call), *roomy = NULL;
    const uint32_t room = fill(&call, recorder);
    HARNESS_OK(dj_recorder_begin(recorder));
    HARNESS_OK(dj_recorder_create(context, &much, &roomy));
    dj_buffer *large = harness_poisoned(context, 1 << 22);
    unsigned wrong = 0; /* all are tried before the test fails */
    for (size_t i = 0; i < count; i++) {
        struct dj_attention_args args = call.args;
        const bool right = mutations[i].result == DJ_SUCCESS;
        mutations[i].apply(&call, &args);
        if (right) {
            args.scratch = (struct dj_scratch){.buffer = large, .size = 1 << 22};
            HARNESS_OK(dj_recorder_begin(roomy)); /* drops the one before */
        }
        wrong += call_try(&call, right ? roomy : recorder, &args, &mutations[i], mutations[i].name);
    }
    assert_int_equal(wrong, 0);
    dj_buffer_destroy(&large);
    dj_recorder_destroy(&roomy);
    call_assert_untouched(&call);
    assert_int_equal(fill(&call, recorder), room); /* what was refused took nothing of it */
    HARNESS_OK(dj_recorder_submit(recorder));
    HARNESS_OK(dj_recorder_wait(recorder, UINT64_MAX));
    call_assert_right(&call);
    dj_recorder_destroy(&recorder);
    call_finish(&call);
}
