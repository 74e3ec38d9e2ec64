/* SPDX-License-Identifier: MIT */
/* dijiang-bench: what the device can do, and how near to that attention comes, after checking that
 * its results are right. */
#include "bench.h"
#include "program.h"
#include "whole_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    MIN_REPEATS = 5,
};

/* Longer repetitions of softmax must be asked for: with the check and the kernels' times there are
 * 7 at least. A suite for GPUs is to take seconds. */
static const double cpu_softmax = 10, gpu_softmax = 0.5;

static const char help[] =
    "usage: dijiang-bench [options]\n"
    "\n"
    "Measures the device, then attention (causal, each system's own default of a denominator) on\n"
    "random data:\n"
    "  prefill   whole sequences in one submission\n"
    "  decode    one token per sequence that continues a state; what it takes does not depend on\n"
    "            how many tokens the state has seen, so tokens is 1\n"
    "  softmax   prefill, and exact softmax attention on the same data beside it, with the ratio "
    "of\n"
    "            their times; it is the library's own exact kernel, on a GPU far from the fastest\n"
    "            there is\n"
    "  dct       DCT-II of the last dimension of [batch, tokens, heads, dim], float32\n"
    "  features  prefill with values of 4 columns: the feature map, and little besides (the "
    "library\n"
    "            has no call for the map alone)\n"
    "The median counts, of at least 5 repetitions; spread is the distance of its quartiles, in\n"
    "percent of it. Times are of whole calls, between timestamps around what the library records;\n"
    "below a row stands where they go, kernel by kernel, in runs with a timestamp after each\n"
    "dispatch (if there is more than one kernel). Nothing is timed that was not checked: one\n"
    "head of the result (64 rows of softmax and DCT) is compared with a computation in double "
    "precision.\n"
    "\n"
    "The device is measured in the same run: bytes per second of a copy (read and written), "
    "float32\n"
    "multiply-adds on registers, and products of float16 matrices where it has cooperative "
    "matrices.\n"
    "\"of roofline\" is the time that these allow for what the algorithm must spend, the longer "
    "of\n"
    "flops / peak and bytes / bandwidth, in percent of the time measured. Flops and bytes are "
    "what\n"
    "dj_attention_needs and dj_dct_needs say (prefill: 4 m e + 2 d^2 flops per token and head "
    "with\n"
    "WDCF), and in decode the state, read and written. Only 2-byte elements are held against the\n"
    "matrices' peak.\n"
    "\n"
    "Interrupted (SIGINT, SIGTERM), it prints and writes what it has so far.\n"
    "\n"
    "options:\n"
    "  --case CASE        prefill, decode, softmax, dct, features, or all; default prefill and "
    "decode\n"
    "  --suite SUITE      cpu or gpu: a set of cases with their shapes; the options from --case "
    "to\n"
    "                     --dtype then choose among them\n"
    "  --features NAME    as dijiang-attend --help has them; default wdcf. softmax and linformer\n"
    "                     have no decode\n"
    "  --key-normalise    as dijiang-attend has it; such a case's features are NAME/keys\n"
    "  --tokens T         of this length; default 1024, 2048, ... 65536, of softmax as far as\n"
    "                     one repetition takes less than 10 s, on GPUs half a second\n"
    "  --batch B          sequences; default 1\n"
    "  --heads H          default 8\n"
    "  --key-heads HK     of keys and values, a divisor of H; default H\n"
    "  --dim D            of queries and keys, a multiple of 4 up to 256; default 64\n"
    "  --value-dim E      of values; default D\n"
    "  --dtype TYPE       of queries, keys, values and results: f32 (default), f16 or bf16\n"
    "  --repeat N         repetitions; default at least 5 and at least a second, on GPUs 0.3 s;\n"
    "                     a GPU runs each case for a second before\n"
    "  --device D         an index of dijiang-info, or part of a device's name\n"
    "  --json             prints JSON instead of a table\n"
    "  --output DIR       writes the results there as bench.json and, where dijiang was built "
    "with\n"
    "                     cairo, time and share of the roofline against length as bench.png and\n"
    "                     bench.svg\n"
    "  --no-ceilings      does not measure the device\n"
    "  --no-cache         neither reads nor writes what was compiled, ~/.cache/dijiang\n"
    "  --help, --version\n"
    "\n"
    "examples:\n"
    "  dijiang-bench\n"
    "  dijiang-bench --suite gpu --json\n"
    "  dijiang-bench --suite cpu --output figures\n"
    "  dijiang-bench --suite cpu --case prefill --tokens 8192\n"
    "  dijiang-bench --case softmax --features performer --dtype f16 --heads 16 --value-dim 128\n"
    "\n"
    "environment: DIJIANG_DEVICE, as --device; DIJIANG_VALIDATION=1 turns the Vulkan validation\n"
    "layer on\n"
    "\n"
    "exit codes: 0 success, 1 failure, 2 wrong usage, 3 a result was wrong\n";

/* One tensor is one buffer. */
static int check_size(const struct dj_device_info *info, const struct bench_case *c)
{
    const uint64_t tokens = c->kind == BENCH_DECODE ? BENCH_CHECK_STEPS : c->tokens;
    const uint64_t dim = c->dim > c->value_dim ? c->dim : c->value_dim;
    const double bytes = (double)c->batch * (double)tokens * (double)c->heads * (double)dim *
                         (double)dj_type_size(c->type);
    if (bytes <= (double)info->max_allocation)
        return PROGRAM_SUCCESS;
    return program_fail("%s of %" PRIu64 " tokens: a tensor takes %.0f MiB, more than the %.0f MiB "
                        "that %s allocates at once",
                        bench_kinds[c->kind], c->tokens, bytes / (1 << 20),
                        (double)info->max_allocation / (1 << 20), info->name);
}

/* Softmax's time grows with the square of the length: what another length would take. */
static double expect(const struct bench_case *softmax, uint64_t tokens)
{
    const double times = softmax ? (double)tokens / (double)softmax->tokens : 0;
    return softmax ? softmax->times.median * times * times : 0;
}

static int measure(struct bench_gpu *gpu, uint64_t repeat, const struct bench_ceilings *ceilings,
                   struct bench_case *c)
{
    const int code = c->kind == BENCH_DCT ? bench_measure_dct(gpu, repeat, c)
                                          : bench_measure_attention(gpu, repeat, c);
    c->allowed =
        bench_ceilings_allow(ceilings, c->type, (double)c->flops, (double)c->bytes, &c->arithmetic);
    return code;
}

dj_result bench_repeat_case(const struct bench_gpu *gpu, const struct bench_case *c,
                            uint64_t repeat, dj_result (*run)(void *user, struct bench_time *time),
                            void *user, struct bench_times *times)
{
    char label[64];
    snprintf(label, sizeof(label), "%s %" PRIu64, bench_kinds[c->kind], c->tokens);
    struct bench_time time = {0};
    dj_result result = DJ_SUCCESS;
    double cold = bench_gpu_warm_up(gpu);
    if (cold > 0)
        program_progress("%s: warming up", label);
    for (; result == DJ_SUCCESS && cold > 0 && !program_interrupted(); cold -= time.wall)
        result = run(user, &time);
    if (result != DJ_SUCCESS)
        return result;
    return bench_repeat(label, repeat, MIN_REPEATS, bench_gpu_seconds(gpu), run, user, times);
}

/* Measures the cases, until interrupted, and prints the table's rows as they come. */
static int measure_cases(struct bench_gpu *gpu, const struct settings *s,
                         const struct bench_ceilings *ceilings, struct bench_case *cases,
                         size_t count)
{
    const struct bench_case *softmax = NULL; /* the last one measured */
    const double longest = gpu->info.type == DJ_DEVICE_CPU ? cpu_softmax : gpu_softmax;
    for (size_t i = 0; i < count && !program_interrupted(); i++) {
        struct bench_case *const c = &cases[i];
        const bool is_softmax = c->kind == BENCH_SOFTMAX;
        if (is_softmax && expect(softmax, c->tokens) > longest) {
            c->skipped = expect(softmax, c->tokens);
        } else {
            const int code = measure(gpu, s->repeat, ceilings, c);
            if (code)
                return code;
            if (is_softmax && !s->suite)
                c->ratio = c->times.median / cases[i - 1].times.median;
            softmax = is_softmax ? c : softmax;
        }
        if (!s->json)
            bench_print_row(c);
    }
    return PROGRAM_SUCCESS;
}

static bool has_results(const struct bench_case *cases, size_t count)
{
    size_t i = 0;
    while (i < count && cases[i].times.count == 0)
        i++;
    return i < count;
}

static int write_results(const struct bench_gpu *gpu, const struct settings *s,
                         const struct bench_ceilings *ceilings, const struct bench_case *cases,
                         size_t count)
{
    int code = bench_write_json(gpu, ceilings, cases, count, s->output);
#if DJ_BENCH_CHARTS
    if (!code)
        code = bench_draw(gpu, cases, count, s->output);
#endif
    if (!code && !s->json)
        printf("\nwritten to %s: bench.json%s\n", s->output,
               DJ_BENCH_CHARTS ? ", and the figure where whole sequences of several lengths were "
                                 "measured"
                               : "");
    return code;
}

/* Interrupted, it tells what it has. */
static int measure_all(struct bench_gpu *gpu, const struct settings *s, struct bench_case *cases,
                       size_t count)
{
    struct bench_ceilings ceilings = {0};
    int code = PROGRAM_SUCCESS;
    for (size_t i = 0; !code && i < count; i++)
        code = check_size(&gpu->info, &cases[i]);
    if (!code && !s->no_ceilings)
        code = bench_ceilings_measure(gpu, &ceilings);
    if (!code && !s->json)
        bench_print_header(gpu, &ceilings);
    code = code ? code : measure_cases(gpu, s, &ceilings, cases, count);
    if (!code && s->json)
        code = bench_print_json(gpu, &ceilings, cases, count);
    if (!code && s->output && has_results(cases, count))
        code = write_results(gpu, s, &ceilings, cases, count);
    return code;
}

int main(int argc, char **argv)
{
    static const char *const kinds[] = {"prefill",  "decode", "softmax", "dct",
                                        "features", "all",    NULL};
    static const char *const suites[] = {"cpu", "gpu", NULL};
    const char *names[SYSTEM_COUNT + 1] = {NULL};
    for (int i = 0; i < SYSTEM_COUNT; i++)
        names[i] = systems[i].name;
    struct settings s = {0};
    const struct program_option options[] = {
        {.name = "--case", .kind = PROGRAM_TEXT, .value = &s.only, .choices = kinds},
        {.name = "--suite", .kind = PROGRAM_TEXT, .value = &s.suite, .choices = suites},
        {.name = "--features", .kind = PROGRAM_TEXT, .value = &s.features, .choices = names},
        {.name = "--key-normalise", .kind = PROGRAM_FLAG, .value = &s.key_normalise},
        {.name = "--dtype", .kind = PROGRAM_TEXT, .value = &s.dtype, .choices = dtype_names},
        {.name = "--device", .kind = PROGRAM_TEXT, .value = &s.device},
        {.name = "--json", .kind = PROGRAM_FLAG, .value = &s.json},
        {.name = "--output", .kind = PROGRAM_TEXT, .value = &s.output},
        {.name = "--no-ceilings", .kind = PROGRAM_FLAG, .value = &s.no_ceilings},
        {.name = "--no-cache", .kind = PROGRAM_FLAG, .value = &s.no_cache},
        {"--batch", PROGRAM_NUMBER, &s.batch, NULL, 1, 65535, 1},
        {"--heads", PROGRAM_NUMBER, &s.heads, NULL, 1, 65535, 1},
        {"--key-heads", PROGRAM_NUMBER, &s.key_heads, NULL, 1, 65535, 1},
        {"--dim", PROGRAM_NUMBER, &s.dim, NULL, 4, 256, 4},
        {"--value-dim", PROGRAM_NUMBER, &s.value_dim, NULL, 4, 256, 4},
        {"--tokens", PROGRAM_NUMBER, &s.tokens, NULL, 1, 1 << 24, 1},
        {"--repeat", PROGRAM_NUMBER, &s.repeat, NULL, 1, BENCH_MAX_REPEATS, 1},
    };
    int code;
    if (!program_start("dijiang-bench", help, options, sizeof(options) / sizeof(options[0]), argc,
                       argv, &code))
        return code;
    struct bench_case cases[BENCH_MAX_CASES];
    size_t count;
    code = bench_choose(&s, cases, &count);
    if (code)
        return code;

    struct bench_gpu gpu;
    program_catch_interrupts();
    code = bench_gpu_create(s.device, &gpu);
    bool made = false;
    if (!code && s.output)
        code = whole_file_make_directory(s.output, &made);
    if (!code && !s.no_cache)
        (void)program_cache_load(gpu.context);
    code = code ? code : measure_all(&gpu, &s, cases, count);
    if (!code && !s.no_cache)
        (void)program_cache_save(gpu.context);
    if (made && (code || program_interrupted()))
        (void)rmdir(s.output); /* if there is nothing in it */
    code = bench_gpu_validated(&gpu, code);
    bench_gpu_destroy(&gpu);
    return program_finish(code);
}
