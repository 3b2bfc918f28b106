"""What each layer of Keras is in a spec.  A translation adds layers and returns the value that the last one makes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from codegen.frontend.kinds import FLOAT32_MAX
from codegen.frontend.place import show
from codegen.importers.keras.options import Unsupported
from codegen.importers.keras.site import Site, activation, leaky_relu

Translation = Callable[[Site], str]

# Layers that give what they take, except in training, each with the keys of what it does then.
_RATE = ("rate", "noise_shape", "data_format")
NOTHING_TO_DO: Mapping[str, tuple[str, ...]] = {
    "ActivityRegularization": ("l1", "l2"),
    "AlphaDropout": _RATE,
    "Dropout": _RATE,
    "GaussianDropout": _RATE,
    "GaussianNoise": ("stddev",),
    "Identity": (),
    **{f"SpatialDropout{n}D": _RATE for n in (1, 2, 3)},
}

# The same for images: random changes, which Keras 3 writes with "training": true, its default, in each call.
_CHANGE = ("data_format", "rng_type", "factor", "fill_mode", "fill_value", "interpolation", "value_range")
AUGMENTATIONS: Mapping[str, tuple[str, ...]] = {
    "RandomBrightness": _CHANGE,
    "RandomContrast": _CHANGE,
    "RandomFlip": (*_CHANGE, "mode"),
    "RandomRotation": _CHANGE,
    "RandomTranslation": (*_CHANGE, "height_factor", "width_factor"),
    "RandomZoom": (*_CHANGE, "height_factor", "width_factor"),
}

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
        arrays = site.arrays(["kernel", *_bias(site)])
        _sizes(site, arrays["kernel"], "filters", -1)
        kernel, dilation = o.wholes("kernel_size", rank), o.wholes("dilation_rate", rank, 1)
        if o.get("padding") == "causal" and axes == 1:
            padding: Any = [[dilation[0] * (kernel[0] - 1), 0]]
        else:
            padding = o.text("padding", "valid", ("valid", "same"))
        return site.add_activated(
            "conv",
            site.input,
            weight=site.array("kernel", arrays["kernel"]),
            bias=_bias_key(site, arrays),
            stride=_short(o.wholes("strides", rank, 1)),
            dilation=_short(dilation),
            padding=padding if padding != "valid" else None,
            groups=_unless(o.whole("groups", 1), 1),
        )

    return translate


def _depthwise(axes: int) -> Translation:
    def translate(site: Site) -> str:
        rank, o = _space(site, axes), site.options
        arrays = site.arrays(["kernel|depthwise_kernel", *_bias(site)])
        _sizes(site, arrays["kernel"], "depth_multiplier", -1)
        o.require("groups", 1)  # Keras 2 has the key, but never another number
        return site.add_activated(
            "depthwise_conv",
            site.input,
            weight=site.array("kernel", arrays["kernel"]),
            bias=_bias_key(site, arrays),
            stride=_short(o.wholes("strides", rank, 1)),
            dilation=_short(o.wholes("dilation_rate", rank, 1)),
            padding=_unless(o.text("padding", "valid", ("valid", "same")), "valid"),
        )

    return translate


def _separable(axes: int) -> Translation:
    def translate(site: Site) -> str:
        rank, o = _space(site, axes), site.options
        arrays = site.arrays(["depthwise_kernel", "pointwise_kernel", *_bias(site)])
        _sizes(site, arrays["depthwise_kernel"], "depth_multiplier", -1)
        _sizes(site, arrays["pointwise_kernel"], "filters", -1, kernel=False)
        o.require("groups", 1)
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
        return site.add_activated(
            "conv",
            depthwise,
            weight=site.array("kernel", arrays["pointwise_kernel"]),
            bias=_bias_key(site, arrays),
        )

    return translate


def _conv_transpose(axes: int) -> Translation:
    def translate(site: Site) -> str:
        rank, o = _space(site, axes), site.options
        if o.get("output_padding") is not None:
            raise Unsupported(f"output_padding = {show(o.get('output_padding'))}, in which Keras' backends differ")
        o.require("groups", 1)
        arrays = site.arrays(["kernel", *_bias(site)])
        _sizes(site, arrays["kernel"], "filters", -2)
        return site.add_activated(
            "conv_transpose",
            site.input,
            weight=site.array("kernel", arrays["kernel"]),
            bias=_bias_key(site, arrays),
            stride=_short(o.wholes("strides", rank, 1)),
            dilation=_short(o.wholes("dilation_rate", rank, 1)),
            padding=o.text("padding", "valid", ("valid", "same")),
        )

    return translate


def _dense(site: Site) -> str:
    if site.options.get("quantization_config") is not None:
        raise Unsupported("quantization")
    arrays = site.arrays(["kernel", *_bias(site)])
    kernel, op = arrays["kernel"], "dense"
    _sizes(site, kernel, "units", -1, kernel=False)
    if site.rank > 2:
        # Keras' Dense works on the last axis: on an image it is a convolution of one pixel.
        if site.channels_first:
            raise Unsupported("an input that has axes of space, channels first")
        op, kernel = "conv", kernel.reshape((1,) * site.space + kernel.shape)
    return site.add_activated(
        op,
        site.input,
        weight=site.array("kernel", kernel),
        bias=_bias_key(site, arrays),
    )


def _sizes(site: Site, array: Any, key: str, axis: int, kernel: bool = True) -> None:
    """The configuration says again what the shape of the weights says: raises SpecError unless both agree."""
    o, shape = site.options, list(array.shape)
    said = o.whole(key, shape[axis]) if shape else 0
    if not shape or said != shape[axis]:
        raise o.place.key(key).spec_error(f"{said} is not what the weights of shape {shape} have")
    if kernel and (sizes := o.wholes("kernel_size", site.space, shape[: site.space])) != shape[: site.space]:
        raise o.place.key("kernel_size").spec_error(f"{sizes} is not what the weights of shape {shape} have")


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
    o.require("renorm", False)
    # How the statistics follow the batches, in training.
    o.pass_over("momentum", "synchronized", "renorm_momentum", "renorm_clipping")
    scale, center = o.flag("scale", True), o.flag("center", True)
    words = [*["gamma"] * scale, *["beta"] * center, "moving_mean|running_mean", "moving_variance|running_std"]
    arrays = site.arrays(words)
    named = {key: site.array(word, arrays[word]) for key, word in _BATCH_NORM_WORDS.items() if word in arrays}
    return site.add("batch_norm", site.input, epsilon=o.number("epsilon", 1e-3), **named)


_BATCH_NORM_WORDS = {"gamma": "gamma", "beta": "beta", "mean": "moving_mean", "variance": "moving_variance"}


def _rescaling(site: Site) -> str:
    scale, offset = (site.options.numbers(key, default) for key, default in (("scale", 1.0), ("offset", 0.0)))
    if site.channels_first and any(0 < array.ndim < 3 and array.size > 1 for array in (scale, offset)):
        raise Unsupported("lists of numbers, whose axis depends on the setting image_data_format of Keras")
    return _scale(site, _by_channel(site, "scale", scale), _by_channel(site, "offset", offset))


def _normalization(site: Site) -> str:
    """(x - mean) / max(sqrt(variance), 1e-7), which is Keras' epsilon."""
    o = site.options
    axis = o.get("axis", -1 if "axis" not in o.values else [])
    if axis != [] and site.axis(axis, site.rank) != 1:
        raise Unsupported(f"axis = {show(axis)}, which is not that of the channels")
    if (o.get("mean") is None) != (o.get("variance") is None):
        raise o.place.spec_error("has one of mean and variance; it should have both or none")
    if o.get("mean") is not None:
        mean, variance = o.numbers("mean", 0.0), o.numbers("variance", 1.0)
    else:
        arrays = site.arrays(["mean", "variance", "count"])
        mean, variance = (np.asarray(arrays[key], np.float64) for key in ("mean", "variance"))
    kept = 1 if axis == [] else site.channels
    for key, array in (("mean", mean), ("variance", variance)):
        if array.shape not in ((), (1,) * array.ndim, (*(1,) * (array.ndim - 1), kept)):
            raise o.place.key(key).spec_error(f"has the shape {list(array.shape)} for {kept} means")
    if (variance < 0).any():
        raise site.options.place.parameter_error("has a negative variance")
    mean, deviation = mean.reshape(-1), np.maximum(np.sqrt(variance.reshape(-1)), 1e-7)
    if o.flag("invert", False):
        return _scale(site, deviation, mean)
    return _scale(site, 1 / deviation, -mean / deviation)


def _by_channel(site: Site, key: str, array: np.ndarray) -> np.ndarray:
    """[1] or [channels], of an array that numpy broadcasts to the input in the model's order of axes."""
    sizes = [1, *site.model_shape(site.input)]
    if array.ndim > len(sizes):
        raise Unsupported(f"{key} of shape {list(array.shape)} for an input with {len(sizes)} axes")
    shape = [1] * (len(sizes) - array.ndim) + list(array.shape)
    varying = [axis for axis, size in enumerate(shape) if size != 1]
    if any(shape[axis] != sizes[axis] or site.to_spec(axis, len(sizes)) != 1 for axis in varying):
        raise Unsupported(f"{key} of shape {list(array.shape)}, which is not a number for each channel")
    return array.reshape(-1)


def _scale(site: Site, scale: np.ndarray, shift: np.ndarray) -> str:
    if (scale == 1).all():
        return site.add("bias", site.input, bias=site.array("bias", shift))
    bias: Any = site.array("bias", shift) if shift.any() else False
    return site.add("scale", site.input, weight=site.array("scale", scale), bias=bias)


# Activations ---------------------------------------------------------------------------------------------------------


def _activation(site: Site) -> str:
    return activate(site, activation(site.options.get("activation"), site.options.place, site.major))


def activate(site: Site, found: Any) -> str:
    """``found`` as a spec says an activation, None for linear."""
    if found is None:
        return site.input
    if found == "softmax":
        return site.softmax(site.input)
    if isinstance(found, str):
        return site.add(found, site.input)
    options = {key: value for key, value in found.items() if key != "op"}
    return site.add(found["op"], site.input, **options)


def _relu(site: Site) -> str:
    o = site.options
    if o.number("threshold", 0.0):
        raise Unsupported(f"threshold = {show(o.get('threshold'))}")
    slope = o.number("negative_slope", 0.0)
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
    return activate(site, leaky_relu(site.options))


def _prelu(site: Site) -> str:
    alpha = np.asarray(site.arrays(["alpha"])["alpha"])
    shape = site.model_shape(site.input)
    axis = next(a - 1 for a in range(1, site.rank) if site.to_spec(a, site.rank) == 1)
    alone = tuple(shape[axis] if a == axis else 1 for a in range(len(shape)))
    shared = site.options.get("shared_axes", [])
    wanted = tuple(1 if a in shared else size for a, size in enumerate(shape, 1))
    if alpha.shape != wanted:
        raise site.options.place.key("shared_axes").spec_error(
            f"{show(shared)} wants slopes of shape {list(wanted)}; the file has {list(alpha.shape)}"
        )
    if alpha.shape not in (alone, (1,) * len(shape)):
        raise Unsupported(f"a slope for each of {list(alpha.shape)}; shared_axes should be all those of space")
    return site.add("prelu", site.input, slope=site.array("alpha", alpha.reshape(-1)))


def _elu(site: Site) -> str:
    return site.add("elu", site.input, alpha=site.options.number("alpha", 1.0))


def _softmax(site: Site) -> str:
    return site.softmax(site.input, site.options.get("axis", -1))


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
        o.require(key, False)
    o.pass_over("fill_mode", "fill_value")  # of pad_to_aspect_ratio
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
