"""The rule that chooses an OpenCL device, as facts shared by the commands and the generated C host.

``runtime/devices.py`` interprets these facts, ``templates/host/_device.jinja`` prints them.

Devices are ranked.  The first of these criteria in which two devices differ decides:

1. a runtime that is not known to crash before one that is;
2. the wanted type of device before others;
3. a real device before a simulator;
4. the better runtime (the order of :data:`RUNTIMES`, then all others);
5. of one runtime the newer release;
6. more compute units;
7. the device that the loader lists first.

A text (``--device``, ``<name>_create``'s argument or CLGEN_DEVICE) is matched with part of a platform's name, else with
part of a platform's version without its leading "OpenCL 3.1 ", else with part of a device's name, else with a device
type.  The first of these four that matches any device decides, and the ranking decides among the matching devices.
ASCII letters match in either case, and spaces at both ends of a name are ignored.  Devices that are not available or
have no compiler are never chosen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Runtime:
    """A family of OpenCL runtimes.

    ``platform`` is the beginning of its platforms' names; ``release`` is the text before the release (major.minor, at
    most four digits each) in its platforms' versions, "" if releases are not compared.  On x86-64, releases before
    ``sound_from`` are known to crash.
    """

    platform: str
    release: str
    sound_from: tuple[int, int]


# Best first.
RUNTIMES = (
    Runtime("Intel", "", (0, 0)),
    # Before 3.1, PoCL's LLVM (14 in the wheel of 2022) aborts on vector selects of processors with AVX-512.
    Runtime("", "PoCL ", (3, 1)),
)

# Names of x86-64: Python's platform.machine() and macros of C compilers.
CRASHING_MACHINES = ("x86_64", "AMD64")
CRASHING_MACROS = ("__x86_64__", "_M_X64")

# Part of a simulator's platform or device name.
SIMULATORS = ("oclgrind", "fpga emulation")

# Names of device types, and their bits in cl_device_type; a device with several bits has the first type.
DEVICE_TYPES: Mapping[str, int] = {"CPU": 1 << 1, "GPU": 1 << 2, "accelerator": 1 << 3}
OTHER_TYPE = "other"
