/* SPDX-License-Identifier: MIT */
/* A Vulkan that is not there: a whole table of functions that allocates and records but executes
 * nothing. Objects are host blocks, counted by kind; memory is host memory, and beyond 2^30 bytes,
 * where it is not to be mapped, address space alone; a command buffer counts what is recorded into
 * it and complains of misuse; submissions are over at once. It may be used from several threads by
 * Vulkan's own rules: what those leave to the caller to synchronise is written without a lock, so
 * that a thread sanitizer sees who does not.
 *
 * Settings, faults and hooks are the process's; they are changed while nobody calls. */
#ifndef DJ_TESTS_NULL_DEVICE_H
#define DJ_TESTS_NULL_DEVICE_H

#include <volk.h>

#include <dijiang/vulkan.h>

#include <stdbool.h>
#include <stddef.h>

/* Of timestamps: ticks between two, the first of which is far from 0; nanoseconds in a tick. */
#define NULL_STAMP_TICKS 1000
#define NULL_TICK 2.5f

/* What the one physical device offers. */
struct null_settings {
    uint32_t api_version; /* of the instance and the device */
    uint32_t type;        /* VkPhysicalDeviceType */
    uint32_t shared_memory, max_invocations, max_size[3], max_workgroups[3];
    uint32_t storage_buffers, push_constants, subgroup_size;
    uint32_t queue_families; /* 1 to 3, each of one queue with compute */
    uint32_t timestamp_bits; /* of them all; 0: no timestamps */
    uint64_t storage_range, allocation, offset_alignment, heap;
    bool unified; /* one memory type with everything; else device memory is not mapped */
    bool push_descriptors, device_addresses, storage_16bit, float_controls;
    bool whole_subgroups; /* of subgroup_size; they exchange what they like */
    bool subgroup_ballot; /* VK_EXT_shader_subgroup_ballot */
    bool layer;           /* the validation layer is installed, and has nothing to say */
};

/* The least that Vulkan and dijiang require, and nothing optional. */
struct null_settings null_least(void);

/* Settings of the instances made from now on; none of these exists yet. NULL: null_least. */
void null_device_set(const struct null_settings *settings);

/* The root of the table. */
VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL null_get_instance_proc_addr(VkInstance instance,
                                                                     const char *name);

/* An engine on it: an instance and a device with all enabled that the settings offer, and the queue
 * of each family. Asserts success. */
struct null_engine {
    VkInstance instance;
    VkPhysicalDevice physical;
    VkDevice device;
    VkQueue queue;     /* of family 0 */
    VkQueue queues[3]; /* of each family; NULL: there is none */
    struct dj_device_wants wants;
};
void null_engine_init(struct null_engine *engine); /* must not move until finished */
void null_engine_finish(struct null_engine *engine);
struct dj_import_params null_engine_params(const struct null_engine *engine);

/* A primary command buffer in the recording state, of a pool of its own; both are destroyed. Of
 * family 0, or any. */
VkCommandBuffer null_engine_command(const struct null_engine *engine, VkCommandPool *pool);
VkCommandBuffer null_engine_command_of(const struct null_engine *engine, uint32_t family,
                                       VkCommandPool *pool);
void null_engine_command_finish(const struct null_engine *engine, VkCommandPool pool);

/* Functions of the table: those that cannot fail, and those that return a VkResult. */
#define NULL_QUIET_FUNCTIONS(X) \
    X(vkCmdBindDescriptorSets) \
    X(vkCmdBindPipeline) \
    X(vkCmdCopyBuffer) \
    X(vkCmdDispatch) \
    X(vkCmdPipelineBarrier) \
    X(vkCmdPushConstants) \
    X(vkCmdPushDescriptorSetKHR) \
    X(vkCmdResetQueryPool) \
    X(vkCmdWriteTimestamp) \
    X(vkDestroyBuffer) \
    X(vkDestroyCommandPool) \
    X(vkDestroyDebugUtilsMessengerEXT) \
    X(vkDestroyDescriptorPool) \
    X(vkDestroyDescriptorSetLayout) \
    X(vkDestroyDevice) \
    X(vkDestroyFence) \
    X(vkDestroyInstance) \
    X(vkDestroyPipeline) \
    X(vkDestroyPipelineCache) \
    X(vkDestroyPipelineLayout) \
    X(vkDestroyQueryPool) \
    X(vkDestroyShaderModule) \
    X(vkFreeCommandBuffers) \
    X(vkFreeMemory) \
    X(vkGetBufferDeviceAddress) \
    X(vkGetBufferDeviceAddressKHR) \
    X(vkGetBufferMemoryRequirements) \
    X(vkGetDeviceProcAddr) \
    X(vkGetDeviceQueue) \
    X(vkGetInstanceProcAddr) \
    X(vkGetPhysicalDeviceFeatures2) \
    X(vkGetPhysicalDeviceMemoryProperties) \
    X(vkGetPhysicalDeviceProperties) \
    X(vkGetPhysicalDeviceProperties2) \
    X(vkGetPhysicalDeviceQueueFamilyProperties) \
    X(vkUnmapMemory) \
    X(vkUpdateDescriptorSets)
#define NULL_FALLIBLE_FUNCTIONS(X) \
    X(vkAllocateCommandBuffers) \
    X(vkAllocateDescriptorSets) \
    X(vkAllocateMemory) \
    X(vkBeginCommandBuffer) \
    X(vkBindBufferMemory) \
    X(vkCreateBuffer) \
    X(vkCreateCommandPool) \
    X(vkCreateComputePipelines) \
    X(vkCreateDebugUtilsMessengerEXT) \
    X(vkCreateDescriptorPool) \
    X(vkCreateDescriptorSetLayout) \
    X(vkCreateDevice) \
    X(vkCreateFence) \
    X(vkCreateInstance) \
    X(vkCreatePipelineCache) \
    X(vkCreatePipelineLayout) \
    X(vkCreateQueryPool) \
    X(vkCreateShaderModule) \
    X(vkDeviceWaitIdle) \
    X(vkEndCommandBuffer) \
    X(vkEnumerateDeviceExtensionProperties) \
    X(vkEnumerateInstanceExtensionProperties) \
    X(vkEnumerateInstanceLayerProperties) \
    X(vkEnumerateInstanceVersion) \
    X(vkEnumeratePhysicalDevices) \
    X(vkGetPipelineCacheData) \
    X(vkGetQueryPoolResults) \
    X(vkMapMemory) \
    X(vkMergePipelineCaches) \
    X(vkQueueSubmit) \
    X(vkQueueWaitIdle) \
    X(vkResetCommandPool) \
    X(vkResetFences) \
    X(vkSetDebugUtilsObjectNameEXT) \
    X(vkWaitForFences)

enum null_function {
#define NULL_ENUM(name) NULL_##name,
    NULL_QUIET_FUNCTIONS(NULL_ENUM)
    NULL_FALLIBLE_FUNCTIONS(NULL_ENUM)
#undef NULL_ENUM
        NULL_FUNCTION_COUNT
};

/* Calls so far of one function; of all but vkCmd* and vkUpdateDescriptorSets, which is all that
 * recording may call. */
uint64_t null_calls(enum null_function function);
uint64_t null_calls_beside_recording(void);

/* Commands recorded so far, of all command buffers. */
struct null_recorded {
    uint64_t dispatches, barriers, pushes, copies;
};
struct null_recorded null_recorded(void);

/* Objects made so far without allocation callbacks. (Destroying one by other callbacks than it was
 * made by is misuse.) */
uint64_t null_made_without_callbacks(void);

/* Objects alive, and a line that lists them by kind ("2 buffers, 1 fence"; static storage, "" if
 * there are none). */
uint64_t null_objects(void);
const char *null_objects_text(void);

/* Rules broken so far, and the last of them in words. Each is also printed. */
uint64_t null_misuses(void);
const char *null_last_misuse(void);

/* The n-th call from now on, from 1, of a function that can fail gives code, and with lasting each
 * one after it; outputs are then what crashes when used. n 0: none. After VK_ERROR_DEVICE_LOST the
 * device stays lost: submissions and waits go on giving that. Returns from null_fault whether it
 * came to that, and from which function first. */
void null_fail_at(uint64_t n, VkResult code, bool lasting);
bool null_fault(const char **function);

/* Called for each dispatch as it is recorded; NULL: nothing. data: where each bound range begins in
 * host memory, which is also its device address; NULL where nothing is bound. */
struct null_dispatch {
    VkPipeline pipeline;
    uint32_t bindings; /* that the pipeline's kernel declares, by bit */
    void *data[16];
    uint64_t range[16];
    uint32_t groups[3];
    uint8_t push[256]; /* the push constants */
};
extern void (*null_on_dispatch)(const struct null_dispatch *dispatch);

/* Whether an address is inside a buffer that is alive and whose address was asked for. Addresses
 * are the host's: what is there can be read. */
bool null_is_address(uint64_t address);

/* Called first by each function of the table; and for each buffer and each module that is made.
 * NULL: nothing. */
extern void (*null_on_call)(enum null_function function);
/* Bytes by which every address is off, as of memory that is bound elsewhere. */
extern uint64_t null_address_shift;
extern void (*null_on_buffer)(const VkBufferCreateInfo *info);
extern void (*null_on_module)(const VkShaderModuleCreateInfo *info);

/* Whether a module has SubgroupBallotKHR, SPIR-V's capability to read other invocations' values. */
bool null_module_reads(const VkShaderModuleCreateInfo *info);

/* Where a buffer with memory begins in host memory. */
void *null_buffer_data(VkBuffer buffer);

#endif
