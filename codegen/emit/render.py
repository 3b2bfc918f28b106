"""Plan -> text of the kernels.  Templates get a finished plan and do no arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, NoReturn

import jinja2

from codegen.emit import expressions
from codegen.emit.literals import c_string, hexfloat, table_rows
from codegen.plan.plan import Kernel, Plan

TILED = (
    "conv.cl.jinja",
    "depthwise.cl.jinja",
    "pointwise.cl.jinja",
    "pool.cl.jinja",
    "stem.cl.jinja",
    "winograd.cl.jinja",
)


@cache
def environment() -> jinja2.Environment:
    """Jinja as all templates expect it: unknown names are errors, block tags leave no lines behind."""
    env = jinja2.Environment(
        loader=jinja2.PackageLoader("templates", ""),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    env.filters.update({"hexfloat": hexfloat, "c_string": c_string, "rstrip": str.rstrip})
    env.globals.update({**expressions.FUNCTIONS, "fail": _fail})
    return env


def render(template: str, **context: Any) -> str:
    """One template's text, without trailing blanks."""
    text = environment().get_template(template).render(**context)
    return "\n".join(line.rstrip() for line in text.split("\n"))


def render_kernels(plan: Plan, banner: Sequence[str]) -> str:
    """The model's .cl file."""
    kernels = [
        {
            "notes": kernel.notes,
            "text": _kernel_text(kernel, "__constant" if plan.weights is None else "__global"),
            "tables": [
                {"name": name, "count": values.size, "rows": list(table_rows(values))}
                for name, values in kernel.tables.items()
            ],
        }
        for kernel in plan.kernels
    ]
    return render(
        "kernels/program.cl.jinja",
        name=plan.graph.name,
        banner=banner,
        lanes=plan.target.lanes,
        tiled=any(kernel.template in TILED for kernel in plan.kernels),
        wide=bool(plan.target.wide),
        kernels=kernels,
    )


def _kernel_text(kernel: Kernel, weights_space: str) -> str:
    k = {
        **kernel.variables,
        "name": kernel.name,
        "parameters": kernel.parameters,
        "constants": kernel.constants,
        "what": kernel.what,
    }
    return render(f"kernels/{kernel.template}", k=k, weights_space=weights_space)


def _fail(message: str) -> NoReturn:
    raise AssertionError(message)
