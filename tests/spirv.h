/* SPDX-License-Identifier: MIT */
/* What a compute shader asks of a device, as far as its SPIR-V says it. */
#ifndef DJ_TESTS_SPIRV_H
#define DJ_TESTS_SPIRV_H

#include <vulkan/vulkan_core.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SPIRV_MOST_CAPABILITIES = 32
};

struct spirv {
    uint32_t version; /* 0x00010300 is 1.3 */
    uint32_t capabilities[SPIRV_MOST_CAPABILITIES], capability_count;
    uint32_t local_size[3];
    uint64_t shared; /* bytes of its workgroup variables by the standard storage buffer layout */
};

/* Reads a module as specialised (NULL: not at all). Returns whether it was understood. */
bool spirv_read(const uint32_t *words, size_t count, const VkSpecializationInfo *special,
                struct spirv *spirv);

#endif
