"""The generated C host, compiled with the system's compiler and called through ctypes."""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from codegen import interrupt
from codegen.emit.packaging import OPENCL
from codegen.errors import DeviceError
from codegen.runtime.artefact import Artefact, Values
from codegen.runtime.devices import DeviceInfo, opencl

STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror")
Handle = ctypes.c_void_p
AnInstance = TypeVar("AnInstance", bound="Instance")


def find_compiler() -> str:
    """Finds the system's C compiler: $CC, cc, gcc or clang."""
    for name in (os.environ.get("CC"), "cc", "gcc", "clang"):
        if name and shutil.which(name):
            return name
    raise DeviceError("no C compiler found (tried $CC, cc, gcc, clang); on Debian or Ubuntu: sudo apt install gcc")


def compile_host(artefact: Artefact, library: Path, compiler: str | None = None) -> Path:
    """Compiles the artefact's OpenCL host to a shared library, with warnings as errors; DeviceError if it fails."""
    sources = map(str, artefact.sources(OPENCL))
    command = [compiler or find_compiler(), *STRICT, "-O1", "-shared", "-fPIC", "-o", str(library), *sources, "-ldl"]
    # Temporary files of a killed compiler are removed with the library's folder.
    done = interrupt.run(command, environment={**os.environ, "TMPDIR": str(library.parent)})
    if done.returncode:
        raise DeviceError(f"{command[0]} rejects the generated C:\n{done.stderr}")
    return library


class Instance:
    """An instance of a compiled model in this process, which a subclass creates."""

    def __init__(self, artefact: Artefact, library: Path, backend: str) -> None:
        self.artefact = artefact
        self._host = artefact.host(backend)
        self._library = ctypes.CDLL(str(library))
        self._model = Handle()
        self._destroy = self._function("destroy", None, Handle)

    def run(self, inputs: Mapping[str, Values]) -> dict[str, Values]:
        """Calls <name>_run on arrays in the user's layout and types, by their names in C."""
        arrays = self._arrays(inputs)
        self._call(arrays)
        names = [o["name"] for o in self.artefact.outputs]
        return dict(zip(names, arrays[len(self.artefact.inputs) :], strict=True))

    def selftest(self) -> bool:
        """Returns whether <name>_selftest passes."""
        status = self._function("selftest", ctypes.c_int, Handle)(self._model)
        text = self._status_text(status)
        if status and "result" not in text:
            self._check("selftest", status)
        return bool(status == 0)

    def close(self) -> None:
        """Destroys the instance."""
        if self._model:
            self._destroy(self._model)
            self._model = Handle()

    def __enter__(self: AnInstance) -> AnInstance:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _function(self, name: str, result: object, *arguments: object) -> Any:
        function = getattr(self._library, f"{self._host}_{name}")
        function.restype = result
        function.argtypes = arguments
        return function

    def _status_text(self, status: int) -> str:
        text = self._function("status_text", ctypes.c_char_p, ctypes.c_int)(status)
        return text.decode() if text else f"status {status}"

    def _arrays(self, inputs: Mapping[str, Values]) -> list[Values]:
        """The inputs as the model takes them, and arrays for its outputs."""
        given = [np.ascontiguousarray(inputs[i["name"]], dtype=i["type"]) for i in self.artefact.inputs]
        return [*given, *(np.empty(o["shape"], dtype=o["type"]) for o in self.artefact.outputs)]

    def _call(self, arrays: Sequence[Values]) -> None:
        run = self._function("run", ctypes.c_int, Handle, *([Handle] * len(arrays)))
        self._check("run", run(self._model, *(a.ctypes.data for a in arrays)))

    def _check(self, what: str, status: int) -> None:
        if status:
            raise DeviceError(f"{self._host}_{what}: {self._status_text(status)}{self._error()}")

    def _error(self) -> str:
        """The rest of the message about the last error."""
        return ""


class Host(Instance):
    """An instance on one OpenCL device."""

    def __init__(self, artefact: Artefact, library: Path, device: DeviceInfo) -> None:
        super().__init__(artefact, library, OPENCL)
        cl = opencl()
        self._context = cl.Context([device.handle])
        self._queue = cl.CommandQueue(self._context, device.handle)
        create = self._function("create_on", ctypes.c_int, ctypes.POINTER(Handle), Handle, Handle, Handle)
        status = create(
            ctypes.byref(self._model),
            Handle(self._context.int_ptr),
            Handle(device.handle.int_ptr),
            Handle(self._queue.int_ptr),
        )
        try:
            self._check("create_on", status)
        except DeviceError:
            self.close()
            raise

    def _error(self) -> str:
        raw = self._function("cl_error", ctypes.c_int, Handle)(self._model) if self._model else 0
        return f" (OpenCL error {raw})"
