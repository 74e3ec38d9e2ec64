#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compiles a kernel to SPIR-V, and that to a C array of its words.

What drivers do anyway, and some with much effort, is done once and here: functions that return in one place
become part of main, globals that no other function uses become local variables, and those values
(docs/performance.md, "Compile times"). Nothing is folded: numbers are computed as the kernel says, by the device.

usage: compile.py GLSLANG SPIRV_OPT DEPFILE ARRAY HEADER ARGUMENTS... KERNEL
"""
import pathlib
import struct
import subprocess
import sys
import tempfile

PASSES = ["--inline-entry-points-exhaustive", "--eliminate-dead-functions", "--private-to-local", "--ssa-rewrite",
          "--redundancy-elimination", "--eliminate-dead-code-aggressive"]
# SPIRV-Tools 2023.1 (Debian 12) remove nothing from a module that names the first of these extensions, which they
# do not know; they know the other, its predecessor. As such it is not valid, but the result is, and tested.
ADDRESSES = b"SPV_KHR_physical_storage_buffer"
OLD_ADDRESSES = b"SPV_EXT_physical_storage_buffer"
WORDS_OF_A_LINE = 8


def run(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    # functions that stay are no news
    lines = [line for line in done.stdout.splitlines() if "could not be inlined" not in line]
    if lines:
        print("\n".join(lines))
    if done.returncode != 0:
        sys.exit(f"{command[0]} failed: {done.returncode}")


def compile_words(glslang, spirv_opt, depfile, arguments):
    """The words of the module; depfile says what it was made of."""
    with tempfile.TemporaryDirectory() as folder:
        module = pathlib.Path(folder) / "module"
        run([glslang, *arguments, "--depfile", depfile, "-o", str(module)])
        module.write_bytes(module.read_bytes().replace(ADDRESSES, OLD_ADDRESSES))
        run([spirv_opt, "--skip-validation", *PASSES, str(module), "-o", str(module)])
        data = module.read_bytes().replace(OLD_ADDRESSES, ADDRESSES)
    return struct.unpack(f"={len(data) // 4}I", data)


def main(glslang, spirv_opt, depfile, array, header, *arguments):
    words = [f"0x{word:08x}" for word in compile_words(glslang, spirv_opt, depfile, arguments)]
    lines = [",".join(words[at : at + WORDS_OF_A_LINE]) for at in range(0, len(words), WORDS_OF_A_LINE)]
    pathlib.Path(header).write_text(f"const uint32_t {array}[] = {{\n" + ",\n".join(lines) + "\n};\n")
    _, _, made_of = pathlib.Path(depfile).read_text().partition(": ")
    pathlib.Path(depfile).write_text(header.replace(" ", "\\ ") + ": " + made_of)


main(*sys.argv[1:])
