"""The data of the template of the program that checks every layer on the target, ``<name>_check.c``."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.emit.comments import describe_launch
from codegen.emit.layer_samples import ELEMENTS, LayerSamples
from codegen.emit.literals import hexfloat
from codegen.emit.ports import C_TYPES
from codegen.plan.plan import Plan

WIDTH = 112  # characters of a row of numbers


def check_context(plan: Plan, samples: LayerSamples, inputs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The template's data; ``inputs`` are those of the network's ports."""
    types = [plan.places[launch.writes].layout.dtype.name for launch in plan.launches]
    counts = [len(elements) for elements in samples.launches]
    return {
        "most": ELEMENTS,
        "layers": sum(count > 0 for count in counts),
        "count": sum(counts),
        "launches": [
            {"comment": describe_launch(launch, plan), "elements": [asdict(element) for element in elements]}
            for launch, elements in zip(plan.launches, samples.launches, strict=True)
        ],
        "first_elements": _rows(map(str, itertools.accumulate(counts, initial=0))),
        "inputs": [] if samples.images is None else [{**inputs[0], "rows": _rows(_literals(samples.images))}],
        "types": [{"name": name, "NAME": name.upper(), "c_type": C_TYPES[name]} for name in dict.fromkeys(types)],
        "element_types": _rows(f"{name.upper()}_ELEMENT" for name in types),
    }


def _literals(array: NDArray[Any]) -> list[str]:
    """The elements as C literals; those of float16 are their bits."""
    if array.dtype == np.float16:
        array = array.view(np.uint16)
    if array.dtype == np.float32:
        return [hexfloat(value) for value in array.reshape(-1).tolist()]
    return [value.hex() if isinstance(value, float) else str(int(value)) for value in array.reshape(-1).tolist()]


def _rows(literals: Iterable[str]) -> list[str]:
    return textwrap.wrap(", ".join([*literals, ""]), WIDTH)
