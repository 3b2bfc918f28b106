"""What a call gives to a layer, a model or a function.  Every argument is read, or the call is refused by its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from codegen.frontend.place import show
from codegen.importers.keras.network import Call, Model, Ref, walk
from codegen.importers.keras.options import Unsupported, is_number

Argument = Ref | float


@dataclass(frozen=True)
class Signature:
    """The parameters of a function: ``operands`` are tensors or numbers, each by its names in Keras and TensorFlow,
    "x1|x"; ``fixed`` are parameters that must have the value which the translation assumes."""

    operands: tuple[str, ...]
    fixed: Mapping[str, Any] = field(default_factory=dict)


# Says how TensorFlow names a tensor.
_NAME = "name"


def is_training(call: Call) -> bool:
    return call.kwargs.get("training") not in (None, False)


def of_function(call: Call, signature: Signature) -> list[Argument]:
    """The operands, in the order of the signature."""
    names = [*signature.operands, *signature.fixed]
    if not isinstance(call.args, list) or len(call.args) > len(names):
        raise Unsupported(f"{len(call.args)} arguments")
    given: dict[str, Any] = dict(zip(names, call.args, strict=False))
    for key, value in call.kwargs.items():
        name = next((name for name in names if key in name.split("|")), key)
        if name in given:
            raise Unsupported(f"two arguments {show(key)}")
        given[name] = value
    for name, value in given.items():
        if name in signature.fixed:
            if value != signature.fixed[name] and value is not None:
                raise Unsupported(f"the argument {name} = {show(value)}")
        elif name not in signature.operands and name != _NAME and value is not None:
            raise Unsupported(f"the argument {name} = {_shown(value)}")
    operands: list[Argument] = []
    for name in signature.operands:
        value = given.get(name)
        if isinstance(value, Ref):
            operands.append(value)
        elif is_number(value):
            operands.append(float(value))
        else:
            raise Unsupported(f"the argument {name.split('|')[0]} = {_shown(value)}")
    return operands


def of_layer(call: Call) -> list[Ref]:
    """The tensors of the layer's first argument, which may be a list of them."""
    first, others = _first(call)
    tensors = first if isinstance(first, list) else [first]
    refs = [value for value in tensors if isinstance(value, Ref)]
    if not refs or len(refs) != len(tensors):
        raise Unsupported(f"the argument inputs = {_shown(first)}")
    _refuse(others, ("training",))
    return refs


def of_model(model: Model, call: Call) -> list[Ref]:
    """The tensors for the model's inputs, in their order."""
    first, others = _first(call)
    _refuse(others, ("training",))
    if isinstance(first, Mapping):
        names = [name for name, _ in model.inputs]
        if not set(names) <= set(first) or (model.keyed and len(first) != len(names)):
            raise Unsupported(f"the keys {show(sorted(map(str, first)))}, where its inputs are {show(names)}")
        values = [first[name] for name in names]
    else:
        values = list(walk(first))
    refs = [value for value in values if isinstance(value, Ref)]
    if len(refs) != len(values):
        raise Unsupported(f"the argument inputs = {_shown(first)}")
    return refs


def _first(call: Call) -> tuple[Any, dict[str, Any]]:
    """The first argument, called "inputs", and the others by name or number."""
    others = dict(call.kwargs)
    if not isinstance(call.args, list):
        raise Unsupported(f"the arguments {_shown(call.args)}")
    if call.flat and len(call.args) > 1:
        return call.args, others  # the file has a list of tensors as its items
    if not call.args:
        return others.pop("inputs", None), others
    others.update({f"number {i + 1}": value for i, value in enumerate(call.args) if i > 0})
    return call.args[0], others


def _refuse(arguments: Mapping[str, Any], known: Sequence[str]) -> None:
    for name, value in arguments.items():
        # A mask is a list of nothing for layers of several inputs.
        if name not in known and any(item is not None for item in walk(value)):
            raise Unsupported("a mask" if name == "mask" else f"the argument {name} = {_shown(value)}")


def _shown(value: Any) -> str:
    return f"a tensor of {show(value.layer)}" if isinstance(value, Ref) else show(value)
