"""No name that a spec may give collides with what the generated C calls its own things."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from codegen import build
from codegen.errors import SpecError
from codegen.frontend.spec.naming import legal_model, model_fault, port_fault
from codegen.graph.types import TYPES
from codegen.runtime.host import STRICT, find_compiler
from tests.support import artefacts
from tests.support.needs import ROOT
from tests.support.networks import weights_in
from tests.support.values import save_npz

SPEC = """
[model]
name = "{model}"
weights = "w.npz"

[[input]]
name = "{given}"
shape = {shape}

[[layer]]
name = "c"
op = "conv"

[[output]]
name = "{taken}"
from = "c"
"""

RANGES = """
[model]
name = "zzmodel"

[[input]]
name = "zzgiven"
shape = [3]

[[input]]
name = "zzgiven2"
shape = [3]
range = [0, 255]

[[layer]]
name = "sum"
op = "add"
inputs = ["zzgiven", "zzgiven2"]

[[output]]
name = "zztaken"
from = "sum"
"""


TYPED = """
[model]
name = "zzmodel"
"""
TYPED += "".join(f'[[input]]\nname = "zzgiven{k}"\nfull_shape = [3]\ntype = "{kind}"\n' for k, kind in enumerate(TYPES))
TYPED += "".join(f'[[layer]]\nname = "r{k}"\nop = "relu"\ninput = "zzgiven{k}"\n' for k in range(len(TYPES)))
TYPED += "".join(f'[[output]]\nname = "zztaken{k}"\nfrom = "r{k}"\ntype = "{kind}"\n' for k, kind in enumerate(TYPES))


def generate(
    folder: Path,
    model: str = "zzmodel",
    given: str = "zzgiven",
    taken: str = "zztaken",
    shape: tuple[int, int, int] = (3, 4, 4),
    weight: tuple[int, int, int, int] = (2, 3, 1, 1),
) -> Path:
    save_npz(folder / "w.npz", {"c.weight": np.ones(weight, np.float32)})
    spec = folder / "s.toml"
    spec.write_text(SPEC.format(model=model, given=given, taken=taken, shape=list(shape)))
    return build.build(build.lower(spec), folder / "generated", "cpu")[0]


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Every identifier in the generated C of models with and without a blob, prepared weights, ranges, types."""
    texts = [path.read_text() for path in (ROOT / "generated" / "digits").glob("*.[ch]")]
    with weights_in("blob"):
        folder = generate(tmp_path_factory.mktemp("blob"))
    texts += [path.read_text() for path in folder.glob("*.[ch]")]
    folder = generate(tmp_path_factory.mktemp("prepared"), shape=(64, 30, 30), weight=(64, 64, 3, 3))
    assert "PREPARATION_COUNT" in (folder / "zzmodel.c").read_text()
    texts += [path.read_text() for path in folder.glob("*.[ch]")]
    for spec, word in ((RANGES, "input_grids"), (TYPED, "element_type")):
        folder = tmp_path_factory.mktemp("spec")
        (folder / "s.toml").write_text(spec)
        folder, _ = build.build(build.lower(folder / "s.toml"), folder / "generated", "cpu")
        assert word in (folder / "zzmodel.c").read_text()
        texts += [path.read_text() for path in folder.glob("*.[ch]")]
    found: set[str] = set()
    for text in texts:
        code = re.sub(r"/\*.*?\*/|\"(\\.|[^\"\\])*\"|0x[0-9a-fA-Fp.+-]+f?", " ", text, flags=re.DOTALL)
        found |= set(re.findall(r"[A-Za-z_]\w*", code))
    own = re.compile(
        r"(_*digits|_*zz(model|given|taken)|\w*(IMAGE|PROBABILITIES|ZZ))|image$|probabilities$", re.IGNORECASE
    )
    return {word for word in found if not own.match(word)}


def test_no_model_may_be_called_what_the_host_uses(words: set[str]) -> None:
    assert len(words) > 200
    allowed = sorted(word for word in words if model_fault(word) is None)
    assert allowed == []


def test_no_model_may_be_called_what_plain_c_defines(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Variables of kernels may have a model's name: the header comes after them, and before all of the host."""
    found: set[str] = set()
    for name in ("tables", "prepared", "types", "stages", "rows", "moves", "places"):
        text = artefacts.build(name, backend="c", multiversion=name == "prepared").files[f"{name}.c"].decode()
        text = re.sub(r"/\*.*?\*/|\"(\\.|[^\"\\])*\"|0x[0-9a-fA-Fp.+-]+f?", " ", text, flags=re.DOTALL)
        before, header, host = text.partition("#include  ")
        assert header
        found |= set(re.findall(r"[A-Za-z_]\w*", host))
        found |= set(re.findall(r"^struct (\w+) \{", before, re.MULTILINE))
        found |= set(re.findall(r"^#define (\w+)", text, re.MULTILINE))
        found |= set(re.findall(r"^typedef [^;]*?(\w+)(?: __attribute__\(\(.*\)\))?;", text, re.MULTILINE))
        found |= set(re.findall(r"^(?:\w+ )+\**(\w+)\(", text, re.MULTILINE))
        found |= set(re.findall(r"^static .*?(\w+)\[", text, re.MULTILINE))
        # Arrays of the instance are members, which are no names of their own.
        found = {word for word in found if not re.match(rf"{name}|(in|out)put_", word, re.IGNORECASE)}
    assert {"block", "vector", "int64", "run_network", "selftest_samples", "UNROLL", "min", "seat", "made"} <= found
    allowed = sorted(word for word in found if model_fault(word) is None)
    assert allowed == []


def test_no_model_may_be_called_what_the_choice_of_a_backend_uses() -> None:
    built = artefacts.build("prepared", backend="opencl,c")
    found: set[str] = set()
    for name in ("prepared.c", "prepared.h"):
        code = re.sub(r"/\*.*?\*/|\"(\\.|[^\"\\])*\"", " ", built.files[name].decode(), flags=re.DOTALL)
        found |= {
            word for word in re.findall(r"[A-Za-z_]\w*", code) if not re.match("prepared|input|output", word, re.I)
        }
    assert {"create_opencl", "plain_c", "reason"} <= found
    own = re.compile("prepared|(in|out)put|image$", re.IGNORECASE)
    allowed = sorted(word for word in found if not own.match(word) and model_fault(word) is None)
    assert allowed == []


PORTS = ("num_events", "wait_list", "run_batch", "enqueue_on_buffers", "INPUT_COUNT", "CL_SUCCESS", "zzmodel_status")


@pytest.mark.parametrize("name", PORTS)
def test_no_tensor_may_be_called_what_its_functions_use(name: str) -> None:
    assert port_fault(name, "zzmodel")


@pytest.mark.parametrize(
    "name", ["input", "output", "data", "x", "y", "i", "size", "error", "check", "sample", "count", "values"]
)
def test_usual_names_of_tensors_compile(name: str, tmp_path: Path) -> None:
    folder = generate(tmp_path, given=name)
    command = [find_compiler(), *STRICT, "-fsyntax-only", "zzmodel.c", "example.c"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_name_of_the_spec_file_cannot_leave_its_comment(tmp_path: Path) -> None:
    generate(tmp_path)
    evil = tmp_path / "x\nmessage(FATAL_ERROR injected)\n#.toml"
    (tmp_path / "s.toml").rename(evil)
    with pytest.raises(SpecError, match="file name"):
        build.lower(evil)


C_HEADERS = (
    *("assert", "complex", "ctype", "errno", "fenv", "float", "inttypes", "iso646", "limits", "locale", "math"),
    *("setjmp", "signal", "stdalign", "stdarg", "stdbool", "stddef", "stdint", "stdio", "stdlib", "stdnoreturn"),
    *("string", "tgmath", "threads", "time", "uchar", "wchar", "wctype", "unistd", "dlfcn", "fcntl", "pthread"),
    *("sys/types", "sys/stat", "sys/time", "sys/mman", "semaphore", "sched", "strings"),
)
NOT_CXX = ("complex", "iso646", "stdnoreturn", "tgmath", "threads")
COMPILERS = {
    "gcc": ("gnu17", "c", C_HEADERS, ()),
    "clang": ("gnu17", "c", C_HEADERS, ()),
    "g++": ("gnu++20", "c++", [h for h in C_HEADERS if h not in NOT_CXX], ("cmath", "vector", "string", "thread")),
}
AS_MODEL = "typedef struct {0} {0}; {0} *model_{0}({0} *{0});"
AS_TENSOR = "static inline int tensor_{0}(const float *{0}) {{ return {0}[0] > 0; }}"


@pytest.mark.parametrize("compiler", COMPILERS)
def test_what_is_legal_compiles_beside_all_headers(compiler: str, tool: Callable[[str], str]) -> None:
    """Every identifier that a header has: one that a model or tensor may be called is no macro and no type there."""
    standard, language, c, cxx = COMPILERS[compiler]
    names = [*(f"{h}.h" for h in c), *cxx]
    head = "".join(f"#include <{name}>\n" for name in names)
    base = [tool(compiler), f"-std={standard}", "-x", language]

    def run(source: str, *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*base, *options, "-"], input=source, capture_output=True, text=True, check=False)

    macros = run(head, "-E", "-dM").stdout
    found = set(re.findall(r"\b[A-Za-z]\w*", run(head, "-E").stdout + macros))
    assert {"ssize_t", "fork", "ENOENT", "uint"} <= found
    objects = set(re.findall(r"#define (\w+)(?!\w|\()", macros))
    every = set(re.findall(r"#define (\w+)", macros))
    tensors = sorted(name for name in found if port_fault(name, "zzmodel") is None)
    assert len(tensors) > 200 and sorted(objects & set(tensors)) == []
    check = ("-fsyntax-only", "-Wshadow", "-Werror")
    done = run(head + "\n".join(map(AS_TENSOR.format, tensors)) + "\n", *check)
    assert done.returncode == 0, done.stderr[:2000]
    if language == "c":  # g++ always has the functions that are GNU's own
        models = sorted(name for name in found if model_fault(name) is None)
        assert len(models) > 200 and sorted(every & set(models)) == []
        done = run(head + "\n".join(map(AS_MODEL.format, models)) + "\n", *check)
        assert done.returncode == 0, done.stderr[:2000]


@pytest.mark.parametrize(
    ("name", "because"),
    [
        ("test", "a target of CMake"),
        ("ALL_BUILD", "a target of CMake"),
        ("uint", "taken by a C, Windows or OpenCL header"),
        ("ssize_t", "taken by a C, Windows or OpenCL header"),
        ("EAGAIN", "taken by a C, Windows or OpenCL header"),
        ("math", "in whose place math.h would be found"),
        ("r", "R_OK, which is a macro"),
        ("pthread", "begins functions of the C library"),
        ("thrd", "begins functions of the C library"),
        ("get", "begins functions of OpenCL C"),
        ("fork", "a function of the C library"),
        ("dl", "a library or project that linkers or CMake know"),
        ("class", "a keyword of C or C++"),
    ],
)
def test_what_others_have_taken(name: str, because: str) -> None:
    fault = model_fault(name)
    assert fault is not None and because in fault and f'take another, such as "{legal_model(name)}"' in fault
    assert model_fault(legal_model(name)) is None


def test_cmake_takes_what_is_suggested(tool: Callable[[str], str], tmp_path: Path) -> None:
    """Targets, headers and symbols of all suggested names work together in one project."""
    wanted = ("test", "all", "help", "install", "package", "clean", "uint", "main", "math", "get", "dl", "errno")
    names = [legal_model(name) for name in wanted]
    assert len(set(names)) == len(wanted)
    for name in names:
        generate(tmp_path, model=name, given="x", taken="test")
    includes = "".join(f'#include "{name}.h"\n' for name in names)
    calls = "".join(f"    {name}_destroy(NULL);\n" for name in names)
    (tmp_path / "app.c").write_text(
        f"#include <math.h>\n#include <stddef.h>\n{includes}int main(void)\n{{\n{calls}    return 0;\n}}\n"
    )
    adds = "".join(f"add_subdirectory(generated/{name})\n" for name in names)
    links = " ".join(f"{name}::{name}" for name in names)
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.10)\nproject(application LANGUAGES C)\n"
        f"{adds}add_executable(app app.c)\ntarget_link_libraries(app PRIVATE {links} m)\n"
        "enable_testing()\ninstall(TARGETS app)\ninclude(CPack)\n"
    )
    for command in (["-S", ".", "-B", "b"], ["--build", "b", "--target", "app"]):
        done = subprocess.run([tool("cmake"), *command], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
