/* SPDX-License-Identifier: MIT */
/* The products of tile_output.comp, of float32 factors in shared memory. */

const float GROWTH = 57.0; /* bits: e^40 */

shared vec4 row_weights[DJ_TILE_FEATURES][DJ_TILE_TOKENS / 4];
shared vec4 key_weights[DJ_TILE_FEATURES][DJ_TILE_TOKENS / 4];

/* The invocation's scores, [key][row]. */
vec4 block[4];

/* Features as they are, for the pairwise form. */
#define ROW_FEATURE(f, row) row_weights[f][(row) / 4][(row) % 4]
#define KEY_FEATURE(f, j) key_weights[f][(j) / 4][(j) % 4]

void set_row(uint f, uint row, float weight)
{
    row_weights[f][row / 4][row % 4] = weight;
}

void set_key(uint f, uint j, float weight)
{
    key_weights[f][j / 4][j % 4] = weight;
}

float row_weight(uint f, uint row)
{
    return row_weights[f][row / 4][row % 4];
}

void start_scores()
{
}

void add_scores(uint features, uint row, uint key_block)
{
    if (key_block > row) /* no row of the block sees any of its keys */
        return;
    for (uint f = 0; f < features; f++) {
        const vec4 w = row_weights[f][row], k = key_weights[f][key_block];
        for (uint i = 0; i < 4; i++)
            block[i] += w * k[i];
    }
}

void take_scores(uint row, uint key_block)
{
}

void round_scores()
{
}

void start_states(uint c0)
{
}

void load_states(uint f0, uint c0)
{
}

/* Adds 32 features' share of the state before the tile. */
void add_states(uint f0, uint row, uint c, inout vec4 sums[8])
{
    const uint features = min(FEATURES - f0, DJ_TILE_FEATURES);
    for (uint f = 0; c < VALUE_DIM && f < features; f++) {
        const vec4 s = vec4(sum_before(f0 + f, c), sum_before(f0 + f, c + 1),
                            sum_before(f0 + f, c + 2), sum_before(f0 + f, c + 3));
        const vec4 low = row_weights[f][row / 4], high = row_weights[f][row / 4 + 1];
        for (uint i = 0; i < 4; i++) {
            sums[i] += low[i] * s;
            sums[4 + i] += high[i] * s;
        }
    }
}

void take_states(uint row, inout vec4 sums[8])
{
}

/* Adds what the tile's own keys see. */
void add_values(uint values_base, uint c0, uint row, uint c, inout vec4 sums[8])
{
    if (c >= VALUE_DIM)
        return;
    const uint full = min(row, count);
    for (uint j = 0; j < full; j++) {
        const vec4 v = load_value(values_base, j, c);
        const vec4 low = score[j][row / 4], high = score[j][row / 4 + 1];
        for (uint i = 0; i < 4; i++) {
            sums[i] += low[i] * v;
            sums[4 + i] += high[i] * v;
        }
    }
    /* by selection: a NaN in v_j must not reach the rows before j */
    for (uint j = row; j < min(row + 8, count); j++) {
        const vec4 v = load_value(values_base, j, c);
        const vec4 low = score[j][row / 4], high = score[j][row / 4 + 1];
        for (uint i = 0; i < 4; i++) {
            if (j <= row + i)
                sums[i] += low[i] * v;
            if (j <= row + 4 + i)
                sums[4 + i] += high[i] * v;
        }
    }
}
