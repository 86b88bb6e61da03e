"""secagg.py - a session of secure aggregation against Flower's SecAgg+, in turns. Started by run.sh.

Both sides are driven in one process without a network: Flower's workflow and client mod
(peer_flower.py), Shoal's two state machines (bench_secagg.c), each with all its cryptography. Both
check their sum before a figure counts. Times are processor time of one thread (Flower's secret
sharing may use more; all of it counts), medians of the turns.

Flower's shares are 21, threshold 11: each client's own and those of 20 neighbours. Shoal is measured
with 20 neighbours and that threshold, which its devices would refuse, and with what its own table
says for so many clients (100: 26 and 16), which holds against a server that lies about who survived.
"""
import argparse
import dataclasses
import json
import os
import signal
import statistics
import subprocess
import sys

import rows
from common import fail, run_json, say, warn_if_busy

HERE = os.path.dirname(os.path.abspath(__file__))
CLIENTS = 100
LARGER = 24  # times the parameters
FLOWER = ("--shares", "21", "--threshold", "11")


@dataclasses.dataclass(frozen=True)
class Graph:
    label: str
    degree: int
    threshold: int


SAME = Graph("20 neighbours", 20, 11)
OWN = Graph("own choice", 0, 0)  # the driver's, as `task create` chooses


class Turns:
    """What one side printed, turn by turn."""

    def __init__(self):
        self.seen = []

    def add(self, row):
        self.seen.append(row)

    def median(self, key):
        return statistics.median(r[key] for r in self.seen) if self.seen else None


# ---- the two sides --------------------------------------------------------------------------------

def shoal(o, clients, dim, graph, drop=0, ring=32, threads=1):
    return run_json([o.driver, "--clients", str(clients), "--dim", str(dim),
                     "--degree", str(graph.degree), "--threshold", str(graph.threshold),
                     "--drop", str(drop), "--ring", str(ring), "--threads", str(threads)])


def named(graph, row):
    """What the graph was in the end."""
    own = "" if graph is SAME else " (own choice)"
    return f"{row['degree']} neighbours, threshold {row['threshold']}{own}"


def flower(o, clients, dim, drop):
    if not o.peer_python:
        return None
    p = subprocess.run([o.peer_python, os.path.join(HERE, "peer_flower.py"), *FLOWER,
                        "--clients", str(clients), "--dim", str(dim), "--drop", str(drop)],
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=1800,
                       env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}, check=False)
    if p.returncode != 0:
        fail(f"Flower gave no answer: {p.stderr.strip()[-400:]}")
    row = json.loads(p.stdout.splitlines()[-1])
    if row["error_over_bound"] is None or row["error_over_bound"] > 1:
        fail("Flower's sum is not that of its clients; no figure would compare")
    return row


def short(n):
    """100000 as 100k, 2400000 as 2.4M."""
    return f"{n / 1e6:g}M" if n >= 1_000_000 else f"{n / 1e3:g}k"


def turns(o, clients, dim, variants, drop):
    """A dictionary of Turns by graph, "flower" among them: one after the other, o.rounds times."""
    result = {"flower": Turns()} | {g: Turns() for g in variants}
    for i in range(o.rounds):
        theirs = flower(o, clients, dim, drop)
        if theirs:
            result["flower"].add(theirs)
            o.upload = theirs["bytes_per_parameter"]
            o.peer_name = f"Flower SecAgg+ {theirs['version']}"
        for g in variants:
            result[g].add(shoal(o, clients, dim, g, drop * clients // 100))
        say(f"round {i + 1} of {o.rounds}, {clients} x {dim}, {drop} % gone: server " +
            ", ".join(f"{t.seen[-1]['server_s']:.3f}" for t in result.values() if t.seen) + " s")
    return result


# ---- rows -----------------------------------------------------------------------------------------

def session_rows(o, drop):
    measured = turns(o, CLIENTS, o.dim, (SAME, OWN), drop)
    theirs = measured["flower"]
    for g in (SAME, OWN):
        ours = measured[g]
        what = f"{CLIENTS} clients x {short(o.dim)} parameters, {drop} % gone, {named(g, ours.seen[0])}"
        yield rows.make(f"server, whole session: {what}", ours.median("server_s"),
                        theirs.median("server_s"), o.peer_name, "s", False)
        yield rows.make(f"server, last upload to sum: {what}", ours.median("after_upload_s"),
                        theirs.median("after_upload_s"), o.peer_name, "s", False)
        if drop == 0:
            yield from client_rows(o, ours, theirs, g, o.dim)


def client_rows(o, ours, theirs, graph, dim):
    what = f"{short(dim)} parameters, {named(graph, ours.seen[0])}"
    yield rows.make(f"client, whole session: {what}", ours.median("client_s"),
                    theirs.median("client_s"), o.peer_name, "s", False)
    yield rows.make(f"client, of it signatures and certificates: {what}",
                    ours.median("client_signatures_s"), None, "Flower signs nothing", "s", False)


def large_rows(o):
    """21 clients are Flower's 20 neighbours and the client itself; Shoal has its whole cohort."""
    theirs, ours, large = Turns(), {g: Turns() for g in (SAME, OWN)}, LARGER * o.dim
    for i in range(o.rounds):
        row = flower(o, 21, large, 0)
        if row:
            theirs.add(row)
        for g, t in ours.items():
            t.add(shoal(o, CLIENTS, large, g))
        say(f"round {i + 1} of {o.rounds}, {large} parameters: client " +
            ", ".join(f"{t.seen[-1]['client_s']:.3f}" for t in [theirs, *ours.values()] if t.seen) +
            " s")
    for g, t in ours.items():
        yield from client_rows(o, t, theirs, g, large)


def upload_rows(o):
    for ring in (32, 20):
        ours = shoal(o, 30, o.dim, SAME, ring=ring)["bytes_per_parameter"]
        yield rows.make(f"upload, ring of {ring} bits", ours, o.upload, o.peer_name,
                        "bytes/parameter", False)


def limit_rows(o):
    """A large session on all threads: what unmasking reaches of the rate at which key streams can be
    made and added at all."""
    n, gone = (100, 10) if o.quick else (500, 50)
    say(f"{n} clients x {short(LARGER * o.dim)} parameters, {gone} gone, {o.threads} threads: a minute or more")
    r = shoal(o, n, LARGER * o.dim, OWN, gone, threads=o.threads)
    what = f"{n} clients x {short(LARGER * o.dim)} parameters, {gone} gone, {r['degree']} neighbours, {o.threads} threads"
    limit = r["stream_limit_bytes_per_s"] / 1e9
    reached = r["unmask_stream_bytes"] / r["unmask_wall_s"] / 1e9
    yield rows.make(f"masks taken off: {what}", reached, limit,
                    "limit: key streams added in cache, same run", "GB/s", True)
    yield rows.make(f"last share to sum: {what}", r["unmask_wall_s"], None, "no peer", "s", False)
    yield rows.make(f"memory of the server's session: {what}", r["server_bytes"] / 1e6, None,
                    "no peer", "MB", False)


def parse():
    p = argparse.ArgumentParser(prog="run.sh secagg", description=__doc__.splitlines()[0])
    p.add_argument("--driver", required=True, help="bench_secagg")
    p.add_argument("--peer-python", default="", help="with flwr; empty: not there")
    p.add_argument("--peer-missing", default="")
    p.add_argument("--threads", type=int, default=2, help="of the session of 500")
    p.add_argument("--prompt", dest="dim", type=int, default=100_000, help="parameters")
    p.add_argument("--quick", action="store_true")
    p.add_argument("--json", action="store_true")
    o = p.parse_args()
    o.rounds = 1 if o.quick else 5
    o.peer_name, o.upload = o.peer_missing, None
    return o


def main():
    o = parse()
    warn_if_busy()
    result = [*session_rows(o, 0), *session_rows(o, 10), *large_rows(o), *upload_rows(o),
              *limit_rows(o)]
    rows.show(result, o.json, sys.stdout)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        main()
    except KeyboardInterrupt:
        fail("stopped; nothing was kept")
