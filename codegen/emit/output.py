"""{file name: bytes} -> a folder on disk: all or none, only those that change, and nothing that is the user's."""

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
FORMAT = 3  # of the manifest: files of another one are to be built again
EXAMPLE = "example.c"  # the user's to edit
PROGRAM = "clgen"  # begins the generator's name in a manifest
_FORCE = "move it away, or replace it with --force"


@dataclass(frozen=True)
class Changes:
    """File names by what would happen to them.

    ``foreign`` are those of ``written`` in whose place is a file that clgen did not write, or that was edited since.
    ``kept`` is the example if it was edited: it stays.
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
    """What writing these files would change; nothing is written.

    Files of an earlier build that are not generated any more are removed, unless they were edited; files of the user
    are left alone.  SpecError if something that is not a regular file, or that cannot be read or written, is in the
    place of one of the files.
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
    """Makes the folder hold these files, or leaves everything as it was and raises SpecError.

    A file that clgen did not write, or that was edited since, is replaced only with ``force``.
    """
    with transaction.opened(folder):
        changes = compare(folder, files)
        if changes.foreign and not force:
            raise SpecError(f"{folder / changes.foreign[0]}: {_whose(folder, changes.foreign[0])}; {_FORCE}")
        # The manifest is the first to go and the last to come: a folder that has one is complete.
        names = sorted(changes.written, key=lambda name: name != MANIFEST)
        transaction.replace(folder, {name: files[name] for name in names}, changes.removed)
    return changes


def write_all(folder: Path, files: Mapping[str, bytes], is_ours: Callable[[Mapping[str, bytes]], bool]) -> None:
    """Puts all of these files into the folder, in place of those for which ``is_ours`` is true, or none.

    The first of the files is the last to appear.  ``is_ours`` gets the content of those that are there.
    """
    with transaction.opened(folder):
        there = {name: content for name in files if (content := read_regular(folder / name)) is not None}
        different = [name for name in there if there[name] != files[name]]
        if different and not is_ours(there):
            raise SpecError(f"{folder / different[0]}: was edited since clgen wrote it, or is another file; {_FORCE}")
        transaction.replace(folder, {n: content for n, content in files.items() if there.get(n) != content})


def read_regular(path: Path) -> bytes | None:
    """The content of a regular file, None if nothing is there.

    SpecError if it is something else, which is never opened: a pipe would block, a link lead elsewhere.
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
    """What a file is that is not a regular one, by its mode."""
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
    except (SpecError, ValueError):  # a name that no file can have
        return False
    return content is not None and _sha256(content) == sha256


def _generated_before(folder: Path) -> dict[str, str]:
    """The files that the folder's manifest says clgen wrote, and their hashes; none if the manifest is not clgen's.

    The manifest itself is among them, with its own hash.
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
