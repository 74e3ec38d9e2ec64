/* SPDX-License-Identifier: MIT */
#include "log.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

enum {
    LINE_SIZE = 4096
}; /* validation messages are long */

__attribute__((format(printf, 3, 0))) static void deliver(const struct dj_log *log, uint32_t level,
                                                          const char *format, va_list args)
{
    if (!log || !log->callback || level > log->level)
        return;
    char line[LINE_SIZE];
    if (vsnprintf(line, sizeof(line), format, args) < 0)
        line[0] = '\0';
    /* one line is the promise, whatever a driver or a layer put into its text */
    for (char *c = line; *c; c++)
        if (*c == '\n' || *c == '\r')
            *c = ' ';
    log->callback(log->user, level, line);
}

void dj_log_line(const struct dj_log *log, uint32_t level, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    deliver(log, level, format, args);
    va_end(args);
}

dj_result dj_fail(const struct dj_log *log, dj_result result, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    deliver(log, DJ_LOG_ERROR, format, args);
    va_end(args);
    return result;
}

dj_result dj_fail_at(const struct dj_log *log, uint32_t level, dj_result result, const char *format,
                     ...)
{
    va_list args;
    va_start(args, format);
    deliver(log, level, format, args);
    va_end(args);
    return result;
}

bool dj_reserved_is_zero(const struct dj_log *log, const uint64_t *reserved, uint32_t count,
                         const char *what)
{
    for (uint32_t i = 0; i < count; i++) {
        if (reserved[i] != 0) {
            dj_log_line(log, DJ_LOG_ERROR,
                        "%s.reserved[%" PRIu32 "] is %" PRIu64 " and must be 0 in dijiang %d.%d.%d",
                        what, i, reserved[i], DJ_VERSION_MAJOR, DJ_VERSION_MINOR, DJ_VERSION_PATCH);
            return false;
        }
    }
    return true;
}
