"""Whole networks: clgen's generated C against ONNX Runtime, OpenVINO and ncnn, measured in turn in one run.

    python benchmarks/networks.py [NETWORK ...] [--device D] [--threads 2] [--batch 1] [--rounds 9] [--json F]

Every engine is a process of its own that only works when it is its turn.  A round runs each of them for a while and
takes the median of its runs; the table shows the medians of the rounds, and the median of the rounds' ratios between
the fastest peer and clgen (above 1: clgen is faster), which other load on the machine disturbs least.  All outputs are
compared with ONNX Runtime's.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from engines import PEERS, Engine, start_clgen, start_peer
from zoo import SIZES, onnx_file

from codegen import build
from codegen.plan.target import DEFAULT_TARGET

PASS_MARK = 1e-4  # of max|y|
SPINNING = 0.15  # seconds after which an idle thread pool sleeps


@dataclass(frozen=True)
class Result:
    """Milliseconds, seconds, bytes and errors by engine; ``ratio`` is the fastest peer's time over clgen's."""

    network: str
    best_peer: str
    ratio: float
    milliseconds: dict[str, float]
    setup_s: dict[str, float]
    peak_bytes: dict[str, int]
    error: dict[str, float] = field(default_factory=dict)


def main() -> None:
    parser = argparse.ArgumentParser(description="Whole networks against ONNX Runtime, OpenVINO and ncnn.")
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"of {', '.join(SIZES)}; default: all")
    parser.add_argument("--device", default="Intel(R) OpenCL", help="part of the OpenCL platform's or device's name")
    parser.add_argument("--engines", default=",".join(PEERS), help="peers to measure")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.4, help="of each engine in a round")
    parser.add_argument("--folder", type=Path, default=Path("build/benchmarks"), help="for models and programs")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    unknown = [name for name in options.networks if name not in SIZES]
    if unknown:
        parser.error(f"{unknown[0]!r} is not one of {', '.join(SIZES)}")
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    peers = [name for name in options.engines.split(",") if name]
    print(f"{cpu_name()}, {options.threads} threads, batch {options.batch}, {options.device}; milliseconds")
    print(f"{'network':21}" + "".join(f"{name:>12}" for name in ("clgen", *peers)) + f"{'ratio':>7}  error")
    results = []
    for network in options.networks or SIZES:
        result = measure(network, peers, options)
        results.append(result)
        times = "".join(f"{result.milliseconds[name]:12.2f}" for name in ("clgen", *peers))
        error = result.error.get("clgen", float("nan"))
        print(f"{network:21}{times}{result.ratio:7.2f}  {error:.1e}", flush=True)
    if peers:
        mean = statistics.geometric_mean(r.ratio for r in results)
        print(f"geometric mean of the ratios: {mean:.2f}, smallest {min(r.ratio for r in results):.2f}")
    if options.json:
        report = {"machine": cpu_name(), "threads": options.threads, "batch": options.batch, "device": options.device}
        report |= {"versions": versions(peers), "results": [asdict(r) for r in results]}
        options.json.write_text(json.dumps(report, indent=1) + "\n")


def measure(network: str, peers: list[str], options: argparse.Namespace) -> Result:
    folder: Path = options.folder
    model = onnx_file(network, options.batch, folder)
    x = np.random.default_rng(0).standard_normal((options.batch, 3, SIZES[network], SIZES[network]), np.float32)
    artefact, _ = build.build(build.lower(model), folder / "generated", DEFAULT_TARGET)
    with contextlib.ExitStack() as stack:
        engines = [stack.enter_context(start_clgen(artefact, options.device, x, folder))]
        engines += [stack.enter_context(start_peer(name, model, options.threads, x, folder)) for name in peers]
        outputs = {engine.name: engine.result() for engine in engines}
        rounds = alternate(engines, options.rounds, options.seconds)
        setup = {engine.name: engine.setup_s for engine in engines}
        peak = {engine.name: engine.peak_bytes() for engine in engines}
    errors = compared(outputs)
    if errors and not errors["clgen"] <= PASS_MARK:
        sys.exit(f"{network}: clgen is {errors['clgen']:.1e} of max|y| away from ONNX Runtime")
    times = {name: 1e3 * statistics.median(r[name] for r in rounds) for name in rounds[0]}
    best = min(peers, key=lambda name: times[name], default="")
    ratio = statistics.median(r[best] / r["clgen"] for r in rounds) if best else float("nan")
    return Result(network, best, ratio, times, setup, peak, errors)


def compared(outputs: dict[str, np.ndarray]) -> dict[str, float]:
    """max|err| / max|y| of each engine but the one that the others are compared with."""
    if "onnxruntime" not in outputs:
        return {}
    true = outputs["onnxruntime"].astype(np.float64)
    largest = np.max(np.abs(true))
    return {name: float(np.max(np.abs(y.reshape(true.shape) - true)) / largest) for name, y in outputs.items()}


def alternate(engines: list[Engine], rounds: int, seconds: float) -> list[dict[str, float]]:
    """Median seconds of a run by engine, for each round; every engine has run in before."""
    counts = {e.name: max(3, int(seconds / statistics.median(e.run(5)[2:]))) for e in engines}
    measured = []
    for _ in range(rounds):
        medians = {}
        for engine in engines:
            time.sleep(SPINNING)  # the one before still spins, and would take a core from this one
            medians[engine.name] = statistics.median(engine.run(counts[engine.name]))
        measured.append(medians)
    return measured


def versions(peers: list[str]) -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("clgen", "pyopencl", "intel-opencl-rt", *peers)}


def cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


if __name__ == "__main__":
    main()
