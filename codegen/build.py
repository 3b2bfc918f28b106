"""The whole way from a model or a spec to files, in order.  Nothing else knows it.

imported   model file -> spec and parameters
lower      spec -> network -> simplified -> folded -> fused to launches -> launches with copies
planned    launches, measured schedules -> kernels, buffers, weights
rendered   plan, self-test -> files
build      files -> folder
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from codegen.emit.artefact import Pictures, Provenance, Tuning, file_names, render_artefact
from codegen.emit.layer_samples import layer_samples
from codegen.emit.output import Changes, compare, write, write_all
from codegen.emit.packaging import DEFAULT_PACKAGING, Packaging
from codegen.emit.selftest import self_test
from codegen.errors import naming
from codegen.frontend.model import Model
from codegen.frontend.spec.tuning import check_tuned, find_tuned
from codegen.graph.graph import Graph
from codegen.importers.check import check_import
from codegen.importers.compare import ImportCheck
from codegen.importers.open import NO_SHAPES, Shapes, as_model, import_model, open_model
from codegen.passes.explain import Report, report
from codegen.passes.fold import fold
from codegen.passes.fuse import fuse
from codegen.passes.layers import layers_of_launches, originals
from codegen.passes.simplify import simplify
from codegen.plan.copies import with_copies
from codegen.plan.plan import LayerNote, Plan
from codegen.plan.planner import plan
from codegen.plan.schedules.choose import alternatives
from codegen.plan.target import TARGETS


@dataclass(frozen=True, eq=False)
class Lowered:
    """A network as launches, beside the un-folded one, and where every BatchNorm went.

    ``path`` is what it was read from; ``packaging`` is the kind of folder to generate; ``tuned_for`` says which of the
    devices in the file of measured schedules beside it counts; ``imported`` is what the check of an import found, if
    one was made.  ``layers`` are the layers that each launch computes, each with its place in the spec.
    """

    model: Model
    launches: Graph
    report: Report
    path: Path
    tuned_for: str = ""
    imported: ImportCheck | None = None
    packaging: Packaging = DEFAULT_PACKAGING
    layers: Mapping[str, tuple[LayerNote, ...]] = field(default_factory=dict)


Progress = Callable[[str], None]
"""Called with the name of each step before it begins."""


def silent(step: str) -> None:
    """Reports no progress."""


def imported(
    model: Path,
    folder: Path,
    name: str | None,
    shapes: Shapes,
    layout: str = "",
    say: Progress = silent,
    check: bool = True,
    force: bool = False,
) -> tuple[Path, ImportCheck | None]:
    """model file -> spec and parameters -> compared with the model, unless ``check`` is false -> disk.

    Returns the spec's path, and what the comparison found; Mismatch, and nothing on disk, if they differ.  Files that
    are there and that no import wrote, or that were edited since, are replaced only with ``force``.
    """
    spec = import_model(model, name, shapes, layout)
    checked = check_import(model, as_model(model, spec), shapes, say) if check else None
    say("writing")
    write_all(folder, spec.files, lambda there: force or spec.is_imported(there))
    return folder / f"{spec.name}.toml", checked


def lower(
    spec: Path,
    shapes: Shapes = NO_SHAPES,
    say: Progress = silent,
    tuned_for: str = "",
    check: bool = False,
    backend: str | None = None,
    multiversion: bool = False,
    with_check: bool = False,
) -> Lowered:
    """spec, or the one that importing a model makes -> network -> graph of launches.

    With ``check`` an import is compared with its model first.  ``backend`` replaces the one that the spec names;
    SpecError if ``multiversion`` or ``with_check`` do not go with it.
    """
    say("reading")
    model = open_model(spec, shapes)
    packaging = Packaging(backend or model.backend, multiversion, with_check)
    checked = check_import(spec, model, shapes, say) if check else None
    say("folding")
    with naming(spec):
        simplified, renamed = simplify(model.graph)
        folded, folds = fold(simplified, model.graph, renamed)
    fused, roles = fuse(folded)
    launches = with_copies(fused)
    explained = report(model.graph, folds, roles)
    layers = layers_of_launches(model.graph, launches, roles, originals(renamed, folds))
    noted = {
        launch: tuple(LayerNote(name, model.origins.get(name, "")) for name in names)
        for launch, names in layers.items()
    }
    return Lowered(model, launches, explained, spec, tuned_for, checked, packaging, noted)


def measured_schedules(lowered: Lowered, target: str) -> Tuning | None:
    """file beside the spec -> measured schedules; None if there are none for this target and backend."""
    found = find_tuned(lowered.path, target, lowered.packaging.backend.split(","), TARGETS, lowered.tuned_for)
    if found is None:
        return None
    possible = alternatives(lowered.launches, TARGETS[target])
    check_tuned(found, {layer: choice.schedules for layer, choice in possible.items()})
    return Tuning(found.file, found.sha256, found.device.name, found.device.layers)


def planned(lowered: Lowered, target: str) -> Plan:
    """graph of launches, measured schedules -> kernels, buffers, weights."""
    return _planned(lowered, target, measured_schedules(lowered, target))


def _planned(lowered: Lowered, target: str, tuning: Tuning | None) -> Plan:
    choices = {} if tuning is None else tuning.layers
    return plan(lowered.launches, TARGETS[target], lowered.report.notes(), choices, lowered.layers)


def rendered(lowered: Lowered, target: str, say: Progress = silent) -> dict[str, bytes]:
    """plan, self-test -> files."""
    return rendered_with(measured_schedules(lowered, target), lowered, target, say)


def rendered_with(tuning: Tuning | None, lowered: Lowered, target: str, say: Progress = silent) -> dict[str, bytes]:
    """graph of launches, these measured schedules -> plan -> files."""
    model = lowered.model
    made_from = Provenance(model.spec_name, model.spec_sha256, model.weights_sha256, tuning)
    pictures = None if model.example is None else Pictures(model.example.images, model.example.labels)
    say("computing what the self-test expects")
    with naming(lowered.path):
        selftest = self_test(model.graph, lowered.launches)
    say("planning and rendering")
    chosen, samples = _planned(lowered, target, tuning), None
    if lowered.packaging.with_check:
        say("computing what the check of layers expects")
        with naming(lowered.path):
            samples = layer_samples(model.graph, chosen, selftest, None if pictures is None else pictures.images)
    return render_artefact(chosen, made_from, selftest, pictures, lowered.packaging, samples)


def build(
    lowered: Lowered, output: Path, target: str, check: bool = False, say: Progress = silent, force: bool = False
) -> tuple[Path, Changes]:
    """files -> folder.  With ``check`` nothing is written; the changes say what would be.

    Files that are there and that clgen did not write, or that were edited since, are replaced only with ``force``.
    """
    folder, files = output / lowered.launches.name, rendered(lowered, target, say)
    say("comparing" if check else "writing")
    return folder, compare(folder, files) if check else write(folder, files, force)


def outputs(lowered: Lowered, output: Path, target: str) -> list[Path]:
    """The paths that a build writes."""
    return [output / lowered.launches.name / name for name in file_names(planned(lowered, target), lowered.packaging)]
