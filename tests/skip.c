/* SPDX-License-Identifier: MIT */
#include "skip.h"

#include "harness.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char reason[256];

void harness_skip(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    skip();
}

static bool write_all(const char *data, size_t size)
{
    while (size > 0) {
        const ssize_t written = write(STDOUT_FILENO, data, size);
        if (written <= 0)
            return false;
        data += written;
        size -= (size_t)written;
    }
    return true;
}

/* Standard output is buffered by lines, so that data is one. */
static ssize_t put(void *user, const char *data, size_t size)
{
    char line[1024], name[256];
    unsigned number;
    (void)user;
    snprintf(line, sizeof line, "%.*s", (int)size, data);
    const char *const start = strncmp(line, "not ", 4) == 0 ? line + 4 : line;
    if (sscanf(start, "ok %u # SKIP %255s", &number, name) != 2)
        return write_all(data, size) ? (ssize_t)size : 0;
    snprintf(line, sizeof line, "ok %u - %s # SKIP %s\n", number, name, reason);
    reason[0] = '\0';
    return write_all(line, strlen(line)) ? (ssize_t)size : 0;
}

void skip_prepare(void)
{
#ifdef __GLIBC__ /* elsewhere the reason is not said, and cmocka's word stands */
    fflush(stdout);
    FILE *const lines = fopencookie(NULL, "w", (cookie_io_functions_t){.write = put});
    if (lines == NULL || setvbuf(lines, NULL, _IOLBF, BUFSIZ) != 0)
        return;
    stdout = lines;
#else
    (void)put;
#endif
}
