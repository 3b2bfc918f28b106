"""Small networks for tests: a builder that knows shapes and makes up trained parameters, and the stages in one call."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from codegen.emit import artefact
from codegen.emit.artefact import Provenance, render_artefact
from codegen.emit.output import write
from codegen.emit.packaging import Packaging
from codegen.emit.selftest import self_test
from codegen.graph.graph import Graph, Input, Node, Output
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
    Op,
    Pool,
    PRelu,
    Shape,
)
from codegen.graph.types import is_whole
from codegen.passes.explain import Report, report
from codegen.passes.fold import fold
from codegen.passes.fuse import fuse
from codegen.passes.simplify import simplify
from codegen.plan import planner
from codegen.plan.copies import with_copies
from codegen.plan.plan import Plan
from codegen.plan.target import DEVICE_OPTIONS, TARGETS
from codegen.runtime.artefact import Artefact, read
from codegen.runtime.devices import DeviceInfo
from codegen.runtime.samples import Sample
from codegen.runtime.verify import Verification, verify

Values = NDArray[np.float64]
PerAxis = int | Sequence[int]
Padding = int | Sequence[tuple[int, int]]


class Net:
    """A graph under construction: every method adds a node and returns its name.

    Inputs are ``x`` (``x``, ``x1``, ``x2``, … if there are several).  Parameters are float32 numbers, as in a file.
    """

    def __init__(self, *shapes: Shape, name: str = "net", seed: int = 0, channels_last: bool = False) -> None:
        self.name = name
        self.rng = np.random.default_rng(seed)
        self.inputs = [Input(f"x{k or ''}", shape, channels_last and len(shape) > 2) for k, shape in enumerate(shapes)]
        self.nodes: list[Node] = []
        self.shapes: dict[str, Shape] = {i.name: i.shape for i in self.inputs}

    def graph(self, *outputs: str) -> Graph:
        """The graph with these tensors as outputs ``y``, ``y1``, …; the last node's if none is named."""
        values = outputs or (self.nodes[-1].name,)
        last = self.inputs[0].channels_last
        declared = tuple(Output(f"y{k or ''}", v, last and len(self.shapes[v]) > 2) for k, v in enumerate(values))
        return Graph(self.name, tuple(self.inputs), tuple(self.nodes), declared)

    def add(self, op: Op, *inputs: str, name: str = "") -> str:
        name = name or f"n{len(self.nodes)}"
        self.shapes[name] = op.infer(*(self.shapes[i] for i in inputs))
        self.nodes.append(Node(name, op, inputs))
        return name

    def normal(self, *shape: int, spread: float = 1.0) -> Values:
        return self.rng.normal(0.0, spread, shape).astype(np.float32).astype(np.float64)

    def uniform(self, low: float, high: float, *shape: int) -> Values:
        return self.rng.uniform(low, high, shape).astype(np.float32).astype(np.float64)

    def conv(
        self, x: str, channels: int, kernel: PerAxis = 3, *, stride: PerAxis = 1, dilation: PerAxis = 1,
        pads: Padding = 0, groups: int = 1, bias: bool = True, name: str = "",
    ) -> str:  # fmt: skip
        rank = len(self.shapes[x]) - 2
        kernel = per_axis(kernel, rank)
        weight = self.normal(channels, self.shapes[x][1] // groups, *kernel, spread=0.5)
        op = Conv(
            weight,
            self.normal(channels) if bias else np.zeros(channels),
            per_axis(stride, rank),
            per_axis(dilation, rank),
            pairs(pads, rank),
            groups,
        )
        return self.add(op, x, name=name)

    def conv_transpose(
        self, x: str, channels: int, kernel: PerAxis = 3, *, stride: PerAxis = 1, dilation: PerAxis = 1,
        pads: Padding = 0, output_padding: PerAxis = 0, groups: int = 1, bias: bool = True, name: str = "",
    ) -> str:  # fmt: skip
        rank = len(self.shapes[x]) - 2
        kernel = per_axis(kernel, rank)
        op = ConvTranspose(
            self.normal(self.shapes[x][1], channels // groups, *kernel, spread=0.5),
            self.normal(channels) if bias else np.zeros(channels),
            per_axis(stride, rank),
            per_axis(dilation, rank),
            pairs(pads, rank),
            per_axis(output_padding, rank),
            groups,
        )
        return self.add(op, x, name=name)

    def dense(self, x: str, outputs: int, *, bias: bool = True, name: str = "") -> str:
        features = int(np.prod(self.shapes[x][1:]))
        weight = self.normal(outputs, features, spread=0.5)
        return self.add(Dense(weight, self.normal(outputs) if bias else np.zeros(outputs)), x, name=name)

    def bn(
        self, x: str, *, gamma: Any = None, beta: Any = None, mean: Any = None, variance: Any = None,
        epsilon: float = 1e-5, name: str = "",
    ) -> str:  # fmt: skip
        """Statistics far from mean 0 and variance 1, where many mistakes do not show; gammas of both signs."""
        n = self.shapes[x][1]

        def chosen(value: Any, otherwise: Values) -> Values:
            if isinstance(value, np.ndarray):
                return value
            return otherwise if value is None else np.full(n, float(np.float32(value)))

        signs = np.where(np.arange(n) % 3 == 2, -1.0, 1.0)
        op = BatchNorm(
            chosen(gamma, signs * self.uniform(0.5, 1.5, n)),
            chosen(beta, self.normal(n)),
            chosen(mean, self.normal(n)),
            chosen(variance, self.uniform(0.2, 2.0, n)),
            epsilon,
        )
        return self.add(op, x, name=name)

    def affine(self, x: str, *, scale: bool = True, shift: bool = True, name: str = "") -> str:
        """A constant scale and shift for each channel, or one of them."""
        n = self.shapes[x][1]
        scales = self.uniform(0.5, 1.5, n) if scale else np.ones(n)
        return self.add(Affine(scales, self.normal(n) if shift else np.zeros(n)), x, name=name)

    def act(self, x: str, kind: str = "relu", *, name: str = "", **parameters: float) -> str:
        return self.add(Activation.of(kind, **parameters), x, name=name)

    def prelu(self, x: str, *, name: str = "") -> str:
        return self.add(PRelu(self.uniform(-0.5, 0.9, self.shapes[x][1])), x, name=name)

    def divide(self, x: str, *, name: str = "") -> str:
        return self.add(Divide(self.uniform(0.5, 9.0, self.shapes[x][1])), x, name=name)

    def binary(self, kind: str, a: str, b: str, *, name: str = "") -> str:
        return self.add(Binary(kind), a, b, name=name)

    def concat(self, *parts: str, axis: int = 1, name: str = "") -> str:
        return self.add(Concat(axis), *parts, name=name)

    def pool(
        self, x: str, kind: str = "max", kernel: PerAxis = 2, *, stride: PerAxis | None = None, pads: Padding = 0,
        dilation: PerAxis = 1, ceil_mode: bool = False, count_include_pad: bool = False, p: float = 2.0,
        name: str = "",
    ) -> str:  # fmt: skip
        rank = len(self.shapes[x]) - 2
        size = per_axis(kernel, rank)
        step = size if stride is None else per_axis(stride, rank)
        op = Pool(kind, size, step, per_axis(dilation, rank), pairs(pads, rank), ceil_mode, count_include_pad, p)
        return self.add(op, x, name=name)

    def global_pool(self, x: str, kind: str = "average", *, name: str = "") -> str:
        return self.add(GlobalPool(kind), x, name=name)


def per_axis(value: PerAxis, rank: int) -> tuple[int, ...]:
    return (value,) * rank if isinstance(value, int) else tuple(value)


def pairs(value: Padding, rank: int) -> tuple[tuple[int, int], ...]:
    return ((value, value),) * rank if isinstance(value, int) else tuple(value)


@dataclass(frozen=True, eq=False)
class Stages:
    """A network at each stage of the compiler."""

    unfolded: Graph
    folded: Graph
    launches: Graph
    report: Report

    def plan(self, target: str = "cpu", choices: Mapping[str, str] = MappingProxyType({})) -> Plan:
        return planner.plan(self.launches, TARGETS[target], choices=choices)

    def build(
        self,
        folder: Path,
        target: str = "cpu",
        choices: Mapping[str, str] = MappingProxyType({}),
        backend: str = "opencl",
    ) -> Artefact:
        """Writes the artefact and reads it back; ``choices`` are schedules by launch."""
        selftest = self_test(self.unfolded, self.launches)
        kind, made_from = Packaging(backend), Provenance("net.toml", "", "")
        files = render_artefact(self.plan(target, choices), made_from, selftest, None, kind)
        write(folder / self.unfolded.name, files)
        return read(folder / self.unfolded.name)

    def verify(self, *devices: DeviceInfo, target: str = "cpu", seed: int = 0) -> Verification:
        with tempfile.TemporaryDirectory() as folder:
            artefact = self.build(Path(folder), target)
            return verify(artefact, self.unfolded, self.launches, devices, [normal_sample(artefact, seed)])

    def where(self, name: str) -> list[tuple[str, str]]:
        """The places where a BatchNorm is computed, as (how, place) pairs."""
        (entry,) = (b for b in self.report.batch_norms if b.name == name)
        return [(p.how, p.where) for p in entry.placements]


def lower(graph: Graph) -> Stages:
    """Lowers a graph as codegen.build does."""
    simplified, renamed = simplify(graph)
    folded, folds = fold(simplified, graph, renamed)
    launches, roles = fuse(folded)
    return Stages(graph, folded, with_copies(launches), report(graph, folds, roles))


@contextmanager
def vectors(wide: bool) -> Iterator[None]:
    """Artefacts that choose wide vectors for every device, or for none."""
    key = "native_floats_from"
    options = tuple({**option, key: 1 if wide else 1024} for option in DEVICE_OPTIONS)
    with mock.patch.object(artefact, "DEVICE_OPTIONS", options):
        yield


@contextmanager
def weights_in(place: str) -> Iterator[None]:
    """Artefacts that hold their weights as "tables" of the kernels or as one "blob", however many there are."""
    with mock.patch.object(planner, "TABLE_BYTES", {"tables": 2**20, "blob": 0}[place]):
        yield


def inputs_of(graph: Graph, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Normally distributed inputs in the network's order of axes."""
    rng = np.random.default_rng(seed)
    return {i.name: _normal(rng, i.shape, i.type) for i in graph.inputs}


def _normal(rng: np.random.Generator, shape: Sequence[int], kind: str) -> NDArray[Any]:
    """Normally distributed numbers, or for integers and bools, up to 99, whole ones."""
    if is_whole(kind):
        return rng.integers(0, 2 if kind == "bool" else 100, shape).astype(kind)
    return rng.standard_normal(shape).astype(kind)


def normal_sample(artefact: Artefact, seed: int = 0) -> Sample:
    """Normally distributed inputs in the user's layout, a few of them beyond what a spec's range usually is."""
    rng = np.random.default_rng(seed)
    return {i["name"]: _normal(rng, i["shape"], i["type"]) for i in artefact.inputs}
