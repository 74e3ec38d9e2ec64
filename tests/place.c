/* SPDX-License-Identifier: MIT */
/* Problems on a device: layouts, guard bands, poison. */
#include "problem.h"

#include "half.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    GUARD = 64, /* elements before and after a tensor */
    BUFFER_O = 3,
    BUFFER_SPANS = 4,
    BUFFER_SCALES = 6,
};

static void *allocate(size_t size)
{
    void *memory = calloc(1, size + 1);
    assert_non_null(memory);
    return memory;
}

/* The view of a [B,T,H,d] tensor in a layout, in elements. count: of the buffer. */
struct placement {
    uint64_t offset, stride[3], count;
};

static struct placement place(enum layout layout, const uint64_t shape[4], bool even)
{
    const uint64_t B = shape[0], T = shape[1], H = shape[2], d = shape[3];
    struct placement p = {.offset = GUARD, .stride = {T * H * d, H * d, d}};
    if (layout == LAYOUT_HEADS_FIRST) {
        p.stride[1] = d;
        p.stride[2] = T * d;
    } else if (layout == LAYOUT_TOKENS_FIRST) {
        p.stride[0] = H * d;
        p.stride[1] = B * H * d;
    } else if (layout == LAYOUT_SLICED) {
        const uint64_t odd = even ? 0 : 1;
        p.offset += 6 - odd;
        p.stride[2] = d + 4 - odd;
        p.stride[1] = (H + 2) * p.stride[2] + 2 - odd;
        p.stride[1] += even ? p.stride[1] & 1 : 0;
        p.stride[0] = (T + 3) * p.stride[1] + 8 - odd;
        p.stride[0] += even ? p.stride[0] & 1 : 0;
    }
    p.count = p.offset + B * p.stride[0] + H * p.stride[2] + T * p.stride[1] + d + GUARD;
    return p;
}

/* Whether 2-byte elements must lie at even places. */
static bool needs_even(dj_context *context, uint32_t type)
{
    return type != DJ_FLOAT32 && !harness_16bit_storage(context);
}

static void set_tensor(struct dj_tensor *tensor, const struct placement *p, const uint64_t shape[4],
                       uint32_t type)
{
    tensor->offset = dj_type_size(type) * p->offset;
    memcpy(tensor->shape, shape, sizeof(tensor->shape));
    memcpy(tensor->stride, p->stride, sizeof(p->stride));
    tensor->stride[3] = 1;
    tensor->type = type;
}

/* Where a tensor's row lies in its buffer, in bytes. */
static uint64_t row_at(const struct dj_tensor *tensor, uint64_t b, uint64_t i, uint64_t h)
{
    const uint64_t *s = tensor->stride;
    return tensor->offset + dj_type_size(tensor->type) * (b * s[0] + i * s[1] + h * s[2]);
}

/* For each of a tensor's tokens [B][T], whether it belongs to a sequence. */
static bool *covered(const struct problem *problem, bool queries)
{
    const struct twin_attention *t = &problem->twin;
    const size_t tokens = queries ? twin_query_tokens(t) : t->tokens;
    bool *result = allocate(t->batch * tokens);
    for (size_t n = 0; n < twin_sequences(t); n++) {
        const struct twin_span span = queries ? twin_query_span(t, n) : twin_key_span(t, n);
        for (size_t i = 0; i < span.count; i++)
            result[span.row * tokens + span.first + i] = true;
    }
    return result;
}

/* Copies contiguous rows to where a tensor's elements lie in image, tokens outside as NaN. */
static void scatter(const struct dj_tensor *tensor, const float *x, const bool *inside,
                    uint8_t *image)
{
    const uint64_t *n = tensor->shape;
    float *nothing = allocate(n[3] * sizeof(*nothing));
    for (uint64_t c = 0; c < n[3]; c++)
        nothing[c] = NAN;
    for (uint64_t b = 0; b < n[0]; b++)
        for (uint64_t i = 0; i < n[1]; i++)
            for (uint64_t h = 0; h < n[2]; h++, x += n[3])
                half_store(tensor->type, image + row_at(tensor, b, i, h),
                           inside[b * n[1] + i] ? x : nothing, n[3]);
    free(nothing);
}

/* Memory of that many elements, all NaN: what a kernel must not read. */
static uint8_t *nan_image(uint32_t type, uint64_t count)
{
    const float nan = NAN;
    const uint64_t size = dj_type_size(type);
    uint8_t *image = allocate(count * size);
    for (uint64_t i = 0; i < count; i++)
        half_store(type, image + i * size, &nan, 1);
    return image;
}

static dj_buffer *upload(dj_context *context, enum layout layout, const float *x,
                         const bool *inside, const uint64_t shape[4], uint32_t type,
                         struct dj_tensor *tensor)
{
    const struct placement p = place(layout, shape, needs_even(context, type));
    set_tensor(tensor, &p, shape, type);
    uint8_t *image = nan_image(type, p.count);
    scatter(tensor, x, inside, image);
    tensor->buffer = harness_buffer(context, image, dj_type_size(type) * p.count);
    free(image);
    return tensor->buffer;
}

/* One input: its place in the args, values, heads and width. */
struct input {
    struct dj_tensor *tensor;
    const float *values;
    uint64_t heads, width;
    uint32_t type;
};

/* Inputs of the same tokens side by side: by head where all have as many, else one after another.
 * Widths are multiples of 4 elements, so every element lies at a multiple of its size. */
static dj_buffer *upload_packed(dj_context *context, const struct input *inputs, size_t count,
                                uint64_t batch, uint64_t tokens, const bool *inside)
{
    uint64_t token = 0, head = 0, at = 4 * GUARD;
    bool by_head = true;
    for (size_t i = 0; i < count; i++) {
        const uint64_t bytes = inputs[i].width * dj_type_size(inputs[i].type);
        token += inputs[i].heads * bytes;
        head += bytes;
        by_head = by_head && inputs[i].heads == inputs[0].heads;
    }
    const uint64_t size = batch * tokens * token + 8 * GUARD;
    uint8_t *image = nan_image(DJ_FLOAT32, size / 4);
    for (size_t i = 0; i < count; i++) {
        const struct input *in = &inputs[i];
        const uint64_t element = dj_type_size(in->type), bytes = in->width * element;
        const struct placement p = {.offset = at / element,
                                    .stride = {tokens * token / element, token / element,
                                               (by_head ? head : bytes) / element}};
        set_tensor(in->tensor, &p, (uint64_t[4]){batch, tokens, in->heads, in->width}, in->type);
        scatter(in->tensor, in->values, inside, image);
        at += by_head ? bytes : in->heads * bytes;
    }
    dj_buffer *buffer = harness_buffer(context, image, size);
    for (size_t i = 0; i < count; i++)
        inputs[i].tensor->buffer = buffer;
    free(image);
    return buffer;
}

static void place_inputs(const struct problem *problem, dj_context *context, enum layout layout,
                         struct placed *placed)
{
    const struct twin_attention *t = &problem->twin;
    const struct problem_params *params = &problem->params;
    struct dj_attention_args *args = &placed->args;
    const uint64_t B = t->batch, Tq = twin_query_tokens(t), Hk = twin_key_heads(t);
    const struct input inputs[3] = {
        {&args->q, problem->q, t->heads, t->dim, params->q_type},
        {&args->k, problem->k, Hk, t->dim, params->k_type},
        {&args->v, problem->v, Hk, t->value_dim, params->v_type},
    };
    bool *query_inside = covered(problem, true), *inside = covered(problem, false);
    /* tokens of q and k that are not the same cannot lie side by side */
    const bool same = t->causal || (t->query_tokens == t->tokens && !t->spans && !t->query_spans);
    const size_t alone = layout != LAYOUT_PACKED ? 3 : same ? 0 : 1;
    for (size_t i = 0; i < alone; i++) {
        const uint64_t shape[4] = {B, i ? t->tokens : Tq, inputs[i].heads, inputs[i].width};
        placed->buffers[i] =
            upload(context, layout == LAYOUT_PACKED ? LAYOUT_PLAIN : layout, inputs[i].values,
                   i ? inside : query_inside, shape, inputs[i].type, inputs[i].tensor);
    }
    if (alone < 3)
        placed->buffers[alone] =
            upload_packed(context, inputs + alone, 3 - alone, B, t->tokens, inside);
    free(inside);
    free(query_inside);
}

static void place_output(const struct problem *problem, dj_context *context, enum layout layout,
                         struct placed *placed)
{
    const struct twin_attention *t = &problem->twin;
    const uint32_t type = problem->params.o_type;
    const uint64_t shape[4] = {t->batch, twin_query_tokens(t), t->heads, t->value_dim};
    const struct placement p =
        place(layout == LAYOUT_PACKED ? LAYOUT_PLAIN : layout, shape, needs_even(context, type));
    set_tensor(&placed->args.o, &p, shape, type);
    placed->buffers[BUFFER_O] = placed->args.o.buffer =
        harness_poisoned(context, dj_type_size(type) * p.count);
}

/* The spans of k and v (side 0) or q and o (side 1), after one word of rubbish in a buffer. */
static void place_spans(const struct problem *problem, dj_context *context, size_t side,
                        struct placed *placed)
{
    const struct twin_attention *t = &problem->twin;
    const struct twin_span *spans = side ? problem->query_spans : problem->spans;
    const uint32_t kind = side ? problem->params.query_spans : problem->params.spans;
    struct dj_spans *out = side ? &placed->args.query_spans : &placed->args.spans;
    const size_t N = twin_sequences(t);
    if (!spans)
        return;
    int32_t *indices = allocate((2 * N + 2) * sizeof(*indices));
    size_t count = 0, longest = 0;
    indices[count++] = 0x7fffffff;
    for (size_t n = 0; n < N; n++) {
        indices[count++] = (int32_t)spans[n].first;
        if (kind == DJ_SPANS_PADDED)
            indices[count++] = (int32_t)spans[n].count;
        longest = spans[n].count > longest ? spans[n].count : longest;
    }
    if (kind == DJ_SPANS_PACKED)
        indices[count++] = N ? (int32_t)(spans[N - 1].first + spans[N - 1].count) : 0;
    placed->indices[side] = indices;
    out->kind = kind;
    out->count = kind == DJ_SPANS_PACKED ? (uint32_t)N : 0;
    if (!problem->params.device_spans) {
        out->indices.host = indices + 1;
        return;
    }
    out->indices.buffer = placed->buffers[BUFFER_SPANS + side] =
        harness_buffer(context, indices, count * sizeof(*indices));
    out->indices.offset = sizeof(*indices);
    out->longest = (uint32_t)longest;
}

/* Position scales, [1,1,heads,places], heads not quite side by side. */
static dj_buffer *place_scales(dj_context *context, const float *scales, size_t heads,
                               size_t places, struct dj_tensor *tensor)
{
    if (!scales)
        return NULL;
    const uint64_t stride = places + 3, count = heads * stride + 2 * GUARD;
    const struct placement p = {.offset = GUARD + 1, .stride = {0, 0, stride}};
    uint8_t *image = nan_image(DJ_FLOAT32, count);
    set_tensor(tensor, &p, (uint64_t[4]){1, 1, heads, places}, DJ_FLOAT32);
    scatter(tensor, scales, &(bool){true}, image);
    tensor->buffer = harness_buffer(context, image, count * sizeof(float));
    free(image);
    return tensor->buffer;
}

dj_features *problem_features(const struct problem *problem, dj_context *context)
{
    const struct twin_attention *t = &problem->twin;
    dj_features *features = NULL;
    const struct dj_features_params numbers = {
        .map = (uint32_t)t->map,
        .dim = (uint32_t)t->dim,
        .features = (uint32_t)t->features,
        .heads = (uint32_t)t->feature_heads,
        .kernel = (uint32_t)t->kernel,
        .tokens = t->map == DJ_MAP_LINFORMER ? (uint32_t)t->max_tokens : 0,
        .frequencies = t->frequencies,
        .weights = t->weights,
        .directions = t->directions,
        .key_projection = t->key_projection,
        .value_projection = t->value_projection,
    };
    if (t->frequencies || t->directions || t->key_projection)
        HARNESS_OK(dj_features_create(context, &numbers, &features));
    return features;
}

void problem_place_on(const struct problem *problem, dj_context *context, enum layout layout,
                      dj_attention *plan, dj_features *features, struct placed *placed)
{
    const struct twin_attention *t = &problem->twin;
    *placed =
        (struct placed){.problem = problem, .plan = plan, .features = features, .borrowed = true};
    placed->args.features = features;
    place_inputs(problem, context, layout, placed);
    place_output(problem, context, layout, placed);
    place_spans(problem, context, 0, placed);
    place_spans(problem, context, 1, placed);
    placed->buffers[BUFFER_SCALES] = place_scales(context, t->query_scales, t->heads,
                                                  t->query_places, &placed->args.query_scales);
    placed->buffers[BUFFER_SCALES + 1] = place_scales(context, t->key_scales, twin_key_heads(t),
                                                      t->key_places, &placed->args.key_scales);
}

void problem_place(const struct problem *problem, dj_context *context, enum layout layout,
                   struct placed *placed)
{
    dj_attention *plan = NULL;
    HARNESS_OK(dj_attention_create(context, &problem->plan_params, &plan));
    problem_place_on(problem, context, layout, plan, problem_features(problem, context), placed);
    placed->borrowed = false;
}

void placed_finish(struct placed *placed)
{
    for (size_t i = 0; i < sizeof(placed->buffers) / sizeof(*placed->buffers); i++)
        dj_buffer_destroy(&placed->buffers[i]);
    free(placed->indices[0]);
    free(placed->indices[1]);
    if (!placed->borrowed) {
        dj_features_destroy(&placed->features);
        dj_attention_destroy(&placed->plan);
    }
    *placed = (struct placed){0};
}

/* What poison has at byte i of a buffer. */
static uint8_t poison_byte(uint64_t i)
{
    const uint32_t poison = HARNESS_POISON;
    uint8_t bytes[4];
    memcpy(bytes, &poison, 4);
    return bytes[i % 4];
}

void placed_poison(struct placed *placed)
{
    const uint64_t size = dj_buffer_size(placed->buffers[BUFFER_O]);
    uint8_t *image = allocate(size);
    for (uint64_t i = 0; i < size; i++)
        image[i] = poison_byte(i);
    HARNESS_OK(dj_buffer_write(placed->buffers[BUFFER_O], 0, image, size));
    free(image);
}

float *placed_output(const struct placed *placed)
{
    const struct dj_tensor *o = &placed->args.o;
    const uint64_t *n = o->shape, size = dj_buffer_size(placed->buffers[BUFFER_O]);
    const uint64_t row = n[3] * dj_type_size(o->type);
    uint8_t *image = allocate(size);
    float *result = allocate(n[0] * n[1] * n[2] * n[3] * sizeof(*result)), *next = result;
    bool *inside = covered(placed->problem, true);
    const size_t tokens = twin_query_tokens(&placed->problem->twin);
    harness_read(placed->buffers[BUFFER_O], 0, image, size);
    for (uint64_t b = 0; b < n[0]; b++) {
        for (uint64_t i = 0; i < n[1]; i++) {
            for (uint64_t h = 0; h < n[2]; h++, next += n[3]) {
                const uint64_t at = row_at(o, b, i, h);
                if (!inside[b * tokens + i])
                    continue;
                half_load(o->type, next, image + at, n[3]);
                for (uint64_t c = at; c < at + row; c++)
                    image[c] = poison_byte(c);
            }
        }
    }
    for (uint64_t i = 0; i < size; i++)
        if (image[i] != poison_byte(i))
            fail_msg("byte %llu of o's buffer (o from byte %llu on) was written outside o's "
                     "sequences\n    %s",
                     (unsigned long long)i, (unsigned long long)o->offset,
                     problem_text(placed->problem));
    free(inside);
    free(image);
    return result;
}

struct made problem_make(const struct problem *problem, uint32_t device)
{
    struct made made = {.context = harness_context(device)};
    HARNESS_OK(dj_attention_create(made.context, &problem->plan_params, &made.plan));
    made.features = problem_features(problem, made.context);
    return made;
}

void made_finish(struct made *made)
{
    dj_features_destroy(&made->features);
    dj_attention_destroy(&made->plan);
}

float *made_run(const struct made *made, const struct problem *problem, enum layout layout)
{
    struct placed placed;
    problem_place_on(problem, made->context, layout, made->plan, made->features, &placed);
    HARNESS_OK(dj_attention_run(made->plan, &placed.args));
    float *got = placed_output(&placed);
    placed_finish(&placed);
    return got;
}

float *problem_run(const struct problem *problem, uint32_t device, enum layout layout)
{
    struct made made = problem_make(problem, device);
    float *got = made_run(&made, problem, layout);
    made_finish(&made);
    return got;
}

struct dj_attention_args placed_sequence(const struct placed *placed, uint64_t b)
{
    struct dj_attention_args args = placed->args;
    struct dj_tensor *tensors[4] = {&args.q, &args.k, &args.v, &args.o};
    for (size_t i = 0; i < 4; i++) {
        tensors[i]->offset += dj_type_size(tensors[i]->type) * b * tensors[i]->stride[0];
        tensors[i]->shape[0] = 1;
    }
    return args;
}

struct dj_attention_args placed_range(const struct placed *placed, uint64_t first, uint64_t count)
{
    struct dj_attention_args args = placed->args;
    struct dj_tensor *tensors[4] = {&args.k, &args.v, &args.q, &args.o};
    const size_t moved = args.q.shape[1] == args.k.shape[1] ? 4 : 2;
    for (size_t i = 0; i < moved; i++) {
        tensors[i]->offset += dj_type_size(tensors[i]->type) * first * tensors[i]->stride[1];
        tensors[i]->shape[1] = count;
    }
    return args;
}
