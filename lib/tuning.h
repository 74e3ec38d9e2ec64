/* SPDX-License-Identifier: MIT */
/* What suits a kind of device. */
#ifndef DJ_LIB_TUNING_H
#define DJ_LIB_TUNING_H

#include <stdbool.h>
#include <stdint.h>

struct dj_tuning {
    uint32_t step_threads;       /* invocations of the step kernel: a power of two */
    uint32_t step_ahead;         /* features whose sums that has under way at once: 1, 2, 4 */
    uint32_t dense_ahead;        /* rows whose elements a product of rows has so: 1, 2, 4, 8 */
    uint32_t sum_ahead;          /* loads that an invocation of a tile's sums has so: 1 to 8 */
    uint32_t output_ahead;       /* ... of its outputs: 1, 2, 4 */
    uint32_t scan_ahead;         /* tiles whose numbers the scan has under way at once */
    uint32_t scan_ahead_chunked; /* ... where those are segments, of which there are few */
    bool scan_fours;             /* an invocation of it has four columns side by side */
    uint32_t two_strips;         /* heads from which on a resident workgroup has two strips */
    uint32_t softmax_rows; /* of queries to a lane of exact softmax; 0: they are shared by tiles */
    bool resident;         /* sums in registers where that can be, without being asked */
};

struct dj_context;
struct dj_device;

/* Whether calls go in chunks of cooperative matrices without being asked to: where that was
 * measured to be faster (docs/performance.md, "Chunks"). */
bool dj_tuning_chunks(const struct dj_device *device);

/* Whether values go from lane to lane fast: not in 16 lanes that permute, which take turns
 * (docs/performance.md). */
bool dj_tuning_permutes(const struct dj_context *context);

/* Of an enum dj_device_type. */
const struct dj_tuning *dj_tuning_of(uint32_t device_type);

#endif
