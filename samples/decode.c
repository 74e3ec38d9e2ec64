/* SPDX-License-Identifier: MIT */
/* dijiang-decode: tokens one by one through the attention of a whole model, on DiJiang's state and
 * on a KV cache, after ever longer histories. */
#include "decode.h"

#include "bench_ceilings.h"
#include "program.h"
#include "systems.h"
#include "whole_file.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

static const char help[] =
    "usage: dijiang-decode [options]\n"
    "\n"
    "Decodes token by token through the attention of a language model, all of its layers, and\n"
    "measures tokens per second and memory after histories of 512, 1024, ... 65536 tokens:\n"
    "  DiJiang  WDCF on a state, whose size does not depend on the history\n"
    "  exact    softmax attention on a KV cache, to which each token's key and value are appended\n"
    "\n"
    "It is attention alone: projections, feed-forward layers and sampling are not\n"
    "computed. All layers of a token are one submission, one after the other as in a\n"
    "model. Queries, keys and values are random, the same in every layer. Both systems\n"
    "have really seen the whole history: the states were carried through all of its\n"
    "tokens, and the caches hold all of them.\n"
    "\n"
    "Nothing is timed that was not checked: the first step after each history is compared\n"
    "with the host's double precision, for one head of the last layer. The median counts,\n"
    "of at least 3 steps and a second of them, by timestamps on the device where it has\n"
    "them; the figure's bands hold the middle half of the steps. The memory is that of the\n"
    "states, or of the tokens in the cache.\n"
    "\n"
    "Exact attention is the library's own DJ_MAP_SOFTMAX, whose kernel is made for many\n"
    "queries: of a tile of 32, or 16 on CPU devices, one is used here, and a head is one\n"
    "workgroup. Kernels made for single queries are faster. What the best of them could\n"
    "reach stands beside, \"memory bound\": computed, tokens per second if the cache were\n"
    "read at the rate of the device's copies, which is measured in the same run, and\n"
    "nothing else took time.\n"
    "\n"
    "options:\n"
    "  --model NAME       whose shapes: pythia-70m (default), pythia-160m, pythia-410m,\n"
    "                     pythia-1b, pythia-1.4b, pythia-2.8b, pythia-6.9b or pythia-12b\n"
    "  --from N           the shortest history, which is then doubled; default 512\n"
    "  --to N             the longest; default 65536. A KV cache that takes more than half of the\n"
    "                     memory is left out\n"
    "  --batch B          sequences that are decoded together; default 1\n"
    "  --dtype TYPE       of queries, keys, values, cache and results: f32 (default), f16 or "
    "bf16;\n"
    "                     states are always pairs of f32\n"
    "  --repeat N         steps that are timed; default at least 3 and at least a second\n"
    "  --device D         an index of dijiang-info, or part of a device's name\n"
    "  --output DIR       writes decode.csv, and the figure as decode.png and decode.svg\n"
    "  --json             prints JSON instead of a table\n"
    "  --no-cache         neither reads nor writes what was compiled, ~/.cache/dijiang\n"
    "  --help, --version\n"
    "\n"
    "examples:\n"
    "  dijiang-decode\n"
    "  dijiang-decode --output figures\n"
    "  dijiang-decode --model pythia-2.8b --dtype f16 --to 16384 --json\n"
    "  dijiang-decode --from 1024 --to 1024 --batch 16\n"
    "\n"
    "environment: DIJIANG_DEVICE, as --device; DIJIANG_VALIDATION=1 turns the Vulkan validation\n"
    "layer on\n"
    "\n"
    "exit codes: 0 success, 1 failure, 2 wrong usage, 3 a result was wrong; after Ctrl-C it ends\n"
    "by that signal, and leaves no file half written\n";

/* Biderman et al., "Pythia", ICML 2023, table 1. */
static const struct decode_model models[] = {
    {"pythia-70m", 6, 8, 64},     {"pythia-160m", 12, 12, 64},  {"pythia-410m", 24, 16, 64},
    {"pythia-1b", 16, 8, 256},    {"pythia-1.4b", 24, 16, 128}, {"pythia-2.8b", 32, 32, 80},
    {"pythia-6.9b", 32, 32, 128}, {"pythia-12b", 36, 40, 128},
};
enum {
    MODELS = sizeof(models) / sizeof(models[0])
};

struct options {
    const char *model, *dtype, *device, *output;
    bool json, no_cache;
    uint64_t from, to, batch, repeat;
};

static int resolve(const struct options *o, struct decode_run *run)
{
    *run = (struct decode_run){.model = models, .batch = o->batch, .repeat = o->repeat};
    while (strcmp(o->model, run->model->name) != 0)
        run->model++;
    while (strcmp(o->dtype, dtype_names[run->type]) != 0)
        run->type++;
    run->type_name = dtype_names[run->type];
    if (o->from > o->to)
        return program_usage("--from is %" PRIu64 ", more than --to %" PRIu64, o->from, o->to);
    for (uint64_t history = o->from; history <= o->to; history *= 2)
        run->points[run->count++].history = history;
    return PROGRAM_SUCCESS;
}

static int measure(struct bench_gpu *gpu, const struct options *o, struct decode_run *run)
{
    int code = bench_ceilings_copy(gpu, &run->copy);
    program_progress(NULL);
    if (!code && !o->json)
        decode_print_header(gpu, run);
    code = code ? code : decode_measure(gpu, run, o->json ? NULL : decode_print_row);
    return !code && o->json ? decode_print_json(gpu, run) : code;
}

int main(int argc, char **argv)
{
    const char *names[MODELS + 1] = {NULL};
    for (int i = 0; i < MODELS; i++)
        names[i] = models[i].name;
    struct options o = {
        .model = "pythia-70m", .dtype = "f32", .from = 512, .to = 65536, .batch = 1};
    const struct program_option options[] = {
        {.name = "--model", .kind = PROGRAM_TEXT, .value = &o.model, .choices = names},
        {.name = "--dtype", .kind = PROGRAM_TEXT, .value = &o.dtype, .choices = dtype_names},
        {.name = "--device", .kind = PROGRAM_TEXT, .value = &o.device},
        {.name = "--output", .kind = PROGRAM_TEXT, .value = &o.output},
        {.name = "--json", .kind = PROGRAM_FLAG, .value = &o.json},
        {.name = "--no-cache", .kind = PROGRAM_FLAG, .value = &o.no_cache},
        {"--from", PROGRAM_NUMBER, &o.from, NULL, 1, DECODE_MAX_HISTORY, 1},
        {"--to", PROGRAM_NUMBER, &o.to, NULL, 1, DECODE_MAX_HISTORY, 1},
        {"--batch", PROGRAM_NUMBER, &o.batch, NULL, 1, 4096, 1},
        {"--repeat", PROGRAM_NUMBER, &o.repeat, NULL, 1, BENCH_MAX_REPEATS, 1},
    };
    int code;
    if (!program_start("dijiang-decode", help, options, sizeof(options) / sizeof(options[0]), argc,
                       argv, &code))
        return code;
    struct decode_run run;
    code = resolve(&o, &run);
    if (code)
        return code;

    struct bench_gpu gpu = {0};
    program_catch_interrupts();
    code = bench_gpu_create(o.device, &gpu);
    bool made = false;
    if (!code && o.output)
        code = whole_file_make_directory(o.output, &made);
    if (!code && !o.no_cache)
        (void)program_cache_load(gpu.context);
    code = code ? code : measure(&gpu, &o, &run);
    if (!code && !o.no_cache)
        (void)program_cache_save(gpu.context);
    if (!code && o.output && !program_interrupted())
        code = decode_write(&gpu, &run, o.output);
    if (made && (code || program_interrupted()))
        (void)rmdir(o.output); /* if there is nothing in it */
    code = bench_gpu_validated(&gpu, code);
    bench_gpu_destroy(&gpu);
    return program_finish(code);
}
