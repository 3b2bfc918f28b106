"""The check that an import makes of itself, by the kind of model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from codegen.frontend.model import Model
from codegen.importers.compare import ImportCheck
from codegen.importers.open import Shapes


def _onnx(path: Path, model: Model, shapes: Shapes, layout: str, say: Callable[[str], None]) -> ImportCheck:
    from codegen.importers.onnx.check import check_onnx

    return check_onnx(path, model.graph, shapes, say)


CHECKS: Mapping[str, Callable[[Path, Model, Shapes, str, Callable[[str], None]], ImportCheck]] = {".onnx": _onnx}


def check_import(
    path: Path, model: Model, shapes: Shapes, layout: str, say: Callable[[str], None]
) -> ImportCheck | None:
    """Compares the network that ``path`` was imported as with an evaluator of the model that shares no code with it.

    None if the file is a spec.  Mismatch if they differ; nothing is compared where that would take too long.
    """
    check = CHECKS.get(path.suffix.lower())
    return None if check is None else check(path, model, shapes, layout, say)
