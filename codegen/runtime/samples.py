"""Inputs of an artefact, generated or from the user's file, as contiguous arrays in the user's layout and types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.errors import ParameterError
from codegen.graph.types import FLOAT32, is_whole, limits
from codegen.runtime.arrays import read_arrays
from codegen.runtime.artefact import Artefact, Values, port_label
from codegen.runtime.manifest import shown

_LARGEST = float(np.finfo(np.float32).max)

SPECIAL_NUMBERS = np.array([np.nan, np.inf, -np.inf, -0.0, _LARGEST, -_LARGEST, 1e-40, -1e-40], np.float32)
"""NaN, infinities, negative zero, the largest numbers of either sign, and two denormal numbers."""

Sample = Mapping[str, Values]
"""The arrays of one run, by the inputs' names in C."""


def random_sample(artefact: Artefact, seed: int = 0) -> Sample:
    """Uniformly distributed numbers in the manifest's range of each input; whole ones if its type is whole."""
    rng = np.random.default_rng(seed)
    return {i["name"]: _random(rng, i) for i in artefact.inputs}


def _random(rng: np.random.Generator, declared: Mapping[str, Any]) -> Values:
    (low, high), shape, dtype = declared["range"], declared["shape"], declared["type"]
    if not is_whole(dtype):
        return np.asarray(low + (high - low) * rng.random(shape), dtype=dtype)
    least, most = limits(dtype)
    first, last = max(int(low), int(least)), min(int(high), int(most))
    drawn = rng.integers(first, last, shape, dtype=np.uint64 if dtype == "uint64" else np.int64, endpoint=True)
    numbers: Values = drawn.astype(dtype)
    return numbers


def special_numbers(dtype: str) -> Values:
    """The ends of a type's range, and other numbers that are easily confused."""
    if dtype == "bool":
        return np.array([False, True])
    if is_whole(dtype):
        low, high = limits(dtype)
        return np.array([n for n in (0, 1, low, high, -1, 2**24 + 1) if low <= n <= high], dtype=dtype)
    if dtype == FLOAT32:
        return SPECIAL_NUMBERS
    largest, smallest = np.finfo(dtype).max, np.finfo(dtype).smallest_subnormal
    ends = [np.nan, np.inf, -np.inf, -0.0, largest, -largest, smallest, -smallest]
    # A double halfway between two floats, and doubles that are denormal as floats.
    more = [] if dtype == "float16" else [1 + 2.0**-24, 1 + 3 * 2.0**-24, 1e-40, -1e-40]
    return np.array([*ends, *more], dtype=dtype)


def with_special_numbers(sample: Sample) -> Sample:
    """The sample with special numbers of each input's type at two positions each, or at half of all positions."""
    rng = np.random.default_rng(0)
    special = {}
    for name, values in sample.items():
        mixed = values.copy()
        chosen = np.tile(special_numbers(str(values.dtype)), 2)[: (mixed.size + 1) // 2]
        mixed.reshape(-1)[rng.choice(mixed.size, chosen.size, replace=False)] = chosen
        special[name] = mixed
    return special


def read_sample(artefact: Artefact, path: Path) -> Sample:
    """The inputs of one run from an .npz, by their names in the model, or in C if no other input has that name.

    Raises SpecError if the file cannot be read; ParameterError if an array is missing, misshapen or not numeric.
    """
    return _read(artefact, path, stacked=False)


def read_samples(artefact: Artefact, path: Path) -> Sequence[Sample]:
    """One sample, or several that are stacked along a leading axis, from an .npz, by the model's names.

    Raises the errors of :func:`read_sample`, and ParameterError if arrays hold different numbers of samples.
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


def _read(artefact: Artefact, path: Path, *, stacked: bool) -> dict[str, Values]:
    """An array of each input's shape; with ``stacked`` it may have one more leading axis."""
    given = read_arrays(path)
    by_name = _inputs_by_name(artefact)
    found: dict[str, NDArray[Any]] = {}
    for name, array in given.items():
        declared = by_name.get(name)
        if declared is None:
            listed = ", ".join(map(port_label, artefact.inputs))
            raise ParameterError(f"{path}: array {shown(name)} is no input of {artefact.name}; inputs: {listed}")
        if declared["name"] in found:
            raise ParameterError(f"{path}: input {port_label(declared)} is given by both of its names; drop one")
        found[declared["name"]] = array
    return {i["name"]: _checked(found.get(i["name"]), i, path, stacked) for i in artefact.inputs}


def _inputs_by_name(artefact: Artefact) -> dict[str, dict[str, Any]]:
    """The inputs by their own names in the model, and by their names in C unless those are another input's."""
    return {**{i["name"]: i for i in artefact.inputs}, **{i["original"]: i for i in artefact.inputs}}


def _checked(array: NDArray[Any] | None, declared: Mapping[str, Any], path: Path, stacked: bool) -> Values:
    label, dtype, shape = port_label(declared), declared["type"], list(declared["shape"])
    wanted = f"{shape} of {dtype}" + (", or several of them stacked along an axis in front" if stacked else "")
    if array is None:
        raise ParameterError(f"{path}: input {label} is missing; it should be {wanted}")
    got = list(array.shape)
    if array.ndim == 0 and shape == [1]:  # a scalar for an input of one element
        array, got = array.reshape(1), shape
    fits = got == shape or (stacked and got[1:] == shape and len(array) > 0)
    if not fits or array.dtype.kind not in ("fiu" if dtype == FLOAT32 else "fiub"):
        raise ParameterError(f"{path}: input {label} is {got} of {array.dtype}; it should be {wanted}")
    with np.errstate(over="ignore", invalid="ignore"):
        cast = np.asarray(array, dtype=dtype, order="C")
    if dtype == FLOAT32:
        if np.any(np.isinf(cast) & np.isfinite(array)):
            raise ParameterError(f"{path}: input {label} holds numbers beyond float32")
    elif not _same_numbers(array, cast):
        raise ParameterError(
            f"{path}: input {label} is of {array.dtype}, which does not become {dtype} without loss; it should be "
            f"{wanted}: convert it as the model's own preprocessing does, with .astype(np.{cast.dtype.name})"
        )
    return cast


def _same_numbers(array: NDArray[Any], cast: NDArray[Any]) -> bool:
    """True if a conversion kept every number.  Floating-point numbers, even whole ones, are no integers."""
    if array.dtype.kind == "f" and cast.dtype.kind != "f":
        return False
    back = cast.astype(array.dtype)
    # A number out of range may survive by wrapping around twice, but with another sign on the way.
    signs = array.dtype.kind == "b" or cast.dtype.kind == "b" or bool(np.all((array < 0) == (cast < 0)))
    return signs and bool(np.array_equal(back, array, equal_nan=array.dtype.kind == "f"))
