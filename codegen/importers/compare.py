"""Comparison of an import with an evaluation of the model: inputs, tolerances and messages."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.errors import Mismatch
from codegen.frontend.spec.value_types import FLOAT32_MAX
from codegen.graph.ops import Shape
from codegen.graph.types import FLOAT32, is_whole, limits

Array = NDArray[Any]
Inputs = Mapping[str, NDArray[np.float64]]

TOLERANCE = 1e-9
"""Largest error, relative to max|y|: both sides compute in float64 (2^-53 = 1.1e-16), but sum in different orders."""

FLOAT32_TOLERANCE = 1e-6
"""The same for constants that are computed in float32 (2^-24 = 6e-8), and for the final spec, in which several layers
become one: a hard swish divides by 6 exactly where the model has 0.16666667."""

CANCELLED = 2.0**-44
"""Largest error, relative to the largest input of an operator: rounding errors remain even if its terms cancel."""

SEED = 20260301
LARGEST_WHOLE = 9  # largest value in whole-number inputs
USUAL = 2  # draws; a third one is for networks in which some tensor is infinite or NaN everywhere


@dataclass(frozen=True)
class ImportCheck:
    """The result of a comparison; ``skipped`` says why nothing was compared.

    ``worst`` is the largest |error| / max|y| of a tensor.
    """

    reference: str
    inputs: int = 0
    tensors: int = 0
    worst: float = 0.0
    skipped: str = ""
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "notes": list(self.notes)}

    def __str__(self) -> str:
        if self.skipped:
            return f"import: not compared with {self.reference}: {self.skipped}"
        notes = "".join(f"\nimport: {note}" for note in self.notes)
        return (
            f"import: {self.tensors} tensors equal {self.reference} on {self.inputs} random inputs, "
            f"max|err|/max|y| {self.worst:.1e}{notes}"
        )


@dataclass
class Tally:
    """The accumulated result of comparing tensors one after the other."""

    tensors: set[str] = field(default_factory=set)
    worst: float = 0.0
    notes: dict[str, None] = field(default_factory=dict)

    def checked(self, reference: str, inputs: int) -> ImportCheck:
        return ImportCheck(reference, inputs, len(self.tensors), self.worst, notes=tuple(self.notes))


def draws(shapes: Mapping[str, Shape], types: Mapping[str, str] = MappingProxyType({})) -> Iterator[dict[str, Array]]:
    """Inputs from a fixed seed, all of them float32 numbers, in several draws.

    The draws are: normally distributed numbers; whole numbers, which hit the jumps of discontinuous functions; and
    numbers >= 0, for networks of logarithms and roots.

    ``types`` are the types of inputs that are not float32, as in a spec.  Integers and bools have their own type;
    normally distributed integers cover the range of a byte.  Floating-point numbers are float64.
    """
    rng = np.random.default_rng(SEED)
    makers: tuple[Callable[[Shape], Any], ...] = (
        lambda shape: rng.standard_normal(shape),
        lambda shape: rng.integers(-LARGEST_WHOLE, LARGEST_WHOLE + 1, shape),
        lambda shape: np.abs(rng.standard_normal(shape)),
    )
    for make in makers:
        yield {name: _of_type(make(shape), types.get(name, FLOAT32)) for name, shape in shapes.items()}


def _of_type(drawn: Any, kind: str) -> Array:
    """The numbers converted to a type; float64 unless the type is whole."""
    if not is_whole(kind):
        return np.asarray(np.float32(drawn).astype(np.float16 if kind == "float16" else np.float32), np.float64)
    if kind == "bool":
        return np.asarray(drawn) > 0
    low, high = limits(kind)
    # 80 times a normally distributed number now and then exceeds an int8, which tests casts that wrap around.
    whole = np.rint(np.asarray(drawn, np.float64) * (1 if np.asarray(drawn).dtype.kind == "i" else 80))
    whole = np.abs(whole) if low == 0 else whole
    return np.clip(whole, low, min(high, 2**24)).astype(kind)


def largest(x: Array) -> float:
    """The largest absolute finite value, 0 if there is none."""
    if x.dtype.kind not in "fiu" or not x.size:
        return 0.0
    return float(np.max(np.abs(x), initial=0.0, where=np.isfinite(x)))


def relative_error(ours: Array, theirs: Array) -> float:
    """max|ours - theirs| / max|theirs| over the elements that are finite in both."""
    both = np.isfinite(ours) & np.isfinite(theirs)
    if not both.any():
        return 0.0
    size = largest(theirs[both])
    return float(np.max(np.abs(ours[both] - theirs[both]))) / size if size else 0.0


def difference(ours: Array, theirs: Array, tolerance: float, floor: float = 0.0) -> str:
    """A description of how the tensors differ, "" if they do not.

    Finite elements may differ by ``tolerance`` times max|theirs| or by ``floor``.  NaN and infinities must be in equal
    positions, with the same sign.  Numbers beyond float32's range count as infinite.
    """
    if ours.shape != theirs.shape:
        return f"it is {list(ours.shape)} in the import, {list(theirs.shape)} in the model"
    if theirs.size == 0:
        return ""
    ours, theirs = _in_range(ours), _in_range(theirs)
    finite = np.isfinite(theirs)
    size = largest(theirs)
    with np.errstate(invalid="ignore", over="ignore"):
        off = np.where(finite, np.abs(ours - theirs), 0.0)
        same = np.where(finite, off <= max(tolerance * size, floor), ours == theirs)
        same |= np.isnan(ours) & np.isnan(theirs)
    if same.all():
        return ""
    # The worst element, or the first one that is infinite or NaN in only one of the two.
    strange = ~same & ~(finite & np.isfinite(ours))
    at = np.unravel_index(np.argmax(strange if strange.any() else np.where(same, 0.0, off)), theirs.shape)
    element = f"element {[int(i) for i in at]}" if theirs.ndim else "it"
    return f"{element} is {ours[at]:.9g} in the import, {theirs[at]:.9g} in the model; max|y| is {size:.3g}"


def _in_range(values: Array) -> Array:
    values = values.astype(np.float64)
    return np.where(np.abs(values) > FLOAT32_MAX, np.copysign(np.inf, values), values)


def mismatch(path: Path, tensor: str, maker: str, what: str) -> Mismatch:
    """The error that ends an import whose network differs from the model."""
    return Mismatch(
        f"{path}: the import does not compute what the model does.  The first tensor that differs is {tensor}, "
        f"of {maker}: {what}.  This is a bug of clgen: please report it, with the model if you can.  "
        f"clgen import --no-check {shlex.quote(str(path))} imports the model all the same"
    )


def seconds(multiply_adds: float, elements: float) -> float:
    """Estimated time of a comparison on one core of a small machine, for this much work in both evaluators."""
    return multiply_adds / 2e9 + elements / 3e7


MOST_SECONDS = 30.0
MOST_BYTES = 2.0 * 2**30


def too_large(multiply_adds: float, elements: float, kept: float) -> str:
    """The reason why a network is too large to be compared, or "".

    ``multiply_adds`` and ``elements`` are counts for one evaluation; ``kept`` elements are in memory at once.
    """
    if seconds(multiply_adds, elements) > MOST_SECONDS:
        time = math.ceil(seconds(multiply_adds, elements))
        return f"it would take about {time} s, and at most {MOST_SECONDS:g} are allowed"
    if 8 * kept > MOST_BYTES:
        memory = 8 * kept / 2**30
        return f"it would take about {memory:.1f} GiB of memory, and at most {MOST_BYTES / 2**30:g} are allowed"
    return ""
