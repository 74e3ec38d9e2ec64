/* SPDX-License-Identifier: MIT */
/* Fitted maps in files. */
#include "files.h"
#include "fitted.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A calibration of random numbers with all arrays, to be destroyed as its own. */
static void random_calibration(struct dj_calibration *c, uint32_t map, uint32_t heads)
{
    static float t[2 * 12], weights[2 * 12], directions[2 * 12 * 8];
    harness_fill_normal(t, 24, 3);
    harness_fill_normal(directions, 2 * 12 * 8, 1);
    for (int i = 0; i < 24; i++)
        weights[i] = i % 3 == 0 ? 0 : (float)harness_uniform() + 0.1f;
    *c = (struct dj_calibration){.map = map,
                                 .dim = 8,
                                 .features = 12,
                                 .heads = heads,
                                 .key_normalise = heads > 0 ? DJ_OFF : DJ_ON,
                                 .frequencies = t,
                                 .weights = weights,
                                 .directions = map == DJ_MAP_PFF ? directions : NULL};
}

static void what_is_saved_is_loaded(void **state)
{
    (void)state;
    for (uint32_t heads = 0; heads <= 2; heads++) {
        for (uint32_t map = DJ_MAP_WDCF; map <= DJ_MAP_PFF; map += DJ_MAP_PFF) {
            struct dj_calibration saved, *loaded;
            random_calibration(&saved, map, heads);
            const size_t before = files_count();
            const char *const path = files_path("map.safetensors");
            HARNESS_OK(dj_calibration_save(&saved, path, fitted_log, NULL));
            HARNESS_OK(dj_calibration_save(&saved, path, NULL, NULL)); /* over what is there */
            assert_int_equal(files_count(), before + 1);
            HARNESS_OK(dj_calibration_load(path, fitted_log, NULL, &loaded));
            assert_int_equal(loaded->map, map);
            assert_int_equal(loaded->dim, 8);
            assert_int_equal(loaded->features, 12);
            assert_int_equal(loaded->heads, heads);
            assert_int_equal(loaded->key_normalise, saved.key_normalise);
            assert_true((loaded->directions != NULL) == (map == DJ_MAP_PFF));
            assert_true(fitted_hash(loaded) == fitted_hash(&saved));
            dj_calibration_destroy(&loaded);
            assert_null(loaded);
            files_remove("map.safetensors");
        }
    }
}

static void a_failed_save_changes_nothing(void **state)
{
    (void)state;
    struct dj_calibration c, *loaded;
    random_calibration(&c, DJ_MAP_PFF, 2);
    const char *const path = files_path("kept.safetensors");
    HARNESS_OK(dj_calibration_save(&c, path, NULL, NULL));
    const uint64_t kept = fitted_hash(&c);
    const size_t count = files_count();
    struct dj_calibration bad[10];
    for (int i = 0; i < 10; i++)
        bad[i] = c;
    float nothing[24] = {0}, wrong[24];
    memcpy(wrong, c.weights, sizeof wrong);
    wrong[23] = -1;
    float nan_directions[2 * 12 * 8] = {0};
    nan_directions[191] = NAN;
    bad[0].map = DJ_MAP_SOFTMAX_DCT;
    bad[1].dim = 6;
    bad[2].features = 1028;
    bad[3].key_normalise = DJ_DEFAULT;
    bad[4].frequencies = NULL;
    bad[5].directions = NULL;
    bad[6].weights = nothing;
    bad[7].weights = wrong;
    bad[8].directions = nan_directions;
    bad[9].map = DJ_MAP_WDCF; /* which has no directions */
    for (int i = 0; i < 10; i++) {
        fitted_lines = 0;
        HARNESS_RESULT(dj_calibration_save(&bad[i], path, fitted_log, NULL),
                       DJ_ERROR_INVALID_ARGUMENT);
        assert_int_equal(fitted_lines, 1);
    }
    bad[0] = c;
    bad[0].reserved[1] = 1;
    HARNESS_RESULT(dj_calibration_save(&bad[0], path, fitted_log, NULL), DJ_ERROR_VERSION);
    HARNESS_RESULT(dj_calibration_save(&c, NULL, fitted_log, NULL), DJ_ERROR_INVALID_ARGUMENT);
    HARNESS_RESULT(dj_calibration_save(NULL, path, fitted_log, NULL), DJ_ERROR_INVALID_ARGUMENT);
    HARNESS_RESULT(dj_calibration_save(&c, files_path("none/x"), fitted_log, NULL), DJ_ERROR_FILE);
    fitted_assert_logged("none/x");
    HARNESS_RESULT(dj_calibration_save(&c, files_path("."), fitted_log, NULL), DJ_ERROR_FILE);
    assert_int_equal(files_count(), count);
    HARNESS_OK(dj_calibration_load(path, NULL, NULL, &loaded));
    assert_true(fitted_hash(loaded) == kept);
    dj_calibration_destroy(&loaded);
}

#define DESCRIBED(version, map, dim, fitted_keys) \
    "{\"__metadata__\":{\"format\":\"dijiang-calibration\"," version map dim fitted_keys \
    "\"x\":\"y\"},"
#define GOOD \
    DESCRIBED("\"version\":\"1\",", "\"map\":\"wdcf\",", "\"dim\":\"4\",", \
              "\"key_normalise\":\"on\",")
#define GOOD_PFF \
    DESCRIBED("\"version\":\"1\",", "\"map\":\"pff\",", "\"dim\":\"4\",", \
              "\"key_normalise\":\"on\",")
#define ARRAY(name, type, shape, offsets) \
    "\"" name "\":{\"dtype\":\"" type "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"
#define BOTH \
    ARRAY("frequency_weights", "F32", "[4]", "[0,16]") \
    "," ARRAY("feature_weights", "F32", "[4]", "[16,32]")

static void bad_files_are_refused(void **state)
{
    (void)state;
    static const float good[8] = {1, 2, 3, 4, 1, 0, 0, 1}, none[8] = {1, 2, 3, 4};
    static const float nan_t[8] = {1, 2, 3, NAN, 1, 0, 0, 1}, negative[8] = {1, 1, 1, 1, 1, -1};
    static const struct {
        const char *header, *text;
        const float *data;
        size_t size;
    } cases[] = {
        {"{" BOTH "}", "'format'", good, 32},
        {"{\"__metadata__\":{\"format\":\"other\"}," BOTH "}", "'format'", good, 32},
        {DESCRIBED("", "\"map\":\"wdcf\",", "\"dim\":\"4\",", "\"key_normalise\":\"on\",") BOTH "}",
         "'version'", good, 32},
        {DESCRIBED("\"version\":\"2\",", "\"map\":\"wdcf\",", "\"dim\":\"4\",",
                   "\"key_normalise\":\"on\",") BOTH "}",
         "'version' is not '1'", good, 32},
        {DESCRIBED("\"version\":\"1\",", "\"map\":\"prf\",", "\"dim\":\"4\",",
                   "\"key_normalise\":\"on\",") BOTH "}",
         "'map' is neither", good, 32},
        {DESCRIBED("\"version\":1,", "\"map\":\"wdcf\",", "\"dim\":\"4\",",
                   "\"key_normalise\":\"on\",") BOTH "}",
         "no string", good, 32},
        {DESCRIBED("\"version\":\"1\",", "\"map\":\"wdcf\",", "", "\"key_normalise\":\"on\",") BOTH
         "}",
         "'dim' is missing", good, 32},
        {DESCRIBED("\"version\":\"1\",", "\"map\":\"wdcf\",", "\"dim\":\"-4\",",
                   "\"key_normalise\":\"on\",") BOTH "}",
         "'dim' is not a number", good, 32},
        {DESCRIBED("\"version\":\"1\",", "\"map\":\"wdcf\",", "\"dim\":\"4x\",",
                   "\"key_normalise\":\"on\",") BOTH "}",
         "'dim' is not a number", good, 32},
        {DESCRIBED("\"version\":\"1\",", "\"map\":\"wdcf\",", "\"dim\":\"18446744073709551620\",",
                   "\"key_normalise\":\"on\",") BOTH "}",
         "dim", good, 32},
        {DESCRIBED("\"version\":\"1\",", "\"map\":\"wdcf\",", "\"dim\":\"5\",",
                   "\"key_normalise\":\"on\",") BOTH "}",
         "dim 5", good, 32},
        {DESCRIBED("\"version\":\"1\",", "\"map\":\"wdcf\",", "\"dim\":\"4\",",
                   "\"key_normalise\":\"1\",") BOTH "}",
         "'key_normalise' is neither", good, 32},
        {GOOD ARRAY("feature_weights", "F32", "[8]", "[0,32]") "}", "'frequency_weights'", good,
         32},
        {GOOD ARRAY("frequency_weights", "F32", "[8]", "[0,32]") "}", "'feature_weights'", good,
         32},
        {GOOD ARRAY("frequency_weights", "F32", "[4]", "[0,16]") "," ARRAY("feature_weights", "F32",
                                                                           "[2,2]", "[16,32]") "}",
         "'feature_weights'", good, 32},
        {GOOD ARRAY("frequency_weights", "F32", "[4]", "[0,16]") "," ARRAY("feature_weights", "F16",
                                                                           "[8]", "[16,32]") "}",
         "'feature_weights'", good, 32},
        {GOOD ARRAY("frequency_weights", "F16", "[4]", "[0,8]") "," ARRAY("feature_weights", "F32",
                                                                          "[4]", "[8,24]") "}",
         "'frequency_weights'", good, 24},
        {GOOD ARRAY("frequency_weights", "F32", "[3]", "[0,12]") "," ARRAY("feature_weights", "F32",
                                                                           "[5]", "[12,32]") "}",
         "features 3", good, 32},
        {GOOD ARRAY("frequency_weights", "F32", "[0,4]",
                    "[0,0]") "," ARRAY("feature_weights", "F32", "[0,4]", "[0,0]") "}",
         "no heads", good, 0},
        {GOOD ARRAY("frequency_weights", "F32", "[1,1,4]",
                    "[0,16]") "," ARRAY("feature_weights", "F32", "[4]", "[16,32]") "}",
         "dimensions", good, 32},
        {GOOD_PFF BOTH "}", "'feature_directions'", good, 32},
        {GOOD BOTH "}", "frequency_weights[3] is nan", nan_t, 32},
        {GOOD BOTH "}", "weight 1 of head 0 is -1", negative, 32},
        {GOOD BOTH "}", "all weights", none, 32},
        {"{}", "'format'", good, 0},
    };
    struct dj_calibration *made;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *const path =
            files_write_tensors("bad", cases[i].header, cases[i].data, cases[i].size);
        fitted_lines = 0;
        made = (struct dj_calibration *)&fitted_lines;
        HARNESS_RESULT(dj_calibration_load(path, fitted_log, NULL, &made), DJ_ERROR_FILE);
        assert_null(made);
        assert_int_equal(fitted_lines, 1);
        fitted_assert_logged(cases[i].text);
        fitted_assert_logged("bad");
    }
    const char *const path = files_write_tensors("good", GOOD BOTH "}", good, 32);
    HARNESS_OK(dj_calibration_load(path, fitted_log, NULL, &made));
    dj_calibration_destroy(&made);
    HARNESS_RESULT(dj_calibration_load(NULL, fitted_log, NULL, &made), DJ_ERROR_INVALID_ARGUMENT);
    HARNESS_RESULT(dj_calibration_load(path, fitted_log, NULL, NULL), DJ_ERROR_INVALID_ARGUMENT);
    HARNESS_RESULT(dj_calibration_load(files_path("absent"), fitted_log, NULL, &made),
                   DJ_ERROR_FILE);
    fitted_assert_logged("absent");
}

/* A file cut off anywhere, or with any one byte changed, is refused or holds valid numbers. */
static void damaged_files_are_refused(void **state)
{
    (void)state;
    struct dj_calibration c, *made;
    random_calibration(&c, DJ_MAP_PFF, 2);
    HARNESS_OK(dj_calibration_save(&c, files_path("whole"), NULL, NULL));
    size_t size;
    char *const bytes = files_read(files_path("whole"), &size);
    for (size_t n = 0; n < size; n++) {
        HARNESS_RESULT(dj_calibration_load(files_write("damaged", bytes, n), NULL, NULL, &made),
                       DJ_ERROR_FILE);
        const char kept = bytes[n];
        bytes[n] = (char)harness_random();
        const dj_result result =
            dj_calibration_load(files_write("damaged", bytes, size), NULL, NULL, &made);
        bytes[n] = kept;
        if (result == DJ_SUCCESS)
            fitted_assert_sane(made);
        else
            assert_int_equal(result, DJ_ERROR_FILE);
        dj_calibration_destroy(&made);
    }
    free(bytes);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(what_is_saved_is_loaded, harness_reseed),
        cmocka_unit_test_setup(a_failed_save_changes_nothing, harness_reseed),
        cmocka_unit_test(bad_files_are_refused),
        cmocka_unit_test_setup(damaged_files_are_refused, harness_reseed),
    };
    harness_prepare();
    return cmocka_run_group_tests(tests, files_setup, files_teardown);
}
