"""What each function is in a spec.  Models are made of functions where somebody has written ``x * sigmoid(x)``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from codegen.importers.keras.arguments import Signature
from codegen.importers.keras.layers import Translation, activate
from codegen.importers.keras.options import Unsupported
from codegen.importers.keras.site import Site, activation, hard_sigmoid


@dataclass(frozen=True)
class Function:
    signature: Signature
    translate: Translation


def _named(name: str) -> Translation:
    return lambda site: activate(site, activation(name, site.options.place, site.major))


def _binary(op: str) -> Translation:
    """A function of two tensors of the same rank, or of a tensor and a number."""

    def translate(site: Site) -> str:
        a, b = site.operands
        if isinstance(a, str) and isinstance(b, str):
            if len(site.document.shape(a)) != len(site.document.shape(b)):
                raise Unsupported("tensors of different ranks")
            if op == "div":
                raise Unsupported("two tensors")
            return site.add(op, [a, b])
        if isinstance(a, str) and not isinstance(b, str):
            if op == "div" and b == 0:
                raise Unsupported("a division by zero")
            factor, shift = {"add": (1.0, b), "sub": (1.0, -b), "mul": (b, 0.0), "div": (1 / (b or 1), 0.0)}[op]
            return _affine(site, a, factor, shift)
        if isinstance(b, str) and not isinstance(a, str) and op != "div":
            factor, shift = {"add": (1.0, a), "sub": (-1.0, a), "mul": (a, 0.0)}[op]
            return _affine(site, b, factor, shift)
        raise Unsupported("these operands")

    return translate


def _affine(site: Site, value: str, factor: float, shift: float) -> str:
    if factor == 1:
        return site.add("bias", value, bias=site.array("bias", [shift]))
    bias: Any = site.array("bias", [shift]) if shift else False
    return site.add("scale", value, weight=site.array("scale", [factor]), bias=bias)


def _negative(site: Site) -> str:
    return _affine(site, site.input, -1.0, 0.0)


_TWO = Signature(("x1|x", "x2|y"))
_ONE = Signature(("x|features",))
_SILU = Signature(("x|features",), {"beta": 1.0})

# Names are those of Keras 3's functions, and of TensorFlow's behind "tf.".
_FUNCTIONS: tuple[tuple[Signature, Translation, tuple[str, ...]], ...] = (
    (_TWO, _binary("add"), ("Add", "__operators__.add", "math.add")),
    (_TWO, _binary("sub"), ("Subtract", "__operators__.sub", "math.subtract")),
    (_TWO, _binary("mul"), ("Multiply", "__operators__.mul", "math.multiply")),
    (_TWO, _binary("div"), ("Divide", "TrueDivide", "__operators__.truediv", "math.truediv", "math.divide")),
    (_ONE, _negative, ("Negative", "__operators__.neg", "math.negative")),
    (_ONE, _named("relu"), ("Relu", "nn.relu")),
    (_ONE, _named("relu6"), ("Relu6", "nn.relu6")),
    (_ONE, _named("sigmoid"), ("Sigmoid", "nn.sigmoid", "math.sigmoid")),
    (_ONE, _named("tanh"), ("Tanh", "nn.tanh", "math.tanh")),
    (_SILU, _named("silu"), ("Silu", "nn.silu")),
    (_ONE, lambda site: activate(site, hard_sigmoid(3)), ("HardSigmoid",)),
    (_ONE, _named("hard_swish"), ("HardSilu",)),
    (_ONE, _named("softplus"), ("Softplus", "nn.softplus", "math.softplus")),
)

OPERATIONS: Mapping[str, Function] = {
    name: Function(signature, translate) for signature, translate, names in _FUNCTIONS for name in names
}
