/* SPDX-License-Identifier: MIT */
#include "attend.h"
#include "program.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const number_names[NUMBERS_KINDS] = {
    "frequency_weights", "feature_weights",  "feature_directions",
    "key_projection",    "value_projection",
};

struct shape_text shape_text(const struct safetensors_tensor *tensor)
{
    struct shape_text s;
    int n = snprintf(s.text, sizeof(s.text), "[");
    for (uint32_t i = 0; i < tensor->rank && n < 80; i++)
        n += snprintf(s.text + n, sizeof(s.text) - (size_t)n, "%s%" PRIu64, i ? "," : "",
                      tensor->shape[i]);
    snprintf(s.text + n, sizeof(s.text) - (size_t)n, "%s]", n < 80 ? "" : "...");
    return s;
}

/* A required tensor of rank 4. */
static int find_tensor(const struct settings *settings, const struct problem *p, const char *name,
                       const struct safetensors_tensor **tensor)
{
    *tensor = safetensors_find(p->file, name);
    if (!*tensor)
        return program_fail("%s: tensor '%s' is missing", settings->input, name);
    if ((*tensor)->rank != 4)
        return program_fail("%s: tensor '%s' is %s, must have 4 dimensions [B,H,T,d]",
                            settings->input, name, shape_text(*tensor).text);
    return PROGRAM_SUCCESS;
}

__attribute__((format(printf, 3, 4))) static int wrong_shape(
    const struct settings *settings, const struct safetensors_tensor *tensor, const char *format,
    ...)
{
    char rule[160];
    va_list args;
    va_start(args, format);
    vsnprintf(rule, sizeof(rule), format, args);
    va_end(args);
    return program_fail("%s: tensor '%s' is %s, must be %s", settings->input, tensor->name,
                        shape_text(tensor).text, rule);
}

static bool has_shape(const struct safetensors_tensor *tensor, const uint64_t shape[4])
{
    return tensor->rank == 4 && memcmp(tensor->shape, shape, 4 * sizeof(*shape)) == 0;
}

static bool is_head_dim(uint64_t dim)
{
    return dim >= 4 && dim <= 256 && dim % 4 == 0;
}

/* The rules of q, k and v among themselves. */
static int check_qkv(const struct settings *settings, const struct problem *p)
{
    if (p->heads < 1 || p->heads > 65535)
        return wrong_shape(settings, p->tensor_q, "[B,H,T,d] with H from 1 to 65535");
    if (!is_head_dim(p->dim))
        return wrong_shape(settings, p->tensor_q, "[B,H,T,d], d a multiple of 4 from 4 to 256");
    if (p->key_heads < 1 || p->heads % p->key_heads != 0)
        return wrong_shape(settings, p->tensor_k,
                           "[B,Hk,T,d] with Hk a divisor of q's %" PRIu64 " heads", p->heads);
    if (!has_shape(p->tensor_k, (const uint64_t[]){p->batch, p->key_heads, p->tokens, p->dim}))
        return wrong_shape(settings, p->tensor_k,
                           "[B,Hk,T,d] with q's B %" PRIu64 " and d %" PRIu64, p->batch, p->dim);
    if (p->causal && p->tokens != p->query_tokens)
        return wrong_shape(settings, p->tensor_k,
                           "[B,Hk,T,d] with q's T %" PRIu64
                           " (--no-causal attends to other tokens)",
                           p->query_tokens);
    if (!has_shape(p->tensor_v,
                   (const uint64_t[]){p->batch, p->key_heads, p->tokens, p->value_dim}))
        return wrong_shape(settings, p->tensor_v,
                           "[B,Hk,T,e] with k's B %" PRIu64 ", Hk %" PRIu64 " and T %" PRIu64,
                           p->batch, p->key_heads, p->tokens);
    if (!is_head_dim(p->value_dim))
        return wrong_shape(settings, p->tensor_v, "[B,Hk,T,e], e a multiple of 4 from 4 to 256");
    return PROGRAM_SUCCESS;
}

/* Finds q, k and v, and the sizes in their shapes. */
static int describe_qkv(const struct settings *settings, struct problem *p)
{
    int code = find_tensor(settings, p, "q", &p->tensor_q);
    code = code ? code : find_tensor(settings, p, "k", &p->tensor_k);
    code = code ? code : find_tensor(settings, p, "v", &p->tensor_v);
    if (code)
        return code;
    p->batch = p->tensor_q->shape[0];
    p->heads = p->tensor_q->shape[1];
    p->query_tokens = p->tensor_q->shape[2];
    p->dim = p->tensor_q->shape[3];
    p->key_heads = p->tensor_k->shape[1];
    p->tokens = p->tensor_k->shape[2];
    p->value_dim = p->tensor_v->shape[3];
    code = check_qkv(settings, p);
    if (code)
        return code;
    if (strcmp(settings->layout, "packed") == 0 && p->tokens != p->query_tokens)
        return program_fail("%s: --layout packed puts a token's q, k and v side by side, but q has "
                            "%" PRIu64 " tokens and k %" PRIu64,
                            settings->input, p->query_tokens, p->tokens);
    const uint64_t out_shape[4] = {p->batch, p->heads, p->query_tokens, p->value_dim};
    memcpy(p->out_shape, out_shape, sizeof(out_shape));
    return PROGRAM_SUCCESS;
}

/* The plan's max_tokens, which holds a number of tokens where the map hangs on it. */
static int describe_tokens(const struct settings *settings, struct problem *p)
{
    const uint32_t map = settings->system->map;
    const uint64_t longest = p->tokens > p->query_tokens ? p->tokens : p->query_tokens;
    uint64_t tokens = 0;
    if (map == DJ_MAP_COSFORMER)
        tokens = settings->max_tokens ? settings->max_tokens : longest ? longest : 1;
    if (map == DJ_MAP_LINFORMER) {
        tokens = p->tokens;
        if (tokens == 0)
            return wrong_shape(settings, p->tensor_k, "[B,Hk,T,d] with T at least 1 for linformer");
    }
    if (tokens > UINT32_MAX)
        return program_fail("%s: %" PRIu64 " tokens, more than the 2^32 - 1 that %s can have",
                            settings->input, tokens, settings->system->name);
    if (map == DJ_MAP_COSFORMER && longest > tokens)
        return program_fail("%s: %" PRIu64 " tokens, more than --max-tokens %" PRIu64
                            ": cosFormer's weights would turn negative",
                            settings->input, longest, tokens);
    p->max_tokens = (uint32_t)tokens;
    p->numbers.tokens = map == DJ_MAP_LINFORMER ? p->max_tokens : 0;
    return PROGRAM_SUCCESS;
}

/* Dimensions of one set: m, and for matrices the length of a row. */
static uint32_t set_rank(enum number_kind kind)
{
    return kind == NUMBERS_FREQUENCIES || kind == NUMBERS_WEIGHTS ? 1 : 2;
}

static const char *set_rule(enum number_kind kind)
{
    static const char *const rules[NUMBERS_KINDS] = {
        "[m] or [Hk,m]",     "[m] or [Hk,m]",     "[m,d] or [Hk,m,d]",
        "[m,T] or [Hk,m,T]", "[m,T] or [Hk,m,T]",
    };
    return rules[kind];
}

/* m by the first of: the option, the tensors, the default. */
static uint64_t count_features(const struct settings *settings, const struct problem *p)
{
    if (!system_has_features(settings->system))
        return numbers_features(settings->system, (uint32_t)p->dim);
    if (settings->features_count)
        return settings->features_count;
    for (int kind = 0; kind < NUMBERS_KINDS; kind++) {
        const struct safetensors_tensor *tensor = p->tensor_numbers[kind];
        const uint32_t rank = set_rank(kind);
        if (tensor && (tensor->rank == rank || tensor->rank == rank + 1))
            return tensor->shape[tensor->rank - rank];
    }
    return numbers_features(settings->system, (uint32_t)p->dim);
}

static int check_features(const struct settings *settings, const struct problem *p, uint64_t m)
{
    const uint32_t map = settings->system->map;
    const uint32_t step = map == DJ_MAP_LINFORMER ? 1 : 4;
    const uint64_t most = map == DJ_MAP_WDCF ? 4 * p->dim : 1024;
    if (!system_has_features(settings->system) || (m >= step && m <= most && m % step == 0))
        return PROGRAM_SUCCESS;
    return program_fail("%s: %" PRIu64 " features, must be a multiple of %u from %u to %" PRIu64
                        " for %s with d = %" PRIu64,
                        settings->input, m, step, step, most, settings->system->name, p->dim);
}

static int check_numbers(const struct settings *settings, const struct problem *p,
                         enum number_kind kind)
{
    const struct safetensors_tensor *tensor = p->tensor_numbers[kind];
    const uint32_t rank = set_rank(kind);
    const uint64_t width = kind == NUMBERS_DIRECTIONS ? p->dim : p->tokens;
    const bool per_head = tensor->rank == rank + 1 && tensor->shape[0] == p->key_heads;
    const uint64_t *shape = tensor->shape + per_head;
    if ((tensor->rank == rank || per_head) && shape[0] == p->numbers.features &&
        (rank == 1 || shape[1] == width))
        return PROGRAM_SUCCESS;
    const char *why = settings->features_count ? " (--features-count)" : "";
    if (rank == 1)
        return wrong_shape(settings, tensor, "%s with m %u%s, Hk %" PRIu64, set_rule(kind),
                           p->numbers.features, why, p->key_heads);
    return wrong_shape(settings, tensor, "%s with m %u%s, Hk %" PRIu64 ", %c %" PRIu64,
                       set_rule(kind), p->numbers.features, why, p->key_heads,
                       kind == NUMBERS_DIRECTIONS ? 'd' : 'T', width);
}

/* Finds the numbers that the system takes. Those of other maps are left alone, so that one file
 * serves to compare several. */
static int describe_numbers(const struct settings *settings, struct problem *p)
{
    const struct system *system = settings->system;
    for (int kind = 0; kind < NUMBERS_KINDS; kind++)
        if (system_takes(system, kind))
            p->tensor_numbers[kind] = safetensors_find(p->file, number_names[kind]);
    const uint64_t m = count_features(settings, p);
    int code = check_features(settings, p, m);
    p->numbers.system = system;
    p->numbers.dim = (uint32_t)p->dim;
    p->numbers.features = (uint32_t)m;
    for (int kind = 0; kind < NUMBERS_KINDS && !code; kind++) {
        const struct safetensors_tensor *tensor = p->tensor_numbers[kind];
        if (!tensor)
            continue;
        code = check_numbers(settings, p, kind);
        if (tensor->rank > set_rank(kind))
            p->numbers.heads = (uint32_t)p->key_heads;
    }
    return code;
}

/* Whether the metadata's key_normalise is meant: of the map that the metadata names, if it does,
 * for numbers that are taken from there. */
static bool metadata_is_meant(const struct settings *settings, const struct problem *p)
{
    const char *const name = safetensors_find_metadata(p->file, "map");
    bool taken = false;
    for (int kind = 0; kind < NUMBERS_KINDS; kind++)
        taken = taken || p->tensor_numbers[kind];
    return taken && system_can_normalise_keys(settings->system) &&
           (!name || strcmp(name, dj_map_name(settings->system->map)) == 0);
}

/* Whether keys are normalised: an option says so, or the file's metadata. */
static int describe_keys(const struct settings *settings, struct problem *p)
{
    const char *const value = safetensors_find_metadata(p->file, "key_normalise");
    p->keys_normalised = settings->key_normalise;
    if (settings->key_normalise || settings->no_key_normalise || !value ||
        !metadata_is_meant(settings, p) || strcmp(value, "off") == 0)
        return PROGRAM_SUCCESS;
    if (strcmp(value, "on") != 0)
        return program_fail("%s: metadata 'key_normalise' is neither 'on' nor 'off'",
                            settings->input);
    if (!p->normalised)
        return program_fail("%s: its numbers are for normalised keys, which need the denominator "
                            "that --no-normalise leaves out (--no-key-normalise)",
                            settings->input);
    p->keys_normalised = p->keys_by_file = true;
    return PROGRAM_SUCCESS;
}

static int describe_decay(const struct settings *settings, struct problem *p)
{
    p->tensor_decay = settings->no_decay ? NULL : safetensors_find(p->file, "decay");
    if (!p->tensor_decay)
        return PROGRAM_SUCCESS;
    if (p->tensor_decay->rank != 1 || p->tensor_decay->shape[0] != p->key_heads)
        return wrong_shape(settings, p->tensor_decay, "[Hk] with Hk %" PRIu64, p->key_heads);
    if (!system_has_state(settings->system))
        return program_fail("%s: has a decay, which %s attention does not know (--no-decay)",
                            settings->input, settings->system->name);
    if (!p->causal)
        return program_fail("%s: has a decay, which --no-causal leaves without a meaning "
                            "(--no-decay)",
                            settings->input);
    return PROGRAM_SUCCESS;
}

static int describe_out(const struct settings *settings, struct problem *p)
{
    p->tensor_out = settings->check ? safetensors_find(p->file, "out") : NULL;
    if (settings->check && !p->tensor_out)
        return program_fail("%s: tensor 'out' is missing, which --check compares with",
                            settings->input);
    if (p->tensor_out && !has_shape(p->tensor_out, p->out_shape))
        return wrong_shape(settings, p->tensor_out,
                           "[%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 "] as q and v say",
                           p->out_shape[0], p->out_shape[1], p->out_shape[2], p->out_shape[3]);
    return PROGRAM_SUCCESS;
}

int problem_open(const struct settings *settings, struct problem *p)
{
    struct safetensors_error error;
    p->file = safetensors_open(settings->input, &error);
    if (!p->file)
        return program_fail("%s: %s", settings->input, error.text);
    p->causal = !settings->no_causal && settings->system->map != DJ_MAP_LINFORMER;
    p->normalised = !settings->no_normalise && system_normalises(settings->system);
    int code = describe_qkv(settings, p);
    code = code ? code : describe_tokens(settings, p);
    code = code ? code : describe_numbers(settings, p);
    code = code ? code : describe_keys(settings, p);
    code = code ? code : describe_decay(settings, p);
    code = code ? code : describe_out(settings, p);
    p->scale = settings->scale > 0 ? settings->scale : system_scale(settings->system, p->dim);
    return code;
}

/* Reads a tensor into memory of its own. NULL stays NULL. */
static int read_tensor(const struct settings *settings, const struct problem *p,
                       const struct safetensors_tensor *tensor, float **data)
{
    struct safetensors_error error;
    if (!tensor)
        return PROGRAM_SUCCESS;
    *data = malloc((tensor->count ? tensor->count : 1) * sizeof(float));
    if (!*data)
        return program_fail("%s: tensor '%s' does not fit into memory", settings->input,
                            tensor->name);
    if (!safetensors_read(p->file, tensor, *data, &error))
        return program_fail("%s: %s", settings->input, error.text);
    return PROGRAM_SUCCESS;
}

/* Gives shared numbers to every head, so that both kinds can meet in one feature map. */
static int spread(struct problem *p, enum number_kind kind)
{
    const struct safetensors_tensor *tensor = p->tensor_numbers[kind];
    float **data = &p->numbers.arrays[kind];
    if (p->numbers.heads == 0 || !*data || (tensor && tensor->rank > set_rank(kind)))
        return PROGRAM_SUCCESS;
    const size_t size = numbers_size(&p->numbers, kind);
    float *all = calloc(p->numbers.heads, size * sizeof(float));
    if (!all)
        return program_fail("out of memory");
    for (size_t h = 0; h < p->numbers.heads; h++)
        memcpy(all + h * size, *data, size * sizeof(float));
    free(*data);
    *data = all;
    return PROGRAM_SUCCESS;
}

static int read_numbers(const struct settings *settings, struct problem *p)
{
    int code = PROGRAM_SUCCESS;
    for (int kind = 0; kind < NUMBERS_KINDS && !code; kind++)
        code = read_tensor(settings, p, p->tensor_numbers[kind], &p->numbers.arrays[kind]);
    if (code)
        return code;
    const dj_result result = numbers_draw_missing(&p->numbers, settings->seed);
    if (result != DJ_SUCCESS)
        return program_fail_dj("drawing numbers", result);
    for (int kind = 0; kind < NUMBERS_KINDS && !code; kind++)
        code = spread(p, kind);
    return code;
}

int problem_read(const struct settings *settings, struct problem *p)
{
    program_progress("reading %s", settings->input);
    int code = read_numbers(settings, p);
    code = code ? code : read_tensor(settings, p, p->tensor_q, &p->q);
    code = code ? code : read_tensor(settings, p, p->tensor_k, &p->k);
    code = code ? code : read_tensor(settings, p, p->tensor_v, &p->v);
    code = code ? code : read_tensor(settings, p, p->tensor_out, &p->out);
    code = code ? code : read_tensor(settings, p, p->tensor_decay, &p->decay);
    if (code)
        return code;
    p->out_count = p->tensor_q->count / p->dim * p->value_dim;
    p->result = malloc((p->out_count ? p->out_count : 1) * sizeof(float));
    return p->result ? PROGRAM_SUCCESS : program_fail("the result does not fit into memory");
}

void problem_close(struct problem *p)
{
    free(p->q);
    free(p->k);
    free(p->v);
    free(p->out);
    free(p->result);
    free(p->decay);
    numbers_free(&p->numbers);
    safetensors_close(&p->file);
}
