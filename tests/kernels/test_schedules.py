"""Every schedule that a convolution can have computes it, whatever estimates say of its speed.

CLGEN_EXAMPLES=500 in the environment tries that many new layers instead of the same few, and shrinks what fails.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, note
from hypothesis import strategies as st

from codegen.graph.evaluation import all_outputs, sources
from codegen.graph.graph import Graph
from codegen.graph.tolerance import rounded_evaluation, tolerance
from codegen.plan.schedules import convolution, winograd
from codegen.plan.schedules.launch import LaunchSketch
from codegen.plan.target import TARGETS
from codegen.runtime.artefact import Artefact, read
from codegen.runtime.devices import DeviceInfo
from codegen.runtime.verify import Verification, format_verification, verify
from tests.support import networks
from tests.support.apart import oclgrind
from tests.support.branches import Net
from tests.support.examples import few
from tests.support.networks import vectors
from tests.support.values import SLIGHTLY_WRONG

Pads = tuple[tuple[int, int], tuple[int, int]]


@dataclass(frozen=True)
class Layer:
    """A convolution and what is around it.

    ``plain``: the input is the network's, in the user's order, not another layer's.  ``prologue``: a batch norm and a
    ReLU in front.  ``epilogue``: something is added to it, and a ReLU comes behind.
    """

    shape: tuple[int, int, int, int]
    outputs: int
    kernel: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pads: Pads = ((0, 0), (0, 0))
    groups: int = 1
    plain: bool = False
    channels_last: bool = False
    prologue: bool = False
    epilogue: bool = False
    wide: bool = False

    def graph(self, copies: Sequence[str]) -> Graph:
        """A network of as many of these layers, side by side, called so."""
        net = Net("layers")
        given = net.input("x", *self.shape, channels_last=self.channels_last)
        x = given if self.plain else net.conv(given, self.shape[1], 1)
        attributes: dict[str, Any] = {
            "stride": self.stride,
            "dilation": self.dilation,
            "pads": self.pads,
            "groups": self.groups,
        }
        size = net.shapes[net.conv(x, self.outputs, self.kernel, **attributes)]
        net.nodes.pop()
        side = net.conv(net.input("side", *size), self.outputs, 1) if self.epilogue else ""
        for k, name in enumerate(copies):
            y = net.act(net.bn(x)) if self.prologue else x
            y = net.conv(y, self.outputs, self.kernel, **attributes, name="" if self.epilogue else name)
            if self.epilogue:
                y = net.act(net.binary("add", net.bn(y), side), name=name)
            # Read again, so that it lies in blocks and not as the user's array.
            net.output(f"y{k}", net.conv(y, 1, 1))
        return net.graph()

    def offered(self) -> list[str]:
        """The schedules that the planner can choose from."""
        names: list[str] = []

        def spy(s: LaunchSketch) -> Mapping[str, object]:
            ways = candidates(s)
            if s.node.name == "c":
                names[:] = ways
            return ways

        candidates = convolution.candidates
        with mock.patch.object(convolution, "candidates", spy):
            networks.lower(self.graph(["c"])).plan()
        assert names
        return names


@dataclass(frozen=True, eq=False)
class Layers:
    """A layer in all its schedules, as one artefact."""

    names: list[str]
    stages: networks.Stages
    artefact: Artefact

    def verify(self, device: DeviceInfo) -> Verification:
        sample = networks.normal_sample(self.artefact)
        return verify(self.artefact, self.stages.unfolded, self.stages.launches, [device], [sample])


def build(layer: Layer, folder: Path, names: Sequence[str] = ()) -> Layers:
    """The layer once in each schedule, or in those that are named; launches are called as their schedules."""
    chosen = list(names) or layer.offered()
    stages = networks.lower(layer.graph(chosen))
    with vectors(layer.wide):
        artefact = stages.build(folder, choices={name: name for name in chosen})
    return Layers(chosen, stages, artefact)


def check(layer: Layer, device: DeviceInfo, expected: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        layers = build(layer, Path(folder))
        assert layers.names == list(expected)
        assert_computed_so(layers)
        result = layers.verify(device)
    note(format_verification(result))
    assert result.passed


def assert_computed_so(layers: Layers) -> None:
    """Asserts that each copy of the layer has the schedule that was asked for."""
    templates = {k["name"]: k["template"].partition(".")[0] for k in layers.artefact.manifest["kernels"]}
    for name in layers.names:
        used = [templates[launch["kernel"]] for launch in layers.artefact.launches if launch["node"] == name]
        family = {"depthwise": "window", "general": "conv_general", "gathered": "pointwise"}.get(name, name)
        if match := re.fullmatch(r"winograd(\d)(_groups)?", name):
            three = ["winograd_input", "pointwise", "winograd_output"]
            assert used == (["winograd"] if match[2] else three)
            (last,) = (launch for launch in layers.artefact.launches if launch["writes"] == name)
            assert last["winograd"] == int(match[1])
        else:
            assert used == [family]


# ---- layers ---------------------------------------------------------------------------------------------------------

sizes = st.integers(1, 2)
flags = st.booleans()


@st.composite
def winograd_layers(draw: st.DrawFn) -> Layer:
    """3x3, of all sizes of images and edges; batches of up to three."""
    pads = draw(st.tuples(st.tuples(*[st.integers(0, 2)] * 2), st.tuples(*[st.integers(0, 2)] * 2)))
    rows, columns = (draw(st.integers(max(3 - sum(pad), 1), most)) for pad, most in zip(pads, (13, 17), strict=True))
    return Layer(
        shape=(draw(st.integers(1, 3)), draw(st.integers(1, 40)), rows, columns),
        outputs=draw(st.integers(1, 72)),
        pads=pads,
        prologue=draw(flags),
        epilogue=draw(flags),
        wide=draw(flags),
    )


@st.composite
def pointwise_layers(draw: st.DrawFn) -> Layer:
    return Layer(
        shape=(draw(sizes), draw(st.integers(1, 60)), draw(st.integers(1, 9)), draw(st.integers(1, 33))),
        outputs=draw(st.integers(1, 100)),
        kernel=(1, 1),
        stride=(draw(st.integers(1, 3)), draw(st.integers(1, 3))),
        prologue=draw(flags),
        epilogue=draw(flags),
        wide=draw(flags),
    )


@st.composite
def windowed_layers(draw: st.DrawFn) -> Layer:
    """Windows that Winograd's algorithm does not know."""
    window = draw(windows(7).filter(lambda w: w["kernel"] not in ((1, 1), (3, 3))))
    return Layer(
        shape=(draw(sizes), draw(st.integers(1, 40)), *window.pop("image")),
        outputs=draw(st.integers(1, 72)),
        prologue=draw(flags),
        epilogue=draw(flags),
        wide=draw(flags),
        **window,
    )


@st.composite
def windows(draw: st.DrawFn, most: int) -> dict[str, Any]:
    """Attributes of a window of up to ``most`` taps each way, and an image that it fits."""
    kernel, stride, dilation, pads, image = [], [], [], [], []
    for _ in range(2):
        kernel.append(draw(st.integers(1, most)))
        stride.append(draw(st.integers(1, 3)))
        dilation.append(draw(sizes))
        reach = (kernel[-1] - 1) * dilation[-1]
        pads.append((draw(st.integers(0, reach)), draw(st.integers(0, reach))))
        image.append(draw(st.integers(max(reach + 1 - sum(pads[-1]), 1), 20)))
    return {
        **{"kernel": tuple(kernel), "stride": tuple(stride), "dilation": tuple(dilation)},
        **{"pads": tuple(pads), "image": tuple(image)},
    }


@st.composite
def stems(draw: st.DrawFn) -> Layer:
    window = draw(windows(7).filter(lambda w: w["kernel"] != (1, 1)))
    return Layer(
        shape=(draw(sizes), draw(st.integers(1, 4)), *window.pop("image")),
        outputs=draw(st.integers(1, 72)),
        plain=True,
        channels_last=draw(flags),
        prologue=draw(flags),
        epilogue=draw(flags),
        wide=draw(flags),
        **window,
    )


@st.composite
def depthwise_layers(draw: st.DrawFn) -> Layer:
    window = draw(windows(5))
    channels = draw(st.integers(2, 30))
    return Layer(
        shape=(draw(sizes), channels, *window.pop("image")),
        outputs=channels,
        groups=channels,
        prologue=draw(flags),
        epilogue=draw(flags),
        wide=draw(flags),
        **window,
    )


def winograds(layer: Layer) -> list[str]:
    """The schedules of a 3x3 layer; it can be in groups of tiles if there are at least so many."""
    with_pads = [n + sum(pad) - 2 for n, pad in zip(layer.shape[2:], layer.pads, strict=True)]
    names, least = [], winograd.least_group(TARGETS["cpu"])
    for size in (2, 4):
        tiles = layer.shape[0] * int(np.prod([-(-n // size) for n in with_pads]))
        names += [f"winograd{size}", *([f"winograd{size}_groups"] if tiles >= least else [])]
    return [*names, "direct", "gathered"]


@few(5)  # five or six schedules to compile for each
@given(winograd_layers())
def test_winograd_on_intel(find_device: Callable[[str], DeviceInfo], layer: Layer) -> None:
    check(layer, find_device("intel"), winograds(layer))


@few(5)  # five or six schedules to compile for each
@given(winograd_layers())
def test_winograd_on_pocl(find_device: Callable[[str], DeviceInfo], layer: Layer) -> None:
    check(layer, find_device("pocl"), winograds(layer))


@few(10)
@given(pointwise_layers())
def test_pointwise_on_intel(find_device: Callable[[str], DeviceInfo], layer: Layer) -> None:
    check(layer, find_device("intel"), ["pointwise"])


@few(10)
@given(pointwise_layers())
def test_pointwise_on_pocl(find_device: Callable[[str], DeviceInfo], layer: Layer) -> None:
    check(layer, find_device("pocl"), ["pointwise"])


# Input that is long and read often, which is put together first.
LONG = {"narrow rows": Layer((2, 391, 7, 25), 130, (1, 1)), "one row": Layer((1, 500, 1, 199), 128, (1, 1))}


@pytest.mark.parametrize("name", LONG)
def test_long_input_is_put_together(name: str, device: DeviceInfo, tmp_path: Path) -> None:
    layers = build(LONG[name], tmp_path)
    kernels = (layers.artefact.folder / f"{layers.artefact.name}.cl").read_text()
    assert "float staged[" in kernels
    result = layers.verify(device)
    assert result.passed, format_verification(result)


@few(10)
@given(windowed_layers())
def test_windows_on_intel(find_device: Callable[[str], DeviceInfo], layer: Layer) -> None:
    check(layer, find_device("intel"), ["direct", "gathered"])


@few(10)
@given(windowed_layers())
def test_windows_on_pocl(find_device: Callable[[str], DeviceInfo], layer: Layer) -> None:
    check(layer, find_device("pocl"), ["direct", "gathered"])


@few(10)
@given(stems())
def test_stems_on_intel(find_device: Callable[[str], DeviceInfo], layer: Layer) -> None:
    check(layer, find_device("intel"), ["stem"])


@few(10)
@given(stems())
def test_stems_on_pocl(find_device: Callable[[str], DeviceInfo], layer: Layer) -> None:
    check(layer, find_device("pocl"), ["stem"])


@few(10)
@given(depthwise_layers())
def test_depthwise_on_intel(find_device: Callable[[str], DeviceInfo], layer: Layer) -> None:
    check(layer, find_device("intel"), ["depthwise"])


@few(10)
@given(depthwise_layers())
def test_depthwise_on_pocl(find_device: Callable[[str], DeviceInfo], layer: Layer) -> None:
    check(layer, find_device("pocl"), ["depthwise"])


# ---- small ones, for slow tools -------------------------------------------------------------------------------------

SMALL = {
    "winograd": Layer((3, 9, 5, 6), 12, pads=((1, 1), (0, 2)), prologue=True, epilogue=True),
    "pointwise": Layer((2, 11, 5, 7), 20, (1, 1), stride=(2, 3), prologue=True, epilogue=True),
    "windows": Layer((2, 11, 6, 5), 18, (3, 2), (2, 1), (1, 2), ((1, 2), (2, 0)), prologue=True, epilogue=True),
    "stem": Layer((1, 2, 5, 6), 9, (3, 2), (2, 1), (1, 2), ((1, 2), (1, 0)), plain=True, prologue=True),
    "depthwise": Layer((2, 9, 6, 5), 9, (2, 5), (1, 2), (2, 1), ((0, 2), (4, 4)), 9, prologue=True, epilogue=True),
}


@pytest.mark.parametrize("native_floats", [8, 16])
@pytest.mark.parametrize("name", SMALL)
def test_no_schedule_reads_or_writes_beside(
    name: str, native_floats: int, tool: Callable[[str], str], tmp_path: Path
) -> None:
    layers = build(SMALL[name], tmp_path)
    assert_computed_so(layers)
    inputs = dict(networks.inputs_of(layers.stages.unfolded))
    assert oclgrind(tool, layers.artefact.folder, inputs, tmp_path / "results.npz", native_floats) == ""
    results = np.load(tmp_path / "results.npz")
    launches = layers.stages.launches
    expected = layers.stages.unfolded.evaluate(inputs)
    noisy = rounded_evaluation(launches, sources(inputs), all_outputs(launches))
    for output, launch in zip(layers.stages.unfolded.outputs, launches.outputs, strict=True):
        true = expected[output.value]
        assert np.abs(results[output.name] - true).max() <= tolerance(true, noisy[launch.value])


# ---- mistakes -------------------------------------------------------------------------------------------------------


def edited(artefact: Artefact, pattern: str, replacement: Callable[[re.Match[str]], str], nth: int) -> Artefact:
    """The artefact with the n-th place changed where a pattern fits its kernels."""
    path = artefact.folder / f"{artefact.name}.cl"
    text = path.read_text()
    match = list(re.finditer(pattern, text))[nth]
    text = text[: match.start()] + replacement(match) + text[match.end() :]
    path.write_text(text)
    manifest = json.loads((artefact.folder / "manifest.json").read_text())
    manifest["files"][path.name] = hashlib.sha256(text.encode()).hexdigest()
    (artefact.folder / "manifest.json").write_text(json.dumps(manifest))
    return read(artefact.folder)


@pytest.mark.parametrize("schedule", ["winograd4", "winograd4_groups"])
@pytest.mark.parametrize("place", ["first", "second", "last"])
def test_a_wrong_constant_of_a_transform_is_found(
    schedule: str, place: str, find_device: Callable[[str], DeviceInfo], tmp_path: Path
) -> None:
    """Each time another one: of the weights' transform, of the input's, of the output's."""
    layers = build(Layer((1, 16, 12, 16), 16), tmp_path, [schedule])
    nth = {"first": 0, "second": 40, "last": -1}[place]

    def wrong(literal: re.Match[str]) -> str:
        return f"{(float.fromhex(literal[1]) * SLIGHTLY_WRONG).hex()}f"

    device = find_device("pocl")
    assert layers.verify(device).passed
    broken = edited(layers.artefact, r"(-?0x1[.0-9a-f]*p[-+]\d+)f\b", wrong, nth)
    result = Layers(layers.names, layers.stages, broken).verify(device)
    assert [check.name for check in result.devices[0].launches if not check.passed] == [schedule]
