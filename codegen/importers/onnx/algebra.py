"""Einsum, DFT, OneHot, CumProd and ReverseSequence, in terms of products, tables and comparisons."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping

import numpy as np

from codegen.importers.onnx.builder import LARGEST_WHOLE, Builder
from codegen.importers.onnx.node import Constant, Live, Node, Refused, Results

_MOST_FACTORS = 64  # longest axis of a running product

# Einsum ---------------------------------------------------------------------------------------------------------------


def _einsum(node: Node, b: Builder) -> Live:
    """Contracts operand by operand; letters that are not needed later are summed as early as possible."""
    terms, output = _letters(node)
    x, letters = _plain_term(node.live(0), terms[0], {*output, *"".join(terms[1:])}, b, "0")
    for k, term in enumerate(terms[1:], 1):
        needed = {*output, *"".join(terms[k + 1 :])}
        y, others = _plain_term(node.live(k), term, needed | set(letters), b, str(k))
        x, letters = _product(x, letters, y, others, needed, b, f"product_{k}")
    missing = set(output) - set(letters)
    if missing or len(set(output)) != len(output):
        raise Refused(f"equation {node.get('equation')!r} has an output that its inputs do not make")
    gone = [axis for axis, letter in enumerate(letters) if letter not in output]
    x = _summed(x, gone, b, "sum")
    letters = "".join(letter for letter in letters if letter in output)
    return b.transpose(x, [letters.index(letter) for letter in output], "ordered")


def _letters(node: Node) -> tuple[list[str], str]:
    """The letters of each operand's axes, and of the output's; an ellipsis gets letters of its own."""
    text = str(node.get("equation", "")).replace(" ", "")
    left, arrow, output = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(node.inputs) or not re.fullmatch(r"[A-Za-z,.]*(->[A-Za-z.]*)?", text):
        raise Refused(f"equation {text!r} does not fit its {len(node.inputs)} inputs")
    more = [len(node.shape(k)) - len(term.replace("...", "")) for k, term in enumerate(terms)]
    most = max((n for n, term in zip(more, terms, strict=True) if "..." in term), default=0)
    free = [letter for letter in map(chr, range(0x391, 0x3A0))][:most]
    for term, n in zip(terms, more, strict=True):
        if n < 0 or (n > 0 and "..." not in term) or most > 6:
            raise Refused(f"equation {text!r} does not fit inputs {[list(node.shape(k)) for k in range(len(terms))]}")
    spelt = [term.replace("...", "".join(free[most - n :])) for term, n in zip(terms, more, strict=True)]
    if arrow:
        return spelt, output.replace("...", "".join(free))
    counts = [letter for letter in "".join(terms).replace(".", "")]
    return spelt, "".join([*free, *sorted(letter for letter in set(counts) if counts.count(letter) == 1)])


def _plain_term(x: Live, letters: str, needed: set[str], b: Builder, tag: str) -> tuple[Live, str]:
    """An operand reduced to the letters that are still needed; a repeated letter becomes its diagonal."""
    if len(letters) != len(x.shape):
        raise Refused(f"its input {list(x.shape)} does not have the axes {letters!r}")
    kept = "".join(dict.fromkeys(letters))
    if kept != letters:
        places = np.arange(math.prod(x.shape)).reshape(x.shape)
        x = b.take(x, np.einsum(places, [kept.index(c) for c in letters], list(range(len(kept)))), f"diagonal_{tag}")
    gone = [axis for axis, letter in enumerate(kept) if letter not in needed]
    return _summed(x, gone, b, f"sum_{tag}"), "".join(letter for letter in kept if letter in needed)


def _summed(x: Live, axes: list[int], b: Builder, tag: str) -> Live:
    if not axes:
        return x
    y = b.layer("reduce_sum", x, tag, axes=axes)
    return b.reshape(y, tuple(n for axis, n in enumerate(x.shape) if axis not in axes), f"{tag}.reduced")


def _product(x: Live, mine: str, y: Live, theirs: str, needed: set[str], b: Builder, tag: str) -> tuple[Live, str]:
    """The batched matrix product that sums the letters of both operands that are not needed later."""
    x, y = _repeated(x, mine, y, theirs, b), _repeated(y, theirs, x, mine, b)
    size = dict(zip(mine, x.shape, strict=True)) | dict(zip(theirs, y.shape, strict=True))
    batch = [letter for letter in mine if letter in theirs and letter in needed]
    inner = [letter for letter in mine if letter in theirs and letter not in needed]
    rows = [letter for letter in mine if letter not in theirs]
    columns = [letter for letter in theirs if letter not in mine]

    def matrix(value: Live, letters: str, *groups: list[str]) -> Live:
        ordered = b.transpose(value, [letters.index(c) for group in groups for c in group], f"{tag}.ordered")
        return b.reshape(ordered, tuple(math.prod(size[c] for c in group) for group in groups), f"{tag}.matrix")

    z = b.layer("matmul", [matrix(x, mine, batch, rows, inner), matrix(y, theirs, batch, inner, columns)], tag)
    made = [*batch, *rows, *columns]
    return b.reshape(z, tuple(size[c] for c in made), f"{tag}.shape"), "".join(made)


def _repeated(x: Live, mine: str, y: Live, theirs: str, b: Builder) -> Live:
    """x repeated along axes where it has size 1 and y is longer, as an ellipsis broadcasts."""
    sizes = dict(zip(theirs, y.shape, strict=True))
    times = [sizes.get(letter, 1) if n == 1 else 1 for letter, n in zip(mine, x.shape, strict=True)]
    wrong = [c for c, n in zip(mine, x.shape, strict=True) if c in sizes and 1 != n != sizes[c] != 1]
    if wrong:
        raise Refused(f"axis {wrong[0]!r} has {sizes[wrong[0]]} elements in one input and others in another")
    return b.repeat(x, times, "repeated")


# The others -----------------------------------------------------------------------------------------------------------


def _one_hot(node: Node, b: Builder) -> Live:
    """values[1] where the index equals the position along the new axis, values[0] elsewhere."""
    indices, depth = node.live(0), int(node.number(1, "depth", 0))
    if not 1 <= depth <= LARGEST_WHOLE:
        raise Refused(f"its depth {depth} should be from 1 to {LARGEST_WHOLE}")
    if node.shape(2) != (2,):
        raise Refused(f"its values {list(node.shape(2))} should be two numbers")
    rank = len(indices.shape) + 1
    axis = node.axis(-1, rank)
    shape = (*indices.shape[:axis], 1, *indices.shape[axis:])
    places = np.arange(depth, dtype=np.float32).reshape([-1 if a == axis else 1 for a in range(rank)])
    x = b.reshape(indices if indices.number_type == "int" else b.layer("trunc", indices, "whole"), shape, "indices")
    # Negative indices count from the end.
    below = b.layer("less", [x, b.number(0, x)], "below")
    x = b.layer("add", [x, b.layer("mul", [below, b.number(depth, x)], "around")], "counted")
    hot = b.layer("equal", [x, b.stored(Constant(f"places_{depth}", places))], "hot")
    off, on = (b.select(node.live(2), 0, range(k, k + 1), word) for k, word in enumerate(("off", "on")))
    chosen = b.layer("mask", b.aligned([on, hot], "on"), "chosen")
    others = b.layer("mask", b.aligned([off, b.affine(hot, -1, 1, "cold")], "off"), "others")
    y = b.layer("add", [chosen, others])
    return Live(y.name, y.shape, off.number_type)


def _cumulative_product(node: Node, b: Builder) -> Live:
    x, given = node.live(), node.whole_numbers(1, "axis")
    if given is None or len(given) != 1:
        raise Refused("its axis should be one number")
    (axis,) = node.axes(given, len(x.shape))
    count = x.shape[axis]
    if count > _MOST_FACTORS:
        raise Refused(f"it multiplies {count} elements along axis {axis}; at most {_MOST_FACTORS} are allowed")
    order = range(count)[::-1] if node.flag("reverse") else range(count)
    parts = {k: b.select(x, axis, range(k, k + 1), f"factor_{k}") for k in order}
    made: dict[int, Live] = {}
    running: Live | None = None
    for k in order:
        before = running
        running = parts[k] if running is None else b.layer("mul", [running, parts[k]], f"product_{k}")
        if node.flag("exclusive"):
            made[k] = before or b.stored(Constant("number_1", np.ones(parts[k].shape, dtype=np.float32)))
        else:
            made[k] = running
    return made[0] if count == 1 else b.layer("concat", [made[k] for k in range(count)], axis=axis)


def _reverse_sequence(node: Node, b: Builder) -> Live:
    x, lengths = node.live(), node.constant(1, "sequence_lens").values.reshape(-1)
    time, batch = node.get("time_axis", 0), node.get("batch_axis", 1)
    if {time, batch} != {0, 1} or len(x.shape) < 2 or lengths.shape != (x.shape[batch],):
        raise Refused(f"time_axis {time}, batch_axis {batch} and {lengths.size} lengths do not fit {list(x.shape)}")
    if lengths.min() < 0 or lengths.max() > x.shape[time]:
        raise Refused(f"its sequence_lens should be from 0 to {x.shape[time]}")
    places = np.moveaxis(np.arange(math.prod(x.shape)).reshape(x.shape), (batch, time), (0, 1)).copy()
    for k, length in enumerate(lengths):
        places[k, :length] = places[k, :length][::-1]
    return b.take(x, np.moveaxis(places, (0, 1), (batch, time)))


def _dft(node: Node, b: Builder) -> Live:
    """The discrete Fourier transform along one axis, as products with matrices of cosines and sines."""
    x = node.live(least=2)
    rank = len(x.shape)
    if node.opset >= 20:
        given = node.whole_numbers(2, "axis")
        axis = (-2 if given is None else given[0]) % rank
    else:
        axis = node.get("axis", 1) % rank
    length = node.whole_numbers(1, "dft_length")
    inverse, half = node.flag("inverse"), node.flag("onesided")
    usual = 2 * (x.shape[axis] - 1) if inverse and half else x.shape[axis]
    count = usual if length is None else length[0]
    if axis == rank - 1 or x.shape[-1] not in (1, 2) or count < 1 or (inverse and half and x.shape[-1] == 1):
        raise Refused(f"axis {axis} and dft_length {count} do not fit {list(x.shape)}")
    used = min(count // 2 + 1 if inverse and half else count, x.shape[axis])
    made = count // 2 + 1 if half and not inverse else count
    angles = 2 * np.pi * (np.outer(np.arange(used), np.arange(made)) % count) / count
    parts = [
        b.select(x, rank - 1, range(k, k + 1), word) for k, word in enumerate(("real", "imaginary")[: x.shape[-1]])
    ]
    order = [a for a in range(rank - 1) if a != axis]

    def product(part: Live, matrix: np.ndarray, tag: str) -> Live:
        cut = b.select(b.reshape(part, part.shape[:-1], f"{tag}.part"), axis, range(used), f"{tag}.cut")
        rows = b.reshape(b.transpose(cut, [*order, axis], f"{tag}.rows"), (-(-math.prod(cut.shape) // used), used), tag)
        y = b.layer("matmul", [rows, b.stored(Constant(f"{b.wanted}.{tag}", matrix))], f"{tag}.sum")
        y = b.reshape(y, (*(x.shape[a] for a in order), matrix.shape[1]), f"{tag}.shape")
        back = [*range(axis), rank - 2, *range(axis, rank - 2)]
        y = b.transpose(y, back, f"{tag}.axis")
        return b.reshape(y, (*y.shape, 1), f"{tag}.number")

    cosines, sines = np.cos(angles), (1 if inverse else -1) * np.sin(angles)
    if inverse:
        # In half a spectrum each number stands for two, except the first and, for an even length, the last.
        twice = [2 if half and k > 0 and 2 * k != count else 1 for k in range(used)]
        factors = np.array(twice).reshape(-1, 1) / count
        cosines, sines = cosines * factors, sines * factors
    real, imaginary = product(parts[0], cosines, "cosines"), product(parts[0], sines, "sines")
    if len(parts) == 2:
        real = b.layer("sub", [real, product(parts[1], sines, "sines_i")], "re")
        if inverse and half:
            return real
        imaginary = b.layer("add", [imaginary, product(parts[1], cosines, "cosines_i")], "im")
    return b.layer("concat", [real, imaginary], axis=rank - 1)


ALGEBRA_OPERATORS: Mapping[str, Callable[[Node, Builder], Results]] = {
    "CumProd": _cumulative_product,
    "DFT": _dft,
    "Einsum": _einsum,
    "OneHot": _one_hot,
    "ReverseSequence": _reverse_sequence,
}
