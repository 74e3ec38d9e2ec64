/* SPDX-License-Identifier: MIT */
/* The null device's books: calls, faults, objects, misuse; and its table. */
#include "null_inside.h"

#include "harness.h"

#include <stdio.h>
#include <stdlib.h>

#define MAGIC 0x6e756c6cu

/* Where a program wraps these (-Wl,--wrap), the wraps do not see the null device's own. */
extern void *__real_calloc(size_t count, size_t size) __attribute__((weak));
extern void __real_free(void *block) __attribute__((weak));

void *null_block(size_t size)
{
    return __real_calloc != NULL ? __real_calloc(1, size) : calloc(1, size);
}

void null_block_free(void *block)
{
    if (__real_free != NULL)
        __real_free(block);
    else
        free(block);
}

static const char *const function_names[] = {
#define NAME(name) #name,
    NULL_QUIET_FUNCTIONS(NAME) NULL_FALLIBLE_FUNCTIONS(NAME)
#undef NAME
};
static const char *const kind_names[] = {
#define NAME(name, text) text,
    NULL_KINDS(NAME)
#undef NAME
};

void (*null_on_dispatch)(const struct null_dispatch *dispatch);
void (*null_on_call)(enum null_function function);
uint64_t null_address_shift;
void (*null_on_buffer)(const VkBufferCreateInfo *info);

static atomic_uint_fast64_t calls[NULL_FUNCTION_COUNT];
static atomic_uint_fast64_t objects[NULL_KIND_COUNT];
static atomic_uint_fast64_t without_callbacks; /* ever made */
static atomic_uint_fast64_t misuses;
static char last_misuse[256]; /* of some thread */
static struct {
    atomic_uint_fast64_t dispatches, barriers, pushes, copies;
} recorded;
static struct {
    uint64_t at, count; /* 0: none */
    VkResult code;
    bool lasting;
    const char *name; /* of the first that failed */
} fault;

void null_enter(enum null_function function)
{
    atomic_fetch_add_explicit(&calls[function], 1, memory_order_relaxed);
    if (null_on_call != NULL)
        null_on_call(function);
}

static bool is_wait_or_submit(enum null_function function)
{
    return function == NULL_vkQueueSubmit || function == NULL_vkWaitForFences ||
           function == NULL_vkQueueWaitIdle || function == NULL_vkDeviceWaitIdle;
}

VkResult null_enter_fallible(enum null_function function, struct null_device *device)
{
    null_enter(function);
    if (device != NULL && is_wait_or_submit(function) &&
        atomic_load_explicit(&device->lost, memory_order_relaxed))
        return VK_ERROR_DEVICE_LOST;
    if (fault.at == 0)
        return VK_SUCCESS;
    fault.count++;
    if (fault.count != fault.at && !(fault.lasting && fault.count > fault.at))
        return VK_SUCCESS;
    if (fault.name == NULL)
        fault.name = function_names[function];
    if (device != NULL && fault.code == VK_ERROR_DEVICE_LOST)
        atomic_store_explicit(&device->lost, true, memory_order_relaxed);
    return fault.code;
}

void null_fail_at(uint64_t n, VkResult code, bool lasting)
{
    fault.at = n;
    fault.count = 0;
    fault.code = code;
    fault.lasting = lasting;
    fault.name = NULL;
}

bool null_fault(const char **function)
{
    if (function != NULL)
        *function = fault.name;
    return fault.name != NULL;
}

uint64_t null_calls(enum null_function function)
{
    return atomic_load_explicit(&calls[function], memory_order_relaxed);
}

uint64_t null_calls_beside_recording(void)
{
    uint64_t sum = 0;
    for (int i = 0; i < NULL_FUNCTION_COUNT; i++) {
        if (strncmp(function_names[i], "vkCmd", 5) != 0 && i != NULL_vkUpdateDescriptorSets)
            sum += null_calls((enum null_function)i);
    }
    return sum;
}

void null_count_recorded(uint64_t dispatches, uint64_t barriers, uint64_t pushes, uint64_t copies)
{
    atomic_fetch_add_explicit(&recorded.dispatches, dispatches, memory_order_relaxed);
    atomic_fetch_add_explicit(&recorded.barriers, barriers, memory_order_relaxed);
    atomic_fetch_add_explicit(&recorded.pushes, pushes, memory_order_relaxed);
    atomic_fetch_add_explicit(&recorded.copies, copies, memory_order_relaxed);
}

struct null_recorded null_recorded(void)
{
    return (struct null_recorded){recorded.dispatches, recorded.barriers, recorded.pushes,
                                  recorded.copies};
}

uint64_t null_made_without_callbacks(void)
{
    return atomic_load_explicit(&without_callbacks, memory_order_relaxed);
}

uint64_t null_objects(void)
{
    uint64_t sum = 0;
    for (int i = 0; i < NULL_KIND_COUNT; i++)
        sum += atomic_load_explicit(&objects[i], memory_order_relaxed);
    return sum;
}

const char *null_objects_text(void)
{
    static char text[512];
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; i < NULL_KIND_COUNT && used < sizeof text; i++) {
        const unsigned long long count = atomic_load_explicit(&objects[i], memory_order_relaxed);
        if (count > 0)
            used += (size_t)snprintf(text + used, sizeof text - used, "%s%llu x %s",
                                     used > 0 ? ", " : "", count, kind_names[i]);
    }
    return text;
}

void null_misuse(const char *format, ...)
{
    char line[sizeof last_misuse];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    /* functions that name themselves have a prefix */
    const char *const text = strncmp(line, "null_vk", 7) == 0 ? line + 5 : line;
    fprintf(stderr, "# misuse: %s\n", text);
    atomic_fetch_add(&misuses, 1);
    snprintf(last_misuse, sizeof last_misuse, "%s", text);
}

uint64_t null_misuses(void)
{
    return atomic_load(&misuses);
}

const char *null_last_misuse(void)
{
    return last_misuse;
}

void *null_object_create(enum null_kind kind, size_t size, struct null_object *parent,
                         const VkAllocationCallbacks *callbacks)
{
    struct null_object *object;
    if (callbacks != NULL)
        object = callbacks->pfnAllocation(callbacks->pUserData, size, 16,
                                          kind == NULL_OBJECT_INSTANCE
                                              ? VK_SYSTEM_ALLOCATION_SCOPE_INSTANCE
                                              : VK_SYSTEM_ALLOCATION_SCOPE_OBJECT);
    else
        object = null_block(size);
    if (object == NULL)
        return NULL;
    memset(object, 0, size);
    object->magic = MAGIC;
    object->kind = kind;
    object->parent = parent;
    if (callbacks != NULL) {
        object->custom = true;
        object->callbacks = *callbacks;
    } else {
        atomic_fetch_add_explicit(&without_callbacks, 1, memory_order_relaxed);
    }
    if (parent != NULL)
        atomic_fetch_add_explicit(&parent->children, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&objects[kind], 1, memory_order_relaxed);
    return object;
}

void null_object_destroy(struct null_object *object, const VkAllocationCallbacks *callbacks)
{
    object->touched++;
    if (object->custom != (callbacks != NULL) ||
        (object->custom && (object->callbacks.pUserData != callbacks->pUserData ||
                            object->callbacks.pfnFree != callbacks->pfnFree)))
        null_misuse("a %s is destroyed with other allocation callbacks", kind_names[object->kind]);
    const uint32_t children = atomic_load_explicit(&object->children, memory_order_relaxed);
    if (children > 0)
        null_misuse("a %s is destroyed before %u objects made from it: %s",
                    kind_names[object->kind], children, null_objects_text());
    if (object->parent != NULL)
        atomic_fetch_sub_explicit(&object->parent->children, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&objects[object->kind], 1, memory_order_relaxed);
    object->magic = 0;
    if (object->custom)
        object->callbacks.pfnFree(object->callbacks.pUserData, object);
    else
        null_block_free(object);
}

void *null_object_of(uint64_t handle, enum null_kind kind, const char *function)
{
    struct null_object *const object = (struct null_object *)(uintptr_t)handle;
    if (object == NULL || object->magic != MAGIC || object->kind != (uint32_t)kind) {
        null_misuse("%s: no %s", function, kind_names[kind]);
        abort(); /* what follows would be worse */
    }
    return object;
}

/* Whether a function may be called with what is enabled. */
static bool is_enabled(const struct null_instance *instance, const struct null_device *device,
                       enum null_function function)
{
    const bool addresses = device != NULL ? device->device_addresses : true;
    const bool pushes = device != NULL ? device->push_descriptors : true;
    switch (function) {
    case NULL_vkCmdPushDescriptorSetKHR:
        return pushes;
    case NULL_vkGetBufferDeviceAddressKHR:
        return addresses;
    case NULL_vkGetBufferDeviceAddress:
        return addresses && instance->settings.api_version >= VK_API_VERSION_1_2;
    case NULL_vkCreateDebugUtilsMessengerEXT:
    case NULL_vkDestroyDebugUtilsMessengerEXT:
    case NULL_vkSetDebugUtilsObjectNameEXT:
        return instance->debug_utils;
    default:
        return true;
    }
}

/* Functions that need no instance. */
static bool is_global(enum null_function function)
{
    return function == NULL_vkCreateInstance || function == NULL_vkGetInstanceProcAddr ||
           function == NULL_vkEnumerateInstanceVersion ||
           function == NULL_vkEnumerateInstanceExtensionProperties ||
           function == NULL_vkEnumerateInstanceLayerProperties;
}

static PFN_vkVoidFunction find(const char *name, enum null_function *function)
{
    static PFN_vkVoidFunction (*const providers[])(void) = {
#define PROVIDER(name) null_function_##name,
        NULL_QUIET_FUNCTIONS(PROVIDER) NULL_FALLIBLE_FUNCTIONS(PROVIDER)
#undef PROVIDER
    };
    for (int i = 0; i < NULL_FUNCTION_COUNT; i++) {
        if (strcmp(function_names[i], name) == 0) {
            *function = (enum null_function)i;
            return providers[i]();
        }
    }
    return NULL;
}

PFN_vkVoidFunction null_get_instance_proc_addr(VkInstance instance, const char *name)
{
    enum null_function function;
    const PFN_vkVoidFunction found = find(name, &function);
    NULL_ENTER(vkGetInstanceProcAddr);
    if (found == NULL || is_global(function))
        return found;
    if (instance == NULL)
        return NULL;
    return is_enabled(NULL_OF(instance, INSTANCE), NULL, function) ? found : NULL;
}
#define null_vkGetInstanceProcAddr null_get_instance_proc_addr
NULL_PROVIDE(vkGetInstanceProcAddr)

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL null_vkGetDeviceProcAddr(VkDevice handle,
                                                                         const char *name)
{
    struct null_device *const device = NULL_DEVICE_OF(handle);
    enum null_function function;
    const PFN_vkVoidFunction found = find(name, &function);
    NULL_ENTER(vkGetDeviceProcAddr);
    if (found == NULL || is_global(function))
        return NULL;
    return is_enabled((struct null_instance *)device->object.parent, device, function) ? found
                                                                                       : NULL;
}
NULL_PROVIDE(vkGetDeviceProcAddr)

#define CALL(name) ((PFN_##name)null_function_##name())

void null_engine_init(struct null_engine *engine)
{
    *engine = (struct null_engine){0};
    const VkApplicationInfo application = {.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
                                           .apiVersion = VK_API_VERSION_1_1};
    const VkInstanceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
                                       .pApplicationInfo = &application};
    assert_int_equal(CALL(vkCreateInstance)(&info, NULL, &engine->instance), VK_SUCCESS);
    uint32_t count = 1;
    assert_int_equal(CALL(vkEnumeratePhysicalDevices)(engine->instance, &count, &engine->physical),
                     VK_SUCCESS);
    HARNESS_OK(dj_device_wants(null_get_instance_proc_addr, engine->instance, engine->physical,
                               &engine->wants));
    const float priority = 1.0f;
    uint32_t families;
    CALL(vkGetPhysicalDeviceQueueFamilyProperties)(engine->physical, &families, NULL);
    VkDeviceQueueCreateInfo queues[NULL_MOST_FAMILIES];
    for (uint32_t i = 0; i < families; i++)
        queues[i] = (VkDeviceQueueCreateInfo){.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                                              .queueFamilyIndex = i,
                                              .queueCount = 1,
                                              .pQueuePriorities = &priority};
    const VkDeviceCreateInfo device = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
        .pNext = engine->wants.features,
        .queueCreateInfoCount = families,
        .pQueueCreateInfos = queues,
        .enabledExtensionCount = engine->wants.extension_count,
        .ppEnabledExtensionNames = engine->wants.extensions,
    };
    assert_int_equal(CALL(vkCreateDevice)(engine->physical, &device, NULL, &engine->device),
                     VK_SUCCESS);
    for (uint32_t i = 0; i < families; i++)
        CALL(vkGetDeviceQueue)(engine->device, i, 0, &engine->queues[i]);
    engine->queue = engine->queues[0];
}

void null_engine_finish(struct null_engine *engine)
{
    CALL(vkDestroyDevice)(engine->device, NULL);
    CALL(vkDestroyInstance)(engine->instance, NULL);
}

struct dj_import_params null_engine_params(const struct null_engine *engine)
{
    return (struct dj_import_params){
        .get_instance_proc_addr = null_get_instance_proc_addr,
        .instance = engine->instance,
        .physical_device = engine->physical,
        .device = engine->device,
        .device_extensions = engine->wants.extensions,
        .device_extension_count = engine->wants.extension_count,
        .features = engine->wants.features,
        .queue = engine->queue,
        .log = harness_log_line,
    };
}

VkCommandBuffer null_engine_command(const struct null_engine *engine, VkCommandPool *pool)
{
    return null_engine_command_of(engine, 0, pool);
}

VkCommandBuffer null_engine_command_of(const struct null_engine *engine, uint32_t family,
                                       VkCommandPool *pool)
{
    VkCommandBuffer command;
    const VkCommandPoolCreateInfo pool_info = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                               .queueFamilyIndex = family};
    assert_int_equal(CALL(vkCreateCommandPool)(engine->device, &pool_info, NULL, pool), VK_SUCCESS);
    const VkCommandBufferAllocateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
        .commandPool = *pool,
        .commandBufferCount = 1,
    };
    assert_int_equal(CALL(vkAllocateCommandBuffers)(engine->device, &info, &command), VK_SUCCESS);
    const VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
    assert_int_equal(CALL(vkBeginCommandBuffer)(command, &begin), VK_SUCCESS);
    return command;
}

void null_engine_command_finish(const struct null_engine *engine, VkCommandPool pool)
{
    CALL(vkDestroyCommandPool)(engine->device, pool, NULL);
}
