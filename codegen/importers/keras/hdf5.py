"""HDF5 files as trees of groups and arrays."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen import interrupt
from codegen.frontend.spec.place import Place

_SECONDS = 15  # time to read a file, plus one second per _BYTES_A_SECOND
_BYTES_A_SECOND = 10_000_000


@dataclass(frozen=True, eq=False)
class Array:
    """``fault`` says why there are no values, "" if there are."""

    values: NDArray[Any]
    fault: str = ""


@dataclass(frozen=True, eq=False)
class Group:
    """``attributes`` are texts and lists of texts; ``members`` are in the file's order."""

    attributes: Mapping[str, str | list[str]] = field(default_factory=dict)
    members: Mapping[str, Group | Array] = field(default_factory=dict)

    def group(self, name: str) -> Group | None:
        member = self.members.get(name)
        return member if isinstance(member, Group) else None

    def text(self, key: str) -> str | None:
        value = self.attributes.get(key)
        return value if isinstance(value, str) else None


def read_hdf5(path: Path, place: Place) -> Group:
    """Reads a file, without links to other files.  Raises ParameterError at ``place`` if the library fails."""
    seconds = _SECONDS + path.stat().st_size / _BYTES_A_SECOND
    with interrupt.scratch() as folder:
        out = folder / "extracted"
        command = [sys.executable, "-m", "codegen.importers.keras.extract", str(path), str(out)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        try:
            done = interrupt.run(command, seconds, environment)
        except subprocess.TimeoutExpired:
            raise place.parameter_error(f"is damaged: reading it takes more than {seconds:.0f} s") from None
        if done.returncode != 0:
            lines = done.stderr.splitlines()
            reason = lines[-1] if done.returncode > 0 and lines else "the HDF5 library crashes on it"
            raise place.parameter_error(f"is damaged: {reason}")
        data = out.read_bytes()
    end = data.index(b"\n")
    return _group(json.loads(data[:end]), memoryview(data)[end + 1 :])


def _group(tree: Mapping[str, Any], data: memoryview) -> Group:
    members = {
        name: _group(member, data) if "members" in member else _array(member, data)
        for name, member in tree["members"].items()
    }
    return Group(tree["attributes"], members)


def _array(entry: Mapping[str, Any], data: memoryview) -> Array:
    if "fault" in entry:
        return Array(np.empty(0), entry["fault"])
    dtype = np.dtype("<u2" if entry["dtype"] == "bfloat16" else entry["dtype"])
    values = np.frombuffer(data, dtype, math.prod(entry["shape"]), entry["offset"])
    if entry["dtype"] == "bfloat16":
        # bfloat16 is the upper half of a float32.
        values = (values.astype("<u4") << 16).view("<f4")
    return Array(values.reshape(entry["shape"]))
