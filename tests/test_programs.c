/* SPDX-License-Identifier: MIT */
/* What all programs have in common: help, versions, wrong usage, systems without what they need. */
#include "program.h"
#include "programs.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char attend[] = PROGRAM_ATTEND, info[] = PROGRAM_INFO, bench[] = PROGRAM_BENCH;

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
        const char *argv[7], *error;
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
        {{attend, "--features", "WDCF", "--input=x"},
         "--features is 'WDCF', must be wdcf or wpff or"},
        {{attend, "--dtype", "f64", "--input=x"}, "--dtype is 'f64', must be f32 or f16 or bf16"},
        {{attend, "--layout", "thd"}, "--layout is 'thd', must be bhtd or bthd or packed"},
        {{attend, "--seed", "-1"}, "--seed is '-1', must be a whole number from 0 to 1844"},
        {{attend, "--max-tokens", "0"}, "--max-tokens is '0', must be a whole number from 1"},
        {{attend, "--max-tokens", "1073741825"},
         "--max-tokens is '1073741825', must be a whole number from 1 to 1073741824"},
        {{attend, "--features-count", "1025"}, "must be a whole number from 1 to 1024"},
        {{attend, "--input=x", "--form=paper", "--features=pff"},
         "--form paper and --features pff: one of them says which attention"},
        {{attend, "--input=x", "--features=elu", "--features-count=64"},
         "--features-count is 64, but elu has no choice of it"},
        {{attend, "--input=x", "--form=reference", "--features-count=64"},
         "--features-count is 64, but softmax-dct has no choice of it"},
        {{attend, "--input=x", "--features=prf", "--features-count=30"},
         "--features-count is 30, must be a multiple of 4 for prf"},
        {{attend, "--input=x", "--max-tokens=9"}, "--max-tokens is 9, but wdcf has none"},
        {{attend, "--input=x", "--features=relu", "--key-normalise"}, "performer, not relu"},
        {{attend, "--input=x", "--form=reference", "--key-normalise"}, "not softmax-dct"},
        {{attend, "--input=x", "--no-normalise", "--key-normalise"},
         "--key-normalise needs the denominator"},
        {{attend, "--input=x", "--no-key-normalise", "--key-normalise"},
         "--key-normalise and --no-key-normalise: only one can be"},
        {{attend, "--input=x", "--features=softmax", "--no-normalise"},
         "--no-normalise: softmax always has a denominator"},
        {{attend, "--input=x", "--features=linformer", "--no-normalise"}, "linformer always has"},
        {{info, "--json"}, "there is no option '--json'"},
        {{bench, "--case", "train"},
         "--case is 'train', must be prefill or decode or softmax or dct or features or all"},
        {{bench, "--suite", "tpu"}, "--suite is 'tpu', must be cpu or gpu"},
        {{bench, "--no-ceilings=1"}, "--no-ceilings takes no value"},
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
        {{bench, "--key-heads", "3"}, "--key-heads is 3, must divide --heads 8"},
        {{bench, "--features", "wp"}, "--features is 'wp', must be wdcf or wpff or"},
        {{bench, "--features", "softmax", "--case=decode"}, "which softmax has none of"},
        {{bench, "--features", "linformer", "--case=decode"}, "which linformer has none of"},
        {{bench, "--dtype", "F16"}, "--dtype is 'F16', must be f32 or f16 or bf16"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        run_to(files_path(".out"), cases[i].argv);
        assert_nothing_but(2, cases[i].error);
    }
}

static void test_output_that_cannot_be_printed(void **state)
{
    (void)state;
    run_to("/dev/full", (const char *const[]){attend, "--help", NULL});
    assert_one_line(1, "standard output cannot be written");
    run_to("/dev/full", (const char *const[]){info, NULL});
    assert_one_line(1, "standard output cannot be written");
}

static void test_systems_without_a_device(void **state)
{
    (void)state;
    const char *shape = "[1,2,3,4]";
    PARTS("one", {"q", "F32", shape, NULL, 96}, {"k", "F32", shape, NULL, 96},
          {"v", "F32", shape, NULL, 96});
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

/* Said once, and the work is done. */
static void test_switches_that_are_ignored(void **state)
{
    (void)state;
    const char *shape = "[1,2,3,4]",
               *warning = ": warning: DIJIANG_THREADS is \"no\" and is ignored";
    PARTS("one", {"q", "F32", shape, NULL, 96}, {"k", "F32", shape, NULL, 96},
          {"v", "F32", shape, NULL, 96});
    setenv("DIJIANG_THREADS", "no", 1);
    RUN(info);
    assert_one_line(0, warning);
    RUN(attend, "--input", files_path("one"));
    assert_one_line(0, warning);
    RUN(bench, "--case=prefill", "--tokens=16", "--heads=1", "--dim=4", "--repeat=1",
        "--no-ceilings");
    assert_one_line(0, warning);
    unsetenv("DIJIANG_THREADS");
}

/* timeout(1) signals the program and then its group: one interrupt. Another one, later, ends it. */
static void test_interrupts(void **state)
{
    (void)state;
    int status;
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        program_catch_interrupts();
        raise(SIGTERM);
        raise(SIGTERM);
        raise(SIGINT);
        if (!program_interrupted())
            _exit(1);
        usleep(600000);
        raise(SIGINT);
        _exit(2);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_help_and_version),
    cmocka_unit_test(test_wrong_usage),
    cmocka_unit_test(test_interrupts),
    cmocka_unit_test(test_switches_that_are_ignored),
    cmocka_unit_test(test_output_that_cannot_be_printed),
    cmocka_unit_test(test_systems_without_a_device),
};

PROGRAMS_MAIN(tests)
