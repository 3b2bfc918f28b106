"""Which importer reads a file, by its suffix; a model file as a spec in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from codegen.errors import SpecError
from codegen.frontend import toml
from codegen.frontend.archive import read_safetensors
from codegen.frontend.model import Model
from codegen.frontend.naming import model_fault
from codegen.frontend.parameters import Parameters
from codegen.frontend.place import listed
from codegen.graph.ops import Shape
from codegen.importers.document import Document, model_name
from codegen.importers.writer import Imported, write_document

Shapes = Mapping[str, Shape]
NO_SHAPES: Shapes = MappingProxyType({})
Importer = Callable[[Path, str, Shapes], Document]


def _onnx(path: Path, name: str, shapes: Shapes) -> Document:
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        raise SpecError(f'{path}: the package onnx is missing, which reads it: pip install "clgen[onnx]"') from error
    from codegen.importers.onnx.translate import import_onnx

    return import_onnx(path, name, shapes)


IMPORTERS: Mapping[str, Importer] = {".onnx": _onnx}


def import_model(path: Path, name: str | None = None, shapes: Shapes = NO_SHAPES) -> Imported:
    """The spec of a model file; ``shapes`` are for inputs whose sizes it leaves open."""
    importer = IMPORTERS.get(path.suffix.lower())
    if importer is None:
        raise SpecError(f"{path}: is not a model that can be imported; {listed(IMPORTERS)} files can")
    fault = model_fault(name) if name is not None else None
    if fault is not None:
        raise SpecError(f"--name: {fault}")
    return write_document(importer(path, name or model_name(path.stem), shapes))


def open_model(path: Path, shapes: Shapes = NO_SHAPES) -> Model:
    """The network of a spec, or of a model file by way of the spec that an import would write."""
    if path.suffix.lower() not in IMPORTERS:
        if shapes:
            raise SpecError(f"{path}: --shape is for model files; a spec says its shapes itself")
        return toml.load(path)
    imported = import_model(path, shapes=shapes)
    weights = Parameters()
    if imported.weights:
        weights = Parameters.of_bytes(str(path), imported.weights, read_safetensors)
    return toml.load_bytes(str(path), f"{imported.name}.toml", imported.text, weights)
