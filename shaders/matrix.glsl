/* SPDX-License-Identifier: MIT */
/* Products by cooperative matrices: 32 x 32 by 32 x 64, float16 factors, float32 sums. A factor is stored
 * times a power of two that brings the largest of its kind into float16's upper range; what is 2^-27 of
 * that or less is below its normal numbers, and may be taken for 0.
 * Rows and columns are those of blocks in shared memory; a block is cut into M x K by K x N, of which
 * the workgroup's subgroups have equal shares. Invocation t loads column t of the right factor. */
#include "matrices.glsl"

const uint SIDE = DJ_TILE_TOKENS, WIDTH = DJ_TILE_VALUES; /* rows and terms; columns at most */
const uint LEFT_STRIDE = DJ_MATRIX_STRIDE(SIDE), RIGHT_STRIDE = DJ_MATRIX_STRIDE(WIDTH);
const float WEIGHT_SCALE = 8192.0; /* of weights, which are below 4 */
const float WEIGHT_UNSCALE = 1.0 / WEIGHT_SCALE;

/* Rows of both begin at multiples of 16 bytes, as matrices want it: nothing shared stands before them. */
shared float16_t left[SIDE * LEFT_STRIDE];   /* [row][term] */
shared float16_t right[SIDE * RIGHT_STRIDE]; /* [term][column] */
shared float products[SIDE * WIDTH];         /* [row][column] */

const uint SUBGROUPS = DJ_TILE_THREADS / SUBGROUP;
const uint SHARE = (SIDE / M * (WIDTH / N) + SUBGROUPS - 1) / SUBGROUPS;
/* A subgroup's share of a product, float sums; what follows takes the name of one. */
#define SUMS(name) coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator> name[SHARE]

#define START_PRODUCTS(sums) \
    { \
        [[unroll]] for (uint i = 0; i < SHARE; i++) \
            sums[i] = coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator>(0.0); \
    }

#define ADD_PRODUCT(sums, row, column, k) \
    { \
        coopmat<float16_t, gl_ScopeSubgroup, M, K, gl_MatrixUseA> a; \
        coopmat<float16_t, gl_ScopeSubgroup, K, N, gl_MatrixUseB> b; \
        coopMatLoad(a, left, (row) * LEFT_STRIDE + (k), LEFT_STRIDE, gl_CooperativeMatrixLayoutRowMajor); \
        coopMatLoad(b, right, (k) * RIGHT_STRIDE + (column), RIGHT_STRIDE, gl_CooperativeMatrixLayoutRowMajor); \
        sums = coopMatMulAdd(a, b, sums); \
    }

/* Where the subgroup's sums number i lie in a product of `columns` columns; false: it has no such ones. */
bool find_share(uint i, uint columns, out uint row, out uint column)
{
    const uint at = i * SUBGROUPS + gl_SubgroupID;
    row = at / (columns / N) * M;
    column = at % (columns / N) * N;
    return row < SIDE;
}

/* Adds left * right, its first `columns` columns. What is unrolled takes CPU devices seconds to compile. */
#define ADD_PRODUCTS(sums, columns) \
    { \
        [[unroll]] for (uint i = 0; i < SHARE; i++) { \
            uint row, column; \
            if (!find_share(i, columns, row, column)) \
                continue; \
            [[dont_unroll]] for (uint k = 0; k < SIDE; k += 2 * K) { \
                ADD_PRODUCT(sums[i], row, column, k) \
                if (k + K < SIDE) \
                    ADD_PRODUCT(sums[i], row, column, k + K) \
            } \
        } \
    }

/* Writes the sums to `products`; others read them after a barrier. */
#define STORE_PRODUCTS(sums, columns) \
    { \
        [[unroll]] for (uint i = 0; i < SHARE; i++) { \
            uint row, column; \
            if (find_share(i, columns, row, column)) \
                coopMatStore(sums[i], products, row * WIDTH + column, WIDTH, gl_CooperativeMatrixLayoutRowMajor); \
        } \
    }

/* The larger of a maximum and a number's size; what is not finite does not count. */
float larger(float largest, float x)
{
    return is_finite(x) ? max(largest, abs(x)) : largest;
}

/* The exponent of the power of two that brings numbers up to `largest` below 2^15. */
float half_shift(float largest)
{
    return min(14.0 - exponent_of(largest), 126.0);
}

/* The right factor's term of the invocation's column. */
void set_term(uint term, float x)
{
    right[term * RIGHT_STRIDE + gl_LocalInvocationID.x] = float16_t(x);
}
