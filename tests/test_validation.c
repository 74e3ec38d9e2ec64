/* SPDX-License-Identifier: MIT */
/* What the suite rests on where it finds no fault: the validation layer is asked about best
 * practices, too, and what it says is counted, in contexts of the library's own and of an engine.
 */
#include "engine.h"

#include "../lib/context.h"

/* Creates and destroys a command pool; advised: with a flag that the layer advises against. */
static void make_pool(VkDevice device, PFN_vkCreateCommandPool create,
                      PFN_vkDestroyCommandPool destroy, uint32_t family, bool advised)
{
    const VkCommandPoolCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
        .flags = advised ? VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT : 0,
        .queueFamilyIndex = family};
    VkCommandPool pool;
    ENGINE_OK(create(device, &info, NULL, &pool));
    destroy(device, pool, NULL);
}

static void log_nothing(void *user, uint32_t level, const char *message)
{
    (void)user;
    (void)level;
    (void)message;
}

static void own_contexts_hear_advice(void **state)
{
    (void)state;
    dj_context *context = NULL;
    const dj_result result = dj_context_create(
        &(struct dj_context_params){.log = log_nothing, .validation = DJ_ON}, &context);
    if (result == DJ_ERROR_NO_VALIDATION)
        harness_skip("the validation layer is not installed");
    HARNESS_OK(result);
    const struct VolkDeviceTable *const vk = &context->vk.device;
    for (int advised = 0; advised < 2; advised++) {
        const uint64_t before = dj_context_validation_count(context);
        make_pool(context->device, vk->vkCreateCommandPool, vk->vkDestroyCommandPool,
                  context->queue_family, advised);
        assert_int_equal(dj_context_validation_count(context) > before, advised);
    }
    dj_context_destroy(&context);
}

static void engines_hear_advice(void **state)
{
    (void)state;
    struct engine engine;
    engine_init(&engine, NULL);
    engine.silent = true;
    for (int advised = 0; engine.validation && advised < 2; advised++) {
        const uint64_t before = engine.validation_count;
        make_pool(engine.device, engine.vk.vkCreateCommandPool, engine.vk.vkDestroyCommandPool,
                  engine.queue_family, advised);
        assert_int_equal(engine.validation_count > before, advised);
    }
    const bool validation = engine.validation;
    engine.validation_count = 0; /* heard */
    engine.silent = false;
    engine_finish(&engine);
    if (!validation)
        harness_skip("the validation layer is not installed");
}

static const struct CMUnitTest tests[] = {
    HARNESS_TEST(own_contexts_hear_advice),
    HARNESS_TEST(engines_hear_advice),
};

HARNESS_MAIN(tests)
