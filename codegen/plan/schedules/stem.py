"""The first convolution: few channels, in the user's order, at full size.

A work-item computes a row of pixels, all channels.  It first puts the rows of input that it sees side by side in
private memory, with zeros around them: from then on no tap is outside, and all addresses are known to the compiler.
Tiles are those of 1x1 convolutions, with the taps of all input channels in place of the channels.
"""

from __future__ import annotations

from codegen.graph.ops import Conv
from codegen.plan.kernels import Stem
from codegen.plan.layout import up
from codegen.plan.plan import Draft
from codegen.plan.schedules.launch import LaunchSketch, by, sink, size_label
from codegen.plan.tile import fit, padded
from codegen.plan.window import Window, packed


def takes(s: LaunchSketch) -> bool:
    """True if the input is in plain order, and the rows that a row of output reads fit into private memory."""
    op: Conv = s.core
    if s.x.block > 1 or op.groups != 1 or len(op.kernel) > 2 or not s.target.cached_private:
        return False
    window = Window.of(op)
    columns = window.reach(1, s.y.canonical().shape[3])
    return window.taps > 1 and s.x.shape[1] * window.kernel[0] * columns <= s.most_staged


def plan_stem(s: LaunchSketch) -> Draft:
    op: Conv = s.core
    c = s.target.lanes
    window = Window.of(op)
    x, y = s.x.canonical(), s.y.canonical()
    batch, channels, rows, columns = y.shape
    blocks = -(-channels // c)
    tiling = fit(s.target, rows, columns, blocks)
    tile = tiling.block_tile * c
    co, ci = op.weight.shape[:2]
    # Taps of all input channels in place of channels.
    s.constant("weight", padded(s.target, tiling, packed(op.weight.reshape(co, -1, 1, 1), 1, tile)))
    s.constant("bias", padded(s.target, tiling, s.channels(op.bias, up(channels, tile))))
    staged = window.reach(1, columns)
    description = Stem(
        lanes=c,
        tiling=tiling,
        sink=sink(s.epilogue(), y),
        x=x,
        stencil=window.stencil,
        begin=window.pad[1],
        end=min(window.pad[1] + x.shape[3], staged),
        staged_columns=staged,
        inputs=ci,
        blocks=blocks,
        y_tiles=-(-blocks // tiling.block_tile),
        samples=batch > 1,
        prologue=s.prologue(vector=False),
    )
    label = f"stem{by(window.kernel)}_s{window.stride[1]}_{size_label(x)}_to_{size_label(y)}"
    return s.draft(description, label, (rows, 1, batch))
