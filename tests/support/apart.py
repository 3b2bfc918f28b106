"""Launches on Oclgrind, which sees every access of every work-item: outside a buffer, of a value that nobody wrote, of
two work-items to the same place.

As tensors share one arena, where it could not tell one from the next, here each has a buffer of its own, exactly as
long as it is.  (Run as a script under Oclgrind, this file is that program.)
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from codegen.runtime.artefact import Artefact, Floats, Tensor, read
from codegen.runtime.devices import list_devices, opencl
from tests.support.needs import ROOT
from tests.support.values import save_npz


def memory(tensor: Tensor) -> np.ndarray:
    """The positions of a tensor in its buffer, with the padding lanes of the last channel block."""
    shape = list(tensor.shape)
    if tensor.block > 1:
        shape[1] = -(-shape[1] // tensor.block) * tensor.block
    return np.unique(replace(tensor, shape=tuple(shape)).indices())


BUFFERS = ("arena", "input", "output")


def written(artefact: Artefact, launch: Mapping[str, Any]) -> list[str]:
    """The tensors that a launch writes, in the order of its arguments: scratch memory, if any, and its result."""
    count = sum(a["kind"] in BUFFERS for a in launch["arguments"])
    scratch = f"{launch['node']}/slots"
    has_scratch = count == len(launch["reads"]) + 2
    assert has_scratch or count == len(launch["reads"]) + 1
    return [*([scratch] if has_scratch else []), launch["writes"]]


def writers(artefact: Artefact) -> Iterator[tuple[str, set[str | None]]]:
    """The tensor that last wrote each tensor that a launch reads from the arena; None if nothing did."""
    owner = np.full(artefact.manifest["memory"]["arena_bytes"] // 4, None, dtype=object)
    for launch in artefact.launches:
        for name in launch["reads"]:
            if artefact.tensors[name].buffer == "arena":
                yield name, set(owner[memory(artefact.tensors[name])])
        for name in written(artefact, launch):
            if artefact.tensors[name].buffer == "arena":
                owner[memory(artefact.tensors[name])] = name


def groups(artefact: Artefact) -> dict[str, str]:
    """Tensors that lie in each other by design, by one name: the parts of a concatenation, and reshaped tensors."""
    leader = {name: name for name in artefact.tensors}
    for name, owners in writers(artefact):
        first, *others = (leader[o] for o in (name, *owners) if o is not None)
        leader = {key: first if value in others else value for key, value in leader.items()}
    return leader


@dataclass(frozen=True)
class Region:
    """A piece of one of the artefact's buffers that has a buffer of its own here; in elements."""

    buffer: str
    index: int
    start: int
    stop: int


def apart(artefact: Artefact) -> Iterator[list[Region | int]]:
    """The arguments of each preparation and launch: buffers and numbers.

    A number behind a buffer is where the kernel begins in it, here counted from the region's start; only zeros have
    none.  All other numbers are sizes.
    """
    extents: dict[str, Region] = {}
    leader = groups(artefact)
    for name, tensor in artefact.tensors.items():
        places = memory(tensor)
        start, stop = int(places[0]), int(places[-1]) + 1
        key = leader[name] if tensor.buffer == "arena" else f"{tensor.buffer} {tensor.index}"
        known = extents.setdefault(key, Region(tensor.buffer, tensor.index, start, stop))
        extents[key] = replace(known, start=min(known.start, start), stop=max(known.stop, stop))
    launches = [*artefact.manifest["preparations"], *artefact.launches]
    sizes = {
        "weights": 0 if artefact.weights is None else len(artefact.weights),
        "prepared": artefact.manifest["memory"]["prepared_bytes"] // 4,
    }
    begins = {
        kind: {a["value"] for launch in launches for a in _after(launch["arguments"], kind)} | {size}
        for kind, size in sizes.items()
    }
    for launch in launches:
        names = iter([*launch["reads"], *written(artefact, launch)] if "reads" in launch else [])
        chosen: list[Region | int] = []
        arguments = iter(launch["arguments"])
        for argument in arguments:
            kind = argument["kind"]
            if kind == "zeros":
                chosen.append(Region("zeros", 0, 0, artefact.manifest["zeros"]))
            elif kind == "number":
                chosen.append(argument["value"])
            else:
                following = next(arguments)
                assert following["kind"] == "number"
                at = following["value"]
                if kind in sizes:
                    region = Region(kind, 0, at, min(b for b in begins[kind] if b > at))
                else:
                    name = next(names)
                    region = extents[leader[name] if kind == "arena" else f"{kind} {argument['index']}"]
                chosen += [region, at - region.start]
        assert next(names, None) is None
        yield chosen


def _after(arguments: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [following for a, following in itertools.pairwise(arguments) if a["kind"] == kind]


def run_apart(artefact: Artefact, inputs: dict[str, Floats], native_floats: int) -> dict[str, Floats]:
    """All launches on the first device, each tensor in a buffer of its own; for vectors of so many floats."""
    cl = opencl()
    device = list_devices()[0].handle
    context = cl.Context([device])
    queue = cl.CommandQueue(context, device)
    program = cl.Program(context, artefact.source)
    program.build(options=artefact.build_options(native_floats), devices=[device])
    buffers: dict[Region, Any] = {}

    def buffer(region: Region) -> Any:
        if region not in buffers:
            ports = {"input": artefact.inputs, "output": artefact.outputs}.get(region.buffer)
            kind = np.dtype(ports[region.index]["type"] if ports else np.float32)
            size = kind.itemsize * (region.stop - region.start)
            buffers[region] = cl.Buffer(context, cl.mem_flags.READ_WRITE, size)
            content = None
            if region.buffer == "input":
                assert region.start == 0
                content = inputs[artefact.inputs[region.index]["name"]].astype(kind)
            elif region.buffer == "weights":
                assert artefact.weights is not None
                content = artefact.weights[region.start : region.stop]
            elif region.buffer in ("zeros", "prepared"):
                # The host makes both of zeros: a wide vector reads on behind the last of the prepared weights.
                content = np.zeros(region.stop - region.start, dtype=np.float32)
            if content is not None:
                cl.enqueue_copy(queue, buffers[region], np.ascontiguousarray(content))
        return buffers[region]

    launches = [*artefact.manifest["preparations"], *artefact.launches]
    for launch, arguments in zip(launches, apart(artefact), strict=True):
        kernel = cl.Kernel(program, launch["kernel"])
        kernel.set_args(*(np.uint32(a) if isinstance(a, int) else buffer(a) for a in arguments))
        cl.enqueue_nd_range_kernel(queue, kernel, tuple(launch["global"]), (1, 1, 1))
    results = {}
    for k, declared in enumerate(artefact.outputs):
        results[declared["name"]] = np.empty(declared["shape"], dtype=declared["type"])
        whole = Region("output", k, 0, results[declared["name"]].size)
        cl.enqueue_copy(queue, results[declared["name"]], buffers[whole])
    return results


def oclgrind(
    tool: Callable[[str], str], folder: Path, inputs: dict[str, Floats], results: Path, native_floats: int = 8
) -> str:
    """Runs an artefact under Oclgrind; the log of its errors."""
    save_npz(folder.parent / "inputs.npz", inputs)
    log = folder.parent / "oclgrind.log"
    # Optimised code has a "freeze" instruction that Oclgrind 21.10 does not know, and fewer accesses to look at.
    checks = [
        "--data-races",
        "--uninitialized",
        "--uniform-writes",
        "--check-api",
        "--max-errors",
        "20",
        "--build-options",
        "-cl-opt-disable",
    ]
    command = [tool("oclgrind"), *checks, "--log", str(log), sys.executable, "-m", __spec__.name]
    command += [str(folder), str(results), str(native_floats)]
    environment = {**os.environ, "PYOPENCL_NO_CACHE": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return log.read_text()


if __name__ == "__main__":
    folder, target = map(Path, sys.argv[1:3])
    save_npz(target, run_apart(read(folder), dict(np.load(folder.parent / "inputs.npz")), int(sys.argv[3])))
