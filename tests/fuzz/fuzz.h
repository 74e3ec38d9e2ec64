/* SPDX-License-Identifier: MIT */
/* What fuzz targets share: each is one function of bytes, driven by libFuzzer (-Dfuzz=true) or by
 * replay.c. */
#ifndef DJ_TESTS_FUZZ_H
#define DJ_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* libFuzzer's entry point; returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Ends the process with a line; in release builds too. */
#define FUZZ_ASSERT(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            abort(); \
        } \
    } while (0)

/* Takes numbers from the input; zeros once it has ended. */
struct fuzz_bytes {
    const uint8_t *data;
    size_t left;
};

static inline uint8_t fuzz_byte(struct fuzz_bytes *bytes)
{
    if (bytes->left == 0)
        return 0;
    bytes->left--;
    return *bytes->data++;
}

static inline uint64_t fuzz_word(struct fuzz_bytes *bytes, int size)
{
    uint64_t word = 0;
    for (int i = 0; i < size; i++)
        word |= (uint64_t)fuzz_byte(bytes) << 8 * i;
    return word;
}

#endif
