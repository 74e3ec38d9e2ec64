/* SPDX-License-Identifier: MIT */
#include "bench_ceilings.h"

#include "bench_copy.spv.h"
#include "bench_fma.spv.h"
#include "bench_kernel.h"
#include "program.h"
#if DJ_HAVE_MATRICES
#include "bench_matrix.spv.h"
#endif

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    WAYS = 3,
    COPIES = 12, /* at least, all ways together */
    RUNS = 20,
    LOAD = 16,          /* bytes; of bench_copy.comp, as are */
    COPY_GROUP = 128,   /* invocations */
    GROUP = 64,         /* invocations of bench_fma.comp */
    CPU_GROUPS = 256,   /* of arithmetic: enough for any number of cores */
    GPU_GROUPS = 16384, /* and to fill a large GPU some times over */
    FMA_ROUND = 120,    /* multiply-adds of one invocation and round */
    MATRIX_ROUND = 16,  /* products of one subgroup and round */
    FIRST_ROUNDS = 16,  /* of the check; then more, until a run is long enough: */
    MAX_ROUNDS = 1 << 16,
};
static const double run_seconds = 0.005;

static const uint64_t mib = 1 << 20;

static int fail(const char *what, VkResult code)
{
    return program_fail("%s failed: VkResult %d", what, (int)code);
}

/* DJ_ERROR_COMPILER stands for a wrong result: no call here returns it. */
static int explain(const char *what, dj_result result)
{
    if (result == DJ_SUCCESS)
        return PROGRAM_SUCCESS;
    if (result != DJ_ERROR_COMPILER)
        return program_fail_dj(what, result);
    program_fail("the kernel that measures the device is wrong: %s", what);
    return PROGRAM_CHECK_FAILED;
}

static double seconds_of(const struct bench_time *time)
{
    return time->device > 0 ? time->device : time->wall;
}

/* More than caches hold, as far as one binding reaches. */
static uint64_t copy_size(const struct dj_device_info *info)
{
    uint64_t size = info->type == DJ_DEVICE_CPU ? 64 * mib : 512 * mib;
    if (size > info->max_storage_range)
        size = info->max_storage_range;
    if (size > info->max_allocation)
        size = info->max_allocation;
    if (size > info->device_memory / 8)
        size = info->device_memory / 8;
    return size / mib * mib;
}

/* Word i of what is copied. */
static uint32_t word_at(uint64_t i)
{
    return (uint32_t)(i * 2654435761u) ^ (uint32_t)(i >> 7);
}

static dj_result fill(dj_buffer *buffer, uint64_t size, uint32_t *words)
{
    dj_result result = DJ_SUCCESS;
    for (uint64_t start = 0; result == DJ_SUCCESS && start < size; start += mib) {
        for (uint64_t i = 0; i < mib / 4; i++)
            words[i] = word_at(start / 4 + i);
        result = dj_buffer_write(buffer, start, words, mib);
    }
    return result;
}

/* The ways to copy: by a kernel with so many loads of each invocation, 0: by the driver. On GPUs
 * registers decide which is best (with one load an NVIDIA H200 seemed to move 3.3 TB/s, and does
 * 4.2), and a CPU device may do better by its driver than by any kernel. */
static const uint32_t ways[WAYS] = {4, 8, 0};
static const double copy_seconds = 0.5; /* at least: a GPU that was idle is slow at first */

struct copying {
    struct bench_gpu *gpu;
    dj_buffer *buffers[2];
    uint64_t size;
    uint32_t *words;                   /* a MiB */
    struct bench_kernel kernels[WAYS]; /* of the ways that have one */
};

/* Writes the first MiB of the target and the last. */
static dj_result spoil(const struct copying *c)
{
    memset(c->words, 0, mib);
    const dj_result result = dj_buffer_write(c->buffers[1], 0, c->words, mib);
    return result == DJ_SUCCESS ? dj_buffer_write(c->buffers[1], c->size - mib, c->words, mib)
                                : result;
}

/* Reads the same. */
static dj_result compare(const struct copying *c, bool *same)
{
    dj_result result = DJ_SUCCESS;
    for (int end = 0; result == DJ_SUCCESS && end < 2; end++) {
        const uint64_t start = end ? c->size - mib : 0;
        result = dj_buffer_read(c->buffers[1], start, c->words, mib);
        for (uint64_t i = 0; result == DJ_SUCCESS && i < mib / 4; i++)
            *same = *same && c->words[i] == word_at(start / 4 + i);
    }
    return result;
}

static dj_result transfer(const struct copying *c, struct bench_time *time)
{
    struct bench_gpu *const gpu = c->gpu;
    const dj_result result = bench_gpu_begin(gpu, NULL);
    if (result != DJ_SUCCESS)
        return result;
    vkCmdCopyBuffer(gpu->command, dj_buffer_handle(c->buffers[0]), dj_buffer_handle(c->buffers[1]),
                    1, &(VkBufferCopy){.size = c->size});
    return bench_gpu_submit(gpu, time);
}

static dj_result copy_once(const struct copying *c, int way, struct bench_time *time)
{
    if (ways[way] == 0)
        return transfer(c, time);
    /* a row of groups copies a MiB */
    const uint32_t groups[2] = {(uint32_t)mib / (ways[way] * COPY_GROUP * LOAD),
                                (uint32_t)(c->size / mib)};
    return bench_kernel_run(c->gpu, &c->kernels[way], (const uint32_t[4]){0}, groups, time);
}

static dj_result time_copies(const struct copying *c, double *rate)
{
    struct bench_time time;
    bool same = true;
    dj_result result = fill(c->buffers[0], c->size, c->words);
    for (int way = 0; result == DJ_SUCCESS && same && way < WAYS; way++) {
        result = spoil(c);
        if (result == DJ_SUCCESS)
            result = copy_once(c, way, &time);
        if (result == DJ_SUCCESS)
            result = compare(c, &same);
    }
    const double start = program_seconds();
    for (int i = 0;
         result == DJ_SUCCESS && same && (i < COPIES || program_seconds() - start < copy_seconds);
         i++) {
        result = copy_once(c, i % WAYS, &time);
        *rate = fmax(*rate, 2 * (double)c->size / seconds_of(&time));
    }
    return same ? result : DJ_ERROR_COMPILER;
}

static VkResult create_kernels(struct copying *c)
{
    VkResult made = VK_SUCCESS;
    for (int way = 0; made == VK_SUCCESS && way < WAYS; way++)
        if (ways[way] > 0)
            made =
                bench_kernel_create(c->gpu, bench_copy_spirv, sizeof(bench_copy_spirv), &ways[way],
                                    1, c->buffers[0], c->buffers[1], &c->kernels[way]);
    return made;
}

int bench_ceilings_copy(struct bench_gpu *gpu, double *rate)
{
    program_progress("the device: copying");
    struct copying c = {.gpu = gpu, .size = copy_size(&gpu->info), .words = malloc(mib)};
    const struct dj_buffer_params params = {.size = c.size};
    int code = c.words && c.size ? PROGRAM_SUCCESS : program_fail("no memory to copy");
    dj_result result = DJ_SUCCESS;
    for (int i = 0; !code && result == DJ_SUCCESS && i < 2; i++)
        result = dj_buffer_create(gpu->context, &params, &c.buffers[i]);
    if (!code && result == DJ_SUCCESS) {
        const VkResult made = create_kernels(&c);
        code = made == VK_SUCCESS ? code : fail("the copying kernel", made);
    }
    if (!code && result == DJ_SUCCESS)
        result = time_copies(&c, rate);
    for (int way = 0; way < WAYS; way++)
        bench_kernel_destroy(gpu, &c.kernels[way]);
    dj_buffer_destroy(&c.buffers[1]);
    dj_buffer_destroy(&c.buffers[0]);
    free(c.words);
    return code ? code : explain("copy", result);
}

/* A kernel of arithmetic alone. */
struct arithmetic {
    const char *name;
    const uint32_t *code;
    size_t size;
    uint32_t constants[4], constant_count;
    uint32_t groups, outputs; /* floats that one group writes */
    double flops;             /* of one round, all groups together */
    float factor, term;
    /* what output number i is after that many rounds */
    double (*want)(const struct arithmetic *arithmetic, uint32_t rounds, uint32_t i);
};

/* Sum of 12 chains a = a x + y, whose fixed point is y / (1 - x). */
static double fma_want(const struct arithmetic *arithmetic, uint32_t rounds, uint32_t i)
{
    const double x = arithmetic->factor, y = arithmetic->term;
    const double power = pow(x, rounds * (FMA_ROUND / 12.0));
    return power * (12 * (i % GROUP) + 66) + 12 * y * (1 - power) / (1 - x);
}

#if DJ_HAVE_MATRICES
/* 8 chains that began with 0 .. 7; the 16 products' factors are 1 to 4 times those given. */
static double matrix_want(const struct arithmetic *arithmetic, uint32_t rounds, uint32_t i)
{
    (void)i;
    return 28 + 100.0 * rounds * arithmetic->constants[3] * (double)arithmetic->factor *
                    (double)arithmetic->term;
}
#endif

static dj_result run_rounds(struct bench_gpu *gpu, const struct arithmetic *arithmetic,
                            const struct bench_kernel *kernel, uint32_t rounds, double *seconds)
{
    const float one = 1;
    uint32_t words[4] = {rounds};
    struct bench_time time;
    memcpy(&words[1], &arithmetic->factor, sizeof(float));
    memcpy(&words[2], &arithmetic->term, sizeof(float));
    memcpy(&words[3], &one, sizeof(float));
    const dj_result result =
        bench_kernel_run(gpu, kernel, words, (const uint32_t[2]){arithmetic->groups, 1}, &time);
    *seconds = seconds_of(&time);
    return result;
}

static dj_result check_sums(const struct arithmetic *arithmetic, dj_buffer *sums, bool *right)
{
    float some[GROUP];
    const uint64_t count = (uint64_t)arithmetic->groups * arithmetic->outputs;
    dj_result result = DJ_SUCCESS;
    for (int end = 0; result == DJ_SUCCESS && end < 2; end++) {
        const uint64_t start = end ? count - GROUP : 0;
        result = dj_buffer_read(sums, start * sizeof(float), some, sizeof(some));
        for (uint32_t i = 0; result == DJ_SUCCESS && i < GROUP; i++) {
            const double want = arithmetic->want(arithmetic, FIRST_ROUNDS, (uint32_t)start + i);
            *right = *right && fabs((double)some[i] - want) <= 1e-4 * want;
        }
    }
    return result;
}

static dj_result time_arithmetic(struct bench_gpu *gpu, const struct arithmetic *arithmetic,
                                 const struct bench_kernel *kernel, dj_buffer *sums, double *rate)
{
    uint32_t rounds = FIRST_ROUNDS;
    double seconds = 0;
    bool right = true;
    dj_result result = run_rounds(gpu, arithmetic, kernel, rounds, &seconds);
    if (result == DJ_SUCCESS)
        result = check_sums(arithmetic, sums, &right);
    while (result == DJ_SUCCESS && seconds < run_seconds && rounds < MAX_ROUNDS)
        result = run_rounds(gpu, arithmetic, kernel, rounds *= 2, &seconds);
    const double start = program_seconds();
    for (int i = 0; result == DJ_SUCCESS && right &&
                    (i < RUNS || program_seconds() - start < bench_gpu_seconds(gpu)) &&
                    (i == 0 || !program_interrupted());
         i++) {
        result = run_rounds(gpu, arithmetic, kernel, rounds, &seconds);
        *rate = fmax(*rate, arithmetic->flops * rounds / seconds);
    }
    return right ? result : DJ_ERROR_COMPILER;
}

static int measure_arithmetic(struct bench_gpu *gpu, const struct arithmetic *arithmetic,
                              double *rate)
{
    const struct dj_buffer_params params = {.size = (uint64_t)arithmetic->groups *
                                                    arithmetic->outputs * sizeof(float)};
    struct bench_kernel kernel = {0};
    dj_buffer *sums = NULL;
    int code = PROGRAM_SUCCESS;
    dj_result result = dj_buffer_create(gpu->context, &params, &sums);
    if (result == DJ_SUCCESS) {
        const VkResult made =
            bench_kernel_create(gpu, arithmetic->code, arithmetic->size, arithmetic->constants,
                                arithmetic->constant_count, sums, sums, &kernel);
        code = made == VK_SUCCESS ? code : fail(arithmetic->name, made);
    }
    if (!code && result == DJ_SUCCESS)
        result = time_arithmetic(gpu, arithmetic, &kernel, sums, rate);
    bench_kernel_destroy(gpu, &kernel);
    dj_buffer_destroy(&sums);
    return code ? code : explain(arithmetic->name, result);
}

static uint32_t groups_of(const struct bench_gpu *gpu)
{
    return gpu->info.type == DJ_DEVICE_CPU ? CPU_GROUPS : GPU_GROUPS;
}

static int measure_fma(struct bench_gpu *gpu, double *rate)
{
    const uint32_t groups = groups_of(gpu);
    const struct arithmetic fma = {.name = "multiply-add",
                                   .code = bench_fma_spirv,
                                   .size = sizeof(bench_fma_spirv),
                                   .groups = groups,
                                   .outputs = GROUP,
                                   .flops = 2.0 * FMA_ROUND * GROUP * groups,
                                   .factor = 0.999f,
                                   .term = 0.01f,
                                   .want = fma_want};
    return measure_arithmetic(gpu, &fma, rate);
}

#if DJ_HAVE_MATRICES
static int measure_matrix(struct bench_gpu *gpu, double *rate)
{
    const uint32_t groups = groups_of(gpu);
    const uint32_t m = gpu->info.matrix_rows, n = gpu->info.matrix_columns;
    const uint32_t k = gpu->info.matrix_terms;
    const struct arithmetic product = {.name = "matrix product",
                                       .code = bench_matrix_spirv,
                                       .size = sizeof(bench_matrix_spirv),
                                       .constants = {gpu->info.subgroup_size, m, n, k},
                                       .constant_count = 4,
                                       .groups = groups,
                                       .outputs = m * n,
                                       .flops = 2.0 * MATRIX_ROUND * m * n * k * groups,
                                       .factor = 1.0f / 64,
                                       .term = 1.0f / 64,
                                       .want = matrix_want};
    return measure_arithmetic(gpu, &product, rate);
}
#else
static int measure_matrix(struct bench_gpu *gpu, double *rate)
{
    (void)gpu;
    *rate = 0;
    return PROGRAM_SUCCESS;
}
#endif

int bench_ceilings_measure(struct bench_gpu *gpu, struct bench_ceilings *ceilings)
{
    *ceilings = (struct bench_ceilings){0};
    int code = bench_ceilings_copy(gpu, &ceilings->copy);
    program_progress("the device: multiplying and adding");
    if (!code)
        code = measure_fma(gpu, &ceilings->fma);
    if (!code && gpu->info.matrix_rows == 0)
        ceilings->without = gpu->info.cooperative_matrix
                                ? "this build knows none, or the device none that it could use"
                                : "the device has no cooperative matrices";
    else if (!code && measure_matrix(gpu, &ceilings->matrix))
        ceilings->without = "its kernel failed"; /* as was said; the rest can do without */
    program_progress(NULL);
    return code;
}

double bench_ceilings_allow(const struct bench_ceilings *ceilings, uint32_t type, double flops,
                            double bytes, bool *arithmetic)
{
    const double peak =
        dj_type_size(type) == 2 ? fmax(ceilings->fma, ceilings->matrix) : ceilings->fma;
    if (peak <= 0 || ceilings->copy <= 0)
        return 0;
    *arithmetic = flops / peak > bytes / ceilings->copy;
    return fmax(flops / peak, bytes / ceilings->copy);
}
