/* SPDX-License-Identifier: MIT */
#include "map.h"

#include "kernels.h"

#include <dijiang/dct.h>

#include <stddef.h>

static const struct dj_map_kind kinds[DJ_MAP_COUNT] = {
    [DJ_MAP_WDCF] = {.name = "wdcf",
                     .projection = DJ_PROJECTION_DCT,
                     .first_transform = DJ_DCT_2,
                     .feature = DJ_FEATURE_EXPONENTIAL,
                     .denominator = DJ_DENOMINATOR_PLAIN,
                     .most_per_dim = 4,
                     .frequencies = true,
                     .weights = true,
                     .exponential = true,
                     .normalised = true},
    [DJ_MAP_SOFTMAX_DCT] = {.name = "softmax-dct",
                            .projection = DJ_PROJECTION_DCT,
                            .first_transform = DJ_DCT_3,
                            .feature = DJ_FEATURE_SOFTMAX,
                            .plain_feature = DJ_FEATURE_SOFTMAX_VALUE,
                            .plain_linear = true,
                            .denominator = DJ_DENOMINATOR_PLAIN,
                            .fixed_per_dim = 1,
                            .frequencies = true,
                            .unit_scale = true},
    [DJ_MAP_PFF] = {.name = "pff",
                    .projection = DJ_PROJECTION_MATRIX,
                    .feature = DJ_FEATURE_EXPONENTIAL,
                    .denominator = DJ_DENOMINATOR_PLAIN,
                    .frequencies = true,
                    .weights = true,
                    .directions = true,
                    .squares = true,
                    .exponential = true,
                    .normalised = true},
    [DJ_MAP_PRF] = {.name = "prf",
                    .projection = DJ_PROJECTION_MATRIX,
                    .feature = DJ_FEATURE_EXPONENTIAL,
                    .denominator = DJ_DENOMINATOR_PLAIN,
                    .weights = true,
                    .directions = true,
                    .squares = true,
                    .exponential = true,
                    .normalised = true},
    [DJ_MAP_PERFORMER_RELU] = {.name = "performer-relu",
                               .projection = DJ_PROJECTION_MATRIX,
                               .feature = DJ_FEATURE_PERFORMER_RELU,
                               .linear = true,
                               .denominator = DJ_DENOMINATOR_PLAIN,
                               .directions = true,
                               .normalised = true},
    [DJ_MAP_COSFORMER] = {.name = "cosformer",
                          .feature = DJ_FEATURE_COSFORMER,
                          .linear = true,
                          .denominator = DJ_DENOMINATOR_CLAMP,
                          .fixed_per_dim = 2,
                          .places = true,
                          .normalised = true},
    [DJ_MAP_ELU] = {.name = "elu",
                    .feature = DJ_FEATURE_ELU,
                    .plain_feature = DJ_FEATURE_ELU_VALUE,
                    .plain_linear = true,
                    .denominator = DJ_DENOMINATOR_PLAIN,
                    .fixed_per_dim = 1,
                    .normalised = true},
    [DJ_MAP_RELU] = {.name = "relu",
                     .feature = DJ_FEATURE_RELU,
                     .linear = true,
                     .denominator = DJ_DENOMINATOR_ZERO,
                     .fixed_per_dim = 1,
                     .normalised = true},
    [DJ_MAP_IDENTITY] = {.name = "identity",
                         .feature = DJ_FEATURE_IDENTITY,
                         .linear = true,
                         .fixed_per_dim = 1,
                         .never_normalised = true},
    [DJ_MAP_SOFTMAX] = {.name = "softmax", .fixed_per_dim = 1, .softmax = true, .normalised = true},
    [DJ_MAP_LINFORMER] = {.name = "linformer",
                          .projections = true,
                          .softmax = true,
                          .normalised = true},
};

const struct dj_map_kind *dj_map_find(uint32_t map)
{
    return map < DJ_MAP_COUNT ? &kinds[map] : NULL;
}

struct dj_feature_range dj_map_range(const struct dj_map_kind *kind, uint32_t dim)
{
    if (kind->fixed_per_dim > 0) {
        const uint32_t fixed = kind->fixed_per_dim * dim;
        return (struct dj_feature_range){fixed, fixed, 1};
    }
    if (kind->softmax) /* Linformer's rows need no alignment */
        return (struct dj_feature_range){1, DJ_MOST_FEATURES, 1};
    const uint32_t most = kind->most_per_dim * dim;
    return (struct dj_feature_range){4, most > 0 ? most : DJ_MOST_FEATURES, 4};
}

bool dj_map_allows(const struct dj_map_kind *kind, uint32_t dim, uint32_t features)
{
    const struct dj_feature_range range = dj_map_range(kind, dim);
    return features >= range.least && features <= range.most && features % range.step == 0;
}

const char *dj_map_name(uint32_t map)
{
    return map < DJ_MAP_COUNT ? kinds[map].name : NULL;
}
