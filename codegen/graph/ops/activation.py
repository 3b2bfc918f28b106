"""Activation functions: definition, Lipschitz constant and evaluation error of each, in one table."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from codegen.graph.bounded import Array, Bounded, Rounding
from codegen.graph.ops.op import Op, Shape, require
from codegen.graph.ops.window import per_channel

Parameters = Mapping[str, float]


def _erf(x: Array) -> Array:
    return np.asarray(np.frompyfunc(math.erf, 1, 1)(x), dtype=np.float64)


Function = Callable[[Array, Parameters], Array]
# Rules for the largest change of f(x) when x changes by up to an error.
Spread = Callable[[Function, Array, Array, Parameters], Array]


def _lipschitz(constant: Callable[[Parameters], float]) -> Spread:
    """Spread of a function whose slope never exceeds a constant."""
    return lambda f, x, error, p: constant(p) * error


def _monotone(f: Function, x: Array, error: Array, p: Parameters) -> Array:
    """Spread of a monotone function, whose extremes are at the ends of the interval."""
    with np.errstate(all="ignore"):
        y = f(x, p)
        moved = np.maximum(np.abs(f(x + error, p) - y), np.abs(y - f(x - error, p)))
    # If an end is outside the function's domain or beyond a pole, the result is unknown.
    return np.where(error == 0, 0.0, np.where(np.isnan(moved), np.inf, moved))


def _exact(f: Function, x: Array, error: Array, p: Parameters) -> Array:
    """Spread of a function that only depends on the kind of number (infinite, NaN), which a finite error keeps."""
    return np.zeros_like(x)


def _across_zero(f: Function, x: Array, error: Array, p: Parameters) -> Array:
    """Spread of a function that is monotone on either side of zero, with a pole or an extremum there."""
    return np.where(np.abs(x) > error, _monotone(f, x, error, p), np.where(error == 0, 0.0, np.inf))


def _even(f: Function, x: Array, error: Array, p: Parameters) -> Array:
    """Spread of a function of |x| that increases with |x|."""
    return _monotone(f, np.abs(x), error, p)


def _across_poles(f: Function, x: Array, error: Array, p: Parameters) -> Array:
    """Spread of tan, which is monotone between its poles."""
    same = np.floor((x - error) / np.pi + 0.5) == np.floor((x + error) / np.pi + 0.5)
    return np.where(same | (error == 0), _monotone(f, x, error, p), np.inf)


def _past_limits(f: Function, x: Array, error: Array, p: Parameters) -> Array:
    """Spread of shrink: slope 1 at most, and a jump where an error can carry |x| past the limit."""
    near = (np.abs(np.abs(x) - np.abs(np.float32(p["lambd"]))) <= error) & (error > 0)
    return error + np.where(near, 2 * (abs(p["lambd"]) + abs(p["bias"])), 0.0)


def _past_threshold(f: Function, x: Array, error: Array, p: Parameters) -> Array:
    """Spread of thresholded_relu: slope 1 at most, and a jump where an error can carry x past the threshold."""
    near = (np.abs(x - np.float32(p["alpha"])) <= error) & (error > 0)
    return error + np.where(near, abs(p["alpha"]), 0.0)


@dataclass(frozen=True)
class Rule:
    """The definition and error rules of an activation.

    ``spread`` bounds how an error of the input grows, ``evaluation`` the error of computing the function itself, in
    units of u, with the accuracies that OpenCL promises for exp, tanh, erf and the like (OpenCL C specification,
    "Relative error as ULPs").  ``finite`` says that finite numbers never give infinity or NaN, ``jumps`` that the
    function is discontinuous between numbers.
    """

    function: Function
    spread: Spread
    evaluation: Callable[[Array, Array, Parameters], Array]
    defaults: Parameters = field(default_factory=dict)
    ordered: tuple[str, str] | None = None  # two parameters, the first of which must not exceed the second
    finite: bool = True
    jumps: bool = False


def _at_least(x: Array, low: float | np.float32) -> Array:
    """max(x, low), but NaN if x is NaN."""
    return np.where(x < low, low, x)


def _at_most(x: Array, high: float | np.float32) -> Array:
    """min(x, high), but NaN if x is NaN."""
    return np.where(x > high, high, x)


def _sigmoid(x: Array) -> Array:
    return np.exp(-np.logaddexp(0.0, -x))


def _softplus(x: Array) -> Array:
    return np.logaddexp(0.0, x)


def _relative(ulps: float) -> Callable[[Array, Array, Parameters], Array]:
    return lambda x, y, p: ulps * np.abs(y)


def _gelu_tanh(x: Array, p: Parameters) -> Array:
    y: Array = 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return y


def _shrink(x: Array, p: Parameters) -> Array:
    limit = np.float32(p["lambd"])
    return np.where(x < -limit, x + p["bias"], np.where(x > limit, x - p["bias"], 0.0))


_SELU_ALPHA = 1.6732632423543772
_SELU_GAMMA = 1.0507009873554805

ACTIVATIONS: Mapping[str, Rule] = {
    "relu": Rule(lambda x, p: _at_least(x, 0.0), _lipschitz(lambda p: 1.0), _relative(0)),
    "clip": Rule(
        # The bounds are constants of the kernel, hence float32; an infinite bound has no effect.
        lambda x, p: _at_most(_at_least(x, np.float32(p["min"])), np.float32(p["max"])),
        _lipschitz(lambda p: 1.0),
        _relative(1),
        ordered=("min", "max"),
        defaults={"min": -math.inf, "max": math.inf},
    ),
    "leaky_relu": Rule(
        lambda x, p: np.where(x < 0, p["alpha"] * x, x),
        _lipschitz(lambda p: max(1.0, abs(p["alpha"]))),
        _relative(4),
        {"alpha": 0.01},
    ),
    "elu": Rule(
        lambda x, p: np.where(x < 0, p["alpha"] * np.expm1(np.minimum(x, 0)), x),
        _lipschitz(lambda p: max(1.0, abs(p["alpha"]))),
        _relative(12),
        {"alpha": 1.0},
    ),
    "selu": Rule(
        lambda x, p: p["gamma"] * np.where(x < 0, p["alpha"] * np.expm1(np.minimum(x, 0)), x),
        _lipschitz(lambda p: abs(p["gamma"]) * max(1.0, abs(p["alpha"]))),
        _relative(16),
        {"alpha": _SELU_ALPHA, "gamma": _SELU_GAMMA},
    ),
    "sigmoid": Rule(lambda x, p: _sigmoid(x), _lipschitz(lambda p: 0.25), _relative(16)),
    "hard_sigmoid": Rule(
        lambda x, p: _at_most(_at_least(p["alpha"] * x + p["beta"], 0.0), 1.0),
        _lipschitz(lambda p: abs(p["alpha"])),
        # Rounding alpha*x and adding beta matters only where the sum is between the clips.
        lambda x, y, p: 4 * np.fmin(np.abs(p["alpha"] * x) + abs(p["beta"]), 2 * abs(p["beta"]) + 2),
        {"alpha": 1 / 6, "beta": 0.5},
    ),
    "hard_swish": Rule(
        lambda x, p: x * _at_most(_at_least(x / 6 + 0.5, 0.0), 1.0),
        _lipschitz(lambda p: 1.5),
        lambda x, y, p: 8 * np.abs(x),
    ),
    "silu": Rule(lambda x, p: x * _sigmoid(x), _lipschitz(lambda p: 1.1), _relative(20)),
    "tanh": Rule(lambda x, p: np.tanh(x), _lipschitz(lambda p: 1.0), _relative(12)),
    "gelu": Rule(
        lambda x, p: 0.5 * x * (1 + _erf(x * math.sqrt(0.5))),
        _lipschitz(lambda p: 1.13),
        # 1 + erf cancels for negative x, so the error is relative to x, not to y.
        lambda x, y, p: 40 * np.abs(x),
    ),
    "gelu_tanh": Rule(_gelu_tanh, _lipschitz(lambda p: 1.13), lambda x, y, p: 40 * np.abs(x)),
    "softplus": Rule(lambda x, p: _softplus(x), _lipschitz(lambda p: 1.0), _relative(16)),
    "mish": Rule(lambda x, p: x * np.tanh(_softplus(x)), _lipschitz(lambda p: 1.1), _relative(40)),
    # Functions of mathematics.
    "abs": Rule(lambda x, p: np.abs(x), _lipschitz(lambda p: 1.0), _relative(0)),
    "neg": Rule(lambda x, p: -x, _lipschitz(lambda p: 1.0), _relative(0)),
    "exp": Rule(lambda x, p: np.exp(x), _monotone, _relative(8), finite=False),
    "log": Rule(lambda x, p: np.log(x), _monotone, _relative(8), finite=False),
    "sqrt": Rule(lambda x, p: np.sqrt(x), _monotone, _relative(8), finite=False),
    "reciprocal": Rule(lambda x, p: 1 / x, _across_zero, _relative(8), finite=False),
    "erf": Rule(lambda x, p: _erf(x), _lipschitz(lambda p: 1.13), _relative(40)),
    "sin": Rule(lambda x, p: np.sin(x), _lipschitz(lambda p: 1.0), _relative(12)),
    "cos": Rule(lambda x, p: np.cos(x), _lipschitz(lambda p: 1.0), _relative(12)),
    "tan": Rule(lambda x, p: np.tan(x), _across_poles, _relative(16), finite=False),
    "asin": Rule(lambda x, p: np.arcsin(x), _monotone, _relative(12), finite=False),
    "acos": Rule(lambda x, p: np.arccos(x), _monotone, _relative(12), finite=False),
    "atan": Rule(lambda x, p: np.arctan(x), _lipschitz(lambda p: 1.0), _relative(12)),
    "sinh": Rule(lambda x, p: np.sinh(x), _monotone, _relative(12), finite=False),
    "cosh": Rule(lambda x, p: np.cosh(x), _even, _relative(12), finite=False),
    "asinh": Rule(lambda x, p: np.arcsinh(x), _lipschitz(lambda p: 1.0), _relative(12)),
    "acosh": Rule(lambda x, p: np.arccosh(x), _monotone, _relative(12), finite=False),
    "atanh": Rule(lambda x, p: np.arctanh(x), _monotone, _relative(16), finite=False),
    "floor": Rule(lambda x, p: np.floor(x), _monotone, _relative(0), jumps=True),
    "ceil": Rule(lambda x, p: np.ceil(x), _monotone, _relative(0), jumps=True),
    "round": Rule(lambda x, p: np.rint(x), _monotone, _relative(0), jumps=True),
    "sign": Rule(lambda x, p: np.sign(x), _monotone, _relative(0), jumps=True),
    "trunc": Rule(lambda x, p: np.trunc(x), _monotone, _relative(0), jumps=True),
    "is_nan": Rule(lambda x, p: np.isnan(x), _exact, _relative(0)),
    "is_inf": Rule(lambda x, p: np.isinf(x), _exact, _relative(0), jumps=True),
    "softsign": Rule(lambda x, p: x / (1 + np.abs(x)), _lipschitz(lambda p: 1.0), _relative(8)),
    "log_sigmoid": Rule(lambda x, p: -_softplus(-x), _lipschitz(lambda p: 1.0), _relative(16)),
    "celu": Rule(
        lambda x, p: np.maximum(x, 0) + p["alpha"] * np.expm1(np.minimum(x, 0) / p["alpha"]),
        _lipschitz(lambda p: 1.0),
        lambda x, y, p: 16 * np.abs(y) + 4 * np.abs(x),
        {"alpha": 1.0},
    ),
    "thresholded_relu": Rule(
        lambda x, p: np.where(x > np.float32(p["alpha"]), x, 0.0),
        _past_threshold,
        _relative(0),
        {"alpha": 1.0},
        jumps=True,
    ),
    "shrink": Rule(
        _shrink,
        _past_limits,
        lambda x, y, p: 2 * (np.abs(x) + abs(p["bias"])) if p["bias"] else np.zeros_like(x),
        {"lambd": 0.5, "bias": 0.0},
        jumps=True,
    ),
}

ALIASES: Mapping[str, tuple[str, Parameters]] = {
    "relu6": ("clip", {"min": 0.0, "max": 6.0}),
    "swish": ("silu", {}),
}
"""Common names of an activation of the table with particular parameters."""


@dataclass(frozen=True, eq=False)
class Activation(Op):
    """A function of one element; ``kind`` is a key of ACTIVATIONS, ``parameters`` its numbers by name."""

    kind: str
    parameters: Parameters

    is_map = True
    takes_epilogue = True

    def __post_init__(self) -> None:
        rule = ACTIVATIONS.get(self.kind)
        require(rule is not None, f"unknown activation {self.kind!r}")
        assert rule is not None
        require(
            set(self.parameters) == set(rule.defaults),
            f"{self.kind} takes {sorted(rule.defaults)}, not {sorted(self.parameters)}",
        )
        require(all(not math.isnan(v) for v in self.parameters.values()), f"{self.kind}: a parameter is NaN")
        if rule.ordered:
            low, high = rule.ordered
            require(self.parameters[low] <= self.parameters[high], f"{self.kind}: {low} should not exceed {high}")

    @staticmethod
    def of(kind: str, **parameters: float) -> Activation:
        """The activation of this name or alias, with defaults for missing parameters."""
        kind, fixed = ALIASES.get(kind, (kind, {}))
        defaults = ACTIVATIONS[kind].defaults if kind in ACTIVATIONS else {}
        return Activation(kind, {**defaults, **fixed, **parameters})

    @property
    def elementwise(self) -> bool:
        return True

    @property
    def finite(self) -> bool:
        return ACTIVATIONS[self.kind].finite

    @property
    def jumps(self) -> bool:
        return ACTIVATIONS[self.kind].jumps

    def of_channels(self, start: int, stop: int) -> Activation:
        return self

    @property
    def title(self) -> str:
        return self.kind

    def infer(self, *shapes: Shape) -> Shape:
        (x,) = shapes
        return x

    def reference(self, *inputs: Array) -> Array:
        (x,) = inputs
        with np.errstate(all="ignore"):  # a logarithm of a negative number is NaN on the device too
            return np.asarray(ACTIVATIONS[self.kind].function(x, self.parameters), dtype=np.float64)

    def bound(self, y: Array, inputs: tuple[Bounded, ...], rounding: Rounding) -> Array:
        (x,) = inputs
        rule = ACTIVATIONS[self.kind]
        propagated = rule.spread(rule.function, x.value, x.error, self.parameters)
        evaluation = rule.evaluation(x.magnitude, np.abs(y) + propagated, self.parameters)
        # Infinity and NaN are not rounded.  Where exp() flushes to zero, silu and mish lose up to 89 times that.
        return propagated + np.where(np.isfinite(y), rounding.unit * evaluation, 0.0) + 128 * rounding.tiny


@dataclass(frozen=True, eq=False)
class PRelu(Op):
    """x where x >= 0, ``slope`` [C] times x elsewhere, along axis 1."""

    slope: Array

    is_map = True
    takes_epilogue = True

    def __post_init__(self) -> None:
        require(self.slope.ndim == 1, f"slope {self.slope.shape} should have one axis: a value per channel")

    @property
    def elementwise(self) -> bool:
        return True

    def infer(self, *shapes: Shape) -> Shape:
        (x,) = shapes
        require(len(x) >= 2, f"input {list(x)} should have a batch axis and a channel axis")
        require(x[1] == len(self.slope), f"input has {x[1]} channels, but slope has {len(self.slope)} values")
        return x

    def of_channels(self, start: int, stop: int) -> PRelu:
        return PRelu(self.slope[start:stop])

    def reference(self, *inputs: Array) -> Array:
        (x,) = inputs
        return np.where(x < 0, per_channel(self.slope, x.ndim) * x, x)

    def bound(self, y: Array, inputs: tuple[Bounded, ...], rounding: Rounding) -> Array:
        (x,) = inputs
        steepness = np.fmax(per_channel(np.abs(self.slope), y.ndim), 1.0)
        return steepness * x.error + rounding.gamma(4) * steepness * x.magnitude + rounding.tiny * (1 + x.magnitude)
