"""Every ONNX operator that the importer knows, over attributes, opsets, ranks and sides of constants.

Each case is a model of one operator (with a Cast in front where its data are whole numbers or truths), evaluated by
our float64 reference, by onnxruntime and by onnx.reference.  Behind the operator stand two probes: Unsqueeze, which
tells a scalar from a vector of one element, and a division by 2, which tells whole numbers from floats.

A case is wrong if it differs from both engines; or from one where no documented choice says that they differ.

    python -m tests.programs.sweep_onnx [PATTERN] [--every N]     # names of cases that match; each Nth case
"""

from __future__ import annotations

import argparse
import itertools
import math
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from codegen.errors import ClgenError
from codegen.importers.onnx.choices import REFERENCE, RUNTIME, Use, documented
from codegen.importers.open import open_model

Array = NDArray[Any]
TYPES = {"float": TensorProto.FLOAT, "int": TensorProto.INT64, "int32": TensorProto.INT32, "bool": TensorProto.BOOL}
NUMPY: dict[str, type[np.generic]] = {"float": np.float32, "int": np.int64, "int32": np.int32, "bool": np.bool_}

# Data ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Live:
    """An input of the network: float32, with a Cast behind it for another type."""

    values: Array
    kind: str = "float"


Given = Live | Array | None  # an input, a constant, or nothing


@dataclass(frozen=True, eq=False)
class Case:
    name: str
    op: str
    inputs: Sequence[Given]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    opset: int = 17
    outputs: int = 1
    probe: bool = True
    tolerance: float = 1e-4  # of the largest output: engines compute in float32


def numbers(shape: Sequence[int], seed: int = 0, kind: str = "float") -> Array:
    """Quarters from -4 to 4, which leave hardly anything to round; whole numbers; truths."""
    drawn = np.random.default_rng([seed, len(shape), *shape]).integers(-16, 17, size=tuple(shape))
    if kind == "bool":
        return np.asarray(drawn > 0)
    return np.asarray(drawn / 4, dtype=np.float32) if kind == "float" else np.asarray(drawn, dtype=NUMPY[kind])


def live(*shape: int, seed: int = 0, kind: str = "float", positive: bool = False) -> Live:
    values = numbers(shape, seed, kind)
    return Live(np.asarray(np.abs(values) + 1 if positive else values, dtype=np.float32), kind)


def constant(*shape: int, seed: int = 1, kind: str = "float", positive: bool = False) -> Array:
    values = numbers(shape, seed, kind)
    return np.asarray(np.abs(values) + 1, dtype=values.dtype) if positive else values


def ints(*values: int) -> Array:
    return np.array(values, dtype=np.int64)


def floats(*values: float) -> Array:
    return np.array(values, dtype=np.float32)


def by(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"


SHAPES: tuple[tuple[int, ...], ...] = (
    (),
    (1,),
    (3,),
    (1, 3),
    (2, 3),
    (2, 3, 4),
    (1, 3, 2, 4),
    (2, 3, 2, 4),
    (2, 3, 1, 2, 2),
)

# The model of a case ------------------------------------------------------------------------------------------------


def model_of(case: Case) -> tuple[onnx.ModelProto, dict[str, Array]]:
    nodes, values, tensors = [], [], []
    feeds: dict[str, Array] = {}
    names = []
    for k, given in enumerate(case.inputs):
        name = f"in{k}"
        names.append("" if given is None else name)
        if isinstance(given, Live):
            fed = name if given.kind == "float" else f"{name}_float"
            feeds[fed] = np.asarray(given.values, dtype=np.float32)
            values.append(helper.make_tensor_value_info(fed, TensorProto.FLOAT, given.values.shape))
            if given.kind != "float":
                nodes.append(helper.make_node("Cast", [fed], [name], to=TYPES[given.kind]))
        elif given is not None:
            tensors.append(numpy_helper.from_array(given, name))
    while names and not names[-1]:
        names.pop()
    outputs = [f"y{k}" for k in range(case.outputs)]
    nodes.append(helper.make_node(case.op, names, outputs, "node", **case.attributes))
    made = [helper.make_empty_tensor_value_info(name) for name in outputs]
    graph = helper.make_graph(nodes, "g", values, made, tensors)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", case.opset)], ir_version=8)
    if case.probe:
        _probe(proto, case.opset)
    else:
        inferred = onnx.shape_inference.infer_shapes(proto)
        for port, value in zip(proto.graph.output, inferred.graph.output, strict=True):
            port.type.CopyFrom(value.type)
    for port in list(proto.graph.output):
        if port.type.tensor_type.elem_type not in (TensorProto.FLOAT, TensorProto.UNDEFINED):
            _as_float(proto, port)
    return proto, feeds


def _probe(proto: onnx.ModelProto, opset: int) -> None:
    """Adds two outputs: one with an axis more, and one divided by 2."""
    graph = onnx.shape_inference.infer_shapes(proto).graph
    kind = graph.output[0].type.tensor_type.elem_type
    for port, value in zip(proto.graph.output, graph.output, strict=True):
        port.type.CopyFrom(value.type)
    if opset >= 13:
        proto.graph.initializer.append(numpy_helper.from_array(ints(0), "probe_axes"))
        proto.graph.node.append(helper.make_node("Unsqueeze", ["y0", "probe_axes"], ["more_axes"]))
    else:
        proto.graph.node.append(helper.make_node("Unsqueeze", ["y0"], ["more_axes"], axes=[0]))
    proto.graph.output.append(helper.make_tensor_value_info("more_axes", kind, None))
    if kind in (TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT32):
        two = np.array(2, dtype=helper.tensor_dtype_to_np_dtype(kind))
        proto.graph.initializer.append(numpy_helper.from_array(two, "probe_two"))
        proto.graph.node.append(helper.make_node("Div", ["y0", "probe_two"], ["half"]))
        proto.graph.output.append(helper.make_tensor_value_info("half", kind, None))


def _as_float(proto: onnx.ModelProto, port: onnx.ValueInfoProto) -> None:
    name = port.name
    proto.graph.node.append(helper.make_node("Cast", [name], [f"{name}_as_float"], to=TensorProto.FLOAT))
    port.name = f"{name}_as_float"
    port.type.tensor_type.elem_type = TensorProto.FLOAT


# Three answers ------------------------------------------------------------------------------------------------------


def ours(proto: onnx.ModelProto, feeds: Mapping[str, Array], folder: Path) -> list[Array]:
    path = folder / "net.onnx"
    path.write_bytes(proto.SerializeToString())
    graph = open_model(path).graph
    given = {i.name: feeds[i.name].astype(np.float64).reshape(i.shape) for i in graph.inputs}
    values = graph.evaluate(given)
    return [values[output.value] for output in graph.outputs]


def by_onnxruntime(proto: onnx.ModelProto, feeds: Mapping[str, Array]) -> list[Array] | str:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return [np.asarray(y) for y in session.run(None, dict(feeds))]
    except Exception as error:  # what it has no kernel for
        return str(error).splitlines()[0][:150]


def by_onnx(proto: onnx.ModelProto, feeds: Mapping[str, Array]) -> list[Array] | str:
    try:
        with np.errstate(all="ignore"):
            return [np.asarray(y) for y in ReferenceEvaluator(proto).run(None, dict(feeds))]
    except Exception as error:
        return str(error).splitlines()[0][:150] if str(error) else type(error).__name__


def differ(got: Sequence[Array], true: Sequence[Array], tolerance: float) -> str:
    """A description of the difference of two answers, "" if none; a scalar output has one axis in a spec."""
    for k, (y, t) in enumerate(zip(got, true, strict=True)):
        if y.shape != (t.shape or (1,)) and y.shape != t.shape:
            return f"output {k} has shape {list(y.shape)}, not {list(t.shape)}"
        a, b = np.asarray(y, dtype=np.float64).reshape(-1), np.asarray(t, dtype=np.float64).reshape(-1)
        finite = np.isfinite(b)
        most = max(float(np.max(np.abs(b[finite]), initial=0)), 1e-3)
        with np.errstate(invalid="ignore"):
            same = np.where(finite, np.abs(a - b) <= tolerance * most, (a == b) | (np.isnan(a) & np.isnan(b)))
        if not same.all():
            at = int(np.argmin(same))
            return f"output {k} has {a[at]:g} at {at}, not {b[at]:g}"
    return ""


class Unanswered(Exception):
    """No engine computes the case."""


def node_of(proto: onnx.ModelProto) -> onnx.NodeProto:
    """The node that a case is about."""
    return next(node for node in proto.graph.node if node.name == "node")


@dataclass(frozen=True)
class Verdict:
    """``what`` is "same", "choice" (engines differ, and a documented choice says whom we follow), "refused",
    "unknown" (no engine computes it) or "wrong"."""

    what: str
    why: str = ""


def differences(case: Case, folder: Path) -> dict[str, str]:
    """The difference of each engine's answer from ours, by the engine's name."""
    proto, feeds = model_of(case)
    got = ours(proto, feeds, folder)
    answers = {RUNTIME: by_onnxruntime(proto, feeds), REFERENCE: by_onnx(proto, feeds)}
    found = {name: differ(got, y, case.tolerance) for name, y in answers.items() if not isinstance(y, str)}
    if not found:
        raise Unanswered(" | ".join(map(str, answers.values())))
    return {name: what for name, what in found.items() if what}


def judge(case: Case, folder: Path) -> Verdict:
    try:
        found = differences(case, folder)
    except ClgenError as error:
        return Verdict("refused", str(error).splitlines()[-1].strip())
    except Unanswered as error:
        return Verdict("unknown", str(error))
    if not found:
        return Verdict("same")
    use = Use(case.op, case.attributes, case.opset, list(node_of(model_of(case)[0]).input))
    choices = documented(use)
    excused = {engine for choice in choices for engine in choice.unlike}
    why = "; ".join(f"{name}: {what}" for name, what in found.items())
    if excused.issuperset(found):
        return Verdict("choice", f"{', '.join(choice.identifier for choice in choices)}: {why}")
    return Verdict("wrong", why)


# Cases --------------------------------------------------------------------------------------------------------------


def arithmetic() -> Iterator[Case]:
    """Two tensors, or a tensor and a constant of every shape that is broadcast to it, on either side."""
    operators = [
        *((op, {}, ("float", "int", "int32")) for op in ("Add", "Sub", "Mul", "Div")),
        *((op, {}, ("float", "int")) for op in ("Max", "Min", "Equal", "Greater", "LessOrEqual")),
        ("Pow", {}, ("float", "int")),
        ("Mod", {"fmod": 1}, ("float", "int")),
        ("Mod", {}, ("int",)),
        *((op, {}, ("float",)) for op in ("GreaterOrEqual", "Less")),
        ("And", {}, ("bool",)),
        ("Xor", {}, ("bool",)),
        ("PRelu", {}, ("float",)),
        ("Mean", {}, ("float",)),
        ("Sum", {}, ("float",)),
    ]
    for op, attributes, kinds in operators:
        for shape, kind in itertools.product(SHAPES, kinds):
            for other in _others(shape):
                for side in ("live", "left", "right"):
                    if op == "PRelu" and (side != "right" or len(np.broadcast_shapes(other, shape)) != len(shape)):
                        continue
                    positive = op in ("Div", "Pow", "Mod")
                    known = constant(*other, kind=kind, positive=positive)
                    x = live(*shape, kind=kind, positive=positive and (side == "left" or kind == "float"))
                    if op == "Pow" and kind == "int":  # powers that integers hold
                        known = known % 4
                        x = Live(x.values % 4, kind)
                    y = Live(np.asarray(known, dtype=np.float32), kind) if side == "live" else known
                    pair: tuple[Given, ...] = (x, y) if side != "left" else (y, x)
                    if op in ("And", "Xor") and kind == "bool" and side != "live":
                        pair = tuple(np.asarray(v, dtype=np.bool_) if isinstance(v, np.ndarray) else v for v in pair)
                    yield Case(
                        f"{op}-{kind}-{by(shape)}-{by(other)}-{side}{'-fmod' if attributes else ''}",
                        op,
                        pair,
                        attributes,
                    )


def _others(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Shapes that are broadcast to this one, and some that this one is broadcast to."""
    found = [(), (1,), shape, shape[-1:], shape[1:], shape[:1] + (1,) * (len(shape) - 1), (1,) * (len(shape) + 1)]
    if len(shape) >= 2:
        found += [(1, shape[1]) + (1,) * (len(shape) - 2), (*shape[:-1], 1), shape[:2] + (1,) * (len(shape) - 2)]
    if len(shape) < 5:
        found += [(2, *shape), (2, 1, *shape)] if len(shape) < 4 else [(2, *shape)]
    return [other for other in dict.fromkeys(found) if len(other) <= 5]


def quotients() -> Iterator[Case]:
    """Div and Mod of whole numbers with either sign, and of numbers that float32 does not hold exactly."""
    x = np.arange(-12, 12, dtype=np.float32).reshape(2, 12)
    for divisor, kind in itertools.product((-7, -2, 1, 3, 5), ("int", "int32")):
        of = np.array(divisor, dtype=NUMPY[kind])
        row = np.where(np.arange(12) % 2, divisor, -divisor).astype(NUMPY[kind])
        for name, y in (("one", of), ("row", row), ("live", Live(row.astype(np.float32), kind))):
            yield Case(f"Div-{kind}-by-{divisor}-{name}", "Div", (Live(x, kind), y))
            yield Case(f"Mod-{kind}-by-{divisor}-{name}", "Mod", (Live(x, kind), y))
            yield Case(f"Mod-fmod-{kind}-by-{divisor}-{name}", "Mod", (Live(x, kind), y), {"fmod": 1})
        other = np.array(17, dtype=NUMPY[kind])
        yield Case(f"Div-{kind}-of-17-{divisor}", "Div", (other, Live(np.full((2, 3), divisor, np.float32), kind)))
    for value in (0.1, 0.3, 41.0, -49.0, 1e-3, 0.0, 2.0**-120):
        yield Case(f"Div-by-{value}", "Div", (Live(x), np.array(value, dtype=np.float32)))


def typed_powers() -> Iterator[Case]:
    for base, exponent in itertools.product(("float", "int", "int32"), repeat=2):
        x = Live(floats(1, 2, 3, 4, 5, 6), base)
        powers = np.array([0, 1, 2, 3, 4, 5], dtype=NUMPY[exponent])
        yield Case(f"Pow-{base}-{exponent}", "Pow", (x, Live(powers.astype(np.float32), exponent)))
        yield Case(f"Pow-{base}-{exponent}-map", "Pow", (x, powers))
        for value in (-2, -1, 0, 1, 2, 3, 5):
            yield Case(f"Pow-{base}-{exponent}-{value}", "Pow", (x, np.array(value, dtype=NUMPY[exponent])))
            of = np.array(value, dtype=NUMPY[base])
            yield Case(f"Pow-{base}-{exponent}-of-{value}", "Pow", (of, Live(floats(0, 1, 2, 3), exponent)))
    for power in (0.5, 1.5, -0.5):
        yield Case(
            f"Pow-int-float-{power}", "Pow", (live(2, 3, kind="int", positive=True), np.array(power, dtype=np.float32))
        )


_UNARY = (
    *("Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Ceil", "Celu", "Cos", "Cosh", "Elu", "Erf", "Exp"),
    *("Floor", "HardSigmoid", "HardSwish", "Identity", "IsNaN", "IsInf", "LeakyRelu", "Log", "Neg", "Reciprocal"),
    *("Relu", "Round", "Selu", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign", "Sqrt", "Tan"),
    *("Tanh", "ThresholdedRelu", "Dropout"),
)


def functions() -> Iterator[Case]:
    special = floats(0.0, -0.0, np.inf, -np.inf, np.nan, 1e30, -1e30, 1e-30, 0.5, -0.5, 1.5, -1.5, 2.5).reshape(1, 13)
    more = {
        "Celu": {"alpha": 0.7}, "Elu": {"alpha": 0.7}, "HardSigmoid": {"alpha": 0.3, "beta": 0.4},
        "LeakyRelu": {"alpha": 0.3}, "Selu": {"alpha": 1.2, "gamma": 0.9}, "Shrink": {"lambd": 0.6, "bias": 0.2},
        "ThresholdedRelu": {"alpha": 0.4},
    }  # fmt: skip
    for op in _UNARY:
        for shape in SHAPES:
            yield Case(f"{op}-{by(shape)}", op, (live(*shape),))
        yield Case(f"{op}-special", op, (Live(special),))
        if op in more:
            yield Case(f"{op}-attributes", op, (live(2, 3, 4),), more[op])
        if op in ("Abs", "Neg", "Sign", "Relu", "Identity"):
            yield Case(f"{op}-int", op, (live(2, 3, kind="int32"),))
    for negative, positive in itertools.product((0, 1), repeat=2):
        flags = {"detect_negative": negative, "detect_positive": positive}
        yield Case(f"IsInf-{negative}{positive}", "IsInf", (Live(special),), flags)
    for kind in ("none", "tanh"):
        yield Case(f"Gelu-{kind}", "Gelu", (live(2, 3),), {"approximate": kind}, 20)
    yield Case("Mish", "Mish", (live(2, 3),), {}, 18)
    for op in ("Max", "Min"):
        for value in (0.0, 6.0, -1.5, np.inf, -np.inf):
            for shape in ((), (1,), (1, 13)):
                yield Case(
                    f"{op}-special-{value}-{by(shape)}", op, (Live(special), np.full(shape, value, dtype=np.float32))
                )
        yield Case(f"{op}-int-constant", op, (live(2, 3, kind="int"), np.array(2, dtype=np.int64)))
        yield Case(f"{op}-three", op, (live(2, 3), constant(3), live(2, 1, seed=2)))
        yield Case(f"{op}-one", op, (live(2, 3),))
    bounds = [
        None,
        np.array(-1, np.float32),
        np.array(np.inf, np.float32),
        np.array(-np.inf, np.float32),
        np.array(2, np.float32),
    ]
    for low, high in itertools.product(bounds, repeat=2):
        yield Case(f"Clip-{low}-{high}", "Clip", (Live(special), low, high))
    yield Case("Clip-int", "Clip", (live(2, 3, kind="int"), np.array(-1), np.array(2)))
    yield Case("Clip-int-open", "Clip", (live(2, 3, kind="int"), np.array(-(2**63)), np.array(2**63 - 1)))
    yield Case("Clip-6", "Clip", (live(2, 3),), {"min": -1.0, "max": 1.0}, 6 + 1)
    yield Case("Clip-6-low", "Clip", (live(2, 3),), {"min": -1.0}, 10)
    for to in TYPES:
        for kind in TYPES:
            yield Case(f"Cast-{kind}-{to}", "Cast", (live(2, 3, kind=kind),), {"to": TYPES[to]})
            yield Case(f"CastLike-{kind}-{to}", "CastLike", (live(2, 3, kind=kind), constant(1, kind=to)))
    for shape in SHAPES:
        for other in _others(shape):
            condition = live(*shape, kind="bool")
            yield Case(f"Where-{by(shape)}-{by(other)}", "Where", (condition, live(*other), constant(*shape, seed=3)))
            yield Case(
                f"Where-constant-{by(shape)}-{by(other)}",
                "Where",
                (constant(*other, kind="bool"), live(*shape), constant(*other)),
            )
            yield Case(
                f"Where-int-{by(shape)}-{by(other)}",
                "Where",
                (condition, constant(*other, kind="int"), constant(*shape, seed=3, kind="int")),
            )
    for op in ("And", "Or", "Xor"):
        yield Case(f"{op}-truths", op, (live(2, 3, kind="bool"), live(2, 3, seed=1, kind="bool")))
    yield Case("Not", "Not", (live(2, 3, kind="bool"),))


def reductions() -> Iterator[Case]:
    kinds = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
    for kind, shape, keep in itertools.product(kinds, SHAPES, (0, 1)):
        rank = len(shape)
        chosen: list[tuple[int, ...] | None] = [None, *((a,) for a in range(rank)), (-1,), tuple(range(rank))]
        chosen += [(0, rank - 1)] if rank > 2 else []
        chosen += [tuple(range(2, rank))] if rank > 2 else []
        for axes in dict.fromkeys(chosen):
            if axes is not None and (not axes or rank == 0):
                continue
            x = live(*shape, positive=kind == "LogSum")
            opset = 18 if kind != "Sum" else 13
            yield Case(
                f"Reduce{kind}-{by(shape)}-{axes}-{keep}",
                f"Reduce{kind}",
                (x, None if axes is None else ints(*axes)),
                {"keepdims": keep},
                opset,
            )
            if rank in (0, 2):
                given = {} if axes is None else {"axes": axes}
                whole = live(*shape, kind="int", positive=kind == "LogSum")
                yield Case(
                    f"Reduce{kind}-11-{by(shape)}-{axes}-{keep}", f"Reduce{kind}", (x,), {"keepdims": keep, **given}, 11
                )
                yield Case(
                    f"Reduce{kind}-int-{by(shape)}-{axes}-{keep}",
                    f"Reduce{kind}",
                    (whole, None if axes is None else ints(*axes)),
                    {"keepdims": keep},
                    opset,
                )
        opset = 18 if kind != "Sum" else 13
        yield Case(
            f"Reduce{kind}-noop-{by(shape)}-{keep}",
            f"Reduce{kind}",
            (live(*shape, positive=True),),
            {"keepdims": keep, "noop_with_empty_axes": 1},
            opset,
        )
    special = floats(np.inf, 1, 2, -np.inf, -np.inf, -np.inf, -np.inf, 3, np.inf).reshape(3, 3)
    for kind in kinds:
        if kind != "LogSumExp":  # onnx.reference makes NaN of it; test_import_numbers.py has the right numbers
            yield Case(
                f"Reduce{kind}-special", f"Reduce{kind}", (Live(special), ints(1)), {}, 18 if kind != "Sum" else 13
            )
    for op, shape, keep, last in itertools.product(("ArgMax", "ArgMin"), SHAPES[1:], (0, 1), (0, 1)):
        for axis in {0, len(shape) - 1, -1}:
            yield Case(
                f"{op}-{by(shape)}-{axis}-{keep}{last}",
                op,
                (live(*shape),),
                {"axis": axis, "keepdims": keep, "select_last_index": last},
            )
    for shape in SHAPES[1:]:
        for axis, exclusive, reverse in itertools.product({0, len(shape) - 1}, (0, 1), (0, 1)):
            yield Case(
                f"CumSum-{by(shape)}-{axis}-{exclusive}{reverse}",
                "CumSum",
                (live(*shape), np.array(axis)),
                {"exclusive": exclusive, "reverse": reverse},
            )
    for op, opset in itertools.product(("Softmax", "LogSoftmax", "Hardmax"), (11, 13)):
        for shape in SHAPES[1:]:
            for axis in {0, 1 % len(shape), len(shape) - 1, -1}:
                yield Case(f"{op}-{opset}-{by(shape)}-{axis}", op, (live(*shape),), {"axis": axis}, opset)
            yield Case(f"{op}-{opset}-{by(shape)}", op, (live(*shape),), {}, opset)
    for largest, axis in itertools.product((0, 1), (0, 1, -1)):
        yield Case(
            f"TopK-{largest}-{axis}", "TopK", (live(3, 4, 5), ints(2)), {"largest": largest, "axis": axis}, outputs=2
        )
    yield Case("TopK-vector", "TopK", (live(5), ints(1)), {}, outputs=2)
    yield Case("TopK-9", "TopK", (live(2, 5),), {"k": 2}, 9, outputs=2)


def moves() -> Iterator[Case]:
    """Operators that move elements."""
    for shape in SHAPES:
        rank = len(shape)
        x = live(*shape)
        size = math.prod(shape)
        for wanted in ((size,), (1, size), (-1,), (size, 1, 1), (1, -1, 1), (0, -1), ()):
            if (wanted == () and size != 1) or (0 in wanted and not rank):
                continue
            yield Case(f"Reshape-{by(shape)}-{wanted}", "Reshape", (x, np.array(wanted, dtype=np.int64)))
        for axis in range(-rank, rank + 1):
            yield Case(f"Flatten-{by(shape)}-{axis}", "Flatten", (x,), {"axis": axis})
        for axes in ((0,), (-1,), (0, 2), (1, 0)):
            if max(axes) <= rank + len(axes) - 1 and rank + len(axes) <= 5:
                yield Case(f"Unsqueeze-{by(shape)}-{axes}", "Unsqueeze", (x, ints(*axes)))
                yield Case(
                    f"Unsqueeze-11-{by(shape)}-{axes}",
                    "Unsqueeze",
                    (x,),
                    {"axes": sorted(a % (rank + len(axes)) for a in axes)},
                    11,
                )
        yield Case(f"Squeeze-{by(shape)}", "Squeeze", (x,))
        for axis in (a for a, n in enumerate(shape) if n == 1):
            yield Case(f"Squeeze-{by(shape)}-{axis}", "Squeeze", (x, ints(axis)))
        yield Case(f"Transpose-{by(shape)}", "Transpose", (x,))
        if rank > 1:
            yield Case(f"Transpose-{by(shape)}-perm", "Transpose", (x,), {"perm": [*range(1, rank), 0]})
        for target in dict.fromkeys((shape, (1,), (2, *shape), (2, 2, *shape), ())):
            if len(np.broadcast_shapes(target, shape)) <= 5:
                yield Case(f"Expand-{by(shape)}-{by(target)}", "Expand", (x, np.array(target, dtype=np.int64)))
        if rank:
            yield Case(f"Tile-{by(shape)}", "Tile", (x, ints(*(1 + a % 2 for a in range(rank)))))
        for axis in range(-rank, rank):
            yield Case(
                f"Concat-{by(shape)}-{axis}", "Concat", (x, live(*shape, seed=5), live(*shape, seed=6)), {"axis": axis}
            )
            n = shape[axis]
            for index in (np.array(0), np.array(-1), ints(n - 1, 0), ints(0, n - 1, 0).reshape(1, 3)):
                yield Case(
                    f"Gather-{by(shape)}-{axis}-{by(index.shape)}{index.reshape(-1)[0]}",
                    "Gather",
                    (x, index),
                    {"axis": axis},
                )
            index = np.zeros(shape, dtype=np.int64)
            yield Case(f"GatherElements-{by(shape)}-{axis}", "GatherElements", (x, index + n - 1), {"axis": axis})
            for reduction in ("none", "add", "mul", "max", "min"):
                update = (x, index, live(*shape, seed=7)) if n > 1 or reduction == "none" else None
                if update is not None and reduction == "none":
                    update = (x, np.asarray(np.indices(shape)[axis], dtype=np.int64), live(*shape, seed=7))
                if update is not None:
                    yield Case(
                        f"ScatterElements-{by(shape)}-{axis}-{reduction}",
                        "ScatterElements",
                        update,
                        {"axis": axis, "reduction": reduction},
                        18,
                    )
            for start, end, step in (
                (0, n, 1),
                (1, n, 1),
                (-1, -n - 1, -1),
                (0, 2**31, 2),
                (-2, 100, 1),
                (n, -(2**31), -2),
            ):
                if len(range(*slice(start, end, step).indices(n))):
                    yield Case(
                        f"Slice-{by(shape)}-{axis}-{start}:{end}:{step}",
                        "Slice",
                        (x, ints(start), ints(end), ints(axis), ints(step)),
                    )
            if n > 1:
                yield Case(f"Split-{by(shape)}-{axis}", "Split", (x, ints(1, n - 1)), {"axis": axis}, outputs=2)
                yield Case(
                    f"Split-18-{by(shape)}-{axis}", "Split", (x,), {"axis": axis, "num_outputs": 2}, 18, outputs=2
                )
        for mode, k in itertools.product(("constant", "edge", "reflect", "wrap"), range(3)):
            if rank and (mode != "reflect" or min(shape) > 1):
                pads = [(a + k) % 2 for a in range(2 * rank)]
                yield Case(
                    f"Pad-{by(shape)}-{mode}-{k}",
                    "Pad",
                    (x, ints(*pads), np.array(1.5, np.float32) if mode == "constant" else None),
                    {"mode": mode},
                    19,
                )
        if rank:
            yield Case(f"Pad-{by(shape)}-axes", "Pad", (x, ints(1, 2), None, ints(-1)), {}, 19)
            yield Case(
                f"Pad-{by(shape)}-infinite", "Pad", (x, ints(*[1] * (2 * rank)), np.array(-np.inf, np.float32)), {}, 19
            )
            yield Case(f"GatherND-{by(shape)}", "GatherND", (x, np.zeros((2, rank), dtype=np.int64)))
            yield Case(f"ScatterND-{by(shape)}", "ScatterND", (x, np.zeros((1, rank), dtype=np.int64), live(1, seed=4)))
        if rank >= 2:
            for upper, k in itertools.product((0, 1), (-1, 0, 1)):
                yield Case(f"Trilu-{by(shape)}-{upper}{k}", "Trilu", (x, np.array(k)), {"upper": upper})
    x = live(2, 3, 4)
    keys: dict[str, Any]
    for opset, keys in ((9, {"starts": [1, 0], "ends": [3, 2], "axes": [2, 1]}), (9, {"starts": [-2], "ends": [9]})):
        yield Case(f"Slice-{opset}-{keys['starts']}", "Slice", (x,), keys, opset)
    yield Case("Slice-several", "Slice", (x, ints(3, 0), ints(-9, 2), ints(-1, 1), ints(-2, 1)))
    yield Case("Slice-plain", "Slice", (x, ints(0, 1), ints(1, 3)))
    for padding in ((0, 1, 0, 0, 0, 2), (0, -1, 0, 0, 0, 2), (1, 0, -1, 0, 1, -1)):
        yield Case(f"Pad-10-{padding}", "Pad", (x,), {"pads": padding, "value": 2.5}, 10)
        yield Case(f"Pad-13-{padding}", "Pad", (x, ints(*padding), np.array(2.5, np.float32)), {}, 13)
    for opset, keys in ((11, {"axis": 2, "split": [1, 3]}), (11, {"axis": -1})):
        yield Case(f"Split-{opset}-{keys}", "Split", (x,), keys, opset, outputs=2)
    yield Case("Unsqueeze-11-negative", "Unsqueeze", (x,), {"axes": [-1, 0]}, 11)
    yield Case("Squeeze-11-negative", "Squeeze", (live(2, 1, 3, 1),), {"axes": [-1, -3]}, 11)
    yield Case("GatherElements-negative", "GatherElements", (x, np.full((2, 3, 2), -2)), {"axis": 2})
    yield Case("GatherND-batch", "GatherND", (x, np.array([[[1], [0]], [[2], [-1]]])), {"batch_dims": 1})
    yield Case("GatherND-rows", "GatherND", (x, np.array([[0, 1], [1, -1]])))
    for reduction in ("none", "add", "mul", "max", "min"):
        given = (x, np.array([[0, 1], [1, -1]]), live(2, 4, seed=3))
        yield Case(f"ScatterND-{reduction}", "ScatterND", given, {"reduction": reduction}, 18)
    yield Case("Scatter-9", "Scatter", (x, np.array([[[1, 0]]]), live(1, 1, 2, seed=3)), {"axis": 1}, 9)
    for kind in ("int", "int32"):
        yield Case(f"CumSum-{kind}", "CumSum", (live(2, 3, kind=kind), np.array(1)))
        yield Case(f"Concat-{kind}", "Concat", (live(2, 3, kind=kind), live(2, 3, seed=1, kind=kind)), {"axis": 1})
        yield Case(f"Gather-{kind}", "Gather", (live(2, 3, kind=kind), ints(1, 0)), {"axis": 1})
        yield Case(f"Where-{kind}", "Where", (live(2, 3, kind="bool"), live(2, 3, kind=kind), constant(kind=kind)))
        for op in ("Relu", "Transpose", "Neg", "Abs", "Sign"):
            yield Case(f"{op}-of-{kind}", op, (live(2, 3, 4, kind=kind),))
    for mode, size in itertools.product(("DCR", "CRD"), (1, 2)):
        yield Case(
            f"DepthToSpace-{mode}-{size}", "DepthToSpace", (live(2, 8, 2, 3),), {"mode": mode, "blocksize": size}
        )
    yield Case("SpaceToDepth", "SpaceToDepth", (live(2, 3, 4, 6),), {"blocksize": 2})
    yield Case("Shape-scalar", "Shape", (live(),), probe=False)


def products() -> Iterator[Case]:
    for a, b, (alpha, beta) in itertools.product((0, 1), (0, 1), ((1.0, 1.0), (0.5, 2.0), (1.0, 0.0), (1.0, 0.5))):
        x, w = live(*((3, 2) if a else (2, 3))), constant(*((4, 3) if b else (3, 4)))
        keys = {"transA": a, "transB": b, "alpha": alpha, "beta": beta}
        for c in (
            None,
            constant(4),
            constant(1),
            constant(),
            constant(2, 4),
            constant(2, 1),
            constant(1, 4),
            live(2, 4, seed=3),
            live(4, seed=3),
            live(seed=3),
        ):
            word = "live" if isinstance(c, Live) else "constant"
            shape = None if c is None else c.values.shape if isinstance(c, Live) else c.shape
            yield Case(f"Gemm-{a}{b}-{alpha}-{beta}-{word}-{shape}", "Gemm", (x, w, c), keys)
        yield Case(f"Gemm-live-{a}{b}-{alpha}-{beta}", "Gemm", (x, live(*w.shape, seed=4), constant(4)), keys)
    pairs = [
        ((3,), (3,)),
        ((2, 3), (3,)),
        ((3,), (3, 4)),
        ((2, 3), (3, 4)),
        ((2, 2, 3), (3, 4)),
        ((2, 2, 3), (2, 3, 4)),
        ((2, 3), (2, 3, 4)),
        ((1, 2, 2, 3), (2, 1, 3, 4)),
        ((2, 1, 2, 1, 3), (3, 4)),
        ((2, 2, 3), (3,)),
        ((3,), (2, 3, 4)),
    ]
    for first, second in pairs:
        for kind in ("float", "int"):
            for side in ("live", "left", "right"):
                left: Given = constant(*first, kind=kind) if side == "left" else live(*first, kind=kind)
                right: Given = constant(*second, kind=kind) if side == "right" else live(*second, seed=1, kind=kind)
                yield Case(f"MatMul-{kind}-{by(first)}-{by(second)}-{side}", "MatMul", (left, right))


def windows() -> Iterator[Case]:
    spaces = ((7,), (6, 5), (5, 4, 6))
    for space, kernel, stride, dilation in itertools.product(spaces, (1, 2, 3), (1, 2, 3), (1, 2)):
        rank = len(space)
        if rank == 3 and (kernel, stride, dilation) not in ((2, 2, 1), (3, 1, 1), (3, 2, 2), (2, 3, 1)):
            continue
        shared = {"strides": [stride] * rank, "dilations": [dilation] * rank}
        kernels = {"kernel_shape": [kernel] * rank, **shared}
        paddings: list[dict[str, Any]] = [{"auto_pad": word} for word in ("VALID", "SAME_UPPER", "SAME_LOWER")]
        reach = dilation * (kernel - 1)
        paddings += [{}, {"pads": [min(1, reach)] * (2 * rank)}, {"pads": [0] * rank + [min(1, reach)] * rank}]
        for k, padding in enumerate(paddings):
            name = f"{by(space)}-k{kernel}s{stride}d{dilation}-p{k}"
            for opset, ceil in itertools.product((11, 19, 22), (0, 1)):
                if opset == 22 and not ceil:
                    continue
                x = live(2, 3, *space)
                yield Case(
                    f"MaxPool-{opset}-{name}-{ceil}", "MaxPool", (x,), {**kernels, **padding, "ceil_mode": ceil}, opset
                )
                for counted in (0, 1):
                    more = {**kernels, **padding, "ceil_mode": ceil, "count_include_pad": counted}
                    if opset < 19:
                        del more["dilations"]
                        if dilation > 1:
                            continue
                    yield Case(f"AveragePool-{opset}-{name}-{ceil}{counted}", "AveragePool", (x,), more, opset)
                if opset != 19:
                    more = {**kernels, **padding, "ceil_mode": ceil, "p": 1 + opset % 2}
                    if opset < 18:
                        del more["dilations"], more["ceil_mode"]
                        if dilation > 1 or ceil:
                            continue
                    yield Case(f"LpPool-{opset}-{name}-{ceil}", "LpPool", (x,), more, opset)
            if "dilations" in shared:
                w, wt = constant(4, 3, *[kernel] * rank), constant(3, 2, *[kernel] * rank)
                yield Case(
                    f"Conv-{name}",
                    "Conv",
                    (live(2, 3, *space), w, constant(4, seed=2)),
                    {**shared, **padding},
                    probe=False,
                )
                yield Case(
                    f"ConvTranspose-{name}",
                    "ConvTranspose",
                    (live(2, 3, *space), wt),
                    {**shared, **padding},
                    probe=False,
                )
    for rank, block, stride, dilation, pad in itertools.product((1, 2, 3), (1, 2), (1, 2), (1, 2), (0, 1)):
        size = (5, 4, 6)[:rank]
        blocks = [(n + 2 * pad - dilation * (block - 1) - 1) // stride + 1 for n in size]
        columns = live(2, 3 * block**rank, math.prod(blocks))
        keys = {"strides": [stride] * rank, "dilations": [dilation] * rank, "pads": [pad] * (2 * rank)}
        name = f"Col2Im-{rank}-k{block}s{stride}d{dilation}p{pad}"
        yield Case(name, "Col2Im", (columns, ints(*size), ints(*[block] * rank)), keys, 18)
        image, weight = live(2, 4, *size), live(6, 2, *[block] * rank, seed=3)
        name = f"Conv-computed-{rank}-k{block}s{stride}d{dilation}p{pad}"
        yield Case(name, "Conv", (image, weight, live(6, seed=4)), {**keys, "group": 2})
    for rank in (1, 2, 3):
        x = live(2, 4, *(5, 4, 3)[:rank])
        for op, options in (
            ("GlobalAveragePool", {}),
            ("GlobalMaxPool", {}),
            ("GlobalLpPool", {"p": 1}),
            ("GlobalLpPool", {"p": 2}),
            ("GlobalLpPool", {"p": 3}),
        ):
            yield Case(f"{op}-{rank}-{options.get('p', '')}", op, (x,), options)
        yield Case(f"Conv-groups-{rank}", "Conv", (x, constant(6, 2, *[2] * rank)), {"group": 2})
        yield Case(f"Conv-depthwise-{rank}", "Conv", (x, constant(8, 1, *[2] * rank)), {"group": 4})
        yield Case(
            f"ConvTranspose-groups-{rank}",
            "ConvTranspose",
            (x, constant(4, 3, *[3] * rank), constant(6)),
            {"group": 2, "strides": [2] * rank, "output_padding": [1] * rank},
        )
        for word in ("SAME_UPPER", "SAME_LOWER", "NOTSET"):
            yield Case(
                f"ConvTranspose-shape-{rank}-{word}",
                "ConvTranspose",
                (x, constant(4, 3, *[3] * rank)),
                {"strides": [2] * rank, "auto_pad": word, "output_shape": [2 * n for n in x.values.shape[2:]]},
            )


def normalizations() -> Iterator[Case]:
    for shape in SHAPES:
        if len(shape) >= 2:
            parameters = (constant(3), constant(3, seed=2), constant(3, seed=3), constant(3, seed=4, positive=True))
            yield Case(
                f"BatchNormalization-{by(shape)}", "BatchNormalization", (live(*shape), *parameters), {"epsilon": 0.01}
            )
            for opset, size in itertools.product((13,), (1, 2, 3)):
                yield Case(
                    f"LRN-{by(shape)}-{size}",
                    "LRN",
                    (live(*shape),),
                    {"size": size, "alpha": 0.3, "beta": 0.6, "bias": 1.5},
                    opset,
                )
        if len(shape) >= 3:
            yield Case(
                f"InstanceNormalization-{by(shape)}",
                "InstanceNormalization",
                (live(*shape), constant(3), constant(3, seed=2)),
                {"epsilon": 0.01},
            )
            for opset in (18, 21):
                x, groups = live(2, 6, *shape[2:]), 3
                count = 6 if opset == 21 else groups
                yield Case(
                    f"GroupNormalization-{opset}-{by(shape)}",
                    "GroupNormalization",
                    (x, constant(count), constant(count, seed=2)),
                    {"num_groups": groups, "epsilon": 0.01},
                    opset,
                )
        for axis in {-1, 0, len(shape) - 1} if shape else ():
            behind = shape[axis % len(shape) :]
            yield Case(
                f"LayerNormalization-{by(shape)}-{axis}",
                "LayerNormalization",
                (live(*shape), constant(*behind), constant(*behind, seed=2)),
                {"axis": axis, "epsilon": 0.1},
                outputs=3,
            )
            yield Case(
                f"LayerNormalization-one-{by(shape)}-{axis}",
                "LayerNormalization",
                (live(*shape), constant(*behind)),
                {"axis": axis, "epsilon": 0.1},
            )
            for p in (1, 2):
                yield Case(
                    f"LpNormalization-{by(shape)}-{axis}-{p}",
                    "LpNormalization",
                    (live(*shape),),
                    {"axis": axis, "p": p},
                )
            yield Case(
                f"RMSNormalization-{by(shape)}-{axis}",
                "RMSNormalization",
                (live(*shape), constant(*behind)),
                {"axis": axis, "epsilon": 0.1},
                23,
            )
    flat = Live(np.full((2, 3, 2, 4), 1.5, dtype=np.float32))
    yield Case("MeanVarianceNormalization-flat", "MeanVarianceNormalization", (flat,), {})
    for axes in ((0, 2, 3), (2, 3), (1,), (0, 1, 2, 3)):
        yield Case(
            f"MeanVarianceNormalization-{axes}", "MeanVarianceNormalization", (live(2, 3, 2, 4),), {"axes": axes}
        )


_COORDINATES = (
    "half_pixel",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
    "half_pixel_symmetric",
    "tf_half_pixel_for_nn",
    "tf_crop_and_resize",
)
_ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


def resizing() -> Iterator[Case]:
    sizes = [
        ((7,), (3,)),
        ((7,), (16,)),
        ((5, 4), (10, 8)),
        ((5, 4), (3, 9)),
        ((5, 4), (1, 1)),
        ((1, 3), (2, 6)),
        ((4, 5, 3), (2, 9, 3)),
    ]
    factors = [
        ((7,), (0.4,)),
        ((7,), (2.3,)),
        ((5, 4), (2.0, 3.0)),
        ((5, 4), (0.6, 1.7)),
        ((5, 4), (0.3, 0.3)),
        ((6, 6), (0.5, 1.5)),
        ((4, 5, 3), (0.5, 1.8, 1.0)),
    ]
    for mode, coordinates in itertools.product(("nearest", "linear", "cubic"), _COORDINATES):
        for rounding in _ROUNDINGS if mode == "nearest" else _ROUNDINGS[:1]:
            keys: dict[str, Any] = {
                "mode": mode,
                "coordinate_transformation_mode": coordinates,
                "nearest_mode": rounding,
            }
            for opset in (11, 13, 18, 19):
                if (coordinates == "tf_half_pixel_for_nn" and opset > 11) or (
                    coordinates == "half_pixel_symmetric" and opset < 19
                ):
                    continue
                if opset == 18 and coordinates != "half_pixel":
                    continue
                given_as: list[tuple[str, tuple[Any, Any]]]
                given_as = [*(("size", s) for s in sizes), *(("scale", f) for f in factors)]
                for which, (space, to) in given_as:
                    rank = len(space) + 2
                    if mode == "cubic" and rank != 4:
                        continue
                    roi = (
                        floats(*[0, 0], *[0.1] * (rank - 2), *[1, 1], *[0.8] * (rank - 2))
                        if coordinates == "tf_crop_and_resize"
                        else floats()
                    )
                    scales = floats(1, 1, *to) if which == "scale" else floats()
                    given = (live(1, 2, *space), roi, scales, ints(1, 2, *to) if which == "size" else None)
                    yield Case(
                        f"Resize-{opset}-{mode}-{coordinates}-{rounding}-{by(space)}-{which}{to}",
                        "Resize",
                        given,
                        keys,
                        opset,
                        probe=False,
                    )
    for shape, mode in itertools.product(((5,), (4, 5), (2, 3, 4)), ("nearest", "linear")):
        yield Case(
            f"Resize-rank-{by(shape)}-{mode}",
            "Resize",
            (live(*shape), None, floats(*[2.0] * len(shape))),
            {"mode": mode},
            13,
            probe=False,
        )
        yield Case(
            f"Resize-int-{by(shape)}-{mode}",
            "Resize",
            (live(*shape, kind="int32"), None, floats(*[2.0] * len(shape))),
            {"mode": mode},
            13,
        )
    for mode, antialias, policy in itertools.product(
        ("linear", "cubic"), (0, 1), ("stretch", "not_larger", "not_smaller")
    ):
        keys = {"mode": mode, "antialias": antialias, "keep_aspect_ratio_policy": policy}
        yield Case(
            f"Resize-18-{mode}-{antialias}-{policy}",
            "Resize",
            (live(1, 2, 9, 8), None, None, ints(5, 3)),
            {**keys, "axes": [2, 3]},
            18,
            probe=False,
        )
        yield Case(
            f"Resize-exclude-{mode}-{antialias}-{policy}",
            "Resize",
            (live(1, 2, 9, 8), None, None, ints(5, 3)),
            {**keys, "axes": [2, 3], "exclude_outside": 1},
            18,
            probe=False,
        )
    for space, to in ((5, 4), (2.0, 1.5)), ((6, 6), (0.5, 0.7)), ((3, 4), (2.0, 3.0)):
        for mode in ("nearest", "linear"):
            yield Case(
                f"Resize-10-{mode}-{space}{to}",
                "Resize",
                (live(1, 2, *space), floats(1, 1, *to)),
                {"mode": mode},
                10,
                probe=False,
            )
            if min(to) >= 1:
                yield Case(
                    f"Upsample-9-{mode}-{space}{to}",
                    "Upsample",
                    (live(1, 2, *space), floats(1, 1, *to)),
                    {"mode": mode},
                    9,
                    probe=False,
                )
                yield Case(
                    f"Upsample-7-{mode}-{space}{to}",
                    "Upsample",
                    (live(1, 2, *space),),
                    {"mode": mode, "scales": [1.0, 1.0, *to]},
                    7,
                    probe=False,
                )
    for n, factor in ((50_000, 2.0), (60_000, 0.5), (100_000, 1.5)):
        # Engines compute positions in float32, which at the end of such an axis is off by a hundredth of an element.
        for mode, coordinates in (
            *(("nearest", "asymmetric"), ("nearest", "half_pixel")),
            *(("linear", "asymmetric"), ("linear", "half_pixel"), ("linear", "align_corners")),
        ):
            keys = {"mode": mode, "coordinate_transformation_mode": coordinates}
            yield Case(
                f"Resize-long-{n}-{factor}-{mode}-{coordinates}",
                "Resize",
                (live(1, 1, n), None, floats(1, 1, factor)),
                keys,
                13,
                probe=False,
                tolerance=0.02,
            )
    for mode, border, corners, opset in itertools.product(
        ("bilinear", "nearest", "bicubic"), ("zeros", "border", "reflection"), (0, 1), (16, 20)
    ):
        name = {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode) if opset == 20 else mode
        grid = numbers((2, 3, 4, 2), 9) * np.float32(0.375)
        keys = {"mode": name, "padding_mode": border, "align_corners": corners}
        yield Case(
            f"GridSample-{opset}-{mode}-{border}-{corners}",
            "GridSample",
            (live(2, 2, 5, 4), grid),
            keys,
            opset,
            probe=False,
        )


Family = Callable[[], Iterator[Case]]
FAMILIES: tuple[Family, ...] = (
    arithmetic,
    quotients,
    typed_powers,
    functions,
    reductions,
    moves,
    products,
    windows,
    normalizations,
    resizing,
)


def every() -> Iterator[Case]:
    for family in FAMILIES:
        yield from family()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pattern", nargs="?", default="", help="part of a case's name")
    parser.add_argument("--every", type=int, default=1, help="judge each Nth case only")
    parser.add_argument("--show", default="wrong", help="verdicts to list, apart by commas")
    options = parser.parse_args()
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for case in itertools.islice((c for c in every() if options.pattern in c.name), 0, None, options.every):
            verdict = judge(case, Path(folder))
            counts[verdict.what] += 1
            if verdict.what in options.show.split(","):
                print(f"{verdict.what} {case.name}: {verdict.why}", flush=True)
    print(", ".join(f"{count} {what}" for what, count in counts.most_common()))
    raise SystemExit(1 if counts["wrong"] else 0)


if __name__ == "__main__":
    main()
