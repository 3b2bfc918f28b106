"""Plan -> the source files of the OpenCL backend: kernels, and a host that loads libOpenCL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from codegen.emit import choice
from codegen.emit.comments import describe_launch
from codegen.emit.dialect import OPENCL
from codegen.emit.literals import in_comment
from codegen.emit.render import network_buffers, persistent_arguments, render, render_kernels, table_arguments
from codegen.plan.plan import Plan
from codegen.plan.target import DEVICE_OPTIONS, LINE_BYTES

BUILD_OPTIONS = ""


def opencl_files(plan: Plan, banner: Sequence[str], model: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The templates' data with what this backend adds to ``model``, and the source files."""
    name = model["name"]
    kernels = render_kernels(plan, banner, OPENCL)
    context = {**model, **_context(plan, kernels)}
    return context, {
        f"{name}.h": render("host/model.h.jinja", model=context),
        f"{name}.c": render("host/model.c.jinja", model=context),
        f"{plan.graph.name}.cl": kernels,
    }


def _context(plan: Plan, kernels: str) -> dict[str, Any]:
    by_name = {kernel.name: kernel for kernel in plan.kernels}
    launches = (*plan.preparations, *plan.launches)
    return {
        "device_type": plan.target.device_type,
        "choice": {
            "runtimes": [asdict(runtime) for runtime in choice.RUNTIMES],
            "crashing_macros": choice.CRASHING_MACROS,
            "simulators": choice.SIMULATORS,
            "device_types": dict(choice.DEVICE_TYPES),
            "other_type": choice.OTHER_TYPE,
        },
        "kernels": [k.name for k in plan.kernels],
        "line_bytes": LINE_BYTES,
        "persistent": plan.persistent,
        "persistent_arguments": persistent_arguments(plan),
        "most_arguments": max(len(network_buffers(plan)) + 2, *(len(launch.arguments) for launch in launches)),
        "argument_kinds": {argument.kind for launch in launches for argument in launch.arguments},
        "launches": [
            {
                "what": (*describe_launch(launch, plan), *map(in_comment, launch.notes)),
                "arguments": table_arguments(launch, by_name[launch.kernel]),
                "kernel": launch.kernel,
                "global": list(launch.grid.items),
                "local": list(launch.grid.local),
            }
            for launch in launches
        ],
        "source_lines": kernels.splitlines(),
        "build_options": BUILD_OPTIONS,
        "device_options": [dict(option) for option in DEVICE_OPTIONS],
    }
