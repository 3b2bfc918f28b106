"""Plain C under valgrind and the sanitizers of GCC and Clang: what it reads, writes and leaves behind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

import pytest

from tests.support import artefacts
from tests.support.conformance import cases, plain_c_artefacts
from tests.support.generated_c import STRICT, C, Tool, do, sources


def compiled(
    compiler: str, main: str, folder: Path, program: Path, flags: Sequence[str], threads: bool = False
) -> Path:
    name = folder.name
    options = [*flags, *([f"-D{name.upper()}_THREADS"] if threads else [])]
    includes: list[str | Path] = ["-I", C, "-I", folder, "-I", folder / "test"]
    do([compiler, *STRICT, *options, *includes, "-o", program, C / main, *sources(folder), "-lm", "-lpthread"])
    return program


@pytest.mark.parametrize("main", ["plain_c.c", "threads.c"])
@pytest.mark.parametrize("name", ["weighty", "prepared", "moves", "stages"])
def test_valgrind_has_nothing_to_say(
    name: str, main: str, tool: Tool, plain_c: Callable[[str], Path], tmp_path: Path
) -> None:
    """Without -march, as valgrind knows no AVX-512; with threads in turn, as some wait actively for others."""
    program = compiled(tool("gcc"), main, plain_c(name), tmp_path / name, ["-g", "-O1"], main == "threads.c")
    leaks = ["--leak-check=full", "--show-leak-kinds=all", "--errors-for-leak-kinds=all"]
    assert do([tool("valgrind"), "-q", *leaks, "--fair-sched=yes", "--error-exitcode=9", program]) == "ok\n"


@pytest.mark.parametrize("name", [name for name in artefacts.NETWORKS if name != "types"])
def test_clang_finds_nothing_undefined(
    name: str, tool: Tool, sanitizing: Callable[[str, str], str], plain_c: Callable[[str], Path], tmp_path: Path
) -> None:
    """Clang's sanitizer knows the bounds of arrays in arrays, GCC's does not.

    The inputs are aligned for floats only.  To optimize such code takes Clang half a minute for some networks.
    """
    flags = ["-g", "-O0", "-fsanitize=undefined", "-fno-sanitize-recover=undefined", "-march=native"]
    program = compiled(sanitizing("clang", "undefined"), "plain_c.c", plain_c(name), tmp_path / name, flags)
    assert do([program]) == "ok\n"


@pytest.mark.parametrize("sanitizer", ["thread", "memory", "address"])
@pytest.mark.parametrize("name", ["weighty", "moves"])
def test_clangs_sanitizers_find_nothing_in_threads(
    name: str,
    sanitizer: str,
    sanitizing: Callable[[str, str], str],
    plain_c: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    flags = ["-g", "-O1", f"-fsanitize={sanitizer}", "-march=native"]
    compiler = sanitizing("clang", sanitizer)
    assert do([compiled(compiler, "threads.c", plain_c(name), tmp_path / name, flags, threads=True)]) == "ok\n"


@pytest.mark.parametrize("name", ["moves", "convolutions"])
def test_threads_have_the_stack_that_kernels_need(
    name: str, tool: Tool, plain_c: Callable[[str], Path], tmp_path: Path
) -> None:
    """The kernels of these networks have arrays of 160 KB."""
    flags = ["-O1", "-march=native", "-DSMALL_STACKS"]
    assert do([compiled(tool("gcc"), "threads.c", plain_c(name), tmp_path / name, flags, threads=True)]) == "ok\n"


SELF_TESTS = """\
#include <stdio.h>
{includes}
int main(void)
{{
{calls}
    return 0;
}}
"""
SELF_TEST = """\
    {{
        {name} *model;
        if ({name}_create(&model, NULL) || {name}_selftest(model))
            return puts("{name}"), 1;
        {name}_destroy(model);
    }}"""
PARTS = 24


@pytest.mark.parametrize(("compiler", "part"), [("gcc", 5), ("clang", 17)])
def test_the_conformance_list_is_clean_under_sanitizers(
    compiler: str, part: int, sanitizing: Callable[[str, str], str], tmp_path: Path
) -> None:
    """The self-tests of every 24th case."""
    built = plain_c_artefacts(islice(cases(), part, None, PARTS), tmp_path)
    assert len(built) > 30
    names = [artefact.name for _, artefact, _ in built]
    includes = "".join(f'#include "{artefact.folder / artefact.name}.h"\n' for _, artefact, _ in built)
    calls = "\n".join(SELF_TEST.format(name=name) for name in names)
    (tmp_path / "main.c").write_text(SELF_TESTS.format(includes=includes, calls=calls))
    files = [file for _, artefact, _ in built for file in sources(artefact.folder)]
    found = sanitizing(compiler, "address,undefined")
    program = tmp_path / "selftests"
    flags = ["-g", "-O0", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-march=native"]
    do([found, "-std=c99", *flags, "-o", program, tmp_path / "main.c", *files, "-lm"])
    assert do([program]) == ""
