#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Prints GLSL of DCTs as straight lines, for kernels whose invocations hold a whole row each:

    void dct2_N(inout float x[N])   y[k] = sum_n x[n] cos(pi (2n+1) k / (2N))
    void dct3_N(inout float x[N])   its transpose

and the macros DCT2 and DCT3 for them, where the macro DCT is N.

usage: dct.py N...

Even lengths split as Plonka and Tasche do (Fast and numerically stable algorithms for discrete
cosine transforms, 2005): the DCT-II of N into a DCT-II and a DCT-IV of N/2, the DCT-IV of N by
plane rotations into two DCT-IIs of N/2. Every step but for factors of sqrt(2) is orthogonal, so
that rounding errors do not grow. Odd lengths are sums of products.
"""
import math
import sys


class Lines:
    """The statements so far; every value has a name of its own."""

    def __init__(self):
        self.lines = []

    def name(self, expression):
        value = f"s{len(self.lines)}"
        self.lines.append(f"    const float {value} = {expression};")
        return value

    def sum(self, a, b):
        """a + b, either of which may be a name behind a minus."""
        if b.startswith("-"):
            return self.name(f"{a} - {b[1:]}")
        return self.name(f"{b} - {a[1:]}" if a.startswith("-") else f"{a} + {b}")

    def product(self, x, angle):
        """The sum of x[n] cos(angle(n))."""
        return self.name(" + ".join(f"{v} * {number(math.cos(angle(n)))}" for n, v in enumerate(x)))

    def dct2(self, x):
        n = len(x)
        if n % 2:
            return [self.product(x, lambda i, k=k: math.pi * (2 * i + 1) * k / (2 * n)) for k in range(n)]
        mirrored = list(zip(x[: n // 2], reversed(x)))
        even = self.dct2([self.sum(a, b) for a, b in mirrored])
        odd = self.dct4([self.sum(a, minus(b)) for a, b in mirrored])
        return [y for pair in zip(even, odd) for y in pair]

    def dct3(self, x):
        n = len(x)
        if n % 2:
            return [self.product(x, lambda k, i=i: math.pi * (2 * i + 1) * k / (2 * n)) for i in range(n)]
        pairs = list(zip(self.dct3(x[0::2]), self.dct4(x[1::2])))
        return ([self.sum(a, b) for a, b in pairs] +
                [self.sum(a, minus(b)) for a, b in reversed(pairs)])

    def dct4(self, x):
        n = len(x)
        if n % 2:
            return [self.product(x, lambda i, k=k: math.pi * (2 * i + 1) * (2 * k + 1) / (4 * n))
                    for k in range(n)]
        half, a, b = n // 2, [], []
        for i in range(half):
            angle = math.pi * (2 * i + 1) / (4 * n)
            c, s = number(math.cos(angle)), number(math.sin(angle))
            first, last = x[i], x[n - 1 - i]
            a.append(self.name(f"{first} * {c} + {last} * {s}"))
            turned = (last, c, first, s) if i % 2 == 0 else (first, s, last, c)
            b.append(self.name("{} * {} - {} * {}".format(*turned)))
        a, b = self.dct2(a), self.dct2(b)
        y = [a[0]]
        for k in range(1, half):
            y += [self.sum(a[k], minus(b[half - k])), self.sum(a[k], b[half - k])]
        return y + [minus(b[0])]


def minus(value):
    """A name with a minus before it, or without the one it has."""
    return value[1:] if value.startswith("-") else f"-{value}"


def number(x):
    text = f"{x:.9g}"
    return text if "." in text or "e" in text else text + ".0"


def function(name, n):
    lines = Lines()
    y = getattr(lines, name)([lines.name(f"x[{i}]") for i in range(n)])
    return "\n".join([f"void {name}_{n}(inout float x[{n}])", "{"] + lines.lines +
                     [f"    x[{i}] = {value};" for i, value in enumerate(y)] + ["}", ""])


print("/* Written by dct.py. */")
for length in map(int, sys.argv[1:]):
    print(f"#if DCT == {length}\n{function('dct2', length)}\n{function('dct3', length)}")
    print(f"#define DCT2 dct2_{length}\n#define DCT3 dct3_{length}\n#endif")
