"""Collects the nodes that a spec cannot express into one error; similar nodes share a line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import onnx

from codegen.errors import SpecError
from codegen.frontend.spec.place import Place, show
from codegen.importers.onnx.reader import DOMAINS

_MOST_GROUPS = 200  # groups that an error lists
_MOST_NAMED = 3  # nodes of a group that are named

NO_OPERATOR = "there is no such operator in a spec"

_LOOP = "a spec cannot express loops; if it runs a fixed number of times, export the model with the loop unrolled"
_RECURRENT = "recurrent layers are not supported"
_REASONS = {"Loop": _LOOP, "Scan": _LOOP, "GRU": _RECURRENT, "LSTM": _RECURRENT, "RNN": _RECURRENT}
_OF_ONNX_RUNTIME = "ONNX Runtime's optimiser made it: give the model as it was before it was optimised"

# Quantised operators, with scales and zero points: ONNX's and ONNX Runtime's own.
_QUANTISED = ("QLinear", "QOrdered", "QGemm", "QAttention", "QMoE", "QEmbedLayerNormalization", "MatMulInteger")
_QUANTISED_TOO = frozenset({"ConvInteger", "MatMulBnb4", "MatMulFpQ4", "MatMulNBits"})


@dataclass
class Refusals:
    """The nodes that were refused, with the reasons."""

    _groups: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    _quantised: bool = False

    def __bool__(self) -> bool:
        return bool(self._groups)

    def add(self, node: onnx.NodeProto, reason: str) -> None:
        operator = node.op_type if node.domain in DOMAINS else f"{node.domain}.{node.op_type}"
        name = node.name or next(filter(None, node.output), "")
        if node.domain.startswith("com.microsoft"):
            reason = _OF_ONNX_RUNTIME
        self._groups.setdefault((operator, _REASONS.get(operator, reason)), []).append(name)
        self._quantised |= _is_quantised(node.op_type)

    def error(self, nodes: Sequence[onnx.NodeProto], place: Place) -> SpecError:
        """The error that lists all refused nodes; ``nodes`` are all nodes of the model."""
        if self._quantised:
            return _of_quantised(nodes, place)
        lines = [_line(operator, reason, names) for (operator, reason), names in self._groups.items()]
        if len(lines) > _MOST_GROUPS:
            lines = [*lines[:_MOST_GROUPS], f"and {len(lines) - _MOST_GROUPS} other kinds"]
        count = sum(map(len, self._groups.values()))
        head = "1 node is" if count == 1 else f"{count} nodes are"
        return place.spec_error("\n  ".join([f"{head} not supported:", *lines]))


def _is_quantised(operator: str) -> bool:
    return operator.startswith(_QUANTISED) or operator in _QUANTISED_TOO or "quantize" in operator.lower()


def _of_quantised(nodes: Sequence[onnx.NodeProto], place: Place) -> SpecError:
    counts = Counter(node.op_type for node in nodes if _is_quantised(node.op_type))
    operators = ", ".join(f"{n} {operator}" for operator, n in counts.most_common(_MOST_NAMED))
    more = ", ..." if len(counts) > _MOST_NAMED else ""
    return place.spec_error(
        f"is a quantised model: {sum(counts.values())} of its {len(nodes)} nodes work on integers ({operators}{more}); "
        "clgen takes float models: export or download the float32 model from which it was quantised"
    )


def _line(operator: str, reason: str, names: Sequence[str]) -> str:
    """One line of the error: ``Softplus "a", "b" and 5 more: ...``"""
    shown = ", ".join(map(show, names[:_MOST_NAMED]))
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"{operator} {shown}{more}: {reason}"
