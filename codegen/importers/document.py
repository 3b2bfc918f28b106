"""A spec under construction: layers in order, each with the shape of its value, and the arrays that they name.

Importers add layers; :mod:`codegen.importers.patterns` merges several into one, :mod:`codegen.importers.writer` writes
the spec.  Shapes come from the frontend's own rules, so that an importer and a build always agree.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.frontend.operators.layer import Layer as FrontendLayer
from codegen.frontend.operators.operators import OPERATORS
from codegen.frontend.parameters.archive import Stored
from codegen.frontend.parameters.parameters import Parameters
from codegen.frontend.spec import naming
from codegen.frontend.spec.place import Place, show
from codegen.frontend.spec.reader import read_table
from codegen.frontend.spec.spec import check_size, layer_keys
from codegen.graph.ops import Shape, ShapeError
from codegen.graph.types import FLOAT32

Array = NDArray[Any]


@dataclass
class Layer:
    """A layer of the spec: ``options`` are its table's keys without name, op and inputs; ``node`` is from the model."""

    name: str
    op: str
    inputs: list[str]
    options: dict[str, Any]
    shape: Shape
    node: str = ""


@dataclass(frozen=True)
class Port:
    """An input or output: ``name`` is its name in the spec, ``original`` in the model; ``value`` is an output's value.

    ``type`` is the type of the application's numbers.
    """

    name: str
    original: str
    shape: Shape
    value: str = ""
    type: str = FLOAT32


@dataclass
class Document:
    """A spec under construction: ``layers`` in order of computation, by name; ``source`` is the kind of model.

    ``constants`` are tensors that layers and outputs read directly: it maps names of values to names of arrays.

    ``weight_layout`` is the layout of all weights; with ``channels_last`` the application's arrays have channels last.
    """

    name: str
    source: str
    batch: int = 1
    inputs: list[Port] = field(default_factory=list)
    constants: dict[str, str] = field(default_factory=dict)
    layers: dict[str, Layer] = field(default_factory=dict)
    outputs: list[Port] = field(default_factory=list)
    arrays: dict[str, Array] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    weight_layout: str = "OIHW"
    channels_last: bool = False
    _symbols: dict[str, str] = field(default_factory=dict)
    _numbered: dict[str, int] = field(default_factory=dict)  # the next free numeric suffix of each name
    _constant_of: dict[str, str] = field(default_factory=dict)  # names of constants' values, by the names of arrays

    # Names ------------------------------------------------------------------------------------------------------------

    def add_input(self, original: str, shape: Shape, dtype: str = FLOAT32) -> str:
        """Declares an input whose numbers are of type ``dtype``; returns its name in the spec."""
        name = self._port_name(original, self._symbols)
        self._symbols[naming.symbol(name)] = name
        self.inputs.append(Port(name, original, shape, type=dtype))
        return name

    def add_output(self, original: str, value: str, dtype: str = FLOAT32) -> None:
        """Declares a value as an output, with numbers of type ``dtype``."""
        taken = {naming.symbol(port.name): port.name for port in (*self.inputs, *self.outputs)}
        self.outputs.append(Port(self._port_name(original, taken), original, self.shape(value), value, dtype))

    def _port_name(self, original: str, taken: Mapping[str, str]) -> str:
        """The name itself if it is valid in a spec, else its characters that are valid in C."""

        def free(name: str) -> bool:
            return naming.port_fault(name, self.name) is None and naming.symbol(name) not in taken

        return naming.identifier(original, free, "data")

    def unique_layer(self, wanted: str) -> str:
        """A free layer name similar to this one; marks the name as used."""
        base = naming.legal_layer(wanted)
        name, k = base, self._numbered.get(base, 1)
        while naming.symbol(name) in self._symbols:
            k += 1
            name = f"{base}_{k}"
        self._numbered[base] = k
        self._symbols[naming.symbol(name)] = name
        return name

    # Arrays -----------------------------------------------------------------------------------------------------------

    def array(self, name: str, values: Array) -> str:
        """Stores an array unless it is stored already; returns its name, which may be a variant of the given one."""
        values = np.asarray(values)
        values = np.asarray(values, dtype=np.float64 if values.dtype == np.float64 else np.float32, order="C")
        name = f"{name}_" if name == "__metadata__" else name  # a reserved key of .safetensors
        wanted, k = name, 1
        while name in self.arrays and not _same(self.arrays[name], values):
            k += 1
            name = f"{wanted}_{k}"
        self.arrays.setdefault(name, values)
        return name

    def constant(self, name: str, values: Array) -> str:
        """Stores a tensor that layers can read like another layer's value; returns the name of the value."""
        tensor = self.array(name, values)
        if tensor not in self._constant_of:
            self._constant_of[tensor] = self.unique_layer(name)
        value = self._constant_of[tensor]
        self.constants[value] = tensor
        return value

    # Layers -----------------------------------------------------------------------------------------------------------

    def shape(self, value: str) -> Shape:
        if value in self.layers:
            return self.layers[value].shape
        if value in self.constants:
            return self.arrays[self.constants[value]].shape
        return next(port.shape for port in self.inputs if port.name == value)

    def add(self, wanted: str, op: str, inputs: Iterable[str], options: Mapping[str, Any], node: str = "") -> str:
        """Appends a layer; raises SpecError or ParameterError if it would be invalid in a spec."""
        inputs = list(inputs)
        shape = self._infer(op, inputs, options)
        name = self.unique_layer(wanted)
        self.layers[name] = Layer(name, op, inputs, dict(options), shape, node)
        return name

    def _infer(self, op: str, inputs: list[str], options: Mapping[str, Any]) -> Shape:
        shapes = tuple(self.shape(name) for name in inputs)
        operator, place = OPERATORS[op], Place("")
        names = {"inputs": inputs} if len(inputs) > 1 else {"input": inputs[0]}
        read = read_table({"name": "layer", "op": op, **names, **plain(options)}, layer_keys(operator), place)
        layer = FrontendLayer(
            name="layer",
            place=place,
            options={key: read[key] for key in operator.keys},
            inputs=tuple(inputs),
            shapes=shapes,
            parameters=self._parameters(options),
            weight_layout=self.weight_layout,
            channels_last=False,
        )
        try:
            shape = shapes[0]
            for step in operator.build(layer):
                shape = step.op.infer(shape, *(self.shape(name) for name in step.others))
                check_size(shape, place)
        except ShapeError as error:
            raise layer.refusal(error) from error
        return shape

    def _parameters(self, options: Mapping[str, Any]) -> Parameters:
        """The names and arrays of the parameters that the options name."""
        named = [value for value in options.values() if isinstance(value, str) and value in self.arrays]
        archive = {name: _stored(self.arrays[name]) for name in named}
        return Parameters("the model", "", archive)

    # Clean-up ---------------------------------------------------------------------------------------------------------

    def uses(self) -> Counter[str]:
        """The number of times each value is read, by layers and as an output."""
        counts = Counter(name for layer in self.layers.values() for name in layer.inputs)
        counts.update(port.value for port in self.outputs)
        return counts

    def prune(self) -> None:
        """Drops layers and arrays that no output depends on."""
        needed = {port.value for port in self.outputs}
        for name in reversed(self.layers):
            if name in needed:
                needed.update(self.layers[name].inputs)
        self.layers = {name: layer for name, layer in self.layers.items() if name in needed}
        self.constants = {name: tensor for name, tensor in self.constants.items() if name in needed}
        named = set(self.constants.values())
        for layer in self.layers.values():
            for value in tensor_names(layer.options):
                named.add(value)
        self.arrays = {name: array for name, array in self.arrays.items() if name in named}
        for port in self.inputs:
            if port.name not in needed:
                self.notes.append(f"no output depends on input {show(port.original)}: it is left out")
        self.inputs = [port for port in self.inputs if port.name in needed]

    def fill(self) -> None:
        """Adds an identity layer to a network without layers, as a spec needs at least one."""
        if not self.layers:
            port = self.outputs[0]
            copy = self.add("copy", "reshape", [port.value], {"full_shape": list(port.shape)})
            self.outputs[0] = replace(port, value=copy)


# Keys of a spec whose value is the name of a tensor.
_TENSOR_KEYS = frozenset({"weight", "bias", "divisor", "slope", "gamma", "beta", "mean", "variance", "grid", "indices"})


def tensor_names(options: Mapping[str, Any]) -> list[str]:
    """The tensors that a layer's table names, including those of its batch_norm and activation."""
    found = []
    for key, value in options.items():
        if key in ("batch_norm", "activation") and isinstance(value, Mapping):
            found += tensor_names(value)
        elif key in _TENSOR_KEYS and isinstance(value, str):
            found.append(value)
    return found


def plain(value: Any) -> Any:
    """Replaces tuples by lists, as a TOML reader would return."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _same(a: Array, b: Array) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def _stored(array: Array) -> Stored:
    return Stored(array.shape, lambda: array)
