"""The result of reading a spec: a network, with its samples, hashes and unused tensors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codegen.graph.graph import Graph


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
    """

    graph: Graph
    spec_name: str
    spec_sha256: str
    weights_sha256: str
    example: Example | None = None
    unused: tuple[str, ...] = ()
