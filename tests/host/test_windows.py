"""Generated C for Windows: by GCC (MinGW-w64), by Clang in Microsoft's place, and as MSVC sees it.

Programs run under Wine where it is installed: apt install wine64 on Debian, which is too large a download for .ci/run.
MSVC itself is not here: Clang compiles for its ABI, with headers that have nothing of GNU's (tests/c/msvc), and without
saying that it is Clang.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from codegen import build
from codegen.cli import main
from tests.support import artefacts
from tests.support.generated_c import STRICT, WARNINGS, C, Tool, do, sources
from tests.support.needs import ROOT

MINGW = "x86_64-w64-mingw32-gcc"
WINE = "/usr/lib/wine/wine64"  # where Debian's package has it

AS_CLANG = (*WARNINGS, "-Wvla", "-Wgnu", "-std=c11", "-nostdlibinc", "-isystem", C / "msvc")
"""Warns of what C11 lacks, and of VLAs, which MSVC lacks."""
AS_MSVC = (
    *AS_CLANG, "-U__clang__", "-Wno-unknown-pragmas",
    # What the pragma that this Clang does not know turns off in MSVC:
    "-Wno-unused-function", "-Wno-unused-parameter", "-Wno-unused-variable",
)  # fmt: skip

Run = Callable[..., str]


@pytest.fixture(scope="session")
def wine(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs a program for Windows, which has to succeed."""
    found = shutil.which("wine") or (WINE if Path(WINE).exists() else None)
    if found is None:
        pytest.skip("Wine is not here; on Debian: apt install wine64")
    environment = {**os.environ, "WINEPREFIX": str(tmp_path_factory.mktemp("wine")), "WINEDEBUG": "-all"}

    # The first program makes the folder of settings, and Wine says so.
    subprocess.run([found, "cmd", "/c", "exit"], env=environment, capture_output=True, check=False)

    def run(program: Path, **more: str) -> str:
        return do([found, program], env={**environment, **more})

    return run


def digits(folder: Path) -> Path:
    return build.build(build.lower(ROOT / "specs" / "digits.toml", backend="c"), folder, "cpu")[0]


def with_test(name: str, folder: Path) -> list[str | Path]:
    return ["-I", C, "-I", folder, "-I", folder / "test", f"-D{name.upper()}_THREADS"]


@pytest.mark.parametrize("options", ["", "-D{NAME}_SCALAR", "-march=native", "-D{NAME}_THREADS"])
@pytest.mark.parametrize("name", ["digits", "weighty", "types"])
def test_the_example_runs(
    name: str, options: str, tool: Tool, plain_c: Callable[[str], Path], wine: Run, tmp_path: Path
) -> None:
    folder = digits(tmp_path) if name == "digits" else plain_c(name)
    program = tmp_path / "example.exe"
    flags = options.format(NAME=name.upper()).split()
    do([tool(MINGW), *STRICT, "-O2", *flags, folder / "example.c", *sources(folder), "-o", program])
    assert f"self-test passed on C, {'without ' if 'SCALAR' in options else ''}vectors" in wine(program)


@pytest.mark.parametrize("options", [["c", "--multiversion"], ["opencl,c"]])
def test_versions_and_backends_are_chosen_at_run_time(
    options: list[str], tool: Tool, wine: Run, tmp_path: Path
) -> None:
    """The program that has both computes in plain C, as OpenCL's library is missing."""
    spec = str(ROOT / "specs" / "digits.toml")
    built = CliRunner().invoke(main, ["build", spec, "-o", str(tmp_path), "--backend", *options])
    assert built.exit_code == 0, built.output
    program = tmp_path / "example.exe"
    do([tool(MINGW), *STRICT, "-O1", *(tmp_path / "digits").glob("*.c"), "-o", program])
    said = wine(program, CLGEN_OPENCL_LIBRARY="missing.dll")
    assert "self-test passed on C, vectors" in said and "(360 of 360)" in said


@pytest.mark.parametrize("name", ["weighty", "winograd", "tiles"])
def test_threads_compute_the_same(
    name: str, tool: Tool, plain_c: Callable[[str], Path], wine: Run, tmp_path: Path
) -> None:
    folder = plain_c(name)
    program = tmp_path / "threads.exe"
    # The program has threads of its own too, by MinGW's pthread.
    files: list[str | Path] = [C / "threads.c", *sources(folder), "-static", "-lpthread"]
    do([tool(MINGW), *STRICT, "-O1", "-march=native", *with_test(name, folder), *files, "-o", program])
    assert wine(program) == "ok\n"


@pytest.mark.parametrize("backend", ["opencl", "c"])
def test_weights_are_part_of_the_program(backend: str, tool: Tool, tmp_path: Path) -> None:
    """The path of the machine that compiles is of no use where the program runs."""
    artefacts.build("weighty", backend=backend).write(tmp_path)
    folder = tmp_path / "weighty"
    weights = (folder / "weighty_weights.c.bin").read_bytes()
    program = tmp_path / "weights.exe"
    define = ["-DMODEL=weighty", f"-DBYTES={len(weights)}u"]
    do([tool(MINGW), *STRICT, *define, C / "weights.c", folder / "weighty_weights.c", "-o", program])
    content = program.read_bytes()
    assert weights in content and b"weights.c.bin" not in content


def test_weights_of_the_program_are_read(tool: Tool, plain_c: Callable[[str], Path], wine: Run, tmp_path: Path) -> None:
    folder = shutil.copytree(plain_c("weighty"), tmp_path / "weighty")
    weights = (folder / "weighty_weights.c.bin").read_bytes()
    define = ["-DMODEL=weighty", f"-DBYTES={len(weights)}u"]
    files = [C / "weights.c", folder / "weighty_weights.c"]
    do([tool(MINGW), *STRICT, *define, *files, "-o", tmp_path / "inside.exe"])
    path = tmp_path / "moved.bin"
    at_runtime = ["-DWEIGHTY_WEIGHTS_AT_RUNTIME", f'-DWEIGHTY_WEIGHTS_FILE="{path}"']
    do([tool(MINGW), *STRICT, *define, *at_runtime, *files, "-o", tmp_path / "outside.exe"])
    (folder / "weighty_weights.c.bin").rename(path)
    for program in ("inside", "outside"):
        assert wine(tmp_path / f"{program}.exe") == weights.hex()


@pytest.mark.parametrize("name", artefacts.NETWORKS)
def test_mingw_has_nothing_to_say(name: str, tool: Tool, plain_c: Callable[[str], Path], tmp_path: Path) -> None:
    folder = plain_c(name)
    for options in ([], [f"-D{name.upper()}_THREADS"]):
        do([tool(MINGW), *STRICT, *options, "-fsyntax-only", *sources(folder), folder / "example.c"])


@pytest.mark.parametrize("name", ["weighty", "tables"])
def test_mingw_has_nothing_to_say_of_the_opencl_host(
    name: str, tool: Tool, generated: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = generated(name)
    do([tool(MINGW), *STRICT, "-O1", "-c", *sources(folder), folder / "example.c"], cwd=tmp_path)


@pytest.mark.parametrize("name", artefacts.NETWORKS)
def test_msvc_gets_c11_alone(name: str, tool: Tool, plain_c: Callable[[str], Path]) -> None:
    folder = plain_c(name)
    for arch in ("x86_64", "i686", "aarch64"):
        for flags in (AS_CLANG, (*AS_MSVC, f"-D{name.upper()}_WEIGHTS_AT_RUNTIME")):
            for feature in ("THREADS", "TRACE"):
                command = [tool("clang"), f"--target={arch}-pc-windows-msvc", *flags, f"-D{name.upper()}_{feature}"]
                do([*command, "-fsyntax-only", *sources(folder)])


@pytest.mark.parametrize("compiler", ["clang", "msvc"])
@pytest.mark.parametrize("name", ["weighty", "tiles"])
def test_threads_compute_the_same_as_msvc_has_them(
    name: str, compiler: str, tool: Tool, plain_c: Callable[[str], Path], wine: Run, tmp_path: Path
) -> None:
    """The model is compiled for MSVC's ABI, the test program and the C library are MinGW's."""
    folder = plain_c(name)
    flags = AS_CLANG if compiler == "clang" else (*AS_MSVC, f"-D{name.upper()}_WEIGHTS_AT_RUNTIME")
    # MinGW's library has no function that touches the pages of a large stack frame.
    target = ["--target=x86_64-pc-windows-msvc", "-mno-stack-arg-probe"]
    do([tool("clang"), *target, *flags, "-O1", f"-D{name.upper()}_THREADS", "-c", *sources(folder)], cwd=tmp_path)
    (tmp_path / "msvc.c").write_text("extern int _fltused;\nint _fltused;\n")  # of Microsoft's C library
    objects = [tmp_path / f"{path.stem}.o" for path in sources(folder)]
    files: list[str | Path] = [C / "threads.c", tmp_path / "msvc.c", *objects, "-static", "-lpthread"]
    do([tool(MINGW), *STRICT, *with_test(name, folder), *files, "-o", tmp_path / "threads.exe"])
    assert wine(tmp_path / "threads.exe") == "ok\n"


@pytest.mark.parametrize("backend", ["opencl", "c"])
def test_a_compiler_that_cannot_include_weights_says_what_to_define(backend: str, tool: Tool, tmp_path: Path) -> None:
    artefacts.build("weighty", backend=backend).write(tmp_path)
    path = tmp_path / "weighty" / "weighty_weights.c"
    command = [tool("clang"), "--target=x86_64-pc-windows-msvc", *map(str, AS_MSVC), "-fsyntax-only", str(path)]
    done = subprocess.run([*command, "-U__has_embed"], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "define WEIGHTY_WEIGHTS_AT_RUNTIME, and WEIGHTY_WEIGHTS_FILE as the path of the file" in done.stderr
    do([*command, "-DWEIGHTY_WEIGHTS_AT_RUNTIME", '-DWEIGHTY_WEIGHTS_FILE="weights.bin"'])
