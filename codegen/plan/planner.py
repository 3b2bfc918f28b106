"""Graph of launches + target -> Plan: layouts, then schedules, then memory, then names."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from codegen.graph.graph import Constant, Graph, Node
from codegen.graph.ops import (
    Concat,
    Conv,
    Convert,
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
    RunningSum,
    Select,
    Softmax,
    Take,
    TakeChannels,
    Top,
    Transpose,
)
from codegen.passes.edges import WIDE_INPUT, is_image_of_input, written
from codegen.passes.moves import Move
from codegen.plan.blob import ALIGNMENT, Blob, Constants, digest, follow_each_other, packed
from codegen.plan.layout import Layout, blocked, channels_last, plain, up
from codegen.plan.memory import Lifetime, assign
from codegen.plan.names import Names
from codegen.plan.plan import Argument, Draft, Floats, Kernel, Launch, Parameter, Place, Plan, Preparation
from codegen.plan.schedules import channels, convolution, dense, general, moves, rows, sample
from codegen.plan.schedules.launch import LaunchSketch
from codegen.plan.target import TABLE_BYTES, Target


def plan(
    graph: Graph,
    target: Target,
    notes: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
    choices: Mapping[str, str] = MappingProxyType({}),
) -> Plan:
    """Decides everything that the templates print.

    ``notes`` are lines about a launch for people; ``choices`` are schedules by the launch's name, for those that should
    not be what estimates say.
    """
    homes = _homes(graph, target)
    layouts = {name: home.layout for name, home in homes.items()}
    drafts: list[Draft] = []
    constants, stored = Constants(), {}
    for node in graph.nodes:
        if not homes[node.name].computed_elsewhere:
            sketch, before = LaunchSketch(node, target, layouts), constants.floats
            drafts += (_with_known(draft, constants) for draft in _schedule(sketch, choices.get(node.name)))
            stored[node.name] = constants.floats - before
            homes |= {name: _Home(name, "arena", 0, 0, layout) for name, layout in sketch.scratch.items()}
    offsets, arena, separate = _share_memory(homes, drafts)
    places = {
        name: Place(home.buffer, home.index, offsets.get(home.root, 0) + home.offset, home.layout)
        for name, home in homes.items()
    }
    outputs = tuple(places[output.value] for output in graph.outputs)
    weights_bytes = 4 * sum(a.size for d in drafts for a in d.parameters.values())
    if weights_bytes <= TABLE_BYTES and not graph.constants and not any(d.prepared for d in drafts):
        baked = _with_tables(graph.name, drafts, places, notes)
    else:
        baked = _with_blob(graph, drafts, places, notes)
    return Plan(
        graph=graph,
        target=target,
        places=places,
        outputs=outputs,
        kernels=baked.kernels,
        preparations=baked.preparations,
        launches=baked.launches,
        prepared_floats=baked.prepared_floats,
        arena_floats=arena,
        separate_floats=separate,
        weights=baked.weights,
        zeros=max((d.zeros for d in drafts), default=0),
        stored=stored,
    )


def _with_known(draft: Draft, constants: Constants) -> Draft:
    """The draft with known arrays in place of equal constants: layers may name the same tensor, however large."""
    parameters = {k: constants.shared(values) for k, values in draft.parameters.items()}
    prepared = draft.prepared
    if prepared is not None:
        prepared = replace(prepared, weight=constants.shared(prepared.weight))
    return replace(draft, parameters=parameters, prepared=prepared)


@dataclass(frozen=True)
class Alternatives:
    """The schedules that a convolution can have, first the one it has unless another is chosen.

    ``work`` is the same for convolutions that differ in their numbers only.
    """

    work: str
    schedules: tuple[str, ...]


def alternatives(graph: Graph, target: Target) -> dict[str, Alternatives]:
    """What can be chosen for each convolution, by the launch's name, in order of computation."""
    homes = _homes(graph, target)
    layouts = {name: home.layout for name, home in homes.items()}
    sketches = [
        LaunchSketch(node, target, layouts)
        for node in graph.nodes
        if isinstance(_core(node), Conv) and not homes[node.name].computed_elsewhere
    ]
    return {s.node.name: Alternatives(convolution.work(s), convolution.names(s)) for s in sketches}


def _schedule(s: LaunchSketch, choice: str | None) -> Sequence[Draft]:
    if isinstance(s.core, Conv):
        return convolution.plan_convolution(s, choice)
    if isinstance(s.core, Identity) and len(s.y.shape) > 4:
        return [moves.plan_reorder(s)]  # broadcasting over more axes than rows have
    return [_SCHEDULES[type(s.core)](s)]


_PLAIN = (MatMul, Reduce, Reshape, RunningSum, Softmax, Top)
"""Operators whose kernels do not write the padding lanes of channel blocks: what they make is row-major."""

_SCHEDULES: Mapping[type[Op], Callable[[LaunchSketch], Draft]] = {
    Convert: moves.plan_convert,
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
    RunningSum: moves.plan_running_sum,
    Select: moves.plan_reorder,
    Take: moves.plan_reorder,
    TakeChannels: channels.plan_take_channels,
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
    blob = Blob()
    for constant in graph.constants:
        layout = _constant_layout(graph, constant, target)
        (at,) = blob.place([packed(constant.values, layout)])
        homes[constant.name] = _Home(constant.name, "weights", 0, at, layout)
    outputs = _output_homes(graph)
    joined = _concatenations(graph, target, outputs)
    for node in graph.nodes:
        shape = graph.shapes[node.name]
        if node.name in outputs:
            homes[node.name] = outputs[node.name]
        elif node.name in joined.slices:
            whole, start = joined.slices[node.name]
            around = blocked(graph.shapes[whole], target.lanes)
            layout = Layout(shape, around.strides, target.lanes)
            offset = start // target.lanes * around.strides[1]
            homes[node.name] = _Home(whole, "arena", 0, offset, layout, node.name in joined.made)
        elif node.name in joined.made:
            homes[node.name] = _Home(node.name, "arena", 0, 0, blocked(shape, target.lanes), computed_elsewhere=True)
        elif (view := _view(graph, node, homes)) is not None:
            source = homes[node.inputs[0]]
            homes[node.name] = _Home(source.root, source.buffer, source.index, source.offset, view, True)
        else:
            layout = blocked(shape, target.lanes) if _prefers_blocks(graph, node) else plain(shape)
            homes[node.name] = _Home(node.name, "arena", 0, 0, layout)
    return homes


def _output_homes(graph: Graph) -> dict[str, _Home]:
    """Outputs, and what becomes an output by moves alone, which is written in the output's order."""
    homes = {}
    for k, output in enumerate(graph.outputs):
        made = written(graph, output)
        assert made is not None, "a copy was to be made"
        shape = graph.shapes[made.launch]
        layout = channels_last(shape) if made.channels_last else plain(shape)
        homes[made.launch] = _Home(made.launch, "output", k, 0, layout)
        for name, strides in made.views.items():
            homes[name] = _Home(made.launch, "output", k, 0, Layout(graph.shapes[name], strides), True)
    return homes


def _constant_layout(graph: Graph, constant: Constant, target: Target) -> Layout:
    """Channel blocks where these take no padding lanes and a reader has its tensors in blocks."""
    shape, readers = constant.values.shape, graph.consumers.get(constant.name, ())
    images = len(shape) in (3, 4) and shape[1] % target.lanes == 0
    if images and any(not isinstance(_core(reader), _PLAIN) for reader in readers):
        return blocked(shape, target.lanes)
    return plain(shape)


def _core(node: Node) -> Op:
    assert isinstance(node.op, Fused)
    return node.op.core


def _prefers_blocks(graph: Graph, node: Node) -> bool:
    """Images lie in channel blocks, unless they only come from or go to where order is row-major."""
    if len(graph.shapes[node.name]) not in (3, 4) or isinstance(_core(node), _PLAIN):
        return False
    if isinstance(_core(node), Convert) and graph.shapes[node.name][1] < WIDE_INPUT:
        return False
    readers = graph.consumers[node.name]
    return not all(isinstance(_core(reader), Reshape) or is_image_of_input(graph, reader) for reader in readers)


def _view(graph: Graph, node: Node, homes: Mapping[str, _Home]) -> Layout | None:
    """The layout of a moved tensor over the same memory, if there is one that its readers can read."""
    source, shape, core = homes[node.inputs[0]].layout, graph.shapes[node.name], _core(node)
    if is_image_of_input(graph, node):
        return channels_last(shape)
    if not isinstance(core, Reshape):
        return None
    if source.contiguous:
        return plain(shape)
    before = source.shape
    if shape[:2] == before[:2] and {len(before), len(shape)} <= {3, 4}:
        space = Move.reshape(before[2:], shape[2:])
        strides = None if space is None else space.strides(source.strides[2:])
        return None if strides is None else Layout(shape, (*source.strides[:2], *strides), source.block)
    if source.block == 1 or shape[:1] != before[:1]:
        return None
    one_pixel = len(shape) == 2 and all(n == 1 for n in before[2:])
    if one_pixel and (source.strides[1] == source.block or source.blocks == 1):
        # The channels of a block, and the blocks, follow each other.
        return Layout(shape, (source.strides[0], 1))
    return None


@dataclass(frozen=True)
class _Concatenations:
    """Tensors that lie within a concatenation, with its name and their first channel there; what needs no launch."""

    slices: Mapping[str, tuple[str, int]]
    made: frozenset[str]


def _concatenations(graph: Graph, target: Target, outputs: Container[str]) -> _Concatenations:
    """Inputs of a concatenation are computed in their place in it, concatenations within larger ones too.

    From the largest one on: where each step appends to all before it, all lie in the last one, and are views of it.
    """
    slices: dict[str, tuple[str, int]] = {}
    made = set()

    def placeable(name: str, width: int, last: bool) -> bool:
        return (
            name in graph.by_name
            and name not in slices
            and name not in outputs
            and (last or width % target.lanes == 0)
            and not isinstance(_core(graph.by_name[name]), _PLAIN)
        )

    def joins_blocks(node: Node) -> bool:
        core = _core(node)
        if not isinstance(core, Concat) or core.axis != 1 or len(graph.shapes[node.name]) not in (3, 4):
            return False
        return node.name not in outputs and _prefers_blocks(graph, node)

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
        for name in (*draft.reads, *([draft.scratch] if draft.scratch else []), draft.writes):
            if homes[name].buffer == "arena":
                root = homes[name].root
                first, _ = spans.get(root, (index, index))
                spans[root] = (first, index)
    lifetimes = [Lifetime(root, homes[root].layout.span, first, last) for root, (first, last) in spans.items()]
    offsets, total = assign(lifetimes, ALIGNMENT)
    return offsets, total, sum(up(b.size, ALIGNMENT) for b in lifetimes)


# Kernels -------------------------------------------------------------------------------------------------------------


SHARED_TABLE = 64  # numbers of a table that is worth looking up elsewhere


@dataclass(frozen=True)
class _Baked:
    """Kernels and launches with their constants in place."""

    kernels: tuple[Kernel, ...]
    launches: tuple[Launch, ...]
    preparations: tuple[Launch, ...] = ()
    prepared_floats: int = 0
    weights: Floats | None = None


def _with_tables(
    model: str, drafts: list[Draft], places: Mapping[str, Place], notes: Mapping[str, tuple[str, ...]]
) -> _Baked:
    """Constants are __constant tables, large ones printed once; a kernel with tables belongs to one launch."""
    names = Names(model)
    kernels: dict[str, Kernel] = {}
    shared: dict[str, str] = {}
    printed: dict[bytes, str] = {}
    launches = []
    for draft in drafts:
        key = _key(draft)
        if draft.parameters or key not in shared:
            name = names.new(draft.node if draft.parameters else draft.label, tuple(draft.parameters))
            constants = {k: f"{name}_{k}" for k in draft.parameters}
            for k, values in draft.parameters.items():
                if values.size >= SHARED_TABLE:
                    constants[k] = printed.setdefault(digest(values), constants[k])
            tables = {f"{name}_{k}": v for k, v in draft.parameters.items() if constants[k] == f"{name}_{k}"}
            kernels[name] = _kernel(name, draft, constants, tables, draft.sizes, notes.get(draft.node, ()))
            shared[key] = name
        launches.append(_launch(draft, kernels[shared[key]], places, {}, draft.sizes, notes))
    return _Baked(tuple(kernels.values()), tuple(launches))


def _with_blob(
    graph: Graph, drafts: list[Draft], places: Mapping[str, Place], notes: Mapping[str, tuple[str, ...]]
) -> _Baked:
    """Constants are one aligned array; launches of equal shape share a kernel and pass where theirs begin.

    The tensors that are constants come first, in the order that their places have.
    """
    names = Names(graph.name)
    kernels: dict[str, Kernel] = {}
    preparations: list[Launch] = []
    prepared_at: dict[str, int] = {}
    launches, blob, prepared = [], Blob(), 0
    for constant in graph.constants:
        (start,) = blob.place([packed(constant.values, places[constant.name].layout)])
        assert start == places[constant.name].offset
    for draft in drafts:
        sizes, starts, constants = dict(draft.sizes), {"weights": blob.at}, {}
        if draft.prepared:
            (start,) = blob.place([draft.prepared.weight])
            launch = _preparation(draft, draft.prepared, names, kernels, start, prepared)
            made = repr((launch.kernel, start, draft.prepared.sizes))
            if made not in prepared_at:
                preparations.append(launch)
                prepared_at[made] = prepared
                prepared += up(draft.prepared.floats, ALIGNMENT)
            constants["weight"] = "u"
            starts["prepared"] = prepared_at[made]
        found = blob.place(list(draft.parameters.values()))
        # Where a tensor is that other launches have, too, is no number that kernels can share.
        told = bool(draft.sizes) or not follow_each_other(found, list(draft.parameters.values()))
        for k, start in zip(draft.parameters, found, strict=True):
            starts["weights"] = found[0]
            offset = start - found[0]
            if offset and told:
                sizes[f"{k}_at"] = offset
            constants[k] = "w" if not offset else f"(w + {k}_at)" if told else f"(w + {offset})"
        key = f"{_key(draft)} {told}"
        if key not in kernels:
            kernels[key] = _kernel(names.new(draft.label), draft, constants, None, sizes, ())
        launches.append(_launch(draft, kernels[key], places, starts, sizes, notes))
    weights = blob.whole()
    return _Baked(tuple(kernels.values()), tuple(launches), tuple(preparations), prepared, weights)


def _preparation(
    draft: Draft, p: Preparation, names: Names, kernels: dict[str, Kernel], weights_at: int, prepared_at: int
) -> Launch:
    key = repr((p.template, sorted(p.variables.items()), sorted(p.sizes)))
    if key not in kernels:
        parameters = (
            Parameter("w", "weights"),
            Parameter("u", "prepare"),
            *(Parameter(name, "size") for name in p.sizes),
        )
        kernels[key] = Kernel(names.new(p.label), p.template, p.variables, parameters, {"weight": "w"}, {}, p.what, ())
    arguments = [Argument("weights"), _number(weights_at), Argument("prepared"), _number(prepared_at)]
    arguments += [_number(value) for value in p.sizes.values()]
    return Launch(draft.node, p.what, kernels[key].name, p.groups, tuple(arguments), (), "", ())


def _key(draft: Draft) -> str:
    """Two drafts with the same key render the same kernel but for its name."""
    # A kernel that is told sizes is also told where its constants are.
    constants = sorted(draft.parameters) if draft.sizes else [(k, v.size) for k, v in draft.parameters.items()]
    variables = sorted(draft.variables.items())
    return repr((draft.template, variables, constants, list(draft.sizes), len(draft.reads), draft.zeros > 0))


def _kernel(
    name: str,
    draft: Draft,
    constants: Mapping[str, str],
    tables: Mapping[str, Floats] | None,
    sizes: Mapping[str, int],
    notes: tuple[str, ...],
) -> Kernel:
    types = [draft.x_type, *["float"] * len(draft.reads)]
    parameters = [Parameter(LaunchSketch.operand_name(k), "read", types[k]) for k in range(len(draft.reads))]
    if draft.parameters and tables is None:
        parameters.append(Parameter("w", "weights"))
    if draft.prepared:
        parameters.append(Parameter("u", "prepared"))
    if draft.zeros:
        parameters.append(Parameter("zeros", "zeros"))
    if draft.scratch:
        parameters.append(Parameter("scratch", "scratch"))
    parameters.append(Parameter("y", "write", draft.y_type))
    parameters += [Parameter(size, "size") for size in sizes]
    return Kernel(name, draft.template, draft.variables, tuple(parameters), constants, tables or {}, draft.title, notes)


def _launch(
    draft: Draft,
    kernel: Kernel,
    places: Mapping[str, Place],
    starts: Mapping[str, int],
    sizes: Mapping[str, int],
    notes: Mapping[str, tuple[str, ...]],
) -> Launch:
    arguments: list[Argument] = []
    reads = iter(draft.reads)
    for parameter in kernel.parameters:
        match parameter.role:
            case "zeros":
                arguments.append(Argument("zeros"))
            case "size":
                arguments.append(_number(sizes[parameter.name]))
            case "weights" | "prepared":
                arguments += [Argument(parameter.role), _number(starts[parameter.role])]
            case _:
                own = draft.scratch if parameter.role == "scratch" else draft.writes
                place = places[next(reads) if parameter.role == "read" else own or ""]
                arguments += [Argument(place.buffer, place.index), _number(place.offset)]
    return Launch(
        draft.node,
        draft.title,
        kernel.name,
        draft.groups,
        tuple(arguments),
        draft.reads,
        draft.writes,
        notes.get(draft.node, ()),
        draft.winograd,
        draft.in_blocks,
    )


def _number(value: int) -> Argument:
    return Argument("number", value=value)
