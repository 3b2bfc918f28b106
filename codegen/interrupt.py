"""Ctrl-C, SIGTERM and SIGHUP: stops started programs, removes temporary files, and ends with exit code 130.

The main thread gets a KeyboardInterrupt.  Python raises it only between two steps of its own, and a call into numpy or
an OpenCL compiler may take minutes; so a second thread ends the process if the main thread has not ended within GRACE
seconds.  That is as safe as a kill: codegen/emit never leaves anything half written.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

EXIT_CODE = 130
GRACE = 2.0
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]

_children: set[subprocess.Popen[str]] = set()
_folders: set[str] = set()
_said = threading.Lock()  # locked once the message has been printed


@contextlib.contextmanager
def handled() -> Iterator[None]:
    """Ends the process with EXIT_CODE and one line on stderr on one of the signals; for the main thread.

    Signals that the parent process ignores, as nohup does, stay ignored.  Only the first signal counts.
    """
    interrupted = False

    def interrupt(number: int, frame: object) -> None:
        nonlocal interrupted
        if not interrupted:
            interrupted = True
            raise KeyboardInterrupt

    def watch() -> None:
        while (number := os.read(heard, 1)) and number[0] not in caught:
            pass  # a signal that another handler is for
        if number and not over.wait(GRACE):
            _tidy()
            _say()
            os._exit(EXIT_CODE)
        os.close(heard)

    caught = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    over = threading.Event()
    heard, told = os.pipe()
    os.set_blocking(told, False)
    threading.Thread(target=watch, daemon=True).start()
    before = {number: signal.signal(number, interrupt) for number in caught}
    told_before = signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    try:
        yield
    except KeyboardInterrupt:
        end()
    except SystemExit:
        if interrupted:  # a library may have turned the interrupt into another exception
            end()
        raise
    finally:
        over.set()
        signal.set_wakeup_fd(told_before)
        os.close(told)
        for number, handler in before.items():
            signal.signal(number, handler)


def end() -> NoReturn:
    """Ends an interrupted command."""
    _tidy()
    _say()
    sys.exit(EXIT_CODE)


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder for temporary files, which is always removed."""
    folder = tempfile.mkdtemp(prefix="clgen-")
    _folders.add(folder)
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _folders.discard(folder)


def run(
    command: Sequence[str], timeout: float | None = None, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a program, which is ended with its children if this process is interrupted or the time is over.

    Raises TimeoutExpired in the latter case.
    """
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, env=environment, stdout=pipe, stderr=pipe, text=True, errors="replace", start_new_session=True
    ) as process:
        _children.add(process)
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        except BaseException:
            _kill(process)
            raise
        finally:
            _children.discard(process)
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)


def _kill(process: subprocess.Popen[str]) -> None:
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    else:  # Windows
        process.kill()


def _tidy() -> None:
    for process in tuple(_children):
        _kill(process)
    for folder in tuple(_folders):
        shutil.rmtree(folder, ignore_errors=True)


def _say() -> None:
    if sys.stderr is not None and _said.acquire(blocking=False):
        with contextlib.suppress(OSError):
            os.write(2, b"clgen: interrupted\n")
