"""Runs a generated folder on a device through pyopencl, from the same manifest as the C host."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.errors import DeviceError
from codegen.graph.types import size_of
from codegen.runtime.artefact import Artefact, Values
from codegen.runtime.devices import DeviceInfo, opencl


class Session:
    """A compiled artefact on one device, with buffers of its own.

    Outputs and inputs are in the user's layout and types, by their names in C.  With ``profiling`` the events of
    launches have start and end times.
    """

    def __init__(self, artefact: Artefact, device: DeviceInfo, *, profiling: bool = False) -> None:
        cl = opencl()
        self.artefact = artefact
        self.device = device
        try:
            self.context = cl.Context([device.handle])
            properties = cl.command_queue_properties.PROFILING_ENABLE if profiling else 0
            self.queue = cl.CommandQueue(self.context, device.handle, properties=properties)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", cl.CompilerWarning)
                program = cl.Program(self.context, artefact.source)
                options = artefact.build_options(device.handle.native_vector_width_float)
                program.build(options=options, devices=[device.handle])
        except cl.RuntimeError as error:
            raise DeviceError(f"{device.name}: {artefact.name}.cl does not compile:\n{error}") from error
        except cl.Error as error:
            raise DeviceError(f"{device.name}: {error}") from error
        self._buffers = self._allocate(cl)
        for launch in artefact.manifest["preparations"]:
            self._enqueue(self._bind(cl, program, launch), launch)
        self._kernels = [self._bind(cl, program, launch) for launch in artefact.launches]

    def run(self, inputs: Mapping[str, Values]) -> dict[str, Values]:
        """Runs all launches, from arrays to arrays."""
        self.write(inputs)
        for index in range(len(self._kernels)):
            self.launch(index)
        return self.outputs()

    def steps(self, inputs: Mapping[str, Values]) -> Iterator[tuple[dict[str, Any], Values]]:
        """Runs launch by launch; yields each with the tensor that it wrote, before a later launch can overwrite it."""
        # Written now, not at the first step, as a view of an input can be read without any step.
        self.write(inputs)
        return self._launched()

    def _launched(self) -> Iterator[tuple[dict[str, Any], Values]]:
        for index, launch in enumerate(self.artefact.launches):
            self.launch(index)
            yield launch, self.tensor(launch["writes"])

    def write(self, inputs: Mapping[str, Values]) -> None:
        """Copies the inputs to the device."""
        cl = opencl()
        for k, declared in enumerate(self.artefact.inputs):
            array = np.ascontiguousarray(inputs[declared["name"]], dtype=declared["type"])
            cl.enqueue_copy(self.queue, self._buffers["input", k], array)

    def launch(self, index: int) -> Any:
        """Enqueues one launch; returns its pyopencl.Event."""
        return self._enqueue(self._kernels[index], self.artefact.launches[index])

    def _enqueue(self, kernel: Any, launch: Mapping[str, Any]) -> Any:
        cl = opencl()
        try:
            return cl.enqueue_nd_range_kernel(self.queue, kernel, tuple(launch["global"]), tuple(launch["local"]))
        except cl.Error as error:
            raise DeviceError(f"{self.device.name}: {launch['kernel']}: {error}") from error

    def tensor(self, name: str) -> Values:
        """The present values of a tensor, in the network's order of axes."""
        tensor = self.artefact.tensors[name]
        buffer = self._buffers[tensor.buffer, tensor.index]
        indices = tensor.indices()
        first, last = int(indices.min()), int(indices.max())
        memory = np.empty(last - first + 1, dtype=tensor.type)
        opencl().enqueue_copy(self.queue, memory, buffer, src_offset=memory.itemsize * first)
        return memory[indices - first]

    def outputs(self) -> dict[str, Values]:
        """The present values of the outputs."""
        cl = opencl()
        results = {}
        for k, declared in enumerate(self.artefact.outputs):
            array = np.empty(declared["shape"], dtype=declared["type"])
            cl.enqueue_copy(self.queue, array, self._buffers["output", k])
            results[declared["name"]] = array
        return results

    def _allocate(self, cl: Any) -> dict[tuple[str, int], Any]:
        flags = cl.mem_flags
        manifest = self.artefact.manifest
        buffers: dict[tuple[str, int], Any] = {}

        def empty(size: int) -> Any:
            """A buffer of zeros, like the C host's, so that elements that no launch writes are equal in every run."""
            word = np.uint32(0)
            size = word.itemsize * max(-(-size // word.itemsize), 1)
            buffer = cl.Buffer(self.context, flags.READ_WRITE, size)
            cl.enqueue_fill_buffer(self.queue, buffer, word, 0, size)
            return buffer

        def port(declared: Mapping[str, Any]) -> Any:
            return empty(size_of(declared["type"]) * int(np.prod(declared["shape"])))

        def filled(values: NDArray[Any]) -> Any:
            return cl.Buffer(self.context, flags.READ_ONLY | flags.COPY_HOST_PTR, hostbuf=values)

        try:
            for k, declared in enumerate(self.artefact.inputs):
                buffers["input", k] = port(declared)
            for k, declared in enumerate(self.artefact.outputs):
                buffers["output", k] = port(declared)
            buffers["arena", 0] = empty(manifest["memory"]["arena_bytes"])
            if self.artefact.weights is not None:
                buffers["weights", 0] = filled(self.artefact.weights)
            if manifest["memory"]["prepared_bytes"]:
                buffers["prepared", 0] = empty(manifest["memory"]["prepared_bytes"])
            if manifest["zeros"]:
                buffers["zeros", 0] = filled(np.zeros(manifest["zeros"], manifest["type"]))
        except cl.Error as error:
            raise DeviceError(f"{self.device.name}: no memory for {self.artefact.name}: {error}") from error
        return buffers

    def _bind(self, cl: Any, program: Any, launch: Mapping[str, Any]) -> Any:
        kernel = cl.Kernel(program, launch["kernel"])
        for position, argument in enumerate(launch["arguments"]):
            if argument["kind"] == "number":
                kernel.set_arg(position, np.uint32(argument["value"]))
            else:
                kernel.set_arg(position, self._buffers[argument["kind"], argument["index"]])
        return kernel
