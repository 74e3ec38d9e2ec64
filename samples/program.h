/* SPDX-License-Identifier: MIT */
/* What the programs have in common: options, exit codes, messages and the clock. */
#ifndef DJ_SAMPLES_PROGRAM_H
#define DJ_SAMPLES_PROGRAM_H

#include <dijiang/dijiang.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum program_exit {
    PROGRAM_SUCCESS = 0,
    PROGRAM_FAILURE = 1,
    PROGRAM_USAGE = 2,
    PROGRAM_CHECK_FAILED = 3,
};

enum program_option_kind {
    PROGRAM_FLAG,   /* bool: no value, sets true */
    PROGRAM_TEXT,   /* const char *: any text but none at all */
    PROGRAM_NUMBER, /* uint64_t: a whole number from min to max, a multiple of step */
    PROGRAM_FLOAT,  /* float: above 0 and finite */
};

struct program_option {
    const char *name; /* with its dashes */
    enum program_option_kind kind;
    void *value;
    const char *const *choices; /* PROGRAM_TEXT: the allowed texts, NULL after the last; or NULL */
    uint64_t min, max, step;    /* PROGRAM_NUMBER */
};

/* Reads the command line as `--name value`, `--name=value` or `--flag`; the last one counts.
 * Answers
 * --help (prints help) and --version. Returns whether the program is to go on; if not, *code is
 * what it exits with. name is kept for the messages. */
bool program_start(const char *name, const char *help, const struct program_option *options,
                   size_t count, int argc, char **argv, int *code);

/* Print one line on standard error, "<name>: ...", and return PROGRAM_FAILURE or PROGRAM_USAGE. */
__attribute__((format(printf, 1, 2))) int program_fail(const char *format, ...);
__attribute__((format(printf, 1, 2))) int program_usage(const char *format, ...);

/* The same for a call of the library that failed: what was tried, and the line it logged. */
int program_fail_dj(const char *what, dj_result result);

/* Context parameters for that device (NULL: the default) that keep the library's last error for
 * program_fail_dj. */
struct dj_context_params program_context_params(const char *device);

/* Makes a context by them, and says on standard error what the library warns of meanwhile: of
 * environment variables that it ignores. */
dj_result program_context_create(const char *device, dj_context **context);

/* Give the context what an earlier run compiled, and keep what this one added for the next, in the
 * user's cache folder. Without, all works as well: nothing is said, the result is for those who
 * want to know. One context at a time between the two. */
dj_result program_cache_load(dj_context *context);
dj_result program_cache_save(dj_context *context);

/* Returns code, or PROGRAM_FAILURE if the validation layer (DIJIANG_VALIDATION=1) had something to
 * say of a run that otherwise succeeded. context may be NULL. */
int program_validated(const dj_context *context, int code);

/* What the program is doing, on one line of standard error that replaces the last; silent unless
 * that is a terminal. NULL removes the line. */
__attribute__((format(printf, 1, 2))) void program_progress(const char *format, ...);

/* From now on the first SIGINT or SIGTERM only makes program_interrupted true, so that work stops
 * where nothing is left half done. Those of the next half second are the same interrupt, since
 * timeout(1), for one, signals the program and then its group. A later one ends it at once. */
void program_catch_interrupts(void);
bool program_interrupted(void);

/* Flushes standard output. Returns code, or reports that it could not be written. After an
 * interrupt it ends the program by that signal. */
int program_finish(int code);

/* Seconds on a clock that never jumps. */
double program_seconds(void);

/* "discrete GPU" and so on, for enum dj_device_type. */
const char *program_device_type(uint32_t type);

#endif
