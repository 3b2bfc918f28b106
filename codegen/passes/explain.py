"""Reports where every BatchNorm was computed, in words and numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from codegen.graph.graph import Graph
from codegen.graph.ops import BatchNorm
from codegen.passes.fold import Folded
from codegen.passes.fuse import LaunchRole


@dataclass(frozen=True)
class Placement:
    """A place where a BatchNorm is computed.

    ``how`` is "weights", "epilogue", "prologue" or "launch"; ``where`` is the layer, ``launch`` the layer's launch.
    ``growth`` is max|W'|/max|W|, ``subnormal`` counts folded weights below the normal range of float32; both are None
    where weights are not touched.
    """

    how: str
    where: str
    launch: str
    detail: str
    growth: float | None = None
    subnormal: int | None = None


@dataclass(frozen=True)
class BatchNormReport:
    """The places of a BatchNorm, and the numbers that matter for its accuracy."""

    name: str
    channels: int
    epsilon: float
    smallest_variance: float  # var + epsilon
    dead: int  # channels with gamma = 0
    placements: tuple[Placement, ...]


@dataclass(frozen=True)
class Report:
    """The reports of all BatchNorms of the network, in order."""

    batch_norms: tuple[BatchNormReport, ...]

    def as_json(self) -> list[dict[str, Any]]:
        return [asdict(b) for b in self.batch_norms]

    def notes(self) -> dict[str, tuple[str, ...]]:
        """One line for every BatchNorm that is part of a launch, by launch."""
        lines: dict[str, list[str]] = {}
        for b in self.batch_norms:
            for p in b.placements:
                formula = f"gamma / sqrt(var + {b.epsilon:g})"
                what = f"folded into the weights: W' = {formula} W" if p.how == "weights" else f"in the {p.how}"
                lines.setdefault(p.launch, []).append(f"batch norm {b.name} {what}")
        return {launch: tuple(dict.fromkeys(notes)) for launch, notes in lines.items()}

    @property
    def launches(self) -> int:
        """The number of BatchNorms that have a launch of their own."""
        return sum(any(p.how == "launch" for p in b.placements) for b in self.batch_norms)


def report(graph: Graph, folded: Folded, roles: Mapping[str, tuple[LaunchRole, ...]]) -> Report:
    """Combines the results of folding and fusing into one report."""
    entries = []
    for node in graph.nodes:
        if not isinstance(node.op, BatchNorm):
            continue
        placements = [
            Placement("weights", f.target, role.launch, f"scales the {f.side}", f.growth, f.subnormal)
            for f in folded.folds.get(node.name, ())
            for role in roles.get(f.node, ())
        ]
        for affine, members in folded.waiting.items():
            if node.name in members:
                placements += [
                    Placement(r.role, r.launch, r.launch, r.why or "the launch that computes its input")
                    for r in roles.get(affine, ())
                ]
        entries.append(
            BatchNormReport(
                name=node.name,
                channels=len(node.op.gamma),
                epsilon=node.op.epsilon,
                smallest_variance=float(np.min(node.op.variance + node.op.epsilon)),
                dead=int(np.count_nonzero(node.op.gamma == 0)),
                placements=tuple(placements),
            )
        )
    return Report(tuple(entries))


def format_report(entries: Report) -> str:
    """The report as a table for people."""
    lines = []
    for b in entries.batch_norms:
        dead = f", {b.dead} dead" if b.dead else ""
        lines.append(
            f"{b.name}: {b.channels} channels{dead}, epsilon {b.epsilon:g}, smallest var+eps {b.smallest_variance:.3g}"
        )
        for p in b.placements:
            numbers = "" if p.growth is None else f"; max|W'|/max|W| = {p.growth:.3g}, {p.subnormal} subnormal"
            lines.append(f"    {p.how} of {p.where}: {p.detail}{numbers}")
        if not b.placements:
            lines.append("    nowhere: nothing needs its output")
    count = len(entries.batch_norms)
    lines.append(f"{count} batch norms, {entries.launches} with a launch of their own")
    return "\n".join(lines)
