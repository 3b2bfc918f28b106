"""The peers of the benchmarks, each by its own Python package: a process that runs a model on command.

    python peers.py PEER MODEL THREADS INPUT OUTPUT

takes commands as driver.c does.  MODEL is an ONNX file; ncnn, MNN and LiteRT have formats of their own, which
converters write beside MODEL unless they are there.  A peer that does not support the network ends with
the reason as the last line of its errors.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
Run = Callable[[], np.ndarray]


class Refused(Exception):
    """Raised if a peer or its converter does not support the network."""


def onnxruntime(model: Path, threads: int, x: np.ndarray) -> Run:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda: np.asarray(session.run(None, {name: x})[0])


def openvino(model: Path, threads: int, x: np.ndarray) -> Run:
    from openvino import Core

    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    request = Core().compile_model(str(model), "CPU", settings).create_infer_request()

    def run() -> np.ndarray:
        return np.asarray(request.infer([x], share_inputs=True, share_outputs=True)[0])

    return run


def ncnn(model: Path, threads: int, x: np.ndarray) -> Run:
    import ncnn as engine

    net = engine.Net()
    net.opt.num_threads = threads
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.opt.use_bf16_storage = False
    param, binary = ncnn_files(model)
    if net.load_param(str(param)) or net.load_model(str(binary)):
        raise Refused("ncnn does not load what pnnx made")
    given = engine.Mat(x[0]).clone()

    def run() -> np.ndarray:
        with net.create_extractor() as extractor:
            extractor.input("in0", given)
            status, output = extractor.extract("out0")
            if status:
                raise Refused(f"ncnn's extract() returns {status}")
            return np.array(output)

    return run


def mnn(model: Path, threads: int, x: np.ndarray) -> Run:
    from MNN import expr, nn

    settings = {"backend": "CPU", "numThread": threads, "precision": "high"}
    manager = nn.create_runtime_manager((settings,))
    net = nn.load_module_from_file(
        str(mnn_file(model)), ["x"], ["y"], runtime_manager=manager, shape_mutable=False
    )  # fmt: skip
    given = expr.const(x, list(x.shape), expr.NCHW)

    def run() -> np.ndarray:
        return np.array(net.forward([given])[0].read())

    return run


def litert(model: Path, threads: int, x: np.ndarray) -> Run:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(litert_file(model)), num_threads=threads)
    interpreter.allocate_tensors()
    (given,), (output,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.set_tensor(given["index"], x)

    def run() -> np.ndarray:
        interpreter.invoke()
        return np.asarray(interpreter.get_tensor(output["index"]))

    return run


PEERS: Mapping[str, Callable[[Path, int, np.ndarray], Run]] = {
    "onnxruntime": onnxruntime,
    "openvino": openvino,
    "ncnn": ncnn,
    "mnn": mnn,
    "litert": litert,
}


# Converters -----------------------------------------------------------------------------------------------------------


def ncnn_files(model: Path) -> tuple[Path, Path]:
    """The files of the model in ncnn's format, converted by pnnx if they are missing."""
    param, binary = (model.with_suffix(f".ncnn.{kind}") for kind in ("param", "bin"))
    if not binary.exists():
        shape = ",".join(map(str, dimensions(model, "input")))
        converter = str(Path(sys.executable).parent / "pnnx")
        convert([converter, model.name, f"inputshape=[{shape}]", "fp16=0"], model.parent, binary)
    return param, binary


def mnn_file(model: Path) -> Path:
    """The file of the model in MNN's format, converted if it is missing.

    MNN's Python module converts it, as its command mnnconvert installs a package and reports its use over the network.
    """
    path = model.with_suffix(".mnn")
    if not path.exists():
        arguments = ["mnnconvert", "-f", "ONNX", "--modelFile", model.name, "--MNNModel", path.name, "--bizCode", "MNN"]
        program = f"import _tools; _tools.mnnconvert({arguments!r})"
        convert([sys.executable, "-c", program], model.parent, path)
    return path


def litert_file(model: Path) -> Path:
    """The file of the model for LiteRT, converted if it is missing, from the PyTorch module that zoo.py has by name."""
    path = model.with_suffix(".tflite")
    if not path.exists():
        network, _, batch = model.stem.rpartition("_b")
        convert([sys.executable, str(HERE / "zoo.py"), network, batch, path.name], model.parent, path)
    return path


def convert(command: Sequence[str], folder: Path, made: Path) -> None:
    """Runs a converter in ``folder``; ``Refused`` with its last line if it did not make the file ``made``.

    A refusal is kept in a file beside, so that the converter need not be asked again.
    """
    refusal = made.with_name(f"{made.name}.refused")
    if not refusal.exists():
        done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if not done.returncode and made.exists():
            return
        made.unlink(missing_ok=True)
        lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
        refusal.write_text(lines[-1] if lines else f"{command[0]} ended with status {done.returncode}")
    raise Refused(refusal.read_text())


def dimensions(model: Path, which: str) -> tuple[int, ...]:
    """The shape of the ONNX file's one "input" or "output"."""
    import onnx

    graph = onnx.load(model, load_external_data=False).graph
    return tuple(d.dim_value for d in getattr(graph, which)[0].type.tensor_type.shape.dim)


# The process ----------------------------------------------------------------------------------------------------------


def peak_kilobytes() -> int:
    """The peak memory of this process.

    getrusage's peak would begin with the memory of the process that started this one.
    """
    status = Path("/proc/self/status").read_text().split()
    return int(status[status.index("VmHWM:") + 1])


def serve(peer: str, model: Path, threads: int, given: Path, output: Path) -> None:
    x = np.fromfile(given, dtype=np.float32).reshape(dimensions(model, "input"))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # text that an engine itself prints must not be taken for an answer
    for make in {"ncnn": (ncnn_files,), "mnn": (mnn_file,), "litert": (litert_file,)}.get(peer, ()):
        make(model)
    start = time.perf_counter()
    run = PEERS[peer](model, threads, x)
    print(f"{time.perf_counter() - start:.6f}", file=answers, flush=True)
    np.ascontiguousarray(run(), dtype=np.float32).tofile(output)
    for line in sys.stdin:
        if line.strip() == "memory":
            print(peak_kilobytes(), file=answers, flush=True)
            continue
        seconds = []
        for _ in range(int(line)):
            start = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - start)
        print(*(f"{s:.9f}" for s in seconds), file=answers, flush=True)


if __name__ == "__main__":
    try:
        serve(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]), Path(sys.argv[5]))
    except Refused as error:
        sys.exit(str(error))
