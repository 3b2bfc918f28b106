"""Measured limits of a device: multiply-adds in registers, memory bandwidth, launch overhead."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from codegen.errors import DeviceError
from codegen.runtime.devices import DeviceInfo, opencl

T = TypeVar("T")

ACCUMULATORS = 12  # two units of four cycles' latency need eight; these and two operands fit into sixteen registers
STREAM_BYTES = 2**29
EMPTY_LAUNCHES = 200
SHORT = 1e-3  # seconds; the best of many short runs is one without disturbance

SOURCE = """
#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define FLOATS JOIN(float, WIDTH)

#define ATTRIBUTES __attribute__((reqd_work_group_size(LOCAL, 1, 1)))
#ifdef __has_attribute
#if __has_attribute(intel_vec_len_hint)
#undef ATTRIBUTES
#define ATTRIBUTES __attribute__((reqd_work_group_size(LOCAL, 1, 1))) __attribute__((intel_vec_len_hint(1)))
#endif
#endif

#ifdef FUSED
#define MULTIPLY_ADD(a, x, b) fma(a, x, b)
#else
#define MULTIPLY_ADD(a, x, b) ((a) * (x) + (b))
#endif

/* Chains that stay in registers, at numbers that stay normal.  Lanes start from memory: none is known to be another. */
__kernel ATTRIBUTES void arithmetic(__global float *y, float factor, float term, uint steps)
{
    const FLOATS x = factor, b = term;
    FLOATS a[ACCUMULATORS];
    #pragma unroll
    for (int k = 0; k < ACCUMULATORS; ++k)
        a[k] = JOIN(vload, WIDTH)(get_global_id(0), y) + (float)k;
    for (uint i = 0; i < steps; ++i) {
        #pragma unroll
        for (int k = 0; k < ACCUMULATORS; ++k)
            a[k] = MULTIPLY_ADD(a[k], x, b);
    }
    FLOATS sum = a[0];
    #pragma unroll
    for (int k = 1; k < ACCUMULATORS; ++k)
        sum += a[k];
    JOIN(vstore, WIDTH)(sum, get_global_id(0), y);
}

/* Each work-group sums a part of x of its own; neighbours in a group read neighbours. */
__kernel ATTRIBUTES void stream(__global const FLOATS *x, __global float *y, uint steps)
{
    __global const FLOATS *p = x + get_group_id(0) * (size_t)steps * LOCAL + get_local_id(0);
    FLOATS a0 = 0, a1 = 0, a2 = 0, a3 = 0;
    for (size_t i = 0; i < steps; i += 4) {
        a0 += p[i * LOCAL];
        a1 += p[(i + 1) * LOCAL];
        a2 += p[(i + 2) * LOCAL];
        a3 += p[(i + 3) * LOCAL];
    }
    JOIN(vstore, WIDTH)((a0 + a1) + (a2 + a3), get_global_id(0), y);
}

__kernel ATTRIBUTES void empty(__global float *y)
{
}
"""


@dataclass(frozen=True)
class Peak:
    """The best rates measured on a device: two operations per multiply-add, bytes read from memory, not caches.

    ``launch_us`` is the time of an empty launch among many in a queue.
    """

    gflops: float
    gbytes_per_s: float
    launch_us: float


def measure_peak(device: DeviceInfo, seconds: float) -> Peak:
    """Runs three small kernels on the device, for about this long each; DeviceError if they fail."""
    cl = opencl()
    try:
        return _Bench(cl, device).peak(seconds)
    except cl.Error as error:
        raise DeviceError(f"{device.name}: its peak cannot be measured: {error}") from error


class _Bench:
    """A queue, and a buffer for the results of all work-items."""

    def __init__(self, cl: Any, device: DeviceInfo) -> None:
        self.cl, self.device = cl, device
        processor = device.type == "CPU"
        self.width = (16 if device.handle.native_vector_width_float >= 16 else 8) if processor else 4
        self.local = 1 if processor else 64
        self.groups = device.compute_units * (4 if processor else 16)
        self.context = cl.Context([device.handle])
        self.queue = cl.CommandQueue(
            self.context, device.handle, properties=cl.command_queue_properties.PROFILING_ENABLE
        )
        self.y = self._zeros(4 * self.groups * self.local * self.width)

    def peak(self, seconds: float) -> Peak:
        # Which of the two is faster depends on the device's compiler.
        programs = [self._program("-DFUSED"), self._program("-cl-mad-enable")]
        gflops = max(self._gflops(program, seconds / 2) for program in programs)
        return Peak(gflops, self._gbytes_per_s(programs[0], seconds), self._launch_us(programs[0], seconds))

    def _gflops(self, program: Any, seconds: float) -> float:
        def run(steps: int) -> float:
            return self._seconds(program.arithmetic, self.y, np.float32(0.75), np.float32(0.25), np.uint32(steps))

        steps = 64
        run(steps)
        while steps < 2**20 and run(steps) < SHORT:
            steps *= 2
        best = fastest(lambda: run(steps), seconds)
        return 2e-9 * steps * ACCUMULATORS * self.width * self.local * self.groups / best

    def _gbytes_per_s(self, program: Any, seconds: float) -> float:
        device = self.device
        largest = min(device.handle.max_mem_alloc_size, device.global_memory // 16)
        wanted = min(max(STREAM_BYTES, 2 * device.handle.global_mem_cache_size), largest)
        block = 4 * self.width * self.local * self.groups  # floats that all work-items read in one step
        steps = max(4, wanted // block // 4 * 4)
        x = self._zeros(steps * block)
        best = fastest(lambda: self._seconds(program.stream, x, self.y, np.uint32(steps)), seconds)
        x.release()
        rate: float = 1e-9 * steps * block / best
        return rate

    def _launch_us(self, program: Any, seconds: float) -> float:
        kernel = program.empty
        kernel.set_args(self.y)

        def run() -> float:
            start = time.perf_counter()
            for _ in range(EMPTY_LAUNCHES):
                self.cl.enqueue_nd_range_kernel(self.queue, kernel, (self.groups * self.local,), (self.local,))
            self.queue.finish()
            return time.perf_counter() - start

        run()
        return 1e6 / EMPTY_LAUNCHES * statistics.median(repeated(run, seconds))

    def _seconds(self, kernel: Any, *arguments: Any) -> float:
        kernel.set_args(*arguments)
        event = self.cl.enqueue_nd_range_kernel(self.queue, kernel, (self.groups * self.local,), (self.local,))
        event.wait()
        seconds: float = 1e-9 * max(event.profile.end - event.profile.start, 1)
        return seconds

    def _program(self, option: str) -> Any:
        sizes = {"WIDTH": self.width, "LOCAL": self.local, "ACCUMULATORS": ACCUMULATORS}
        options = [option, *(f"-D{name}={value}" for name, value in sizes.items())]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", self.cl.CompilerWarning)
            program = self.cl.Program(self.context, SOURCE).build(options=options, devices=[self.device.handle])
        return _Kernels(*(self.cl.Kernel(program, name) for name in ("arithmetic", "stream", "empty")))

    def _zeros(self, size: int) -> Any:
        buffer = self.cl.Buffer(self.context, self.cl.mem_flags.READ_WRITE, size)
        self.cl.enqueue_fill_buffer(self.queue, buffer, np.float32(0), 0, size)
        return buffer


@dataclass(frozen=True)
class _Kernels:
    arithmetic: Any
    stream: Any
    empty: Any


def repeated(run: Callable[[], T], seconds: float, least: int = 3, most: int = 1000) -> list[T]:
    """The results of ``run``, called again and again until this much time has passed."""
    results: list[T] = []
    end = time.perf_counter() + seconds
    while len(results) < least or (len(results) < most and time.perf_counter() < end):
        results.append(run())
    return results


def repeated_warm(run: Callable[[], T], seconds: float) -> list[T]:
    """The results of ``run``, called again and again after it has run three times."""
    for _ in range(3):
        run()
    return repeated(run, seconds)


def fastest(run: Callable[[], float], seconds: float) -> float:
    """The least result of ``run``, called again and again."""
    return min(repeated(run, seconds))
