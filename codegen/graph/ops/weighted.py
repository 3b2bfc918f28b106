"""Base class of layers with weights, which affine maps of channels can be folded into."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

from codegen.graph.bounded import Array
from codegen.graph.ops.op import Op, Shape


@dataclass(frozen=True, eq=False)
class Weighted(Op):
    """A layer that is linear in its input, ``weight`` times x, plus ``bias`` [Co] along the output's axis 1."""

    weight: Array
    bias: Array

    takes_prologue = True
    takes_epilogue = True

    @abstractmethod
    def along_outputs(self, values: Array) -> Array:
        """One value per output channel, shaped to multiply the weights."""

    @abstractmethod
    def along_inputs(self, values: Array, shape: Shape) -> Array:
        """One value per channel of an input of this shape, shaped to multiply the weights."""

    @abstractmethod
    def takes_input_map(self, shifts: bool) -> bool:
        """True if a scale for each input channel can join the weights exactly, and if it ``shifts`` too, the bias."""
