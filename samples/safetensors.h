/* SPDX-License-Identifier: MIT */
/* Files in the safetensors format: an 8-byte little-endian length, a JSON header of that length,
 * and the tensors' bytes without gaps. https://huggingface.co/docs/safetensors describes it. */
#ifndef DJ_SAMPLES_SAFETENSORS_H
#define DJ_SAMPLES_SAFETENSORS_H

#include <stdbool.h>
#include <stdint.h>

/* One line without a newline, free of control characters even if the file's names are not. */
struct safetensors_error {
    char text[320];
};

struct safetensors_tensor {
    char *name;       /* as in the file: may hold any character but NUL */
    const char *type; /* "F32", "BF16", ... */
    uint32_t rank;
    uint64_t *shape;
    uint64_t count;      /* elements; 0 if any dimension is 0 */
    uint64_t begin, end; /* bytes, from the start of the data */
};

/* A member of the header's __metadata__ whose value is a string, as all should be. */
struct safetensors_metadata {
    const char *key, *value;
};

/* An open file. Its header was checked in full: the tensors' names differ, and their bytes match
 * their shapes, lie inside the file, and cover its data exactly once. */
struct safetensors {
    int descriptor;
    uint64_t data_start; /* bytes */
    uint32_t count;
    struct safetensors_tensor *tensors; /* sorted by name */
    uint32_t metadata_count;
    struct safetensors_metadata *metadata; /* sorted by key; no key twice */
};

enum {
    SAFETENSORS_LENGTH_SIZE = 8 /* bytes before the header, which hold its length */
};

/* Fills in error, in printable ASCII. Returns false, so that a check is one statement. */
__attribute__((format(printf, 2, 3))) bool safetensors_fail(struct safetensors_error *error,
                                                            const char *format, ...);

/* Opens a file and checks its header. Returns NULL with error filled in if it cannot be opened or
 * breaks a rule. Allocates no more than the header needs, whatever the shapes say. */
struct safetensors *safetensors_open(const char *path, struct safetensors_error *error);

/* Closes a file and sets *file to NULL, which is accepted. */
void safetensors_close(struct safetensors **file);

/* The tensor of that name, or NULL. */
const struct safetensors_tensor *safetensors_find(const struct safetensors *file, const char *name);

/* The value of that key of the metadata, or NULL. */
const char *safetensors_find_metadata(const struct safetensors *file, const char *key);

/* Reads tensor->count elements of an F32, F16 or BF16 tensor as float32, which holds all of them
 * exactly. Returns false with error filled in for another type, or if the file cannot be read. */
bool safetensors_read(const struct safetensors *file, const struct safetensors_tensor *tensor,
                      float *data, struct safetensors_error *error);

/* An F32 tensor to be written. name: printable ASCII without quotes and backslashes. */
struct safetensors_output {
    const char *name;
    uint32_t rank;
    const uint64_t *shape;
    const float *data;
};

/* Whether a file could be written there, as far as can be told before. Returns false with error
 * filled in. */
bool safetensors_can_write(const char *path, struct safetensors_error *error);

/* Writes a file whole or not at all: a temporary one beside it is renamed once complete. A path
 * that exists and is no regular file is refused. Returns false with error filled in. */
bool safetensors_write(const char *path, const struct safetensors_output *tensors, uint32_t count,
                       struct safetensors_error *error);

/* The same with metadata; keys and values: printable ASCII without quotes and backslashes. stop, or
 * NULL, is asked again and again; once it is true, the file is given up, and this fails. */
bool safetensors_write_described(const char *path, const struct safetensors_metadata *metadata,
                                 uint32_t metadata_count, const struct safetensors_output *tensors,
                                 uint32_t count, bool (*stop)(void),
                                 struct safetensors_error *error);

#endif
