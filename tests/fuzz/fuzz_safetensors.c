/* SPDX-License-Identifier: MIT */
/* Any bytes as a safetensors file: opened and read, or refused with a reason. */
#include "fuzz.h"

#include "../../samples/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const int descriptor = memfd_create("fuzz", MFD_CLOEXEC);
    FUZZ_ASSERT(descriptor >= 0 && write(descriptor, data, size) == (ssize_t)size);
    char path[40];
    snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
    struct safetensors_error error = {.text = ""};
    struct safetensors *file = safetensors_open(path, &error);
    FUZZ_ASSERT(file != NULL || error.text[0] != '\0');
    for (uint32_t i = 0; file != NULL && i < file->count; i++) {
        const struct safetensors_tensor *const tensor = &file->tensors[i];
        FUZZ_ASSERT(tensor->end <= size && tensor->begin <= tensor->end);
        FUZZ_ASSERT(safetensors_find(file, tensor->name) == tensor);
        FUZZ_ASSERT(tensor->count <= 8 * size); /* as its bytes say: types of 4 bits and more */
        float *const values = malloc((tensor->count + 1) * sizeof *values);
        FUZZ_ASSERT(values != NULL);
        error.text[0] = '\0';
        if (!safetensors_read(file, tensor, values, &error))
            FUZZ_ASSERT(error.text[0] != '\0');
        free(values);
    }
    safetensors_close(&file);
    FUZZ_ASSERT(file == NULL);
    close(descriptor);
    return 0;
}
