"""Keys of windows over the spatial axes, shared by convolutions and pools."""

from __future__ import annotations

from codegen.frontend.kinds import Key, padding, per_axis
from codegen.frontend.layer import Layer
from codegen.graph.ops.window import Ints, Pads, same_pads

STRIDE = Key(per_axis(1), "Step of the window.", 1)
DILATION = Key(per_axis(1), "Step within the window.", 1)
PADDING = Key(padding("valid", "same"), 'Around the input; "same" has TensorFlow\'s meaning.', 0)


def pads_of(layer: Layer, kernel: Ints, stride: Ints, dilation: Ints) -> Pads:
    if layer.options["padding"] == "same":
        return same_pads(layer.space, kernel, stride, dilation)
    return layer.pads()
