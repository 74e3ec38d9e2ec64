/* SPDX-License-Identifier: MIT */
/* A whole program: attention over one sequence, in one call. */
#include <dijiang/dijiang.h>
#include <math.h>
#include <stdio.h>

enum { T = 1000, H = 8, D = 64 }; /* tokens of one sequence, heads, head dimension */
static float q[T * H * D], k[T * H * D], v[T * H * D], o[T * H * D]; /* [T][H][D] */

static void print(void *user, uint32_t level, const char *line) /* what went wrong, with its values */
{
    (void)user, (void)level;
    fprintf(stderr, "%s\n", line);
}

int main(void)
{
    for (int i = 0; i < T * H * D; i++)
        q[i] = k[i] = v[i] = sinf(i);

    const uint64_t shape[4] = {1, T, H, D};
    float t[D];
    dj_context *gpu = NULL;
    dj_features *map = NULL;
    dj_attention *plan = NULL;
    struct dj_attention_args args = {0};

    dj_frequencies_draw(D, 1, t);
    dj_result r = dj_context_create(&(struct dj_context_params){.log = print}, &gpu);
    r = r ? r : dj_features_create(gpu, &(struct dj_features_params){.dim = D, .frequencies = t}, &map);
    r = r ? r : dj_attention_create(gpu, &(struct dj_attention_params){.heads = H, .dim = D}, &plan);
    r = r ? r : dj_tensor_create(gpu, DJ_FLOAT32, shape, q, &args.q);
    r = r ? r : dj_tensor_create(gpu, DJ_FLOAT32, shape, k, &args.k);
    r = r ? r : dj_tensor_create(gpu, DJ_FLOAT32, shape, v, &args.v);
    r = r ? r : dj_tensor_create(gpu, DJ_FLOAT32, shape, NULL, &args.o);
    args.features = map;
    r = r ? r : dj_attention_run(plan, &args);
    r = r ? r : dj_buffer_read(args.o.buffer, 0, o, sizeof o);
    if (r)
        printf("%s\n", dj_result_str(r));
    else
        printf("the last token's first output is %.4f\n", o[(T - 1) * H * D]);

    dj_buffer_destroy(&args.q.buffer);
    dj_buffer_destroy(&args.k.buffer);
    dj_buffer_destroy(&args.v.buffer);
    dj_buffer_destroy(&args.o.buffer);
    dj_attention_destroy(&plan);
    dj_features_destroy(&map);
    dj_context_destroy(&gpu);
    return r != DJ_SUCCESS;
}
