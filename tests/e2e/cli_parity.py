"""Compares what the programs printed with the reference vectors.

usage: cli_parity.py STEP VECTORS WORK; STEP `inputs` writes what the programs are given.
"""
import array
import json
import struct
import sys

step, vectors, work = sys.argv[1:4]


def load(name):
    with open(f"{vectors}/{name}", encoding="utf-8") as f:
        return json.load(f)


def load_lines(path):
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def write_lines(name, items):
    with open(f"{work}/{name}", "w", encoding="utf-8") as f:
        f.writelines(json.dumps(i) + "\n" for i in items)


def tensors(path):
    with open(path, "rb") as f:
        data = f.read()
    n = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + n])
    header.pop("__metadata__", None)
    out = {}
    for name, t in header.items():
        begin, end = t["data_offsets"]
        values = array.array("f")
        values.frombytes(data[8 + n + begin:8 + n + end])
        out[name] = (t["shape"], values)
    return out


def check(ok, what):
    if not ok:
        sys.exit(f"not so: {what}")


def inputs():
    write_lines("tokenize.in", [{k: t[k] for k in ("text", "parse_special")}
                                for t in load_lines(f"{vectors}/tokenizer.jsonl")])
    prompts = load("forward.json")
    # Half of the lines by their ids, half by their text: both forms are part of the contract.
    write_lines("score.in", [{"ids": p["ids"]} if i % 2 else {"text": p["text"]} for i, p in enumerate(prompts)])
    write_lines("adapter.in", [{"text": p["text"]} for p in load("adapter/outputs.json")["prompts"]])
    # A shell cannot carry every prompt; those it can are enough for the command line.
    plain = [i for i, p in enumerate(prompts) if "\0" not in p["text"] and not p["text"].endswith("\n")]
    for i in plain:
        with open(f"{work}/prompt.{i}", "w", encoding="utf-8") as f:
            f.write(prompts[i]["text"])
    with open(f"{work}/prompts", "w", encoding="utf-8") as f:
        f.write("\n".join(map(str, plain)))


def tokenize():
    want = load_lines(f"{vectors}/tokenizer.jsonl")
    got = load_lines(f"{work}/out")
    check(len(want) == len(got), "as many lines")
    for w, g in zip(want, got):
        check(w["ids"] == g["ids"], w)


def compare_scores(want, got, nll_max, nll_mean, logit_max, argmax_share):
    worst = total = count = same = positions = 0
    for w, g in zip(want, got):
        check(w["ids"] == g["ids"], f"ids of {w['text']!r}")
        differences = [abs(a - b) for a, b in zip(w["nll"], g["nll"])]
        check(len(w["nll"]) == len(g["nll"]), "as many costs")
        worst = max([worst, *differences])
        total += sum(differences)
        count += len(differences)
        if "argmax" in w:
            same += sum(a == b for a, b in zip(w["argmax"], g["argmax"]))
            positions += len(w["argmax"])
        top = dict(zip(g["top_ids"], g["top_logits"]))
        for i, x in zip(w["last_top_ids"], w["last_top_logits"]):
            if i in top:
                check(abs(x - top[i]) <= logit_max, (w["text"], i, x, top[i]))
        check(len(set(w["last_top_ids"]) & set(top)) >= 6, "most of the best tokens agree")
    print(f"NLL max {worst:.2e} mean {total / count:.2e}, argmax {same} of {positions}")
    check(worst <= nll_max and total / count <= nll_mean, "costs within the tolerance")
    check(same >= argmax_share * positions, "best tokens agree")


def generate():
    for i, p in enumerate(load("forward.json")):
        try:
            got = load_lines(f"{work}/generate.{i}")[0]["tokens"]
        except FileNotFoundError:
            continue
        want = p["greedy"]
        same = next((k for k, (a, b) in enumerate(zip(want, got)) if a != b), len(want))
        check(len(got) == len(want) and same >= min(40, len(want)), (p["text"], want, got))


def grad():
    want, got = tensors(f"{vectors}/lora_grad.safetensors"), tensors(f"{work}/g.safetensors")
    check(set(want) == set(got), "the same names")
    low, high = 1.0, 0.0
    for name, (shape, w) in want.items():
        check(got[name][0] == shape, f"shape of {name}")
        g = got[name][1]
        ww = sum(x * x for x in w) ** 0.5
        gg = sum(x * x for x in g) ** 0.5
        low = min(low, sum(a * b for a, b in zip(w, g)) / (ww * gg))
        high = max(high, sum((a - b) ** 2 for a, b in zip(w, g)) ** 0.5 / ww)
    loss = load_lines(f"{work}/out")[0]["loss"]
    print(f"cosine at least {low:.7f}, relative error at most {high:.1e}, loss {loss}")
    check(low >= 0.9999 and high <= 1e-3, "gradients within the tolerance")
    check(abs(loss - load("train_batch.json")["mean_loss"]) < 3e-4, "the loss")


def adapter():
    want = tensors(f"{vectors}/adapter/adapter_model.safetensors")
    for d in ("exported", "again"):
        got = tensors(f"{work}/{d}/adapter_model.safetensors")
        check(got == want, f"{d}: the same numbers in the same places")
        with open(f"{work}/{d}/adapter_config.json", encoding="utf-8") as f:
            config = json.load(f)
        check(config["r"] == 4 and config["lora_alpha"] == 8, "rank and alpha")


def adapter_score():
    prompts = load("adapter/outputs.json")["prompts"]
    want = [{"text": p["text"], **p["tuned"]} for p in prompts]
    compare_scores(want, load_lines(f"{work}/out"), 1e-3, 1e-3, 3e-3, 0)


steps = {
    "inputs": inputs, "tokenize": tokenize, "generate": generate, "grad": grad, "adapter": adapter,
    "adapter-score": adapter_score,
    "score-exact": lambda: compare_scores(load("forward.json"), load_lines(f"{work}/out"), 3e-4, 1e-4, 1e-3, 0.99),
    "score-fast": lambda: compare_scores(load("forward.json"), load_lines(f"{work}/out"), 1.0, 0.12, 1.2, 0.94),
}
steps[step]()
