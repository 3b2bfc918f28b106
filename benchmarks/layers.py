"""Single convolution layers: clgen's generated C against five other engines, measured in turn in one run.

    python benchmarks/layers.py [--device D] [--target T] [--threads 2] [--rounds 9] [--json F] [--plot F]

Each layer is an ONNX file of one Conv node, which all engines read.  The table shows GF/s, two operations for each
multiply-add of the convolution's definition; rounds.py says how times are measured.  All outputs are compared with ONNX
Runtime's.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rounds


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
    def name(self) -> str:
        return f"conv{self.kernel}x{self.kernel}_{self.inputs}_to_{self.outputs}_{self.size}x{self.size}"

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


def main() -> None:
    options = rounds.parser("Single convolution layers against other engines.").parse_args()
    rounds.pin(options.threads)
    rounds.print_heading("layer", "GF/s", options)
    results, rates = [], {}
    for layer in LAYERS:
        x = np.random.default_rng(0).standard_normal((1, layer.inputs, layer.size, layer.size), np.float32)
        result = rounds.measure(layer.title, onnx_file(layer, options.folder), x, options)
        results.append(result)
        rates[layer.title] = {name: 1e3 * layer.gigaflops / ms for name, ms in result.milliseconds.items()}
        rounds.print_row(result, rates[layer.title], 0, options)
    rounds.finish(results, options, gflops=rates)


def onnx_file(layer: Layer, folder: Path) -> Path:
    """The layer's ONNX file with random weights, written if it is missing."""
    import onnx
    from onnx import helper, numpy_helper

    path = folder / f"{layer.name}.onnx"
    if path.exists():
        return path
    rng = np.random.default_rng(1)
    shape = (layer.outputs, layer.inputs, layer.kernel, layer.kernel)
    weight = (rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
    bias = rng.standard_normal(layer.outputs).astype(np.float32)
    node = helper.make_node("Conv", ["x", "conv.weight", "conv.bias"], ["y"], "conv", pads=[layer.kernel // 2] * 4)
    tensors = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, channels, layer.size, layer.size])
        for name, channels in (("x", layer.inputs), ("y", layer.outputs))
    ]
    constants = [numpy_helper.from_array(weight, "conv.weight"), numpy_helper.from_array(bias, "conv.bias")]
    graph = helper.make_graph([node], layer.name, tensors[:1], tensors[1:], constants)
    folder.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), part)
    part.rename(path)
    return path


if __name__ == "__main__":
    main()
