"""A Keras model -> a spec: its calls in order of computation, each translated, all that cannot be reported together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from codegen.errors import SpecError
from codegen.frontend.order import cycle, in_order, needed
from codegen.frontend.place import Place, listed, show
from codegen.importers.document import Document, legal_layer
from codegen.importers.keras.file import open_keras
from codegen.importers.keras.layers import LAYERS, NOTHING_TO_DO, OPERATIONS
from codegen.importers.keras.network import Call, Layer, Model, Ref, read_model, refs_of, walk
from codegen.importers.keras.options import Options, Unsupported, is_number
from codegen.importers.keras.site import Operand, Site
from codegen.importers.keras.weights import Weights
from codegen.importers.patterns import simplify

_MOST_CALLS = 100_000  # of layers, in all: models within models can be called many times

_DIFFER_IN_TRAINING = frozenset({"BatchNormalization"}) | NOTHING_TO_DO

# What a call that cannot be translated makes, and all that depends on it.
_UNKNOWN = None
Value = str | None


def import_keras(path: Path, name: str, shapes: Mapping[str, Sequence[int]], layout: str = "") -> Document:
    """The spec of a .keras or .h5 file.

    ``shapes`` are whole shapes of inputs, batch included, in the model's own order of axes.  ``layout`` "NCHW" or
    "NHWC" is that of the application's arrays; "" for the model's own.  Raises SpecError or ParameterError.
    """
    file = open_keras(path)
    place = Place(str(path))
    model = read_model(file.config, place)
    first = _channels_first(model, place)
    document = Document(name, "a Keras model", weight_layout="HWIO")
    document.channels_last = layout == "NHWC" or (not first and layout != "NCHW")
    _Importer(document, place, file.major, first, shapes).run(model, file.weights)
    simplify(document)
    document.prune()
    return document


class _Importer:
    def __init__(
        self,
        document: Document,
        place: Place,
        major: int,
        channels_first: bool,
        shapes: Mapping[str, Sequence[int]],
    ) -> None:
        self._document, self._place, self._major, self._first = document, place, major, channels_first
        self._shapes = shapes
        self._problems: dict[str, str] = {}
        self._calls = 0

    def run(self, model: Model, weights: Weights) -> None:
        inputs = self._inputs(model)
        outputs = self._model(model, weights, "", inputs)
        if self._problems:
            listed_problems = "".join(f"\n  {problem}" for problem in self._problems.values())
            count = len(self._problems)
            raise self._place.spec_error(
                f"{count} layer{'s' if count > 1 else ''} cannot be imported:{listed_problems}"
            )
        for name, value in outputs:
            assert value is not None
            self._document.add_output(name, value)

    # Inputs ---------------------------------------------------------------------------------------------------------

    def _inputs(self, model: Model) -> list[Value]:
        declared = _declared_inputs(model)
        unknown = [name for name in self._shapes if name not in dict(declared)]
        if unknown:
            raise SpecError(f"--shape {unknown[0]}: the inputs are {listed(dict(declared), 'and')}")
        dynamic = []
        known: dict[str, list[int]] = {}
        for name, shape in declared:
            if name in self._shapes:
                known[name] = list(self._shapes[name])
            elif shape is None or not shape or any(n is None for n in shape[1:]):
                dynamic.append(f"{name} {show([n if n is not None else '?' for n in shape or []])}")
            else:
                known[name] = [1 if shape[0] is None else shape[0], *shape[1:]]
        if dynamic:
            example = f"--shape {dynamic[0].split()[0]}=1,224,224,3"
            raise self._place.spec_error(
                f"leaves sizes of inputs open: {', '.join(dynamic)}; give them, as in {example}"
            )
        batches = {shape[0] for shape in known.values()}
        if len(batches) > 1:
            raise self._place.spec_error(f"has inputs of different batches: {listed(map(str, sorted(batches)), 'and')}")
        self._document.batch = batches.pop()
        values: list[Value] = []
        for name, shape in known.items():
            if not all(isinstance(n, int) and not isinstance(n, bool) and 0 < n < 2**31 for n in shape):
                raise self._place.spec_error(f"input {show(name)} has the shape {show(shape)}")
            if not self._first and len(shape) > 2:
                shape = [shape[0], shape[-1], *shape[1:-1]]
            values.append(self._document.add_input(name, tuple(shape)))
        return values

    # Models ---------------------------------------------------------------------------------------------------------

    def _model(self, model: Model, weights: Weights, prefix: str, inputs: Sequence[Value]) -> list[tuple[str, Value]]:
        """What the model makes of the inputs, by the outputs' names."""
        if model.sequential:
            return self._sequential(model, weights, prefix, inputs)
        layers = {layer.name: layer for layer in model.layers}
        made: dict[tuple[str, int], list[Value]] = {}
        if len(inputs) != len(model.inputs):
            raise self._place.spec_error(
                f"model {show(model.name)} has {len(model.inputs)} inputs but is given {len(inputs)}"
            )
        for (_, ref), value in zip(model.inputs, inputs, strict=True):
            made[ref.layer, ref.call] = [value]
        calls = {
            _key(layer.name, i): (layer, i, call)
            for layer in model.layers
            for i, call in enumerate(layer.calls)
            if (layer.name, i) not in made
        }
        reads = {key: [_key(ref.layer, ref.call) for ref in refs_of(call)] for key, (_, _, call) in calls.items()}
        members = cycle(reads)
        if members:
            raise self._place.spec_error(f"model {show(model.name)}: calls of {listed(members, 'and')} form a cycle")
        used = needed(reads, [_key(ref.layer, ref.call) for _, ref in model.outputs])
        for key in in_order(reads):
            if key in used:
                layer, i, call = calls[key]
                made[layer.name, i] = self._call(layer, call, weights, prefix, made)
        return [(name, self._made(ref, made, layers)) for name, ref in model.outputs]

    def _sequential(
        self, model: Model, weights: Weights, prefix: str, inputs: Sequence[Value]
    ) -> list[tuple[str, Value]]:
        values = list(inputs)
        for layer in model.layers:
            if layer.class_name != "InputLayer":
                refs = [Ref("", 0, i) for i in range(len(values))]
                call = Call(refs if len(refs) == 1 else [refs], {})
                values = self._call(layer, call, weights, prefix, {("", 0): values})
        return [(model.layers[-1].name, value) for value in values]

    def _made(self, ref: Ref, made: Mapping[tuple[str, int], list[Value]], known: Mapping[str, Layer]) -> Value:
        values = made.get((ref.layer, ref.call))
        if values is None or not 0 <= ref.tensor < len(values):
            near = "" if ref.layer in known else ", which is no layer"
            raise self._place.spec_error(
                f"call {ref.call} of layer {show(ref.layer)}{near} makes no tensor {ref.tensor}"
            )
        return values[ref.tensor]

    def _call(
        self,
        layer: Layer,
        call: Call,
        weights: Weights,
        prefix: str,
        made: Mapping[tuple[str, int], list[Value]],
    ) -> list[Value]:
        self._calls += 1
        if self._calls > _MOST_CALLS:
            raise self._place.spec_error(f"calls layers more than {_MOST_CALLS} times")
        path = f"{prefix}{layer.name}"
        if layer.model is not None:
            arguments = _in_order_of(layer.model, call)
            values = [self._made(ref, made, {}) for ref in arguments]
            inner = weights.nested(layer.name, layer.group, Place(self._place.file, f"layer {show(path)}"))
            return [value for _, value in self._model(layer.model, inner, f"{path}/", values)]
        try:
            operands: list[Operand | None] = [
                self._made(item, made, {}) if isinstance(item, Ref) else item for item in _flat(layer, call)
            ]
            return [self._layer(layer, call, weights, path, operands)]
        except Unsupported as error:
            reason = f" with {error}" if str(error) else ""
            self._problems.setdefault(path, f"{show(path)} ({layer.class_name}){reason}")
            return [_UNKNOWN]

    def _layer(self, layer: Layer, call: Call, weights: Weights, path: str, operands: list[Operand | None]) -> Value:
        kind = layer.class_name
        translate = OPERATIONS.get(_function(layer)) if _is_operation(layer) else LAYERS.get(kind)
        if translate is None and (kind not in NOTHING_TO_DO or _is_operation(layer)):
            raise Unsupported(
                f"function {show(_function(layer))}"
                if _is_operation(layer) and kind != _function(layer)
                else _custom(layer)
            )
        if call.kwargs.get("training") is True and kind in _DIFFER_IN_TRAINING:
            raise Unsupported("training = true")
        if isinstance(call.kwargs.get("mask"), Ref):
            raise Unsupported("a mask")
        present = [operand for operand in operands if operand is not None]
        if len(present) != len(operands):
            return _UNKNOWN
        place = Place(self._place.file, f"layer {show(path)}")
        if translate is None:
            if len(present) != 1 or not isinstance(present[0], str):
                raise place.spec_error("should read one tensor")
            return present[0]

        def arrays(words: Sequence[str]) -> Mapping[str, Any]:
            return weights.read(layer.name, layer.group, words, place)

        site = Site(
            self._document,
            legal_layer(path),
            Options(place, layer.config),
            present,
            arrays,
            self._major,
            self._first,
        )
        try:
            return translate(site)
        except SpecError as error:
            # Rules of the spec know nothing of the model's layer.
            text = str(error)
            raise error if place.file in text else place.spec_error(text) from error


def _key(layer: str, call: int) -> str:
    return f"{call}:{layer}"


def _is_operation(layer: Layer) -> bool:
    """A function instead of a layer: a + b, tf.nn.relu(x)."""
    if layer.class_name in ("TFOpLambda", "SlicingOpLambda") or ".ops." in f"{layer.module}.":
        return True
    if layer.module or layer.class_name not in OPERATIONS:
        return False
    # Keras 3 writes no module into .h5.  The layer Add takes a list, the function Add two arguments.
    called = [call for call in layer.calls if not call.flat and isinstance(call.args, list)]
    return layer.class_name not in LAYERS or any(len(call.args) > 1 for call in called)


def _function(layer: Layer) -> str:
    function = layer.config.get("function")
    return function if layer.class_name.endswith("OpLambda") and isinstance(function, str) else layer.class_name


def _custom(layer: Layer) -> str:
    own = layer.module and layer.module.split(".")[0] not in ("keras", "tf_keras", "builtins")
    return "code of its own, which is never run" if own or layer.class_name == "Lambda" else ""


def _flat(layer: Layer, call: Call) -> Iterator[Ref | float]:
    """Tensors, and for functions numbers, in order; keyword arguments behind."""
    function = _is_operation(layer)
    kwargs = [value for key, value in call.kwargs.items() if isinstance(value, Ref) or key in ("y", "x2")]
    if not function:
        kwargs = [value for key, value in call.kwargs.items() if isinstance(value, Ref) and key != "mask"]
    for item in walk([call.args, kwargs]):
        if isinstance(item, Ref):
            yield item
        elif function and is_number(item):
            yield float(item)
        elif function and item is not None:
            raise Unsupported(f"the argument {show(item)}")


def _in_order_of(model: Model, call: Call) -> list[Ref]:
    """The arguments of a nested model, in the order of its inputs."""
    args = call.args
    while isinstance(args, list) and len(args) == 1:
        args = args[0]
    if isinstance(args, Mapping) and all(name in args for name, _ in model.inputs):
        return [ref for name, _ in model.inputs for ref in refs_of(Call(args[name], {}))]
    return refs_of(call)


def _declared_inputs(model: Model) -> list[tuple[str, list[Any] | None]]:
    """Names and shapes, None or with None where the model leaves them open."""
    layers = {layer.name: layer for layer in model.layers}
    if not model.sequential:
        return [(name, _shape_of(layers.get(ref.layer))) for name, ref in model.inputs]
    first = model.layers[0]
    if first.class_name == "InputLayer":
        return [(first.name, _shape_of(first))]
    if first.model is not None:
        return _declared_inputs(first.model)
    return [(f"{first.name}_input", _shape_of(first))]


def _shape_of(layer: Layer | None) -> list[Any] | None:
    if layer is None:
        return None
    for key in ("batch_shape", "batch_input_shape"):
        shape = layer.config.get(key)
        if isinstance(shape, list):
            return shape
    shape = layer.build.get("input_shape")
    return shape if isinstance(shape, list) else None


def _channels_first(model: Model, place: Place) -> bool:
    """Where the network has its channels; layers must agree."""
    formats = set(_formats(model))
    if len(formats) > 1:
        raise place.spec_error("has layers with data_format channels_first and others with channels_last")
    return formats == {"channels_first"}


def _formats(model: Model) -> Iterator[str]:
    for layer in model.layers:
        if layer.model is not None:
            yield from _formats(layer.model)
        elif layer.class_name != "Flatten" and isinstance(layer.config.get("data_format"), str):
            yield layer.config["data_format"]
