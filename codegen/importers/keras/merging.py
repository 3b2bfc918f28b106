"""Layers and functions of several tensors: merges, matrix products, Einstein sums."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from codegen.frontend.spec.place import show
from codegen.importers.keras.activations import activate, activation
from codegen.importers.keras.arithmetic import aligned
from codegen.importers.keras.convolutions import product
from codegen.importers.keras.normalization import normalized
from codegen.importers.keras.options import Unsupported
from codegen.importers.keras.site import Array, Operand, Site, Translation

# Merges ---------------------------------------------------------------------------------------------------------------


def _merge(op: str) -> Translation:
    def translate(site: Site) -> str:
        values = _same_rank(site)
        return values[0] if len(values) == 1 else site.add(op, values)

    return translate


def _average(site: Site) -> str:
    values = _same_rank(site)
    total = values[0] if len(values) == 1 else site.add("add", values, "sum")
    return site.affine(total, 1 / len(values), 0.0)


def _same_rank(site: Site) -> list[str]:
    """Inserts axes of size 1 after the batch, as Keras does for tensors with fewer axes."""
    values = site.inputs
    rank = max(len(site.document.shape(value)) for value in values)
    wider = []
    for i, value in enumerate(values):
        shape = site.full_shape(value)
        wider.append(site.reshape(value, [shape[0], *[1] * (rank - len(shape)), *shape[1:]], f"reshape_{i + 1}"))
    return wider


def _dot(site: Site) -> str:
    """The sum over one axis of each operand, per sample; the operands' other axes follow each other."""
    a, b = site.inputs if len(site.inputs) == 2 else ("", "")
    if not a:
        raise site.options.place.spec_error(f"reads {len(site.inputs)} tensors; it should read two")
    axes = site.options.get("axes")
    sides = axes if isinstance(axes, list) and len(axes) == 2 else [axes, axes]
    ranks = [len(site.document.shape(value)) for value in (a, b)]
    i, j = (site.model_axis(axis, rank) for axis, rank in zip(sides, ranks, strict=True))
    if 0 in (i, j):
        raise Unsupported(f"axes = {show(axes)}, with that of the batch")
    if site.options.flag("normalize", False):
        a = normalized(site.reading(a), [i], 2, 1e-7, "first")
        b = normalized(site.reading(b), [j], 2, 1e-7, "second")
    letters = iter("abcdefghijklmnopqrstuvwxy")
    batch, summed = next(letters), next(letters)
    first = [batch if k == 0 else summed if k == i else next(letters) for k in range(ranks[0])]
    second = [batch if k == 0 else summed if k == j else next(letters) for k in range(ranks[1])]
    free = [letter for letter in (*first, *second) if letter not in (batch, summed)]
    if not free:
        # Keras keeps an axis of size 1 if no other axis is left.
        made = contracted(site, first, second, [batch], a, b, "sum")
        return site.reshape(made, [site.full_shape(made)[0], 1])
    return contracted(site, first, second, [batch, *free], a, b)


MERGES: Mapping[str, Translation] = {
    "Add": _merge("add"),
    "Subtract": _merge("sub"),
    "Multiply": _merge("mul"),
    "Maximum": _merge("max"),
    "Minimum": _merge("min"),
    "Average": _average,
    "Dot": _dot,
}


# Products of matrices -------------------------------------------------------------------------------------------------


def matmul(site: Site) -> str:
    """Matrix product as in numpy: a vector is a row on the left and a column on the right."""
    a, b = site.operands
    if isinstance(a, str) and isinstance(b, np.ndarray) and b.ndim == 2 and len(site.document.shape(a)) > 1:
        if site.full_shape(a)[-1] != b.shape[0]:
            raise Unsupported(f"a matrix of shape {list(b.shape)} for a tensor of shape {site.full_shape(a)}")
        return product(site, a, b, None)
    ranks = [len(site.document.shape(x)) if isinstance(x, str) else np.ndim(x) for x in (a, b)]  # type: ignore[arg-type]
    if min(ranks) < 2:
        raise Unsupported("a product with a vector")
    return matrices(site, a, b)


def matrices(site: Site, first: Operand, second: Operand, part: str = "") -> str:
    """The product over the last two axes of the model; the axes before them broadcast."""
    a, b = aligned(site, first, second)
    rank = len(site.document.shape(a))
    name = f"{part}_" if part else ""
    if site.channels_first or rank < 3:
        return site.add("matmul", [a, b], part)
    if rank == 3:
        # In the spec's order of axes both matrices are transposed.
        return site.add("matmul", [b, a], part)
    behind = [0, *range(2, rank), 1]
    made = site.add(
        "matmul",
        [site.add("transpose", x, f"{name}rows_{i}", axes=behind) for i, x in enumerate((a, b), 1)],
        f"{name}product",
    )
    return site.add("transpose", made, part, axes=[0, rank - 1, *range(1, rank - 1)])


def contracted(
    site: Site,
    first: Sequence[str],
    second: Sequence[str],
    out: Sequence[str],
    a: Operand,
    b: Operand,
    part: str = "",
) -> str:
    """The product of two operands with axes named by letters, summed over all letters that are not in ``out``."""
    sizes: dict[str, int] = {}
    for letters, operand in ((first, a), (second, b)):
        shape = site.full_shape(operand) if isinstance(operand, str) else list(np.shape(operand))  # type: ignore[arg-type]
        if len(shape) != len(letters):
            raise Unsupported(f"a tensor of shape {shape} for the axes {''.join(letters)}")
        for letter, size in zip(letters, shape, strict=True):
            if sizes.setdefault(letter, size) != size:
                raise Unsupported(f"axis {letter} of sizes {sizes[letter]} and {size}")
    counts = [Counter(letters) for letters in (first, second, out)]
    if any(count > 1 for counter in counts for count in counter.values()):
        raise Unsupported("an axis twice")
    shared = [letter for letter in first if letter in second and letter in out]
    summed = [letter for letter in first if letter in second and letter not in out]
    left = [letter for letter in first if letter not in second]
    right = [letter for letter in second if letter not in first]
    if set(out) != {*shared, *left, *right}:
        raise Unsupported("an axis that one operand alone has and the result has not")
    counted = [math.prod(sizes[letter] for letter in group) for group in (shared, left, summed, right)]
    name = f"{part}_" if part else ""
    if not shared and isinstance(a, str) and isinstance(b, np.ndarray):
        kernel = np.transpose(b, [list(second).index(letter) for letter in (*summed, *right)])
        kept = [sizes[letter] for letter in left]
        x = _arranged(site, a, first, [*left, *summed], [*kept, counted[2]], f"{name}left")
        made = product(site, str(x), kernel.reshape(counted[2], counted[3]), None, f"{name}product")
    else:
        x = _arranged(site, a, first, [*shared, *left, *summed], [counted[0], counted[1], counted[2]], f"{name}left")
        y = _arranged(site, b, second, [*shared, *summed, *right], [counted[0], counted[2], counted[3]], f"{name}right")
        made = matrices(site, x, y, f"{name}product")
    have = [*shared, *left, *right]
    made = site.reshape(made, [sizes[letter] for letter in have], f"{name}axes")
    return site.transpose(made, [have.index(letter) for letter in out], part)


def _arranged(
    site: Site, operand: Operand, letters: Sequence[str], wanted: Sequence[str], shape: Sequence[int], part: str
) -> str | Array:
    """The operand with its axes in the wanted order, joined to ``shape``."""
    axes = [list(letters).index(letter) for letter in wanted]
    if isinstance(operand, np.ndarray):
        return np.transpose(operand, axes).reshape(shape)
    return site.reshape(site.transpose(str(operand), axes, f"{part}_turned"), shape, part)


def _equation(site: Site, text: str, ranks: Sequence[int]) -> tuple[list[str], list[str], list[str]]:
    """The letters of two operands and of the result; an ellipsis is replaced by the remaining axes."""
    sides, arrow, out = text.replace(" ", "").partition("->")
    terms = sides.split(",")
    if len(terms) != 2 or not arrow:
        raise Unsupported(f"equation {show(text)}, which is not of two tensors with a result")
    spare = [letter for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if letter not in text]
    counts = [rank - len(term.replace("...", "")) for term, rank in zip(terms, ranks, strict=True) if "..." in term]
    dots = spare[: max(counts, default=0)]
    found = []
    for term, rank in zip((*terms, out), (*ranks, None), strict=True):
        left = len(dots) if rank is None else rank - len(term.replace("...", ""))
        before, ellipsis, behind = term.partition("...")
        inner = dots[len(dots) - left :] if ellipsis and left > 0 else []
        if not (before + behind).isalpha() and (before + behind):
            raise Unsupported(f"equation {show(text)}")
        found.append([*before, *inner, *behind])
    return found[0], found[1], found[2]


def einsum(site: Site) -> str:
    operands = site.operands[0]
    if not isinstance(operands, (list, tuple)) or len(operands) != 2:
        raise Unsupported("a number of operands that is not two")
    return _summed(site, site.options.text("subscripts", ""), operands[0], operands[1])


def _summed(site: Site, text: str, a: Operand, b: Operand, part: str = "") -> str:
    ranks = [len(site.document.shape(x)) if isinstance(x, str) else np.ndim(x) for x in (a, b)]  # type: ignore[arg-type]
    first, second, out = _equation(site, text, ranks)
    return contracted(site, first, second, out, a, b, part)


def einsum_dense(site: Site) -> str:
    o = site.options
    if o.get("quantization_config") is not None or o.get("lora_rank") is not None:
        raise Unsupported("quantization" if o.get("quantization_config") is not None else "lora_rank")
    o.pass_over("output_shape", "gptq_unpacked_column_size")  # known from the kernel's shape
    bias = o.get("bias_axes") is not None
    arrays = site.arrays(["kernel", *["bias"] * bias])
    found = activation(o.get("activation"), o.place, site.major)
    kernel = np.asarray(arrays["kernel"], np.float64)
    parts = ["" if not bias and found is None else "sum", "" if found is None else "linear"]
    made = _summed(site, o.text("equation", ""), site.input, kernel, parts[0])
    if bias:
        made = site.affine(made, 1.0, arrays["bias"], parts[1])
    return activate(site, found, made)


def dot_general(site: Site) -> str:
    """numpy's dot and tensordot: by default the first's last axis is summed with the second's last but one."""
    a, b = site.operands
    ranks = [len(site.document.shape(x)) if isinstance(x, str) else np.ndim(x) for x in (a, b)]  # type: ignore[arg-type]
    axes: Any = site.options.get("axes", 1)
    if isinstance(axes, int):
        axes = [list(range(ranks[0] - axes, ranks[0])), list(range(axes))]
    sides = [side if isinstance(side, list) else [side] for side in axes] if isinstance(axes, list) else []
    if len(sides) != 2 or len(sides[0]) != len(sides[1]):
        raise Unsupported(f"axes = {show(axes)}")
    axes = [[site.model_axis(axis, rank) for axis in side] for side, rank in zip(sides, ranks, strict=True)]
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    first = [next(letters) for _ in range(ranks[0])]
    names = {j: first[i] for i, j in zip(*axes, strict=True)}
    second = [names[k] if k in names else next(letters) for k in range(ranks[1])]
    out = [letter for letter in (*first, *second) if letter not in names.values()]
    return contracted(site, first, second, out, a, b)


PRODUCTS: Mapping[str, Translation] = {
    "Einsum": einsum,
    "Matmul": matmul,
    "Tensordot": dot_general,
}
