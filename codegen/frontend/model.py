"""The result of a frontend: a network, and the samples, hashes and unused tensors that belong to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codegen.graph.graph import Graph


@dataclass(frozen=True, eq=False)
class Example:
    """Labelled samples.  ``images`` is [count, *the input's shape without batch] in the user's own layout: where the
    graph's input is ``channels_last``, so are these.  ``labels`` is [count]."""

    images: NDArray[np.float32]
    labels: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Model:
    """``spec_name`` is a file name without folders; hashes are of the files' bytes, "" where there is no file.

    ``unused`` names the tensors of the weights file that no layer reads: perhaps a forgotten bias or BatchNorm.
    """

    graph: Graph
    spec_name: str
    spec_sha256: str
    weights_sha256: str
    example: Example | None = None
    unused: tuple[str, ...] = ()
