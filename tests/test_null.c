/* SPDX-License-Identifier: MIT */
/* The null device complains: what the tests on it rest on. */
#include "null_device.h"

#include "harness.h"

#include <string.h>

/* A whole set-up by Vulkan's functions, each of whose parts one rule is then broken with. */
static struct {
    struct null_engine engine;
    struct VolkDeviceTable vk;
    VkDescriptorSetLayout sets;
    VkPipelineLayout layout;
    VkPipeline pipeline;
    VkBuffer buffer;
    VkDeviceMemory memory;
    VkCommandPool pool;
    VkCommandBuffer command;
} base;

/* A compute shader of nothing that declares a storage buffer at binding 1, as far as is read. */
static const uint32_t words[] = {0x07230203, 0x00010000, 0, 5, 0, 4 << 16 | 71, 1, 33, 1};

#define OK(call) assert_int_equal((call), VK_SUCCESS)

static void load(void)
{
    const PFN_vkGetDeviceProcAddr get = (PFN_vkGetDeviceProcAddr)null_get_instance_proc_addr(
        base.engine.instance, "vkGetDeviceProcAddr");
#define LOAD(name) base.vk.name = (PFN_##name)get(base.engine.device, #name)
    LOAD(vkCreateDescriptorSetLayout);
    LOAD(vkCreatePipelineLayout);
    LOAD(vkCreateShaderModule);
    LOAD(vkCreateComputePipelines);
    LOAD(vkCreateBuffer);
    LOAD(vkAllocateMemory);
    LOAD(vkBindBufferMemory);
    LOAD(vkMapMemory);
    LOAD(vkDestroyDescriptorSetLayout);
    LOAD(vkDestroyPipelineLayout);
    LOAD(vkDestroyShaderModule);
    LOAD(vkDestroyPipeline);
    LOAD(vkDestroyBuffer);
    LOAD(vkFreeMemory);
    LOAD(vkEndCommandBuffer);
    LOAD(vkQueueSubmit);
    LOAD(vkCmdBindPipeline);
    LOAD(vkCmdCopyBuffer);
    LOAD(vkCmdDispatch);
    LOAD(vkCmdPushConstants);
    LOAD(vkCmdPushDescriptorSetKHR);
#undef LOAD
}

static void make_pipeline(void)
{
    const VkDevice device = base.engine.device;
    const VkDescriptorSetLayoutBinding binding = {.binding = 0, .descriptorCount = 1};
    const VkDescriptorSetLayoutBinding bindings[2] = {binding, binding};
    const VkDescriptorSetLayoutCreateInfo sets = {
        .flags = VK_DESCRIPTOR_SET_LAYOUT_CREATE_PUSH_DESCRIPTOR_BIT_KHR,
        .bindingCount = 2,
        .pBindings = bindings};
    OK(base.vk.vkCreateDescriptorSetLayout(device, &sets, NULL, &base.sets));
    const VkPushConstantRange range = {.size = 32};
    const VkPipelineLayoutCreateInfo layout = {.setLayoutCount = 1,
                                               .pSetLayouts = &base.sets,
                                               .pushConstantRangeCount = 1,
                                               .pPushConstantRanges = &range};
    OK(base.vk.vkCreatePipelineLayout(device, &layout, NULL, &base.layout));
    const VkShaderModuleCreateInfo code = {.codeSize = sizeof words, .pCode = words};
    VkComputePipelineCreateInfo pipeline = {.layout = base.layout};
    OK(base.vk.vkCreateShaderModule(device, &code, NULL, &pipeline.stage.module));
    OK(base.vk.vkCreateComputePipelines(device, VK_NULL_HANDLE, 1, &pipeline, NULL,
                                        &base.pipeline));
    base.vk.vkDestroyShaderModule(device, pipeline.stage.module, NULL);
}

static int setup(void **state)
{
    (void)state;
    struct null_settings settings = null_least();
    settings.push_descriptors = true;
    null_device_set(&settings);
    null_engine_init(&base.engine);
    load();
    make_pipeline();
    const VkDevice device = base.engine.device;
    const VkBufferCreateInfo buffer = {.size = 1024, .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT};
    const VkMemoryAllocateInfo memory = {.allocationSize = 1024};
    OK(base.vk.vkCreateBuffer(device, &buffer, NULL, &base.buffer));
    OK(base.vk.vkAllocateMemory(device, &memory, NULL, &base.memory));
    OK(base.vk.vkBindBufferMemory(device, base.buffer, base.memory, 0));
    base.command = null_engine_command(&base.engine, &base.pool);
    assert_int_equal(null_misuses(), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    const VkDevice device = base.engine.device;
    null_engine_command_finish(&base.engine, base.pool);
    base.vk.vkDestroyBuffer(device, base.buffer, NULL);
    base.vk.vkFreeMemory(device, base.memory, NULL);
    base.vk.vkDestroyPipeline(device, base.pipeline, NULL);
    base.vk.vkDestroyPipelineLayout(device, base.layout, NULL);
    base.vk.vkDestroyDescriptorSetLayout(device, base.sets, NULL);
    null_engine_finish(&base.engine);
    return null_objects() == 1 ? 0 : -1; /* what a test left on purpose */
}

static void bind_pipeline(void)
{
    base.vk.vkCmdBindPipeline(base.command, VK_PIPELINE_BIND_POINT_COMPUTE, base.pipeline);
}

static void bind(uint32_t binding, uint64_t offset, uint64_t range)
{
    const VkDescriptorBufferInfo info = {base.buffer, offset, range};
    const VkWriteDescriptorSet write = {.dstBinding = binding,
                                        .descriptorCount = 1,
                                        .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                        .pBufferInfo = &info};
    base.vk.vkCmdPushDescriptorSetKHR(base.command, VK_PIPELINE_BIND_POINT_COMPUTE, base.layout, 0,
                                      1, &write);
}

static void push(uint32_t offset, uint32_t size)
{
    static const uint8_t values[64];
    base.vk.vkCmdPushConstants(base.command, base.layout, VK_SHADER_STAGE_COMPUTE_BIT, offset, size,
                               values);
}

static void dispatch(uint32_t groups)
{
    base.vk.vkCmdDispatch(base.command, groups, 1, 1);
}

/* Says nothing of what is right, and one line of what is wrong. */
static void assert_misuse(uint64_t before, const char *text)
{
    assert_int_equal(null_misuses(), before + (text != NULL ? 1 : 0));
    if (text != NULL && strstr(null_last_misuse(), text) == NULL)
        fail_msg("'%s' is not in '%s'", text, null_last_misuse());
}
#define RIGHT(call) \
    do { \
        const uint64_t before = null_misuses(); \
        call; \
        assert_misuse(before, NULL); \
    } while (0)
#define WRONG(call, text) \
    do { \
        const uint64_t before = null_misuses(); \
        call; \
        assert_misuse(before, text); \
    } while (0)

static void recording_is_watched(void **state)
{
    (void)state;
    null_engine_command_finish(&base.engine, base.pool);
    base.command = null_engine_command(&base.engine, &base.pool);
    WRONG(dispatch(1), "no pipeline");
    RIGHT(bind_pipeline());
    WRONG(dispatch(1), "no descriptors");
    WRONG(bind(2, 0, 16), "binding 2");
    WRONG(bind(0, 128, 16), "no multiple of 256");
    WRONG(bind(0, 768, 257), "257 bytes at 768");
    WRONG(bind(0, 1024, VK_WHOLE_SIZE), "at 1024");
    RIGHT(bind(0, 768, 256));
    RIGHT(bind(1, 0, VK_WHOLE_SIZE));
    WRONG(push(0, 36), "the layout has 32");
    WRONG(push(30, 4), "at 30");
    RIGHT(push(16, 16));
    WRONG(dispatch(65536), "65536");
    const uint64_t dispatches = null_recorded().dispatches;
    RIGHT(dispatch(65535));
    assert_int_equal(null_recorded().dispatches, dispatches + 1);
}

static void submissions_are_watched(void **state)
{
    (void)state;
    const VkSubmitInfo submit = {.commandBufferCount = 1, .pCommandBuffers = &base.command};
    const VkQueue queue = base.engine.queue;
    WRONG((void)base.vk.vkQueueSubmit(queue, 1, &submit, VK_NULL_HANDLE), "not ended");
    null_engine_command_finish(&base.engine, base.pool);
    base.command = null_engine_command(&base.engine, &base.pool);
    RIGHT((void)base.vk.vkEndCommandBuffer(base.command));
    WRONG(bind_pipeline(), "not recording");
    RIGHT((void)base.vk.vkQueueSubmit(queue, 1, &submit, VK_NULL_HANDLE));
}

static void objects_are_watched(void **state)
{
    (void)state;
    const VkDevice device = base.engine.device;
    void *data;
    WRONG((void)base.vk.vkMapMemory(device, base.memory, 0, 1024, 0, &data), "not visible");
    const VkMemoryAllocateInfo info = {.allocationSize = 64, .memoryTypeIndex = 1};
    VkDeviceMemory memory;
    RIGHT(OK(base.vk.vkAllocateMemory(device, &info, NULL, &memory)));
    assert_non_null(strstr(null_objects_text(), "2 x memory"));
    RIGHT(OK(base.vk.vkMapMemory(device, memory, 0, VK_WHOLE_SIZE, 0, &data)));
    WRONG((void)base.vk.vkMapMemory(device, memory, 0, VK_WHOLE_SIZE, 0, &data), "already");
    RIGHT(base.vk.vkFreeMemory(device, memory, NULL));
    assert_null(strstr(null_objects_text(), "2 x memory"));
    static const VkAllocationCallbacks callbacks;
    const VkBufferCreateInfo buffer_info = {.size = 4};
    VkBuffer buffer;
    RIGHT(OK(base.vk.vkCreateBuffer(device, &buffer_info, NULL, &buffer)));
    WRONG(base.vk.vkDestroyBuffer(device, buffer, &callbacks), "other allocation callbacks");
}

/* A buffer of one family's is not for another's command buffers, nor these for its queue. */
static void families_are_watched(void **state)
{
    (void)state;
    struct null_engine engine;
    struct null_settings settings = null_least();
    settings.queue_families = 3;
    null_device_set(&settings);
    null_engine_init(&engine);
    const uint32_t families[3] = {0, 1, 1};
    VkBufferCreateInfo info = {.size = 4,
                               .usage = VK_BUFFER_USAGE_TRANSFER_SRC_BIT |
                                        VK_BUFFER_USAGE_TRANSFER_DST_BIT,
                               .sharingMode = VK_SHARING_MODE_CONCURRENT,
                               .queueFamilyIndexCount = 3,
                               .pQueueFamilyIndices = families};
    VkBuffer buffer;
    WRONG(OK(base.vk.vkCreateBuffer(engine.device, &info, NULL, &buffer)), "named twice");
    base.vk.vkDestroyBuffer(engine.device, buffer, NULL);
    info.queueFamilyIndexCount = 1;
    WRONG(OK(base.vk.vkCreateBuffer(engine.device, &info, NULL, &buffer)), "by 1 families");
    base.vk.vkDestroyBuffer(engine.device, buffer, NULL);
    info.queueFamilyIndexCount = 2;
    RIGHT(OK(base.vk.vkCreateBuffer(engine.device, &info, NULL, &buffer)));
    for (uint32_t family = 0; family < 3; family++) {
        VkCommandPool pool;
        const VkCommandBuffer command = null_engine_command_of(&engine, family, &pool);
        const VkBufferCopy region = {.size = 4};
        const VkSubmitInfo submit = {.commandBufferCount = 1, .pCommandBuffers = &command};
        WRONG(base.vk.vkCmdCopyBuffer(command, buffer, buffer, 1, &region),
              family < 2 ? NULL : "family 2 does not share");
        OK(base.vk.vkEndCommandBuffer(command));
        WRONG((void)base.vk.vkQueueSubmit(engine.queue, 1, &submit, VK_NULL_HANDLE),
              family == 0 ? NULL : "on a queue of 0");
        null_engine_command_finish(&engine, pool);
    }
    base.vk.vkDestroyBuffer(engine.device, buffer, NULL);
    null_engine_finish(&engine);
}

static void pipelines_are_watched(void **state)
{
    (void)state;
    const VkDevice device = base.engine.device;
    const VkShaderModuleCreateInfo code = {.codeSize = sizeof words, .pCode = words};
    const VkPipelineShaderStageRequiredSubgroupSizeCreateInfo required = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO,
        .requiredSubgroupSize = 8};
    VkComputePipelineCreateInfo info = {.stage.pNext = &required, .layout = base.layout};
    VkPipeline pipeline;
    RIGHT(OK(base.vk.vkCreateShaderModule(device, &code, NULL, &info.stage.module)));
    WRONG(OK(base.vk.vkCreateComputePipelines(device, VK_NULL_HANDLE, 1, &info, NULL, &pipeline)),
          "a size of subgroups");
    RIGHT(base.vk.vkDestroyPipeline(device, pipeline, NULL));
    RIGHT(base.vk.vkDestroyShaderModule(device, info.stage.module, NULL));
}

static void capabilities_are_watched(void **state)
{
    (void)state;
    static const uint32_t reading[] = {0x07230203, 0x00010300, 0, 5, 0, 2 << 16 | 17, 4423};
    const VkShaderModuleCreateInfo code = {.codeSize = sizeof reading, .pCode = reading};
    VkShaderModule module;
    WRONG(OK(base.vk.vkCreateShaderModule(base.engine.device, &code, NULL, &module)),
          "an extension that is not enabled");
    RIGHT(base.vk.vkDestroyShaderModule(base.engine.device, module, NULL));
}

static VkBuffer left; /* without its device, for good */

static void a_device_outlives_its_objects(void **state)
{
    (void)state;
    struct null_engine engine;
    const VkBufferCreateInfo info = {.size = 4};
    null_engine_init(&engine);
    OK(base.vk.vkCreateBuffer(engine.device, &info, NULL, &left));
    WRONG(null_engine_finish(&engine), "before 1 objects made from it");
    assert_non_null(strstr(null_objects_text(), "2 x buffer"));
}

static void extensions_are_there_when_enabled(void **state)
{
    (void)state;
    const PFN_vkGetDeviceProcAddr get = (PFN_vkGetDeviceProcAddr)null_get_instance_proc_addr(
        base.engine.instance, "vkGetDeviceProcAddr");
    assert_non_null(get(base.engine.device, "vkCmdPushDescriptorSetKHR"));
    assert_null(get(base.engine.device, "vkGetBufferDeviceAddressKHR"));
    assert_null(get(base.engine.device, "vkCmdDrawIndexed"));
    assert_null(null_get_instance_proc_addr(NULL, "vkCreateDevice"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(extensions_are_there_when_enabled),
        cmocka_unit_test(objects_are_watched),
        cmocka_unit_test(submissions_are_watched),
        cmocka_unit_test(recording_is_watched),
        cmocka_unit_test(pipelines_are_watched),
        cmocka_unit_test(capabilities_are_watched),
        cmocka_unit_test(families_are_watched),
        cmocka_unit_test(a_device_outlives_its_objects),
    };
    harness_prepare();
    return cmocka_run_group_tests(tests, setup, teardown);
}
