"""Functions of Keras and TensorFlow that models call like layers: their arguments and translations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from codegen.importers.keras import (
    activations,
    arithmetic,
    attention,
    convolutions,
    images,
    merging,
    normalization,
    reductions,
    shapes,
    types,
)
from codegen.importers.keras.site import Translation
from codegen.importers.keras.types import Rule


@dataclass(frozen=True)
class Function:
    """The signature and the translation of a function.

    ``operands`` are the parameters that are tensors, numbers or constants, each given by its names in Keras and
    TensorFlow, "x1|x"; "?" marks an optional one, "*" stands for all that are given.  ``options`` are other parameters
    of the call, in its order.
    """

    operands: tuple[str, ...]
    translate: Translation
    type_rule: Rule
    options: tuple[str, ...] = ()


_ONE = ("x|features|input|input_tensor|inputs|images|variable|tensor|logits|array",)
_TWO = ("x1|x|a", "x2|y|b")


def _all(table: Mapping[str, Translation], operands: tuple[str, ...], type_rule: Rule) -> dict[str, Function]:
    return {name: Function(operands, translate, type_rule) for name, translate in table.items()}


_ACTIVATIONS = {
    **{name.title().replace("_", ""): name for name in activations.FUNCTIONS},
    "ReLU": "relu_of_activations",
}

_KERAS: dict[str, Function] = {
    **{
        name: Function(_ONE, activations.FUNCTIONS[function], types.arithmetic)
        for name, function in _ACTIVATIONS.items()
        if not name.startswith(("Tf", "ReluOf"))
    },
    **_all(arithmetic.UNARY, _ONE, types.arithmetic),
    **_all(arithmetic.BINARY, _TWO, types.arithmetic),
    **_all(arithmetic.TRUTHS, _TWO, types.always_bool),
    **{
        name: Function(_ONE, arithmetic.TRUTHS[name], types.always_bool)
        for name in arithmetic.TRUTHS
        if name[:2] == "Is"
    },
    "LogicalNot": Function(_ONE, arithmetic.TRUTHS["LogicalNot"], types.always_bool),
    "Cast": Function(_ONE, arithmetic.CHOICES["Cast"], types.requested),
    "FullLike": Function(("x", "fill_value"), arithmetic.CHOICES["FullLike"], types.requested),
    "OneHot": Function(_ONE, arithmetic.CHOICES["OneHot"], types.one_hot),
    "OnesLike": Function(_ONE, arithmetic.CHOICES["OnesLike"], types.requested),
    "ZerosLike": Function(_ONE, arithmetic.CHOICES["ZerosLike"], types.requested),
    "Where": Function(("condition", "x1?", "x2?"), arithmetic.CHOICES["Where"], types.chosen),
    **_all(reductions.REDUCTIONS, _ONE, types.arithmetic),
    **{
        name: Function(_ONE, reductions.REDUCTIONS[name], types.same) for name in ("Max", "Min", "Amax", "Amin", "Sort")
    },
    "Average": Function(("x", "weights?"), reductions.REDUCTIONS["Average"], types.arithmetic),
    "Mean": Function(_ONE, reductions.REDUCTIONS["Mean"], types.mean_of),
    **_all(reductions.OF_TRUTHS, _ONE, types.always_bool),
    **_all(reductions.PLACES, _ONE, types.always_int32),
    "TopK": Function(_ONE, reductions.top_k, types.same),
    **{
        name: Function(_ONE, translate, types.same)
        for name, translate in shapes.SHAPE_FUNCTIONS.items()
        if name[0].isupper()
    },
    **{name: Function(("xs|values|x",), shapes.SHAPE_FUNCTIONS[name], types.same) for name in ("Concatenate", "Stack")},
    "GetItem": Function(("x",), shapes.SHAPE_FUNCTIONS["GetItem"], types.same, ("key",)),
    "Pad": Function(("x", "constant_values?"), shapes.SHAPE_FUNCTIONS["Pad"], types.same),
    "Take": Function(("x", "indices"), shapes.SHAPE_FUNCTIONS["Take"], types.same),
    **_all(merging.PRODUCTS, _TWO, types.arithmetic),
    "Einsum": Function(("*",), merging.PRODUCTS["Einsum"], types.arithmetic),
    "AveragePool": Function(("inputs",), images.pool("average_pool"), types.arithmetic),
    "MaxPool": Function(("inputs",), images.pool("max_pool"), types.arithmetic),
    "AdaptiveAveragePool": Function(("inputs",), images.adaptive_pool("average_pool"), types.arithmetic),
    "AdaptiveMaxPool": Function(("inputs",), images.adaptive_pool("max_pool"), types.arithmetic),
    "Conv": Function(("inputs", "kernel"), convolutions.conv_function, types.arithmetic),
    "DepthwiseConv": Function(("inputs", "kernel"), convolutions.depthwise_function, types.arithmetic),
    "SeparableConv": Function(
        ("inputs", "depthwise_kernel", "pointwise_kernel"), convolutions.separable_function, types.arithmetic
    ),
    "DotProductAttention": Function(
        ("query", "key", "value", "bias?", "mask?", "scale?"), attention.dot_product, types.arithmetic
    ),
    "LayerNorm": Function(("x", "gamma?", "beta?"), normalization.layer_norm_function, types.arithmetic),
    "RMSNorm": Function(("x", "scale?"), normalization.rms_norm_function, types.arithmetic),
    "Normalize": Function(("x",), normalization.normalize_function, types.arithmetic),
    "Resize": Function(("images",), images.resize, types.arithmetic),
    "RGBToGrayscale": Function(("images",), images.gray, types.arithmetic),
}

# TensorFlow's functions, as Keras 2 writes them, that have Keras 3's parameters, by the names of both.
_ALIKE = {
    "Add": ("__operators__.add", "math.add"),
    "Subtract": ("__operators__.sub", "math.subtract"),
    "Multiply": ("__operators__.mul", "math.multiply"),
    "Divide": ("__operators__.truediv", "math.truediv", "math.divide"),
    "Maximum": ("math.maximum",),
    "Minimum": ("math.minimum",),
    "Power": ("__operators__.pow", "math.pow"),
    "Negative": ("__operators__.neg", "math.negative"),
    "Abs": ("math.abs",),
    "Exp": ("math.exp",),
    "Log": ("math.log",),
    "Rsqrt": ("math.rsqrt",),
    "Sqrt": ("math.sqrt",),
    "Square": ("math.square",),
    "Max": ("math.reduce_max",),
    "Mean": ("math.reduce_mean",),
    "Min": ("math.reduce_min",),
    "Sum": ("math.reduce_sum",),
    "ExpandDims": ("expand_dims",),
    "Squeeze": ("squeeze",),
    "Elu": ("nn.elu",),
    "Relu": ("nn.relu",),
    "Relu6": ("nn.relu6",),
    "Selu": ("nn.selu",),
    "Sigmoid": ("nn.sigmoid", "math.sigmoid"),
    "Softmax": ("nn.softmax",),
    "Softplus": ("nn.softplus", "math.softplus"),
    "Softsign": ("nn.softsign",),
    "Tanh": ("nn.tanh", "math.tanh"),
}

_TENSORFLOW: dict[str, Function] = {
    **{name: _KERAS[function] for function, names in _ALIKE.items() for name in names},
    "clip_by_value": Function(("t",), arithmetic.tf_clip, types.arithmetic),
    "nn.leaky_relu": Function(_ONE, activations.FUNCTIONS["tf_leaky_relu"], types.arithmetic),
    "nn.silu": Function(_ONE, activations.FUNCTIONS["tf_silu"], types.arithmetic),
    "reshape": Function(_ONE, shapes.SHAPE_FUNCTIONS["reshape"], types.same),
}

OPERATIONS: Mapping[str, Function] = {**_KERAS, **_TENSORFLOW}
