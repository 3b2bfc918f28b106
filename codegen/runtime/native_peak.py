"""Measured limits of one thread of plain C: multiply-adds in registers, memory bandwidth, an empty layer."""

from __future__ import annotations

import ctypes
import os
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codegen.runtime.artefact import Floats
from codegen.runtime.native import VARIANTS, NativeDevice, compile_library
from codegen.runtime.native_timed import CLOCK
from codegen.runtime.peak import ACCUMULATORS, SHORT, STREAM_BYTES, Peak, fastest, repeated_warm

NAME = "clgen_peak"
EMPTY_LAYERS = 10_000
ALIGNMENT = 64  # bytes

_EACH = " ".join(f"DO({k})" for k in range(ACCUMULATORS))

SOURCE = f"""\
{CLOCK}
#if defined __AVX512F__
#define WIDTH 16
#elif defined __AVX__
#define WIDTH 8
#else
#define WIDTH 4
#endif
#define EACH(DO) {_EACH}
typedef float vector __attribute__((vector_size(4 * WIDTH)));

int {NAME}_width(void);
void {NAME}_arithmetic(vector *y, float factor, float term, long steps);
void {NAME}_stream(const vector *x, vector *y, long count);
void {NAME}_empty(int64_t *times, long count);

int {NAME}_width(void)
{{
    return WIDTH;
}}

/* Chains that stay in registers, at numbers that stay normal.  Lanes start from memory: none is known to be another. */
void {NAME}_arithmetic(vector *y, float factor, float term, long steps)
{{
    const vector x = factor - (vector){{0}}, b = term - (vector){{0}};
#define START(k) vector a##k = y[k];
    EACH(START)
    for (long i = 0; i < steps; ++i) {{
#define STEP(k) a##k = a##k * x + b;
        EACH(STEP)
    }}
#define END(k) y[k] = a##k;
    EACH(END)
}}

void {NAME}_stream(const vector *x, vector *y, long count)
{{
    vector a0 = y[0], a1 = y[1], a2 = y[2], a3 = y[3];
    for (long i = 0; i < count; i += 4) {{
        a0 += x[i];
        a1 += x[i + 1];
        a2 += x[i + 2];
        a3 += x[i + 3];
    }}
    y[0] = (a0 + a1) + (a2 + a3);
}}

static void record(int64_t *times)
{{
    *times = clgen_now();
}}

/* What the timing of a layer takes that does nothing. */
void {NAME}_empty(int64_t *times, long count)
{{
    void (*volatile layer)(int64_t *) = record;

    for (long i = 0; i < count; ++i)
        layer(times);
}}
"""


def measure_native_peak(device: NativeDevice, folder: Path, seconds: float) -> Peak:
    """Runs three small functions on one thread, for about this long each; DeviceError if they do not compile.

    They are compiled in ``folder`` for the same processors as the network, with the widest vectors of these.
    """
    source = folder / f"{NAME}.c"
    source.write_text(SOURCE)
    options = [option for option in VARIANTS[device.variant] if option.startswith("-m")]
    library = compile_library(device.compiler, options, [source], folder / f"lib{NAME}_{device.variant}.so")
    return _Bench(ctypes.CDLL(str(library))).peak(seconds)


class _Bench:
    """The compiled functions, and a buffer for their results."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self._width = int(getattr(library, f"{NAME}_width")())
        self._y = _ones(ACCUMULATORS * self._width)

    def peak(self, seconds: float) -> Peak:
        return Peak(self._gflops(seconds), self._gbytes_per_s(seconds), self._empty_us(seconds))

    def _gflops(self, seconds: float) -> float:
        def run(steps: int) -> float:
            factor, term = ctypes.c_float(0.75), ctypes.c_float(0.25)
            return self._seconds("arithmetic", _pointer(self._y), factor, term, ctypes.c_long(steps))

        steps = 64
        run(steps)
        while steps < 2**30 and run(steps) < SHORT:
            steps *= 2
        return 2e-9 * steps * ACCUMULATORS * self._width / fastest(lambda: run(steps), seconds)

    def _gbytes_per_s(self, seconds: float) -> float:
        step = 4 * self._width  # floats
        x = _ones(_stream_bytes() // 4 // step * step)
        count = ctypes.c_long(x.size // self._width)
        best = fastest(lambda: self._seconds("stream", _pointer(x), _pointer(self._y), count), seconds)
        return 1e-9 * x.nbytes / best

    def _empty_us(self, seconds: float) -> float:
        times, count = np.zeros(1, np.int64), ctypes.c_long(EMPTY_LAYERS)
        runs = repeated_warm(lambda: self._seconds("empty", _pointer(times), count), seconds)
        return 1e6 / EMPTY_LAYERS * statistics.median(runs)

    def _seconds(self, function: str, *arguments: object) -> float:
        start = time.perf_counter()
        getattr(self._library, f"{NAME}_{function}")(*arguments)
        return time.perf_counter() - start


def _stream_bytes() -> int:
    """More than caches hold, and less than memory does."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not on Windows
        return STREAM_BYTES
    return max(min(STREAM_BYTES, memory // 16), ALIGNMENT**2)


def _ones(count: int) -> Floats:
    """So many aligned floats in pages of their own: the system shows untouched ones as one page of zeros."""
    memory = np.ones(count + ALIGNMENT // 4, np.float32)
    start = -memory.ctypes.data % ALIGNMENT // 4
    return memory[start : start + count]


def _pointer(array: NDArray[Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
