"""The common part of the benchmarks: runs a model on all engines in turn, compares outputs, prints tables and reports.

Every engine is a process of its own that only works when it is its turn.  A round runs each of them for a while and
takes the median of its runs; results are the medians of the rounds, and the median of the rounds' ratios between the
fastest peer and clgen (above 1: clgen is faster), which other load on the machine disturbs least.  A peer that does
not take a network, or computes something else, has no time, and the reason is printed below the network's row.
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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

import numpy as np
from engines import ISA, Ended, Engine, start_clgen, start_peer, start_plain_c
from peers import PEERS

from codegen import build
from codegen.plan.target import DEFAULT_TARGET, TARGETS

T = TypeVar("T")

TITLES = {
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
    "ncnn": "ncnn",
    "mnn": "MNN",
    "litert": "LiteRT",
}

PASS_MARK = 1e-4  # of max|y|, for clgen
WRONG = 1e-2  # of max|y|, above which a peer does not compute the network
SPINNING = 0.15  # seconds after which an idle thread pool sleeps
DEVICE_OPTIONS = ("codegen.emit.artefact.DEVICE_OPTIONS", "codegen.emit.opencl.DEVICE_OPTIONS")
DISTURBED = 0.1  # processors kept busy by other processes, above which there is a warning


@dataclass(frozen=True)
class Result:
    """Milliseconds, seconds, bytes and errors by engine; ``ratio`` is the fastest peer's time over clgen's.

    ``refused`` says why a peer has no time.
    ``kept_s`` and ``kept_bytes`` are clgen's time to create and its peak memory if compiled kernels are in the cache.
    ``others`` is the average number of processors that other processes kept busy meanwhile, which should be near 0.
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
    refused: dict[str, str]


def parser(description: str) -> argparse.ArgumentParser:
    """The options of all benchmarks."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--device", default="Intel(R) OpenCL", help="part of the OpenCL platform's or device's name")
    made.add_argument("--target", default=DEFAULT_TARGET, choices=list(TARGETS))
    made.add_argument("--engines", type=_names, default=list(PEERS), help=f"peers to measure, of {','.join(PEERS)}")
    made.add_argument(
        "--plain-c", type=lambda text: text.split(","), default=[], metavar="CC,CC",
        help="also measure the plain C backend, compiled by these compilers",
    )  # fmt: skip
    made.add_argument("--threads", type=int, default=2)
    made.add_argument(
        "--isa", default="native", choices=list(ISA), help="avx2: no vectors of 512 bits in clgen and OpenVINO"
    )
    made.add_argument("--rounds", type=int, default=9)
    made.add_argument("--seconds", type=float, default=0.4, help="of each engine in a round")
    made.add_argument("--folder", type=Path, default=Path("build/benchmarks"), help="for models and programs")
    made.add_argument("--details", action="store_true", help="also print seconds to create and peak memory")
    made.add_argument("--json", type=Path, metavar="F")
    made.add_argument("--markdown", type=Path, metavar="F", help="write the table of docs/performance.md")
    made.add_argument("--plot", type=Path, metavar="F", help="draw the peers' times as multiples of clgen's")
    return made


def _names(text: str) -> list[str]:
    names = [name for name in text.split(",") if name]
    if unknown := [name for name in names if name not in PEERS]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is not one of {', '.join(PEERS)}")
    return names


def pin(threads: int) -> None:
    """Restricts this process, and all that it starts, to this many processors."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def measure(name: str, model: Path, x: np.ndarray, options: argparse.Namespace) -> Result:
    """An ONNX file of one input and one output on every engine; ends the program if clgen computes something else."""
    folder, limits = options.folder, ISA[options.isa]
    artefact = _artefact(model, options)
    with contextlib.ExitStack() as stack:
        kernels = {"CLGEN_CACHE_DIR": stack.enter_context(tempfile.TemporaryDirectory())}
        start = functools.partial(start_clgen, artefact, options.device, x, folder, {**kernels, **limits})
        engines = [stack.enter_context(start())]
        outputs, refused = {"clgen": engines[0].result()}, {}
        for compiler in options.plain_c:
            plain = _artefact(model, options, "c")
            engine = stack.enter_context(start_plain_c(plain, compiler, options.threads, x, folder, options.isa))
            outputs[engine.name] = engine.result()
            engines.append(engine)
        for peer in options.engines:
            try:
                engine = stack.enter_context(start_peer(peer, model, options.threads, x, folder, limits))
                outputs[peer] = engine.result()
                engines.append(engine)
            except Ended as error:
                refused[peer] = str(error)
        errors = compared(outputs)
        for own in ("clgen", *_plain_names(options)):
            if not errors.get(own, 0) <= PASS_MARK:
                sys.exit(f"{name}: {own} is {errors[own]:.1e} of max|y| away from ONNX Runtime")
        refused |= {
            peer: f"computes something else ({e:.0e} of max|y|)" for peer, e in errors.items() if not e <= WRONG
        }
        engines = [engine for engine in engines if engine.name not in refused]
        others, rounds = beside(engines, lambda: alternate(engines, options.rounds, options.seconds))
        setup = {engine.name: engine.setup_s for engine in engines}
        peak = {engine.name: engine.peak_bytes() for engine in engines}
        with start() as kept:
            kept.run(1)
            kept_s, kept_bytes = kept.setup_s, kept.peak_bytes()
    times = {engine: 1e3 * statistics.median(r[engine] for r in rounds) for engine in rounds[0]}
    best = min((peer for peer in times if peer in PEERS), key=lambda peer: times[peer], default="")
    ratio = statistics.median(r[best] / r["clgen"] for r in rounds) if best else float("nan")
    if others > DISTURBED:
        print(f"warning: {name}: other processes kept {others:.1f} processors busy; measure again", file=sys.stderr)
    return Result(name, best, ratio, times, setup, peak, kept_s, kept_bytes, errors, others, refused)


def _plain_names(options: argparse.Namespace) -> list[str]:
    """The engines of plain C."""
    return [f"c-{compiler}" for compiler in options.plain_c]


def _artefact(model: Path, options: argparse.Namespace, backend: str = "opencl") -> Path:
    """The network's generated folder.

    With an option for AVX2, Intel's runtime still reports vectors of 16 floats.  So artefacts are then built without
    the compiler options for such devices: the kernels are those that a processor without AVX-512 gets.
    """
    lowered = build.lower(model, backend=backend)
    with contextlib.ExitStack() as narrow:
        for place in DEVICE_OPTIONS if options.isa != "native" else ():
            narrow.enter_context(mock.patch(place, ()))
        return build.build(lowered, options.folder / f"generated-{backend}", options.target)[0]


def compared(outputs: dict[str, np.ndarray]) -> dict[str, float]:
    """max|err| / max|y| of each engine, compared with ONNX Runtime; {} if that did not run."""
    if "onnxruntime" not in outputs:
        return {}
    true = outputs["onnxruntime"].astype(np.float64)
    largest = np.max(np.abs(true))
    return {name: float(np.max(np.abs(y.reshape(true.shape) - true)) / largest) for name, y in outputs.items()}


def alternate(engines: list[Engine], rounds: int, seconds: float) -> list[dict[str, float]]:
    """Median seconds of a run by engine, for each round, after a few runs that are not counted."""
    counts = {e.name: max(3, int(seconds / statistics.median(e.run(5)[2:]))) for e in engines}
    measured = []
    for _ in range(rounds):
        medians = {}
        for engine in engines:
            time.sleep(SPINNING)  # threads of the engine before still spin, and would take a core from this one
            medians[engine.name] = statistics.median(engine.run(counts[engine.name]))
        measured.append(medians)
    return measured


def beside(engines: Sequence[Engine], run: Callable[[], T]) -> tuple[float, T]:
    """The average number of processors that other processes kept busy during ``run``, and the result of ``run``.

    Engines whose threads spin while they wait become ten times slower if a thread has to share its processor.
    """

    def others() -> float:
        return _busy_s() - time.process_time() - sum(engine.processor_s() for engine in engines)

    before, start = others(), time.perf_counter()
    result = run()
    return max(0.0, (others() - before) / (time.perf_counter() - start)), result


def _busy_s() -> float:
    """Seconds of work since the machine started, summed over the processors that this process may use."""
    mine = {f"cpu{n}" for n in os.sched_getaffinity(0)}
    lines = [line.split() for line in Path("/proc/stat").read_text().splitlines()]
    ticks = 0
    for _, user, nice, system, _idle, _iowait, irq, softirq, steal, *_ in (line for line in lines if line[0] in mine):
        ticks += sum(map(int, (user, nice, system, irq, softirq, steal)))
    return ticks / os.sysconf("SC_CLK_TCK")


# Tables and reports ---------------------------------------------------------------------------------------------------


def print_heading(what: str, unit: str, options: argparse.Namespace) -> None:
    machine = f"{cpu_name()}, {options.isa} vectors, {options.threads} threads"
    print(f"{machine}, {options.device}, target {options.target}; {unit}")
    engines = "".join(f"{name:>12}" for name in ("clgen", *_plain_names(options), *options.engines))
    print(f"{what:21}{engines}{'ratio':>7}  error", flush=True)


def print_row(result: Result, values: Mapping[str, float], digits: int, options: argparse.Namespace) -> None:
    """Prints the row of one model; ``values`` are the table's numbers by engine."""

    def row(numbers: Mapping[str, float], digits: int) -> str:
        names = ("clgen", *_plain_names(options), *options.engines)
        return "".join(f"{numbers[name]:12.{digits}f}" if name in numbers else f"{'-':>12}" for name in names)

    print(f"{result.name:21}{row(values, digits)}{result.ratio:7.2f}  {result.error.get('clgen', float('nan')):.1e}")
    for peer, reason in result.refused.items():
        print(f"  no {peer}: {reason}")
    if options.details:
        print(f"{'  seconds to create':21}{row(result.setup_s, 2)}")
        print(f"{'  peak memory, MB':21}{row({name: 1e-6 * size for name, size in result.peak_bytes.items()}, 0)}")
        print(f"{'  with kept kernels':21}{result.kept_s:12.2f} s, {1e-6 * result.kept_bytes:.0f} MB")
    sys.stdout.flush()


def finish(results: Sequence[Result], options: argparse.Namespace, **more: Any) -> None:
    """Prints the last line of the table, and writes the files that the options name."""
    if ratios := [r.ratio for r in results if r.best_peer]:
        print(f"geometric mean of the ratios: {statistics.geometric_mean(ratios):.2f}, smallest {min(ratios):.2f}")
    if options.json:
        report: dict[str, Any] = {"machine": cpu_name(), "threads": options.threads, "isa": options.isa}
        report |= {"device": options.device, "target": options.target}
        report |= {"versions": versions(options.engines), "results": [asdict(r) for r in results], **more}
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    if options.markdown:
        options.markdown.write_text(markdown(results, [*_plain_names(options), *options.engines]))
    if options.plot:
        plot(results, options.plot)


def markdown(results: Sequence[Result], peers: Sequence[str]) -> str:
    """A table of milliseconds, followed by the reasons why peers have none."""
    names = ("clgen", *(TITLES.get(peer, peer) for peer in peers))
    lines = [f"| network | {' | '.join(names)} | ratio | max error / max y |", f"|---|{'---:|' * (len(names) + 2)}"]
    for r in results:
        times = (f"{r.milliseconds[name]:.2f}" if name in r.milliseconds else "-" for name in ("clgen", *peers))
        error = r.error.get("clgen", float("nan"))
        lines.append(f"| {r.name} | {' | '.join(times)} | **{r.ratio:.2f}** | {error:.1e} |")
    notes = [f"- {r.name}, {TITLES[peer]}: {reason}" for r in results for peer, reason in r.refused.items()]
    return "\n".join([*lines, "", *notes]) + "\n"


def plot(results: Sequence[Result], path: Path) -> None:
    """Bars by model: each peer's time as a multiple of clgen's."""
    from matplotlib.figure import Figure

    peers = list(dict.fromkeys(name for r in results for name in r.milliseconds if name != "clgen"))
    height = 0.8 / max(1, len(peers))
    figure = Figure(figsize=(8, 1.4 + 0.5 * len(results)), layout="constrained")
    axes = figure.subplots()
    for k, peer in enumerate(peers):
        places = [row + (k - (len(peers) - 1) / 2) * height for row in range(len(results))]
        multiples = [r.milliseconds.get(peer, 0) / r.milliseconds["clgen"] for r in results]
        axes.barh(places, multiples, height, label=peer)
    axes.axvline(1, color="black", linewidth=1, label="clgen")
    axes.set_yticks(range(len(results)), [f"{r.name} ({r.milliseconds['clgen']:.3g} ms)" for r in results])
    axes.invert_yaxis()
    axes.set_xlabel("time as a multiple of clgen's (in brackets); right of the line clgen is faster")
    axes.set_title(cpu_name())
    figure.legend(loc="outside lower center", ncols=len(peers) + 1)
    figure.savefig(path, dpi=120)


def versions(peers: Sequence[str]) -> dict[str, str]:
    """The versions of the packages that are installed."""
    packages = ("clgen", "pyopencl", "intel-opencl-rt", *("ai-edge-litert" if p == "litert" else p for p in peers))
    found = {}
    for name in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
