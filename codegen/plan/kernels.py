"""Kernel descriptions: the values that each kernel template prints, decided by the plan.

A description is frozen, and checked when it is made.  Its template reads its fields and properties, and besides, the
name, parameters and constants of the kernel (:class:`codegen.plan.plan.Kernel`).  Fields that name a constant hold its
key among the kernel's constants.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from codegen.plan.layout import Layout, Named
from codegen.plan.window import Pair, Stencil

Size = int | str
"""A number that the kernel's text holds, or the name of the kernel parameter that holds it."""


# What is done to each element before or after the core ---------------------------------------------------------------


@dataclass(frozen=True)
class ScaleShift:
    """v * scale + shift by channel; each the key of a constant, or None."""

    kind: ClassVar[str] = "affine"
    scale: str | None
    shift: str | None


@dataclass(frozen=True)
class DivideBy:
    """v / divisor by channel, rounded as a division of two floats is."""

    kind: ClassVar[str] = "divide"
    divisor: str


@dataclass(frozen=True)
class Slope:
    """PReLU with a slope for each channel."""

    kind: ClassVar[str] = "prelu"
    slope: str


@dataclass(frozen=True)
class Function:
    """An activation, with its parameters as float32."""

    kind: str
    parameters: Mapping[str, float]


@dataclass(frozen=True)
class ZeroLanes:
    """Sets the padding lanes after the last of ``channels`` channels to zero."""

    kind: ClassVar[str] = "zero_lanes"
    channels: Size


@dataclass(frozen=True)
class Combine:
    """Combines v with the element of another tensor at the same place, after that went through steps of its own.

    ``pointer`` is the kernel parameter of the other tensor, whose element is the first operand if ``swapped``.
    """

    kind: str
    pointer: str
    layout: Layout | Named
    swapped: bool
    through: tuple[Step, ...]


Step = ScaleShift | DivideBy | Slope | Function | ZeroLanes | Combine
Steps = tuple[Step, ...]


# Descriptions --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Description:
    """A kernel's text but for its name.  ``lanes`` is c of the NCHWc layout; the template is found by the class."""

    template: ClassVar[str]
    lanes: int

    def __post_init__(self) -> None:
        assert self.lanes > 0
        self.check()

    def check(self) -> None:
        """Asserts what the template relies on."""


@dataclass(frozen=True)
class Tile:
    """``row`` pixels times ``vectors`` vectors of output channels in registers.

    A work-item's channels take ``passes`` tiles, one after the other.
    """

    row: int
    vectors: int
    passes: int

    def __post_init__(self) -> None:
        assert min(self.row, self.vectors, self.passes) > 0


@dataclass(frozen=True)
class Tiling:
    """The channel blocks of a work-item's tiles, and the tile for each width of vector."""

    block_tile: int
    wide: Tile
    narrow: Tile

    @property
    def passes(self) -> bool:
        """True if a tile of channels takes several passes at one of the widths."""
        return max(self.wide.passes, self.narrow.passes) > 1


@dataclass(frozen=True)
class Sink:
    """The way of a tile's sums into ``y``.

    Functions that need neither channel nor pixel come first, on vectors of any width: the ``quick`` ones in registers,
    then the ``slow`` ones, in a loop.  The remaining ``steps`` follow, block by block.  A ``straight`` sink works in
    registers all the way, which takes unrolled loops; another one works on a copy in private memory.
    """

    y: Layout | Named
    quick: tuple[Function, ...]
    slow: tuple[Function, ...]
    steps: Steps
    straight: bool

    def __post_init__(self) -> None:
        assert not (self.straight and self.slow), "slow functions work on a copy in memory"


@dataclass(frozen=True, kw_only=True)
class Contraction(Description):
    """Common to kernels around the micro-kernel: acc[pixel][vector] += x[pixel][input] * weight[input][vector]."""

    tiling: Tiling

    @property
    def packed(self) -> int:
        """Output channels of a tile, which lie together in the weights."""
        return self.tiling.block_tile * self.lanes

    @property
    def block_weights(self) -> int:
        """Weights of a tile for one block of inputs."""
        return self.lanes * self.packed


@dataclass(frozen=True, kw_only=True)
class Pointwise(Contraction):
    """1x1 convolution, gathered windows, or products of matrices (``products``).

    ``x_step`` floats are between pixels.  ``staged_floats`` of private memory take what a tile reads; 0 for none.
    """

    template = "pointwise.cl.jinja"
    sink: Sink
    x_step: int
    samples: bool
    products: bool
    prologue: Steps
    gathered: bool
    staged_floats: int

    def check(self) -> None:
        assert self.staged_floats or not (self.gathered or self.prologue), "a prologue works on staged input"


@dataclass(frozen=True, kw_only=True)
class Stem(Contraction):
    """Convolution of few channels in plain order; columns from ``begin`` to ``end`` of a staged row are input."""

    template = "stem.cl.jinja"
    sink: Sink
    x: Layout
    stencil: Stencil
    begin: int
    end: int
    staged_columns: int
    inputs: int
    blocks: int
    y_tiles: int
    samples: bool
    prologue: Steps

    def check(self) -> None:
        assert 0 <= self.begin <= self.end <= self.staged_columns

    @property
    def rows(self) -> int:
        """Staged rows, of all input channels."""
        return self.inputs * self.stencil.kernel[0]

    @property
    def tile_weights(self) -> int:
        """Weights of a tile, for the taps of all input channels."""
        return self.inputs * self.stencil.taps * self.packed

    @property
    def inside(self) -> int:
        """Columns of a staged row that are input."""
        return self.end - self.begin

    @property
    def whole_vectors(self) -> bool:
        """True if rows are staged as they are, by vectors."""
        return self.x.strides[3] == 1 and not self.prologue


@dataclass(frozen=True)
class Cover:
    """Tiles over an image at one width of vector.

    ``across`` tiles cover a row, the last one perhaps shifted back; a work-item has ``tiles`` tiles.  Taps of a tile's
    first ``left`` pixels, and of its pixels from ``right`` on, can fall outside the input.
    """

    across: int
    tiles: int
    left: int
    right: int


@dataclass(frozen=True, kw_only=True)
class Direct(Contraction):
    """Convolution at full size: inputs in blocks of ``in_lanes`` channels, by chunks of ``chunk`` blocks.

    ``staged``: the pixels of channels that lie far apart are put side by side in private memory.  ``vector_input``: the
    prologue works on whole blocks.  ``zeros``: taps outside read a block of zeros.
    """

    template = "direct.cl.jinja"
    items: int
    chunk: int
    wide: Cover
    narrow: Cover
    bounded_columns: bool
    bounded_rows: bool
    x: Layout
    groups: int
    blocks: int
    input_blocks: int
    in_lanes: int
    lane_stride: int
    input_block_stride: int
    stencil: Stencil
    batch: int
    prologue: Steps
    sink: Sink
    vector_input: bool
    zeros: bool
    staged: bool

    def check(self) -> None:
        assert isinstance(self.sink.y, Layout)
        assert self.blocks % self.groups == 0
        assert self.groups == 1 or self.blocks // self.groups % self.tiling.block_tile == 0, "no tile spans two groups"

    @property
    def chunked(self) -> bool:
        """True if inputs go by chunks, between which sums wait in private memory."""
        return self.chunk < self.input_blocks

    @property
    def group_tiles(self) -> int:
        """Tiles of channels of a group."""
        return self.blocks // self.groups // self.tiling.block_tile

    @property
    def tile_groups(self) -> int:
        """Tiles of channels."""
        return -(-self.blocks // self.tiling.block_tile)

    @property
    def uneven(self) -> bool:
        """True if the last work-item has fewer tiles than the others, at one of the widths."""
        rows = self.sink.y.shape[2]
        return any(cover.tiles * self.items != rows * cover.across for cover in (self.wide, self.narrow))

    @property
    def runs(self) -> bool:
        """True if a work-item can have several tiles of pixels."""
        return self.uneven or max(self.wide.tiles, self.narrow.tiles) > 1

    @property
    def shifted(self) -> bool:
        """True if a row's last tile is shifted back over the tile before it."""
        columns = self.sink.y.shape[3]
        return columns % self.tiling.wide.row != 0 or columns % self.tiling.narrow.row != 0

    @property
    def single(self) -> bool:
        """True if there is one block of inputs."""
        return self.input_blocks == 1

    @property
    def one_row(self) -> bool:
        """True if the output is one row."""
        return self.sink.y.shape[2] == 1

    @property
    def even(self) -> bool:
        """True if all chunks have equally many blocks."""
        return self.input_blocks % self.chunk == 0

    @property
    def tap_weights(self) -> int:
        """Weights of a tile for one tap of a block of inputs."""
        return self.in_lanes * self.packed

    @property
    def row_weights(self) -> int:
        """Weights of a tile for a row of taps of a block of inputs."""
        return self.stencil.kernel[1] * self.tap_weights

    @property
    def checked(self) -> bool:
        """True if inputs are zeros where their pixel is outside, instead of read from a block of zeros."""
        return self.bounded_columns and not self.zeros

    @property
    def prepared_input(self) -> bool:
        """True if inputs are checked, or go through the prologue, before they are multiplied."""
        return self.checked or (bool(self.prologue) and not self.staged)


@dataclass(frozen=True, kw_only=True)
class Dense(Contraction):
    """y = W x + b for samples ``x_stride`` floats apart; sums are of blocks of ``sum_block`` inputs.

    Inputs from ``whole`` on lie ``gap_lanes`` to a block, before its padding lanes, unless ``gap_lanes`` is 0.
    """

    template = "dense.cl.jinja"
    x_stride: int
    inputs: int
    whole: int
    gap_lanes: int
    sum_block: int
    blocks: int
    y_tiles: int
    batch: int
    prologue: Steps
    sink: Sink

    @property
    def tile_weights(self) -> int:
        """Weights of a tile."""
        return self.inputs * self.packed


# Winograd ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class WinogradStep(Description):
    """A step of F(m x m, 3 x 3) with ``tile`` = m; ``numbers`` are the constants of its transforms, by name."""

    tile: int
    numbers: Mapping[str, float]

    @property
    def points(self) -> int:
        """Numbers of a transformed tile along one axis."""
        return self.tile + 2

    @property
    def all_points(self) -> int:
        """Numbers of a transformed tile."""
        return self.points**2


@dataclass(frozen=True, kw_only=True)
class WinogradInput(WinogradStep):
    """B^T d B of all tiles; ``first`` is the input of output 0."""

    template = "winograd_input.cl.jinja"
    first: Pair
    x: Layout | Named
    samples: bool
    prologue: Steps


@dataclass(frozen=True, kw_only=True)
class WinogradOutput(WinogradStep):
    """A^T p A + bias of all tiles."""

    template = "winograd_output.cl.jinja"
    y: Layout | Named
    samples: bool
    epilogue: Steps


@dataclass(frozen=True, kw_only=True)
class WinogradWeights(WinogradStep):
    """G g G^T, once at create."""

    template = "winograd_weights.cl.jinja"
    packed: int

    @property
    def kernel_weights(self) -> int:
        """Weights of all taps for one input channel."""
        return 9 * self.packed


@dataclass(frozen=True, kw_only=True)
class WinogradGroups(WinogradStep, Contraction):
    """All three steps for one group of tiles after the other; ``m_packed`` products of a tile lie together.

    ``first`` is the input of output 0.
    """

    template = "winograd.cl.jinja"
    m_packed: int
    first: Pair
    x: Layout | Named
    y: Layout | Named
    samples: bool
    prologue: Steps
    epilogue: Steps


# Windows -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class WindowReduce(Description):
    """Depthwise convolution, or the maximum or average of windows (``kind``), in tiles of ``wide`` or
    ``narrow`` pixels.

    ``bounded_rows``: rows of taps can fall outside; in a row, the last pixel's taps reach ``overhang`` pixels beyond
    the input.  ``varies``: an average's number of pixels depends on the place.  ``functions`` come before the epilogue,
    on whole vectors.
    """

    template = "window.cl.jinja"
    kind: str
    wide: int
    narrow: int
    shifted: bool
    bounded_rows: bool
    overhang: int
    varies: bool
    count_include_pad: bool
    pad_after: Pair
    x: Layout | Named
    y: Layout | Named
    stencil: Stencil
    samples: bool
    prologue: Steps
    functions: tuple[Function, ...]
    epilogue: Steps

    def check(self) -> None:
        assert self.kind in ("depthwise", "max", "average") and min(self.wide, self.narrow) > 0


@dataclass(frozen=True)
class WindowAxis:
    """A spatial axis named by ``letter`` that a window slides over; ``size`` is the input's."""

    letter: str
    size: int
    kernel: int
    stride: int
    dilation: int
    pad: int
    pad_after: int

    @property
    def first(self) -> int:
        """The input of tap 0 of output 0."""
        return -self.pad

    @property
    def counted(self) -> int:
        """The end of input and padding: taps before it count in an average, those behind it do not."""
        return self.size + self.pad + self.pad_after + self.dilation - 1


@dataclass(frozen=True, kw_only=True)
class Volume(Description):
    """Common to kernels whose work-item makes a row of one channel block, in two or three spatial axes.

    ``depth_rows``: rows of a plane of the output, and of the input, if there is depth; else None.
    """

    x: Layout
    y: Layout
    x_shape: tuple[int, ...]
    y_shape: tuple[int, ...]
    depth_rows: tuple[int, int] | None
    batch: int
    blocks: int
    epilogue: Steps


@dataclass(frozen=True, kw_only=True)
class GeneralConv(Volume):
    """Convolutions without a faster schedule.

    ``shared_input``: the channels of a block read the same inputs.  Sums are of blocks of ``sum_block`` terms, unless
    that is 0.
    """

    template = "conv_general.cl.jinja"
    kind: str
    axes: tuple[WindowAxis, ...]
    group_inputs: int
    group_outputs: int
    shared_input: bool
    channels: int
    sum_block: int
    prologue: Steps

    @property
    def dilated(self) -> bool:
        return any(axis.dilation > 1 for axis in self.axes)

    @property
    def last_channel(self) -> int:
        return self.channels - 1


@dataclass(frozen=True, kw_only=True)
class GeneralPool(Volume):
    """Pools without a faster schedule; ``p`` is the norm of kind "lp"."""

    template = "pool_general.cl.jinja"
    kind: str
    p: float
    axes: tuple[WindowAxis, ...]
    count_include_pad: bool
    sum_block: int
    prologue: Steps

    @property
    def counts(self) -> bool:
        """True if the kernel counts the pixels that an average is of."""
        return self.kind == "average" and not self.count_include_pad

    @property
    def exponent(self) -> float:
        """The power that a norm raises its sum to."""
        return 1 / self.p


# Rows of a channel block ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Map(Volume):
    """Element by element."""

    template = "map.cl.jinja"
    prologue: Steps


@dataclass(frozen=True, kw_only=True)
class GlobalPool(Volume):
    """Maximum or average over all of space."""

    template = "global_pool.cl.jinja"
    parts: ClassVar[int] = 4
    kind: str
    sum_block: int
    prologue: Steps

    @property
    def uneven(self) -> bool:
        """True if the last turn of a row has fewer pixels than there are partial results."""
        return self.x.shape[3] % self.parts != 0

    @property
    def turns(self) -> int:
        """Turns until the partial results are a block of the sum."""
        return self.sum_block // self.parts

    @property
    def pixels(self) -> int:
        return self.x.shape[2] * self.x.shape[3]


@dataclass(frozen=True)
class ResizeAxis:
    """A spatial axis: where in the constants its taps begin, and its flags of outputs inside the input."""

    letter: str
    taps: int
    at: int
    inside_at: int


@dataclass(frozen=True, kw_only=True)
class Resize(Volume):
    """Resampling; constants are tables of the input elements that each output element is made of (its taps).

    ``weighted``: there are several, each with a weight.  Outputs that lie outside the input are ``outside``, if that is
    not None.
    """

    template = "resize.cl.jinja"
    mode: str
    axes: tuple[ResizeAxis, ...]
    weighted: bool
    sum_block: int
    outside: float | None

    def check(self) -> None:
        assert all((axis.taps > 1) == self.weighted for axis in self.axes)


@dataclass(frozen=True)
class SampleAxis:
    """A spatial axis of ``size``; positions are mirrored between ``low`` and ``high``, ``span`` apart."""

    letter: str
    component: int
    size: int
    low: float
    high: float
    span: float

    @property
    def last(self) -> int:
        return self.size - 1

    @property
    def half(self) -> float:
        """Half of the distance from the first element to the last."""
        return self.last / 2

    @property
    def beyond(self) -> int:
        """A position so far behind the last element that none of its taps is inside."""
        return self.size + 2


@dataclass(frozen=True, kw_only=True)
class Sample(Volume):
    """Sampling at the places of a grid, which is a ``constant`` or the launch's second input."""

    template = "sample.cl.jinja"
    grid: Layout
    constant: bool
    axes: tuple[SampleAxis, ...]
    mode: str
    taps: int
    border: str
    align_corners: bool

    @property
    def reaches_out(self) -> bool:
        """True if taps outside the input are told from the taps inside, or brought inside one by one."""
        return self.border == "zeros" or (self.border == "border" and self.mode == "bicubic")


@dataclass(frozen=True)
class ChannelSource:
    """An input of :class:`TakeChannels`: its parameter, and how far apart its blocks, samples and pixels are."""

    pointer: str
    block: str
    sample: str
    step: int


@dataclass(frozen=True, kw_only=True)
class TakeChannels(Description):
    """Channels of several tensors, by a table."""

    template = "take_channels.cl.jinja"
    sources: tuple[ChannelSource, ...]
    y: Layout | Named
    samples: bool
    partial: bool
    epilogue: Steps


# Elements ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SameIndex:
    """The input's index along an axis is the output's along axis ``axis``."""

    axis: int


@dataclass(frozen=True)
class SelectedIndex:
    """start + step * i for i < count, counted around the end of an axis of ``size``."""

    axis: int
    start: int
    step: int
    count: int
    size: int


@dataclass(frozen=True)
class PaddedIndex:
    """i - before along an axis of ``size``, brought inside by ``mode`` (constant: not at all)."""

    axis: int
    mode: str
    before: int
    behind: int
    size: int


@dataclass(frozen=True)
class TableIndex:
    """The number that constant ``table`` holds for i."""

    axis: int
    table: str


Index = SameIndex | SelectedIndex | PaddedIndex | TableIndex


@dataclass(frozen=True, kw_only=True)
class Elements(Description):
    """Common to kernels that walk the last of the axes ``dims``; ``filled``: padding lanes are to be written."""

    x: Layout
    y: Layout
    dims: tuple[int, ...]
    epilogue: Steps

    @property
    def outer(self) -> tuple[int, ...]:
        """All axes but the last."""
        return tuple(range(len(self.dims) - 1))


@dataclass(frozen=True, kw_only=True)
class AlongAxis(Elements):
    """Common to kernels whose work-item goes along ``axis``, one for all combinations of the ``others``."""

    axis: int

    @property
    def others(self) -> tuple[int, ...]:
        """The other axes."""
        return tuple(axis for axis in range(len(self.dims)) if axis != self.axis)


@dataclass(frozen=True, kw_only=True)
class Reorder(Elements):
    """Each output element is one input element, or ``value``; ``indices`` says which, None if counted in order.

    Elements are converted where the types of ``x`` and ``y`` are not the one that kernels compute in.
    """

    template = "reorder.cl.jinja"
    kind: str
    value: float
    indices: tuple[Index, ...] | None
    filled: bool
    prologue: Steps


@dataclass(frozen=True)
class Part:
    """An input of :class:`Concat` that ends before index ``stop``; ``shift`` is its index for index 0."""

    pointer: str
    layout: Layout
    shift: int
    stop: int


@dataclass(frozen=True, kw_only=True)
class Concat(Description):
    """Tensors joined along ``axis``; channels from ``channels`` on are padding lanes, if that is not None."""

    template = "concat.cl.jinja"
    y: Layout
    dims: tuple[int, ...]
    axis: int
    parts: tuple[Part, ...]
    channels: int | None

    @property
    def outer(self) -> tuple[int, ...]:
        """All axes but the last."""
        return tuple(range(len(self.dims) - 1))


@dataclass(frozen=True, kw_only=True)
class Reduce(Elements):
    """A reduction over ``axes`` of ``terms`` elements."""

    template = "reduce.cl.jinja"
    kind: str
    axes: tuple[int, ...]
    terms: int
    sum_block: int
    prologue: Steps

    @property
    def kept(self) -> tuple[int, ...]:
        """Axes that are left."""
        return tuple(axis for axis in range(len(self.x.shape)) if axis not in self.axes)


@dataclass(frozen=True, kw_only=True)
class Softmax(AlongAxis):
    """exp(x - max) / sum(exp(x - max)) along ``axis`` of ``count`` elements."""

    template = "softmax.cl.jinja"
    count: int
    sum_block: int


@dataclass(frozen=True, kw_only=True)
class RunningSum(AlongAxis):
    """Running sums along ``axis``."""

    template = "running_sum.cl.jinja"
    count: int
    exclusive: bool
    reverse: bool
    sum_block: int

    @property
    def last(self) -> int:
        return self.count - 1


@dataclass(frozen=True, kw_only=True)
class Top(AlongAxis):
    """The ``count`` largest or smallest of ``size`` elements along ``axis``, or where they are (``part``)."""

    template = "top.cl.jinja"
    size: int
    count: int
    largest: bool
    last: bool
    part: str
    nan_last: bool


@dataclass(frozen=True, kw_only=True)
class MatMul(Elements, Contraction):
    """Product of the matrices in the last two axes, ``terms`` long, by the micro-kernel: rows are its pixels.

    ``staged``: a work-item copies its columns of ``b`` to private memory.  Sums are of blocks of ``sum_block`` terms,
    unless that is 0.
    """

    template = "matmul.cl.jinja"
    b: Layout
    terms: int
    sum_block: int
    staged: bool

    @property
    def rows(self) -> int:
        return self.dims[-2]

    @property
    def columns(self) -> int:
        return self.dims[-1]

    @property
    def contiguous(self) -> bool:
        """True if neighbouring columns of ``b`` are neighbours in memory."""
        return self.b.block == 1 and self.b.strides[-1] == 1
