#!/usr/bin/env python3
"""Writes tests/kat/tiny_forward.json: what the tests' tiny models compute, by an independent program.

    python3 tests/kat/gen/tiny_forward.py build/tests/make_tiny_model > tests/kat/tiny_forward.json

For each variant of tests/support/tiny_model.c the model file is written by the given program, read
here with a reader of its own, and computed in float64 straight from the papers' formulas (RoPE: Su
et al. 2021; RMSNorm: Zhang and Sennrich 2019; gated units: Shazeer 2020; local and global layers,
norms and scales of Gemma 3: Gemma Team 2025). Nothing but Python's own library is needed.
"""
import json
import math
import os
import struct
import subprocess
import sys
import tempfile

from gguf_file import Gguf

N_TOKENS = 30
SEED = 3


def read_f32(gguf):
    """Its tensors as lists of rows."""
    out = {}
    for name, (kind, rows, cols, at) in gguf.tensors.items():
        assert kind == 0, "the variants hold F32 only"
        flat = struct.unpack_from(f"<{rows * cols}f", gguf.data, at)
        out[name] = [flat[r * cols : (r + 1) * cols] for r in range(rows)]
    return out


def matvec(w, x):
    return [math.fsum(a * b for a, b in zip(row, x)) for row in w]


def rmsnorm(x, w, eps):
    r = 1 / math.sqrt(math.fsum(v * v for v in x) / len(x) + eps)
    return [v * r * g for v, g in zip(x, w)]


def cap(x, c):
    return c * math.tanh(x / c) if c else x


def silu(x):
    return x / (1 + math.exp(-x))


def gelu(x):
    return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def rotate(x, pos, base, scale, halves):
    """One head: pairs (2j, 2j + 1), or (j, j + E/2), turned by pos / scale * base^(-2j / E)."""
    out = list(x)
    E = len(x)
    for j in range(E // 2):
        a, b = (j, j + E // 2) if halves else (2 * j, 2 * j + 1)
        angle = pos / scale * base ** (-2 * j / E)
        c, s = math.cos(angle), math.sin(angle)
        out[a], out[b] = x[a] * c - x[b] * s, x[a] * s + x[b] * c
    return out


class Model:
    def __init__(self, path):
        g = Gguf(path)
        self.t = read_f32(g)
        self.arch = g.kv["general.architecture"]
        self.key = lambda k, default=None: g.kv.get(f"{self.arch}.{k}", default)
        self.gemma = self.arch == "gemma3"
        self.halves = self.arch != "llama"
        self.H = self.key("attention.head_count")
        self.K = self.key("attention.head_count_kv")
        self.E = self.key("attention.key_length")
        self.eps = self.key("attention.layer_norm_rms_epsilon")
        self.window = self.key("attention.sliding_window", 0)
        self.period = self.key("attention.sliding_window_pattern", 6) if self.gemma else 0

    def heads(self, layer, stem, n_heads, x, pos, local):
        """Queries or keys of one token: projection, bias, norm, rotation."""
        y = matvec(self.t[f"blk.{layer}.attn_{stem}.weight"], x)
        if self.arch == "qwen2":
            y = [a + b for a, b in zip(y, self.t[f"blk.{layer}.attn_{stem}.bias"][0])]
        out = []
        for h in range(n_heads):
            head = y[h * self.E : (h + 1) * self.E]
            if stem != "v":
                if self.gemma or self.arch == "qwen3":
                    head = rmsnorm(head, self.t[f"blk.{layer}.attn_{stem}_norm.weight"][0], self.eps)
                base, scale = self.key("rope.freq_base"), self.key("rope.scaling.factor", 1.0)
                if local and self.gemma:
                    base, scale = 10000.0, 1.0
                head = rotate(head, pos, base, scale, self.halves)
            out.append(head)
        return out

    def attention(self, layer, xs):
        local = self.window and (not self.period or (layer + 1) % self.period != 0)
        norms = [rmsnorm(x, self.t[f"blk.{layer}.attn_norm.weight"][0], self.eps) for x in xs]
        q = [self.heads(layer, "q", self.H, x, t, local) for t, x in enumerate(norms)]
        k = [self.heads(layer, "k", self.K, x, t, local) for t, x in enumerate(norms)]
        v = [self.heads(layer, "v", self.K, x, t, local) for t, x in enumerate(norms)]
        softcap = self.key("attn_logit_softcapping", 0)
        out = []
        for t in range(len(xs)):
            first = max(0, t + 1 - self.window) if local else 0
            row = []
            for h in range(self.H):
                kh = h // (self.H // self.K)
                scores = [
                    cap(sum(a * b for a, b in zip(q[t][h], k[s][kh])) / math.sqrt(self.E), softcap)
                    for s in range(first, t + 1)
                ]
                top = max(scores)
                weights = [math.exp(s - top) for s in scores]
                total = math.fsum(weights)
                for e in range(self.E):
                    row.append(
                        math.fsum(w * v[first + i][kh][e] for i, w in enumerate(weights)) / total
                    )
            out.append(matvec(self.t[f"blk.{layer}.attn_output.weight"], row))
        return out

    def mlp(self, layer, x):
        n = rmsnorm(x, self.t[f"blk.{layer}.ffn_norm.weight"][0], self.eps)
        gate = matvec(self.t[f"blk.{layer}.ffn_gate.weight"], n)
        up = matvec(self.t[f"blk.{layer}.ffn_up.weight"], n)
        act = gelu if self.gemma else silu
        return matvec(
            self.t[f"blk.{layer}.ffn_down.weight"], [act(a) * b for a, b in zip(gate, up)]
        )

    def add(self, layer, norm, x, y):
        if self.gemma:
            y = rmsnorm(y, self.t[f"blk.{layer}.{norm}.weight"][0], self.eps)
        return [a + b for a, b in zip(x, y)]

    def logits(self, ids):
        embd = self.t["token_embd.weight"]
        scale = math.sqrt(len(embd[0])) if self.gemma else 1.0
        xs = [[v * scale for v in embd[i]] for i in ids]
        for layer in range(self.key("block_count")):
            ys = self.attention(layer, xs)
            xs = [self.add(layer, "post_attention_norm", x, y) for x, y in zip(xs, ys)]
            xs = [self.add(layer, "post_ffw_norm", x, self.mlp(layer, x)) for x in xs]
        softcap = self.key("final_logit_softcapping", 0)
        norms = [rmsnorm(x, self.t["output_norm.weight"][0], self.eps) for x in xs]
        return [[cap(v, softcap) for v in matvec(embd, n)] for n in norms]


def nll(row, target):
    top = max(row)
    return top + math.log(math.fsum(math.exp(v - top) for v in row)) - row[target]


def run(program, variant):
    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, "tiny.gguf")
        subprocess.run([program, path, str(SEED), variant], check=True)
        model = Model(path)
    ids = [(i * 37 + 11) % len(model.t["token_embd.weight"]) for i in range(N_TOKENS)]
    rows = model.logits(ids)
    return {
        "variant": variant,
        "seed": SEED,
        "ids": ids,
        "nll": [round(nll(rows[i], ids[i + 1]), 7) for i in range(N_TOKENS - 1)],
        "last_logits": [round(v, 7) for v in rows[-1][:16]],
    }


def main():
    program = os.path.abspath(sys.argv[1])
    names = subprocess.run([program, "--variants"], check=True, capture_output=True, text=True)
    items = [json.dumps(run(program, v)) for v in names.stdout.split()]
    print("[\n" + ",\n".join(items) + "\n]")


main()
