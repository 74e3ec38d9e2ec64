/* SPDX-License-Identifier: MIT */
#include "vk_result.h"

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
