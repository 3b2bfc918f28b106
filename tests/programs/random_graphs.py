"""Random ONNX graphs over all operators that the importer knows, against what is not ours.

    python -m tests.programs.random_graphs [--count 2000] [--first 0] [--show 40] [--verify 50]

Each graph is of one operator in turn and of a few others before and behind it, with constants on either side and of
every shape that broadcasts, ranks 0 to 5 and several outputs.  Its import is compared tensor by tensor with
``onnx.reference`` (:mod:`codegen.importers.onnx.check`), on common numbers and on inputs among which are NaN,
infinities, -0, denormals and the largest floats; then its outputs with onnxruntime's, on common numbers.
With ``--verify N`` every Nth graph is built and run too, by pyopencl and by the C host on Intel's runtime.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from click.testing import CliRunner
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from codegen import cli
from codegen.errors import ClgenError, Mismatch
from codegen.graph.evaluation import all_outputs, sources
from codegen.graph.graph import Graph
from codegen.graph.tolerance import rounded_evaluation
from codegen.importers import compare
from codegen.importers.onnx.check import check_onnx
from codegen.importers.onnx.choices import RUNTIME, Use, unlike
from codegen.importers.onnx.evaluate import NotEvaluated, evaluate
from codegen.importers.onnx.operators import OPERATORS
from codegen.importers.open import open_model
from tests.support.onnx_models import expected

Array = NDArray[Any]
OPSETS = (11, 13, 18, 21)
NEWEST = onnx.defs.onnx_opset_version()
TYPES = {"f": TensorProto.FLOAT, "i": TensorProto.INT64, "b": TensorProto.BOOL}


class Unfit(Exception):
    """Drawn numbers that make no valid node; others are drawn."""


@dataclass
class Draft:
    """A graph while it is drawn.  ``values`` are its tensors on one input, which give their shapes and types."""

    rng: np.random.Generator
    opset: int
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    inputs: dict[str, tuple[int, ...]] = field(default_factory=dict)
    constants: dict[str, Array] = field(default_factory=dict)
    values: dict[str, Array] = field(default_factory=dict)
    ops: list[str] = field(default_factory=list)

    # Numbers --------------------------------------------------------------------------------------------------------

    def chance(self, p: float = 0.5) -> bool:
        return bool(self.rng.random() < p)

    def whole(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return int(self.rng.integers(low, high + 1))

    def one(self, choices: Sequence[Any]) -> Any:
        return choices[self.whole(0, len(choices) - 1)]

    def real(self, *shape: int) -> Array:
        """Common numbers, and often whole ones."""
        made = self.rng.integers(-4, 5, shape) if self.chance(0.3) else self.rng.standard_normal(shape)
        return np.asarray(made, dtype=np.float32)

    def shape(self, low: int = 1, high: int = 5) -> tuple[int, ...]:
        return tuple(self.whole(1, 5) for _ in range(self.whole(low, high)))

    # Tensors --------------------------------------------------------------------------------------------------------

    def input(self, shape: tuple[int, ...]) -> str:
        name = f"x{len(self.inputs)}"
        self.inputs[name] = shape
        self.values[name] = np.asarray(self.real(*shape), dtype=np.float64)
        return name

    def constant(self, values: Any, dtype: Any = np.float32) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(values, dtype=dtype)
        return name

    def known(self, shape: tuple[int, ...]) -> str:
        """A constant that stands where a tensor of the network may."""
        name = self.constant(self.real(*shape))
        self.values[name] = self.constants[name].astype(np.float64)
        return name

    def ints(self, *values: int) -> str:
        return self.constant(values, np.int64)

    def of(self, name: str) -> Array:
        return self.values[name]

    def pick(self, kind: str = "f", low: int = 0, high: int = 5, fits: Callable[[Array], bool] = lambda x: True) -> str:
        """A tensor that the network computes, mostly the last that will do; else a new input, or a constant."""
        names = [n for n, v in self.values.items() if v.dtype.kind == kind and low <= v.ndim <= high and fits(v)]
        if names and self.chance(0.9):
            return names[-1] if self.chance(0.8) else self.one(names)
        if kind != "f":
            x = self.pick()
            if kind == "b":
                return self.add("Greater", [x, self.constant(0.25)])
            return self.add("Cast", [self.add("Round", [x])], to=TensorProto.INT64)
        for _ in range(50):
            shape = self.shape(max(low, 1), high)
            if fits(np.zeros(shape)):
                return self.known(shape) if self.chance(0.3) else self.input(shape)
        raise Unfit("no shape fits")

    def add(self, op: str, inputs: Sequence[str], outputs: int = 1, **attributes: Any) -> str:
        """The node's first output; its others follow it in ``values``."""
        names = [f"t{len(self.nodes)}_{i}" for i in range(outputs)]
        attributes = {k: v for k, v in attributes.items() if v is not None}
        node = helper.make_node(op, list(inputs), names, name=f"n{len(self.nodes)}", **attributes)
        known = [bool(n) and n in self.constants for n in inputs]
        arrays = [None if not n else self.constants.get(n, self.values.get(n)) for n in inputs]
        try:
            found = evaluate(node, self.opset, arrays, known)
        except NotEvaluated as error:
            raise Unfit(str(error)) from error
        if any(y is None or y.size == 0 or y.size > 3000 or y.ndim > 5 for y in found):
            raise Unfit("too large, or empty")
        self.nodes.append(node)
        self.ops.append(op)
        self.values.update(zip(names, found, strict=True))  # type: ignore[arg-type]
        return names[0]

    # Parts of nodes -------------------------------------------------------------------------------------------------

    def axes(self, rank: int, least: int = 1) -> list[int]:
        count = self.whole(min(least, rank), rank)
        chosen = [int(a) for a in self.rng.permutation(rank)[:count]]
        return [a - rank if self.chance(0.3) else a for a in chosen]

    def axis(self, rank: int) -> int:
        return self.whole(-rank, rank - 1)

    def broadcast(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """A shape that broadcasts with this one, perhaps to more."""
        kept = tuple(1 if self.chance(0.4) else n for n in shape)
        kept = kept[self.whole(0, len(kept)) :] if self.chance(0.4) else kept
        if self.chance(0.15):
            kept = tuple(self.whole(2, 3) if n == 1 and self.chance() else n for n in kept)
        if self.chance(0.1) and len(kept) == len(shape) < 5:
            kept = (self.whole(1, 2), *kept)
        return kept

    def operand(self, x: str, kind: str) -> str:
        """The other side of a node of two: a constant more often than not."""
        shape = self.broadcast(self.of(x).shape)
        if self.chance(0.65):
            if kind == "f":
                return self.constant(self.real(*shape))
            return self.constant(
                self.rng.integers(0, 2, shape) if kind == "b" else self.rng.integers(1, 9, shape),
                bool if kind == "b" else np.int64,
            )
        same = [n for n, v in self.values.items() if v.dtype.kind == kind and _broadcasts(v.shape, self.of(x).shape)]
        if same and (kind != "f" or self.chance()):
            return str(self.one(same))
        if kind == "b":
            return self.constant(self.rng.integers(0, 2, shape), bool)
        return self.input(shape) if kind == "f" and shape else x

    def pair(self, kind: str = "f") -> list[str]:
        x = self.pick(kind)
        both = [x, self.operand(x, kind)]
        return both[::-1] if self.chance() else both


def _broadcasts(*shapes: tuple[int, ...]) -> bool:
    try:
        np.broadcast_shapes(*shapes)
    except ValueError:
        return False
    return True


# One function for each kind of node; each takes the draft and the operator ------------------------------------------

Maker = Callable[[Draft, str], Any]


def _unary(d: Draft, op: str) -> None:
    def real() -> float:
        return round(float(d.rng.uniform(0.1, 1.5)), 2)

    names = {
        **{"Elu": ["alpha"], "Celu": ["alpha"], "LeakyRelu": ["alpha"], "ThresholdedRelu": ["alpha"]},
        **{
            "Selu": ["alpha", "gamma"],
            "HardSigmoid": ["alpha", "beta"],
            "Shrink": ["bias", "lambd"],
            "Swish": ["alpha"],
        },
    }.get(op, [])
    more: dict[str, Any] = {name: real() for name in names if d.chance(0.7)}
    if op == "Gelu" and d.chance():
        more["approximate"] = d.one(["none", "tanh"])
    if op == "IsInf":
        more = {"detect_negative": d.whole(0, 1), "detect_positive": d.whole(0, 1)}
    d.add(op, [d.pick()], **more)


def _binary(d: Draft, op: str) -> None:
    kind = "i" if op in ("Add", "Sub", "Mul", "Div", "Mod", "Equal", "Less", "Max", "Min") and d.chance(0.15) else "f"
    if op in ("And", "Or", "Xor"):
        kind = "b"
    inputs = d.pair(kind)
    if kind == "i" and op == "Div" and inputs[1] not in d.constants:
        raise Unfit("division by zero")
    more = {"fmod": 1} if op == "Mod" and kind == "f" else {}
    if kind == "i" and op == "Mod" and inputs[1] not in d.constants:
        raise Unfit("division by zero")
    d.add(op, inputs, **more)


def _many(d: Draft, op: str) -> None:
    inputs = d.pair()
    for _ in range(d.whole(-1, 2)):
        inputs.append(d.operand(inputs[0] if inputs[0] in d.values else inputs[1], "f"))
    if d.chance(0.05):
        inputs = [d.pick()]
    d.add(op, inputs)


def _pow(d: Draft, op: str) -> None:
    x = d.pick()
    if d.chance(0.3):
        exponents = d.constant(d.one([0, 1, 2, 3]), np.int64)
    else:
        exponents = d.constant(d.one([0.5, -1, 2, 3, 1, 0, 1.5, -2])) if d.chance(0.7) else d.operand(x, "f")
    d.add(op, [x, exponents])


def _clip(d: Draft, op: str) -> None:
    low, high = sorted(float(v) for v in d.real(2))
    d.add(op, [d.pick(), "" if d.chance(0.3) else d.constant(low), *([] if d.chance(0.3) else [d.constant(high)])])


def _prelu(d: Draft, op: str) -> None:
    x = d.pick(low=1)
    shape = tuple(n if d.chance() else 1 for n in d.of(x).shape)
    d.add(op, [x, d.constant(d.real(*shape[d.whole(0, len(shape)) :]))])


def _where(d: Draft, op: str) -> None:
    x = d.pick()
    condition = d.operand(x, "b") if d.chance(0.5) else d.add("Less", [x, d.constant(0.1)])
    both = [x, d.operand(x, "f")]
    d.add(op, [condition, *(both[::-1] if d.chance() else both)])


def _cast(d: Draft, op: str) -> None:
    x = d.pick(d.one("ffib"))
    to = d.one([TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL])
    if op == "Cast":
        d.add(op, [x], to=to)
    else:
        d.add(op, [x, d.constant([1], helper.tensor_dtype_to_np_dtype(to))])


def _not(d: Draft, op: str) -> None:
    d.add(op, [d.pick("b")])


def _reduce(d: Draft, op: str) -> None:
    kind = (
        "i" if op in ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceL1", "ReduceSumSquare") and d.chance(0.15) else "f"
    )
    x = d.pick(kind)
    axes, rank = None, d.of(x).ndim
    if rank and d.chance(0.8):
        axes = d.axes(rank)
    keep = d.one([None, 0, 1])
    if d.opset >= (13 if op == "ReduceSum" else 18):
        more = {"noop_with_empty_axes": d.whole(0, 1)} if axes is None and d.chance(0.3) else {}
        d.add(op, [x, *([] if axes is None else [d.ints(*axes)])], keepdims=keep, **more)
    else:
        d.add(op, [x], axes=axes, keepdims=keep)


def _arg(d: Draft, op: str) -> None:
    x = d.pick(low=1)
    more = {"select_last_index": d.whole(0, 1)} if d.opset >= 12 else {}
    d.add(op, [x], axis=d.axis(d.of(x).ndim), keepdims=d.one([None, 0, 1]), **more)


def _softmax(d: Draft, op: str) -> None:
    x = d.pick(low=1)
    d.add(op, [x], axis=None if d.chance(0.2) else d.axis(d.of(x).ndim))


def _space(d: Draft) -> str:
    return d.pick(low=3, fits=lambda x: min(x.shape[2:]) >= 2)


def _window(d: Draft, x: str, kernel: Sequence[int], pool: bool = False) -> dict[str, Any]:
    rank, more = len(kernel), {}
    if d.chance():
        more["strides"] = [d.whole(1, 2) for _ in range(rank)]
    if d.chance(0.3) and not (pool and d.opset < 19):
        more["dilations"] = [d.whole(1, 2) for _ in range(rank)]
    word = d.one(["NOTSET", "NOTSET", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"])
    if word != "NOTSET":
        more["auto_pad"] = word
    elif d.chance(0.7):
        more["pads"] = [d.whole(0, (k - 1 if pool else 2)) for k in (*kernel, *kernel)]
    return more


def _kernel(d: Draft, x: str) -> list[int]:
    return [d.whole(1, min(3, n)) for n in d.of(x).shape[2:]]


def _conv(d: Draft, op: str) -> None:
    x = _space(d)
    channels, kernel = d.of(x).shape[1], _kernel(d, x)
    groups = d.one([g for g in range(1, channels + 1) if channels % g == 0])
    outputs = d.whole(1, 3)
    more = _window(d, x, kernel)
    if op == "Conv":
        w, count = d.real(outputs * groups, channels // groups, *kernel), outputs * groups
    else:
        w, count = d.real(channels, outputs, *kernel), outputs * groups
        if "strides" in more and d.chance() and more.get("auto_pad", "NOTSET") == "NOTSET":
            more["output_padding"] = [d.whole(0, s - 1) for s in more["strides"]]
    w[w == 0] = 1  # BLAS, in which our reference computes, may leave out products with 0, also that with infinity
    bias = [d.constant(d.real(count))] if d.chance() else []
    d.add(op, [x, d.constant(w), *bias], group=groups if groups > 1 or d.chance() else None, **more)


def _column_to_image(d: Draft, op: str) -> None:
    rank = d.whole(1, 2)
    block, stride, dilation = ([d.whole(1, 2) for _ in range(rank)] for _ in range(3))
    size = [d.whole(4, 6) for _ in range(rank)]
    pads = [d.whole(0, 1) for _ in range(2 * rank)]
    blocks = [
        (n + pads[k] + pads[rank + k] - dilation[k] * (block[k] - 1) - 1) // stride[k] + 1 for k, n in enumerate(size)
    ]
    x = d.input((d.whole(1, 2), d.whole(1, 3) * math.prod(block), math.prod(blocks)))
    d.add(op, [x, d.ints(*size), d.ints(*block)], strides=stride, dilations=dilation, pads=pads)


def _einsum(d: Draft, op: str) -> None:
    x = d.pick(low=1, high=3)
    letters = "abc"[: d.of(x).ndim]
    sizes = dict(zip(letters, d.of(x).shape, strict=True)) | {"z": 2}
    others = "".join(c for c in (*letters, "z") if d.chance(0.6)) or "z"
    shape = tuple(sizes[c] for c in others)
    y = d.constant(d.real(*shape)) if d.chance() else d.input(shape)
    kept = [c for c in dict.fromkeys(letters + others) if d.chance(0.6)]
    order = "".join(kept[i] for i in d.rng.permutation(len(kept)))
    if d.chance():
        d.add(op, [x, y], equation=f"{letters},{others}->{order}")
    else:
        d.add(op, [x], equation=f"{letters}->{''.join(c for c in order if c in letters)}")


def _one_hot(d: Draft, op: str) -> None:
    indices = d.pick("i", high=4)
    d.add(
        op, [indices, d.constant(d.whole(1, 5), np.int64), d.constant(d.real(2))], axis=d.axis(d.of(indices).ndim + 1)
    )


def _reverse_sequence(d: Draft, op: str) -> None:
    x = d.pick(low=2)
    time = d.whole(0, 1)
    lengths = d.rng.integers(1, d.of(x).shape[time] + 1, d.of(x).shape[1 - time])
    d.add(op, [x, d.ints(*lengths)], time_axis=time, batch_axis=1 - time)


def _dft(d: Draft, op: str) -> None:
    x = d.input((d.whole(1, 3), d.whole(1, 6), d.whole(1, 2)))
    inverse = d.chance() and d.of(x).shape[-1] == 2
    more = {"inverse": 1} if inverse else {"onesided": 1} if d.chance() and d.of(x).shape[-1] == 1 else {}
    length = [d.constant(d.whole(1, 7), np.int64)] if d.chance() and not inverse else []
    if d.opset >= 20:
        d.add(op, [x, *(length or [""]), d.constant(1, np.int64)], **more)
    else:
        d.add(op, [x, *length], axis=1, **more)


def _pool(d: Draft, op: str) -> None:
    x = _space(d)
    kernel = _kernel(d, x)
    more = _window(d, x, kernel, pool=True)
    if op == "MaxPool" and d.chance(0.2):
        more["dilations"] = [d.whole(1, 2) for _ in kernel]
    if op == "LpPool":
        more["p"] = d.whole(1, 3)
    if op == "AveragePool" and d.chance():
        more["count_include_pad"] = 1
    if (op != "LpPool" or d.opset >= 18) and d.chance(0.3) and "auto_pad" not in more:
        more["ceil_mode"] = 1
    d.add(op, [x], kernel_shape=kernel, **more)


def _global(d: Draft, op: str) -> None:
    d.add(op, [_space(d)], **({"p": d.whole(1, 3)} if op == "GlobalLpPool" else {}))


def _batch_norm(d: Draft, op: str) -> None:
    x = d.pick(low=2)
    n = d.of(x).shape[1]
    statistics = [d.real(n), d.real(n), d.real(n), np.abs(d.real(n)) + np.float32(0.1)]
    d.add(op, [x, *map(d.constant, statistics)], epsilon=d.one([None, 1e-3, 0.1]))


def _channel_norm(d: Draft, op: str) -> None:
    x = _space(d)
    n = d.of(x).shape[1]
    more: dict[str, Any] = {"epsilon": d.one([None, 1e-3, 0.1])}
    if op == "GroupNormalization":
        more["num_groups"] = groups = d.one([g for g in range(1, n + 1) if n % g == 0])
        n = n if d.opset >= 21 else groups
    d.add(op, [x, d.constant(d.real(n)), d.constant(d.real(n))], **more)


def _layer_norm(d: Draft, op: str) -> None:
    x = d.pick(low=1)
    rank = d.of(x).ndim
    axis = d.axis(rank)
    shape = d.of(x).shape[axis % rank :]
    inputs = [d.constant(d.real(*shape)) for _ in range(1 if op[0] == "R" or d.chance(0.3) else 2)]
    d.add(op, [x, *inputs], axis=axis, epsilon=d.one([None, 1e-3, 0.1]))


def _mean_variance(d: Draft, op: str) -> None:
    x = d.pick(low=4, high=4)
    d.add(op, [x], axes=None if d.chance(0.3) else sorted({a % 4 for a in d.axes(4)}))


def _lp_norm(d: Draft, op: str) -> None:
    x = d.pick(low=1)
    d.add(op, [x], axis=d.axis(d.of(x).ndim), p=d.whole(1, 2))


def _lrn(d: Draft, op: str) -> None:
    size = d.one([1, 3, 5])
    d.add(
        op,
        [d.pick(low=4, high=4)],
        size=size,
        alpha=d.one([None, 0.5]),
        beta=d.one([None, 0.5]),
        bias=d.one([None, 2.0]),
    )


def _cum_sum(d: Draft, op: str) -> None:
    x = d.pick(low=1)
    axis = d.constant(d.axis(d.of(x).ndim), np.int64)
    d.add(op, [x, axis], exclusive=d.whole(0, 1), reverse=d.whole(0, 1))


def _gemm(d: Draft, op: str) -> None:
    x = d.pick(low=2, high=2)
    a, b = d.whole(0, 1), d.whole(0, 1)
    inner = d.of(x).shape[0 if a else 1]
    rows, columns = d.of(x).shape[1 if a else 0], d.whole(1, 4)
    shape = (columns, inner) if b else (inner, columns)
    w = d.constant(d.real(*shape)) if d.chance(0.8) else d.input(shape)
    shift = d.one([(columns,), (1, columns), (rows, columns), (rows, 1), (), (1,), None])
    more = [] if shift is None else [d.constant(d.real(*shift)) if d.chance(0.8) or not shift else d.input(shift)]
    numbers = {"alpha": d.one([None, 0.5, 0.3]), "beta": d.one([None, 2.0, 0.7])}
    d.add(op, [x, w, *more], transA=a, transB=b, **numbers)


def _matmul(d: Draft, op: str) -> None:
    x = d.pick(low=1)
    inner, n = d.of(x).shape[-1], d.whole(1, 4)
    batch = d.broadcast(d.of(x).shape[:-2])[-2:] if d.chance(0.4) else ()
    shape = (inner,) if d.chance(0.15) else (*batch, inner, n)
    left = d.chance(0.3) and d.of(x).ndim >= 2
    if left:
        rows = d.of(x).shape[-2]
        shape = (rows,) if d.chance(0.15) else (*batch, n, rows)
    w = d.constant(d.real(*shape)) if d.chance(0.7) else d.input(shape)
    d.add(op, [w, x] if left else [x, w])


def _concat(d: Draft, op: str) -> None:
    x = d.pick(low=1)
    shape = d.of(x).shape
    axis = d.axis(len(shape))
    inputs = [x]
    for _ in range(d.whole(0, 2)):
        more = list(shape)
        more[axis] = d.whole(1, 3)
        inputs.append(x if d.chance(0.2) else d.constant(d.real(*more)) if d.chance(0.4) else d.input(tuple(more)))
    d.rng.shuffle(inputs)
    d.add(op, inputs, axis=axis)


def _shaped(d: Draft, op: str) -> None:
    x = d.pick()
    values = d.of(x)
    if op == "Flatten":
        d.add(op, [x], axis=d.whole(-values.ndim, values.ndim) if values.ndim else 0)
    elif op == "Reshape":
        rest = values.size
        sizes: list[int] = []
        while rest > 1 and len(sizes) < 4:
            n = d.one([k for k in range(1, rest + 1) if rest % k == 0])
            sizes.append(n)
            rest //= n
        sizes += [rest] if rest > 1 else []
        if sizes and d.chance():
            sizes[d.whole(0, len(sizes) - 1)] = -1
        d.add(op, [x, d.constant(sizes, np.int64)])
    elif op == "Squeeze":
        axes = [a for a, n in enumerate(values.shape) if n == 1]
        if not axes:
            raise Unfit("nothing to squeeze")
        given = None if d.chance(0.2) else axes[: d.whole(1, len(axes))]
        if d.opset >= 13:
            d.add(op, [x, *([] if given is None else [d.ints(*given)])])
        else:
            d.add(op, [x], axes=given)
    elif op == "Unsqueeze":
        rank = values.ndim + d.whole(1, 2)
        axes = sorted(a % rank for a in d.axes(rank))[: rank - values.ndim]
        if len(axes) != rank - values.ndim or rank > 5:
            raise Unfit("axes")
        if d.opset >= 13:
            d.add(op, [x, d.ints(*axes)])
        else:
            d.add(op, [x], axes=axes)
    elif op == "Transpose":
        d.add(op, [x], perm=None if d.chance(0.2) else [int(a) for a in d.rng.permutation(values.ndim)] or None)
    elif op == "Expand":
        shape = tuple(d.whole(1, 3) if n == 1 else d.one([n, 1]) for n in values.shape)
        d.add(op, [x, d.constant((2, *shape) if d.chance(0.3) and len(shape) < 5 else shape, np.int64)])
    elif op == "Tile":
        if not values.ndim:
            raise Unfit("rank 0")
        d.add(op, [x, d.ints(*(d.whole(1, 2) for _ in values.shape))])
    else:
        d.add(op, [x])


def _dropout(d: Draft, op: str) -> None:
    d.add(op, [d.pick()])


def _slice(d: Draft, op: str) -> None:
    x = d.pick(low=1)
    shape = d.of(x).shape
    axes = [a % len(shape) for a in d.axes(len(shape))]
    starts, ends, steps = [], [], []
    for axis in axes:
        n = shape[axis]
        steps.append(d.one([1, 1, 2, -1, -2]))
        a, b = d.whole(-n, n), d.one([d.whole(-n, n), 2**31, -(2**31)])
        starts.append(a)
        ends.append(b)
    d.add(op, [x, d.ints(*starts), d.ints(*ends), d.ints(*axes), d.ints(*steps)])


def _split(d: Draft, op: str) -> None:
    x = d.pick(low=1, fits=lambda x: max(x.shape) >= 2)
    shape = d.of(x).shape
    axis = d.one([a for a, n in enumerate(shape) if n >= 2])
    first = d.whole(1, shape[axis] - 1)
    sizes = [first, shape[axis] - first]
    if d.opset >= 13:
        d.add(op, [x, d.ints(*sizes)], outputs=2, axis=axis)
    else:
        d.add(op, [x], outputs=2, axis=axis, split=sizes)


def _pad(d: Draft, op: str) -> None:
    x = d.pick(low=1)
    shape = d.of(x).shape
    mode = d.one(["constant", "constant", "reflect", "edge"])
    most = [min(2, n - 1) if mode == "reflect" else 2 for n in shape]
    pads = [d.whole(0, m) for m in (*most, *most)]
    if mode == "constant" and d.chance(0.3):
        pads[d.whole(0, len(pads) - 1)] = -1
    value = [d.constant(d.one([0.0, 1.5, -2.0]))] if mode == "constant" and d.chance(0.7) else []
    d.add(op, [x, d.ints(*pads), *value], mode=mode)


def _blocks(d: Draft, op: str) -> None:
    block = 2
    if op == "DepthToSpace":
        x = d.pick(low=4, high=4, fits=lambda x: x.shape[1] % 4 == 0)
        d.add(op, [x], blocksize=block, mode=d.one(["DCR", "CRD"]))
    else:
        x = d.pick(low=4, high=4, fits=lambda x: x.shape[2] % 2 == 0 and x.shape[3] % 2 == 0)
        d.add(op, [x], blocksize=block)


def _gather(d: Draft, op: str) -> None:
    x = d.pick(low=1)
    shape = d.of(x).shape
    rank = len(shape)
    if op == "GatherND":
        count = d.whole(1, rank)
        index = np.stack([d.rng.integers(0, n, (2, 2)) for n in shape[:count]], axis=-1)
        d.add(op, [x, d.constant(index, np.int64)])
        return
    axis = d.axis(rank)
    n = shape[axis]
    if op == "Gather":
        index = d.rng.integers(-n, n, d.shape(1, 2) if d.chance(0.7) else ())
    else:
        index = d.rng.integers(-n, n, tuple(d.whole(1, m) for m in shape))
    d.add(op, [x, d.constant(index, np.int64)], axis=axis)


def _scatter(d: Draft, op: str) -> None:
    x = d.pick(low=1)
    shape = d.of(x).shape
    rank = len(shape)
    reductions = {11: ["none"], 13: ["none"]}.get(d.opset, ["none", "add", "mul", "max", "min"])
    more = {} if d.opset < 16 else {"reduction": d.one(reductions)}
    if op == "ScatterND":
        count, rows = d.whole(1, rank), d.whole(1, 3)
        places = d.rng.permutation(int(np.prod(shape[:count])))[:rows]
        index = np.stack(np.unravel_index(places, shape[:count]), axis=-1)
        updates: tuple[int, ...] = (len(places), *shape[count:])
    else:
        axis = d.axis(rank)
        updates = tuple(d.whole(1, m) for m in shape)
        index = np.argsort(d.rng.random(shape), axis=axis)[tuple(slice(n) for n in updates)]
        more["axis"] = axis
    given = d.constant(d.real(*updates)) if d.chance(0.5) else d.input(updates)
    d.add(op, [x, d.constant(index, np.int64), given], **more)


def _top_k(d: Draft, op: str) -> None:
    x = d.pick(low=1)
    axis = d.axis(d.of(x).ndim)
    d.add(op, [x, d.ints(d.whole(1, d.of(x).shape[axis]))], outputs=2, axis=axis, largest=d.whole(0, 1))


def _trilu(d: Draft, op: str) -> None:
    k = [d.constant(d.whole(-2, 2), np.int64)] if d.chance() else []
    d.add(op, [d.pick(low=2), *k], upper=d.whole(0, 1))


def _resize(d: Draft, op: str) -> None:
    x = _space(d)
    shape = d.of(x).shape
    mode = d.one(["nearest", "linear", "cubic"]) if len(shape) == 4 else d.one(["nearest", "linear"])
    coordinates = d.one(["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"])
    more: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": coordinates}
    if mode == "nearest":
        more["nearest_mode"] = d.one(["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
    if mode == "cubic":
        more |= {"cubic_coeff_a": d.one([None, -0.5]), "exclude_outside": d.whole(0, 1)}
    roi = d.constant([]) if d.opset < 13 else ""  # which opset 11 does not let a node leave out
    if d.chance():
        scales = [1.0, 1.0, *(d.one([2.0, 1.5, 0.5, 3.0, 1.25]) for _ in shape[2:])]
        if all(int(n * scale) == n for n, scale in zip(shape, scales, strict=True)):
            raise Unfit("onnxruntime copies what keeps its size, whatever the scales")
        d.add(op, [x, roi, d.constant(scales)], **more)
    else:
        d.add(
            op, [x, roi, d.constant([]) if roi else "", d.ints(*shape[:2], *(d.whole(1, 8) for _ in shape[2:]))], **more
        )


def _upsample(d: Draft, op: str) -> None:
    x = d.pick(low=4, high=4)
    d.add(
        op,
        [x, d.constant([1.0, 1.0, *(d.one([1.0, 2.0, 3.0, 1.5]) for _ in range(2))])],
        mode=d.one(["nearest", "linear"]),
    )


def _grid_sample(d: Draft, op: str) -> None:
    x = d.pick(low=4, high=4)
    modes = ["linear", "nearest", "cubic"] if d.opset >= 20 else ["bilinear", "nearest", "bicubic"]
    shape = (d.of(x).shape[0], d.whole(1, 4), d.whole(1, 4), 2)
    grid = d.rng.uniform(-1.3, 1.3, shape)
    given = d.constant(grid) if d.chance(0.7) else d.add("Tanh", [d.input(shape)])
    border = d.one(["zeros", "border", "reflection"])
    d.add(op, [x, given], mode=d.one(modes), padding_mode=border, align_corners=d.whole(0, 1))


def _swiglu(d: Draft, op: str) -> None:
    x = d.pick(low=1)
    d.add(op, [x, d.input(d.of(x).shape)], alpha=d.one([None, 0.5]))


MAKERS: Mapping[str, Maker] = {
    **dict.fromkeys(["Add", "Sub", "Mul", "Div", "Mod", "And", "Or", "Xor"], _binary),
    **dict.fromkeys(["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"], _binary),
    **dict.fromkeys(["Max", "Min", "Sum", "Mean"], _many),
    **dict.fromkeys(["Conv", "ConvTranspose"], _conv),
    **dict.fromkeys(["AveragePool", "MaxPool", "LpPool"], _pool),
    **dict.fromkeys(["GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"], _global),
    **dict.fromkeys(["InstanceNormalization", "GroupNormalization"], _channel_norm),
    **dict.fromkeys(["LayerNormalization", "RMSNormalization"], _layer_norm),
    **dict.fromkeys(["Softmax", "LogSoftmax", "Hardmax"], _softmax),
    **dict.fromkeys(["Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Expand", "Tile", "Identity"], _shaped),
    **dict.fromkeys(["Gather", "GatherElements", "GatherND"], _gather),
    **dict.fromkeys(["Scatter", "ScatterElements", "ScatterND"], _scatter),
    **dict.fromkeys(["ArgMax", "ArgMin"], _arg),
    **dict.fromkeys(["DepthToSpace", "SpaceToDepth"], _blocks),
    **dict.fromkeys(["Cast", "CastLike"], _cast),
    **dict.fromkeys([op for op in OPERATORS if op.startswith("Reduce")], _reduce),
    **{"BatchNormalization": _batch_norm, "Clip": _clip, "Concat": _concat, "CumSum": _cum_sum, "Dropout": _dropout},
    **{
        "CumProd": _cum_sum,
        "DFT": _dft,
        "Einsum": _einsum,
        "OneHot": _one_hot,
        "ReverseSequence": _reverse_sequence,
        "Col2Im": _column_to_image,
        "Gemm": _gemm,
        "GridSample": _grid_sample,
        "LRN": _lrn,
        "LpNormalization": _lp_norm,
        "MatMul": _matmul,
    },
    **{"MeanVarianceNormalization": _mean_variance, "Not": _not, "PRelu": _prelu, "Pad": _pad, "Pow": _pow},
    **{"Resize": _resize, "Slice": _slice, "Split": _split, "SwiGLU": _swiglu, "TopK": _top_k, "Trilu": _trilu},
    **{"Upsample": _upsample, "Where": _where},
}
"""The operators that are not in it take one tensor and give another of the same shape."""

OPERATOR_NAMES = tuple(sorted(OPERATORS))
LAST_OPSETS = {"Upsample": 9, "Scatter": 10}  # of operators that newer versions do not have


@dataclass(frozen=True)
class RandomGraph:
    """``op`` is the operator whose turn it was, ``nodes`` all operators, ``shapes`` those of the inputs by name."""

    seed: int
    op: str
    proto: onnx.ModelProto
    shapes: Mapping[str, tuple[int, ...]]
    nodes: tuple[str, ...]


def random_graph(seed: int) -> RandomGraph:
    op = OPERATOR_NAMES[seed % len(OPERATOR_NAMES)]
    for attempt in range(200):
        try:
            return _drawn(seed, op, np.random.default_rng([seed, attempt]))
        except Unfit:
            continue
    raise AssertionError(f"seed {seed}: no valid graph of {op} was drawn")


def _drawn(seed: int, op: str, rng: np.random.Generator) -> RandomGraph:
    since = onnx.defs.get_schema(op, LAST_OPSETS.get(op, NEWEST), "").since_version
    first = min(s.since_version for s in onnx.defs.get_all_schemas_with_history() if s.name == op and s.domain == "")
    opset = int(rng.choice([o for o in OPSETS if o >= first and _exists(op, o)] or [max(first, since)]))
    d = Draft(rng, LAST_OPSETS.get(op, opset))
    d.input(d.shape())
    usable = [o for o in OPERATOR_NAMES if _exists(o, d.opset)]
    for chosen in (*(d.one(usable) for _ in range(d.whole(0, 2))), op, *(d.one(usable) for _ in range(d.whole(0, 2)))):
        try:
            MAKERS.get(chosen, _unary)(d, chosen)
        except Unfit:
            if chosen == op:
                raise
    made = [name for n in d.nodes for name in n.output]
    read = {name for n in d.nodes for name in n.input}
    everything = d.chance()
    outputs = [name for name in made if everything or name not in read]
    used = {name for name in read if name in d.inputs}
    proto = helper.make_graph(
        d.nodes,
        "random",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in d.inputs.items() if n in used],
        [helper.make_tensor_value_info(n, TYPES[d.of(n).dtype.kind], None) for n in outputs],
        [numpy_helper.from_array(values, name) for name, values in d.constants.items()],
    )
    whole = helper.make_model(proto, opset_imports=[helper.make_opsetid("", d.opset)], ir_version=8)
    return RandomGraph(seed, op, whole, {n: s for n, s in d.inputs.items() if n in used}, tuple(d.ops))


def _exists(op: str, opset: int) -> bool:
    try:
        schema = onnx.defs.get_schema(op, opset, "")
    except onnx.defs.SchemaError:
        return False
    return not schema.deprecated


# Comparing ----------------------------------------------------------------------------------------------------------

SPECIAL = np.array(
    [np.nan, np.inf, -np.inf, -0.0, 0.0, 1e-42, -1e-40, np.finfo(np.float32).max, -np.finfo(np.float32).max],
    dtype=np.float32,
)


def special_inputs(graph: RandomGraph) -> dict[str, Array]:
    """Common numbers with a few special ones among them."""
    rng = np.random.default_rng([graph.seed, 1])
    feeds = {}
    for name, shape in graph.shapes.items():
        x = rng.standard_normal(shape).astype(np.float32)
        where = rng.random(shape) < rng.choice([0.05, 0.3])
        feeds[name] = np.asarray(np.where(where, rng.choice(SPECIAL, shape), x), dtype=np.float32)
    return feeds


def common_inputs(graph: RandomGraph) -> dict[str, Array]:
    rng = np.random.default_rng([graph.seed, 2])
    return {n: np.asarray(rng.standard_normal(s), dtype=np.float32) for n, s in graph.shapes.items()}


def ours(network: Graph, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Every tensor of the imported spec in float64."""
    given = {i.name: np.asarray(feeds[i.name], np.float64).reshape(i.shape) for i in network.inputs}
    with np.errstate(all="ignore"):
        return network.evaluate(given)


def as_float32(y: Array) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(y, dtype=np.float32).astype(np.float64)


def verdict(graph: RandomGraph, folder: Path) -> tuple[str, str]:
    """ "equal", "refused" or "DIFFERENT", and why."""
    path = folder / "net.onnx"
    path.write_bytes(graph.proto.SerializeToString())
    kind = "common"
    try:
        network = open_model(path).graph
        checked = check_onnx(path, network, {}, lambda step: None, list(compare.draws(graph.shapes)))
        kind = "special"
        checked = check_onnx(path, network, {}, lambda step: None, [special_inputs(graph)])
    except Mismatch as error:
        what = str(error).partition("first tensor that differs is ")[2].partition("  This is")[0]
        return "DIFFERENT", f"{what} of {kind} inputs"
    except ClgenError as error:
        return "refused", str(error).splitlines()[-1].strip()
    if checked.notes:
        return "DIFFERENT", checked.notes[0]
    feeds = common_inputs(graph)
    values = ours(network, feeds)
    if any(np.isnan(v).any() for v in values.values()):
        return "equal", ""  # onnxruntime drops NaN in some reductions and pools
    try:
        second = expected(graph.proto, feeds)
    except Exception as error:  # onnxruntime's own classes
        return "equal", f"onnxruntime: {str(error).splitlines()[0][:120]}"
    rng = np.random.default_rng(graph.seed)
    moved = ours(network, {n: x * (1 + 2.0**-22 * rng.standard_normal(x.shape)) for n, x in feeds.items()})
    # Where functions jump, float32's roundings decide: exp(-50) - 1 is -1, and as a whole number -1, not 0.
    given = {i.name: np.asarray(feeds[i.name]).reshape(i.shape) for i in network.inputs}
    rounded = rounded_evaluation(network, sources(given), all_outputs(network))
    theirs_by_name = dict(zip((port.name for port in graph.proto.graph.output), second, strict=True))
    for output in network.outputs:  # constants that float32 does not hold are left out
        theirs = theirs_by_name[output.name]
        with np.errstate(invalid="ignore"):
            change = np.abs(moved[output.value] - values[output.value])
        # Sums that cancel amplify the rounding errors of float32.
        noise = float(np.max(change, initial=0.0, where=np.isfinite(change)))
        b = as_float32(theirs)
        # A scalar is [1] in a spec; its shape is compared by check_onnx.
        own = values[output.value].shape
        shape = b.shape if b.size == 1 and own == (1,) else own
        found = [as_float32(v[output.value]).reshape(shape) for v in (values, rounded)]
        differences = [compare.difference(a, b, 1e-4, 16 * noise) for a in found]
        if all(differences) and not _explained(graph):
            return "DIFFERENT", f"{output.name} by onnxruntime: {differences[0]}"
    return "equal", ""


def _explained(graph: RandomGraph) -> bool:
    """True if onnxruntime is known to differ for a node of the graph."""
    opset = graph.proto.opset_import[0].version
    for node in graph.proto.graph.node:
        values = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        attributes = {k: v.decode() if isinstance(v, bytes) else v for k, v in values.items()}
        if RUNTIME in unlike(Use(node.op_type, attributes, opset, list(node.input))):
            return True
    return False


def verified(graph: RandomGraph, folder: Path, device: str = "Intel(R) OpenCL") -> tuple[str, str]:
    """The generated code of a graph that is imported right, by ``clgen verify``."""
    path = folder / "net.onnx"
    path.write_bytes(graph.proto.SerializeToString())
    result = CliRunner().invoke(cli.main, ["verify", str(path), "--device", device])
    if result.exit_code == 0:
        return "equal", ""
    wrong = [line.strip() for line in result.stdout.splitlines() if "WRONG" in line or "DIFFERS" in line]
    why = "; ".join([*wrong[:3], *result.stderr.splitlines()[-1:], repr(result.exception)])
    return "refused" if result.exit_code in (2, 3) else "DIFFERENT", f"verify: {why}"


def described(graph: RandomGraph) -> str:
    """The graph on a few lines, with small constants."""
    constants = {t.name: numpy_helper.to_array(t) for t in graph.proto.graph.initializer}
    lines = [f"seed {graph.seed}, opset {graph.proto.opset_import[0].version}, inputs {dict(graph.shapes)}"]
    for n in graph.proto.graph.node:
        shown = [f"{i}{list(constants[i].shape)}" if i in constants else i or "_" for i in n.input]
        attributes = {a.name: helper.get_attribute_value(a) for a in n.attribute}
        lines.append(f"  {', '.join(n.output)} = {n.op_type}({', '.join(shown)}) {attributes or ''}")
    for name, values in constants.items():
        if values.size <= 8:
            lines.append(f"  {name} = {values.tolist()} {values.dtype}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--show", type=int, default=40, help="differences to print in full")
    parser.add_argument("--verify", type=int, default=0, help="build and run every so manyth graph")
    options = parser.parse_args()
    counts: dict[str, Counter[str]] = {op: Counter() for op in OPERATOR_NAMES}
    shown = 0
    reasons: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(options.first, options.first + options.count):
            graph = random_graph(seed)
            says, why = verdict(graph, Path(folder))
            if says == "equal" and options.verify and seed % options.verify == 0:
                says, why = verified(graph, Path(folder))
            counts[graph.op][says] += 1
            if says == "refused":
                reasons[why[:110]] += 1
            if says == "DIFFERENT" and shown < options.show:
                shown += 1
                print(f"{graph.op}: {why}\n{described(graph)}\n", flush=True)
    for op, found in counts.items():
        print(f"{op:28}" + "".join(f"{word} {found[word]:4}  " for word in ("equal", "refused", "DIFFERENT")))
    print("refused:", *(f"\n  {n} {why}" for why, n in reasons.most_common(40)))
    total = Counter[str]()
    for found in counts.values():
        total.update(found)
    print(dict(total))


if __name__ == "__main__":
    onnxruntime.set_default_logger_severity(4)
    main()
