"""Tensors that are known when a network is compiled: [[constant]] in a spec, and what becomes of them on devices."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codegen import build
from codegen.errors import ParameterError, SpecError
from codegen.graph.graph import Graph
from codegen.graph.ops import Affine, Binary, Divide, Fused, PRelu
from codegen.runtime.artefact import read
from codegen.runtime.devices import DeviceInfo
from codegen.runtime.verify import verify
from tests.support.everywhere import by_device, by_reference
from tests.support.values import save_npz

HEAD = '[model]\nname = "known"\nweights = "known.npz"\n'


def spec(folder: Path, tables: str, **arrays: object) -> Path:
    """A spec file with these tables, beside a file with these arrays."""
    save_npz(folder / "known.npz", {name.replace("__", "."): np.asarray(x) for name, x in arrays.items()})
    path = folder / "known.toml"
    path.write_text(HEAD + tables)
    return path


def one_layer(layer: str, *constants: str, shape: str = "[8, 3, 4]") -> str:
    named = "".join(f'[[constant]]\nname = "{name}"\n' for name in constants)
    tables = f'[[input]]\nname = "x"\nshape = {shape}\n{named}[[layer]]\nname = "v"\n{layer}\n'
    return f'{tables}[[output]]\nname = "y"\nfrom = "v"\n'


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


X = noise(1, 8, 3, 4)
INF = np.float32(np.inf)
MASK = np.where(noise(1, 1, 3, 4) > 0.5, -INF, np.float32(0))

CASES: dict[str, tuple[str, Any, Callable[..., Any]]] = {
    "concat": ('op = "concat"\ninputs = ["x", "c"]', noise(1, 2, 3, 4), lambda x, c: np.concatenate([x, c], 1)),
    "concat in front": (
        'op = "concat"\ninputs = ["c", "x"]',
        noise(1, 8, 3, 4),
        lambda x, c: np.concatenate([c, x], 1),
    ),
    "each element": ('op = "mul"\ninputs = ["x", "c"]', noise(1, 8, 3, 4), lambda x, c: x * c),
    "repeated": ('op = "sub"\ninputs = ["c", "x"]', noise(1, 1, 1, 4), lambda x, c: c - x),
    "mask": ('op = "add"\ninputs = ["x", "c"]', MASK, lambda x, c: x + c),
    "slopes": ('op = "prelu"\ninputs = ["x", "c"]', noise(1, 8, 3, 4), lambda x, c: np.where(x < 0, x * c, x)),
    "a slope of a row": (
        'op = "prelu"\ninputs = ["x", "c"]',
        noise(1, 1, 3, 1),
        lambda x, c: np.where(x < 0, x * c, x),
    ),
    "infinite number": ('op = "min"\ninputs = ["x", "c"]', np.full((1, 1, 1, 1), INF), lambda x, c: x),
    "not a number": (
        'op = "add"\ninputs = ["x", "c"]',
        np.where(np.arange(8) == 3, np.nan, 1.0).reshape(1, 8, 1, 1),
        lambda x, c: x + c,
    ),
    "matrix": ('op = "matmul"\ninputs = ["c", "x"]', noise(1, 8, 5, 3), lambda x, c: c @ x),
    "longer than the input": ('op = "add"\ninputs = ["c", "x"]', noise(1, 8, 3, 4), lambda x, c: x + c),
}


@pytest.mark.parametrize("name", CASES)
def test_a_constant_stands_wherever_a_tensor_does(name: str, device: DeviceInfo, tmp_path: Path) -> None:
    layer, constant, expected = CASES[name]
    path = spec(tmp_path, one_layer(layer, "c"), c=constant)
    right = expected(X.astype(np.float64), constant)
    (reference,) = by_reference(path, {"x": X})
    np.testing.assert_allclose(reference, right, rtol=1e-12)
    for (got,) in by_device(path, {"x": X}, device, tmp_path):
        np.testing.assert_allclose(got, right, rtol=1e-5, atol=1e-5)


def test_outputs_may_be_constants(device: DeviceInfo, tmp_path: Path) -> None:
    """Anchors go out as they are, and what is computed from constants alone is computed by the build."""
    tables = one_layer('op = "exp"\ninput = "x"', "anchors")
    tables += '[[layer]]\nname = "halves"\nop = "mul"\ninputs = ["anchors", "anchors"]\n'
    tables += '[[output]]\nname = "a"\nfrom = "anchors"\n[[output]]\nname = "b"\nfrom = "halves"\n'
    anchors = noise(5, 4)
    path = spec(tmp_path, tables, anchors=anchors)
    assert [node.name for node in build.lower(path).launches.nodes] == ["v", "anchors/output1", "halves/output2"]
    for _, a, b in by_device(path, {"x": X}, device, tmp_path):
        np.testing.assert_array_equal(a, anchors)
        np.testing.assert_allclose(b, anchors.astype(np.float64) ** 2, rtol=1e-6)


def test_a_verification_reads_constants_from_the_device(some_device: DeviceInfo, tmp_path: Path) -> None:
    path = spec(tmp_path, one_layer('op = "add"\ninputs = ["x", "c"]', "c"), c=noise(1, 8, 3, 4))
    lowered = build.lower(path)
    artefact = read(build.build(lowered, tmp_path, "cpu")[0])
    assert verify(artefact, lowered.model.graph, lowered.launches, [some_device]).passed
    assert artefact.weights is not None
    artefact.weights[3] += 1
    (device,) = verify(artefact, lowered.model.graph, lowered.launches, [some_device]).devices
    assert [check.name for check in device.launches if not check.passed] == ["c"]


def test_channels_last_is_brought_into_the_networks_order(tmp_path: Path) -> None:
    tables = one_layer('op = "add"\ninputs = ["x", "c"]', "c").replace('name = "c"', 'name = "c"\nlayout = "NHWC"')
    path = spec(tmp_path, tables, c=noise(1, 3, 4, 8))
    (y,) = by_reference(path, {"x": X})
    np.testing.assert_allclose(y, X + np.moveaxis(noise(1, 3, 4, 8), -1, 1).astype(np.float64))


def launches(path: Path) -> Graph:
    return build.lower(path).launches


def test_a_value_for_each_channel_folds_into_weights(tmp_path: Path) -> None:
    tables = one_layer('op = "conv"\nbias = false', "s", "t")
    tables = tables.replace('from = "v"', 'from = "sum"')
    tables += '[[layer]]\nname = "times"\nop = "mul"\ninputs = ["s", "v"]\n'
    tables += '[[layer]]\nname = "sum"\nop = "sub"\ninputs = ["times", "t"]\n'
    arrays = {"s": noise(1, 16, 1, 1), "t": noise(1, 1, 1, 1), "v__weight": noise(16, 8, 1, 1)}
    path = spec(tmp_path, tables, **arrays)
    (node,) = launches(path).nodes
    assert isinstance(node.op, Fused) and not node.op.epilogue
    (y,) = by_reference(path, {"x": X})
    conv = np.einsum("oi,nihw->nohw", arrays["v__weight"][:, :, 0, 0], X.astype(np.float64))
    np.testing.assert_allclose(y, conv * arrays["s"] - arrays["t"], rtol=1e-6)


@pytest.mark.parametrize(
    "layer, constant, op",
    [
        ('op = "add"\ninputs = ["x", "c"]', noise(1, 8, 1, 1), Affine),
        ('op = "sub"\ninputs = ["c", "x"]', noise(1, 1, 1, 1), Affine),
        ('op = "mul"\ninputs = ["c", "x"]', noise(1, 8, 1, 1), Affine),
        ('op = "div"\ninputs = ["x", "c"]', noise(1, 8, 1, 1), Divide),
        ('op = "prelu"\ninputs = ["x", "c"]', noise(1, 8, 1, 1), PRelu),
        ('op = "prelu"\ninputs = ["c", "x"]', noise(1, 8, 3, 4), Binary),
        ('op = "div"\ninputs = ["c", "x"]', noise(1, 8, 1, 1), Binary),
        ('op = "div"\ninputs = ["x", "c"]', np.zeros((1, 1, 1, 1)), Binary),
        ('op = "add"\ninputs = ["x", "c"]', np.full((1, 8, 1, 1), -INF), Binary),
        ('op = "add"\ninputs = ["x", "c"]', noise(1, 8, 3, 1), Binary),
    ],
)
def test_only_finite_values_for_each_channel_become_maps_of_channels(
    layer: str, constant: np.ndarray, op: type, tmp_path: Path
) -> None:
    (node,) = launches(spec(tmp_path, one_layer(layer, "c"), c=constant)).nodes
    assert isinstance(node.op, Fused)
    (stage,) = node.op.epilogue
    assert type(stage.op) is op


@pytest.mark.parametrize(
    "tables, arrays, error, message",
    [
        (one_layer('op = "exp"', "c"), {"c": [1.0]}, SpecError, 'constant "c": no output depends on it'),
        (
            one_layer('op = "add"\ninputs = ["x", "c"]', "c"),
            {"d": [1.0]},
            ParameterError,
            'constant "c": tensor: no tensor "c" in ',
        ),
        (
            one_layer('op = "add"\ninputs = ["x", "c"]', "c"),
            {"c": np.zeros((1, 0, 3, 4))},
            ParameterError,
            "should have 1 to 6 axes, none of them empty",
        ),
        (
            one_layer('op = "add"\ninputs = ["x", "x "]', "x"),
            {"x": [1.0]},
            SpecError,
            'constant "x": name: "x" is used twice',
        ),
    ],
)
def test_a_wrong_constant_is_refused_by_name(
    tables: str, arrays: dict[str, object], error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error) as raised:
        build.lower(spec(tmp_path, tables, **arrays))
    assert message in str(raised.value)


def test_weights_are_finite_still(tmp_path: Path) -> None:
    path = spec(tmp_path, one_layer('op = "bias"', shape="[8]"), v__bias=np.full(8, -INF))
    with pytest.raises(ParameterError, match="which is infinite"):
        build.lower(path)


@pytest.mark.parametrize("shape", [(1, 1, 5, 5), (1, 3, 5, 5), (1, 3, 1, 1)])
def test_infinities_do_not_leak_into_padding_lanes(shape: tuple[int, ...], device: DeviceInfo, tmp_path: Path) -> None:
    """Three channels fill a part of a block: the convolution behind the mask multiplies zero weights with the rest."""
    tables = one_layer('op = "relu"', "c", shape="[3, 5, 5]").replace('from = "v"', 'from = "conv"')
    tables += '[[layer]]\nname = "masked"\nop = "add"\ninputs = ["v", "c"]\n'
    tables += '[[layer]]\nname = "around"\nop = "pad"\ninput = "masked"\npadding = 1\nvalue = -inf\n'
    tables += '[[layer]]\nname = "kept_around"\nop = "exp"\ninput = "around"\n'
    tables += '[[layer]]\nname = "conv"\nop = "conv"\nbias = false\ninput = "kept_around"\n'
    c = np.where(np.arange(np.prod(shape)) % 2 == 0, -INF, np.float32(0.5)).reshape(shape)
    weight = noise(4, 3, 3, 3)
    path = spec(tmp_path, tables, c=c, conv__weight=weight)
    x = noise(1, 3, 5, 5)
    y = np.pad(np.exp(np.maximum(x, 0).astype(np.float64) + c), [(0, 0), (0, 0), (1, 1), (1, 1)])
    windows = np.lib.stride_tricks.sliding_window_view(y, (3, 3), axis=(2, 3))
    right = np.einsum("nihwkl,oikl->nohw", windows, weight)
    for (got,) in by_device(path, {"x": x}, device, tmp_path):
        np.testing.assert_allclose(got, right, rtol=1e-4, atol=1e-4)
