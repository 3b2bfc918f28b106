"""The check that an import makes of itself: faults planted in the importer are caught and named, right imports pass."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from codegen.cli import main
from codegen.errors import Mismatch
from codegen.importers import compare, patterns, writer
from codegen.importers.check import check_import
from codegen.importers.document import Document
from codegen.importers.keras.layers import LAYERS
from codegen.importers.keras.options import Options
from codegen.importers.keras.site import Site
from codegen.importers.onnx import check as onnx_check
from codegen.importers.onnx import reference_numpy, translate
from codegen.importers.onnx.builder import Builder
from codegen.importers.onnx.constants import Folder
from codegen.importers.onnx.evaluate import READINGS
from codegen.importers.onnx.operators import OPERATORS
from codegen.importers.open import open_model
from codegen.importers.tidy import without_defaults
from tests.support.keras_models import Layer, Net, source, write_keras
from tests.support.onnx_models import Array, model, node, positive, random, saved

Plant = Callable[[pytest.MonkeyPatch], None]


def ints(*values: int) -> Array:
    return np.array(values, dtype=np.int64)


def changed(op: str, **fields: Any) -> Plant:
    """The importer takes nodes of ``op`` for such with other attributes; None drops one."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        right = OPERATORS[op]

        def wrong(n: Any, b: Builder) -> Any:
            attributes = {k: v for k, v in {**n.attributes, **fields}.items() if v is not None}
            return right(dataclasses.replace(n, attributes=attributes), b)

        patch.setitem(OPERATORS, op, wrong)

    return plant


def taken_for(op: str, other: str) -> Plant:
    return lambda patch: patch.setitem(OPERATORS, op, OPERATORS[other])


def swapped_inputs(op: str) -> Plant:
    def plant(patch: pytest.MonkeyPatch) -> None:
        right = OPERATORS[op]
        patch.setitem(OPERATORS, op, lambda n, b: right(dataclasses.replace(n, inputs=n.inputs[::-1]), b))

    return plant


def reversed_results(op: str) -> Plant:
    def plant(patch: pytest.MonkeyPatch) -> None:
        right = OPERATORS[op]

        def wrong(n: Any, b: Builder) -> Any:
            made = right(n, b)
            assert isinstance(made, Sequence)
            return made[::-1]

        patch.setitem(OPERATORS, op, wrong)

    return plant


def shifted_slices(patch: pytest.MonkeyPatch) -> None:
    right = Builder.select

    def select(self: Builder, x: Any, axis: int, chosen: range, tag: str = "") -> Any:
        return right(self, x, axis, range(chosen.start - 1, chosen.stop - 1, chosen.step), tag)

    patch.setattr(Builder, "select", select)


def negated_constants(patch: pytest.MonkeyPatch) -> None:
    right = Folder.fold

    def fold(self: Folder, n: Any, proto: Any) -> Any:
        folded = right(self, n, proto)
        return None if folded is None else [-array if array.dtype.kind == "f" else array for array in folded]

    patch.setattr(Folder, "fold", fold)


def outputs_of_others(patch: pytest.MonkeyPatch) -> None:
    """Two outputs of the network change places."""
    right = translate._Translator._output
    patch.setattr(translate._Translator, "_output", lambda self, name: right(self, {"y": "z", "z": "y"}[name]))
    add = Document.add_output
    patch.setattr(
        Document,
        "add_output",
        lambda self, name, value, kind: add(self, {"y": "z", "z": "y"}[name], value, kind),
    )


def every_factor_is_a_sixth(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(patterns, "_is", lambda value, wanted: value is not None)


def lost_activations(patch: pytest.MonkeyPatch) -> None:
    right = patterns._attaches

    def attaches(layer: Any, before: Any, uses: Any) -> bool:
        options = dict(before.options)
        attaches = right(layer, before, uses)
        before.options = options
        return attaches

    patch.setattr(patterns, "_attaches", attaches)


def unwritten(key: str) -> Plant:
    """The writer leaves out a key of every layer."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        right = without_defaults

        def without(layer: Any, arrays: Any) -> dict[str, Any]:
            return {k: v for k, v in right(layer, arrays).items() if k != key}

        patch.setattr(writer, "without_defaults", without)

    return plant


@dataclass(frozen=True)
class Fault:
    """``tensor`` is what the error has to name, ``x`` the input's shape."""

    name: str
    nodes: list[onnx.NodeProto]
    plant: Plant
    tensor: str = '"y"'
    x: tuple[int, ...] = (2, 4, 6, 6)
    constants: dict[str, Array] = dataclasses.field(default_factory=dict)
    outputs: tuple[str, ...] = ("y",)
    opset: int = 13


W = {"w": random(4, 4, 3, 3)}
BN = {"s": positive(4), "b": random(4), "m": random(4, seed=1), "v": positive(4, seed=2)}
SIX: dict[str, Array] = {
    "three": np.array(3, np.float32),
    "low": np.zeros((), np.float32),
    "high": np.array(6, np.float32),
    "fifth": np.array(0.2, np.float32),
}
AROUND = [node("Relu", "x", "r")]  # what stands before a fault is right, and not named

FAULTS = [
    Fault(
        "sub_swapped",
        [*AROUND, node("Sub", "r c", "d"), node("Tanh", "d", "y")],
        swapped_inputs("Sub"),
        '"d"',
        constants={"c": random(4, 1, 1)},
    ),
    Fault("sub_taken_for_add", [node("Sub", "x c", "y")], taken_for("Sub", "Add"), constants={"c": random(4, 1, 1)}),
    Fault("div_taken_for_mul", [node("Div", "x c", "y")], taken_for("Div", "Mul"), constants={"c": positive(4, 1, 1)}),
    Fault(
        "constant_negated",
        [node("Sqrt", "c", "e"), node("Mul", "x e", "y")],
        negated_constants,
        '"e"',
        constants={"c": positive(4, 1, 1)},
    ),
    Fault(
        "concat_axis",
        [node("Concat", "x x", "c", axis=2), node("ReduceSum", "c", "y")],
        changed("Concat", axis=3),
        '"c"',
    ),
    Fault("softmax_axis", [*AROUND, node("Softmax", "r", "y", axis=2)], changed("Softmax", axis=3)),
    Fault(
        "strides_dropped",
        [*AROUND, node("Conv", "r w", "c", strides=[2, 2]), node("GlobalAveragePool", "c", "y")],
        changed("Conv", strides=None),
        '"c"',
        constants=W,
    ),
    Fault(
        "padding_side",
        [node("Conv", "x w", "y", pads=[0, 0, 1, 1])],
        changed("Conv", pads=[1, 1, 0, 0]),
        constants=W,
    ),
    Fault(
        "epsilon",
        [node("BatchNormalization", "x s b m v", "n", epsilon=1e-3), node("Relu", "n", "y")],
        changed("BatchNormalization", epsilon=1e-5),
        '"n"',
        constants=BN,
    ),
    Fault("alpha_dropped", [node("LeakyRelu", "x", "y", alpha=0.3)], changed("LeakyRelu", alpha=None)),
    Fault(
        "weight_transposed",
        [node("GlobalAveragePool", "x", "p"), node("Flatten", "p", "f"), node("Gemm", "f w", "y", transB=1)],
        changed("Gemm", transB=0),
        constants={"w": random(4, 4)},
    ),
    Fault(
        "rounding_mode",
        [
            node(
                "Resize",
                "x _ _ sizes",
                "y",
                mode="nearest",
                nearest_mode="round_prefer_floor",
                coordinate_transformation_mode="asymmetric",
            )
        ],
        changed("Resize", nearest_mode="floor"),
        constants={"sizes": ints(2, 4, 9, 9)},
    ),
    Fault(
        "coordinates",
        [node("Resize", "x _ _ sizes", "y", mode="linear", coordinate_transformation_mode="half_pixel")],
        changed("Resize", coordinate_transformation_mode="align_corners"),
        constants={"sizes": ints(2, 4, 9, 9)},
    ),
    Fault(
        "keepdims",
        [node("ReduceMax", "x", "m", axes=[3], keepdims=1), node("Add", "x m", "y")],
        changed("ReduceMax", keepdims=0),
        '"m"',
        x=(1, 4, 4, 4),
    ),
    Fault(
        "slice_off_by_one",
        [node("Slice", "x starts ends axes", "y")],
        shifted_slices,
        constants={"starts": ints(2), "ends": ints(5), "axes": ints(3)},
    ),
    Fault(
        "results_swapped",
        [node("Split", "x parts", "a b", axis=1), node("Relu", "a", "y"), node("Neg", "b", "z")],
        reversed_results("Split"),
        '"a"',
        constants={"parts": ints(2, 2)},
        outputs=("y", "z"),
    ),
    Fault("outputs_swapped", [node("Relu", "x", "y"), node("Neg", "x", "z")], outputs_of_others, outputs=("y", "z")),
    Fault(
        "padding_counted",
        [node("AveragePool", "x", "y", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)],
        changed("AveragePool", count_include_pad=0),
    ),
    Fault(
        "perm",
        [*AROUND, node("Transpose", "r", "y", perm=[0, 2, 3, 1])],
        changed("Transpose", perm=[0, 3, 2, 1]),
        x=(1, 4, 4, 4),
    ),
    Fault(
        "mode",
        [node("DepthToSpace", "x", "y", blocksize=2, mode="CRD")],
        changed("DepthToSpace", mode="DCR"),
        x=(1, 8, 3, 3),
    ),
    Fault(
        "pattern",
        [node("Add", "x three", "a"), node("Clip", "a low high", "c"), node("Mul", "c fifth", "y")],
        every_factor_is_a_sixth,
        'layer "Mul_y"',
        constants=SIX,
    ),
    Fault(
        "activation_lost",
        [node("Conv", "x w", "c"), node("Relu", "c", "y")],
        lost_activations,
        'output "y"',
        constants=W,
    ),
    Fault("key_unwritten", [node("Softmax", "x", "y", axis=2)], unwritten("axis")),
]


def network(fault: Fault, folder: Path) -> Path:
    return saved(model(fault.nodes, {"x": fault.x}, fault.constants, fault.outputs, fault.opset), folder)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_planted_fault_is_caught(fault: Fault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = network(fault, tmp_path)
    right = CliRunner().invoke(main, ["import", str(path), "-o", str(tmp_path / "right")])
    assert right.exit_code == 0, right.output
    assert "tensors equal onnx.reference" in right.stderr

    fault.plant(monkeypatch)
    wrong = CliRunner().invoke(main, ["import", str(path), "-o", str(tmp_path / "wrong")])
    assert wrong.exit_code == 5, wrong.output
    assert f"The first tensor that differs is {fault.tensor}" in wrong.stderr.replace("the value of ", "")
    assert "--no-check" in wrong.stderr and "report" in wrong.stderr
    assert not (tmp_path / "wrong").exists()

    unchecked = CliRunner().invoke(main, ["import", str(path), "--no-check", "-o", str(tmp_path / "unchecked")])
    assert unchecked.exit_code == 0, unchecked.output
    assert (tmp_path / "unchecked" / "net.toml").exists()


def relu(folder: Path) -> Path:
    return saved(model([node("Relu", "x", "y")], {"x": (1, 4, 6, 6)}, {}), folder)


@pytest.mark.parametrize("command", ["build", "verify"])
def test_commands_that_trust_an_import_check_it(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_device: None
) -> None:
    path, generated = relu(tmp_path), str(tmp_path / "generated")
    arguments = [command, str(path), *(["-o", generated] if command == "build" else [])]
    right = CliRunner().invoke(main, arguments)
    assert right.exit_code == 0, right.output
    line = "import: 1 tensors equal onnx.reference on 2 random inputs, max|err|/max|y| 0.0e+00"
    assert line in (right.stderr if command == "build" else right.stdout)
    shutil.rmtree(generated, ignore_errors=True)
    taken_for("Relu", "Neg")(monkeypatch)
    wrong = CliRunner().invoke(main, arguments)
    assert wrong.exit_code == 5
    assert 'of Relu "Relu_y"' in wrong.stderr
    assert not Path(generated).exists()
    looked_at = CliRunner().invoke(main, ["explain", str(path)])
    assert looked_at.exit_code == 0, looked_at.output


def test_verify_reports_it_as_json(tmp_path: Path, has_device: None) -> None:
    result = CliRunner().invoke(main, ["verify", str(relu(tmp_path)), "--json", "-"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["import"] == {
        "reference": "onnx.reference",
        "inputs": 2,
        "tensors": 1,
        "worst": 0.0,
        "skipped": "",
        "notes": [],
    }


@pytest.mark.parametrize(("limit", "says"), [("MOST_SECONDS", " s, and"), ("MOST_BYTES", "GiB of memory, and")])
def test_large_networks_are_not_compared(
    limit: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = relu(tmp_path)
    monkeypatch.setattr(compare, limit, 0.0)
    taken_for("Relu", "Neg")(monkeypatch)  # which is not found then
    result = CliRunner().invoke(main, ["import", str(path), "-o", str(tmp_path / "spec")])
    assert result.exit_code == 0, result.output
    assert "import: not compared with onnx.reference: it would take about" in result.stderr
    assert says in result.stderr


def test_the_work_is_estimated_from_shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [node("Conv", "x w", "c", pads=[1, 1, 1, 1]), node("MaxPool", "c", "y", kernel_shape=[2, 2])]
    path = saved(model(nodes, {"x": (1, 4, 6, 6)}, W), tmp_path)
    estimates = []

    def too_large(*numbers: float) -> str:
        estimates.append(numbers)
        return ""

    monkeypatch.setattr(compare, "too_large", too_large)
    assert check_import(path, open_model(path), {}, lambda step: None) is not None
    products = 4 * 4 * 9 * 36 + 4 * (4 * 25 * 4)  # a comparison of the pool counts as four
    elements = 144 + 144 + 100
    assert estimates == [(4 * products, 4 * elements, 2 * elements + 4 * 4 * 4 * 9)]


def test_a_node_that_nobody_can_evaluate_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any) -> Any:
        raise NotImplementedError("not today")

    monkeypatch.setitem(reference_numpy.OWN, "Softmax", broken)
    path = saved(model([node("Softmax", "x", "s"), node("Neg", "s", "y")], {"x": (2, 5)}, {}), tmp_path)
    result = CliRunner().invoke(main, ["import", str(path), "-o", str(tmp_path / "spec")])
    assert result.exit_code == 0, result.output
    assert "import: 1 tensors equal" in result.stderr
    assert 'import: Softmax "Softmax_s" was not compared: not today' in result.stderr


def test_logarithms_are_compared_where_they_are_finite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tensor that is NaN everywhere shows nothing: a third input, of no negative numbers, is tried."""
    nodes = [node("Exp", "x", "e"), node("Neg", "e", "n"), node("Log", "n", "y")]
    path = saved(model(nodes, {"x": (2, 5)}, {}), tmp_path)
    checked = check_import(path, open_model(path), {}, lambda step: None)
    assert checked is not None
    assert checked.inputs == 3


@pytest.mark.parametrize(
    "nodes",
    [
        [node("Log", "x", "l"), node("Cast", "l", "c", to=7), node("Cast", "c", "y", to=1)],
        [
            *(node("Round", "x", "r"), node("Cast", "r", "i", to=7)),
            *(node("Div", "i i", "d"), node("Cast", "d", "y", to=1)),
        ],
        [node("Log", "x", "l"), node("Resize", "l _ scales", "y", mode="linear")],
    ],
    ids=["NaN as a whole number", "whole numbers by 0", "neighbours of weight 0"],
)
def test_what_engines_leave_open_refuses_nothing(nodes: list[onnx.NodeProto], tmp_path: Path) -> None:
    constants = {"scales": np.array([1, 1, 3], dtype=np.float32)} if nodes[1].op_type == "Resize" else {}
    path = saved(model(nodes, {"x": (1, 2, 5)}, constants), tmp_path)
    checked = check_import(path, open_model(path), {}, lambda step: None)
    assert checked is not None
    assert (checked.tensors >= 1, checked.notes) == (True, ())


def test_decimals_may_stand_for_float32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A spec says 0.3 where the model has its float32, 0.300000011920929."""
    path = saved(model([node("HardSigmoid", "x", "y", alpha=0.3)], {"x": (2, 40)}, {}), tmp_path)
    checked = check_import(path, open_model(path), {}, lambda step: None)
    assert checked is not None
    assert checked.worst <= 1e-15
    monkeypatch.setattr(onnx_check, "READINGS", READINGS[:1])
    with pytest.raises(Mismatch, match='first tensor that differs is "y"'):
        check_import(path, open_model(path), {}, lambda step: None)


NAN, INF = np.nan, np.inf


@pytest.mark.parametrize(
    ("ours", "theirs", "says"),
    [
        ([1.0, 2.0], [1.0, 2.0], ""),
        ([1.0, 2.0 + 1e-10], [1.0, 2.0], ""),
        ([1.0, 2.0 + 1e-8], [1.0, 2.0], "element [1] is 2.00000001 in the import, 2 in the model; max|y| is 2"),
        ([NAN, INF, -INF], [NAN, INF, -INF], ""),
        ([1.0, 5.0, NAN], [NAN, 1.0, NAN], "element [0] is 1 in the import, nan in the model; max|y| is 1"),
        ([INF, 5.0], [-INF, 1.0], "element [0] is inf in the import, -inf in the model; max|y| is 1"),
        ([3.4e38], [INF], "element [0] is 3.4e+38 in the import, inf in the model; max|y| is 0"),
        ([NAN], [1.0], "element [0] is nan in the import, 1 in the model; max|y| is 1"),
        ([5e38, -5e38], [INF, -6e38], ""),  # beyond float32's range, so infinite to engines
        ([[1.0]], [1.0], "it is [1, 1] in the import, [1] in the model"),
        (1.0, 2.0, "it is 1 in the import, 2 in the model; max|y| is 2"),
    ],
)
def test_a_difference_is_said(ours: Any, theirs: Any, says: str) -> None:
    assert compare.difference(np.array(ours), np.array(theirs), 1e-9) == says


# Keras ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class KerasFault:
    """``layers`` follow each other; ``wrong`` is the one that the error has to name."""

    name: str
    layers: list[Layer]
    plant: Plant
    wrong: str
    x: tuple[int, ...] = (6, 6, 4)


def layer_for(class_name: str, other: Callable[[Site], str | list[str]]) -> Plant:
    return lambda patch: patch.setitem(LAYERS, class_name, other)


def other_epsilon(patch: pytest.MonkeyPatch) -> None:
    right = Options.number

    def number(self: Options, key: str, default: float) -> float:
        value = right(self, key, default)
        return 1e-5 if key == "epsilon" else value

    patch.setattr(Options, "number", number)


def transposed_matrices(patch: pytest.MonkeyPatch) -> None:
    right = Site.array

    def transposed(self: Site, word: str, values: Array, *more: Any) -> str:
        return right(self, word, values.T if values.ndim == 2 else values, *more)

    patch.setattr(Site, "array", transposed)


def swapped_operands(site: Site) -> str | list[str]:
    return SUBTRACT(dataclasses.replace(site, operands=site.operands[::-1]))


SUBTRACT = LAYERS["Subtract"]
RELU = Layer("ReLU", "before")

KERAS_FAULTS = [
    KerasFault(
        "activation_dropped",
        [RELU, Layer("Activation", "wrong", {"activation": "tanh"})],
        layer_for("Activation", lambda site: site.options.get("activation") and site.input),
        'layer "wrong"',
    ),
    KerasFault(
        "axes_swapped",
        [RELU, Layer("Softmax", "wrong", {"axis": 1})],
        layer_for("Softmax", lambda site: site.softmax(site.input, site.options.get("axis", -1) + 1)),
        'layer "wrong"',
    ),
    KerasFault(
        "epsilon",
        [
            Layer(
                "BatchNormalization",
                "wrong",
                {"axis": [3], "epsilon": 1e-3},
                arrays={
                    "gamma": positive(4),
                    "beta": random(4),
                    "moving_mean": random(4, seed=1),
                    "moving_variance": positive(4, seed=2),
                },
            ),
            Layer("ReLU", "after"),
        ],
        other_epsilon,
        'layer "wrong"',
    ),
    KerasFault(
        "weight_transposed",
        [Layer("Dense", "wrong", {"units": 4}, arrays={"kernel": random(4, 4), "bias": random(4)})],
        transposed_matrices,
        'layer "wrong"',
        x=(4,),
    ),
    KerasFault(
        "pool",
        [Layer("MaxPooling2D", "wrong", {"pool_size": [2, 2]}), Layer("ReLU", "after")],
        layer_for("MaxPooling2D", LAYERS["AveragePooling2D"]),
        'layer "wrong"',
    ),
    KerasFault(
        "operands", [RELU, Layer("Subtract", "wrong")], layer_for("Subtract", swapped_operands), 'layer "wrong"'
    ),
]


@pytest.mark.parametrize("fault", KERAS_FAULTS, ids=lambda fault: fault.name)
def test_a_fault_planted_in_the_import_of_keras_is_caught(
    fault: KerasFault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = [source("x", *fault.x)]
    for layer in fault.layers:
        reads = [layers[-1].name, "x"] if layer.class_name == "Subtract" else [layers[-1].name]
        layers.append(dataclasses.replace(layer, reads=[reads]))
    path = write_keras(tmp_path / "net.keras", Net(layers, [layers[-1].name]))
    right = CliRunner().invoke(main, ["import", str(path), "-o", str(tmp_path / "right")])
    assert right.exit_code == 0, right.output
    assert "import: 1 tensors equal Keras' definitions in numpy on 2 random inputs" in right.stderr

    fault.plant(monkeypatch)
    wrong = CliRunner().invoke(main, ["import", str(path), "-o", str(tmp_path / "wrong")])
    assert wrong.exit_code == 5, wrong.output
    assert f"The first tensor that differs is the value of {fault.wrong}" in wrong.stderr
    assert not (tmp_path / "wrong").exists()


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_the_layout_of_the_application_changes_nothing(layout: str, tmp_path: Path) -> None:
    """A model of images is compared in its own order of axes, whatever that of the application's arrays is."""
    net = Net([source("x", 5, 6, 4), Layer("Softmax", "y", {"axis": 2}, [["x"]])], ["y"])
    path = write_keras(tmp_path / "net.keras", net)
    result = CliRunner().invoke(main, ["import", str(path), "--layout", layout, "-o", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "import: 1 tensors equal" in result.stderr
