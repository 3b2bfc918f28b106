"""Fixtures of the tests of the importers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.keras_models import reading_in_this_process


@pytest.fixture(scope="module", autouse=True)
def whole_files_need_no_process() -> Iterator[None]:
    """A process for each HDF5 file takes longer than all else in a test.

    test_damaged_models.py has files that the library may crash on, and a test of what the process hands over.
    """
    with reading_in_this_process():
        yield
