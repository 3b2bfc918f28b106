"""Compiles OpenCL kernels for an Intel GPU without one, by Intel's offline compiler ocloc, and keeps what it says."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from codegen import interrupt
from codegen.errors import DeviceError
from codegen.runtime.machine import Distribution, System

OCLOC = "ocloc"

_SCRATCH = re.compile(r"type:\s+scratch\s.*?\bsize:\s+(\d+)", re.DOTALL)


@dataclass(frozen=True)
class Offline:
    """The result of a compilation.

    ``assembly`` has a listing of each kernel, or several where the compiler tried again; ``threads`` says how each
    kernel runs, by its name.
    """

    assembly: tuple[str, ...]
    threads: Mapping[str, HardwareThread]


@dataclass(frozen=True)
class HardwareThread:
    """A hardware thread of a kernel: the work-items that it runs at once (SIMD width), and its memory in bytes for
    spilled registers and private arrays.
    """

    lanes: int
    scratch_bytes: int


def compile_offline(source: str, device: str, options: Sequence[str], folder: Path) -> Offline:
    """Compiles kernels for a device as ocloc calls it ("0x9a49", "dg2-g10"); files go to ``folder``.

    Raises DeviceError if ocloc is missing, does not know the device, or refuses the kernels.
    """
    if shutil.which(OCLOC) is None:
        distribution = Distribution.of(System())
        raise DeviceError(
            f"{OCLOC}, Intel's offline compiler, is missing; install it: "
            f"{distribution.install(distribution.ocloc_package)}"
        )
    (folder / "kernels.cl").write_text(source)
    dump = folder / "dump"
    dump.mkdir()
    environment = {**os.environ, "IGC_ShaderDumpEnable": "1", "IGC_DumpToCustomDir": str(dump)}
    command = [OCLOC, "compile", "-file", str(folder / "kernels.cl"), "-device", device, "--format", "zebin"]
    command += ["-options", " ".join(options), "-output", "kernels", "-out_dir", str(folder)]
    done = interrupt.run(command, environment=environment)
    assembly = [file.read_text(errors="replace") for file in sorted(dump.glob("*.asm"))]
    if done.returncode or not assembly:
        said = "\n".join(line for line in (done.stdout + done.stderr).splitlines() if line.strip())
        raise DeviceError(f"{OCLOC} does not compile the kernels for {device}:\n{said[-2000:]}")
    return Offline(tuple(assembly), _threads(folder))


def _threads(folder: Path) -> dict[str, HardwareThread]:
    """The hardware threads of each kernel, from the binary's own description."""
    parts = folder / "parts"
    parts.mkdir()
    command = [OCLOC, "disasm", "-file", str(next(folder.glob("kernels*.bin"))), "-dump", str(parts)]
    interrupt.run(command)
    description = parts / ".ze_info"
    if not description.exists():
        raise DeviceError(f"{OCLOC} disasm finds no .ze_info in its own binary")
    text = description.read_text(errors="replace").partition("\nkernels_misc_info:")[0]
    kernels = re.split(r"^  - name:\s*", text, flags=re.MULTILINE)[1:]
    return {
        kernel.split("\n", 1)[0].strip(): HardwareThread(
            lanes=sum(map(int, re.findall(r"\bsimd_size:\s+(\d+)", kernel))),
            scratch_bytes=sum(map(int, _SCRATCH.findall(kernel))),
        )
        for kernel in kernels
    }
