"""Programs of generated C, for tests: how they are compiled, and the OpenCL that they run on.

The programs are in tests/c.  Some run on every OpenCL runtime; others on an OpenCL that is made for the test
(c/fake_opencl.c), which fails where it is told to, and where nothing of a third party has to be suppressed.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from codegen.runtime.devices import DeviceInfo
from codegen.runtime.embedded import SYSTEM_LOADER, activate, read_icd
from tests.support import artefacts
from tests.support.needs import ROOT, RUNTIMES, missing

C = ROOT / "tests" / "c"
WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror")
STRICT = ("-std=c99", *WARNINGS)
WRAPPED = ("malloc", "calloc", "realloc", "free")
SANITIZERS = ("-g", "-O1", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")

Tool = Callable[[str], str]


def do(command: Sequence[str | Path], cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    """Runs a command that has to succeed; what it said, both streams."""
    words = [str(word) for word in command]
    for _ in range(3):
        done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=900)
        # Its tracer reads the stacks of a runtime's threads, and crashes where one ends meanwhile: that is no verdict.
        if "LeakSanitizer has encountered a fatal error" not in done.stderr:
            break
    said = done.stdout[-2000:] + done.stderr[-4000:]
    assert done.returncode == 0, f"{' '.join(words)}\nended with {done.returncode}:\n{said}"
    return done.stdout + done.stderr


# ---- artefacts and tools --------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of an artefact, with calls.h for the test programs in its folder "test"."""
    parent = tmp_path_factory.mktemp("generated")

    def find(name: str) -> Path:
        folder = parent / name
        if not folder.exists():
            artefacts.build(name).write(parent)
            (folder / "test").mkdir()
            (folder / "test" / "calls.h").write_text(calls(folder))
        return folder

    return find


@pytest.fixture(scope="session")
def plain_c(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The same for artefacts in plain C."""
    parent = tmp_path_factory.mktemp("plain_c")

    def find(name: str) -> Path:
        folder = parent / name
        if not folder.exists():
            artefacts.build(name, backend="c").write(parent)
            (folder / "test").mkdir()
            (folder / "test" / "calls.h").write_text(calls(folder))
        return folder

    return find


def calls(folder: Path) -> str:
    """See c/check.h."""
    manifest = json.loads((folder / "manifest.json").read_text())
    name = manifest["name"]
    counts = {
        kind: [f"({name}_{kind}_{tensor['name']}_BYTES + 3) / 4".upper() for tensor in manifest[f"{kind}s"]]
        for kind in ("input", "output")
    }
    tensors = ", ".join(
        [f"(void *)in[{k}]" for k in range(len(counts["input"]))]
        + [f"(void *)out[{k}]" for k in range(len(counts["output"]))]
    )
    enqueue = f"""
static inline {name}_status call_enqueue(
    {name} *model, struct _cl_mem *const *in, struct _cl_mem *const *out, unsigned num_events,
    struct _cl_event *const *wait_list, struct _cl_event **event)
{{
    return {name}_enqueue(model, {tensors}, num_events, wait_list, event);
}}
"""
    return f"""\
#include "{name}.h"

#define MODEL       {name}
#define MODEL_UPPER {name.upper()}

enum {{ INPUTS = {len(counts["input"])}, OUTPUTS = {len(counts["output"])} }};
enum {{ INPUT_TOTAL = {" + ".join(counts["input"])}, OUTPUT_TOTAL = {" + ".join(counts["output"])} }};
static const size_t input_counts[INPUTS] = {{{", ".join(counts["input"])}}};
static const size_t output_counts[OUTPUTS] = {{{", ".join(counts["output"])}}};

static inline {name}_status call_run({name} *model, float *const *in, float *const *out)
{{
    return {name}_run(model, {tensors});
}}
{enqueue if manifest["backend"] == "opencl" else ""}"""


def sources(folder: Path) -> list[Path]:
    """The C files that an application compiles."""
    weights = folder / f"{folder.name}_weights.c"
    return [folder / f"{folder.name}.c", *([weights] if weights.exists() else [])]


def program(
    compiler: str, main: Path, folder: Path, output: Path, options: Iterable[str | Path], behind: Iterable[str | Path]
) -> Path:
    """A test program with one model, compiled with all warnings."""
    includes: list[str | Path] = ["-I", C, "-I", folder, "-I", folder / "test"]
    do([compiler, *STRICT, *options, *includes, "-o", output, main, *sources(folder), *behind, "-ldl"])
    return output


@pytest.fixture(scope="session")
def opencl_headers(tool: Tool, tmp_path_factory: pytest.TempPathFactory) -> None:
    """<CL/cl.h> and libOpenCL.so are there to compile and link with."""
    work = tmp_path_factory.mktemp("headers")
    (work / "probe.c").write_text("#include <CL/cl.h>\nint main(void) { return (int)clGetPlatformIDs(0, 0, 0); }\n")
    command = [tool("gcc"), "-DCL_TARGET_OPENCL_VERSION=120", "probe.c", "-lOpenCL", "-o", "probe"]
    if subprocess.run(command, cwd=work, capture_output=True, check=False).returncode:
        missing("OpenCL to compile with", "sudo apt install opencl-headers ocl-icd-opencl-dev")


@pytest.fixture(scope="session")
def sanitizing(tool: Tool, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], str]:
    """A compiler, "gcc" or "clang", that has the run-time library of a sanitizer."""
    work = tmp_path_factory.mktemp("sanitizers")
    (work / "probe.c").write_text("int main(void) { return 0; }\n")

    def find(name: str, sanitizer: str) -> str:
        # Debian's clang does not bring the libraries, but another version beside it may have them.
        others = sorted(path for path in Path("/usr/bin").glob(f"{name}-[0-9]*") if path.name[-1].isdigit())
        for compiler in (tool(name), *map(str, others)):
            command = [compiler, f"-fsanitize={sanitizer}", "probe.c", "-o", "probe"]
            if subprocess.run(command, cwd=work, capture_output=True, check=False).returncode == 0:
                return compiler
        missing(f"-fsanitize={sanitizer} of {name}", "sudo apt install libclang-rt-14-dev (of the version of clang)")
        raise AssertionError("not reached")

    return find


@dataclass(frozen=True)
class Runtime:
    """One OpenCL implementation, alone: the environment in which a C program sees no other."""

    platform: str
    environment: Mapping[str, str]

    def run(self, command: Sequence[str | Path], **more: str) -> str:
        return do(command, env={**self.environment, **more})


@pytest.fixture
def runtime(request: pytest.FixtureRequest, find_device: Callable[[str], DeviceInfo], tmp_path: Path) -> Runtime:
    """The runtime with the key that a test is parametrised with, nothing of it cached."""
    key = request.param
    find_device(key)
    seen = activate()
    if seen.loader != SYSTEM_LOADER:
        missing(SYSTEM_LOADER, "sudo apt install ocl-icd-libopencl1")
    folder = tmp_path / "vendors"
    folder.mkdir()
    for icd in sorted(Path(seen.vendors or "/etc/OpenCL/vendors").glob("*.icd"), reverse=True):
        library = read_icd(icd)
        if {"intel": "libintelocl", "pocl": "libpocl"}[key] in library:
            (folder / "only.icd").write_text(library + "\n")
            break
    environment = os.environ | dict(seen.variables) | {"OCL_ICD_VENDORS": str(folder)}
    for variable in ("POCL_CACHE_DIR", "XDG_CACHE_HOME"):
        environment[variable] = str(tmp_path / "cache")
    (tmp_path / "cache").mkdir()
    environment.pop("CLGEN_DEVICE", None)
    return Runtime(RUNTIMES[key][0], environment)


each_runtime = pytest.mark.parametrize("runtime", list(RUNTIMES), indirect=True)


@dataclass(frozen=True)
class Fake:
    """The OpenCL of c/fake_opencl.c, and the environment in which the host loads it."""

    library: Path
    environment: Mapping[str, str]


@pytest.fixture
def fake(tool: Tool, opencl_headers: None, tmp_path: Path) -> Callable[..., Fake]:
    def compile_fake(compiler: str, *options: str) -> Fake:
        library = tmp_path / "libfake.so"
        do([compiler, *STRICT, *options, "-shared", "-fPIC", "-o", library, C / "fake_opencl.c", "-lpthread"])
        return Fake(library, {**os.environ, "CLGEN_OPENCL_LIBRARY": str(library)})

    return compile_fake
