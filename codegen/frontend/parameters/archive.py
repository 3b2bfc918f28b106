"""The parameter file formats .npz and .safetensors: from bytes to named arrays, without executing anything."""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import safetensors
from numpy.typing import NDArray

from codegen.graph.room import SMALL, room

MAX_BYTES = 2**33  # bytes of a file
MAX_ELEMENTS = 2**28  # elements of a tensor
HEADER_BYTES = 2**14  # the longest header of an array in a .npz


class Unreadable(ValueError):
    """The file, or a tensor in it, is damaged or of an unsupported kind; the message says which."""


@dataclass(frozen=True)
class Stored:
    """A tensor that is still in the file.  ``load`` raises :class:`Unreadable`."""

    shape: tuple[int, ...]
    load: Callable[[], NDArray[Any]]


Archive = Mapping[str, Stored]


def read_npz(data: bytes) -> Archive:
    """Reads files written by numpy.savez."""
    tensors = {}
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        for member in archive.infolist():
            if not member.filename.endswith(".npy"):
                raise Unreadable(f"holds {json.dumps(member.filename[:80])}, which is no array (.npy)")
            name = member.filename.removesuffix(".npy")
            if name in tensors:
                raise Unreadable(f"holds {json.dumps(name)} twice")
            tensors[name] = _npy(archive, member)
    except Unreadable:
        raise
    except Exception as error:  # zipfile and numpy raise exceptions of any kind on damaged bytes
        raise Unreadable(f"is not a .npz file, or is damaged: {error}") from error
    return tensors


def _npy(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Stored:
    with archive.open(member) as member_file:
        # Longer headers are refused by numpy too, but only after reading them.
        file = io.BytesIO(member_file.read(HEADER_BYTES))
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        elif version == (2, 0):
            shape, _, dtype = np.lib.format.read_array_header_2_0(file)
        else:
            raise Unreadable(f"holds {json.dumps(member.filename)} in version {version} of the .npy format")
        header = file.tell()

    def load() -> NDArray[Any]:
        _check_dtype(dtype.kind in "fiu" and dtype.itemsize <= 8, str(dtype))
        _check_size(shape, dtype.itemsize)
        if math.prod(shape) * dtype.itemsize != member.file_size - header:
            raise Unreadable(f"is damaged: {member.file_size - header} bytes cannot hold {list(shape)} of {dtype}")
        try:
            with archive.open(member) as file:
                return np.lib.format.read_array(file, allow_pickle=False)
        except Exception as error:  # as above; checksums are compared here
            raise Unreadable(f"is damaged: {error}") from error

    return Stored(shape, load)


_SAFETENSORS = {
    **{f"F{8 * size}": np.dtype(f"<f{size}") for size in (2, 4, 8)},
    **{f"I{8 * size}": np.dtype(f"<i{size}") for size in (1, 2, 4, 8)},
    **{f"U{8 * size}": np.dtype(f"<u{size}") for size in (1, 2, 4, 8)},
    "BF16": np.dtype("<u2"),
}


def read_safetensors(data: bytes) -> Archive:
    """Reads files written by any framework's safetensors library."""
    try:
        entries = safetensors.deserialize(data)
    except Exception as error:  # mostly, but not always, an exception class of the library
        raise Unreadable(f"is not a .safetensors file, or is damaged: {error}") from error
    return {name: _entry(entry["dtype"], tuple(entry["shape"]), entry["data"]) for name, entry in entries}


def _entry(dtype: str, shape: tuple[int, ...], data: bytes) -> Stored:
    def load() -> NDArray[Any]:
        _check_dtype(dtype in _SAFETENSORS, dtype)
        _check_size(shape, 4)
        values = np.frombuffer(data, _SAFETENSORS[dtype])
        if dtype == "BF16":
            # bfloat16 is the upper half of a float32.
            values = (values.astype("<u4") << 16).view("<f4")
        return values.reshape(shape)

    return Stored(shape, load)


READERS: Mapping[str, Callable[[bytes], Archive]] = {".npz": read_npz, ".safetensors": read_safetensors}


def _check_dtype(known: bool, dtype: str) -> None:
    if not known:
        raise Unreadable(f"holds {dtype}; it should hold floating-point numbers or integers of at most 64 bits")


def _check_size(shape: tuple[int, ...], itemsize: int) -> None:
    if math.prod(shape) > MAX_ELEMENTS:
        raise Unreadable(f"has {math.prod(shape)} elements; at most {MAX_ELEMENTS} are allowed")
    size = itemsize * math.prod(shape)
    if size > SMALL and size > room():
        raise Unreadable(f"takes {size} bytes, and {room()} bytes of memory are free here")
