/* SPDX-License-Identifier: MIT */
/* Every rule of <dijiang/features.h>, and the names of maps. */
#include "harness.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int compare(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double normal_distribution(double x)
{
    return 0.5 * erfc(-x / sqrt(2));
}

/* Whatever the order, the numbers are the normal quantiles of (i + 1/2) / count. */
static void draws_midpoint_quantiles(void **state)
{
    (void)state;
    const uint32_t counts[] = {1, 2, 3, 4, 64, 80, 255, 256, 1000, 65536};
    for (size_t n = 0; n < sizeof(counts) / sizeof(*counts); n++) {
        const uint32_t count = counts[n];
        float *x = malloc(count * sizeof(*x));
        assert_non_null(x);
        HARNESS_OK(dj_frequencies_draw(count, harness_random(), x));
        qsort(x, count, sizeof(*x), compare);
        for (uint32_t i = 0; i < count; i++) {
            const double u = (i + 0.5) / count;
            /* by how much x is off, to first order: float32 rounding and no more */
            const double density = exp(-0.5 * x[i] * x[i]) / sqrt(2 * acos(-1.0));
            const double off = (normal_distribution(x[i]) - u) / density;
            if (!(fabs(off) <= 2e-7 * fmax(1, fabs((double)x[i]))))
                fail_msg("count %u: %g is not the quantile of %g, off by %g", count, x[i], u, off);
        }
        free(x);
    }
}

static void draw_depends_on_seed_alone(void **state)
{
    (void)state;
    float a[256], b[256], c[256];
    HARNESS_OK(dj_frequencies_draw(256, 7, a));
    HARNESS_OK(dj_frequencies_draw(256, 7, b));
    HARNESS_OK(dj_frequencies_draw(256, 8, c));
    assert_memory_equal(a, b, sizeof(a));
    assert_memory_not_equal(a, c, sizeof(a));
    qsort(b, 256, sizeof(*b), compare);
    assert_memory_not_equal(a, b, sizeof(a)); /* shuffled */
}

static void draw_refuses_null(void **state)
{
    (void)state;
    float untouched = 42;
    HARNESS_OK(dj_frequencies_draw(0, 1, NULL));
    HARNESS_OK(dj_frequencies_draw(0, 1, &untouched));
    assert_true(untouched == 42);
    HARNESS_RESULT(dj_frequencies_draw(1, 1, NULL), DJ_ERROR_INVALID_ARGUMENT);
}

/* Params that are right for a map, of two heads, with arrays that a mutation may spoil. */
enum {
    DIM = 8,
    TOKENS = 10,
    HEADS = 2,
    MOST = 256 /* of any array's elements */
};

struct numbers {
    struct dj_features_params params;
    float frequencies[MOST], weights[MOST], directions[MOST], keys[MOST], values[MOST];
};

/* The arrays a map takes, the last element of the last head's at count - 1. */
static const struct map_arrays {
    uint32_t map, features;
    bool frequencies, weights, directions, projections;
} numbered_maps[] = {
    {DJ_MAP_WDCF, 12, true, true, false, false},
    {DJ_MAP_SOFTMAX_DCT, DIM, true, false, false, false},
    {DJ_MAP_PFF, 12, true, true, true, false},
    {DJ_MAP_PRF, 12, false, true, true, false},
    {DJ_MAP_PERFORMER_RELU, 12, false, false, true, false},
    {DJ_MAP_LINFORMER, 6, false, false, false, true},
};
enum {
    NUMBERED_MAPS = sizeof(numbered_maps) / sizeof(*numbered_maps)
};
static const uint32_t plain_maps[] = {DJ_MAP_COSFORMER, DJ_MAP_ELU, DJ_MAP_RELU, DJ_MAP_IDENTITY,
                                      DJ_MAP_SOFTMAX};

static void numbers_init(struct numbers *n, const struct map_arrays *map)
{
    *n = (struct numbers){0};
    float *arrays[] = {n->frequencies, n->weights, n->directions, n->keys, n->values};
    for (size_t i = 0; i < 5; i++)
        harness_fill_normal(arrays[i], MOST, 1);
    n->params = (struct dj_features_params){
        .map = map->map,
        .dim = DIM,
        .features = map->features,
        .heads = HEADS,
        .tokens = map->projections ? TOKENS : 0,
        .frequencies = map->frequencies ? n->frequencies : NULL,
        .weights = map->weights ? n->weights : NULL,
        .directions = map->directions ? n->directions : NULL,
        .key_projection = map->projections ? n->keys : NULL,
        .value_projection = map->projections ? n->values : NULL,
    };
}

static void assert_accepted(const struct dj_features_params *params, const char *what)
{
    dj_features *features = NULL;
    harness_assert_result(dj_features_create(harness_context(0), params, &features), DJ_SUCCESS,
                          what, __FILE__, __LINE__);
    assert_non_null(features);
    dj_features_destroy(&features);
    assert_null(features);
}

/* Returns 1, having said why, unless the params are refused with that result and a line that holds
 * the word. All of a table are tried before a test fails. */
static unsigned refused(const struct dj_features_params *params, dj_result want, const char *word,
                        const char *what)
{
    dj_features *features = (void *)&features; /* must become NULL on failure */
    harness_log_clear();
    const dj_result got = dj_features_create(harness_context(0), params, &features);
    const bool named = strstr(harness_log_last(), word) != NULL;
    if (got == want && features == NULL && named)
        return 0;
    print_error("map %u, %s: %s, not %s; handle %s; \"%s\" %s in: %s\n", params->map, what,
                dj_result_name(got), dj_result_name(want), features ? "left" : "NULL", word,
                named ? "is" : "is not", harness_log_last());
    if (got == DJ_SUCCESS)
        dj_features_destroy(&features);
    return 1;
}

/* A value that breaks a rule, in params that are otherwise right. */
struct mutation {
    const char *name, *word; /* the line logged holds word */
    dj_result result;
    void (*apply)(struct numbers *n);
};

#define MUTATION(name, ...) \
    static void name(struct numbers *n) \
    { \
        struct dj_features_params *const p = &n->params; \
        (void)p; \
        __VA_ARGS__ \
    }

MUTATION(dim_zero, p->dim = 0;)
MUTATION(dim_two, p->dim = 2;)
MUTATION(dim_no_multiple, p->dim = 62;)
MUTATION(dim_too_large, p->dim = 260;)
MUTATION(dim_huge, p->dim = UINT32_MAX - 3;)
MUTATION(features_too_many, p->features = 1028;)
MUTATION(features_huge, p->features = UINT32_MAX - 3;)
MUTATION(unknown_kernel, p->kernel = 2;)
MUTATION(reserved_first, p->reserved[0] = 1;)
MUTATION(reserved_last, p->reserved[3] = UINT64_MAX;)

/* Rules of every map that has numbers. */
static const struct mutation common[] = {
    {"dim 0", "dim", DJ_ERROR_INVALID_ARGUMENT, dim_zero},
    {"dim 2", "dim", DJ_ERROR_INVALID_ARGUMENT, dim_two},
    {"dim 62", "dim", DJ_ERROR_INVALID_ARGUMENT, dim_no_multiple},
    {"dim 260", "dim", DJ_ERROR_INVALID_ARGUMENT, dim_too_large},
    {"dim 2^32 - 4", "dim", DJ_ERROR_INVALID_ARGUMENT, dim_huge},
    {"1028 features", "features", DJ_ERROR_INVALID_ARGUMENT, features_too_many},
    {"2^32 - 4 features", "features", DJ_ERROR_INVALID_ARGUMENT, features_huge},
    {"kernel 2", "kernel", DJ_ERROR_INVALID_ARGUMENT, unknown_kernel},
    {"the first reserved field", "reserved", DJ_ERROR_VERSION, reserved_first},
    {"the last reserved field", "reserved", DJ_ERROR_VERSION, reserved_last},
};

static void rules_of_every_map(void **state)
{
    (void)state;
    unsigned wrong = 0;
    for (size_t m = 0; m < NUMBERED_MAPS; m++) {
        struct numbers n;
        numbers_init(&n, &numbered_maps[m]);
        assert_accepted(&n.params, "without a mutation");
        for (size_t i = 0; i < sizeof(common) / sizeof(*common); i++) {
            numbers_init(&n, &numbered_maps[m]);
            common[i].apply(&n);
            wrong += refused(&n.params, common[i].result, common[i].word, common[i].name);
        }
    }
    assert_int_equal(wrong, 0);
}

/* The arrays of the params, in the order of the header, and whether a map takes them. */
enum {
    ARRAYS = 5
};
static const char *const array_names[ARRAYS] = {"frequencies", "weights", "directions",
                                                "key_projection", "value_projection"};

static float *array(struct numbers *n, size_t i)
{
    return (float *[]){n->frequencies, n->weights, n->directions, n->keys, n->values}[i];
}

static const float **array_field(struct numbers *n, size_t i)
{
    struct dj_features_params *const p = &n->params;
    return (const float **[]){&p->frequencies, &p->weights, &p->directions, &p->key_projection,
                              &p->value_projection}[i];
}

static bool takes(const struct map_arrays *map, size_t i)
{
    return (const bool[]){map->frequencies, map->weights, map->directions, map->projections,
                          map->projections}[i];
}

static size_t array_length(const struct map_arrays *map, size_t i)
{
    const size_t row = i < 2 ? 1 : i == 2 ? DIM : TOKENS;
    return HEADS * map->features * row;
}

/* Each array is needed by the maps that have it, weights excepted, and refused by the others. */
static void arrays_belong_to_maps(void **state)
{
    (void)state;
    unsigned wrong = 0;
    for (size_t m = 0; m < NUMBERED_MAPS; m++) {
        for (size_t i = 0; i < ARRAYS; i++) {
            struct numbers n;
            numbers_init(&n, &numbered_maps[m]);
            const bool taken = takes(&numbered_maps[m], i);
            *array_field(&n, i) = taken ? NULL : array(&n, i);
            if (taken && i == 1)
                assert_accepted(&n.params, "without weights");
            else
                wrong +=
                    refused(&n.params, taken ? DJ_ERROR_INVALID_ARGUMENT : DJ_ERROR_UNSUPPORTED,
                            array_names[i], taken ? "an array missing" : "an array too many");
        }
    }
    assert_int_equal(wrong, 0);
}

/* The first and the last number of every array, of every map that takes it. */
static void numbers_must_be_finite(void **state)
{
    (void)state;
    const float bad[] = {NAN, INFINITY, -INFINITY};
    unsigned wrong = 0;
    for (size_t m = 0; m < NUMBERED_MAPS; m++) {
        for (size_t i = 0; i < ARRAYS; i++) {
            for (size_t b = 0; takes(&numbered_maps[m], i) && b < 6; b++) {
                struct numbers n;
                numbers_init(&n, &numbered_maps[m]);
                array(&n, i)[b < 3 ? 0 : array_length(&numbered_maps[m], i) - 1] = bad[b % 3];
                wrong += refused(&n.params, DJ_ERROR_INVALID_ARGUMENT, "", array_names[i]);
                assert_true(harness_log_last()[0] != 0);
                /* what lies behind the last number is not looked at */
                numbers_init(&n, &numbered_maps[m]);
                array(&n, i)[array_length(&numbered_maps[m], i)] = bad[b % 3];
                assert_accepted(&n.params, array_names[i]);
            }
        }
    }
    assert_int_equal(wrong, 0);
}

/* D = 0 drops a feature; a head must keep one. */
static void every_head_keeps_a_feature(void **state)
{
    (void)state;
    unsigned wrong = 0;
    for (size_t m = 0; m < NUMBERED_MAPS; m++) {
        const struct map_arrays *const map = &numbered_maps[m];
        for (size_t head = 0; map->weights && head < HEADS; head++) {
            struct numbers n;
            numbers_init(&n, map);
            float *const weights = n.weights + head * map->features;
            memset(weights, 0, map->features * sizeof(*weights));
            wrong += refused(&n.params, DJ_ERROR_INVALID_ARGUMENT, "weights", "all weights 0");
            weights[map->features - 1] = -0x1p-149f;
            assert_accepted(&n.params, "one weight left");
            weights[map->features - 1] = -0.0f;
            wrong += refused(&n.params, DJ_ERROR_INVALID_ARGUMENT, "weights", "weights of -0");
        }
    }
    assert_int_equal(wrong, 0);
}

MUTATION(few_features, p->features = 2;)
MUTATION(odd_features, p->features = 10;)
MUTATION(wdcf_beyond, p->features = 4 * DIM + 4;)
MUTATION(wdcf_beyond_small, p->dim = 4; p->features = 20;)
MUTATION(own_fewer, p->features = DIM - 4;)
MUTATION(own_more, p->features = DIM + 4;)
MUTATION(linformer_beyond, p->features = 1025;)
MUTATION(no_tokens, p->tokens = 0;)
MUTATION(tokens, p->tokens = TOKENS;)
MUTATION(kernel, p->kernel = DJ_KERNEL_GAUSSIAN;)

/* Rules of some maps, named by their rows in numbered_maps. */
static const struct {
    uint32_t row;
    struct mutation mutation;
} particular[] = {
    {0, {"2 features", "features", DJ_ERROR_INVALID_ARGUMENT, few_features}},
    {2, {"2 features", "features", DJ_ERROR_INVALID_ARGUMENT, few_features}},
    {3, {"2 features", "features", DJ_ERROR_INVALID_ARGUMENT, few_features}},
    {4, {"2 features", "features", DJ_ERROR_INVALID_ARGUMENT, few_features}},
    {0, {"10 features", "features", DJ_ERROR_INVALID_ARGUMENT, odd_features}},
    {2, {"10 features", "features", DJ_ERROR_INVALID_ARGUMENT, odd_features}},
    {3, {"10 features", "features", DJ_ERROR_INVALID_ARGUMENT, odd_features}},
    {4, {"10 features", "features", DJ_ERROR_INVALID_ARGUMENT, odd_features}},
    {0, {"more than 4 d features", "features", DJ_ERROR_INVALID_ARGUMENT, wdcf_beyond}},
    {0, {"20 features of 4", "features", DJ_ERROR_INVALID_ARGUMENT, wdcf_beyond_small}},
    {1, {"fewer features than d", "features", DJ_ERROR_INVALID_ARGUMENT, own_fewer}},
    {1, {"more features than d", "features", DJ_ERROR_INVALID_ARGUMENT, own_more}},
    {5, {"1025 rows", "features", DJ_ERROR_INVALID_ARGUMENT, linformer_beyond}},
    {5, {"no tokens", "at least 1", DJ_ERROR_INVALID_ARGUMENT, no_tokens}},
    {0, {"tokens", "must be 0", DJ_ERROR_INVALID_ARGUMENT, tokens}},
    {1, {"tokens", "must be 0", DJ_ERROR_INVALID_ARGUMENT, tokens}},
    {2, {"tokens", "must be 0", DJ_ERROR_INVALID_ARGUMENT, tokens}},
    {3, {"tokens", "must be 0", DJ_ERROR_INVALID_ARGUMENT, tokens}},
    {4, {"tokens", "must be 0", DJ_ERROR_INVALID_ARGUMENT, tokens}},
    {0, {"a kernel", "kernel", DJ_ERROR_INVALID_ARGUMENT, kernel}},
    {1, {"a kernel", "kernel", DJ_ERROR_INVALID_ARGUMENT, kernel}},
    {4, {"a kernel", "kernel", DJ_ERROR_INVALID_ARGUMENT, kernel}},
    {5, {"a kernel", "kernel", DJ_ERROR_INVALID_ARGUMENT, kernel}},
};

static void rules_of_some_maps(void **state)
{
    (void)state;
    unsigned wrong = 0;
    for (size_t i = 0; i < sizeof(particular) / sizeof(*particular); i++) {
        const struct mutation *const m = &particular[i].mutation;
        struct numbers n;
        numbers_init(&n, &numbered_maps[particular[i].row]);
        m->apply(&n);
        wrong += refused(&n.params, m->result, m->word, m->name);
    }
    assert_int_equal(wrong, 0);
}

static void maps_without_numbers_are_refused(void **state)
{
    (void)state;
    unsigned wrong = 0;
    for (size_t i = 0; i < sizeof(plain_maps) / sizeof(*plain_maps); i++) {
        const struct dj_features_params bare = {.map = plain_maps[i], .dim = DIM};
        wrong += refused(&bare, DJ_ERROR_UNSUPPORTED, "numbers", "no numbers");
        struct numbers n;
        numbers_init(&n, &numbered_maps[0]);
        n.params.map = plain_maps[i];
        n.params.features = 0;
        wrong += refused(&n.params, DJ_ERROR_UNSUPPORTED, "numbers", "numbers");
    }
    const uint32_t unknown[] = {DJ_MAP_COUNT, DJ_MAP_COUNT + 1, UINT32_MAX};
    for (size_t i = 0; i < sizeof(unknown) / sizeof(*unknown); i++) {
        struct numbers n;
        numbers_init(&n, &numbered_maps[0]);
        n.params.map = unknown[i];
        wrong += refused(&n.params, DJ_ERROR_INVALID_ARGUMENT, "map", "unknown");
    }
    assert_int_equal(wrong, 0);
}

/* The least and the most that each map takes. */
static void extremes_are_accepted(void **state)
{
    (void)state;
    float *const numbers = calloc(1024 * 256, sizeof(*numbers));
    assert_non_null(numbers);
    for (size_t m = 0; m < NUMBERED_MAPS; m++) {
        const struct map_arrays *const map = &numbered_maps[m];
        const bool own = map->map == DJ_MAP_SOFTMAX_DCT, rows = map->projections;
        const struct {
            uint32_t dim, features;
        } sizes[] = {{4, 0},
                     {256, 0},
                     {4, own    ? 4
                         : rows ? 1
                                : 4},
                     {256, own ? 256 : 1024},
                     {12, own                       ? 12
                          : map->map == DJ_MAP_WDCF ? 48
                                                    : 1000}};
        for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
            const struct dj_features_params params = {
                .map = map->map,
                .dim = sizes[i].dim,
                .features = sizes[i].features,
                .tokens = rows ? 1 + 255 * (uint32_t)(i & 1) : 0,
                .frequencies = map->frequencies ? numbers : NULL,
                .directions = map->directions ? numbers : NULL,
                .key_projection = rows ? numbers : NULL,
                .value_projection = rows ? numbers : NULL,
            };
            assert_accepted(&params, dj_map_name(map->map));
        }
    }
    free(numbers);
}

/* More numbers than one binding reaches. */
static void numbers_beyond_the_binding_are_refused(void **state)
{
    (void)state;
    struct dj_device_info info;
    HARNESS_OK(dj_context_device(harness_context(0), &info));
    if (info.max_storage_range > UINT64_C(1) << 28) {
        print_message("# a binding reaches %llu bytes: too much to exceed\n",
                      (unsigned long long)info.max_storage_range);
        return;
    }
    const uint32_t heads = (uint32_t)(info.max_storage_range / (4 * 1024 * 256)) + 1;
    float *const numbers = calloc((size_t)heads * 1024 * 256, sizeof(*numbers));
    assert_non_null(numbers);
    const struct dj_features_params directions = {
        .map = DJ_MAP_PRF, .dim = 256, .features = 1024, .heads = heads, .directions = numbers};
    const struct dj_features_params projections = {.map = DJ_MAP_LINFORMER,
                                                   .dim = 64,
                                                   .features = 256,
                                                   .tokens = heads * 1024,
                                                   .key_projection = numbers,
                                                   .value_projection = numbers};
    assert_int_equal(refused(&directions, DJ_ERROR_LIMIT, "bind", "directions"), 0);
    assert_int_equal(refused(&projections, DJ_ERROR_LIMIT, "bind", "projections"), 0);
    free(numbers);
}

static void null_is_refused_or_accepted(void **state)
{
    (void)state;
    float frequencies[4] = {0};
    const struct dj_features_params params = {.dim = 4, .frequencies = frequencies};
    dj_features *features = NULL;
    HARNESS_RESULT(dj_features_create(NULL, &params, &features), DJ_ERROR_INVALID_ARGUMENT);
    HARNESS_RESULT(dj_features_create(harness_context(0), NULL, &features),
                   DJ_ERROR_INVALID_ARGUMENT);
    HARNESS_RESULT(dj_features_create(harness_context(0), &params, NULL),
                   DJ_ERROR_INVALID_ARGUMENT);
    dj_features_destroy(&features);
    dj_features_destroy(NULL);
}

static void maps_have_names(void **state)
{
    (void)state;
    static const char *const names[] = {"wdcf",           "softmax-dct", "pff",      "prf",
                                        "performer-relu", "cosformer",   "elu",      "relu",
                                        "identity",       "softmax",     "linformer"};
    assert_int_equal(sizeof(names) / sizeof(*names), DJ_MAP_COUNT);
    for (uint32_t map = 0; map < DJ_MAP_COUNT; map++)
        assert_string_equal(dj_map_name(map), names[map]);
    assert_null(dj_map_name(DJ_MAP_COUNT));
    assert_null(dj_map_name(DJ_MAP_COUNT + 1));
    assert_null(dj_map_name(UINT32_MAX));
}

static const struct CMUnitTest tests[] = {
    HARNESS_TEST(draws_midpoint_quantiles),
    HARNESS_TEST(draw_depends_on_seed_alone),
    HARNESS_TEST(draw_refuses_null),
    HARNESS_TEST(rules_of_every_map),
    HARNESS_TEST(arrays_belong_to_maps),
    HARNESS_TEST(numbers_must_be_finite),
    HARNESS_TEST(every_head_keeps_a_feature),
    HARNESS_TEST(rules_of_some_maps),
    HARNESS_TEST(maps_without_numbers_are_refused),
    HARNESS_TEST(extremes_are_accepted),
    HARNESS_TEST(numbers_beyond_the_binding_are_refused),
    HARNESS_TEST(null_is_refused_or_accepted),
    HARNESS_TEST(maps_have_names),
};

HARNESS_MAIN(tests)
