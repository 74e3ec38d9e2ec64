/* SPDX-License-Identifier: MIT */
/* A layer of the tests' own between an engine and the Vulkan loader. It tells of a poorer device
 * than there is, watches whether what it told is kept to, counts what is created and destroyed, and
 * fails calls on request. */
#ifndef DJ_TESTS_SHIM_H
#define DJ_TESTS_SHIM_H

#include <vulkan/vulkan_core.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a device need not have. */
enum shim_feature {
    SHIM_PUSH_DESCRIPTORS = 1 << 0,
    SHIM_16BIT_STORAGE = 1 << 1,
    SHIM_ADDRESSES = 1 << 2,
    SHIM_FLOAT_CONTROLS = 1 << 3,
    SHIM_SUBGROUPS = 1 << 4, /* all operations but the basic ones; size control */
    SHIM_ALL = (1 << 5) - 1, /* together: no extension at all, and Vulkan 1.1 */
};

struct shim_promise {
    uint32_t without; /* enum shim_feature */
    bool least;       /* every limit as poor as Vulkan lets it be, but for 8 storage buffers */
    uint64_t storage_range; /* maxStorageBufferRange; 0: as above */
    bool one_size;          /* subgroups of one size, which no pipeline may ask for */
    bool discrete;   /* a GPU with memory of its own that the host cannot map, and none is cached */
    uint32_t driver; /* the VkDriverId that is told; 0: its own */
};

/* What all devices are told to be from now on; the process starts with no lie at all. */
void shim_promise(const struct shim_promise *promise);
/* The promise of a mode: "import" (none), "limits" (the poorest device), "small-range" (the same
 * with bindings of 5 MiB, less than Vulkan lets any have), "discrete", "no-push-descriptors",
 * "no-16bit", "no-addresses", "no-float-controls", "no-subgroups", "one-size". Returns whether
 * there is such a mode. */
bool shim_mode(const char *mode, struct shim_promise *promise);

/* For struct engine_options. */
PFN_vkGetInstanceProcAddr shim_between(PFN_vkGetInstanceProcAddr loader);

/* How often a promise was broken, in all; each was printed. */
uint64_t shim_violations(void);
/* Takes back n of them, which a test provoked. */
void shim_forgive(uint64_t n);

/* What is checked of every pipeline's shader. */
struct shim_shader {
    const uint32_t *words;
    size_t count;
    const VkSpecializationInfo *special;
};
void shim_check_shader(VkDevice device, const struct shim_shader *shader);

/* Objects, memory and mappings that are alive on all devices behind the shim, and a text that
 * counts them by type (static storage). */
uint64_t shim_alive(void);
const char *shim_alive_text(void);

/* Creating calls since the last shim_fail. */
uint64_t shim_created(void);
/* From now on the creating call after the next n fails (out of device memory, its output garbage);
 * UINT64_MAX: none. */
void shim_fail(uint64_t n);

/* ---- Between shim.c, which tells, and watch.c, which watches. ---- */

/* What a device was told of itself. */
void shim_properties(VkPhysicalDevice physical, VkPhysicalDeviceProperties *properties);
uint32_t shim_version(void); /* of Vulkan, that the instance asked for */
VkDeviceSize shim_max_allocation(VkPhysicalDevice physical);
uint32_t shim_without(void); /* enum shim_feature */
bool shim_offered(const char *extension);
bool shim_one_size(void);
bool shim_split_memory(void);
/* The type that both presented types are: device-local, mapped, coherent. */
uint32_t shim_memory_type(VkPhysicalDevice physical);

PFN_vkVoidFunction shim_real(VkInstance instance, const char *name);
/* watch.c's function of that name, or NULL. */
PFN_vkVoidFunction watch_function(const char *name);
void watch_load(VkInstance instance);
void watch_broken(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
