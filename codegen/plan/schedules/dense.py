"""Fully connected layers: a work-item computes one vector of outputs of one sample."""

from __future__ import annotations

import numpy as np

from codegen.graph.bounded import sum_block
from codegen.graph.ops import Dense
from codegen.plan.plan import Draft
from codegen.plan.schedules.launch import LaunchSketch


def plan_dense(s: LaunchSketch) -> Draft:
    op: Dense = s.core
    c = s.target.lanes
    batch, outputs = s.y.shape
    # The kernel reads a sample in the order it lies in memory; the columns of W are put into that order here.
    sample = s.x.offsets()[0].reshape(-1)
    reach = int(sample.max()) + 1
    blocks = -(-outputs // c)
    weight = np.zeros((blocks * c, reach))
    weight[:outputs, sample] = op.weight
    s.constant("weight", weight.reshape(blocks, c, reach).transpose(0, 2, 1))
    s.constant("bias", s.channels(op.bias, outputs))

    def spread(values: np.ndarray, filling: float) -> np.ndarray:
        per_element = np.full(reach, filling)
        shape = (-1, *(1,) * (len(s.x.shape) - 2))
        per_element[sample] = np.broadcast_to(values.reshape(shape), s.x.shape[1:]).reshape(-1)
        return per_element

    variables = {
        "x_stride": s.x.strides[0],
        "y": s.y.canonical(),
        "reach": reach,
        "sum_block": sum_block(reach),
        "blocks": blocks,
        "batch": batch,
        "prologue": s.prologue(spread, vector=False),
        "epilogue": s.epilogue(),
    }
    return s.draft("dense.cl.jinja", f"dense_{reach}_to_{outputs}", variables, (blocks, batch, 1))
