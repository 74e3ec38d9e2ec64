/* SPDX-License-Identifier: MIT */
/* Runs the programs as a user does, and says what they must have printed and left behind. */
#ifndef DJ_TESTS_PROGRAMS_H
#define DJ_TESTS_PROGRAMS_H

#include "files.h"
#include "harness.h"

#define PROGRAM_ATTEND TEST_PROGRAMS "/dijiang-attend"
#define PROGRAM_INFO TEST_PROGRAMS "/dijiang-info"
#define PROGRAM_BENCH TEST_PROGRAMS "/dijiang-bench"
#define PROGRAM_STUDY TEST_PROGRAMS "/dijiang-study"
#define PROGRAM_DECODE TEST_PROGRAMS "/dijiang-decode"

/* What the last program did. */
struct programs_last {
    int code; /* 128 + the signal if one ended it */
    char *out, *err;
};
extern struct programs_last last;

/* cmocka group set-up and tear-down. What the validation layer says makes the programs fail;
 * without the layer they run without it. */
int programs_setup(void **state);
int programs_teardown(void **state);

/* The folder of the programs' caches. */
const char *programs_cache(void);

/* Runs argv with standard output going to that file. */
void run_to(const char *out, const char *const *argv);
#define RUN(...) run_to(files_path(".out"), (const char *const[]){__VA_ARGS__, NULL})

/* Runs argv until its standard output, last.out then, has a text, interrupts it, and asserts that
 * the signal ended it. */
void interrupt(const char *const *argv, const char *text, int signal);

/* Prints all of the last run, under that title. */
void show(const char *what);

void assert_exit(int code);
void assert_printed(const char *text);

/* The program did its work and had nothing to complain of. */
void assert_success(void);

/* It failed with that code and exactly one line, which contains text. */
void assert_one_line(int code, const char *text);

/* ... and printed nothing else, and wrote no file "none". */
void assert_nothing_but(int code, const char *text);

/* The line "error E (bound B)". */
void scan_error(double *error, double *bound);

/* Runs a test program: TAP on standard output, all tests of the table. */
#define PROGRAMS_MAIN(tests) \
    int main(void) \
    { \
        cmocka_set_message_output(CM_OUTPUT_TAP); \
        return cmocka_run_group_tests(tests, programs_setup, programs_teardown); \
    }

/* One tensor of a file to be made. */
struct part {
    const char *name, *type, *shape;
    const void *data; /* NULL: zeros */
    size_t size;
};

/* Writes the file of that name; returns its path. */
const char *write_parts(const char *name, const struct part *parts, size_t count);

#define PARTS(name, ...) \
    write_parts((name), (const struct part[]){__VA_ARGS__}, \
                sizeof((const struct part[]){__VA_ARGS__}) / sizeof(struct part))

/* The tensor out of a file that has no other, F32 of that many elements; to be freed. */
float *read_out(const char *path, uint64_t count);

#endif
