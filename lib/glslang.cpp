/* SPDX-License-Identifier: MIT */
#include <cstddef>

#include "glslang.h"

#include <atomic>
#include <mutex>

namespace
{

std::mutex process_lock;
unsigned process_users;
std::atomic<uint64_t> compilations;

/* call(), or fallback if it throws. */
template <typename Result, typename Call> Result guarded(Result fallback, Call call) noexcept
{
    try {
        return call();
    } catch (...) {
        return fallback;
    }
}

template <typename Call> void guarded_void(Call call) noexcept
{
    try {
        call();
    } catch (...) {
    }
}

} // namespace

int dj_glslang_acquire(void)
{
    return guarded(0, [] {
        const std::lock_guard<std::mutex> lock(process_lock);
        if (process_users == 0 && !glslang_initialize_process())
            return 0;
        process_users++;
        return 1;
    });
}

void dj_glslang_release(void)
{
    guarded_void([] {
        const std::lock_guard<std::mutex> lock(process_lock);
        if (--process_users == 0)
            glslang_finalize_process();
    });
}

uint64_t dj_glslang_compilations(void)
{
    return compilations;
}

glslang_shader_t *dj_glslang_shader_create(const glslang_input_t *input)
{
    return guarded<glslang_shader_t *>(nullptr, [=] { return glslang_shader_create(input); });
}

void dj_glslang_shader_delete(glslang_shader_t *shader)
{
    if (shader)
        guarded_void([=] { glslang_shader_delete(shader); });
}

int dj_glslang_shader_preprocess(glslang_shader_t *shader, const glslang_input_t *input)
{
    return shader ? guarded(0, [=] { return glslang_shader_preprocess(shader, input); }) : 0;
}

int dj_glslang_shader_parse(glslang_shader_t *shader, const glslang_input_t *input)
{
    compilations++;
    return shader ? guarded(0, [=] { return glslang_shader_parse(shader, input); }) : 0;
}

const char *dj_glslang_shader_get_info_log(glslang_shader_t *shader)
{
    return shader ? guarded("", [=] { return glslang_shader_get_info_log(shader); }) : "";
}

glslang_program_t *dj_glslang_program_create(void)
{
    return guarded<glslang_program_t *>(nullptr, [] { return glslang_program_create(); });
}

void dj_glslang_program_delete(glslang_program_t *program)
{
    if (program)
        guarded_void([=] { glslang_program_delete(program); });
}

void dj_glslang_program_add_shader(glslang_program_t *program, glslang_shader_t *shader)
{
    if (program && shader)
        guarded_void([=] { glslang_program_add_shader(program, shader); });
}

int dj_glslang_program_link(glslang_program_t *program, int messages)
{
    return program ? guarded(0, [=] { return glslang_program_link(program, messages); }) : 0;
}

/* VkFFT's kernels hold a value per statement in a variable: optimised they have a third of the
 * instructions, which each driver then need not go through. */
void dj_glslang_program_SPIRV_generate(glslang_program_t *program, glslang_stage_t stage)
{
    glslang_spv_options_t options{};
    options.strip_debug_info = true;
    options.optimize_size = true;
    if (program)
        guarded_void(
            [&] { glslang_program_SPIRV_generate_with_options(program, stage, &options); });
}

const char *dj_glslang_program_SPIRV_get_messages(glslang_program_t *program)
{
    if (!program)
        return "no program";
    return guarded("out of memory", [=] { return glslang_program_SPIRV_get_messages(program); });
}

unsigned int *dj_glslang_program_SPIRV_get_ptr(glslang_program_t *program)
{
    static unsigned int nothing;
    unsigned int *const words = program ? glslang_program_SPIRV_get_ptr(program) : nullptr;
    return words ? words : &nothing; /* the caller copies 0 bytes from it */
}

size_t dj_glslang_program_SPIRV_get_size(glslang_program_t *program)
{
    return program ? glslang_program_SPIRV_get_size(program) : 0;
}

const char *dj_glslang_program_get_info_log(glslang_program_t *program)
{
    return program ? guarded("", [=] { return glslang_program_get_info_log(program); }) : "";
}
