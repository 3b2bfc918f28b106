"""The generated C when it runs: sanitizers, Valgrind, several threads, and an OpenCL that fails."""

from __future__ import annotations

import re
import struct
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from codegen.runtime.embedded import SYSTEM_LOADER, activate
from tests.support import artefacts
from tests.support.generated_c import (
    SANITIZERS,
    STRICT,
    WRAPPED,
    C,
    Fake,
    Runtime,
    Tool,
    do,
    each_runtime,
    program,
    sources,
)

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
    command: list[str | Path] = [*valgrind(tool), *suppressions, lifecycle, runtime.platform, "--quick"]
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
    """The file is used as it is, and written anew where it is damaged or rejected; its folder need not exist."""
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


@each_runtime
def test_one_launch_is_usual_on_intels_runtime(
    runtime: Runtime, tool: Tool, generated: Callable[[str], Path], tmp_path: Path
) -> None:
    """Kernels that are compiled for the one way of launching and for the other are kept in different files."""
    create = program(tool("gcc"), C / "create.c", generated("tables"), tmp_path / "create", [], [])
    folder = tmp_path / "kept"
    folder.mkdir()
    usual, other = ("one", "separate") if "Intel" in runtime.platform else ("separate", "one")
    for launches, count in (("", 1), (usual, 1), (other, 2)):
        runtime.run([create, runtime.platform], CLGEN_CACHE_DIR=str(folder), CLGEN_LAUNCHES=launches)
        assert len(list(folder.iterdir())) == count


def test_the_kernels_that_were_kept_are_used(
    tool: Tool, fake: Callable[..., Fake], generated: Callable[[str], Path], tmp_path: Path
) -> None:
    """Uses an OpenCL whose binaries are the source: from an empty one no kernel can be created."""
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
            includes: list[str | Path] = ["-I", C, "-I", folder, "-I", folder / "test"]
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
    assert source.count('"STEP(1, 1, 1)\\n"') > 1
    (tmp_path / "tables.c").write_text(source.replace('"STEP(1, 1, 1)\\n"', '"no_such_type\\n"', 1))
    example = tmp_path / "example"
    do([tool("gcc"), *STRICT, "-I", folder, folder / "example.c", tmp_path / "tables.c", "-o", example, "-ldl"])
    command: list[str | Path] = [example, runtime.platform]
    done = subprocess.run(command, env=runtime.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.search(r"the OpenCL compiler refused the kernels \(.* -11\)", done.stderr)
    assert "no_such_type" in done.stderr
