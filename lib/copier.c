/* SPDX-License-Identifier: MIT */
#include "copier.h"

void dj_copier_finish(struct dj_copier *copier)
{
    const struct dj_context *context = copier->context;
    const struct VolkDeviceTable *vk = &context->vk.device;
    vk->vkDestroyFence(context->device, copier->fence, context->allocator);
    vk->vkDestroyCommandPool(context->device, copier->pool, context->allocator);
    dj_buffer_destroy(&copier->staging);
}

dj_result dj_copier_init(struct dj_copier *copier, struct dj_context *context, uint64_t size,
                         uint32_t memory)
{
    const struct VolkDeviceTable *vk = &context->vk.device;
    *copier = (struct dj_copier){.context = context};
    dj_result result =
        dj_buffer_create_named(context, size < DJ_COPIER_PIECE ? size : DJ_COPIER_PIECE, memory,
                               "dijiang staging", &copier->staging);
    if (result != DJ_SUCCESS)
        return result;
    const VkCommandPoolCreateInfo pool = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
        .flags = VK_COMMAND_POOL_CREATE_TRANSIENT_BIT,
        .queueFamilyIndex = context->queue_family,
    };
    VkResult code =
        vk->vkCreateCommandPool(context->device, &pool, context->allocator, &copier->pool);
    result = dj_context_result(context, code, "vkCreateCommandPool");
    if (result != DJ_SUCCESS) {
        copier->pool = VK_NULL_HANDLE; /* a call that fails leaves its outputs undefined */
        goto fail;
    }
    const VkCommandBufferAllocateInfo command = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
        .commandPool = copier->pool,
        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
        .commandBufferCount = 1,
    };
    code = vk->vkAllocateCommandBuffers(context->device, &command, &copier->command);
    result = dj_context_result(context, code, "vkAllocateCommandBuffers");
    if (result != DJ_SUCCESS)
        goto fail;
    dj_context_name(context, VK_OBJECT_TYPE_COMMAND_BUFFER, (uint64_t)(uintptr_t)copier->command,
                    "dijiang copy");
    const VkFenceCreateInfo fence = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
    code = vk->vkCreateFence(context->device, &fence, context->allocator, &copier->fence);
    result = dj_context_result(context, code, "vkCreateFence");
    if (result != DJ_SUCCESS) {
        copier->fence = VK_NULL_HANDLE;
        goto fail;
    }
    return DJ_SUCCESS;

fail:
    dj_copier_finish(copier);
    return result;
}

/* 1. earlier writes of any work become visible to the copy  2. the copy  3. it becomes visible to
 * all later work and to the host. */
static dj_result record(const struct dj_copier *copier, VkBuffer from, VkBuffer to,
                        const VkBufferCopy *region)
{
    struct dj_context *context = copier->context;
    const struct VolkDeviceTable *vk = &context->vk.device;
    const VkCommandBufferBeginInfo begin = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
        .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT,
    };
    VkResult code = vk->vkBeginCommandBuffer(copier->command, &begin);
    if (code != VK_SUCCESS)
        return dj_context_result(context, code, "vkBeginCommandBuffer");
    /* what else touches buffers; of other stages an engine's own barriers take care */
    const VkPipelineStageFlags users =
        VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT;
    const VkMemoryBarrier before = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
        .dstAccessMask = VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
    };
    vk->vkCmdPipelineBarrier(copier->command, users, VK_PIPELINE_STAGE_TRANSFER_BIT, 0, 1, &before,
                             0, NULL, 0, NULL);
    vk->vkCmdCopyBuffer(copier->command, from, to, 1, region);
    const VkMemoryBarrier after = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT,
        .dstAccessMask = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT |
                         VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT |
                         VK_ACCESS_HOST_READ_BIT,
    };
    vk->vkCmdPipelineBarrier(copier->command, VK_PIPELINE_STAGE_TRANSFER_BIT,
                             users | VK_PIPELINE_STAGE_HOST_BIT, 0, 1, &after, 0, NULL, 0, NULL);
    return dj_context_result(context, vk->vkEndCommandBuffer(copier->command),
                             "vkEndCommandBuffer");
}

dj_result dj_copier_run(const struct dj_copier *copier, VkBuffer from, VkBuffer to,
                        const VkBufferCopy *region)
{
    struct dj_context *context = copier->context;
    const struct VolkDeviceTable *vk = &context->vk.device;
    VkResult code = vk->vkResetCommandPool(context->device, copier->pool, 0);
    if (code != VK_SUCCESS)
        return dj_context_result(context, code, "vkResetCommandPool");
    code = vk->vkResetFences(context->device, 1, &copier->fence);
    if (code != VK_SUCCESS)
        return dj_context_result(context, code, "vkResetFences");
    dj_result result = record(copier, from, to, region);
    if (result != DJ_SUCCESS)
        return result;
    result = dj_context_submit(context, copier->command, copier->fence);
    if (result != DJ_SUCCESS)
        return result;
    code = vk->vkWaitForFences(context->device, 1, &copier->fence, VK_TRUE, UINT64_MAX);
    if (code != VK_SUCCESS)
        dj_context_idle(context);
    return dj_context_waited(context, code);
}
