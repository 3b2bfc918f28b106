"""Reading and writing of .npz files, including array names that numpy's own functions mistake for something else."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.errors import ParameterError, SpecError
from codegen.graph.room import require_room
from codegen.runtime.manifest import shown

_SUFFIX = ".npy"
_ARRAY = b"\x93NUMPY"  # the first bytes of a .npy file
_HEADER_BYTES = 2**14  # the longest header of a member that numpy reads
_MOST_REASON = 300  # characters of an error of zipfile or numpy
_LONGEST_MEMBER = 2**16 - 1  # bytes of the longest name in an archive


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz by name; SpecError if it cannot be read, ParameterError if it is not an .npz."""
    try:
        if path.exists() and not path.is_file():
            raise SpecError(f"{path}: is not a regular file; give an .npz with the inputs")
        with path.open("rb") as file:
            if file.read(len(_ARRAY)) == _ARRAY:
                raise ParameterError(
                    f"{path}: is one array without a name; write an .npz: numpy.savez(FILE, NAME=array)"
                )
        with zipfile.ZipFile(path) as archive:
            given: dict[str, NDArray[Any]] = {}
            for member in archive.infolist():
                # Arrays by the members' names: x.npy is the array x, and x.npy.npy the array x.npy.
                name = member.filename.removesuffix(_SUFFIX)
                if name == member.filename:
                    raise ValueError(f"its member {shown(name)} is not an array (.npy)")
                if name in given:
                    raise ValueError(f"its member {shown(member.filename)} is there twice")
                given[name] = _array(archive, member)
            return given
    except (SpecError, ParameterError):
        raise
    except OSError as error:
        raise SpecError(f"{path}: cannot be read: {error.strerror or error}; give an .npz with the inputs") from error
    except MemoryError as error:
        raise ParameterError(f"{path}: does not fit into memory") from error
    except Exception as error:  # zipfile and numpy raise exceptions of any kind on damaged bytes
        reason = str(error)[:_MOST_REASON] or type(error).__name__
        raise ParameterError(f"{path}: is not an .npz of arrays of numbers, or is damaged: {reason}") from error


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    """The array in a member, after its header, its size and the free memory have been checked."""
    name = shown(member.filename.removesuffix(_SUFFIX))
    with archive.open(member) as file:
        head = io.BytesIO(file.read(_HEADER_BYTES))
    version = np.lib.format.read_magic(head)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(head)
    if dtype.hasobject:
        raise ValueError(f"array {name} holds Python objects, which are not read")
    size = math.prod(shape) * dtype.itemsize
    if size != member.file_size - head.tell():
        raise ValueError(f"array {name} has {member.file_size - head.tell()} bytes for {list(shape)} of {dtype}")
    try:
        require_room(size, f"array {name} {list(shape)} of {dtype}")
    except SpecError as error:
        raise ValueError(str(error)) from error
    with archive.open(member) as file:
        return np.asarray(np.lib.format.read_array(file, allow_pickle=False))


def npz(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """The bytes of an .npz.  Names may be any that :func:`fits_member`, even the argument names of np.savez."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, np.asarray(array), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(name + _SUFFIX), content.getvalue())
    return stream.getvalue()


def fits_member(name: str) -> bool:
    """True if an archive's member can have this name: its length is limited, and it has no zero byte."""
    return "\0" not in name and len((name + _SUFFIX).encode()) <= _LONGEST_MEMBER
