"""A part of the random graph comparison, with fixed seeds; tests/programs/random_graphs.py runs thousands."""

from __future__ import annotations

from pathlib import Path

import pytest

from codegen.importers.onnx.choices import CHOICES, REFERENCE
from codegen.importers.onnx.reference_numpy import OWN
from tests.programs.random_graphs import OPERATOR_NAMES, described, random_graph, verdict, verified

PARTS = 8
SEEDS = range(4 * len(OPERATOR_NAMES))  # four graphs of every operator


@pytest.mark.parametrize("part", range(PARTS))
def test_graphs_are_imported_as_others_evaluate_them(part: int, tmp_path: Path) -> None:
    differ, refused = [], 0
    for seed in SEEDS[part::PARTS]:
        graph = random_graph(seed)
        says, why = verdict(graph, tmp_path)
        refused += says == "refused"
        if says == "DIFFERENT":
            differ.append(f"{why}\n{described(graph)}")
    assert not differ, "\n\n".join(differ)
    assert refused <= len(SEEDS[part::PARTS]) / 10


GENERATED = (3, 26, 40, 58, 78, 95, 103, 117)


@pytest.mark.parametrize("seed", GENERATED)
def test_generated_code_computes_them(seed: int, tmp_path: Path, has_device: None) -> None:
    graph = random_graph(seed)
    says, why = verified(graph, tmp_path)
    assert says == "equal", f"{why}\n{described(graph)}"


@pytest.mark.device
@pytest.mark.parametrize(("seed", "device"), list(zip(GENERATED, ["c", "c:scalar", "c:portable"] * 3, strict=False)))
def test_plain_c_computes_them(seed: int, device: str, tmp_path: Path) -> None:
    graph = random_graph(seed)
    says, why = verified(graph, tmp_path, device)
    assert says == "equal", f"{why}\n{described(graph)}"


def test_a_graph_is_the_same_each_time() -> None:
    assert random_graph(17).proto == random_graph(17).proto


def test_where_the_reference_is_not_followed_another_evaluator_is() -> None:
    """An import is not refused for what the importer chose to compute unlike ``onnx.reference``."""
    departed = {op for choice in CHOICES if REFERENCE in choice.unlike for op in choice.operators}
    assert departed <= set(OWN)
