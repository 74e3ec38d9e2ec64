/* SPDX-License-Identifier: MIT */
#include "program.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *program_name = "dijiang";
static char library_error[512];
static bool progress_shown;

static int message(int code, const char *format, va_list args, const char *ending)
{
    char line[1024];
    program_progress(NULL);
    fflush(stdout);
    vsnprintf(line, sizeof(line), format, args);
    for (char *c = line; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    fprintf(stderr, "%s: %s%s\n", program_name, line, ending);
    return code;
}

int program_fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const int code = message(PROGRAM_FAILURE, format, args, "");
    va_end(args);
    return code;
}

int program_usage(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const int code = message(PROGRAM_USAGE, format, args, " (see --help)");
    va_end(args);
    return code;
}

int program_fail_dj(const char *what, dj_result result)
{
    return program_fail("%s: %s", what, library_error[0] ? library_error : dj_result_str(result));
}

static bool warnings_shown;

static void keep_error(void *user, uint32_t level, const char *text)
{
    (void)user;
    if (level == DJ_LOG_ERROR)
        snprintf(library_error, sizeof(library_error), "%s", text);
    else if (warnings_shown)
        (void)program_fail("warning: %s", text);
}

struct dj_context_params program_context_params(const char *device)
{
    library_error[0] = '\0';
    return (struct dj_context_params){
        .device = device, .log = keep_error, .log_level = DJ_LOG_WARNING};
}

dj_result program_context_create(const char *device, dj_context **context)
{
    const struct dj_context_params params = program_context_params(device);
    warnings_shown = true;
    const dj_result result = dj_context_create(&params, context);
    warnings_shown = false;
    return result;
}

static uint64_t cache_size;

dj_result program_cache_load(dj_context *context)
{
    const dj_result result = dj_cache_file_load(context, NULL);
    if (dj_cache_save(context, NULL, &cache_size) != DJ_SUCCESS)
        cache_size = 0;
    library_error[0] = '\0';
    return result;
}

dj_result program_cache_save(dj_context *context)
{
    uint64_t size;
    dj_result result = dj_cache_save(context, NULL, &size);
    if (result == DJ_SUCCESS && size > cache_size)
        result = dj_cache_file_save(context, NULL);
    if (dj_context_validation_count(context) == 0) /* whose words are still to be said */
        library_error[0] = '\0';
    return result;
}

int program_validated(const dj_context *context, int code)
{
    const unsigned long long count = context ? dj_context_validation_count(context) : 0;
    if (code != PROGRAM_SUCCESS || count == 0)
        return code;
    return program_fail("the validation layer spoke %llu times: %s", count, library_error);
}

void program_progress(const char *format, ...)
{
    if (!format) {
        if (progress_shown)
            fputs("\r\033[K", stderr);
        progress_shown = false;
        return;
    }
    const char *const terminal = getenv("TERM");
    if (!isatty(STDERR_FILENO) || (terminal && strcmp(terminal, "dumb") == 0))
        return;
    va_list args;
    va_start(args, format);
    fputs("\r\033[K", stderr);
    vfprintf(stderr, format, args);
    va_end(args);
    fflush(stderr);
    progress_shown = true;
}

static volatile sig_atomic_t interrupted; /* by that signal */
static atomic_uint interrupted_at;        /* in milliseconds, and odd: 0 is not yet */

/* Calls only what may be called in a signal's handler, and may run in two threads at once. */
static void keep_signal(int number)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    const unsigned now = ((unsigned)time.tv_sec * 1000 + (unsigned)(time.tv_nsec / 1000000)) | 1;
    unsigned first = 0;
    if (atomic_compare_exchange_strong(&interrupted_at, &first, now)) {
        interrupted = number;
    } else if ((int)(now - first) > 500) {
        signal(number, SIG_DFL);
        raise(number); /* comes when this returns */
    }
}

void program_catch_interrupts(void)
{
    struct sigaction action = {.sa_handler = keep_signal, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

bool program_interrupted(void)
{
    return interrupted != 0;
}

int program_finish(int code)
{
    program_progress(NULL);
    const bool flushed = fflush(stdout) == 0 && !ferror(stdout);
    if (interrupted) {
        signal(interrupted, SIG_DFL);
        raise(interrupted);
    }
    return flushed ? code : program_fail("standard output cannot be written: %s", strerror(errno));
}

double program_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

const char *program_device_type(uint32_t type)
{
    static const char *const names[] = {"other device", "integrated GPU", "discrete GPU",
                                        "virtual GPU", "CPU"};
    return type < sizeof(names) / sizeof(names[0]) ? names[type] : "unknown device";
}

static bool set_number(const struct program_option *option, const char *text, int *code)
{
    char *end;
    errno = 0;
    const unsigned long long number = strtoull(text, &end, 10);
    /* strtoull takes signs and spaces, and turns -1 into 2^64 - 1 */
    const bool digits = text[0] >= '0' && text[0] <= '9' && !*end && errno == 0;
    if (!digits || number < option->min || number > option->max || number % option->step != 0) {
        const unsigned long long min = option->min, max = option->max, step = option->step;
        if (step > 1)
            *code = program_usage("%s is '%s', must be a multiple of %llu from %llu to %llu",
                                  option->name, text, step, min, max);
        else
            *code = program_usage("%s is '%s', must be a whole number from %llu to %llu",
                                  option->name, text, min, max);
        return false;
    }
    *(uint64_t *)option->value = number;
    return true;
}

static bool set_float(const struct program_option *option, const char *text, int *code)
{
    char *end;
    const float number = strtof(text, &end);
    if (end == text || *end || !(number > 0) || !isfinite(number)) {
        *code = program_usage("%s is '%s', must be a number above 0 that a float can hold",
                              option->name, text);
        return false;
    }
    *(float *)option->value = number;
    return true;
}

static bool set_text(const struct program_option *option, const char *text, int *code)
{
    bool known = text[0] && !option->choices;
    for (const char *const *choice = option->choices; choice && *choice && !known; choice++)
        known = strcmp(*choice, text) == 0;
    if (!known && !option->choices) {
        *code = program_usage("%s needs a value, not an empty text", option->name);
    } else if (!known) {
        char list[256] = "";
        for (const char *const *choice = option->choices; *choice; choice++) {
            strncat(list, choice == option->choices ? "" : " or ", sizeof(list) - strlen(list) - 1);
            strncat(list, *choice, sizeof(list) - strlen(list) - 1);
        }
        *code = program_usage("%s is '%s', must be %s", option->name, text, list);
    }
    if (known)
        *(const char **)option->value = text;
    return known;
}

static bool set_option(const struct program_option *option, const char *text, int *code)
{
    switch (option->kind) {
    case PROGRAM_FLAG:
        *(bool *)option->value = true;
        return true;
    case PROGRAM_TEXT:
        return set_text(option, text, code);
    case PROGRAM_NUMBER:
        return set_number(option, text, code);
    case PROGRAM_FLOAT:
        return set_float(option, text, code);
    }
    return false;
}

static const struct program_option *find_option(const struct program_option *options, size_t count,
                                                const char *text, size_t length)
{
    for (size_t i = 0; i < count; i++)
        if (strlen(options[i].name) == length && strncmp(options[i].name, text, length) == 0)
            return &options[i];
    return NULL;
}

bool program_start(const char *name, const char *help, const struct program_option *options,
                   size_t count, int argc, char **argv, int *code)
{
    program_name = name;
    for (int i = 1; i < argc; i++) {
        const char *equals = strchr(argv[i], '=');
        const size_t length = equals ? (size_t)(equals - argv[i]) : strlen(argv[i]);
        const struct program_option *option = find_option(options, count, argv[i], length);
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            fputs(help, stdout);
            *code = program_finish(PROGRAM_SUCCESS);
            return false;
        }
        if (strcmp(argv[i], "--version") == 0) {
            const uint32_t version = dj_version();
            printf("%s %u.%u.%u\n", name, version / 1000000, version / 1000 % 1000, version % 1000);
            *code = program_finish(PROGRAM_SUCCESS);
            return false;
        }
        if (!option) {
            *code = argv[i][0] == '-' ? program_usage("there is no option '%s'", argv[i])
                                      : program_usage("unexpected '%s'", argv[i]);
            return false;
        }
        const char *value = equals ? equals + 1 : NULL;
        if (option->kind == PROGRAM_FLAG && value) {
            *code = program_usage("%s takes no value", option->name);
            return false;
        }
        if (option->kind != PROGRAM_FLAG && !value) {
            if (i + 1 == argc) {
                *code = program_usage("%s needs a value", option->name);
                return false;
            }
            value = argv[++i];
        }
        if (!set_option(option, value, code))
            return false;
    }
    return true;
}
