/* SPDX-License-Identifier: MIT */
/* What is changed in kernels before a device sees them. TEST_SHADERS lists the embedded ones. */
#include "harness.h"

#include "../lib/pipeline.h"
#include "../lib/spirv.h"
#include "../lib/vkfft.h"
#include "shaders.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    HEADER = 5,
    OP_EXTENSION = 10,
    OP_ENTRY_POINT = 15,
    OP_EXECUTION_MODE = 16,
    OP_CAPABILITY = 17,
    OP_SPEC_CONSTANT_TRUE = 48,
    OP_SPEC_CONSTANT_FALSE = 49,
    OP_SPEC_CONSTANT = 50,
    OP_DECORATE = 71,
    OP_SHUFFLE = 345,
    OP_READ = 4432 /* SubgroupReadInvocationKHR */
};

#define X(name) &dj_shader_##name,
static const struct dj_shader *const table[] = {TEST_SHADERS};
#undef X
#define OP(opcode, length) ((uint32_t)(length) << 16 | (opcode))
enum {
    EVERY_CHANGE = DJ_SPIRV_PRESERVE_NAN | DJ_SPIRV_READ_INVOCATION,
    MOST_SHADERS = 2 * sizeof table / sizeof *table
};

/* The modules: of each shader by descriptors, where it is so bound, and by addresses. */
static struct dj_shader shaders[MOST_SHADERS];
static int shader_count;

static int list_shaders(void **state)
{
    (void)state;
    shader_count = 0;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (table[i]->size > 0)
            shaders[shader_count++] = *table[i];
        shaders[shader_count] = *table[i];
        shaders[shader_count].words = table[i]->addressed_words;
        shaders[shader_count++].size = table[i]->addressed_size;
    }
    return 0;
}

/* A module with changes; its words, to be freed. */
static uint32_t *change(const uint32_t *words, size_t count, uint32_t changes, size_t *got)
{
    uint32_t *out = calloc(count + DJ_SPIRV_MOST_ADDED + 1, sizeof *out);
    assert_non_null(out);
    out[count + DJ_SPIRV_MOST_ADDED] = HARNESS_POISON;
    *got = dj_spirv_change(words, count, changes, out);
    assert_int_equal(out[count + DJ_SPIRV_MOST_ADDED], HARNESS_POISON);
    return out;
}

/* By preserving NaN. */
static bool is_added(const uint32_t *at, uint32_t entry)
{
    static const char extension[24] = "SPV_KHR_float_controls";
    switch (at[0] & 0xffff) {
    case OP_CAPABILITY:
        return at[1] == 4466; /* SignedZeroInfNanPreserve */
    case OP_EXTENSION:
        return at[0] >> 16 == 7 && memcmp(at + 1, extension, sizeof extension) == 0;
    case OP_EXECUTION_MODE:
        return at[0] >> 16 == 4 && at[1] == entry && at[2] == 4461 && (at[3] == 32 || at[3] == 16);
    default:
        return false;
    }
}

/* Without the three instructions it is the module that it was made from, and it has each once. */
static void assert_added(const uint32_t *words, size_t count, const uint32_t *got, size_t got_count,
                         size_t instructions)
{
    uint32_t entry = 0;
    size_t at = HEADER, from = HEADER, added = 0;
    assert_memory_equal(words, got, HEADER * sizeof *words);
    while (at < got_count) {
        const size_t length = got[at] >> 16;
        if ((got[at] & 0xffff) == OP_ENTRY_POINT)
            entry = got[at + 2];
        if (is_added(got + at, entry)) {
            added++;
        } else {
            assert_true(from + length <= count);
            assert_memory_equal(words + from, got + at, length * sizeof *words);
            from += length;
        }
        at += length;
    }
    assert_int_equal(at, got_count);
    assert_int_equal(from, count);
    assert_int_equal(added, instructions);
}

static void every_kernel_asks_for_nan_and_inf(void **state)
{
    (void)state;
    for (int i = 0; i < shader_count; i++) {
        const size_t count = shaders[i].size / 4;
        size_t got_count = 0;
        uint32_t *got = change(shaders[i].words, count, DJ_SPIRV_PRESERVE_NAN, &got_count);
        const bool halves = strstr(shaders[i].name, "matrix") || strstr(shaders[i].name, "chunk") ||
                            strstr(shaders[i].name, "half");
        assert_int_equal(got_count, count + (halves ? 17 : 13));
        assert_added(shaders[i].words, count, got, got_count, halves ? 4 : 3);
        free(got);
    }
}

/* Whether an instruction is one of two that reads of invocations bring with them. */
static bool is_of_reads(const uint32_t *at)
{
    static const char extension[24] = "SPV_KHR_shader_ballot";
    return ((at[0] & 0xffff) == OP_CAPABILITY && at[1] == 4423) /* SubgroupBallotKHR */ ||
           (at[0] == OP(OP_EXTENSION, 7) && memcmp(at + 1, extension, sizeof extension) == 0);
}

static void shuffles_become_reads(void **state)
{
    (void)state;
    size_t residents = 0;
    for (int i = 0; i < shader_count; i++) {
        const uint32_t *const words = shaders[i].words;
        const size_t count = shaders[i].size / 4;
        size_t got_count = 0, added = 0, reads = 0, from = HEADER;
        uint32_t *got = change(words, count, DJ_SPIRV_READ_INVOCATION, &got_count);
        for (size_t at = HEADER, length; at < got_count; at += length) {
            length = got[at] >> 16;
            if (is_of_reads(got + at)) {
                added++;
                continue;
            }
            assert_true(from < count);
            if ((got[at] & 0xffff) == OP_READ) { /* type, result, value and lane, but no scope */
                reads++;
                assert_int_equal(got[at], OP(OP_READ, 5));
                assert_int_equal(words[from], OP(OP_SHUFFLE, 6));
                assert_memory_equal(words + from + 1, got + at + 1, 2 * sizeof *words);
                assert_memory_equal(words + from + 4, got + at + 3, 2 * sizeof *words);
            } else {
                assert_int_not_equal(got[at] & 0xffff, OP_SHUFFLE);
                assert_memory_equal(words + from, got + at, length * sizeof *words);
            }
            from += words[from] >> 16;
        }
        assert_int_equal(from, count);
        assert_int_equal(added, 2);
        assert_int_equal(got_count, count + 9 - reads);
        free(got);
        if (strncmp(shaders[i].name, "resident", 8) == 0) {
            assert_true(reads > 0);
            residents++;
        }
    }
    assert_true(residents > 0);
}

/* Runs spirv-val on a module; false if there is none. */
static bool validate(const char *name, const uint32_t *words, size_t count)
{
    if (system("command -v spirv-val >/dev/null 2>&1") != 0)
        return false;
    char path[] = "/tmp/dijiang-test-spirv-XXXXXX", command[128];
    const int file = mkstemp(path);
    assert_true(file >= 0);
    FILE *stream = fdopen(file, "wb");
    assert_non_null(stream);
    assert_int_equal(fwrite(words, sizeof *words, count, stream), count);
    fclose(stream);
    snprintf(command, sizeof command, "spirv-val --target-env vulkan1.1 %s >&2", path);
    const int status = system(command);
    remove(path);
    if (status != 0)
        fail_msg("%s: spirv-val refuses it", name);
    return true;
}

static void what_is_made_is_valid(void **state)
{
    (void)state;
    for (int i = 0; i < shader_count; i++) {
        for (uint32_t changes = 1; changes <= EVERY_CHANGE; changes++) {
            size_t count = 0;
            uint32_t *got = change(shaders[i].words, shaders[i].size / 4, changes, &count);
            const bool validated = validate(shaders[i].name, got, count);
            free(got);
            if (!validated)
                harness_skip("spirv-val is not installed (Debian: spirv-tools)");
        }
    }
}

static void generated_kernels_ask_too(void **state)
{
    (void)state;
#if DJ_HAVE_VKFFT
    static const struct dj_log silent = {0};
    struct dj_recipe_key key = {
        .generator = dj_vkfft_version(),
        .length = 16,
        .limits = {.shared_memory = 32768, .max_invocations = 1024, .max_size = {1024, 1024, 64}}};
    for (key.type = 2; key.type <= 4; key.type++) {
        struct dj_recipe recipe;
        assert_int_equal(dj_vkfft_generate(&silent, DJ_LOG_ERROR, &key, &recipe), DJ_SUCCESS);
        size_t count = 0;
        uint32_t *got = change(recipe.words, recipe.words_size / 4, DJ_SPIRV_PRESERVE_NAN, &count);
        assert_true(count > 0);
        assert_added(recipe.words, recipe.words_size / 4, got, count, 3);
        (void)validate("a generated kernel", got, count);
        free(got);
        dj_recipe_finish(&recipe);
    }
#else
    harness_skip("no generated kernels in this build");
#endif
}

static void later_versions_need_no_extension(void **state)
{
    (void)state;
    const size_t count = shaders[0].size / 4;
    uint32_t *words = malloc(shaders[0].size);
    assert_non_null(words);
    memcpy(words, shaders[0].words, shaders[0].size);
    words[1] = 0x00010400;
    size_t got_count = 0;
    uint32_t *got = change(words, count, DJ_SPIRV_PRESERVE_NAN, &got_count);
    assert_int_equal(got_count, count + 6);
    assert_added(words, count, got, got_count, 2);
    free(got);
    words[1] = 0x00020000;
    free(change(words, count, DJ_SPIRV_PRESERVE_NAN, &got_count));
    assert_int_equal(got_count, 0);
    free(words);
}

/* The words that become of a module; 0: none. */
static size_t try_module(const uint32_t *words, size_t count, uint32_t changes)
{
    size_t got = 0;
    free(change(words, count, changes, &got));
    return got;
}

#define START 0x07230203, 0x00010300, 0, 9, 0
#define SHADER OP(OP_CAPABILITY, 2), 1
#define ENTRY(model) OP(OP_ENTRY_POINT, 5), (model), 4, 0x6e69616d, 0
#define LOCAL_SIZE OP(OP_EXECUTION_MODE, 6), 4, 17, 1, 1, 1
#define TRY_WITH(changes, ...) \
    try_module((const uint32_t[]){__VA_ARGS__}, \
               sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t), (changes))
#define TRY(...) TRY_WITH(DJ_SPIRV_PRESERVE_NAN, __VA_ARGS__)

static void what_is_not_understood_stays_as_it_is(void **state)
{
    (void)state;
    assert_int_equal(TRY(START, SHADER, ENTRY(5), LOCAL_SIZE), 5 + 2 + 5 + 6 + 13);
    assert_int_equal(TRY(START, SHADER, ENTRY(5)), 5 + 2 + 5 + 13);
    assert_int_equal(TRY(START), 0);
    assert_int_equal(TRY(0x03022307, 0x00010300, 0, 9, 0, SHADER, ENTRY(5)), 0); /* swapped */
    assert_int_equal(TRY(START, ENTRY(5)), 0);
    assert_int_equal(TRY(START, SHADER), 0);
    assert_int_equal(TRY(START, SHADER, ENTRY(4)), 0);             /* a fragment shader */
    assert_int_equal(TRY(START, SHADER, ENTRY(5), ENTRY(5)), 0);   /* which one? */
    assert_int_equal(TRY(START, ENTRY(5), SHADER), 0);             /* out of order */
    assert_int_equal(TRY(START, SHADER, LOCAL_SIZE, ENTRY(5)), 0); /* likewise */
    assert_int_equal(TRY(START, SHADER, ENTRY(5), OP(43, 0)), 0);  /* an instruction of no words */
    assert_int_equal(TRY(START, SHADER, ENTRY(5), OP(43, 2)), 0);  /* one cut off */
    assert_int_equal(TRY(START, OP(OP_CAPABILITY, 3), 1, 2, ENTRY(5)), 0);
    assert_int_equal(TRY(START, SHADER, OP(OP_ENTRY_POINT, 3), 5, 4), 0);
    for (uint32_t capability = 4464; capability <= 4468; capability++)
        assert_int_equal(TRY(START, SHADER, OP(OP_CAPABILITY, 2), capability, ENTRY(5)), 0);
}

/* Each change by itself, both, and from SPIR-V 1.4 on, whose float controls are no extension. */
static void changes_add_up(void **state)
{
    (void)state;
#define SHUFFLE OP(OP_SHUFFLE, 6), 1, 2, 3, 5, 6
#define LATER 0x07230203, 0x00010400, 0, 9, 0
    const size_t before = 5 + 2 + 5 + 6;
    assert_int_equal(TRY_WITH(DJ_SPIRV_PRESERVE_NAN, START, SHADER, ENTRY(5), SHUFFLE),
                     before + 13);
    assert_int_equal(TRY_WITH(DJ_SPIRV_READ_INVOCATION, START, SHADER, ENTRY(5), SHUFFLE),
                     before + 9 - 1);
    assert_int_equal(TRY_WITH(EVERY_CHANGE, START, SHADER, ENTRY(5), SHUFFLE), before + 22 - 1);
    assert_int_equal(TRY_WITH(EVERY_CHANGE, LATER, SHADER, ENTRY(5), SHUFFLE), before + 15 - 1);
    assert_int_equal(TRY_WITH(EVERY_CHANGE, LATER, SHADER, ENTRY(5), SHUFFLE, SHUFFLE),
                     before + 6 + 15 - 2);
    assert_int_equal(TRY_WITH(DJ_SPIRV_READ_INVOCATION, START, SHADER), 0);
    assert_int_equal(TRY_WITH(DJ_SPIRV_READ_INVOCATION, START, SHADER, ENTRY(5), OP(43, 0)), 0);
}

/* The number of the specialization constant that an id is; DJ_MOST_CONSTANTS: it is none. */
static uint32_t constant_number(const uint32_t *words, size_t count, uint32_t id)
{
    for (size_t at = HEADER; at < count; at += words[at] >> 16) {
        if ((words[at] & 0xffff) == OP_DECORATE && words[at + 1] == id && words[at + 2] == 1)
            return words[at + 3];
    }
    return DJ_MOST_CONSTANTS;
}

/* What the instruction at `at` should have become. */
static void assert_specialized(const uint32_t *words, size_t count, const uint32_t *got, size_t at,
                               const uint32_t *values, uint32_t values_count)
{
    const uint32_t opcode = words[at] & 0xffff, length = words[at] >> 16;
    const bool constant = opcode >= OP_SPEC_CONSTANT_TRUE && opcode <= OP_SPEC_CONSTANT;
    uint32_t want[4];
    const uint32_t n = constant ? constant_number(words, count, words[at + 2]) : DJ_MOST_CONSTANTS;
    if (n >= values_count) {
        assert_memory_equal(got + at, words + at, 4 * length);
        return;
    }
    memcpy(want, words + at, 4 * length);
    if (opcode == OP_SPEC_CONSTANT)
        want[3] = values[n];
    else
        want[0] = OP(values[n] ? OP_SPEC_CONSTANT_TRUE : OP_SPEC_CONSTANT_FALSE, 3);
    assert_memory_equal(got + at, want, 4 * length);
}

/* Those that have values have them then, and nothing else is another word than before. */
static void constants_are_written(void **state)
{
    (void)state;
    for (int i = 0; i < shader_count; i++) {
        const size_t count = shaders[i].size / 4;
        for (uint32_t given = 0; given <= DJ_MOST_CONSTANTS; given++) {
            uint32_t values[DJ_MOST_CONSTANTS];
            uint32_t *const words = malloc(shaders[i].size);
            assert_non_null(words);
            memcpy(words, shaders[i].words, shaders[i].size);
            for (uint32_t n = 0; n < given; n++)
                values[n] = (n + given) % 3 ? 1000 + n : 0;
            dj_spirv_specialize(words, count, values, given);
            for (size_t at = HEADER; at < count; at += words[at] >> 16)
                assert_specialized(shaders[i].words, count, words, at, values, given);
            free(words);
        }
    }
}

/* Any words at all: nothing is read or written outside (the sanitizers would say). */
static void damaged_modules_do_no_harm(void **state)
{
    (void)state;
    for (int i = 0; i < shader_count; i++) {
        const size_t count = shaders[i].size / 4;
        for (int n = 0; n < 200; n++) {
            const size_t kept = n % 2 ? count : (size_t)(harness_random() % (count + 1));
            uint32_t *words = malloc(kept * sizeof *words + 1);
            assert_non_null(words);
            memcpy(words, shaders[i].words, kept * sizeof *words);
            for (int flips = n % 4; kept > 0 && flips > 0; flips--)
                words[harness_random() % (n % 8 < 4 && kept > 40 ? 40 : kept)] ^=
                    1u << harness_random() % 32;
            const uint32_t changes = 1 + (uint32_t)n % EVERY_CHANGE;
            const size_t got = try_module(words, kept, changes);
            assert_true(got <= kept + DJ_SPIRV_MOST_ADDED);
            assert_true(got == 0 || got > kept || changes != DJ_SPIRV_PRESERVE_NAN);
            free(words);
        }
    }
}

static const struct CMUnitTest tests[] = {
    HARNESS_TEST(every_kernel_asks_for_nan_and_inf),
    HARNESS_TEST(shuffles_become_reads),
    HARNESS_TEST(what_is_made_is_valid),
    HARNESS_TEST(generated_kernels_ask_too),
    HARNESS_TEST(later_versions_need_no_extension),
    HARNESS_TEST(what_is_not_understood_stays_as_it_is),
    HARNESS_TEST(changes_add_up),
    HARNESS_TEST(constants_are_written),
    HARNESS_TEST(damaged_modules_do_no_harm),
};

int main(void)
{
    harness_prepare();
    return cmocka_run_group_tests(tests, list_shaders, NULL);
}
