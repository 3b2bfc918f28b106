"""Inputs and outputs in the form that the host's templates print: C types, sizes, and escaped names."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from codegen.emit.literals import in_comment
from codegen.graph.domain import grid, range_text
from codegen.graph.graph import Input, Output, Range
from codegen.graph.types import FLOAT32, size_of

C_TYPES: Mapping[str, str] = {
    **{FLOAT32: "float", "float64": "double", "float16": "uint16_t", "bool": "uint8_t"},
    **{f"{sign}int{bits}": f"{sign}int{bits}_t" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}
"""C types by the types' names in a spec.  C99 has no float16: its arrays hold the bits."""

LONGEST_NAME = 80  # characters of a model's own name in comments


def port_context(declared: Input | Output, shape: tuple[int, ...]) -> dict[str, Any]:
    """The template's data of an input or output; ``shape`` is in the network's order of axes."""
    count = int(np.prod(shape))
    return {
        "name": declared.name,
        "NAME": declared.name.upper(),
        "original": comment_text(declared.original),
        "original_code": code_text(declared.original),
        "type": declared.type,
        "c_type": C_TYPES[declared.type],
        "count": count,
        "bytes": size_of(declared.type) * count,
        "shape": list(user_shape(shape, declared.channels_last)),
        "layout": layout_name(len(shape), declared.channels_last),
    }


def range_context(declared: Input, chosen: Range) -> dict[str, Any]:
    """The template's data of an input's range."""
    return {
        "range": range_text(chosen),
        "declared": declared.range is not None,
        "grid": asdict(grid(chosen, declared.type)),
    }


def types_context(ports: Sequence[Input | Output], bytes_of: Sequence[int]) -> dict[str, Any]:
    """The template's data of ports that are not float32.

    ``element`` is the type that pointers to arrays of any type point to; ``padded`` is true if some size is not a
    multiple of a cl_uint, as buffers are filled by cl_uint.
    """
    types = list(dict.fromkeys(port.type for port in ports))
    typed = types != [FLOAT32]
    return {
        "typed": typed,
        "types": [{"name": name, "NAME": name.upper(), "c_type": C_TYPES[name]} for name in types],
        "element": "void" if typed else "float",
        "stdint": any(C_TYPES[name].endswith("_t") for name in types),
        "padded": any(size % 4 for size in bytes_of),
    }


def user_shape(shape: tuple[int, ...], channels_last: bool) -> tuple[int, ...]:
    """The shape of the user's array for a tensor of this shape in the network's order."""
    return (shape[0], *shape[2:], shape[1]) if channels_last else shape


def layout_name(rank: int, channels_last: bool) -> str:
    """The user's order of axes in letters."""
    if channels_last:
        return {3: "NLC", 4: "NHWC", 5: "NDHWC"}.get(rank, "N...C")
    return {1: "N", 2: "NC", 3: "NCL", 4: "NCHW", 5: "NCDHW"}.get(rank, "row-major")


def comment_text(name: str) -> str:
    """A name for a C comment: a shortened ASCII JSON string that neither ends nor opens a comment."""
    if not name:
        return ""
    short = name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}..."
    return in_comment(json.dumps(short))


def code_text(name: str) -> str:
    """A name for a cell of a Markdown table, as HTML without any special character of Markdown."""
    text = comment_text(name)
    plain = "".join(c if c.isalnum() or c in ' ."' else f"&#{ord(c)};" for c in text)
    return f"<code>{html.escape(plain, quote=False).replace('&amp;#', '&#')}</code>" if name else ""
