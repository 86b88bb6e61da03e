"""peer_llama.py - llama.cpp, measured as `shoal bench` measures Shoal. Prints one JSON object.

Runs in the virtual environment that holds llama-cpp-python; uses its low-level API only, so that
what is timed is llama_decode and not Python. Commands:

  info                       {"version","system"}
  speed MODEL                {"pp_tps","tg_tps","rows_ms"}: best of flash attention off and on
  start MODEL                {"start_ms"}: load, context, prompt, first token; not imports
  memory MODEL               {"peak_rss_bytes"}: what prefill and decoding add to the interpreter
  perplexity MODEL TEXT      {"ppl","tokens"}: the definition of llama-perplexity
  quantize MODEL OUT         all matrices as Q4_0, the embedding too
"""
import argparse
import ctypes
import json
import math
import os
import random
import statistics
import sys
import time

import llama_cpp as L

ROWS_MAX, ROWS_PAST, ROWS_ROUNDS = 8, 64, 8  # as in client/cmd_bench.c
DECODE_PAST = 48  # about the length of the prompt that `shoal bench` continues
FLASH_OFF, FLASH_ON = 0, 1


@L.llama_log_callback
def no_log(_level, _text, _user_data):
    pass


class Model:
    def __init__(self, path):
        self.p = L.llama_model_load_from_file(os.fsencode(path), L.llama_model_default_params())
        if not self.p:
            sys.exit(f"error: llama.cpp cannot load {path}")
        self.vocab = L.llama_model_get_vocab(self.p)
        self.n_vocab = L.llama_vocab_n_tokens(self.vocab)

    def random_ids(self, n):
        rng = random.Random(7)
        return [rng.randrange(self.n_vocab) for _ in range(n)]

    def tokenize(self, text):
        """Ids of UTF-8 text, with BOS where the file asks for it; control tokens stay text."""
        ids = (L.llama_token * (len(text) + 8))()
        n = L.llama_tokenize(self.vocab, text, len(text), ids, len(ids), True, False)
        if n < 0:
            sys.exit("error: llama.cpp cannot tokenize the text")
        return list(ids[:n])

    def close(self):
        L.llama_model_free(self.p)


class Context:
    """A context of n_ctx tokens; flash None leaves the choice to llama.cpp."""

    def __init__(self, model, n_ctx, threads, flash=None):
        params = L.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = n_ctx
        params.n_threads = params.n_threads_batch = threads
        if flash is not None and hasattr(params, "flash_attn_type"):
            params.flash_attn_type = flash
        elif flash is not None:
            params.flash_attn = flash == FLASH_ON
        self.p = L.llama_init_from_model(model.p, params)
        if not self.p:
            sys.exit("error: llama.cpp cannot open a context")
        self.batch = L.llama_batch_init(n_ctx, 0, 1)

    def read(self, ids, past, first_logits=None):
        """Evaluates ids at positions past...; logits from index first_logits on, or the last."""
        first = len(ids) - 1 if first_logits is None else first_logits
        b = self.batch
        b.n_tokens = len(ids)
        for i, token in enumerate(ids):
            b.token[i] = token
            b.pos[i] = past + i
            b.n_seq_id[i] = 1
            b.seq_id[i][0] = 0
            b.logits[i] = i >= first
        self.decode()

    def decode(self):
        if L.llama_decode(self.p, self.batch) != 0:
            sys.exit("error: llama_decode failed")
        L.llama_synchronize(self.p)

    def truncate(self, past):
        if not L.llama_memory_seq_rm(L.llama_get_memory(self.p), 0, past, -1):
            sys.exit("error: llama.cpp cannot forget tokens")

    def close(self):
        L.llama_batch_free(self.batch)
        L.llama_free(self.p)


def timed(call):
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def prefill_tps(model, o, flash):
    ids = model.random_ids(o.prompt)
    ctx = Context(model, o.prompt, o.threads, flash)
    seconds = []
    for _ in range(o.repeat + 1):  # the first warms caches and does not count
        ctx.truncate(0)
        seconds.append(timed(lambda: ctx.read(ids, 0)))
    ctx.close()
    return o.prompt / statistics.median(seconds[1:])


def decode_tps(model, o, flash):
    """Tokens are given, not sampled: only llama_decode counts, while Shoal's figure includes the
    choice of each token."""
    ids = model.random_ids(DECODE_PAST + o.generate)
    ctx = Context(model, DECODE_PAST + o.generate, o.threads, flash)
    seconds = []
    for _ in range(o.repeat + 1):
        ctx.truncate(0)
        ctx.read(ids[:DECODE_PAST], 0)
        begun = time.perf_counter()
        for past in range(DECODE_PAST, DECODE_PAST + o.generate):
            ctx.read(ids[past:past + 1], past)
        seconds.append(time.perf_counter() - begun)
    ctx.close()
    return o.generate / statistics.median(seconds[1:])


def rows_ms(model, o, flash):
    """Median time of 1..8 tokens at once behind a short context, logits for each."""
    ids = model.random_ids(ROWS_PAST)
    ctx = Context(model, ROWS_PAST + ROWS_MAX, o.threads, flash)
    times = [[] for _ in range(ROWS_MAX)]
    ctx.read(ids, 0)
    ctx.read(ids[:ROWS_MAX], ROWS_PAST, 0)
    for _ in range(ROWS_ROUNDS * o.repeat):
        for n in range(1, ROWS_MAX + 1):
            ctx.truncate(ROWS_PAST)
            times[n - 1].append(1e3 * timed(lambda: ctx.read(ids[:n], ROWS_PAST, 0)))
    ctx.close()
    return [statistics.median(t) for t in times]


def speed(o):
    model = Model(o.model)
    flash = (FLASH_OFF, FLASH_ON)
    rows = [rows_ms(model, o, f) for f in flash]
    return {"pp_tps": max(prefill_tps(model, o, f) for f in flash),
            "tg_tps": max(decode_tps(model, o, f) for f in flash),
            "rows_ms": [min(pair) for pair in zip(*rows)]}


def start(o):
    """What a lean program would do; the interpreter's own start and the imports are not counted."""
    begun = time.perf_counter()
    model = Model(o.model)
    ctx = Context(model, o.ctx, o.threads)
    ctx.read(model.tokenize(o.text.encode()), 0)
    sampler = L.llama_sampler_init_greedy()
    token = L.llama_sampler_sample(sampler, ctx.p, -1)
    piece = ctypes.create_string_buffer(64)
    L.llama_token_to_piece(model.vocab, token, piece, len(piece), 0, False)
    return {"start_ms": 1e3 * (time.perf_counter() - begun)}


def status_bytes(key):
    with open("/proc/self/status", encoding="ascii") as f:
        return 1024 * next(int(line.split()[1]) for line in f if line.startswith(key))


def memory(o):
    with open("/proc/self/clear_refs", "w", encoding="ascii") as f:
        f.write("5")  # the peak starts anew: imports do not count
    before = status_bytes("VmRSS")
    model = Model(o.model)
    o.repeat = 1
    prefill_tps(model, o, o.flash)
    decode_tps(model, o, o.flash)
    return {"peak_rss_bytes": status_bytes("VmHWM") - before}


def chunk_nll(ctx, chunk, n_vocab):
    """Sum of the NLL of the tokens behind the middle of a chunk."""
    import numpy
    first = len(chunk) // 2
    ctx.truncate(0)
    ctx.read(chunk, 0, first)
    logits = numpy.ctypeslib.as_array(L.llama_get_logits(ctx.p), (len(chunk) - first, n_vocab))
    nll = 0.0
    for row, target in zip(logits, chunk[first + 1:]):
        peak = float(row.max())
        total = float(numpy.exp(row - peak).sum(dtype=numpy.float64))
        nll += math.log(total) + peak - float(row[target])
    return nll


def perplexity(o):
    model = Model(o.model)
    with open(o.text, "rb") as f:
        ids = model.tokenize(f.read())
    ctx = Context(model, o.ctx, o.threads)
    chunks = [ids[i:i + o.ctx] for i in range(0, len(ids) - o.ctx + 1, o.ctx)]
    nll = 0.0
    for chunk in chunks:
        if L.llama_vocab_get_add_bos(model.vocab):
            chunk[0] = L.llama_vocab_bos(model.vocab)
        nll += chunk_nll(ctx, chunk, model.n_vocab)
    tokens = len(chunks) * (o.ctx - o.ctx // 2 - 1)
    if tokens == 0:
        sys.exit("error: the text is shorter than one chunk")
    return {"ppl": math.exp(nll / tokens), "tokens": tokens}


def quantize(o):
    params = L.llama_model_quantize_default_params()
    params.ftype = L.LLAMA_FTYPE_MOSTLY_Q4_0
    params.pure = True
    params.allow_requantize = True
    params.nthread = o.threads
    unfinished = o.text + ".part"
    rc = L.llama_model_quantize(os.fsencode(o.model), os.fsencode(unfinished),
                                ctypes.byref(params))
    if rc != 0:
        sys.exit(f"error: llama.cpp cannot quantise {o.model}")
    os.replace(unfinished, o.text)
    return {"path": o.text}


def info(_o):
    system = L.llama_print_system_info().decode()
    return {"version": L.__version__, "system": system}


COMMANDS = {f.__name__: f for f in (info, speed, start, memory, perplexity, quantize)}


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("command", choices=COMMANDS)
    p.add_argument("model", nargs="?")
    p.add_argument("text", nargs="?", help="text file, prompt or output file")
    p.add_argument("-t", "--threads", type=int, default=2)
    p.add_argument("-p", "--prompt", type=int, default=512)
    p.add_argument("-n", "--generate", type=int, default=128)
    p.add_argument("-c", "--ctx", type=int, default=512)
    p.add_argument("-r", "--repeat", type=int, default=1)
    p.add_argument("--flash", type=int, choices=(FLASH_OFF, FLASH_ON))
    o = p.parse_args()
    L.llama_log_set(no_log, ctypes.c_void_p(0))
    L.llama_backend_init()
    print(json.dumps(COMMANDS[o.command](o)), flush=True)


if __name__ == "__main__":
    main()
