"""What tests share: devices, tools, and what happens when one is missing.

With CLGEN_REQUIRE=all in the environment (as on CI) a missing runtime, compiler or tool is a failure; elsewhere the
test is skipped and says what to install.  Trained networks of others are not part of the repository: where there is no
folder of them, their tests are skipped even then; where there is one, it has to be whole.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from codegen.errors import DeviceError
from codegen.runtime import probe
from codegen.runtime.devices import DeviceInfo, list_devices, select

# The commands of the environment that runs the tests, whether it is activated or not.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
# A user's choice of a device would also be the default of the commands that tests start.
os.environ.pop("CLGEN_DEVICE", None)

pytest_plugins = ["generated_c"]

ROOT = Path(__file__).resolve().parent.parent

RUNTIMES = {
    "intel": ("Intel(R) OpenCL", 'pip install "clgen[opencl]"'),
    "pocl": ("Portable Computing Language", "sudo apt install pocl-opencl-icd"),
}

TOOLS = {
    "gcc": "sudo apt install gcc",
    "g++": "sudo apt install g++",
    "clang": "sudo apt install clang",
    "clang++": "sudo apt install clang",
    "cmake": "sudo apt install cmake",
    "valgrind": "sudo apt install valgrind",
    "oclgrind": "sudo apt install oclgrind",
    "ocloc": "sudo apt install intel-opencl-icd (Debian 12) or intel-ocloc (Ubuntu 24.04)",
}


def missing(what: str, remedy: str) -> None:
    """Fails where everything is required, skips elsewhere."""
    message = f"{what} is missing: {remedy}"
    if os.environ.get("CLGEN_REQUIRE") == "all":
        pytest.fail(message)
    pytest.skip(message)


def trained(name: str) -> Path:
    """The folder of a trained network that others made, below $CLGEN_CASES or ../shared/cases."""
    told = os.environ.get("CLGEN_CASES")
    cases = Path(told or ROOT.parent / "shared" / "cases")
    if not told and not cases.is_dir():
        pytest.skip(f"the trained network {name} is not here: CLGEN_CASES names the folder that holds the cases")
    if not (cases / name).is_dir():
        pytest.fail(f"{cases} holds no {name}: it should hold all cases, or not be there")
    return cases / name


@pytest.fixture(scope="session")
def find_device() -> Callable[[str], DeviceInfo]:
    """The CPU device of a runtime, by its key in RUNTIMES."""

    def find(runtime: str) -> DeviceInfo:
        platform, remedy = RUNTIMES[runtime]
        for device in list_devices():
            if device.platform == platform and device.type == "CPU":
                reason = probe.verdict(device.identity)
                if reason:
                    missing(f"a working {platform}", f"this one {reason}; clgen doctor says what to do")
                return device
        missing(f"the OpenCL runtime {platform}", remedy)
        raise AssertionError("not reached")

    return find


@pytest.fixture(scope="session")
def some_device() -> DeviceInfo:
    """The device that commands take by default, whatever it is."""
    try:
        return select([])[0]
    except DeviceError as error:
        missing("an OpenCL device", str(error))
        raise AssertionError("not reached") from error


@pytest.fixture
def has_device(some_device: DeviceInfo) -> None:
    """Lets a test run a command that takes the default device."""


@pytest.fixture(params=list(RUNTIMES))
def device(request: pytest.FixtureRequest, find_device: Callable[[str], DeviceInfo]) -> DeviceInfo:
    """Each OpenCL runtime in turn."""
    return find_device(request.param)


@pytest.fixture(scope="session")
def tool() -> Callable[[str], str]:
    """The path of a program, by its key in TOOLS."""

    def find(name: str) -> str:
        path = shutil.which(name)
        if path is None:
            missing(name, TOOLS[name])
        assert path is not None
        return path

    return find
