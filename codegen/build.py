"""The whole way from a spec to files, one arrow a line.  Nothing else knows the order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from codegen.emit.artefact import Pictures, Provenance, Tuning, file_names, render_artefact
from codegen.emit.output import Changes, compare, write, write_all, write_file
from codegen.emit.selftest import SelfTest, self_test
from codegen.errors import Mismatch, ParameterError, SpecError
from codegen.frontend.locate import find_spec
from codegen.frontend.model import Model
from codegen.frontend.tuning import Tuned, TunedDevice, check_tuned, find_tuned, tuning_file, with_device
from codegen.graph.graph import Graph
from codegen.importers.check import check_import
from codegen.importers.compare import ImportCheck
from codegen.importers.open import NO_SHAPES, Shapes, as_model, import_model, open_model
from codegen.passes.explain import Report, report
from codegen.passes.fold import fold
from codegen.passes.fuse import fuse
from codegen.passes.simplify import simplify
from codegen.plan.plan import Plan
from codegen.plan.planner import alternatives, plan
from codegen.plan.target import TARGETS
from codegen.runtime.artefact import Artefact, read
from codegen.runtime.devices import DeviceInfo
from codegen.runtime.tune import Alike, Measured, tune


@dataclass(frozen=True, eq=False)
class Lowered:
    """A network as launches, beside the un-folded one, and where every BatchNorm went.

    ``path`` is what it was read from; ``tuned_for`` says which of the devices in the file of measured schedules beside
    it counts; ``imported`` is what the check of an import found, if one was made.
    """

    model: Model
    launches: Graph
    report: Report
    path: Path
    tuned_for: str = ""
    imported: ImportCheck | None = None


Progress = Callable[[str], None]
"""Is told what comes next, for people who wait."""


def _silent(step: str) -> None:
    pass


def imported(
    model: Path,
    folder: Path,
    name: str | None,
    shapes: Shapes,
    layout: str = "",
    say: Progress = _silent,
    check: bool = True,
) -> tuple[Path, ImportCheck | None]:
    """model file -> spec and parameters -> compared with the model, unless ``check`` is false -> disk.

    Returns the spec's path, and what the comparison found; Mismatch, and nothing on disk, if they differ.
    """
    spec = import_model(model, name, shapes, layout)
    checked = check_import(model, as_model(model, spec), shapes, layout, say) if check else None
    say("writing")
    write_all(folder, spec.files)
    return folder / f"{spec.name}.toml", checked


def lower(
    spec: Path, shapes: Shapes = NO_SHAPES, say: Progress = _silent, tuned_for: str = "", check: bool = False
) -> Lowered:
    """spec, or the one that importing a model makes -> un-folded graph -> folded graph -> graph of launches.

    With ``check`` an import is compared with its model first.
    """
    say("reading")
    model = open_model(spec, shapes)
    checked = check_import(spec, model, shapes, "", say) if check else None
    say("folding")
    try:
        folded, folds = fold(simplify(model.graph), model.graph)
    except ParameterError as error:
        raise ParameterError(f"{spec}: {error}") from error
    launches, rides = fuse(folded)
    return Lowered(model, launches, report(model.graph, folds, rides), spec, tuned_for, checked)


def tuned(lowered: Lowered, target: str) -> Tuned | None:
    """spec's neighbour -> measured schedules, if there are any."""
    found = find_tuned(lowered.path, target, TARGETS, lowered.tuned_for)
    if found is not None:
        possible = alternatives(lowered.launches, TARGETS[target])
        check_tuned(found, {layer: choice.schedules for layer, choice in possible.items()})
    return found


def planned(lowered: Lowered, target: str) -> Plan:
    """graph of launches, measured schedules -> kernels, buffers, weights."""
    return _planned(lowered, target, tuned(lowered, target))


def _planned(lowered: Lowered, target: str, found: Tuned | None) -> Plan:
    choices = {} if found is None else found.device.layers
    return plan(lowered.launches, TARGETS[target], lowered.report.notes(), choices)


def rendered(lowered: Lowered, target: str, say: Progress = _silent) -> dict[str, bytes]:
    """plan -> files."""
    found = tuned(lowered, target)
    say("computing what the self-test expects")
    model = lowered.model
    tuning = None if found is None else Tuning(found.file, found.sha256, found.device.name)
    made_from = Provenance(model.spec_name, model.spec_sha256, model.weights_sha256, tuning)
    pictures = None if model.example is None else Pictures(model.example.images, model.example.labels)
    selftest = self_test(model.graph, lowered.launches)
    say("planning and rendering")
    return render_artefact(_planned(lowered, target, found), made_from, selftest, pictures)


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


def tune_schedules(
    lowered: Lowered, target: str, device: DeviceInfo, seconds: float, scratch: Path, say: Progress = _silent
) -> tuple[Path, Measured]:
    """graph of launches -> artefacts with other schedules -> times on the device -> file beside the spec."""
    file = tuning_file(lowered.path)
    with_device(file, TunedDevice(device.name, device.driver, target, {}), TARGETS)  # refuses a wrong file at once
    alike: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for layer, choice in alternatives(lowered.launches, TARGETS[target]).items():
        alike.setdefault((choice.work, choice.schedules), []).append(layer)

    def artefact(choices: Mapping[str, str]) -> Artefact:
        made_from, untested = Provenance("", "", ""), SelfTest(1, [[] for _ in lowered.launches.outputs])
        files = render_artefact(plan(lowered.launches, TARGETS[target], {}, choices), made_from, untested, None)
        write(scratch, files)
        return read(scratch)

    work = [Alike(tuple(layers), schedules) for (_, schedules), layers in alike.items()]
    measured = tune(work, artefact, device, seconds, say)
    layers = {n.name: measured.choices[n.name] for n in lowered.launches.nodes if n.name in measured.choices}
    write_file(file, with_device(file, TunedDevice(device.name, device.driver, target, layers), TARGETS))
    return file, measured


def opened(
    path: Path,
    spec: Path | None,
    target: str,
    scratch: Path,
    shapes: Shapes = NO_SHAPES,
    tuned_for: str = "",
    say: Progress = _silent,
    check: bool = False,
) -> tuple[Artefact, Lowered]:
    """What is to be verified, and the network it should compute: a generated folder, or a spec built into ``scratch``.

    Without ``spec`` a folder's spec is looked for around it.  Mismatch if the folder was made from something else; with
    ``check`` also if the network is an import that differs from its model.
    """
    if not path.is_dir():
        lowered = lower(path, shapes, say, tuned_for, check)
        return read(build(lowered, scratch, target)[0]), lowered
    artefact = read(path)
    made_from = artefact.manifest["spec"]
    spec = spec or find_spec(made_from["file"], made_from["sha256"], path)
    lowered = lower(spec, shapes, say, check=check)
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
