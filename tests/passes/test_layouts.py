"""Round trips of layouts: transposes, squeezes and reshapes around operators cancel, and nothing else changes.

Random networks hold whole numbers, so that sums are exact in any order: every output must be the same bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from codegen.graph.graph import Constant, Graph, Input, Node, Output
from codegen.graph.ops import (
    Activation,
    Affine,
    Binary,
    Concat,
    Conv,
    Dense,
    GlobalPool,
    Op,
    Pad,
    PRelu,
    Reduce,
    Reshape,
    RunningSum,
    Select,
    Shape,
    Softmax,
    Take,
    Top,
    Transpose,
    frozen,
)
from codegen.passes.layouts import cancel_moves
from codegen.passes.moves import Move

Values = NDArray[np.float64]


@dataclass
class Drawn:
    """A network while hypothesis draws it."""

    draw: st.DrawFn
    inputs: dict[str, Shape] = field(default_factory=dict)
    constants: list[Constant] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    shapes: dict[str, Shape] = field(default_factory=dict)

    def add(self, op: Op, *inputs: str) -> str:
        name = f"n{len(self.nodes)}"
        self.shapes[name] = op.infer(*(self.shapes[x] for x in inputs))
        self.nodes.append(Node(name, op, inputs))
        return name

    def whole(self, *shape: int) -> Values:
        seed = self.draw(st.integers(0, 5))
        return np.random.default_rng(seed).integers(-3, 4, shape).astype(np.float64)

    def constant(self, shape: Shape) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(Constant(name, frozen(self.whole(*shape))))
        self.shapes[name] = shape
        return name

    def one(self, *choices: str) -> str:
        return self.draw(st.sampled_from(choices))

    def axis(self, x: str) -> int:
        return self.draw(st.integers(0, len(self.shapes[x]) - 1))


def fits(one: Shape, other: Shape, otherwise: Callable[[int, int, int], bool]) -> bool:
    """True if the shapes are the same but for axes that may differ."""
    return len(one) == len(other) and all(
        m == n or otherwise(axis, m, n) for axis, (m, n) in enumerate(zip(one, other, strict=True))
    )


def _moved(d: Drawn, x: str) -> str:
    shape = d.shapes[x]
    kind = d.one("transpose", "nhwc", "nchw", "reshape", "squeeze", "unsqueeze")
    rank = len(shape)
    if kind == "nhwc":
        return d.add(Transpose((0, *range(2, rank), 1)), x) if rank > 1 else x
    if kind == "nchw":
        return d.add(Transpose((0, rank - 1, *range(1, rank - 1))), x) if rank > 1 else x
    if kind == "transpose":
        return d.add(Transpose(tuple(d.draw(st.permutations(range(rank))))), x)
    if kind == "squeeze":
        return d.add(Reshape(tuple(n for n in shape if n != 1) or (1,)), x)
    if kind == "unsqueeze":
        at = d.draw(st.integers(0, rank))
        return d.add(Reshape((*shape[:at], 1, *shape[at:])), x) if rank < 5 else x
    if rank > 2 and d.draw(st.booleans()):
        at = d.draw(st.integers(0, rank - 2))
        return d.add(Reshape((*shape[:at], shape[at] * shape[at + 1], *shape[at + 2 :])), x)
    rest, found = math.prod(shape), []
    for _ in range(d.draw(st.integers(1, 3))):
        found.append(d.draw(st.sampled_from([n for n in range(1, rest + 1) if rest % n == 0])))
        rest //= found[-1]
    return d.add(Reshape((*found, rest)), x)


def _mapped(d: Drawn, x: str) -> str:
    shape = d.shapes[x]
    kind = d.one("relu", "clip", "affine", "prelu", "uniform", "neg")
    if kind in ("relu", "neg") or len(shape) < 2:
        return d.add(Activation.of(kind if kind == "relu" else "neg"), x)
    if kind == "clip":
        return d.add(Activation.of("clip", min=-2.0, max=5.0), x)
    if kind == "prelu":
        return d.add(PRelu(d.whole(shape[1])), x)
    scale, shift = (np.full(shape[1], 2.0), np.ones(shape[1])) if kind == "uniform" else (d.whole(shape[1]),) * 2
    return d.add(Affine(scale, shift), x)


def _joined(d: Drawn, x: str) -> str:
    shape = d.shapes[x]
    kind = d.one("add", "sub", "max", "less")
    alike = [n for n, other in d.shapes.items() if fits(other, shape, lambda axis, a, b: 1 in (a, b))]
    small = tuple(n if d.draw(st.booleans()) else 1 for n in shape)
    other = d.constant(small) if d.draw(st.booleans()) else d.draw(st.sampled_from(alike))
    both = (x, other) if d.draw(st.booleans()) else (other, x)
    return d.add(Binary(kind), *both)


def _shaped(d: Drawn, x: str) -> str:
    """Adds a random operator that works along an axis."""
    shape = d.shapes[x]
    axis = d.axis(x)
    kind = d.one("concat", "reduce", "pad", "select", "take", "softmax", "running", "top", "pool", "dense", "conv")
    if kind == "concat":
        made = [n for n in d.shapes if not n.startswith("c")]
        alike = [n for n in made if fits(d.shapes[n], shape, lambda a, m, n: a == axis)]
        return d.add(Concat(axis), x, d.draw(st.sampled_from(alike)))
    if kind == "reduce":
        axes = d.draw(st.lists(st.integers(0, len(shape) - 1), min_size=1, unique=True))
        return d.add(Reduce(d.one("sum", "max", "min"), tuple(axes)), x)
    if kind == "pad":
        pads = tuple((d.draw(st.integers(0, 1)), d.draw(st.integers(0, 1))) for _ in shape)
        return d.add(Pad(pads, 2.0), x)
    if kind == "select":
        starts = tuple(d.draw(st.integers(0, n - 1)) if a == axis else 0 for a, n in enumerate(shape))
        counts = tuple(d.draw(st.integers(1, n)) if a == axis else n for a, n in enumerate(shape))
        return d.add(Select(starts, (1,) * len(shape), counts), x)
    if kind == "take":
        return d.add(Take(axis, np.arange(shape[axis], dtype=np.float64)[::-1].copy()), x)
    if kind == "softmax":
        return d.add(Softmax(axis), d.add(Reduce("max", (axis,)), x))  # of one element: exact
    if kind == "running":
        return d.add(RunningSum(axis), x)
    if kind == "top":
        return d.add(Top(axis, part=d.one("values", "indices")), x)
    if kind == "dense" and len(shape) >= 2:
        return d.add(Dense(d.whole(2, math.prod(shape[1:])), d.whole(2)), x)
    if kind == "pool" and len(shape) >= 3:
        return d.add(GlobalPool("max"), x)
    if kind == "conv" and 3 <= len(shape) <= 4:
        ones = (1,) * (len(shape) - 2)
        return d.add(Conv(d.whole(3, shape[1], *ones), d.whole(3), ones, ones, ((0, 0),) * len(ones)), x)
    return x


@st.composite
def networks(draw: st.DrawFn) -> Graph:
    d = Drawn(draw)
    for k in range(draw(st.integers(1, 2))):
        d.inputs[f"x{k}"] = tuple(draw(st.lists(st.sampled_from([1, 2, 3, 4]), min_size=2, max_size=4)))
    d.shapes |= d.inputs
    last = "x0"
    for _ in range(draw(st.integers(2, 10))):
        step = draw(st.sampled_from([_moved, _moved, _mapped, _joined, _shaped]))
        made = step(d, last)
        if math.prod(d.shapes[made]) > 3000:
            break
        # Mostly a chain, which now and then goes on from a tensor before.
        others = [n for n in d.shapes if not n.startswith("c")]
        last = made if draw(st.integers(0, 4)) else draw(st.sampled_from(others))
    names = [n.name for n in d.nodes] or ["x0"]
    outputs = [names[-1], *draw(st.lists(st.sampled_from(names), max_size=2))]
    read = {x for n in d.nodes for x in n.inputs} | set(outputs)
    whole = Graph(
        "net",
        tuple(Input(n, s) for n, s in d.inputs.items()),
        tuple(d.nodes),
        tuple(Output(f"y{k}", n) for k, n in enumerate(outputs)),
        tuple(c for c in d.constants if c.name in read),
    )
    return whole.with_nodes(whole.nodes)


def moved(graph: Graph) -> int:
    """The number of elements transposes move."""
    total = 0
    for node in graph.nodes:
        if isinstance(node.op, Transpose):
            shape = graph.shapes[node.inputs[0]]
            total += 0 if Move.transpose(shape, node.op.axes).keeps_order else math.prod(shape)
    return total


@settings(deadline=None, max_examples=300)
@given(networks())
def test_outputs_stay_bit_for_bit(graph: Graph) -> None:
    rewritten, renamed = cancel_moves(graph)
    rng = np.random.default_rng(0)
    given = {i.name: rng.integers(-4, 5, i.shape).astype(np.float64) for i in graph.inputs}
    before, after = graph.evaluate(given), rewritten.evaluate(given)
    for old, new in zip(graph.outputs, rewritten.outputs, strict=True):
        assert old.name == new.name
        np.testing.assert_array_equal(before[old.value], after[new.value])
        assert before[old.value].tobytes() == np.ascontiguousarray(after[new.value]).tobytes()  # -0 is not 0
    # A name stands for one value in every version of the network.
    for node in rewritten.nodes:
        if node.name in before:
            np.testing.assert_array_equal(before[node.name], after[node.name])
    assert all(before[old].size == after[new].size for old, new in renamed.items() if new in after)
    assert moved(rewritten) <= moved(graph)
    again, _ = cancel_moves(rewritten)
    assert moved(again) <= moved(rewritten)


def test_an_output_that_is_read_under_another_name() -> None:
    """n2 is n1 once more: the one goes out, and the other is read."""
    swapped = Transpose((2, 0, 1))
    nodes = (
        Node("n0", Activation.of("relu"), ("x",)),
        Node("n1", swapped, ("n0",)),
        Node("n2", Reshape((3, 4, 4)), ("n1",)),
        Node("n3", GlobalPool("max"), ("n1",)),
    )
    outputs = (Output("y0", "n3"), Output("y1", "n2"))
    rewritten, _ = cancel_moves(Graph("net", (Input("x", (4, 4, 3)),), nodes, outputs))
    x = np.random.default_rng(0).integers(-3, 4, (4, 4, 3)).astype(np.float64)
    values = rewritten.evaluate({"x": x})
    right = np.maximum(x, 0).transpose(2, 0, 1)
    np.testing.assert_array_equal(values[rewritten.outputs[1].value], right)
    np.testing.assert_array_equal(values[rewritten.outputs[0].value], right.max(axis=2, keepdims=True))
