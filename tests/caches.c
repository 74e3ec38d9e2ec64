/* SPDX-License-Identifier: MIT */
#include "caches.h"

#include "../lib/vkfft.h"

#include <stdio.h>
#include <string.h>

char lines[LINES][256];
uint32_t line_count;
static uint32_t levels[LINES];

static void keep_line(void *user, uint32_t level, const char *message)
{
    (void)user;
    const uint32_t i = line_count++ % LINES;
    snprintf(lines[i], sizeof lines[i], "%s", message);
    levels[i] = level;
}

bool logged(uint32_t level, const char *text)
{
    for (uint32_t i = 0; i < line_count && i < LINES; i++) {
        if (levels[i] == level && strstr(lines[i], text))
            return true;
    }
    return false;
}

dj_context *context_on(uint32_t device, const void *cache, uint64_t size)
{
    char index[16];
    struct dj_device_info info;
    HARNESS_OK(dj_context_device(harness_context(device), &info));
    snprintf(index, sizeof index, "%u", info.index);
    const struct dj_context_params params = {
        .device = index,
        .log = keep_line,
        .log_level = DJ_LOG_INFO,
        .validation = harness_context(device)->messenger ? DJ_ON : DJ_OFF,
        .cache = cache,
        .cache_size = size,
    };
    dj_context *context;
    line_count = 0;
    HARNESS_OK(dj_context_create(&params, &context));
    return context;
}

void done(dj_context **context)
{
    const uint64_t messages = dj_context_validation_count(*context);
    dj_context_destroy(context);
    assert_int_equal(messages, 0);
}

static PFN_vkQueueSubmit real_submit;
static uint32_t submissions;

static VKAPI_ATTR VkResult VKAPI_CALL count_submit(VkQueue queue, uint32_t count,
                                                   const VkSubmitInfo *submits, VkFence fence)
{
    submissions++;
    return real_submit(queue, count, submits, fence);
}

static uint64_t compilations;

void watch(dj_context *context)
{
    if (context->vk.device.vkQueueSubmit != count_submit)
        real_submit = context->vk.device.vkQueueSubmit;
    context->vk.device.vkQueueSubmit = count_submit;
    submissions = 0;
    compilations = dj_vkfft_compilations();
}

void assert_took(uint64_t kernels, uint32_t trials)
{
    assert_int_equal(dj_vkfft_compilations() - compilations, DJ_HAVE_VKFFT ? kernels : 0);
    assert_int_equal(submissions, DJ_HAVE_VKFFT || DJ_HAVE_PREBUILT ? trials : 0);
}

dj_dct *plan(dj_context *context, uint32_t type, uint32_t length)
{
    dj_dct *made;
    HARNESS_OK(
        dj_dct_create(context, &(struct dj_dct_params){.type = type, .length = length}, &made));
    return made;
}

void make_plans(dj_context *context)
{
    static const uint32_t lengths[] = {8, 12, 16, 68};
    for (uint32_t i = 0; i < 4; i++) {
        dj_dct *made = plan(context, DJ_DCT_2 + i % 3, lengths[i]);
        dj_dct_destroy(&made);
    }
}
