/* SPDX-License-Identifier: MIT */
/* The products of tile_output.comp, by cooperative matrices. Sums before the tile, and values, are shifted
 * by what the largest of their column asks for, a row's scores by their own largest; a value that is not
 * a finite number is left out of the product, and multiplied by itself. */

/* Bits. What falls below float16's normal numbers is 2^-27 of a factor's largest; all features together
 * may lose 2^-10 of what a row sees. */
#define GROWTH (17.0 - float(findMSB(2 * FEATURES - 1)))
const bool SUMS_SCALED = false; /* state_power goes with the rows' weights: a column's sums have little room as it is */

shared vec4 score[DJ_TILE_TOKENS][DJ_TILE_TOKENS / 4]; /* [key][row / 4][row % 4] */
shared float column_shift[WIDTH], row_shift[DJ_TILE_TOKENS];
shared uint spoiled; /* not 0: a value is not finite */

SUMS(scores_of);
SUMS(sums_of); /* of columns: what rows see of the state, then of values */

/* The invocation's scores, [key][row]. */
vec4 block[4];

/* Features as they are, for the pairwise form. */
#define ROW_FEATURE(f, row) products[(f) * WIDTH + (row)]
#define KEY_FEATURE(f, j) products[(f) * WIDTH + DJ_TILE_TOKENS + (j)]

void set_row(uint f, uint row, float weight)
{
    left[row * LEFT_STRIDE + f] = float16_t(weight * WEIGHT_SCALE);
}

void set_key(uint f, uint j, float weight)
{
    right[f * RIGHT_STRIDE + j] = float16_t(weight * WEIGHT_SCALE);
}

/* As it was rounded. */
float row_weight(uint f, uint row)
{
    return float(left[row * LEFT_STRIDE + f]) * WEIGHT_UNSCALE;
}

void start_scores()
{
    START_PRODUCTS(scores_of)
}

void add_scores(uint features, uint row, uint key_block)
{
    ADD_PRODUCTS(scores_of, DJ_TILE_TOKENS)
}

void take_scores(uint row, uint key_block)
{
    STORE_PRODUCTS(scores_of, DJ_TILE_TOKENS)
    barrier();
    for (uint i = 0; i < 16; i++)
        block[i / 4][i % 4] = products[(row * 4 + i % 4) * WIDTH + key_block * 4 + i / 4] *
                              (WEIGHT_UNSCALE * WEIGHT_UNSCALE);
}

/* Scores as float16 has them, so that numerators and denominators have the same; two invocations share a
 * row. */
void round_scores()
{
    const uint row = gl_LocalInvocationID.x % DJ_TILE_TOKENS;
    const uint part = gl_LocalInvocationID.x / DJ_TILE_TOKENS;
    const uint first = part * (DJ_TILE_TOKENS / 2), end = first + DJ_TILE_TOKENS / 2;
    float largest = 0.0;
    for (uint j = first; j < end; j++)
        largest = larger(largest, score[j][row / 4][row % 4]);
    partial_seen[part][row] = largest;
    barrier();
    const float shift = half_shift(max(partial_seen[0][row], partial_seen[1][row]));
    const float up = exp2i(shift), down = exp2i(-shift);
    for (uint j = first; j < end; j++)
        score[j][row / 4][row % 4] = float(float16_t(score[j][row / 4][row % 4] * up)) * down;
    if (part == 0)
        row_shift[row] = shift;
    barrier();
}

/* Each invocation's own column. */
void start_states(uint c0)
{
    const uint c = c0 + gl_LocalInvocationID.x;
    barrier(); /* nobody reads the shifts of the columns before */
    float largest = 0.0;
    for (uint f = 0; c < VALUE_DIM && f < FEATURES; f++)
        largest = larger(largest, sum_before(f, c));
    column_shift[gl_LocalInvocationID.x] = half_shift(largest);
    START_PRODUCTS(sums_of)
}

/* In the place of keys' weights; behind it the rows' weights are there, too, those of the state. */
void load_states(uint f0, uint c0, bool scores)
{
    if (scores)
        barrier();
    const uint own = gl_LocalInvocationID.x % DJ_TILE_FEATURES; /* the feature whose weights the invocation loaded */
    for (uint row = gl_LocalInvocationID.x / DJ_TILE_FEATURES; row < DJ_TILE_TOKENS; row += ROWS)
        left[row * LEFT_STRIDE + own] *= float16_t(state_power[own]);
    const uint c = c0 + gl_LocalInvocationID.x;
    const float up = exp2i(column_shift[gl_LocalInvocationID.x]);
    for (uint f = 0; f < DJ_TILE_FEATURES; f++)
        set_term(f, c < VALUE_DIM && f0 + f < FEATURES ? sum_before(f0 + f, c) * up : 0.0);
    barrier();
}

void add_states(uint f0, uint row, uint c, inout vec4 sums[8])
{
    ADD_PRODUCTS(sums_of, WIDTH)
}

/* Adds the products of the invocation's rows and columns, the shifts of columns taken back. */
void take_products(uint row, inout vec4 sums[8])
{
    const uint column = gl_LocalInvocationID.x % 16 * 4;
    STORE_PRODUCTS(sums_of, WIDTH)
    barrier();
    for (uint n = 0; n < 4; n++) {
        const float down = exp2i(-column_shift[column + n]);
        for (uint i = 0; i < 8; i++)
            sums[i][n] += products[(row + i) * WIDTH + column + n] * down;
    }
}

void take_states(uint row, inout vec4 sums[8])
{
    take_products(row, sums);
    for (uint i = 0; i < 8; i++)
        sums[i] *= WEIGHT_UNSCALE;
}

/* Column c of the tile's value j; 0 beyond the last. */
float seen_value(uint base, uint j, uint c)
{
    return j < count && c < VALUE_DIM ? ELEMENT(values, V_TYPE, base + j * push.v_stride[2] + c) : 0.0;
}

/* The scores, and each invocation's column of the values, as factors. */
void load_values(uint values_base, uint c0)
{
    const uint t = gl_LocalInvocationID.x, c = c0 + t, row = t % DJ_TILE_TOKENS;
    if (t == 0)
        spoiled = 0;
    barrier();
    const float row_up = exp2i(row_shift[row]);
    for (uint j = t / DJ_TILE_TOKENS; j < DJ_TILE_TOKENS; j += 2)
        left[row * LEFT_STRIDE + j] = float16_t(score[j][row / 4][row % 4] * row_up);
    float largest = 0.0;
    for (uint j = 0; j < count; j++) {
        const float v = seen_value(values_base, j, c);
        largest = larger(largest, v);
        if (!is_finite(v))
            FLAG(spoiled);
    }
    const float shift = half_shift(largest), up = exp2i(shift);
    column_shift[t] = shift;
    for (uint j = 0; j < DJ_TILE_TOKENS; j++) {
        const float v = seen_value(values_base, j, c);
        set_term(j, is_finite(v) ? v * up : 0.0);
    }
    barrier();
}

/* Adds what the tile's own keys see. */
void add_values(uint values_base, uint c0, uint row, uint c, inout vec4 sums[8])
{
    vec4 own[8];
    for (uint i = 0; i < 8; i++)
        own[i] = vec4(0.0);
    load_values(values_base, c0);
    START_PRODUCTS(sums_of)
    ADD_PRODUCTS(sums_of, WIDTH)
    take_products(row, own);
    for (uint i = 0; i < 8; i++)
        sums[i] += own[i] * exp2i(-row_shift[row + i]);
    if (spoiled == 0)
        return;
    for (uint j = 0; j < min(row + 8, count); j++) {
        for (uint i = 0; i < 32; i++) {
            const uint r = row + i / 4;
            const float v = seen_value(values_base, j, c + i % 4);
            if (j <= r && !is_finite(v))
                sums[i / 4][i % 4] += score[j][r / 4][r % 4] * v;
        }
    }
}
