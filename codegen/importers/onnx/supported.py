"""ONNX's part of ``clgen import --list-ops``.

The operators are those of the import table; each that is only supported in part has a line here.
"""

from __future__ import annotations

from collections.abc import Mapping

_SPACE = "1 to 3 spatial axes"
_INDICES = "the indices are constants"
_TYPES = "floats beyond the range of the integer type are clamped to it"

LIMITS: Mapping[str, str] = {
    "AveragePool": _SPACE,
    "BatchNormalization": "in inference; one parameter for each channel (spatial = 1)",
    "Cast": _TYPES,
    "CastLike": _TYPES,
    "Col2Im": _SPACE,
    "Conv": _SPACE,
    "ConvTranspose": f"{_SPACE}; the weight is a constant; no gaps between windows with auto_pad = SAME",
    "CumProd": "axis is known at import; at most 64 elements along it",
    "CumSum": "axis is known at import",
    "DFT": "axis and dft_length are known at import",
    "Dropout": "in inference; no second output (the mask)",
    "Expand": "the shape is known at import",
    "Gather": _INDICES,
    "GatherElements": _INDICES,
    "GatherND": _INDICES,
    "LpNormalization": "p is 1 or 2",
    "LpPool": _SPACE,
    "MaxPool": f"{_SPACE}; no second output (the indices)",
    "OneHot": "depth is known at import",
    "Pad": "pads and value are known at import; no negative pads except in mode constant",
    "ReverseSequence": "the lengths are constants",
    "Resize": "scales, sizes and roi are known at import; at most 3 spatial axes",
    "Scatter": f"{_INDICES}; at most 64 updates of an element where they are added, multiplied or compared",
    "ScatterElements": f"{_INDICES}; at most 64 updates of an element where they are added, multiplied or compared",
    "ScatterND": f"{_INDICES}; at most 64 updates of an element where they are added, multiplied or compared",
    "Slice": "starts, ends, axes and steps are known at import",
    "Split": "the sizes are known at import",
    "Tile": "the repeats are known at import",
    "TopK": "k is known at import",
    "Upsample": "at most 3 spatial axes; scales are constants of at least 1",
}
