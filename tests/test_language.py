"""The language of the sources: docstrings are sentences or noun phrases, and words are the field's."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from codegen.frontend.spec.schema import FILE
from tests.support.needs import ROOT

MODULES = [p for folder in ("codegen", "benchmarks", "specs", "tests") for p in sorted((ROOT / folder).rglob("*.py"))]
OWN = ROOT / "tests" / "test_language.py"  # has the words that it looks for
TEXTS = [
    *(module for module in MODULES if module != OWN),
    *sorted((ROOT / "templates").rglob("*.jinja")),
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "README.md",
]

FRAGMENT = re.compile(r"(Of|What|Where|Whether|How|Which|In|As|With|Those|That)\b")
"""First words of a docstring that is neither a sentence nor a noun phrase: "Whether ...", "Of the first input."."""

COINED = {
    r"(?<![a-z])rid(e|es|er|ers|ing)(?![a-z])": "fused into (an operator), part of an epilogue or prologue",
    r"(?<![a-z])blank lanes?(?![a-z])": "padding lanes",
    r"(?<![a-z])splat(?![a-z])": "broadcast",
    r"(?<![a-z])made[- ]up(?![a-z_])": "generated",
}
"""Words that only this project would understand, and the field's own."""


def place(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def fragments(source: str) -> Iterator[tuple[int, str]]:
    """Line and first words of every docstring that begins as a fragment."""
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else []:
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                text = statement.value.value
                if isinstance(text, str) and FRAGMENT.match(text):
                    yield statement.lineno, " ".join(text.split()[:8])


def coined(text: str) -> Iterator[tuple[int, str, str]]:
    """Line, word and the better word, for every coined word."""
    for number, line in enumerate(text.splitlines(), 1):
        for pattern, better in COINED.items():
            for found in re.finditer(pattern, line, re.IGNORECASE):
                yield number, found[0], better


@pytest.mark.parametrize("module", MODULES, ids=place)
def test_docstrings_are_sentences_or_noun_phrases(module: Path) -> None:
    found = fragments(module.read_text())
    faults = [f"{place(module)}:{line}: begins as a fragment: {words} ..." for line, words in found]
    assert not faults, "\n".join(faults)


def described(schema: object) -> Iterator[str]:
    """The descriptions in a JSON schema, which editors show to those who write a spec."""
    if isinstance(schema, dict):
        text = schema.get("description")
        yield from [text] if isinstance(text, str) else []
    for item in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else []:
        yield from described(item)


def test_the_schemas_descriptions_are_sentences_or_noun_phrases() -> None:
    texts = list(described(json.loads(FILE.read_text())))
    assert len(texts) > 150
    assert [text for text in texts if FRAGMENT.match(text)] == []


@pytest.mark.parametrize("path", TEXTS, ids=place)
def test_words_are_the_fields_own(path: Path) -> None:
    faults = [f"{place(path)}:{line}: {word!r}: say {better}" for line, word, better in coined(path.read_text())]
    assert not faults, "\n".join(faults)


def test_faults_are_found() -> None:
    source = 'X = 1\n"""Of the first input."""\n\n\ndef f():\n    """Whether it holds.\n\n    More.\n    """\n'
    assert list(fragments(source)) == [(2, "Of the first input."), (6, "Whether it holds. More.")]
    assert not list(fragments('"""True if it holds."""\n\n\ndef f():\n    """Often used."""\n'))
    text = "strides = overrides\nself.riders\nRide\nblank lanes\nsplat"
    assert [(line, word) for line, word, _ in coined(text)] == [
        (2, "riders"),
        (3, "Ride"),
        (4, "blank lanes"),
        (5, "splat"),
    ]
