/* SPDX-License-Identifier: MIT */
#include "tuning.h"

#include "context.h"
#include "device.h"

/* On CPU devices the step kernel is fastest with workgroups of one vector, barriers cost what they
 * switch between, and there are fewer processors than heads: from four heads on, features made once
 * are worth more than twice as many workgroups (docs/performance.md). A plan does not know how many
 * sequences it will see. */
static const struct dj_tuning of_cpu = {.step_threads = 8,
                                        .step_ahead = 1,
                                        .dense_ahead = 1,
                                        .sum_ahead = 1,
                                        .output_ahead = 1,
                                        .scan_ahead = 1,
                                        .scan_ahead_chunked = 1,
                                        .two_strips = 4,
                                        .softmax_rows = 2,
                                        .resident = true};
static const struct dj_tuning of_gpu = {.step_threads = 64,
                                        .step_ahead = 4,
                                        .dense_ahead = 8,
                                        .sum_ahead = 8,
                                        .output_ahead = 4,
                                        .scan_ahead = 4,
                                        .scan_ahead_chunked = 16,
                                        .scan_fours = true,
                                        .two_strips = UINT32_MAX,
                                        .resident = false};

bool dj_tuning_chunks(const struct dj_device *device)
{
    return device->chunked && device->driver_id == VK_DRIVER_ID_NVIDIA_PROPRIETARY;
}

bool dj_tuning_permutes(const struct dj_context *context)
{
    return context->subgroups != 16 || context->read_invocation;
}

const struct dj_tuning *dj_tuning_of(uint32_t device_type)
{
    return device_type == DJ_DEVICE_CPU ? &of_cpu : &of_gpu;
}
