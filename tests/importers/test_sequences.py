"""Sequences of tensors in ONNX models: taken apart at import, against onnxruntime; refused where data decide."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from codegen.errors import SpecError
from codegen.importers.check import check_import
from codegen.importers.onnx.sequences import SEQUENCE_OPERATORS
from codegen.importers.open import NO_SHAPES, open_model
from tests.importers.test_import_onnx import by_import, ints
from tests.support.onnx_models import Array, expected, model, node, random, saved

CASES: dict[str, tuple[list[onnx.NodeProto], dict[str, Array]]] = {
    # torch.chunk and torch.split of today's exporter
    "chunks": (
        [
            node("SplitToSequence", "x two", "s", axis=1),
            node("SequenceAt", "s zero", "a"),
            node("SequenceAt", "s minus", "b"),
            node("Mul", "a b", "y"),
        ],
        {"two": np.array(2), "zero": np.array(0), "minus": np.array(-1)},
    ),
    "sizes": (
        [
            node("SplitToSequence", "x sizes", "s", axis=-1),
            node("SequenceAt", "s one", "a"),
            node("SequenceAt", "s two", "b"),
            node("Concat", "b a", "y", axis=3),
        ],
        {"sizes": ints(1, 3, 2), "one": np.array(1), "two": np.array(2)},
    ),
    # torch.unbind
    "unbound": (
        [
            node("SplitToSequence", "x", "s", axis=2, keepdims=0),
            node("SequenceAt", "s two", "a"),
            node("Sigmoid", "a", "y"),
        ],
        {"two": np.array(2)},
    ),
    "singles": ([node("SplitToSequence", "x", "s", axis=1), node("SequenceAt", "s i", "y")], {"i": np.array(3)}),
    "joined": (
        [node("SplitToSequence", "x", "s", axis=1), node("ConcatFromSequence", "s", "y", axis=0)],
        {},
    ),
    "stacked": (
        [
            node("Relu", "x", "r"),
            node("SequenceConstruct", "x r", "s"),
            node("ConcatFromSequence", "s", "y", axis=1, new_axis=1),
        ],
        {},
    ),
    "edited": (
        [
            node("SequenceEmpty", "", "none"),
            node("Relu", "x", "r"),
            node("Neg", "x", "n"),
            node("SequenceInsert", "none x", "one"),
            node("SequenceInsert", "one r zero", "two"),
            node("SequenceInsert", "two n", "three"),
            node("SequenceErase", "three one_", "left"),
            node("ConcatFromSequence", "left", "y", axis=1),
        ],
        {"zero": np.array(0), "one_": np.array(1)},
    ),
    "length": (
        [
            node("SplitToSequence", "x two", "s", axis=1),
            node("SequenceLength", "s", "n"),
            node("Cast", "n", "f", to=TensorProto.FLOAT),
            node("Mul", "x f", "y"),
        ],
        {"two": np.array(3)},
    ),
    "of_constants": (
        [
            node("SplitToSequence", "c two", "s", axis=0),
            node("SequenceAt", "s one", "a"),
            node("Add", "x a", "y"),
        ],
        {"c": random(2, 4, 2, 6), "two": np.array(1), "one": np.array(1)},
    ),
}  # fmt: skip


def test_every_operator_of_sequences_has_a_case() -> None:
    assert {proto.op_type for nodes, _ in CASES.values() for proto in nodes} >= set(SEQUENCE_OPERATORS)


@pytest.mark.parametrize("opset", [11, 17, 20])
@pytest.mark.parametrize("name", CASES)
def test_sequences_agree_with_onnxruntime(name: str, opset: int, tmp_path: Path) -> None:
    nodes, constants = CASES[name]
    shape = (1, 4, 2, 6) if name == "of_constants" else (2, 4, 5, 6)
    proto = model(nodes, {"x": shape}, constants, opset=opset)
    feeds = {"x": random(*shape, seed=7)}
    path = saved(proto, tmp_path)
    results, _ = by_import(path, feeds)
    for got, y in zip(results, expected(proto, feeds), strict=True):
        assert got.shape == y.shape
        assert np.max(np.abs(got - y)) <= 1e-6 * np.max(np.abs(y))
    checked = check_import(path, open_model(path), NO_SHAPES, lambda step: None)
    assert checked is not None and not checked.skipped


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([node("SequenceConstruct", "x x", "s"), node("SequenceAt", "s at", "y")], "its position is computed"),
        ([node("SplitToSequence", "x at", "s"), node("SequenceAt", "s one", "y")], "sizes of its parts are"),
        ([node("SequenceConstruct", "x x", "s"), node("SequenceAt", "s four", "y")], "position 4 is not one"),
        ([node("SplitToSequence", "x six", "s"), node("SequenceAt", "s one", "y")], r"parts of \[6\] do not"),
        ([node("SequenceConstruct", "x x", "s"), node("Relu", "s", "y")], "its input is a sequence of tensors"),
        ([node("SequenceAt", "x one", "y")], '"x" is not a sequence'),
        ([node("SequenceConstruct", "x x", "y")], 'output "y" is a sequence; outputs should be tensors'),
    ],
)  # fmt: skip
def test_refusals_say_why(nodes: list[onnx.NodeProto], message: str, tmp_path: Path) -> None:
    before = [node("ReduceMax", "x", "largest", keepdims=0), node("Cast", "largest", "at", to=TensorProto.INT64)]
    constants = {"one": np.array(1), "four": np.array(4), "six": ints(6)}
    with pytest.raises(SpecError, match=message):
        open_model(saved(model([*before, *nodes], {"x": (2, 3, 4, 5)}, constants), tmp_path))
