"""The output of ``clgen devices``: all devices and their trials, as a table or as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from codegen.runtime import probe
from codegen.runtime.devices import INSTALL_HINT, DeviceInfo, default_of, list_devices

Tried = Sequence[tuple[DeviceInfo, str]]
"""Devices, each with the fault that its trial found, "" if there is none."""


def tried_devices() -> Tried:
    """All devices, best first; those that fail their trial, and are never chosen by default, come last.

    A trial takes about a second; its verdict is cached.  Raises DeviceError like :func:`list_devices`.
    """
    tried = [(device, probe.verdict(device.identity)) for device in list_devices()]
    return sorted(tried, key=lambda pair: bool(pair[1]))


def as_json(tried: Tried) -> dict[str, Any]:
    """The devices as JSON, whose fields are documented in docs/devices.md."""
    default = default_of(tried)
    return {
        "devices": [
            {
                "platform": device.platform,
                "name": device.name,
                "type": device.type,
                "version": device.version,
                "driver": device.driver,
                "compute_units": device.compute_units,
                "global_memory_bytes": device.global_memory,
                "constant_buffer_bytes": device.constant_buffer,
                "alignment_bytes": device.alignment,
                "default": device is default,
                "fault": fault or None,
            }
            for device, fault in tried
        ]
    }


def format_table(tried: Tried) -> str:
    """The devices as aligned columns, one device a line, followed by the faults of those that do not work."""
    if not tried:
        return f"no OpenCL device found; {INSTALL_HINT}"
    rows = [("platform", "device", "type", "version", "driver", "units", "memory", "constant", "align")]
    rows += [
        (
            device.platform,
            device.name,
            device.type,
            device.version.split("  ")[0],  # the rest of PoCL's version lists build options
            device.driver,
            str(device.compute_units),
            f"{device.global_memory / 2**30:.1f} GiB",
            f"{device.constant_buffer // 1024} KiB",
            f"{device.alignment} B",
        )
        for device, _ in tried
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    faults = (
        f"{device.platform}: {device.name} {fault}; clgen doctor says what to do" for device, fault in tried if fault
    )
    return "\n".join([*(line.rstrip() for line in lines), *faults])
