"""Schedules that the planner chooses for the convolutions of the benchmark's networks, as a golden.

tests/choices/layers.json has the layers (benchmarks/layer_shapes.py wrote them), choices.txt what is chosen for them,
which is updated like other goldens: see test_golden.py.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from codegen.graph.graph import Node
from codegen.graph.ops import Activation, Conv, Fused, Stage
from codegen.plan import kernels
from codegen.plan.layout import blocked, plain
from codegen.plan.plan import Draft
from codegen.plan.schedules.convolution import plan_convolution
from codegen.plan.schedules.launch import LaunchSketch
from codegen.plan.target import TARGETS
from tests.support.goldens import updating
from tests.support.needs import ROOT

FOLDER = ROOT / "tests" / "choices"


def test_choices_are_those_that_were_looked_at() -> None:
    text, golden = "\n".join(choices()) + "\n", FOLDER / "choices.txt"
    if updating(os.environ):
        golden.write_text(text)
    assert text == golden.read_text()


def choices() -> Iterator[str]:
    for network, layers in json.loads((FOLDER / "layers.json").read_text()).items():
        yield network
        for layer in layers:
            launches = "; ".join(describe(draft) for draft in plan_convolution(sketch(layer)))
            yield f"    {title(layer)}: {launches}"


def title(layer: dict[str, Any]) -> str:
    co, _, *kernel = layer["weight"]
    groups = f" in {layer['groups']} groups" if layer["groups"] > 1 else ""
    before = "activated " if layer["prologue"] else ""
    shape, size, step = ("x".join(map(str, values)) for values in (layer["input"][1:], kernel, layer["stride"]))
    return f"{before}{shape} -> {co}, {size} by {step}{groups}"


def sketch(layer: dict[str, Any]) -> LaunchSketch:
    op = Conv(
        np.zeros(layer["weight"]),
        np.zeros(layer["weight"][0]),
        tuple(layer["stride"]),
        (1,) * len(layer["stride"]),
        tuple((before, after) for before, after in layer["pads"]),
        layer["groups"],
    )
    target = TARGETS["cpu"]
    x = tuple(layer["input"])
    stages = (Stage(Activation("relu", {})),) if layer["prologue"] else ()
    layouts = {
        "x": plain(x) if layer["from_user"] else blocked(x, target.lanes),
        "y": blocked(op.infer(x), target.lanes),
    }
    return LaunchSketch(Node("y", Fused(op, 1, stages), ("x",)), target, layouts)


def describe(draft: Draft) -> str:
    text = draft.description.template.removesuffix(".cl.jinja")
    if isinstance(draft.description, kernels.WindowReduce):
        text = draft.description.kind
    tiling = getattr(draft.description, "tiling", None)
    if tiling is not None:
        wide, narrow = tiling.wide, tiling.narrow
        text += f" {tiling.block_tile} blocks by {wide.row}x{wide.vectors} or {narrow.row}x{narrow.vectors}"
    if isinstance(draft.description, kernels.WinogradStep):
        text += f" F({draft.description.tile})"
    return f"{text} on {'x'.join(map(str, draft.grid.groups))}"
