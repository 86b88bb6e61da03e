"""Scores token ids with transformers + PEFT on a GGUF file's weights: cli_peft_adapter.py MODEL REQUESTS

REQUESTS: lines {"adapter": a PEFT directory, or null for the base, "ids": [...]}. For each one line
{"nll", "argmax"} in the form of `shoal score`. Needs torch, transformers, peft and gguf.
"""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "bench"))
sys.dont_write_bytecode = True
import peft
import torch
import torch_model


def scores(model, ids):
    logits = model(input_ids=torch.tensor([ids])).logits[0]
    logp = logits[:-1].log_softmax(-1)
    nll = -logp.gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
    return nll.tolist(), logits.argmax(-1).tolist()


torch.set_num_threads(2)
base = torch_model.load(sys.argv[1]).eval()
with open(sys.argv[2], encoding="utf-8") as f:
    requests = [json.loads(line) for line in f]
for r in requests:
    model = peft.PeftModel.from_pretrained(base, r["adapter"]) if r["adapter"] else base
    with torch.no_grad():
        nll, argmax = scores(model, r["ids"])
    print(json.dumps({"nll": nll, "argmax": argmax}), flush=True)
    if r["adapter"]:
        base = model.unload()
