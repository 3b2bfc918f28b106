"""A generated folder as read back from disk: the manifest, checked, and where every tensor lies."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.emit.output import EXAMPLE, FORMAT, MANIFEST
from codegen.errors import Mismatch, SpecError

Floats = NDArray[np.float32]

REQUIRED = (
    *("generator", "name", "target", "device_type", "spec", "weights_sha256", "inputs", "outputs", "build_options"),
    *("device_options", "memory", "zeros", "preparations", "launches", "tensors", "files"),
)


@dataclass(frozen=True)
class Tensor:
    """A tensor's place: offset and strides count floats in ``buffer``.

    The buffer is "arena", "input", "output" or, for a constant, "weights".
    """

    buffer: str
    index: int
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    block: int

    @property
    def bytes(self) -> int:
        """What its elements take, with the filling of the last block of channels."""
        counts = list(self.shape)
        if self.block > 1:
            counts[1] = -(-counts[1] // self.block) * self.block
        return 4 * math.prod(counts)

    def indices(self) -> NDArray[np.int64]:
        """Where in its buffer each element lies, by the manifest's definition of strides and blocks."""
        grid = np.indices(self.shape)
        total = np.full(self.shape, self.offset, dtype=np.int64)
        for axis, stride in enumerate(self.strides):
            if axis == 1 and self.block > 1:
                total += grid[axis] // self.block * stride + grid[axis] % self.block
            else:
                total += grid[axis] * stride
        return total


@dataclass(frozen=True, eq=False)
class Artefact:
    """A generated folder.  ``weights`` is None where the constants are in the kernels' source."""

    folder: Path
    manifest: Mapping[str, Any]
    source: str
    weights: Floats | None
    tensors: Mapping[str, Tensor]

    @property
    def name(self) -> str:
        return str(self.manifest["name"])

    @property
    def device_type(self) -> str:
        """The type of device that its schedules are for: "CPU" or "GPU"."""
        return str(self.manifest["device_type"])

    @property
    def inputs(self) -> list[dict[str, Any]]:
        return list(self.manifest["inputs"])

    @property
    def outputs(self) -> list[dict[str, Any]]:
        return list(self.manifest["outputs"])

    @property
    def launches(self) -> list[dict[str, Any]]:
        return list(self.manifest["launches"])

    def build_options(self, native_floats: int) -> list[str]:
        """Compiler options for a device, as the C host chooses them; ``native_floats`` are those of its vectors."""
        options = str(self.manifest["build_options"]).split()
        for choice in self.manifest["device_options"]:
            if native_floats >= choice["native_floats_from"]:
                options += str(choice["options"]).split()
        return options


def read(folder: Path) -> Artefact:
    """Reads a generated folder.

    SpecError if it is none; Mismatch if a file is missing or is not the one that was generated.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT:
            raise SpecError(f"{path}: format {manifest['format']!r} is of another version of clgen; build again")
        absent = [key for key in REQUIRED if key not in manifest]
        if absent:
            raise SpecError(f"{path}: {absent[0]!r} is missing; build again")
        tensors = {
            name: Tensor(t["buffer"], t["index"], t["offset"], tuple(t["shape"]), tuple(t["strides"]), t["block"])
            for name, t in manifest["tensors"].items()
        }
    except OSError as error:
        raise SpecError(f"{path}: cannot be read ({error.strerror}); give a folder that clgen build made") from error
    except (ValueError, KeyError, TypeError) as error:
        raise SpecError(f"{path}: not a manifest of clgen ({error}); build again") from error
    # example.c is the user's to edit.
    contents = {name: _checked(folder, name, sha) for name, sha in manifest["files"].items() if name != EXAMPLE}
    kernels = f"{manifest['name']}.cl"
    if kernels not in contents:
        raise SpecError(f"{path}: lists no {kernels}; build again")
    source = contents[kernels].decode()
    blob = contents.get(f"{manifest['name']}_weights.c.bin")
    weights = None if blob is None else np.frombuffer(blob, dtype="<f4").astype(np.float32)
    return Artefact(folder, manifest, source, weights, tensors)


def _checked(folder: Path, name: str, digest: str) -> bytes:
    path = folder / name
    if Path(name).name != name:
        raise SpecError(f"{folder / MANIFEST}: file name {name!r} leaves the folder; build again")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Mismatch(f"{path}: cannot be read ({error.strerror}); build again") from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise Mismatch(f"{path}: not the file that was generated (its SHA-256 differs from the manifest); build again")
    return content


def to_user_order(array: NDArray[Any], declared: Mapping[str, Any]) -> NDArray[Any]:
    """An array in the network's order of axes, NCHW, as its user has it: NHWC where declared so."""
    return np.moveaxis(array, 1, -1) if declared["channels_last"] else array


def in_network_order(artefact: Artefact, inputs: Mapping[str, Floats]) -> dict[str, Floats]:
    """Inputs in the user's layout, in the network's order of axes, NCHW."""
    return {
        i["name"]: np.moveaxis(inputs[i["name"]], -1, 1) if i["channels_last"] else inputs[i["name"]]
        for i in artefact.inputs
    }
