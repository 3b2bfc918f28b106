"""One call of a layer: what its translation is given, and adds layers of the spec with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.frontend.place import Place, show
from codegen.importers.document import Document
from codegen.importers.keras.network import Origin, origin_of
from codegen.importers.keras.options import Options, Unsupported

Operand = str | float
"""A value of the document by name, or a number."""


@dataclass(frozen=True)
class Site:
    """``name`` is the layer's in the spec.  With ``channels_first`` the model's axes are in NCHW order as the spec's
    are, else its last is the spec's axis 1."""

    document: Document
    name: str
    options: Options
    operands: Sequence[Operand]
    arrays: Callable[[Sequence[str]], Mapping[str, NDArray[Any]]]
    major: int
    channels_first: bool

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

    @property
    def rank(self) -> int:
        """Axes of the input, batch included."""
        return len(self.document.shape(self.input))

    @property
    def space(self) -> int:
        """Spatial axes of the input, of which there should be some."""
        if self.rank < 3:
            raise self.options.place.spec_error(f"needs axes of space, but its input has {self.rank} axes in all")
        return self.rank - 2

    @property
    def channels(self) -> int:
        return self.document.shape(self.input)[1]

    def add(self, op: str, inputs: str | Sequence[str], part: str = "", **options: Any) -> str:
        """A layer of the spec: the one called as the layer of the model, or a part of it."""
        inputs = [inputs] if isinstance(inputs, str) else inputs
        given = {key: value for key, value in options.items() if value is not None}
        return self.document.add(f"{self.name}.{part}" if part else self.name, op, inputs, given)

    def array(self, word: str, values: Any, part: str = "") -> str:
        """Stores an array of the layer; returns the tensor's name."""
        owner = f"{self.name}.{part}" if part else self.name
        return self.document.array(f"{owner}.{word}", np.asarray(values))

    def axis(self, axis: Any, rank: int) -> int:
        """The spec's axis for one of the model's, batch included."""
        if isinstance(axis, list) and len(axis) == 1:
            axis = axis[0]
        if isinstance(axis, bool) or not isinstance(axis, int) or not -rank <= axis < rank:
            raise Unsupported(f"axis = {show(axis)} of a tensor with {rank} axes")
        return self.to_spec(axis % rank, rank)

    def to_spec(self, axis: int, rank: int) -> int:
        if self.channels_first or axis == 0:
            return axis
        return 1 if axis == rank - 1 else axis + 1

    def model_shape(self, value: str) -> list[int]:
        """The shape of a tensor in the model's order of axes, without the batch."""
        shape = self.document.shape(value)
        return [shape[self.to_spec(axis, len(shape))] for axis in range(1, len(shape))]

    def check_format(self) -> None:
        """The channels of the layer are where those of the whole network are: last, if the layer does not say."""
        wanted = "channels_first" if self.channels_first else "channels_last"
        if self.options.text("data_format", "channels_last") != wanted:
            raise Unsupported(f"channels that are not where other layers have them, {wanted}")

    def add_activated(self, op: str, inputs: str | Sequence[str], **options: Any) -> str:
        """A layer of the spec with the activation that the layer of the model has."""
        found = activation(self.options.get("activation"), self.options.place, self.major)
        if found != "softmax" or not self.channels_first:
            return self.add(op, inputs, activation=found, **options)
        return self.softmax(self.add(op, inputs, "linear", **options))

    def softmax(self, value: str, axis: Any = -1) -> str:
        """Over an axis of the model: the activation is over its last one, wherever the channels are."""
        axis = self.axis(axis, len(self.document.shape(value)))
        return self.add("softmax", value, axis=axis if axis != 1 else None)


_SAME = ("relu", "relu6", "sigmoid", "tanh", "softmax", "elu", "selu", "softplus", "gelu", "mish")


def activation(value: Any, place: Place, major: int) -> Any:
    """What a layer's configuration says of an activation: a name, or a function or layer as a table.  As a spec says
    it; None for linear."""
    if isinstance(value, Mapping):
        return _of_table(value, place, major)
    if value in (None, "linear"):
        return None
    if value in _SAME:
        return value
    if value in ("swish", "silu"):
        return "silu"
    if value == "hard_sigmoid":
        return hard_sigmoid(major)
    if value in ("hard_swish", "hard_silu"):
        return "hard_swish"
    if value == "leaky_relu":
        return {"op": "leaky_relu", "alpha": 0.2}
    raise Unsupported(f"activation {show(value)}")


def hard_sigmoid(major: int) -> dict[str, Any]:
    return {"op": "hard_sigmoid", "alpha": 1 / 6 if major >= 3 else 0.2, "beta": 0.5}


def _of_table(value: Mapping[str, Any], place: Place, major: int) -> Any:
    """A function or layer as an activation.  Keras 3 writes "builtins" for the module of a user's own function."""
    class_name, config, origin = value.get("class_name"), value.get("config"), origin_of(value)
    if class_name == "function" and origin is Origin.KERAS and isinstance(config, str):
        return activation(config, place, major)
    if class_name == "function" or origin is Origin.OWN:
        raise Unsupported(f"custom activation {show(config if class_name == 'function' else class_name)}")
    read = _ACTIVATION_LAYERS.get(str(class_name))
    if read is None or not isinstance(config, Mapping):
        raise Unsupported(f"activation {show(class_name)}")
    options = Options(place.key("activation"), config)
    found = read(options)
    options.refuse_unread()
    return found


def _relu(o: Options) -> Any:
    o.require("negative_slope", 0.0)
    o.require("threshold", 0.0)
    if o.get("max_value") is None:
        return "relu"
    most = o.number("max_value", 0.0)
    if most < 0:
        raise o.place.key("max_value").spec_error(f"{most} should not be negative")
    return {"op": "clip", "min": 0.0, "max": most}


def leaky_relu(o: Options) -> Any:
    """``alpha`` is Keras 2's word."""
    both = o.get("negative_slope") is not None and o.get("alpha") is not None
    if both:
        raise o.place.key("alpha").spec_error("is there beside negative_slope")
    key = "alpha" if o.get("alpha") is not None else "negative_slope"
    return {"op": "leaky_relu", "alpha": o.number(key, 0.3)}


def _elu(o: Options) -> Any:
    return {"op": "elu", "alpha": o.number("alpha", 1.0)}


def _softmax(o: Options) -> Any:
    o.require("axis", -1)
    return "softmax"


_ACTIVATION_LAYERS: Mapping[str, Callable[[Options], Any]] = {
    "ReLU": _relu,
    "LeakyReLU": leaky_relu,
    "ELU": _elu,
    "Softmax": _softmax,
}
