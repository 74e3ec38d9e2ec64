/* SPDX-License-Identifier: MIT */
/* The part of glslang's C interface that VkFFT calls, behind a catch-all: no C++ exception leaves
 * these functions. Names and types are glslang's, with a prefix; a failure is what glslang itself
 * would return for one (0, an empty log, no words), and NULL objects are accepted. For lib/vkfft.c
 * alone. */
#ifndef DJ_LIB_GLSLANG_H
#define DJ_LIB_GLSLANG_H

#include <glslang/Include/glslang_c_interface.h>

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Starts glslang in this process, or counts one more user of it; 0 on failure. The last user's
 * release frees what glslang keeps for the process. Thread-safe, as is all below on objects of
 * one's own. */
int dj_glslang_acquire(void);
void dj_glslang_release(void);

/* How many shaders were given to the parser so far. */
uint64_t dj_glslang_compilations(void);

glslang_shader_t *dj_glslang_shader_create(const glslang_input_t *input);
void dj_glslang_shader_delete(glslang_shader_t *shader);
int dj_glslang_shader_preprocess(glslang_shader_t *shader, const glslang_input_t *input);
int dj_glslang_shader_parse(glslang_shader_t *shader, const glslang_input_t *input);
const char *dj_glslang_shader_get_info_log(glslang_shader_t *shader);

glslang_program_t *dj_glslang_program_create(void);
void dj_glslang_program_delete(glslang_program_t *program);
void dj_glslang_program_add_shader(glslang_program_t *program, glslang_shader_t *shader);
int dj_glslang_program_link(glslang_program_t *program, int messages);
void dj_glslang_program_SPIRV_generate(glslang_program_t *program, glslang_stage_t stage);
const char *dj_glslang_program_SPIRV_get_messages(glslang_program_t *program);
unsigned int *dj_glslang_program_SPIRV_get_ptr(glslang_program_t *program);
size_t dj_glslang_program_SPIRV_get_size(glslang_program_t *program);
const char *dj_glslang_program_get_info_log(glslang_program_t *program);

#ifdef __cplusplus
}
#endif

#endif
