/* SPDX-License-Identifier: MIT */
/* dijiang-study: how well linear attention stands for softmax attention on given data. */
#include "study.h"

#include "program.h"
#include "whole_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char help[] =
    "usage: dijiang-study [--input IN.safetensors] --output DIR [options]\n"
    "\n"
    "Studies how well approximations stand for softmax attention on one head's queries and keys.\n"
    "What the library computes comes from a Vulkan device; the exact reference is computed on the\n"
    "host in double precision. Writes into DIR:\n"
    "  maps.png, .svg      attention maps [T,T]: exact, DiJiang as drawn and calibrated, PFF,\n"
    "                      Performer, cosFormer, Linformer (not causal), RetNet; colours are\n"
    "                      multiples of the row's mean, 0 to 8\n"
    "  errors.png, .svg    the errors of kernel, attention weights and output by the number of\n"
    "                      features, and of the output by the scale of q.k: median, least and "
    "most\n"
    "                      of several seeds\n"
    "  errors.csv          the same numbers\n"
    "and prints tables and a verdict in words that follows from them. An error is |got - exact| /\n"
    "|exact|, Euclidean norms over all pairs that a causal mask leaves, or over the whole output;\n"
    "the kernel's is that with the best common factor, which normalised attention does not see.\n"
    "Beside it stands what the plain mean of the values comes to, which attends to nothing.\n"
    "\n"
    "The approximations by features: random features (PRF) by Monte Carlo, orthogonal\n"
    "(Performer) and quasi-Monte Carlo (Sobol' directions, chi quantiles); PFF and DiJiang's WDCF\n"
    "with normal radii, as the paper draws them; WDCF weighted (frequencies chosen, weights by "
    "least\n"
    "squares) and calibrated (both by gradient, keys normalised). The last two are fitted to "
    "other\n"
    "tokens than those that are measured.\n"
    "\n"
    "Data: the file's q [B,H,T,d], k [B,Hk,T,d] and v [B,Hk,T,e], as of dijiang-attend; without v\n"
    "it is drawn from N(0, 1). The first sequence's first tokens are measured; fitted is to the\n"
    "other sequences, or if there are none to the tokens that follow. Without --input, data are\n"
    "made by seed that resemble attention's: words of a text with repetitions by Zipf's law, q "
    "and\n"
    "k with a spectrum that falls off as a power, so that like words see each other; a rotary "
    "part\n"
    "that favours near tokens; a first token that is a sink; noise. Heads: 0 all of it (scale q.k\n"
    "has a standard deviation of 1.5), 1 near tokens (2), 2 like words (2), 3 diffuse (0.7).\n"
    "\n"
    "options:\n"
    "  --input FILE        what to read; default: data made by seed\n"
    "  --output DIR        where to write; made if it is not there\n"
    "  --head N            which head of q; default 0\n"
    "  --tokens T          how many tokens are measured: 16 to 256, a multiple of 4; default 128,\n"
    "                      and as many as there are\n"
    "  --features-count M  the most features: 16 to 1024, a multiple of 4, default 256, and at\n"
    "                      most 4 d; measured are also its half, quarter, eighth and sixteenth\n"
    "  --seeds N           how many seeds: 1 to 16; default 5\n"
    "  --seed N            the first of them, and of what is made; default 1\n"
    "  --scale S           of q.k; default 1/sqrt(d)\n"
    "  --device D          an index of dijiang-info, or part of a device's name\n"
    "  --no-cache          neither reads nor writes what was compiled, ~/.cache/dijiang\n"
    "  --help, --version\n"
    "\n"
    "examples:\n"
    "  dijiang-study --output study\n"
    "  dijiang-study --output near --head 1 --seed 7\n"
    "  dijiang-study --input layer3.safetensors --head 5 --output layer3-head5\n"
    "\n"
    "environment: DIJIANG_DEVICE, as --device; DIJIANG_VALIDATION=1 turns the Vulkan validation\n"
    "layer on\n"
    "\n"
    "exit codes: 0 success, 1 failure, 2 wrong usage\n";

static int write_all(const struct study_settings *settings, const struct study_data *data,
                     const struct study_maps *maps, const struct study_errors *errors)
{
    int code = study_maps_draw(maps, data, settings->output);
    code = code ? code : study_errors_draw(errors, settings->output);
    code = code ? code : study_errors_write(errors, settings->output);
    if (!code)
        printf("\nwritten to %s: maps.png, maps.svg, errors.png, errors.svg, errors.csv\n",
               settings->output);
    return code;
}

/* What was asked for and could not be had, and what the numbers may then suffer from. */
static void print_notes(const struct study_settings *settings, const struct study_data *data)
{
    enum {
        FEW = 512 /* tokens to fit to */
    };
    if (data->tokens < settings->tokens)
        printf("note         %u tokens are measured, not %" PRIu64
               ": there are no more besides those "
               "to fit to\n",
               data->tokens, settings->tokens);
    if (settings->features > 4 * data->dim)
        printf("note         %u features at most, not %" PRIu64 ": four times the dimension\n",
               4 * data->dim, settings->features);
    if (data->sample_count < FEW)
        printf("note         %u tokens to fit to are few: more of them would calibrate better\n",
               data->sample_count);
}

static int study(const struct study_settings *settings, const struct study_data *data)
{
    dj_context *context = NULL;
    struct dj_device_info info;
    struct study_device *device = NULL;
    struct study_maps maps = {0};
    struct study_errors errors;
    dj_result result = program_context_create(settings->device, &context);
    result = result ? result : dj_context_device(context, &info);
    int code = result ? program_fail_dj("no device to compute on", result) : PROGRAM_SUCCESS;
    if (!code && !settings->no_cache)
        (void)program_cache_load(context);
    if (!code && !(device = study_device_open(context)))
        code = program_fail("out of memory");

    study_errors_plan(&errors, settings, data->dim);
    const uint32_t m = errors.features[errors.base];
    code = code ? code : study_maps_measure(device, settings, data, m, &maps);
    if (!code) {
        printf("device       %s (%s, index %u)\n", info.name, program_device_type(info.type),
               info.index);
        printf("data         %s; %u tokens, scale %g\n", data->source, data->tokens,
               (double)data->scale);
        printf("fitted to    %s\n", data->samples);
        print_notes(settings, data);
        study_maps_print(&maps);
        fflush(stdout);
    }
    code = code ? code : study_errors_measure(device, settings, data, &errors);
    if (!code && !settings->no_cache)
        (void)program_cache_save(context);
    if (!code) {
        study_errors_print(&errors);
        study_verdict(&errors, &maps);
        code = write_all(settings, data, &maps, &errors);
    }
    study_maps_finish(&maps);
    study_device_close(&device);
    code = program_validated(context, code);
    dj_context_destroy(&context);
    return code;
}

int main(int argc, char **argv)
{
    struct study_settings s = {.tokens = 128, .seeds = 5, .seed = 1};
    const struct program_option options[] = {
        {.name = "--input", .kind = PROGRAM_TEXT, .value = &s.input},
        {.name = "--output", .kind = PROGRAM_TEXT, .value = &s.output},
        {"--head", PROGRAM_NUMBER, &s.head, NULL, 0, 65534, 1},
        {"--tokens", PROGRAM_NUMBER, &s.tokens, NULL, 16, 256, 4},
        {"--features-count", PROGRAM_NUMBER, &s.features, NULL, 16, 1024, 4},
        {"--seeds", PROGRAM_NUMBER, &s.seeds, NULL, 1, STUDY_SEEDS, 1},
        {"--seed", PROGRAM_NUMBER, &s.seed, NULL, 0, UINT32_MAX, 1},
        {.name = "--scale", .kind = PROGRAM_FLOAT, .value = &s.scale},
        {.name = "--device", .kind = PROGRAM_TEXT, .value = &s.device},
        {.name = "--no-cache", .kind = PROGRAM_FLAG, .value = &s.no_cache},
    };
    int code;
    if (!program_start("dijiang-study", help, options, sizeof(options) / sizeof(options[0]), argc,
                       argv, &code))
        return code;
    if (!s.output)
        return program_usage("--output is missing");

    struct study_data data = {0};
    bool made = false;
    program_catch_interrupts();
    code = study_data_open(&s, &data);
    code = code ? code : whole_file_make_directory(s.output, &made);
    code = code ? code : study(&s, &data);
    if (code && made)
        (void)rmdir(s.output); /* where nothing is in it */
    study_data_close(&data);
    return program_finish(code);
}
