"""Artefacts of the networks that take every branch of every kernel template."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.emit.artefact import Pictures, Provenance, render_artefact
from codegen.emit.output import write
from codegen.emit.packaging import Packaging
from codegen.emit.selftest import self_test
from codegen.graph.graph import Graph
from codegen.plan import planner
from codegen.plan.plan import Plan
from codegen.plan.target import TARGETS
from codegen.runtime.artefact import Artefact, read
from tests.support import networks
from tests.support.branches import NETWORKS


@dataclass(frozen=True, eq=False)
class Built:
    """A network, its plan, and the files made from it."""

    unfolded: Graph
    launches: Graph
    plan: Plan
    files: Mapping[str, bytes]

    @property
    def name(self) -> str:
        return self.launches.name

    def write(self, parent: Path) -> Path:
        """The artefact's folder."""
        folder = parent / self.name
        write(folder, self.files)
        return folder

    def read(self, parent: Path) -> Artefact:
        """The artefact as read back from disk."""
        return read(self.write(parent))


BLOB = ("weighty", "convolutions", "prepared", "winograd", "tiles")
"""Networks built with their constants in one array, however few there are."""

PICTURES = {"tables": "bytes", "weighty": "floats"}
"""Networks whose example shows labelled samples."""


@cache
def build(name: str, target: str = "cpu", backend: str = "opencl", multiversion: bool = False) -> Built:
    """Renders a network."""
    stages = networks.lower(NETWORKS[name]())
    with networks.weights_in("blob") if name in BLOB else nullcontext():
        plan = planner.plan(stages.launches, TARGETS[target], stages.report.notes(), choices(stages.launches))
    assert (plan.weights is not None) == (name in BLOB)
    made_from = Provenance(f"{name}.toml", "0" * 64, "0" * 64)
    shown = pictures(stages.unfolded, PICTURES[name]) if name in PICTURES else None
    files = render_artefact(
        plan, made_from, self_test(stages.unfolded, stages.launches), shown, Packaging(backend, multiversion)
    )
    return Built(stages.unfolded, stages.launches, plan, files)


def choices(launches: Graph) -> dict[str, str]:
    """Schedules that are not the planner's choice: a launch is called "schedule, whatever it is"."""
    return {
        node.name: schedule for node in launches.nodes for schedule, comma, _ in [node.name.partition(",")] if comma
    }


def pictures(graph: Graph, kind: str) -> Pictures:
    """Five samples, labelled with the classes that the network gives them; the last label is wrong."""
    rng = np.random.default_rng(0)
    shape = (5, *graph.inputs[0].shape[1:])
    drawn: NDArray[Any] = rng.integers(0, 256, shape) if kind == "bytes" else rng.standard_normal(shape)
    images = drawn.astype(np.float32)
    scores = [graph.evaluate({graph.inputs[0].name: image[None]})[graph.outputs[0].value] for image in images]
    labels = np.array([int(np.argmax(s)) for s in scores])
    labels[-1] = (labels[-1] + 1) % scores[-1].size
    return Pictures(images, labels)


def numbers(graph: Graph, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Inputs by name, in the network's order of axes."""
    return dict(networks.inputs_of(graph, seed))


def rewrite(path: Path, content: bytes) -> None:
    """Replaces a generated file, and its hash in the manifest, so that the change is not found by that."""
    assert content != path.read_bytes(), "nothing changed"
    path.write_bytes(content)
    manifest = json.loads((path.parent / "manifest.json").read_text())
    manifest["files"][path.name] = hashlib.sha256(content).hexdigest()
    (path.parent / "manifest.json").write_text(json.dumps(manifest))
