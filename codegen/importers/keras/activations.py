"""Activations, by name, as a layer or function in a table, and as layers of their own.

Most are an activation of the spec and are attached to the layer before; the others become several layers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from codegen.frontend.spec.place import Place, show
from codegen.importers.keras.network import Origin, origin_of
from codegen.importers.keras.options import Options, Unsupported
from codegen.importers.keras.site import Site, Translation

Composite = Callable[[Site, str], str]
"""A function that adds the layers of an activation after a value."""

Found = None | str | Mapping[str, Any] | Composite
"""An activation in the spec's form, None for linear, or a function that adds several layers."""


def activate(site: Site, found: Found, value: str | None = None) -> str:
    """Adds an activation's layer after the given value, or after the only operand."""
    x = site.input if value is None else value
    if found is None:
        return x
    if isinstance(found, str):
        return site.add(found, x)
    if isinstance(found, Mapping):
        return site.add(found["op"], x, **{key: option for key, option in found.items() if key != "op"})
    return found(site, x)


def add_activated(site: Site, op: str, inputs: str | Sequence[str], **options: Any) -> str:
    """Adds a layer of the spec with the activation of the model's layer."""
    return finish(site, lambda part, **more: site.add(op, inputs, part, **options, **more))


def finish(site: Site, add: Callable[..., str]) -> str:
    """Calls ``add`` with a layer's name and, if one layer can hold the activation, the key "activation".

    Otherwise the activation's layers are added after it.
    """
    found = activation(site.options.get("activation"), site.options.place, site.major)
    if found is None or isinstance(found, (str, Mapping)):
        return add("", activation=found)
    return found(site, add("linear"))


def activation(value: Any, place: Place, major: int) -> Found:
    """The activation in a layer's configuration, which may be a name, or the table of a function or layer."""
    if isinstance(value, Mapping):
        return _of_table(value, place, major)
    if value is None:
        return None
    if value == "hard_sigmoid":
        return hard_sigmoid(major)
    if not isinstance(value, str) or value not in NAMED:
        raise Unsupported(f"activation {show(value)}")
    return NAMED[value]


def hard_sigmoid(major: int) -> Found:
    return {"op": "hard_sigmoid", "alpha": 1 / 6 if major >= 3 else 0.2, "beta": 0.5}


def _of_table(value: Mapping[str, Any], place: Place, major: int) -> Found:
    """The activation in a function's or layer's table.  Keras 3 writes module "builtins" for a user's own function."""
    class_name, config, origin = value.get("class_name"), value.get("config"), origin_of(value)
    if class_name == "function" and origin is Origin.KERAS and isinstance(config, str):
        return activation(config, place, major)
    if class_name == "function" or origin is Origin.OWN:
        raise Unsupported(f"custom activation {show(config if class_name == 'function' else class_name)}")
    read = _LAYERS.get(str(class_name))
    if read is None or not isinstance(config, Mapping):
        raise Unsupported(f"activation {show(class_name)}")
    options = Options(place.key("activation"), config)
    found = read(options)
    options.refuse_unread()
    return found


# Composites -----------------------------------------------------------------------------------------------------------


def softmax(axis: Any) -> Composite:
    return lambda site, x: site.softmax(x, axis)


def log_softmax(axis: Any) -> Composite:
    """x - max - log(sum(exp(x - max)))."""

    def add(site: Site, x: str) -> str:
        axes = [site.axis(axis, len(site.document.shape(x)))]
        below = site.add("sub", [x, site.add("reduce_max", x, "max", axes=axes)], "below")
        total = site.add("reduce_sum", site.add("exp", below, "exp"), "sum", axes=axes)
        return site.add("sub", [below, site.add("log", total, "log")])

    return add


def glu(axis: Any) -> Composite:
    """The first half of an axis times the sigmoid of the second."""

    def add(site: Site, x: str) -> str:
        shape = site.document.shape(x)
        where = site.axis(axis, len(shape))
        half, odd = divmod(shape[where], 2)
        if odd:
            raise site.options.place.spec_error(f"cannot halve an axis of size {shape[where]}")
        first = site.add("slice", x, "first", axis=where, stop=half)
        gate = site.add("sigmoid", site.add("slice", x, "second", axis=where, start=half), "gate")
        return site.add("mul", [first, gate])

    return add


def squareplus(b: float) -> Composite:
    """(x + sqrt(x^2 + b)) / 2."""

    def add(site: Site, x: str) -> str:
        power = site.affine(site.add("mul", [x, x], "square"), 1.0, b, "shifted")
        return site.affine(site.add("add", [x, site.add("sqrt", power, "root")], "sum"), 0.5, 0.0)

    return add


def _tanh_shrink(site: Site, x: str) -> str:
    return site.add("sub", [x, site.add("tanh", x, "tanh")])


def _sparse_plus(site: Site, x: str) -> str:
    """(x + 1)^2 / 4 for x from -1 to 1, x above, 0 below."""
    within = site.affine(site.add("clip", x, "within", min=-1.0, max=1.0), 0.5, 0.5, "half")
    beyond = site.add("relu", site.affine(x, 1.0, -1.0, "less_one"), "beyond")
    return site.add("add", [site.add("mul", [within, within], "square"), beyond])


def threshold(least: float, otherwise: float) -> Found:
    """x if it is greater than ``least``, else a constant."""
    if otherwise == 0:
        return {"op": "thresholded_relu", "alpha": least}

    def add(site: Site, x: str) -> str:
        rank = len(site.document.shape(x))
        greater = site.add("greater", [x, site.constant("threshold", least, rank)], "greater")
        rest = site.affine(greater, -otherwise, otherwise, "otherwise")
        return site.add("add", [site.add("mask", [x, greater], "kept"), rest])

    return add


NAMED: Mapping[str, Found] = {
    **{name: name for name in ("relu", "relu6", "sigmoid", "tanh", "elu", "selu", "softplus", "gelu", "mish")},
    **{name: name for name in ("softsign", "log_sigmoid", "celu")},
    "linear": None,
    "softmax": softmax(-1),
    "log_softmax": log_softmax(-1),
    "exponential": "exp",
    "silu": "silu",
    "swish": "silu",
    "hard_silu": "hard_swish",
    "hard_swish": "hard_swish",
    "hard_tanh": {"op": "clip", "min": -1.0, "max": 1.0},
    "leaky_relu": {"op": "leaky_relu", "alpha": 0.2},
    "glu": glu(-1),
    "squareplus": squareplus(4.0),
    "sparse_plus": _sparse_plus,
    "sparse_sigmoid": {"op": "hard_sigmoid", "alpha": 0.5, "beta": 0.5},
    "soft_shrink": {"op": "shrink", "lambd": 0.5, "bias": 0.5},
    "hard_shrink": {"op": "shrink", "lambd": 0.5, "bias": 0.0},
    "tanh_shrink": _tanh_shrink,
}
"""Activations by Keras' names, except for "hard_sigmoid", which depends on the version."""


# Layers ---------------------------------------------------------------------------------------------------------------


def relu(o: Options) -> Found:
    """x above the threshold, at most ``max_value``; negative_slope * (x - threshold) below the threshold."""
    slope, least = o.number("negative_slope", 0.0), o.number("threshold", 0.0)
    most = None if o.get("max_value") is None else o.number("max_value", 0.0)
    if most is not None and most < 0:
        raise o.place.key("max_value").spec_error(f"{most} should not be negative")
    if least:
        return _relu_above(least, slope, most)
    if slope and most is None:
        return {"op": "leaky_relu", "alpha": slope}
    if slope:
        return lambda site, x: site.add("clip", site.add("leaky_relu", x, "leaky_relu", alpha=slope), max=most)
    if most is None:
        return "relu"
    return "relu6" if most == 6 else {"op": "clip", "min": 0.0, "max": most}


def _relu_above(least: float, slope: float, most: float | None) -> Composite:
    """x if it is greater than ``least``, clipped, plus slope * min(x - least, 0)."""

    def add(site: Site, x: str) -> str:
        y = site.add("thresholded_relu", x, "above" if slope or most is not None else "", alpha=least)
        if most is not None:
            y = site.add("clip", y, "clipped" if slope else "", min=0.0, max=most)
        if slope:
            below = site.add("clip", site.affine(x, 1.0, -least, "shifted"), "below", max=0.0)
            y = site.add("add", [y, site.affine(below, slope, 0.0, "leak")])
        return y

    return add


def leaky_relu(o: Options) -> Found:
    """Leaky ReLU, whose slope Keras 2 calls ``alpha``."""
    both = o.get("negative_slope") is not None and o.get("alpha") is not None
    if both:
        raise o.place.key("alpha").spec_error("is there beside negative_slope")
    key = "alpha" if o.get("alpha") is not None else "negative_slope"
    return {"op": "leaky_relu", "alpha": o.number(key, 0.3)}


def _elu(o: Options) -> Found:
    return {"op": "elu", "alpha": o.number("alpha", 1.0)}


def _softmax(o: Options) -> Found:
    return softmax(o.get("axis", -1))


_LAYERS: Mapping[str, Callable[[Options], Found]] = {
    "ReLU": relu,
    "LeakyReLU": leaky_relu,
    "ELU": _elu,
    "Softmax": _softmax,
    "ThresholdedReLU": lambda o: {"op": "thresholded_relu", "alpha": o.number("theta", 1.0)},
}


def _layer(read: Callable[[Options], Found]) -> Translation:
    return lambda site: activate(site, read(site.options))


def _prelu(site: Site) -> str:
    """max(x, 0) + alpha * min(x, 0), for slopes per element."""
    alpha = np.asarray(site.arrays(["alpha"])["alpha"])
    shape, rank = site.model_shape(site.input), site.rank
    shared = site.options.get("shared_axes", [])
    shared = shared if isinstance(shared, list) else [shared]
    shared = [axis % rank if isinstance(axis, int) else axis for axis in shared]
    wanted = tuple(1 if a in shared else size for a, size in enumerate(shape, 1))
    if alpha.shape != wanted:
        raise site.options.place.key("shared_axes").spec_error(
            f"{show(shared)} wants slopes of shape {list(wanted)}; the file has {list(alpha.shape)}"
        )
    varying = [site.to_spec(axis, rank) for axis, size in enumerate(alpha.shape, 1) if size != 1]
    if varying in ([], [1]):
        return site.add("prelu", site.input, slope=site.array("alpha", alpha.reshape(-1)))
    below = site.affine(site.add("clip", site.input, "below", max=0.0), alpha, np.zeros(()), "leak")
    return site.add("add", [site.add("relu", site.input, "above"), below])


def _activation_layer(site: Site) -> str:
    return activate(site, activation(site.options.get("activation"), site.options.place, site.major))


ACTIVATION_LAYERS: Mapping[str, Translation] = {
    "Activation": _activation_layer,
    **{name: _layer(read) for name, read in _LAYERS.items()},
    "PReLU": _prelu,
}


# Functions ------------------------------------------------------------------------------------------------------------


def function(name: str) -> Translation:
    """A translation of a function that is also an activation without options."""
    return lambda site: activate(site, activation(name, site.options.place, 3))


def _gelu(o: Options) -> Found:
    return "gelu_tanh" if o.flag("approximate", True) else "gelu"


def _tf_leaky_relu(o: Options) -> Found:
    return {"op": "leaky_relu", "alpha": o.number("alpha", 0.2)}


def _tf_silu(o: Options) -> Found:
    o.require("beta", 1.0, 1)
    return "silu"


def _threshold(o: Options) -> Found:
    return threshold(o.number("threshold", 0.0), o.number("default_value", 0.0))


FUNCTIONS: Mapping[str, Translation] = {
    **{name: function(name) for name in ("relu", "relu6", "sigmoid", "tanh", "softplus", "softsign", "selu")},
    **{name: function(name) for name in ("silu", "hard_sigmoid", "hard_silu", "hard_tanh", "log_sigmoid")},
    **{name: function(name) for name in ("sparse_plus", "sparse_sigmoid", "tanh_shrink", "mish")},
    "elu": _layer(_elu),
    "celu": _layer(lambda o: {"op": "celu", "alpha": o.number("alpha", 1.0)}),
    "gelu": _layer(_gelu),
    "glu": _layer(lambda o: glu(o.get("axis", -1))),
    "leaky_relu": _layer(lambda o: {"op": "leaky_relu", "alpha": o.number("negative_slope", 0.2)}),
    "tf_leaky_relu": _layer(_tf_leaky_relu),
    "tf_silu": _layer(_tf_silu),
    "softmax": _layer(_softmax),
    "log_softmax": _layer(lambda o: log_softmax(o.get("axis", -1))),
    "squareplus": _layer(lambda o: squareplus(o.number("b", 4.0))),
    "soft_shrink": _layer(
        lambda o: {"op": "shrink", "lambd": o.number("threshold", 0.5), "bias": o.number("threshold", 0.5)}
    ),
    "hard_shrink": _layer(lambda o: {"op": "shrink", "lambd": o.number("threshold", 0.5), "bias": 0.0}),
    "threshold": _layer(_threshold),
    "relu_of_activations": _layer(relu),
}
"""Activation functions by their names in ``keras.ops``."""
