"""The whole way from a spec to files, one arrow a line.  Nothing else knows the order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from codegen.emit.artefact import GENERATOR, Pictures, Provenance, Tuning, file_names, render_artefact
from codegen.emit.differences import differences
from codegen.emit.output import MANIFEST, Changes, compare, write, write_all
from codegen.emit.selftest import SelfTest, self_test
from codegen.emit.single_file import write_file
from codegen.errors import Mismatch, ParameterError, SpecError
from codegen.frontend.locate import find_spec
from codegen.frontend.model import Model
from codegen.frontend.tuning import NONE, Tuned, TunedDevice, check_tuned, find_tuned, tuning_file, with_device
from codegen.graph.domain import find_domain
from codegen.graph.graph import Graph
from codegen.importers.check import check_import
from codegen.importers.compare import ImportCheck
from codegen.importers.open import NO_SHAPES, Shapes, as_model, import_model, open_model
from codegen.passes.explain import Report, report
from codegen.passes.fold import fold
from codegen.passes.fuse import fuse
from codegen.passes.simplify import simplify
from codegen.plan.copies import with_copies
from codegen.plan.excess import describe_excess
from codegen.plan.plan import Plan
from codegen.plan.planner import alternatives, plan
from codegen.plan.target import DEFAULT_TARGET, TARGETS
from codegen.runtime.artefact import Artefact, read, read_unchanged
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
    spec: Path, shapes: Shapes = NO_SHAPES, say: Progress = _silent, tuned_for: str = "", check: bool = False
) -> Lowered:
    """spec, or the one that importing a model makes -> un-folded graph -> folded graph -> graph of launches.

    With ``check`` an import is compared with its model first.
    """
    say("reading")
    model = open_model(spec, shapes)
    checked = check_import(spec, model, shapes, say) if check else None
    say("folding")
    with _blamed_on(spec):
        simplified, renamed = simplify(model.graph)
        folded, folds = fold(simplified, model.graph, renamed)
    fused, roles = fuse(folded)
    launches = with_copies(fused)
    return Lowered(model, launches, report(model.graph, folds, roles), spec, tuned_for, checked)


@contextmanager
def _blamed_on(spec: Path) -> Iterator[None]:
    """Errors of tensors and parameters name the spec."""
    try:
        yield
    except (ParameterError, SpecError) as error:
        raise type(error)(f"{spec}: {error}") from error


def tuned(lowered: Lowered, target: str) -> Tuned | None:
    """spec's neighbour -> measured schedules, if there are any."""
    found = find_tuned(lowered.path, target, TARGETS, lowered.tuned_for)
    if found is not None:
        possible = alternatives(lowered.launches, TARGETS[target])
        check_tuned(found, {layer: choice.schedules for layer, choice in possible.items()})
    return found


def planned(lowered: Lowered, target: str) -> Plan:
    """graph of launches, measured schedules -> kernels, buffers, weights."""
    found = tuned(lowered, target)
    return _planned(lowered, target, {} if found is None else found.device.layers)


def _planned(lowered: Lowered, target: str, choices: Mapping[str, str]) -> Plan:
    return plan(lowered.launches, TARGETS[target], lowered.report.notes(), choices)


def rendered(lowered: Lowered, target: str, say: Progress = _silent) -> dict[str, bytes]:
    """plan -> files."""
    found = tuned(lowered, target)
    tuning = None if found is None else Tuning(found.file, found.sha256, found.device.name, found.device.layers)
    return _rendered(lowered, target, lowered.model.spec_name, tuning, say)


def _rendered(
    lowered: Lowered, target: str, spec_name: str, tuning: Tuning | None, say: Progress = _silent
) -> dict[str, bytes]:
    say("computing what the self-test expects")
    model = lowered.model
    made_from = Provenance(spec_name, model.spec_sha256, model.weights_sha256, tuning)
    pictures = None if model.example is None else Pictures(model.example.images, model.example.labels)
    with _blamed_on(lowered.path):
        selftest = self_test(model.graph, lowered.launches)
    say("planning and rendering")
    return render_artefact(_planned(lowered, target, tuning.layers if tuning else {}), made_from, selftest, pictures)


def build(
    lowered: Lowered, output: Path, target: str, check: bool = False, say: Progress = _silent, force: bool = False
) -> tuple[Path, Changes]:
    """files -> disk.  With ``check`` nothing is written; the changes say what would be.

    Files that are there and that clgen did not write, or that were edited since, are replaced only with ``force``.
    """
    folder, files = output / lowered.launches.name, rendered(lowered, target, say)
    say("comparing" if check else "writing")
    return folder, compare(folder, files) if check else write(folder, files, force)


def stored_too_much(lowered: Lowered, target: str, most: int) -> str:
    """plan -> what makes the weights much more than the network's parameters, at most so many layers; "" if nothing."""
    return describe_excess(planned(lowered, target), lowered.model.graph, most)


def outputs(lowered: Lowered, output: Path, target: str) -> list[Path]:
    """The paths that a build writes."""
    return [output / lowered.launches.name / name for name in file_names(planned(lowered, target))]


def tune_schedules(
    lowered: Lowered, target: str, device: DeviceInfo, seconds: float, scratch: Path, say: Progress = _silent
) -> tuple[Path, Measured]:
    """graph of launches -> artefacts with other schedules -> times on the device -> file beside the spec."""
    file = tuning_file(lowered.path)
    with_device(file, TunedDevice(device.name, device.driver, target, {}), TARGETS)  # refuses a wrong file at once
    with _blamed_on(lowered.path):
        ranges = find_domain(lowered.model.graph).ranges
    alike: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for layer, choice in alternatives(lowered.launches, TARGETS[target]).items():
        alike.setdefault((choice.work, choice.schedules), []).append(layer)

    def artefact(choices: Mapping[str, str]) -> Artefact:
        model = lowered.model
        made_from = Provenance(model.spec_name, model.spec_sha256, model.weights_sha256)
        untested = SelfTest(ranges, [[] for _ in lowered.launches.outputs])
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
    target: str | None,
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
        return read(build(lowered, scratch, target or DEFAULT_TARGET)[0]), lowered
    # What is checked against its spec anyway is then told value by value.
    artefact = read(path) if check else read_unchanged(path)
    _check_options(artefact, target, tuned_for)
    made_from = artefact.manifest["spec"]
    spec = spec or find_spec(made_from["file"], made_from["sha256"], path)
    lowered = lower(spec, shapes, say, check=check)
    if lowered.model.spec_sha256 != made_from["sha256"]:
        other = f"{spec.name}, or with another --shape" if shapes or spec.suffix != ".toml" else spec.name
        raise Mismatch(f"{path}: was generated from another {other}; build again")
    if lowered.model.weights_sha256 != artefact.manifest["weights_sha256"]:
        raise Mismatch(f"{path}: was generated from other weights than those of {spec}; build again")
    return artefact, lowered


def verifiable(
    path: Path,
    spec: Path | None,
    target: str | None,
    scratch: Path,
    shapes: Shapes = NO_SHAPES,
    tuned_for: str = "",
    say: Progress = _silent,
) -> tuple[Artefact, Lowered]:
    """What :func:`opened` gives, after an import has been compared with its model.

    Mismatch also if a file of a folder is not, bit for bit, what the spec gives for it.
    """
    artefact, lowered = opened(path, spec, target, scratch, shapes, tuned_for, say, check=True)
    if path.is_dir():
        _check_content(artefact, lowered)
    return artefact, lowered


def _check_options(artefact: Artefact, target: str | None, tuned_for: str) -> None:
    """SpecError if options contradict what a folder was generated for."""
    made_for, tuning = artefact.manifest["target"], artefact.manifest.get("tuning")
    if target not in (None, made_for):
        raise SpecError(f"--target {target}: {artefact.folder} was generated for target {made_for}; leave it out")
    device = "" if tuning is None else tuning["device"]
    fits = device == "" if tuned_for == NONE else tuned_for.casefold() in device.casefold()
    if not fits:
        schedules = f"the schedules of {device!r}" if tuning else "no measured schedules"
        raise SpecError(f"--tuned-for {tuned_for!r}: {artefact.folder} was generated with {schedules}; leave it out")


def _check_content(artefact: Artefact, lowered: Lowered) -> None:
    """spec, the folder's own target and schedules -> files once more; Mismatch where those in the folder differ."""
    manifest, folder = artefact.manifest, artefact.folder
    if manifest["generator"] != GENERATOR:
        raise Mismatch(
            f"{folder}: was generated by {manifest['generator']}, and this is {GENERATOR}; build again, or verify it "
            "with the clgen that made it"
        )
    tuning = _own_tuning(artefact, lowered)
    files = _rendered(lowered, manifest["target"], manifest["spec"]["file"], tuning)
    found = differences(folder, files)
    if found:
        raise Mismatch(f"{folder}: is not what {lowered.path} gives; build again\n  " + "\n  ".join(found))


def _own_tuning(artefact: Artefact, lowered: Lowered) -> Tuning | None:
    """The measured schedules that a folder says it was generated with; Mismatch if the network cannot have them."""
    path, manifest = artefact.folder / MANIFEST, artefact.manifest
    if manifest["target"] not in TARGETS:
        raise Mismatch(f"{path}: target: {manifest['target']!r} should be {' or '.join(TARGETS)}; build again")
    if "tuning" not in manifest:
        return None
    tuning = Tuning(**manifest["tuning"])
    possible = alternatives(lowered.launches, TARGETS[manifest["target"]])
    for layer, schedule in tuning.layers.items():
        if layer not in possible or schedule not in possible[layer].schedules:
            raise Mismatch(f"{path}: tuning.layers: the network has no {layer!r} with {schedule!r}; build again")
    return tuning


def measurable(
    path: Path, spec: Path | None, target: str | None, scratch: Path, shapes: Shapes = NO_SHAPES
) -> tuple[Artefact, Lowered | None]:
    """What is to be measured, as :func:`opened`; without its network where a folder's spec is not found."""
    if spec is None and path.is_dir():
        artefact = read_unchanged(path)
        _check_options(artefact, target, "")
        made_from = artefact.manifest["spec"]
        try:
            spec = find_spec(made_from["file"], made_from["sha256"], path)
        except SpecError:
            return artefact, None
    return opened(path, spec, target, scratch, shapes)
