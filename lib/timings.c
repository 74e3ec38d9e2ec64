/* SPDX-License-Identifier: MIT */
#include "timings.h"

#include "device.h"

#include <stdint.h>
#include <stdlib.h>

/* The least of the timestamps' valid bits in the families that may be recorded for. */
static uint32_t find_bits(const struct dj_context *context)
{
    struct dj_queue_families families;
    dj_queue_families_get(context, context->physical, &families);
    uint32_t bits = 64;
    for (uint32_t i = 0; i < context->family_count; i++) {
        const uint32_t family = context->families[i];
        const uint32_t valid =
            family < families.count ? families.list[family].timestampValidBits : 0;
        bits = valid < bits ? valid : bits;
    }
    return bits;
}

static dj_result allocate(struct dj_context *context, struct dj_timings *timings)
{
    const struct VolkDeviceTable *const vk = &context->vk.device;
    timings->kernels = calloc(timings->room, sizeof *timings->kernels);
    timings->ticks = calloc(timings->room + UINT64_C(1), sizeof *timings->ticks);
    if (timings->kernels == NULL || timings->ticks == NULL)
        return dj_fail(&context->log, DJ_ERROR_OUT_OF_HOST_MEMORY,
                       "no memory for the times of %u dispatches", timings->room);
    const VkQueryPoolCreateInfo info = {.sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
                                        .queryType = VK_QUERY_TYPE_TIMESTAMP,
                                        .queryCount = timings->room + 1};
    const VkResult code =
        vk->vkCreateQueryPool(context->device, &info, context->allocator, &timings->pool);
    if (code != VK_SUCCESS) {
        timings->pool = VK_NULL_HANDLE;
        return dj_context_result(context, code, "vkCreateQueryPool");
    }
    dj_context_name(context, VK_OBJECT_TYPE_QUERY_POOL, (uint64_t)timings->pool,
                    "dijiang recorder");
    return DJ_SUCCESS;
}

dj_result dj_timings_create(struct dj_context *context, uint32_t dispatches,
                            struct dj_timings *timings)
{
    const uint32_t bits = find_bits(context);
    if (bits == 0)
        return dj_fail(&context->log, DJ_ERROR_UNSUPPORTED,
                       "dj_recorder_params.timings is on, and a queue family of the context's has "
                       "no timestamps");
    VkPhysicalDeviceProperties properties;
    context->vk.vkGetPhysicalDeviceProperties(context->physical, &properties);
    *timings = (struct dj_timings){.room = dispatches,
                                   .mask = bits < 64 ? (UINT64_C(1) << bits) - 1 : UINT64_MAX,
                                   .tick = (double)properties.limits.timestampPeriod};
    const dj_result result = allocate(context, timings);
    if (result != DJ_SUCCESS)
        dj_timings_destroy(context, timings);
    return result;
}

void dj_timings_destroy(const struct dj_context *context, struct dj_timings *timings)
{
    if (timings->pool)
        context->vk.device.vkDestroyQueryPool(context->device, timings->pool, context->allocator);
    free(timings->kernels);
    free(timings->ticks);
    *timings = (struct dj_timings){0};
}

void dj_timings_start(const struct dj_context *context, struct dj_timings *timings,
                      VkCommandBuffer command)
{
    const struct VolkDeviceTable *const vk = &context->vk.device;
    timings->count = 0;
    if (!timings->pool)
        return;
    vk->vkCmdResetQueryPool(command, timings->pool, 0, timings->room + 1);
    vk->vkCmdWriteTimestamp(command, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, timings->pool, 0);
}

void dj_timings_add(const struct dj_context *context, struct dj_timings *timings,
                    VkCommandBuffer command, const char *kernel)
{
    if (!timings->pool)
        return;
    timings->kernels[timings->count++] = kernel;
    context->vk.device.vkCmdWriteTimestamp(command, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
                                           timings->pool, timings->count);
}

dj_result dj_timings_read(struct dj_context *context, const struct dj_timings *timings,
                          struct dj_timing *found)
{
    if (timings->count == 0)
        return DJ_SUCCESS;
    const uint32_t stamps = timings->count + 1;
    const VkResult code = context->vk.device.vkGetQueryPoolResults(
        context->device, timings->pool, 0, stamps, stamps * sizeof *timings->ticks, timings->ticks,
        sizeof *timings->ticks, VK_QUERY_RESULT_64_BIT);
    if (code == VK_NOT_READY)
        return dj_fail(&context->log, DJ_ERROR_TIMEOUT,
                       "dj_recorder_timings: what was recorded has not run to its end");
    if (code != VK_SUCCESS)
        return dj_context_result(context, code, "vkGetQueryPoolResults");
    for (uint32_t i = 0; i < timings->count; i++) {
        const uint64_t ticks = (timings->ticks[i + 1] - timings->ticks[i]) & timings->mask;
        found[i] = (struct dj_timing){.kernel = timings->kernels[i],
                                      .nanoseconds = (double)ticks * timings->tick};
    }
    return DJ_SUCCESS;
}
