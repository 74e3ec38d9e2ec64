/* SPDX-License-Identifier: MIT */
/* What is wrong with a tensor, with a feature map's numbers, with scratch memory. */
#include "arguments.h"

#include <stdio.h>

/* One wrong field of any of q, k, v and o. */
struct tensor_mutation {
    const char *name, *words; /* NULL: the tensor's name is in the line */
    dj_result result;
    void (*apply)(const struct call *call, struct dj_tensor *t);
};

#define TENSOR_MUTATION(name, ...) \
    static void name(const struct call *call, struct dj_tensor *t) \
    { \
        (void)call; \
        __VA_ARGS__ \
    }

TENSOR_MUTATION(no_buffer, t->buffer = NULL;)
TENSOR_MUTATION(foreign_buffer, t->buffer = call->foreign;)
TENSOR_MUTATION(unknown_type, t->type = 3;)
TENSOR_MUTATION(huge_type, t->type = UINT32_MAX;)
TENSOR_MUTATION(other_type, t->type = t->type == DJ_FLOAT16 ? DJ_BFLOAT16 : DJ_FLOAT16;)
TENSOR_MUTATION(odd_offset, t->offset += dj_type_size(t->type) / 2;)
TENSOR_MUTATION(last_stride, t->stride[3] = 2;)
TENSOR_MUTATION(last_stride_zero, t->stride[3] = 0;)
TENSOR_MUTATION(beyond, t->offset += 1 << 20;)
TENSOR_MUTATION(one_beyond, t->offset = dj_buffer_size(t->buffer) -
                                        (2 * t->stride[0] - 1) * dj_type_size(t->type);)
TENSOR_MUTATION(stride_beyond, t->stride[0] = 1 << 24;)
TENSOR_MUTATION(row_stride_overflows, t->stride[0] = UINT64_MAX;)
TENSOR_MUTATION(token_stride_overflows, t->stride[1] = UINT64_MAX / (t->shape[1] - 1) + 1;)
TENSOR_MUTATION(head_stride_overflows, t->stride[2] = UINT64_MAX / 2 + 1;)
TENSOR_MUTATION(sum_overflows, t->stride[0] = UINT64_MAX / 4 - 100;
                t->stride[2] = UINT64_MAX / 4 - 100;
                t->stride[1] = UINT64_MAX / 2 / (t->shape[1] - 1);)
TENSOR_MUTATION(offset_overflows, t->offset = UINT64_MAX - 3;)
TENSOR_MUTATION(fewer_rows, t->shape[0]--;)
TENSOR_MUTATION(more_rows, t->shape[0]++;)
TENSOR_MUTATION(fewer_tokens, t->shape[1]--;)
TENSOR_MUTATION(no_tokens, t->shape[1] = 0;)
TENSOR_MUTATION(fewer_heads, t->shape[2]--;)
TENSOR_MUTATION(no_heads, t->shape[2] = 0;)
TENSOR_MUTATION(smaller_rows, t->shape[3] -= 4;)
TENSOR_MUTATION(larger_rows, t->shape[3] += 4;)
TENSOR_MUTATION(empty_rows, t->shape[3] = 0;)
TENSOR_MUTATION(tensor_padding, t->padding = 1;)
TENSOR_MUTATION(reserved_first, t->reserved[0] = 1;)
TENSOR_MUTATION(reserved_last, t->reserved[1] = 1;)

static const struct tensor_mutation tensor_mutations[] = {
    {"without a buffer", NULL, DJ_ERROR_INVALID_ARGUMENT, no_buffer},
    {"in another context's buffer", NULL, DJ_ERROR_INVALID_ARGUMENT, foreign_buffer},
    {"of type 3", NULL, DJ_ERROR_INVALID_ARGUMENT, unknown_type},
    {"of type 2^32 - 1", NULL, DJ_ERROR_INVALID_ARGUMENT, huge_type},
    {"of another type", NULL, DJ_ERROR_INVALID_ARGUMENT, other_type},
    {"at half an element", NULL, DJ_ERROR_INVALID_ARGUMENT, odd_offset},
    {"with last stride 2", NULL, DJ_ERROR_INVALID_ARGUMENT, last_stride},
    {"with last stride 0", NULL, DJ_ERROR_INVALID_ARGUMENT, last_stride_zero},
    {"beyond its buffer", NULL, DJ_ERROR_INVALID_ARGUMENT, beyond},
    {"one element beyond its buffer", NULL, DJ_ERROR_INVALID_ARGUMENT, one_beyond},
    {"with a stride beyond its buffer", NULL, DJ_ERROR_INVALID_ARGUMENT, stride_beyond},
    {"whose first stride overflows", "strides", DJ_ERROR_LIMIT, row_stride_overflows},
    {"whose second stride overflows", "strides", DJ_ERROR_LIMIT, token_stride_overflows},
    {"whose third stride overflows", "strides", DJ_ERROR_LIMIT, head_stride_overflows},
    {"whose strides overflow together", "strides", DJ_ERROR_LIMIT, sum_overflows},
    {"whose offset overflows", NULL, DJ_ERROR_LIMIT, offset_overflows},
    {"of one row", "shape|rows|batch", DJ_ERROR_INVALID_ARGUMENT, fewer_rows},
    {"of three rows", "shape|rows|batch", DJ_ERROR_INVALID_ARGUMENT, more_rows},
    {"of one token less", "shape|tokens", DJ_ERROR_INVALID_ARGUMENT, fewer_tokens},
    {"without tokens", "shape|tokens", DJ_ERROR_INVALID_ARGUMENT, no_tokens},
    {"of one head less", "shape|heads", DJ_ERROR_INVALID_ARGUMENT, fewer_heads},
    {"without heads", "shape|heads", DJ_ERROR_INVALID_ARGUMENT, no_heads},
    {"of smaller rows", "shape", DJ_ERROR_INVALID_ARGUMENT, smaller_rows},
    {"of larger rows", "shape", DJ_ERROR_INVALID_ARGUMENT, larger_rows},
    {"of empty rows", "shape", DJ_ERROR_INVALID_ARGUMENT, empty_rows},
    {"with padding", NULL, DJ_ERROR_VERSION, tensor_padding},
    {"with its first reserved field", NULL, DJ_ERROR_VERSION, reserved_first},
    {"with its last reserved field", NULL, DJ_ERROR_VERSION, reserved_last},
};

/* A tensor of args: q, k, v, o. */
static struct dj_tensor *tensor_of(struct dj_attention_args *args, size_t i)
{
    return (struct dj_tensor *[]){&args->q, &args->k, &args->v, &args->o}[i];
}

static void tensors_are_checked(void **state)
{
    (void)state;
    static const char *const names[] = {"q", "k", "v", "o"};
    static const enum base checked[] = {BASE_CAUSAL, BASE_FULL, BASE_HALF, BASE_SOFTMAX};
    unsigned wrong = 0;
    for (size_t b = 0; b < sizeof(checked) / sizeof(*checked); b++) {
        struct call call;
        call_init(&call, harness_context(0), checked[b]);
        dj_recorder *recorder = NULL;
        HARNESS_OK(dj_recorder_create(harness_context(0), NULL, &recorder));
        HARNESS_OK(dj_recorder_begin(recorder));
        for (size_t i = 0; i < 4; i++) {
            for (size_t n = 0; n < sizeof(tensor_mutations) / sizeof(*tensor_mutations); n++) {
                const struct tensor_mutation *const m = &tensor_mutations[n];
                struct dj_attention_args args = call.args;
                char name[64];
                snprintf(name, sizeof(name), "%s %s", names[i], m->name);
                m->apply(&call, tensor_of(&args, i));
                /* without a causal mask queries need not be as many as keys */
                wrong += call_try(
                    &call, recorder, &args,
                    &(struct mutation){.words = m->words ? m->words : names[i],
                                       .result = m->result,
                                       .needs = m->apply == no_buffer ? NEEDS_BLIND : NEEDS_AGREES},
                    name);
            }
        }
        HARNESS_OK(dj_recorder_submit(recorder));
        HARNESS_OK(dj_recorder_wait(recorder, UINT64_MAX));
        dj_recorder_destroy(&recorder);
        call_assert_untouched(&call);
        call_finish(&call);
    }
    assert_int_equal(wrong, 0);
}

CALL_MUTATION(all_heads, args->q.shape[2]--; args->k.shape[2]--; args->v.shape[2]--;
              args->o.shape[2]--;)
CALL_MUTATION(heads_as_queries, args->k.shape[2] = args->v.shape[2] = CALL_HEADS;)
CALL_MUTATION(fewer_queries, args->q.shape[1]--; args->o.shape[1]--;)
CALL_MUTATION(more_keys, args->k.shape[1]++; args->v.shape[1]++;)
CALL_MUTATION(o_repeats_rows, args->o.stride[0] = 0;)
CALL_MUTATION(o_repeats_tokens, args->o.stride[1] = 0;)
CALL_MUTATION(o_repeats_heads, args->o.stride[2] = 0;)
CALL_MUTATION(o_overlaps_itself, args->o.stride[1] -= 2;)
CALL_MUTATION(o_is_v, args->o.buffer = args->v.buffer;)
CALL_MUTATION(o_in_q, args->o.buffer = args->q.buffer;)
CALL_MUTATION(o_in_k, args->o.buffer = args->k.buffer;)
CALL_MUTATION(o_ends_in_q, args->o.buffer = args->q.buffer;
              args->q.offset = 4 * (args->o.stride[0] * 2 - 4);)
/* rows of o between those of k: nothing is shared, but the ranges cross */
CALL_MUTATION(o_between_k, args->k.stride[1] *= 4; args->k.shape[0] = 1; args->k.stride[0] = 0;
              args->q.shape[0] = args->v.shape[0] = args->o.shape[0] = 1; args->k.shape[1] = 10;
              args->q.shape[1] = args->v.shape[1] = args->o.shape[1] = 10;
              args->o.buffer = args->k.buffer; args->o.stride[1] = args->k.stride[1];
              args->o.offset = 4 * 64;)
CALL_MUTATION(o_behind_k, args->o.buffer = args->k.buffer;
              args->q.shape[0] = args->k.shape[0] = args->v.shape[0] = args->o.shape[0] = 1;
              args->slots_out.host = NULL; args->o.offset = 4 * args->k.stride[0];)
CALL_MUTATION(inputs_repeat, args->q.stride[0] = args->k.stride[1] = args->v.stride[2] = 0;)
CALL_MUTATION(no_features, args->features = NULL;)
CALL_MUTATION(features_map, args->features = call->other_map;)
CALL_MUTATION(features_dim, args->features = call->other_dim;)
CALL_MUTATION(features_count, args->features = call->other_features;)
CALL_MUTATION(features_heads, args->features = call->other_heads;)
CALL_MUTATION(features_tokens, args->features = call->other_tokens;)
CALL_MUTATION(features_context, args->features = call->foreign_features;)
CALL_MUTATION(barrier_unknown, args->barriers = 8;)
CALL_MUTATION(barrier_high, args->barriers = 1u << 31 | DJ_BARRIER_BEFORE;)
CALL_MUTATION(padding_set, args->padding = 1;)
CALL_MUTATION(reserved_0, args->reserved[0] = 1;)
CALL_MUTATION(reserved_1, args->reserved[1] = 1;)
CALL_MUTATION(reserved_2, args->reserved[2] = 1;)
CALL_MUTATION(reserved_3, args->reserved[3] = UINT64_MAX;)
CALL_MUTATION(scratch_none, args->scratch.buffer = NULL;)
CALL_MUTATION(scratch_small, args->scratch.size = 64;)
CALL_MUTATION(scratch_misaligned, args->scratch.offset = 2;)
CALL_MUTATION(scratch_beyond, args->scratch.offset = call->needs.scratch_alignment;)
CALL_MUTATION(scratch_far, args->scratch.offset = UINT64_MAX - call->needs.scratch_alignment + 1;)
CALL_MUTATION(scratch_size_overflows, args->scratch.offset = call->needs.scratch_alignment;
              args->scratch.size = UINT64_MAX;)
CALL_MUTATION(scratch_foreign, args->scratch.buffer = call->foreign;)
CALL_MUTATION(scratch_is_o, args->o.buffer = args->scratch.buffer;)
CALL_MUTATION(scratch_is_k, args->k.buffer = args->scratch.buffer;)
CALL_MUTATION(scratch_reserved, args->scratch.reserved[0] = 1;)
CALL_MUTATION(scratch_reserved_last, args->scratch.reserved[1] = 1;)

static const struct mutation causal_mutations[] = {
    {"all heads less", "shape|heads", DJ_ERROR_INVALID_ARGUMENT, NEEDS_AGREES, all_heads},
    {"as many key heads as heads", "shape|heads", DJ_ERROR_INVALID_ARGUMENT, NEEDS_AGREES,
     heads_as_queries},
    {"fewer queries, causal", "shape|tokens", DJ_ERROR_INVALID_ARGUMENT, NEEDS_AGREES,
     fewer_queries},
    {"more keys, causal", "shape|tokens", DJ_ERROR_INVALID_ARGUMENT, NEEDS_AGREES, more_keys},
    {"o repeats its rows", "o", DJ_ERROR_INVALID_ARGUMENT, NEEDS_AGREES, o_repeats_rows},
    {"o repeats its tokens", "o", DJ_ERROR_INVALID_ARGUMENT, NEEDS_AGREES, o_repeats_tokens},
    {"o repeats its heads", "o", DJ_ERROR_INVALID_ARGUMENT, NEEDS_AGREES, o_repeats_heads},
    {"o overlaps itself", "strides", DJ_ERROR_INVALID_ARGUMENT, NEEDS_AGREES, o_overlaps_itself},
    {"o in v", "bytes", DJ_ERROR_INVALID_ARGUMENT, NEEDS_AGREES, o_is_v},
    {"o in q", "bytes", DJ_ERROR_INVALID_ARGUMENT, NEEDS_AGREES, o_in_q},
    {"o in k", "bytes", DJ_ERROR_INVALID_ARGUMENT, NEEDS_AGREES, o_in_k},
    {"o's last elements in q", "bytes", DJ_ERROR_INVALID_ARGUMENT, NEEDS_AGREES, o_ends_in_q},
    {"o between k's rows", "bytes", DJ_ERROR_INVALID_ARGUMENT, NEEDS_AGREES, o_between_k},
    {"o right behind k", "", DJ_SUCCESS, NEEDS_AGREES, o_behind_k},
    {"inputs that repeat", "", DJ_SUCCESS, NEEDS_AGREES, inputs_repeat},
    {"no features", "features", DJ_ERROR_INVALID_ARGUMENT, NEEDS_AGREES, no_features},
    {"features of another map", "features", DJ_ERROR_INVALID_ARGUMENT, NEEDS_AGREES, features_map},
    {"features of another dim", "features", DJ_ERROR_INVALID_ARGUMENT, NEEDS_AGREES, features_dim},
    {"features of another m", "features", DJ_ERROR_INVALID_ARGUMENT, NEEDS_AGREES, features_count},
    {"features of as many heads as queries", "features", DJ_ERROR_INVALID_ARGUMENT, NEEDS_AGREES,
     features_heads},
    {"features of another context", "features", DJ_ERROR_INVALID_ARGUMENT, NEEDS_AGREES,
     features_context},
    {"barrier 8", "barriers", DJ_ERROR_INVALID_ARGUMENT, NEEDS_ANY, barrier_unknown},
    {"barrier 2^31", "barriers", DJ_ERROR_INVALID_ARGUMENT, NEEDS_ANY, barrier_high},
    {"padding", "padding", DJ_ERROR_VERSION, NEEDS_AGREES, padding_set},
    {"reserved 0", "reserved", DJ_ERROR_VERSION, NEEDS_AGREES, reserved_0},
    {"reserved 1", "reserved", DJ_ERROR_VERSION, NEEDS_AGREES, reserved_1},
    {"reserved 2", "reserved", DJ_ERROR_VERSION, NEEDS_AGREES, reserved_2},
    {"reserved 3", "reserved", DJ_ERROR_VERSION, NEEDS_AGREES, reserved_3},
    {"no scratch", "scratch", DJ_ERROR_SCRATCH, NEEDS_ANY, scratch_none},
    {"scratch too small", "scratch", DJ_ERROR_SCRATCH, NEEDS_ANY, scratch_small},
    {"scratch misaligned", "scratch", DJ_ERROR_SCRATCH, NEEDS_BLIND, scratch_misaligned},
    {"scratch beyond its buffer", "scratch", DJ_ERROR_SCRATCH, NEEDS_BLIND, scratch_beyond},
    {"scratch far beyond its buffer", "scratch", DJ_ERROR_SCRATCH, NEEDS_BLIND, scratch_far},
    {"scratch whose end overflows", "scratch", DJ_ERROR_SCRATCH, NEEDS_BLIND,
     scratch_size_overflows},
    {"scratch of another context", "scratch", DJ_ERROR_INVALID_ARGUMENT, NEEDS_BLIND,
     scratch_foreign},
    {"scratch is o", "bytes", DJ_ERROR_INVALID_ARGUMENT, NEEDS_BLIND, scratch_is_o},
    {"scratch is k", "bytes", DJ_ERROR_INVALID_ARGUMENT, NEEDS_BLIND, scratch_is_k},
    {"reserved of scratch", "reserved", DJ_ERROR_VERSION, NEEDS_ANY, scratch_reserved},
    {"last reserved of scratch", "reserved", DJ_ERROR_VERSION, NEEDS_ANY, scratch_reserved_last},
};

static void causal_calls_are_checked(void **state)
{
    (void)state;
    CALL_TRY_ALL(harness_context(0), BASE_CAUSAL, causal_mutations);
}

CALL_MUTATION(one_query, args->q.shape[1] = args->o.shape[1] = 1;)
CALL_MUTATION(no_query, args->q.shape[1] = args->o.shape[1] = 0;)
CALL_MUTATION(no_keys, args->k.shape[1] = args->v.shape[1] = 0;)
CALL_MUTATION(queries_of_three_rows, args->q.shape[0] = args->o.shape[0] = 3;)

static const struct mutation full_mutations[] = {
    {"one query", "", DJ_SUCCESS, NEEDS_AGREES, one_query},
    {"no query", "", DJ_SUCCESS, NEEDS_AGREES, no_query},
    {"no keys", "", DJ_SUCCESS, NEEDS_AGREES, no_keys},
    {"queries of three rows", "shape|rows|batch", DJ_ERROR_INVALID_ARGUMENT, NEEDS_AGREES,
     queries_of_three_rows},
    {"no features", "features", DJ_ERROR_INVALID_ARGUMENT, NEEDS_AGREES, no_features},
    {"features of another map", "features", DJ_ERROR_INVALID_ARGUMENT, NEEDS_AGREES, features_map},
    {"features of another dim", "features", DJ_ERROR_INVALID_ARGUMENT, NEEDS_AGREES, features_dim},
    {"features of another m", "features", DJ_ERROR_INVALID_ARGUMENT, NEEDS_AGREES, features_count},
    {"features of as many heads as queries", "features", DJ_ERROR_INVALID_ARGUMENT, NEEDS_AGREES,
     features_heads},
};

static void calls_without_a_mask_are_checked(void **state)
{
    (void)state;
    CALL_TRY_ALL(harness_context(0), BASE_FULL, full_mutations);
}

/* All four tensors of that many tokens. */
static void set_tokens(struct dj_attention_args *args, uint64_t tokens)
{
    args->q.shape[1] = args->k.shape[1] = args->v.shape[1] = args->o.shape[1] = tokens;
    call_reshape(args, CALL_BATCH, tokens);
}

CALL_MUTATION(most_tokens, set_tokens(args, CALL_MOST);)
CALL_MUTATION(too_many_tokens, set_tokens(args, CALL_MOST + 1);)
CALL_MUTATION(some_features, args->features = call->other_map;)

static const struct mutation cosformer_mutations[] = {
    {"M tokens", "", DJ_SUCCESS, NEEDS_AGREES, most_tokens},
    {"M + 1 tokens", "tokens|longest|max_tokens", DJ_ERROR_TOKEN_COUNT, NEEDS_AGREES,
     too_many_tokens},
    {"features of a map without numbers", "features", DJ_ERROR_INVALID_ARGUMENT, NEEDS_AGREES,
     some_features},
};

static void cosformer_calls_are_checked(void **state)
{
    (void)state;
    CALL_TRY_ALL(harness_context(0), BASE_COSFORMER, cosformer_mutations);
}

CALL_MUTATION(one_token_less, args->k.shape[1]--; args->v.shape[1]--;)
CALL_MUTATION(one_token_more, args->k.shape[1]++; args->v.shape[1]++;)
CALL_MUTATION(one_token, args->k.shape[1] = args->v.shape[1] = 1;)

static const struct mutation linformer_mutations[] = {
    {"one query", "", DJ_SUCCESS, NEEDS_AGREES, one_query},
    {"T - 1 tokens", "tokens", DJ_ERROR_TOKEN_COUNT, NEEDS_AGREES, one_token_less},
    {"T + 1 tokens", "tokens", DJ_ERROR_TOKEN_COUNT, NEEDS_AGREES, one_token_more},
    {"one token", "tokens", DJ_ERROR_TOKEN_COUNT, NEEDS_AGREES, one_token},
    {"no features", "features", DJ_ERROR_INVALID_ARGUMENT, NEEDS_AGREES, no_features},
    {"features of another map", "features", DJ_ERROR_INVALID_ARGUMENT, NEEDS_AGREES, features_map},
    {"features of another dim", "features", DJ_ERROR_INVALID_ARGUMENT, NEEDS_AGREES, features_dim},
    {"features of another n'", "features", DJ_ERROR_INVALID_ARGUMENT, NEEDS_AGREES, features_count},
    {"features of another T", "features|projections", DJ_ERROR_INVALID_ARGUMENT, NEEDS_AGREES,
     features_tokens},
    {"features of as many heads as queries", "features", DJ_ERROR_INVALID_ARGUMENT, NEEDS_AGREES,
     features_heads},
};

static void linformer_calls_are_checked(void **state)
{
    (void)state;
    CALL_TRY_ALL(harness_context(0), BASE_LINFORMER, linformer_mutations);
}

CALL_MUTATION(k_as_q, args->k.type = DJ_FLOAT16;)
CALL_MUTATION(q_as_k, args->q.type = DJ_BFLOAT16;)
CALL_MUTATION(v_as_q, args->v.type = DJ_FLOAT16;)
CALL_MUTATION(o_as_v, args->o.type = DJ_FLOAT32;)
CALL_MUTATION(q_odd_byte, args->q.offset = 1;)
CALL_MUTATION(k_odd_byte, args->k.offset = 3;)
CALL_MUTATION(o_odd_byte, args->o.offset = 5;)
CALL_MUTATION(v_half_word, args->v.offset = 2;)

static const struct mutation half_mutations[] = {
    {"k f16", "k", DJ_ERROR_INVALID_ARGUMENT, NEEDS_AGREES, k_as_q},
    {"q bf16", "q", DJ_ERROR_INVALID_ARGUMENT, NEEDS_AGREES, q_as_k},
    {"v f16", "v", DJ_ERROR_INVALID_ARGUMENT, NEEDS_AGREES, v_as_q},
    {"o f32", "o", DJ_ERROR_INVALID_ARGUMENT, NEEDS_AGREES, o_as_v},
    {"q at byte 1", "q", DJ_ERROR_INVALID_ARGUMENT, NEEDS_AGREES, q_odd_byte},
    {"k at byte 3", "k", DJ_ERROR_INVALID_ARGUMENT, NEEDS_AGREES, k_odd_byte},
    {"o at byte 5", "o", DJ_ERROR_INVALID_ARGUMENT, NEEDS_AGREES, o_odd_byte},
    {"v at byte 2", "v", DJ_ERROR_INVALID_ARGUMENT, NEEDS_AGREES, v_half_word},
    {"features of a map without numbers", "features", DJ_ERROR_INVALID_ARGUMENT, NEEDS_AGREES,
     some_features},
};

CALL_MUTATION(q_half_word, args->q.offset = 2;)
CALL_MUTATION(k_odd_stride, args->k.stride[1]++;)
CALL_MUTATION(o_odd_stride, args->o.stride[2]++; args->o.stride[1] += CALL_HEADS;
              args->o.stride[0] += CALL_HEADS * CALL_TOKENS;)

static void half_calls_are_checked(void **state)
{
    (void)state;
    CALL_TRY_ALL(harness_context(0), BASE_HALF, half_mutations);
}

/* Places where two rows share a word need 16-bit storage. */
static void odd_places_need_16_bit_storage(void **state)
{
    (void)state;
    struct dj_device_info info;
    HARNESS_OK(dj_context_device(harness_context(0), &info));
    char index[16];
    snprintf(index, sizeof(index), "%u", info.index);
    const struct dj_context_params params = {
        .device = index, .log = call_log, .storage_16bit = DJ_OFF};
    dj_context *without = NULL;
    HARNESS_OK(dj_context_create(&params, &without));
    const struct mutation *const tables[] = {
        (const struct mutation[]){
            {"q at byte 2", "", DJ_SUCCESS, NEEDS_AGREES, q_half_word},
            {"an odd stride of k", "", DJ_SUCCESS, NEEDS_AGREES, k_odd_stride},
            {"odd strides of o", "", DJ_SUCCESS, NEEDS_AGREES, o_odd_stride},
        },
        (const struct mutation[]){
            {"q at byte 2", "q", DJ_ERROR_UNSUPPORTED, NEEDS_AGREES, q_half_word},
            {"an odd stride of k", "k", DJ_ERROR_UNSUPPORTED, NEEDS_AGREES, k_odd_stride},
            {"odd strides of o", "o", DJ_ERROR_UNSUPPORTED, NEEDS_AGREES, o_odd_stride},
        },
    };
    call_try_all(harness_context(0), BASE_HALF,
                 tables[harness_16bit_storage(harness_context(0)) ? 0 : 1], 3);
    call_try_all(without, BASE_HALF, tables[1], 3);
    dj_context_destroy(&without);
}

/* Position scales: those that are right belong to BASE_SCALED. */

CALL_MUTATION(query_scales_alone, args->key_scales = (struct dj_tensor){0};)
CALL_MUTATION(key_scales_alone, args->query_scales = (struct dj_tensor){0};)
CALL_MUTATION(most_places, set_tokens(args, CALL_MOST);)
CALL_MUTATION(too_many_places, set_tokens(args, CALL_MOST + 1);)
CALL_MUTATION(few_query_places, args->query_scales.shape[3] = CALL_TOKENS - 1;)
CALL_MUTATION(few_key_places, args->key_scales.shape[3] = CALL_TOKENS - 1;)
CALL_MUTATION(query_scales_heads, args->query_scales.shape[2]--;)
CALL_MUTATION(key_scales_heads, args->key_scales.shape[2]--;)
CALL_MUTATION(key_scales_of_queries, args->key_scales = args->query_scales;)
CALL_MUTATION(query_scales_rows, args->query_scales.shape[0] = 2; args->query_scales.stride[0] = 0;)
CALL_MUTATION(key_scales_tokens, args->key_scales.shape[1] = 2; args->key_scales.stride[1] = 0;)
CALL_MUTATION(query_scales_half, args->query_scales.type = DJ_FLOAT16;)
CALL_MUTATION(key_scales_type, args->key_scales.type = 7;)
CALL_MUTATION(query_scales_offset, args->query_scales.offset = 2;)
CALL_MUTATION(key_scales_beyond, args->key_scales.offset += 4;)
CALL_MUTATION(query_scales_stride, args->query_scales.stride[3] = 2;)
CALL_MUTATION(key_scales_stride_overflows, args->key_scales.stride[2] = UINT64_MAX / 2;)
CALL_MUTATION(query_scales_foreign, args->query_scales.buffer = call->foreign;)
CALL_MUTATION(key_scales_foreign, args->key_scales.buffer = call->foreign;)
CALL_MUTATION(query_scales_padding, args->query_scales.padding = 1;)
CALL_MUTATION(key_scales_reserved, args->key_scales.reserved[1] = 1;)
CALL_MUTATION(o_in_query_scales, args->query_scales.buffer = args->o.buffer;)
CALL_MUTATION(o_in_key_scales, args->key_scales.buffer = args->o.buffer;)
CALL_MUTATION(scratch_in_scales, args->key_scales.buffer = args->scratch.buffer;)

static const struct mutation scaled_mutations[] = {
    {"query scales alone", "", DJ_SUCCESS, NEEDS_AGREES, query_scales_alone},
    {"key scales alone", "", DJ_SUCCESS, NEEDS_AGREES, key_scales_alone},
    {"P tokens", "", DJ_SUCCESS, NEEDS_AGREES, most_places},
    {"P + 1 tokens", "scales|query_scales|key_scales", DJ_ERROR_TOKEN_COUNT, NEEDS_AGREES,
     too_many_places},
    {"fewer query scales than tokens", "query_scales", DJ_ERROR_TOKEN_COUNT, NEEDS_AGREES,
     few_query_places},
    {"fewer key scales than tokens", "key_scales", DJ_ERROR_TOKEN_COUNT, NEEDS_AGREES,
     few_key_places},
    {"query scales of fewer heads", "query_scales", DJ_ERROR_INVALID_ARGUMENT, NEEDS_AGREES,
     query_scales_heads},
    {"key scales of fewer heads", "key_scales", DJ_ERROR_INVALID_ARGUMENT, NEEDS_AGREES,
     key_scales_heads},
    {"key scales of as many heads as queries", "key_scales", DJ_ERROR_INVALID_ARGUMENT,
     NEEDS_AGREES, key_scales_of_queries},
    {"query scales of two rows", "query_scales", DJ_ERROR_INVALID_ARGUMENT, NEEDS_AGREES,
     query_scales_rows},
    {"key scales of two tokens", "key_scales", DJ_ERROR_INVALID_ARGUMENT, NEEDS_AGREES,
     key_scales_tokens},
    {"query scales f16", "query_scales", DJ_ERROR_INVALID_ARGUMENT, NEEDS_AGREES,
     query_scales_half},
    {"key scales of type 7", "key_scales", DJ_ERROR_INVALID_ARGUMENT, NEEDS_AGREES,
     key_scales_type},
    {"query scales at byte 2", "query_scales", DJ_ERROR_INVALID_ARGUMENT, NEEDS_AGREES,
     query_scales_offset},
    {"key scales beyond their buffer", "key_scales", DJ_ERROR_INVALID_ARGUMENT, NEEDS_AGREES,
     key_scales_beyond},
    {"query scales with gaps", "query_scales", DJ_ERROR_INVALID_ARGUMENT, NEEDS_AGREES,
     query_scales_stride},
    {"key scales whose stride overflows", "key_scales", DJ_ERROR_LIMIT, NEEDS_AGREES,
     key_scales_stride_overflows},
    {"query scales of another context", "query_scales", DJ_ERROR_INVALID_ARGUMENT, NEEDS_AGREES,
     query_scales_foreign},
    {"key scales of another context", "key_scales", DJ_ERROR_INVALID_ARGUMENT, NEEDS_AGREES,
     key_scales_foreign},
    {"padding of query scales", "query_scales", DJ_ERROR_VERSION, NEEDS_AGREES,
     query_scales_padding},
    {"reserved of key scales", "key_scales", DJ_ERROR_VERSION, NEEDS_AGREES, key_scales_reserved},
    {"o in query scales", "o", DJ_ERROR_INVALID_ARGUMENT, NEEDS_AGREES, o_in_query_scales},
    {"o in key scales", "o", DJ_ERROR_INVALID_ARGUMENT, NEEDS_AGREES, o_in_key_scales},
    {"scratch in key scales", "scratch", DJ_ERROR_INVALID_ARGUMENT, NEEDS_BLIND, scratch_in_scales},
};

/* Scales that would be right for another map; the call's own indices serve as their memory. */
static void borrow_scales(const struct call *call, struct dj_tensor *scales, uint64_t heads)
{
    dj_tensor_init(scales, call->inputs[0], 0, DJ_FLOAT32, (const uint64_t[4]){1, 1, heads, 40});
}

CALL_MUTATION(query_scales_given, borrow_scales(call, &args->query_scales, CALL_HEADS);)
CALL_MUTATION(key_scales_given, borrow_scales(call, &args->key_scales, CALL_KEY_HEADS);)

static const struct mutation meaningless_scales[] = {
    {"query scales", "query_scales|scales", DJ_ERROR_UNSUPPORTED, NEEDS_AGREES, query_scales_given},
    {"key scales", "key_scales|scales", DJ_ERROR_UNSUPPORTED, NEEDS_AGREES, key_scales_given},
};

static void scales_are_checked(void **state)
{
    (void)state;
    CALL_TRY_ALL(harness_context(0), BASE_SCALED, scaled_mutations);
    for (enum base base = 0; base < BASE_COUNT; base++)
        if (base != BASE_SCALED)
            CALL_TRY_ALL(harness_context(0), base, meaningless_scales);
}

const struct CMUnitTest tensor_tests[] = {
    HARNESS_TEST(tensors_are_checked),
    HARNESS_TEST(causal_calls_are_checked),
    HARNESS_TEST(calls_without_a_mask_are_checked),
    HARNESS_TEST(cosformer_calls_are_checked),
    HARNESS_TEST(linformer_calls_are_checked),
    HARNESS_TEST(half_calls_are_checked),
    HARNESS_TEST(odd_places_need_16_bit_storage),
    HARNESS_TEST(scales_are_checked),
};
const size_t tensor_test_count = sizeof(tensor_tests) / sizeof(*tensor_tests);
