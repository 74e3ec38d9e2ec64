/* SPDX-License-Identifier: MIT */
/* The devices of an instance: enumerating, describing, ranking, choosing. */
#ifndef DJ_LIB_DEVICE_H
#define DJ_LIB_DEVICE_H

#include "context.h"

struct dj_device {
    VkPhysicalDevice handle;
    struct dj_device_info info;
    uint32_t queue_family;   /* the first with compute */
    uint32_t driver_id;      /* VkDriverId; 0: the driver does not say */
    uint32_t matrix_lanes;   /* of the subgroups that multiply matrices; 0: none do */
    bool chunked;            /* with them the chunked kernels can be made */
    uint32_t max_subgroups;  /* of a workgroup whose subgroups have a size that is asked for */
    bool full_subgroups;     /* of a size that is asked for, or the only one there is */
    bool halves_preserve;    /* as signed_zero_inf_nan, in float16 */
    bool portability_subset; /* VK_KHR_portability_subset is there and must be enabled */
    bool read_invocation;    /* VK_EXT_shader_subgroup_ballot is there and of use */
};

/* More than any device has; the rest is not looked at. */
enum {
    DJ_MOST_QUEUE_FAMILIES = 64
};

struct dj_queue_families {
    VkQueueFamilyProperties list[DJ_MOST_QUEUE_FAMILIES];
    uint32_t count;
};

void dj_queue_families_get(const struct dj_context *context, VkPhysicalDevice physical,
                           struct dj_queue_families *families);

struct dj_devices {
    struct dj_device *list;
    uint32_t count;
};

/* Fills in all but handle and info.index, which are the caller's, with context's table. An
 * unsuitable device is described as well: info.unsuitable says why. */
dj_result dj_device_describe(const struct dj_context *context, struct dj_device *device);

/* Fills in info.index by handle: its place among the devices of context->instance, UINT32_MAX if it
 * is none of them. */
dj_result dj_device_place(const struct dj_context *context, struct dj_device *device);

/* Describes all devices of context->instance. Frees with dj_devices_finish, also after failure. */
dj_result dj_devices_init(const struct dj_context *context, struct dj_devices *devices);
void dj_devices_finish(struct dj_devices *devices);

/* The device that text names (struct dj_context_params says how), or the best one if it is NULL.
 * source: where text comes from, for the log line. */
dj_result dj_devices_choose(const struct dj_log *log, const struct dj_devices *devices,
                            const char *text, const char *source, const struct dj_device **chosen);

#endif
