"""Writing output: all or nothing at every step, the user's files, and what may stand in the place of a file."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import resource
import signal
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from codegen.emit import transaction
from codegen.emit.output import EXAMPLE, MANIFEST, compare, write, write_all
from codegen.emit.single_file import write_file
from codegen.errors import SpecError
from tests.programs.kills import hidden, is_part_of, stopped_at_each_step, visible


def artefact(version: str, **more: bytes) -> dict[str, bytes]:
    """Files as a build makes them: all but CMakeLists.txt are other ones in another version."""
    text = f"version {version}\n".encode()
    files = {"net.h": text, "net.c": text * 3, EXAMPLE: text, "CMakeLists.txt": b"project(net)\n", **more}
    listed = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    manifest = {"format": 2, "generator": "clgen 0.1.0", "name": "net", "files": listed}
    return {**files, MANIFEST: json.dumps(manifest).encode()}


OLD = artefact("1", **{"net_weights.c": b"int weights;\n"})
NEW = artefact("2", **{"net.cl": b"kernels\n"})
MINE = {"main.c": b"int main(void) { return 0; }\n"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "generated" / "net"


def put(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def start(folder: Path) -> Callable[[], None]:
    """A function that makes the folder contain OLD and MINE, and nothing else."""

    def prepare() -> None:
        for path in sorted(folder.parent.rglob("*"), reverse=True):
            if path.is_dir():
                path.rmdir()
            else:
                path.unlink()
        put(folder, {**OLD, **MINE})
        (folder / "build").mkdir()
        (folder / "build" / "object.o").write_bytes(b"o")

    return prepare


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_build_that_is_stopped_at_any_step_leaves_old_or_new(folder: Path, number: int) -> None:
    old, new = {**OLD, **MINE}, {**NEW, **MINE}
    stops, incomplete = 0, 0
    for code in stopped_at_each_step(lambda: write(folder, NEW), number, start(folder)):
        stops += 1
        assert code == (-9 if number == signal.SIGKILL else 130)
        seen = visible(folder)
        assert MINE.items() <= seen.items() and (folder / "build" / "object.o").read_bytes() == b"o"
        assert is_part_of(seen, old) or is_part_of(seen, new), sorted(seen)
        incomplete += seen not in (old, new)
        if MANIFEST in seen or number != signal.SIGKILL:
            assert seen in (old, new)
        if number != signal.SIGKILL:
            assert not hidden(folder)
        elif stops % 2:  # a reader that mends the folder, or the next build
            transaction.settle(folder)
            assert visible(folder) in (old, new) and not hidden(folder)
        write(folder, NEW)
        assert visible(folder) == new and not hidden(folder)
        assert (folder / "build" / "object.o").read_bytes() == b"o"
    # At least: five new files, six old ones that move away, as many that come, the commit.
    assert stops > 20
    assert (incomplete > 5) == (number == signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_first_build_that_is_stopped_at_any_step(folder: Path, number: int) -> None:
    def nothing() -> None:
        start(folder)()
        for path in sorted(folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        folder.rmdir()
        folder.parent.rmdir()

    for _ in stopped_at_each_step(lambda: write(folder, NEW), number, nothing):
        seen = visible(folder)
        assert is_part_of(seen, NEW) and (MANIFEST not in seen or seen == NEW)
        if number != signal.SIGKILL:
            assert seen == NEW or not folder.parent.exists()
        write(folder, NEW)
        assert visible(folder) == NEW and not hidden(folder)


def test_a_mend_that_is_stopped_at_any_step(folder: Path) -> None:
    for name, other in ((transaction.STAGED, OLD), (transaction.COMMITTED, NEW)):

        def interrupted(name: str = name) -> None:
            start(folder)()
            for path in ("new", "old"):
                (folder / name / path).mkdir(parents=True)
            for file in ("net.h", MANIFEST):
                (folder / file).rename(folder / name / "old" / file)
            for file in ("net.c", EXAMPLE, "net_weights.c"):
                (folder / file).rename(folder / name / "old" / file)
            put(folder / name / "new", {n: c for n, c in NEW.items() if n != "CMakeLists.txt"})

        for _ in stopped_at_each_step(lambda: transaction.settle(folder), signal.SIGKILL, interrupted):
            seen = visible(folder)
            assert is_part_of(seen, {**other, **MINE}) and (MANIFEST not in seen or seen == {**other, **MINE})
            transaction.settle(folder)
            assert visible(folder) == {**other, **MINE} and not hidden(folder)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_report_that_is_stopped_at_any_step_is_old_or_new(tmp_path: Path, number: int) -> None:
    report = tmp_path / "report.json"
    for _ in stopped_at_each_step(lambda: write_file(report, b"new"), number, lambda: write_file(report, b"old")):
        assert report.read_bytes() in (b"old", b"new")
        assert len(hidden(tmp_path)) <= (number == signal.SIGKILL)
        write_file(report, b"new")
        assert visible(tmp_path) == {"report.json": b"new"} and not hidden(tmp_path)


def test_what_changes_and_what_stays(folder: Path) -> None:
    put(folder, {**OLD, **MINE})
    before = (folder / "CMakeLists.txt").stat().st_mtime_ns
    changes = write(folder, NEW)
    assert changes.written == ("net.h", "net.c", EXAMPLE, "net.cl", MANIFEST)
    assert changes.removed == ("net_weights.c",) and changes.unchanged == ("CMakeLists.txt",)
    assert visible(folder) == {**NEW, **MINE}
    assert (folder / "CMakeLists.txt").stat().st_mtime_ns == before
    assert not compare(folder, NEW).any


def test_check_writes_nothing_and_tells_of_an_interrupted_build(folder: Path) -> None:
    assert compare(folder, NEW).written == tuple(NEW)
    assert not folder.parent.exists()
    put(folder, NEW)
    (folder / transaction.STAGED / "new").mkdir(parents=True)
    before = sorted(folder.rglob("*"))
    times = folder.stat().st_mtime_ns, folder.stat().st_ctime_ns
    assert compare(folder, NEW).removed == (transaction.STAGED,)
    assert sorted(folder.rglob("*")) == before and (folder.stat().st_mtime_ns, folder.stat().st_ctime_ns) == times


# ---- the user's files ----

FOREIGN = [
    b"{}",
    b"[1]",
    b"not json",
    b'{"files": {"main.c": "SHA"}}',
    b'{"name": "app", "version": "1.0", "files": {"main.c": "SHA"}}',
    b'{"format": 2, "generator": "webpack 5", "files": {"main.c": "SHA"}}',
    b'{"format": 2, "generator": "", "files": {"main.c": "SHA"}}',
    b'{"format": "2", "generator": "clgen 1", "files": {"main.c": "SHA"}}',
    b'{"format": 2, "generator": "clgen 1", "files": ["main.c"]}',
    b"[" * 100_000,
    b"\xff\xfe",
]


@pytest.mark.parametrize("manifest", FOREIGN, ids=lambda content: content[:60].decode("latin1"))
def test_a_foreign_manifest_is_never_believed(folder: Path, manifest: bytes) -> None:
    there = {**MINE, MANIFEST: manifest.replace(b"SHA", hashlib.sha256(MINE["main.c"]).hexdigest().encode())}
    put(folder, there)
    with pytest.raises(SpecError, match=r"manifest\.json: was not written by clgen build, or is damaged; .*--force"):
        write(folder, NEW)
    assert visible(folder) == there and not hidden(folder)
    write(folder, NEW, force=True)
    assert visible(folder) == {**NEW, **MINE}


def test_names_in_a_manifest_do_not_leave_the_folder(folder: Path) -> None:
    manifest = json.loads(OLD[MANIFEST])
    outside = folder.parent / "outside.c"
    digest = hashlib.sha256(MINE["main.c"]).hexdigest()
    manifest["files"] |= {name: digest for name in ("../outside.c", "..", ".", "", "a\0b", "x" * 300, "\udc80", "/")}
    put(folder, {**OLD, MANIFEST: json.dumps(manifest).encode()})
    outside.write_bytes(MINE["main.c"])
    assert write(folder, NEW).removed == ("net_weights.c",)
    assert outside.read_bytes() == MINE["main.c"]


@pytest.mark.parametrize("name", ["net.c", "CMakeLists.txt", "net.cl", "net.h"])
def test_an_edited_file_is_not_overwritten_silently(folder: Path, name: str) -> None:
    there = {**OLD, **MINE, name: b"/* edited */\n"}
    put(folder, there)
    word = "not written by" if name == "net.cl" else "edited since"
    with pytest.raises(SpecError, match=rf"{name}: was {word} clgen build; move it away, or replace it with --force"):
        write(folder, NEW)
    assert visible(folder) == there and not hidden(folder)
    assert compare(folder, NEW).foreign == (name,)
    (folder / name).rename(folder.parent / name)
    write(folder, NEW)
    assert visible(folder) == {**NEW, **MINE}
    put(folder, {name: b"/* edited */\n"})
    write(folder, NEW, force=True)
    assert visible(folder) == {**NEW, **MINE}


def test_an_edited_file_that_is_not_generated_any_more_stays(folder: Path) -> None:
    put(folder, {**OLD, "net_weights.c": b"edited"})
    assert write(folder, NEW).removed == ()
    assert visible(folder) == {**NEW, "net_weights.c": b"edited"}


@pytest.mark.parametrize("force", [False, True])
def test_an_edited_example_is_kept(folder: Path, force: bool) -> None:
    put(folder, {**OLD, EXAMPLE: b"mine"})
    assert write(folder, OLD, force).kept == (EXAMPLE,)
    changes = write(folder, NEW, force)
    assert changes.kept == (EXAMPLE,) and not changes.foreign
    assert visible(folder) == {**NEW, EXAMPLE: b"mine"}
    changes = compare(folder, NEW)
    assert not changes.any and changes.kept == (EXAMPLE,)
    (folder / EXAMPLE).unlink()
    write(folder, NEW, force)
    assert visible(folder) == NEW


def test_a_file_that_came_after_an_interrupted_build_is_not_overwritten(folder: Path) -> None:
    put(folder / transaction.COMMITTED / "new", {"net.c": b"new"})
    put(folder, {"net.c": b"mine"})
    with pytest.raises(SpecError, match=r"net\.c: came here after a clgen build was interrupted"):
        write(folder, NEW)
    assert visible(folder) == {"net.c": b"mine"}


# ---- what stands in the place of a file ----


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    os.chdir(path.parent)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path.name)


def _folder(path: Path) -> None:
    path.mkdir()


def _dangling(path: Path) -> None:
    path.symlink_to("nothing")


def _link_outside(path: Path) -> None:
    (path.parent.parent / "outside").write_bytes(b"outside")
    path.symlink_to("../outside")


def _read_only(path: Path) -> None:
    path.write_bytes(OLD["net.c"])
    path.chmod(0o444)


IN_PLACE: dict[Callable[[Path], None], str] = {
    _fifo: "is a pipe",
    _socket: "is a socket",
    _folder: "is a folder",
    _dangling: "is a symbolic link",
    _link_outside: "is a symbolic link",
    _read_only: "is read-only",
}


@pytest.mark.parametrize("make", IN_PLACE, ids=lambda make: make.__name__.strip("_"))
@pytest.mark.parametrize("name", ["net.c", EXAMPLE, MANIFEST])
@pytest.mark.parametrize("force", [False, True])
def test_what_is_no_file_is_left_alone(
    folder: Path, make: Callable[[Path], None], name: str, force: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent.parent)
    put(folder, OLD)
    (folder / name).unlink()
    make(folder / name)
    if make is _read_only and name != "net.c":
        pytest.skip("the content of another file")
    before = {path.name: path.lstat().st_mode for path in folder.iterdir()}
    started = time.monotonic()
    with pytest.raises(SpecError, match=f"{name}: cannot write: {IN_PLACE[make]}"):
        write(folder, NEW, force)
    assert time.monotonic() - started < 1
    assert {path.name: path.lstat().st_mode for path in folder.iterdir()} == before
    if make is _link_outside:
        assert (folder.parent / "outside").read_bytes() == b"outside"


@pytest.mark.parametrize("make", [_fifo, _socket, _dangling])
def test_what_is_no_folder(folder: Path, make: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch) -> None:
    folder.parent.mkdir()
    monkeypatch.chdir(folder.parent)
    make(folder)
    for path in (folder, folder / "below"):
        if make is _dangling and path != folder:
            continue
        with pytest.raises(SpecError, match="cannot write: is not a folder"):
            write(path, NEW)
    assert [path.name for path in folder.parent.iterdir()] == ["net"]


def test_a_link_to_a_folder_is_followed(folder: Path) -> None:
    real = folder.parent / "real"
    put(real, {**OLD, **MINE})
    folder.symlink_to("real")
    write(folder, NEW)
    assert folder.is_symlink() and visible(real) == {**NEW, **MINE}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_only_the_folder_itself_need_be_writable(folder: Path) -> None:
    put(folder, OLD)
    folder.parent.chmod(0o555)
    try:
        write(folder, NEW)
        assert visible(folder) == NEW
        folder.chmod(0o555)
        assert not write(folder, NEW).any
        with pytest.raises(SpecError, match="Permission denied"):
            write(folder, OLD)
        assert visible(folder) == NEW
    finally:
        folder.parent.chmod(0o755)
        folder.chmod(0o755)


def limited(act: Callable[[], object]) -> str:
    """The result of ``act`` in a process that cannot write more than 1000 bytes to a file."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            act()
            os.write(writing, b"done")
        except BaseException as error:
            os.write(writing, f"{type(error).__name__}: {error}".encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading) as stream:
        return stream.read()


def test_a_full_disk_changes_nothing(folder: Path) -> None:
    large = {**NEW, "net.cl": b"x" * 2000}
    assert limited(lambda: write(folder, large)).startswith(f"SpecError: {folder}: cannot write: File too large")
    assert not folder.parent.exists()
    put(folder, {**OLD, **MINE})
    inodes = {path.name: path.stat().st_ino for path in folder.iterdir()}
    assert limited(lambda: write(folder, large)).startswith(f"SpecError: {folder}: cannot write: File too large")
    assert {path.name: path.stat().st_ino for path in folder.iterdir()} == inodes
    report = folder / "report.json"
    report.write_bytes(b"old")
    assert limited(lambda: write_file(report, b"x" * 2000)) == f"SpecError: {report}: cannot write: File too large"
    assert report.read_bytes() == b"old" and not hidden(folder)


@pytest.mark.parametrize("failing", range(6))
def test_a_move_that_fails_changes_nothing(folder: Path, failing: int, monkeypatch: pytest.MonkeyPatch) -> None:
    put(folder, {**OLD, **MINE})
    rename, count = Path.rename, 0

    def refused(path: Path, target: Path) -> Path:
        nonlocal count
        if path.parent == folder and path.name != transaction.STAGED:
            count += 1
            if count == failing + 1:
                raise PermissionError(1, "Operation not permitted")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refused)
    if failing < 5:
        with pytest.raises(SpecError, match="cannot write: Operation not permitted"):
            write(folder, NEW)
        assert visible(folder) == {**OLD, **MINE} and not hidden(folder)
    else:
        write(folder, NEW)


# ---- several at once ----


def test_two_builds_at_once_take_turns_or_say_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(folder, OLD)
    monkeypatch.setattr(transaction, "LOCK_SECONDS", 0.1)
    descriptor = os.open(folder, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(SpecError, match="another clgen writes there"):
        write(folder, NEW)
    assert visible(folder) == OLD
    os.close(descriptor)
    write(folder, NEW)


def test_many_builds_at_once_do_not_mix(folder: Path) -> None:
    children = []
    for k in range(8):
        child = os.fork()
        if child == 0:
            try:
                for _ in range(20):
                    write(folder, (OLD, NEW)[k % 2])
                    write_file(folder.parent / "report.json", str(k).encode() * 1000)
                os._exit(0)
            except BaseException:
                os._exit(1)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 8
    assert visible(folder) in (OLD, NEW) and not hidden(folder.parent)
    assert len(set((folder.parent / "report.json").read_bytes())) == 1


# ---- files that the user names ----


def test_a_report_goes_where_links_lead(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    link = tmp_path / "report.json"
    link.symlink_to("there/real.json")
    for content in (b"first", b"second"):
        write_file(link, content)
        assert link.is_symlink() and (tmp_path / "there" / "real.json").read_bytes() == content
    ring = tmp_path / "ring"
    ring.symlink_to("ring")
    with pytest.raises(SpecError, match="ring: cannot write"):
        write_file(ring, b"")


def test_a_report_to_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(SpecError, match="is a pipe that nobody reads"):
        write_file(pipe, b"report")
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_file(pipe, b"report")
    assert os.read(reader, 100) == b"report" and stat.S_ISFIFO(pipe.stat().st_mode)
    os.close(reader)


@pytest.mark.parametrize("make", [_folder, _socket, _read_only])
def test_a_report_in_the_place_of_something_else(
    tmp_path: Path, make: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "report.json"
    make(path)
    with pytest.raises(SpecError, match=r"report\.json: cannot write: is "):
        write_file(path, b"report")
    assert [p.name for p in tmp_path.iterdir()] == ["report.json"]


def test_a_report_to_a_full_device() -> None:
    with pytest.raises(SpecError, match="/dev/full: cannot write: No space left on device"):
        write_file(Path("/dev/full"), b"report")


def test_an_import_replaces_only_imports(tmp_path: Path) -> None:
    files, other = {"net.toml": b"1", "net.safetensors": b"2"}, {"net.toml": b"3", "net.safetensors": b"4"}
    write_all(tmp_path, files, lambda there: pytest.fail("nothing is there"))
    write_all(tmp_path, other, lambda there: there == files)
    with pytest.raises(SpecError, match=r"net\.toml: was edited since clgen wrote it, or is another file; .*--force"):
        write_all(tmp_path, files, lambda there: False)
    assert visible(tmp_path) == other
