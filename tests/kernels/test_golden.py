"""Goldens: what is generated for a few tiny networks, kernels and header to the last byte.

A change of templates or schedules shows here as a diff that a reviewer can read.  To accept it, on your own machine:

    CLGEN_UPDATE_GOLDENS=1 pytest tests/kernels/test_golden.py

and look at what git says has changed.  CI never updates goldens.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path

import pytest

from tests.support.goldens import GOLDENS, updating
from tests.support.needs import ROOT

FOLDER = ROOT / "tests" / "golden"
TEMPLATES = ROOT / "templates" / "kernels"


@pytest.mark.parametrize("name", GOLDENS)
def test_golden(name: str, tmp_path: Path) -> None:
    folder, files = FOLDER / name, GOLDENS[name].generated(tmp_path)
    if updating(os.environ):
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            path.unlink()
        for file, text in files.items():
            (folder / file).write_text(text)
        return
    known = {path.name: path.read_text() for path in folder.iterdir()} if folder.is_dir() else {}
    assert sorted(known) == sorted(files), "CLGEN_UPDATE_GOLDENS=1 writes them"
    for file, text in files.items():
        if text != known[file]:
            old, new = known[file].splitlines(keepends=True), text.splitlines(keepends=True)
            pytest.fail(f"{file} has changed:\n{''.join(difflib.unified_diff(old, new, 'golden', 'generated'))}")


def test_goldens_are_made_by_tests() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(GOLDENS)


def test_goldens_show_every_kernel_template(tmp_path: Path) -> None:
    """And each golden one that no other shows."""
    shown: dict[str, set[str]] = {}
    for name, golden in GOLDENS.items():
        (tmp_path / name).mkdir()
        shown[name] = {kernel.description.template for kernel in golden.plan(tmp_path / name).kernels}
    templates = {path.name for path in TEMPLATES.glob("[!_]*.cl.jinja")} - {"program.cl.jinja"}
    assert set().union(*shown.values()) == templates
    for name, own in shown.items():
        assert own - set().union(*(others for other, others in shown.items() if other != name)), name


def test_the_same_spec_gives_the_same_bytes(tmp_path: Path) -> None:
    contents = []
    for name in ("one", "another"):
        (tmp_path / name).mkdir()
        GOLDENS["tiny"].generated(tmp_path / name)
        contents.append({p.name: p.read_bytes() for p in (tmp_path / name / "tiny").iterdir()})
    assert contents[0] == contents[1]
    assert not any(str(tmp_path).encode() in content for content in contents[0].values())


def test_ci_never_updates() -> None:
    assert not updating({})
    assert not updating({"CI": "true"})
    assert updating({"CLGEN_UPDATE_GOLDENS": "1"})
    with pytest.raises(pytest.fail.Exception, match="by hand"):
        updating({"CLGEN_UPDATE_GOLDENS": "1", "CI": "true"})
