"""C expressions for where an element lies, printed the way a person would write them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from codegen.plan.kernels import Index, PaddedIndex, SameIndex, Sample, SampleAxis, SelectedIndex, TableIndex
from codegen.plan.layout import Layout, Named


def address(layout: Layout | Named, n: str, channel: str, h: str, w: str) -> str:
    """The offset of a pixel of a canonical layout; ``channel`` counts channels, or blocks where there are blocks.

    ``h`` counts the rows of all planes where the layout has a depth of its own.
    """
    sn, sc, *rows, sw = layout.strides
    terms: list[tuple[str, int | str]] = [
        (n, sn if layout.shape[0] > 1 else 0),
        (channel, 0 if layout.broadcast else sc),
    ]
    if len(rows) == 1:
        terms.append((h, rows[0]))
    else:
        assert isinstance(layout, Layout)
        height = layout.shape[3]
        terms += [(f"{_factor(h)} / {height}", rows[0]), (f"{_factor(h)} % {height}", rows[1])]
    return _sum([*terms, (w, sw)])


def scaled(index: str, factor: int | str, offset: int) -> str:
    """index * factor + offset, without what changes nothing."""
    if factor == 0:
        return str(offset)
    text = index if factor == 1 else f"{_factor(index)} * {factor}"
    return text if offset == 0 else f"{text} {'+' if offset > 0 else '-'} {abs(offset)}"


def divided(index: str, divisor: int) -> str:
    """index / divisor, without a division by 1."""
    return index if divisor == 1 else f"{index} / {divisor}"


def load(layout: Layout | Named, pointer: str, n: str, block: str, h: str, w: str, c: int) -> str:
    """A vector of the ``c`` channels of a block at one pixel of a canonical layout; lanes behind the last are 0."""
    if layout.broadcast:
        return f"BROADCAST(block, {pointer}[{address(layout, n, '0', h, w)}])"
    if layout.block > 1:
        return f"LOAD_BLOCK(0, {_offset(pointer, address(layout, n, block, h, w))})"
    assert isinstance(layout, Layout)
    channels = layout.shape[1]
    lanes = []
    for lane in range(c):
        channel = _lane(block, lane, c)
        element = f"{pointer}[{address(layout, n, channel, h, w)}]"
        if channels % c:
            if not _index(channel) and lane >= channels:
                element = "0.0f"
            elif lane >= channels % c:
                element = f"({channel} < {channels} ? {element} : 0.0f)"
        lanes.append(element)
    return f"BLOCK_OF({', '.join(lanes)})"


def store(layout: Layout | Named, pointer: str, value: str, n: str, block: str, h: str, w: str, c: int) -> list[str]:
    """Statements that write such a vector, without the lanes behind the last channel."""
    if layout.block > 1:
        return [f"STORE_BLOCK({value}, 0, {_offset(pointer, address(layout, n, block, h, w))});"]
    assert isinstance(layout, Layout)
    channels = layout.shape[1]
    lines = []
    for lane in range(c):
        channel = _lane(block, lane, c)
        guard = f"if ({channel} < {channels}) " if channels % c and lane >= channels % c else ""
        lines.append(f"{guard}STORE_LANE({value}, {lane}, {pointer}[{address(layout, n, channel, h, w)}]);")
    return lines


def element(layout: Layout, pointer: str, coordinates: Sequence[str]) -> str:
    """One element of a layout of any rank."""
    terms: list[tuple[str, int | str]] = []
    for axis, (name, size, stride) in enumerate(zip(coordinates, layout.shape, layout.strides, strict=True)):
        blocked = axis == 1 and layout.block > 1
        # A block of one channel still has its filling to be written.
        if (size == 1 and not blocked) or (axis == 1 and layout.broadcast):
            continue
        if blocked:
            terms += [(f"{_factor(name)} / {layout.block}", stride), (f"{_factor(name)} % {layout.block}", 1)]
        else:
            terms.append((name, stride))
    return f"{pointer}[{_sum(terms)}]"


def counted(number: int, noun: str) -> str:
    """A number and its noun: 1 tile, 2 tiles."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def names(prefix: str, rank: int) -> tuple[str, ...]:
    """The variables that count along each axis."""
    return tuple(f"{prefix}{axis}" for axis in range(rank))


def replaced(coordinates: Sequence[str], axis: int, name: str) -> tuple[str, ...]:
    """The coordinates with another one along an axis."""
    return tuple(name if k == axis else coordinate for k, coordinate in enumerate(coordinates))


def shifted(coordinates: Sequence[str], axis: int, offset: int) -> tuple[str, ...]:
    """The coordinates with an offset along an axis."""
    return replaced(coordinates, axis, scaled(coordinates[axis], 1, offset))


def input_names(indices: Sequence[Index]) -> tuple[str, ...]:
    """The variables that count along an input's axes: the output's i0, i1, ..., or j0, j1, ... of their own."""
    return tuple(f"i{k.axis}" if isinstance(k, SameIndex) else f"j{axis}" for axis, k in enumerate(indices))


def own_indices(indices: Sequence[Index]) -> list[tuple[str, str]]:
    """The variables j0, j1, ... that an input's axes need, and their values."""
    return [(f"j{axis}", _index_of(k)) for axis, k in enumerate(indices) if not isinstance(k, SameIndex)]


def _index_of(index: SelectedIndex | PaddedIndex | TableIndex) -> str:
    """The index of an input's element along an axis, by the output's index there."""
    name = f"i{index.axis}"
    match index:
        case TableIndex():
            return f"(int){constant(index.table, name)}"
        case SelectedIndex(_, start, step, count, size):
            first, last = start, start + step * (count - 1)
            if min(first, last) >= 0 and max(first, last) < size:
                return scaled(name, step, start)
            around = -(min(first, last) // size) * size  # C's remainder of a negative number is negative
            return f"({scaled(name, step, start + around)}) % {size}"
        case PaddedIndex(_, mode, before, after, size):
            inside = scaled(name, 1, -before)
            if mode == "constant" or before == after == 0:
                return inside
            if mode == "edge":
                return f"clamp({inside}, 0, {size - 1})"
            if mode == "wrap":
                return f"({scaled(name, 1, size - before)}) % {size}"
            return f"{size - 1} - abs((int)({size - 1} - abs({inside})))"


def conditions_inside(indices: Sequence[Index]) -> list[str]:
    """The conditions on the input's indices j0, j1, ... for an element to exist; [] if all do."""
    conditions = []
    for axis, index in enumerate(indices):
        if isinstance(index, PaddedIndex) and index.mode == "constant":
            conditions += [f"j{axis} >= 0"] * (index.before > 0)
            conditions += [f"j{axis} < {index.size}"] * (index.behind > 0)
    return conditions


def place(k: Sample, axis: SampleAxis) -> tuple[str, ...]:
    """The coordinates of the grid's number that says where along an axis an output element is taken from."""
    return ("n", *(f"o{a.letter}" for a in k.axes), str(axis.component))


def _lane(block: str, lane: int, c: int) -> str:
    start = "" if block == "0" else f"{_factor(block)} * {c}"
    return f"{start} + {lane}" if start and lane else start or str(lane)


def _index(text: str) -> bool:
    return not text.isdigit()


def _offset(pointer: str, offset: str) -> str:
    return pointer if offset == "0" else f"{pointer} + {offset}"


def _sum(terms: Sequence[tuple[str, int | str]]) -> str:
    parts = []
    for name, stride in terms:
        if stride == 0 or name == "0":
            continue
        if name.isdigit() and isinstance(stride, int):
            parts.append(str(int(name) * stride))
        else:
            parts.append(_term(name) if stride == 1 else f"{_factor(name)} * {stride}")
    return " + ".join(parts) or "0"


def _factor(name: str) -> str:
    atomic = re.fullmatch(r"\w+(\(\w*\)|\[\w+\])?|\([^()]*\)", name)
    return name if atomic else f"({name})"


def _term(name: str) -> str:
    # A sum or product can stand in a sum as it is; a comparison or choice cannot.
    return f"({name})" if re.search(r"[?<>=&|]", name) else name


def constants(name: str, index: str) -> str:
    """The constants of a channel block."""
    return f"LOAD_BLOCK({index}, {name})"


def bare(expression: str) -> str:
    """A sum without the brackets around it, for where nothing binds more tightly."""
    return expression.removeprefix("(").removesuffix(")")


def constant(name: str, index: str) -> str:
    """The constant of one channel."""
    return f"{name}[{index}]"


FUNCTIONS: dict[str, Any] = {
    f.__name__: f
    for f in (
        *(address, bare, conditions_inside, constant, constants, counted, divided, element, input_names, load, names),
        *(own_indices, place, replaced, scaled, shifted, store),
    )
}
