"""A model file's outputs by every way that clgen has: the float64 reference, pyopencl and the C host."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen import build
from codegen.importers.open import open_model
from codegen.runtime import artefact as artefacts
from codegen.runtime.devices import DeviceInfo
from codegen.runtime.execute import Session
from codegen.runtime.host import Host, compile_host

Array = NDArray[Any]


def by_reference(path: Path, feeds: Mapping[str, Array]) -> list[Array]:
    """The outputs in float64, as the imported graph has them; an input's shape may lack the batch."""
    graph = open_model(path).graph
    values = graph.evaluate({i.name: np.asarray(feeds[i.name]).reshape(i.shape) for i in graph.inputs})
    return [values[output.value] for output in graph.outputs]


def by_device(path: Path, feeds: Mapping[str, Array], device: DeviceInfo, folder: Path) -> Iterator[list[Array]]:
    """The outputs by pyopencl, then by the C host, on the device."""
    built, _ = build.build(build.lower(path), folder, "cpu")
    artefact = artefacts.read(built)
    given = {
        i["name"]: np.ascontiguousarray(feeds[i["name"]], dtype=i["type"]).reshape(i["shape"]) for i in artefact.inputs
    }
    yield list(Session(artefact, device).run(given).values())
    library = compile_host(artefact, folder / "host.so")
    with Host(artefact, library, device) as host:
        yield list(host.run(given).values())
