/* SPDX-License-Identifier: MIT */
/* Whatever the library creates on a device it destroys again: at the end, and when anything on the
 * way fails. */
#include "engine.h"
#include "shim.h"
#include "spirv.h"

#include <string.h>

/* What a life makes. */
struct life {
    dj_context *context;
    dj_attention *plan;
    dj_dct *dct;
    dj_features *features;
    dj_recorder *recorder;
    dj_buffer *state;
    struct dj_tensor x[5]; /* q, k, v, o; rows for the DCT */
    struct dj_attention_args args;
    uint64_t alive; /* objects, when most of them were */
};

static dj_result make_plans(struct life *life)
{
    const struct dj_attention_params params = {
        .map = DJ_MAP_WDCF, .heads = 2, .dim = 16, .value_dim = 16};
    dj_result result = dj_attention_create(life->context, &params, &life->plan);
    float t[16];
    for (int i = 0; i < 16; i++)
        t[i] = 1.0f;
    const struct dj_features_params numbers = {
        .map = DJ_MAP_WDCF, .dim = 16, .features = 16, .frequencies = t};
    if (result == DJ_SUCCESS)
        result = dj_features_create(life->context, &numbers, &life->features);
    const struct dj_dct_params dct = {.type = DJ_DCT_2, .length = 24};
    if (result == DJ_SUCCESS)
        result = dj_dct_create(life->context, &dct, &life->dct);
    return result;
}

static dj_result make_tensors(struct life *life)
{
    static const float zeros[1 * 40 * 2 * 24];
    for (int i = 0; i < 5; i++) {
        const uint64_t shape[4] = {1, 40, 2, i < 4 ? 16 : 24};
        const dj_result result =
            dj_tensor_create(life->context, DJ_FLOAT32, shape, zeros, &life->x[i]);
        if (result != DJ_SUCCESS)
            return result;
    }
    life->args = (struct dj_attention_args){.q = life->x[0],
                                            .k = life->x[1],
                                            .v = life->x[2],
                                            .o = life->x[3],
                                            .features = life->features,
                                            .slot_count = 2};
    struct dj_needs needs;
    dj_result result = dj_attention_needs(life->plan, NULL, &needs);
    if (result == DJ_SUCCESS)
        result = dj_buffer_create(
            life->context, &(struct dj_buffer_params){.size = 2 * needs.slot_size}, &life->state);
    life->args.state = life->state;
    return result;
}

/* Runs, which allocates scratch memory, and records; reads back. */
static dj_result work(struct life *life)
{
    static const int32_t slot = 1;
    float o[1 * 40 * 2 * 16];
    life->args.slots_out.host = &slot;
    dj_result result = dj_attention_run(life->plan, &life->args);
    const struct dj_dct_args rows = {.input = life->x[4], .output = life->x[4]};
    if (result == DJ_SUCCESS)
        result = dj_dct_run(life->dct, &rows);
    if (result == DJ_SUCCESS)
        result = dj_recorder_create(life->context, NULL, &life->recorder);
    if (result == DJ_SUCCESS)
        result = dj_recorder_begin(life->recorder);
    if (result == DJ_SUCCESS)
        result = dj_recorder_barrier(life->recorder, DJ_BARRIER_BEFORE);
    if (result == DJ_SUCCESS)
        result = dj_recorder_submit(life->recorder);
    if (result == DJ_SUCCESS)
        result = dj_buffer_read(life->x[3].buffer, 0, o, sizeof o);
    life->alive = shim_alive();
    return result;
}

static void end(struct life *life)
{
    dj_recorder_destroy(&life->recorder);
    for (int i = 0; i < 5; i++)
        dj_buffer_destroy(&life->x[i].buffer);
    dj_buffer_destroy(&life->state);
    dj_dct_destroy(&life->dct);
    dj_features_destroy(&life->features);
    dj_attention_destroy(&life->plan);
    dj_context_destroy(&life->context);
}

/* A whole life on an engine's device; returns how it ended, with nothing left. */
static dj_result live(const struct engine *engine, uint64_t *most)
{
    const struct dj_import_params params = engine_params(engine);
    const uint64_t before = shim_alive();
    struct life life = {0};
    dj_result result = dj_context_import(&params, &life.context);
    if (result == DJ_SUCCESS)
        result = make_plans(&life);
    if (result == DJ_SUCCESS)
        result = make_tensors(&life);
    if (result == DJ_SUCCESS)
        result = work(&life);
    *most = life.alive - before;
    end(&life);
    if (shim_alive() != before)
        fail_msg("left alive: %s", shim_alive_text());
    return result;
}

/* With and without push descriptors and memory that the host sees. */
static const struct shim_promise promises[] = {
    {.without = 0}, {.without = SHIM_ALL, .least = true, .discrete = true}};

static void everything_made_is_destroyed(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof promises / sizeof *promises; i++) {
        struct engine engine;
        uint64_t most = 0;
        shim_promise(&promises[i]);
        engine_init(&engine, &(struct engine_options){.shim = shim_between});
        shim_fail(UINT64_MAX);
        HARNESS_OK(live(&engine, &most));
        assert_true(most > 20);
        engine_finish(&engine);
    }
}

static void nothing_is_left_by_a_call_that_fails(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof promises / sizeof *promises; i++) {
        struct engine engine;
        uint64_t most, n = 0;
        shim_promise(&promises[i]);
        engine_init(&engine, &(struct engine_options){.shim = shim_between, .quiet = true});
        struct life other = {0}; /* while it lives, transforms need not be generated anew */
        const struct dj_import_params params = engine_params(&engine);
        shim_fail(UINT64_MAX);
        HARNESS_OK(dj_context_import(&params, &other.context));
        HARNESS_OK(make_plans(&other));
        for (;; n += i == 0 ? 3 : 1) { /* the first takes other ways in few places */
            shim_fail(n);
            const dj_result result = live(&engine, &most);
            if (shim_created() <= n) { /* one more than there are */
                HARNESS_OK(result);
                break;
            }
            assert_int_not_equal(result, DJ_SUCCESS);
        }
        shim_fail(UINT64_MAX);
        assert_true(n > 60);
        end(&other);
        engine_finish(&engine);
    }
}

/* What the other tests rely on: promises that are broken are seen. None of it reaches the driver,
 * as the validation layer would say. */
static void broken_promises_are_seen(void **state)
{
    (void)state;
    struct engine engine;
    struct shim_promise promise;
    assert_true(shim_mode("small-range", &promise));
    shim_promise(&promise);
    engine_init(&engine, &(struct engine_options){.shim = shim_between});
    const struct engine_functions *const vk = &engine.vk;
    const uint64_t before = shim_violations(), range = 6 << 20;
    VkDescriptorSetLayoutBinding binding = {.descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                            .descriptorCount = 9,
                                            .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT};
    const VkDescriptorSetLayoutCreateInfo layout_info = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
        .bindingCount = 1,
        .pBindings = &binding};
    VkDescriptorSetLayout layout;
    assert_int_not_equal(
        vk->vkCreateDescriptorSetLayout(engine.device, &layout_info, NULL, &layout), VK_SUCCESS);
    assert_int_equal(shim_violations(), before + 1); /* 9 of 8 buffers */
    binding.descriptorCount = 8;
    ENGINE_OK(vk->vkCreateDescriptorSetLayout(engine.device, &layout_info, NULL, &layout));
    assert_int_equal(shim_violations(), before + 1);
    assert_non_null(strstr(shim_alive_text(), "1 DescriptorSetLayout"));
    const VkDescriptorPoolSize size = {.type = binding.descriptorType, .descriptorCount = 8};
    const VkDescriptorPoolCreateInfo pool_info = {.sType =
                                                      VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
                                                  .maxSets = 1,
                                                  .poolSizeCount = 1,
                                                  .pPoolSizes = &size};
    VkDescriptorPool pool;
    ENGINE_OK(vk->vkCreateDescriptorPool(engine.device, &pool_info, NULL, &pool));
    const VkDescriptorSetAllocateInfo set_info = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
        .descriptorPool = pool,
        .descriptorSetCount = 1,
        .pSetLayouts = &layout};
    VkDescriptorSet set;
    ENGINE_OK(vk->vkAllocateDescriptorSets(engine.device, &set_info, &set));
    struct engine_buffer buffer = engine_buffer_create(&engine, 2 * range);
    VkDescriptorBufferInfo info = {.buffer = buffer.buffer, .range = range};
    const VkWriteDescriptorSet write = {.sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
                                        .dstSet = set,
                                        .descriptorCount = 1,
                                        .descriptorType = binding.descriptorType,
                                        .pBufferInfo = &info};
    vk->vkUpdateDescriptorSets(engine.device, 1, &write, 0, NULL);
    assert_int_equal(shim_violations(), before + 2); /* beyond the range */
    info = (VkDescriptorBufferInfo){.buffer = buffer.buffer, .offset = 128, .range = 64};
    vk->vkUpdateDescriptorSets(engine.device, 1, &write, 0, NULL);
    assert_int_equal(shim_violations(), before + 3); /* at no multiple of 256 */
    info.offset = 256;
    vk->vkUpdateDescriptorSets(engine.device, 1, &write, 0, NULL);
    assert_int_equal(shim_violations(), before + 3);
    const VkCommandBuffer command = engine_command(&engine);
    vk->vkCmdDispatch(command, 65536, 1, 1);
    assert_int_equal(shim_violations(), before + 4);
    ENGINE_OK(vk->vkEndCommandBuffer(command));
    engine_buffer_destroy(&engine, &buffer);
    vk->vkDestroyDescriptorPool(engine.device, pool, NULL);
    const PFN_vkDestroyDescriptorSetLayout destroy_unseen =
        (PFN_vkDestroyDescriptorSetLayout)shim_real(engine.instance,
                                                    "vkDestroyDescriptorSetLayout");
    destroy_unseen(engine.device, layout, NULL);
    engine_finish(&engine); /* with the layout alive, as far as can be seen */
    assert_int_equal(shim_violations(), before + 5);
    shim_forgive(5);
}

/* A shader of 256 invocations, 16-bit storage and float x[2 N] in shared memory, N constant 0. */
static void broken_shaders_are_seen(void **state)
{
    (void)state;
    static const uint32_t words[] = {
        0x07230203, 0x00010300, 0,  20,         0,    /* header */
        0x00020011, 1,                                /* OpCapability Shader */
        0x00020011, 4433,                             /* OpCapability StorageBuffer16BitAccess */
        0x0003000e, 0,          1,                    /* OpMemoryModel Logical GLSL450 */
        0x0005000f, 5,          1,  0x6e69616d, 0,    /* OpEntryPoint GLCompute %1 "main" */
        0x00060010, 1,          17, 256,        1, 1, /* OpExecutionMode %1 LocalSize 256 1 1 */
        0x00040047, 5,          1,  0,                /* OpDecorate %5 SpecId 0 */
        0x00020013, 2,                                /* %2 = OpTypeVoid */
        0x00030021, 3,          2,                    /* %3 = OpTypeFunction %2 */
        0x00040015, 4,          32, 0,                /* %4 = OpTypeInt 32 0 */
        0x00040032, 4,          5,  64,               /* %5 = OpSpecConstant %4 64 */
        0x0004002b, 4,          6,  2,                /* %6 = OpConstant %4 2 */
        0x00060034, 4,          7,  132,        5, 6, /* %7 = OpSpecConstantOp %4 OpIMul %5 %6 */
        0x00030016, 8,          32,                   /* %8 = OpTypeFloat 32 */
        0x0004001c, 9,          8,  7,                /* %9 = OpTypeArray %8 %7 */
        0x00040020, 10,         4,  9,                /* %10 = OpTypePointer Workgroup %9 */
        0x0004003b, 10,         11, 4,                /* %11 = OpVariable %10 Workgroup */
        0x00050036, 2,          1,  0,          3,    /* OpFunction */
        0x000200f8, 12,                               /* OpLabel */
        0x000100fd,                                   /* OpReturn */
        0x00010038,                                   /* OpFunctionEnd */
    };
    struct spirv spirv;
    assert_true(spirv_read(words, sizeof words / 4, NULL, &spirv));
    assert_int_equal(spirv.shared, 512);
    const uint32_t value = 8000;
    const VkSpecializationMapEntry entry = {.constantID = 0, .size = 4};
    const VkSpecializationInfo special = {
        .mapEntryCount = 1, .pMapEntries = &entry, .dataSize = 4, .pData = &value};
    assert_true(spirv_read(words, sizeof words / 4, &special, &spirv));
    assert_int_equal(spirv.shared, 64000);
    assert_int_equal(spirv.local_size[0], 256);
    assert_int_equal(spirv.capability_count, 2);

    struct engine engine;
    shim_promise(&promises[1]);
    engine_init(&engine, &(struct engine_options){.shim = shim_between, .quiet = true});
    const uint64_t before = shim_violations();
    struct shim_shader shader = {words, sizeof words / 4, NULL};
    shim_check_shader(engine.device, &shader); /* 16 bits, 256 invocations on one axis of 128 */
    assert_int_equal(shim_violations(), before + 3);
    shader.special = &special;
    shim_check_shader(engine.device, &shader); /* and more memory than there is */
    assert_int_equal(shim_violations(), before + 7);
    engine_finish(&engine);
    shim_forgive(7);
}

static const struct CMUnitTest tests[] = {
    HARNESS_TEST(everything_made_is_destroyed),
    HARNESS_TEST(nothing_is_left_by_a_call_that_fails),
    HARNESS_TEST(broken_promises_are_seen),
    HARNESS_TEST(broken_shaders_are_seen),
};
HARNESS_MAIN(tests)
