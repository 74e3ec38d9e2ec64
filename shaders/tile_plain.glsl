/* SPDX-License-Identifier: MIT */
/* The products of tile_output.comp, of float32 factors in shared memory. */

const float GROWTH = 57.0; /* bits: e^40 */
const bool SUMS_SCALED = true; /* state_power goes with the sums and norms, not with the rows' weights */

/* A feature's weights begin four banks behind those of the feature before: neighbouring invocations store one
 * row's weights of neighbouring features. */
const uint STRIDE = DJ_TILE_TOKENS / 4 + 1;
shared vec4 row_weights[DJ_TILE_FEATURES][STRIDE];
shared vec4 key_weights[DJ_TILE_FEATURES][STRIDE];

/* [key][row / 4][row % 4], where the keys' weights were, which nobody needs once there are scores. */
#define score key_weights

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

/* Adds v times a weight of each of eight rows. */
void add_rows(vec4 low, vec4 high, vec4 v, inout vec4 sums[8])
{
    for (uint i = 0; i < 4; i++) {
        sums[i] += low[i] * v;
        sums[4 + i] += high[i] * v;
    }
}

/* The same of those rows that see key j, by selection: a NaN in v must not reach the others. */
void add_seen(uint j, uint row, vec4 v, inout vec4 sums[8])
{
    const vec4 low = score[j][row / 4], high = score[j][row / 4 + 1];
    for (uint i = 0; i < 4; i++) {
        if (j <= row + i)
            sums[i] += low[i] * v;
        if (j <= row + 4 + i)
            sums[4 + i] += high[i] * v;
    }
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

/* Behind it nobody reads the keys' weights. */
void take_scores(uint row, uint key_block)
{
    barrier();
}

void round_scores()
{
}

void start_states(uint c0)
{
}

/* Behind it the rows' weights are there, as they are behind those of scores. */
void load_states(uint f0, uint c0, bool scores)
{
    if (!scores)
        barrier();
}

/* Adds 32 features' share of the state before the tile; FEATURES is a multiple of AHEAD. */
void add_states(uint f0, uint row, uint c, inout vec4 sums[8])
{
    if (c >= VALUE_DIM)
        return;
    const uint features = min(FEATURES - f0, DJ_TILE_FEATURES);
    for (uint first = 0; first < features; first += AHEAD) {
        vec4 states[AHEAD];
        [[unroll]] for (uint i = 0; i < AHEAD; i++)
            states[i] = sums_before(f0 + first + i, c) * state_power[first + i];
        [[unroll]] for (uint i = 0; i < AHEAD; i++)
            add_rows(row_weights[first + i][row / 4], row_weights[first + i][row / 4 + 1], states[i], sums);
    }
}

void take_states(uint row, inout vec4 sums[8])
{
}

/* Adds what the tile's own keys see. Rows beyond the last may be anything, so that no count bounds the loops: the
 * rows before an invocation's, and its eight, are multiples of AHEAD. Of keys beyond the last, which only rows
 * beyond the last see, the last is taken. */
void add_values(uint values_base, uint c0, uint row, uint c, inout vec4 sums[8])
{
    if (c >= VALUE_DIM || row >= count)
        return;
    for (uint first = 0; first < row; first += AHEAD) {
        vec4 v[AHEAD];
        [[unroll]] for (uint i = 0; i < AHEAD; i++)
            v[i] = load_value(values_base, first + i, c);
        [[unroll]] for (uint i = 0; i < AHEAD; i++)
            add_rows(score[first + i][row / 4], score[first + i][row / 4 + 1], v[i], sums);
    }
    for (uint first = row; first < row + 8; first += AHEAD) {
        vec4 v[AHEAD];
        [[unroll]] for (uint i = 0; i < AHEAD; i++)
            v[i] = load_value(values_base, min(first + i, count - 1), c);
        [[unroll]] for (uint i = 0; i < AHEAD; i++)
            add_seen(first + i, row, v[i], sums);
    }
}
