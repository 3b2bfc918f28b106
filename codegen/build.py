"""The whole way from a spec to files, one arrow a line.  Nothing else knows the order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from codegen.emit.artefact import Pictures, Provenance, file_names, render_artefact
from codegen.emit.output import Changes, compare, write, write_all
from codegen.emit.selftest import self_test
from codegen.errors import Mismatch, ParameterError, SpecError
from codegen.frontend.locate import find_spec
from codegen.frontend.model import Model
from codegen.graph.graph import Graph
from codegen.importers.open import NO_SHAPES, Shapes, import_model, open_model
from codegen.passes.explain import Report, report
from codegen.passes.fold import fold
from codegen.passes.fuse import fuse
from codegen.passes.simplify import simplify
from codegen.plan.plan import Plan
from codegen.plan.planner import plan
from codegen.plan.target import TARGETS
from codegen.runtime.artefact import Artefact, read


@dataclass(frozen=True, eq=False)
class Lowered:
    """A network as launches, beside the un-folded one, and where every BatchNorm went."""

    model: Model
    launches: Graph
    report: Report


Progress = Callable[[str], None]
"""Is told what comes next, for people who wait."""


def _silent(step: str) -> None:
    pass


def imported(
    model: Path, folder: Path, name: str | None, shapes: Shapes, layout: str = "", say: Progress = _silent
) -> Path:
    """model file -> spec and parameters -> disk; returns the spec's path."""
    spec = import_model(model, name, shapes, layout)
    say("writing")
    write_all(folder, spec.files)
    return folder / f"{spec.name}.toml"


def lower(spec: Path, shapes: Shapes = NO_SHAPES, say: Progress = _silent) -> Lowered:
    """spec, or the one that importing a model makes -> un-folded graph -> folded graph -> graph of launches."""
    say("reading")
    model = open_model(spec, shapes)
    say("folding")
    try:
        folded, folds = fold(simplify(model.graph), model.graph)
    except ParameterError as error:
        raise ParameterError(f"{spec}: {error}") from error
    launches, rides = fuse(folded)
    return Lowered(model, launches, report(model.graph, folds, rides))


def planned(lowered: Lowered, target: str) -> Plan:
    """graph of launches -> kernels, buffers, weights."""
    return plan(lowered.launches, TARGETS[target], lowered.report.notes())


def rendered(lowered: Lowered, target: str, say: Progress = _silent) -> dict[str, bytes]:
    """plan -> files."""
    say("computing what the self-test expects")
    model = lowered.model
    made_from = Provenance(model.spec_name, model.spec_sha256, model.weights_sha256)
    pictures = None if model.example is None else Pictures(model.example.images, model.example.labels)
    selftest = self_test(model.graph, lowered.launches)
    say("planning and rendering")
    return render_artefact(planned(lowered, target), made_from, selftest, pictures)


def build(
    lowered: Lowered, output: Path, target: str, check: bool = False, say: Progress = _silent
) -> tuple[Path, Changes]:
    """files -> disk.  With ``check`` nothing is written; the changes say what would be."""
    folder, files = output / lowered.launches.name, rendered(lowered, target, say)
    say("comparing" if check else "writing")
    return folder, (compare if check else write)(folder, files)


def outputs(lowered: Lowered, output: Path, target: str) -> list[Path]:
    """The paths that a build writes."""
    return [output / lowered.launches.name / name for name in file_names(planned(lowered, target))]


def opened(
    path: Path, spec: Path | None, target: str, scratch: Path, shapes: Shapes = NO_SHAPES
) -> tuple[Artefact, Lowered]:
    """What is to be verified, and the network it should compute: a generated folder, or a spec built into ``scratch``.

    Without ``spec`` a folder's spec is looked for around it.  Mismatch if the folder was made from something else.
    """
    if not path.is_dir():
        lowered = lower(path, shapes)
        return read(build(lowered, scratch, target)[0]), lowered
    artefact = read(path)
    made_from = artefact.manifest["spec"]
    spec = spec or find_spec(made_from["file"], made_from["sha256"], path)
    lowered = lower(spec, shapes)
    if lowered.model.spec_sha256 != made_from["sha256"]:
        other = f"{spec.name}, or with another --shape" if shapes or spec.suffix != ".toml" else spec.name
        raise Mismatch(f"{path}: was generated from another {other}; build again")
    if lowered.model.weights_sha256 != artefact.manifest["weights_sha256"]:
        raise Mismatch(f"{path}: was generated from other weights than those of {spec}; build again")
    return artefact, lowered


def measurable(
    path: Path, spec: Path | None, target: str, scratch: Path, shapes: Shapes = NO_SHAPES
) -> tuple[Artefact, Lowered | None]:
    """What is to be measured, as :func:`opened`; without its network where a folder's spec is not found."""
    if spec is None and path.is_dir():
        artefact = read(path)
        made_from = artefact.manifest["spec"]
        try:
            spec = find_spec(made_from["file"], made_from["sha256"], path)
        except SpecError:
            return artefact, None
    return opened(path, spec, target, scratch, shapes)
