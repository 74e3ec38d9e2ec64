/* SPDX-License-Identifier: MIT */
/* The inside of an attention plan, shared by its checks, the kernel families and the state slots.
 */
#ifndef DJ_LIB_ATTENTION_H
#define DJ_LIB_ATTENTION_H

#include "buffer.h"
#include "map.h"
#include "pipeline.h"
#include "projection.h"
#include "spans.h"
#include "tensor.h"

#include <dijiang/attention.h>

struct dj_kernel_family;

enum {
    DJ_MOST_SNAPSHOTS = 64,
    DJ_MOST_COPIES = 1 << 19, /* that one part may end with */
    DJ_MOST_PLACES = 1 << 30  /* of cosFormer and of position scales: sums of two fit 32 bits */
};

struct dj_attention {
    struct dj_context *context;
    const struct dj_kernel_family *family; /* that can do every call */
    const struct dj_map_kind *kind;
    uint32_t map, heads, key_heads, group, dim, value_dim;
    uint32_t features; /* m, or n' */
    uint32_t max_tokens;
    bool causal, normalise, key_normalise;
    bool linear;          /* features are values, not logarithms */
    uint32_t feature;     /* DJ_FEATURE_*, of kernels */
    uint32_t denominator; /* DJ_DENOMINATOR_*, of kernels */
    bool small_outputs;   /* of 2 bytes each, by kernels that store such at any place */
    uint32_t q_type, k_type, v_type, o_type;
    float scale;                      /* of q.k; never 0 */
    struct dj_projection *projection; /* of queries and keys; NULL: softmax */
    struct dj_buffer *decay;  /* powers within a tile, of every key head; of one if there is none */
    struct dj_pipeline spans; /* the kernel that fills tables of spans */
    struct dj_choices *choices; /* DJ_FAMILY_TUNED; else NULL */
    struct {
        struct dj_pipeline query_features, key_features, sum, scan, output;
        uint32_t scan_rows; /* features of a workgroup of the scan */
    } tiled;
    struct {
        const struct dj_shader *shader; /* NULL: the plan is not for this family */
        struct dj_constants constants;
        struct dj_pipeline see;   /* none: nor where the driver cannot make it */
        struct dj_pipeline add;   /* of keys, where queries see all: those are the other's then */
        struct dj_buffer *decay;  /* powers within a span; NULL: there is none */
        uint32_t columns, blocks; /* columns of a workgroup; blocks of so many */
        bool preferred;           /* where nothing else was chosen */
    } resident;
    struct {
        struct dj_pipeline sum, output;           /* none: the plan is not for these kernels */
        struct dj_pipeline half_sum, half_output; /* none, or both: what is tried before */
        struct dj_buffer *matrix;                 /* of the transforms */
        uint32_t columns, half_columns;           /* of a workgroup */
    } chunked;
    struct {
        struct dj_pipeline attend; /* none: the plan is not for this family */
        struct dj_buffer *table; /* gamma of each head, then what the transforms are as a matrix */
        uint32_t matrix;         /* floats to that */
    } step;
    struct {
        struct dj_pipeline attend, attend_carried, project_keys, project_values;
        uint32_t rows; /* of queries to a workgroup that holds them in lanes; 0: it shares a tile */
    } softmax;
};

/* A call whose arguments were checked, and what follows from them alone. */
struct dj_call {
    const struct dj_attention *plan;
    const struct dj_kernel_family *family; /* that does it */
    const struct dj_attention_args *args;
    bool placed;                      /* buffers must be there; else nothing is recorded */
    struct dj_span_set keys, queries; /* equal if causal */
    uint32_t snapshots;               /* K, at least 1: how indices lie */
    uint32_t states;                  /* that slots_out receives of each sequence; else 1 */
    bool slots;                       /* there are slots that state comes from or goes to */
    bool seen;                        /* places need the tokens that the states have seen */
    uint64_t max_work;                /* of a piece; 0: no limit */
    bool atomic;                      /* all slots are written at the end, or none */
};

/* Where a call's numbers lie in the recorder's ring, or in the caller's buffers. */
struct dj_call_indices {
    struct dj_bound_indices spans, query_spans, slots_in, accepted, slots_out;
};

/* How a call is cut into pieces and where its scratch memory lies; families use what they need. A
 * piece is one box of sequences, tokens and heads; the caller's parts are one or more of them. */
struct dj_layout {
    struct dj_grid key_grid;             /* in linear time and causal: of keys and queries */
    struct dj_grid query_grid;           /* ... else of queries */
    uint64_t sequence_boxes, head_boxes; /* pieces are of one of each */
    uint64_t region[7];                  /* byte offsets in scratch */
    uint64_t total;                      /* bytes of scratch */
    uint64_t carry;                      /* ... of one box's carry */
    uint64_t pieces;
    uint64_t copies; /* that follow all pieces, of carries to slots; 0: pieces write slots */
    uint64_t work;   /* floating-point operations of a piece, at most, if max_work limits them */
    uint64_t each;   /* pieces to a part */
    bool slot_bound; /* no dispatch reaches the whole pool: one sequence a box, its slot bound */
    bool apart; /* a group's query heads are too far apart, or too many, to be bound together */
    struct {
        uint64_t box, first;
    } cursor; /* the box of sequences, and its first piece, that was last asked for */
};

/* A family of kernels: what it makes for a plan, and three functions of a checked call. */
struct dj_kernel_family {
    uint32_t name; /* enum dj_family */

    /* The most dispatches that one piece takes; a copy takes one. */
    uint32_t (*dispatches)(const struct dj_call *call, const struct dj_layout *layout);

    /* Fills in layout for at most budget bytes of scratch (0: as much as is useful). Returns
     * DJ_SUCCESS; DJ_ERROR_LIMIT; DJ_ERROR_SCRATCH, logged. */
    dj_result (*layout)(const struct dj_call *call, uint64_t budget, struct dj_layout *layout);

    /* Records piece number `piece`, or behind the last of them a copy; quickest in order. Begins
     * and ends with the caller's side of the contract in dijiang/recorder.h; between two pieces in
     * one recording, and before the first copy, the caller puts a write-to-read barrier. */
    void (*record)(const struct dj_call *call, struct dj_recorder *recorder,
                   struct dj_layout *layout, const struct dj_call_indices *indices, uint64_t piece);

    /* Creates the family's pipelines and tables, in members of its own of the plan: where a plan
     * has several families, each in a thread of its own. */
    dj_result (*create)(struct dj_attention *plan, const struct dj_attention_params *params);
};
extern const struct dj_kernel_family dj_family_tiled;
extern const struct dj_kernel_family dj_family_chunked;
extern const struct dj_kernel_family dj_family_resident;
extern const struct dj_kernel_family dj_family_step;
extern const struct dj_kernel_family dj_family_softmax;

/* What families need before any is created. Which resident kernel the plan is for, if any: refused
 * with DJ_ERROR_UNSUPPORTED, logged, if none is but one was asked for. */
dj_result dj_resident_choose(struct dj_attention *plan, const struct dj_attention_params *params);
/* Then the projection of queries and keys, which others look at, and the decays' powers. */
dj_result dj_tiled_prepare(struct dj_attention *plan, const struct dj_attention_params *params);

/* Whether the step family can do a call of this plan. */
bool dj_step_can(const struct dj_call *call);

/* Whether a plan may have chunked kernels, and whether they can do a call of it; what they cannot,
 * those of tiles do. */
bool dj_chunked_fits(const struct dj_attention *plan, const struct dj_attention_params *params);
bool dj_chunked_can(const struct dj_call *call);
uint64_t dj_chunked_notes(const struct dj_attention *plan); /* floats, of a segment */

/* Whether the resident family can do a call of this plan, and the bytes behind a carry's states
 * that it works in, for so many sequences and key heads. */
bool dj_resident_can(const struct dj_call *call);
uint64_t dj_resident_span(const struct dj_attention *plan); /* tokens; pieces are whole spans */
uint64_t dj_resident_memory(const struct dj_attention *plan, uint64_t heads);

/* The choices of a plan, from those of its context, and what was chosen for calls of this one's
 * size: DJ_FAMILY_TILED, _RESIDENT, or _DEFAULT where nothing was. */
dj_result dj_choices_create(struct dj_attention *plan);
void dj_choices_destroy(struct dj_attention *plan);
uint32_t dj_choice_of(const struct dj_call *call);

/* Bytes of a table of spans. */
uint64_t dj_spans_table_size(uint64_t sequences);

/* Whether the kernels of one side (call->keys or call->queries) read a table. */
bool dj_call_has_table(const struct dj_call *call, const struct dj_span_set *set);

/* Bytes of the ring that the call's indices take, and their bindings: the host's are pushed to it.
 */
uint64_t dj_call_ring_size(const struct dj_call *call);
struct dj_call_indices dj_call_bind(const struct dj_call *call, struct dj_recorder *recorder);

/* Whether one dispatch reaches all slots, or none are used. */
bool dj_call_pool_fits(const struct dj_call *call);

/* The pool, or the slot that is to be bound where no dispatch reaches all (slot_bound;
 * -1: any); *base: words to slot 0 or to that slot; *words: from slot to slot. */
struct dj_binding dj_call_slots(const struct dj_call *call, bool slot_bound, int32_t slot,
                                uint32_t *base, uint32_t *words);

/* Records the kernel that fills a table of one side's spans, uvec4 for each of `count` sequences
 * from `sequence` on, as DJ_SPAN_BOX reads them; snapshot: as struct spans_push says, snapshots
 * being the call's. */
void dj_call_record_spans(const struct dj_call *call, struct dj_recorder *recorder,
                          const struct dj_call_indices *indices, const struct dj_span_set *set,
                          uint64_t sequence, uint64_t count, uint32_t snapshot, bool fresh,
                          struct dj_binding table);

/* A box of sequences, tokens and heads of a tensor of one side as rows for kernels: i0 = sequence,
 * i1 = head, i2 = token. Where the side has a table it must be given. snapshot > 0: instead of the
 * box's tokens those that the table for that snapshot names. */
struct dj_rows dj_call_rows(const struct dj_call *call, const struct dj_span_set *set,
                            const struct dj_tensor *tensor, const struct dj_box *box,
                            uint32_t snapshot, struct dj_binding table);

/* What families need to cut a call into boxes.
 *
 * Whether a whole tensor can be bound. */
bool dj_call_binds(const struct dj_call *call, const struct dj_tensor *tensor);

/* Whether one box of a sequence of the set, of so many tokens, or all where they are fewer, and
 * heads can be. */
bool dj_call_binds_tokens(const struct dj_call *call, const struct dj_span_set *set,
                          const struct dj_tensor *tensor, uint64_t tokens, uint64_t heads);

/* Sequences that lie anywhere in their rows are bound together only as whole tensors: *most becomes
 * 1 where those are too large; DJ_ERROR_LIMIT, logged, if the host cannot know where they lie. */
dj_result dj_call_most_sequences(const struct dj_call *call, const struct dj_span_set *set,
                                 const struct dj_tensor *a, const struct dj_tensor *b,
                                 uint64_t *most);

/* A tensor as boxes see it: sequences, tokens of them, units of `unit` heads; its last dimension is
 * what a unit's token spans. */
struct dj_tensor dj_call_boxed(const struct dj_span_set *set, const struct dj_tensor *tensor,
                               uint64_t tokens, uint64_t unit);

/* DJ_ERROR_LIMIT: the smallest box is too large. */
dj_result dj_call_fail_limit(const struct dj_call *call);

/* Floating-point operations for one row of queries or of keys, in linear time. */
uint64_t dj_call_row_work(const struct dj_attention *plan);

/* The box of sequences that has piece number *index of a call, which becomes its number among that
 * box's; count: pieces of one box of sequences and one of heads. */
uint64_t dj_layout_find(const struct dj_call *call, struct dj_layout *layout,
                        uint64_t (*count)(const struct dj_call *call,
                                          const struct dj_layout *layout, uint64_t box),
                        uint64_t *index);

/* All pieces of a call; UINT64_MAX if they are more than 64 bits count. */
uint64_t dj_layout_pieces(const struct dj_call *call, const struct dj_layout *layout,
                          uint64_t (*count)(const struct dj_call *call,
                                            const struct dj_layout *layout, uint64_t box));

/* Bytes of `count` regions of scratch memory; UINT64_MAX if one is too large to be bound. */
uint64_t dj_regions_cost(const struct dj_device_info *info, const uint64_t *sizes, int count);

/* Places them one behind another: layout->region and layout->total. */
void dj_regions_place(const uint64_t *sizes, int count, struct dj_layout *layout);

/* A region of a call's scratch memory as a binding. */
struct dj_binding dj_scratch_region(const struct dj_attention_args *args, uint64_t offset,
                                    uint64_t end);

/* The tensors of a call, those that are not given too. */
enum {
    DJ_TENSORS_OF_CALL = 6
};
void dj_call_tensors(const struct dj_attention_args *args,
                     struct dj_named_tensor tensors[DJ_TENSORS_OF_CALL]);

/* Where a call's indices lie in buffers, as tensors; those of the host are empty. */
enum {
    DJ_INDEX_RANGES = 5
};
extern const char *const dj_call_index_names[DJ_INDEX_RANGES];
void dj_call_index_ranges(const struct dj_call *call, struct dj_tensor ranges[DJ_INDEX_RANGES]);

/* Every check of a call but those of scratch memory and slot indices; unless placed, the buffers of
 * tensors and slots may be missing, and what depends on them is then not checked. */
dj_result dj_call_check(const struct dj_attention *plan, const struct dj_attention_args *args,
                        bool placed, struct dj_call *call);

/* dj_call_check, what needs says of the plan, and the call's work, by which max_work and atomic
 * are set: a call that max_work holds whole has none. args NULL: of the plan alone. */
dj_result dj_attention_check(const struct dj_attention *plan, const struct dj_attention_args *args,
                             bool placed, struct dj_call *call, struct dj_needs *needs);

/* Cuts a checked call into pieces and those into parts, and fills in the rest of needs; no pieces
 * if there is nothing to do. Returns DJ_SUCCESS; DJ_ERROR_LIMIT; DJ_ERROR_SCRATCH, logged. */
dj_result dj_attention_lay_out(struct dj_call *call, struct dj_layout *layout,
                               struct dj_needs *needs);

/* Checks that args have `need` bytes of scratch memory. */
dj_result dj_attention_check_scratch(const struct dj_call *call, uint64_t need);

/* Records pieces first .. first + count - 1 with the caller's barriers around them, and behind the
 * last piece the copies; or nothing. Returns DJ_SUCCESS; DJ_ERROR_INVALID_ARGUMENT (the host's
 * slot indices); DJ_ERROR_RECORDER_FULL; DJ_ERROR_RECORDER_STATE, logged. */
dj_result dj_attention_record_pieces(const struct dj_call *call, struct dj_recorder *recorder,
                                     struct dj_layout *layout, uint64_t first, uint64_t count);

/* The dispatches that takes. */
uint64_t dj_layout_dispatches(const struct dj_call *call, const struct dj_layout *layout,
                              uint64_t first, uint64_t count);

/* Bytes of one key head's block and of a whole slot. */
uint64_t dj_state_block_size(const struct dj_attention *plan);
uint64_t dj_state_slot_size(const struct dj_attention *plan);

/* Bytes of a pool that one dispatch can reach, from an aligned place before its first slot: by
 * address no binding range counts, but SPIR-V takes the 32 bits that a kernel numbers words with as
 * signed. */
uint64_t dj_state_reach(const struct dj_context *context);

/* Whether the call takes or leaves state. */
bool dj_slots_used(const struct dj_attention_args *args);

/* Checks the pool and where indices lie. */
dj_result dj_slots_check(const struct dj_call *call);

/* Checks the host's slot indices, with sequences * snapshots numbers to work in. */
dj_result dj_slots_check_indices(const struct dj_call *call, uint64_t *work);

/* The slot that sequence n continues, by the host's indices; -1: none. */
int32_t dj_slot_in(const struct dj_call *call, uint64_t n);

#endif
