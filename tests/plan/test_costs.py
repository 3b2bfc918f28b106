"""The planner's decisions follow from the table of costs, and from nothing else."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from codegen.graph.graph import Graph
from codegen.plan.planner import plan
from codegen.plan.target import TARGETS, Target
from tests.support import networks
from tests.support.needs import ROOT
from tests.support.networks import Net

CPU = TARGETS["cpu"]
SAME = ((1, 1), (1, 1))


def with_costs(**changed: Any) -> Target:
    return replace(CPU, costs=replace(CPU.costs, **changed))


def launches(layer: Callable[[Net, str], str]) -> Graph:
    """A layer that reads channel blocks."""
    net = Net((1, 64, 56, 56))
    layer(net, net.conv("x", 64, 1))
    return networks.lower(net.graph()).launches


@pytest.mark.parametrize(
    ("layer", "cost", "blocks"),
    [
        (lambda net, x: net.conv(x, 64, 1), "product_item", 2),
        (lambda net, x: net.conv(x, 64, 3, pads=SAME, groups=64), "item", 8),
        (lambda net, x: net.pool(x, "max", 3, pads=SAME), "item", 8),
    ],
    ids=["products", "filters", "pools"],
)
def test_dearer_work_items_are_fewer(layer: Callable[[Net, str], str], cost: str, blocks: int) -> None:
    graph = launches(layer)
    usual, dear = (plan(graph, target).launches[-1].grid.count for target in (CPU, with_costs(**{cost: math.inf})))
    assert usual > dear == blocks, "one for the channel blocks that a work-item takes"


def test_winograd_is_as_good_as_its_transforms_are_cheap() -> None:
    graph = launches(lambda net, x: net.conv(x, 64, 3, pads=SAME))
    cheap, dear = (plan(graph, with_costs(transform=cycles)).launches[-1].winograd for cycles in (0.0, 1e6))
    assert cheap and not dear


def test_private_memory_bounds_what_is_staged() -> None:
    """A row of the first convolution's windows, 3 x 3 x 226 floats of 4 bytes, fits or does not."""
    net = Net((1, 3, 224, 224))
    net.conv("x", 16, 3, pads=SAME)
    graph = networks.lower(net.graph()).launches
    templates = [plan(graph, with_costs(staged_bytes=room)).kernels[0].description.template for room in (8136, 8135)]
    assert templates == ["stem.cl.jinja", "direct.cl.jinja"]


@pytest.mark.parametrize("module", sorted((ROOT / "codegen" / "plan").rglob("*.py")), ids=lambda path: path.name)
def test_numbers_that_decide_stand_in_the_table(module: Path) -> None:
    """Other modules have numbers of their own for what is printed or warned of only."""
    printed = {"target.py", "bake.py", "excess.py"}
    plain = (ast.Constant, ast.BinOp, ast.UnaryOp, ast.Tuple, ast.operator, ast.unaryop, ast.expr_context)
    numbers = [
        ast.unparse(statement)
        for statement in ast.parse(module.read_text()).body
        if isinstance(statement, ast.Assign) and all(isinstance(node, plain) for node in ast.walk(statement.value))
        if not all(isinstance(n.value, str) for n in ast.walk(statement.value) if isinstance(n, ast.Constant))
    ]
    assert module.name in printed or not numbers
