/* SPDX-License-Identifier: MIT */
/* The inside of the null device: its objects, shared by the files that make it. */
#ifndef DJ_TESTS_NULL_INSIDE_H
#define DJ_TESTS_NULL_INSIDE_H

#include "null_device.h"

#include <assert.h>
#include <stdatomic.h>
#include <string.h>

#define NULL_KINDS(X) \
    X(INSTANCE, "instance") \
    X(MESSENGER, "messenger") \
    X(DEVICE, "device") \
    X(BUFFER, "buffer") \
    X(MEMORY, "memory") \
    X(SHADER_MODULE, "shader module") \
    X(SET_LAYOUT, "descriptor set layout") \
    X(PIPELINE_LAYOUT, "pipeline layout") \
    X(PIPELINE_CACHE, "pipeline cache") \
    X(PIPELINE, "pipeline") \
    X(COMMAND_POOL, "command pool") \
    X(COMMAND_BUFFER, "command buffer") \
    X(DESCRIPTOR_POOL, "descriptor pool") \
    X(QUERY_POOL, "query pool") \
    X(FENCE, "fence")

enum null_kind {
#define NULL_KIND_ENUM(name, text) NULL_OBJECT_##name,
    NULL_KINDS(NULL_KIND_ENUM)
#undef NULL_KIND_ENUM
    NULL_KIND_COUNT
};

enum {
    NULL_MOST_BINDINGS = 16,
    NULL_MOST_FAMILIES = 3,
    NULL_MOST_PUSH = 256
};

/* The start of every object. */
struct null_object {
    uint32_t magic, kind;
    struct null_object *parent; /* instance or device; NULL for instances */
    atomic_uint children;
    uint32_t touched; /* written wherever Vulkan asks the caller to synchronise */
    bool custom;      /* allocated by callbacks */
    VkAllocationCallbacks callbacks;
};

struct null_instance {
    struct null_object object;
    struct null_settings settings; /* also the physical device, whose handle points here */
    bool debug_utils;
};

struct null_queue {
    struct null_device *device;
    uint32_t family;
    uint64_t submissions;
};

struct null_device {
    struct null_object object;
    const struct null_settings *settings; /* the instance's */
    struct null_queue queues[NULL_MOST_FAMILIES];
    uint32_t families; /* with a queue, by bit */
    bool push_descriptors, device_addresses, whole_subgroups, subgroup_ballot; /* enabled */
    atomic_bool lost;
};

struct null_memory {
    struct null_object object;
    uint64_t size;
    void *data;
    bool mappable, mapped, addressed;
    bool bare; /* address space that nobody may touch */
};

struct null_buffer {
    struct null_object object;
    uint64_t size;
    VkBufferUsageFlags usage;
    uint32_t families;          /* that share it, by bit; 0: not shared */
    struct null_memory *memory; /* NULL: not bound */
    uint64_t offset;
    uint64_t address;         /* once asked for; 0 */
    struct null_buffer *next; /* with an address */
};

struct null_set_layout {
    struct null_object object;
    uint32_t count;
    bool push;
};

struct null_pipeline_layout {
    struct null_object object;
    struct null_set_layout set; /* as it was; count 0: none */
    bool has_set;
    uint32_t push;
};

struct null_pipeline_cache {
    struct null_object object;
    atomic_uint entries;
};

struct null_shader_module {
    struct null_object object;
    uint32_t bindings; /* declared, by bit */
};

struct null_pipeline {
    struct null_object object;
    uint32_t bindings;
};

struct null_binding {
    void *data; /* NULL: none */
    uint64_t range;
    uint32_t families; /* of its buffer */
};

struct null_set {
    struct null_device *device;
    uint32_t count;
    struct null_binding bindings[NULL_MOST_BINDINGS];
    uint32_t touched;
};

struct null_descriptor_pool {
    struct null_object object;
    uint32_t capacity, used, descriptors;
    struct null_set sets[];
};

enum null_command_state {
    NULL_INITIAL,
    NULL_RECORDING,
    NULL_EXECUTABLE,
    NULL_INVALID
};

struct null_command_buffer {
    struct null_object object;
    struct null_command_pool *pool;
    struct null_command_buffer *next;
    enum null_command_state state;
    bool once, bound;
    struct null_pipeline *pipeline;
    uint8_t push[NULL_MOST_PUSH];
    struct null_binding bindings[NULL_MOST_BINDINGS];
};

struct null_command_pool {
    struct null_object object;
    uint32_t family;
    struct null_command_buffer *buffers;
};

enum null_query_state {
    NULL_QUERY_UNKNOWN,
    NULL_QUERY_RESET,
    NULL_QUERY_WRITTEN
};

struct null_query {
    enum null_query_state state;
    uint64_t ticks;
};

struct null_query_pool {
    struct null_object object;
    uint32_t count;
    uint64_t ticks;
    struct null_query queries[];
};

struct null_fence {
    struct null_object object;
    bool signalled;
};

/* Memory that no wrap of the allocation functions sees. */
void *null_block(size_t size);
void null_block_free(void *block);

/* Says that a rule is broken. */
__attribute__((format(printf, 1, 2))) void null_misuse(const char *format, ...);

/* A command buffer that is recorded into, which its pool's owner alone may do. */
struct null_command_buffer *null_recording(VkCommandBuffer handle, const char *function);

/* Zeroed; NULL without memory. */
void *null_object_create(enum null_kind kind, size_t size, struct null_object *parent,
                         const VkAllocationCallbacks *callbacks);
void null_object_destroy(struct null_object *object, const VkAllocationCallbacks *callbacks);
/* The object of a handle, which is of that kind and alive. */
void *null_object_of(uint64_t handle, enum null_kind kind, const char *function);
#define NULL_OF(handle, kind) \
    null_object_of((uint64_t)(uintptr_t)(handle), NULL_OBJECT_##kind, __func__)
#define NULL_DEVICE_OF(handle) ((struct null_device *)NULL_OF(handle, DEVICE))
#define NULL_HANDLE_OF(type, object) ((type)(uintptr_t)(object))

/* Counts a call. The second returns what the call gives instead of happening, or VK_SUCCESS;
 * device: NULL before there is one. */
void null_enter(enum null_function function);
VkResult null_enter_fallible(enum null_function function, struct null_device *device);
#define NULL_ENTER(name) null_enter(NULL_##name)
/* Leave the function with a fault; the second poisons what it would have made. */
#define NULL_ENTER_FALLIBLE(name, device) \
    do { \
        const VkResult null_code = null_enter_fallible(NULL_##name, (device)); \
        if (null_code != VK_SUCCESS) \
            return null_code; \
    } while (0)
#define NULL_ENTER_MAKING(name, device, output, size) \
    do { \
        const VkResult null_code = null_enter_fallible(NULL_##name, (device)); \
        if (null_code != VK_SUCCESS) { \
            memset((void *)(output), 0xdb, (size)); \
            return null_code; \
        } \
    } while (0)

void null_count_recorded(uint64_t dispatches, uint64_t barriers, uint64_t pushes, uint64_t copies);

/* The functions of the other files. */
#define NULL_DECLARE(name) PFN_vkVoidFunction null_function_##name(void);
NULL_QUIET_FUNCTIONS(NULL_DECLARE)
NULL_FALLIBLE_FUNCTIONS(NULL_DECLARE)
#undef NULL_DECLARE
/* Stands behind a definition: makes it known to the table. */
#define NULL_PROVIDE(name) \
    PFN_vkVoidFunction null_function_##name(void) \
    { \
        const PFN_##name typed = null_##name; \
        return (PFN_vkVoidFunction)typed; \
    }

#endif
