"""Available memory, checked before large allocations: a refusal is better than being killed."""

from __future__ import annotations

import contextlib
from pathlib import Path

from codegen.errors import SpecError

SMALL = 2**26
"""Allocations up to this many bytes are not checked."""

_UNLIMITED = 2**62


def room() -> int:
    """Bytes that this process may still allocate: the machine's free memory, or a lower limit (container, ulimit -v).

    2^62 if neither is known.
    """
    return min(_of_the_machine(), _of_the_group(), _of_the_process())


def require_room(size: int, what: str) -> None:
    """Raises SpecError if ``what``, of so many bytes, does not fit into memory."""
    if size > SMALL and size > room():
        raise SpecError(f"{what} takes {size} bytes, and {room()} bytes of memory are free here")


def _of_the_machine() -> int:
    with contextlib.suppress(OSError, ValueError, KeyError):  # not Linux
        lines = (line.split() for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
        free = {words[0]: int(words[1]) for words in lines if len(words) > 1}
        return 1024 * (free["MemAvailable:"] + free["SwapFree:"])
    return _UNLIMITED


def _of_the_group() -> int:
    """The memory limit of the container (cgroup)."""
    with contextlib.suppress(OSError, ValueError):  # no such file, or "max"
        group = Path("/sys/fs/cgroup")
        used = int((group / "memory.current").read_text(encoding="ascii"))
        return max(int((group / "memory.max").read_text(encoding="ascii")) - used, 0)
    return _UNLIMITED


def _of_the_process() -> int:
    with contextlib.suppress(ImportError, OSError, ValueError):  # not on Windows
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
            return max(limit - pages * resource.getpagesize(), 0)
    return _UNLIMITED
