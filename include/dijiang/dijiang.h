/* SPDX-License-Identifier: MIT */
/* dijiang: linear attention after the DiJiang paper on any Vulkan device. All headers that need no
 * Vulkan type, but <dijiang/calibrate.h>. */
#ifndef DIJIANG_DIJIANG_H
#define DIJIANG_DIJIANG_H

#include <dijiang/attention.h>
#include <dijiang/buffer.h>
#include <dijiang/cache.h>
#include <dijiang/context.h>
#include <dijiang/dct.h>
#include <dijiang/features.h>
#include <dijiang/quirks.h>
#include <dijiang/recorder.h>
#include <dijiang/result.h>
#include <dijiang/sampling.h>

#endif
