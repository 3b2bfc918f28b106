"""{file name: bytes} -> a folder on disk: all files or none, only changed ones, and never the user's own."""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from codegen.emit import transaction
from codegen.errors import SpecError

MANIFEST = "manifest.json"
FORMAT = 6  # version of the manifest; files of another version must be built again
EXAMPLE = "example.c"  # users may edit this file
PROGRAM = "clgen"  # first word of the generator's name in a manifest
_FORCE = "move it away, or replace it with --force"


@dataclass(frozen=True)
class Changes:
    """File names by what would happen to them.

    ``foreign`` are those of ``written`` that would replace a file that clgen did not write, or that was edited since.
    ``kept`` is the example if it was edited, as an edited example stays.
    """

    written: tuple[str, ...]
    removed: tuple[str, ...]
    unchanged: tuple[str, ...]
    kept: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()

    @property
    def any(self) -> bool:
        return bool(self.written or self.removed)


def compare(folder: Path, files: Mapping[str, bytes]) -> Changes:
    """The changes that writing these files would make; nothing is written.

    Files of an earlier build that are no longer generated are removed, unless they were edited; the user's files are
    left alone.  Raises SpecError if one of the files exists but is not a regular file, or cannot be read or written.
    """
    for name in files:
        assert Path(name).name == name, "generated files lie in the output folder itself"
    ours = _generated_before(folder)
    there = {name: content for name in files if (content := read_regular(folder / name)) is not None}
    same = tuple(name for name in files if there.get(name) == files[name])
    foreign = [name for name in there if name not in same and ours.get(name) != _sha256(there[name])]
    kept = tuple(name for name in foreign if name == EXAMPLE)
    written = tuple(name for name in files if name not in same and name not in kept)
    for name in written:
        if name in there and not (folder / name).stat().st_mode & 0o222:
            raise SpecError(f"{folder / name}: cannot write: is read-only; make it writable, or move it away")
    gone = [name for name in ours if name not in files and _is_unchanged(folder / name, ours[name])]
    return Changes(
        written,
        (*gone, *transaction.leftovers(folder)),
        same,
        kept,
        tuple(name for name in foreign if name not in kept),
    )


def write(folder: Path, files: Mapping[str, bytes], force: bool = False) -> Changes:
    """Makes the folder contain these files, or leaves everything as it was and raises SpecError.

    A file that clgen did not write, or that was edited since, is replaced only with ``force``.
    """
    with transaction.opened(folder):
        changes = compare(folder, files)
        if changes.foreign and not force:
            raise SpecError(f"{folder / changes.foreign[0]}: {_whose(folder, changes.foreign[0])}; {_FORCE}")
        # The manifest is removed first and written last: a folder with a manifest is complete.
        names = sorted(changes.written, key=lambda name: name != MANIFEST)
        transaction.replace(folder, {name: files[name] for name in names}, changes.removed)
    return changes


def write_all(folder: Path, files: Mapping[str, bytes], is_ours: Callable[[Mapping[str, bytes]], bool]) -> None:
    """Puts all of these files into the folder, or none; files for which ``is_ours`` is true are replaced.

    The first of the files appears last.  ``is_ours`` receives the content of an existing file.
    """
    with transaction.opened(folder):
        there = {name: content for name in files if (content := read_regular(folder / name)) is not None}
        different = [name for name in there if there[name] != files[name]]
        if different and not is_ours(there):
            raise SpecError(f"{folder / different[0]}: was edited since clgen wrote it, or is another file; {_FORCE}")
        transaction.replace(folder, {n: content for n, content in files.items() if there.get(n) != content})


def read_regular(path: Path) -> bytes | None:
    """The content of a regular file, None if it does not exist.

    Raises SpecError for anything else, which is never opened: a pipe would block, a link could lead elsewhere.
    """
    try:
        mode = path.lstat().st_mode
        if not stat.S_ISREG(mode):
            raise SpecError(f"{path}: cannot write: is {kind_of(mode)}, not a regular file; move it away")
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SpecError(f"{path}: cannot read what is there: {error.strerror or error}; move it away") from error


def kind_of(mode: int) -> str:
    """The kind of a file that is not a regular one, from its mode."""
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFLNK: "a symbolic link",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
    }
    return kinds.get(stat.S_IFMT(mode), "a device")


def _whose(folder: Path, name: str) -> str:
    if name == MANIFEST:
        return f"was not written by {PROGRAM} build, or is damaged"
    return f"was {'edited since' if name in _generated_before(folder) else 'not written by'} {PROGRAM} build"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _is_unchanged(path: Path, sha256: str) -> bool:
    try:
        content = read_regular(path)
    except (SpecError, ValueError):  # an invalid file name
        return False
    return content is not None and _sha256(content) == sha256


def _generated_before(folder: Path) -> dict[str, str]:
    """The files that clgen wrote, by the folder's manifest, and their hashes; none if the manifest is not clgen's.

    The manifest itself is included, with its own hash.
    """
    content = read_regular(folder / MANIFEST)
    if content is None:
        return {}
    try:
        manifest = json.loads(content)
        ours = isinstance(manifest["format"], int) and manifest["generator"].split()[0] == PROGRAM
        listed = {str(name): str(sha256) for name, sha256 in manifest["files"].items() if Path(name).name == name}
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        return {}
    return {**listed, MANIFEST: _sha256(content)} if ours else {}
