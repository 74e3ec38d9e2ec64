/* SPDX-License-Identifier: MIT */
/* dijiang-attend: attention over tensors from a file. */
#include "host.h"
#include "program.h"
#include "safetensors.h"

#include <dijiang/dijiang.h>

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char help[] =
    "usage: dijiang-attend --input IN.safetensors [options]\n"
    "\n"
    "Computes linear attention over the tensors of a file, on a Vulkan device.\n"
    "\n"
    "The file's tensors, in F32, F16 or BF16:\n"
    "  q, k               [B,H,T,d]; d is 4 to 256, a multiple of 4\n"
    "  v                  [B,H,T,e]; so is e\n"
    "  frequency_weights  [d] or [H,d]; drawn (normal, quasi-Monte Carlo, fixed seed) if absent\n"
    "  feature_weights    [d] or [H,d], optional, for --form paper\n"
    "  decay              [H], above 0 and at most 1, optional\n"
    "  out                [B,H,T,e], for --check\n"
    "\n"
    "options:\n"
    "  --input FILE     what to read\n"
    "  --output FILE    where to write the result, as tensor out [B,H,T,e], F32\n"
    "  --form FORM      paper: exponential features of the DCT (WDCF), normalised (default)\n"
    "                   reference: as the paper's reference implementation computes it,\n"
    "                   softmax features of the inverse DCT, not normalised\n"
    "  --no-causal      every token sees all tokens, not only those up to itself\n"
    "  --no-normalise   leaves out the paper form's denominator\n"
    "  --scale S        of q.k; default 1/sqrt(d), and 1 for the reference form\n"
    "  --device D       an index of dijiang-info, or part of a device's name\n"
    "  --check          compares the result with the file's out and prints the error\n"
    "  --help, --version\n"
    "\n"
    "examples:\n"
    "  dijiang-attend --input qkv.safetensors --output out.safetensors\n"
    "  dijiang-attend --input official.safetensors --form reference --check\n"
    "\n"
    "environment: DIJIANG_DEVICE, as --device; DIJIANG_VALIDATION=1 turns the Vulkan validation\n"
    "layer on\n"
    "\n"
    "exit codes: 0 success, 1 failure, 2 wrong usage, 3 the check failed\n";

enum {
    DRAW_SEED = 1
};

struct settings {
    const char *input, *output, *form, *device;
    bool no_causal, no_normalise, check;
    float scale; /* 0: the form's default */
};

/* The file's tensors and what they hold. Pointers to tensors are NULL for those that are absent. */
struct problem {
    struct safetensors *file;
    const struct safetensors_tensor *tensor_q, *tensor_k, *tensor_v, *tensor_out;
    const struct safetensors_tensor *tensor_frequencies, *tensor_weights, *tensor_decay;
    uint64_t batch, heads, tokens, dim, value_dim;
    float *q, *k, *v, *out, *result;
    float *frequencies, *weights, *decay; /* the first two [feature_heads or 1][dim] */
    uint32_t feature_heads;               /* 0: shared */
};

static bool is_reference(const struct settings *settings)
{
    return strcmp(settings->form, "reference") == 0;
}

static float scale_of(const struct settings *settings, uint64_t dim)
{
    if (settings->scale > 0)
        return settings->scale;
    return is_reference(settings) ? 1 : 1 / sqrtf((float)dim);
}

static bool same_file(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* "[2,4,130,64]", shortened where a hostile file has many dimensions. */
struct shape_text {
    char text[120];
};

static struct shape_text shape_text(const struct safetensors_tensor *tensor)
{
    struct shape_text s;
    int n = snprintf(s.text, sizeof(s.text), "[");
    for (uint32_t i = 0; i < tensor->rank && n < 80; i++)
        n += snprintf(s.text + n, sizeof(s.text) - (size_t)n, "%s%" PRIu64, i ? "," : "",
                      tensor->shape[i]);
    snprintf(s.text + n, sizeof(s.text) - (size_t)n, "%s]", n < 80 ? "" : "...");
    return s;
}

/* A required tensor of rank 4 and readable type. */
static int find_tensor(const struct settings *settings, const struct problem *p, const char *name,
                       const struct safetensors_tensor **tensor)
{
    *tensor = safetensors_find(p->file, name);
    if (!*tensor)
        return program_fail("%s: tensor '%s' is missing", settings->input, name);
    if ((*tensor)->rank != 4)
        return program_fail("%s: tensor '%s' is %s, must have 4 dimensions [B,H,T,d]",
                            settings->input, name, shape_text(*tensor).text);
    return PROGRAM_SUCCESS;
}

static int wrong_shape(const struct settings *settings, const struct safetensors_tensor *tensor,
                       const char *rule)
{
    return program_fail("%s: tensor '%s' is %s, must be %s", settings->input, tensor->name,
                        shape_text(tensor).text, rule);
}

static bool same_shape(const struct safetensors_tensor *a, const struct safetensors_tensor *b,
                       uint32_t dimensions)
{
    return memcmp(a->shape, b->shape, dimensions * sizeof(*a->shape)) == 0;
}

static bool is_vector(const struct safetensors_tensor *tensor, uint64_t length)
{
    return tensor->rank == 1 && tensor->shape[0] == length;
}

/* [d] or [H,d] */
static bool is_per_feature(const struct problem *p, const struct safetensors_tensor *tensor)
{
    return is_vector(tensor, p->dim) ||
           (tensor->rank == 2 && tensor->shape[0] == p->heads && tensor->shape[1] == p->dim);
}

/* Finds q, k and v, and the sizes in their shapes. */
static int describe_qkv(const struct settings *settings, struct problem *p)
{
    int code = find_tensor(settings, p, "q", &p->tensor_q);
    code = code ? code : find_tensor(settings, p, "k", &p->tensor_k);
    code = code ? code : find_tensor(settings, p, "v", &p->tensor_v);
    if (code)
        return code;
    const uint64_t *shape = p->tensor_q->shape;
    p->batch = shape[0];
    p->heads = shape[1];
    p->tokens = shape[2];
    p->dim = shape[3];
    p->value_dim = p->tensor_v->shape[3];
    if (!same_shape(p->tensor_k, p->tensor_q, 4))
        return wrong_shape(settings, p->tensor_k, "as q");
    if (!same_shape(p->tensor_v, p->tensor_q, 3))
        return wrong_shape(settings, p->tensor_v, "[B,H,T,e] with the B, H and T of q");
    if (p->heads < 1 || p->heads > 65535)
        return wrong_shape(settings, p->tensor_q, "[B,H,T,d] with H from 1 to 65535");
    if (p->dim < 4 || p->dim > 256 || p->dim % 4)
        return wrong_shape(settings, p->tensor_q, "[B,H,T,d], d a multiple of 4 from 4 to 256");
    if (p->value_dim < 4 || p->value_dim > 256 || p->value_dim % 4)
        return wrong_shape(settings, p->tensor_v, "[B,H,T,e], e a multiple of 4 from 4 to 256");
    return PROGRAM_SUCCESS;
}

/* Finds the other tensors and checks every shape; reads no data yet. */
static int describe(const struct settings *settings, struct problem *p)
{
    const int code = describe_qkv(settings, p);
    if (code)
        return code;
    p->tensor_frequencies = safetensors_find(p->file, "frequency_weights");
    p->tensor_weights = safetensors_find(p->file, "feature_weights");
    p->tensor_decay = safetensors_find(p->file, "decay");
    p->tensor_out = settings->check ? safetensors_find(p->file, "out") : NULL;
    if (p->tensor_frequencies && !is_per_feature(p, p->tensor_frequencies))
        return wrong_shape(settings, p->tensor_frequencies, "[d] or [H,d]");
    if (p->tensor_weights && !is_per_feature(p, p->tensor_weights))
        return wrong_shape(settings, p->tensor_weights, "[d] or [H,d]");
    if (p->tensor_weights && is_reference(settings))
        return program_fail("%s: has feature_weights, which the reference form does not know",
                            settings->input);
    if (p->tensor_decay && !is_vector(p->tensor_decay, p->heads))
        return wrong_shape(settings, p->tensor_decay, "[H]");
    if (p->tensor_decay && settings->no_causal)
        return program_fail("%s: has a decay, which --no-causal leaves without a meaning",
                            settings->input);
    if (settings->check && !p->tensor_out)
        return program_fail("%s: tensor 'out' is missing, which --check compares with",
                            settings->input);
    if (p->tensor_out && (p->tensor_out->rank != 4 || !same_shape(p->tensor_out, p->tensor_v, 4)))
        return wrong_shape(settings, p->tensor_out, "[B,H,T,e] as v");
    return PROGRAM_SUCCESS;
}

/* Reads a tensor into memory of its own. NULL stays NULL. */
static int read_tensor(const struct settings *settings, const struct problem *p,
                       const struct safetensors_tensor *tensor, float **data)
{
    struct safetensors_error error;
    if (!tensor)
        return PROGRAM_SUCCESS;
    *data = malloc((tensor->count ? tensor->count : 1) * sizeof(float));
    if (!*data)
        return program_fail("%s: tensor '%s' does not fit into memory", settings->input,
                            tensor->name);
    if (!safetensors_read(p->file, tensor, *data, &error))
        return program_fail("%s: %s", settings->input, error.text);
    return PROGRAM_SUCCESS;
}

/* Gives shared numbers to every head, so that both kinds can meet in one feature map. */
static int spread(const struct problem *p, const struct safetensors_tensor *tensor, float **data)
{
    if (p->feature_heads == 0 || !*data || (tensor && tensor->rank == 2))
        return PROGRAM_SUCCESS;
    float *all = malloc(p->heads * p->dim * sizeof(float));
    if (!all)
        return program_fail("out of memory");
    for (uint64_t h = 0; h < p->heads; h++)
        memcpy(all + h * p->dim, *data, p->dim * sizeof(float));
    free(*data);
    *data = all;
    return PROGRAM_SUCCESS;
}

static int read_features(const struct settings *settings, struct problem *p)
{
    const bool per_head = (p->tensor_frequencies && p->tensor_frequencies->rank == 2) ||
                          (p->tensor_weights && p->tensor_weights->rank == 2);
    p->feature_heads = per_head ? (uint32_t)p->heads : 0;
    int code = read_tensor(settings, p, p->tensor_frequencies, &p->frequencies);
    code = code ? code : read_tensor(settings, p, p->tensor_weights, &p->weights);
    if (code)
        return code;
    if (!p->tensor_frequencies) {
        p->frequencies = malloc(p->dim * sizeof(float));
        if (!p->frequencies)
            return program_fail("out of memory");
        const dj_result result = dj_frequencies_draw((uint32_t)p->dim, DRAW_SEED, p->frequencies);
        if (result != DJ_SUCCESS)
            return program_fail_dj("drawing frequencies", result);
    }
    code = spread(p, p->tensor_frequencies, &p->frequencies);
    return code ? code : spread(p, p->tensor_weights, &p->weights);
}

static int read_problem(const struct settings *settings, struct problem *p)
{
    program_progress("reading %s", settings->input);
    int code = read_features(settings, p);
    code = code ? code : read_tensor(settings, p, p->tensor_q, &p->q);
    code = code ? code : read_tensor(settings, p, p->tensor_k, &p->k);
    code = code ? code : read_tensor(settings, p, p->tensor_v, &p->v);
    code = code ? code : read_tensor(settings, p, p->tensor_out, &p->out);
    code = code ? code : read_tensor(settings, p, p->tensor_decay, &p->decay);
    if (code)
        return code;
    p->result = malloc((p->tensor_v->count ? p->tensor_v->count : 1) * sizeof(float));
    return p->result ? PROGRAM_SUCCESS : program_fail("the result does not fit into memory");
}

static void close_problem(struct problem *p)
{
    free(p->q);
    free(p->k);
    free(p->v);
    free(p->out);
    free(p->result);
    free(p->frequencies);
    free(p->weights);
    free(p->decay);
    safetensors_close(&p->file);
}

/* What lives on the device for one run. */
struct device_work {
    dj_features *features;
    dj_attention *plan;
    dj_buffer *buffers[4]; /* q, k, v, o */
};

static dj_result create_plan(dj_context *context, const struct settings *settings,
                             const struct problem *p, struct device_work *work)
{
    const uint32_t map = is_reference(settings) ? DJ_MAP_SOFTMAX_DCT : DJ_MAP_WDCF;
    const dj_result result = dj_features_create(context,
                                                &(struct dj_features_params){
                                                    .map = map,
                                                    .dim = (uint32_t)p->dim,
                                                    .heads = p->feature_heads,
                                                    .frequencies = p->frequencies,
                                                    .weights = p->weights,
                                                },
                                                &work->features);
    if (result != DJ_SUCCESS)
        return result;
    return dj_attention_create(context,
                               &(struct dj_attention_params){
                                   .map = map,
                                   .heads = (uint32_t)p->heads,
                                   .dim = (uint32_t)p->dim,
                                   .value_dim = (uint32_t)p->value_dim,
                                   .causal = settings->no_causal ? DJ_OFF : DJ_ON,
                                   .normalise = settings->no_normalise ? DJ_OFF : DJ_DEFAULT,
                                   .scale = scale_of(settings, p->dim),
                                   .decay = p->decay,
                               },
                               &work->plan);
}

/* Puts an input (data not NULL) or the output on the device; the view is [B,T,H,..] as the library
 * wants it, of memory that lies as in the file. */
static dj_result create_tensor(dj_context *context, const struct safetensors_tensor *tensor,
                               const float *data, dj_buffer **buffer, struct dj_tensor *view)
{
    const struct dj_buffer_params params = {.size = tensor->count * sizeof(float)};
    const dj_result result = dj_buffer_create(context, &params, buffer);
    if (result != DJ_SUCCESS)
        return result;
    dj_tensor_init(view, *buffer, 0, DJ_FLOAT32, tensor->shape);
    dj_tensor_swap(view, 1, 2);
    return data && params.size ? dj_buffer_write(*buffer, 0, data, params.size) : DJ_SUCCESS;
}

static dj_result compute(dj_context *context, const struct settings *settings,
                         const struct problem *p, struct device_work *work, double seconds[2])
{
    struct dj_attention_args args = {0};
    dj_result result = create_plan(context, settings, p, work);
    if (result == DJ_SUCCESS)
        result = create_tensor(context, p->tensor_q, p->q, &work->buffers[0], &args.q);
    if (result == DJ_SUCCESS)
        result = create_tensor(context, p->tensor_k, p->k, &work->buffers[1], &args.k);
    if (result == DJ_SUCCESS)
        result = create_tensor(context, p->tensor_v, p->v, &work->buffers[2], &args.v);
    if (result == DJ_SUCCESS)
        result = create_tensor(context, p->tensor_v, NULL, &work->buffers[3], &args.o);
    if (result != DJ_SUCCESS)
        return result;

    /* twice: a driver may compile kernels when they first run */
    args.features = work->features;
    for (int i = 0; i < 2 && result == DJ_SUCCESS; i++) {
        const double start = program_seconds();
        result = dj_attention_run(work->plan, &args);
        seconds[i] = program_seconds() - start;
    }
    if (result != DJ_SUCCESS || p->tensor_v->count == 0)
        return result;
    return dj_buffer_read(work->buffers[3], 0, p->result, p->tensor_v->count * sizeof(float));
}

static int run(dj_context *context, const struct settings *settings, const struct problem *p,
               double seconds[2])
{
    struct device_work work = {0};
    program_progress("computing %" PRIu64 " tokens", p->batch * p->tokens);
    const dj_result result = compute(context, settings, p, &work, seconds);
    program_progress(NULL);
    const int code = result == DJ_SUCCESS ? PROGRAM_SUCCESS : program_fail_dj("attention", result);
    for (int i = 3; i >= 0; i--)
        dj_buffer_destroy(&work.buffers[i]);
    dj_attention_destroy(&work.plan);
    dj_features_destroy(&work.features);
    return code;
}

static void report(const struct settings *settings, const struct problem *p,
                   const struct dj_device_info *info, const double seconds[2])
{
    const bool reference = is_reference(settings);
    const bool normalised = !reference && !settings->no_normalise;
    printf("device       %s (%s, index %u)\n", info->name, program_device_type(info->type),
           info->index);
    printf("input        %s\n", settings->input);
    printf("shapes       q, k %s, v %s %s\n", shape_text(p->tensor_q).text,
           shape_text(p->tensor_v).text, p->tensor_q->type);
    printf("form         %s, %s, %s, scale %g%s\n", settings->form,
           settings->no_causal ? "not causal" : "causal",
           normalised ? "normalised" : "not normalised", (double)scale_of(settings, p->dim),
           p->decay ? ", with decay" : "");
    if (p->tensor_frequencies)
        printf("frequencies  from the file, %s\n",
               p->tensor_frequencies->rank == 2 ? "per head" : "shared by all heads");
    else
        printf("frequencies  drawn with seed %d\n", DRAW_SEED);
    printf("time         %.3f ms (the first run, with what the driver does once: %.3f ms)\n",
           1e3 * seconds[1], 1e3 * seconds[0]);
    printf("tokens/s     %.0f\n",
           seconds[1] > 0 ? (double)p->batch * (double)p->tokens / seconds[1] : 0.0);
}

static int write_output(const struct settings *settings, const struct problem *p)
{
    struct safetensors_error error;
    if (!settings->output)
        return PROGRAM_SUCCESS;
    program_progress("writing %s", settings->output);
    const struct safetensors_output output = {
        .name = "out", .rank = 4, .shape = p->tensor_v->shape, .data = p->result};
    if (!safetensors_write(settings->output, &output, 1, &error))
        return program_fail("%s: %s", settings->output, error.text);
    program_progress(NULL);
    printf("output       %s\n", settings->output);
    return PROGRAM_SUCCESS;
}

static void add_extremes(const struct host_map *map, const struct problem *p, const float *x,
                         double *a, struct host_extremes *extremes)
{
    const uint64_t rows = p->batch * p->heads * p->tokens;
    for (uint64_t r = 0; r < rows; r++)
        host_features(map, (uint32_t)(r / p->tokens % p->heads), x + r * p->dim, a, extremes);
}

/* The bound of docs/mathematics.md for these inputs and the type in which the file holds out. */
static int error_bound(const struct settings *settings, const struct problem *p, double *bound)
{
    const char *type = p->tensor_out->type;
    const double storage = strcmp(type, "F16") == 0    ? 2e-3
                           : strcmp(type, "BF16") == 0 ? 1.5e-2
                                                       : host_bound_f32(p->tokens);
    struct host_map map = {
        .map = is_reference(settings) ? DJ_MAP_SOFTMAX_DCT : DJ_MAP_WDCF,
        .dim = (uint32_t)p->dim,
        .heads = p->feature_heads,
        .scale = scale_of(settings, p->dim),
        .frequencies = p->frequencies,
        .weights = p->weights,
    };
    struct host_extremes extremes = {0};
    double *a = malloc(p->dim * sizeof(*a));
    if (!a || !host_map_init(&map)) {
        free(a);
        return program_fail("out of memory");
    }
    add_extremes(&map, p, p->q, a, &extremes);
    add_extremes(&map, p, p->k, a, &extremes);
    *bound = host_bound(&map, &extremes, storage);
    host_map_finish(&map);
    free(a);
    return PROGRAM_SUCCESS;
}

static int check(const struct settings *settings, const struct problem *p)
{
    double bound = 0;
    struct host_error error = {0};
    if (!settings->check)
        return PROGRAM_SUCCESS;
    program_progress("checking");
    const int code = error_bound(settings, p, &bound);
    if (code)
        return code;
    host_error_add(&error, p->result, p->out, p->tensor_out->count);
    const double value = host_error_value(&error, p->tensor_out->count);
    program_progress(NULL);
    printf("error %.3g (bound %.3g)\n", value, bound);
    if (value <= bound) /* false for NaN */
        return PROGRAM_SUCCESS;
    program_fail("the check failed: error %.3g exceeds the bound %.3g%s", value, bound,
                 value > 0.1 ? " (was out computed with another --form or option?)" : "");
    return PROGRAM_CHECK_FAILED;
}

/* One tensor is one buffer: says so before gigabytes are read in vain. */
static int check_size(const struct settings *settings, const struct problem *p,
                      const struct dj_device_info *info)
{
    const uint64_t most = info->max_allocation / sizeof(float);
    const struct safetensors_tensor *large =
        p->tensor_q->count > p->tensor_v->count ? p->tensor_q : p->tensor_v;
    if (large->count <= most)
        return PROGRAM_SUCCESS;
    return program_fail("%s: tensor '%s' %s has %" PRIu64 " elements, more than the %" PRIu64
                        " that %s can hold in one buffer",
                        settings->input, large->name, shape_text(large).text, large->count, most,
                        info->name);
}

static int attend(const struct settings *settings, struct problem *p)
{
    struct safetensors_error error;
    dj_context *context = NULL;
    struct dj_device_info info;
    double seconds[2] = {0};

    p->file = safetensors_open(settings->input, &error);
    if (!p->file)
        return program_fail("%s: %s", settings->input, error.text);
    int code = describe(settings, p);
    if (code)
        return code;
    const struct dj_context_params params = program_context_params(settings->device);
    dj_result result = dj_context_create(&params, &context);
    if (result == DJ_SUCCESS)
        result = dj_context_device(context, &info);
    code = result == DJ_SUCCESS ? check_size(settings, p, &info)
                                : program_fail_dj("no device to compute on", result);
    code = code ? code : read_problem(settings, p);
    code = code ? code : run(context, settings, p, seconds);
    if (!code) {
        report(settings, p, &info, seconds);
        code = write_output(settings, p);
    }
    code = code ? code : check(settings, p);
    code = program_validated(context, code);
    dj_context_destroy(&context);
    return code;
}

int main(int argc, char **argv)
{
    static const char *const forms[] = {"paper", "reference", NULL};
    struct settings settings = {.form = "paper"};
    const struct program_option options[] = {
        {.name = "--input", .kind = PROGRAM_TEXT, .value = &settings.input},
        {.name = "--output", .kind = PROGRAM_TEXT, .value = &settings.output},
        {.name = "--form", .kind = PROGRAM_TEXT, .value = &settings.form, .choices = forms},
        {.name = "--no-causal", .kind = PROGRAM_FLAG, .value = &settings.no_causal},
        {.name = "--no-normalise", .kind = PROGRAM_FLAG, .value = &settings.no_normalise},
        {.name = "--scale", .kind = PROGRAM_FLOAT, .value = &settings.scale},
        {.name = "--device", .kind = PROGRAM_TEXT, .value = &settings.device},
        {.name = "--check", .kind = PROGRAM_FLAG, .value = &settings.check},
    };
    int code;
    if (!program_start("dijiang-attend", help, options, sizeof(options) / sizeof(options[0]), argc,
                       argv, &code))
        return code;
    if (!settings.input)
        return program_usage("--input is missing");
    if (settings.output && same_file(settings.input, settings.output))
        return program_usage("--output is the file of --input");

    struct problem problem = {0};
    code = attend(&settings, &problem);
    close_problem(&problem);
    return program_finish(code);
}
