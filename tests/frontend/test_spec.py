"""Specs that are right: what each operator becomes, layouts, defaults, the schema and the docs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import tomli
from safetensors.numpy import save_file

from codegen.frontend.model import Model
from codegen.frontend.operators.activation import ACTIVATION_OPERATORS
from codegen.frontend.operators.operators import OPERATORS
from codegen.frontend.spec import schema
from codegen.frontend.spec.order import cycle, in_order
from codegen.frontend.spec.place import toml
from codegen.frontend.spec.spec import EXAMPLE_KEYS, INPUT_KEYS, LAYER_KEYS, MODEL_KEYS, OUTPUT_KEYS, layer_keys
from codegen.frontend.toml import load
from codegen.graph.graph import Input, Output
from codegen.graph.ops import (
    Activation,
    Affine,
    BatchNorm,
    Binary,
    Concat,
    Conv,
    ConvTranspose,
    Dense,
    Divide,
    GlobalPool,
    GridSample,
    Op,
    Pad,
    Pool,
    PRelu,
    Reshape,
    Resize,
    RunningSum,
    Softmax,
    Take,
    Top,
    Transpose,
)
from codegen.graph.ops.activation import ACTIVATIONS, ALIASES
from codegen.graph.ops.elementwise import COMPARISONS
from codegen.graph.ops.window import Pads, same_pads
from tests.support.needs import ROOT
from tests.support.values import save_npz

Arrays = Mapping[str, np.ndarray]
VALIDATOR: Any = jsonschema.Draft7Validator(schema.schema())


def values(*shape: int, seed: int = 0) -> np.ndarray:
    """Float32 numbers from -1 to 1, no two alike."""
    count = int(np.prod(shape))
    return (np.random.default_rng(seed).permutation(count) * 2 / count - 1).astype(np.float32).reshape(shape)


def statistics(channels: int, prefix: str, words: str = "gamma beta mean variance") -> dict[str, np.ndarray]:
    gamma, beta, mean, variance = words.split()
    return {
        f"{prefix}.{gamma}": values(channels, seed=1),
        f"{prefix}.{beta}": values(channels, seed=2),
        f"{prefix}.{mean}": values(channels, seed=3),
        f"{prefix}.{variance}": values(channels, seed=4) + 1.5,
    }


def normalization(arrays: Arrays, epsilon: float) -> BatchNorm:
    gamma, beta, mean, variance = arrays.values()
    return BatchNorm(gamma, beta, mean, variance, epsilon)


Spec = Callable[..., Model]


@pytest.fixture
def spec(tmp_path: Path) -> Spec:
    """Writes ``body`` (all after [model] and [[input]]) with its arrays, validates it with the schema and loads it."""

    def write(
        body: str,
        arrays: Arrays | None = None,
        shape: tuple[int, ...] = (4, 6, 6),
        model: str = "",
        inputs: str = "",
        output: str | None = '[[output]]\nname = "y"\nfrom = "a"\n',
        suffix: str = ".npz",
    ) -> Model:
        path = tmp_path / "net.toml"
        weights = f'weights = "net{suffix}"\n' if arrays is not None else ""
        path.write_text(
            f'[model]\nname = "net"\n{weights}{model}\n[[input]]\nname = "x"\nshape = {list(shape)}\n{inputs}\n'
            f"{body}\n{output or ''}"
        )
        if arrays is not None:
            file = tmp_path / f"net{suffix}"
            if suffix == ".npz":
                save_npz(file, arrays)
            else:
                save_file(dict(arrays), file)
        VALIDATOR.validate(tomli.loads(path.read_text()))
        return load(path)

    return write


def assert_same(got: Op, wanted: Op) -> None:
    """The same operator with the same attributes and the same numbers, in arrays nobody can write to."""
    assert type(got) is type(wanted)
    for field in dataclasses.fields(wanted):  # type: ignore[arg-type]
        a, b = getattr(got, field.name), getattr(wanted, field.name)
        if isinstance(b, np.ndarray):
            np.testing.assert_array_equal(a, b.astype(np.float64), err_msg=field.name)
            assert a.dtype == np.float64 and a.flags.c_contiguous and not a.flags.writeable
        else:
            assert a == b, field.name
            assert type(a) is type(b), field.name


def evaluate(model: Model, x: np.ndarray) -> np.ndarray:
    """The first output, in the layout the user wants it in."""
    (i,), o = model.graph.inputs, model.graph.outputs[0]
    y = model.graph.evaluate({i.name: np.moveaxis(x, -1, 1) if i.channels_last else x})[o.value]
    return np.moveaxis(y, 1, -1) if o.channels_last else y


def pads(*numbers: int) -> Pads:
    return tuple((n, n) for n in numbers)


W = values(8, 4, 3, 3)
B = values(8, seed=5)
ONE = (1, 1)

# What is written below `name = "a"`, arrays of the file, the shape of the input, the operators made of it.
CASES: dict[str, tuple[str, dict[str, np.ndarray], tuple[int, ...], list[Op]]] = {
    "conv": ('op = "conv"', {"a.weight": W}, (4, 6, 6), [Conv(W, np.zeros(8), ONE, ONE, pads(0, 0))]),
    "conv, all keys": (
        'op = "conv"\nweight = "w"\nbias = "b"\n'
        "stride = [2, 1]\ndilation = [1, 2]\npadding = [[1, 0], [2, 3]]\ngroups = 2",
        {"w": W, "b": B, "a.weight": W + 1},
        (8, 6, 6),
        [Conv(W, B, (2, 1), (1, 2), ((1, 0), (2, 3)), 2)],
    ),
    "conv, padding of each axis": (
        'op = "conv"\npadding = [1, 2]',
        {"a.kernel": W, "a.bias": B},
        (4, 6, 6),
        [Conv(W, B, ONE, ONE, pads(1, 2))],
    ),
    "conv, same, even size": (
        'op = "conv"\npadding = "same"\nstride = 2\nbias = false',
        {"a.weight": W, "a.bias": B},
        (4, 6, 6),
        [Conv(W, np.zeros(8), (2, 2), ONE, ((0, 1), (0, 1)))],
    ),
    "conv, same, odd size": (
        'op = "conv"\npadding = "same"\nstride = 2\nbias = true',
        {"a.weight": W, "a.bias": B},
        (4, 5, 5),
        [Conv(W, B, (2, 2), ONE, pads(1, 1))],
    ),
    "conv, valid": (
        'op = "conv"\npadding = "valid"',
        {"a.weight": W},
        (4, 6, 6),
        [Conv(W, np.zeros(8), ONE, ONE, pads(0, 0))],
    ),
    "conv, 1-D": (
        'op = "conv"\nstride = [2]\npadding = [[2, 1]]',
        {"a.weight": W[..., 0]},
        (4, 9),
        [Conv(W[..., 0], np.zeros(8), (2,), (1,), ((2, 1),))],
    ),
    "conv, HWCM": (
        'op = "conv"\nweight_layout = "HWCM"',
        {"a.weight": values(3, 3, 4, 2)},
        (4, 6, 6),
        [Conv(values(3, 3, 4, 2).transpose(2, 3, 0, 1).reshape(8, 1, 3, 3), np.zeros(8), ONE, ONE, pads(0, 0), 4)],
    ),
    "depthwise_conv": (
        'op = "depthwise_conv"\npadding = 1',
        {"a.weight": W[:, :1]},
        (4, 6, 6),
        [Conv(W[:, :1], np.zeros(8), ONE, ONE, pads(1, 1), 4)],
    ),
    "conv_transpose": (
        'op = "conv_transpose"\nstride = 2\npadding = 1\noutput_padding = 1',
        {"a.weight": W, "a.bias": values(4)},
        (8, 3, 3),
        [ConvTranspose(W, values(4), (2, 2), ONE, pads(1, 1), ONE)],
    ),
    "conv_transpose, groups": (
        'op = "conv_transpose"\ngroups = 2',
        {"a.weight": W, "a.bias": B},
        (8, 3, 3),
        [ConvTranspose(W, B, ONE, ONE, pads(0, 0), (0, 0), 2)],
    ),
    "conv_transpose, HWOI": (
        'op = "conv_transpose"\nweight_layout = "HWOI"',
        {"a.weight": W.transpose(2, 3, 1, 0)},
        (8, 3, 3),
        [ConvTranspose(W, np.zeros(4), ONE, ONE, pads(0, 0), (0, 0))],
    ),
    "dense": ('op = "dense"', {"a.weight": values(5, 24), "a.bias": B[:5]}, (24,), [Dense(values(5, 24), B[:5])]),
    "dense, IO": (
        'op = "dense"\nweight_layout = "IO"',
        {"a.weight": values(24, 5)},
        (4, 2, 3),
        [Dense(values(24, 5).T, np.zeros(5))],
    ),
    "bias": ('op = "bias"', {"a.bias": values(4)}, (4, 6, 6), [Affine(np.ones(4), values(4))]),
    "scale": (
        'op = "scale"\nbias = "b"',
        {"a.scale": values(4), "b": values(1, 4, 1, 1, seed=1)},
        (4, 6, 6),
        [Affine(values(4), values(4, seed=1))],
    ),
    "scale, divided": (
        'op = "scale"\ndivisor = "d"\nbias = "b"',
        {"d": values(4), "b": values(1)},
        (4, 6, 6),
        [Divide(values(4)), Affine(np.ones(4), np.full(4, values(1)[0]))],
    ),
    "scale, one for all": ('op = "scale"', {"a.weight": values(1)}, (4, 6, 6), [Affine(-np.ones(4), np.zeros(4))]),
    "max_pool": ('op = "max_pool"\nkernel = 2', {}, (4, 6, 6), [Pool("max", (2, 2), (2, 2), ONE, pads(0, 0))]),
    "max_pool, all keys": (
        'op = "max_pool"\nkernel = [3, 2]\nstride = 1\ndilation = 2\npadding = [1, 0]\nceil_mode = true',
        {},
        (4, 6, 6),
        [Pool("max", (3, 2), ONE, (2, 2), pads(1, 0), True)],
    ),
    "average_pool": (
        'op = "average_pool"\nkernel = 3\npadding = 1\ncount_include_pad = true',
        {},
        (4, 6, 6),
        [Pool("average", (3, 3), (3, 3), ONE, pads(1, 1), False, True)],
    ),
    "average_pool, same": (
        'op = "average_pool"\nkernel = 2\nstride = 1\npadding = "same"',
        {},
        (4, 7),
        [Pool("average", (2,), (1,), (1,), ((0, 1),))],
    ),
    "average_pool, dilated": (
        'op = "average_pool"\nkernel = [1, 2, 2]\nstride = 1\ndilation = [1, 2, 3]',
        {},
        (4, 2, 6, 6),
        [Pool("average", (1, 2, 2), (1, 1, 1), (1, 2, 3), ((0, 0),) * 3)],
    ),
    "lp_pool": (
        'op = "lp_pool"\nkernel = 2\nstride = 1\np = 3',
        {},
        (4, 7),
        [Pool("lp", (2,), (1,), (1,), ((0, 0),), p=3.0)],
    ),
    "global_max_pool": ('op = "global_max_pool"', {}, (4, 6, 6), [GlobalPool("max")]),
    "global_average_pool": ('op = "global_average_pool"', {}, (4, 6), [GlobalPool("average")]),
    "add": ('op = "add"\ninputs = ["x", "x"]', {}, (4, 6, 6), [Binary("add")]),
    "sub": ('op = "sub"\ninputs = ["x", "x"]', {}, (4, 6, 6), [Binary("sub")]),
    "mul": ('op = "mul"\ninputs = ["x", "x", "x"]', {}, (4, 6, 6), [Binary("mul"), Binary("mul")]),
    "concat": ('op = "concat"\ninputs = ["x", "x", "x"]', {}, (4, 6, 6), [Concat(1)]),
    "concat, axis": ('op = "concat"\ninputs = ["x", "x"]\naxis = -1', {}, (4, 6, 6), [Concat(3)]),
    "flatten": ('op = "flatten"', {}, (4, 6, 6), [Reshape((1, 144))]),
    "flatten, axis": ('op = "flatten"\naxis = -2', {}, (4, 6, 6), [Reshape((1, 4, 36))]),
    "flatten, NHWC": (
        'op = "flatten"\norder = "NHWC"',
        {},
        (4, 6, 6),
        [Transpose((0, 2, 3, 1)), Reshape((1, 144))],
    ),
    "flatten, NHWC, flat already": ('op = "flatten"\norder = "NHWC"', {}, (4,), [Reshape((1, 4))]),
    "reshape": ('op = "reshape"\nshape = [8, -1]', {}, (4, 6, 6), [Reshape((1, 8, 18))]),
    "reshape, batch": ('op = "reshape"\nfull_shape = [6, -1]', {}, (4, 6, 6), [Reshape((6, 24))]),
    "argmax": ('op = "argmax"', {}, (4, 6, 6), [Top(1)]),
    "argmax, no axis": ('op = "argmax"\nkeepdims = false', {}, (4, 6), [Top(1), Reshape((1, 6))]),
    "argmin": ('op = "argmin"\naxis = -1\nlast = true', {}, (4, 6, 6), [Top(3, 1, False, True)]),
    "running_sum": ('op = "running_sum"\naxis = 2', {}, (4, 6, 6), [RunningSum(2)]),
    "running_sum, options": (
        'op = "running_sum"\naxis = -1\nexclusive = true\nreverse = true',
        {},
        (4, 6, 6),
        [RunningSum(3, True, True)],
    ),
    "top_k": ('op = "top_k"\naxis = 2\ncount = 3', {}, (4, 6, 6), [Top(2, 3, part="values")]),
    "top_k, where": (
        'op = "top_k"\naxis = 1\ncount = 2\nlargest = false\npart = "indices"',
        {},
        (4, 6),
        [Top(1, 2, False, nan_last=True)],
    ),
    "take": (
        'op = "take"\naxis = 1',
        {"a.indices": np.array([3.0, 0.0])},
        (4, 6, 6),
        [Take(1, np.array([3.0, 0.0]))],
    ),
    "transpose": ('op = "transpose"\naxes = [0, 2, -1, 1]', {}, (4, 6, 6), [Transpose((0, 2, 3, 1))]),
    "pad": (
        'op = "pad"\npadding = [[0, 1], [2, 0]]\nvalue = -1',
        {},
        (4, 6, 6),
        [Pad(((0, 0), (0, 0), (0, 1), (2, 0)), -1.0)],
    ),
    "upsample": ('op = "upsample"\nscale = 2', {}, (4, 6, 6), [Resize((12, 12), "nearest", "asymmetric")]),
    "upsample, scales": (
        'op = "upsample"\nscale = [1, 3]\nmode = "bilinear"',
        {},
        (4, 6, 6),
        [Resize((6, 18), "bilinear", "half_pixel")],
    ),
    "upsample, size": (
        'op = "upsample"\nsize = [7, 5]\nmode = "bilinear"\ncoordinates = "align_corners"',
        {},
        (4, 6, 6),
        [Resize((7, 5), "bilinear", "align_corners")],
    ),
    "upsample, all else": (
        'op = "upsample"\nsize = [2, 4, 5]\nmode = "bicubic"\ncubic = -0.5\nantialias = true\nexclude_outside = true\n'
        "scales = [0.5, 0.7, 1]",
        {},
        (4, 4, 6, 5),
        [
            Resize(
                (2, 4, 5),
                "bicubic",
                "half_pixel",
                cubic=-0.5,
                antialias=True,
                exclude_outside=True,
                scales=(0.5, 0.7, 1.0),
            )
        ],
    ),
    "upsample, a part": (
        'op = "upsample"\nsize = [3]\ncoordinates = "tf_crop_and_resize"\nroi = [[-0.5, 0.7]]\noutside = 2',
        {},
        (4, 6),
        [Resize((3,), "nearest", "tf_crop_and_resize", roi=((-0.5, 0.7),), outside=2.0)],
    ),
    "grid_sample": (
        'op = "grid_sample"\nmode = "bicubic"\nborder = "reflection"\nalign_corners = true',
        {"a.grid": values(1, 3, 5, 2)},
        (4, 6, 6),
        [GridSample("bicubic", "reflection", True, values(1, 3, 5, 2))],
    ),
    "grid_sample, live": (
        'op = "grid_sample"\ninputs = ["x", "x"]',
        {},
        (6, 2, 2),
        [GridSample("bilinear", "zeros", False)],
    ),
    "softmax": ('op = "softmax"', {}, (4,), [Softmax(1)]),
    "softmax, axis": ('op = "softmax"\naxis = -1', {}, (4, 6, 6), [Softmax(3)]),
    "prelu": ('op = "prelu"', {"a.weight": values(4)}, (4, 6, 6), [PRelu(values(4))]),
    "prelu, Keras": ('op = "prelu"', {"a.alpha": values(1, 1, 4)}, (4, 6, 6), [PRelu(values(4))]),
    "prelu, one": ('op = "prelu"\nslope = "s"', {"s": values(1)}, (4, 6, 6), [PRelu(-np.ones(4))]),
    "gelu": ('op = "gelu"', {}, (4,), [Activation.of("gelu")]),
    "gelu, tanh": ('op = "gelu"\napproximate = "tanh"', {}, (4,), [Activation.of("gelu_tanh")]),
    "clip": ('op = "clip"\nmin = -1\nmax = 2.5', {}, (4,), [Activation.of("clip", min=-1.0, max=2.5)]),
    "leaky_relu": ('op = "leaky_relu"\nalpha = 0.3', {}, (4,), [Activation.of("leaky_relu", alpha=0.3)]),
    "selu": ('op = "selu"\ngamma = 2', {}, (4,), [Activation.of("selu", gamma=2.0)]),
    "hard_sigmoid": ('op = "hard_sigmoid"\nalpha = 0.2', {}, (4,), [Activation.of("hard_sigmoid", alpha=0.2)]),
    "relu6": ('op = "relu6"', {}, (4,), [Activation.of("clip", min=0.0, max=6.0)]),
    "attached": (
        'op = "conv"\nbatch_norm = { epsilon = 1e-3 }\nactivation = { op = "leaky_relu", alpha = 0.1 }',
        {"a.weight": W, **statistics(8, "a.bn")},
        (4, 6, 6),
        [
            Conv(W, np.zeros(8), ONE, ONE, pads(0, 0)),
            normalization(statistics(8, ""), 1e-3),
            Activation.of("leaky_relu", alpha=0.1),
        ],
    ),
    "attached prelu and softmax of nothing else": (
        'op = "prelu"\nslope = "s"\nactivation = { op = "softmax", axis = -2 }',
        {"s": values(4)},
        (4, 6, 6),
        [PRelu(values(4)), Softmax(2)],
    ),
    "prelu behind conv": (
        'op = "conv"\nactivation = "prelu"',
        {"a.weight": W, "a.slope": B},
        (4, 6, 6),
        [Conv(W, np.zeros(8), ONE, ONE, pads(0, 0)), PRelu(B)],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_operator(case: str, spec: Spec) -> None:
    body, arrays, shape, wanted = CASES[case]
    graph = spec(f'[[layer]]\nname = "a"\n{body}', arrays, shape).graph
    assert len(graph.nodes) == len(wanted)
    for node, op in zip(graph.nodes, wanted, strict=True):
        assert_same(node.op, op)
    assert graph.nodes[-1].name == "a"
    assert all(node.name.startswith("a/") for node in graph.nodes[:-1])
    x = values(1, *shape, seed=9)
    assert graph.evaluate({"x": x})["a"].shape == graph.shapes["a"]


def test_every_operator_has_a_case() -> None:
    tested = {re.search(r'op = "(\w+)"', body)[1] for body, *_ in CASES.values()}  # type: ignore[index]
    elsewhere = {"slice", "repeat", "matmul", "div", "min", "max", "pow", "fmod", "mask", *COMPARISONS}
    elsewhere |= {k for k in OPERATORS if "reduce_" in k}
    assert set(OPERATORS) - tested - set(ACTIVATIONS) - set(ALIASES) - elsewhere == {"batch_norm"}  # test_operators.py


@pytest.mark.parametrize("kind", sorted({*ACTIVATIONS, *ALIASES} - {"clip"}))
def test_activation_in_all_three_forms(kind: str, spec: Spec) -> None:
    wanted = Activation.of(kind)
    layer = '[[layer]]\nname = "a"\nop = "scale"\nactivation = '
    for body in (f'[[layer]]\nname = "a"\nop = "{kind}"', f'{layer}"{kind}"', f'{layer}{{ op = "{kind}" }}'):
        op = spec(body, {"a.scale": np.ones(4)}).graph.nodes[-1].op
        assert_same(op, wanted)


# Layouts


def test_the_same_network_in_both_layouts_gives_the_same_numbers(spec: Spec) -> None:
    """PyTorch's order of everything against Keras' order of everything."""
    torch = {
        "c.weight": values(6, 3, 3, 3),
        "c.bias": values(6),
        "d.weight": values(12, 1, 3, 3, seed=2),
        "t.weight": values(12, 5, 2, 2, seed=3),
        "f.weight": values(7, 5 * 8 * 10, seed=4),
    }
    # [O, C H W] -> [H W C, O]
    dense = torch["f.weight"].reshape(7, 5, 8, 10).transpose(2, 3, 1, 0).reshape(-1, 7)
    keras = {
        "c.kernel": torch["c.weight"].transpose(2, 3, 1, 0),
        "c.bias": torch["c.bias"],
        "d.kernel": torch["d.weight"].reshape(6, 2, 3, 3).transpose(2, 3, 0, 1),
        "t.kernel": torch["t.weight"].transpose(2, 3, 1, 0),
        "f.kernel": dense,
    }
    layers = """
        [[layer]]
        name = "c"
        op = "conv"
        padding = "same"
        [[layer]]
        name = "d"
        op = "depthwise_conv"
        stride = 2
        padding = "same"
        [[layer]]
        name = "t"
        op = "conv_transpose"
        stride = 2
        padding = "same"
        activation = "relu"
        [[layer]]
        name = "flat"
        op = "flatten"
        {order}
        [[layer]]
        name = "f"
        op = "dense"
        [[output]]
        name = "map"
        from = "t"
        [[output]]
        name = "y"
        from = "f"
        """
    first = spec(layers.format(order=""), torch, (3, 8, 10), output="")
    last = spec(
        layers.format(order='order = "NHWC"'),
        keras,
        (8, 10, 3),
        model='weight_layout = "HWIO"',
        inputs='layout = "NHWC"',
        output="",
    )
    assert first.graph.inputs == (Input("x", (1, 3, 8, 10)),)
    assert last.graph.inputs == (Input("x", (1, 3, 8, 10), channels_last=True),)
    assert first.graph.outputs == (Output("map", "t"), Output("y", "f"))
    assert last.graph.outputs == (Output("map", "t", channels_last=True), Output("y", "f"))
    x = values(1, 3, 8, 10)
    a, b = first.graph.evaluate({"x": x}), last.graph.evaluate({"x": x})
    np.testing.assert_allclose(a["t"], b["t"], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(a["f"], b["f"], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(
        evaluate(last, np.moveaxis(x, 1, -1)), np.moveaxis(a["t"], 1, -1), rtol=1e-12, atol=1e-12
    )


def test_depthwise_output_channel_is_channel_times_multiplier_plus_filter(spec: Spec) -> None:
    kernel = np.arange(6.0).reshape(1, 1, 3, 2)
    body = '[[layer]]\nname = "a"\nop = "depthwise_conv"\nweight_layout = "HWCM"'
    y = evaluate(spec(body, {"a.kernel": kernel}, (3, 1, 1)), np.array([1.0, 10, 100]).reshape(1, 3, 1, 1))
    np.testing.assert_array_equal(y.ravel(), [0, 1, 20, 30, 400, 500])


@pytest.mark.parametrize("layout", ["OIHW", "HWIO"])
def test_a_layer_s_weight_layout_wins(layout: str, spec: Spec) -> None:
    other = {"OIHW": "HWIO", "HWIO": "OIHW"}[layout]
    weight = W if layout == "OIHW" else W.transpose(2, 3, 1, 0)
    body = f'[[layer]]\nname = "a"\nop = "conv"\nweight_layout = "{layout}"'
    got = spec(body, {"a.weight": weight}, model=f'weight_layout = "{other}"').graph.nodes[0].op
    assert_same(got, Conv(W, np.zeros(8), ONE, ONE, pads(0, 0)))


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_transposed_same_is_the_adjoint_of_conv_same(kernel: int, stride: int, spec: Spec) -> None:
    """TensorFlow defines it as the gradient of a convolution with padding "same" whose output is this input."""
    weight = values(2, 3, kernel, kernel)
    body = f'[[layer]]\nname = "a"\nop = "conv_transpose"\nstride = {stride}\npadding = "same"'
    model = spec(body, {"a.weight": weight}, (2, 4, 4))
    size = 4 * stride
    assert model.graph.shapes["a"] == (1, 3, size, size)
    forward = Conv(
        weight.astype(float),
        np.zeros(2),
        (stride, stride),
        ONE,
        same_pads((size, size), (kernel, kernel), (stride, stride), ONE),
    )
    x, u = values(1, 2, 4, 4, seed=1), values(1, 3, size, size, seed=2)
    assert np.vdot(forward.reference(u), x) == pytest.approx(np.vdot(u, evaluate(model, x)), rel=1e-9)


@pytest.mark.parametrize(("kernel", "size"), [(1, 9), (2, 9), (3, 9), (5, 11)])
def test_transposed_valid_has_keras_size(kernel: int, size: int, spec: Spec) -> None:
    body = '[[layer]]\nname = "a"\nop = "conv_transpose"\nstride = 3\npadding = "valid"'
    assert spec(body, {"a.weight": values(4, 2, kernel)}, (4, 3)).graph.shapes["a"] == (1, 2, size)


def test_layout_of_outputs(spec: Spec) -> None:
    ports = """
        [[input]]
        name = "meta"
        shape = [4]
        [[layer]]
        name = "a"
        op = "relu"
        input = "x"
        [[output]]
        name = "usual"
        from = "a"
        [[output]]
        name = "first"
        from = "a"
        layout = "NCHW"
        [[output]]
        name = "flat"
        from = "meta"
        layout = "NHWC"
        """
    graph = spec(ports, None, (6, 5, 4), inputs='layout = "NHWC"', model="batch = 2", output="").graph
    assert graph.inputs == (Input("x", (2, 4, 6, 5), True), Input("meta", (2, 4)))
    assert [o.channels_last for o in graph.outputs] == [True, False, False]


def test_layout_of_outputs_where_inputs_differ(spec: Spec) -> None:
    other = '[[input]]\nname = "z"\nshape = [4, 6, 5]\n[[layer]]\nname = "a"\nop = "add"\ninputs = ["x", "z"]'
    graph = spec(other, None, (6, 5, 4), inputs='layout = "NHWC"').graph
    assert [i.channels_last for i in graph.inputs] == [True, False]
    assert not graph.outputs[0].channels_last


def test_layout_of_what_has_no_space_says_nothing(spec: Spec) -> None:
    graph = spec('[[layer]]\nname = "a"\nop = "relu"', None, (4,), inputs='layout = "NHWC"').graph
    assert graph.inputs == (Input("x", (1, 4)),)
    assert graph.outputs == (Output("y", "a"),)


# BatchNorm


@pytest.mark.parametrize("words", ["gamma beta moving_mean moving_variance", "weight bias running_mean running_var"])
@pytest.mark.parametrize("prefix", ["a.bn", "a.batch_norm", "other"])
def test_batch_norm_vocabularies_and_prefixes(words: str, prefix: str, spec: Spec) -> None:
    arrays = {"a.weight": W, **statistics(8, prefix, words)}
    given = ', prefix = "other"' if prefix == "other" else ""
    model = spec(f'[[layer]]\nname = "a"\nop = "conv"\nbatch_norm = {{ epsilon = 1e-5{given} }}', arrays)
    assert [node.name for node in model.graph.nodes] == ["a/conv", "a"]
    assert_same(model.graph.nodes[1].op, normalization(statistics(8, ""), 1e-5))
    assert model.unused == ()


@pytest.mark.parametrize("words", ["gamma beta mean var", "weight bias running_mean running_var"])
def test_batch_norm_as_a_layer(words: str, spec: Spec) -> None:
    model = spec('[[layer]]\nname = "a"\nop = "batch_norm"\nepsilon = 0', statistics(4, "a", words))
    assert_same(model.graph.nodes[0].op, normalization(statistics(4, ""), 0.0))


def test_batch_norm_under_the_layer_s_own_name_leaves_weight_and_bias_to_the_operator(spec: Spec) -> None:
    arrays = {"a.weight": W, "a.bias": B, "a.running_mean": B * 2, "a.running_var": B * B + 1}
    nodes = spec('[[layer]]\nname = "a"\nop = "conv"\nbatch_norm = { epsilon = 0.5 }', arrays).graph.nodes
    assert_same(nodes[0].op, Conv(W, B, ONE, ONE, pads(0, 0)))
    variance = (B * B + 1).astype(np.float64)
    assert_same(nodes[1].op, BatchNorm(np.ones(8), np.zeros(8), B * 2, variance, 0.5))


def test_batch_norm_without_scale_or_center(spec: Spec) -> None:
    arrays = statistics(4, "a")
    body = '[[layer]]\nname = "a"\nop = "batch_norm"\nepsilon = 1e-5\n'
    _, beta, mean, variance = statistics(4, "").values()
    ignored = spec(body + "scale = false\ncenter = false", arrays)
    assert_same(ignored.graph.nodes[0].op, BatchNorm(np.ones(4), np.zeros(4), mean, variance, 1e-5))
    assert ignored.unused == ("a.gamma", "a.beta")
    del arrays["a.gamma"]
    assert_same(spec(body, arrays).graph.nodes[0].op, BatchNorm(np.ones(4), beta, mean, variance, 1e-5))


def test_batch_norm_with_names_of_its_own(spec: Spec) -> None:
    gamma, beta, mean, variance = statistics(4, "").values()
    arrays = {"g": gamma, "b": beta, "m": mean, "v": variance}
    names = 'gamma = "g", beta = "b", mean = "m", variance = "v"'
    body = f'[[layer]]\nname = "a"\nop = "relu"\nbatch_norm = {{ epsilon = 1e-5, {names} }}'
    assert_same(spec(body, arrays).graph.nodes[1].op, BatchNorm(gamma, beta, mean, variance, 1e-5))


def test_nodes_of_one_layer_have_different_names(spec: Spec) -> None:
    body = """
        [[layer]]
        name = "a"
        op = "batch_norm"
        epsilon = 1e-5
        batch_norm = { epsilon = 1e-3, prefix = "a.bn" }
        activation = "relu"
        """
    model = spec(body, {**statistics(4, "a"), **statistics(4, "a.bn")})
    assert [node.name for node in model.graph.nodes] == ["a/batch_norm", "a/batch_norm_2", "a"]
    assert [node.inputs for node in model.graph.nodes] == [("x",), ("a/batch_norm",), ("a/batch_norm_2",)]


def test_an_array_shared_by_two_layers_is_not_changed_by_either(spec: Spec) -> None:
    body = '[[layer]]\nname = "{}"\nop = "batch_norm"\nepsilon = {}\nprefix = "s"\n'
    model = spec(body.format("b", "1e-5") + body.format("a", "1e-3"), statistics(4, "s"))
    for node, epsilon in zip(model.graph.nodes, (1e-5, 1e-3), strict=True):
        assert_same(node.op, normalization(statistics(4, ""), epsilon))


# The rest of a spec


def test_layers_in_any_order_are_computed_in_order(spec: Spec) -> None:
    body = """
        [[layer]]
        name = "a"
        op = "add"
        inputs = ["b", "d"]
        [[layer]]
        name = "b"
        op = "relu"
        input = "d"
        [[layer]]
        name = "c"
        op = "tanh"
        inputs = ["x"]
        [[layer]]
        name = "d"
        op = "elu"
        """
    assert [node.name for node in spec(body).graph.nodes] == ["c", "d", "b", "a"]


def test_order_is_stable() -> None:
    assert in_order({"a": ["x"], "c": ["b"], "b": ["a"], "d": ["x", "x"]}) == ["a", "b", "c", "d"]
    assert in_order({"a": ["x"], "b": ["x"], "c": ["a"]}) == ["a", "b", "c"]
    assert in_order({"b": ["x"], "a": ["x"], "c": ["a", "b"]}) == ["b", "a", "c"]
    assert cycle({"a": ["x"], "b": ["a"]}) == []
    assert cycle({"e": ["d"], "d": ["c", "a"], "c": ["b"], "b": ["d"], "a": ["x"]}) == ["d", "b", "c"]


def test_defaults_of_input_and_output(spec: Spec) -> None:
    model = spec('[[layer]]\nname = "y"\nop = "relu"\n[[output]]\nname = "y"', output="")
    assert model.graph.nodes[0].inputs == ("x",)
    assert model.graph.outputs == (Output("y", "y"),)
    assert model.weights_sha256 == "" and model.example is None


def test_hashes_are_of_the_files(spec: Spec, tmp_path: Path) -> None:
    model = spec('[[layer]]\nname = "a"\nop = "bias"', {"a.bias": values(4), "forgotten": values(1)})
    assert model.spec_name == "net.toml"
    assert model.spec_sha256 == hashlib.sha256((tmp_path / "net.toml").read_bytes()).hexdigest()
    assert model.weights_sha256 == hashlib.sha256((tmp_path / "net.npz").read_bytes()).hexdigest()
    assert model.unused == ("forgotten",)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "uint8", "int64"])
def test_types_are_widened(suffix: str, dtype: str, spec: Spec) -> None:
    array = np.array([1, 2, 0, 100], dtype)
    op = spec('[[layer]]\nname = "a"\nop = "bias"', {"a.bias": array}, suffix=suffix).graph.nodes[0].op
    assert_same(op, Affine(np.ones(4), array.astype(np.float64)))


def test_bfloat16(spec: Spec, tmp_path: Path) -> None:
    body = '[[layer]]\nname = "a"\nop = "bias"'
    spec(body, {"a.bias": np.zeros(4, np.float16)}, suffix=".safetensors")
    path = tmp_path / "net.safetensors"
    path.write_bytes(path.read_bytes().replace(b'"F16"', b'"BF16"')[:-8] + bytes.fromhex("803f 20c0 617f 0100"))
    array = np.array([1, -2.5, float.fromhex("0x1.c2p+127"), 2.0**-133])
    header = path.read_bytes()
    path.write_bytes((len(header) - 16).to_bytes(8, "little") + header[8:])
    assert_same(load(tmp_path / "net.toml").graph.nodes[0].op, Affine(np.ones(4), array))


def test_npz_in_any_order_of_bytes_and_axes_compressed_or_not(spec: Spec, tmp_path: Path) -> None:
    body = '[[layer]]\nname = "a"\nop = "conv"'
    wanted = Conv(W, np.zeros(8), ONE, ONE, pads(0, 0))
    for array in (W.astype(">f4"), np.asfortranarray(W)):
        assert_same(spec(body, {"a.weight": array}).graph.nodes[0].op, wanted)
    save_npz(tmp_path / "net.npz", {"a.weight": W}, compressed=True)
    assert_same(load(tmp_path / "net.toml").graph.nodes[0].op, wanted)


def test_weights_in_another_folder(spec: Spec, tmp_path: Path) -> None:
    spec('[[layer]]\nname = "a"\nop = "bias"', {"a.bias": values(4)})
    (tmp_path / "deep").mkdir()
    text = (tmp_path / "net.toml").read_text()
    for weights in ("../net.npz", (tmp_path / "net.npz").as_posix()):
        (tmp_path / "deep" / "net.toml").write_text(text.replace("net.npz", weights))
        assert len(load(tmp_path / "deep" / "net.toml").graph.nodes) == 1


def test_a_byte_order_mark_does_no_harm(spec: Spec, tmp_path: Path) -> None:
    spec('[[layer]]\nname = "a"\nop = "relu"')
    path = tmp_path / "net.toml"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert load(path).graph.name == "net"


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_example(layout: str, spec: Spec, tmp_path: Path) -> None:
    shape = (4, 6, 5) if layout == "NCHW" else (6, 5, 4)
    images = np.arange(7 * 120, dtype=np.uint8 if layout == "NCHW" else np.float64).reshape(7, *shape)
    np.savez(tmp_path / "samples.npz", picture=images, label=np.arange(7, dtype=np.int16) % 4)
    body = '[[layer]]\nname = "a"\nop = "global_max_pool"\n[example]\ndata = "samples.npz"\nimage = "picture"'
    example = spec(body, shape=shape, inputs=f'layout = "{layout}"').example
    assert example is not None
    assert example.images.dtype == np.float32 and example.labels.dtype == np.int64
    np.testing.assert_array_equal(example.images, images)
    np.testing.assert_array_equal(example.labels, np.arange(7) % 4)


def test_order_of_elements_need_not_be_written_where_it_does_not_matter(spec: Spec) -> None:
    body = '[[layer]]\nname = "p"\nop = "global_max_pool"\n[[layer]]\nname = "a"\nop = "dense"'
    arrays = {"a.weight": values(4, 3)}
    model = spec(body, arrays, (6, 6, 4), model='weight_layout = "HWIO"', inputs='layout = "NHWC"')
    assert_same(model.graph.nodes[1].op, Dense(values(4, 3).T, np.zeros(3)))


# Schema and docs


@pytest.mark.parametrize(
    ("text", "right"),
    [("", None), ("range = [0, 255]", (0.0, 255.0)), ("range = [-0.1, 1e-3]", (np.float32(-0.1), np.float32(1e-3)))],
)
def test_a_range_is_two_float32_numbers(spec: Spec, text: str, right: tuple[float, float] | None) -> None:
    model = spec('[[layer]]\nname = "a"\nop = "relu"\n', shape=(3,), inputs=text)
    assert model.graph.inputs == (Input("x", (1, 3), range=right),)


def test_schema_is_up_to_date() -> None:
    assert schema.FILE.read_text(encoding="utf-8") == schema.text(), "run python -m codegen.frontend.spec.schema"
    jsonschema.Draft7Validator.check_schema(schema.schema())


def test_schema_says_nothing_twice() -> None:
    """Tables with the same keys are one definition, and so are keys that several tables describe alike."""
    definitions = json.loads(schema.text())["definitions"]
    tables = {name: table["properties"] for name, table in definitions.items() if "properties" in table}
    for prefix in ("layer_", "activation_"):
        written = [json.dumps({**t, "op": 0}) for name, t in tables.items() if name.startswith(prefix)]
        assert len(set(written)) == len(written)
    keys = [
        json.dumps([key, value]) for table in tables.values() for key, value in table.items() if "$ref" not in value
    ]
    assert [key for key, count in Counter(keys).items() if count > 1] == []


@pytest.mark.parametrize("name", OPERATORS)
def test_schema_and_reader_know_the_same_keys_of_an_operator(name: str) -> None:
    written = schema.schema()

    def resolved(value: dict[str, Any]) -> Any:
        return written["definitions"][value["$ref"].rpartition("/")[2]] if "$ref" in value else value

    tables = map(resolved, written["properties"]["layer"]["items"]["oneOf"])
    (own,) = [t for t in tables if any(one["const"] == name for one in resolved(t["properties"]["op"])["oneOf"])]
    keys = layer_keys(OPERATORS[name])
    assert set(own["properties"]) == set(keys)
    assert set(own["required"]) == {key for key, read in keys.items() if read.required}
    assert own["additionalProperties"] is False


def test_schema_refuses_what_the_reader_refuses() -> None:
    good = tomli.loads(_example_of_the_docs())
    VALIDATOR.validate(good)
    change: dict[str, Any]
    for change in (
        {"layers": []},
        {"layer": []},
        {"model": {"name": "tiny", "batch": 0}},
        {"model": {"name": "_tiny"}},
        {"layer": [{"name": "a", "op": "conv", "strides": 2}]},
        {"layer": [{"name": "a", "op": "conv", "stride": True}]},
        {"layer": [{"name": "a", "op": "conv", "padding": "full"}]},
        {"layer": [{"name": "a", "op": "conv", "batch_norm": {}}]},
        {"layer": [{"name": "a", "op": "relu", "activation": "rely"}]},
        {"layer": [{"name": "a", "op": "add", "inputs": ["a"]}]},
        {"layer": [{"name": "a", "op": "clip", "min": "1"}]},
    ):
        assert not VALIDATOR.is_valid({**good, **change}), change


def _example_of_the_docs() -> str:
    return re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "spec.md").read_text(encoding="utf-8"), re.DOTALL)[0]


def test_the_example_of_the_docs_loads(tmp_path: Path) -> None:
    arrays = {
        "stem.weight": values(8, 3, 3, 3),
        "stem.bias": B,
        **statistics(8, "stem.bn", "weight bias running_mean running_var"),
        "branch.weight": values(8, 1, 3, 3),
        "classifier.weight": values(5, 8),
    }
    save_file(arrays, tmp_path / "tiny.safetensors")
    (tmp_path / "tiny.toml").write_text(_example_of_the_docs(), encoding="utf-8")
    model = load(tmp_path / "tiny.toml")
    assert model.unused == ()
    assert model.graph.shapes["classifier"] == (1, 5)


def test_the_docs_name_every_operator_and_key() -> None:
    docs = (ROOT / "docs" / "spec.md").read_text(encoding="utf-8")
    words: set[str] = {*OPERATORS, *ACTIVATION_OPERATORS}
    for keys in (MODEL_KEYS, INPUT_KEYS, OUTPUT_KEYS, EXAMPLE_KEYS, LAYER_KEYS, *(o.keys for o in OPERATORS.values())):
        words.update(keys)
    assert sorted(word for word in words if f"`{word}`" not in docs) == []


def test_specs_of_the_repository_load_and_fit_the_schema() -> None:
    for path in sorted((ROOT / "specs").glob("*.toml")):
        VALIDATOR.validate(tomli.loads(path.read_text(encoding="utf-8")))
        load(path)


@pytest.mark.parametrize(
    "value",
    [
        "\U000e0001 and \u200b",
        "\u202egpj.exe",
        'a "b" \\ c\n\td\x7f',
        {"a b": [1, 2.5e-7, True], "c-d": {}},
        -0.0,
        [[0, 1], []],
    ],
)
def test_values_are_printed_as_toml_reads_them(value: Any) -> None:
    assert tomli.loads(f"value = {toml(value)}")["value"] == value
    assert toml(value).isprintable()
