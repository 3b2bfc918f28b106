"""The launch being planned, as all schedules build it, and its steps as a template reads them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from codegen.graph.graph import Node
from codegen.graph.ops import Activation, Affine, Binary, Conv, ConvTranspose, Divide, Fused, PRelu, Stage
from codegen.plan.grid import Grid, Three
from codegen.plan.kernels import (
    Combine,
    Description,
    DivideBy,
    Function,
    ScaleShift,
    Sink,
    Slope,
    Step,
    Steps,
    WindowAxis,
    ZeroLanes,
)
from codegen.plan.layout import Layout, Named
from codegen.plan.plan import Draft, Preparation, Values
from codegen.plan.target import Target

QUICK = ("relu", "clip", "leaky_relu", "hard_sigmoid", "hard_swish", "abs", "neg", "thresholded_relu")
QUICK_BINARY = ("add", "sub", "mul", "min", "max")


NOTHING = ScaleShift(None, None)  # of an affine map by 1 and 0


@dataclass(frozen=True)
class Candidate:
    """A way to compute a node: ``plan`` gives its launches, ``cycles`` what they cost."""

    plan: Callable[[], Sequence[Draft]]
    cycles: Callable[[], float]


@dataclass
class LaunchSketch:
    """A launch under construction: schedules fill ``parameters`` and ``sizes``, and end with :meth:`draft`."""

    node: Node
    target: Target
    layouts: Mapping[str, Layout]
    parameters: dict[str, Values] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    scratch: dict[str, Layout] = field(default_factory=dict)

    @property
    def op(self) -> Fused:
        assert isinstance(self.node.op, Fused)
        return self.node.op

    @property
    def core(self) -> Any:
        return self.op.core

    @property
    def x(self) -> Layout:
        return self.layouts[self.node.inputs[0]]

    @property
    def y(self) -> Layout:
        return self.layouts[self.node.name]

    @property
    def most_staged(self) -> int:
        """The most numbers that a work-item puts side by side in private memory."""
        return self.target.dtype.count(self.target.costs.staged_bytes)

    def constant(self, name: str, values: np.ndarray[Any, Any]) -> str:
        """Registers a constant array under a name that is free, each number rounded once; returns the name."""
        key, k = name, 2
        while key in self.parameters:
            key, k = f"{name}{k}", k + 1
        self.parameters[key] = self.target.dtype.rounded(values).reshape(-1)
        return key

    def size(self, name: str, value: int) -> str:
        """Registers a number that the launch passes to a shared kernel; returns its name."""
        self.sizes[name] = value
        return name

    def named(self, layout: Layout, name: str, rows: bool = True) -> Layout | Named:
        """A canonical blocked layout with strides that are parameters; another one as it is.

        Without ``rows`` all pixels are one row.
        """
        if layout.block == 1 or len(layout.shape) != 4:
            return layout
        (batch, *_), (sn, sc, sh, sw) = layout.shape, layout.strides
        strides = (
            self.size(f"{name}_sample", sn) if batch > 1 and sn else 0,
            self.size(f"{name}_block", sc) if sc and not layout.broadcast else 0,
            # Kept for a single merged row too, so that both cases share one kernel.
            self.size(f"{name}_row", sh) if sw and rows else 0,
            sw,
        )
        return Named((batch,), strides, layout.block, layout.broadcast)

    def channels(self, values: np.ndarray[Any, Any], count: int, filling: float = 0.0) -> np.ndarray[Any, Any]:
        """A value per channel, repeated if there is only one, filled up to whole blocks with zeros or ``filling``."""
        if len(values) == 1 < count:
            values = np.full(count, values[0])
        filled = np.full(-(-count // self.target.lanes) * self.target.lanes, filling)
        filled[: len(values)] = values
        return filled

    def prologue(
        self, spread: Any = None, vector: bool = True, count: int | None = None, shared: bool = False
    ) -> Steps:
        """The steps before the core, on whole blocks (``vector``) or on elements.

        ``spread`` rearranges per-channel constants for kernels that index otherwise; ``count`` are the channels that
        the kernel sees, if not the input's.
        """
        channels = self.x.canonical().shape[1] if count is None else count
        made = (self._step(s, "pre_", channels, spread, None, shared, self.x.shape) for s in self.op.prologue)
        steps = tuple(step for step in made if step != NOTHING)
        fills = self._fills_lanes(self.op.prologue, steps)
        return steps + (self._zero_lanes("x", self.x, shared) if vector and fills else ())

    def epilogue(self, view: Any = None, vector: bool = True, shared: bool = False) -> Steps:
        """The steps after the core; ``view`` is how the kernel sees layouts (default: as four axes).

        With ``shared`` the strides of operands are parameters.
        """
        made = (self._step(s, "post_", self._channels, None, view, shared) for s in self.op.epilogue)
        steps = tuple(step for step in made if step != NOTHING)
        # Convolutions multiply the zero weights of padding lanes with inputs that may be infinite or NaN.
        sums = isinstance(self.core, ConvTranspose) or (isinstance(self.core, Conv) and not self._by_channel(self.core))
        fills = sums or self.x.broadcast or self._fills_lanes(self.op.epilogue, steps)
        return steps + (self._zero_lanes("y", self.y, shared) if vector and fills else ())

    @property
    def epilogue_label(self) -> str:
        """The epilogue in the name of a shared kernel."""
        return "".join(f"_{stage.op.title}" for stage in self.op.epilogue)

    @property
    def _channels(self) -> int:
        return self.y.shape[1] if len(self.y.shape) > 1 else 1

    @staticmethod
    def _by_channel(op: Conv) -> bool:
        """True if the kernel gives every lane its own channel's input: depthwise convolution of images."""
        return op.depthwise and len(op.kernel) < 3

    @staticmethod
    def _fills_lanes(ops: tuple[Stage, ...], steps: Steps) -> bool:
        """True if steps can make infinity or NaN of the zeros in the padding lanes after the last channel."""
        finite = all(s.op.finite and all(t.op.finite for t in s.through) for s in ops)
        return not finite or any(isinstance(step, Combine) and step.layout.broadcast for step in steps)

    def _zero_lanes(self, name: str, layout: Layout, shared: bool) -> Steps:
        """The step that makes padding lanes zero again, if there are any: what reads them sums over them."""
        channels = layout.shape[1] if len(layout.shape) > 1 else 1
        if layout.block == 1 or channels % self.target.lanes == 0:
            return ()
        return (ZeroLanes(self.size(f"{name}_channels", channels) if shared else channels),)

    def draft(
        self,
        description: Description,
        label: str,
        groups: Three,
        zeros: int = 0,
        prepared: Preparation | None = None,
        reads: tuple[str, ...] | None = None,
        writes: str | None = None,
        scratch: str | None = None,
        winograd: int = 0,
        in_blocks: bool = False,
    ) -> Draft:
        """The launch; ``reads`` and ``writes`` are the node's own unless it is one of several launches."""
        return Draft(
            node=self.node.name,
            title=self.op.title,
            description=description,
            label=label,
            reads=self.node.inputs if reads is None else reads,
            writes=self.node.name if writes is None else writes,
            parameters=self.parameters,
            grid=Grid(groups),
            zeros=zeros,
            sizes=self.sizes,
            scratch=scratch,
            prepared=prepared,
            winograd=winograd,
            in_blocks=in_blocks,
        )

    def _step(
        self,
        stage: Stage,
        prefix: str,
        count: int,
        spread: Any,
        view: Any = None,
        shared: bool = False,
        shape: tuple[int, ...] | None = None,
    ) -> Step:
        op = stage.op

        def constant(name: str, values: np.ndarray[Any, Any], filling: float = 0.0) -> str:
            whole = self.channels(values, count, filling) if spread is None else spread(values, filling)
            return self.constant(prefix + name, whole)

        if isinstance(op, Affine):
            scale = constant("scale", op.scale) if np.any(op.scale != 1) else None
            shift = constant("shift", op.shift) if np.any(op.shift != 0) else None
            return ScaleShift(scale, shift)
        if isinstance(op, Divide):
            return DivideBy(constant("divisor", op.divisor, 1.0))
        if isinstance(op, PRelu):
            return Slope(constant("slope", op.slope))
        if isinstance(op, Activation):
            return Function(
                op.kind, {k: self.target.dtype.rounded(np.array(v)).item() for k, v in op.parameters.items()}
            )
        assert isinstance(op, Binary) and stage.operand is not None
        layout = self.layouts[self.node.inputs[stage.operand]].repeated(shape or self.y.shape)
        layout = view(layout) if view else layout.canonical()
        made = (self._step(s, "side_", count, spread) for s in stage.through)
        through = tuple(step for step in made if step != NOTHING)
        pointer = self.operand_name(stage.operand)
        return Combine(op.kind, pointer, self.named(layout, pointer) if shared else layout, stage.swapped, through)

    @staticmethod
    def operand_name(index: int) -> str:
        """The kernel parameter of the launch's input with this index."""
        return "x" if index == 0 else f"r{index}"


def leading_functions(steps: Steps) -> tuple[tuple[Function, ...], tuple[Function, ...], Steps]:
    """The steps up to the first that needs to know channel or pixel, which vectors of any width can go through.

    They are in two parts: those before the first that takes more than a few instructions, and those from it on.
    """
    functions: list[Function] = []
    for step in steps:
        if not isinstance(step, Function):
            break
        functions.append(step)
    quick = tuple(itertools.takewhile(lambda step: step.kind in QUICK, functions))
    return quick, tuple(functions[len(quick) :]), steps[len(functions) :]


def is_quick(step: Step) -> bool:
    """True if a step is a few instructions for a vector of channels, the steps of its operand included."""
    if isinstance(step, Combine):
        return step.kind in QUICK_BINARY and step.layout.block > 1 and all(map(is_quick, step.through))
    return step.kind in (*QUICK, "affine", "zero_lanes")


def sink(steps: Steps, y: Layout | Named) -> Sink:
    """The sink of these steps: straight from registers if all of them are quick."""
    quick, slow, rest = leading_functions(steps)
    return Sink(y, quick, slow, rest, straight=y.block > 1 and all(map(is_quick, steps)))


def window_axes(op: Any, x: Layout) -> tuple[WindowAxis, ...]:
    """The spatial axes that a window slides over, outermost first; a row is an image of height 1."""
    missing = max(2 - len(op.kernel), 0)
    sizes = (1,) * missing + x.shape[2:]
    pads = ((0, 0),) * missing + op.pads
    kernel, stride, dilation = ((1,) * missing + values for values in (op.kernel, op.stride, op.dilation))
    return tuple(
        WindowAxis(letter, n, k, s, d, *pad)
        for letter, n, k, s, d, pad in zip("zyx"[-len(sizes) :], sizes, kernel, stride, dilation, pads, strict=True)
    )


def volume(s: LaunchSketch, flat: bool = False) -> dict[str, Any]:
    """The fields of :class:`codegen.plan.kernels.Volume` but the epilogue.

    Canonical layouts have depth and height as one axis of rows; a kernel of ``flat`` images need not tell them apart.
    """
    x, y = s.x.canonical(), s.y.canonical()
    deep = len(s.y.shape) > 4 and not flat
    return {
        "lanes": s.target.lanes,
        "x": x,
        "y": y,
        "x_shape": s.x.shape if deep else x.shape,
        "y_shape": s.y.shape if deep else y.shape,
        "depth_rows": (s.y.shape[3], s.x.shape[3]) if deep else None,
        "batch": y.shape[0],
        "blocks": -(-y.shape[1] // s.target.lanes),
    }


def by(sizes: Iterable[int]) -> str:
    """Sizes as people say them: 3x3."""
    return "x".join(map(str, sizes))


def size_label(layout: Layout) -> str:
    """Channels x height x width, for a kernel's name."""
    _, c, h, w = layout.shape
    return f"{c}x{h}x{w}" if h > 1 else f"{c}x{w}" if w > 1 else f"{c}"


def as_one_row(layout: Layout) -> Layout:
    """All pixels as one row: a 1x1 convolution sees no rows."""
    merged = layout.canonical().merged_rows()
    assert merged is not None
    return merged


def rows_merge(s: LaunchSketch, reads: bool = True) -> bool:
    """True if rows follow each other without gaps in every tensor of the launch, or all but what the core reads."""
    operands = [s.layouts[s.node.inputs[e.operand]].repeated(s.y.shape) for e in s.op.epilogue if e.operand is not None]
    return all(layout.canonical().merged_rows() is not None for layout in (s.y, *operands, *([s.x] if reads else [])))
