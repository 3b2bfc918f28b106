"""The operators of a spec: keys and a small builder of each.  The reader, the JSON schema and the docs follow this."""

from __future__ import annotations

import math
from collections.abc import Mapping

from codegen.frontend import batch_norm
from codegen.frontend.activation import ACTIVATION_OPERATORS, AXIS
from codegen.frontend.kinds import (
    FLAG,
    TEXT,
    Key,
    Keys,
    choice,
    number,
    padding,
    per_axis,
    text_or_flag,
    whole,
    wholes,
)
from codegen.frontend.layer import Layer, Operator, Step
from codegen.frontend.parameters import widened
from codegen.frontend.weights import (
    CONV_LAYOUTS,
    CONV_TRANSPOSE_LAYOUTS,
    DENSE_LAYOUTS,
    bias,
    channel_values,
    conv_transpose_weight,
    conv_weight,
    dense_weight,
)
from codegen.graph.ops import (
    Affine,
    Binary,
    Concat,
    Conv,
    ConvTranspose,
    Dense,
    GlobalPool,
    Pad,
    Pool,
    Reshape,
    Resize,
    Transpose,
)
from codegen.graph.ops.window import Ints, Pads, extent, same_pads


def _pads(layer: Layer, kernel: Ints, stride: Ints, dilation: Ints) -> Pads:
    if layer.options["padding"] == "same":
        return same_pads(layer.space, kernel, stride, dilation)
    return layer.pads()


def _conv(family: str) -> Operator:
    def build(layer: Layer) -> list[Step]:
        stride, dilation = layer.per_axis("stride"), layer.per_axis("dilation")
        weight, groups = conv_weight(layer, family)
        pads = _pads(layer, weight.shape[2:], stride, dilation)
        return [Step(family, Conv(weight, bias(layer, len(weight)), stride, dilation, pads, groups))]

    groups = {"groups": Key(whole(1), "Groups of channels; 1, or with HWCM all.")}
    keys = {
        **_weight_keys(CONV_LAYOUTS),
        "stride": _STRIDE,
        "dilation": _DILATION,
        "padding": _PADDING,
        **(groups if family == "conv" else {}),
    }
    doc = {
        "conv": "Convolution (cross-correlation, as in all frameworks), 1-D or 2-D by its input.",
        "depthwise_conv": "Convolution of each channel by itself: groups is the number of channels.",
    }
    return Operator(doc[family], build, keys)


def _weight_keys(layouts: tuple[str, ...]) -> Keys:
    return {
        "weight": Key(TEXT, "Name of the tensor; else the one of <layer>.weight and <layer>.kernel."),
        "bias": _BIAS,
        "weight_layout": Key(choice(*layouts), "Order of the weight's axes; else as [model] weight_layout has it."),
    }


_BIAS = Key(
    text_or_flag("true, false or the name of a tensor"),
    "Name of the tensor; false: none; true: <layer>.bias must be there; absent: <layer>.bias if there.",
)
_STRIDE = Key(per_axis(1), "Step of the window.", 1)
_DILATION = Key(per_axis(1), "Step within the window.", 1)
_PADDING = Key(padding("valid", "same"), 'Around the input; "same" has TensorFlow\'s meaning.', 0)


def _conv_transpose(layer: Layer) -> list[Step]:
    stride, dilation = layer.per_axis("stride"), layer.per_axis("dilation")
    weight = conv_transpose_weight(layer)
    kernel = weight.shape[2:]
    word, extra = layer.options["padding"], layer.options["output_padding"]
    # Keras' "same" makes input * stride elements, its "valid" at least as many: windows smaller than the stride leave
    # a rest behind, which is output padding; of larger ones "same" crops what is too much, the odd element behind.
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
    _check_order(layer, "a flatten layer before this one with order")
    weight = dense_weight(layer)
    return [Step("dense", Dense(weight, bias(layer, len(weight))))]


def _check_order(layer: Layer, where: str) -> None:
    """Refuses to flatten channels and space silently where the network may come from a framework that has NHWC."""
    channels, space = layer.shape[1:2], layer.shape[2:]
    if layer.channels_last and math.prod(channels) > 1 and math.prod(space) > 1:
        raise layer.place.spec_error(
            f"flattens {list(layer.shape)}, of which frameworks differ in the order: write {where} = "
            '"NHWC" (trained with Keras or TensorFlow) or "NCHW" (PyTorch)'
        )


def _scale(layer: Layer) -> list[Step]:
    scale = channel_values(layer, layer.tensor("weight", "scale", "weight"))
    shift = layer.optional_tensor("bias", "bias")
    return [Step("scale", Affine(scale, widened(scale * 0) if shift is None else channel_values(layer, shift)))]


def _bias(layer: Layer) -> list[Step]:
    shift = channel_values(layer, layer.tensor("bias", "bias"))
    return [Step("bias", Affine(widened(shift * 0 + 1), shift))]


def _pool(kind: str) -> Operator:
    def build(layer: Layer) -> list[Step]:
        kernel = layer.per_axis("kernel")
        stride = kernel if layer.options["stride"] is None else layer.per_axis("stride")
        dilation = layer.per_axis("dilation") if kind == "max" else (1,) * len(kernel)
        pads = _pads(layer, kernel, stride, dilation)
        counted = layer.options.get("count_include_pad")
        if kind == "average" and counted is None and layer.options["padding"] != "same" and any(map(any, pads)):
            raise layer.place.key("count_include_pad").spec_error(
                "is missing; with padding write whether it counts in the average: frameworks differ "
                "(PyTorch true, ONNX and Keras false)"
            )
        op = Pool(kind, kernel, stride, dilation, pads, layer.options["ceil_mode"], bool(counted))
        return [Step(f"{kind}_pool", op)]

    return Operator(
        f"{kind.capitalize()} of each window.",
        build,
        {
            "kernel": Key(per_axis(1), "Size of the window.", required=True),
            "stride": Key(per_axis(1), "Step of the window; else the kernel."),
            **({"dilation": _DILATION} if kind == "max" else {}),
            "padding": _PADDING,
            "ceil_mode": Key(FLAG, "Whether a last, partial window counts.", False),
            **({"count_include_pad": _COUNTED} if kind == "average" else {}),
        },
    )


_COUNTED = Key(FLAG, 'Whether padding counts in the average; required with padding other than "same".')


def _global_pool(kind: str) -> Operator:
    def build(layer: Layer) -> list[Step]:
        return [Step(f"global_{kind}_pool", GlobalPool(kind))]

    return Operator(f"{kind.capitalize()} over all of space; the spatial axes stay, with size 1.", build, {})


def _binary(kind: str, doc: str, most: int | None) -> Operator:
    def build(layer: Layer) -> list[Step]:
        return [Step(kind, Binary(kind), (other,)) for other in layer.inputs[1:]]

    return Operator(doc, build, {}, 2, most)


def _concat(layer: Layer) -> list[Step]:
    return [Step("concat", Concat(layer.axis("axis")), layer.inputs[1:])]


def _flatten(layer: Layer) -> list[Step]:
    first, order = layer.axis("axis", 1), layer.options["order"]
    if order is None and first == 1:
        _check_order(layer, "order")
    spatial = len(layer.shape) > 2
    if order == "NHWC" and first != 1:
        raise layer.place.key("order").spec_error('"NHWC" takes axis = 1 only')
    flat = Step("flatten", Reshape((*layer.shape[:first], math.prod(layer.shape[first:]))))
    back = Step("transpose", Transpose((0, *range(2, len(layer.shape)), 1)))
    return [back, flat] if order == "NHWC" and spatial else [flat]


def _reshape(layer: Layer) -> list[Step]:
    shape, place = layer.options["shape"], layer.place.key("shape")
    elements, known = math.prod(layer.shape[1:]), math.prod(n for n in shape if n > 0)
    if 0 in shape or shape.count(-1) > 1:
        raise place.spec_error(f"{list(shape)} should have sizes >= 1, and -1 at most once for what is left")
    if elements % known or (-1 not in shape and elements != known):
        raise place.spec_error(
            f"{list(shape)} does not hold the {elements} elements of {list(layer.shape[1:])} (without the batch)"
        )
    return [Step("reshape", Reshape((layer.shape[0], *(elements // known if n == -1 else n for n in shape))))]


def _transpose(layer: Layer) -> list[Step]:
    rank = len(layer.shape)
    axes = tuple(axis % rank if -rank <= axis < rank else axis for axis in layer.options["axes"])
    return [Step("transpose", Transpose(axes))]


def _pad(layer: Layer) -> list[Step]:
    return [Step("pad", Pad(((0, 0), (0, 0), *layer.pads()), layer.options["value"]))]


def _upsample(layer: Layer) -> list[Step]:
    scale, size, mode = (layer.options[key] for key in ("scale", "size", "mode"))
    if (scale is None) == (size is None):
        raise layer.place.spec_error("should have one of scale and size")
    if size is None:
        size = tuple(n * s for n, s in zip(layer.space, layer.per_axis("scale"), strict=True))
    coordinates = layer.options["coordinates"] or ("asymmetric" if mode == "nearest" else "half_pixel")
    return [Step("upsample", Resize(size, mode, coordinates))]


OPERATORS: Mapping[str, Operator] = {
    "conv": _conv("conv"),
    "depthwise_conv": _conv("depthwise_conv"),
    "conv_transpose": Operator(
        "Transposed convolution (deconvolution).",
        _conv_transpose,
        {
            **_weight_keys(CONV_TRANSPOSE_LAYOUTS),
            "stride": _STRIDE,
            "dilation": _DILATION,
            "padding": Key(
                padding("valid", "same"), 'Cropped from the output; "same" and "valid" have Keras\' meaning.', 0
            ),
            "output_padding": Key(per_axis(0), "Added to the end of the output; else 0, or what Keras' words need."),
            "groups": Key(whole(1), "Groups of channels.", 1),
        },
    ),
    "dense": Operator("Fully connected layer of all of the input's elements.", _dense, _weight_keys(DENSE_LAYOUTS)),
    "batch_norm": Operator("BatchNorm with the statistics of the file.", batch_norm.batch_norm, batch_norm.KEYS),
    "bias": Operator(
        "Adds a value to each channel.", _bias, {"bias": Key(TEXT, "Name of the tensor; else <layer>.bias.")}
    ),
    "scale": Operator(
        "Multiplies each channel by a value, and adds one if there is a bias.",
        _scale,
        {
            "weight": Key(TEXT, "Name of the tensor; else the one of <layer>.scale and <layer>.weight."),
            "bias": _BIAS,
        },
    ),
    "max_pool": _pool("max"),
    "average_pool": _pool("average"),
    "global_max_pool": _global_pool("max"),
    "global_average_pool": _global_pool("average"),
    "add": _binary("add", "Sum of two or more tensors; axes of size 1 are repeated.", None),
    "sub": _binary("sub", "Difference of two tensors; axes of size 1 are repeated.", 2),
    "mul": _binary("mul", "Product of two or more tensors; axes of size 1 are repeated.", None),
    "concat": Operator("The inputs one after the other.", _concat, {"axis": Key(AXIS, "In NCHW order.", 1)}, 1, None),
    "flatten": Operator(
        "Makes one axis of all from one on.",
        _flatten,
        {
            "axis": Key(AXIS, "The first of the axes to join, in NCHW order.", 1),
            "order": Key(
                choice("NCHW", "NHWC"),
                "Order of the elements; NHWC is that of Keras and TensorFlow. Required where the spec mentions NHWC "
                "inputs or HWIO weights and it matters; else NCHW.",
            ),
        },
    ),
    "reshape": Operator(
        "The same elements, in NCHW order, in another shape.",
        _reshape,
        {
            "shape": Key(
                wholes("a list of sizes without the batch, -1 at most once for what is left", -1, 5),
                "Without the batch; -1 at most once for what is left.",
                required=True,
            )
        },
    ),
    "transpose": Operator(
        "Reorders the axes.",
        _transpose,
        {
            "axes": Key(
                wholes("a list of axes, batch included, such as [0, 2, 3, 1]", -6, 6),
                "Output axis i is input axis axes[i], batch included, in NCHW order.",
                required=True,
            )
        },
    ),
    "pad": Operator(
        "Puts a constant around the spatial axes.",
        _pad,
        {
            "padding": Key(padding(), "As for conv, in numbers.", required=True),
            "value": Key(number(), "The constant.", 0.0),
        },
    ),
    "upsample": Operator(
        "Enlarges height and width.",
        _upsample,
        {
            "scale": Key(per_axis(1), "Factor; either this or size."),
            "size": Key(wholes("[height, width]", 1, 2), "[height, width] of the output; either this or scale."),
            "mode": Key(choice("nearest", "bilinear"), "Interpolation.", "nearest"),
            "coordinates": Key(
                choice("half_pixel", "align_corners", "asymmetric"),
                "Where output elements lie in the input; else half_pixel for bilinear; nearest is asymmetric.",
            ),
        },
    ),
    **ACTIVATION_OPERATORS,
}
