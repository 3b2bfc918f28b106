"""Writes the shapes of all convolutions of the benchmark's classic networks to tests/choices/layers.json.

    python benchmarks/layer_shapes.py [--folder build/benchmarks]

The test of the planner's choices reads that file, and so needs neither the networks nor the libraries that define them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from zoo import SETS, onnx_file

from codegen import build
from codegen.graph.ops import Conv, Fused

GOLDEN = Path(__file__).resolve().parent.parent / "tests/choices/layers.json"


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes the shapes of the networks' convolutions for the tests.")
    parser.add_argument("--folder", type=Path, default=Path("build/benchmarks"))
    folder = parser.parse_args().folder
    networks = {name: shapes(build.lower(onnx_file(name, 1, folder))) for name in SETS["classic"]}
    lines = (
        f" {json.dumps(name)}: [\n  " + ",\n  ".join(map(json.dumps, layers)) + "\n ]"
        for name, layers in networks.items()
    )
    GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def shapes(lowered: build.Lowered) -> list[dict[str, Any]]:
    """Every distinct convolution, in the order of its first launch."""
    graph, layers = lowered.launches, []
    for node in graph.nodes:
        assert isinstance(node.op, Fused)
        op = node.op.core
        if isinstance(op, Conv):
            layer = {
                "input": list(graph.shapes[node.inputs[0]]),
                "from_user": node.inputs[0] not in graph.by_name,
                "weight": list(op.weight.shape),
                "stride": list(op.stride),
                "pads": [list(pair) for pair in op.pads],
                "groups": op.groups,
                "prologue": bool(node.op.prologue),
            }
            if layer not in layers:
                layers.append(layer)
    return layers


if __name__ == "__main__":
    main()
