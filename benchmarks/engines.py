"""Inference engines, each in a process of its own that runs a model on command.

The peers are run by peers.py, clgen by driver.c, compiled together with the generated host: both speak the protocol
that is described there.
"""

from __future__ import annotations

import functools
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from codegen.runtime.artefact import Artefact

HERE = Path(__file__).resolve().parent
ISA: Mapping[str, Mapping[str, str]] = {
    "native": {},
    "avx2": {"CL_CONFIG_CPU_TARGET_ARCH": "core-avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
}
"""Environment variables that limit the width of vectors, for Intel's OpenCL runtime and OpenVINO's oneDNN."""


PLAIN_C_ISA: Mapping[str, list[str]] = {"native": ["-march=native"], "avx2": ["-march=haswell"]}
"""Options of C compilers for the same."""


class Ended(Exception):
    """An engine's process ended by itself, with the reason."""


class Engine:
    """A process with one model, ready to run; ``setup_s`` is the time from its start until it was.

    Its standard error goes to ``log``.  The constructor and all methods raise ``Ended`` if the process has ended.
    """

    def __init__(self, name: str, command: list[str], output: Path, environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.output = output
        self._log = log
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
                env={**os.environ, **environment},
            )  # fmt: skip
        self.setup_s = float(self._line())

    def run(self, count: int) -> list[float]:
        """Seconds of each of ``count`` runs."""
        return [float(word) for word in self._ask(str(count)).split()]

    def peak_bytes(self) -> int:
        """The peak memory of the process so far."""
        return 1024 * int(self._ask("memory"))

    def processor_s(self) -> float:
        """Processor time that the process has used so far."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def result(self) -> np.ndarray:
        """The model's output."""
        self.run(1)  # the file is complete once a command is answered
        return np.fromfile(self.output, dtype=np.float32)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, command: str) -> str:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(command + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise Ended(self._reason()) from None
        return self._line()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise Ended(self._reason())
        return line

    def _reason(self) -> str:
        """The signal that ended the process, or the last line of its standard error."""
        status = self._process.wait()
        if status < 0:
            return signal.strsignal(-status) or f"signal {-status}"
        lines = [line.strip() for line in self._log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1] if lines else f"ended with status {status}"


def start_clgen(artefact: Path, device: str, x: np.ndarray, folder: Path, environment: Mapping[str, str]) -> Engine:
    """Starts an artefact of one input and one output, compiled with the driver into ``folder``.

    ``environment`` are variables of the process.
    """
    from codegen.runtime import artefact as artefacts
    from codegen.runtime.embedded import VENDORS, activate
    from codegen.runtime.host import find_compiler

    made = artefacts.read(artefact)
    sources = [str(path) for path in artefact.glob(f"{made.name}*.c")]
    program, given, output = folder / made.name, folder / f"{made.name}.input", folder / f"{made.name}.clgen.output"
    x.astype(np.float32).tofile(given)
    compiler = [find_compiler(), "-std=c99", "-O2", f"-I{artefact}", f"-DMODEL={made.name}", *_counts(made)]
    subprocess.run([*compiler, "-o", str(program), str(HERE / "driver.c"), *sources, "-ldl"], check=True)
    wanted = {**dict(activate().variables), VENDORS: str(runtime_of(device, folder)), **environment}
    command = [str(program.resolve()), device, str(given), str(output)]
    return Engine("clgen", command, output, wanted, folder / f"{made.name}.clgen.log")


def start_plain_c(artefact: Path, compiler: str, threads: int, x: np.ndarray, folder: Path, isa: str) -> Engine:
    """Starts an artefact of the plain C backend; the engine is called "c-" and the compiler."""
    from codegen.runtime import artefact as artefacts

    made = artefacts.read(artefact)
    name = f"c-{compiler}"
    program, given, output = (folder / f"{made.name}.{name}{end}" for end in ("", ".input", ".output"))
    x.astype(np.float32).tofile(given)
    options = ["-std=gnu99", "-O3", *PLAIN_C_ISA[isa], f"-I{artefact}", f"-DMODEL={made.name}", *_counts(made)]
    options += [f"-D{made.name.upper()}_THREADS", f"-DTHREADS={threads}"]
    sources = [str(path) for path in artefact.glob(f"{made.name}*.c")]
    libraries = ["-lm", "-lpthread"]
    command = [compiler, *options, "-o", str(program), str(HERE / "driver.c"), *sources, *libraries]
    subprocess.run(command, check=True)
    command = [str(program.resolve()), "", str(given), str(output)]
    return Engine(name, command, output, {}, folder / f"{made.name}.{name}.log")


def _counts(made: Artefact) -> list[str]:
    """The sizes of input and output as driver.c takes them."""
    return [
        f"-D{kind}={made.name.upper()}_{kind}_{declared['name'].upper()}_COUNT"
        for kind, (declared,) in (("INPUT", made.inputs), ("OUTPUT", made.outputs))
    ]


@functools.cache
def runtime_of(device: str, folder: Path) -> Path:
    """A folder, created in ``folder``, that registers only the OpenCL runtime that has ``device``.

    A loader loads all registered runtimes, and each takes time and memory that the other engines do not need.
    """
    from codegen.runtime.embedded import SYSTEM_VENDORS, VENDORS, activate

    registered = sorted(Path(activate().vendors or SYSTEM_VENDORS).glob("*.icd"))
    look = "import sys; from codegen.runtime import devices; devices.select(sys.argv[1:])"
    for icd in registered:
        alone = (folder / "runtimes" / icd.stem).resolve()
        alone.mkdir(parents=True, exist_ok=True)
        shutil.copy(icd, alone)
        environment = {**os.environ, VENDORS: str(alone)}
        if subprocess.run([sys.executable, "-c", look, device], env=environment, capture_output=True).returncode == 0:
            return alone
    raise RuntimeError(f"none of {', '.join(map(str, registered))} has a device {device!r}; clgen devices lists them")


def start_peer(
    peer: str, model: Path, threads: int, x: np.ndarray, folder: Path, environment: Mapping[str, str]
) -> Engine:
    """Starts a peer with an ONNX file; raises ``Ended`` if the peer or its converter does not support the network."""
    given, output = folder / f"{model.stem}.input", folder / f"{model.stem}.{peer}.output"
    x.astype(np.float32).tofile(given)
    command = [sys.executable, str(HERE / "peers.py"), peer, str(model), str(threads), str(given), str(output)]
    wanted = {"OMP_NUM_THREADS": str(threads), **environment}
    return Engine(peer, command, output, wanted, folder / f"{model.stem}.{peer}.log")
