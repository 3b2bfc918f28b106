"""Opens a spec, a model or a generated folder for verify and bench.

The result is an artefact and the network that it should compute.  A spec or model is built into a scratch folder.  A
folder is read; its spec is searched for, and must be the one that the folder was generated from.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from codegen.build import Lowered, Progress, build, lower, rendered_with, silent
from codegen.emit.artefact import GENERATOR, Tuning
from codegen.emit.differences import differences
from codegen.emit.output import MANIFEST
from codegen.emit.packaging import has
from codegen.errors import Mismatch, SpecError
from codegen.frontend.spec.tuning import NONE
from codegen.frontend.toml import find_spec
from codegen.importers.open import NO_SHAPES, Shapes
from codegen.plan.schedules.choose import alternatives
from codegen.plan.target import DEFAULT_TARGET, TARGETS
from codegen.runtime.artefact import Artefact, read, read_unchanged


def verifiable(
    path: Path,
    spec: Path | None,
    target: str | None,
    scratch: Path,
    shapes: Shapes = NO_SHAPES,
    tuned_for: str = "",
    say: Progress = silent,
    backend: str | None = None,
) -> tuple[Artefact, Lowered]:
    """The artefact and its network, checked: an import against its model, and the files against a new build.

    Raises Mismatch like :func:`_opened`, and if a file of a folder differs from a new build in a single bit.
    """
    artefact, lowered = _opened(path, spec, target, scratch, shapes, tuned_for, say, check=True, backend=backend)
    if path.is_dir():
        _check_content(artefact, lowered)
    return artefact, lowered


def measurable(
    path: Path,
    spec: Path | None,
    target: str | None,
    scratch: Path,
    shapes: Shapes = NO_SHAPES,
    backend: str | None = None,
) -> tuple[Artefact, Lowered | None]:
    """The artefact and its network, or None as the network of a folder whose spec is not found."""
    if spec is None and path.is_dir():
        artefact = read_unchanged(path)
        _check_options(artefact, target, "")
        _check_backend(artefact, backend)
        made_from = artefact.manifest["spec"]
        try:
            spec = find_spec(made_from["file"], made_from["sha256"], path)
        except SpecError:
            return artefact, None
    return _opened(path, spec, target, scratch, shapes, backend=backend)


def _opened(
    path: Path,
    spec: Path | None,
    target: str | None,
    scratch: Path,
    shapes: Shapes = NO_SHAPES,
    tuned_for: str = "",
    say: Progress = silent,
    check: bool = False,
    backend: str | None = None,
) -> tuple[Artefact, Lowered]:
    """Reads the folder ``path``, or builds the spec ``path`` into ``scratch``; lowers the network.

    The spec of a folder is searched for around the folder if ``spec`` is None.  Raises Mismatch if the folder was
    generated from something else, and with ``check`` if the network is an import that differs from its model.
    """
    if not path.is_dir():
        lowered = lower(path, shapes, say, tuned_for, check, backend)
        return read(build(lowered, scratch, target or DEFAULT_TARGET)[0]), lowered
    # verify compares the folder with its spec value by value later.
    artefact = read(path) if check else read_unchanged(path)
    _check_options(artefact, target, tuned_for)
    made_from = artefact.manifest["spec"]
    spec = spec or find_spec(made_from["file"], made_from["sha256"], path)
    _check_backend(artefact, backend)
    kind = artefact.packaging
    lowered = lower(spec, shapes, say, "", check, kind.backend, kind.multiversion, kind.with_check)
    if lowered.model.spec_sha256 != made_from["sha256"]:
        other = f"{spec.name}, or with another --shape" if shapes or spec.suffix != ".toml" else spec.name
        raise Mismatch(f"{path}: was generated from another {other}; build again")
    if lowered.model.weights_sha256 != artefact.manifest["weights_sha256"]:
        raise Mismatch(f"{path}: was generated from other weights than those of {spec}; build again")
    return artefact, lowered


def _check_backend(artefact: Artefact, backend: str | None) -> None:
    """Raises SpecError if a folder was not generated for the backend that is wanted."""
    if backend is not None and not all(has(artefact.backend, single) for single in backend.split(",")):
        raise SpecError(
            f"{artefact.folder}: was generated for backend {artefact.backend}; build it with --backend {backend}"
        )


def _check_options(artefact: Artefact, target: str | None, tuned_for: str) -> None:
    """Raises SpecError if options contradict those that a folder was generated with."""
    made_for, tuning = artefact.manifest["target"], artefact.manifest.get("tuning")
    if target not in (None, made_for):
        raise SpecError(f"--target {target}: {artefact.folder} was generated for target {made_for}; leave it out")
    device = "" if tuning is None else tuning["device"]
    fits = device == "" if tuned_for == NONE else tuned_for.casefold() in device.casefold()
    if not fits:
        schedules = f"the schedules of {device!r}" if tuning else "no measured schedules"
        raise SpecError(f"--tuned-for {tuned_for!r}: {artefact.folder} was generated with {schedules}; leave it out")


def _check_content(artefact: Artefact, lowered: Lowered) -> None:
    """Generates the files again from spec, target and schedules; Mismatch if those in the folder differ."""
    manifest, folder = artefact.manifest, artefact.folder
    if manifest["generator"] != GENERATOR:
        raise Mismatch(
            f"{folder}: was generated by {manifest['generator']}, and this is {GENERATOR}; build again, or verify it "
            "with the clgen that made it"
        )
    named = replace(lowered, model=replace(lowered.model, spec_name=manifest["spec"]["file"]))
    files = rendered_with(_own_tuning(artefact, lowered), named, manifest["target"])
    found = differences(folder, files)
    if found:
        raise Mismatch(f"{folder}: is not what {lowered.path} gives; build again\n  " + "\n  ".join(found))


def _own_tuning(artefact: Artefact, lowered: Lowered) -> Tuning | None:
    """The measured schedules that a folder was generated with; Mismatch if the network cannot have them."""
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
