"""Shared tools of layer builders: adding layers to the document, constants of every shape, reshaping."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.frontend.spec.place import show
from codegen.graph.ops import Shape
from codegen.importers.document import Document
from codegen.importers.onnx.node import Constant, Live, Refused, Value, number_type_of

LARGEST_WHOLE = 2**24  # float32 has all whole numbers up to this one


class Builder:
    """Adds the layers of one node; the last one has the node's name, intermediate ones a suffix."""

    def __init__(self, document: Document, wanted: str, node: str, whole: bool = False) -> None:
        """``node`` is the node's name.

        ``whole``: constants may be whole numbers or bools, because other inputs represent such numbers.
        """
        self._document = document
        self._whole = whole
        self.wanted = wanted
        self._node = node

    def layer(self, op: str, inputs: Live | Sequence[Live], tag: str = "", **options: Any) -> Live:
        inputs = [inputs] if isinstance(inputs, Live) else inputs
        wanted = f"{self.wanted}.{tag}" if tag else self.wanted
        name = self._document.add(wanted, op, [x.name for x in inputs], options, self._node)
        # Layers have at least one axis; a result of scalars alone is a scalar in ONNX.
        scalar = not any(x.shape for x in inputs)
        return Live(name, () if scalar else self._document.shape(name))

    def tensor(self, constant: Constant) -> str:
        """Stores the constant unchanged; returns its name."""
        self._check(constant)
        return self._document.array(constant.name, constant.values)

    def _check(self, constant: Constant) -> None:
        values = constant.values
        if values.dtype.kind != "f" and (not self._whole or values.dtype.kind not in "iub"):
            raise Refused(f"its constant {show(constant.name)} holds {values.dtype}, not floating-point numbers")
        _check_whole(constant)

    def derived(self, constant: Constant, what: str, values: NDArray[Any]) -> Constant:
        """A constant with these values, computed from another constant and named after it."""
        self._check(constant)
        return Constant(f"{constant.name}.{what}", values)

    def reshape(self, x: Live, shape: Shape, tag: str = "") -> Live:
        """The same elements in another shape; for the shape () the layer's own shape is (1,)."""
        if (shape or (1,)) == (x.shape or (1,)):
            return Live(x.name, shape, x.number_type)
        if math.prod(shape) != math.prod(x.shape):
            raise Refused(f"{list(shape)} does not hold the elements of {list(x.shape)}")
        if min(len(shape), len(x.shape)) < 2 or shape[0] != x.shape[0]:
            y = self.layer("reshape", x, tag, full_shape=list(shape or (1,)))
        elif len(shape) == 2:
            y = self.layer("flatten", x, tag)
        else:
            y = self.layer("reshape", x, tag, shape=list(shape[1:]))
        return Live(y.name, shape, x.number_type)

    def transpose(self, x: Live, axes: Sequence[int], tag: str = "") -> Live:
        if tuple(axes) == tuple(range(len(x.shape))):
            return x
        return self.layer("transpose", x, tag, axes=list(axes))

    def select(self, x: Live, axis: int, chosen: range, tag: str = "") -> Live:
        """The elements of one axis that a range selects."""
        size = x.shape[axis]
        if chosen == range(size):
            return x
        if not chosen:
            raise Refused(f"it takes nothing of the {size} elements of axis {axis}, which leaves a size of 0")
        keys: dict[str, Any] = {"axis": axis}
        if chosen.step != 1:
            keys["step"] = chosen.step
        first = 0 if chosen.step > 0 else size - 1
        if chosen[0] != first:
            keys["start"] = chosen[0]
        behind = chosen[-1] + chosen.step
        if 0 <= behind < size:
            keys["stop"] = behind
        return self.layer("slice", x, tag, **keys)

    def channels(self, values: Live, x: Live, tag: str) -> Live:
        """A tensor [C], shaped to broadcast along the channels of x."""
        if values.shape != x.shape[1:2]:
            raise Refused(f"its {tag} {list(values.shape)} does not fit the channels of {list(x.shape)}")
        return self.reshape(values, (1, values.shape[0], *[1] * (len(x.shape) - 2)), f"{tag}.channels")

    def repeat(self, x: Live, times: Sequence[int], tag: str = "") -> Live:
        return x if all(n == 1 for n in times) else self.layer("repeat", x, tag, times=list(times))

    def expand(self, x: Live, shape: Shape, tag: str = "") -> Live:
        """x repeated to this shape along axes where it has size 1."""
        if 0 in shape:
            raise Refused(f"it makes {list(shape)}, which has a size of 0")
        x = self.reshape(x, (1,) * (len(shape) - len(x.shape)) + x.shape, "axes")
        return self.repeat(x, [m if n == 1 else 1 for n, m in zip(x.shape, shape, strict=True)], tag)

    def constant(self, what: str, values: NDArray[Any]) -> str:
        """Stores an array of the node's own as a tensor; returns its name."""
        return self._document.array(f"{self.wanted}.{what}", values)

    def stored(self, constant: Constant, rank: int = 0) -> Live:
        """The constant as a tensor that layers can read, with leading axes of size 1 up to ``rank``."""
        values = constant.values
        if values.size == 0:
            raise Refused(f"its constant {show(constant.name)} {list(values.shape)} has a size of 0")
        if values.dtype.kind not in "fiub":
            raise Refused(f"its constant {show(constant.name)} holds {values.dtype}, not numbers")
        _check_whole(constant)
        shape = (1,) * (rank - values.ndim) + values.shape
        return Live(
            self._document.constant(constant.name, values.reshape(shape or (1,))), shape, number_type_of(constant)
        )

    def number(self, value: float, x: Live) -> Live:
        """A number as a tensor with as many axes as x."""
        return self.stored(_number(value), len(x.shape))

    def power(self, x: Live, exponent: float) -> Live:
        return self.layer("pow", [x, self.number(exponent, x)], "power")

    def affine(self, x: Live, factor: float, shift: float = 0.0, tag: str = "") -> Live:
        """x times a number plus another number."""
        if len(x.shape) < 2:
            y = self.layer("mul", [x, self.number(factor, x)], f"{tag}.product" if tag and shift else tag)
            return self.layer("add", [y, self.number(shift, x)], tag) if shift else y
        bias = self.tensor(_number(shift)) if shift else False
        return self.layer("scale", x, tag, weight=self.tensor(_number(factor)), bias=bias)

    def shifted(self, x: Live, shift: float, tag: str = "") -> Live:
        """x plus a number."""
        return self.combined("add", x, _number(shift), tag)

    def quotient(self, x: Live, divisor: Constant, tag: str = "") -> Live:
        """x divided by a constant, as a product if the reciprocal is exact, as for a power of two."""
        values = divisor.values.astype(np.float64)
        fraction, exponent = np.frexp(values)
        # Reciprocals beyond 2^-126 and 2^126 may overflow or be flushed to zero.
        if ((np.abs(fraction) == 0.5) & (np.abs(exponent - 1) <= 126)).all():
            return self.combined("mul", x, self.derived(divisor, "reciprocal", 1 / values), tag)
        return self.combined("div", x, divisor, tag)

    def aligned(self, values: Sequence[Value], tag: str = "") -> list[Live]:
        """The values as tensors with the same number of axes: shorter shapes get leading axes of size 1."""
        before = f"{tag}." if tag else ""
        found = [value for value in values if value is not None]
        rank = max(len(value.shape) for value in found)
        return [
            self.stored(v, rank)
            if isinstance(v, Constant)
            else self.reshape(v, (1,) * (rank - len(v.shape)) + v.shape, f"{before}input_{i}")
            for i, v in enumerate(found, 1)
        ]

    def take(self, x: Live, places: NDArray[Any], tag: str = "") -> Live:
        """The elements at these positions in row-major order, in the shape of ``places``."""
        count = math.prod(x.shape)
        if max(count, places.size) > LARGEST_WHOLE:
            raise Refused(f"it takes {places.size} of {count} elements by indices; at most {LARGEST_WHOLE} are allowed")
        if places.size == 0:
            raise Refused("it takes nothing")
        row = self.reshape(x, (1, count), f"{tag}.row" if tag else "row")
        return self.reshape(self.taken(row, 1, places.reshape(-1), f"{tag}.taken" if tag else "taken"), places.shape)

    def taken(self, x: Live, axis: int, indices: NDArray[Any], tag: str = "") -> Live:
        """The elements of one axis at these indices."""
        return self.layer("take", x, tag, axis=axis, indices=self.constant("indices", indices.astype(np.float32)))

    def combined(self, op: str, x: Live, constant: Constant, tag: str = "") -> Live:
        """``op`` (add, mul, div or prelu) of x and a constant, which broadcast to each other.

        One value, or one per channel, becomes a parameter of the layer, which can be folded into a neighbour's weights.
        For values along another axis, that axis is moved to axis 1 and back.  All other constants become tensors.
        """
        self._check(constant)
        values = constant.values
        try:
            around = np.broadcast_shapes(x.shape, values.shape)
        except ValueError:
            raise Refused(f"constant {list(values.shape)} does not fit {list(x.shape)}") from None
        shape = (1,) * (len(around) - values.ndim) + values.shape
        varied = [axis for axis, n in enumerate(shape) if n != 1]
        usable = bool(np.isfinite(values).all()) and not (op == "div" and (values == 0).any())
        if around != x.shape or len(shape) < 2 or len(varied) > 1 or varied == [0] or not usable:
            return self.layer(op, self.aligned([x, constant]), tag)
        layer, key = _CHANNELWISE[op]
        keys: dict[str, Any] = {key: self.tensor(constant), **({"bias": False} if layer == "scale" else {})}
        if varied in ([], [1]):
            return self.layer(layer, x, tag, **keys)
        axes = list(range(len(shape)))
        axes[1], axes[varied[0]] = varied[0], 1
        return self.transpose(self.layer(layer, self.transpose(x, axes, "to_channels"), tag, **keys), axes)


_CHANNELWISE = {
    "add": ("bias", "bias"),
    "mul": ("scale", "weight"),
    "div": ("scale", "divisor"),
    "prelu": ("prelu", "slope"),
}
"""The layer with a per-channel constant as parameter, and the key that names the constant."""


def _check_whole(constant: Constant) -> None:
    values = constant.values
    whole = values.dtype.kind in "iu" and values.size
    if whole and not -LARGEST_WHOLE <= int(values.min()) <= int(values.max()) <= LARGEST_WHOLE:
        raise Refused(f"its constant {show(constant.name)} holds whole numbers beyond {LARGEST_WHOLE}")


def _number(value: float) -> Constant:
    return Constant(f"number_{value:g}", np.array(value, dtype=np.float64))


def collapsed(values: Sequence[int]) -> int | list[int]:
    """A single number if all numbers are equal."""
    return values[0] if len(set(values)) == 1 else list(values)


def window(stride: Sequence[int], dilation: Sequence[int], padding: Any) -> dict[str, Any]:
    """The keys of a window that differ from their defaults; ``padding`` is pairs or a word."""
    keys: dict[str, Any] = {}
    if any(n != 1 for n in stride):
        keys["stride"] = collapsed(stride)
    if any(n != 1 for n in dilation):
        keys["dilation"] = collapsed(dilation)
    if isinstance(padding, str):
        keys["padding"] = padding
    elif any(map(any, padding)):
        even = all(before == after for before, after in padding)
        keys["padding"] = collapsed([p for p, _ in padding]) if even else [list(pair) for pair in padding]
    return keys
