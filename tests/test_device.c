/* SPDX-License-Identifier: MIT */
/* Choosing devices and memory types, on systems that this one is not. */
#include "harness.h"

#include "../lib/device.h"
#include "../lib/memory.h"

#include <stdio.h>
#include <string.h>

static char last_line[1024];
static void log_line(void *user, uint32_t level, const char *message)
{
    (void)user;
    (void)level;
    snprintf(last_line, sizeof(last_line), "%s", message);
}
static const struct dj_log logger = {.callback = log_line, .level = DJ_LOG_DEBUG};

static struct dj_device machine[] = {
    {.info = {.index = 0, .name = "llvmpipe", .type = DJ_DEVICE_CPU}},
    {.info = {.index = 1,
              .name = "Old Radeon",
              .type = DJ_DEVICE_DISCRETE,
              .unsuitable = "4 storage buffers (8 are needed)"}},
    {.info = {.index = 2, .name = "Radeon 780M", .type = DJ_DEVICE_INTEGRATED}},
    {.info = {.index = 3, .name = "Radeon RX", .type = DJ_DEVICE_DISCRETE}},
    {.info = {.index = 4, .name = "Radeon RX", .type = DJ_DEVICE_DISCRETE}},
    {.info = {.index = 5, .name = "Thing", .type = DJ_DEVICE_OTHER}},
    {.info = {.index = 6, .name = "Virtio", .type = DJ_DEVICE_VIRTUAL}},
};
enum {
    MACHINE = sizeof(machine) / sizeof(machine[0])
};

static void expect(const char *text, dj_result want, int index)
{
    const struct dj_devices devices = {machine, MACHINE};
    const struct dj_device *chosen = machine;
    const dj_result got = dj_devices_choose(&logger, &devices, text, "device", &chosen);
    assert_string_equal(dj_result_name(got), dj_result_name(want));
    if (index < 0)
        assert_null(chosen);
    else
        assert_int_equal(chosen->info.index, index);
}

static void test_choose(void **state)
{
    (void)state;
    expect(NULL, DJ_SUCCESS, 3);
    expect("radeon", DJ_SUCCESS, 3); /* the best of four */
    expect("RADEON 7", DJ_SUCCESS, 2);
    expect("pipe", DJ_SUCCESS, 0);
    expect("virtio", DJ_SUCCESS, 6);
    for (int i = 0; i < MACHINE; i++) {
        char text[4];
        snprintf(text, sizeof(text), "%d", i);
        expect(text, i == 1 ? DJ_ERROR_DEVICE_UNSUITABLE : DJ_SUCCESS, i == 1 ? -1 : i);
    }
    expect("004", DJ_SUCCESS, 4);
    expect("7", DJ_ERROR_DEVICE_NOT_FOUND, -1);
    assert_non_null(strstr(last_line, "device \"7\": this system has 7 devices (0: llvmpipe, 1:"));
    expect("18446744073709551616", DJ_ERROR_DEVICE_NOT_FOUND, -1);
    expect("geforce", DJ_ERROR_DEVICE_NOT_FOUND, -1);
    expect("old", DJ_ERROR_DEVICE_UNSUITABLE, -1);
    assert_string_equal(last_line, "device 1 (Old Radeon): 4 storage buffers (8 are needed)");
}

static void test_rank(void **state)
{
    (void)state;
    const uint32_t order[] = {3, 4, 2, 6, 0, 5}; /* each in turn becomes the best left */
    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        expect(NULL, DJ_SUCCESS, (int)order[i]);
        snprintf(machine[order[i]].info.unsuitable, sizeof(machine[0].info.unsuitable), "busy");
    }
    expect(NULL, DJ_ERROR_DEVICE_UNSUITABLE, -1);
    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++)
        machine[order[i]].info.unsuitable[0] = '\0';
    const struct dj_devices none = {NULL, 0};
    const struct dj_device *chosen;
    HARNESS_RESULT(dj_devices_choose(&logger, &none, "0", "device", &chosen), DJ_ERROR_NO_DEVICE);
}

enum {
    L = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT,
    V = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT,
    C = VK_MEMORY_PROPERTY_HOST_COHERENT_BIT,
    H = VK_MEMORY_PROPERTY_HOST_CACHED_BIT,
    ODD = VK_MEMORY_PROPERTY_DEVICE_COHERENT_BIT_AMD,
};
#define GIB ((uint64_t)1 << 30)

/* Memory as real machines show it, and the type each kind of buffer should get. */
static const struct layout {
    const char *name;
    uint32_t type;
    struct {
        uint64_t size;
        uint32_t flags;
    } heaps[3];
    struct {
        uint32_t flags, heap;
    } types[8];
    uint32_t want[4]; /* DEVICE, UPLOAD, DOWNLOAD, TABLE */
} layouts[] = {
    {"discrete, BAR of 256 MiB",
     DJ_DEVICE_DISCRETE,
     {{8 * GIB, L}, {32 * GIB, 0}, {GIB / 4, L}},
     {{L, 0}, {V | C, 1}, {L | V | C, 2}, {V | C | H, 1}},
     {0, 1, 3, 2}},
    {"discrete, resizable BAR",
     DJ_DEVICE_DISCRETE,
     {{32 * GIB, 0}, {16 * GIB, L}},
     {{L, 1}, {L, 1}, {V | C, 0}, {L | V | C, 1}, {V | C | H, 0}, {L | V | C | ODD, 1}},
     {3, 3, 4, 3}},
    {"integrated, two types",
     DJ_DEVICE_INTEGRATED,
     {{16 * GIB, L}},
     {{L | V | C, 0}, {L | V | C | H, 0}},
     {1, 0, 1, 0}},
    {"integrated with a carve-out",
     DJ_DEVICE_INTEGRATED,
     {{GIB / 2, L}, {16 * GIB, 0}},
     {{L, 0}, {V | C, 1}, {L | V | C, 0}, {V | C | H, 1}},
     {2, 2, 3, 2}},
    {"phone, not coherent when cached",
     DJ_DEVICE_INTEGRATED,
     {{4 * GIB, L}},
     {{L | V | H, 0}, {L | V | C, 0}},
     {1, 1, 1, 1}},
    {"CPU", DJ_DEVICE_CPU, {{16 * GIB, L}}, {{L | V | C | H, 0}}, {0, 0, 0, 0}},
};

static void fill(struct dj_context *context, const struct layout *layout)
{
    *context = (struct dj_context){.info.type = layout->type};
    for (uint32_t i = 0; i < 3 && layout->heaps[i].size; i++) {
        context->memory.memoryHeaps[i] =
            (VkMemoryHeap){layout->heaps[i].size, layout->heaps[i].flags};
        context->memory.memoryHeapCount = i + 1;
        if ((layout->heaps[i].flags & L) && layout->heaps[i].size > context->info.device_memory)
            context->info.device_memory = layout->heaps[i].size;
    }
    for (uint32_t i = 0; i < 8 && layout->types[i].flags; i++) {
        context->memory.memoryTypes[i] =
            (VkMemoryType){layout->types[i].flags, layout->types[i].heap};
        context->memory.memoryTypeCount = i + 1;
    }
}

static void test_memory_types(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++) {
        struct dj_context context;
        fill(&context, &layouts[i]);
        for (uint32_t kind = 0; kind < 4; kind++) {
            const uint32_t got = dj_memory_type(&context, kind, UINT32_MAX, 1000);
            if (got != layouts[i].want[kind])
                fail_msg("%s: memory %u lies in type %u, not %u", layouts[i].name, kind, got,
                         layouts[i].want[kind]);
        }
    }
}

static void test_memory_fallback(void **state)
{
    (void)state;
    struct dj_context context;
    fill(&context, &layouts[0]);
    /* too large for the BAR, then for any heap; without the best type; without any */
    assert_int_equal(dj_memory_type(&context, DJ_MEMORY_TABLE, UINT32_MAX, GIB), 1);
    assert_int_equal(dj_memory_type(&context, DJ_MEMORY_DEVICE, UINT32_MAX, 9 * GIB), 1);
    assert_int_equal(dj_memory_type(&context, DJ_MEMORY_DEVICE, UINT32_MAX, 33 * GIB), UINT32_MAX);
    assert_int_equal(dj_memory_type(&context, DJ_MEMORY_DEVICE, ~1u, 1000), 2);
    assert_int_equal(dj_memory_type(&context, DJ_MEMORY_DOWNLOAD, 1u, 1000), UINT32_MAX);
    assert_false(dj_memory_mapping_is_free(&context, 2));
    fill(&context, &layouts[1]);
    assert_true(dj_memory_mapping_is_free(&context, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_choose),
        cmocka_unit_test(test_rank),
        cmocka_unit_test(test_memory_types),
        cmocka_unit_test(test_memory_fallback),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
