"""Random specs, all the way: TOML and weights on disk, compiled, run on each OpenCL runtime and in plain C.

CLGEN_EXAMPLES=500 in the environment tries that many new ones instead of the same few, and shrinks what fails.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
from hypothesis import assume, given, note
from hypothesis import strategies as st

from codegen import build
from codegen.graph.bounded import FLOAT64
from codegen.runtime.artefact import Artefact, read
from codegen.runtime.devices import DeviceInfo
from codegen.runtime.native import NativeDevice, NativeHost
from codegen.runtime.samples import Sample
from codegen.runtime.verify import format_verification, verify
from tests.support.examples import few
from tests.support.generated_c import Tool
from tests.support.networks import inputs_of, normal_sample, vectors, weights_in
from tests.support.random_specs import RandomSpec, specs
from tests.support.ways import WAYS, Application, Way, build_plain_c, compile_together

LARGEST = 1e30


@few(25)
@given(specs())
def test_on_intel(find_device: Callable[[str], DeviceInfo], spec: RandomSpec) -> None:
    check(spec, find_device("intel"))


@few(25)
@given(specs())
def test_on_pocl(find_device: Callable[[str], DeviceInfo], spec: RandomSpec) -> None:
    check(spec, find_device("pocl"))


@few(24)
@given(specs(), st.sampled_from(WAYS))
def test_in_plain_c(tool: Tool, spec: RandomSpec, way: Way) -> None:
    note(str(way))
    with lowered(spec) as (network, folder):
        artefact = build_plain_c(network, folder)
        sample = normal_sample(artefact)
        passes(artefact, network, NativeDevice(way.vectors, tool(way.compiler)), sample)
        # Verify has layers in view, and so one thread.
        if way.threads:
            alone, together = (
                compile_together([artefact], each, tool, folder / f"{each}.so")
                for each in (replace(way, threads=False), way)
            )
            with NativeHost(artefact, alone) as one, Application(artefact, together, way) as several:
                wanted, got = one.run(sample), several.run(sample)
            assert {name: y.tobytes() for name, y in got.items()} == {name: y.tobytes() for name, y in wanted.items()}


@few(500)
@given(specs(most_layers=12))
def test_values_survive_folding(spec: RandomSpec) -> None:
    """The fused graph equals the spec's in float64; without a device, so with more and larger networks."""
    with tempfile.TemporaryDirectory() as folder:
        lowered = build.lower(spec.write(Path(folder)))
    graph = lowered.model.graph
    given = inputs_of(graph, 1)
    wanted, got = graph.evaluate(given), lowered.launches.evaluate(given)
    assume(all(np.abs(v).max() < LARGEST for v in wanted.values()))
    noise = graph.evaluate_bounded(given, FLOAT64)
    for theirs, ours in zip(graph.outputs, lowered.launches.outputs, strict=True):
        y, error = wanted[theirs.value], noise[theirs.value].error
        assert np.all(np.abs(got[ours.value] - y) <= 64 * error + 1e-300), theirs.name


def check(spec: RandomSpec, device: DeviceInfo) -> None:
    with lowered(spec) as (network, folder):
        artefact = read(build.build(network, folder, spec.target)[0])
        passes(artefact, network, device, normal_sample(artefact))


@contextmanager
def lowered(spec: RandomSpec) -> Iterator[tuple[build.Lowered, Path]]:
    """The spec's network, and a folder, while the settings that the spec asks for hold."""
    blob = weights_in("blob") if spec.blob else nullcontext()
    with tempfile.TemporaryDirectory() as folder, blob, vectors(wide=spec.wide):
        network = build.lower(spec.write(Path(folder)))
        graph = network.model.graph
        assert {name: graph.shapes[name] for name in spec.shapes} == spec.shapes
        # Beyond float32 there is nothing to verify.
        assume(all(np.abs(v).max() < LARGEST for v in graph.evaluate(inputs_of(graph)).values()))
        yield network, Path(folder)


def passes(artefact: Artefact, network: build.Lowered, device: DeviceInfo | NativeDevice, sample: Sample) -> None:
    result = verify(artefact, network.model.graph, network.launches, [device], [sample])
    note(format_verification(result))
    assert result.passed
