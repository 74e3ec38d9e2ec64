/* SPDX-License-Identifier: MIT */
#include "shim.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define INSTANCE_FUNCTIONS(X) \
    X(vkGetDeviceProcAddr) \
    X(vkGetPhysicalDeviceProperties) \
    X(vkGetPhysicalDeviceProperties2) \
    X(vkGetPhysicalDeviceFeatures2) \
    X(vkGetPhysicalDeviceMemoryProperties) \
    X(vkEnumerateDeviceExtensionProperties)

/* The loader's functions are the same for every instance: they find the driver by the handle. */
static struct {
    PFN_vkGetInstanceProcAddr loader;
    uint32_t version; /* of Vulkan that the last instance asked for */
    PFN_vkCreateInstance vkCreateInstance;
#define MEMBER(name) PFN_##name name;
    INSTANCE_FUNCTIONS(MEMBER)
} real;
static struct shim_promise promised;

void shim_promise(const struct shim_promise *promise)
{
    promised = *promise;
}

bool shim_mode(const char *mode, struct shim_promise *promise)
{
    static const struct {
        const char *mode;
        struct shim_promise promise;
    } modes[] = {
        {"import", {.without = 0}},
        {"limits", {.without = SHIM_ALL, .least = true}},
        {"small-range", {.without = SHIM_ALL, .least = true, .storage_range = 5 << 20}},
        {"discrete", {.discrete = true}},
        {"no-push-descriptors", {.without = SHIM_PUSH_DESCRIPTORS}},
        {"no-16bit", {.without = SHIM_16BIT_STORAGE}},
        {"no-addresses", {.without = SHIM_ADDRESSES}},
        {"no-float-controls", {.without = SHIM_FLOAT_CONTROLS}},
        {"no-subgroups", {.without = SHIM_SUBGROUPS}},
        {"one-size", {.one_size = true}},
    };
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        if (strcmp(modes[i].mode, mode) == 0) {
            *promise = modes[i].promise;
            return true;
        }
    }
    return false;
}

uint32_t shim_without(void)
{
    return promised.without;
}

bool shim_one_size(void)
{
    return promised.one_size;
}

bool shim_split_memory(void)
{
    return promised.discrete;
}

static void at_most(uint32_t *limit, uint32_t most)
{
    if (*limit > most)
        *limit = most;
}

/* The least of the table "Required Limits", but for what dijiang needs beyond. */
static void make_poor(VkPhysicalDeviceLimits *limits)
{
    static const uint32_t sizes[3] = {128, 128, 64};
    at_most(&limits->maxPushConstantsSize, 128);
    at_most(&limits->maxMemoryAllocationCount, 4096);
    at_most(&limits->maxBoundDescriptorSets, 4);
    at_most(&limits->maxPerStageDescriptorStorageBuffers, 8);
    at_most(&limits->maxDescriptorSetStorageBuffers, 24);
    at_most(&limits->maxPerStageResources, 128);
    at_most(&limits->maxComputeSharedMemorySize, 16384);
    at_most(&limits->maxComputeWorkGroupInvocations, 128);
    at_most(&limits->maxStorageBufferRange, 1 << 27);
    for (int i = 0; i < 3; i++) {
        at_most(&limits->maxComputeWorkGroupCount[i], 65535);
        at_most(&limits->maxComputeWorkGroupSize[i], sizes[i]);
    }
    limits->minStorageBufferOffsetAlignment = 256;
    limits->nonCoherentAtomSize = 256;
}

static void lie(VkPhysicalDeviceProperties *properties)
{
    if (promised.least)
        make_poor(&properties->limits);
    if (promised.storage_range != 0)
        at_most(&properties->limits.maxStorageBufferRange, (uint32_t)promised.storage_range);
    if (promised.without == SHIM_ALL && properties->apiVersion > VK_API_VERSION_1_1)
        properties->apiVersion = VK_API_VERSION_1_1;
    if (promised.discrete)
        properties->deviceType = VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU;
}

void shim_properties(VkPhysicalDevice physical, VkPhysicalDeviceProperties *properties)
{
    real.vkGetPhysicalDeviceProperties(physical, properties);
    lie(properties);
}

static VKAPI_ATTR void VKAPI_CALL get_properties(VkPhysicalDevice physical,
                                                 VkPhysicalDeviceProperties *properties)
{
    shim_properties(physical, properties);
}

static void lie_of_subgroups(VkSubgroupFeatureFlags *operations, VkBool32 *quads)
{
    if (promised.without & SHIM_SUBGROUPS) {
        *operations = VK_SUBGROUP_FEATURE_BASIC_BIT;
        *quads = VK_FALSE;
    }
}

static void lie_of_allocations(VkDeviceSize *size)
{
    if (promised.least && *size > 1u << 30)
        *size = 1u << 30;
}

static void lie_of_node(VkBaseOutStructure *node)
{
    const bool controls = !(promised.without & SHIM_FLOAT_CONTROLS);
    switch ((int)node->sType) {
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES: {
        VkPhysicalDeviceSubgroupProperties *const p = (void *)node;
        lie_of_subgroups(&p->supportedOperations, &p->quadOperationsInAllStages);
        break;
    }
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES:
        if (promised.driver != 0)
            ((VkPhysicalDeviceDriverProperties *)(void *)node)->driverID =
                (VkDriverId)promised.driver;
        break;
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES: {
        VkPhysicalDeviceVulkan11Properties *const p = (void *)node;
        lie_of_subgroups(&p->subgroupSupportedOperations, &p->subgroupQuadOperationsInAllStages);
        lie_of_allocations(&p->maxMemoryAllocationSize);
        break;
    }
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES:
        lie_of_allocations(
            &((VkPhysicalDeviceMaintenance3Properties *)(void *)node)->maxMemoryAllocationSize);
        break;
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES:
        if ((promised.without & SHIM_SUBGROUPS) || promised.one_size)
            ((VkPhysicalDeviceSubgroupSizeControlProperties *)(void *)node)
                ->requiredSubgroupSizeStages = 0;
        break;
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FLOAT_CONTROLS_PROPERTIES:
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_PROPERTIES:
        if (!controls && node->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FLOAT_CONTROLS_PROPERTIES)
            ((VkPhysicalDeviceFloatControlsProperties *)(void *)node)
                ->shaderSignedZeroInfNanPreserveFloat32 = VK_FALSE;
        else if (!controls)
            ((VkPhysicalDeviceVulkan12Properties *)(void *)node)
                ->shaderSignedZeroInfNanPreserveFloat32 = VK_FALSE;
        break;
    default:
        break;
    }
}

static VKAPI_ATTR void VKAPI_CALL get_properties2(VkPhysicalDevice physical,
                                                  VkPhysicalDeviceProperties2 *properties)
{
    real.vkGetPhysicalDeviceProperties2(physical, properties);
    lie(&properties->properties);
    for (VkBaseOutStructure *node = properties->pNext; node != NULL; node = node->pNext)
        lie_of_node(node);
}

VkDeviceSize shim_max_allocation(VkPhysicalDevice physical)
{
    VkPhysicalDeviceMaintenance3Properties maintenance = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES};
    VkPhysicalDeviceProperties2 properties = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &maintenance};
    get_properties2(physical, &properties);
    return maintenance.maxMemoryAllocationSize;
}

static VKAPI_ATTR void VKAPI_CALL get_features2(VkPhysicalDevice physical,
                                                VkPhysicalDeviceFeatures2 *features)
{
    real.vkGetPhysicalDeviceFeatures2(physical, features);
    const uint32_t without = promised.without;
    if (without == SHIM_ALL)
        features->features = (VkPhysicalDeviceFeatures){.robustBufferAccess = VK_TRUE};
    for (VkBaseOutStructure *node = features->pNext; node != NULL; node = node->pNext) {
        VkBaseOutStructure *const next = node->pNext;
        const VkStructureType type = node->sType;
        size_t size = 0;
        switch ((int)type) {
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_16BIT_STORAGE_FEATURES:
            size = without & SHIM_16BIT_STORAGE ? sizeof(VkPhysicalDevice16BitStorageFeatures) : 0;
            break;
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_BUFFER_DEVICE_ADDRESS_FEATURES:
            size =
                without & SHIM_ADDRESSES ? sizeof(VkPhysicalDeviceBufferDeviceAddressFeatures) : 0;
            break;
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES:
            size =
                without & SHIM_SUBGROUPS ? sizeof(VkPhysicalDeviceSubgroupSizeControlFeatures) : 0;
            break;
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES:
            if (without & SHIM_16BIT_STORAGE)
                ((VkPhysicalDeviceVulkan11Features *)(void *)node)->storageBuffer16BitAccess =
                    VK_FALSE;
            break;
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES:
            if (without & SHIM_ADDRESSES)
                ((VkPhysicalDeviceVulkan12Features *)(void *)node)->bufferDeviceAddress = VK_FALSE;
            break;
        default:
            break;
        }
        if (size != 0) {
            memset(node, 0, size);
            node->sType = type;
            node->pNext = next;
        }
    }
}

uint32_t shim_memory_type(VkPhysicalDevice physical)
{
    const VkMemoryPropertyFlags all = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT |
                                      VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT |
                                      VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    VkPhysicalDeviceMemoryProperties memory;
    real.vkGetPhysicalDeviceMemoryProperties(physical, &memory);
    for (uint32_t i = 0; i < memory.memoryTypeCount; i++) {
        if ((memory.memoryTypes[i].propertyFlags & all) == all)
            return i;
    }
    return UINT32_MAX;
}

/* Type 0 the device's own, type 1 the host's, each of a heap as large as the real one. */
static VKAPI_ATTR void VKAPI_CALL get_memory(VkPhysicalDevice physical,
                                             VkPhysicalDeviceMemoryProperties *memory)
{
    real.vkGetPhysicalDeviceMemoryProperties(physical, memory);
    const uint32_t type = shim_memory_type(physical);
    if (!promised.discrete || type == UINT32_MAX)
        return;
    const VkDeviceSize size = memory->memoryHeaps[memory->memoryTypes[type].heapIndex].size;
    *memory = (VkPhysicalDeviceMemoryProperties){
        .memoryTypeCount = 2,
        .memoryTypes = {{.propertyFlags = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT},
                        {.propertyFlags = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT |
                                          VK_MEMORY_PROPERTY_HOST_COHERENT_BIT,
                         .heapIndex = 1}},
        .memoryHeapCount = 2,
        .memoryHeaps = {{.size = size, .flags = VK_MEMORY_HEAP_DEVICE_LOCAL_BIT}, {.size = size}},
    };
}

bool shim_offered(const char *extension)
{
    static const struct {
        const char *name;
        uint32_t feature;
    } table[] = {
        {"VK_KHR_push_descriptor", SHIM_PUSH_DESCRIPTORS},
        {"VK_KHR_buffer_device_address", SHIM_ADDRESSES},
        {"VK_EXT_buffer_device_address", SHIM_ADDRESSES},
        {"VK_KHR_16bit_storage", SHIM_16BIT_STORAGE},
        {"VK_KHR_shader_float_controls", SHIM_FLOAT_CONTROLS},
        {"VK_KHR_shader_float_controls2", SHIM_FLOAT_CONTROLS},
        {"VK_EXT_subgroup_size_control", SHIM_SUBGROUPS},
    };
    if (promised.without == SHIM_ALL) /* but for what must be enabled where it is */
        return strcmp(extension, "VK_KHR_portability_subset") == 0;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if ((promised.without & table[i].feature) != 0 && strcmp(extension, table[i].name) == 0)
            return false;
    }
    return true;
}

static VKAPI_ATTR VkResult VKAPI_CALL enumerate_extensions(VkPhysicalDevice physical,
                                                           const char *layer, uint32_t *count,
                                                           VkExtensionProperties *extensions)
{
    uint32_t have = 0, offered = 0;
    VkResult code = real.vkEnumerateDeviceExtensionProperties(physical, layer, &have, NULL);
    VkExtensionProperties *const all = calloc(have + 1, sizeof *all);
    if (code == VK_SUCCESS && all == NULL)
        code = VK_ERROR_OUT_OF_HOST_MEMORY;
    if (code == VK_SUCCESS)
        code = real.vkEnumerateDeviceExtensionProperties(physical, layer, &have, all);
    for (uint32_t i = 0; code == VK_SUCCESS && i < have; i++) {
        if (!shim_offered(all[i].extensionName))
            continue;
        if (extensions != NULL && offered == *count)
            code = VK_INCOMPLETE;
        else if (extensions != NULL)
            extensions[offered++] = all[i];
        else
            offered++;
    }
    free(all);
    *count = offered;
    return code;
}

uint32_t shim_version(void)
{
    return real.version;
}

PFN_vkVoidFunction shim_real(VkInstance instance, const char *name)
{
    return real.loader(instance, name);
}

static VKAPI_ATTR VkResult VKAPI_CALL create_instance(const VkInstanceCreateInfo *info,
                                                      const VkAllocationCallbacks *allocator,
                                                      VkInstance *instance)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    const VkResult code = real.vkCreateInstance(info, allocator, instance);
    if (code != VK_SUCCESS)
        return code;
    pthread_mutex_lock(&lock);
    real.version = info->pApplicationInfo != NULL ? info->pApplicationInfo->apiVersion : 0;
#define LOAD(name) real.name = (PFN_##name)real.loader(*instance, #name);
    INSTANCE_FUNCTIONS(LOAD)
    watch_load(*instance);
    pthread_mutex_unlock(&lock);
    return VK_SUCCESS;
}

static PFN_vkVoidFunction hook(const char *name);

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_device_proc_addr(VkDevice device,
                                                                     const char *name)
{
    const PFN_vkVoidFunction function = real.vkGetDeviceProcAddr(device, name);
    const PFN_vkVoidFunction ours = function != NULL ? hook(name) : NULL;
    return ours != NULL ? ours : function;
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_instance_proc_addr(VkInstance instance,
                                                                       const char *name)
{
    const PFN_vkVoidFunction function = real.loader(instance, name);
    const PFN_vkVoidFunction ours = function != NULL ? hook(name) : NULL;
    return ours != NULL ? ours : function;
}

static PFN_vkVoidFunction hook(const char *name)
{
    static const struct {
        const char *name;
        PFN_vkVoidFunction function;
    } hooks[] = {
        {"vkGetInstanceProcAddr", (PFN_vkVoidFunction)get_instance_proc_addr},
        {"vkGetDeviceProcAddr", (PFN_vkVoidFunction)get_device_proc_addr},
        {"vkCreateInstance", (PFN_vkVoidFunction)create_instance},
        {"vkGetPhysicalDeviceProperties", (PFN_vkVoidFunction)get_properties},
        {"vkGetPhysicalDeviceProperties2", (PFN_vkVoidFunction)get_properties2},
        {"vkGetPhysicalDeviceProperties2KHR", (PFN_vkVoidFunction)get_properties2},
        {"vkGetPhysicalDeviceFeatures2", (PFN_vkVoidFunction)get_features2},
        {"vkGetPhysicalDeviceFeatures2KHR", (PFN_vkVoidFunction)get_features2},
        {"vkGetPhysicalDeviceMemoryProperties", (PFN_vkVoidFunction)get_memory},
        {"vkEnumerateDeviceExtensionProperties", (PFN_vkVoidFunction)enumerate_extensions},
    };
    for (size_t i = 0; i < sizeof hooks / sizeof *hooks; i++) {
        if (strcmp(hooks[i].name, name) == 0)
            return hooks[i].function;
    }
    return watch_function(name);
}

PFN_vkGetInstanceProcAddr shim_between(PFN_vkGetInstanceProcAddr loader)
{
    real.loader = loader;
    real.vkCreateInstance = (PFN_vkCreateInstance)loader(NULL, "vkCreateInstance");
    return get_instance_proc_addr;
}
