/* SPDX-License-Identifier: MIT */
#include "bench_random.h"

#include "element.h"

#include <stdlib.h>

enum {
    FILL_CHUNK = 1 << 16 /* elements */
};

float bench_random(uint64_t stream, uint64_t i)
{
    uint64_t z = (stream << 56) + i * 0x9e3779b97f4a7c15u + 0x2545f4914f6cdd1du;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return ((float)(z >> 40) * 0x1p-24f - 0.5f) * 3.4641016f;
}

dj_result bench_random_buffer(dj_context *context, uint64_t stream, uint32_t type, uint64_t count,
                              dj_buffer **buffer)
{
    const uint64_t size = dj_type_size(type);
    dj_result result =
        dj_buffer_create(context, &(struct dj_buffer_params){.size = count * size}, buffer);
    float *chunk = malloc(FILL_CHUNK * sizeof(float));
    void *elements = malloc(FILL_CHUNK * size);
    if (!chunk || !elements)
        result = DJ_ERROR_OUT_OF_HOST_MEMORY;
    for (uint64_t start = 0; result == DJ_SUCCESS && start < count; start += FILL_CHUNK) {
        const uint64_t n = count - start < FILL_CHUNK ? count - start : FILL_CHUNK;
        for (uint64_t i = 0; i < n; i++)
            chunk[i] = bench_random(stream, start + i);
        element_write(type, chunk, elements, n);
        result = dj_buffer_write(*buffer, start * size, elements, n * size);
    }
    free(elements);
    free(chunk);
    return result;
}
