/* SPDX-License-Identifier: MIT */
#include "instance.h"

#include <stdlib.h>
#include <string.h>

#define VALIDATION_LAYER "VK_LAYER_KHRONOS_validation"

uint32_t dj_switch_wanted(const struct dj_log *log, uint32_t wanted, const char *variable)
{
    const char *const set = wanted == DJ_DEFAULT ? getenv(variable) : NULL;
    if (set == NULL || *set == '\0')
        return wanted;
    if (strcmp(set, "1") == 0)
        return DJ_ON;
    if (strcmp(set, "0") == 0)
        return DJ_OFF;
    dj_log_line(log, DJ_LOG_WARNING, "%s is \"%s\" and is ignored: it must be 0 or 1", variable,
                set);
    return DJ_DEFAULT;
}

bool dj_switch_resolve(const struct dj_log *log, uint32_t wanted, bool standard,
                       const char *variable)
{
    const uint32_t said = dj_switch_wanted(log, wanted, variable);
    return said == DJ_DEFAULT ? standard : said == DJ_ON;
}

dj_result dj_switches_check(const struct dj_log *log, const struct dj_named_switch *switches,
                            size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (switches[i].value > DJ_OFF)
            return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                           "%s is %u and must be DJ_DEFAULT, DJ_ON or DJ_OFF (0 to 2)",
                           switches[i].name, switches[i].value);
    }
    return DJ_SUCCESS;
}

dj_result dj_params_init(struct dj_context *context, const struct dj_context_params *params)
{
    if (!params)
        return DJ_SUCCESS;
    struct dj_log *log = &context->log;
    log->callback = params->log;
    log->user = params->log_user;
    log->level = params->log_level ? params->log_level : DJ_LOG_WARNING;

    if (!dj_reserved_is_zero(log, params->reserved, 4, "dj_context_params"))
        return DJ_ERROR_VERSION;
    const struct dj_named_switch switches[] = {
        {"dj_context_params.validation", params->validation},
        {"dj_context_params.push_descriptors", params->push_descriptors},
        {"dj_context_params.device_addresses", params->device_addresses},
        {"dj_context_params.storage_16bit", params->storage_16bit},
        {"dj_context_params.subgroups", params->subgroups},
        {"dj_context_params.matrices", params->matrices},
        {"dj_context_params.threads", params->threads},
    };
    return dj_switches_check(log, switches, sizeof switches / sizeof *switches);
}

/* One list of extensions, of the loader or of a layer. */
struct extensions {
    VkExtensionProperties *list;
    uint32_t count;
};

static dj_result extensions_get(const struct dj_log *log, const struct dj_vk_loader *loader,
                                const char *layer, struct extensions *extensions)
{
    VkResult code;
    do {
        free(extensions->list);
        *extensions = (struct extensions){0};
        code = loader->vkEnumerateInstanceExtensionProperties(layer, &extensions->count, NULL);
        if (code != VK_SUCCESS || extensions->count == 0)
            break;
        extensions->list = calloc(extensions->count, sizeof(*extensions->list));
        if (!extensions->list)
            return dj_fail(log, DJ_ERROR_OUT_OF_HOST_MEMORY, "no memory for %u extension names",
                           extensions->count);
        code = loader->vkEnumerateInstanceExtensionProperties(layer, &extensions->count,
                                                              extensions->list);
    } while (code == VK_INCOMPLETE);
    return dj_vk_result(log, code, "vkEnumerateInstanceExtensionProperties");
}

static bool extensions_have(const struct extensions *extensions, const char *name)
{
    for (uint32_t i = 0; i < extensions->count; i++)
        if (strcmp(extensions->list[i].extensionName, name) == 0)
            return true;
    return false;
}

static dj_result layer_check(const struct dj_log *log, const struct dj_vk_loader *loader)
{
    VkLayerProperties *layers = NULL;
    uint32_t count;
    VkResult code;
    do {
        free(layers);
        layers = NULL;
        count = 0;
        code = loader->vkEnumerateInstanceLayerProperties(&count, NULL);
        if (code != VK_SUCCESS || count == 0)
            break;
        layers = calloc(count, sizeof(*layers));
        if (!layers)
            return dj_fail(log, DJ_ERROR_OUT_OF_HOST_MEMORY, "no memory for %u layers", count);
        code = loader->vkEnumerateInstanceLayerProperties(&count, layers);
    } while (code == VK_INCOMPLETE);

    dj_result result = dj_vk_result(log, code, "vkEnumerateInstanceLayerProperties");
    bool found = false;
    for (uint32_t i = 0; result == DJ_SUCCESS && i < count; i++)
        found = found || strcmp(layers[i].layerName, VALIDATION_LAYER) == 0;
    if (result == DJ_SUCCESS && !found)
        result = dj_fail(log, DJ_ERROR_NO_VALIDATION,
                         "validation was asked for, and " VALIDATION_LAYER
                         " is not among this system's %u layers",
                         count);
    free(layers);
    return result;
}

static VKAPI_ATTR VkBool32 VKAPI_CALL message(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                              VkDebugUtilsMessageTypeFlagsEXT types,
                                              const VkDebugUtilsMessengerCallbackDataEXT *data,
                                              void *user)
{
    (void)severity;
    (void)types;
    struct dj_context *context = user;
    atomic_fetch_add_explicit(&context->validation_count, 1, memory_order_relaxed);
    dj_log_line(&context->log, DJ_LOG_ERROR, "validation: %s",
                data->pMessage ? data->pMessage : "(no text)");
    return VK_FALSE;
}

/* What vkCreateInstance is told, with the arrays it points into. */
struct request {
    const char *extensions[3];
    uint32_t extension_count;
    VkInstanceCreateFlags flags;
    bool debug_utils, validation_features;
};

static dj_result request_fill(const struct dj_log *log, const struct dj_vk_loader *loader,
                              bool validation, struct request *request)
{
    struct extensions own = {0}, layer = {0};
    dj_result result = extensions_get(log, loader, NULL, &own);
    if (result == DJ_SUCCESS && validation)
        result = extensions_get(log, loader, VALIDATION_LAYER, &layer);
    if (result != DJ_SUCCESS)
        goto done;

    if (extensions_have(&own, VK_KHR_PORTABILITY_ENUMERATION_EXTENSION_NAME)) {
        request->extensions[request->extension_count++] =
            VK_KHR_PORTABILITY_ENUMERATION_EXTENSION_NAME;
        request->flags |= VK_INSTANCE_CREATE_ENUMERATE_PORTABILITY_BIT_KHR;
    }
    request->debug_utils =
        validation && (extensions_have(&own, VK_EXT_DEBUG_UTILS_EXTENSION_NAME) ||
                       extensions_have(&layer, VK_EXT_DEBUG_UTILS_EXTENSION_NAME));
    if (request->debug_utils)
        request->extensions[request->extension_count++] = VK_EXT_DEBUG_UTILS_EXTENSION_NAME;
    request->validation_features =
        validation && extensions_have(&layer, VK_EXT_VALIDATION_FEATURES_EXTENSION_NAME);
    if (request->validation_features)
        request->extensions[request->extension_count++] = VK_EXT_VALIDATION_FEATURES_EXTENSION_NAME;
    if (validation && !request->debug_utils)
        result = dj_fail(log, DJ_ERROR_NO_VALIDATION,
                         "the validation layer has no VK_EXT_debug_utils to report through");
done:
    free(own.list);
    free(layer.list);
    return result;
}

static dj_result create(struct dj_context *context, const struct dj_vk_loader *loader,
                        bool validation, const struct request *request)
{
    VkDebugUtilsMessengerCreateInfoEXT messenger = {
        .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
        .messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT |
                           VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
        .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT |
                       VK_DEBUG_UTILS_MESSAGE_TYPE_PERFORMANCE_BIT_EXT,
        .pfnUserCallback = message,
        .pUserData = context,
    };
    const VkValidationFeatureEnableEXT enable =
        VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT;
    const VkValidationFeaturesEXT features = {
        .sType = VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT,
        .pNext = &messenger,
        .enabledValidationFeatureCount = 1,
        .pEnabledValidationFeatures = &enable,
    };
    const void *next = request->debug_utils ? &messenger : NULL;
    if (request->validation_features)
        next = &features;
    const VkApplicationInfo application = {
        .sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
        .pEngineName = "dijiang",
        .engineVersion = dj_version(),
        .apiVersion = VK_API_VERSION_1_1,
    };
    const char *const layers[] = {VALIDATION_LAYER};
    const VkInstanceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
        .pNext = next,
        .flags = request->flags,
        .pApplicationInfo = &application,
        .enabledLayerCount = validation ? 1 : 0,
        .ppEnabledLayerNames = layers,
        .enabledExtensionCount = request->extension_count,
        .ppEnabledExtensionNames = request->extensions,
    };
    VkInstance instance = VK_NULL_HANDLE;
    VkResult code = dj_vk_create_instance(loader, &info, context->allocator, &instance);
    if (code == VK_ERROR_INCOMPATIBLE_DRIVER) /* the loader's word for "no driver"; not logged: a
                                               * list of 0 devices is no failure */
        return DJ_ERROR_NO_DEVICE;
    if (code != VK_SUCCESS)
        return dj_vk_result(&context->log, code, "vkCreateInstance");

    if (!dj_vk_load_instance(&context->vk, loader->vkGetInstanceProcAddr, instance,
                             request->debug_utils)) {
        if (context->vk.vkDestroyInstance)
            dj_vk_destroy_instance(&context->vk, instance, context->allocator);
        return dj_fail(&context->log, DJ_ERROR_VULKAN,
                       "the Vulkan loader lacks functions of Vulkan 1.1");
    }
    context->instance = instance;
    context->debug_names = request->debug_utils;
    if (!request->debug_utils)
        return DJ_SUCCESS;
    code = context->vk.vkCreateDebugUtilsMessengerEXT(instance, &messenger, context->allocator,
                                                      &context->messenger);
    if (code != VK_SUCCESS)
        context->messenger = VK_NULL_HANDLE;
    return dj_vk_result(&context->log, code, "vkCreateDebugUtilsMessengerEXT");
}

dj_result dj_instance_init(struct dj_context *context, const struct dj_context_params *params)
{
    const struct dj_log *log = &context->log;
    struct dj_vk_loader loader = {0};
    if (!dj_vk_load(&loader))
        return dj_fail(log, DJ_ERROR_NO_LOADER,
                       "the Vulkan loader (libvulkan) cannot be opened: is it installed?");
    uint32_t version = VK_API_VERSION_1_0;
    if (loader.vkEnumerateInstanceVersion) {
        const VkResult code = loader.vkEnumerateInstanceVersion(&version);
        if (code != VK_SUCCESS)
            return dj_vk_result(log, code, "vkEnumerateInstanceVersion");
    }
    if (version < VK_API_VERSION_1_1)
        return dj_fail(log, DJ_ERROR_NO_LOADER,
                       "the Vulkan loader is of version %u.%u; 1.1 is the least that works",
                       VK_API_VERSION_MAJOR(version), VK_API_VERSION_MINOR(version));

    const bool validation = dj_switch_resolve(log, params ? params->validation : DJ_DEFAULT, false,
                                              "DIJIANG_VALIDATION");
    struct request request = {0};
    dj_result result = validation ? layer_check(log, &loader) : DJ_SUCCESS;
    if (result == DJ_SUCCESS)
        result = request_fill(log, &loader, validation, &request);
    if (result == DJ_SUCCESS)
        result = create(context, &loader, validation, &request);
    return result;
}

void dj_instance_finish(struct dj_context *context)
{
    if (!context->instance)
        return;
    if (context->messenger)
        context->vk.vkDestroyDebugUtilsMessengerEXT(context->instance, context->messenger,
                                                    context->allocator);
    dj_vk_destroy_instance(&context->vk, context->instance, context->allocator);
    context->messenger = VK_NULL_HANDLE;
    context->instance = VK_NULL_HANDLE;
}
