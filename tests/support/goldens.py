"""The small networks whose generated text is kept in tests/golden."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from codegen import build
from codegen.emit.artefact import Tuning
from codegen.emit.output import write
from codegen.plan.plan import Plan
from codegen.plan.planner import plan
from codegen.plan.target import TARGETS
from tests.support.networks import weights_in

Shapes = Mapping[str, tuple[int, ...]]


def updating(environment: Mapping[str, str]) -> bool:
    """True if goldens are to be written."""
    asked = environment.get("CLGEN_UPDATE_GOLDENS") == "1"
    if asked and environment.get("CI"):
        pytest.fail("goldens are updated by hand and reviewed; unset CLGEN_UPDATE_GOLDENS on CI")
    return asked


def normalized(layer: str, channels: int) -> dict[str, tuple[int, ...]]:
    return {f"{layer}.bn.{word}": (channels,) for word in ("weight", "bias", "running_mean", "running_var")}


def safetensors(shapes: Shapes) -> bytes:
    """A file of simple fractions, the same bytes on every machine.  Variances are positive."""
    header, data = {}, b""
    for k, (name, shape) in enumerate(shapes.items()):
        count = int(np.prod(shape))
        values = (np.arange(count) * 37 + 11 * k) % 64 / 32 - (0 if name.endswith("var") else 1)
        if name.endswith("var"):
            values += 0.25
        raw = values.astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


TINY = """
[model]
name = "tiny"
weights = "net.safetensors"

[[input]]
name = "image"
shape = [3, 6, 6]

[[layer]]
name = "stem"
op = "conv"
stride = 2
padding = 1
batch_norm = { epsilon = 1e-3 }
activation = "relu"

[[layer]]
name = "pool"
op = "global_average_pool"

[[layer]]
name = "scores"
op = "dense"
activation = "softmax"

[[output]]
name = "scores"
"""

BLOCK = """
[model]
name = "bottleneck"
weights = "net.safetensors"
batch = 2
weight_layout = "HWIO"

[[input]]
name = "image"
shape = [5, 4, 3]
layout = "NHWC"

[[layer]]
name = "expand"
op = "conv"
batch_norm = { epsilon = 1e-5 }
activation = "relu6"

[[layer]]
name = "depthwise"
op = "depthwise_conv"
padding = "same"
batch_norm = { epsilon = 1e-5 }
activation = "relu6"

[[layer]]
name = "project"
op = "conv"
batch_norm = { epsilon = 1e-5 }

[[layer]]
name = "sum"
op = "add"
inputs = ["image", "project"]

[[output]]
name = "features"
from = "sum"
"""

SIGNAL = """
[model]
name = "waves"
weights = "net.safetensors"

[[input]]
name = "left"
shape = [2, 9]

[[input]]
name = "right"
shape = [2, 9]

[[layer]]
name = "a"
op = "conv"
input = "left"
padding = 1
batch_norm = { epsilon = 1e-5 }

[[layer]]
name = "b"
op = "conv"
input = "right"
padding = 1
batch_norm = { epsilon = 1e-5 }

[[layer]]
name = "both"
op = "concat"
inputs = ["a", "b"]

[[layer]]
name = "pooled"
op = "max_pool"
kernel = 2

[[layer]]
name = "up"
op = "conv_transpose"
stride = 2
output_padding = 1
activation = { op = "leaky_relu", alpha = 0.25 }

[[output]]
name = "up"

[[output]]
name = "pooled"
"""

ROWS = """
[model]
name = "rows"
weights = "net.safetensors"

[[input]]
name = "tokens"
shape = [3, 4, 6]
type = "uint8"

[[layer]]
name = "scores"
op = "matmul"
inputs = ["tokens", "keys"]

[[layer]]
name = "keys"
op = "transpose"
input = "tokens"
axes = [0, 1, 3, 2]

[[layer]]
name = "sums"
op = "running_sum"
input = "scores"
axis = 3

[[layer]]
name = "best"
op = "top_k"
input = "sums"
axis = 3
count = 2

[[layer]]
name = "mean"
op = "reduce_mean"
input = "best"
axes = [1]

[[output]]
name = "mean"
"""

IMAGES = """
[model]
name = "images"
weights = "net.safetensors"

[[input]]
name = "image"
shape = [9, 4, 5]

[[layer]]
name = "larger"
op = "upsample"
scale = 2

[[layer]]
name = "half"
op = "upsample"
input = "image"
size = [2, 3]
mode = "bilinear"

[[layer]]
name = "turned"
op = "grid_sample"
input = "larger"

[[layer]]
name = "even"
op = "slice"
input = "image"
axis = 1
start = 0
stop = 9
step = 2

[[layer]]
name = "shuffled"
op = "concat"
inputs = ["even", "image"]

[[layer]]
name = "wide"
op = "concat"
inputs = ["image", "image"]
axis = 3

[[output]]
name = "turned"

[[output]]
name = "half"

[[output]]
name = "shuffled"

[[output]]
name = "wide"
"""

VOLUME = """
[model]
name = "volume"
weights = "net.safetensors"

[[input]]
name = "scan"
shape = [3, 4, 5, 6]

[[layer]]
name = "mean"
op = "average_pool"
kernel = 2

[[layer]]
name = "finer"
op = "upsample"
scale = 2
mode = "bilinear"

[[output]]
name = "finer"
"""

WINOGRAD = """
[model]
name = "winograd"
weights = "net.safetensors"

[[input]]
name = "x"
shape = [8, 8, 8]

[[layer]]
name = "steps"
op = "conv"
padding = 1
activation = "relu"

[[layer]]
name = "groups"
op = "conv"
padding = 1

[[output]]
name = "groups"
"""


@dataclass(frozen=True)
class Golden:
    """A network as a spec and shapes of its weights.

    ``parts`` are the kinds of files that are kept.  ``schedules`` are those of layers that would take others, because
    the network is small.
    """

    toml: str
    weights: Shapes = field(default_factory=dict)
    blob: bool = False
    schedules: Mapping[str, str] = field(default_factory=dict)
    parts: tuple[str, ...] = (".cl",)

    def lowered(self, folder: Path) -> build.Lowered:
        """The launches, of a spec that is written into ``folder``."""
        (folder / "net.toml").write_text(self.toml)
        (folder / "net.safetensors").write_bytes(safetensors(self.weights))
        return build.lower(folder / "net.toml")

    def plan(self, folder: Path) -> Plan:
        return plan(self.lowered(folder).launches, TARGETS["cpu"], choices=self.schedules)

    def generated(self, folder: Path) -> dict[str, str]:
        """Texts by file name; of the manifest without the hashes of files and its own."""
        lowered = self.lowered(folder)
        tuning = Tuning("net.tuned.toml", "0" * 64, "golden", dict(self.schedules)) if self.schedules else None
        with weights_in("blob") if self.blob else nullcontext():
            files = build.rendered_with(tuning, lowered, "cpu")
        write(folder / lowered.launches.name, files)
        manifest = json.loads(files["manifest.json"])
        manifest["files"] = sorted(manifest["files"])
        del manifest["manifest_sha256"]
        texts = {name: files[name].decode() for name in files if name.endswith((".cl", ".h"))}
        texts["manifest.json"] = json.dumps(manifest, indent=1) + "\n"
        return {name: text for name, text in texts.items() if name.endswith(self.parts)}


WHOLE = (".cl", ".h", ".json")

GOLDENS = {
    # A classifier in channel blocks of 8, its weights in tables.
    "tiny": Golden(
        TINY,
        {"stem.weight": (5, 3, 3, 3), **normalized("stem", 5), "scores.weight": (4, 5), "scores.bias": (4,)},
        parts=WHOLE,
    ),
    # An inverted residual on NHWC images.
    "bottleneck": Golden(
        BLOCK,
        {
            **{"expand.kernel": (1, 1, 3, 18), "depthwise.kernel": (3, 3, 18, 1), "project.kernel": (1, 1, 18, 3)},
            **{**normalized("expand", 18), **normalized("depthwise", 18), **normalized("project", 3)},
        },
        parts=WHOLE,
    ),
    # Two inputs and outputs, one axis of space, a concatenation in place, weights in the blob, shared kernels.
    "waves": Golden(
        SIGNAL,
        {
            **{"a.weight": (8, 2, 3), "b.weight": (8, 2, 3), **normalized("a", 8), **normalized("b", 8)},
            **{"up.weight": (16, 3, 2), "up.bias": (3,)},
        },
        blob=True,
        parts=WHOLE,
    ),
    # Whole numbers, products of matrices, and what goes along an axis.
    "rows": Golden(ROWS),
    # Resampling, and channels that are copied.
    "images": Golden(IMAGES, {"turned.grid": (1, 3, 2, 2)}),
    # Windows in three dimensions.
    "volume": Golden(VOLUME),
    # Winograd's algorithm step by step, and all steps in one kernel.
    "winograd": Golden(
        WINOGRAD,
        {"steps.weight": (8, 8, 3, 3), "steps.bias": (8,), "groups.weight": (8, 8, 3, 3), "groups.bias": (8,)},
        blob=True,
        schedules={"steps": "winograd2", "groups": "winograd2_groups"},
    ),
}
"""By name of the model.  A change of one that is not ``WHOLE`` shows in its kernels only."""
