/* SPDX-License-Identifier: MIT */
/* What every consumer in C is made of: attention over values that are all the same, which must give
 * that value back. Where there is no device that is what the library must say. */
#include <dijiang/dijiang.h>

#include <math.h>
#include <stdio.h>

#ifdef WITH_CALIBRATION
#include <dijiang/calibrate.h>
#endif

enum {
    TOKENS = 100,
    HEADS = 2,
    DIM = 16,
    COUNT = TOKENS * HEADS * DIM,
};

static float q[COUNT], k[COUNT], v[COUNT], o[COUNT];

static dj_result attend(dj_context *gpu)
{
    const uint64_t shape[4] = {1, TOKENS, HEADS, DIM};
    float frequencies[DIM];
    dj_features *map = NULL;
    dj_attention *plan = NULL;
    struct dj_attention_args args = {0};

    dj_result r = dj_frequencies_draw(DIM, 1, frequencies);
    struct dj_features_params numbers = {.dim = DIM, .frequencies = frequencies};
    r = r ? r : dj_features_create(gpu, &numbers, &map);
    struct dj_attention_params params = {.heads = HEADS, .dim = DIM};
    r = r ? r : dj_attention_create(gpu, &params, &plan);
    r = r ? r : dj_tensor_create(gpu, DJ_FLOAT32, shape, q, &args.q);
    r = r ? r : dj_tensor_create(gpu, DJ_FLOAT32, shape, k, &args.k);
    r = r ? r : dj_tensor_create(gpu, DJ_FLOAT32, shape, v, &args.v);
    r = r ? r : dj_tensor_create(gpu, DJ_FLOAT32, shape, NULL, &args.o);
    args.features = map;
    r = r ? r : dj_attention_run(plan, &args);
    r = r ? r : dj_buffer_read(args.o.buffer, 0, o, sizeof(o));

    dj_buffer_destroy(&args.q.buffer);
    dj_buffer_destroy(&args.k.buffer);
    dj_buffer_destroy(&args.v.buffer);
    dj_buffer_destroy(&args.o.buffer);
    dj_attention_destroy(&plan);
    dj_features_destroy(&map);
    return r;
}

int main(void)
{
    for (int i = 0; i < COUNT; i++) {
        q[i] = sinf((float)i);
        k[i] = cosf((float)i);
        v[i] = 0.5f;
    }
#ifdef WITH_CALIBRATION
    struct dj_calibration *calibration = NULL;
    if (dj_calibration_load("/nonexistent/file", NULL, NULL, &calibration) != DJ_ERROR_FILE) {
        printf("a file that is not there was loaded\n");
        return 1;
    }
#endif
    dj_context *gpu = NULL;
    dj_result r = dj_context_create(NULL, &gpu);
    if (r == DJ_ERROR_NO_DEVICE || r == DJ_ERROR_NO_LOADER) {
        printf("no device to try: %s\n", dj_result_str(r));
        return 0;
    }
    r = r ? r : attend(gpu);
    dj_context_destroy(&gpu);
    if (r) {
        printf("%s: %s\n", dj_result_name(r), dj_result_str(r));
        return 1;
    }
    for (int i = 0; i < COUNT; i++) {
        if (!(fabsf(o[i] - 0.5f) < 1e-5f)) {
            printf("o[%d] is %g and should be 0.5\n", i, (double)o[i]);
            return 1;
        }
    }
    printf("attention over %d tokens\n", TOKENS);
    return 0;
}
