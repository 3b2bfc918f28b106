"""graph of launches -> artefacts with other schedules -> their times on a device -> the file beside the spec."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from codegen.build import Lowered, Progress, silent
from codegen.emit.artefact import Provenance, render_artefact
from codegen.emit.output import write
from codegen.emit.packaging import OPENCL, PLAIN_C, Packaging
from codegen.emit.selftest import Sample, SelfTest
from codegen.emit.single_file import write_file
from codegen.errors import naming
from codegen.frontend.spec.tuning import TunedDevice, tuning_file, with_device
from codegen.graph.domain import find_domain
from codegen.plan.planner import plan
from codegen.plan.schedules.choose import alternatives
from codegen.plan.target import TARGETS
from codegen.runtime.artefact import Artefact, read
from codegen.runtime.devices import DeviceInfo
from codegen.runtime.native import NativeDevice
from codegen.runtime.tune import Alike, Measured, tune


def tune_schedules(
    lowered: Lowered,
    target: str,
    device: DeviceInfo | NativeDevice,
    seconds: float,
    scratch: Path,
    say: Progress = silent,
) -> tuple[Path, Measured]:
    """graph of launches -> artefacts with other schedules -> times on the device -> file beside the spec."""
    file = tuning_file(lowered.path)
    if isinstance(device, NativeDevice):
        name, backend = device.title, PLAIN_C
    else:
        name, backend = device.name, OPENCL
    tuned = TunedDevice(name, device.driver, target, {}, backend)
    with_device(file, tuned, TARGETS)  # refuses an invalid file at once
    with naming(lowered.path):
        ranges = find_domain(lowered.model.graph).ranges
    alike: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for layer, choice in alternatives(lowered.launches, TARGETS[target]).items():
        alike.setdefault((choice.work, choice.schedules), []).append(layer)

    def artefact(choices: Mapping[str, str]) -> Artefact:
        model = lowered.model
        made_from = Provenance(model.spec_name, model.spec_sha256, model.weights_sha256)
        # The self-test is never run; one sample of each output, as C has no empty arrays.
        untested = SelfTest(ranges, [[Sample(0, 0.0, 0.0)] for _ in lowered.launches.outputs])
        planned = plan(lowered.launches, TARGETS[target], {}, choices)
        files = render_artefact(planned, made_from, untested, None, Packaging(backend))
        write(scratch, files)
        return read(scratch)

    work = [Alike(tuple(layers), schedules) for (_, schedules), layers in alike.items()]
    measured = tune(work, artefact, device, seconds, say)
    layers = {n.name: measured.choices[n.name] for n in lowered.launches.nodes if n.name in measured.choices}
    write_file(file, with_device(file, replace(tuned, layers=layers), TARGETS))
    return file, measured
