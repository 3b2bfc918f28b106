"""Layers that occur as one object in several places of a model, whose arrays a .keras file has once.

The arrays are stored where Keras first met the layer.  All places have the same "shared_object_id", except that Keras
leaves it out at the first place if that is in a nested model; that place is recognised by its class, name and
configuration.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from codegen.frontend.spec.place import Place
from codegen.importers.keras.network import Layer, Model
from codegen.importers.keras.weights import Weights


class ArrayLocations:
    """The locations of the arrays of a model's layers: layers that are one object share theirs."""

    def __init__(self, model: Model, weights: Weights, place: Place) -> None:
        self._model, self._weights, self._place = model, weights, place

    def of(self, layer: Layer, weights: Weights) -> tuple[Weights, Layer]:
        """The weights that hold a layer's arrays, and the layer under which they are stored.

        These are the given ones, unless they have no arrays and exactly one other place does.
        """
        if weights.entries(layer.name, layer.group, self._place):
            return weights, layer
        wanted = _text(layer)
        found = [
            (there, other)
            for there, other in _places(self._model, self._weights, self._place)
            if _one_object(layer, other)
            and _text(other) == wanted
            and there.entries(other.name, other.group, self._place)
        ]
        return found[0] if len(found) == 1 else (weights, layer)


def _places(model: Model, weights: Weights, place: Place) -> Iterator[tuple[Weights, Layer]]:
    for layer in model.layers:
        if layer.model is None:
            yield weights, layer
        else:
            yield from _places(layer.model, weights.nested(layer.name, layer.group, place), place)


def _one_object(a: Layer, b: Layer) -> bool:
    ids = {layer.shared for layer in (a, b) if layer.shared is not None}
    return len(ids) == 1 and (a.class_name, a.name) == (b.class_name, b.name)


def _text(layer: Layer) -> str:
    return json.dumps(_without_ids(layer.config), sort_keys=True)


def _without_ids(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_ids(item) for key, item in value.items() if key != "shared_object_id"}
    return [_without_ids(item) for item in value] if isinstance(value, list) else value
