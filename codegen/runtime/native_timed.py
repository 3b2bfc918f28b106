"""Plain C that times itself: the artefact is compiled with a function that runs it and reads the processor's clock."""

from __future__ import annotations

import ctypes
from pathlib import Path

from codegen.emit.packaging import PLAIN_C
from codegen.runtime.artefact import Artefact
from codegen.runtime.host import Handle
from codegen.runtime.native import NativeDevice, NativeHost, compile_native
from codegen.runtime.samples import random_sample

CLOCK = """\
#define _POSIX_C_SOURCE 199309L
#include <stdint.h>
#include <time.h>

/* Nanoseconds, by a clock that nobody sets. */
static int64_t clgen_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}
"""

# No model's name ends with an underscore: those of parameters and variables hide no type of the header.
_SOURCE = """
#include "{name}.h"

#ifdef {NAME}_TRACE
static void {name}_record(void *times_, const {name}_layer *layer_)
{{
    ((int64_t *)times_)[layer_ ? 1 + layer_->index : 0] = clgen_now();
}}
#endif

/* Runs once.  times_[0] is the start; then follow the ends of all launches if they are traced, else that of the run. */
{name}_status {name}_timed({name} *model_, void *const *arrays_, int64_t *times_);
{name}_status {name}_timed({name} *model_, void *const *arrays_, int64_t *times_)
{{
#ifdef {NAME}_TRACE
    {name}_trace(model_, {name}_record, times_);
    return {name}_run(model_, {arrays});
#else
    {name}_status status_;

    times_[0] = clgen_now();
    status_ = {name}_run(model_, {arrays});
    times_[1] = clgen_now();
    return status_;
#endif
}}
"""


def compile_timed(
    artefact: Artefact, device: NativeDevice, library: Path, *, traced: bool = False, threads: bool = False
) -> Path:
    """Compiles the artefact for :class:`TimedHost`: every launch is timed if it is ``traced``, else the whole run."""
    count = len(artefact.inputs) + len(artefact.outputs)
    arrays = ", ".join(f"arrays_[{k}]" for k in range(count))
    source = library.with_suffix(".c")
    host = artefact.host(PLAIN_C)
    source.write_text(CLOCK + _SOURCE.format(name=host, NAME=host.upper(), arrays=arrays))
    return compile_native(artefact, device, library, traced=traced, threads=threads, more=[source])


class TimedHost(NativeHost):
    """An instance with random inputs, whose runs are timed in C."""

    def __init__(self, artefact: Artefact, library: Path, device: NativeDevice) -> None:
        super().__init__(artefact, library, device)
        self._kept = self._arrays(random_sample(artefact))
        self._pointers = (Handle * len(self._kept))(*(array.ctypes.data for array in self._kept))
        self._timed = self._function("timed", ctypes.c_int, Handle, Handle, Handle)

    def time(self, count: int) -> list[int]:
        """Runs once; the start, and the ends of all ``count`` launches or of the run, in nanoseconds."""
        times = (ctypes.c_int64 * (1 + count))()
        self._check("run", self._timed(self._model, self._pointers, times))
        return list(times)

    def use_threads(self, count: int) -> None:
        """Lets so many threads share each run from now on."""
        use = self._function("use_threads", ctypes.c_int, Handle, ctypes.c_int)
        self._check("use_threads", use(self._model, count))
