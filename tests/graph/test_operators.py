"""Operators beyond convolutional networks' usual ones, from a spec to both devices, against numpy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np

from codegen import build
from codegen.emit import artefact as emitted
from codegen.runtime.artefact import read
from codegen.runtime.devices import DeviceInfo
from codegen.runtime.execute import Session
from codegen.runtime.verify import verify
from tests.support.networks import normal_sample
from tests.support.values import save_npz

X = (2, 11, 4, 5)  # one more than a block and less than two

UNARY: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "abs": np.abs, "neg": np.negative, "exp": np.exp, "floor": np.floor, "ceil": np.ceil, "round": np.rint,
    "sign": np.sign, "trunc": np.trunc, "sin": np.sin, "cos": np.cos, "tan": np.tan, "atan": np.arctan, "sinh": np.sinh,
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
    result = verify(artefact, lowered.model.graph, lowered.launches, [device], [normal_sample(artefact)])
    assert all(c.passed for c in result.algebra)
    assert all(c.passed for c in result.devices[0].launches), result
    assert all(o.matches_host for o in result.devices[0].outputs)
    rng = np.random.default_rng(3)
    given = {name: rng.standard_normal(X).astype(np.float32) for name in ("a", "b")}
    return given, Session(artefact, device).run(given)


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


def test_comparisons_and_conditions(tmp_path: Path, device: DeviceInfo) -> None:
    functions: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
        "equal": np.equal, "greater": np.greater, "greater_equal": np.greater_equal, "less": np.less,
        "less_equal": np.less_equal, "fmod": np.fmod, "mask": lambda x, c: np.where(c != 0, x, 0),
    }  # fmt: skip
    first = '\n[[layer]]\nname = "p"\nop = "round"\ninput = "a"\n\n[[layer]]\nname = "q"\nop = "round"\ninput = "b"\n'
    layers = "".join(f'\n[[layer]]\nname = "{k}"\nop = "{k}"\ninputs = ["p", "q"]\n' for k in functions)
    # The same of one number for each row and channel, on elements rather than whole blocks.
    layers += '\n[[layer]]\nname = "m"\nop = "reduce_max"\naxes = [1]\ninput = "q"\n'
    layers += "".join(f'\n[[layer]]\nname = "m_{k}"\nop = "{k}"\ninputs = ["p", "m"]\n' for k in functions)
    layers += '\n[[layer]]\nname = "root"\nop = "log"\ninput = "a"\n'
    layers += "".join(f'\n[[layer]]\nname = "{k}"\nop = "{k}"\ninput = "root"\n' for k in ("is_nan", "is_inf"))
    names = [*functions, *(f"m_{k}" for k in functions), "is_nan", "is_inf"]
    given, got = run(network(first + layers, names), tmp_path, device)
    p, q = np.rint(given["a"]), np.rint(given["b"])
    for k, function in functions.items():
        with np.errstate(invalid="ignore"):
            np.testing.assert_array_equal(got[f"y_{k}"], function(p, q).astype(np.float32))
            np.testing.assert_array_equal(got[f"y_m_{k}"], function(p, q.max(1, keepdims=True)).astype(np.float32))
    np.testing.assert_array_equal(got["y_is_nan"], given["a"] < 0)
    assert not got["y_is_inf"].any()


def test_the_largest_and_where_they_are(tmp_path: Path, device: DeviceInfo) -> None:
    cases = [(op, axis, last) for op in ("argmax", "argmin") for axis in (0, 1, -1) for last in (False, True)]
    first = '\n[[layer]]\nname = "r"\nop = "round"\ninput = "a"\n'
    layers = "".join(
        f'\n[[layer]]\nname = "c{i}"\nop = "{op}"\ninput = "r"\naxis = {axis}\nlast = {str(last).lower()}\n'
        for i, (op, axis, last) in enumerate(cases)
    )
    parts = [(part, axis, largest) for part in ("values", "indices") for axis in (1, 3) for largest in (True, False)]
    layers += "".join(
        f'\n[[layer]]\nname = "t{i}"\nop = "top_k"\ninput = "r"\naxis = {axis}\ncount = 3\npart = "{part}"\n'
        f'largest = {str(largest).lower()}\nactivation = "neg"\n'
        for i, (part, axis, largest) in enumerate(parts)
    )
    layers += '\n[[layer]]\nname = "k"\nop = "take"\ninput = "b"\naxis = 1\n'
    layers += '\n[[layer]]\nname = "w"\nop = "take"\ninput = "b"\naxis = -1\nindices = "k.indices"\n'
    save_npz(tmp_path / "w.npz", {"k.indices": np.array([4, 0, 0, 3], np.float32)})
    names = [*(f"c{i}" for i in range(len(cases))), *(f"t{i}" for i in range(len(parts))), "k", "w"]
    text = network(first + layers, names).replace("batch = 2", 'batch = 2\nweights = "w.npz"')
    given, got = run(text, tmp_path, device)
    r = np.rint(given["a"])
    for i, (op, axis, last) in enumerate(cases):
        size = r.shape[axis]
        whole = getattr(np, op)(np.flip(r, axis) if last else r, axis=axis, keepdims=True)
        np.testing.assert_array_equal(got[f"y_c{i}"], size - 1 - whole if last else whole)
    for i, (part, axis, largest) in enumerate(parts):
        order = np.argsort(-r if largest else r, axis=axis, kind="stable").take(range(3), axis=axis)
        true = order if part == "indices" else np.take_along_axis(r, order, axis=axis)
        np.testing.assert_array_equal(got[f"y_t{i}"], -true)
    np.testing.assert_array_equal(got["y_k"], given["b"][:, [4, 0, 0, 3]])
    np.testing.assert_array_equal(got["y_w"], given["b"][..., [4, 0, 0, 3]])


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
        "tiled": 'op = "repeat"\ntimes = [1, 2, 1, 3]',
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
    np.testing.assert_array_equal(got["y_tiled"], np.tile(x, (1, 2, 1, 3)))
    padded: list[tuple[Literal["edge", "reflect", "wrap"], tuple[tuple[int, int], ...]]] = [
        ("edge", ((1, 2), (0, 3))),
        ("reflect", ((3, 2), (4, 3))),
        ("wrap", ((4, 2), (5, 3))),
    ]
    for mode, pads in padded:
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


def test_windows_in_three_dimensions(tmp_path: Path, device: DeviceInfo) -> None:
    """A dilated convolution, its transpose and pools of [2, 11, 4, 5] as [1, 2, 11, 4, 5], BatchNorm folded."""
    text = """
[model]
name = "ops"
weights = "w.npz"
[[input]]
name = "a"
shape = [2, 11, 4, 5]
[[layer]]
name = "conv"
op = "conv"
stride = [2, 1, 1]
dilation = [3, 1, 2]
padding = [[1, 0], [0, 1], [2, 2]]
batch_norm = { epsilon = 1e-3 }
activation = "relu"
[[layer]]
name = "up"
op = "conv_transpose"
stride = [1, 2, 2]
padding = [[0, 1], [1, 0], [0, 0]]
groups = 3
[[layer]]
name = "norm"
op = "lp_pool"
kernel = [2, 3, 2]
stride = 1
dilation = [2, 1, 1]
p = 3
[[layer]]
name = "mean"
op = "average_pool"
kernel = 2
padding = [[1, 0], [0, 1], [1, 1]]
count_include_pad = true
input = "up"
""" + "".join(f'\n[[output]]\nname = "y_{name}"\nfrom = "{name}"\n' for name in ("up", "norm", "mean"))
    rng = np.random.default_rng(0)
    shapes = {"conv.weight": (6, 2, 2, 2, 3), "conv.bias": (6,), "up.weight": (6, 1, 2, 2, 3)}
    arrays = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    statistics = {f"conv.bn.{k}": rng.uniform(0.5, 2, 6).astype(np.float32) for k in ("gamma", "beta", "mean", "var")}
    save_npz(tmp_path / "w.npz", arrays | statistics)
    spec = tmp_path / "ops.toml"
    spec.write_text(text)
    lowered = build.lower(spec)
    artefact = read(build.build(lowered, tmp_path / "generated", "cpu")[0])
    assert len(artefact.launches) == 5  # one copies what is both read and an output
    result = verify(artefact, lowered.model.graph, lowered.launches, [device], [normal_sample(artefact)])
    assert result.passed, result
    x = rng.standard_normal((1, 2, 11, 4, 5)).astype(np.float32)
    got = Session(artefact, device).run({"a": x})

    y = np.zeros((1, 6, 5, 4, 5))
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (1, 0), (0, 1), (2, 2)))
    for d, h, w in np.ndindex(2, 2, 3):
        window = padded[:, :, 3 * d : 3 * d + 9 : 2, h : h + 4, 2 * w : 2 * w + 5]
        y += np.einsum("oi,nidhw->nodhw", arrays["conv.weight"][..., d, h, w], window)
    y = np.moveaxis(y, 1, -1) + arrays["conv.bias"]
    gamma, beta, mean, var = statistics.values()
    y = np.maximum((y - mean) / np.sqrt(var.astype(np.float64) + 1e-3) * gamma + beta, 0)
    up = np.zeros((1, 3, 6, 8, 11))
    for d, h, w in np.ndindex(2, 2, 3):
        scaled = y * arrays["up.weight"][:, 0, d, h, w]
        pairs = np.moveaxis(scaled.reshape(1, 5, 4, 5, 3, 2).sum(-1), -1, 1)
        up[:, :, d : d + 5, h : h + 8 : 2, w : w + 10 : 2] += pairs
    up = up[:, :, :-1, 1:]
    np.testing.assert_allclose(got["y_up"], up, rtol=1e-4, atol=1e-5)
    total = np.zeros((1, 3, 3, 5, 10))
    for d, h, w in np.ndindex(2, 3, 2):
        total += np.abs(up[:, :, 2 * d : 2 * d + 3, h : h + 5, w : w + 10]) ** 3
    np.testing.assert_allclose(got["y_norm"], np.cbrt(total), rtol=1e-4, atol=1e-5)
    around = np.pad(up, ((0, 0), (0, 0), (1, 0), (0, 1), (1, 1)))[:, :, :6, :8, :12]
    mean = around.reshape(1, 3, 3, 2, 4, 2, 6, 2).mean((3, 5, 7))
    np.testing.assert_allclose(got["y_mean"], mean, rtol=1e-4, atol=1e-5)


def test_a_grid_that_the_network_computes(tmp_path: Path, device: DeviceInfo) -> None:
    """Half the size of the input, turned by a quarter and mirrored: a grid from an affine map of a constant one."""
    text = """
[model]
name = "ops"
weights = "w.npz"
[[input]]
name = "a"
shape = [11, 4, 4]
[[input]]
name = "turn"
shape = [4, 4, 2]
[[layer]]
name = "grid"
op = "scale"
bias = false
input = "turn"
weight = "minus"
[[layer]]
name = "turned"
op = "grid_sample"
inputs = ["a", "grid"]
activation = "relu"
[[layer]]
name = "far"
op = "grid_sample"
border = "reflection"
mode = "nearest"
input = "a"
grid = "places"
[[output]]
name = "y"
from = "turned"
[[output]]
name = "z"
from = "far"
"""
    places = (2 * np.arange(8) + 1) / 4 - 1  # eight elements, from the first on
    grid = np.stack(np.meshgrid(places, places[:4]), -1)[None]
    np.savez(tmp_path / "w.npz", minus=np.array([-1], np.float32), places=grid.astype(np.float32))
    spec = tmp_path / "ops.toml"
    spec.write_text(text)
    lowered = build.lower(spec)
    artefact = read(build.build(lowered, tmp_path / "generated", "cpu")[0])
    result = verify(artefact, lowered.model.graph, lowered.launches, [device], [normal_sample(artefact)])
    assert result.passed, result
    x = np.random.default_rng(0).standard_normal((1, 11, 4, 4)).astype(np.float32)
    # Output row i, column j takes what is at x = place i, y = place j; negative, so from the end.
    turn = np.stack(np.meshgrid(places[:4], places[:4], indexing="ij"), -1)[None].astype(np.float32)
    got = Session(artefact, device).run({"a": x, "turn": turn})
    np.testing.assert_allclose(got["y"], np.maximum(x[:, :, ::-1, ::-1].swapaxes(2, 3), 0), rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(got["z"], np.concatenate([x, x[..., ::-1]], axis=3))


def test_every_function_of_the_graph_has_opencl_code() -> None:
    from codegen.graph.ops.activation import ACTIVATIONS

    templates = Path(emitted.__file__).parents[2] / "templates" / "kernels" / "_macros.jinja"
    text = templates.read_text()
    assert all(f'"{kind}"' in text for kind in ACTIVATIONS)
