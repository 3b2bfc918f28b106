"""Choice of a device: the C host and the commands choose the same one from generated lists of platforms.

The C host runs on the OpenCL of c/fake_opencl.c, Python on objects in place of pyopencl's, both with the same lists.
"""

from __future__ import annotations

import platform
import random
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from codegen.emit import choice
from codegen.errors import DeviceError
from codegen.runtime import devices, probe
from tests.support import artefacts
from tests.support.generated_c import C, Fake, Tool, calls, program

CPU, GPU, ACCELERATOR, DEFAULT, CUSTOM = 2, 4, 8, 1, 16
FAILS = "!"  # a text that cannot be asked for


@dataclass(frozen=True)
class Device:
    name: str
    type: int = CPU
    units: int = 4
    available: bool = True
    compiler: bool = True


@dataclass(frozen=True)
class Platform:
    name: str
    version: str
    devices: tuple[Device, ...]
    fails: bool = False


@dataclass(frozen=True)
class Case:
    """A list, and what create or the commands are given: (how, text), how being default, argument or environment."""

    platforms: tuple[Platform, ...]
    how: str = "default"
    text: str = ""

    def lines(self) -> str:
        said = []
        for p in self.platforms:
            said.append(f"platform\t{p.name}\t{p.version}\t{p.fails:d}")
            said += [f"device\t{d.name}\t{d.type}\t{d.units}\t{d.available:d}\t{d.compiler:d}" for d in p.devices]
        said.append(self.how if self.how == "default" else f"{self.how}\t{self.text}")
        return "".join(f"{line}\n" for line in said)


# ---- the two that choose ---------------------------------------------------------------------------------------------


class FakeError(Exception):
    code = -6


class PythonDevice(SimpleNamespace):
    @property
    def name(self) -> str:
        if self.text.startswith(FAILS):
            raise FakeError
        return str(self.text)


class PythonPlatform(SimpleNamespace):
    @property
    def name(self) -> str:
        if self.text.startswith(FAILS):
            raise FakeError
        return str(self.text)

    @property
    def version(self) -> str:
        if self.says.startswith(FAILS):
            raise FakeError
        return str(self.says)

    def get_devices(self) -> list[Any]:
        if self.fails:
            raise FakeError
        return list(self.devices)


def by_python(case: Case, target: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """The number of the device that a command takes; -1 if none."""
    number = 0
    platforms = []
    for p in case.platforms:
        listed = []
        for d in p.devices:
            facts = {"text": d.name, "type": d.type, "max_compute_units": d.units, "available": d.available}
            facts |= {"compiler_available": d.compiler, "int_ptr": number, "driver_version": "1"}
            facts |= {"global_mem_size": 2**30, "max_constant_buffer_size": 2**16, "mem_base_addr_align": 1024}
            listed.append(PythonDevice(**facts))
            number += 1
        platforms.append(PythonPlatform(text=p.name, says=p.version, fails=p.fails, devices=listed))
    codes = SimpleNamespace(PLATFORM_NOT_FOUND_KHR=-1001)
    module = SimpleNamespace(get_platforms=lambda: platforms, Error=FakeError, status_code=codes)
    monkeypatch.setattr(devices, "opencl", lambda: module)
    monkeypatch.setattr(probe, "verdict", lambda identity: "")
    monkeypatch.delenv(devices.VARIABLE, raising=False)
    if case.how == "environment":
        monkeypatch.setenv(devices.VARIABLE, case.text)
    patterns = [case.text] if case.how == "argument" else []
    try:
        return int(devices.select(patterns, default_type=target.upper())[0].handle.int_ptr)
    except DeviceError:
        return -1


Chooser = Callable[[Sequence[Case], str], list[int]]


@pytest.fixture
def by_c(tool: Tool, fake: Callable[..., Fake], tmp_path: Path) -> Chooser:
    """The numbers of the devices that <name>_create takes, of hosts for the target "cpu" or "gpu"."""

    def choose(cases: Sequence[Case], target: str) -> list[int]:
        folder = artefacts.build("tiny", target).write(tmp_path / target)
        (folder / "test").mkdir()
        (folder / "test" / "calls.h").write_text(calls(folder))
        opencl = fake(tool("gcc"))
        chooser = program(tool("gcc"), C / "choose.c", folder, tmp_path / f"choose_{target}", [], [opencl.library])
        given = "".join(case.lines() for case in cases)
        done = subprocess.run([chooser], input=given, env=opencl.environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return [int(line) for line in done.stdout.splitlines()]

    return choose


# ---- by hand ---------------------------------------------------------------------------------------------------------

INTEL = Platform("Intel(R) OpenCL", "OpenCL 3.1 LINUX", (Device("AMD EPYC 9B45"),))
XE = Platform("Intel(R) OpenCL Graphics", "OpenCL 3.0 ", (Device("Intel(R) Iris(R) Xe Graphics", GPU, 96),))
OLD = Platform(
    "Portable Computing Language",
    "OpenCL 3.0 PoCL 3.0-rc2  Linux, LLVM 14.0.0",
    (Device("pthread-AMD EPYC 9B45", CPU, 8),),
)
NEW = replace(
    OLD, version="OpenCL 3.0 PoCL 3.1+debian  Linux", devices=(Device("pthread-skylake-AMD EPYC 9B45", CPU, 4),)
)
NEWER = replace(OLD, version="OpenCL 3.0 PoCL 6.0  Linux", devices=(Device("cpu-znver4-AMD EPYC 9B45"),))
NEWEST = replace(NEWER, version="OpenCL 3.0 PoCL 10.1  Linux")
NVIDIA = Platform(
    "NVIDIA CUDA", "OpenCL 3.0 CUDA 12.4", (Device("NVIDIA L4", GPU, 58), Device("NVIDIA H100", GPU, 132))
)
GRIND = Platform(
    "Oclgrind", "OpenCL 1.2 (Oclgrind 21.10)", (Device("Oclgrind Simulator", CPU | GPU | ACCELERATOR | 1),)
)
FPGA = Platform("Intel(R) FPGA Emulation Platform", "OpenCL 1.2 Intel(R) FPGA", (Device("FPGA", ACCELERATOR, 64),))
AWAY = replace(INTEL, devices=(Device("Xeon", available=False), Device("Xeon again", compiler=False)))
MANY = replace(INTEL, devices=(Device("EPYC", CPU, 8), Device("EPYC", CPU, 16), Device("EPYC", CPU, 16)))

DEFAULTS = [
    # The list, then the device for the target cpu and for the target gpu.
    ([], -1, -1),
    ([INTEL], 0, 0),
    ([OLD, INTEL], 1, 1),  # the fresh machine: PoCL is listed first
    ([NEW, INTEL], 1, 1),
    ([INTEL, NEW], 0, 0),
    ([OLD], 0, 0),  # nothing else is there
    ([OLD, NEW], 1, 1),
    ([NEW, NEWER, NEWEST], 2, 2),
    ([NEWEST, NEWER, NEW], 0, 0),
    ([NEWER, XE], 0, 1),
    ([XE, NEWER], 1, 0),
    ([OLD, XE], 1, 1),  # the wrong type is better than one that crashes
    ([OLD, GRIND], 1, 1),
    ([GRIND, NEW], 1, 1),  # oclgrind says that it is a CPU first
    ([GRIND, XE], 0, 1),
    ([GRIND], 0, 0),
    ([NVIDIA, XE], 2, 2),  # Intel's runtime is the one we know
    ([NVIDIA], 1, 1),  # more units
    ([MANY], 1, 1),  # of equal ones the first
    ([AWAY, NEW], 2, 2),
    ([AWAY], -1, -1),
    ([replace(INTEL, fails=True), NEW], 1, 1),
    ([replace(INTEL, name=FAILS), NEW], 1, 1),
    ([replace(INTEL, version=FAILS), NEW], 1, 1),
    ([replace(INTEL, devices=(Device(FAILS), Device("Xeon"))), NEW], 1, 1),
    ([FPGA, NEW], 1, 1),  # emulated
    ([NEW, FPGA], 0, 0),
    ([replace(INTEL, name="INTEL(R) OpenCL"), NEW], 0, 0),
    ([replace(INTEL, name="  Intel(R) OpenCL  "), NEW], 0, 0),
    ([replace(INTEL, name="Not Intel(R)"), NEW], 1, 1),
    ([replace(NEW, version="OpenCL 3.0 PoCL 3"), NVIDIA, NEW], 3, 2),  # 3.0: it crashes
    ([replace(NEW, version="OpenCL 3.0 PoCL 5"), NEW], 0, 0),
    ([replace(NEW, version="OpenCL 3.0 PoCL "), NEW], 1, 1),
    ([replace(NEW, version="OpenCL 3.0 pocl 9.9"), NEW], 1, 1),  # not how PoCL writes itself
    ([replace(NEW, devices=(Device("special", CUSTOM, 99), Device("usual", CPU | DEFAULT, 1)))], 1, 0),
]

NAMED = [
    # The list, the text, then the device for both targets.
    ([NEW, INTEL], "intel", 1),
    ([NEW, INTEL], "INTEL(R) OPENCL", 1),
    ([NEW, INTEL], "portable", 0),
    ([NEW, INTEL], "Portable Computing Language", 0),
    ([INTEL, OLD, NEW], "pocl", 2),  # the version, and the better one
    ([INTEL, OLD, NEW], "pocl 3.0", 1),  # by name even one that crashes
    ([INTEL, OLD, NEW], "3.1", 2),  # not the standard's 3.1
    ([OLD, NEW, INTEL], "AMD EPYC", 2),  # part of three devices' names: the ranking decides
    ([OLD, INTEL], "epyc", 1),
    ([OLD, INTEL], "pthread", 0),
    ([INTEL, XE, OLD], "iris", 1),
    ([INTEL, XE, OLD], "gpu", 1),
    ([XE, INTEL], "cpu", 1),
    ([XE, NEWER], "cpu", 1),  # "cpu-znver4" is a name, and a name comes before a type
    ([INTEL, NEWER], "cpu", 1),
    ([INTEL, FPGA], "accelerator", 1),
    ([INTEL, FPGA], "Accelerator", 1),
    ([INTEL, FPGA], "accel", -1),  # types are whole words
    ([INTEL, replace(NEW, devices=(Device("special", CUSTOM),))], "other", 1),
    ([INTEL, OLD], "radeon", -1),
    ([AWAY, NEW], "xeon", -1),
    ([AWAY, NEW], "intel", -1),
    ([INTEL, NEW], "OpenCL 3", -1),
    ([INTEL, NEW], "opencl", 0),
    ([INTEL, NEW], "LINUX", 0),  # both versions
    ([INTEL, NEW], "EPYC 9B45 ", -1),
    ([GRIND, INTEL], "oclgrind", 0),
    ([NVIDIA, INTEL], "nvidia", 1),
    ([NVIDIA, INTEL], "L4", 0),
    ([replace(INTEL, devices=(Device("ÄÖ"),)), NEW], "äö", -1),  # letters of ASCII only
    ([replace(INTEL, devices=(Device("ÄÖ"),)), NEW], "ÄÖ", 0),
]


on_x86_64 = pytest.mark.skipif(
    platform.machine() not in choice.CRASHING_MACHINES, reason="what old releases of PoCL do is known for x86-64 only"
)


@on_x86_64
@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_the_default(target: str, by_c: Chooser, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [Case(tuple(platforms)) for platforms, _, _ in DEFAULTS]
    expected = [{"cpu": cpu, "gpu": gpu}[target] for _, cpu, gpu in DEFAULTS]
    assert [by_python(case, target, monkeypatch) for case in cases] == expected
    assert by_c(cases, target) == expected


@on_x86_64
@pytest.mark.parametrize("how", ["argument", "environment"])
@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_a_named_device(target: str, how: str, by_c: Chooser, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [Case(tuple(platforms), how, text) for platforms, text, _ in NAMED]
    expected = [device for *_, device in NAMED]
    assert [by_python(case, target, monkeypatch) for case in cases] == expected
    assert by_c(cases, target) == expected


def test_elsewhere_an_old_pocl_is_as_good_as_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert by_python(Case((OLD, XE)), "cpu", monkeypatch) == 0


def test_an_empty_text_is_none(by_c: Chooser, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [Case((NEW, INTEL), how) for how in ("argument", "environment")]
    assert [by_python(case, "cpu", monkeypatch) for case in cases] == by_c(cases, "cpu") == [1, 1]


def test_the_better_text_wins_over_the_better_device(by_c: Chooser, monkeypatch: pytest.MonkeyPatch) -> None:
    """\"portable\" is part of a platform's name and of a better device's: the platform decides."""
    cases = [Case((replace(INTEL, devices=(Device("portable"),)), NEW), "argument", "portable")]
    assert [by_python(case, "cpu", monkeypatch) for case in cases] == by_c(cases, "cpu") == [1]


# ---- at random -------------------------------------------------------------------------------------------------------

NAMES = [p.name for p in (INTEL, XE, NEW, NVIDIA, GRIND, FPGA)]
NAMES += ["AMD Accelerated Parallel Processing", " intel ", "Clover", "rusticl", "", "oclgrind on Intel", FAILS]
VERSIONS = [p.version for p in (INTEL, XE, OLD, NEW, NEWER, NEWEST, NVIDIA)]
VERSIONS += ["OpenCL 1.2 PoCL 1.10", "OpenCL 1.2 PoCL 1.9", "PoCL 3.1", "OpenCL 3.0 PoCL 3.01", "OpenCL 3.0 PoCL 3.x"]
VERSIONS += [
    "OpenCL 3.0  PoCL  7.0",
    "OpenCL PoCL 4.0",
    "OpenCL 3.0 PoCL 123456.1",
    "OpenCL 3.0 PoCL .9",
    "",
    FAILS,
    "x",
]
DEVICES = [d.name for p in (INTEL, XE, OLD, NEW, NEWER, NVIDIA, GRIND) for d in p.devices]
DEVICES += ["  Intel(R) Xeon(R)  ", "GPU", "cpu", "", "gfx90a", FAILS, "PoCL", "Oclgrind's"]
TEXTS = ["intel", "INTEL", "pocl", "PoCL 3", "3.", "3.1", "1.2", "cpu", "GPU", "accelerator", "other", "epyc", "xeon"]
TEXTS += [
    "AMD",
    "opencl",
    "OpenCL 3.0",
    " ",
    "",
    "oclgrind",
    "nvidia",
    "nothing",
    "(R)",
    "a",
    "0",
    "Ä",
    "CUDA 12",
    "  ",
]


def random_case(chance: random.Random) -> Case:
    def device() -> Device:
        bits = chance.choice(
            [CPU, CPU, GPU, GPU, ACCELERATOR, CUSTOM, DEFAULT, CPU | DEFAULT, CPU | GPU, GPU | ACCELERATOR, 0]
        )
        units = chance.choice([1, 4, 4, 8, 200])
        return Device(chance.choice(DEVICES), bits, units, chance.random() < 0.9, chance.random() < 0.9)

    platforms = tuple(
        Platform(
            chance.choice(NAMES),
            chance.choice(VERSIONS),
            tuple(device() for _ in range(chance.randint(0, 3))),
            chance.random() < 0.05,
        )
        for _ in range(chance.randint(0, 5))
    )
    how = chance.choice(["default", "argument", "environment"])
    return Case(platforms, how, "" if how == "default" else chance.choice(TEXTS))


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_python_and_c_choose_alike(target: str, by_c: Chooser, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(target)
    cases = [random_case(chance) for _ in range(2000)]
    for case, chosen in zip(cases, by_c(cases, target), strict=True):
        assert by_python(case, target, monkeypatch) == chosen, case
