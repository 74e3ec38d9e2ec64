/* SPDX-License-Identifier: MIT */
/* Tensors' checks and boxes, without a device. */
#include "harness.h"

#include "../lib/tensor.h"

#include <stdlib.h>
#include <string.h>

/* A context of which only limits are read, and buffers of which only sizes are. */
static dj_context context;
static dj_buffer buffer, other;

static int set_limits(void **state)
{
    (void)state;
    memset(&context, 0, sizeof(context));
    context.info.max_storage_range = 1 << 16;
    context.info.offset_alignment = 64;
    context.storage_16bit = true;
    buffer = (dj_buffer){.context = &context, .size = 1 << 20};
    other = (dj_buffer){.context = &context, .size = 1 << 20};
    return 0;
}

static struct dj_tensor typed(uint32_t type, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    struct dj_tensor tensor;
    dj_tensor_init(&tensor, &buffer, 256, type, (const uint64_t[4]){a, b, c, d});
    return tensor;
}

static struct dj_tensor plain(uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    return typed(DJ_FLOAT32, a, b, c, d);
}

static void types_have_sizes(void **state)
{
    (void)state;
    assert_int_equal(dj_type_size(DJ_FLOAT32), 4);
    assert_int_equal(dj_type_size(DJ_FLOAT16), 2);
    assert_int_equal(dj_type_size(DJ_BFLOAT16), 2);
    assert_int_equal(dj_type_size(3), 0);
    assert_int_equal(dj_type_size(UINT32_MAX), 0);
}

static void init_and_swap(void **state)
{
    (void)state;
    struct dj_tensor t = plain(2, 3, 5, 7);
    assert_memory_equal(t.stride, ((const uint64_t[4]){105, 35, 7, 1}), sizeof(t.stride));
    dj_tensor_swap(&t, 1, 2);
    assert_memory_equal(t.shape, ((const uint64_t[4]){2, 5, 3, 7}), sizeof(t.shape));
    assert_memory_equal(t.stride, ((const uint64_t[4]){105, 7, 35, 1}), sizeof(t.stride));
    const struct dj_tensor kept = t;
    dj_tensor_swap(&t, 4, 0);
    dj_tensor_swap(&t, 2, UINT32_MAX);
    assert_memory_equal(&t, &kept, sizeof(t));
    dj_tensor_init(&t, t.buffer, t.offset, t.type, t.shape); /* its own */
    assert_memory_equal(t.shape, kept.shape, sizeof(t.shape));
    assert_memory_equal(t.stride, ((const uint64_t[4]){105, 21, 7, 1}), sizeof(t.stride));
}

static void checks_keep_to_the_buffer(void **state)
{
    (void)state;
    struct dj_tensor t = plain(2, 3, 5, 7);
    HARNESS_OK(dj_tensor_check(&context, "t", &t, DJ_FLOAT32, true, true));
    buffer.size = 256 + 4 * 210;
    HARNESS_OK(dj_tensor_check(&context, "t", &t, DJ_FLOAT32, true, true));
    buffer.size--;
    HARNESS_RESULT(dj_tensor_check(&context, "t", &t, DJ_FLOAT32, true, true),
                   DJ_ERROR_INVALID_ARGUMENT);
    t.buffer = NULL; /* not there yet: it may lie anywhere, with gapless rows all the same */
    HARNESS_RESULT(dj_tensor_check(&context, "t", &t, DJ_FLOAT32, true, true),
                   DJ_ERROR_INVALID_ARGUMENT);
    HARNESS_OK(dj_tensor_check(&context, "t", &t, DJ_FLOAT32, true, false));
    t.stride[3] = 2;
    HARNESS_RESULT(dj_tensor_check(&context, "t", &t, DJ_FLOAT32, true, false),
                   DJ_ERROR_INVALID_ARGUMENT);
    t.shape[2] = 0; /* nothing cannot be outside */
    HARNESS_OK(dj_tensor_check(&context, "t", &t, DJ_FLOAT32, true, true));
}

/* 2-byte elements: the type that is asked for, half the bytes, places in steps of 2 bytes. */
static void checks_know_types(void **state)
{
    (void)state;
    for (uint32_t type = DJ_FLOAT16; type <= DJ_BFLOAT16; type++) {
        struct dj_tensor t = typed(type, 2, 3, 5, 7);
        HARNESS_OK(dj_tensor_check(&context, "t", &t, type, true, true));
        HARNESS_RESULT(dj_tensor_check(&context, "t", &t, DJ_FLOAT32, true, true),
                       DJ_ERROR_INVALID_ARGUMENT);
        HARNESS_RESULT(
            dj_tensor_check(&context, "t", &t, DJ_FLOAT16 + DJ_BFLOAT16 - type, true, true),
            DJ_ERROR_INVALID_ARGUMENT);
        buffer.size = 256 + 2 * 210;
        HARNESS_OK(dj_tensor_check(&context, "t", &t, type, true, true));
        buffer.size--;
        HARNESS_RESULT(dj_tensor_check(&context, "t", &t, type, true, true),
                       DJ_ERROR_INVALID_ARGUMENT);
        t.offset -= 1;
        HARNESS_RESULT(dj_tensor_check(&context, "t", &t, type, true, true),
                       DJ_ERROR_INVALID_ARGUMENT);
        t.offset -= 1;
        HARNESS_OK(dj_tensor_check(&context, "t", &t, type, true, true));
        buffer.size = 1 << 20;
    }
}

/* Without 16-bit storage no two rows may share a word; a stride over one element does not matter.
 */
static void words_are_not_shared(void **state)
{
    (void)state;
    context.storage_16bit = false;
    struct dj_tensor even = typed(DJ_FLOAT16, 2, 3, 5, 8), t = even;
    HARNESS_OK(dj_tensor_check(&context, "t", &t, DJ_FLOAT16, true, true));
    t.offset += 2;
    HARNESS_RESULT(dj_tensor_check(&context, "t", &t, DJ_FLOAT16, true, true),
                   DJ_ERROR_UNSUPPORTED);
    for (int i = 0; i < 3; i++) {
        t = even;
        t.stride[i]++;
        HARNESS_RESULT(dj_tensor_check(&context, "t", &t, DJ_FLOAT16, false, true),
                       DJ_ERROR_UNSUPPORTED);
        t.shape[i] = 1;
        HARNESS_OK(dj_tensor_check(&context, "t", &t, DJ_FLOAT16, false, true));
        t = plain(2, 3, 5, 8); /* words are whole elements there */
        t.stride[i]++;
        HARNESS_OK(dj_tensor_check(&context, "t", &t, DJ_FLOAT32, false, true));
    }
}

static void checks_survive_overflow(void **state)
{
    (void)state;
    const uint64_t values[] = {UINT64_MAX, UINT64_MAX / 2 + 1, UINT64_MAX / 4 + 1, 1ull << 62,
                               1ull << 33};
    for (size_t n = 0; n < sizeof(values) / sizeof(*values); n++) {
        for (int field = 0; field < 8; field++) {
            struct dj_tensor t = plain(2, 3, 5, 7);
            if (field < 3)
                t.stride[field] = values[n];
            else if (field < 7)
                t.shape[field - 3] = values[n];
            else
                t.offset = values[n] & ~3ull;
            const dj_result result = dj_tensor_check(&context, "t", &t, DJ_FLOAT32, false, true);
            assert_true(result == DJ_ERROR_LIMIT || result == DJ_ERROR_INVALID_ARGUMENT);
        }
    }
}

static void outputs_must_not_overlap_themselves(void **state)
{
    (void)state;
    struct dj_tensor t = plain(2, 3, 5, 7);
    t.stride[1] = 0;
    HARNESS_OK(dj_tensor_check(&context, "t", &t, DJ_FLOAT32, false, true));
    HARNESS_RESULT(dj_tensor_check(&context, "t", &t, DJ_FLOAT32, true, true),
                   DJ_ERROR_INVALID_ARGUMENT);
    t.stride[1] = 34;
    HARNESS_RESULT(dj_tensor_check(&context, "t", &t, DJ_FLOAT32, true, true),
                   DJ_ERROR_INVALID_ARGUMENT);
    t = plain(2, 3, 5, 7);
    dj_tensor_swap(&t, 0, 2);
    HARNESS_OK(dj_tensor_check(&context, "t", &t, DJ_FLOAT32, true, true));
    t = plain(1, 1, 5, 7); /* what has one element may have any stride */
    t.stride[0] = 0;
    HARNESS_OK(dj_tensor_check(&context, "t", &t, DJ_FLOAT32, true, true));
}

static void overlap_is_of_ranges(void **state)
{
    (void)state;
    const struct dj_tensor a = plain(2, 3, 5, 7);
    struct dj_tensor b = a;
    assert_true(dj_tensor_overlap(&a, &b));
    b.offset = a.offset + 4 * 210;
    assert_false(dj_tensor_overlap(&a, &b));
    assert_false(dj_tensor_overlap(&b, &a));
    b.offset -= 4;
    assert_true(dj_tensor_overlap(&a, &b));
    b.buffer = &other;
    assert_false(dj_tensor_overlap(&a, &b));
    b = a;
    b.shape[0] = 0;
    assert_false(dj_tensor_overlap(&a, &b));
    struct dj_tensor half = typed(DJ_BFLOAT16, 2, 3, 5, 7); /* half as long */
    b = a;
    b.offset = half.offset + 2 * 210;
    assert_false(dj_tensor_overlap(&half, &b));
    assert_false(dj_tensor_overlap(&b, &half));
    b.offset -= 4;
    assert_true(dj_tensor_overlap(&half, &b));
    assert_true(dj_tensor_overlap(&b, &half));
}

/* Ranges that begin or end inside an element of the other. */
static void ranges_are_of_bytes(void **state)
{
    (void)state;
    const struct dj_tensor a = plain(1, 1, 1, 10); /* bytes 256 .. 295 */
    struct dj_tensor range = dj_tensor_of_range(&buffer, 0, 256);
    assert_false(dj_tensor_overlap(&a, &range));
    range = dj_tensor_of_range(&buffer, 0, 260);
    assert_true(dj_tensor_overlap(&a, &range));
    range = dj_tensor_of_range(&buffer, 292, 1);
    assert_true(dj_tensor_overlap(&a, &range));
    range = dj_tensor_of_range(&buffer, 296, 100);
    assert_false(dj_tensor_overlap(&a, &range));
    range = dj_tensor_of_range(&buffer, 256, 0);
    assert_false(dj_tensor_overlap(&a, &range));
}

static uint64_t volume(const void *user, const uint64_t size[3])
{
    (void)user;
    return size[0] * size[1] * size[2];
}

/* Every element lies in exactly one box, and each box within the limits. */
static void assert_grid(const struct dj_grid *grid, const struct dj_tensor *tensor, uint64_t budget,
                        const uint64_t granule[3])
{
    const uint64_t *n = tensor->shape, element = dj_type_size(tensor->type);
    uint8_t *seen = calloc(n[0] * n[1] * n[2], 1);
    assert_non_null(seen);
    for (uint64_t box = 0; box < grid->boxes[0] * grid->boxes[1] * grid->boxes[2]; box++) {
        const struct dj_box b =
            dj_grid_box(grid, box / (grid->boxes[1] * grid->boxes[2]),
                        box / grid->boxes[2] % grid->boxes[1], box % grid->boxes[2]);
        const struct dj_view view = dj_tensor_view(tensor, &b);
        uint64_t last = view.base + n[3] - 1;
        for (int i = 0; i < 3; i++) {
            assert_true(b.count[i] > 0 && b.start[i] % granule[i] == 0);
            last += (b.count[i] - 1) * view.stride[i];
        }
        assert_true(volume(NULL, b.count) <= budget);
        assert_true(view.binding.range <= context.info.max_storage_range);
        assert_int_equal(view.binding.offset % context.info.offset_alignment, 0);
        /* to the end of the last word */
        assert_int_equal(((last + 1) * element + 3) / 4 * 4, view.binding.range);
        assert_true(view.binding.offset + view.binding.range <= tensor->buffer->size);
        assert_int_equal(view.type, tensor->type);
        assert_true(dj_tensor_binds(&context, tensor, b.count));
        for (uint64_t i = 0; i < volume(NULL, b.count); i++) {
            const uint64_t x = b.start[0] + i / (b.count[1] * b.count[2]);
            const uint64_t y = b.start[1] + i / b.count[2] % b.count[1];
            const uint64_t z = b.start[2] + i % b.count[2];
            /* the view finds the same element as the tensor */
            const uint64_t byte =
                view.binding.offset +
                element * (view.base + (x - b.start[0]) * view.stride[0] +
                           (y - b.start[1]) * view.stride[1] + (z - b.start[2]) * view.stride[2]);
            assert_int_equal(byte, tensor->offset +
                                       element * (x * tensor->stride[0] + y * tensor->stride[1] +
                                                  z * tensor->stride[2]));
            assert_int_equal(seen[(x * n[1] + y) * n[2] + z]++, 0);
        }
    }
    for (uint64_t i = 0; i < n[0] * n[1] * n[2]; i++)
        assert_int_equal(seen[i], 1);
    free(seen);
}

static void boxes_cover_once(void **state)
{
    (void)state;
    for (int n = 0; n < 300; n++) {
        const uint64_t shape[4] = {1 + harness_random() % 6, 1 + harness_random() % 200,
                                   1 + harness_random() % 9, 4 << harness_random() % 4};
        struct dj_tensor t = typed(harness_random() % 3, shape[0], shape[1], shape[2], shape[3]);
        t.offset = dj_type_size(t.type) * (harness_random() % 100);
        if (harness_random() & 1)
            dj_tensor_swap(&t, 1, 2);
        if (harness_random() & 1)
            t.stride[0] += 4 * (harness_random() % 50);
        buffer.size = 1 << 24;
        const uint64_t granule[3] = {1, harness_random() & 1 ? 32 : 1, 1};
        const uint64_t budget = granule[1] + harness_random() % 2000;
        context.info.max_storage_range = 1ull << (16 + harness_random() % 4);
        struct dj_grid grid;
        assert_true(dj_grid_fit(&context, &(const struct dj_tensor *){&t}, 1, granule, NULL, volume,
                                NULL, budget, &grid));
        assert_grid(&grid, &t, budget, granule);
    }
}

static void most_is_kept(void **state)
{
    (void)state;
    const struct dj_tensor t = plain(7, 11, 13, 4);
    const uint64_t granule[3] = {1, 1, 1}, most[3] = {3, 11, 5};
    struct dj_grid grid;
    assert_true(dj_grid_fit(&context, &(const struct dj_tensor *){&t}, 1, granule, most, NULL, NULL,
                            0, &grid));
    assert_memory_equal(grid.size, most, sizeof(most));
    assert_memory_equal(grid.boxes, ((const uint64_t[3]){3, 1, 3}), sizeof(grid.boxes));
    assert_grid(&grid, &t, UINT64_MAX, granule);
}

static void too_large_a_granule_is_refused(void **state)
{
    (void)state;
    const struct dj_tensor t = plain(1, 64, 1, 4096); /* 16 KiB a row */
    const uint64_t one[3] = {1, 1, 1}, many[3] = {1, 32, 1};
    const struct dj_tensor *const list = &t;
    struct dj_grid grid;
    assert_true(dj_grid_fit(&context, &list, 1, one, NULL, NULL, NULL, 0, &grid));
    assert_false(dj_grid_fit(&context, &list, 1, many, NULL, NULL, NULL, 0, &grid));
    assert_false(dj_grid_fit(&context, &list, 1, one, NULL, volume, NULL, 0, &grid));
}

/* The smallest box over several tensors is bound by the one with the widest span. */
static void all_tensors_fit(void **state)
{
    (void)state;
    buffer.size = 1 << 24;
    const struct dj_tensor a = plain(1, 500, 1, 4);
    struct dj_tensor b = a;
    b.stride[1] = 4096;
    const uint64_t granule[3] = {1, 1, 1};
    struct dj_grid grid;
    assert_true(dj_grid_fit(&context, (const struct dj_tensor *const[]){&a, &b}, 2, granule, NULL,
                            NULL, NULL, 0, &grid));
    assert_true(grid.size[1] > 1 && grid.size[1] <= 4);
    assert_grid(&grid, &b, UINT64_MAX, granule);
    assert_grid(&grid, &a, UINT64_MAX, granule);
}

/* By bytes and not by elements: what fits of 2 bytes each need not of 4. */
static void binding_is_of_bytes(void **state)
{
    (void)state;
    const uint64_t most = context.info.max_storage_range - context.info.offset_alignment;
    const uint64_t count[3] = {1, 1, 1};
    struct dj_tensor t = typed(DJ_FLOAT16, 1, 1, 1, most / 2);
    assert_true(dj_tensor_binds(&context, &t, count));
    t.shape[3]++;
    assert_false(dj_tensor_binds(&context, &t, count));
    t = plain(1, 1, 1, most / 4);
    assert_true(dj_tensor_binds(&context, &t, count));
    t.shape[3]++;
    assert_false(dj_tensor_binds(&context, &t, count));
    t = plain(3, 1, 1, 4);
    t.stride[0] = UINT64_MAX / 2;
    assert_false(dj_tensor_binds(&context, &t, t.shape));
    t.shape[1] = 0;
    assert_true(dj_tensor_binds(&context, &t, t.shape));
}

#define TENSOR_TEST(function) cmocka_unit_test_setup(function, set_limits)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TENSOR_TEST(types_have_sizes),
        TENSOR_TEST(init_and_swap),
        TENSOR_TEST(checks_keep_to_the_buffer),
        TENSOR_TEST(checks_know_types),
        TENSOR_TEST(words_are_not_shared),
        TENSOR_TEST(checks_survive_overflow),
        TENSOR_TEST(outputs_must_not_overlap_themselves),
        TENSOR_TEST(overlap_is_of_ranges),
        TENSOR_TEST(ranges_are_of_bytes),
        TENSOR_TEST(boxes_cover_once),
        TENSOR_TEST(most_is_kept),
        TENSOR_TEST(too_large_a_granule_is_refused),
        TENSOR_TEST(all_tensors_fit),
        TENSOR_TEST(binding_is_of_bytes),
    };
    harness_prepare();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
