"""Fully connected layers: a work-item computes one vector of outputs of one sample."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from codegen.graph import ops
from codegen.graph.bounded import sum_block
from codegen.plan.kernels import Dense
from codegen.plan.layout import Layout
from codegen.plan.plan import Draft
from codegen.plan.schedules.launch import LaunchSketch


def plan_dense(s: LaunchSketch) -> Draft:
    op: ops.Dense = s.core
    c = s.target.lanes
    batch, outputs = s.y.shape
    # The kernel reads a sample in the order it lies in memory; the columns of W are put into that order here.
    sample = s.x.offsets()[0].reshape(-1)
    order = np.argsort(sample)
    inputs, blocks = sample.size, -(-outputs // c)
    weight = np.zeros((blocks * c, inputs))
    weight[:outputs] = op.weight[:, order]
    s.constant("weight", weight.reshape(blocks, c, inputs).transpose(0, 2, 1))
    s.constant("bias", s.channels(op.bias, outputs))

    def spread(values: np.ndarray, filling: float) -> np.ndarray:
        shape = (-1, *(1,) * (len(s.x.shape) - 2))
        per_element: np.ndarray = np.broadcast_to(values.reshape(shape), s.x.shape[1:]).reshape(-1)[order]
        return per_element

    whole, lanes = _gaps(s.x)
    assert np.array_equal(sample[order], _places(np.arange(inputs), whole, lanes, c)), s.x
    description = Dense(
        lanes=c,
        x_stride=s.x.strides[0],
        y=s.y.canonical(),
        inputs=inputs,
        whole=whole,
        gap_lanes=lanes,
        sum_block=sum_block(inputs),
        blocks=blocks,
        batch=batch,
        prologue=s.prologue(spread, vector=False),
        epilogue=s.epilogue(),
    )
    return s.draft(description, f"dense_{inputs}_to_{outputs}", (blocks, batch, 1))


def _gaps(x: Layout) -> tuple[int, int]:
    """The inputs before the first padding lane, and the lanes of each vector from there on that are inputs.

    (0, 0) if there are no padding lanes between inputs.
    """
    channels, pixels = x.shape[1], math.prod(x.shape[2:])
    lanes = channels % x.block
    return (0, 0) if lanes == 0 or pixels == 1 else ((channels - lanes) * pixels, lanes)


def _places(index: NDArray[np.int64], whole: int, lanes: int, block: int) -> NDArray[np.int64]:
    """Where inputs of these indices lie, in floats: what the template prints as ``place``."""
    if lanes == 0:
        return index
    behind = index - whole
    return np.where(index < whole, index, whole + behind // lanes * block + behind % lanes)
