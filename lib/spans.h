/* SPDX-License-Identifier: MIT */
/* Spans: which tokens of the tensors' rows are sequences, on the host and as the kernels see it. */
#ifndef DJ_LIB_SPANS_H
#define DJ_LIB_SPANS_H

#include "recorder.h"
#include "tensor.h"

#include <dijiang/attention.h>

/* One side's spans, checked. */
struct dj_span_set {
    const struct dj_spans *spans;
    uint64_t sequences;
    uint64_t row_tokens; /* of a row of the tensors */
    uint64_t longest;    /* tokens of a sequence, at most */
};

/* Whether the indices lie in a buffer, unseen by the host. */
bool dj_spans_on_device(const struct dj_span_set *set);

/* Whether sequences differ in place or length, so that kernels read a table. */
bool dj_spans_ragged(const struct dj_span_set *set);

/* Checks spans of tensors of shape [rows, row_tokens, ..], name as the caller knows them. */
dj_result dj_spans_check(const struct dj_context *context, const char *name,
                         const struct dj_spans *spans, uint64_t rows, uint64_t row_tokens,
                         struct dj_span_set *set);

/* How many indices there are. */
uint64_t dj_spans_numbers(const struct dj_span_set *set);

/* Sequence n's first token and number of tokens, by the host's indices. */
struct dj_span {
    uint64_t first, count;
};
struct dj_span dj_span_of(const struct dj_span_set *set, uint64_t n);

/* The piece of the tensors that tokens start .. start + count - 1 of `sequences` sequences from
 * `sequence` on occupy (all of the row where the host cannot know): box->start[0], [1] and counts;
 * [2] is the caller's. Its count[1] may be 0. back > 0: of each sequence only the token `back` from
 * its end instead (1: the last). */
struct dj_box dj_spans_box(const struct dj_span_set *set, uint64_t sequence, uint64_t sequences,
                           uint64_t start, uint64_t count, uint64_t back);

/* The longest of these sequences, as far as the host knows. */
uint64_t dj_spans_longest(const struct dj_span_set *set, uint64_t sequence, uint64_t sequences);

/* A dj_indices as a binding; base: words from its start to the first number. None given: no buffer.
 */
struct dj_bound_indices {
    struct dj_binding binding;
    uint32_t base;
};

bool dj_indices_given(const struct dj_indices *indices);

/* Checks indices of `count` numbers, name as the caller knows them. */
dj_result dj_indices_check(const struct dj_context *context, const char *name,
                           const struct dj_indices *indices, uint64_t count);

/* Bytes of the ring that binding them takes, and the binding: the host's are pushed to the ring. */
uint64_t dj_indices_ring_size(const struct dj_context *context, const struct dj_indices *indices,
                              uint64_t count);
struct dj_bound_indices dj_indices_bind(struct dj_recorder *recorder,
                                        const struct dj_indices *indices, uint64_t count);

#endif
