"""The commands and programs of docs/c.md, run as they stand there, section by section."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.needs import ROOT, missing

TEXT = (ROOT / "docs" / "c.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^##? (.*?)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))

FENCED = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CROSS = re.compile(r"(qemu-|musl-|\S+-(linux-gnu|unknown-elf|none-eabi)-)")
"""Tools that few machines have: where one is missing, its commands are skipped, and those that use what they make."""

OUTPUTS = {
    "./example": "(360 of 360)",
    "build/digits_example": "(360 of 360)",
    "qemu-aarch64 ./example-aarch64": "(360 of 360)",
    "qemu-riscv64 ./example-riscv64": "(360 of 360)",
    "./example-static": "(360 of 360)",
    "./example c:portable": "(360 of 360)",
    "./both c": "(360 of 360)",
    "./app": "no error",
    "./times": "softmax: softmax",
    "./digits_check": "all 19 layers within their bounds",
    "build/digits_check": "all 19 layers within their bounds",
    "clgen verify ../specs/digits.toml --device c": "verified",
    "nm -u digits.o": "expf",
}
"""A part of what commands print, by command."""


def programs(section: str) -> dict[str, str]:
    """The C programs of a section, by the name in their first line."""
    found = (re.match(r"/\* (\w+\.c) \*/\n", text) for text in FENCED.findall(section))
    return {name[1]: name.string for name in found if name is not None}


def commands(section: str) -> list[str]:
    """The indented lines of a section that are commands; declarations of C end with a semicolon."""
    lines = re.findall(r"^    (\S.*)$", FENCED.sub("", section), re.MULTILINE)
    return [line for line in lines if not line.endswith(";")]


def run(command: str, cwd: Path) -> str:
    words = shlex.split(command)
    if words[0] == "clgen":
        words[:1] = [sys.executable, "-m", "codegen"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the commands at the top of the page make, with all programs of the page."""
    top = tmp_path_factory.mktemp("page")
    shutil.copytree(ROOT / "specs", top / "specs")
    build, enter = commands(SECTIONS["Plain C"])
    run(build, top)
    assert enter == "cd digits"
    for section in SECTIONS.values():
        for name, text in programs(section).items():
            (top / "digits" / name).write_text(text)
    return top


@pytest.mark.parametrize("section", [name for name, text in SECTIONS.items() if commands(text) and name != "Plain C"])
def test_the_commands_of_a_section_run(section: str, built: Path, tmp_path: Path) -> None:
    shutil.copytree(built, tmp_path / "page")
    folder = tmp_path / "page" / "digits"
    skipped: list[str] = []
    for command in commands(SECTIONS[section]):
        tool = command.split()[0]
        made_by_skipped = any(tool.startswith("./") and f"-o {tool[2:]}" in earlier for earlier in skipped)
        if made_by_skipped or (CROSS.match(tool) and not shutil.which(tool)):
            skipped.append(command)
            continue
        if not tool.startswith(("./", "build/", "clgen")) and not shutil.which(tool):
            missing(tool, "docs/c.md uses it")
        assert OUTPUTS.get(command, "") in run(command, folder)
    if skipped:
        pytest.skip(f"the rest ran; these tools are not here: {', '.join(sorted({c.split()[0] for c in skipped}))}")


def test_what_is_expected_is_on_the_page() -> None:
    every = [command for section in SECTIONS.values() for command in commands(section)]
    assert set(OUTPUTS) <= set(every) and len(every) > 30
    assert sum(len(programs(section)) for section in SECTIONS.values()) == len(FENCED.findall(TEXT)) == 5


def test_the_options_of_the_page_are_those_of_the_code() -> None:
    """Every macro -D<NAME>_... of the page is one that the templates ask for, and the other way round."""
    templates = ROOT / "templates" / "host"
    files = [
        *(templates / "c").glob("*.jinja"),
        templates / "weights.c.jinja",
        *(ROOT / "templates" / "dialects").glob("c99*"),
    ]
    asked = {
        macro
        for file in files
        for macro in re.findall(r"#(?:if|ifdef|ifndef|elif)\b.*?\{\{ (?:X|NAME) \}\}_(\w+)", file.read_text())
    }
    set_by_versions = set(re.findall(r"#define \{\{ X \}\}_(\w+)", (templates / "c" / "version.c.jinja").read_text()))
    assert set(re.findall(r"-D<NAME>_(\w+)", TEXT)) - {"ARCH"} == asked - {"H"} - set_by_versions
