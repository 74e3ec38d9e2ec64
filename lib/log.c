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

/* Codes that the calls of this library can return. */
#define CODES(X) \
    X(VK_NOT_READY, DJ_ERROR_VULKAN) \
    X(VK_TIMEOUT, DJ_ERROR_TIMEOUT) \
    X(VK_INCOMPLETE, DJ_ERROR_VULKAN) \
    X(VK_ERROR_OUT_OF_HOST_MEMORY, DJ_ERROR_OUT_OF_HOST_MEMORY) \
    X(VK_ERROR_OUT_OF_DEVICE_MEMORY, DJ_ERROR_OUT_OF_DEVICE_MEMORY) \
    X(VK_ERROR_INITIALIZATION_FAILED, DJ_ERROR_VULKAN) \
    X(VK_ERROR_DEVICE_LOST, DJ_ERROR_DEVICE_LOST) \
    X(VK_ERROR_MEMORY_MAP_FAILED, DJ_ERROR_OUT_OF_HOST_MEMORY) \
    X(VK_ERROR_LAYER_NOT_PRESENT, DJ_ERROR_NO_VALIDATION) \
    X(VK_ERROR_EXTENSION_NOT_PRESENT, DJ_ERROR_VULKAN) \
    X(VK_ERROR_FEATURE_NOT_PRESENT, DJ_ERROR_VULKAN) \
    X(VK_ERROR_INCOMPATIBLE_DRIVER, DJ_ERROR_NO_DEVICE) \
    X(VK_ERROR_TOO_MANY_OBJECTS, DJ_ERROR_OUT_OF_DEVICE_MEMORY) \
    X(VK_ERROR_FRAGMENTED_POOL, DJ_ERROR_OUT_OF_DEVICE_MEMORY) \
    X(VK_ERROR_UNKNOWN, DJ_ERROR_VULKAN) \
    X(VK_ERROR_OUT_OF_POOL_MEMORY, DJ_ERROR_OUT_OF_DEVICE_MEMORY) \
    X(VK_ERROR_FRAGMENTATION, DJ_ERROR_OUT_OF_DEVICE_MEMORY) \
    X(VK_ERROR_INVALID_SHADER_NV, DJ_ERROR_VULKAN)

dj_result dj_vk_result(const struct dj_log *log, VkResult code, const char *call)
{
    switch (code) {
    case VK_SUCCESS:
        return DJ_SUCCESS;
#define CASE(name, result) \
    case name: \
        return dj_fail(log, result, "%s: %s", call, #name);
        CODES(CASE)
#undef CASE
    default:
        return dj_fail(log, DJ_ERROR_VULKAN, "%s: VkResult %d", call, (int)code);
    }
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
