"""Pooling, and layers that change spatial sizes: padding, cropping, resampling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from codegen.frontend.spec.place import show
from codegen.importers.keras.options import Unsupported
from codegen.importers.keras.site import Site, Translation, one_or_all, spatial, unless

# Pools ----------------------------------------------------------------------------------------------------------------


def pool(op: str, axes: int = 0) -> Translation:
    """Pooling over ``axes`` spatial axes; 0 stands for as many as the input has."""

    def translate(site: Site) -> str:
        rank, o = spatial(site, axes or site.space), site.options
        kernel = o.wholes("pool_size", rank, 2)
        stride = one_or_all(o.wholes("strides", rank, kernel))
        return site.add(
            op,
            site.input,
            kernel=one_or_all(kernel),
            stride=unless(stride, one_or_all(kernel)),
            padding=unless(o.text("padding", "valid", ("valid", "same")), "valid"),
        )

    return translate


def global_pool(op: str, axes: int) -> Translation:
    def translate(site: Site) -> str:
        spatial(site, axes)
        if site.options.flag("keepdims", False):
            return site.add(op, site.input)
        return site.add("flatten", site.add(op, site.input, "pool"))

    return translate


def adaptive_pool(op: str, axes: int = 0) -> Translation:
    """Adaptive pooling, whose window i is from floor(i n / m) to ceil((i + 1) n / m): a pool if m divides n."""

    def translate(site: Site) -> str:
        rank = spatial(site, axes or site.space)
        sizes, wanted = site.document.shape(site.input)[2:], site.options.wholes("output_size", rank)
        if any(n % m for n, m in zip(sizes, wanted, strict=True)):
            raise Unsupported(f"output_size = {show(wanted)}, which does not divide {show(list(sizes))}")
        kernel = one_or_all([n // m for n, m in zip(sizes, wanted, strict=True)])
        return site.add(op, site.input, kernel=kernel)

    return translate


# Sizes ----------------------------------------------------------------------------------------------------------------


def _zero_padding(axes: int) -> Translation:
    def translate(site: Site) -> str:
        rank = spatial(site, axes)
        return site.add("pad", site.input, padding=site.options.pairs("padding", rank))

    return translate


def _cropping(axes: int) -> Translation:
    def translate(site: Site) -> str:
        rank = spatial(site, axes)
        sizes = site.document.shape(site.input)[2:]
        pairs = site.options.pairs("cropping", rank)
        spans = [(before, size - behind) for (before, behind), size in zip(pairs, sizes, strict=True)]
        return _cropped(site, site.input, spans)

    return translate


def _cropped(site: Site, value: str, spans: Sequence[tuple[int, int]], part: str = "") -> str:
    """The elements between two positions of each spatial axis."""
    sizes = site.document.shape(value)[2:]
    cut = [axis for axis, (span, size) in enumerate(zip(spans, sizes, strict=True), 2) if span != (0, size)]
    for axis in cut:
        (start, stop), size = spans[axis - 2], sizes[axis - 2]
        name = part if axis == cut[-1] else f"{part}_axis_{axis}".strip("_")
        value = site.add("slice", value, name, axis=axis, start=unless(start, 0), stop=unless(stop, size))
    return value


_MODES = ("nearest", "bilinear", "bicubic")


def _upsampling(axes: int) -> Translation:
    def translate(site: Site) -> str:
        rank, o = spatial(site, axes), site.options
        scale = o.wholes("size", rank, 2)
        mode = o.text("interpolation", "nearest", _MODES if axes == 2 else ("nearest",))
        if mode == "nearest":
            return site.add("upsample", site.input, scale=one_or_all(scale))
        sizes = [n * s for n, s in zip(site.document.shape(site.input)[2:], scale, strict=True)]
        return _resized(site, site.input, sizes, mode)

    return translate


def _resized(site: Site, value: str, size: Sequence[int], mode: str, antialias: bool = False, part: str = "") -> str:
    """Resampling as in TensorFlow and JAX.

    Pixel centres are at half-integers, the cubic coefficient a is -1/2, and pixels beyond the edge have no weight.
    """
    before = list(site.document.shape(value)[2:])
    if list(size) == before:
        return value
    if mode == "nearest":
        whole = all(m % n == 0 for m, n in zip(size, before, strict=True))
        how: dict[str, Any] = {} if whole else {"coordinates": "tf_half_pixel_for_nn"}
        return site.add("upsample", value, part, size=list(size), **how)
    widened = antialias and any(m < n for m, n in zip(size, before, strict=True))
    how = {"antialias": True, "exclude_outside": True} if widened else {}
    if mode == "bicubic":
        how |= {"cubic": -0.5, "exclude_outside": True}
    return site.add("upsample", value, part, size=list(size), mode=mode, **how)


def resize(site: Site) -> str:
    """The layer Resizing with ``height`` and ``width``, or the function with ``size``."""
    spatial(site, 2)
    o = site.options
    o.require("fill_mode", "constant")
    size = o.wholes("size", 2) if o.get("size") is not None else [o.whole("height"), o.whole("width")]
    mode, antialias = o.text("interpolation", "bilinear", _MODES), o.flag("antialias", False)
    crop, pad, fill = (
        o.flag("crop_to_aspect_ratio", False),
        o.flag("pad_to_aspect_ratio", False),
        o.number("fill_value", 0.0),
    )
    value = site.input
    if crop and pad:
        raise Unsupported("both crop_to_aspect_ratio and pad_to_aspect_ratio")
    if crop:
        value = _to_aspect(site, size)
    if pad:
        height, width = site.document.shape(value)[2:]
        taller, wider = max(height, width * size[0] // size[1]), max(width, height * size[1] // size[0])
        margins = [[(taller - height) // 2] * 2, [(wider - width) // 2] * 2]
        if margins[0][0]:
            margins[1] = [0, 0]
        if any(map(any, margins)):
            value = site.add("pad", value, "padded", padding=margins, value=fill or None)
    return _resized(site, value, size, mode, antialias)


def _to_aspect(site: Site, size: Sequence[int]) -> str:
    """The largest centred part with the aspect ratio of ``size``."""
    height, width = site.document.shape(site.input)[2:]
    flat = max(min(height, width * size[0] // size[1]), 1)
    slim = max(min(width, height * size[1] // size[0]), 1)
    top, left = (height - flat) // 2, (width - slim) // 2
    return _cropped(site, site.input, [(top, top + flat), (left, left + slim)], "aspect")


def _center_crop(site: Site) -> str:
    """The centre; if the image is too small, the largest part of the right aspect ratio, resampled."""
    spatial(site, 2)
    size = [site.options.whole("height"), site.options.whole("width")]
    rest = [n - m for n, m in zip(site.document.shape(site.input)[2:], size, strict=True)]
    if min(rest) >= 0:
        return _cropped(site, site.input, [(n // 2, n // 2 + m) for n, m in zip(rest, size, strict=True)])
    return _resized(site, _to_aspect(site, size), size, "bilinear")


def _random_crop(site: Site) -> str:
    """RandomCrop in inference.

    Keras 2 crops to the aspect ratio and resamples; later versions return the image unchanged, although they report a
    changed shape.
    """
    spatial(site, 2)
    site.options.pass_over("rng_type")
    size = [site.options.whole("height"), site.options.whole("width")]
    if list(site.document.shape(site.input)[2:]) == size:
        return site.input
    if site.major >= 3:
        raise Unsupported("a size that is not that of its input: what it does in inference depends on Keras' version")
    return _resized(site, _to_aspect(site, size), size, "bilinear")


_GRAY = (0.2989, 0.587, 0.114)


def gray(site: Site) -> str:
    """Grayscale as a weighted sum of red, green and blue, computed by a convolution to one channel."""
    spatial(site, 2)
    if site.channels != 3:
        raise site.options.place.spec_error(f"should read 3 channels; its input has {site.channels}")
    kernel = site.array("kernel", [[[[weight] for weight in _GRAY]]])
    return site.add("conv", site.input, weight=kernel, bias=False)


IMAGE_LAYERS: Mapping[str, Translation] = {
    **{f"MaxPooling{n}D": pool("max_pool", n) for n in (1, 2, 3)},
    **{f"AveragePooling{n}D": pool("average_pool", n) for n in (1, 2, 3)},
    **{f"GlobalMaxPooling{n}D": global_pool("global_max_pool", n) for n in (1, 2, 3)},
    **{f"GlobalAveragePooling{n}D": global_pool("global_average_pool", n) for n in (1, 2, 3)},
    **{f"AdaptiveMaxPooling{n}D": adaptive_pool("max_pool", n) for n in (1, 2, 3)},
    **{f"AdaptiveAveragePooling{n}D": adaptive_pool("average_pool", n) for n in (1, 2, 3)},
    **{f"ZeroPadding{n}D": _zero_padding(n) for n in (1, 2, 3)},
    **{f"Cropping{n}D": _cropping(n) for n in (1, 2, 3)},
    **{f"UpSampling{n}D": _upsampling(n) for n in (1, 2, 3)},
    "Resizing": resize,
    "CenterCrop": _center_crop,
    "RandomCrop": _random_crop,
}
