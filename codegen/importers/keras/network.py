"""A model's configuration as values: layers, nested models, and the tensors that each call reads.

Keras 2 writes a call as ``[["conv", 0, 0, {}], ...]``, Keras 3 as ``{"args": ..., "kwargs": ...}`` with the tensors
``{"class_name": "__keras_tensor__", "config": {"keras_history": ["conv", 0, 0]}}`` in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from codegen.frontend.spec.place import Place, show
from codegen.importers.keras.options import Options, Unsupported
from codegen.importers.keras.weights import snake_case

MODELS = ("Functional", "Model", "Sequential")
_DEEPEST = 16  # levels of nested models
_WRAPPERS = ("TimeDistributed", "SpectralNormalization")  # layers that hold another layer
_CONSTANT = "_CONSTANT_VALUE"  # Keras 2: stands for a number instead of a layer
_OP_LAMBDAS = ("TFOpLambda", "SlicingOpLambda")  # Keras 2: functions of TensorFlow

# Keys that the table of a layer or model may have besides "class_name" and "config".  "compile_config" is for training,
# "build_config" has the shape of the input.
_KEYS = frozenset(
    {"module", "registered_name", "class_name", "config", "build_config", "compile_config"}
    | {"name", "inbound_nodes", "shared_object_id"}
)
_MODEL_KEYS = ("layers", "input_layers", "output_layers", "build_input_shape")


class Origin(Enum):
    """The author of a layer's class, as the file states it."""

    KERAS = "keras"
    OWN = "own"  # by the user, or by a package other than Keras
    UNSAID = "unsaid"  # .h5 files only give the name of the class


@dataclass(frozen=True)
class Ref:
    """A result of call number ``call`` of a layer; ``tensor`` is the index among several results."""

    layer: str
    call: int
    tensor: int


@dataclass(frozen=True)
class Call:
    """The arguments of a call, with Refs for tensors.

    ``flat``: the file has all tensors in one list, however they were passed.
    """

    args: Any
    kwargs: Mapping[str, Any]
    flat: bool = False


@dataclass(frozen=True)
class Layer:
    """A layer, or a function in the place of a layer.

    ``group`` is its name in .keras files: its class, and the number of siblings of that class before it.  ``function``
    is the name of a function in the place of a layer (``a + b``), "" for layers.  Layers with the same ``shared`` are
    one object, whose arrays the file has once.  ``inner`` is the layer that a wrapper holds.
    """

    name: str
    class_name: str
    origin: Origin
    function: str
    shared: int | None
    group: str
    config: Mapping[str, Any]
    build: Mapping[str, Any]
    calls: tuple[Call, ...]
    model: Model | None
    inner: Layer | None = None


@dataclass(frozen=True)
class Model:
    """A model: ``inputs`` and ``outputs`` are pairs of the user's name and the tensor.

    Entries of a dict are in the order of its sorted keys, as Keras counts them.  ``keyed``: the inputs are a dict.
    """

    name: str
    origin: Origin
    sequential: bool
    keyed: bool
    layers: tuple[Layer, ...]
    inputs: tuple[tuple[str, Ref], ...]
    outputs: tuple[tuple[str, Ref], ...]


def read_model(table: Any, place: Place, depth: int = 0) -> Model:
    """Reads a model from ``{"class_name": ..., "config": ...}``."""
    if depth > _DEEPEST:
        raise place.spec_error(f"has models nested more than {_DEEPEST} deep")
    table = _mapping(table, place)
    class_name = table.get("class_name")
    if class_name not in MODELS:
        raise place.spec_error(
            f"is a model of class {show(class_name)}; only Sequential and functional models say how they compute. "
            "Build a functional model of the same layers, load the weights and save that"
        )
    config = table.get("config")
    if class_name == "Sequential" and isinstance(config, list):
        config = {"layers": config}  # before Keras 2.2
    config = _mapping(config, place.key("config"))
    _refuse_unknown(table, config, place)
    origin = origin_of(table)
    listed = config.get("layers")
    if not isinstance(listed, list) or not listed:
        raise place.key("config").key("layers").spec_error("should be a list of layers")
    layers: list[Layer] = []
    seen: Counter[str] = Counter()
    for i, item in enumerate(listed):
        layer = _layer(item, place, i, seen, depth)
        if any(layer.name == other.name for other in layers):
            raise place.spec_error(f"has two layers named {show(layer.name)}")
        layers.append(layer)
    name = config.get("name")
    name = name if isinstance(name, str) and name else "model"
    if class_name == "Sequential":
        return Model(name, origin, True, False, tuple(layers), (), ())
    inputs, outputs = (_ports(config.get(key), place.key(key)) for key in ("input_layers", "output_layers"))
    keyed = isinstance(config.get("input_layers"), Mapping)
    return _counted_from_zero(Model(name, origin, False, keyed, tuple(layers), inputs, outputs))


def _refuse_unknown(table: Mapping[str, Any], config: Mapping[str, Any], place: Place) -> None:
    """Raises SpecError for a key of a model whose meaning is unknown."""
    unknown = [key for key in table if key not in _KEYS and table[key] is not None]
    if unknown:
        raise place.spec_error(f"has the key {show(unknown[0])}, which is not known")
    options = Options(place.key("config"), config)
    options.pass_over(*_MODEL_KEYS)
    try:
        options.refuse_unread()
    except Unsupported as error:
        raise place.key("config").spec_error(f"has {error}") from None


def origin_of(table: Mapping[str, Any]) -> Origin:
    """The author of a serialized object's class.  Keras 3 writes null as the module of the user's script."""
    if ">" in str(table.get("class_name")) or ">" in str(table.get("registered_name")):
        return Origin.OWN  # "package>Name", under which the user registered the class
    if "module" not in table:
        return Origin.UNSAID
    module = table["module"]
    return Origin.KERAS if isinstance(module, str) and module.split(".")[0] in ("keras", "tf_keras") else Origin.OWN


def _function(table: Mapping[str, Any], config: Mapping[str, Any], origin: Origin) -> str:
    """The function's name, "" for layers and models."""
    class_name = str(table["class_name"])
    if class_name in _OP_LAMBDAS:
        function = config.get("function")
        return function if isinstance(function, str) else class_name
    if origin is Origin.KERAS:
        return class_name if ".ops." in f"{table['module']}." else ""
    # Keras 3 writes no module into .h5 either, but every layer has the key "trainable", and no function does.
    layer = origin is Origin.OWN or "trainable" in config or class_name in ("InputLayer", *MODELS)
    return "" if layer else class_name


def _counted_from_zero(model: Model) -> Model:
    """The model with the calls of nested models counted from zero.

    Keras counts the construction of a model as its call 0 in some places: Keras 2 in every reference, Keras 3 only in
    output_layers, and not for Sequential.  A file contains only needed calls, so the least number shows the convention.
    """
    refs = [ref for layer in model.layers for call in layer.calls for ref in refs_of(call)]
    refs += [ref for _, ref in model.outputs]
    old: dict[str, int] = {}
    new: dict[str, int] = {}
    for layer in model.layers:
        if layer.model is not None and layer.calls:
            counts = [ref.call for ref in refs if ref.layer == layer.name]
            if all(call.flat for call in layer.calls):
                old[layer.name] = int(bool(counts) and min(counts) > 0)
            elif not layer.model.sequential:
                new[layer.name] = 1

    def moved(value: Any) -> Any:
        if isinstance(value, Ref):
            return replace(value, call=value.call - old.get(value.layer, 0))
        if isinstance(value, list):
            return [moved(item) for item in value]
        if isinstance(value, Mapping):
            return {key: moved(item) for key, item in value.items()}
        return value

    def of_output(ref: Ref) -> Ref:
        ref = moved(ref)
        return replace(ref, call=max(ref.call - new.get(ref.layer, 0), 0))

    layers = [
        replace(layer, calls=tuple(Call(moved(call.args), moved(call.kwargs), call.flat) for call in layer.calls))
        for layer in model.layers
    ]
    outputs = tuple((name, of_output(ref)) for name, ref in model.outputs)
    return replace(model, layers=tuple(layers), outputs=outputs)


def walk(value: Any) -> Iterator[Any]:
    """The items of nested lists and tables, in Keras' order: tables in the order of their sorted keys."""
    if isinstance(value, list):
        for item in value:
            yield from walk(item)
    elif isinstance(value, Mapping):
        for key in sorted(value, key=str):
            yield from walk(value[key])
    else:
        yield value


def leaves(model: Model) -> Iterator[Layer]:
    """All layers that compute, including those of nested models, and a wrapper's inner layer in its place."""
    for layer in model.layers:
        yield from _within(layer)


def _within(layer: Layer) -> Iterator[Layer]:
    if layer.model is not None:
        yield from leaves(layer.model)
    elif layer.inner is not None:
        yield from _within(layer.inner)
    else:
        yield layer


def refs_of(call: Call) -> list[Ref]:
    """The tensors that a call reads."""
    return [item for item in walk([call.args, list(call.kwargs.values())]) if isinstance(item, Ref)]


def _layer(item: Any, place: Place, i: int, seen: Counter[str], depth: int) -> Layer:
    item = _mapping(item, place.key(f"layers[{i}]"))
    class_name, config = item.get("class_name"), item.get("config")
    at = place.key(f"layers[{i}]")
    if not isinstance(class_name, str) or not class_name:
        raise at.spec_error("has no class_name")
    nested = class_name in MODELS
    inner = {} if nested and isinstance(config, list) else _mapping(config, at.key("config"))
    unknown = [key for key in item if key not in _KEYS and item[key] is not None]
    if unknown:
        raise at.spec_error(f"has the key {show(unknown[0])}, which is not known")
    name = item.get("name", inner.get("name"))
    if not isinstance(name, str) or not name:
        raise at.spec_error("has no name")
    at = Place(place.file, f"layer {show(name)}")
    kind = snake_case(class_name)
    group = f"{kind}_{seen[kind]}" if seen[kind] else kind
    seen[kind] += 1
    nodes = item.get("inbound_nodes", [])
    if not isinstance(nodes, list):
        raise at.key("inbound_nodes").spec_error("should be a list")
    calls = tuple(_call(node, at.key("inbound_nodes")) for node in nodes)
    build = item.get("build_config")
    model = read_model(item, at, depth + 1) if nested else None
    origin, shared = origin_of(item), item.get("shared_object_id")
    if depth > _DEEPEST:
        raise at.spec_error(f"has layers nested more than {_DEEPEST} deep")
    wrapped = class_name in _WRAPPERS and origin is not Origin.OWN
    inner_layer = _layer(inner.get("layer"), at.key("layer"), 0, Counter(), depth + 1) if wrapped else None
    return Layer(
        name,
        class_name,
        origin,
        _function(item, inner, origin),
        shared if isinstance(shared, int) else None,
        group,
        inner,
        build if isinstance(build, Mapping) else {},
        calls,
        model,
        inner_layer,
    )


def _call(node: Any, place: Place) -> Call:
    if isinstance(node, Mapping) and not {"args", "kwargs"}.isdisjoint(node):
        unknown = [key for key in node if key not in ("args", "kwargs")]
        if unknown:
            raise place.spec_error(f"has the key {show(unknown[0])}, which is not known")
        return Call(_tensors(node.get("args", []), place), _mapping(_tensors(node.get("kwargs", {}), place), place))
    if not isinstance(node, (list, Mapping)):
        raise place.spec_error(f"{show(node)} should be a list or a table")
    kwargs: dict[str, Any] = {}

    def argument(value: Any) -> Any:
        if not _is_old_ref(value):
            raise place.spec_error(f"{show(value)} should be a layer, the number of its call and that of the tensor")
        more = _mapping(value[3], place) if len(value) > 3 and value[3] is not None else {}
        kwargs.update({key: _old_tensors(item) for key, item in more.items()})
        return value[2] if value[0] == _CONSTANT else Ref(*value[:3])

    args: Any
    if isinstance(node, Mapping):
        args = [{key: argument(value) for key, value in node.items()}]
    else:
        args = [argument(value) for value in ([node] if _is_old_ref(node) else node)]
    return Call(args, kwargs, flat=True)


def _tensors(value: Any, place: Place, depth: int = 0) -> Any:
    if depth > _DEEPEST:
        raise place.spec_error("has arguments nested too deeply")
    if isinstance(value, list):
        return [_tensors(item, place, depth + 1) for item in value]
    if not isinstance(value, Mapping):
        return value
    if value.get("class_name") == "__keras_tensor__":
        config = value.get("config")
        history = config.get("keras_history") if isinstance(config, Mapping) else None
        if not isinstance(history, list) or not _is_old_ref(history):
            raise place.spec_error(f"keras_history {show(history)} should be a layer and two numbers")
        return Ref(*history[:3])
    return {key: _tensors(item, place, depth + 1) for key, item in value.items()}


def _old_tensors(value: Any) -> Any:
    if _is_old_ref(value):
        return value[2] if value[0] == _CONSTANT else Ref(*value[:3])
    return value


def _is_old_ref(value: Any) -> bool:
    """True for ["conv", 0, 0], with or without a table of keyword arguments after it."""
    if not isinstance(value, list) or len(value) not in (3, 4) or not isinstance(value[0], str):
        return False
    if value[0] == _CONSTANT:
        return True
    return all(isinstance(n, int) and not isinstance(n, bool) for n in value[1:3])


def _ports(value: Any, place: Place) -> tuple[tuple[str, Ref], ...]:
    """The user's name of an input or output: the key of a dict, else the layer's name."""
    found = tuple(_walk_ports(value, "", place, 0))
    if not found:
        raise place.spec_error("should name at least one layer")
    return found


def _walk_ports(value: Any, name: str, place: Place, depth: int) -> Iterator[tuple[str, Ref]]:
    if _is_old_ref(value):
        yield name or value[0], Ref(*value[:3])
    elif isinstance(value, list) and depth < _DEEPEST:
        for item in value:
            yield from _walk_ports(item, name, place, depth + 1)
    elif isinstance(value, Mapping) and depth < _DEEPEST:
        for key in sorted(value, key=str):
            yield from _walk_ports(value[key], str(key), place, depth + 1)
    else:
        raise place.spec_error(f"{show(value)} should be a layer, the number of its call and that of the tensor")


def _mapping(value: Any, place: Place) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise place.spec_error(f"{show(value)} should be a table")
    return value
