"""Measures each launch by the device's clock, and compares it with the device's measured limits.

The whole inference is timed through the compiled C host, from arrays to arrays.  A node's floor is the longer of two
times: its multiply-adds at the measured peak, and its bytes at the measured bandwidth of memory.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from codegen import interrupt
from codegen.errors import Mismatch
from codegen.graph.graph import Graph, Node
from codegen.graph.types import size_of
from codegen.runtime.artefact import Artefact, Values
from codegen.runtime.devices import DeviceInfo
from codegen.runtime.execute import Session
from codegen.runtime.host import Host, compile_host
from codegen.runtime.peak import Peak, measure_peak, repeated
from codegen.runtime.samples import random_sample

FEW_LAUNCHES = 3  # a launch that takes no longer than this many empty ones is bound by launch overhead

Progress = Callable[[str], None]
Interval = tuple[float, float]
"""Start and end in microseconds, from the start of the first launch."""


@dataclass(frozen=True)
class LaunchTime:
    """The time of a launch.  ``bytes`` counts its inputs, output and weights, each once."""

    kernel: str
    writes: str
    microseconds: float
    bytes: int
    gbytes_per_s: float


@dataclass(frozen=True)
class NodeTime:
    """The time of all launches of a node.

    ``multiply_adds`` counts those of the operator's definition, whatever the algorithm; ``gflops`` counts two
    operations for each.  ``of_peak`` is the node's floor divided by its time; ``bound`` is the limiting resource:
    "arithmetic", "memory" or "launch".  All of these are None if the network is not known.
    """

    node: str
    title: str
    microseconds: float
    share: float
    multiply_adds: int | None
    bytes: int
    gflops: float | None
    gbytes_per_s: float
    of_peak: float | None
    bound: str | None
    launches: tuple[LaunchTime, ...]


@dataclass(frozen=True)
class DeviceBench:
    """The measurements of a device.

    ``launches_us`` is the sum of the launches' times; ``timeline`` has each launch's interval in a typical inference.
    """

    device: str
    platform: str
    peak: Peak
    nodes: tuple[NodeTime, ...]
    launches_us: float
    launch_runs: int
    end_to_end_us: float
    end_to_end_runs: int
    timeline: tuple[Interval, ...]


@dataclass(frozen=True)
class Bench:
    """The measurements of an artefact on every device."""

    name: str
    target: str
    devices: tuple[DeviceBench, ...]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def bench(
    artefact: Artefact, network: Graph | None, devices: Sequence[DeviceInfo], say: Progress, seconds: float = 1.0
) -> Bench:
    """Measures the launches, the whole inference, and each of the device's peaks, for about so many seconds each.

    ``network`` is the graph of launches; without it multiply-adds are unknown.
    """
    unknown = [n["node"] for n in artefact.launches if network is not None and n["node"] not in network.by_name]
    if unknown:
        raise Mismatch(f"{artefact.folder}: launch {unknown[0]!r} is not in the spec; build again")
    with interrupt.scratch() as folder:
        say("compiling the C host")
        library = compile_host(artefact, folder / f"lib{artefact.name}.so")
        measured = tuple(_bench_device(artefact, network, d, library, say, seconds) for d in devices)
    return Bench(artefact.name, str(artefact.manifest.get("target", "")), measured)


def _bench_device(
    artefact: Artefact, network: Graph | None, device: DeviceInfo, library: Path, say: Progress, seconds: float
) -> DeviceBench:
    inputs = random_sample(artefact)
    say(f"{device.name}: compiling")
    session = Session(artefact, device, profiling=True)
    say(f"{device.name}: launch by launch")
    runs = _launch_runs(session, inputs, seconds)
    say(f"{device.name}: from end to end")
    with Host(artefact, library, device) as host:
        whole = _whole_runs(host, inputs, seconds)
    say(f"{device.name}: its peak")
    peak = measure_peak(device, seconds)
    medians = [statistics.median(end - start for start, end in column) for column in zip(*runs, strict=True)]
    return DeviceBench(
        device=device.name,
        platform=f"{device.platform} ({device.version})",
        peak=peak,
        nodes=tuple(_nodes(artefact, network, medians, peak)),
        launches_us=sum(medians),
        launch_runs=len(runs),
        end_to_end_us=statistics.median(whole),
        end_to_end_runs=len(whole),
        timeline=_typical(runs),
    )


# Measuring ------------------------------------------------------------------------------------------------------------


def _launch_runs(session: Session, inputs: Mapping[str, Values], seconds: float) -> list[tuple[Interval, ...]]:
    """The interval of each launch, for each of many inferences."""
    session.write(inputs)
    count = len(session.artefact.launches)

    def run() -> tuple[Interval, ...]:
        events = [session.launch(index) for index in range(count)]
        session.queue.finish()
        times = [(event.profile.start, event.profile.end) for event in events]
        first = times[0][0] if times else 0
        # A clock may be too coarse for a small launch.
        return tuple((1e-3 * (start - first), 1e-3 * (max(end, start + 1) - first)) for start, end in times)

    _run_in(run)
    return repeated(run, seconds)


def _whole_runs(host: Host, inputs: Mapping[str, Values], seconds: float) -> list[float]:
    """The duration in microseconds of each of many inferences."""

    def run() -> float:
        start = time.perf_counter()
        host.run(inputs)
        return 1e6 * (time.perf_counter() - start)

    _run_in(run)
    return repeated(run, seconds)


def _run_in(run: Callable[[], object]) -> None:
    for _ in range(3):
        run()


def _typical(runs: Sequence[tuple[Interval, ...]]) -> tuple[Interval, ...]:
    """The run of median duration."""
    ranked = sorted(runs, key=lambda run: run[-1][1] if run else 0.0)
    return ranked[len(ranked) // 2]


# Counting -------------------------------------------------------------------------------------------------------------


def _nodes(artefact: Artefact, network: Graph | None, microseconds: Sequence[float], peak: Peak) -> Iterator[NodeTime]:
    total = sum(microseconds)
    constants = _Constants(artefact)
    timed = zip(artefact.launches, microseconds, strict=True)
    for name, group in itertools.groupby(timed, key=lambda pair: pair[0]["node"]):
        launches = tuple(_launch_time(artefact, constants, launch, us) for launch, us in group)
        node = None if network is None else network.by_name[name]
        title = next(launch["title"] for launch in artefact.launches if launch["writes"] == launches[-1].writes)
        own = sum(launch.microseconds for launch in launches)
        tables = constants.each * sum(a.size for a in node.op.arrays()) if node and constants.tables else 0
        moved = sum(launch.bytes for launch in launches) + tables
        count = None if network is None or node is None else _count(network, node)
        arithmetic = None if count is None else 2e-3 * count / peak.gflops
        memory = 1e-3 * moved / peak.gbytes_per_s
        yield NodeTime(
            node=name,
            title=title if node is None else node.op.title,
            microseconds=own,
            share=own / total,
            multiply_adds=count,
            bytes=moved,
            gflops=None if count is None else 2e-3 * count / own,
            gbytes_per_s=1e-3 * moved / own,
            of_peak=None if arithmetic is None else max(arithmetic, memory) / own,
            bound=_bound(own, FEW_LAUNCHES * len(launches) * peak.launch_us, arithmetic, memory),
            launches=launches,
        )


def _bound(own: float, starting: float, arithmetic: float | None, memory: float) -> str | None:
    if own < starting:
        return "launch"
    if arithmetic is None:
        return None
    return "arithmetic" if arithmetic > memory else "memory"


def _count(network: Graph, node: Node) -> int:
    return node.op.multiply_adds(*(network.shapes[name] for name in node.inputs))


def _launch_time(artefact: Artefact, constants: _Constants, launch: Mapping[str, Any], us: float) -> LaunchTime:
    tensors = (*dict.fromkeys(launch["reads"]), launch["writes"])
    moved = sum(artefact.tensors[name].bytes for name in tensors) + constants.bytes(launch)
    return LaunchTime(launch["kernel"], launch["writes"], us, moved, 1e-3 * moved / us)


class _Constants:
    """The size of the weights that each launch reads: from their start to the start of the next launch's weights."""

    def __init__(self, artefact: Artefact) -> None:
        weights = 0 if artefact.weights is None else artefact.weights.size
        self.each = size_of(artefact.manifest["type"])
        prepared = artefact.manifest["memory"]["prepared_bytes"] // self.each
        self.tables = artefact.weights is None
        launches = [*artefact.manifest["preparations"], *artefact.launches]
        starts = [start for launch in launches for start in _starts(launch)]
        self._ends = {
            kind: sorted({start for other, start in starts if other == kind} | {size})
            for kind, size in (("weights", weights), ("prepared", prepared))
        }

    def bytes(self, launch: Mapping[str, Any]) -> int:
        return self.each * sum(
            next(e for e in self._ends[kind] if e > start) - start for kind, start in _starts(launch)
        )


def _starts(launch: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """The weights among a launch's arguments: their kind, and their offset in elements, which is the next argument."""
    for argument, behind in itertools.pairwise(launch["arguments"]):
        if argument["kind"] in ("weights", "prepared"):
            yield argument["kind"], behind["value"]


# Printing -------------------------------------------------------------------------------------------------------------


def format_bench(result: Bench) -> str:
    """A table for people: a line per node in the network's order, then totals and what the device can do."""
    return "\n".join(line for device in result.devices for line in _device_lines(result.name, device))


HEADINGS = ("node", "kernel", "us", "share", "10^6 mul-adds", "KiB", "GF/s", "GB/s", "of peak", "bound by")


def _device_lines(name: str, device: DeviceBench) -> Iterator[str]:
    yield f"{name} on {device.device}, {device.platform}"
    count, moved = sum(n.multiply_adds or 0 for n in device.nodes), sum(n.bytes for n in device.nodes)
    rows = [HEADINGS, *map(_cells, device.nodes)]
    if device.nodes:
        us = device.launches_us
        total = ("total", "", f"{us:.1f}", "100.0 %", _millions(count), f"{moved / 1024:.0f}")
        rows.append((*total, f"{2e-3 * count / us:.1f}" if count else "-", f"{1e-3 * moved / us:.1f}", "", ""))
    yield from (f"  {line}" for line in _aligned(rows))
    yield (
        f"  {sum(len(n.launches) for n in device.nodes)} launches: {device.launches_us:.1f} us in all "
        f"(medians of {device.launch_runs} runs)"
    )
    yield f"  end to end: {device.end_to_end_us:.1f} us through the C host (median of {device.end_to_end_runs} runs)"
    peak = device.peak
    yield (
        f"  the device at its best: {peak.gflops:.1f} GF/s, {peak.gbytes_per_s:.1f} GB/s from memory, "
        f"{peak.launch_us:.1f} us an empty launch"
    )


def _cells(node: NodeTime) -> tuple[str, ...]:
    longest = max(node.launches, key=lambda launch: launch.microseconds)
    others = f" and {len(node.launches) - 1} more" if len(node.launches) > 1 else ""
    return (
        node.node,
        f"{longest.kernel}{others}",
        f"{node.microseconds:.1f}",
        f"{100 * node.share:.1f} %",
        _millions(node.multiply_adds),
        f"{node.bytes / 1024:.0f}",
        f"{node.gflops:.1f}" if node.gflops else "-",
        f"{node.gbytes_per_s:.1f}",
        "-" if node.of_peak is None else f"{100 * node.of_peak:.0f} %",
        node.bound or "-",
    )


def _millions(count: int | None) -> str:
    return f"{1e-6 * count:.3f}" if count else "-"


def _aligned(rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """Rows as columns: words aligned left, numbers right."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    words = (0, 1, len(widths) - 1)
    for row in rows:
        cells = (c.ljust(w) if k in words else c.rjust(w) for k, (c, w) in enumerate(zip(row, widths, strict=True)))
        yield "  ".join(cells).rstrip()
