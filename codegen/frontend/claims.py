"""Finds the table of a spec that reads a tensor, so that errors never suggest a tensor of another table."""

from __future__ import annotations

from collections.abc import Callable

from codegen.frontend.batch_norm import array_of, own_prefixes, sibling_prefix
from codegen.frontend.operators import OPERATORS
from codegen.frontend.place import Place
from codegen.frontend.spec import Spec


def claims(spec: Spec) -> Callable[[str], str]:
    """A function from a tensor's name to the place of the table or key that reads it; "" for an unread tensor.

    A table reads the tensors that it names.  A layer also reads tensors whose names start with the layer's name and a
    dot, and its BatchNorm reads those that start with a prefix of BatchNorm and have a key of BatchNorm.
    """
    named = {constant.tensor: str(constant.place) for constant in spec.constants}
    prefixes: dict[str, tuple[Place, bool]] = {}  # the place, and True for a BatchNorm
    for layer in spec.layers:
        parts = [("", layer.options)]
        parts += [("batch_norm", layer.batch_norm.options)] if layer.batch_norm is not None else []
        parts += [("activation", layer.activation.options)] if layer.activation is not None else []
        for key, options in parts:
            place = str(layer.place.key(key) if key else layer.place)
            named.update({value: place for value in options.values() if isinstance(value, str)})
        if layer.batch_norm is not None:
            chosen = layer.batch_norm.options["prefix"]
            for prefix in [*own_prefixes(layer.name), sibling_prefix(layer.name)] if chosen is None else [chosen]:
                prefixes[prefix] = layer.place.key("batch_norm"), True
    prefixes |= {layer.name: (layer.place, layer.operator is OPERATORS["batch_norm"]) for layer in spec.layers}

    def reader(tensor: str) -> str:
        if tensor in named:
            return named[tensor]
        prefix = tensor
        while "." in prefix:
            prefix = prefix.rpartition(".")[0]
            if prefix in prefixes:
                place, normalises = prefixes[prefix]
                array = array_of(tensor[len(prefix) + 1 :]) if normalises else ""
                return str(place.key(array) if array else place)
        return ""

    return reader
