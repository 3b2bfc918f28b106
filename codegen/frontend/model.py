"""The result of reading a spec: a network, with its samples, hashes and unused tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from codegen.frontend.parameters.parameters import Parameters, first_index
from codegen.frontend.spec.place import Place
from codegen.frontend.spec.spec import ExampleTable
from codegen.graph.graph import Graph
from codegen.graph.types import is_whole, limits

T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True, eq=False)
class Example:
    """Labelled samples.

    ``images`` is [count, *the input's shape without batch] in the user's layout: channels last if the graph's input is
    ``channels_last``.  ``labels`` is [count].
    """

    images: NDArray[np.float32]
    labels: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Model:
    """A network; ``spec_name`` is a file name without folders; hashes are of files' bytes, "" without a file.

    ``unused`` names the tensors of the weights file that no layer reads, such as a forgotten bias or BatchNorm.
    ``backend`` is how its kernels run, unless an option says otherwise.  ``origins`` has each layer's line in the spec
    and, if it was imported under another name, its node in the model, in words.
    """

    graph: Graph
    spec_name: str
    spec_sha256: str
    weights_sha256: str
    example: Example | None = None
    unused: tuple[str, ...] = ()
    backend: str = "opencl"
    origins: Mapping[str, str] = field(default_factory=dict)


def read_example(table: ExampleTable, graph: Graph, folder: Path, file: str) -> Example:
    place = Place(file, "example")
    if len(graph.inputs) != 1:
        raise place.spec_error(f"takes a network with one input, not {len(graph.inputs)}")
    (x,) = graph.inputs
    shape = x.shape[1:]
    if x.channels_last:
        shape = (*shape[1:], shape[0])
    data = Parameters.open(folder / table.data, place.key("data"))
    images = data.read(table.image, place.key("image"))
    labels = data.read(table.label, place.key("label"))
    if images.shape[1:] != shape or not images.shape or images.shape[0] == 0:
        raise images.error(f"should be [count, {', '.join(map(str, shape))}], samples of input {x.name}")
    if is_whole(x.type):
        low, high = limits(x.type)
        other = (images.values != np.trunc(images.values)) | (images.values < low) | (images.values > high)
        if other.any():
            at = first_index(other)
            raise images.error(f"has {images.values[tuple(at)]} at {at}; input {x.name} takes {x.type}")
    if labels.shape != images.shape[:1]:
        raise labels.error(f"should be [{images.shape[0]}], one for each image")
    if labels.values.dtype.kind not in "iu":
        raise labels.error(f"holds {labels.values.dtype}; a label is an integer")
    classes = math.prod(graph.shapes[graph.outputs[0].value][1:])
    wrong = (labels.values < 0) | (labels.values >= classes)
    if wrong.any():
        at = first_index(wrong)
        raise labels.error(
            f"has {labels.values[tuple(at)]} at {at}; "
            f"a label is from 0 to {classes - 1}, an element of output {graph.outputs[0].name}"
        )
    return Example(_read_only(images.values.astype(np.float32)), _read_only(labels.values.astype(np.int64)))


def _read_only(array: NDArray[T]) -> NDArray[T]:
    copy = np.ascontiguousarray(array)
    copy.setflags(write=False)
    return copy
