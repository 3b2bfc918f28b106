"""Errors, by whose fault they are.  Each ends the command with its exit code; any other exception is a bug of clgen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class ClgenError(Exception):
    """Base of the errors a user can mend.  The message names file, place, value and remedy."""

    exit_code = 2


class CheckFailed(ClgenError):
    """``--check`` found files that differ from what would be generated."""

    exit_code = 1


class SpecError(ClgenError):
    """The spec (or the command line) is wrong."""

    exit_code = 2


class ParameterError(ClgenError):
    """A parameter array is missing, misshapen or holds values no trained network can have."""

    exit_code = 3


class DeviceError(ClgenError):
    """An OpenCL device or a C compiler is missing, or refused the generated code."""

    exit_code = 4


class Mismatch(ClgenError):
    """The generated code computed something else than the reference."""

    exit_code = 5


@contextmanager
def naming(file: Path) -> Iterator[None]:
    """Puts the file's name before the message of every SpecError and ParameterError that is raised inside."""
    try:
        yield
    except (ParameterError, SpecError) as error:
        raise type(error)(f"{file}: {error}") from error
