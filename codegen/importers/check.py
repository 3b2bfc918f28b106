"""Checks an import against an independent evaluator for its kind of model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from codegen.frontend.model import Model
from codegen.importers.compare import ImportCheck
from codegen.importers.open import Shapes

Say = Callable[[str], None]


def _onnx(path: Path, model: Model, shapes: Shapes, say: Say) -> ImportCheck:
    from codegen.importers.onnx.check import check_onnx

    return check_onnx(path, model.graph, shapes, say)


def _keras(path: Path, model: Model, shapes: Shapes, say: Say) -> ImportCheck:
    from codegen.importers.keras.check import check_keras

    return check_keras(path, model.graph, shapes, say)


CHECKS: Mapping[str, Callable[[Path, Model, Shapes, Say], ImportCheck]] = {
    ".onnx": _onnx,
    **dict.fromkeys((".keras", ".h5", ".hdf5"), _keras),
}


def check_import(path: Path, model: Model, shapes: Shapes, say: Say) -> ImportCheck | None:
    """Compares the network that ``path`` was imported as with an evaluator of the model.

    The evaluator shares no code with the import except for reading the file.

    Returns None if the file is a spec.  Raises Mismatch if they differ.  Nothing is compared if that would take too
    long.
    """
    check = CHECKS.get(path.suffix.lower())
    return None if check is None else check(path, model, shapes, say)
