/* SPDX-License-Identifier: MIT */
/* What test_failures.c does on the null device, on a real one: every Vulkan call of a context's
 * life fails in turn, the driver does not crash, and the validation layer finds no rule broken and
 * nothing left over. The linker sends the library's calls of the functions below with __wrap_ here
 * (tests/meson.build). */
#include "harness.h"

#include "../lib/copier.h"
#include "../lib/pipeline.h"
#include "../lib/recorder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool __real_dj_vk_load(struct dj_vk_loader *loader);
bool __wrap_dj_vk_load(struct dj_vk_loader *loader);
bool __real_dj_vk_load_instance(struct dj_vk *vk, PFN_vkGetInstanceProcAddr get_instance_proc_addr,
                                VkInstance instance, bool debug_utils);
bool __wrap_dj_vk_load_instance(struct dj_vk *vk, PFN_vkGetInstanceProcAddr get_instance_proc_addr,
                                VkInstance instance, bool debug_utils);
void __real_dj_vk_load_device(struct dj_vk *vk, VkDevice device);
void __wrap_dj_vk_load_device(struct dj_vk *vk, VkDevice device);

static struct dj_vk_loader real_loader;
static struct dj_vk real;
static uint32_t vulkan_calls, vulkan_fails_at; /* counted from 1; 0: none fails */
static VkResult fault_code;
static const char *fault_name;

static bool fault(const char *name)
{
    if (++vulkan_calls != vulkan_fails_at)
        return false;
    fault_name = name;
    return true;
}

/* A call that fails leaves its outputs undefined: here, such that their use crashes. */
#define POISON(pointer) memset((void *)(pointer), 0xdb, sizeof(*(pointer)))

#define FAULT(table, name, params, args, poison) \
    static VKAPI_ATTR VkResult VKAPI_CALL fault_##name params \
    { \
        if (!fault(#name)) \
            return table.name args; \
        poison; \
        return fault_code; \
    }
#define CREATE(name, info_type, handle_type) \
    FAULT(real.device, name, \
          (VkDevice d, const info_type *i, const VkAllocationCallbacks *a, handle_type *h), \
          (d, i, a, h), POISON(h))

FAULT(real_loader, vkCreateInstance,
      (const VkInstanceCreateInfo *i, const VkAllocationCallbacks *a, VkInstance *h), (i, a, h),
      POISON(h))
FAULT(real_loader, vkEnumerateInstanceExtensionProperties,
      (const char *l, uint32_t *n, VkExtensionProperties *p), (l, n, p), POISON(n))
FAULT(real_loader, vkEnumerateInstanceVersion, (uint32_t * v), (v), POISON(v))
FAULT(real, vkEnumeratePhysicalDevices, (VkInstance i, uint32_t *n, VkPhysicalDevice *p), (i, n, p),
      POISON(n))
FAULT(real, vkEnumerateDeviceExtensionProperties,
      (VkPhysicalDevice d, const char *l, uint32_t *n, VkExtensionProperties *p), (d, l, n, p),
      POISON(n))
FAULT(real, vkCreateDevice,
      (VkPhysicalDevice d, const VkDeviceCreateInfo *i, const VkAllocationCallbacks *a,
       VkDevice *h),
      (d, i, a, h), POISON(h))
CREATE(vkCreateDescriptorSetLayout, VkDescriptorSetLayoutCreateInfo, VkDescriptorSetLayout)
CREATE(vkCreatePipelineLayout, VkPipelineLayoutCreateInfo, VkPipelineLayout)
CREATE(vkCreatePipelineCache, VkPipelineCacheCreateInfo, VkPipelineCache)
CREATE(vkCreateShaderModule, VkShaderModuleCreateInfo, VkShaderModule)
CREATE(vkCreateBuffer, VkBufferCreateInfo, VkBuffer)
CREATE(vkAllocateMemory, VkMemoryAllocateInfo, VkDeviceMemory)
CREATE(vkCreateCommandPool, VkCommandPoolCreateInfo, VkCommandPool)
CREATE(vkCreateFence, VkFenceCreateInfo, VkFence)
CREATE(vkCreateQueryPool, VkQueryPoolCreateInfo, VkQueryPool)
CREATE(vkCreateDescriptorPool, VkDescriptorPoolCreateInfo, VkDescriptorPool)
FAULT(real.device, vkCreateComputePipelines,
      (VkDevice d, VkPipelineCache c, uint32_t n, const VkComputePipelineCreateInfo *i,
       const VkAllocationCallbacks *a, VkPipeline *h),
      (d, c, n, i, a, h), *h = VK_NULL_HANDLE) /* the one that promises it */
FAULT(real.device, vkAllocateCommandBuffers,
      (VkDevice d, const VkCommandBufferAllocateInfo *i, VkCommandBuffer *h), (d, i, h), POISON(h))
FAULT(real.device, vkAllocateDescriptorSets,
      (VkDevice d, const VkDescriptorSetAllocateInfo *i, VkDescriptorSet *h), (d, i, h), POISON(h))
FAULT(real.device, vkBindBufferMemory, (VkDevice d, VkBuffer b, VkDeviceMemory m, VkDeviceSize o),
      (d, b, m, o), (void)0)
FAULT(real.device, vkMapMemory,
      (VkDevice d, VkDeviceMemory m, VkDeviceSize o, VkDeviceSize s, VkMemoryMapFlags f, void **p),
      (d, m, o, s, f, p), POISON(p))
FAULT(real.device, vkResetCommandPool, (VkDevice d, VkCommandPool p, VkCommandPoolResetFlags f),
      (d, p, f), (void)0)
FAULT(real.device, vkResetFences, (VkDevice d, uint32_t n, const VkFence *f), (d, n, f), (void)0)
FAULT(real.device, vkBeginCommandBuffer, (VkCommandBuffer c, const VkCommandBufferBeginInfo *i),
      (c, i), (void)0)
FAULT(real.device, vkEndCommandBuffer, (VkCommandBuffer c), (c), (void)0)
FAULT(real.device, vkQueueSubmit, (VkQueue q, uint32_t n, const VkSubmitInfo *s, VkFence f),
      (q, n, s, f), (void)0)
FAULT(real.device, vkWaitForFences,
      (VkDevice d, uint32_t n, const VkFence *f, VkBool32 all, uint64_t t), (d, n, f, all, t),
      (void)0)

/* Whether a device was asked to check bounds: kernels keep to theirs by themselves. */
static bool asked_for_bounds;

static VKAPI_ATTR VkResult VKAPI_CALL watched_vkCreateDevice(VkPhysicalDevice physical,
                                                             const VkDeviceCreateInfo *info,
                                                             const VkAllocationCallbacks *allocator,
                                                             VkDevice *device)
{
    asked_for_bounds = info->pEnabledFeatures && info->pEnabledFeatures->robustBufferAccess;
    for (const VkBaseInStructure *next = info->pNext; next; next = next->pNext) {
        const VkPhysicalDeviceFeatures2 *features = (const void *)next;
        if (next->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_ROBUSTNESS_2_FEATURES_EXT ||
            (next->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2 &&
             features->features.robustBufferAccess))
            asked_for_bounds = true;
    }
    return fault_vkCreateDevice(physical, info, allocator, device);
}

bool __wrap_dj_vk_load(struct dj_vk_loader *loader)
{
    if (!__real_dj_vk_load(&real_loader))
        return false;
    *loader = real_loader;
    loader->vkCreateInstance = fault_vkCreateInstance;
    loader->vkEnumerateInstanceExtensionProperties = fault_vkEnumerateInstanceExtensionProperties;
    loader->vkEnumerateInstanceVersion = fault_vkEnumerateInstanceVersion;
    return true;
}

bool __wrap_dj_vk_load_instance(struct dj_vk *vk, PFN_vkGetInstanceProcAddr get_instance_proc_addr,
                                VkInstance instance, bool debug_utils)
{
    if (!__real_dj_vk_load_instance(&real, get_instance_proc_addr, instance, debug_utils))
        return false;
    *vk = real;
    vk->vkEnumeratePhysicalDevices = fault_vkEnumeratePhysicalDevices;
    vk->vkEnumerateDeviceExtensionProperties = fault_vkEnumerateDeviceExtensionProperties;
    vk->vkCreateDevice = watched_vkCreateDevice;
    return true;
}

void __wrap_dj_vk_load_device(struct dj_vk *vk, VkDevice device)
{
    __real_dj_vk_load_device(&real, device);
    vk->device = real.device;
#define INSTALL(name) vk->device.name = fault_##name
    INSTALL(vkCreateDescriptorSetLayout);
    INSTALL(vkCreatePipelineLayout);
    INSTALL(vkCreatePipelineCache);
    INSTALL(vkCreateShaderModule);
    INSTALL(vkCreateBuffer);
    INSTALL(vkAllocateMemory);
    INSTALL(vkCreateCommandPool);
    INSTALL(vkCreateFence);
    INSTALL(vkCreateQueryPool);
    INSTALL(vkCreateDescriptorPool);
    INSTALL(vkCreateComputePipelines);
    INSTALL(vkAllocateCommandBuffers);
    INSTALL(vkAllocateDescriptorSets);
    INSTALL(vkBindBufferMemory);
    INSTALL(vkMapMemory);
    INSTALL(vkResetCommandPool);
    INSTALL(vkResetFences);
    INSTALL(vkBeginCommandBuffer);
    INSTALL(vkEndCommandBuffer);
    INSTALL(vkQueueSubmit);
    INSTALL(vkWaitForFences);
#undef INSTALL
}

/* void main() {} with one invocation */
static const uint32_t words[] = {
    0x07230203, 0x00010000, 0, 5,          0,         0x00020011, 1,          0x0003000e, 0, 1,
    0x0005000f, 5,          3, 0x6e69616d, 0,         0x00060010, 3,          17,         1, 1,
    1,          0x00020013, 1, 0x00030021, 2,         1,          0x00050036, 1,          3, 0,
    2,          0x000200f8, 4, 0x000100fd, 0x00010038};
static const struct dj_shader shader = {"empty", words, sizeof(words), words, sizeof(words)};

static uint32_t error_lines, validation_lines;
static void log_line(void *user, uint32_t level, const char *message)
{
    (void)user;
    if (level != DJ_LOG_ERROR)
        return;
    error_lines++;
    if (strncmp(message, "validation: ", 12) == 0) {
        print_error("%s\n", message);
        validation_lines++;
    }
}

static dj_result use_buffers(dj_context *context)
{
    dj_buffer *device = NULL, *download = NULL, *table = NULL;
    char data[64] = "dijiang";
    void *mapped = NULL;
    dj_result result = dj_buffer_create(
        context, &(struct dj_buffer_params){.size = 64, .memory = DJ_MEMORY_DEVICE}, &device);
    if (result == DJ_SUCCESS) {
        mapped = device->mapped;
        device->mapped = NULL; /* so that copies go through staging memory */
        result = dj_buffer_write(device, 0, data, sizeof(data));
    }
    if (result == DJ_SUCCESS)
        result = dj_buffer_read(device, 0, data, sizeof(data));
    if (result == DJ_SUCCESS)
        result = dj_buffer_create(
            context, &(struct dj_buffer_params){.size = 64, .memory = DJ_MEMORY_DOWNLOAD},
            &download);
    if (result == DJ_SUCCESS)
        result = dj_buffer_create_table(context, data, sizeof(data), "table", &table);
    if (device)
        device->mapped = mapped;
    dj_buffer_destroy(&device);
    dj_buffer_destroy(&download);
    dj_buffer_destroy(&table);
    return result;
}

static dj_result use_recorder(dj_context *context)
{
    struct dj_pipeline pipeline = {.handle = VK_NULL_HANDLE};
    dj_recorder *recorder = NULL;
    dj_result result = dj_pipeline_get(context, &shader, NULL, &pipeline);
    if (result == DJ_SUCCESS)
        result =
            dj_recorder_create(context, &(struct dj_recorder_params){.timings = DJ_ON}, &recorder);
    else
        assert_true(pipeline.handle == VK_NULL_HANDLE);
    if (result == DJ_SUCCESS)
        result = dj_recorder_begin(recorder);
    if (result == DJ_SUCCESS)
        result = dj_recorder_reserve(recorder, 1, 0);
    if (result == DJ_SUCCESS) {
        dj_recorder_dispatch(recorder, pipeline, NULL, 0, NULL, 0, (const uint32_t[3]){1, 1, 1});
        result = dj_recorder_submit(recorder);
    }
    if (result == DJ_SUCCESS)
        result = dj_recorder_wait(recorder, UINT64_MAX);
    dj_recorder_destroy(&recorder);
    return result;
}

/* A whole life; returns how it ended. */
enum way {
    BY_PUSH,
    BY_SETS,
    BY_ADDRESSES
};

static dj_result live(enum way way, uint32_t validation)
{
    const struct dj_context_params params = {.log = log_line,
                                             .push_descriptors = way == BY_PUSH ? DJ_ON : DJ_OFF,
                                             .device_addresses =
                                                 way == BY_ADDRESSES ? DJ_ON : DJ_OFF,
                                             .validation = validation};
    vulkan_calls = error_lines = 0;
    fault_name = NULL;
    dj_context *context = NULL;
    dj_result result = dj_context_create(&params, &context);
    if (result != DJ_SUCCESS) {
        assert_null(context);
        return result;
    }
    result = use_buffers(context);
    if (result == DJ_SUCCESS)
        result = use_recorder(context);
    if (result == DJ_ERROR_DEVICE_LOST) { /* and stays lost */
        dj_buffer *buffer;
        const uint32_t calls = vulkan_calls;
        assert_int_equal(dj_buffer_create(context, &(struct dj_buffer_params){.size = 4}, &buffer),
                         DJ_ERROR_DEVICE_LOST);
        assert_null(buffer);
        assert_int_equal(use_recorder(context), DJ_ERROR_DEVICE_LOST);
        assert_int_equal(vulkan_calls, calls); /* Vulkan is not asked again */
    }
    dj_context_destroy(&context);
    return result;
}

static uint32_t with_validation; /* enum dj_switch */

static int setup(void **state)
{
    (void)state;
    const char *demanded = getenv("DIJIANG_TEST_VALIDATION");
    with_validation = DJ_ON;
    if (live(BY_PUSH, DJ_ON) == DJ_SUCCESS)
        return 0;
    with_validation = DJ_OFF;
    return demanded && strcmp(demanded, "1") == 0 ? -1 : live(BY_PUSH, DJ_OFF) != DJ_SUCCESS;
}

static void each_vulkan_call(enum way way, VkResult code, dj_result wanted)
{
    uint32_t failed = 0;
    fault_code = code;
    for (vulkan_fails_at = 1;; vulkan_fails_at++, failed++) {
        const dj_result result = live(way, with_validation);
        if (!fault_name)
            break; /* one more than there are */
        if (result != wanted)
            fail_msg("%s with VkResult %d: %s", fault_name, code, dj_result_name(result));
        assert_true(error_lines > 0);
    }
    vulkan_fails_at = 0;
    assert_true(failed > 30);
    assert_int_equal(validation_lines, 0); /* it would report objects that were left over */
}

static void test_push_descriptors(void **state)
{
    (void)state;
    each_vulkan_call(BY_PUSH, VK_ERROR_OUT_OF_HOST_MEMORY, DJ_ERROR_OUT_OF_HOST_MEMORY);
}

static void test_sets_and_a_lost_device(void **state)
{
    (void)state;
    each_vulkan_call(BY_SETS, VK_ERROR_DEVICE_LOST, DJ_ERROR_DEVICE_LOST);
}

static void test_addresses(void **state)
{
    (void)state;
    each_vulkan_call(BY_ADDRESSES, VK_ERROR_OUT_OF_DEVICE_MEMORY, DJ_ERROR_OUT_OF_DEVICE_MEMORY);
}

/* A pool of one slot that takes two copies to load. */
enum {
    SLOT_HEADS = 33
};

/* The slot holds one state or the other, or what no call takes for a state. */
static void assert_no_mixture(const uint32_t *slot, const uint32_t *old, const uint32_t *new,
                              uint64_t size)
{
    if (memcmp(slot, old, size) != 0 && memcmp(slot, new, size) != 0) {
        assert_int_not_equal(slot[0], 0);
        assert_int_not_equal(slot[0], DJ_STATE_LAYOUT);
    }
}

static void test_half_loaded_states(void **state)
{
    (void)state;
    const struct dj_attention_params params = {
        .map = DJ_MAP_WDCF, .heads = SLOT_HEADS, .dim = 64, .features = 256, .value_dim = 256};
    dj_context *context;
    dj_attention *plan;
    struct dj_attention_args args = {.slot_count = 1};
    struct dj_needs needs;
    fault_code = VK_ERROR_OUT_OF_HOST_MEMORY;
    HARNESS_OK(dj_context_create(
        &(struct dj_context_params){.log = log_line, .validation = with_validation}, &context));
    HARNESS_OK(dj_attention_create(context, &params, &plan));
    HARNESS_OK(dj_attention_needs(plan, NULL, &needs));
    const uint64_t size = needs.slot_size;
    assert_true(size > DJ_COPIER_PIECE);
    uint32_t *const old = malloc(size), *const new = malloc(size);
    assert_true(old && new);
    const struct dj_state_header header = {.layout = DJ_STATE_LAYOUT,
                                           .map = DJ_MAP_WDCF,
                                           .tokens_low = 5,
                                           .key_heads = SLOT_HEADS,
                                           .dim = 64,
                                           .value_dim = 256,
                                           .features = 256};
    memset(old, 1, size);
    memset(new, 2, size);
    memcpy(old, &header, sizeof header);
    memcpy(new, &header, sizeof header);
    args.state = harness_buffer(context, old, size);
    void *const mapped = args.state->mapped;
    assert_non_null(mapped);
    uint32_t failed = 0;
    for (;; failed++) {
        memcpy(mapped, old, size);
        args.state->mapped = NULL; /* so that copies go through staging memory */
        vulkan_calls = 0;
        vulkan_fails_at = failed + 1;
        fault_name = NULL;
        const dj_result result = dj_state_load(plan, &args, 0, new, size);
        vulkan_fails_at = 0;
        args.state->mapped = mapped;
        if (!fault_name)
            break;
        HARNESS_RESULT(result, DJ_ERROR_OUT_OF_HOST_MEMORY);
        assert_no_mixture(mapped, old, new, size);
    }
    assert_true(failed > 20);
    assert_memory_equal(mapped, new, size);
    free(old);
    free(new);
    dj_buffer_destroy(&args.state);
    dj_attention_destroy(&plan);
    dj_context_destroy(&context);
    assert_int_equal(validation_lines, 0);
}

static void test_no_checks_of_bounds(void **state)
{
    (void)state;
    asked_for_bounds = true;
    assert_int_equal(live(BY_PUSH, DJ_OFF), DJ_SUCCESS);
    assert_false(asked_for_bounds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_push_descriptors),    cmocka_unit_test(test_sets_and_a_lost_device),
        cmocka_unit_test(test_addresses),           cmocka_unit_test(test_half_loaded_states),
        cmocka_unit_test(test_no_checks_of_bounds),
    };
    harness_prepare();
    return cmocka_run_group_tests(tests, setup, NULL);
}
