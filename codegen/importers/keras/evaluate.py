"""Evaluates a Keras model in float64 numpy from its configuration, as a reference for imports.

It is written from Keras' documentation, in the model's own order of axes.  It shares nothing with the translations of
layers or with the graph that they produce.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.frontend.spec.place import Place
from codegen.importers.keras.file import open_keras
from codegen.importers.keras.network import Call, Layer, Model, Ref, read_model, refs_of, walk
from codegen.importers.keras.reference import Array, Given, plain
from codegen.importers.keras.reference_functions import called
from codegen.importers.keras.reference_layers import LAYERS, WITH_ARRAYS
from codegen.importers.keras.shared import ArrayLocations
from codegen.importers.keras.weights import Weights


def evaluate_keras(
    path: Path,
    shapes: Mapping[str, Sequence[int]],
    inputs: Mapping[str, NDArray[Any]],
    seen: list[tuple[str, Array]] | None = None,
) -> list[Array]:
    """The outputs of the model in a .keras or .h5 file, as a list, since two outputs may have the same name.

    ``inputs`` are keyed by the names of the model's inputs, in the model's own order of axes, like the outputs.  An
    entry in ``shapes`` sets the shape of an input.  ``seen`` receives the values of all layers by name, in order of
    computation.  Raises SpecError or ParameterError if an import would refuse the file.
    """
    place = Place(str(path))
    for name, shape in shapes.items():
        if name in inputs and list(np.shape(inputs[name])) != list(shape):
            raise place.spec_error(f"input {name} has the shape {list(np.shape(inputs[name]))}, not {list(shape)}")
    file = open_keras(path)
    model = read_model(file.config, place)
    run = _Run(place, file.major, ArrayLocations(model, file.weights, place), [] if seen is None else seen)
    names = input_names(model)
    # An import leaves out inputs that no output depends on, so their values may be missing.
    given = [np.asarray(inputs[name], np.float64) if name in inputs else None for name in names]
    return run.model(model, file.weights, given)


def input_names(model: Model) -> list[str]:
    """The names of the model's inputs, in their order."""
    if not model.sequential:
        return [name for name, _ in model.inputs]
    first = model.layers[0]
    if first.model is not None:
        return input_names(first.model)
    return [first.name if first.class_name == "InputLayer" else f"{first.name}_input"]


class _Run:
    """One evaluation of a file that was written by Keras of the version ``major``."""

    def __init__(self, place: Place, major: int, locations: ArrayLocations, seen: list[tuple[str, Array]]) -> None:
        self._place, self._major, self._locations, self._seen = place, major, locations, seen

    def _arrays(self, layer: Layer, weights: Weights) -> list[Array]:
        """The layer's arrays in Keras' order."""
        if layer.class_name not in WITH_ARRAYS:
            return []
        group, owner = self._locations.of(layer, weights)
        return [
            np.asarray(entry.array.values, np.float64) for entry in group.entries(owner.name, owner.group, self._place)
        ]

    def model(self, model: Model, weights: Weights, inputs: Sequence[Any]) -> list[Array]:
        """The tensors that the model computes from its inputs; None stands for an input that it does not need."""
        if model.sequential:
            values = list(inputs)
            for layer in model.layers:
                if layer.class_name != "InputLayer":
                    values = self._compute(layer, weights, values if len(values) > 1 else values[0], {})
            return values
        layers = {layer.name: layer for layer in model.layers}
        made = {(ref.layer, ref.call): [value] for (_, ref), value in zip(model.inputs, inputs, strict=True)}
        waiting = [(ref.layer, ref.call) for _, ref in model.outputs]
        while waiting:
            name, number = waiting[-1]
            if (name, number) in made:
                waiting.pop()
                continue
            call = layers[name].calls[number]
            missing = [key for key in ((r.layer, r.call) for r in refs_of(call)) if key not in made]
            waiting += missing
            if not missing:
                made[name, number] = self._call(layers[name], call, weights, made)
        return [made[ref.layer, ref.call][ref.tensor] for _, ref in model.outputs]

    def _call(
        self, layer: Layer, call: Call, weights: Weights, made: Mapping[tuple[str, int], list[Array]]
    ) -> list[Array]:
        def filled(value: Any) -> Any:
            if isinstance(value, Ref):
                return made[value.layer, value.call][value.tensor]
            if isinstance(value, list):
                return [filled(item) for item in value]
            if not isinstance(value, Mapping):
                return value
            config = value.get("config")
            if value.get("class_name") == "__ellipsis__":
                return Ellipsis
            if value.get("class_name") == "__slice__" and isinstance(config, Mapping):
                return slice(*(config.get(name) for name in ("start", "stop", "step")))
            known = plain(value)
            return np.asarray(known) if known is not value else {key: filled(item) for key, item in value.items()}

        args, kwargs = filled(call.args), filled(call.kwargs)
        if layer.function:
            made_here = called(layer.function, args, {**layer.config, **kwargs})
            self._seen += [(layer.name, value) for value in made_here]
            return made_here
        if layer.class_name == "MultiHeadAttention":
            given = [*args, *(kwargs[name] for name in ("query", "value", "key") if kwargs.get(name) is not None)]
            return self._compute(layer, weights, given, kwargs)
        if call.flat and len(args) > 1:
            return self._compute(layer, weights, args, kwargs)
        return self._compute(layer, weights, args[0] if args else kwargs["inputs"], kwargs)

    def _compute(self, layer: Layer, weights: Weights, inputs: Any, options: Mapping[str, Any]) -> list[Array]:
        """Computes a layer or nested model from its first argument: an array, or a list or table of arrays."""
        if layer.model is not None:
            names = input_names(layer.model)
            given = [inputs[name] for name in names] if isinstance(inputs, Mapping) else list(walk(inputs))
            return self.model(layer.model, weights.nested(layer.name, layer.group, self._place), given)
        if layer.inner is not None:
            own = weights.wrapped(layer.name, layer.group, self._place)
            if layer.class_name != "TimeDistributed":
                return self._compute(layer.inner, own, inputs, {})
            steps = [self._compute(layer.inner, own, inputs[:, i], {})[0] for i in range(inputs.shape[1])]
            return [np.stack(steps, axis=1)]
        compute = LAYERS.get(layer.class_name)
        # All other layers do nothing in inference.
        value = compute(self._given(layer, weights, inputs, options)) if compute else inputs
        self._seen.append((layer.name, value))
        return [value]

    def _given(self, layer: Layer, weights: Weights, inputs: Any, options: Mapping[str, Any]) -> Given:
        parts = {}
        if layer.class_name == "MultiHeadAttention":
            group, owner = self._locations.of(layer, weights)
            for name, entries in group.inside(owner.name, owner.group, self._place).items():
                parts[name] = [np.asarray(entry.array.values, np.float64) for entry in entries]
        return Given(layer.config, inputs, self._arrays(layer, weights), self._major, parts, options)
