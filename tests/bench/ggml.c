/* SPDX-License-Identifier: MIT */
/* ggml's linear and softmax attention beside dijiang's, on the same device and in turns, so that
 * what else the machine does befalls all alike. Not part of the build; tests/bench/ggml.sh builds
 * and runs it.
 *
 * usage: bench-ggml [TOKENS ...]        default 1024 2048 4096 8192
 *
 * One sequence, 8 heads, d = e = 64, float32, causal. "linear" is GATED_LINEAR_ATTN with gates of
 * 1 and dijiang's identity map (no feature map, no denominator: ggml has none); "softmax" is
 * FLASH_ATTN_EXT with a causal mask and DJ_MAP_SOFTMAX; "decode" is one token of the former, state
 * in and out. The last token's output of every side is compared with double precision first. */
#include <dijiang/dijiang.h>

#include <ggml-backend.h>
#include <ggml-cpu.h>
#include <ggml-vulkan.h>
#include <ggml.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    H = 8,
    D = 64,
    ROW = H * D,
    MIN_REPEATS = 5,
    MAX_REPEATS = 1000,
    SIDES = 3,
};
static const double longest = 12; /* seconds of one repetition; longer lengths are left out */

enum op {
    LINEAR,
    SOFTMAX,
    DECODE,
    OPS,
};
static const char *const op_names[OPS] = {"linear", "softmax", "decode"};

static void die(const char *what)
{
    fprintf(stderr, "bench-ggml: %s failed\n", what);
    exit(1);
}

static void check(const char *what, dj_result result)
{
    if (result != DJ_SUCCESS) {
        fprintf(stderr, "bench-ggml: %s: %s\n", what, dj_result_str(result));
        exit(1);
    }
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* q, k and v, [T][H][D], and what the last token's output is. */
struct input {
    enum op op;
    int64_t tokens;
    float *q, *k, *v;
    double want[ROW];
};

static float *random_rows(uint64_t seed, int64_t tokens)
{
    float *const rows = malloc((size_t)tokens * ROW * sizeof(float));
    if (!rows)
        die("malloc");
    for (int64_t i = 0; i < tokens * ROW; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        rows[i] = (float)(seed >> 40) * 0x1p-24f - 0.5f;
    }
    return rows;
}

static double score(const struct input *in, int64_t key, int head)
{
    const float *const q = in->q + (in->tokens - 1) * ROW + head * D;
    const float *const k = in->k + key * ROW + head * D;
    double sum = 0;
    for (int c = 0; c < D; c++)
        sum += (double)q[c] * k[c];
    return in->op == SOFTMAX ? exp(sum / sqrt(D)) : sum;
}

static void fill_input(struct input *in, enum op op, int64_t tokens)
{
    *in = (struct input){.op = op,
                         .tokens = tokens,
                         .q = random_rows(1, tokens),
                         .k = random_rows(2, tokens),
                         .v = random_rows(3, tokens)};
    for (int h = 0; h < H; h++) {
        double norm = 0;
        for (int64_t j = 0; j < tokens; j++) {
            const double weight = score(in, j, h);
            norm += weight;
            for (int c = 0; c < D; c++)
                in->want[h * D + c] += weight * in->v[j * ROW + h * D + c];
        }
        for (int c = 0; op == SOFTMAX && c < D; c++)
            in->want[h * D + c] /= norm;
    }
}

static double error_of(const struct input *in, const float *got)
{
    double difference = 0, square = 0;
    for (int i = 0; i < ROW; i++) {
        difference += (got[i] - in->want[i]) * (got[i] - in->want[i]);
        square += in->want[i] * in->want[i];
    }
    return sqrt(difference / square);
}

/* One op on one of ggml's backends. */
struct ggml_side {
    ggml_backend_t backend;
    struct ggml_context *context;
    ggml_backend_buffer_t buffer;
    struct ggml_cgraph *graph;
    struct ggml_tensor *out;
};

static struct ggml_tensor *rows(struct ggml_context *context, int64_t tokens)
{
    return ggml_new_tensor_3d(context, GGML_TYPE_F32, D, H, tokens);
}

static void set_all(struct ggml_tensor *tensor, const void *data)
{
    ggml_backend_tensor_set(tensor, data, 0, ggml_nbytes(tensor));
}

static void set_gates(struct ggml_tensor *gates)
{
    const size_t count = (size_t)ggml_nelements(gates);
    float *const ones = malloc(count * sizeof(float));
    for (size_t i = 0; i < count; i++)
        ones[i] = 1;
    set_all(gates, ones);
    free(ones);
}

static void set_mask(struct ggml_tensor *mask)
{
    const size_t n = (size_t)mask->ne[0];
    ggml_fp16_t *const data = malloc(n * n * sizeof(*data));
    const ggml_fp16_t zero = ggml_fp32_to_fp16(0), none = ggml_fp32_to_fp16(-INFINITY);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            data[i * n + j] = j <= i ? zero : none;
    set_all(mask, data);
    free(data);
}

static void ggml_side_create(struct ggml_side *side, ggml_backend_t backend, const struct input *in)
{
    const struct ggml_init_params params = {
        .mem_size = 64 * ggml_tensor_overhead() + ggml_graph_overhead(), .no_alloc = true};
    struct ggml_context *const c = ggml_init(params);
    struct ggml_tensor *const q = rows(c, in->tokens), *const k = rows(c, in->tokens);
    struct ggml_tensor *const v = rows(c, in->tokens);
    struct ggml_tensor *gates = NULL, *state = NULL, *mask = NULL;
    *side = (struct ggml_side){.backend = backend, .context = c};
    if (in->op == SOFTMAX) {
        mask = ggml_new_tensor_2d(c, GGML_TYPE_F16, in->tokens, in->tokens);
        side->out =
            ggml_flash_attn_ext(c, ggml_permute(c, q, 0, 2, 1, 3), ggml_permute(c, k, 0, 2, 1, 3),
                                ggml_permute(c, v, 0, 2, 1, 3), mask, 0.125f, 0, 0);
        ggml_flash_attn_ext_set_prec(side->out, GGML_PREC_F32);
    } else {
        gates = rows(c, in->tokens);
        state = ggml_new_tensor_2d(c, GGML_TYPE_F32, D * D * H, 1);
        side->out = ggml_gated_linear_attn(c, k, v, q, gates, state, 1);
    }
    side->graph = ggml_new_graph(c);
    ggml_build_forward_expand(side->graph, side->out);
    if (!ggml_backend_supports_op(backend, side->out))
        die("ggml_backend_supports_op");
    side->buffer = ggml_backend_alloc_ctx_tensors(c, backend);
    if (!side->buffer)
        die("ggml_backend_alloc_ctx_tensors");
    ggml_backend_buffer_clear(side->buffer, 0);
    set_all(q, in->q);
    set_all(k, in->k);
    set_all(v, in->v);
    if (mask)
        set_mask(mask);
    else
        set_gates(gates);
}

static double ggml_side_run(struct ggml_side *side)
{
    const double start = now();
    if (ggml_backend_graph_compute(side->backend, side->graph) != GGML_STATUS_SUCCESS)
        die("ggml_backend_graph_compute");
    return now() - start;
}

static void ggml_side_read(struct ggml_side *side, int64_t tokens, float *row)
{
    ggml_backend_tensor_get(side->out, row, (size_t)(tokens - 1) * ROW * sizeof(float),
                            ROW * sizeof(float));
}

static void ggml_side_destroy(struct ggml_side *side)
{
    ggml_backend_buffer_free(side->buffer);
    ggml_free(side->context);
}

/* The same by dijiang. */
struct dj_side {
    dj_attention *plan;
    dj_recorder *recorder;
    dj_buffer *state, *scratch;
    struct dj_attention_args args;
};

static void dj_side_state(struct dj_side *side, dj_context *gpu)
{
    static const int32_t slot[] = {0};
    struct dj_needs needs;
    check("dj_attention_needs", dj_attention_needs(side->plan, NULL, &needs));
    check("dj_buffer_create",
          dj_buffer_create(gpu, &(struct dj_buffer_params){.size = needs.slot_size}, &side->state));
    void *const empty = calloc(1, needs.slot_size);
    check("dj_buffer_write", dj_buffer_write(side->state, 0, empty, needs.slot_size));
    free(empty);
    side->args.state = side->state;
    side->args.slot_count = 1;
    side->args.slots_in.host = side->args.slots_out.host = slot;
}

static void dj_side_create(struct dj_side *side, dj_context *gpu, const struct input *in)
{
    const uint64_t shape[4] = {1, (uint64_t)in->tokens, H, D};
    const struct dj_attention_params params = {.map = in->op == SOFTMAX ? DJ_MAP_SOFTMAX
                                                                        : DJ_MAP_IDENTITY,
                                               .heads = H,
                                               .dim = D,
                                               .scale = in->op == SOFTMAX ? 0 : 1};
    struct dj_needs needs;
    *side = (struct dj_side){.args.barriers = DJ_BARRIER_BEFORE | DJ_BARRIER_AFTER_HOST};
    check("dj_attention_create", dj_attention_create(gpu, &params, &side->plan));
    check("dj_tensor_create", dj_tensor_create(gpu, DJ_FLOAT32, shape, in->q, &side->args.q));
    check("dj_tensor_create", dj_tensor_create(gpu, DJ_FLOAT32, shape, in->k, &side->args.k));
    check("dj_tensor_create", dj_tensor_create(gpu, DJ_FLOAT32, shape, in->v, &side->args.v));
    check("dj_tensor_create", dj_tensor_create(gpu, DJ_FLOAT32, shape, NULL, &side->args.o));
    if (in->op == DECODE)
        dj_side_state(side, gpu);
    check("dj_attention_needs", dj_attention_needs(side->plan, &side->args, &needs));
    check("dj_buffer_create",
          dj_buffer_create(gpu, &(struct dj_buffer_params){.size = needs.scratch_size},
                           &side->scratch));
    side->args.scratch = (struct dj_scratch){.buffer = side->scratch, .size = needs.scratch_size};
    const struct dj_recorder_params recorder = {.dispatches = needs.dispatches,
                                                .ring_size = needs.ring_size};
    check("dj_recorder_create", dj_recorder_create(gpu, &recorder, &side->recorder));
}

/* What ggml's call does, too: records, submits and waits. */
static double dj_side_run(struct dj_side *side)
{
    const double start = now();
    dj_result result = dj_recorder_begin(side->recorder);
    if (result == DJ_SUCCESS)
        result = dj_attention_record(side->plan, side->recorder, &side->args);
    if (result == DJ_SUCCESS)
        result = dj_recorder_submit(side->recorder);
    if (result == DJ_SUCCESS)
        result = dj_recorder_wait(side->recorder, UINT64_MAX);
    check("a run of dijiang", result);
    return now() - start;
}

static void dj_side_read(struct dj_side *side, int64_t tokens, float *row)
{
    check("dj_buffer_read",
          dj_buffer_read(side->args.o.buffer, (uint64_t)(tokens - 1) * ROW * sizeof(float), row,
                         ROW * sizeof(float)));
}

static void dj_side_destroy(struct dj_side *side)
{
    dj_recorder_destroy(&side->recorder);
    dj_buffer_destroy(&side->scratch);
    dj_buffer_destroy(&side->state);
    dj_buffer_destroy(&side->args.q.buffer);
    dj_buffer_destroy(&side->args.k.buffer);
    dj_buffer_destroy(&side->args.v.buffer);
    dj_buffer_destroy(&side->args.o.buffer);
    dj_attention_destroy(&side->plan);
}

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The devices of all sides, and how long their last repetitions took. */
struct bench {
    ggml_backend_t vulkan, cpu;
    dj_context *gpu;
    double last[SIDES];
};

static const char *const side_names[SIDES] = {"ggml Vulkan", "ggml CPU", "dijiang"};

static void report(const struct input *in, int side, double *seconds, size_t count, double error)
{
    qsort(seconds, count, sizeof(*seconds), compare_doubles);
    printf("%-8s %7lld  %-12s %11.4f %11.4f %5zu %9.1e\n", op_names[in->op], (long long)in->tokens,
           side_names[side], 1e3 * seconds[0], 1e3 * seconds[count / 2], count, error);
    fflush(stdout);
}

/* Threads that a side leaves waiting turn in circles for a while, on the next one's processors. Not
 * before single tokens, which take less than a processor takes to wake. */
static void rest(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
}

static void measure(struct bench *bench, enum op op, int64_t tokens)
{
    static double seconds[SIDES][MAX_REPEATS];
    struct input in;
    struct ggml_side ggml[2];
    struct dj_side dijiang;
    float row[ROW];
    double error[SIDES], total = 0;
    fill_input(&in, op, tokens);
    ggml_side_create(&ggml[0], bench->vulkan, &in);
    ggml_side_create(&ggml[1], bench->cpu, &in);
    dj_side_create(&dijiang, bench->gpu, &in);
    for (int side = 0; side < SIDES; side++) { /* which also warms them up */
        if (side < 2) {
            ggml_side_run(&ggml[side]);
            ggml_side_read(&ggml[side], tokens, row);
        } else {
            dj_side_run(&dijiang);
            dj_side_read(&dijiang, tokens, row);
        }
        error[side] = error_of(&in, row);
        if (!(error[side] < 5e-3)) { /* as much is left of float16 inside */
            fprintf(stderr, "bench-ggml: %s's %s of %lld tokens is wrong: error %g\n",
                    side_names[side], op_names[op], (long long)tokens, error[side]);
            exit(3);
        }
    }
    size_t count = 0;
    while (count < MAX_REPEATS && (count < MIN_REPEATS || total < 3)) {
        for (int side = 0; side < SIDES; side++) {
            if (tokens > 1)
                rest();
            seconds[side][count] = side < 2 ? ggml_side_run(&ggml[side]) : dj_side_run(&dijiang);
            total += seconds[side][count];
        }
        count++;
    }
    for (int side = 0; side < SIDES; side++) {
        report(&in, side, seconds[side], count, error[side]);
        bench->last[side] = seconds[side][0];
    }
    dj_side_destroy(&dijiang);
    ggml_side_destroy(&ggml[1]);
    ggml_side_destroy(&ggml[0]);
    free(in.v);
    free(in.k);
    free(in.q);
}

int main(int argc, char **argv)
{
    static const int64_t lengths[] = {1024, 2048, 4096, 8192};
    const int count = argc > 1 ? argc - 1 : (int)(sizeof(lengths) / sizeof(lengths[0]));
    struct bench bench = {.vulkan = ggml_backend_vk_init(0), .cpu = ggml_backend_cpu_init()};
    struct dj_device_info info;
    char name[256];
    if (!bench.vulkan || !bench.cpu)
        die("a backend of ggml");
    ggml_backend_cpu_set_n_threads(bench.cpu, 2);
    check("dj_context_create", dj_context_create(NULL, &bench.gpu));
    check("dj_context_device", dj_context_device(bench.gpu, &info));
    ggml_backend_vk_get_device_description(0, name, sizeof(name));
    printf("ggml Vulkan on %s, ggml CPU with 2 threads, dijiang on %s (%s)\n", name, info.name,
           info.driver);
    printf("%-8s %7s  %-12s %11s %11s %5s %9s\n", "", "tokens", "", "min ms", "median ms", "runs",
           "error");
    measure(&bench, DECODE, 1);
    for (int op = 0; op < DECODE; op++) {
        double seen = 0; /* the last length of this op */
        for (int i = 0; i < count; i++) {
            const int64_t tokens = argc > 1 ? atoll(argv[i + 1]) : lengths[i];
            const double times = seen > 0 ? (double)tokens / seen : 0;
            double expected = 0;
            for (int side = 0; side < SIDES; side++)
                expected = fmax(expected, bench.last[side] * times * (op == SOFTMAX ? times : 1));
            if (tokens < 1 || expected > longest) {
                printf("%-8s %7lld  left out: about %.0f s a run\n", op_names[op],
                       (long long)tokens, expected);
                continue;
            }
            measure(&bench, op, tokens);
            seen = (double)tokens;
        }
    }
    dj_context_destroy(&bench.gpu);
    ggml_backend_free(bench.cpu);
    ggml_backend_free(bench.vulkan);
    return 0;
}
