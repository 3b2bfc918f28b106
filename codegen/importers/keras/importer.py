"""A Keras model -> a spec: translates calls in order of computation, and reports all unsupported ones together."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codegen.errors import SpecError
from codegen.frontend.spec.naming import legal_layer
from codegen.frontend.spec.order import cycle, in_order, needed
from codegen.frontend.spec.place import Place, listed, show
from codegen.importers.document import Document
from codegen.importers.keras.arguments import Argument, is_training, of_function, of_layer, of_model, refs_in
from codegen.importers.keras.file import open_keras
from codegen.importers.keras.functions import OPERATIONS
from codegen.importers.keras.inert import AUGMENTATIONS, NOTHING_TO_DO
from codegen.importers.keras.layers import LAYERS
from codegen.importers.keras.network import Call, Layer, Model, Origin, Ref, leaves, read_model, refs_of
from codegen.importers.keras.options import Options, Unsupported
from codegen.importers.keras.shared import ArrayLocations
from codegen.importers.keras.site import Operand, Site, Translation
from codegen.importers.keras.types import OWN, check_layer, input_type, is_integer, result_type
from codegen.importers.keras.weights import Weights
from codegen.importers.patterns import simplify

_MOST_CALLS = 100_000  # of layers in total: nested models can be called many times

_DIFFER_IN_TRAINING = frozenset(
    {"BatchNormalization", "SpectralNormalization", "Attention", "MultiHeadAttention", *NOTHING_TO_DO}
) - {"ActivityRegularization", "Identity"}

# Stands for the result of a call that cannot be translated, and for all that depends on it.
_UNKNOWN = None


@dataclass(frozen=True)
class _Tensor:
    """A value of the document, and the type of its numbers in the model."""

    value: str
    dtype: str


Value = _Tensor | None

_UNSAID = (
    "the file names layers by their class alone: they are taken for Keras' own. If a layer or an activation of yours "
    "has the name of one of Keras', save the model as .keras, which says whose it is"
)


def import_keras(path: Path, name: str, shapes: Mapping[str, Sequence[int]], layout: str = "") -> Document:
    """Imports a .keras or .h5 file as a spec.

    ``shapes`` are full shapes of inputs, batch included, in the model's own order of axes.  ``layout`` ("NCHW" or
    "NHWC") is the layout of the application's arrays, "" for the model's own.  Raises SpecError or ParameterError.
    """
    file = open_keras(path)
    place = Place(str(path))
    model = read_model(file.config, place)
    if model.origin is Origin.OWN:
        raise place.spec_error("is a model of a class of your own, whose code is not in the file")
    first = _channels_first(model, place)
    document = Document(name, "a Keras model", weight_layout="HWIO")
    document.channels_last = layout == "NHWC" or (not first and layout != "NCHW")
    if any(layer.origin is Origin.UNSAID for layer in leaves(model)):
        document.notes.append(_UNSAID)
    _Importer(document, place, file.major, first, shapes).run(model, file.weights)
    simplify(document)
    document.prune()
    document.fill()
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
        self._locations = ArrayLocations(model, weights, self._place)
        inputs = self._inputs(model)
        outputs = self._model(model, weights, "", inputs, False)
        if self._problems:
            listed_problems = "".join(f"\n  {problem}" for problem in self._problems.values())
            count = len(self._problems)
            raise self._place.spec_error(
                f"{count} layer{'s' if count > 1 else ''} cannot be imported:{listed_problems}"
            )
        for name, tensor in outputs:
            assert tensor is not None
            self._document.add_output(name, tensor.value)

    def _problem(self, path: str, class_name: str, error: Unsupported) -> None:
        reason = f" with {error}" if str(error) else ""
        self._problems.setdefault(path, f"{show(path)} ({class_name}){reason}")

    # Inputs -----------------------------------------------------------------------------------------------------------

    def _inputs(self, model: Model) -> list[Value]:
        declared = _declared_inputs(model)
        unknown = [name for name in self._shapes if name not in dict(declared)]
        if unknown:
            raise SpecError(f"--shape {unknown[0]}: the inputs are {listed(dict(declared), 'and')}")
        if len(dict(declared)) != len(declared):
            raise self._place.spec_error(f"has two inputs of one name: {listed([n for n, _ in declared], 'and')}")
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
            example = "--shape " + shlex.quote(f"{dynamic[0].split()[0]}=1,224,224,3")
            raise self._place.spec_error(
                f"leaves sizes of inputs open: {', '.join(dynamic)}; give them, as in {example}"
            )
        batches = sorted({show(shape[0]) for shape in known.values()})
        if len(batches) > 1:
            raise self._place.spec_error(f"has inputs of different batches: {listed(batches, 'and')}")
        values: list[Value] = []
        layers = _input_layers(model)
        for (name, shape), layer in zip(known.items(), layers, strict=True):
            if not all(isinstance(n, int) and not isinstance(n, bool) and 0 < n < 2**31 for n in shape):
                raise self._place.spec_error(f"input {show(name)} has the shape {show(shape)}")
            self._document.batch = shape[0]
            if not self._first and len(shape) > 2:
                shape = [shape[0], shape[-1], *shape[1:-1]]
            value = self._document.add_input(name, tuple(shape))
            try:
                values.append(_Tensor(value, input_type(layer, self._document)))
            except Unsupported as error:
                self._problem(name, "InputLayer", error)
                values.append(_UNKNOWN)
        return values

    def _given(self, layer: Layer | None, tensor: Value) -> Value:
        """The tensor that a nested model's input stands for, given the arguments of the model's call."""
        if layer is None or tensor is None:
            return tensor
        dtype, shape = input_type(layer, self._document), _shape_of(layer)
        axes = len(self._document.shape(tensor.value))
        if shape is not None and len(shape) != axes:
            raise Unsupported(f"input {show(layer.name)} of {len(shape)} axes, which is given {axes}")
        if is_integer(dtype) and dtype != tensor.dtype:
            raise Unsupported(f"input {show(layer.name)} of {dtype}, which is given {tensor.dtype}")
        return _Tensor(tensor.value, dtype)

    # Models -----------------------------------------------------------------------------------------------------------

    def _model(
        self, model: Model, weights: Weights, prefix: str, inputs: Sequence[Value], training: bool
    ) -> list[tuple[str, Value]]:
        """The model's tensors by its outputs' names, computed from its inputs.

        ``training`` is the argument of the model's call, which applies to all its layers.
        """
        if model.sequential:
            return self._sequential(model, weights, prefix, inputs, training)
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
                made[layer.name, i] = self._call(layer, call, weights, prefix, made, training)
        return [(name, self._made(ref, made, layers)) for name, ref in model.outputs]

    def _sequential(
        self, model: Model, weights: Weights, prefix: str, inputs: Sequence[Value], training: bool
    ) -> list[tuple[str, Value]]:
        values = list(inputs)
        for layer in model.layers:
            if layer.class_name != "InputLayer":
                refs = [Ref("", 0, i) for i in range(len(values))]
                call = Call(refs if len(refs) == 1 else [refs], {})
                values = self._call(layer, call, weights, prefix, {("", 0): values}, training)
        return [(model.layers[-1].name, value) for value in values]

    def _made(self, ref: Ref, made: Mapping[tuple[str, int], list[Value]], known: Mapping[str, Layer]) -> Value:
        values = made.get((ref.layer, ref.call))
        if values == [_UNKNOWN]:
            return _UNKNOWN
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
        training: bool,
    ) -> list[Value]:
        self._calls += 1
        if self._calls > _MOST_CALLS:
            raise self._place.spec_error(f"calls layers more than {_MOST_CALLS} times")
        path = f"{prefix}{layer.name}"
        training = training or is_training(call)
        try:
            if layer.model is not None:
                return self._nested(layer, layer.model, call, weights, path, made, training)
            if layer.inner is not None:
                return [self._wrapped(layer, layer.inner, call, weights, path, made, training)]
            if layer.function:
                return self._function(layer, call, path, made)
            translate = self._translation(layer, training)
            arguments, given = of_layer(layer.class_name, call)
            operands = [self._made(ref, made, {}) for ref in arguments]
            return self._layer(layer, translate, weights, path, operands, given)
        except Unsupported as error:
            self._problem(path, layer.class_name, error)
            # A layer returns one tensor, a model as many as it declares; for a function the number does not matter.
            return [_UNKNOWN] * max(1, len(layer.model.outputs) if layer.model else 1)

    def _nested(
        self,
        layer: Layer,
        model: Model,
        call: Call,
        weights: Weights,
        path: str,
        made: Mapping[tuple[str, int], list[Value]],
        training: bool,
    ) -> list[Value]:
        if model.origin is Origin.OWN:
            raise Unsupported(OWN)
        values = [self._made(ref, made, {}) for ref in of_model(model, call)]
        if not model.sequential and len(values) != len(model.inputs):
            raise self._place.spec_error(
                f"model {show(model.name)} has {len(model.inputs)} inputs but is given {len(values)}"
            )
        values = [self._given(*pair) for pair in zip(_input_layers(model), values, strict=False)]
        inner = weights.nested(layer.name, layer.group, Place(self._place.file, f"layer {show(path)}"))
        return [value for _, value in self._model(model, inner, f"{path}/", values, training)]

    def _wrapped(
        self,
        layer: Layer,
        inner: Layer,
        call: Call,
        weights: Weights,
        path: str,
        made: Mapping[tuple[str, int], list[Value]],
        training: bool,
    ) -> Value:
        """The inner layer of a wrapper.  TimeDistributed calls its layer for each step as if steps were samples."""
        refs, _ = of_layer(layer.class_name, call)
        tensor = self._made(refs[0], made, {})
        if len(refs) > 1:
            raise Unsupported(f"{len(refs)} tensors")
        if training and layer.class_name in _DIFFER_IN_TRAINING:
            raise Unsupported("training = true")
        check_layer(layer, self._document)
        place = Place(self._place.file, f"layer {show(path)}")
        options = Options(place, layer.config)
        options.pass_over("layer", "power_iterations")
        options.refuse_unread()
        if tensor is None:
            return _UNKNOWN
        site = Site(self._document, legal_layer(path), options, [tensor.value], _no_arrays, self._major, self._first)
        steps = layer.class_name == "TimeDistributed"
        shape = site.full_shape(tensor.value)
        if steps:
            if len(shape) < 3:
                raise Unsupported(f"a tensor with {len(shape)} axes")
            tensor = _Tensor(site.reshape(tensor.value, [shape[0] * shape[1], *shape[2:]], "steps"), tensor.dtype)
        own = weights.wrapped(layer.name, layer.group, place)
        one = Call([Ref("", 0, 0)], {})
        (result, *others) = self._call(inner, one, own, f"{path}/", {("", 0): [tensor]}, training)
        if others:
            raise Unsupported("a model of several outputs")
        if result is None or not steps:
            return result
        rest = site.full_shape(result.value)[1:]
        return _Tensor(site.reshape(result.value, [*shape[:2], *rest], "joined"), result.dtype)

    def _translation(self, layer: Layer, training: bool) -> Translation | None:
        """The translation of a layer; None for a layer that does nothing."""
        class_name = layer.class_name
        if layer.origin is Origin.OWN:
            raise Unsupported(OWN)
        inert = {**NOTHING_TO_DO, **AUGMENTATIONS}
        if class_name not in LAYERS and class_name not in inert:
            raise Unsupported("code of its own, which is never run" if class_name == "Lambda" else "")
        # Keras 3 writes the default of augmentations, training = true, into each call, and predict() overrides it.
        if training and (class_name in _DIFFER_IN_TRAINING or (class_name in AUGMENTATIONS and self._major < 3)):
            raise Unsupported("training = true")
        return LAYERS.get(class_name)

    def _function(
        self, layer: Layer, call: Call, path: str, made: Mapping[tuple[str, int], list[Value]]
    ) -> list[Value]:
        if layer.origin is Origin.OWN:
            raise Unsupported(OWN)
        function = OPERATIONS.get(layer.function)
        if function is None:
            raise Unsupported(f"function {show(layer.function)}" if layer.class_name != layer.function else "")
        arguments, given = of_function(call, function.operands, function.options)
        tensors = {ref: self._made(ref, made, {}) for ref in refs_in(arguments)}
        known = [tensor for tensor in tensors.values() if tensor is not None]
        if len(known) != len(tensors):
            return [_UNKNOWN]
        if layer.class_name != layer.function:
            check_layer(layer, self._document)  # a layer, or a function of Keras 2, which is a layer too
        values = {ref: tensor.value for ref, tensor in tensors.items() if tensor is not None}
        operands = [_operand(argument, values) for argument in arguments]
        site = self._site(layer, path, operands, known, given, _no_arrays)
        site.options.pass_over("function")
        dtype = function.type_rule(operands, site.types, site.options)
        return self._translated(site, function.translate, dtype)

    def _layer(
        self,
        layer: Layer,
        translate: Translation | None,
        weights: Weights,
        path: str,
        operands: Sequence[Value],
        given: Mapping[str, Any],
    ) -> list[Value]:
        tensors = [operand for operand in operands if operand is not None]
        check_layer(layer, self._document)

        def arrays(words: Sequence[str]) -> Mapping[str, Any]:
            group, owner = self._locations.of(layer, weights)
            return group.read(owner.name, owner.group, words, Place(self._place.file, f"layer {show(path)}"))

        site = self._site(layer, path, [tensor.value for tensor in tensors], tensors, given, arrays)
        if translate is None:
            site.options.pass_over(*{**NOTHING_TO_DO, **AUGMENTATIONS}[layer.class_name])
        if len(tensors) != len(operands):
            return [_UNKNOWN]
        dtype = result_type(layer, [tensor.dtype for tensor in tensors])
        return self._translated(site, translate or _unchanged, dtype)

    def _site(
        self,
        layer: Layer,
        path: str,
        operands: Sequence[Operand],
        tensors: Sequence[_Tensor],
        given: Mapping[str, Any],
        arrays: Callable[[Sequence[str]], Mapping[str, Any]],
    ) -> Site:
        place = Place(self._place.file, f"layer {show(path)}")
        twice = [key for key, value in given.items() if value is not None and layer.config.get(key) is not None]
        if twice and twice != ["name"]:
            raise Unsupported(f"two arguments {show(twice[0])}")
        options = Options(place, {**layer.config, **given})
        types = {tensor.value: tensor.dtype for tensor in tensors}
        return Site(self._document, legal_layer(path), options, operands, arrays, self._major, self._first, types)

    def _translated(self, site: Site, translate: Translation, dtype: str) -> list[Value]:
        place = site.options.place
        try:
            made = translate(site)
        except SpecError as error:
            # Errors of the spec's own rules do not name the model's layer.
            text = str(error)
            raise error if place.file in text else place.spec_error(text) from error
        site.options.refuse_unread()
        if isinstance(made, str):
            return [_Tensor(made, dtype)]
        return [_Tensor(value, dtype) for value in made]


def _unchanged(site: Site) -> str:
    return site.input


def _no_arrays(words: Sequence[str]) -> Mapping[str, Any]:
    return {}


def _operand(argument: Argument, values: Mapping[Ref, str]) -> Operand:
    if isinstance(argument, Ref):
        return values[argument]
    return [_operand(item, values) for item in argument] if isinstance(argument, list) else argument


def _key(layer: str, call: int) -> str:
    return f"{call}:{layer}"


def _declared_inputs(model: Model) -> list[tuple[str, list[Any] | None]]:
    """Names and shapes of inputs; a shape is None, or has None for axes, where the model leaves it open."""
    layers = {layer.name: layer for layer in model.layers}
    if not model.sequential:
        return [(name, _shape_of(layers.get(ref.layer))) for name, ref in model.inputs]
    first = model.layers[0]
    if first.class_name == "InputLayer":
        return [(first.name, _shape_of(first))]
    if first.model is not None:
        return _declared_inputs(first.model)
    return [(f"{first.name}_input", _shape_of(first))]


def _input_layers(model: Model) -> list[Layer | None]:
    """The InputLayer of each input, None if it has none."""
    layers = {layer.name: layer for layer in model.layers}
    if not model.sequential:
        return [layers.get(ref.layer) for _, ref in model.inputs]
    first = model.layers[0]
    return _input_layers(first.model) if first.model is not None else [first]


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
    """True if the network's channels come first; all layers must agree."""
    formats = set(_formats(model))
    if len(formats) > 1:
        raise place.spec_error("has layers with data_format channels_first and others with channels_last")
    return formats == {"channels_first"}


def _formats(model: Model) -> Iterator[str]:
    for layer in leaves(model):
        option = layer.config.get("data_format")
        if layer.class_name in LAYERS and layer.class_name != "Flatten" and isinstance(option, str):
            yield option
