#!/usr/bin/env python3
"""Writes tests/kat/grad_parity.safetensors: gradients of adapters over small models, by PyTorch.

    python3 tests/kat/gen/grad_parity.py build/tests/make_grad_case tests/kat/grad_parity.safetensors

Needs torch 2.15.0, transformers 5.23.0, peft 0.21.2, gguf 0.19.0, safetensors 0.8.0, numpy 2.4.6 (Python
3.11, CPU, two minutes). The models are transformers' own classes and the adapters PEFT's; what is done
here is to hand them the weights that Shoal's test reads and to lay their gradients out in its order.

For each family and type of weights the given program writes a model, an adapter and samples
(tests/support/grad_case.c). Weights are dequantised by gguf-py, those of Shoal's affine types here from
their description in kernels/quant.h. Each sample goes through the model alone, in f32. Of a case are
kept, under FAMILY/TYPE/:

    loss    [1] f32: mean NLL over the targets of all samples
    scales  [n] f32: one a matrix, A before B, by projection (q k v o gate up down), by layer
    grad    [m] i16: the matrices in that order; gradient = scale * value / 32767
"""
import importlib.metadata
import json
import subprocess
import sys
import tempfile

import numpy as np
import torch
import transformers
from gguf import GGMLQuantizationType, quants
from gguf_file import Gguf
from peft import LoraConfig, get_peft_model
from safetensors.numpy import save_file

PROJECTIONS = [
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
]
NORMS = {  # of a layer: GGUF's name to that of transformers
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
}
GEMMA_NORMS = NORMS | {
    "ffn_norm": "pre_feedforward_layernorm",
    "post_attention_norm": "post_attention_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
Q4_A, Q6_A = 248, 249
PACKAGES = ["torch", "transformers", "peft", "gguf", "safetensors", "numpy"]


# ---- weights


def affine(kind, blocks):
    """Blocks of a word s << 7 | u and 32 codes: w = d (q - z), d = 2^(s/32 - 13) (1 + s%32 / 32)."""
    word = blocks[:, 0].astype(np.int64) | blocks[:, 1].astype(np.int64) << 8
    s, u = word >> 7, word & 127
    d = np.ldexp(1 + (s % 32) / 32, s // 32 - 13)
    nibbles = blocks[:, 2:18].astype(np.int64)
    q = np.concatenate([nibbles & 15, nibbles >> 4], axis=1)
    zero = u / 8
    if kind == Q6_A:  # bits 2h, 2h + 1 of byte k are bits 4, 5 of weight 8h + k
        pairs = blocks[:, 18:26].astype(np.int64)
        q |= np.concatenate([(pairs >> 2 * h & 3) << 4 for h in range(4)], axis=1)
        zero = u / 2
    return (d[:, None] * (q - zero[:, None])).astype(np.float32)


def tensors_of(gguf):
    """All of a file's tensors, f32 [rows, columns]."""
    out = {}
    for name, (kind, rows, cols, at) in gguf.tensors.items():
        if kind in (Q4_A, Q6_A):
            size = 18 if kind == Q4_A else 26
            raw = np.frombuffer(gguf.data, np.uint8, rows * cols // 32 * size, at)
            out[name] = affine(kind, raw.reshape(-1, size)).reshape(rows, cols)
            continue
        block, size = quants.GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
        raw = np.frombuffer(gguf.data, np.uint8, rows * cols // block * size, at)
        out[name] = quants.dequantize(raw.reshape(rows, -1), GGMLQuantizationType(kind))
        assert out[name].shape == (rows, cols)
    return out


def from_pairs(rows, head):
    """Rows of q or k from the order of GGUF files of arch llama, a head's rotation pairs (2j, 2j + 1),
    to transformers': (j, j + head / 2)."""
    return rows.reshape(-1, head // 2, 2, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape)


def to_pairs(rows, head):
    return rows.reshape(-1, 2, head // 2, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape)


# ---- models


class Case:
    """A model file as transformers' model of its family, with PEFT's adapter over it."""

    def __init__(self, family, folder):
        self.gguf = Gguf(f"{folder}/model.gguf")
        self.arch = self.gguf.kv["general.architecture"]
        self.w = tensors_of(self.gguf)
        self.gemma = self.arch == "gemma3"
        self.n_layer = self.key("block_count")
        self.head = self.key("attention.key_length")
        base = self.make_model(family)
        missing, unexpected = base.load_state_dict(self.state(), strict=False)
        assert not unexpected and set(missing) <= {"lm_head.weight"}, (missing, unexpected)
        self.load_adapter(base, Gguf(f"{folder}/adapter.gguf"))

    def key(self, name, default=None):
        return self.gguf.kv.get(f"{self.arch}.{name}", default)

    def make_model(self, family):
        common = dict(
            vocab_size=len(self.w["token_embd.weight"]),
            hidden_size=self.key("embedding_length"),
            intermediate_size=self.key("feed_forward_length"),
            num_hidden_layers=self.n_layer,
            num_attention_heads=self.key("attention.head_count"),
            num_key_value_heads=self.key("attention.head_count_kv"),
            max_position_embeddings=self.key("context_length"),
            rms_norm_eps=self.key("attention.layer_norm_rms_epsilon"),
            tie_word_embeddings="output.weight" not in self.w,
            attn_implementation="eager",  # the one that knows soft-caps
        )
        rope = {"rope_type": "default", "rope_theta": self.key("rope.freq_base")}
        if self.key("rope.scaling.type") == "linear":
            rope |= {"rope_type": "linear", "factor": self.key("rope.scaling.factor")}
        if family == "qwen2":  # its heads are as wide as the width allows
            assert self.head * common["num_attention_heads"] == common["hidden_size"]
            config = transformers.Qwen2Config(rope_parameters=rope, **common)
            return transformers.Qwen2ForCausalLM(config)
        common["head_dim"] = self.head
        if self.gemma:
            return self.make_gemma(common, rope)
        common["rope_parameters"] = rope
        if family == "mistral":
            window = self.key("attention.sliding_window")
            return transformers.MistralForCausalLM(
                transformers.MistralConfig(sliding_window=window, **common)
            )
        if family == "qwen3":
            return transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**common))
        return transformers.LlamaForCausalLM(transformers.LlamaConfig(**common))

    def make_gemma(self, common, rope):
        period = self.key("attention.sliding_window_pattern", 6)
        local = {"rope_type": "default", "rope_theta": 10000.0}
        kinds = ["sliding_attention", "full_attention"]
        config = transformers.Gemma3TextConfig(
            rope_parameters={"full_attention": rope, "sliding_attention": local},
            sliding_window=self.key("attention.sliding_window"),
            layer_types=[kinds[(i + 1) % period == 0] for i in range(self.n_layer)],
            query_pre_attn_scalar=self.head,
            final_logit_softcapping=self.key("final_logit_softcapping"),
            **common,
        )
        return transformers.Gemma3ForCausalLM(config)

    def state(self):
        """The weights under transformers' names, in its order of rows."""
        out = {
            "model.embed_tokens.weight": self.w["token_embd.weight"],
            "model.norm.weight": self.norm("output_norm.weight"),
        }
        if "output.weight" in self.w:
            out["lm_head.weight"] = self.w["output.weight"]
        for layer in range(self.n_layer):
            for stem, name in PROJECTIONS:
                w = self.w[f"blk.{layer}.{stem}.weight"]
                out[f"model.layers.{layer}.{name}.weight"] = self.rows(stem, w)
                bias = self.w.get(f"blk.{layer}.{stem}.bias")
                if bias is not None:
                    out[f"model.layers.{layer}.{name}.bias"] = bias[0]
            for stem, name in (GEMMA_NORMS if self.gemma else NORMS).items():
                if f"blk.{layer}.{stem}.weight" in self.w:
                    out[f"model.layers.{layer}.{name}.weight"] = self.norm(
                        f"blk.{layer}.{stem}.weight"
                    )
        return {name: torch.tensor(np.ascontiguousarray(v)) for name, v in out.items()}

    def norm(self, name):
        """Gemma's classes add the 1 that its files have in the weights."""
        return self.w[name][0] - (1 if self.gemma else 0)

    def in_pairs(self, stem):
        return self.arch == "llama" and stem in ("attn_q", "attn_k")

    def rows(self, stem, w):
        return from_pairs(w, self.head) if self.in_pairs(stem) else w

    def load_adapter(self, base, gguf):
        w = tensors_of(gguf)
        rank = len(w["blk.0.attn_q.weight.lora_a"])
        self.model = get_peft_model(
            base,
            LoraConfig(
                r=rank,
                lora_alpha=gguf.kv["adapter.lora.alpha"],
                target_modules=[name.split(".")[1] for _, name in PROJECTIONS],
                lora_dropout=0.0,
            ),
        )
        for layer, stem, a, b in self.pairs():
            name = f"blk.{layer}.{stem}.weight.lora_"
            a.data.copy_(torch.tensor(w[name + "a"]))
            b.data.copy_(torch.tensor(self.rows(stem, w[name + "b"])))

    def pairs(self):
        for layer, block in enumerate(self.model.base_model.model.model.layers):
            for stem, name in PROJECTIONS:
                p = block.get_submodule(name)
                yield layer, stem, p.lora_A["default"].weight, p.lora_B["default"].weight

    def backward(self, samples):
        """Gradients of the mean NLL over all targets; returns that."""
        total, n = 0.0, sum(sum(s["mask"][1:]) for s in samples)
        # Gemma 3's attention leaves its soft-cap to the caller of the shared attention function.
        cap = self.key("attn_logit_softcapping")
        more = {} if cap is None else {"softcap": cap}
        for s in samples:
            ids, mask = torch.tensor([s["ids"]]), torch.tensor(s["mask"][1:]).bool()
            logits = self.model(input_ids=ids, use_cache=False, **more).logits[0, :-1]
            loss = torch.nn.functional.cross_entropy(
                logits[mask], ids[0, 1:][mask], reduction="sum"
            )
            (loss / n).backward()
            total += loss.item()
        return total / n

    def gradients(self):
        for _, stem, a, b in self.pairs():
            yield a.grad.numpy()
            yield to_pairs(b.grad.numpy(), self.head) if self.in_pairs(stem) else b.grad.numpy()


def run(program, family, kind):
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [program, folder, family, kind], check=True, capture_output=True, text=True
        )
        case = Case(family, folder)
    loss = case.backward(json.loads(done.stdout))
    grads = list(case.gradients())
    scales = np.array([np.abs(g).max() for g in grads], np.float32)
    codes = [np.rint(g / s * 32767).astype(np.int16).ravel() for g, s in zip(grads, scales)]
    print(f"{family} {kind}: loss {loss:.6f}", file=sys.stderr)
    return {
        f"{family}/{kind}/loss": np.array([loss], np.float32),
        f"{family}/{kind}/scales": scales,
        f"{family}/{kind}/grad": np.concatenate(codes),
    }


def main():
    program, path = sys.argv[1:]
    torch.manual_seed(0)
    torch.set_num_threads(1)
    names = subprocess.run([program, "--list"], check=True, capture_output=True, text=True)
    tensors = {}
    for line in names.stdout.splitlines():
        tensors |= run(program, *line.split())
    versions = " ".join(f"{p} {importlib.metadata.version(p)}" for p in PACKAGES)
    save_file(tensors, path, {"made with": versions})


main()
