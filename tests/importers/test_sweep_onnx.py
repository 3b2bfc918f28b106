"""A part of programs/sweep_onnx.py, and that every choice of the importer is one that an engine makes otherwise."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from codegen.importers.onnx.choices import CHOICES, Choice, Use
from tests.programs import sweep_onnx
from tests.programs.sweep_onnx import Case

CASES = list(sweep_onnx.every())
SHARE = 16


@pytest.mark.parametrize("family", sweep_onnx.FAMILIES, ids=lambda family: family.__name__)
def test_imports_agree_with_the_engines(family: sweep_onnx.Family, tmp_path: Path) -> None:
    wrong = {}
    for case in list(family())[::SHARE]:
        verdict = sweep_onnx.judge(case, tmp_path)
        if verdict.what == "wrong":
            wrong[case.name] = verdict.why
    assert not wrong


def test_cases_have_names_of_their_own() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


def _use(case: Case) -> Use:
    return Use(case.op, case.attributes, case.opset, list(sweep_onnx.node_of(sweep_onnx.model_of(case)[0]).input))


@pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: choice.identifier)
def test_each_choice_is_needed(choice: Choice, tmp_path: Path) -> None:
    """Every engine that a choice names has a case in which it differs from clgen."""
    left = set(choice.unlike)
    for case in CASES:
        if left and case.op in choice.operators and choice.applies(_use(case)):
            with suppress(sweep_onnx.Unanswered):
                left -= set(sweep_onnx.differences(case, tmp_path))
    assert not left
