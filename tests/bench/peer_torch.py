"""peer_torch.py - torch + PEFT, measured as `shoal train` measures itself. Runs in the virtual
environment that holds torch, transformers, peft and gguf.

A LoRA adapter of rank 8, alpha 16 on all seven projections of the base, in fp32, AdamW: the model
of Hugging Face's trainer without its overhead. Reads one request a line, answers with one object:

  {"loss": [SAMPLE, ...]}              {"loss", "tokens"}: mean over targets, nothing is learnt
  {"steps": [[SAMPLE, ...], ...]}      {"seconds": [...], "losses": [...]}: an optimiser step each
  {"peak": true}                       {"peak_rss_bytes"}: of the process so far
  {"info": true}                       {"version", "idle_rss_bytes"}: resident after the imports

A SAMPLE is {"ids": [...], "mask": [...]}: tokens whose mask is 1 are learnt. The samples of a step
are one batch, padded on the right; under the causal mask that needs no attention mask, which is
the faster path of torch.
"""
import argparse
import json
import resource
import sys
import time
import warnings

import peft
import torch
import transformers

import torch_model

NOT_LEARNT = -100  # what cross_entropy ignores
PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def resident_bytes():
    with open("/proc/self/status", encoding="ascii") as f:
        return 1024 * next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))


def padded(samples):
    """ids and labels [B, T]."""
    longest = max(len(s["ids"]) for s in samples)
    ids = torch.zeros(len(samples), longest, dtype=torch.long)
    labels = torch.full_like(ids, NOT_LEARNT)
    for row, s in enumerate(samples):
        n = len(s["ids"])
        ids[row, :n] = torch.tensor(s["ids"])
        learnt = torch.tensor(s["mask"], dtype=torch.bool)
        labels[row, :n][learnt] = ids[row, :n][learnt]
    return ids, labels


class Peer:
    def __init__(self, o):
        torch.manual_seed(1)
        torch.set_num_threads(o.threads)
        self.idle_rss = resident_bytes()
        model = torch_model.load(o.model)
        model.config.use_cache = False
        if o.checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        spec = peft.LoraConfig(r=8, lora_alpha=16, lora_dropout=0.0, bias="none",
                               target_modules=PROJECTIONS, task_type="CAUSAL_LM")
        self.model = peft.get_peft_model(model, spec)
        self.model.train()
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.0)

    def loss_of(self, samples):
        ids, labels = padded(samples)
        return self.model(input_ids=ids, labels=labels).loss, int((labels[:, 1:] >= 0).sum())

    def loss(self, samples):
        total = n = 0
        with torch.no_grad():
            for s in samples:
                loss, targets = self.loss_of([s])
                total, n = total + float(loss) * targets, n + targets
        return {"loss": total / n, "tokens": n}

    def step(self, samples):
        loss, _ = self.loss_of(samples)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(loss.detach())

    def steps(self, batches):
        seconds, losses = [], []
        for batch in batches:
            begun = time.perf_counter()
            losses.append(self.step(batch))
            seconds.append(time.perf_counter() - begun)
        return {"seconds": seconds, "losses": losses}

    def peak(self, _):
        return {"peak_rss_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}

    def info(self, _):
        name = (f"torch {torch.__version__.split('+')[0]}, PEFT {peft.__version__}, "
                f"transformers {transformers.__version__}")
        return {"version": name, "idle_rss_bytes": self.idle_rss}


def main():
    warnings.simplefilter("ignore", FutureWarning)
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("model")
    p.add_argument("-t", "--threads", type=int, default=2)
    p.add_argument("--checkpointing", action="store_true")
    peer = Peer(p.parse_args())
    for line in sys.stdin:
        (what, argument), = json.loads(line).items()
        answers = {f.__name__: f for f in (peer.loss, peer.steps, peer.peak, peer.info)}
        print(json.dumps(answers[what](argument)), flush=True)


if __name__ == "__main__":
    main()
