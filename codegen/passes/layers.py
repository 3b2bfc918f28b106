"""The layers of the network that each launch computes, for comments in the generated code."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from codegen.graph.graph import Graph
from codegen.passes.fold import Folded
from codegen.passes.fuse import LaunchRole


def layers_of_launches(
    unfolded: Graph, launches: Graph, roles: Mapping[str, tuple[LaunchRole, ...]], originals: Mapping[str, str]
) -> dict[str, tuple[str, ...]]:
    """The names of the layers that each launch computes, by launch, in the order of the network.

    A layer is computed by every launch that needs it to get from tensors in memory to its result: a layer that was
    fused or folded away belongs to the launch that does its work, or to several.  ``roles`` are the launches of each
    node of the folded graph; ``originals`` has the names in the network of nodes that the passes renamed.
    """
    before = {name: original for name, original in originals.items() if name not in unfolded.by_name}
    known = launches.shapes.keys() | {before[name] for name in launches.shapes if name in before}
    parts: dict[str, list[str]] = {}
    for name, played in roles.items():
        for role in played:
            parts.setdefault(role.launch, []).append(name)
    order = {layer: k for k, layer in enumerate(dict.fromkeys(layer_of(node.name) for node in unfolded.nodes))}
    computed = {
        launch.name: {
            layer_of(node)
            for part in (launch.name, *parts.get(launch.name, ()))
            for node in (part, *_between(unfolded, before.get(part, part), known))
        }
        for launch in launches.nodes
    }
    # Layers that do nothing may be the last ones before an output.
    for true, made in zip(unfolded.outputs, launches.outputs, strict=True):
        if made.value in computed:
            computed[made.value].update(map(layer_of, _between(unfolded, true.value, known)))
    return {launch: tuple(sorted(found & order.keys(), key=order.__getitem__)) for launch, found in computed.items()}


def originals(renamed: Mapping[str, str], folded: Folded) -> dict[str, str]:
    """The name in the network of each node that simplification (which gives ``renamed``) or folding renamed."""
    before = {new: old for old, new in renamed.items()}
    return before | {name: before.get(target, target) for name, target in folded.targets.items()}


def layer_of(node: str) -> str:
    """The layer that a node is a step or a part of: names of layers contain no slash."""
    return node.partition("/")[0]


def _between(unfolded: Graph, name: str, known: Collection[str]) -> Iterator[str]:
    """The nodes of the network that compute a tensor from ``known`` ones; none if the network has no such tensor."""
    waiting, seen = [name], set()
    while waiting:
        node = unfolded.by_name.get(waiting.pop())
        if node is None or node.name in seen:
            continue
        seen.add(node.name)
        yield node.name
        waiting += [source for source in node.inputs if source not in known]
