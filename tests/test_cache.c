/* SPDX-License-Identifier: MIT */
/* Caches as bytes. What is cached is looked at inside: how much was compiled, what was submitted.
 * Their files are in test_cache_files.c. */
#include "caches.h"

#include "../lib/choices.h"

#include "twin.h"
#include <dijiang/attention.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
    HEADER = 72,
    /* where in it things are */
    FORMAT_AT = 8,
    VERSION_AT = 12,
    VENDOR_AT = 16,
    DEVICE_AT = 20,
    DRIVER_AT = 24,
    RECIPES_AT = 28,
    UUID_AT = 32,
    PIPELINES_AT = 48,
    SIZE_AT = 56,
    HASH_AT = 64,
};

/* A plan's result against the twin's. */
static void assert_right(dj_context *context, uint32_t type, uint32_t length)
{
    float x[64], got[64];
    double input[64], want[64];
    const uint64_t shape[4] = {1, 1, 1, length};
    struct dj_dct_args args = {0};
    harness_fill_normal(x, length, 1.0);
    for (uint32_t i = 0; i < length; i++)
        input[i] = x[i];
    twin_dct((int)type, length, input, want);
    HARNESS_OK(dj_tensor_create(context, DJ_FLOAT32, shape, x, &args.input));
    HARNESS_OK(dj_tensor_create(context, DJ_FLOAT32, shape, NULL, &args.output));
    dj_dct *made = plan(context, type, length);
    HARNESS_OK(dj_dct_run(made, &args));
    harness_read(args.output.buffer, 0, got, length * sizeof(float));
    harness_assert_within(harness_error(got, want, length), 1e-6, "a DCT with a cache");
    dj_dct_destroy(&made);
    dj_buffer_destroy(&args.input.buffer);
    dj_buffer_destroy(&args.output.buffer);
}

/* A context's cache, to be freed. */
static uint8_t *save(dj_context *context, uint64_t *size)
{
    HARNESS_OK(dj_cache_save(context, NULL, size));
    assert_true(*size >= HEADER);
    uint8_t *const data = malloc((size_t)*size);
    assert_non_null(data);
    HARNESS_OK(dj_cache_save(context, data, size));
    return data;
}

/* The cache of a context that made the plans. */
static uint8_t *cache_of_plans(uint32_t device, uint64_t *size)
{
    dj_context *context = context_on(device, NULL, 0);
    make_plans(context);
    uint8_t *const data = save(context, size);
    done(&context);
    return data;
}

static void put(uint8_t *bytes, size_t at, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        bytes[at + (size_t)i] = (uint8_t)(value >> 8 * i);
}

static uint32_t get(const uint8_t *bytes, size_t at)
{
    return (uint32_t)bytes[at] | (uint32_t)bytes[at + 1] << 8 | (uint32_t)bytes[at + 2] << 16 |
           (uint32_t)bytes[at + 3] << 24;
}

/* Makes the hash right again: FNV-1a of all bytes but its own. */
static void rehash(uint8_t *bytes, uint64_t size)
{
    uint64_t hash = 14695981039346656037u;
    for (uint64_t i = 0; i < size; i++) {
        if (i < HASH_AT || i >= HEADER) {
            hash ^= bytes[i];
            hash *= 1099511628211u;
        }
    }
    put(bytes, HASH_AT, (uint32_t)hash);
    put(bytes, HASH_AT + 4, (uint32_t)(hash >> 32));
}

static void a_cache_saves_compiling_and_trials(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < harness_device_count(); i++) {
        dj_context *cold = context_on(i, NULL, 0);
        watch(cold);
        make_plans(cold);
        assert_took(3, 3);
        make_plans(cold); /* the context's own list is as good */
        assert_took(3, 3);
        uint64_t size, again;
        uint8_t *const data = save(cold, &size);
        done(&cold);

        dj_context *warm = context_on(i, data, size);
        assert_false(logged(DJ_LOG_WARNING, ""));
        assert_false(logged(DJ_LOG_INFO, "cache"));
        watch(warm);
        make_plans(warm);
        assert_took(0, 0);
        assert_right(warm, DJ_DCT_2, 8);
        assert_right(warm, DJ_DCT_4, 16);
        HARNESS_OK(dj_cache_save(warm, NULL, &again));
        if (get(data, PIPELINES_AT) == 32) /* this driver keeps nothing: the kernels alone */
            assert_int_equal(again, size);
        done(&warm);
        free(data);
    }
}

static void a_cache_grows_by_what_is_new(void **state)
{
    (void)state;
    uint64_t size, more;
    uint8_t *const data = cache_of_plans(0, &size);
    dj_context *context = context_on(0, data, size);
    watch(context);
    make_plans(context);
    dj_dct *made = plan(context, DJ_DCT_2, 20);
    dj_dct_destroy(&made);
    assert_took(1, 1);
    uint8_t *const grown = save(context, &more);
    done(&context);
    if (DJ_HAVE_VKFFT || DJ_HAVE_PREBUILT)
        assert_true(more > size);
    context = context_on(0, grown, more);
    watch(context);
    make_plans(context);
    made = plan(context, DJ_DCT_2, 20);
    dj_dct_destroy(&made);
    assert_took(0, 0);
    done(&context);
    free(grown);
    free(data);
}

static void any_alignment_will_do(void **state)
{
    (void)state;
    uint64_t size;
    uint8_t *const data = cache_of_plans(0, &size);
    uint8_t *const moved = malloc((size_t)size + 1);
    assert_non_null(moved);
    memcpy(moved + 1, data, (size_t)size);
    HARNESS_OK(dj_cache_check(harness_context(0), moved + 1, size));
    dj_context *context = context_on(0, moved + 1, size);
    HARNESS_OK(dj_cache_save(context, moved + 1, &size));
    HARNESS_OK(dj_cache_check(harness_context(0), moved + 1, size));
    done(&context);
    free(moved);
    free(data);
}

/* A verdict goes with its kernel: what was wrong stays unused, without another trial. */
static void a_kernel_found_wrong_is_not_tried_again(void **state)
{
    (void)state;
    if (!DJ_HAVE_VKFFT && !DJ_HAVE_PREBUILT) {
        print_message("# built without VkFFT: no kernel to find wrong\n");
        return;
    }
    uint64_t size;
    dj_context *context = context_on(0, NULL, 0);
    make_plans(context);
    for (struct dj_recipe_entry *entry = dj_recipes_first(context); entry; entry = entry->next) {
        if (entry->recipe.key.length == 8)
            atomic_store(&entry->verdict, DJ_VERDICT_WRONG);
    }
    uint8_t *const data = save(context, &size);
    done(&context);
    context = context_on(0, data, size);
    watch(context);
    dj_dct *made;
    struct dj_dct_params params = {.type = DJ_DCT_2, .length = 8, .path = DJ_DCT_PATH_GENERATED};
    HARNESS_RESULT(dj_dct_create(context, &params, &made), DJ_ERROR_COMPILER);
    assert_true(logged(DJ_LOG_ERROR, "was wrong on this device"));
    line_count = 0;
    make_plans(context);
    assert_took(0, 0);
    assert_false(logged(DJ_LOG_ERROR, ""));
    assert_true(logged(DJ_LOG_WARNING, "was wrong on this device"));
    assert_true(logged(DJ_LOG_WARNING, "the dense kernel takes over"));
    assert_right(context, DJ_DCT_2, 8);
    done(&context);
    free(data);
}

static void a_context_without_trials_submits_nothing(void **state)
{
    (void)state;
    uint64_t size;
    dj_context *context = context_on(0, NULL, 0);
    context->trials = false;
    watch(context);
    make_plans(context);
    assert_took(3, 0);
    uint8_t *const data = save(context, &size);
    done(&context);
    context = context_on(0, data, size); /* the next, which may, makes up for it */
    watch(context);
    make_plans(context);
    assert_took(0, 3);
    done(&context);
    free(data);
}

/* Of a length that a fused kernel has; another one shows that there is something to count. */
static void fused_kernels_take_no_compiling(void **state)
{
    (void)state;
    static const uint32_t dims[] = {16, 32, 64, 80, 128, 256, 44};
    bool covered = false;
    for (uint32_t i = 0; i < harness_device_count(); i++) {
        dj_context *context = context_on(i, NULL, 0);
        const bool fused = context->info.type == DJ_DEVICE_CPU && /* they are the default there */
                           context->subgroups > 0 && context->device_addresses;
        watch(context);
        for (size_t n = 0; fused && n < sizeof dims / sizeof *dims; n++) {
            const struct dj_attention_params params = {.heads = 1, .dim = dims[n]};
            dj_attention *made;
            HARNESS_OK(dj_attention_create(context, &params, &made));
            dj_attention_destroy(&made);
            assert_took(dims[n] == 44, dims[n] == 44);
        }
        covered = covered || fused;
        done(&context);
    }
    if (!covered)
        harness_skip("no device has fused kernels by default");
}

static void assert_refused(const void *data, uint64_t size)
{
    const dj_result result = dj_cache_check(harness_context(0), data, size);
    assert_string_equal(dj_result_name(result), "DJ_ERROR_CACHE");
}

/* harness_context(0) prints what it logs: silent while thousands are refused. */
static uint32_t hush(uint32_t level)
{
    struct dj_log *const log = &harness_context(0)->log;
    const uint32_t old = log->level;
    log->level = level;
    return old;
}

static void every_flipped_bit_is_refused(void **state)
{
    (void)state;
    uint64_t size;
    uint8_t *const data = cache_of_plans(0, &size);
    HARNESS_OK(dj_cache_check(harness_context(0), data, size));
    const uint32_t level = hush(0);
    for (uint64_t n = 0; n < HEADER * 8 + 2000; n++) {
        const uint64_t bit = n < HEADER * 8 ? n : harness_random() % (8 * size);
        data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_refused(data, size);
        data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    hush(level);
    free(data);
}

static void every_truncation_is_refused(void **state)
{
    (void)state;
    uint64_t size;
    uint8_t *const data = cache_of_plans(0, &size);
    const uint32_t level = hush(0);
    for (uint64_t n = 0; n < 2000; n++) {
        /* from both ends, then anywhere */
        const uint64_t from_end = size - 1 - n % size;
        const uint64_t length = n < 200 ? n % size : n < 400 ? from_end : harness_random() % size;
        uint8_t *const cut = malloc(length ? (size_t)length : 1); /* its end is a sanitizer's */
        assert_non_null(cut);
        memcpy(cut, data, (size_t)length);
        assert_refused(cut, length);
        if (length >= HEADER) { /* as if it were meant to be so short */
            put(cut, SIZE_AT, (uint32_t)length);
            rehash(cut, length);
            assert_refused(cut, length);
        }
        free(cut);
    }
    uint8_t *const longer = calloc(1, (size_t)size + 1);
    assert_non_null(longer);
    memcpy(longer, data, (size_t)size);
    assert_refused(longer, size + 1);
    hush(level);
    free(longer);
    free(data);
}

/* Choices stand at the end: their number, then for each 12 words of a plan, a size, a family. */
static void choices_are_checked(void **state)
{
    (void)state;
    enum {
        WORDS = 14
    };
    const struct {
        size_t word; /* from the last choice's start; WORDS: none is changed */
        uint32_t value;
        bool taken;
    } cases[] = {{WORDS, 0, true},
                 {13, DJ_FAMILY_TILED, true},
                 {12, DJ_CHOICE_SIZES - 1, true},
                 {12, DJ_CHOICE_SIZES, false},
                 {13, DJ_FAMILY_DEFAULT, false},
                 {13, DJ_FAMILY_TUNED, false},
                 {13, UINT32_MAX, false}};
    dj_context *context = context_on(0, NULL, 0);
    struct dj_choice choice = {.size = 17, .family = DJ_FAMILY_RESIDENT};
    for (uint32_t i = 0; i < 3; i++) {
        choice.key.words[0] = i / 2; /* the second is there already */
        const struct dj_choice *const kept = dj_choices_add(context, &choice);
        assert_non_null(kept);
        assert_int_equal(kept->family, i < 2 ? DJ_FAMILY_RESIDENT : DJ_FAMILY_TILED);
        choice.family = DJ_FAMILY_TILED;
    }
    uint64_t size;
    uint8_t *const data = save(context, &size);
    done(&context);
    const size_t last = (size_t)size - 4 * WORDS, count = last - 4 * WORDS - 4;
    assert_int_equal(get(data, count), 2);
    const uint32_t level = hush(0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t *const copy = malloc((size_t)size);
        assert_non_null(copy);
        memcpy(copy, data, (size_t)size);
        if (cases[i].word < WORDS)
            put(copy, last + 4 * cases[i].word, cases[i].value);
        rehash(copy, size);
        assert_int_equal(dj_cache_check(harness_context(0), copy, size),
                         cases[i].taken ? DJ_SUCCESS : DJ_ERROR_CACHE);
        free(copy);
    }
    for (uint32_t more = 1; more < 3; more++) { /* one too many, and far too many */
        put(data, count, more == 1 ? 3 : UINT32_MAX);
        rehash(data, size);
        assert_refused(data, size);
    }
    hush(level);
    free(data);
}

/* What is whole, but of another device or version, or made by no dijiang. */
static void what_is_foreign_is_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        const char *text;
        bool info;
    } fields[] = {
        {0, "does not begin", false},
        {FORMAT_AT, "its format", true},
        {VERSION_AT, "dijiang", true},
        {VENDOR_AT, "of device", true},
        {DEVICE_AT, "of device", true},
        {DRIVER_AT, "the driver", true},
        {UUID_AT, "the driver", true},
        {UUID_AT + 12, "the driver", true},
        {PIPELINES_AT + 4, "bytes", false},
        {SIZE_AT + 4, "bytes", false},
        {RECIPES_AT, "kernels", false},
        {HEADER, "pipeline cache", false},      /* Vulkan's own header: its size, */
        {HEADER + 4, "pipeline cache", false},  /* version, */
        {HEADER + 8, "pipeline cache", false},  /* vendor, */
        {HEADER + 12, "pipeline cache", false}, /* device */
        {HEADER + 16, "pipeline cache", false}, /* and UUID */
    };
    uint64_t size;
    uint8_t *const data = cache_of_plans(0, &size);
    assert_true(get(data, PIPELINES_AT) >= 32);
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        const uint32_t value = get(data, fields[i].at);
        put(data, fields[i].at, value + 1);
        rehash(data, size);
        dj_context *context = context_on(0, data, size);
        if (!logged(fields[i].info ? DJ_LOG_INFO : DJ_LOG_WARNING, fields[i].text))
            fail_msg("field at %zu: no line with '%s'", fields[i].at, fields[i].text);
        assert_true(logged(fields[i].info ? DJ_LOG_INFO : DJ_LOG_WARNING, "the cache is not used"));
        watch(context);
        if (i == 0 || i + 1 == sizeof fields / sizeof *fields) {
            make_plans(context);
            assert_took(3, 3);
            assert_right(context, DJ_DCT_3, 12);
        }
        done(&context);
        put(data, fields[i].at, value);
    }
    rehash(data, size);
    HARNESS_OK(dj_cache_check(harness_context(0), data, size));
    free(data);
}

/* A right hash over wrong recipes. */
static void malformed_recipes_are_refused(void **state)
{
    (void)state;
    uint64_t size;
    uint8_t *const data = cache_of_plans(0, &size);
    const size_t first = HEADER + get(data, PIPELINES_AT);
    if (get(data, RECIPES_AT) == 0) {
        print_message("# built without VkFFT: no recipes to damage\n");
        free(data);
        return;
    }
    const uint32_t level = hush(0);
    const uint32_t verdict = get(data, first);
    put(data, first, 3);
    rehash(data, size);
    assert_refused(data, size);
    put(data, first, verdict);
    put(data, RECIPES_AT, UINT32_MAX);
    rehash(data, size);
    assert_refused(data, size);
    put(data, RECIPES_AT, 0);
    rehash(data, size);
    assert_refused(data, size);
    for (int i = 0; i < 2000; i++) { /* taken or not: nothing is read or kept beyond */
        const uint64_t at = first + harness_random() % (size - first);
        const uint8_t old = data[at];
        data[at] = (uint8_t)harness_random();
        rehash(data, size);
        (void)dj_cache_check(harness_context(0), data, size);
        data[at] = old;
    }
    hush(level);
    free(data);
}

static void wrong_arguments_are_refused(void **state)
{
    (void)state;
    uint64_t size = 0, needed;
    uint8_t bytes[80];
    dj_context *context = context_on(0, NULL, 0);
    HARNESS_RESULT(dj_cache_save(NULL, NULL, &size), DJ_ERROR_INVALID_ARGUMENT);
    HARNESS_RESULT(dj_cache_save(context, NULL, NULL), DJ_ERROR_INVALID_ARGUMENT);
    HARNESS_RESULT(dj_cache_check(NULL, bytes, 1), DJ_ERROR_INVALID_ARGUMENT);
    HARNESS_RESULT(dj_cache_check(context, NULL, 1), DJ_ERROR_INVALID_ARGUMENT);
    HARNESS_RESULT(dj_cache_file_load(NULL, NULL), DJ_ERROR_INVALID_ARGUMENT);
    HARNESS_RESULT(dj_cache_file_save(NULL, NULL), DJ_ERROR_INVALID_ARGUMENT);
    HARNESS_OK(dj_cache_save(context, NULL, &needed));
    memset(bytes, 0xa5, sizeof bytes);
    size = HEADER; /* less than it takes, as any cache has Vulkan's header */
    line_count = 0;
    HARNESS_RESULT(dj_cache_save(context, bytes, &size), DJ_ERROR_LIMIT);
    assert_int_equal(size, needed);
    assert_int_equal(line_count, 1);
    for (size_t i = 0; i < sizeof bytes; i++)
        assert_int_equal(bytes[i], 0xa5);
    done(&context);
}

static atomic_bool saving;

static void *save_meanwhile(void *context)
{
    static uint8_t data[1 << 20];
    while (atomic_load(&saving)) {
        uint64_t size = sizeof data;
        if (dj_cache_save(context, data, &size) != DJ_SUCCESS ||
            dj_cache_check(context, data, size) != DJ_SUCCESS)
            return "a cache saved while plans are made is not whole";
    }
    return NULL;
}

static void caches_are_saved_while_plans_are_made(void **state)
{
    (void)state;
    dj_context *context = context_on(0, NULL, 0);
    pthread_t thread;
    void *failure;
    atomic_store(&saving, true);
    assert_int_equal(pthread_create(&thread, NULL, save_meanwhile, context), 0);
    make_plans(context);
    atomic_store(&saving, false);
    pthread_join(thread, &failure);
    if (failure)
        fail_msg("%s", (char *)failure);
    done(&context);
}

static const struct CMUnitTest tests[] = {
    HARNESS_TEST(a_cache_saves_compiling_and_trials),
    HARNESS_TEST(a_cache_grows_by_what_is_new),
    HARNESS_TEST(any_alignment_will_do),
    HARNESS_TEST(a_kernel_found_wrong_is_not_tried_again),
    HARNESS_TEST(a_context_without_trials_submits_nothing),
    HARNESS_TEST(fused_kernels_take_no_compiling),
    HARNESS_TEST(every_flipped_bit_is_refused),
    HARNESS_TEST(choices_are_checked),
    HARNESS_TEST(every_truncation_is_refused),
    HARNESS_TEST(what_is_foreign_is_refused_by_name),
    HARNESS_TEST(malformed_recipes_are_refused),
    HARNESS_TEST(wrong_arguments_are_refused),
    HARNESS_TEST(caches_are_saved_while_plans_are_made),
};

HARNESS_MAIN(tests)
