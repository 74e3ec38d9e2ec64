/* SPDX-License-Identifier: MIT */
#include "wants.h"

#include "matrix.h"

#include <assert.h>
#include <string.h>

/* One row per want, in the order of their bits. */
static const struct {
    const char *name, *unlocks, *extension, *feature;
    uint32_t core; /* the Vulkan version that includes the extension; UINT32_MAX: none */
} table[] = {
    {"push descriptors", "binding without descriptor sets", "VK_KHR_push_descriptor", NULL,
     UINT32_MAX},
    {"device addresses", "binding without descriptors", "VK_KHR_buffer_device_address",
     "bufferDeviceAddress", VK_API_VERSION_1_2},
    {"16-bit storage", "2-byte elements at any offset and stride", NULL, "storageBuffer16BitAccess",
     VK_API_VERSION_1_1},
    {"float controls", "IEEE 754's rules for NaN and Inf", "VK_KHR_shader_float_controls", NULL,
     VK_API_VERSION_1_2},
    {"whole subgroups", "kernels that hold sums in registers, and cooperative matrices",
     "VK_EXT_subgroup_size_control", "subgroupSizeControl, computeFullSubgroups",
     VK_API_VERSION_1_3},
    {"portability subset", "must be enabled where it is offered", "VK_KHR_portability_subset", NULL,
     UINT32_MAX},
    {"16-bit floats", "cooperative matrices", "VK_KHR_shader_float16_int8", "shaderFloat16",
     VK_API_VERSION_1_2},
    {"memory model", "cooperative matrices", "VK_KHR_vulkan_memory_model",
     "vulkanMemoryModel, vulkanMemoryModelDeviceScope", VK_API_VERSION_1_2},
    {"cooperative matrices", "faster products of 2-byte tensors", "VK_KHR_cooperative_matrix",
     "cooperativeMatrix", UINT32_MAX},
    {"subgroup ballot", "kernels that hold sums in registers, faster with subgroups of 4 or 16",
     "VK_EXT_shader_subgroup_ballot", NULL, UINT32_MAX},
};
enum {
    WANTS = sizeof table / sizeof *table
};
static_assert(1 << WANTS == DJ_WANT_ALL + 1, "one row per bit");

static uint32_t supported(const struct dj_device *device)
{
    const struct dj_device_info *const info = &device->info;
    return (info->push_descriptor ? DJ_WANT_PUSH_DESCRIPTOR : 0) |
           (info->buffer_device_address ? DJ_WANT_DEVICE_ADDRESS : 0) |
           (info->storage_16bit ? DJ_WANT_STORAGE_16BIT : 0) |
           (info->signed_zero_inf_nan ? DJ_WANT_FLOAT_CONTROLS : 0) |
           (info->whole_subgroups || device->matrix_lanes > 0 ? DJ_WANT_SUBGROUPS : 0) |
           (device->matrix_lanes > 0 ? DJ_WANT_MATRICES : 0) |
           (device->portability_subset ? DJ_WANT_PORTABILITY_SUBSET : 0) |
           (device->read_invocation ? DJ_WANT_READ_INVOCATION : 0);
}

/* A node of the chain, in the struct's own storage, before those that are there. */
static void *chain_add(struct dj_device_wants *wants, size_t *used, size_t size,
                       VkStructureType type)
{
    VkBaseOutStructure *const node = (VkBaseOutStructure *)((char *)wants->storage + *used);
    *used += (size + 7) / 8 * 8;
    assert(*used <= sizeof wants->storage);
    memset(node, 0, size);
    node->sType = type;
    node->pNext = wants->features;
    wants->features = node;
    return node;
}

static void fill_chain(struct dj_device_wants *wants, uint32_t set)
{
    size_t used = 0;
    if (set & DJ_WANT_STORAGE_16BIT) {
        VkPhysicalDevice16BitStorageFeatures *const storage =
            chain_add(wants, &used, sizeof *storage,
                      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_16BIT_STORAGE_FEATURES);
        storage->storageBuffer16BitAccess = VK_TRUE;
    }
    if (set & DJ_WANT_DEVICE_ADDRESS) {
        VkPhysicalDeviceBufferDeviceAddressFeatures *const address =
            chain_add(wants, &used, sizeof *address,
                      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_BUFFER_DEVICE_ADDRESS_FEATURES);
        address->bufferDeviceAddress = VK_TRUE;
    }
    if (set & DJ_WANT_SUBGROUPS) {
        VkPhysicalDeviceSubgroupSizeControlFeatures *const control =
            chain_add(wants, &used, sizeof *control,
                      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES);
        control->subgroupSizeControl = control->computeFullSubgroups = VK_TRUE;
    }
    if (set & DJ_WANT_FLOAT16) {
        VkPhysicalDeviceShaderFloat16Int8Features *const half =
            chain_add(wants, &used, sizeof *half,
                      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES);
        half->shaderFloat16 = VK_TRUE;
    }
    if (set & DJ_WANT_MEMORY_MODEL) {
        VkPhysicalDeviceVulkanMemoryModelFeatures *const model =
            chain_add(wants, &used, sizeof *model,
                      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_MEMORY_MODEL_FEATURES);
        model->vulkanMemoryModel = model->vulkanMemoryModelDeviceScope = VK_TRUE;
    }
    if (set & DJ_WANT_MATRIX) {
        struct dj_matrix_features *const matrix =
            chain_add(wants, &used, sizeof *matrix, (VkStructureType)DJ_MATRIX_FEATURES);
        matrix->cooperativeMatrix = VK_TRUE;
    }
}

void dj_wants_fill(const struct dj_device *device, uint32_t set, struct dj_device_wants *wants)
{
    *wants = (struct dj_device_wants){.count = WANTS};
    memcpy(wants->unsuitable, device->info.unsuitable, sizeof wants->unsuitable);
    set &= supported(device);
    for (uint32_t i = 0; i < WANTS; i++) {
        wants->wants[i] = (struct dj_want){
            .name = table[i].name,
            .unlocks = table[i].unlocks,
            .extension = table[i].extension,
            .feature = table[i].feature,
            .supported = (set & 1u << i) != 0,
        };
        if (wants->wants[i].supported && table[i].extension != NULL)
            wants->extensions[wants->extension_count++] = table[i].extension;
    }
    fill_chain(wants, set);
    wants->buffer_usage =
        VK_BUFFER_USAGE_STORAGE_BUFFER_BIT |
        (set & DJ_WANT_DEVICE_ADDRESS ? VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT : 0);
}

/* Whether the memory model is enabled with the device's scope; *narrow: without it. */
static bool is_wide(VkBool32 model, VkBool32 scope, bool *narrow)
{
    *narrow = *narrow || (model && !scope);
    return model && scope;
}

/* The wants whose features a chain enables. */
static uint32_t read_chain(const void *features, bool *narrow)
{
    uint32_t set = 0;
    for (const VkBaseInStructure *node = features; node != NULL; node = node->pNext) {
        VkBool32 storage = VK_FALSE, address = VK_FALSE, subgroups = VK_FALSE, half = VK_FALSE;
        VkBool32 matrix = VK_FALSE;
        bool model = false;
        switch ((uint32_t)node->sType) {
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_16BIT_STORAGE_FEATURES:
            storage =
                ((const VkPhysicalDevice16BitStorageFeatures *)node)->storageBuffer16BitAccess;
            break;
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES:
            storage = ((const VkPhysicalDeviceVulkan11Features *)node)->storageBuffer16BitAccess;
            break;
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_BUFFER_DEVICE_ADDRESS_FEATURES:
            address =
                ((const VkPhysicalDeviceBufferDeviceAddressFeatures *)node)->bufferDeviceAddress;
            break;
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES:
            half = ((const VkPhysicalDeviceShaderFloat16Int8Features *)node)->shaderFloat16;
            break;
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_MEMORY_MODEL_FEATURES:
            model = is_wide(
                ((const VkPhysicalDeviceVulkanMemoryModelFeatures *)node)->vulkanMemoryModel,
                ((const VkPhysicalDeviceVulkanMemoryModelFeatures *)node)
                    ->vulkanMemoryModelDeviceScope,
                narrow);
            break;
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES: {
            const VkPhysicalDeviceVulkan12Features *const core =
                (const VkPhysicalDeviceVulkan12Features *)node;
            address = core->bufferDeviceAddress;
            half = core->shaderFloat16;
            model = is_wide(core->vulkanMemoryModel, core->vulkanMemoryModelDeviceScope, narrow);
            break;
        }
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES: {
            const VkPhysicalDeviceSubgroupSizeControlFeatures *const control =
                (const VkPhysicalDeviceSubgroupSizeControlFeatures *)node;
            subgroups = control->subgroupSizeControl && control->computeFullSubgroups;
            break;
        }
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_FEATURES: {
            const VkPhysicalDeviceVulkan13Features *const core =
                (const VkPhysicalDeviceVulkan13Features *)node;
            subgroups = core->subgroupSizeControl && core->computeFullSubgroups;
            break;
        }
        case DJ_MATRIX_FEATURES:
            matrix = ((const struct dj_matrix_features *)(const void *)node)->cooperativeMatrix;
            break;
        default:
            break;
        }
        set |= (storage ? DJ_WANT_STORAGE_16BIT : 0) | (address ? DJ_WANT_DEVICE_ADDRESS : 0) |
               (subgroups ? DJ_WANT_SUBGROUPS : 0) | (half ? DJ_WANT_FLOAT16 : 0) |
               (model ? DJ_WANT_MEMORY_MODEL : 0) | (matrix ? DJ_WANT_MATRIX : 0);
    }
    return set;
}

static bool listed(const char *name, const char *const *extensions, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (extensions[i] != NULL && strcmp(extensions[i], name) == 0)
            return true;
    }
    return false;
}

uint32_t dj_wants_enabled(const struct dj_log *log, const struct dj_device *device,
                          uint32_t api_version, const char *const *extensions,
                          uint32_t extension_count, const void *features, bool *narrow)
{
    *narrow = false;
    const uint32_t by_chain = read_chain(features, narrow);
    uint32_t set = 0;
    for (uint32_t i = 0; i < WANTS; i++) {
        const bool available =
            api_version >= table[i].core ||
            (table[i].extension != NULL && listed(table[i].extension, extensions, extension_count));
        const bool named = table[i].feature != NULL && (by_chain & 1u << i) != 0;
        if (available && (table[i].feature == NULL || named))
            set |= 1u << i;
        if (named && !available && table[i].core == UINT32_MAX)
            dj_log_line(log, DJ_LOG_WARNING, "dj_import_params: %s is not used: %s is not listed",
                        table[i].feature, table[i].extension);
        else if (named && !available)
            dj_log_line(log, DJ_LOG_WARNING,
                        "dj_import_params: %s is not used: neither %s is listed nor is api_version "
                        "%u.%u",
                        table[i].feature, table[i].extension, VK_API_VERSION_MAJOR(table[i].core),
                        VK_API_VERSION_MINOR(table[i].core));
    }
    return set & supported(device);
}

dj_result dj_device_wants(PFN_vkGetInstanceProcAddr get_instance_proc_addr, VkInstance instance,
                          VkPhysicalDevice physical_device, struct dj_device_wants *wants)
{
    if (wants != NULL)
        *wants = (struct dj_device_wants){.count = 0};
    if (get_instance_proc_addr == NULL || instance == NULL || physical_device == NULL ||
        wants == NULL)
        return DJ_ERROR_INVALID_ARGUMENT;
    struct dj_context context = {.instance = instance}; /* its table alone */
    if (!dj_vk_load_instance(&context.vk, get_instance_proc_addr, instance, false))
        return DJ_ERROR_VULKAN;
    struct dj_device device = {.handle = physical_device};
    const dj_result result = dj_device_describe(&context, &device);
    if (result == DJ_SUCCESS)
        dj_wants_fill(&device, DJ_WANT_ALL, wants);
    return result;
}
