/* SPDX-License-Identifier: MIT */
/* What shim.h says of devices: whether promises are kept, and what is alive. A call that breaks
 * one, but for those that make and destroy devices, is answered here and goes no further: drivers
 * need not bear it. */
#include "shim.h"
#include "spirv.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Types of objects that are made by vkCreate<type>(device, info, allocator, &handle), and what is
 * asked of their infos. */
#define OBJECTS(X) \
    X(Buffer, check_buffer) \
    X(CommandPool, unchecked) \
    X(DescriptorPool, unchecked) \
    X(DescriptorSetLayout, check_set_layout) \
    X(Event, unchecked) \
    X(Fence, unchecked) \
    X(PipelineCache, unchecked) \
    X(PipelineLayout, check_layout) \
    X(QueryPool, unchecked) \
    X(Semaphore, unchecked) \
    X(ShaderModule, unchecked)

#define OTHER_FUNCTIONS(X) \
    X(vkCreateDevice) \
    X(vkDestroyDevice) \
    X(vkAllocateMemory) \
    X(vkFreeMemory) \
    X(vkMapMemory) \
    X(vkUnmapMemory) \
    X(vkBindBufferMemory) \
    X(vkGetBufferMemoryRequirements) \
    X(vkCreateComputePipelines) \
    X(vkDestroyPipeline) \
    X(vkAllocateDescriptorSets) \
    X(vkAllocateCommandBuffers) \
    X(vkUpdateDescriptorSets) \
    X(vkCmdPushDescriptorSetKHR) \
    X(vkCmdPushConstants) \
    X(vkCmdDispatch)

enum kind {
#define KIND(type, check) KIND_##type,
    OBJECTS(KIND) KIND_Memory,
    KIND_Pipeline,
    KINDS
};
static const char *const kind_names[KINDS] = {
#define KIND_NAME(type, check) [KIND_##type] = #type,
    OBJECTS(KIND_NAME)[KIND_Memory] = "Memory",
    [KIND_Pipeline] = "Pipeline",
};

static struct {
#define OBJECT_MEMBERS(type, check) \
    PFN_vkCreate##type vkCreate##type; \
    PFN_vkDestroy##type vkDestroy##type;
    OBJECTS(OBJECT_MEMBERS)
#define MEMBER(name) PFN_##name name;
    OTHER_FUNCTIONS(MEMBER)
} real;

void watch_load(VkInstance instance)
{
#define LOAD(name) real.name = (PFN_##name)shim_real(instance, #name);
#define LOAD_OBJECT(type, check) LOAD(vkCreate##type) LOAD(vkDestroy##type)
    OBJECTS(LOAD_OBJECT)
    OTHER_FUNCTIONS(LOAD)
}

enum {
    MOST_DEVICES = 64,
    MOST_HELD = 1 << 16
};

/* What was enabled on a device, and what it was told of itself. */
struct device {
    VkDevice handle;
    VkPhysicalDevice physical;
    VkPhysicalDeviceLimits limits;
    VkDeviceSize max_allocation;
    uint32_t api_version, memory_type; /* memory_type: UINT32_MAX: as they are */
    bool push_descriptors, storage_16bit, uniform_16bit, addresses, float_controls, subgroups;
    bool float16, int64, float64, int16, memory_model, matrices;
    int64_t alive[KINDS];
};

/* A shader module's words; or memory that cannot be mapped, without words. */
struct held {
    uint64_t handle;
    uint32_t *words;
    size_t count;
};

static struct {
    pthread_mutex_t lock;
    struct device devices[MOST_DEVICES]; /* handle NULL: free */
    struct held held[MOST_HELD];
    size_t held_count;
    uint64_t violations, created, fail_after;
} watch = {.lock = PTHREAD_MUTEX_INITIALIZER, .fail_after = UINT64_MAX};

static _Thread_local uint64_t broken; /* promises, by this thread's calls */

void watch_broken(const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fprintf(stderr, "# beyond what the device promised: %s\n", text);
    __atomic_fetch_add(&watch.violations, 1, __ATOMIC_RELAXED);
    broken++;
}

uint64_t shim_violations(void)
{
    return __atomic_load_n(&watch.violations, __ATOMIC_RELAXED);
}

void shim_forgive(uint64_t n)
{
    __atomic_fetch_sub(&watch.violations, n, __ATOMIC_RELAXED);
}

uint64_t shim_created(void)
{
    return __atomic_load_n(&watch.created, __ATOMIC_RELAXED);
}

void shim_fail(uint64_t n)
{
    pthread_mutex_lock(&watch.lock);
    watch.created = 0;
    watch.fail_after = n;
    pthread_mutex_unlock(&watch.lock);
}

/* Whether this creating call is the one that fails. */
static bool refused(void)
{
    pthread_mutex_lock(&watch.lock);
    const bool refuse = watch.created++ == watch.fail_after;
    pthread_mutex_unlock(&watch.lock);
    return refuse;
}

static void hold(uint64_t handle, const uint32_t *words, size_t size)
{
    uint32_t *const copy = words != NULL ? malloc(size) : NULL;
    if (copy != NULL)
        memcpy(copy, words, size);
    pthread_mutex_lock(&watch.lock);
    if (watch.held_count == MOST_HELD)
        abort(); /* the tests hold thousands, not more */
    watch.held[watch.held_count++] =
        (struct held){.handle = handle, .words = copy, .count = copy != NULL ? size / 4 : 0};
    pthread_mutex_unlock(&watch.lock);
}

/* Under the lock. */
static struct held *held_find(uint64_t handle)
{
    for (size_t i = watch.held_count; i-- > 0;) {
        if (watch.held[i].handle == handle)
            return &watch.held[i];
    }
    return NULL;
}

static void release(uint64_t handle)
{
    pthread_mutex_lock(&watch.lock);
    struct held *const held = held_find(handle);
    if (held != NULL) {
        free(held->words);
        *held = watch.held[--watch.held_count];
    }
    pthread_mutex_unlock(&watch.lock);
}

/* All dispatchable handles of a device begin with the loader's pointer to its table (the loader's
 * contract with drivers and layers); what is handed out stays until the device's end. */
static struct device *device_of(const void *handle)
{
    struct device *found = NULL;
    pthread_mutex_lock(&watch.lock);
    for (size_t i = 0; i < MOST_DEVICES && found == NULL; i++) {
        struct device *const device = &watch.devices[i];
        if (device->handle != NULL &&
            *(void *const *)handle == *(void *const *)(const void *)device->handle)
            found = device;
    }
    pthread_mutex_unlock(&watch.lock);
    if (found == NULL) {
        watch_broken("a handle of no device");
        abort();
    }
    return found;
}

static void count(struct device *device, enum kind kind, int64_t by)
{
    __atomic_fetch_add(&device->alive[kind], by, __ATOMIC_RELAXED);
}

uint64_t shim_alive(void)
{
    uint64_t alive = 0;
    pthread_mutex_lock(&watch.lock);
    for (size_t i = 0; i < MOST_DEVICES; i++) {
        for (int kind = 0; watch.devices[i].handle != NULL && kind < KINDS; kind++)
            alive += (uint64_t)watch.devices[i].alive[kind];
    }
    pthread_mutex_unlock(&watch.lock);
    return alive;
}

static void alive_text(const struct device *device, char *text, size_t size)
{
    size_t used = strlen(text);
    for (int kind = 0; device->handle != NULL && kind < KINDS && used < size; kind++) {
        if (device->alive[kind] != 0)
            used += (size_t)snprintf(text + used, size - used, "%s%" PRId64 " %s", used ? ", " : "",
                                     device->alive[kind], kind_names[kind]);
    }
}

const char *shim_alive_text(void)
{
    static char text[512];
    text[0] = '\0';
    pthread_mutex_lock(&watch.lock);
    for (size_t i = 0; i < MOST_DEVICES; i++)
        alive_text(&watch.devices[i], text, sizeof text);
    pthread_mutex_unlock(&watch.lock);
    return text;
}

static void note_extension(struct device *device, const char *name)
{
    if (!shim_offered(name))
        watch_broken("vkCreateDevice enables %s, which is not offered", name);
    device->push_descriptors = device->push_descriptors || !strcmp(name, "VK_KHR_push_descriptor");
    device->float_controls =
        device->float_controls || !strcmp(name, "VK_KHR_shader_float_controls");
}

static void note_basic(struct device *device, const VkPhysicalDeviceFeatures *features)
{
    device->int64 = device->int64 || features->shaderInt64;
    device->int16 = device->int16 || features->shaderInt16;
    device->float64 = device->float64 || features->shaderFloat64;
}

static void note_features(struct device *device, const VkBaseInStructure *node)
{
    switch ((int)node->sType) {
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2:
        note_basic(device, &((const VkPhysicalDeviceFeatures2 *)(const void *)node)->features);
        break;
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_16BIT_STORAGE_FEATURES: {
        const VkPhysicalDevice16BitStorageFeatures *const f = (const void *)node;
        device->storage_16bit |= f->storageBuffer16BitAccess != 0;
        device->uniform_16bit |= f->uniformAndStorageBuffer16BitAccess != 0;
        break;
    }
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES: {
        const VkPhysicalDeviceVulkan11Features *const f = (const void *)node;
        device->storage_16bit |= f->storageBuffer16BitAccess != 0;
        device->uniform_16bit |= f->uniformAndStorageBuffer16BitAccess != 0;
        break;
    }
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_BUFFER_DEVICE_ADDRESS_FEATURES:
        device->addresses |=
            ((const VkPhysicalDeviceBufferDeviceAddressFeatures *)(const void *)node)
                ->bufferDeviceAddress != 0;
        break;
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES: {
        const VkPhysicalDeviceVulkan12Features *const f = (const void *)node;
        device->addresses |= f->bufferDeviceAddress != 0;
        device->float16 |= f->shaderFloat16 != 0;
        device->memory_model |= f->vulkanMemoryModel != 0;
        break;
    }
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_MEMORY_MODEL_FEATURES:
        device->memory_model |=
            ((const VkPhysicalDeviceVulkanMemoryModelFeatures *)(const void *)node)
                ->vulkanMemoryModel != 0;
        break;
#ifdef VK_KHR_cooperative_matrix
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR:
        device->matrices |=
            ((const VkPhysicalDeviceCooperativeMatrixFeaturesKHR *)(const void *)node)
                ->cooperativeMatrix != 0;
        break;
#endif
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES:
        device->float16 |= ((const VkPhysicalDeviceShaderFloat16Int8Features *)(const void *)node)
                               ->shaderFloat16 != 0;
        break;
    default:
        break;
    }
}

static VKAPI_ATTR VkResult VKAPI_CALL create_device(VkPhysicalDevice physical,
                                                    const VkDeviceCreateInfo *info,
                                                    const VkAllocationCallbacks *allocator,
                                                    VkDevice *made)
{
    VkPhysicalDeviceProperties properties;
    shim_properties(physical, &properties);
    struct device device = {
        .physical = physical,
        .limits = properties.limits,
        .max_allocation = shim_max_allocation(physical),
        .api_version =
            shim_version() < properties.apiVersion ? shim_version() : properties.apiVersion,
        .memory_type = shim_split_memory() ? shim_memory_type(physical) : UINT32_MAX,
        .subgroups = !(shim_without() & SHIM_SUBGROUPS),
    };
    device.float_controls =
        device.api_version >= VK_API_VERSION_1_2 && !(shim_without() & SHIM_FLOAT_CONTROLS);
    for (uint32_t i = 0; i < info->enabledExtensionCount; i++)
        note_extension(&device, info->ppEnabledExtensionNames[i]);
    for (const VkBaseInStructure *node = info->pNext; node != NULL; node = node->pNext)
        note_features(&device, node);
    if (info->pEnabledFeatures != NULL)
        note_basic(&device, info->pEnabledFeatures);
    if (device.storage_16bit && (shim_without() & SHIM_16BIT_STORAGE))
        watch_broken("vkCreateDevice enables 16-bit storage, which is not offered");
    if (device.addresses && (shim_without() & SHIM_ADDRESSES))
        watch_broken("vkCreateDevice enables bufferDeviceAddress, which is not offered");
    const VkResult code = real.vkCreateDevice(physical, info, allocator, made);
    if (code != VK_SUCCESS)
        return code;
    device.handle = *made;
    pthread_mutex_lock(&watch.lock);
    size_t free_place = 0;
    while (free_place < MOST_DEVICES && watch.devices[free_place].handle != NULL)
        free_place++;
    if (free_place == MOST_DEVICES)
        abort();
    watch.devices[free_place] = device;
    pthread_mutex_unlock(&watch.lock);
    return VK_SUCCESS;
}

static VKAPI_ATTR void VKAPI_CALL destroy_device(VkDevice handle,
                                                 const VkAllocationCallbacks *allocator)
{
    struct device *const device = handle != NULL ? device_of(handle) : NULL;
    if (device != NULL) {
        char text[512] = "";
        alive_text(device, text, sizeof text);
        if (text[0] != '\0')
            watch_broken("at the device's end there are alive: %s", text);
        pthread_mutex_lock(&watch.lock);
        device->handle = NULL;
        pthread_mutex_unlock(&watch.lock);
    }
    real.vkDestroyDevice(handle, allocator);
}

static void check_buffer(const struct device *device, const VkBufferCreateInfo *info)
{
    if ((info->usage & VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT) && !device->addresses)
        watch_broken("a buffer for addresses without bufferDeviceAddress");
}

static void check_set_layout(const struct device *device,
                             const VkDescriptorSetLayoutCreateInfo *info)
{
    uint32_t buffers = 0;
    for (uint32_t i = 0; i < info->bindingCount; i++) {
        if (info->pBindings[i].descriptorType == VK_DESCRIPTOR_TYPE_STORAGE_BUFFER)
            buffers += info->pBindings[i].descriptorCount;
    }
    if (buffers > device->limits.maxPerStageDescriptorStorageBuffers)
        watch_broken("a set of %u storage buffers of %u", buffers,
                     device->limits.maxPerStageDescriptorStorageBuffers);
    if ((info->flags & VK_DESCRIPTOR_SET_LAYOUT_CREATE_PUSH_DESCRIPTOR_BIT_KHR) &&
        !device->push_descriptors)
        watch_broken("a set of push descriptors, which are not enabled");
}

static void check_layout(const struct device *device, const VkPipelineLayoutCreateInfo *info)
{
    for (uint32_t i = 0; i < info->pushConstantRangeCount; i++) {
        const VkPushConstantRange *const range = &info->pPushConstantRanges[i];
        if (range->offset + range->size > device->limits.maxPushConstantsSize)
            watch_broken("push constants to byte %u of %u", range->offset + range->size,
                         device->limits.maxPushConstantsSize);
    }
}

#define unchecked(device, info) (void)(info)

#define DEFINE_OBJECT(type, check) \
    static VKAPI_ATTR VkResult VKAPI_CALL create_##type( \
        VkDevice handle, const Vk##type##CreateInfo *info, const VkAllocationCallbacks *allocator, \
        Vk##type *made) \
    { \
        struct device *const device = device_of(handle); \
        const uint64_t before = broken; \
        check(device, info); \
        memset(made, 0x5a, sizeof *made); \
        if (refused() || broken != before) \
            return VK_ERROR_OUT_OF_DEVICE_MEMORY; \
        const VkResult code = real.vkCreate##type(handle, info, allocator, made); \
        if (code == VK_SUCCESS) \
            count(device, KIND_##type, 1); \
        return code; \
    } \
    static VKAPI_ATTR void VKAPI_CALL destroy_##type(VkDevice handle, Vk##type object, \
                                                     const VkAllocationCallbacks *allocator) \
    { \
        if (object != VK_NULL_HANDLE) \
            count(device_of(handle), KIND_##type, -1); \
        real.vkDestroy##type(handle, object, allocator); \
    }
OBJECTS(DEFINE_OBJECT)

static VKAPI_ATTR VkResult VKAPI_CALL create_module(VkDevice handle,
                                                    const VkShaderModuleCreateInfo *info,
                                                    const VkAllocationCallbacks *allocator,
                                                    VkShaderModule *made)
{
    const VkResult code = create_ShaderModule(handle, info, allocator, made);
    if (code == VK_SUCCESS)
        hold((uint64_t)*made, info->pCode, info->codeSize);
    return code;
}

static VKAPI_ATTR void VKAPI_CALL destroy_module(VkDevice handle, VkShaderModule module,
                                                 const VkAllocationCallbacks *allocator)
{
    release((uint64_t)module);
    destroy_ShaderModule(handle, module, allocator);
}

/* Numbers of SPIR-V's capabilities, and what they take. */
static void check_capability(const struct device *device, uint32_t capability)
{
    const struct {
        uint32_t first, last;
        bool enabled;
    } table[] = {
        {0, 1, true},                         /* Matrix, Shader */
        {9, 9, device->float16},              /* Float16 */
        {10, 10, device->float64},            /* Float64 */
        {11, 11, device->int64},              /* Int64 */
        {22, 22, device->int16},              /* Int16 */
        {50, 50, true},                       /* ImageQuery */
        {61, 61, true},                       /* GroupNonUniform */
        {62, 68, device->subgroups},          /* GroupNonUniformVote .. Quad */
        {4433, 4433, device->storage_16bit},  /* StorageBuffer16BitAccess */
        {4434, 4434, device->uniform_16bit},  /* UniformAndStorageBuffer16BitAccess */
        {4464, 4468, device->float_controls}, /* DenormPreserve .. RoundingModeRTZ */
        {5345, 5345, device->memory_model},   /* VulkanMemoryModel */
        {5347, 5347, device->addresses},      /* PhysicalStorageBufferAddresses */
        {6022, 6022, device->matrices},       /* CooperativeMatrixKHR */
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (capability >= table[i].first && capability <= table[i].last && table[i].enabled)
            return;
    }
    watch_broken("a shader of capability %u, which is not enabled", capability);
}

static void check_shader(const struct device *device, const struct shim_shader *shader)
{
    struct spirv spirv;
    if (!spirv_read(shader->words, shader->count, shader->special, &spirv)) {
        watch_broken("a shader that cannot be read");
        return;
    }
    for (uint32_t i = 0; i < spirv.capability_count; i++)
        check_capability(device, spirv.capabilities[i]);
    const uint32_t newest = device->api_version >= VK_API_VERSION_1_3   ? 0x00010600
                            : device->api_version >= VK_API_VERSION_1_2 ? 0x00010500
                                                                        : 0x00010300;
    if (spirv.version > newest)
        watch_broken("a shader of SPIR-V 0x%08x", spirv.version);
    const VkPhysicalDeviceLimits *const limits = &device->limits;
    uint64_t invocations = 1;
    for (int i = 0; i < 3; i++) {
        invocations *= spirv.local_size[i];
        if (spirv.local_size[i] > limits->maxComputeWorkGroupSize[i])
            watch_broken("a workgroup of %u x %u x %u", spirv.local_size[0], spirv.local_size[1],
                         spirv.local_size[2]);
    }
    if (invocations == 0 || invocations > limits->maxComputeWorkGroupInvocations)
        watch_broken("a workgroup of %" PRIu64 " invocations", invocations);
    if (spirv.shared > limits->maxComputeSharedMemorySize)
        watch_broken("%" PRIu64 " bytes of shared memory of %u", spirv.shared,
                     limits->maxComputeSharedMemorySize);
}

void shim_check_shader(VkDevice device, const struct shim_shader *shader)
{
    check_shader(device_of(device), shader);
}

static void check_stage(const struct device *device, const VkPipelineShaderStageCreateInfo *stage)
{
    struct shim_shader shader = {.special = stage->pSpecializationInfo};
    pthread_mutex_lock(&watch.lock);
    const struct held *const held = held_find((uint64_t)stage->module);
    if (held != NULL) { /* its words stay meanwhile: the caller uses the module */
        shader.words = held->words;
        shader.count = held->count;
    }
    pthread_mutex_unlock(&watch.lock);
    for (const VkBaseInStructure *node = stage->pNext; node != NULL; node = node->pNext) {
        if (shim_one_size() &&
            node->sType ==
                VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO)
            watch_broken("a size of subgroups is asked for");
    }
    check_shader(device, &shader);
}

static VKAPI_ATTR VkResult VKAPI_CALL create_pipelines(VkDevice handle, VkPipelineCache cache,
                                                       uint32_t pipelines,
                                                       const VkComputePipelineCreateInfo *infos,
                                                       const VkAllocationCallbacks *allocator,
                                                       VkPipeline *made)
{
    struct device *const device = device_of(handle);
    const uint64_t before = broken;
    for (uint32_t i = 0; i < pipelines; i++) {
        check_stage(device, &infos[i].stage);
        made[i] = VK_NULL_HANDLE;
    }
    if (refused() || broken != before)
        return VK_ERROR_OUT_OF_DEVICE_MEMORY;
    const VkResult code =
        real.vkCreateComputePipelines(handle, cache, pipelines, infos, allocator, made);
    for (uint32_t i = 0; i < pipelines; i++)
        count(device, KIND_Pipeline, made[i] != VK_NULL_HANDLE);
    return code;
}

static VKAPI_ATTR void VKAPI_CALL destroy_pipeline(VkDevice handle, VkPipeline pipeline,
                                                   const VkAllocationCallbacks *allocator)
{
    if (pipeline != VK_NULL_HANDLE)
        count(device_of(handle), KIND_Pipeline, -1);
    real.vkDestroyPipeline(handle, pipeline, allocator);
}

static VKAPI_ATTR VkResult VKAPI_CALL allocate_memory(VkDevice handle,
                                                      const VkMemoryAllocateInfo *info,
                                                      const VkAllocationCallbacks *allocator,
                                                      VkDeviceMemory *made)
{
    struct device *const device = device_of(handle);
    const uint64_t before = broken;
    VkMemoryAllocateInfo changed = *info;
    const bool unmappable = device->memory_type != UINT32_MAX && info->memoryTypeIndex == 0;
    if (device->memory_type != UINT32_MAX) {
        if (info->memoryTypeIndex > 1)
            watch_broken("memory of type %u", info->memoryTypeIndex);
        changed.memoryTypeIndex = device->memory_type;
    }
    if (info->allocationSize > device->max_allocation)
        watch_broken("an allocation of %" PRIu64 " bytes", info->allocationSize);
    if (device->alive[KIND_Memory] >= device->limits.maxMemoryAllocationCount)
        watch_broken("%" PRId64 " allocations", device->alive[KIND_Memory] + 1);
    memset(made, 0x5a, sizeof *made);
    if (refused() || broken != before) /* a device short of memory would be offered another type */
        return VK_ERROR_OUT_OF_HOST_MEMORY;
    const VkResult code = real.vkAllocateMemory(handle, &changed, allocator, made);
    if (code == VK_SUCCESS)
        count(device, KIND_Memory, 1);
    if (code == VK_SUCCESS && unmappable)
        hold((uint64_t)*made, NULL, 0);
    return code;
}

static VKAPI_ATTR void VKAPI_CALL free_memory(VkDevice handle, VkDeviceMemory memory,
                                              const VkAllocationCallbacks *allocator)
{
    if (memory != VK_NULL_HANDLE) {
        count(device_of(handle), KIND_Memory, -1);
        release((uint64_t)memory);
    }
    real.vkFreeMemory(handle, memory, allocator);
}

static VKAPI_ATTR VkResult VKAPI_CALL map_memory(VkDevice handle, VkDeviceMemory memory,
                                                 VkDeviceSize offset, VkDeviceSize size,
                                                 VkMemoryMapFlags flags, void **data)
{
    pthread_mutex_lock(&watch.lock);
    const bool unmappable = held_find((uint64_t)memory) != NULL;
    pthread_mutex_unlock(&watch.lock);
    if (unmappable)
        watch_broken("memory is mapped that the host cannot see");
    *data = (void *)(uintptr_t)16;
    return refused() || unmappable ? VK_ERROR_MEMORY_MAP_FAILED
                                   : real.vkMapMemory(handle, memory, offset, size, flags, data);
}

static VKAPI_ATTR VkResult VKAPI_CALL bind_memory(VkDevice handle, VkBuffer buffer,
                                                  VkDeviceMemory memory, VkDeviceSize offset)
{
    return refused() ? VK_ERROR_OUT_OF_DEVICE_MEMORY
                     : real.vkBindBufferMemory(handle, buffer, memory, offset);
}

static VKAPI_ATTR void VKAPI_CALL get_requirements(VkDevice handle, VkBuffer buffer,
                                                   VkMemoryRequirements *need)
{
    const struct device *const device = device_of(handle);
    real.vkGetBufferMemoryRequirements(handle, buffer, need);
    if (device->memory_type != UINT32_MAX)
        need->memoryTypeBits = need->memoryTypeBits & 1u << device->memory_type ? 3 : 0;
}

static VKAPI_ATTR VkResult VKAPI_CALL allocate_sets(VkDevice handle,
                                                    const VkDescriptorSetAllocateInfo *info,
                                                    VkDescriptorSet *sets)
{
    return refused() ? VK_ERROR_OUT_OF_POOL_MEMORY
                     : real.vkAllocateDescriptorSets(handle, info, sets);
}

static VKAPI_ATTR VkResult VKAPI_CALL allocate_commands(VkDevice handle,
                                                        const VkCommandBufferAllocateInfo *info,
                                                        VkCommandBuffer *commands)
{
    return refused() ? VK_ERROR_OUT_OF_DEVICE_MEMORY
                     : real.vkAllocateCommandBuffers(handle, info, commands);
}

static void check_writes(const struct device *device, uint32_t writes,
                         const VkWriteDescriptorSet *write)
{
    const VkPhysicalDeviceLimits *const limits = &device->limits;
    for (uint32_t i = 0; i < writes; i++) {
        for (uint32_t j = 0; j < write[i].descriptorCount; j++) {
            const VkDescriptorBufferInfo *const binding = &write[i].pBufferInfo[j];
            if (write[i].descriptorType != VK_DESCRIPTOR_TYPE_STORAGE_BUFFER)
                watch_broken("a descriptor of type %d", (int)write[i].descriptorType);
            else if (binding->range == VK_WHOLE_SIZE || binding->range == 0 ||
                     binding->range > limits->maxStorageBufferRange)
                watch_broken("a binding of %" PRIu64 " bytes of %u", binding->range,
                             limits->maxStorageBufferRange);
            if (binding->offset % limits->minStorageBufferOffsetAlignment != 0)
                watch_broken("a binding at byte %" PRIu64 ", no multiple of %" PRIu64,
                             binding->offset, limits->minStorageBufferOffsetAlignment);
        }
    }
}

static VKAPI_ATTR void VKAPI_CALL update_sets(VkDevice handle, uint32_t writes,
                                              const VkWriteDescriptorSet *write, uint32_t copies,
                                              const VkCopyDescriptorSet *copy)
{
    const uint64_t before = broken;
    check_writes(device_of(handle), writes, write);
    if (broken == before)
        real.vkUpdateDescriptorSets(handle, writes, write, copies, copy);
}

static VKAPI_ATTR void VKAPI_CALL push_set(VkCommandBuffer command, VkPipelineBindPoint point,
                                           VkPipelineLayout layout, uint32_t set, uint32_t writes,
                                           const VkWriteDescriptorSet *write)
{
    const struct device *const device = device_of(command);
    const uint64_t before = broken;
    if (!device->push_descriptors)
        watch_broken("vkCmdPushDescriptorSetKHR, which is not enabled");
    check_writes(device, writes, write);
    if (broken == before)
        real.vkCmdPushDescriptorSetKHR(command, point, layout, set, writes, write);
}

static VKAPI_ATTR void VKAPI_CALL push_constants(VkCommandBuffer command, VkPipelineLayout layout,
                                                 VkShaderStageFlags stages, uint32_t offset,
                                                 uint32_t size, const void *values)
{
    const uint32_t most = device_of(command)->limits.maxPushConstantsSize;
    if (offset + size > most)
        watch_broken("push constants to byte %u of %u", offset + size, most);
    else
        real.vkCmdPushConstants(command, layout, stages, offset, size, values);
}

static VKAPI_ATTR void VKAPI_CALL dispatch(VkCommandBuffer command, uint32_t x, uint32_t y,
                                           uint32_t z)
{
    const uint32_t *const most = device_of(command)->limits.maxComputeWorkGroupCount;
    if (x > most[0] || y > most[1] || z > most[2])
        watch_broken("a dispatch of %u x %u x %u workgroups", x, y, z);
    else
        real.vkCmdDispatch(command, x, y, z);
}

PFN_vkVoidFunction watch_function(const char *name)
{
    static const struct {
        const char *name;
        PFN_vkVoidFunction function;
    } table[] = {
        {"vkCreateShaderModule", (PFN_vkVoidFunction)create_module},
        {"vkDestroyShaderModule", (PFN_vkVoidFunction)destroy_module},
#define ROWS(type, check) \
    {"vkCreate" #type, (PFN_vkVoidFunction)create_##type}, \
        {"vkDestroy" #type, (PFN_vkVoidFunction)destroy_##type},
        OBJECTS(ROWS){"vkCreateDevice", (PFN_vkVoidFunction)create_device},
        {"vkDestroyDevice", (PFN_vkVoidFunction)destroy_device},
        {"vkAllocateMemory", (PFN_vkVoidFunction)allocate_memory},
        {"vkFreeMemory", (PFN_vkVoidFunction)free_memory},
        {"vkMapMemory", (PFN_vkVoidFunction)map_memory},
        {"vkBindBufferMemory", (PFN_vkVoidFunction)bind_memory},
        {"vkGetBufferMemoryRequirements", (PFN_vkVoidFunction)get_requirements},
        {"vkCreateComputePipelines", (PFN_vkVoidFunction)create_pipelines},
        {"vkDestroyPipeline", (PFN_vkVoidFunction)destroy_pipeline},
        {"vkAllocateDescriptorSets", (PFN_vkVoidFunction)allocate_sets},
        {"vkAllocateCommandBuffers", (PFN_vkVoidFunction)allocate_commands},
        {"vkUpdateDescriptorSets", (PFN_vkVoidFunction)update_sets},
        {"vkCmdPushDescriptorSetKHR", (PFN_vkVoidFunction)push_set},
        {"vkCmdPushConstants", (PFN_vkVoidFunction)push_constants},
        {"vkCmdDispatch", (PFN_vkVoidFunction)dispatch},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (strcmp(table[i].name, name) == 0)
            return table[i].function;
    }
    return NULL;
}
