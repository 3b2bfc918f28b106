"""Explains why an artefact's weights are larger than the network's parameters."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from codegen.graph.bounded import Array
from codegen.graph.graph import Graph, Node
from codegen.graph.ops import Weighted
from codegen.plan.plan import Plan

FACTOR = 1.5  # weights may take this many times the parameters without a warning
LEAST = 16 * 1024  # floats beyond the parameters that are worth a warning


@dataclass(frozen=True)
class Excess:
    """A layer that stores more floats than its share of the parameters, and the reason."""

    layer: str
    stored: int
    parameters: int
    why: str


def parameters(graph: Graph) -> int:
    """The number of the network's parameters, with each tensor counted once."""
    sizes = {_place(a): a.size for node in graph.nodes for a in node.op.arrays()}
    return sum(sizes.values()) + sum(constant.values.size for constant in graph.constants)


def excess(plan: Plan, unfolded: Graph) -> tuple[Excess, ...]:
    """The layers that make the weights more than FACTOR times the parameters, worst first; none if they do not."""
    weights, allowed = sum(plan.stored.values()), parameters(unfolded)
    if weights <= FACTOR * allowed or weights - allowed < LEAST:
        return ()
    readers = Counter(_place(n.op.weight) for n in unfolded.nodes if isinstance(n.op, Weighted))
    found = []
    for launch in plan.graph.nodes:
        stored, own = plan.stored.get(launch.name, 0), sum(a.size for a in launch.op.arrays())
        origin = _with_weights(unfolded, launch.name)
        layers = 1 if origin is None else readers[_place(origin.op.weight)]  # type: ignore[attr-defined]
        name = launch.name.split("/")[0]
        if layers > 1 and stored:
            why = f"as the tensor is that of {layers} layers, but what is folded into this copy is this layer's own"
            found.append(Excess(name, stored, own // layers, why))
        elif stored > FACTOR * own:
            why = f"as channels are filled up to vectors of {plan.target.lanes}"
            found.append(Excess(name, stored, own, why))
    return tuple(sorted(found, key=lambda e: e.parameters - e.stored))


def _with_weights(graph: Graph, name: str) -> Node | None:
    """The layer with weights that computes a tensor, perhaps followed by elementwise maps."""
    node = graph.by_name.get(name)
    while node is not None and not isinstance(node.op, Weighted):
        node = graph.by_name.get(node.inputs[0])
    return node


def _place(array: Array) -> tuple[int, int]:
    """The address of an array: layers that name the same tensor share its array."""
    return array.__array_interface__["data"][0], array.size


def describe_excess(plan: Plan, unfolded: Graph, most: int) -> str:
    """The result of :func:`excess` as text, with at most so many layers, several per line; "" if there is none."""
    found, stored, given = excess(plan, unfolded), sum(plan.stored.values()), parameters(unfolded)
    if not found:
        return ""
    each = plan.target.dtype.bytes
    layers = [f"layer {e.layer!r} {each * e.stored} bytes for {each * e.parameters}, {e.why}" for e in found[:most]]
    if len(found) > most:
        layers.append(f"and {len(found) - most} more")
    times = f"{stored / given:.1f} times the network's parameters of {each * given} bytes" if given else "and has none"
    listed = f" {'; '.join(layers)}" if most == 1 else "".join(f"\n    {layer}" for layer in layers)
    return f"the artefact stores {each * stored} bytes of weights, {times}:{listed}"
