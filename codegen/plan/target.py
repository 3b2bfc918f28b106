"""What the planner knows about hardware: every tile size and limit, in one table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """A class of devices.

    ``lanes`` is c of the NCHWc layout: channels that lie, and are computed, together.  ``tiles`` are the (pixels of a
    row, channel blocks) that one work-item may compute; compilers hold each of them in registers without spilling.
    """

    name: str
    title: str
    device_type: str
    lanes: int
    tiles: tuple[tuple[int, int], ...]


_ROWS = tuple((row, 1) for row in range(1, 8))

TARGETS: Mapping[str, Target] = {
    t.name: t
    for t in (
        # 16 registers: accumulators, one vector of weights per block and one broadcast input.
        Target(
            "cpu",
            "CPUs with 256-bit vectors (AVX2)",
            "CPU",
            8,
            (*_ROWS, *((row, 2) for row in range(1, 7)), *((row, 3) for row in range(1, 5))),
        ),
        # 32 registers, and compilers keep all inputs of a row in some of them.
        Target(
            "cpu-avx512",
            "CPUs with 512-bit vectors",
            "CPU",
            16,
            (
                *_ROWS,
                *((row, 2) for row in range(1, 9)),
                *((row, 3) for row in range(1, 8)),
                *((row, 4) for row in range(1, 6)),
            ),
        ),
        # Intel's compiler fits 32 accumulators of a work-item into registers on Gen9 and on Xe, and spills 40.
        Target("gpu", "GPUs, by the same schedules", "GPU", 8, (*_ROWS[:4], (2, 2))),
    )
}

DEFAULT_TARGET = "cpu"

# OpenCL guarantees 64 KiB of __constant memory; up to this much of weights are readable tables in the kernels' source.
TABLE_BYTES = 48 * 1024

# Tensors and weights start at multiples of this: a cache line, and the widest vector of OpenCL C.
ALIGNMENT_BYTES = 128

# PyPI's PoCL compiles vector fma() to a library call for each lane; a product and a sum are ten times as fast there.
QUIRKS: tuple[Mapping[str, str], ...] = ({"platform_version_contains": "PoCL 3.0 ", "options": "-DNO_FMA"},)
