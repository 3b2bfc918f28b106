"""What builders of layers share: adding layers to the document, constants of every shape, other shapes of a tensor."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.graph.ops import Shape
from codegen.importers.document import Document
from codegen.importers.onnx.node import Constant, Live, Refused


class Builder:
    """Adds the layers of one node; the last one goes by the node's name, those on the way have a word behind it."""

    def __init__(self, document: Document, wanted: str, note: str) -> None:
        self._document = document
        self.wanted = wanted
        self._note = note

    def layer(self, op: str, inputs: Live | Sequence[Live], tag: str = "", **options: Any) -> Live:
        inputs = [inputs] if isinstance(inputs, Live) else inputs
        wanted = f"{self.wanted}.{tag}" if tag else self.wanted
        name = self._document.add(wanted, op, [x.name for x in inputs], options, self._note)
        return Live(name, self._document.shape(name))

    def tensor(self, constant: Constant) -> str:
        """The name under which the constant is stored, as it is."""
        if constant.values.dtype.kind != "f":
            raise Refused(f"its constant {constant.name} holds {constant.values.dtype}, not floating-point numbers")
        return self._document.array(constant.name, constant.values)

    def derived(self, constant: Constant, what: str, values: NDArray[Any]) -> str:
        """The name under which something computed from the constant is stored."""
        if constant.values.dtype.kind != "f":
            raise Refused(f"its constant {constant.name} holds {constant.values.dtype}, not floating-point numbers")
        return self._document.array(f"{constant.name}.{what}", values)

    def reshape(self, x: Live, shape: Shape, tag: str = "") -> Live:
        """The same elements in another shape, which keeps the batch."""
        if shape == x.shape:
            return x
        if len(shape) < 2 or shape[0] != x.shape[0]:
            raise Refused(f"it makes {list(shape)} of {list(x.shape)}; axis 0 should stay the batch of {x.shape[0]}")
        if math.prod(shape) != math.prod(x.shape):
            raise Refused(f"{list(shape)} does not hold the elements of {list(x.shape)}")
        if len(shape) == 2:
            return self.layer("flatten", x, tag)
        return self.layer("reshape", x, tag, shape=list(shape[1:]))

    def transpose(self, x: Live, axes: Sequence[int], tag: str = "") -> Live:
        if tuple(axes) == tuple(range(len(x.shape))):
            return x
        return self.layer("transpose", x, tag, axes=list(axes))

    def select(self, x: Live, axis: int, chosen: range, tag: str = "") -> Live:
        """The elements of one axis that a range chooses."""
        size = x.shape[axis]
        if chosen == range(size):
            return x
        if not chosen:
            raise Refused(f"it takes nothing of the {size} elements of axis {axis}")
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

    def repeat(self, x: Live, times: Sequence[int], tag: str = "") -> Live:
        return x if all(n == 1 for n in times) else self.layer("repeat", x, tag, times=list(times))

    def expand(self, x: Live, shape: Shape, tag: str = "") -> Live:
        """x repeated where it has size 1, to this shape."""
        x = self.reshape(x, (1,) * (len(shape) - len(x.shape)) + x.shape, "axes")
        return self.repeat(x, [m if n == 1 else 1 for n, m in zip(x.shape, shape, strict=True)], tag)

    def number(self, value: float) -> str:
        """The name of a tensor that holds one number."""
        return self._document.array(f"number_{value:g}", np.array([value]))

    def power(self, x: Live, exponent: float) -> Live:
        return self.layer("pow", [x, self.layer("clip", x, "exponent", min=exponent, max=exponent)], "power")

    def full(self, x: Live, constant: Constant, tag: str) -> Live:
        """A live tensor with the constant's values, broadcast to x."""
        nothing = self.layer("clip", x, f"{tag}.zero", min=0.0, max=0.0)
        return self.with_constant(
            nothing, constant.values, self.tensor(constant), lambda z, t: self.layer("bias", z, tag, bias=t)
        )

    def with_constant(self, x: Live, values: NDArray[Any], name: str, apply: Callable[[Live, str], Live]) -> Live:
        """``apply`` to x and a tensor with a value for each channel or for all, where ``values`` are broadcast to x.

        ``name`` is that of the stored values.  Values along another axis make it axis 1 in between; those of more
        than one are taken as channels of all elements in a row.
        """
        try:
            around = np.broadcast_shapes(x.shape, values.shape)
        except ValueError:
            raise Refused(f"constant {list(values.shape)} does not fit {list(x.shape)}") from None
        x = self.expand(x, around, "expanded")
        shape = (1,) * (len(x.shape) - values.ndim) + values.shape
        varied = [axis for axis, n in enumerate(shape) if n != 1]
        if varied in ([], [1]):
            return apply(x, name)
        if 0 in varied:
            raise Refused(f"constant {list(values.shape)} differs between samples of the batch")
        if len(varied) == 1:
            axes = list(range(len(shape)))
            axes[1], axes[varied[0]] = varied[0], 1
            return self.transpose(apply(self.transpose(x, axes, "to_channels"), name), axes)
        whole = np.broadcast_to(values.reshape(shape[1:]), x.shape[1:]).reshape(-1)
        row = self.reshape(x, (x.shape[0], whole.size), "row")
        return self.reshape(apply(row, self._document.array(f"{name}.row", whole)), x.shape)


def collapsed(values: Sequence[int]) -> int | list[int]:
    """One number where all are the same."""
    return values[0] if len(set(values)) == 1 else list(values)


def window(stride: Sequence[int], dilation: Sequence[int], padding: Any) -> dict[str, Any]:
    """Keys of a window without those that are the default; ``padding`` is pairs or a word."""
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
