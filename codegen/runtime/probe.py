"""Whether an OpenCL runtime can be trusted, found out in a process of its own, which it may take with it.

The process is ``codegen/runtime/trial.py``.  Verdicts are kept in the user's cache folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from codegen import __version__
from codegen.runtime import cache

SECONDS = 60  # a trial takes about one second, and more where a compiler starts for the first time on a slow machine
VERDICT = "verdict: "  # begins the line in which a trial says what is wrong: runtimes print things, too
_CRASHING = ("crashes", "does not come to an end")


def verdict(identity: tuple[str, ...], *, fresh: bool = False) -> str:
    """What is wrong with a device; "" if it computes the right numbers.

    ``identity`` is its platform, the platform's version, its driver and its name.  A verdict that was kept is taken
    unless a ``fresh`` one is wanted.
    """
    name = f"trial-{_digest(*identity)}"
    kept = None if fresh else cache.read(name)
    if kept is not None:
        return kept
    found = _trial("device", *identity)
    cache.keep(name, found)
    return found


def crashing(entries: Mapping[str, str], variable: str) -> dict[str, str]:
    """{name of .icd file: what is wrong} of the runtimes that crash where devices are listed.

    ``entries`` are the libraries by the names of their .icd files, of all that are registered now; ``variable`` is the
    loader's, which names a folder of such files.
    """
    facts = [f"{name}\0{library}\0{_state(library)}" for name, library in sorted(entries.items())]
    name = f"listing-{_digest(os.environ.get('LD_LIBRARY_PATH', ''), *facts)}"
    with contextlib.suppress(ValueError, TypeError):  # nothing is kept, or it is damaged
        return dict(json.loads(cache.read(name)))  # type: ignore[arg-type]
    found = {}
    if _trial("list").startswith(_CRASHING):
        for entry, library in entries.items():
            with tempfile.TemporaryDirectory(prefix="clgen-") as alone:
                Path(alone, entry).write_text(f"{library}\n", encoding="utf-8")
                reason = _trial("list", **{variable: alone})
            if reason.startswith(_CRASHING):
                found[entry] = reason
    cache.keep(name, json.dumps(found))
    return found


def forget_listings() -> None:
    """Lets :func:`crashing` look again."""
    cache.forget("listing-*")


def _digest(*facts: str) -> str:
    return hashlib.sha256("\0".join((__version__, *facts)).encode(errors="surrogateescape")).hexdigest()[:16]


def _state(library: str) -> str:
    """What changes when a library is replaced; "" for one that the dynamic linker finds by name."""
    try:
        status = Path(library).stat() if library.startswith("/") else None
    except OSError:
        status = None
    return f"{status.st_mtime_ns} {status.st_size}" if status else ""


def _trial(*arguments: str, **variables: str) -> str:
    """Runs a trial; what it says is wrong, or how it ended before it could say anything."""
    command = [sys.executable, "-m", "codegen.runtime.trial", *arguments]
    # The package need not be installed, and the current folder may hold anything.
    path = os.pathsep.join(entry for entry in (str(Path(__file__).parents[2]), *sys.path) if entry)
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1", "PYOPENCL_NO_CACHE": "1", **variables}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"{_CRASHING[1]} within {SECONDS} s"
    if done.returncode == 0:
        return done.stdout.rpartition(VERDICT)[2].strip()
    said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    if done.returncode < 0:
        return f"{_CRASHING[0]} with {_signal(-done.returncode)}" + (f": {said[0][:200]}" if said else "")
    return f"fails: {said[-1][:200]}" if said else f"fails with status {done.returncode}"


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
