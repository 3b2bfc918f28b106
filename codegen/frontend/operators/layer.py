"""A layer on its way into the graph: the inputs and results of operators' builders."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from codegen.errors import SpecError
from codegen.frontend.parameters.parameters import Fits, Parameters, Tensor
from codegen.frontend.spec.place import Place, show
from codegen.frontend.spec.value_types import Key, Keys, padding, per_axis
from codegen.graph.ops import Op, Shape, ShapeError
from codegen.graph.ops.window import Ints, Pads, same_pads


@dataclass(frozen=True)
class Step:
    """A node: ``op`` applied to the value so far and to ``others``, given by name."""

    tag: str
    op: Op
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layer:
    """A layer with its keys read and its inputs known.

    For a BatchNorm or activation that is attached to an operator, ``attached`` is true, ``place`` and ``options`` are
    of its own table, and the tensors <layer>.weight and <layer>.bias belong to the operator.
    """

    name: str
    place: Place
    options: Mapping[str, Any]
    inputs: tuple[str, ...]
    shapes: tuple[Shape, ...]
    parameters: Parameters
    weight_layout: str
    channels_last: bool
    attached: bool = False

    @property
    def shape(self) -> Shape:
        """The shape of the first input."""
        return self.shapes[0]

    @property
    def channels(self) -> int:
        """The number of channels of the first input."""
        if len(self.shape) < 2:
            raise self.place.spec_error(f"input {list(self.shape)} should have a channel axis after the batch")
        return self.shape[1]

    @property
    def space(self) -> Shape:
        """The sizes of the first input's spatial axes, of which there must be at least one."""
        if len(self.shape) < 3:
            raise self.place.spec_error(f"input {list(self.shape)} should have spatial axes after batch and channels")
        return self.shape[2:]

    def tensor(self, key: str, *suffixes: str, fits: Fits) -> Tensor:
        """The tensor that ``key`` names, else <layer>.<suffix> for the only suffix for which it exists.

        If there is none, the error suggests one whose shape ``fits``.
        """
        tensor = self._tensor(key, suffixes, True, fits)
        assert tensor is not None
        return tensor

    def optional_tensor(self, key: str, *suffixes: str, fits: Fits) -> Tensor | None:
        """Like :meth:`tensor`; the key may also be false (none), true (required) or absent (used if it exists)."""
        return None if self.options[key] is False else self._tensor(key, suffixes, self.options[key] is True, fits)

    def _tensor(self, key: str, suffixes: tuple[str, ...], required: bool, fits: Fits) -> Tensor | None:
        place, named = self.place.key(key), self.options[key]
        if isinstance(named, str):
            return self.parameters.choose([named], place, fits)
        return self.parameters.choose([f"{self.name}.{suffix}" for suffix in suffixes], place, fits, required)

    def per_axis(self, key: str) -> Ints:
        """The key's number for each spatial axis."""
        value, rank = self.options[key], len(self.space)
        return (value,) * rank if isinstance(value, int) else self._checked(key, value)

    def pads(self, key: str = "padding") -> Pads:
        """The key's (before, after) for each spatial axis; "valid" is no padding, "same" is left to the caller."""
        value, rank = self.options[key], len(self.space)
        if value == "valid":
            value = 0
        if isinstance(value, int):
            return ((value, value),) * rank
        return tuple((p, p) if isinstance(p, int) else p for p in self._checked(key, value))

    def axis(self, key: str, first: int = 0) -> int:
        """The key's axis, counted from the front."""
        axis, rank = self.options[key], len(self.shape)
        if not -rank <= axis < rank or axis % rank < first:
            raise self.place.key(key).spec_error(
                f"{axis} should be from {first} to {rank - 1}, or counted from the back from -{rank - first} to -1, "
                f"for input {list(self.shape)} in NCHW order"
            )
        return int(axis % rank)

    def refusal(self, error: ShapeError) -> SpecError:
        """The graph's error about the operator, with its place, and the padding in the spec's notation."""
        return self.place.spec_error(error.with_padding(show(self.options.get("padding"))))

    def check_order(self, where: str) -> None:
        """Refuses to flatten channels and space without an explicit order if the network may come from NHWC."""
        if self.channels_last and len(self.shape) > 2 and self.shape[1] > 1 and math.prod(self.shape[2:]) > 1:
            raise self.place.spec_error(
                f"flattens {list(self.shape)}, and frameworks differ in the order: write {where} = "
                '"NHWC" (trained with Keras or TensorFlow) or "NCHW" (PyTorch)'
            )

    def _checked(self, key: str, value: tuple[Any, ...]) -> tuple[Any, ...]:
        rank = len(self.space)
        if len(value) != rank:
            raise self.place.key(key).spec_error(
                f"{show(value)} should have {rank} entries, one for each spatial axis of input {list(self.shape)}"
            )
        return value


@dataclass(frozen=True)
class Operator:
    """An operator that ``op = "..."`` names.  ``most`` inputs is None if any number is allowed."""

    doc: str
    build: Callable[[Layer], list[Step]]
    keys: Keys
    least: int = 1
    most: int | None = 1


# Keys of windows over the spatial axes, shared by convolutions and pools.
STRIDE = Key(per_axis(1), "Step from one window to the next.", 1)
DILATION = Key(per_axis(1), "Distance between the elements of a window (1: neighbours).", 1)
PADDING = Key(padding("valid", "same"), 'Zeros around the input; "same" has TensorFlow\'s meaning.', 0)


def pads_of(layer: Layer, kernel: Ints, stride: Ints, dilation: Ints) -> Pads:
    """The padding (before, after) of each spatial axis, by numbers or by a word."""
    if layer.options["padding"] == "same":
        return same_pads(layer.space, kernel, stride, dilation)
    return layer.pads()
