"""train.py - LoRA training against torch + PEFT, measured in turns. Started by run.sh.

A case is a kind of batch. In each of its rounds torch takes its steps and then Shoal, each variant
in a process of its own (`shoal train`, the program that people use); the median of the rounds
counts on either side. Torch gets a step that does not count before each turn, Shoal does not.
Before anything is timed both sides compute the same loss, or the measurement ends.
"""
import argparse
import dataclasses
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile

import rows
import snips
from common import fail, run_json, run_lines, say, warn_if_busy, write_licences, write_lines

HERE = os.path.dirname(os.path.abspath(__file__))
CASES = ("long", "checkpointing", "half", "chat")
SAME_LOSS = 1e-3  # nats, between `shoal --exact` and torch in fp32
CHECKED = 8       # samples of each kind that the loss is compared on
TEXT_STEPS = 3    # of a turn, one sample each
CHAT_BATCH = 8
CHAT_ROWS = 64    # of a turn
SMALL_TEXT = "The harbour lay quiet when the boats came in, and nobody counted the nets."


@dataclasses.dataclass
class Chunk:
    """What one turn trains on: the same rows as a file for Shoal and as tokens for torch. The
    losses of both sides are compared on the rows of the file `check`, which are `checked`."""
    path: str
    steps: int
    samples: list  # {"ids", "mask"}
    check: str
    checked: list


@dataclasses.dataclass
class Case:
    label: str
    ctx: int
    batch: int
    chunks: list
    variants: list  # (label, --max-ram or None)
    checkpointing: bool = False


class Figures:
    """Turns of one side."""

    def __init__(self):
        self.rates, self.peak = [], 0

    def add(self, tokens, seconds, peak):
        self.rates.append(tokens / seconds)
        self.peak = max(self.peak, peak)

    def tps(self):
        return statistics.median(self.rates) if self.rates else None

    def peak_mb(self):
        return self.peak / 1e6 if self.peak else None


class Shoal:
    def __init__(self, o, folder):
        self.o, self.folder = o, folder
        self.small = {name: os.path.join(folder, name) for name in ("small.jsonl", "small.txt")}
        write_lines(self.small["small.jsonl"], [json.dumps({"text": SMALL_TEXT})])
        write_lines(self.small["small.txt"], [SMALL_TEXT])

    def argv(self, command, *args):
        return [self.o.shoal, command, "-m", self.o.model, *args]

    def tokenize(self, texts):
        asked = "".join(json.dumps({"text": t, "parse_special": True}) + "\n" for t in texts)
        return [r["ids"] for r in run_lines(self.argv("tokenize", "--json"), asked)]

    def exact_loss(self, path, ctx):
        return run_json(self.argv("eval", "-t", str(self.o.threads), "-d", path, "--ctx", str(ctx),
                                  "--loss-only", "--exact", "--json"))

    def turn(self, case, chunk, max_ram):
        """tokens, seconds, peak. What is measured before and after training is kept small: it is
        not timed, and costs only patience."""
        bound = ("--max-ram", max_ram) if max_ram else ()
        *steps, done = run_lines(self.argv(
            "train", "-t", str(self.o.threads), "-d", chunk.path, "--batch", str(case.batch),
            "--ctx", str(case.ctx), "--max-steps", str(chunk.steps), "--keep-anyway", "--json",
            "--valid", self.small["small.jsonl"], "--general", self.small["small.txt"],
            "-o", os.path.join(self.folder, "adapter.gguf"), *bound))
        # A step's tokens are those that predict: one less than the sample has. Texts are cut into
        # pieces; the last, shorter one may be drawn and does not count.
        if case.batch == 1:
            steps = [s for s in steps if s["tokens"] == case.ctx - 1]
        tokens = sum(s["tokens"] + case.batch for s in steps)
        seconds = sum(s["tokens"] / s["tokens_per_s"] for s in steps)
        return tokens, seconds, done["peak_rss_bytes"]


class Torch:
    """The peer in a process that waits for requests, without load, while Shoal has its turn."""

    def __init__(self, o, checkpointing, folder):
        argv = [o.peer_python, os.path.join(HERE, "peer_torch.py"), o.model, "-t", str(o.threads)]
        argv += ["--checkpointing"] if checkpointing else []
        # Spinning threads stall when anything else runs; BASELINE.md was taken so too.
        waits = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0",
                 "OMP_NUM_THREADS": str(o.threads), "PYTHONDONTWRITEBYTECODE": "1"}
        self.log = os.path.join(folder, "torch.log")
        with open(self.log, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                            stderr=log, text=True, env=os.environ | waits)
        info = self.ask("info")
        self.idle_mb = info["idle_rss_bytes"] / 1e6
        self.name = info["version"] + (", gradient checkpointing" if checkpointing else "")

    def ask(self, what, argument=True):
        try:
            self.process.stdin.write(json.dumps({what: argument}) + "\n")
            self.process.stdin.flush()
            return json.loads(self.process.stdout.readline())
        except (OSError, ValueError):
            with open(self.log, encoding="utf-8") as f:
                fail(f"torch + PEFT gave no answer: {f.read().strip()[-400:]}")

    def turn(self, case, chunk):
        batches = [chunk.samples[i:i + case.batch]
                   for i in range(0, len(chunk.samples), case.batch)]
        self.ask("steps", batches[:1])
        seconds = sum(self.ask("steps", batches)["seconds"])
        tokens = sum(len(s["ids"]) for s in chunk.samples)
        return tokens, seconds, self.ask("peak")["peak_rss_bytes"]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


# ---- what is trained on ---------------------------------------------------------------------------

def pieces(ids, ctx):
    """As `shoal train` cuts a text: ctx tokens each, overlapping by one."""
    cut = [ids[i:i + ctx] for i in range(0, len(ids) - 1, ctx - 1)]
    return [{"ids": p, "mask": [1] * len(p)} for p in cut]


def text_chunk(shoal, text, ctx, path):
    write_lines(path, [json.dumps({"text": text})])
    samples = pieces(*shoal.tokenize([text]), ctx)
    if len(samples) <= TEXT_STEPS:
        fail(f"the text has too few tokens for steps of {ctx}")
    # The check is on a text that fits one sample: its first words.
    start = text[:2 * ctx]
    check = path + ".check"
    write_lines(check, [json.dumps({"text": start})])
    first = pieces(*shoal.tokenize([start]), ctx)
    return Chunk(path, TEXT_STEPS, samples[:TEXT_STEPS], check, first)


def chat_chunk(shoal, lines, path):
    check = path + ".check"
    write_lines(path, lines)
    write_lines(check, lines[:CHECKED])
    prompts, answers = zip(*map(snips.texts, lines))
    samples = [{"ids": p + a, "mask": [0] * len(p) + [1] * len(a)}
               for p, a in zip(shoal.tokenize(prompts), shoal.tokenize(answers))]
    return Chunk(path, -(-len(lines) // CHAT_BATCH), samples, check, samples[:CHECKED])


def chat_chunks(o, shoal, folder):
    """Other rows in each round; None: no data."""
    data = snips.folder()
    if not data:
        return None
    lines = snips.train_lines(data)
    random.Random(1).shuffle(lines)
    return [chat_chunk(shoal, lines[i * CHAT_ROWS:(i + 1) * CHAT_ROWS],
                       os.path.join(folder, f"chat-{i}.jsonl")) for i in range(o.rounds)]


def text_case(shoal, folder, text, ctx, **more):
    chunk = text_chunk(shoal, text, ctx, os.path.join(folder, f"text-{ctx}.jsonl"))
    return Case(f"{ctx} tokens a step", ctx, 1, [chunk], **more)


def make_cases(o, shoal, folder):
    path = os.path.join(folder, "text.txt")
    if not write_licences(path):
        fail("without a text there is nothing to train on")
    with open(path, encoding="utf-8") as f:
        text = f.read()
    usual, small = ("", None), (f", --max-ram {o.small_ram}", o.small_ram)
    asked = o.only or CASES
    if "long" in asked:
        yield text_case(shoal, folder, text, o.tokens, variants=[usual, small])
    if "checkpointing" in asked:
        yield text_case(shoal, folder, text, o.tokens, variants=[small], checkpointing=True)
    if "half" in asked:
        yield text_case(shoal, folder, text, o.tokens // 2, variants=[usual])
    chat = chat_chunks(o, shoal, folder) if "chat" in asked else None
    if chat:
        yield Case(f"chat rows, {CHAT_BATCH} a step", 512, CHAT_BATCH, chat, [usual])
    elif "chat" in asked:
        say("no chat rows: data/snips is not under SHOAL_SHARED")


# ---- measuring ------------------------------------------------------------------------------------

def check_loss(shoal, torch, case):
    """The same weights, the same tokens, the same targets: the same loss."""
    chunk = case.chunks[0]
    ours = shoal.exact_loss(chunk.check, case.ctx)
    theirs = torch.ask("loss", chunk.checked)
    say(f"loss of {ours['tokens']} targets: Shoal {ours['loss']:.5f}, torch {theirs['loss']:.5f}")
    if ours["tokens"] != theirs["tokens"] or abs(ours["loss"] - theirs["loss"]) > SAME_LOSS:
        fail("the two sides do not compute the same; no figure would compare")


def measure_case(o, case, shoal):
    """Figures of torch, or None, and of each variant; the peer's name; what its imports take."""
    torch = Torch(o, case.checkpointing, shoal.folder) if o.peer_python else None
    if torch:
        check_loss(shoal, torch, case)
    theirs, ours = Figures(), [Figures() for _ in case.variants]
    for i in range(o.rounds):
        chunk = case.chunks[i % len(case.chunks)]
        if torch:
            theirs.add(*torch.turn(case, chunk))
        for figures, (_, max_ram) in zip(ours, case.variants):
            figures.add(*shoal.turn(case, chunk, max_ram))
        speeds = [f"{f.rates[-1]:.0f}" for f in [theirs] * bool(torch) + ours]
        say(f"round {i + 1} of {o.rounds}, {case.label}: {', '.join(speeds)} tok/s")
    if torch:
        torch.close()
    return theirs, ours, torch


def case_rows(o, case, shoal):
    theirs, ours, torch = measure_case(o, case, shoal)
    name = torch.name if torch else o.peer_missing
    whole = f"{name}, {torch.idle_mb:.0f} MB of it imports" if torch else name
    for figures, (variant, _) in zip(ours, case.variants):
        label = case.label + variant
        yield rows.make(f"LoRA training, {label}", figures.tps(), theirs.tps(), name, "tok/s", True)
        yield rows.make(f"peak memory, {label}", figures.peak_mb(), theirs.peak_mb(), whole, "MB",
                        False)


def parse():
    p = argparse.ArgumentParser(prog="run.sh train", description=__doc__.splitlines()[0])
    p.add_argument("--shoal", required=True, help="the program")
    p.add_argument("--model", required=True, help="SmolLM2-135M")
    p.add_argument("--peer-python", default="", help="with torch and peft; empty: not there")
    p.add_argument("--peer-missing", default="")
    p.add_argument("--cache", required=True, help="folder for derived files")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--prompt", dest="tokens", type=int, default=512)
    p.add_argument("--small-ram", default="150M")
    p.add_argument("--only", choices=CASES, action="append")
    p.add_argument("--quick", action="store_true")
    p.add_argument("--json", action="store_true")
    o = p.parse_args()
    o.rounds = 1 if o.quick else 5
    return o


def main():
    o = parse()
    warn_if_busy()
    with tempfile.TemporaryDirectory(prefix="run-", dir=o.cache) as folder:
        shoal = Shoal(o, folder)
        result = [row for case in make_cases(o, shoal, folder) for row in case_rows(o, case, shoal)]
        rows.show(result, o.json, sys.stdout)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        main()
    except KeyboardInterrupt:
        fail("stopped; nothing was kept")
