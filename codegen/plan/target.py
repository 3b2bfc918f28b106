"""What the planner knows about hardware: every tile size and limit, in one table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """A class of devices.

    ``lanes`` is c of the NCHWc layout: channels that lie, and are computed, together.  ``narrow`` are tiles for vectors
    of that many floats: by the number of vectors of channels, the most pixels of a row that compilers still hold in
    registers with them.  ``wide`` are those for twice as wide vectors, for devices that have them.

    ``winograd`` are the sizes of tiles that 3x3 convolutions may be cut into.

    ``panel_bytes`` of weights stay in the first-level cache while a work-item uses them again and again (0: there is
    nothing to gain), with the sums of ``item_pixels``.  A launch has ``items`` work-items if they can be had with
    ``least_pixels`` each.  ``depthwise_wide`` and ``depthwise_narrow`` are the most pixels of a depthwise
    convolution's tile, with 32 and with 16 registers.
    """

    name: str
    title: str
    device_type: str
    lanes: int
    narrow: Mapping[int, int]
    wide: Mapping[int, int]
    winograd: tuple[int, ...]
    panel_bytes: int
    item_pixels: int
    least_pixels: int
    items: int
    depthwise_wide: int
    depthwise_narrow: int

    @property
    def stages(self) -> bool:
        """Whether private memory is cached, so that copying input into it pays (CPUs)."""
        return self.panel_bytes > 0


TARGETS: Mapping[str, Target] = {
    t.name: t
    for t in (
        # 16 registers of 8 floats (AVX2) or 32 of 16 (AVX-512): accumulators, weights and a broadcast input.
        Target(
            "cpu",
            "CPUs, with vectors of 256 or 512 bits",
            "CPU",
            lanes=8,
            narrow={1: 8, 2: 6, 3: 4},
            wide={1: 28, 2: 14, 3: 8, 4: 7},
            winograd=(2, 4),
            panel_bytes=20 * 1024,
            item_pixels=56,
            least_pixels=14,
            items=32,
            depthwise_wide=14,
            depthwise_narrow=8,
        ),
        # Intel's compiler fits 24 accumulators of a work-item, and what surrounds them, into registers of Gen9 and Xe.
        Target(
            "gpu",
            "GPUs, by the same schedules",
            "GPU",
            lanes=8,
            narrow={1: 3},
            wide={},
            winograd=(),
            panel_bytes=0,
            item_pixels=1,
            least_pixels=1,
            items=1,
            depthwise_wide=4,
            depthwise_narrow=4,
        ),
    )
}

DEFAULT_TARGET = "cpu"

# OpenCL guarantees 64 KiB of __constant memory; up to this much of weights are readable tables in the kernels' source.
TABLE_BYTES = 48 * 1024

# Tensors and weights start at multiples of this: a cache line, and the widest vector of OpenCL C.
ALIGNMENT_BYTES = 128

# A cache line of all CPUs that matter here.
LINE_FLOATS = 16

# Options for the OpenCL compiler, each for devices whose native vectors have at least so many floats.
DEVICE_OPTIONS: tuple[Mapping[str, str | int], ...] = ({"native_floats_from": 16, "options": "-DWIDE"},)
