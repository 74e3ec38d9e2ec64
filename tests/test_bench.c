/* SPDX-License-Identifier: MIT */
#include "programs.h"

#include <cjson/cJSON.h>

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char bench[] = PROGRAM_BENCH;

static double number(const cJSON *object, const char *name)
{
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(object, name);
    assert_true(cJSON_IsNumber(value));
    return value->valuedouble;
}

static void assert_text(const cJSON *object, const char *name, const char *want)
{
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(object, name);
    assert_true(cJSON_IsString(value));
    assert_string_equal(value->valuestring, want);
}

/* The results of a benchmark that printed JSON and nothing else. */
static cJSON *scan_json(cJSON **root, int count)
{
    const char *end;
    assert_success();
    *root = cJSON_ParseWithOpts(last.out, &end, false);
    if (!*root || strcmp(end, "\n") != 0)
        show("not one line of JSON");
    assert_non_null(*root);
    assert_string_equal(end, "\n");
    assert_true(cJSON_IsString(cJSON_GetObjectItemCaseSensitive(*root, "device")));
    cJSON *results = cJSON_GetObjectItemCaseSensitive(*root, "results");
    assert_int_equal(cJSON_GetArraySize(results), count);
    return results;
}

/* What holds of every result. */
static void assert_speed(const cJSON *result, double tokens)
{
    const cJSON *clock = cJSON_GetObjectItemCaseSensitive(result, "clock");
    assert_true(cJSON_IsString(clock));
    assert_true(strcmp(clock->valuestring, "device") == 0 ||
                strcmp(clock->valuestring, "host") == 0);
    assert_true(number(result, "min_ms") > 0 && number(result, "spread") >= 0);
    assert_true(number(result, "min_ms") <= number(result, "median_ms"));
    assert_true(number(result, "median_ms") <= number(result, "max_ms"));
    assert_true(number(result, "wall_ms") > 0 && number(result, "repetitions") >= 1);
    assert_true(fabs(number(result, "flops_per_s") * number(result, "median_ms") /
                         number(result, "flops") / 1e3 -
                     1) < 1e-3);
    assert_true(fabs(number(result, "bytes_per_s") * number(result, "median_ms") /
                         number(result, "bytes") / 1e3 -
                     1) < 1e-3);
    assert_true(number(result, "median_ms") > 0);
    assert_true(fabs(number(result, "tokens_per_s") * number(result, "median_ms") / tokens / 1e3 -
                     1) < 1e-3);
}

/* Each kernel's time, where the device has timestamps: all of them positive, and there are kernels.
 */
static void assert_kernels(const cJSON *result, const char *name, uint32_t most)
{
    const cJSON *const list = cJSON_GetObjectItemCaseSensitive(result, "kernel_times");
    const cJSON *const clock = cJSON_GetObjectItemCaseSensitive(result, "clock");
    const bool stamped = strcmp(clock->valuestring, "device") == 0;
    assert_true(cJSON_IsArray(list));
    bool found = !stamped;
    const cJSON *kernel;
    cJSON_ArrayForEach(kernel, list)
    {
        const cJSON *const text = cJSON_GetObjectItemCaseSensitive(kernel, "kernel");
        assert_true(cJSON_IsString(text));
        found = found || strncmp(text->valuestring, name, strlen(name)) == 0;
        assert_true(number(kernel, "ms") >= 0 && number(kernel, "dispatches") >= 1);
    }
    assert_true(found);
    assert_true(cJSON_GetArraySize(list) <= (int)most);
}

static void test_bench_prints_json(void **state)
{
    (void)state;
    cJSON *root, *result;
    RUN(bench, "--case", "prefill", "--batch=2", "--heads", "3", "--dim", "20", "--value-dim", "8",
        "--tokens", "300", "--repeat", "3", "--json");
    result = cJSON_GetArrayItem(scan_json(&root, 1), 0);
    assert_text(result, "case", "prefill");
    assert_text(result, "features", "wdcf");
    assert_text(result, "dtype", "f32");
    assert_true(number(result, "batch") == 2 && number(result, "heads") == 3);
    assert_true(number(result, "key_heads") == 3 && number(result, "value_dim") == 8);
    assert_true(number(result, "dim") == 20 && number(result, "tokens") == 300);
    assert_speed(result, 600);
    assert_kernels(result, "tile_output", 12); /* dim 20 has no resident kernel */
    cJSON_Delete(root);
    RUN(bench, "--case", "decode", "--batch", "5", "--heads", "2", "--dim", "12", "--json");
    result = cJSON_GetArrayItem(scan_json(&root, 1), 0);
    assert_text(result, "case", "decode");
    assert_true(number(result, "batch") == 5 && number(result, "tokens") == 1);
    assert_speed(result, 5);
    assert_kernels(result, "step", 1);
    cJSON_Delete(root);
}

/* Of 3 sequences of 100 tokens and 2 heads, 64 queries' and keys' and 32 values' elements each. */
static void assert_roofline(const char *dtype, double size)
{
    cJSON *root;
    RUN(bench, "--case=prefill", "--heads=2", "--dim=64", "--value-dim=32", "--tokens=100",
        "--batch=3", "--repeat=2", "--json", "--dtype", dtype);
    const cJSON *result = cJSON_GetArrayItem(scan_json(&root, 1), 0);
    const cJSON *ceilings = cJSON_GetObjectItemCaseSensitive(root, "ceilings");
    const double rows = 3 * 100 * 2, flops = rows * (4 * 64 * 32 + 2 * 64 * 64);
    const double bytes = rows * (2 * 64 + 2 * 32) * size;
    assert_true(number(result, "flops") == flops && number(result, "bytes") == bytes);
    const cJSON *matrix = cJSON_GetObjectItemCaseSensitive(ceilings, "matrix_flops_per_s");
    assert_true(cJSON_IsNull(matrix) || matrix->valuedouble > 0);
    double peak = number(ceilings, "fma_flops_per_s");
    if (size == 2 && cJSON_IsNumber(matrix) && matrix->valuedouble > peak)
        peak = matrix->valuedouble;
    const double arithmetic = flops / peak;
    const double memory = bytes / number(ceilings, "copy_bytes_per_s");
    const double allowed = 1e3 * (arithmetic > memory ? arithmetic : memory);
    assert_true(fabs(number(result, "roofline_ms") / allowed - 1) < 1e-3);
    assert_true(fabs(number(result, "roofline") * number(result, "median_ms") / allowed - 1) <
                1e-3);
    assert_text(result, "bound", arithmetic > memory ? "flops" : "bytes");
    assert_true(number(result, "repetitions") == 2);
    cJSON_Delete(root);
}

/* The roofline is what the ceilings allow for the work that is counted. */
static void test_bench_knows_the_roofline(void **state)
{
    (void)state;
    cJSON *root;
    assert_roofline("f32", 4);
    assert_roofline("f16", 2);
    RUN(bench, "--case=prefill", "--heads=2", "--dim=8", "--tokens=100", "--repeat=1", "--json",
        "--no-ceilings");
    const cJSON *result = cJSON_GetArrayItem(scan_json(&root, 1), 0);
    assert_null(cJSON_GetObjectItemCaseSensitive(root, "ceilings"));
    assert_null(cJSON_GetObjectItemCaseSensitive(result, "roofline"));
    cJSON_Delete(root);
}

static void test_bench_measures_parts(void **state)
{
    (void)state;
    cJSON *root;
    RUN(bench, "--case=dct", "--heads=3", "--dim=16", "--tokens=77", "--dtype=f16", "--repeat=2",
        "--no-ceilings", "--json");
    const cJSON *result = cJSON_GetArrayItem(scan_json(&root, 1), 0);
    assert_text(result, "case", "dct");
    assert_text(result, "features", "-");
    assert_text(result, "dtype", "f32");
    assert_true(number(result, "bytes") == 3 * 77 * 16 * 8);
    assert_speed(result, 77);
    cJSON_Delete(root);
    RUN(bench, "--case=features", "--features=performer", "--heads=3", "--dim=16", "--tokens=77",
        "--repeat=2", "--no-ceilings", "--json");
    result = cJSON_GetArrayItem(scan_json(&root, 1), 0);
    assert_text(result, "case", "features");
    assert_text(result, "features", "performer");
    assert_true(number(result, "value_dim") == 4);
    assert_speed(result, 77);
    cJSON_Delete(root);
}

/* A step of decoding moves the state, in and out. */
static void test_bench_counts_the_state(void **state)
{
    (void)state;
    cJSON *root;
    RUN(bench, "--case=decode", "--features=identity", "--heads=2", "--dim=8", "--repeat=1",
        "--no-ceilings", "--json");
    const cJSON *result = cJSON_GetArrayItem(scan_json(&root, 1), 0);
    assert_true(number(result, "bytes") >= 2 * 2 * 8 * 8 * 2 * 4 + 2 * 4 * 8 * 4);
    cJSON_Delete(root);
}

/* With a suite, options choose among its cases. */
static void test_bench_filters_suites(void **state)
{
    (void)state;
    cJSON *root;
    RUN(bench, "--suite=cpu", "--case=decode", "--no-ceilings", "--repeat=1", "--json");
    const cJSON *results = scan_json(&root, 2);
    assert_text(cJSON_GetArrayItem(results, 0), "features", "wdcf");
    assert_text(cJSON_GetArrayItem(results, 1), "features", "identity");
    assert_true(number(cJSON_GetArrayItem(results, 0), "heads") == 8);
    cJSON_Delete(root);
    RUN(bench, "--suite", "cpu", "--case", "prefill", "--heads", "8", "--dim", "64", "--value-dim",
        "64", "--tokens", "1024", "--features", "identity", "--dtype", "f32", "--batch", "1",
        "--no-ceilings", "--repeat", "1", "--json");
    const cJSON *result = cJSON_GetArrayItem(scan_json(&root, 1), 0);
    assert_text(result, "features", "identity");
    assert_true(number(result, "tokens") == 1024);
    cJSON_Delete(root);
    RUN(bench, "--suite=gpu", "--case=decode", "--batch=1", "--no-ceilings", "--repeat=1",
        "--json");
    result = cJSON_GetArrayItem(scan_json(&root, 1), 0);
    assert_text(result, "dtype", "f16");
    assert_true(number(result, "heads") == 16);
    cJSON_Delete(root);
    RUN(bench, "--suite=gpu", "--dim=128");
    assert_nothing_but(2, "no case of --suite gpu has all that was asked for");
}

/* Exact softmax stands beside the linear system, with the ratio of the two. */
static void test_bench_compares_with_softmax(void **state)
{
    (void)state;
    cJSON *root;
    RUN(bench, "--case=softmax", "--features=elu", "--dtype=bf16", "--heads=4", "--key-heads=2",
        "--dim=8", "--tokens=140", "--repeat=3", "--json");
    const cJSON *results = scan_json(&root, 2);
    const cJSON *linear = cJSON_GetArrayItem(results, 0), *softmax = cJSON_GetArrayItem(results, 1);
    assert_text(linear, "case", "prefill");
    assert_text(linear, "features", "elu");
    assert_text(softmax, "case", "softmax");
    assert_text(softmax, "features", "softmax");
    assert_text(softmax, "dtype", "bf16");
    assert_true(number(softmax, "key_heads") == 2 && number(softmax, "tokens") == 140);
    assert_speed(softmax, 140);
    const double ratio = number(softmax, "median_ms") / number(linear, "median_ms");
    assert_true(fabs(number(softmax, "ratio_to_linear") / ratio - 1) < 1e-3);
    cJSON_Delete(root);
}

/* What is not right by the host's reckoning would fail. */
static void test_bench_measures_every_system(void **state)
{
    (void)state;
    static const char *const names[] = {
        "wdcf", "softmax-dct", "pff",      "prf",     "performer", "performer-relu", "cosformer",
        "elu",  "relu",        "identity", "softmax", "linformer", "wpff",
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        RUN(bench, "--features", names[i], "--heads=2", "--key-heads=1", "--dim=8", "--value-dim=4",
            "--tokens=70", "--repeat=1", "--no-ceilings", "--dtype", i % 3 == 0 ? "f16" : "f32");
        assert_success();
        assert_printed(names[i]);
        assert_printed("\nprefill ");
        if (strcmp(names[i], "softmax") == 0 || strcmp(names[i], "linformer") == 0)
            assert_null(strstr(last.out, "\ndecode "));
        else
            assert_printed("\ndecode ");
    }
    static const char *const exponential[] = {"wdcf", "pff", "prf"};
    for (size_t i = 0; i < sizeof(exponential) / sizeof(exponential[0]); i++) {
        RUN(bench, "--features", exponential[i], "--key-normalise", "--heads=2", "--dim=8",
            "--tokens=70", "--repeat=1", "--no-ceilings");
        assert_success();
        assert_printed("/keys ");
    }
    RUN(bench, "--features=elu", "--key-normalise");
    assert_nothing_but(2, "--key-normalise is for");
    RUN(bench, "--suite=cpu", "--key-normalise");
    assert_nothing_but(2, "--key-normalise: no case");
}

static void test_bench_prints_a_table(void **state)
{
    (void)state;
    RUN(bench, "--case", "all", "--tokens", "65", "--heads", "1", "--dim", "4", "--repeat", "1");
    assert_success();
    assert_printed("device: ");
    assert_printed("\nmeasured: copy ");
    assert_printed("median ms");
    assert_printed("\nprefill ");
    assert_printed("\nsoftmax ");
    assert_printed(" x\n");
    assert_printed("\ndecode ");
    assert_printed("\ndct ");
    assert_printed("\nfeatures ");
    RUN(bench, "--json", "--heads", "65535", "--tokens", "16777216");
    assert_nothing_but(1, "allocates at once");
}

/* bench.json, and a figure where there are lines to draw, in a directory that is made. */
static void test_bench_writes_its_results(void **state)
{
    (void)state;
    RUN(bench, "--case=prefill", "--features=relu", "--heads=1", "--dim=4", "--repeat=1",
        "--output", files_path("out"));
    assert_success();
    assert_printed("\nprefill ");
    size_t size;
    char *const text = files_read(files_path("out/bench.json"), &size);
    cJSON *const root = cJSON_Parse(text);
    assert_true(cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(root, "results")) > 1);
    cJSON_Delete(root);
    free(text);
    files_remove("out/bench.json");
    for (int i = 0; i < 2; i++) {
        const char *const figure = i ? "out/bench.svg" : "out/bench.png";
        assert_int_equal(files_exists(figure), HAVE_CHARTS);
        if (HAVE_CHARTS)
            files_remove(figure);
    }
    assert_int_equal(rmdir(files_path("out")), 0); /* nothing else was left */
    RUN(bench, "--case=decode", "--heads=1", "--dim=4", "--output", files_path("none/none"));
    assert_nothing_but(1, "cannot be made: No such file or directory");
}

/* Interrupted after its first row, it has written that, and ends by the signal. */
static void test_bench_is_interrupted(void **state)
{
    (void)state;
    const char *const argv[] = {bench,           "--case=prefill", "--heads=1",       "--dim=4",
                                "--no-ceilings", "--output",       files_path("out"), NULL};
    interrupt(argv, "\nprefill ", SIGTERM);
    size_t size;
    char *const written = files_read(files_path("out/bench.json"), &size);
    cJSON *const root = cJSON_Parse(written);
    assert_true(cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(root, "interrupted")));
    const int count = cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(root, "results"));
    assert_true(count > 0 && count < 7);
    cJSON_Delete(root);
    free(written);
    files_remove("out/bench.json");
    if (files_exists("out/bench.png")) {
        files_remove("out/bench.png");
        files_remove("out/bench.svg");
    }
    assert_int_equal(rmdir(files_path("out")), 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_bench_prints_json),
    cmocka_unit_test(test_bench_prints_a_table),
    cmocka_unit_test(test_bench_knows_the_roofline),
    cmocka_unit_test(test_bench_measures_parts),
    cmocka_unit_test(test_bench_counts_the_state),
    cmocka_unit_test(test_bench_filters_suites),
    cmocka_unit_test(test_bench_compares_with_softmax),
    cmocka_unit_test(test_bench_measures_every_system),
    cmocka_unit_test(test_bench_writes_its_results),
    cmocka_unit_test(test_bench_is_interrupted),
};

PROGRAMS_MAIN(tests)
