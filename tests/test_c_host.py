"""The generated C by real tools: compilers as strict as they can be, sanitizers, Valgrind, CMake, several threads.

The programs are in tests/c.  Some run on every OpenCL runtime; others on an OpenCL that is made for the test
(c/fake_opencl.c), which fails where it is told to, and where nothing of a third party has to be suppressed.
"""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import artefacts
import pytest
from conftest import RUNTIMES, missing

from codegen.runtime.devices import DeviceInfo
from codegen.runtime.embedded import SYSTEM_LOADER, activate, read_icd

C = Path(__file__).parent / "c"
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


def calls(folder: Path) -> str:
    """See c/check.h."""
    manifest = json.loads((folder / "manifest.json").read_text())
    name = manifest["name"]
    counts = {
        kind: [f"{name}_{kind}_{tensor['name']}_COUNT".upper() for tensor in manifest[f"{kind}s"]]
        for kind in ("input", "output")
    }
    tensors = ", ".join(
        [f"in[{k}]" for k in range(len(counts["input"]))] + [f"out[{k}]" for k in range(len(counts["output"]))]
    )
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

static inline {name}_status call_enqueue(
    {name} *model, struct _cl_mem *const *in, struct _cl_mem *const *out, unsigned num_events,
    struct _cl_event *const *wait_list, struct _cl_event **event)
{{
    return {name}_enqueue(model, {tensors}, num_events, wait_list, event);
}}
"""


def sources(folder: Path) -> list[Path]:
    """The C files that an application compiles."""
    weights = folder / f"{folder.name}_weights.c"
    return [folder / f"{folder.name}.c", *([weights] if weights.exists() else [])]


def program(
    compiler: str, main: Path, folder: Path, output: Path, options: Iterable[str | Path], behind: Iterable[str | Path]
) -> Path:
    """A test program with one model, compiled with all warnings."""
    includes = ["-I", C, "-I", folder, "-I", folder / "test"]
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
    """Of Windows and macOS only what the preprocessor chooses for them; not their compilers."""
    folder = generated("weighty")
    host, weights = sources(folder)
    strict = [tool(compiler), *STRICT, "-fsyntax-only"]
    do([*strict, "-D_WIN32", "-D__stdcall=", "-D__declspec(x)=", host])
    do([*strict, "-D__APPLE__", host])
    do([*strict, "-U__ELF__", weights])


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
    """By the object code: no way leads from run, enqueue or selftest to an allocation."""
    called: dict[str, set[str]] = {}
    for source in sources(generated(name)):
        do([tool("gcc"), "-std=c99", "-O0", "-ffunction-sections", "-c", source, "-o", tmp_path / "object.o"])
        for line in do(["objdump", "-dr", tmp_path / "object.o"]).splitlines():
            if start := re.match(r"[0-9a-f]+ <(\w+)>:", line):
                function = called.setdefault(start[1], set())
            elif target := re.search(r"R_X86_64_\w+\s+(?:\.text\.)?([A-Za-z_]\w*)", line):
                function.add(target[1])
            elif inner := re.search(r"call\s+[0-9a-f]+ <(\w+)>", line):
                function.add(inner[1])

    def reached(function: str) -> set[str]:
        seen, rest = set(), [function]
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


# ---- running --------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("opencl_headers")
@pytest.mark.parametrize(
    ("runtime", "compiler", "name"),
    [
        ("intel", "gcc", "weighty"),
        ("intel", "clang", "tiny"),
        ("pocl", "gcc", "weighty"),
        ("pocl", "clang", "tables"),
        ("pocl", "gcc", "ports"),
        ("intel", "gcc", "prepared"),
    ],
    indirect=["runtime"],
)
def test_lifecycle_under_sanitizers(
    runtime: Runtime,
    compiler: str,
    name: str,
    sanitizing: Callable[[str, str], str],
    generated: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    """No invalid access, no undefined behaviour, no leak; by AddressSanitizer and UndefinedBehaviorSanitizer."""
    found = sanitizing(compiler, "address,undefined")
    lifecycle = program(found, C / "lifecycle.c", generated(name), tmp_path / "lifecycle", SANITIZERS, ["-lOpenCL"])
    options = f"suppressions={C / 'lsan.supp'}:print_suppressions=0"
    assert "ok" in runtime.run([lifecycle, runtime.platform], LSAN_OPTIONS=options).splitlines()


def valgrind(tool: Tool) -> list[str]:
    kinds = "definite,indirect,possible"
    leaks = ["--leak-check=full", f"--show-leak-kinds={kinds}", f"--errors-for-leak-kinds={kinds}"]
    return [tool("valgrind"), "-q", *leaks, "--error-exitcode=9"]


@pytest.mark.usefixtures("opencl_headers")
@each_runtime
def test_lifecycle_under_valgrind(
    runtime: Runtime, tool: Tool, generated: Callable[[str], Path], tmp_path: Path
) -> None:
    lifecycle = program(
        tool("gcc"), C / "lifecycle.c", generated("tiny"), tmp_path / "lifecycle", ["-g", "-O1"], ["-lOpenCL"]
    )
    suppressions = ["--num-callers=40", f"--suppressions={C / 'valgrind.supp'}"]
    command = [*valgrind(tool), *suppressions, lifecycle, runtime.platform, "--quick"]
    assert "ok" in runtime.run(command).splitlines()


@pytest.mark.usefixtures("opencl_headers")
@each_runtime
def test_lifecycle_with_the_systems_opencl(
    runtime: Runtime, tool: Tool, generated: Callable[[str], Path], tmp_path: Path
) -> None:
    options = ["-O2", "-DTABLES_USE_SYSTEM_OPENCL", "-DSYSTEM_OPENCL"]
    lifecycle = program(
        tool("gcc"), C / "lifecycle.c", generated("tables"), tmp_path / "lifecycle", options, ["-lOpenCL"]
    )
    assert "ok" in runtime.run([lifecycle, runtime.platform]).splitlines()


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


# ---- kernels that are kept ------------------------------------------------------------------------------------------


def kept(binary: bytes, magic: bytes = b"CLGENB01", size: int | None = None) -> bytes:
    """A file of compiled kernels: see templates/host/_cache.jinja."""
    digest = 0
    for byte in binary:
        digest = ((digest ^ byte) * 1099511628211) % 2**64
    return struct.pack("=8sQQ", magic, len(binary) if size is None else size, digest) + binary


@each_runtime
def test_compiled_kernels_are_kept_for_the_next_create(
    runtime: Runtime, sanitizing: Callable[[str, str], str], generated: Callable[[str], Path], tmp_path: Path
) -> None:
    """In a file that is used as it is, and made anew where it is not whole or of no use; a folder need not be there."""
    found = sanitizing("gcc", "address,undefined")
    create = program(found, C / "create.c", generated("tables"), tmp_path / "create", SANITIZERS, [])
    folder = tmp_path / "kept"

    def said() -> str:
        options = f"suppressions={C / 'lsan.supp'}:print_suppressions=0"
        return runtime.run([create, runtime.platform], CLGEN_CACHE_DIR=str(folder), LSAN_OPTIONS=options).splitlines()[
            -1
        ]

    assert said() == "ok"
    folder.mkdir()
    assert said() == "ok"
    (file,) = folder.iterdir()
    whole, made = file.read_bytes(), file.stat().st_mtime_ns
    assert file.name.startswith("tables-") and whole == kept(whole[24:])
    assert said() == "ok"
    assert file.stat().st_mtime_ns == made
    binary = whole[24:]
    for damaged in (b"", whole[:20], whole[:-1], kept(binary, magic=b"CLGENB00"), kept(binary, size=2**40)):
        file.write_bytes(damaged)
        assert said() == "ok"
        again = file.read_bytes()
        assert again == kept(again[24:])
    assert list(folder.iterdir()) == [file]


def test_the_kernels_that_were_kept_are_used(
    tool: Tool, fake: Callable[..., Fake], generated: Callable[[str], Path], tmp_path: Path
) -> None:
    """On an OpenCL whose binaries are the source: one without kernels has none to make."""
    create = program(tool("gcc"), C / "create.c", generated("tiny"), tmp_path / "create", ["-g"], [])
    opencl = fake(tool("gcc"), "-g")
    environment = {**opencl.environment, "CLGEN_CACHE_DIR": str(tmp_path)}
    do([create], env=environment)
    (file,) = tmp_path.glob("*.clbin")
    assert b"__kernel" in file.read_bytes()
    file.write_bytes(kept(b"/* nothing */"))
    done = subprocess.run([create], env=environment, capture_output=True, text=True, check=False)
    assert "no such kernel" in done.stderr


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("name", ["tables", "weighty", "ports", "prepared", "weighty at run time"])
def test_every_call_may_fail(
    name: str,
    compiler: str,
    sanitizing: Callable[[str, str], str],
    fake: Callable[..., Fake],
    generated: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    """Each OpenCL call and each allocation in turn; and nothing is allocated, created or compiled after create."""
    found = sanitizing(compiler, "address,undefined")
    model, *at_run_time = name.split(" ", 1)
    options = [
        *SANITIZERS,
        *(f"-Wl,--wrap={f}" for f in WRAPPED),
        *["-DWEIGHTY_WEIGHTS_AT_RUNTIME" for _ in at_run_time],
    ]
    opencl = fake(found, *SANITIZERS)
    faults = program(found, C / "faults.c", generated(model), tmp_path / "faults", options, [opencl.library])
    for launches in ("one", "separate"):
        assert "ok" in do([faults], env={**opencl.environment, "CLGEN_LAUNCHES": launches}).splitlines()


@pytest.mark.parametrize("name", ["tiny", "weighty", "prepared"])
def test_every_call_may_fail_under_valgrind(
    name: str, tool: Tool, fake: Callable[..., Fake], generated: Callable[[str], Path], tmp_path: Path
) -> None:
    options = ["-g", "-O1", *(f"-Wl,--wrap={f}" for f in WRAPPED)]
    opencl = fake(tool("gcc"), "-g", "-O1")
    faults = program(tool("gcc"), C / "faults.c", generated(name), tmp_path / "faults", options, [opencl.library])
    assert "ok" in do([*valgrind(tool), faults], env=opencl.environment).splitlines()


def two_models(compiler: str, options: Sequence[str], generated: Callable[[str], Path], output: Path) -> Path:
    objects = []
    for name in ("tables", "weighty"):
        folder = generated(name)
        for source in (C / "instances.c", *sources(folder)):
            objects.append(output.parent / f"{name}_{source.stem}.o")
            includes = ["-I", C, "-I", folder, "-I", folder / "test"]
            do([compiler, *STRICT, *options, *includes, "-c", source, "-o", objects[-1]])
    do([compiler, *STRICT, *options, "-I", C, C / "two_models.c", *objects, "-o", output, "-lpthread", "-ldl"])
    return output


@each_runtime
def test_two_models_with_instances_in_threads(
    runtime: Runtime, tool: Tool, generated: Callable[[str], Path], tmp_path: Path
) -> None:
    both = two_models(tool("gcc"), ["-O2"], generated, tmp_path / "both")
    assert "ok" in runtime.run([both, runtime.platform]).splitlines()


@pytest.mark.parametrize("runtime", ["pocl"], indirect=True)
def test_two_models_under_thread_sanitizer(
    runtime: Runtime,
    sanitizing: Callable[[str, str], str],
    fake: Callable[..., Fake],
    generated: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    options = ["-g", "-O1", "-fsanitize=thread"]
    found = sanitizing("gcc", "thread")
    both = two_models(found, options, generated, tmp_path / "both")
    # What a runtime does among its own threads is not looked at, only what it does to our memory through libc.
    assert "ok" in runtime.run([both, runtime.platform], TSAN_OPTIONS="ignore_noninstrumented_modules=1").splitlines()
    assert "ok" in do([both, "fake"], env=fake(found, *options).environment).splitlines()


@each_runtime
def test_examples(runtime: Runtime, tool: Tool, generated: Callable[[str], Path], tmp_path: Path) -> None:
    for name in ("tables", "weighty", "ports"):
        folder = generated(name)
        do([tool("gcc"), *STRICT, "-O2", folder / "example.c", *sources(folder), "-o", tmp_path / name, "-ldl"])
        said = runtime.run([tmp_path / name, runtime.platform])
        assert "self-test passed on" in said
        if name in artefacts.PICTURES:
            assert "accuracy: 80.00 % (4 of 5)" in said
            listed = runtime.run([tmp_path / name, "--predictions", runtime.platform])
            assert len(re.findall(r"^[0-4] (\d) \1$", listed, re.MULTILINE)) == 4
        else:
            assert all(f"{output.name}:" in said for output in artefacts.build(name).unfolded.outputs)


def test_what_an_example_says_without_opencl(tool: Tool, generated: Callable[[str], Path], tmp_path: Path) -> None:
    folder = generated("tables")
    example = tmp_path / "example"
    do([tool("gcc"), *STRICT, folder / "example.c", folder / "tables.c", "-o", example, "-ldl"])
    broken = tmp_path / "broken"
    broken.mkdir()
    for name in ("libOpenCL.so", "libOpenCL.so.1"):
        (broken / name).write_bytes(b"")
    none = tmp_path / "none"
    none.mkdir()
    cases = [
        ({"LD_LIBRARY_PATH": str(broken)}, "no OpenCL library"),
        ({"CLGEN_OPENCL_LIBRARY": str(tmp_path / "nowhere")}, "no OpenCL library"),
    ]
    if activate().loader == SYSTEM_LOADER:
        cases.append(({"OCL_ICD_VENDORS": str(none)}, "no such OpenCL device"))
    for environment, wanted in cases:
        done = subprocess.run([example], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert wanted in done.stderr


@each_runtime
def test_what_the_compiler_refuses_is_told(
    runtime: Runtime, tool: Tool, generated: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = generated("tables")
    source = (folder / "tables.c").read_text()
    assert source.count('"STEP\\n"') > 1
    (tmp_path / "tables.c").write_text(source.replace('"STEP\\n"', '"no_such_type\\n"', 1))
    example = tmp_path / "example"
    do([tool("gcc"), *STRICT, "-I", folder, folder / "example.c", tmp_path / "tables.c", "-o", example, "-ldl"])
    command = [example, runtime.platform]
    done = subprocess.run(command, env=runtime.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.search(r"the OpenCL compiler refused the kernels \(.* -11\)", done.stderr)
    assert "no_such_type" in done.stderr


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
    command = [tool(compiler), *STRICT, *options.split(), define, *sources(folder), folder / "example.c", "-ldl"]
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
