/* SPDX-License-Identifier: MIT */
/* Calls that are right, and what is done with the wrong ones made from them. */
#ifndef DJ_TESTS_ARGUMENTS_H
#define DJ_TESTS_ARGUMENTS_H

#include "harness.h"

/* The calls that are broken. All have 4 query heads, 2 key heads and 2 rows. */
enum base {
    BASE_CAUSAL,    /* WDCF, 40 tokens, a pool of 8 slots */
    BASE_FULL,      /* PRF, 24 queries of 40 keys, not causal */
    BASE_SOFTMAX,   /* 40 tokens, causal */
    BASE_LINFORMER, /* 24 queries of 20 keys, 6 rows of each projection */
    BASE_COSFORMER, /* 40 tokens of at most 48 */
    BASE_SCALED,    /* ELU without the normaliser, 40 tokens, scales of 48 places */
    BASE_HALF,      /* ReLU, 40 tokens, q and o f16, k bf16, v f32 */
    BASE_COUNT,
};

enum {
    CALL_BATCH = 2,
    CALL_HEADS = 4,
    CALL_KEY_HEADS = 2,
    CALL_DIM = 16,
    CALL_VALUE_DIM = 8,
    CALL_TOKENS = 40,
    CALL_QUERIES = 24, /* of BASE_FULL and BASE_LINFORMER */
    CALL_LINFORMER_TOKENS = 20,
    CALL_MOST = 48, /* cosFormer's M, the scales' P */
    CALL_SLOTS = 8,
};

/* A call that is right and may be recorded, and what mutations need. */
struct call {
    enum base base;
    dj_context *context;
    dj_attention *plan;
    dj_features *features;
    struct dj_attention_args args; /* with scratch memory */
    struct dj_needs needs;         /* of args */
    dj_buffer *inputs[3], *output, *state, *scratch, *scales, *indices;
    void *want; /* the output buffer's bytes after the call */
    dj_features *other_map, *other_dim, *other_features, *other_heads, *other_tokens;
    dj_context *other;             /* another context of the device */
    dj_buffer *foreign;            /* as large as the inputs and of that context */
    dj_features *foreign_features; /* else right for BASE_CAUSAL */
};

void call_init(struct call *call, dj_context *context, enum base base);
void call_finish(struct call *call);
/* Nothing was written to outputs, states and scratch memory. */
void call_assert_untouched(const struct call *call);
/* The call's own answer lies in its output. */
void call_assert_right(const struct call *call);

/* Makes all four tensors gapless with that many rows and tokens. */
void call_reshape(struct dj_attention_args *args, uint64_t batch, uint64_t tokens);

/* What dj_attention_needs makes of a mutation. */
enum needs_view {
    NEEDS_AGREES,
    NEEDS_BLIND, /* it does not look there */
    NEEDS_ANY,   /* the header does not say */
};

/* A call's change. result DJ_SUCCESS: it stays right, and is accepted. words: one of them, split by
 * '|', stands in the line that is logged. */
struct mutation {
    const char *name, *words;
    dj_result result;
    enum needs_view needs;
    void (*apply)(struct call *call, struct dj_attention_args *args);
};

#define CALL_MUTATION(name, ...) \
    static void name(struct call *call, struct dj_attention_args *args) \
    { \
        (void)call; \
        __VA_ARGS__ \
    }

/* Whether a line holds one of the words, split by '|', as a whole word. */
bool line_has_word(const char *line, const char *words);

/* Tries a mutated call by dj_attention_needs, _record and _run; returns 1, having said why, unless
 * all three did what is due. */
unsigned call_try(struct call *call, dj_recorder *recorder, const struct dj_attention_args *args,
                  const struct mutation *mutation, const char *name);

/* Makes the base call, tries each mutation of the table, and then fills the same recorder with the
 * call that is right, as often as it was made for. */
void call_try_all(dj_context *context, enum base base, const struct mutation *mutations,
                  size_t count);

#define CALL_TRY_ALL(context, base, table) \
    call_try_all((context), (base), (table), sizeof(table) / sizeof(*(table)))

/* The last error line of a context that a test made itself with this as its log. */
void call_log(void *user, uint32_t level, const char *message);

/* The parts of this program. */
extern const struct CMUnitTest tensor_tests[], slot_tests[], span_tests[];
extern const size_t tensor_test_count, slot_test_count, span_test_count;

#endif
