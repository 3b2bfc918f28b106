"""Parameter arrays by name, checked for values that no trained network has."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from difflib import SequenceMatcher, get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.errors import ParameterError
from codegen.frontend.parameters.archive import MAX_BYTES, Archive, Unreadable
from codegen.frontend.parameters.archive import READERS as ARCHIVES
from codegen.frontend.parameters.checkpoint import read_checkpoint
from codegen.frontend.parameters.state_dicts import chosen
from codegen.frontend.parameters.wrappers import Names
from codegen.frontend.spec.place import Place, listed, show, suggestion
from codegen.frontend.spec.value_types import FLOAT32_MAX
from codegen.graph.bounded import Array
from codegen.graph.ops import Shape
from codegen.graph.room import room

Reader = Callable[[bytes, str | None], Archive]
"""Reads the tensors of a file, or the part that the second argument (weights_key) chooses; raises Unreadable."""


def _flat(read: Callable[[bytes], Archive]) -> Reader:
    """The reader of a file format without nesting."""
    return lambda data, key: chosen({"": read(data)}, key)


READERS: Mapping[str, Reader] = {
    **{suffix: _flat(read) for suffix, read in ARCHIVES.items()},
    **dict.fromkeys((".pt", ".pth", ".bin", ".ckpt"), read_checkpoint),
}

Fits = Callable[[Shape], bool]
"""A predicate: true if a tensor of this shape could be the wanted one."""

# Counters of training: BatchNorm's batches, and AveragedModel's averaged steps.
_OF_TRAINING = (".num_batches_tracked", ".n_averaged")


@dataclass(frozen=True)
class Tensor:
    """An array of a file; ``place`` is the key of the spec that asked for it.

    ``in_float64`` caches the results of :meth:`widened` for all layers.
    """

    place: Place
    file: str
    name: str
    values: NDArray[Any]
    in_float64: dict[tuple[int, ...], Array] = field(default_factory=dict, repr=False)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    def widened(self, axes: tuple[int, ...]) -> Array:
        """The values in float64 with the axes in this order; all layers that name the tensor share one array."""
        if axes not in self.in_float64:
            self.in_float64[axes] = widened(self.values.transpose(axes))
        return self.in_float64[axes]

    def error(self, message: str) -> ParameterError:
        return self.place.parameter_error(f"tensor {show(self.name)} {list(self.shape)} of {self.file} {message}")


class Parameters:
    """The tensors of a file, each read when it is needed."""

    def __init__(self, file: str = "", sha256: str = "", archive: Archive | None = None) -> None:
        self.file = file
        self.sha256 = sha256
        self._archive: Archive = archive or {}
        self._by_name = Names(self._archive.keys())
        self._used: set[str] = set()
        self._in_float64: dict[str, dict[tuple[int, ...], Array]] = {}
        self._claims: Callable[[str], str] = lambda name: ""

    @staticmethod
    def open(path: Path, place: Place, weights_key: str | None = None) -> Parameters:
        """Opens a file; ``place`` is the key that names it, ``weights_key`` the keys that lead to its tensors."""
        reader = READERS.get(path.suffix.lower())
        if reader is None:
            raise place.spec_error(f"{show(str(path))} should be a {listed(READERS)} file")
        try:
            if not path.is_file():
                reason = "is not a regular file" if path.exists() else "does not exist"
                raise place.parameter_error(f"file {path} {reason}")
            if path.stat().st_size > MAX_BYTES:
                size = path.stat().st_size
                raise place.parameter_error(f"file {path} has {size} bytes; at most {MAX_BYTES} are allowed")
            if path.stat().st_size > room():
                raise place.parameter_error(f"file {path} has {path.stat().st_size} bytes, and {room()} are free here")
            data = path.read_bytes()
            return Parameters(str(path), hashlib.sha256(data).hexdigest(), reader(data, weights_key))
        except OSError as error:
            raise place.parameter_error(f"file {path} cannot be read: {error.strerror}") from error
        except MemoryError as error:
            raise place.parameter_error(f"file {path} does not fit into memory") from error
        except Unreadable as error:
            raise place.parameter_error(f"file {path} {error}") from error

    @staticmethod
    def of_bytes(file: str, data: bytes, reader: Callable[[bytes], Archive]) -> Parameters:
        """Reads a file's bytes with ``reader``, which may raise Unreadable."""
        return Parameters(file, hashlib.sha256(data).hexdigest(), reader(data))

    def __contains__(self, name: str) -> bool:
        """True if there is a tensor of this name, with or without wrappers' prefixes."""
        return bool(self._by_name.find(name))

    @property
    def names(self) -> Collection[str]:
        return self._archive.keys()

    @property
    def unused(self) -> tuple[str, ...]:
        """The tensors that were not read, in the file's order, except those that only training needs."""
        return tuple(name for name in self._archive if name not in self._used and not f".{name}".endswith(_OF_TRAINING))

    def claim(self, reader: Callable[[str], str]) -> None:
        """Sets ``reader``, which returns the place of the spec's table that will read a tensor; "" if none will."""
        self._claims = lambda name: next(filter(None, map(reader, [name, *self._by_name.forms(name)])), "")

    def read(self, name: str, place: Place, finite: bool = True) -> Tensor:
        """The tensor of this name; ``place`` is the key that wants it.

        Infinities and NaN are refused unless ``finite`` is false, as a mask may hold minus infinity.
        """
        found = self._by_name.find(name)
        if not found:
            near = suggestion(name, self.names)
            raise place.parameter_error(f"tensor {show(name)} is not in {self.file}{near}")
        if len(found) > 1:
            raise place.parameter_error(
                f"tensor {show(name)} may be {listed(found)} of {self.file}; "
                f"say which set is meant, such as weights_key = {show(_before(found[0], name))} in [model]"
            )
        name = found[0]
        self._used.add(name)
        try:
            tensor = Tensor(place, self.file, name, self._archive[name].load(), self._in_float64.setdefault(name, {}))
            if finite:
                _check_finite(tensor)
            return tensor
        except (Unreadable, MemoryError) as error:
            reason = "does not fit into memory" if isinstance(error, MemoryError) else str(error)
            raise place.parameter_error(f"tensor {show(name)} of {self.file} {reason}") from error

    def choose(
        self,
        names: Collection[str],
        place: Place,
        fits: Fits,
        required: bool = True,
        finite: bool = True,
        missing: str = "",
    ) -> Tensor | None:
        """The only tensor with one of these names; None if there is none and none is required.

        If it is missing, the error says so, or is ``missing``, and suggests a tensor whose shape ``fits``.
        """
        present = [name for name in names if name in self]
        present = [name for name in present if name in self._archive] or present
        key = place.keys[-1]
        if len(present) > 1:
            raise place.parameter_error(
                f'tensors {listed(present, "and")} are both in {self.file}; say which with {key} = "..."'
            )
        if present:
            return self.read(present[0], place, finite)
        if not required:
            return None
        if not self.file:
            raise place.spec_error(
                f'needs the tensor {listed(names)}, but [model] names no file: write weights = "..." there'
            )
        remedy = self._near(names, place, fits) or f'; say which with {key} = "..."'
        raise place.parameter_error(f"{missing or f'no tensor {listed(names)} in {self.file}'}{remedy}")

    def _near(self, names: Collection[str], place: Place, fits: Fits) -> str:
        """The tensor that may be meant, for an error message.

        It is the only unread one of the right shape, else one that is spelt similarly and either has the right shape or
        is unread.
        """
        fitting = [name for name in self.unused if fits(self._archive[name].shape)]
        free = [name for name in fitting if self._claims(name) in ("", str(place), str(place.table_of_keys))]
        alike = _nearest(names, free, 0.0 if len(free) == 1 else 0.5)
        if alike:
            return self._meant(alike, place, ", which fits and which nothing else reads")
        # A name in the spec may be a misspelt name of another layer's tensor; a default name may not.
        fitting = [name for name in self.names if len(names) == 1 and fits(self._archive[name].shape)]
        unread = [name for name in self.unused if not self._claims(name)]
        alike = _nearest(names, [*unread, *fitting], 0.7)
        return self._meant(alike, place) if alike else ""

    def _meant(self, name: str, place: Place, why: str = "") -> str:
        shape = list(self._archive[name].shape)
        return f"; did you mean {show(name)} {shape}{why}? Write {place.keys[-1]} = {show(name)}"


def _before(name: str, wanted: str) -> str:
    """The leading words of a tensor's name that the spec's name lacks."""
    return name.removesuffix(wanted).rstrip(".") or name.partition(".")[0]


def _nearest(names: Collection[str], known: Collection[str], least: float) -> str:
    """The known name that is most similar to one of the names, if its similarity is at least ``least`` (0 to 1)."""
    alike = [(name, other) for name in names for other in get_close_matches(name, known, n=1, cutoff=least)]
    return max(alike, key=lambda pair: SequenceMatcher(None, *pair).ratio(), default=("", ""))[1]


def widened(values: NDArray[Any]) -> Array:
    """A read-only float64 copy in row-major order."""
    copy = np.array(values, dtype=np.float64, order="C")
    copy.setflags(write=False)
    return copy


def first_index(mask: NDArray[np.bool_]) -> list[int]:
    """The first index where the mask is true, as text for an error."""
    return [int(i) for i in np.unravel_index(int(np.argmax(mask)), mask.shape)]


def _check_finite(tensor: Tensor) -> None:
    values = tensor.values
    if values.dtype.kind != "f":
        return
    # Narrower types cannot exceed float32.  NaN fails the comparison too.
    good = np.isfinite(values) if values.dtype.itemsize <= 4 else np.abs(values) <= FLOAT32_MAX
    if not good.all():
        at = first_index(~good)
        value = values[tuple(at)]
        known = "infinite" if np.isinf(value) else "not a number" if np.isnan(value) else "beyond float32"
        raise tensor.error(
            f"has {value} at {at}, which is {known}; a trained network has finite numbers only: "
            "was its training stopped by a divergence, or the file damaged?"
        )
