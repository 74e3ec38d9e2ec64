/* SPDX-License-Identifier: MIT */
#include "programs.h"

#include <cjson/cJSON.h>

#include <math.h>
#include <string.h>

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

static void assert_speed(const cJSON *result, double tokens)
{
    assert_true(number(result, "median_ms") > 0);
    assert_true(fabs(number(result, "tokens_per_s") * number(result, "median_ms") / tokens / 1e3 -
                     1) < 1e-3);
}

static void test_bench_prints_json(void **state)
{
    (void)state;
    cJSON *root, *result;
    RUN(bench, "--case", "prefill", "--batch=2", "--heads", "3", "--dim", "16", "--value-dim", "8",
        "--tokens", "300", "--repeat", "3", "--json");
    result = cJSON_GetArrayItem(scan_json(&root, 1), 0);
    assert_text(result, "case", "prefill");
    assert_text(result, "features", "wdcf");
    assert_text(result, "dtype", "f32");
    assert_true(number(result, "batch") == 2 && number(result, "heads") == 3);
    assert_true(number(result, "key_heads") == 3 && number(result, "value_dim") == 8);
    assert_true(number(result, "dim") == 16 && number(result, "tokens") == 300);
    assert_speed(result, 600);
    cJSON_Delete(root);
    RUN(bench, "--case", "decode", "--batch", "5", "--heads", "2", "--dim", "12", "--json");
    result = cJSON_GetArrayItem(scan_json(&root, 1), 0);
    assert_text(result, "case", "decode");
    assert_true(number(result, "batch") == 5 && number(result, "tokens") == 1);
    assert_speed(result, 5);
    cJSON_Delete(root);
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
            "--tokens=70", "--repeat=1", "--dtype", i % 3 == 0 ? "f16" : "f32");
        assert_success();
        assert_printed(names[i]);
        assert_printed("\nprefill ");
        if (strcmp(names[i], "softmax") == 0 || strcmp(names[i], "linformer") == 0)
            assert_null(strstr(last.out, "\ndecode "));
        else
            assert_printed("\ndecode ");
    }
}

static void test_bench_prints_a_table(void **state)
{
    (void)state;
    RUN(bench, "--case", "all", "--tokens", "65", "--heads", "1", "--dim", "4", "--repeat", "1");
    assert_success();
    assert_printed("device: ");
    assert_printed("median ms");
    assert_printed("\nprefill ");
    assert_printed("\nsoftmax ");
    assert_printed(" x\n");
    assert_printed("\ndecode ");
    RUN(bench, "--json", "--heads", "65535", "--tokens", "16777216");
    assert_nothing_but(1, "allocates at once");
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_bench_prints_json),
    cmocka_unit_test(test_bench_prints_a_table),
    cmocka_unit_test(test_bench_compares_with_softmax),
    cmocka_unit_test(test_bench_measures_every_system),
};

PROGRAMS_MAIN(tests)
