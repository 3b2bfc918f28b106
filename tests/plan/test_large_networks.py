"""Networks of large images, or of many layers, or of large tensors: what a build of them takes."""

from __future__ import annotations

import resource
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.support.values import save_npz

MEMORY = 2 * 2**30  # bytes of address space that a build may take

HD = """
[model]
name = "hd"
weights = "hd.npz"

[[input]]
name = "image"
shape = {shape}
{layers}
[[output]]
name = "y"
from = "r"
"""

LAYERS = {
    # The convolution's terms alone, 64 * 9 for each of 2 million pixels, would be 9.5 GB.
    "conv": ([64, 1080, 1920], 'name = "c"\nop = "conv"\npadding = "same"\nweight = "w"\nbias = false'),
    "conv of rows": ([64, 2_000_000], 'name = "c"\nop = "conv"\npadding = "same"\nweight = "w3"\nbias = false'),
    "conv of volumes": ([16, 160, 256, 256], 'name = "c"\nop = "conv"\npadding = "same"\nweight = "v"\nbias = false'),
    "transposed conv": (
        [64, 540, 960],
        'name = "c"\nop = "conv_transpose"\nstride = 2\noutput_padding = 1\npadding = 1\nweight = "w"\nbias = false',
    ),
    "pool": ([64, 2160, 3840], 'name = "c"\nop = "max_pool"\nkernel = 3\nstride = 2\npadding = 1'),
    "resize": ([64, 540, 960], 'name = "c"\nop = "upsample"\nsize = [1080, 1920]\nmode = "bilinear"'),
    "4K": ([3, 2160, 3840], 'name = "c"\nop = "conv"\npadding = "same"\nweight = "rgb"\nbias = false'),
}


def clgen(*args: str | Path) -> subprocess.CompletedProcess[str]:
    """The command, in a process that gets no more than MEMORY."""

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))

    return subprocess.run(["clgen", *map(str, args)], preexec_fn=limited, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", LAYERS)
def test_a_large_image_is_built_in_2_gb(name: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weights = {"w": (64, 64, 3, 3), "w3": (64, 64, 3), "v": (16, 16, 3, 3, 3), "rgb": (16, 3, 3, 3)}
    arrays = {key: (rng.standard_normal(shape) / 24).astype(np.float32) for key, shape in weights.items()}
    save_npz(tmp_path / "hd.npz", arrays)
    shape, layer = LAYERS[name]
    layers = f'[[layer]]\n{layer}\n[[layer]]\nname = "r"\nop = "relu"\n'
    (tmp_path / "hd.toml").write_text(HD.format(shape=shape, layers=layers))
    done = clgen("build", tmp_path / "hd.toml", "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "hd" / "hd.c").is_file()
