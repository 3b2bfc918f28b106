"""All launches in one: teams of any size compute what the launches compute one by one, to the bit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from codegen.emit.render import network_buffers
from codegen.plan.target import LINE_BYTES
from codegen.runtime.artefact import Floats, to_user_order
from codegen.runtime.devices import DeviceInfo, opencl
from codegen.runtime.execute import Session
from codegen.runtime.host import Host, compile_host
from codegen.runtime.verify import same_bits
from tests.support import artefacts

COUNTER_LINE = LINE_BYTES


class Team:
    """The kernel that makes all launches, with so many work-items, on a session's buffers; as if after so many runs."""

    def __init__(self, session: Session, built: artefacts.Built, workers: int, runs: int) -> None:
        cl = opencl()
        self.session, self.workers = session, workers
        device = session.device.handle
        options = session.artefact.build_options(device.native_vector_width_float)
        # The last workers begin first: the first ones would leave them nothing to do.
        worker = "get_global_id(0), get_global_size(0)"
        assert worker in session.artefact.source
        source = session.artefact.source.replace(worker, f"get_global_size(0) - 1 - {worker}")
        program = cl.Program(session.context, source).build([*options, "-DONE_LAUNCH"])
        self.kernel = cl.Kernel(program, f"{built.name}_network")
        size = (1 + workers) * COUNTER_LINE
        items = sum(launch.grid.count for launch in built.plan.launches)
        self.counters = cl.Buffer(session.context, cl.mem_flags.READ_WRITE, size)
        cl.enqueue_fill_buffer(session.queue, self.counters, np.uint32(runs * items % 2**32), 0, size)
        buffers = [session._buffers[b.kind, b.index] for b in network_buffers(built.plan)]
        self.kernel.set_args(*buffers, self.counters, np.uint32(0))

    def run(self, inputs: Mapping[str, Floats], number: int) -> dict[str, Floats]:
        cl = opencl()
        self.session.write(inputs)
        for (kind, _), buffer in self.session._buffers.items():
            if kind == "output":
                cl.enqueue_fill_buffer(self.session.queue, buffer, np.float32(np.nan), 0, buffer.size)
        self.kernel.set_arg(self.kernel.num_args - 1, np.uint32(number % 2**32))
        cl.enqueue_nd_range_kernel(self.session.queue, self.kernel, (self.workers,), (1,))
        return self.session.outputs()


def given(built: artefacts.Built, session: Session, shift: int) -> dict[str, Floats]:
    numbers = artefacts.numbers(built.unfolded)
    return {
        d["name"]: np.roll(np.ascontiguousarray(to_user_order(numbers[d["name"]], d)), shift)
        for d in session.artefact.inputs
    }


@pytest.mark.filterwarnings("ignore:Non-empty compiler output")
@pytest.mark.parametrize("name", artefacts.NETWORKS)
def test_teams_compute_what_launches_compute(name: str, device: DeviceInfo, tmp_path: Path) -> None:
    """More workers than processors, and than items, too: some begin when all is done.

    Numbers of runs wrap around, and one of them did not begin.
    """
    built = artefacts.build(name)
    session = Session(built.read(tmp_path), device)
    first = 2**32 - 1
    teams = [Team(session, built, workers, first) for workers in (1, 2, 7, 64)]
    for number in (first, first + 1, first + 3):
        inputs = given(built, session, number % 5)
        expected = session.run(inputs)
        for team in teams:
            for output, values in team.run(inputs, number).items():
                assert same_bits(values, expected[output]), (output, team.workers)


@pytest.mark.parametrize("name", ["tables", "ports", "prepared"])
def test_hosts_compute_the_same_by_one_launch_and_by_many(
    name: str, device: DeviceInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = artefacts.build(name)
    artefact = built.read(tmp_path)
    library = compile_host(artefact, tmp_path / "library.so")
    results = []
    for launches in ("one", "separate"):
        monkeypatch.setenv("CLGEN_LAUNCHES", launches)
        session = Session(artefact, device)
        with Host(artefact, library, device) as host:
            results.append([host.run(given(built, session, shift)) for shift in range(3)])
    for one, separate in zip(*results, strict=True):
        assert all(same_bits(one[o], separate[o]) for o in one)
