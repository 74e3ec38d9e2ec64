/* SPDX-License-Identifier: MIT */
#include "null_loader.h"

#include "../lib/vk.h"

bool null_loader = true;

bool __real_dj_vk_load(struct dj_vk_loader *loader);
bool __wrap_dj_vk_load(struct dj_vk_loader *loader);

bool __wrap_dj_vk_load(struct dj_vk_loader *loader)
{
    if (!null_loader)
        return __real_dj_vk_load(loader);
    loader->vkGetInstanceProcAddr = null_get_instance_proc_addr;
#define LOAD(name) loader->name = (PFN_##name)null_get_instance_proc_addr(NULL, #name)
    LOAD(vkCreateInstance);
    LOAD(vkEnumerateInstanceVersion);
    LOAD(vkEnumerateInstanceExtensionProperties);
    LOAD(vkEnumerateInstanceLayerProperties);
#undef LOAD
    return true;
}
