/* SPDX-License-Identifier: MIT */
/* Devices, and the context: one Vulkan device with what dijiang needs around it. */
#ifndef DIJIANG_CONTEXT_H
#define DIJIANG_CONTEXT_H

#include <dijiang/result.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A Vulkan instance and device: its own (dj_context_create), or an engine's (dj_context_import of
 * <dijiang/vulkan.h>). Usable from any thread, by several at once.
 *
 * A lost device stays lost: after the first DJ_ERROR_DEVICE_LOST every call that creates an object
 * of the context or wraps a buffer, reads or writes buffers and states, begins, submits or waits,
 * or runs a plan that has something to do returns it too (after the checks of its arguments), and
 * submits nothing.
 * dj_*_needs, recording and dj_buffer_map go on as before, and everything can and must still be
 * destroyed.
 *
 * After fork() the child uses nothing of its parent's contexts and destroys nothing of them; it may
 * create contexts of its own, if no thread was inside the library when it was forked. */
typedef struct dj_context dj_context;

enum dj_log_level {
    DJ_LOG_ERROR = 1,   /* why a call failed, or a message of the validation layer */
    DJ_LOG_WARNING = 2, /* it works, but not as well as it could */
    DJ_LOG_INFO = 3,    /* which device, which kernels */
    DJ_LOG_DEBUG = 4,
};

/* Receives one line without a newline. Called from whichever thread makes the call that logs, or
 * from one of the library's (struct dj_context_params, threads), so it must be thread-safe; it must
 * not call into dijiang. */
typedef void (*dj_log_fn)(void *user, uint32_t level, const char *message);

/* How to create a context, or to list devices. All zero is a good default. A variable of the
 * environment that stands for a switch is 0 or 1; another value that is not empty is ignored, with a
 * line at DJ_LOG_WARNING where the device has what it switches. */
struct dj_context_params {
    const char *device;  /* an index as printed by dijiang-info ("0"), or part of a device's name
                          * ("radeon", any case). NULL: the environment's DIJIANG_DEVICE in the same
                          * form, and without it the first suitable of discrete, integrated, virtual
                          * GPU, CPU */
    dj_log_fn log;       /* NULL: nothing is logged */
    void *log_user;      /* handed to log */
    uint32_t log_level;  /* enum dj_log_level, the most verbose level wanted; 0: DJ_LOG_WARNING */
    uint32_t validation; /* enum dj_switch; DJ_ON loads VK_LAYER_KHRONOS_validation, with checks of
                          * synchronisation (which cannot see what kernels reach by addresses:
                          * device_addresses = DJ_OFF shows it more), and is refused with
                          * DJ_ERROR_NO_VALIDATION where it is not installed. Default: on if
                          * DIJIANG_VALIDATION=1, else off */
    uint32_t push_descriptors; /* enum dj_switch; DJ_OFF binds through preallocated sets even where
                                * the device has VK_KHR_push_descriptor. Default: on, unless
                                * DIJIANG_PUSH_DESCRIPTORS=0. The results are the same */
    uint32_t storage_16bit;    /* enum dj_switch; DJ_OFF leaves 16-bit storage alone even where the
                                * device has it, so that tensors of 2-byte elements must begin and
                                * step by whole words (struct dj_tensor). Default: on, unless
                                * DIJIANG_16BIT_STORAGE=0. The results are the same */
    uint32_t device_addresses; /* enum dj_switch; DJ_OFF binds by descriptors even where the device
                                * has buffer device addresses (VK_KHR_buffer_device_address): what
                                * VkFFT generates is always bound so. Default: on, unless
                                * DIJIANG_DEVICE_ADDRESSES=0. The same family's results are the
                                * same, but for DJ_FAMILY_SOFTMAX on CPU devices, which has
                                * kernels of its own there */
    uint32_t subgroups;        /* enum dj_switch; DJ_OFF leaves kernels alone that need a workgroup
                                * to be one subgroup (VK_EXT_subgroup_size_control): DJ_FAMILY_TILED
                                * does all, and exact softmax what it does on GPUs. Default: on,
                                * unless DIJIANG_SUBGROUPS=0 */
    uint32_t matrices;         /* enum dj_switch; DJ_ON multiplies cooperative matrices, where the
                                * device has them, in DJ_FAMILY_TILED where q, k, v and o are all of
                                * 2-byte types: products then have float16 factors and float32 sums,
                                * with errors up to the types' bounds (docs/mathematics.md, section
                                * 7). Default: what DIJIANG_MATRICES says, 1 for on and 0 for
                                * off; else where that was measured to be faster: with NVIDIA's
                                * own driver float16 calls of ELU, and of WDCF without
                                * key_normalise, that go in chunks (docs/mathematics.md,
                                * sections 6.3 and 6.4), whose kernels a driver may take some
                                * seconds to compile */
    uint32_t threads;          /* enum dj_switch; DJ_OFF does everything in the threads that call.
                                * On, dj_attention_create has drivers compile a plan's kernels in
                                * three more, which are gone when it returns and log what they have
                                * to say. Default: on, unless DIJIANG_THREADS=0 */
    const void *cache;    /* what dj_cache_save wrote earlier, of any origin and alignment, read
                           * during the call only; NULL: none. One that is damaged, or of
                           * another device, driver or version, is left alone, with a line at
                           * DJ_LOG_WARNING or DJ_LOG_INFO, and what it would have saved is
                           * done again */
    uint64_t cache_size;  /* its bytes */
    const char *quirks;   /* which of the drivers' known troubles (<dijiang/quirks.h>) the library
                           * works around. "": those that the table says of the device. Else items
                           * between commas, applied in order: "none" drops all, "+name" adds one,
                           * "-name" drops one. NULL: the environment's DIJIANG_QUIRKS in the same
                           * form, and without it as "" */
    uint64_t reserved[4]; /* 0 */
};

enum dj_device_type { /* the values of VkPhysicalDeviceType */
    DJ_DEVICE_OTHER = 0,
    DJ_DEVICE_INTEGRATED = 1,
    DJ_DEVICE_DISCRETE = 2,
    DJ_DEVICE_VIRTUAL = 3,
    DJ_DEVICE_CPU = 4,
};

/* What a device is, and those limits and features that decide how kernels are best written for it.
 */
struct dj_device_info {
    char name[256];       /* as the driver reports it, UTF-8 */
    char driver[256];     /* the driver's name and its own version text */
    char unsuitable[128]; /* empty, or the one thing dijiang needs and the device lacks */
    uint32_t index;       /* the device's place in the list, and its number for DIJIANG_DEVICE; of
                           * an imported one among its instance's devices, UINT32_MAX if it is none
                           * of them */
    uint32_t type;        /* enum dj_device_type */
    uint32_t vendor_id;   /* PCI vendor, or a Khronos vendor id */
    uint32_t device_id;
    uint32_t api_version;    /* Vulkan's encoding: major << 22 | minor << 12 | patch */
    uint32_t driver_version; /* the vendor's own encoding */
    uint32_t subgroup_size;  /* invocations */
    uint32_t subgroup_size_min, subgroup_size_max; /* equal to the above where it cannot vary */
    uint32_t max_invocations;                      /* of one workgroup */
    uint32_t shared_memory;                        /* bytes for one workgroup */
    uint32_t storage_buffers;                      /* bound to one compute stage at a time */
    uint32_t push_constants;                       /* bytes */
    uint32_t max_workgroups[3];                    /* of one dispatch, per axis */
    uint64_t max_storage_range;  /* bytes one binding can reach (maxStorageBufferRange) */
    uint64_t max_allocation;     /* bytes (maxMemoryAllocationSize) */
    uint64_t offset_alignment;   /* bytes (minStorageBufferOffsetAlignment, at least 16) */
    uint64_t device_memory;      /* bytes in the largest device-local heap */
    uint8_t subgroup_arithmetic; /* 1 or 0, as all below: reductions within a subgroup in compute */
    uint8_t subgroup_size_control; /* a kernel may ask for its subgroup size */
    uint8_t push_descriptor;       /* VK_KHR_push_descriptor */
    uint8_t buffer_device_address; /* shaders may use addresses */
    uint8_t storage_16bit;         /* 16-bit types in storage buffers */
    uint8_t float16;               /* 16-bit float arithmetic */
    uint8_t cooperative_matrix;    /* VK_KHR_cooperative_matrix */
    uint8_t signed_zero_inf_nan;   /* the driver can promise IEEE 754's rules for NaN and Inf in
                                    * float32 (shaderSignedZeroInfNanPreserveFloat32) */
    uint8_t mappable;              /* some device-local memory can be mapped by the host */
    uint8_t whole_subgroups;       /* a workgroup can be made one subgroup, whose invocations vote
                                    * and exchange values: what DJ_FAMILY_RESIDENT needs */
    uint8_t matrix_rows, matrix_columns, matrix_terms; /* of the cooperative matrices that are used:
                                                        * products of rows x terms by terms x
                                                        * columns of float16, summed in float32;
                                                        * 0: none, or this build knows none */
    uint8_t padding[3];
    uint64_t quirks;      /* bit 1 << i: row i of dj_quirk_get is worked around, whatever the
                           * device offers above */
    uint64_t reserved[7]; /* 0 */
};

/* Lists the Vulkan devices of this system, suitable or not, in the loader's order.
 *
 * params: NULL for defaults; only log, validation and quirks matter here. *count: on entry the
 * capacity of infos, on return the number of devices; infos may be NULL to ask for the number
 * alone. If there are more than fit, the first ones are written and the call succeeds.
 *
 * Returns DJ_SUCCESS, also for 0 devices; DJ_ERROR_NO_LOADER; DJ_ERROR_INVALID_ARGUMENT (count is
 * NULL, or params->quirks cannot be read); DJ_ERROR_NO_VALIDATION; DJ_ERROR_VERSION;
 * DJ_ERROR_OUT_OF_HOST_MEMORY; DJ_ERROR_OUT_OF_DEVICE_MEMORY; DJ_ERROR_VULKAN. On failure
 * *count is 0. Thread-safe. */
DJ_API dj_result dj_device_list(const struct dj_context_params *params,
                                struct dj_device_info *infos, uint32_t *count);

/* Creates a context: an instance, the chosen device with one compute queue.
 *
 * params: NULL for defaults. *context: the new context, to be given to dj_context_destroy.
 *
 * Returns DJ_SUCCESS; DJ_ERROR_NO_LOADER; DJ_ERROR_NO_DEVICE; DJ_ERROR_DEVICE_NOT_FOUND (params or
 * DIJIANG_DEVICE name no device, or an index beyond the list); DJ_ERROR_DEVICE_UNSUITABLE (a device
 * was asked for by name or index that cannot run dijiang, or none can); DJ_ERROR_NO_VALIDATION;
 * DJ_ERROR_INVALID_ARGUMENT (context is NULL, an unknown switch, or quirks that cannot be read);
 * DJ_ERROR_VERSION; DJ_ERROR_OUT_OF_HOST_MEMORY; DJ_ERROR_OUT_OF_DEVICE_MEMORY;
 * DJ_ERROR_DEVICE_LOST; DJ_ERROR_VULKAN. Thread-safe. */
DJ_API dj_result dj_context_create(const struct dj_context_params *params, dj_context **context);

/* Waits for the device to be idle, unless it was imported, and destroys the context; sets *context
 * to NULL. Every object made from it must have been destroyed before: buffers that were not are
 * counted in a log line, and destroying one later is undefined. NULL, and a pointer to NULL, are
 * accepted. */
DJ_API void dj_context_destroy(dj_context **context);

/* The device of a context, as dj_device_list describes it: what it offers (dj_context_uses says
 * what is in use). Thread-safe. Returns DJ_SUCCESS, or DJ_ERROR_INVALID_ARGUMENT if either is NULL.
 */
DJ_API dj_result dj_context_device(const dj_context *context, struct dj_device_info *info);

/* What a context makes use of, which may be less than its device offers: of an imported one what
 * its caller enabled, less what a switch or a quirk takes away. */
enum dj_use {
    DJ_USE_PUSH_DESCRIPTORS = 1,
    DJ_USE_DEVICE_ADDRESSES = 2, /* buffers that are wrapped must have one */
    DJ_USE_STORAGE_16BIT = 4,    /* struct dj_tensor */
    DJ_USE_FLOAT_CONTROLS = 8,   /* NaN and Inf are as <dijiang/attention.h> says */
    DJ_USE_SUBGROUPS = 16,       /* with device addresses DJ_FAMILY_RESIDENT is there, and on CPU
                                  * devices exact softmax has a kernel of its own */
    DJ_USE_MATRICES = 32,        /* struct dj_context_params.matrices */
    DJ_USE_READ_INVOCATION = 64, /* those are faster with subgroups of 4 or 16 */
};

/* enum dj_use, any together; 0 for NULL. Thread-safe. */
DJ_API uint32_t dj_context_uses(const dj_context *context);

/* How many warnings and errors the validation layer has reported on this context so far; 0 without
 * validation. Thread-safe. A test treats any as a failure. */
DJ_API uint64_t dj_context_validation_count(const dj_context *context);

#ifdef __cplusplus
}
#endif

#endif
