/* SPDX-License-Identifier: MIT */
/* Log lines. */
#ifndef DJ_LIB_LOG_H
#define DJ_LIB_LOG_H

#include <dijiang/context.h>

#include <stdbool.h>

struct dj_log {
    dj_log_fn callback; /* may be NULL */
    void *user;
    uint32_t level; /* the most verbose wanted */
};

/* Formats and delivers one line. */
__attribute__((format(printf, 3, 4))) void dj_log_line(const struct dj_log *log, uint32_t level,
                                                       const char *format, ...);

/* Logs an error line and returns result: `return dj_fail(log, DJ_ERROR_..., "...", ...);` */
__attribute__((format(printf, 3, 4))) dj_result dj_fail(const struct dj_log *log, dj_result result,
                                                        const char *format, ...);

/* As dj_fail, at that level: a warning where something else takes over and the call succeeds. */
__attribute__((format(printf, 4, 5))) dj_result dj_fail_at(const struct dj_log *log, uint32_t level,
                                                           dj_result result, const char *format,
                                                           ...);

/* Whether all count reserved words are zero, else logs. what: the struct's name. */
bool dj_reserved_is_zero(const struct dj_log *log, const uint64_t *reserved, uint32_t count,
                         const char *what);

#endif
