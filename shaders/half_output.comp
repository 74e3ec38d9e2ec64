#version 450
/* SPDX-License-Identifier: MIT */
/* Outputs of a segment of tokens. For each chunk, with S and z before it (half.glsl), of row i
 *   num_i = sum_f phi_i[f] S[f] + sum_{j<=i} A_ij v_j,   A_ij = sum_f phi_i[f] phi_j[f],
 *   den_i = sum_f |phi_i[f]| z[f] + sum_{j<=i} |A_ij|.
 * Factors of the products: features and values as they are; scores over FEATURES; sums and norms times powers
 * of two that bring the largest there can be in the segment to 2^14. Where float16 may have lost too much, the
 * outputs are to be done again.
 *
 * Workgroup (x, y, z): segment, sequence and query head, block of columns. */
#extension GL_GOOGLE_include_directive : require
#define SECTIONS 2
#include "half.glsl"
#include "denominator.glsl"

const uint STATE_ROW = (COLUMNS + N + 8) / 8;
#define SCORE_SCALE (1.0 / float(FEATURES))
const float FACTOR_BITS = 14.0;
/* docs/mathematics.md, section 6.4, says why these. */
const float LEAST_SCORE = SIGNED ? 1.0 / 16384.0 : 1.0 / 256.0; /* in the mean, norms added */
const float MOST_SCORE = 60000.0;
const float LEAST_NORM = 1.0 / 8.0;  /* of 2^FACTOR_BITS, in the mean by features */
const float LEAST_STATE = 1.0 / 8192.0; /* the largest of some sums as factors, if they are not 0 */
const float MOST_SPREAD = 1024.0;    /* from the mean of a column's values to the largest sum over the largest norm */

/* S and z, of float16; once the rows have seen that, outputs. */
shared uvec4 state[(FEATURES > CHUNK ? FEATURES : CHUNK) * STATE_ROW];

float sum_up, norm_up;      /* the powers of two */
float sum_down, norm_down;  /* from there to scores' scale */
float least_part;           /* of what a row sees of norms in the sum of its features */
float largest_score = 0.0;
const bool ZERO_ROWS = FEATURE == DJ_FEATURE_RELU && DENOMINATOR != DJ_DENOMINATOR_NONE; /* which see no NaN */
uint zero_rows = 0; /* bits of those whose features are all 0, of the invocation's elements of a matrix */

#define largest_before MARK(5) /* norm */
#define largest_sum MARK(6)    /* of a column, there can be */
#define smallest_sum MARK(7)   /* ... above 0 */
#define spread MARK(12)        /* not 0: norms are so far apart that rows are to be asked what they see of them */
#define rows_spoiled(chunk, row) MARK(8 + (chunk) % 2 * (CHUNK / 32) + (row) / 32) /* a bit for each */
const uint INFINITE_BITS = 0x7f800000u; /* of Inf; those of NaN are above */
const uint MOST_BITS = 0x70000000u;     /* of norms and sums, 2^97; those of NaN and Inf are above */

uint bits_of(float x)
{
    return floatBitsToUint(x);
}

/* S and z before the segment, and what they and the segment's own ask for. In the state's place lie factors of
 * features, from BEFORES on norms, from MAXIMA on the largest sums of columns. */
const uint BEFORES = FEATURES / 4, MAXIMA = FEATURES / 2;

/* Loads of all invocations for n numbers. */
#define SHARES_OF(n) (((n) + THREADS - 1) / THREADS)
#define EACH_SHARE(n) [[unroll]] for (uint l = 0, i = t; l < SHARES_OF(n); l++, i += THREADS) if (i < (n))

void load_state(uint tile, uint c0, uint tokens)
{
    const uint record = tile * DJ_RECORD_SIZE(FEATURES, VALUE_DIM), note = push.notes + tile * NOTE_SIZE;
    float before[SHARES_OF(FEATURES)], peak[SHARES_OF(FEATURES)];
    float largest_value[SHARES_OF(COLUMNS)], mean_value[SHARES_OF(COLUMNS)];
    vec4 part_sums[SHARES_OF(FEATURES * COLUMNS / 4)];
    EACH_SHARE(FEATURES) {
        before[l] = RECORDS(record + DJ_RECORD_BEFORE_NORM(FEATURES, VALUE_DIM) + i);
        peak[l] = RECORDS(record + DJ_RECORD_BEFORE_PEAK(FEATURES, VALUE_DIM) + i);
    }
    EACH_SHARE(COLUMNS) {
        largest_value[l] = RECORDS(note + c0 + i);
        mean_value[l] = RECORDS(note + DJ_NOTE_SIZES(VALUE_DIM) + c0 + i) / float(tokens);
    }
    const float own_norm = RECORDS(note + DJ_NOTE_NORM(VALUE_DIM));
    const float longer = max(float(tokens) / float(DJ_SEGMENT_TOKENS(0)), 1.0);
    EACH_SHARE(FEATURES * COLUMNS / 4)
        part_sums[l] = records.data[(record + i / (COLUMNS / 4) * VALUE_DIM + c0) / 4 + i % (COLUMNS / 4)];
    load_map();
    EACH_SHARE(COLUMNS) state[MAXIMA + i / 4][i % 4] = 0;
    if (t == 0)
        smallest_sum = 0x7f000000u;
    barrier();
    find_unit();
    EACH_SHARE(FEATURES) {
        const float exponent = peak[l] - key_exponent(), power = before[l] == 0.0 ? 0.0 : exp2i(exponent) / unit;
        if (before[l] != 0.0 && !(abs(exponent) <= 60.0))
            FLAG(failed);
        state[i / 4][i % 4] = bits_of(power);
        state[BEFORES + i / 4][i % 4] = bits_of(before[l] * power);
        atomicMax(largest_before, bits_of(before[l] * power), gl_ScopeWorkgroup, 0, gl_SemanticsRelaxed);
    }
    barrier();
    EACH_SHARE(FEATURES * COLUMNS / 4) {
        const float power = uintBitsToFloat(state[i / (COLUMNS / 4) / 4][i / (COLUMNS / 4) % 4]);
        [[unroll]] for (uint n = 0; n < 4; n++)
            atomicMax(state[MAXIMA + i % (COLUMNS / 4)][n], bits_of(abs(part_sums[l][n]) * power), gl_ScopeWorkgroup, 0,
                      gl_SemanticsRelaxed);
    }
    EACH_STRIP {
        SUMS power;
        coopMatLoad(power, state, strip_feature(s) / 4, 0, BY_COLUMN);
        [[unroll]] for (uint n = 0; n < TILES; n++) {
            SUMS sums;
            coopMatLoad(sums, records.data, (record + strip_feature(s) * VALUE_DIM + c0 + tile_column(n)) / 4, VALUE_DIM / 4,
                        BY_ROW);
            [[unroll]] for (uint i = 0; i < sums.length(); i++)
                sums[i] *= power[i];
            sums_of[s * TILES + n] = sums;
        }
        coopMatLoad(norms_of[s], state, BEFORES + strip_feature(s) / 4, 0, BY_COLUMN);
    }
    barrier();
    const float norm = uintBitsToFloat(largest_before) + own_norm; /* as large as one may become */
    EACH_SHARE(COLUMNS) {
        const uint largest = state[MAXIMA + i / 4][i % 4];
        const bool none = largest > INFINITE_BITS; /* which spoils the column by itself */
        const float sum = none ? 0.0 : uintBitsToFloat(largest) + largest_value[l] * norm;
        if (largest_value[l] == DJ_NOTE_FAILED || (largest >= MOST_BITS && !none) ||
            (mean_value[l] > 0.0 && sum > MOST_SPREAD * longer * mean_value[l] * norm) || (none && ZERO_ROWS))
            FLAG(failed);
        atomicMax(largest_sum, bits_of(sum), gl_ScopeWorkgroup, 0, gl_SemanticsRelaxed);
        if (sum > 0.0)
            atomicMin(smallest_sum, bits_of(sum), gl_ScopeWorkgroup, 0, gl_SemanticsRelaxed);
    }
    if (t == 0 && (largest_before >= MOST_BITS || bits_of(own_norm) >= MOST_BITS))
        FLAG(failed);
    barrier();
    const float sum = uintBitsToFloat(largest_sum);
    const float norm_bits = FACTOR_BITS - exponent_of(norm);
    const float sum_bits = sum > 0.0 ? FACTOR_BITS - exponent_of(sum) : 0.0;
    norm_up = exp2i(norm_bits);
    norm_down = exp2i(-norm_bits) * SCORE_SCALE;
    sum_up = exp2i(sum_bits);
    sum_down = exp2i(-sum_bits) * SCORE_SCALE;
    least_part = LEAST_NORM * longer * (sum > 0.0 ? sum / uintBitsToFloat(smallest_sum) : 1.0);
}

/* S and z as factors; notes if a row's norm could be less than `least` of its features' sum. */
void write_state(float least)
{
    EACH_STRIP {
        [[unroll]] for (uint n = 0; n < TILES; n++) {
            const SUMS factor = sums_of[s * TILES + n] * sum_up;
            float largest = 0.0;
            [[unroll]] for (uint i = 0; i < factor.length(); i++)
                largest = max(largest, abs(factor[i]));
            failing = failing || (largest > 0.0 && largest < LEAST_STATE);
            coopMatStore(HALVES(factor), state, strip_feature(s) * STATE_ROW + tile_column(n) / 8, STATE_ROW, BY_ROW);
        }
        if (has_sum_norms()) {
            const SUMS factor = norms_of[s] * norm_up;
            bool enough = true;
            [[unroll]] for (uint i = 0; i < factor.length(); i++)
                enough = enough && factor[i] >= least;
            if (TRANSFORM && !enough)
                FLAG(spread);
            coopMatStore(HALVES(factor), state, strip_feature(s) * STATE_ROW + COLUMNS / 8, STATE_ROW, BY_ROW);
        }
    }
}

SUMS outputs_of[TILES]; /* of the subgroup's rows: num_i */
LEFT queries_of[FEATURES / K]; /* their features */
#define row_norms norms_of[PARTS > 1 ? 0 : STRIPS] /* den_i, which the first part has */

bool has_row_norms()
{
    return PARTS == 1 || part() == 0;
}

/* Where a strip's product with the values ends: behind what its last row sees, in whole matrices. */
uint strip_terms(uint row)
{
    return (row + M + K - 1) / K * K;
}

/* What rows see of the norms: at least such a part of their features' sum. */
void multiply_norms(float least)
{
    row_norms = SUMS(0.0);
    [[unroll]] for (uint k = 0; k < FEATURES / K; k++) {
        RIGHT b;
        coopMatLoad(b, state, k * K * STATE_ROW + COLUMNS / 8, STATE_ROW, BY_ROW);
        row_norms = coopMatMulAdd(norm_factor(queries_of[k]), b, row_norms);
    }
    if (!TRANSFORM || spread != 0) {
        SUMS features_sum = SUMS(0.0);
        [[unroll]] for (uint k = 0; k < FEATURES / K; k++)
            features_sum = coopMatMulAdd(norm_factor(queries_of[k]), RIGHT(float16_t(1.0)), features_sum);
        zero_rows = 0;
        [[unroll]] for (uint i = 0; i < features_sum.length(); i++) {
            failing = failing || !(row_norms[i] >= features_sum[i] * least);
            zero_rows |= !TRANSFORM && features_sum[i] == 0.0 ? 1u << i : 0u;
        }
    }
    row_norms *= norm_down;
}

/* What the subgroup's rows see of the state; its share of scores in the place of queries, 0 for keys that a row does not
 * see. */
void multiply_queries(float least)
{
    const uint row = strip_row();
    [[unroll]] for (uint k = 0; k < FEATURES / K; k++)
        coopMatLoad(queries_of[k], rows, SECTION + row * ROW + k * K / 8, ROW, BY_ROW);
    if (PARTS > 1)
        barrier();
    else
        subgroup_barrier();
    [[unroll]] for (uint n = 0; n < TILES; n++)
        outputs_of[n] = SUMS(0.0);
    [[unroll]] for (uint k = 0; k < FEATURES / K; k++) {
        [[unroll]] for (uint n = 0; n < TILES; n++) {
            RIGHT b;
            coopMatLoad(b, state, k * K * STATE_ROW + tile_column(n) / 8, STATE_ROW, BY_ROW);
            outputs_of[n] = coopMatMulAdd(queries_of[k], b, outputs_of[n]);
        }
    }
    [[unroll]] for (uint n = 0; n < TILES; n++)
        outputs_of[n] *= sum_down;
    if (has_row_norms())
        multiply_norms(least);
    [[unroll]] for (uint tile = 0; tile < CHUNK / N; tile += PARTS) {
        const uint column = (tile + PARTS - 1 - part()) * N; /* the first part, which has norms, has fewer */
        if (column < strip_terms(row)) {
            SUMS scores = SUMS(0.0);
            [[unroll]] for (uint k = 0; k < FEATURES / K; k++) {
                RIGHT b;
                coopMatLoad(b, rows, column * ROW + k * K / 8, ROW, BY_COLUMN);
                scores = coopMatMulAdd(queries_of[k], b, scores);
            }
            scores *= SCORE_SCALE;
            [[unroll]] for (uint i = 0; i < scores.length(); i++)
                largest_score = max(largest_score, abs(scores[i]));
            if (column + N > row + 1) {
                SUMS row_number;
                SUMS column_number;
                coopMatLoad(row_number, number, row, 0, BY_COLUMN);
                coopMatLoad(column_number, number, column, 0, BY_ROW);
                [[unroll]] for (uint i = 0; i < scores.length(); i++)
                    scores[i] = row_number[i] >= column_number[i] ? scores[i] : 0.0;
            }
            coopMatStore(HALVES(scores), rows, SECTION + row * ROW + column / 8, ROW, BY_ROW);
        }
    }
    barrier(); /* no more of the state is read: outputs take its place */
}

/* The chunk's keys and values: to the rows that see them, and to the sums. */
void add_chunk()
{
    const uint row = strip_row();
    [[unroll]] for (uint k = 0; k < CHUNK; k += K) {
        load_values(k * VALUE_ROW);
        add_keys(k * ROW);
        if (k < strip_terms(row)) {
            LEFT scores;
            coopMatLoad(scores, rows, SECTION + row * ROW + k / 8, ROW, BY_ROW);
            [[unroll]] for (uint n = 0; n < TILES; n++)
                outputs_of[n] = coopMatMulAdd(scores, terms_of[n], outputs_of[n]);
            if (has_row_norms())
                row_norms = coopMatMulAdd(norm_factor(scores), RIGHT(float16_t(1.0)), row_norms);
        }
    }
}

bool is_zero(uint i)
{
    return (zero_rows >> i & 1) != 0;
}

/* For the other parts: what outputs are to be divided by; those of rows of zeros are 0 as they are. */
void write_norms()
{
    SUMS rows_number;
    SUMS columns_number;
    coopMatLoad(rows_number, number, strip_row(), 0, BY_COLUMN);
    coopMatLoad(columns_number, number, 0, 0, BY_ROW);
    [[unroll]] for (uint i = 0; i < rows_number.length(); i++) {
        if (columns_number[i] == 0.0)
            norm_of_row[uint(rows_number[i])] = is_zero(i) ? 1.0 : row_norms[i];
    }
}

void check_norms(float scale)
{
    SUMS rows_number;
    coopMatLoad(rows_number, number, strip_row(), 0, BY_COLUMN);
    [[unroll]] for (uint i = 0; i < rows_number.length(); i++) {
        const float total = row_norms[i];
        const bool least = total < LEAST_SCORE * (rows_number[i] + 1.0) ||
            (DENOMINATOR != DJ_DENOMINATOR_NONE && is_least(total / SCORE_SCALE, vec3(1.0, scale, scale)));
        failing = failing || (!is_zero(i) && rows_number[i] < float(count) && (least || bits_of(total) >= MOST_BITS));
    }
}

/* Outputs, in the state's place. */
void write_outputs(float scale)
{
    const uint row = strip_row();
    SUMS factor = SUMS(1.0 / SCORE_SCALE); /* what scores lack */
    if (DENOMINATOR != DJ_DENOMINATOR_NONE) {
        coopMatLoad(factor, norm_of_row, row, 0, BY_COLUMN);
        [[unroll]] for (uint i = 0; i < factor.length(); i++)
            factor[i] = 1.0 / factor[i];
    }
    [[unroll]] for (uint n = 0; n < TILES; n++) {
        [[unroll]] for (uint i = 0; i < factor.length(); i++) {
            precise float x = outputs_of[n][i] * factor[i];
            if (DENOMINATOR == DJ_DENOMINATOR_NONE) { /* one by one: the square may overflow */
                x = x * scale;
                x = x * scale;
            }
            outputs_of[n][i] = x;
        }
        coopMatStore(HALVES(outputs_of[n]), state, row * STATE_ROW + tile_column(n) / 8, STATE_ROW, BY_ROW);
    }
    subgroup_barrier();
}

/* Outputs of a token's row from a column on, with NaN for those that NaN or Inf reaches, or for all. */
uvec4 spoil_outputs(uvec4 eight, uint token, bool all, uint column)
{
    [[unroll]] for (uint n = 0; n < 8; n++)
        eight[n / 2] |= !all && token < spoiled_from(column + n) ? 0u : n % 2 == 0 ? 0x7e00u : 0x7e000000u;
    return eight;
}

/* The subgroup's outputs to memory. What others mark meanwhile is of later tokens, and changes nothing here. */
void store_outputs(uint base, uint first, uint chunk)
{
    const uint width = TILES * N / 8;
    [[unroll]] for (uint i = gl_SubgroupInvocationID; i < M * width; i += SUBGROUP) {
        const uint at = part() * width + i % width, row = strip_row() + i / width;
        uvec4 eight = state[row * STATE_ROW + at];
        if (spoiled != 0)
            eight = spoil_outputs(
                eight, first + row,
                first + row >= keys_spoiled_from || (rows_spoiled(chunk, row) >> row % 32 & 1) != 0, at * 8);
        if (row < count)
            outputs.data[(base + row * push.o_stride[2]) / 8 + at] = eight;
    }
}

/* Queries, keys and values of a chunk. */
#define LOAD_CHUNK(first) { \
    const uint rest = max(segment.end, first) - (first); \
    LOAD_ROWS(new_queries, rest, queries, segment.q + (first) * push.q_stride[2], push.q_stride[2], DIM) \
    LOAD_ROWS(new_keys, rest, keys, segment.k + (first) * push.k_stride[2], push.k_stride[2], DIM) \
    LOAD_ROWS(new_values, rest, values_in, segment.v + (first) * push.v_stride[2], push.v_stride[2], COLUMNS) \
}

void main()
{
    t = gl_LocalInvocationID.x;
    const Segment segment = find_segment(push.group);
    if (segment.end <= segment.start)
        return;
    head = segment.head;
    uvec4 new_queries[LOADS(DIM)], new_keys[LOADS(DIM)], new_values[LOADS(COLUMNS)];
    LOAD_CHUNK(segment.start)
    load_state(segment.tile, segment.c0, segment.end - segment.start);
    const bool empty = largest_before == 0;
    const float scale = exp2i(unit_exponent) * unit;
    uint chunk = 0;
    for (uint first = segment.start; first < segment.end && failed == 0; first += CHUNK, chunk++) {
        count = min(segment.end - first, CHUNK);
        CHECK_ROWS(new_queries, atomicOr(rows_spoiled(chunk, i / (DIM / 8)), 1u << i / (DIM / 8) % 32, gl_ScopeWorkgroup, 0,
                                         gl_SemanticsRelaxed))
        CHECK_KEYS(new_keys, first)
        CHECK_VALUES(new_values, first)
        STORE_ROWS(new_queries, rows, SECTION, ROW, DIM)
        STORE_ROWS(new_keys, rows, 0, ROW, DIM)
        STORE_ROWS(new_values, values, 0, VALUE_ROW, COLUMNS)
        barrier();
        if (t < CHUNK / 32)
            rows_spoiled(chunk + 1, t * 32) = 0;
        if (KEY_NORMALISE)
            write_weights();
        if (TRANSFORM)
            make_features();
        const float least = empty && first == segment.start ? 0.0 : least_part;
        write_state(least);
        barrier();
        if (KEY_NORMALISE)
            normalise_keys(0);
        multiply_queries(least);
        LOAD_CHUNK(first + CHUNK)
        add_chunk();
        if (DENOMINATOR != DJ_DENOMINATOR_NONE && has_row_norms())
            write_norms();
        barrier(); /* no more rows are read: the next chunk's may take their place */
        if (has_row_norms())
            check_norms(scale);
        write_outputs(scale);
        store_outputs(segment.o + first * push.o_stride[2], first, chunk);
    }
    failing = failing || !(largest_score <= MOST_SCORE) || (ZERO_ROWS && spoiled != 0);
    collect_failures();
    barrier();
    if (t == 0)
        RECORDS(push.notes + segment.tile * NOTE_SIZE + DJ_NOTE_OUTPUTS(VALUE_DIM) + segment.member * BLOCKS + gl_WorkGroupID.z) =
            failed != 0 ? DJ_NOTE_FAILED : 0.0;
}
