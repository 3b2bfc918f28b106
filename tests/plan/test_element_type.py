"""The element type is data: with numbers of half the size, everything that is counted in bytes halves.

No target computes in float16, and these kernels could not run: what is around them is looked at.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from codegen.emit.artefact import Provenance, render_artefact
from codegen.emit.output import write
from codegen.emit.selftest import self_test
from codegen.plan.dtype import DTYPES
from codegen.plan.kernels import Pointwise
from codegen.plan.plan import Plan
from codegen.plan.planner import plan
from codegen.plan.target import TARGETS
from codegen.runtime.artefact import Artefact, read
from tests.support import networks
from tests.support.networks import Net

SAME = ((1, 1), (1, 1))
SINGLE, HALF = DTYPES["float32"], DTYPES["float16"]
CPU = {dtype.name: replace(TARGETS["cpu"], dtype=dtype) for dtype in (SINGLE, HALF)}
CHOICES = {"direct": "direct", "groups": "winograd4_groups", "three": "winograd4", "gathered": "gathered"}


def stages() -> networks.Stages:
    """Layers of all kinds of memory: zeros, scratch and prepared weights of Winograd, staged input, tables."""
    net = Net((1, 16, 32, 32))
    x = net.conv("x", 64, 3, pads=SAME, name="direct")
    x = net.conv(net.conv(x, 64, 3, pads=SAME, name="groups"), 64, 3, pads=SAME, name="three")
    x = net.conv(net.conv(x, 64, 3, pads=SAME, stride=2, name="gathered"), 64, 1)
    net.dense(net.pool(x, "average", 16), 64)
    return networks.lower(net.graph())


def both() -> tuple[Plan, Plan]:
    launches = stages().launches
    single, half = (plan(launches, target, choices=CHOICES) for target in CPU.values())
    return single, half


def test_every_size_in_bytes_halves() -> None:
    single, half = both()
    assert [launch.title for launch in single.launches] == [launch.title for launch in half.launches]
    sizes = []
    for p in (single, half):
        assert p.weights is not None
        sizes.append([p.arena_bytes, p.separate_bytes, p.weights.nbytes, p.prepared_bytes])
    # Tensors begin at multiples of 128 bytes, and points of a transformed tile at odd multiples of 64.
    assert np.array(sizes[1]) / sizes[0] == pytest.approx(0.5, rel=0.02)
    assert half.weights is not None and half.weights.dtype == np.float16
    assert 0 < half.zeros_bytes == single.zeros_bytes / 2


def test_tensors_between_inputs_and_outputs_have_the_targets_type() -> None:
    _, half = both()
    for place in half.places.values():
        expected = SINGLE if place.buffer in ("input", "output") else HALF
        assert place.layout.dtype == expected
        assert place.layout.bytes == expected.bytes * place.layout.span
    types = {(p.role, p.type) for kernel in half.kernels for p in kernel.parameters if p.role != "size"}
    own = {(role, HALF.name) for role in ("read", "write", "zeros", "weights", "prepare", "prepared", "scratch")}
    assert types == own | {("read", SINGLE.name), ("write", SINGLE.name)}


def test_bounds_in_bytes_hold_twice_as_many_numbers() -> None:
    staged = [
        kernel.description.staged_floats
        for p in both()
        for kernel in p.kernels
        if isinstance(kernel.description, Pointwise) and kernel.description.gathered
    ]
    assert staged == [160 * 1024 // 4, 160 * 1024 // 2]


def written(folder: Path, target: str) -> Artefact:
    made = stages()
    files = render_artefact(
        plan(made.launches, CPU[target], choices=CHOICES),
        Provenance("net.toml", "", ""),
        self_test(made.unfolded, made.launches),
        None,
    )
    write(folder / target, files)
    return read(folder / target)


def test_the_artefact_counts_by_the_manifests_type(tmp_path: Path) -> None:
    single, half = (written(tmp_path, target) for target in CPU)
    assert single.weights is not None and half.weights is not None
    assert single.weights.dtype == np.float32 and half.weights.dtype == np.float16
    assert [a.tensors["direct"].bytes for a in (single, half)] == [4 * 64 * 32 * 32, 2 * 64 * 32 * 32]
    host = (tmp_path / "float16" / "net.c").read_text()
    for size in (half.manifest["memory"]["arena_bytes"], half.manifest["memory"]["prepared_bytes"]):
        assert str(size) in host
