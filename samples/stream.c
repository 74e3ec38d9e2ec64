/* SPDX-License-Identifier: MIT */
/* One sequence, token by token: a prompt in one call, then single tokens. Half-way its state is
 * saved to the host and restored twice, into another slot and into a context made anew; both go on
 * from there to the same bits. */
#include <dijiang/dijiang.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PROMPT = 100,
    SAVED = 104, /* tokens when the state is saved */
    TOKENS = 108,
    H = 8,
    D = 64,
    ROW = H * D,
    SLOTS = 2
};

/* What a program that serves a model keeps: the plan, the pool of states, room for a prompt. */
struct server {
    dj_context *gpu;
    dj_features *map;
    dj_attention *plan;
    struct dj_attention_args args;
};

static void close_server(struct server *s)
{
    dj_buffer_destroy(&s->args.q.buffer);
    dj_buffer_destroy(&s->args.k.buffer);
    dj_buffer_destroy(&s->args.v.buffer);
    dj_buffer_destroy(&s->args.o.buffer);
    dj_buffer_destroy(&s->args.state);
    dj_attention_destroy(&s->plan);
    dj_features_destroy(&s->map);
    dj_context_destroy(&s->gpu);
}

/* state_size: bytes of one sequence's state. */
static dj_result open_server(struct server *s, uint64_t *state_size)
{
    const uint64_t shape[4] = {1, PROMPT, H, D};
    struct dj_needs needs = {0};
    float t[D];
    *s = (struct server){0};
    dj_frequencies_draw(D, 1, t); /* the same numbers wherever the states are to go on */
    dj_result r = dj_context_create(NULL, &s->gpu);
    r = r ? r
          : dj_features_create(s->gpu, &(struct dj_features_params){.dim = D, .frequencies = t},
                               &s->map);
    r = r ? r
          : dj_attention_create(s->gpu, &(struct dj_attention_params){.heads = H, .dim = D},
                                &s->plan);
    r = r ? r : dj_tensor_create(s->gpu, DJ_FLOAT32, shape, NULL, &s->args.q);
    r = r ? r : dj_tensor_create(s->gpu, DJ_FLOAT32, shape, NULL, &s->args.k);
    r = r ? r : dj_tensor_create(s->gpu, DJ_FLOAT32, shape, NULL, &s->args.v);
    r = r ? r : dj_tensor_create(s->gpu, DJ_FLOAT32, shape, NULL, &s->args.o);
    r = r ? r : dj_attention_needs(s->plan, NULL, &needs);
    r = r ? r
          : dj_buffer_create(s->gpu, &(struct dj_buffer_params){.size = SLOTS * needs.slot_size},
                             &s->args.state);
    s->args.features = s->map;
    s->args.slot_count = SLOTS;
    *state_size = needs.slot_size;
    return r;
}

/* Attends to the tokens first .. first + count - 1 of the sequence, whose state goes on in that
 * slot; o receives the last one's output [ROW]. */
static dj_result attend(struct server *s, int32_t slot, uint32_t first, uint32_t count, float *o)
{
    static float q[PROMPT * ROW], k[PROMPT * ROW], v[PROMPT * ROW];
    for (uint32_t i = 0; i < count * ROW; i++) { /* a model would compute them */
        const float place = (float)(first * ROW + i);
        q[i] = sinf(place);
        k[i] = sinf(2 * place);
        v[i] = sinf(3 * place);
    }
    const uint64_t size = sizeof(float) * count * ROW, last = sizeof(float) * (count - 1) * ROW;
    const int32_t from = first == 0 ? -1 : slot; /* -1: from nothing */
    s->args.q.shape[1] = s->args.k.shape[1] = s->args.v.shape[1] = s->args.o.shape[1] = count;
    s->args.slots_in.host = &from;
    s->args.slots_out.host = &slot;
    dj_result r = dj_buffer_write(s->args.q.buffer, 0, q, size);
    r = r ? r : dj_buffer_write(s->args.k.buffer, 0, k, size);
    r = r ? r : dj_buffer_write(s->args.v.buffer, 0, v, size);
    r = r ? r : dj_attention_run(s->plan, &s->args);
    r = r ? r : dj_buffer_read(s->args.o.buffer, last, o, sizeof(float) * ROW);
    return r;
}

/* Loads the state into the slot and attends to what follows it. Counts the floats of o that differ
 * from those of the first time, [TOKENS][ROW]. */
static dj_result resume(struct server *s, uint32_t slot, const void *state, uint64_t state_size,
                        const float *first_time, uint32_t *differ)
{
    float o[ROW];
    *differ = 0;
    dj_result r = dj_state_load(s->plan, &s->args, slot, state, state_size);
    for (uint32_t i = SAVED; i < TOKENS && !r; i++) {
        r = attend(s, (int32_t)slot, i, 1, o);
        for (uint32_t c = 0; c < ROW && !r; c++)
            *differ += memcmp(&o[c], &first_time[i * ROW + c], sizeof(float)) != 0;
    }
    return r;
}

int main(void)
{
    static float o[TOKENS * ROW];
    struct server server;
    uint64_t state_size;
    uint32_t differ, wrong = 0;
    void *state = NULL;

    dj_result r = open_server(&server, &state_size);
    r = r ? r : attend(&server, 0, 0, PROMPT, o + (PROMPT - 1) * ROW);
    if (!r)
        printf("prompt of %d tokens: %.6e\n", PROMPT, o[(PROMPT - 1) * ROW]);
    for (uint32_t i = PROMPT; i < TOKENS && !r; i++) {
        if (i == SAVED) {
            state = malloc(state_size);
            r = state ? dj_state_save(server.plan, &server.args, 0, state, state_size)
                      : DJ_ERROR_OUT_OF_HOST_MEMORY;
            if (!r)
                printf("state of %u tokens saved: %llu bytes\n", i, (unsigned long long)state_size);
        }
        r = r ? r : attend(&server, 0, i, 1, o + i * ROW);
        if (!r)
            printf("token %u: %.6e\n", i, o[i * ROW]);
    }

    r = r ? r : resume(&server, 1, state, state_size, o, &differ);
    if (!r)
        printf("restored into slot 1: %u of %d outputs differ\n", differ, (TOKENS - SAVED) * ROW);
    wrong += r ? 0 : differ;
    close_server(&server);

    if (!r)
        r = open_server(&server, &state_size);
    r = r ? r : resume(&server, 0, state, state_size, o, &differ);
    if (!r)
        printf("restored into a new context: %u of %d outputs differ\n", differ,
               (TOKENS - SAVED) * ROW);
    wrong += r ? 0 : differ;
    close_server(&server);

    if (r)
        printf("%s\n", dj_result_str(r));
    free(state);
    return r || wrong;
}
