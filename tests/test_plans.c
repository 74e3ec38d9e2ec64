/* SPDX-License-Identifier: MIT */
/* Every rule of a plan in <dijiang/attention.h>, broken one at a time. */
#include "arguments.h"

#include <math.h>
#include <string.h>

enum {
    HEADS = 4,
    KEY_HEADS = 2,
    DIM = 64
};

/* Params that are right for a map: what the fixed options of each demand, all else 0. */
static struct dj_attention_params plan_of(uint32_t map)
{
    return (struct dj_attention_params){
        .map = map,
        .heads = HEADS,
        .key_heads = KEY_HEADS,
        .dim = DIM,
        .max_tokens = map == DJ_MAP_COSFORMER || map == DJ_MAP_LINFORMER ? 100 : 0,
    };
}

/* A change that breaks a rule. decay: as many numbers as key heads, all 1, given if used. */
struct plan_mutation {
    const char *name, *words;
    dj_result result;
    void (*apply)(struct dj_attention_params *params, float *decay);
};

#define PLAN_MUTATION(name, ...) \
    static void name(struct dj_attention_params *params, float *decay) \
    { \
        (void)decay; \
        __VA_ARGS__ \
    }
#define DECAY(h, gamma) \
    decay[h] = (gamma); \
    params->decay = decay;

PLAN_MUTATION(heads_65536, params->heads = 65536;)
PLAN_MUTATION(key_heads_65536, params->heads = 0; params->key_heads = 65536;)
PLAN_MUTATION(heads_huge, params->heads = UINT32_MAX; params->key_heads = 0;)
PLAN_MUTATION(key_heads_3, params->key_heads = 3;)
PLAN_MUTATION(key_heads_more, params->key_heads = 2 * HEADS;)
PLAN_MUTATION(key_heads_huge, params->key_heads = UINT32_MAX;)
PLAN_MUTATION(dim_0, params->dim = 0;)
PLAN_MUTATION(dim_2, params->dim = 2;)
PLAN_MUTATION(dim_66, params->dim = 66;)
PLAN_MUTATION(dim_260, params->dim = 260;)
PLAN_MUTATION(dim_huge, params->dim = UINT32_MAX - 3;)
PLAN_MUTATION(value_dim_2, params->value_dim = 2;)
PLAN_MUTATION(value_dim_33, params->value_dim = 33;)
PLAN_MUTATION(value_dim_260, params->value_dim = 260;)
PLAN_MUTATION(features_huge, params->features = UINT32_MAX - 3;)
PLAN_MUTATION(causal_3, params->causal = 3;)
PLAN_MUTATION(normalise_3, params->normalise = 3;)
PLAN_MUTATION(key_normalise_3, params->key_normalise = 3;)
PLAN_MUTATION(q_type_3, params->q_type = 3;)
PLAN_MUTATION(k_type_3, params->k_type = 3;)
PLAN_MUTATION(v_type_3, params->v_type = 3;)
PLAN_MUTATION(o_type_huge, params->o_type = UINT32_MAX;)
PLAN_MUTATION(path_3, params->dct_path = 3;)
PLAN_MUTATION(family_4, params->family = 4;)
PLAN_MUTATION(family_huge, params->family = UINT32_MAX;)
PLAN_MUTATION(scale_negative, params->scale = -1;)
PLAN_MUTATION(scale_nan, params->scale = NAN;)
PLAN_MUTATION(scale_inf, params->scale = INFINITY;)
PLAN_MUTATION(scale_minus_inf, params->scale = -INFINITY;)
PLAN_MUTATION(padding_set, params->padding = 1;)
PLAN_MUTATION(reserved_0, params->reserved[0] = 1;)
PLAN_MUTATION(reserved_1, params->reserved[1] = 1;)
PLAN_MUTATION(reserved_2, params->reserved[2] = 1;)
PLAN_MUTATION(reserved_3, params->reserved[3] = UINT64_MAX;)

#define INVALID DJ_ERROR_INVALID_ARGUMENT

/* Rules of every map. */
static const struct plan_mutation common[] = {
    {"65536 heads", "heads", INVALID, heads_65536},
    {"65536 key heads of no heads", "key_heads", INVALID, key_heads_65536},
    {"2^32 - 1 heads", "heads", INVALID, heads_huge},
    {"3 key heads of 4", "key_heads", INVALID, key_heads_3},
    {"more key heads than heads", "key_heads", INVALID, key_heads_more},
    {"2^32 - 1 key heads", "key_heads", INVALID, key_heads_huge},
    {"dim 0", "dim", INVALID, dim_0},
    {"dim 2", "dim", INVALID, dim_2},
    {"dim 66", "dim", INVALID, dim_66},
    {"dim 260", "dim", INVALID, dim_260},
    {"dim 2^32 - 4", "dim", INVALID, dim_huge},
    {"value_dim 2", "value_dim", INVALID, value_dim_2},
    {"value_dim 33", "value_dim", INVALID, value_dim_33},
    {"value_dim 260", "value_dim", INVALID, value_dim_260},
    {"2^32 - 4 features", "features", INVALID, features_huge},
    {"causal 3", "causal", INVALID, causal_3},
    {"normalise 3", "normalise", INVALID, normalise_3},
    {"key_normalise 3", "key_normalise", INVALID, key_normalise_3},
    {"q_type 3", "q_type", INVALID, q_type_3},
    {"k_type 3", "k_type", INVALID, k_type_3},
    {"v_type 3", "v_type", INVALID, v_type_3},
    {"o_type 2^32 - 1", "o_type", INVALID, o_type_huge},
    {"dct_path 3", "dct_path", INVALID, path_3},
    {"family 4", "family", INVALID, family_4},
    {"family 2^32 - 1", "family", INVALID, family_huge},
    {"negative scale", "scale", INVALID, scale_negative},
    {"scale NaN", "scale", INVALID, scale_nan},
    {"scale Inf", "scale", INVALID, scale_inf},
    {"scale -Inf", "scale", INVALID, scale_minus_inf},
    {"padding", "padding", DJ_ERROR_VERSION, padding_set},
    {"reserved 0", "reserved", DJ_ERROR_VERSION, reserved_0},
    {"reserved 1", "reserved", DJ_ERROR_VERSION, reserved_1},
    {"reserved 2", "reserved", DJ_ERROR_VERSION, reserved_2},
    {"reserved 3", "reserved", DJ_ERROR_VERSION, reserved_3},
};

PLAN_MUTATION(decay_0, DECAY(1, 0))
PLAN_MUTATION(decay_negative, DECAY(0, -0.5f))
PLAN_MUTATION(decay_large, DECAY(1, 1.0001f))
PLAN_MUTATION(decay_nan, DECAY(1, NAN))
PLAN_MUTATION(decay_inf, DECAY(0, INFINITY))
PLAN_MUTATION(decay_tiny, DECAY(1, 0x1p-127f))
PLAN_MUTATION(decay_right, DECAY(1, 0.5f))
PLAN_MUTATION(decay_full, DECAY(0, 0.5f) params->causal = DJ_OFF;)
PLAN_MUTATION(generated_188, params->dim = 188; params->dct_path = DJ_DCT_PATH_GENERATED;)
PLAN_MUTATION(max_tokens, params->max_tokens = 100;)
PLAN_MUTATION(no_max_tokens, params->max_tokens = 0;)
PLAN_MUTATION(many_tokens, params->max_tokens = (1 << 30) + 1;)
PLAN_MUTATION(features_2, params->features = 2;)
PLAN_MUTATION(features_98, params->features = 98;)
PLAN_MUTATION(features_260, params->features = 260;)
PLAN_MUTATION(features_20_of_4, params->dim = 4; params->features = 20;)
PLAN_MUTATION(features_1025, params->features = 1025;)
PLAN_MUTATION(features_1028, params->features = 1028;)
PLAN_MUTATION(features_60, params->features = DIM - 4;)
PLAN_MUTATION(features_128, params->features = 2 * DIM;)
PLAN_MUTATION(features_64, params->features = DIM;)
PLAN_MUTATION(key_normalised, params->key_normalise = DJ_ON;)
PLAN_MUTATION(key_normalised_alone, params->key_normalise = DJ_ON; params->normalise = DJ_OFF;)
PLAN_MUTATION(normalised, params->normalise = DJ_ON;)
PLAN_MUTATION(unnormalised, params->normalise = DJ_OFF;)
PLAN_MUTATION(causal, params->causal = DJ_ON;)
PLAN_MUTATION(tiled, params->family = DJ_FAMILY_TILED;)

#define UNSUPPORTED DJ_ERROR_UNSUPPORTED

/* Rules of some maps. */
static const struct {
    uint32_t map;
    struct plan_mutation mutation;
} particular[] = {
    {DJ_MAP_WDCF, {"decay 0", "decay", INVALID, decay_0}},
    {DJ_MAP_WDCF, {"negative decay", "decay", INVALID, decay_negative}},
    {DJ_MAP_WDCF, {"decay above 1", "decay", INVALID, decay_large}},
    {DJ_MAP_WDCF, {"decay NaN", "decay", INVALID, decay_nan}},
    {DJ_MAP_WDCF, {"decay Inf", "decay", INVALID, decay_inf}},
    {DJ_MAP_WDCF, {"decay below 2^-126", "decay", INVALID, decay_tiny}},
    {DJ_MAP_IDENTITY, {"decay 0", "decay", INVALID, decay_0}},
    {DJ_MAP_ELU, {"decay above 1", "decay", INVALID, decay_large}},
    {DJ_MAP_WDCF, {"decay without causal", "decay", UNSUPPORTED, decay_full}},
    {DJ_MAP_SOFTMAX_DCT, {"decay without causal", "decay", UNSUPPORTED, decay_full}},
    {DJ_MAP_COSFORMER, {"decay without causal", "decay", UNSUPPORTED, decay_full}},
    {DJ_MAP_IDENTITY, {"decay without causal", "decay", UNSUPPORTED, decay_full}},
    {DJ_MAP_SOFTMAX, {"a decay", "decay", DJ_ERROR_STATELESS, decay_right}},
    {DJ_MAP_LINFORMER, {"a decay", "decay", DJ_ERROR_STATELESS, decay_right}},

    {DJ_MAP_WDCF, {"generated transform of 188", "dct_path|path|188", UNSUPPORTED, generated_188}},
    {DJ_MAP_SOFTMAX_DCT,
     {"generated transform of 188", "dct_path|path|188", UNSUPPORTED, generated_188}},

    {DJ_MAP_WDCF, {"max_tokens", "0", INVALID, max_tokens}},
    {DJ_MAP_SOFTMAX_DCT, {"max_tokens", "0", INVALID, max_tokens}},
    {DJ_MAP_PFF, {"max_tokens", "0", INVALID, max_tokens}},
    {DJ_MAP_PRF, {"max_tokens", "0", INVALID, max_tokens}},
    {DJ_MAP_PERFORMER_RELU, {"max_tokens", "0", INVALID, max_tokens}},
    {DJ_MAP_ELU, {"max_tokens", "0", INVALID, max_tokens}},
    {DJ_MAP_RELU, {"max_tokens", "0", INVALID, max_tokens}},
    {DJ_MAP_IDENTITY, {"max_tokens", "0", INVALID, max_tokens}},
    {DJ_MAP_SOFTMAX, {"max_tokens", "0", INVALID, max_tokens}},
    {DJ_MAP_COSFORMER, {"no max_tokens", "1073741824", INVALID, no_max_tokens}},
    {DJ_MAP_COSFORMER, {"too many tokens", "1073741824", INVALID, many_tokens}},
    {DJ_MAP_LINFORMER, {"no max_tokens", "max_tokens", INVALID, no_max_tokens}},

    {DJ_MAP_WDCF, {"2 features", "features", INVALID, features_2}},
    {DJ_MAP_WDCF, {"98 features", "features", INVALID, features_98}},
    {DJ_MAP_WDCF, {"more than 4 d features", "features", INVALID, features_260}},
    {DJ_MAP_WDCF, {"20 features of 4", "features", INVALID, features_20_of_4}},
    {DJ_MAP_PFF, {"2 features", "features", INVALID, features_2}},
    {DJ_MAP_PFF, {"98 features", "features", INVALID, features_98}},
    {DJ_MAP_PFF, {"1028 features", "features", INVALID, features_1028}},
    {DJ_MAP_PRF, {"98 features", "features", INVALID, features_98}},
    {DJ_MAP_PRF, {"1028 features", "features", INVALID, features_1028}},
    {DJ_MAP_PERFORMER_RELU, {"98 features", "features", INVALID, features_98}},
    {DJ_MAP_PERFORMER_RELU, {"1028 features", "features", INVALID, features_1028}},
    {DJ_MAP_LINFORMER, {"1025 rows", "features", INVALID, features_1025}},
    {DJ_MAP_SOFTMAX_DCT, {"60 features", "features", INVALID, features_60}},
    {DJ_MAP_SOFTMAX_DCT, {"128 features", "features", INVALID, features_128}},
    {DJ_MAP_COSFORMER, {"64 features", "features", INVALID, features_64}},
    {DJ_MAP_ELU, {"60 features", "features", INVALID, features_60}},
    {DJ_MAP_RELU, {"128 features", "features", INVALID, features_128}},
    {DJ_MAP_IDENTITY, {"60 features", "features", INVALID, features_60}},

    {DJ_MAP_SOFTMAX_DCT, {"key-normalised", "key_normalise", UNSUPPORTED, key_normalised}},
    {DJ_MAP_PERFORMER_RELU, {"key-normalised", "key_normalise", UNSUPPORTED, key_normalised}},
    {DJ_MAP_COSFORMER, {"key-normalised", "key_normalise", UNSUPPORTED, key_normalised}},
    {DJ_MAP_ELU, {"key-normalised", "key_normalise", UNSUPPORTED, key_normalised}},
    {DJ_MAP_RELU, {"key-normalised", "key_normalise", UNSUPPORTED, key_normalised}},
    {DJ_MAP_IDENTITY, {"key-normalised", "key_normalise", UNSUPPORTED, key_normalised}},
    {DJ_MAP_SOFTMAX, {"key-normalised", "key_normalise", UNSUPPORTED, key_normalised}},
    {DJ_MAP_LINFORMER, {"key-normalised", "key_normalise", UNSUPPORTED, key_normalised}},
    {DJ_MAP_WDCF,
     {"key-normalised, unnormalised", "key_normalise", UNSUPPORTED, key_normalised_alone}},
    {DJ_MAP_PFF,
     {"key-normalised, unnormalised", "key_normalise", UNSUPPORTED, key_normalised_alone}},
    {DJ_MAP_PRF,
     {"key-normalised, unnormalised", "key_normalise", UNSUPPORTED, key_normalised_alone}},

    {DJ_MAP_IDENTITY, {"normalised", "normalise|normaliser", DJ_ERROR_NORMALISER, normalised}},
    {DJ_MAP_SOFTMAX, {"unnormalised", "normalised", UNSUPPORTED, unnormalised}},
    {DJ_MAP_LINFORMER, {"unnormalised", "normalised", UNSUPPORTED, unnormalised}},
    {DJ_MAP_LINFORMER, {"causal", "causal", UNSUPPORTED, causal}},
    {DJ_MAP_SOFTMAX, {"tiled", "family", UNSUPPORTED, tiled}},
    {DJ_MAP_LINFORMER, {"tiled", "family", UNSUPPORTED, tiled}},
};

/* Returns 1, having said why, unless the plan is refused with its result. */
static unsigned refused(uint32_t map, const struct plan_mutation *mutation)
{
    float decay[HEADS] = {1, 1, 1, 1};
    struct dj_attention_params params = plan_of(map);
    mutation->apply(&params, decay);
    dj_attention *plan = (void *)&params; /* must become NULL on failure */
    harness_log_clear();
    const dj_result got = dj_attention_create(harness_context(0), &params, &plan);
    const bool named = line_has_word(harness_log_last(), mutation->words);
    if (got == mutation->result && plan == NULL && named)
        return 0;
    print_error("%s, %s: %s, not %s; \"%s\" %s: %s\n", dj_map_name(map), mutation->name,
                dj_result_name(got), dj_result_name(mutation->result), mutation->words,
                named ? "in" : "not in", harness_log_last());
    if (got == DJ_SUCCESS)
        dj_attention_destroy(&plan);
    return 1;
}

static void rules_of_every_map(void **state)
{
    (void)state;
    unsigned wrong = 0;
    for (uint32_t map = 0; map < DJ_MAP_COUNT; map++)
        for (size_t i = 0; i < sizeof(common) / sizeof(*common); i++)
            wrong += refused(map, &common[i]);
    assert_int_equal(wrong, 0);
}

static void rules_of_some_maps(void **state)
{
    (void)state;
    unsigned wrong = 0;
    for (size_t i = 0; i < sizeof(particular) / sizeof(*particular); i++)
        wrong += refused(particular[i].map, &particular[i].mutation);
    assert_int_equal(wrong, 0);
}

static void unknown_maps_are_refused(void **state)
{
    (void)state;
    const uint32_t unknown[] = {DJ_MAP_COUNT, DJ_MAP_COUNT + 1, UINT32_MAX};
    for (size_t i = 0; i < sizeof(unknown) / sizeof(*unknown); i++) {
        struct dj_attention_params params = plan_of(unknown[i]);
        dj_attention *plan = (void *)&params;
        harness_log_clear();
        HARNESS_RESULT(dj_attention_create(harness_context(0), &params, &plan), INVALID);
        assert_null(plan);
        assert_true(line_has_word(harness_log_last(), "map"));
    }
}

/* What every mutation starts from, and options named that are the default anyway. */
static void what_is_right_is_accepted(void **state)
{
    (void)state;
    for (uint32_t map = 0; map < DJ_MAP_COUNT; map++) {
        const bool rows = map == DJ_MAP_LINFORMER;
        struct dj_attention_params params = plan_of(map);
        params.value_dim = DIM;
        params.features = map == DJ_MAP_COSFORMER ? 2 * DIM : map == DJ_MAP_SOFTMAX ? 0 : DIM;
        params.causal = rows ? DJ_OFF : DJ_ON;
        params.normalise = map == DJ_MAP_SOFTMAX_DCT || map == DJ_MAP_IDENTITY ? DJ_OFF : DJ_ON;
        params.key_normalise = DJ_OFF;
        params.family = rows || map == DJ_MAP_SOFTMAX ? DJ_FAMILY_DEFAULT : DJ_FAMILY_TILED;
        params.scale = 0.5f;
        dj_attention *plan = NULL;
        HARNESS_OK(dj_attention_create(harness_context(0), &params, &plan));
        dj_attention_destroy(&plan);
        assert_null(plan);
    }
}

static void null_is_refused_or_accepted(void **state)
{
    (void)state;
    const struct dj_attention_params params = {.heads = 1, .dim = 4};
    dj_attention *plan = (void *)&plan;
    HARNESS_RESULT(dj_attention_create(NULL, &params, &plan), INVALID);
    assert_null(plan);
    HARNESS_RESULT(dj_attention_create(harness_context(0), NULL, &plan), INVALID);
    HARNESS_RESULT(dj_attention_create(harness_context(0), &params, NULL), INVALID);
    dj_attention_destroy(&plan);
    dj_attention_destroy(NULL);
}

static const struct CMUnitTest tests[] = {
    HARNESS_TEST(rules_of_every_map),          HARNESS_TEST(rules_of_some_maps),
    HARNESS_TEST(unknown_maps_are_refused),    HARNESS_TEST(what_is_right_is_accepted),
    HARNESS_TEST(null_is_refused_or_accepted),
};

HARNESS_MAIN(tests)
