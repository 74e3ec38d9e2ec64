/* SPDX-License-Identifier: MIT */
#include "memory.h"

#include <assert.h>

bool dj_memory_mapping_is_free(const struct dj_context *context, uint32_t heap)
{
    return context->info.type == DJ_DEVICE_INTEGRATED || context->info.type == DJ_DEVICE_CPU ||
           context->memory.memoryHeaps[heap].size == context->info.device_memory;
}

/* How well a memory type does for a kind of memory; larger is better, below 0 is not at all. */
static int score(const struct dj_context *context, uint32_t memory, uint32_t index)
{
    const VkMemoryType *type = &context->memory.memoryTypes[index];
    const VkMemoryPropertyFlags flags = type->propertyFlags;
    const VkMemoryPropertyFlags coherent =
        VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    const bool local = flags & VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT;
    const bool mapped = (flags & coherent) == coherent;
    const bool cached = mapped && (flags & VK_MEMORY_PROPERTY_HOST_CACHED_BIT);
    const bool free_map = local && mapped && dj_memory_mapping_is_free(context, type->heapIndex);
    /* protected, lazily allocated, uncached for debuggers: nothing for us */
    if (flags &
        ~(coherent | VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT | VK_MEMORY_PROPERTY_HOST_CACHED_BIT))
        return -1;
    if (memory != DJ_MEMORY_DEVICE && !mapped)
        return -1;
    switch (memory) {
    case DJ_MEMORY_DEVICE:
        return (local ? 16 : 0) + (free_map ? 8 + (cached ? 1 : 0) : local && mapped ? 0 : 4);
    case DJ_MEMORY_UPLOAD:
        return (free_map ? 8 : local ? 0 : 4) + (cached ? 0 : 1);
    case DJ_MEMORY_DOWNLOAD:
        return (cached ? 8 : 0) + (free_map ? 2 : local ? 0 : 1);
    default:
        assert(memory == DJ_MEMORY_TABLE);
        return (local ? 8 : 0) + (cached ? 0 : 1);
    }
}

uint32_t dj_memory_type(const struct dj_context *context, uint32_t memory, uint32_t mask,
                        uint64_t size)
{
    uint32_t best = UINT32_MAX;
    for (uint32_t i = 0; i < context->memory.memoryTypeCount; i++) {
        const uint32_t heap = context->memory.memoryTypes[i].heapIndex;
        if (!(mask & (1u << i)) || score(context, memory, i) < 0 ||
            context->memory.memoryHeaps[heap].size < size)
            continue;
        if (best == UINT32_MAX || score(context, memory, i) > score(context, memory, best))
            best = i;
    }
    return best;
}
