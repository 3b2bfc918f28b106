"""What the planner knows about hardware: every tile size and limit, in one table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """A class of devices.

    ``lanes`` is c of the NCHWc layout: channels that lie, and are computed, together.  ``registers`` are the vector
    registers of that width.  ``row_tiles`` and ``block_tiles`` are the pixels of a row and the channel blocks that one
    work-item may compute.
    """

    name: str
    title: str
    device_type: str
    lanes: int
    registers: int
    row_tiles: tuple[int, ...]
    block_tiles: tuple[int, ...]


TARGETS: Mapping[str, Target] = {
    t.name: t
    for t in (
        Target("cpu", "CPUs with 256-bit vectors (AVX2)", "CPU", 8, 16, (1, 2, 3, 4, 5, 6), (1, 2, 3)),
        Target("cpu-avx512", "CPUs with 512-bit vectors", "CPU", 16, 32, tuple(range(1, 15)), (1, 2, 3, 4)),
        Target("gpu", "GPUs, by the same schedules", "GPU", 8, 32, (1, 2, 4, 6, 8), (1, 2)),
    )
}

DEFAULT_TARGET = "cpu"

# OpenCL guarantees 64 KiB of __constant memory; up to this much of weights are readable tables in the kernels' source.
TABLE_BYTES = 48 * 1024

# Tensors and weights start at multiples of this: a cache line, and the widest vector of OpenCL C.
ALIGNMENT_BYTES = 128

# PyPI's PoCL compiles vector fma() to a library call for each lane; a product and a sum are ten times as fast there.
QUIRKS: tuple[Mapping[str, str], ...] = ({"platform_version_contains": "PoCL 3.0 ", "options": "-DNO_FMA"},)
