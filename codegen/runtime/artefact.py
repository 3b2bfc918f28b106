"""A generated folder read back from disk: the checked manifest, and the location of every tensor."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.emit.output import EXAMPLE, MANIFEST
from codegen.emit.packaging import OPENCL, PLAIN_C, VERSIONS, Packaging, has, host_name
from codegen.emit.seal import SEAL, digest
from codegen.emit.transaction import settle
from codegen.errors import Mismatch, SpecError
from codegen.graph.types import FLOAT32, size_of, to_float32
from codegen.runtime.consistent import check
from codegen.runtime.manifest import At, parse, shown

Floats = NDArray[np.float32]
Values = NDArray[Any]
"""The elements of an input or output, in its own type."""


@dataclass(frozen=True)
class Tensor:
    """The location of a tensor: offset and strides count elements of ``type`` in ``buffer``.

    The buffer is "arena", "input", "output" or, for a constant, "weights".
    """

    buffer: str
    index: int
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    block: int
    type: str = FLOAT32

    @property
    def bytes(self) -> int:
        """The size of the tensor's elements, including the padding lanes of the last channel block."""
        counts = list(self.shape)
        if self.block > 1:
            counts[1] = -(-counts[1] // self.block) * self.block
        return size_of(self.type) * math.prod(counts)

    def indices(self) -> NDArray[np.int64]:
        """The index of each element in the buffer, by the manifest's definition of strides and blocks."""
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
    """A generated folder.

    ``source`` is the text with the kernels; ``weights`` is None if the constants are in there.
    """

    folder: Path
    manifest: Mapping[str, Any]
    source: str
    weights: Values | None
    tensors: Mapping[str, Tensor]

    @property
    def name(self) -> str:
        return str(self.manifest["name"])

    @property
    def backend(self) -> str:
        """The way in which the kernels run: "opencl", "c" or "opencl,c"."""
        return str(self.manifest["backend"])

    @property
    def packaging(self) -> Packaging:
        """The kind of folder."""
        with_check = f"{self.host(PLAIN_C)}_check.c" in self.manifest["files"]
        return Packaging(self.backend, self.multiversion, with_check)

    @property
    def multiversion(self) -> bool:
        """True if the plain C has versions for several processors."""
        return bool(self.manifest["multiversion"])

    def host(self, backend: str) -> str:
        """The name that the files and functions of the host for a backend begin with."""
        return host_name(self.name, self.backend, backend)

    def sources(self, backend: str) -> list[Path]:
        """The C files of the host for a backend, "opencl" or "c"."""
        host = self.host(backend)
        versions = [f"{host}_{version.name}.c" for version in VERSIONS if self.multiversion and backend == PLAIN_C]
        weights = [] if self.weights is None else [f"{self.name}_weights.c"]
        return [self.folder / name for name in (f"{host}.c", *versions, *weights)]

    @property
    def device_type(self) -> str:
        """The type of device that the schedules are for: "CPU" or "GPU"."""
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
        """Compiler options for a device, as the C host chooses them; ``native_floats`` is its vector width."""
        options = str(self.manifest["build_options"]).split()
        for choice in self.manifest["device_options"]:
            if native_floats >= choice["native_floats_from"]:
                options += str(choice["options"]).split()
        return options


def read(folder: Path) -> Artefact:
    """Reads a generated folder.

    Raises SpecError if it is not one or its manifest is invalid; Mismatch if a file is missing or differs from the one
    that was generated.
    """
    settle(folder)
    path = folder / MANIFEST
    manifest = parse(path)
    name = manifest["name"]
    backend = manifest["backend"]
    kernels = f"{name}.c" if backend == PLAIN_C else f"{name}.cl"
    hosts = [host_name(name, backend, single) for single in (OPENCL, PLAIN_C) if has(backend, single)]
    for file in (f"{name}.c", f"{name}.h", kernels, *(f"{host}.c" for host in hosts)):
        if file not in manifest["files"]:
            raise SpecError(f"{path}: files: {file} is missing; build again")
    # Users may edit example.c.
    contents = {file: _checked(folder, file, sha) for file, sha in manifest["files"].items() if file != EXAMPLE}
    source, blob = contents[kernels].decode("utf-8", "replace"), contents.get(f"{name}_weights.c.bin")
    dtype = np.dtype(manifest["type"])
    if blob is not None and len(blob) % dtype.itemsize:
        raise Mismatch(
            f"{folder / f'{name}_weights.c.bin'}: {len(blob)} bytes are not whole numbers of {dtype}; build again"
        )
    weights = None if blob is None else np.frombuffer(blob, dtype.newbyteorder("<")).astype(dtype)
    check(manifest, source, None if weights is None else weights.size, At(path))
    tensors = {name: _tensor(t, manifest) for name, t in manifest["tensors"].items()}
    return Artefact(folder, manifest, source, weights, tensors)


def read_unchanged(folder: Path) -> Artefact:
    """Reads a generated folder without comparing it with the spec; Mismatch also if the manifest was edited.

    An edited number of a launch may be valid and still wrong.
    """
    artefact = read(folder)
    if artefact.manifest[SEAL] != digest(artefact.manifest):
        raise Mismatch(
            f"{folder / MANIFEST}: not the manifest that was generated (its SHA-256 is not {SEAL}); build again"
        )
    return artefact


def _tensor(t: Mapping[str, Any], manifest: Mapping[str, Any]) -> Tensor:
    """The location of a tensor; input and output buffers have elements of the port's type, all others floats."""
    ports = {"input": manifest["inputs"], "output": manifest["outputs"]}.get(t["buffer"])
    kind = ports[t["index"]]["type"] if ports else manifest["type"]
    return Tensor(t["buffer"], t["index"], t["offset"], tuple(t["shape"]), tuple(t["strides"]), t["block"], kind)


def _checked(folder: Path, name: str, sha256: str) -> bytes:
    path = folder / name
    try:
        if path.exists() and not path.is_file():
            raise Mismatch(f"{path}: is not a regular file; build again")
        content = path.read_bytes()
    except OSError as error:
        raise Mismatch(f"{path}: cannot be read ({error.strerror}); build again") from error
    except MemoryError as error:
        raise Mismatch(f"{path}: does not fit into memory ({path.stat().st_size} bytes); build again") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise Mismatch(f"{path}: not the file that was generated (its SHA-256 differs from the manifest); build again")
    return content


def port_label(declared: Mapping[str, Any]) -> str:
    """The name of an input or output for errors, with its name in the model if that is different."""
    name, original = declared["name"], declared["original"]
    return shown(name) if name == original else f"{shown(name)} ({shown(original)} in the model)"


def to_user_order(array: NDArray[Any], declared: Mapping[str, Any]) -> NDArray[Any]:
    """An array in the network's order of axes, NCHW, converted to the user's: NHWC where declared so."""
    return np.moveaxis(array, 1, -1) if declared["channels_last"] else array


def in_network_order(artefact: Artefact, inputs: Mapping[str, Values]) -> dict[str, Floats]:
    """Inputs converted from the user's layout and types to the network's: NCHW and float32."""
    floats = {i["name"]: to_float32(np.asarray(inputs[i["name"]])) for i in artefact.inputs}
    return {
        i["name"]: np.moveaxis(floats[i["name"]], -1, 1) if i["channels_last"] else floats[i["name"]]
        for i in artefact.inputs
    }
