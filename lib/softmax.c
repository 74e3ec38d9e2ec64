/* SPDX-License-Identifier: MIT */
#include "softmax.h"

#include "kernels.h"
#include "size.h"

#include <assert.h>
#include <inttypes.h>

/* Multiply-adds of a piece: under a second at 3 * 10^9 a second, which two CPU cores reach. Some
 * drivers end submissions after 2 seconds. */
static const uint64_t PIECE_WORK = (uint64_t)1 << 31;

/* Rows of queries that keep any GPU busy: below that, keys are cut rather than queries, although
 * that takes a carry. */
static const uint64_t ENOUGH_ROWS = 512 * DJ_TILE_TOKENS;

/* Scratch memory that is useful. */
static const uint64_t USEFUL_SCRATCH = (uint64_t)64 << 20;

static bool is_linformer(const struct dj_attention *plan)
{
    return plan->map == DJ_MAP_LINFORMER;
}

uint32_t dj_softmax_blocks(const struct dj_attention *plan)
{
    return plan->value_dim > DJ_TILE_VALUES ? 2 : 1;
}

uint32_t dj_softmax_rows(const struct dj_attention *plan)
{
    return plan->softmax.rows > 0 ? plan->softmax.rows : DJ_TILE_TOKENS;
}

uint32_t dj_softmax_shares(const struct dj_attention *plan)
{
    if (plan->softmax.rows > 0)
        return 1;
    return (uint32_t)dj_divide_up(plan->value_dim, dj_softmax_blocks(plan) * DJ_TILE_VALUES);
}

/* Bytes of a workgroup's carry. */
static uint64_t carry_size(const struct dj_attention *plan)
{
    const uint32_t rows = plan->softmax.rows;
    return 16 * (uint64_t)(rows > 0 ? rows * DJ_SOFTMAX_CARRY_ROW(plan->value_dim)
                                    : DJ_SOFTMAX_CARRY_SIZE(dj_softmax_blocks(plan)));
}

/* How a call is cut. Boxes of heads count units: key heads with their groups of query heads, or
 * where those are too far apart to be bound together, or too many, query heads. */
struct shape {
    const struct dj_call *call;
    bool apart;
    bool carry; /* keys come in several boxes */
};

static uint64_t unit_heads(const struct dj_attention *plan, bool apart)
{
    return apart ? 1 : plan->group;
}

/* Keys that a query sees at most. */
static uint64_t key_tokens(const struct dj_call *call)
{
    return is_linformer(call->plan) ? call->plan->features : call->keys.longest;
}

/* Multiply-adds that a piece may have. Linformer's may both project and attend. */
static uint64_t piece_work(const struct dj_call *call)
{
    const uint64_t most = call->max_work / (is_linformer(call->plan) ? 4 : 2);
    return call->max_work > 0 && most < PIECE_WORK ? most : PIECE_WORK;
}

/* Rows of queries up to which keys are cut instead. */
static uint64_t enough_rows(const struct dj_call *call)
{
    const uint64_t width = call->plan->dim + call->plan->value_dim;
    if (call->max_work == 0)
        return ENOUGH_ROWS;
    /* cut keys are a tile at least; Linformer's queries see all of the projected ones */
    const uint64_t keys = is_linformer(call->plan) ? call->plan->features : DJ_TILE_TOKENS;
    const uint64_t rows = piece_work(call) / (keys * width);
    return rows < ENOUGH_ROWS ? rows : ENOUGH_ROWS;
}

/* Bytes of each region for boxes of queries of this size. */
static void region_sizes(const struct shape *shape, const uint64_t size[3],
                         uint64_t sizes[DJ_SOFTMAX_REGIONS])
{
    const struct dj_call *const call = shape->call;
    const struct dj_attention *const plan = call->plan;
    const uint64_t alignment = plan->context->info.offset_alignment;
    const uint64_t groups = dj_divide_up(size[1], dj_softmax_rows(plan)) * size[0] * size[2] *
                            unit_heads(plan, shape->apart) * dj_softmax_shares(plan);
    const uint64_t rows = is_linformer(plan) ? size[0] * size[2] * plan->features : 0;
    const uint64_t table = dj_spans_table_size(size[0]);
    const bool softmax_carry = shape->carry && !is_linformer(plan);
    sizes[DJ_SOFTMAX_QUERY_TABLE] = dj_call_has_table(call, &call->queries) ? table : 0;
    sizes[DJ_SOFTMAX_KEY_TABLE] = !plan->causal && dj_call_has_table(call, &call->keys) ? table : 0;
    sizes[DJ_SOFTMAX_CARRY] = softmax_carry ? groups * carry_size(plan) : 0;
    sizes[DJ_SOFTMAX_PROJECTED_K] = rows * plan->dim * sizeof(float);
    sizes[DJ_SOFTMAX_PROJECTED_V] = rows * plan->value_dim * sizeof(float);
    sizes[DJ_SOFTMAX_LACKING_K] = shape->carry ? sizes[DJ_SOFTMAX_PROJECTED_K] : 0;
    sizes[DJ_SOFTMAX_LACKING_V] = shape->carry ? sizes[DJ_SOFTMAX_PROJECTED_V] : 0;
    for (int i = 0; i < DJ_SOFTMAX_REGIONS; i++)
        sizes[i] = dj_round_up(sizes[i], alignment);
}

/* Bytes of scratch for boxes of queries of this size; UINT64_MAX if they are beyond a limit. */
static uint64_t scratch_cost(const void *user, const uint64_t size[3])
{
    const struct shape *const shape = user;
    const struct dj_attention *const plan = shape->call->plan;
    const struct dj_device_info *const info = &plan->context->info;
    const uint64_t heads = size[0] * size[2] * unit_heads(plan, shape->apart);
    const uint64_t rows = heads * size[1];
    const uint64_t row_work = key_tokens(shape->call) * (plan->dim + plan->value_dim);
    const uint64_t most = piece_work(shape->call);
    const bool smallest = size[0] == 1 && size[1] <= DJ_TILE_TOKENS && size[2] == 1;
    if (heads > info->max_workgroups[1] ||
        dj_divide_up(size[1], dj_softmax_rows(plan)) > info->max_workgroups[0])
        return UINT64_MAX;
    if (rows > enough_rows(shape->call) && row_work > most / rows && !smallest)
        return UINT64_MAX;
    /* Linformer: a tile of tokens of every sequence and head is projected at least */
    if (is_linformer(plan) && size[0] * size[2] > most / DJ_TILE_TOKENS / row_work && !smallest)
        return UINT64_MAX;
    uint64_t sizes[DJ_SOFTMAX_REGIONS];
    region_sizes(shape, size, sizes);
    return dj_regions_cost(info, sizes, DJ_SOFTMAX_REGIONS);
}

static bool fit(const struct shape *shape, const struct dj_span_set *set, const struct dj_tensor *a,
                const struct dj_tensor *b, uint64_t heads, const uint64_t most[3], bool queries,
                uint64_t budget, struct dj_grid *grid)
{
    const uint64_t granule[3] = {1, DJ_TILE_TOKENS, 1};
    const struct dj_tensor views[2] = {dj_call_boxed(set, a, set->longest, heads),
                                       dj_call_boxed(set, b, set->longest, heads)};
    const struct dj_tensor *const list[2] = {&views[0], &views[1]};
    return dj_grid_fit(shape->call->plan->context, list, 2, granule, most,
                       queries ? scratch_cost : NULL, shape, budget, grid);
}

/* Keys of a box whose piece has no more than its work, a multiple of a tile. */
static uint64_t most_keys(const struct shape *shape, const struct dj_grid *queries)
{
    const struct dj_attention *const plan = shape->call->plan;
    const uint64_t *const size = queries->size;
    const uint64_t each =
        is_linformer(plan) ? plan->features : size[1] * unit_heads(plan, shape->apart);
    const uint64_t key_work = size[0] * size[2] * each * (plan->dim + plan->value_dim);
    const uint64_t keys = piece_work(shape->call) / key_work / DJ_TILE_TOKENS * DJ_TILE_TOKENS;
    return keys > DJ_TILE_TOKENS ? keys : DJ_TILE_TOKENS;
}

/* Both sides with the same boxes of sequences and heads. */
static bool fit_sides(const struct shape *shape, uint64_t most_sequences, uint64_t budget,
                      struct dj_layout *layout)
{
    const struct dj_call *const call = shape->call;
    const struct dj_attention_args *const args = call->args;
    const uint64_t heads = unit_heads(call->plan, shape->apart);
    uint64_t most[3] = {most_sequences, UINT64_MAX, shape->apart ? 1 : UINT64_MAX};
    for (;;) {
        if (!fit(shape, &call->queries, &args->q, &args->o, heads, most, true, budget,
                 &layout->query_grid))
            return false;
        if (call->keys.longest == 0) { /* one box of none */
            layout->key_grid = (struct dj_grid){.boxes = {0, 1, 0}};
            return true;
        }
        const uint64_t *const size = layout->query_grid.size;
        const uint64_t key_most[3] = {size[0], most_keys(shape, &layout->query_grid), size[2]};
        if (!fit(shape, &call->keys, &args->k, &args->v, 1, key_most, false, 0, &layout->key_grid))
            return false;
        most[0] = layout->key_grid.size[0];
        most[2] = layout->key_grid.size[2];
        if (most[0] == size[0] && most[2] == size[2])
            return true;
    }
}

static dj_result fit_all(const struct shape *shape, uint64_t most, uint64_t budget,
                         struct dj_layout *layout)
{
    const struct dj_attention *const plan = shape->call->plan;
    const uint64_t longest = shape->call->queries.longest;
    const uint64_t one[3] = {1, longest < DJ_TILE_TOKENS ? longest : DJ_TILE_TOKENS, 1};
    const uint64_t least = scratch_cost(shape, one);
    if (budget == 0)
        budget = least > USEFUL_SCRATCH ? least : USEFUL_SCRATCH;
    if (budget < least && least < UINT64_MAX)
        return dj_fail(&plan->context->log, DJ_ERROR_SCRATCH,
                       "attention: one tile needs %" PRIu64 " bytes of scratch, %" PRIu64
                       " are given",
                       least, budget);
    if (least == UINT64_MAX || !fit_sides(shape, most, budget, layout))
        return dj_call_fail_limit(shape->call);
    return DJ_SUCCESS;
}

static uint64_t box_count(const struct dj_grid *grid, uint64_t box, const struct dj_span_set *set)
{
    const uint64_t first = box * grid->size[0], left = grid->shape[0] - first;
    const uint64_t tokens =
        dj_spans_longest(set, first, left < grid->size[0] ? left : grid->size[0]);
    return dj_divide_up(tokens, grid->size[1]);
}

/* Boxes of keys for one box of queries, those that it sees; at least one to write the outputs. */
static uint64_t key_boxes(const struct dj_call *call, const struct dj_layout *layout, uint64_t box,
                          uint64_t query_box)
{
    if (call->keys.longest == 0)
        return 1;
    const uint64_t count = box_count(&layout->key_grid, box, &call->keys);
    const uint64_t end = (query_box + 1) * layout->query_grid.size[1];
    const uint64_t seen =
        call->plan->causal ? dj_divide_up(end, layout->key_grid.size[1]) : UINT64_MAX;
    const uint64_t boxes = count < seen ? count : seen;
    return boxes > 0 ? boxes : 1;
}

/* Floating-point operations of the largest piece. */
static uint64_t largest_work(const struct shape *shape, const struct dj_layout *layout)
{
    const struct dj_attention *const plan = shape->call->plan;
    const uint64_t *const size = layout->query_grid.size, *const key_size = layout->key_grid.size;
    const uint64_t width = 2 * ((uint64_t)plan->dim + plan->value_dim);
    const uint64_t rows = size[0] * size[1] * size[2] * unit_heads(plan, shape->apart);
    if (shape->call->keys.longest == 0)
        return 1;
    if (is_linformer(plan))
        return (rows + key_size[0] * key_size[1] * key_size[2]) * plan->features * width;
    return rows * key_size[1] * width;
}

/* Pieces of one box of sequences and one of heads. Linformer's last box of keys and first of
 * queries share one. */
static uint64_t piece_count(const struct dj_call *call, const struct dj_layout *layout,
                            uint64_t box)
{
    const uint64_t queries = box_count(&layout->query_grid, box, &call->queries);
    if (is_linformer(call->plan))
        return queries > 0 ? layout->key_grid.boxes[1] + queries - 1 : 0;
    uint64_t count = 0;
    for (uint64_t i = 0; i < queries; i++)
        count += key_boxes(call, layout, box, i);
    return count;
}

dj_result dj_softmax_layout(const struct dj_call *call, uint64_t budget, struct dj_layout *layout)
{
    const struct dj_attention_args *const args = call->args;
    *layout = (struct dj_layout){0};
    const uint64_t group = call->plan->group;
    layout->apart =
        group > ENOUGH_ROWS / DJ_TILE_TOKENS ||
        (group > 1 && (!dj_call_binds(call, &args->q) || !dj_call_binds(call, &args->o)));
    uint64_t most = UINT64_MAX;
    dj_result result = dj_call_most_sequences(call, &call->keys, &args->k, &args->v, &most);
    if (result == DJ_SUCCESS)
        result = dj_call_most_sequences(call, &call->queries, &args->q, &args->o, &most);
    struct shape shape = {.call = call, .apart = layout->apart};
    if (result == DJ_SUCCESS)
        result = fit_all(&shape, most, budget, layout);
    if (result == DJ_SUCCESS && layout->key_grid.boxes[1] > 1) {
        shape.carry = true; /* which takes memory, and may make the boxes smaller */
        result = fit_all(&shape, most, budget, layout);
    }
    if (result != DJ_SUCCESS)
        return result;
    uint64_t sizes[DJ_SOFTMAX_REGIONS];
    region_sizes(&shape, layout->query_grid.size, sizes);
    dj_regions_place(sizes, DJ_SOFTMAX_REGIONS, layout);
    layout->sequence_boxes = layout->query_grid.boxes[0];
    layout->head_boxes = layout->query_grid.boxes[2];
    layout->pieces = dj_layout_pieces(call, layout, piece_count);
    layout->work = largest_work(&shape, layout);
    return DJ_SUCCESS;
}

/* The boxes of step number `step` of one box of sequences and one of heads. */
static void cut(const struct dj_call *call, const struct dj_layout *layout, uint64_t box,
                uint64_t head, uint64_t step, struct dj_softmax_piece *piece)
{
    uint64_t query = 0, key = step, count;
    piece->attends = true;
    if (is_linformer(call->plan)) {
        count = layout->key_grid.boxes[1];
        piece->projects = step < count;
        piece->attends = step >= count - 1;
        query = piece->attends ? step - (count - 1) : 0;
        key = piece->projects ? step : 0;
    } else {
        while (key >= (count = key_boxes(call, layout, box, query))) {
            key -= count;
            query++;
        }
    }
    piece->first = key == 0;
    piece->last = key == count - 1;
    piece->queries = dj_grid_box(&layout->query_grid, box, query, head);
    if (call->keys.longest > 0)
        piece->keys = dj_grid_box(&layout->key_grid, box, key,
                                  layout->apart ? head / call->plan->group : head);
    const uint64_t heads = unit_heads(call->plan, layout->apart);
    piece->queries.start[2] *= heads;
    piece->queries.count[2] *= heads;
}

struct dj_softmax_piece dj_softmax_cut(const struct dj_call *call, struct dj_layout *layout,
                                       uint64_t index)
{
    assert(index < layout->pieces);
    const uint64_t box = dj_layout_find(call, layout, piece_count, &index);
    const uint64_t count = piece_count(call, layout, box);
    struct dj_softmax_piece piece = {0};
    cut(call, layout, box, index / count, index % count, &piece);
    return piece;
}
