/* SPDX-License-Identifier: MIT */
/* Stands between the library and the loader (-Wl,--wrap=dj_vk_load), so that contexts of its own
 * can be made on the null device too. */
#ifndef DJ_TESTS_NULL_LOADER_H
#define DJ_TESTS_NULL_LOADER_H

#include "null_device.h"

/* Whether dj_context_create finds the null device, which it does at first, or the system's loader.
 * Changed while nobody calls. */
extern bool null_loader;

#endif
