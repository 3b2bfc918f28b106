"""Runs a folder of the plain C backend: compiled by the machine's compiler, and called through ctypes."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from codegen import interrupt
from codegen.emit.packaging import PLAIN_C, VERSIONS
from codegen.errors import DeviceError
from codegen.runtime.artefact import Artefact, Values
from codegen.runtime.host import STRICT, Handle, Instance, find_compiler
from codegen.runtime.processor import instruction_sets, processor_name

VARIANTS: Mapping[str, tuple[str, ...]] = {
    "": ("-march=native",),
    "portable": (),
    **{version.name: tuple(f"-m{feature}" for feature in version.features) for version in VERSIONS},
    "scalar": ("-D{NAME}_SCALAR",),
}
"""Options of the compiler, by what follows "c:" in the name of a device."""


@dataclass(frozen=True)
class NativeDevice:
    """This machine's processor, by C that is compiled with the options of a variant."""

    variant: str
    compiler: str

    @property
    def name(self) -> str:
        return f"{PLAIN_C}:{self.variant}" if self.variant else PLAIN_C

    @property
    def platform(self) -> str:
        return f"plain C on {processor_name()}"

    @property
    def version(self) -> str:
        return f"{self.driver}, {self._shown_options}"

    @property
    def driver(self) -> str:
        """The compiler's name and release, as it states them."""
        lines = interrupt.run([self.compiler, "--version"]).stdout.strip().splitlines()
        return lines[0] if lines else self.compiler

    @property
    def title(self) -> str:
        """The platform and the compiler's options, on which the choice of schedules depends."""
        return f"{self.platform}, {self._shown_options}"

    @property
    def _shown_options(self) -> str:
        return " ".join(VARIANTS[self.variant]).format(NAME="<NAME>") or "no options"

    def options(self, artefact: Artefact) -> list[str]:
        """The compiler's options for an artefact: none for one that chooses among versions when it runs."""
        if artefact.multiversion and self.variant != "scalar":
            return []
        return [option.format(NAME=artefact.host(PLAIN_C).upper()) for option in VARIANTS[self.variant]]

    def wish(self, artefact: Artefact) -> bytes | None:
        """The device to give to create of an artefact: a version's, if it has several."""
        versioned = artefact.multiversion and self.variant not in ("", "scalar")
        return self.name.encode() if versioned else None


def is_native(text: str) -> bool:
    """True if the text names a device of plain C: "c", or "c:" and a variant."""
    return text.partition(":")[0] == PLAIN_C


def native_devices(texts: Sequence[str]) -> list[NativeDevice]:
    """The devices of these names, or the default one; DeviceError if a variant is unknown or cannot run here."""
    devices = []
    for text in texts or (PLAIN_C,):
        variant = text.partition(":")[2]
        if variant not in VARIANTS or not is_native(text):
            known = ", ".join(f"c:{name}" if name else "c" for name in VARIANTS)
            raise DeviceError(f"{text!r} is no device of plain C; take one of {known}")
        there = instruction_sets()
        for option in VARIANTS[variant] if there else ():
            wanted = option.removeprefix("-m")
            if option.startswith("-m") and "=" not in option and wanted not in there:
                raise DeviceError(f"{text}: this processor has no {wanted}; take c, which uses what it has")
        devices.append(NativeDevice(variant, find_compiler()))
    return devices


def compile_native(
    artefact: Artefact,
    device: NativeDevice,
    library: Path,
    *,
    traced: bool = False,
    threads: bool = False,
    more: Sequence[Path] = (),
) -> Path:
    """Compiles the artefact to a shared library, with warnings as errors; DeviceError if it fails.

    With ``traced`` it calls back after each layer; with ``threads`` several threads can share a run.  ``more`` are
    further source files.
    """
    host = artefact.host(PLAIN_C).upper()
    options = [*device.options(artefact), "-iquote", str(artefact.folder)]
    options += [f"-D{host}_TRACE"] if traced else []
    options += [f"-D{host}_THREADS", "-pthread"] if threads else []
    return compile_library(device.compiler, options, [*artefact.sources(PLAIN_C), *more], library)


def compile_library(compiler: str, options: Sequence[str], sources: Sequence[Path], library: Path) -> Path:
    """Compiles C to a shared library, with warnings as errors; DeviceError if it fails."""
    command = [compiler, *STRICT, "-O3", "-ffp-contract=fast", *options]
    command += ["-shared", "-fPIC", "-o", str(library), *map(str, sources), "-lm"]
    done = interrupt.run(command, environment={**os.environ, "TMPDIR": str(library.parent)})
    if done.returncode:
        raise DeviceError(f"{command[0]} rejects the generated C:\n{done.stderr}")
    return library


class NativeHost(Instance):
    """An instance of the compiled model in this process, as an application has it.

    It is of the version for ``device``, or the best for this processor, if the artefact has several.
    """

    def __init__(self, artefact: Artefact, library: Path, device: NativeDevice | None = None) -> None:
        super().__init__(artefact, library, PLAIN_C)
        create = self._function("create", ctypes.c_int, ctypes.POINTER(Handle), ctypes.c_char_p)
        self._check("create", create(ctypes.byref(self._model), device and device.wish(artefact)))


class _Layer(ctypes.Structure):
    _fields_ = (
        ("index", ctypes.c_int),
        ("name", ctypes.c_char_p),
        ("title", ctypes.c_char_p),
        ("data", ctypes.c_void_p),
        ("rank", ctypes.c_int),
        ("block", ctypes.c_int),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
    )


_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.POINTER(_Layer))


class NativeSession(NativeHost):
    """An instance that stops after each layer, so that every tensor can be read before another overwrites it.

    The library is one that was compiled with ``traced``.
    """

    def __init__(self, artefact: Artefact, library: Path, device: NativeDevice) -> None:
        super().__init__(artefact, library, device)
        self._buffers: dict[tuple[str, int], int] = {}
        if artefact.weights is not None:
            self._buffers["weights", 0] = artefact.weights.ctypes.data

    def tensor(self, name: str) -> Values:
        """The present values of a tensor, in the network's order of axes."""
        tensor = self.artefact.tensors[name]
        indices = tensor.indices()
        item = np.dtype(tensor.type).itemsize
        address = self._buffers[tensor.buffer, tensor.index] + int(indices.min()) * item
        count = int(indices.max() - indices.min()) + 1
        memory = np.frombuffer(memoryview((ctypes.c_char * (count * item)).from_address(address)), dtype=tensor.type)
        values: Values = memory[indices - indices.min()]
        return values

    def steps(self, inputs: Mapping[str, Values]) -> Iterator[tuple[dict[str, Any], Values]]:
        """Runs launch by launch; yields each with the tensor that it wrote, before a later launch can overwrite it."""
        arrays = self._arrays(inputs)
        count = len(self.artefact.inputs)
        # Known now, not at the first step, as a view of an input can be read without any step.
        for k, array in enumerate(arrays):
            self._buffers["input" if k < count else "output", k if k < count else k - count] = array.ctypes.data
        return self._launched(arrays)

    def _launched(self, arrays: Sequence[Values]) -> Iterator[tuple[dict[str, Any], Values]]:
        """The network runs on a thread, which waits in the callback after each launch."""
        launches = self.artefact.launches
        reached, onward = threading.Semaphore(0), threading.Semaphore(0)
        failed: list[DeviceError] = []

        def stop(_: int | None, layer: Any) -> None:
            if not layer:
                return  # before the first launch
            written = self.artefact.tensors[launches[layer.contents.index]["writes"]]
            before = written.offset * np.dtype(written.type).itemsize
            self._buffers[written.buffer, written.index] = layer.contents.data - before
            reached.release()
            onward.acquire()

        def work() -> None:
            try:
                self._call(arrays)
            except DeviceError as error:
                failed.append(error)
                reached.release()

        callback = _CALLBACK(stop)
        trace = self._function("trace", None, Handle, _CALLBACK, Handle)
        trace(self._model, callback, None)
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        left = len(launches)
        try:
            for launch in launches:
                reached.acquire()
                if failed:
                    raise failed[0]
                yield launch, self.tensor(launch["writes"])
                left -= 1
                onward.release()
        finally:
            onward.release(left or 1)
            thread.join()
            trace(self._model, _CALLBACK(0), None)
