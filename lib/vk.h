/* SPDX-License-Identifier: MIT */
/* The Vulkan functions of one context. volk fills the table when the context is made; nothing in
 * the library calls volk's process-wide pointers afterwards. */
#ifndef DJ_LIB_VK_H
#define DJ_LIB_VK_H

#include <volk.h>

#include <stdbool.h>

#define DJ_VK_INSTANCE_FUNCTIONS(X) \
    X(vkDestroyInstance) \
    X(vkEnumeratePhysicalDevices) \
    X(vkGetPhysicalDeviceProperties) \
    X(vkGetPhysicalDeviceProperties2) \
    X(vkGetPhysicalDeviceFeatures2) \
    X(vkGetPhysicalDeviceMemoryProperties) \
    X(vkGetPhysicalDeviceQueueFamilyProperties) \
    X(vkEnumerateDeviceExtensionProperties) \
    X(vkCreateDevice) \
    X(vkGetDeviceProcAddr)

#define DJ_VK_OPTIONAL_INSTANCE_FUNCTIONS(X) \
    X(vkCreateDebugUtilsMessengerEXT) \
    X(vkDestroyDebugUtilsMessengerEXT) \
    X(vkSetDebugUtilsObjectNameEXT)

struct dj_vk {
#define DJ_VK_MEMBER(name) PFN_##name name;
    DJ_VK_INSTANCE_FUNCTIONS(DJ_VK_MEMBER)
    DJ_VK_OPTIONAL_INSTANCE_FUNCTIONS(DJ_VK_MEMBER) /* NULL without VK_EXT_debug_utils */
#undef DJ_VK_MEMBER
    PFN_vkGetInstanceProcAddr vkGetInstanceProcAddr; /* for what is younger than volk may be */
    struct VolkDeviceTable device;
};

/* What can be called before there is an instance. */
struct dj_vk_loader {
    PFN_vkGetInstanceProcAddr vkGetInstanceProcAddr;
    PFN_vkCreateInstance vkCreateInstance;
    PFN_vkEnumerateInstanceVersion vkEnumerateInstanceVersion; /* NULL on a loader of Vulkan 1.0 */
    PFN_vkEnumerateInstanceExtensionProperties vkEnumerateInstanceExtensionProperties;
    PFN_vkEnumerateInstanceLayerProperties vkEnumerateInstanceLayerProperties;
};

/* Finds libvulkan. Returns whether there is one. Thread-safe, as are the two below. */
bool dj_vk_load(struct dj_vk_loader *loader);

/* Fills the instance functions of whoever's instance; false if a required one is missing. */
bool dj_vk_load_instance(struct dj_vk *vk, PFN_vkGetInstanceProcAddr get_instance_proc_addr,
                         VkInstance instance, bool debug_utils);

/* Fills vk->device by vk->vkGetDeviceProcAddr. */
void dj_vk_load_device(struct dj_vk *vk, VkDevice device);

/* Whether vk->device has all functions of Vulkan 1.0 and 1.1 that the library calls. */
bool dj_vk_device_complete(const struct dj_vk *vk);

#endif
