"""Random specs, all the way: TOML and weights on disk, compiled, run on each OpenCL runtime and through the C host.

CLGEN_EXAMPLES=500 in the environment tries that many new ones instead of the same few, and shrinks what fails.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from hypothesis import assume, given, note

from codegen import build
from codegen.graph.bounded import FLOAT64
from codegen.runtime.artefact import read
from codegen.runtime.devices import DeviceInfo
from codegen.runtime.verify import format_verification, verify
from tests.support.examples import few
from tests.support.networks import inputs_of, normal_sample, vectors, weights_in
from tests.support.random_specs import RandomSpec, specs

LARGEST = 1e30


@few(25)
@given(specs())
def test_on_intel(find_device: Callable[[str], DeviceInfo], spec: RandomSpec) -> None:
    check(spec, find_device("intel"))


@few(25)
@given(specs())
def test_on_pocl(find_device: Callable[[str], DeviceInfo], spec: RandomSpec) -> None:
    check(spec, find_device("pocl"))


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
    blob = weights_in("blob") if spec.blob else nullcontext()
    with tempfile.TemporaryDirectory() as folder, blob, vectors(wide=spec.wide):
        path = spec.write(Path(folder))
        lowered = build.lower(path)
        graph = lowered.model.graph
        assert {name: graph.shapes[name] for name in spec.shapes} == spec.shapes
        # Beyond float32 there is nothing to verify.
        assume(all(np.abs(v).max() < LARGEST for v in graph.evaluate(inputs_of(graph)).values()))
        out, _ = build.build(lowered, Path(folder), spec.target)
        artefact = read(out)
        result = verify(artefact, graph, lowered.launches, [device], [normal_sample(artefact)])
    note(format_verification(result))
    assert result.passed
