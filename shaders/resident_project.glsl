/* SPDX-License-Identifier: MIT */
/* Products of rows with directions, inside the resident kernel. The head's matrix [d][m] is loaded once and
 * then held, by lane:
 *
 *                features
 *            lane 0   lane 1       lane 7    and so on in the next vec4
 *           +--------+--------+-- --+--------+
 *     term  | 0 .. 3 | 4 .. 7 |     | 28..31 |
 *           +--------+--------+-- --+--------+
 *
 * A turn of the loop is for what one lane holds: from_lane brings it to all, each of which has
 * the row of a token. So what stands in the code is d m / LANES terms, none of which is a load from memory
 * by address. The including shader declares x, tables, lane and the sizes. */

const uint FOURS = (FEATURES + 4 * LANES - 1) / (4 * LANES); /* of a lane, to each term */
const uint TERMS = 16; /* of a product, summed by themselves: less rounding than one long sum */

vec4 directions[WIDTH * FOURS];
float products[FEATURES], squares; /* of the lane's row */

void load_directions()
{
    const uint matrix = push.matrix + head * push.head_stride * WIDTH;
    [[unroll]] for (uint four = 0; four < FOURS; four++) {
        const uint from = matrix + min(4 * (four * LANES + lane), FEATURES - 4);
        Fours column = Fours(word_address(uvec2(tables), from));
        [[unroll]] for (uint n = 0; n < WIDTH; n++) {
            vec4 terms;
            if (VECTORS) {
                terms = uintBitsToFloat(column.data[n * FEATURES / 4]);
            } else {
                [[unroll]] for (uint i = 0; i < 4; i++)
                    terms[i] = tables.data[from + n * FEATURES + i];
            }
            directions[n * FOURS + four] = terms;
        }
    }
}

/* Of the row in x. */
void project()
{
    squares = 0.0;
    [[unroll]] for (uint first = 0; first < WIDTH; first += TERMS) {
        float part = 0.0;
        [[unroll]] for (uint term = 0; term < TERMS; term++) {
            if (first + term < WIDTH)
                part += x[first + term] * x[first + term];
        }
        squares += part;
    }
    [[unroll]] for (uint i = 0; i < FEATURES; i++)
        products[i] = 0.0;
    [[dont_unroll]] for (uint of_lane = 0; of_lane < min(LANES, FEATURES / 4); of_lane++) {
        vec4 sums[FOURS];
        [[unroll]] for (uint four = 0; four < FOURS; four++)
            sums[four] = vec4(0.0);
        [[unroll]] for (uint first = 0; first < WIDTH; first += TERMS) {
            if (APART(first)) {
                vec4 part[FOURS];
                [[unroll]] for (uint four = 0; four < FOURS; four++)
                    part[four] = vec4(0.0);
                [[unroll]] for (uint term = 0; term < TERMS; term++) {
                    const uint n = first + term;
                    if (n < WIDTH) {
                        [[unroll]] for (uint four = 0; four < FOURS; four++) {
                            const vec4 all = directions[n * FOURS + four];
                            [[unroll]] for (uint i = 0; i < 4; i++)
                                part[four][i] += x[n] * from_lane(all[i], of_lane);
                        }
                    }
                }
                [[unroll]] for (uint four = 0; four < FOURS; four++)
                    sums[four] += part[four];
            }
        }
        [[unroll]] for (uint i = 0; i < FEATURES; i++) {
            const uint four = i / 4;
            products[i] = four % LANES == of_lane ? sums[four / LANES][i % 4] : products[i];
        }
    }
}
