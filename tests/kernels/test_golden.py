"""Goldens: what is generated for a few tiny networks, kernels and header to the last byte.

A change of templates or schedules shows here as a diff that a reviewer can read.  To accept it, on your own machine:

    CLGEN_UPDATE_GOLDENS=1 pytest tests/kernels/test_golden.py

and look at what git says has changed.  CI never updates goldens.
"""

from __future__ import annotations

import difflib
import json
import os
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from codegen import build
from tests.support.needs import ROOT
from tests.support.networks import weights_in

FOLDER = ROOT / "tests" / "golden"
Shapes = Mapping[str, tuple[int, ...]]


def updating(environment: Mapping[str, str]) -> bool:
    """True if goldens are to be written."""
    asked = environment.get("CLGEN_UPDATE_GOLDENS") == "1"
    if asked and environment.get("CI"):
        pytest.fail("goldens are updated by hand and reviewed; unset CLGEN_UPDATE_GOLDENS on CI")
    return asked


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[Mapping[str, str]], None]:
    """Compares texts by file name with those of the folder that is named after the test."""
    folder = FOLDER / request.node.name.removeprefix("test_")

    def check(files: Mapping[str, str]) -> None:
        if updating(os.environ):
            folder.mkdir(parents=True, exist_ok=True)
            for path in folder.iterdir():
                path.unlink()
            for name, text in files.items():
                (folder / name).write_text(text)
            return
        known = {path.name: path.read_text() for path in folder.iterdir()} if folder.is_dir() else {}
        assert sorted(known) == sorted(files), "CLGEN_UPDATE_GOLDENS=1 writes them"
        for name, text in files.items():
            if text != known[name]:
                old, new = known[name].splitlines(keepends=True), text.splitlines(keepends=True)
                pytest.fail(f"{name} has changed:\n{''.join(difflib.unified_diff(old, new, 'golden', 'generated'))}")

    return check


def generated(folder: Path, toml: str, shapes: Shapes, target: str = "cpu") -> dict[str, str]:
    """Kernels, header and manifest of a spec; the manifest without the hashes of files and its own."""
    spec = folder / "net.toml"
    spec.write_text(toml)
    (folder / "net.safetensors").write_bytes(safetensors(shapes))
    out, _ = build.build(build.lower(spec), folder, target)
    manifest = json.loads((out / "manifest.json").read_text())
    manifest["files"] = sorted(manifest["files"])
    del manifest["manifest_sha256"]
    texts = {name: (out / name).read_text() for name in (f"{out.name}.cl", f"{out.name}.h")}
    return {**texts, "manifest.json": json.dumps(manifest, indent=1) + "\n"}


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


def normalized(layer: str, channels: int) -> dict[str, tuple[int, ...]]:
    return {f"{layer}.bn.{word}": (channels,) for word in ("weight", "bias", "running_mean", "running_var")}


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


def test_tiny(golden: Callable[[Mapping[str, str]], None], tmp_path: Path) -> None:
    """A classifier in channel blocks of 8, its weights in tables."""
    shapes = {"stem.weight": (5, 3, 3, 3), **normalized("stem", 5), "scores.weight": (4, 5), "scores.bias": (4,)}
    golden(generated(tmp_path, TINY, shapes))


def test_bottleneck(golden: Callable[[Mapping[str, str]], None], tmp_path: Path) -> None:
    """An inverted residual on NHWC images."""
    shapes = {"expand.kernel": (1, 1, 3, 18), "depthwise.kernel": (3, 3, 18, 1), "project.kernel": (1, 1, 18, 3)}
    bns = {**normalized("expand", 18), **normalized("depthwise", 18), **normalized("project", 3)}
    golden(generated(tmp_path, BLOCK, {**shapes, **bns}, "cpu"))


def test_waves(golden: Callable[[Mapping[str, str]], None], tmp_path: Path) -> None:
    """Two inputs and outputs, one axis of space, a concatenation in place, weights in the blob, shared kernels."""
    shapes = {"a.weight": (8, 2, 3), "b.weight": (8, 2, 3), **normalized("a", 8), **normalized("b", 8)}
    with weights_in("blob"):
        golden(generated(tmp_path, SIGNAL, {**shapes, "up.weight": (16, 3, 2), "up.bias": (3,)}))


def test_goldens_are_made_by_tests() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {"tiny", "bottleneck", "waves"}


def test_the_same_spec_gives_the_same_bytes(tmp_path: Path) -> None:
    shapes = {"stem.weight": (5, 3, 3, 3), **normalized("stem", 5), "scores.weight": (4, 5), "scores.bias": (4,)}
    contents = []
    for name in ("one", "another"):
        (tmp_path / name).mkdir()
        generated(tmp_path / name, TINY, shapes)
        contents.append({p.name: p.read_bytes() for p in (tmp_path / name / "tiny").iterdir()})
    assert contents[0] == contents[1]
    assert not any(str(tmp_path).encode() in content for content in contents[0].values())


def test_ci_never_updates() -> None:
    assert not updating({})
    assert not updating({"CI": "true"})
    assert updating({"CLGEN_UPDATE_GOLDENS": "1"})
    with pytest.raises(pytest.fail.Exception, match="by hand"):
        updating({"CLGEN_UPDATE_GOLDENS": "1", "CI": "true"})
