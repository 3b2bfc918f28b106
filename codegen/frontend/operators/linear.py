"""Operators with weights: convolutions, dense layers, per-channel constants."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from codegen.frontend.operators.layer import DILATION, PADDING, STRIDE, Layer, Operator, Step, pads_of
from codegen.frontend.operators.weights import (
    CONV_LAYOUTS,
    CONV_TRANSPOSE_LAYOUTS,
    DENSE_LAYOUTS,
    bias,
    channel_values,
    conv_transpose_weight,
    conv_weight,
    dense_weight,
    optional_channel_values,
)
from codegen.frontend.parameters.parameters import widened
from codegen.frontend.spec.value_types import TEXT, Key, Keys, choice, padding, per_axis, text_or_flag, whole
from codegen.graph.ops import Affine, Conv, ConvTranspose, Dense, Divide
from codegen.graph.ops.window import extent

_BIAS = Key(
    text_or_flag("true, false or the name of a tensor"),
    "Name of the tensor; false: no bias; true: <layer>.bias must be there. Default: <layer>.bias if it is there.",
)


def _weight_keys(layouts: tuple[str, ...]) -> Keys:
    return {
        "weight": Key(TEXT, "Name of the tensor. Default: <layer>.weight or <layer>.kernel, whichever the file has."),
        "bias": _BIAS,
        "weight_layout": Key(choice(*layouts), "Order of the weight's axes. Default: weight_layout of [model]."),
    }


def _conv(family: str) -> Operator:
    def build(layer: Layer) -> list[Step]:
        stride, dilation = layer.per_axis("stride"), layer.per_axis("dilation")
        weight, groups = conv_weight(layer, family)
        pads = pads_of(layer, weight.shape[2:], stride, dilation)
        return [Step(family, Conv(weight, bias(layer, len(weight)), stride, dilation, pads, groups))]

    groups = {
        "groups": Key(whole(1), "Number of groups of channels. Default: 1, or with HWCM the number of input channels.")
    }
    keys = {
        **_weight_keys(CONV_LAYOUTS),
        "stride": STRIDE,
        "dilation": DILATION,
        "padding": PADDING,
        **(groups if family == "conv" else {}),
    }
    doc = {
        "conv": "Convolution (cross-correlation, as in all frameworks), 1-D, 2-D or 3-D like its input.",
        "depthwise_conv": "Convolution of each channel by itself: groups is the number of channels.",
    }
    return Operator(doc[family], build, keys)


def _conv_transpose(layer: Layer) -> list[Step]:
    stride, dilation = layer.per_axis("stride"), layer.per_axis("dilation")
    weight = conv_transpose_weight(layer)
    kernel = weight.shape[2:]
    word, extra = layer.options["padding"], layer.options["output_padding"]
    # Keras' "same" gives input * stride elements, its "valid" at least as many: windows smaller than the stride leave
    # a rest, which is output padding; for larger windows "same" crops the surplus, an odd element at the end.
    over = [extent(k, d) - s for k, d, s in zip(kernel, dilation, stride, strict=True)]
    if extra is not None:
        if word == "same":
            raise layer.place.key("output_padding").spec_error('has no meaning with padding = "same"; write numbers')
        output_padding = layer.per_axis("output_padding")
    else:
        output_padding = tuple(max(-o, 0) if word in ("same", "valid") else 0 for o in over)
    pads = layer.pads() if word != "same" else tuple((max(o, 0) // 2, max(o, 0) - max(o, 0) // 2) for o in over)
    groups = layer.options["groups"]
    op = ConvTranspose(weight, bias(layer, weight.shape[1] * groups), stride, dilation, pads, output_padding, groups)
    return [Step("conv_transpose", op)]


def _dense(layer: Layer) -> list[Step]:
    layer.check_order("a flatten layer before this one with order")
    weight = dense_weight(layer)
    return [Step("dense", Dense(weight, bias(layer, len(weight))))]


def _scale(layer: Layer) -> list[Step]:
    shift = optional_channel_values(layer, "bias", "bias")
    if layer.options["divisor"] is not None:
        if layer.options["weight"] is not None:
            raise layer.place.spec_error("should have one of weight and divisor")
        divisor = channel_values(layer, "divisor", "divisor")
        quotient = Step("divide", Divide(divisor))
        ones = widened(np.ones_like(divisor))
        return [quotient] if shift is None else [quotient, Step("bias", Affine(ones, shift))]
    scale = channel_values(layer, "weight", "scale", "weight")
    return [Step("scale", Affine(scale, widened(scale * 0) if shift is None else shift))]


def _bias(layer: Layer) -> list[Step]:
    shift = channel_values(layer, "bias", "bias")
    return [Step("bias", Affine(widened(shift * 0 + 1), shift))]


LINEAR_OPERATORS: Mapping[str, Operator] = {
    "conv": _conv("conv"),
    "depthwise_conv": _conv("depthwise_conv"),
    "conv_transpose": Operator(
        "Transposed convolution (deconvolution).",
        _conv_transpose,
        {
            **_weight_keys(CONV_TRANSPOSE_LAYOUTS),
            "stride": STRIDE,
            "dilation": DILATION,
            "padding": Key(
                padding("valid", "same"), 'Elements cropped from the output; "same" and "valid" as in Keras.', 0
            ),
            "output_padding": Key(
                per_axis(0), "Elements added to the end of the output. Default: 0, or for Keras' words what they need."
            ),
            "groups": Key(whole(1), "Number of groups of channels.", 1),
        },
    ),
    "dense": Operator(
        "Fully connected layer: weighted sums of all elements of the input.", _dense, _weight_keys(DENSE_LAYOUTS)
    ),
    "bias": Operator(
        "Adds a value to each channel.", _bias, {"bias": Key(TEXT, "Name of the tensor. Default: <layer>.bias.")}
    ),
    "scale": Operator(
        "Multiplies or divides each channel by a value, and adds a bias if there is one.",
        _scale,
        {
            "weight": Key(
                TEXT, "Name of the factors' tensor. Default: <layer>.scale or <layer>.weight, whichever the file has."
            ),
            "divisor": Key(TEXT, "Name of the divisors' tensor, instead of weight. Quotients are rounded once."),
            "bias": _BIAS,
        },
    ),
}
