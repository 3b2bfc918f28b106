"""{path: bytes} -> disk: all files or none, and only those that change."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from codegen.errors import SpecError

MANIFEST = "manifest.json"
FORMAT = 3  # of the manifest: files of another one are to be built again
EXAMPLE = "example.c"  # the user's to edit


@dataclass(frozen=True)
class Changes:
    """File names by what would happen to them."""

    written: tuple[str, ...]
    removed: tuple[str, ...]
    unchanged: tuple[str, ...]

    @property
    def any(self) -> bool:
        return bool(self.written or self.removed)


def compare(folder: Path, files: Mapping[str, bytes]) -> Changes:
    """What writing these files would change; nothing is written.

    Files of an earlier build that are not generated any more are removed; files of the user are left alone.
    """
    for name in files:
        assert Path(name).name == name, "generated files lie in the output folder itself"
    same = [name for name, content in files.items() if _content(folder / name) == content]
    written = tuple(name for name in files if name not in same)
    removed = tuple(name for name in _generated_before(folder) if name not in files)
    return Changes(written, removed, tuple(same))


def write(folder: Path, files: Mapping[str, bytes]) -> Changes:
    """Makes the folder hold these files, or leaves everything as it was and raises SpecError."""
    changes = compare(folder, files)
    # The manifest goes last: a folder whose manifest is new is complete.
    written = sorted(changes.written, key=lambda name: name == MANIFEST)
    write_all(folder, {name: files[name] for name in written})
    try:
        for name in changes.removed:
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from error
    return changes


def write_all(folder: Path, files: Mapping[str, bytes]) -> None:
    """Puts all of these files into the folder, in this order, or none."""
    staged: list[tuple[Path, Path]] = []
    before: dict[Path, bytes | None] = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            path = folder / name
            if path.exists() and not path.is_file():
                raise SpecError(f"{path}: cannot write: is not a regular file; move it away")
            staged.append((_staged(path, content), path))
        for temporary, path in staged:
            before[path] = _content(path)
            temporary.replace(path)
    except OSError as error:
        for path, old in before.items():
            _put_back(path, old)
        raise _unwritable(folder, error) from error
    finally:
        for temporary, _ in staged:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def _unwritable(folder: Path, error: OSError) -> SpecError:
    return SpecError(f"{folder}: cannot write: {error.strerror or error}; choose another folder with -o")


def write_file(path: Path, content: bytes) -> None:
    """One file, whole or not at all; SpecError if it cannot be written."""
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(content)  # a pipe or a device has no half-written state
            return
        temporary = _staged(path, content)
        try:
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise SpecError(f"{path}: cannot write: {error.strerror or error}") from error


def _staged(path: Path, content: bytes) -> Path:
    """The content in a temporary file beside the path."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        temporary.chmod(0o644)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _put_back(path: Path, content: bytes | None) -> None:
    with contextlib.suppress(OSError):
        if content is None:
            path.unlink(missing_ok=True)
        else:
            path.write_bytes(content)


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _generated_before(folder: Path) -> list[str]:
    try:
        listed = json.loads((folder / MANIFEST).read_text())["files"]
        return [name for name in listed if Path(name).name == name and (folder / name).is_file()]
    except (OSError, ValueError, KeyError, TypeError):
        return []
