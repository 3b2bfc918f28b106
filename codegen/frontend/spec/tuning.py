"""Reads, checks and writes schedules that were measured on devices, in a TOML file next to the spec."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codegen.frontend.spec.place import Place, listed, show, suggestion, toml
from codegen.frontend.spec.reader import many_tables, read_document, read_table, unknown_key
from codegen.frontend.spec.spec import BACKENDS
from codegen.frontend.spec.value_types import TEXT, Key, Keys, Unfit, ValueType, choice

NONE = "none"  # the option's value for ignoring measured schedules

_HEAD = (
    "# Schedules that were measured to be faster than what clgen estimates; written by clgen tune, read by clgen build."
)
_REMEDY = f"run clgen tune again, or ignore the file with --tuned-for {NONE}"
_SHOWN = 6  # names of layers that an error lists


@dataclass(frozen=True)
class TunedDevice:
    """The measurements for one device: ``layers`` are the schedules by the name of the launch.

    ``backend`` is how the kernels ran; for plain C ``name`` is the processor with the compiler's options, and
    ``driver`` is the compiler.
    """

    name: str
    driver: str
    target: str
    layers: Mapping[str, str]
    backend: str = BACKENDS[0]


@dataclass(frozen=True)
class Tuned:
    """A device's schedules, and their file: its name without folders, and the hash of its bytes."""

    file: str
    sha256: str
    device: TunedDevice
    place: Place


def tuning_file(spec: Path) -> Path:
    """The path of the file of schedules of a spec or model file."""
    return spec.with_name(f"{spec.stem}.tune.toml")


def find_tuned(
    spec: Path, target: str, backends: Collection[str], targets: Collection[str], wanted: str = ""
) -> Tuned | None:
    """The schedules for a target, of the file's first device, or of the first with ``wanted`` in its name.

    A device of another backend is taken only if no device of these has ``wanted`` in its name.  None if there are
    none.  Raises SpecError if the file is invalid, or has no such device.
    """
    path = tuning_file(spec)
    if wanted == NONE or not (wanted or path.exists()):
        return None
    if not path.exists():
        raise Place(str(path)).spec_error(
            f"is missing, which --tuned-for {wanted!r} asks for; run clgen tune {shlex.quote(str(spec))} first"
        )
    devices, sha256 = _read(path, targets)
    fitting = sorted((d for d in devices if d.target == target), key=lambda d: d.backend not in backends)
    found = [d for d in fitting if (wanted.casefold() in d.name.casefold() if wanted else d.backend in backends)]
    if wanted and not found:
        there = listed((device.name for device in fitting), "and")
        raise Place(str(path)).spec_error(
            f"no device for target {show(target)} has {wanted!r} in its name, which --tuned-for asks for; "
            f"there {f'are {there}' if there else 'is none'}; run clgen tune on it"
        )
    return Tuned(path.name, sha256, found[0], _place(path, found[0].name)) if found else None


def check_tuned(tuned: Tuned, possible: Mapping[str, Sequence[str]]) -> None:
    """Raises SpecError if a layer or its schedule is impossible, because the network has changed."""
    for layer, schedule in tuned.device.layers.items():
        at = tuned.place.key("layers").key(show(layer))
        if layer not in possible:
            names = listed(list(possible)[:_SHOWN], "and")
            known = f"; there are {names}{' and more' if len(possible) > _SHOWN else ''}" if possible else ""
            raise at.spec_error(f"is no convolution of the network{suggestion(layer, possible) or known}; {_REMEDY}")
        if schedule not in possible[layer]:
            raise at.spec_error(f"{show(schedule)} should be {listed(possible[layer])}; {_REMEDY}")


def with_device(path: Path, device: TunedDevice, targets: Collection[str]) -> bytes:
    """The file with the device's table replaced, or appended if it had none."""
    devices = list(_read(path, targets)[0]) if path.exists() else []
    at = [(other.name, other.target) for other in devices]
    own = (device.name, device.target)
    if own in at:
        devices[at.index(own)] = device
    else:
        devices.append(device)
    return _written(devices)


def _written(devices: Iterable[TunedDevice]) -> bytes:
    lines = [_HEAD]
    for device in devices:
        lines += ["", "[[device]]"]
        keys = ["name", "driver", "target", *(["backend"] if device.backend != BACKENDS[0] else [])]
        lines += [f"{key} = {toml(getattr(device, key))}" for key in keys]
        lines.append("[device.layers]")
        lines += [f"{toml(layer)} = {toml(schedule)}" for layer, schedule in device.layers.items()]
    return ("\n".join(lines) + "\n").encode()


def _layers(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise Unfit
    for layer, schedule in value.items():
        if not isinstance(schedule, str):
            raise Unfit(f"{show(layer)} = {show(schedule)} should be the name of a schedule")
    return value


def _keys(targets: Collection[str]) -> Keys:
    layers = ValueType("a table with a schedule for each layer", {"type": "object"}, _layers)
    return {
        "name": Key(TEXT, "The device's name.", required=True),
        "driver": Key(TEXT, "The version of its driver.", required=True),
        "target": Key(choice(*targets), "What the schedules are for.", required=True),
        "backend": Key(choice(*BACKENDS), "How the kernels ran.", BACKENDS[0]),
        "layers": Key(layers, "Schedules by the layer's name.", required=True),
    }


def _read(path: Path, targets: Collection[str]) -> tuple[tuple[TunedDevice, ...], str]:
    document = read_document(path)
    for name in document.tables:
        if name != "device":
            raise unknown_key(name, ["device"], document.place)
    devices: list[TunedDevice] = []
    for k, table in enumerate(many_tables(document.tables, "device", document.place), 1):
        called = table.get("name")
        place = _place(path, called) if isinstance(called, str) and called else Place(str(path), f"device {k}")
        device = TunedDevice(**read_table(table, _keys(targets), place))
        if any((other.name, other.target) == (device.name, device.target) for other in devices):
            raise place.spec_error(f"is there twice for target {show(device.target)}; remove one")
        devices.append(device)
    return tuple(devices), document.sha256


def _place(path: Path, device: str) -> Place:
    return Place(str(path), f"device {show(device)}")
