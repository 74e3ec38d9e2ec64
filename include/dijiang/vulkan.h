/* SPDX-License-Identifier: MIT */
/* For engines that have a VkDevice of their own: contexts on it, their buffers, their command
 * buffers. Nothing of the caller's is destroyed or changed, and nothing is submitted but by
 * functions that say so. Not included by <dijiang/dijiang.h>. */
#ifndef DIJIANG_VULKAN_H
#define DIJIANG_VULKAN_H

#include <dijiang/recorder.h>

#include <vulkan/vulkan_core.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Something that a device may offer and that dijiang has a use for. */
struct dj_want {
    const char *name;      /* in plain words, such as "push descriptors" */
    const char *unlocks;   /* what it is good for */
    const char *extension; /* to be enabled; NULL: none beyond Vulkan 1.1 */
    const char *feature;   /* the member of the feature chain; NULL: none */
    uint32_t supported;    /* 1: the device offers it, and it is of use there; 0 */
    uint32_t padding;      /* 0 */
    uint64_t reserved[2];  /* 0 */
};

/* What to enable on a device so that dijiang is at its best there. All of it is optional: a device
 * made without any of it works. The strings are static; the chain lies inside the struct, which
 * must therefore stay where it is until the device was created. */
struct dj_device_wants {
    char unsuitable[128];     /* empty, or the one thing that dijiang needs and the device lacks */
    uint32_t count;           /* of wants */
    uint32_t extension_count; /* of extensions */
    struct dj_want wants[16];
    const char *extensions[16]; /* the supported ones, for VkDeviceCreateInfo */
    void *features; /* chain of VkPhysicalDevice...Features with the supported members set, to be
                     * put before the pNext of VkDeviceCreateInfo; NULL: empty. A caller whose own
                     * chain has VkPhysicalDeviceVulkan11Features, ..12 or ..13Features sets those
                     * members there instead: the chain may not hold both */
    VkBufferUsageFlags buffer_usage; /* that dj_buffer_wrap needs if all of this is enabled */
    uint32_t padding;                /* 0 */
    uint64_t storage[64];            /* of the chain */
    uint64_t reserved[4];            /* 0 */
};

/* Asks a physical device. instance: of Vulkan 1.1 or newer.
 *
 * Returns DJ_SUCCESS, also for an unsuitable device; DJ_ERROR_INVALID_ARGUMENT (NULL);
 * DJ_ERROR_VULKAN (the instance lacks functions of Vulkan 1.1); DJ_ERROR_OUT_OF_HOST_MEMORY;
 * DJ_ERROR_OUT_OF_DEVICE_MEMORY. Changes nothing, creates nothing, logs nothing. Thread-safe. */
DJ_API dj_result dj_device_wants(PFN_vkGetInstanceProcAddr get_instance_proc_addr,
                                 VkInstance instance, VkPhysicalDevice physical_device,
                                 struct dj_device_wants *wants);

/* A device of the caller's. What was enabled on it cannot be asked of Vulkan, so the caller says
 * it: what is not listed counts as not enabled, and that works. (Results are the same bits, but
 * that without VK_KHR_shader_float_controls compilers have other freedoms, and that cooperative
 * matrices round the factors of 2-byte tensors.) The handles must
 * outlive the context; everything else is read during the call only. */
struct dj_import_params {
    PFN_vkGetInstanceProcAddr get_instance_proc_addr;
    VkInstance instance;
    VkPhysicalDevice physical_device;
    VkDevice device;
    uint32_t api_version; /* what VkApplicationInfo asked for, as VK_MAKE_API_VERSION; 0: 1.1, and
                           * then what newer versions include counts only by its extension */
    uint32_t instance_extension_count;
    const char *const *instance_extensions; /* enabled on the instance */
    const char *const *device_extensions;   /* enabled on the device */
    const void *features; /* the pNext of VkDeviceCreateInfo, or any chain of structures of
                           * features with what was enabled; others are passed over. NULL: no
                           * feature */
    uint32_t device_extension_count;

    uint32_t
        queue_family; /* one with compute: of the queue, and of command buffers recorded into */
    VkQueue queue;    /* VK_NULL_HANDLE: the library never submits, and what would have to gives
                       * DJ_ERROR_NO_QUEUE */
    void (*lock_queue)(void *user); /* called around vkQueueSubmit, and around vkQueueWaitIdle after
                                     * a wait for a fence has failed; NULL for both: nobody else
                                     * uses the queue while the library does */
    void (*unlock_queue)(void *user);
    void *queue_user;               /* handed to both */
    const uint32_t *queue_families; /* families whose queues will use the library's own buffers,
                                     * which are then VK_SHARING_MODE_CONCURRENT over these and
                                     * queue_family; NULL: queue_family alone */
    uint32_t queue_family_count;    /* at most 16 */

    uint32_t push_descriptors; /* enum dj_switch, default on where enabled: DJ_OFF binds by sets */
    uint32_t
        device_addresses;   /* enum dj_switch, default on where enabled: kernels take addresses
                             * instead of descriptors, and buffers must have one (dj_buffer_wrap) */
    uint32_t storage_16bit; /* enum dj_switch, default on where enabled: struct dj_tensor */
    uint32_t log_level;     /* as in struct dj_context_params */
    uint32_t subgroups;     /* enum dj_switch, default on where enabled: struct dj_context_params */
    uint32_t matrices;      /* enum dj_switch, as in struct dj_context_params, less its environment */
    uint32_t threads;       /* enum dj_switch, default off: struct dj_context_params. Threads of the
                             * library's call Vulkan and the allocator, too */
    dj_log_fn log;
    void *log_user;
    const VkAllocationCallbacks *allocator; /* of every vkCreate and vkDestroy, vkAllocateMemory and
                                             * vkFreeMemory; copied. NULL: the driver's own */
    VkPipelineCache pipeline_cache; /* of the caller's, used and not destroyed; VK_NULL_HANDLE: the
                                     * context has one of its own */
    const char *quirks;             /* as in struct dj_context_params, but NULL is as "" */
    const void *cache; /* as in struct dj_context_params; with a pipeline_cache only its DCT kernels
                        * are taken */
    uint64_t cache_size;
    uint64_t reserved[4]; /* 0 */
};

/* Creates a context on a device of the caller's, who still owns it. The environment has no
 * influence. Creating objects from it never submits, but for dj_tensor_create with data for memory
 * that is not mapped: a transform generated by VkFFT is used without the trial that dj_dct_create
 * speaks of. dj_context_destroy then waits for nothing: no submitted work may still use what it
 * destroys.
 *
 * Returns DJ_SUCCESS; DJ_ERROR_INVALID_ARGUMENT (NULL handles; one lock callback without the other;
 * a queue family that is not there or has no compute; an unknown switch; quirks that cannot be
 * read); DJ_ERROR_VERSION; DJ_ERROR_DEVICE_UNSUITABLE (Vulkan 1.0, or a limit too small);
 * DJ_ERROR_OUT_OF_HOST_MEMORY; DJ_ERROR_OUT_OF_DEVICE_MEMORY; DJ_ERROR_DEVICE_LOST;
 * DJ_ERROR_VULKAN. Thread-safe. */
DJ_API dj_result dj_context_import(const struct dj_import_params *params, dj_context **context);

/* A buffer of the caller's. */
struct dj_wrap_params {
    VkBuffer buffer;          /* bound to memory, at a multiple of 16 bytes, and outliving the
                               * dj_buffer */
    uint64_t size;            /* bytes, as created; it must hold the whole word of 4 bytes in which
                               * a tensor of 2-byte elements ends */
    VkBufferUsageFlags usage; /* as created: VK_BUFFER_USAGE_STORAGE_BUFFER_BIT at least; where the
                               * context uses device addresses also
                               * VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT; for
                               * dj_buffer_write and dj_buffer_read of memory that is not mapped
                               * also VK_BUFFER_USAGE_TRANSFER_DST_BIT and _SRC_BIT */
    uint32_t host_cached;     /* 1: reading mapped is fast (VK_MEMORY_PROPERTY_HOST_CACHED_BIT) */
    void *mapped; /* the host's address of its first byte, of coherent memory; NULL: not mapped */
    uint64_t reserved[4]; /* 0 */
};

/* Makes a dj_buffer of a VkBuffer. dj_buffer_destroy then frees the handle alone. The whole buffer
 * is wrapped; tensors name offsets in it. Ownership of queue families is the caller's to transfer.
 *
 * Returns DJ_SUCCESS; DJ_ERROR_INVALID_ARGUMENT (NULL, usage without what the context needs, or an
 * address that is no multiple of 16); DJ_ERROR_VERSION; DJ_ERROR_DEVICE_LOST;
 * DJ_ERROR_OUT_OF_HOST_MEMORY. Thread-safe. */
DJ_API dj_result dj_buffer_wrap(dj_context *context, const struct dj_wrap_params *params,
                                dj_buffer **buffer);

/* The VkBuffer of a dj_buffer, for barriers and copies of the caller's; VK_NULL_HANDLE for NULL and
 * for a size of 0. Thread-safe. */
DJ_API VkBuffer dj_buffer_handle(const dj_buffer *buffer);

/* Starts recording into a command buffer of the caller's, primary or secondary, which is in the
 * recording state, was allocated for the context's queue family (or one of its queue_families) and
 * is outside a render pass. Any number of dj_*_record calls follow. Ending and submitting it is the
 * caller's, and there is no other end: the recorder must not be recorded into after that, and
 * dj_recorder_wait knows nothing of it. The command buffer may be submitted again, but not while it
 * is pending: it names scratch memory and slots. This is called again only when what was recorded
 * before has completed or will never be submitted, since the recorder's descriptors and ring start
 * anew: one recorder is needed for each command buffer that is not yet finished. Works on every
 * context. With timings it records a reset of their queries and a timestamp; otherwise nothing.
 *
 * After dj_*_record the compute bind point's pipeline and descriptor sets and the push constants
 * are undefined (set 0 was bound with the library's own layout, which disturbs the others); nothing
 * else of the command buffer's state is touched.
 *
 * Returns DJ_SUCCESS; DJ_ERROR_INVALID_ARGUMENT (NULL); DJ_ERROR_RECORDER_STATE if a submission of
 * the recorder's own was not waited for; DJ_ERROR_DEVICE_LOST. Allocates, locks and waits for
 * nothing. */
DJ_API dj_result dj_recorder_begin_on(dj_recorder *recorder, VkCommandBuffer command);

#ifdef __cplusplus
}
#endif

#endif
