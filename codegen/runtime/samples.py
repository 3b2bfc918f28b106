"""Inputs of an artefact, as contiguous float32 arrays in the user's layout: made up, or from the user's file."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.errors import ParameterError, SpecError
from codegen.runtime.artefact import Artefact, Floats

_LARGEST = float(np.finfo(np.float32).max)

SPECIAL_NUMBERS = np.array([np.nan, np.inf, -np.inf, -0.0, _LARGEST, -_LARGEST, 1e-40, -1e-40], np.float32)
"""NaN, the infinities, the negative zero, the largest numbers of either sign, and two denormal ones."""

Sample = Mapping[str, Floats]
"""The arrays of one run, by the inputs' names."""


def random_sample(artefact: Artefact, seed: int = 0) -> Sample:
    """Numbers spread evenly over the range that the manifest has for each input."""
    rng = np.random.default_rng(seed)
    return {
        i["name"]: (low + (high - low) * rng.random(i["shape"])).astype(np.float32)
        for i in artefact.inputs
        for low, high in [i["range"]]
    }


def with_special_numbers(sample: Sample) -> Sample:
    """The sample with each of SPECIAL_NUMBERS at two places of every input, or at as many as leave half of it alone."""
    rng = np.random.default_rng(0)
    special = {}
    for name, values in sample.items():
        mixed = values.copy()
        chosen = np.tile(SPECIAL_NUMBERS, 2)[: (mixed.size + 1) // 2]
        mixed.reshape(-1)[rng.choice(mixed.size, chosen.size, replace=False)] = chosen
        special[name] = mixed
    return special


def read_sample(artefact: Artefact, path: Path) -> Sample:
    """The inputs of one run from an .npz, by the model's names.

    SpecError if the file cannot be read; ParameterError if an array is missing, misshapen or not of numbers.
    """
    return _read(artefact, path, stacked=False)


def read_samples(artefact: Artefact, path: Path) -> Sequence[Sample]:
    """One sample, or several that are stacked along an axis in front, from an .npz, by the model's names.

    Errors are those of :func:`read_sample`, and ParameterError if arrays hold different numbers of samples.
    """
    ranks = {i["name"]: len(i["shape"]) for i in artefact.inputs}
    stacks = {
        name: array if array.ndim > ranks[name] else array[np.newaxis]
        for name, array in _read(artefact, path, stacked=True).items()
    }
    first, *others = stacks
    for name in others:
        if len(stacks[name]) != len(stacks[first]):
            counts = f"{len(stacks[first])} samples of {first!r} and {len(stacks[name])} of {name!r}"
            raise ParameterError(f"{path}: holds {counts}; give as many of each input")
    return [{name: array[k] for name, array in stacks.items()} for k in range(len(stacks[first]))]


def _read(artefact: Artefact, path: Path, *, stacked: bool) -> dict[str, Floats]:
    """An array for each input, of its shape; with ``stacked`` also with one axis more in front."""
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("it holds one array without a name")
        with archive:
            given = {name: archive[name] for name in archive.files}
        for name, array in given.items():
            if not isinstance(array, np.ndarray):
                raise ValueError(f"its member {name!r} is not an array")
    except OSError as error:
        raise SpecError(f"{path}: cannot be read: {error.strerror or error}; give an .npz with the inputs") from error
    except (ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:  # encrypted: RuntimeError
        raise ParameterError(f"{path}: is not an .npz of arrays of numbers, or is damaged: {error}") from error
    names = [i["name"] for i in artefact.inputs]
    for name in given:
        if name not in names:
            raise ParameterError(f"{path}: array {name!r} is no input of {artefact.name}; inputs: {', '.join(names)}")
    return {i["name"]: _checked(given, i, path, stacked) for i in artefact.inputs}


def _checked(given: Mapping[str, NDArray[Any]], declared: Mapping[str, Any], path: Path, stacked: bool) -> Floats:
    name, shape = declared["name"], list(declared["shape"])
    wanted = f"{shape} of float32" + (", or several of them stacked along an axis in front" if stacked else "")
    if name not in given:
        raise ParameterError(f"{path}: input {name!r} is missing; it should be {wanted}")
    array = given[name]
    got = list(array.shape)
    if array.ndim == 0 and shape == [1]:  # a number
        array, got = array.reshape(1), shape
    fits = got == shape or (stacked and got[1:] == shape and len(array) > 0)
    if not fits or array.dtype.kind not in "fiu":
        raise ParameterError(f"{path}: input {name!r} is {got} of {array.dtype}; it should be {wanted}")
    with np.errstate(over="ignore"):
        narrow = np.asarray(array, dtype=np.float32, order="C")
    if np.any(np.isinf(narrow) & np.isfinite(array)):
        raise ParameterError(f"{path}: input {name!r} holds numbers beyond float32")
    return narrow
