"""The context in which a layer's call is translated, with methods that add layers of the spec.

Axes of a model are numbered in the model's own order, batch included.  In a channels-last model the spec's axis 1 is
the model's last; :class:`Site` converts shapes, axes and arrays from one order to the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.frontend.spec.place import show
from codegen.importers.document import Document
from codegen.importers.keras.options import Options, Unsupported

Array = NDArray[Any]

Operand = str | float | Array | Sequence[Any] | None
"""The name of a value of the document, a number, a constant, a list of these, or None for an absent argument."""

Translation = Callable[["Site"], str | list[str]]
"""A function that adds layers and returns the last one's value, or a list if the model's layer has several results."""


@dataclass(frozen=True)
class Site:
    """The place of a call; ``name`` is the layer's name in the spec.

    With ``channels_first`` the model's axes are in NCHW order like the spec's; otherwise its last axis is the spec's
    axis 1.  ``types`` are the types that values of the document have in the model.
    """

    document: Document
    name: str
    options: Options
    operands: Sequence[Operand]
    arrays: Callable[[Sequence[str]], Mapping[str, Array]]
    major: int
    channels_first: bool
    types: Mapping[str, str] = field(default_factory=dict)

    # Operands ---------------------------------------------------------------------------------------------------------

    @property
    def input(self) -> str:
        """The only operand."""
        values = self.inputs
        if len(values) != 1:
            raise self.options.place.spec_error(f"reads {len(values)} tensors; it should read one")
        return values[0]

    @property
    def inputs(self) -> list[str]:
        """The operands, all of them tensors."""
        values = [value for value in self.operands if isinstance(value, str)]
        if not values or len(values) != len(self.operands):
            raise Unsupported("of a number instead of a tensor")
        return values

    def reading(self, *operands: Operand) -> Site:
        """The same site with other operands."""
        return replace(self, operands=operands)

    @property
    def rank(self) -> int:
        """The number of axes of the input, batch included."""
        return len(self.document.shape(self.input))

    @property
    def space(self) -> int:
        """The number of spatial axes of the input, at least 1."""
        if self.rank < 3:
            raise self.options.place.spec_error(f"needs spatial axes, but its input has {self.rank} axes in all")
        return self.rank - 2

    @property
    def channels(self) -> int:
        return self.document.shape(self.input)[1]

    # Layers and tensors -----------------------------------------------------------------------------------------------

    def add(self, op: str, inputs: str | Sequence[str], part: str = "", **options: Any) -> str:
        """Adds a layer of the spec, named after the model's layer, or as a ``part`` of it."""
        inputs = [inputs] if isinstance(inputs, str) else inputs
        given = {key: value for key, value in options.items() if value is not None}
        return self.document.add(f"{self.name}.{part}" if part else self.name, op, inputs, given)

    def array(self, word: str, values: Any, part: str = "") -> str:
        """Stores an array of the layer; returns the tensor's name."""
        owner = f"{self.name}.{part}" if part else self.name
        return self.document.array(f"{owner}.{word}", np.asarray(values))

    def constant(self, word: str, values: Any, rank: int | None = None) -> str:
        """A value with constant ``values``, in the model's order of axes.

        ``rank`` is the number of axes to fill up to, with axes of size 1 at the end.
        """
        array = np.asarray(values)
        rank = array.ndim if rank is None else rank
        array = array.reshape((1,) * (rank - array.ndim) + array.shape)
        return self.document.constant(f"{self.name}.{word}", np.transpose(array, self.axes_in_spec(rank)))

    # Axes -------------------------------------------------------------------------------------------------------------

    def axis(self, axis: Any, rank: int) -> int:
        """The spec's axis for one of the model's, batch included."""
        if isinstance(axis, list) and len(axis) == 1:
            axis = axis[0]
        return self.to_spec(self.model_axis(axis, rank), rank)

    def model_axis(self, axis: Any, rank: int) -> int:
        """The axis counted from the front."""
        if isinstance(axis, bool) or not isinstance(axis, int) or not -rank <= axis < rank:
            raise Unsupported(f"axis = {show(axis)} of a tensor with {rank} axes")
        return axis % rank

    def model_axes(self, axes: Any, rank: int) -> list[int]:
        """The axes counted from the front, in rising order, from one number, a list, or null for all axes."""
        listed = range(rank) if axes is None else axes if isinstance(axes, list) else [axes]
        found = sorted(self.model_axis(axis, rank) for axis in listed)
        if len(set(found)) != len(found):
            raise Unsupported(f"axis = {show(axes)}, which names an axis twice")
        return found

    def to_spec(self, axis: int, rank: int) -> int:
        if self.channels_first or axis == 0:
            return axis
        return 1 if axis == rank - 1 else axis + 1

    def axes_in_spec(self, rank: int) -> list[int]:
        """The model's axes in the order of the spec."""
        return sorted(range(rank), key=lambda axis: self.to_spec(axis, rank))

    def full_shape(self, value: str) -> list[int]:
        """The shape of a value in the model's order of axes."""
        shape = self.document.shape(value)
        return [shape[self.to_spec(axis, len(shape))] for axis in range(len(shape))]

    def model_shape(self, value: str) -> list[int]:
        """The same shape without the batch."""
        return self.full_shape(value)[1:]

    def check_format(self) -> None:
        """Raises Unsupported unless the layer's channels are where the whole network's are; the default is last."""
        wanted = "channels_first" if self.channels_first else "channels_last"
        if self.options.text("data_format", "channels_last") != wanted:
            raise Unsupported(f"channels that are not where other layers have them, {wanted}")

    # Moves ------------------------------------------------------------------------------------------------------------

    def transpose(self, value: str, axes: Sequence[int], part: str = "") -> str:
        """Axis i of the result is axis ``axes[i]`` of the value, in the model's order of axes."""
        rank = len(axes)
        if list(axes) == list(range(rank)):
            return value
        moved = [0] * rank
        for i, axis in enumerate(axes):
            moved[self.to_spec(i, rank)] = self.to_spec(axis, rank)
        return value if moved == list(range(rank)) else self.add("transpose", value, part, axes=moved)

    def reshape(self, value: str, target: Sequence[int], part: str = "") -> str:
        """The elements in the model's order, in another shape, batch included.

        If the model's order is not the spec's, channels are moved last and back.
        """
        shape, target = self.full_shape(value), list(target)
        if math.prod(target) != math.prod(shape):
            raise self.options.place.spec_error(
                f"{show(target)} does not hold the {math.prod(shape)} elements of {shape}"
            )
        if not target:
            raise Unsupported("a result without axes")
        if target == shape:
            return value
        before, after = self._mixed(shape), self._mixed(target)
        name = f"{part}_" if part else ""
        if before:
            rank = len(shape)
            value = self.add("transpose", value, f"{name}channels_last", axes=[0, *range(2, rank), 1])
        rank = len(target)
        sizes = target if after else [target[axis] for axis in self.axes_in_spec(rank)]
        same_batch = rank > 1 and sizes[0] == shape[0]
        new_shape = {"shape": sizes[1:]} if same_batch else {"full_shape": sizes}
        value = self.add("reshape", value, f"{name}reshape" if after else part, **new_shape)
        if after:
            value = self.add("transpose", value, part, axes=[0, rank - 1, *range(1, rank - 1)])
        return value

    def _mixed(self, shape: Sequence[int]) -> bool:
        """True if moving the channels changes the order of elements."""
        return not self.channels_first and len(shape) > 2 and shape[-1] > 1 and math.prod(shape[1:-1]) > 1

    def widen(self, value: str, rank: int, part: str = "wide") -> str:
        """The value with ``rank`` axes; missing ones have size 1 and come first, as in numpy."""
        shape = self.full_shape(value)
        return self.reshape(value, [1] * (rank - len(shape)) + shape, part)

    # Composites -------------------------------------------------------------------------------------------------------

    def affine(self, value: str, scale: Any, shift: Any, part: str = "") -> str:
        """value * scale + shift, with arrays in the model's order of axes.

        The arrays broadcast as in numpy without making the value larger.
        """
        scale, shift = np.asarray(scale, np.float64), np.asarray(shift, np.float64)
        factors, terms = self._by_channel(value, scale), self._by_channel(value, shift)
        identity, rank = bool((scale == 1).all()), len(self.document.shape(value))
        if factors is not None and terms is not None:
            if identity:
                return self.add("bias", value, part, bias=self.array("bias", terms, part))
            bias: Any = self.array("bias", terms, part) if terms.any() else False
            return self.add("scale", value, part, weight=self.array("scale", factors, part), bias=bias)
        moved = bool(shift.any())
        if not identity:
            inner = (f"{part}_scaled" if part else "scaled") if moved else part
            value = self.add("mul", [value, self.constant("scale", scale, rank)], inner)
        return self.add("add", [value, self.constant("shift", shift, rank)], part) if moved or identity else value

    def divided(self, value: str, divisor: Any, part: str = "") -> str:
        """value / divisor, with an array as in :meth:`affine`: x / 41 is not always x times the rounded 1/41."""
        divisor = np.asarray(divisor, np.float64)
        by_channel = self._by_channel(value, divisor)
        if by_channel is not None and (by_channel != 0).all():
            return self.add("scale", value, part, divisor=self.array("divisor", by_channel, part), bias=False)
        rank = len(self.document.shape(value))
        return self.add("div", [value, self.constant("divisor", divisor, rank)], part)

    def fits(self, value: str, array: Array) -> bool:
        """True if the array broadcasts to the value without making it larger."""
        sizes = self.full_shape(value)
        shape = [1] * (len(sizes) - array.ndim) + list(array.shape)
        return len(shape) == len(sizes) and all(n in (1, size) for n, size in zip(shape, sizes, strict=True))

    def _by_channel(self, value: str, array: Array) -> Array | None:
        """The array as [1] or [channels], if it has one number or one per channel; else None."""
        sizes = self.full_shape(value)
        shape = [1] * (len(sizes) - array.ndim) + list(array.shape)
        if not self.fits(value, array):
            raise Unsupported(f"an array of shape {list(array.shape)} for a tensor of shape {sizes}")
        if len(sizes) < 2:
            return None
        if any(n != 1 and self.to_spec(axis, len(sizes)) != 1 for axis, n in enumerate(shape)):
            return None
        return array.reshape(-1)

    def softmax(self, value: str, axis: Any = -1, part: str = "") -> str:
        """Softmax over axes of the model.

        The activation is over its last axis, wherever the channels are.  Over several axes it is exp(x - max) /
        sum(exp(x - max)).
        """
        rank = len(self.document.shape(value))
        if isinstance(axis, list) and len(axis) > 1:
            axes = sorted(self.to_spec(a, rank) for a in self.model_axes(axis, rank))
            below = self.add("sub", [value, self.add("reduce_max", value, "max", axes=axes)], "below")
            power = self.add("exp", below, "exp")
            return self.add("div", [power, self.add("reduce_sum", power, "sum", axes=axes)], part)
        axis = self.axis(axis, rank)
        return self.add("softmax", value, part, axis=axis if axis != 1 else None)


_MAX_MADE = 2**24  # elements of a constant that an import creates from a few numbers of the configuration


def bounded(count: float) -> None:
    """Raises Unsupported if a constant of so many elements would be too large."""
    if count > _MAX_MADE:
        raise Unsupported(f"a constant of {count:.0f} elements; at most {_MAX_MADE} are allowed")


def short(values: Sequence[int]) -> Any:
    """One number if all axes are equal, None if that is 1."""
    return unless(one_or_all(values), 1)


def one_or_all(values: Sequence[int]) -> Any:
    return values[0] if len(set(values)) == 1 else list(values)


def unless(value: Any, default: Any) -> Any:
    return None if value == default else value


def spatial(site: Site, axes: int) -> int:
    """The number of the layer's spatial axes, which its input must have."""
    site.check_format()
    if site.space != axes:
        raise site.options.place.spec_error(f"should read {axes + 2} axes; its input has {site.rank}")
    return axes
