/* SPDX-License-Identifier: MIT */
#ifndef DJ_LIB_CONTEXT_H
#define DJ_LIB_CONTEXT_H

#include "recipes.h"
#include "vk_result.h"

#include <dijiang/context.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

enum {
    DJ_BINDINGS = 8,
    DJ_PUSH_BYTES = 128
};

/* Immutable after creation but for the counters, the queue (under its lock), the recipes (under
 * theirs) and the pipeline cache (which Vulkan synchronises itself). */
struct dj_context {
    struct dj_log log;
    struct dj_vk vk;
    VkInstance instance;
    VkDebugUtilsMessengerEXT messenger; /* with validation only */
    VkPhysicalDevice physical;
    VkDevice device;
    VkQueue queue;
    uint32_t queue_family;
    pthread_mutex_t queue_lock; /* held around vkQueueSubmit and vkDeviceWaitIdle only */
    VkPhysicalDeviceMemoryProperties memory;
    struct dj_device_info info;
    const VkAllocationCallbacks *allocator; /* of every create and destroy; NULL */
    bool push_descriptors;                  /* recorders bind by vkCmdPushDescriptorSetKHR */
    bool storage_16bit;                     /* kernels may store single 2-byte elements */
    bool debug_names;                       /* VK_EXT_debug_utils is enabled */

    /* What every pipeline shares: one set of DJ_BINDINGS storage buffers, DJ_PUSH_BYTES of push
     * constants, one cache. */
    VkDescriptorSetLayout set_layout;
    VkPipelineLayout pipeline_layout;
    VkPipelineCache pipeline_cache;
    struct dj_recipes recipes;
    bool trials; /* a recipe is tried on the device before it is first used, which submits */

    atomic_uint_fast64_t validation_count;
    atomic_bool lost; /* the device was lost: for good */
};

/* As dj_vk_result; remembers a lost device. */
dj_result dj_context_result(struct dj_context *context, VkResult code, const char *call);

/* DJ_ERROR_DEVICE_LOST, with a log line, once the device was lost; else DJ_SUCCESS. */
dj_result dj_context_check(const struct dj_context *context);

/* Gives an object a name for debuggers and validation messages; does nothing without debug_names.
 */
void dj_context_name(const struct dj_context *context, VkObjectType type, uint64_t handle,
                     const char *name);

#endif
