"""Lists the supported operators of all importers, as the Markdown of docs/operators.md."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from codegen.importers.keras.functions import OPERATIONS
from codegen.importers.keras.inert import AUGMENTATIONS, NOTHING_TO_DO
from codegen.importers.keras.layers import LAYERS
from codegen.importers.keras.supported import LIMITS as KERAS_LIMITS
from codegen.importers.onnx.choices import CHOICES
from codegen.importers.onnx.operators import OPERATORS
from codegen.importers.onnx.sequences import SEQUENCE_OPERATORS
from codegen.importers.onnx.supported import LIMITS as ONNX_LIMITS

_HEAD = """\
# Operators

The output of `clgen import --list-ops`; `clgen import` names every node of a model that is not among these.

Shapes are fixed at import.  Inside a network all numbers are float32.
"""

_ONNX = """\
## ONNX

Opset 7 and newer.  Each operator is supported in full for inference, except for the stated limits.

Inputs and outputs are of the model's types: floats of 16, 32 or 64 bits (bfloat16 becomes float32), integers, bools.
Weights and casts inside the network may be of all of these; floats are held and computed as float32.

Tensors of integers are stored as float32, which has all whole numbers up to 2^24: larger constants are refused, and
larger results of int32 and int64 are rounded; they do not wrap around.  If an operator gives fractions of integers
(ReduceMean, Pow, Resize), they are truncated, as in ONNX.

Integers of 8 and 16 bits and unsigned ones may be moved, compared and cast, and are supported by Clip, Max, Min, Mod,
MaxPool, TopK, ReduceMax and ReduceMin.  Other arithmetic with them, which wraps around, is refused: Cast them to float
first.
"""

_ADVANCE = """\
Any data input may be a constant.  Nodes that depend on constants and shapes alone are computed at import, in any type
and for any ONNX operator that returns tensors, listed above or not, except loops and random numbers.  If the condition
of an `If` is such a constant, the chosen branch is imported.  Operators that ONNX defines by others, such as
`Attention`, `RotaryEmbedding`, `AffineGrid` and `CenterCropPad`, are replaced by their definitions.

Sequences of tensors whose length is known at import, which PyTorch's exporter writes for `chunk` and `split`, are
expanded:
"""

_CHOICES = """\
If engines compute different numbers for the same node, clgen follows PyTorch if it has the operator, else the ONNX
specification, and if that is ambiguous, ONNX Runtime:
"""

_KERAS = """\
## Keras

Layers of `.keras`, `.h5` and `.hdf5` files, as Keras 2 and 3 write them.
"""

_WRAPPERS = """\
`TimeDistributed` and `SpectralNormalization` may wrap any of these layers, or a model of them.
"""

_FUNCTIONS = """\
Functions of `keras.ops`, and of TensorFlow in files of Keras 2, by their names in files; operators such as
`x * sigmoid(x)` and `x[:, 0]` are included.  Operands are tensors, numbers and constants; options, indices and kernels
are constants.  An unknown argument is refused:
"""

_NOTHING = """\
Layers without effect in inference, which are left out:
"""


def operators_table() -> str:
    return "\n".join(
        (
            _HEAD,
            _ONNX,
            _table("operator", OPERATORS, ONNX_LIMITS),
            _ADVANCE,
            _list(SEQUENCE_OPERATORS),
            _CHOICES,
            _choices(),
            _KERAS,
            _table("layer", LAYERS, KERAS_LIMITS),
            _WRAPPERS,
            _FUNCTIONS,
            _list(OPERATIONS),
            _NOTHING,
            _list([*NOTHING_TO_DO, *AUGMENTATIONS]),
        )
    )


def _table(what: str, names: Iterable[str], limits: Mapping[str, str]) -> str:
    lines = [f"| {what} | limits |", "|---|---|"]
    lines += [f"| `{name}` | {limits.get(name, '')} |".replace("|  |", "| |") for name in sorted(names, key=str.lower)]
    return "\n".join(lines) + "\n"


def _choices() -> str:
    lines = ["| operators | what differs | clgen follows |", "|---|---|---|"]
    for choice in CHOICES:
        names = ", ".join(f"`{name}`" for name in sorted(choice.operators, key=str.lower))
        lines.append(f"| {names} | {choice.differs} | {choice.follows} |")
    return "\n".join(lines) + "\n"


def _list(names: Iterable[str]) -> str:
    """The names, wrapped at 120 characters."""
    lines = [""]
    for name in sorted(names, key=str.lower):
        word = f"`{name}`, "
        if len(lines[-1]) + len(word) > 121:
            lines.append("")
        lines[-1] += word
    return "\n".join(line.rstrip() for line in lines).rstrip(",") + ".\n"
