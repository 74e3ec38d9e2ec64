/* SPDX-License-Identifier: MIT */
/* Calls never touch what lies beside a caller's memory: tensors, state slots and indices in host
 * memory that is imported into Vulkan, up to a page that nobody may read, behind them or before
 * them. By device addresses; what is bound by descriptors devices may check themselves. */
#include "engine.h"
#include "half.h"
#include "problem.h"

#include <dijiang/dct.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum side {
    BEHIND, /* the memory ends where a page ends that is followed by one that is not there */
    BEFORE, /* it begins where one does */
    SIDES,
};

enum {
    MOST_REGIONS = 16,
    POISON_BYTE = 0xff, /* a NaN of all types, and the index of no slot */
};

/* A caller's memory: all of a buffer that counts. */
struct region {
    uint8_t *reserved; /* with the pages that are not there */
    size_t reserved_size;
    uint8_t *data;         /* where it begins */
    uint64_t offset, size; /* in the buffer */
    struct engine_buffer buffer;
    dj_buffer *wrapped;
};

struct ground {
    struct engine engine;
    dj_context *context;
    uint64_t page;
    PFN_vkGetMemoryHostPointerPropertiesEXT get_pointer_properties;
    struct region regions[MOST_REGIONS];
    uint32_t count;
    enum side side;
};

static uint64_t round_up(uint64_t x, uint64_t unit)
{
    return (x + unit - 1) / unit * unit;
}

/* Skips the case where the device cannot import host memory. */
static void ground_init(struct ground *ground, uint32_t device)
{
    *ground = (struct ground){0};
    engine_init(&ground->engine,
                &(struct engine_options){.device = device,
                                         .extension = VK_EXT_EXTERNAL_MEMORY_HOST_EXTENSION_NAME});
    if (!ground->engine.extension || !ground->engine.addresses) {
        engine_finish(&ground->engine);
        harness_skip("the device has no %s", ground->engine.addresses
                                                 ? VK_EXT_EXTERNAL_MEMORY_HOST_EXTENSION_NAME
                                                 : "device addresses");
    }
    struct dj_import_params params = engine_params(&ground->engine);
    params.matrices = DJ_ON;
    HARNESS_OK(dj_context_import(&params, &ground->context));
    VkPhysicalDeviceExternalMemoryHostPropertiesEXT host = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_EXTERNAL_MEMORY_HOST_PROPERTIES_EXT};
    VkPhysicalDeviceProperties2 properties = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &host};
    ground->engine.vk.vkGetPhysicalDeviceProperties2(ground->engine.physical_device, &properties);
    ground->page = (uint64_t)sysconf(_SC_PAGESIZE);
    if (host.minImportedHostPointerAlignment > ground->page)
        ground->page = host.minImportedHostPointerAlignment;
    ground->get_pointer_properties =
        (PFN_vkGetMemoryHostPointerPropertiesEXT)ground->engine.vk.vkGetDeviceProcAddr(
            ground->engine.device, "vkGetMemoryHostPointerPropertiesEXT");
    assert_non_null(ground->get_pointer_properties);
}

static void ground_finish(struct ground *ground)
{
    dj_context_destroy(&ground->context);
    engine_finish(&ground->engine);
}

/* Imports whole pages as the memory of a buffer. */
static void import_pages(struct ground *ground, struct region *region, uint8_t *pages,
                         uint64_t size)
{
    struct engine *const engine = &ground->engine;
    const VkExternalMemoryHandleTypeFlagBits type =
        VK_EXTERNAL_MEMORY_HANDLE_TYPE_HOST_ALLOCATION_BIT_EXT;
    region->buffer = (struct engine_buffer){.usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT |
                                                     VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT,
                                            .size = size,
                                            .mapped = pages};
    const VkExternalMemoryBufferCreateInfo external = {
        .sType = VK_STRUCTURE_TYPE_EXTERNAL_MEMORY_BUFFER_CREATE_INFO, .handleTypes = type};
    const VkBufferCreateInfo info = {.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
                                     .pNext = &external,
                                     .size = size,
                                     .usage = region->buffer.usage};
    ENGINE_OK(engine->vk.vkCreateBuffer(engine->device, &info, NULL, &region->buffer.buffer));
    VkMemoryRequirements need;
    engine->vk.vkGetBufferMemoryRequirements(engine->device, region->buffer.buffer, &need);
    assert_true(need.size <= size);
    VkMemoryHostPointerPropertiesEXT properties = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_HOST_POINTER_PROPERTIES_EXT};
    ENGINE_OK(ground->get_pointer_properties(engine->device, type, pages, &properties));
    const uint32_t types = need.memoryTypeBits & properties.memoryTypeBits;
    assert_int_not_equal(types, 0);
    const VkMemoryAllocateFlagsInfo flags = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO,
                                             .flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT};
    const VkImportMemoryHostPointerInfoEXT host = {
        .sType = VK_STRUCTURE_TYPE_IMPORT_MEMORY_HOST_POINTER_INFO_EXT,
        .pNext = &flags,
        .handleType = type,
        .pHostPointer = pages};
    const VkMemoryAllocateInfo memory = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                                         .pNext = &host,
                                         .allocationSize = size,
                                         .memoryTypeIndex = (uint32_t)__builtin_ctz(types)};
    ENGINE_OK(engine->vk.vkAllocateMemory(engine->device, &memory, NULL, &region->buffer.memory));
    ENGINE_OK(engine->vk.vkBindBufferMemory(engine->device, region->buffer.buffer,
                                            region->buffer.memory, 0));
    const struct dj_wrap_params params = engine_buffer_params(&region->buffer);
    HARNESS_OK(dj_buffer_wrap(ground->context, &params, &region->wrapped));
}

/* So many bytes at a page that is not there, all POISON_BYTE. */
static struct region *ground_region(struct ground *ground, uint64_t size)
{
    assert_true(ground->count < MOST_REGIONS && size > 0);
    struct region *const region = &ground->regions[ground->count++];
    const uint64_t page = ground->page, pages = round_up(size, page);
    *region = (struct region){.reserved_size = pages + 3 * page, .size = size};
    region->reserved = mmap(NULL, region->reserved_size, PROT_NONE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_true(region->reserved != MAP_FAILED);
    uint8_t *const first =
        region->reserved +
        (round_up((uintptr_t)region->reserved, page) - (uintptr_t)region->reserved) + page;
    assert_int_equal(mprotect(first, pages, PROT_READ | PROT_WRITE), 0);
    region->offset = ground->side == BEHIND ? pages - size : 0;
    region->data = first + region->offset;
    memset(first, POISON_BYTE, pages);
    import_pages(ground, region, first, pages);
    return region;
}

static void ground_clear(struct ground *ground)
{
    while (ground->count > 0) {
        struct region *const region = &ground->regions[--ground->count];
        dj_buffer_destroy(&region->wrapped);
        engine_buffer_destroy(&ground->engine, &region->buffer);
        munmap(region->reserved, region->reserved_size);
    }
}

/* Moves a tensor there, contiguous; x NULL: poison. */
static struct region *ground_tensor(struct ground *ground, struct dj_tensor *tensor, const float *x)
{
    const uint64_t count =
        tensor->shape[0] * tensor->shape[1] * tensor->shape[2] * tensor->shape[3];
    struct region *const region = ground_region(ground, count * dj_type_size(tensor->type));
    if (x)
        half_store(tensor->type, region->data, x, count);
    dj_tensor_init(tensor, region->wrapped, region->offset, tensor->type, tensor->shape);
    return region;
}

/* Moves the host's indices there. */
static void ground_indices(struct ground *ground, struct dj_indices *indices, size_t count)
{
    struct region *const region = ground_region(ground, count * sizeof(*indices->host));
    memcpy(region->data, indices->host, count * sizeof(*indices->host));
    *indices = (struct dj_indices){.buffer = region->wrapped, .offset = region->offset};
}

/* The host's spans of a call and its slots: none in, each sequence's own out. */
static void ground_state(struct ground *ground, const struct placed *placed,
                         struct dj_attention_args *args)
{
    enum {
        MOST_SEQUENCES = 8
    };
    const uint32_t sequences = (uint32_t)args->q.shape[0];
    struct dj_needs needs;
    int32_t slots[MOST_SEQUENCES];
    assert_true(sequences <= MOST_SEQUENCES);
    for (uint32_t n = 0; n < sequences; n++)
        slots[n] = (int32_t)n;
    if (args->spans.kind == DJ_SPANS_PADDED)
        ground_indices(ground, &args->spans.indices, 2 * (size_t)sequences);
    HARNESS_OK(dj_attention_needs(placed->plan, NULL, &needs));
    if (needs.slot_size == 0)
        return;
    struct region *const region = ground_region(ground, sequences * needs.slot_size);
    assert_int_equal(region->offset % needs.slot_alignment, 0);
    memset(region->data, 0, region->size); /* empty states */
    args->state = region->wrapped;
    args->state_offset = region->offset;
    args->slot_count = sequences;
    args->slots_in.host = args->slots_out.host = slots;
    ground_indices(ground, &args->slots_in, sequences);
    ground_indices(ground, &args->slots_out, sequences);
}

/* o as floats, to be freed: 0, as in the answer, where nothing was written. */
static float *read_output(const struct problem *problem, uint32_t type, const uint8_t *data)
{
    const size_t count = problem_output_size(problem), size = dj_type_size(type);
    float *const got = calloc(count, sizeof(*got));
    assert_non_null(got);
    half_load(type, got, data, count);
    for (size_t i = 0; i < count; i++) {
        bool written = false;
        for (size_t n = 0; n < size; n++)
            written = written || data[i * size + n] != POISON_BYTE;
        got[i] = written ? got[i] : 0;
    }
    return got;
}

/* A call of a plan in such memory, on each side of it; right, too. */
static void run_guarded(struct ground *ground, const struct problem *problem,
                        const struct placed *placed)
{
    for (ground->side = 0; ground->side < SIDES; ground->side++) {
        struct dj_attention_args args = placed->args;
        ground_tensor(ground, &args.q, problem->q);
        ground_tensor(ground, &args.k, problem->k);
        ground_tensor(ground, &args.v, problem->v);
        const struct region *const output = ground_tensor(ground, &args.o, NULL);
        ground_state(ground, placed, &args);
        HARNESS_OK(dj_attention_run(placed->plan, &args));
        float *const got = read_output(problem, args.o.type, output->data);
        problem_assert(problem, got, ground->side == BEHIND ? "behind" : "before");
        free(got);
        ground_clear(ground);
    }
}

/* A plan, and calls of these lengths. */
static void run_plan(struct ground *ground, struct problem_params params, const size_t *tokens,
                     size_t count)
{
    struct problem problem;
    struct placed first, placed;
    params.tokens = tokens[0];
    problem_init(&problem, &params);
    printf("# %s\n", problem_text(&problem)); /* a fault ends the program */
    fflush(stdout);
    problem_place(&problem, ground->context, LAYOUT_PLAIN, &first);
    for (size_t i = 0; i < count; i++) {
        params.tokens = tokens[i];
        problem_redraw(&problem, &params);
        problem_fit(&problem);
        problem_place_on(&problem, ground->context, LAYOUT_PLAIN, first.plan, first.features,
                         &placed);
        run_guarded(ground, &problem, &placed);
        placed_finish(&placed);
    }
    placed_finish(&first);
    problem_finish(&problem);
}

/* Lengths around what kernels take at once: lanes, tiles, chunks. */
static const size_t lengths[] = {1, 2, 7, 9, 33, 70};
#define LENGTHS lengths, sizeof lengths / sizeof *lengths

static void run_plans(uint32_t family, const size_t (*widths)[2], size_t width_count, uint32_t type)
{
    for (uint32_t device = 0; device < harness_device_count(); device++) {
        struct ground ground;
        ground_init(&ground, device);
        for (size_t w = 0; w < width_count; w++) {
            for (int n = 0; n < 2 * PROBLEM_MAPS; n++) { /* each with a causal mask and without */
                const int i = n / 2, map = problem_maps[i];
                if (map == DJ_MAP_SOFTMAX && family != DJ_FAMILY_DEFAULT)
                    continue; /* has none */
                const struct problem_params params = {
                    SHAPE(2, 0, 2, widths[w][0], widths[w][1]),
                    .map = map,
                    .full = n % 2,
                    .key_heads = i % 2 ? 1 : 2,
                    .max_tokens = map == DJ_MAP_COSFORMER ? 70 : 0,
                    .normalise = problem_may_normalise(map),
                    .spans = w % 2 ? DJ_SPANS_PADDED : DJ_SPANS_WHOLE,
                    .q_type = type,
                    .k_type = type,
                    .v_type = type,
                    .o_type = type,
                    .family = family,
                };
                run_plan(&ground, params, LENGTHS);
            }
        }
        ground_finish(&ground);
    }
}

static void by_default(void **state)
{
    (void)state;
    static const size_t widths[][2] = {{4, 4}, {20, 12}, {32, 32}};
    run_plans(DJ_FAMILY_DEFAULT, widths, 3, DJ_FLOAT32);
}

static void in_tiles(void **state)
{
    (void)state;
    static const size_t widths[][2] = {{4, 4}, {8, 20}};
    run_plans(DJ_FAMILY_TILED, widths, 2, DJ_FLOAT32);
}

static void in_two_bytes(void **state)
{
    (void)state;
    static const size_t widths[][2] = {{4, 8}, {16, 16}};
    run_plans(DJ_FAMILY_DEFAULT, widths, 2, DJ_FLOAT16);
    run_plans(DJ_FAMILY_TILED, widths, 2, DJ_BFLOAT16);
}

/* Rows of a transform, one and many. */
static void transforms(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {4, 12, 64};
    for (uint32_t device = 0; device < harness_device_count(); device++) {
        struct ground ground;
        ground_init(&ground, device);
        for (uint32_t i = 0; i < 6; i++) {
            const uint32_t size = sizes[i / 2];
            const uint64_t rows = i % 2 ? 37 : 1;
            dj_dct *plan;
            HARNESS_OK(dj_dct_create(ground.context,
                                     &(struct dj_dct_params){.type = DJ_DCT_2,
                                                             .length = size,
                                                             .path = DJ_DCT_PATH_DENSE},
                                     &plan));
            float *const x = calloc(rows * size, sizeof(*x));
            assert_non_null(x);
            harness_fill_normal(x, rows * size, 1);
            for (ground.side = 0; ground.side < SIDES; ground.side++) {
                struct dj_dct_args args = {.input.shape = {1, 1, rows, size},
                                           .output.shape = {1, 1, rows, size}};
                ground_tensor(&ground, &args.input, x);
                const struct region *const output = ground_tensor(&ground, &args.output, NULL);
                HARNESS_OK(dj_dct_run(plan, &args));
                float first; /* the whole is test-dct's */
                double sum = 0;
                memcpy(&first, output->data, sizeof first);
                for (uint32_t n = 0; n < size; n++)
                    sum += x[n];
                assert_true(fabs(first * sqrt(size) - sum) <= 1e-4);
                ground_clear(&ground);
            }
            free(x);
            dj_dct_destroy(&plan);
        }
        ground_finish(&ground);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        HARNESS_TEST(by_default),
        HARNESS_TEST(in_tiles),
        HARNESS_TEST(in_two_bytes),
        HARNESS_TEST(transforms),
    };
    setenv("DIJIANG_MATRICES", "1", 1); /* the harness knows what they round */
    harness_prepare();
    return harness_status(cmocka_run_group_tests(tests, harness_setup, harness_teardown));
}
