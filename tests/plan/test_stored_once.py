"""The artefact stores each weight tensor once, without padding lanes if a layer does not need them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from codegen import build
from codegen.cli import main
from codegen.graph.ops import Conv, Dense
from codegen.runtime import artefact as artefacts
from codegen.runtime.devices import DeviceInfo
from codegen.runtime.verify import format_verification, verify
from tests.support.everywhere import by_device
from tests.support.networks import Net, lower
from tests.support.values import save_npz

SIZE = 400
HEAD = f'[model]\nname = "net"\nweights = "w.npz"\n[[input]]\nname = "x"\nshape = [{SIZE}]\n'


def layers(count: int, *options: str) -> str:
    more = "\n".join(options)
    table = f'[[layer]]\nname = "e{{k}}"\nop = "dense"\nweight = "e.weight"\nactivation = "tanh"\n{more}\n'
    return "".join(table.format(k=k) for k in range(count)) + f'[[output]]\nname = "y"\nfrom = "e{count - 1}"\n'


def spec(folder: Path, text: str, **arrays: NDArray[np.float32]) -> Path:
    save_npz(folder / "w.npz", arrays)
    (folder / "net.toml").write_text(text)
    return folder / "net.toml"


def numbers(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return (np.random.default_rng(seed).standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32)


def stored(path: Path, folder: Path) -> int:
    """The bytes of weights of an artefact."""
    return int(artefacts.read(build.build(build.lower(path), folder, "cpu")[0]).manifest["memory"]["weights_bytes"])


def check(path: Path, x: NDArray[np.float32], right: NDArray[np.float64], device: DeviceInfo, folder: Path) -> None:
    for (got,) in by_device(path, {"x": x}, device, folder):
        np.testing.assert_allclose(got, right, rtol=0, atol=1e-5 * np.abs(right).max())


def test_a_tensor_that_several_layers_name_is_stored_once(device: DeviceInfo, tmp_path: Path) -> None:
    weight = numbers(SIZE, SIZE)
    path = spec(tmp_path, HEAD + layers(10), **{"e.weight": weight})
    assert 4 * SIZE * SIZE <= stored(path, tmp_path / "out") < 4 * SIZE * SIZE + 4096
    x = numbers(1, SIZE, seed=1)
    y = x.astype(np.float64)
    for _ in range(10):
        y = np.tanh(y @ weight.astype(np.float64).T)
    check(path, x, y, device, tmp_path / "out")


def test_one_weight_with_several_biases_is_stored_once(device: DeviceInfo, tmp_path: Path) -> None:
    weight, biases = numbers(SIZE, SIZE), [numbers(SIZE, seed=k + 1) for k in range(5)]
    arrays = {"e.weight": weight} | {f"e{k}.bias": bias for k, bias in enumerate(biases)}
    path = spec(tmp_path, HEAD + layers(5, "bias = true"), **arrays)
    assert stored(path, tmp_path / "out") < 4 * SIZE * SIZE + 5 * (4 * SIZE + 256)
    x = numbers(1, SIZE, seed=9)
    y = x.astype(np.float64)
    for bias in biases:
        y = np.tanh(y @ weight.astype(np.float64).T + bias)
    check(path, x, y, device, tmp_path / "out")


def test_prepared_weights_are_made_once(device: DeviceInfo, tmp_path: Path) -> None:
    """Three equal convolutions by Winograd: one launch prepares their weights, in one place."""
    net = Net((1, 32, 28, 28))
    names = [net.conv("x", 32, pads=1, name="c0")]
    first = net.nodes[0].op
    assert isinstance(first, Conv)
    for k in (1, 2):
        bias = net.normal(32)
        op = Conv(first.weight / 8, bias if k == 1 else first.bias, (1, 1), (1, 1), first.pads)
        net.add(op if k == 1 else Conv(first.weight / 8, bias, (1, 1), (1, 1), first.pads), names[-1], name=f"c{k}")
        names.append(f"c{k}")
    stages = lower(net.graph())
    choices = dict.fromkeys(names, "winograd4")
    plan = stages.plan(choices=choices)
    assert len(plan.preparations) == 2  # of the first, and of the two others, which have the same weights
    artefact = stages.build(tmp_path, choices=choices)
    result = verify(artefact, stages.unfolded, stages.launches, [device])
    assert result.passed, format_verification(result)


def test_equal_tables_are_printed_once(device: DeviceInfo, tmp_path: Path) -> None:
    weight = numbers(16, 16)
    text = HEAD.replace(str(SIZE), "16") + layers(6)
    path = spec(tmp_path, text, **{"e.weight": weight})
    folder, _ = build.build(build.lower(path), tmp_path / "out", "cpu")
    assert (folder / "net.cl").read_text().count("_weight, 256) = {") == 1
    x = numbers(1, 16, seed=1)
    y = x.astype(np.float64)
    for _ in range(6):
        y = np.tanh(y @ weight.astype(np.float64).T)
    check(path, x, y, device, tmp_path / "out")


def test_equal_constants_are_stored_once(tmp_path: Path) -> None:
    constant = '[[constant]]\nname = "{0}"\ntensor = "{0}"\n'
    layer = '[[layer]]\nname = "{}"\nop = "{}"\ninputs = ["{}", "{}"]\n'
    adds = layer.format("s", "add", "x", "a") + layer.format("y", "mul", "s", "b")
    text = HEAD + constant.format("a") + constant.format("b") + adds + '[[output]]\nname = "y"\nfrom = "y"\n'
    text = text.replace(f"[{SIZE}]", "[3, 16, 16]")
    values = numbers(1, 3, 16, 16)
    assert stored(spec(tmp_path, text, a=values, b=values), tmp_path / "out") < 2 * values.nbytes
    assert stored(spec(tmp_path, text, a=values, b=values + 1), tmp_path / "out") >= 2 * values.nbytes


@pytest.mark.parametrize("channels", [1, 3, 8, 11, 20])
@pytest.mark.parametrize("size", [(64,), (5, 7)], ids=str)
def test_a_dense_layer_stores_no_padding_lanes(
    channels: int, size: tuple[int, ...], device: DeviceInfo, tmp_path: Path
) -> None:
    """Its input is an image in channel blocks, the last one partial, that a convolution reads too."""
    net = Net((2, channels, *size))
    image = net.conv("x", channels, 3, pads=1)
    side = net.conv(image, 2, 3, pads=1)
    net.prelu(image)
    head = net.dense(net.affine(net.nodes[-1].name), 24)
    stages = lower(net.graph(head, side))
    dense = next(n.op for n in stages.folded.nodes if isinstance(n.op, Dense))
    plan = stages.plan()
    launch = next(k for k in plan.kernels if k.description.template == "dense.cl.jinja")
    description: Any = launch.description
    assert description.inputs == dense.weight.shape[1]
    artefact = stages.build(tmp_path)
    result = verify(artefact, stages.unfolded, stages.launches, [device])
    assert result.passed, format_verification(result)


def test_a_dense_layer_behind_one_channel_of_two(device: DeviceInfo, tmp_path: Path) -> None:
    text = HEAD.replace(f"[{SIZE}]", "[2, 4096]") + (
        '[[layer]]\nname = "s"\nop = "slice"\naxis = 1\nstop = 1\n[[layer]]\nname = "f"\nop = "flatten"\n'
        '[[layer]]\nname = "d"\nop = "dense"\n[[output]]\nname = "y"\nfrom = "d"\n'
    )
    weight = numbers(SIZE, 4096)
    path = spec(tmp_path, text, **{"d.weight": weight})
    assert weight.nbytes <= stored(path, tmp_path / "out") < weight.nbytes + 4096
    x = numbers(1, 2, 4096, seed=1)
    check(path, x, x[:, 0].astype(np.float64) @ weight.astype(np.float64).T, device, tmp_path / "out")


def warnings(*command: str | Path) -> str:
    done = CliRunner().invoke(main, [str(word) for word in command])
    assert done.exit_code == 0, done.output
    return done.stderr


def test_copies_that_folding_makes_of_a_tensor_are_named(tmp_path: Path) -> None:
    """Six layers name one tensor, and into each goes a BatchNorm of its own."""
    rng = np.random.default_rng(0)
    statistics = {
        f"e{k}.{what}": (rng.random(SIZE) + 0.5).astype(np.float32)
        for k in range(6)
        for what in ("gamma", "beta", "moving_mean", "moving_variance")
    }
    text = HEAD + layers(6, "batch_norm = {{ epsilon = 1e-3 }}")
    path = spec(tmp_path, text, **{"e.weight": numbers(SIZE, SIZE)}, **statistics)
    built = warnings("build", path, "-o", tmp_path / "out")
    (line,) = [line for line in built.splitlines() if line.startswith("warning")]
    # 160,000 weights and 24 arrays of 400 statistics; each of the six copies has 400 biases beside, and 2 * 8 floats
    # more: vectors of 512 bits read half a vector beyond tiles of five blocks.
    assert "stores 3849984 bytes of weights, 5.6 times the network's parameters of 688000 bytes" in line
    assert "layer 'e0'" in line and "the tensor is that of 6 layers" in line and "and 5 more" in line
    explained = warnings("explain", path)
    assert all(f"layer 'e{k}' 641664 bytes" in explained for k in range(6))


def test_weights_of_padding_lanes_are_named(tmp_path: Path) -> None:
    text = HEAD.replace(f"[{SIZE}]", "[20000]")
    text += '[[layer]]\nname = "d"\nop = "dense"\n[[output]]\nname = "y"\nfrom = "d"\n'
    path = spec(tmp_path, text, **{"d.weight": numbers(1, 20_000)})
    for command in (("build", path, "-o", tmp_path / "out"), ("explain", path)):
        assert "layer 'd' 640096 bytes for 80004, as channels are filled up to vectors of 8" in warnings(*command)


@pytest.mark.parametrize("name", ["one tensor", "ten layers"])
def test_weights_as_large_as_the_parameters_are_no_warning(name: str, tmp_path: Path) -> None:
    path = spec(tmp_path, HEAD + layers(1 if name == "one tensor" else 10), **{"e.weight": numbers(SIZE, SIZE)})
    assert "warning" not in warnings("build", path, "-o", tmp_path / "out") + warnings("explain", path)
