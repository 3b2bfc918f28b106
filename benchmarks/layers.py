"""Single convolution layers: a generated artefact against ONNX Runtime, measured in turn in one process.

    python benchmarks/layers.py [--device D] [--target T] [--threads 2] [--rounds 15] [--json F]

Both run one image through one layer, from a float array to a float array: ours through the compiled C host
(<name>_run), ONNX Runtime through its Python API.  A round times a batch of runs of the one, then of the other; the
table shows medians and the median of the rounds' ratios (above 1: clgen is faster), which other load disturbs least.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from codegen import build
from codegen.plan.target import DEFAULT_TARGET, TARGETS
from codegen.runtime import artefact as artefacts
from codegen.runtime.devices import select
from codegen.runtime.host import Host, compile_host

SPINNING = 0.15  # seconds after which an idle thread pool sleeps


@dataclass(frozen=True)
class Layer:
    """A square convolution with "same" padding on a square image."""

    inputs: int
    outputs: int
    kernel: int
    size: int

    @property
    def title(self) -> str:
        return f"{self.kernel}x{self.kernel} {self.inputs}->{self.outputs}, {self.size}^2"

    @property
    def gigaflops(self) -> float:
        return 2e-9 * self.inputs * self.outputs * self.kernel**2 * self.size**2


LAYERS = (
    Layer(64, 64, 3, 56),
    Layer(128, 128, 3, 28),
    Layer(256, 256, 3, 14),
    Layer(512, 512, 3, 7),
    Layer(256, 64, 1, 56),
    Layer(1024, 256, 1, 14),
)


@dataclass(frozen=True)
class Result:
    """Medians in milliseconds; ``ratio`` is ONNX Runtime's time over ours."""

    layer: str
    ours_ms: float
    peer_ms: float
    ours_gflops: float
    peer_gflops: float
    ratio: float


def main() -> None:
    parser = argparse.ArgumentParser(description="Single convolution layers against ONNX Runtime.")
    parser.add_argument("--device", default="Intel")
    parser.add_argument("--target", default=DEFAULT_TARGET, choices=list(TARGETS))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    results = []
    print(f"target {arguments.target}, {arguments.threads} threads, {arguments.rounds} rounds")
    print(f"{'layer':24} {'clgen':>16} {'ONNX Runtime':>16} {'ratio':>6}")
    for layer in LAYERS:
        result = measure(layer, arguments.device, arguments.target, arguments.threads, arguments.rounds)
        results.append(result)
        ours, peer = (f"{ms:.3f} ms {gf:4.0f} GF/s" for ms, gf in pairs(result))
        print(f"{result.layer:24} {ours:>16} {peer:>16} {result.ratio:6.2f}", flush=True)
    mean = statistics.geometric_mean(r.ratio for r in results)
    print(f"geometric mean of the ratios: {mean:.2f}, smallest {min(r.ratio for r in results):.2f}")
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(r) for r in results], indent=1) + "\n")


def pairs(result: Result) -> tuple[tuple[float, float], tuple[float, float]]:
    return (result.ours_ms, result.ours_gflops), (result.peer_ms, result.peer_gflops)


def measure(layer: Layer, device: str, target: str, threads: int, rounds: int) -> Result:
    rng = np.random.default_rng(0)
    shape = (layer.outputs, layer.inputs, layer.kernel, layer.kernel)
    weight = (rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
    bias = rng.standard_normal(layer.outputs).astype(np.float32)
    x = rng.standard_normal((1, layer.inputs, layer.size, layer.size)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        artefact = artefacts.read(generate(layer, weight, bias, Path(folder), target))
        library = compile_host(artefact, Path(folder) / "host.so")
        with Host(artefact, library, select([device])[0]) as host:
            peer = onnxruntime_session(layer, weight, bias, threads)

            def ours() -> np.ndarray:
                return host.run({"x": x})["y"]

            def theirs() -> np.ndarray:
                return np.asarray(peer.run(None, {"x": x})[0])

            difference = np.max(np.abs(ours() - theirs()))
            if difference > 1e-4 * np.max(np.abs(theirs())):
                sys.exit(f"{layer.title}: the engines disagree by {difference}")
            times = alternate(ours, theirs, rounds)
    ours_s, peer_s = (statistics.median(column) for column in zip(*times, strict=True))
    return Result(
        layer=layer.title,
        ours_ms=1e3 * ours_s,
        peer_ms=1e3 * peer_s,
        ours_gflops=layer.gigaflops / ours_s,
        peer_gflops=layer.gigaflops / peer_s,
        ratio=statistics.median(b / a for a, b in times),
    )


def alternate(
    first: Callable[[], object], second: Callable[[], object], rounds: int, seconds: float = 0.05
) -> list[tuple[float, float]]:
    """Seconds per call of both, for each round."""
    for _ in range(5):
        first()
        second()
    counts = [max(3, int(seconds / timed(call, 3))) for call in (first, second)]
    return [(timed(first, counts[0]), timed(second, counts[1])) for _ in range(rounds)]


def timed(call: Callable[[], object], count: int) -> float:
    # Both engines' threads spin for a while after their last task, and would take a core from the other one.
    time.sleep(SPINNING)
    call()
    start = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - start) / count


def generate(layer: Layer, weight: np.ndarray, bias: np.ndarray, folder: Path, target: str) -> Path:
    save_file({"conv.weight": weight, "conv.bias": bias}, folder / "layer.safetensors")
    spec = folder / "layer.toml"
    spec.write_text(
        f"""[model]
name = "layer"
weights = "layer.safetensors"

[[input]]
name = "x"
shape = [{layer.inputs}, {layer.size}, {layer.size}]

[[layer]]
name = "conv"
op = "conv"
padding = {layer.kernel // 2}

[[output]]
name = "y"
from = "conv"
"""
    )
    return build.build(build.lower(spec), folder / "generated", target)[0]


def onnxruntime_session(layer: Layer, weight: np.ndarray, bias: np.ndarray, threads: int):  # type: ignore[no-untyped-def]
    import onnx
    import onnxruntime
    from onnx import helper, numpy_helper

    pad = layer.kernel // 2
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], pads=[pad] * 4)
    tensors = [
        helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1, c, layer.size, layer.size])
        for n, c in (("x", layer.inputs), ("y", layer.outputs))
    ]
    constants = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")]
    graph = helper.make_graph([node], "layer", tensors[:1], tensors[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    main()
