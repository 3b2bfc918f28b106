"""Kinds of faults of the Keras importer that passed silently, each on a model made by hand.

Expected values are Keras' own rules, computed by numpy in the model's order of axes.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from codegen.cli import main
from codegen.errors import SpecError
from codegen.importers.keras.evaluate import evaluate_keras
from codegen.importers.open import import_model, open_model
from tests.importers.test_import_keras import evaluate
from tests.support.keras_models import Layer, Net, config, source, write_h5, write_keras


def numbers(*shape: int) -> np.ndarray:
    """Small numbers, all different."""
    return (np.arange(np.prod(shape), dtype=np.float64).reshape(shape) * 0.37) % 2.0 - 0.9


def net(*layers: Layer, shape: tuple[int, ...] = (4, 5, 3)) -> Net:
    """The layers one after the other, on an input."""
    before = "x"
    for layer in layers:
        layer.reads = layer.reads or [[before]]
        before = layer.name
    return Net([source("x", *shape), *layers], [before])


def written(folder: Path, model: Net, change: Callable[[list[dict[str, Any]]], None]) -> Path:
    """A .keras file whose layers, as the JSON has them, are changed."""
    path = write_keras(folder / "net.keras", model)
    table = config(model, 3)
    change(table["config"]["layers"])
    with zipfile.ZipFile(path) as old:
        weights = old.read("model.weights.h5")
    with zipfile.ZipFile(path, "w") as new:
        new.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
        new.writestr("config.json", json.dumps(table))
        new.writestr("model.weights.h5", weights)
    return path


def refused(path: Path, *words: str) -> None:
    with pytest.raises(SpecError) as error:
        open_model(path)
    for word in words:
        assert word in str(error.value)


def first(axes: int) -> Layer:
    """Says that the channels of a network are first, and does nothing else."""
    options = {"padding": [0, 0] if axes == 1 else [[0, 0]] * axes, "data_format": "channels_first"}
    return Layer(f"ZeroPadding{axes}D", "first", options)


# Keys and arguments --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "layer",
    [
        Layer("ReLU", "layer", {"of_the_future": 1.0}),
        Layer("Flatten", "layer", {"order": "F"}),
        Layer("Dropout", "layer", {"rate": 0.5, "always": True}),
        Layer("GlobalMaxPooling2D", "layer", {"of_the_future": False}),
        Layer("Add", "layer", {"scale": 2.0}),
    ],
    ids=lambda layer: layer.class_name,
)
def test_unknown_keys_are_refused(tmp_path: Path, layer: Layer) -> None:
    key = next(key for key in layer.config if key != "rate")
    layer.reads = [["x", "x"]] if layer.class_name == "Add" else []
    refused(write_keras(tmp_path / "net.keras", net(Layer("ReLU", "r", {}, [["x"]]), layer)), '"layer"', key)


def test_keys_without_meaning_are_not(tmp_path: Path) -> None:
    settings = {
        "trainable": False, "dtype": "float32", "seed": 3, "kernel_initializer": {"class_name": "Zeros"}, "lora": None,
    }  # fmt: skip
    arrays = {"kernel": np.eye(3, dtype=np.float32)}
    path = write_keras(tmp_path / "n.keras", net(Layer("Dense", "d", {**settings, "use_bias": False}, arrays=arrays)))
    assert np.array_equal(evaluate(path, numbers(1, 4, 5, 3))[0], numbers(1, 4, 5, 3))


def test_sizes_that_the_weights_do_not_have(tmp_path: Path) -> None:
    layer = Layer("Dense", "d", {"units": 4, "use_bias": False}, arrays={"kernel": np.eye(3, dtype=np.float32)})
    refused(write_keras(tmp_path / "net.keras", net(layer)), '"d"', "units", "4")


@pytest.mark.parametrize("kwargs", [{"of_the_future": 2.0}, {"mask": {"keras_history": 1}}, {"training": True}])
def test_unknown_arguments_of_layers_are_refused(tmp_path: Path, kwargs: Mapping[str, Any]) -> None:
    def change(layers: list[dict[str, Any]]) -> None:
        layers[1]["inbound_nodes"][0]["kwargs"] = dict(kwargs)

    path = written(tmp_path, net(Layer("Dropout", "d", {"rate": 0.5}), Layer("ReLU", "r")), change)
    refused(path, '"d"', next(iter(kwargs)))


def test_a_second_argument_of_a_layer_is_not_dropped(tmp_path: Path) -> None:
    """``Dropout(0.5)(x, True)``"""

    def change(layers: list[dict[str, Any]]) -> None:
        layers[1]["inbound_nodes"][0]["args"].append(True)

    refused(written(tmp_path, net(Layer("Dropout", "d", {"rate": 0.5}), Layer("ReLU", "r")), change), '"d"', "number 2")


def tensorflow(function: str, *, first: Any = None, **arguments: Any) -> Callable[[Path], Path]:
    """A file of Keras 2 with a function of TensorFlow."""

    def write(folder: Path) -> Path:
        path = write_h5(folder / "net.h5", net(Layer("TFOpLambda", "f", {"function": function})), 2)
        with h5py.File(path, "a") as file:
            table = json.loads(file.attrs["model_config"])
            value = ["x", 0, 0] if first is None else ["_CONSTANT_VALUE", -1, first]
            table["config"]["layers"][1]["inbound_nodes"] = [[*value, arguments]]
            file.attrs["model_config"] = json.dumps(table)
        return path

    return write


def test_arguments_of_functions_are_not_dropped(tmp_path: Path) -> None:
    x = numbers(1, 4, 5, 3)
    refused(tensorflow("nn.silu", beta=2.0)(tmp_path), '"f"', "beta = 2")
    refused(tensorflow("nn.relu", of_the_future=1)(tmp_path), '"f"', "of_the_future")
    refused(tensorflow("math.add")(tmp_path), '"f"', "x2")
    for write in (tensorflow("nn.silu", beta=1.0), tensorflow("nn.silu", name="activation")):
        assert np.allclose(evaluate(write(tmp_path), x)[0], x / (1 + np.exp(-x)))
    three_less_x = tensorflow("math.subtract", first=3.0, y=["x", 0, 0], name=None)
    assert np.allclose(evaluate(three_less_x(tmp_path), x)[0], 3 - x)


def test_arguments_of_functions_go_by_their_names(tmp_path: Path) -> None:
    """``keras.ops.subtract(x2=x, x1=relu(x))``"""

    def change(layers: list[dict[str, Any]]) -> None:
        relu, x = layers[2]["inbound_nodes"][0]["args"]
        layers[2]["inbound_nodes"][0] = {"args": [], "kwargs": {"x2": x, "x1": relu}}

    function = Layer("Subtract", "s", {}, [["r", "x"]], module="keras.src.ops.numpy")
    x = numbers(1, 4, 5, 3)
    path = written(tmp_path, net(Layer("ReLU", "r"), function), change)
    assert np.allclose(evaluate(path, x)[0], np.maximum(x, 0) - x)


@pytest.mark.parametrize(
    "function",
    [("Median", {"axis": 1}), ("Maximum", {}), ("Flatten", {}), ("Relu", {"a": 1})],
)
def test_functions_in_h5_are_not_layers(tmp_path: Path, function: tuple[str, dict[str, Any]]) -> None:
    layer = Layer(function[0], "f", function[1], module="keras.src.ops.numpy")
    refused(write_h5(tmp_path / "net.h5", net(Layer("ReLU", "r"), layer), 3), '"f"', function[0])


def test_functions_in_h5_with_names_of_layers(tmp_path: Path) -> None:
    """Keras 3 writes the function Average as the layer of that name, but without "trainable"."""
    x = numbers(1, 4, 5, 3)
    found = {}
    for name in ("Average", "Softmax"):
        layer = Layer(name, "f", {"axis": 1}, module="keras.src.ops.numpy")
        found[name] = evaluate(write_h5(tmp_path / "net.h5", net(Layer("ReLU", "r"), layer), 3), x)[0]
    positive = np.maximum(x, 0)
    assert np.allclose(found["Average"], positive.mean(1))
    assert np.allclose(found["Softmax"], np.exp(positive) / np.exp(positive).sum(1, keepdims=True))


# Classes of the user's own -------------------------------------------------------------------------------------------

MINE = {"module": "my_project.layers", "registered_name": "ReLU"}


@pytest.mark.parametrize(
    "said",
    [
        {"module": "my_project.layers", "registered_name": "ReLU"},
        {"module": None, "registered_name": "ReLU"},  # Keras 3, of a class in the user's script
        {"module": "keras.layers", "registered_name": "mine>ReLU"},
        {"module": "keras_of_mine.layers", "registered_name": None},
    ],
)
@pytest.mark.parametrize("class_name", ["ReLU", "Dropout", "Softmax"])
def test_own_layers_with_the_name_of_keras(tmp_path: Path, class_name: str, said: Mapping[str, Any]) -> None:
    path = written(tmp_path, net(Layer("ReLU", "r"), Layer(class_name, "mine")), lambda layers: layers[2].update(said))
    refused(path, '"mine"', "of your own")


def test_own_functions_named_ops(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        net(Layer("Add", "mine", {}, [["x", 1.0]], module="keras.src.ops.numpy")),
        lambda layers: layers[1].update(module="my.ops.numpy"),
    )
    refused(path, '"mine"', "of your own")


@pytest.mark.parametrize("module", ["builtins", "mine", None])
def test_own_activations_with_the_name_of_keras(tmp_path: Path, module: str | None) -> None:
    table = {"module": module, "class_name": "function", "config": "relu", "registered_name": "function"}
    refused(write_keras(tmp_path / "net.keras", net(Layer("Activation", "a", {"activation": table}))), "custom", "relu")


def test_own_models(tmp_path: Path) -> None:
    inner = Net([source("i", 3), Layer("ReLU", "r", {}, [["i"]])], ["r"], name="inner")
    model = net(Layer("Functional", "inner", model=inner), shape=(3,))
    refused(written(tmp_path, model, lambda layers: layers[1].update(module="mine")), '"inner"', "of your own")


@pytest.mark.parametrize("keras", [2, 3])
def test_old_files_that_cannot_tell_say_so(tmp_path: Path, keras: int) -> None:
    text = import_model(write_h5(tmp_path / "net.h5", net(Layer("ReLU", "r")), keras)).text.decode()
    assert "# Note: the file names layers by their class alone" in text
    assert "Note" not in import_model(write_keras(tmp_path / "net.keras", net(Layer("ReLU", "r")))).text.decode()


# Axes ----------------------------------------------------------------------------------------------------------------


def softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def test_softmax_with_channels_first_is_over_the_last_axis(tmp_path: Path) -> None:
    x = numbers(1, 3, 4, 5)
    path = write_keras(
        tmp_path / "net.keras", net(first(2), Layer("Activation", "a", {"activation": "softmax"}), shape=(3, 4, 5))
    )
    assert np.allclose(evaluate(path, x)[0], softmax(x))
    kernel = numbers(1, 1, 3, 2).astype(np.float32)
    settings = {"kernel_size": [1, 1], "use_bias": False, "activation": "softmax", "data_format": "channels_first"}
    layer = Layer("Conv2D", "c", settings, arrays={"kernel": kernel})
    y = np.einsum("nchw,co->nohw", x, kernel[0, 0].astype(np.float64))
    path = write_keras(tmp_path / "conv.keras", net(layer, shape=(3, 4, 5)))
    assert np.allclose(evaluate(path, x)[0], softmax(y))


@pytest.mark.parametrize(
    "layer",
    [
        Layer("UpSampling1D", "layer", {"size": 2}),
        Layer("Cropping1D", "layer", {"cropping": [1, 1]}),
        Layer("ZeroPadding1D", "layer", {"padding": [1, 1]}),
    ],
    ids=lambda layer: layer.class_name,
)
def test_layers_without_data_format_have_channels_last(tmp_path: Path, layer: Layer) -> None:
    refused(write_keras(tmp_path / "net.keras", net(first(1), layer, shape=(4, 6))), '"layer"', "channels")


# Constants by numpy's rules, of [h, w, c] = [2, 2, 3]: what each makes of x, or None where that is refused.
CONSTANTS: dict[str, tuple[Any, bool]] = {
    "number": (2.0, True),
    "last": ([1.0, 2.0, 3.0], True),
    "one": ([2.0], True),
    "all axes": ([[[1.0, 2.0, 3.0]]], True),
    "rows": ([[[1.0]], [[2.0]]], True),
    "columns": ([[1.0], [2.0]], True),
    "two axes": ([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], True),
    "two numbers": ([1.0, 2.0], False),
    "numpy": ({"class_name": "__numpy__", "config": {"value": [1.0, 2.0, 3.0], "dtype": "float32"}}, True),
}


@pytest.mark.parametrize("case", CONSTANTS)
@pytest.mark.parametrize("key", ["scale", "offset"])
def test_rescaling_broadcasts_as_numpy(tmp_path: Path, case: str, key: str) -> None:
    value, fine = CONSTANTS[case]
    layer = Layer("Rescaling", "layer", {"scale": 1.5, "offset": 0.5, key: value})
    path, x = write_keras(tmp_path / "net.keras", net(layer, shape=(2, 2, 3))), numbers(1, 2, 2, 3)
    if not fine:
        refused(path, '"layer"', key)
        return
    array = np.asarray(value["config"]["value"] if isinstance(value, dict) else value)
    expected = x * array + 0.5 if key == "scale" else x * 1.5 + array
    assert np.allclose(evaluate(path, x)[0], expected)


def test_rescaling_with_as_many_rows_as_channels(tmp_path: Path) -> None:
    """[[1], [10]] is a factor for each row, though there are two channels as well."""
    path = write_keras(
        tmp_path / "net.keras", net(Layer("Rescaling", "r", {"scale": [[1.0], [10.0]]}), shape=(1, 2, 2))
    )
    x = numbers(1, 1, 2, 2)
    assert np.allclose(evaluate(path, x)[0], x * [[1.0], [10.0]])


# Tables of inputs and outputs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("keys", [("z", "a"), ("a", "z")])
def test_outputs_of_nested_models_are_in_sorted_order(tmp_path: Path, keys: tuple[str, str]) -> None:
    """Keras numbers a table's tensors by its sorted keys: tensor 0 is "a", which is 3 x; "z" is 2 x."""
    two = Layer("Rescaling", "two", {"scale": 2.0}, [["i"]])
    three = Layer("Rescaling", "three", {"scale": 3.0}, [["i"]])
    inner = Net([source("i", 3), two, three], ["two", "three"], name="inner")
    made = {"z": ["two", 0, 0], "a": ["three", 0, 0]}
    model = net(
        Layer("Functional", "inner", model=inner),
        Layer("Subtract", "s", {}, [[("inner", 0, 1), ("inner", 0, 0)]]),
        shape=(3,),
    )

    def change(layers: list[dict[str, Any]]) -> None:
        layers[1]["config"]["output_layers"] = {key: made[key] for key in keys}

    x = numbers(1, 3)
    assert np.allclose(evaluate(written(tmp_path, model, change), x)[0], 2 * x - 3 * x)


def nested_difference() -> Net:
    """A model that gives x - 5 x by a nested one, which gives b - a."""
    ports = [source("b", 3), source("a", 3)]
    inner = Net([*ports, Layer("Subtract", "s", {}, [["b", "a"]])], ["s"], name="inner")
    return net(
        Layer("Rescaling", "five", {"scale": 5.0}), Layer("Functional", "inner", {}, [["x", "five"]], model=inner),
        shape=(3,),
    )  # fmt: skip


@pytest.mark.parametrize("named", [True, False])
def test_inputs_of_nested_models_go_by_name(tmp_path: Path, named: bool) -> None:
    """The model gives b - a; where its inputs are a table, they are called p and q instead."""
    model = nested_difference()

    def change(layers: list[dict[str, Any]]) -> None:
        x, five = layers[2]["inbound_nodes"][0]["args"][0]
        if named:
            layers[2]["config"]["input_layers"] = {"q": ["b", 0, 0], "p": ["a", 0, 0]}
        keys = ("p", "q") if named else ("a", "b")
        layers[2]["inbound_nodes"][0]["args"] = [dict(zip(keys, (five, x), strict=True))]

    x = numbers(1, 3)
    assert np.allclose(evaluate(written(tmp_path, model, change), x)[0], x - 5 * x)


def test_tables_of_keras_2(tmp_path: Path) -> None:
    """A call of Keras 2 with a table of tensors."""
    model = nested_difference()
    model.outputs = [("inner", 1, 0)]
    path = write_h5(tmp_path / "net.h5", model, 2)
    with h5py.File(path, "a") as file:
        table = json.loads(file.attrs["model_config"])
        table["config"]["layers"][2]["inbound_nodes"] = [{"b": ["five", 0, 0, {}], "a": ["x", 0, 0, {}]}]
        file.attrs["model_config"] = json.dumps(table)
    x = numbers(1, 3)
    assert np.allclose(evaluate(path, x)[0], 5 * x - x)


# Training and types --------------------------------------------------------------------------------------------------

NORM = {word: np.ones(3, np.float32) for word in ("gamma", "beta", "moving_mean", "moving_variance")}


@pytest.mark.parametrize("kind", ["BatchNormalization", "Dropout", "RandomFlip"])
def test_training_of_a_nested_model_is_refused(tmp_path: Path, kind: str) -> None:
    """Keras 2 trains all layers in a model that is called with training=True."""
    layer = Layer(kind, "inner_layer", {"rate": 0.5} if kind == "Dropout" else {}, [["r"]])
    layer.arrays = NORM if kind == "BatchNormalization" else {}
    inner = Net([source("i", 3), Layer("ReLU", "r", {}, [["i"]]), layer], ["inner_layer"], name="inner")
    model = net(Layer("Functional", "inner", model=inner), shape=(3,))
    model.outputs = [("inner", 1, 0)]
    path = write_h5(tmp_path / "net.h5", model, 2)
    with h5py.File(path, "a") as file:
        table = json.loads(file.attrs["model_config"])
        table["config"]["layers"][1]["inbound_nodes"] = [[["x", 0, 0, {"training": True}]]]
        file.attrs["model_config"] = json.dumps(table)
    refused(path, "inner/inner_layer", "training = true")


def test_random_changes_do_nothing_in_inference(tmp_path: Path) -> None:
    """Keras 3 writes their default, training = true, into each call; predict() overrides it."""
    layers = [Layer("RandomFlip", "f", {"mode": "horizontal", "data_format": "channels_last"}), Layer("ReLU", "r")]
    path = written(
        tmp_path, net(*layers), lambda tables: tables[1]["inbound_nodes"][0].update(kwargs={"training": True})
    )
    x = numbers(1, 4, 5, 3)
    assert np.allclose(evaluate(path, x)[0], np.maximum(x, 0))


def whole(*layers: Layer, dtype: str = "uint8") -> Net:
    made = net(*layers)
    made.layers[0].config = {**made.layers[0].config, "dtype": dtype}
    return made


@pytest.mark.parametrize("dtype", ["uint8", "int32"])
def test_integers_are_moved_and_become_floats(tmp_path: Path, dtype: str) -> None:
    layers = [Layer("MaxPooling2D", "m", {"pool_size": [2, 1]}), Layer("Rescaling", "r", {"scale": 0.5, "offset": 1.0})]
    path = write_keras(tmp_path / "net.keras", whole(*layers, dtype=dtype))
    x = np.arange(60.0).reshape(1, 4, 5, 3)
    assert np.allclose(evaluate(path, x)[0], x.reshape(1, 2, 2, 5, 3).max(2) * 0.5 + 1)
    assert f"is of {dtype}" in import_model(path).text.decode()


@pytest.mark.parametrize(
    "layer",
    [
        Layer("Add", "layer", {}, [["x", "x"]]),  # 200 + 200 is 144 in uint8
        Layer("Add", "layer", {}, [["x", 100]], module="keras.src.ops.numpy"),
        Layer("AveragePooling2D", "layer", {"pool_size": [2, 2]}),
        Layer("ReLU", "layer", {}, [["x"]]),
    ],
    ids=["Add", "x + 100", "AveragePooling2D", "ReLU"],
)
def test_arithmetic_of_integers_is_refused(tmp_path: Path, layer: Layer) -> None:
    refused(write_keras(tmp_path / "net.keras", whole(layer)), '"layer"', "integers (uint8)")


def test_floats_for_a_model_of_integers(tmp_path: Path) -> None:
    """Keras would round them towards zero."""
    inner = net(Layer("Rescaling", "r", {"scale": 2.0}))
    inner.layers[0].config = {**inner.layers[0].config, "dtype": "int32"}
    inner.name = "inner"
    refused(write_keras(tmp_path / "n.keras", net(Layer("Functional", "inner", model=inner))), '"inner"', "int32")


@pytest.mark.parametrize("policy", ["mixed_float16", "int8_from_float32"])
def test_types_of_layers(tmp_path: Path, policy: str) -> None:
    table = {"module": "keras", "class_name": "DTypePolicy", "config": {"name": policy}, "registered_name": None}
    path = write_keras(tmp_path / "net.keras", net(Layer("ReLU", "r", {"dtype": table})))
    if policy == "mixed_float16":
        assert "mixed_float16" in import_model(path).text.decode()
    else:
        refused(path, '"r"', policy)


# Shared layers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("numbered", ["both", "outside"])
def test_a_layer_in_a_nested_model_and_outside(tmp_path: Path, numbered: str) -> None:
    """The arrays are in the file once, in the nested model; Keras may leave the object's number out there."""
    kernel = numbers(3, 3).astype(np.float32)

    def dense(read: str, arrays: Mapping[str, np.ndarray]) -> Layer:
        return Layer("Dense", "d", {"use_bias": False, "units": 3}, [[read]], arrays)

    inner = Net([source("i", 3), dense("i", {"kernel": kernel})], ["d"], name="inner")
    model = net(
        Layer("Functional", "inner", {}, [["x"]], model=inner), dense("x", {}),
        Layer("Subtract", "s", {}, [["d", ("inner", 0, 0)]]), Layer("Rescaling", "r", {"scale": 1.0}, [["d"]]),
        shape=(3,),
    )  # fmt: skip
    model.outputs = ["s", "r"]

    def change(layers: list[dict[str, Any]]) -> None:
        layers[2]["shared_object_id"] = 77
        if numbered == "both":
            layers[1]["config"]["layers"][1]["shared_object_id"] = 77

    x = numbers(1, 3)
    difference, alone = evaluate(written(tmp_path, model, change), x)
    assert np.allclose(difference, 0)
    assert np.allclose(alone, x @ kernel.astype(np.float64))


def test_an_input_that_nothing_needs(tmp_path: Path) -> None:
    """An import leaves it out; the evaluator that the import is compared with gets no values for it."""
    layers = [source("unused", 3), source("x", 3), Layer("ReLU", "r", {}, [["x"]])]
    path = write_keras(tmp_path / "net.keras", Net(layers, ["r"]))
    (y,) = evaluate_keras(path, {}, {"x": numbers(1, 3)})
    assert np.array_equal(y, np.maximum(numbers(1, 3), 0))
    assert CliRunner().invoke(main, ["import", str(path), "-o", str(tmp_path)]).exit_code == 0


@pytest.mark.parametrize(
    "said", [{"sparse": True}, {"ragged": True}, {"optional": True}, {"dtype": "string"}, {"of_the_future": 1}], ids=str
)
def test_inputs_of_other_kinds(tmp_path: Path, said: Mapping[str, Any]) -> None:
    model = net(Layer("Rescaling", "r", {"scale": 2.0}))
    model.layers[0].config = {**model.layers[0].config, **said}
    refused(write_keras(tmp_path / "net.keras", model), '"x" (InputLayer)', next(iter(said)))


def test_outputs_of_one_name(tmp_path: Path) -> None:
    """Two calls of a nested model are two outputs with the model's name; the import is right, and found to be."""
    inner = Net([source("i", 3), Layer("Rescaling", "two", {"scale": 2.0}, [["i"]])], ["two"], name="inner")
    layers = [
        source("x", 3), Layer("Rescaling", "five", {"scale": 5.0}, [["x"]]),
        Layer("Functional", "inner", {}, [["x"], ["five"]], model=inner),
    ]  # fmt: skip
    # Keras 3 counts the making of a model as its call 0 here.
    path, x = write_keras(tmp_path / "net.keras", Net(layers, [("inner", 2, 0), ("inner", 1, 0)])), numbers(1, 3)
    ten, two = evaluate(path, x)
    assert np.allclose(ten, 10 * x)
    assert np.allclose(two, 2 * x)
    done = CliRunner().invoke(main, ["import", str(path), "-o", str(tmp_path)])
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("batch", [[1], {}, "one"])
def test_batches_that_are_no_numbers_are_refused(tmp_path: Path, batch: Any) -> None:
    path = written(
        tmp_path, net(Layer("ReLU", "r")), lambda layers: layers[0]["config"].update(batch_shape=[batch, 4, 5, 3])
    )
    refused(path, 'input "x" has the shape')
