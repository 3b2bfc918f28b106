"""Channels of several tensors put together: a work-item makes a run of pixels of one channel block.

A table says for each channel which input it comes from, where it begins there, and how far apart its pixels are.
"""

from __future__ import annotations

import numpy as np

from codegen.graph.ops import TakeChannels
from codegen.plan.plan import Draft
from codegen.plan.schedules.launch import LaunchSketch
from codegen.plan.schedules.pointwise import as_one_row

ITEM_PIXELS = 256


def plan_take_channels(s: LaunchSketch) -> Draft:
    op: TakeChannels = s.core
    c = s.target.lanes
    inputs = [as_one_row(s.layouts[name]) for name in s.node.inputs]
    y = as_one_row(s.y)
    batch, channels, _, pixels = y.shape
    blocks = -(-channels // c)
    table = np.zeros((blocks * c, 3))
    for i, (source, channel) in enumerate(op.places):
        x = inputs[source]
        block, lane = divmod(channel, x.block)
        table[i] = source, block * x.strides[1] + lane, x.strides[3]
    table[channels:] = table[0]
    s.constant("table", table)
    s.size("pixels", pixels)
    if channels % c:
        s.size("channels", channels)
    variables = {
        "sources": [
            {"name": s.operand_name(k), "sample": s.size(f"{s.operand_name(k)}_sample", x.strides[0])}
            if batch > 1
            else {"name": s.operand_name(k)}
            for k, x in enumerate(inputs)
        ],
        "step": int(table[0, 2]) if np.all(table[:, 2] == table[0, 2]) else 0,
        "y": s.named(y, "y", rows=False),
        "samples": batch > 1,
        "partial": channels % c != 0,
        "epilogue": s.epilogue(as_one_row),
    }
    grid = (-(-pixels // ITEM_PIXELS), blocks, batch)
    return s.draft("take_channels.cl.jinja", f"channels_of_{len(inputs)}", variables, grid)
