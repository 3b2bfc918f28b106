"""The kinds of generated folders: for which backends, and for which processors."""

from __future__ import annotations

from dataclasses import dataclass

from codegen.errors import SpecError

OPENCL = "opencl"
PLAIN_C = "c"
BOTH = "opencl,c"
BACKENDS = (OPENCL, PLAIN_C, BOTH)
"""The ways in which the kernels of an artefact run, by names in specs, options and manifests."""


@dataclass(frozen=True)
class Version:
    """Processors that plain C can be compiled for: the features that they have, as GCC and Clang call them, and the
    floats of their vectors.
    """

    name: str
    features: tuple[str, ...]
    floats: int


_AVX2 = ("avx2", "fma")
VERSIONS = (
    Version("avx512", (*_AVX2, "avx512f", "avx512vl", "avx512dq", "avx512bw"), 16),
    Version("avx2", _AVX2, 8),
)
"""The versions of the plain C with --multiversion, the best first, besides the one for every processor."""


@dataclass(frozen=True)
class Packaging:
    """The kind of a generated folder.

    ``backend`` is one of :data:`BACKENDS`.  With ``multiversion`` the plain C is compiled for several processors, of
    which the program takes the best one when it runs.  ``with_check`` adds a program that checks every layer of the
    plain C.  Raises SpecError if they exclude each other.
    """

    backend: str = OPENCL
    multiversion: bool = False
    with_check: bool = False

    def __post_init__(self) -> None:
        for option, wanted in (("--multiversion", self.multiversion), ("--with-check", self.with_check)):
            if wanted and not self.has_plain_c:
                raise SpecError(
                    f"{option} is for plain C, and this is backend {self.backend}; add --backend {PLAIN_C}, or leave "
                    "it out"
                )

    @property
    def has_opencl(self) -> bool:
        return has(self.backend, OPENCL)

    @property
    def has_plain_c(self) -> bool:
        return has(self.backend, PLAIN_C)


DEFAULT_PACKAGING = Packaging()


def has(backend: str, single: str) -> bool:
    """True if ``backend`` is ``single``, "opencl" or "c", or both."""
    return single in backend.split(",")


def host_name(name: str, backend: str, single: str) -> str:
    """The name of the host, which its files and functions begin with, of a network's artefact for one of its backends.

    An artefact for both has a host for each, below one with the network's name that chooses among them.
    """
    return f"{name}_{single}" if backend == BOTH else name
