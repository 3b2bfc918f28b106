"""Specs in which any operator follows any other, whatever the ranks and batches: valid, and hardly ever sensible.

A layer is proposed at random, and stays if the reader takes it.  Passes and schedules then meet shapes that no network
has: lists of numbers, batches that become channels, dense layers behind sums.
"""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.errors import ClgenError
from codegen.frontend import toml
from codegen.frontend.model import Model
from codegen.frontend.parameters.archive import Stored
from codegen.frontend.parameters.parameters import Parameters
from codegen.frontend.spec.place import toml as written

Array = NDArray[np.float32]
Shape = tuple[int, ...]

MOST_ELEMENTS = 2000
SIZES = (1, 1, 2, 2, 3, 4, 5, 8, 9)
UNARY = (
    *("relu", "relu6", "sigmoid", "tanh", "abs", "neg", "sign", "floor", "gelu", "softmax", "log_sigmoid", "is_nan"),
    *("hard_swish", "softplus", "erf", "reciprocal", "sqrt", "global_average_pool", "global_max_pool"),
)
BINARY = ("add", "sub", "mul", "div", "min", "max", "pow", "fmod", "mask", "equal", "greater", "matmul", "grid_sample")


class Sketch:
    """A network that grows layer by layer."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.numbers = np.random.default_rng(seed)
        self.arrays: dict[str, Array] = {}
        self.layers: list[dict[str, Any]] = []
        self.batch = self.random.choice((1, 1, 2, 3))
        self.inputs: list[dict[str, Any]] = []
        for k in range(self.random.choice((1, 1, 2))):
            key = self.random.choice(("shape", "full_shape"))
            sizes = self.sizes(self.random.choice((1, 2, 3, 3, 4)))
            self.inputs.append({"name": f"x{k}", key: sizes, "layout": self.random.choice(("NCHW", "NCHW", "NHWC"))})
        # A spec has a layer, and every input a reader.
        self.layers += [{"name": f"l{k}", "op": "abs", "inputs": [f"x{k}"]} for k in range(len(self.inputs))]
        self.model = self.load()

    def sizes(self, count: int) -> list[int]:
        return [self.random.choice(SIZES) for _ in range(count)]

    def text(self) -> str:
        read = {name for layer in self.layers for name in layer["inputs"]}
        loose = [layer["name"] for layer in self.layers if layer["name"] not in read]
        outputs = [{"name": f"y{k}", "from": name} for k, name in enumerate(loose)]
        tables = [("[model]", {"name": "wild", "batch": self.batch})]
        for kind, members in (("input", self.inputs), ("layer", self.layers), ("output", outputs)):
            tables += [(f"[[{kind}]]", member) for member in members]
        return "\n".join(
            "\n".join([head, *(f"{key} = {written(value)}" for key, value in table.items())]) for head, table in tables
        )

    def parameters(self) -> Parameters:
        archive = {n: Stored(a.shape, lambda a=a: a) for n, a in self.arrays.items()}  # type: ignore[misc]
        return Parameters("wild.npz", "0" * 64, archive)

    def load(self) -> Model:
        return toml.load_bytes("wild.toml", "wild.toml", self.text().encode(), self.parameters())

    def grow(self) -> None:
        """Adds a layer, or nothing if the one that was thought of is none."""
        before = dict(self.arrays)
        name = f"l{len(self.layers)}"
        shapes = self.model.graph.shapes
        x = self.random.choice([*(i["name"] for i in self.inputs), *(layer["name"] for layer in self.layers[-3:])])
        layer = {"name": name, **self.proposal(name, x, tuple(shapes[x]))}
        self.layers.append(layer)
        try:
            model = self.load()
            if math.prod(model.graph.shapes[name]) > MOST_ELEMENTS:
                raise ClgenError("too large")
            self.model = model
        except ClgenError:
            self.layers.pop()
            self.arrays = before

    def array(self, name: str, *shape: int) -> None:
        self.arrays[name] = self.numbers.uniform(-1, 1, shape).astype(np.float32)

    def proposal(self, name: str, x: str, shape: Shape) -> dict[str, Any]:
        """An operator on x with attributes that may fit."""
        choose, rank = self.random.choice, len(shape)
        axis = self.random.randrange(rank)
        features, channels = math.prod(shape[1:]), shape[1] if rank > 1 else 1
        keys: dict[str, Any] = {}
        match choose(("move", "move", "move", "weights", "weights", "reduce", "unary", "binary", "window", "pick")):
            case "move":
                op = choose(("reshape", "reshape", "flatten", "transpose", "slice", "repeat", "pad", "concat", "take"))
                if op == "reshape":
                    keys = {"full_shape": self.factors(math.prod(shape))}
                elif op == "flatten":
                    keys = {"axis": axis}
                elif op == "transpose":
                    keys = {"axes": self.random.sample(range(rank), rank)}
                elif op == "slice":
                    keys = {"axis": axis, "start": choose((0, 0, 1, -1)), "step": choose((1, 1, 2, -1))}
                elif op == "repeat":
                    keys = {"times": [choose((1, 1, 2)) for _ in shape]}
                elif op == "pad":
                    keys = {"padding": [[choose((0, 1)), choose((0, 1, 2))] for _ in shape[2:]]}
                elif op == "concat":
                    return {"op": op, "inputs": [x, self.another(x)], "axis": axis}
                else:
                    keys = {"axis": axis}
                    self.arrays[f"{name}.indices"] = self.numbers.integers(0, shape[axis], 3).astype(np.float32)
            case "weights":
                op = choose(
                    ("dense", "dense", "conv", "conv", "batch_norm", "bias", "scale", "prelu", "conv_transpose")
                )
                kernel = [choose((1, 1, 2)) for _ in shape[2:]]
                outputs = choose(SIZES)
                if op == "dense":
                    self.array(f"{name}.weight", outputs, features)
                elif op in ("conv", "conv_transpose"):
                    ends = (outputs, channels) if op == "conv" else (channels, outputs)
                    self.array(f"{name}.weight", *ends, *kernel)
                elif op == "prelu":
                    self.array(f"{name}.slope", channels)
                elif op == "bias" or (op == "scale" and choose((True, False))):
                    self.array(f"{name}.bias", channels)
                if op == "scale":
                    self.array(f"{name}.weight", channels)
                if op == "batch_norm" or choose((False, True)):
                    self.statistics(name, outputs if op in ("dense", "conv", "conv_transpose") else channels)
                    keys = (
                        {"epsilon": 1e-3} if op == "batch_norm" else {"batch_norm": {"epsilon": 1e-3, "prefix": name}}
                    )
            case "reduce":
                op = choose(("reduce_sum", "reduce_mean", "reduce_max", "argmax", "top_k", "running_sum"))
                if op.startswith("reduce"):
                    axes = self.random.sample(range(rank), self.random.randrange(1, rank + 1))
                    keys = {"axes": axes, "keepdims": choose((True, False))}
                elif op == "argmax":
                    keys = {"axis": axis, "keepdims": choose((True, False))}
                else:
                    keys = {"axis": axis, **({"count": 1} if op == "top_k" else {})}
            case "unary":
                op = choose(UNARY)
                keys = {"axis": axis} if op == "softmax" else {}
            case "binary":
                return {"op": choose(BINARY), "inputs": self.random.sample([x, self.another(x)], 2)}
            case "window":
                op = choose(("max_pool", "average_pool"))
                keys = {"kernel": [choose((1, 2)) for _ in shape[2:]], "stride": choose((1, 2))}
            case _:
                op = "upsample"
                keys = {"scale": choose((1, 2)), "mode": choose(("nearest", "bilinear"))}
        if choose((False, False, True)):
            keys["activation"] = choose(("relu", "sigmoid", "tanh"))
        return {"op": op, "inputs": [x], **keys}

    def another(self, x: str) -> str:
        """A tensor; sooner one of x's shape, or of no more than its elements."""
        shapes = self.model.graph.shapes
        names = [*(i["name"] for i in self.inputs), *(layer["name"] for layer in self.layers)]
        alike = [name for name in names if len(shapes[name]) == len(shapes[x])]
        return self.random.choice(alike if self.random.random() < 0.8 else names)

    def statistics(self, prefix: str, channels: int) -> None:
        for word in ("gamma", "beta", "mean"):
            self.array(f"{prefix}.{word}", channels)
        self.arrays[f"{prefix}.variance"] = self.numbers.uniform(0.5, 2, channels).astype(np.float32)

    def factors(self, count: int) -> list[int]:
        """A shape of so many elements."""
        shape = [1] * self.random.randrange(1, 6)
        for divisor in range(2, count + 1):
            while count % divisor == 0:
                count //= divisor
                shape[self.random.randrange(len(shape))] *= divisor
        return shape


def wild_spec(seed: int, most_layers: int = 9) -> Sketch:
    """A network of up to so many layers."""
    sketch = Sketch(seed)
    for _ in range(2 * most_layers):
        if len(sketch.layers) < most_layers:
            sketch.grow()
    return sketch
