/* SPDX-License-Identifier: MIT */
/* What is refused of engines: wrong parameters, buffers and states, each with the line that says
 * so. */
#include "engine.h"

#include <stdlib.h>
#include <string.h>

#define MUTATION(name, change) \
    static void name(struct dj_import_params *p) \
    { \
        change; \
    }
MUTATION(no_loader, p->get_instance_proc_addr = NULL)
MUTATION(no_instance, p->instance = NULL)
MUTATION(no_physical_device, p->physical_device = NULL)
MUTATION(no_device, p->device = NULL)
MUTATION(no_extensions, p->device_extensions = NULL; p->device_extension_count = 1)
MUTATION(no_instance_extensions, p->instance_extensions = NULL; p->instance_extension_count = 1)
MUTATION(no_families, p->queue_family_count = 1)
MUTATION(far_family, p->queue_family = 1000)
static const uint32_t far_families[20] = {0, 1000};
MUTATION(far_shared_family, p->queue_families = far_families; p->queue_family_count = 2)
MUTATION(many_families, p->queue_families = far_families; p->queue_family_count = 17)
static void lock_queue(void *user)
{
    (void)user;
}
MUTATION(half_a_lock, p->lock_queue = lock_queue)
MUTATION(odd_switch, p->push_descriptors = 3)
MUTATION(odd_addresses, p->device_addresses = 3)
MUTATION(odd_subgroups, p->subgroups = 3)
MUTATION(odd_matrices, p->matrices = 3)
MUTATION(odd_threads, p->threads = 3)
MUTATION(odd_storage, p->storage_16bit = 3)
MUTATION(old_version, p->api_version = VK_API_VERSION_1_0)
MUTATION(odd_quirks, p->quirks = "none,arc-push-descriptors")
MUTATION(new_member, p->reserved[2] = 1)

static void bad_imports_are_refused(void **state)
{
    (void)state;
    static const struct {
        void (*apply)(struct dj_import_params *);
        dj_result result;
        const char *text;
    } cases[] = {
        {no_loader, DJ_ERROR_INVALID_ARGUMENT, "get_instance_proc_addr is NULL"},
        {no_instance, DJ_ERROR_INVALID_ARGUMENT, "instance is NULL"},
        {no_physical_device, DJ_ERROR_INVALID_ARGUMENT, "physical_device is NULL"},
        {no_device, DJ_ERROR_INVALID_ARGUMENT, "device is NULL"},
        {no_extensions, DJ_ERROR_INVALID_ARGUMENT, "device_extensions is NULL"},
        {no_instance_extensions, DJ_ERROR_INVALID_ARGUMENT, "instance_extensions is NULL"},
        {no_families, DJ_ERROR_INVALID_ARGUMENT, "queue_families is NULL"},
        {far_family, DJ_ERROR_INVALID_ARGUMENT, "queue_family is 1000"},
        {far_shared_family, DJ_ERROR_INVALID_ARGUMENT, "queue_families[1] is 1000"},
        {many_families, DJ_ERROR_INVALID_ARGUMENT, "queue_family_count is 17"},
        {half_a_lock, DJ_ERROR_INVALID_ARGUMENT, "belong together"},
        {odd_switch, DJ_ERROR_INVALID_ARGUMENT, "push_descriptors is 3"},
        {odd_addresses, DJ_ERROR_INVALID_ARGUMENT, "device_addresses is 3"},
        {odd_subgroups, DJ_ERROR_INVALID_ARGUMENT, "dj_import_params.subgroups"},
        {odd_matrices, DJ_ERROR_INVALID_ARGUMENT, "dj_import_params.matrices"},
        {odd_threads, DJ_ERROR_INVALID_ARGUMENT, "dj_import_params.threads"},
        {odd_storage, DJ_ERROR_INVALID_ARGUMENT, "storage_16bit is 3"},
        {old_version, DJ_ERROR_DEVICE_UNSUITABLE, "Vulkan 1.0"},
        {odd_quirks, DJ_ERROR_INVALID_ARGUMENT, "dj_import_params.quirks"},
        {new_member, DJ_ERROR_VERSION, "dj_import_params.reserved[2]"},
    };
    struct engine engine;
    engine_init(&engine, NULL);
    const struct dj_import_params good = engine_params(&engine);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct dj_import_params params = good;
        dj_context *context = (dj_context *)&params;
        cases[i].apply(&params);
        harness_log_clear();
        HARNESS_RESULT(dj_context_import(&params, &context), cases[i].result);
        assert_null(context);
        if (strstr(harness_log_last(), cases[i].text) == NULL)
            fail_msg("'%s' does not contain '%s'", harness_log_last(), cases[i].text);
    }
    dj_context *context = NULL;
    HARNESS_RESULT(dj_context_import(NULL, &context), DJ_ERROR_INVALID_ARGUMENT);
    HARNESS_RESULT(dj_context_import(&good, NULL), DJ_ERROR_INVALID_ARGUMENT);
    engine_finish(&engine);
}

static void bad_wraps_are_refused(void **state)
{
    (void)state;
    struct engine engine;
    engine_init(&engine, NULL);
    const struct dj_import_params import = engine_params(&engine);
    dj_context *context;
    HARNESS_OK(dj_context_import(&import, &context));
    struct engine_buffer own = engine_buffer_create(&engine, 256);
    const struct dj_wrap_params good = engine_buffer_params(&own);
    struct dj_wrap_params bad[6] = {good, good, good, good, good, good};
    bad[0].buffer = VK_NULL_HANDLE;
    bad[1].size = 0;
    bad[2].usage = VK_BUFFER_USAGE_TRANSFER_DST_BIT;
    bad[3].reserved[0] = 1;
    bad[4].host_cached = 2;
    bad[5].usage &= ~(VkBufferUsageFlags)VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT;
    for (int i = 0; i < (engine.addresses ? 6 : 5); i++) {
        dj_buffer *buffer = (dj_buffer *)&own;
        HARNESS_RESULT(dj_buffer_wrap(context, &bad[i], &buffer),
                       i == 3 ? DJ_ERROR_VERSION : DJ_ERROR_INVALID_ARGUMENT);
        assert_null(buffer);
    }
    dj_buffer *buffer;
    HARNESS_RESULT(dj_buffer_wrap(NULL, &good, &buffer), DJ_ERROR_INVALID_ARGUMENT);
    HARNESS_RESULT(dj_buffer_wrap(context, NULL, &buffer), DJ_ERROR_INVALID_ARGUMENT);
    HARNESS_RESULT(dj_buffer_wrap(context, &good, NULL), DJ_ERROR_INVALID_ARGUMENT);

    /* not mapped, and without the usage that a copy needs */
    struct dj_wrap_params unmapped = good;
    unmapped.mapped = NULL;
    uint32_t word = 1;
    HARNESS_OK(dj_buffer_wrap(context, &unmapped, &buffer));
    assert_null(dj_buffer_map(buffer));
    HARNESS_RESULT(dj_buffer_write(buffer, 0, &word, 4), DJ_ERROR_INVALID_ARGUMENT);
    HARNESS_RESULT(dj_buffer_read(buffer, 0, &word, 4), DJ_ERROR_INVALID_ARGUMENT);
    dj_buffer_destroy(&buffer);
    HARNESS_OK(dj_buffer_wrap(context, &good, &buffer));
    HARNESS_OK(dj_buffer_write(buffer, 8, &word, 4));
    assert_int_equal(((uint32_t *)own.mapped)[2], 1);
    HARNESS_OK(dj_buffer_read(buffer, 8, &word, 4));
    HARNESS_RESULT(dj_buffer_read(buffer, 256, &word, 4), DJ_ERROR_INVALID_ARGUMENT);
    dj_buffer_destroy(&buffer);
    assert_true(dj_buffer_handle(NULL) == VK_NULL_HANDLE);
    dj_recorder *recorder;
    HARNESS_OK(dj_recorder_create(context, NULL, &recorder));
    HARNESS_RESULT(dj_recorder_begin_on(recorder, NULL), DJ_ERROR_INVALID_ARGUMENT);
    HARNESS_RESULT(dj_recorder_begin_on(NULL, NULL), DJ_ERROR_INVALID_ARGUMENT);
    dj_recorder_destroy(&recorder);
    engine_buffer_destroy(&engine, &own);
    dj_context_destroy(&context);
    engine_finish(&engine);
}

/* A state that only a queue could reach: the line names the function that was called. */
static void states_out_of_reach_are_refused(void **state)
{
    (void)state;
    struct engine engine;
    engine_init(&engine, NULL);
    struct dj_import_params import = engine_params(&engine);
    import.queue = VK_NULL_HANDLE;
    dj_context *context;
    HARNESS_OK(dj_context_import(&import, &context));
    dj_attention *plan;
    HARNESS_OK(dj_attention_create(
        context, &(struct dj_attention_params){.map = DJ_MAP_ELU, .heads = 1, .dim = 4}, &plan));
    struct dj_needs needs;
    HARNESS_OK(dj_attention_needs(plan, NULL, &needs));
    for (int copies = 0; copies < 2; copies++) { /* the usage would allow it, too */
        const VkBufferUsageFlags usage =
            copies ? VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT : 0;
        const dj_result want = copies ? DJ_ERROR_NO_QUEUE : DJ_ERROR_INVALID_ARGUMENT;
        struct engine_buffer own = engine_buffer_create_for(
            &engine, needs.slot_size, usage | VK_BUFFER_USAGE_STORAGE_BUFFER_BIT);
        struct dj_wrap_params wrap = engine_buffer_params(&own);
        wrap.mapped = NULL;
        struct dj_attention_args args = {.slot_count = 1};
        HARNESS_OK(dj_buffer_wrap(context, &wrap, &args.state));
        void *const data = calloc(1, needs.slot_size);
        assert_non_null(data);
        HARNESS_RESULT(dj_state_save(plan, &args, 0, data, needs.slot_size), want);
        assert_non_null(strstr(harness_log_last(), "dj_state_save: "));
        HARNESS_RESULT(dj_state_load(plan, &args, 0, data, needs.slot_size), want);
        assert_non_null(strstr(harness_log_last(), "dj_state_load: "));
        free(data);
        dj_buffer_destroy(&args.state);
        engine_buffer_destroy(&engine, &own);
    }
    dj_attention_destroy(&plan);
    dj_context_destroy(&context);
    engine_finish(&engine);
}

static const struct CMUnitTest tests[] = {
    HARNESS_TEST(bad_imports_are_refused),
    HARNESS_TEST(bad_wraps_are_refused),
    HARNESS_TEST(states_out_of_reach_are_refused),
};
HARNESS_MAIN(tests)
