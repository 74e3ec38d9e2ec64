/* SPDX-License-Identifier: MIT */
/* An engine with a Vulkan device of its own, as those that import contexts have: instance, device,
 * queue, buffers and command buffers made by plain Vulkan, the validation layer counted. */
#ifndef DJ_TESTS_ENGINE_H
#define DJ_TESTS_ENGINE_H

#include "harness.h"

#include <dijiang/vulkan.h>

#define ENGINE_INSTANCE_FUNCTIONS(X) \
    X(vkDestroyInstance) \
    X(vkEnumeratePhysicalDevices) \
    X(vkGetPhysicalDeviceProperties) \
    X(vkGetPhysicalDeviceProperties2) \
    X(vkGetPhysicalDeviceFeatures2) \
    X(vkGetPhysicalDeviceMemoryProperties) \
    X(vkGetPhysicalDeviceQueueFamilyProperties) \
    X(vkEnumerateDeviceExtensionProperties) \
    X(vkCreateDevice) \
    X(vkGetDeviceProcAddr) \
    X(vkCreateDebugUtilsMessengerEXT) \
    X(vkDestroyDebugUtilsMessengerEXT)

#define ENGINE_DEVICE_FUNCTIONS(X) \
    X(vkAllocateCommandBuffers) \
    X(vkAllocateDescriptorSets) \
    X(vkAllocateMemory) \
    X(vkBeginCommandBuffer) \
    X(vkBindBufferMemory) \
    X(vkCmdBindDescriptorSets) \
    X(vkCmdBindPipeline) \
    X(vkCmdCopyBuffer) \
    X(vkCmdDispatch) \
    X(vkCmdFillBuffer) \
    X(vkCmdPipelineBarrier) \
    X(vkCmdPushConstants) \
    X(vkCreateBuffer) \
    X(vkCreateCommandPool) \
    X(vkCreateComputePipelines) \
    X(vkCreateDescriptorPool) \
    X(vkCreateDescriptorSetLayout) \
    X(vkCreateFence) \
    X(vkCreatePipelineCache) \
    X(vkCreatePipelineLayout) \
    X(vkCreateShaderModule) \
    X(vkDestroyBuffer) \
    X(vkDestroyCommandPool) \
    X(vkDestroyDescriptorPool) \
    X(vkDestroyDescriptorSetLayout) \
    X(vkDestroyDevice) \
    X(vkDestroyFence) \
    X(vkDestroyPipeline) \
    X(vkDestroyPipelineCache) \
    X(vkDestroyPipelineLayout) \
    X(vkDestroyShaderModule) \
    X(vkDeviceWaitIdle) \
    X(vkEndCommandBuffer) \
    X(vkFreeCommandBuffers) \
    X(vkFreeMemory) \
    X(vkGetBufferDeviceAddress) /* NULL before Vulkan 1.2 */ \
    X(vkGetBufferMemoryRequirements) \
    X(vkGetDeviceQueue) \
    X(vkGetPipelineCacheData) \
    X(vkMapMemory) \
    X(vkQueueSubmit) \
    X(vkQueueWaitIdle) \
    X(vkResetCommandPool) \
    X(vkResetFences) \
    X(vkUnmapMemory) \
    X(vkUpdateDescriptorSets) \
    X(vkWaitForFences)

/* Loaded by the engine itself: the library's own table stays the library's. */
struct engine_functions {
#define ENGINE_MEMBER(name) PFN_##name name;
    ENGINE_INSTANCE_FUNCTIONS(ENGINE_MEMBER) ENGINE_DEVICE_FUNCTIONS(ENGINE_MEMBER)
#undef ENGINE_MEMBER
};

struct engine {
    PFN_vkGetInstanceProcAddr get_instance_proc_addr; /* the loader's, or what options say */
    VkInstance instance;
    VkPhysicalDevice physical_device;
    VkDevice device;
    struct engine_functions vk;
    VkQueue queue;
    uint32_t queue_family, api_version;
    VkCommandPool pool;
    VkDebugUtilsMessengerEXT messenger;
    const char *instance_extensions[3];
    uint32_t instance_extension_count;
    struct dj_device_wants wants;             /* what was enabled: extensions and features */
    VkPhysicalDeviceVulkan11Features core_11; /* of that chain, where features go by versions */
    VkPhysicalDeviceVulkan12Features core_12;
    VkPhysicalDeviceVulkan13Features core_13;
    uint64_t validation_count;  /* messages so far */
    bool validation, addresses; /* on; device addresses are enabled */
    bool extension;             /* that of the options is */
    bool silent; /* messages are counted and not printed: they are what the test is after */
};

struct engine_options {
    uint32_t device;      /* index among the system's */
    uint32_t api_version; /* 0: 1.1 */
    bool bare;            /* nothing optional is enabled */
    /* From 1.2: features go by the structs of the versions, and no extension is named that is part
     * of one by then. */
    bool core;
    bool quiet;            /* without the validation layer */
    const char *extension; /* of the device, to be enabled where it is there; NULL: none */
    /* What stands between the engine and the loader; NULL: nothing. Handed the loader's. */
    PFN_vkGetInstanceProcAddr (*shim)(PFN_vkGetInstanceProcAddr loader);
};

/* Asserts success. The engine must not move until engine_finish, which asserts that the validation
 * layer said nothing, at the device's and the instance's end too. */
void engine_init(struct engine *engine, const struct engine_options *options);
void engine_finish(struct engine *engine);

/* The version of a device, as an engine sees it. */
uint32_t engine_device_version(uint32_t device);

/* Whether its device has an extension, enabled or not. */
bool engine_offers(const struct engine *engine, const char *extension);

/* What dj_context_import is told of it. */
struct dj_import_params engine_params(const struct engine *engine);

/* A buffer in mapped coherent memory, and that wrapped. */
struct engine_buffer {
    VkBuffer buffer;
    VkDeviceMemory memory;
    VkBufferUsageFlags usage;
    uint64_t size;
    void *mapped;
};
struct engine_buffer engine_buffer_create(struct engine *engine, uint64_t size);
/* The same with usages of the caller's. */
struct engine_buffer engine_buffer_create_for(struct engine *engine, uint64_t size,
                                              VkBufferUsageFlags usage);
void engine_buffer_destroy(struct engine *engine, struct engine_buffer *buffer);
struct dj_wrap_params engine_buffer_params(const struct engine_buffer *buffer);

/* A primary command buffer in the recording state; ended, submitted and waited for. */
VkCommandBuffer engine_command(struct engine *engine);
void engine_submit(struct engine *engine, VkCommandBuffer command);

#define ENGINE_OK(call) assert_int_equal((call), VK_SUCCESS)

#endif
