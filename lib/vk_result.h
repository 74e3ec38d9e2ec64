/* SPDX-License-Identifier: MIT */
/* The step from VkResult to dj_result. */
#ifndef DJ_LIB_VK_RESULT_H
#define DJ_LIB_VK_RESULT_H

#include "log.h"
#include "vk.h"

/* The result for a VkResult; anything but VK_SUCCESS is logged as "<call>: <name of the code>". */
dj_result dj_vk_result(const struct dj_log *log, VkResult code, const char *call);

#endif
