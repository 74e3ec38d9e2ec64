/* SPDX-License-Identifier: MIT */
#include "device.h"
#include "instance.h"
#include "kernels.h"
#include "matrix.h"
#include "quirks.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What dijiang needs of a device; the first that fails is named in info.unsuitable. */
enum {
    NEED_INVOCATIONS = 128,
    NEED_SHARED_MEMORY = 16384,
    MOST_LANES = 32, /* of a subgroup: votes are words */
};

/* The extensions that matter here, by name: some are younger than the headers. */
struct device_extensions {
    bool push_descriptor, portability_subset, subgroup_size_control, buffer_device_address;
    bool float16_int8, float_controls, driver_properties, cooperative_matrix, memory_model;
    bool subgroup_ballot;
};

static void extension_note(struct device_extensions *have, const char *name)
{
    const struct {
        const char *name;
        bool *flag;
    } table[] = {
        {"VK_KHR_push_descriptor", &have->push_descriptor},
        {"VK_KHR_portability_subset", &have->portability_subset},
        {"VK_EXT_subgroup_size_control", &have->subgroup_size_control},
        {"VK_KHR_buffer_device_address", &have->buffer_device_address},
        {"VK_KHR_shader_float16_int8", &have->float16_int8},
        {"VK_KHR_shader_float_controls", &have->float_controls},
        {"VK_KHR_driver_properties", &have->driver_properties},
        {"VK_KHR_cooperative_matrix", &have->cooperative_matrix},
        {"VK_KHR_vulkan_memory_model", &have->memory_model},
        {"VK_EXT_shader_subgroup_ballot", &have->subgroup_ballot},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (strcmp(name, table[i].name) == 0)
            *table[i].flag = true;
}

static dj_result extensions_get(const struct dj_context *context, VkPhysicalDevice physical,
                                struct device_extensions *have)
{
    const struct dj_log *log = &context->log;
    VkExtensionProperties *list = NULL;
    uint32_t count;
    VkResult code;
    do {
        free(list);
        list = NULL;
        count = 0;
        code = context->vk.vkEnumerateDeviceExtensionProperties(physical, NULL, &count, NULL);
        if (code != VK_SUCCESS || count == 0)
            break;
        list = calloc(count, sizeof(*list));
        if (!list)
            return dj_fail(log, DJ_ERROR_OUT_OF_HOST_MEMORY, "no memory for %u extension names",
                           count);
        code = context->vk.vkEnumerateDeviceExtensionProperties(physical, NULL, &count, list);
    } while (code == VK_INCOMPLETE);
    const dj_result result = dj_vk_result(log, code, "vkEnumerateDeviceExtensionProperties");
    for (uint32_t i = 0; result == DJ_SUCCESS && i < count; i++)
        extension_note(have, list[i].extensionName);
    free(list);
    return result;
}

static void describe_properties(const struct dj_context *context, struct dj_device *device,
                                const struct device_extensions *have)
{
    VkPhysicalDeviceDriverProperties driver = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES};
    VkPhysicalDeviceSubgroupSizeControlProperties size_control = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES};
    VkPhysicalDeviceFloatControlsProperties float_controls = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FLOAT_CONTROLS_PROPERTIES};
    VkPhysicalDeviceMaintenance3Properties maintenance = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES};
    VkPhysicalDeviceSubgroupProperties subgroup = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES, .pNext = &maintenance};
    VkPhysicalDeviceProperties2 properties = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &subgroup};
    void **tail = &maintenance.pNext;
    if (have->driver_properties) {
        *tail = &driver;
        tail = &driver.pNext;
    }
    if (have->subgroup_size_control) {
        *tail = &size_control;
        tail = &size_control.pNext;
    }
    if (have->float_controls)
        *tail = &float_controls;
    context->vk.vkGetPhysicalDeviceProperties2(device->handle, &properties);

    struct dj_device_info *info = &device->info;
    if (have->driver_properties)
        snprintf(info->driver, sizeof(info->driver), "%.120s %.120s", driver.driverName,
                 driver.driverInfo);
    device->driver_id = (uint32_t)driver.driverID;
    info->subgroup_size = subgroup.subgroupSize;
    info->subgroup_size_min = info->subgroup_size_max = subgroup.subgroupSize;
    if (have->subgroup_size_control) {
        info->subgroup_size_min = size_control.minSubgroupSize;
        info->subgroup_size_max = size_control.maxSubgroupSize;
        device->max_subgroups = size_control.maxComputeWorkgroupSubgroups;
        info->subgroup_size_control =
            (size_control.requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT) != 0;
    }
    const VkSubgroupFeatureFlags exchange =
        VK_SUBGROUP_FEATURE_BASIC_BIT | VK_SUBGROUP_FEATURE_BALLOT_BIT |
        VK_SUBGROUP_FEATURE_SHUFFLE_BIT | VK_SUBGROUP_FEATURE_SHUFFLE_RELATIVE_BIT;
    info->whole_subgroups = (subgroup.supportedStages & VK_SHADER_STAGE_COMPUTE_BIT) != 0 &&
                            (subgroup.supportedOperations & exchange) == exchange &&
                            subgroup.subgroupSize <= MOST_LANES;
    info->subgroup_arithmetic =
        (subgroup.supportedStages & VK_SHADER_STAGE_COMPUTE_BIT) != 0 &&
        (subgroup.supportedOperations & VK_SUBGROUP_FEATURE_ARITHMETIC_BIT) != 0;
    info->signed_zero_inf_nan =
        have->float_controls && float_controls.shaderSignedZeroInfNanPreserveFloat32;
    device->halves_preserve =
        have->float_controls && float_controls.shaderSignedZeroInfNanPreserveFloat16;
    info->max_allocation = maintenance.maxMemoryAllocationSize;
}

static void describe_features(const struct dj_context *context, struct dj_device *device,
                              const struct device_extensions *have)
{
    VkPhysicalDeviceSubgroupSizeControlFeatures size_control = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES};
    VkPhysicalDeviceBufferDeviceAddressFeatures address = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_BUFFER_DEVICE_ADDRESS_FEATURES};
    VkPhysicalDeviceShaderFloat16Int8Features float16 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES};
    VkPhysicalDevice16BitStorageFeatures storage = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_16BIT_STORAGE_FEATURES};
    VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
                                          .pNext = &storage};
    void **tail = &storage.pNext;
    if (have->subgroup_size_control) {
        *tail = &size_control;
        tail = &size_control.pNext;
    }
    if (have->buffer_device_address) {
        *tail = &address;
        tail = &address.pNext;
    }
    if (have->float16_int8)
        *tail = &float16;
    context->vk.vkGetPhysicalDeviceFeatures2(device->handle, &features);

    struct dj_device_info *info = &device->info;
    const bool varies = size_control.subgroupSizeControl == VK_TRUE;
    info->subgroup_size_control = info->subgroup_size_control && varies;
    if (!varies)
        info->subgroup_size_min = info->subgroup_size_max = info->subgroup_size;
    const bool known =
        info->subgroup_size_control || info->subgroup_size_min == info->subgroup_size_max;
    device->full_subgroups = varies && known && size_control.computeFullSubgroups == VK_TRUE;
    info->whole_subgroups = info->whole_subgroups && device->full_subgroups;
    info->push_descriptor = have->push_descriptor;
    info->buffer_device_address = address.bufferDeviceAddress == VK_TRUE;
    info->storage_16bit = storage.storageBuffer16BitAccess == VK_TRUE;
    info->float16 = float16.shaderFloat16 == VK_TRUE;
    info->cooperative_matrix = have->cooperative_matrix;
}

static void describe_memory(const struct dj_context *context, struct dj_device *device)
{
    VkPhysicalDeviceMemoryProperties memory;
    context->vk.vkGetPhysicalDeviceMemoryProperties(device->handle, &memory);
    struct dj_device_info *info = &device->info;
    for (uint32_t i = 0; i < memory.memoryHeapCount; i++)
        if ((memory.memoryHeaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT) &&
            memory.memoryHeaps[i].size > info->device_memory)
            info->device_memory = memory.memoryHeaps[i].size;
    const VkMemoryPropertyFlags mappable = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT |
                                           VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT |
                                           VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    for (uint32_t i = 0; i < memory.memoryTypeCount; i++)
        if ((memory.memoryTypes[i].propertyFlags & mappable) == mappable)
            info->mappable = 1;
}

void dj_queue_families_get(const struct dj_context *context, VkPhysicalDevice physical,
                           struct dj_queue_families *families)
{
    context->vk.vkGetPhysicalDeviceQueueFamilyProperties(physical, &families->count, NULL);
    if (families->count > DJ_MOST_QUEUE_FAMILIES)
        families->count = DJ_MOST_QUEUE_FAMILIES;
    context->vk.vkGetPhysicalDeviceQueueFamilyProperties(physical, &families->count,
                                                         families->list);
}

/* Returns VK_QUEUE_FAMILY_IGNORED if there is none. */
static uint32_t compute_family(const struct dj_context *context, VkPhysicalDevice physical)
{
    struct dj_queue_families families;
    dj_queue_families_get(context, physical, &families);
    for (uint32_t i = 0; i < families.count; i++)
        if ((families.list[i].queueFlags & VK_QUEUE_COMPUTE_BIT) && families.list[i].queueCount > 0)
            return i;
    return VK_QUEUE_FAMILY_IGNORED;
}

__attribute__((format(printf, 3, 4))) static void require(struct dj_device_info *info,
                                                          bool satisfied, const char *format, ...)
{
    if (satisfied || info->unsuitable[0])
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(info->unsuitable, sizeof(info->unsuitable), format, args);
    va_end(args);
}

static void judge(struct dj_device *device)
{
    struct dj_device_info *info = &device->info;
    require(info, device->queue_family != VK_QUEUE_FAMILY_IGNORED,
            "no queue family with compute (1 is needed)");
    require(info, info->storage_buffers >= DJ_BINDINGS,
            "%u storage buffers per compute stage (%d are needed)", info->storage_buffers,
            DJ_BINDINGS);
    require(info, info->push_constants >= DJ_PUSH_BYTES,
            "%u bytes of push constants (%d are needed)", info->push_constants, DJ_PUSH_BYTES);
    require(info, info->max_invocations >= NEED_INVOCATIONS,
            "%u invocations per workgroup (%d are needed)", info->max_invocations,
            NEED_INVOCATIONS);
    require(info, info->shared_memory >= NEED_SHARED_MEMORY,
            "%u bytes of shared memory (%d are needed)", info->shared_memory, NEED_SHARED_MEMORY);
}

static void describe_limits(struct dj_device_info *info, const VkPhysicalDeviceProperties *basic)
{
    const VkPhysicalDeviceLimits *limits = &basic->limits;
    snprintf(info->name, sizeof(info->name), "%s", basic->deviceName);
    snprintf(info->driver, sizeof(info->driver), "driver version 0x%x", basic->driverVersion);
    info->type = (uint32_t)basic->deviceType;
    info->vendor_id = basic->vendorID;
    info->device_id = basic->deviceID;
    info->api_version = basic->apiVersion;
    info->driver_version = basic->driverVersion;
    info->max_invocations = limits->maxComputeWorkGroupInvocations;
    info->shared_memory = limits->maxComputeSharedMemorySize;
    info->storage_buffers = limits->maxPerStageDescriptorStorageBuffers;
    if (limits->maxDescriptorSetStorageBuffers < info->storage_buffers)
        info->storage_buffers = limits->maxDescriptorSetStorageBuffers;
    info->push_constants = limits->maxPushConstantsSize;
    memcpy(info->max_workgroups, limits->maxComputeWorkGroupCount, sizeof(info->max_workgroups));
    info->max_storage_range = limits->maxStorageBufferRange;
    /* kernels see whole words, some of them four at once */
    info->offset_alignment =
        limits->minStorageBufferOffsetAlignment > 16 ? limits->minStorageBufferOffsetAlignment : 16;
}

dj_result dj_device_describe(const struct dj_context *context, struct dj_device *device)
{
    VkPhysicalDeviceProperties basic;
    context->vk.vkGetPhysicalDeviceProperties(device->handle, &basic);
    describe_limits(&device->info, &basic);
    describe_memory(context, device);
    device->queue_family = compute_family(context, device->handle);
    if (basic.apiVersion < VK_API_VERSION_1_1) { /* the questions below would break its rules */
        require(&device->info, false, "Vulkan %u.%u (1.1 is needed)",
                VK_API_VERSION_MAJOR(basic.apiVersion), VK_API_VERSION_MINOR(basic.apiVersion));
        return DJ_SUCCESS;
    }
    struct device_extensions have = {0};
    const dj_result result = extensions_get(context, device->handle, &have);
    if (result != DJ_SUCCESS)
        return result;
    device->portability_subset = have.portability_subset;
    describe_properties(context, device, &have);
    describe_features(context, device, &have);
    device->read_invocation = have.subgroup_ballot && device->info.whole_subgroups &&
                              DJ_RESIDENT_READS(device->info.subgroup_size);
    judge(device);
    if (have.cooperative_matrix && have.memory_model && have.float16_int8)
        dj_matrix_describe(context, device);
    device->info.quirks = dj_quirks_match(device);
    return DJ_SUCCESS;
}

static dj_result handles_get(const struct dj_context *context, VkPhysicalDevice **handles,
                             uint32_t *count)
{
    VkResult code;
    do {
        free(*handles);
        *handles = NULL;
        *count = 0;
        code = dj_vk_enumerate_devices(&context->vk, context->instance, count, NULL);
        if (code != VK_SUCCESS || *count == 0)
            break;
        *handles = calloc(*count, sizeof(**handles));
        if (!*handles)
            return dj_fail(&context->log, DJ_ERROR_OUT_OF_HOST_MEMORY, "no memory for %u devices",
                           *count);
        code = dj_vk_enumerate_devices(&context->vk, context->instance, count, *handles);
    } while (code == VK_INCOMPLETE);
    if (code == VK_ERROR_INITIALIZATION_FAILED) { /* the loader's word for "no device" */
        *count = 0;
        return DJ_SUCCESS;
    }
    return dj_vk_result(&context->log, code, "vkEnumeratePhysicalDevices");
}

dj_result dj_device_place(const struct dj_context *context, struct dj_device *device)
{
    VkPhysicalDevice *handles = NULL;
    uint32_t count;
    const dj_result result = handles_get(context, &handles, &count);
    device->info.index = UINT32_MAX;
    for (uint32_t i = 0; result == DJ_SUCCESS && i < count; i++) {
        if (handles[i] == device->handle)
            device->info.index = i;
    }
    free(handles);
    return result;
}

dj_result dj_devices_init(const struct dj_context *context, struct dj_devices *devices)
{
    *devices = (struct dj_devices){0};
    VkPhysicalDevice *handles = NULL;
    uint32_t count;
    dj_result result = handles_get(context, &handles, &count);
    if (result != DJ_SUCCESS || count == 0)
        goto done;
    devices->list = calloc(count, sizeof(*devices->list));
    if (!devices->list) {
        result =
            dj_fail(&context->log, DJ_ERROR_OUT_OF_HOST_MEMORY, "no memory for %u devices", count);
        goto done;
    }
    devices->count = count;
    for (uint32_t i = 0; result == DJ_SUCCESS && i < count; i++) {
        devices->list[i].handle = handles[i];
        devices->list[i].info.index = i;
        result = dj_device_describe(context, &devices->list[i]);
    }
done:
    free(handles);
    return result;
}

void dj_devices_finish(struct dj_devices *devices)
{
    free(devices->list);
    *devices = (struct dj_devices){0};
}

/* Smaller is better; the order of the list decides among equals. */
static uint32_t rank(const struct dj_device_info *info)
{
    const uint32_t unsuitable = info->unsuitable[0] ? 100 : 0;
    switch (info->type) {
    case DJ_DEVICE_DISCRETE:
        return unsuitable + 0;
    case DJ_DEVICE_INTEGRATED:
        return unsuitable + 1;
    case DJ_DEVICE_VIRTUAL:
        return unsuitable + 2;
    case DJ_DEVICE_CPU:
        return unsuitable + 3;
    default:
        return unsuitable + 4;
    }
}

static char lower(char c) /* of ASCII, in every locale */
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool contains(const char *name, const char *part)
{
    for (;; name++) {
        size_t i = 0;
        while (part[i] && lower(name[i]) == lower(part[i]))
            i++;
        if (!part[i])
            return true;
        if (!*name)
            return false;
    }
}

/* Writes "0: name, 1: name", as far as it fits. */
static void names(const struct dj_devices *devices, char *text, size_t size)
{
    size_t used = 0;
    text[0] = '\0';
    for (uint32_t i = 0; i < devices->count && used < size; i++) {
        const int n = snprintf(text + used, size - used, "%s%u: %s", i ? ", " : "", i,
                               devices->list[i].info.name);
        used += n > 0 ? (size_t)n : 0;
    }
}

dj_result dj_devices_choose(const struct dj_log *log, const struct dj_devices *devices,
                            const char *text, const char *source, const struct dj_device **chosen)
{
    *chosen = NULL;
    if (devices->count == 0)
        return dj_fail(log, DJ_ERROR_NO_DEVICE, "this system has no Vulkan device");

    const bool digits = text && *text && text[strspn(text, "0123456789")] == '\0';
    const unsigned long index = digits ? strtoul(text, NULL, 10) : 0; /* ULONG_MAX if too large */
    const struct dj_device *best = NULL;
    for (uint32_t i = 0; i < devices->count; i++) {
        const struct dj_device *device = &devices->list[i];
        const bool match = !text || (digits ? index == i : contains(device->info.name, text));
        if (match && (!best || rank(&device->info) < rank(&best->info)))
            best = device;
    }
    char list[1024];
    if (!best) {
        names(devices, list, sizeof(list));
        return dj_fail(log, DJ_ERROR_DEVICE_NOT_FOUND,
                       "%s \"%s\": this system has %u device%s (%s)", source, text, devices->count,
                       devices->count == 1 ? "" : "s", list);
    }
    if (best->info.unsuitable[0])
        return dj_fail(log, DJ_ERROR_DEVICE_UNSUITABLE, "device %u (%s): %s%s", best->info.index,
                       best->info.name, best->info.unsuitable,
                       text ? "" : "; no other device is suitable either");
    *chosen = best;
    return DJ_SUCCESS;
}

dj_result dj_device_list(const struct dj_context_params *params, struct dj_device_info *infos,
                         uint32_t *count)
{
    const uint32_t capacity = count ? *count : 0;
    if (count)
        *count = 0;
    struct dj_context context = {0}; /* of which only log and instance come to life */
    struct dj_devices devices = {0};
    dj_result result = dj_params_init(&context, params);
    if (result == DJ_SUCCESS && !count)
        result = dj_fail(&context.log, DJ_ERROR_INVALID_ARGUMENT, "dj_device_list: count is NULL");
    if (result != DJ_SUCCESS)
        return result;

    result = dj_instance_init(&context, params);
    if (result == DJ_SUCCESS)
        result = dj_devices_init(&context, &devices);
    else if (result == DJ_ERROR_NO_DEVICE)
        result = DJ_SUCCESS; /* no driver is a list of 0 */
    for (uint32_t i = 0; result == DJ_SUCCESS && i < devices.count; i++)
        result = dj_quirks_switch_own(&context.log, params, &devices.list[i].info.quirks);
    if (result == DJ_SUCCESS) {
        *count = devices.count;
        for (uint32_t i = 0; infos && i < capacity && i < devices.count; i++)
            infos[i] = devices.list[i].info;
    }
    dj_devices_finish(&devices);
    dj_instance_finish(&context);
    return result;
}
