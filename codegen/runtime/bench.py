"""Measures each launch by the device's clock, and compares it with the device's measured limits.

The whole inference is timed through the compiled C host, from arrays to arrays.  Launches of plain C are those of one
thread, and so are its limits.  A node's floor is the longer of two
times: its multiply-adds at the measured peak, and its bytes at the measured bandwidth of memory.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from codegen import interrupt
from codegen.errors import Mismatch
from codegen.graph.graph import Graph
from codegen.runtime.artefact import Artefact
from codegen.runtime.devices import DeviceInfo
from codegen.runtime.native import NativeDevice
from codegen.runtime.native_peak import measure_native_peak
from codegen.runtime.peak import Peak, measure_peak, repeated_warm
from codegen.runtime.timed import Interval, WholeTime, launch_timer, whole_times
from codegen.runtime.work import Work, multiply_adds

FEW_LAUNCHES = 3  # a launch that takes no longer than this many empty ones is bound by launch overhead

Progress = Callable[[str], None]


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
    ``threads`` is 1 for plain C, whose ``threaded`` is the whole inference by all processors together, if there are
    several; both are None for OpenCL, whose runtime takes as many threads as it likes.
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
    threads: int | None = None
    threaded: WholeTime | None = None


@dataclass(frozen=True)
class Bench:
    """The measurements of an artefact on every device."""

    name: str
    target: str
    devices: tuple[DeviceBench, ...]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def bench(
    artefact: Artefact,
    network: Graph | None,
    devices: Sequence[DeviceInfo | NativeDevice],
    say: Progress,
    seconds: float = 1.0,
) -> Bench:
    """Measures the launches, the whole inference, and each of the device's peaks, for about so many seconds each.

    ``network`` is the graph of launches; without it multiply-adds are unknown.
    """
    unknown = [n["node"] for n in artefact.launches if network is not None and n["node"] not in network.by_name]
    if unknown:
        raise Mismatch(f"{artefact.folder}: launch {unknown[0]!r} is not in the spec; build again")
    with interrupt.scratch() as folder:
        measured = tuple(_bench_device(artefact, network, d, folder, say, seconds) for d in devices)
    return Bench(artefact.name, str(artefact.manifest.get("target", "")), measured)


def _bench_device(
    artefact: Artefact,
    network: Graph | None,
    device: DeviceInfo | NativeDevice,
    folder: Path,
    say: Progress,
    seconds: float,
) -> DeviceBench:
    say(f"{device.name}: compiling")
    with closing(launch_timer(artefact, device, folder)) as timer:
        say(f"{device.name}: launch by launch")
        runs = repeated_warm(timer.run, seconds)
    say(f"{device.name}: from end to end")
    whole, *others = whole_times(artefact, device, folder, seconds)
    say(f"{device.name}: its peak")
    peak = _peak(device, folder, seconds)
    medians = [statistics.median(end - start for start, end in column) for column in zip(*runs, strict=True)]
    return DeviceBench(
        device=device.name,
        platform=f"{device.platform} ({device.version})",
        peak=peak,
        nodes=tuple(_nodes(artefact, network, medians, peak)),
        launches_us=sum(medians),
        launch_runs=len(runs),
        end_to_end_us=whole.microseconds,
        end_to_end_runs=whole.runs,
        timeline=_typical(runs),
        threads=whole.threads,
        threaded=others[-1] if others else None,
    )


def _peak(device: DeviceInfo | NativeDevice, folder: Path, seconds: float) -> Peak:
    if isinstance(device, NativeDevice):
        return measure_native_peak(device, folder, seconds)
    return measure_peak(device, seconds)


def _typical(runs: Sequence[tuple[Interval, ...]]) -> tuple[Interval, ...]:
    """The run of median duration."""
    ranked = sorted(runs, key=lambda run: run[-1][1] if run else 0.0)
    return ranked[len(ranked) // 2]


# Counting -------------------------------------------------------------------------------------------------------------


def _nodes(artefact: Artefact, network: Graph | None, microseconds: Sequence[float], peak: Peak) -> Iterator[NodeTime]:
    total = sum(microseconds)
    work = Work(artefact)
    timed = zip(artefact.launches, microseconds, strict=True)
    for name, group in itertools.groupby(timed, key=lambda pair: pair[0]["node"]):
        launches = tuple(_launch_time(work, launch, us) for launch, us in group)
        node = None if network is None else network.by_name[name]
        title = next(launch["title"] for launch in artefact.launches if launch["writes"] == launches[-1].writes)
        own = sum(launch.microseconds for launch in launches)
        tables = work.tables(node) if node else 0
        moved = sum(launch.bytes for launch in launches) + tables
        count = None if network is None or node is None else multiply_adds(network, node)
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


def _launch_time(work: Work, launch: Mapping[str, Any], us: float) -> LaunchTime:
    moved = work.bytes(launch)
    return LaunchTime(launch["kernel"], launch["writes"], us, moved, 1e-3 * moved / us)


# Printing -------------------------------------------------------------------------------------------------------------


def format_bench(result: Bench) -> str:
    """A table for people: a line per node in the network's order, then totals and what the device can do."""
    return "\n".join(line for device in result.devices for line in _device_lines(result.name, device))


HEADINGS = ("node", "kernel", "us", "share", "10^6 mul-adds", "KiB", "GF/s", "GB/s", "of peak", "bound by")


def _device_lines(name: str, device: DeviceBench) -> Iterator[str]:
    yield f"{name} on {device.device}, {device.platform}"
    count, moved = sum(n.multiply_adds or 0 for n in device.nodes), sum(n.bytes for n in device.nodes)
    places = 1 if device.launches_us >= 100 else 2
    rows = [HEADINGS, *(_cells(node, places) for node in device.nodes)]
    if device.nodes:
        us = device.launches_us
        total = ("total", "", f"{us:.{places}f}", "100.0 %", _millions(count), f"{moved / 1024:.0f}")
        rows.append((*total, f"{2e-3 * count / us:.1f}" if count else "-", f"{1e-3 * moved / us:.1f}", "", ""))
    yield from (f"  {line}" for line in _aligned(rows))
    on_threads = f" on {_threads(device.threads)}" if device.threads else ""
    yield (
        f"  {sum(len(n.launches) for n in device.nodes)} launches: {device.launches_us:.1f} us in all{on_threads} "
        f"(medians of {device.launch_runs} runs)"
    )
    yield (
        f"  end to end: {device.end_to_end_us:.1f} us through the C host{on_threads} "
        f"(median of {device.end_to_end_runs} runs)"
    )
    if device.threaded:
        whole = device.threaded
        yield f"  end to end: {whole.microseconds:.1f} us on {_threads(whole.threads)} (median of {whole.runs} runs)"
    peak = device.peak
    yield (
        f"  {_threads(device.threads) if device.threads else 'the device'} at its best: {peak.gflops:.1f} GF/s, "
        f"{peak.gbytes_per_s:.1f} GB/s from memory, {peak.launch_us:.{3 if device.threads else 1}f} us an empty launch"
    )


def _threads(count: int | None) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def _cells(node: NodeTime, places: int) -> tuple[str, ...]:
    longest = max(node.launches, key=lambda launch: launch.microseconds)
    others = f" and {len(node.launches) - 1} more" if len(node.launches) > 1 else ""
    return (
        node.node,
        f"{longest.kernel}{others}",
        f"{node.microseconds:.{places}f}",
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
