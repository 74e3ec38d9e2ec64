/* SPDX-License-Identifier: MIT */
/* Attention: DiJiang's and that of the systems it is compared with. All but two are linear in the
 * number of tokens, with constant memory per sequence. */
#ifndef DIJIANG_ATTENTION_H
#define DIJIANG_ATTENTION_H

#include <dijiang/features.h>
#include <dijiang/recorder.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A plan: head shapes, element types and options, with every pipeline they need. Batch, tokens and
 * strides are free per call. Immutable (but by dj_attention_tune); usable from any thread, by
 * several at once. */
typedef struct dj_attention dj_attention;

/* Which kernels do the work. The result's bits depend on the family, and within one a sequence's
 * result does not depend on the rest of the batch.
 *
 * By default it is chosen by device and call. Causal calls of one token a row, as decoding makes
 * them, take one dispatch and no scratch memory, and are one part whatever max_work. Not so
 *   - plans of COSFORMER;
 *   - plans of WDCF and SOFTMAX_DCT whose dct_path was chosen;
 *   - plans with groups of more than 16 heads, or of shapes beyond the device's shared memory;
 *   - plans whose kernel the driver cannot compile;
 *   - plans on engines' devices with vulkanMemoryModel but not vulkanMemoryModelDeviceScope;
 *   - calls with spans, position scales, `accepted` or more than one snapshot;
 *   - calls with a tensor beyond the binding range, or a pool beyond it (with device addresses: of
 *     8 GiB or more);
 *   - calls with slots_in and slots_out in two places (one the host's, two buffers, or one in which
 *     they are further apart than that range). */
enum dj_family {
    DJ_FAMILY_DEFAULT = 0,
    DJ_FAMILY_TILED = 1,    /* tiles of 32 tokens: sums of all at once, a scan, outputs */
    DJ_FAMILY_RESIDENT = 2, /* tokens in order, the sums in registers; without causal all keys, then
                             * all queries. Maps with no projection (m at most 256), one DCT (d 16
                             * to 128 in steps of 8, 160, 192 or 256), or directions (m at most 256,
                             * m d at most 9216), where subgroups and device addresses are used
                             * (DJ_USE_SUBGROUPS, DJ_USE_DEVICE_ADDRESSES). The default on CPU
                             * devices, unless a dct_path was chosen, more than 4096 key heads have
                             * decays, or, without DJ_USE_READ_INVOCATION, subgroups are of 16
                             * invocations or, where a map has directions, not of 8. Calls that it
                             * cannot do are done in tiles: with position scales, snapshots,
                             * 512 tokens of a head beyond the device's binding range, a pool of 8
                             * GiB or more, 2-byte outputs at odd places */
    DJ_FAMILY_TUNED = 3, /* as by default, but where dj_attention_tune has measured: what was faster
                          * there. Plans have the kernels of every family that can be */
    /* what dj_needs tells of a call, and no plan can ask for */
    DJ_FAMILY_STEP = 4,    /* one token of each row, in one dispatch */
    DJ_FAMILY_SOFTMAX = 5, /* SOFTMAX and LINFORMER: each query meets each key */
};

/* With phi the feature map, gamma the decay, x = sqrt(scale) q or sqrt(scale) k, and query head h
 * reading key head h / (H / Hk):
 *   w[i][j] = gamma^(i-j) phi(q[i]) . phi(k[j])
 *   o[i]    = sum_j w[i][j] v[j]                          without the normaliser (eq. 13)
 *   o[i]    = sum_j w[i][j] v[j] / sum_j w[i][j]          with it (eq. 4)
 * over j <= i if causal, else over all j; a state from an earlier call counts as tokens before the
 * first. DJ_MAP_SOFTMAX has w[i][j] = exp(scale q[i] . k[j]), always normalised. A row that sees no
 * key at all is 0.
 *
 * The state is held as pairs of float32; an exponential map cannot overflow or lose its denominator
 * at any magnitude (docs/mathematics.md): with the normaliser the result is finite for all
 * |log phi| <= 1e30, |x| <= 1e18 and |v| <= 1e30; of a v smaller than 1e-14 less than float32's
 * precision may be left. A denominator below 1e-6 gives 0 with DJ_MAP_RELU and counts as 1e-6 with
 * DJ_MAP_COSFORMER.
 *
 * NaN and Inf, where the device keeps to IEEE 754's rules (dj_device_info.signed_zero_inf_nan; an
 * imported device with VK_KHR_shader_float_controls enabled): in q they make NaN of that token's
 * output in that head. In k they make NaN of the outputs that see the token: of the same sequence,
 * of the query heads that read its key head, from it on if causal; and of that key head's part of
 * the state. In v they do so to their own column alone, where Inf may give Inf too. NaN may stand
 * where the definition has a limit, as exp(-Inf) = 0. All other outputs, slots and heads have the
 * same bits as without. On other devices inputs must be finite, and with NaN or Inf outputs, states
 * and no more are undefined: nothing outside them is written, and the work ends.
 *
 * Subnormal float16 numbers are what they say, in inputs and in o. Of float32 and bfloat16, x or v
 * below 2^-126 in magnitude counts as itself or as 0, and so may an output. The sign of a 0 in q, k
 * or v changes no output but that of a 0.
 *
 * Cooperative matrices (struct dj_context_params.matrices) round factors to float16: there a NaN or
 * Inf in k that takes the place of a tile's largest key may change the rounding of what is 2^27
 * times smaller, in rows before it too, and one in q, k or v, where float16 calls are done in
 * chunks (docs/mathematics.md, sections 6.3 and 6.4), that of other rows of that sequence and
 * head. */
struct dj_attention_params {
    uint32_t map;       /* enum dj_map */
    uint32_t heads;     /* H, of queries: 0 to 65535; 0 computes nothing */
    uint32_t key_heads; /* Hk, of keys and values, a divisor of H, at most 65535; 0: as heads. Fewer
                         * than H is grouped-query, 1 multi-query attention */
    uint32_t dim;       /* d, of queries and keys: 4 to 256 in steps of 4 */
    uint32_t value_dim; /* e, of values and outputs: 4 to 256 in steps of 4; 0: as dim */
    uint32_t features;  /* m of WDCF, PFF, PRF, PERFORMER_RELU: 4 to 1024 in steps of 4, at most 4 d
                         * for WDCF; n' of LINFORMER, 1 to 1024. 0: as dim. The other maps have
                         * their own, which alone may be named */
    uint32_t max_tokens; /* COSFORMER: M, 1 to 2^30. LINFORMER: T, at least 1. Others: 0 */
    uint32_t causal;     /* enum dj_switch; default on, LINFORMER: off */
    uint32_t normalise;  /* enum dj_switch; default on, SOFTMAX_DCT and IDENTITY: off. SOFTMAX and
                          * LINFORMER are always on */
    uint32_t key_normalise; /* enum dj_switch, default off: phi(k) is divided by phi(0) . phi(k), so
                             * that the kernel is exact for a query of 0 and no longer favours long
                             * keys. WDCF, PFF and PRF, with the normaliser */
    uint32_t q_type, k_type, v_type, o_type; /* enum dj_type */
    uint32_t dct_path;    /* enum dj_dct_path of <dijiang/dct.h>, for the transforms inside;
                           * DJ_DCT_PATH_DEFAULT: the dense one where the resident kernel, which
                           * does its own, is the default, for the calls that it cannot do */
    uint32_t family;      /* enum dj_family; SOFTMAX and LINFORMER: DJ_FAMILY_DEFAULT */
    float scale;          /* of q.k, above 0; 0: 1 for SOFTMAX_DCT, 1/sqrt(d) for the others */
    uint32_t padding;     /* 0 */
    const float *decay;   /* gamma[Hk], each above 0 (at least 2^-126) and at most 1; NULL: all 1.
                           * Read during the call only. Causal attention only */
    uint64_t reserved[4]; /* 0 */
};

/* Creates a plan. A transform generated by VkFFT is checked as dj_dct_create says, by one small
 * submission, which imported contexts do without; nothing else is submitted. May take some seconds
 * where the driver compiles slowly, holding no lock of the context. Kernels stay with the context:
 * a second plan that needs the same ones compiles nothing.
 *
 * Returns DJ_SUCCESS; DJ_ERROR_INVALID_ARGUMENT; DJ_ERROR_VERSION; DJ_ERROR_UNSUPPORTED (a decay
 * without causal, causal Linformer, softmax or Linformer without normaliser, key_normalise where it
 * has no meaning, a family that cannot do the plan, a dct_path that cannot do dim);
 * DJ_ERROR_STATELESS (a decay for softmax or Linformer); DJ_ERROR_NORMALISER (a normaliser for the
 * identity map); DJ_ERROR_COMPILER; DJ_ERROR_LIMIT; DJ_ERROR_OUT_OF_HOST_MEMORY;
 * DJ_ERROR_OUT_OF_DEVICE_MEMORY; DJ_ERROR_DEVICE_LOST; DJ_ERROR_VULKAN. Thread-safe. */
DJ_API dj_result dj_attention_create(dj_context *context, const struct dj_attention_params *params,
                                     dj_attention **plan);

/* Destroys a plan and sets *plan to NULL. No submitted work may still use it. */
DJ_API void dj_attention_destroy(dj_attention **plan);

/* Whole numbers, one or more per sequence: an array of the host, or one in a buffer, which the
 * kernels read when they run. Both NULL: none given. */
struct dj_indices {
    const int32_t *host;  /* read during the call only */
    dj_buffer *buffer;    /* int32, from offset on */
    uint64_t offset;      /* bytes, a multiple of 4 */
    uint64_t reserved[2]; /* 0 */
};

/* Which tokens of the tensors' rows are sequences. */
enum dj_spans_kind {
    DJ_SPANS_WHOLE = 0, /* each of the batch's B rows is a sequence of all its tokens; no indices */
    DJ_SPANS_PADDED = 1, /* row b holds a sequence in the tokens start .. start + length - 1;
                          * indices[B][2] are start and length */
    DJ_SPANS_PACKED = 2, /* one row (B = 1) holds count sequences, sequence n in the tokens
                          * indices[n] .. indices[n+1] - 1; indices[count+1] never fall (known as
                          * cu_seqlens) */
};

/* Indices of the host are checked. Those of a buffer are not seen before the work runs and may be
 * anything: start, length and PACKED's indices are clamped to 0 .. T, a length to what is left of
 * the row behind its start and to `longest`; a PACKED sequence whose end is before its start is
 * empty. Where sequences then share rows, which of them o has there is undefined. Sequences may be
 * empty. Rows of o that belong to no sequence are not written. */
struct dj_spans {
    uint32_t kind;    /* enum dj_spans_kind */
    uint32_t count;   /* sequences, PACKED only: 0 to 2^31 - 1; 0 are none, whatever the indices */
    uint32_t longest; /* tokens of the longest sequence, where indices lie in a buffer; a close
                       * bound saves work. 0: the tensors' tokens */
    uint32_t padding; /* 0 */
    struct dj_indices indices;
    uint64_t reserved[2]; /* 0 */
};

/* One call. B rows of T tokens each, both free, 0 included: B = 0 does nothing, and a sequence
 * without tokens leaves its state as it was (slots_out then receives slots_in's, or the empty
 * state). T and Tq are at most 2^32 - 33, with spans 2^31 - 1. N is the number of sequences: B, or
 * spans.count. */
struct dj_attention_args {
    struct dj_tensor q; /* [B,Tq,H,d], any strides; [B,H,T,d] and packed qkv are views of this.
                         * Causal attention has Tq = T. Types are the plan's */
    struct dj_tensor k; /* [B,T,Hk,d] */
    struct dj_tensor v; /* [B,T,Hk,e] */
    struct dj_tensor o; /* [B,Tq,H,e], written; from its first to its last byte it holds nothing
                         * of the other tensors */
    const dj_features *features; /* of the plan's map, dim and features, with heads 0 or the plan's
                                  * key_heads; NULL for maps without numbers */

    struct dj_spans spans;       /* sequences in k and v, and if causal in q and o */
    struct dj_spans query_spans; /* sequences in q and o, as many; if causal all zero */

    /* Factors of phi(q) and phi(k) by head and place in the sequence (a trained checkpoint's D1 and
     * D2), any sign. f32; [1,1,H,P] and [1,1,Hk,P], P at least T and at most 2^30; all zero
     * (buffer NULL and P = 0): all 1. Of a token whose place, counted with its state's tokens, is
     * beyond P the output is NaN. Without the normaliser only, and not for exponential maps,
     * SOFTMAX and LINFORMER. */
    struct dj_tensor query_scales;
    struct dj_tensor key_scales;

    /* State: a pool of slots of needs.slot_size bytes from state_offset on; see dj_state_header.
     * state NULL: no state goes in or out. Indices of the host are checked; one of a buffer that
     * names no slot counts as -1, and what it breaks of the rules below is undefined, inside the
     * pool. */
    dj_buffer *state;
    uint64_t state_offset; /* bytes, a multiple of needs.slot_alignment */
    uint32_t slot_count;   /* slots in the pool */
    uint32_t snapshots;    /* K, 0 to 64: how many states slots_out receives of each sequence: after
                            * each of its last K tokens (of fewer tokens, the first are the state
                            * that came in). 0: 1 */
    struct dj_indices slots_in; /* [N] slot that sequence n continues, -1: none; with accepted
                                 * [N][K]. None given: all -1 */
    struct dj_indices accepted; /* [N], 0 to K-1: sequence n continues slots_in[n][accepted[n]], the
                                 * last call's snapshot after its token T - K + accepted[n]; any
                                 * other number: none. None given: slots_in is [N] */
    struct dj_indices slots_out; /* [N][K] slots that receive sequence n's states, -1: none. None
                                  * given: all -1. No two are the same, and none is another
                                  * sequence's slots_in; a sequence's own one is fine with K = 1 */

    uint32_t barriers;         /* enum dj_barrier, any together */
    uint32_t padding;          /* 0 */
    struct dj_scratch scratch; /* as dj_attention_needs says; a larger one makes larger pieces */
    uint64_t max_work; /* floating-point operations, as needs.flops counts them, that one part may
                        * take; but a part takes a tile at least: 32 tokens (SOFTMAX: queries and
                        * keys; DJ_FAMILY_RESIDENT: 512, with a decay 256; in chunks of cooperative
                        * matrices: 512, where the longest sequence has 16384 tokens 1024, with
                        * 32768 2048) of one sequence and key head with its query heads, and
                        * LINFORMER's projection of 32 keys. 0, or needs.flops and more: all in one
                        * part */
    uint64_t reserved[4]; /* 0 */
};

/* The start of a state slot. A sequence continues from a slot of
 *   - zero bytes, header and all: with the empty state;
 *   - what this map and shape wrote: with that (other numbers of the map, another scale or decay
 *     cannot be told);
 *   - anything else, such as what another map or shape wrote: with NaN, which may stay there where
 *     the slot is also its slots_out. But if the header is zero and a head's block is not, and the
 *     slot is also slots_out, what that head continues with is undefined: it may be the block.
 * After the header, for each key head, float32 arrays: sum[m][e], its low parts[m][e], norm[m], its
 * low parts[m] and exponent[m]. Feature f's true sum is (sum[f] + low[f]) * 2^exponent[f], the
 * exponent a whole number; norm is the sum of |phi|. Each head's block starts at a multiple of 16
 * bytes. */
struct dj_state_header {
    uint32_t layout;     /* DJ_STATE_LAYOUT once written */
    uint32_t map;        /* enum dj_map */
    uint32_t tokens_low; /* tokens seen, low and high half */
    uint32_t tokens_high;
    uint32_t key_heads, dim, value_dim, features;
    uint32_t reserved[8]; /* 0 */
};
#define DJ_STATE_LAYOUT 0x444a0002u

/* What recording args takes: scratch memory for all parts, dispatches and ring for any one; all in
 * one recording take at most needs.parts times as much. Pure: it follows from the plan, shapes,
 * strides, the host's spans, the pool's size, where indices lie, max_work and args->scratch.size
 * (0: as much as is useful; in tiles half of what q, k and v take, at least 8 MiB and at most 64
 * MiB, if the smallest piece needs no more) and changes nothing. With more than one part, scratch
 * memory holds the states for slots_out until the last part: about N * K * slot_size more
 * (DJ_FAMILY_RESIDENT: if causal for each query head as for a key head, and half as much again),
 * unless one part has all sequences and heads and K is 1. slot_size and slot_alignment, like
 * scratch_alignment, depend on the plan alone, and are all that is filled in if args is NULL.
 * Buffers need not be there yet: those of the tensors and state may be NULL, here alone. Position
 * scales are then given if their shape is not 0, and slots if slots_in or slots_out is; where
 * memory begins and ends, and whether it overlaps, is checked of the buffers that are there.
 * Returns DJ_SUCCESS or what dj_attention_record would say of args, but for missing buffers, and
 * for the scratch buffer and the slot indices, which are not looked at. */
DJ_API dj_result dj_attention_needs(const dj_attention *plan, const struct dj_attention_args *args,
                                    struct dj_needs *needs);

/* Records one call with all its parts, or nothing. Allocates nothing, locks nothing, waits for
 * nothing. Begins and ends with the barriers of recorder.h and those of args->barriers. One token
 * is T = 1.
 *
 * Returns DJ_SUCCESS; DJ_ERROR_INVALID_ARGUMENT; DJ_ERROR_VERSION; DJ_ERROR_UNSUPPORTED (position
 * scales where they have no meaning; 2-byte elements at odd places on a device without 16-bit
 * storage); DJ_ERROR_STATELESS (slots for softmax or Linformer); DJ_ERROR_TOKEN_COUNT (a sequence
 * longer than cosFormer's M or the position scales' P, or Linformer's keys not whole rows of its
 * T); DJ_ERROR_LIMIT (T beyond its bound; 32 tokens of one head, one state slot, one array of
 * indices, position scales (also of P above 2^30), or tensors with spans in a buffer, span more
 * than the device can bind; so does a pool with slots in a buffer, which with device addresses must
 * be smaller than 8 GiB; states that wait for the last part exceed the device's largest allocation,
 * or take it more than 2^19 dispatches to copy; the call takes 2^32 dispatches or more);
 * DJ_ERROR_SCRATCH; DJ_ERROR_RECORDER_FULL; DJ_ERROR_RECORDER_STATE unless recording. */
DJ_API dj_result dj_attention_record(const dj_attention *plan, dj_recorder *recorder,
                                     const struct dj_attention_args *args);

/* Records one part of a call, number `part` of 0 .. needs.parts - 1, or nothing; otherwise as
 * dj_attention_record. Parts run in order, each after a barrier as between calls that share scratch
 * memory; args->barriers are recorded around each. Each may be a submission of its own, by any
 * recorder of the context. args are the same for every part but for barriers (what lies behind
 * their pointers, too); inputs, indices, slots and scratch memory stay as they are until the last
 * part ran, but for what the parts write themselves. The result has the same bits as that of the
 * same args by dj_attention_record or dj_attention_run, and but for SOFTMAX, whose keys are then
 * added in other groups, as without max_work.
 *
 * Slots of slots_out are written by the last part alone: a call may be given up before it, every
 * state being as it was; o is undefined then. The time of a part does not grow with the number of
 * tokens; the last one's grows with that of the states.
 *
 * Returns what dj_attention_record does; DJ_ERROR_INVALID_ARGUMENT also for a part beyond the last.
 */
DJ_API dj_result dj_attention_record_part(const dj_attention *plan, dj_recorder *recorder,
                                          const struct dj_attention_args *args, uint32_t part);

/* Records, submits and waits, long work in several submissions, at most a part in each; allocates
 * scratch memory if args has none (scratch.buffer NULL: its offset and size are not looked at). The
 * result is visible to the host and to later work; of a call that fails when part of it was
 * submitted, o and the slots of slots_out are undefined. Returns what dj_attention_record,
 * dj_recorder_begin, _submit and _wait do, and DJ_ERROR_OUT_OF_DEVICE_MEMORY. Thread-safe. */
DJ_API dj_result dj_attention_run(const dj_attention *plan, const struct dj_attention_args *args);

/* The same within a budget of time, reporting progress, which may cancel it. run NULL:
 * dj_attention_run. With a budget the call is cut as by max_work, by 2^25 if args has none (2^28 on
 * a discrete GPU; larger pieces keep a large one busier), and as many pieces are submitted at once
 * as the budget has time for, judged by the ones before: first a few, then more. No cut is finer
 * than max_work, nor than a tile, whatever the budget. The same args and device give the same bits
 * however long anything takes.
 *
 * With progress, slots of slots_out are written by the last submission alone, and scratch memory
 * holds the states until then, as it does with max_work; given scratch memory must have room for
 * them, DJ_ERROR_SCRATCH otherwise: what dj_attention_needs says without max_work may be too
 * little.
 *
 * Returns what dj_attention_run does; DJ_ERROR_CANCELLED if progress stopped it: o is undefined,
 * every state as it was; DJ_ERROR_VERSION. Thread-safe. */
DJ_API dj_result dj_attention_run_with(const dj_attention *plan,
                                       const struct dj_attention_args *args,
                                       const struct dj_run_params *run);

/* Chooses the faster of DJ_FAMILY_TILED and DJ_FAMILY_RESIDENT for this plan's calls of about the
 * size of args (as many sequences and tokens, within the same powers of two), by running them both
 * in turn, at least twice each and else for about a second, on the tensors of args: o is their
 * result. What was chosen once stays, in the context and in its cache (<dijiang/cache.h>), for
 * every plan of the same shape: measured again it is not. Nothing is done where there is no choice.
 *
 * args: as for dj_attention_run, without slots. What the plan needs for calls of that size
 * (dj_attention_needs) may be different afterwards, and results then have other bits: nobody else
 * may use the plan meanwhile, and a result depends on what was measured.
 *
 * Returns what dj_attention_run does; DJ_ERROR_UNSUPPORTED (the plan's family is not
 * DJ_FAMILY_TUNED); DJ_ERROR_INVALID_ARGUMENT also for slots. On failure nothing is chosen,
 * and o is undefined if part of a call was submitted. */
DJ_API dj_result dj_attention_tune(dj_attention *plan, const struct dj_attention_args *args);

/* Copies slot number `slot` of a pool (args->state, state_offset and slot_count; of the rest only
 * args' own padding and reserved members are looked at) to needs.slot_size bytes of host memory, or
 * back; returns when it is done. Must not overlap in time with work that uses the slot; what
 * recorded work wrote is read after a wait and with DJ_BARRIER_AFTER_HOST. Saved states may be kept
 * in files: they are the same on every device of the same byte order. Where a copy by the queue
 * fails (dj_buffer_write), a slot that was to be loaded holds its old state, or the new one, or
 * what a sequence continues with NaN from; and data that was to be saved is undefined.
 *
 * Returns DJ_SUCCESS; DJ_ERROR_INVALID_ARGUMENT (NULL, a slot beyond the pool, a size that is not
 * needs.slot_size); DJ_ERROR_VERSION; DJ_ERROR_STATELESS; DJ_ERROR_STATE_FORMAT (loading what
 * another map, another shape or another version of the layout left; scale, decay and the map's
 * numbers are not in a state, and must be the same); what dj_buffer_read and dj_buffer_write do.
 * Thread-safe. */
DJ_API dj_result dj_state_save(const dj_attention *plan, const struct dj_attention_args *args,
                               uint32_t slot, void *data, uint64_t size);
DJ_API dj_result dj_state_load(const dj_attention *plan, const struct dj_attention_args *args,
                               uint32_t slot, const void *data, uint64_t size);

#ifdef __cplusplus
}
#endif

#endif
