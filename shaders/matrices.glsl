/* SPDX-License-Identifier: MIT */
/* What all kernels with cooperative matrices ask for: M x K by K x N, float16 factors, of a subgroup. */
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_EXT_control_flow_attributes : require
#pragma use_vulkan_memory_model

layout(constant_id = 8) const uint SUBGROUP = 32;
layout(constant_id = 9) const uint M = 16;
layout(constant_id = 10) const uint N = 16;
layout(constant_id = 11) const uint K = 16;
