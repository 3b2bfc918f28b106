"""What each layer of Keras is in a spec.  A translation adds layers and returns the value that the last one makes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from codegen.frontend.kinds import FLOAT32_MAX
from codegen.frontend.place import show
from codegen.importers.keras.options import Unsupported
from codegen.importers.keras.site import Site, activation, hard_sigmoid

Translation = Callable[[Site], str]

NOTHING_TO_DO = frozenset(
    {
        "ActivityRegularization",
        "AlphaDropout",
        "Dropout",
        "GaussianDropout",
        "GaussianNoise",
        "Identity",
        "InputLayer",
        "SpatialDropout1D",
        "SpatialDropout2D",
        "SpatialDropout3D",
    }
)

# Convolutions --------------------------------------------------------------------------------------------------------


def _space(site: Site, axes: int) -> int:
    """The layer's spatial axes, which its input should have."""
    site.check_format()
    if site.space != axes:
        raise site.options.place.spec_error(f"should read {axes + 2} axes; its input has {site.rank}")
    return axes


def _conv(axes: int) -> Translation:
    def translate(site: Site) -> str:
        rank, o = _space(site, axes), site.options
        words = ["kernel", *_bias(site)]
        arrays = site.arrays(words)
        kernel, dilation = o.wholes("kernel_size", rank), o.wholes("dilation_rate", rank, 1)
        if o.get("padding") == "causal" and axes == 1:
            padding: Any = [[dilation[0] * (kernel[0] - 1), 0]]
        else:
            padding = o.text("padding", "valid", ("valid", "same"))
        return site.add(
            "conv",
            site.input,
            weight=site.array("kernel", arrays["kernel"]),
            bias=_bias_key(site, arrays),
            stride=_short(o.wholes("strides", rank, 1)),
            dilation=_short(dilation),
            padding=padding if padding != "valid" else None,
            groups=_unless(o.whole("groups", 1), 1),
            activation=site.activation(),
        )

    return translate


def _depthwise(axes: int) -> Translation:
    def translate(site: Site) -> str:
        rank, o = _space(site, axes), site.options
        arrays = site.arrays(["kernel|depthwise_kernel", *_bias(site)])
        return site.add(
            "depthwise_conv",
            site.input,
            weight=site.array("kernel", arrays["kernel"]),
            bias=_bias_key(site, arrays),
            stride=_short(o.wholes("strides", rank, 1)),
            dilation=_short(o.wholes("dilation_rate", rank, 1)),
            padding=_unless(o.text("padding", "valid", ("valid", "same")), "valid"),
            activation=site.activation(),
        )

    return translate


def _separable(axes: int) -> Translation:
    def translate(site: Site) -> str:
        rank, o = _space(site, axes), site.options
        arrays = site.arrays(["depthwise_kernel", "pointwise_kernel", *_bias(site)])
        depthwise = site.add(
            "depthwise_conv",
            site.input,
            "depthwise",
            weight=site.array("kernel", arrays["depthwise_kernel"], "depthwise"),
            bias=False,
            stride=_short(o.wholes("strides", rank, 1)),
            dilation=_short(o.wholes("dilation_rate", rank, 1)),
            padding=_unless(o.text("padding", "valid", ("valid", "same")), "valid"),
        )
        return site.add(
            "conv",
            depthwise,
            weight=site.array("kernel", arrays["pointwise_kernel"]),
            bias=_bias_key(site, arrays),
            activation=site.activation(),
        )

    return translate


def _conv_transpose(axes: int) -> Translation:
    def translate(site: Site) -> str:
        rank, o = _space(site, axes), site.options
        if o.get("output_padding") is not None:
            raise Unsupported(f"output_padding = {show(o.get('output_padding'))}, in which Keras' backends differ")
        arrays = site.arrays(["kernel", *_bias(site)])
        return site.add(
            "conv_transpose",
            site.input,
            weight=site.array("kernel", arrays["kernel"]),
            bias=_bias_key(site, arrays),
            stride=_short(o.wholes("strides", rank, 1)),
            dilation=_short(o.wholes("dilation_rate", rank, 1)),
            padding=o.text("padding", "valid", ("valid", "same")),
            activation=site.activation(),
        )

    return translate


def _dense(site: Site) -> str:
    if site.options.get("quantization_config") is not None:
        raise Unsupported("quantization")
    arrays = site.arrays(["kernel", *_bias(site)])
    kernel, op = arrays["kernel"], "dense"
    if site.rank > 2:
        # Keras' Dense works on the last axis: on an image it is a convolution of one pixel.
        if site.channels_first:
            raise Unsupported("an input that has axes of space, channels first")
        op, kernel = "conv", kernel.reshape((1,) * site.space + kernel.shape)
    return site.add(
        op,
        site.input,
        weight=site.array("kernel", kernel),
        bias=_bias_key(site, arrays),
        activation=site.activation(),
    )


def _bias(site: Site) -> list[str]:
    return ["bias"] if site.options.flag("use_bias", True) else []


def _bias_key(site: Site, arrays: Mapping[str, Any]) -> Any:
    return site.array("bias", arrays["bias"]) if "bias" in arrays else False


def _short(values: list[int]) -> Any:
    """One number for all axes where they are equal, nothing where that is 1."""
    return _unless(values[0] if len(set(values)) == 1 else values, 1)


def _unless(value: Any, default: Any) -> Any:
    return None if value == default else value


# Normalization and scaling -------------------------------------------------------------------------------------------


def _batch_norm(site: Site) -> str:
    o = site.options
    if site.axis(o.get("axis", -1), site.rank) != 1:
        raise Unsupported(f"axis = {show(o.get('axis'))}, which is not that of the channels")
    if o.get("renorm"):
        raise Unsupported("renorm")
    scale, center = o.flag("scale", True), o.flag("center", True)
    words = [*["gamma"] * scale, *["beta"] * center, "moving_mean|running_mean", "moving_variance|running_std"]
    arrays = site.arrays(words)
    named = {key: site.array(word, arrays[word]) for key, word in _BATCH_NORM_WORDS.items() if word in arrays}
    return site.add("batch_norm", site.input, epsilon=o.number("epsilon", 1e-3), **named)


_BATCH_NORM_WORDS = {"gamma": "gamma", "beta": "beta", "mean": "moving_mean", "variance": "moving_variance"}


def _rescaling(site: Site) -> str:
    scale, offset = (_numbers(site, key, default) for key, default in (("scale", 1.0), ("offset", 0.0)))
    return _scale(site, scale, offset)


def _normalization(site: Site) -> str:
    """(x - mean) / max(sqrt(variance), 1e-7), which is Keras' epsilon."""
    o = site.options
    axis = o.get("axis", -1)
    if axis not in (None, []) and site.axis(axis, site.rank) != 1:
        raise Unsupported(f"axis = {show(axis)}, which is not that of the channels")
    if o.get("mean") is not None:
        mean, variance = _numbers(site, "mean", 0.0), _numbers(site, "variance", 1.0)
    else:
        arrays = site.arrays(["mean", "variance", "count"])
        mean, variance = (np.asarray(arrays[key], np.float64).reshape(-1) for key in ("mean", "variance"))
    if (variance < 0).any():
        raise site.options.place.parameter_error("has a negative variance")
    deviation = np.maximum(np.sqrt(variance), 1e-7)
    if o.flag("invert", False):
        return _scale(site, deviation, mean)
    return _scale(site, 1 / deviation, -mean / deviation)


def _numbers(site: Site, key: str, default: float) -> np.ndarray:
    """[1] or [channels], from a number or nested lists of them."""
    value: Any = site.options.get(key, default)
    flat: list[Any] = [value]
    while any(isinstance(item, list) for item in flat):
        if len(flat) > site.channels:
            break
        flat = [inner for item in flat for inner in (item if isinstance(item, list) else [item])]
    if len(flat) not in (1, site.channels):
        raise site.options.place.key(key).spec_error(f"has {len(flat)} numbers for {site.channels} channels")
    return np.array([site.options.as_number(key, item) for item in flat])


def _scale(site: Site, scale: np.ndarray, shift: np.ndarray) -> str:
    if (scale == 1).all():
        return site.add("bias", site.input, bias=site.array("bias", shift))
    bias: Any = site.array("bias", shift) if shift.any() else False
    return site.add("scale", site.input, weight=site.array("scale", scale), bias=bias)


# Activations ---------------------------------------------------------------------------------------------------------


def _activation(site: Site) -> str:
    return _activate(site, site.activation())


def _activate(site: Site, found: Any) -> str:
    """``found`` as a spec says an activation, None for linear."""
    if found is None:
        return site.input
    if isinstance(found, str):
        return site.add(found, site.input)
    options = {key: value for key, value in found.items() if key != "op"}
    return site.add(found["op"], site.input, **options)


def _named(name: str) -> Translation:
    return lambda site: _activate(site, activation(name, site.major))


def _relu(site: Site) -> str:
    o = site.options
    if o.number("threshold", 0.0):
        raise Unsupported(f"threshold = {show(o.get('threshold'))}")
    # Keras 2 writes 0.0 or null.
    slope = 0.0 if o.get("negative_slope") is None else o.number("negative_slope", 0.0)
    most = None if o.get("max_value") is None else o.number("max_value", 0.0)
    if most is not None and most < 0:
        raise site.options.place.key("max_value").spec_error(f"{most} should not be negative")
    if slope:
        part = "" if most is None else "leaky_relu"
        value = site.add("leaky_relu", site.input, part, alpha=slope)
        return value if most is None else site.add("clip", value, min=-FLOAT32_MAX, max=most)
    if most is None:
        return site.add("relu", site.input)
    return site.add("relu6", site.input) if most == 6 else site.add("clip", site.input, min=0.0, max=most)


def _leaky_relu(site: Site) -> str:
    o = site.options
    key = "negative_slope" if o.get("negative_slope") is not None else "alpha"
    return site.add("leaky_relu", site.input, alpha=o.number(key, 0.3))


def _prelu(site: Site) -> str:
    alpha = np.asarray(site.arrays(["alpha"])["alpha"])
    shape = site.model_shape(site.input)
    axis = next(a - 1 for a in range(1, site.rank) if site.to_spec(a, site.rank) == 1)
    alone = tuple(shape[axis] if a == axis else 1 for a in range(len(shape)))
    if alpha.shape not in (alone, (1,) * len(shape)):
        raise Unsupported(f"a slope for each of {list(alpha.shape)}; shared_axes should be all those of space")
    return site.add("prelu", site.input, slope=site.array("alpha", alpha.reshape(-1)))


def _elu(site: Site) -> str:
    return site.add("elu", site.input, alpha=site.options.number("alpha", 1.0))


def _softmax(site: Site) -> str:
    axis = site.axis(site.options.get("axis", -1), site.rank)
    return site.add("softmax", site.input, axis=_unless(axis, 1))


# Pools and sizes -----------------------------------------------------------------------------------------------------


def _pool(op: str, axes: int) -> Translation:
    def translate(site: Site) -> str:
        rank, o = _space(site, axes), site.options
        kernel = o.wholes("pool_size", rank, 2)
        stride = o.wholes("strides", rank, kernel)
        return site.add(
            op,
            site.input,
            kernel=kernel[0] if len(set(kernel)) == 1 else kernel,
            stride=_unless(
                stride[0] if len(set(stride)) == 1 else stride, kernel[0] if len(set(kernel)) == 1 else kernel
            ),
            padding=_unless(o.text("padding", "valid", ("valid", "same")), "valid"),
        )

    return translate


def _global_pool(op: str, axes: int) -> Translation:
    def translate(site: Site) -> str:
        _space(site, axes)
        if site.options.flag("keepdims", False):
            return site.add(op, site.input)
        return site.add("flatten", site.add(op, site.input, "pool"))

    return translate


def _zero_padding(axes: int) -> Translation:
    def translate(site: Site) -> str:
        rank = _space(site, axes)
        return site.add("pad", site.input, padding=site.options.pairs("padding", rank))

    return translate


def _cropping(axes: int) -> Translation:
    def translate(site: Site) -> str:
        rank, value = _space(site, axes), site.input
        pairs = site.options.pairs("cropping", rank)
        cropped = [axis for axis, pair in enumerate(pairs, 2) if any(pair)]
        for axis in cropped:
            (before, behind), size = pairs[axis - 2], site.document.shape(value)[axis]
            part = "" if axis == cropped[-1] else f"axis_{axis}"
            stop = size - behind if behind else None
            value = site.add("slice", value, part, axis=axis, start=_unless(before, 0), stop=stop)
        return value

    return translate


def _upsampling(axes: int) -> Translation:
    def translate(site: Site) -> str:
        rank, o = _space(site, axes), site.options
        mode = o.text("interpolation", "nearest", ("nearest", "bilinear") if axes == 2 else ("nearest",))
        return site.add("upsample", site.input, scale=_scales(o.wholes("size", rank, 2)), mode=_unless(mode, "nearest"))

    return translate


def _scales(scale: list[int]) -> Any:
    return scale[0] if len(set(scale)) == 1 else scale


def _resizing(site: Site) -> str:
    _space(site, 2)
    o = site.options
    for key in ("crop_to_aspect_ratio", "pad_to_aspect_ratio", "antialias"):
        if o.flag(key, False):
            raise Unsupported(key)
    size = [o.whole("height"), o.whole("width")]
    mode = o.text("interpolation", "bilinear", ("nearest", "bilinear"))
    if mode == "nearest" and any(m % n for m, n in zip(size, site.document.shape(site.input)[2:], strict=True)):
        raise Unsupported("interpolation = nearest to a size that is no multiple")
    return site.add("upsample", site.input, size=size, mode=_unless(mode, "nearest"))


# Several inputs ------------------------------------------------------------------------------------------------------


def _merge(op: str) -> Translation:
    def translate(site: Site) -> str:
        values = _same_rank(site)
        if len(values) == 1:
            return values[0]
        return site.add(op, values)

    return translate


def _average(site: Site) -> str:
    values = _same_rank(site)
    total = values[0] if len(values) == 1 else site.add("add", values, "sum")
    return site.add("scale", total, weight=site.array("scale", [1 / len(values)]), bias=False)


def _same_rank(site: Site) -> list[str]:
    """Keras puts axes of size 1 behind the batch of those that have fewer."""
    values = site.inputs
    rank = max(len(site.document.shape(value)) for value in values)
    wider = []
    for i, value in enumerate(values):
        shape = site.model_shape(value)
        if len(shape) + 1 < rank:
            value = _reshape_to(site, value, [1] * (rank - 1 - len(shape)) + shape, f"reshape_{i + 1}")
        wider.append(value)
    return wider


def _concatenate(site: Site) -> str:
    values = site.inputs
    axis = site.axis(site.options.get("axis", -1), len(site.document.shape(values[0])))
    return values[0] if len(values) == 1 else site.add("concat", values, axis=_unless(axis, 1))


# Shapes --------------------------------------------------------------------------------------------------------------


def _flatten(site: Site) -> str:
    if site.rank == 2:
        return site.input
    moved = site.options.text("data_format", "channels_last") == "channels_first"
    if moved and not site.channels_first:
        raise Unsupported("data_format differs from that of other layers, channels_last")
    # In a network with channels first, the layer brings them behind where it is told where they are.
    last = moved or not site.channels_first
    return site.add("flatten", site.input, order="NHWC" if last else "NCHW")


def _reshape(site: Site) -> str:
    target = site.options.get("target_shape")
    if not isinstance(target, list) or not all(isinstance(n, int) and not isinstance(n, bool) for n in target):
        raise site.options.place.key("target_shape").spec_error(f"{show(target)} should be a list of sizes")
    elements, known = math.prod(site.model_shape(site.input)), math.prod(n for n in target if n != -1)
    if target.count(-1) > 1 or any(n < 1 and n != -1 for n in target) or elements % known:
        raise site.options.place.key("target_shape").spec_error(f"{show(target)} does not hold {elements} elements")
    return _reshape_to(site, site.input, [elements // known if n == -1 else n for n in target], "")


def _reshape_to(site: Site, value: str, target: list[int], part: str) -> str:
    """Elements stay in the model's order: where that is not the spec's, channels go behind and back."""
    shape = site.model_shape(value)
    if math.prod(target) != math.prod(shape):
        raise site.options.place.spec_error(f"{show(target)} does not hold the {math.prod(shape)} elements of {shape}")
    if target == shape:
        return value
    before, after = _mixed(site, shape), _mixed(site, target)
    name = f"{part}_" if part else ""
    if before:
        rank = len(shape) + 1
        value = site.add("transpose", value, f"{name}channels_last", axes=[0, *range(2, rank), 1])
    rank = len(target) + 1
    order = [site.to_spec(axis, rank) for axis in range(1, rank)]
    in_spec = [target[order.index(axis)] for axis in range(1, rank)]
    value = site.add("reshape", value, f"{name}reshape" if after else part, shape=target if after else in_spec)
    if after:
        value = site.add("transpose", value, part, axes=[0, rank - 1, *range(1, rank - 1)])
    return value


def _mixed(site: Site, shape: list[int]) -> bool:
    """Whether it makes a difference to the order of elements that channels are in front."""
    return not site.channels_first and shape[-1] > 1 and math.prod(shape[:-1]) > 1


def _permute(site: Site) -> str:
    dims, rank = site.options.get("dims"), site.rank
    if not isinstance(dims, list) or sorted(map(str, dims)) != [str(n) for n in range(1, rank)]:
        raise site.options.place.key("dims").spec_error(f"{show(dims)} should name the axes 1 to {rank - 1}")
    if dims == list(range(1, rank)):
        return site.input
    axes = [0] * rank
    for axis, source in enumerate([0, *dims]):
        axes[site.to_spec(axis, rank)] = site.to_spec(source, rank)
    return site.add("transpose", site.input, axes=axes)


LAYERS: Mapping[str, Translation] = {
    **{f"Conv{n}D": _conv(n) for n in (1, 2, 3)},
    **{f"DepthwiseConv{n}D": _depthwise(n) for n in (1, 2)},
    **{f"SeparableConv{n}D": _separable(n) for n in (1, 2)},
    **{f"Conv{n}DTranspose": _conv_transpose(n) for n in (1, 2, 3)},
    **{f"MaxPooling{n}D": _pool("max_pool", n) for n in (1, 2, 3)},
    **{f"AveragePooling{n}D": _pool("average_pool", n) for n in (1, 2, 3)},
    **{f"GlobalMaxPooling{n}D": _global_pool("global_max_pool", n) for n in (1, 2, 3)},
    **{f"GlobalAveragePooling{n}D": _global_pool("global_average_pool", n) for n in (1, 2, 3)},
    **{f"ZeroPadding{n}D": _zero_padding(n) for n in (1, 2, 3)},
    **{f"Cropping{n}D": _cropping(n) for n in (1, 2, 3)},
    **{f"UpSampling{n}D": _upsampling(n) for n in (1, 2, 3)},
    "Dense": _dense,
    "BatchNormalization": _batch_norm,
    "Rescaling": _rescaling,
    "Normalization": _normalization,
    "Activation": _activation,
    "ReLU": _relu,
    "LeakyReLU": _leaky_relu,
    "PReLU": _prelu,
    "ELU": _elu,
    "Softmax": _softmax,
    "Resizing": _resizing,
    "Add": _merge("add"),
    "Subtract": _merge("sub"),
    "Multiply": _merge("mul"),
    "Average": _average,
    "Concatenate": _concatenate,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Permute": _permute,
}

# Functions: what models are made of where one has written x * sigmoid(x) in Python -----------------------------------


def _binary(op: str) -> Translation:
    """Of two tensors of the same rank, or of a tensor and a number."""

    def translate(site: Site) -> str:
        if len(site.operands) != 2:
            raise Unsupported(f"{len(site.operands)} operands")
        a, b = site.operands
        if isinstance(a, str) and isinstance(b, str):
            if len(site.document.shape(a)) != len(site.document.shape(b)):
                raise Unsupported("tensors of different ranks")
            if op == "div":
                raise Unsupported("two tensors")
            return site.add(op, [a, b])
        if isinstance(a, str) and not isinstance(b, str):
            if op == "div" and b == 0:
                raise Unsupported("a division by zero")
            factor, shift = {"add": (1.0, b), "sub": (1.0, -b), "mul": (b, 0.0), "div": (1 / (b or 1), 0.0)}[op]
            return _affine(site, a, factor, shift)
        if isinstance(b, str) and not isinstance(a, str) and op != "div":
            factor, shift = {"add": (1.0, a), "sub": (-1.0, a), "mul": (a, 0.0)}[op]
            return _affine(site, b, factor, shift)
        raise Unsupported("these operands")

    return translate


def _affine(site: Site, value: str, factor: float, shift: float) -> str:
    if factor == 1:
        return site.add("bias", value, bias=site.array("bias", [shift]))
    bias: Any = site.array("bias", [shift]) if shift else False
    return site.add("scale", value, weight=site.array("scale", [factor]), bias=bias)


def _negative(site: Site) -> str:
    return _affine(site, site.input, -1.0, 0.0)


_FUNCTIONS: Mapping[str, tuple[Translation, tuple[str, ...]]] = {
    "add": (_binary("add"), ("Add", "__operators__.add", "math.add")),
    "sub": (_binary("sub"), ("Subtract", "__operators__.sub", "math.subtract")),
    "mul": (_binary("mul"), ("Multiply", "__operators__.mul", "math.multiply")),
    "div": (_binary("div"), ("Divide", "TrueDivide", "__operators__.truediv", "math.truediv", "math.divide")),
    "negative": (_negative, ("Negative", "__operators__.neg", "math.negative")),
    "relu": (_named("relu"), ("Relu", "nn.relu")),
    "relu6": (_named("relu6"), ("Relu6", "nn.relu6")),
    "sigmoid": (_named("sigmoid"), ("Sigmoid", "nn.sigmoid", "math.sigmoid")),
    "tanh": (_named("tanh"), ("Tanh", "nn.tanh", "math.tanh")),
    "silu": (_named("silu"), ("Silu", "nn.silu")),
    "hard_sigmoid": (lambda site: _activate(site, hard_sigmoid(3)), ("HardSigmoid",)),
    "hard_swish": (_named("hard_swish"), ("HardSilu",)),
    "softplus": (_named("softplus"), ("Softplus", "nn.softplus", "math.softplus")),
}

OPERATIONS: Mapping[str, Translation] = {name: made for made, names in _FUNCTIONS.values() for name in names}
