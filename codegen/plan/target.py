"""Facts about classes of devices, and the measured costs of what kernels do there.

The planner compares schedules and tiles by their cost in cycles of a core, and makes work-items of what is worth their
cost.  Every number of these decisions is in this module, with how it was found: facts about processors in
:class:`Vectors` and :class:`Target`, all others in :class:`Costs`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from codegen.plan.dtype import FLOAT32, DType


@dataclass(frozen=True)
class Vectors:
    """Registers of a width: ``registers`` of ``floats`` floats each.

    ``load`` is the cycles of a load, or of reading a number for all elements of a vector: more than half a cycle where
    that is an instruction beside the multiply-add.  Processors with ``broadcast_operand`` multiply by a number in
    memory without a register for it.

    Compilers keep at most ``accumulators`` sums in registers, beside addresses and weights.  ``window_row`` is the most
    pixels of a tile of depthwise convolution or pooling: the unrolled code of longer ones costs more than it saves.
    """

    floats: int
    registers: int
    accumulators: int
    window_row: int
    load: float
    broadcast_operand: bool = False

    def most_pixels(self, vectors: int) -> int:
        """The most pixels of a tile of so many vectors of output channels."""
        room = self.registers - vectors - (not self.broadcast_operand)
        return min(self.accumulators, room) // vectors

    def most_vectors(self, pixels: int) -> int:
        """The most vectors of output channels of a tile of so many pixels, with a vector of weights for each."""
        return (self.registers - 1) // (pixels + 1)


@dataclass(frozen=True)
class Costs:
    """Cycles of a core, unless a field says otherwise.

    The costs of tiles are fitted to the times of layers of the twelve networks of ``benchmarks``, measured in turn on
    AMD Zen 4 and Intel Emerald Rapids with AVX-512 and AVX2 code of Intel's runtime.  Those of whole schedules, from
    ``direct`` on, are fitted to the 82 layers of these networks that have several: they prefer the schedules that were
    found by measuring whole networks on these processors, and agree with the measurements in docs/performance.md
    (gathering for 64 output channels takes a third longer than direct convolution).  Those of work-items, from ``item``
    on, give the grids with which the times of whole networks were shortest there; none was measured by itself.
    """

    multiply_add: float = 0.5
    """A vector multiply-add: both processors do two in a cycle."""

    tile_latency: float = 4.5
    """The least for an input channel of a tile: a sum waits at least four cycles for its last multiply-add."""

    loop: float = 0.5
    """The loop over input channels."""

    weight_vector: float = 0.35
    """A vector of weights from the second-level cache, beyond its load."""

    far_vector: float = 12.0
    """A vector of weights from memory, which a work-item's first tile waits for."""

    small_tile: float = 0.05
    """A work-item reads its input once more for one block of channels than for very many: a share of all cycles."""

    direct: float = 1.5
    """The cycles of a direct convolution by those of its tiles: edges, addresses, and sums that wait in memory."""

    gather: float = 25.0
    """Gathering a block of channels of one pixel for one tap, the index arithmetic included."""

    transform: float = 5.5
    """Winograd: a block of channels of one number of a transformed tile, on its way in or out."""

    weight_byte: float = 0.06
    """Winograd: a byte of transformed weights, each time that a work-item or a launch reads it."""

    memory_byte: float = 0.5
    """Winograd: a byte that one launch writes and the next one reads, if it does not stay in the caches."""

    kept_bytes: int = 2 * 1024 * 1024
    """The most bytes between two launches that stay in the caches."""

    launch: float = 16000.0
    """A launch in a queue: 4 to 6 microseconds on Intel's runtime and on PoCL."""

    cores: int = 8
    """Cores that a launch should keep busy: groups of tiles are computed in rounds of so many."""

    item: float = 2048.0
    """The work that is worth a work-item of its own."""

    product_item: float = 8192.0
    """The same for products of matrices, whose work-items each begin by waiting for weights from memory."""

    pick: float = 1.0
    """Picking one channel of one pixel, which other kernels read in blocks."""

    filter_tap: float = 1.0
    """Depthwise convolution: a block of channels of one pixel for one tap, its load included."""

    pool_tap: float = 2.0
    """Pooling: the same, with the instructions that keep NaN."""

    short_tile: float = 2.0
    """Depthwise convolution and pooling: what begins and ends a tile of a row, in its pixels."""

    staged_bytes: int = 160 * 1024
    """The most bytes of input that a work-item puts side by side in private memory."""

    waiting_bytes: int = 14 * 1024
    """Direct convolution: the most bytes of sums of a work-item that wait in private memory for the next inputs."""

    blocks: int = 8
    """The most channel blocks of a work-item: their weights for a 3x3 window of one input block take weights_share."""

    weights_share: float = 5 / 8
    """Direct convolution: the share of the first-level cache that weights take, beside sums and pixels."""

    slot_share: float = 3 / 4
    """Winograd: the share of the second-level cache that a group of transformed tiles takes, beside weights."""

    most_group: int = 56
    """Winograd: the most tiles of a group.  More of them would share a vector of weights that is read often enough."""

    image_groups: int = 14
    """Winograd: groups of an image, if these fill register tiles.  With fewer some cores would wait for others."""

    slots: int = 16
    """Winograd: the most slots for transformed tiles, each in use by one core."""

    samples: int = 2
    """Dense layers: samples of a tile, which share the weights that it reads from memory."""


@dataclass(frozen=True)
class Target:
    """A class of devices.

    ``lanes`` is c of the NCHWc layout: channels that lie, and are computed, together.  ``vectors`` are the registers
    that kernels are written for, the widest first: layout, weights and grid are the same for all.  ``winograd`` are the
    sizes of tiles that 3x3 convolutions may be cut into.

    ``caches`` are a core's first and second data cache in bytes, where private memory is cached, so that copying input
    into it pays (CPUs); else None.  ``work_items`` of a launch keep all cores busy; None: every tile has a work-item of
    its own.  ``work_group`` is the most work-items of a work-group that all devices of the class take.

    ``dtype`` is the type of weights, and of tensors other than inputs and outputs.
    """

    name: str
    title: str
    device_type: str
    lanes: int
    vectors: tuple[Vectors, ...]
    winograd: tuple[int, ...]
    caches: tuple[int, int] | None
    work_items: int | None
    work_group: int
    costs: Costs = Costs()
    dtype: DType = FLOAT32

    @property
    def cached_private(self) -> bool:
        """True if private memory is cached."""
        return self.caches is not None

    @property
    def wide(self) -> Vectors | None:
        """The registers of the option -DWIDE, if there are any."""
        return self.vectors[0] if len(self.vectors) > 1 else None

    @property
    def narrow(self) -> Vectors:
        """The registers that all devices of the class have."""
        return self.vectors[-1]


TARGETS: Mapping[str, Target] = {
    t.name: t
    for t in (
        Target(
            "cpu",
            "CPUs, with vectors of 256 or 512 bits",
            "CPU",
            lanes=8,
            vectors=(
                # AVX-512.
                Vectors(floats=16, registers=32, accumulators=28, window_row=14, load=0.5, broadcast_operand=True),
                # AVX2.
                Vectors(floats=8, registers=16, accumulators=12, window_row=8, load=0.6),
            ),
            winograd=(2, 4),
            # Of the smallest of the processors that matter here: Zen 4's.
            caches=(32 * 1024, 1024 * 1024),
            work_items=32,
            work_group=4096,
        ),
        Target(
            "gpu",
            "GPUs, by the same schedules",
            "GPU",
            lanes=8,
            # Intel's compiler fits 24 sums of a work-item, and what surrounds them, into registers of Gen9 and Xe.
            vectors=(Vectors(floats=8, registers=16, accumulators=3, window_row=4, load=0.5),),
            winograd=(),
            caches=None,
            work_items=None,
            work_group=256,
        ),
    )
}

DEFAULT_TARGET = "cpu"

# OpenCL guarantees 64 KiB of __constant memory; up to this much of weights are readable tables in the kernels' source.
TABLE_BYTES = 48 * 1024

# Tensors and weights start at multiples of this: a cache line, and the widest vector of OpenCL C.
ALIGNMENT_BYTES = 128

# A cache line of all CPUs that matter here.
LINE_BYTES = 64

# Options for the OpenCL compiler, each for devices whose native vectors have at least so many floats.
DEVICE_OPTIONS: tuple[Mapping[str, str | int], ...] = ({"native_floats_from": 16, "options": "-DWIDE"},)
