"""rows.py - result rows of the benchmarks: one shape for every WHAT, as JSON lines or as a table.

A row: {"what","shoal","peer","peer_name","ratio","unit"}; a ratio above 1 means Shoal is better,
whichever way the quantity points. A side that was not measured is null, and peer_name says why.
"""
import json

KEYS = ("what", "shoal", "peer", "peer_name", "ratio", "unit")


def significant(x, digits=4):
    return None if x is None else float(f"{x:.{digits}g}")


def make(what, shoal, peer, peer_name, unit, more_is_better):
    """One row. shoal, peer: numbers, or None for what could not be measured."""
    ratio = None
    if shoal and peer and shoal > 0 and peer > 0:
        ratio = shoal / peer if more_is_better else peer / shoal
    values = (what, significant(shoal), significant(peer), peer_name, significant(ratio), unit)
    return dict(zip(KEYS, values))


def cell(value):
    if value is None:
        return "-"
    return value if isinstance(value, str) else f"{value:.4g}"


def table(rows):
    """The rows as lines of aligned columns; the peer's name stands where it changes."""
    lines = [("what", "Shoal", "peer", "ratio", "unit", "")]
    last = None
    for r in rows:
        name = r["peer_name"] if r["peer_name"] != last else ""
        last = r["peer_name"]
        ratio = "-" if r["ratio"] is None else f"{r['ratio']:.2f}"
        lines.append((r["what"], cell(r["shoal"]), cell(r["peer"]), ratio, r["unit"], name))
    width = [max(len(line[c]) for line in lines) for c in range(5)]
    for line in lines:
        numbers = "  ".join(line[c].rjust(width[c]) for c in (1, 2, 3))
        yield f"{line[0].ljust(width[0])}  {numbers}  {line[4].ljust(width[4])}  {line[5]}".rstrip()


def show(rows, as_json, out):
    for line in (json.dumps(r) for r in rows) if as_json else table(rows):
        print(line, file=out, flush=True)
