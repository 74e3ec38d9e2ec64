/* SPDX-License-Identifier: MIT */
#include "harness.h"

/* A look inside, to switch off the mapping that every memory of a CPU device has. */
#include "../lib/buffer.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define EACH_DEVICE(i) for (uint32_t i = 0; i < harness_device_count(); i++)
#define EACH_MEMORY(m) for (uint32_t m = DJ_MEMORY_DEVICE; m <= DJ_MEMORY_DOWNLOAD; m++)

static dj_buffer *create(dj_context *context, uint64_t size, uint32_t memory)
{
    const struct dj_buffer_params params = {.size = size, .memory = memory};
    dj_buffer *buffer = NULL;
    HARNESS_OK(dj_buffer_create(context, &params, &buffer));
    assert_non_null(buffer);
    assert_int_equal(dj_buffer_size(buffer), size);
    return buffer;
}

static void test_write_read(void **state)
{
    (void)state;
    enum {
        SIZE = 1000
    };
    uint8_t written[SIZE], read[SIZE];
    for (size_t i = 0; i < SIZE; i++)
        written[i] = (uint8_t)harness_random();
    EACH_DEVICE(i) EACH_MEMORY(m)
    {
        dj_buffer *buffer = create(harness_context(i), SIZE, m);
        HARNESS_OK(dj_buffer_write(buffer, 0, written, SIZE));
        memset(read, 0, SIZE);
        HARNESS_OK(dj_buffer_read(buffer, 0, read, SIZE));
        assert_memory_equal(written, read, SIZE);
        HARNESS_OK(dj_buffer_write(buffer, 501, written, 3)); /* no alignment is asked for */
        HARNESS_OK(dj_buffer_read(buffer, 500, read, 5));
        assert_int_equal(read[0], written[500]);
        assert_memory_equal(read + 1, written, 3);
        assert_int_equal(read[4], written[504]);
        dj_buffer_destroy(&buffer);
        assert_null(buffer);
    }
}

static void test_map(void **state)
{
    (void)state;
    EACH_DEVICE(i) EACH_MEMORY(m)
    {
        dj_buffer *buffer = create(harness_context(i), 256, m);
        uint8_t *mapped = dj_buffer_map(buffer);
        if (m != DJ_MEMORY_DEVICE)
            assert_non_null(mapped);
        if (mapped) {
            assert_ptr_equal(dj_buffer_map(buffer), mapped);
            memset(mapped, 0x5a, 256);
            uint8_t read[256] = {0};
            HARNESS_OK(dj_buffer_read(buffer, 0, read, 256));
            assert_memory_equal(read, mapped, 256);
            const uint8_t value = 7;
            HARNESS_OK(dj_buffer_write(buffer, 255, &value, 1));
            assert_int_equal(mapped[255], 7);
        }
        dj_buffer_destroy(&buffer);
    }
}

static void test_size_0(void **state)
{
    (void)state;
    EACH_DEVICE(i) EACH_MEMORY(m)
    {
        dj_buffer *buffer = create(harness_context(i), 0, m);
        assert_null(dj_buffer_map(buffer));
        uint8_t byte = 0;
        HARNESS_OK(dj_buffer_write(buffer, 0, &byte, 0));
        HARNESS_OK(dj_buffer_read(buffer, 0, NULL, 0));
        HARNESS_RESULT(dj_buffer_write(buffer, 0, &byte, 1), DJ_ERROR_INVALID_ARGUMENT);
        HARNESS_RESULT(dj_buffer_read(buffer, 1, &byte, 0), DJ_ERROR_INVALID_ARGUMENT);
        dj_buffer_destroy(&buffer);
        assert_null(buffer);
    }
}

static void test_ranges(void **state)
{
    (void)state;
    static const struct {
        uint64_t offset, size;
    } bad[] = {{0, 101},
               {100, 1},
               {101, 0},
               {99, 2},
               {1, UINT64_MAX},
               {UINT64_MAX, 1},
               {UINT64_MAX, UINT64_MAX},
               {50, UINT64_MAX - 49}};
    uint8_t data[128] = {0}, kept[100];
    memset(kept, 0x33, sizeof(kept));
    dj_buffer *buffer = create(harness_context(0), 100, DJ_MEMORY_UPLOAD);
    HARNESS_OK(dj_buffer_write(buffer, 0, kept, 100));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        HARNESS_RESULT(dj_buffer_write(buffer, bad[i].offset, data, bad[i].size),
                       DJ_ERROR_INVALID_ARGUMENT);
        assert_non_null(strstr(harness_log_last(), "100")); /* the rule's value */
        HARNESS_RESULT(dj_buffer_read(buffer, bad[i].offset, data, bad[i].size),
                       DJ_ERROR_INVALID_ARGUMENT);
    }
    HARNESS_OK(dj_buffer_write(buffer, 100, data, 0)); /* the end is inside */
    HARNESS_RESULT(dj_buffer_write(buffer, 0, NULL, 1), DJ_ERROR_INVALID_ARGUMENT);
    HARNESS_RESULT(dj_buffer_read(buffer, 0, NULL, 1), DJ_ERROR_INVALID_ARGUMENT);
    assert_memory_equal(dj_buffer_map(buffer), kept, 100);
    dj_buffer_destroy(&buffer);
}

static void test_null_arguments(void **state)
{
    (void)state;
    dj_buffer *buffer = (dj_buffer *)&state;
    const struct dj_buffer_params params = {.size = 4};
    HARNESS_RESULT(dj_buffer_create(NULL, &params, &buffer), DJ_ERROR_INVALID_ARGUMENT);
    assert_null(buffer);
    buffer = (dj_buffer *)&state;
    HARNESS_RESULT(dj_buffer_create(harness_context(0), NULL, &buffer), DJ_ERROR_INVALID_ARGUMENT);
    assert_null(buffer);
    HARNESS_RESULT(dj_buffer_create(harness_context(0), &params, NULL), DJ_ERROR_INVALID_ARGUMENT);
    HARNESS_RESULT(dj_buffer_write(NULL, 0, &params, 1), DJ_ERROR_INVALID_ARGUMENT);
    HARNESS_RESULT(dj_buffer_read(NULL, 0, &buffer, 1), DJ_ERROR_INVALID_ARGUMENT);
    assert_int_equal(dj_buffer_size(NULL), 0);
    assert_null(dj_buffer_map(NULL));
    dj_buffer_destroy(NULL);
    dj_buffer_destroy(&buffer);
}

static void test_params(void **state)
{
    (void)state;
    dj_context *context = harness_context(0);
    dj_buffer *buffer;
    for (int i = 0; i < 4; i++) {
        struct dj_buffer_params params = {.size = 4};
        params.reserved[i] = 1;
        HARNESS_RESULT(dj_buffer_create(context, &params, &buffer), DJ_ERROR_VERSION);
        assert_null(buffer);
    }
    struct dj_buffer_params params = {.size = 4, .padding = 1};
    HARNESS_RESULT(dj_buffer_create(context, &params, &buffer), DJ_ERROR_VERSION);
    params = (struct dj_buffer_params){.size = 4, .memory = 3};
    HARNESS_RESULT(dj_buffer_create(context, &params, &buffer), DJ_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(harness_log_last(), "memory is 3"));
}

static void test_too_large(void **state)
{
    (void)state;
    EACH_DEVICE(i)
    {
        struct dj_device_info info;
        HARNESS_OK(dj_context_device(harness_context(i), &info));
        const uint64_t sizes[] = {info.max_allocation + 1, UINT64_MAX, UINT64_MAX - 255,
                                  (uint64_t)1 << 63};
        for (size_t j = 0; j < sizeof(sizes) / sizeof(sizes[0]); j++) {
            const struct dj_buffer_params params = {.size = sizes[j]};
            dj_buffer *buffer;
            HARNESS_RESULT(dj_buffer_create(harness_context(i), &params, &buffer), DJ_ERROR_LIMIT);
            assert_null(buffer);
        }
    }
}

/* Through staging memory: more than one piece, an odd rest, an odd offset. */
static void test_staging(void **state)
{
    (void)state;
    enum {
        SIZE = (33 << 20) + 5
    };
    uint8_t *written = malloc(SIZE), *read = malloc(SIZE);
    assert_true(written && read);
    for (size_t i = 0; i < SIZE; i++)
        written[i] = (uint8_t)harness_random();
    EACH_DEVICE(i)
    {
        dj_buffer *buffer = create(harness_context(i), SIZE + 16, DJ_MEMORY_DEVICE);
        uint8_t *mapped = buffer->mapped;
        if (mapped)
            memset(mapped, 0x77, SIZE + 16);
        buffer->mapped = NULL;
        assert_null(dj_buffer_map(buffer));
        HARNESS_OK(dj_buffer_write(buffer, 7, written, SIZE));
        if (mapped) {
            assert_memory_equal(mapped + 7, written, SIZE);
            for (int j = 0; j < 9; j++)
                assert_int_equal(mapped[j < 7 ? j : SIZE + j], 0x77);
        }
        memset(read, 0, SIZE);
        HARNESS_OK(dj_buffer_read(buffer, 7, read, SIZE));
        assert_memory_equal(read, written, SIZE);
        HARNESS_OK(dj_buffer_write(buffer, 3, written, 1));
        HARNESS_OK(dj_buffer_read(buffer, 3, read, 1));
        assert_int_equal(read[0], written[0]);
        dj_buffer_destroy(&buffer);
    }
    free(written);
    free(read);
}

static void *copy_thread(void *argument)
{
    dj_buffer *buffer = argument;
    uint8_t written[300], read[300];
    for (int i = 0; i < 50; i++) {
        memset(written, i, sizeof(written));
        if (dj_buffer_write(buffer, 0, written, sizeof(written)) != DJ_SUCCESS ||
            dj_buffer_read(buffer, 0, read, sizeof(read)) != DJ_SUCCESS ||
            memcmp(written, read, sizeof(read)) != 0)
            return "copies";
    }
    return NULL;
}

/* Several threads copy through one queue. */
static void test_staging_on_threads(void **state)
{
    (void)state;
    pthread_t threads[4];
    dj_buffer *buffers[4];
    for (int i = 0; i < 4; i++) {
        buffers[i] = create(harness_context(0), 300, DJ_MEMORY_DEVICE);
        buffers[i]->mapped = NULL;
        assert_int_equal(pthread_create(&threads[i], NULL, copy_thread, buffers[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        void *failed;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
        dj_buffer_destroy(&buffers[i]);
    }
}

static void test_tensor_create(void **state)
{
    (void)state;
    const float data[2 * 3 * 1 * 4] = {1, 2, 3, [23] = 24};
    for (uint32_t i = 0; i < harness_device_count(); i++) {
        dj_context *context = harness_context(i);
        struct dj_tensor tensor;
        HARNESS_OK(
            dj_tensor_create(context, DJ_FLOAT32, (const uint64_t[4]){2, 3, 1, 4}, data, &tensor));
        assert_int_equal(dj_buffer_size(tensor.buffer), sizeof data);
        assert_int_equal(tensor.stride[0], 12);
        assert_int_equal(tensor.stride[3], 1);
        float back[24];
        harness_read(tensor.buffer, 0, back, sizeof back);
        assert_memory_equal(back, data, sizeof data);
        dj_buffer_destroy(&tensor.buffer);

        tensor = (struct dj_tensor){.offset = 8, .shape = {2, 3, 1, 4}};
        HARNESS_OK(dj_tensor_create(context, DJ_FLOAT32, tensor.shape, data, &tensor));
        assert_int_equal(dj_buffer_size(tensor.buffer), sizeof data);
        assert_int_equal(tensor.offset, 0);
        assert_int_equal(tensor.shape[1], 3);
        assert_int_equal(tensor.stride[0], 12);
        dj_buffer_destroy(&tensor.buffer);

        HARNESS_OK(dj_tensor_create(context, DJ_FLOAT32, (const uint64_t[4]){UINT64_MAX, 2, 0, 1},
                                    NULL, &tensor));
        assert_int_equal(dj_buffer_size(tensor.buffer), 0);
        dj_buffer_destroy(&tensor.buffer);

        const uint64_t shape[4] = {1, 1, 1, 1}, large[4] = {UINT64_MAX, 2, 1, 1};
        HARNESS_RESULT(dj_tensor_create(context, DJ_FLOAT32, large, NULL, &tensor), DJ_ERROR_LIMIT);
        assert_non_null(strstr(harness_log_last(), "[18446744073709551615,2,1,1]"));
        assert_null(tensor.buffer);
        HARNESS_RESULT(dj_tensor_create(context, 7, shape, NULL, &tensor),
                       DJ_ERROR_INVALID_ARGUMENT);
        HARNESS_RESULT(dj_tensor_create(context, DJ_FLOAT32, NULL, NULL, &tensor),
                       DJ_ERROR_INVALID_ARGUMENT);
        HARNESS_RESULT(dj_tensor_create(NULL, DJ_FLOAT32, shape, NULL, &tensor),
                       DJ_ERROR_INVALID_ARGUMENT);
        HARNESS_RESULT(dj_tensor_create(context, DJ_FLOAT32, shape, NULL, NULL),
                       DJ_ERROR_INVALID_ARGUMENT);
    }
}

static const struct CMUnitTest tests[] = {
    HARNESS_TEST(test_write_read),
    HARNESS_TEST(test_map),
    HARNESS_TEST(test_size_0),
    HARNESS_TEST(test_ranges),
    HARNESS_TEST(test_null_arguments),
    HARNESS_TEST(test_params),
    HARNESS_TEST(test_too_large),
    HARNESS_TEST(test_staging),
    HARNESS_TEST(test_staging_on_threads),
    HARNESS_TEST(test_tensor_create),
};

HARNESS_MAIN(tests)
