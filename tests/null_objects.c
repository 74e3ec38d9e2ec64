/* SPDX-License-Identifier: MIT */
/* The null device's buffers, memory, pipelines, layouts, caches and fences. */
#include "null_inside.h"

#include <sys/mman.h>

/* The families that share a buffer, by bit; 0: none does. */
static uint32_t sharing_families(const struct null_device *device, const VkBufferCreateInfo *info)
{
    uint32_t families = 0;
    if (info->sharingMode == VK_SHARING_MODE_EXCLUSIVE)
        return 0;
    for (uint32_t i = 0; i < info->queueFamilyIndexCount; i++) {
        const uint32_t family = info->pQueueFamilyIndices[i];
        if (family >= device->settings->queue_families || (families >> family & 1))
            null_misuse("vkCreateBuffer: family %u is not there, or named twice", family);
        else
            families |= 1u << family;
    }
    if (info->queueFamilyIndexCount < 2)
        null_misuse("vkCreateBuffer: shared by %u families", info->queueFamilyIndexCount);
    return families;
}

static VKAPI_ATTR VkResult VKAPI_CALL null_vkCreateBuffer(VkDevice device,
                                                          const VkBufferCreateInfo *info,
                                                          const VkAllocationCallbacks *callbacks,
                                                          VkBuffer *handle)
{
    struct null_device *const owner = NULL_DEVICE_OF(device);
    NULL_ENTER_MAKING(vkCreateBuffer, owner, handle, sizeof *handle);
    if (info->size == 0)
        null_misuse("vkCreateBuffer: size is 0");
    if ((info->usage & VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT) && !owner->device_addresses)
        null_misuse("vkCreateBuffer: device addresses are not enabled");
    struct null_buffer *const buffer =
        null_object_create(NULL_OBJECT_BUFFER, sizeof *buffer, &owner->object, callbacks);
    if (buffer == NULL)
        return VK_ERROR_OUT_OF_HOST_MEMORY;
    buffer->size = info->size;
    buffer->usage = info->usage;
    buffer->families = sharing_families(owner, info);
    if (null_on_buffer != NULL)
        null_on_buffer(info);
    *handle = NULL_HANDLE_OF(VkBuffer, buffer);
    return VK_SUCCESS;
}
NULL_PROVIDE(vkCreateBuffer)

static VKAPI_ATTR void VKAPI_CALL null_vkGetBufferMemoryRequirements(VkDevice device,
                                                                     VkBuffer handle,
                                                                     VkMemoryRequirements *need)
{
    NULL_ENTER(vkGetBufferMemoryRequirements);
    const struct null_buffer *const buffer = NULL_OF(handle, BUFFER);
    const uint64_t alignment = NULL_DEVICE_OF(device)->settings->offset_alignment;
    *need = (VkMemoryRequirements){
        .size = (buffer->size + alignment - 1) / alignment * alignment,
        .alignment = alignment,
        .memoryTypeBits = NULL_DEVICE_OF(device)->settings->unified ? 1 : 7,
    };
}
NULL_PROVIDE(vkGetBufferMemoryRequirements)

static bool wants_address(const void *chain)
{
    for (const VkBaseInStructure *node = chain; node != NULL; node = node->pNext) {
        if (node->sType == VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO)
            return ((const VkMemoryAllocateFlagsInfo *)node)->flags &
                   VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT;
    }
    return false;
}

/* Host memory; of what is large and not mapped address space alone, which any machine has. */
static bool back(struct null_memory *memory)
{
    memory->bare = !memory->mappable && memory->size > UINT64_C(1) << 30;
    if (memory->bare) {
        memory->data =
            mmap(NULL, memory->size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        return memory->data != MAP_FAILED;
    }
    memory->data = null_block(memory->size);
    return memory->data != NULL;
}

static VKAPI_ATTR VkResult VKAPI_CALL null_vkAllocateMemory(VkDevice device,
                                                            const VkMemoryAllocateInfo *info,
                                                            const VkAllocationCallbacks *callbacks,
                                                            VkDeviceMemory *handle)
{
    struct null_device *const owner = NULL_DEVICE_OF(device);
    NULL_ENTER_MAKING(vkAllocateMemory, owner, handle, sizeof *handle);
    if (info->allocationSize == 0 || info->memoryTypeIndex >= (owner->settings->unified ? 1 : 3))
        null_misuse("vkAllocateMemory: %llu bytes of type %u",
                    (unsigned long long)info->allocationSize, info->memoryTypeIndex);
    if (info->allocationSize > owner->settings->allocation)
        return VK_ERROR_OUT_OF_DEVICE_MEMORY;
    struct null_memory *const memory =
        null_object_create(NULL_OBJECT_MEMORY, sizeof *memory, &owner->object, callbacks);
    if (memory == NULL)
        return VK_ERROR_OUT_OF_HOST_MEMORY;
    memory->size = info->allocationSize;
    memory->mappable = owner->settings->unified || info->memoryTypeIndex > 0;
    if (!back(memory)) {
        null_object_destroy(&memory->object, callbacks);
        return VK_ERROR_OUT_OF_DEVICE_MEMORY;
    }
    memory->addressed = wants_address(info->pNext);
    *handle = NULL_HANDLE_OF(VkDeviceMemory, memory);
    return VK_SUCCESS;
}
NULL_PROVIDE(vkAllocateMemory)

static VKAPI_ATTR void VKAPI_CALL null_vkFreeMemory(VkDevice device, VkDeviceMemory handle,
                                                    const VkAllocationCallbacks *callbacks)
{
    (void)device;
    NULL_ENTER(vkFreeMemory);
    if (handle == VK_NULL_HANDLE)
        return;
    struct null_memory *const memory = NULL_OF(handle, MEMORY);
    if (memory->bare)
        munmap(memory->data, memory->size);
    else
        null_block_free(memory->data);
    null_object_destroy(&memory->object, callbacks);
}
NULL_PROVIDE(vkFreeMemory)

static VKAPI_ATTR VkResult VKAPI_CALL null_vkMapMemory(VkDevice device, VkDeviceMemory handle,
                                                       VkDeviceSize offset, VkDeviceSize size,
                                                       VkMemoryMapFlags flags, void **data)
{
    (void)flags;
    NULL_ENTER_MAKING(vkMapMemory, NULL_DEVICE_OF(device), data, sizeof *data);
    struct null_memory *const memory = NULL_OF(handle, MEMORY);
    memory->object.touched++;
    if (!memory->mappable || memory->mapped)
        null_misuse("vkMapMemory: memory that is %s",
                    memory->mapped ? "mapped already" : "not visible to the host");
    if (offset > memory->size || (size != VK_WHOLE_SIZE && size > memory->size - offset))
        null_misuse("vkMapMemory: beyond the memory's end");
    memory->mapped = true;
    *data = (char *)memory->data + offset;
    return VK_SUCCESS;
}
NULL_PROVIDE(vkMapMemory)

static VKAPI_ATTR void VKAPI_CALL null_vkUnmapMemory(VkDevice device, VkDeviceMemory handle)
{
    (void)device;
    NULL_ENTER(vkUnmapMemory);
    struct null_memory *const memory = NULL_OF(handle, MEMORY);
    memory->object.touched++;
    if (!memory->mapped)
        null_misuse("vkUnmapMemory: memory that is not mapped");
    memory->mapped = false;
}
NULL_PROVIDE(vkUnmapMemory)

static VKAPI_ATTR VkResult VKAPI_CALL null_vkBindBufferMemory(VkDevice device, VkBuffer handle,
                                                              VkDeviceMemory memory_handle,
                                                              VkDeviceSize offset)
{
    struct null_device *const owner = NULL_DEVICE_OF(device);
    NULL_ENTER_FALLIBLE(vkBindBufferMemory, owner);
    struct null_buffer *const buffer = NULL_OF(handle, BUFFER);
    struct null_memory *const memory = NULL_OF(memory_handle, MEMORY);
    buffer->object.touched++;
    if (buffer->memory != NULL || offset % owner->settings->offset_alignment != 0 ||
        offset > memory->size || buffer->size > memory->size - offset)
        null_misuse("vkBindBufferMemory: bound already, misaligned, or beyond the memory's end");
    if ((buffer->usage & VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT) && !memory->addressed)
        null_misuse("vkBindBufferMemory: memory without VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT");
    buffer->memory = memory;
    buffer->offset = offset;
    return VK_SUCCESS;
}
NULL_PROVIDE(vkBindBufferMemory)

void *null_buffer_data(VkBuffer handle)
{
    const struct null_buffer *const buffer = NULL_OF(handle, BUFFER);
    return (char *)buffer->memory->data + buffer->offset;
}

/* Buffers whose address was asked for, of all devices; locked by turning round, since a mutex would
 * be counted as the library's. */
static struct null_buffer *addressed;
static atomic_flag addressed_lock = ATOMIC_FLAG_INIT;

static void lock_addressed(void)
{
    while (atomic_flag_test_and_set_explicit(&addressed_lock, memory_order_acquire))
        ;
}

static void unlock_addressed(void)
{
    atomic_flag_clear_explicit(&addressed_lock, memory_order_release);
}

static void add_address(struct null_buffer *buffer)
{
    lock_addressed();
    if (buffer->address == 0) {
        buffer->address = (uint64_t)(uintptr_t)buffer->memory->data + buffer->offset;
        buffer->next = addressed;
        addressed = buffer;
    }
    unlock_addressed();
}

static void remove_address(struct null_buffer *buffer)
{
    lock_addressed();
    struct null_buffer **link = &addressed;
    while (*link != NULL && *link != buffer)
        link = &(*link)->next;
    if (*link != NULL)
        *link = buffer->next;
    unlock_addressed();
}

bool null_is_address(uint64_t address)
{
    lock_addressed();
    const struct null_buffer *buffer = addressed;
    while (buffer != NULL &&
           (address < buffer->address || address - buffer->address >= buffer->size))
        buffer = buffer->next;
    unlock_addressed();
    return buffer != NULL;
}

static VKAPI_ATTR void VKAPI_CALL null_vkDestroyBuffer(VkDevice device, VkBuffer handle,
                                                       const VkAllocationCallbacks *callbacks)
{
    (void)device;
    NULL_ENTER(vkDestroyBuffer);
    if (handle == VK_NULL_HANDLE)
        return;
    struct null_buffer *const buffer = NULL_OF(handle, BUFFER);
    remove_address(buffer);
    null_object_destroy(&buffer->object, callbacks);
}
NULL_PROVIDE(vkDestroyBuffer)

static VkDeviceAddress address_of(VkDevice device, const VkBufferDeviceAddressInfo *info)
{
    struct null_buffer *const buffer = NULL_OF(info->buffer, BUFFER);
    if (!NULL_DEVICE_OF(device)->device_addresses || buffer->memory == NULL ||
        !(buffer->usage & VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT)) {
        null_misuse("vkGetBufferDeviceAddress: a buffer without one");
        return 0;
    }
    add_address(buffer);
    return buffer->address + null_address_shift;
}

static VKAPI_ATTR VkDeviceAddress VKAPI_CALL
null_vkGetBufferDeviceAddress(VkDevice device, const VkBufferDeviceAddressInfo *info)
{
    NULL_ENTER(vkGetBufferDeviceAddress);
    return address_of(device, info);
}
NULL_PROVIDE(vkGetBufferDeviceAddress)

static VKAPI_ATTR VkDeviceAddress VKAPI_CALL
null_vkGetBufferDeviceAddressKHR(VkDevice device, const VkBufferDeviceAddressInfo *info)
{
    NULL_ENTER(vkGetBufferDeviceAddressKHR);
    return address_of(device, info);
}
NULL_PROVIDE(vkGetBufferDeviceAddressKHR)

static VKAPI_ATTR VkResult VKAPI_CALL null_vkCreateDescriptorSetLayout(
    VkDevice device, const VkDescriptorSetLayoutCreateInfo *info,
    const VkAllocationCallbacks *callbacks, VkDescriptorSetLayout *handle)
{
    struct null_device *const owner = NULL_DEVICE_OF(device);
    NULL_ENTER_MAKING(vkCreateDescriptorSetLayout, owner, handle, sizeof *handle);
    struct null_set_layout *const layout =
        null_object_create(NULL_OBJECT_SET_LAYOUT, sizeof *layout, &owner->object, callbacks);
    if (layout == NULL)
        return VK_ERROR_OUT_OF_HOST_MEMORY;
    layout->count = info->bindingCount;
    layout->push = info->flags & VK_DESCRIPTOR_SET_LAYOUT_CREATE_PUSH_DESCRIPTOR_BIT_KHR;
    if (layout->count > owner->settings->storage_buffers || layout->count > NULL_MOST_BINDINGS)
        null_misuse("vkCreateDescriptorSetLayout: %u bindings", layout->count);
    if (layout->push && !owner->push_descriptors)
        null_misuse("vkCreateDescriptorSetLayout: push descriptors are not enabled");
    *handle = NULL_HANDLE_OF(VkDescriptorSetLayout, layout);
    return VK_SUCCESS;
}
NULL_PROVIDE(vkCreateDescriptorSetLayout)

static VKAPI_ATTR VkResult VKAPI_CALL
null_vkCreatePipelineLayout(VkDevice device, const VkPipelineLayoutCreateInfo *info,
                            const VkAllocationCallbacks *callbacks, VkPipelineLayout *handle)
{
    struct null_device *const owner = NULL_DEVICE_OF(device);
    NULL_ENTER_MAKING(vkCreatePipelineLayout, owner, handle, sizeof *handle);
    struct null_pipeline_layout *const layout =
        null_object_create(NULL_OBJECT_PIPELINE_LAYOUT, sizeof *layout, &owner->object, callbacks);
    if (layout == NULL)
        return VK_ERROR_OUT_OF_HOST_MEMORY;
    layout->has_set = info->setLayoutCount > 0;
    if (info->setLayoutCount > 1 || info->pushConstantRangeCount > 1)
        null_misuse("vkCreatePipelineLayout: more than one set or range");
    if (layout->has_set) {
        const struct null_set_layout *const set = NULL_OF(info->pSetLayouts[0], SET_LAYOUT);
        layout->set.count = set->count;
        layout->set.push = set->push;
    }
    if (info->pushConstantRangeCount > 0)
        layout->push = info->pPushConstantRanges[0].offset + info->pPushConstantRanges[0].size;
    if (layout->push > owner->settings->push_constants)
        null_misuse("vkCreatePipelineLayout: %u bytes of push constants", layout->push);
    *handle = NULL_HANDLE_OF(VkPipelineLayout, layout);
    return VK_SUCCESS;
}
NULL_PROVIDE(vkCreatePipelineLayout)

/* Cache data: Vulkan's header, then 16 bytes for each pipeline that was made through it. */
enum {
    CACHE_ENTRY = 16
};

static VkPipelineCacheHeaderVersionOne cache_header(void)
{
    VkPipelineCacheHeaderVersionOne header = {
        .headerSize = sizeof header,
        .headerVersion = VK_PIPELINE_CACHE_HEADER_VERSION_ONE,
        .vendorID = 0x10000,
        .deviceID = 1,
    };
    memset(header.pipelineCacheUUID, 0x6e, VK_UUID_SIZE);
    return header;
}

static VKAPI_ATTR VkResult VKAPI_CALL
null_vkCreatePipelineCache(VkDevice device, const VkPipelineCacheCreateInfo *info,
                           const VkAllocationCallbacks *callbacks, VkPipelineCache *handle)
{
    struct null_device *const owner = NULL_DEVICE_OF(device);
    NULL_ENTER_MAKING(vkCreatePipelineCache, owner, handle, sizeof *handle);
    struct null_pipeline_cache *const cache =
        null_object_create(NULL_OBJECT_PIPELINE_CACHE, sizeof *cache, &owner->object, callbacks);
    if (cache == NULL)
        return VK_ERROR_OUT_OF_HOST_MEMORY;
    const VkPipelineCacheHeaderVersionOne header = cache_header();
    if (info->initialDataSize >= sizeof header &&
        memcmp(info->pInitialData, &header, sizeof header) == 0)
        atomic_store(&cache->entries, (info->initialDataSize - sizeof header) / CACHE_ENTRY);
    *handle = NULL_HANDLE_OF(VkPipelineCache, cache);
    return VK_SUCCESS;
}
NULL_PROVIDE(vkCreatePipelineCache)

static VKAPI_ATTR VkResult VKAPI_CALL null_vkGetPipelineCacheData(VkDevice device,
                                                                  VkPipelineCache handle,
                                                                  size_t *size, void *data)
{
    NULL_ENTER_MAKING(vkGetPipelineCacheData, NULL_DEVICE_OF(device), size, sizeof *size);
    struct null_pipeline_cache *const cache = NULL_OF(handle, PIPELINE_CACHE);
    const VkPipelineCacheHeaderVersionOne header = cache_header();
    const size_t whole = sizeof header + atomic_load(&cache->entries) * CACHE_ENTRY;
    if (data == NULL) {
        *size = whole;
        return VK_SUCCESS;
    }
    const size_t fits = *size < sizeof header ? 0 : *size < whole ? *size : whole;
    if (fits > 0) {
        memset(data, 0x70, fits);
        memcpy(data, &header, sizeof header);
    }
    *size = fits;
    return fits < whole ? VK_INCOMPLETE : VK_SUCCESS;
}
NULL_PROVIDE(vkGetPipelineCacheData)

static VKAPI_ATTR VkResult VKAPI_CALL null_vkMergePipelineCaches(VkDevice device,
                                                                 VkPipelineCache handle,
                                                                 uint32_t count,
                                                                 const VkPipelineCache *sources)
{
    NULL_ENTER_FALLIBLE(vkMergePipelineCaches, NULL_DEVICE_OF(device));
    struct null_pipeline_cache *const cache = NULL_OF(handle, PIPELINE_CACHE);
    cache->object.touched++;
    for (uint32_t i = 0; i < count; i++) {
        struct null_pipeline_cache *const source = NULL_OF(sources[i], PIPELINE_CACHE);
        atomic_fetch_add(&cache->entries, atomic_load(&source->entries));
    }
    return VK_SUCCESS;
}
NULL_PROVIDE(vkMergePipelineCaches)

/* Which bindings SPIR-V declares, by bit. */
static uint32_t declared_bindings(const uint32_t *words, size_t count)
{
    enum {
        HEADER = 5,
        OP_DECORATE = 71,
        DECORATION_BINDING = 33
    };
    uint32_t set = 0;
    for (size_t i = HEADER; i < count && words[i] >> 16 != 0; i += words[i] >> 16) {
        if ((words[i] & 0xffff) == OP_DECORATE && words[i + 2] == DECORATION_BINDING)
            set |= 1u << (words[i + 3] & 31);
    }
    return set;
}

bool null_module_reads(const VkShaderModuleCreateInfo *info)
{
    enum {
        HEADER = 5,
        OP_CAPABILITY = 17,
        SUBGROUP_BALLOT = 4423
    };
    const uint32_t *const words = info->pCode;
    bool has = false;
    for (size_t i = HEADER; i < info->codeSize / 4 && words[i] == (2 << 16 | OP_CAPABILITY); i += 2)
        has = has || words[i + 1] == SUBGROUP_BALLOT;
    return has;
}

void (*null_on_module)(const VkShaderModuleCreateInfo *info);

static VKAPI_ATTR VkResult VKAPI_CALL
null_vkCreateShaderModule(VkDevice device, const VkShaderModuleCreateInfo *info,
                          const VkAllocationCallbacks *callbacks, VkShaderModule *handle)
{
    struct null_device *const owner = NULL_DEVICE_OF(device);
    NULL_ENTER_MAKING(vkCreateShaderModule, owner, handle, sizeof *handle);
    if (info->codeSize < 20 || info->codeSize % 4 != 0 || info->pCode[0] != 0x07230203)
        null_misuse("vkCreateShaderModule: no SPIR-V");
    if (null_module_reads(info) && !owner->subgroup_ballot)
        null_misuse("vkCreateShaderModule: a capability of an extension that is not enabled");
    if (null_on_module != NULL)
        null_on_module(info);
    struct null_shader_module *const module =
        null_object_create(NULL_OBJECT_SHADER_MODULE, sizeof *module, &owner->object, callbacks);
    if (module == NULL)
        return VK_ERROR_OUT_OF_HOST_MEMORY;
    module->bindings = declared_bindings(info->pCode, info->codeSize / 4);
    *handle = NULL_HANDLE_OF(VkShaderModule, module);
    return VK_SUCCESS;
}
NULL_PROVIDE(vkCreateShaderModule)

static VKAPI_ATTR VkResult VKAPI_CALL
null_vkCreateComputePipelines(VkDevice device, VkPipelineCache cache, uint32_t count,
                              const VkComputePipelineCreateInfo *infos,
                              const VkAllocationCallbacks *callbacks, VkPipeline *handles)
{
    struct null_device *const owner = NULL_DEVICE_OF(device);
    memset(handles, 0, count * sizeof *handles); /* the one that promises it */
    NULL_ENTER_FALLIBLE(vkCreateComputePipelines, owner);
    if (count != 1)
        null_misuse("vkCreateComputePipelines: %u at once", count);
    const struct null_shader_module *const module = NULL_OF(infos[0].stage.module, SHADER_MODULE);
    const struct null_pipeline_layout *const layout = NULL_OF(infos[0].layout, PIPELINE_LAYOUT);
    if (module->bindings >> layout->set.count != 0)
        null_misuse("vkCreateComputePipelines: bindings 0x%x, and the layout has %u",
                    module->bindings, layout->set.count);
    if (infos[0].stage.pNext != NULL && !owner->whole_subgroups)
        null_misuse("vkCreateComputePipelines: a size of subgroups, which is not enabled");
    struct null_pipeline *const pipeline =
        null_object_create(NULL_OBJECT_PIPELINE, sizeof *pipeline, &owner->object, callbacks);
    if (pipeline == NULL)
        return VK_ERROR_OUT_OF_HOST_MEMORY;
    pipeline->bindings = module->bindings;
    if (cache != VK_NULL_HANDLE)
        atomic_fetch_add_explicit(
            &((struct null_pipeline_cache *)NULL_OF(cache, PIPELINE_CACHE))->entries, 1,
            memory_order_relaxed);
    handles[0] = NULL_HANDLE_OF(VkPipeline, pipeline);
    return VK_SUCCESS;
}
NULL_PROVIDE(vkCreateComputePipelines)

static VKAPI_ATTR VkResult VKAPI_CALL null_vkCreateFence(VkDevice device,
                                                         const VkFenceCreateInfo *info,
                                                         const VkAllocationCallbacks *callbacks,
                                                         VkFence *handle)
{
    struct null_device *const owner = NULL_DEVICE_OF(device);
    NULL_ENTER_MAKING(vkCreateFence, owner, handle, sizeof *handle);
    struct null_fence *const fence =
        null_object_create(NULL_OBJECT_FENCE, sizeof *fence, &owner->object, callbacks);
    if (fence == NULL)
        return VK_ERROR_OUT_OF_HOST_MEMORY;
    fence->signalled = info->flags & VK_FENCE_CREATE_SIGNALED_BIT;
    *handle = NULL_HANDLE_OF(VkFence, fence);
    return VK_SUCCESS;
}
NULL_PROVIDE(vkCreateFence)

/* What has nothing inside to free. */
#define DESTROY(type, kind) \
    static VKAPI_ATTR void VKAPI_CALL null_vkDestroy##type(VkDevice device, Vk##type handle, \
                                                           const VkAllocationCallbacks *callbacks) \
    { \
        (void)device; \
        NULL_ENTER(vkDestroy##type); \
        if (handle != VK_NULL_HANDLE) \
            null_object_destroy(NULL_OF(handle, kind), callbacks); \
    } \
    NULL_PROVIDE(vkDestroy##type)
DESTROY(DescriptorSetLayout, SET_LAYOUT)
DESTROY(PipelineLayout, PIPELINE_LAYOUT)
DESTROY(PipelineCache, PIPELINE_CACHE)
DESTROY(ShaderModule, SHADER_MODULE)
DESTROY(Pipeline, PIPELINE)
DESTROY(Fence, FENCE)
DESTROY(QueryPool, QUERY_POOL)
