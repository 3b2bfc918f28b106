"""The languages that kernels are printed in: what the words of the kernels' templates are in each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from codegen.emit.ports import C_TYPES
from codegen.graph.types import CL_TYPES


@dataclass(frozen=True)
class Dialect:
    """A language for kernels.

    ``title`` begins the kernels' first comment.  ``words`` is the template that defines the words, and ``network`` the
    one of the function that makes all launches.  ``element_types`` are the types of buffers' elements, by the types'
    names in a spec.
    """

    title: str
    words: str
    network: str
    element_types: Mapping[str, str]


OPENCL = Dialect(
    "{name}.cl: the kernels of {name}", "dialects/opencl.jinja", "dialects/opencl_persistent.jinja", CL_TYPES
)
C99 = Dialect("The kernels of {name}", "dialects/c99.jinja", "dialects/c99_network.jinja", C_TYPES)
