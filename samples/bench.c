/* SPDX-License-Identifier: MIT */
/* dijiang-bench: how long prefill and decoding take, after checking that their results are right.
 */
#include "host.h"
#include "program.h"

#include <dijiang/dijiang.h>

#include <cjson/cJSON.h>

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "usage: dijiang-bench [options]\n"
    "\n"
    "Measures attention (WDCF features, causal, normalised) on random data, in float32:\n"
    "  prefill   whole sequences in one submission, from submission to completion\n"
    "  decode    one token per sequence that continues a state; what it takes does not depend on\n"
    "            how many tokens the state has seen, so tokens is 1\n"
    "The median of at least 5 repetitions counts. Before a case is timed, one head of its result "
    "is\n"
    "compared with a computation in double precision.\n"
    "\n"
    "options:\n"
    "  --case CASE        prefill or decode; default both\n"
    "  --tokens T         prefill this length; default 1024, 2048, ... 65536\n"
    "  --batch B          sequences; default 1\n"
    "  --heads H          default 8\n"
    "  --dim D            of queries and keys, a multiple of 4 up to 256; default 64\n"
    "  --value-dim E      of values; default D\n"
    "  --repeat N         repetitions; default at least 5 and at least a second\n"
    "  --device D         an index of dijiang-info, or part of a device's name\n"
    "  --json             prints JSON instead of a table\n"
    "  --help, --version\n"
    "\n"
    "examples:\n"
    "  dijiang-bench\n"
    "  dijiang-bench --case prefill --heads 8 --dim 64 --tokens 8192 --json\n"
    "\n"
    "exit codes: 0 success, 1 failure, 2 wrong usage, 3 a result was wrong\n";

enum {
    CHECK_STEPS = 70, /* decoding is checked over these: more than any tile or fold of 64 */
    MIN_REPEATS = 5,
    MAX_REPEATS = 1000,
    FILL_CHUNK = 1 << 16, /* elements */
    MAX_CASES = 8,
};

struct settings {
    const char *only, *device;
    bool json;
    uint64_t batch, heads, dim, value_dim, tokens, repeat; /* 0: default */
};

struct measured {
    const char *name;
    uint64_t tokens; /* per sequence and repetition */
    double median;   /* seconds */
};

/* Everything of one case. Tensors are [B,T,H,..] without gaps. */
struct work {
    const struct settings *settings;
    uint64_t tokens; /* of the tensors */
    uint64_t step;   /* tokens per submission */
    float *frequencies;
    int32_t *slots; /* 0 .. batch-1 for decoding, else NULL */
    dj_features *features;
    dj_attention *plan;
    dj_buffer *q, *k, *v, *o, *state, *scratch;
    dj_recorder *recorder;
    struct dj_attention_args args;
};

/* Element i of a stream of random numbers, uniform with variance 1. That each follows from its
 * index alone lets the check recompute one head of a large tensor. */
static float random_element(uint64_t stream, uint64_t i)
{
    uint64_t z = (stream << 56) + i * 0x9e3779b97f4a7c15u + 0x2545f4914f6cdd1du;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return ((float)(z >> 40) * 0x1p-24f - 0.5f) * 3.4641016f;
}

static dj_result create_random(dj_context *context, uint64_t stream, uint64_t count,
                               dj_buffer **buffer)
{
    dj_result result = dj_buffer_create(
        context, &(struct dj_buffer_params){.size = count * sizeof(float)}, buffer);
    float *chunk = malloc(FILL_CHUNK * sizeof(float));
    if (!chunk)
        result = DJ_ERROR_OUT_OF_HOST_MEMORY;
    for (uint64_t start = 0; result == DJ_SUCCESS && start < count; start += FILL_CHUNK) {
        const uint64_t n = count - start < FILL_CHUNK ? count - start : FILL_CHUNK;
        for (uint64_t i = 0; i < n; i++)
            chunk[i] = random_element(stream, start + i);
        result = dj_buffer_write(*buffer, start * sizeof(float), chunk, n * sizeof(float));
    }
    free(chunk);
    return result;
}

static dj_result create_tensors(dj_context *context, struct work *w)
{
    const struct settings *s = w->settings;
    const uint64_t rows = s->batch * w->tokens * s->heads;
    dj_result result = create_random(context, 1, rows * s->dim, &w->q);
    if (result == DJ_SUCCESS)
        result = create_random(context, 2, rows * s->dim, &w->k);
    if (result == DJ_SUCCESS)
        result = create_random(context, 3, rows * s->value_dim, &w->v);
    if (result == DJ_SUCCESS)
        result = create_random(context, 4, rows * s->value_dim, &w->o);
    return result;
}

/* A pool of one empty state per sequence. */
static dj_result create_state(dj_context *context, struct work *w)
{
    const uint64_t batch = w->settings->batch;
    struct dj_needs needs;
    dj_result result = dj_attention_needs(w->plan, NULL, &needs);
    if (result != DJ_SUCCESS)
        return result;
    result = dj_buffer_create(context, &(struct dj_buffer_params){.size = batch * needs.slot_size},
                              &w->state);
    void *empty = calloc(1, needs.slot_size);
    w->slots = calloc(batch, sizeof(*w->slots));
    if (!empty || !w->slots)
        result = DJ_ERROR_OUT_OF_HOST_MEMORY;
    for (uint64_t i = 0; result == DJ_SUCCESS && i < batch; i++) {
        w->slots[i] = (int32_t)i;
        result = dj_buffer_write(w->state, i * needs.slot_size, empty, needs.slot_size);
    }
    free(empty);
    w->args.state = w->state;
    w->args.slot_count = (uint32_t)batch;
    w->args.slots_in = w->args.slots_out = w->slots;
    return result;
}

static void view(struct dj_tensor *tensor, dj_buffer *buffer, const struct work *w, uint64_t dim)
{
    const struct settings *s = w->settings;
    dj_tensor_init(tensor, buffer, 0, DJ_FLOAT32,
                   (const uint64_t[4]){s->batch, w->tokens, s->heads, dim});
    tensor->shape[1] = w->step;
}

static dj_result create_recorder(dj_context *context, struct work *w)
{
    struct dj_needs needs;
    dj_result result = dj_attention_needs(w->plan, &w->args, &needs);
    if (result == DJ_SUCCESS)
        result = dj_buffer_create(context, &(struct dj_buffer_params){.size = needs.scratch_size},
                                  &w->scratch);
    if (result != DJ_SUCCESS)
        return result;
    w->args.scratch = (struct dj_scratch){.buffer = w->scratch, .size = needs.scratch_size};
    return dj_recorder_create(
        context,
        &(struct dj_recorder_params){.dispatches = needs.dispatches, .ring_size = needs.ring_size},
        &w->recorder);
}

static dj_result create_work(dj_context *context, struct work *w, bool with_state)
{
    const struct settings *s = w->settings;
    w->frequencies = calloc(s->dim, sizeof(float));
    if (!w->frequencies)
        return DJ_ERROR_OUT_OF_HOST_MEMORY;
    dj_result result = dj_frequencies_draw((uint32_t)s->dim, 1, w->frequencies);
    if (result == DJ_SUCCESS)
        result = dj_features_create(context,
                                    &(struct dj_features_params){.map = DJ_MAP_WDCF,
                                                                 .dim = (uint32_t)s->dim,
                                                                 .frequencies = w->frequencies},
                                    &w->features);
    if (result == DJ_SUCCESS)
        result =
            dj_attention_create(context,
                                &(struct dj_attention_params){.map = DJ_MAP_WDCF,
                                                              .heads = (uint32_t)s->heads,
                                                              .dim = (uint32_t)s->dim,
                                                              .value_dim = (uint32_t)s->value_dim},
                                &w->plan);
    if (result == DJ_SUCCESS)
        result = create_tensors(context, w);
    if (result == DJ_SUCCESS && with_state)
        result = create_state(context, w);
    if (result != DJ_SUCCESS)
        return result;
    w->args.features = w->features;
    w->args.barriers = DJ_BARRIER_BEFORE | DJ_BARRIER_AFTER_HOST;
    view(&w->args.q, w->q, w, s->dim);
    view(&w->args.k, w->k, w, s->dim);
    view(&w->args.v, w->v, w, s->value_dim);
    view(&w->args.o, w->o, w, s->value_dim);
    return create_recorder(context, w);
}

static void destroy_work(struct work *w)
{
    dj_recorder_destroy(&w->recorder);
    dj_buffer_destroy(&w->scratch);
    dj_buffer_destroy(&w->state);
    dj_buffer_destroy(&w->o);
    dj_buffer_destroy(&w->v);
    dj_buffer_destroy(&w->k);
    dj_buffer_destroy(&w->q);
    dj_attention_destroy(&w->plan);
    dj_features_destroy(&w->features);
    free(w->slots);
    free(w->frequencies);
}

/* Records the call, then times what remains: to submit it and to wait. */
static dj_result run_once(struct work *w, double *seconds)
{
    dj_result result = dj_recorder_begin(w->recorder);
    if (result == DJ_SUCCESS)
        result = dj_attention_record(w->plan, w->recorder, &w->args);
    if (result != DJ_SUCCESS)
        return result;
    const double start = program_seconds();
    result = dj_recorder_submit(w->recorder);
    if (result == DJ_SUCCESS)
        result = dj_recorder_wait(w->recorder, UINT64_MAX);
    *seconds = program_seconds() - start;
    return result;
}

/* Runs over all tokens of the tensors, step by step. */
static dj_result run_all(struct work *w)
{
    const struct dj_attention_args first = w->args;
    dj_result result = DJ_SUCCESS;
    double seconds;
    for (uint64_t t = 0; result == DJ_SUCCESS && t < w->tokens; t += w->step) {
        w->args.q.offset = t * first.q.stride[1] * sizeof(float);
        w->args.k.offset = t * first.k.stride[1] * sizeof(float);
        w->args.v.offset = t * first.v.stride[1] * sizeof(float);
        w->args.o.offset = t * first.o.stride[1] * sizeof(float);
        result = run_once(w, &seconds);
    }
    w->args = first;
    return result;
}

/* The last sequence's last head of a random tensor, as [T][dim]. */
static void random_head(const struct work *w, uint64_t stream, uint64_t dim, float *data)
{
    const struct settings *s = w->settings;
    for (uint64_t t = 0; t < w->tokens; t++) {
        const uint64_t row = ((s->batch - 1) * w->tokens + t) * s->heads + s->heads - 1;
        for (uint64_t c = 0; c < dim; c++)
            data[t * dim + c] = random_element(stream, row * dim + c);
    }
}

/* The same head of the output, compared with what it should be. */
static dj_result compare_head(const struct work *w, const float *want, struct host_error *error)
{
    const struct settings *s = w->settings;
    const uint64_t width = s->heads * s->value_dim, start = (s->batch - 1) * w->tokens;
    const uint64_t most = FILL_CHUNK / width ? FILL_CHUNK / width : 1; /* rows at a time */
    dj_result result = DJ_SUCCESS;
    float *rows = malloc(most * width * sizeof(float));
    if (!rows)
        return DJ_ERROR_OUT_OF_HOST_MEMORY;
    for (uint64_t t = 0; result == DJ_SUCCESS && t < w->tokens; t += most) {
        const uint64_t n = w->tokens - t < most ? w->tokens - t : most;
        result = dj_buffer_read(w->o, (start + t) * width * sizeof(float), rows,
                                n * width * sizeof(float));
        for (uint64_t i = 0; result == DJ_SUCCESS && i < n; i++)
            host_error_add(error, rows + (i + 1) * width - s->value_dim,
                           want + (t + i) * s->value_dim, s->value_dim);
    }
    free(rows);
    return result;
}

/* The error of one head against the host, and its bound. */
static dj_result measure_error(const struct work *w, double *value, double *bound)
{
    const struct settings *s = w->settings;
    struct host_map map = {.map = DJ_MAP_WDCF,
                           .dim = (uint32_t)s->dim,
                           .scale = 1 / sqrt((double)s->dim),
                           .frequencies = w->frequencies};
    struct host_extremes extremes = {0};
    struct host_error error = {0};
    dj_result result = DJ_ERROR_OUT_OF_HOST_MEMORY;
    float *q = malloc(w->tokens * s->dim * sizeof(float));
    float *k = malloc(w->tokens * s->dim * sizeof(float));
    float *v = malloc(w->tokens * s->value_dim * sizeof(float));
    float *o = malloc(w->tokens * s->value_dim * sizeof(float));
    if (q && k && v && o && host_map_init(&map)) {
        random_head(w, 1, s->dim, q);
        random_head(w, 2, s->dim, k);
        random_head(w, 3, s->value_dim, v);
        if (host_attention(&map, 0, w->tokens, (uint32_t)s->value_dim, q, k, v, o, &extremes))
            result = compare_head(w, o, &error);
    }
    *value = host_error_value(&error, w->tokens * s->value_dim);
    *bound = host_bound(&map, &extremes, host_bound_f32(w->tokens));
    host_map_finish(&map);
    free(o);
    free(v);
    free(k);
    free(q);
    return result;
}

static int check(struct work *w, const char *name)
{
    double error = 0, bound = 0;
    program_progress("%s %" PRIu64 ": checking", name, w->tokens);
    dj_result result = run_all(w);
    if (result == DJ_SUCCESS)
        result = measure_error(w, &error, &bound);
    if (result != DJ_SUCCESS)
        return program_fail_dj(name, result);
    if (error <= bound) /* false for NaN */
        return PROGRAM_SUCCESS;
    program_fail("%s of %" PRIu64 " tokens is wrong: error %.3g exceeds the bound %.3g", name,
                 w->tokens, error, bound);
    return PROGRAM_CHECK_FAILED;
}

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The check before it has warmed everything up. */
static dj_result measure_time(struct work *w, const char *name, double *median)
{
    double samples[MAX_REPEATS], total = 0;
    const uint64_t repeat = w->settings->repeat;
    uint64_t count = 0;
    dj_result result = DJ_SUCCESS;
    while (result == DJ_SUCCESS && count < MAX_REPEATS &&
           (repeat ? count < repeat : count < MIN_REPEATS || total < 1)) {
        if (count % 16 == 0)
            program_progress("%s %" PRIu64 ": repetition %" PRIu64, name, w->step, count + 1);
        result = run_once(w, &samples[count]);
        total += samples[count++];
    }
    qsort(samples, count, sizeof(samples[0]), compare_doubles);
    *median = count ? (samples[(count - 1) / 2] + samples[count / 2]) / 2 : 0;
    return result;
}

static int measure(dj_context *context, const struct settings *settings, struct measured *m)
{
    const bool decode = strcmp(m->name, "decode") == 0;
    struct work w = {
        .settings = settings, .tokens = decode ? CHECK_STEPS : m->tokens, .step = m->tokens};
    program_progress("%s %" PRIu64 ": preparing", m->name, m->tokens);
    dj_result result = create_work(context, &w, decode);
    int code = result == DJ_SUCCESS ? check(&w, m->name) : program_fail_dj(m->name, result);
    if (!code) {
        result = measure_time(&w, m->name, &m->median);
        if (result != DJ_SUCCESS)
            code = program_fail_dj(m->name, result);
    }
    destroy_work(&w);
    program_progress(NULL);
    return code;
}

static double tokens_per_second(const struct settings *s, const struct measured *m)
{
    return m->median > 0 ? (double)(s->batch * m->tokens) / m->median : 0;
}

static void print_row(const struct settings *s, const struct measured *m)
{
    printf("%-8s %6" PRIu64 " %6" PRIu64 " %5" PRIu64 " %5" PRIu64 " %8" PRIu64
           " %12.3f %12.0f %12.3f\n",
           m->name, s->batch, s->heads, s->dim, s->value_dim, m->tokens, 1e3 * m->median,
           tokens_per_second(s, m), 1e6 * m->median / (double)(s->batch * m->tokens));
    fflush(stdout);
}

static void print_header(const struct dj_device_info *info)
{
    printf("device: %s (%s, %s)\n", info->name, program_device_type(info->type), info->driver);
    printf("%-8s %6s %6s %5s %5s %8s %12s %12s %12s\n", "case", "batch", "heads", "dim", "value",
           "tokens", "median ms", "tokens/s", "us/token");
}

static int print_json(const struct settings *s, const struct dj_device_info *info,
                      const struct measured *cases, size_t count)
{
    cJSON *name = cJSON_CreateString(info->name);
    char *text = name ? cJSON_PrintUnformatted(name) : NULL;
    cJSON_Delete(name);
    if (!text)
        return program_fail("out of memory");
    printf("{\"device\": %s, \"results\": [", text);
    for (size_t i = 0; i < count; i++)
        printf("%s{\"case\": \"%s\", \"batch\": %" PRIu64 ", \"heads\": %" PRIu64
               ", \"dim\": %" PRIu64 ", \"value_dim\": %" PRIu64 ", \"tokens\": %" PRIu64
               ", \"median_ms\": %.6g, \"tokens_per_s\": %.6g}",
               i ? ", " : "", cases[i].name, s->batch, s->heads, s->dim, s->value_dim,
               cases[i].tokens, 1e3 * cases[i].median, tokens_per_second(s, &cases[i]));
    printf("]}\n");
    cJSON_free(text);
    return PROGRAM_SUCCESS;
}

/* The cases that were asked for. */
static size_t choose_cases(const struct settings *s, struct measured *cases)
{
    size_t count = 0;
    if (!s->only || strcmp(s->only, "prefill") == 0) {
        for (uint64_t tokens = 1024; tokens <= 65536 && !s->tokens; tokens *= 2)
            cases[count++] = (struct measured){.name = "prefill", .tokens = tokens};
        if (s->tokens)
            cases[count++] = (struct measured){.name = "prefill", .tokens = s->tokens};
    }
    if (!s->only || strcmp(s->only, "decode") == 0)
        cases[count++] = (struct measured){.name = "decode", .tokens = 1};
    return count;
}

/* One tensor is one buffer. */
static int check_size(const struct settings *s, const struct dj_device_info *info,
                      const struct measured *m)
{
    const uint64_t tokens = strcmp(m->name, "decode") == 0 ? CHECK_STEPS : m->tokens;
    const uint64_t dim = s->dim > s->value_dim ? s->dim : s->value_dim;
    const double bytes =
        (double)s->batch * (double)tokens * (double)s->heads * (double)dim * sizeof(float);
    if (bytes <= (double)info->max_allocation)
        return PROGRAM_SUCCESS;
    return program_fail("%s of %" PRIu64 " tokens: a tensor takes %.0f MiB, more than the %.0f MiB "
                        "that %s allocates at once",
                        m->name, m->tokens, bytes / (1 << 20),
                        (double)info->max_allocation / (1 << 20), info->name);
}

static int measure_all(dj_context *context, const struct settings *s)
{
    struct measured cases[MAX_CASES];
    const size_t count = choose_cases(s, cases);
    struct dj_device_info info;
    const dj_result result = dj_context_device(context, &info);
    int code = result == DJ_SUCCESS ? PROGRAM_SUCCESS : program_fail_dj("device", result);
    for (size_t i = 0; !code && i < count; i++)
        code = check_size(s, &info, &cases[i]);
    if (!code && !s->json)
        print_header(&info);
    for (size_t i = 0; !code && i < count; i++) {
        code = measure(context, s, &cases[i]);
        if (!code && !s->json)
            print_row(s, &cases[i]);
    }
    return !code && s->json ? print_json(s, &info, cases, count) : code;
}

int main(int argc, char **argv)
{
    static const char *const names[] = {"prefill", "decode", NULL};
    struct settings s = {.batch = 1, .heads = 8, .dim = 64};
    const struct program_option options[] = {
        {.name = "--case", .kind = PROGRAM_TEXT, .value = &s.only, .choices = names},
        {.name = "--device", .kind = PROGRAM_TEXT, .value = &s.device},
        {.name = "--json", .kind = PROGRAM_FLAG, .value = &s.json},
        {"--batch", PROGRAM_NUMBER, &s.batch, NULL, 1, 65535, 1},
        {"--heads", PROGRAM_NUMBER, &s.heads, NULL, 1, 65535, 1},
        {"--dim", PROGRAM_NUMBER, &s.dim, NULL, 4, 256, 4},
        {"--value-dim", PROGRAM_NUMBER, &s.value_dim, NULL, 4, 256, 4},
        {"--tokens", PROGRAM_NUMBER, &s.tokens, NULL, 1, 1 << 24, 1},
        {"--repeat", PROGRAM_NUMBER, &s.repeat, NULL, 1, MAX_REPEATS, 1},
    };
    int code;
    if (!program_start("dijiang-bench", help, options, sizeof(options) / sizeof(options[0]), argc,
                       argv, &code))
        return code;
    if (!s.value_dim)
        s.value_dim = s.dim;

    dj_context *context = NULL;
    const struct dj_context_params params = program_context_params(s.device);
    const dj_result result = dj_context_create(&params, &context);
    code = result == DJ_SUCCESS ? measure_all(context, &s)
                                : program_fail_dj("no device to measure", result);
    code = program_validated(context, code);
    dj_context_destroy(&context);
    return program_finish(code);
}
