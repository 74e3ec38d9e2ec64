/* SPDX-License-Identifier: MIT */
/* Result codes, and the macros every public header needs. */
#ifndef DIJIANG_RESULT_H
#define DIJIANG_RESULT_H

#include <stdint.h>

#if defined(_WIN32)
#if defined(DJ_BUILDING)
#define DJ_API __declspec(dllexport)
#else
#define DJ_API __declspec(dllimport)
#endif
#elif defined(__GNUC__)
#define DJ_API __attribute__((visibility("default")))
#else
#define DJ_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* One row per outcome: name, value, text. Values are pinned: a number is never given a new meaning.
 * Every function that fails leaves the world as it was, sets its output handle to NULL and logs the
 * rule that was broken with the values that broke it; where there is no object to log through (a
 * NULL context or plan) the result is all there is. What was submitted, or copied, before the
 * failure cannot be taken back: functions that submit, record or copy say what is left of it. */
#define DJ_RESULTS(X) \
    X(DJ_SUCCESS, 0, "success") \
    X(DJ_ERROR_INVALID_ARGUMENT, -1, "an argument breaks a documented rule") \
    X(DJ_ERROR_OUT_OF_HOST_MEMORY, -2, "out of host memory") \
    X(DJ_ERROR_OUT_OF_DEVICE_MEMORY, -3, "out of device memory") \
    X(DJ_ERROR_NO_LOADER, -4, "no Vulkan loader (libvulkan) on this system") \
    X(DJ_ERROR_NO_DEVICE, -5, "no Vulkan device on this system") \
    X(DJ_ERROR_DEVICE_NOT_FOUND, -6, "no device has that index or name") \
    X(DJ_ERROR_DEVICE_UNSUITABLE, -7, "the device lacks something dijiang needs") \
    X(DJ_ERROR_DEVICE_LOST, -8, "the device was lost") \
    X(DJ_ERROR_NO_VALIDATION, -9, "the Vulkan validation layer is not installed") \
    X(DJ_ERROR_UNSUPPORTED, -10, "these options do not combine, or this build lacks them") \
    X(DJ_ERROR_LIMIT, -11, "a size exceeds 64 bits or what the device offers") \
    X(DJ_ERROR_RECORDER_FULL, -12, "the recorder has too few dispatches or too small a ring left") \
    X(DJ_ERROR_RECORDER_STATE, -13, "the recorder is not in the state this call needs") \
    X(DJ_ERROR_TIMEOUT, -14, "the time given ran out") \
    X(DJ_ERROR_COMPILER, -15, "a kernel could not be generated or failed its self-test") \
    X(DJ_ERROR_VERSION, -16, \
      "a reserved field is not zero: a struct was not zeroed, or the program is newer") \
    X(DJ_ERROR_VULKAN, -17, "a Vulkan call failed in a way that has no code of its own") \
    X(DJ_ERROR_SCRATCH, -18, "the scratch memory is missing, too small or misaligned") \
    X(DJ_ERROR_STATELESS, -19, "softmax and Linformer attention have neither state nor decay") \
    X(DJ_ERROR_NORMALISER, -20, "the identity map has no normaliser") \
    X(DJ_ERROR_TOKEN_COUNT, -21, "more tokens than the map allows, or not its fixed number") \
    X(DJ_ERROR_STATE_FORMAT, -22, "a saved state is of another layout, map or shape") \
    X(DJ_ERROR_FILE, -23, "a file cannot be read or written, or breaks a rule of its format") \
    X(DJ_ERROR_NO_QUEUE, -24, "the context was imported without a queue: it cannot submit") \
    X(DJ_ERROR_CACHE, -25, "a cache is damaged, or of another device, driver or version") \
    X(DJ_ERROR_CANCELLED, -26, "the caller's progress function asked to stop")

typedef enum dj_result {
#define DJ_RESULT_ENUM(name, value, text) name = (value),
    DJ_RESULTS(DJ_RESULT_ENUM)
#undef DJ_RESULT_ENUM
} dj_result;

/* The text of a result, in English, without a full stop; "unknown result" for any other number.
 * The string is static. Thread-safe. */
DJ_API const char *dj_result_str(dj_result result);

/* The name of a result, such as "DJ_ERROR_NO_DEVICE". Otherwise as dj_result_str. */
DJ_API const char *dj_result_name(dj_result result);

/* The version of this header. Minor releases add; before 1.0 they may also change. */
#define DJ_VERSION_MAJOR 0
#define DJ_VERSION_MINOR 1
#define DJ_VERSION_PATCH 0

/* The version of the library that runs, as major * 1000000 + minor * 1000 + patch. Thread-safe. */
DJ_API uint32_t dj_version(void);

/* A switch whose zero, and so whose false, is "what the library thinks best" and not off. */
enum dj_switch {
    DJ_DEFAULT = 0,
    DJ_ON = 1,
    DJ_OFF = 2,
};

#ifdef __cplusplus
}
#endif

#endif
