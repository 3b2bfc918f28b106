"""The parts of the models of tests/programs/sweep_keras.py: Keras itself, and networks of one layer."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "numpy")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

keras: Any = importlib.import_module(os.environ.get("SWEEP_KERAS", "keras"))
L: Any = keras.layers
MAJOR = int(keras.__version__.split(".")[0])

FORMATS = ("keras", "h5")
ORDERS = ("channels_last", "channels_first")


@dataclass(frozen=True)
class Case:
    """``build`` makes the model; ``formats`` are those in which the file says all that the model is."""

    name: str
    build: Callable[..., Any]
    formats: Sequence[str] = FORMATS

    @property
    def group(self) -> str:
        return self.name.split()[0]


def stack(shape: Sequence[int], *layers: Any, order: str = "channels_last", dtype: str = "float32") -> Any:
    """The layers on an input; in a network with channels first there is a layer that says so."""
    x = y = keras.Input(tuple(shape), name="x", dtype=dtype)
    if order == "channels_first":
        axes = len(shape) - 1
        nothing = 0 if axes == 1 else ((0, 0),) * axes
        y = getattr(L, f"ZeroPadding{axes}D")((0, 0) if axes == 1 else nothing, data_format=order)(y)
    for layer in layers:
        y = layer(y)
    return keras.Model(x, y)


SPACE = {1: (7,), 2: (6, 5), 3: (4, 5, 4)}


def shape(axes: int, order: str = "channels_last", channels: int = 4) -> tuple[int, ...]:
    return (channels, *SPACE[axes]) if order == "channels_first" else (*SPACE[axes], channels)


def one(kind: str, sizes: Sequence[int], order: str = "", **options: Any) -> Case:
    """A network of one layer, whose ``order`` is its data_format."""
    said = {**options, **({"data_format": order} if order else {})}
    words = " ".join(f"{key}={value}" for key, value in said.items())
    return Case(f"{kind} {words} on {list(sizes)}", lambda: stack(sizes, getattr(L, kind)(**said)))


def within(kind: str, sizes: Sequence[int], order: str, **options: Any) -> Case:
    """The same for a layer that does not say where the channels are."""
    words = " ".join(f"{key}={value}" for key, value in options.items())
    return Case(
        f"{kind} {words} on {list(sizes)} in {order}",
        lambda: stack(sizes, getattr(L, kind)(**options), order=order),
    )
