/* SPDX-License-Identifier: MIT */
#include "tiled.h"

#include "kernels.h"
#include "size.h"

#include <assert.h>
#include <inttypes.h>

/* Scratch memory that is useful: enough for any GPU to be busy, little enough for caches. */
static const uint64_t USEFUL_SCRATCH = (uint64_t)64 << 20;

static uint64_t tile_count(uint64_t tokens)
{
    return dj_divide_up(tokens, DJ_TILE_TOKENS);
}

/* What dj_grid_fit's cost function knows. */
struct shape {
    const struct dj_call *call;
    bool apart;
};

/* Bytes of each region for boxes of this size. */
static void region_sizes(const struct shape *shape, const uint64_t size[3],
                         uint64_t sizes[DJ_TILED_REGIONS])
{
    const struct dj_attention *const plan = shape->call->plan;
    const uint64_t alignment = plan->context->info.offset_alignment;
    const uint64_t heads = size[0] * size[2], rows = heads * size[1];
    const uint64_t together = shape->apart ? rows : rows * plan->group;
    const uint64_t members = shape->apart ? plan->group : 1;
    const uint64_t feature_bytes = (uint64_t)plan->features * sizeof(float);
    const uint64_t record = DJ_RECORD_SIZE((uint64_t)plan->features, plan->value_dim);
    sizes[DJ_TILED_PROJECTED] = dj_projection_size(plan->projection, together);
    sizes[DJ_TILED_QUERIES] = members * dj_round_up(together * feature_bytes, alignment);
    sizes[DJ_TILED_KEYS] = dj_round_up(rows * feature_bytes, alignment);
    sizes[DJ_TILED_RECORDS] =
        dj_round_up(heads * tile_count(size[1]) * record * sizeof(float), alignment);
    sizes[DJ_TILED_CARRY] =
        dj_round_up(heads * dj_state_block_size(plan) + size[0] * 2 * sizeof(uint32_t), alignment);
    sizes[DJ_TILED_TABLE] = dj_round_up(dj_spans_table_size(size[0]), alignment);
}

/* Bytes of scratch for boxes of this size; UINT64_MAX if they are beyond a limit of the device. */
static uint64_t scratch_cost(const void *user, const uint64_t size[3])
{
    const struct shape *const shape = user;
    const struct dj_attention *const plan = shape->call->plan;
    const struct dj_device_info *const info = &plan->context->info;
    const uint64_t heads = size[0] * size[2];
    const uint64_t together = heads * size[1] * (shape->apart ? 1 : plan->group);
    if (heads * plan->group > info->max_workgroups[1] ||
        tile_count(size[1]) > info->max_workgroups[0] ||
        together > dj_projection_max_rows(plan->projection))
        return UINT64_MAX;
    uint64_t sizes[DJ_TILED_REGIONS];
    region_sizes(shape, size, sizes);
    return dj_regions_cost(info, sizes, DJ_TILED_REGIONS);
}

/* Tokens of the parts before the first snapshot. */
static uint64_t body_tokens(const struct dj_call *call, uint64_t tokens)
{
    const uint64_t rest = call->states - 1;
    return tokens > rest ? tokens - rest : 0;
}

/* Cuts one side; without tokens as if there were one token that touches no memory. */
static bool fit(const struct dj_call *call, const struct shape *shape,
                const struct dj_span_set *set, uint64_t tokens,
                const struct dj_tensor *const sides[], uint32_t count, const uint64_t most[3],
                uint64_t budget, struct dj_grid *grid)
{
    const uint64_t granule[3] = {1, DJ_TILE_TOKENS, 1};
    const uint32_t key_heads = call->plan->key_heads;
    struct dj_tensor views[4];
    const struct dj_tensor *list[4];
    for (uint32_t i = 0; i < count; i++) {
        struct dj_tensor side = *sides[i];
        if (tokens == 0)
            side.stride[0] = side.stride[1] = side.stride[2] = 0;
        const uint64_t group = side.shape[2] / key_heads;
        if (shape->apart && group > 1) { /* one member of every group */
            side.stride[2] *= group;
            side.shape[2] = key_heads;
        }
        views[i] = dj_call_boxed(set, &side, tokens > 0 ? tokens : 1, side.shape[2] / key_heads);
        list[i] = &views[i];
    }
    return dj_grid_fit(call->plan->context, list, count, granule, most, scratch_cost, shape, budget,
                       grid);
}

/* Both sides with the same boxes of sequences and heads. */
static bool fit_sides(const struct dj_call *call, const struct shape *shape, uint64_t most[3],
                      uint64_t budget, struct dj_layout *layout)
{
    const struct dj_attention *const plan = call->plan;
    const struct dj_attention_args *const args = call->args;
    const struct dj_tensor *const all[4] = {&args->k, &args->v, &args->q, &args->o};
    const uint64_t body = body_tokens(call, call->keys.longest);
    const uint64_t tokens = body > 0 || call->keys.longest == 0 ? body : 1;
    if (plan->causal)
        return fit(call, shape, &call->keys, tokens, all, 4, most, budget, &layout->grid);
    for (;;) {
        if (!fit(call, shape, &call->keys, tokens, all, 2, most, budget, &layout->grid))
            return false;
        most[0] = layout->grid.size[0];
        most[2] = layout->grid.size[2];
        if (!fit(call, shape, &call->queries, call->queries.longest, all + 2, 2, most, budget,
                 &layout->query_grid))
            return false;
        if (layout->query_grid.size[0] == most[0] && layout->query_grid.size[2] == most[2])
            return true;
        most[0] = layout->query_grid.size[0];
        most[2] = layout->query_grid.size[2];
    }
}

/* Boxes of tokens that the sequences of one box fill, at least one for a state to pass. */
static uint64_t token_boxes(const struct dj_call *call, const struct dj_grid *grid, uint64_t box)
{
    const uint64_t first = box * grid->size[0], left = grid->shape[0] - first;
    const uint64_t longest =
        dj_spans_longest(&call->keys, first, left < grid->size[0] ? left : grid->size[0]);
    const uint64_t tokens = body_tokens(call, longest);
    return tokens > 0 ? dj_divide_up(tokens, grid->size[1]) : 1;
}

static uint64_t query_boxes(const struct dj_call *call, const struct dj_grid *grid, uint64_t box)
{
    if (call->plan->causal)
        return 0;
    const uint64_t first = box * grid->size[0], left = grid->shape[0] - first;
    const uint64_t tokens =
        dj_spans_longest(&call->queries, first, left < grid->size[0] ? left : grid->size[0]);
    return dj_divide_up(tokens, grid->size[1]);
}

/* Parts of one box of sequences and one of heads. */
static uint64_t part_count(const struct dj_call *call, const struct dj_layout *layout, uint64_t box)
{
    return token_boxes(call, &layout->grid, box) + call->states - 1 +
           query_boxes(call, &layout->query_grid, box);
}

static void place_regions(const struct shape *shape, struct dj_layout *layout)
{
    uint64_t size[3], sizes[DJ_TILED_REGIONS];
    for (int i = 0; i < 3; i++)
        size[i] = layout->grid.size[i];
    if (!shape->call->plan->causal && layout->query_grid.size[1] > size[1])
        size[1] = layout->query_grid.size[1];
    region_sizes(shape, size, sizes);
    dj_regions_place(sizes, DJ_TILED_REGIONS, layout);
}

dj_result dj_tiled_layout(const struct dj_call *call, uint64_t budget, struct dj_layout *layout)
{
    const struct dj_log *log = &call->plan->context->log;
    const struct dj_attention_args *const args = call->args;
    *layout = (struct dj_layout){.slot_bound = !dj_call_pool_fits(call)};
    layout->apart =
        call->plan->group > 1 && (!dj_call_binds(call, &args->q) || !dj_call_binds(call, &args->o));
    uint64_t most[3] = {layout->slot_bound ? 1 : UINT64_MAX, UINT64_MAX, UINT64_MAX};
    dj_result result = dj_call_most_sequences(call, &call->keys, &args->k, &args->v, &most[0]);
    if (result == DJ_SUCCESS)
        result = dj_call_most_sequences(call, &call->queries, &args->q, &args->o, &most[0]);
    if (result != DJ_SUCCESS)
        return result;

    const struct shape shape = {.call = call, .apart = layout->apart};
    /* the smallest box there can be: a tile, or all tokens where they are fewer */
    const uint64_t keys = body_tokens(call, call->keys.longest);
    const uint64_t queries = call->plan->causal ? 0 : call->queries.longest;
    const uint64_t longest = keys > queries ? keys : queries;
    const uint64_t shortest = longest < DJ_TILE_TOKENS ? longest : DJ_TILE_TOKENS;
    const uint64_t one[3] = {1, shortest > 0 ? shortest : 1, 1};
    const uint64_t least = scratch_cost(&shape, one);
    if (budget == 0)
        budget = least > USEFUL_SCRATCH ? least : USEFUL_SCRATCH;
    if (least == UINT64_MAX)
        return dj_call_fail_limit(call);
    if (budget < least)
        return dj_fail(log, DJ_ERROR_SCRATCH,
                       "attention: one tile needs %" PRIu64 " bytes of scratch, %" PRIu64
                       " are given",
                       least, budget);
    if (!fit_sides(call, &shape, most, budget, layout))
        return dj_call_fail_limit(call);
    place_regions(&shape, layout);
    layout->parts = dj_layout_parts(call, layout, part_count);
    return DJ_SUCCESS;
}

/* A part of the keys' side: a box of tokens, or one of the further snapshots. */
static void cut_keys(const struct dj_call *call, const struct dj_layout *layout, uint64_t box,
                     uint64_t head, uint64_t step, struct dj_tiled_part *part)
{
    const uint64_t boxes = token_boxes(call, &layout->grid, box);
    part->first = step == 0;
    part->last = step == boxes + call->states - 2;
    part->publishes = step >= boxes - 1;
    if (step >= boxes) {
        part->box = dj_grid_box(&layout->grid, box, 0, head);
        part->box.count[1] = 1;
        part->tokens = call->keys.longest > 0 ? 1 : 0;
        part->snapshot = (uint32_t)(step - boxes + 1);
        return;
    }
    part->box = dj_grid_box(&layout->grid, box, step, head);
    part->tokens = body_tokens(call, call->keys.longest) > 0 ? part->box.count[1] : 0;
}

struct dj_tiled_part dj_tiled_cut(const struct dj_call *call, struct dj_layout *layout,
                                  uint64_t index)
{
    assert(index < layout->parts);
    const uint64_t box = dj_layout_find(call, layout, part_count, &index);
    const uint64_t count = part_count(call, layout, box);
    const uint64_t head = index / count, step = index % count;
    const uint64_t keys = token_boxes(call, &layout->grid, box) + call->states - 1;
    struct dj_tiled_part part = {.fresh = index == 0};
    if (step < keys) {
        cut_keys(call, layout, box, head, step, &part);
    } else {
        part.queries = true;
        part.box = dj_grid_box(&layout->query_grid, box, step - keys, head);
        part.tokens = part.box.count[1];
    }
    return part;
}
