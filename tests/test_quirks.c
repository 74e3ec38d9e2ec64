/* SPDX-License-Identifier: MIT */
/* Drivers' troubles: which devices they concern, how they are switched, what they change. */
#include "harness.h"

#include "../lib/quirks.h"
#include "../lib/transform.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char lines[16384]; /* logged since they were cleared */
static void log_line(void *user, uint32_t level, const char *message)
{
    (void)user;
    (void)level;
    snprintf(lines + strlen(lines), sizeof lines - strlen(lines), "%s\n", message);
}
static const struct dj_log logger = {.callback = log_line, .level = DJ_LOG_DEBUG};

static uint64_t bit(const char *name)
{
    struct dj_quirk quirk;
    for (uint32_t i = 0; dj_quirk_get(i, &quirk) == DJ_SUCCESS; i++) {
        if (strcmp(quirk.name, name) == 0)
            return (uint64_t)1 << i;
    }
    fail_msg("no quirk is called %s", name);
    return 0;
}

static void rows_are_whole_and_named_once(void **state)
{
    (void)state;
    struct dj_quirk quirk, other;
    const uint32_t count = dj_quirk_count();
    assert_true(count >= 12 && count <= 64);
    for (uint32_t i = 0; i < count; i++) {
        HARNESS_OK(dj_quirk_get(i, &quirk));
        assert_true(strlen(quirk.name) > 0 && strpbrk(quirk.name, ",+ ") == NULL);
        assert_true(strlen(quirk.devices) > 0 && strlen(quirk.trouble) > 0);
        assert_true(strlen(quirk.without) > 0 && strlen(quirk.remedy) > 0);
        assert_non_null(strchr(quirk.source, '#'));
        for (uint32_t j = 0; j < i; j++) {
            HARNESS_OK(dj_quirk_get(j, &other));
            assert_string_not_equal(quirk.name, other.name);
        }
    }
    HARNESS_RESULT(dj_quirk_get(count, &quirk), DJ_ERROR_INVALID_ARGUMENT);
    HARNESS_RESULT(dj_quirk_get(0, NULL), DJ_ERROR_INVALID_ARGUMENT);
}

#define VERSION(major, minor, patch) VK_MAKE_API_VERSION(0, major, minor, patch)

/* Devices as their drivers describe them, and all that is known of them. */
static const struct machine {
    uint32_t driver, vendor, device, type, version;
    const char *name;
    const char *quirks[5];
} machines[] = {
    {VK_DRIVER_ID_NVIDIA_PROPRIETARY,
     0x10de,
     0x1b06,
     DJ_DEVICE_DISCRETE,
     0x8ca30000,
     "NVIDIA GeForce GTX 1080 Ti",
     {"nvidia-push-descriptors"}},
    {VK_DRIVER_ID_NVIDIA_PROPRIETARY,
     0x10de,
     0x1380,
     DJ_DEVICE_DISCRETE,
     0x8ca30000,
     "NVIDIA GeForce GTX 750 Ti",
     {"nvidia-push-descriptors"}},
    {VK_DRIVER_ID_NVIDIA_PROPRIETARY,
     0x10de,
     0x1d81,
     DJ_DEVICE_DISCRETE,
     0x8ca30000,
     "NVIDIA TITAN V",
     {NULL}},
    {VK_DRIVER_ID_NVIDIA_PROPRIETARY,
     0x10de,
     0x2684,
     DJ_DEVICE_DISCRETE,
     0x8ca30000,
     "NVIDIA GeForce RTX 4090",
     {NULL}},
    {VK_DRIVER_ID_MESA_NVK,
     0x10de,
     0x1b06,
     DJ_DEVICE_DISCRETE,
     VERSION(25, 0, 7),
     "NVIDIA GeForce GTX 1080 Ti (NVK GP102)",
     {NULL}},
    {VK_DRIVER_ID_INTEL_OPEN_SOURCE_MESA,
     0x8086,
     0x5690,
     DJ_DEVICE_DISCRETE,
     VERSION(22, 2, 5),
     "Intel(R) Arc(tm) A770M Graphics (DG2)",
     {NULL}},
    {VK_DRIVER_ID_INTEL_OPEN_SOURCE_MESA,
     0x8086,
     0x5690,
     DJ_DEVICE_DISCRETE,
     VERSION(22, 3, 0),
     "Intel(R) Arc(tm) A770M Graphics (DG2)",
     {"anv-push-descriptors"}},
    {VK_DRIVER_ID_INTEL_OPEN_SOURCE_MESA,
     0x8086,
     0x5917,
     DJ_DEVICE_INTEGRATED,
     VERSION(23, 1, 9),
     "Intel(R) UHD Graphics 620 (KBL GT2)",
     {"anv-push-descriptors", "anv-long-submissions"}},
    {VK_DRIVER_ID_INTEL_OPEN_SOURCE_MESA,
     0x8086,
     0x5917,
     DJ_DEVICE_INTEGRATED,
     VERSION(23, 2, 0),
     "Intel(R) UHD Graphics 620 (KBL GT2)",
     {"anv-long-submissions"}},
    {VK_DRIVER_ID_INTEL_PROPRIETARY_WINDOWS,
     0x8086,
     0x56a0,
     DJ_DEVICE_DISCRETE,
     0x19473d,
     "Intel(R) Arc(TM) A770 Graphics",
     {"arc-push-descriptors", "intel-windows-long-submissions"}},
    {VK_DRIVER_ID_INTEL_PROPRIETARY_WINDOWS,
     0x8086,
     0x9a49,
     DJ_DEVICE_INTEGRATED,
     0x19473d,
     "Intel(R) Iris(R) Xe Graphics",
     {"intel-windows-long-submissions"}},
    {VK_DRIVER_ID_AMD_PROPRIETARY,
     0x1002,
     0x743f,
     DJ_DEVICE_DISCRETE,
     VERSION(2, 0, 226),
     "AMD Radeon RX 6500 XT",
     {"amd-push-descriptors", "amd-long-submissions"}},
    {VK_DRIVER_ID_AMD_OPEN_SOURCE,
     0x1002,
     0x743f,
     DJ_DEVICE_DISCRETE,
     VERSION(2, 0, 227),
     "AMD Radeon RX 6500 XT",
     {"amd-long-submissions"}},
    {VK_DRIVER_ID_MESA_RADV,
     0x1002,
     0x1636,
     DJ_DEVICE_INTEGRATED,
     VERSION(25, 0, 7),
     "AMD Radeon Graphics (RADV RENOIR)",
     {"amd-long-submissions"}},
    {VK_DRIVER_ID_MESA_RADV,
     0x1002,
     0x744c,
     DJ_DEVICE_DISCRETE,
     VERSION(25, 0, 7),
     "AMD Radeon RX 7900 XTX (RADV NAVI31)",
     {"amd-long-submissions"}},
    {VK_DRIVER_ID_MOLTENVK,
     0x106b,
     0x1a040209,
     DJ_DEVICE_INTEGRATED,
     10299,
     "Apple M1",
     {"moltenvk-push-descriptors", "moltenvk-device-addresses", "moltenvk-specialization"}},
    {VK_DRIVER_ID_MOLTENVK,
     0x106b,
     0x1a040209,
     DJ_DEVICE_INTEGRATED,
     10300,
     "Apple M1",
     {"moltenvk-push-descriptors", "moltenvk-device-addresses"}},
    {VK_DRIVER_ID_MOLTENVK,
     0x106b,
     0x1a040209,
     DJ_DEVICE_INTEGRATED,
     10401,
     "Apple M1",
     {"moltenvk-device-addresses"}},
    {VK_DRIVER_ID_QUALCOMM_PROPRIETARY,
     0x5143,
     0x6030001,
     DJ_DEVICE_INTEGRATED,
     0x80144000,
     "Adreno (TM) 630",
     {"adreno-float-controls", "adreno-long-submissions", "adreno-pipeline-cache"}},
    {0,
     0x5143,
     0x6050002,
     DJ_DEVICE_INTEGRATED,
     0x80144000,
     "Adreno (TM) 650",
     {"adreno-float-controls", "adreno-long-submissions"}},
    {VK_DRIVER_ID_MESA_TURNIP,
     0x5143,
     0x6050002,
     DJ_DEVICE_INTEGRATED,
     VERSION(25, 0, 7),
     "Turnip Adreno (TM) 650",
     {NULL}},
    {VK_DRIVER_ID_ARM_PROPRIETARY,
     0x13b5,
     0xa8670000,
     DJ_DEVICE_INTEGRATED,
     VERSION(38, 1, 0),
     "Mali-G715",
     {"mali-long-submissions"}},
    {VK_DRIVER_ID_MESA_PANVK,
     0x13b5,
     0xa8670000,
     DJ_DEVICE_INTEGRATED,
     VERSION(25, 0, 7),
     "Mali-G610",
     {"mali-long-submissions"}},
    {VK_DRIVER_ID_IMAGINATION_PROPRIETARY,
     0x1010,
     0x71061212,
     DJ_DEVICE_INTEGRATED,
     1,
     "PowerVR D-Series DXT-48-1536 MC1",
     {"powervr-long-submissions", "powervr-pipeline-cache"}},
    {VK_DRIVER_ID_IMAGINATION_PROPRIETARY,
     0x1010,
     0x22054000,
     DJ_DEVICE_INTEGRATED,
     1,
     "PowerVR Rogue GE8320",
     {"powervr-long-submissions"}},
    {VK_DRIVER_ID_MESA_V3DV,
     0x14e4,
     0x55701c33,
     DJ_DEVICE_INTEGRATED,
     VERSION(24, 2, 8),
     "V3D 7.1.7.0",
     {"v3dv-generated-dct", "v3dv-long-submissions"}},
    {VK_DRIVER_ID_MESA_LLVMPIPE,
     0x10005,
     0,
     DJ_DEVICE_CPU,
     1,
     "llvmpipe (LLVM 15.0.6, 256 bits)",
     {NULL}},
    {0, 0x10005, 0, DJ_DEVICE_CPU, 0, "a driver that says nothing", {NULL}},
    {VK_DRIVER_ID_MAX_ENUM, 0x5143, 0, DJ_DEVICE_OTHER, 0, "a driver of the future", {NULL}},
};

static void devices_have_the_quirks_that_are_known(void **state)
{
    (void)state;
    uint64_t seen = 0;
    for (size_t i = 0; i < sizeof machines / sizeof *machines; i++) {
        const struct machine *const machine = &machines[i];
        struct dj_device device = {.driver_id = machine->driver,
                                   .info = {.vendor_id = machine->vendor,
                                            .device_id = machine->device,
                                            .type = machine->type,
                                            .driver_version = machine->version}};
        snprintf(device.info.name, sizeof device.info.name, "%s", machine->name);
        uint64_t want = 0;
        for (int j = 0; machine->quirks[j] != NULL; j++)
            want |= bit(machine->quirks[j]);
        const uint64_t got = dj_quirks_match(&device);
        if (got != want)
            fail_msg("%s, driver %u: quirks 0x%llx instead of 0x%llx", machine->name,
                     machine->driver, (unsigned long long)got, (unsigned long long)want);
        seen |= got;
    }
    assert_true(seen == ((uint64_t)1 << dj_quirk_count()) - 1); /* no row matches nothing */
}

static void assert_switched(const char *text, uint64_t from, uint64_t want)
{
    HARNESS_OK(dj_quirks_switch(&logger, "test", text, &from));
    assert_true(from == want);
}

static void texts_switch_quirks(void **state)
{
    (void)state;
    const uint64_t arc = bit("arc-push-descriptors"), mali = bit("mali-long-submissions");
    assert_switched(NULL, arc, arc);
    assert_switched("", arc, arc);
    assert_switched("none", arc | mali, 0);
    assert_switched("-arc-push-descriptors", arc | mali, mali);
    assert_switched("-arc-push-descriptors", mali, mali);
    assert_switched("+arc-push-descriptors", mali, arc | mali);
    assert_switched("+arc-push-descriptors,-mali-long-submissions", mali, arc);
    assert_switched("none,+mali-long-submissions", arc, mali);
    assert_switched("+mali-long-submissions,none", arc, 0);
    assert_switched("+arc-push-descriptors,-arc-push-descriptors", 0, 0);
}

static void texts_that_cannot_be_read_are_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "arc-push-descriptors",
        "+arc-push-descriptor",
        "+arc-push-descriptorss",
        "nonee",
        "None",
        "+",
        "-",
        ",",
        "none,",
        ",none",
        "none,,none",
        " none",
        "+arc-push-descriptors ",
        "+none",
        "all",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        uint64_t quirks = 5;
        lines[0] = '\0';
        HARNESS_RESULT(dj_quirks_switch(&logger, "test", texts[i], &quirks),
                       DJ_ERROR_INVALID_ARGUMENT);
        assert_true(quirks == 5);
        assert_non_null(strstr(lines, texts[i]));
        assert_ptr_equal(strchr(lines, '\n'), lines + strlen(lines) - 1); /* one line */
    }
}

/* A context on the first device with those quirks. */
static struct dj_context *make(const char *quirks)
{
    const struct dj_context_params params = {
        .log = log_line, .log_level = DJ_LOG_INFO, .quirks = quirks};
    dj_context *context;
    lines[0] = '\0';
    HARNESS_OK(dj_context_create(&params, &context));
    return context;
}

static void own_contexts_ask_the_environment(void **state)
{
    (void)state;
    struct dj_context *context = make("");
    const uint64_t table = context->info.quirks;
    dj_context_destroy(&context);
    setenv("DIJIANG_QUIRKS", "+arc-push-descriptors", 1);
    context = make(NULL);
    assert_true(context->info.quirks == (table | bit("arc-push-descriptors")));
    assert_non_null(strstr(lines, "quirk arc-push-descriptors: "));
    dj_context_destroy(&context);
    context = make(""); /* a parameter wins */
    assert_true(context->info.quirks == table);
    assert_null(strstr(lines, "quirk arc"));
    dj_context_destroy(&context);

    struct dj_device_info infos[16];
    uint32_t count = 16;
    HARNESS_OK(dj_device_list(NULL, infos, &count));
    for (uint32_t i = 0; i < count && i < 16; i++)
        assert_true(infos[i].quirks & bit("arc-push-descriptors"));
    setenv("DIJIANG_QUIRKS", "nonsense", 1);
    lines[0] = '\0';
    const struct dj_context_params params = {.log = log_line};
    context = harness_context(0);
    HARNESS_RESULT(dj_context_create(&params, &context), DJ_ERROR_INVALID_ARGUMENT);
    assert_null(context);
    assert_non_null(strstr(lines, "DIJIANG_QUIRKS \"nonsense\""));
    HARNESS_RESULT(dj_device_list(&params, infos, &count), DJ_ERROR_INVALID_ARGUMENT);
    assert_int_equal(count, 0);
    unsetenv("DIJIANG_QUIRKS");
    const struct dj_context_params bad = {.log = log_line, .quirks = "nonsense"};
    lines[0] = '\0';
    HARNESS_RESULT(dj_context_create(&bad, &context), DJ_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(lines, "dj_context_params.quirks \"nonsense\""));
}

static void flags_are_taken_back(void **state)
{
    (void)state;
    struct dj_context *plain = make("none");
    struct dj_context *context = make("none,+arc-push-descriptors");
    const struct dj_device_info *const info = &plain->info;
    assert_int_equal(plain->push_descriptors, info->push_descriptor);
    assert_int_equal(plain->device_addresses, info->buffer_device_address);
    assert_int_equal(plain->storage_16bit, info->storage_16bit);
    assert_int_equal(plain->float_controls, info->signed_zero_inf_nan);
    assert_true(plain->pipeline_cache != VK_NULL_HANDLE);
    assert_false(context->push_descriptors);
    assert_int_equal(context->storage_16bit, info->storage_16bit);
    dj_context_destroy(&context);
    context = make("none,+moltenvk-device-addresses");
    assert_false(context->device_addresses);
    assert_int_equal(context->push_descriptors, info->push_descriptor);
    dj_context_destroy(&context);
    context = make("none,+adreno-float-controls");
    assert_false(context->float_controls);
    dj_context_destroy(&context);
    context = make("none,+powervr-pipeline-cache");
    assert_true(context->pipeline_cache == VK_NULL_HANDLE);
    dj_context_destroy(&context);
    dj_context_destroy(&plain);
}

static uint32_t transform_dispatches(struct dj_context *context, uint32_t path)
{
    struct dj_transform *transform;
    HARNESS_OK(dj_transform_create(context, DJ_DCT_2, 64, path, &transform));
    const uint32_t dispatches = dj_transform_dispatches(transform);
    dj_transform_destroy(&transform);
    return dispatches;
}

/* One dispatch is the dense product; generated kernels take two. */
static void transforms_are_dense(void **state)
{
    (void)state;
    struct dj_context *context = make("none");
    assert_int_equal(transform_dispatches(context, DJ_DCT_PATH_DEFAULT), DJ_HAVE_VKFFT ? 2 : 1);
    dj_context_destroy(&context);
    context = make("none,+v3dv-generated-dct");
    assert_int_equal(transform_dispatches(context, DJ_DCT_PATH_DEFAULT), 1);
    if (DJ_HAVE_VKFFT) /* who asks for one gets it */
        assert_int_equal(transform_dispatches(context, DJ_DCT_PATH_GENERATED), 2);
    dj_context_destroy(&context);
}

/* Keeps into how many pieces a run is cut, and stops it before the first. */
static uint32_t keep_total(void *user, uint64_t done, uint64_t total)
{
    (void)done;
    *(uint64_t *)user = total;
    return 1;
}

/* Pieces of a run over many tokens of one head. */
static uint64_t pieces(struct dj_context *context, uint32_t map)
{
    const uint64_t shape[4] = {1, 65536, 1, 64}, size = 65536 * 64 * sizeof(float);
    dj_attention *plan;
    dj_buffer *buffer;
    struct dj_attention_args args = {0};
    HARNESS_OK(dj_attention_create(
        context, &(struct dj_attention_params){.map = map, .heads = 1, .dim = 64}, &plan));
    HARNESS_OK(dj_buffer_create(context, &(struct dj_buffer_params){.size = 2 * size}, &buffer));
    dj_tensor_init(&args.q, buffer, 0, DJ_FLOAT32, shape);
    args.k = args.v = args.q;
    dj_tensor_init(&args.o, buffer, size, DJ_FLOAT32, shape);
    uint64_t total = 0;
    const struct dj_run_params run = {.progress = keep_total, .user = &total};
    HARNESS_RESULT(dj_attention_run_with(plan, &args, &run), DJ_ERROR_CANCELLED);
    dj_buffer_destroy(&buffer);
    dj_attention_destroy(&plan);
    return total;
}

static void submissions_are_short(void **state)
{
    (void)state;
    static const uint32_t maps[] = {DJ_MAP_ELU, DJ_MAP_SOFTMAX};
    for (int i = 0; i < 2; i++) {
        struct dj_context *context = make("none");
        const uint64_t plain = pieces(context, maps[i]);
        dj_context_destroy(&context);
        context = make("none,+mali-long-submissions");
        assert_true(pieces(context, maps[i]) > 2 * plain);
        dj_context_destroy(&context);
    }
}

static const struct CMUnitTest tests[] = {
    HARNESS_TEST(rows_are_whole_and_named_once),
    HARNESS_TEST(devices_have_the_quirks_that_are_known),
    HARNESS_TEST(texts_switch_quirks),
    HARNESS_TEST(texts_that_cannot_be_read_are_refused),
    HARNESS_TEST(own_contexts_ask_the_environment),
    HARNESS_TEST(flags_are_taken_back),
    HARNESS_TEST(transforms_are_dense),
    HARNESS_TEST(submissions_are_short),
};
HARNESS_MAIN(tests)
