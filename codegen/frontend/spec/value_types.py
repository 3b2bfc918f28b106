"""The types that values of a spec's keys have: their parsing and their JSON schema, in one place."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from codegen.frontend.spec.place import Place, listed, show, suggestion

LARGEST = 2**31 - 1  # the largest whole number: OpenCL C's int
FLOAT32_MAX = float.fromhex("0x1.fffffep+127")


class Unfit(ValueError):
    """The value is not of the type; a non-empty message replaces the type's own words."""


@dataclass(frozen=True)
class ValueType:
    """A type of value: ``wanted`` completes "should be ..."; ``parse`` returns the internal form or raises Unfit."""

    wanted: str
    schema: Mapping[str, Any]
    parse: Callable[[Any], Any]

    def read(self, value: Any, place: Place) -> Any:
        try:
            return self.parse(value)
        except Unfit as error:
            raise place.spec_error(str(error) or f"{show(value)} should be {self.wanted}") from None


@dataclass(frozen=True)
class Key:
    """A key of a table.  ``missing`` says what to do if a required key is absent."""

    type: ValueType
    doc: str
    default: Any = None
    required: bool = False
    missing: str = ""


Keys = Mapping[str, Key]


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise Unfit
    return value


def _path(value: Any) -> str:
    if not isinstance(value, str) or not value.isprintable() or not value.strip():
        raise Unfit
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise Unfit
    return value


def _whole(value: Any, low: int, high: int = LARGEST) -> int:
    # A bool is an int in Python, not in TOML.
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise Unfit
    return value


def _many(value: Any, low: int) -> tuple[int, ...]:
    if not isinstance(value, list) or not value:
        raise Unfit
    return tuple(_whole(item, low) for item in value)


TEXT = ValueType("a string", {"type": "string", "minLength": 1}, _text)
PATH = ValueType("the path of a file", {"type": "string", "minLength": 1}, _path)
FLAG = ValueType("true or false", {"type": "boolean"}, _flag)


def text_or_flag(wanted: str) -> ValueType:
    return ValueType(
        wanted,
        {"anyOf": [FLAG.schema, TEXT.schema]},
        lambda value: value if isinstance(value, bool) else _text(value),
    )


def whole(low: int, high: int = LARGEST) -> ValueType:
    wanted = f"a whole number >= {low}" if high == LARGEST else f"a whole number from {low} to {high}"
    return ValueType(
        wanted, {"type": "integer", "minimum": low, "maximum": high}, lambda value: _whole(value, low, high)
    )


def number(wanted: str = "a finite number", low: float = -FLOAT32_MAX, below: float | None = None) -> ValueType:
    """A float32 number >= ``low``, and < ``below`` if that is given."""

    def parse(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise Unfit
        if not low <= value <= FLOAT32_MAX or (below is not None and value >= below):
            raise Unfit
        return float(value)

    bounds = {"minimum": low, **({"maximum": FLOAT32_MAX} if below is None else {"exclusiveMaximum": below})}
    return ValueType(wanted, {"type": "number", **bounds}, parse)


def number_or_infinity() -> ValueType:
    """A float32 number, ``inf`` or ``-inf``."""

    def parse(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
            raise Unfit
        if abs(value) > FLOAT32_MAX and not math.isinf(value):
            raise Unfit
        return float(value)

    return ValueType("a number, inf or -inf", {"type": "number"}, parse)


def choice(*values: str) -> ValueType:
    wanted = listed(values)

    def parse(value: Any) -> str:
        if value not in values:
            near = suggestion(value, values) if isinstance(value, str) and len(values) > 3 else ""
            raise Unfit(f"{show(value)} should be {wanted}{near}")
        return str(value)

    return ValueType(wanted, {"enum": list(values)}, parse)


def texts(wanted: str, least: int, most: int | None = None) -> ValueType:
    def parse(value: Any) -> tuple[str, ...]:
        if not isinstance(value, list) or len(value) < least or (most is not None and len(value) > most):
            raise Unfit
        return tuple(_text(item) for item in value)

    bounds = {"minItems": least, **({} if most is None else {"maxItems": most})}
    return ValueType(wanted, {"type": "array", "items": TEXT.schema, **bounds}, parse)


def wholes(wanted: str, low: int, most: int) -> ValueType:
    def parse(value: Any) -> tuple[int, ...]:
        if not isinstance(value, list) or len(value) > most:
            raise Unfit
        return _many(value, low)

    items = {"type": "integer", "minimum": low, "maximum": LARGEST}
    return ValueType(wanted, {"type": "array", "items": items, "minItems": 1, "maxItems": most}, parse)


def _number(value: Any, above: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not above < value <= FLOAT32_MAX:
        raise Unfit
    return float(value)


def positive_numbers(wanted: str, most: int) -> ValueType:
    """A list of numbers above 0."""

    def parse(value: Any) -> tuple[float, ...]:
        if not isinstance(value, list) or not 1 <= len(value) <= most:
            raise Unfit
        return tuple(_number(item, 0.0) for item in value)

    items = {"type": "number", "exclusiveMinimum": 0, "maximum": FLOAT32_MAX}
    return ValueType(wanted, {"type": "array", "items": items, "minItems": 1, "maxItems": most}, parse)


def number_pairs(wanted: str, most: int) -> ValueType:
    """A list of lists of two numbers."""

    def parse(value: Any) -> tuple[tuple[float, float], ...]:
        if not isinstance(value, list) or not 1 <= len(value) <= most:
            raise Unfit
        if any(not isinstance(pair, list) or len(pair) != 2 for pair in value):
            raise Unfit
        return tuple((_number(a, -FLOAT32_MAX), _number(b, -FLOAT32_MAX)) for a, b in value)

    one = {"type": "number", "minimum": -FLOAT32_MAX, "maximum": FLOAT32_MAX}
    pair = {"type": "array", "items": one, "minItems": 2, "maxItems": 2}
    return ValueType(wanted, {"type": "array", "items": pair, "minItems": 1, "maxItems": most}, parse)


def _float32(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -FLOAT32_MAX <= value <= FLOAT32_MAX:
        raise Unfit
    return float(np.float32(value))


def interval() -> ValueType:
    """Two finite numbers, rounded to float32, of which the first is less than the second."""

    def parse(value: Any) -> tuple[float, float]:
        if not isinstance(value, list) or len(value) != 2:
            raise Unfit
        low, high = map(_float32, value)
        if not low < high:
            raise Unfit
        return low, high

    one = {"type": "number", "minimum": -FLOAT32_MAX, "maximum": FLOAT32_MAX}
    return ValueType(
        "[low, high], two finite float32 numbers with low < high",
        {"type": "array", "items": one, "minItems": 2, "maxItems": 2},
        parse,
    )


def per_axis(low: int) -> ValueType:
    """One number for every spatial axis, or a list with a number for each axis."""
    one = {"type": "integer", "minimum": low, "maximum": LARGEST}
    return ValueType(
        f"a whole number >= {low} or a list with one for each spatial axis, such as [2, 2]",
        {"anyOf": [one, {"type": "array", "items": one, "minItems": 1, "maxItems": 3}]},
        lambda value: _many(value, low) if isinstance(value, list) else _whole(value, low),
    )


def padding(*words: str) -> ValueType:
    """One number for all axes, a number for each axis, a [before, after] pair for each axis, or a word."""

    def parse(value: Any) -> Any:
        if value in words:
            return value
        if not isinstance(value, list):
            return _whole(value, 0)
        if not all(isinstance(item, list) for item in value):
            return _many(value, 0)
        if not value or any(len(item) != 2 for item in value):
            raise Unfit
        return tuple(_many(item, 0) for item in value)

    one = {"type": "integer", "minimum": 0, "maximum": LARGEST}
    pair = {"type": "array", "items": one, "minItems": 2, "maxItems": 2}
    arrays = [{"type": "array", "items": items, "minItems": 1, "maxItems": 3} for items in (one, pair)]
    more = f", {listed(words)}" if words else ""
    return ValueType(
        f"a whole number >= 0, one for each spatial axis, [[top, bottom], [left, right]]{more}",
        {"anyOf": [one, *arrays, *([{"enum": list(words)}] if words else [])]},
        parse,
    )


def table(wanted: str, definition: str, word: bool = False) -> ValueType:
    """A table that another function reads, defined elsewhere in the schema; with ``word`` a string is allowed too."""

    def parse(value: Any) -> Any:
        if not isinstance(value, dict) and not (word and isinstance(value, str)):
            raise Unfit
        return value

    return ValueType(wanted, {"$ref": f"#/definitions/{definition}"}, parse)
