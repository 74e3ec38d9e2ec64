/* SPDX-License-Identifier: MIT */
/* dijiang-attend and its files: right ones, wrong ones, hostile ones. */
#include "half.h"
#include "programs.h"
#include "safetensors.h"

#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static const char attend[] = PROGRAM_ATTEND;

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
        assert_printed("made in ");
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
    assert_int_equal(files_count(), before + 1);
}

/* What can never be written is refused before the input is even opened. */
static void test_outputs_that_cannot_be_written(void **state)
{
    (void)state;
    char name[257];
    memset(name, 'n', 256);
    name[256] = '\0';
    files_write("file", "", 0);
    assert_int_equal(symlink("nowhere", files_path("dangling")), 0);
    assert_int_equal(symlink("loop", files_path("loop")), 0);
    const struct {
        const char *output, *error;
    } cases[] = {
        {"no/folder", "cannot be written: No such file"},
        {"file/in", "cannot be written: Not a directory"},
        {"new/", "cannot be written: No such file"},
        {".", "not a regular file"},
        {"/dev/full", "not a regular file"},
        {"dangling", "a link to what does not exist"},
        {"loop", "cannot be written: Too many levels of symbolic links"},
        {name, "cannot be written: File name too long"},
    };
    const size_t before = files_count();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *const output = cases[i].output;
        RUN(attend, "--input", files_path("missing"), "--output",
            output[0] == '/' ? output : files_path(output));
        assert_nothing_but(1, cases[i].error);
    }
    assert_int_equal(files_count(), before);
}

/* Interrupted while it writes 16 MiB, it leaves the whole file or nothing, and ends by the signal.
 */
static void test_writing_is_interrupted(void **state)
{
    (void)state;
    enum {
        T = 16384,
        E = 256
    };
    const char *const input = PARTS("input", {"q", "F32", "[1,1,16384,4]", NULL, T * 16},
                                    {"k", "F32", "[1,1,16384,4]", NULL, T * 16},
                                    {"v", "F32", "[1,1,16384,256]", NULL, T * E * 4});
    const char *const argv[] = {attend,     "--features=elu",  "--input", input,
                                "--output", files_path("big"), NULL};
    const size_t before = files_count();
    posix_spawn_file_actions_t actions;
    pid_t pid, ended;
    int status;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    assert_int_equal(posix_spawn(&pid, attend, &actions, NULL, (char *const *)argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    while ((ended = waitpid(pid, &status, WNOHANG)) == 0 && files_count() == before)
        usleep(100);
    if (ended == 0) {
        assert_int_equal(kill(pid, SIGTERM), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
    }
    const bool whole = files_exists("big"); /* was it too quick? */
    assert_int_equal(files_count(), before + whole);
    assert_true(whole || (WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM));
    if (whole)
        free(read_out(files_path("big"), T * E));
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
        half_q[i] = half_from_float(q[i]);
        bfloat_v[i] = bfloat_from_float(v[i]);
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

/* A file such as dj_calibration_save's, with q, k and v beside: metadata's values or NULL. */
static void write_calibrated(const char *map, const char *key_normalise, bool numbers)
{
    static const uint64_t shape[4] = {1, 2, 9, 8}, set[1] = {8};
    static const float t[8] = {1, -2, 3, -1, 2, -3, 1, 2}, weights[8] = {1, 2, 1, 3, 1, 2, 1, 4};
    static float x[3][144];
    struct safetensors_metadata metadata[3] = {{"format", "dijiang-calibration"}};
    struct safetensors_error error;
    uint32_t count = 1;
    for (int i = 0; i < 3 * 144; i++)
        x[i / 144][i % 144] = sinf((float)i);
    if (map)
        metadata[count++] = (struct safetensors_metadata){"map", map};
    if (key_normalise)
        metadata[count++] = (struct safetensors_metadata){"key_normalise", key_normalise};
    const struct safetensors_output tensors[] = {{"q", 4, shape, x[0]},
                                                 {"k", 4, shape, x[1]},
                                                 {"v", 4, shape, x[2]},
                                                 {"frequency_weights", 1, set, t},
                                                 {"feature_weights", 1, set, weights}};
    assert_true(safetensors_write_described(files_path("calibrated"), metadata, count, tensors,
                                            numbers ? 5 : 3, NULL, &error));
}

/* Whether keys were normalised: as the report says, and by the bits of the result. */
static bool keys_were_normalised(float *const want[2], const char *report)
{
    enum {
        N = 144
    };
    assert_success();
    float *const got = read_out(files_path("keys"), N);
    const bool is[2] = {memcmp(got, want[0], N * sizeof(float)) == 0,
                        memcmp(got, want[1], N * sizeof(float)) == 0};
    free(got);
    assert_true(is[0] != is[1]);
    if (is[1])
        assert_printed(report);
    else
        assert_null(strstr(last.out, "keys normalised"));
    return is[1];
}

static void test_metadata_says_that_keys_are_normalised(void **state)
{
    (void)state;
    const char *const said = ", keys normalised as the file says, scale";
    float *want[2];
    for (int keys = 0; keys < 2; keys++) {
        write_calibrated(NULL, NULL, true);
        RUN(attend, keys ? "--key-normalise" : "--no-key-normalise", "--output", files_path("keys"),
            "--input", files_path("calibrated"));
        assert_success();
        want[keys] = read_out(files_path("keys"), 144);
    }
    assert_printed(", keys normalised, scale");
    static const struct {
        const char *map, *key_normalise;
        bool normalised;
    } cases[] = {
        {NULL, NULL, false},  {NULL, "on", true},    {NULL, "off", false},   {"wdcf", "on", true},
        {"pff", "on", false}, {"what", "on", false}, {"wdcf", "off", false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        write_calibrated(cases[i].map, cases[i].key_normalise, true);
        RUN(attend, "--output", files_path("keys"), "--input", files_path("calibrated"));
        assert_int_equal(keys_were_normalised(want, said), cases[i].normalised);
    }
    /* options say more than the metadata */
    write_calibrated("wdcf", "on", true);
    RUN(attend, "--no-key-normalise", "--output", files_path("keys"), "--input",
        files_path("calibrated"));
    assert_false(keys_were_normalised(want, said));
    write_calibrated("wdcf", "off", true);
    RUN(attend, "--key-normalise", "--output", files_path("keys"), "--input",
        files_path("calibrated"));
    assert_true(keys_were_normalised(want, ", keys normalised, scale"));
    free(want[0]);
    free(want[1]);
}

/* It is of the numbers beside it and of maps that can. */
static void test_metadata_that_is_not_meant(void **state)
{
    (void)state;
    static const char *const features[] = {"--features=wdcf", "--features=softmax-dct",
                                           "--features=elu"};
    for (int i = 0; i < 3; i++) {
        write_calibrated(NULL, "on", i > 0); /* wdcf's are drawn */
        RUN(attend, features[i], "--input", files_path("calibrated"));
        assert_success();
        assert_null(strstr(last.out, "keys normalised"));
    }
    RUN(attend, "--no-normalise", "--output", files_path("none"), "--input",
        files_path("calibrated"));
    assert_nothing_but(1, "which need the denominator that --no-normalise leaves out (--no-key-");
    RUN(attend, "--no-normalise", "--no-key-normalise", "--input", files_path("calibrated"));
    assert_success();
    write_calibrated("wdcf", "maybe", true);
    RUN(attend, "--output", files_path("none"), "--input", files_path("calibrated"));
    assert_nothing_but(1, "metadata 'key_normalise' is neither 'on' nor 'off'");
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
        {{Q, {"k", "F32", "[1,2,4,3]", NULL, 96}, V},
         "--check",
         "'k' is [1,2,4,3], must be [B,Hk,T,d] with q's B 1 and d 4"},
        {{Q, {"k", "F32", "[2,1,3,4]", NULL, 96}, V}, "--check", "with q's B 1 and d 4"},
        {{Q, {"k", "F32", "[1,4,3,4]", NULL, 192}, V}, "--check", "Hk a divisor of q's 2 heads"},
        {{Q, {"k", "F32", "[1,0,3,4]", NULL, 0}, V}, "--check", "Hk a divisor of q's 2 heads"},
        {{Q, {"k", "F32", "[1,2,5,4]", NULL, 160}, V},
         "--check",
         "'k' is [1,2,5,4], must be [B,Hk,T,d] with q's T 3 (--no-causal"},
        {{Q, K, {"v", "F32", "[2,1,3,4]", NULL, 96}},
         "--check",
         "'v' is [2,1,3,4], must be [B,Hk,T,e] with k's B 1, Hk 2 and T 3"},
        {{Q, K, V, {"out", "F32", "[1,2,3,2]", NULL, 48}},
         "--check",
         "'out' is [1,2,3,2], must be [1,2,3,4]"},
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
        {{Q, K, V, {"decay", "F32", "[3]", NULL, 12}},
         "--no-normalise",
         "'decay' is [3], must be [Hk] with Hk 2"},
        {{Q, K, V, {"decay", "F32", "[2]", zero, 8}}, "--no-causal", "without a meaning"},
        {{Q, K, V, {"decay", "F32", "[2]", zero, 8}},
         "--features=softmax",
         "has a decay, which softmax attention does not know (--no-decay)"},
        {{Q, K, V, {"decay", "F32", "[2]", zero, 8}}, "--no-normalise", "decay"},
        {{Q, K, V, {"decay", "F32", "[2]", two, 8}}, "--no-normalise", "decay"},
        {{Q, K, V, {"frequency_weights", "F32", "[3]", NULL, 12}},
         "--no-causal",
         "3 features, must be a multiple of 4 from 4 to 16 for wdcf with d = 4"},
        {{Q, K, V, {"frequency_weights", "F32", "[1,4]", NULL, 16}},
         "--no-causal",
         "'frequency_weights' is [1,4], must be [m] or [Hk,m] with m 4, Hk 2"},
        {{Q, K, V, {"frequency_weights", "F32", "[8]", NULL, 32}},
         "--form=reference",
         "'frequency_weights' is [8], must be [m] or [Hk,m] with m 4, Hk 2"},
        {{Q, K, V, {"frequency_weights", "F32", "[4]", nan4, 16}}, "--no-causal", "frequenc"},
        {{Q, K, V, {"feature_weights", "F32", "[2,2,4]", NULL, 64}},
         "--no-causal",
         "'feature_weights' is [2,2,4]"},
        {{Q, K, V, {"feature_weights", "F32", "[4]", NULL, 16}}, "--no-causal", "weight"},
        {{Q, K, V, {"feature_directions", "F32", "[8,3]", NULL, 96}},
         "--features=prf",
         "'feature_directions' is [8,3], must be [m,d] or [Hk,m,d] with m 8, Hk 2, d 4"},
        {{Q, K, V, {"feature_directions", "F32", "[3,8,4]", NULL, 384}},
         "--features=performer-relu",
         "'feature_directions' is [3,8,4]"},
        {{Q, K, V, {"key_projection", "F32", "[5,4]", NULL, 80}},
         "--features=linformer",
         "'key_projection' is [5,4], must be [m,T] or [Hk,m,T] with m 5, Hk 2, T 3"},
        {{Q, K, V}, "--features-count=20", "20 features, must be a multiple of 4 from 4 to 16"},
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

/* Rules between two options and the file. */
static void test_options_that_do_not_fit_the_file(void **state)
{
    (void)state;
    PARTS("unfit", Q, {"k", "F32", "[1,2,5,4]", NULL, 160}, {"v", "F32", "[1,2,5,4]", NULL, 160});
    RUN(attend, "--input", files_path("unfit"), "--no-causal", "--layout=packed");
    assert_nothing_but(1, "--layout packed puts a token's q, k and v side by side, but q has 3");
    RUN(attend, "--input", files_path("unfit"), "--no-causal", "--features=cosformer",
        "--max-tokens=4");
    assert_nothing_but(1, "5 tokens, more than --max-tokens 4");
    PARTS("unfit", Q, K, V, {"frequency_weights", "F32", "[8]", NULL, 32});
    RUN(attend, "--input", files_path("unfit"), "--features-count=4");
    assert_nothing_but(
        1, "'frequency_weights' is [8], must be [m] or [Hk,m] with m 4 (--features-count)");
    const char *shape = "[1,2,0,4]";
    PARTS("unfit", {"q", "F32", shape, NULL, 0}, {"k", "F32", shape, NULL, 0},
          {"v", "F32", shape, NULL, 0});
    RUN(attend, "--input", files_path("unfit"), "--features=linformer");
    assert_nothing_but(1, "with T at least 1 for linformer");
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
        ("{\"q\":{\"dtype\":\"F32\",\"shape\":[1,1,4,4],\"data_offsets\":[0,64]},"
         "\"k\":{\"dtype\":\"F32\",\"shape\":[1,1,4,4],\"data_offsets\":[32,96]}}"),
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
    /* rows without end, and nothing in them */
    RUN(attend, "--input",
        files_write_tensors(
            "endless",
            "{\"q\":{\"dtype\":\"F32\",\"shape\":[4503599627370496,1,0,4],\"data_offsets\":[0,0]},"
            "\"k\":{\"dtype\":\"F32\",\"shape\":[4503599627370496,1,0,4],\"data_offsets\":[0,0]},"
            "\"v\":{\"dtype\":\"F32\",\"shape\":[4503599627370496,1,0,4],\"data_offsets\":[0,0]}}",
            NULL, 0));
    assert_success();
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

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_the_reference_implementation_is_met),
    cmocka_unit_test(test_a_wrong_result_fails_the_check),
    cmocka_unit_test(test_the_output_is_a_file_of_the_same_layout),
    cmocka_unit_test(test_outputs_that_cannot_be_written),
    cmocka_unit_test(test_writing_is_interrupted),
    cmocka_unit_test(test_half_types_are_read_as_what_they_hold),
    cmocka_unit_test(test_no_tokens_and_one_token),
    cmocka_unit_test(test_metadata_says_that_keys_are_normalised),
    cmocka_unit_test(test_metadata_that_is_not_meant),
    cmocka_unit_test(test_files_that_do_not_fit),
    cmocka_unit_test(test_options_that_do_not_fit_the_file),
    cmocka_unit_test(test_hostile_files),
    cmocka_unit_test(test_tensors_beyond_any_buffer),
};

PROGRAMS_MAIN(tests)
