"""The arena: tensors share memory, and none is overwritten while it is needed."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codegen import build
from codegen.plan.memory import Lifetime, assign
from codegen.plan.plan import Plan
from tests.support.networks import Net, lower
from tests.support.random_specs import RandomSpec, specs

many = settings(max_examples=400, deadline=None, derandomize=True)
fewer = settings(max_examples=120, deadline=None, derandomize=True)


@st.composite
def lifetimes(draw: st.DrawFn) -> list[Lifetime]:
    """Buffers as the launches of a network need them, sizes from one float to many, some equal."""
    sizes = st.one_of(st.integers(1, 40), st.sampled_from([64, 100, 128, 1000, 4096]))
    spans = draw(st.lists(st.tuples(sizes, st.integers(0, 12), st.integers(0, 6)), max_size=14))
    return [Lifetime(f"t{k}", size, first, first + length) for k, (size, first, length) in enumerate(spans)]


def together(a: Lifetime, b: Lifetime) -> bool:
    return a.first <= b.last and b.first <= a.last


def up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


@many
@given(lifetimes(), st.sampled_from([1, 8, 32]))
def test_buffers_in_use_together_do_not_overlap(buffers: list[Lifetime], alignment: int) -> None:
    offsets, _ = assign(buffers, alignment)
    assert set(offsets) == {b.name for b in buffers}
    for i, a in enumerate(buffers):
        for b in buffers[:i]:
            if together(a, b):
                apart = offsets[a.name] + a.size <= offsets[b.name] or offsets[b.name] + b.size <= offsets[a.name]
                assert apart, f"{a} at {offsets[a.name]} and {b} at {offsets[b.name]}"


@many
@given(lifetimes(), st.sampled_from([1, 8, 32]))
def test_offsets_are_aligned_and_inside_the_arena(buffers: list[Lifetime], alignment: int) -> None:
    offsets, total = assign(buffers, alignment)
    assert total % alignment == 0
    for b in buffers:
        assert offsets[b.name] % alignment == 0
        assert 0 <= offsets[b.name] <= total - b.size


@many
@given(lifetimes(), st.sampled_from([1, 8, 32]))
def test_the_arena_is_neither_too_small_nor_larger_than_without_sharing(
    buffers: list[Lifetime], alignment: int
) -> None:
    _, total = assign(buffers, alignment)
    peak = max((sum(b.size for b in buffers if b.first <= t <= b.last) for t in range(20)), default=0)
    assert peak <= total <= sum(up(b.size, alignment) for b in buffers)


@many
@given(lifetimes(), st.randoms(use_true_random=False))
def test_the_same_whatever_the_order_of_the_buffers(buffers: list[Lifetime], random: object) -> None:
    shuffled = list(buffers)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert assign(shuffled, 8) == assign(buffers, 8)


def test_nothing_needs_nothing() -> None:
    assert assign([], 32) == ({}, 0)


def test_a_chain_needs_its_two_largest_neighbours() -> None:
    chain = [Lifetime(f"t{k}", size, k, k + 1) for k, size in enumerate([64, 32, 64, 32, 64, 32])]
    assert assign(chain, 32)[1] == 96


def test_a_gap_of_the_right_size_is_used() -> None:
    buffers = [Lifetime("a", 64, 0, 3), Lifetime("b", 32, 0, 1), Lifetime("c", 32, 2, 3), Lifetime("d", 96, 0, 3)]
    assert assign(buffers, 32)[1] == 192


# ---- whole plans ----


def assert_nothing_is_overwritten(plan: Plan) -> None:
    """Walks through the launches with an arena of tags: what is read must be what was last written there."""
    nodes = plan.graph.by_name
    written = {launch.writes for launch in plan.launches}
    arena = np.full(plan.arena_bytes // 4, -1)
    tags = {name: k for k, name in enumerate(plan.places)}

    def at(name: str) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
        place = plan.places[name]
        return place.offset + place.layout.offsets().reshape(-1)

    def sources(name: str) -> set[int]:
        """The launches that wrote a tensor: itself; or its parts or source, where it is a whole or a view."""
        if name in written or name not in nodes:
            return {tags[name]}
        return {tag for source in nodes[name].inputs for tag in sources(source)}

    for launch in plan.launches:
        for name in launch.reads:
            if plan.places[name].buffer == "arena":
                assert set(arena[at(name)].tolist()) <= sources(name), f"{launch.node} reads {name}, overwritten"
        if plan.places[launch.writes].buffer == "arena":
            place = plan.places[launch.writes]
            # Vectors go out whole: the filling behind the last channel is written too.
            block = place.layout.block
            lanes = np.unique(at(launch.writes) - place.offset) // block * block
            whole = np.unique(lanes[:, None] + np.arange(block)) + place.offset
            assert whole.max() < plan.arena_bytes // 4
            arena[whole] = tags[launch.writes]
            for name in launch.reads:
                if plan.places[name].buffer == "arena":
                    clash = np.intersect1d(at(name), whole)
                    assert not clash.size, f"{launch.node} reads {name}, overwritten by itself"


@fewer
@given(specs(most_layers=10))
def test_no_tensor_is_overwritten_before_it_is_read(spec: RandomSpec) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lowered = build.lower(spec.write(Path(folder)))
    plan = build.planned(lowered, spec.target)
    assert_nothing_is_overwritten(plan)
    assert plan.arena_bytes <= plan.separate_bytes


def test_the_walk_finds_what_it_looks_for() -> None:
    """A plan whose memory is all at the arena's beginning."""
    n = Net((1, 3, 6, 6))
    n.binary("add", n.conv(n.conv("x", 8, 1), 8, 1), n.conv("x", 8, 1))
    plan = lower(n.graph()).plan()
    assert_nothing_is_overwritten(plan)
    for place in plan.places.values():
        object.__setattr__(place, "offset", 0)
    with pytest.raises(AssertionError, match="overwritten"):
        assert_nothing_is_overwritten(plan)


def test_a_deep_chain_lives_in_two_buffers() -> None:
    n = Net((1, 3, 8, 8))
    x = n.conv("x", 8)
    for _ in range(6):
        x = n.conv(x, 8, pads=1)
    plan = lower(n.graph()).plan()
    assert plan.separate_bytes >= 4 * 6 * 8 * 36
    assert plan.arena_bytes == 4 * 2 * up(8 * 36, 32)


def test_branches_of_a_concat_are_kept_until_it_is_read() -> None:
    n = Net((1, 3, 6, 6))
    joined = n.concat(n.conv("x", 8, 1), n.conv("x", 8, 1), n.conv("x", 8, 1))
    n.conv(n.conv(joined, 8, 1), 8, 1)
    plan = lower(n.graph()).plan()
    assert_nothing_is_overwritten(plan)
    assert plan.arena_bytes == 4 * (up(24 * 36, 32) + 8 * 36)
