/* SPDX-License-Identifier: MIT */
/* The null device's command buffers, descriptors and queue. */
#include "null_inside.h"

static VKAPI_ATTR VkResult VKAPI_CALL
null_vkCreateCommandPool(VkDevice device, const VkCommandPoolCreateInfo *info,
                         const VkAllocationCallbacks *callbacks, VkCommandPool *handle)
{
    struct null_device *const owner = NULL_DEVICE_OF(device);
    NULL_ENTER_MAKING(vkCreateCommandPool, owner, handle, sizeof *handle);
    if (info->queueFamilyIndex >= NULL_MOST_FAMILIES ||
        !(owner->families >> info->queueFamilyIndex & 1))
        null_misuse("vkCreateCommandPool: no queue family %u", info->queueFamilyIndex);
    struct null_command_pool *const pool =
        null_object_create(NULL_OBJECT_COMMAND_POOL, sizeof *pool, &owner->object, callbacks);
    if (pool == NULL)
        return VK_ERROR_OUT_OF_HOST_MEMORY;
    pool->family = info->queueFamilyIndex;
    *handle = NULL_HANDLE_OF(VkCommandPool, pool);
    return VK_SUCCESS;
}
NULL_PROVIDE(vkCreateCommandPool)

static void free_first(struct null_command_pool *pool)
{
    struct null_command_buffer *const dead = pool->buffers;
    pool->buffers = dead->next;
    null_object_destroy(&dead->object, pool->object.custom ? &pool->object.callbacks : NULL);
}

static VKAPI_ATTR void VKAPI_CALL null_vkDestroyCommandPool(VkDevice device, VkCommandPool handle,
                                                            const VkAllocationCallbacks *callbacks)
{
    (void)device;
    NULL_ENTER(vkDestroyCommandPool);
    if (handle == VK_NULL_HANDLE)
        return;
    struct null_command_pool *const pool = NULL_OF(handle, COMMAND_POOL);
    while (pool->buffers != NULL)
        free_first(pool);
    null_object_destroy(&pool->object, callbacks);
}
NULL_PROVIDE(vkDestroyCommandPool)

static VKAPI_ATTR VkResult VKAPI_CALL null_vkAllocateCommandBuffers(
    VkDevice device, const VkCommandBufferAllocateInfo *info, VkCommandBuffer *handles)
{
    struct null_device *const owner = NULL_DEVICE_OF(device);
    NULL_ENTER_MAKING(vkAllocateCommandBuffers, owner, handles,
                      info->commandBufferCount * sizeof *handles);
    struct null_command_pool *const pool = NULL_OF(info->commandPool, COMMAND_POOL);
    pool->object.touched++;
    if (info->commandBufferCount != 1)
        null_misuse("vkAllocateCommandBuffers: %u at once", info->commandBufferCount);
    struct null_command_buffer *const made =
        null_object_create(NULL_OBJECT_COMMAND_BUFFER, sizeof *made, &owner->object,
                           pool->object.custom ? &pool->object.callbacks : NULL);
    if (made == NULL)
        return VK_ERROR_OUT_OF_HOST_MEMORY;
    made->pool = pool;
    made->next = pool->buffers;
    pool->buffers = made;
    handles[0] = NULL_HANDLE_OF(VkCommandBuffer, made);
    return VK_SUCCESS;
}
NULL_PROVIDE(vkAllocateCommandBuffers)

static VKAPI_ATTR void VKAPI_CALL null_vkFreeCommandBuffers(VkDevice device, VkCommandPool handle,
                                                            uint32_t count,
                                                            const VkCommandBuffer *handles)
{
    (void)device;
    NULL_ENTER(vkFreeCommandBuffers);
    struct null_command_pool *const pool = NULL_OF(handle, COMMAND_POOL);
    pool->object.touched++;
    for (uint32_t i = 0; i < count; i++) {
        struct null_command_buffer *const dead = NULL_OF(handles[i], COMMAND_BUFFER);
        struct null_command_buffer **link = &pool->buffers;
        while (*link != dead)
            link = &(*link)->next;
        *link = dead->next;
        dead->next = pool->buffers;
        pool->buffers = dead;
        free_first(pool);
    }
}
NULL_PROVIDE(vkFreeCommandBuffers)

static VKAPI_ATTR VkResult VKAPI_CALL null_vkResetCommandPool(VkDevice device, VkCommandPool handle,
                                                              VkCommandPoolResetFlags flags)
{
    (void)flags;
    NULL_ENTER_FALLIBLE(vkResetCommandPool, NULL_DEVICE_OF(device));
    struct null_command_pool *const pool = NULL_OF(handle, COMMAND_POOL);
    pool->object.touched++;
    for (struct null_command_buffer *each = pool->buffers; each != NULL; each = each->next)
        each->state = NULL_INITIAL;
    return VK_SUCCESS;
}
NULL_PROVIDE(vkResetCommandPool)

static VKAPI_ATTR VkResult VKAPI_CALL
null_vkBeginCommandBuffer(VkCommandBuffer handle, const VkCommandBufferBeginInfo *info)
{
    struct null_command_buffer *const commands = NULL_OF(handle, COMMAND_BUFFER);
    NULL_ENTER_FALLIBLE(vkBeginCommandBuffer, (struct null_device *)commands->object.parent);
    commands->pool->object.touched++;
    if (commands->state != NULL_INITIAL)
        null_misuse("vkBeginCommandBuffer: the command buffer was not reset");
    commands->state = NULL_RECORDING;
    commands->once = info->flags & VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT;
    commands->bound = false;
    commands->pipeline = NULL;
    memset(commands->bindings, 0, sizeof commands->bindings);
    memset(commands->push, 0, sizeof commands->push);
    return VK_SUCCESS;
}
NULL_PROVIDE(vkBeginCommandBuffer)

static VKAPI_ATTR VkResult VKAPI_CALL null_vkEndCommandBuffer(VkCommandBuffer handle)
{
    struct null_command_buffer *const commands = NULL_OF(handle, COMMAND_BUFFER);
    NULL_ENTER_FALLIBLE(vkEndCommandBuffer, (struct null_device *)commands->object.parent);
    commands->pool->object.touched++;
    if (commands->state != NULL_RECORDING)
        null_misuse("vkEndCommandBuffer: the command buffer is not recording");
    commands->state = NULL_EXECUTABLE;
    return VK_SUCCESS;
}
NULL_PROVIDE(vkEndCommandBuffer)

struct null_command_buffer *null_recording(VkCommandBuffer handle, const char *function)
{
    struct null_command_buffer *const commands =
        null_object_of((uint64_t)(uintptr_t)handle, NULL_OBJECT_COMMAND_BUFFER, function);
    commands->object.touched++;
    commands->pool->object.touched++;
    if (commands->state != NULL_RECORDING)
        null_misuse("%s: the command buffer is not recording", function);
    return commands;
}

/* A buffer that some families share is used by a command buffer of one of them. */
static void check_family(const struct null_command_buffer *commands, const char *function,
                         uint32_t families)
{
    if (families != 0 && !(families >> commands->pool->family & 1))
        null_misuse("%s: a buffer that family %u does not share", function, commands->pool->family);
}

static VKAPI_ATTR VkResult VKAPI_CALL
null_vkCreateDescriptorPool(VkDevice device, const VkDescriptorPoolCreateInfo *info,
                            const VkAllocationCallbacks *callbacks, VkDescriptorPool *handle)
{
    struct null_device *const owner = NULL_DEVICE_OF(device);
    NULL_ENTER_MAKING(vkCreateDescriptorPool, owner, handle, sizeof *handle);
    struct null_descriptor_pool *const pool = null_object_create(
        NULL_OBJECT_DESCRIPTOR_POOL, sizeof *pool + (size_t)info->maxSets * sizeof *pool->sets,
        &owner->object, callbacks);
    if (pool == NULL)
        return VK_ERROR_OUT_OF_HOST_MEMORY;
    pool->capacity = info->maxSets;
    for (uint32_t i = 0; i < info->poolSizeCount; i++)
        pool->descriptors += info->pPoolSizes[i].descriptorCount;
    *handle = NULL_HANDLE_OF(VkDescriptorPool, pool);
    return VK_SUCCESS;
}
NULL_PROVIDE(vkCreateDescriptorPool)

static VKAPI_ATTR void VKAPI_CALL null_vkDestroyDescriptorPool(
    VkDevice device, VkDescriptorPool handle, const VkAllocationCallbacks *callbacks)
{
    (void)device;
    NULL_ENTER(vkDestroyDescriptorPool);
    if (handle != VK_NULL_HANDLE)
        null_object_destroy(NULL_OF(handle, DESCRIPTOR_POOL), callbacks);
}
NULL_PROVIDE(vkDestroyDescriptorPool)

static VKAPI_ATTR VkResult VKAPI_CALL null_vkAllocateDescriptorSets(
    VkDevice device, const VkDescriptorSetAllocateInfo *info, VkDescriptorSet *handles)
{
    struct null_device *const owner = NULL_DEVICE_OF(device);
    NULL_ENTER_MAKING(vkAllocateDescriptorSets, owner, handles,
                      info->descriptorSetCount * sizeof *handles);
    struct null_descriptor_pool *const pool = NULL_OF(info->descriptorPool, DESCRIPTOR_POOL);
    pool->object.touched++;
    for (uint32_t i = 0; i < info->descriptorSetCount; i++) {
        const struct null_set_layout *const layout = NULL_OF(info->pSetLayouts[i], SET_LAYOUT);
        if (pool->used == pool->capacity || layout->count > pool->descriptors)
            return VK_ERROR_OUT_OF_POOL_MEMORY;
        if (layout->push)
            null_misuse("vkAllocateDescriptorSets: a layout for push descriptors");
        struct null_set *const set = &pool->sets[pool->used++];
        pool->descriptors -= layout->count;
        *set = (struct null_set){.device = owner, .count = layout->count};
        handles[i] = NULL_HANDLE_OF(VkDescriptorSet, set);
    }
    return VK_SUCCESS;
}
NULL_PROVIDE(vkAllocateDescriptorSets)

/* Checks one written descriptor and keeps where it points. */
static void write_binding(const struct null_device *device, const char *function, uint32_t count,
                          const VkWriteDescriptorSet *write, struct null_binding *bindings)
{
    if (write->dstBinding >= count || write->descriptorCount != 1 || write->dstArrayElement != 0 ||
        write->descriptorType != VK_DESCRIPTOR_TYPE_STORAGE_BUFFER) {
        null_misuse("%s: binding %u is not one storage buffer of the layout's %u", function,
                    write->dstBinding, count);
        return;
    }
    const VkDescriptorBufferInfo *const info = write->pBufferInfo;
    const struct null_buffer *const buffer =
        null_object_of((uint64_t)(uintptr_t)info->buffer, NULL_OBJECT_BUFFER, function);
    const uint64_t range = info->range == VK_WHOLE_SIZE ? buffer->size - info->offset : info->range;
    if (buffer->object.parent != &device->object || buffer->memory == NULL ||
        !(buffer->usage & VK_BUFFER_USAGE_STORAGE_BUFFER_BIT))
        null_misuse("%s: binding %u: a buffer of another device, without memory, or not for "
                    "storage",
                    function, write->dstBinding);
    else if (info->offset >= buffer->size || range == 0 || range > buffer->size - info->offset)
        null_misuse("%s: binding %u: %llu bytes at %llu of a buffer of %llu", function,
                    write->dstBinding, (unsigned long long)info->range,
                    (unsigned long long)info->offset, (unsigned long long)buffer->size);
    else if (range > device->settings->storage_range)
        null_misuse("%s: binding %u: a range of %llu bytes, the device's is %llu", function,
                    write->dstBinding, (unsigned long long)range,
                    (unsigned long long)device->settings->storage_range);
    else if (info->offset % device->settings->offset_alignment != 0)
        null_misuse("%s: binding %u: offset %llu is no multiple of %llu", function,
                    write->dstBinding, (unsigned long long)info->offset,
                    (unsigned long long)device->settings->offset_alignment);
    else
        bindings[write->dstBinding] = (struct null_binding){
            (char *)buffer->memory->data + buffer->offset + info->offset, range, buffer->families};
}

static VKAPI_ATTR void VKAPI_CALL null_vkUpdateDescriptorSets(VkDevice device, uint32_t count,
                                                              const VkWriteDescriptorSet *writes,
                                                              uint32_t copy_count,
                                                              const VkCopyDescriptorSet *copies)
{
    (void)copies;
    NULL_ENTER(vkUpdateDescriptorSets);
    if (copy_count > 0)
        null_misuse("vkUpdateDescriptorSets: copies");
    for (uint32_t i = 0; i < count; i++) {
        struct null_set *const set = (struct null_set *)(uintptr_t)writes[i].dstSet;
        set->touched++;
        if (set->device != NULL_DEVICE_OF(device))
            null_misuse("vkUpdateDescriptorSets: a set of another device");
        write_binding(set->device, __func__, set->count, &writes[i], set->bindings);
    }
}
NULL_PROVIDE(vkUpdateDescriptorSets)

static VKAPI_ATTR void VKAPI_CALL null_vkCmdBindDescriptorSets(
    VkCommandBuffer handle, VkPipelineBindPoint point, VkPipelineLayout layout_handle,
    uint32_t first, uint32_t count, const VkDescriptorSet *sets, uint32_t offset_count,
    const uint32_t *offsets)
{
    (void)offsets;
    NULL_ENTER(vkCmdBindDescriptorSets);
    struct null_command_buffer *const commands = null_recording(handle, __func__);
    const struct null_pipeline_layout *const layout = NULL_OF(layout_handle, PIPELINE_LAYOUT);
    if (point != VK_PIPELINE_BIND_POINT_COMPUTE || first != 0 || count != 1 || offset_count != 0 ||
        !layout->has_set || layout->set.push) {
        null_misuse("vkCmdBindDescriptorSets: not one plain set for compute");
        return;
    }
    const struct null_set *const set = (const struct null_set *)(uintptr_t)sets[0];
    commands->bound = true;
    memcpy(commands->bindings, set->bindings, sizeof commands->bindings);
}
NULL_PROVIDE(vkCmdBindDescriptorSets)

static VKAPI_ATTR void VKAPI_CALL null_vkCmdPushDescriptorSetKHR(VkCommandBuffer handle,
                                                                 VkPipelineBindPoint point,
                                                                 VkPipelineLayout layout_handle,
                                                                 uint32_t set, uint32_t count,
                                                                 const VkWriteDescriptorSet *writes)
{
    NULL_ENTER(vkCmdPushDescriptorSetKHR);
    struct null_command_buffer *const commands = null_recording(handle, __func__);
    const struct null_pipeline_layout *const layout = NULL_OF(layout_handle, PIPELINE_LAYOUT);
    if (point != VK_PIPELINE_BIND_POINT_COMPUTE || set != 0 || !layout->set.push || count == 0)
        null_misuse("vkCmdPushDescriptorSetKHR: not some of a push set for compute");
    commands->bound = true;
    for (uint32_t i = 0; i < count; i++)
        write_binding((const struct null_device *)commands->object.parent, __func__,
                      layout->set.count, &writes[i], commands->bindings);
}
NULL_PROVIDE(vkCmdPushDescriptorSetKHR)

static VKAPI_ATTR void VKAPI_CALL null_vkCmdBindPipeline(VkCommandBuffer handle,
                                                         VkPipelineBindPoint point,
                                                         VkPipeline pipeline)
{
    NULL_ENTER(vkCmdBindPipeline);
    struct null_command_buffer *const commands = null_recording(handle, __func__);
    if (point != VK_PIPELINE_BIND_POINT_COMPUTE)
        null_misuse("vkCmdBindPipeline: not for compute");
    commands->pipeline = NULL_OF(pipeline, PIPELINE);
}
NULL_PROVIDE(vkCmdBindPipeline)

static VKAPI_ATTR void VKAPI_CALL null_vkCmdPushConstants(VkCommandBuffer handle,
                                                          VkPipelineLayout layout_handle,
                                                          VkShaderStageFlags stages,
                                                          uint32_t offset, uint32_t size,
                                                          const void *values)
{
    NULL_ENTER(vkCmdPushConstants);
    struct null_command_buffer *const commands = null_recording(handle, __func__);
    const struct null_pipeline_layout *const layout = NULL_OF(layout_handle, PIPELINE_LAYOUT);
    if (stages != VK_SHADER_STAGE_COMPUTE_BIT || offset % 4 != 0 || size % 4 != 0 || size == 0 ||
        values == NULL || offset > layout->push || size > layout->push - offset)
        null_misuse("vkCmdPushConstants: %u bytes at %u, the layout has %u", size, offset,
                    layout->push);
    else if (size <= NULL_MOST_PUSH && offset <= NULL_MOST_PUSH - size)
        memcpy(commands->push + offset, values, size);
    null_count_recorded(0, 0, 1, 0);
}
NULL_PROVIDE(vkCmdPushConstants)

static VKAPI_ATTR void VKAPI_CALL null_vkCmdDispatch(VkCommandBuffer handle, uint32_t x, uint32_t y,
                                                     uint32_t z)
{
    NULL_ENTER(vkCmdDispatch);
    struct null_command_buffer *const commands = null_recording(handle, __func__);
    const uint32_t *const most =
        ((const struct null_device *)commands->object.parent)->settings->max_workgroups;
    if (commands->pipeline == NULL)
        null_misuse("vkCmdDispatch: no pipeline is bound");
    else if (commands->pipeline->bindings != 0 && !commands->bound)
        null_misuse("vkCmdDispatch: no descriptors are bound");
    if (x > most[0] || y > most[1] || z > most[2])
        null_misuse("vkCmdDispatch: %u x %u x %u workgroups", x, y, z);
    for (uint32_t i = 0; commands->pipeline != NULL && i < NULL_MOST_BINDINGS; i++) {
        if (commands->pipeline->bindings >> i & 1)
            check_family(commands, __func__, commands->bindings[i].families);
    }
    null_count_recorded(1, 0, 0, 0);
    if (null_on_dispatch == NULL)
        return;
    struct null_dispatch dispatch = {
        .pipeline = NULL_HANDLE_OF(VkPipeline, commands->pipeline),
        .bindings = commands->pipeline != NULL ? commands->pipeline->bindings : 0,
        .groups = {x, y, z}};
    memcpy(dispatch.push, commands->push, sizeof dispatch.push);
    for (int i = 0; i < NULL_MOST_BINDINGS; i++) {
        dispatch.data[i] = commands->bindings[i].data;
        dispatch.range[i] = commands->bindings[i].range;
    }
    null_on_dispatch(&dispatch);
}
NULL_PROVIDE(vkCmdDispatch)

static VKAPI_ATTR void VKAPI_CALL null_vkCmdPipelineBarrier(
    VkCommandBuffer handle, VkPipelineStageFlags before, VkPipelineStageFlags after,
    VkDependencyFlags flags, uint32_t memory_count, const VkMemoryBarrier *memory,
    uint32_t buffer_count, const VkBufferMemoryBarrier *buffers, uint32_t image_count,
    const VkImageMemoryBarrier *images)
{
    (void)flags;
    (void)memory;
    (void)memory_count;
    (void)buffers;
    (void)buffer_count;
    (void)images;
    NULL_ENTER(vkCmdPipelineBarrier);
    (void)null_recording(handle, __func__);
    if (before == 0 || after == 0 || image_count != 0)
        null_misuse("vkCmdPipelineBarrier: no stages, or images");
    null_count_recorded(0, 1, 0, 0);
}
NULL_PROVIDE(vkCmdPipelineBarrier)

static VKAPI_ATTR void VKAPI_CALL null_vkCmdCopyBuffer(VkCommandBuffer handle, VkBuffer from_handle,
                                                       VkBuffer to_handle, uint32_t count,
                                                       const VkBufferCopy *regions)
{
    NULL_ENTER(vkCmdCopyBuffer);
    const struct null_command_buffer *const commands = null_recording(handle, __func__);
    const struct null_buffer *const from = NULL_OF(from_handle, BUFFER);
    const struct null_buffer *const to = NULL_OF(to_handle, BUFFER);
    if (!(from->usage & VK_BUFFER_USAGE_TRANSFER_SRC_BIT) ||
        !(to->usage & VK_BUFFER_USAGE_TRANSFER_DST_BIT))
        null_misuse("vkCmdCopyBuffer: a buffer not for transfers");
    check_family(commands, __func__, from->families);
    if (to != from)
        check_family(commands, __func__, to->families);
    for (uint32_t i = 0; i < count; i++) {
        const VkBufferCopy *const region = &regions[i];
        if (region->size == 0 || region->srcOffset > from->size ||
            region->size > from->size - region->srcOffset || region->dstOffset > to->size ||
            region->size > to->size - region->dstOffset)
            null_misuse("vkCmdCopyBuffer: a region outside its buffers");
    }
    null_count_recorded(0, 0, 0, 1);
}
NULL_PROVIDE(vkCmdCopyBuffer)

static VKAPI_ATTR VkResult VKAPI_CALL null_vkQueueSubmit(VkQueue handle, uint32_t count,
                                                         const VkSubmitInfo *submits,
                                                         VkFence fence_handle)
{
    struct null_queue *const queue = (struct null_queue *)(uintptr_t)handle;
    queue->submissions++;
    NULL_ENTER_FALLIBLE(vkQueueSubmit, queue->device);
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t j = 0; j < submits[i].commandBufferCount; j++) {
            struct null_command_buffer *const commands =
                NULL_OF(submits[i].pCommandBuffers[j], COMMAND_BUFFER);
            if (commands->state != NULL_EXECUTABLE)
                null_misuse("vkQueueSubmit: a command buffer that was not ended, or submitted "
                            "before");
            if (commands->pool->family != queue->family)
                null_misuse("vkQueueSubmit: a command buffer of family %u on a queue of %u",
                            commands->pool->family, queue->family);
            commands->state = commands->once ? NULL_INVALID : NULL_EXECUTABLE;
        }
    }
    if (fence_handle != VK_NULL_HANDLE) {
        struct null_fence *const fence = NULL_OF(fence_handle, FENCE);
        fence->object.touched++;
        if (fence->signalled)
            null_misuse("vkQueueSubmit: the fence was not reset");
        fence->signalled = true;
    }
    return VK_SUCCESS;
}
NULL_PROVIDE(vkQueueSubmit)

static VKAPI_ATTR VkResult VKAPI_CALL null_vkQueueWaitIdle(VkQueue handle)
{
    struct null_queue *const queue = (struct null_queue *)(uintptr_t)handle;
    queue->submissions++; /* nobody else may use the queue meanwhile */
    return null_enter_fallible(NULL_vkQueueWaitIdle, queue->device);
}
NULL_PROVIDE(vkQueueWaitIdle)

static VKAPI_ATTR VkResult VKAPI_CALL null_vkDeviceWaitIdle(VkDevice handle)
{
    struct null_device *const device = NULL_DEVICE_OF(handle);
    for (uint32_t i = 0; i < NULL_MOST_FAMILIES; i++)
        device->queues[i].submissions++;
    return null_enter_fallible(NULL_vkDeviceWaitIdle, device);
}
NULL_PROVIDE(vkDeviceWaitIdle)

static VKAPI_ATTR VkResult VKAPI_CALL null_vkResetFences(VkDevice device, uint32_t count,
                                                         const VkFence *handles)
{
    NULL_ENTER_FALLIBLE(vkResetFences, NULL_DEVICE_OF(device));
    for (uint32_t i = 0; i < count; i++) {
        struct null_fence *const fence = NULL_OF(handles[i], FENCE);
        fence->object.touched++;
        fence->signalled = false;
    }
    return VK_SUCCESS;
}
NULL_PROVIDE(vkResetFences)

static VKAPI_ATTR VkResult VKAPI_CALL null_vkWaitForFences(VkDevice device, uint32_t count,
                                                           const VkFence *handles, VkBool32 all,
                                                           uint64_t timeout)
{
    (void)all;
    NULL_ENTER_FALLIBLE(vkWaitForFences, NULL_DEVICE_OF(device));
    for (uint32_t i = 0; i < count; i++) {
        if (((const struct null_fence *)NULL_OF(handles[i], FENCE))->signalled)
            continue;
        if (timeout == UINT64_MAX)
            null_misuse("vkWaitForFences: for ever, for what was never submitted");
        return VK_TIMEOUT;
    }
    return VK_SUCCESS;
}
NULL_PROVIDE(vkWaitForFences)
