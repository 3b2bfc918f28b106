"""Artefacts for several processors, and for several backends, in one program."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from codegen.cli import main
from codegen.emit.packaging import BACKENDS, Packaging
from codegen.errors import SpecError
from codegen.runtime.native import NativeDevice
from codegen.runtime.verify import verify
from tests.support import artefacts, networks
from tests.support.generated_c import SANITIZERS, STRICT, WARNINGS, C, Fake, Runtime, Tool, calls, do, each_runtime
from tests.support.needs import ROOT

NETWORKS = ("tables", "weighty", "winograd", "prepared")


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Packaging], Path]:
    """The folder of an artefact, with calls.h for the test programs in its folder "test"."""
    parent = tmp_path_factory.mktemp("generated")

    def find(name: str, packaging: Packaging) -> Path:
        folder = parent / f"{packaging.backend}{packaging.multiversion}" / name
        if not folder.exists():
            artefacts.build(name, backend=packaging.backend, multiversion=packaging.multiversion).write(folder.parent)
            (folder / "test").mkdir()
            (folder / "test" / "calls.h").write_text(calls(folder))
        return folder

    return find


def compiled(compiler: str, main_file: str, folder: Path, output: Path, *options: str) -> Path:
    files = sorted(set(folder.glob("*.c")) - {folder / "example.c"})
    includes: list[str | Path] = ["-I", C, "-I", folder, "-I", folder / "test"]
    do([compiler, *STRICT, "-O2", *options, *includes, "-o", output, C / main_file, *files, "-lm", "-ldl", "-lpthread"])
    return output


# ---- versions for several processors --------------------------------------------------------------------------------

MULTIVERSION = Packaging("c", multiversion=True)


def named(said: str) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in said.splitlines())


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_version_computes_the_network(
    name: str, compiler: str, tool: Tool, generated: Callable[[str, Packaging], Path], tmp_path: Path
) -> None:
    folder = generated(name, MULTIVERSION)
    said = named(do([compiled(tool(compiler), "versions.c", folder, tmp_path / "versions")]))
    assert said["c:portable"].startswith("C, vectors of ") and said["c:pentium"] == "refused"
    versions = [said[device] for device in ("c:avx512", "c:avx2", "c:portable") if said[device] != "refused"]
    assert said["best"] == said["in"] == said["CPU"] == versions[0]


@pytest.mark.device
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize(("processor", "floats"), [("Nehalem", 4), ("max", 8)])
def test_a_processor_gets_the_version_that_it_can_run(
    processor: str, floats: int, compiler: str, tool: Tool, generated: Callable[[str, Packaging], Path], tmp_path: Path
) -> None:
    """QEMU's best processor has AVX2 and no AVX-512."""
    if not shutil.which("qemu-x86_64"):
        pytest.skip("qemu-x86_64 is not here; on Debian: apt install qemu-user")
    program = compiled(tool(compiler), "versions.c", generated("weighty", MULTIVERSION), tmp_path / "versions")
    said = named(do(["qemu-x86_64", "-cpu", processor, program]))
    assert said["best"] == f"C, vectors of {floats} floats" and said["c:portable"] == "C, vectors of 4 floats"
    assert said["c:avx512"] == "refused" and (said["c:avx2"] == "refused") == (floats == 4)


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("name", artefacts.NETWORKS)
def test_versions_compile_without_a_warning(
    name: str, compiler: str, tool: Tool, generated: Callable[[str, Packaging], Path]
) -> None:
    folder = generated(name, MULTIVERSION)
    files = sorted(folder.glob("*.c"))
    for option in ("SCALAR", "THREADS", "TRACE"):
        do([tool(compiler), "-std=c11", *WARNINGS, "-fsyntax-only", f"-D{name.upper()}_{option}", *files])
    do([tool(compiler), *STRICT, "-fsyntax-only", "-march=native", *files])


@pytest.mark.parametrize("variant", ["", "portable", "avx2", "scalar"])
def test_versions_are_verified(variant: str, tool: Tool, tmp_path: Path) -> None:
    if variant == "avx2" and "avx2" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("this processor has no AVX2")
    built = artefacts.build("winograd", backend="c", multiversion=True)
    artefact = built.read(tmp_path)
    device = NativeDevice(variant, tool("gcc"))
    report = verify(artefact, built.unfolded, built.launches, [device], [networks.normal_sample(artefact)])
    assert report.passed


def test_no_name_of_a_version_is_visible_outside(
    tool: Tool, generated: Callable[[str, Packaging], Path], tmp_path: Path
) -> None:
    folder = generated("winograd", MULTIVERSION)
    files = sorted(set(folder.glob("*.c")) - {folder / "example.c"})
    do([tool("gcc"), "-O1", "-shared", "-fPIC", "-o", tmp_path / "lib.so", *files, "-lm"])
    visible = set(re.findall(r" [TDRB] (\w+)", do([tool("nm"), "-D", "--defined-only", tmp_path / "lib.so"])))
    assert {"winograd_create", "winograd_run"} <= visible
    assert not [name for name in visible if "network" in name or "prepare" in name]


def test_versions_are_for_plain_c_alone(tmp_path: Path) -> None:
    spec = ROOT / "specs" / "digits.toml"
    result = CliRunner().invoke(main, ["build", str(spec), "--multiversion", "-o", str(tmp_path)])
    assert result.exit_code == 2 and "--multiversion is for plain C" in result.output
    assert not list(tmp_path.iterdir())
    with pytest.raises(SpecError, match="add --backend c"):
        Packaging("opencl", multiversion=True)


# ---- both backends --------------------------------------------------------------------------------------------------

BOTH = Packaging("opencl,c")


@each_runtime
@pytest.mark.parametrize("name", NETWORKS)
def test_opencl_is_taken_where_it_works(
    name: str, tool: Tool, runtime: Runtime, generated: Callable[[str, Packaging], Path], tmp_path: Path
) -> None:
    program = compiled(tool("gcc"), "both.c", generated(name, BOTH), tmp_path / "both")
    assert do([program], env=dict(runtime.environment)).splitlines()[:2] == ["opencl", ""]
    for wish in ("c", "c:"):
        assert do([program, wish], env=dict(runtime.environment)).splitlines() == ["c", ""]
    asked = {**runtime.environment, "CLGEN_DEVICE": "c"}
    assert do([program], env=asked).splitlines() == ["c", ""]
    assert do([program, "no such device"], env=dict(runtime.environment)).splitlines() == ["c", "no such OpenCL device"]


@pytest.mark.parametrize("name", NETWORKS)
def test_plain_c_is_taken_without_opencl(
    name: str, tool: Tool, generated: Callable[[str, Packaging], Path], tmp_path: Path
) -> None:
    program = compiled(tool("clang"), "both.c", generated(name, BOTH), tmp_path / "both")
    alone = {**os.environ, "CLGEN_OPENCL_LIBRARY": str(tmp_path / "absent.so")}
    assert do([program], env=alone).splitlines() == ["c", "no OpenCL library"]


def test_plain_c_is_taken_whatever_fails_in_opencl(
    tool: Tool, fake: Callable[..., Fake], generated: Callable[[str, Packaging], Path], tmp_path: Path
) -> None:
    opencl = fake(tool("gcc"), *SANITIZERS)
    program = compiled(
        tool("gcc"), "both.c", generated("weighty", BOTH), tmp_path / "both", "-DFAKE", *SANITIZERS, str(opencl.library)
    )
    said = do([program], env=opencl.environment).splitlines()
    assert said == ["the OpenCL compiler refused the kernels", "wrong result"]


def test_cmake_builds_both_and_runs_the_example(
    tool: Tool, generated: Callable[[str, Packaging], Path], tmp_path: Path
) -> None:
    folder = generated("weighty", Packaging("opencl,c", multiversion=True))
    do([tool("cmake"), "-S", folder, "-B", tmp_path, "-DWEIGHTY_THREADS=ON"])
    do([tool("cmake"), "--build", tmp_path])
    do([tool("ctest"), "--test-dir", tmp_path])


def clgen(*arguments: str | Path) -> str:
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.device
@pytest.mark.parametrize("options", [(), ("--multiversion",)])
def test_the_commands_know_both(options: tuple[str, ...], tmp_path: Path) -> None:
    spec = ROOT / "specs" / "digits.toml"
    wish: tuple[str | Path, ...] = ("--backend", "opencl,c", *options, "-o", tmp_path)
    clgen("build", spec, *wish)
    folder = tmp_path / "digits"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["backend"] == "opencl,c" and manifest["multiversion"] == bool(options)
    assert sorted(clgen("list", spec, *wish).split()) == sorted(map(str, folder.iterdir()))
    clgen("build", spec, *wish, "--check")
    result = CliRunner().invoke(main, ["build", str(spec), "-o", str(tmp_path), "--check"])
    assert result.exit_code == 1 and "digits_c.c" in result.output
    assert "c:portable, plain C" in clgen("verify", folder, "--device", "c:portable")
    said = clgen("verify", folder)
    assert "plain C" in said and said.count("self-test: ok") == 2
    assert clgen("verify", spec, "--device", "c", "--device", "CPU").count("self-test: ok") >= 2


@pytest.mark.parametrize("options", [("c", "--multiversion"), ("opencl,c",)])
def test_the_check_of_layers_comes_with_every_packaging(options: tuple[str, ...], tool: Tool, tmp_path: Path) -> None:
    spec = ROOT / "specs" / "digits.toml"
    wish: tuple[str | Path, ...] = ("--backend", *options, "--with-check", "-o", tmp_path)
    clgen("build", spec, *wish)
    clgen("build", spec, *wish, "--check")
    folder = tmp_path / "digits"
    assert sorted(clgen("list", spec, *wish).split()) == sorted(map(str, folder.iterdir()))
    (program,) = folder.glob("*_check.c")
    command = re.search(r"^ \*     cc (.*) -o (\w+) && ", program.read_text(), re.MULTILINE)
    assert command
    do([tool("gcc"), *command[1].split(), "-o", tmp_path / "check"], cwd=folder)
    assert "within" in do([tmp_path / "check"])
    do([tool("cmake"), "-S", folder, "-B", tmp_path / "build"])
    do([tool("cmake"), "--build", tmp_path / "build", "--target", "digits_check"])
    assert "verified" in clgen("verify", folder, "--device", "c")


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_spec_can_ask_for_each_backend(backend: str, tmp_path: Path) -> None:
    spec = f'[model]\nname = "tiny"\nbackend = "{backend}"\n[[input]]\nname = "x"\nshape = [3]\n'
    spec += '[[layer]]\nname = "y"\nop = "relu"\n[[output]]\nname = "out"\nfrom = "y"\n'
    (tmp_path / "tiny.toml").write_text(spec)
    clgen("build", tmp_path / "tiny.toml", "-o", tmp_path)
    there = {path.suffix for path in (tmp_path / "tiny").iterdir()}
    assert (".cl" in there) == ("opencl" in backend)
    assert (tmp_path / "tiny" / "tiny_c.c").exists() == (backend == "opencl,c")
