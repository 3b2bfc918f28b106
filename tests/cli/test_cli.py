"""The commands as scripts use them: names, options, exit codes, what goes to stdout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from codegen.cli import main
from tests.support.commands import SPEC, clgen, clgen_here, clgen_on_a_terminal, tiny_spec
from tests.support.needs import ROOT
from tests.support.onnx_models import model, node, saved
from tests.support.values import save_npz


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    return tiny_spec(tmp_path)


def test_build_prints_the_folder_and_nothing_else(spec: Path) -> None:
    done = clgen("build", "tiny.toml", cwd=spec.parent)
    assert (done.returncode, done.stdout) == (0, "generated/tiny\n")
    assert "arena" in done.stderr and "without reuse" in done.stderr
    assert "\x1b" not in done.stderr + done.stdout


def shown_on_a_terminal(spec: Path, columns: int = 0) -> str:
    """The progress of ``clgen build``."""
    done = clgen_on_a_terminal("build", spec.name, cwd=spec.parent, columns=columns)
    assert (done.code, done.answer) == (0, "generated/tiny\n")
    return done.shown


def test_progress_is_one_line_on_a_terminal_that_goes(spec: Path) -> None:
    lines = shown_on_a_terminal(spec).split("\r\x1b[K")
    steps = [line.removeprefix("building tiny.toml") for line in lines[1:-1]]
    assert steps == [" ...", *(f": {step} ..." for step in STEPS)]
    assert lines[-1].startswith("1 launches of 1 kernels")


def test_progress_fits_into_a_row_of_the_terminal_and_keeps_the_step(spec: Path) -> None:
    lines = shown_on_a_terminal(spec, columns=24).split("\r\x1b[K")[1:-1]
    assert max(map(len, lines)) == 23
    assert lines[1:3] == ["...ny.toml: reading ...", "...ny.toml: folding ..."]
    assert lines[3] == "...elf-test expects ..."


STEPS = ["reading", "folding", "computing what the self-test expects", "planning and rendering", "writing"]


def test_list_names_exactly_what_build_writes(spec: Path) -> None:
    clgen_here("build", "tiny.toml", "-o", "out", cwd=spec.parent)
    listed = clgen_here("list", "tiny.toml", "-o", "out", cwd=spec.parent).stdout.split()
    assert sorted(listed) == sorted(str(p.relative_to(spec.parent)) for p in (spec.parent / "out" / "tiny").iterdir())
    assert {
        f"out/tiny/{n}" for n in ("tiny.h", "tiny.c", "tiny.cl", "example.c", "CMakeLists.txt", "manifest.json")
    } < set(listed)


def test_same_inputs_same_bytes_wherever_they_are_built(spec: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "deep" / "er"
    clgen_here("build", spec, "-o", elsewhere, cwd=ROOT)
    clgen("build", "tiny.toml", cwd=spec.parent, TZ="Asia/Tokyo", LC_ALL="C", PYTHONHASHSEED="7")
    for path in (spec.parent / "generated" / "tiny").iterdir():
        assert path.read_bytes() == (elsewhere / "tiny" / path.name).read_bytes()


def test_files_that_do_not_change_are_not_touched(spec: Path) -> None:
    clgen_here("build", "tiny.toml", cwd=spec.parent)
    before = {p: p.stat().st_mtime_ns for p in (spec.parent / "generated" / "tiny").iterdir()}
    assert "0 files written" in clgen_here("build", "tiny.toml", cwd=spec.parent).stderr
    assert {p: p.stat().st_mtime_ns for p in (spec.parent / "generated" / "tiny").iterdir()} == before


def test_check_writes_nothing_and_says_what_would_change(spec: Path) -> None:
    done = clgen_here("build", "tiny.toml", "--check", cwd=spec.parent)
    assert done.returncode == 1 and "tiny.cl" in done.stderr and done.stdout == ""
    assert not (spec.parent / "generated").exists()
    clgen_here("build", "tiny.toml", cwd=spec.parent)
    assert clgen_here("build", "tiny.toml", "--check", cwd=spec.parent).returncode == 0
    (spec.parent / "generated" / "tiny" / "tiny.cl").write_text("changed")
    assert clgen_here("build", "tiny.toml", "--check", cwd=spec.parent).returncode == 1
    assert (spec.parent / "generated" / "tiny" / "tiny.cl").read_text() == "changed"


def test_a_failed_build_leaves_everything_as_it_was(spec: Path) -> None:
    clgen_here("build", "tiny.toml", cwd=spec.parent)
    folder = spec.parent / "generated" / "tiny"
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    (folder / "tiny.h").unlink()
    (folder / "tiny.h").mkdir()  # cannot be replaced by a file
    (folder / "tiny.cl").write_text("old")
    done = clgen_here("build", "tiny.toml", cwd=spec.parent)
    assert done.returncode == 2 and "cannot write" in done.stderr
    assert {p.name for p in folder.iterdir()} == set(before), "no temporary files stay"


def test_a_user_s_own_file_in_the_folder_stays(spec: Path) -> None:
    clgen_here("build", "tiny.toml", cwd=spec.parent)
    mine = spec.parent / "generated" / "tiny" / "main.c"
    mine.write_text("int main(void) { return 0; }")
    clgen_here("build", "tiny.toml", "--target", "gpu", cwd=spec.parent)
    assert mine.exists()


def test_explain_says_where_each_batch_norm_went(spec: Path) -> None:
    done = clgen_here("explain", "tiny.toml", "--json", "report.json", cwd=spec.parent)
    assert done.returncode == 0 and "stem/batch_norm" in done.stdout and "max|W'|/max|W|" in done.stdout
    (entry,) = json.loads((spec.parent / "report.json").read_text())
    assert entry["placements"][0]["how"] == "weights" and entry["epsilon"] == 1e-3 and entry["dead"] == 0
    piped = clgen_here("explain", "tiny.toml", "--json", "-", cwd=spec.parent)
    assert json.loads(piped.stdout) == [entry]


@pytest.mark.usefixtures("has_device")
def test_run_takes_and_gives_arrays_by_the_models_names(spec: Path) -> None:
    folder = spec.parent
    clgen_here("build", "tiny.toml", cwd=folder)
    image = np.random.default_rng(0).standard_normal((1, 3, 6, 7)).astype(np.float32)
    np.savez(folder / "in.npz", image=image)
    done = clgen("run", "generated/tiny", "--inputs", "in.npz", "--outputs", "out.npz", cwd=folder)
    assert (done.returncode, done.stdout) == (0, "out.npz\n"), done.stderr
    with np.load(folder / "out.npz") as out:
        assert list(out) == ["features"] and out["features"].shape == (1, 5, 6, 7)
    np.savez(folder / "bad.npz", image=image[:, :2])
    done = clgen_here("run", "generated/tiny", "--inputs", "bad.npz", "--outputs", "out.npz", cwd=folder)
    assert done.returncode == 3 and "[1, 2, 6, 7]" in done.stderr and "[1, 3, 6, 7]" in done.stderr
    np.savez(folder / "bad.npz", picture=image)
    done = clgen_here("run", "generated/tiny", "--inputs", "bad.npz", "--outputs", "out.npz", cwd=folder)
    assert done.returncode == 3 and "picture" in done.stderr and "image" in done.stderr


@pytest.mark.usefixtures("has_device")
def test_verify_a_spec_and_a_folder(spec: Path) -> None:
    folder = spec.parent
    done = clgen("verify", "tiny.toml", "--json", "report.json", cwd=folder)
    assert done.returncode == 0, done.stderr
    report = json.loads((folder / "report.json").read_text())
    assert report["passed"] and report["devices"][0]["launches"][0]["name"] == "stem"
    clgen_here("build", "tiny.toml", cwd=folder)
    assert clgen("verify", "generated/tiny", cwd=folder).returncode == 0
    assert clgen("verify", "generated/tiny", cwd=ROOT).returncode == 2  # relative to another folder: not there


@pytest.mark.usefixtures("has_device")
def test_verify_finds_the_spec_of_a_folder_or_says_so(spec: Path) -> None:
    folder = spec.parent
    clgen_here("build", "tiny.toml", cwd=folder)
    assert clgen_here("verify", folder / "generated" / "tiny", cwd=ROOT).returncode == 0
    moved = folder / "moved" / "spec.toml"
    moved.parent.mkdir()
    spec.rename(moved)
    (folder / "tiny.npz").rename(moved.parent / "tiny.npz")
    done = clgen_here("verify", "generated/tiny", cwd=folder)
    assert done.returncode == 2 and "--spec" in done.stderr
    done = clgen_here("verify", "generated/tiny", "--spec", "moved/spec.toml", cwd=folder)
    assert done.returncode == 0, done.stderr


@pytest.mark.usefixtures("has_device")
def test_verify_of_what_was_built_from_a_model_takes_the_model(tmp_path: Path) -> None:
    saved(model([node("Relu", "x", "y")], {"x": ("N", 3, "H", "W")}, {}), tmp_path)
    shape = ["--shape", "x=1,3,8,8"]
    assert clgen_here("build", "net.onnx", *shape, cwd=tmp_path).returncode == 0
    done = clgen_here("verify", "generated/net", cwd=tmp_path)
    assert done.returncode == 2
    assert "give it with --spec net.toml, or where it was built from a model file, --spec MODEL and the same" in (
        done.stderr
    )
    done = clgen_here("verify", "generated/net", "--spec", "net.onnx", *shape, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = clgen_here("verify", "generated/net", "--spec", "net.onnx", "--shape", "x=1,3,9,8", cwd=tmp_path)
    assert done.returncode == 5
    assert "was generated from another net.onnx, or with another --shape; build again" in done.stderr
    done = clgen_here("verify", "generated/net", "--spec", "net.onnx", cwd=tmp_path)
    assert done.returncode == 2 and "give them with --shape 'x=?,3,?,?'" in done.stderr


@pytest.mark.usefixtures("has_device")
def test_verify_refuses_a_changed_artefact(spec: Path) -> None:
    clgen_here("build", "tiny.toml", cwd=spec.parent)
    kernels = spec.parent / "generated" / "tiny" / "tiny.cl"
    kernels.write_text(kernels.read_text() + "\n")
    done = clgen_here("verify", "generated/tiny", cwd=spec.parent)
    assert done.returncode == 5 and "tiny.cl" in done.stderr


@pytest.mark.usefixtures("has_device")
def test_verify_refuses_an_artefact_of_other_parameters(spec: Path) -> None:
    clgen_here("build", "tiny.toml", cwd=spec.parent)
    with np.load(spec.parent / "tiny.npz") as old:
        arrays = {**old, "stem.bn.bias": old["stem.bn.bias"] + 1}
    save_npz(spec.parent / "tiny.npz", arrays)
    assert clgen_here("verify", "generated/tiny", cwd=spec.parent).returncode == 5


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["build", "absent.toml"], 2, "absent.toml"),
        (["build"], 2, "SPEC"),
        (["frobnicate"], 2, "frobnicate"),
        (["build", "tiny.toml", "--target", "abacus"], 2, "abacus"),
        (["verify", "tiny.toml", "--device", "no such device"], 4, "no such device"),
        (["verify", "absent"], 2, "absent"),
        (["run", "absent", "--inputs", "i.npz", "--outputs", "o.npz"], 2, "absent"),
    ],
)
def test_exit_codes(spec: Path, arguments: list[str], code: int, said: str) -> None:
    done = clgen_here(*arguments, cwd=spec.parent)
    assert done.returncode == code and said in done.stderr
    assert "Traceback" not in done.stderr and done.stdout == ""


def test_bad_parameters_end_with_3_and_name_the_place(spec: Path) -> None:
    with np.load(spec.parent / "tiny.npz") as old:
        arrays = dict(old)
    arrays["stem.bn.running_var"][2] = -1e-3
    save_npz(spec.parent / "tiny.npz", arrays)
    done = clgen_here("build", "tiny.toml", cwd=spec.parent)
    assert done.returncode == 3
    for part in ("tiny.toml", 'layer "stem"', "running_var", "-0.001"):
        assert part in done.stderr
    assert not (spec.parent / "generated").exists()


def test_a_wrong_key_ends_with_2_and_the_right_spelling(spec: Path) -> None:
    spec.write_text(SPEC.replace("padding", "paddign"))
    done = clgen_here("build", "tiny.toml", cwd=spec.parent)
    assert done.returncode == 2 and "paddign" in done.stderr and "padding" in done.stderr


def test_devices_and_doctor_answer(tmp_path: Path) -> None:
    assert clgen("devices", cwd=tmp_path).returncode == 0
    assert clgen("doctor", cwd=tmp_path).returncode in (0, 4)
    exports = clgen("devices", "--env", cwd=tmp_path).stdout
    assert all(line.startswith("export ") for line in exports.splitlines())


def test_devices_as_json(tmp_path: Path) -> None:
    done = clgen("devices", "--json", "-", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    devices = json.loads(done.stdout)["devices"]
    assert sum(device["default"] for device in devices) == any(device["fault"] is None for device in devices)
    assert clgen("devices", "--json", "devices.json", cwd=tmp_path).returncode == 0
    assert json.loads((tmp_path / "devices.json").read_text())["devices"] == devices
    done = clgen("devices", "--env", "--json", "-", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "") and "--env and --json exclude each other" in done.stderr


def test_python_m_codegen_is_clgen(spec: Path) -> None:
    def python(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "codegen", *arguments]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=spec.parent, env=environment)

    assert same(python("build", "--help"), clgen("build", "--help", cwd=spec.parent))
    for arguments in (["--version"], ["build", "absent.toml"], ["frobnicate"]):
        assert same(python(*arguments), clgen_here(*arguments, cwd=spec.parent))
    assert python("build", "tiny.toml").stdout == "generated/tiny\n"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["build", "tiny.toml"], 0),
        (["build", "tiny.toml", "--check"], 1),
        (["build", "tiny.toml", "--target", "abacus"], 2),
        (["build", "negative.toml"], 3),
        (["verify", "tiny.toml", "--device", "no such device"], 4),
    ],
)
def test_a_process_says_and_ends_as_the_function(spec: Path, arguments: list[str], code: int) -> None:
    with np.load(spec.parent / "tiny.npz") as whole:
        save_npz(spec.parent / "negative.npz", {**whole, "stem.bn.running_var": -whole["stem.bn.running_var"]})
    (spec.parent / "negative.toml").write_text(SPEC.replace("tiny.npz", "negative.npz"))
    by_process = clgen(*arguments, cwd=spec.parent)
    shutil.rmtree(spec.parent / "generated", ignore_errors=True)
    assert by_process.returncode == code
    assert same(by_process, clgen_here(*arguments, cwd=spec.parent))


def same(a: subprocess.CompletedProcess[str], b: subprocess.CompletedProcess[str]) -> bool:
    return (a.returncode, a.stdout, a.stderr) == (b.returncode, b.stdout, b.stderr)


COMMANDS = ["bench", "build", "devices", "doctor", "explain", "import", "isa", "list", "run", "tune", "verify"]


def help_of(*command: str) -> str:
    return CliRunner().invoke(main, [*command, "--help"], prog_name="clgen", terminal_width=80).stdout


def test_help_reads_well_on_a_narrow_terminal() -> None:
    summary = help_of()
    listed = summary.partition("Commands:\n")[2].splitlines()
    assert [line.split()[0] for line in listed] == COMMANDS
    assert all(line.endswith(".") and not line.endswith("...") for line in listed), "no summary is cut short"
    for command in COMMANDS:
        page = help_of(command)
        assert page.startswith(f"Usage: clgen {command} ")
        assert max(map(len, (summary + page).splitlines())) <= 80


def test_commands_in_messages_can_be_pasted(spec: Path) -> None:
    folder = spec.parent / "a folder; echo $HOME"
    folder.mkdir()
    tiny_spec(folder)
    done = clgen_here("build", folder / "tiny.toml", "-o", folder / "my out", "--check", cwd=ROOT)
    assert done.returncode == 1
    command = done.stderr.strip().rpartition("; run ")[2]
    pasted = subprocess.run(command, shell=True, capture_output=True, text=True, check=False, cwd=ROOT)
    assert (pasted.returncode, pasted.stdout) == (0, f"{folder}/my out/tiny\n"), pasted.stderr
    assert clgen_here("build", folder / "tiny.toml", "-o", folder / "my out", "--check", cwd=ROOT).returncode == 0


def test_the_command_that_a_check_names_has_the_shapes(tmp_path: Path) -> None:
    saved(model([node("Relu", "x(0)", "y")], {"x(0)": ("N", 3, "H", "W")}, {}), tmp_path)
    done = clgen_here("build", "net.onnx", "--shape", "x(0)=1,3,8,8", "--check", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert done.stderr.endswith("; run clgen build net.onnx -o generated --target cpu --shape 'x(0)=1,3,8,8'\n")


def test_a_missing_file_of_schedules_names_the_command_that_makes_it(spec: Path) -> None:
    folder = spec.parent / "my specs"
    folder.mkdir()
    tiny_spec(folder)
    done = clgen_here("build", "my specs/tiny.toml", "--tuned-for", "epyc", cwd=spec.parent)
    assert done.returncode == 2
    assert (
        "tiny.tune.toml: is missing, which --tuned-for 'epyc' asks for; run clgen tune 'my specs/tiny.toml' first"
        in (done.stderr)
    )


# Shell completion, which click makes; README.md says how it is switched on.

BASH = """
{script}
COMP_WORDS=(clgen {words}) COMP_CWORD={at}
_clgen_completion clgen
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture(scope="module")
def bash_script(tmp_path_factory: pytest.TempPathFactory) -> str:
    return clgen(cwd=tmp_path_factory.mktemp("completion"), _CLGEN_COMPLETE="bash_source").stdout


@pytest.mark.parametrize(
    ("words", "completed"),
    [("bu", ["build"]), ("d", ["devices", "doctor"]), ("build --ta", ["--target"]), ("build --target g", ["gpu"])],
)
def test_bash_completes(words: str, completed: list[str], bash_script: str, tmp_path: Path) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is missing: apt install bash")
    script = BASH.format(script=bash_script, words=words, at=len(words.split()))
    done = subprocess.run([bash, "-c", script], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.stdout.split() == completed, done.stderr


@pytest.mark.parametrize(
    ("shell", "function"), [("zsh", "compdef _clgen_completion clgen"), ("fish", "--command clgen")]
)
def test_completion_scripts_of_other_shells(shell: str, function: str, tmp_path: Path) -> None:
    done = clgen(cwd=tmp_path, _CLGEN_COMPLETE=f"{shell}_source")
    assert done.returncode == 0 and function in done.stdout


def test_a_closed_pipe_is_no_traceback(spec: Path) -> None:
    done = subprocess.run(
        f"clgen explain {spec} | head -c 1", shell=True, capture_output=True, text=True, check=False, cwd=spec.parent
    )
    assert "Traceback" not in done.stderr


def test_import_of_a_spec_says_that_it_is_one(spec: Path) -> None:
    done = clgen_here("import", "tiny.toml", cwd=spec.parent)
    assert done.returncode == 2
    assert done.stderr == (
        'clgen: error: tiny.toml: is a spec already, which clgen build takes; ".onnx", ".keras", ".h5" or ".hdf5" '
        "files "
        "are imported\n"
    )


def test_a_file_of_neither_kind_is_told_from_a_broken_spec(tmp_path: Path) -> None:
    (tmp_path / "net.tflite").write_bytes(b"TFL3")
    done = clgen_here("build", "net.tflite", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("clgen: error: net.tflite: is not valid TOML: ")
    assert done.stderr.endswith(
        '; if it is a model and no spec: ".onnx", ".keras", ".h5" and ".hdf5" files are imported\n'
    )
