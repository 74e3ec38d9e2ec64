/* SPDX-License-Identifier: MIT */
#include "attend.h"
#include "element.h"
#include "program.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    Q,
    K,
    V,
    O,
    TENSORS
};

/* How q, k, v and o lie on the device: views [B,T,H,..] as the library wants them, of one buffer
 * each, or of q's where q, k and v are packed. */
struct placement {
    struct dj_tensor views[TENSORS];
    int buffers[TENSORS];  /* which one holds each */
    double sizes[TENSORS]; /* bytes of the buffers; a double holds what 64 bits may not */
};

static void place_packed(const struct problem *p, uint32_t type, struct placement *place)
{
    const uint64_t starts[] = {0, p->heads * p->dim, (p->heads + p->key_heads) * p->dim};
    const uint64_t width = starts[V] + p->key_heads * p->value_dim;
    for (int i = Q; i <= V; i++) {
        struct dj_tensor *view = &place->views[i];
        view->offset = starts[i] * dj_type_size(type);
        view->stride[0] = p->tokens * width;
        view->stride[1] = width;
        view->stride[2] = view->shape[3];
        place->buffers[i] = Q;
    }
    place->sizes[Q] += place->sizes[K] + place->sizes[V];
    place->sizes[K] = place->sizes[V] = 0;
}

static void place_all(const struct settings *settings, const struct problem *p,
                      struct placement *place)
{
    const uint64_t heads[] = {p->heads, p->key_heads, p->key_heads, p->heads};
    const uint64_t tokens[] = {p->query_tokens, p->tokens, p->tokens, p->query_tokens};
    const uint64_t dims[] = {p->dim, p->dim, p->value_dim, p->value_dim};
    const bool as_file = strcmp(settings->layout, "bhtd") == 0;
    for (int i = 0; i < TENSORS; i++) {
        const uint64_t by_head[4] = {p->batch, heads[i], tokens[i], dims[i]};
        const uint64_t by_token[4] = {p->batch, tokens[i], heads[i], dims[i]};
        dj_tensor_init(&place->views[i], NULL, 0, settings->type, as_file ? by_head : by_token);
        if (as_file)
            dj_tensor_swap(&place->views[i], 1, 2);
        place->buffers[i] = i;
        place->sizes[i] = (double)p->batch * (double)heads[i] * (double)tokens[i] *
                          (double)dims[i] * (double)dj_type_size(settings->type);
    }
    if (strcmp(settings->layout, "packed") == 0)
        place_packed(p, settings->type, place);
}

int device_check_size(const struct settings *settings, const struct problem *p,
                      const struct dj_device_info *info)
{
    static const char *const names[] = {"q", "k", "v", "o"};
    struct placement place;
    place_all(settings, p, &place);
    for (int i = 0; i < TENSORS; i++)
        if (place.sizes[i] > (double)info->max_allocation)
            return program_fail("%s: %s takes %.0f bytes in %s, more than the %" PRIu64
                                " that %s can hold in one buffer",
                                settings->input, place.buffers[K] == Q ? "packed qkv" : names[i],
                                place.sizes[i], settings->dtype, info->max_allocation, info->name);
    return PROGRAM_SUCCESS;
}

/* What lives on the device for one run. */
struct device_work {
    dj_features *features;
    dj_attention *plan;
    dj_buffer *buffers[TENSORS];
    unsigned char *bytes[TENSORS]; /* on the host: what the buffers hold */
};

static dj_result create_plan(dj_context *context, const struct settings *settings,
                             const struct problem *p, struct device_work *work)
{
    const struct system *system = settings->system;
    const dj_result result = numbers_create(context, &p->numbers, &work->features);
    if (result != DJ_SUCCESS)
        return result;
    return dj_attention_create(
        context,
        &(struct dj_attention_params){
            .map = system->map,
            .heads = (uint32_t)p->heads,
            .key_heads = (uint32_t)p->key_heads,
            .dim = (uint32_t)p->dim,
            .value_dim = (uint32_t)p->value_dim,
            .features = system_has_features(system) ? p->numbers.features : 0,
            .max_tokens = p->max_tokens,
            .causal = p->causal ? DJ_ON : DJ_OFF,
            .normalise = settings->no_normalise ? DJ_OFF : DJ_DEFAULT,
            .key_normalise = p->keys_normalised ? DJ_ON : DJ_DEFAULT,
            .q_type = settings->type,
            .k_type = settings->type,
            .v_type = settings->type,
            .o_type = settings->type,
            .scale = p->scale,
            .decay = p->decay,
        },
        &work->plan);
}

/* Copies a tensor from the file's order to the place of its view among bytes, or back. */
static void copy_rows(const struct dj_tensor *view, unsigned char *bytes, float *data, bool back)
{
    const uint64_t size = dj_type_size(view->type), dim = view->shape[3];
    if (view->shape[1] == 0) /* and any number of rows */
        return;
    for (uint64_t b = 0; b < view->shape[0]; b++)
        for (uint64_t h = 0; h < view->shape[2]; h++)
            for (uint64_t t = 0; t < view->shape[1]; t++, data += dim) {
                unsigned char *row =
                    bytes + view->offset +
                    size * (b * view->stride[0] + t * view->stride[1] + h * view->stride[2]);
                if (back)
                    element_read(view->type, row, data, dim);
                else
                    element_write(view->type, data, row, dim);
            }
}

/* Makes the buffers, with q, k and v in them. */
static dj_result create_buffers(dj_context *context, const struct problem *p,
                                struct placement *place, struct device_work *work)
{
    float *const data[] = {p->q, p->k, p->v};
    dj_result result = DJ_SUCCESS;
    for (int i = 0; i < TENSORS && result == DJ_SUCCESS; i++) {
        const uint64_t size = (uint64_t)place->sizes[i];
        work->bytes[i] = malloc(size ? size : 1);
        result = work->bytes[i]
                     ? dj_buffer_create(context, &(struct dj_buffer_params){.size = size},
                                        &work->buffers[i])
                     : DJ_ERROR_OUT_OF_HOST_MEMORY;
    }
    for (int i = 0; i < TENSORS && result == DJ_SUCCESS; i++) {
        place->views[i].buffer = work->buffers[place->buffers[i]];
        if (i != O)
            copy_rows(&place->views[i], work->bytes[place->buffers[i]], data[i], false);
    }
    for (int i = 0; i < O && result == DJ_SUCCESS; i++)
        if (place->sizes[i] > 0)
            result =
                dj_buffer_write(work->buffers[i], 0, work->bytes[i], (uint64_t)place->sizes[i]);
    return result;
}

static dj_result compute(dj_context *context, const struct settings *settings,
                         const struct problem *p, struct device_work *work,
                         struct device_times *times)
{
    struct placement place;
    place_all(settings, p, &place);
    double start = program_seconds();
    dj_result result = create_plan(context, settings, p, work);
    times->plan = program_seconds() - start;
    if (result == DJ_SUCCESS)
        result = create_buffers(context, p, &place, work);
    const struct dj_attention_args args = {
        .q = place.views[Q],
        .k = place.views[K],
        .v = place.views[V],
        .o = place.views[O],
        .features = work->features,
    };
    for (int i = 0; i < 2 && result == DJ_SUCCESS; i++) {
        start = program_seconds();
        result = dj_attention_run(work->plan, &args);
        times->runs[i] = program_seconds() - start;
    }
    if (result == DJ_SUCCESS && place.sizes[O] > 0)
        result = dj_buffer_read(work->buffers[O], 0, work->bytes[O], (uint64_t)place.sizes[O]);
    if (result == DJ_SUCCESS)
        copy_rows(&place.views[O], work->bytes[O], p->result, true);
    return result;
}

int device_run(dj_context *context, const struct settings *settings, const struct problem *p,
               struct device_times *times)
{
    struct device_work work = {0};
    program_progress("computing %" PRIu64 " tokens", p->batch * p->query_tokens);
    const dj_result result = compute(context, settings, p, &work, times);
    program_progress(NULL);
    const int code = result == DJ_SUCCESS ? PROGRAM_SUCCESS : program_fail_dj("attention", result);
    for (int i = TENSORS - 1; i >= 0; i--) {
        dj_buffer_destroy(&work.buffers[i]);
        free(work.bytes[i]);
    }
    dj_attention_destroy(&work.plan);
    dj_features_destroy(&work.features);
    return code;
}
