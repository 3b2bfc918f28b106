"""The OpenCL devices of this machine.  The one module that imports pyopencl: others call :func:`opencl`."""

from __future__ import annotations

import importlib
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from codegen.errors import DeviceError
from codegen.runtime import embedded

INSTALL_HINT = (
    'install an OpenCL implementation: pip install "clgen[opencl]" (Linux on x86-64), '
    "or sudo apt install pocl-opencl-icd; clgen doctor says what is missing"
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DeviceInfo:
    """One device.  Memory, constant buffer and alignment are in bytes.

    ``version`` is the platform's, which names the runtime's own release ("PoCL 3.1"); the device's need not.
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


def opencl() -> ModuleType:
    """The pyopencl module, with the implementations from PyPI visible."""
    embedded.activate()
    try:
        return importlib.import_module("pyopencl")
    except ImportError as error:
        raise DeviceError(f"pyopencl cannot be imported: {error}; clgen doctor says what is missing") from error


def list_devices() -> list[DeviceInfo]:
    """All devices, the one that is taken by default first; [] if there is no platform.

    A platform or device that fails is logged and left out.  DeviceError if pyopencl is missing or all of them fail.
    """
    cl = opencl()
    try:
        platforms = cl.get_platforms()
    except cl.Error as error:
        if error.code == cl.status_code.PLATFORM_NOT_FOUND_KHR:
            return []
        raise DeviceError(f"the OpenCL loader lists no platforms: {error}") from error
    found: dict[int, DeviceInfo] = {}
    failures: list[str] = []
    for platform in platforms:
        name = "without a name"
        try:
            name = platform.name
            handles = platform.get_devices()
        except cl.Error as error:
            failures.append(f"OpenCL platform {name!r} lists no devices: {error}")
            continue
        for handle in handles:
            try:
                # A library that is registered under two names is one platform, listed twice, with the same handles.
                found.setdefault(handle.int_ptr, _describe(cl, platform, handle))
            except cl.Error as error:
                failures.append(f"a device of OpenCL platform {name!r} does not answer: {error}")
    for failure in failures:
        _log.warning("%s", failure)
    if failures and not found:
        raise DeviceError("; ".join(failures))
    return sorted(found.values(), key=lambda device: _preference(device, "CPU"))


def select(patterns: Sequence[str], *, default_type: str = "CPU") -> list[DeviceInfo]:
    """The devices that the patterns mean, without repeats; without patterns the one best device.

    A pattern is part of a platform's name, else of a platform's version, else of a device's name, else a device type;
    the first of these that fits decides, so that "intel" is the Intel runtime and not also PoCL on an Intel CPU.
    DeviceError if a pattern fits nothing or there is no device.
    """
    return choose(list_devices(), patterns, default_type=default_type)


def choose(devices: Sequence[DeviceInfo], patterns: Sequence[str], *, default_type: str = "CPU") -> list[DeviceInfo]:
    """:func:`select` among given devices."""
    ranked = sorted(devices, key=lambda device: _preference(device, default_type))
    if not ranked:
        raise DeviceError(f"no OpenCL device found; {INSTALL_HINT}")
    if not patterns:
        return ranked[:1]
    chosen: list[DeviceInfo] = []
    for pattern in patterns:
        matches = _matches(ranked, pattern)
        if not matches:
            present = "\n".join(f"  {device.platform}: {device.name}" for device in ranked)
            raise DeviceError(
                f"--device {pattern!r} is not part of any platform's or device's name; there are\n{present}\n"
                f"If the one you mean is missing, {INSTALL_HINT}"
            )
        # Not "in": two equal boards differ in nothing but their handles.
        chosen += [match for match in matches if not any(match is device for device in chosen)]
    return chosen


def format_table(devices: Sequence[DeviceInfo]) -> str:
    """The devices as aligned columns, one device a line."""
    if not devices:
        return f"no OpenCL device found; {INSTALL_HINT}"
    rows = [("platform", "device", "type", "version", "driver", "units", "memory", "constant", "align")]
    rows += [
        (
            device.platform,
            device.name,
            device.type,
            device.version.split("  ")[0],  # PoCL goes on with its build options
            device.driver,
            str(device.compute_units),
            f"{device.global_memory / 2**30:.1f} GiB",
            f"{device.constant_buffer // 1024} KiB",
            f"{device.alignment} B",
        )
        for device in devices
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def _describe(cl: ModuleType, platform: Any, device: Any) -> DeviceInfo:
    kinds = {cl.device_type.CPU: "CPU", cl.device_type.GPU: "GPU", cl.device_type.ACCELERATOR: "accelerator"}
    return DeviceInfo(
        platform=platform.name.strip(),
        name=device.name.strip(),
        type=next((word for kind, word in kinds.items() if device.type & kind), "other"),
        version=platform.version.strip(),
        driver=device.driver_version.strip(),
        compute_units=device.max_compute_units,
        global_memory=device.global_mem_size,
        constant_buffer=device.max_constant_buffer_size,
        alignment=device.mem_base_addr_align // 8,  # OpenCL counts it in bits
        handle=device,
    )


def _matches(devices: Sequence[DeviceInfo], pattern: str) -> list[DeviceInfo]:
    wanted = pattern.casefold()
    for text in (
        lambda device: device.platform,
        # Without "OpenCL 3.1": that is the standard's version, which "3.1" for a PoCL does not mean.
        lambda device: re.sub(r"^OpenCL \d+\.\d+ *", "", device.version),
        lambda device: device.name,
    ):
        matches = [device for device in devices if wanted in text(device).casefold()]
        if matches:
            return matches
    return [device for device in devices if device.type.casefold() == wanted]


def _preference(device: DeviceInfo, default_type: str) -> tuple[bool, bool, bool, tuple[int, ...], int]:
    """Sorts first what is best: the wanted type, no simulator, the faster CPU runtime, the newer PoCL, more units."""
    pocl = re.search(r"PoCL (\d+)\.(\d+)", device.version)
    return (
        device.type.casefold() != default_type.casefold(),
        "oclgrind" in f"{device.platform} {device.name}".casefold(),
        not device.platform.casefold().startswith("intel"),
        tuple(-int(part) for part in pocl.groups()) if pocl else (0, 0),
        -device.compute_units,
    )
