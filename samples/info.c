/* SPDX-License-Identifier: MIT */
/* dijiang-info: the Vulkan devices, and what dijiang would use on each. */
#include "program.h"

#include <dijiang/dijiang.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "usage: dijiang-info [--device D] [--quirks] [--no-cache]\n"
    "\n"
    "Lists the Vulkan devices of this system: what they offer, what dijiang would use on each and\n"
    "why, and which one is the default.\n"
    "\n"
    "options:\n"
    "  --device D         which one would be taken for this index, or part of a device's name\n"
    "  --quirks           lists the drivers' known troubles and what dijiang does about them\n"
    "  --no-cache         neither reads nor writes what was compiled, ~/.cache/dijiang\n"
    "  --help, --version\n"
    "\n"
    "examples:\n"
    "  dijiang-info\n"
    "  DIJIANG_DEVICE=radeon dijiang-info\n"
    "  DIJIANG_QUIRKS=none dijiang-info\n"
    "\n"
    "environment: DIJIANG_DEVICE, as --device; DIJIANG_QUIRKS, items between commas: \"none\"\n"
    "drops all quirks of the device, \"+NAME\" adds one, \"-NAME\" drops one.\n"
    "\n"
    "exit codes: 0 success, 1 no usable device, 2 wrong usage\n";

static const char *yes_no(uint8_t value)
{
    return value ? "yes" : "no";
}

static void print_version(const char *label, uint32_t version)
{
    printf("    %-19s %u.%u.%u\n", label, version >> 22 & 0x7f, version >> 12 & 0x3ff,
           version & 0xfff);
}

static void print_device(const struct dj_device_info *info)
{
    const double mib = 1 << 20;
    printf("device %u: %s\n", info->index, info->name);
    printf("    %-19s %s, vendor 0x%04x, device 0x%04x\n", "type", program_device_type(info->type),
           info->vendor_id, info->device_id);
    printf("    %-19s %s\n", "driver", info->driver);
    print_version("Vulkan", info->api_version);
    printf("    %-19s %.0f MiB%s\n", "memory", (double)info->device_memory / mib,
           info->mappable ? ", mappable by the host" : "");
    printf("    %-19s %.0f MiB in one buffer, %.0f MiB in one binding, offsets in %" PRIu64
           " bytes\n",
           "storage", (double)info->max_allocation / mib, (double)info->max_storage_range / mib,
           info->offset_alignment);
    printf("    %-19s %u invocations, %u KiB shared, at most %u x %u x %u per dispatch\n",
           "workgroup", info->max_invocations, info->shared_memory / 1024, info->max_workgroups[0],
           info->max_workgroups[1], info->max_workgroups[2]);
    printf("    %-19s %u storage buffers, %u bytes of push constants\n", "bindings",
           info->storage_buffers, info->push_constants);
    printf("    %-19s %u invocations", "subgroup", info->subgroup_size);
    if (info->subgroup_size_min != info->subgroup_size_max)
        printf(" (%u to %u)", info->subgroup_size_min, info->subgroup_size_max);
    printf(", arithmetic %s, size control %s\n", yes_no(info->subgroup_arithmetic),
           yes_no(info->subgroup_size_control));
    printf("    %-19s push descriptors %s, device addresses %s\n", "features",
           yes_no(info->push_descriptor), yes_no(info->buffer_device_address));
    printf("    %-19s 16-bit storage %s, 16-bit floats %s, cooperative matrices %s\n", "",
           yes_no(info->storage_16bit), yes_no(info->float16), yes_no(info->cooperative_matrix));
    printf("    %-19s NaN and Inf in float32 %s\n", "",
           info->signed_zero_inf_nan ? "as IEEE 754 says" : "not promised: finite inputs only");
}

/* Whether a quirk of the device does without something. */
static bool avoided(const struct dj_device_info *info, const char *what)
{
    struct dj_quirk quirk;
    bool found = false;
    for (uint32_t i = 0; dj_quirk_get(i, &quirk) == DJ_SUCCESS; i++)
        found = found || ((info->quirks & (uint64_t)1 << i) && strcmp(quirk.without, what) == 0);
    return found;
}

static bool is_on(const char *variable)
{
    const char *const value = getenv(variable);
    return value && strcmp(value, "1") == 0;
}

/* A choice that the device allows or not, and that a quirk or an environment variable takes back.
 */
static void print_switch(const char *label, const char *variable, uint8_t offered, bool quirk,
                         const char *with, const char *without, const char *what)
{
    const char *value = getenv(variable);
    if (!offered)
        printf("    %-19s %s (the device lacks %s)\n", label, without, what);
    else if (quirk)
        printf("    %-19s %s (a quirk, see below)\n", label, without);
    else if (value && strcmp(value, "0") == 0)
        printf("    %-19s %s (%s=0)\n", label, without, variable);
    else
        printf("    %-19s %s (the device has %s)\n", label, with, what);
}

/* Cooperative matrices: of which sizes and where, or which of device and build lacks them. */
static void print_matrices(const struct dj_device_info *info, uint32_t uses)
{
    char matrices[96];
    snprintf(matrices, sizeof(matrices), "%u x %u by %u x %u, for attention of 2-byte types",
             info->matrix_rows, info->matrix_terms, info->matrix_terms, info->matrix_columns);
    if (info->matrix_rows == 0 && info->cooperative_matrix)
        printf(
            "    %-19s not used (the device has some, but none that this build of dijiang knows; "
            "glslang 12.3 or newer is needed to build kernels with them)\n",
            "  matrices");
    else if (info->matrix_rows > 0 && (uses & DJ_USE_MATRICES) && !is_on("DIJIANG_MATRICES"))
        printf("    %-19s %s in chunks (DIJIANG_MATRICES=1: and in tiles)\n", "  matrices",
               matrices);
    else if (info->matrix_rows > 0 && !is_on("DIJIANG_MATRICES"))
        printf("    %-19s not used (DIJIANG_MATRICES=1 turns %s on)\n", "  matrices", matrices);
    else
        print_switch("  matrices", "DIJIANG_MATRICES", info->matrix_rows, false, matrices,
                     "not used", "cooperative matrices");
}

static void print_switches(const struct dj_device_info *info, uint32_t uses)
{
    print_switch("  binding", "DIJIANG_DEVICE_ADDRESSES", info->buffer_device_address,
                 avoided(info, "device addresses"),
                 "device addresses, and descriptors for what VkFFT generates", "descriptors",
                 "buffer device addresses");
    print_switch("  descriptors", "DIJIANG_PUSH_DESCRIPTORS", info->push_descriptor,
                 avoided(info, "push descriptors"), "push descriptors",
                 "preallocated descriptor sets", "VK_KHR_push_descriptor");
    print_switch("  whole subgroups", "DIJIANG_SUBGROUPS", info->whole_subgroups, false,
                 "sums in registers, where device addresses bind", "not used",
                 "whole subgroups of 4 to 32 invocations");
    print_switch("  2-byte elements", "DIJIANG_16BIT_STORAGE", info->storage_16bit, false,
                 "one by one", "in pairs, as 32-bit words: even strides and offsets only",
                 "16-bit storage");
    print_matrices(info, uses);
}

/* Whether a transform can be generated is best told by generating one. */
static void print_transform(dj_context *context, bool quirk)
{
    dj_dct *plan = NULL;
    if (quirk) {
        printf("    %-19s dense matrix product (a quirk, see below)\n", "  transform");
        return;
    }
    const dj_result result = dj_dct_create(
        context,
        &(struct dj_dct_params){.type = DJ_DCT_2, .length = 64, .path = DJ_DCT_PATH_GENERATED},
        &plan);
    if (result == DJ_SUCCESS)
        printf("    %-19s generated by VkFFT (tried: length 64); dense where it has no single "
               "pass\n",
               "  transform");
    else
        printf("    %-19s dense matrix product (none generated: %s)\n", "  transform",
               dj_result_str(result));
    dj_dct_destroy(&plan);
}

static void print_cache(dj_context *context)
{
    uint64_t size = 0;
    const dj_result result = program_cache_load(context);
    if (result == DJ_SUCCESS)
        (void)dj_cache_save(context, NULL, &size);
    if (result == DJ_SUCCESS)
        printf("    %-19s %" PRIu64 " KiB\n", "  cache", (size + 1023) / 1024);
    else
        printf("    %-19s refused: %s\n", "  cache", dj_result_str(result));
}

/* What is worked around on a device. */
static void print_quirks(uint64_t quirks)
{
    struct dj_quirk quirk;
    for (uint32_t i = 0; dj_quirk_get(i, &quirk) == DJ_SUCCESS; i++) {
        if (quirks & (uint64_t)1 << i)
            printf("    %-19s %s: %s; dijiang %s (%s)\n", "  quirk", quirk.name, quirk.trouble,
                   quirk.remedy, quirk.source);
    }
}

/* The whole table. */
static int list_quirks(void)
{
    struct dj_quirk quirk;
    for (uint32_t i = 0; dj_quirk_get(i, &quirk) == DJ_SUCCESS; i++)
        printf("%s\n    %-10s %s\n    %-10s %s\n    %-10s %s\n    %-10s %s\n", quirk.name,
               "devices", quirk.devices, "trouble", quirk.trouble, "dijiang", quirk.remedy,
               "source", quirk.source);
    return PROGRAM_SUCCESS;
}

static void print_use(const struct dj_device_info *info, bool no_cache)
{
    char index[16];
    dj_context *context = NULL;
    if (info->unsuitable[0]) {
        printf("    %-19s nothing: %s\n", "dijiang uses", info->unsuitable);
        return;
    }
    snprintf(index, sizeof(index), "%u", info->index);
    const struct dj_context_params params = program_context_params(index);
    const dj_result result = dj_context_create(&params, &context);
    if (result != DJ_SUCCESS) {
        printf("    %-19s nothing: %s\n", "dijiang uses", dj_result_str(result));
        return;
    }
    printf("    dijiang uses\n");
    printf(
        "    %-19s tiled: three passes over tiles of tokens (needs Vulkan 1.1 alone); resident:\n"
        "    %-19s in registers, where whole subgroups and addresses are (default on CPUs);\n"
        "    %-19s one token a row: one dispatch\n",
        "  kernels", "", "");
    print_switches(info, dj_context_uses(context));
    if (!no_cache)
        print_cache(context);
    print_transform(context, avoided(info, "generated transforms"));
    print_quirks(info->quirks);
    if (!no_cache)
        (void)program_cache_save(context);
    dj_context_destroy(&context);
}

static const char *choice_reason(const char *device)
{
    const char *variable = getenv("DIJIANG_DEVICE");
    if (device)
        return "--device asks for it";
    if (variable && variable[0])
        return "DIJIANG_DEVICE asks for it";
    return "the first suitable of discrete, integrated, virtual GPU, CPU";
}

static int print_choice(const char *device)
{
    dj_context *context = NULL;
    struct dj_device_info info;
    dj_result result = program_context_create(device, &context);
    if (result == DJ_SUCCESS)
        result = dj_context_device(context, &info);
    dj_context_destroy(&context);
    if (result != DJ_SUCCESS)
        return program_fail_dj("no device to use", result);
    printf("%s: device %u, %s (%s)\n", device ? "chosen" : "default", info.index, info.name,
           choice_reason(device));
    return PROGRAM_SUCCESS;
}

static int list(const char *device, bool no_cache)
{
    uint32_t count = 0;
    const struct dj_context_params params = program_context_params(NULL);
    dj_result result = dj_device_list(&params, NULL, &count);
    if (result != DJ_SUCCESS)
        return program_fail_dj("cannot list devices", result);
    if (count == 0)
        return program_fail("%s; is a driver installed (Debian: mesa-vulkan-drivers)?",
                            dj_result_str(DJ_ERROR_NO_DEVICE));
    struct dj_device_info *infos = calloc(count, sizeof(*infos));
    if (!infos)
        return program_fail("out of memory");
    uint32_t found = count;
    result = dj_device_list(&params, infos, &found);
    int code =
        result == DJ_SUCCESS ? PROGRAM_SUCCESS : program_fail_dj("cannot list devices", result);
    for (uint32_t i = 0; result == DJ_SUCCESS && i < found && i < count; i++) {
        print_device(&infos[i]);
        print_use(&infos[i], no_cache);
        printf("\n");
    }
    free(infos);
    return code ? code : print_choice(device);
}

int main(int argc, char **argv)
{
    const char *device = NULL;
    bool quirks = false, no_cache = false;
    const struct program_option options[] = {
        {.name = "--device", .kind = PROGRAM_TEXT, .value = &device},
        {.name = "--quirks", .kind = PROGRAM_FLAG, .value = &quirks},
        {.name = "--no-cache", .kind = PROGRAM_FLAG, .value = &no_cache},
    };
    int code;
    if (!program_start("dijiang-info", help, options, 3, argc, argv, &code))
        return code;
    return program_finish(quirks ? list_quirks() : list(device, no_cache));
}
