"""Convolutions and Dense, as layers and as functions of a constant kernel."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from codegen.frontend.spec.place import show
from codegen.importers.keras.activations import activate, add_activated, finish
from codegen.importers.keras.options import Unsupported
from codegen.importers.keras.site import Array, Site, Translation, short, spatial, unless


def conv(axes: int) -> Translation:
    def translate(site: Site) -> str:
        rank, o = spatial(site, axes), site.options
        arrays = site.arrays(["kernel", *_bias(site)])
        _sizes(site, arrays["kernel"], "filters", -1)
        kernel, dilation = o.wholes("kernel_size", rank), o.wholes("dilation_rate", rank, 1)
        if o.get("padding") == "causal" and axes == 1:
            padding: Any = [[dilation[0] * (kernel[0] - 1), 0]]
        else:
            padding = o.text("padding", "valid", ("valid", "same"))
        return add_activated(
            site,
            "conv",
            site.input,
            weight=site.array("kernel", arrays["kernel"]),
            bias=_bias_key(site, arrays),
            stride=short(o.wholes("strides", rank, 1)),
            dilation=short(dilation),
            padding=padding if padding != "valid" else None,
            groups=unless(o.whole("groups", 1), 1),
        )

    return translate


def depthwise(axes: int) -> Translation:
    def translate(site: Site) -> str:
        rank, o = spatial(site, axes), site.options
        arrays = site.arrays(["kernel|depthwise_kernel", *_bias(site)])
        _sizes(site, arrays["kernel"], "depth_multiplier", -1)
        o.require("groups", 1)  # Keras 2 has the key, but its value is always 1
        return add_activated(
            site,
            "depthwise_conv",
            site.input,
            weight=site.array("kernel", arrays["kernel"]),
            bias=_bias_key(site, arrays),
            stride=short(o.wholes("strides", rank, 1)),
            dilation=short(o.wholes("dilation_rate", rank, 1)),
            padding=unless(o.text("padding", "valid", ("valid", "same")), "valid"),
        )

    return translate


def separable(axes: int) -> Translation:
    def translate(site: Site) -> str:
        rank, o = spatial(site, axes), site.options
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
            stride=short(o.wholes("strides", rank, 1)),
            dilation=short(o.wholes("dilation_rate", rank, 1)),
            padding=unless(o.text("padding", "valid", ("valid", "same")), "valid"),
        )
        return add_activated(
            site,
            "conv",
            depthwise,
            weight=site.array("kernel", arrays["pointwise_kernel"]),
            bias=_bias_key(site, arrays),
        )

    return translate


def conv_transpose(axes: int) -> Translation:
    def translate(site: Site) -> str:
        rank, o = spatial(site, axes), site.options
        if o.get("output_padding") is not None:
            raise Unsupported(f"output_padding = {show(o.get('output_padding'))}, in which Keras' backends differ")
        o.require("groups", 1)
        arrays = site.arrays(["kernel", *_bias(site)])
        _sizes(site, arrays["kernel"], "filters", -2)
        return add_activated(
            site,
            "conv_transpose",
            site.input,
            weight=site.array("kernel", arrays["kernel"]),
            bias=_bias_key(site, arrays),
            stride=short(o.wholes("strides", rank, 1)),
            dilation=short(o.wholes("dilation_rate", rank, 1)),
            padding=o.text("padding", "valid", ("valid", "same")),
        )

    return translate


def dense(site: Site) -> str:
    """Keras' Dense layer, which works on the last axis."""
    o = site.options
    if o.get("quantization_config") is not None:
        raise Unsupported("quantization")
    arrays = site.arrays(["kernel", *_bias(site)])
    _sizes(site, arrays["kernel"], "units", -1, kernel=False)
    return finish(
        site, lambda part, **more: product(site, site.input, arrays["kernel"], arrays.get("bias"), part, **more)
    )


def product(site: Site, value: str, kernel: Any, bias: Any, part: str = "", **options: Any) -> str:
    """value @ kernel + bias over the model's last axis: a dense layer, or on an image a convolution of one pixel.

    ``kernel`` is [in, out], ``bias`` [out] or None.
    """
    rank = len(site.document.shape(value))
    if rank < 2:
        raise Unsupported("of a tensor without channels")
    if site.channels_first and rank > 2:
        # In such models the last axis is spatial.
        found = options.pop("activation", None)
        wide = (1,) * (rank - 2) + kernel.shape
        made = site.add("matmul", [value, site.constant("kernel", kernel.reshape(wide))], f"{part}_product".strip("_"))
        if bias is not None:
            made = site.affine(made, 1.0, bias, f"{part}_biased".strip("_"))
        return activate(site, found, made)
    if rank > 5:
        shape = site.full_shape(value)
        flat = site.reshape(value, [shape[0], math.prod(shape[1:-1]), shape[-1]], "flat")
        made = product(site, flat, kernel, bias, f"{part}_flat".strip("_"), **options)
        return site.reshape(made, [*shape[:-1], kernel.shape[-1]], part)
    weight = kernel if rank == 2 else kernel.reshape((1,) * (rank - 2) + kernel.shape)
    return site.add(
        "dense" if rank == 2 else "conv",
        value,
        part,
        weight=site.array("kernel", weight, part),
        bias=False if bias is None else site.array("bias", bias, part),
        **options,
    )


def _sizes(site: Site, array: Any, key: str, axis: int, kernel: bool = True) -> None:
    """Raises SpecError unless sizes in the configuration agree with the shape of the weights."""
    o, shape = site.options, list(array.shape)
    said = o.whole(key, shape[axis] if len(shape) > 1 else None)
    if len(shape) < 2 or said != shape[axis]:
        raise o.place.key(key).spec_error(f"{said} is not what the weights of shape {shape} have")
    if kernel and (sizes := o.wholes("kernel_size", site.space, shape[: site.space])) != shape[: site.space]:
        raise o.place.key("kernel_size").spec_error(f"{sizes} is not what the weights of shape {shape} have")


def _bias(site: Site) -> list[str]:
    return ["bias"] if site.options.flag("use_bias", True) else []


def _bias_key(site: Site, arrays: Mapping[str, Any]) -> Any:
    return site.array("bias", arrays["bias"]) if "bias" in arrays else False


# Functions ------------------------------------------------------------------------------------------------------------


def _kernel(site: Site, position: int) -> Array:
    kernel = site.operands[position]
    if not isinstance(kernel, np.ndarray) or kernel.ndim < 3:
        raise Unsupported("a kernel that is no constant")
    return kernel


def _window(site: Site, kernel: Array) -> dict[str, Any]:
    """The window options of a function, besides its kernel."""
    o, axes = site.options, kernel.ndim - 2
    spatial(site, axes)
    return {
        "stride": short(o.wholes("strides", axes, 1)),
        "dilation": short(o.wholes("dilation_rate", axes, 1)),
        "padding": unless(o.text("padding", "valid", ("valid", "same")), "valid"),
    }


def conv_function(site: Site) -> str:
    kernel = _kernel(site, 1)
    site = site.reading(site.operands[0])
    said = _window(site, kernel)
    groups, odd = divmod(site.channels, kernel.shape[-2])
    if odd or not groups:
        raise site.options.place.spec_error(f"a kernel of shape {list(kernel.shape)} for {site.channels} channels")
    return site.add(
        "conv", site.input, weight=site.array("kernel", kernel), bias=False, groups=unless(groups, 1), **said
    )


def depthwise_function(site: Site) -> str:
    kernel = _kernel(site, 1)
    site = site.reading(site.operands[0])
    said = _window(site, kernel)
    return site.add("depthwise_conv", site.input, weight=site.array("kernel", kernel), bias=False, **said)


def separable_function(site: Site) -> str:
    kernel, pointwise = _kernel(site, 1), _kernel(site, 2)
    site = site.reading(site.operands[0])
    said = _window(site, kernel)
    named = site.array("kernel", kernel, "depthwise")
    made = site.add("depthwise_conv", site.input, "depthwise", weight=named, bias=False, **said)
    return site.add("conv", made, weight=site.array("kernel", pointwise), bias=False)
