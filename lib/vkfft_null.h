/* SPDX-License-Identifier: MIT */
/* The Vulkan that VkFFT sees when it generates a recipe: functions of the names and types it calls
 * that touch no device. Buffers are host memory, copies happen when they are recorded, and what a
 * plan would run is noted: shader modules, which buffer each binding is, the dispatch and its push
 * constants. One generation at a time per thread. For lib/vkfft.c alone, before VkFFT's headers. */
#ifndef DJ_LIB_VKFFT_NULL_H
#define DJ_LIB_VKFFT_NULL_H

#include "vkfft.h"

#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum {
    NULL_BINDINGS = 8
};

/* Every block that VkFFT allocates, in one list, so that what it leaks is freed with the rest. */
struct null_block {
    struct null_block *prev, *next;
    _Alignas(16) unsigned char data[];
};

struct null_buffer {
    VkDeviceSize size;
    void *data; /* from the first use on: large temporary buffers are never touched */
};

struct null_device {
    const struct dj_recipe_limits *limits;
    struct null_block *blocks;
    jmp_buf escape; /* where an allocation that fails goes, while escapes is set */
    bool escapes;
    void *program; /* glslang's, the one object of it that lives while VkFFT allocates */
    uint32_t shaders;
    void *words; /* of the last shader module */
    size_t words_size;
    VkBuffer bindings[NULL_BINDINGS];
    uint32_t dispatches;
    uint32_t groups[3]; /* of the last dispatch */
    uint32_t push_size;
    uint8_t push[128];
};

static _Thread_local struct null_device *null_device;

/* VkFFT does not look at all that it allocates, nor undo all that it has done: without memory it is
 * left at once, and what it owns is freed from the list. */
static void *null_malloc(size_t size)
{
    struct null_block *const block =
        size <= PTRDIFF_MAX - sizeof *block ? malloc(sizeof *block + size) : NULL;
    if (block == NULL && null_device->escapes)
        longjmp(null_device->escape, 1);
    if (block == NULL)
        return NULL;
    block->prev = NULL;
    block->next = null_device->blocks;
    if (block->next != NULL)
        block->next->prev = block;
    null_device->blocks = block;
    return block->data;
}

static void *null_calloc(size_t count, size_t size)
{
    if (size != 0 && count > PTRDIFF_MAX / size)
        return NULL;
    void *const data = null_malloc(count * size);
    if (data != NULL)
        memset(data, 0, count * size);
    return data;
}

static void null_free(void *data)
{
    if (data == NULL)
        return;
    struct null_block *const block =
        (struct null_block *)((unsigned char *)data - offsetof(struct null_block, data));
    if (block->prev != NULL)
        block->prev->next = block->next;
    else
        null_device->blocks = block->next;
    if (block->next != NULL)
        block->next->prev = block->prev;
    free(block);
}

static void null_free_all(struct null_device *device)
{
    for (struct null_block *block = device->blocks, *next; block != NULL; block = next) {
        next = block->next;
        free(block);
    }
    device->blocks = NULL;
}

static struct null_buffer *null_buffer_of(VkBuffer buffer)
{
    return (struct null_buffer *)(uintptr_t)buffer;
}

/* Contents of a buffer; NULL without memory. */
static void *null_data(struct null_buffer *buffer)
{
    if (buffer->data == NULL)
        buffer->data = null_calloc(1, buffer->size);
    return buffer->data;
}

/* Handles that stand for nothing. */
#define NULL_HANDLE(type) ((type)(uintptr_t)1)

/* clang-format off */
#define vkAllocateCommandBuffers null_vkAllocateCommandBuffers
#define vkAllocateDescriptorSets null_vkAllocateDescriptorSets
#define vkAllocateMemory null_vkAllocateMemory
#define vkBeginCommandBuffer null_vkBeginCommandBuffer
#define vkBindBufferMemory null_vkBindBufferMemory
#define vkCmdBindDescriptorSets null_vkCmdBindDescriptorSets
#define vkCmdBindPipeline null_vkCmdBindPipeline
#define vkCmdCopyBuffer null_vkCmdCopyBuffer
#define vkCmdDispatch null_vkCmdDispatch
#define vkCmdPipelineBarrier null_vkCmdPipelineBarrier
#define vkCmdPushConstants null_vkCmdPushConstants
#define vkCreateBuffer null_vkCreateBuffer
#define vkCreateComputePipelines null_vkCreateComputePipelines
#define vkCreateDescriptorPool null_vkCreateDescriptorPool
#define vkCreateDescriptorSetLayout null_vkCreateDescriptorSetLayout
#define vkCreatePipelineLayout null_vkCreatePipelineLayout
#define vkCreateShaderModule null_vkCreateShaderModule
#define vkDestroyBuffer null_vkDestroyBuffer
#define vkDestroyDescriptorPool null_vkDestroyDescriptorPool
#define vkDestroyDescriptorSetLayout null_vkDestroyDescriptorSetLayout
#define vkDestroyPipeline null_vkDestroyPipeline
#define vkDestroyPipelineLayout null_vkDestroyPipelineLayout
#define vkDestroyShaderModule null_vkDestroyShaderModule
#define vkEndCommandBuffer null_vkEndCommandBuffer
#define vkFreeCommandBuffers null_vkFreeCommandBuffers
#define vkFreeMemory null_vkFreeMemory
#define vkGetBufferMemoryRequirements null_vkGetBufferMemoryRequirements
#define vkGetPhysicalDeviceMemoryProperties null_vkGetPhysicalDeviceMemoryProperties
#define vkGetPhysicalDeviceProperties null_vkGetPhysicalDeviceProperties
#define vkMapMemory null_vkMapMemory
#define vkQueueSubmit null_vkQueueSubmit
#define vkResetFences null_vkResetFences
#define vkUnmapMemory null_vkUnmapMemory
#define vkUpdateDescriptorSets null_vkUpdateDescriptorSets
#define vkWaitForFences null_vkWaitForFences
/* clang-format on */

/* The functions keep Vulkan's names and signatures (through the renaming above, which keeps them
 * apart from volk's pointers); what a function has no use for it ignores. */
#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
#endif

static void vkGetPhysicalDeviceProperties(VkPhysicalDevice physical,
                                          VkPhysicalDeviceProperties *properties)
{
    const struct dj_recipe_limits *const limits = null_device->limits;
    VkPhysicalDeviceLimits *const out = &properties->limits;
    properties->vendorID = limits->vendor_id;
    out->maxComputeWorkGroupInvocations = limits->max_invocations;
    out->maxComputeSharedMemorySize = limits->shared_memory;
    for (int i = 0; i < 3; i++) {
        /* never split a dispatch: the number of workgroups is ours to bound */
        out->maxComputeWorkGroupCount[i] = INT32_MAX;
        out->maxComputeWorkGroupSize[i] = limits->max_size[i];
    }
}

static void vkGetPhysicalDeviceMemoryProperties(VkPhysicalDevice physical,
                                                VkPhysicalDeviceMemoryProperties *properties)
{
    *properties = (VkPhysicalDeviceMemoryProperties){
        .memoryTypeCount = 1,
        .memoryTypes[0].propertyFlags = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT |
                                        VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT |
                                        VK_MEMORY_PROPERTY_HOST_COHERENT_BIT,
        .memoryHeapCount = 1,
        .memoryHeaps[0].size = UINT64_MAX,
    };
}

static VkResult vkCreateBuffer(VkDevice device, const VkBufferCreateInfo *info,
                               const VkAllocationCallbacks *allocator, VkBuffer *buffer)
{
    struct null_buffer *const made = null_calloc(1, sizeof *made);
    if (made == NULL)
        return VK_ERROR_OUT_OF_HOST_MEMORY;
    made->size = info->size;
    *buffer = (VkBuffer)(uintptr_t)made;
    return VK_SUCCESS;
}

static void vkDestroyBuffer(VkDevice device, VkBuffer buffer,
                            const VkAllocationCallbacks *allocator)
{
    if (buffer == VK_NULL_HANDLE)
        return;
    null_free(null_buffer_of(buffer)->data);
    null_free(null_buffer_of(buffer));
}

static void vkGetBufferMemoryRequirements(VkDevice device, VkBuffer buffer,
                                          VkMemoryRequirements *requirements)
{
    *requirements = (VkMemoryRequirements){
        .size = null_buffer_of(buffer)->size, .alignment = 16, .memoryTypeBits = 1};
}

/* Memory is a cell that names the one buffer bound to it. */
static VkResult vkAllocateMemory(VkDevice device, const VkMemoryAllocateInfo *info,
                                 const VkAllocationCallbacks *allocator, VkDeviceMemory *memory)
{
    struct null_buffer **const cell = null_calloc(1, sizeof(struct null_buffer *));
    *memory = (VkDeviceMemory)(uintptr_t)cell;
    return cell == NULL ? VK_ERROR_OUT_OF_HOST_MEMORY : VK_SUCCESS;
}

static void vkFreeMemory(VkDevice device, VkDeviceMemory memory,
                         const VkAllocationCallbacks *allocator)
{
    null_free((void *)(uintptr_t)memory);
}

static VkResult vkBindBufferMemory(VkDevice device, VkBuffer buffer, VkDeviceMemory memory,
                                   VkDeviceSize offset)
{
    *(struct null_buffer **)(uintptr_t)memory = null_buffer_of(buffer);
    return VK_SUCCESS;
}

static VkResult vkMapMemory(VkDevice device, VkDeviceMemory memory, VkDeviceSize offset,
                            VkDeviceSize size, VkMemoryMapFlags flags, void **data)
{
    unsigned char *const start = null_data(*(struct null_buffer **)(uintptr_t)memory);
    if (start == NULL)
        return VK_ERROR_OUT_OF_HOST_MEMORY;
    *data = start + offset;
    return VK_SUCCESS;
}

static void vkUnmapMemory(VkDevice device, VkDeviceMemory memory)
{
}

static VkResult vkCreateShaderModule(VkDevice device, const VkShaderModuleCreateInfo *info,
                                     const VkAllocationCallbacks *allocator, VkShaderModule *module)
{
    null_free(null_device->words);
    null_device->words = null_malloc(info->codeSize);
    if (info->codeSize == 0 || null_device->words == NULL)
        return VK_ERROR_OUT_OF_HOST_MEMORY;
    memcpy(null_device->words, info->pCode, info->codeSize);
    null_device->words_size = info->codeSize;
    null_device->shaders++;
    *module = NULL_HANDLE(VkShaderModule);
    return VK_SUCCESS;
}

static void vkDestroyShaderModule(VkDevice device, VkShaderModule module,
                                  const VkAllocationCallbacks *allocator)
{
}

static VkResult vkCreatePipelineLayout(VkDevice device, const VkPipelineLayoutCreateInfo *info,
                                       const VkAllocationCallbacks *allocator,
                                       VkPipelineLayout *layout)
{
    *layout = NULL_HANDLE(VkPipelineLayout);
    return VK_SUCCESS;
}

static void vkDestroyPipelineLayout(VkDevice device, VkPipelineLayout layout,
                                    const VkAllocationCallbacks *allocator)
{
}

static VkResult vkCreateComputePipelines(VkDevice device, VkPipelineCache cache, uint32_t count,
                                         const VkComputePipelineCreateInfo *infos,
                                         const VkAllocationCallbacks *allocator,
                                         VkPipeline *pipelines)
{
    for (uint32_t i = 0; i < count; i++)
        pipelines[i] = NULL_HANDLE(VkPipeline);
    return VK_SUCCESS;
}

static void vkDestroyPipeline(VkDevice device, VkPipeline pipeline,
                              const VkAllocationCallbacks *allocator)
{
}

static VkResult vkCreateDescriptorSetLayout(VkDevice device,
                                            const VkDescriptorSetLayoutCreateInfo *info,
                                            const VkAllocationCallbacks *allocator,
                                            VkDescriptorSetLayout *layout)
{
    *layout = NULL_HANDLE(VkDescriptorSetLayout);
    return VK_SUCCESS;
}

static void vkDestroyDescriptorSetLayout(VkDevice device, VkDescriptorSetLayout layout,
                                         const VkAllocationCallbacks *allocator)
{
}

static VkResult vkCreateDescriptorPool(VkDevice device, const VkDescriptorPoolCreateInfo *info,
                                       const VkAllocationCallbacks *allocator,
                                       VkDescriptorPool *pool)
{
    *pool = NULL_HANDLE(VkDescriptorPool);
    return VK_SUCCESS;
}

static void vkDestroyDescriptorPool(VkDevice device, VkDescriptorPool pool,
                                    const VkAllocationCallbacks *allocator)
{
}

static VkResult vkAllocateDescriptorSets(VkDevice device, const VkDescriptorSetAllocateInfo *info,
                                         VkDescriptorSet *sets)
{
    for (uint32_t i = 0; i < info->descriptorSetCount; i++)
        sets[i] = NULL_HANDLE(VkDescriptorSet);
    return VK_SUCCESS;
}

static void vkUpdateDescriptorSets(VkDevice device, uint32_t write_count,
                                   const VkWriteDescriptorSet *writes, uint32_t copy_count,
                                   const VkCopyDescriptorSet *copies)
{
    for (uint32_t i = 0; i < write_count; i++) {
        if (writes[i].dstBinding < NULL_BINDINGS)
            null_device->bindings[writes[i].dstBinding] = writes[i].pBufferInfo[0].buffer;
    }
}

static VkResult vkAllocateCommandBuffers(VkDevice device, const VkCommandBufferAllocateInfo *info,
                                         VkCommandBuffer *buffers)
{
    for (uint32_t i = 0; i < info->commandBufferCount; i++)
        buffers[i] = NULL_HANDLE(VkCommandBuffer);
    return VK_SUCCESS;
}

static void vkFreeCommandBuffers(VkDevice device, VkCommandPool pool, uint32_t count,
                                 const VkCommandBuffer *buffers)
{
}

static VkResult vkBeginCommandBuffer(VkCommandBuffer commands, const VkCommandBufferBeginInfo *info)
{
    return VK_SUCCESS;
}

static VkResult vkEndCommandBuffer(VkCommandBuffer commands)
{
    return VK_SUCCESS;
}

static void vkCmdCopyBuffer(VkCommandBuffer commands, VkBuffer from, VkBuffer to, uint32_t count,
                            const VkBufferCopy *regions)
{
    const unsigned char *const source = null_data(null_buffer_of(from));
    unsigned char *const target = null_data(null_buffer_of(to));
    for (uint32_t i = 0; source != NULL && target != NULL && i < count; i++)
        memcpy(target + regions[i].dstOffset, source + regions[i].srcOffset, regions[i].size);
}

static void vkCmdBindPipeline(VkCommandBuffer commands, VkPipelineBindPoint point,
                              VkPipeline pipeline)
{
}

static void vkCmdBindDescriptorSets(VkCommandBuffer commands, VkPipelineBindPoint point,
                                    VkPipelineLayout layout, uint32_t first, uint32_t count,
                                    const VkDescriptorSet *sets, uint32_t offset_count,
                                    const uint32_t *offsets)
{
}

static void vkCmdPushConstants(VkCommandBuffer commands, VkPipelineLayout layout,
                               VkShaderStageFlags stages, uint32_t offset, uint32_t size,
                               const void *values)
{
    if (offset > sizeof null_device->push || size > sizeof null_device->push - offset)
        return;
    memcpy(null_device->push + offset, values, size);
    null_device->push_size = offset + size;
}

static void vkCmdDispatch(VkCommandBuffer commands, uint32_t x, uint32_t y, uint32_t z)
{
    null_device->dispatches++;
    null_device->groups[0] = x;
    null_device->groups[1] = y;
    null_device->groups[2] = z;
}

static void vkCmdPipelineBarrier(VkCommandBuffer commands, VkPipelineStageFlags before,
                                 VkPipelineStageFlags after, VkDependencyFlags flags,
                                 uint32_t memory_count, const VkMemoryBarrier *memory,
                                 uint32_t buffer_count, const VkBufferMemoryBarrier *buffers,
                                 uint32_t image_count, const VkImageMemoryBarrier *images)
{
}

static VkResult vkQueueSubmit(VkQueue queue, uint32_t count, const VkSubmitInfo *submits,
                              VkFence fence)
{
    return VK_SUCCESS;
}

static VkResult vkWaitForFences(VkDevice device, uint32_t count, const VkFence *fences,
                                VkBool32 all, uint64_t timeout)
{
    return VK_SUCCESS;
}

static VkResult vkResetFences(VkDevice device, uint32_t count, const VkFence *fences)
{
    return VK_SUCCESS;
}

#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

#endif
