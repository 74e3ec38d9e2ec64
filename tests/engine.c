/* SPDX-License-Identifier: MIT */
#include "engine.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VALIDATION_LAYER "VK_LAYER_KHRONOS_validation"

static VKAPI_ATTR VkBool32 VKAPI_CALL message(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                              VkDebugUtilsMessageTypeFlagsEXT types,
                                              const VkDebugUtilsMessengerCallbackDataEXT *data,
                                              void *user)
{
    (void)severity;
    (void)types;
    struct engine *engine = user;
    __atomic_fetch_add(&engine->validation_count, 1, __ATOMIC_RELAXED);
    if (!engine->silent)
        fprintf(stderr, "# validation: %s\n", data->pMessage);
    return VK_FALSE;
}

/* libvulkan's; it stays open: drivers do not like to be closed. */
static PFN_vkGetInstanceProcAddr loader(void)
{
    static void *library;
    if (library == NULL)
        library = dlopen("libvulkan.so.1", RTLD_NOW | RTLD_LOCAL);
    assert_non_null(library);
    PFN_vkGetInstanceProcAddr function;
    *(void **)&function = dlsym(library, "vkGetInstanceProcAddr");
    assert_non_null(function);
    return function;
}

static bool layer_is_there(const struct engine *engine)
{
    const PFN_vkEnumerateInstanceLayerProperties enumerate =
        (PFN_vkEnumerateInstanceLayerProperties)engine->get_instance_proc_addr(
            NULL, "vkEnumerateInstanceLayerProperties");
    VkLayerProperties layers[64];
    uint32_t count = 64;
    enumerate(&count, layers);
    for (uint32_t i = 0; i < count; i++) {
        if (strcmp(layers[i].layerName, VALIDATION_LAYER) == 0)
            return true;
    }
    const char *demanded = getenv("DIJIANG_TEST_VALIDATION");
    printf("# the validation layer is not installed: its checks are not made\n");
    assert_false(demanded && strcmp(demanded, "1") == 0);
    return false;
}

static void make_instance(struct engine *engine)
{
    const VkDebugUtilsMessengerCreateInfoEXT messenger = {
        .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
        .messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT |
                           VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
        .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT |
                       VK_DEBUG_UTILS_MESSAGE_TYPE_PERFORMANCE_BIT_EXT,
        .pfnUserCallback = message,
        .pUserData = engine,
    };
    const VkValidationFeatureEnableEXT enable =
        VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT;
    const VkValidationFeaturesEXT features = {
        .sType = VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT,
        .pNext = &messenger,
        .enabledValidationFeatureCount = 1,
        .pEnabledValidationFeatures = &enable,
    };
    const char *const layer = VALIDATION_LAYER;
    if (engine->validation) {
        engine->instance_extensions[0] = VK_EXT_DEBUG_UTILS_EXTENSION_NAME;
        engine->instance_extensions[1] = VK_EXT_VALIDATION_FEATURES_EXTENSION_NAME;
        engine->instance_extension_count = 2;
    }
    const VkApplicationInfo application = {.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
                                           .pApplicationName = "engine",
                                           .apiVersion = engine->api_version};
    const VkInstanceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
        .pNext = engine->validation ? &features : NULL,
        .pApplicationInfo = &application,
        .enabledLayerCount = engine->validation ? 1 : 0,
        .ppEnabledLayerNames = &layer,
        .enabledExtensionCount = engine->instance_extension_count,
        .ppEnabledExtensionNames = engine->instance_extensions,
    };
    const PFN_vkCreateInstance create =
        (PFN_vkCreateInstance)engine->get_instance_proc_addr(NULL, "vkCreateInstance");
    ENGINE_OK(create(&info, NULL, &engine->instance));
#define LOAD_INSTANCE(name) \
    engine->vk.name = (PFN_##name)engine->get_instance_proc_addr(engine->instance, #name);
    ENGINE_INSTANCE_FUNCTIONS(LOAD_INSTANCE)
    if (engine->validation)
        ENGINE_OK(engine->vk.vkCreateDebugUtilsMessengerEXT(engine->instance, &messenger, NULL,
                                                            &engine->messenger));
}

/* Whether a version of Vulkan up to the engine's includes or deprecates an extension. */
static bool is_superseded(const struct engine *engine, const char *extension)
{
    static const struct {
        const char *name;
        uint32_t version;
    } included[] = {
        {VK_KHR_BUFFER_DEVICE_ADDRESS_EXTENSION_NAME, VK_API_VERSION_1_2},
        {VK_KHR_SHADER_FLOAT_CONTROLS_EXTENSION_NAME, VK_API_VERSION_1_2},
        {VK_KHR_SHADER_FLOAT16_INT8_EXTENSION_NAME, VK_API_VERSION_1_2},
        {VK_KHR_VULKAN_MEMORY_MODEL_EXTENSION_NAME, VK_API_VERSION_1_2},
        {VK_EXT_SHADER_SUBGROUP_BALLOT_EXTENSION_NAME, VK_API_VERSION_1_2},
        {VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME, VK_API_VERSION_1_3},
    };
    for (size_t i = 0; i < sizeof included / sizeof *included; i++) {
        if (strcmp(extension, included[i].name) == 0)
            return engine->api_version >= included[i].version;
    }
    return false;
}

/* Moves a feature's struct into that of a version; false: none up to the engine's has it. */
static bool move_feature(struct engine *engine, const VkBaseOutStructure *node)
{
    switch (node->sType) {
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_16BIT_STORAGE_FEATURES:
        engine->core_11.storageBuffer16BitAccess =
            ((const VkPhysicalDevice16BitStorageFeatures *)node)->storageBuffer16BitAccess;
        return true;
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_BUFFER_DEVICE_ADDRESS_FEATURES:
        engine->core_12.bufferDeviceAddress =
            ((const VkPhysicalDeviceBufferDeviceAddressFeatures *)node)->bufferDeviceAddress;
        return true;
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES:
        engine->core_12.shaderFloat16 =
            ((const VkPhysicalDeviceShaderFloat16Int8Features *)node)->shaderFloat16;
        return true;
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_MEMORY_MODEL_FEATURES: {
        const VkPhysicalDeviceVulkanMemoryModelFeatures *const model =
            (const VkPhysicalDeviceVulkanMemoryModelFeatures *)node;
        engine->core_12.vulkanMemoryModel = model->vulkanMemoryModel;
        engine->core_12.vulkanMemoryModelDeviceScope = model->vulkanMemoryModelDeviceScope;
        return true;
    }
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES: {
        const VkPhysicalDeviceSubgroupSizeControlFeatures *const control =
            (const VkPhysicalDeviceSubgroupSizeControlFeatures *)node;
        engine->core_13.subgroupSizeControl = control->subgroupSizeControl;
        engine->core_13.computeFullSubgroups = control->computeFullSubgroups;
        return engine->api_version >= VK_API_VERSION_1_3;
    }
    default:
        return false;
    }
}

/* Says what is wanted as engines do that know the versions and not the extensions. */
static void use_core(struct engine *engine)
{
    struct dj_device_wants *const wants = &engine->wants;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < wants->extension_count; i++) {
        if (!is_superseded(engine, wants->extensions[i]))
            wants->extensions[kept++] = wants->extensions[i];
    }
    wants->extension_count = kept;
    VkBaseOutStructure *node = wants->features;
    void *chain = NULL;
    while (node != NULL) {
        VkBaseOutStructure *const next = node->pNext;
        if (!move_feature(engine, node)) {
            node->pNext = chain;
            chain = node;
        }
        node = next;
    }
    engine->core_11.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES;
    engine->core_11.pNext = chain;
    engine->core_12.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES;
    engine->core_12.pNext = &engine->core_11;
    engine->core_13.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_FEATURES;
    engine->core_13.pNext = &engine->core_12;
    wants->features = engine->api_version >= VK_API_VERSION_1_3 ? (void *)&engine->core_13
                                                                : (void *)&engine->core_12;
}

bool engine_offers(const struct engine *engine, const char *extension)
{
    VkExtensionProperties list[512];
    uint32_t count = sizeof list / sizeof *list;
    ENGINE_OK(engine->vk.vkEnumerateDeviceExtensionProperties(engine->physical_device, NULL, &count,
                                                              list));
    bool offered = false;
    for (uint32_t i = 0; i < count; i++)
        offered = offered || strcmp(list[i].extensionName, extension) == 0;
    return offered;
}

static void enable_extension(struct engine *engine, const char *name)
{
    struct dj_device_wants *const wants = &engine->wants;
    engine->extension = engine_offers(engine, name);
    if (!engine->extension)
        return;
    assert_true(wants->extension_count < sizeof wants->extensions / sizeof *wants->extensions);
    wants->extensions[wants->extension_count++] = name;
}

static void make_device(struct engine *engine, const struct engine_options *options)
{
    VkPhysicalDevice devices[16];
    uint32_t count = 16;
    assert_true(engine->vk.vkEnumeratePhysicalDevices(engine->instance, &count, devices) >= 0);
    assert_true(options->device < count);
    engine->physical_device = devices[options->device];

    VkQueueFamilyProperties families[16];
    engine->vk.vkGetPhysicalDeviceQueueFamilyProperties(engine->physical_device, &count, NULL);
    count = count < 16 ? count : 16;
    engine->vk.vkGetPhysicalDeviceQueueFamilyProperties(engine->physical_device, &count, families);
    while (engine->queue_family < count &&
           !(families[engine->queue_family].queueFlags & VK_QUEUE_COMPUTE_BIT))
        engine->queue_family++;
    assert_true(engine->queue_family < count);

    if (!options->bare)
        HARNESS_OK(dj_device_wants(engine->get_instance_proc_addr, engine->instance,
                                   engine->physical_device, &engine->wants));
    for (uint32_t i = 0; i < engine->wants.count; i++) {
        const struct dj_want *const want = &engine->wants.wants[i];
        engine->addresses |=
            want->supported && want->feature && strcmp(want->feature, "bufferDeviceAddress") == 0;
    }
    if (options->core)
        use_core(engine);
    if (options->extension)
        enable_extension(engine, options->extension);
    const float priority = 1.0f;
    const VkDeviceQueueCreateInfo queue = {.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                                           .queueFamilyIndex = engine->queue_family,
                                           .queueCount = 1,
                                           .pQueuePriorities = &priority};
    const VkDeviceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
        .pNext = engine->wants.features,
        .queueCreateInfoCount = 1,
        .pQueueCreateInfos = &queue,
        .enabledExtensionCount = engine->wants.extension_count,
        .ppEnabledExtensionNames = engine->wants.extensions,
    };
    ENGINE_OK(engine->vk.vkCreateDevice(engine->physical_device, &info, NULL, &engine->device));
#define LOAD_DEVICE(name) \
    engine->vk.name = (PFN_##name)engine->vk.vkGetDeviceProcAddr(engine->device, #name);
    ENGINE_DEVICE_FUNCTIONS(LOAD_DEVICE)
    engine->vk.vkGetDeviceQueue(engine->device, engine->queue_family, 0, &engine->queue);
}

void engine_init(struct engine *engine, const struct engine_options *options)
{
    static const struct engine_options defaults;
    options = options ? options : &defaults;
    *engine = (struct engine){.api_version =
                                  options->api_version ? options->api_version : VK_API_VERSION_1_1};
    engine->get_instance_proc_addr = options->shim ? options->shim(loader()) : loader();
    engine->validation = !options->quiet && layer_is_there(engine);
    make_instance(engine);
    make_device(engine, options);
    const VkCommandPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                          .queueFamilyIndex = engine->queue_family};
    ENGINE_OK(engine->vk.vkCreateCommandPool(engine->device, &pool, NULL, &engine->pool));
}

void engine_finish(struct engine *engine)
{
    engine->vk.vkDestroyCommandPool(engine->device, engine->pool, NULL);
    engine->vk.vkDestroyDevice(engine->device, NULL);
    if (engine->messenger)
        engine->vk.vkDestroyDebugUtilsMessengerEXT(engine->instance, engine->messenger, NULL);
    engine->vk.vkDestroyInstance(engine->instance, NULL);
    assert_int_equal(engine->validation_count, 0);
}

uint32_t engine_device_version(uint32_t device)
{
    struct engine engine;
    VkPhysicalDeviceProperties properties;
    engine_init(&engine, &(struct engine_options){.device = device});
    engine.vk.vkGetPhysicalDeviceProperties(engine.physical_device, &properties);
    engine_finish(&engine);
    return properties.apiVersion;
}

struct dj_import_params engine_params(const struct engine *engine)
{
    return (struct dj_import_params){
        .get_instance_proc_addr = engine->get_instance_proc_addr,
        .instance = engine->instance,
        .physical_device = engine->physical_device,
        .device = engine->device,
        .api_version = engine->api_version,
        .instance_extensions = engine->instance_extensions,
        .instance_extension_count = engine->instance_extension_count,
        .device_extensions = engine->wants.extensions,
        .device_extension_count = engine->wants.extension_count,
        .features = engine->wants.features,
        .queue_family = engine->queue_family,
        .queue = engine->queue,
        .log = harness_log_line,
    };
}

static uint32_t mapped_type(struct engine *engine, uint32_t mask)
{
    const VkMemoryPropertyFlags mapped =
        VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    VkPhysicalDeviceMemoryProperties memory;
    engine->vk.vkGetPhysicalDeviceMemoryProperties(engine->physical_device, &memory);
    for (uint32_t i = 0; i < memory.memoryTypeCount; i++) {
        if ((mask & 1u << i) && (memory.memoryTypes[i].propertyFlags & mapped) == mapped)
            return i;
    }
    fail_msg("no mapped memory");
    return 0;
}

struct engine_buffer engine_buffer_create(struct engine *engine, uint64_t size)
{
    return engine_buffer_create_for(engine, size, VK_BUFFER_USAGE_STORAGE_BUFFER_BIT);
}

struct engine_buffer engine_buffer_create_for(struct engine *engine, uint64_t size,
                                              VkBufferUsageFlags usage)
{
    struct engine_buffer made = {
        .usage = usage | (engine->addresses ? VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT : 0),
        .size = size};
    const VkMemoryAllocateFlagsInfo flags = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO,
                                             .flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT};
    const VkBufferCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO, .size = size, .usage = made.usage};
    ENGINE_OK(engine->vk.vkCreateBuffer(engine->device, &info, NULL, &made.buffer));
    VkMemoryRequirements need;
    engine->vk.vkGetBufferMemoryRequirements(engine->device, made.buffer, &need);
    const VkMemoryAllocateInfo memory = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                                         .pNext = engine->addresses ? &flags : NULL,
                                         .allocationSize = need.size,
                                         .memoryTypeIndex =
                                             mapped_type(engine, need.memoryTypeBits)};
    ENGINE_OK(engine->vk.vkAllocateMemory(engine->device, &memory, NULL, &made.memory));
    ENGINE_OK(engine->vk.vkBindBufferMemory(engine->device, made.buffer, made.memory, 0));
    ENGINE_OK(
        engine->vk.vkMapMemory(engine->device, made.memory, 0, VK_WHOLE_SIZE, 0, &made.mapped));
    return made;
}

void engine_buffer_destroy(struct engine *engine, struct engine_buffer *buffer)
{
    engine->vk.vkDestroyBuffer(engine->device, buffer->buffer, NULL);
    engine->vk.vkFreeMemory(engine->device, buffer->memory, NULL);
}

struct dj_wrap_params engine_buffer_params(const struct engine_buffer *buffer)
{
    return (struct dj_wrap_params){.buffer = buffer->buffer,
                                   .size = buffer->size,
                                   .usage = buffer->usage,
                                   .mapped = buffer->mapped};
}

VkCommandBuffer engine_command(struct engine *engine)
{
    VkCommandBuffer command;
    const VkCommandBufferAllocateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
        .commandPool = engine->pool,
        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
        .commandBufferCount = 1,
    };
    ENGINE_OK(engine->vk.vkAllocateCommandBuffers(engine->device, &info, &command));
    const VkCommandBufferBeginInfo begin = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
        .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT,
    };
    ENGINE_OK(engine->vk.vkBeginCommandBuffer(command, &begin));
    return command;
}

void engine_submit(struct engine *engine, VkCommandBuffer command)
{
    ENGINE_OK(engine->vk.vkEndCommandBuffer(command));
    const VkSubmitInfo submit = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
                                 .commandBufferCount = 1,
                                 .pCommandBuffers = &command};
    ENGINE_OK(engine->vk.vkQueueSubmit(engine->queue, 1, &submit, VK_NULL_HANDLE));
    ENGINE_OK(engine->vk.vkQueueWaitIdle(engine->queue));
    engine->vk.vkFreeCommandBuffers(engine->device, engine->pool, 1, &command);
}
