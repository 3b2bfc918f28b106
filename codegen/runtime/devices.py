"""The OpenCL devices of this machine.  Only this module imports pyopencl; others call :func:`opencl`."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import logging
import os
import platform
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from codegen.emit import choice
from codegen.errors import DeviceError
from codegen.runtime import cache, embedded, probe

INSTALL_HINT = (
    'install an OpenCL implementation: pip install "clgen[opencl]" (Linux on x86-64), '
    "or sudo apt install pocl-opencl-icd; clgen doctor says what is missing"
)

VARIABLE = "CLGEN_DEVICE"  # replaces a missing --device, and NULL as argument of the C host's create

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DeviceInfo:
    """Properties of a device.  Memory, constant buffer and alignment are in bytes.

    ``version`` is the platform's, which contains the runtime's own release ("PoCL 3.1"); the device's may not.
    """

    platform: str
    name: str
    type: str  # "CPU", "GPU", "accelerator" or "other"
    version: str
    driver: str
    compute_units: int
    global_memory: int
    constant_buffer: int
    alignment: int
    handle: Any = field(default=None, compare=False, repr=False)  # pyopencl.Device

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """The properties that a trial's verdict depends on."""
        return self.platform, self.version, self.driver, self.name


def opencl() -> ModuleType:
    """The pyopencl module, with the runtimes from PyPI registered, and without runtimes that crash when listed."""
    embedded.activate()
    return plain_opencl()


def plain_opencl() -> ModuleType:
    """The pyopencl module, with the runtimes that the environment registers."""
    if "pyopencl" not in sys.modules:
        # pyopencl waits minutes for the lock of a cache that it cannot write, or fails.
        if cache.folder("pyopencl") is None:
            os.environ.setdefault("PYOPENCL_NO_CACHE", "1")
        # If a kernel cannot be cached, as on a full disk, pyopencl reads this variable and expects it to be set.
        os.environ.setdefault("PYOPENCL_CACHE_FAILURE_FATAL", "")
    try:
        return importlib.import_module("pyopencl")
    except ImportError as error:
        raise DeviceError(f"pyopencl cannot be imported: {error}; clgen doctor says what is missing") from error


def list_devices() -> list[DeviceInfo]:
    """All devices, the default one first; [] if there is no platform.

    A platform or device that fails, is not available or has no compiler is logged and left out.
    Raises DeviceError if pyopencl is missing or all platforms fail.
    """
    return sorted(listed(opencl()), key=lambda device: _rank(device, "CPU"))


def listed(cl: ModuleType) -> list[DeviceInfo]:
    """:func:`list_devices` in the loader's order, which decides between otherwise equal devices."""
    try:
        platforms = cl.get_platforms()
    except cl.Error as error:
        if error.code == cl.status_code.PLATFORM_NOT_FOUND_KHR:
            return []
        raise DeviceError(f"the OpenCL loader lists no platforms: {error}") from error
    found: dict[int, DeviceInfo] = {}
    failures: list[str] = []
    for entry in platforms:
        name = "without a name"
        try:
            name = entry.name
            handles = entry.get_devices()
        except cl.Error as error:
            failures.append(f"OpenCL platform {name!r} lists no devices: {error}")
            continue
        for handle in handles:
            try:
                # A library that is registered under two names appears as two platforms with the same handles.
                reason = _unusable(handle)
                if reason:
                    _log.warning("device %r of OpenCL platform %r %s", handle.name, name, reason)
                else:
                    found.setdefault(handle.int_ptr, _describe(entry, handle))
            except cl.Error as error:
                failures.append(f"a device of OpenCL platform {name!r} does not answer: {error}")
    for failure in failures:
        _log.warning("%s", failure)
    if failures and not found:
        raise DeviceError("; ".join(failures))
    return list(found.values())


def select(patterns: Sequence[str], *, default_type: str = "CPU") -> list[DeviceInfo]:
    """The devices that match the patterns, best first, without repeats; without patterns the best device.

    Patterns and ranking are those of :mod:`codegen.emit.choice`; ``default_type`` is the wanted type.  Without patterns
    the environment variable CLGEN_DEVICE names the device, as it does for the C host.  If that is not set either, a
    device that fails its trial (:mod:`codegen.runtime.probe`) is never chosen.
    Raises DeviceError if a pattern matches nothing, there is no device, or none passes.
    """
    found = listed(opencl())
    wanted = os.environ.get(VARIABLE)
    if patterns:
        return choose(found, patterns, default_type=default_type)
    if wanted:
        return choose(found, [wanted], default_type=default_type, source=VARIABLE)[:1]
    return [_first_working(found, default_type)]


def default_of(tried: Sequence[tuple[DeviceInfo, str]]) -> DeviceInfo | None:
    """The device that is chosen without ``--device``, given the devices, best first, and their trials' verdicts."""
    wanted = os.environ.get(VARIABLE)
    if wanted:
        with contextlib.suppress(DeviceError):
            return choose([device for device, _ in tried], [wanted])[0]
        return None
    return next((device for device, fault in tried if not fault), None)


def environment_exports() -> list[str]:
    """Shell lines that give a C program this process' OpenCL and a working default device."""
    lines = embedded.environment_exports()
    if os.environ.get(VARIABLE):
        return lines
    try:
        found = listed(opencl())
        taken, working = choose(found, [])[0], _first_working(found, "CPU")
    except DeviceError:
        return lines
    if taken is working:
        return lines
    texts = (working.platform, _own_version(working), working.name, working.type)
    naming = (text for text in texts if text and choose(found, [text])[0] is working)
    return [*lines, *(embedded.export(VARIABLE, text) for text in itertools.islice(naming, 1))]


def _first_working(devices: Sequence[DeviceInfo], wanted_type: str) -> DeviceInfo:
    """The best device that passes its trial."""
    failed = []
    for device in _ranked(devices, wanted_type):
        reason = probe.verdict(device.identity)
        if not reason:
            return device
        failed.append(f"{device.platform}: {device.name} {reason}")
        _log.warning("%s; it is not used, clgen doctor says what to do", failed[-1])
    raise DeviceError("no OpenCL device works; clgen doctor says what to do:\n  " + "\n  ".join(failed))


def choose(
    devices: Sequence[DeviceInfo], patterns: Sequence[str], *, default_type: str = "CPU", source: str = "--device"
) -> list[DeviceInfo]:
    """:func:`select` among given devices, regardless of the environment; errors name the ``source`` of a pattern."""
    ranked = _ranked(devices, default_type)
    if not patterns:
        return ranked[:1]
    chosen: list[DeviceInfo] = []
    for pattern in patterns:
        matches = _matches(ranked, pattern)
        if not matches:
            present = "\n".join(f"  {device.platform}: {device.name}" for device in ranked)
            raise DeviceError(
                f"{source} {pattern!r} fits no platform, version, device or type; there are\n{present}\n"
                f"If the one you mean is missing, {INSTALL_HINT}"
            )
        # Not "in": two equal boards differ only in their handles.
        chosen += [match for match in matches if not any(match is device for device in chosen)]
    return chosen


def _unusable(device: Any) -> str:
    """The reason why a device cannot be used; "" if it can."""
    if not device.available:
        return "is not available"
    return "" if device.compiler_available else "has no compiler"


def _describe(entry: Any, device: Any) -> DeviceInfo:
    return DeviceInfo(
        platform=entry.name.strip(" "),
        name=device.name.strip(" "),
        type=next((name for name, bits in choice.DEVICE_TYPES.items() if device.type & bits), choice.OTHER_TYPE),
        version=entry.version.strip(" "),
        driver=device.driver_version.strip(" "),
        compute_units=device.max_compute_units,
        global_memory=device.global_mem_size,
        constant_buffer=device.max_constant_buffer_size,
        alignment=device.mem_base_addr_align // 8,  # OpenCL's value is in bits
        handle=device,
    )


# ---- the rule of emit/choice.py --------------------------------------------------------------------------------------


def _ranked(devices: Sequence[DeviceInfo], wanted_type: str) -> list[DeviceInfo]:
    """The devices, best first; DeviceError if there is none."""
    if not devices:
        raise DeviceError(f"no OpenCL device found; {INSTALL_HINT}")
    return sorted(devices, key=lambda device: _rank(device, wanted_type))


def _matches(devices: Sequence[DeviceInfo], pattern: str) -> list[DeviceInfo]:
    """The devices that match a text, by the first kind of name that matches any device."""
    wanted = _lower(pattern)
    for text in (lambda d: d.platform, _own_version, lambda d: d.name):
        matches = [device for device in devices if wanted in _lower(text(device))]
        if matches:
            return matches
    return [device for device in devices if _lower(device.type) == wanted]


def _rank(device: DeviceInfo, wanted_type: str) -> tuple[int, ...]:
    """The device's sort key: numbers that are compared in order, less is better."""
    family = next((k for k, r in enumerate(choice.RUNTIMES) if _is_of(device, r)), len(choice.RUNTIMES))
    release, crashes = (0, 0), False
    if family < len(choice.RUNTIMES):
        release = _release(device, choice.RUNTIMES[family])
        crashes = platform.machine() in choice.CRASHING_MACHINES and release < choice.RUNTIMES[family].sound_from
    names = (_lower(device.platform), _lower(device.name))
    return (
        crashes,
        _lower(device.type) != _lower(wanted_type),
        any(simulator in name for simulator in map(_lower, choice.SIMULATORS) for name in names),
        family,
        *(-number for number in release),
        -device.compute_units,
    )


def _is_of(device: DeviceInfo, runtime: choice.Runtime) -> bool:
    return _lower(device.platform).startswith(_lower(runtime.platform)) and runtime.release in _own_version(device)


def _release(device: DeviceInfo, runtime: choice.Runtime) -> tuple[int, int]:
    if not runtime.release:
        return 0, 0
    behind = _own_version(device).partition(runtime.release)[2]
    found = re.match(r"([0-9]{0,4})(?:\.([0-9]{0,4}))?", behind)
    assert found is not None
    return int(found[1] or 0), int(found[2] or 0)


def _own_version(device: DeviceInfo) -> str:
    """The platform's version without the leading "OpenCL 3.1 ", which is the standard's version, not the runtime's."""
    return re.sub(r"^OpenCL [0-9.]*", "", device.version).strip(" ")


def _lower(text: str) -> bytes:
    """The text with ASCII letters in lower case, as the C host compares names."""
    return text.encode(errors="surrogateescape").lower()
