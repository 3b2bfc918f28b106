"""The options that several commands share, as decorators, and the types of their values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from codegen.emit.packaging import BACKENDS
from codegen.plan.target import DEFAULT_TARGET, TARGETS

F = TypeVar("F", bound=Callable[..., Any])

Pairs = tuple[tuple[str, tuple[int, ...]], ...]
"""The names and shapes of inputs."""

SPEC = click.Path(path_type=Path)
SHOW = click.Path(path_type=Path, dir_okay=False)

_TARGETS = "; ".join(f"{t.name}: {t.title}" for t in TARGETS.values())


def target_option(function: F) -> F:
    return click.option(
        "--target", type=click.Choice(list(TARGETS)), default=DEFAULT_TARGET, show_default=True, help=_TARGETS
    )(function)


def target_or_own_option(function: F) -> F:
    help_text = f"{_TARGETS}. Default: that of DIR, {DEFAULT_TARGET} for a SPEC."
    return click.option("--target", type=click.Choice(list(TARGETS)), help=help_text)(function)


def tuned_option(function: F) -> F:
    help_text = "Part of a device's name in SPEC's .tune.toml; none: ignore that file. Default: its first device."
    return click.option("--tuned-for", "tuned_for", default="", metavar="D", help=help_text)(function)


def packaging_options(function: F) -> F:
    """--backend, --multiversion and --with-check: the kind of folder."""
    help_text = (
        "opencl: by an OpenCL driver; c: plain C, which needs none; opencl,c: both, and the program chooses. "
        "Default: that of SPEC, else opencl."
    )
    check_text = "Add NAME_check.c, a program that compares every layer of the plain C with reference values."
    check = click.option("--with-check", is_flag=True, help=check_text)
    versions = click.option("--multiversion", is_flag=True, help="Plain C for several processors in one program.")
    return click.option("--backend", type=click.Choice(BACKENDS), help=help_text)(versions(check(function)))


def output_option(function: F) -> F:
    folder = click.Path(path_type=Path, file_okay=False)
    help_text = "Folder that gets a folder named after the model."
    return click.option("-o", "--output", type=folder, default="generated", show_default=True, help=help_text)(function)


def force_option(function: F) -> F:
    help_text = "Replace files that clgen did not write, or that were edited since."
    return click.option("--force", is_flag=True, help=help_text)(function)


def made_from_option(function: F) -> F:
    help_text = "Spec or model that DIR was built from, if it cannot be found from the manifest."
    return click.option("--spec", type=SPEC, help=help_text)(function)


def json_option(function: F) -> F:
    help_text = "Also write the report to F; - for JSON alone on standard output."
    return click.option("--json", "json_file", type=SHOW, metavar="F", help=help_text)(function)


def device_option(function: F) -> F:
    help_text = (
        "Part of a platform's name, else of its version, else of a device's name, else a device type; repeatable. "
        "c, c:avx2, c:avx512, c:portable or c:scalar: plain C, compiled here. "
        "Default: $CLGEN_DEVICE, else the best device."
    )
    return click.option("--device", "devices", multiple=True, metavar="D", help=help_text)(function)


def _named_shape(value: str) -> tuple[str, tuple[int, ...]]:
    """The name and the shape that an option's value gives; click.BadParameter if it gives none."""
    name, _, sizes = value.rpartition("=")
    try:
        shape = tuple(int(size) for size in sizes.split(","))
    except ValueError:
        shape = ()
    if not name or not shape or min(shape) < 1:
        raise click.BadParameter(f"{value!r} should be an input's name, = and its sizes, batch first: x=1,3,48,192")
    return name, shape


def shape_option(function: F) -> F:
    help_text = "Sizes of an input of a model file that leaves them open; repeatable."
    return click.option(
        "--shape", "shapes", type=_named_shape, metavar="INPUT=1,3,48,192", multiple=True, help=help_text
    )(function)
