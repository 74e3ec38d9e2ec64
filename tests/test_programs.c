/* SPDX-License-Identifier: MIT */
/* The programs as a user meets them: what they print, what they exit with, what they leave behind.
 */
#include "files.h"
#include "harness.h"
#include "twin.h"

#include "safetensors.h"

#include <cjson/cJSON.h>

#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static const char attend[] = TEST_PROGRAMS "/dijiang-attend";
static const char info[] = TEST_PROGRAMS "/dijiang-info";
static const char bench[] = TEST_PROGRAMS "/dijiang-bench";

/* What the last program did. */
static struct {
    int code; /* 128 + the signal if one ended it */
    char *out, *err;
} last;

static void run_to(const char *out, const char *const *argv)
{
    const char *err = files_path(".err");
    posix_spawn_file_actions_t actions;
    pid_t pid;
    int status;
    size_t size;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, out, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_addopen(&actions, 2, err, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_int_equal(posix_spawn(&pid, argv[0], &actions, NULL, (char *const *)argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    last.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    free(last.out);
    free(last.err);
    last.out = strncmp(out, "/dev/", 5) == 0 ? strdup("") : files_read(out, &size);
    last.err = files_read(err, &size);
    files_remove(".out");
    files_remove(".err");
}

#define RUN(...) run_to(files_path(".out"), (const char *const[]){__VA_ARGS__, NULL})

static void show(const char *what)
{
    print_error("%s; exit %d, stdout:\n%s\nstderr:\n%s\n", what, last.code, last.out, last.err);
}

static void assert_exit(int code)
{
    if (last.code != code)
        show("wrong exit code");
    assert_int_equal(last.code, code);
}

static void assert_printed(const char *text)
{
    if (!strstr(last.out, text))
        show(text);
    assert_non_null(strstr(last.out, text));
}

/* The program did its work and had nothing to complain of. */
static void assert_success(void)
{
    assert_exit(0);
    assert_string_equal(last.err, "");
}

/* It failed with that code and exactly one line, which contains text. */
static void assert_one_line(int code, const char *text)
{
    const char *newline = strchr(last.err, '\n');
    assert_exit(code);
    if (!newline || newline[1] || strncmp(last.err, "dijiang-", 8) != 0 || !strstr(last.err, text))
        show(text);
    assert_non_null(newline);
    assert_int_equal(newline[1], '\0');
    assert_int_equal(strncmp(last.err, "dijiang-", 8), 0);
    assert_non_null(strstr(last.err, text));
}

/* ... and printed and wrote nothing else. */
static void assert_nothing_but(int code, const char *text)
{
    assert_one_line(code, text);
    assert_string_equal(last.out, "");
    assert_false(files_exists("none"));
}

/* The line "error E (bound B)". */
static void scan_error(double *error, double *bound)
{
    const char *line = strstr(last.out, "\nerror ");
    assert_non_null(line);
    assert_int_equal(sscanf(line, "\nerror %lf (bound %lf)\n", error, bound), 2);
}

/* One tensor of a file to be made. */
struct part {
    const char *name, *type, *shape;
    const void *data; /* NULL: zeros */
    size_t size;
};

static const char *write_parts(const char *name, const struct part *parts, size_t count)
{
    char header[4096] = "{";
    size_t offset = 0;
    for (size_t i = 0; i < count; i++)
        offset += parts[i].size;
    char *data = calloc(offset + 1, 1);
    assert_non_null(data);
    offset = 0;
    for (size_t i = 0; i < count; i++) {
        const size_t length = strlen(header);
        snprintf(header + length, sizeof(header) - length,
                 "%s\"%s\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%zu,%zu]}",
                 i ? "," : "", parts[i].name, parts[i].type, parts[i].shape, offset,
                 offset + parts[i].size);
        if (parts[i].data)
            memcpy(data + offset, parts[i].data, parts[i].size);
        offset += parts[i].size;
    }
    strcat(header, "}");
    const char *path = files_write_tensors(name, header, data, offset);
    free(data);
    return path;
}

#define PARTS(name, ...) \
    write_parts((name), (const struct part[]){__VA_ARGS__}, \
                sizeof((const struct part[]){__VA_ARGS__}) / sizeof(struct part))

static float *read_out(const char *path, uint64_t count)
{
    struct safetensors_error error;
    struct safetensors *file = safetensors_open(path, &error);
    assert_non_null(file);
    const struct safetensors_tensor *tensor = safetensors_find(file, "out");
    assert_non_null(tensor);
    assert_int_equal(file->count, 1);
    assert_string_equal(tensor->type, "F32");
    assert_int_equal(tensor->count, count);
    float *data = malloc((count + 1) * sizeof(float));
    assert_non_null(data);
    assert_true(safetensors_read(file, tensor, data, &error));
    safetensors_close(&file);
    return data;
}

static void test_help_and_version(void **state)
{
    (void)state;
    char version[64];
    const char *const programs[] = {attend, info, bench};
    for (int i = 0; i < 3; i++) {
        const char *name = strrchr(programs[i], '/') + 1;
        RUN(programs[i], "--help");
        assert_success();
        assert_int_equal(strncmp(last.out, "usage: ", 7), 0);
        assert_printed("examples:");
        assert_printed("exit codes:");
        assert_printed(name);
        RUN(programs[i], "--version");
        assert_success();
        snprintf(version, sizeof(version), "%s %d.%d.%d\n", name, DJ_VERSION_MAJOR,
                 DJ_VERSION_MINOR, DJ_VERSION_PATCH);
        assert_string_equal(last.out, version);
    }
}

static void test_wrong_usage(void **state)
{
    (void)state;
    static const struct {
        const char *argv[5], *error;
    } cases[] = {
        {{attend}, "--input is missing"},
        {{attend, "--input"}, "--input needs a value"},
        {{attend, "--input="}, "--input needs a value"},
        {{attend, "file"}, "unexpected 'file'"},
        {{attend, "--inputs", "x"}, "there is no option '--inputs'"},
        {{attend, "--\033[31m\n"}, "there is no option '--?[31m?'"},
        {{attend, "--form", "Paper"}, "--form is 'Paper', must be paper or reference"},
        {{attend, "--check=yes"}, "--check takes no value"},
        {{attend, "--scale", "0"}, "--scale is '0', must be a number above 0"},
        {{attend, "--scale", "-1"}, "must be a number above 0"},
        {{attend, "--scale", "nan"}, "must be a number above 0"},
        {{attend, "--scale", "inf"}, "must be a number above 0"},
        {{attend, "--scale", "1x"}, "must be a number above 0"},
        {{attend, "--scale=1e-60"}, "must be a number above 0"},
        {{info, "--json"}, "there is no option '--json'"},
        {{bench, "--case", "train"}, "--case is 'train', must be prefill or decode"},
        {{bench, "--heads", "0"}, "--heads is '0', must be a whole number from 1 to 65535"},
        {{bench, "--heads", "-1"}, "--heads is '-1'"},
        {{bench, "--heads", "65536"}, "--heads is '65536'"},
        {{bench, "--heads", "18446744073709551617"}, "--heads is '1844"},
        {{bench, "--heads", " 8"}, "--heads is ' 8'"},
        {{bench, "--heads", "8.0"}, "--heads is '8.0'"},
        {{bench, "--dim", "62"}, "--dim is '62', must be a multiple of 4 from 4 to 256"},
        {{bench, "--dim", "260"}, "--dim is '260'"},
        {{bench, "--value-dim", "2"}, "--value-dim is '2'"},
        {{bench, "--tokens", "0"}, "--tokens is '0'"},
        {{bench, "--repeat", "0"}, "--repeat is '0'"},
        {{bench, "--batch", "x"}, "--batch is 'x'"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        run_to(files_path(".out"), cases[i].argv);
        assert_nothing_but(2, cases[i].error);
    }
}

static const char *const official[] = {
    "official_h4_d64_t130.safetensors",  "official_h2_d80_t200.safetensors",
    "official_h1_d128_t67.safetensors",  "official_h2_d256_t48.safetensors",
    "official_h2_d64_t1024.safetensors",
};

static void test_the_reference_implementation_is_met(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(official) / sizeof(official[0]); i++) {
        double error, bound;
        RUN(attend, "--form=reference", "--check", "--input", harness_data(official[i]));
        assert_success();
        assert_printed("device ");
        assert_printed("tokens/s ");
        scan_error(&error, &bound);
        assert_true(error <= bound && bound < 1e-4 && error > 0);
    }
    RUN(attend, "--form=reference", "--input", harness_data(official[0]));
    assert_success();
    assert_printed("[2,4,130,64]");
    assert_null(strstr(last.out, "\nerror "));
}

static void test_a_wrong_result_fails_the_check(void **state)
{
    (void)state;
    /* the paper's form is not the reference's */
    RUN(attend, "--form", "paper", "--check", "--input", harness_data(official[0]));
    assert_one_line(3, "the check failed");
    assert_printed("\nerror ");
    /* one value that is not a number */
    size_t size;
    char *bytes = files_read(harness_data(official[0]), &size);
    char *out = strstr(bytes + 8, "\"out\":");
    unsigned long begin = 0;
    assert_int_equal(sscanf(strstr(out, "data_offsets"), "data_offsets\":[%lu,", &begin), 1);
    uint64_t length = 0;
    memcpy(&length, bytes, sizeof(length)); /* the machines that run tests are little-endian */
    memset(bytes + 8 + length + begin + 400, 0xff, 4);
    RUN(attend, "--form=reference", "--check", "--input", files_write("nan", bytes, size));
    assert_one_line(3, "the check failed");
    assert_printed("\nerror nan");
    free(bytes);
}

static void test_the_output_is_a_file_of_the_same_layout(void **state)
{
    (void)state;
    const uint64_t count = 2 * 4 * 130 * 64;
    size_t size, left_size;
    char *bytes = files_read(harness_data(official[0]), &size);
    files_write("both", bytes, size);
    free(bytes);
    const size_t before = files_count();
    RUN(attend, "--form", "reference", "--input", files_path("both"), "--output",
        files_path("separate"));
    assert_success();
    assert_int_equal(files_count(), before + 1);
    free(read_out(files_path("separate"), count));
    RUN(attend, "--form", "reference", "--input", files_path("both"), "--output",
        files_path("both"));
    assert_one_line(2, "--output is the file of --input");
    char *left = files_read(files_path("both"), &left_size);
    assert_int_equal(left_size, size);
    free(left);
    RUN(attend, "--input", harness_data(official[0]), "--output", files_path("no/folder"));
    assert_one_line(1, "cannot be written: No such file");
    RUN(attend, "--input", harness_data(official[0]), "--output", "/dev/null");
    assert_one_line(1, "not a regular file");
    assert_int_equal(files_count(), before + 1);
}

/* A problem in the file's layout, [B,H,T,..], and its answer by the twin. */
struct paper {
    uint64_t shape[4], value_shape[4];
    float *q, *k, *v, *out;
    float frequencies[3 * 12], weights[12], decay[3];
};

static float *random_array(const uint64_t shape[4])
{
    const size_t n = shape[0] * shape[1] * shape[2] * shape[3];
    float *data = malloc((n + 1) * sizeof(float));
    assert_non_null(data);
    harness_fill_normal(data, n, 1);
    return data;
}

/* [A][B][C][D] to [A][C][B][D] */
static float *swap_middle(const float *data, const uint64_t shape[4])
{
    float *swapped = malloc((shape[0] * shape[1] * shape[2] * shape[3] + 1) * sizeof(float));
    assert_non_null(swapped);
    for (uint64_t a = 0; a < shape[0]; a++)
        for (uint64_t b = 0; b < shape[1]; b++)
            for (uint64_t c = 0; c < shape[2]; c++, data += shape[3])
                memcpy(swapped + ((a * shape[2] + c) * shape[1] + b) * shape[3], data,
                       shape[3] * sizeof(float));
    return swapped;
}

static void paper_answer(struct paper *p, struct twin_attention twin)
{
    const size_t count =
        p->value_shape[0] * p->value_shape[1] * p->value_shape[2] * p->value_shape[3];
    double *o = malloc((count + 1) * sizeof(double));
    float *single = malloc((count + 1) * sizeof(float));
    float *q = swap_middle(p->q, p->shape), *k = swap_middle(p->k, p->shape);
    float *v = swap_middle(p->v, p->value_shape);
    assert_true(o && single);
    twin_attention(&twin, q, k, v, o);
    for (size_t i = 0; i < count; i++)
        single[i] = (float)o[i];
    p->out = swap_middle(single, (const uint64_t[4]){p->value_shape[0], p->value_shape[2],
                                                     p->value_shape[1], p->value_shape[3]});
    free(q);
    free(k);
    free(v);
    free(o);
    free(single);
}

static void paper_write(const struct paper *p, const char *name, bool with_decay)
{
    struct safetensors_error error;
    const struct safetensors_output outputs[] = {
        {"q", 4, p->shape, p->q},
        {"k", 4, p->shape, p->k},
        {"v", 4, p->value_shape, p->v},
        {"out", 4, p->value_shape, p->out},
        {"frequency_weights", 2, (const uint64_t[]){3, 12}, p->frequencies},
        {"feature_weights", 1, (const uint64_t[]){12}, p->weights},
        {"decay", 1, (const uint64_t[]){3}, p->decay},
    };
    assert_true(safetensors_write(files_path(name), outputs, with_decay ? 7 : 6, &error));
}

/* Per-head frequencies meet shared weights, and e is not d. */
static void test_the_paper_form_in_all_its_options(void **state)
{
    (void)state;
    static const struct {
        bool decay, causal, normalise;
        double scale;
        const char *options[3];
    } cases[] = {
        {false, true, true, 0, {NULL}},
        {true, true, true, 0.25, {"--scale=0.25"}},
        {true, true, false, 0, {"--no-normalise"}},
        {false, false, true, 0, {"--no-causal"}},
        {false, false, false, 2, {"--no-causal", "--no-normalise", "--scale=2"}},
    };
    struct paper p = {.shape = {2, 3, 150, 12}, .value_shape = {2, 3, 150, 20}};
    p.q = random_array(p.shape);
    p.k = random_array(p.shape);
    p.v = random_array(p.value_shape);
    harness_fill_normal(p.frequencies, 36, 1);
    harness_fill_normal(p.weights, 12, 1);
    p.weights[5] = 0;
    memcpy(p.decay, (const float[]){1, 0.9f, 0.5f}, sizeof(p.decay));
    float per_head[36];
    for (int i = 0; i < 36; i++)
        per_head[i] = p.weights[i % 12];
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        paper_answer(&p, (struct twin_attention){.map = DJ_MAP_WDCF,
                                                 .batch = 2,
                                                 .tokens = 150,
                                                 .heads = 3,
                                                 .dim = 12,
                                                 .value_dim = 20,
                                                 .causal = cases[i].causal,
                                                 .normalise = cases[i].normalise,
                                                 .scale = cases[i].scale > 0 ? cases[i].scale
                                                                             : 1 / sqrt(12.0),
                                                 .decay = cases[i].decay ? p.decay : NULL,
                                                 .frequencies = p.frequencies,
                                                 .weights = per_head,
                                                 .feature_heads = 3});
        paper_write(&p, "paper", cases[i].decay);
        free(p.out);
        const char *argv[8] = {attend, "--check", "--input", files_path("paper")};
        memcpy(argv + 4, cases[i].options, sizeof(cases[i].options));
        run_to(files_path(".out"), argv);
        assert_success();
        double error, bound;
        scan_error(&error, &bound);
        assert_true(error <= bound && bound < 1e-4);
    }
    free(p.q);
    free(p.k);
    free(p.v);
}

static void test_half_types_are_read_as_what_they_hold(void **state)
{
    (void)state;
    enum {
        N = 1 * 2 * 70 * 8
    };
    float q[N], k[N], v[N];
    uint16_t half_q[N], bfloat_v[N];
    harness_fill_normal(q, N, 1);
    harness_fill_normal(k, N, 1);
    harness_fill_normal(v, N, 1);
    for (int i = 0; i < N; i++) {
        uint32_t bits;
        q[i] = nearbyintf(q[i] * 256) / 256; /* exact in F16 */
        half_q[i] = files_half(q[i]);
        bfloat_v[i] = files_bfloat(v[i]);
        bits = (uint32_t)bfloat_v[i] << 16;
        memcpy(&v[i], &bits, sizeof(bits));
    }
    const char *shape = "[1,2,70,8]";
    RUN(attend, "--output", files_path("a"), "--input",
        PARTS("wide", {"q", "F32", shape, q, sizeof(q)}, {"k", "F32", shape, k, sizeof(k)},
              {"v", "F32", shape, v, sizeof(v)}));
    assert_success();
    RUN(attend, "--output", files_path("b"), "--input",
        PARTS("narrow", {"q", "F16", shape, half_q, sizeof(half_q)},
              {"k", "F32", shape, k, sizeof(k)}, {"v", "BF16", shape, bfloat_v, sizeof(bfloat_v)}));
    assert_success();
    float *a = read_out(files_path("a"), N), *b = read_out(files_path("b"), N);
    for (int i = 0; i < N; i++)
        assert_true(isfinite(a[i]));
    assert_memory_equal(a, b, N * sizeof(float));
    free(a);
    free(b);
}

static void test_no_tokens_and_one_token(void **state)
{
    (void)state;
    static const float v[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    RUN(attend, "--check", "--output", files_path("zero-out"), "--input",
        PARTS("zero", {"q", "F32", "[3,2,0,8]", NULL, 0}, {"k", "F32", "[3,2,0,8]", NULL, 0},
              {"v", "F32", "[3,2,0,4]", NULL, 0}, {"out", "F32", "[3,2,0,4]", NULL, 0}));
    assert_success();
    free(read_out(files_path("zero-out"), 0));
    /* one token sees itself alone: out is v */
    RUN(attend, "--check", "--input",
        PARTS("one", {"q", "F32", "[1,2,1,8]", NULL, 64}, {"k", "F32", "[1,2,1,8]", NULL, 64},
              {"v", "F32", "[1,2,1,4]", v, 32}, {"out", "F32", "[1,2,1,4]", v, 32}));
    assert_success();
}

#define Q \
    { \
        "q", "F32", "[1,2,3,4]", NULL, 96 \
    }
#define K \
    { \
        "k", "F32", "[1,2,3,4]", NULL, 96 \
    }
#define V \
    { \
        "v", "F32", "[1,2,3,4]", NULL, 96 \
    }

static void test_files_that_do_not_fit(void **state)
{
    (void)state;
    static const float two[2] = {1, 2}, zero[2] = {1, 0}, nan4[4] = {1, NAN, 1, 1};
    static const struct {
        struct part parts[5];
        const char *option, *error;
    } cases[] = {
        {{K, V}, "--check", "tensor 'q' is missing"},
        {{Q, V}, "--check", "tensor 'k' is missing"},
        {{Q, K}, "--check", "tensor 'v' is missing"},
        {{Q, K, V}, "--check", "tensor 'out' is missing"},
        {{{"q", "F32", "[2,3,4]", NULL, 96}, K, V}, "--check", "must have 4 dimensions"},
        {{Q, {"k", "F32", "[1,2,4,3]", NULL, 96}, V}, "--check", "'k' is [1,2,4,3], must be as q"},
        {{Q, K, {"v", "F32", "[2,1,3,4]", NULL, 96}}, "--check", "'v' is [2,1,3,4], must be"},
        {{Q, K, V, {"out", "F32", "[1,2,3,2]", NULL, 48}}, "--check", "'out' is [1,2,3,2]"},
        {{Q, K, V, {"out", "F32", "[2,3,4]", NULL, 96}}, "--check", "'out' is [2,3,4]"},
        {{Q, K, V, {"out", "I32", "[1,2,3,4]", NULL, 96}}, "--check", "'out' is I32"},
        {{{"q", "U8", "[1,2,3,4]", NULL, 24}, K, V}, "--no-causal", "'q' is U8; F32, F16"},
        {{{"q", "F32", "[1,1,1,6]", NULL, 24},
          {"k", "F32", "[1,1,1,6]", NULL, 24},
          {"v", "F32", "[1,1,1,4]", NULL, 16}},
         "--no-causal",
         "a multiple of 4 from 4 to 256"},
        {{{"q", "F32", "[1,1,0,260]", NULL, 0},
          {"k", "F32", "[1,1,0,260]", NULL, 0},
          {"v", "F32", "[1,1,0,4]", NULL, 0}},
         "--no-causal",
         "a multiple of 4 from 4 to 256"},
        {{{"q", "F32", "[1,1,0,8]", NULL, 0},
          {"k", "F32", "[1,1,0,8]", NULL, 0},
          {"v", "F32", "[1,1,0,0]", NULL, 0}},
         "--no-causal",
         "e a multiple of 4"},
        {{{"q", "F32", "[1,0,3,4]", NULL, 0},
          {"k", "F32", "[1,0,3,4]", NULL, 0},
          {"v", "F32", "[1,0,3,4]", NULL, 0}},
         "--no-causal",
         "H from 1 to 65535"},
        {{{"q", "F32", "[1,65536,0,4]", NULL, 0},
          {"k", "F32", "[1,65536,0,4]", NULL, 0},
          {"v", "F32", "[1,65536,0,4]", NULL, 0}},
         "--no-causal",
         "H from 1 to 65535"},
        {{Q, K, V, {"decay", "F32", "[3]", NULL, 12}}, "--no-normalise", "'decay' is [3], must"},
        {{Q, K, V, {"decay", "F32", "[2]", zero, 8}}, "--no-causal", "without a meaning"},
        {{Q, K, V, {"decay", "F32", "[2]", zero, 8}}, "--no-normalise", "decay"},
        {{Q, K, V, {"decay", "F32", "[2]", two, 8}}, "--no-normalise", "decay"},
        {{Q, K, V, {"frequency_weights", "F32", "[3]", NULL, 12}}, "--no-causal", "[d] or [H,d]"},
        {{Q, K, V, {"frequency_weights", "F32", "[1,4]", NULL, 16}},
         "--no-causal",
         "'frequency_weights' is [1,4]"},
        {{Q, K, V, {"frequency_weights", "F32", "[4]", nan4, 16}}, "--no-causal", "frequenc"},
        {{Q, K, V, {"feature_weights", "F32", "[2,2,4]", NULL, 64}},
         "--no-causal",
         "'feature_weights' is [2,2,4]"},
        {{Q, K, V, {"feature_weights", "F32", "[4]", NULL, 16}}, "--no-causal", "weight"},
        {{Q, K, V, {"feature_weights", "F32", "[4]", nan4, 16}},
         "--form=reference",
         "which the reference form does not know"},
        {{Q, K, V}, "--device=99", "99"},
        {{Q, K, V}, "--device=no such device", "no such device"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        size_t count = 0;
        while (count < 5 && cases[i].parts[count].name)
            count++;
        RUN(attend, cases[i].option, "--output", files_path("none"), "--input",
            write_parts("unfit", cases[i].parts, count));
        assert_nothing_but(1, cases[i].error);
    }
}

static void test_hostile_files(void **state)
{
    (void)state;
    size_t size;
    char *bytes = files_read(harness_data(official[0]), &size);
    const size_t cuts[] = {0, 7, 8, 9, 300, 5000, size - 1};
    for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
        RUN(attend, "--output", files_path("none"), "--input",
            files_write("hostile", bytes, cuts[i]));
        assert_nothing_but(1, "hostile: ");
    }
    bytes[7] = 0x7f; /* the top byte of the header's length */
    RUN(attend, "--output", files_path("none"), "--input", files_write("hostile", bytes, size));
    assert_nothing_but(1, "is announced");
    free(bytes);

    static const char *const headers[] = {
        "{\"q\":{\"dtype\":\"F32\",\"shape\":[1,1,4,4],\"data_offsets\":[0,64]},"
        "\"k\":{\"dtype\":\"F32\",\"shape\":[1,1,4,4],\"data_offsets\":[32,96]}}",
        "{\"q\":{\"dtype\":\"F32\",\"shape\":[1,1,4,4],\"data_offsets\":[0,9e15]}}",
        "{\"q\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296,1,4],\"data_offsets\":[0,0]}}",
        "{\"q\":{\"dtype\":\"F32\",\"shape\":[1,1,1e999,4],\"data_offsets\":[0,96]}}",
        "{\"\\u001b]0;title\\u0007\\n\":{\"dtype\":\"F\\n\",\"shape\":[],\"data_offsets\":[0,0]}}",
        "not a header",
        "[[[[[[[[",
    };
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
        static const char data[96] = {0};
        RUN(attend, "--output", files_path("none"), "--input",
            files_write_tensors("hostile", headers[i], data, sizeof(data)));
        assert_nothing_but(1, "hostile: ");
    }
    RUN(attend, "--output", files_path("none"), "--input", files_path("missing"));
    assert_nothing_but(1, "cannot be opened");
    RUN(attend, "--output", files_path("none"), "--input", "/dev/zero");
    assert_nothing_but(1, "not a regular file");
}

/* A valid file of 192 GiB that takes no room on the disk. */
static void test_tensors_beyond_any_buffer(void **state)
{
    (void)state;
    const char *path = files_write_tensors("sparse",
                                           "{\"q\":{\"dtype\":\"F32\",\"shape\":[1,1,4294967296,4],"
                                           "\"data_offsets\":[0,68719476736]},"
                                           "\"k\":{\"dtype\":\"F32\",\"shape\":[1,1,4294967296,4],"
                                           "\"data_offsets\":[68719476736,137438953472]},"
                                           "\"v\":{\"dtype\":\"F32\",\"shape\":[1,1,4294967296,4],"
                                           "\"data_offsets\":[137438953472,206158430208]}}",
                                           "", 0);
    size_t header;
    free(files_read(path, &header));
    if (truncate(path, (off_t)(header + 206158430208)) != 0) {
        print_message("# not tested: this file system has no sparse files of 192 GiB\n");
        return;
    }
    RUN(attend, "--output", files_path("none"), "--input", path);
    assert_nothing_but(1, "can hold in one buffer");
    files_remove("sparse");
}

static void test_output_that_cannot_be_printed(void **state)
{
    (void)state;
    run_to("/dev/full", (const char *const[]){attend, "--help", NULL});
    assert_one_line(1, "standard output cannot be written");
    run_to("/dev/full", (const char *const[]){info, NULL});
    assert_one_line(1, "standard output cannot be written");
}

static void test_info_lists_devices(void **state)
{
    (void)state;
    RUN(info);
    assert_success();
    assert_printed("device 0: ");
    assert_printed("dijiang uses");
    assert_printed("tiled");
    assert_printed("\ndefault: device ");
    RUN(info, "--device", "0");
    assert_success();
    assert_printed("chosen: device 0, ");
    setenv("DIJIANG_PUSH_DESCRIPTORS", "0", 1);
    RUN(info);
    unsetenv("DIJIANG_PUSH_DESCRIPTORS");
    assert_success();
    assert_printed("preallocated descriptor sets");
    RUN(info, "--device", "99");
    assert_one_line(1, "99");
}

static void test_systems_without_a_device(void **state)
{
    (void)state;
    PARTS("one", Q, K, V);
    setenv("VK_DRIVER_FILES", "/nonexistent.json", 1);
    setenv("VK_ICD_FILENAMES", "/nonexistent.json", 1);
    RUN(info);
    assert_nothing_but(1, "dijiang-info: ");
    RUN(attend, "--input", files_path("one"), "--output", files_path("none"));
    assert_nothing_but(1, "no device to compute on: ");
    RUN(bench, "--json");
    assert_nothing_but(1, "no device to measure: ");
    unsetenv("VK_DRIVER_FILES");
    unsetenv("VK_ICD_FILENAMES");
}

static double number(const cJSON *object, const char *name)
{
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(object, name);
    assert_true(cJSON_IsNumber(value));
    return value->valuedouble;
}

/* The one result of a benchmark that printed JSON and nothing else. */
static cJSON *scan_json(cJSON **root)
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
    assert_int_equal(cJSON_GetArraySize(results), 1);
    return cJSON_GetArrayItem(results, 0);
}

static void test_bench_prints_json(void **state)
{
    (void)state;
    cJSON *root, *result;
    RUN(bench, "--case", "prefill", "--batch=2", "--heads", "3", "--dim", "16", "--value-dim", "8",
        "--tokens", "300", "--repeat", "3", "--json");
    result = scan_json(&root);
    assert_string_equal(cJSON_GetObjectItemCaseSensitive(result, "case")->valuestring, "prefill");
    assert_true(number(result, "batch") == 2 && number(result, "heads") == 3);
    assert_true(number(result, "dim") == 16 && number(result, "tokens") == 300);
    assert_true(number(result, "median_ms") > 0);
    assert_true(fabs(number(result, "tokens_per_s") * number(result, "median_ms") / 6e5 - 1) <
                1e-3);
    cJSON_Delete(root);
    RUN(bench, "--case", "decode", "--batch", "5", "--heads", "2", "--dim", "12", "--json");
    result = scan_json(&root);
    assert_string_equal(cJSON_GetObjectItemCaseSensitive(result, "case")->valuestring, "decode");
    assert_true(number(result, "batch") == 5 && number(result, "tokens") == 1);
    assert_true(fabs(number(result, "tokens_per_s") * number(result, "median_ms") / 5e3 - 1) <
                1e-3);
    cJSON_Delete(root);
}

static void test_bench_prints_a_table(void **state)
{
    (void)state;
    RUN(bench, "--tokens", "65", "--heads", "1", "--dim", "4", "--repeat", "1");
    assert_success();
    assert_printed("device: ");
    assert_printed("median ms");
    assert_printed("\nprefill ");
    assert_printed("\ndecode ");
    RUN(bench, "--json", "--heads", "65535", "--tokens", "16777216");
    assert_nothing_but(1, "allocates at once");
}

/* What the validation layer says makes the programs fail; without the layer they run without it. */
static int setup(void **state)
{
    uint32_t count;
    const struct dj_context_params params = {.validation = DJ_ON};
    if (dj_device_list(&params, NULL, &count) == DJ_SUCCESS)
        setenv("DIJIANG_VALIDATION", "1", 1);
    return harness_setup(state) || files_setup(state);
}

static int teardown(void **state)
{
    free(last.out);
    free(last.err);
    return files_teardown(state) || harness_teardown(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_help_and_version),
        cmocka_unit_test(test_wrong_usage),
        cmocka_unit_test(test_the_reference_implementation_is_met),
        cmocka_unit_test(test_a_wrong_result_fails_the_check),
        cmocka_unit_test(test_the_output_is_a_file_of_the_same_layout),
        cmocka_unit_test(test_the_paper_form_in_all_its_options),
        cmocka_unit_test(test_half_types_are_read_as_what_they_hold),
        cmocka_unit_test(test_no_tokens_and_one_token),
        cmocka_unit_test(test_files_that_do_not_fit),
        cmocka_unit_test(test_hostile_files),
        cmocka_unit_test(test_tensors_beyond_any_buffer),
        cmocka_unit_test(test_output_that_cannot_be_printed),
        cmocka_unit_test(test_info_lists_devices),
        cmocka_unit_test(test_systems_without_a_device),
        cmocka_unit_test(test_bench_prints_json),
        cmocka_unit_test(test_bench_prints_a_table),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, setup, teardown);
}
