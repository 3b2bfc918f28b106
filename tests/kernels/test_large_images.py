"""Images of so many pixels that numbers of tiles times numbers of work-items exceed int."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codegen.plan.plan import Kernel
from codegen.runtime.devices import DeviceInfo, opencl
from codegen.runtime.execute import Session
from tests.support import artefacts

ROWS = 46_400  # squared, more than an int holds


WANTED = {"rows", "columns", "x_row", "y_row", "y_block", "y_blocks", "y_tiles"}


def called(kernel: Kernel) -> list[str]:
    """The names of a kernel's arguments: buffers come with where the tensor begins in them."""
    alone = ("size", "zeros")
    return [n for p in kernel.parameters for n in ([p.name] if p.role in alone else [p.name, f"{p.name}_at"])]


@pytest.mark.filterwarnings("ignore:Non-empty compiler output")
def test_every_row_of_a_large_image_is_computed(device: DeviceInfo, tmp_path: Path) -> None:
    """All rows of the input are the same memory, so that the output alone takes room: all its rows must be alike."""
    cl = opencl()
    built = artefacts.build("winograd")
    session = Session(built.read(tmp_path), device)
    kernel = next(k for k in built.plan.kernels if "_pointwise_" in k.name and set(called(k)) >= WANTED)
    launch = next(launch for launch in built.plan.launches if launch.kernel == kernel.name)
    description: Any = kernel.description
    columns = description.tiling.wide.row
    row = columns * built.plan.target.lanes
    y = np.full((ROWS, row), np.nan, dtype=np.float32)
    buffer = cl.Buffer(session.context, cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR, hostbuf=y)
    instead = {
        **{"y": buffer, "y_at": 0, "y_block": 0, "y_row": row, "y_blocks": 1, "y_tiles": 1},
        **{"rows": ROWS, "columns": columns, "x_row": 0},
    }
    handle = device.handle
    options = session.artefact.build_options(handle.native_vector_width_float)
    compiled = cl.Kernel(cl.Program(session.context, session.artefact.source).build(options), kernel.name)
    for position, (name, argument) in enumerate(zip(called(kernel), launch.arguments, strict=True)):
        usual = argument.value if argument.kind == "number" else session._buffers[argument.kind, argument.index]
        value = instead.get(name, usual)
        compiled.set_arg(position, np.uint32(value) if isinstance(value, int) else value)
    arena = session._buffers["arena", 0]
    cl.enqueue_fill_buffer(session.queue, arena, np.float32(1.5), 0, arena.size)
    cl.enqueue_nd_range_kernel(session.queue, compiled, (ROWS, 1, 1), (1, 1, 1))
    cl.enqueue_copy(session.queue, y, buffer)
    assert np.isfinite(y[0]).all() and y[0].any()
    assert (y == y[0]).all()
