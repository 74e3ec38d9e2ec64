/* SPDX-License-Identifier: MIT */
#include "harness.h"

#include "../lib/recipe.h"
#include "../lib/vkfft.h"
#if DJ_HAVE_PREBUILT
#include "../lib/prebuilt.h"
#endif

#include <stdlib.h>
#include <string.h>

enum {
    WORDS = 64,
    TABLE = 48,
    KEY_AT = 4, /* where in the bytes things are */
    ROLES_AT = 40,
    ROWS_AT = 56,
    MAX_ROWS_AT = 60,
    PUSH_SIZE_AT = 64,
    PUSH_AT = 68,
};

static uint32_t words[WORDS], table[TABLE / 4];

/* Instructions of random words behind a header; some of them only name things. */
static size_t make_words(bool names)
{
    static const uint32_t kept[] = {17, 14, 15, 16, 71, 54, 61, 12};
    static const uint32_t named[] = {2, 3, 4, 5, 6, 7, 8, 317, 330};
    words[0] = 0x07230203;
    for (int i = 1; i < 5; i++)
        words[i] = (uint32_t)harness_random() & 0xffff;
    size_t count = 5;
    while (count + 6 < WORDS) {
        const uint32_t length = 1 + (uint32_t)(harness_random() % 5);
        const uint32_t opcode = names && harness_random() % 2 ? named[harness_random() % 9]
                                                              : kept[harness_random() % 8];
        words[count] = length << 16 | opcode;
        for (uint32_t i = 1; i < length; i++)
            words[count + i] = (uint32_t)(harness_random() >> harness_random() % 32);
        count += length;
    }
    return count;
}

/* A recipe without a flaw, in words and table. */
static struct dj_recipe example(void)
{
    struct dj_recipe recipe = {
        .key = {.generator = 10304,
                .type = 3,
                .length = 64,
                .limits = {16384, 128, {128, 128, 64}, 0x10005}},
        .words = words,
        .words_size = make_words(false) * 4,
        .table = table,
        .table_size = TABLE,
        .roles = {DJ_RECIPE_INPUT, DJ_RECIPE_OUTPUT, DJ_RECIPE_TABLE},
        .rows_per_group = 32,
        .max_rows = 32 * 1000,
        .push = {1, 2, 3},
        .push_size = 12,
    };
    for (int i = 0; i < TABLE / 4; i++)
        table[i] = (uint32_t)harness_random();
    return recipe;
}

/* Its bytes, to be freed. */
static uint8_t *bytes_of(const struct dj_recipe *recipe, size_t *size)
{
    struct dj_writer writer = {0};
    dj_recipe_write(recipe, &writer);
    writer = (struct dj_writer){.data = malloc(writer.size), .capacity = writer.size};
    assert_non_null(writer.data);
    dj_recipe_write(recipe, &writer);
    assert_int_equal(writer.size, writer.capacity);
    *size = writer.size;
    return writer.data;
}

/* Reads bytes that stand at the very end of a block of their own, so that a sanitizer sees the
 * first byte too many; whether they are one recipe, which must then have no flaw. */
static bool read_back(const uint8_t *bytes, size_t size, struct dj_recipe *recipe)
{
    uint8_t *const copy = malloc(size ? size : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, size);
    struct dj_reader reader = {.data = copy, .left = size};
    dj_recipe_read(recipe, &reader);
    const bool whole = !reader.broken && reader.left == 0;
    if (reader.broken) {
        assert_null(recipe->words);
        assert_null(recipe->table);
        assert_int_equal(recipe->words_size, 0);
    } else {
        assert_null(dj_recipe_flaw(recipe));
    }
    free(copy);
    return whole;
}

static void assert_refused(const uint8_t *bytes, size_t size)
{
    struct dj_recipe recipe;
    const bool whole = read_back(bytes, size, &recipe);
    dj_recipe_finish(&recipe);
    assert_false(whole);
}

static void assert_equal(const struct dj_recipe *a, const struct dj_recipe *b)
{
    assert_true(dj_recipe_key_equal(&a->key, &b->key));
    assert_int_equal(a->words_size, b->words_size);
    assert_int_equal(a->table_size, b->table_size);
    assert_int_equal(a->rows_per_group, b->rows_per_group);
    assert_int_equal(a->max_rows, b->max_rows);
    assert_int_equal(a->push_size, b->push_size);
    assert_memory_equal(a->push, b->push, sizeof a->push);
    assert_memory_equal(a->roles, b->roles, sizeof a->roles);
    if (a->words_size)
        assert_memory_equal(a->words, b->words, a->words_size);
    if (a->table_size)
        assert_memory_equal(a->table, b->table, a->table_size);
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    for (int i = 0; i < 200; i++) {
        struct dj_recipe recipe = example(), read;
        if (i % 3 == 0) {
            recipe.table_size = 0;
            recipe.roles[2] = DJ_RECIPE_UNUSED;
        }
        if (i % 5 == 0)
            recipe.push_size = recipe.push[0] = recipe.push[1] = recipe.push[2] = 0;
        size_t size;
        uint8_t *const bytes = bytes_of(&recipe, &size);
        assert_true(read_back(bytes, size, &read));
        assert_equal(&recipe, &read);
        dj_recipe_finish(&read);
        free(bytes);
    }
}

static void that_there_is_no_kernel_is_written_too(void **state)
{
    (void)state;
    const struct dj_recipe none = {.key = example().key};
    struct dj_recipe read;
    size_t size;
    uint8_t *const bytes = bytes_of(&none, &size);
    assert_true(read_back(bytes, size, &read));
    assert_equal(&none, &read);
    dj_recipe_finish(&read);
    free(bytes);
}

/* The same bytes on every machine. */
static void numbers_are_little_endian(void **state)
{
    (void)state;
    const struct dj_recipe recipe = example();
    static const uint8_t start[] = {'D', 'J', 'R', '1', 0x40, 0x28, 0, 0, 3,   0, 0, 0,
                                    64,  0,   0,   0,   0,    0x40, 0, 0, 128, 0, 0, 0};
    size_t size;
    uint8_t *const bytes = bytes_of(&recipe, &size);
    assert_memory_equal(bytes, start, sizeof start);
    assert_int_equal(bytes[PUSH_SIZE_AT], 12);
    assert_int_equal(bytes[PUSH_AT + 4], 2);
    free(bytes);
}

static void every_truncation_is_refused(void **state)
{
    (void)state;
    const struct dj_recipe recipe = example();
    size_t size;
    uint8_t *const bytes = bytes_of(&recipe, &size);
    for (size_t length = 0; length < size; length++)
        assert_refused(bytes, length);
    free(bytes);
}

static void put(uint8_t *bytes, size_t at, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        bytes[at + (size_t)i] = (uint8_t)(value >> 8 * i);
}

static void numbers_out_of_range_are_refused(void **state)
{
    (void)state;
    const struct dj_recipe recipe = example();
    size_t size;
    uint8_t *const bytes = bytes_of(&recipe, &size);
    uint8_t *const changed = malloc(size);
    assert_non_null(changed);
    const size_t count_at = PUSH_AT + 12, table_at = size - TABLE - 4;
    const struct {
        size_t at;
        uint32_t value;
    } bad[] = {
        {0, 0},
        {KEY_AT + 4, 1}, /* types */
        {KEY_AT + 4, 5},
        {KEY_AT + 8, 3}, /* lengths */
        {KEY_AT + 8, 4097},
        {KEY_AT + 12, 0}, /* limits */
        {KEY_AT + 16, 0},
        {ROLES_AT, DJ_RECIPE_OUTPUT},
        {ROLES_AT + 4, DJ_RECIPE_INPUT},
        {ROLES_AT + 8, DJ_RECIPE_UNUSED},
        {ROLES_AT + 12, 4},
        {ROWS_AT, 0},
        {ROWS_AT, DJ_RECIPE_MAX_GROUP_ROWS + 1},
        {MAX_ROWS_AT, 0},
        {MAX_ROWS_AT, 33},
        {MAX_ROWS_AT, 0xffffffe0},
        {PUSH_SIZE_AT, 10},
        {PUSH_SIZE_AT, 132},
        {PUSH_SIZE_AT, UINT32_MAX},
        {count_at, 0},
        {count_at, 1},
        {count_at, DJ_RECIPE_MAX_WORDS},
        {count_at, UINT32_MAX},
        {count_at + 4, 0},
        {count_at + 4, (uint32_t)size},
        {count_at + 4, UINT32_MAX},
        {table_at, 0},
        {table_at, TABLE - 2},
        {table_at, TABLE + 4},
        {table_at, UINT32_MAX},
        {table_at, DJ_RECIPE_MAX_TABLE},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        memcpy(changed, bytes, size);
        put(changed, bad[i].at, bad[i].value);
        assert_refused(changed, size);
    }
    free(changed);
    free(bytes);
}

/* One encoding for one recipe: no zero bytes at a word's end, no bits beyond the 32nd. */
static void words_have_one_encoding(void **state)
{
    (void)state;
    static const uint8_t bad[][6] = {
        {0x80, 0x00}, {0xff, 0xff, 0xff, 0xff, 0x1f}, {0xff, 0xff, 0xff, 0xff, 0x8f, 0x01}};
    static const size_t lengths[] = {2, 5, 6};
    struct dj_recipe recipe = example();
    recipe.table_size = 0;
    recipe.roles[2] = DJ_RECIPE_UNUSED;
    words[recipe.words_size / 4] = 1u << 16 | 1; /* a last instruction of one word, OpUndef or so */
    recipe.words_size += 4;
    size_t size;
    uint8_t *const bytes = bytes_of(&recipe, &size);
    uint8_t *const changed = malloc(size + 8);
    assert_non_null(changed);
    const size_t encoded_at = PUSH_AT + 12 + 4, last = size - 4 - 3; /* 0x10001 takes 3 bytes */
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        memcpy(changed, bytes, last);
        memcpy(changed + last, bad[i], lengths[i]);
        memset(changed + last + lengths[i], 0, 4); /* no table */
        put(changed, encoded_at, (uint32_t)(last + lengths[i] - encoded_at - 4));
        assert_refused(changed, last + lengths[i] + 4);
    }
    free(changed);
    free(bytes);
}

/* Whatever comes out has no flaw (read_back), and nothing is read or kept beyond. */
static void hostile_bytes_do_no_harm(void **state)
{
    (void)state;
    const struct dj_recipe recipe = example();
    struct dj_recipe read;
    size_t size;
    uint8_t *const bytes = bytes_of(&recipe, &size);
    uint8_t *const changed = malloc(size);
    assert_non_null(changed);
    for (size_t bit = 0; bit < 8 * size; bit++) {
        memcpy(changed, bytes, size);
        changed[bit / 8] ^= (uint8_t)(1u << bit % 8);
        read_back(changed, size, &read);
        dj_recipe_finish(&read);
    }
    for (int i = 0; i < 20000; i++) {
        memcpy(changed, bytes, size);
        for (uint64_t n = 1 + harness_random() % 8; n > 0; n--)
            changed[harness_random() % size] =
                harness_random() % 4 == 0 ? 0xff : (uint8_t)harness_random();
        read_back(changed, 1 + harness_random() % size, &read);
        dj_recipe_finish(&read);
    }
    free(changed);
    free(bytes);
}

static bool is_name(uint32_t word)
{
    const uint32_t opcode = word & 0xffff;
    return (opcode >= 2 && opcode <= 8) || opcode == 317 || opcode == 330;
}

static void only_names_are_stripped(void **state)
{
    (void)state;
    uint32_t want[WORDS], malformed[WORDS];
    for (int trial = 0; trial < 100; trial++) {
        const size_t count = make_words(true);
        size_t left = 5;
        memcpy(want, words, 5 * 4);
        for (size_t i = 5; i < count; i += words[i] >> 16) {
            if (is_name(words[i]))
                continue;
            memcpy(want + left, words + i, (words[i] >> 16) * 4);
            left += words[i] >> 16;
        }
        memcpy(malformed, words, count * 4);
        struct dj_recipe recipe = {.words = words, .words_size = count * 4};
        dj_recipe_strip(&recipe);
        assert_int_equal(recipe.words_size, left * 4);
        assert_memory_equal(words, want, left * 4);

        memcpy(want, malformed, count * 4);
        want[5] = malformed[5] |= 0xffffu << 16; /* longer than all that follows */
        recipe = (struct dj_recipe){.words = malformed, .words_size = count * 4};
        dj_recipe_strip(&recipe);
        assert_int_equal(recipe.words_size, count * 4);
        assert_memory_equal(malformed, want, count * 4);
    }
}

#if DJ_HAVE_VKFFT
static void generated_recipes_have_no_names(void **state)
{
    (void)state;
    const struct dj_log silent = {0};
    struct dj_recipe_key key = example().key;
    struct dj_recipe recipe, read;
    key.generator = dj_vkfft_version();
    key.length = 12;
    const uint64_t before = dj_vkfft_compilations();
    HARNESS_OK(dj_vkfft_generate(&silent, DJ_LOG_ERROR, &key, &recipe));
    assert_true(dj_vkfft_compilations() > before);
    for (size_t i = 5; i < recipe.words_size / 4; i += recipe.words[i] >> 16)
        assert_false(is_name(recipe.words[i]));
    size_t size;
    uint8_t *const bytes = bytes_of(&recipe, &size);
    assert_true(read_back(bytes, size, &read));
    assert_equal(&recipe, &read);
    dj_recipe_finish(&read);
    dj_recipe_finish(&recipe);
    free(bytes);
    key.length = 17; /* none: a prime beyond VkFFT's radices */
    HARNESS_OK(dj_vkfft_generate(&silent, DJ_LOG_ERROR, &key, &recipe));
    assert_true(dj_recipe_key_equal(&recipe.key, &key));
    assert_int_equal(recipe.words_size, 0);
}
#endif

#if DJ_HAVE_PREBUILT
static void every_prebuilt_recipe_is_whole(void **state)
{
    (void)state;
    uint32_t kernels = 0;
    for (uint32_t length = DJ_PREBUILT_STEP; length <= DJ_PREBUILT_MAX_LENGTH;
         length += DJ_PREBUILT_STEP) {
        for (uint32_t type = 2; type <= 4; type++) {
            const uint32_t n = dj_prebuilt_number(type, length);
            const struct dj_recipe_key key = {dj_prebuilt_generator, type, length,
                                              DJ_PREBUILT_LIMITS};
            struct dj_recipe recipe;
            assert_in_range(n, 0, DJ_PREBUILT_COUNT - 1);
            assert_true(read_back(dj_prebuilt_data + dj_prebuilt_offsets[n],
                                  dj_prebuilt_offsets[n + 1] - dj_prebuilt_offsets[n], &recipe));
            assert_true(dj_recipe_key_equal(&recipe.key, &key));
            kernels += recipe.words_size > 0;
            dj_recipe_finish(&recipe);
        }
    }
    assert_int_equal(dj_prebuilt_number(2, 6), DJ_PREBUILT_COUNT);
    assert_int_equal(dj_prebuilt_number(2, 260), DJ_PREBUILT_COUNT);
    assert_int_equal(kernels, 3 * 45); /* the multiples without a prime factor above 13 */
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(what_is_written_is_read, harness_reseed),
        cmocka_unit_test_setup(that_there_is_no_kernel_is_written_too, harness_reseed),
        cmocka_unit_test_setup(numbers_are_little_endian, harness_reseed),
        cmocka_unit_test_setup(every_truncation_is_refused, harness_reseed),
        cmocka_unit_test_setup(numbers_out_of_range_are_refused, harness_reseed),
        cmocka_unit_test_setup(words_have_one_encoding, harness_reseed),
        cmocka_unit_test_setup(hostile_bytes_do_no_harm, harness_reseed),
        cmocka_unit_test_setup(only_names_are_stripped, harness_reseed),
#if DJ_HAVE_VKFFT
        cmocka_unit_test(generated_recipes_have_no_names),
#endif
#if DJ_HAVE_PREBUILT
        cmocka_unit_test(every_prebuilt_recipe_is_whole),
#endif
    };
    harness_prepare();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
