"""Channels of several tensors put together: a work-item makes a run of pixels of one channel block.

A table says for each channel which input it comes from, which block of that, and which lane of the block.  (Not where
it begins: tables are of float32, which does not count as far as a large tensor's floats.)
"""

from __future__ import annotations

import math

import numpy as np

from codegen.graph.ops import TakeChannels
from codegen.plan import kernels
from codegen.plan.layout import Layout
from codegen.plan.plan import Draft
from codegen.plan.schedules.launch import LaunchSketch, as_one_row


def plan_take_channels(s: LaunchSketch) -> Draft:
    op: TakeChannels = s.core
    c = s.target.lanes
    inputs = [as_one_row(s.layouts[name]) for name in s.node.inputs]
    y = as_one_row(s.y)
    batch, channels, _, pixels = y.shape
    blocks = -(-channels // c)
    table = np.zeros((blocks * c, 3))
    table[:channels] = [(source, *divmod(channel, inputs[source].block)) for source, channel in op.places]
    table[channels:] = table[0]
    s.constant("table", table)
    s.size("pixels", pixels)
    if channels % c:
        s.size("channels", channels)
    description = kernels.TakeChannels(
        lanes=c,
        sources=tuple(_source(s, s.operand_name(k), x, batch) for k, x in enumerate(inputs)),
        y=s.named(y, "y", rows=False),
        samples=batch > 1,
        partial=channels % c != 0,
        epilogue=s.epilogue(as_one_row),
    )
    costs = s.target.costs
    grid = (math.ceil(pixels * c * costs.pick / costs.item), blocks, batch)
    return s.draft(description, f"channels_of_{len(inputs)}", grid)


def _source(s: LaunchSketch, name: str, x: Layout, batch: int) -> kernels.ChannelSource:
    """An input: how far apart its blocks, its samples and its pixels are."""
    sample = s.size(f"{name}_sample", x.strides[0]) if batch > 1 else ""
    return kernels.ChannelSource(name, s.size(f"{name}_block", x.strides[1]), sample, x.strides[3])
