/* SPDX-License-Identifier: MIT */
#include "tiled.h"

#include "kernels.h"
#include "size.h"

#include <assert.h>
#include <inttypes.h>

/* Scratch memory that is useful: enough for any GPU to be busy, little enough for caches; of small
 * calls, which would gain from more, no more than half of what they read. */
static const uint64_t MOST_SCRATCH = (uint64_t)64 << 20, LITTLE_SCRATCH = (uint64_t)8 << 20;

static uint64_t useful_scratch(const struct dj_attention_args *args)
{
    const struct dj_tensor *const inputs[] = {&args->q, &args->k, &args->v};
    uint64_t half = 0;
    for (int i = 0; i < 3; i++) {
        uint64_t bytes = dj_type_size(inputs[i]->type);
        for (int axis = 0; axis < 4; axis++)
            bytes = dj_times(bytes, inputs[i]->shape[axis]);
        half = dj_plus(half, bytes / 2);
    }
    return half < LITTLE_SCRATCH ? LITTLE_SCRATCH : half < MOST_SCRATCH ? half : MOST_SCRATCH;
}

uint64_t dj_tiled_tokens(const struct dj_call *call)
{
    return call->family == &dj_family_chunked ? DJ_SEGMENT_TOKENS(call->keys.longest)
                                              : DJ_TILE_TOKENS;
}

uint64_t dj_tiled_count(const struct dj_call *call, uint64_t tokens)
{
    const uint64_t count = dj_divide_up(tokens, dj_tiled_tokens(call));
    if (call->family != &dj_family_chunked || !dj_call_has_table(call, &call->keys))
        return count;
    /* sequences of any length: no long one has more than the longest that has short segments */
    const uint64_t few = tokens < DJ_LONG_TOKENS ? tokens : DJ_LONG_TOKENS;
    const uint64_t of_short = dj_divide_up(few, DJ_SEGMENT_TOKENS(0));
    return count > of_short ? count : of_short;
}

/* What dj_grid_fit's cost function knows. */
struct shape {
    const struct dj_call *call;
    bool apart;
};

/* Bytes of a carry for boxes of so many sequences and key heads. */
static uint64_t carry_size(const struct dj_call *call, uint64_t sequences, uint64_t key_heads)
{
    const struct dj_attention *const plan = call->plan;
    const uint64_t heads = sequences * key_heads;
    uint64_t size = heads * dj_state_block_size(plan) + sequences * 2 * sizeof(uint32_t);
    if (call->family == &dj_family_resident)
        size += dj_resident_memory(plan, heads);
    return dj_round_up(size, plan->context->info.offset_alignment);
}

/* Bytes of each region for boxes of this size. */
static void region_sizes(const struct shape *shape, const uint64_t size[3],
                         uint64_t sizes[DJ_TILED_REGIONS])
{
    const struct dj_attention *const plan = shape->call->plan;
    const uint64_t alignment = plan->context->info.offset_alignment;
    const uint64_t heads = size[0] * size[2], rows = heads * size[1];
    const uint64_t together = shape->apart ? rows : rows * plan->group;
    const uint64_t feature_bytes = (uint64_t)plan->features * sizeof(float);
    const uint64_t record = DJ_RECORD_SIZE((uint64_t)plan->features, plan->value_dim);
    sizes[DJ_TILED_CARRY] = carry_size(shape->call, size[0], size[2]);
    sizes[DJ_TILED_TABLE] = dj_round_up(dj_spans_table_size(size[0]), alignment);
    sizes[DJ_TILED_PROJECTED] = sizes[DJ_TILED_QUERIES] = 0;
    sizes[DJ_TILED_KEYS] = sizes[DJ_TILED_RECORDS] = 0;
    if (shape->call->family == &dj_family_resident)
        return;
    const uint64_t notes = shape->call->family == &dj_family_chunked ? dj_chunked_notes(plan) : 0;
    sizes[DJ_TILED_RECORDS] = dj_round_up(
        heads * dj_tiled_count(shape->call, size[1]) * (record + notes) * sizeof(float), alignment);
    if (shape->call->family == &dj_family_chunked)
        return;
    sizes[DJ_TILED_PROJECTED] = dj_projection_size(plan->projection, together);
    sizes[DJ_TILED_QUERIES] = dj_round_up(together * feature_bytes, alignment);
    sizes[DJ_TILED_KEYS] = dj_round_up(rows * feature_bytes, alignment);
}

/* The tokens that a box may be cut behind. */
static uint64_t granule(const struct dj_call *call)
{
    return call->family == &dj_family_resident ? dj_resident_span(call->plan)
                                               : dj_tiled_tokens(call);
}

/* Whether no smaller box can be made. */
static bool is_smallest(const struct dj_call *call, const uint64_t size[3])
{
    return size[0] == 1 && size[1] <= granule(call) && size[2] == 1;
}

/* Rows of queries and keys of a box; without a causal mask of queries, which are as many or more.
 */
static uint64_t work_rows(const struct dj_call *call, const uint64_t size[3])
{
    const uint64_t group = call->plan->group;
    return size[0] * size[1] * size[2] * (call->plan->causal ? group + 1 : group);
}

/* Carries that are there at once: one, or where states are kept all of them. */
static uint64_t carry_count(const struct dj_call *call, const uint64_t size[3])
{
    if (!call->atomic)
        return 1;
    return dj_divide_up(call->keys.sequences, size[0]) *
           dj_divide_up(call->plan->key_heads, size[2]) * call->states;
}

/* Bytes of scratch for boxes of this size; UINT64_MAX if they are beyond a limit of the device or
 * of a piece's work. */
static uint64_t scratch_cost(const void *user, const uint64_t size[3])
{
    const struct shape *const shape = user;
    const struct dj_call *const call = shape->call;
    const struct dj_attention *const plan = call->plan;
    const struct dj_device_info *const info = &plan->context->info;
    const uint64_t heads = size[0] * size[2];
    const uint64_t query_heads = heads * (shape->apart ? 1 : plan->group);
    const uint64_t together = query_heads * size[1];
    const bool tiles = shape->call->family != &dj_family_resident;
    if (query_heads > info->max_workgroups[1] ||
        (tiles && (dj_tiled_count(call, size[1]) > info->max_workgroups[0] ||
                   (call->family == &dj_family_tiled &&
                    together > dj_projection_max_rows(plan->projection)))))
        return UINT64_MAX;
    if (call->max_work > 0 && !is_smallest(call, size) &&
        work_rows(call, size) > call->max_work / dj_call_row_work(plan))
        return UINT64_MAX;
    uint64_t sizes[DJ_TILED_REGIONS];
    region_sizes(shape, size, sizes);
    const uint64_t cost = dj_regions_cost(info, sizes, DJ_TILED_REGIONS);
    /* a snapshot's carry and the next are bound together */
    const bool forks = call->atomic && call->states > 1;
    if (cost == UINT64_MAX || (forks && 2 * sizes[DJ_TILED_CARRY] > info->max_storage_range))
        return UINT64_MAX;
    return cost + (carry_count(call, size) - 1) * sizes[DJ_TILED_CARRY];
}

/* Where states are kept until the end, they must fit into an allocation. */
static dj_result check_kept(const struct dj_call *call)
{
    const struct dj_device_info *const info = &call->plan->context->info;
    const uint64_t one = carry_size(call, 1, 1);
    uint64_t states, bytes;
    if (!call->atomic)
        return DJ_SUCCESS;
    if (__builtin_mul_overflow(call->keys.sequences, (uint64_t)call->states, &states) ||
        __builtin_mul_overflow(states, one * call->plan->key_heads, &bytes) ||
        bytes > info->max_allocation)
        return dj_fail(&call->plan->context->log, DJ_ERROR_LIMIT,
                       "attention: %" PRIu64 " sequences' states, kept in scratch memory until the "
                       "last part, exceed the device's largest allocation of %" PRIu64 " bytes",
                       call->keys.sequences, info->max_allocation);
    return DJ_SUCCESS;
}

/* Tokens of the pieces before the first snapshot. */
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
    const uint64_t granules[3] = {1, granule(call), 1};
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
    return dj_grid_fit(call->plan->context, list, count, granules, most, scratch_cost, shape,
                       budget, grid);
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
        return fit(call, shape, &call->keys, tokens, all, 4, most, budget, &layout->key_grid);
    for (;;) {
        if (!fit(call, shape, &call->keys, tokens, all, 2, most, budget, &layout->key_grid))
            return false;
        most[0] = layout->key_grid.size[0];
        most[2] = layout->key_grid.size[2];
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

/* Pieces of one box of sequences and one of heads. */
static uint64_t piece_count(const struct dj_call *call, const struct dj_layout *layout,
                            uint64_t box)
{
    return token_boxes(call, &layout->key_grid, box) + call->states - 1 +
           query_boxes(call, &layout->query_grid, box);
}

static void place_regions(const struct shape *shape, struct dj_layout *layout)
{
    uint64_t size[3], sizes[DJ_TILED_REGIONS];
    for (int i = 0; i < 3; i++)
        size[i] = layout->key_grid.size[i];
    if (!shape->call->plan->causal && layout->query_grid.size[1] > size[1])
        size[1] = layout->query_grid.size[1];
    region_sizes(shape, size, sizes);
    layout->carry = sizes[DJ_TILED_CARRY];
    sizes[DJ_TILED_CARRY] *= carry_count(shape->call, size);
    dj_regions_place(sizes, DJ_TILED_REGIONS, layout);
    layout->work = work_rows(shape->call, size) * dj_call_row_work(shape->call->plan);
}

static void count_pieces(const struct dj_call *call, struct dj_layout *layout)
{
    layout->sequence_boxes = layout->key_grid.boxes[0];
    layout->head_boxes = layout->key_grid.boxes[2];
    layout->pieces = dj_layout_pieces(call, layout, piece_count);
    if (call->atomic && layout->pieces > 1)
        layout->copies = carry_count(call, layout->key_grid.size);
}

dj_result dj_tiled_layout(const struct dj_call *call, uint64_t budget, struct dj_layout *layout)
{
    const struct dj_log *log = &call->plan->context->log;
    const struct dj_attention_args *const args = call->args;
    *layout = (struct dj_layout){.slot_bound = !dj_call_pool_fits(call)};
    layout->apart = call->family != &dj_family_resident && call->plan->group > 1 &&
                    (!dj_call_binds(call, &args->q) || !dj_call_binds(call, &args->o));
    uint64_t most[3] = {layout->slot_bound ? 1 : UINT64_MAX, UINT64_MAX, UINT64_MAX};
    dj_result result = dj_call_most_sequences(call, &call->keys, &args->k, &args->v, &most[0]);
    if (result == DJ_SUCCESS)
        result = dj_call_most_sequences(call, &call->queries, &args->q, &args->o, &most[0]);
    if (result == DJ_SUCCESS)
        result = check_kept(call);
    if (result != DJ_SUCCESS)
        return result;

    /* the smallest box there can be: a tile, or all tokens where they are fewer */
    const uint64_t keys = body_tokens(call, call->keys.longest);
    const uint64_t queries = call->plan->causal ? 0 : call->queries.longest;
    const uint64_t longest = keys > queries ? keys : queries;
    const uint64_t shortest = longest < granule(call) ? longest : granule(call);
    const uint64_t one[3] = {1, shortest > 0 ? shortest : 1, 1};
    struct shape shape = {.call = call, .apart = layout->apart};
    uint64_t least = scratch_cost(&shape, one);
    if (least == UINT64_MAX && call->family == &dj_family_tiled && call->plan->group > 1) {
        shape.apart = layout->apart = true; /* fewer queries at a time */
        least = scratch_cost(&shape, one);
    }
    if (least == UINT64_MAX)
        return dj_call_fail_limit(call);
    if (budget == 0) { /* for the boxes, beside the states that are kept */
        const uint64_t useful = useful_scratch(args);
        budget = call->atomic ? least + useful : least > useful ? least : useful;
    }
    /* of kept states, whose places are aligned, large boxes may take less than small ones */
    if (!fit_sides(call, &shape, most, budget, layout))
        return budget >= least ? dj_call_fail_limit(call)
                               : dj_fail(log, DJ_ERROR_SCRATCH,
                                         "attention: one tile needs %" PRIu64
                                         " bytes of scratch, %" PRIu64 " are given",
                                         least, budget);
    place_regions(&shape, layout);
    count_pieces(call, layout);
    return DJ_SUCCESS;
}

/* A piece of the keys' side: a box of tokens, or one of the further snapshots. */
static void cut_keys(const struct dj_call *call, const struct dj_layout *layout, uint64_t box,
                     uint64_t head, uint64_t step, struct dj_tiled_piece *piece)
{
    const uint64_t boxes = token_boxes(call, &layout->key_grid, box);
    piece->first = step == 0;
    piece->last = step == boxes + call->states - 2;
    piece->publishes = step >= boxes - 1;
    if (step >= boxes) {
        piece->box = dj_grid_box(&layout->key_grid, box, 0, head);
        piece->box.count[1] = 1;
        piece->tokens = call->keys.longest > 0 ? 1 : 0;
        piece->snapshot = (uint32_t)(step - boxes + 1);
        piece->forks = layout->copies > 0;
        piece->carry += piece->snapshot - 1;
        return;
    }
    piece->box = dj_grid_box(&layout->key_grid, box, step, head);
    piece->tokens = body_tokens(call, call->keys.longest) > 0 ? piece->box.count[1] : 0;
}

/* Copy number `index`: of one box of sequences and one of heads, one snapshot. */
static struct dj_tiled_piece cut_copy(const struct dj_call *call, const struct dj_layout *layout,
                                      uint64_t index)
{
    const uint64_t pair = index / call->states, heads = layout->head_boxes;
    return (struct dj_tiled_piece){
        .box = dj_grid_box(&layout->key_grid, pair / heads, 0, pair % heads),
        .copies = true,
        .snapshot = (uint32_t)(index % call->states),
        .carry = index};
}

struct dj_tiled_piece dj_tiled_cut(const struct dj_call *call, struct dj_layout *layout,
                                   uint64_t index)
{
    assert(index < layout->pieces + layout->copies);
    if (index >= layout->pieces)
        return cut_copy(call, layout, index - layout->pieces);
    const uint64_t box = dj_layout_find(call, layout, piece_count, &index);
    const uint64_t count = piece_count(call, layout, box);
    const uint64_t head = index / count, step = index % count;
    const uint64_t keys = token_boxes(call, &layout->key_grid, box) + call->states - 1;
    struct dj_tiled_piece piece = {.fresh = index == 0,
                                   .carry = (box * layout->head_boxes + head) * call->states};
    if (step < keys) {
        cut_keys(call, layout, box, head, step, &piece);
    } else {
        piece.queries = true;
        piece.carry += call->states - 1;
        piece.box = dj_grid_box(&layout->query_grid, box, step - keys, head);
        piece.tokens = piece.box.count[1];
    }
    return piece;
}
