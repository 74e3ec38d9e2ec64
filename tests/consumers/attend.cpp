// SPDX-License-Identifier: MIT
// The same as attend.c, as a program in C++17 would write it.
#include <dijiang/calibrate.h>
#include <dijiang/dijiang.h>

#include <cmath>
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <vector>

namespace
{

constexpr uint64_t tokens = 100, heads = 2, dim = 16;

void check(dj_result result)
{
    if (result != DJ_SUCCESS)
        throw std::runtime_error(dj_result_name(result));
}

template <typename T, void (*destroy)(T **)> struct Destroyer {
    void operator()(T *object) const
    {
        destroy(&object);
    }
};
using Context = std::unique_ptr<dj_context, Destroyer<dj_context, dj_context_destroy>>;
using Buffer = std::unique_ptr<dj_buffer, Destroyer<dj_buffer, dj_buffer_destroy>>;
using Features = std::unique_ptr<dj_features, Destroyer<dj_features, dj_features_destroy>>;
using Plan = std::unique_ptr<dj_attention, Destroyer<dj_attention, dj_attention_destroy>>;

Buffer tensor(dj_context *gpu, const float *data, dj_tensor &view)
{
    const uint64_t shape[4] = {1, tokens, heads, dim};
    check(dj_tensor_create(gpu, DJ_FLOAT32, shape, data, &view));
    return Buffer(view.buffer);
}

std::vector<float> attend(dj_context *gpu, const std::vector<float> &q, const std::vector<float> &k,
                          const std::vector<float> &v)
{
    std::vector<float> frequencies(dim), o(q.size());
    check(dj_frequencies_draw(dim, 1, frequencies.data()));
    dj_features_params numbers{};
    numbers.dim = dim;
    numbers.frequencies = frequencies.data();
    dj_features *features = nullptr;
    check(dj_features_create(gpu, &numbers, &features));
    const Features map(features);

    dj_attention_params params{};
    params.heads = heads;
    params.dim = dim;
    dj_attention *attention = nullptr;
    check(dj_attention_create(gpu, &params, &attention));
    const Plan plan(attention);

    dj_attention_args args{};
    const Buffer q_buffer = tensor(gpu, q.data(), args.q), k_buffer = tensor(gpu, k.data(), args.k);
    const Buffer v_buffer = tensor(gpu, v.data(), args.v), o_buffer = tensor(gpu, nullptr, args.o);
    args.features = map.get();
    check(dj_attention_run(plan.get(), &args));
    check(dj_buffer_read(args.o.buffer, 0, o.data(), o.size() * sizeof(float)));
    return o;
}

} // namespace

int main()
{
    dj_calibration *calibration = nullptr;
    if (dj_calibration_load("/nonexistent/file", nullptr, nullptr, &calibration) != DJ_ERROR_FILE) {
        std::printf("a file that is not there was loaded\n");
        return 1;
    }
    dj_context *context = nullptr;
    const dj_result result = dj_context_create(nullptr, &context);
    if (result == DJ_ERROR_NO_DEVICE || result == DJ_ERROR_NO_LOADER) {
        std::printf("no device to try: %s\n", dj_result_str(result));
        return 0;
    }
    const Context gpu(context);
    try {
        check(result);
        std::vector<float> q(tokens * heads * dim), k(q.size());
        const std::vector<float> v(q.size(), 0.5f);
        for (std::size_t i = 0; i < q.size(); i++) {
            q[i] = std::sin(static_cast<float>(i));
            k[i] = std::cos(static_cast<float>(i));
        }
        for (const float x : attend(context, q, k, v))
            if (!(std::fabs(x - 0.5f) < 1e-5f))
                throw std::runtime_error("an output is not 0.5");
    } catch (const std::exception &error) {
        std::printf("%s\n", error.what());
        return 1;
    }
    std::printf("attention over %d tokens\n", static_cast<int>(tokens));
    return 0;
}
