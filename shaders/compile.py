#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compiles a kernel to SPIR-V, and that to a C array of its words.

What drivers do anyway, and some with much effort, is done once and here: all functions become part of
main, its globals local variables, and those values (docs/performance.md, "Compile times"). Nothing is
folded: numbers are computed as the kernel says, by the device.

usage: compile.py GLSLANG SPIRV_OPT DEPFILE ARRAY HEADER ARGUMENTS... KERNEL
"""
import pathlib
import struct
import subprocess
import sys

PASSES = ["--inline-entry-points-exhaustive", "--eliminate-dead-functions", "--private-to-local", "--ssa-rewrite",
          "--redundancy-elimination", "--eliminate-dead-code-aggressive"]
# Some versions remove nothing where a module has the first of these extensions, which is the newer one of the
# same: they do not know it. For them it is called by its old name.
ADDRESSES = b"SPV_KHR_physical_storage_buffer"
OLD_ADDRESSES = b"SPV_EXT_physical_storage_buffer"
WORDS_OF_A_LINE = 8


def run(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        sys.exit(done.stdout)


glslang, spirv_opt, depfile, array, header = sys.argv[1:6]
module = pathlib.Path(header).with_suffix("")
run([glslang, *sys.argv[6:], "--depfile", depfile, "-o", str(module)])
module.write_bytes(module.read_bytes().replace(ADDRESSES, OLD_ADDRESSES))
run([spirv_opt, "--skip-validation", *PASSES, str(module), "-o", str(module)])
data = module.read_bytes().replace(OLD_ADDRESSES, ADDRESSES)
words = [f"0x{word:08x}" for word in struct.unpack(f"<{len(data) // 4}I", data)]
lines = [",".join(words[at : at + WORDS_OF_A_LINE]) for at in range(0, len(words), WORDS_OF_A_LINE)]
pathlib.Path(header).write_text(f"const uint32_t {array}[] = {{\n" + ",\n".join(lines) + "\n};\n")
# the header stands for the module
pathlib.Path(depfile).write_text(pathlib.Path(depfile).read_text().replace(f"{module}:", f"{header}:", 1))
