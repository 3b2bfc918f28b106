"""TOML tables -> a checked spec: every key known, every name valid, layers in order of computation."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from codegen.frontend.operators import batch_norm
from codegen.frontend.operators.activation import ACTIVATION, read_activation
from codegen.frontend.operators.layer import Operator
from codegen.frontend.operators.operators import OPERATORS
from codegen.frontend.operators.weights import MODEL_LAYOUTS
from codegen.frontend.spec import naming
from codegen.frontend.spec.order import cycle, in_order, needed
from codegen.frontend.spec.place import Place, known, listed, show, suggestion
from codegen.frontend.spec.reader import Document, many_tables, one_table, read_table, unknown_key
from codegen.frontend.spec.value_types import PATH, TEXT, Key, Keys, choice, interval, table, texts, whole, wholes
from codegen.graph.graph import Input, Range
from codegen.graph.ops import Shape
from codegen.graph.types import FLOAT32, TYPES, is_whole, limits

MAX_ELEMENTS = 2**31 - 1  # elements of a tensor, so that OpenCL C's int can index it
MOST_SIZES = 5  # axes of an input, without the batch

LAYOUTS = ("NCHW", "NHWC")
BACKENDS = ("opencl", "c")
BACKENDS_OF_A_FOLDER = (*BACKENDS, "opencl,c")

MODEL_KEYS: Keys = {
    "name": Key(TEXT, "A C identifier: the prefix of all symbols, and the name of files and folder.", required=True),
    "weights": Key(PATH, ".safetensors, .npz, .pt, .pth, .bin or .ckpt file, relative to the spec's folder."),
    "weights_key": Key(
        TEXT,
        "The keys that lead to the weights, joined by dots, in a file with several sets of them: state_dict_ema.",
    ),
    "batch": Key(whole(1), "Samples in one run.", 1),
    "weight_layout": Key(
        choice(*MODEL_LAYOUTS),
        "Order of the axes of all weights: OIHW is that of PyTorch and ONNX, HWIO that of Keras.",
        "OIHW",
    ),
    "backend": Key(
        choice(*BACKENDS_OF_A_FOLDER),
        "opencl: the kernels run by an OpenCL driver. c: they are plain C, which needs none. opencl,c: both are there.",
        BACKENDS[0],
    ),
}

INPUT_KEYS: Keys = {
    "name": Key(TEXT, "A C identifier.", required=True),
    "shape": Key(
        wholes(f"a list of 1 to {MOST_SIZES} sizes without the batch, such as [3, 224, 224]", 1, MOST_SIZES),
        "Sizes without the batch, in the order that layout says; either this or full_shape.",
    ),
    "full_shape": Key(
        wholes(f"a list of 1 to {1 + MOST_SIZES} sizes, such as [1, 3, 224, 224]", 1, 1 + MOST_SIZES),
        "All sizes, for an input whose batch is not that of [model], or that has none.",
    ),
    "layout": Key(choice(*LAYOUTS), "NCHW: channels first. NHWC: channels last.", "NCHW"),
    "range": Key(
        interval(),
        "The least and the largest number that the input may hold. Default: a range that gives finite outputs.",
    ),
    "type": Key(choice(*TYPES), "Type of the application's numbers; bool is a byte.", FLOAT32),
    "original": Key(TEXT, "The input's name in the model that the spec was imported from, if it differs."),
}

CONSTANT_KEYS: Keys = {
    "name": Key(TEXT, "Letters, digits, underscores, dots and hyphens.", required=True),
    "tensor": Key(TEXT, "Name of the tensor, whose shape includes the batch. Default: the constant's own name."),
    "layout": Key(choice(*LAYOUTS), "NCHW: channels, if any, after the first axis. NHWC: channels last.", "NCHW"),
}

OUTPUT_KEYS: Keys = {
    "name": Key(TEXT, "A C identifier.", required=True),
    "from": Key(TEXT, "The layer, input or constant whose value it is. Default: the one of the output's name."),
    "layout": Key(
        choice(*LAYOUTS),
        "NCHW: channels first. NHWC: channels last. Default: NHWC if all inputs with spatial axes are NHWC.",
    ),
    "type": Key(
        choice(*TYPES), "Type of the application's numbers: results are truncated to integers, bool is a byte.", FLOAT32
    ),
    "original": Key(TEXT, "The output's name in the model that the spec was imported from, if it differs."),
}

EXAMPLE_KEYS: Keys = {
    "data": Key(PATH, ".safetensors or .npz file, relative to the spec's folder.", required=True),
    "image": Key(TEXT, "Tensor [count, ...] in the shape and layout of the only input.", "image"),
    "label": Key(TEXT, "Tensor [count] of integers: the classes.", "label"),
}

LAYER_KEYS: Keys = {
    "name": Key(TEXT, "Letters, digits, underscores, dots and hyphens.", required=True),
    "op": Key(TEXT, "The operator.", required=True),
    "batch_norm": Key(
        table("a table such as { epsilon = 1e-5 }", "attached_batch_norm"), "BatchNorm after the operator."
    ),
    "activation": Key(ACTIVATION, "Activation after operator and BatchNorm."),
    "original": Key(TEXT, "The node's name in the model that the spec was imported from, if it differs."),
}

DOCUMENT_TABLES = ("model", "input", "constant", "layer", "output", "example")

_OP_SYNONYMS = {
    "avgpool": "average_pool",
    "avg_pool": "average_pool",
    "batchnormalization": "batch_norm",
    "adaptiveavgpool": "global_average_pool",
    "adaptivemaxpool": "global_max_pool",
    "averagepool": "average_pool",
    "averagepooling": "average_pool",
    "batchnorm": "batch_norm",
    "bn": "batch_norm",
    "cat": "concat",
    "concatenate": "concat",
    "convolution": "conv",
    "convtranspose": "conv_transpose",
    "deconv": "conv_transpose",
    "deconvolution": "conv_transpose",
    "depthwiseconv": "depthwise_conv",
    "fc": "dense",
    "fully_connected": "dense",
    "gap": "global_average_pool",
    "globalaveragepool": "global_average_pool",
    "globalaveragepooling": "global_average_pool",
    "globalmaxpool": "global_max_pool",
    "globalmaxpooling": "global_max_pool",
    "gemm": "dense",
    "linear": "dense",
    "matmul": "dense",
    "maxpooling": "max_pool",
    "multiply": "mul",
    "permute": "transpose",
    "resize": "upsample",
    "subtract": "sub",
    "upsampling": "upsample",
    "view": "reshape",
    "zeropadding": "pad",
}
_NOTHING_TO_DO = ("dropout", "identity", "noop")


@dataclass(frozen=True)
class ModelTable:
    name: str
    weights: str | None
    weights_key: str | None
    batch: int
    weight_layout: str
    backend: str


@dataclass(frozen=True)
class Attached:
    """A BatchNorm or an activation that is attached to an operator."""

    operator: Operator
    options: Mapping[str, Any]


@dataclass(frozen=True)
class LayerTable:
    """A layer's table; ``options`` are the keys of the operator itself, ``original`` is "" if the spec has none."""

    name: str
    place: Place
    operator: Operator
    options: Mapping[str, Any]
    inputs: tuple[str, ...]
    batch_norm: Attached | None
    activation: Attached | None
    original: str


@dataclass(frozen=True)
class OutputTable:
    """An output's table; ``layout`` is None if the spec has none."""

    name: str
    value: str
    layout: str | None
    type: str
    original: str


@dataclass(frozen=True)
class ConstantTable:
    """A constant's table; ``tensor`` names the array in the weights file."""

    name: str
    place: Place
    tensor: str
    channels_last: bool


@dataclass(frozen=True)
class ExampleTable:
    data: str
    image: str
    label: str


@dataclass(frozen=True)
class Spec:
    """The contents of a TOML file; ``layers`` are in order of computation, each needed for an output.

    ``lines`` has the line of each layer's header by name; it is empty if layers are written without headers.
    """

    place: Place
    model: ModelTable
    inputs: tuple[Input, ...]
    constants: tuple[ConstantTable, ...]
    layers: tuple[LayerTable, ...]
    outputs: tuple[OutputTable, ...]
    example: ExampleTable | None
    lines: Mapping[str, int]


def read_spec(document: Document) -> Spec:
    tables, place = document.tables, document.place
    for name in tables:
        if name not in DOCUMENT_TABLES:
            raise unknown_key(name, DOCUMENT_TABLES, place)
    model = _model(tables, place)
    inputs = _inputs(tables, model, place)
    constants = _constants(tables, inputs, place)
    sources = [*(i.name for i in inputs), *(constant.name for constant in constants)]
    layers = _layers(tables, inputs, sources, place)
    outputs = _outputs(tables, model, inputs, [*sources, *(layer.name for layer in layers)], place)
    ordered = _ordered(layers, inputs, constants, outputs, place)
    lines = dict(zip((layer.name for layer in layers), document.lines("layer"), strict=False))
    return Spec(place, model, inputs, constants, ordered, outputs, _example(tables, place), lines)


def layer_keys(operator: Operator) -> Keys:
    """All keys that a layer of this operator may have."""
    least, most = operator.least, operator.most
    if least == 1 and most is not None:
        count = "one name" if most == 1 else f"1 to {most} names"
        several = {
            "input": Key(
                TEXT, "The layer, input or constant that the layer reads. Default: the layer before, or the only input."
            ),
            "inputs": Key(texts(f"a list of {count}", 1, most), "The same as a list of names."),
        }
    else:
        count = f"{least}" if least == most else f"{least} or more"
        several = {
            "inputs": Key(
                texts(f"a list of {count} names", least, most),
                "The layers, inputs or constants that the layer reads.",
                required=True,
            )
        }
    return {"name": LAYER_KEYS["name"], "op": LAYER_KEYS["op"], **several, **operator.keys, **_COMMON_KEYS}


_COMMON_KEYS = {name: LAYER_KEYS[name] for name in ("batch_norm", "activation", "original")}


def _model(tables: Mapping[str, Any], place: Place) -> ModelTable:
    if "model" not in tables:
        raise place.spec_error("has no [model] table")
    at = Place(place.file, "model")
    read = read_table(one_table(tables, "model", place), MODEL_KEYS, at)
    _check_name(naming.model_fault(read["name"]), at)
    return ModelTable(**read)


def _inputs(tables: Mapping[str, Any], model: ModelTable, place: Place) -> tuple[Input, ...]:
    inputs: list[Input] = []
    taken, own = _Taken(), set[str]()
    for at, value in _named_tables(tables, "input", place):
        read = read_table(value, INPUT_KEYS, at)
        name = read["name"]
        _check_name(naming.port_fault(name, model.name), at)
        taken.add(name, at)
        key = "shape" if read["full_shape"] is None else "full_shape"
        if (read["shape"] is None) == (read["full_shape"] is None):
            raise at.spec_error("should have one of shape and full_shape")
        batch, shape = ((model.batch,), read["shape"]) if key == "shape" else (read[key][:1], read[key][1:])
        last = read["layout"] == "NHWC" and len(shape) > 1
        whole_shape = (*batch, shape[-1], *shape[:-1]) if last else (*batch, *shape)
        check_size(whole_shape, at.key(key))
        _check_range(read["range"], read["type"], at.key("range"))
        inputs.append(Input(name, whole_shape, last, read["range"], read["type"], _original(read, own, at)))
    return tuple(inputs)


def _original(read: Mapping[str, Any], own: set[str], at: Place) -> str:
    """The key ``original``, "" if it equals the name; ``own`` are such names of earlier inputs or outputs."""
    name = read["original"] or read["name"]
    if name in own:
        raise at.key("original" if read["original"] else "name").spec_error(
            f"{show(name)} is used twice; the names in a model must differ"
        )
    own.add(name)
    return "" if name == read["name"] else str(name)


def _check_range(chosen: Range | None, kind: str, at: Place) -> None:
    if chosen is None:
        return
    low, high = limits(kind)
    if chosen[0] < np.float32(low) or chosen[1] > np.float32(high):
        raise at.spec_error(f"{show(list(chosen))} should be within {kind}, from {low} to {high}")
    if is_whole(kind) and not all(end.is_integer() for end in chosen):
        raise at.spec_error(f"{show(list(chosen))} should be two whole numbers for {kind}")


def _constants(tables: Mapping[str, Any], inputs: tuple[Input, ...], place: Place) -> tuple[ConstantTable, ...]:
    if "constant" not in tables:
        return ()
    constants: list[ConstantTable] = []
    taken = _Taken(i.name for i in inputs)
    for at, value in _named_tables(tables, "constant", place):
        read = read_table(value, CONSTANT_KEYS, at)
        name = read["name"]
        _check_name(naming.layer_fault(name), at)
        taken.add(name, at)
        constants.append(ConstantTable(name, at, read["tensor"] or name, read["layout"] == "NHWC"))
    return tuple(constants)


def _layers(
    tables: Mapping[str, Any], inputs: tuple[Input, ...], sources: Sequence[str], place: Place
) -> list[LayerTable]:
    """The layers' tables, checked; ``sources`` are the names of inputs and constants."""
    layers: list[LayerTable] = []
    before = inputs[0].name if len(inputs) == 1 else None
    taken = _Taken(sources)
    for at, value in _named_tables(tables, "layer", place):
        layer = _layer(value, before, at)
        taken.add(layer.name, at)
        layers.append(layer)
        before = layer.name
    known = {*sources, *(layer.name for layer in layers)}
    for layer in layers:
        for i, name in enumerate(layer.inputs):
            if name not in known:
                key = layer.place.key("input" if len(layer.inputs) == 1 else f"inputs[{i}]")
                raise key.spec_error(f"{show(name)} is neither a layer nor an input{suggestion(name, sorted(known))}")
    return layers


def _layer(value: Mapping[str, Any], before: str | None, place: Place) -> LayerTable:
    for name in ("name", "op"):
        if name in value:
            TEXT.read(value[name], place.key(name))
        else:
            raise place.key(name).spec_error("is missing")
    _check_name(naming.layer_fault(value["name"]), place)
    operator = _operator(value["op"], place.key("op"))
    read = read_table(value, layer_keys(operator), place)
    attached: dict[str, Attached | None] = {"batch_norm": None, "activation": None}
    if read["batch_norm"] is not None:
        options = read_table(read["batch_norm"], batch_norm.KEYS, place.key("batch_norm"))
        attached["batch_norm"] = Attached(OPERATORS["batch_norm"], options)
    if read["activation"] is not None:
        attached["activation"] = Attached(*read_activation(read["activation"], place.key("activation")))
    options = {name: read[name] for name in operator.keys}
    original = read["original"] or ""
    return LayerTable(
        value["name"], place, operator, options, _read_inputs(read, before, place), **attached, original=original
    )


def _operator(op: str, place: Place) -> Operator:
    if op in OPERATORS:
        return OPERATORS[op]
    if op.lower() in _NOTHING_TO_DO:
        raise place.spec_error(f"{show(op)} does nothing in inference: leave the layer out")
    # Frameworks' names include the number of spatial axes: Conv2d, MaxPooling2D.
    plain = re.sub(r"_?[123]d(?=transpose|$)", "", op.lower())
    near = suggestion(op, OPERATORS, {op.lower(): _OP_SYNONYMS.get(plain, plain)})
    raise place.spec_error(f"unknown operator {show(op)}{near or known(OPERATORS)}")


def _read_inputs(read: Mapping[str, Any], before: str | None, place: Place) -> tuple[str, ...]:
    one, several = read.get("input"), read["inputs"]
    if one is not None and several is not None:
        raise place.spec_error("has both input and inputs; drop one")
    if one is None and several is None and before is None:
        raise place.key("input").spec_error("is missing: there is more than one input to choose from")
    if several is not None:
        return tuple(several)
    return (one if one is not None else str(before),)


def _outputs(
    tables: Mapping[str, Any],
    model: ModelTable,
    inputs: Sequence[Input],
    values: Sequence[str],
    place: Place,
) -> tuple[OutputTable, ...]:
    """The outputs' tables, checked; ``values`` are the names of all values that an output can take."""
    outputs: list[OutputTable] = []
    taken, own = _Taken(i.name for i in inputs), set[str]()
    for at, value in _named_tables(tables, "output", place):
        read = read_table(value, OUTPUT_KEYS, at)
        name, source = read["name"], read["from"]
        _check_name(naming.port_fault(name, model.name), at)
        taken.add(name, at)
        key = "name" if source is None else "from"
        source = name if source is None else source
        if source not in values:
            remedy = suggestion(source, values) or '; write from = "..." with the one that it is' * (key == "name")
            raise at.key(key).spec_error(f"{show(source)} is neither a layer nor an input{remedy}")
        outputs.append(OutputTable(name, source, read["layout"], read["type"], _original(read, own, at)))
    return tuple(outputs)


def _example(tables: Mapping[str, Any], place: Place) -> ExampleTable | None:
    if "example" not in tables:
        return None
    return ExampleTable(**read_table(one_table(tables, "example", place), EXAMPLE_KEYS, Place(place.file, "example")))


def _ordered(
    layers: Sequence[LayerTable],
    inputs: Sequence[Input],
    constants: Sequence[ConstantTable],
    outputs: Sequence[OutputTable],
    place: Place,
) -> tuple[LayerTable, ...]:
    by_name = {layer.name: layer for layer in layers}
    reads = {layer.name: layer.inputs for layer in layers}
    members = cycle(reads)
    if members:
        at = by_name[members[0]].place
        if len(members) == 1:
            raise at.spec_error("reads itself")
        raise at.spec_error(f"layers {listed(members, 'and')} form a cycle: each reads the one before it")
    used = needed(reads, [output.value for output in outputs])
    useless = [name for name in reads if name not in used]
    if useless:
        raise by_name[useless[0]].place.spec_error(
            f"no output depends on {listed(useless, 'and')}: remove what is not needed or add an [[output]]"
        )
    for constant in constants:
        if constant.name not in used:
            raise constant.place.spec_error("no output depends on it: remove it or use it")
    for i in inputs:
        if i.name not in used:
            raise Place(place.file, f"input {show(i.name)}").spec_error("no output depends on it: remove it or use it")
    return tuple(by_name[name] for name in in_order(reads))


def check_size(shape: Shape, place: Place) -> None:
    """Refuses tensors that OpenCL C's int cannot index."""
    elements = math.prod(shape)
    if elements > MAX_ELEMENTS:
        raise place.spec_error(f"makes a tensor {list(shape)} of {elements} elements; {MAX_ELEMENTS} is the most")


def _named_tables(tables: Mapping[str, Any], kind: str, place: Place) -> list[tuple[Place, Mapping[str, Any]]]:
    """The tables [[kind]], each with its place: by name, or by number without one."""
    values = many_tables(tables, kind, place)
    names = [value.get("name") for value in values]
    return [
        (Place(place.file, f"{kind} {show(name) if isinstance(name, str) and name else i}"), value)
        for i, (name, value) in enumerate(zip(names, values, strict=True), 1)
    ]


def _check_name(fault: str | None, place: Place) -> None:
    if fault is not None:
        raise place.key("name").spec_error(fault)


class _Taken:
    """The names in use, which must differ by more than case and punctuation, as they become C macros."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._by_symbol = {naming.symbol(name): name for name in names}

    def add(self, name: str, place: Place) -> None:
        symbol = naming.symbol(name)
        same = self._by_symbol.get(symbol)
        if same is not None:
            k = next(k for k in itertools.count(2) if naming.symbol(f"{name}_{k}") not in self._by_symbol)
            fault = "is used twice" if same == name else f"is too like {show(same)}: both become {symbol} in C"
            raise place.key("name").spec_error(f"{show(name)} {fault}; take another, such as {show(f'{name}_{k}')}")
        self._by_symbol[symbol] = name
