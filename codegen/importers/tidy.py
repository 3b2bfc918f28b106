"""Leaves out keys of a layer's table that a spec's defaults already imply."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from codegen.importers.document import Layer

# Endings of the default names of tensors; see docs/spec.md, "Parameters".
_ENDINGS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    **{
        op: {"weight": ("weight", "kernel"), "bias": ("bias",)}
        for op in ("conv", "depthwise_conv", "conv_transpose", "dense")
    },
    "scale": {"weight": ("scale", "weight"), "bias": ("bias",)},
    "bias": {"bias": ("bias",)},
    "take": {"indices": ("indices",)},
    "prelu": {"slope": ("slope", "alpha", "weight")},
}
_BATCH_NORM: Mapping[str, tuple[str, ...]] = {
    "gamma": ("gamma", "weight"),
    "beta": ("beta", "bias"),
    "mean": ("moving_mean", "running_mean", "mean"),
    "variance": ("moving_variance", "running_var", "variance", "var"),
}
_OPTIONAL_BIAS = ("conv", "depthwise_conv", "conv_transpose", "dense", "scale")


def without_defaults(layer: Layer, arrays: Collection[str]) -> dict[str, Any]:
    """The layer's table without keys that have their default value; ``arrays`` are the names in the file."""
    options = dict(layer.options)
    for key, endings in _ENDINGS.get(layer.op, {}).items():
        if options.get(key) in _present(layer.name, endings, arrays, only=True):
            del options[key]
    if layer.op in _OPTIONAL_BIAS and layer.options.get("bias") is False and f"{layer.name}.bias" not in arrays:
        del options["bias"]
    if layer.op == "batch_norm":
        options = _batch_norm(options, [layer.name], (), arrays)
    if "batch_norm" in options:
        prefixes = [f"{layer.name}.bn", f"{layer.name}.batch_norm", layer.name]
        options["batch_norm"] = _batch_norm(options["batch_norm"], prefixes, ("weight", "bias"), arrays)
    return options


def _present(prefix: str, endings: Collection[str], arrays: Collection[str], only: bool = False) -> list[str]:
    found = [f"{prefix}.{ending}" for ending in endings if f"{prefix}.{ending}" in arrays]
    return found if len(found) == 1 or not only else []


def _batch_norm(
    options: Mapping[str, Any], prefixes: list[str], taken: tuple[str, ...], arrays: Collection[str]
) -> dict[str, Any]:
    """Replaces four names by their common prefix, and leaves the prefix out if it is the default one."""

    def words(prefix: str, array: str) -> list[str]:
        owner = prefix == prefixes[-1]
        return [word for word in _BATCH_NORM[array] if not (owner and word in taken)]

    prefix = str(options["mean"]).rpartition(".")[0]
    named = {array: options.get(array) for array in _BATCH_NORM}
    if not prefix or any(
        name is None or [name] != _present(prefix, words(prefix, array), arrays) for array, name in named.items()
    ):
        return dict(options)
    rest = {key: value for key, value in options.items() if key not in _BATCH_NORM}
    tried = [p for p in prefixes if any(_present(p, words(p, array), arrays) for array in _BATCH_NORM)]
    return rest if tried == [prefix] else {**rest, "prefix": prefix}
