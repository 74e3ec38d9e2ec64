/* SPDX-License-Identifier: MIT */
/* dijiang-decode: what it prints and writes, what it leaves out, how it is interrupted. */
#include "decode.h"
#include "programs.h"

#include <cjson/cJSON.h>

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char decode[] = PROGRAM_DECODE;

static double number(const cJSON *object, const char *name)
{
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(object, name);
    assert_true(cJSON_IsNumber(value));
    return value->valuedouble;
}

static void test_decode_usage(void **state)
{
    (void)state;
    static const struct {
        const char *argv[4], *error;
    } cases[] = {
        {{decode, "--model", "pythia"},
         "--model is 'pythia', must be pythia-70m or pythia-160m or"},
        {{decode, "--from", "0"}, "--from is '0', must be a whole number from 1 to 16777216"},
        {{decode, "--to=16777217"}, "--to is '16777217'"},
        {{decode, "--from=9", "--to=8"}, "--from is 9, more than --to 8"},
        {{decode, "--to=511"}, "--from is 512, more than --to 511"},
        {{decode, "--batch=0"}, "--batch is '0'"},
        {{decode, "--repeat", "x"}, "--repeat is 'x'"},
        {{decode, "--dtype=f64"}, "--dtype is 'f64', must be f32 or f16 or bf16"},
        {{decode, "--json=1"}, "--json takes no value"},
        {{decode, "--output"}, "--output needs a value"},
        {{decode, "4096"}, "unexpected '4096'"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        run_to(files_path(".out"), cases[i].argv);
        assert_nothing_but(2, cases[i].error);
    }
    RUN(decode, "--help");
    assert_success();
    assert_int_equal(strncmp(last.out, "usage: dijiang-decode ", 22), 0);
    assert_printed("examples:");
    assert_printed("exit codes:");
    RUN(decode, "--version");
    assert_success();
    assert_int_equal(strncmp(last.out, "dijiang-decode ", 15), 0);
}

/* The line of the table after that history. */
static const char *row(const char *history)
{
    char start[32];
    snprintf(start, sizeof(start), "\n%8s  ", history);
    assert_printed(start);
    return strstr(last.out, start) + 9;
}

static void test_decode_prints_a_table(void **state)
{
    (void)state;
    double v[7];
    RUN(decode, "--from=1", "--to=5", "--repeat=1");
    assert_success();
    assert_printed("device: ");
    assert_printed("attention of pythia-70m: 6 layers, 8 heads of dimension 64, f32, batch 1\n");
    assert_printed("measured: copy ");
    assert_null(strstr(last.out, "\n       8 "));
    static const char *const histories[] = {"1", "2", "4"};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(sscanf(row(histories[i]), "%lf %lf %lf %lf %lf %lf %lf", &v[0], &v[1],
                                &v[2], &v[3], &v[4], &v[5], &v[6]),
                         7);
        assert_true(fabs(v[0] * v[1] / 1e3 - 1) < 1e-2); /* tokens/s and ms */
        assert_true(fabs(v[3] * v[4] / 1e3 - 1) < 1e-2);
        assert_true(v[2] > 1 && v[6] > 0);
    }
}

/* What must hold of one system at one history. */
static void assert_result(const cJSON *point, const char *name, double batch)
{
    const cJSON *r = cJSON_GetObjectItemCaseSensitive(point, name);
    assert_true(number(r, "error") <= number(r, "bound") && number(r, "bound") < 0.1);
    assert_true(number(r, "min_ms") > 0 && number(r, "min_ms") <= number(r, "median_ms"));
    assert_true(number(r, "median_ms") <= number(r, "max_ms") && number(r, "wall_ms") > 0);
    assert_true(number(r, "repetitions") == 2);
    assert_true(fabs(number(r, "tokens_per_s") * number(r, "median_ms") / batch / 1e3 - 1) < 1e-3);
}

/* Memory is constant for the state, and grows with the history for the cache. */
static void test_decode_prints_json(void **state)
{
    (void)state;
    RUN(decode, "--model=pythia-160m", "--from=3", "--to=6", "--repeat=2", "--batch=2",
        "--dtype=f16", "--json");
    assert_success();
    cJSON *const root = cJSON_Parse(last.out);
    assert_non_null(root);
    assert_true(number(root, "layers") == 12 && number(root, "heads") == 12);
    assert_true(number(root, "dim") == 64 && number(root, "batch") == 2);
    const cJSON *const results = cJSON_GetObjectItemCaseSensitive(root, "results");
    assert_int_equal(cJSON_GetArraySize(results), 2);
    double states[2];
    for (int i = 0; i < 2; i++) {
        const cJSON *const point = cJSON_GetArrayItem(results, i);
        assert_true(number(point, "history") == 3 << i);
        assert_result(point, "dijiang", 2);
        assert_result(point, "exact", 2);
        const cJSON *const exact = cJSON_GetObjectItemCaseSensitive(point, "exact");
        assert_true(number(exact, "bytes") == 2 * 12 * 12 * 64 * 2 * 2 * (3 << i));
        const double seconds = number(exact, "bytes") / number(root, "copy_bytes_per_s");
        assert_true(fabs(number(exact, "memory_bound_tokens_per_s") * seconds / 2 - 1) < 1e-3);
        states[i] = number(cJSON_GetObjectItemCaseSensitive(point, "dijiang"), "bytes");
        assert_null(cJSON_GetObjectItemCaseSensitive(point, "left_out"));
    }
    /* sums and their low parts of 64 features and 64 values, and a little */
    assert_true(states[0] == states[1]);
    assert_true(states[0] > 12 * 12 * 2 * 64 * 64 * 8 && states[0] < 12 * 12 * 2 * 64 * 64 * 9);
    cJSON_Delete(root);
}

/* Reads a file of the folder, whose name begins with out/. */
static char *take(const char *name, size_t *size)
{
    char *const text = files_read(files_path(name), size);
    files_remove(name);
    return text;
}

static void test_decode_writes_files(void **state)
{
    (void)state;
    size_t size;
    char model[64], system[16];
    double history;
    RUN(decode, "--from=2", "--to=4", "--repeat=1", "--output", files_path("out"));
    assert_success();
    char *text = take("out/decode.csv", &size);
    const char *line = strchr(text, '\n');
    assert_int_equal(strncmp(text, "model,dtype,batch,history,system,tokens_per_s,", 46), 0);
    for (int i = 0; i < 4; i++, line = strchr(line + 1, '\n')) {
        assert_int_equal(sscanf(line, "\n%63[^,],f32,1,%lf,%15[^,],", model, &history, system), 3);
        assert_string_equal(model, "pythia-70m");
        assert_true(history == (i < 2 ? 2 : 4));
        assert_string_equal(system, i % 2 ? "exact" : "dijiang");
    }
    assert_string_equal(line, "\n");
    free(text);
    text = take("out/decode.png", &size);
    assert_memory_equal(text, "\x89PNG\r\n\x1a\n", 8);
    free(text);
    text = take("out/decode.svg", &size);
    assert_int_equal(strncmp(text, "<?xml", 5), 0);
    assert_string_equal(text + size - 7, "</svg>\n");
    free(text);
    assert_int_equal(rmdir(files_path("out")), 0); /* there was nothing else */
}

static void test_decode_needs_a_folder(void **state)
{
    (void)state;
    RUN(decode, "--output", files_path("none/none"));
    assert_nothing_but(1, "cannot be made: No such file or directory");
    files_write("file", "x", 1);
    RUN(decode, "--output", files_path("file"));
    assert_nothing_but(1, "cannot be made: it is not a folder");
    files_remove("file");
}

/* Interrupted after its first line, it ends by the signal and has written nothing. */
static void test_decode_is_interrupted(void **state)
{
    (void)state;
    const char *const argv[] = {decode, "--from=1", "--output", files_path("out"), NULL};
    interrupt(argv, "device: ", SIGINT);
    assert_int_equal(strncmp(last.out, "device: ", 8), 0);
    assert_false(files_exists("out")); /* it was made, and nothing is left */
}

/* 1, 2, 4 and 8 tokens of 2 layers with 2 heads of dimension 4: a cache of 128 bytes per token. */
static struct decode_run small_run(void)
{
    static const struct decode_model model = {"small", 2, 2, 4};
    struct decode_run run = {.model = &model, .batch = 1, .count = 4};
    for (uint32_t i = 0; i < run.count; i++)
        run.points[i].history = 1u << i;
    return run;
}

/* Makes the memory of a device that is told to be so small; returns how long the caches are. */
static uint64_t longest_with(struct decode_run *run, uint64_t memory, uint64_t allocation)
{
    struct bench_gpu gpu = {.context = harness_context(0)};
    struct decode_memory m;
    HARNESS_OK(dj_context_device(gpu.context, &gpu.info));
    gpu.info.device_memory = memory;
    gpu.info.max_allocation = allocation;
    HARNESS_OK(decode_memory_create(&gpu, run, 64, &m));
    const uint64_t longest = m.longest;
    for (int i = 0; i < 2 && longest > 0; i++) {
        assert_int_equal(dj_buffer_size(m.layers[i].k), longest * 32);
        assert_int_equal(dj_buffer_size(m.layers[i].v), longest * 32);
    }
    if (longest == 0)
        assert_null(m.layers[0].k);
    decode_memory_destroy(&m);
    return longest;
}

static void test_decode_leaves_out_what_does_not_fit(void **state)
{
    (void)state;
    struct decode_run run = small_run();
    assert_int_equal(longest_with(&run, 1 << 20, 1 << 20), 8);
    for (uint32_t i = 0; i < run.count; i++)
        assert_string_equal(run.points[i].omitted, "");
    assert_int_equal(longest_with(&run, 2 * 4 * 128, 1 << 20), 4); /* exactly half is allowed */
    assert_string_equal(run.points[2].omitted, "");
    assert_non_null(strstr(run.points[3].omitted, "more than half of the memory"));
    run = small_run();
    assert_int_equal(longest_with(&run, 1 << 20, 2 * 32), 2);
    assert_string_equal(run.points[1].omitted, "");
    assert_non_null(strstr(run.points[2].omitted, "the device allocates"));
    run = small_run();
    assert_int_equal(longest_with(&run, 0, 1 << 20), 0);
    assert_non_null(strstr(run.points[0].omitted, "more than half"));
}

/* A token's data does not depend on how it is asked for; a step's token differs from what a history
 * without the step has in its place. */
static void test_decode_tokens(void **state)
{
    (void)state;
    const struct decode_run run = small_run();
    struct decode_run other = small_run();
    float all[64], some[16], without[64];
    decode_tokens(&run, 1, 0, 0, 8, all);
    decode_tokens(&run, 1, 0, 4, 2, some);
    assert_memory_equal(some, all + 32, sizeof(some));
    other.count = 3; /* a history of 8 is none of its points */
    decode_tokens(&other, 1, 0, 0, 8, without);
    assert_memory_equal(without, all, 56 * sizeof(float));
    assert_memory_not_equal(without + 56, all + 56, 8 * sizeof(float));
    decode_tokens(&run, 2, 0, 0, 8, without);
    assert_memory_not_equal(without, all, sizeof(all));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_decode_usage),
    cmocka_unit_test(test_decode_prints_a_table),
    cmocka_unit_test(test_decode_prints_json),
    cmocka_unit_test(test_decode_writes_files),
    cmocka_unit_test(test_decode_needs_a_folder),
    cmocka_unit_test(test_decode_is_interrupted),
    cmocka_unit_test(test_decode_leaves_out_what_does_not_fit),
    cmocka_unit_test(test_decode_tokens),
};

PROGRAMS_MAIN(tests)
