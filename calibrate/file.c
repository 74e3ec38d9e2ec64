/* SPDX-License-Identifier: MIT */
#include "calibration.h"
#include "safetensors.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char FORMAT[] = "dijiang-calibration", FILE_VERSION[] = "1";

enum {
    T,
    WEIGHTS,
    DIRECTIONS,
    ARRAYS
};
static const char *const array_names[ARRAYS] = {"frequency_weights", "feature_weights",
                                                "feature_directions"};

/* Elements of one head's part of an array; 0: the map has no such array. */
static uint64_t part(const struct dj_calibration *c, int array)
{
    if (array == DIRECTIONS)
        return c->map == DJ_MAP_PFF ? (uint64_t)c->features * c->dim : 0;
    return c->features;
}

static uint64_t sets_of(const struct dj_calibration *c)
{
    return c->heads > 0 ? c->heads : 1;
}

/* Numbers that dj_features_create would take. name: of what, for the log. */
static dj_result check_numbers(const struct dj_log *report, dj_result result,
                               const struct dj_calibration *c, const char *name)
{
    const float *const arrays[ARRAYS] = {c->frequencies, c->weights, c->directions};
    for (int i = 0; i < ARRAYS; i++) {
        const uint64_t count = part(c, i) * sets_of(c);
        const uint64_t at = dj_first_not_finite(arrays[i], count);
        if (at < count)
            return dj_fail(report, result, "%s: %s[%" PRIu64 "] is %g", name, array_names[i], at,
                           (double)arrays[i][at]);
    }
    for (uint64_t h = 0; h < sets_of(c); h++) {
        float most = 0.0f;
        for (uint32_t i = 0; i < c->features; i++) {
            const float weight = c->weights[h * c->features + i];
            if (weight < 0.0f)
                return dj_fail(report, result, "%s: weight %u of head %" PRIu64 " is %g", name, i,
                               h, (double)weight);
            most = weight > most ? weight : most;
        }
        if (most == 0.0f)
            return dj_fail(report, result, "%s: all weights of head %" PRIu64 " are 0", name, h);
    }
    return DJ_SUCCESS;
}

static dj_result check_saved(const struct dj_log *report, const struct dj_calibration *c)
{
    if (!dj_reserved_is_zero(report, c->reserved, 4, "dj_calibration"))
        return DJ_ERROR_VERSION;
    if (c->padding != 0)
        return dj_fail(report, DJ_ERROR_VERSION, "dj_calibration.padding is %u and must be 0",
                       c->padding);
    if (c->map != DJ_MAP_WDCF && c->map != DJ_MAP_PFF)
        return dj_fail(report, DJ_ERROR_INVALID_ARGUMENT,
                       "calibration: map %u is neither WDCF nor PFF", c->map);
    if (c->key_normalise != DJ_ON && c->key_normalise != DJ_OFF)
        return dj_fail(report, DJ_ERROR_INVALID_ARGUMENT,
                       "calibration: key_normalise %u is neither DJ_ON nor DJ_OFF",
                       c->key_normalise);
    if (c->frequencies == NULL || c->weights == NULL ||
        (c->directions != NULL) != (c->map == DJ_MAP_PFF))
        return dj_fail(report, DJ_ERROR_INVALID_ARGUMENT,
                       "calibration: an array of the map is NULL, or WDCF has directions");
    const dj_result result = dj_calibration_check_shape(
        report, DJ_ERROR_INVALID_ARGUMENT, "calibration", c->map, c->dim, c->features, c->heads);
    if (result != DJ_SUCCESS)
        return result;
    return check_numbers(report, DJ_ERROR_INVALID_ARGUMENT, c, "calibration");
}

dj_result dj_calibration_save(const struct dj_calibration *calibration, const char *path,
                              dj_log_fn log, void *log_user)
{
    const struct dj_log report = {log, log_user, DJ_LOG_ERROR};
    if (calibration == NULL || path == NULL)
        return dj_fail(&report, DJ_ERROR_INVALID_ARGUMENT, "dj_calibration_save: %s is NULL",
                       path == NULL ? "path" : "calibration");
    const dj_result result = check_saved(&report, calibration);
    if (result != DJ_SUCCESS)
        return result;

    const struct dj_calibration *const c = calibration;
    char dim[12];
    snprintf(dim, sizeof dim, "%" PRIu32, c->dim);
    const struct safetensors_metadata metadata[] = {
        {"format", FORMAT},
        {"version", FILE_VERSION},
        {"map", dj_map_name(c->map)},
        {"dim", dim},
        {"key_normalise", c->key_normalise == DJ_ON ? "on" : "off"},
    };
    /* without heads the first dimension is left out */
    const uint64_t shape[3] = {c->heads, c->features, c->dim};
    const uint32_t skip = c->heads == 0 ? 1 : 0;
    const struct safetensors_output tensors[ARRAYS] = {
        {array_names[T], 2 - skip, shape + skip, c->frequencies},
        {array_names[WEIGHTS], 2 - skip, shape + skip, c->weights},
        {array_names[DIRECTIONS], 3 - skip, shape + skip, c->directions},
    };
    struct safetensors_error error;
    if (!safetensors_write_described(path, metadata, sizeof metadata / sizeof *metadata, tensors,
                                     c->map == DJ_MAP_PFF ? 3 : 2, NULL, &error))
        return dj_fail(&report, DJ_ERROR_FILE, "%s: %s", path, error.text);
    return DJ_SUCCESS;
}

/* A file being read. */
struct reading {
    struct dj_log report;
    const char *path;
    struct safetensors *file;
};

/* The metadata's value of that key, and whether it is wanted where a value is given. */
static const char *describe(const struct reading *reading, const char *key, const char *wanted)
{
    const char *const value = safetensors_find_metadata(reading->file, key);
    if (value == NULL || (wanted != NULL && strcmp(value, wanted) != 0)) {
        dj_fail(&reading->report, DJ_ERROR_FILE,
                wanted != NULL ? "%s: metadata '%s' is not '%s'" : "%s: metadata '%s' is missing%s",
                reading->path, key, wanted != NULL ? wanted : "");
        return NULL;
    }
    return value;
}

/* One of two values: 0 or 1, or -1 with a line logged. */
static int choose(const struct reading *reading, const char *key, const char *first,
                  const char *second)
{
    const char *const value = describe(reading, key, NULL);
    if (value == NULL)
        return -1;
    if (strcmp(value, first) == 0)
        return 0;
    if (strcmp(value, second) == 0)
        return 1;
    dj_fail(&reading->report, DJ_ERROR_FILE, "%s: metadata '%s' is neither '%s' nor '%s'",
            reading->path, key, first, second);
    return -1;
}

/* map, dim, features, heads and key_normalise. */
static dj_result read_shape(const struct reading *reading, struct dj_calibration *c)
{
    if (describe(reading, "format", FORMAT) == NULL ||
        describe(reading, "version", FILE_VERSION) == NULL)
        return DJ_ERROR_FILE;
    const int map = choose(reading, "map", dj_map_name(DJ_MAP_WDCF), dj_map_name(DJ_MAP_PFF));
    const int key_normalise = choose(reading, "key_normalise", "on", "off");
    const char *const dim = describe(reading, "dim", NULL);
    if (map < 0 || key_normalise < 0 || dim == NULL)
        return DJ_ERROR_FILE;
    const struct safetensors_tensor *const t = safetensors_find(reading->file, array_names[T]);
    if (t == NULL || (t->rank != 1 && t->rank != 2))
        return dj_fail(&reading->report, DJ_ERROR_FILE,
                       "%s: tensor '%s' is missing or not of 1 or 2 dimensions", reading->path,
                       array_names[T]);
    char *end;
    const unsigned long value = strtoul(dim, &end, 10);
    if (*dim < '0' || *dim > '9' || *end != '\0')
        return dj_fail(&reading->report, DJ_ERROR_FILE, "%s: metadata 'dim' is not a number",
                       reading->path);
    const uint64_t heads = t->rank == 2 ? t->shape[0] : 0, features = t->shape[t->rank - 1];
    c->map = map == 0 ? DJ_MAP_WDCF : DJ_MAP_PFF;
    const dj_result result = dj_calibration_check_shape(
        &reading->report, DJ_ERROR_FILE, reading->path, c->map, value, features, heads);
    if (result != DJ_SUCCESS)
        return result;
    if (t->rank == 2 && heads == 0)
        return dj_fail(&reading->report, DJ_ERROR_FILE, "%s: no heads", reading->path);
    c->dim = (uint32_t)value;
    c->features = (uint32_t)features;
    c->heads = (uint32_t)heads;
    c->key_normalise = key_normalise == 0 ? DJ_ON : DJ_OFF;
    return DJ_SUCCESS;
}

static bool has_shape(const struct safetensors_tensor *tensor, const struct dj_calibration *c,
                      int array)
{
    const uint64_t want[3] = {c->heads, c->features, c->dim};
    const uint32_t skip = c->heads == 0 ? 1 : 0, rank = (array == DIRECTIONS ? 3 : 2) - skip;
    if (tensor->rank != rank || strcmp(tensor->type, "F32") != 0)
        return false;
    for (uint32_t i = 0; i < rank; i++)
        if (tensor->shape[i] != want[skip + i])
            return false;
    return true;
}

static dj_result read_arrays(const struct reading *reading, struct dj_calibration *c)
{
    float *const arrays[ARRAYS] = {c->frequencies, c->weights, c->directions};
    for (int i = 0; i < ARRAYS; i++) {
        if (part(c, i) == 0)
            continue;
        const struct safetensors_tensor *const tensor =
            safetensors_find(reading->file, array_names[i]);
        if (tensor == NULL || !has_shape(tensor, c, i))
            return dj_fail(&reading->report, DJ_ERROR_FILE,
                           "%s: tensor '%s' is missing, not F32 or not of the other "
                           "tensors' and the metadata's shape",
                           reading->path, array_names[i]);
        struct safetensors_error error;
        if (!safetensors_read(reading->file, tensor, arrays[i], &error))
            return dj_fail(&reading->report, DJ_ERROR_FILE, "%s: %s", reading->path, error.text);
    }
    return check_numbers(&reading->report, DJ_ERROR_FILE, c, reading->path);
}

dj_result dj_calibration_load(const char *path, dj_log_fn log, void *log_user,
                              struct dj_calibration **calibration)
{
    if (calibration != NULL)
        *calibration = NULL;
    struct reading reading = {{log, log_user, DJ_LOG_ERROR}, path, NULL};
    if (path == NULL || calibration == NULL)
        return dj_fail(&reading.report, DJ_ERROR_INVALID_ARGUMENT,
                       "dj_calibration_load: %s is NULL", path == NULL ? "path" : "calibration");
    struct safetensors_error error;
    struct dj_calibration shape = {0}, *made = NULL;
    reading.file = safetensors_open(path, &error);
    if (reading.file == NULL)
        return dj_fail(&reading.report, DJ_ERROR_FILE, "%s: %s", path, error.text);
    dj_result result = read_shape(&reading, &shape);
    if (result != DJ_SUCCESS)
        goto done;
    made = dj_calibration_allocate(shape.map, shape.dim, shape.features, shape.heads);
    if (made == NULL) {
        result = dj_fail(&reading.report, DJ_ERROR_OUT_OF_HOST_MEMORY,
                         "%s: no memory for its numbers", path);
        goto done;
    }
    made->key_normalise = shape.key_normalise;
    result = read_arrays(&reading, made);

done:
    safetensors_close(&reading.file);
    if (result == DJ_SUCCESS)
        *calibration = made;
    else
        dj_calibration_destroy(&made);
    return result;
}
