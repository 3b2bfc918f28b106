"""Runtimes that crash, hang or compute wrong numbers, and a cache folder that cannot be written: the commands go on.

The runtime is c/faulty_icd.c, registered before Intel's; by the rule of emit/choice.py it is the best one.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from codegen.runtime import probe
from tests.support.commands import clgen, tiny_spec
from tests.support.generated_c import STRICT, C, Runtime, Tool, do, each_runtime, sources

INTEL = "Intel(R) OpenCL"


@dataclass(frozen=True)
class Faulty:
    """The environment in which the faulty runtime is registered, alone or before Intel's."""

    environment: Mapping[str, str]

    def clgen(self, *arguments: str | Path, cwd: Path, told: str, **more: str) -> subprocess.CompletedProcess[str]:
        return clgen(*arguments, cwd=cwd, **{**self.environment, "FAULTY_ICD": told, **more})


@pytest.fixture
def faulty(tool: Tool, opencl_headers: None, tmp_path: Path) -> Faulty:
    """Alone."""
    library = tmp_path / "libfaulty.so"
    do([tool("gcc"), *STRICT, "-shared", "-fPIC", "-fvisibility=hidden", "-o", library, C / "faulty_icd.c"])
    vendors = tmp_path / "vendors"
    vendors.mkdir(exist_ok=True)
    (vendors / "a_faulty.icd").write_text(f"{library}\n")
    return Faulty({"OCL_ICD_VENDORS": str(vendors), "XDG_CACHE_HOME": str(tmp_path / "caches")})


@pytest.fixture
def runtime(runtime: Runtime, tmp_path: Path) -> Runtime:
    """Registered in the folder "vendors", as only.icd."""
    assert (tmp_path / "vendors/only.icd").exists()
    return runtime


with_intels = pytest.mark.parametrize("runtime", ["intel"], indirect=True)


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """The folder of a spec, built, with inputs for it."""
    folder = tmp_path / "work"
    folder.mkdir()
    tiny_spec(folder)
    assert clgen("build", "tiny.toml", cwd=folder).returncode == 0
    return folder


@with_intels
@pytest.mark.parametrize(
    ("told", "what"),
    [
        ("build", "crashes with SIGABRT: LLVM ERROR: Cannot select"),
        ("numbers", "computes 253 of 320 numbers wrong"),
        ("refuse", "fails: error: unknown target CPU"),
        ("list", "crashes with SIGABRT: faulty: no list"),
        ("load", "crashes with SIGABRT: faulty: not to be loaded"),
    ],
)
def test_the_default_is_another(runtime: Runtime, faulty: Faulty, built: Path, told: str, what: str) -> None:
    done = faulty.clgen("verify", "generated/tiny", cwd=built, told=told)
    assert done.returncode == 0, done.stderr
    assert f", {INTEL} (" in done.stdout and "Faulty" not in done.stdout
    assert what in done.stderr

    doctor = faulty.clgen("doctor", cwd=built, told=told)
    (line,) = (line for line in doctor.stdout.splitlines() if what in line)
    assert line.startswith("warning") and 'eval "$(clgen devices --env)"' in doctor.stdout


@with_intels
@pytest.mark.parametrize("told", ["build", "numbers", "list"])
def test_a_c_program_takes_another_too(
    runtime: Runtime, faulty: Faulty, built: Path, told: str, tool: Tool, tmp_path: Path
) -> None:
    folder = built / "generated/tiny"
    example = tmp_path / "example"
    do([tool("gcc"), *STRICT, "-O1", "-o", example, folder / "example.c", *sources(folder), "-ldl"])
    told_so = {**runtime.environment, **faulty.environment, "FAULTY_ICD": told}
    assert subprocess.run([example], env=told_so, capture_output=True, check=False).returncode != 0
    shell = ["sh", "-c", f'eval "$(clgen devices --env)" && {example}']
    assert "self-test passed on" in do(shell, env=told_so)


@with_intels
def test_the_users_word_is_not_overruled(runtime: Runtime, faulty: Faulty, built: Path) -> None:
    """A faulty runtime that is named is taken, whatever it does."""
    done = faulty.clgen("verify", "generated/tiny", "--device", "faulty", cwd=built, told="build")
    assert done.returncode == -signal.SIGABRT and done.stderr.startswith("LLVM ERROR")
    exports = faulty.clgen("devices", "--env", cwd=built, told="build", CLGEN_DEVICE="portable").stdout
    assert "CLGEN_DEVICE" not in exports


@with_intels
def test_a_verdict_is_kept_until_doctor_looks_again(runtime: Runtime, faulty: Faulty, built: Path) -> None:
    assert "LLVM ERROR" in faulty.clgen("verify", "generated/tiny", cwd=built, told="build").stderr
    assert "LLVM ERROR" in faulty.clgen("verify", "generated/tiny", cwd=built, told="numbers").stderr
    assert "numbers wrong" in faulty.clgen("doctor", cwd=built, told="numbers").stdout
    assert "numbers wrong" in faulty.clgen("verify", "generated/tiny", cwd=built, told="build").stderr
    assert "no list" in faulty.clgen("doctor", cwd=built, told="list").stdout
    assert "no list" in faulty.clgen("verify", "generated/tiny", cwd=built, told="numbers").stderr
    assert "numbers wrong" in faulty.clgen("doctor", cwd=built, told="numbers").stdout


@with_intels
def test_without_a_cache_every_command_looks(runtime: Runtime, faulty: Faulty, built: Path) -> None:
    for told in ("build", "numbers", "list"):
        done = faulty.clgen("verify", "generated/tiny", cwd=built, told=told, XDG_CACHE_HOME="/proc/nowhere")
        assert done.returncode == 0 and f", {INTEL} (" in done.stdout, done.stderr


@pytest.mark.parametrize("told", ["build", "numbers"])
def test_nothing_else_is_there(faulty: Faulty, built: Path, told: str) -> None:
    done = faulty.clgen("verify", "generated/tiny", cwd=built, told=told)
    assert done.returncode == 4 and "clgen doctor" in done.stderr and "Traceback" not in done.stderr
    doctor = faulty.clgen("doctor", cwd=built, told=told)
    assert doctor.returncode == 4 and "problem  device" in doctor.stdout
    assert "CLGEN_DEVICE" not in faulty.clgen("devices", "--env", cwd=built, told=told).stdout


def test_a_compiler_that_hangs(faulty: Faulty, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**faulty.environment, "FAULTY_ICD": "hang"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(probe, "SECONDS", 5)
    verdict = probe.verdict(("Intel(R) Faulty", "OpenCL 1.2 faulty", "faulty", "faulty"), fresh=True)
    assert verdict == "does not come to an end within 5 s"


def test_a_device_that_works(find_device: Callable[[str], object]) -> None:
    for runtime in ("intel", "pocl"):
        assert probe.verdict(find_device(runtime).identity, fresh=True) == ""  # type: ignore[attr-defined]


# ---- a cache folder that cannot be written ---------------------------------------------------------------------------


@each_runtime
@pytest.mark.parametrize("place", ["HOME is a file", "XDG_CACHE_HOME is nowhere", "HOME is unset"])
def test_commands_work_without_a_cache(runtime: Runtime, built: Path, place: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    environment = dict(runtime.environment)
    for name in ("XDG_CACHE_HOME", "POCL_CACHE_DIR", *(["HOME"] if "unset" in place else [])):
        environment.pop(name, None)
    if "unset" not in place:
        name, _, value = place.partition(" is ")
        environment[name] = str(tmp_path / "file") if value == "a file" else "/proc/nowhere"
    np.savez(built / "in.npz", image=np.zeros((1, 3, 6, 7), np.float32))
    commands = [
        ["clgen", "verify", "generated/tiny"],
        ["clgen", "run", "generated/tiny", "--inputs", "in.npz", "--outputs", "out.npz"],
        ["clgen", "devices"],
    ]
    if place == "HOME is a file":  # they measure for a while
        commands += [["clgen", "bench", "generated/tiny"], ["clgen", "tune", "tiny.toml", "--budget", "1"]]
    for command in commands:
        do(command, cwd=built, env=environment)
    exports = do(["clgen", "devices", "--env"], cwd=built, env=environment)
    assert ("POCL_CACHE_DIR" in exports) == (runtime.platform != INTEL and "unset" not in place)


@each_runtime
def test_a_c_program_without_a_cache(runtime: Runtime, built: Path, tool: Tool, tmp_path: Path) -> None:
    folder = built / "generated/tiny"
    example = tmp_path / "example"
    do([tool("gcc"), *STRICT, "-O1", "-o", example, folder / "example.c", *sources(folder), "-ldl"])
    environment = {k: v for k, v in runtime.environment.items() if k not in ("XDG_CACHE_HOME", "POCL_CACHE_DIR")}
    environment |= {"HOME": "/proc/nowhere", "CLGEN_CACHE_DIR": "/proc/nowhere"}
    shell = ["sh", "-c", f'eval "$(clgen devices --env)" && {example}']
    assert "self-test passed on" in do(shell, env=environment)
