"""Estimates launches on Intel GPUs from compiled kernels, without a GPU.

A launch takes the longer of two times, divided by its occupancy:

- issue: its multiply-adds at the rate at which the hottest loop issues them.  An execution unit (EU) computes LANES of
  float32 a clock; less by the loop's share of multiply-adds, by clocks, and by the lanes of a hardware thread that have
  no work-item;
- memory: its inputs, output and weights, each once, at the bandwidth of memory.

The occupancy is the part of the GPU's hardware threads that the launch fills, at most 1.  Caches, latencies and what it
takes to start a launch are left out: the estimate compares kernels, and is no forecast.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from codegen.graph.graph import Graph
from codegen.runtime.artefact import Artefact
from codegen.runtime.isa import KernelIsa, read_kernels
from codegen.runtime.ocloc import HardwareThread, compile_offline
from codegen.runtime.work import Work, multiply_adds

LANES = 8  # of float32, a clock, in an EU
NATIVE_FLOATS = 1  # vector width that drivers of these GPUs state


@dataclass(frozen=True)
class Gpu:
    """The published facts of a GPU: EUs, hardware threads of each, clock in GHz, memory in 10^9 bytes a second."""

    title: str
    units: int
    threads: int
    ghz: float
    gbytes_per_s: float

    @property
    def gflops(self) -> float:
        """The peak in float32, with two operations for a multiply-add."""
        return 2 * LANES * self.units * self.ghz


GPUS: Mapping[str, Gpu] = {
    "skl": Gpu("HD Graphics 530", 24, 7, 1.15, 34.1),
    "0x9a49": Gpu("Iris Xe, 96 EUs", 96, 7, 1.3, 68.3),
    "dg2-g10": Gpu("Arc A770", 512, 8, 2.1, 560.0),
}
"""GPUs whose launches are estimated, by the name that ocloc has for them; kernels are read for all that ocloc knows."""


@dataclass(frozen=True)
class LaunchEstimate:
    """A launch on a GPU; ``bound`` is "arithmetic" or "memory"."""

    node: str
    kernel: str
    multiply_adds: int
    bytes: int
    live_lanes: float
    occupancy: float
    microseconds: float
    bound: str


@dataclass(frozen=True)
class Isa:
    """An artefact's kernels, compiled for a GPU, and its launches; no launches where the GPU's facts are unknown."""

    name: str
    device: str
    gpu: Gpu | None
    kernels: tuple[KernelIsa, ...]
    threads: Mapping[str, HardwareThread]
    launches: tuple[LaunchEstimate, ...]

    @property
    def microseconds(self) -> float:
        return sum(launch.microseconds for launch in self.launches)

    @property
    def weighted(self) -> float | None:
        """The share of multiply-adds by clocks in the hottest loops, weighted by the launches' multiply-adds."""
        loops = {kernel.name: kernel.loop for kernel in self.kernels}
        counted = [(launch.multiply_adds, loops[launch.kernel]) for launch in self.launches]
        work = sum(count for count, loop in counted if loop)
        return sum(count * loop.weighted for count, loop in counted if loop) / work if work else None

    @property
    def of_peak(self) -> float | None:
        """The share of the GPU's peak that the network reaches by this estimate."""
        if self.gpu is None or not self.microseconds:
            return None
        return 2e-3 * sum(launch.multiply_adds for launch in self.launches) / self.microseconds / self.gpu.gflops

    def as_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "microseconds": self.microseconds,
            "weighted": self.weighted,
            "of_peak": self.of_peak,
        }


def read_isa(artefact: Artefact, network: Graph, device: str, folder: Path) -> Isa:
    """Compiles an artefact's kernels for a device, as ocloc calls it, in ``folder``; DeviceError if that fails.

    ``network`` is the graph of launches.
    """
    options = [*artefact.build_options(NATIVE_FLOATS), "-cl-std=CL1.2"]
    offline = compile_offline(artefact.source, device, options, folder)
    used = {launch["kernel"] for launch in artefact.launches}
    kernels = {name: kernel for name, kernel in read_kernels(offline.assembly).items() if name in used}
    threads = {name: thread for name, thread in offline.threads.items() if name in used}
    gpu = GPUS.get(device)
    launches = () if gpu is None else tuple(_launches(artefact, network, gpu, kernels, threads))
    return Isa(artefact.name, device, gpu, tuple(kernels.values()), threads, launches)


def _launches(
    artefact: Artefact,
    network: Graph,
    gpu: Gpu,
    kernels: Mapping[str, KernelIsa],
    threads: Mapping[str, HardwareThread],
) -> Iterator[LaunchEstimate]:
    work = Work(artefact)
    counts = _multiply_adds(artefact, network, work)
    for launch, count in zip(artefact.launches, counts, strict=True):
        kernel, moved = kernels[launch["kernel"]], work.bytes(launch)
        lanes = threads[launch["kernel"]].lanes
        local = math.prod(launch["local"])
        in_group = math.ceil(local / lanes)
        live = local / (in_group * lanes)
        filled = math.prod(launch["global"]) // local * in_group / (gpu.units * gpu.threads)
        weighted = kernel.loop.weighted if kernel.loop else 1.0
        issue = 1e-3 * count / (LANES * gpu.units * gpu.ghz * weighted * live)
        memory = 1e-3 * moved / gpu.gbytes_per_s
        occupancy = min(1.0, filled)
        yield LaunchEstimate(
            node=launch["node"],
            kernel=launch["kernel"],
            multiply_adds=count,
            bytes=moved,
            live_lanes=live,
            occupancy=occupancy,
            microseconds=max(issue, memory) / occupancy,
            bound="arithmetic" if issue > memory else "memory",
        )


def _multiply_adds(artefact: Artefact, network: Graph, work: Work) -> list[int]:
    """The multiply-adds of each launch.

    Of several launches of an operator, the one with the most weights has them all.  Winograd's algorithm with tiles of
    m x m outputs takes ((m + 2) / 3m)^2 of the definition's.
    """
    counts = [0] * len(artefact.launches)
    by_node: dict[str, list[int]] = {}
    for k, launch in enumerate(artefact.launches):
        by_node.setdefault(launch["node"], []).append(k)
    for name, own in by_node.items():
        node = network.by_name[name]
        tile = max(artefact.launches[k].get("winograd", 0) for k in own)
        factor = ((tile + 2) / (3 * tile)) ** 2 if tile else 1.0
        main = max(own, key=lambda k: work.weights(artefact.launches[k]))
        counts[main] = round(multiply_adds(network, node) * factor)
    return counts


# Printing -------------------------------------------------------------------------------------------------------------

KERNEL_HEADINGS = (
    "kernel",
    "SIMD",
    "GRF",
    "spilled",
    "scratch",
    "loop",
    "mad",
    "by clocks",
    "mov",
    "send",
    "mad/send",
    "B/clk",
)
LAUNCH_HEADINGS = ("launch", "kernel", "10^6 mul-adds", "KiB", "live lanes", "occupancy", "us", "bound by")


def format_isa(isa: Isa) -> str:
    """Tables for people: the kernels, and the launches with their estimates."""
    title = f"{isa.device}, {isa.gpu.title}" if isa.gpu else isa.device
    lines = [f"{isa.name} compiled for {title}"]
    lines += _table(KERNEL_HEADINGS, (_kernel_cells(kernel, isa.threads[kernel.name]) for kernel in isa.kernels), 1)
    if isa.gpu is None:
        known = ", ".join(GPUS)
        return "\n".join(
            [*lines, f"no estimate: the clock and memory of {isa.device} are not known here (of {known} they are)"]
        )
    lines += ["", *_table(LAUNCH_HEADINGS, (_launch_cells(launch) for launch in isa.launches), 2)]
    share = "-" if isa.weighted is None else f"{100 * isa.weighted:.1f} %"
    peak = f"{100 * (isa.of_peak or 0):.1f} % of {isa.gpu.gflops:.0f} GF/s"
    lines.append(
        f"{len(isa.launches)} launches, {isa.microseconds:.0f} us by this estimate: {peak}; "
        f"multiply-adds take {share} of the clocks of their loops; "
        f"{sum(kernel.spilled_bytes > 0 for kernel in isa.kernels)} kernels spill"
    )
    return "\n".join(lines)


def _kernel_cells(kernel: KernelIsa, thread: HardwareThread) -> tuple[str, ...]:
    head = (kernel.name, str(thread.lanes), str(kernel.registers), str(kernel.spilled_bytes), str(thread.scratch_bytes))
    loop = kernel.loop
    if loop is None:
        return (*head, *["-"] * 7)
    per_send = f"{loop.multiply_adds / loop.sends:.1f}" if loop.sends else "-"
    shares = (f"{100 * loop.share:.1f} %", f"{100 * loop.weighted:.1f} %")
    return (
        *head,
        str(loop.instructions),
        *shares,
        str(loop.moves),
        str(loop.sends),
        per_send,
        f"{loop.bytes_per_clock:.2f}",
    )


def _launch_cells(launch: LaunchEstimate) -> tuple[str, ...]:
    return (
        launch.node,
        launch.kernel,
        f"{1e-6 * launch.multiply_adds:.3f}",
        f"{launch.bytes / 1024:.0f}",
        f"{100 * launch.live_lanes:.0f} %",
        f"{100 * launch.occupancy:.0f} %",
        f"{launch.microseconds:.1f}",
        launch.bound,
    )


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]], words: int) -> list[str]:
    """Rows as columns, of which the first ``words`` are aligned left."""
    cells = [headings, *rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  "
        + "  ".join(c.ljust(w) if k < words else c.rjust(w) for k, (c, w) in enumerate(zip(row, widths, strict=True)))
        for row in cells
    ]
