/* SPDX-License-Identifier: MIT */
#include "files.h"
#include "half.h"

#include "safetensors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static struct safetensors *open_ok(const char *path)
{
    struct safetensors_error error;
    struct safetensors *file = safetensors_open(path, &error);
    if (!file)
        print_error("%s: %s\n", path, error.text);
    assert_non_null(file);
    return file;
}

/* Opening must fail with one clean line that contains text. */
static void assert_refused(const char *path, const char *text)
{
    struct safetensors_error error = {""};
    struct safetensors *file = safetensors_open(path, &error);
    assert_null(file);
    if (!strstr(error.text, text))
        fail_msg("'%s' does not contain '%s'", error.text, text);
    for (const char *c = error.text; *c; c++)
        assert_true(*c >= 0x20 && *c < 0x7f);
}

static void test_metadata_is_read(void **state)
{
    (void)state;
    const struct safetensors_metadata metadata[] = {
        {"map", "wdcf"}, {"empty", ""}, {"map2", "2nd"}};
    const struct safetensors_output tensor = {"a", 0, NULL, (const float[]){7}};
    struct safetensors_error error;
    for (uint32_t tensors = 0; tensors < 2; tensors++) {
        assert_true(safetensors_write_described(files_path("described"), metadata, 3, &tensor,
                                                tensors, NULL, &error));
        struct safetensors *file = open_ok(files_path("described"));
        assert_int_equal(file->count, tensors);
        assert_int_equal(file->metadata_count, 3);
        assert_string_equal(safetensors_find_metadata(file, "map"), "wdcf");
        assert_string_equal(safetensors_find_metadata(file, "empty"), "");
        assert_null(safetensors_find_metadata(file, "ma"));
        safetensors_close(&file);
    }
    static const char *const odd[] = {
        "{\"__metadata__\":{\"a\":1}}",
        "{\"__metadata__\":{\"b\":\"x\",\"c\":{\"a\":\"x\"}}}",
        "{\"__metadata__\":{\"b\":\"x\",\"b\":\"y\"}}",
        "{\"__metadata__\":{\"\302\2332J\":\"x\",\"a\":\"\",\"\\u009b2J\":\"y\"}}",
        "{\"__metadata__\":[]}",
    };
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
        assert_refused(files_write_tensors("odd", odd[i], NULL, 0), "__metadata__");
    struct safetensors *file =
        open_ok(files_write_tensors("umlaut", "{\"__metadata__\":{\"b\":\"\u00e4\"}}", NULL, 0));
    assert_string_equal(safetensors_find_metadata(file, "b"), "\xc3\xa4");
    safetensors_close(&file);
    file = open_ok(files_write_tensors("none", "{}", NULL, 0));
    assert_null(safetensors_find_metadata(file, "a"));
    safetensors_close(&file);
}

static void test_what_is_written_is_read(void **state)
{
    (void)state;
    float data[30];
    for (int i = 0; i < 30; i++)
        data[i] = (float)i - 7.25f;
    data[3] = INFINITY;
    data[4] = -0.0f;
    const struct safetensors_output outputs[] = {
        {"z.first", 3, (const uint64_t[]){2, 5, 3}, data},
        {"a", 1, (const uint64_t[]){0}, data},
        {"scalar", 0, NULL, data + 3},
        {"void", 4, (const uint64_t[]){4, 0, 5, 6}, NULL},
    };
    struct safetensors_error error;
    assert_true(safetensors_write(files_path("round"), outputs, 4, &error));
    struct safetensors *file = open_ok(files_path("round"));
    assert_int_equal(file->count, 4);
    assert_int_equal(file->data_start % 8, 0);
    assert_null(safetensors_find(file, "b"));
    for (int i = 0; i < 4; i++) {
        const struct safetensors_tensor *tensor = safetensors_find(file, outputs[i].name);
        assert_non_null(tensor);
        assert_string_equal(tensor->type, "F32");
        assert_int_equal(tensor->rank, outputs[i].rank);
        float got[30];
        memset(got, 0x55, sizeof(got));
        assert_true(safetensors_read(file, tensor, got, &error));
        assert_memory_equal(got, outputs[i].data, tensor->count * sizeof(float));
    }
    assert_int_equal(safetensors_find(file, "z.first")->count, 30);
    assert_int_equal(safetensors_find(file, "scalar")->count, 1);
    assert_int_equal(safetensors_find(file, "void")->count, 0);
    safetensors_close(&file);
    assert_null(file);
    safetensors_close(&file);
    assert_int_equal(files_count(), 1);
    files_remove("round");
}

static void test_an_empty_file_of_no_tensors(void **state)
{
    (void)state;
    struct safetensors *file = open_ok(files_write_tensors("empty", "{}", NULL, 0));
    assert_int_equal(file->count, 0);
    safetensors_close(&file);
    file = open_ok(files_write_tensors("empty", "{\"__metadata__\":{\"a\":\"b\"}}   ", NULL, 0));
    assert_int_equal(file->count, 0);
    safetensors_close(&file);
}

static double half_value(unsigned bits)
{
    const unsigned exponent = bits >> 10 & 31, fraction = bits & 1023;
    const double sign = bits & 0x8000 ? -1 : 1;
    if (exponent == 31)
        return fraction ? NAN : sign * INFINITY;
    return sign * (exponent ? ldexp(1024 + fraction, (int)exponent - 25) : ldexp(fraction, -24));
}

static double bfloat_value(unsigned bits)
{
    const unsigned exponent = bits >> 7 & 255, fraction = bits & 127;
    const double sign = bits & 0x8000 ? -1 : 1;
    if (exponent == 255)
        return fraction ? NAN : sign * INFINITY;
    return sign * (exponent ? ldexp(128 + fraction, (int)exponent - 134) : ldexp(fraction, -133));
}

static void assert_same(float got, double want)
{
    if (isnan(want))
        assert_true(isnan(got));
    else
        assert_true((double)got == want && !signbit(got) == !signbit(want));
}

static void test_every_16_bit_value(void **state)
{
    (void)state;
    static unsigned char bytes[2 * 2 * 65536];
    static float half[65536], bfloat[65536];
    struct safetensors_error error;
    for (unsigned i = 0; i < 2 * 65536; i++) {
        bytes[2 * i] = (unsigned char)(i & 255);
        bytes[2 * i + 1] = (unsigned char)(i >> 8 & 255);
    }
    struct safetensors *file =
        open_ok(files_write_tensors("half",
                                    "{\"h\":{\"dtype\":\"F16\",\"shape\":[65536],"
                                    "\"data_offsets\":[0,131072]},"
                                    "\"b\":{\"dtype\":\"BF16\",\"shape\":[256,256],"
                                    "\"data_offsets\":[131072,262144]}}",
                                    bytes, sizeof(bytes)));
    assert_true(safetensors_read(file, safetensors_find(file, "h"), half, &error));
    assert_true(safetensors_read(file, safetensors_find(file, "b"), bfloat, &error));
    for (unsigned i = 0; i < 65536; i++) {
        assert_same(half[i], half_value(i));
        assert_same(bfloat[i], bfloat_value(i));
        /* and the tests' own rounding gives every finite pattern back */
        if (isfinite(half[i]))
            assert_int_equal(half_from_float(half[i]), i);
        if (isfinite(bfloat[i]))
            assert_int_equal(bfloat_from_float(bfloat[i]), i);
    }
    safetensors_close(&file);
}

#define TENSOR(name, type, shape, offsets) \
    "\"" name "\":{\"dtype\":\"" type "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

/* Each with 16 bytes of data behind it. */
static const struct bad_header {
    const char *header, *error;
} bad_headers[] = {
    {"", "does not start with '{'"},
    {"[]", "does not start with '{'"},
    {" {}", "does not start with '{'"},
    {"{", "not valid JSON"},
    {"{}", "belong to no tensor"},
    {"{\"q\"}", "not valid JSON"},
    {"{\"q\":1}", "not an object"},
    {"{\"q\":[]}", "not an object"},
    {"{\"q\":{}}", "dtype is missing"},
    {"{\"q\":{\"dtype\":\"F32\",\"shape\":[4]}}", "data_offsets is missing"},
    {"{\"q\":{\"dtype\":\"F32\",\"data_offsets\":[0,16]}}", "shape is missing"},
    {"{\"q\":{\"DTYPE\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}", "dtype is missing"},
    {"{" TENSOR("q", "F33", "[4]", "[0,16]") "}", "unknown dtype 'F33'"},
    {"{" TENSOR("q", "f32", "[4]", "[0,16]") "}", "unknown dtype"},
    {"{\"q\":{\"dtype\":7,\"shape\":[4],\"data_offsets\":[0,16]}}", "dtype is not a string"},
    {"{" TENSOR("q", "F32", "4", "[0,16]") "}", "shape is not an array"},
    {"{" TENSOR("q", "F32", "{\"a\":4}", "[0,16]") "}", "shape is not an array"},
    {"{" TENSOR("q", "F32", "[-4]", "[0,16]") "}", "shape[0] is not an integer"},
    {"{" TENSOR("q", "F32", "[1,4.5]", "[0,16]") "}", "shape[1] is not an integer"},
    {"{" TENSOR("q", "F32", "[\"4\"]", "[0,16]") "}", "shape[0] is not an integer"},
    {"{" TENSOR("q", "F32", "[true]", "[0,16]") "}", "shape[0] is not an integer"},
    {"{" TENSOR("q", "F32", "[null]", "[0,16]") "}", "shape[0] is not an integer"},
    {"{" TENSOR("q", "F32", "[1e400]", "[0,16]") "}", "shape[0] is not an integer"},
    {"{" TENSOR("q", "F32", "[9007199254740993]", "[0,16]") "}", "shape[0] is not an integer"},
    {"{" TENSOR("q", "F32", "[18446744073709551620]", "[0,16]") "}", "shape[0] is not an integer"},
    {"{" TENSOR("q", "F32", "[4294967296,4294967297]", "[0,16]") "}",
     "more elements than any file"},
    {"{" TENSOR("q", "F32", "[4503599627370496,4096]", "[0,16]") "}",
     "more elements than any file"},
    {"{" TENSOR("q", "F32", "[4611686018427387]", "[0,16]") "}", "do not fill 16 bytes"},
    {"{" TENSOR("q", "F32", "[2,2,2]", "[0,16]") "}", "do not fill 16 bytes"},
    {"{" TENSOR("q", "F32", "[3]", "[0,16]") "}", "do not fill 16 bytes"},
    {"{" TENSOR("q", "F16", "[4]", "[0,16]") "}", "do not fill 16 bytes"},
    {"{" TENSOR("q", "F4", "[31]", "[0,16]") "}", "do not fill 16 bytes"},
    {"{" TENSOR("q", "F32", "[0,9]", "[0,16]") "}", "do not fill 16 bytes"},
    {"{" TENSOR("q", "F32", "[4]", "[0]") "}", "not a pair"},
    {"{" TENSOR("q", "F32", "[4]", "[0,16,16]") "}", "not a pair"},
    {"{" TENSOR("q", "F32", "[4]", "[]") "}", "not a pair"},
    {"{" TENSOR("q", "F32", "[4]", "16") "}", "not a pair"},
    {"{" TENSOR("q", "F32", "[4]", "[-16,0]") "}", "not a pair"},
    {"{" TENSOR("q", "F32", "[4]", "[0,1e300]") "}", "not a pair"},
    {"{" TENSOR("q", "F32", "[4]", "[16,0]") "}", "reversed"},
    {"{" TENSOR("q", "F32", "[4]", "[0,17]") "}", "ends at byte 17 of 16"},
    {"{" TENSOR("q", "F32", "[4]", "[4,20]") "}", "ends at byte 20 of 16"},
    {"{" TENSOR("q", "F32", "[1125899906842624]", "[0,4503599627370496]") "}",
     "ends at byte 4503599627370496 of 16"},
    {"{" TENSOR("q", "F32", "[3]", "[0,12]") "," TENSOR("k", "F32", "[3]", "[4,16]") "}",
     "overlap"},
    {"{" TENSOR("q", "F32", "[4]", "[0,16]") "," TENSOR("k", "F32", "[4]", "[0,16]") "}",
     "overlap"},
    {"{" TENSOR("q", "F32", "[4]", "[0,16]") "," TENSOR("k", "F32", "[0]", "[8,8]") "}", "overlap"},
    {"{" TENSOR("q", "F32", "[1]", "[0,4]") "," TENSOR("k", "F32", "[2]", "[8,16]") "}",
     "bytes 4 to 8 of the data belong to no tensor"},
    {"{" TENSOR("q", "F32", "[3]", "[4,16]") "}", "bytes 0 to 4"},
    {"{" TENSOR("q", "F32", "[3]", "[0,12]") "}", "the last 4 bytes"},
    {"{" TENSOR("q", "F32", "[2]", "[0,8]") "," TENSOR("q", "F32", "[2]", "[8,16]") "}",
     "'q' stands there twice"},
    {"{" TENSOR("q", "F32", "[2]", "[0,8]") "," TENSOR("\\u0071", "F32", "[2]", "[8,16]") "}",
     "'q' stands there twice"},
    {"{\"q\":{\"dtype\":\"F32\",\"dtype\":\"F16\",\"shape\":[4],\"data_offsets\":[0,16]}}",
     "dtype stands there twice"},
    {"{\"q\":{\"dtype\":\"F32\",\"shape\":[4],\"shape\":[5],\"data_offsets\":[0,16]}}",
     "shape stands there twice"},
    {"{\"__metadata__\":{},\"__metadata__\":{}," TENSOR("q", "F32", "[4]", "[0,16]") "}",
     "__metadata__ stands there twice"},
    {"{" TENSOR("q", "F32", "[4]", "[0,16]") "} x", "text follows"},
    {"{" TENSOR("q", "F32", "[4]", "[0,16]") "}{}", "text follows"},
    {"{" TENSOR("q\\u0000", "F32", "[4]", "[0,16]") "}", "NUL"},
    {"{\001" TENSOR("q", "F32", "[4]", "[0,16]") "}", "control character 0x01"},
    {"{" TENSOR("\\u001b[31m\\r\\nq\\u007f\303\244", "F32", "[5]", "[0,16]") "}", "tensor '?[31m?"
                                                                                  "?q?"
                                                                                  "?"
                                                                                  "?': 5 elements"},
    {"{" TENSOR("0123456789012345678901234567890123456789012345678901234567890123456789", "F32",
                "[5]", "[0,16]") "}",
     "tensor '012345678901234567890123456789012345678901234567...': 5 elements"},
};

static void test_headers_that_break_a_rule(void **state)
{
    (void)state;
    static const char data[16] = {0};
    for (size_t i = 0; i < sizeof(bad_headers) / sizeof(bad_headers[0]); i++)
        assert_refused(files_write_tensors("bad", bad_headers[i].header, data, sizeof(data)),
                       bad_headers[i].error);
    /* the frame around them is right */
    struct safetensors *file = open_ok(files_write_tensors(
        "bad", "{" TENSOR("q", "F32", "[4]", "[0,16]") "," TENSOR("k", "I8", "[0]", "[16,16]") "}",
        data, sizeof(data)));
    safetensors_close(&file);
}

static void test_lengths_that_lie(void **state)
{
    (void)state;
    static const char bytes[] = "\x02\0\0\0\0\0\0\0{}";
    assert_refused(files_write("length", bytes, 0), "0 bytes are too few");
    assert_refused(files_write("length", bytes, 7), "7 bytes are too few");
    assert_refused(files_write("length", bytes, 8), "a header of 2 bytes");
    assert_refused(files_write("length", bytes, 9), "a header of 2 bytes");
    assert_refused(files_write("length", "\xff\xff\xff\xff\xff\xff\xff\xff{}", 10),
                   "a header of 18446744073709551615 bytes");
    assert_refused(files_write("length", "\xf8\xff\xff\xff\xff\xff\xff\xff{}", 10),
                   "a header of 18446744073709551608 bytes");
    assert_refused(files_write("length", "\0\0\0\0\0\0\0\0", 8), "does not start with");
    /* a sparse file of 101 million bytes */
    const char *path = files_write("length", "\xe0\x20\x05\x06\0\0\0\0{}", 10);
    assert_int_equal(truncate(path, 101000008), 0);
    assert_refused(path, "at most 100000000");
}

static void test_headers_that_cost(void **state)
{
    (void)state;
    enum {
        SIZE = 5000000
    };
    char *header = malloc(SIZE + 1);
    assert_non_null(header);
    header[SIZE] = '\0';
    memset(header, '[', SIZE);
    memcpy(header, "{\"q\":", 5);
    assert_refused(files_write_tensors("cost", header, NULL, 0), "over 2000000 values");
    for (size_t i = 5; i < SIZE; i++)
        header[i] = i % 2 ? ',' : '0';
    assert_refused(files_write_tensors("cost", header, NULL, 0), "over 2000000 values");
    header[1000000] = '\0';
    memset(header + 5, '[', 1000000 - 5);
    assert_refused(files_write_tensors("cost", header, NULL, 0), "nested too deep");
    free(header);
    files_remove("cost");
}

/* Each key is not compared with all others, which would take a quarter of a minute here: they are
 * sorted. */
static void test_many_keys(void **state)
{
    (void)state;
    enum {
        KEYS = 100000
    };
    char *const header = malloc(KEYS * 16);
    assert_non_null(header);
    char *to = header + sprintf(header, "{\"__metadata__\":{");
    for (int i = KEYS - 1; i >= 0; i--)
        to += sprintf(to, "\"%05d\":\"\"%s", i, i ? "," : "}}");
    struct safetensors *file = open_ok(files_write_tensors("keys", header, NULL, 0));
    assert_int_equal(file->metadata_count, KEYS);
    for (int i = 0; i < KEYS; i++)
        assert_int_equal(atoi(file->metadata[i].key), i);
    safetensors_close(&file);
    free(header);
    files_remove("keys");
}

static void test_what_is_no_regular_file(void **state)
{
    (void)state;
    assert_refused(files_path("missing"), "cannot be opened: No such file");
    assert_refused("/dev/null", "not a regular file");
    assert_refused("/", "not a regular file");
    assert_int_equal(mkfifo(files_path("pipe"), 0600), 0);
    assert_refused(files_path("pipe"), "not a regular file");
    files_remove("pipe");
}

static void test_types_that_cannot_be_read(void **state)
{
    (void)state;
    struct safetensors_error error;
    float data[2];
    struct safetensors *file = open_ok(files_write_tensors(
        "type", "{" TENSOR("q", "F64", "[2]", "[0,16]") "}", "0123456789abcdef", 16));
    assert_false(safetensors_read(file, safetensors_find(file, "q"), data, &error));
    assert_string_equal(error.text, "tensor 'q' is F64; F32, F16 and BF16 can be read");
    safetensors_close(&file);
}

static void test_a_file_that_shrinks_while_it_is_read(void **state)
{
    (void)state;
    struct safetensors_error error;
    float data[4];
    const char *path = files_write_tensors("shrink", "{" TENSOR("q", "F32", "[4]", "[0,16]") "}",
                                           "0123456789abcdef", 16);
    struct safetensors *file = open_ok(path);
    assert_int_equal(truncate(path, (off_t)file->data_start + 9), 0);
    assert_false(safetensors_read(file, safetensors_find(file, "q"), data, &error));
    assert_string_equal(error.text, "ended while it was read");
    safetensors_close(&file);
}

static uint64_t random_state;

static uint64_t next_random(void)
{
    uint64_t z = random_state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* Changes a few bytes, mostly to what means something in a header, or cuts or repeats a piece. */
static size_t mutate(char *bytes, size_t size, size_t capacity)
{
    static const char meaning[] = "0123456789-.eE+[]{},:\"\\ FBUI\n\0\xff";
    const unsigned changes = 1 + (unsigned)(next_random() % 3);
    for (unsigned i = 0; i < changes && size > 0; i++) {
        const size_t at = next_random() % size;
        const size_t length = next_random() % 24, from = next_random() % size;
        switch (next_random() % 8) {
        case 0:
            size = at;
            break;
        case 1:
            bytes[at] ^= (char)(1 << next_random() % 8);
            break;
        case 2:
            if (from + length <= size && at + length <= size)
                memmove(bytes + at, bytes + from, length);
            break;
        case 3:
            if (size + length <= capacity) {
                memmove(bytes + at + length, bytes + at, size - at);
                size += length;
            }
            break;
        default:
            bytes[at] = meaning[next_random() % sizeof(meaning)];
        }
    }
    return size;
}

/* What the header promises of an opened file must hold. */
static void check_promises(const struct safetensors *file, size_t size)
{
    struct safetensors_error error;
    uint64_t total = 0;
    for (uint32_t i = 0; i < file->count; i++) {
        const struct safetensors_tensor *tensor = &file->tensors[i];
        uint64_t count = 1;
        for (uint32_t j = 0; j < tensor->rank; j++)
            count *= tensor->shape[j];
        assert_true(count == tensor->count);
        assert_true(tensor->begin <= tensor->end && tensor->end <= size - file->data_start);
        assert_ptr_equal(safetensors_find(file, tensor->name), tensor);
        total += tensor->end - tensor->begin;
        float *data = malloc((count ? count : 1) * sizeof(float));
        assert_non_null(data);
        if (!safetensors_read(file, tensor, data, &error))
            assert_non_null(strstr(error.text, "can be read"));
        free(data);
    }
    assert_true(total == size - file->data_start);
}

static void test_mutations(void **state)
{
    (void)state;
    enum {
        ROUNDS = 20000,
        CAPACITY = 4096
    };
    const char *given = getenv("DIJIANG_TEST_SEED");
    random_state = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);
    print_message("# mutations: DIJIANG_TEST_SEED=%llu\n", (unsigned long long)random_state);

    size_t size;
    char *valid = files_read(
        files_write_tensors(
            "seed",
            "{\"__metadata__\":{\"a\":\"b\\u00e4\"}," TENSOR(
                "q", "F32", "[1,2,3]",
                "[0,24]") "," TENSOR("k", "F16", "[4]",
                                     "[24,32]") "," TENSOR("v", "BF16", "[2,0]",
                                                           "[32,32]") "," TENSOR("w", "U8", "[8]",
                                                                                 "[32,40]") "}  ",
            "0123456789012345678901234567890123456789", 40),
        &size);
    char bytes[CAPACITY];
    unsigned opened = 0, refused = 0;
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct safetensors_error error = {""};
        memcpy(bytes, valid, size);
        const size_t mutated = mutate(bytes, size, sizeof(bytes));
        struct safetensors *file = safetensors_open(files_write("mutated", bytes, mutated), &error);
        if (file)
            check_promises(file, mutated);
        else
            assert_true(error.text[0] && !strchr(error.text, '\n'));
        file ? opened++ : refused++;
        safetensors_close(&file);
    }
    free(valid);
    assert_true(opened > ROUNDS / 1000 && refused > ROUNDS / 10);
}

static int asked;

static bool second_time(void)
{
    return ++asked == 2;
}

static void test_writing_replaces_whole_files_only(void **state)
{
    (void)state;
    struct safetensors_error error;
    static float data[100000];
    const struct safetensors_output output = {"out", 1, (const uint64_t[]){100000}, data};
    const char *path = files_write("target", "before", 6);
    const size_t count = files_count();

    assert_false(safetensors_write(files_path("no/such/folder"), &output, 1, &error));
    assert_non_null(strstr(error.text, "cannot be written: No such file"));
    assert_false(safetensors_write("/dev/null", &output, 1, &error));
    assert_non_null(strstr(error.text, "not a regular file"));
    assert_false(safetensors_write(files_path("."), &output, 1, &error));
    assert_non_null(strstr(error.text, "not a regular file"));

    /* one that is told to stop half-way */
    assert_false(safetensors_write_described(path, NULL, 0, &output, 1, second_time, &error));
    assert_int_equal(asked, 2);

    /* a disk that fills up half-way */
    struct rlimit limit, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    small = limit;
    small.rlim_cur = 200000;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    const bool written = safetensors_write(path, &output, 1, &error);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    assert_false(written);
    assert_non_null(strstr(error.text, "cannot be written: File too large"));

    size_t size;
    char *content = files_read(path, &size);
    assert_string_equal(content, "before");
    free(content);
    assert_int_equal(files_count(), count);
}

static void test_writing_the_longest_names(void **state)
{
    (void)state;
    struct safetensors_error error;
    const struct safetensors_output output = {"out", 1, (const uint64_t[]){1}, (const float[]){1}};
    char name[257] = "";
    for (size_t length = 239; length < 256; length++) {
        memset(name, 'n', length);
        assert_true(safetensors_write(files_path(name), &output, 1, &error));
        assert_true(files_exists(name));
        files_remove(name);
    }
    name[255] = 'n';
    assert_false(safetensors_write(files_path(name), &output, 1, &error));
    assert_string_equal(error.text, "cannot be written: File name too long");
}

static void test_writing_through_a_link_keeps_it(void **state)
{
    (void)state;
    struct safetensors_error error;
    struct stat status;
    const struct safetensors_output output = {"out", 1, (const uint64_t[]){1}, (const float[]){1}};
    files_write("linked", "before", 6);
    assert_int_equal(chmod(files_path("linked"), 0600), 0);
    assert_int_equal(symlink("linked", files_path("link")), 0);
    const mode_t mask = umask(027);
    assert_true(safetensors_write(files_path("link"), &output, 1, &error));
    umask(mask);
    assert_int_equal(lstat(files_path("link"), &status), 0);
    assert_true(S_ISLNK(status.st_mode));
    assert_int_equal(lstat(files_path("linked"), &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600); /* the replaced file's own */
    struct safetensors *file = open_ok(files_path("linked"));
    safetensors_close(&file);

    umask(027);
    assert_true(safetensors_write(files_path("fresh"), &output, 1, &error));
    assert_int_equal(umask(mask), 027); /* untouched: other threads create files, too */
    assert_int_equal(lstat(files_path("fresh"), &status), 0);
    assert_int_equal(status.st_mode & 0777, 0640);
    assert_int_equal(symlink("nowhere", files_path("dangling")), 0);
    assert_false(safetensors_write(files_path("dangling"), &output, 1, &error));
    assert_int_equal(lstat(files_path("dangling"), &status), 0);
    assert_true(S_ISLNK(status.st_mode));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_written_is_read),
        cmocka_unit_test(test_metadata_is_read),
        cmocka_unit_test(test_an_empty_file_of_no_tensors),
        cmocka_unit_test(test_every_16_bit_value),
        cmocka_unit_test(test_headers_that_break_a_rule),
        cmocka_unit_test(test_lengths_that_lie),
        cmocka_unit_test(test_headers_that_cost),
        cmocka_unit_test(test_many_keys),
        cmocka_unit_test(test_what_is_no_regular_file),
        cmocka_unit_test(test_types_that_cannot_be_read),
        cmocka_unit_test(test_a_file_that_shrinks_while_it_is_read),
        cmocka_unit_test(test_mutations),
        cmocka_unit_test(test_writing_replaces_whole_files_only),
        cmocka_unit_test(test_writing_the_longest_names),
        cmocka_unit_test(test_writing_through_a_link_keeps_it),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, files_setup, files_teardown);
}
