"""Transposes and reshapes as values, against numpy."""

from __future__ import annotations

import math
from functools import reduce

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from codegen.passes.moves import Move

Shape = tuple[int, ...]


def applied(move: Move, x: NDArray[np.float64]) -> NDArray[np.float64]:
    return reduce(lambda value, op: op.reference(value), move.steps(), x)


def counted(shape: Shape) -> NDArray[np.float64]:
    return np.arange(math.prod(shape), dtype=np.float64).reshape(shape)


@st.composite
def shapes_alike(draw: st.DrawFn, shape: Shape) -> Shape:
    """Another shape of as many elements, of up to five axes."""
    rest, found = math.prod(shape), []
    for _ in range(draw(st.integers(0, 4))):
        n = draw(st.sampled_from([d for d in range(1, rest + 1) if rest % d == 0]))
        found.append(n)
        rest //= n
    return (*found, rest)


SHAPES = st.lists(st.sampled_from([1, 2, 3, 4, 6]), min_size=1, max_size=4).map(tuple)


@st.composite
def moves(draw: st.DrawFn, shape: Shape) -> tuple[Move | None, NDArray[np.float64]]:
    """A transpose or a reshape of this shape, and what numpy makes of it."""
    if draw(st.booleans()):
        axes = tuple(draw(st.permutations(range(len(shape)))))
        return Move.transpose(shape, axes), counted(shape).transpose(axes)
    wanted = draw(shapes_alike(shape))
    return Move.reshape(shape, wanted), counted(shape).reshape(wanted)


@settings(deadline=None, max_examples=400)
@given(st.data())
def test_chains_do_what_numpy_does(data: st.DataObject) -> None:
    shape = data.draw(SHAPES)
    whole, values = Move.identity(shape), counted(shape)
    for _ in range(data.draw(st.integers(1, 5))):
        move, _ = data.draw(moves(whole.shape))
        after = None if move is None else whole.then(move)
        if after is None:
            continue
        assert move is not None
        whole, values = after, applied(move, values)
        np.testing.assert_array_equal(applied(whole, counted(shape)), values)
        assert whole.source == shape and whole.shape == values.shape
        np.testing.assert_array_equal(applied(whole.inverse(), values), counted(shape))
        there_and_back = whole.then(whole.inverse())
        assert there_and_back is not None and there_and_back.keeps_all
        assert there_and_back == Move.identity(shape)
        assert whole.keeps_order == bool((values.reshape(-1) == np.arange(values.size)).all())
        axes = whole.in_order()
        if axes is not None:
            in_order = whole.then(Move.transpose(whole.shape, axes))
            assert in_order is not None and in_order.keeps_order
    assert len(whole.steps()) <= 3


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_one_move_is_right(data: st.DataObject) -> None:
    shape = data.draw(SHAPES)
    move, values = data.draw(moves(shape))
    if move is not None:
        np.testing.assert_array_equal(applied(move, counted(shape)), values)


def test_equal_moves_are_equal() -> None:
    shape = (1, 6, 4, 5)
    there, back = Move.transpose(shape, (0, 2, 3, 1)), Move.transpose((1, 4, 5, 6), (0, 3, 1, 2))
    assert there.then(back) == Move.identity(shape)
    squeezed = Move.reshape((1, 4, 5, 6), (4, 5, 6))
    assert squeezed is not None
    moved = there.then(squeezed)
    assert moved is not None
    assert [op.title for op in moved.steps()] == ["transpose", "reshape"]


def test_moving_axes_of_one_is_a_reshape() -> None:
    assert Move.transpose((1, 6, 1, 1), (0, 2, 3, 1)).keeps_order
    assert not Move.transpose((2, 6, 1, 1), (1, 0, 2, 3)).keeps_order


def test_factors_that_cut_each_other_are_no_move() -> None:
    assert Move.reshape((2, 3), (3, 2)) is None


def test_axes_are_followed() -> None:
    move = Move.transpose((2, 6, 4, 5), (0, 2, 3, 1))
    assert [move.axis(a) for a in range(4)] == [0, 3, 1, 2]
    assert move.axes((2, 3)) == (1, 2)
    flat = Move.reshape((2, 6, 4, 5), (2, 6, 20))
    assert flat is not None
    assert flat.axis(2) is None and flat.axes((2, 3)) == (2,) and flat.axes((2,)) is None


def test_resized_moves() -> None:
    move = Move.transpose((2, 6, 4, 5), (0, 2, 3, 1))
    assert move.resized((2, 7, 4, 5)) == Move.transpose((2, 7, 4, 5), (0, 2, 3, 1))
    small = move.resized((2, 6, 1, 1))
    assert small is not None and small.keeps_order and small.shape == (2, 1, 1, 6)
    flat = Move.reshape((2, 6, 4, 5), (2, 6, 20))
    assert flat is not None
    assert flat.resized((2, 6, 1, 5)) is None  # 20 elements of which 5 repeat are no broadcast
    gone = flat.resized((2, 6, 1, 1))
    assert gone is not None and gone.shape == (2, 6, 1)
