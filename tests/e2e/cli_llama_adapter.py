"""Scores token ids with llama.cpp and a GGUF LoRA file: cli_llama_adapter.py MODEL ADAPTER|- IDS.json

Prints {"nll": [...], "argmax": [...]} in the form of `shoal score`. Needs llama-cpp-python.
"""
import json
import math
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "bench"))
sys.dont_write_bytecode = True
import peer_llama as peer

L = peer.L
L.llama_log_set(peer.no_log, None)
L.llama_backend_init()
path, adapter, ids_file = sys.argv[1:4]
with open(ids_file, encoding="utf-8") as f:
    ids = json.loads(f.readline())["ids"]
model = peer.Model(path)
ctx = peer.Context(model, max(len(ids), 64), 2)
if adapter != "-":
    lora = L.llama_adapter_lora_init(model.p, os.fsencode(adapter))
    if not lora or L.llama_set_adapters_lora(ctx.p, (L.llama_adapter_lora_p_ctypes * 1)(lora), 1, (peer.ctypes.c_float * 1)(1.0)) != 0:
        sys.exit("error: llama.cpp does not take the adapter")
ctx.batch = L.llama_batch_init(max(len(ids), 64), 0, 1)
ctx.read(ids, 0, first_logits=0)
out = {"nll": [], "argmax": []}
for i in range(len(ids)):
    row = L.llama_get_logits_ith(ctx.p, i)[: model.n_vocab]
    top = max(row)
    out["argmax"].append(row.index(top))
    if i + 1 < len(ids):
        out["nll"].append(top + math.log(sum(math.exp(v - top) for v in row)) - row[ids[i + 1]])
print(json.dumps(out))
