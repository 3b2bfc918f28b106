"""Writes files into a folder together, so that a killed process never leaves a mixture of old and new ones.

Everything happens in one hidden folder inside the output folder, and each step is one rename:

    .clgen-build/new/NAME   1. the new files are written here, all of them
    .clgen-build/old/NAME   2. the files that they replace, and those to be removed, are moved here
    .clgen-built/           3. the hidden folder gets this name: the commit
                            4. the files of new/ are moved into the output folder
                            5. the hidden folder is deleted

If a process is killed, the next one that opens the folder mends it: before the commit it moves the old files back,
after the commit it moves the new files in.

The guarantee: at every moment the visible files are some of the old ones or some of the new ones, never a mixture;
unchanged files count as both.  From the first move of step 2 to the last of step 4, well under a millisecond for the
ten files of an artefact, some files are missing, among them the manifest: a compiler stops at a missing file, and
clgen's own commands mend the folder first.  An error before the commit, such as a full disk, restores everything.  The
user's files are not touched, and no other folder needs to be writable.

If old files are replaced, the new ones are first flushed to disk by fsync, so that the guarantee also holds for a power
cut, on file systems that keep renames in order (ext4, XFS, Btrfs, APFS, NTFS).  This costs a few milliseconds per file.
If nothing is replaced, there is nothing to lose, and no fsync.

Processes exclude each other by flock on the output folder itself, which leaves no file and ends with the process.
Without flock (Windows, some network file systems), two builds into one folder at the same time may mix.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from codegen.errors import SpecError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

STAGED = ".clgen-build"
COMMITTED = ".clgen-built"
LOCK_SECONDS = 10  # a folder is locked while files are written, not while they are computed


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[None]:
    """Creates the folder if needed, locks it against other processes, and mends it after a killed process.

    New folders that stay empty, because of an error, are removed again.  Raises SpecError if the folder cannot be
    created or mended, or stays locked.
    """
    made = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
    try:
        with _locked(folder):
            try:
                _mend_surely(folder)
                yield
            except BaseException:
                _remove_empty(made)
                raise
    except KeyboardInterrupt:  # perhaps before the lock was taken
        _remove_empty(made)
        raise
    except OSError as error:
        _remove_empty(made)
        reason = "is not a folder" if isinstance(error, FileExistsError | NotADirectoryError) else error.strerror
        raise SpecError(f"{folder}: cannot write: {reason or error}; choose another folder with -o") from error


def replace(folder: Path, files: Mapping[str, bytes], removed: Collection[str] = ()) -> None:
    """Puts the files into the folder and removes others from it, as the module's docstring says.

    The folder must be ``opened``.  The first of the files is removed first and appears last, so a reader that finds it
    finds them all.  Raises OSError, with everything as it was, if they cannot be written.
    """
    if not files and not removed:
        return
    before = [name for name in (*files, *removed) if os.path.lexists(folder / name)]
    staged = folder / STAGED
    try:
        new, old = staged / "new", staged / "old"
        for path in (staged, new, old):
            path.mkdir()
        for name, content in files.items():
            _write(new / name, content, durable=bool(before))
        for name in before:
            (folder / name).rename(old / name)
        staged.rename(folder / COMMITTED)
        _move(folder / COMMITTED / "new", folder, list(files)[::-1])
    finally:
        # After an error or an interrupt this moves the old files back or the new ones in; otherwise it only cleans up.
        _mend_surely(folder)


def leftovers(folder: Path) -> tuple[str, ...]:
    """The names of files that a killed process left in the folder, or that a running one uses there."""
    return tuple(name for name in (STAGED, COMMITTED) if os.path.lexists(folder / name))


def settle(folder: Path) -> None:
    """Mends a folder before it is read, if necessary; SpecError if that fails."""
    if leftovers(folder):
        try:
            with opened(folder):
                pass
        except SpecError as error:
            raise SpecError(f"{folder}: holds an interrupted build; run clgen build again ({error})") from error


def _mend_surely(folder: Path) -> None:
    """Mends the folder even if Ctrl-C is pressed meanwhile."""
    try:
        _mend(folder)
    except KeyboardInterrupt:
        _mend(folder)
        raise


def _mend(folder: Path) -> None:
    staged, committed = folder / STAGED, folder / COMMITTED
    for path in (staged, committed):
        if os.path.lexists(path) and not stat.S_ISDIR(path.lstat().st_mode):
            raise SpecError(f"{path}: is not the folder that clgen makes under this name; move it away")
    if committed.exists():
        for name in _names(committed / "new"):
            if os.path.lexists(folder / name):
                raise SpecError(
                    f"{folder / name}: came here after a clgen build was interrupted, which has this file in "
                    f"{committed / 'new'}; move one of them away"
                )
        _move(committed / "new", folder, _names(committed / "new"))
        shutil.rmtree(committed)
    if staged.exists():
        # A file that has appeared in place of the old one stays.
        _move(staged / "old", folder, [n for n in _names(staged / "old") if not os.path.lexists(folder / n)])
        shutil.rmtree(staged)


def _names(folder: Path) -> list[str]:
    """The files in a folder; the manifest, without which a folder is incomplete, comes last."""
    with contextlib.suppress(FileNotFoundError):
        return sorted((path.name for path in folder.iterdir()), key=lambda name: (name == "manifest.json", name))
    return []


def _move(source: Path, folder: Path, names: Collection[str]) -> None:
    for name in names:
        (source / name).rename(folder / name)


def _write(path: Path, content: bytes, *, durable: bool) -> None:
    with path.open("xb") as stream:
        stream.write(content)
        if durable:
            stream.flush()
            os.fsync(stream.fileno())


def _remove_empty(folders: Collection[Path]) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Creates a folder if needed and holds its lock."""
    if fcntl is None:
        folder.mkdir(parents=True, exist_ok=True)
        yield
        return
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # an earlier process has failed and removed the folder
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            if locked(descriptor, folder):
                break
    try:
        yield
    finally:
        os.close(descriptor)


def locked(descriptor: int, path: Path) -> bool:
    """Waits up to LOCK_SECONDS for the lock of an open file or folder; SpecError if another process keeps it.

    Returns False, and closes the descriptor, if the path has become another file meanwhile.
    """
    until = time.monotonic() + LOCK_SECONDS
    try:
        while not _lock(descriptor):
            if time.monotonic() > until:
                raise SpecError(f"{path}: cannot write: another clgen writes there; try again when it has ended")
            time.sleep(0.02)
        same = os.path.lexists(path) and os.path.samestat(os.fstat(descriptor), path.stat())
    except BaseException:
        os.close(descriptor)
        raise
    if not same:
        os.close(descriptor)
    return same


def _lock(descriptor: int) -> bool:
    """Tries to lock; returns False if another process has the lock."""
    if fcntl is not None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            pass  # the file system has no locks
    return True
