"""Fixtures that all tests share: the devices and the tools of this machine."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from unittest import mock

import pytest

from codegen.errors import DeviceError
from codegen.runtime import probe
from codegen.runtime.devices import DeviceInfo, list_devices, select
from codegen.runtime.execute import Session
from tests.support.needs import RUNTIMES, TOOLS, missing

# The commands of the environment that runs the tests, whether it is activated or not.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
# Where there is a process for each core, more threads of OpenBLAS only wait for each other, which doubles the time of
# large networks.  numpy reads this when it is loaded, in the processes of pytest-xdist and those that tests start.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# A user's choice of a device would also be the default of the commands that tests start.
os.environ.pop("CLGEN_DEVICE", None)

pytest_plugins = ["tests.support.generated_c"]

_OF_THE_MACHINE = {"find_device", "some_device", "tool"}
"""Fixtures of tests that need more of the machine than Python: an OpenCL runtime, a compiler or another program."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests that need a device or a program of the machine."""
    for item in items:
        if isinstance(item, pytest.Function) and _OF_THE_MACHINE & set(item.fixturenames):
            item.add_marker("device")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Fails a test that runs on a device and is not marked: it would not be left out by -m "not device"."""
    if item.get_closest_marker("device"):
        return (yield)

    def refuse(session: Session, *arguments: object, **options: object) -> None:
        pytest.fail("runs on a device without one of the fixtures for it: has_device marks it")

    with mock.patch.object(Session, "__init__", refuse):
        return (yield)


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
