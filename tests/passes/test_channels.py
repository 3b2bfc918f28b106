"""Channels that are split, shuffled and joined come from where they were computed, in one step."""

from __future__ import annotations

import pytest

from codegen.graph.ops import Concat, Conv, Fused, TakeChannels
from codegen.runtime.devices import DeviceInfo
from codegen.runtime.verify import format_verification
from tests.support import networks
from tests.support.branches import Net


def shuffled() -> Net:
    """A unit of ShuffleNet: half of the channels pass through, the others are computed with, all are shuffled."""
    net = Net("shuffled")
    x = net.conv(net.input("x", 2, 3, 4, 5), 12, 1, name="x0")
    kept, used = net.select_channels(x, 0, 6), net.select_channels(x, 6, 6)
    both = net.concat(kept, net.act(net.conv(used, 6, 1)), name="both")
    net.output("y", net.conv(net.shuffle(both, 2), 4, 1))
    return net


def split() -> Net:
    """Parts of parts, backwards and by index."""
    net = Net("split")
    x = net.conv(net.input("x", 1, 3, 3, 4), 11, 1)
    part = net.select_channels(x, 2, 8)
    backwards = net.select(part, (0, 1, 1), (7, -2, 4), (0, 1, 3), (0, 1, 4))
    net.output("y", net.conv(net.take(backwards, 1, 3, 0, 0, 2), 4, 1))
    return net


def chain() -> Net:
    """Joined, split, joined again: of two that are computed and of the network's input."""
    net = Net("chain")
    x = net.input("x", 1, 5, 3, 4, channels_last=True)
    a, b = net.conv(x, 6, 1), net.conv(x, 9, 1)
    first = net.concat(net.select_channels(net.concat(a, b), 4, 6), x)
    net.output("y", net.conv(net.shuffle(net.concat(first, a, net.take(b, 1, 8)), 3), 4, 1))
    return net


MOVED = {
    # The convolution's own half is another step, because it is computed with.
    "shuffled": (shuffled, [1, 2]),
    "split": (split, [1]),
    "chain": (chain, [3]),
}


@pytest.mark.parametrize("name", MOVED)
def test_channels_come_from_where_they_were_computed(name: str, device: DeviceInfo) -> None:
    net, sources = MOVED[name]
    stages = networks.lower(net().graph())
    cores = {n.name: n.op.core for n in stages.launches.nodes if isinstance(n.op, Fused)}
    moves = [n for n in stages.launches.nodes if isinstance(cores[n.name], TakeChannels)]
    assert [len(n.inputs) for n in moves] == sources
    assert all(isinstance(core, Conv | TakeChannels) for core in cores.values())
    computed = {i.name for i in stages.launches.inputs} | {n for n, core in cores.items() if isinstance(core, Conv)}
    assert all(computed.issuperset(n.inputs) for n in moves)
    result = stages.verify(device)
    assert result.passed, format_verification(result)


def test_what_lies_side_by_side_in_place_stays_a_concatenation() -> None:
    net = Net("joined")
    x = net.input("x", 1, 3, 3, 4)
    net.output("y", net.conv(net.concat(net.conv(x, 8, 1), net.conv(x, 5, 1)), 4, 1))
    cores = [n.op.core for n in networks.lower(net.graph()).launches.nodes if isinstance(n.op, Fused)]
    assert [type(core) for core in cores] == [Conv, Conv, Concat, Conv]


def test_transposes_that_shuffle_no_channels_are_left_alone() -> None:
    """Groups of rows in place of groups of channels."""
    net = Net("rows")
    x = net.conv(net.input("x", 1, 3, 4, 5), 8, 1)
    y = net.reshape(net.transpose(net.reshape(x, 1, 8, 2, 2, 5), 0, 1, 3, 2, 4), 1, 8, 4, 5)
    net.output("y", net.conv(y, 4, 1))
    cores = [n.op.core for n in networks.lower(net.graph()).launches.nodes if isinstance(n.op, Fused)]
    assert not any(isinstance(core, TakeChannels) for core in cores)
