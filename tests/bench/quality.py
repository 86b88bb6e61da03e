"""quality.py - what `shoal train` makes of the chat data, beside torch + PEFT. Started by run.sh.

Run (b) of data/snips/BASELINE.md with Shoal: the same 700 rows once, AdamW, rank 8, alpha 16, and its
quick test of 70 rows; once as `shoal train` does by itself and once with the baseline's own settings
(batches of 8, a constant 2e-3). Each seed is another start and another order; 70 rows are few (the
95 % interval of 20 right answers is 13 to 28), so the mean counts. The peer's figures are the
file's: it was measured once, with one seed.
"""
import argparse
import os
import re
import signal
import statistics
import sys
import tempfile

import rows
import snips
from common import fail, run_json, say, warn_if_busy, write_lines

AS_BASELINE = ("--batch", "8", "--lr", "2e-3", "--schedule", "constant", "--warmup", "0",
               "--clip", "0", "--weight-decay", "0", "--rank", "8", "--alpha", "16", "--epochs",
               "1", "--optimizer", "adamw")
RECIPES = {"by default": (), "as the baseline": AS_BASELINE}
PERCENT = "%"
# key of a result, what it is, unit, more is better
FIGURES = (("exact_match", "exact match of 70", PERCENT, True),
           ("intent_accuracy", "intents right of 70", PERCENT, True),
           ("slot_f1", "slot micro-F1", PERCENT, True),
           ("valid_loss", "loss on valid.jsonl", "nats a token", False))


def baseline(data):
    """Run (b) of BASELINE.md's table, in the keys of FIGURES."""
    with open(os.path.join(data, "BASELINE.md"), encoding="utf-8") as f:
        cells = next(line for line in f if line.startswith("| (b) central LoRA")).split("|")
    exact, intent, _, f1, loss = (float(re.search(r"[\d.]+", c)[0]) for c in cells[5:10])
    return {"exact_match": exact / 100, "intent_accuracy": intent / 100, "slot_f1": f1 / 100,
            "valid_loss": loss}


def one_seed(o, data, folder, recipe, seed):
    """Trains and scores. Both happen in fast mode unless --exact asks otherwise."""
    engine = ("-m", o.model, "-t", str(o.threads), *(["--exact"] if o.exact else []))
    adapter = os.path.join(folder, "adapter.gguf")
    train, quick = (os.path.join(folder, n) for n in ("train.jsonl", "quick.jsonl"))
    write_lines(train, snips.train_lines(data))
    write_lines(quick, snips.quick_lines(data))
    done = run_json([o.shoal, "train", *engine, "-d", train, "-o", adapter, "--seed", str(seed),
                     "--valid", os.path.join(data, "valid.jsonl"), "--json", *RECIPES[recipe]])
    score = run_json([o.shoal, "eval", *engine, "-a", adapter, "-d", quick, "-n", "64", "--json"])
    result = {key: score[key] for key in ("exact_match", "intent_accuracy", "slot_f1")}
    result["valid_loss"] = done["loss_after"]
    say(f"{recipe}, seed {seed}: " + ", ".join(f"{k} {v:.4f}" for k, v in result.items()) +
        f", {done['tokens_per_s']:.0f} tokens/s")
    return result


def all_rows(recipe, results, theirs):
    name = "torch + PEFT (data/snips/BASELINE.md, one seed)"

    def row(what, label, figures, key, unit, more):
        scale = 100 if unit == PERCENT else 1
        ours = scale * statistics.mean(f[key] for f in figures)
        return rows.make(f"{what}, {recipe}, {label}", ours, scale * theirs[key], name, unit, more)

    for key, what, unit, more in FIGURES:
        yield row(what, f"mean of {len(results)} seeds", list(results.values()), key, unit, more)
        for seed, result in results.items():
            yield row(what, f"seed {seed}", [result], key, unit, more)


def parse():
    p = argparse.ArgumentParser(prog="run.sh quality", description=__doc__.splitlines()[0])
    p.add_argument("--shoal", required=True, help="the program")
    p.add_argument("--model", required=True, help="SmolLM2-135M")
    p.add_argument("--cache", required=True, help="folder for derived files")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--seeds", type=int, default=3)
    p.add_argument("--exact", action="store_true", help="activations in f32 throughout")
    p.add_argument("--quick", action="store_true")
    p.add_argument("--json", action="store_true")
    o = p.parse_args()
    o.seeds = 1 if o.quick else o.seeds
    return o


def main():
    o = parse()
    data = snips.folder()
    if not data:
        fail("data/snips is not under SHOAL_SHARED", "set SHOAL_SHARED to the folder that holds it")
    warn_if_busy()
    with tempfile.TemporaryDirectory(prefix="run-", dir=o.cache) as folder:
        found = []
        for recipe in RECIPES:
            results = {seed: one_seed(o, data, folder, recipe, seed)
                       for seed in range(1, o.seeds + 1)}
            found += all_rows(recipe, results, baseline(data))
    rows.show(found, o.json, sys.stdout)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        main()
    except KeyboardInterrupt:
        fail("stopped; nothing was kept")
