"""server.py - a running aggregator under 5,000 devices over mutual TLS, on loopback.

Rows: memory of an idle connection, times of check-ins, and how long a storm of reconnections lasts
when devices resume their sessions and when they do not. There is no peer: the other side of each
row is the figure that this project set itself.
"""
import argparse
import os
import subprocess
import sys
import tempfile

import common
import rows

TARGET = "the project's own aim"
IDLE_BYTES = 64 * 1024
CONTROL_P99_MS = 250
STORM_S = 300


def arguments():
    p = argparse.ArgumentParser()
    p.add_argument("--bin", required=True)
    p.add_argument("--json", action="store_true")
    p.add_argument("--quick", action="store_true")
    p.add_argument("--devices", type=int, default=5000)
    p.add_argument("--rate", type=int, default=500)
    a = p.parse_args()
    tests = os.path.join(a.bin, "..", "tests")
    a.bench = os.path.join(tests, "bench_server")
    a.make_model = os.path.join(tests, "make_tiny_model")
    for program in (a.bench, a.make_model):
        if not os.access(program, os.X_OK):
            common.fail(f"there is no program {program}", "unset SHOAL_BIN, and it is built")
    return a


def run(argv):
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def make_deployment(a, where):
    program = os.path.join(a.bin, "shoal-aggregator")
    model = os.path.join(where, "tiny.gguf")
    deployment = os.path.join(where, "deployment")
    run([a.make_model, model])
    run([program, "init", deployment])
    run([program, "task", "create", "--dir", deployment, "--name", "load", "--model", model,
         "--clients", "32"])
    return deployment


def measure(a):
    """The phases of bench_server by name."""
    with tempfile.TemporaryDirectory(prefix="shoal-bench-") as where:
        deployment = make_deployment(a, where)
        argv = [a.bench, "--bin", a.bin, "--dir", deployment, "--devices", str(a.devices),
                "--rate", str(a.rate), "--seconds", "10" if a.quick else "30"]
        common.say(f"{a.devices} devices are made and enrolled; then about a minute of load")
        return {(p["phase"], p.get("resume")): p for p in common.run_lines(argv)}


def make_rows(a, phases):
    def row(what, value, aim, unit, name=TARGET):
        return rows.make(f"server: {what}", value, aim, name, unit, more_is_better=False)

    idle = phases["idle", None]
    control = phases["control", None]
    yield row(f"memory of an idle TLS connection, {a.devices} open", idle["bytes_a_connection"],
              IDLE_BYTES, "bytes")
    yield row("the same, second half of them alone", idle["slope_bytes"], IDLE_BYTES, "bytes")
    if idle["kernel_bytes"] > 0:
        yield row("the same with the kernel's objects for it",
                  idle["bytes_a_connection"] + idle["kernel_bytes"], IDLE_BYTES, "bytes")
    yield row("processor time of a handshake with certificates, and a check-in",
              idle["cpu_ms_a_device"], None, "ms", "-")
    yield row(f"check-in, {a.rate} a second, half within", control["check_in"]["p50_ms"], None,
              "ms", "-")
    yield row(f"check-in, {a.rate} a second, 99 of 100 within", control["check_in"]["p99_ms"],
              CONTROL_P99_MS, "ms")
    yield row("processor time of a check-in", control["cpu_ms_a_request"], None, "ms", "-")
    for how, words in (("ticket", "resumed by ticket"), ("id", "resumed by id"),
                       ("none", "with certificates")):
        storm = phases["storm", how]
        yield row(f"storm, {storm['devices']} devices back, {words}", storm["seconds"], STORM_S, "s")
        yield row(f"storm, {words}: check-in of connected devices, 99 of 100 within",
                  storm["connected"]["p99_ms"], CONTROL_P99_MS, "ms")
        yield row(f"storm, {words}: processor time of a device", storm["cpu_ms_a_device"], None,
                  "ms", "-")


def main():
    a = arguments()
    common.warn_if_busy()
    rows.show(list(make_rows(a, measure(a))), a.json, sys.stdout)


if __name__ == "__main__":
    main()
