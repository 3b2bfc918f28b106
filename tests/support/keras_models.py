"""Keras model files made by hand: .keras as Keras 3 writes it, .h5 as Keras 2 and 3 do.  No Keras needed."""

from __future__ import annotations

import io
import json
import re
import subprocess
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import h5py
import numpy as np

from codegen import interrupt
from codegen.importers.keras import extract


@dataclass
class Layer:
    """``reads`` are calls, each a list of layers or (layer, call, tensor); ``arrays`` by word in Keras' order, those of
    layers that the layer makes for itself with their name before: "query_dense/kernel".  ``inner`` is what a wrapper
    holds.  Functions also read numbers, arrays, slices and lists."""

    class_name: str
    name: str
    config: Mapping[str, Any] = field(default_factory=dict)
    reads: Sequence[Sequence[Any]] = ()
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    model: Net | None = None
    module: str = "keras.layers"
    inner: Layer | None = None
    keywords: Mapping[str, Any] = field(default_factory=dict)

    @property
    def function(self) -> bool:
        """A function of Keras 3 in the place of a layer."""
        return ".ops." in self.module

    @property
    def settings(self) -> dict[str, Any]:
        trainable = {} if self.function or self.class_name == "InputLayer" else {"trainable": True}
        held = {} if self.inner is None else {"layer": _table(self.inner)}
        return {"name": self.name, **trainable, **held, **self.config}


@dataclass
class Net:
    layers: list[Layer]
    outputs: list[Any] = field(default_factory=list)
    sequential: bool = False
    name: str = "net"

    def inputs(self) -> list[str]:
        return [layer.name for layer in self.layers if layer.class_name == "InputLayer"]


def source(name: str, *shape: int | None) -> Layer:
    return Layer("InputLayer", name, {"batch_shape": [None, *shape], "dtype": "float32"})


def ref(value: Any) -> list[Any]:
    return [value, 0, 0] if isinstance(value, str) else list(value)


# Configurations ------------------------------------------------------------------------------------------------------


def config(net: Net, keras: int, modules: bool = True) -> dict[str, Any]:
    """The configuration as this version of Keras writes it; .h5 files have no modules."""
    layers = [_layer(layer, net, keras, modules) for layer in net.layers]
    if net.sequential:
        return {"class_name": "Sequential", "config": {"name": net.name, "layers": layers}}
    ends = {"input_layers": [ref(name) for name in net.inputs()], "output_layers": [ref(o) for o in net.outputs]}
    return {"class_name": "Functional", "config": {"name": net.name, "layers": layers, **ends}}


def _layer(layer: Layer, net: Net, keras: int, modules: bool) -> dict[str, Any]:
    if layer.model is not None:
        table = config(layer.model, keras, modules)
    else:
        settings = layer.settings
        if keras == 2 and "batch_shape" in settings:
            settings["batch_input_shape"] = settings.pop("batch_shape")
        table = {"class_name": layer.class_name, "config": settings}
    if modules:
        table["module"] = layer.module
    if net.sequential:
        return table
    calls = [_call(call, keras, layer) for call in layer.reads]
    return {**table, "name": layer.name, "inbound_nodes": calls}


def _call(call: Sequence[Any], keras: int, layer: Layer) -> Any:
    if keras == 2:
        return [[*ref(value), dict(layer.keywords)] for value in call]
    tensors = [encoded(value) for value in call]
    spread = layer.function or layer.class_name == "MultiHeadAttention" or len(tensors) == 1
    mask = {} if spread and len(tensors) > 1 else {"mask": None}
    return {"args": tensors if spread else [tensors], "kwargs": {**mask, **layer.keywords}}


def encoded(value: Any) -> Any:
    """An argument as Keras 3 writes it: layers are tensors."""
    if isinstance(value, (str, tuple)):
        return {"class_name": "__keras_tensor__", "config": {"shape": None, "keras_history": ref(value)}}
    if isinstance(value, np.ndarray):
        return {"class_name": "__tensor__", "config": {"value": value.tolist(), "dtype": str(value.dtype)}}
    if isinstance(value, slice):
        return {"class_name": "__slice__", "config": {"start": value.start, "stop": value.stop, "step": value.step}}
    if value is Ellipsis:
        return {"class_name": "__ellipsis__", "config": {}}
    return [encoded(item) for item in value] if isinstance(value, list) else value


def _table(layer: Layer) -> dict[str, Any]:
    """A layer that is in the configuration of another."""
    if layer.model is not None:
        return {**config(layer.model, 3), "module": "keras"}
    return {"module": layer.module, "class_name": layer.class_name, "config": layer.settings}


# Files ---------------------------------------------------------------------------------------------------------------


def write_keras(path: Path, net: Net) -> Path:
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        _grouped(file, net)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
        archive.writestr("config.json", json.dumps(config(net, 3)))
        archive.writestr("model.weights.h5", stream.getvalue())
    return path


def _grouped(group: Any, net: Net) -> None:
    seen: dict[str, int] = {}
    for layer in net.layers:
        class_name = ("Sequential" if layer.model.sequential else "Functional") if layer.model else layer.class_name
        kind = re.sub("([a-z])([A-Z])", r"\1_\2", re.sub("(.)([A-Z][a-z]+)", r"\1_\2", class_name)).lower()
        key = f"{kind}_{seen[kind]}" if kind in seen else kind
        seen[kind] = seen.get(kind, 0) + 1
        child = group.create_group(f"layers/{key}")
        kept = child.create_group("vars")
        kept.attrs["name"] = layer.name
        _stored(child, kept, layer)


def _stored(group: Any, kept: Any, layer: Layer) -> None:
    """The arrays of a layer, and of what it holds, in the layer's group."""
    for word, values in layer.arrays.items():
        owner, _, last = word.rpartition("/")
        target = group.require_group(f"{owner}/vars") if last != word else kept
        target[str(len(target))] = values
    if layer.model is not None:
        _grouped(group, layer.model)
    if layer.inner is not None:
        held = group.create_group("layer")
        _stored(held, held.create_group("vars"), layer.inner)


def write_h5(path: Path, net: Net, keras: int) -> Path:
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(config(net, keras, modules=False))
        file.attrs["keras_version"] = {2: "2.15.0", 3: "3.15.1"}[keras]
        weights = file.create_group("model_weights")
        weights.attrs["layer_names"] = [layer.name.encode() for layer in net.layers]
        for layer in net.layers:
            group = weights.create_group(layer.name)
            named = list(_named(layer, ""))
            suffix = ":0" if keras == 2 else ""
            group.attrs["weight_names"] = [f"{path}{suffix}".encode() for path, _ in named]
            for name, values in named:
                group[f"{name}{suffix}"] = values
    return path


# What layers of Keras' own call those that they make for themselves.
_OWN_NAMES = {"query_dense": "query", "key_dense": "key", "value_dense": "value", "output_dense": "attention_output"}


def _named(layer: Layer, prefix: str) -> list[tuple[str, np.ndarray]]:
    path = f"{prefix}{layer.name}"
    if layer.inner is not None:
        return _named(layer.inner, "" if layer.inner.model is not None else f"{path}/")
    if layer.model is None:
        words = ["/".join(_OWN_NAMES.get(part, part) for part in word.split("/")) for word in layer.arrays]
        return [(f"{path}/{word}", values) for word, values in zip(words, layer.arrays.values(), strict=True)]
    inner = [item for child in layer.model.layers for item in _named(child, f"{path}/")]
    # Keras writes what is trained first.
    return sorted(inner, key=lambda item: "moving" in item[0])


@contextmanager
def reading_in_this_process() -> Iterator[None]:
    """Runs the program that reads HDF5 files as a function; only for files that the HDF5 library survives."""
    in_a_process = interrupt.run

    def run(
        command: Sequence[str], timeout: float | None = None, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        if extract.__name__ not in command:
            return in_a_process(command, timeout, environment)
        source, target = command[-2:]
        with redirect_stderr(io.StringIO()) as said:
            code = extract.main(source, target)
        return subprocess.CompletedProcess(command, code, "", said.getvalue())

    # The limit of memory would stay with this process.
    with mock.patch.object(interrupt, "run", run), mock.patch.object(extract, "limit_memory"):
        yield
