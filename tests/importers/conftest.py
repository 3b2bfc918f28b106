"""Fixtures of the tests of the importers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from codegen.frontend.spec.place import Place
from codegen.importers.keras import file
from codegen.importers.keras.hdf5 import Group, read_hdf5


@pytest.fixture(scope="module", autouse=True)
def same_files_are_read_once() -> Iterator[None]:
    """A test opens its model two or three times, and each time HDF5 would start a process, which takes longest."""
    found: dict[bytes, Group] = {}

    def read(path: Path, place: Place) -> Group:
        content = path.read_bytes()
        if content not in found:
            found.clear()
            found[content] = read_hdf5(path, place)
        return found[content]

    with mock.patch.object(file, "read_hdf5", read):
        yield
