/* SPDX-License-Identifier: MIT */
/* The null device's timestamps: what is recorded is over at once, each of them NULL_STAMP_TICKS
 * after the last, in a counter that soon wraps. */
#include "null_inside.h"

static VKAPI_ATTR VkResult VKAPI_CALL null_vkCreateQueryPool(VkDevice device,
                                                             const VkQueryPoolCreateInfo *info,
                                                             const VkAllocationCallbacks *callbacks,
                                                             VkQueryPool *handle)
{
    struct null_device *const owner = NULL_DEVICE_OF(device);
    NULL_ENTER_MAKING(vkCreateQueryPool, owner, handle, sizeof *handle);
    if (info->queryType != VK_QUERY_TYPE_TIMESTAMP || info->queryCount == 0)
        null_misuse("vkCreateQueryPool: %u queries of type %d", info->queryCount,
                    (int)info->queryType);
    struct null_query_pool *const pool = null_object_create(
        NULL_OBJECT_QUERY_POOL, sizeof *pool + info->queryCount * sizeof *pool->queries,
        &owner->object, callbacks);
    if (pool == NULL)
        return VK_ERROR_OUT_OF_HOST_MEMORY;
    pool->count = info->queryCount;
    *handle = NULL_HANDLE_OF(VkQueryPool, pool);
    return VK_SUCCESS;
}
NULL_PROVIDE(vkCreateQueryPool)

static VKAPI_ATTR void VKAPI_CALL null_vkCmdResetQueryPool(VkCommandBuffer handle,
                                                           VkQueryPool queries, uint32_t first,
                                                           uint32_t count)
{
    NULL_ENTER(vkCmdResetQueryPool);
    null_recording(handle, __func__);
    struct null_query_pool *const pool = NULL_OF(queries, QUERY_POOL);
    pool->object.touched++;
    if (first > pool->count || count > pool->count - first)
        null_misuse("vkCmdResetQueryPool: %u queries from %u on, of %u", count, first, pool->count);
    else
        for (uint32_t i = first; i < first + count; i++)
            pool->queries[i] = (struct null_query){.state = NULL_QUERY_RESET};
}
NULL_PROVIDE(vkCmdResetQueryPool)

static VKAPI_ATTR void VKAPI_CALL null_vkCmdWriteTimestamp(VkCommandBuffer handle,
                                                           VkPipelineStageFlagBits stage,
                                                           VkQueryPool queries, uint32_t query)
{
    NULL_ENTER(vkCmdWriteTimestamp);
    const struct null_command_buffer *const commands = null_recording(handle, __func__);
    const struct null_device *const device = (const struct null_device *)commands->object.parent;
    struct null_query_pool *const pool = NULL_OF(queries, QUERY_POOL);
    pool->object.touched++;
    const uint32_t bits = device->settings->timestamp_bits;
    if (bits == 0 || stage != VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT)
        null_misuse("vkCmdWriteTimestamp: of stage 0x%x, and timestamps have %u bits",
                    (unsigned)stage, bits);
    if (query >= pool->count || pool->queries[query].state != NULL_QUERY_RESET) {
        null_misuse("vkCmdWriteTimestamp: query %u of %u is not there or was not reset", query,
                    pool->count);
        return;
    }
    const uint64_t mask = bits < 64 ? (UINT64_C(1) << bits) - 1 : UINT64_MAX;
    pool->ticks += NULL_STAMP_TICKS;
    pool->queries[query] = (struct null_query){
        .state = NULL_QUERY_WRITTEN, .ticks = (pool->ticks - 2 * NULL_STAMP_TICKS) & mask};
}
NULL_PROVIDE(vkCmdWriteTimestamp)

static VKAPI_ATTR VkResult VKAPI_CALL
null_vkGetQueryPoolResults(VkDevice device, VkQueryPool queries, uint32_t first, uint32_t count,
                           size_t size, void *data, VkDeviceSize stride, VkQueryResultFlags flags)
{
    NULL_ENTER_FALLIBLE(vkGetQueryPoolResults, NULL_DEVICE_OF(device));
    struct null_query_pool *const pool = NULL_OF(queries, QUERY_POOL);
    pool->object.touched++;
    if (first > pool->count || count > pool->count - first || flags != VK_QUERY_RESULT_64_BIT ||
        stride != sizeof(uint64_t) || size != count * sizeof(uint64_t)) {
        null_misuse(
            "vkGetQueryPoolResults: %u queries from %u on, of %u, with flags 0x%x in %zu bytes",
            count, first, pool->count, (unsigned)flags, size);
        return VK_SUCCESS;
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct null_query *const query = &pool->queries[first + i];
        if (query->state == NULL_QUERY_UNKNOWN)
            null_misuse("vkGetQueryPoolResults: query %u was never reset", first + i);
        if (query->state != NULL_QUERY_WRITTEN)
            return VK_NOT_READY;
        ((uint64_t *)data)[i] = query->ticks;
    }
    return VK_SUCCESS;
}
NULL_PROVIDE(vkGetQueryPoolResults)
