/* SPDX-License-Identifier: MIT */
/* A server's continuous batch. Sequences arrive when they like, with prompts of any length; each
 * takes a free slot, where its state lives, and leaves it when it has all its tokens. A step is one
 * call: the prompts of those that join and one token of each that runs, packed into one row. */
#include <dijiang/dijiang.h>

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum {
    H = 4,
    D = 64,
    ROW = H * D,
    SLOTS = 3,
    REQUESTS = 5,
    LONGEST = 64, /* tokens of one sequence, prompt and all */
    PACKED = SLOTS * LONGEST
};

struct request {
    uint32_t arrives; /* at this step */
    uint32_t prompt, tokens;
    uint32_t done;   /* tokens that its state has seen */
    int32_t slot;    /* -1: none */
    float last[ROW]; /* the output of the last of them */
};
static struct request requests[REQUESTS] = {
    {.arrives = 0, .prompt = 40, .tokens = 46, .slot = -1},
    {.arrives = 0, .prompt = 7, .tokens = 9, .slot = -1},
    {.arrives = 1, .prompt = 23, .tokens = 30, .slot = -1},
    {.arrives = 2, .prompt = 1, .tokens = 5, .slot = -1},
    {.arrives = 3, .prompt = 60, .tokens = 64, .slot = -1},
};

/* The row of all sequences' tokens, [PACKED][H][D]. */
static float q[PACKED * ROW], k[PACKED * ROW], v[PACKED * ROW], o[PACKED * ROW];
static uint32_t packed; /* tokens in it */

/* Puts tokens first .. first + count - 1 of a request behind the others. */
static void pack(int request, uint32_t first, uint32_t count)
{
    for (uint32_t i = 0; i < count * ROW; i++) { /* a model would compute them */
        const float place = (float)((uint32_t)request * LONGEST * ROW + first * ROW + i);
        q[packed * ROW + i] = sinf(place);
        k[packed * ROW + i] = sinf(2 * place);
        v[packed * ROW + i] = sinf(3 * place);
    }
    packed += count;
}

/* Attends to what is packed. */
static dj_result attend(dj_attention *plan, struct dj_attention_args *args)
{
    const uint64_t size = sizeof(float) * packed * ROW;
    args->q.shape[1] = args->k.shape[1] = args->v.shape[1] = args->o.shape[1] = packed;
    dj_result r = dj_buffer_write(args->q.buffer, 0, q, size);
    r = r ? r : dj_buffer_write(args->k.buffer, 0, k, size);
    r = r ? r : dj_buffer_write(args->v.buffer, 0, v, size);
    r = r ? r : dj_attention_run(plan, args);
    return r ? r : dj_buffer_read(args->o.buffer, 0, o, size);
}

/* Gives a free slot to each request that has arrived, in the order of arrival. */
static void admit(uint32_t step)
{
    bool taken[SLOTS] = {false};
    for (int i = 0; i < REQUESTS; i++)
        if (requests[i].slot >= 0)
            taken[requests[i].slot] = true;
    for (int i = 0; i < REQUESTS; i++)
        for (int32_t slot = 0; slot < SLOTS; slot++)
            if (requests[i].arrives <= step && requests[i].done == 0 && requests[i].slot < 0 &&
                !taken[slot]) {
                requests[i].slot = slot;
                taken[slot] = true;
            }
}

/* One step of all that have a slot. */
static dj_result step_all(dj_attention *plan, struct dj_attention_args *args, uint32_t step)
{
    int32_t ends[SLOTS + 1] = {0}, in[SLOTS], out[SLOTS]; /* ends: known as cu_seqlens */
    int who[SLOTS];
    uint32_t n = 0;
    packed = 0;
    for (int i = 0; i < REQUESTS; i++) {
        struct request *const x = &requests[i];
        if (x->slot < 0)
            continue;
        const uint32_t count = x->done == 0 ? x->prompt : 1;
        pack(i, x->done, count);
        in[n] = x->done == 0 ? -1 : x->slot; /* a slot's last owner is not continued */
        out[n] = x->slot;
        who[n++] = i;
        ends[n] = (int32_t)packed;
        x->done += count;
    }
    args->spans = (struct dj_spans){.kind = DJ_SPANS_PACKED, .count = n, .indices.host = ends};
    args->slots_in.host = in;
    args->slots_out.host = out;
    const dj_result r = attend(plan, args);
    if (r)
        return r;

    printf("step %u: %u tokens:", step, packed);
    for (uint32_t i = 0; i < n; i++) {
        struct request *const x = &requests[who[i]];
        memcpy(x->last, o + (ends[i + 1] - 1) * ROW, sizeof x->last);
        printf("  %c %sin slot %d (%u of %u)", 'A' + who[i], in[i] < 0 ? "joins " : "", x->slot,
               x->done, x->tokens);
        if (x->done == x->tokens) {
            printf(" and leaves");
            x->slot = -1; /* for another */
        }
    }
    printf("\n");
    return r;
}

/* How far a request's last output is from that of the whole sequence in one call by itself. */
static dj_result compare(dj_attention *plan, struct dj_attention_args *args, int i, double *error)
{
    const uint32_t tokens = requests[i].tokens;
    packed = 0;
    pack(i, 0, tokens);
    args->spans = (struct dj_spans){0};
    args->slots_in.host = args->slots_out.host = NULL;
    const dj_result r = attend(plan, args);
    double difference = 0, square = 0;
    for (uint32_t c = 0; c < ROW; c++) {
        const double want = o[(tokens - 1) * ROW + c], got = requests[i].last[c];
        difference += (got - want) * (got - want);
        square += want * want;
    }
    *error = sqrt(difference / square);
    return r;
}

static dj_result serve(dj_attention *plan, struct dj_attention_args *args, int *wrong)
{
    dj_result r = DJ_SUCCESS;
    uint32_t left = REQUESTS;
    for (uint32_t step = 0; left > 0 && !r; step++) {
        admit(step);
        r = step_all(plan, args, step);
        left = 0;
        for (int i = 0; i < REQUESTS; i++)
            left += requests[i].done < requests[i].tokens;
    }
    for (int i = 0; i < REQUESTS && !r; i++) {
        double error;
        r = compare(plan, args, i, &error);
        if (!r)
            printf("%c: the last output's error against the sequence alone is %.1e\n", 'A' + i,
                   error);
        *wrong += !r && !(error < 1e-5);
    }
    return r;
}

int main(void)
{
    const uint64_t shape[4] = {1, PACKED, H, D};
    float t[D];
    dj_context *gpu = NULL;
    dj_features *map = NULL;
    dj_attention *plan = NULL;
    struct dj_needs needs = {0};
    struct dj_attention_args args = {.slot_count = SLOTS};
    int wrong = 0;

    dj_frequencies_draw(D, 1, t);
    dj_result r = dj_context_create(NULL, &gpu);
    r = r ? r
          : dj_features_create(gpu, &(struct dj_features_params){.dim = D, .frequencies = t}, &map);
    r = r ? r
          : dj_attention_create(gpu, &(struct dj_attention_params){.heads = H, .dim = D}, &plan);
    r = r ? r : dj_tensor_create(gpu, DJ_FLOAT32, shape, NULL, &args.q);
    r = r ? r : dj_tensor_create(gpu, DJ_FLOAT32, shape, NULL, &args.k);
    r = r ? r : dj_tensor_create(gpu, DJ_FLOAT32, shape, NULL, &args.v);
    r = r ? r : dj_tensor_create(gpu, DJ_FLOAT32, shape, NULL, &args.o);
    r = r ? r : dj_attention_needs(plan, NULL, &needs);
    r = r ? r
          : dj_buffer_create(gpu, &(struct dj_buffer_params){.size = SLOTS * needs.slot_size},
                             &args.state);
    args.features = map;
    r = r ? r : serve(plan, &args, &wrong);
    if (r)
        printf("%s\n", dj_result_str(r));

    dj_buffer_destroy(&args.q.buffer);
    dj_buffer_destroy(&args.k.buffer);
    dj_buffer_destroy(&args.v.buffer);
    dj_buffer_destroy(&args.o.buffer);
    dj_buffer_destroy(&args.state);
    dj_attention_destroy(&plan);
    dj_features_destroy(&map);
    dj_context_destroy(&gpu);
    return r || wrong;
}
