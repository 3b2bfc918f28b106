"""The user's cache folder.  It only saves time: everything works if it cannot be written."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from platformdirs import user_cache_dir


def folder(application: str = "clgen") -> Path | None:
    """The cache folder of an application, created if missing; None if it cannot be written."""
    path = Path(user_cache_dir(application, appauthor=False))
    if not path.is_absolute():  # "~" if there is neither HOME nor an entry for the user
        return None
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError:
        return None
    return path


def read(name: str) -> str | None:
    """The text that is kept under a name; None if there is none."""
    try:
        return Path(user_cache_dir("clgen", appauthor=False), name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def keep(name: str, text: str) -> None:
    """Keeps a text under a name, if the folder can be written."""
    path = folder()
    if path is None:
        return
    try:
        write(path / name, text)
    except OSError:
        return


def forget(pattern: str) -> None:
    """Removes the texts kept under names that match a glob pattern."""
    with contextlib.suppress(OSError):
        for file in Path(user_cache_dir("clgen", appauthor=False)).glob(pattern):
            file.unlink(missing_ok=True)


def write(target: Path, text: str) -> None:
    """Writes a file atomically, by a rename; OSError if it cannot be written."""
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, suffix=".tmp")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
