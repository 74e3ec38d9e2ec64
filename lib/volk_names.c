/* SPDX-License-Identifier: MIT */
/* Not compiled but preprocessed: the build lists the names that volk declares. */
#define VK_NO_PROTOTYPES
#include <volk.h>
