"""Schedules that were measured: the file that says them, what reads it, and the measuring itself."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tomli

from codegen import build, opening
from codegen.errors import Mismatch, SpecError
from codegen.frontend.spec.tuning import TunedDevice, tuning_file, with_device
from codegen.plan.schedules.choose import alternatives
from codegen.plan.target import TARGETS
from codegen.runtime import tune as tuning
from codegen.runtime.devices import DeviceInfo, choose, list_devices
from codegen.runtime.tune import Alike, fastest, tune
from tests.support.commands import clgen, clgen_here, clgen_on_a_terminal, only
from tests.support.networks import Net, lower
from tests.support.onnx_models import model, node, saved
from tests.support.values import save_npz

SPEC = """
[model]
name = "tiny"
weights = "tiny.npz"

[[input]]
name = "image"
shape = [3, 16, 16]

[[layer]]
name = "stem"
op = "conv"
activation = "relu"

[[layer]]
name = "body.0"
op = "conv"
padding = 1
activation = "relu"

[[layer]]
name = "body.1"
op = "conv"
padding = 1
activation = "relu"

[[layer]]
name = "head"
op = "conv"

[[output]]
name = "y"
from = "head"
"""

FILE = """
[[device]]
name = "First"
driver = "1"
target = "cpu"
[device.layers]
"body.0" = "direct"
"body.1" = "winograd4"

[[device]]
name = "Second"
driver = "2"
target = "cpu"
[device.layers]
"body.1" = "winograd2"

[[device]]
name = "Third"
driver = "3"
target = "gpu"
[device.layers]
"""

SCHEDULES = ["direct", "gathered", "winograd2", "winograd2_groups", "winograd4", "winograd4_groups"]


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    """A spec with two equal 3x3 convolutions between 1x1 ones, and its parameters."""
    rng = np.random.default_rng(1)
    shapes = {"stem": (16, 3, 1, 1), "body.0": (16, 16, 3, 3), "body.1": (16, 16, 3, 3), "head": (4, 16, 1, 1)}
    arrays = {f"{layer}.weight": 0.2 * rng.standard_normal(shape) for layer, shape in shapes.items()}
    save_npz(tmp_path / "tiny.npz", {k: v.astype(np.float32) for k, v in arrays.items()})
    path = tmp_path / "tiny.toml"
    path.write_text(SPEC)
    return path


def tuned(spec: Path, text: str = FILE) -> Path:
    path = spec.with_name("tiny.tune.toml")
    path.write_text(text)
    return path


def one(layers: Mapping[str, str], target: str = "cpu") -> str:
    chosen = "".join(f'"{layer}" = "{schedule}"\n' for layer, schedule in layers.items())
    return f'[[device]]\nname = "D"\ndriver = "1"\ntarget = "{target}"\n[device.layers]\n{chosen}'


def rendered(spec: Path, target: str = "cpu", tuned_for: str = "") -> dict[str, bytes]:
    return build.rendered(build.lower(spec, tuned_for=tuned_for), target)


def manifest(files: Mapping[str, bytes]) -> Any:
    return json.loads(files["manifest.json"])


def computes(files: Mapping[str, bytes], layer: str) -> tuple[list[str], int]:
    """The templates of a layer's kernels, and the size of its Winograd tiles."""
    said = manifest(files)
    templates = {kernel["name"]: kernel["template"] for kernel in said["kernels"]}
    launches = [launch for launch in said["launches"] if launch["node"] == layer]
    return [templates[launch["kernel"]] for launch in launches], launches[-1].get("winograd", 0)


# ---- what a file changes ----


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_schedule_in_the_file_is_the_one_that_is_built(spec: Path, schedule: str) -> None:
    other = next(s for s in SCHEDULES if s != schedule)
    tuned(spec, one({"body.0": schedule, "body.1": other}))
    kernels, tile = computes(rendered(spec), "body.0")
    size = int(schedule[8]) if schedule.startswith("winograd") else 0
    three = ["winograd_input.cl.jinja", "pointwise.cl.jinja", "winograd_output.cl.jinja"]
    expected = {
        "direct": ["direct.cl.jinja"],
        "gathered": ["pointwise.cl.jinja"],
        f"winograd{size}_groups": ["winograd.cl.jinja"],
    }
    assert (kernels, tile) == (expected.get(schedule, three), size)
    assert computes(rendered(spec), "body.1") != (kernels, tile)


def test_layers_that_the_file_does_not_name_are_as_without_it(spec: Path) -> None:
    before = computes(rendered(spec), "body.1")
    changed = "winograd4" if before[1] != 4 else "winograd2"
    tuned(spec, one({"body.0": changed}))
    assert computes(rendered(spec), "body.0")[1] == int(changed[-1])
    assert computes(rendered(spec), "body.1") == before


def test_the_manifest_and_the_banner_say_which_file_and_device(spec: Path) -> None:
    assert "tuning" not in manifest(rendered(spec))
    path = tuned(spec)
    said = manifest(rendered(spec))["tuning"]
    assert said == {
        "file": "tiny.tune.toml",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "device": "First",
        "layers": {"body.0": "direct", "body.1": "winograd4"},
    }
    assert said["sha256"] in rendered(spec)["tiny.h"].decode()
    path.write_text(FILE + "# changed\n")
    assert manifest(rendered(spec))["tuning"]["sha256"] != said["sha256"]


def test_the_same_spec_and_file_make_the_same_bytes(spec: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    tuned(spec)
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for file in spec.parent.iterdir():
        (elsewhere / file.name).write_bytes(file.read_bytes())
    assert rendered(spec) == rendered(elsewhere / spec.name)


def test_build_uses_the_first_device_of_the_target_or_the_one_that_is_named(spec: Path) -> None:
    tuned(spec)
    first, second = rendered(spec), rendered(spec, tuned_for="seco")
    assert computes(first, "body.1")[1] == 4 and manifest(first)["tuning"]["device"] == "First"
    assert computes(second, "body.1")[1] == 2 and manifest(second)["tuning"]["device"] == "Second"
    assert manifest(rendered(spec, "gpu"))["tuning"]["device"] == "Third"


def test_a_file_without_a_device_of_the_target_changes_nothing(spec: Path) -> None:
    before = rendered(spec, "gpu")
    tuned(spec, one({"body.0": "winograd4"}))
    assert rendered(spec, "gpu") == before != rendered(spec)


def test_none_ignores_the_file(spec: Path) -> None:
    before = rendered(spec)
    tuned(spec)
    assert rendered(spec, tuned_for="none") == before != rendered(spec)
    tuned(spec, "not TOML")
    assert rendered(spec, tuned_for="none") == before


def test_all_commands_that_plan_take_the_file(spec: Path, device: DeviceInfo) -> None:
    folder = spec.parent
    tuned(spec, one({"body.0": "direct", "body.1": "direct"}))
    tables = clgen_here("list", spec.name, cwd=folder).stdout
    tuned(spec)
    blob, ignored = (clgen_here("list", spec.name, *more, cwd=folder).stdout for more in ([], ["--tuned-for", "none"]))
    assert "tiny_weights.c" in blob and "tiny_weights.c" not in tables
    assert clgen_here("build", spec.name, cwd=folder).returncode == 0
    built = sorted(str(path.relative_to(folder)) for path in (folder / "generated" / "tiny").iterdir())
    assert built == sorted(blob.split())
    assert ignored == clgen_here("list", spec.name, cwd=_without_file(spec)).stdout
    for path in (spec.name, "generated/tiny"):
        done = clgen("verify", path, "--device", only(device), cwd=folder)
        assert done.returncode == 0, done.stdout + done.stderr
    done = clgen_here("verify", spec.name, "--tuned-for", "fourth", cwd=folder)
    assert done.returncode == 2 and "fourth" in done.stderr


def _without_file(spec: Path) -> Path:
    folder = spec.parent / "without"
    folder.mkdir()
    for name in ("tiny.toml", "tiny.npz"):
        (folder / name).write_bytes((spec.parent / name).read_bytes())
    return folder


def test_check_notices_a_file_that_came_or_changed(spec: Path) -> None:
    folder = spec.parent
    clgen_here("build", spec.name, cwd=folder)
    path = tuned(spec)
    done = clgen_here("build", spec.name, "--check", cwd=folder)
    assert done.returncode == 1 and "tiny.cl" in done.stderr
    clgen_here("build", spec.name, cwd=folder)
    assert clgen_here("build", spec.name, "--check", cwd=folder).returncode == 0
    done = clgen_here("build", spec.name, "--check", "--tuned-for", "Second", cwd=folder)
    assert done.returncode == 1 and done.stderr.endswith("--target cpu --tuned-for Second\n")
    path.write_text(FILE.replace('"body.0" = "direct"', '"body.0" = "winograd2"'))
    assert clgen_here("build", spec.name, "--check", cwd=folder).returncode == 1


def test_a_model_s_file_is_beside_the_model(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).standard_normal((16, 16, 3, 3)).astype(np.float32)
    graph = model([node("Conv", "x w", "y", pads=[1, 1, 1, 1])], {"x": (1, 16, 8, 8)}, {"w": weight})
    path = saved(graph, tmp_path)
    lowered = build.lower(path)
    (layer,) = alternatives(lowered.launches, TARGETS["cpu"])
    assert tuning_file(path) == tmp_path / "net.tune.toml"
    tuning_file(path).write_text(one({layer: "winograd2"}))
    assert computes(rendered(path), layer)[1] == 2
    tuning_file(path).write_text(one({layer: "winograd4"}))
    assert computes(rendered(path), layer)[1] == 4


# ---- what is wrong with a file ----


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("device = 1", ["device should be an array of tables"]),
        ("", ["has no device"]),
        ("[[devices]]", ['unknown key "devices"', 'did you mean "device"?']),
        ("[[device]]", ["device 1: name: is missing"]),
        (one({}).replace("driver", "drivers"), ['device "D": unknown key "drivers"', 'did you mean "driver"?']),
        (one({}).replace('"1"', "1"), ['device "D": driver: 1 should be a string']),
        (one({}, "cup"), ['device "D": target: "cup" should be "cpu" or "gpu"']),
        (one({}).replace("[device.layers]", "layers = 1"), ['device "D": layers: 1 should be a table']),
        (one({}) + '"body.0" = 4\n', ['device "D": layers: "body.0" = 4 should be the name of a schedule']),
        (one({}) + one({}), ['device "D": is there twice for target "cpu"; remove one']),
        ("[[device", ["is not valid TOML"]),
        (
            one({"body.7": "direct"}),
            ['device "D": layers."body.7": is no convolution', 'did you mean "body.', "run clgen tune again"],
        ),
        (
            one({"zzz": "direct"}),
            ['layers."zzz": is no convolution of the network; there are "stem", "body.0", "body.1" and "head"'],
        ),
        (
            one({"body.0": "winograd6"}),
            ['device "D": layers."body.0": "winograd6" should be "', '"winograd4_groups"', "run clgen tune again"],
        ),
        (one({"head": "direct"}), ['layers."head": "direct" should be "pointwise"']),
    ],
)
def test_a_wrong_file_is_an_error_that_names_the_place(spec: Path, text: str, said: Sequence[str]) -> None:
    tuned(spec, text)
    with pytest.raises(SpecError) as error:
        rendered(spec)
    for part in ("tiny.tune.toml: ", *said):
        assert part in str(error.value)


def test_a_device_that_was_not_tuned_for(spec: Path) -> None:
    with pytest.raises(SpecError, match=r"tiny\.tune\.toml: is missing, which --tuned-for 'Second' asks for"):
        rendered(spec, tuned_for="Second")
    tuned(spec)
    with pytest.raises(SpecError, match=r'no device for target "gpu" has \'Second\' in its name.*there are "Third"'):
        rendered(spec, "gpu", tuned_for="Second")


# ---- writing ----


def test_tuning_a_device_again_replaces_its_table_only(tmp_path: Path) -> None:
    path = tmp_path / "tiny.tune.toml"
    devices = [
        TunedDevice("A", "1", "cpu", {"b": "direct", "a": "winograd4"}),
        TunedDevice("B", "1", "cpu", {"a": "direct"}),
        TunedDevice("A", "1", "gpu", {}),
    ]
    for device in devices:
        path.write_bytes(with_device(path, device, TARGETS))
    again = TunedDevice("A", "2", "cpu", {"c": "winograd2"})
    before = path.read_bytes()
    path.write_bytes(with_device(path, again, TARGETS))
    read = [TunedDevice(**table) for table in tomli.loads(path.read_text())["device"]]
    assert read == [again, *devices[1:]]
    assert with_device(path, devices[0], TARGETS) == before
    assert list(tomli.loads(before.decode())["device"][0]["layers"]) == ["b", "a"], "in the order of the network"


def test_any_name_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "tiny.tune.toml"
    device = TunedDevice('Ä "fast" \\ device\n\x00\x7f\u2028', "\t1", "cpu", {'la"yer.\\x': "direct"})
    path.write_bytes(with_device(path, device, TARGETS))
    assert [TunedDevice(**table) for table in tomli.loads(path.read_bytes().decode())["device"]] == [device]


# ---- measuring ----


def test_verify_takes_the_schedules_that_a_folder_was_built_with(spec: Path) -> None:
    """The file of measured schedules may change, disappear, or list a longer device name first."""
    path = tuned(spec)
    folder, _ = build.build(build.lower(spec, tuned_for="second"), spec.parent, "cpu")

    def opened(tuned_for: str = "") -> str:
        """The fault of the folder, "" if there is none."""
        try:
            opening.verifiable(folder, spec, None, spec.parent / "scratch", tuned_for=tuned_for)
        except (Mismatch, SpecError) as error:
            return f"{type(error).__name__}: {error}"
        return ""

    def change(edit: Callable[[Any], object]) -> None:
        said = json.loads((folder / "manifest.json").read_text())
        edit(said["tuning"])
        (folder / "manifest.json").write_text(json.dumps(said))

    assert opened() == opened("SECOND") == ""
    path.write_text(one({"body.1": "direct"}).replace('"D"', '"Second one"'))
    assert opened() == ""
    path.unlink()
    assert opened() == ""
    for wanted in ("none", "first"):
        assert opened(wanted).startswith(
            f"SpecError: --tuned-for '{wanted}': {folder} was generated with the schedules "
        )
    change(lambda tuning: tuning["layers"].update({"body.1": "winograd4"}))
    assert opened().startswith("Mismatch: ") and "tiny.cl: line " in opened()
    change(lambda tuning: tuning["layers"].update({"body.1": "abacus"}))
    assert "manifest.json: tuning.layers: the network has no 'body.1' with 'abacus'; build again" in opened()
    change(lambda tuning: tuning.pop("layers"))
    assert opened() == f"SpecError: {folder / 'manifest.json'}: tuning.layers: is missing; build again"


def test_tune_writes_a_file_that_build_takes(spec: Path, device: DeviceInfo) -> None:
    folder = spec.parent
    done = clgen("tune", spec.name, "--device", only(device), "--budget", "1", cwd=folder)
    assert (done.returncode, done.stdout) == (0, "tiny.tune.toml\n"), done.stderr
    assert "\x1b" not in done.stderr and "of 2 layers" in done.stderr
    tables = tomli.loads((folder / "tiny.tune.toml").read_text())["device"]
    assert any((t["name"], t["driver"], t["target"]) == (device.name, device.driver, "cpu") for t in tables)
    possible = alternatives(build.lower(spec).launches, TARGETS["cpu"])
    for table in tables:
        for layer, schedule in table["layers"].items():
            assert schedule in possible[layer].schedules[1:], "what is estimated anyway is not listed"
    assert clgen("build", spec.name, cwd=folder).returncode == 0
    assert json.loads((folder / "generated/tiny/manifest.json").read_text())["tuning"]["device"] == tables[0]["name"]


def test_tune_refuses_a_wrong_file_and_leaves_it(spec: Path, device: DeviceInfo) -> None:
    path = tuned(spec, "[[device]]\nnam = 1\n")
    done = clgen("tune", spec.name, "--device", only(device), "--budget", "1", cwd=spec.parent)
    assert done.returncode == 2 and "tiny.tune.toml: device 1: unknown key" in done.stderr
    assert path.read_text() == "[[device]]\nnam = 1\n"


def test_tune_replaces_what_a_changed_spec_left_behind(spec: Path, device: DeviceInfo) -> None:
    path = tuned(spec, one({"gone": "direct"}).replace('"D"', f'"{device.name}"'))
    done = clgen("tune", spec.name, "--device", only(device), "--budget", "1", cwd=spec.parent)
    assert done.returncode == 0 and "gone" not in path.read_text()


def test_a_text_that_fits_several_platforms(spec: Path, find_device: Callable[[str], DeviceInfo]) -> None:
    """All of them, the best first; run takes that one."""
    both = [find_device("intel"), find_device("pocl")]
    chosen = choose(list_devices(), ["linux"])  # part of both platforms' versions
    assert [device for device in chosen if device in both] == both
    folder = spec.parent
    done = clgen("tune", spec.name, "--device", "linux", "--budget", "1", cwd=folder)
    assert done.returncode == 0, done.stderr
    tables = tomli.loads((folder / "tiny.tune.toml").read_text())["device"]
    assert {t["name"] for t in tables} == {device.name for device in chosen}
    assert tables[0]["name"] == both[0].name, "which build takes"
    assert clgen("build", spec.name, cwd=folder).returncode == 0
    done = clgen("verify", "generated/tiny", "--device", "linux", cwd=folder)
    assert done.returncode == 0
    places = [done.stdout.index(f"{device.name}, {device.platform} ({device.version})") for device in both]
    assert places == sorted(places)


def test_a_target_without_a_choice_is_tuned_at_once(spec: Path, device: DeviceInfo) -> None:
    done = clgen("tune", spec.name, "--device", only(device), "--target", "gpu", cwd=spec.parent)
    assert done.returncode == 0 and "no layer has schedules to choose from" in done.stderr
    assert manifest(rendered(spec, "gpu"))["tuning"]["device"] in done.stderr


def test_progress_says_what_is_measured_and_how_long_it_takes(spec: Path, device: DeviceInfo) -> None:
    done = clgen_on_a_terminal("tune", spec.name, "--device", only(device), "--budget", "1", cwd=spec.parent)
    assert (done.code, done.answer) == (0, "tiny.tune.toml\n")
    lines = done.shown.split("\r\x1b[K")
    assert any(line.startswith("tuning tiny.toml: compiling direct, ") for line in lines)
    assert any(line.startswith("tuning tiny.toml: measuring 2 layers, round 2 of ") for line in lines)
    assert all(line.endswith(" s left ...") for line in lines if "round" in line)


def test_layers_that_do_the_same_work_are_measured_together() -> None:
    net = Net((1, 16, 16, 16))
    x = net.conv("x", 16, 1, name="stem")
    for name, activation in (("a", "relu"), ("b", "relu"), ("c", "sigmoid")):
        x = net.act(net.conv(x, 16, 3, pads=1), activation, name=name)
    net.conv(x, 24, 3, pads=1, name="d")
    found = alternatives(lower(net.graph()).launches, TARGETS["cpu"])
    (stem, a, b, c, d) = found.values()
    assert a == b and len({stem.work, a.work, c.work, d.work}) == 4
    assert sorted(a.schedules) == SCHEDULES and len(stem.schedules) == 1


TWINS = Alike(("a", "b"), ("direct", "winograd2", "winograd4"))


def measured(*rounds: Mapping[str, float]) -> list[dict[str, dict[str, float]]]:
    """Rounds in which both layers take so long with each schedule."""
    return [{name: {"a": us, "b": us} for name, us in timed.items()} for timed in rounds]


@pytest.mark.parametrize(
    ("rounds", "winner"),
    [
        ([(100, 90, 80)], "winograd4"),
        ([(100, 98, 99)], "direct"),  # not enough to be worth a line
        ([(100, 110, 120)], "direct"),
        # One lucky round does not count, nor does a round in which everything is slow.
        ([(100, 110, 1), (100, 110, 120), (100, 110, 120)], "direct"),
        ([(1000, 900, 1100), (100, 90, 110), (100, 90, 1)], "winograd2"),
    ],
)
def test_the_fastest_is_that_of_most_rounds(rounds: Sequence[tuple[float, ...]], winner: str) -> None:
    assert fastest(TWINS, measured(*(dict(zip(TWINS.schedules, r, strict=True)) for r in rounds))) == winner


def test_a_winner_that_is_not_faster_among_the_others_is_out(monkeypatch: pytest.MonkeyPatch) -> None:
    work = [
        Alike(("a",), ("direct", "winograd2")),
        Alike(("b", "c"), ("direct", "winograd2")),
        Alike(("d",), ("only",)),
    ]
    asked: list[dict[str, str]] = []
    closed = []

    class Fake:
        artefact = SimpleNamespace(launches=[{"node": layer} for layer in "abcd"])

        def __init__(self, choices: Mapping[str, str], device: object, folder: Path) -> None:
            self.choices = choices
            asked.append(dict(choices))

        def run(self) -> list[tuple[float, float]]:
            mixed = len(asked) > 2  # the first layer was lucky as long as each schedule had a network of its own
            times = [
                50.0 if self.choices.get(layer) == "winograd2" and not (mixed and layer == "a") else 100.0
                for layer in "abcd"
            ]
            ends = list(itertools.accumulate(times))
            return list(zip([0.0, *ends], ends, strict=False))

        def close(self) -> None:
            closed.append(self.choices)

    monkeypatch.setattr(tuning, "launch_timer", Fake)
    result = tune(work, lambda choices: choices, None, 0.001, lambda step: None)  # type: ignore[arg-type,return-value]
    every = dict.fromkeys("abc", "direct"), dict.fromkeys("abc", "winograd2")
    assert asked == [*every, {}, dict.fromkeys("abc", "winograd2")]
    assert len(closed) == len(asked)
    assert result.choices == {"b": "winograd2", "c": "winograd2"}
    assert (result.layers, result.before, result.after) == (3, 300.0, 200.0)
