/* SPDX-License-Identifier: MIT */
/* A program that is newer than the library is told so: every reserved and padding member of every
 * struct that a caller fills in, set by itself, is refused with DJ_ERROR_VERSION and one log line
 * that names the struct or, inside another, the member. */
#include "engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef HAVE_CALIBRATE
#include <dijiang/calibrate.h>
#endif

/* What the log callback of this program's own context received. */
static struct {
    unsigned lines;
    char last[512];
} logged;

static void remember(void *user, uint32_t level, const char *message)
{
    (void)user;
    if (level != DJ_LOG_ERROR)
        return;
    logged.lines++;
    snprintf(logged.last, sizeof(logged.last), "%s", message);
}

/* The objects that calls need, and tensors for them. */
static struct {
    dj_context *context;
    dj_buffer *buffer;
    dj_recorder *recorder;
    dj_dct *dct;
    dj_features *features;
    dj_attention *attention, *tuned;
} objects;

/* A member that must be 0. name: what the line starts with; NULL: where nothing can be logged. */
struct member {
    const char *text, *name;
    size_t offset, size;
};

#define MEMBER(type, name, member) \
    { \
#type "." #member, name, offsetof(struct type, member), sizeof(((struct type *)0)->member) \
    }
#define RESERVED_4(type, name) \
    MEMBER(type, name, reserved[0]), MEMBER(type, name, reserved[1]), \
        MEMBER(type, name, reserved[2]), MEMBER(type, name, reserved[3])
#define TENSOR(type, tensor) \
    MEMBER(type, #tensor, tensor.padding), MEMBER(type, #tensor, tensor.reserved[0]), \
        MEMBER(type, #tensor, tensor.reserved[1])
#define RESERVED_2(type, name, part) \
    MEMBER(type, name, part.reserved[0]), MEMBER(type, name, part.reserved[1])
#define SPANS(type, spans) \
    MEMBER(type, #spans, spans.padding), MEMBER(type, #spans, spans.reserved[0]), \
        MEMBER(type, #spans, spans.reserved[1]), RESERVED_2(type, #spans, spans.indices)

/* One function that takes a struct. call: with good ones it succeeds, and leaves nothing behind. */
struct subject {
    const char *text;
    const void *good;
    size_t size;
    const struct member *members;
    size_t count;
    dj_result (*call)(const void *given);
};

#define SUBJECT(function, good, members, call) \
    { \
        function, &good, sizeof(good), members, sizeof(members) / sizeof(*(members)), call \
    }

static bool starts_with_name(const char *line, const char *name)
{
    const size_t length = strlen(name);
    return strncmp(line, name, length) == 0 && strchr(".: ", line[length]) != NULL;
}

/* Sets one member; returns 1, having said why, unless it is refused as it should be. */
static unsigned try_member(const struct subject *subject, const struct member *member,
                           uint64_t value, void *given)
{
    memcpy(given, subject->good, subject->size);
    const uint32_t half = (uint32_t)(value >> 32);
    assert_true(member->size == sizeof(half) || member->size == sizeof(value));
    memcpy((char *)given + member->offset,
           member->size == sizeof(half) ? (const void *)&half : (const void *)&value, member->size);
    logged.lines = 0;
    logged.last[0] = '\0';
    const dj_result result = subject->call(given);
    const unsigned lines = member->name != NULL ? 1 : 0;
    if (result == DJ_ERROR_VERSION && logged.lines == lines &&
        (lines == 0 || starts_with_name(logged.last, member->name)))
        return 0;
    print_error("%s, %s: %s, %u lines, \"%s\"\n", subject->text, member->text,
                dj_result_name(result), logged.lines, logged.last);
    return 1;
}

static void try_all(const struct subject *subjects, size_t count)
{
    unsigned wrong = 0;
    for (size_t i = 0; i < count; i++) {
        const struct subject *const subject = &subjects[i];
        void *const given = malloc(subject->size);
        assert_non_null(given);
        memcpy(given, subject->good, subject->size);
        const dj_result result = subject->call(given);
        if (result != DJ_SUCCESS) {
            print_error("%s: %s without a reserved member\n", subject->text,
                        dj_result_name(result));
            wrong++;
        }
        for (size_t j = 0; j < subject->count; j++) {
            wrong += try_member(subject, &subject->members[j], UINT64_C(1) << 32, given);
            wrong += try_member(subject, &subject->members[j], UINT64_C(1) << 63, given);
        }
        free(given);
    }
    assert_int_equal(wrong, 0);
}

#define TRY_ALL(subjects) try_all(subjects, sizeof(subjects) / sizeof(*(subjects)))

/* --- functions that create */

static dj_result create_context(const void *given)
{
    dj_context *context = NULL;
    const dj_result result = dj_context_create(given, &context);
    assert_true((context != NULL) == (result == DJ_SUCCESS));
    dj_context_destroy(&context);
    return result;
}

static dj_result list_devices(const void *given)
{
    uint32_t count = 0;
    return dj_device_list(given, NULL, &count);
}

#define CREATE(noun) \
    static dj_result create_##noun(const void *given) \
    { \
        dj_##noun *object = NULL; \
        const dj_result result = dj_##noun##_create(objects.context, given, &object); \
        assert_true((object != NULL) == (result == DJ_SUCCESS)); \
        dj_##noun##_destroy(&object); \
        return result; \
    }
CREATE(buffer)
CREATE(recorder)
CREATE(dct)
CREATE(features)
CREATE(attention)

static const struct member context_members[] = {
    RESERVED_4(dj_context_params, "dj_context_params"),
};
static const struct member buffer_members[] = {
    MEMBER(dj_buffer_params, "dj_buffer_params", padding),
    RESERVED_4(dj_buffer_params, "dj_buffer_params"),
};
static const struct member recorder_members[] = {
    RESERVED_4(dj_recorder_params, "dj_recorder_params"),
};
static const struct member dct_members[] = {
    MEMBER(dj_dct_params, "dj_dct_params", padding),
    RESERVED_4(dj_dct_params, "dj_dct_params"),
};
static const struct member features_members[] = {
    RESERVED_4(dj_features_params, "dj_features_params"),
};
static const struct member attention_members[] = {
    MEMBER(dj_attention_params, "dj_attention_params", padding),
    RESERVED_4(dj_attention_params, "dj_attention_params"),
};

static const float ones[4] = {1, 1, 1, 1};
static const struct dj_context_params good_context = {.log = remember};
static const struct dj_buffer_params good_buffer = {.size = 64};
static const struct dj_recorder_params good_recorder = {.dispatches = 8};
static const struct dj_dct_params good_dct = {
    .type = DJ_DCT_2, .length = 4, .path = DJ_DCT_PATH_DENSE};
static const struct dj_features_params good_features = {.dim = 4, .frequencies = ones};
static const struct dj_attention_params good_attention = {
    .heads = 1, .dim = 4, .dct_path = DJ_DCT_PATH_DENSE};

static void test_params(void **state)
{
    (void)state;
    static const struct subject subjects[] = {
        SUBJECT("dj_context_create", good_context, context_members, create_context),
        SUBJECT("dj_device_list", good_context, context_members, list_devices),
        SUBJECT("dj_buffer_create", good_buffer, buffer_members, create_buffer),
        SUBJECT("dj_recorder_create", good_recorder, recorder_members, create_recorder),
        SUBJECT("dj_dct_create", good_dct, dct_members, create_dct),
        SUBJECT("dj_features_create", good_features, features_members, create_features),
        SUBJECT("dj_attention_create", good_attention, attention_members, create_attention),
    };
    TRY_ALL(subjects);
}

/* --- functions that look at a call's arguments, record it or run it */

/* Records into the recorder, which is begun for it and dropped. */
static dj_result dct_record(const void *given)
{
    HARNESS_OK(dj_recorder_begin(objects.recorder));
    return dj_dct_record(objects.dct, objects.recorder, given);
}

static dj_result dct_run(const void *given)
{
    return dj_dct_run(objects.dct, given);
}

static dj_result dct_needs(const void *given)
{
    struct dj_needs needs;
    return dj_dct_needs(objects.dct, given, &needs);
}

static dj_result attention_record(const void *given)
{
    HARNESS_OK(dj_recorder_begin(objects.recorder));
    return dj_attention_record(objects.attention, objects.recorder, given);
}

static dj_result attention_record_part(const void *given)
{
    HARNESS_OK(dj_recorder_begin(objects.recorder));
    return dj_attention_record_part(objects.attention, objects.recorder, given, 0);
}

static dj_result attention_run_with(const void *given)
{
    return dj_attention_run_with(objects.attention, given, NULL);
}

static dj_result attention_run(const void *given)
{
    return dj_attention_run(objects.attention, given);
}

static dj_result attention_tune(const void *given)
{
    return dj_attention_tune(objects.tuned, given);
}

static dj_result attention_needs(const void *given)
{
    struct dj_needs needs;
    return dj_attention_needs(objects.attention, given, &needs);
}

static const struct member dct_args_members[] = {
    MEMBER(dj_dct_args, "dj_dct_args", padding),
    RESERVED_4(dj_dct_args, "dj_dct_args"),
    TENSOR(dj_dct_args, input),
    TENSOR(dj_dct_args, output),
    RESERVED_2(dj_dct_args, "dj_scratch", scratch),
};

static const struct member attention_args_members[] = {
    MEMBER(dj_attention_args, "dj_attention_args", padding),
    RESERVED_4(dj_attention_args, "dj_attention_args"),
    TENSOR(dj_attention_args, q),
    TENSOR(dj_attention_args, k),
    TENSOR(dj_attention_args, v),
    TENSOR(dj_attention_args, o),
    TENSOR(dj_attention_args, query_scales),
    TENSOR(dj_attention_args, key_scales),
    SPANS(dj_attention_args, spans),
    SPANS(dj_attention_args, query_spans),
    RESERVED_2(dj_attention_args, "slots_in", slots_in),
    RESERVED_2(dj_attention_args, "accepted", accepted),
    RESERVED_2(dj_attention_args, "slots_out", slots_out),
    RESERVED_2(dj_attention_args, "dj_scratch", scratch),
};

/* Saving and loading look at these alone, beside the pool. */
static const struct member state_members[] = {
    MEMBER(dj_attention_args, "dj_attention_args", padding),
    RESERVED_4(dj_attention_args, "dj_attention_args"),
};

static unsigned char slot[1 << 12];

static uint64_t slot_size(void)
{
    struct dj_needs needs;
    HARNESS_OK(dj_attention_needs(objects.attention, NULL, &needs));
    assert_true(needs.slot_size <= sizeof(slot));
    return needs.slot_size;
}

static dj_result state_save(const void *given)
{
    return dj_state_save(objects.attention, given, 0, slot, slot_size());
}

static dj_result state_load(const void *given)
{
    memset(slot, 0, sizeof(slot));
    return dj_state_load(objects.attention, given, 0, slot, slot_size());
}

enum {
    TENSOR_SIZE = 256, /* bytes from one tensor to the next */
    SCRATCH_SIZE = 1 << 20,
};

/* The n-th tensor of the buffer: two rows of 4 elements. */
static struct dj_tensor tensor(unsigned n)
{
    struct dj_tensor view;
    dj_tensor_init(&view, objects.buffer, (uint64_t)n * TENSOR_SIZE, DJ_FLOAT32,
                   (const uint64_t[4]){1, 2, 1, 4});
    return view;
}

static struct dj_scratch scratch(void)
{
    return (struct dj_scratch){
        .buffer = objects.buffer, .offset = SCRATCH_SIZE, .size = SCRATCH_SIZE};
}

/* With all that is optional left out, and with scratch memory as recording needs it. */
static void test_args(void **state)
{
    (void)state;
    static struct dj_dct_args dct;
    static struct dj_attention_args attention;
    dct = (struct dj_dct_args){.input = tensor(0), .output = tensor(1), .scratch = scratch()};
    attention = (struct dj_attention_args){.q = tensor(0),
                                           .k = tensor(1),
                                           .v = tensor(2),
                                           .o = tensor(3),
                                           .features = objects.features,
                                           .scratch = scratch()};
    static const struct subject subjects[] = {
        SUBJECT("dj_dct_needs", dct, dct_args_members, dct_needs),
        SUBJECT("dj_dct_record", dct, dct_args_members, dct_record),
        SUBJECT("dj_dct_run", dct, dct_args_members, dct_run),
        SUBJECT("dj_attention_needs", attention, attention_args_members, attention_needs),
        SUBJECT("dj_attention_record", attention, attention_args_members, attention_record),
        SUBJECT("dj_attention_record_part", attention, attention_args_members,
                attention_record_part),
        SUBJECT("dj_attention_run", attention, attention_args_members, attention_run),
        SUBJECT("dj_attention_run_with", attention, attention_args_members, attention_run_with),
        SUBJECT("dj_attention_tune", attention, attention_args_members, attention_tune),
    };
    TRY_ALL(subjects);
}

/* Running allocates scratch memory where none is given: what is said of it counts all the same. */
static void test_args_without_scratch(void **state)
{
    (void)state;
    static struct dj_dct_args dct;
    static struct dj_attention_args attention;
    dct = (struct dj_dct_args){.input = tensor(0), .output = tensor(1)};
    attention = (struct dj_attention_args){.q = tensor(0),
                                           .k = tensor(1),
                                           .v = tensor(2),
                                           .o = tensor(3),
                                           .features = objects.features};
    static const struct subject subjects[] = {
        SUBJECT("dj_dct_run", dct, dct_args_members, dct_run),
        SUBJECT("dj_attention_needs", attention, attention_args_members, attention_needs),
        SUBJECT("dj_attention_run", attention, attention_args_members, attention_run),
        SUBJECT("dj_attention_tune", attention, attention_args_members, attention_tune),
    };
    TRY_ALL(subjects);
}

static void test_states(void **state)
{
    (void)state;
    static struct dj_attention_args pool;
    pool = (struct dj_attention_args){.state = objects.buffer, .slot_count = 1};
    static const struct subject subjects[] = {
        SUBJECT("dj_state_save", pool, state_members, state_save),
        SUBJECT("dj_state_load", pool, state_members, state_load),
    };
    TRY_ALL(subjects);
}

/* How a call is run, beside what it is. */
static struct dj_attention_args whole_call;

static dj_result run_as_given(const void *given)
{
    return dj_attention_run_with(objects.attention, &whole_call, given);
}

static const struct member run_members[] = {
    RESERVED_4(dj_run_params, "dj_run_params"),
};
static const struct dj_run_params good_run = {.budget_ns = 0};

static void test_run_params(void **state)
{
    (void)state;
    whole_call = (struct dj_attention_args){.q = tensor(0),
                                            .k = tensor(1),
                                            .v = tensor(2),
                                            .o = tensor(3),
                                            .features = objects.features};
    static const struct subject subjects[] = {
        SUBJECT("dj_attention_run_with", good_run, run_members, run_as_given),
    };
    TRY_ALL(subjects);
}

/* --- what an engine gives of its own */

static dj_context *imported;

static dj_result import_context(const void *given)
{
    dj_context *context = NULL;
    const dj_result result = dj_context_import(given, &context);
    assert_true((context != NULL) == (result == DJ_SUCCESS));
    dj_context_destroy(&context);
    return result;
}

static dj_result wrap_buffer(const void *given)
{
    dj_buffer *buffer = NULL;
    const dj_result result = dj_buffer_wrap(imported, given, &buffer);
    assert_true((buffer != NULL) == (result == DJ_SUCCESS));
    dj_buffer_destroy(&buffer);
    return result;
}

static const struct member import_members[] = {
    RESERVED_4(dj_import_params, "dj_import_params"),
};
static const struct member wrap_members[] = {
    RESERVED_4(dj_wrap_params, "dj_wrap_params"),
};

static void test_import(void **state)
{
    (void)state;
    static struct engine engine;
    engine_init(&engine, &(struct engine_options){.device = 0});
    struct dj_import_params import = engine_params(&engine);
    import.log = remember;
    HARNESS_OK(dj_context_import(&import, &imported));
    struct engine_buffer memory = engine_buffer_create(&engine, 64);
    const struct dj_wrap_params wrap = engine_buffer_params(&memory);
    const struct subject subjects[] = {
        SUBJECT("dj_context_import", import, import_members, import_context),
        SUBJECT("dj_buffer_wrap", wrap, wrap_members, wrap_buffer),
    };
    TRY_ALL(subjects);
    dj_context_destroy(&imported);
    engine_buffer_destroy(&engine, &memory);
    engine_finish(&engine);
}

/* --- functions without an object to log through */

static float drawn[16];

#define SAMPLE(noun) \
    static dj_result sample_##noun(const void *given) \
    { \
        return dj_sample_##noun(given, 4, drawn); \
    }
SAMPLE(frequencies)
SAMPLE(directions)
SAMPLE(gaussians)

static const struct member sampling_members[] = {
    MEMBER(dj_sampling_params, NULL, padding),
    RESERVED_4(dj_sampling_params, NULL),
};
static const struct dj_sampling_params good_sampling = {.dim = 4};

static void test_sampling(void **state)
{
    (void)state;
    static const struct subject subjects[] = {
        SUBJECT("dj_sample_frequencies", good_sampling, sampling_members, sample_frequencies),
        SUBJECT("dj_sample_directions", good_sampling, sampling_members, sample_directions),
        SUBJECT("dj_sample_gaussians", good_sampling, sampling_members, sample_gaussians),
    };
    TRY_ALL(subjects);
}

/* --- calibration */

#ifdef HAVE_CALIBRATE
static dj_result create_calibration(const void *given)
{
    struct dj_calibration *calibration = NULL;
    const dj_result result = dj_calibration_create(given, &calibration);
    assert_true((calibration != NULL) == (result == DJ_SUCCESS));
    dj_calibration_destroy(&calibration);
    return result;
}

static dj_result save_calibration(const void *given)
{
    return dj_calibration_save(given, "/dev/null/no folder", remember, NULL);
}

static const struct member calibration_params_members[] = {
    RESERVED_4(dj_calibration_params, "dj_calibration_params"),
};
static const struct member calibration_members[] = {
    MEMBER(dj_calibration, "dj_calibration", padding),
    RESERVED_4(dj_calibration, "dj_calibration"),
};

static void test_calibration(void **state)
{
    (void)state;
    static float samples[16 * 4];
    harness_fill_normal(samples, sizeof(samples) / sizeof(*samples), 1.0);
    const struct dj_calibration_params params = {.map = DJ_MAP_WDCF,
                                                 .dim = 4,
                                                 .query_count = 16,
                                                 .key_count = 16,
                                                 .fit = DJ_FIT_RADIUS,
                                                 .queries = samples,
                                                 .keys = samples,
                                                 .log = remember};
    const struct subject create[] = {
        SUBJECT("dj_calibration_create", params, calibration_params_members, create_calibration),
    };
    TRY_ALL(create);

    /* the path cannot be written: only what is refused before that counts */
    static float numbers[4] = {1, 1, 1, 1};
    const struct dj_calibration made = {.map = DJ_MAP_WDCF,
                                        .dim = 4,
                                        .features = 4,
                                        .key_normalise = DJ_ON,
                                        .frequencies = numbers,
                                        .weights = numbers};
    const struct subject save =
        SUBJECT("dj_calibration_save", made, calibration_members, save_calibration);
    assert_int_equal(save.call(&made), DJ_ERROR_FILE);
    struct dj_calibration given;
    unsigned wrong = 0;
    for (size_t i = 0; i < save.count; i++)
        wrong += try_member(&save, &save.members[i], UINT64_C(3) << 32, &given);
    assert_int_equal(wrong, 0);
}
#endif

static int set_up(void **state)
{
    if (harness_setup(state) != 0)
        return -1;
    const struct dj_context_params params = {.log = remember};
    HARNESS_OK(dj_context_create(&params, &objects.context));
    HARNESS_OK(dj_buffer_create(
        objects.context, &(struct dj_buffer_params){.size = 2 * SCRATCH_SIZE}, &objects.buffer));
    HARNESS_OK(dj_recorder_create(objects.context, NULL, &objects.recorder));
    HARNESS_OK(dj_dct_create(objects.context, &good_dct, &objects.dct));
    HARNESS_OK(dj_features_create(objects.context, &good_features, &objects.features));
    HARNESS_OK(dj_attention_create(objects.context, &good_attention, &objects.attention));
    struct dj_attention_params tuned = good_attention;
    tuned.family = DJ_FAMILY_TUNED;
    HARNESS_OK(dj_attention_create(objects.context, &tuned, &objects.tuned));
    return 0;
}

static int tear_down(void **state)
{
    dj_attention_destroy(&objects.tuned);
    dj_attention_destroy(&objects.attention);
    dj_features_destroy(&objects.features);
    dj_dct_destroy(&objects.dct);
    dj_recorder_destroy(&objects.recorder);
    dj_buffer_destroy(&objects.buffer);
    dj_context_destroy(&objects.context);
    return harness_teardown(state);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        HARNESS_TEST(test_params),
        HARNESS_TEST(test_args),
        HARNESS_TEST(test_args_without_scratch),
        HARNESS_TEST(test_states),
        HARNESS_TEST(test_run_params),
        HARNESS_TEST(test_import),
        HARNESS_TEST(test_sampling),
#ifdef HAVE_CALIBRATE
        HARNESS_TEST(test_calibration),
#endif
    };
    harness_prepare();
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
