"""Runs an artefact on a device with the time of each launch or of whole inferences, in OpenCL or in plain C.

OpenCL's events have the launches' times, by the device's clock.  Plain C is compiled with a function that runs the
network and reads the processor's clock, also after each launch: a call back into Python would take longer than many
layers.
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from codegen.emit.plain_c import MOST_THREADS
from codegen.runtime.artefact import Artefact
from codegen.runtime.devices import DeviceInfo, opencl
from codegen.runtime.execute import Session
from codegen.runtime.host import Host, compile_host
from codegen.runtime.native import NativeDevice
from codegen.runtime.native_timed import TimedHost, compile_timed
from codegen.runtime.peak import repeated_warm
from codegen.runtime.processor import processors
from codegen.runtime.samples import random_sample

Interval = tuple[float, float]
"""Start and end in microseconds, from the start of the first launch."""


class LaunchTimer(Protocol):
    """An artefact on a device, with random inputs.  The weights are on the device; ``artefact`` has none."""

    artefact: Artefact

    def run(self) -> tuple[Interval, ...]:
        """Runs all launches once; returns the interval of each."""

    def close(self) -> None:
        """Frees the device's memory."""


def launch_timer(artefact: Artefact, device: DeviceInfo | NativeDevice, folder: Path) -> LaunchTimer:
    """Compiles an artefact for runs whose launches are timed; its files are not needed any more then.

    Libraries go to ``folder``.
    """
    if isinstance(device, NativeDevice):
        return _ClockTimer(artefact, device, folder)
    return _EventTimer(artefact, device)


class _EventTimer:
    def __init__(self, artefact: Artefact, device: DeviceInfo) -> None:
        self.artefact = replace(artefact, weights=None)
        self._session = Session(artefact, device, profiling=True)
        self._session.artefact = self.artefact
        self._session.write(random_sample(artefact))

    def run(self) -> tuple[Interval, ...]:
        """The launches start once all are in the queue: Python is slower than a device with small launches."""
        cl, session = opencl(), self._session
        gate = cl.UserEvent(session.context)
        try:
            cl.enqueue_barrier(session.queue, wait_for=[gate])
            events = [session.launch(index) for index in range(len(self.artefact.launches))]
        finally:
            gate.set_status(cl.command_execution_status.COMPLETE)
        session.queue.finish()
        return _intervals((event.profile.start, event.profile.end) for event in events)

    def close(self) -> None:
        del self._session


class _ClockTimer:
    def __init__(self, artefact: Artefact, device: NativeDevice, folder: Path) -> None:
        self.artefact = replace(artefact, weights=None)
        library = compile_timed(artefact, device, _new_library(artefact, folder), traced=True)
        self._host = TimedHost(self.artefact, library, device)

    def run(self) -> tuple[Interval, ...]:
        return _intervals(itertools.pairwise(self._host.time(len(self.artefact.launches))))

    def close(self) -> None:
        self._host.close()


def _intervals(nanoseconds: Iterable[tuple[Any, Any]]) -> tuple[Interval, ...]:
    times = list(nanoseconds)
    first = times[0][0] if times else 0
    # A clock may be too coarse for a small launch.
    return tuple((1e-3 * (start - first), 1e-3 * (max(end, start + 1) - first)) for start, end in times)


def _new_library(artefact: Artefact, folder: Path) -> Path:
    """A path that no other library has: a second one with the same path would not be loaded."""
    return Path(tempfile.mkdtemp(dir=folder)) / f"lib{artefact.name}.so"


# Whole inferences -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WholeTime:
    """The median time of so many inferences, from arrays to arrays.

    ``threads`` share each of them; None if the OpenCL runtime decides that.
    """

    threads: int | None
    microseconds: float
    runs: int


def whole_times(
    artefact: Artefact, device: DeviceInfo | NativeDevice, folder: Path, seconds: float
) -> tuple[WholeTime, ...]:
    """Measures the C host as an application has it, for about so many seconds; plain C with one thread and with all."""
    if isinstance(device, NativeDevice):
        library = compile_timed(artefact, device, _new_library(artefact, folder), threads=True)
        with TimedHost(artefact, library, device) as native:
            counts = dict.fromkeys((1, min(processors(), MOST_THREADS)))
            return tuple(_on_threads(native, threads, seconds) for threads in counts)
    library = folder / f"lib{artefact.name}.so"
    if not library.exists():
        compile_host(artefact, library)
    inputs = random_sample(artefact)
    with Host(artefact, library, device) as host:

        def run() -> float:
            start = time.perf_counter()
            host.run(inputs)
            return 1e6 * (time.perf_counter() - start)

        return (_whole_time(run, None, seconds),)


def _on_threads(host: TimedHost, threads: int, seconds: float) -> WholeTime:
    host.use_threads(threads)

    def run() -> float:
        start, end = host.time(1)
        return 1e-3 * (end - start)

    return _whole_time(run, threads, seconds)


def _whole_time(run: Callable[[], float], threads: int | None, seconds: float) -> WholeTime:
    runs = repeated_warm(run, seconds)
    return WholeTime(threads, statistics.median(runs), len(runs))
