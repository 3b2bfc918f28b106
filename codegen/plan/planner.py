"""Graph of launches + target -> Plan: layouts, then schedules, then memory, then names."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from codegen.graph.graph import Graph, Node
from codegen.graph.ops import (
    Concat,
    Conv,
    ConvTranspose,
    Dense,
    Fused,
    GlobalPool,
    GridSample,
    Identity,
    MatMul,
    Op,
    Pad,
    Pool,
    Reduce,
    Reshape,
    Resize,
    Select,
    Softmax,
    Take,
    Top,
    Transpose,
)
from codegen.plan.layout import Layout, blocked, channels_last, plain
from codegen.plan.memory import Lifetime, assign
from codegen.plan.plan import Argument, Draft, Floats, Kernel, Launch, Parameter, Place, Plan
from codegen.plan.schedules import conv, dense, depthwise, general, moves, rows, sample
from codegen.plan.schedules.launch import LaunchSketch
from codegen.plan.target import ALIGNMENT_BYTES, TABLE_BYTES, Target

ALIGNMENT = ALIGNMENT_BYTES // 4


def plan(graph: Graph, target: Target, notes: Mapping[str, tuple[str, ...]] = MappingProxyType({})) -> Plan:
    """Decides everything that the templates print; ``notes`` are lines about a launch for people."""
    homes = _homes(graph, target)
    layouts = {name: home.layout for name, home in homes.items()}
    drafts = [
        _schedule(LaunchSketch(node, target, layouts))
        for node in graph.nodes
        if not homes[node.name].computed_elsewhere
    ]
    offsets, arena, separate = _share_memory(homes, drafts)
    places = {
        name: Place(home.buffer, home.index, offsets.get(home.root, 0) + home.offset, home.layout)
        for name, home in homes.items()
    }
    outputs = tuple(places[output.value] for output in graph.outputs)
    weights_bytes = 4 * sum(a.size for d in drafts for a in d.parameters.values())
    if weights_bytes <= TABLE_BYTES:
        kernels, launches, weights = *_with_tables(graph.name, drafts, places, notes), None
    else:
        kernels, launches, weights = _with_blob(graph.name, drafts, places, notes)
    zeros = max((d.zeros for d in drafts), default=0)
    return Plan(graph, target, places, outputs, kernels, launches, arena, separate, weights, zeros)


def _schedule(s: LaunchSketch) -> Draft:
    core = s.core
    if isinstance(core, Conv):
        if len(core.kernel) > 2:
            return general.plan_grouped(s)
        if conv.tiled(core, s.target):
            return conv.plan_tiled(s)
        if core.depthwise:
            return depthwise.plan_depthwise(s)
        return general.plan_grouped(s)
    if isinstance(core, Identity) and len(s.y.shape) > 4:
        return moves.plan_reorder(s)  # broadcasting over more axes than rows have
    return _SCHEDULES[type(core)](s)


_SCHEDULES: Mapping[type[Op], Callable[[LaunchSketch], Draft]] = {
    ConvTranspose: general.plan_transposed,
    Dense: dense.plan_dense,
    Pool: rows.plan_pool,
    GlobalPool: rows.plan_global_pool,
    Resize: rows.plan_resize,
    GridSample: sample.plan_sample,
    Identity: rows.plan_map,
    Concat: moves.plan_concat,
    Softmax: moves.plan_softmax,
    Transpose: moves.plan_reorder,
    MatMul: moves.plan_matmul,
    Pad: moves.plan_reorder,
    Reduce: moves.plan_reduce,
    Select: moves.plan_reorder,
    Take: moves.plan_reorder,
    Top: moves.plan_top,
    Reshape: moves.plan_reorder,
}


# Layouts -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Home:
    """Where a tensor will live.  ``root`` names the tensor whose memory it is in, ``offset`` floats from its start."""

    root: str
    buffer: str
    index: int
    offset: int
    layout: Layout
    computed_elsewhere: bool = False


def _homes(graph: Graph, target: Target) -> dict[str, _Home]:
    homes: dict[str, _Home] = {}
    for k, i in enumerate(graph.inputs):
        homes[i.name] = _Home(i.name, "input", k, 0, channels_last(i.shape) if i.channels_last else plain(i.shape))
    outputs = {output.value: (k, output.channels_last) for k, output in enumerate(graph.outputs)}
    joined = _concatenations(graph, target)
    for node in graph.nodes:
        shape = graph.shapes[node.name]
        if node.name in outputs:
            k, last = outputs[node.name]
            homes[node.name] = _Home(node.name, "output", k, 0, channels_last(shape) if last else plain(shape))
        elif node.name in joined.slices:
            whole, start = joined.slices[node.name]
            around = blocked(graph.shapes[whole], target.lanes)
            layout = Layout(shape, around.strides, target.lanes)
            offset = start // target.lanes * around.strides[1]
            homes[node.name] = _Home(whole, "arena", 0, offset, layout, node.name in joined.made)
        elif node.name in joined.made:
            homes[node.name] = _Home(node.name, "arena", 0, 0, blocked(shape, target.lanes), computed_elsewhere=True)
        elif (view := _reshaped_view(node, homes, shape)) is not None:
            source = homes[node.inputs[0]]
            homes[node.name] = _Home(source.root, source.buffer, source.index, source.offset, view, True)
        else:
            layout = blocked(shape, target.lanes) if _prefers_blocks(graph, node) else plain(shape)
            homes[node.name] = _Home(node.name, "arena", 0, 0, layout)
    return homes


def _core(node: Node) -> Op:
    assert isinstance(node.op, Fused)
    return node.op.core


def _prefers_blocks(graph: Graph, node: Node) -> bool:
    """Images lie in channel blocks, unless they only come from or go to where order is row-major."""
    if len(graph.shapes[node.name]) not in (3, 4) or isinstance(_core(node), MatMul | Reduce | Reshape | Softmax | Top):
        return False
    return not all(isinstance(_core(c), Reshape) for c in graph.consumers[node.name])


def _reshaped_view(node: Node, homes: Mapping[str, _Home], shape: tuple[int, ...]) -> Layout | None:
    """The layout of a reshaped tensor over the same memory, if there is one."""
    if not isinstance(_core(node), Reshape):
        return None
    source = homes[node.inputs[0]].layout
    if source.contiguous:
        return plain(shape)
    before = source.shape
    one_pixel = len(shape) == 2 and shape[0] == before[0] and all(n == 1 for n in before[2:])
    if one_pixel and source.block > 1 and (source.strides[1] == source.block or source.blocks == 1):
        # The channels of a block, and the blocks, follow each other.
        return Layout(shape, (source.strides[0], 1))
    return None


@dataclass(frozen=True)
class _Concatenations:
    """Tensors that lie within a concatenation, with its name and their first channel there; what needs no launch."""

    slices: Mapping[str, tuple[str, int]]
    made: frozenset[str]


def _concatenations(graph: Graph, target: Target) -> _Concatenations:
    """Inputs of a concatenation are computed in their place in it, concatenations within larger ones too.

    From the largest one on: where each step appends to all before it, all lie in the last one, and are views of it.
    """
    slices: dict[str, tuple[str, int]] = {}
    made = set()

    def placeable(name: str, width: int, last: bool) -> bool:
        return (
            name in graph.by_name
            and name not in slices
            and name not in graph.results
            and (last or width % target.lanes == 0)
            and not isinstance(_core(graph.by_name[name]), MatMul | Reduce | Reshape | Softmax | Top)
        )

    def joins_blocks(node: Node) -> bool:
        core = _core(node)
        if not isinstance(core, Concat) or core.axis != 1 or len(graph.shapes[node.name]) not in (3, 4):
            return False
        return node.name not in graph.results and _prefers_blocks(graph, node)

    for node in sorted(filter(joins_blocks, graph.nodes), key=lambda n: graph.shapes[n.name][1], reverse=True):
        names = node.inputs
        widths = [graph.shapes[name][1] for name in names]
        starts = [0, *itertools.accumulate(widths)]
        whole, start = slices.get(node.name, (node.name, 0))
        if len(set(names)) == len(names) and all(
            placeable(name, width, name == names[-1]) for name, width in zip(names, widths, strict=True)
        ):
            slices.update({name: (whole, start + s) for name, s in zip(names, starts, strict=False)})
            made.add(node.name)
        elif node.name not in slices and names[0] in slices:
            whole, start = slices[names[0]]
            if all(slices.get(name) == (whole, start + s) for name, s in zip(names, starts, strict=False)):
                slices[node.name] = (whole, start)
                made.add(node.name)
    return _Concatenations(slices, frozenset(made))


# Memory --------------------------------------------------------------------------------------------------------------


def _share_memory(homes: Mapping[str, _Home], drafts: list[Draft]) -> tuple[Mapping[str, int], int, int]:
    """Offsets of the arena's tensors, its size, and what the size were if nothing were shared (floats)."""
    spans: dict[str, tuple[int, int]] = {}
    for index, draft in enumerate(drafts):
        for name in (*draft.reads, draft.writes):
            if homes[name].buffer == "arena":
                root = homes[name].root
                first, _ = spans.get(root, (index, index))
                spans[root] = (first, index)
    lifetimes = [Lifetime(root, homes[root].layout.span, first, last) for root, (first, last) in spans.items()]
    offsets, total = assign(lifetimes, ALIGNMENT)
    return offsets, total, sum(_up(b.size, ALIGNMENT) for b in lifetimes)


# Kernels -------------------------------------------------------------------------------------------------------------


def _with_tables(
    model: str, drafts: list[Draft], places: Mapping[str, Place], notes: Mapping[str, tuple[str, ...]]
) -> tuple[tuple[Kernel, ...], tuple[Launch, ...]]:
    """Constants are __constant tables; a kernel belongs to one launch."""
    names = _Names(model)
    kernels: dict[str, Kernel] = {}
    shared: dict[str, str] = {}
    launches = []
    for draft in drafts:
        key = _key(draft)
        if draft.parameters or key not in shared:
            name = names.new(draft.node if draft.parameters else draft.label, tuple(draft.parameters))
            tables = {f"{name}_{k}": v for k, v in draft.parameters.items()}
            constants = {k: f"{name}_{k}" for k in draft.parameters}
            kernels[name] = _kernel(name, draft, constants, tables, notes.get(draft.node, ()))
            shared[key] = name
        launches.append(_launch(draft, kernels[shared[key]], places, 0, notes))
    return tuple(kernels.values()), tuple(launches)


def _with_blob(
    model: str, drafts: list[Draft], places: Mapping[str, Place], notes: Mapping[str, tuple[str, ...]]
) -> tuple[tuple[Kernel, ...], tuple[Launch, ...], Floats]:
    """Constants are one aligned array; launches of equal shape share a kernel and pass where theirs begin."""
    names = _Names(model)
    kernels: dict[str, Kernel] = {}
    launches, blob, at = [], [], 0
    for draft in drafts:
        constants, start = {}, 0
        for k, values in draft.parameters.items():
            constants[k] = f"(w + {start})" if start else "w"
            filled = np.zeros(_up(values.size, 16), dtype=np.float32)
            filled[: values.size] = values
            blob.append(filled)
            start += filled.size
        filling = _up(start, ALIGNMENT) - start
        blob.append(np.zeros(filling, dtype=np.float32))
        key = _key(draft)
        if key not in kernels:
            kernels[key] = _kernel(names.new(draft.label), draft, constants, {}, ())
        launches.append(_launch(draft, kernels[key], places, at, notes))
        at += start + filling
    return tuple(kernels.values()), tuple(launches), np.concatenate(blob)


def _key(draft: Draft) -> str:
    """Two drafts with the same key render the same kernel but for its name."""
    sizes = [(k, v.size) for k, v in draft.parameters.items()]
    return repr((draft.template, sorted(draft.variables.items()), sizes, len(draft.reads), draft.zeros > 0))


def _kernel(
    name: str, draft: Draft, constants: Mapping[str, str], tables: Mapping[str, Floats], notes: tuple[str, ...]
) -> Kernel:
    parameters = [Parameter(LaunchSketch.operand_name(k), "read") for k in range(len(draft.reads))]
    if constants and not tables:
        parameters.append(Parameter("w", "weights"))
    if draft.zeros:
        parameters.append(Parameter("zeros", "zeros"))
    parameters.append(Parameter("y", "write"))
    return Kernel(name, draft.template, draft.variables, tuple(parameters), constants, tables, draft.title, notes)


def _launch(
    draft: Draft, kernel: Kernel, places: Mapping[str, Place], weights_at: int, notes: Mapping[str, tuple[str, ...]]
) -> Launch:
    arguments: list[Argument] = []
    reads = iter(draft.reads)
    for parameter in kernel.parameters:
        if parameter.role == "zeros":
            arguments.append(Argument("zeros"))
            continue
        if parameter.role == "weights":
            arguments += [Argument("weights"), Argument("offset", value=weights_at)]
            continue
        place = places[next(reads) if parameter.role == "read" else draft.writes]
        arguments += [Argument(place.buffer, place.index), Argument("offset", value=place.offset)]
    return Launch(
        draft.node,
        draft.title,
        kernel.name,
        draft.groups,
        tuple(arguments),
        draft.reads,
        draft.writes,
        notes.get(draft.node, ()),
    )


class _Names:
    """C identifiers with the model's prefix, each once."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.taken: set[str] = set()

    def new(self, text: str, suffixes: tuple[str, ...] = ()) -> str:
        """A free name that is also free with each of the suffixes."""
        name = f"{self.model}_" + re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_")
        for k in itertools.count(2):
            family = {n.lower() for n in (name, *(f"{name}_{suffix}" for suffix in suffixes))}
            if not family & self.taken:
                self.taken |= family
                break
            name = re.sub(r"(_v\d+)?$", f"_v{k}", name, count=1)
        return name


def _up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
