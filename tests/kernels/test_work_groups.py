"""Work-groups of several work-items: their size is data from the schedule to the C host and to pyopencl."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from codegen.graph.ops import Identity, Op
from codegen.plan.grid import Grid
from codegen.plan.plan import Draft
from codegen.plan.schedules import choose, rows
from codegen.plan.schedules.launch import LaunchSketch
from codegen.runtime.devices import DeviceInfo
from codegen.runtime.verify import verify
from tests.support import networks
from tests.support.branches import Net


def in_pairs(s: LaunchSketch) -> Draft:
    """Elementwise launches, by work-groups of two rows of an image."""
    draft = rows.plan_map(s)
    x, y, z = draft.grid.groups
    return replace(draft, grid=Grid((x, y // 2, z), local=(1, 2, 1)))


@pytest.mark.parametrize("wanted", ["intel", "pocl"])
def test_a_made_up_schedule_with_larger_work_groups(
    find_device: Callable[[str], DeviceInfo], wanted: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    net = Net("groups")
    a = net.conv(net.input("x", 1, 3, 6, 5), 9, 1)
    b = net.conv(a, 9, 1, name="b")
    net.output("y", net.act(net.concat(a, b)))
    net.output("z", net.conv(net.act(a, "relu", name="alone"), 2, 1))
    stages = networks.lower(net.graph())
    made_up: Mapping[type[Op], Callable[[LaunchSketch], Draft]] = {**choose._SCHEDULES, Identity: in_pairs}
    monkeypatch.setattr(choose, "_SCHEDULES", made_up)
    artefact = stages.build(tmp_path)
    grouped = [launch for launch in artefact.launches if launch["local"] == [1, 2, 1]]
    assert grouped and all(launch["global"][1] == 6 for launch in grouped)
    assert "STEP(1, 2, 1)" in artefact.source
    # Workers of the persistent kernel are single work-items.
    assert "groups_network" not in artefact.source
    sample = networks.normal_sample(artefact)
    result = verify(artefact, stages.unfolded, stages.launches, [find_device(wanted)], [sample])
    assert result.passed
