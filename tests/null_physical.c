/* SPDX-License-Identifier: MIT */
/* The null device's instance and physical device: what it offers, and devices with some of it. */
#include "null_inside.h"

#define LEAST \
    { \
        .api_version = VK_API_VERSION_1_1, .type = VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU, \
        .shared_memory = 16384, .max_invocations = 128, .max_size = {128, 128, 64}, \
        .max_workgroups = {65535, 65535, 65535}, .storage_buffers = 8, .push_constants = 128, \
        .subgroup_size = 1, .queue_families = 1, .storage_range = UINT64_C(1) << 27, \
        .allocation = UINT64_C(1) << 30, .offset_alignment = 256, .heap = UINT64_C(1) << 32, \
    }

static struct null_settings now = LEAST;

struct null_settings null_least(void)
{
    return (struct null_settings)LEAST;
}

void null_device_set(const struct null_settings *settings)
{
    now = settings != NULL ? *settings : null_least();
}

/* A name in a list of extensions. */
static bool listed(const char *name, const char *const *names, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (strcmp(names[i], name) == 0)
            return true;
    }
    return false;
}

/* Vulkan's way to hand out a list of extensions. */
static VkResult list_extensions(const char *const *names, uint32_t found, uint32_t *count,
                                VkExtensionProperties *properties)
{
    if (properties == NULL) {
        *count = found;
        return VK_SUCCESS;
    }
    const uint32_t room = *count;
    *count = room < found ? room : found;
    for (uint32_t i = 0; i < *count; i++) {
        properties[i] = (VkExtensionProperties){.specVersion = 1};
        strcpy(properties[i].extensionName, names[i]);
    }
    return room < found ? VK_INCOMPLETE : VK_SUCCESS;
}

static VKAPI_ATTR VkResult VKAPI_CALL null_vkEnumerateInstanceVersion(uint32_t *version)
{
    NULL_ENTER_MAKING(vkEnumerateInstanceVersion, NULL, version, sizeof *version);
    *version = now.api_version;
    return VK_SUCCESS;
}
NULL_PROVIDE(vkEnumerateInstanceVersion)

static VKAPI_ATTR VkResult VKAPI_CALL null_vkEnumerateInstanceExtensionProperties(
    const char *layer, uint32_t *count, VkExtensionProperties *properties)
{
    NULL_ENTER_MAKING(vkEnumerateInstanceExtensionProperties, NULL, count, sizeof *count);
    const char *const own[] = {VK_KHR_PORTABILITY_ENUMERATION_EXTENSION_NAME};
    const char *const of_layer[] = {VK_EXT_DEBUG_UTILS_EXTENSION_NAME,
                                    VK_EXT_VALIDATION_FEATURES_EXTENSION_NAME};
    return layer != NULL ? list_extensions(of_layer, 2, count, properties)
                         : list_extensions(own, 1, count, properties);
}
NULL_PROVIDE(vkEnumerateInstanceExtensionProperties)

static VKAPI_ATTR VkResult VKAPI_CALL
null_vkEnumerateInstanceLayerProperties(uint32_t *count, VkLayerProperties *properties)
{
    NULL_ENTER_MAKING(vkEnumerateInstanceLayerProperties, NULL, count, sizeof *count);
    const uint32_t found = now.layer ? 1 : 0;
    if (properties != NULL && *count > 0 && found > 0) {
        properties[0] = (VkLayerProperties){.specVersion = VK_API_VERSION_1_1};
        strcpy(properties[0].layerName, "VK_LAYER_KHRONOS_validation");
    }
    *count = properties == NULL || *count > found ? found : *count;
    return VK_SUCCESS;
}
NULL_PROVIDE(vkEnumerateInstanceLayerProperties)

static VKAPI_ATTR VkResult VKAPI_CALL null_vkCreateInstance(const VkInstanceCreateInfo *info,
                                                            const VkAllocationCallbacks *callbacks,
                                                            VkInstance *handle)
{
    NULL_ENTER_MAKING(vkCreateInstance, NULL, handle, sizeof *handle);
    struct null_instance *const instance =
        null_object_create(NULL_OBJECT_INSTANCE, sizeof *instance, NULL, callbacks);
    if (instance == NULL)
        return VK_ERROR_OUT_OF_HOST_MEMORY;
    instance->settings = now;
    instance->debug_utils = listed(VK_EXT_DEBUG_UTILS_EXTENSION_NAME, info->ppEnabledExtensionNames,
                                   info->enabledExtensionCount);
    if (instance->debug_utils && !instance->settings.layer)
        null_misuse("vkCreateInstance: VK_EXT_debug_utils is not there");
    *handle = NULL_HANDLE_OF(VkInstance, instance);
    return VK_SUCCESS;
}
NULL_PROVIDE(vkCreateInstance)

static VKAPI_ATTR void VKAPI_CALL null_vkDestroyInstance(VkInstance handle,
                                                         const VkAllocationCallbacks *callbacks)
{
    NULL_ENTER(vkDestroyInstance);
    if (handle != NULL)
        null_object_destroy(NULL_OF(handle, INSTANCE), callbacks);
}
NULL_PROVIDE(vkDestroyInstance)

static VKAPI_ATTR VkResult VKAPI_CALL null_vkCreateDebugUtilsMessengerEXT(
    VkInstance instance, const VkDebugUtilsMessengerCreateInfoEXT *info,
    const VkAllocationCallbacks *callbacks, VkDebugUtilsMessengerEXT *handle)
{
    (void)info;
    NULL_ENTER_MAKING(vkCreateDebugUtilsMessengerEXT, NULL, handle, sizeof *handle);
    struct null_object *const made = null_object_create(NULL_OBJECT_MESSENGER, sizeof *made,
                                                        NULL_OF(instance, INSTANCE), callbacks);
    *handle = NULL_HANDLE_OF(VkDebugUtilsMessengerEXT, made);
    return made != NULL ? VK_SUCCESS : VK_ERROR_OUT_OF_HOST_MEMORY;
}
NULL_PROVIDE(vkCreateDebugUtilsMessengerEXT)

static VKAPI_ATTR void VKAPI_CALL null_vkDestroyDebugUtilsMessengerEXT(
    VkInstance instance, VkDebugUtilsMessengerEXT handle, const VkAllocationCallbacks *callbacks)
{
    (void)instance;
    NULL_ENTER(vkDestroyDebugUtilsMessengerEXT);
    if (handle != VK_NULL_HANDLE)
        null_object_destroy(NULL_OF(handle, MESSENGER), callbacks);
}
NULL_PROVIDE(vkDestroyDebugUtilsMessengerEXT)

static VKAPI_ATTR VkResult VKAPI_CALL
null_vkSetDebugUtilsObjectNameEXT(VkDevice handle, const VkDebugUtilsObjectNameInfoEXT *info)
{
    if (info->objectHandle == 0 || info->pObjectName == NULL)
        null_misuse("vkSetDebugUtilsObjectNameEXT: no %s",
                    info->objectHandle == 0 ? "object" : "name");
    return null_enter_fallible(NULL_vkSetDebugUtilsObjectNameEXT, NULL_DEVICE_OF(handle));
}
NULL_PROVIDE(vkSetDebugUtilsObjectNameEXT)

static VKAPI_ATTR VkResult VKAPI_CALL null_vkEnumeratePhysicalDevices(VkInstance instance,
                                                                      uint32_t *count,
                                                                      VkPhysicalDevice *devices)
{
    NULL_ENTER_MAKING(vkEnumeratePhysicalDevices, NULL, count, sizeof *count);
    if (devices != NULL && *count > 0)
        devices[0] = NULL_HANDLE_OF(VkPhysicalDevice, NULL_OF(instance, INSTANCE));
    const bool fits = devices == NULL || *count > 0;
    *count = fits ? 1 : 0;
    return fits ? VK_SUCCESS : VK_INCOMPLETE;
}
NULL_PROVIDE(vkEnumeratePhysicalDevices)

static const struct null_settings *settings_of(VkPhysicalDevice physical)
{
    return &((struct null_instance *)NULL_OF(physical, INSTANCE))->settings;
}

static VKAPI_ATTR void VKAPI_CALL null_vkGetPhysicalDeviceProperties(
    VkPhysicalDevice physical, VkPhysicalDeviceProperties *properties)
{
    NULL_ENTER(vkGetPhysicalDeviceProperties);
    const struct null_settings *const settings = settings_of(physical);
    *properties = (VkPhysicalDeviceProperties){
        .apiVersion = settings->api_version,
        .driverVersion = 1,
        .vendorID = 0x10000,
        .deviceID = 1,
        .deviceType = (VkPhysicalDeviceType)settings->type,
        .deviceName = "null device",
        .limits =
            {
                .maxStorageBufferRange = (uint32_t)settings->storage_range,
                .maxPushConstantsSize = settings->push_constants,
                .maxMemoryAllocationCount = 4096,
                .maxBoundDescriptorSets = 4,
                .maxPerStageDescriptorStorageBuffers = settings->storage_buffers,
                .maxDescriptorSetStorageBuffers = settings->storage_buffers,
                .maxComputeSharedMemorySize = settings->shared_memory,
                .maxComputeWorkGroupInvocations = settings->max_invocations,
                .minStorageBufferOffsetAlignment = settings->offset_alignment,
                .nonCoherentAtomSize = 256,
            },
    };
    properties->limits.timestampPeriod = NULL_TICK;
    memcpy(properties->limits.maxComputeWorkGroupCount, settings->max_workgroups,
           sizeof settings->max_workgroups);
    memcpy(properties->limits.maxComputeWorkGroupSize, settings->max_size,
           sizeof settings->max_size);
    memset(properties->pipelineCacheUUID, 0x6e, VK_UUID_SIZE);
}
NULL_PROVIDE(vkGetPhysicalDeviceProperties)

static VKAPI_ATTR void VKAPI_CALL null_vkGetPhysicalDeviceProperties2(
    VkPhysicalDevice physical, VkPhysicalDeviceProperties2 *properties)
{
    NULL_ENTER(vkGetPhysicalDeviceProperties2);
    const struct null_settings *const settings = settings_of(physical);
    null_vkGetPhysicalDeviceProperties(physical, &properties->properties);
    for (VkBaseOutStructure *node = properties->pNext; node != NULL; node = node->pNext) {
        switch ((uint32_t)node->sType) {
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES:
            ((VkPhysicalDeviceMaintenance3Properties *)node)->maxMemoryAllocationSize =
                settings->allocation;
            break;
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES: {
            VkPhysicalDeviceSubgroupProperties *const subgroup = (void *)node;
            subgroup->subgroupSize = settings->subgroup_size;
            subgroup->supportedStages = VK_SHADER_STAGE_COMPUTE_BIT;
            subgroup->supportedOperations = VK_SUBGROUP_FEATURE_BASIC_BIT;
            if (settings->whole_subgroups)
                subgroup->supportedOperations |= VK_SUBGROUP_FEATURE_BALLOT_BIT |
                                                 VK_SUBGROUP_FEATURE_SHUFFLE_BIT |
                                                 VK_SUBGROUP_FEATURE_SHUFFLE_RELATIVE_BIT;
            break;
        }
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES: {
            VkPhysicalDeviceSubgroupSizeControlProperties *const control = (void *)node;
            control->minSubgroupSize = control->maxSubgroupSize = settings->subgroup_size;
            control->maxComputeWorkgroupSubgroups =
                settings->max_invocations / settings->subgroup_size;
            control->requiredSubgroupSizeStages = VK_SHADER_STAGE_COMPUTE_BIT;
            break;
        }
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FLOAT_CONTROLS_PROPERTIES:
            ((VkPhysicalDeviceFloatControlsProperties *)node)
                ->shaderSignedZeroInfNanPreserveFloat32 = settings->float_controls;
            break;
        default:
            break;
        }
    }
}
NULL_PROVIDE(vkGetPhysicalDeviceProperties2)

static VKAPI_ATTR void VKAPI_CALL
null_vkGetPhysicalDeviceFeatures2(VkPhysicalDevice physical, VkPhysicalDeviceFeatures2 *features)
{
    NULL_ENTER(vkGetPhysicalDeviceFeatures2);
    const struct null_settings *const settings = settings_of(physical);
    for (VkBaseOutStructure *node = features->pNext; node != NULL; node = node->pNext) {
        switch ((uint32_t)node->sType) {
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_16BIT_STORAGE_FEATURES:
            ((VkPhysicalDevice16BitStorageFeatures *)node)->storageBuffer16BitAccess =
                settings->storage_16bit;
            break;
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_BUFFER_DEVICE_ADDRESS_FEATURES:
            ((VkPhysicalDeviceBufferDeviceAddressFeatures *)node)->bufferDeviceAddress =
                settings->device_addresses;
            break;
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES: {
            VkPhysicalDeviceSubgroupSizeControlFeatures *const control = (void *)node;
            control->subgroupSizeControl = control->computeFullSubgroups =
                settings->whole_subgroups;
            break;
        }
        default:
            break;
        }
    }
}
NULL_PROVIDE(vkGetPhysicalDeviceFeatures2)

static VKAPI_ATTR void VKAPI_CALL null_vkGetPhysicalDeviceMemoryProperties(
    VkPhysicalDevice physical, VkPhysicalDeviceMemoryProperties *properties)
{
    NULL_ENTER(vkGetPhysicalDeviceMemoryProperties);
    const struct null_settings *const settings = settings_of(physical);
    const VkMemoryPropertyFlags local = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT,
                                mapped = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT |
                                         VK_MEMORY_PROPERTY_HOST_COHERENT_BIT,
                                cached = VK_MEMORY_PROPERTY_HOST_CACHED_BIT;
    *properties = (VkPhysicalDeviceMemoryProperties){
        .memoryHeapCount = 1,
        .memoryHeaps = {{.size = settings->heap, .flags = VK_MEMORY_HEAP_DEVICE_LOCAL_BIT}},
        .memoryTypeCount = 1,
        .memoryTypes = {{.propertyFlags = local | mapped | cached}},
    };
    if (settings->unified)
        return;
    properties->memoryHeapCount = 2;
    properties->memoryHeaps[1].size = settings->heap;
    properties->memoryTypeCount = 3;
    properties->memoryTypes[0].propertyFlags = local;
    properties->memoryTypes[1] = (VkMemoryType){.propertyFlags = mapped, .heapIndex = 1};
    properties->memoryTypes[2] = (VkMemoryType){.propertyFlags = mapped | cached, .heapIndex = 1};
}
NULL_PROVIDE(vkGetPhysicalDeviceMemoryProperties)

static VKAPI_ATTR void VKAPI_CALL null_vkGetPhysicalDeviceQueueFamilyProperties(
    VkPhysicalDevice physical, uint32_t *count, VkQueueFamilyProperties *families)
{
    NULL_ENTER(vkGetPhysicalDeviceQueueFamilyProperties);
    const uint32_t found = settings_of(physical)->queue_families;
    *count = families == NULL || *count > found ? found : *count;
    for (uint32_t i = 0; families != NULL && i < *count; i++)
        families[i] =
            (VkQueueFamilyProperties){.queueFlags = VK_QUEUE_COMPUTE_BIT | VK_QUEUE_TRANSFER_BIT,
                                      .queueCount = 1,
                                      .timestampValidBits = settings_of(physical)->timestamp_bits};
}
NULL_PROVIDE(vkGetPhysicalDeviceQueueFamilyProperties)

static VKAPI_ATTR VkResult VKAPI_CALL
null_vkEnumerateDeviceExtensionProperties(VkPhysicalDevice physical, const char *layer,
                                          uint32_t *count, VkExtensionProperties *properties)
{
    (void)layer;
    NULL_ENTER_MAKING(vkEnumerateDeviceExtensionProperties, NULL, count, sizeof *count);
    const struct null_settings *const settings = settings_of(physical);
    const char *names[8];
    uint32_t found = 0;
    if (settings->push_descriptors)
        names[found++] = VK_KHR_PUSH_DESCRIPTOR_EXTENSION_NAME;
    if (settings->device_addresses)
        names[found++] = VK_KHR_BUFFER_DEVICE_ADDRESS_EXTENSION_NAME;
    if (settings->float_controls)
        names[found++] = VK_KHR_SHADER_FLOAT_CONTROLS_EXTENSION_NAME;
    if (settings->whole_subgroups)
        names[found++] = VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME;
    if (settings->subgroup_ballot)
        names[found++] = VK_EXT_SHADER_SUBGROUP_BALLOT_EXTENSION_NAME;
    return list_extensions(names, found, count, properties);
}
NULL_PROVIDE(vkEnumerateDeviceExtensionProperties)

static bool enables_subgroups(const void *chain)
{
    for (const VkBaseInStructure *node = chain; node != NULL; node = node->pNext) {
        const VkPhysicalDeviceSubgroupSizeControlFeatures *const control = (const void *)node;
        if (node->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES)
            return control->subgroupSizeControl && control->computeFullSubgroups;
    }
    return false;
}

/* Whether the chain enables device addresses. */
static bool enables_addresses(const void *chain)
{
    for (const VkBaseInStructure *node = chain; node != NULL; node = node->pNext) {
        if (node->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_BUFFER_DEVICE_ADDRESS_FEATURES)
            return ((const VkPhysicalDeviceBufferDeviceAddressFeatures *)node)->bufferDeviceAddress;
    }
    return false;
}

/* The queues that a device is made with: the one of each family named. */
static void take_queues(struct null_device *device, const VkDeviceCreateInfo *info)
{
    for (uint32_t i = 0; i < info->queueCreateInfoCount; i++) {
        const uint32_t family = info->pQueueCreateInfos[i].queueFamilyIndex;
        if (family >= device->settings->queue_families ||
            info->pQueueCreateInfos[i].queueCount != 1 || (device->families >> family & 1)) {
            null_misuse("vkCreateDevice: not one queue of family %u", family);
            continue;
        }
        device->families |= 1u << family;
        device->queues[family] = (struct null_queue){.device = device, .family = family};
    }
}

static VKAPI_ATTR VkResult VKAPI_CALL null_vkCreateDevice(VkPhysicalDevice physical,
                                                          const VkDeviceCreateInfo *info,
                                                          const VkAllocationCallbacks *callbacks,
                                                          VkDevice *handle)
{
    NULL_ENTER_MAKING(vkCreateDevice, NULL, handle, sizeof *handle);
    struct null_instance *const instance = NULL_OF(physical, INSTANCE);
    const struct null_settings *const settings = &instance->settings;
    const char *const *const names = info->ppEnabledExtensionNames;
    const uint32_t count = info->enabledExtensionCount;
    struct null_device *const device =
        null_object_create(NULL_OBJECT_DEVICE, sizeof *device, &instance->object, callbacks);
    if (device == NULL)
        return VK_ERROR_OUT_OF_HOST_MEMORY;
    device->settings = settings;
    take_queues(device, info);
    device->push_descriptors = listed(VK_KHR_PUSH_DESCRIPTOR_EXTENSION_NAME, names, count);
    device->device_addresses = listed(VK_KHR_BUFFER_DEVICE_ADDRESS_EXTENSION_NAME, names, count) &&
                               enables_addresses(info->pNext);
    device->whole_subgroups = listed(VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME, names, count) &&
                              enables_subgroups(info->pNext);
    device->subgroup_ballot = listed(VK_EXT_SHADER_SUBGROUP_BALLOT_EXTENSION_NAME, names, count);
    if ((device->push_descriptors && !settings->push_descriptors) ||
        (device->device_addresses && !settings->device_addresses) ||
        (device->whole_subgroups && !settings->whole_subgroups) ||
        (device->subgroup_ballot && !settings->subgroup_ballot))
        null_misuse("vkCreateDevice: an extension that is not there is enabled");
    *handle = NULL_HANDLE_OF(VkDevice, device);
    return VK_SUCCESS;
}
NULL_PROVIDE(vkCreateDevice)

static VKAPI_ATTR void VKAPI_CALL null_vkDestroyDevice(VkDevice handle,
                                                       const VkAllocationCallbacks *callbacks)
{
    NULL_ENTER(vkDestroyDevice);
    if (handle != NULL)
        null_object_destroy(NULL_OF(handle, DEVICE), callbacks);
}
NULL_PROVIDE(vkDestroyDevice)

static VKAPI_ATTR void VKAPI_CALL null_vkGetDeviceQueue(VkDevice handle, uint32_t family,
                                                        uint32_t index, VkQueue *queue)
{
    NULL_ENTER(vkGetDeviceQueue);
    struct null_device *const device = NULL_DEVICE_OF(handle);
    const bool there = family < NULL_MOST_FAMILIES && (device->families >> family & 1);
    if (!there || index != 0)
        null_misuse("vkGetDeviceQueue: no queue %u of family %u", index, family);
    *queue = there ? NULL_HANDLE_OF(VkQueue, &device->queues[family]) : VK_NULL_HANDLE;
}
NULL_PROVIDE(vkGetDeviceQueue)
