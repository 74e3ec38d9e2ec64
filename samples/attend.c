/* SPDX-License-Identifier: MIT */
/* dijiang-attend: attention over tensors from a file. */
#include "attend.h"
#include "host.h"
#include "program.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char help[] =
    "usage: dijiang-attend --input IN.safetensors [options]\n"
    "\n"
    "Computes attention over the tensors of a file, on a Vulkan device.\n"
    "\n"
    "The file's tensors, in F32, F16 or BF16:\n"
    "  q                   [B,H,T,d]; d is 4 to 256, a multiple of 4\n"
    "  k                   [B,Hk,T,d]; Hk divides H: query head h reads key head h / (H / Hk)\n"
    "  v                   [B,Hk,T,e]; e is 4 to 256, a multiple of 4\n"
    "  decay               [Hk], above 0 and at most 1, optional\n"
    "  out                 [B,H,T,e], for --check\n"
    "and the numbers of the feature map, for all heads or with Hk in front for each key head; m "
    "is\n"
    "the number of features. Those of other maps are left alone. Those that are absent are drawn:\n"
    "  frequency_weights   t [m]; drawn normal, quasi-Monte Carlo\n"
    "  feature_weights     D [m]; absent, they are 1, and drawn for wpff\n"
    "  feature_directions  V [m,d]; drawn as the system has them\n"
    "  key_projection      E [m,T]; drawn from N(0, 1/m), as in Linformer's Theorem 1\n"
    "  value_projection    F [m,T]; likewise, independent of E\n"
    "\n"
    "options:\n"
    "  --input FILE        what to read\n"
    "  --output FILE       where to write the result, as tensor out [B,H,T,e], F32\n"
    "  --features NAME     which attention; C is the orthonormal DCT, x is sqrt(scale) q or k:\n"
    "    wdcf              D exp(t C x), the paper's method (default)\n"
    "    wpff              m^-1/2 D exp(t V.x - |x|^2/2), V on the sphere\n"
    "    softmax-dct       softmax of t C^T x, as the paper's reference implementation: without\n"
    "                      denominator\n"
    "    pff               m^-1/2 exp(t V.x - |x|^2/2), V on the sphere\n"
    "    prf               m^-1/2 D exp(V.x - |x|^2/2), V Gaussian\n"
    "    performer         as prf, V Gaussian and orthogonal (FAVOR+)\n"
    "    performer-relu    max(V.x, 0) + 0.001, V as performer's\n"
    "    cosformer         max(x, 0) times cos and sin of the token's place\n"
    "    elu               elu(x) + 1 (Linear Transformer)\n"
    "    relu              max(x, 0)\n"
    "    identity          x, without denominator (RetNet, if the file has a decay)\n"
    "    softmax           exact softmax attention, in quadratic time\n"
    "    linformer         softmax over m projected keys, never causal\n"
    "  --form FORM         paper is --features wdcf, reference is --features softmax-dct\n"
    "  --features-count M  m: 4 to 1024, a multiple of 4, at most 4 d for wdcf; linformer's 1 to\n"
    "                      1024; default as the file's numbers, else d\n"
    "  --seed N            of what is drawn; default 1\n"
    "  --max-tokens M      cosFormer's M: 1 to 1073741824, at least T; default T\n"
    "  --no-causal         every token sees all tokens, not only those up to itself; k and v may\n"
    "                      then have another T than q\n"
    "  --no-normalise      leaves out the denominator\n"
    "  --key-normalise     divides phi(k) by phi(0).phi(k); wdcf, wpff, pff, prf and performer. "
    "Done\n"
    "                      by itself where the map's numbers are the file's and its metadata has\n"
    "                      key_normalise on, as dj_calibration_save writes it\n"
    "  --no-key-normalise  leaves that metadata alone\n"
    "  --no-decay          leaves the file's decay alone\n"
    "  --no-cache          neither reads nor writes what was compiled, ~/.cache/dijiang\n"
    "  --scale S           of q.k; default 1/sqrt(d), and 1 for softmax-dct\n"
    "  --dtype TYPE        of q, k, v and the result on the device: f32 (default), f16 or bf16; "
    "the\n"
    "                      file's values are rounded to it\n"
    "  --layout LAYOUT     how they lie there; the result is the same:\n"
    "    bhtd              as in the file (default)\n"
    "    bthd              [B,T,H,d]\n"
    "    packed            q, k and v of a token side by side, the result [B,T,H,e]\n"
    "  --device D          an index of dijiang-info, or part of a device's name\n"
    "  --check             compares the result with the file's out and prints the error; with f16\n"
    "                      and bf16 an out made from unrounded q and k may miss the bound\n"
    "  --help, --version\n"
    "\n"
    "examples:\n"
    "  dijiang-attend --input qkv.safetensors --output out.safetensors\n"
    "  dijiang-attend --input qkv.safetensors --features performer --features-count 256 --seed 7\n"
    "  dijiang-attend --input official.safetensors --form reference --check\n"
    "\n"
    "environment: DIJIANG_DEVICE, as --device; DIJIANG_VALIDATION=1 turns the Vulkan validation\n"
    "layer on\n"
    "\n"
    "exit codes: 0 success, 1 failure, 2 wrong usage, 3 the check failed; after Ctrl-C it ends by\n"
    "that signal, and leaves no file half written\n";

static bool same_file(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* Options that have no meaning with the system, or with each other. */
static int check_settings(const struct settings *s)
{
    const char *name = s->system->name;
    const uint32_t map = s->system->map;
    if (!s->input)
        return program_usage("--input is missing");
    if (s->output && same_file(s->input, s->output))
        return program_usage("--output is the file of --input");
    if (s->form && s->features)
        return program_usage("--form %s and --features %s: one of them says which attention",
                             s->form, s->features);
    if (s->features_count && !system_has_features(s->system))
        return program_usage("--features-count is %" PRIu64 ", but %s has no choice of it",
                             s->features_count, name);
    if (s->features_count % 4 != 0 && map != DJ_MAP_LINFORMER)
        return program_usage("--features-count is %" PRIu64 ", must be a multiple of 4 for %s",
                             s->features_count, name);
    if (s->max_tokens && map != DJ_MAP_COSFORMER)
        return program_usage("--max-tokens is %" PRIu64 ", but %s has none; cosformer has",
                             s->max_tokens, name);
    if (s->key_normalise && !system_can_normalise_keys(s->system))
        return program_usage("--key-normalise is for wdcf, wpff, pff, prf and performer, not %s",
                             name);
    if (s->key_normalise && s->no_key_normalise)
        return program_usage("--key-normalise and --no-key-normalise: only one can be");
    if (s->key_normalise && s->no_normalise)
        return program_usage("--key-normalise needs the denominator that --no-normalise leaves "
                             "out");
    if (s->no_normalise && !system_has_state(s->system))
        return program_usage("--no-normalise: %s always has a denominator", name);
    return PROGRAM_SUCCESS;
}

/* What the names of the options stand for. */
static void resolve_settings(struct settings *s)
{
    const char *name = s->features ? s->features : "wdcf";
    if (s->form && strcmp(s->form, "reference") == 0)
        name = "softmax-dct";
    s->system = system_find(name);
    s->type = strcmp(s->dtype, "f16") == 0    ? DJ_FLOAT16
              : strcmp(s->dtype, "bf16") == 0 ? DJ_BFLOAT16
                                              : DJ_FLOAT32;
}

static void report_numbers(const struct settings *settings, const struct problem *p)
{
    static const char *const labels[NUMBERS_KINDS] = {"frequencies", "weights", "directions",
                                                      "projection E", "projection F"};
    for (int kind = 0; kind < NUMBERS_KINDS; kind++) {
        const struct safetensors_tensor *tensor = p->tensor_numbers[kind];
        if (tensor)
            printf("%-12s from the file's %s %s\n", labels[kind], tensor->name,
                   shape_text(tensor).text);
        else if (p->numbers.arrays[kind])
            printf("%-12s drawn with seed %" PRIu64 "\n", labels[kind], settings->seed);
    }
}

static void report(const struct settings *settings, const struct problem *p,
                   const struct dj_device_info *info, const struct device_times *times)
{
    printf("device       %s (%s, index %u)\n", info->name, program_device_type(info->type),
           info->index);
    printf("input        %s\n", settings->input);
    printf("shapes       q %s, k %s, v %s %s\n", shape_text(p->tensor_q).text,
           shape_text(p->tensor_k).text, shape_text(p->tensor_v).text, p->tensor_q->type);
    printf("attention    %s", settings->system->name);
    if (p->numbers.features)
        printf(", %u features", p->numbers.features);
    if (settings->system->map == DJ_MAP_COSFORMER)
        printf(", at most %u tokens", p->max_tokens);
    printf(", %s, %s%s, scale %g%s\n", p->causal ? "causal" : "not causal",
           p->normalised ? "normalised" : "not normalised",
           p->keys_by_file      ? ", keys normalised as the file says"
           : p->keys_normalised ? ", keys normalised"
                                : "",
           (double)p->scale, p->decay ? ", with decay" : "");
    report_numbers(settings, p);
    printf("elements     %s, laid out as %s\n", settings->dtype, settings->layout);
    printf("made in      %.1f ms (the context), %.1f ms (the feature map and the plan)\n",
           1e3 * times->context, 1e3 * times->plan);
    printf("time         %.3f ms (the first run, with what the driver does once: %.3f ms)\n",
           1e3 * times->runs[1], 1e3 * times->runs[0]);
    printf("tokens/s     %.0f\n",
           times->runs[1] > 0 ? (double)p->batch * (double)p->query_tokens / times->runs[1] : 0.0);
}

static int write_output(const struct settings *settings, const struct problem *p)
{
    struct safetensors_error error;
    if (!settings->output)
        return PROGRAM_SUCCESS;
    program_progress("writing %s", settings->output);
    const struct safetensors_output output = {
        .name = "out", .rank = 4, .shape = p->out_shape, .data = p->result};
    program_catch_interrupts(); /* they would leave a half-written file */
    if (!safetensors_write_described(settings->output, NULL, 0, &output, 1, program_interrupted,
                                     &error))
        return program_interrupted() ? PROGRAM_FAILURE
                                     : program_fail("%s: %s", settings->output, error.text);
    program_progress(NULL);
    printf("output       %s\n", settings->output);
    return PROGRAM_SUCCESS;
}

/* The sizes in one of q and k, [B][heads][tokens][d]. */
static bool add_extremes(const struct host_map *map, const struct problem *p, const float *x,
                         uint64_t heads, uint64_t tokens, struct host_extremes *extremes)
{
    const uint32_t m = map->numbers->features;
    const bool projected = map->numbers->system->map == DJ_MAP_LINFORMER && x == p->k;
    const uint64_t rows = projected ? m : tokens;
    if (tokens == 0) /* and any number of rows */
        return true;
    double *phi = malloc((m ? m : 1) * sizeof(*phi));
    float *ek = malloc((size_t)(m ? m : 1) * p->dim * sizeof(*ek));
    for (uint64_t i = 0; phi && ek && i < p->batch * heads; i++) {
        const uint32_t key_head = (uint32_t)(i % heads / (heads / p->key_heads));
        const float *head = x + i * tokens * p->dim;
        if (projected)
            host_project(map, NUMBERS_KEY_PROJECTION, key_head, (uint32_t)p->dim, head, ek);
        for (uint64_t t = 0; t < rows && !program_interrupted(); t++)
            host_features(map, key_head, t, (projected ? ek : head) + t * p->dim, phi, extremes);
    }
    const bool ok = phi && ek;
    free(ek);
    free(phi);
    return ok;
}

/* The bound of docs/mathematics.md for these inputs and the coarser one of the types in which the
 * device and the file hold the result. */
static int error_bound(const struct settings *settings, const struct problem *p, double *bound)
{
    const char *file_type = p->tensor_out->type;
    uint32_t type = settings->type;
    if (strcmp(file_type, "BF16") == 0)
        type = DJ_BFLOAT16;
    if (strcmp(file_type, "F16") == 0 && type == DJ_FLOAT32)
        type = DJ_FLOAT16;
    struct host_map map = {
        .numbers = &p->numbers, .scale = (double)p->scale, .max_tokens = p->max_tokens};
    struct host_extremes extremes[2] = {0};
    const bool ok = host_map_init(&map) &&
                    add_extremes(&map, p, p->q, p->heads, p->query_tokens, &extremes[0]) &&
                    add_extremes(&map, p, p->k, p->key_heads, p->tokens, &extremes[1]);
    if (ok)
        *bound = host_bound(&map, extremes, type, p->tokens);
    host_map_finish(&map);
    return ok ? PROGRAM_SUCCESS : program_fail("out of memory");
}

static int check(const struct settings *settings, const struct problem *p)
{
    double bound = 0;
    struct host_error error = {0};
    if (!settings->check)
        return PROGRAM_SUCCESS;
    program_progress("checking");
    const int code = error_bound(settings, p, &bound);
    if (code || program_interrupted())
        return code;
    host_error_add(&error, p->result, p->out, p->out_count);
    const double value = host_error_value(&error);
    program_progress(NULL);
    printf("error %.3g (bound %.3g)\n", value, bound);
    if (bound >= 0.1) {
        program_fail("the check says nothing: q and k are so large that the bound is %.3g", bound);
        return PROGRAM_CHECK_FAILED;
    }
    if (value <= bound) /* false for NaN */
        return PROGRAM_SUCCESS;
    program_fail("the check failed: error %.3g exceeds the bound %.3g%s", value, bound,
                 value > 0.1                    ? " (was out computed with other options?)"
                 : settings->type != DJ_FLOAT32 ? " (q, k and v were rounded, see --dtype)"
                                                : "");
    return PROGRAM_CHECK_FAILED;
}

static int attend(const struct settings *settings, struct problem *p)
{
    dj_context *context = NULL;
    struct dj_device_info info;
    struct device_times times = {0};

    int code = problem_open(settings, p);
    if (code)
        return code;
    const double start = program_seconds();
    dj_result result = program_context_create(settings->device, &context);
    if (result == DJ_SUCCESS)
        result = dj_context_device(context, &info);
    code = result == DJ_SUCCESS ? device_check_size(settings, p, &info)
                                : program_fail_dj("no device to compute on", result);
    if (!code && !settings->no_cache)
        (void)program_cache_load(context);
    times.context = program_seconds() - start;
    code = code ? code : problem_read(settings, p);
    code = code ? code : device_run(context, settings, p, &times);
    if (!code && !settings->no_cache)
        (void)program_cache_save(context);
    if (!code) {
        report(settings, p, &info, &times);
        code = write_output(settings, p);
    }
    code = code ? code : check(settings, p);
    code = program_validated(context, code);
    dj_context_destroy(&context);
    return code;
}

int main(int argc, char **argv)
{
    static const char *const forms[] = {"paper", "reference", NULL};
    static const char *const layouts[] = {"bhtd", "bthd", "packed", NULL};
    const char *names[SYSTEM_COUNT + 1] = {NULL};
    for (int i = 0; i < SYSTEM_COUNT; i++)
        names[i] = systems[i].name;
    struct settings s = {.dtype = "f32", .layout = "bhtd", .seed = 1};
    const struct program_option options[] = {
        {.name = "--input", .kind = PROGRAM_TEXT, .value = &s.input},
        {.name = "--output", .kind = PROGRAM_TEXT, .value = &s.output},
        {.name = "--form", .kind = PROGRAM_TEXT, .value = &s.form, .choices = forms},
        {.name = "--features", .kind = PROGRAM_TEXT, .value = &s.features, .choices = names},
        {"--features-count", PROGRAM_NUMBER, &s.features_count, NULL, 1, 1024, 1},
        {"--seed", PROGRAM_NUMBER, &s.seed, NULL, 0, UINT64_MAX, 1},
        {"--max-tokens", PROGRAM_NUMBER, &s.max_tokens, NULL, 1, 1 << 30, 1},
        {.name = "--no-causal", .kind = PROGRAM_FLAG, .value = &s.no_causal},
        {.name = "--no-normalise", .kind = PROGRAM_FLAG, .value = &s.no_normalise},
        {.name = "--key-normalise", .kind = PROGRAM_FLAG, .value = &s.key_normalise},
        {.name = "--no-key-normalise", .kind = PROGRAM_FLAG, .value = &s.no_key_normalise},
        {.name = "--no-decay", .kind = PROGRAM_FLAG, .value = &s.no_decay},
        {.name = "--scale", .kind = PROGRAM_FLOAT, .value = &s.scale},
        {.name = "--dtype", .kind = PROGRAM_TEXT, .value = &s.dtype, .choices = dtype_names},
        {.name = "--layout", .kind = PROGRAM_TEXT, .value = &s.layout, .choices = layouts},
        {.name = "--device", .kind = PROGRAM_TEXT, .value = &s.device},
        {.name = "--check", .kind = PROGRAM_FLAG, .value = &s.check},
        {.name = "--no-cache", .kind = PROGRAM_FLAG, .value = &s.no_cache},
    };
    int code;
    if (!program_start("dijiang-attend", help, options, sizeof(options) / sizeof(options[0]), argc,
                       argv, &code))
        return code;
    resolve_settings(&s);
    code = check_settings(&s);
    if (code)
        return code;
    struct safetensors_error error;
    if (s.output && !safetensors_can_write(s.output, &error)) /* before anything is computed */
        return program_fail("%s: %s", s.output, error.text);

    struct problem problem = {0};
    code = attend(&s, &problem);
    problem_close(&problem);
    return program_finish(code);
}
