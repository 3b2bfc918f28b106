"""Time and peak memory of `clgen build`, for networks of many layers and for large images.

    python benchmarks/builds.py [--layers 10,100] [--images 224x224]

Prints a Markdown table.  Each build is a process of its own; its processor time is that of all its threads, and its
memory its largest resident set.  Networks are generated in a temporary folder.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

LAYERS = "10,100,1000,5000"
IMAGES = "224x224,1080x1920,2160x3840"
CLGEN = [sys.executable, "-m", "codegen"]


def layers(folder: Path, count: int) -> Path:
    """3x3 convolutions of 8 channels with BatchNorm and ReLU, on 8x8 pixels."""
    rng = np.random.default_rng(0)
    lines, arrays = ['[model]\nname = "net"\nweights = "net.npz"\n[[input]]\nname = "x"\nshape = [8, 8, 8]'], {}
    for k in range(count):
        lines.append(f'[[layer]]\nname = "c{k}"\nop = "conv"\npadding = 1\nbias = false')
        lines.append('batch_norm = { epsilon = 1e-5 }\nactivation = "relu"')
        arrays[f"c{k}.weight"] = rng.normal(0, 0.17, (8, 8, 3, 3))
        arrays[f"c{k}.gamma"] = arrays[f"c{k}.moving_variance"] = rng.uniform(0.9, 1.1, 8)
        arrays[f"c{k}.beta"] = arrays[f"c{k}.moving_mean"] = rng.normal(0, 0.1, 8)
    lines.append(f'[[output]]\nname = "y"\nfrom = "c{count - 1}"\n')
    return written(folder, lines, arrays)


def image(folder: Path, height: int, width: int) -> Path:
    """Three 3x3 convolutions, 64 -> 64 channels each, with BatchNorm and ReLU."""
    rng = np.random.default_rng(0)
    lines = ['[model]\nname = "net"\nweights = "net.npz"', f'[[input]]\nname = "x"\nshape = [64, {height}, {width}]']
    arrays = {}
    for k in range(3):
        lines.append(f'[[layer]]\nname = "c{k}"\nop = "conv"\npadding = 1\nbias = false')
        lines.append('batch_norm = { epsilon = 1e-5 }\nactivation = "relu"')
        arrays[f"c{k}.weight"] = rng.normal(0, 0.06, (64, 64, 3, 3))
        arrays[f"c{k}.gamma"] = arrays[f"c{k}.moving_variance"] = rng.uniform(0.9, 1.1, 64)
        arrays[f"c{k}.beta"] = arrays[f"c{k}.moving_mean"] = rng.normal(0, 0.1, 64)
    lines.append('[[output]]\nname = "y"\nfrom = "c2"\n')
    return written(folder, lines, arrays)


def written(folder: Path, lines: list[str], arrays: dict[str, np.ndarray]) -> Path:
    np.savez(folder / "net.npz", **{name: values.astype(np.float32) for name, values in arrays.items()})
    (folder / "net.toml").write_text("\n".join(lines))
    return folder / "net.toml"


def measured(spec: Path) -> tuple[float, float, float]:
    """Processor time and elapsed time of a build, in seconds, and its peak memory in MiB."""
    command = [*CLGEN, "build", str(spec), "-o", str(spec.parent / "out")]
    started = time.monotonic()
    with Path(os.devnull).open("w") as nothing:
        to_nothing = [(os.POSIX_SPAWN_DUP2, nothing.fileno(), 1), (os.POSIX_SPAWN_DUP2, nothing.fileno(), 2)]
        process = os.posix_spawn(sys.executable, command, os.environ, file_actions=to_nothing)
        _, status, used = os.wait4(process, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed: {status}")
    return used.ru_utime + used.ru_stime, time.monotonic() - started, used.ru_maxrss / 1024


def rows(counts: list[int], sizes: list[tuple[int, int]]) -> Iterator[tuple[str, tuple[float, float, float]]]:
    with tempfile.TemporaryDirectory() as name:
        for count in counts:
            yield f"{count:,} convolutions with BatchNorm", measured(layers(Path(name), count))
        for height, width in sizes:
            yield (
                f"3 convolutions of 64 channels, {width} x {height} pixels",
                measured(image(Path(name), height, width)),
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", default=LAYERS, help=f"numbers of layers; default {LAYERS}")
    parser.add_argument("--images", default=IMAGES, help=f"heights and widths; default {IMAGES}")
    given = parser.parse_args()
    counts = [int(count) for count in given.layers.split(",") if count]
    sizes = [(int(h), int(w)) for h, w in (size.split("x") for size in given.images.split(",") if size)]
    print("| network | processor s | clock s | peak MiB |\n|---|---|---|---|")
    for name, (used, clock, memory) in rows(counts, sizes):
        print(f"| {name} | {used:.1f} | {clock:.1f} | {memory:.0f} |", flush=True)


if __name__ == "__main__":
    main()
