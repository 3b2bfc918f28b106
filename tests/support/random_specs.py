"""Specs that nobody would write: a hypothesis strategy over all operators, layouts, vocabularies and odd sizes.

Every spec is valid.  Shapes are computed here by formulas of their own, so that the reader's can be compared with them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import safetensors.numpy
import tomli_w
from hypothesis import strategies as st
from numpy.typing import NDArray

T = TypeVar("T")
Array = NDArray[Any]
Shape = tuple[int, ...]

CHANNELS = (1, 2, 3, 5, 7, 8, 9, 12, 15, 16, 17, 24, 31, 32, 33)
MOST_CHANNELS, MOST_SPACE, MOST_ELEMENTS = 66, 12, 12_000
SEVERAL = ("add", "sub", "mul", "div", "min", "max", "pow", "matmul", "concat")
VOCABULARIES = (
    ("gamma", "beta", "moving_mean", "moving_variance"),
    ("weight", "bias", "running_mean", "running_var"),
)
PARAMETERS: dict[str, dict[str, tuple[float, ...]]] = {
    "leaky_relu": {"alpha": (0.1, 0.3, -0.5)},
    "elu": {"alpha": (1.0, 0.5)},
    "selu": {"alpha": (1.5,)},
    "hard_sigmoid": {"alpha": (0.2,), "beta": (0.5, 0.25)},
    "celu": {"alpha": (0.5,)},
}
ACTIVATIONS = (
    "relu", "relu6", "clip", "leaky_relu", "elu", "selu", "sigmoid", "hard_sigmoid", "hard_swish", "silu", "swish",
    "tanh", "gelu", "gelu_tanh", "softplus", "mish", "softmax", "prelu", "abs", "neg", "erf", "sin", "cos", "atan",
    "asinh", "softsign", "log_sigmoid", "celu",
)  # fmt: skip
"""Without those that jump: where a network jumps, no tolerance holds from end to end."""


COORDINATES = ("half_pixel", "pytorch_half_pixel", "half_pixel_symmetric", "align_corners", "asymmetric")


@dataclass(frozen=True)
class RandomSpec:
    """A spec's text and arrays, and how to build it.  ``shapes`` is what each layer should come out as."""

    toml: str
    file: str
    target: str
    blob: bool
    wide: bool
    arrays: dict[str, Array] = field(repr=False)
    shapes: dict[str, Shape] = field(repr=False)

    def __repr__(self) -> str:
        arrays = "".join(f"# {name}: {a.dtype}{list(a.shape)}\n" for name, a in self.arrays.items())
        how = f"{'wide' if self.wide else 'narrow'} vectors, weights in {'a blob' if self.blob else 'tables'}"
        return f"# --target {self.target}, {how}\n{arrays}{self.toml}"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Prints an example for hypothesis."""
        printer.text(repr(self))

    def write(self, folder: Path) -> Path:
        """The spec's path; its weights lie beside it."""
        path, weights = folder / "net.toml", folder / self.file
        path.write_text(self.toml)
        if weights.suffix == ".npz":
            np.savez(weights, **self.arrays)  # type: ignore[arg-type]
        else:
            safetensors.numpy.save_file({k: np.ascontiguousarray(v) for k, v in self.arrays.items()}, weights)
        return path


@st.composite
def specs(draw: st.DrawFn, most_layers: int = 6) -> RandomSpec:
    """Any valid spec of up to about this many layers."""
    sketch = _Sketch(draw)
    for _ in range(sketch.whole(1, most_layers)):
        sketch.any_layer()
    return sketch.finish()


class _Sketch:
    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.rng = np.random.default_rng(draw(st.integers(0, 2**20)))
        self.batch = self.one_of(1, 1, 2, 3)
        self.hwio = self.chance(3)
        self.shapes: dict[str, Shape] = {}
        self.inputs: list[dict[str, Any]] = []
        self.layers: list[dict[str, Any]] = []
        self.arrays: dict[str, Array] = {}
        self.used: set[str] = set()
        self._draw_inputs()
        self.keras = self.hwio or any(i["layout"] == "NHWC" for i in self.inputs)

    # Draws

    def one_of(self, *values: T) -> T:
        return self.draw(st.sampled_from(values))

    def whole(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def chance(self, one_in: int) -> bool:
        return self.draw(st.integers(1, one_in)) == one_in

    def many(self, rank: int, *values: int) -> list[int]:
        return [self.one_of(*values) for _ in range(rank)]

    def tensor(self, fits: Callable[[Shape], bool] = lambda shape: True) -> str | None:
        """One of the tensors so far that fit, more often a late one."""
        names = [name for name, shape in self.shapes.items() if fits(shape)]
        if not names:
            return None
        return names[-1] if self.chance(2) else self.one_of(*names)

    def spatial(self) -> str | None:
        return self.tensor(lambda shape: len(shape) in (3, 4, 5))

    # Parameters

    def weight(self, name: str, *shape: int, fan_in: int) -> None:
        values = self.rng.standard_normal(shape) / math.sqrt(fan_in)
        self.arrays[name] = values.astype(self.one_of(np.float32, np.float32, np.float16, np.float64))

    def vector(self, name: str, values: Array) -> None:
        self.arrays[name] = values.astype(np.float32)

    def optional_bias(self, layer: dict[str, Any], channels: int) -> None:
        """The keys of a layer whose bias is found, named or ignored, or that has none."""
        kind = self.one_of("there", "there", "none", "named", "ignored")
        if kind == "named":
            layer["bias"] = f"bias of {layer['name']}"
            self.vector(layer["bias"], self.rng.standard_normal(channels))
        elif kind != "none":
            self.vector(f"{layer['name']}.bias", self.rng.standard_normal(channels))
            if kind == "ignored":
                layer["bias"] = False

    def batch_norm(self, prefix: str, channels: int, words: Sequence[str]) -> dict[str, Any]:
        """The keys of a BatchNorm with random statistics, whose arrays go by ``prefix``."""
        gamma, beta, mean, variance = (f"{prefix}.{word}" for word in words)
        epsilon = self.one_of(1e-5, 1e-5, 1e-3, 0.0)
        variances = self.rng.uniform(0.05, 3.0, channels)
        if epsilon and self.chance(3):
            some = self.rng.random(channels) < 0.5
            variances[some] = self.one_of(1e-36, 0.0, 1e-12)
        self.vector(mean, self.rng.standard_normal(channels))
        self.vector(variance, variances)
        if self.chance(6):
            self.shared_variance(prefix, variance, channels)
        keys: dict[str, Any] = {"epsilon": epsilon}
        scale, center = self.one_of("there", "there", "there", "none", "ignored"), self.one_of("there", "there", "none")
        if scale != "none":
            gammas = self.rng.uniform(0.5, 1.5, channels) * self.rng.choice([-1.0, 1.0], channels)
            gammas[self.rng.random(channels) < 0.2] = 0.0
            self.vector(gamma, gammas)
            if scale == "ignored":
                keys["scale"] = False
        if center == "there":
            self.vector(beta, self.rng.standard_normal(channels))
        return keys

    def shared_variance(self, prefix: str, variance: str, channels: int) -> None:
        """Takes over the numbers of an earlier BatchNorm of as many channels."""
        for name, values in self.arrays.items():
            if name != variance and name.endswith(("var", "variance")) and len(values) == channels and values.min() > 0:
                self.arrays[variance] = values

    # Inputs

    def _draw_inputs(self) -> None:
        rank = self.one_of(1, 2, 2, 2, 3)
        space = [self.whole(1, 9 if rank < 3 else 5) for _ in range(rank)]
        shapes = [[self.one_of(*CHANNELS), *space]]
        for _ in range(self.one_of(0, 0, 1, 2)):
            c = self.one_of(shapes[0][0], self.one_of(*CHANNELS))
            shapes.append(self.one_of([c, *space], [c, *space], [c, *(1 for _ in space)], [1, *space], [c]))
        for k, shape in enumerate(shapes):
            last = self.chance(3)
            name = f"x{k}"
            written = [*shape[1:], shape[0]] if last else shape
            self.inputs.append({"name": name, "shape": written, "layout": "NHWC" if last else "NCHW"})
            self.shapes[name] = (self.batch, *shape)

    # Layers

    def any_layer(self) -> None:
        kinds: tuple[Callable[[], object], ...] = (
            self.conv, self.conv, self.conv, self.depthwise, self.transposed, self.dense, self.norm, self.norm,
            self.constants, self.activation, self.pool, self.pool, self.global_pool, self.binary, self.binary,
            self.residual, self.gate, self.concat, self.concat, self.flatten, self.reshape, self.shuffle,
            self.transpose, self.pad, self.upsample, self.positive, self.reduce, self.matmul, self.slice, self.repeat,
            self.sample, self.take, self.top,
        )  # fmt: skip
        self.one_of(*kinds)()

    def add(
        self, op: str, inputs: Sequence[str], shape: Sequence[int], keys: dict[str, Any] | None = None,
        fill: Callable[[dict[str, Any]], None] = lambda layer: None,
    ) -> str | None:  # fmt: skip
        """A layer; None, and nothing added, if it would be too large.  ``fill`` makes its parameters."""
        if (
            math.prod(shape) > MOST_ELEMENTS
            or min(shape) < 1
            or shape[1] > MOST_CHANNELS
            or max(shape[2:], default=0) > 70
        ):
            return None
        name = self.one_of("l{}", "block.{}", "s-{}", "_{}").format(len(self.layers))
        layer: dict[str, Any] = {"name": name, "op": op}
        if len(inputs) == 1 and op not in SEVERAL and self.chance(2):
            layer["input"] = inputs[0]
        else:
            layer["inputs"] = list(inputs)
        layer |= keys or {}
        fill(layer)
        if self.chance(3):
            words = self.one_of(*VOCABULARIES)
            where = "named" if op == "batch_norm" else self.one_of("bn", "batch_norm", "named")
            prefix = f"statistics/{name}" if where == "named" else f"{name}.{where}"
            layer["batch_norm"] = self.batch_norm(prefix, shape[1], words)
            if where == "named":
                layer["batch_norm"]["prefix"] = prefix
        if self.chance(3):
            layer["activation"] = self.activation_keys(name, tuple(shape))
        self.used.update(inputs)
        self.layers.append(layer)
        self.shapes[name] = tuple(shape)
        return name

    def activation_keys(self, layer: str, shape: Shape) -> Any:
        """A word, or a table with parameters; ``<layer>.slope`` if it is prelu."""
        op = self.one_of(*ACTIVATIONS)
        if op == "clip":
            return {"op": op, "min": self.one_of(-1.0, 0.0), "max": self.one_of(0.5, 6.0)}
        if op == "softmax":
            return {"op": op, "axis": self.one_of(1, -1, len(shape) - 1)}
        if op == "prelu":
            count = self.one_of(shape[1], shape[1], 1)
            self.vector(f"{layer}.{self.one_of('slope', 'alpha')}", self.rng.uniform(-0.5, 0.9, count))
            return op
        if op == "gelu" and self.chance(2):
            return {"op": op, "approximate": "tanh"}
        if op in PARAMETERS and self.chance(2):
            return {"op": op, **{k: self.one_of(*values) for k, values in PARAMETERS[op].items()}}
        return op

    def window(self, space: Shape, kernel: list[int], dilations: tuple[int, ...]) -> tuple[dict[str, Any], list[int]]:
        """stride, dilation and padding of a window, and the sizes that come out."""
        rank = len(space)
        stride, dilation = self.many(rank, 1, 1, 2, 3), self.many(rank, *dilations)
        extents = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
        padding = self.one_of("none", "same", "valid", "one", "each", "pairs", "pairs")
        keys: dict[str, Any] = {"stride": self.short(stride), "dilation": self.short(dilation)}
        if padding == "same":
            return {**keys, "padding": "same"}, [-(-n // s) for n, s in zip(space, stride, strict=True)]
        pads = [(0, 0)] * rank
        if padding in ("one", "each", "pairs"):
            # Less than a window, so that no pool sees padding only.
            most = [min(e - 1, 3) for e in extents]
            if padding == "one":
                p = self.whole(0, min(most))
                keys["padding"], pads = p, [(p, p)] * rank
            elif padding == "each":
                each = [self.whole(0, m) for m in most]
                keys["padding"], pads = each, [(p, p) for p in each]
            else:
                pads = [(self.whole(0, m), self.whole(0, m)) for m in most]
                keys["padding"] = [list(p) for p in pads]
        elif padding == "valid":
            keys["padding"] = "valid"
        return keys, [
            (n + sum(p) - e) // s + 1 if n + sum(p) >= e else 0
            for n, p, e, s in zip(space, pads, extents, stride, strict=True)
        ]

    def short(self, values: list[int]) -> int | list[int]:
        """One number for all axes where that says the same."""
        return values[0] if len(set(values)) == 1 and self.chance(2) else values

    def kernel(self, space: Shape) -> list[int]:
        return self.many(len(space), 1, 1, 2, 3, 3, 4) if not self.chance(3) else [1] * len(space)

    def in_file_order(self, weight: Array, layout: str) -> Array:
        """[O, I, *space] as the file has it."""
        if layout in ("HWIO", "HWOI", "IO"):
            return np.moveaxis(weight, (0, 1), (-1, -2))
        return weight

    def place_weight(
        self, layer: dict[str, Any], usual: str, other: str, convert: Callable[[Array, str], Array]
    ) -> None:
        """Brings <layer>.weight into the model's layout, or into the other and says so; under either of its names."""
        layout = usual
        if self.chance(4):
            layout = layer["weight_layout"] = other
        values = convert(self.arrays.pop(f"{layer['name']}.weight"), layout)
        name = self.one_of(f"{layer['name']}.weight", f"{layer['name']}.kernel", f"{layer['name']}:0")
        if name.endswith(":0"):
            layer["weight"] = name
        self.arrays[name] = values

    def conv(self, x: str | None = None, channels: int = 0, plain: bool = False) -> str | None:
        """Any convolution; or a ``plain`` one with this many channels that keeps the size."""
        x = x or self.spatial()
        if x is None:
            return None
        n, ci, *space = self.shapes[x]
        kernel = self.kernel(tuple(space))
        groups, co = 1, channels or self.one_of(*CHANNELS)
        if not plain and self.chance(3):
            groups = self.one_of(*(g for g in range(1, ci + 1) if ci % g == 0))
            co = groups * self.one_of(1, 2, 3, 8, 16, 24, max(1, ci // groups))
        keys, sizes = self.window(tuple(space), kernel, (1, 1, 2, 3))
        if plain:
            keys, sizes = {"padding": "same"}, space
        if groups > 1:
            keys["groups"] = groups

        def fill(layer: dict[str, Any]) -> None:
            self.weight(f"{layer['name']}.weight", co, ci // groups, *kernel, fan_in=ci // groups * math.prod(kernel))
            usual, other = ("HWIO", "OIHW") if self.hwio else ("OIHW", "HWIO")
            self.place_weight(layer, usual, other, self.in_file_order)
            self.optional_bias(layer, co)

        return self.add("conv", [x], [n, co, *sizes], keys, fill)

    def depthwise(self) -> None:
        x = self.spatial()
        if x is None:
            return
        n, c, *space = self.shapes[x]
        kernel, multiplier = self.kernel(tuple(space)), self.one_of(1, 1, 1, 2, 3)
        keys, sizes = self.window(tuple(space), kernel, (1, 1, 2))

        def convert(weight: Array, layout: str) -> Array:
            if layout == "HWIO":
                return np.moveaxis(weight, (0, 1), (-1, -2))
            if layout == "HWCM":
                return np.moveaxis(weight.reshape(c, multiplier, *kernel), (0, 1), (-2, -1))
            return weight

        def fill(layer: dict[str, Any]) -> None:
            self.weight(f"{layer['name']}.weight", c * multiplier, 1, *kernel, fan_in=math.prod(kernel))
            usual, others = ("HWCM", ("OIHW", "HWIO")) if self.hwio else ("OIHW", ("HWCM", "HWIO"))
            self.place_weight(layer, usual, self.one_of(*others), convert)
            self.optional_bias(layer, c * multiplier)

        self.add("depthwise_conv", [x], [n, c * multiplier, *sizes], keys, fill)

    def transposed(self) -> None:
        x = self.spatial()
        if x is None:
            return
        n, ci, *space = self.shapes[x]
        rank, kernel = len(space), self.kernel(tuple(space))
        stride, dilation = self.many(rank, 1, 2, 2, 3), self.many(rank, 1, 1, 2)
        groups = self.one_of(1, 1, self.one_of(*(g for g in range(1, ci + 1) if ci % g == 0)))
        co = groups * self.one_of(1, 2, 5, 8)
        extents = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
        keys: dict[str, Any] = {"stride": self.short(stride), "dilation": self.short(dilation)}
        word = self.one_of("same", "valid", "numbers", "numbers")
        if word == "numbers":
            pads = [(self.whole(0, min(e - 1, 2)), self.whole(0, min(e - 1, 2))) for e in extents]
            extra = [self.whole(0, max(s, d) - 1) for s, d in zip(stride, dilation, strict=True)]
            keys |= {"padding": [list(p) for p in pads], "output_padding": self.short(extra)}
            sizes = [
                (m - 1) * s + e - sum(p) + o for m, s, e, p, o in zip(space, stride, extents, pads, extra, strict=True)
            ]
        else:
            keys["padding"] = word
            sizes = [
                m * s + (max(e - s, 0) if word == "valid" else 0)
                for m, s, e in zip(space, stride, extents, strict=True)
            ]
        if groups > 1:
            keys["groups"] = groups

        def fill(layer: dict[str, Any]) -> None:
            # [Ci, Co/groups, *kernel]; HWOI is [*kernel, Co/groups, Ci].
            self.weight(f"{layer['name']}.weight", ci, co // groups, *kernel, fan_in=ci // groups * math.prod(kernel))
            usual, other = ("HWOI", "IOHW") if self.hwio else ("IOHW", "HWOI")
            self.place_weight(layer, usual, other, self.in_file_order)
            self.optional_bias(layer, co)

        self.add("conv_transpose", [x], [n, co, *sizes], keys, fill)

    def dense(self) -> None:
        x = self.tensor(lambda shape: math.prod(shape[1:]) <= 2000)
        if x is None:
            return
        n, c, *space = self.shapes[x]
        if self.keras and c > 1 and math.prod(space) > 1:
            x = self.flatten(x, whole=True)
            if x is None:
                return
        features, outputs = math.prod(self.shapes[x][1:]), self.one_of(*CHANNELS)

        def fill(layer: dict[str, Any]) -> None:
            self.weight(f"{layer['name']}.weight", outputs, features, fan_in=features)
            usual, other = ("IO", "OI") if self.hwio else ("OI", "IO")
            self.place_weight(layer, usual, other, self.in_file_order)
            self.optional_bias(layer, outputs)

        self.add("dense", [x], [n, outputs], fill=fill)

    def norm(self) -> None:
        x = self.tensor()
        assert x is not None
        shape = self.shapes[x]

        def fill(layer: dict[str, Any]) -> None:
            prefix = layer["name"]
            if self.chance(3):
                prefix = layer["prefix"] = f"bn_{layer['name']}"
            layer |= self.batch_norm(prefix, shape[1], self.one_of(*VOCABULARIES))

        self.add("batch_norm", [x], shape, fill=fill)

    def constants(self) -> None:
        x = self.tensor()
        assert x is not None
        shape, op = self.shapes[x], self.one_of("bias", "scale")
        count = self.one_of(shape[1], shape[1], 1)

        def fill(layer: dict[str, Any]) -> None:
            values = self.rng.standard_normal(count)
            if self.chance(4):
                values = values.reshape(count, *(1 for _ in shape[2:]))
            word = "bias" if op == "bias" else self.one_of("scale", "weight")
            self.vector(f"{layer['name']}.{word}", values)
            if op == "scale" and self.chance(2):
                self.vector(f"{layer['name']}.bias", self.rng.standard_normal(shape[1]))

        self.add(op, [x], shape, fill=fill)

    def activation(self) -> None:
        x = self.tensor()
        assert x is not None
        shape = self.shapes[x]

        def fill(layer: dict[str, Any]) -> None:
            keys = self.activation_keys(layer["name"], shape)
            layer |= {"op": keys} if isinstance(keys, str) else keys

        self.add("relu", [x], shape, fill=fill)

    def pool(self) -> None:
        x = self.spatial()
        if x is None:
            return
        n, c, *space = self.shapes[x]
        kind = self.one_of("max", "average", "lp")
        kernel = [self.whole(1, min(4, m)) for m in space]
        room = min((m - 1) // (k - 1) if k > 1 else 3 for m, k in zip(space, kernel, strict=True))
        keys, sizes = self.window(tuple(space), kernel, (1, max(1, min(room, 2))))
        if kind == "lp" and self.chance(2):
            keys["p"] = self.one_of(1, 2.5, 3)
        if kind == "average" and keys.get("padding") != "same":
            keys["count_include_pad"] = self.one_of(True, False)
        if keys.get("padding") != "same" and self.chance(3):
            keys["ceil_mode"] = True
            sizes = [self.ceiling(a, m, kernel, keys) for a, m in enumerate(space)]
        self.add(f"{kind}_pool", [x], [n, c, *sizes], {"kernel": self.short(kernel), **keys})

    def ceiling(self, axis: int, size: int, kernel: list[int], keys: dict[str, Any]) -> int:
        """Outputs along an axis: partial windows count, unless they begin behind the input."""

        def of(key: str, otherwise: Any) -> Any:
            value = keys.get(key, otherwise)
            return value[axis] if isinstance(value, list) else value

        pad = of("padding", 0)
        before, after = pad if isinstance(pad, list) else (0, 0) if pad == "valid" else (pad, pad)
        extent, stride = of("dilation", 1) * (kernel[axis] - 1) + 1, of("stride", 1)
        starts = range(-before, size, stride)
        return sum(1 for s in starts if s - stride + extent < size + after or s == -before)

    def global_pool(self) -> None:
        x = self.spatial()
        if x is not None:
            n, c, *space = self.shapes[x]
            self.add(f"global_{self.one_of('max', 'average')}_pool", [x], [n, c, *(1 for _ in space)])

    def binary(self) -> None:
        a = self.tensor()
        assert a is not None
        first = self.shapes[a]

        def broadcasts(shape: Shape) -> bool:
            return len(shape) == len(first) and all(m == n or 1 in (m, n) for m, n in zip(first, shape, strict=True))

        b = self.tensor(broadcasts)
        assert b is not None
        inputs = [a, b] if self.chance(2) else [b, a]
        shape = [max(m, n) for m, n in zip(first, self.shapes[b], strict=True)]
        op = self.one_of("add", "sub", "mul", "min", "max")
        if op != "sub" and self.chance(4):
            inputs.append(self.one_of(a, b))
        self.add(op, inputs, shape)

    def residual(self) -> None:
        """x + conv(x)"""
        x = self.spatial()
        y = x and self.conv(x, self.shapes[x][1], plain=True)
        if x and y:
            self.add(self.one_of("add", "sub", "mul"), self.one_of([x, y], [y, x]), self.shapes[x])

    def gate(self) -> None:
        """Squeeze and excitation: x times a number for each channel."""
        x = self.spatial()
        if x is None:
            return
        n, c, *space = self.shapes[x]
        pooled = self.add("global_average_pool", [x], [n, c, *(1 for _ in space)])
        y = pooled and self.conv(pooled, c, plain=True)
        if y:
            self.add("mul", self.one_of([x, y], [y, x]), self.shapes[x])

    def concat(self) -> None:
        a = self.tensor()
        assert a is not None
        shape = list(self.shapes[a])
        axis = self.one_of(1, 1, 1, *range(len(shape)))
        if axis == 1 and len(shape) > 2 and self.chance(2):
            # Branches that lie in their place within the whole, if their widths allow it.
            parts = [self.conv(a, self.one_of(8, 16, 5), plain=True) for _ in range(self.one_of(2, 3))]
            inputs = [p for p in parts if p is not None]
            if len(inputs) < 2:
                return
        else:

            def fits(other: Shape) -> bool:
                return len(other) == len(shape) and all(
                    m == n for k, (m, n) in enumerate(zip(shape, other, strict=True)) if k != axis
                )

            inputs = [a]
            for _ in range(self.one_of(0, 1, 1, 2)):
                b = self.tensor(fits)
                assert b is not None
                inputs.append(b)
        shape[axis] = sum(self.shapes[i][axis] for i in inputs)
        self.add("concat", inputs, shape, {"axis": self.one_of(axis, axis - len(shape))})

    def flatten(self, x: str | None = None, whole: bool = False) -> str | None:
        x = x or self.tensor(lambda shape: math.prod(shape[1:]) <= 2000)
        if x is None:
            return None
        shape = self.shapes[x]
        axis = 1 if whole or self.chance(2) or len(shape) < 3 else self.one_of(*range(1, len(shape)))
        keys: dict[str, Any] = {"axis": axis} if axis > 1 or self.chance(2) else {}
        if axis == 1 and (self.keras or self.chance(4)):
            keys["order"] = self.one_of("NCHW", "NHWC")
        flat = [*shape[:axis], math.prod(shape[axis:])]
        if flat[1] > MOST_CHANNELS:
            return None
        return self.add("flatten", [x], flat, keys)

    def reshape(self) -> None:
        x = self.tensor()
        assert x is not None
        n, *rest = self.shapes[x]
        count = math.prod(rest)
        divisors = [d for d in range(1, min(count, MOST_CHANNELS) + 1) if count % d == 0]
        c = self.one_of(*divisors)
        h = self.one_of(*(d for d in range(1, count // c + 1) if count // c % d == 0))
        shape = self.one_of([c, count // c], [c, h, count // c // h], [c, count // c // h, h], [count])
        written = list(shape)
        if self.chance(2):
            written[self.whole(0, len(shape) - 1)] = -1
        self.add("reshape", [x], [n, *shape], {"shape": written})

    def shuffle(self) -> None:
        """ShuffleNet's: channels as groups, turned, and flat again."""
        x = self.tensor(lambda shape: len(shape) == 4)
        if x is None:
            return
        n, c, h, w = self.shapes[x]
        g = self.one_of(*(d for d in range(1, c + 1) if c % d == 0))
        layers = len(self.layers)
        split = self._bare("reshape", x, [n, g, c // g, h, w], {"shape": [g, c // g, h, w]})
        turned = self._bare("transpose", split, [n, c // g, g, h, w], {"axes": [0, 2, 1, 3, 4]})
        del self.shapes[split], self.shapes[turned]  # nobody else reads them: most layers want fewer axes
        assert len(self.layers) == layers + 2
        self.add("reshape", [turned], [n, c, h, w], {"shape": [c, -1, w]})

    def _bare(
        self, op: str, x: str, shape: list[int], keys: dict[str, Any],
        fill: Callable[[dict[str, Any]], None] = lambda layer: None,
    ) -> str:  # fmt: skip
        """A layer with nothing attached, whatever its size."""
        name = f"l{len(self.layers)}"
        layer = {"name": name, "op": op, "input": x, **keys}
        fill(layer)
        self.layers.append(layer)
        self.used.add(x)
        self.shapes[name] = tuple(shape)
        return name

    def transpose(self) -> None:
        x = self.tensor()
        assert x is not None
        shape = self.shapes[x]
        axes = [0, *self.draw(st.permutations(range(1, len(shape))))]
        if self.chance(6):
            axes = list(self.draw(st.permutations(range(len(shape)))))
        self.add("transpose", [x], [shape[a] for a in axes], {"axes": axes})

    def pad(self) -> None:
        x = self.spatial()
        if x is None:
            return
        n, c, *space = self.shapes[x]
        pads = [[self.whole(0, 2), self.whole(0, 2)] for _ in space]
        keys: dict[str, Any] = {"padding": pads}
        if self.chance(3):
            keys["value"] = self.one_of(-1.5, 0.1)
        elif self.chance(3):
            modes = ["edge", "wrap", "reflect"]
            if any(max(p) > m for p, m in zip(pads, space, strict=True)):
                modes.remove("wrap")
            if any(max(p) > m - 1 for p, m in zip(pads, space, strict=True)):
                modes.remove("reflect")
            keys["mode"] = self.one_of(*modes)
        padded = self.add("pad", [x], [n, c, *(m + sum(p) for m, p in zip(space, pads, strict=True))], keys)
        if padded and self.chance(2):
            self.conv(padded)

    def upsample(self) -> None:
        x = self.spatial()
        if x is None:
            return
        n, c, *space = self.shapes[x]
        mode = self.one_of("nearest", "bilinear", "bicubic")
        keys: dict[str, Any] = {"mode": mode} if mode != "nearest" or self.chance(2) else {}
        if mode != "nearest" and self.chance(2):
            keys["coordinates"] = self.one_of(*COORDINATES)
        if mode == "nearest" and self.chance(2):
            keys["rounding"] = self.one_of("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")
            keys["coordinates"] = self.one_of(*COORDINATES)
        if mode == "bicubic" and self.chance(2):
            keys |= {"cubic": self.one_of(-0.5, -0.75), "exclude_outside": self.one_of(True, False)}
        if self.chance(2):
            scale = [self.whole(1, 3) for _ in space]
            keys["scale"], size = self.short(scale), [m * s for m, s in zip(space, scale, strict=True)]
        else:
            keys["size"] = size = [self.whole(1, MOST_SPACE if len(space) < 3 else 5) for _ in space]
        if self.chance(4):
            keys["scales"] = [self.one_of(0.3, 1.0, 1.7) for _ in space]
        enough = all(s * m >= 0.5 for s, m in zip(keys.get("scales", [1.0] * len(space)), space, strict=True))
        if mode != "nearest" and enough and self.chance(3):
            keys["antialias"] = True
        if self.chance(6):
            ends = [[self.one_of(0.0, 0.3, -0.5), self.one_of(1.0, 0.6, 1.4, -0.1)] for _ in space]
            keys |= {"coordinates": "tf_crop_and_resize", "roi": ends, "outside": self.one_of(0.0, -1.5)}
        self.add("upsample", [x], [n, c, *size], keys)

    def sample(self) -> None:
        """Samples at positions from the file, or from another tensor with as many numbers as positions need."""
        x = self.tensor(lambda shape: len(shape) in (4, 5))
        if x is None:
            return
        n, c, *space = self.shapes[x]
        rank = len(space)
        keys: dict[str, Any] = {
            "mode": self.one_of("bilinear", "nearest", *(["bicubic"] if rank == 2 else [])),
            "border": self.one_of("zeros", "border", "reflection"),
            "align_corners": self.one_of(True, False),
        }
        grid = self.tensor(lambda shape: len(shape) == rank + 2 and (shape[0], shape[-1]) == (n, rank))
        if grid is not None:
            self.add("grid_sample", [x, grid], [n, c, *self.shapes[grid][1:-1]], keys)
            return
        size = [self.whole(1, 4) for _ in space]

        def fill(layer: dict[str, Any]) -> None:
            places = self.rng.uniform(-1.4, 1.4, (self.one_of(1, n), *size, rank))
            self.vector(f"{layer['name']}.grid", places)

        self.add("grid_sample", [x], [n, c, *size], keys, fill)

    def positive(self) -> None:
        """|x| + 1/2, and what only positive numbers may go into."""
        x = self.tensor()
        assert x is not None
        shape = self.shapes[x]

        def half(layer: dict[str, Any]) -> None:
            self.vector(f"{layer['name']}.bias", np.full(shape[1], 0.5))

        y = self._bare("abs", x, list(shape), {})
        y = self._bare("bias", y, list(shape), {}, half)
        op = self.one_of("div", "pow", "log", "sqrt", "reciprocal")
        if op == "div":
            self.add(op, [x, y], shape)
        elif op == "pow":
            z = self._bare("tanh", x, list(shape), {})
            self.add(op, [y, z], shape)
        else:
            self.add(op, [y], shape)

    def reduce(self) -> None:
        x = self.tensor()
        assert x is not None
        shape = self.shapes[x]
        some = self.draw(st.lists(st.sampled_from(range(len(shape))), min_size=1, max_size=len(shape), unique=True))
        terms = math.prod(shape[a] for a in some)
        op = self.one_of("sum", "mean", "max", "min", *(["prod"] if terms <= 6 else []))
        keys: dict[str, Any] = {"axes": [self.one_of(a, a - len(shape)) for a in some]}
        kept = [1 if a in some else n for a, n in enumerate(shape)]
        if 0 not in some and len(shape) - len(some) >= 2 and self.chance(2):
            keys["keepdims"] = False
            kept = [n for a, n in enumerate(shape) if a not in some]
        self.add(f"reduce_{op}", [x], kept, keys)

    def matmul(self) -> None:
        """A tensor by its own transpose, or by that of another of the same shape."""
        a = self.tensor()
        assert a is not None
        shape = self.shapes[a]
        b = self.tensor(lambda other: other == shape)
        assert b is not None
        rank = len(shape)
        turned = self._bare(
            "transpose", b, [*shape[:-2], shape[-1], shape[-2]], {"axes": [*range(rank - 2), rank - 1, rank - 2]}
        )
        self.add("matmul", [a, turned], [*shape[:-1], shape[-2]])

    def slice(self) -> None:
        x = self.tensor()
        assert x is not None
        shape = list(self.shapes[x])
        axis = self.whole(0, len(shape) - 1)
        keys = {
            "axis": self.one_of(axis, axis - len(shape)),
            "start": self.one_of(None, self.whole(-shape[axis], shape[axis] - 1)),
            "stop": self.one_of(None, self.whole(-shape[axis], shape[axis])),
            "step": self.one_of(None, 2, -1, -2),
        }
        chosen = np.arange(shape[axis])[keys["start"] : keys["stop"] : keys["step"]]
        shape[axis] = len(chosen)
        self.add("slice", [x], shape, {k: v for k, v in keys.items() if v is not None})

    def take(self) -> None:
        x = self.tensor()
        assert x is not None
        shape = list(self.shapes[x])
        axis = self.whole(0, len(shape) - 1)
        indices = [self.whole(0, shape[axis] - 1) for _ in range(self.whole(1, 5))]
        shape[axis] = len(indices)

        def fill(layer: dict[str, Any]) -> None:
            self.arrays[f"{layer['name']}.indices"] = np.array(indices, dtype=np.float32)

        self.add("take", [x], shape, {"axis": axis}, fill)

    def top(self) -> None:
        x = self.tensor()
        assert x is not None
        shape = list(self.shapes[x])
        axis = self.whole(0, len(shape) - 1)
        shape[axis] = self.whole(1, shape[axis])
        self.add("top_k", [x], shape, {"axis": axis, "count": shape[axis], "largest": self.chance(2)})

    def repeat(self) -> None:
        x = self.tensor()
        assert x is not None
        times = [self.one_of(1, 1, 2, 3) for _ in self.shapes[x]]
        self.add("repeat", [x], [n * t for n, t in zip(self.shapes[x], times, strict=True)], {"times": times})

    # The text

    def finish(self) -> RandomSpec:
        """Adds an output for every value that no layer reads, and sometimes for one that a layer does."""
        if not self.layers:
            self.activation()
        values = [name for name in (*self.shapes, *(layer["name"] for layer in self.layers)) if name not in self.used]
        values = list(dict.fromkeys(values))
        if self.chance(3):
            values.append(self.one_of(*self.shapes))
        outputs = []
        for k, value in enumerate(values):
            output: dict[str, Any] = {"name": f"y{k}", "from": value}
            if self.chance(3):
                output["layout"] = self.one_of("NCHW", "NHWC")
            outputs.append(output)
        layers = list(self.draw(st.permutations(self.layers))) if self.chance(4) else self.layers
        file = self.one_of("net.npz", "net.safetensors")
        model: dict[str, Any] = {"name": "net", "batch": self.batch}
        if self.arrays:
            model["weights"] = file
        if self.hwio:
            model["weight_layout"] = "HWIO"
        text = tomli_w.dumps({"model": model, "input": self.inputs, "layer": layers, "output": outputs})
        arrays = {name: np.ascontiguousarray(a) for name, a in self.arrays.items()}
        target, blob, wide = self.one_of("cpu", "cpu", "gpu"), self.chance(2), self.chance(2)
        return RandomSpec(text, file, target, blob, wide, arrays, dict(self.shapes))
