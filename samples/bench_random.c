/* SPDX-License-Identifier: MIT */
#include "bench_random.h"

#include "element.h"

#include <stdlib.h>

/* A prime near 2^20, so that rows at a distance are no copies of each other. A GPU's tensors have
 * so many elements that the host, each by itself, would take longer than the device. */
#define PERIOD UINT64_C(1048573)

float bench_random(uint64_t stream, uint64_t i)
{
    uint64_t z = (stream << 56) + i % PERIOD * 0x9e3779b97f4a7c15u + 0x2545f4914f6cdd1du;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return ((float)(z >> 40) * 0x1p-24f - 0.5f) * 3.4641016f;
}

dj_result bench_random_buffer(dj_context *context, uint64_t stream, uint32_t type, uint64_t count,
                              dj_buffer **buffer)
{
    const uint64_t size = dj_type_size(type), most = count < PERIOD ? count : PERIOD;
    dj_result result =
        dj_buffer_create(context, &(struct dj_buffer_params){.size = count * size}, buffer);
    float *const numbers = malloc(most * sizeof(float));
    void *const elements = malloc(most * size);
    if (!numbers || !elements)
        result = DJ_ERROR_OUT_OF_HOST_MEMORY;
    if (result == DJ_SUCCESS) {
        for (uint64_t i = 0; i < most; i++)
            numbers[i] = bench_random(stream, i);
        element_write(type, numbers, elements, most);
    }
    for (uint64_t start = 0; result == DJ_SUCCESS && start < count; start += PERIOD) {
        const uint64_t n = count - start < PERIOD ? count - start : PERIOD;
        result = dj_buffer_write(*buffer, start * size, elements, n * size);
    }
    free(elements);
    free(numbers);
    return result;
}
