"""common.py - what every WHAT of the benchmarks needs: talking, failing, running programs."""
import hashlib
import json
import os
import subprocess
import sys

LICENCES = ("/usr/share/common-licenses/Apache-2.0", "/usr/share/common-licenses/MPL-2.0")


def say(text):
    print(text, file=sys.stderr, flush=True)


def fail(text, hint=None):
    say(f"error: {text}" + (f"\nhint: {hint}" if hint else ""))
    sys.exit(1)


def run_lines(argv, text=None):
    """The JSON objects that a program prints, given `text` to read; its failure ends the
    measurement."""
    p = subprocess.run(argv, input=text or "", stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                       text=True, timeout=1800, check=False)
    if p.returncode != 0 or not p.stdout.strip():
        fail(f"{' '.join(argv[:3])} ... failed ({p.returncode}): {p.stderr.strip()[-300:]}")
    return [json.loads(line) for line in p.stdout.splitlines()]


def run_json(argv):
    """The last of them."""
    return run_lines(argv)[-1]


def digest(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()[:12]


def warn_if_busy():
    load = os.getloadavg()[0]
    if load > 0.5:
        say(f"warning: other programs are running (load {load:.1f} on {os.cpu_count()} "
            "processors): times are too long, and ratios are rough")


def write_licences(path):
    """The text of the anchors in vectors/perplexity.json, as Debian carries it. False: not there."""
    try:
        with open(path, "wb") as out:
            for name in LICENCES:
                with open(name, "rb") as f:
                    out.write(f.read())
    except OSError as e:
        say(f"no text to measure on: {e}")
        return False
    return True


def write_lines(path, lines):
    with open(path, "w", encoding="utf-8") as f:
        f.writelines(line + "\n" for line in lines)
