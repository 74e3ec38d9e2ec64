/* SPDX-License-Identifier: MIT */
#define VOLK_IMPLEMENTATION
#include "bench_gpu.h"

#include "program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VALIDATION_LAYER "VK_LAYER_KHRONOS_validation"

enum {
    MAX_DEVICES = 64,
    MAX_FAMILIES = 16,
};

static char spoken[512]; /* the validation layer's last words */

static int check_vk(const char *what, VkResult code)
{
    return code == VK_SUCCESS ? PROGRAM_SUCCESS
                              : program_fail("%s failed: VkResult %d", what, (int)code);
}

static dj_result result_of(VkResult code)
{
    return code == VK_SUCCESS             ? DJ_SUCCESS
           : code == VK_ERROR_DEVICE_LOST ? DJ_ERROR_DEVICE_LOST
                                          : DJ_ERROR_VULKAN;
}

static VKAPI_ATTR VkBool32 VKAPI_CALL message(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                              VkDebugUtilsMessageTypeFlagsEXT types,
                                              const VkDebugUtilsMessengerCallbackDataEXT *data,
                                              void *user)
{
    (void)severity;
    (void)types;
    ((struct bench_gpu *)user)->spoken++;
    snprintf(spoken, sizeof(spoken), "%s", data->pMessage);
    return VK_FALSE;
}

int bench_gpu_validated(const struct bench_gpu *gpu, int code)
{
    if (code != PROGRAM_SUCCESS || gpu->spoken == 0)
        return code;
    return program_fail("the validation layer spoke %llu times: %s",
                        (unsigned long long)gpu->spoken, spoken);
}

/* The library's own choice; what it logs says why there is none. */
static int choose_device(const char *device, struct bench_gpu *gpu)
{
    dj_context *context = NULL;
    dj_result result = program_context_create(device, &context);
    if (result == DJ_SUCCESS)
        result = dj_context_device(context, &gpu->info);
    dj_context_destroy(&context);
    return result == DJ_SUCCESS ? PROGRAM_SUCCESS : program_fail_dj("no device to measure", result);
}

static bool has_portability(void)
{
    VkExtensionProperties extensions[256];
    uint32_t count = sizeof(extensions) / sizeof(extensions[0]);
    if (vkEnumerateInstanceExtensionProperties(NULL, &count, extensions) < 0)
        return false;
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(extensions[i].extensionName, VK_KHR_PORTABILITY_ENUMERATION_EXTENSION_NAME) == 0)
            return true;
    return false;
}

static int create_instance(struct bench_gpu *gpu)
{
    const char *const wanted = getenv("DIJIANG_VALIDATION");
    const bool validation = wanted && strcmp(wanted, "1") == 0, portability = has_portability();
    const VkDebugUtilsMessengerCreateInfoEXT messenger = {
        .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
        .messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT |
                           VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
        .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT |
                       VK_DEBUG_UTILS_MESSAGE_TYPE_PERFORMANCE_BIT_EXT,
        .pfnUserCallback = message,
        .pUserData = gpu};
    const VkValidationFeatureEnableEXT enable =
        VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT;
    const VkValidationFeaturesEXT features = {.sType = VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT,
                                              .pNext = &messenger,
                                              .enabledValidationFeatureCount = 1,
                                              .pEnabledValidationFeatures = &enable};
    const char *const layer = VALIDATION_LAYER, *extensions[3];
    uint32_t count = 0;
    if (validation) {
        extensions[count++] = VK_EXT_DEBUG_UTILS_EXTENSION_NAME;
        extensions[count++] = VK_EXT_VALIDATION_FEATURES_EXTENSION_NAME;
    }
    if (portability)
        extensions[count++] = VK_KHR_PORTABILITY_ENUMERATION_EXTENSION_NAME;
    const VkApplicationInfo application = {.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
                                           .pApplicationName = "dijiang",
                                           .apiVersion = VK_API_VERSION_1_1};
    const VkInstanceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
        .pNext = validation ? &features : NULL,
        .flags = portability ? VK_INSTANCE_CREATE_ENUMERATE_PORTABILITY_BIT_KHR : 0,
        .pApplicationInfo = &application,
        .enabledLayerCount = validation,
        .ppEnabledLayerNames = &layer,
        .enabledExtensionCount = count,
        .ppEnabledExtensionNames = extensions};
    int code = check_vk("vkCreateInstance", vkCreateInstance(&info, NULL, &gpu->instance));
    if (code)
        return code;
    volkLoadInstance(gpu->instance);
    if (!validation)
        return PROGRAM_SUCCESS;
    return check_vk(
        "vkCreateDebugUtilsMessengerEXT",
        vkCreateDebugUtilsMessengerEXT(gpu->instance, &messenger, NULL, &gpu->messenger));
}

/* The same place in the loader's order is the same device. */
static int find_physical(struct bench_gpu *gpu)
{
    VkPhysicalDevice devices[MAX_DEVICES];
    VkQueueFamilyProperties families[MAX_FAMILIES];
    uint32_t count = MAX_DEVICES;
    if (vkEnumeratePhysicalDevices(gpu->instance, &count, devices) < 0 || gpu->info.index >= count)
        return program_fail("device %u is gone", gpu->info.index);
    gpu->physical = devices[gpu->info.index];
    count = MAX_FAMILIES;
    vkGetPhysicalDeviceQueueFamilyProperties(gpu->physical, &count, families);
    while (gpu->family < count && !(families[gpu->family].queueFlags & VK_QUEUE_COMPUTE_BIT))
        gpu->family++;
    if (gpu->family == count)
        return program_fail("%s has no queue for compute", gpu->info.name);
    VkPhysicalDeviceProperties properties;
    vkGetPhysicalDeviceProperties(gpu->physical, &properties);
    const uint32_t bits = families[gpu->family].timestampValidBits;
    gpu->tick = bits ? 1e-9 * (double)properties.limits.timestampPeriod : 0;
    gpu->mask = bits < 64 ? (UINT64_C(1) << bits) - 1 : UINT64_MAX;
    return PROGRAM_SUCCESS;
}

/* The environment that a context of the library's own would read. */
static uint32_t switch_of(const char *variable)
{
    const char *const value = getenv(variable);
    return value && strcmp(value, "0") == 0   ? DJ_OFF
           : value && strcmp(value, "1") == 0 ? DJ_ON
                                              : DJ_DEFAULT;
}

static int import_context(struct bench_gpu *gpu, const struct dj_device_wants *wants)
{
    const struct dj_context_params own = program_context_params(NULL);
    const struct dj_import_params params = {
        .get_instance_proc_addr = vkGetInstanceProcAddr,
        .instance = gpu->instance,
        .physical_device = gpu->physical,
        .device = gpu->device,
        .api_version = VK_API_VERSION_1_1,
        .device_extensions = wants->extensions,
        .device_extension_count = wants->extension_count,
        .features = wants->features,
        .queue_family = gpu->family,
        .queue = gpu->queue,
        .push_descriptors = switch_of("DIJIANG_PUSH_DESCRIPTORS"),
        .device_addresses = switch_of("DIJIANG_DEVICE_ADDRESSES"),
        .storage_16bit = switch_of("DIJIANG_16BIT_STORAGE"),
        .subgroups = switch_of("DIJIANG_SUBGROUPS"),
        .matrices = switch_of("DIJIANG_MATRICES"),
        .quirks = getenv("DIJIANG_QUIRKS"),
        .log = own.log,
        .log_level = own.log_level};
    dj_result result = dj_context_import(&params, &gpu->context);
    if (result == DJ_SUCCESS)
        result = dj_context_device(gpu->context, &gpu->info);
    return result == DJ_SUCCESS ? PROGRAM_SUCCESS : program_fail_dj("dj_context_import", result);
}

static int create_device(struct bench_gpu *gpu)
{
    struct dj_device_wants wants;
    const dj_result result =
        dj_device_wants(vkGetInstanceProcAddr, gpu->instance, gpu->physical, &wants);
    if (result != DJ_SUCCESS)
        return program_fail_dj("dj_device_wants", result);
    const float priority = 1.0f;
    const VkDeviceQueueCreateInfo queue = {.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                                           .queueFamilyIndex = gpu->family,
                                           .queueCount = 1,
                                           .pQueuePriorities = &priority};
    const VkDeviceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                                     .pNext = wants.features,
                                     .queueCreateInfoCount = 1,
                                     .pQueueCreateInfos = &queue,
                                     .enabledExtensionCount = wants.extension_count,
                                     .ppEnabledExtensionNames = wants.extensions};
    const int code =
        check_vk("vkCreateDevice", vkCreateDevice(gpu->physical, &info, NULL, &gpu->device));
    if (code)
        return code;
    volkLoadDevice(gpu->device);
    vkGetDeviceQueue(gpu->device, gpu->family, 0, &gpu->queue);
    return import_context(gpu, &wants);
}

static int create_command(struct bench_gpu *gpu)
{
    const VkCommandPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                          .flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT,
                                          .queueFamilyIndex = gpu->family};
    const VkFenceCreateInfo fence = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
    const VkQueryPoolCreateInfo queries = {.sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
                                           .queryType = VK_QUERY_TYPE_TIMESTAMP,
                                           .queryCount = 2};
    VkResult code = vkCreateCommandPool(gpu->device, &pool, NULL, &gpu->pool);
    const VkCommandBufferAllocateInfo command = {.sType =
                                                     VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                                 .commandPool = gpu->pool,
                                                 .commandBufferCount = 1};
    if (code == VK_SUCCESS)
        code = vkAllocateCommandBuffers(gpu->device, &command, &gpu->command);
    if (code == VK_SUCCESS)
        code = vkCreateFence(gpu->device, &fence, NULL, &gpu->fence);
    if (code == VK_SUCCESS && gpu->tick > 0)
        code = vkCreateQueryPool(gpu->device, &queries, NULL, &gpu->queries);
    return check_vk("a command buffer", code);
}

int bench_gpu_create(const char *device, struct bench_gpu *gpu)
{
    *gpu = (struct bench_gpu){0};
    int code = choose_device(device, gpu);
    if (!code)
        code = check_vk("volkInitialize", volkInitialize());
    if (!code)
        code = create_instance(gpu);
    if (!code)
        code = find_physical(gpu);
    if (!code)
        code = create_device(gpu);
    return code ? code : create_command(gpu);
}

void bench_gpu_destroy(struct bench_gpu *gpu)
{
    if (gpu->device) {
        vkDestroyQueryPool(gpu->device, gpu->queries, NULL);
        vkDestroyFence(gpu->device, gpu->fence, NULL);
        vkDestroyCommandPool(gpu->device, gpu->pool, NULL);
    }
    dj_context_destroy(&gpu->context);
    if (gpu->device)
        vkDestroyDevice(gpu->device, NULL);
    if (gpu->messenger)
        vkDestroyDebugUtilsMessengerEXT(gpu->instance, gpu->messenger, NULL);
    if (gpu->instance)
        vkDestroyInstance(gpu->instance, NULL);
}

double bench_gpu_seconds(const struct bench_gpu *gpu)
{
    return gpu->info.type == DJ_DEVICE_CPU ? 1 : 0.3;
}

double bench_gpu_warm_up(const struct bench_gpu *gpu)
{
    return gpu->info.type == DJ_DEVICE_CPU ? 0 : 1;
}

dj_result bench_gpu_begin(struct bench_gpu *gpu, dj_recorder *recorder)
{
    const VkCommandBufferBeginInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
                                           .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT};
    const dj_result result = result_of(vkBeginCommandBuffer(gpu->command, &info));
    if (result == DJ_SUCCESS && gpu->queries) {
        vkCmdResetQueryPool(gpu->command, gpu->queries, 0, 2);
        vkCmdWriteTimestamp(gpu->command, VK_PIPELINE_STAGE_TOP_OF_PIPE_BIT, gpu->queries, 0);
    }
    return result == DJ_SUCCESS && recorder ? dj_recorder_begin_on(recorder, gpu->command) : result;
}

dj_result bench_gpu_submit(struct bench_gpu *gpu, struct bench_time *time)
{
    uint64_t stamps[2] = {0};
    if (gpu->queries)
        vkCmdWriteTimestamp(gpu->command, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, gpu->queries, 1);
    VkResult code = vkEndCommandBuffer(gpu->command);
    const VkSubmitInfo submit = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
                                 .commandBufferCount = 1,
                                 .pCommandBuffers = &gpu->command};
    const double start = program_seconds();
    if (code == VK_SUCCESS)
        code = vkQueueSubmit(gpu->queue, 1, &submit, gpu->fence);
    if (code == VK_SUCCESS)
        code = vkWaitForFences(gpu->device, 1, &gpu->fence, VK_TRUE, UINT64_MAX);
    time->wall = program_seconds() - start;
    if (code == VK_SUCCESS)
        code = vkResetFences(gpu->device, 1, &gpu->fence);
    if (code == VK_SUCCESS && gpu->queries)
        code = vkGetQueryPoolResults(gpu->device, gpu->queries, 0, 2, sizeof(stamps), stamps,
                                     sizeof(stamps[0]),
                                     VK_QUERY_RESULT_64_BIT | VK_QUERY_RESULT_WAIT_BIT);
    time->device = gpu->tick * (double)((stamps[1] - stamps[0]) & gpu->mask);
    return result_of(code);
}
