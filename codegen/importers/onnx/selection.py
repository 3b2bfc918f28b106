"""Parts and repetitions of a tensor: Slice, Split, Expand, Tile, Pad."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from codegen.importers.onnx.builder import Builder, window
from codegen.importers.onnx.node import Constant, Live, Node, Refused, Results, type_of


def _slice(node: Node, b: Builder) -> Live | Constant:
    x = node.live()
    rank = len(x.shape)
    if node.opset < 10:
        starts, ends, axes, steps = (node.get(name) for name in ("starts", "ends", "axes", "steps"))
    else:
        names = ("starts", "ends", "axes", "steps")
        starts, ends, axes, steps = (node.whole_numbers(i, name) for i, name in enumerate(names, 1))
    starts, ends = starts or (), ends or ()
    axes = tuple(range(len(starts))) if axes is None else tuple(axes)
    steps = (1,) * len(starts) if steps is None else steps
    node.axes(axes, rank)
    if len({len(starts), len(ends), len(axes), len(steps)}) != 1 or 0 in steps:
        raise Refused("starts, ends, axes and steps do not fit each other")
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        part = _selected(x, b, axis % rank, _chosen(x.shape[axis % rank], start, end, step))
        if isinstance(part, Constant):
            return part
        x = part
    return x


def _chosen(size: int, start: int, end: int, step: int) -> range:
    """The start and end of a slice, clamped as in Python, except that a far negative number stays before the front."""
    begin = start + size if start < 0 else start
    stop = end + size if end < 0 else end
    if step > 0:
        return range(min(max(begin, 0), size), min(max(stop, 0), size), step)
    return range(min(max(begin, 0), size - 1), min(max(stop, -1), size - 1), step)


def _split(node: Node, b: Builder) -> list[Live | Constant]:
    x = node.live()
    axis = node.axis(0, len(x.shape))
    size, count = x.shape[axis], len(node.outputs)
    given = node.get("split") if node.opset < 13 else node.whole_numbers(1, "split")
    if given is None:
        if "num_outputs" in node.attributes and node.get("num_outputs") != count:
            raise Refused(f"num_outputs {node.get('num_outputs')} is not the number of its outputs")
        part = -(-size // count)
        if size % count and "num_outputs" not in node.attributes:
            raise Refused(f"{size} elements cannot be split into {count} equal parts")
        given = [min(part, max(size - k * part, 0)) for k in range(count)]
    if len(given) != count or sum(given) != size or min(given) < 0:
        raise Refused(f"split {list(given)} does not make {count} parts of {size} elements")
    ends = np.cumsum(given)
    ranges = [range(int(end) - n, int(end)) for end, n in zip(ends, given, strict=True)]
    return [
        _selected(x, b, axis, chosen, f"part_{k}") if used else x
        for k, (chosen, used) in enumerate(zip(ranges, node.outputs, strict=True), 1)
    ]


def _selected(x: Live, b: Builder, axis: int, chosen: range, tag: str = "") -> Live | Constant:
    """The elements of one axis that a range selects; a constant without elements if it selects none."""
    if chosen:
        return b.select(x, axis, chosen, tag)
    return Constant(f"{b.wanted}.nothing", np.zeros((*x.shape[:axis], 0, *x.shape[axis + 1 :]), dtype=type_of(x)))


def _expand(node: Node, b: Builder) -> Live:
    x, shape = node.live(), node.whole_numbers(1, "shape")
    try:
        whole = np.broadcast_shapes(x.shape, shape or ())
    except ValueError:
        raise Refused(f"shape {list(shape or ())} does not fit {list(x.shape)}") from None
    return b.expand(x, whole)


def _tile(node: Node, b: Builder) -> Live:
    x, times = node.live(), node.whole_numbers(1, "repeats") or ()
    if len(times) != len(x.shape) or min(times) < 1:
        raise Refused(f"repeats {list(times)} should have a number >= 1 for each axis of {list(x.shape)}")
    return b.repeat(x, times)


def _pad(node: Node, b: Builder) -> Live:
    x = node.live()
    rank = len(x.shape)
    mode = node.get("mode", "constant")
    if node.opset < 11:
        pads, value = tuple(node.get("pads") or ()), node.real("value", 0.0)
    else:
        pads, value = node.whole_numbers(1, "pads") or (), node.number(2, "value", 0.0)
    given = node.whole_numbers(3, "axes")
    axes = tuple(range(rank)) if given is None else tuple(a % rank if -rank <= a < rank else rank for a in given)
    if len(pads) != 2 * len(axes) or len(set(axes)) != len(axes) or rank in axes:
        raise Refused(f"pads {list(pads)} do not fit axes {list(axes)} of {list(x.shape)}")
    around = [(0, 0)] * rank
    for k, axis in enumerate(axes):
        around[axis] = (pads[k], pads[len(axes) + k])
    if mode not in ("constant", "edge", "reflect", "wrap"):
        raise Refused(f"mode {mode} is unknown")
    if min(pads, default=0) < 0 and mode != "constant":
        raise Refused(f"pads {list(pads)} crop the tensor in mode {mode}")
    for axis, (before, behind) in enumerate(around):
        if before < 0 or behind < 0:
            x = b.select(x, axis, range(max(-before, 0), x.shape[axis] - max(-behind, 0)), f"cropped_{axis}")
    around = [(max(before, 0), max(behind, 0)) for before, behind in around]
    if not any(map(any, around)):
        return x
    keys: dict[str, Any] = {"value": value} if value and mode == "constant" else {}
    if mode != "constant":
        keys["mode"] = mode
    if not any(map(any, around[:2])) and rank in (3, 4, 5):
        return b.layer("pad", x, **window((), (), around[2:]), **keys)
    # Axis by axis, as spatial axes after a batch axis and one channel.
    for axis, (before, behind) in enumerate(around):
        if before or behind:
            x = _pad_axis(x, b, axis, (before, behind), keys)
    return x


def _pad_axis(x: Live, b: Builder, axis: int, pads: tuple[int, int], keys: Mapping[str, Any]) -> Live:
    shape = x.shape
    batch = shape[0] if axis else 1
    front = int(np.prod(shape[1:axis], dtype=np.int64))
    behind = int(np.prod(shape[axis + 1 :], dtype=np.int64))
    y = b.reshape(x, (batch, front, shape[axis], behind), f"axis_{axis}")
    y = b.layer("pad", y, f"padded_{axis}", padding=[list(pads), [0, 0]], **keys)
    return b.reshape(y, (*shape[:axis], shape[axis] + sum(pads), *shape[axis + 1 :]), f"restored_{axis}")


SELECTION_OPERATORS: Mapping[str, Callable[[Node, Builder], Results]] = {
    "Expand": _expand,
    "Pad": _pad,
    "Slice": _slice,
    "Split": _split,
    "Tile": _tile,
}
