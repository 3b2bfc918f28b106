"""The result of planning: everything that the templates print."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from codegen.graph.graph import Graph
from codegen.plan.grid import Grid, Three
from codegen.plan.kernels import Description
from codegen.plan.layout import Layout
from codegen.plan.target import Target

Values = NDArray[Any]
"""Constants as the artefact stores them: elements of the target's type."""


@dataclass(frozen=True, eq=False)
class Preparation:
    """A launch that runs once, at create: it makes ``count`` prepared weights of the draft's weights."""

    what: str
    description: Description
    label: str
    sizes: Mapping[str, int]
    weight: Values
    count: int
    grid: Grid


@dataclass(frozen=True, eq=False)
class Draft:
    """One launch before buffers and kernel names are chosen.

    ``reads`` are tensors in the order of the kernel's parameters; ``parameters`` are the constants by the key that the
    description calls them; ``zeros`` counts the numbers that the kernel
    reads in place of padding.  ``sizes`` are numbers that launches pass to a kernel that they share.  ``scratch`` is a
    tensor that the kernel writes and reads, and nobody else.  A ``prepared`` kernel's weights are what the preparation
    makes.

    Two numbers say how a convolution rounds, for verification: ``winograd`` is the size of Winograd's tiles if the
    launch completes a convolution computed so, else 0; with ``in_blocks`` its sums are made in two levels.
    """

    node: str
    title: str
    description: Description
    label: str
    reads: tuple[str, ...]
    writes: str
    parameters: Mapping[str, Values]
    grid: Grid
    zeros: int = 0
    sizes: Mapping[str, int] = field(default_factory=dict)
    scratch: str | None = None
    prepared: Preparation | None = None
    winograd: int = 0
    in_blocks: bool = False


@dataclass(frozen=True)
class Place:
    """The place of a tensor: ``offset`` counts elements of its layout in ``buffer``.

    The buffer is "arena", "input", "output" or, for a constant, "weights".
    """

    buffer: str
    index: int
    offset: int
    layout: Layout


@dataclass(frozen=True)
class Parameter:
    """One kernel parameter, from which signature, clSetKernelArg calls and documentation are printed."""

    name: str
    role: str  # "read", "write", "weights", "prepared", "prepare" (to be written), "scratch", "zeros", "size", "table"
    type: str = ""  # of the elements of a buffer


@dataclass(frozen=True)
class Argument:
    """The value that a launch passes for a parameter.

    ``kind`` is "arena", "input", "output", "weights", "prepared" or "zeros" for a buffer (``index`` counts inputs and
    outputs), "number" for a number: an offset in elements, or a size.
    """

    kind: str
    index: int = 0
    value: int = 0


@dataclass(frozen=True, eq=False)
class Function:
    """A kernel's text that several kernels call, each with its own tables and sizes.

    ``parameters`` are those of a kernel, then one for each constant.
    """

    name: str
    description: Description
    parameters: tuple[Parameter, ...]
    what: str

    @property
    def constants(self) -> Mapping[str, str]:
        """None to be declared: they are parameters."""
        return {}


@dataclass(frozen=True, eq=False)
class Kernel:
    """A kernel with a name.

    ``constants`` is the C expression for every constant of the description, by key; ``tables`` are the constants to
    print.  ``local`` is the size of its work-groups.  A kernel that ``calls`` a function is no more than the call,
    with these ``sizes``.
    """

    name: str
    description: Description
    parameters: tuple[Parameter, ...]
    constants: Mapping[str, str]
    tables: Mapping[str, Values]
    local: Three
    what: str
    notes: tuple[str, ...]
    calls: Function | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Launch:
    """One kernel on one set of buffers."""

    node: str
    title: str
    kernel: str
    grid: Grid
    arguments: tuple[Argument, ...]
    reads: tuple[str, ...]
    writes: str
    notes: tuple[str, ...]
    winograd: int = 0
    in_blocks: bool = False


@dataclass(frozen=True)
class LayerNote:
    """A layer for comments: its name, and its place in the spec in words, "" if it has none."""

    name: str
    origin: str


@dataclass(frozen=True, eq=False)
class Plan:
    """A network as launches over one arena.

    ``preparations`` run once, and make ``prepared`` numbers of weights.  ``stored`` is how many numbers of constants
    each launch adds to those of the launches before it.  ``weights`` is None where all constants are tables in the
    kernels.  ``layers`` are the layers of the network that each launch computes, by node; comments name them.
    """

    graph: Graph
    target: Target
    places: Mapping[str, Place]
    outputs: tuple[Place, ...]
    kernels: tuple[Kernel, ...]
    preparations: tuple[Launch, ...]
    launches: tuple[Launch, ...]
    prepared: int
    arena_bytes: int
    separate_bytes: int
    weights: Values | None
    zeros: int
    stored: Mapping[str, int]
    layers: Mapping[str, tuple[LayerNote, ...]]

    @property
    def prepared_bytes(self) -> int:
        """Size of the prepared weights."""
        return self.target.dtype.bytes * self.prepared

    @property
    def zeros_bytes(self) -> int:
        """Size of the zeros that kernels read in place of padding."""
        return self.target.dtype.bytes * self.zeros

    @property
    def persistent(self) -> bool:
        """True if one persistent kernel can make all launches: its workers are work-items on their own."""
        return all(launch.grid.single for launch in self.launches)
