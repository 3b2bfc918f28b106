"""Chooses the importer of a file by its suffix, and opens model files as specs in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from codegen.errors import SpecError
from codegen.frontend import toml
from codegen.frontend.model import Model
from codegen.frontend.parameters.archive import read_safetensors
from codegen.frontend.parameters.parameters import READERS, Parameters
from codegen.frontend.spec.naming import legal_model, model_fault
from codegen.frontend.spec.place import listed, show
from codegen.graph.ops import Shape
from codegen.importers.document import Document
from codegen.importers.writer import Imported, write_document

Shapes = Mapping[str, Shape]
NO_SHAPES: Shapes = MappingProxyType({})
Importer = Callable[[Path, str, Shapes, str], Document]


def _onnx(path: Path, name: str, shapes: Shapes, layout: str) -> Document:
    if layout:
        raise SpecError(f"{path}: --layout is for Keras models; those of ONNX have the layout of their inputs")
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        raise SpecError(f'{path}: the package onnx is missing, which reads it: pip install "clgen[onnx]"') from error
    from codegen.importers.onnx.translate import import_onnx

    return import_onnx(path, name, shapes)


def _keras(path: Path, name: str, shapes: Shapes, layout: str) -> Document:
    try:
        import h5py  # noqa: F401
    except ImportError as error:
        raise SpecError(f'{path}: the package h5py is missing, which reads it: pip install "clgen[keras]"') from error
    from codegen.importers.keras.importer import import_keras

    return import_keras(path, name, shapes, layout)


IMPORTERS: Mapping[str, Importer] = {".onnx": _onnx, **dict.fromkeys((".keras", ".h5", ".hdf5"), _keras)}


def import_model(path: Path, name: str | None = None, shapes: Shapes = NO_SHAPES, layout: str = "") -> Imported:
    """Imports a model file as a spec.

    ``shapes`` are the shapes of inputs whose sizes the model leaves open; ``layout`` ("NCHW" or "NHWC") is the layout
    of the application's arrays, "" for the model's own.
    """
    importer = IMPORTERS.get(path.suffix.lower())
    if path.suffix.lower() in READERS:
        raise _without_network(path)
    if path.suffix.lower() == ".toml":
        raise SpecError(f"{path}: is a spec already, which clgen build takes; {listed(IMPORTERS)} files are imported")
    if importer is None:
        raise SpecError(f"{path}: is not a model that can be imported; {listed(IMPORTERS)} files can")
    fault = model_fault(name) if name is not None else None
    if fault is not None:
        raise SpecError(f"--name: {fault}")
    return write_document(importer(path, name or legal_model(path.stem), shapes, layout))


def _without_network(path: Path) -> SpecError:
    return SpecError(
        f"{path}: holds parameters without the network that they are of; name it in a spec, "
        f"[model] weights = {show(path.name)}, or export the network to ONNX: docs/pytorch.md"
    )


def open_model(path: Path, shapes: Shapes = NO_SHAPES) -> Model:
    """Loads the network of a spec, or of a model file through the spec that an import would write."""
    if path.suffix.lower() in READERS:
        raise _without_network(path)
    if path.suffix.lower() not in IMPORTERS:
        if shapes:
            raise SpecError(f"{path}: --shape is for model files; a spec says its shapes itself")
        try:
            return toml.load(path)
        except SpecError as error:
            if path.suffix.lower() == ".toml" or not path.is_file():
                raise
            known = listed(IMPORTERS, "and")
            raise SpecError(f"{error}; if it is a model and no spec: {known} files are imported") from error
    return as_model(path, import_model(path, shapes=shapes))


def as_model(path: Path, imported: Imported) -> Model:
    """Loads the network of a spec in memory that ``path`` was imported as."""
    weights = Parameters()
    if imported.weights:
        weights = Parameters.of_bytes(str(path), imported.weights, read_safetensors)
    return toml.load_bytes(str(path), f"{imported.name}.toml", imported.text, weights)
