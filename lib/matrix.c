/* SPDX-License-Identifier: MIT */
#include "matrix.h"

#include "kernels.h"

enum {
    SIZES = 1000506001, /* a VkStructureType */
    FLOAT16 = 0,        /* VkComponentTypeKHR */
    FLOAT32 = 1,
    SUBGROUP = 3, /* VkScopeKHR */
    MOST_SIZES = 256,
    INTEL = 0x8086 /* a PCI vendor */
};

/* VkCooperativeMatrixPropertiesKHR */
struct sizes {
    VkStructureType sType;
    void *pNext;
    uint32_t rows, columns, terms;
    uint32_t left, right, term, sum; /* component types */
    VkBool32 saturating;
    uint32_t scope;
};
typedef VkResult(VKAPI_PTR *get_sizes)(VkPhysicalDevice, uint32_t *, struct sizes *);

static bool has_features(const struct dj_context *context, VkPhysicalDevice physical)
{
    VkPhysicalDeviceShaderFloat16Int8Features half = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES};
    VkPhysicalDeviceVulkanMemoryModelFeatures model = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_MEMORY_MODEL_FEATURES, .pNext = &half};
    struct dj_matrix_features matrix = {.sType = (VkStructureType)DJ_MATRIX_FEATURES,
                                        .pNext = &model};
    VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
                                          .pNext = &matrix};
    context->vk.vkGetPhysicalDeviceFeatures2(physical, &features);
    return half.shaderFloat16 && model.vulkanMemoryModel && model.vulkanMemoryModelDeviceScope &&
           matrix.cooperativeMatrix;
}

/* A side of a matrix that cuts the kernels' blocks evenly. */
static bool fits(uint32_t side)
{
    return side == 8 || side == 16 || side == 32;
}

/* The largest that kernels can use, if any. */
static void choose(const struct sizes *list, uint32_t count, struct dj_device_info *info)
{
    uint32_t most = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct sizes *const s = &list[i];
        const uint32_t volume = s->rows * s->columns * s->terms;
        if (s->left != FLOAT16 || s->right != FLOAT16 || s->term != FLOAT32 || s->sum != FLOAT32 ||
            s->scope != SUBGROUP || s->saturating || !fits(s->rows) || !fits(s->columns) ||
            !fits(s->terms) || volume <= most)
            continue;
        most = volume;
        info->matrix_rows = (uint8_t)s->rows;
        info->matrix_columns = (uint8_t)s->columns;
        info->matrix_terms = (uint8_t)s->terms;
    }
}

/* Whether sums of the chosen sizes may be of float16, too. */
static bool has_halves(const struct sizes *list, uint32_t count, const struct dj_device_info *info)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct sizes *const s = &list[i];
        if (s->left == FLOAT16 && s->right == FLOAT16 && s->sum == FLOAT16 &&
            s->scope == SUBGROUP && s->rows == info->matrix_rows &&
            s->columns == info->matrix_columns && s->terms == info->matrix_terms)
            return true;
    }
    return false;
}

/* Of the subgroups that multiply: Intel's drivers have matrices for the smallest alone, as
 * ggml-org/llama.cpp's ggml-vulkan.cpp has found. */
static uint32_t lanes(const struct dj_device_info *info)
{
    return info->vendor_id == INTEL ? info->subgroup_size_min : info->subgroup_size;
}

/* Whether workgroups can be of whole subgroups that multiply, and NaN is kept in float16 where it
 * is in float32. */
static bool is_fit(const struct dj_device *device)
{
    const struct dj_device_info *const info = &device->info;
    const uint32_t size = lanes(info);
    return device->full_subgroups && DJ_TILE_THREADS % size == 0 &&
           DJ_TILE_THREADS / size <= device->max_subgroups &&
           info->shared_memory >= DJ_MATRIX_SHARED &&
           (device->halves_preserve || !info->signed_zero_inf_nan);
}

void dj_matrix_describe(const struct dj_context *context, struct dj_device *device)
{
    struct dj_device_info *const info = &device->info;
    const get_sizes get = (get_sizes)context->vk.vkGetInstanceProcAddr(
        context->instance, "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR");
    struct sizes list[MOST_SIZES];
    uint32_t count = MOST_SIZES;
    if (!DJ_HAVE_MATRICES || get == NULL || !is_fit(device) ||
        !has_features(context, device->handle))
        return;
    for (uint32_t i = 0; i < MOST_SIZES; i++)
        list[i] = (struct sizes){.sType = (VkStructureType)SIZES};
    if (get(device->handle, &count, list) < 0) /* VK_INCOMPLETE: the first ones */
        return;
    choose(list, count, info);
    device->matrix_lanes = info->matrix_rows > 0 ? lanes(info) : 0;
    device->chunked = has_halves(list, count, info) && DJ_CHUNK_THREADS % lanes(info) == 0 &&
                      DJ_CHUNK_THREADS / lanes(info) <= device->max_subgroups;
}
