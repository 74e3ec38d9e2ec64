/* SPDX-License-Identifier: MIT */
/* dijiang-bench: how long prefill and decoding take, after checking that their results are right.
 */
#include "bench.h"
#include "program.h"

#include <cjson/cJSON.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char help[] =
    "usage: dijiang-bench [options]\n"
    "\n"
    "Measures attention (causal, each system's own default of a denominator) on random data:\n"
    "  prefill   whole sequences in one submission, from submission to completion\n"
    "  decode    one token per sequence that continues a state; what it takes does not depend on\n"
    "            how many tokens the state has seen, so tokens is 1\n"
    "  softmax   prefill, and exact softmax attention on the same data beside it, with the ratio "
    "of\n"
    "            their times\n"
    "The median of at least 5 repetitions counts. Before a case is timed, one head of its result "
    "is\n"
    "compared with a computation in double precision (for softmax, about 64 rows of it).\n"
    "\n"
    "options:\n"
    "  --case CASE        prefill, decode, softmax, or all; default prefill and decode\n"
    "  --features NAME    as dijiang-attend --help has them; default wdcf. softmax and linformer\n"
    "                     have no decode\n"
    "  --tokens T         prefill this length; default 1024, 2048, ... 65536, of softmax as far "
    "as\n"
    "                     one repetition takes less than 10 s\n"
    "  --batch B          sequences; default 1\n"
    "  --heads H          default 8\n"
    "  --key-heads HK     of keys and values, a divisor of H; default H\n"
    "  --dim D            of queries and keys, a multiple of 4 up to 256; default 64\n"
    "  --value-dim E      of values; default D\n"
    "  --dtype TYPE       of queries, keys, values and results: f32 (default), f16 or bf16\n"
    "  --repeat N         repetitions; default at least 5 and at least a second\n"
    "  --device D         an index of dijiang-info, or part of a device's name\n"
    "  --json             prints JSON instead of a table\n"
    "  --no-cache         neither reads nor writes what was compiled, ~/.cache/dijiang\n"
    "  --help, --version\n"
    "\n"
    "examples:\n"
    "  dijiang-bench\n"
    "  dijiang-bench --case prefill --heads 8 --dim 64 --tokens 8192 --json\n"
    "  dijiang-bench --case softmax --features performer --dtype f16\n"
    "\n"
    "exit codes: 0 success, 1 failure, 2 wrong usage, 3 a result was wrong\n";

enum {
    MAX_CASES = 16,
    SOFTMAX_SECONDS = 10, /* longer repetitions of softmax must be asked for */
};

static double tokens_per_second(const struct settings *s, const struct measured *m)
{
    return m->median > 0 ? (double)(s->batch * m->tokens) / m->median : 0;
}

static void print_row(const struct settings *s, const struct measured *m)
{
    printf("%-8s %6" PRIu64 " %6" PRIu64 " %6" PRIu64 " %5" PRIu64 " %5" PRIu64 " %8" PRIu64
           " %12.3f %12.0f %12.3f",
           m->name, s->batch, s->heads, s->key_heads, s->dim, s->value_dim, m->tokens,
           1e3 * m->median, tokens_per_second(s, m),
           1e6 * m->median / (double)(s->batch * m->tokens));
    if (m->ratio > 0)
        printf(" %9.2f x", m->ratio);
    printf("\n");
    fflush(stdout);
}

static void print_header(const struct settings *s, const struct dj_device_info *info)
{
    printf("device: %s (%s, %s)\n", info->name, program_device_type(info->type), info->driver);
    printf("attention: %s, %s\n", s->system->name, s->dtype);
    printf("%-8s %6s %6s %6s %5s %5s %8s %12s %12s %12s %11s\n", "case", "batch", "heads", "keys",
           "dim", "value", "tokens", "median ms", "tokens/s", "us/token", "to linear");
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
    const char *separator = "";
    for (size_t i = 0; i < count; i++) {
        const struct measured *m = &cases[i];
        if (m->median <= 0)
            continue;
        printf("%s{\"case\": \"%s\", \"features\": \"%s\", \"dtype\": \"%s\", \"batch\": %" PRIu64
               ", \"heads\": %" PRIu64 ", \"key_heads\": %" PRIu64 ", \"dim\": %" PRIu64
               ", \"value_dim\": %" PRIu64 ", \"tokens\": %" PRIu64
               ", \"median_ms\": %.6g, \"tokens_per_s\": %.6g",
               separator, m->name, m->system->name, s->dtype, s->batch, s->heads, s->key_heads,
               s->dim, s->value_dim, m->tokens, 1e3 * m->median, tokens_per_second(s, m));
        if (m->ratio > 0)
            printf(", \"ratio_to_linear\": %.6g", m->ratio);
        printf("}");
        separator = ", ";
    }
    printf("]}\n");
    cJSON_free(text);
    return PROGRAM_SUCCESS;
}

static bool wants(const struct settings *s, const char *name)
{
    return s->only && (strcmp(s->only, name) == 0 || strcmp(s->only, "all") == 0);
}

/* The cases that were asked for. */
static size_t choose_cases(const struct settings *s, struct measured *cases)
{
    const bool softmax = wants(s, "softmax");
    const uint64_t first = s->tokens ? s->tokens : 1024, last = s->tokens ? s->tokens : 65536;
    size_t count = 0;
    for (uint64_t tokens = first; tokens <= last; tokens *= 2) {
        if (!s->only || wants(s, "prefill") || softmax)
            cases[count++] =
                (struct measured){.name = "prefill", .system = s->system, .tokens = tokens};
        if (softmax)
            cases[count++] = (struct measured){
                .name = "softmax", .system = system_find("softmax"), .tokens = tokens};
    }
    if ((!s->only || wants(s, "decode")) && system_has_state(s->system))
        cases[count++] =
            (struct measured){.name = "decode", .system = s->system, .decode = true, .tokens = 1};
    return count;
}

/* One tensor is one buffer. */
static int check_size(const struct settings *s, const struct dj_device_info *info,
                      const struct measured *m)
{
    const uint64_t tokens = m->decode ? BENCH_CHECK_STEPS : m->tokens;
    const uint64_t dim = s->dim > s->value_dim ? s->dim : s->value_dim;
    const double bytes = (double)s->batch * (double)tokens * (double)s->heads * (double)dim *
                         (double)dj_type_size(s->type);
    if (bytes <= (double)info->max_allocation)
        return PROGRAM_SUCCESS;
    return program_fail("%s of %" PRIu64 " tokens: a tensor takes %.0f MiB, more than the %.0f MiB "
                        "that %s allocates at once",
                        m->name, m->tokens, bytes / (1 << 20),
                        (double)info->max_allocation / (1 << 20), info->name);
}

/* Measures the cases and prints the table's rows as they come. */
static int measure_cases(dj_context *context, const struct settings *s, struct measured *cases,
                         size_t count)
{
    double next_softmax = 0; /* seconds to expect of the next length */
    for (size_t i = 0; i < count; i++) {
        struct measured *m = &cases[i];
        const bool softmax = strcmp(m->name, "softmax") == 0;
        if (softmax && next_softmax > SOFTMAX_SECONDS)
            continue;
        const int code = bench_measure(context, s, m);
        if (code)
            return code;
        if (softmax) {
            m->ratio = m->median / cases[i - 1].median;
            next_softmax = 4 * m->median;
        }
        if (!s->json)
            print_row(s, m);
    }
    return PROGRAM_SUCCESS;
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
        print_header(s, &info);
    code = code ? code : measure_cases(context, s, cases, count);
    return !code && s->json ? print_json(s, &info, cases, count) : code;
}

static int resolve_settings(struct settings *s)
{
    s->value_dim = s->value_dim ? s->value_dim : s->dim;
    s->key_heads = s->key_heads ? s->key_heads : s->heads;
    s->system = system_find(s->features);
    s->type = strcmp(s->dtype, "f16") == 0    ? DJ_FLOAT16
              : strcmp(s->dtype, "bf16") == 0 ? DJ_BFLOAT16
                                              : DJ_FLOAT32;
    if (s->heads % s->key_heads != 0)
        return program_usage("--key-heads is %" PRIu64 ", must divide --heads %" PRIu64,
                             s->key_heads, s->heads);
    if (s->only && strcmp(s->only, "decode") == 0 && !system_has_state(s->system))
        return program_usage("--case decode continues a state, which %s has none of", s->features);
    return PROGRAM_SUCCESS;
}

int main(int argc, char **argv)
{
    static const char *const cases[] = {"prefill", "decode", "softmax", "all", NULL};
    static const char *const types[] = {"f32", "f16", "bf16", NULL};
    const char *names[SYSTEM_COUNT + 1] = {NULL};
    for (int i = 0; i < SYSTEM_COUNT; i++)
        names[i] = systems[i].name;
    struct settings s = {.features = "wdcf", .dtype = "f32", .batch = 1, .heads = 8, .dim = 64};
    const struct program_option options[] = {
        {.name = "--case", .kind = PROGRAM_TEXT, .value = &s.only, .choices = cases},
        {.name = "--features", .kind = PROGRAM_TEXT, .value = &s.features, .choices = names},
        {.name = "--dtype", .kind = PROGRAM_TEXT, .value = &s.dtype, .choices = types},
        {.name = "--device", .kind = PROGRAM_TEXT, .value = &s.device},
        {.name = "--json", .kind = PROGRAM_FLAG, .value = &s.json},
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
    code = resolve_settings(&s);
    if (code)
        return code;

    dj_context *context = NULL;
    const struct dj_context_params params = program_context_params(s.device);
    const dj_result result = dj_context_create(&params, &context);
    if (result == DJ_SUCCESS && !s.no_cache)
        (void)program_cache_load(context);
    code = result == DJ_SUCCESS ? measure_all(context, &s)
                                : program_fail_dj("no device to measure", result);
    if (!code && !s.no_cache)
        (void)program_cache_save(context);
    code = program_validated(context, code);
    dj_context_destroy(&context);
    return program_finish(code);
}
