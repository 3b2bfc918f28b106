"""BatchNorm: its four arrays, of which two are optional, by the names of either vocabulary."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from codegen.frontend.operators.layer import Layer, Step
from codegen.frontend.parameters.parameters import Tensor, first_index, widened
from codegen.frontend.spec.place import listed, show
from codegen.frontend.spec.value_types import FLAG, TEXT, Key, Keys, number
from codegen.graph.ops import BatchNorm, Shape

KEYS: Keys = {
    "epsilon": Key(
        number("a number >= 0 and < 1, such as 1e-5 (PyTorch) or 1e-3 (Keras)", low=0.0, below=1.0),
        "Added to the variance; the one the network was trained with.",
        required=True,
        missing="write the one the network was trained with: frameworks differ (PyTorch 1e-5, Keras 1e-3)",
    ),
    "prefix": Key(TEXT, "Prefix of the names of all four tensors: <prefix>.gamma and so on."),
    "gamma": Key(TEXT, "Name of the tensor. Default: the file's, or 1 if it has none."),
    "beta": Key(TEXT, "Name of the tensor. Default: the file's, or 0 if it has none."),
    "mean": Key(TEXT, "Name of the tensor. Default: the file's."),
    "variance": Key(TEXT, "Name of the tensor. Default: the file's."),
    "scale": Key(FLAG, "false: gamma is 1 whatever the file has; true: gamma must be there."),
    "center": Key(FLAG, "false: beta is 0 whatever the file has; true: beta must be there."),
    "training": Key(FLAG, "Must be false: the statistics are those of the file, not of a batch.", default=False),
}

_VOCABULARY: Mapping[str, tuple[str, ...]] = {
    "gamma": ("gamma", "weight"),
    "beta": ("beta", "bias"),
    "mean": ("moving_mean", "running_mean", "mean"),
    "variance": ("moving_variance", "running_var", "variance", "var"),
}
_SWITCH = {"gamma": "scale", "beta": "center"}


def batch_norm(layer: Layer) -> list[Step]:
    if layer.options["training"]:
        raise layer.place.key("training").spec_error(
            "training-mode BN, with the statistics of each batch, cannot be compiled; "
            "export the network in inference mode and write training = false or nothing"
        )
    tensors = _tensors(layer)
    channels = layer.channels
    for tensor in tensors.values():
        if tensor is not None and tensor.shape != (channels,):
            raise tensor.error(f"should be [{channels}], one for each channel of input {list(layer.shape)}")
    mean, variance = tensors["mean"], tensors["variance"]
    assert mean is not None and variance is not None
    epsilon = layer.options["epsilon"]
    _check_variance(variance, epsilon)
    gamma, beta = tensors["gamma"], tensors["beta"]
    op = BatchNorm(
        widened(np.ones(channels)) if gamma is None else widened(gamma.values),
        widened(np.zeros(channels)) if beta is None else widened(beta.values),
        widened(mean.values),
        widened(variance.values),
        epsilon,
    )
    return [Step("batch_norm", op)]


def _tensors(layer: Layer) -> dict[str, Tensor | None]:
    prefix, channels = _prefix(layer), (layer.channels,)

    def fits(shape: Shape) -> bool:
        return shape == channels

    tensors: dict[str, Tensor | None] = {}
    for array in _VOCABULARY:
        named, switch = layer.options[array], layer.options.get(_SWITCH.get(array, ""))
        if switch is False:
            if named is not None:
                raise layer.place.key(_SWITCH[array]).spec_error(f"is false, but {array} names a tensor; drop one")
            tensors[array] = None
            continue
        names = [named] if named is not None else _names(layer, prefix, array)
        required = named is not None or switch is True or array not in _SWITCH
        held = [name for other in _VOCABULARY for name in _names(layer, prefix, other) if name in layer.parameters]
        missing = _missing(layer, prefix, array, held) if held and named is None else ""
        tensors[array] = layer.parameters.choose(names, layer.place.key(array), fits, required, missing=missing)
    return tensors


def _missing(layer: Layer, prefix: str, array: str, held: list[str]) -> str:
    """The message for an array that is missing while others are there."""
    keras = any(name.endswith((".gamma", ".beta", ".moving_mean", ".moving_variance")) for name in held)
    word = _VOCABULARY[array][0 if keras else 1]
    return f"tensor {show(f'{prefix}.{word}')} is missing; {layer.parameters.file} has {listed(held, 'and')}"


def _prefix(layer: Layer) -> str:
    """The only prefix under which there are tensors."""
    if layer.options["prefix"] is not None:
        return str(layer.options["prefix"])
    prefixes = [*own_prefixes(layer.name), layer.name] if layer.attached else [layer.name]
    present = [
        prefix
        for prefix in prefixes
        if any(name in layer.parameters for array in _VOCABULARY for name in _names(layer, prefix, array))
    ]
    if layer.attached and not present:
        sibling = sibling_prefix(layer.name)
        # In a Sequential, the next number may be anything with a weight and a bias; a module called bn is a BatchNorm.
        arrays = ("mean", "variance") if sibling.rpartition(".")[2].isdecimal() else tuple(_VOCABULARY)
        present = [sibling] * any(f"{sibling}.{w}" in layer.parameters for array in arrays for w in _VOCABULARY[array])
    if len(present) > 1:
        raise layer.place.parameter_error(
            f"{layer.parameters.file} has tensors under {listed([p + '.' for p in present], 'and')}; "
            'say which with prefix = "..."'
        )
    return present[0] if present else prefixes[0]


def array_of(word: str) -> str:
    """The array of a BatchNorm that this word means in either vocabulary; "" if none."""
    return next((array for array, words in _VOCABULARY.items() if word in words), "")


def own_prefixes(name: str) -> list[str]:
    """The prefixes of tensors that belong to the BatchNorm attached to the layer of this name."""
    return [f"{name}.bn", f"{name}.batch_norm"]


def sibling_prefix(name: str) -> str:
    """The usual name in PyTorch of the BatchNorm after a convolution; "" if there is no convention.

    Examples: layer1.0.conv1 -> layer1.0.bn1, conv -> bn, and in a Sequential features.3 -> features.4.
    """
    parent, dot, last = name.rpartition(".")
    if last.isdecimal():
        return f"{parent}{dot}{int(last) + 1}" if dot else ""
    found = re.fullmatch(r"conv(\d*)", last)
    return f"{parent}{dot}bn{found[1]}" if found else ""


def _names(layer: Layer, prefix: str, array: str) -> list[str]:
    # <layer>.weight and <layer>.bias belong to the operator that this BatchNorm is attached to.
    taken = ("weight", "bias") if layer.attached and prefix == layer.name else ()
    return [f"{prefix}.{word}" for word in _VOCABULARY[array] if word not in taken]


def _check_variance(variance: Tensor, epsilon: float) -> None:
    negative = variance.values < 0
    if negative.any():
        at = first_index(negative)
        raise variance.error(
            f"has {variance.values[tuple(at)]} at {at}; a variance is never negative: "
            "is this the right tensor, and is the file whole?"
        )
    zero = variance.values == 0
    if epsilon == 0 and zero.any():
        raise variance.error(
            f"has 0 at {first_index(zero)}, which epsilon = 0 makes a division by zero; "
            "write the epsilon the network was trained with (PyTorch 1e-5, Keras 1e-3)"
        )
