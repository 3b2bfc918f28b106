"""HDF5 -> JSON and raw bytes, as a program: ``python -m codegen.importers.keras.extract MODEL.h5 OUT``.

The HDF5 library can crash, loop for ever or exhaust memory on a damaged file, so it runs in a process of its own, which
:mod:`codegen.importers.keras.hdf5` ends when it takes too long.  OUT is a line of JSON, the tree of groups, followed by
the arrays one after the other.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np

MAX_ELEMENTS = 2**28  # elements of an array
_MOST_MEMBERS = 200_000  # members of all groups together
_DEEPEST = 64
_MOST_NAMES = 100_000  # names in an attribute
_MOST_COMPRESSED = 1100  # a byte of deflate expands to at most 1032 bytes
_SKIPPED = ("optimizer_weights", "optimizer", "_trainer", "metrics")  # large and not needed


class Extraction:
    def __init__(self, out: BinaryIO) -> None:
        self.out = out
        self.members = 0
        self.blocks: list[Any] = []
        self.offset = 0

    def group(self, group: Any, depth: int = 0) -> dict[str, Any]:
        if depth > _DEEPEST:
            raise ValueError(f"groups are nested more than {_DEEPEST} deep")
        members: dict[str, Any] = {}
        for name in group:
            self.members += 1
            if self.members > _MOST_MEMBERS:
                raise ValueError(f"there are more than {_MOST_MEMBERS} groups and arrays")
            # Links may lead to any other file.
            if (depth == 0 and name in _SKIPPED) or not isinstance(group.get(name, getlink=True), h5py.HardLink):
                continue
            member = group[name]
            members[name] = self.group(member, depth + 1) if isinstance(member, h5py.Group) else self.array(member)
        return {"attributes": self.attributes(group), "members": members}

    def attributes(self, group: Any) -> dict[str, Any]:
        """The attributes that are texts or lists of texts."""
        found: dict[str, Any] = {}
        for key in group.attrs:
            kept = group.attrs.get_id(key)
            if math.prod(kept.shape or ()) > _MOST_NAMES:
                raise ValueError(f"attribute {key!r} is too long")
            value = group.attrs[key]
            if isinstance(value, (str, bytes)):
                found[key] = text(value)
            elif isinstance(value, np.ndarray) and (value.dtype.kind in "SO" or value.size == 0):
                found[key] = [text(item) for item in value.reshape(-1)]
        return found

    def array(self, dataset: Any) -> dict[str, Any]:
        """Writes an array; one that cannot be read is marked as such, as it may not be needed."""
        shape, dtype = dataset.shape, dataset.dtype
        # HDF5 has no bfloat16 type: Keras stores its two raw bytes.
        number = (dtype.kind in "fiu" and dtype.itemsize <= 8) or dtype == np.dtype("V2")
        if shape is None or not number:
            return {"fault": f"holds {dtype}; it should hold floating-point numbers or integers"}
        elements = math.prod(shape)
        if elements > MAX_ELEMENTS:
            return {"fault": f"has {elements} elements; at most {MAX_ELEMENTS} are allowed"}
        if dataset.is_virtual or dataset.external:
            return {"fault": "is in another file"}
        stored = dataset.id.get_storage_size()
        filters = dataset.id.get_create_plist().get_nfilters()
        if elements * dtype.itemsize > stored * (_MOST_COMPRESSED if filters else 1):
            return {"fault": f"has {stored} bytes in the file for {list(shape)} of {dtype}: is it whole?"}
        kind = "bfloat16" if dtype.kind == "V" else dtype.newbyteorder("<").str
        entry = {"dtype": kind, "shape": list(shape), "offset": self.offset}
        self.offset += elements * dtype.itemsize
        self.blocks.append(dataset)
        return entry

    def write(self, tree: dict[str, Any]) -> None:
        self.out.write(json.dumps(tree).encode() + b"\n")
        for dataset in self.blocks:
            values = dataset[()]
            little = values.dtype if values.dtype.kind == "V" else values.dtype.newbyteorder("<")
            self.out.write(np.asarray(values, dtype=little).tobytes())


def text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def limit_memory(size: int) -> None:
    """Limits the memory of this process to what a file of ``size`` bytes can need."""
    try:
        import resource
    except ImportError:  # Windows
        return
    # Never raise an existing limit.
    limit = min([2**32 + 4 * size, *(n for n in resource.getrlimit(resource.RLIMIT_AS) if n != resource.RLIM_INFINITY)])
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main(source: str, target: str) -> int:
    try:
        limit_memory(Path(source).stat().st_size)
        with h5py.File(source, "r") as file, Path(target).open("wb") as out:
            extraction = Extraction(out)
            extraction.write(extraction.group(file))
    except MemoryError:
        print("it does not fit into memory", file=sys.stderr)
        return 1
    except Exception as error:  # h5py raises exceptions of any kind on damaged bytes
        print(str(error).splitlines()[0] if str(error) else type(error).__name__, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
