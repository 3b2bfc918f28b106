"""Plan -> the source files of the plain C backend: kernels and host in one file that needs the C library alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from codegen.emit.dialect import C99
from codegen.emit.ports import C_TYPES
from codegen.emit.render import network_buffers, render, render_kernels
from codegen.plan.layout import up
from codegen.plan.plan import Plan
from codegen.plan.target import ALIGNMENT_BYTES

INSTANCE_BYTES = 1024  # the most that the struct of the instance takes, on any processor
MOST_THREADS = 64
THREADS_BYTES = 8192  # the most that it takes in addition for so many threads


def plain_c_files(plan: Plan, banner: Sequence[str], model: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The templates' data with what this backend adds to ``model``, and the source files, which carry the banner."""
    assert plan.persistent, "work-items of a group would have to run together"
    context = {**model, **_context(plan, model)}
    name = model["name"]
    versions = [f"{name}_{version.name}.c" for version in model["versions"]]
    weights = [f"{model['network']}_weights.c"] if model["weights"] else []
    context["own_sources"] = [f"{name}.c", *versions, *weights]
    return context, {
        f"{name}.h": render("host/c/model.h.jinja", model=context),
        f"{name}.c": render("host/c/model.c.jinja", model=context),
        **{
            f"{name}_{version.name}.c": render("host/c/version.c.jinja", model=context, version=version)
            for version in model["versions"]
        },
        **({f"{name}_check.c": render("host/c/check.c.jinja", model=context)} if model["check"] else {}),
    }


def _context(plan: Plan, model: Mapping[str, Any]) -> dict[str, Any]:
    memory: list[dict[str, Any]] = [
        {"name": name, "type": "float", "bytes": count}
        for name, count in (
            ("arena", plan.arena_bytes),
            ("prepared", plan.prepared_bytes),
            ("zeros", plan.target.dtype.bytes * plan.zeros),
        )
        if count
    ]
    for direction, ports in (("input", model["inputs"]), ("output", model["outputs"])):
        memory += [
            {"name": f"{direction}_{port['name']}", "type": C_TYPES[port["type"]], "bytes": port["bytes"]}
            for port in ports
        ]
    return {
        "kernels_text": render_kernels(plan, [], C99, model["name"], versions=model["versions"]).strip(),
        "network_buffers": [{"kind": b.kind, "index": b.index} for b in network_buffers(plan)],
        "memory": memory,
        "memory_bytes": INSTANCE_BYTES + sum(up(array["bytes"], ALIGNMENT_BYTES) + ALIGNMENT_BYTES for array in memory),
        "most_threads": MOST_THREADS,
        "threads_bytes": THREADS_BYTES,
        "alignment": ALIGNMENT_BYTES,
        "lanes": plan.target.lanes,
        "traced": _traced(plan),
        "most_axes": max(len(plan.places[launch.writes].layout.shape) for launch in plan.launches),
    }


def _traced(plan: Plan) -> list[dict[str, Any]]:
    """The place of each launch's output, for applications that look at it."""
    buffers = [(b.kind, b.index) for b in network_buffers(plan)]
    traced = []
    for launch in plan.launches:
        place = plan.places[launch.writes]
        traced.append(
            {
                "name": launch.node,
                "title": launch.title,
                "buffer": buffers.index((place.buffer, place.index)),
                "offset": place.offset,
                "shape": place.layout.shape,
                "strides": place.layout.strides,
                "block": place.layout.block,
                "element": place.layout.dtype.bytes,
            }
        )
    return traced
