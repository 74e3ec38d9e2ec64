/* SPDX-License-Identifier: MIT */
#include "buffer.h"
#include "copier.h"
#include "memory.h"
#include "size.h"

#include <dijiang/vulkan.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    ALIGNMENT = 16 /* of what kernels load by four floats: scratch memory, slots, rows of chunks */
};

/* What an allocation says if its buffer is to have an address. */
static const VkMemoryAllocateFlagsInfo addressed = {
    .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO,
    .flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT,
};

static VkDeviceAddress address_get(const struct dj_context *context, VkBuffer buffer)
{
    const struct VolkDeviceTable *vk = &context->vk.device;
    const VkBufferDeviceAddressInfo info = {.sType = VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO,
                                            .buffer = buffer};
    return vk->vkGetBufferDeviceAddressKHR ? vk->vkGetBufferDeviceAddressKHR(context->device, &info)
                                           : vk->vkGetBufferDeviceAddress(context->device, &info);
}

/* Allocates from the best type that has room; sets *type. */
static dj_result memory_allocate(struct dj_buffer *buffer, uint32_t memory,
                                 const VkMemoryRequirements *need, uint32_t *type)
{
    struct dj_context *context = buffer->context;
    const struct VolkDeviceTable *vk = &context->vk.device;
    const uint32_t first = dj_memory_type(context, memory, need->memoryTypeBits, need->size);
    if (first == UINT32_MAX)
        return dj_fail(&context->log, DJ_ERROR_LIMIT,
                       "a buffer of %" PRIu64 " bytes is larger than any heap it could lie in",
                       need->size);
    uint32_t mask = need->memoryTypeBits;
    VkResult code;
    do {
        *type = dj_memory_type(context, memory, mask, need->size);
        if (*type == UINT32_MAX)
            break;
        mask &= ~(1u << *type);
        const VkMemoryAllocateInfo info = {
            .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
            .pNext = context->device_addresses ? &addressed : NULL,
            .allocationSize = need->size,
            .memoryTypeIndex = *type,
        };
        code = vk->vkAllocateMemory(context->device, &info, context->allocator, &buffer->memory);
        if (code == VK_SUCCESS) {
            const VkMemoryPropertyFlags lost = context->memory.memoryTypes[first].propertyFlags &
                                               ~context->memory.memoryTypes[*type].propertyFlags;
            if (lost & VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT)
                dj_log_line(&context->log,
                            memory == DJ_MEMORY_TABLE ? DJ_LOG_DEBUG : DJ_LOG_WARNING,
                            "device-local memory is full: %" PRIu64 " bytes lie in host memory",
                            need->size);
            return DJ_SUCCESS;
        }
        buffer->memory = VK_NULL_HANDLE;
    } while (code == VK_ERROR_OUT_OF_DEVICE_MEMORY);
    if (*type == UINT32_MAX || code == VK_ERROR_OUT_OF_DEVICE_MEMORY)
        return dj_fail(&context->log, DJ_ERROR_OUT_OF_DEVICE_MEMORY,
                       "vkAllocateMemory: no memory for a buffer of %" PRIu64 " bytes", need->size);
    return dj_context_result(context, code, "vkAllocateMemory");
}

/* Makes, binds and maps the memory of a buffer with a size; on failure the caller destroys it. */
static dj_result buffer_fill(struct dj_buffer *buffer, uint32_t memory, const char *name)
{
    struct dj_context *context = buffer->context;
    const struct VolkDeviceTable *vk = &context->vk.device;
    const VkBufferCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
        .size = dj_round_up(buffer->size, 4), /* kernels read whole words */
        .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT |
                 VK_BUFFER_USAGE_TRANSFER_DST_BIT |
                 (context->device_addresses ? VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT : 0),
        .sharingMode =
            context->family_count > 1 ? VK_SHARING_MODE_CONCURRENT : VK_SHARING_MODE_EXCLUSIVE,
        .queueFamilyIndexCount = context->family_count > 1 ? context->family_count : 0,
        .pQueueFamilyIndices = context->families,
    };
    buffer->usage = info.usage;
    VkResult code = vk->vkCreateBuffer(context->device, &info, context->allocator, &buffer->handle);
    if (code != VK_SUCCESS) {
        buffer->handle = VK_NULL_HANDLE;
        return dj_context_result(context, code, "vkCreateBuffer");
    }
    dj_context_name(context, VK_OBJECT_TYPE_BUFFER, (uint64_t)buffer->handle, name);

    VkMemoryRequirements need;
    vk->vkGetBufferMemoryRequirements(context->device, buffer->handle, &need);
    if (need.size > context->info.max_allocation)
        return dj_fail(&context->log, DJ_ERROR_LIMIT,
                       "a buffer of %" PRIu64 " bytes takes %" PRIu64
                       "; the device's largest allocation is %" PRIu64,
                       buffer->size, need.size, context->info.max_allocation);
    buffer->memory_types = need.memoryTypeBits;
    uint32_t type = 0;
    dj_result result = memory_allocate(buffer, memory, &need, &type);
    if (result != DJ_SUCCESS)
        return result;
    dj_context_name(context, VK_OBJECT_TYPE_DEVICE_MEMORY, (uint64_t)buffer->memory, name);
    code = vk->vkBindBufferMemory(context->device, buffer->handle, buffer->memory, 0);
    if (code != VK_SUCCESS)
        return dj_context_result(context, code, "vkBindBufferMemory");
    if (context->device_addresses)
        buffer->address = address_get(context, buffer->handle);

    const VkMemoryType *chosen = &context->memory.memoryTypes[type];
    const VkMemoryPropertyFlags coherent =
        VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    if ((chosen->propertyFlags & coherent) != coherent ||
        (memory == DJ_MEMORY_DEVICE && !dj_memory_mapping_is_free(context, chosen->heapIndex)))
        return DJ_SUCCESS;
    buffer->host_cached = chosen->propertyFlags & VK_MEMORY_PROPERTY_HOST_CACHED_BIT;
    code = vk->vkMapMemory(context->device, buffer->memory, 0, VK_WHOLE_SIZE, 0, &buffer->mapped);
    if (code != VK_SUCCESS)
        buffer->mapped = NULL;
    return dj_context_result(context, code, "vkMapMemory");
}

static dj_result buffer_create(struct dj_context *context, uint64_t size, uint32_t memory,
                               const char *name, struct dj_buffer **buffer)
{
    *buffer = NULL;
    dj_result result = dj_context_check(context);
    if (result != DJ_SUCCESS)
        return result;
    if (size > context->info.max_allocation || size > UINT64_MAX - 3) /* whole words */
        return dj_fail(&context->log, DJ_ERROR_LIMIT,
                       "a buffer of %" PRIu64 " bytes exceeds the device's largest allocation of "
                       "%" PRIu64,
                       size, context->info.max_allocation);
    struct dj_buffer *made = calloc(1, sizeof(*made));
    if (!made)
        return dj_fail(&context->log, DJ_ERROR_OUT_OF_HOST_MEMORY, "no memory for a buffer");
    made->context = context;
    made->size = size;
    atomic_fetch_add(&context->buffers, 1);
    if (size > 0)
        result = buffer_fill(made, memory, name);
    if (result != DJ_SUCCESS)
        goto fail;
    *buffer = made;
    return DJ_SUCCESS;

fail:
    dj_buffer_destroy(&made);
    return result;
}

dj_result dj_buffer_create_named(struct dj_context *context, uint64_t size, uint32_t memory,
                                 const char *name, struct dj_buffer **buffer)
{
    return buffer_create(context, size, memory, name, buffer);
}

dj_result dj_buffer_create_table(struct dj_context *context, const void *data, uint64_t size,
                                 const char *name, struct dj_buffer **buffer)
{
    const dj_result result = buffer_create(context, size, DJ_MEMORY_TABLE, name, buffer);
    if (result == DJ_SUCCESS && size > 0)
        memcpy((*buffer)->mapped, data, size);
    return result;
}

dj_result dj_buffer_create(dj_context *context, const struct dj_buffer_params *params,
                           dj_buffer **buffer)
{
    if (buffer)
        *buffer = NULL;
    if (!context)
        return DJ_ERROR_INVALID_ARGUMENT;
    const struct dj_log *log = &context->log;
    if (!params || !buffer)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT, "dj_buffer_create: %s is NULL",
                       params ? "buffer" : "params");
    if (!dj_reserved_is_zero(log, params->reserved, 4, "dj_buffer_params"))
        return DJ_ERROR_VERSION;
    if (params->padding != 0)
        return dj_fail(log, DJ_ERROR_VERSION, "dj_buffer_params.padding is %u and must be 0",
                       params->padding);
    if (params->memory > DJ_MEMORY_DOWNLOAD)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                       "dj_buffer_params.memory is %u, which enum dj_memory does not have",
                       params->memory);
    return buffer_create(context, params->size, params->memory, "caller's buffer", buffer);
}

void dj_buffer_destroy(dj_buffer **buffer)
{
    if (!buffer || !*buffer)
        return;
    struct dj_context *const context = (*buffer)->context;
    const struct VolkDeviceTable *vk = &context->vk.device;
    atomic_fetch_sub(&context->buffers, 1);
    if (!(*buffer)->wrapped) { /* freeing memory unmaps it */
        vk->vkDestroyBuffer(context->device, (*buffer)->handle, context->allocator);
        vk->vkFreeMemory(context->device, (*buffer)->memory, context->allocator);
    }
    free(*buffer);
    *buffer = NULL;
}

uint64_t dj_buffer_size(const dj_buffer *buffer)
{
    return buffer ? buffer->size : 0;
}

void *dj_buffer_map(dj_buffer *buffer)
{
    return buffer ? buffer->mapped : NULL;
}

dj_result dj_buffer_wrap(dj_context *context, const struct dj_wrap_params *params,
                         dj_buffer **buffer)
{
    if (buffer)
        *buffer = NULL;
    if (!context)
        return DJ_ERROR_INVALID_ARGUMENT;
    const struct dj_log *log = &context->log;
    if (!params || !buffer)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT, "dj_buffer_wrap: %s is NULL",
                       params ? "buffer" : "params");
    if (!dj_reserved_is_zero(log, params->reserved, 4, "dj_wrap_params"))
        return DJ_ERROR_VERSION;
    if (!params->buffer || params->size == 0)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT, "dj_wrap_params.%s is 0",
                       params->buffer ? "size" : "buffer");
    if (!(params->usage & VK_BUFFER_USAGE_STORAGE_BUFFER_BIT))
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                       "dj_wrap_params.usage is 0x%x, without VK_BUFFER_USAGE_STORAGE_BUFFER_BIT",
                       params->usage);
    if (context->device_addresses && !(params->usage & VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT))
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                       "dj_wrap_params.usage is 0x%x, without "
                       "VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT, and the context uses device "
                       "addresses",
                       params->usage);
    if (params->host_cached > 1)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                       "dj_wrap_params.host_cached is %u, not 0 or 1", params->host_cached);
    const dj_result result = dj_context_check(context);
    if (result != DJ_SUCCESS)
        return result;
    const VkDeviceAddress address =
        context->device_addresses ? address_get(context, params->buffer) : 0;
    if (address % ALIGNMENT != 0)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                       "dj_wrap_params.buffer is at 0x%" PRIx64 ", no multiple of %d bytes",
                       address, ALIGNMENT);
    struct dj_buffer *made = calloc(1, sizeof(*made));
    if (!made)
        return dj_fail(log, DJ_ERROR_OUT_OF_HOST_MEMORY, "no memory for a buffer");
    *made = (struct dj_buffer){
        .context = context,
        .handle = params->buffer,
        .wrapped = true,
        .usage = params->usage,
        .size = params->size,
        .memory_types = UINT32_MAX,
        .mapped = params->mapped,
        .host_cached = params->mapped && params->host_cached != 0,
        .address = address,
    };
    atomic_fetch_add(&context->buffers, 1);
    *buffer = made;
    return DJ_SUCCESS;
}

VkBuffer dj_buffer_handle(const dj_buffer *buffer)
{
    return buffer ? buffer->handle : VK_NULL_HANDLE;
}

/* Checks that a copy by the queue is possible. */
static dj_result copy_check(const struct dj_buffer *buffer, const char *function,
                            VkBufferUsageFlags usage, const char *usage_name)
{
    if (!(buffer->usage & usage))
        return dj_fail(&buffer->context->log, DJ_ERROR_INVALID_ARGUMENT,
                       "%s: the wrapped buffer is not mapped, and its usage 0x%x is without %s",
                       function, buffer->usage, usage_name);
    return dj_context_check_queue(buffer->context, function);
}

/* Checks the arguments of a copy. */
static dj_result range_check(const struct dj_buffer *buffer, const char *function, uint64_t offset,
                             const void *data, uint64_t size)
{
    if (!buffer)
        return DJ_ERROR_INVALID_ARGUMENT;
    const struct dj_log *log = &buffer->context->log;
    if (offset > buffer->size || size > buffer->size - offset)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                       "%s: %" PRIu64 " bytes at %" PRIu64 " are not inside a buffer of %" PRIu64,
                       function, size, offset, buffer->size);
    if (!data && size > 0)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT, "%s: data is NULL and size is %" PRIu64,
                       function, size);
    return dj_context_check(buffer->context);
}

dj_result dj_buffer_write_for(const char *function, dj_buffer *buffer, uint64_t offset,
                              const void *data, uint64_t size)
{
    dj_result result = range_check(buffer, function, offset, data, size);
    if (result != DJ_SUCCESS || size == 0)
        return result;
    if (buffer->mapped) {
        memcpy((char *)buffer->mapped + offset, data, size);
        return DJ_SUCCESS;
    }
    struct dj_copier copier;
    result = copy_check(buffer, function, VK_BUFFER_USAGE_TRANSFER_DST_BIT,
                        "VK_BUFFER_USAGE_TRANSFER_DST_BIT");
    if (result == DJ_SUCCESS)
        result = dj_copier_init(&copier, buffer->context, size, DJ_MEMORY_UPLOAD);
    if (result != DJ_SUCCESS)
        return result;
    for (uint64_t done = 0; result == DJ_SUCCESS && done < size; done += DJ_COPIER_PIECE) {
        const uint64_t piece = size - done < DJ_COPIER_PIECE ? size - done : DJ_COPIER_PIECE;
        memcpy(copier.staging->mapped, (const char *)data + done, piece);
        const VkBufferCopy region = {.dstOffset = offset + done, .size = piece};
        result = dj_copier_run(&copier, copier.staging->handle, buffer->handle, &region);
    }
    dj_copier_finish(&copier);
    return result;
}

/* Whether mapped memory that is not cached is read faster by a copy: one can be made, and to memory
 * that is cached. */
static bool copies_faster(const struct dj_buffer *buffer, uint64_t size)
{
    const struct dj_context *const context = buffer->context;
    if (!(buffer->usage & VK_BUFFER_USAGE_TRANSFER_SRC_BIT) || !context->queue)
        return false;
    const uint32_t type = dj_memory_type(context, DJ_MEMORY_DOWNLOAD, buffer->memory_types,
                                         size < DJ_COPIER_PIECE ? size : DJ_COPIER_PIECE);
    return type != UINT32_MAX &&
           (context->memory.memoryTypes[type].propertyFlags & VK_MEMORY_PROPERTY_HOST_CACHED_BIT);
}

dj_result dj_buffer_read_for(const char *function, dj_buffer *buffer, uint64_t offset, void *data,
                             uint64_t size)
{
    dj_result result = range_check(buffer, function, offset, data, size);
    if (result != DJ_SUCCESS || size == 0)
        return result;
    if (buffer->mapped && (buffer->host_cached || !copies_faster(buffer, size))) {
        memcpy(data, (const char *)buffer->mapped + offset, size);
        return DJ_SUCCESS;
    }
    struct dj_copier copier;
    result = copy_check(buffer, function, VK_BUFFER_USAGE_TRANSFER_SRC_BIT,
                        "VK_BUFFER_USAGE_TRANSFER_SRC_BIT");
    if (result == DJ_SUCCESS)
        result = dj_copier_init(&copier, buffer->context, size, DJ_MEMORY_DOWNLOAD);
    if (result != DJ_SUCCESS)
        return result;
    for (uint64_t done = 0; result == DJ_SUCCESS && done < size; done += DJ_COPIER_PIECE) {
        const uint64_t piece = size - done < DJ_COPIER_PIECE ? size - done : DJ_COPIER_PIECE;
        const VkBufferCopy region = {.srcOffset = offset + done, .size = piece};
        result = dj_copier_run(&copier, buffer->handle, copier.staging->handle, &region);
        if (result == DJ_SUCCESS)
            memcpy((char *)data + done, copier.staging->mapped, piece);
    }
    dj_copier_finish(&copier);
    return result;
}

dj_result dj_buffer_write(dj_buffer *buffer, uint64_t offset, const void *data, uint64_t size)
{
    return dj_buffer_write_for("dj_buffer_write", buffer, offset, data, size);
}

dj_result dj_buffer_read(dj_buffer *buffer, uint64_t offset, void *data, uint64_t size)
{
    return dj_buffer_read_for("dj_buffer_read", buffer, offset, data, size);
}

/* Bytes of a tensor without gaps. */
static dj_result find_size(const struct dj_log *log, uint32_t type, const uint64_t shape[4],
                           uint64_t *size)
{
    *size = dj_type_size(type);
    for (int i = 0; i < 4; i++)
        *size = dj_times(*size, shape[i]); /* 0 whatever the others are, if one is 0 */
    if (*size == UINT64_MAX)
        return dj_fail(log, DJ_ERROR_LIMIT,
                       "dj_tensor_create: the size of [%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64
                       "] exceeds 64 bits",
                       shape[0], shape[1], shape[2], shape[3]);
    return DJ_SUCCESS;
}

dj_result dj_tensor_create(dj_context *context, uint32_t type, const uint64_t shape[4],
                           const void *data, struct dj_tensor *tensor)
{
    /* whose shape may be the one that is given */
    const struct dj_tensor old = tensor != NULL ? *tensor : (struct dj_tensor){0};
    if (tensor != NULL && shape == tensor->shape)
        shape = old.shape;
    if (tensor != NULL)
        *tensor = (struct dj_tensor){0};
    if (context == NULL)
        return DJ_ERROR_INVALID_ARGUMENT;
    if (shape == NULL || tensor == NULL)
        return dj_fail(&context->log, DJ_ERROR_INVALID_ARGUMENT, "dj_tensor_create: %s is NULL",
                       shape == NULL ? "shape" : "tensor");
    if (dj_type_size(type) == 0)
        return dj_fail(&context->log, DJ_ERROR_INVALID_ARGUMENT, "tensor: unknown element type %u",
                       type);
    uint64_t size;
    dj_result result = find_size(&context->log, type, shape, &size);
    struct dj_buffer *buffer = NULL;
    if (result == DJ_SUCCESS)
        result = dj_buffer_create(context, &(struct dj_buffer_params){.size = size}, &buffer);
    if (result == DJ_SUCCESS && data != NULL)
        result = dj_buffer_write_for("dj_tensor_create", buffer, 0, data, size);
    if (result != DJ_SUCCESS) {
        dj_buffer_destroy(&buffer);
        return result;
    }
    dj_tensor_init(tensor, buffer, 0, type, shape);
    return DJ_SUCCESS;
}
