"""Processes that are stopped while they write, at every step or at random moments; what a reader then sees.

    python -m tests.programs.kills 100        so many builds of a small network, each stopped at a random moment

A step is anything that Python's audit events tell of: an open, a rename, a new folder, a removal.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from codegen import interrupt

STEPS = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.listdir", "os.scandir"}


def stopped_at_each_step(act: Callable[[], object], number: int, prepare: Callable[[], None]) -> Iterator[int]:
    """Does ``act`` in a forked process that gets the signal before its first step, its second, ..., until it has ended.

    Yields the exit code each time, -9 for SIGKILL; ``prepare`` puts everything back before.
    """
    for step in range(1, 10_000):
        prepare()
        child = os.fork()
        if child == 0:
            os._exit(_with_signal(act, step, number))
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code == 0:  # there are not so many steps
            assert step > 1, "nothing was counted"
            return
        yield code
    raise AssertionError("does not come to an end")


def _with_signal(act: Callable[[], object], step: int, number: int) -> int:
    left = step

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event in STEPS:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), number)

    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    if signal.getsignal(number) is signal.SIG_IGN:  # by nohup, under which these tests may run
        signal.signal(number, signal.SIG_DFL)
    try:
        with interrupt.handled():
            sys.addaudithook(count)
            act()
        return 0
    except SystemExit as done:
        return int(done.code or 0)
    except BaseException:
        return 99


def visible(folder: Path) -> dict[str, bytes]:
    """The files of a folder that are not hidden."""
    with contextlib.suppress(FileNotFoundError):
        return {p.name: p.read_bytes() for p in folder.iterdir() if not p.name.startswith(".") and p.is_file()}
    return {}


def hidden(folder: Path) -> list[Path]:
    """Everything in or below a folder that clgen would have to remove."""
    return [path for path in folder.rglob(".*")]


def is_part_of(seen: Mapping[str, bytes], whole: Mapping[str, bytes]) -> bool:
    """True if all visible files are in the whole, with the same content."""
    return seen.items() <= whole.items()


def main(times: int) -> None:
    from tests.support.commands import tiny_spec

    rng = random.Random(0)
    counts = {"old": 0, "new": 0, "incomplete": 0}
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        spec, folder = tiny_spec(root), root / "generated" / "tiny"
        texts = [spec.read_text(), spec.read_text().replace("epsilon = 1e-3", "epsilon = 1e-2")]
        states, seconds = [], 0.0
        for text in texts:
            spec.write_text(text)
            started = time.monotonic()
            subprocess.run(_command(), cwd=root, check=True, capture_output=True)
            seconds = time.monotonic() - started
            states.append(visible(folder))
        (folder / "mine.c").write_text("int mine;")
        now = 1
        for k in range(times):
            spec.write_text(texts[1 - now])
            number = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP][k % 4]
            process = subprocess.Popen(_command(), cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            time.sleep(rng.uniform(0.3, 1.05) * seconds)
            process.send_signal(number)
            _, err = process.communicate()
            assert b"Traceback" not in err or b"site.py" in err or b"runpy" in err, err.decode()
            assert process.returncode in (0, -number, 130), (process.returncode, err)
            seen = visible(folder)
            assert seen.pop("mine.c") == b"int mine;"
            old, new = states[now], states[1 - now]
            assert is_part_of(seen, old) or is_part_of(seen, new), sorted(seen)
            counts["old" if seen == old else "new" if seen == new else "incomplete"] += 1
            if number != signal.SIGKILL and process.returncode == 130:
                assert not hidden(folder)
            done = subprocess.run(_command(), cwd=root, capture_output=True, check=False)
            assert done.returncode == 0, done.stderr
            assert visible(folder) == {**new, "mine.c": b"int mine;"} and not hidden(folder)
            now = 1 - now
    print(f"{times} builds stopped; left the folder " + ", ".join(f"{what} {n} times" for what, n in counts.items()))


def _command() -> list[str]:
    return [sys.executable, "-m", "codegen", "build", "tiny.toml"]


if __name__ == "__main__":
    main(int(sys.argv[1]))
