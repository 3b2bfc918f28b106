"""Facts about the processor that this process runs on."""

from __future__ import annotations

import os
import platform
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


def processor_name(cpuinfo: Path = CPUINFO) -> str:
    """The processor's model name, as Linux states it; else the most that Python knows: at least its architecture."""
    stated = _stated(cpuinfo)
    # Only x86 has a "model name" everywhere; MIPS has "cpu model", POWER "cpu", RISC-V "uarch".
    known = (stated.get(key, "") for key in ("model name", "cpu model", "cpu", "uarch"))
    return next(filter(None, (*known, platform.processor(), platform.machine())), "an unknown processor")


def instruction_sets(cpuinfo: Path = CPUINFO) -> frozenset[str]:
    """The instruction sets of an x86 processor, by the names that Linux and GCC have for them; none if unknown."""
    return frozenset(_stated(cpuinfo).get("flags", "").split())


def _stated(cpuinfo: Path) -> dict[str, str]:
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not on Linux
        return {}
    return {key.strip(): " ".join(value.split()) for key, _, value in (line.partition(":") for line in lines)}


def processors() -> int:
    """The processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
