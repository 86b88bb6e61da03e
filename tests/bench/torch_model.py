"""torch_model.py - a GGUF file of arch llama as a transformers model in fp32.

The weights are the file's own values, dequantised, so torch and Shoal compute the same function.
GGUF files pair the rotated dimensions 2j and 2j + 1 of a head, transformers j and E/2 + j, so the
rows of q and k go back to where they were before the conversion.
"""
import gguf
import torch
import transformers

LAYER = {
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
GLOBAL = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


def config(reader):
    def get(key):
        return reader.get_field(f"llama.{key}").contents()

    if reader.get_field("general.architecture").contents() != "llama":
        raise SystemExit("error: only GGUF files of arch llama are mapped to transformers")
    c = transformers.LlamaConfig(
        vocab_size=get("vocab_size"), hidden_size=get("embedding_length"),
        intermediate_size=get("feed_forward_length"), num_hidden_layers=get("block_count"),
        num_attention_heads=get("attention.head_count"),
        num_key_value_heads=get("attention.head_count_kv"),
        max_position_embeddings=get("context_length"),
        rms_norm_eps=get("attention.layer_norm_rms_epsilon"),
        rope_parameters={"rope_type": "default", "rope_theta": get("rope.freq_base")},
        tie_word_embeddings="output.weight" not in {t.name for t in reader.tensors})
    c._attn_implementation = "sdpa"
    return c


def name_of(gguf_name):
    """"blk.3.attn_q.weight" as transformers calls it."""
    stem = gguf_name.removesuffix(".weight")
    if not stem.startswith("blk."):
        return f"{GLOBAL[stem]}.weight"
    _, layer, part = stem.split(".")
    return f"model.layers.{layer}.{LAYER[part]}.weight"


def in_halves(w, n_heads):
    """Rows [head, pair, 2] to [head, 2, pair]."""
    rows, columns = w.shape
    return w.reshape(n_heads, rows // n_heads // 2, 2, columns).swapaxes(1, 2).reshape(w.shape)


def load(path):
    """The model in fp32, no gradients wanted, attention by scaled_dot_product_attention."""
    reader = gguf.GGUFReader(path)
    c = config(reader)
    model = transformers.LlamaForCausalLM(c)
    state = model.state_dict()
    wanted = set(state) - ({"lm_head.weight"} if c.tie_word_embeddings else set())
    for t in reader.tensors:
        w = gguf.quants.dequantize(t.data, t.tensor_type)
        if ".attn_q." in t.name or ".attn_k." in t.name:
            w = in_halves(w, c.num_attention_heads if "_q" in t.name else c.num_key_value_heads)
        name = name_of(t.name)
        state[name].copy_(torch.from_numpy(w.copy()))
        wanted.remove(name)
    if wanted:
        raise SystemExit(f"error: the file lacks {sorted(wanted)}")
    return model.requires_grad_(False)
