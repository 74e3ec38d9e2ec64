#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""PyTorch's attention, at the shapes of dijiang-bench's suites.

usage: peers.py [--threads N] [--json] [TOKENS ...]     default 1024 2048 4096 8192
       peers.py --device cuda [--turns N] [--json] [TOKENS ...]     default 2048 16384

On the CPU: one sequence, 8 heads, d = e = 64, float32, causal:
  chunked    linear attention in chunks of 64 tokens, exponential features of a DCT-II (DiJiang's
             WDCF) with its denominator; the way of flash-linear-attention, in plain PyTorch
  sdpa       torch.nn.functional.scaled_dot_product_attention
  quadratic  the form of the paper's code: a T x T matrix of feature products, masked
The first two are compared with the recurrence or the definition in double precision before they are
timed, on the last token. Minimum and median of at least 5 runs and a second.

On a GPU: four sequences, 16 heads, d = e = 64, float16, causal; medians of triton's do_bench:
  chunk, fused_chunk   flash-linear-attention's, where fla can be imported (PYTHONPATH will do): its
             sums, without a map or a denominator, beside dijiang's identity; and normalized, which
             divides them, beside WDCF, which has a map besides
  sdpa       torch.nn.functional.scaled_dot_product_attention, beside WDCF
  copy       of 512 MiB, beside what dijiang-bench measures the device by
In each turn (default 2) dijiang-bench of $DIJIANG_BUILD (default: build) runs on the same card
after them, with DIJIANG_MATRICES and all as the environment has it; "to dijiang" is their time by
its. The error is that of the last token, against the definition in double precision. do_bench
clears the cache before each run, which dijiang-bench does not: that may help it where tensors are
as small as caches. Without a CUDA device or triton it says so, and exits with 77.
"""
import argparse
import json
import math
import statistics
import sys
import time

try:
    import torch
except ImportError:
    sys.exit("peers.py: PyTorch is not installed (Debian: python3-torch; pip install torch)")

HEADS, DIM, CHUNK, LONGEST = 8, 64, 64, 12


def dct_matrix(n, dtype):
    k = torch.arange(n, dtype=dtype)[:, None]
    i = torch.arange(n, dtype=dtype)[None, :]
    c = torch.cos(math.pi * (2 * i + 1) * k / (2 * n)) * math.sqrt(2 / n)
    c[0] /= math.sqrt(2)
    return c


def features(x, t):
    return torch.exp(x * DIM**-0.25 @ dct_matrix(DIM, x.dtype).T * t)


def chunked(q, k, v, t):
    """q, k, v are [heads][tokens][dim]."""
    heads, tokens, dim = q.shape
    ones = torch.ones(heads, tokens, 1, dtype=v.dtype)
    q, k, v = features(q, t), features(k, t), torch.cat([v, ones], 2)
    q, k, v = (x.view(heads, tokens // CHUNK, CHUNK, -1) for x in (q, k, v))
    sums = torch.cumsum(k.transpose(2, 3) @ v, 1)
    before = torch.cat([torch.zeros_like(sums[:, :1]), sums[:, :-1]], 1)
    o = torch.tril(q @ k.transpose(2, 3)) @ v + q @ before
    o = o.reshape(heads, tokens, dim + 1)
    return o[..., :dim] / o[..., dim:]


def sdpa(q, k, v, t):
    return torch.nn.functional.scaled_dot_product_attention(q[None], k[None], v[None],
                                                            is_causal=True)[0]


def quadratic(q, k, v, t):
    w = torch.tril(features(q, t) @ features(k, t).transpose(1, 2))
    return w @ v / w.sum(2, keepdim=True)


def last_token(name, q, k, v, t):
    q, k, v, t = (x.double() for x in (q, k, v, t))
    q = q[:, -1:]
    if name == "sdpa":
        w = torch.softmax(q @ k.transpose(1, 2) / math.sqrt(DIM), 2)
    else:
        w = features(q, t) @ features(k, t).transpose(1, 2)
        w = w / w.sum(2, keepdim=True)
    return (w @ v)[:, 0]


def measure(name, function, tokens):
    torch.manual_seed(1)
    q, k, v = (torch.randn(HEADS, tokens, DIM) for _ in range(3))
    t = torch.randn(DIM)
    got, want = function(q, k, v, t)[:, -1].double(), last_token(name, q, k, v, t)
    error = ((got - want).norm() / want.norm()).item()
    if not error < 1e-4:
        sys.exit(f"peers.py: {name} of {tokens} tokens is wrong: error {error:.3g}")
    seconds = []
    while len(seconds) < 5 or sum(seconds) < 1:
        start = time.perf_counter()
        function(q, k, v, t)
        seconds.append(time.perf_counter() - start)
    return {"case": name, "tokens": tokens, "heads": HEADS, "dim": DIM, "dtype": "f32",
            "min_ms": 1e3 * min(seconds), "median_ms": 1e3 * statistics.median(seconds),
            "repetitions": len(seconds), "error": error}


def main():
    parser = argparse.ArgumentParser(description="PyTorch's attention beside dijiang's")
    parser.add_argument("tokens", type=int, nargs="*")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=0, help="on the CPU")
    parser.add_argument("--turns", type=int, default=2, help="on a GPU")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    defaults = {"cpu": [1024, 2048, 4096, 8192], "cuda": [2048, 16384]}
    options.tokens = options.tokens or defaults[options.device]
    if any(tokens < CHUNK or tokens % CHUNK for tokens in options.tokens):
        parser.error(f"tokens must be multiples of {CHUNK}")
    if options.device == "cuda":
        import peers_cuda
        reason = peers_cuda.reason_to_skip()
        if reason:
            print(f"peers.py: skipped: {reason}", file=sys.stderr)
            sys.exit(77)
        peers_cuda.run(options.tokens, options.turns, options.json)
        return
    if options.threads:
        torch.set_num_threads(options.threads)
    results = []
    if not options.json:
        print(f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads")
        print(f"{'case':10} {'tokens':>7} {'min ms':>10} {'median ms':>10} {'runs':>5} {'error':>8}")
    for name, function in ("chunked", chunked), ("sdpa", sdpa), ("quadratic", quadratic):
        last = None
        for tokens in options.tokens:
            power = 1 if name == "chunked" else 2
            if last and last["min_ms"] * (tokens / last["tokens"]) ** power > 1e3 * LONGEST:
                continue
            with torch.inference_mode():
                last = measure(name, function, tokens)
            results.append(last)
            if not options.json:
                print(f"{name:10} {tokens:7} {last['min_ms']:10.3f} {last['median_ms']:10.3f} "
                      f"{last['repetitions']:5} {last['error']:8.1e}", flush=True)
    if options.json:
        print(json.dumps({"torch": torch.__version__, "threads": torch.get_num_threads(),
                          "results": results}))


main()
