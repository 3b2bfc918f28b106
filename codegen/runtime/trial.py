"""The process that tries a runtime.

    python -m codegen.runtime.trial list
    python -m codegen.runtime.trial device PLATFORM VERSION DRIVER NAME

Prints the fault; nothing if all is well.  The environment is the parent's, with its runtimes registered.
"""

from __future__ import annotations

import contextlib
import sys

import numpy as np

from codegen.runtime import devices
from codegen.runtime.probe import VERDICT

# The parts of kernels, and what compilers have failed at: comparisons and selects of vectors as wide as AVX-512's,
# fma(), vectors at any address.  From x, y gets 3 |x| + 1, max(x, 0) and the smaller of neighbours.
SOURCE = """
__kernel void trial(__global const float *x, __global float *y, const uint count)
{
    const size_t i = 16 * get_global_id(0);
    const float16 v = vload16(0, x + i), zero = (float16)(0.0f);
    const float16 size = select(-v, v, v >= zero);
    const float8 a = v.even, b = v.odd;

    vstore16(fma(size, (float16)(3.0f), (float16)(1.0f)), 0, y + i);
    vstore16(v < zero ? zero : v, 0, y + count + i);
    vstore8(a < b ? a : b, 0, y + 2 * count + i / 2);
}
"""
ITEMS = 8


def main(what: str, *identity: str) -> str:
    """Prints the fault of a runtime; nothing if all is well."""
    found = devices.listed(devices.plain_opencl())
    if what == "list":
        return ""
    for device in found:
        if device.identity == identity:
            try:
                return _compute(device)
            except devices.plain_opencl().Error as error:
                return f"fails: {_essence(str(error))}"
    return "is gone when it is looked for again"


def _compute(device: devices.DeviceInfo) -> str:
    cl = devices.plain_opencl()
    count = 16 * ITEMS
    # Small whole numbers of both signs, for which all results are exact.
    x = ((np.arange(count) * 37) % 101 - 50).astype(np.float32)
    y = np.zeros(5 * count // 2, dtype=np.float32)
    context = cl.Context([device.handle])
    queue = cl.CommandQueue(context, device.handle)
    # Not from a cache, as compiling is part of the trial.
    program = cl.Program(context, SOURCE + f"/* {np.random.default_rng().integers(2**62)} */").build()
    given = cl.Buffer(context, cl.mem_flags.READ_ONLY | cl.mem_flags.COPY_HOST_PTR, hostbuf=x)
    made = cl.Buffer(context, cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR, hostbuf=y)
    kernel = cl.Kernel(program, "trial")
    for position, argument in enumerate((given, made, np.uint32(count))):
        kernel.set_arg(position, argument)
    cl.enqueue_nd_range_kernel(queue, kernel, (ITEMS,), (1,))
    cl.enqueue_copy(queue, y, made)
    expected = np.concatenate([3 * np.abs(x) + 1, np.maximum(x, 0), np.minimum(x[0::2], x[1::2])])
    wrong = int(np.count_nonzero(y != expected))
    return f"computes {wrong} of {y.size} numbers wrong" if wrong else ""


def _essence(message: str) -> str:
    """The line of a compiler's message that states the error."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return next((line for line in lines if "error" in line.casefold()), lines[0] if lines else "without a word")[:200]


def _leave_no_core_file() -> None:
    with contextlib.suppress(ImportError, OSError, ValueError):  # not on Windows
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    _leave_no_core_file()
    print(f"\n{VERDICT}{main(*sys.argv[1:])}")
