/* SPDX-License-Identifier: MIT */
#include "calibration.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

struct dj_calibration *dj_calibration_allocate(uint32_t map, uint32_t dim, uint32_t features,
                                               uint32_t heads)
{
    const size_t numbers = (size_t)(heads > 0 ? heads : 1) * features;
    const size_t directions = map == DJ_MAP_PFF ? numbers * dim : 0;
    const size_t arrays = (2 * numbers + directions) * sizeof(float);
    struct dj_calibration *const made = calloc(1, sizeof *made + arrays);
    if (made == NULL)
        return NULL;
    float *const memory = (float *)(made + 1);
    *made = (struct dj_calibration){
        .map = map,
        .dim = dim,
        .features = features,
        .heads = heads,
        .frequencies = memory,
        .weights = memory + numbers,
        .directions = directions > 0 ? memory + 2 * numbers : NULL,
    };
    return made;
}

void dj_calibration_destroy(struct dj_calibration **calibration)
{
    if (calibration == NULL)
        return;
    free(*calibration);
    *calibration = NULL;
}

dj_result dj_calibration_check_shape(const struct dj_log *report, dj_result result,
                                     const char *name, uint32_t map, uint64_t dim,
                                     uint64_t features, uint64_t heads)
{
    if (dim < 4 || dim > 256 || dim % 4 != 0)
        return dj_fail(report, result, "%s: dim %" PRIu64 " is not 4 to 256 in steps of 4", name,
                       dim);
    const uint64_t most = map == DJ_MAP_WDCF ? 4 * dim : 1024;
    if (features < 4 || features > most || features % 4 != 0)
        return dj_fail(report, result,
                       "%s: features %" PRIu64 " is not 4 to %" PRIu64 " in steps of 4", name,
                       features, most);
    if (heads > 65535)
        return dj_fail(report, result, "%s: heads %" PRIu64 " is above 65535", name, heads);
    return DJ_SUCCESS;
}

uint64_t dj_first_not_finite(const float *x, uint64_t count)
{
    uint64_t i = 0;
    while (i < count && isfinite(x[i]))
        i++;
    return i;
}
