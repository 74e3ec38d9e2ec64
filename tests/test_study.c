/* SPDX-License-Identifier: MIT */
/* dijiang-study: its files, and that their numbers can be true. */
#include "programs.h"

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

static const char study[] = PROGRAM_STUDY;

static const char *const outputs[] = {"maps.png", "maps.svg", "errors.png", "errors.svg",
                                      "errors.csv"};

enum {
    OUTPUTS = 5
};

/* One of what was written into the folder "study"; to be freed. */
static char *read_output(const char *name, size_t *size)
{
    char path[64];
    snprintf(path, sizeof(path), "study/%s", name);
    assert_true(files_exists(path));
    return files_read(files_path(path), size);
}

static void remove_outputs(void)
{
    char path[64];
    for (int i = 0; i < OUTPUTS; i++) {
        snprintf(path, sizeof(path), "study/%s", outputs[i]);
        unlink(files_path(path));
    }
    assert_int_equal(rmdir(files_path("study")), 0); /* nothing else was there */
}

static void assert_drawn(void)
{
    size_t size;
    for (int i = 0; i < OUTPUTS - 1; i++) {
        char *bytes = read_output(outputs[i], &size);
        assert_true(size > 5000);
        if (strstr(outputs[i], ".png")) {
            assert_memory_equal(bytes, "\x89PNG\r\n\x1a\n", 8);
            assert_memory_equal(bytes + size - 8, "IEND", 4);
        } else {
            assert_non_null(strstr(bytes, "<svg"));
            assert_non_null(strstr(bytes, "</svg>"));
        }
        free(bytes);
    }
}

/* One line of the CSV file. */
struct row {
    char measure[16], method[32];
    unsigned features, seeds;
    double multiple, deviation, median, low, high;
};

static bool next_row(const char **where, struct row *row)
{
    int length = 0;
    if (!**where)
        return false;
    assert_int_equal(sscanf(*where, "%15[^,],%31[^,],%u,%lf,%lf,%u,%lf,%lf,%lf\n%n", row->measure,
                            row->method, &row->features, &row->multiple, &row->deviation,
                            &row->seeds, &row->median, &row->low, &row->high, &length),
                     9);
    assert_true(length > 0);
    *where += length;
    return true;
}

static const char *first_row(const char *csv)
{
    static const char header[] =
        "measure,method,features,scale_multiple,deviation,seeds,median,low,high\n";
    assert_int_equal(strncmp(csv, header, strlen(header)), 0);
    return csv + strlen(header);
}

/* The median in the row that these name. */
static double median(const char *csv, const char *measure, const char *method, unsigned features,
                     double multiple)
{
    const char *where = first_row(csv);
    for (struct row row; next_row(&where, &row);)
        if (strcmp(row.measure, measure) == 0 && strcmp(row.method, method) == 0 &&
            row.features == features && row.multiple == multiple)
            return row.median;
    fail_msg("no row %s,%s,%u,%g", measure, method, features, multiple);
    return NAN;
}

/* Every row by itself: 3 measures, 5 scales, of two of which all 5 counts are there. */
static void assert_rows(const char *csv, unsigned seeds)
{
    const char *where = first_row(csv);
    unsigned count = 0;
    for (struct row row; next_row(&where, &row); count++) {
        const bool uniform = strcmp(row.method, "uniform") == 0;
        assert_true(isfinite(row.median) && row.median > 0);
        assert_true(row.low <= row.median && row.median <= row.high);
        assert_true(row.deviation > 0 && row.multiple >= 0.25 && row.multiple <= 4);
        assert_true(row.seeds == (uniform ? 0 : seeds));
        assert_true((row.features == 0) == uniform);
        if (strcmp(row.measure, "kernel") == 0) /* with a factor of 0 it would be 1 */
            assert_true(row.high <= 1 + 1e-5);
    }
    assert_int_equal(count, 3 * (5 + 7 * (2 * 5 + 3)));
}

/* The diffuse head: where approximations have something to show. */
static void test_study_of_made_data(void **state)
{
    (void)state;
    size_t size;
    RUN(study, "--output", files_path("study"), "--head=3", "--tokens=64", "--seeds=2",
        "--features-count=64");
    assert_success();
    assert_printed("exact softmax");
    assert_printed("\nverdict: ");
    assert_drawn();
    char *csv = read_output("errors.csv", &size);
    assert_rows(csv, 2);
    const char *const measures[] = {"kernel", "weights", "output"};
    for (int i = 0; i < 3; i++) {
        const char *m = measures[i];
        const double uniform = median(csv, m, "uniform", 0, 0.25);
        const double most = median(csv, m, "wdcf-calibrated", 64, 0.25);
        const double fewest = median(csv, m, "wdcf-calibrated", 4, 0.25);
        assert_true(most < 0.8 * fewest && most < uniform);
        if (i > 0) /* which is what is fitted */
            assert_true(most < 0.5 * uniform);
        assert_true(median(csv, m, "prf-monte-carlo", 64, 0.25) <
                    0.7 * median(csv, m, "prf-monte-carlo", 4, 0.25));
        /* as drawn, more features change nothing */
        assert_true(fabs(median(csv, m, "wdcf", 64, 0.25) / median(csv, m, "wdcf", 16, 0.25) - 1) <
                    0.05);
        /* the larger the scale, the larger the error */
        assert_true(median(csv, m, "wdcf-calibrated", 64, 0.25) <
                    median(csv, m, "wdcf-calibrated", 64, 4));
    }
    free(csv);
    remove_outputs();
}

/* The exact map's line: what the library computes is what the reference has. */
static void test_study_of_a_file(void **state)
{
    (void)state;
    double weights, output;
    size_t size;
    enum {
        N = 1 * 2 * 96 * 16
    };
    float q[N], k[N];
    harness_fill_normal(q, N, 1);
    harness_fill_normal(k, N, 1);
    const char *shape = "[1,2,96,16]";
    RUN(study, "--output", files_path("study"), "--head=1", "--seeds=1", "--features-count=16",
        "--input",
        PARTS("qk", {"q", "F32", shape, q, sizeof(q)}, {"k", "F32", shape, k, sizeof(k)}));
    assert_success();
    assert_printed("head 1 of 2, d = 16, v drawn from N(0, 1); 48 tokens");
    assert_printed("fitted to    48 tokens that follow");
    const char *line = strstr(last.out, "\nexact softmax");
    assert_non_null(line);
    assert_int_equal(sscanf(line, "\nexact softmax %lf %lf", &weights, &output), 2);
    assert_true(weights > 0 && weights < 1e-5 && output > 0 && output < 1e-5);
    assert_drawn();
    free(read_output("errors.csv", &size));
    remove_outputs();
}

static void test_study_usage(void **state)
{
    (void)state;
    const char *none = files_path("none");
    const struct {
        const char *argv[6], *error;
    } cases[] = {
        {{study}, "--output is missing"},
        {{study, "--output="}, "--output needs a value"},
        {{study, "--output", none, "--tokens=12"}, "--tokens is '12'"},
        {{study, "--output", none, "--tokens=130"}, "must be a multiple of 4 from 16 to 256"},
        {{study, "--output", none, "--features-count=18"}, "--features-count is '18'"},
        {{study, "--output", none, "--seeds=0"}, "--seeds is '0'"},
        {{study, "--output", none, "--head=4"}, "--head is 4, but what is made has 4 heads"},
        {{study, "--output", none, "--scale=0"}, "--scale is '0'"},
        {{study, "--output", none, "--quick"}, "there is no option '--quick'"},
        {{study, "study"}, "unexpected 'study'"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        run_to(files_path(".out"), cases[i].argv);
        assert_nothing_but(2, cases[i].error);
    }
    RUN(study, "--help");
    assert_success();
    assert_int_equal(strncmp(last.out, "usage: dijiang-study ", 21), 0);
    assert_printed("examples:");
    assert_printed("exit codes:");
    RUN(study, "--version");
    assert_success();
    assert_int_equal(strncmp(last.out, "dijiang-study ", 14), 0);
}

static void test_study_failures(void **state)
{
    (void)state;
    static const float nan[32 * 4] = {NAN};
    const char *shape = "[1,1,32,4]", *size = "[1,1,28,4]";
    const struct {
        struct part parts[3];
        const char *option, *error;
    } cases[] = {
        {{{"q", "F32", shape, NULL, 512}}, "--seed=1", "tensor 'k' is missing"},
        {{{"k", "F32", shape, NULL, 512}}, "--seed=1", "tensor 'q' is missing"},
        {{{"q", "F32", "[32,4]", NULL, 512}, {"k", "F32", shape, NULL, 512}},
         "--seed=1",
         "tensor 'q' must have 4 dimensions"},
        {{{"q", "F32", shape, NULL, 512}, {"k", "F32", "[1,3,32,4]", NULL, 1536}},
         "--seed=1",
         "k's heads must divide q's 1"},
        {{{"q", "F32", shape, NULL, 512}, {"k", "F32", size, NULL, 448}},
         "--seed=1",
         "tensor 'k' must be [B,Hk,T,d]"},
        {{{"q", "F32", "[1,1,32,6]", NULL, 768}, {"k", "F32", "[1,1,32,6]", NULL, 768}},
         "--seed=1",
         "multiples of 4"},
        {{{"q", "F32", shape, NULL, 512},
          {"k", "F32", shape, NULL, 512},
          {"v", "F32", size, NULL, 448}},
         "--seed=1",
         "tensor 'v' must be [B,Hk,T,e]"},
        {{{"q", "F32", size, NULL, 448}, {"k", "F32", size, NULL, 448}}, "--seed=1", "too few"},
        {{{"q", "F32", shape, NULL, 512}, {"k", "F32", shape, nan, 512}},
         "--seed=1",
         "tensor 'k' holds a number that is not finite"},
        {{{"q", "I32", shape, NULL, 512}, {"k", "F32", shape, NULL, 512}},
         "--seed=1",
         "'q' is I32"},
        {{{"q", "F32", shape, NULL, 512}, {"k", "F32", shape, NULL, 512}},
         "--head=1",
         "--head is 1, but q has 1 heads"},
        {{{"q", "F32", shape, NULL, 512}, {"k", "F32", shape, NULL, 512}},
         "--device=no such device",
         "no such device"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        size_t count = 0;
        while (count < 3 && cases[i].parts[count].name)
            count++;
        RUN(study, cases[i].option, "--output", files_path("none"), "--input",
            write_parts("unfit", cases[i].parts, count));
        assert_nothing_but(1, cases[i].error);
    }
    RUN(study, "--output", files_path("none"), "--input", files_path("missing"));
    assert_nothing_but(1, "cannot be opened");
    RUN(study, "--output", files_path("no/folder"));
    assert_nothing_but(1, "cannot be made: No such file");
    RUN(study, "--output", files_path("unfit"));
    assert_nothing_but(1, "is not a folder");
}

/* Interrupted, it leaves nothing, not even the folder that it made. */
static void test_study_interrupted(void **state)
{
    (void)state;
    pid_t pid;
    int status;
    char *const argv[] = {(char *)study, "--output", (char *)files_path("none"), NULL};
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    assert_int_equal(posix_spawn(&pid, study, &actions, NULL, argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    for (int i = 0; i < 3000 && !files_exists("none"); i++)
        usleep(10000);
    assert_true(files_exists("none"));
    assert_int_equal(kill(pid, SIGINT), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
    assert_false(files_exists("none"));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_study_of_made_data), cmocka_unit_test(test_study_of_a_file),
    cmocka_unit_test(test_study_usage),        cmocka_unit_test(test_study_failures),
    cmocka_unit_test(test_study_interrupted),
};

PROGRAMS_MAIN(tests)
