/* SPDX-License-Identifier: MIT */
#include "harness.h"

#include "engine.h"
#include "shim.h"
#include "skip.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    MAX_DEVICES = 16
};

static struct {
    dj_context *contexts[MAX_DEVICES];
    struct engine engines[MAX_DEVICES]; /* whose devices they are, if imported */
    pthread_mutex_t queues[MAX_DEVICES];
    uint64_t validation_seen[MAX_DEVICES];
    uint64_t promises_seen; /* shim_violations() */
    uint32_t count;
    const char *mode; /* DIJIANG_TEST_CONTEXT; NULL: own */
    bool bare, failed;
    pthread_mutex_t lock; /* of last */
    char last[1024];
    uint64_t seed, random;
} harness = {.lock = PTHREAD_MUTEX_INITIALIZER};

void harness_log_line(void *user, uint32_t level, const char *message)
{
    (void)user;
    fprintf(stderr, "# %s: %s\n", level == DJ_LOG_ERROR ? "error" : "warning", message);
    if (level != DJ_LOG_ERROR)
        return;
    pthread_mutex_lock(&harness.lock);
    snprintf(harness.last, sizeof(harness.last), "%s", message);
    pthread_mutex_unlock(&harness.lock);
}

static void seed_random(void)
{
    const char *text = getenv("DIJIANG_TEST_SEED");
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    harness.seed =
        text ? strtoull(text, NULL, 0)
             : (uint64_t)now.tv_sec * 1000003u + (uint64_t)now.tv_nsec + (uint64_t)getpid();
    /* not on standard output, whose first line is the TAP version's */
    fprintf(stderr, "# DIJIANG_TEST_SEED=%llu\n", (unsigned long long)harness.seed);
    harness.random = harness.seed;
}

/* Of DIJIANG_TEST_CONTEXT. */
static void choose_mode(void)
{
    const char *const mode = getenv("DIJIANG_TEST_CONTEXT");
    struct shim_promise promise = {.without = 0};
    if (mode == NULL || *mode == '\0' || strcmp(mode, "own") == 0)
        return;
    harness.mode = mode;
    harness.bare = strcmp(mode, "bare") == 0;
    if (!harness.bare && !shim_mode(mode, &promise)) {
        fprintf(stderr, "# DIJIANG_TEST_CONTEXT=%s: there is no such context\n", mode);
        exit(EXIT_FAILURE);
    }
    shim_promise(&promise);
}

/* The layer's advice about performance and portability, but for what does not hold here; every
 * message, however often it comes; and what shaders do to buffers, which newer layers leave out.
 * The environment is the layer's own way to be told so, in the programs that tests run as well. */
static void set_up_layer(void)
{
    static const char *const unheeded[] = {
        /* every buffer has memory of its own: there are few, which live long, and those of an
         * engine lie where it says. In tests most are small */
        "BestPractices-vkAllocateMemory-small-allocation",
        "BestPractices-vkBindMemory-small-dedicated-allocation",
        "BestPractices-vkBindBufferMemory-small-dedicated-allocation",
        /* debugging is what VK_EXT_debug_utils is here for */
        "BestPractices-vkCreateInstance-specialuse-extension-debugging",
        "BestPractices-specialuse-extension",
        /* VK_EXT_validation_features, the only way of older layers */
        "BestPractices-deprecated-extension",
        /* one layout serves all kernels, and each is given what it reads */
        "BestPractices-PushConstants",
        /* kernels are SPIR-V 1.3, for Vulkan 1.1, where there is no other way to say their sizes */
        "BestPractices-SpirvDeprecated_WorkgroupSize",
    };
    char filter[4096] = "";
    size_t used = 0;
    for (const char *separator = ":"; separator != NULL;
         separator = *separator == ':' ? "," : NULL) { /* of older layers and of newer ones */
        for (size_t i = 0; i < sizeof unheeded / sizeof *unheeded; i++)
            used += (size_t)snprintf(filter + used, sizeof filter - used, "%s%s%sUNASSIGNED-%s",
                                     separator, unheeded[i], separator, unheeded[i]);
        if (*separator == ':') /* the last name ends, too */
            filter[used++] = ':';
    }
    setenv("VK_LAYER_MESSAGE_ID_FILTER", filter + 1, 0);
    setenv("VK_LAYER_ENABLES", "VK_VALIDATION_FEATURE_ENABLE_BEST_PRACTICES_EXT", 0);
    setenv("VK_LAYER_ENABLE_MESSAGE_LIMIT", "false", 0);
    setenv("VK_LAYER_DUPLICATE_MESSAGE_LIMIT", "1000000", 0);
    setenv("VK_LAYER_SYNCVAL_SHADER_ACCESSES_HEURISTIC", "1", 0);
}

void harness_prepare(void)
{
    set_up_layer();
    skip_prepare();
    cmocka_set_message_output(CM_OUTPUT_TAP);
    choose_mode();
    const char *filter = getenv("DIJIANG_TEST_FILTER");
    if (filter)
        cmocka_set_test_filter(filter);
    const char *skip = getenv("DIJIANG_TEST_SKIP");
    if (skip)
        cmocka_set_skip_filter(skip);
    seed_random();
}

int harness_reseed(void **state)
{
    (void)state;
    harness.random = harness.seed;
    return 0;
}

static bool is_off(const char *variable)
{
    const char *const set = getenv(variable);
    return set != NULL && strcmp(set, "0") == 0;
}

static void lock_queue(void *queue)
{
    pthread_mutex_lock(queue);
}

static void unlock_queue(void *queue)
{
    pthread_mutex_unlock(queue);
}

/* A context on an engine's device; the environment's switches are carried over, which do not reach
 * imported contexts by themselves. */
static dj_result import_context(uint32_t device, dj_context **context)
{
    struct engine *const engine = &harness.engines[harness.count];
    pthread_mutex_t *const queue = &harness.queues[harness.count];
    engine_init(engine, &(struct engine_options){
                            .device = device, .bare = harness.bare, .shim = shim_between});
    struct dj_import_params params = engine_params(engine);
    params.push_descriptors = is_off("DIJIANG_PUSH_DESCRIPTORS") ? DJ_OFF : DJ_DEFAULT;
    params.storage_16bit = is_off("DIJIANG_16BIT_STORAGE") ? DJ_OFF : DJ_DEFAULT;
    params.device_addresses = is_off("DIJIANG_TEST_ADDRESSES") ? DJ_OFF : DJ_DEFAULT;
    const char *const matrices = getenv("DIJIANG_MATRICES");
    params.matrices = matrices != NULL && strcmp(matrices, "1") == 0 ? DJ_ON
                      : is_off("DIJIANG_MATRICES")                   ? DJ_OFF
                                                                     : DJ_DEFAULT;
    pthread_mutex_init(queue, NULL);
    params.lock_queue = lock_queue;
    params.unlock_queue = unlock_queue;
    params.queue_user = queue;
    return dj_context_import(&params, context);
}

/* A context with validation, or without where the layer is missing and nobody demands it. */
static dj_result create_context(const char *device, dj_context **context)
{
    const char *addresses = getenv("DIJIANG_TEST_ADDRESSES");
    struct dj_context_params params = {
        .device = device,
        .log = harness_log_line,
        .log_level = DJ_LOG_WARNING,
        .validation = DJ_ON,
        .device_addresses = addresses && strcmp(addresses, "1") == 0 ? DJ_ON : DJ_OFF};
    dj_result result = dj_context_create(&params, context);
    if (result != DJ_ERROR_NO_VALIDATION)
        return result;
    const char *demanded = getenv("DIJIANG_TEST_VALIDATION");
    printf("# the validation layer is not installed: its checks are not made\n");
    if (demanded && strcmp(demanded, "1") == 0)
        return result;
    params.validation = DJ_OFF;
    return dj_context_create(&params, context);
}

/* Messages so far, of the context's own or its engine's. */
static uint64_t validation_count(uint32_t i)
{
    return dj_context_validation_count(harness.contexts[i]) + harness.engines[i].validation_count;
}

static int add_context(const char *device)
{
    dj_context **context = &harness.contexts[harness.count];
    dj_result result = DJ_SUCCESS;
    if (device == NULL || harness.mode == NULL)
        result = create_context(device, context);
    if (result == DJ_SUCCESS && harness.mode != NULL) {
        struct dj_device_info info = {.index = device ? (uint32_t)strtoul(device, NULL, 10) : 0};
        if (device == NULL) /* the environment's device had to be found */
            dj_context_device(*context, &info);
        dj_context_destroy(context);
        result = import_context(info.index, context);
    }
    if (result != DJ_SUCCESS) {
        printf("# no context on device %s: %s\n", device ? device : "of DIJIANG_DEVICE",
               dj_result_name(result));
        return -1;
    }
    harness.validation_seen[harness.count] = validation_count(harness.count);
    struct dj_device_info info;
    dj_context_device(*context, &info);
    printf("# device %u: %s, %s%s%s\n", info.index, info.name, info.driver,
           harness.mode ? ", imported: " : "", harness.mode ? harness.mode : "");
    harness.count++;
    return 0;
}

int harness_setup(void **state)
{
    (void)state;
    const char *restricted = getenv("DIJIANG_DEVICE");
    if (restricted && *restricted)
        return add_context(NULL);

    static struct dj_device_info infos[MAX_DEVICES];
    uint32_t count = MAX_DEVICES;
    const struct dj_context_params params = {.log = harness_log_line, .validation = DJ_OFF};
    const dj_result result = dj_device_list(&params, infos, &count);
    if (result != DJ_SUCCESS) {
        printf("# no list of devices: %s\n", dj_result_name(result));
        return -1;
    }
    for (uint32_t i = 0; i < count && i < MAX_DEVICES; i++) {
        char index[16];
        snprintf(index, sizeof(index), "%u", infos[i].index);
        if (infos[i].unsuitable[0])
            printf("# device %s, %s, is not tested: %s\n", index, infos[i].name,
                   infos[i].unsuitable);
        else if (add_context(index) != 0)
            return -1;
    }
    if (harness.count == 0)
        printf("# no suitable Vulkan device\n");
    return harness.count ? 0 : -1;
}

int harness_teardown(void **state)
{
    (void)state;
    while (harness.count > 0) {
        const uint32_t i = --harness.count;
        harness.failed = harness.failed || validation_count(i) != harness.validation_seen[i];
        dj_context_destroy(&harness.contexts[i]);
        if (harness.mode == NULL)
            continue;
        harness.engines[i].validation_count = 0; /* counted */
        engine_finish(&harness.engines[i]);
    }
    if (shim_violations() != harness.promises_seen) {
        print_error("a promise was broken at the end\n");
        harness.failed = true;
    }
    return harness.failed ? -1 : 0;
}

int harness_status(int failed_tests)
{
    return failed_tests != 0 || harness.failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

int harness_check_validation(void **state)
{
    (void)state;
    int result = 0;
    for (uint32_t i = 0; i < harness.count; i++) {
        const uint64_t count = validation_count(i);
        if (count != harness.validation_seen[i]) {
            print_error("the validation layer spoke %llu times on device %u\n",
                        (unsigned long long)(count - harness.validation_seen[i]), i);
            result = -1;
        }
        harness.validation_seen[i] = count;
    }
    if (shim_violations() != harness.promises_seen) {
        print_error("what the device promised was exceeded %llu times\n",
                    (unsigned long long)(shim_violations() - harness.promises_seen));
        result = -1;
    }
    harness.promises_seen = shim_violations();
    return result;
}

uint32_t harness_device_count(void)
{
    return harness.count;
}

dj_context *harness_context(uint32_t i)
{
    assert_true(i < harness.count);
    return harness.contexts[i];
}

bool harness_16bit_storage(dj_context *context)
{
    struct dj_device_info info;
    HARNESS_OK(dj_context_device(context, &info));
    for (uint32_t i = 0; i < harness.count; i++) {
        if (harness.contexts[i] == context && harness.bare)
            return false;
    }
    return info.storage_16bit && !is_off("DIJIANG_16BIT_STORAGE");
}

void harness_assert_nan(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    assert_true(isnan(x));
    assert_int_not_equal(bits, HARNESS_POISON);
}

uint64_t harness_hash(const float *x, size_t n, uint64_t hash)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t word;
        memcpy(&word, &x[i], sizeof word);
        hash = (hash ^ word) * 0x100000001b3u;
    }
    return hash;
}

const char *harness_log_last(void)
{
    static char copy[sizeof(harness.last)];
    pthread_mutex_lock(&harness.lock);
    memcpy(copy, harness.last, sizeof(copy));
    pthread_mutex_unlock(&harness.lock);
    return copy;
}

void harness_log_clear(void)
{
    pthread_mutex_lock(&harness.lock);
    harness.last[0] = 0;
    pthread_mutex_unlock(&harness.lock);
}

uint64_t harness_random(void)
{
    uint64_t z = harness.random += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

double harness_uniform(void)
{
    return (double)(harness_random() >> 11) * 0x1p-53;
}

double harness_normal(void)
{
    const double radius = sqrt(-2 * log(1 - harness_uniform())); /* 1 - u is never 0 */
    return radius * cos(2 * acos(-1.0) * harness_uniform());
}

void harness_fill_normal(float *x, size_t n, double sigma)
{
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(sigma * harness_normal());
}

double harness_error(const float *got, const double *want, size_t n)
{
    double difference = 0, reference = 0;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(got[i]) || !isfinite(want[i]))
            return INFINITY;
        difference += (got[i] - want[i]) * (got[i] - want[i]);
        reference += want[i] * want[i];
    }
    if (n == 0)
        return 0;
    return sqrt(reference > 0 ? difference / reference : difference / (double)n);
}

void harness_assert_within(double error, double bound, const char *what)
{
    if (!(error <= bound))
        fail_msg("%s: error %.3g exceeds bound %.3g", what, error, bound);
}

dj_buffer *harness_buffer(dj_context *context, const void *data, uint64_t size)
{
    dj_buffer *buffer = NULL;
    HARNESS_OK(dj_buffer_create(context, &(struct dj_buffer_params){.size = size}, &buffer));
    if (data && size)
        HARNESS_OK(dj_buffer_write(buffer, 0, data, size));
    return buffer;
}

dj_buffer *harness_poisoned(dj_context *context, uint64_t size)
{
    const uint64_t words = (size + 3) / 4;
    uint32_t *data = malloc(words * 4 + 4);
    assert_non_null(data);
    for (uint64_t i = 0; i < words; i++)
        data[i] = HARNESS_POISON;
    dj_buffer *buffer = harness_buffer(context, data, size);
    free(data);
    return buffer;
}

void harness_read(dj_buffer *buffer, uint64_t offset, void *data, uint64_t size)
{
    if (size)
        HARNESS_OK(dj_buffer_read(buffer, offset, data, size));
}

void harness_assert_poisoned(dj_buffer *buffer, uint64_t offset, uint64_t size)
{
    uint8_t *data = malloc(size + 1);
    assert_non_null(data);
    harness_read(buffer, offset, data, size);
    const uint32_t poison = HARNESS_POISON;
    uint8_t pattern[4];
    memcpy(pattern, &poison, 4);
    uint64_t bad = 0;
    while (bad < size && data[bad] == pattern[(offset + bad) % 4])
        bad++;
    free(data);
    if (bad < size)
        fail_msg("byte %llu of the buffer was written", (unsigned long long)(offset + bad));
}

void harness_assert_result(dj_result got, dj_result want, const char *call, const char *file,
                           int line)
{
    if (got == want)
        return;
    print_error("%s:%d: %s\n    returned %s, not %s; last log line: %s\n", file, line, call,
                dj_result_name(got), dj_result_name(want), harness_log_last());
    _fail(file, line);
}

const char *harness_data(const char *name)
{
    static char path[4096];
    snprintf(path, sizeof(path), "%s/%s", TEST_DATA, name);
    return path;
}

bool harness_uses(uint32_t use, const char *reason)
{
    dj_context *context = NULL;
    const bool there =
        dj_context_create(NULL, &context) == DJ_SUCCESS && (dj_context_uses(context) & use) != 0;
    dj_context_destroy(&context);
    if (!there)
        printf("1..0 # SKIP %s\n", reason);
    return there;
}
