"""The plain C backend: the same kernels without OpenCL, by vectors of the compiler and by loops."""

from __future__ import annotations

import hashlib
import json
import math
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from codegen import build
from codegen.cli import main
from codegen.emit.packaging import BACKENDS
from codegen.errors import DeviceError, SpecError
from codegen.frontend.spec.spec import BACKENDS_OF_A_FOLDER
from codegen.runtime import native
from codegen.runtime.artefact import read
from codegen.runtime.host import STRICT
from codegen.runtime.native import VARIANTS, NativeDevice, NativeHost, compile_native, native_devices
from codegen.runtime.verify import verify
from tests.support import artefacts, networks
from tests.support.generated_c import SANITIZERS, WARNINGS, C, Tool, do, sources
from tests.support.needs import ROOT

HERE = ("", "portable", "scalar")  # variants that every machine can run


@pytest.fixture
def generated(plain_c: Callable[[str], Path]) -> Callable[[str], Path]:
    return plain_c


def options(folder: Path, variant: str) -> list[str]:
    return [option.format(NAME=folder.name.upper()) for option in VARIANTS[variant]]


# ---- compiling ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("name", artefacts.NETWORKS)
def test_no_warning(name: str, compiler: str, tool: Tool, generated: Callable[[str], Path], tmp_path: Path) -> None:
    folder = generated(name)
    files = [*sources(folder), folder / "example.c"]
    if compiler == "gcc":  # some of its warnings need the optimizer
        do([tool(compiler), *STRICT, "-O2", "-c", *files], cwd=tmp_path)
    for variant in HERE:
        do([tool(compiler), *STRICT, *options(folder, variant), "-fsyntax-only", *files])
    for standard, feature in (("c11", "TRACE"), ("c17", "THREADS")):
        do([tool(compiler), f"-std={standard}", *WARNINGS, "-fsyntax-only", f"-D{name.upper()}_{feature}", *files])


@pytest.mark.parametrize("name", artefacts.NETWORKS)
def test_nothing_but_the_c_library_is_needed(
    name: str, tool: Tool, generated: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = generated(name)
    of_compilers = {"arm_neon.h", "immintrin.h"}
    includes = set(re.findall(r"#include <(.*?)>", (folder / f"{name}.c").read_text())) - of_compilers
    assert includes - {"process.h", "intrin.h", "pthread.h", "sched.h"} <= {
        "float.h",
        "limits.h",
        "math.h",
        "stdbool.h",
        "stddef.h",
        "stdint.h",
        "stdlib.h",
        "string.h",
    }
    assert "opencl" not in (folder / f"{name}.c").read_text().lower()
    do([tool("gcc"), "-std=c99", "-O1", "-c", folder / f"{name}.c"], cwd=tmp_path)
    undefined = set(re.findall(r" U (\w+)", do([tool("nm"), tmp_path / f"{name}.o"])))
    weights = {f"{name}_weights_take", f"{name}_weights_give_back"}
    assert {u for u in undefined - weights if not u.startswith("_")} <= {"malloc", "free", "memset", "memcpy"} | {
        f"{function}f"
        for function in (
            *("acos", "acosh", "asin", "asinh", "atan", "atanh", "ceil", "cos", "cosh", "erf", "exp", "expm1", "floor"),
            *("fmax", "fmin", "fmod", "log", "log1p", "pow", "rint", "sin", "sinh", "sqrt", "tan", "tanh", "trunc"),
        )
    }


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        *((name, "") for name in artefacts.NETWORKS if name != "types"),
        *((name, "scalar") for name in ("tiles", "winograd", "stages")),
    ],
)
def test_the_calls_are_clean_under_sanitizers(
    name: str, variant: str, tool: Tool, generated: Callable[[str], Path], tmp_path: Path
) -> None:
    """The program's arrays are aligned for floats, and "types" has inputs of 64 bits."""
    folder = generated(name)
    includes: list[str | Path] = ["-I", C, "-I", folder, "-I", folder / "test"]
    program = tmp_path / "plain_c"
    flags = [*STRICT, *SANITIZERS, *options(folder, variant)]
    do([tool("gcc"), *flags, *includes, "-o", program, C / "plain_c.c", *sources(folder), "-lm"])
    assert do([program]) == "ok\n"


@pytest.mark.parametrize("sanitizer", ["thread", "address,undefined"])
@pytest.mark.parametrize("name", ["tables", "weighty", "winograd", "tiles", "moves"])
def test_threads_compute_the_same(
    name: str, sanitizer: str, tool: Tool, generated: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = generated(name)
    includes: list[str | Path] = ["-I", C, "-I", folder, "-I", folder / "test"]
    flags = [*STRICT, "-g", "-O1", f"-fsanitize={sanitizer}", "-march=native", f"-D{name.upper()}_THREADS"]
    program = tmp_path / "threads"
    do([tool("gcc"), *flags, *includes, "-o", program, C / "threads.c", *sources(folder), "-lm", "-lpthread"])
    assert do([program]) == "ok\n"


PROCESSORS = {
    "aarch64": ("aarch64-linux-gnu-gcc", ["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu"], "vectors"),
    "riscv64": ("riscv64-linux-gnu-gcc", ["qemu-riscv64", "-L", "/usr/riscv64-linux-gnu"], "vectors"),
    "s390x": ("s390x-linux-gnu-gcc", ["qemu-s390x", "-L", "/usr/s390x-linux-gnu"], "without vectors"),
    "x87": ("gcc", [], "without vectors"),
    "musl": ("musl-gcc", [], "vectors"),
}
"""The compiler, the emulator, and what the device's name says, for each."""

SPECIAL = {"x87": ["-m32"], "musl": ["-static"]}


@pytest.mark.device
@pytest.mark.parametrize("name", ["weighty", "winograd", "types", "stages"])
@pytest.mark.parametrize("processor", PROCESSORS)
def test_other_processors_and_libraries(
    name: str, processor: str, generated: Callable[[str], Path], tmp_path: Path
) -> None:
    compiler, emulator, said = PROCESSORS[processor]
    for program in (compiler, *emulator[:1]):
        if not shutil.which(program):
            pytest.skip(f"{program} is not here; on Debian: apt install qemu-user, gcc-aarch64-linux-gnu and the like")
    probe = subprocess.run(
        [compiler, *SPECIAL.get(processor, []), "-x", "c", "-", "-o", tmp_path / "probe"],
        input="#include <stdio.h>\nint main(void) { return puts(\"\") < 0; }\n",
        text=True, capture_output=True, check=False,
    )  # fmt: skip
    if probe.returncode:
        pytest.skip(f"{compiler} has no C library for {processor} here; on Debian: apt install gcc-multilib")
    folder = generated(name)
    options = [*STRICT, "-O2", "-ffp-contract=fast", *SPECIAL.get(processor, [])]
    for where in ([], [f"-D{name.upper()}_WEIGHTS_AT_RUNTIME"]):
        do([compiler, *options, *where, "-o", tmp_path / name, folder / "example.c", *sources(folder), "-lm"])
        assert f"self-test passed on C, {said}" in do([*emulator, tmp_path / name])


@pytest.mark.parametrize("threads", [False, True])
@pytest.mark.parametrize("name", ["tables", "winograd", "tiles"])
def test_a_callback_times_every_layer_once(
    name: str, threads: bool, tool: Tool, generated: Callable[[str], Path], tmp_path: Path
) -> None:
    """Also with threads and with a pool, of which the first one then computes everything."""
    folder = generated(name)
    includes: list[str | Path] = ["-I", C, "-I", folder, "-I", folder / "test"]
    flags = [*STRICT, *SANITIZERS, f"-D{name.upper()}_TRACE"]
    flags += [f"-D{name.upper()}_THREADS", "-DCALLS_OF_A_POOL"] if threads else []
    program = tmp_path / "layer_times"
    do([tool("gcc"), *flags, *includes, "-o", program, C / "layer_times.c", *sources(folder), "-lm", "-lpthread"])
    launches = json.loads((folder / "manifest.json").read_text())["launches"]
    table = re.findall(r"^ *(\d+) +[0-9.]+ s  (.*)$", do([program]), re.MULTILINE)
    once = [(str(k), f"{launch['node']}: {launch['title']}") for k, launch in enumerate(launches)]
    assert table == once * (3 if threads else 2)


def test_cmake_builds_and_runs_the_example(tool: Tool, generated: Callable[[str], Path], tmp_path: Path) -> None:
    folder = generated("weighty")
    do([tool("cmake"), "-S", folder, "-B", tmp_path, "-DWEIGHTY_ARCH=native", "-DWEIGHTY_THREADS=ON"])
    do([tool("cmake"), "--build", tmp_path])
    do([tool("ctest"), "--test-dir", tmp_path])


# ---- numbers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("compiler", "variant"), [("gcc", ""), ("clang", ""), ("gcc", "scalar"), ("clang", "portable")]
)
@pytest.mark.parametrize("name", artefacts.NETWORKS)
def test_every_launch_is_within_its_bound(name: str, compiler: str, variant: str, tool: Tool, tmp_path: Path) -> None:
    built = artefacts.build(name, backend="c")
    artefact = built.read(tmp_path)
    device = NativeDevice(variant, tool(compiler))
    report = verify(artefact, built.unfolded, built.launches, [device], [networks.normal_sample(artefact)])
    wrong = [check.name for check in report.devices[0].launches if not check.passed]
    assert report.passed, wrong


FUNCTIONS = ("exp", "tanh", "erf", "sigmoid", "elu", "gelu", "silu")

MATHS = """
[model]
name = "maths"
backend = "c"
[[input]]
name = "x"
shape = [8, 64, 64]
"""
MATHS += "".join(
    f'[[layer]]\nname = "{f}"\nop = "{f}"\ninput = "x"\n[[output]]\nname = "y_{f}"\nfrom = "{f}"\n' for f in FUNCTIONS
)


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_functions_are_as_precise_as_opencl_demands(compiler: str, tool: Tool, tmp_path: Path) -> None:
    """The limits are those of OpenCL C for exp, tanh and erf; the reference is float64."""
    (tmp_path / "maths.toml").write_text(MATHS)
    artefact = read(build.build(build.lower(tmp_path / "maths.toml"), tmp_path, "cpu")[0])
    device = NativeDevice("", tool(compiler))
    library = compile_native(artefact, device, tmp_path / "libmaths.so")
    near = np.concatenate([np.linspace(-12, 12, 16384), np.geomspace(1e-30, 1, 8191), [0.0]])
    far = np.concatenate([np.linspace(-110, 95, 8184), [np.inf, -np.inf, np.nan, -0.0, 1e-45, -1e-45, 88.7, -87.4]])
    x = np.concatenate([near, far]).astype(np.float32).reshape(1, 8, 64, 64)
    with NativeHost(artefact, library, device) as host:
        got = host.run({"x": x})
    true = x.astype(np.float64)
    with np.errstate(all="ignore"):
        exact = {"exp": np.exp(true), "tanh": np.tanh(true), "erf": np.vectorize(math.erf)(true)}
    for name, ulps in (("exp", 3), ("tanh", 5), ("erf", 16)):
        y = got[f"y_{name}"]
        with np.errstate(all="ignore"):
            right = exact[name].astype(np.float32)
            error = np.abs(y.astype(np.float64) - exact[name]) / np.spacing(np.maximum(np.abs(right), 2.0**-126))
        same = (y == right) | (np.isnan(y) & np.isnan(right))
        worst = np.argmax(np.where(same, 0, error))
        assert same.reshape(-1)[worst] or error.reshape(-1)[worst] <= ulps, (name, x.reshape(-1)[worst])
    assert np.signbit(got["y_tanh"])[x == 0].tolist() == np.signbit(x)[x == 0].tolist()


def test_halves_are_rounded_like_numpys(tool: Tool, tmp_path: Path) -> None:
    spec = '[model]\nname = "halves"\nbackend = "c"\n[[input]]\nname = "x"\nshape = [65536]\n'
    spec += '[[layer]]\nname = "r"\nop = "neg"\n[[output]]\nname = "y"\nfrom = "r"\ntype = "float16"\n'
    (tmp_path / "halves.toml").write_text(spec)
    artefact = read(build.build(build.lower(tmp_path / "halves.toml"), tmp_path, "cpu")[0])
    device = NativeDevice("", tool("gcc"))
    library = compile_native(artefact, device, tmp_path / "libhalves.so")
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 65536, dtype=np.uint64).astype(np.uint32)
    halves = np.arange(0, 65536, dtype=np.uint16).view(np.float16).astype(np.float32)
    up, down = np.nextafter(halves, np.float32(np.inf)), np.nextafter(halves, np.float32(-np.inf))
    middles = ((halves + np.roll(halves, 1)) / 2).astype(np.float32)
    with NativeHost(artefact, library, device) as host:
        for x in (bits.view(np.float32), halves, up, down, middles):
            with np.errstate(all="ignore"):
                expected = (-x).astype(np.float16)
            got = host.run({"x": x.reshape(1, -1)})["y"].reshape(-1)
            assert np.array_equal(got, expected, equal_nan=True)


# ---- commands -------------------------------------------------------------------------------------------------------


def clgen(*arguments: str | Path) -> str:
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_specs_know_the_same_backends_as_the_emitter() -> None:
    assert BACKENDS == BACKENDS_OF_A_FOLDER


def test_build_verify_and_run(tmp_path: Path) -> None:
    spec = ROOT / "specs" / "digits.toml"
    clgen("build", spec, "--backend", "c", "-o", tmp_path)
    folder = tmp_path / "digits"
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ["CMakeLists.txt", "README.md", "digits.c", "digits.h", "example.c", "manifest.json"]
    )
    paths = clgen("list", spec, "--backend", "c", "-o", tmp_path).split()
    assert sorted(paths) == sorted(map(str, folder.iterdir()))
    clgen("build", spec, "--backend", "c", "-o", tmp_path, "--check")
    assert "verified" in clgen("verify", folder, "--device", "c")
    assert "verified" in clgen("verify", spec, "--device", "c:scalar")
    x = np.random.default_rng(0).standard_normal((1, 1, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "in.npz", image=x)
    clgen("run", folder, "--inputs", tmp_path / "in.npz", "--outputs", tmp_path / "out.npz")
    assert np.load(tmp_path / "out.npz")["probabilities"].sum() == pytest.approx(1)


def test_a_spec_can_ask_for_plain_c(tmp_path: Path) -> None:
    spec = '[model]\nname = "tiny"\nbackend = "c"\n[[input]]\nname = "x"\nshape = [3]\n'
    spec += '[[layer]]\nname = "y"\nop = "relu"\n[[output]]\nname = "out"\nfrom = "y"\n'
    (tmp_path / "tiny.toml").write_text(spec)
    clgen("build", tmp_path / "tiny.toml", "-o", tmp_path)
    assert json.loads((tmp_path / "tiny" / "manifest.json").read_text())["backend"] == "c"
    clgen("build", tmp_path / "tiny.toml", "-o", tmp_path / "cl", "--backend", "opencl")
    assert (tmp_path / "cl" / "tiny" / "tiny.cl").exists()
    (tmp_path / "tiny.toml").write_text(spec.replace('"c"', '"cuda"'))
    with pytest.raises(SpecError, match="backend"):
        build.lower(tmp_path / "tiny.toml")


def test_a_folder_without_opencl_runs_on_no_device_of_opencl(tmp_path: Path) -> None:
    spec = ROOT / "specs" / "digits.toml"
    clgen("build", spec, "--backend", "c", "-o", tmp_path)
    result = CliRunner().invoke(main, ["verify", str(tmp_path / "digits"), "--device", "CPU"])
    assert result.exit_code == 2 and "was generated for backend c; build it with --backend opencl" in result.output


def test_an_unknown_variant_is_named() -> None:
    with pytest.raises(DeviceError, match="'c:avx3' is no device of plain C; take one of c, c:portable"):
        native_devices(["c:avx3"])


def test_vectors_that_the_processor_lacks_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its program would end clgen with an illegal instruction."""
    monkeypatch.setattr(native, "instruction_sets", lambda: {"avx2", "fma"})
    assert [device.variant for device in native_devices(["c:avx2", "c"])] == ["avx2", ""]
    with pytest.raises(DeviceError, match="c:avx512: this processor has no avx512f; take c"):
        native_devices(["c:avx512"])
    monkeypatch.setattr(native, "instruction_sets", lambda: {"sse2"})
    with pytest.raises(DeviceError, match="c:avx2: this processor has no avx2"):
        native_devices(["c:avx2"])
    assert len(native_devices(["c:portable", "c:scalar"])) == 2
    monkeypatch.setattr(native, "instruction_sets", set)  # not known: the compiler and the processor decide
    assert native_devices(["c:avx512"])


def test_a_wrong_layer_is_named(tmp_path: Path) -> None:
    """A change of one weight in the C file is found at its layer."""
    built = artefacts.build("tables", backend="c")
    folder = built.write(tmp_path)
    path = folder / "tables.c"
    text = path.read_text()
    at = text.index("\nTABLE(")
    literal = re.compile(r"-?0x1\.[0-9a-f]+p-[0-9]f").search(text, at)
    assert literal
    changed = text[: literal.start()] + "0x1.8p+3f" + text[literal.end() :]
    path.write_text(changed)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["tables.c"] = hashlib.sha256(changed.encode()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    artefact = read(folder)
    sample = networks.normal_sample(artefact)
    report = verify(artefact, built.unfolded, built.launches, native_devices(["c"]), [sample])
    assert [check.name for check in report.devices[0].launches if not check.passed]
    assert not report.passed


def test_the_example_counts_what_it_gets_right(tool: Tool, tmp_path: Path) -> None:
    clgen("build", ROOT / "specs" / "digits.toml", "--backend", "c", "-o", tmp_path)
    folder = tmp_path / "digits"
    do([tool("gcc"), "-O2", "example.c", "digits.c", "-lm", "-o", tmp_path / "example"], cwd=folder)
    done = subprocess.run([tmp_path / "example"], capture_output=True, text=True, check=True)
    assert "(360 of 360)" in done.stdout and "self-test passed on C" in done.stderr
