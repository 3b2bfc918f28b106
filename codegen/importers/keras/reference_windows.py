"""Reference of convolutions and pools in numpy, from Keras' documentation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from codegen.importers.keras.reference import Array, Given


def _margins(
    sizes: Sequence[int], taps: Sequence[int], strides: Sequence[int], dilations: Sequence[int], padding: str
) -> list[tuple[int, int]]:
    """The padding of each spatial axis; for "same" an odd element is at the end."""
    found = []
    for n, k, s, d in zip(sizes, taps, strides, dilations, strict=True):
        reach = d * (k - 1) + 1
        total = max((-(-n // s) - 1) * s + reach - n, 0) if padding == "same" else 0
        found.append((reach - 1, 0) if padding == "causal" else (total // 2, total - total // 2))
    return found


def _windows(
    x: Array, taps: Sequence[int], strides: Sequence[int], dilations: Sequence[int], padding: str, fill: float = 0.0
) -> list[tuple[tuple[int, ...], Array]]:
    """The pixels under each tap of all windows, one array per tap: [n, *positions, c]."""
    margins = _margins(x.shape[1:-1], taps, strides, dilations, padding)
    x = np.pad(x, [(0, 0), *margins, (0, 0)], constant_values=fill)
    reaches = [d * (k - 1) + 1 for k, d in zip(taps, dilations, strict=True)]
    places = [(n - r) // s + 1 for n, r, s in zip(x.shape[1:-1], reaches, strides, strict=True)]
    found = []
    for tap in np.ndindex(*taps):
        seen = [
            slice(t * d, t * d + (m - 1) * s + 1, s) for t, d, m, s in zip(tap, dilations, places, strides, strict=True)
        ]
        found.append((tap, x[(slice(None), *seen)]))
    return found


def _correlate(g: Given, x: Array, kernel: Array, padding: str, groups: int = 1) -> Array:
    """Cross-correlation with ``kernel`` [*taps, c / groups, o]."""
    parts = []
    windows = _windows(x, kernel.shape[:-2], g.each("strides", 1), g.each("dilation_rate", 1), padding)
    ci, co = kernel.shape[-2], kernel.shape[-1] // groups
    for i in range(groups):
        part = kernel[..., i * co : (i + 1) * co]
        parts.append(sum(seen[..., i * ci : (i + 1) * ci] @ part[tap] for tap, seen in windows))
    return np.concatenate(parts, -1)


def _each_channel(g: Given, x: Array, kernel: Array) -> Array:
    """Depthwise convolution with ``kernel`` [*taps, c, m]; channel c gives channels c * m to c * m + m - 1."""
    windows = _windows(
        x, kernel.shape[:-2], g.each("strides", 1), g.each("dilation_rate", 1), g.get("padding", "valid")
    )
    y = np.asarray(sum(seen[..., None] * kernel[tap] for tap, seen in windows))
    return y.reshape(*y.shape[:-2], -1)


def _biased(g: Given, y: Array) -> Array:
    return y + g.arrays[-1] if g.get("use_bias", True) else y


def _finished(g: Given, y: Array) -> Array:
    return g.activated(g.back(_biased(g, y)))


def conv(g: Given) -> Array:
    return _finished(g, _correlate(g, g.last, g.arrays[0], g.get("padding", "valid"), g.get("groups", 1)))


def depthwise_conv(g: Given) -> Array:
    return _finished(g, _each_channel(g, g.last, g.arrays[0]))


def separable_conv(g: Given) -> Array:
    y, kernel = _each_channel(g, g.last, g.arrays[0]), g.arrays[1]
    return _finished(g, y @ kernel.reshape(kernel.shape[-2:]))


def conv_transpose(g: Given) -> Array:
    """The gradient of a convolution: each input pixel is spread over a window.  ``kernel`` is [*taps, o, c]."""
    x, kernel = g.last, g.arrays[0]
    taps, strides, dilations = kernel.shape[:-2], g.each("strides", 1), g.each("dilation_rate", 1)
    reaches = [d * (k - 1) + 1 for k, d in zip(taps, dilations, strict=True)]
    full = [(n - 1) * s + max(r, s) for n, s, r in zip(x.shape[1:-1], strides, reaches, strict=True)]
    y = np.zeros((x.shape[0], *full, kernel.shape[-2]))
    for tap in np.ndindex(*taps):
        reached = [
            slice(t * d, t * d + (n - 1) * s + 1, s)
            for t, d, n, s in zip(tap, dilations, x.shape[1:-1], strides, strict=True)
        ]
        y[(slice(None), *reached)] += x @ kernel[tap].T
    if g.get("padding", "valid") == "same":
        kept = []
        for n, s, r in zip(x.shape[1:-1], strides, reaches, strict=True):
            before = max(r - s, 0) // 2
            kept.append(slice(before, before + n * s))
        y = y[(slice(None), *kept)]
    return _finished(g, y)


def dense(g: Given) -> Array:
    return g.activated(_biased(g, g.inputs @ g.arrays[0]))


def _pool(g: Given, x: Array, fill: float) -> list[Array]:
    taps = g.each("pool_size", 2)
    windows = _windows(x, taps, g.each("strides", taps), [1] * len(taps), g.get("padding", "valid"), fill)
    return [seen for _, seen in windows]


def max_pool(g: Given) -> Array:
    return g.back(np.max(_pool(g, g.last, -math.inf), axis=0))


def average_pool(g: Given) -> Array:
    """Average pooling that does not count padding."""
    x = g.last
    return g.back(np.sum(_pool(g, x, 0.0), axis=0) / np.sum(_pool(g, np.ones_like(x), 0.0), axis=0))


def _global(reduce: Callable[..., Any]) -> Callable[[Given], Array]:
    def compute(g: Given) -> Array:
        axes = range(2, np.ndim(g.inputs)) if g.first else range(1, np.ndim(g.inputs) - 1)
        return np.asarray(reduce(g.inputs, axis=tuple(axes), keepdims=bool(g.get("keepdims", False))))

    return compute


def _adaptive(reduce: Callable[..., Any]) -> Callable[[Given], Array]:
    """Adaptive pooling: window i of an axis goes from floor(i n / m) to ceil((i + 1) n / m)."""

    def compute(g: Given) -> Array:
        y = g.last
        sizes = g.config["output_size"]
        for axis, m in enumerate(sizes if isinstance(sizes, list) else [sizes] * (y.ndim - 2), 1):
            n = y.shape[axis]
            spans = [slice(i * n // m, -(-(i + 1) * n // m)) for i in range(m)]
            parts = [reduce(y[(slice(None),) * axis + (span,)], axis=axis, keepdims=True) for span in spans]
            y = np.concatenate(parts, axis)
        return g.back(y)

    return compute


WINDOW_LAYERS: Mapping[str, Callable[[Given], Array]] = {
    **{f"Conv{n}D": conv for n in (1, 2, 3)},
    **{f"DepthwiseConv{n}D": depthwise_conv for n in (1, 2)},
    **{f"SeparableConv{n}D": separable_conv for n in (1, 2)},
    **{f"Conv{n}DTranspose": conv_transpose for n in (1, 2, 3)},
    **{f"MaxPooling{n}D": max_pool for n in (1, 2, 3)},
    **{f"AveragePooling{n}D": average_pool for n in (1, 2, 3)},
    **{f"GlobalMaxPooling{n}D": _global(np.max) for n in (1, 2, 3)},
    **{f"GlobalAveragePooling{n}D": _global(np.mean) for n in (1, 2, 3)},
    **{f"AdaptiveMaxPooling{n}D": _adaptive(np.max) for n in (1, 2, 3)},
    **{f"AdaptiveAveragePooling{n}D": _adaptive(np.mean) for n in (1, 2, 3)},
    "Dense": dense,
}
