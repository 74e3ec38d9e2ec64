/* SPDX-License-Identifier: MIT */
/* What every GPU test shares: a context per device found, random data, errors, and the rule that a
 * message of the validation layer is a failure. */
#ifndef DJ_TESTS_HARNESS_H
#define DJ_TESTS_HARNESS_H

#include <dijiang/dijiang.h>

/* cmocka wants these before it */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>

/* What harness_poisoned fills with: a quiet NaN with a payload that no arithmetic makes. */
#define HARNESS_POISON 0x7fc0dea1u

/* cmocka group set-up and tear-down: a context on every suitable device (validation on where the
 * layer is installed; a line says if it is not, and the test fails if DIJIANG_TEST_VALIDATION=1
 * demands it). DIJIANG_DEVICE, if set, restricts the run to that device. They bind by descriptors,
 * because checks of synchronisation do not see device addresses; by these with
 * DIJIANG_TEST_ADDRESSES=1. Tear-down destroys them.
 *
 * DIJIANG_TEST_CONTEXT says whose contexts: "own" (the default), or on an engine's device, where
 * everything that dj_device_wants names is enabled (device addresses are then used unless
 * DIJIANG_TEST_ADDRESSES=0): "import", nothing is: "bare", or that is told to be poorer than it is:
 * shim_mode() has the names. Then the tests also fail if the library exceeds what the device
 * promised, or leaves a Vulkan object alive. */
int harness_setup(void **state);
int harness_teardown(void **state);

/* The program's exit status, given how many tests failed: tear-down may have failed, too. */
int harness_status(int failed_tests);

/* cmocka per-test tear-down: fails if the validation layer said anything during the test. */
int harness_check_validation(void **state);

/* Whether contexts have a use of dj_context_uses; else prints that all cases are skipped, and why.
 */
bool harness_uses(uint32_t use, const char *reason);

/* Leaves a case, which is then reported as skipped, with the reason. */
__attribute__((format(printf, 1, 2))) void harness_skip(const char *format, ...);

/* cmocka per-test set-up: starts the random numbers again from the printed seed, so that a test
 * fails alone (DIJIANG_TEST_FILTER) as it failed among others. */
int harness_reseed(void **state);

/* The test table's rows: unit test with both. */
#define HARNESS_TEST(function) \
    cmocka_unit_test_setup_teardown(function, harness_reseed, harness_check_validation)

/* Prints the seed; has the validation layer check best practices, too (unless VK_LAYER_ENABLES is
 * set, which says what else it does); chooses TAP, and the tests whose names match the wildcards of
 * DIJIANG_TEST_FILTER, and not those of DIJIANG_TEST_SKIP, if set. */
void harness_prepare(void);

/* Runs a test program: TAP on standard output, all tests of the table between set-up and tear-
 * down. */
#define HARNESS_MAIN(tests) \
    int main(void) \
    { \
        harness_prepare(); \
        return harness_status(cmocka_run_group_tests(tests, harness_setup, harness_teardown)); \
    }

/* The contexts. Loop: for (uint32_t i = 0; i < harness_device_count(); i++) harness_context(i) */
uint32_t harness_device_count(void);
dj_context *harness_context(uint32_t i);

/* Whether these contexts store single 2-byte elements: the device can, and DIJIANG_16BIT_STORAGE
 * does not say 0. */
bool harness_16bit_storage(dj_context *context);

/* The log callback of the harness's contexts, for others. */
void harness_log_line(void *user, uint32_t level, const char *message);

/* x is a result that is NaN, which what was never written, the poison, is as well. */
void harness_assert_nan(float x);

/* FNV-1a over the words of n floats, from HARNESS_HASH or what others came to. */
#define HARNESS_HASH 0xcbf29ce484222325u
uint64_t harness_hash(const float *x, size_t n, uint64_t hash);

/* The last error line logged on any harness context ("" if none since harness_log_clear); for tests
 * of error paths. */
const char *harness_log_last(void);
void harness_log_clear(void);

/* Random numbers: splitmix64 from a seed that is printed once (DIJIANG_TEST_SEED sets it). */
uint64_t harness_random(void);
double harness_uniform(void); /* [0, 1) */
double harness_normal(void);  /* N(0, 1) */
void harness_fill_normal(float *x, size_t n, double sigma);

/* rms(got - want) / rms(want), in double; infinite if any value is NaN or Inf; 0 if n is 0; the
 * plain rms of got if want is all zero. */
double harness_error(const float *got, const double *want, size_t n);

/* Fails with "<what>: error E exceeds bound B" unless error <= bound. */
void harness_assert_within(double error, double bound, const char *what);

/* A buffer with contents, or with a poison pattern (NaN words); asserts success. */
dj_buffer *harness_buffer(dj_context *context, const void *data, uint64_t size);
dj_buffer *harness_poisoned(dj_context *context, uint64_t size);
/* Reads a buffer's range; asserts success. */
void harness_read(dj_buffer *buffer, uint64_t offset, void *data, uint64_t size);
/* Asserts that a range still holds the poison pattern. */
void harness_assert_poisoned(dj_buffer *buffer, uint64_t offset, uint64_t size);

/* Asserts result == DJ_SUCCESS, printing name and last log line if not. */
#define HARNESS_OK(call) harness_assert_result((call), DJ_SUCCESS, #call, __FILE__, __LINE__)
/* Asserts that the call returns that result. */
#define HARNESS_RESULT(call, want) harness_assert_result((call), (want), #call, __FILE__, __LINE__)
void harness_assert_result(dj_result got, dj_result want, const char *call, const char *file,
                           int line);

/* The path of a file of tests/data/; static storage, overwritten by the next call. */
const char *harness_data(const char *name);

#endif
