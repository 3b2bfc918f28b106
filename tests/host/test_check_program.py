"""<name>_check.c: a program that compares every layer with reference values on the target itself."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given

from codegen import build
from codegen.cli import main
from codegen.emit.artefact import Provenance, render_artefact
from codegen.emit.layer_samples import ELEMENTS, LayerSamples, layer_samples
from codegen.emit.output import write
from codegen.emit.packaging import Packaging
from codegen.emit.selftest import self_test
from codegen.frontend.spec.naming import model_fault
from tests.support import artefacts
from tests.support.artefacts import PICTURES, rewrite
from tests.support.examples import few
from tests.support.generated_c import SANITIZERS, Tool, do, sources
from tests.support.needs import ROOT
from tests.support.networks import weights_in
from tests.support.random_specs import RandomSpec, specs
from tests.support.values import save_npz

STRICT = ("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror")


def with_check(name: str, parent: Path) -> tuple[Path, LayerSamples]:
    """An artefact of plain C with the program, and what the program compares."""
    built = artefacts.build(name, backend="c")
    selftest = self_test(built.unfolded, built.launches)
    shown = artefacts.pictures(built.unfolded, PICTURES[name]) if name in PICTURES else None
    samples = layer_samples(built.unfolded, built.plan, selftest, None if shown is None else shown.images)
    made_from = Provenance(f"{name}.toml", "0" * 64, "0" * 64)
    folder = parent / name
    write(folder, render_artefact(built.plan, made_from, selftest, shown, Packaging("c"), samples))
    return folder, samples


def compiled(folder: Path, *options: str, compiler: str = "gcc") -> Path:
    name = folder.name
    program = folder.parent / f"{name}_check"
    given = options or ("-O1", "-march=native")
    command: list[str | Path] = [
        compiler,
        "-std=c99",
        *STRICT,
        *given,
        "-ffp-contract=fast",
        f"-D{name.upper()}_TRACE",
        "-o",
        program,
    ]
    do([*command, folder / f"{name}_check.c", *sources(folder), "-lm"])
    return program


def run(program: Path) -> tuple[int, str]:
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


@pytest.mark.parametrize("name", artefacts.NETWORKS)
def test_all_layers_are_within_their_bounds(name: str, tool: Tool, tmp_path: Path) -> None:
    """Also layers whose outputs are views, in blocks, channels last, or of other types than float."""
    folder, samples = with_check(name, tmp_path)
    count = sum(bool(elements) for elements in samples.launches)
    nodes = {launch["node"] for launch in json.loads((folder / "manifest.json").read_text())["launches"]}
    assert count == len(nodes)
    said = (0, f"all {count} layers within their bounds\n")
    assert run(compiled(folder, compiler=tool("gcc"))) == said
    assert run(compiled(folder, "-O1", f"-D{name.upper()}_SCALAR", compiler=tool("clang"))) == said


@pytest.mark.parametrize("name", ["tables", "types", "winograd"])
def test_the_program_is_clean_under_sanitizers(name: str, tool: Tool, tmp_path: Path) -> None:
    folder, _ = with_check(name, tmp_path)
    program = compiled(folder, *(option for option in SANITIZERS if name != "types" or "alignment" not in option))
    if name != "types":
        assert run(program)[0] == 0


def digits(tmp_path: Path) -> Path:
    built = CliRunner().invoke(
        main, ["build", str(ROOT / "specs" / "digits.toml"), "--backend", "c", "--with-check", "-o", str(tmp_path)]
    )
    assert built.exit_code == 0, built.output
    return tmp_path / "digits"


def layer_said(said: str) -> str:
    found = re.fullmatch(
        r"layer (\S+) \(.*\) is wrong: element (\[\d+\])+ is \S+, not \S+ with a tolerance of \S+\n", said
    )
    assert found, said
    return found[1]


@pytest.mark.parametrize("layer", ["stem", "mix1.b3.conv", "mix2.project", "classifier"])
def test_a_damaged_weight_is_named(layer: str, tool: Tool, tmp_path: Path) -> None:
    """The layer whose weight it is, not one of those after it."""
    folder = digits(tmp_path)
    path = folder / "digits.c"
    text = path.read_text()
    table = re.search(rf"\nTABLE\(digits_{layer.replace('.', '_')}\w*_weight, .*?\}};", text, re.DOTALL)
    assert table
    literal = re.compile(r"-?0x1\.[0-9a-f]+p-[0-9]f").search(text, (table.start() + table.end()) // 2, table.end())
    assert literal
    path.write_text(f"{text[: literal.start()]}0x1.8p+3f{text[literal.end() :]}")
    code, said = run(compiled(folder, compiler=tool("gcc")))
    assert code == 1 and layer_said(said) == layer


@pytest.mark.parametrize(
    ("function", "statement", "wrong", "layer"),
    [
        ("run_network", "GRID_BY_ROWS(8, 1)", "GRID_BY_ROWS(7, 1)", "stem"),  # the last row is left out
        ("digits_softmax_1x10", "- largest) / sum", "- largest)", "softmax"),
        ("digits_max_pool3x3_s1_8", "GREATER(block, ", "LESSER(block, ", "mix1.pool"),
    ],
)
def test_a_damaged_statement_is_named(
    function: str, statement: str, wrong: str, layer: str, tool: Tool, tmp_path: Path
) -> None:
    folder = digits(tmp_path)
    path = folder / "digits.c"
    text = path.read_text()
    start = text.index(f"\nstatic void {function}(" if function == "run_network" else f"\nvoid {function}")
    assert statement in text[start:]
    path.write_text(text[:start] + text[start:].replace(statement, wrong, 1))
    code, said = run(compiled(folder, compiler=tool("gcc")))
    assert code == 1 and layer_said(said) == layer


def test_commands_know_the_program(tmp_path: Path) -> None:
    folder, spec = digits(tmp_path), str(ROOT / "specs" / "digits.toml")
    runner = CliRunner()
    listed = runner.invoke(main, ["list", spec, "--backend", "c", "--with-check", "-o", str(tmp_path)])
    assert sorted(listed.output.split()) == sorted(map(str, folder.iterdir()))
    assert "digits_check.c" in json.loads((folder / "manifest.json").read_text())["files"]
    assert "digits_check.c" in (folder / "README.md").read_text()
    again = ["build", spec, "--backend", "c", "-o", str(tmp_path), "--check"]
    assert runner.invoke(main, [*again, "--with-check"]).exit_code == 0
    without = runner.invoke(main, again)
    assert without.exit_code == 1 and "digits_check.c" in without.output
    assert runner.invoke(main, ["verify", str(folder), "--device", "c"]).exit_code == 0
    rewrite(folder / "digits_check.c", (folder / "digits_check.c").read_bytes().replace(b"0x1p-13f", b"0x1p-3f", 1))
    edited = runner.invoke(main, ["verify", str(folder), "--device", "c"])
    assert edited.exit_code == 5 and "digits_check.c" in edited.output
    assert runner.invoke(main, again[:-1]).exit_code == 0
    assert not (folder / "digits_check.c").exists()


def test_cmake_builds_the_program_when_asked(tool: Tool, tmp_path: Path) -> None:
    folder, _ = with_check("weighty", tmp_path)
    build_folder = tmp_path / "build"
    do([tool("cmake"), "-S", folder, "-B", build_folder, "-DWEIGHTY_ARCH=native", "-DWEIGHTY_THREADS=ON"])
    do([tool("cmake"), "--build", build_folder])
    assert not (build_folder / "weighty_check").exists()
    do([tool("cmake"), "--build", build_folder, "--target", "weighty_check"])
    assert run(build_folder / "weighty_check")[0] == 0


@pytest.mark.parametrize("command", ["build", "list"])
def test_opencl_has_no_such_program(command: str, tmp_path: Path) -> None:
    spec = str(ROOT / "specs" / "digits.toml")
    done = CliRunner().invoke(main, [command, spec, "--with-check", "-o", str(tmp_path)])
    assert done.exit_code == 2 and "this is backend opencl; add --backend c" in done.output
    assert not list(tmp_path.iterdir())


def test_no_model_may_be_called_what_the_program_uses(tmp_path: Path) -> None:
    found: set[str] = set()
    for name in ("tables", "types"):
        text = (with_check(name, tmp_path)[0] / f"{name}_check.c").read_text()
        text = re.sub(r"/\*.*?\*/|\"(\\.|[^\"\\])*\"|0x[0-9a-fA-Fp.+-]+f?", " ", text, flags=re.DOTALL)
        found |= {word for word in re.findall(r"[A-Za-z_]\w*", text) if name not in word.lower()}
    own = re.compile(r"(sample|result)_\w+")
    assert sorted(word for word in found if model_fault(word) is None and not own.match(word)) == []


EXAMPLE = """
[model]
name = "shown"
weights = "w.npz"
batch = 2
backend = "c"
[[input]]
name = "x"
shape = [3, 4, 2]
layout = "NHWC"
type = "uint8"
[[layer]]
name = "c"
op = "conv"
[[output]]
name = "y"
from = "c"
[example]
data = "e.npz"
"""


def test_a_real_sample_is_used(tool: Tool, tmp_path: Path) -> None:
    """A convolution with weights 1 and 2 of two channels: y = a + 2 b, of samples 0, 1 in the application's layout."""
    images = np.arange(72, dtype=np.uint8).reshape(3, 3, 4, 2)
    save_npz(tmp_path / "w.npz", {"c.weight": np.array([[[[1]], [[2]]]], np.float32)})
    save_npz(tmp_path / "e.npz", {"image": images, "label": np.zeros(3, np.int64)})
    (tmp_path / "shown.toml").write_text(EXAMPLE)
    folder, _ = build.build(build.lower(tmp_path / "shown.toml", with_check=True), tmp_path, "cpu")
    text = (folder / "shown_check.c").read_text()
    rows = re.search(r"static const uint8_t sample_x\[48\] = \{(.*?)\};", text, re.DOTALL)
    assert rows and [int(v) for v in rows[1].split(",")[:-1]] == [*range(48)]
    assert run(compiled(folder, compiler=tool("gcc")))[0] == 0
    elements = text[text.rindex("static const struct element elements") :]
    found = {
        int(i): float.fromhex(v)
        for i, v in re.findall(r"\{(\d+), (\S+?)f, \S+\}", elements[elements.index("c (line") :])
    }
    flat = images[:2].reshape(-1, 2).astype(float)
    assert len(found) >= 15 and all(value == flat[i, 0] + 2 * flat[i, 1] for i, value in found.items())


def test_elements_are_few_and_of_many_channels(tmp_path: Path) -> None:
    _, samples = with_check("convolutions", tmp_path)
    assert all(len(elements) <= ELEMENTS for elements in samples.launches)


def test_a_jump_beside_an_element_is_allowed_for(tool: Tool, tmp_path: Path) -> None:
    """floor(x / 3) of multiples of 3, as x times the float nearest to 1/3: slightly less floors to one less."""
    spec = EXAMPLE.replace('type = "uint8"\n', "").replace('op = "conv"\n', 'op = "conv"\nactivation = "floor"\n')
    images = 3 * np.arange(72, dtype=np.float32).reshape(3, 3, 4, 2)
    save_npz(tmp_path / "w.npz", {"c.weight": np.array([[[[1 / 3]], [[0]]]], np.float32)})
    save_npz(tmp_path / "e.npz", {"image": images, "label": np.zeros(3, np.int64)})
    (tmp_path / "shown.toml").write_text(spec)
    folder, _ = build.build(build.lower(tmp_path / "shown.toml", with_check=True), tmp_path, "cpu")
    text = (folder / "shown_check.c").read_text()
    tolerances = re.findall(r"\{\d+, \S+, 0x1p([+-]\d+)f\}", text)
    assert tolerances and all(int(exponent) >= 0 for exponent in tolerances[1:])
    assert run(compiled(folder, compiler=tool("gcc")))[0] == 0


@few(8)
@given(specs())
def test_random_networks_raise_no_false_alarm(tool: Tool, spec: RandomSpec) -> None:
    with tempfile.TemporaryDirectory() as name, weights_in("blob") if spec.blob else nullcontext():
        network = build.lower(spec.write(Path(name)), backend="c", with_check=True)
        folder, _ = build.build(network, Path(name), "cpu")
        code, said = run(compiled(folder, compiler=tool("gcc")))
        assert code == 0, said


PROCESSORS = {
    "aarch64": (["aarch64-linux-gnu-gcc"], ["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu"]),
    "riscv64": (["riscv64-linux-gnu-gcc"], ["qemu-riscv64", "-L", "/usr/riscv64-linux-gnu"]),
    "s390x": (["s390x-linux-gnu-gcc"], ["qemu-s390x", "-L", "/usr/s390x-linux-gnu"]),
    "x87": (["gcc", "-m32"], []),
}


@pytest.mark.device
@pytest.mark.parametrize("name", ["weighty", "winograd", "types", "stages", "rows"])
@pytest.mark.parametrize("processor", PROCESSORS)
def test_other_processors(name: str, processor: str, tmp_path: Path) -> None:
    command, emulator = PROCESSORS[processor]
    for needed in (command[0], *emulator[:1]):
        if not shutil.which(needed):
            pytest.skip(f"{needed} is not here; on Debian: apt install qemu-user, gcc-aarch64-linux-gnu and the like")
    folder, _ = with_check(name, tmp_path)
    probe = tmp_path / "probe.c"
    probe.write_text("#include <stdio.h>\nint main(void) { return 0; }\n")
    if subprocess.run([*command, probe, "-o", tmp_path / "probe"], capture_output=True, check=False).returncode:
        pytest.skip(f"{command[0]} has no C library for {processor} here; on Debian: apt install gcc-multilib")
    program = tmp_path / "check"
    options = ["-std=c99", "-O2", "-ffp-contract=fast", f"-D{name.upper()}_TRACE"]
    do([*command, *options, "-o", program, folder / f"{name}_check.c", *sources(folder), "-lm"])
    assert "within their bounds" in do([*emulator, program])
