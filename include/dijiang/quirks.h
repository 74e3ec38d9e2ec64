/* SPDX-License-Identifier: MIT */
/* What drivers are known to get wrong, and what the library does instead. dj_device_info.quirks
 * says which of it concerns a device; dj_context_params.quirks and dj_import_params.quirks switch
 * it, by name. */
#ifndef DIJIANG_QUIRKS_H
#define DIJIANG_QUIRKS_H

#include <dijiang/result.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One row of the table. The strings are static. */
struct dj_quirk {
    const char *name;     /* such as "adreno-float-controls"; kept from version to version */
    const char *devices;  /* which devices and drivers, in words */
    const char *trouble;  /* what goes wrong there */
    const char *without;  /* what the library does without: "push descriptors", "device addresses",
                           * "float controls", "generated transforms", "long submissions" or
                           * "pipeline cache" */
    const char *remedy;   /* what the library does; the results are the same, but for NaN and Inf
                           * without float controls */
    const char *source;   /* who reported it: repository#number on GitHub */
    uint64_t reserved[2]; /* 0 */
};

/* How many rows there are, at most 64. Thread-safe. */
DJ_API uint32_t dj_quirk_count(void);

/* Row number index, bit 1 << index of dj_device_info.quirks. Returns DJ_SUCCESS;
 * DJ_ERROR_INVALID_ARGUMENT (NULL, or an index beyond the last). Thread-safe. */
DJ_API dj_result dj_quirk_get(uint32_t index, struct dj_quirk *quirk);

#ifdef __cplusplus
}
#endif

#endif
