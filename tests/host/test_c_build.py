"""The generated C by compilers as strict as they can be, and as part of other people's builds."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import artefacts
from tests.support.generated_c import (
    STRICT,
    WARNINGS,
    C,
    Runtime,
    Tool,
    do,
    sources,
)

# ---- reading --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["cpu", "gpu"])
@pytest.mark.parametrize("name", artefacts.NETWORKS)
def test_the_launch_table_names_the_kernels_parameters(name: str, target: str) -> None:
    files = artefacts.build(name, target).files
    source, host = (files[f"{name}.{ending}"].decode() for ending in ("cl", "c"))
    rows = re.findall(r'\{\.kernel = "(\w+)".*?\.arguments = \{(.*?)\}\},\n', host, re.DOTALL)
    assert len(rows) >= len(re.findall(r"^    /\* \d+: ", host, re.MULTILINE)) > 0
    for kernel, arguments in rows:
        named = [word for names in re.findall(r"/\* (.*?) \*/", arguments) for word in names.split(", ")]
        assert len(named) == arguments.count("{")
        (signature,) = re.findall(rf"^void {kernel}\((.*?)\)$", source, re.MULTILINE | re.DOTALL)
        assert named == [re.findall(r"\w+", re.sub(r" OF_(GRID|LAUNCH)$", "", p))[-1] for p in signature.split(",")]


# ---- compiling ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("name", artefacts.NETWORKS)
def test_no_warning(name: str, compiler: str, tool: Tool, generated: Callable[[str], Path], tmp_path: Path) -> None:
    folder = generated(name)
    files = [*sources(folder), folder / "example.c"]
    do([tool(compiler), *STRICT, "-O2", "-c", *files], cwd=tmp_path)
    for standard in ("c11", "c17"):
        do([tool(compiler), f"-std={standard}", *WARNINGS, "-fsyntax-only", *files])


@pytest.mark.usefixtures("opencl_headers")
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("name", artefacts.NETWORKS)
def test_no_warning_with_the_systems_opencl(
    name: str, compiler: str, tool: Tool, generated: Callable[[str], Path]
) -> None:
    folder = generated(name)
    for standard in ("c99", "c17"):
        options = [f"-std={standard}", *WARNINGS, f"-D{name.upper()}_USE_SYSTEM_OPENCL", "-fsyntax-only"]
        do([tool(compiler), *options, *sources(folder)])


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_no_warning_in_what_other_systems_compile(compiler: str, tool: Tool, generated: Callable[[str], Path]) -> None:
    """Covers the code that the preprocessor chooses for Windows and macOS, not their compilers."""
    folder = generated("weighty")
    host, weights = sources(folder)
    strict = [tool(compiler), *STRICT, "-fsyntax-only"]
    do([*strict, "-D_WIN32", "-D__stdcall=", "-D__declspec(x)=", host])
    do([*strict, "-D__APPLE__", host])
    for format_of_objects in ("-D_WIN32", "-D__MACH__", "-DWEIGHTY_WEIGHTS_AT_RUNTIME"):
        do([*strict, "-U__ELF__", format_of_objects, weights])


@pytest.mark.usefixtures("opencl_headers")
@pytest.mark.parametrize("standard", ["c++11", "c++17"])
@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_header_in_cxx(
    compiler: str, standard: str, tool: Tool, generated: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = generated("tables")
    do([tool("gcc"), *STRICT, "-c", "-o", tmp_path / "tables.o", folder / "tables.c"])
    for variant in ("-DCL_NOT", "-DCL_FIRST", "-DCL_BEHIND"):
        options = [f"-std={standard}", *WARNINGS, "-Wold-style-cast", variant, f'-DHEADER="{folder / "tables.h"}"']
        output = tmp_path / "program"
        do([tool(compiler), *options, C / "header.cpp", tmp_path / "tables.o", "-o", output, "-ldl"])
        done = subprocess.run([output], env={"CLGEN_OPENCL_LIBRARY": "/nowhere"}, capture_output=True, check=False)
        assert done.stdout == b"no OpenCL library\n"
    for name in artefacts.NETWORKS:
        do([tool(compiler), f"-std={standard}", *WARNINGS, "-fsyntax-only", "-x", "c++", generated(name) / f"{name}.h"])


@pytest.mark.parametrize("options", ["-O0", "-O2 -fPIC"])
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("name", ["tables", "weighty", "ports"])
def test_symbols(
    name: str, compiler: str, options: str, tool: Tool, generated: Callable[[str], Path], tmp_path: Path
) -> None:
    """Nothing is exported without the model's prefix, and nothing global can be written to."""
    for source in sources(generated(name)):
        do([tool(compiler), "-std=c99", *options.split(), "-c", source, "-o", tmp_path / "object.o"])
        exported = do(["nm", "--extern-only", "--defined-only", tmp_path / "object.o"])
        assert exported
        for line in exported.splitlines():
            assert line.split()[-1].startswith(f"{name}_")
        used = {line.split()[-1] for line in do(["nm", "--undefined-only", tmp_path / "object.o"]).splitlines()}
        assert not {symbol for symbol in used if re.match("cl[A-Z]", symbol)}
        for line in do(["objdump", "--section-headers", tmp_path / "object.o"]).splitlines():
            section = re.match(r"\s*\d+ (\S+)\s+([0-9a-f]+)", line)
            if section and re.match(r"\.(data|bss|tdata|tbss)(?!\.rel\.ro)", section[1]):
                assert int(section[2], 16) == 0, line
        # Common symbols have no section yet.
        assert not [line for line in do(["nm", tmp_path / "object.o"]).splitlines() if line.split()[-2] in "CBD"]


@pytest.mark.parametrize("name", ["tables", "weighty", "ports", "prepared"])
def test_only_create_allocates(name: str, tool: Tool, generated: Callable[[str], Path], tmp_path: Path) -> None:
    """No chain of calls in the object code leads from run, enqueue or selftest to an allocation."""
    called: dict[str, set[str]] = {}
    for source in sources(generated(name)):
        do([tool("gcc"), "-std=c99", "-O0", "-ffunction-sections", "-c", source, "-o", tmp_path / "object.o"])
        for line in do(["objdump", "-dr", tmp_path / "object.o"]).splitlines():
            if start := re.match(r"[0-9a-f]+ <(\w+)>:", line):
                inside = called.setdefault(start[1], set())
            elif target := re.search(r"R_X86_64_\w+\s+(?:\.text\.)?([A-Za-z_]\w*)", line):
                inside.add(target[1])
            elif inner := re.search(r"call\s+[0-9a-f]+ <(\w+)>", line):
                inside.add(inner[1])

    def reached(function: str) -> set[str]:
        seen: set[str] = set()
        rest = [function]
        while rest:
            new = called.get(rest.pop(), set()) - seen
            seen |= new
            rest += new
        return seen

    allocating = {"malloc", "calloc", "realloc", "strdup", "fopen"}
    assert reached(f"{name}_create") & allocating
    assert reached(f"{name}_create_on") & allocating
    for function in ("run", "enqueue", "selftest", "status_text", "cl_error", "build_log", "device_name"):
        assert f"{name}_{function}" in called
        assert not reached(f"{name}_{function}") & allocating


# ---- building -------------------------------------------------------------------------------------------------------

CONSUMER = """\
cmake_minimum_required(VERSION 3.10)
project(consumer LANGUAGES @LANGUAGES@)
add_subdirectory(@FOLDER@/tables tables)
add_subdirectory(@FOLDER@/weighty weighty)
add_executable(consumer @MAIN@)
target_link_libraries(consumer PRIVATE tables::tables weighty::weighty)
"""

MAIN = """\
#include "tables.h"
#include "weighty.h"

#include <stdio.h>

int main(void)
{
    static float image[TABLES_INPUT_IMAGE_COUNT], scores[TABLES_OUTPUT_SCORES_COUNT];
    tables *model;
    weighty *other;
    int status = tables_create(&model, NULL);
    if (status == 0)
        status = tables_run(model, image, scores);
    if (status == 0)
        status = weighty_create(&other, NULL);
    if (status == 0) {
        status = weighty_selftest(other);
        weighty_destroy(other);
    }
    tables_destroy(model);
    puts(status == 0 ? "ok" : "not ok");
    return status;
}
"""


@pytest.mark.usefixtures("opencl_headers")
@pytest.mark.parametrize("runtime", ["pocl"], indirect=True)
@pytest.mark.parametrize(("main", "languages"), [("main.c", "C"), ("main.cpp", "C CXX")])
@pytest.mark.parametrize("system", ["OFF", "ON"])
def test_cmake_consumer(
    main: str,
    languages: str,
    system: str,
    runtime: Runtime,
    tool: Tool,
    generated: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    folder = generated("tables").parent
    generated("weighty")
    text = CONSUMER.replace("@LANGUAGES@", languages).replace("@FOLDER@", str(folder)).replace("@MAIN@", main)
    (tmp_path / "CMakeLists.txt").write_text(text)
    (tmp_path / main).write_text(MAIN)
    build = tmp_path / "build"
    strict = " ".join(WARNINGS)
    options = [f"-D{name}_USE_SYSTEM_OPENCL={system}" for name in ("TABLES", "WEIGHTY")]
    options += [f"-DCMAKE_{language}_FLAGS={strict}" for language in languages.split()]
    do([tool("cmake"), "-S", tmp_path, "-B", build, "-Wdev", "-Werror=dev", *options, "-DCMAKE_BUILD_TYPE=Release"])
    do([tool("cmake"), "--build", build])
    assert not (build / "tables" / "tables_example").exists()
    assert "ok" in runtime.run([build / "consumer"]).splitlines()
    do([tool("cmake"), "--build", build, "--target", "tables_example"])
    assert "self-test passed" in runtime.run([build / "tables" / "tables_example"])


@pytest.mark.parametrize("runtime", ["pocl"], indirect=True)
def test_cmake_alone(runtime: Runtime, tool: Tool, generated: Callable[[str], Path], tmp_path: Path) -> None:
    """The folder itself, with link-time optimisation, and its example as a test; rebuilt where the weights change."""
    folder = tmp_path / "with space" / "weighty"
    artefacts.build("weighty").write(folder.parent)
    build = tmp_path / "build"
    cmake = tool("cmake")
    options = ["-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_INTERPROCEDURAL_OPTIMIZATION=ON"]
    do([cmake, "-S", folder, "-B", build, *options])
    do([cmake, "--build", build])
    runtime.run([Path(cmake).parent / "ctest", "--test-dir", build, "--output-on-failure"])

    blob = folder / "weighty_weights.c.bin"
    blob.write_bytes(blob.read_bytes()[::-1])
    do([cmake, "--build", build])
    done = subprocess.run(
        [build / "weighty_example"], env=runtime.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "wrong result" in done.stderr


@pytest.mark.parametrize("options", ["-O0", "-O2 -flto", "-O2 -DWEIGHTY_WEIGHTS_AT_RUNTIME"])
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("runtime", ["pocl"], indirect=True)
def test_weights(
    runtime: Runtime, compiler: str, options: str, tool: Tool, generated: Callable[[str], Path], tmp_path: Path
) -> None:
    """Compiled elsewhere, by a relative and by an absolute path; of another size they are refused."""
    folder = tmp_path / "a folder" / "weighty"
    artefacts.build("weighty").write(folder.parent)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for at in (Path("..", "a folder", "weighty"), folder):
        files = [at / name for name in ("example.c", "weighty.c", "weighty_weights.c")]
        do([tool(compiler), *STRICT, *options.split(), *files, "-o", "example", "-ldl"], cwd=elsewhere)
        assert "self-test passed" in do([elsewhere / "example"], env=runtime.environment, cwd=elsewhere)

    moved = folder.with_name("moved.bin")
    (folder / "weighty_weights.c.bin").rename(moved)
    define = f'-DWEIGHTY_WEIGHTS_FILE="{moved}"'
    compiled = [*sources(folder), folder / "example.c"]
    command: list[str | Path] = [tool(compiler), *STRICT, *options.split(), define, *compiled, "-ldl"]
    content = moved.read_bytes()
    for written, status in ((content, 0), (content + b"x", 1), (content[:-1], 1), (b"", 1)):
        moved.write_bytes(written)
        do([*command, "-o", "example"], cwd=elsewhere)
        done = subprocess.run(
            [elsewhere / "example"], env=runtime.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == status
        assert ("no weights, or not these weights" in done.stderr) == bool(status)
    if "RUNTIME" in options:
        moved.unlink()
        done = subprocess.run(
            [elsewhere / "example"], env=runtime.environment, capture_output=True, text=True, check=False
        )
        assert "no weights, or not these weights" in done.stderr
