"""Operators beyond convolutional networks' usual ones, from a spec to both devices, against numpy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import missing

from codegen import build
from codegen.emit import artefact as emitted
from codegen.runtime.artefact import read
from codegen.runtime.devices import DeviceInfo, list_devices
from codegen.runtime.execute import Session
from codegen.runtime.verify import verify

X = (2, 11, 4, 5)  # one more than a block and less than two

UNARY: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "abs": np.abs, "neg": np.negative, "exp": np.exp, "floor": np.floor, "ceil": np.ceil, "round": np.rint,
    "sign": np.sign, "sin": np.sin, "cos": np.cos, "tan": np.tan, "atan": np.arctan, "sinh": np.sinh,
    "cosh": np.cosh, "asinh": np.arcsinh, "reciprocal": np.reciprocal,
    "softsign": lambda x: x / (1 + np.abs(x)), "log_sigmoid": lambda x: -np.log1p(np.exp(-x)),
}  # fmt: skip
WITHIN_ONE: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "log": np.log, "sqrt": np.sqrt, "asin": np.arcsin, "acos": np.arccos, "atanh": np.arctanh,
}  # fmt: skip


def network(layers: str, outputs: list[str]) -> str:
    text = '[model]\nname = "ops"\n\n[[input]]\nname = "a"\nshape = [11, 4, 5]\n\n[[input]]\nname = "b"\n'
    text += "shape = [11, 4, 5]\n" + layers
    return text.replace('name = "ops"', 'name = "ops"\nbatch = 2') + "".join(
        f'\n[[output]]\nname = "y_{name}"\nfrom = "{name}"\n' for name in outputs
    )


def run(text: str, folder: Path, device: DeviceInfo) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The inputs, and what the verified artefact answers."""
    spec = folder / "ops.toml"
    spec.write_text(text)
    lowered = build.lower(spec)
    artefact = read(build.build(lowered, folder / "generated", "cpu")[0])
    result = verify(artefact, lowered.model.graph, lowered.launches, [device])
    assert all(c.passed for c in result.algebra)
    assert all(c.passed for c in result.devices[0].launches), result
    assert all(o.matches_host for o in result.devices[0].outputs)
    rng = np.random.default_rng(3)
    given = {name: rng.standard_normal(X).astype(np.float32) for name in ("a", "b")}
    return given, Session(artefact, device).run(given)


@pytest.fixture(scope="module")
def some_device() -> DeviceInfo:
    devices = list_devices()
    if not devices:
        missing("an OpenCL device", 'pip install "clgen[opencl]"')
    return devices[0]


def test_functions_keep_the_filling_of_blocks_finite(tmp_path: Path, device: DeviceInfo) -> None:
    """Each function of eleven channels feeds a sum over whole blocks, filling included."""
    names = [*UNARY, *(f"in_{k}" for k in WITHIN_ONE)]
    layers = "".join(f'\n[[layer]]\nname = "{k}"\nop = "{k}"\ninput = "sum"\n' for k in UNARY)
    layers += "".join(f'\n[[layer]]\nname = "in_{k}"\nop = "{k}"\ninput = "unit"\n' for k in WITHIN_ONE)
    layers += "".join(
        f'\n[[layer]]\nname = "s_{k}"\nop = "conv"\nweight = "w"\nbias = false\ninput = "{k}"\n' for k in names
    )
    first = '\n[[layer]]\nname = "sum"\nop = "add"\ninputs = ["a", "b"]\n'
    first += '\n[[layer]]\nname = "unit"\nop = "sigmoid"\ninput = "sum"\n'
    np.savez(tmp_path / "w.npz", w=np.ones((1, 11, 1, 1), np.float32))
    text = network(first + layers, [*names, *(f"s_{k}" for k in names)])
    text = text.replace("batch = 2", 'batch = 2\nweights = "w.npz"')
    given, got = run(text, tmp_path, device)
    x = (given["a"] + given["b"]).astype(np.float64)
    unit = 1 / (1 + np.exp(-x))
    for k in names:
        true = UNARY[k](x) if k in UNARY else WITHIN_ONE[k.removeprefix("in_")](unit)
        np.testing.assert_allclose(got[f"y_{k}"], true, rtol=2e-4, atol=2e-5)
        assert np.isfinite(got[f"y_s_{k}"]).all()


def test_arithmetic_on_two_tensors(tmp_path: Path, some_device: DeviceInfo) -> None:
    layers = "".join(
        f'\n[[layer]]\nname = "{k}"\nop = "{k}"\ninputs = ["pos", "b"]\n' for k in ("div", "min", "max", "pow")
    )
    first = '\n[[layer]]\nname = "pos"\nop = "exp"\ninput = "a"\n'
    given, got = run(network(first + layers, ["div", "min", "max", "pow"]), tmp_path, some_device)
    a, b = np.exp(given["a"].astype(np.float64)), given["b"].astype(np.float64)
    for k, true in {"div": a / b, "min": np.minimum(a, b), "max": np.maximum(a, b), "pow": a**b}.items():
        np.testing.assert_allclose(got[f"y_{k}"], true, rtol=1e-4)


def test_reductions_over_any_axes(tmp_path: Path, some_device: DeviceInfo) -> None:
    cases = [
        (k, axes, keep)
        for k in ("sum", "mean", "max", "min", "prod")
        for axes in ([1], [2, 3], [0, -1])
        for keep in (0, 1)
    ]
    layers = "".join(
        f'\n[[layer]]\nname = "r{i}"\nop = "reduce_{k}"\ninput = "sum"\n'
        f"axes = {axes}\nkeepdims = {str(bool(keep)).lower()}\n"
        for i, (k, axes, keep) in enumerate(cases)
    )
    first = '\n[[layer]]\nname = "sum"\nop = "mul"\ninputs = ["a", "b"]\n'
    given, got = run(network(first + layers, [f"r{i}" for i in range(len(cases))]), tmp_path, some_device)
    x = given["a"].astype(np.float64) * given["b"]
    for i, (k, axes, keep) in enumerate(cases):
        true = getattr(np, k)(x, axis=tuple(axes), keepdims=bool(keep))
        np.testing.assert_allclose(got[f"y_r{i}"], true, rtol=1e-4, atol=1e-5)


def test_slices_repetitions_and_padding(tmp_path: Path, some_device: DeviceInfo) -> None:
    keys = {
        "s1": 'op = "slice"\naxis = 1\nstart = 3\nstop = 10\nstep = 2',
        "s2": 'op = "slice"\naxis = 3\nstep = -1',
        "s3": 'op = "slice"\naxis = -2\nstart = -3',
        "t": 'op = "repeat"\ntimes = [1, 2, 1, 3]',
        "edge": 'op = "pad"\npadding = [[1, 2], [0, 3]]\nmode = "edge"',
        "reflect": 'op = "pad"\npadding = [[3, 2], [4, 3]]\nmode = "reflect"',
        "wrap": 'op = "pad"\npadding = [[4, 2], [5, 3]]\nmode = "wrap"',
    }
    layers = "".join(f'\n[[layer]]\nname = "{name}"\n{text}\ninput = "sum"\n' for name, text in keys.items())
    first = '\n[[layer]]\nname = "sum"\nop = "add"\ninputs = ["a", "b"]\n'
    given, got = run(network(first + layers, list(keys)), tmp_path, some_device)
    x = given["a"] + given["b"]
    np.testing.assert_array_equal(got["y_s1"], x[:, 3:10:2])
    np.testing.assert_array_equal(got["y_s2"], x[..., ::-1])
    np.testing.assert_array_equal(got["y_s3"], x[:, :, -3:])
    np.testing.assert_array_equal(got["y_t"], np.tile(x, (1, 2, 1, 3)))
    for mode, pads in {"edge": ((1, 2), (0, 3)), "reflect": ((3, 2), (4, 3)), "wrap": ((4, 2), (5, 3))}.items():
        np.testing.assert_array_equal(got[f"y_{mode}"], np.pad(x, ((0, 0), (0, 0), *pads), mode=mode))


def test_products_of_matrices(tmp_path: Path, some_device: DeviceInfo) -> None:
    layers = '\n[[layer]]\nname = "bt"\nop = "transpose"\naxes = [0, 1, 3, 2]\ninput = "b"\n'
    layers += '\n[[layer]]\nname = "m"\nop = "matmul"\ninputs = ["a", "bt"]\n'
    layers += '\n[[layer]]\nname = "g"\nop = "reduce_mean"\naxes = [1]\ninput = "bt"\n'
    layers += '\n[[layer]]\nname = "n"\nop = "matmul"\ninputs = ["a", "g"]\nactivation = "relu"\n'
    given, got = run(network(layers, ["m", "n"]), tmp_path, some_device)
    a, b = (given[k].astype(np.float64) for k in ("a", "b"))
    np.testing.assert_allclose(got["y_m"], a @ b.swapaxes(2, 3), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        got["y_n"], np.maximum(a @ b.swapaxes(2, 3).mean(1, keepdims=True), 0), rtol=1e-4, atol=1e-5
    )


def test_every_function_of_the_graph_has_opencl_code() -> None:
    from codegen.graph.ops.activation import ACTIVATIONS

    templates = Path(emitted.__file__).parents[2] / "templates" / "kernels" / "_macros.jinja"
    text = templates.read_text()
    assert all(f'"{kind}"' in text for kind in ACTIVATIONS)
