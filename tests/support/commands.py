"""The command as scripts call it, and a small spec to call it with."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from codegen.runtime.devices import DeviceInfo, choose, list_devices
from tests.support.values import save_npz

SPEC = """
[model]
name = "tiny"
weights = "tiny.npz"

[[input]]
name = "image"
shape = [3, 6, 7]

[[layer]]
name = "stem"
op = "conv"
padding = 1
batch_norm = { epsilon = 1e-3 }
activation = "relu"

[[output]]
name = "features"
from = "stem"
"""


def clgen(*arguments: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = ["clgen", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=cwd, env={**os.environ, **environment}
    )


def only(device: DeviceInfo) -> str:
    """A text for --device that means this device alone: a name may be part of another platform's or device's."""
    here = list_devices()
    for text in (device.platform, device.version.partition(" ")[2].partition(" ")[2], device.name):
        if text and choose(here, [text]) == [device]:
            return text
    pytest.skip(f"nothing tells {device.name} of {device.platform} from the other devices here")


def tiny_spec(folder: Path) -> Path:
    """A spec of one layer, tiny.toml, and its parameters beside it."""
    rng = np.random.default_rng(1)
    arrays = {"stem.weight": rng.standard_normal((5, 3, 3, 3)), "stem.bn.running_var": rng.uniform(0.5, 2, 5)}
    for name in ("weight", "bias", "running_mean"):
        arrays[f"stem.bn.{name}"] = rng.standard_normal(5)
    save_npz(folder / "tiny.npz", {k: v.astype(np.float32) for k, v in arrays.items()})
    path = folder / "tiny.toml"
    path.write_text(SPEC)
    return path
