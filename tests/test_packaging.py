"""The installed package: the wheel's contents, and the command of a wheel away from the repository."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
import tomli

import codegen
from codegen.emit.render import environment
from tests.support.needs import ROOT, missing

BUILT_OF = ("pyproject.toml", "README.md", "LICENSE", "codegen", "templates")
LEAST_SETUPTOOLS = 77  # as pyproject.toml says


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of a copy of the repository, which holds no files of an earlier build."""
    if int(importlib.metadata.version("setuptools").partition(".")[0]) < LEAST_SETUPTOOLS:
        missing(f"setuptools {LEAST_SETUPTOOLS} or newer", f'pip install "setuptools>={LEAST_SETUPTOOLS}"')
    source, wheels = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheels")
    for name in BUILT_OF:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source / name)
    _run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", str(wheels), str(source))
    (built,) = wheels.glob("*.whl")
    return built


def test_a_wheel_has_one_package_with_all_modules_and_templates(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.split("/")[0] for name in names} == {"codegen", f"clgen-{codegen.__version__}.dist-info"}
    expected = {file.relative_to(ROOT).as_posix() for file in (ROOT / "codegen").rglob("*.py")}
    expected |= {file.relative_to(ROOT).as_posix() for file in (ROOT / "codegen").rglob("*.json")}
    expected |= {f"codegen/{file.relative_to(ROOT).as_posix()}" for file in (ROOT / "templates").rglob("*.jinja")}
    assert {name for name in names if name.startswith("codegen/")} == {*expected, "codegen/py.typed"}
    assert any(name.endswith("/LICENSE") for name in names)


def test_an_installed_wheel_builds_away_from_the_repository(wheel: Path, tmp_path: Path) -> None:
    """The command writes what the repository holds for the digits network."""
    venv.create(tmp_path / "venv", with_pip=False)
    commands = tmp_path / "venv" / "bin"
    (packages,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    _run(sys.executable, "-m", "pip", "--python", str(commands / "python"), "install", "--no-deps", str(wheel))
    # The libraries that clgen needs are those of the interpreter of the tests; the installed clgen is found first.
    others = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "others.pth").write_text("\n".join(others) + "\n")
    for name in ("digits.toml", "digits.safetensors", "digits_heldout.safetensors"):
        shutil.copy(ROOT / "specs" / name, tmp_path / name)
    where = _run(str(commands / "python"), "-c", "import codegen; print(codegen.__file__)", folder=tmp_path)
    assert Path(where.strip()).is_relative_to(packages)
    _run(str(commands / "clgen"), "build", "digits.toml", "-o", "out", folder=tmp_path)
    for file in (ROOT / "generated" / "digits").iterdir():
        assert (tmp_path / "out" / "digits" / file.name).read_bytes() == file.read_bytes(), file.name


def test_a_checkout_reads_the_templates_beside_the_package() -> None:
    source, path, _ = environment().loader.get_source(environment(), "host/model.h.jinja")  # type: ignore[union-attr]
    assert path == str(ROOT / "templates" / "host" / "model.h.jinja") and source


def test_the_version_stands_once() -> None:
    """The package has it; pyproject.toml reads it from there."""
    project = tomli.loads((ROOT / "pyproject.toml").read_text())
    assert "version" not in project["project"] and "version" in project["project"]["dynamic"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "codegen.__version__"}


def _run(*command: str, folder: Path | None = None) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
