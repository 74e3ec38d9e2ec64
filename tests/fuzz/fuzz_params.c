/* SPDX-License-Identifier: MIT */
/* Any bytes as parameters and arguments of the public calls, on a device that executes nothing:
 * each call returns, what is accepted is recorded without breaking a rule of Vulkan's, and whatever
 * is refused leaves nothing behind. Arrays of the host are as long as the contract says. */
#include "fuzz.h"

#include "../null_device.h"

#include "../../shaders/kernels.h"

#include <dijiang/dijiang.h>

#include <math.h>
#include <string.h>

enum {
    BUFFERS = 4,
    MOST_SEQUENCES = 16,
    MOST_INDICES = 2048,
    MOST_NUMBERS = 1 << 23, /* floats of one array of a feature map */
    MOST_DATA = 1 << 16,
};

static struct null_engine engines[2]; /* which binds by descriptors; by device addresses, richer */
static const struct null_engine *engine;
static dj_context *context;
static dj_recorder *recorder;
static dj_buffer *buffers[BUFFERS];
static int32_t indices[MOST_INDICES];
static float *numbers;
static float decay[65536];
static uint8_t data[MOST_DATA];

/* What a kernel is given instead of descriptors: the address of a table of addresses, in the last 8
 * bytes of its push constants. Nothing else sees them here. */
static void check_addresses(const struct null_dispatch *dispatch)
{
    uint64_t table, addresses[DJ_ADDRESSES];
    if (dispatch->bindings != 0)
        return;
    memcpy(&table, dispatch->push + DJ_ADDRESSES_OFFSET, sizeof table);
    FUZZ_ASSERT(null_is_address(table) && null_is_address(table + sizeof addresses - 1));
    memcpy(addresses, (const void *)(uintptr_t)table, sizeof addresses);
    for (int i = 0; i < DJ_ADDRESSES; i++)
        FUZZ_ASSERT(addresses[i] == 0 || null_is_address(addresses[i]));
    FUZZ_ASSERT(addresses[0] != 0 || addresses[1] != 0); /* it works on something */
}

static void start(void)
{
    if (numbers != NULL)
        return;
    struct null_settings settings = null_least();
    settings.push_descriptors = settings.storage_16bit = true;
    settings.queue_families = 2;
    settings.timestamp_bits = 36;
    null_device_set(&settings);
    null_engine_init(&engines[0]);
    settings.device_addresses = settings.float_controls = settings.whole_subgroups = true;
    settings.subgroup_size = 8;
    settings.type = VK_PHYSICAL_DEVICE_TYPE_CPU; /* where kernels are chosen otherwise, too */
    null_device_set(&settings);
    null_engine_init(&engines[1]);
    numbers = calloc(MOST_NUMBERS, sizeof *numbers);
    FUZZ_ASSERT(numbers != NULL);
    for (int i = 0; i < 65536; i++)
        decay[i] = 0.9f;
}

/* A context for each input: it keeps the kernels of all its plans. */
static void make_context(void)
{
    static const uint64_t sizes[BUFFERS] = {0, 4096, 1 << 16, 1 << 22};
    const struct dj_import_params params = null_engine_params(engine);
    FUZZ_ASSERT(dj_context_import(&params, &context) == DJ_SUCCESS);
    const struct dj_recorder_params timed = {.dispatches = 1024, .timings = DJ_ON};
    FUZZ_ASSERT(dj_recorder_create(context, &timed, &recorder) == DJ_SUCCESS);
    for (int i = 0; i < BUFFERS; i++)
        FUZZ_ASSERT(dj_buffer_create(context, &(struct dj_buffer_params){.size = sizes[i]},
                                     &buffers[i]) == DJ_SUCCESS);
}

/* Of what the recorder recorded last, which has run. */
static void read_timings(void)
{
    static struct dj_timing timings[1024];
    uint32_t count = 1024;
    FUZZ_ASSERT(dj_recorder_timings(recorder, timings, &count) == DJ_SUCCESS);
    for (uint32_t i = 0; i < count; i++)
        FUZZ_ASSERT(timings[i].kernel != NULL && timings[i].nanoseconds > 0);
}

static void destroy_context(void)
{
    for (int i = 0; i < BUFFERS; i++)
        dj_buffer_destroy(&buffers[i]);
    dj_recorder_destroy(&recorder);
    dj_context_destroy(&context);
}

/* Mostly 0 .. most, else anything. */
static uint32_t small(struct fuzz_bytes *bytes, uint32_t most)
{
    const uint8_t first = fuzz_byte(bytes);
    return first < 240 ? first % (most + 1) : (uint32_t)fuzz_word(bytes, 4);
}

static uint32_t head_dim(struct fuzz_bytes *bytes)
{
    static const uint32_t dims[] = {4, 8, 12, 16, 64, 80, 256};
    const uint8_t first = fuzz_byte(bytes);
    return first < 230 ? dims[first % 7] : (uint32_t)fuzz_word(bytes, 4);
}

/* Mostly 0 .. most, else near a power of two, or anything. */
static uint64_t large(struct fuzz_bytes *bytes, uint64_t most)
{
    const uint8_t first = fuzz_byte(bytes);
    if (first < 220)
        return first % (most + 1);
    if (first < 245)
        return (UINT64_C(1) << fuzz_byte(bytes) % 64) + fuzz_byte(bytes) % 3 - 1;
    return fuzz_word(bytes, 8);
}

/* Mostly 0. */
static uint64_t reserved(struct fuzz_bytes *bytes)
{
    return fuzz_byte(bytes) < 254 ? 0 : fuzz_word(bytes, 8);
}

static float real(struct fuzz_bytes *bytes)
{
    const uint8_t first = fuzz_byte(bytes);
    if (first < 200)
        return 0.0f;
    const uint32_t bits = (uint32_t)fuzz_word(bytes, 4);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static dj_buffer *buffer(struct fuzz_bytes *bytes)
{
    const uint8_t which = fuzz_byte(bytes) % 16;
    return which == 0 ? NULL : which < 4 ? buffers[which - 1] : buffers[BUFFERS - 1];
}

static struct dj_attention_params plan_params(struct fuzz_bytes *bytes)
{
    struct dj_attention_params p = {
        .map = small(bytes, DJ_MAP_COUNT - 1),
        .heads = small(bytes, 8),
        .key_heads = small(bytes, 4),
        .dim = head_dim(bytes),
        .value_dim = fuzz_byte(bytes) % 2 ? head_dim(bytes) : 0,
        .features = fuzz_byte(bytes) % 4 ? 0 : small(bytes, 64),
        .max_tokens = fuzz_byte(bytes) % 2 ? 0 : small(bytes, 100),
        .causal = small(bytes, 2),
        .normalise = small(bytes, 2),
        .key_normalise = fuzz_byte(bytes) % 4 ? 0 : small(bytes, 2),
        .q_type = small(bytes, 2),
        .k_type = small(bytes, 2),
        .v_type = small(bytes, 2),
        .o_type = small(bytes, 2),
        .dct_path = DJ_DCT_PATH_DENSE,
        .family = small(bytes, 3),
        .scale = real(bytes),
        .padding = (uint32_t)reserved(bytes),
        .decay = fuzz_byte(bytes) % 4 ? NULL : decay,
    };
    p.reserved[fuzz_byte(bytes) % 4] = reserved(bytes);
    return p;
}

static dj_features *make_features(struct fuzz_bytes *bytes, const struct dj_attention_params *plan)
{
    const uint8_t given = fuzz_byte(bytes);
    struct dj_features_params p = {
        .map = fuzz_byte(bytes) % 8 ? plan->map : small(bytes, DJ_MAP_COUNT),
        .dim = fuzz_byte(bytes) % 8 ? plan->dim : head_dim(bytes),
        .features = plan->features,
        .heads = fuzz_byte(bytes) % 4 ? 0 : small(bytes, 8),
        .kernel = small(bytes, 1),
        .tokens = plan->map == DJ_MAP_LINFORMER ? plan->max_tokens : small(bytes, 0),
        .frequencies = given & 1 ? numbers : NULL,
        .weights = given & 2 ? numbers : NULL,
        .directions = given & 4 ? numbers : NULL,
        .key_projection = given & 8 ? numbers : NULL,
        .value_projection = given & 16 ? numbers : NULL,
    };
    p.reserved[fuzz_byte(bytes) % 4] = reserved(bytes);
    /* the arrays are this long */
    const uint64_t m = p.features ? p.features : p.dim, sets = p.heads ? p.heads : 1;
    const uint64_t row = p.tokens > p.dim ? p.tokens : p.dim;
    if (m <= 1024 && sets <= 65535 && row <= UINT32_MAX &&
        (row > MOST_NUMBERS || m * sets * row > MOST_NUMBERS))
        return NULL;
    dj_features *made = NULL;
    (void)dj_features_create(context, &p, &made);
    return made;
}

static struct dj_tensor tensor(struct fuzz_bytes *bytes, const uint64_t shape[4], uint32_t type)
{
    struct dj_tensor t;
    dj_tensor_init(&t, buffer(bytes), 0, type, shape);
    const uint8_t changes = fuzz_byte(bytes);
    if (changes & 1)
        t.offset = large(bytes, 64);
    if (changes & 2)
        t.shape[fuzz_byte(bytes) % 4] = large(bytes, 40);
    if (changes & 4)
        t.stride[fuzz_byte(bytes) % 4] = large(bytes, 200);
    if (changes & 8)
        dj_tensor_swap(&t, fuzz_byte(bytes), fuzz_byte(bytes));
    if (changes == 255) {
        t.type = small(bytes, 3);
        t.padding = (uint32_t)reserved(bytes);
        t.reserved[0] = reserved(bytes);
    }
    return t;
}

/* host: whether an array of the host is long enough for what the arguments say. */
static struct dj_indices some_indices(struct fuzz_bytes *bytes, bool host)
{
    struct dj_indices i = {0};
    const uint8_t kind = fuzz_byte(bytes);
    if (host && kind < 120) {
        i.host = indices;
        for (int n = 0; n < 8; n++)
            indices[fuzz_byte(bytes)] = (int32_t)small(bytes, 6) - 1;
    } else if (kind > 200) {
        i.buffer = buffer(bytes);
        i.offset = large(bytes, 64) * (kind % 2 ? 4 : 1);
    }
    i.reserved[0] = reserved(bytes);
    return i;
}

static struct dj_spans some_spans(struct fuzz_bytes *bytes, bool host)
{
    struct dj_spans s = {.kind = small(bytes, 2),
                         .count = small(bytes, MOST_SEQUENCES),
                         .longest = small(bytes, 60),
                         .padding = (uint32_t)reserved(bytes)};
    s.indices = some_indices(bytes, host && s.count <= MOST_SEQUENCES);
    s.reserved[0] = reserved(bytes);
    return s;
}

static struct dj_attention_args call_args(struct fuzz_bytes *bytes,
                                          const struct dj_attention_params *plan)
{
    const uint64_t B = large(bytes, 4), T = large(bytes, 100), Tk = large(bytes, 100);
    const uint64_t heads = plan->heads, key_heads = plan->key_heads ? plan->key_heads : heads;
    const uint64_t e = plan->value_dim ? plan->value_dim : plan->dim;
    const bool cross = plan->causal == DJ_OFF;
    const uint64_t q[4] = {B, T, heads, plan->dim},
                   k[4] = {B, cross ? Tk : T, key_heads, plan->dim};
    const uint64_t v[4] = {B, k[1], key_heads, e}, o[4] = {B, T, heads, e};
    struct dj_attention_args a = {
        .q = tensor(bytes, q, plan->q_type),
        .k = tensor(bytes, k, plan->k_type),
        .v = tensor(bytes, v, plan->v_type),
        .o = tensor(bytes, o, plan->o_type),
        .snapshots = fuzz_byte(bytes) % 2 ? 0 : small(bytes, 4),
        .barriers = small(bytes, 7),
        .padding = (uint32_t)reserved(bytes),
        .max_work = fuzz_byte(bytes) % 2 ? 0 : large(bytes, 200) << fuzz_byte(bytes) % 24,
    };
    const bool host =
        a.q.shape[0] <= MOST_SEQUENCES && a.k.shape[0] <= MOST_SEQUENCES && a.snapshots <= 64;
    if (fuzz_byte(bytes) % 2)
        a.spans = some_spans(bytes, host);
    if (fuzz_byte(bytes) % 4 == 0)
        a.query_spans = some_spans(bytes, host);
    /* the spans' counts are sequences too */
    const bool few =
        host && a.spans.count <= MOST_SEQUENCES && a.query_spans.count <= MOST_SEQUENCES;
    if (fuzz_byte(bytes) % 2) {
        a.state = buffer(bytes);
        a.state_offset = fuzz_byte(bytes) % 4 ? 0 : large(bytes, 64);
        a.slot_count = small(bytes, 4);
        a.slots_in = some_indices(bytes, few);
        a.accepted = some_indices(bytes, few);
        a.slots_out = some_indices(bytes, few);
    }
    if (fuzz_byte(bytes) % 8 == 0) {
        const uint64_t places = large(bytes, 120);
        a.query_scales = tensor(bytes, (const uint64_t[4]){1, 1, heads, places}, DJ_FLOAT32);
        a.key_scales = tensor(bytes, (const uint64_t[4]){1, 1, key_heads, places}, DJ_FLOAT32);
    }
    a.reserved[fuzz_byte(bytes) % 4] = reserved(bytes);
    return a;
}

static uint32_t stop_late(void *user, uint64_t done, uint64_t total)
{
    (void)done;
    (void)total;
    return ++*(uint32_t *)user > 3;
}

static void call(struct fuzz_bytes *bytes, dj_attention *plan,
                 const struct dj_attention_params *params, dj_features *features)
{
    struct dj_attention_args args = call_args(bytes, params);
    args.features = features;
    struct dj_needs needs;
    const dj_result asked = dj_attention_needs(plan, &args, &needs);
    args.scratch.buffer = buffer(bytes);
    args.scratch.offset = fuzz_byte(bytes) % 4 ? 0 : large(bytes, 64);
    args.scratch.size = fuzz_byte(bytes) % 4 ? needs.scratch_size : large(bytes, 255) << 8;
    FUZZ_ASSERT(dj_recorder_begin(recorder) == DJ_SUCCESS);
    const dj_result recorded = dj_attention_record(plan, recorder, &args);
    FUZZ_ASSERT(asked == DJ_SUCCESS || recorded != DJ_SUCCESS || args.scratch.size != 0);
    (void)dj_attention_record_part(plan, recorder, &args, small(bytes, 8));
    FUZZ_ASSERT(dj_recorder_submit(recorder) == DJ_SUCCESS);
    FUZZ_ASSERT(dj_recorder_wait(recorder, UINT64_MAX) == DJ_SUCCESS);
    read_timings();
    if (asked == DJ_SUCCESS && (uint64_t)needs.parts * needs.dispatches < 256) {
        uint32_t asks = 0;
        const struct dj_run_params run = {.budget_ns = large(bytes, 100),
                                          .progress = fuzz_byte(bytes) % 2 ? stop_late : NULL,
                                          .user = &asks,
                                          .reserved = {reserved(bytes)}};
        (void)dj_attention_run_with(plan, &args, &run);
        if (params->family == DJ_FAMILY_TUNED)
            (void)dj_attention_tune(plan, &args);
    }
    const uint64_t size = large(bytes, 100) % MOST_DATA;
    const uint64_t slot =
        needs.slot_size <= MOST_DATA && fuzz_byte(bytes) % 2 ? needs.slot_size : size;
    (void)dj_state_save(plan, &args, small(bytes, 4), data, slot);
    (void)dj_state_load(plan, &args, small(bytes, 4), data, slot);
}

static void attend(struct fuzz_bytes *bytes)
{
    const struct dj_attention_params params = plan_params(bytes);
    dj_attention *plan = NULL;
    if (dj_attention_create(context, &params, &plan) != DJ_SUCCESS) {
        FUZZ_ASSERT(plan == NULL);
        return;
    }
    dj_features *features = fuzz_byte(bytes) % 8 ? make_features(bytes, &params) : NULL;
    for (int calls = 0; calls < 3; calls++)
        call(bytes, plan, &params, features);
    dj_features_destroy(&features);
    dj_attention_destroy(&plan);
}

static void transform(struct fuzz_bytes *bytes)
{
    const struct dj_dct_params params = {.type = 2 + small(bytes, 2),
                                         .length = small(bytes, 80),
                                         .path = fuzz_byte(bytes) % 16 ? DJ_DCT_PATH_DENSE : 3,
                                         .padding = (uint32_t)reserved(bytes),
                                         .reserved = {reserved(bytes)}};
    dj_dct *plan = NULL;
    if (dj_dct_create(context, &params, &plan) != DJ_SUCCESS)
        return;
    const uint64_t shape[4] = {large(bytes, 4), large(bytes, 20), large(bytes, 4), params.length};
    struct dj_dct_args args = {.input = tensor(bytes, shape, DJ_FLOAT32),
                               .output = tensor(bytes, shape, DJ_FLOAT32),
                               .barriers = small(bytes, 7),
                               .padding = (uint32_t)reserved(bytes),
                               .reserved = {reserved(bytes)}};
    struct dj_needs needs;
    const dj_result asked = dj_dct_needs(plan, &args, &needs);
    args.scratch.buffer = buffer(bytes);
    args.scratch.size = fuzz_byte(bytes) % 2 ? needs.scratch_size : large(bytes, 255) << 8;
    FUZZ_ASSERT(dj_recorder_begin(recorder) == DJ_SUCCESS);
    (void)dj_dct_record(plan, recorder, &args);
    FUZZ_ASSERT(dj_recorder_submit(recorder) == DJ_SUCCESS);
    FUZZ_ASSERT(dj_recorder_wait(recorder, UINT64_MAX) == DJ_SUCCESS);
    read_timings();
    if (asked == DJ_SUCCESS && needs.dispatches < 1024)
        (void)dj_dct_run(plan, &args);
    dj_dct_destroy(&plan);
}

static void make_memory(struct fuzz_bytes *bytes)
{
    dj_buffer *made = NULL;
    const struct dj_buffer_params params = {.size = large(bytes, 255),
                                            .memory = small(bytes, 2),
                                            .padding = (uint32_t)reserved(bytes),
                                            .reserved = {reserved(bytes)}};
    (void)dj_buffer_create(context, &params, &made);
    uint64_t size = large(bytes, 255);
    if (size > MOST_DATA && size <= dj_buffer_size(made))
        size = MOST_DATA;
    (void)dj_buffer_write(made, large(bytes, 255), data, size);
    (void)dj_buffer_read(made, large(bytes, 255), data, size);
    dj_buffer_destroy(&made);
    const uint64_t shape[4] = {large(bytes, 9), large(bytes, 9), large(bytes, 9), large(bytes, 9)};
    struct dj_tensor t;
    (void)dj_tensor_create(context, small(bytes, 3), shape, NULL, &t);
    dj_buffer_destroy(&t.buffer);
    const struct dj_wrap_params wrap = {.buffer = dj_buffer_handle(buffer(bytes)),
                                        .size = large(bytes, 255),
                                        .usage = small(bytes, 127),
                                        .host_cached = small(bytes, 1),
                                        .reserved = {reserved(bytes)}};
    (void)dj_buffer_wrap(context, &wrap, &made);
    dj_buffer_destroy(&made);
    dj_recorder *other = NULL;
    const struct dj_recorder_params records = {.dispatches = small(bytes, 200),
                                               .timings = (uint32_t)reserved(bytes) % 4,
                                               .ring_size = large(bytes, 255),
                                               .reserved = {reserved(bytes)}};
    if (records.dispatches <= 4096 || records.dispatches > 1 << 20)
        (void)dj_recorder_create(context, &records, &other);
    struct dj_timing timing;
    uint32_t room = records.dispatches % 2;
    (void)dj_recorder_timings(other, room ? &timing : NULL, &room);
    (void)dj_recorder_barrier(other, small(bytes, 8));
    dj_recorder_destroy(&other);
}

static void import(struct fuzz_bytes *bytes)
{
    const uint32_t families[17] = {small(bytes, 1), small(bytes, 1)};
    char quirks[17] = "";
    struct dj_import_params params = null_engine_params(engine);
    for (int i = 0; i < 16; i++)
        quirks[i] = (char)fuzz_byte(bytes);
    params.api_version = fuzz_byte(bytes) % 4 ? 0 : (uint32_t)fuzz_word(bytes, 4);
    params.queue_family = small(bytes, 1);
    params.queue_families = fuzz_byte(bytes) % 2 ? families : NULL;
    params.queue_family_count = small(bytes, 2);
    if (params.queue_family_count > 17 && params.queue_family_count < 1000)
        params.queue_family_count = 17;
    params.push_descriptors = small(bytes, 2);
    params.device_addresses = small(bytes, 2);
    params.storage_16bit = small(bytes, 2);
    params.log_level = small(bytes, 4);
    params.subgroups = small(bytes, 2);
    params.quirks = fuzz_byte(bytes) % 2 ? quirks : NULL;
    params.reserved[fuzz_byte(bytes) % 4] = reserved(bytes);
    params.matrices = small(bytes, 2);
    dj_context *made = NULL;
    const dj_result result = dj_context_import(&params, &made);
    FUZZ_ASSERT((result == DJ_SUCCESS) == (made != NULL));
    dj_buffer *some = NULL; /* shared by the families, if they are several */
    (void)dj_buffer_create(made, &(struct dj_buffer_params){.size = 64}, &some);
    dj_buffer_destroy(&some);
    dj_context_destroy(&made);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    start();
    struct fuzz_bytes bytes = {input, size};
    const uint64_t objects = null_objects();
    const uint8_t first = fuzz_byte(&bytes);
    engine = &engines[first >> 7];
    null_on_dispatch = check_addresses;
    make_context();
    switch (first % 8) {
    case 0:
        transform(&bytes);
        break;
    case 1:
        make_memory(&bytes);
        break;
    case 2:
        import(&bytes);
        break;
    default:
        attend(&bytes);
        break;
    }
    destroy_context();
    FUZZ_ASSERT(null_objects() == objects);
    FUZZ_ASSERT(null_misuses() == 0);
    return 0;
}
