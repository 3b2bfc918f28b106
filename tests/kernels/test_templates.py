"""Kernel templates print what the plan has decided."""

from __future__ import annotations

from pathlib import Path

import pytest
from jinja2 import nodes

from codegen.emit.render import environment
from tests.support.needs import ROOT

TEMPLATES = sorted((ROOT / "templates" / "kernels").glob("[!_]*.cl.jinja"))
TEMPLATES.remove(ROOT / "templates" / "kernels" / "program.cl.jinja")  # counts channels in a picture of the layout
ARITHMETIC = (nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Pow, nodes.Neg)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_templates_do_no_arithmetic(path: Path) -> None:
    """A template may join lists, fill in text ("%d" % n) and count the depth of its loops, but not add numbers."""
    tree = environment().parse(path.read_text())
    assert [f"line {node.lineno}" for node in tree.find_all(ARITHMETIC) if _of_numbers(node)] == []


def _of_numbers(node: nodes.Expr) -> bool:
    if isinstance(node, nodes.UnaryExpr):
        return not isinstance(node.node, nodes.Const)
    assert isinstance(node, nodes.BinExpr)
    if isinstance(node, nodes.Mod):
        return not any(isinstance(n, nodes.Const) and isinstance(n.value, str) for n in _under(node.left))
    parts = [part for side in (node.left, node.right) for part in _under(side)]
    texts = any(isinstance(n, nodes.TemplateData | nodes.Tuple | nodes.List | nodes.Slice) for n in parts)
    texts = texts or any(isinstance(n, nodes.Const) and isinstance(n.value, str) for n in parts)
    depth = any(isinstance(n, nodes.Filter) and n.name == "length" for n in parts)
    return not texts and not depth and any(isinstance(n, nodes.Getattr | nodes.Name) for n in parts)


def _under(node: nodes.Node) -> list[nodes.Node]:
    return [node, *node.find_all(nodes.Node)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{{ k.inputs * k.packed }}", True),
        ("{{ -k.pad }}", True),
        ("{% if k.columns % 4 %}x{% endif %}", True),
        ("{% set points = k.tile + 2 %}", True),
        ('{{ "%d pixels" % k.columns }}', False),
        ('{{ names[:-1] + ("k",) }}', False),
        ('{{ "    " * loop.index }}', False),
    ],
)
def test_arithmetic_is_found(text: str, found: bool) -> None:
    assert any(map(_of_numbers, environment().parse(text).find_all(ARITHMETIC))) == found
