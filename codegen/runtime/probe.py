"""Trials of OpenCL runtimes, each in a process of its own, so that a crash ends only that process.

The process runs ``codegen/runtime/trial.py``.  Verdicts are kept in the user's cache folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from codegen import __version__, interrupt
from codegen.runtime import cache

SECONDS = 60  # a trial takes about one second, or more at a compiler's first start on a slow machine
VERDICT = "verdict: "  # marks the trial's own line, as runtimes print text too
_CRASHING = ("crashes", "does not come to an end")
# Verdicts that may depend on the machine's load rather than on the runtime are not kept.
_PASSING = ("does not come to an end", "crashes with SIGKILL", "cannot be tried", "is gone")
# The package may not be installed, and the current folder, which Python would search first, may contain anything.
_START = (
    "import runpy, sys; sys.path[:] = [entry for entry in sys.path if entry]; "
    "runpy.run_module('codegen.runtime.trial', run_name='__main__')"
)


def verdict(identity: tuple[str, ...], *, fresh: bool = False) -> str:
    """The fault of a device; "" if it computes the right numbers.

    ``identity`` is its platform, the platform's version, its driver and its name.  A kept verdict is returned unless a
    ``fresh`` one is wanted.
    """
    name = f"trial-{_digest(*identity)}"
    kept = None if fresh else cache.read(name)
    if kept is not None:
        return kept
    found = _trial("device", *identity)
    if not found.startswith(_PASSING):
        cache.keep(name, found)
    return found


def crashing(entries: Mapping[str, str], variable: str) -> dict[str, str]:
    """{name of .icd file: symptom} of the runtimes that crash when devices are listed.

    ``entries`` are all registered libraries by the names of their .icd files; ``variable`` is the loader's environment
    variable for a folder of such files.  Of runtimes that crash only together, Intel's stays.
    """
    facts = [f"{name}\0{library}\0{_state(library)}" for name, library in sorted(entries.items())]
    name = f"listing-{_digest(os.environ.get('LD_LIBRARY_PATH', ''), *facts)}"
    with contextlib.suppress(ValueError, TypeError):  # nothing is cached, or it is damaged
        return dict(json.loads(cache.read(name)))  # type: ignore[arg-type]
    found: dict[str, str] = {}
    if _trial("list").startswith(_CRASHING):
        with interrupt.scratch() as sound:
            for entry in sorted(entries, key=lambda entry: "intel" not in entry.casefold()):
                registered = sound / entry
                registered.write_text(f"{entries[entry]}\n", encoding="utf-8")
                reason = _trial("list", **{variable: str(sound)})
                if reason.startswith(_CRASHING):
                    found[entry] = reason
                    registered.unlink()
    if not any(reason.startswith(_PASSING) for reason in found.values()):
        cache.keep(name, json.dumps(found))
    return found


def forget_listings() -> None:
    """Makes the next :func:`crashing` run its trials again."""
    cache.forget("listing-*")


def _digest(*facts: str) -> str:
    return hashlib.sha256("\0".join((__version__, *facts)).encode(errors="surrogateescape")).hexdigest()[:16]


def _state(library: str) -> str:
    """Size and time of a library, which change when it is replaced; "" if the dynamic linker finds it by name."""
    try:
        status = Path(library).stat() if library.startswith("/") else None
    except OSError:
        status = None
    return f"{status.st_mtime_ns} {status.st_size}" if status else ""


def _trial(*arguments: str, **variables: str) -> str:
    """Runs a trial and returns the fault that it reports, or how it ended before it could report one."""
    command = [sys.executable, "-c", _START, *arguments]
    path = os.pathsep.join(entry for entry in (str(Path(__file__).parents[2]), *sys.path) if entry)
    environment = {**os.environ, "PYTHONPATH": path, "PYOPENCL_NO_CACHE": "1", **variables}
    try:
        process = interrupt.run(command, SECONDS, environment)
    except subprocess.TimeoutExpired:
        return f"{_CRASHING[1]} within {SECONDS} s"
    if process.returncode == 0 and VERDICT in process.stdout:
        return process.stdout.rpartition(VERDICT)[2].strip()
    lines = [line.strip() for line in process.stderr.splitlines() if line.strip()]
    if "Traceback (most recent call last):" in lines:
        return f"cannot be tried: {lines[-1][:200]}"
    how = _signal(-process.returncode) if process.returncode < 0 else f"exit status {process.returncode}"
    return f"{_CRASHING[0]} with {how}" + (f": {lines[0][:200]}" if lines else "")


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
