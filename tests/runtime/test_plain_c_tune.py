"""tune of plain C, the builds that take its table, and both commands on folders of both backends."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli

from codegen import build
from codegen.errors import SpecError
from codegen.frontend.spec.tuning import TunedDevice, with_device
from codegen.plan.schedules.choose import alternatives
from codegen.plan.target import TARGETS
from codegen.runtime import tune as tuning
from codegen.runtime.devices import DeviceInfo
from codegen.runtime.native import native_devices
from codegen.runtime.processor import processor_name
from codegen.runtime.timed import LaunchTimer
from codegen.tuning import tune_schedules
from tests.support.commands import clgen, clgen_here, only, plain_c, without_opencl
from tests.support.values import save_npz


@pytest.fixture
def no_opencl(tmp_path: Path) -> dict[str, str]:
    return without_opencl(tmp_path)


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
name = "body"
op = "conv"
padding = 1
activation = "relu"

[[output]]
name = "y"
from = "body"
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    """A spec with a 3x3 convolution, and its parameters."""
    rng = np.random.default_rng(1)
    shapes = {"stem": (16, 3, 1, 1), "body": (16, 16, 3, 3)}
    arrays = {f"{layer}.weight": 0.2 * rng.standard_normal(shape) for layer, shape in shapes.items()}
    save_npz(tmp_path / "tiny.npz", {k: v.astype(np.float32) for k, v in arrays.items()})
    path = tmp_path / "tiny.toml"
    path.write_text(SPEC)
    return path


def write_devices(spec: Path, *devices: TunedDevice) -> None:
    path = spec.with_name("tiny.tune.toml")
    for device in devices:
        path.write_bytes(with_device(path, device, TARGETS))


def chosen(spec: Path, backend: str | None, tuned_for: str = "") -> str:
    """The device whose schedules a build takes, "" if none."""
    files = build.rendered(build.lower(spec, tuned_for=tuned_for, backend=backend), "cpu")
    said: Mapping[str, Any] = json.loads(files["manifest.json"]).get("tuning", {})
    return str(said.get("device", ""))


def test_tune_without_any_opencl(spec: Path, no_opencl: dict[str, str]) -> None:
    folder = spec.parent
    arguments = ["--device", "c", "--device", "c:scalar", "--budget", "1"]
    done = clgen("tune", spec.name, *arguments, cwd=folder, **no_opencl)
    assert (done.returncode, done.stdout) == (0, "tiny.tune.toml\n"), done.stderr
    first, second = tomli.loads((folder / "tiny.tune.toml").read_text())["device"]
    assert first["name"] == f"plain C on {processor_name()}, -march=native"
    assert second["name"] == f"plain C on {processor_name()}, -D<NAME>_SCALAR"
    assert re.search(r"\d", first["driver"]), "the compiler's release"
    possible = alternatives(build.lower(spec).launches, TARGETS["cpu"])
    for table in (first, second):
        assert (table["target"], table["backend"]) == ("cpu", "c")
        for layer, schedule in table["layers"].items():
            assert schedule in possible[layer].schedules[1:], "what is estimated anyway is not listed"
    assert chosen(spec, "c") == first["name"] and chosen(spec, None) == ""
    assert chosen(spec, "c", "scalar") == second["name"]
    for device in ("c", "c:scalar"):
        done = clgen("verify", spec.name, "--device", device, cwd=folder, **no_opencl)
        assert done.returncode == 0, done.stdout + done.stderr
    done = clgen("tune", spec.name, *arguments[:2], "--budget", "1", cwd=folder, **no_opencl)
    assert done.returncode == 0
    again = tomli.loads((folder / "tiny.tune.toml").read_text())["device"]
    assert [table["name"] for table in again] == [first["name"], second["name"]]


def test_tune_takes_the_backend_of_the_spec(spec: Path, no_opencl: dict[str, str]) -> None:
    done = clgen("tune", plain_c(spec).name, "--budget", "1", cwd=spec.parent, **no_opencl)
    assert done.returncode == 0, done.stderr
    (table,) = tomli.loads((spec.parent / "tiny.tune.toml").read_text())["device"]
    assert table["backend"] == "c"


SCHEDULES = ["direct", "gathered", "winograd2", "winograd2_groups", "winograd4", "winograd4_groups"]


@pytest.mark.parametrize("winner", SCHEDULES)
def test_the_fastest_is_written_built_and_right(
    winner: str, spec: Path, monkeypatch: pytest.MonkeyPatch, no_opencl: dict[str, str]
) -> None:
    """The machine's times are replaced: `winner` is the fastest of the programs, which are compiled and run."""
    monkeypatch.setattr(tuning, "_timed", _times_in_favour_of(winner))
    (device,) = native_devices(["c:portable"])
    lowered = build.lower(spec, backend="c")
    first = alternatives(lowered.launches, TARGETS["cpu"])["body"].schedules[0]
    scratch = spec.parent / "scratch"
    file, _ = tune_schedules(lowered, "cpu", device, 0.1, scratch)
    (table,) = tomli.loads(file.read_text())["device"]
    assert table["layers"] == ({} if winner == first else {"body": winner})
    done = clgen("build", spec.name, "--backend", "c", cwd=spec.parent, **no_opencl)
    assert done.returncode == 0, done.stderr
    said = json.loads((spec.parent / "generated/tiny/manifest.json").read_text())
    assert said["tuning"] == {**said["tuning"], "device": device.title, "layers": table["layers"]}
    done = clgen("verify", "generated/tiny", "--device", "c:portable", cwd=spec.parent, **no_opencl)
    assert done.returncode == 0, done.stdout + done.stderr


def _times_in_favour_of(winner: str) -> Callable[[LaunchTimer], dict[str, float]]:
    """Times by layer: less for a program whose layer "body" is computed by this schedule."""

    def timed_run(timer: LaunchTimer) -> dict[str, float]:
        assert len(timer.run()) == len(timer.artefact.launches)
        launches = [launch for launch in timer.artefact.launches if launch["node"] == "body"]
        templates = {k["name"]: k["template"] for k in timer.artefact.manifest["kernels"]}
        size = launches[-1].get("winograd", 0)
        groups = "_groups" if size and len(launches) == 1 else ""
        plain = "gathered" if templates[launches[0]["kernel"]] == "pointwise.cl.jinja" else "direct"
        schedule = f"winograd{size}{groups}" if size else plain
        return {launch["node"]: 1.0 if schedule == winner else 2.0 for launch in timer.artefact.launches}

    return timed_run


OPENCL = TunedDevice("Big CPU", "1", "cpu", {"body": "winograd2"})
IN_C = TunedDevice("plain C on Big CPU, -march=native", "cc 1", "cpu", {"body": "winograd4"}, "c")
SCALAR = TunedDevice("plain C on Big CPU, -D<NAME>_SCALAR", "cc 1", "cpu", {"body": "direct"}, "c")


@pytest.mark.parametrize(
    ("devices", "backend", "tuned_for", "taken"),
    [
        ([OPENCL, IN_C, SCALAR], None, "", OPENCL),
        ([OPENCL, IN_C, SCALAR], "c", "", IN_C),
        ([IN_C, OPENCL], None, "", OPENCL),
        ([IN_C, OPENCL], None, "big", OPENCL),  # both names have it; the backend's own comes first
        ([OPENCL, IN_C], "c", "big", IN_C),
        ([OPENCL, IN_C, SCALAR], "c", "scalar", SCALAR),
        ([OPENCL, IN_C, SCALAR], None, "plain C", IN_C),
        ([OPENCL], "c", "", None),
        ([OPENCL], "c", "big", OPENCL),
        ([IN_C], None, "", None),
        ([IN_C], None, "big", IN_C),
        ([IN_C], "c", "none", None),
    ],
)
def test_a_build_takes_schedules_of_its_own_backend_unless_asked(
    devices: list[TunedDevice], backend: str | None, tuned_for: str, taken: TunedDevice | None, spec: Path
) -> None:
    write_devices(spec, *devices)
    assert chosen(spec, backend, tuned_for) == (taken.name if taken else "")


def test_only_plain_c_states_its_backend_in_the_file(spec: Path) -> None:
    write_devices(spec, OPENCL, IN_C)
    path = spec.with_name("tiny.tune.toml")
    assert [TunedDevice(**table) for table in tomli.loads(path.read_text())["device"]] == [OPENCL, IN_C]
    assert path.read_text().count("backend") == 1
    path.write_text(path.read_text().replace('backend = "c"', 'backend = "cuda"'))
    with pytest.raises(SpecError, match='device "plain C on Big CPU, -march=native": backend: "cuda" should be'):
        chosen(spec, "c")


# ---- folders of both backends, and of several versions of plain C ----


def test_bench_of_a_folder_with_both_backends(spec: Path, no_opencl: dict[str, str]) -> None:
    folder = spec.parent
    done = clgen_here("build", spec.name, "--backend", "opencl,c", "--multiversion", cwd=folder)
    assert done.returncode == 0, done.stderr
    arguments = ["--device", "c", "--device", "c:scalar", "--json", "-"]
    done = clgen("bench", "generated/tiny", *arguments, cwd=folder, **no_opencl)
    assert done.returncode == 0, done.stderr
    devices = json.loads(done.stdout)["devices"]
    assert [d["device"] for d in devices] == ["c", "c:scalar"]
    for device in devices:
        assert [n["node"] for n in device["nodes"]] == ["stem", "body"] and device["threads"] == 1


def test_a_build_with_both_backends_takes_the_first_table_of_either(spec: Path) -> None:
    write_devices(spec, IN_C, OPENCL)
    assert chosen(spec, "opencl,c") == IN_C.name
    assert chosen(spec, "opencl,c", "Big") == IN_C.name
    assert chosen(spec, "opencl") == OPENCL.name


def test_devices_of_both_backends_are_tuned_and_measured_in_one_run(spec: Path, device: DeviceInfo) -> None:
    both = ["--device", "c", "--device", only(device)]
    done = clgen("tune", spec.name, *both, "--budget", "1", cwd=spec.parent)
    assert done.returncode == 0, done.stderr
    tables = tomli.loads((spec.parent / "tiny.tune.toml").read_text())["device"]
    assert {table["name"]: table.get("backend", "opencl") for table in tables} == {
        device.name: "opencl",
        f"plain C on {processor_name()}, -march=native": "c",
    }
    done = clgen("bench", spec.name, *both, "--json", "-", cwd=spec.parent)
    assert done.returncode == 0, done.stderr
    assert {d["device"]: d["threads"] for d in json.loads(done.stdout)["devices"]} == {"c": 1, device.name: None}
