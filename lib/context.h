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
    DJ_PUSH_BYTES = 128,
    DJ_MOST_FAMILIES = 16
};

struct dj_kept_pipeline;

/* Immutable after creation but for the counters and `lost` (which are atomic), the queue (under its
 * lock), the recipes (under theirs), the pipelines and choices (lists that only grow) and the
 * pipeline cache (which Vulkan synchronises itself). */
struct dj_context {
    struct dj_log log;
    struct dj_vk vk;
    VkInstance instance;
    VkDebugUtilsMessengerEXT messenger; /* with validation only */
    VkPhysicalDevice physical;
    VkDevice device;
    VkQueue queue; /* NULL: imported without one; nothing is ever submitted */
    uint32_t queue_family;
    pthread_mutex_t queue_lock; /* an own queue's; an imported one's are the caller's: */
    void (*lock_queue)(void *user), (*unlock_queue)(void *user);
    void *queue_user;
    uint32_t
        families[DJ_MOST_FAMILIES + 1]; /* that share the library's buffers, queue_family first */
    uint32_t family_count;
    bool imported; /* instance and device are the caller's */
    VkPhysicalDeviceMemoryProperties memory;
    struct dj_device_info info;
    char label[24]; /* "device 0" in log lines; "device" alone where it has no index */
    const VkAllocationCallbacks *allocator; /* of every create and destroy; NULL: the driver's */
    VkAllocationCallbacks allocator_storage;
    bool push_descriptors;  /* recorders bind by vkCmdPushDescriptorSetKHR */
    bool device_addresses;  /* buffers have addresses, and kernels bind by them */
    bool storage_16bit;     /* kernels may store single 2-byte elements */
    uint32_t subgroups;     /* invocations of a workgroup that is one subgroup; 0: not used */
    bool read_invocation;   /* OpSubgroupReadInvocationKHR may take the place of shuffles */
    uint32_t matrices;      /* invocations of a subgroup that multiplies matrices; 0: not used */
    bool matrices_asked;    /* they are used also where that was not measured to be faster */
    bool chunked;           /* as of struct dj_device, as is the next one */
    uint32_t max_subgroups; /* of a workgroup that multiplies matrices */
    bool float_controls;    /* kernels may ask for IEEE 754's NaN and Inf */
    bool threads;           /* a plan's families are created each in a thread of its own */
    bool narrow_scope;      /* kernels may not order memory between workgroups */
    bool debug_names;       /* VK_EXT_debug_utils is enabled */

    /* What every pipeline shares: one set of DJ_BINDINGS storage buffers, DJ_PUSH_BYTES of push
     * constants, one cache. */
    VkDescriptorSetLayout set_layout;
    VkPipelineLayout pipeline_layout;
    VkPipelineCache pipeline_cache;
    bool foreign_cache;                           /* it is the caller's */
    _Atomic(struct dj_kept_pipeline *) pipelines; /* the newest one of all that plans asked for */
    _Atomic(struct dj_choice *) choices;          /* that were measured, or came with a cache */
    struct dj_recipes recipes;
    bool trials; /* a recipe is tried on the device before it is first used, which submits */

    atomic_uint_fast64_t validation_count;
    atomic_uint_fast64_t buffers; /* that were not destroyed */
    atomic_bool lost;             /* the device was lost: for good */
};

/* As dj_vk_result; remembers a lost device. */
dj_result dj_context_result(struct dj_context *context, VkResult code, const char *call);

/* DJ_ERROR_DEVICE_LOST, with a log line, once the device was lost; else DJ_SUCCESS. */
dj_result dj_context_check(const struct dj_context *context);

/* DJ_ERROR_NO_QUEUE, logged, where nothing can be submitted. what: the public function. */
dj_result dj_context_check_queue(const struct dj_context *context, const char *what);

/* Submits one command buffer to the context's queue, locking the queue meanwhile. */
dj_result dj_context_submit(struct dj_context *context, VkCommandBuffer command, VkFence fence);

/* The result of vkWaitForFences; of one that did not fail, of a device that another call has found
 * lost meanwhile, DJ_ERROR_DEVICE_LOST. */
dj_result dj_context_waited(struct dj_context *context, VkResult code);

/* For work whose fence cannot be waited for (the device is lost, or memory short): it must still
 * end before what it uses does. */
void dj_context_idle(struct dj_context *context);

/* The steps of creation and import: an empty context; what follows from a chosen device; what both
 * make on it; the end, also of one that failed half-way. */
dj_result dj_context_allocate(const struct dj_log *log, struct dj_context **context);
struct dj_device;
void dj_context_adopt(struct dj_context *context, const struct dj_device *device);

/* Settles what is used of the device's cooperative matrices; wanted: enum dj_switch. */
void dj_context_use_matrices(struct dj_context *context, const struct dj_device *device,
                             uint32_t wanted);
dj_result dj_context_complete(struct dj_context *context, const void *cache, uint64_t cache_size);
void dj_context_free(struct dj_context *context);

/* Gives an object a name for debuggers and validation messages; does nothing without debug_names.
 */
void dj_context_name(const struct dj_context *context, VkObjectType type, uint64_t handle,
                     const char *name);

#endif
