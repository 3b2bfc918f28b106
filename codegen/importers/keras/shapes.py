"""Layers and functions that move elements: reshaping, transposing, concatenating, splitting, repeating."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from codegen.frontend.spec.place import show
from codegen.importers.keras.options import Unsupported
from codegen.importers.keras.site import Site, Translation, bounded, unless

# Layers ---------------------------------------------------------------------------------------------------------------


def _flatten(site: Site) -> str:
    if site.rank == 2:
        site.options.pass_over("data_format")
        return site.input
    moved = site.options.text("data_format", "channels_last") == "channels_first"
    if moved and not site.channels_first:
        raise Unsupported("data_format differs from that of other layers, channels_last")
    # In a channels-first network, the layer moves the channels last if it has the option data_format.
    last = moved or not site.channels_first
    return site.add("flatten", site.input, order="NHWC" if last else "NCHW")


def _reshape_layer(site: Site) -> str:
    batch = site.full_shape(site.input)[0]
    return site.reshape(site.input, [batch, *_sizes(site, "target_shape", site.model_shape(site.input))])


def _sizes(site: Site, key: str, shape: Sequence[int]) -> list[int]:
    """A shape for a number of elements, with -1 replaced by the remaining size."""
    target = site.options.get(key)
    if isinstance(target, int):
        target = [target]
    if not isinstance(target, list) or not all(isinstance(n, int) and not isinstance(n, bool) for n in target):
        raise site.options.place.key(key).spec_error(f"{show(target)} should be a list of sizes")
    elements, known = math.prod(shape), math.prod(n for n in target if n != -1)
    if target.count(-1) > 1 or any(n < 1 and n != -1 for n in target) or elements % known:
        raise site.options.place.key(key).spec_error(f"{show(target)} does not hold {elements} elements")
    return [elements // known if n == -1 else n for n in target]


def _permute(site: Site) -> str:
    dims, rank = site.options.get("dims"), site.rank
    if not isinstance(dims, list) or sorted(map(str, dims)) != [str(n) for n in range(1, rank)]:
        raise site.options.place.key("dims").spec_error(f"{show(dims)} should name the axes 1 to {rank - 1}")
    return site.transpose(site.input, [0, *dims])


def _repeat_vector(site: Site) -> str:
    if site.rank != 2:
        raise site.options.place.spec_error(f"should read 2 axes; its input has {site.rank}")
    batch, size = site.full_shape(site.input)
    row = site.reshape(site.input, [batch, 1, size], "row")
    return _tiled(site, row, [1, site.options.whole("n"), 1])


def _concatenate_layer(site: Site) -> str:
    return joined(site, site.inputs, site.options.get("axis", -1))


SHAPE_LAYERS: Mapping[str, Translation] = {
    "Flatten": _flatten,
    "Reshape": _reshape_layer,
    "Permute": _permute,
    "RepeatVector": _repeat_vector,
    "Concatenate": _concatenate_layer,
}


# Functions ------------------------------------------------------------------------------------------------------------


def joined(site: Site, values: Sequence[str], axis: Any, part: str = "") -> str:
    axis = site.axis(axis, len(site.document.shape(values[0])))
    return values[0] if len(values) == 1 else site.add("concat", list(values), part, axis=unless(axis, 1))


def _several(site: Site) -> list[str]:
    """The values of a list of tensors and constants."""
    items = site.operands[0]
    if not isinstance(items, (list, tuple)) or not items:
        raise Unsupported("what is no list of tensors")
    found = [site.constant(f"item_{i}", item) if isinstance(item, np.ndarray) else item for i, item in enumerate(items)]
    if not all(isinstance(item, str) for item in found):
        raise Unsupported("a list of something else than tensors")
    return found


def _concatenate(site: Site) -> str:
    return joined(site, _several(site), site.options.get("axis", 0))


def _stack(site: Site) -> str:
    values = _several(site)
    shape = site.full_shape(values[0])
    axis = site.model_axis(site.options.get("axis", 0), len(shape) + 1)
    wide = [site.reshape(v, [*shape[:axis], 1, *shape[axis:]], f"item_{i}") for i, v in enumerate(values)]
    return joined(site, wide, axis)


def _pieces(site: Site, axis: int, bounds: Sequence[int]) -> list[str]:
    """The parts of an axis of the model between consecutive positions."""
    where = site.to_spec(axis, site.rank)
    found = []
    for i, (start, stop) in enumerate(pairwise(bounds)):
        if stop <= start:
            raise Unsupported(f"part {i} of a split, which has no elements")
        found.append(_sliced(site, site.input, where, slice(start, stop), f"part_{i}"))
    return found


def _sliced(site: Site, value: str, axis: int, span: slice, part: str) -> str:
    """Elements of an axis of the spec; the value itself if all are taken."""
    size = site.document.shape(value)[axis]
    chosen = range(size)[span]
    if not chosen:
        raise Unsupported(f"a slice of no elements of the {size} of axis {axis}")
    if chosen == range(size):
        return value
    start, stop, step = span.start, span.stop, 1 if span.step is None else span.step
    return site.add("slice", value, part, axis=axis, start=start, stop=stop, step=unless(step, 1))


def _split(site: Site) -> list[str]:
    axis, option = site.model_axis(site.options.get("axis", 0), site.rank), site.options.get("indices_or_sections")
    size = site.full_shape(site.input)[axis]
    if isinstance(option, int) and not isinstance(option, bool) and option > 0 and size % option == 0:
        return _pieces(site, axis, list(range(0, size + 1, size // option)))
    places = site.options.numbers("indices_or_sections", 0.0)
    if places.ndim != 1 or (places != np.floor(places)).any():
        raise Unsupported(f"indices_or_sections = {show(option)} of {size} elements")
    bounds = [min(int(n) if n >= 0 else int(n) + size, size) for n in places]
    return _pieces(site, axis, [0, *bounds, size])


def _unstack(site: Site) -> list[str]:
    axis = site.model_axis(site.options.get("axis", 0), site.rank)
    shape = site.full_shape(site.input)
    site.options.require("num", None, shape[axis])
    rest = [n for a, n in enumerate(shape) if a != axis]
    return [
        site.reshape(piece, rest, f"item_{i}")
        for i, piece in enumerate(_pieces(site, axis, list(range(shape[axis] + 1))))
    ]


def _reshape(site: Site) -> str:
    return site.reshape(site.input, _sizes(site, "newshape", site.full_shape(site.input)))


def _tf_reshape(site: Site) -> str:
    return site.reshape(site.input, _sizes(site, "shape", site.full_shape(site.input)))


def _ravel(site: Site) -> str:
    return site.reshape(site.input, [math.prod(site.full_shape(site.input))])


def _squeeze(site: Site) -> str:
    shape, axis = site.full_shape(site.input), site.options.get("axis")
    if axis is None and shape[0] == 1:
        raise Unsupported("axis = null, which takes the batch away too where that is 1")
    gone = [a for a, n in enumerate(shape) if n == 1] if axis is None else site.model_axes(axis, site.rank)
    if any(shape[a] != 1 for a in gone):
        raise Unsupported(f"axis = {show(axis)} of a tensor of shape {shape}")
    return site.reshape(site.input, [n for a, n in enumerate(shape) if a not in gone])


def _expand_dims(site: Site) -> str:
    axis, shape = site.options.get("axis"), site.full_shape(site.input)
    count = len(axis) if isinstance(axis, list) else 1
    if axis is None:
        raise site.options.place.key("axis").spec_error("is missing")
    new, left = site.model_axes(axis, len(shape) + count), iter(shape)
    return site.reshape(site.input, [1 if a in new else next(left) for a in range(len(shape) + count)])


def _transpose(site: Site) -> str:
    axes = site.options.get("axes", list(range(site.rank))[::-1])
    if not isinstance(axes, list) or len(axes) != site.rank:
        raise Unsupported(f"axes = {show(axes)} of a tensor with {site.rank} axes")
    site.model_axes(axes, site.rank)
    return site.transpose(site.input, [site.model_axis(axis, site.rank) for axis in axes])


def _swapaxes(site: Site) -> str:
    a, b = (site.model_axis(site.options.get(key), site.rank) for key in ("axis1", "axis2"))
    axes = list(range(site.rank))
    axes[a], axes[b] = b, a
    return site.transpose(site.input, axes)


def _moveaxis(site: Site) -> str:
    sides = []
    for key in ("source", "destination"):
        option = site.options.get(key)
        sides.append([site.model_axis(a, site.rank) for a in (option if isinstance(option, list) else [option])])
    source, destination = sides
    if len(source) != len(destination) or len(set(source)) != len(source) or len(set(destination)) != len(source):
        raise Unsupported(f"source = {source} and destination = {destination}")
    axes = [axis for axis in range(site.rank) if axis not in source]
    for place, axis in sorted(zip(destination, source, strict=True)):
        axes.insert(place, axis)
    return site.transpose(site.input, axes)


def _repeat(site: Site) -> str:
    axis = site.options.get("axis")
    if axis is None:
        raise Unsupported("axis = null")
    where = site.axis(axis, site.rank)
    repeats, size = site.options.numbers("repeats", 1.0), site.document.shape(site.input)[where]
    if repeats.ndim > 1 or repeats.size not in (1, size) or (repeats < 0).any() or (repeats != np.floor(repeats)).any():
        raise Unsupported(f"repeats = {show(repeats.tolist())} of {size} elements")
    bounded(float(np.broadcast_to(repeats.reshape(-1), size).sum()))
    return _taken(site, where, np.repeat(np.arange(size), repeats.reshape(-1).astype(int)))


def _taken(site: Site, axis: int, places: np.ndarray) -> str:
    if not places.size:
        raise Unsupported("no elements")
    if list(places) == list(range(site.document.shape(site.input)[axis])):
        return site.input
    return site.add("take", site.input, axis=axis, indices=site.array("indices", places.astype(np.float64)))


def _take(site: Site) -> str:
    """Elements at constant positions along an axis; a single number as position drops the axis."""
    places, axis = site.operands[1], site.options.get("axis")
    site = site.reading(site.operands[0])
    if axis is None or isinstance(places, str) or places is None:
        raise Unsupported("axis = null" if axis is None else "places that are computed")
    places = np.asarray(places, np.float64)
    where = site.model_axis(axis, site.rank)
    shape = site.full_shape(site.input)
    if (places != np.floor(places)).any() or (places < -shape[where]).any() or (places >= shape[where]).any():
        raise Unsupported(f"places that are not among {shape[where]} elements")
    flat = places.reshape(-1).astype(int) % shape[where]
    made = _taken(site, site.to_spec(where, site.rank), flat)
    return site.reshape(made, [*shape[:where], *places.shape, *shape[where + 1 :]], "shaped")


def _tile(site: Site) -> str:
    times = site.options.get("repeats")
    times = times if isinstance(times, list) else [times]
    if not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in times):
        raise site.options.place.key("repeats").spec_error(f"{show(times)} should be numbers of at least 1")
    rank = max(len(times), site.rank)
    return _tiled(site, site.widen(site.input, rank), [1] * (rank - len(times)) + times)


def _tiled(site: Site, value: str, times: Sequence[int]) -> str:
    if set(times) == {1}:
        return value
    return site.add("repeat", value, times=[times[axis] for axis in site.axes_in_spec(len(times))])


def _broadcast_to(site: Site) -> str:
    target = site.options.get("shape")
    if not isinstance(target, list) or not all(isinstance(n, int) for n in target) or len(target) < site.rank:
        raise Unsupported(f"shape = {show(target)}")
    wide = site.widen(site.input, len(target))
    shape = site.full_shape(wide)
    times = []
    for n, m in zip(shape, target, strict=True):
        if n != m and n != 1:
            raise Unsupported(f"shape = {show(target)} of a tensor of shape {shape}")
        times.append(m // n)
    return _tiled(site, wide, times)


def _flip(site: Site) -> str:
    value = site.input
    for axis in site.model_axes(site.options.get("axis"), site.rank):
        where = site.to_spec(axis, site.rank)
        value = _sliced(site, value, where, slice(None, None, -1), f"axis_{axis}")
    return value


def _roll(site: Site) -> str:
    shift, axis = site.options.get("shift"), site.options.get("axis")
    if axis is None:
        raise Unsupported("axis = null")
    shifts, axes = (value if isinstance(value, list) else [value] for value in (shift, axis))
    if len(shifts) != len(axes) or not all(isinstance(n, int) and not isinstance(n, bool) for n in shifts):
        raise Unsupported(f"shift = {show(shift)}")
    value = site.input
    for by, a in zip(shifts, axes, strict=True):
        where = site.axis(a, site.rank)
        size = site.document.shape(value)[where]
        if by % size:
            cut = size - by % size
            front = _sliced(site, value, where, slice(cut, None), f"behind_{where}")
            value = site.add(
                "concat", [front, _sliced(site, value, where, slice(0, cut), f"before_{where}")], axis=where
            )
    return value


_PAD_MODES = {"constant": "constant", "edge": "edge", "reflect": "reflect", "wrap": "wrap"}


def _pad(site: Site) -> str:
    """Padding of spatial axes, or constant padding of any axes."""
    fill = site.operands[1]
    site = site.reading(site.operands[0])
    rank, o = site.rank, site.options
    mode = o.text("mode", "constant", tuple(_PAD_MODES))
    margins = _margins(site, o.get("pad_width"), rank)
    if fill is None:
        fill = 0.0
    if isinstance(fill, (str, list)) or np.ndim(fill) or (mode != "constant" and fill):
        raise Unsupported("constant_values that are no number")
    value = float(np.asarray(fill, np.float64))
    spans = [margins[axis] for axis in site.axes_in_spec(rank)]
    if rank > 2 and not any(map(any, spans[:2])):
        if not any(map(any, spans)):
            return site.input
        how = {"value": value or None, "mode": unless(mode, "constant")}
        return site.add("pad", site.input, padding=[list(span) for span in spans[2:]], **how)
    if mode != "constant":
        raise Unsupported(f"mode = {show(mode)} along the batch or the channels")
    made = site.input
    for axis, (before, behind) in enumerate(margins):
        blocks = []
        for name, count in (("before", before), ("", 0), ("behind", behind)):
            shape = site.full_shape(made)
            shape[axis] = count
            if not name:
                blocks.append(made)
            elif count:
                bounded(math.prod(shape))
                blocks.append(site.constant(f"{name}_{axis}", np.full(shape, value)))
        if len(blocks) > 1:
            made = site.add("concat", blocks, f"axis_{axis}", axis=site.to_spec(axis, rank))
    return made


def _margins(site: Site, option: Any, rank: int) -> list[tuple[int, int]]:
    """(before, after) for each axis of the model, from one number, one pair, or a pair for each."""
    items = [option] if isinstance(option, int) else option
    if isinstance(items, list) and len(items) == 2 and all(isinstance(n, int) for n in items):
        items = [items]
    if not isinstance(items, list) or not items:
        raise site.options.place.key("pad_width").spec_error(f"{show(option)} should be pairs of sizes")
    pairs = [item if isinstance(item, list) else [item, item] for item in items]
    pairs = pairs * rank if len(pairs) == 1 else pairs
    whole = all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n < 2**31 for pair in pairs for n in pair)
    if len(pairs) != rank or any(len(pair) != 2 for pair in pairs) or not whole:
        raise site.options.place.key("pad_width").spec_error(f"{show(option)} should be pairs of sizes of {rank} axes")
    return [(pair[0], pair[1]) for pair in pairs]


def _get_item(site: Site) -> str:
    """x[key] for numbers, slices, an ellipsis, and None for a new axis."""
    key = site.options.get("key")
    items = key if isinstance(key, list) else [key]
    used = sum(item is not None and not _is(item, "__ellipsis__") for item in items)
    dots = [i for i, item in enumerate(items) if _is(item, "__ellipsis__")]
    if used > site.rank or len(dots) > 1:
        raise site.options.place.key("key").spec_error(f"{len(items)} places for {site.rank} axes")
    rest: list[Any] = [slice(None)] * (site.rank - used)
    items = [*items[: dots[0]], *rest, *items[dots[0] + 1 :]] if dots else [*items, *rest]
    value, axis, shape = site.input, 0, []
    for item in items:
        if item is None:
            shape.append(1)
            continue
        where, size = site.to_spec(axis, site.rank), site.document.shape(value)[site.to_spec(axis, site.rank)]
        if isinstance(item, int) and not isinstance(item, bool):
            if not -size <= item < size:
                raise site.options.place.key("key").spec_error(f"{item} is none of {size} elements")
            value = _sliced(site, value, where, slice(item % size, item % size + 1), f"axis_{axis}")
        else:
            value = _sliced(site, value, where, _as_slice(item), f"axis_{axis}")
            shape.append(site.document.shape(value)[where])
        axis += 1
    return site.reshape(value, shape, "shaped")


def _is(item: Any, kind: str) -> bool:
    return isinstance(item, Mapping) and item.get("class_name") == kind


def _as_slice(item: Any) -> slice:
    if isinstance(item, slice):
        return item
    config = item.get("config") if _is(item, "__slice__") else None
    if not isinstance(config, Mapping):
        raise Unsupported(f"places {show(item)}")
    parts = [config.get(name) for name in ("start", "stop", "step")]
    if not all(part is None or (isinstance(part, int) and not isinstance(part, bool)) for part in parts):
        raise Unsupported(f"places {show(parts)}")
    if parts[2] == 0:
        raise Unsupported("a slice with step 0")
    return slice(*parts)


def _depth(site: Site, into_space: bool) -> str:
    """Moves blocks between space and channels, in TensorFlow's order: a pixel's channels are [row, column, channel]."""
    site.check_format()
    block = site.options.whole("block_size")
    n, *space, c = _last(site)
    if len(space) != 2 or (c % block**2 if into_space else any(size % block for size in space)):
        raise site.options.place.key("block_size").spec_error(f"{block} does not fit {site.full_shape(site.input)}")
    h, w = space
    x = site.input
    if site.channels_first:
        if into_space:
            y = site.reshape(x, [n, block, block, c // block**2, h, w], "blocks")
            y = site.transpose(y, [0, 3, 4, 1, 5, 2], "turned")
            return site.reshape(y, [n, c // block**2, h * block, w * block])
        y = site.reshape(x, [n, c, h // block, block, w // block, block], "blocks")
        y = site.transpose(y, [0, 3, 5, 1, 2, 4], "turned")
        return site.reshape(y, [n, c * block**2, h // block, w // block])
    if into_space:
        y = site.reshape(x, [n, h, w, block, block, c // block**2], "blocks")
        y = site.transpose(y, [0, 1, 3, 2, 4, 5], "turned")
        return site.reshape(y, [n, h * block, w * block, c // block**2])
    y = site.reshape(x, [n, h // block, block, w // block, block, c], "blocks")
    y = site.transpose(y, [0, 1, 3, 2, 4, 5], "turned")
    return site.reshape(y, [n, h // block, w // block, c * block**2])


def _last(site: Site) -> list[int]:
    """The input's shape with channels last."""
    shape = site.full_shape(site.input)
    return [shape[0], *shape[2:], shape[1]] if site.channels_first else shape


def _identity(site: Site) -> str:
    return site.input


SHAPE_FUNCTIONS: Mapping[str, Translation] = {
    "BroadcastTo": _broadcast_to,
    "Concatenate": _concatenate,
    "Copy": _identity,
    "DepthToSpace": lambda site: _depth(site, True),
    "ExpandDims": _expand_dims,
    "Flip": _flip,
    "GetItem": _get_item,
    "Moveaxis": _moveaxis,
    "Pad": _pad,
    "Ravel": _ravel,
    "Repeat": _repeat,
    "Reshape": _reshape,
    "Roll": _roll,
    "SpaceToDepth": lambda site: _depth(site, False),
    "Split": _split,
    "Squeeze": _squeeze,
    "Stack": _stack,
    "StopGradient": _identity,
    "Swapaxes": _swapaxes,
    "Take": _take,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unstack": _unstack,
    "reshape": _tf_reshape,
}
"""Translations by Keras 3's class names, and by lower-case names of TensorFlow's functions with other arguments."""
