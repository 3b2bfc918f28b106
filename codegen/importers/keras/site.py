"""One call of a layer: what its translation is given, and adds layers of the spec with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.frontend.place import show
from codegen.importers.document import Document
from codegen.importers.keras.options import Options, Unsupported, is_number

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
        """In the model's order of axes, without the batch."""
        shape = self.document.shape(value)
        return [shape[self.to_spec(axis, len(shape))] for axis in range(1, len(shape))]

    def check_format(self) -> None:
        """The channels of the layer are where those of the whole network are."""
        default = "channels_first" if self.channels_first else "channels_last"
        if self.options.text("data_format", default) != default:
            raise Unsupported(f"data_format differs from that of other layers, {default}")

    def activation(self, key: str = "activation") -> Any:
        """As a spec says it; None for linear."""
        return activation(self.options.get(key), self.major)


_SAME = ("relu", "relu6", "sigmoid", "tanh", "softmax", "elu", "selu", "softplus", "gelu", "mish")


def activation(value: Any, major: int) -> Any:
    """What a layer's configuration says of an activation: a name, or a function or layer as a table."""
    if isinstance(value, Mapping):
        return _of_table(value, major)
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


def _of_table(value: Mapping[str, Any], major: int) -> Any:
    class_name, config, module = value.get("class_name"), value.get("config"), value.get("module")
    if class_name == "function" and isinstance(config, str):
        # A user's own function has the module "builtins" or that of the program.
        if module is None or str(module).split(".")[0] == "keras":
            return activation(config, major)
        raise Unsupported(f"custom activation {show(config)}")
    if class_name in ("ReLU", "LeakyReLU", "ELU", "Softmax") and isinstance(config, Mapping):
        if class_name == "LeakyReLU":
            alpha = config.get("negative_slope", config.get("alpha", 0.3))
            if is_number(alpha):
                return {"op": "leaky_relu", "alpha": float(alpha)}
        if class_name == "ReLU" and not config.get("negative_slope") and not config.get("threshold"):
            most = config.get("max_value")
            if most is None:
                return "relu"
            if is_number(most) and most >= 0:
                return {"op": "clip", "min": 0.0, "max": float(most)}
        if class_name == "ELU" and is_number(config.get("alpha", 1.0)):
            return {"op": "elu", "alpha": float(config.get("alpha", 1.0))}
        if class_name == "Softmax" and config.get("axis", -1) == -1:
            return "softmax"
    raise Unsupported(f"activation {show(class_name)}")
