"""The command as scripts call it, and a small spec to call it with."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import termios
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from codegen.cli import main
from codegen.runtime.devices import DeviceInfo, choose, list_devices
from tests.support.values import save_npz

SPEC = """
[model]
name = "tiny"
weights = "tiny.npz"

[[input]]
name = "image"
shape = [3, 6, 7]

[[layer]]
name = "stem"
op = "conv"
padding = 1
batch_norm = { epsilon = 1e-3 }
activation = "relu"

[[output]]
name = "features"
from = "stem"
"""


def clgen(*arguments: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the command in a process of its own."""
    command = ["clgen", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=cwd, env={**os.environ, **environment}
    )


def without_opencl(folder: Path) -> dict[str, str]:
    """The environment of a machine without OpenCL and without pyopencl, by two new folders in this one."""
    (folder / "empty").mkdir()
    (folder / "broken").mkdir()
    (folder / "broken" / "pyopencl.py").write_text('raise ImportError("not on this machine")\n')
    path = os.pathsep.join(filter(None, (str(folder / "broken"), os.environ.get("PYTHONPATH", ""))))
    return {"OCL_ICD_VENDORS": str(folder / "empty"), "PYTHONPATH": path}


def plain_c(spec: Path) -> Path:
    """The spec, with backend = "c"."""
    spec.write_text(spec.read_text().replace("[model]\n", '[model]\nbackend = "c"\n'))
    return spec


def clgen_here(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Calls the command as a function, which spares the start of a process; an exception that it leaves is raised.

    test_cli.py shows that a process prints and returns the same.
    """
    before = Path.cwd()
    os.chdir(cwd)
    try:
        done = CliRunner().invoke(main, [*map(str, arguments)], prog_name="clgen", catch_exceptions=False)
    finally:
        os.chdir(before)
    return subprocess.CompletedProcess(["clgen", *map(str, arguments)], done.exit_code, done.stdout, done.stderr)


@dataclass(frozen=True)
class OnTerminal:
    """The end of a command: ``answer`` is its standard output, ``shown`` what it wrote to the terminal."""

    code: int
    answer: str
    shown: str


def clgen_on_a_terminal(*arguments: str, cwd: Path, columns: int = 0) -> OnTerminal:
    """Runs the command with its standard error on a terminal of so many columns; 0: it does not know its size."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(["clgen", *arguments], stdout=subprocess.PIPE, stderr=theirs, text=True, cwd=cwd)
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # the end of a terminal whose other side is closed
        while piece := os.read(ours, 4096):
            shown += piece
    os.close(ours)
    answer, _ = process.communicate()
    return OnTerminal(process.returncode, answer, shown.decode())


def only(device: DeviceInfo) -> str:
    """A text for --device that means this device alone: a name may be part of another platform's or device's."""
    here = list_devices()
    for text in (device.platform, device.version.partition(" ")[2].partition(" ")[2], device.name):
        if text and choose(here, [text]) == [device]:
            return text
    pytest.skip(f"nothing tells {device.name} of {device.platform} from the other devices here")


def tiny_spec(folder: Path) -> Path:
    """A spec of one layer, tiny.toml, and its parameters beside it."""
    rng = np.random.default_rng(1)
    arrays = {"stem.weight": rng.standard_normal((5, 3, 3, 3)), "stem.bn.running_var": rng.uniform(0.5, 2, 5)}
    for name in ("weight", "bias", "running_mean"):
        arrays[f"stem.bn.{name}"] = rng.standard_normal(5)
    save_npz(folder / "tiny.npz", {k: v.astype(np.float32) for k, v in arrays.items()})
    path = folder / "tiny.toml"
    path.write_text(SPEC)
    return path
