"""Files of arrays by name, .npz: numpy's own, but for names that its functions take for something else."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.errors import ParameterError, SpecError

_SUFFIX = ".npy"
_LONGEST_MEMBER = 2**16 - 1  # bytes of a name in an archive


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz by their names; SpecError if it cannot be read, ParameterError if it is none."""
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile) or archive.zip is None:
            raise ValueError("it holds one array without a name")
        with archive:
            # By the members' names: x.npy is the array x, and x.npy.npy the array x.npy.
            given = {member.removesuffix(_SUFFIX): archive[member] for member in archive.zip.namelist()}
        for name, array in given.items():
            if not isinstance(array, np.ndarray):
                raise ValueError(f"its member {name!r} is not an array")
    except OSError as error:
        raise SpecError(f"{path}: cannot be read: {error.strerror or error}; give an .npz with the inputs") from error
    except (ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:  # encrypted: RuntimeError
        raise ParameterError(f"{path}: is not an .npz of arrays of numbers, or is damaged: {error}") from error
    return given


def npz(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """The bytes of an .npz.  Names may be any that :func:`fits_member`, also those of np.savez' own arguments."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, np.asarray(array), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(name + _SUFFIX), content.getvalue())
    return stream.getvalue()


def fits_member(name: str) -> bool:
    """Whether an archive's member can have this name: its length is limited, and a zero byte would end it."""
    return "\0" not in name and len((name + _SUFFIX).encode()) <= _LONGEST_MEMBER
