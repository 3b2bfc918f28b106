"""Builds kernels and launches from drafts, with constants in place: as tables in kernels, or as one array."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from codegen.graph.graph import Graph
from codegen.plan.blob import Blob, digest, packed
from codegen.plan.dtype import DType
from codegen.plan.layout import up
from codegen.plan.names import Names
from codegen.plan.plan import Argument, Draft, Function, Kernel, Launch, Parameter, Place, Preparation, Values
from codegen.plan.schedules.launch import LaunchSketch

SHARED_TABLE = 64  # tables of at least this many numbers are shared between kernels


@dataclass(frozen=True)
class Baked:
    """Kernels and launches with their constants in place."""

    kernels: tuple[Kernel, ...]
    launches: tuple[Launch, ...]
    preparations: tuple[Launch, ...] = ()
    prepared: int = 0
    weights: Values | None = None


def with_tables(
    model: str, drafts: list[Draft], places: Mapping[str, Place], notes: Mapping[str, tuple[str, ...]]
) -> Baked:
    """Prints constants as __constant tables, large ones once; a kernel with tables belongs to one launch.

    Kernels that differ in tables and sizes only call one function.
    """
    names = Names(model)
    kernels: dict[str, Kernel] = {}
    shared: dict[str, str] = {}
    functions: dict[str, Function] = {}
    printed: dict[bytes, str] = {}
    alike = Counter(_key(draft) for draft in drafts if draft.parameters)
    launches = []
    for draft in drafts:
        key = _key(draft)
        sizes = draft.sizes
        if draft.parameters or key not in shared:
            name = names.new(draft.node if draft.parameters else draft.label, tuple(draft.parameters), draft.node)
            constants = {k: f"{name}_{k}" for k in draft.parameters}
            for k, values in draft.parameters.items():
                if values.size >= SHARED_TABLE:
                    constants[k] = printed.setdefault(digest(values), constants[k])
            tables = {f"{name}_{k}": v for k, v in draft.parameters.items() if constants[k] == f"{name}_{k}"}
            calls = None
            if alike[key] > 1:
                if key not in functions:
                    functions[key] = _function(names.new(draft.label, node=draft.node), draft, places)
                calls, sizes = functions[key], {}
            kernel = _kernel(name, draft, places, constants, tables, sizes, notes.get(draft.node, ()))
            kernels[name] = kernel if calls is None else replace(kernel, calls=calls, sizes=draft.sizes)
            shared[key] = name
        launches.append(_launch(draft, kernels[shared[key]], places, {}, sizes, notes))
    return Baked(tuple(kernels.values()), tuple(launches))


def with_blob(
    graph: Graph,
    dtype: DType,
    drafts: list[Draft],
    places: Mapping[str, Place],
    notes: Mapping[str, tuple[str, ...]],
) -> Baked:
    """Stores constants in one aligned array; launches of equal shape share a kernel and pass their offsets.

    Tensors that are constants come first, in the order of their offsets.
    """
    names = Names(graph.name)
    kernels: dict[str, Kernel] = {}
    preparations: list[Launch] = []
    prepared_at: dict[str, int] = {}
    launches, blob, prepared = [], Blob(dtype), 0
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
                prepared += up(draft.prepared.count, blob.alignment)
            constants["weight"] = "u"
            starts["prepared"] = prepared_at[made]
        found = blob.place(list(draft.parameters.values()))
        # The offsets of tensors that several launches share cannot be literals of a shared kernel.
        told = bool(draft.sizes) or not blob.follow_each_other(found, list(draft.parameters.values()))
        for k, start in zip(draft.parameters, found, strict=True):
            starts["weights"] = found[0]
            offset = start - found[0]
            if offset and told:
                sizes[f"{k}_at"] = offset
            constants[k] = "w" if not offset else f"(w + {k}_at)" if told else f"(w + {offset})"
        key = f"{_key(draft)} {told}"
        if key not in kernels:
            kernels[key] = _kernel(names.new(draft.label, node=draft.node), draft, places, constants, None, sizes, ())
        launches.append(_launch(draft, kernels[key], places, starts, sizes, notes))
    weights = blob.whole()
    return Baked(tuple(kernels.values()), tuple(launches), tuple(preparations), prepared, weights)


def _preparation(
    draft: Draft, p: Preparation, names: Names, kernels: dict[str, Kernel], weights_at: int, prepared_at: int
) -> Launch:
    key = repr((p.description, sorted(p.sizes)))
    if key not in kernels:
        parameters = (
            Parameter("w", "weights", p.weight.dtype.name),
            Parameter("u", "prepare", p.weight.dtype.name),
            *(Parameter(name, "size") for name in p.sizes),
        )
        kernels[key] = Kernel(
            names.new(p.label), p.description, parameters, {"weight": "w"}, {}, p.grid.local, p.what, ()
        )
    arguments = [Argument("weights"), _number(weights_at), Argument("prepared"), _number(prepared_at)]
    arguments += [_number(value) for value in p.sizes.values()]
    return Launch(draft.node, p.what, kernels[key].name, p.grid, tuple(arguments), (), "", ())


def _key(draft: Draft) -> str:
    """The identity of a draft: drafts with equal keys render the same kernel except for its name."""
    # If sizes are kernel parameters, so are the offsets of its constants.
    constants = sorted(draft.parameters) if draft.sizes else [(k, v.size) for k, v in draft.parameters.items()]
    return repr((draft.description, draft.grid.local, constants, list(draft.sizes), len(draft.reads), draft.zeros > 0))


def _kernel(
    name: str,
    draft: Draft,
    places: Mapping[str, Place],
    constants: Mapping[str, str],
    tables: Mapping[str, Values] | None,
    sizes: Mapping[str, int],
    notes: tuple[str, ...],
) -> Kernel:
    parameters = [
        Parameter(LaunchSketch.operand_name(k), "read", places[read].layout.dtype.name)
        for k, read in enumerate(draft.reads)
    ]
    if draft.parameters and tables is None:
        parameters.append(Parameter("w", "weights", next(iter(draft.parameters.values())).dtype.name))
    if draft.prepared:
        parameters.append(Parameter("u", "prepared", draft.prepared.weight.dtype.name))
    if draft.zeros:
        parameters.append(Parameter("zeros", "zeros", parameters[0].type))
    if draft.scratch:
        parameters.append(Parameter("scratch", "scratch", places[draft.scratch].layout.dtype.name))
    parameters.append(Parameter("y", "write", places[draft.writes].layout.dtype.name))
    parameters += [Parameter(size, "size") for size in sizes]
    return Kernel(
        name, draft.description, tuple(parameters), constants, tables or {}, draft.grid.local, draft.title, notes
    )


def _function(name: str, draft: Draft, places: Mapping[str, Place]) -> Function:
    kernel = _kernel(name, draft, places, {}, {}, draft.sizes, ())
    tables = tuple(Parameter(k, "table") for k in draft.parameters)
    return Function(name, draft.description, (*kernel.parameters, *tables), draft.title)


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
        draft.grid,
        tuple(arguments),
        draft.reads,
        draft.writes,
        notes.get(draft.node, ()),
        draft.winograd,
        draft.in_blocks,
    )


def _number(value: int) -> Argument:
    return Argument("number", value=value)
