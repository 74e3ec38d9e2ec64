/* SPDX-License-Identifier: MIT */
/* What dijiang-attend computes: every attention system in its options, element types and layouts.
 */
#include "half.h"
#include "programs.h"
#include "twin.h"

#include "safetensors.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char attend[] = PROGRAM_ATTEND;

enum {
    B = 2,
    H = 4,
    HK = 2,
    T = 70,
    TQ = 45, /* of queries that attend to other tokens */
    D = 12,
    E = 20,
    MOST = 48, /* features */
};

/* Query and key heads, tokens and numbers that differ, so that nothing can be taken for another. */
static struct {
    float q[B * H * T * D], k[B * HK * T * D], v[B * HK * T * E]; /* [B,H,T,..] as in files */
    float decay[HK];
    float frequencies[HK * MOST], weights[HK * MOST]; /* [HK][m] */
    float directions[HK * MOST * D];                  /* [HK][m][d] */
    float projections[2][HK * MOST * T];              /* [HK][m][T] */
} data;

/* Numbers that differ by key head, or are the same for both. */
static void fill_numbers(float *numbers, size_t size, double sigma, bool shared)
{
    harness_fill_normal(numbers, HK * size, sigma);
    if (shared)
        memcpy(numbers + size, numbers, size * sizeof(float));
}

static void fill_data(size_t m)
{
    harness_fill_normal(data.q, B * H * T * D, 1);
    harness_fill_normal(data.k, B * HK * T * D, 1);
    harness_fill_normal(data.v, B * HK * T * E, 1);
    memcpy(data.decay, (const float[]){1, 0.9f}, sizeof(data.decay));
    fill_numbers(data.frequencies, m, 1, false);
    fill_numbers(data.weights, m, 1, true);
    data.weights[1] = data.weights[m + 1] = 0; /* a feature that is dropped */
    fill_numbers(data.directions, m * D, 0.5, true);
    fill_numbers(data.projections[0], m * T, 0.2, false);
    fill_numbers(data.projections[1], m * T, 0.2, true);
}

/* [A][B][C][D] to [A][C][B][D] */
static float *swap_middle(const float *from, size_t a, size_t b, size_t c, size_t d)
{
    float *swapped = malloc(a * b * c * d * sizeof(float));
    assert_non_null(swapped);
    for (size_t i = 0; i < a; i++)
        for (size_t j = 0; j < b; j++)
            for (size_t k = 0; k < c; k++, from += d)
                memcpy(swapped + ((i * c + k) * b + j) * d, from, d * sizeof(float));
    return swapped;
}

/* The twin's answer as [B,H,T,e]; q, k and v as in files. */
static float *answer(const struct twin_attention *twin)
{
    const size_t tokens = twin_query_tokens(twin), count = twin_o_size(twin);
    double *wide = calloc(count, sizeof(double));
    float *single = malloc(count * sizeof(float));
    float *q = swap_middle(data.q, B, H, tokens, D), *k = swap_middle(data.k, B, HK, T, D);
    float *v = swap_middle(data.v, B, HK, T, E);
    assert_true(wide && single);
    twin_attention(twin, q, k, v, wide);
    for (size_t i = 0; i < count; i++)
        single[i] = (float)wide[i];
    float *out = swap_middle(single, B, tokens, H, E);
    free(v);
    free(k);
    free(q);
    free(single);
    free(wide);
    return out;
}

/* Writes the problem with its answer. Frequencies and E stand there by key head; the rest, the same
 * for both, once. */
static void write_problem(const char *name, const struct twin_attention *twin)
{
    const uint64_t m = twin_features_count(twin), tokens = twin_query_tokens(twin);
    float *out = answer(twin);
    const struct safetensors_output all[] = {
        {"q", 4, (const uint64_t[]){B, H, tokens, D}, data.q},
        {"k", 4, (const uint64_t[]){B, HK, T, D}, data.k},
        {"v", 4, (const uint64_t[]){B, HK, T, E}, data.v},
        {"out", 4, (const uint64_t[]){B, H, tokens, E}, out},
        {"frequency_weights", 2, (const uint64_t[]){HK, m}, twin->frequencies},
        {"feature_weights", 1, (const uint64_t[]){m}, twin->weights},
        {"feature_directions", 2, (const uint64_t[]){m, D}, twin->directions},
        {"key_projection", 3, (const uint64_t[]){HK, m, T}, twin->key_projection},
        {"value_projection", 2, (const uint64_t[]){m, T}, twin->value_projection},
        {"decay", 1, (const uint64_t[]){HK}, twin->decay},
    };
    struct safetensors_output parts[sizeof(all) / sizeof(all[0])];
    uint32_t count = 0;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        if (all[i].data)
            parts[count++] = all[i];
    struct safetensors_error error;
    assert_true(safetensors_write(files_path(name), parts, count, &error));
    free(out);
}

static bool takes_frequencies(int map)
{
    return map == DJ_MAP_WDCF || map == DJ_MAP_SOFTMAX_DCT || map == DJ_MAP_PFF;
}

static bool takes_directions(int map)
{
    return map == DJ_MAP_PFF || map == DJ_MAP_PRF || map == DJ_MAP_PERFORMER_RELU;
}

enum { /* what a case has, all but the first two unlike the default */
    CAUSAL = 1,
    NORMALISED = 2,
    KEYS = 4, /* normalised */
    DECAY = 8,
    WEIGHTS = 16,
};

static const struct {
    const char *options[4];
    int map;
    size_t features; /* m; 0: as the map has it */
    int flags;
    double scale; /* 0: 1/sqrt(d) */
} cases[] = {
    {{"--form=paper"}, DJ_MAP_WDCF, 12, CAUSAL | NORMALISED, 0},
    {{"--scale=0.25"}, DJ_MAP_WDCF, 12, CAUSAL | NORMALISED | DECAY | WEIGHTS, 0.25},
    {{"--no-normalise"}, DJ_MAP_WDCF, 12, CAUSAL | DECAY, 0},
    {{"--no-causal"}, DJ_MAP_WDCF, 48, NORMALISED | WEIGHTS, 0},
    {{"--no-causal", "--no-normalise", "--scale=2"}, DJ_MAP_WDCF, 12, 0, 2},
    {{"--key-normalise", "--features-count=24"}, DJ_MAP_WDCF, 24, CAUSAL | NORMALISED | KEYS, 0},
    {{"--form=reference"}, DJ_MAP_SOFTMAX_DCT, 12, CAUSAL | DECAY, 1},
    {{"--features=wpff"}, DJ_MAP_PFF, 32, CAUSAL | NORMALISED | WEIGHTS, 0},
    {{"--features=pff", "--key-normalise"}, DJ_MAP_PFF, 16, CAUSAL | NORMALISED | KEYS, 0},
    {{"--features=prf"}, DJ_MAP_PRF, 8, CAUSAL | NORMALISED | WEIGHTS | DECAY, 0},
    {{"--features=performer", "--no-causal"}, DJ_MAP_PRF, 16, NORMALISED, 0},
    {{"--features=performer-relu"}, DJ_MAP_PERFORMER_RELU, 16, CAUSAL | NORMALISED, 0},
    {{"--features=cosformer", "--max-tokens=100"}, DJ_MAP_COSFORMER, 0, CAUSAL | NORMALISED, 0},
    {{"--features=elu"}, DJ_MAP_ELU, 0, CAUSAL | NORMALISED, 0},
    {{"--features=elu", "--no-causal"}, DJ_MAP_ELU, 0, NORMALISED, 0},
    {{"--features=relu", "--no-normalise"}, DJ_MAP_RELU, 0, CAUSAL, 0},
    {{"--features=identity"}, DJ_MAP_IDENTITY, 0, CAUSAL | DECAY, 0},
    {{"--features=softmax"}, DJ_MAP_SOFTMAX, 0, CAUSAL | NORMALISED, 0},
    {{"--features=softmax", "--no-causal", "--scale=1"}, DJ_MAP_SOFTMAX, 0, NORMALISED, 1},
    {{"--features=linformer"}, DJ_MAP_LINFORMER, 10, NORMALISED, 0},
};

static struct twin_attention twin_of(size_t i)
{
    const int map = cases[i].map, flags = cases[i].flags;
    return (struct twin_attention){
        .map = map,
        .batch = B,
        .tokens = T,
        .query_tokens = flags & CAUSAL ? T : TQ,
        .heads = H,
        .key_heads = HK,
        .dim = D,
        .value_dim = E,
        .features = cases[i].features,
        .max_tokens = map == DJ_MAP_COSFORMER ? 100 : 0,
        .causal = (flags & CAUSAL) != 0,
        .normalise = (flags & NORMALISED) != 0,
        .key_normalise = (flags & KEYS) != 0,
        .scale = cases[i].scale > 0 ? cases[i].scale : 1 / sqrt(D),
        .decay = flags & DECAY ? data.decay : NULL,
        .frequencies = takes_frequencies(map) ? data.frequencies : NULL,
        .weights = flags & WEIGHTS ? data.weights : NULL,
        .directions = takes_directions(map) ? data.directions : NULL,
        .key_projection = map == DJ_MAP_LINFORMER ? data.projections[0] : NULL,
        .value_projection = map == DJ_MAP_LINFORMER ? data.projections[1] : NULL,
        .feature_heads = HK,
    };
}

static void test_every_system_agrees_with_its_twin(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        double error, bound;
        fill_data(cases[i].features ? cases[i].features : 1);
        const struct twin_attention twin = twin_of(i);
        write_problem("problem", &twin);
        const char *argv[9] = {attend, "--check", "--input", files_path("problem")};
        memcpy(argv + 4, cases[i].options, sizeof(cases[i].options));
        run_to(files_path(".out"), argv);
        assert_success();
        scan_error(&error, &bound);
        assert_true(error <= bound && bound < 1e-4);
    }
}

/* Numbers of other maps, and a decay that is left out, change nothing. */
static void test_what_a_system_does_not_take_is_left_alone(void **state)
{
    (void)state;
    fill_data(12);
    struct twin_attention twin = twin_of(0);
    twin.map = DJ_MAP_ELU;
    float *out = answer(&twin);
    const struct safetensors_output parts[] = {
        {"q", 4, (const uint64_t[]){B, H, T, D}, data.q},
        {"k", 4, (const uint64_t[]){B, HK, T, D}, data.k},
        {"v", 4, (const uint64_t[]){B, HK, T, E}, data.v},
        {"out", 4, (const uint64_t[]){B, H, T, E}, out},
        {"frequency_weights", 1, (const uint64_t[]){3}, data.frequencies},
        {"feature_directions", 1, (const uint64_t[]){5}, data.directions},
        {"decay", 1, (const uint64_t[]){HK}, data.decay},
    };
    struct safetensors_error error;
    assert_true(safetensors_write(files_path("more"), parts, 7, &error));
    free(out);
    RUN(attend, "--features=elu", "--no-decay", "--check", "--input", files_path("more"));
    assert_success();
}

static const char official[] = "official_h4_d64_t130.safetensors";
enum {
    COUNT = 2 * 4 * 130 * 64 /* elements of its out */
};

/* Element types and layouts: the same result up to the type's rounding, and to the bit between
 * layouts. */
static void test_types_and_layouts(void **state)
{
    (void)state;
    static const char *const types[] = {"f32", "f16", "bf16"};
    static const char *const layouts[] = {"bhtd", "bthd", "packed"};
    static const double bounds[] = {1e-4, 3e-3, 2e-2};
    static float rounded[COUNT];
    for (uint32_t type = 0; type < 3; type++) {
        float *first = NULL;
        for (int layout = 0; layout < 3; layout++) {
            double error, bound;
            RUN(attend, "--form=reference", "--check", "--dtype", types[type], "--layout",
                layouts[layout], "--output", files_path("typed"), "--input",
                harness_data(official));
            assert_success();
            scan_error(&error, &bound);
            assert_true(error <= bound && bound < bounds[type]);
            float *out = read_out(files_path("typed"), COUNT);
            memcpy(rounded, out, sizeof(rounded));
            half_round(type, rounded, COUNT);
            assert_memory_equal(rounded, out, sizeof(rounded));
            if (first)
                assert_memory_equal(first, out, COUNT * sizeof(float));
            else
                first = out;
            if (first != out)
                free(out);
        }
        free(first);
    }
}

/* Without 16-bit storage elements are unpacked from 32-bit words: the same result. */
static void test_halves_without_16bit_storage(void **state)
{
    (void)state;
    float *outs[2];
    for (int i = 0; i < 2; i++) {
        if (i == 1)
            setenv("DIJIANG_16BIT_STORAGE", "0", 1);
        RUN(attend, "--dtype=f16", "--layout=packed", "--output", files_path("typed"), "--input",
            harness_data(official));
        unsetenv("DIJIANG_16BIT_STORAGE");
        assert_success();
        outs[i] = read_out(files_path("typed"), COUNT);
    }
    assert_memory_equal(outs[0], outs[1], COUNT * sizeof(float));
    free(outs[0]);
    free(outs[1]);
}

/* Grouped queries in every layout, and keys of other tokens in two. */
static void test_layouts_of_unequal_tensors(void **state)
{
    (void)state;
    static const char *const layouts[] = {"bhtd", "bthd", "packed"};
    for (int cross = 0; cross < 2; cross++) {
        fill_data(1);
        struct twin_attention twin = twin_of(cross ? 14 : 13);
        assert_int_equal(twin.map, DJ_MAP_ELU);
        assert_int_equal(twin.causal, !cross);
        write_problem("unequal", &twin);
        for (int layout = 0; layout < 3 - cross; layout++) {
            RUN(attend, "--features=elu", cross ? "--no-causal" : "--seed=3", "--check", "--layout",
                layouts[layout], "--input", files_path("unequal"));
            assert_success();
        }
    }
}

/* What a file lacks is drawn: on real input, every system gives numbers. */
static void test_every_system_runs_without_numbers(void **state)
{
    (void)state;
    static const struct {
        const char *name, *printed;
    } systems[] = {
        {"wdcf", "attention    wdcf, 64 features, causal, normalised, scale 0.125"},
        {"softmax-dct", "attention    softmax-dct, 64 features, causal, not normalised, scale 1"},
        {"wpff", "\nweights      drawn with seed 1\ndirections   drawn with seed 1\n"},
        {"pff", "\ndirections   drawn with seed 1\n"},
        {"prf", "\ndirections   drawn with seed 1\n"},
        {"performer", "\ndirections   drawn with seed 1\n"},
        {"performer-relu", "\ndirections   drawn with seed 1\n"},
        {"cosformer", "cosformer, 128 features, at most 130 tokens"},
        {"elu", "elu, 64 features"},
        {"relu", "relu, 64 features"},
        {"identity", "identity, 64 features, causal, not normalised"},
        {"softmax", "softmax, causal, normalised"},
        {"linformer", "\nprojection E drawn with seed 1\nprojection F drawn with seed 1\n"},
    };
    for (size_t i = 0; i < sizeof(systems) / sizeof(systems[0]); i++) {
        RUN(attend, "--features", systems[i].name, "--no-decay", "--output", files_path("system"),
            "--input", harness_data(official));
        assert_success();
        assert_printed(systems[i].printed);
        float *out = read_out(files_path("system"), COUNT);
        double sum = 0;
        for (int j = 0; j < COUNT; j++) {
            assert_true(isfinite(out[j]));
            sum += fabs((double)out[j]);
        }
        assert_true(sum > 0);
        free(out);
    }
}

/* The seed decides, and alone. */
static void test_seeds(void **state)
{
    (void)state;
    static const char *const seeds[] = {"7", "8", "7"};
    float *outs[3];
    for (int i = 0; i < 3; i++) {
        RUN(attend, "--features=performer", "--features-count=16", "--seed", seeds[i], "--output",
            files_path("seeded"), "--input", harness_data(official));
        assert_success();
        assert_printed("performer, 16 features");
        outs[i] = read_out(files_path("seeded"), COUNT);
    }
    assert_memory_equal(outs[0], outs[2], COUNT * sizeof(float));
    assert_memory_not_equal(outs[0], outs[1], COUNT * sizeof(float));
    for (int i = 0; i < 3; i++)
        free(outs[i]);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_every_system_agrees_with_its_twin),
    cmocka_unit_test(test_what_a_system_does_not_take_is_left_alone),
    cmocka_unit_test(test_types_and_layouts),
    cmocka_unit_test(test_halves_without_16bit_storage),
    cmocka_unit_test(test_layouts_of_unequal_tensors),
    cmocka_unit_test(test_every_system_runs_without_numbers),
    cmocka_unit_test(test_seeds),
};

PROGRAMS_MAIN(tests)
