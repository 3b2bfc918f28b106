"""ONNX -> spec and parameters for the few operators of the trained networks in the tests; not an importer."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from safetensors.numpy import save_file


class Converter:
    """Translates node by node; every layer names its arrays, none relies on a default."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.constants = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
        self.names: dict[str, str] = {}
        self.arrays: dict[str, np.ndarray] = {}
        self.lines: list[str] = []

    def write(self, name: str, folder: Path) -> Path:
        graph = self.model.graph
        lines = ["[model]", f'name = "{name}"', f'weights = "{name}.safetensors"']
        for tensor in graph.input:
            if tensor.name in self.constants:
                continue
            dims = [d.dim_value for d in tensor.type.tensor_type.shape.dim]
            lines += [f"batch = {dims[0]}", "", "[[input]]", f'name = "{tensor.name}"', f"shape = {dims[1:]}"]
            self.names[tensor.name] = tensor.name
        for k, node in enumerate(graph.node):
            self.layer(f"l{k}_{node.op_type.lower()}", node)
        for tensor in graph.output:
            self.lines += ["", "[[output]]", f'name = "{tensor.name}"', f'from = "{self.names[tensor.name]}"']
        save_file(self.arrays, folder / f"{name}.safetensors")
        path = folder / f"{name}.toml"
        path.write_text("\n".join([*lines, *self.lines]) + "\n")
        return path

    def layer(self, name: str, node: onnx.NodeProto) -> None:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        keys = getattr(self, node.op_type.lower())(node, attributes)
        inputs = [self.names[i] for i in node.input if i in self.names]
        self.names[node.output[0]] = name
        self.lines += ["", "[[layer]]", f'name = "{name}"']
        self.lines += [f"inputs = {inputs}".replace("'", '"')] if len(inputs) > 1 else [f'input = "{inputs[0]}"']
        self.lines += [f"{key} = {toml(value)}" for key, value in keys.items()]

    def array(self, name: str, values: np.ndarray | None = None) -> str:
        key = re.sub(r"[^A-Za-z0-9_.]", "_", name)
        self.arrays[key] = np.ascontiguousarray(self.constants[name] if values is None else values)
        return key

    def conv(self, node: onnx.NodeProto, a: dict[str, Any]) -> dict[str, Any]:
        bias: Any = self.array(node.input[2]) if len(node.input) > 2 else False
        return {"op": "conv", "weight": self.array(node.input[1]), "bias": bias} | {
            "stride": a.get("strides", [1, 1]),
            "dilation": a.get("dilations", [1, 1]),
            "groups": a.get("group", 1),
            "padding": pads(a),
        }

    def batchnormalization(self, node: onnx.NodeProto, a: dict[str, Any]) -> dict[str, Any]:
        names = ("gamma", "beta", "mean", "variance")
        arrays = {k: self.array(i) for k, i in zip(names, node.input[1:], strict=True)}
        return {"op": "batch_norm", "epsilon": float(a.get("epsilon", 1e-5))} | arrays

    def clip(self, node: onnx.NodeProto, a: dict[str, Any]) -> dict[str, Any]:
        low, high = (float(self.constants[i].item()) for i in node.input[1:3])
        return {"op": "clip", "min": low, "max": high}

    def relu(self, node: onnx.NodeProto, a: dict[str, Any]) -> dict[str, Any]:
        return {"op": "relu"}

    def prelu(self, node: onnx.NodeProto, a: dict[str, Any]) -> dict[str, Any]:
        return {"op": "prelu", "slope": self.array(node.input[1], self.constants[node.input[1]].reshape(-1))}

    def add(self, node: onnx.NodeProto, a: dict[str, Any]) -> dict[str, Any]:
        return {"op": "add"}

    def maxpool(self, node: onnx.NodeProto, a: dict[str, Any]) -> dict[str, Any]:
        ceil = bool(a.get("ceil_mode", 0))
        return {"op": "max_pool", "kernel": a["kernel_shape"], "stride": a["strides"], "padding": pads(a)} | {
            "ceil_mode": ceil
        }

    def globalaveragepool(self, node: onnx.NodeProto, a: dict[str, Any]) -> dict[str, Any]:
        return {"op": "global_average_pool"}

    def flatten(self, node: onnx.NodeProto, a: dict[str, Any]) -> dict[str, Any]:
        return {"op": "flatten"}

    def transpose(self, node: onnx.NodeProto, a: dict[str, Any]) -> dict[str, Any]:
        return {"op": "transpose", "axes": a["perm"]}

    def softmax(self, node: onnx.NodeProto, a: dict[str, Any]) -> dict[str, Any]:
        return {"op": "softmax", "axis": a.get("axis", -1)}

    def gemm(self, node: onnx.NodeProto, a: dict[str, Any]) -> dict[str, Any]:
        layout = "OI" if a.get("transB") else "IO"
        return {"op": "dense", "weight": self.array(node.input[1]), "bias": self.array(node.input[2])} | {
            "weight_layout": layout
        }


def pads(a: dict[str, Any]) -> list[list[int]]:
    values = list(a.get("pads", [0, 0, 0, 0]))
    half = len(values) // 2
    return [[values[k], values[half + k]] for k in range(half)]


def toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f'"{value}"' if isinstance(value, str) else str(value)


def convert(model: Path, name: str, folder: Path) -> Path:
    """Writes NAME.toml and NAME.safetensors into the folder; returns the spec's path."""
    return Converter(onnx.load(str(model))).write(name, folder)
