"""engine.py - the engine against llama.cpp, measured in turns. Started by run.sh.

Every round measures each model form once on each side, Shoal and llama.cpp alternating, so that a
disturbance of the machine meets both; each quantity then takes its best round. llama.cpp gets the
better of its options (flash attention off and on).
"""
import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time

import rows
from common import digest, fail, run_json, say, warn_if_busy, write_licences

# How `shoal quantize IN OUT ...` makes the form that Shoal runs best without losing quality.
BEST_FORM = ("P4_A",)

PROMPT = "The capital of France is"
HERE = os.path.dirname(os.path.abspath(__file__))


class Shoal:
    name = "Shoal"

    def __init__(self, o):
        self.o = o
        self.threads = ("-t", str(o.threads))

    def call(self, *args):
        return run_json([self.o.shoal, *args])

    def speed(self, model):
        return self.call("bench", "-m", model, *self.threads, "-p", str(self.o.prompt), "-n",
                         str(self.o.generate), "-r", "1", "--only", "pp,tg,rows", "--json")

    def start_ms(self, model):
        """The whole process, from exec to exit."""
        argv = [self.o.shoal, "generate", "-m", model, *self.threads, "-c", str(self.o.ctx), "-n",
                "1", "-p", PROMPT]
        begun = time.perf_counter()
        p = subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                           check=False)
        if p.returncode != 0:
            fail(f"shoal generate failed: {p.stderr.strip()[-300:]}")
        return 1e3 * (time.perf_counter() - begun)

    def memory(self, model):
        return self.call("bench", "-m", model, *self.threads, "-p", str(self.o.prompt), "-n",
                         str(self.o.generate), "-r", "1", "--only", "pp,tg",
                         "--json")["peak_rss_bytes"]

    def perplexity(self, model, text):
        return self.call("perplexity", "-m", model, "-f", text, "-c", str(self.o.ctx),
                         *self.threads, "--json")["ppl"]

    def quantize(self, model, out, *form):
        self.call("quantize", model, out, *form, "--json")


class Llama:
    name = "llama.cpp"

    def __init__(self, o):
        self.o = o
        info = self.call("info", "", "")
        self.name = f"llama.cpp (llama-cpp-python {info['version']})"
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as f:
            if " avx2" in f.read() and "AVX2 = 1" not in info["system"]:
                say("warning: llama.cpp was built without AVX2, which this processor has: its "
                    "figures are too low. Remove its environment and run again.")

    def call(self, command, model, text, *more):
        return run_json([self.o.peer_python, os.path.join(HERE, "peer_llama.py"), command, model,
                         text, "-t", str(self.o.threads), "-p", str(self.o.prompt), "-n",
                         str(self.o.generate), "-c", str(self.o.ctx), *more])

    def speed(self, model):
        return self.call("speed", model, "")

    def start_ms(self, model):
        return self.call("start", model, PROMPT)["start_ms"]

    def memory(self, model):
        return min(self.call("memory", model, "", "--flash", f)["peak_rss_bytes"] for f in "01")

    def perplexity(self, model, text):
        return self.call("perplexity", model, text)["ppl"]

    def quantize(self, model, out):
        self.call("quantize", model, out)


class Subject:
    """A model form on one engine, and its figures so far."""

    def __init__(self, engine, label, path):
        self.engine, self.label, self.path = engine, label, path
        self.runs, self.starts = [], []
        self.peak_bytes = self.ppl = None

    def round(self, n_starts):
        self.runs.append(self.engine.speed(self.path))
        self.starts += [self.engine.start_ms(self.path) for _ in range(n_starts)]

    def tps(self, key):
        return max((r[key] for r in self.runs), default=None)

    def cost(self, n):
        """T(n): time of n tokens at once over the time of one, each from its best round."""
        if not self.runs:
            return None
        best = [min(r["rows_ms"][i] for r in self.runs) for i in (0, n - 1)]
        return best[1] / best[0]

    def start_ms(self):
        return min(self.starts, default=None)

    def peak_mb(self):
        return self.peak_bytes and self.peak_bytes / 1e6

    def file_mb(self):
        return os.path.getsize(self.path) / 1e6


class Absent:
    """A subject that cannot be measured: every figure is None, `name` says why."""

    def __init__(self, why):
        self.why = why
        self.ppl = None

    def figure(self, *_args):
        return None

    tps = cost = start_ms = peak_mb = file_mb = figure


def make_text(o, folder):
    """The text that perplexity is measured on: the anchors', or the file that --text names. None:
    not there."""
    path = o.text or os.path.join(folder, "text")
    return path if o.text or write_licences(path) else None


def make_forms(o, folder, shoal, llama):
    """Model files: the shipped one, its pure 4-bit form (kept in the cache folder when llama.cpp
    makes it), and what Shoal makes of both."""
    pure, packed, best = (os.path.join(folder, n) for n in ("pure.gguf", "packed.gguf", "best.gguf"))
    if llama:
        pure = os.path.join(o.cache, f"q4_0-pure-{digest(o.model)}.gguf")
    if not os.path.exists(pure):
        say("quantising: pure Q4_0")
        llama.quantize(o.model, pure) if llama else shoal.quantize(o.model, pure, "Q4_0", "--head",
                                                                   "Q4_0")
    say("quantising: Shoal's forms")
    shoal.quantize(pure, packed, "packed")
    shoal.quantize(o.model, best, *BEST_FORM)
    return pure, packed, best


def make_subjects(o, folder):
    shoal = Shoal(o)
    llama = Llama(o) if o.peer_python else None
    pure, packed, best = make_forms(o, folder, shoal, llama)

    def pair(label, path, shoal_path=None):
        peer = Subject(llama, label, path) if llama else Absent(o.peer_missing)
        return Subject(shoal, label, shoal_path or path), peer

    s = {"shipped": pair("as shipped", o.model), "pure": pair("pure 4-bit", pure, packed),
         "best": (Subject(shoal, "best form", best), None)}
    if o.gemma:
        s["gemma"] = pair("Gemma 3 270M", o.gemma)
    else:
        s["gemma"] = (Absent(o.gemma_missing), Absent(o.gemma_missing))
    return s


def measure(o, subjects, text):
    """Rounds of all subjects in turns, then what does not vary: memory and perplexity."""
    order = [x for pair in subjects.values() for x in pair if isinstance(x, Subject)]
    for i in range(o.rounds):
        for x in order:
            say(f"round {i + 1} of {o.rounds}: {x.engine.name}, {x.label}")
            x.round(o.starts)
    for x in order:
        say(f"memory and perplexity: {x.engine.name}, {x.label}")
        x.peak_bytes = x.engine.memory(x.path)
        x.ppl = x.engine.perplexity(x.path, text) if text else None


def case_rows(o, label, shoal, peer, everything=True):
    """The rows of one comparison. everything: also start, memory and perplexity."""
    name = next((x.why for x in (shoal, peer) if isinstance(x, Absent)), None)
    name = name or f"{peer.engine.name}, {peer.label}"

    def row(what, figure, unit, more=False):
        return rows.make(f"{what}, {label}", figure(shoal), figure(peer), name, unit, more)

    yield row("decode", lambda x: x.tps("tg_tps"), "tok/s", True)
    yield row(f"prefill {o.prompt}", lambda x: x.tps("pp_tps"), "tok/s", True)
    for n in (2, 4, 8):
        yield row(f"T({n})", lambda x, n=n: x.cost(n), "x one token")
    if not everything:
        return
    yield row("start to first token", lambda x: x.start_ms(), "ms")
    file_mb = shoal.file_mb()
    of_file = f" (file {file_mb:.0f} MB)" if file_mb else ""
    yield row(f"peak memory{of_file}", lambda x: x.peak_mb(), "MB")
    yield row("perplexity", lambda x: x.ppl, "perplexity")


def all_rows(o, s):
    name = o.name
    yield from case_rows(o, f"{name} as shipped", *s["shipped"])
    yield from case_rows(o, f"{name} pure 4-bit, same weights", *s["pure"])
    best = s["best"][0]
    yield from case_rows(o, f"{name}, best form against shipped", best, s["shipped"][1])
    yield from case_rows(o, f"{name}, best form against pure Q4_0", best, s["pure"][1], False)
    yield from case_rows(o, "Gemma 3 270M as shipped", *s["gemma"])


def parse():
    p = argparse.ArgumentParser(prog="run.sh engine", description=__doc__.splitlines()[0])
    p.add_argument("--shoal", required=True, help="the program")
    p.add_argument("--model", required=True, help="SmolLM2-135M")
    p.add_argument("--name", default="SmolLM2-135M")
    p.add_argument("--gemma", default="", help="Gemma 3 270M; empty: not there")
    p.add_argument("--gemma-missing", default="")
    p.add_argument("--peer-python", default="", help="with llama_cpp; empty: not there")
    p.add_argument("--peer-missing", default="")
    p.add_argument("--cache", required=True, help="folder for derived files")
    p.add_argument("--text", default="")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--prompt", type=int, default=512)
    p.add_argument("--generate", type=int, default=128)
    p.add_argument("--ctx", type=int, default=512)
    p.add_argument("--quick", action="store_true")
    p.add_argument("--json", action="store_true")
    o = p.parse_args()
    o.rounds, o.starts = (1, 2) if o.quick else (5, 3)
    return o


def main():
    o = parse()
    warn_if_busy()
    os.makedirs(o.cache, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="run-", dir=o.cache) as folder:
        text = make_text(o, folder)
        subjects = make_subjects(o, folder)
        measure(o, subjects, text)
        rows.show(list(all_rows(o, subjects)), o.json, sys.stdout)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        main()
    except KeyboardInterrupt:
        fail("stopped; nothing was kept but the quantised file in the cache")
