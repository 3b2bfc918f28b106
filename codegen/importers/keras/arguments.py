"""Arguments of calls of layers, models and functions.  A call with an argument that is not read is refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.frontend.spec.place import show
from codegen.importers.keras.network import Call, Model, Ref, walk
from codegen.importers.keras.options import Unsupported, is_number

Argument = Ref | float | NDArray[Any] | list[Any] | None
"""A tensor, a number, a constant, a list of these, or None for an argument that is absent."""

_MAX_ELEMENTS = 2**24  # largest constant in a configuration


def is_training(call: Call) -> bool:
    return call.kwargs.get("training") not in (None, False)


def of_function(call: Call, operands: Sequence[str], options: Sequence[str]) -> tuple[list[Argument], dict[str, Any]]:
    """The operands in order, and the other arguments by name.

    An operand is given by its alternative names, "x1|x", followed by "?" if it is optional; "*" takes all positions.
    """
    if not isinstance(call.args, list):
        raise Unsupported(f"the arguments {_shown(call.args)}")
    if list(operands) == ["*"]:
        return [[_operand("operands", value) for value in call.args]], dict(call.kwargs)
    names = [*operands, *options]
    if len(call.args) > len(names):
        raise Unsupported(f"{len(call.args)} arguments")
    given: dict[str, Any] = dict(zip(names, call.args, strict=False))
    rest: dict[str, Any] = {}
    for key, value in call.kwargs.items():
        name = next((name for name in names if key in name.rstrip("?").split("|")), None)
        if name is not None and name in given:
            raise Unsupported(f"two arguments {show(key)}")
        (rest if name is None else given)[name or key] = value
    found: list[Argument] = []
    for name in operands:
        value = given.pop(name, None)
        if value is None and not name.endswith("?"):
            raise Unsupported(f"the argument {name.split('|')[0]} = null")
        found.append(None if value is None else _operand(name.rstrip("?").split("|")[0], value))
    if any(isinstance(item, Ref) for value in (*given.values(), *rest.values()) for item in walk(value)):
        name = next(k for k, v in {**given, **rest}.items() if any(isinstance(item, Ref) for item in walk(v)))
        raise Unsupported(f"the argument {name} = {_shown(next(walk({**given, **rest}[name])))}")
    return found, {**given, **rest}


def refs_in(arguments: Sequence[Argument]) -> Iterator[Ref]:
    for argument in arguments:
        if isinstance(argument, Ref):
            yield argument
        elif isinstance(argument, list):
            yield from refs_in(argument)


def _operand(name: str, value: Any) -> Argument:
    if isinstance(value, Ref):
        return value
    if is_number(value):
        return value
    if isinstance(value, list) and any(isinstance(item, Ref) for item in walk(value)):
        return [_operand(name, item) for item in value]
    if isinstance(value, Mapping) and value.get("class_name") in ("__tensor__", "__numpy__"):
        config = value.get("config")
        found = _constant(config.get("value"), config.get("dtype")) if isinstance(config, Mapping) else None
    else:
        found = _constant(value, None) if isinstance(value, (list, bool)) else None
    if found is None:
        raise Unsupported(f"the argument {name} = {_shown(value)}")
    return found


def _constant(value: Any, dtype: Any) -> NDArray[Any] | None:
    """An array from nested lists of numbers or truth values; None for anything else."""
    flat = [value]
    while any(isinstance(item, list) for item in flat):
        flat = [inner for item in flat for inner in (item if isinstance(item, list) else [item])]
        if len(flat) > _MAX_ELEMENTS:
            return None
    if not flat or not all(isinstance(item, (int, float)) for item in flat):
        return None
    try:
        array = np.array(value)
    except ValueError:  # lists of different lengths
        return None
    if array.dtype.kind not in "biuf":
        return None
    return array.astype(np.float64) if "float" in str(dtype) or array.dtype.kind == "f" else array


# Options that calls of some layers take besides tensors.
_OPTIONS = {name: ("use_causal_mask", "return_attention_scores") for name in ("Attention", "MultiHeadAttention")}
_SEVERAL = {"MultiHeadAttention": ("query", "value", "key?")}


def of_layer(class_name: str, call: Call) -> tuple[list[Ref], dict[str, Any]]:
    """The tensors that a layer reads, mostly in a list as its first argument, and the options that the call gives."""
    options = _OPTIONS.get(class_name, ())
    if class_name in _SEVERAL:
        operands, others = of_function(call, _SEVERAL[class_name], ())
        tensors: Any = [operand for operand in operands if operand is not None]
    else:
        first, others = _first(call)
        tensors = first if isinstance(first, list) else [first]
    refs = [value for value in tensors if isinstance(value, Ref)]
    if not refs or len(refs) != len(tensors):
        raise Unsupported(f"the argument inputs = {_shown(tensors[0] if len(tensors) == 1 else tensors)}")
    _refuse(others, ("training", *options))
    return refs, {name: others[name] for name in options if name in others}


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
    """The first argument, called "inputs", and the other arguments by name or position."""
    others = dict(call.kwargs)
    if not isinstance(call.args, list):
        raise Unsupported(f"the arguments {_shown(call.args)}")
    if call.flat and len(call.args) > 1:
        return call.args, others  # the file lists a list of tensors item by item
    if not call.args:
        return others.pop("inputs", None), others
    others.update({f"number {i + 1}": value for i, value in enumerate(call.args) if i > 0})
    return call.args[0], others


def _refuse(arguments: Mapping[str, Any], known: Sequence[str]) -> None:
    for name, value in arguments.items():
        # For layers of several inputs, an absent mask is a list of nulls.
        if name not in known and any(item is not None for item in walk(value)):
            raise Unsupported("a mask" if name == "mask" else f"the argument {name} = {_shown(value)}")


def _shown(value: Any) -> str:
    return f"a tensor of {show(value.layer)}" if isinstance(value, Ref) else show(value)
