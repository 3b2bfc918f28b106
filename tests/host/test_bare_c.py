"""Plain C without an operating system: what it asks of the compiler and of a C library, and how large it is."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest

from codegen import build
from tests.support import artefacts
from tests.support.generated_c import STRICT, Tool, do, sources
from tests.support.needs import ROOT

MATHS = (
    *("acos", "acosh", "asin", "asinh", "atan", "atanh", "ceil", "cos", "cosh", "erf", "exp", "expm1", "fabs", "floor"),
    *("log", "log1p", "rint", "sin", "sinh", "sqrt", "tan", "tanh", "trunc"),
)
OF_TWO = ("fmax", "fmin", "fmod", "pow")

# All that the kernels may ask of a C library: functions of float, and four things that compilers have built in.
MATH_H = "\n".join(
    [
        *(f"float {name}f(float);" for name in MATHS),
        *(f"float {name}f(float, float);" for name in OF_TWO),
        "#define INFINITY __builtin_inff()",
        '#define NAN __builtin_nanf("")',
        "#define isfinite(x) __builtin_isfinite(x)",
        "#define isnan(x) __builtin_isnan(x)",
        "#define isinf(x) __builtin_isinf(x)",
    ]
)
STRING_H = """
#include <stddef.h>
void *memcpy(void *restrict to, const void *restrict from, size_t count);
void *memset(void *to, int value, size_t count);
"""

TARGETS = {
    "": (),
    "cortex-a9": ("--target=arm-none-eabi", "-mcpu=cortex-a9", "-mfpu=neon", "-mfloat-abi=hard"),
    "cortex-r5": ("--target=arm-none-eabi", "-mcpu=cortex-r5", "-mfpu=vfpv3-d16", "-mfloat-abi=hard"),
    "cortex-a53": ("--target=aarch64-none-elf", "-mcpu=cortex-a53"),
    "rv64gc": ("--target=riscv64-unknown-elf", "-march=rv64gc", "-mabi=lp64d"),
    "rv32gc": ("--target=riscv32-unknown-elf", "-march=rv32gc", "-mabi=ilp32d"),
}
"""Options of Clang, which compiles for all of these, by processor."""


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    parent = tmp_path_factory.mktemp("generated")
    return lambda name: artefacts.build(name, backend="c").write(parent)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The headers of a C library that has nothing else."""
    folder = tmp_path_factory.mktemp("library")
    (folder / "math.h").write_text(MATH_H)
    (folder / "string.h").write_text(STRING_H)
    return folder


def undefined(readelf: str, compiled: Path) -> set[str]:
    """The symbols that an object takes from elsewhere, less those of the compiler's own library."""
    listed = do([readelf, "-sW", compiled])
    return {name for name in re.findall(r" UND (\w+)$", listed, re.MULTILINE) if not name.startswith("__")}


@pytest.mark.parametrize(
    ("name", "processor"),
    [
        *((name, "") for name in artefacts.NETWORKS),
        *product(("weighty", "winograd", "types", "stages", "moves"), filter(None, TARGETS)),
    ],
)
def test_a_bare_compiler_is_enough(
    name: str, processor: str, tool: Tool, generated: Callable[[str], Path], library: Path, tmp_path: Path
) -> None:
    """No header but those of the compiler itself, math.h and string.h; nothing else is called, not even malloc."""
    folder, clang = generated(name), tool("clang")
    options: list[str | Path] = [*STRICT, "-O1", "-ffreestanding", "-nostdlibinc", "-isystem", library]
    options += TARGETS[processor]
    maths = {f"{function}f" for function in (*MATHS, *OF_TWO)}
    weights = {f"{name}_weights_take", f"{name}_weights_give_back"}
    for source in sources(folder):
        do([clang, *options, f"-D{name.upper()}_NO_MALLOC", "-c", source, "-o", tmp_path / "bare.o"])
        assert undefined(tool("readelf"), tmp_path / "bare.o") <= {"memcpy", "memset", *maths, *weights}


@pytest.mark.parametrize("name", ["tables", "weighty", "stages"])
def test_gcc_needs_no_more(
    name: str, tool: Tool, generated: Callable[[str], Path], library: Path, tmp_path: Path
) -> None:
    folder, gcc = generated(name), tool("gcc")
    own = do([gcc, "-print-file-name=include"]).strip()
    options: list[str | Path] = [*STRICT, "-O2", "-ffreestanding", "-nostdinc", "-isystem", own, "-isystem", library]
    for source in sources(folder):
        do([gcc, *options, f"-D{name.upper()}_NO_MALLOC", "-c", source, "-o", tmp_path / "bare.o"])
        assert not undefined(tool("readelf"), tmp_path / "bare.o") & {"malloc", "free"}


STATIC = """
#include "{name}.h"
#include <stdio.h>

static unsigned char memory[{NAME}_MEMORY_BYTES];

int main(void)
{{
    {name} *model;
    {name}_status status = {name}_create_in(&model, memory, sizeof memory);

    if (status == {NAME}_OK)
        status = {name}_selftest(model);
    puts({name}_status_text(status));
    {name}_destroy(model);
    return 0;
}}
"""


@pytest.mark.parametrize("name", ["tables", "weighty", "prepared"])
def test_an_instance_in_static_memory_without_malloc(
    name: str, tool: Tool, generated: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = generated(name)
    (tmp_path / "app.c").write_text(STATIC.format(name=name, NAME=name.upper()))
    flags: list[str | Path] = [*STRICT, "-O1", "-I", folder, f"-D{name.upper()}_NO_MALLOC"]
    do([tool("gcc"), *flags, "-o", tmp_path / "app", tmp_path / "app.c", *sources(folder), "-lm"])
    assert do([tmp_path / "app"]) == "no error\n"
    calling = STATIC.replace("_create_in(&model, memory, sizeof memory)", "_create(&model, NULL)")
    (tmp_path / "app.c").write_text(calling.format(name=name, NAME=name.upper()))
    command = [str(word) for word in (tool("gcc"), *flags, "-fsyntax-only", tmp_path / "app.c")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode and f"{name}_create" in done.stderr


@pytest.mark.parametrize("standard", ["c++11", "c++17", "c++20"])
@pytest.mark.parametrize("compiler", ["g++", "clang++"])
@pytest.mark.parametrize("name", ["tables", "types", "weighty"])
def test_the_header_is_clean_in_cpp(
    name: str, compiler: str, standard: str, tool: Tool, generated: Callable[[str], Path], tmp_path: Path
) -> None:
    folder, NAME = generated(name), name.upper()
    (tmp_path / "app.cpp").write_text(f'#include "{name}.h"\n#include "{name}.h"\nint main() {{ return {NAME}_OK; }}\n')
    warnings = [*STRICT[1:], "-Wold-style-cast", "-Wzero-as-null-pointer-constant"]
    for more in ([], [f"-D{NAME}_TRACE", f"-D{NAME}_THREADS"], [f"-D{NAME}_NO_MALLOC"]):
        do([tool(compiler), f"-std={standard}", *warnings, *more, "-I", folder, "-fsyntax-only", tmp_path / "app.cpp"])


@pytest.mark.parametrize("options", [[], ["-march=native"], ["-DDIGITS_SCALAR"], ["-static"]], ids=" ".join)
@pytest.mark.parametrize("compiler", ["gcc", "clang", "musl-gcc"])
def test_digits_is_small(compiler: str, options: list[str], tool: Tool, tmp_path: Path) -> None:
    """Below 200,000 bytes with the example's 360 images; with musl also where the C library is part of the program."""
    if compiler == "musl-gcc":
        if not shutil.which(compiler):
            pytest.skip("musl-gcc is not here; on Debian: apt install musl-tools")
    elif options == ["-static"]:
        pytest.skip("glibc alone is larger: 700 KB")
    folder, _ = build.build(build.lower(ROOT / "specs" / "digits.toml", backend="c"), tmp_path, "cpu")
    program = tmp_path / "program"
    found = compiler if compiler == "musl-gcc" else tool(compiler)
    do([found, "-O2", *options, "-s", folder / "example.c", folder / "digits.c", "-lm", "-o", program])
    assert program.stat().st_size < 200_000
