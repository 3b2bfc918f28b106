"""ONNX nodes for which engines compute different numbers: the difference, the importer's choice, and the reason.

The rule: PyTorch's numbers if it has the operator, as most models come from PyTorch; else those of the ONNX
specification; and if the specification is ambiguous, ONNX Runtime's.  A comparison of an import with an engine reports
any difference as an error unless :func:`documented` names it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

RUNTIME, REFERENCE = "onnxruntime", "onnx.reference"


@dataclass(frozen=True)
class Use:
    """A use of an operator: its attributes (as Python values), opset, and input names ("" if absent)."""

    op: str
    attributes: Mapping[str, Any]
    opset: int
    inputs: Sequence[str]

    def has(self, i: int) -> bool:
        """True if input ``i`` is given."""
        return i < len(self.inputs) and self.inputs[i] != ""

    def most(self, name: str) -> int:
        """The largest number of a list attribute, 1 if it is absent."""
        numbers: list[int] = self.attributes.get(name) or [1]
        return max(numbers)

    @property
    def same(self) -> bool:
        """True if the padding is SAME_UPPER or SAME_LOWER."""
        return str(self.attributes.get("auto_pad", "NOTSET")).startswith("SAME")


@dataclass(frozen=True)
class Choice:
    """``unlike`` are the engines that differ from clgen for nodes that ``applies`` accepts.

    ``differs`` and ``follows`` are sentences for people: the difference, and clgen's choice with its reason.
    """

    identifier: str
    operators: frozenset[str]
    unlike: frozenset[str]
    differs: str
    follows: str
    applies: Callable[[Use], bool]


def documented(use: Use) -> tuple[Choice, ...]:
    """The choices that affect this node; () if engines agree."""
    return tuple(choice for choice in CHOICES if use.op in choice.operators and choice.applies(use))


def unlike(use: Use) -> frozenset[str]:
    """The engines whose numbers for this node may differ from clgen's."""
    return frozenset(engine for choice in documented(use) for engine in choice.unlike)


def _choice(
    identifier: str, operators: str, unlike: Sequence[str], differs: str, follows: str, applies: Callable[[Use], bool]
) -> Choice:
    return Choice(identifier, frozenset(operators.split()), frozenset(unlike), differs, follows, applies)


_POOLS = "AveragePool LpPool MaxPool"


def _coordinates(use: Use) -> str:
    return str(use.attributes.get("coordinate_transformation_mode", "half_pixel")) if use.opset >= 11 else "asymmetric"


def _mode(use: Use) -> str:
    return str(use.attributes.get("mode", "nearest"))


def _unusual_pool(use: Use) -> bool:
    """True if the windows may reach beyond the padding, or the padding is not the same on both sides."""
    pads = use.attributes.get("pads") or []
    uneven = pads[: len(pads) // 2] != pads[len(pads) // 2 :]
    word = use.attributes.get("auto_pad", "NOTSET") != "NOTSET"
    return uneven or word or bool(use.attributes.get("ceil_mode")) or use.most("dilations") > 1


CHOICES: tuple[Choice, ...] = (
    _choice(
        "pool-same-dilated",
        _POOLS,
        [RUNTIME, REFERENCE],
        "`auto_pad = SAME_*` with dilations: ONNX Runtime pads as if the window were not dilated, and returns fewer "
        "elements",
        "ONNX's text: ceil(input / stride) elements, and padding for the dilated window",
        lambda use: use.same and use.most("dilations") > 1,
    ),
    _choice(
        "pool-same-stride",
        _POOLS,
        [RUNTIME, REFERENCE],
        "`auto_pad = SAME_*` with strides beyond the window: engines crop the input, refuse it, or read beyond it",
        "TensorFlow, where the option comes from: padding is never negative, the first window starts at element 0",
        lambda use: use.same and use.most("strides") > min(use.attributes.get("kernel_shape") or [1]),
    ),
    _choice(
        "pool-reference",
        _POOLS,
        [REFERENCE],
        "`onnx.reference` makes other sizes, or counts other elements, with `auto_pad`, `ceil_mode`, dilations or "
        "padding that differs between the sides",
        "ONNX Runtime and PyTorch: a last, partial window counts unless it would start in the padding after the "
        "input; a p-norm and an average count existing elements only",
        _unusual_pool,
    ),
    _choice(
        "global-max-pool-reference",
        "GlobalMaxPool",
        [REFERENCE],
        "`onnx.reference` reduces the wrong axes unless the input is an image",
        "ONNX's text: all spatial axes",
        lambda use: True,
    ),
    _choice(
        "resize-reference-positions",
        "Resize",
        [REFERENCE],
        "with `scales`, `onnx.reference` computes sizes and positions of nearest elements with a scale that was "
        "rounded to float32: 1.8 times 5 gives 8 elements",
        "ONNX Runtime and PyTorch: 9 elements; the scale is the shortest decimal that rounds to the float32 number",
        lambda use: use.has(1 if use.opset < 11 else 2),
    ),
    _choice(
        "resize-align-corners",
        "Resize",
        [REFERENCE],
        "`align_corners` with `scales`: `onnx.reference` puts the last element at scale * input - 1",
        "ONNX's text, PyTorch and ONNX Runtime: at the last output element",
        lambda use: _coordinates(use) in ("align_corners", "tf_crop_and_resize") and use.has(2),
    ),
    _choice(
        "resize-one-element",
        "Resize",
        [REFERENCE],
        "`pytorch_half_pixel` with an output of one element: `onnx.reference` tests scale * input instead",
        "ONNX's text and ONNX Runtime: position 0",
        lambda use: _coordinates(use) == "pytorch_half_pixel",
    ),
    _choice(
        "resize-tensorflow",
        "Resize",
        [RUNTIME, REFERENCE],
        "`tf_half_pixel_for_nn` and `tf_crop_and_resize`: ONNX Runtime ignores axes that keep their size, and "
        "uses cubic taps beyond the input",
        "ONNX's text: the same for all axes, and the extrapolation value outside the input",
        lambda use: _coordinates(use) in ("tf_half_pixel_for_nn", "tf_crop_and_resize"),
    ),
    _choice(
        "resize-symmetric",
        "Resize",
        [RUNTIME],
        "`half_pixel_symmetric`: whole positions are rounded to either side in ONNX Runtime's float32",
        "ONNX's text, computed exactly",
        lambda use: _coordinates(use) == "half_pixel_symmetric" and _mode(use) == "nearest",
    ),
    _choice(
        "resize-10-nearest",
        "Resize",
        [RUNTIME],
        "opset 10, nearest, fewer elements: ONNX Runtime rounds positions up",
        "PyTorch, whose exporter writes it: positions are rounded down",
        lambda use: use.opset < 11 and _mode(use) == "nearest",
    ),
    _choice(
        "resize-whole-numbers",
        "Resize",
        [REFERENCE],
        "linear modes of integers: `onnx.reference` rounds results down",
        "ONNX Runtime: towards zero",
        lambda use: _mode(use) != "nearest",
    ),
    _choice(
        "grid-sample-cubic-border",
        "GridSample",
        [REFERENCE],
        "bicubic with padding mode border: `onnx.reference` moves the position into the input",
        "PyTorch and ONNX Runtime: each tap by itself",
        lambda use: _mode(use) in ("bicubic", "cubic") and use.attributes.get("padding_mode") == "border",
    ),
    _choice(
        "softmax-before-13",
        "Hardmax LogSoftmax Softmax",
        [REFERENCE],
        "before opset 13 all axes from `axis` on are flattened into one, except in `onnx.reference`",
        "ONNX's text and ONNX Runtime: they are flattened",
        lambda use: use.opset < 13,
    ),
    _choice(
        "lp-normalization-reference",
        "LpNormalization",
        [REFERENCE],
        "p = 1: `onnx.reference` sums the elements, not their absolute values",
        "ONNX's text and ONNX Runtime: absolute values",
        lambda use: use.attributes.get("p", 2) == 1,
    ),
    _choice(
        "lrn-reference",
        "LRN",
        [REFERENCE],
        "`onnx.reference` computes as many channels as there are samples",
        "ONNX's text and ONNX Runtime: all channels",
        lambda use: True,
    ),
    _choice(
        "mean-variance-of-one",
        "MeanVarianceNormalization",
        [RUNTIME],
        "if all elements are equal, ONNX Runtime divides 0 by 0",
        "ONNX's text and `onnx.reference`: 1e-9 is added to the deviation, and the result is 0",
        lambda use: True,
    ),
    _choice(
        "col2im-dilated",
        "Col2Im",
        [RUNTIME],
        "ONNX Runtime ignores dilations, except for two spatial axes",
        "ONNX's text and `onnx.reference`: dilated blocks",
        lambda use: use.most("dilations") > 1 and len(use.attributes["dilations"]) != 2,
    ),
    _choice(
        "clip-infinity",
        "Clip",
        [RUNTIME],
        "without a bound, ONNX Runtime clips at float32's largest number, which infinities become",
        "PyTorch and `onnx.reference`: no bound, infinities stay",
        lambda use: not ((use.has(1) or "min" in use.attributes) and (use.has(2) or "max" in use.attributes)),
    ),
)
