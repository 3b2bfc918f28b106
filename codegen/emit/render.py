"""Plan -> text of the kernels.  Templates get a finished plan and do no arithmetic."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import jinja2

from codegen.emit import expressions
from codegen.emit.comments import describe_kernels, describe_launch
from codegen.emit.dialect import OPENCL, Dialect
from codegen.emit.literals import c_string, hexfloat, table_rows
from codegen.plan.dtype import FLOAT32
from codegen.plan.kernels import Reorder
from codegen.plan.layout import plain
from codegen.plan.plan import Argument, Function, Kernel, Launch, Plan
from codegen.plan.target import LINE_BYTES


def _templates() -> Path:
    """The folder of all templates: inside an installed package, beside the package in the repository."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "templates"
    return inside if inside.is_dir() else package.with_name("templates")


@cache
def environment() -> jinja2.Environment:
    """Jinja as all templates expect it: unknown names are errors, block tags leave no lines behind."""
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_templates()),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    env.filters.update({"hexfloat": hexfloat, "c_string": c_string, "rstrip": str.rstrip, "zeroed": _zeroed})
    env.globals.update({**expressions.FUNCTIONS, "fail": _fail, "row_major_layout": plain, "INFINITE": math.inf})
    return env


def render(template: str, **context: Any) -> str:
    """One template's text, without trailing blanks."""
    text = environment().get_template(template).render(**context)
    return "\n".join(line.rstrip() for line in text.split("\n"))


def render_kernels(
    plan: Plan, banner: Sequence[str], dialect: Dialect = OPENCL, host: str = "", versions: Sequence[str] = ()
) -> str:
    """The kernels of a plan, as one text in a dialect.

    ``host`` begins the names of functions and, in upper case, of macros that are not for this text alone; ``versions``
    are the processors that the text is compiled for, besides the one that the compiler's options name.
    """
    descriptions = [kernel.description for kernel in plan.kernels]
    functions = {id(k.calls): k.calls for k in plan.kernels if k.calls is not None}
    comments = describe_kernels(plan)
    texts: list[dict[str, Any]] = [
        *(
            {"comment": comments[function.name], "tables": [], "text": _text(function, dialect)}
            for function in functions.values()
        ),
        *(
            {
                "comment": comments[kernel.name],
                "tables": [
                    {"name": name, "count": values.size, "rows": list(table_rows(values))}
                    for name, values in kernel.tables.items()
                ],
                "text": _text(kernel, dialect) if kernel.calls is None else _call(kernel, kernel.calls, dialect),
            }
            for kernel in plan.kernels
        ),
    ]
    return render(
        "kernels/program.cl.jinja",
        name=plan.graph.name,
        host=host,
        NAME=host.upper(),
        versions=versions,
        banner=banner,
        lanes=plan.target.lanes,
        line=plan.target.dtype.count(LINE_BYTES),
        wide=bool(plan.target.wide),
        dialect=dialect,
        tables=plan.weights is None,
        reads=sorted({d.x.dtype.name for d in descriptions if isinstance(d, Reorder)} - {FLOAT32.name}),
        writes=sorted({d.y.dtype.name for d in descriptions if isinstance(d, Reorder)} - {FLOAT32.name}),
        kernels=texts,
        functions=sorted({f for k in texts for f in re.findall(r"MATH\((\w+), ", k["text"])}),
        persistent=_persistent(plan, dialect) if plan.persistent else None,
    )


def _text(kernel: Kernel | Function, dialect: Dialect) -> str:
    return render(f"kernels/{kernel.description.template}", k=kernel.description, kernel=kernel, dialect=dialect)


def _call(kernel: Kernel, function: Function, dialect: Dialect) -> str:
    """A kernel that calls a function with its own tables and sizes."""
    arguments = []
    for parameter in function.parameters:
        name = parameter.name
        match parameter.role:
            case "size":
                arguments.append(f"/* {name} */ {kernel.sizes[name]}")
            case "table":
                arguments.append(kernel.constants[name])
            case "zeros":
                arguments.append(name)
            case _:
                arguments.append(f"{name}, {name}_at")
    return render("kernels/call.jinja", kernel=kernel, arguments=_lines(arguments), dialect=dialect)


def _lines(arguments: Sequence[str]) -> list[str]:
    """Arguments of a call, in lines that are not too long; comments stay with what they name."""
    blanks = str.maketrans({" ": "\0"})
    text = ", ".join(argument.translate(blanks) for argument in arguments)
    return [line.replace("\0", " ") for line in textwrap.wrap(text, 100, break_long_words=False)]


def _persistent(plan: Plan, dialect: Dialect) -> dict[str, Any]:
    kernels = {kernel.name: kernel for kernel in plan.kernels}
    return {
        "parameters": [_parameter(buffer, plan, dialect) for buffer in network_buffers(plan)],
        "preparations": [_step(launch, kernels, plan) for launch in plan.preparations],
        "steps": [_step(launch, kernels, plan) for launch in plan.launches],
    }


def network_buffers(plan: Plan) -> list[Argument]:
    """The buffers of the persistent kernel: every buffer of the launches, once."""
    used = {(a.kind, a.index) for launch in plan.launches for a in launch.arguments if a.kind != "number"}
    return [Argument(kind, index) for kind, index in sorted(used)]


def _buffer(argument: Argument) -> str:
    counted = argument.kind in ("input", "output")
    return f"{argument.kind}{argument.index}" if counted else argument.kind


def _parameter(buffer: Argument, plan: Plan, dialect: Dialect) -> str:
    written = buffer.kind in ("arena", "output")
    kind = plan.target.dtype.name
    if buffer.kind == "input":
        kind = plan.graph.inputs[buffer.index].type
    elif buffer.kind == "output":
        kind = plan.graph.outputs[buffer.index].type
    return f"GLOBAL {'' if written else 'const '}{dialect.element_types[kind]} *{_buffer(buffer)}"


def table_arguments(launch: Launch, kernel: Kernel) -> list[str]:
    """The arguments of a launch for the host's table, behind the names of their parameters, in lines."""
    arguments = iter(launch.arguments)
    texts = []
    for parameter in kernel.parameters:
        name, entry = parameter.name, _entry(next(arguments))
        if parameter.role in ("size", "zeros"):
            texts.append(f"/* {name} */ {entry}")
        else:
            texts.append(f"/* {name}, {name}_at */ {entry}, {_entry(next(arguments))}")
    return _lines(texts)


def persistent_arguments(plan: Plan) -> list[str]:
    """The arguments of the persistent kernel for the host's table, behind the names of their parameters, in lines."""
    buffers = [f"/* {_buffer(buffer)} */ {_entry(buffer)}" for buffer in network_buffers(plan)]
    return _lines([*buffers, "/* counters */ {COUNTERS_BUFFER, 0}", "/* run */ {RUN, 0}"])


def _entry(argument: Argument) -> str:
    if argument.kind == "number":
        return f"{{NUMBER, {argument.value}}}"
    return f"{{{argument.kind.upper()}_BUFFER, {argument.index}}}"


def _arguments(launch: Launch, kernel: Kernel) -> list[str]:
    """The arguments of a launch in a call in C: sizes with their names."""
    arguments = iter(launch.arguments)
    texts = []
    for parameter in kernel.parameters:
        argument = next(arguments)
        if parameter.role == "size":
            texts.append(f"/* {parameter.name} */ {argument.value}")
        elif parameter.role == "zeros":
            texts.append(_buffer(argument))
        else:
            texts.append(f"AT({_buffer(argument)}, {next(arguments).value})")
    return texts


def _step(launch: Launch, kernels: Mapping[str, Kernel], plan: Plan) -> dict[str, Any]:
    return {
        "what": describe_launch(launch, plan),
        "kernel": launch.kernel,
        "count": launch.grid.count,
        "grid": launch.grid.items,
        "arguments": _lines([*_arguments(launch, kernels[launch.kernel]), ""]),
    }


def _zeroed(names: Sequence[str], axes: Sequence[int]) -> tuple[str, ...]:
    return tuple("0" if axis in axes else name for axis, name in enumerate(names))


def _fail(message: str) -> NoReturn:
    raise AssertionError(message)
