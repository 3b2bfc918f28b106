"""Writes a single file that the user names, such as a report: whole or not at all."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from codegen.emit.output import kind_of
from codegen.emit.transaction import locked
from codegen.errors import SpecError

_NOT_BLOCKING = getattr(os, "O_NONBLOCK", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)

_OPEN_ALREADY = re.compile(r"/dev/(std(out|err)|fd/\d+)$")


def write_file(path: Path, content: bytes) -> None:
    """Replaces or creates a file through a temporary file next to it; SpecError, and no change, if that fails.

    A symbolic link is followed, as a shell does.  A pipe or a terminal is written to directly; a pipe without a reader
    is an error, not a wait.
    """
    try:
        mode = path.stat().st_mode if path.exists() else None
        if _OPEN_ALREADY.match(str(path)):
            _send(path, content)
        elif mode is None or stat.S_ISREG(mode):
            if mode is not None and not mode & 0o222:
                raise SpecError(f"{path}: cannot write: is read-only; make it writable, or choose another file")
            _replace(path.resolve(), content)
        elif stat.S_ISDIR(mode) or stat.S_ISSOCK(mode):
            raise SpecError(f"{path}: cannot write: is {kind_of(mode)}; choose another file")
        else:
            _send(path, content)
    except (OSError, RuntimeError) as error:  # RuntimeError: links that form a ring
        reason = error.strerror if isinstance(error, OSError) else "its symbolic links form a ring"
        raise SpecError(f"{path}: cannot write: {reason or error}") from error


def _send(path: Path, content: bytes) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | _NOT_BLOCKING)
    except OSError as error:
        if stat.S_ISFIFO(path.stat().st_mode):
            raise SpecError(f"{path}: cannot write: is a pipe that nobody reads; start its reader first") from error
        raise
    os.set_blocking(descriptor, True)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)


def _replace(path: Path, content: bytes) -> None:
    """Writes a temporary file, always of the same name, so that the next writer reuses the file of a killed one."""
    temporary = path.with_name(f".{path.name[:200]}.clgen")
    descriptor = _own(temporary)
    try:
        os.truncate(descriptor, 0)
        with os.fdopen(descriptor, "wb", closefd=False) as stream:
            stream.write(content)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def _own(path: Path) -> int:
    """Creates or takes over a temporary file, which no other process writes until it is closed."""
    while True:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | _NO_LINK | _NOT_BLOCKING, 0o666)
        if locked(descriptor, path):
            status = os.fstat(descriptor)
            if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
                return descriptor
            os.close(descriptor)
            raise SpecError(f"{path}: cannot write: is not the temporary file that clgen makes there; move it away")
