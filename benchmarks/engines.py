"""Inference engines, each in a process of its own that runs a model when it is told to.

The peers are run by this file itself (``python engines.py ENGINE MODEL THREADS INPUT OUTPUT``), clgen by
driver.c, compiled together with the generated host: both speak the protocol that is described there.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

import numpy as np

HERE = Path(__file__).resolve().parent
PEERS = ("onnxruntime", "openvino", "ncnn")
Run = Callable[[], np.ndarray]


class Engine:
    """A process with one model, ready to run: ``setup_s`` is how long it took to make it so."""

    def __init__(self, name: str, command: list[str], output: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self.output = output
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
        )
        self.setup_s = float(self._line())

    def run(self, count: int) -> list[float]:
        """Seconds of each of ``count`` runs."""
        return [float(word) for word in self._ask(str(count)).split()]

    def peak_bytes(self) -> int:
        """The most memory that the process has had so far."""
        return 1024 * int(self._ask("memory"))

    def processor_s(self) -> float:
        """Processor time that the process has used so far."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def result(self) -> np.ndarray:
        """What the model made of the input."""
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
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self._line()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended with status {self._process.wait()}")
        return line


def start_clgen(artefact: Path, device: str, x: np.ndarray, folder: Path, **environment: str) -> Engine:
    """A generated folder of one input and one output, compiled with the driver into ``folder``.

    ``environment`` are variables of the process.
    """
    from codegen.runtime import artefact as artefacts
    from codegen.runtime.embedded import VENDORS, activate
    from codegen.runtime.host import find_compiler

    made = artefacts.read(artefact)
    sources = [str(path) for path in artefact.glob(f"{made.name}*.c")]
    counts = [
        f"-D{kind}={made.name.upper()}_{kind}_{declared['name'].upper()}_COUNT"
        for kind, (declared,) in (("INPUT", made.inputs), ("OUTPUT", made.outputs))
    ]
    program, given, output = folder / made.name, folder / f"{made.name}.input", folder / f"{made.name}.clgen.output"
    x.astype(np.float32).tofile(given)
    compiler = [find_compiler(), "-std=c99", "-O2", f"-I{artefact}", f"-DMODEL={made.name}", *counts]
    subprocess.run([*compiler, "-o", str(program), str(HERE / "driver.c"), *sources, "-ldl"], check=True)
    wanted = {**dict(activate().variables), VENDORS: str(runtime_of(device, folder)), **environment}
    return Engine("clgen", [str(program.resolve()), device, str(given), str(output)], output, wanted)


@functools.cache
def runtime_of(device: str, folder: Path) -> Path:
    """A folder, made in ``folder``, that registers the one OpenCL runtime that has ``device``.

    A loader loads all runtimes that are registered, and each takes time and memory that no other engine's process has
    to spend.
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


def start_peer(engine: str, model: Path, threads: int, x: np.ndarray, folder: Path) -> Engine:
    """An ONNX file in one of the peers."""
    given, output = folder / f"{model.stem}.input", folder / f"{model.stem}.{engine}.output"
    x.astype(np.float32).tofile(given)
    command = [sys.executable, __file__, engine, str(model), str(threads), str(given), str(output)]
    return Engine(engine, command, output, {"OMP_NUM_THREADS": str(threads)})


# The peers ------------------------------------------------------------------------------------------------------------


def onnxruntime(model: Path, threads: int, x: np.ndarray) -> Run:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda: np.asarray(session.run(None, {name: x.reshape(session.get_inputs()[0].shape)})[0])


def openvino(model: Path, threads: int, x: np.ndarray) -> Run:
    from openvino import Core

    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = Core().compile_model(str(model), "CPU", settings)
    request = compiled.create_infer_request()
    given = x.reshape(tuple(compiled.input(0).shape))

    def run() -> np.ndarray:
        return np.asarray(request.infer([given], share_inputs=True, share_outputs=True)[0])

    return run


def ncnn(model: Path, threads: int, x: np.ndarray) -> Run:
    import ncnn as engine

    net = engine.Net()
    net.opt.num_threads = threads
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.opt.use_bf16_storage = False
    param, binary = ncnn_files(model)
    net.load_param(str(param))
    net.load_model(str(binary))
    shape = ncnn_shape(model)
    given = engine.Mat(x.reshape(shape[1:])).clone()

    def run() -> np.ndarray:
        with net.create_extractor() as extractor:
            extractor.input("in0", given)
            return np.array(extractor.extract("out0")[1])

    return run


def ncnn_files(model: Path) -> tuple[Path, Path]:
    """The model in ncnn's format, converted by pnnx at the first time."""
    param, binary = (model.with_suffix(f".ncnn.{kind}") for kind in ("param", "bin"))
    if not binary.exists():
        shape = ",".join(map(str, ncnn_shape(model)))
        converter = Path(sys.executable).parent / "pnnx"
        subprocess.run(
            [str(converter), model.name, f"inputshape=[{shape}]", "fp16=0"],
            cwd=model.parent,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    return param, binary


def ncnn_shape(model: Path) -> tuple[int, ...]:
    import onnx

    dims = onnx.load(model, load_external_data=False).graph.input[0].type.tensor_type.shape.dim
    return tuple(d.dim_value for d in dims)


def peak_kilobytes() -> int:
    """The peak memory of this process.

    getrusage's peak would begin with the memory of the process that started this one.
    """
    status = Path("/proc/self/status").read_text().split()
    return int(status[status.index("VmHWM:") + 1])


def serve(engine: str, model: Path, threads: int, given: Path, output: Path) -> None:
    x = np.fromfile(given, dtype=np.float32)
    if engine == "ncnn":
        ncnn_files(model)
    start = time.perf_counter()
    run: Run = {"onnxruntime": onnxruntime, "openvino": openvino, "ncnn": ncnn}[engine](model, threads, x)
    print(f"{time.perf_counter() - start:.6f}")
    np.ascontiguousarray(run(), dtype=np.float32).tofile(output)
    sys.stdout.flush()
    for line in sys.stdin:
        if line.strip() == "memory":
            print(peak_kilobytes(), flush=True)
            continue
        seconds = []
        for _ in range(int(line)):
            start = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - start)
        print(*(f"{s:.9f}" for s in seconds), flush=True)


if __name__ == "__main__":
    serve(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]), Path(sys.argv[5]))
