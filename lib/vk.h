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

/* Instances and devices come and go, drivers without a device go when devices are first enumerated,
 * and functions are looked up by one thread at a time: loaders up to 1.4.341 at least walk through
 * the lists of all of them while others change them
 * (https://github.com/KhronosGroup/Vulkan-Loader/issues/2018; in 1.4.309 the drivers' list, too).
 */
VkResult dj_vk_create_instance(const struct dj_vk_loader *loader, const VkInstanceCreateInfo *info,
                               const VkAllocationCallbacks *allocator, VkInstance *instance);
VkResult dj_vk_enumerate_devices(const struct dj_vk *vk, VkInstance instance, uint32_t *count,
                                 VkPhysicalDevice *devices);
void dj_vk_destroy_instance(const struct dj_vk *vk, VkInstance instance,
                            const VkAllocationCallbacks *allocator);
VkResult dj_vk_create_device(const struct dj_vk *vk, VkPhysicalDevice physical,
                             const VkDeviceCreateInfo *info, const VkAllocationCallbacks *allocator,
                             VkDevice *device);
void dj_vk_destroy_device(const struct dj_vk *vk, VkDevice device,
                          const VkAllocationCallbacks *allocator);

/* Whether vk->device has all functions of Vulkan 1.0 and 1.1 that the library calls. */
bool dj_vk_device_complete(const struct dj_vk *vk);

#endif
