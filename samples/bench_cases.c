/* SPDX-License-Identifier: MIT */
/* Which cases there are, and which of them were asked for. */
#include "bench.h"
#include "program.h"

#include <inttypes.h>
#include <string.h>

const char *const bench_kinds[] = {"prefill", "softmax", "decode", "dct", "features", NULL};

enum {
    MAX_LENGTHS = 8
};

static const struct row {
    const char *suite, *features;
    enum bench_kind kind;
    uint32_t type;
    uint64_t batch, heads, dim;
    uint64_t tokens[MAX_LENGTHS]; /* a case for each; 0 after the last */
} rows[] = {
    /* clang-format off */
    {"cpu", "wdcf", BENCH_PREFILL, DJ_FLOAT32, 1, 8, 64,
     {512, 1024, 2048, 4096, 8192, 32768, 131072}},
    /* clang-format on */
    {"cpu", "identity", BENCH_PREFILL, DJ_FLOAT32, 1, 8, 64, {512, 1024, 2048, 4096, 8192, 32768}},
    {"cpu", "softmax", BENCH_SOFTMAX, DJ_FLOAT32, 1, 8, 64, {512, 1024, 2048, 4096, 8192}},
    {"cpu", "wdcf", BENCH_DECODE, DJ_FLOAT32, 1, 8, 64, {1}},
    {"cpu", "identity", BENCH_DECODE, DJ_FLOAT32, 1, 8, 64, {1}},
    {"cpu", NULL, BENCH_DCT, DJ_FLOAT32, 1, 8, 64, {8192}},
    {"cpu", "wdcf", BENCH_FEATURES, DJ_FLOAT32, 1, 8, 64, {8192}},

    {"gpu", "wdcf", BENCH_PREFILL, DJ_FLOAT32, 1, 8, 64, {8192}},
    {"gpu", "wdcf", BENCH_PREFILL, DJ_FLOAT16, 4, 16, 64, {2048, 16384}},
    {"gpu", "identity", BENCH_PREFILL, DJ_FLOAT16, 4, 16, 64, {16384}},
    /* the shorter one says whether the longer is feasible */
    {"gpu", "softmax", BENCH_SOFTMAX, DJ_FLOAT16, 4, 16, 64, {2048, 16384}},
    {"gpu", "wdcf", BENCH_DECODE, DJ_FLOAT16, 1, 16, 64, {1}},
    {"gpu", "wdcf", BENCH_DECODE, DJ_FLOAT16, 512, 16, 64, {1}},
    {"gpu", NULL, BENCH_DCT, DJ_FLOAT32, 4, 16, 64, {16384}},
    {"gpu", "wdcf", BENCH_FEATURES, DJ_FLOAT16, 4, 16, 64, {16384}},
};

static bool wants(const struct settings *s, enum bench_kind kind)
{
    return s->only && (strcmp(s->only, bench_kinds[kind]) == 0 || strcmp(s->only, "all") == 0);
}

static bool is(const char *given, const char *name)
{
    return !given || (name && strcmp(given, name) == 0);
}

static bool has(uint64_t given, uint64_t value)
{
    return !given || given == value;
}

/* With a suite the options are filters. */
static bool passes(const struct settings *s, const struct row *row, uint64_t tokens)
{
    return strcmp(s->suite, row->suite) == 0 && (!s->only || wants(s, row->kind)) &&
           is(s->features, row->features) && is(s->dtype, dtype_names[row->type]) &&
           has(s->batch, row->batch) && has(s->heads, row->heads) &&
           has(s->key_heads, row->heads) && has(s->dim, row->dim) && has(s->value_dim, row->dim) &&
           has(s->tokens, tokens);
}

/* A DCT knows no values, and the map is best seen with few. */
static uint64_t value_columns(enum bench_kind kind, uint64_t value_dim)
{
    return kind == BENCH_FEATURES ? 4 : value_dim;
}

static int choose_suite(const struct settings *s, struct bench_case *cases, size_t *count)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct row *const row = &rows[i];
        for (size_t n = 0; n < MAX_LENGTHS && row->tokens[n]; n++)
            if (passes(s, row, row->tokens[n]))
                cases[(*count)++] =
                    (struct bench_case){.kind = row->kind,
                                        .system = row->features ? system_find(row->features) : NULL,
                                        .type = row->type,
                                        .batch = row->batch,
                                        .heads = row->heads,
                                        .key_heads = row->heads,
                                        .dim = row->dim,
                                        .value_dim = value_columns(row->kind, row->dim),
                                        .tokens = row->tokens[n]};
    }
    return *count ? PROGRAM_SUCCESS
                  : program_usage("no case of --suite %s has all that was asked for", s->suite);
}

/* The shape that was asked for, or the default. */
static int resolve(const struct settings *s, struct bench_case *c)
{
    *c = (struct bench_case){.system = system_find(s->features ? s->features : "wdcf"),
                             .key_normalise = s->key_normalise,
                             .batch = s->batch ? s->batch : 1,
                             .heads = s->heads ? s->heads : 8,
                             .dim = s->dim ? s->dim : 64};
    c->key_heads = s->key_heads ? s->key_heads : c->heads;
    c->value_dim = s->value_dim ? s->value_dim : c->dim;
    while (s->dtype && strcmp(s->dtype, dtype_names[c->type]) != 0)
        c->type++;
    if (c->heads % c->key_heads != 0)
        return program_usage("--key-heads is %" PRIu64 ", must divide --heads %" PRIu64,
                             c->key_heads, c->heads);
    if (s->key_normalise && !system_can_normalise_keys(c->system))
        return program_usage("--key-normalise is for wdcf, wpff, pff, prf and performer, not %s",
                             c->system->name);
    if (s->only && strcmp(s->only, "decode") == 0 && !system_has_state(c->system))
        return program_usage("--case decode continues a state, which %s has none of",
                             c->system->name);
    return PROGRAM_SUCCESS;
}

static struct bench_case as(const struct bench_case *shape, enum bench_kind kind, uint64_t tokens)
{
    struct bench_case c = *shape;
    c.kind = kind;
    c.tokens = tokens;
    c.value_dim = value_columns(kind, c.value_dim);
    c.key_normalise = c.key_normalise && kind != BENCH_SOFTMAX && kind != BENCH_DCT;
    if (kind == BENCH_SOFTMAX)
        c.system = system_find("softmax");
    if (kind == BENCH_DCT) {
        c.system = NULL;
        c.type = DJ_FLOAT32; /* it has no other */
        c.key_heads = c.heads;
        c.value_dim = c.dim;
    }
    return c;
}

int bench_choose(const struct settings *s, struct bench_case *cases, size_t *count)
{
    *count = 0;
    if (s->suite && s->key_normalise)
        return program_usage("--key-normalise: no case of --suite has that");
    if (s->suite)
        return choose_suite(s, cases, count);
    struct bench_case shape;
    const int code = resolve(s, &shape);
    if (code)
        return code;
    const bool softmax = wants(s, BENCH_SOFTMAX);
    const uint64_t first = s->tokens ? s->tokens : 1024, last = s->tokens ? s->tokens : 65536;
    for (uint64_t tokens = first; tokens <= last; tokens *= 2) {
        if (!s->only || wants(s, BENCH_PREFILL) || softmax)
            cases[(*count)++] = as(&shape, BENCH_PREFILL, tokens);
        if (softmax)
            cases[(*count)++] = as(&shape, BENCH_SOFTMAX, tokens);
        if (wants(s, BENCH_FEATURES))
            cases[(*count)++] = as(&shape, BENCH_FEATURES, tokens);
        if (wants(s, BENCH_DCT))
            cases[(*count)++] = as(&shape, BENCH_DCT, tokens);
    }
    if ((!s->only || wants(s, BENCH_DECODE)) && system_has_state(shape.system))
        cases[(*count)++] = as(&shape, BENCH_DECODE, 1);
    return PROGRAM_SUCCESS;
}
