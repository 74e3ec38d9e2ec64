/* SPDX-License-Identifier: MIT */
#include "quirks.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* A driver by its VkDriverId, as a bit. */
#define DRIVER(name) (1u << VK_DRIVER_ID_##name)

/* A row concerns the devices of which all that it names is true; 0 and NULL name nothing. */
static const struct row {
    const char *name, *devices, *trouble, *source;
    enum dj_avoid avoid;
    uint32_t drivers;                     /* any of them */
    uint32_t vendor;                      /* where the driver does not say which one it is */
    uint32_t type;                        /* enum dj_device_type */
    uint32_t device_first, device_last;   /* dj_device_info.device_id */
    uint32_t version_first, version_last; /* driver_version, in the driver's own encoding */
    const char *part;                     /* of the device's name */
} table[] = {
    {
        .name = "nvidia-push-descriptors",
        .devices = "NVIDIA's driver, Maxwell and Pascal",
        .trouble = "descriptors break where an engine's sets and push descriptors alternate",
        .source = "yuzu-emu/yuzu#11684, Ryujinx/Ryujinx#6340",
        .avoid = DJ_AVOID_PUSH_DESCRIPTORS,
        .drivers = DRIVER(NVIDIA_PROPRIETARY),
        .vendor = 0x10de,
        .device_first = 0x1340, /* GM108; GV100, the first Volta, is 0x1d81 */
        .device_last = 0x1d7f,
    },
    {
        .name = "anv-push-descriptors",
        .devices = "Mesa's Intel driver 22.3.0 to 23.1",
        .trouble = "push descriptors are broken",
        .source = "yuzu-emu/yuzu#10365, yuzu-emu/yuzu#10414",
        .avoid = DJ_AVOID_PUSH_DESCRIPTORS,
        .drivers = DRIVER(INTEL_OPEN_SOURCE_MESA),
        .version_first = VK_MAKE_API_VERSION(0, 22, 3, 0),
        .version_last = VK_MAKE_API_VERSION(0, 23, 1, 4095),
    },
    {
        .name = "amd-push-descriptors",
        .devices = "AMD's drivers, version 2.0.226",
        .trouble = "the first push descriptors of these drivers crash",
        .source = "yuzu-emu/yuzu#8379",
        .avoid = DJ_AVOID_PUSH_DESCRIPTORS,
        .drivers = DRIVER(AMD_PROPRIETARY) | DRIVER(AMD_OPEN_SOURCE),
        .version_first = VK_MAKE_API_VERSION(0, 2, 0, 226),
        .version_last = VK_MAKE_API_VERSION(0, 2, 0, 226),
    },
    {
        .name = "arc-push-descriptors",
        .devices = "Intel's Windows driver, Arc",
        .trouble = "push descriptors lose the device",
        .source = "Ryujinx/Ryujinx#6512, Ryujinx/Ryujinx#6551",
        .avoid = DJ_AVOID_PUSH_DESCRIPTORS,
        .drivers = DRIVER(INTEL_PROPRIETARY_WINDOWS),
        .part = "Arc",
    },
    {
        .name = "moltenvk-push-descriptors",
        .devices = "MoltenVK before 1.4.1",
        .trouble = "push descriptors bind wrong buffers beside an engine's descriptor sets",
        .source = "KhronosGroup/MoltenVK#2616, KhronosGroup/MoltenVK#2572",
        .avoid = DJ_AVOID_PUSH_DESCRIPTORS,
        .drivers = DRIVER(MOLTENVK),
        .version_last = 10400, /* two decimal digits a number */
    },
    {
        .name = "moltenvk-specialization",
        .devices = "MoltenVK before 1.3.0",
        .trouble = "specialization constants that give an array's length keep their defaults",
        .source = "KhronosGroup/MoltenVK#231, KhronosGroup/MoltenVK#2441",
        .avoid = DJ_AVOID_SPECIALIZATION,
        .drivers = DRIVER(MOLTENVK),
        .version_last = 10299,
    },
    {
        .name = "moltenvk-device-addresses",
        .devices = "MoltenVK",
        .trouble = "device addresses are 0 or do not work before 1.2.11; what they lead to is "
                   "taken for aligned to its size, and a vector's component stored with the others",
        .source = "KhronosGroup/MoltenVK#1751, KhronosGroup/MoltenVK#2277, "
                  "KhronosGroup/SPIRV-Cross#1801",
        .avoid = DJ_AVOID_DEVICE_ADDRESSES,
        .drivers = DRIVER(MOLTENVK),
    },
    {
        .name = "adreno-float-controls",
        .devices = "Qualcomm's driver",
        .trouble = "float controls, which are offered, fail in some versions",
        .source = "N3xoX1/nxemu#78, leegao/bionic-vulkan-wrapper#84",
        .avoid = DJ_AVOID_FLOAT_CONTROLS,
        .drivers = DRIVER(QUALCOMM_PROPRIETARY),
        .vendor = 0x5143,
    },
    {
        .name = "v3dv-generated-dct",
        .devices = "Mesa's Broadcom driver (Raspberry Pi)",
        .trouble = "kernels that VkFFT generates give wrong results",
        .source = "DTolm/VkFFT#19",
        .avoid = DJ_AVOID_GENERATED_DCT,
        .drivers = DRIVER(MESA_V3DV),
    },
    {
        .name = "v3dv-long-submissions",
        .devices = "Mesa's Broadcom driver (Raspberry Pi)",
        .trouble = "the kernel's driver stops dispatches after half a second",
        .source = "raspberrypi/linux#6660",
        .avoid = DJ_AVOID_LONG_SUBMISSIONS,
        .drivers = DRIVER(MESA_V3DV),
    },
    {
        .name = "amd-long-submissions",
        .devices = "Mesa's and AMD's drivers",
        .trouble = "the kernel's driver stops submissions after two seconds, as Windows does",
        .source = "ggml-org/llama.cpp#21724, ggml-org/llama.cpp#25664, ggml-org/llama.cpp#18523",
        .avoid = DJ_AVOID_LONG_SUBMISSIONS,
        .drivers = DRIVER(MESA_RADV) | DRIVER(AMD_OPEN_SOURCE) | DRIVER(AMD_PROPRIETARY),
    },
    {
        .name = "anv-long-submissions",
        .devices = "Mesa's Intel driver, integrated GPUs",
        .trouble = "the kernel's driver takes long submissions for hangs",
        .source = "ggml-org/llama.cpp#13248, ggml-org/llama.cpp#16684",
        .avoid = DJ_AVOID_LONG_SUBMISSIONS,
        .drivers = DRIVER(INTEL_OPEN_SOURCE_MESA),
        .type = DJ_DEVICE_INTEGRATED,
    },
    {
        .name = "adreno-long-submissions",
        .devices = "Qualcomm's driver",
        .trouble = "long submissions lose the device",
        .source = "ggml-org/llama.cpp#8743, ggml-org/llama.cpp#12139",
        .avoid = DJ_AVOID_LONG_SUBMISSIONS,
        .drivers = DRIVER(QUALCOMM_PROPRIETARY),
        .vendor = 0x5143,
    },
    {
        .name = "intel-windows-long-submissions",
        .devices = "Intel's Windows driver",
        .trouble = "Windows stops submissions after two seconds",
        .source = "ggml-org/llama.cpp#18523, gfx-rs/wgpu#8644",
        .avoid = DJ_AVOID_LONG_SUBMISSIONS,
        .drivers = DRIVER(INTEL_PROPRIETARY_WINDOWS),
    },
    {
        .name = "mali-long-submissions",
        .devices = "Arm's driver, and Mesa's for the same GPUs",
        .trouble = "long submissions lose the device",
        .source = "ggml-org/llama.cpp#10406, SaschaWillems/Vulkan#445",
        .avoid = DJ_AVOID_LONG_SUBMISSIONS,
        .drivers = DRIVER(ARM_PROPRIETARY) | DRIVER(MESA_PANVK),
        .vendor = 0x13b5,
    },
    {
        .name = "powervr-long-submissions",
        .devices = "Imagination's driver",
        .trouble = "long submissions freeze the display or restart the GPU",
        .source = "ggml-org/llama.cpp#28214, software-mansion/react-native-executorch#1475",
        .avoid = DJ_AVOID_LONG_SUBMISSIONS,
        .drivers = DRIVER(IMAGINATION_PROPRIETARY),
        .vendor = 0x1010,
    },
    {
        .name = "adreno-pipeline-cache",
        .devices = "Qualcomm's driver, Adreno 630",
        .trouble = "vkCreatePipelineCache crashes on what an earlier process saved",
        .source = "flutter/flutter#172624",
        .avoid = DJ_AVOID_PIPELINE_CACHE,
        .drivers = DRIVER(QUALCOMM_PROPRIETARY),
        .vendor = 0x5143,
        .part = "Adreno (TM) 630",
    },
    {
        .name = "powervr-pipeline-cache",
        .devices = "Imagination's driver, D-Series DXT-48",
        .trouble = "vkCreatePipelineCache crashes",
        .source = "godotengine/godot#115171",
        .avoid = DJ_AVOID_PIPELINE_CACHE,
        .drivers = DRIVER(IMAGINATION_PROPRIETARY),
        .vendor = 0x1010,
        .part = "DXT-48",
    },
};
enum {
    ROWS = sizeof table / sizeof *table
};
static_assert(ROWS <= 64, "a bit for each row");

static const struct {
    const char *without, *remedy;
} avoids[] = {
    [DJ_AVOID_PUSH_DESCRIPTORS] = {"push descriptors", "binds by descriptor sets"},
    [DJ_AVOID_DEVICE_ADDRESSES] = {"device addresses", "binds by descriptors"},
    [DJ_AVOID_FLOAT_CONTROLS] = {"float controls",
                                 "does not ask for IEEE 754's NaN and Inf: finite inputs only"},
    [DJ_AVOID_SPECIALIZATION] = {"specialization constants", "writes them into the kernels"},
    [DJ_AVOID_GENERATED_DCT] = {"generated transforms", "transforms by the dense matrix product"},
    [DJ_AVOID_LONG_SUBMISSIONS] = {"long submissions",
                                   "cuts what it submits itself into smaller parts"},
    [DJ_AVOID_PIPELINE_CACHE] = {"pipeline cache", "makes no pipeline cache of its own"},
};
static_assert(sizeof avoids / sizeof *avoids == DJ_AVOID_COUNT, "one row each");

uint32_t dj_quirk_count(void)
{
    return ROWS;
}

dj_result dj_quirk_get(uint32_t index, struct dj_quirk *quirk)
{
    if (quirk == NULL || index >= ROWS)
        return DJ_ERROR_INVALID_ARGUMENT; /* and nowhere to say so */
    const struct row *const row = &table[index];
    *quirk = (struct dj_quirk){.name = row->name,
                               .devices = row->devices,
                               .trouble = row->trouble,
                               .without = avoids[row->avoid].without,
                               .remedy = avoids[row->avoid].remedy,
                               .source = row->source};
    return DJ_SUCCESS;
}

static bool in_range(uint32_t value, uint32_t first, uint32_t last)
{
    return value >= first && (last == 0 || value <= last);
}

static bool concerns(const struct row *row, const struct dj_device *device)
{
    const struct dj_device_info *const info = &device->info;
    const bool driver = device->driver_id == 0
                            ? row->vendor != 0 && info->vendor_id == row->vendor
                            : device->driver_id < 32 && (row->drivers & 1u << device->driver_id);
    return driver && (row->type == 0 || info->type == row->type) &&
           in_range(info->device_id, row->device_first, row->device_last) &&
           in_range(info->driver_version, row->version_first, row->version_last) &&
           (row->part == NULL || strstr(info->name, row->part) != NULL);
}

uint64_t dj_quirks_match(const struct dj_device *device)
{
    uint64_t quirks = 0;
    for (uint32_t i = 0; i < ROWS; i++)
        quirks |= concerns(&table[i], device) ? (uint64_t)1 << i : 0;
    return quirks;
}

/* The row of a name that is not ended by 0; ROWS: there is none. */
static uint32_t find_row(const char *name, size_t length)
{
    uint32_t i = 0;
    while (i < ROWS &&
           (strlen(table[i].name) != length || strncmp(table[i].name, name, length) != 0))
        i++;
    return i;
}

dj_result dj_quirks_switch(const struct dj_log *log, const char *where, const char *text,
                           uint64_t *quirks)
{
    uint64_t set = *quirks;
    for (const char *item = text; text != NULL && *text != '\0';) {
        const size_t length = strcspn(item, ",");
        const uint32_t row = length > 0 ? find_row(item + 1, length - 1) : ROWS;
        if (length == 4 && strncmp(item, "none", 4) == 0)
            set = 0;
        else if (row < ROWS && *item == '+')
            set |= (uint64_t)1 << row;
        else if (row < ROWS && *item == '-')
            set &= ~((uint64_t)1 << row);
        else
            return dj_fail(
                log, DJ_ERROR_INVALID_ARGUMENT,
                "%s \"%s\": \"%.*s\" is neither \"none\" nor \"+\" or \"-\" and the name "
                "of a quirk (dijiang-info --quirks lists them)",
                where, text, (int)(length < 100 ? length : 100), item);
        if (item[length] == '\0')
            break;
        item += length + 1;
    }
    *quirks = set;
    return DJ_SUCCESS;
}

dj_result dj_quirks_switch_own(const struct dj_log *log, const struct dj_context_params *params,
                               uint64_t *quirks)
{
    if (params != NULL && params->quirks != NULL)
        return dj_quirks_switch(log, "dj_context_params.quirks", params->quirks, quirks);
    return dj_quirks_switch(log, "DIJIANG_QUIRKS", getenv("DIJIANG_QUIRKS"), quirks);
}

bool dj_quirks_avoid(const struct dj_context *context, enum dj_avoid avoid)
{
    for (uint32_t i = 0; i < ROWS; i++) {
        if ((context->info.quirks & (uint64_t)1 << i) && table[i].avoid == avoid)
            return true;
    }
    return false;
}

void dj_quirks_apply(struct dj_context *context)
{
    if (dj_quirks_avoid(context, DJ_AVOID_PUSH_DESCRIPTORS))
        context->push_descriptors = false;
    if (dj_quirks_avoid(context, DJ_AVOID_DEVICE_ADDRESSES))
        context->device_addresses = false;
    if (dj_quirks_avoid(context, DJ_AVOID_FLOAT_CONTROLS))
        context->float_controls = false;
}

void dj_quirks_log(const struct dj_context *context)
{
    for (uint32_t i = 0; i < ROWS; i++) {
        if (context->info.quirks & (uint64_t)1 << i)
            dj_log_line(&context->log, DJ_LOG_INFO, "%s: quirk %s: %s; dijiang %s (%s)",
                        context->label, table[i].name, table[i].trouble,
                        avoids[table[i].avoid].remedy, table[i].source);
    }
}
