"""What the benchmarks share: one model on all engines in turn, their outputs compared, options, tables, reports.

Every engine is a process of its own that only works when it is its turn.  A round runs each of them for a while and
takes the median of its runs; results are the medians of the rounds, and the median of the rounds' ratios between the
fastest peer and clgen (above 1: clgen is faster), which other load on the machine disturbs least.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from engines import PEERS, Engine, start_clgen, start_peer

from codegen import build
from codegen.plan.target import DEFAULT_TARGET, TARGETS

T = TypeVar("T")

PASS_MARK = 1e-4  # of max|y|
SPINNING = 0.15  # seconds after which an idle thread pool sleeps
DISTURBED = 0.1  # processors that are busy with something else, above which there is a warning


@dataclass(frozen=True)
class Result:
    """Milliseconds, seconds, bytes and errors by engine; ``ratio`` is the fastest peer's time over clgen's.

    ``kept_s`` and ``kept_bytes`` are what clgen takes to create where compiled kernels were kept, and has at most then.
    ``others`` is how many processors other processes kept busy meanwhile, on average: it should be next to nothing.
    """

    name: str
    best_peer: str
    ratio: float
    milliseconds: dict[str, float]
    setup_s: dict[str, float]
    peak_bytes: dict[str, int]
    kept_s: float
    kept_bytes: int
    error: dict[str, float]
    others: float


def parser(description: str) -> argparse.ArgumentParser:
    """The options of all benchmarks."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--device", default="Intel(R) OpenCL", help="part of the OpenCL platform's or device's name")
    made.add_argument("--target", default=DEFAULT_TARGET, choices=list(TARGETS))
    made.add_argument("--engines", type=_names, default=list(PEERS), help=f"peers to measure, of {','.join(PEERS)}")
    made.add_argument("--threads", type=int, default=2)
    made.add_argument("--rounds", type=int, default=9)
    made.add_argument("--seconds", type=float, default=0.4, help="of each engine in a round")
    made.add_argument("--folder", type=Path, default=Path("build/benchmarks"), help="for models and programs")
    made.add_argument("--details", action="store_true", help="also print seconds to create and peak memory")
    made.add_argument("--json", type=Path, metavar="F")
    made.add_argument("--plot", type=Path, metavar="F", help="draw the peers' times as multiples of clgen's")
    return made


def _names(text: str) -> list[str]:
    names = [name for name in text.split(",") if name]
    if unknown := [name for name in names if name not in PEERS]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is not one of {', '.join(PEERS)}")
    return names


def pin(threads: int) -> None:
    """Keeps this process, and all that it starts, to as many processors."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def measure(name: str, model: Path, x: np.ndarray, options: argparse.Namespace) -> Result:
    """An ONNX file of one input and one output on every engine; ends the program if clgen computes something else."""
    folder, peers = options.folder, options.engines
    artefact, _ = build.build(build.lower(model), folder / "generated", options.target)
    with contextlib.ExitStack() as stack:
        kernels = stack.enter_context(tempfile.TemporaryDirectory())
        start = functools.partial(start_clgen, artefact, options.device, x, folder, CLGEN_CACHE_DIR=kernels)
        engines = [stack.enter_context(start())]
        engines += [stack.enter_context(start_peer(peer, model, options.threads, x, folder)) for peer in peers]
        outputs = {engine.name: engine.result() for engine in engines}
        others, rounds = beside(engines, lambda: alternate(engines, options.rounds, options.seconds))
        setup = {engine.name: engine.setup_s for engine in engines}
        peak = {engine.name: engine.peak_bytes() for engine in engines}
        with start() as kept:
            kept.run(1)
            kept_s, kept_bytes = kept.setup_s, kept.peak_bytes()
    errors = compared(outputs)
    if errors and not errors["clgen"] <= PASS_MARK:
        sys.exit(f"{name}: clgen is {errors['clgen']:.1e} of max|y| away from ONNX Runtime")
    times = {engine: 1e3 * statistics.median(r[engine] for r in rounds) for engine in rounds[0]}
    best = min(peers, key=lambda peer: times[peer], default="")
    ratio = statistics.median(r[best] / r["clgen"] for r in rounds) if best else float("nan")
    if others > DISTURBED:
        print(f"warning: {name}: other processes kept {others:.1f} processors busy; measure again", file=sys.stderr)
    return Result(name, best, ratio, times, setup, peak, kept_s, kept_bytes, errors, others)


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


def beside(engines: Sequence[Engine], run: Callable[[], T]) -> tuple[float, T]:
    """How many processors others kept busy on average while something ran, and what that returned.

    Engines whose threads wait for each other by spinning become ten times slower where a thread has to share.
    """

    def others() -> float:
        return _busy_s() - time.process_time() - sum(engine.processor_s() for engine in engines)

    before, start = others(), time.perf_counter()
    result = run()
    return max(0.0, (others() - before) / (time.perf_counter() - start)), result


def _busy_s() -> float:
    """What the processors that this process may use have worked since the machine started."""
    mine = {f"cpu{n}" for n in os.sched_getaffinity(0)}
    lines = [line.split() for line in Path("/proc/stat").read_text().splitlines()]
    ticks = 0
    for _, user, nice, system, _idle, _iowait, irq, softirq, steal, *_ in (line for line in lines if line[0] in mine):
        ticks += sum(map(int, (user, nice, system, irq, softirq, steal)))
    return ticks / os.sysconf("SC_CLK_TCK")


# Tables and reports ---------------------------------------------------------------------------------------------------


def print_heading(what: str, unit: str, options: argparse.Namespace) -> None:
    print(f"{cpu_name()}, {options.threads} threads, {options.device}, target {options.target}; {unit}")
    engines = "".join(f"{name:>12}" for name in ("clgen", *options.engines))
    print(f"{what:21}{engines}{'ratio':>7}  error", flush=True)


def print_row(result: Result, values: dict[str, float], digits: int, details: bool) -> None:
    numbers = "".join(f"{value:12.{digits}f}" for value in values.values())
    print(f"{result.name:21}{numbers}{result.ratio:7.2f}  {result.error.get('clgen', float('nan')):.1e}")
    if details:
        print(f"{'  seconds to create':21}" + "".join(f"{seconds:12.2f}" for seconds in result.setup_s.values()))
        print(f"{'  peak memory, MB':21}" + "".join(f"{1e-6 * size:12.0f}" for size in result.peak_bytes.values()))
        print(f"{'  with kept kernels':21}{result.kept_s:12.2f} s, {1e-6 * result.kept_bytes:.0f} MB")
    sys.stdout.flush()


def finish(results: Sequence[Result], options: argparse.Namespace, **more: Any) -> None:
    """The last line of the table, and the files that were asked for."""
    if options.engines and results:
        mean = statistics.geometric_mean(r.ratio for r in results)
        print(f"geometric mean of the ratios: {mean:.2f}, smallest {min(r.ratio for r in results):.2f}")
    if options.json:
        report = {"machine": cpu_name(), "threads": options.threads, "device": options.device, "target": options.target}
        report |= {"versions": versions(options.engines), "results": [asdict(r) for r in results], **more}
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    if options.plot:
        plot(results, options.plot)


def plot(results: Sequence[Result], path: Path) -> None:
    """Bars by model: each peer's time as a multiple of clgen's."""
    from matplotlib.figure import Figure

    peers = [name for name in results[0].milliseconds if name != "clgen"]
    height = 0.8 / max(1, len(peers))
    figure = Figure(figsize=(8, 1.4 + 0.5 * len(results)), layout="constrained")
    axes = figure.subplots()
    for k, peer in enumerate(peers):
        places = [row + (k - (len(peers) - 1) / 2) * height for row in range(len(results))]
        multiples = [r.milliseconds[peer] / r.milliseconds["clgen"] for r in results]
        axes.barh(places, multiples, height, label=peer)
    axes.axvline(1, color="black", linewidth=1, label="clgen")
    axes.set_yticks(range(len(results)), [f"{r.name} ({r.milliseconds['clgen']:.3g} ms)" for r in results])
    axes.invert_yaxis()
    axes.set_xlabel("time as a multiple of clgen's (in brackets); right of the line clgen is faster")
    axes.set_title(cpu_name())
    figure.legend(loc="outside lower center", ncols=len(peers) + 1)
    figure.savefig(path, dpi=120)


def versions(peers: list[str]) -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("clgen", "pyopencl", "intel-opencl-rt", *peers)}


def cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
