"""Comments that say what a launch computes: layers, their places in the spec, operator and shapes."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from codegen.emit.literals import in_comment
from codegen.plan.plan import Launch, LayerNote, Plan

WIDTH = 112  # characters of a line


def describe_kernels(plan: Plan) -> dict[str, list[str]]:
    """The comment of each kernel and function, in lines: what its launches compute, and where its tables are from."""
    comments: dict[str, list[str]] = {}
    for launch in (*plan.preparations, *plan.launches):
        comments.setdefault(launch.kernel, []).extend(describe_launch(launch, plan))
    for kernel in plan.kernels:
        if kernel.calls is not None:
            comments.setdefault(kernel.calls.name, []).extend(comments[kernel.name])
    for kernel in plan.kernels:
        comments[kernel.name] += [f"{in_comment(note)}." for note in kernel.notes]
        if kernel.tables:
            comments[kernel.name].append("Computed in float64, rounded once to float32, printed exactly.")
    return comments


def describe_launch(launch: Launch, plan: Plan) -> list[str]:
    """``stem (line 12): conv -> relu, 1x3x8x8 -> 1x16x8x8``, in lines; all layers that the launch computes."""
    layers = plan.layers.get(launch.node, ()) or (LayerNote(launch.node, ""),)
    names = [in_comment(f"{layer.name} ({layer.origin})" if layer.origin else layer.name) for layer in layers]
    text = f"{_unbroken(names)}: {in_comment(launch.title)}"
    if launch.writes:
        text += f", {_shapes(launch.reads, plan)} -> {_shapes([launch.writes], plan)}"
    lines = textwrap.wrap(text, WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
    return [line.replace("\0", " ") for line in lines]


def _unbroken(names: Sequence[str]) -> str:
    """The names as a list that is wrapped between names only."""
    return ", ".join(name.replace(" ", "\0") for name in names)


def _shapes(tensors: Sequence[str], plan: Plan) -> str:
    return ", ".join("x".join(map(str, plan.places[name].layout.shape)) for name in tensors)
