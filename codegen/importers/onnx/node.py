"""A node of an ONNX graph with its inputs known, as builders of layers see it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from codegen.graph.ops import Shape


class Refused(ValueError):
    """Raised for a node that a spec cannot express; the message says why."""


@dataclass(frozen=True)
class Live:
    """A tensor that the network computes, by its name in the spec.

    Its numbers are floats even if they represent whole numbers or truth values; ``number_type`` says what they
    represent, see :mod:`codegen.importers.onnx.number_types`.
    """

    name: str
    shape: Shape
    number_type: str = "float"


@dataclass(frozen=True)
class Constant:
    """A tensor that is known at import, by its name in the model."""

    name: str
    values: NDArray[Any]

    @property
    def shape(self) -> Shape:
        return self.values.shape


Value = Live | Constant | None
Results = Live | Constant | Sequence[Live | Constant]
"""The results of an operator; only tensors without elements are constants."""


def number_type_of(value: Value) -> str:
    """The number type of a tensor: "float", "int", "bool" or the name of another integer type."""
    if isinstance(value, Live):
        return value.number_type
    name = str(value.values.dtype) if value is not None else "float32"
    if name in ("int32", "int64"):
        return "int"
    return name if name in _WHOLE else "float"


_WHOLE = ("bool", "int8", "int16", "uint8", "uint16", "uint32", "uint64")


def is_floating(dtype: np.dtype[Any]) -> bool:
    """True if numbers of a type are floating-point numbers, including types that numpy itself lacks."""
    return dtype.kind == "f" or dtype.name.startswith(("bfloat", "float"))


def without_bfloat16(value: Value) -> Value:
    """The constant, converted from bfloat16 to float32 if needed, as numpy's functions do not know bfloat16."""
    if isinstance(value, Constant) and value.values.dtype.name == "bfloat16":
        return Constant(value.name, value.values.astype(np.float32))
    return value


def type_of(value: Live | Constant) -> DTypeLike:
    """The type of a tensor's numbers in the model, if it is known."""
    if isinstance(value, Constant):
        return value.values.dtype
    return {"float": np.float32, "int": np.int64}.get(value.number_type, value.number_type)


@dataclass(frozen=True)
class Node:
    """A node: ``name`` is its own or its output's; ``outputs`` are the names of outputs that are read, or "".

    ``stored`` turns a constant into a tensor that layers can read.
    """

    op: str
    name: str
    opset: int
    inputs: Sequence[Value]
    outputs: Sequence[str]
    attributes: dict[str, Any]
    stored: Callable[[Constant], Live]

    # Inputs -----------------------------------------------------------------------------------------------------------

    def input(self, i: int) -> Value:
        return self.inputs[i] if i < len(self.inputs) else None

    def shape(self, i: int) -> Shape:
        """The shape of an input that is present."""
        value = self.input(i)
        if value is None:
            raise Refused(f"its input {i + 1} is absent")
        return value.shape

    def live(self, i: int = 0, least: int = 0) -> Live:
        """An input as a tensor that layers can read, with at least so many axes."""
        value = self.input(i)
        if value is None:
            raise Refused(f"its input {i + 1} is absent")
        if isinstance(value, Constant):
            value = self.stored(value)
        if len(value.shape) < least:
            raise Refused(f"its input {list(value.shape)} has no axis of channels")
        return value

    def optional(self, i: int, what: str) -> Constant | None:
        """An optional input that must be constant; None if it is absent."""
        value = self.input(i)
        if isinstance(value, Live):
            raise Refused(f"the network computes its {what}; only constants are supported there")
        return value

    def constant(self, i: int, what: str) -> Constant:
        value = self.optional(i, what)
        if value is None:
            raise Refused(f"its {what} is absent")
        return value

    def number(self, i: int, what: str, default: float) -> float:
        """The number in a constant input of one element."""
        value = self.optional(i, what)
        if value is None:
            return default
        if value.values.size != 1:
            raise Refused(f"its {what} {list(value.values.shape)} is not one number")
        return shortest(value.values.reshape(-1)[0])

    def whole_numbers(self, i: int, what: str) -> tuple[int, ...] | None:
        """The whole numbers of a constant input of at most one axis; None if the input is absent."""
        value = self.optional(i, what)
        if value is None:
            return None
        if value.values.ndim > 1 or value.values.dtype.kind not in "iu" or value.values.size > 64:
            raise Refused(f"its {what} is not a short list of whole numbers")
        return tuple(int(n) for n in value.values.reshape(-1))

    # Attributes, whose types are checked when a model is read ---------------------------------------------------------

    def get(self, name: str, default: Any = None) -> Any:
        return self.attributes.get(name, default)

    def real(self, name: str, default: float) -> float:
        return shortest(self.get(name, default))

    def flag(self, name: str, default: int = 0) -> bool:
        value = self.get(name, default)
        if value not in (0, 1):
            raise Refused(f"{name} = {value} should be 0 or 1")
        return bool(value)

    def ints(self, name: str, count: int, default: int) -> tuple[int, ...]:
        values = tuple(self.get(name) or (default,) * count)
        if len(values) != count:
            raise Refused(f"{name} {list(values)} should have {count} numbers")
        return values

    def axes(self, values: Sequence[int], rank: int) -> tuple[int, ...]:
        """The axes, counted from the front, in order."""
        if any(not -rank <= axis < rank for axis in values) or len({axis % rank for axis in values}) != len(values):
            raise Refused(f"axes {list(values)} are not axes of {rank}")
        return tuple(sorted(axis % rank for axis in values))

    def axis(self, default: int, rank: int) -> int:
        return self.axes([self.get("axis", default)], rank)[0]


def shortest(value: Any) -> float:
    """A float32 as the shortest decimal that is the same float32: 1e-05, not 9.999999747378752e-06."""
    if isinstance(value, np.float64):
        return float(value)
    return float(str(np.float32(value)))
