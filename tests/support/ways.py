"""The ways to compile plain C: each compiler, with vectors and without, with threads and without.

There are too many for every network to be compiled in all of them, so the networks of a long list take them in turn:
network k takes way k modulo the number of ways.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from codegen import build
from codegen.emit.packaging import Packaging
from codegen.runtime.artefact import Artefact, read
from codegen.runtime.host import STRICT, Handle
from codegen.runtime.native import VARIANTS, NativeHost
from tests.support.generated_c import Tool, do, sources

WORKERS = 3  # threads of a run, where it has several: an odd number, more than this machine may have processors


@dataclass(frozen=True)
class Way:
    """``compiler`` is a key of TOOLS, ``vectors`` one of VARIANTS; with ``threads`` several share each run."""

    compiler: str
    vectors: str
    threads: bool

    def __str__(self) -> str:
        return "-".join([self.compiler, self.vectors or "native", *(["threads"] if self.threads else [])])

    def options(self, model: str) -> list[str]:
        """The compiler's options for a model of this name."""
        options = [option.format(NAME=model.upper()) for option in VARIANTS[self.vectors]]
        return [*options, *([f"-D{model.upper()}_THREADS"] if self.threads else [])]


WAYS = tuple(
    Way(compiler, vectors, threads)
    for threads, vectors, compiler in product((False, True), ("", "scalar", "portable"), ("gcc", "clang"))
)
"""Variants that every machine can run; "portable" has vectors of 4 floats on x86, half a block of channels."""


def way(number: int) -> Way:
    """The way that a list's network of this number takes."""
    return WAYS[number % len(WAYS)]


def build_plain_c(lowered: build.Lowered, folder: Path) -> Artefact:
    """The network's artefact in plain C, in a folder of its own."""
    return read(build.build(replace(lowered, packaging=Packaging("c")), folder / "c", "cpu")[0])


def compile_together(artefacts: Sequence[Artefact], way: Way, tool: Tool, library: Path) -> Path:
    """Compiles networks of different names to one shared library, by one call of the compiler."""
    options = dict.fromkeys(option for artefact in artefacts for option in way.options(artefact.name))
    files = [file for artefact in artefacts for file in sources(artefact.folder)]
    command = [tool(way.compiler), *STRICT, "-O1", "-ffp-contract=fast", *options, "-shared", "-fPIC"]
    do([*command, "-o", library, *files, "-lm", *(["-lpthread"] if way.threads else [])])
    return library


class Application(NativeHost):
    """An instance of a network compiled in one of the ways, with several threads if the way has them."""

    def __init__(self, artefact: Artefact, library: Path, way: Way) -> None:
        super().__init__(artefact, library)
        if way.threads:
            use_threads = self._function("use_threads", ctypes.c_int, Handle, ctypes.c_int)
            self._check("use_threads", use_threads(self._model, WORKERS))
