# SPDX-License-Identifier: MIT
"""The side of peers.py that runs on a GPU: what it does is said there."""
import collections
import json
import os
import subprocess
import sys

import torch

BATCH, HEADS, DIM, COPIED = 4, 16, 64, 512 << 20
BOUND = 2e-2  # of an error in float16
Peer = collections.namedtuple("Peer", "name weights features function")


def say(text):
    print(f"peers.py: {text}", file=sys.stderr, flush=True)


def reason_to_skip():
    if not torch.cuda.is_available():
        return "PyTorch finds no CUDA device"
    try:
        import triton.testing  # noqa: F401
    except ImportError as error:
        return f"triton, which takes the times, is not there: {error}"
    return None


def linear(function, normalize):
    return lambda q, k, v: function(q, k, v, normalize=normalize)[0]


def sdpa(q, k, v):
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)


def find_peers():
    """Each with what makes scores its weights, and the map of dijiang's that stands beside."""
    peers = [Peer("sdpa", "softmax", "wdcf", sdpa)]
    try:
        from fla.ops.linear_attn import chunk_linear_attn, fused_chunk_linear_attn
    except Exception as error:  # of any kind, as it compiles and asks the device for much
        say(f"without flash-linear-attention: {type(error).__name__}: {error}")
        return peers
    for name, function in ("chunk", chunk_linear_attn), ("fused_chunk", fused_chunk_linear_attn):
        peers.append(Peer(name, "sums", "identity", linear(function, False)))
        peers.append(Peer(f"{name}, normalized", "quotients", "wdcf", linear(function, True)))
    return peers


def last_token(weights, q, k, v):
    """By the definition, in double precision; q, k and v are [batch][tokens][heads][dim]."""
    q, k, v = q[:, -1].double(), k.double(), v.double()
    w = torch.einsum("bhd,bthd->bth", q, k) * DIM**-0.5
    if weights == "softmax":
        w = torch.softmax(w, 1)
    elif weights == "quotients":
        w = w / w.sum(1, keepdim=True)
    return torch.einsum("bth,bthd->bhd", w, v)


def median_ms(function):
    from triton.testing import do_bench
    return do_bench(function, return_mode="median")


def measure(peer, q, k, v):
    """Positive queries and keys, or the denominators of the linear ones are near 0."""
    want = last_token(peer.weights, q, k, v)
    if peer.function is sdpa:  # which takes [batch][heads][tokens][dim]
        q, k, v = (x.transpose(1, 2).contiguous() for x in (q, k, v))
    try:
        o = peer.function(q, k, v)
        got = (o[:, :, -1] if peer.function is sdpa else o[:, -1]).double()
        ms = median_ms(lambda: peer.function(q, k, v))
    except Exception as error:  # a library that fails leaves the others their times
        say(f"without {peer.name}: {type(error).__name__}: {error}")
        return None
    error = ((got - want).norm() / want.norm()).item()
    if not error < BOUND:
        say(f"{peer.name} of {q.numel() // (BATCH * HEADS * DIM)} tokens: error {error:.3g}")
    return {"case": peer.name, "median_ms": ms, "error": error}


def copy_rate():
    a = torch.zeros(COPIED, device="cuda", dtype=torch.uint8)
    b = torch.empty_like(a)
    return 2e3 * COPIED / median_ms(lambda: b.copy_(a))


def dijiang(features, tokens, ceilings):
    """What dijiang-bench says, or None, having said why."""
    here = os.path.dirname(os.path.abspath(__file__))
    build = os.environ.get("DIJIANG_BUILD", os.path.join(here, "../../build"))
    command = [os.path.join(build, "samples/dijiang-bench"), "--json", "--case=prefill",
               f"--features={features}", f"--tokens={tokens}", f"--batch={BATCH}",
               f"--heads={HEADS}", f"--dim={DIM}", "--dtype=f16"]
    try:
        run = subprocess.run(command if ceilings else command + ["--no-ceilings"], timeout=120,
                             check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as error:
        say(f"without dijiang's {features}: {error.stderr.strip() or error}")
        return None
    except (OSError, subprocess.TimeoutExpired) as error:
        say(f"without dijiang's {features}: {error}")
        return None
    report, card = json.loads(run.stdout), torch.cuda.get_device_name(0)
    if report["device"] != card:  # a GPU may have another name there
        say(f"dijiang ran on {report['device']}, PyTorch on {card}: DIJIANG_DEVICE chooses")
    return None if report["type"] == "CPU" else report


def take_turn(peers, lengths):
    """A copy, then for each length the others and dijiang after them."""
    copy, rows = {"bytes_per_s": copy_rate(), "dijiang_bytes_per_s": None}, []
    for tokens in lengths:
        shape = BATCH, tokens, HEADS, DIM
        q, k = (torch.rand(shape, device="cuda").half() / 2 for _ in range(2))
        v = torch.randn(shape, device="cuda").half()
        measured = [(peer, measure(peer, q, k, v)) for peer in peers]
        del q, k, v
        torch.cuda.empty_cache()  # the other process wants memory too
        own = {}
        for features in sorted({peer.features for peer in peers}):
            report = dijiang(features, tokens, copy["dijiang_bytes_per_s"] is None)
            own[features] = report["results"][0]["median_ms"] if report else None
            if report and "ceilings" in report:
                copy["dijiang_bytes_per_s"] = report["ceilings"]["copy_bytes_per_s"]
        for peer, row in measured:
            if row:
                ms = own[peer.features]
                rows.append({**row, "tokens": tokens, "batch": BATCH, "heads": HEADS, "dim": DIM,
                             "dtype": "f16", "dijiang": peer.features, "dijiang_ms": ms,
                             "ratio": row["median_ms"] / ms if ms else None})
    return copy, rows


def print_turn(copy, rows):
    def cell(value, places):
        return f"{value:10.{places}f}" if value else f"{'-':>10}"

    rate, own = copy["bytes_per_s"], copy["dijiang_bytes_per_s"]
    print(f"copy: PyTorch {1e-9 * rate:.0f} GB/s" +
          (f", dijiang-bench {1e-9 * own:.0f} GB/s, ratio {rate / own:.2f}" if own else ""))
    print(f"{'case':23} {'tokens':>7} {'median ms':>10} {'error':>8} {'dijiang':>9} "
          f"{'median ms':>10} {'to dijiang':>10}")
    for row in rows:
        print(f"{row['case']:23} {row['tokens']:7} {row['median_ms']:10.3f} {row['error']:8.1e} "
              f"{row['dijiang']:>9} {cell(row['dijiang_ms'], 3)} {cell(row['ratio'], 2)}",
              flush=True)


def run(lengths, turns, as_json):
    import triton
    card, peers, results = torch.cuda.get_device_name(0), find_peers(), []
    if not as_json:
        print(f"PyTorch {torch.__version__}, triton {triton.__version__}, {card}")
    torch.manual_seed(1)
    for _ in range(turns):
        with torch.inference_mode():
            copy, rows = take_turn(peers, lengths)
        results.append({"copy": copy, "results": rows})
        if not as_json:
            print_turn(copy, rows)
    if as_json:
        print(json.dumps({"torch": torch.__version__, "triton": triton.__version__,
                          "device": card, "turns": results}))
