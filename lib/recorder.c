/* SPDX-License-Identifier: MIT */
#include "recorder.h"

#include "instance.h"
#include "kernels.h"
#include "size.h"
#include "timings.h"

#include <dijiang/vulkan.h>

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    DEFAULT_DISPATCHES = 256,
    MAX_DISPATCHES = 1 << 20,
    DEFAULT_RING = 65536,
    SETS_AT_ONCE = 64,
};

enum state {
    IDLE,      /* nothing recorded, nothing pending */
    RECORDING, /* between begin and submit */
    SUBMITTED, /* the device may still use what was recorded */
    BORROWING, /* recording into a command buffer of the caller's */
};

static const char *const state_names[] = {[IDLE] = "is idle",
                                          [RECORDING] = "is recording",
                                          [SUBMITTED] = "has work that was not waited for",
                                          [BORROWING] =
                                              "is recording into the caller's command buffer"};

/* What DJ_ADDRESSES_OFFSET of the push constants points to. */
struct address_table {
    VkDeviceAddress of[DJ_ADDRESSES];
};
static_assert((int)DJ_ADDRESSES == (int)DJ_BINDINGS, "an address for each binding");
static_assert(DJ_ADDRESSES_OFFSET + sizeof(VkDeviceAddress) == DJ_PUSH_BYTES, "push constants");

struct dj_recorder {
    struct dj_context *context;
    enum state state;
    VkCommandPool pool; /* these three: not in a context without a queue */
    VkCommandBuffer own;
    VkFence fence;
    VkCommandBuffer command;      /* what is recorded into: own, or the caller's */
    VkDescriptorPool descriptors; /* these two: without push descriptors only */
    VkDescriptorSet *sets;        /* one per dispatch */
    uint32_t dispatches, dispatches_used;
    struct dj_buffer *ring;      /* mapped */
    uint64_t ring_used;          /* a multiple of the offset alignment */
    struct dj_buffer *addresses; /* mapped: a table for each dispatch; with device addresses only */
    struct dj_timings timings;
    void *work; /* twice as large as the ring */
};

static dj_result sets_create(struct dj_recorder *recorder)
{
    struct dj_context *context = recorder->context;
    const struct VolkDeviceTable *vk = &context->vk.device;
    recorder->sets = calloc(recorder->dispatches, sizeof(*recorder->sets));
    if (!recorder->sets)
        return dj_fail(&context->log, DJ_ERROR_OUT_OF_HOST_MEMORY, "no memory for %u sets",
                       recorder->dispatches);
    const VkDescriptorPoolSize size = {.type = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                       .descriptorCount = recorder->dispatches * DJ_BINDINGS};
    const VkDescriptorPoolCreateInfo pool = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
        .maxSets = recorder->dispatches,
        .poolSizeCount = 1,
        .pPoolSizes = &size,
    };
    VkResult code = vk->vkCreateDescriptorPool(context->device, &pool, context->allocator,
                                               &recorder->descriptors);
    if (code != VK_SUCCESS) {
        recorder->descriptors = VK_NULL_HANDLE;
        return dj_context_result(context, code, "vkCreateDescriptorPool");
    }
    dj_context_name(context, VK_OBJECT_TYPE_DESCRIPTOR_POOL, (uint64_t)recorder->descriptors,
                    "dijiang recorder");

    VkDescriptorSetLayout layouts[SETS_AT_ONCE];
    for (uint32_t i = 0; i < SETS_AT_ONCE; i++)
        layouts[i] = context->set_layout;
    for (uint32_t done = 0; done < recorder->dispatches; done += SETS_AT_ONCE) {
        const uint32_t left = recorder->dispatches - done;
        const VkDescriptorSetAllocateInfo info = {
            .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
            .descriptorPool = recorder->descriptors,
            .descriptorSetCount = left < SETS_AT_ONCE ? left : SETS_AT_ONCE,
            .pSetLayouts = layouts,
        };
        code = vk->vkAllocateDescriptorSets(context->device, &info, recorder->sets + done);
        if (code != VK_SUCCESS)
            return dj_context_result(context, code, "vkAllocateDescriptorSets");
    }
    return DJ_SUCCESS;
}

static dj_result commands_create(struct dj_recorder *recorder)
{
    struct dj_context *context = recorder->context;
    const struct VolkDeviceTable *vk = &context->vk.device;
    const VkCommandPoolCreateInfo pool = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
        .queueFamilyIndex = context->queue_family,
    };
    VkResult code =
        vk->vkCreateCommandPool(context->device, &pool, context->allocator, &recorder->pool);
    if (code != VK_SUCCESS) {
        recorder->pool = VK_NULL_HANDLE;
        return dj_context_result(context, code, "vkCreateCommandPool");
    }
    const VkCommandBufferAllocateInfo command = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
        .commandPool = recorder->pool,
        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
        .commandBufferCount = 1,
    };
    code = vk->vkAllocateCommandBuffers(context->device, &command, &recorder->own);
    if (code != VK_SUCCESS)
        return dj_context_result(context, code, "vkAllocateCommandBuffers");
    const VkFenceCreateInfo fence = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
    code = vk->vkCreateFence(context->device, &fence, context->allocator, &recorder->fence);
    if (code != VK_SUCCESS) {
        recorder->fence = VK_NULL_HANDLE;
        return dj_context_result(context, code, "vkCreateFence");
    }
    dj_context_name(context, VK_OBJECT_TYPE_COMMAND_POOL, (uint64_t)recorder->pool,
                    "dijiang recorder");
    dj_context_name(context, VK_OBJECT_TYPE_COMMAND_BUFFER, (uint64_t)(uintptr_t)recorder->own,
                    "dijiang recorder");
    dj_context_name(context, VK_OBJECT_TYPE_FENCE, (uint64_t)recorder->fence, "dijiang recorder");
    return DJ_SUCCESS;
}

static dj_result params_check(const struct dj_context *context,
                              const struct dj_recorder_params *params)
{
    const struct dj_log *log = &context->log;
    if (!dj_reserved_is_zero(log, params->reserved, 4, "dj_recorder_params"))
        return DJ_ERROR_VERSION;
    const struct dj_named_switch timings = {"dj_recorder_params.timings", params->timings};
    const dj_result result = dj_switches_check(log, &timings, 1);
    if (result != DJ_SUCCESS)
        return result;
    if (params->dispatches > MAX_DISPATCHES)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT,
                       "dj_recorder_params.dispatches is %u and must be at most %d",
                       params->dispatches, MAX_DISPATCHES);
    if (params->ring_size > context->info.max_allocation - context->info.offset_alignment)
        return dj_fail(log, DJ_ERROR_LIMIT,
                       "dj_recorder_params.ring_size is %" PRIu64
                       "; the device's largest allocation is %" PRIu64,
                       params->ring_size, context->info.max_allocation);
    return dj_context_check(context);
}

dj_result dj_recorder_create(dj_context *context, const struct dj_recorder_params *params,
                             dj_recorder **recorder)
{
    if (recorder)
        *recorder = NULL;
    if (!context)
        return DJ_ERROR_INVALID_ARGUMENT;
    if (!recorder)
        return dj_fail(&context->log, DJ_ERROR_INVALID_ARGUMENT,
                       "dj_recorder_create: recorder is NULL");
    const struct dj_recorder_params defaults = {0};
    if (!params)
        params = &defaults;
    dj_result result = params_check(context, params);
    if (result != DJ_SUCCESS)
        return result;
    struct dj_recorder *made = calloc(1, sizeof(*made));
    if (!made)
        return dj_fail(&context->log, DJ_ERROR_OUT_OF_HOST_MEMORY, "no memory for a recorder");
    made->context = context;
    made->dispatches = params->dispatches ? params->dispatches : DEFAULT_DISPATCHES;
    const uint64_t ring = params->ring_size ? params->ring_size : DEFAULT_RING;
    result = dj_buffer_create_named(context, dj_recorder_ring_size(context, ring), DJ_MEMORY_UPLOAD,
                                    "dijiang ring", &made->ring);
    if (result == DJ_SUCCESS && context->device_addresses)
        result = dj_buffer_create_named(context, made->dispatches * sizeof(struct address_table),
                                        DJ_MEMORY_UPLOAD, "dijiang addresses", &made->addresses);
    if (result == DJ_SUCCESS) {
        made->work = calloc(2, made->ring->size);
        if (!made->work)
            result = dj_fail(&context->log, DJ_ERROR_OUT_OF_HOST_MEMORY,
                             "no memory for %" PRIu64 " bytes beside the ring", made->ring->size);
    }
    if (result == DJ_SUCCESS && context->queue)
        result = commands_create(made);
    if (result == DJ_SUCCESS && !context->push_descriptors)
        result = sets_create(made);
    if (result == DJ_SUCCESS && params->timings == DJ_ON)
        result = dj_timings_create(context, made->dispatches, &made->timings);
    if (result != DJ_SUCCESS)
        goto fail;
    *recorder = made;
    return DJ_SUCCESS;

fail:
    dj_recorder_destroy(&made);
    return result;
}

/* Waits for a submission whose result nobody asks for any more, and says nothing: destroying does
 * not fail. */
static void drain(const struct dj_recorder *recorder)
{
    struct dj_context *context = recorder->context;
    if (context->vk.device.vkWaitForFences(context->device, 1, &recorder->fence, VK_TRUE,
                                           UINT64_MAX) != VK_SUCCESS)
        dj_context_idle(context);
}

void dj_recorder_destroy(dj_recorder **recorder)
{
    if (!recorder || !*recorder)
        return;
    struct dj_recorder *dead = *recorder;
    struct dj_context *context = dead->context;
    const struct VolkDeviceTable *vk = &context->vk.device;
    if (dead->state == SUBMITTED)
        drain(dead);
    vk->vkDestroyDescriptorPool(context->device, dead->descriptors, context->allocator);
    dj_timings_destroy(context, &dead->timings);
    free(dead->sets);
    free(dead->work);
    vk->vkDestroyFence(context->device, dead->fence, context->allocator);
    vk->vkDestroyCommandPool(context->device, dead->pool, context->allocator);
    dj_buffer_destroy(&dead->ring);
    dj_buffer_destroy(&dead->addresses);
    free(dead);
    *recorder = NULL;
}

static dj_result state_fail(const struct dj_recorder *recorder, const char *function,
                            const char *need)
{
    return dj_fail(&recorder->context->log, DJ_ERROR_RECORDER_STATE,
                   "%s: the recorder %s, and must %s", function, state_names[recorder->state],
                   need);
}

static bool is_recording(const struct dj_recorder *recorder)
{
    return recorder->state == RECORDING || recorder->state == BORROWING;
}

/* A new recording: all descriptors and the whole ring are free. */
static void start(struct dj_recorder *recorder, enum state state, VkCommandBuffer command)
{
    recorder->state = state;
    recorder->command = command;
    recorder->dispatches_used = 0;
    recorder->ring_used = 0;
    dj_timings_start(recorder->context, &recorder->timings, command);
}

dj_result dj_recorder_begin(dj_recorder *recorder)
{
    if (!recorder)
        return DJ_ERROR_INVALID_ARGUMENT;
    struct dj_context *context = recorder->context;
    const struct VolkDeviceTable *vk = &context->vk.device;
    dj_result result = dj_context_check_queue(context, "dj_recorder_begin");
    if (result != DJ_SUCCESS)
        return result;
    if (recorder->state == SUBMITTED)
        return state_fail(recorder, "dj_recorder_begin", "have been waited for");
    result = dj_context_check(context);
    if (result != DJ_SUCCESS)
        return result;
    recorder->state = IDLE;
    recorder->timings.count = 0;
    VkResult code = vk->vkResetCommandPool(context->device, recorder->pool, 0);
    if (code != VK_SUCCESS)
        return dj_context_result(context, code, "vkResetCommandPool");
    const VkCommandBufferBeginInfo begin = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
        .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT,
    };
    code = vk->vkBeginCommandBuffer(recorder->own, &begin);
    if (code != VK_SUCCESS)
        return dj_context_result(context, code, "vkBeginCommandBuffer");
    start(recorder, RECORDING, recorder->own);
    return DJ_SUCCESS;
}

dj_result dj_recorder_begin_on(dj_recorder *recorder, VkCommandBuffer command)
{
    if (!recorder)
        return DJ_ERROR_INVALID_ARGUMENT;
    if (!command)
        return dj_fail(&recorder->context->log, DJ_ERROR_INVALID_ARGUMENT,
                       "dj_recorder_begin_on: command is NULL");
    if (recorder->state == SUBMITTED)
        return state_fail(recorder, "dj_recorder_begin_on", "have been waited for");
    const dj_result result = dj_context_check(recorder->context);
    if (result != DJ_SUCCESS)
        return result;
    start(recorder, BORROWING, command);
    return DJ_SUCCESS;
}

static dj_result submit(struct dj_recorder *recorder)
{
    struct dj_context *context = recorder->context;
    const struct VolkDeviceTable *vk = &context->vk.device;
    VkResult code = vk->vkEndCommandBuffer(recorder->own);
    if (code != VK_SUCCESS)
        return dj_context_result(context, code, "vkEndCommandBuffer");
    code = vk->vkResetFences(context->device, 1, &recorder->fence);
    if (code != VK_SUCCESS)
        return dj_context_result(context, code, "vkResetFences");
    return dj_context_submit(context, recorder->own, recorder->fence);
}

dj_result dj_recorder_submit(dj_recorder *recorder)
{
    if (!recorder)
        return DJ_ERROR_INVALID_ARGUMENT;
    struct dj_context *context = recorder->context;
    if (recorder->state != RECORDING)
        return state_fail(recorder, "dj_recorder_submit", "be recording");
    dj_result result = dj_context_check(context);
    if (result != DJ_SUCCESS)
        return result;

    result = submit(recorder);
    /* a recording that cannot be ended or submitted is dropped */
    recorder->state = result == DJ_SUCCESS ? SUBMITTED : IDLE;
    if (result != DJ_SUCCESS)
        recorder->timings.count = 0;
    return result;
}

dj_result dj_recorder_timings(dj_recorder *recorder, struct dj_timing *timings, uint32_t *count)
{
    if (!recorder)
        return DJ_ERROR_INVALID_ARGUMENT;
    const struct dj_timings *const kept = &recorder->timings;
    const struct dj_log *const log = &recorder->context->log;
    if (!count)
        return dj_fail(log, DJ_ERROR_INVALID_ARGUMENT, "dj_recorder_timings: count is NULL");
    if (!kept->pool)
        return dj_fail(log, DJ_ERROR_UNSUPPORTED,
                       "dj_recorder_timings: dj_recorder_params.timings was not on");
    if (recorder->state == RECORDING || recorder->state == SUBMITTED)
        return state_fail(recorder, "dj_recorder_timings", "have been waited for");
    const dj_result result = dj_context_check(recorder->context);
    if (result != DJ_SUCCESS)
        return result;
    const uint32_t room = *count;
    const bool fits = !timings || room >= kept->count;
    const dj_result read =
        timings && fits ? dj_timings_read(recorder->context, kept, timings) : DJ_SUCCESS;
    if (read != DJ_SUCCESS)
        return read;
    *count = kept->count;
    return fits ? DJ_SUCCESS
                : dj_fail(log, DJ_ERROR_LIMIT,
                          "dj_recorder_timings: room for %u, and there are %u dispatches", room,
                          kept->count);
}

dj_result dj_recorder_wait(dj_recorder *recorder, uint64_t timeout_ns)
{
    if (!recorder)
        return DJ_ERROR_INVALID_ARGUMENT;
    struct dj_context *context = recorder->context;
    if (recorder->state != SUBMITTED)
        return dj_context_check(context);
    const VkResult code = context->vk.device.vkWaitForFences(context->device, 1, &recorder->fence,
                                                             VK_TRUE, timeout_ns);
    const dj_result result = dj_context_waited(context, code);
    if (code != VK_SUCCESS && result == DJ_ERROR_DEVICE_LOST)
        dj_context_idle(context);
    if (code == VK_SUCCESS || result == DJ_ERROR_DEVICE_LOST)
        recorder->state = IDLE;
    if (result == DJ_SUCCESS && code == VK_TIMEOUT)
        return dj_fail(&context->log, DJ_ERROR_TIMEOUT,
                       "dj_recorder_wait: not done after %" PRIu64 " ns", timeout_ns);
    return result;
}

dj_result dj_recorder_reserve(struct dj_recorder *recorder, uint32_t dispatches, uint64_t ring_size)
{
    const struct dj_log *log = &recorder->context->log;
    if (!is_recording(recorder))
        return state_fail(recorder, "recording a call", "be recording");
    if (dispatches > recorder->dispatches - recorder->dispatches_used)
        return dj_fail(log, DJ_ERROR_RECORDER_FULL,
                       "the call takes %u dispatches, and the recorder has %u of %u left",
                       dispatches, recorder->dispatches - recorder->dispatches_used,
                       recorder->dispatches);
    if (ring_size > recorder->ring->size - recorder->ring_used)
        return dj_fail(log, DJ_ERROR_RECORDER_FULL,
                       "the call takes %" PRIu64 " bytes of ring, and the recorder has %" PRIu64
                       " of %" PRIu64 " left",
                       ring_size, recorder->ring->size - recorder->ring_used, recorder->ring->size);
    return DJ_SUCCESS;
}

/* Whether there is something to bind. */
static bool is_bound(const struct dj_context *context, const struct dj_binding *binding)
{
    if (!binding->buffer || !binding->buffer->handle)
        return false;
    assert(binding->range > 0);
    assert(binding->offset % context->info.offset_alignment == 0);
    (void)context;
    return true;
}

/* Binds by push descriptors, or by the next preallocated set. */
static void bind_descriptors(struct dj_recorder *recorder, const struct dj_binding *bindings,
                             uint32_t binding_count)
{
    const struct dj_context *context = recorder->context;
    const struct VolkDeviceTable *vk = &context->vk.device;
    const VkDescriptorSet set =
        context->push_descriptors ? VK_NULL_HANDLE : recorder->sets[recorder->dispatches_used];
    VkDescriptorBufferInfo infos[DJ_BINDINGS];
    VkWriteDescriptorSet writes[DJ_BINDINGS];
    uint32_t count = 0;
    for (uint32_t i = 0; i < binding_count; i++) {
        if (!is_bound(context, &bindings[i]))
            continue;
        assert(bindings[i].range <= context->info.max_storage_range);
        infos[count] = (VkDescriptorBufferInfo){bindings[i].buffer->handle, bindings[i].offset,
                                                bindings[i].range};
        writes[count] = (VkWriteDescriptorSet){
            .sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
            .dstSet = set,
            .dstBinding = i,
            .descriptorCount = 1,
            .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
            .pBufferInfo = &infos[count],
        };
        count++;
    }
    if (context->push_descriptors) {
        if (count > 0)
            vk->vkCmdPushDescriptorSetKHR(recorder->command, VK_PIPELINE_BIND_POINT_COMPUTE,
                                          context->pipeline_layout, 0, count, writes);
        return;
    }
    vk->vkUpdateDescriptorSets(context->device, count, writes, 0, NULL);
    vk->vkCmdBindDescriptorSets(recorder->command, VK_PIPELINE_BIND_POINT_COMPUTE,
                                context->pipeline_layout, 0, 1, &set, 0, NULL);
}

/* Fills the dispatch's table of addresses and returns its own. */
static VkDeviceAddress bind_addresses(struct dj_recorder *recorder,
                                      const struct dj_binding *bindings, uint32_t binding_count)
{
    struct address_table table = {{0}};
    for (uint32_t i = 0; i < binding_count; i++) {
        if (is_bound(recorder->context, &bindings[i])) {
            assert(bindings[i].buffer->address != 0);
            table.of[i] = bindings[i].buffer->address + bindings[i].offset;
            assert(table.of[i] % 4 == 0); /* what bindings.glsl promises */
        }
    }
    const uint64_t at = recorder->dispatches_used * sizeof(table);
    memcpy((char *)recorder->addresses->mapped + at, &table, sizeof(table));
    return recorder->addresses->address + at;
}

void dj_recorder_dispatch(struct dj_recorder *recorder, struct dj_pipeline pipeline,
                          const struct dj_binding *bindings, uint32_t binding_count,
                          const void *push, uint32_t push_size, const uint32_t groups[3])
{
    const struct dj_context *context = recorder->context;
    const struct VolkDeviceTable *vk = &context->vk.device;
    assert(is_recording(recorder) && recorder->dispatches_used < recorder->dispatches);
    assert(binding_count <= DJ_BINDINGS && push_size <= DJ_PUSH_BYTES && push_size % 4 == 0);
    for (uint32_t i = 0; i < 3; i++)
        assert(groups[i] > 0 && groups[i] <= context->info.max_workgroups[i]);

    vk->vkCmdBindPipeline(recorder->command, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline.handle);
    char constants[DJ_PUSH_BYTES] = {0};
    if (pipeline.addressed) {
        assert(push_size <= DJ_ADDRESSES_OFFSET);
        const VkDeviceAddress table = bind_addresses(recorder, bindings, binding_count);
        if (push_size > 0)
            memcpy(constants, push, push_size);
        memcpy(constants + DJ_ADDRESSES_OFFSET, &table, sizeof(table));
        push = constants;
        push_size = DJ_PUSH_BYTES;
    } else {
        bind_descriptors(recorder, bindings, binding_count);
    }
    if (push_size > 0)
        vk->vkCmdPushConstants(recorder->command, context->pipeline_layout,
                               VK_SHADER_STAGE_COMPUTE_BIT, 0, push_size, push);
    vk->vkCmdDispatch(recorder->command, groups[0], groups[1], groups[2]);
    recorder->dispatches_used++;
    dj_timings_add(context, &recorder->timings, recorder->command, pipeline.kernel);
}

/* A memory barrier; no access masks make it one of execution alone. */
static void barrier(struct dj_recorder *recorder, VkPipelineStageFlags from, VkAccessFlags written,
                    VkPipelineStageFlags to, VkAccessFlags used)
{
    const VkMemoryBarrier memory = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = written,
        .dstAccessMask = used,
    };
    recorder->context->vk.device.vkCmdPipelineBarrier(recorder->command, from, to, 0,
                                                      written ? 1 : 0, &memory, 0, NULL, 0, NULL);
}

void dj_recorder_write_to_read(struct dj_recorder *recorder)
{
    barrier(recorder, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_WRITE_BIT,
            VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
            VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT);
}

void dj_recorder_barriers_before(struct dj_recorder *recorder, uint32_t barriers)
{
    if (barriers & DJ_BARRIER_BEFORE)
        barrier(recorder,
                VK_PIPELINE_STAGE_HOST_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT |
                    VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
                VK_ACCESS_HOST_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT |
                    VK_ACCESS_SHADER_WRITE_BIT,
                VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
                VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT);
}

void dj_recorder_barriers_after(struct dj_recorder *recorder, uint32_t barriers)
{
    VkPipelineStageFlags stages = 0;
    VkAccessFlags accesses = 0;
    if (barriers & DJ_BARRIER_AFTER_COMPUTE) {
        stages |= VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT;
        accesses |= VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT;
    }
    if (barriers & DJ_BARRIER_AFTER_HOST) {
        stages |= VK_PIPELINE_STAGE_HOST_BIT;
        accesses |= VK_ACCESS_HOST_READ_BIT;
    }
    if (stages)
        barrier(recorder, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_WRITE_BIT, stages,
                accesses);
}

dj_result dj_recorder_barrier(dj_recorder *recorder, uint32_t barriers)
{
    if (!recorder)
        return DJ_ERROR_INVALID_ARGUMENT;
    if (barriers & ~(uint32_t)DJ_BARRIERS)
        return dj_fail(&recorder->context->log, DJ_ERROR_INVALID_ARGUMENT,
                       "dj_recorder_barrier: barriers is 0x%x, and enum dj_barrier has 0x%x",
                       barriers, DJ_BARRIERS);
    if (!is_recording(recorder))
        return state_fail(recorder, "dj_recorder_barrier", "be recording");
    dj_recorder_barriers_before(recorder, barriers);
    dj_recorder_barriers_after(recorder, barriers);
    return DJ_SUCCESS;
}

uint64_t dj_recorder_ring_size(const struct dj_context *context, uint64_t size)
{
    return dj_round_up(size, context->info.offset_alignment);
}

struct dj_binding dj_recorder_ring_push(struct dj_recorder *recorder, const void *data,
                                        uint64_t size)
{
    const uint64_t take = dj_recorder_ring_size(recorder->context, size);
    assert(is_recording(recorder) && size > 0);
    assert(take <= recorder->ring->size - recorder->ring_used);
    const struct dj_binding binding = {
        .buffer = recorder->ring, .offset = recorder->ring_used, .range = size};
    memcpy((char *)recorder->ring->mapped + recorder->ring_used, data, size);
    recorder->ring_used += take;
    return binding;
}

void *dj_recorder_work(struct dj_recorder *recorder, uint64_t size)
{
    assert(size <= 2 * recorder->ring->size);
    (void)size;
    return recorder->work;
}

struct dj_context *dj_recorder_context(const struct dj_recorder *recorder)
{
    return recorder->context;
}
