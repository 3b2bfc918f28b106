"""Checks that the parts of a manifest fit each other and the kernels: no launch may access beyond a buffer."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from codegen.emit.dialect import C99, OPENCL
from codegen.emit.packaging import PLAIN_C
from codegen.graph.types import size_of
from codegen.runtime.manifest import At, shown

MOST_ITEMS = 2**40  # work-items of a launch: this many take hours

Sizes = Mapping[str, list[int]]  # elements of each buffer, by kind and index


def check(manifest: Mapping[str, Any], source: str, weights: int | None, at: At) -> None:
    """Raises SpecError if something does not fit; ``weights`` counts the numbers of the constants, if any."""
    _check_ports(manifest, at)
    sizes = _sizes(manifest, weights, at["memory"])
    for name, tensor in manifest["tensors"].items():
        _check_tensor(tensor, sizes, at["tensors"][name])
    for k, output in enumerate(manifest["outputs"]):
        if output["tensor"] not in manifest["tensors"]:
            at["outputs"][k]["tensor"].refuse(f"{shown(output['tensor'])} is none of the tensors")
    kernels = _signatures(source)
    for kind in ("preparations", "launches"):
        for k, launch in enumerate(manifest[kind]):
            _check_launch(launch, manifest, kernels, sizes, at[kind][k])


def _check_ports(manifest: Mapping[str, Any], at: At) -> None:
    taken: set[str] = set()
    for kind in ("inputs", "outputs"):
        own: set[str] = set()
        for k, port in enumerate(manifest[kind]):
            if port["original"] in own:
                at[kind][k]["original"].refuse(f"{shown(port['original'])} is there twice")
            own.add(port["original"])
            if port["name"].upper() in taken:
                at[kind][k]["name"].refuse(f"{shown(port['name'])} is there twice")
            taken.add(port["name"].upper())
            if port["channels_last"] and len(port["shape"]) < 3:
                at[kind][k]["channels_last"].refuse(f"is true, but the shape is {port['shape']}")


def _sizes(manifest: Mapping[str, Any], weights: int | None, at: At) -> Sizes:
    memory, each = manifest["memory"], size_of(manifest["type"])
    for key, size in memory.items():
        if size % each:
            at[key].unfit(size, f"a multiple of {each}, the bytes of a {manifest['type']}")
    if memory["weights_bytes"] != each * (weights or 0):
        at["weights_bytes"].unfit(memory["weights_bytes"], f"{each * (weights or 0)}, the size of the file of weights")
    return {
        "arena": [memory["arena_bytes"] // each],
        "input": [math.prod(i["shape"]) for i in manifest["inputs"]],
        "output": [math.prod(o["shape"]) for o in manifest["outputs"]],
        "weights": [] if weights is None else [weights],
        "prepared": [memory["prepared_bytes"] // each] if memory["prepared_bytes"] else [],
        "zeros": [manifest["zeros"]] if manifest["zeros"] else [],
    }


def _size(sizes: Sizes, kind: str, index: int, at: At) -> int:
    """The number of elements of a buffer; raises SpecError if there is no such buffer."""
    if index >= len(sizes[kind]):
        at["index"].refuse(f"buffer {kind} {index} is not there")
    return sizes[kind][index]


def _check_tensor(tensor: Mapping[str, Any], sizes: Sizes, at: At) -> None:
    shape, strides, block = list(tensor["shape"]), tensor["strides"], tensor["block"]
    if len(strides) != len(shape):
        at["strides"].refuse(f"has {len(strides)} numbers for {len(shape)} sizes")
    if block > 1 and len(shape) < 2:
        at["block"].refuse(f"{block} is for channels, and there are none in {shape}")
    if block > 1:
        shape[1] = -(-shape[1] // block)
    last = tensor["offset"] + sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) + block - 1
    size = _size(sizes, tensor["buffer"], tensor["index"], at)
    if last >= size:
        at.refuse(f"ends at element {last} of buffer {tensor['buffer']} {tensor['index']}, which has {size}")


def _check_launch(
    launch: Mapping[str, Any], manifest: Mapping[str, Any], kernels: Mapping[str, list[str]], sizes: Sizes, at: At
) -> None:
    parameters = kernels.get(launch["kernel"])
    if parameters is None or launch["kernel"] not in {k["name"] for k in manifest["kernels"]}:
        at["kernel"].refuse(f"{shown(launch['kernel'])} is none of the kernels of {manifest['name']}")
    if math.prod(launch["global"]) > MOST_ITEMS:
        items = math.prod(launch["global"])
        at["global"].refuse(f"{launch['global']} makes {items} items; at most {MOST_ITEMS} are allowed")
    if any(n % m for n, m in zip(launch["global"], launch["local"], strict=True)):
        at["local"].refuse(f"{launch['local']} does not divide the global size {launch['global']}")
    arguments = launch["arguments"]
    if len(arguments) != len(parameters):
        at["arguments"].refuse(f"are {len(arguments)}; kernel {launch['kernel']} has {len(parameters)} parameters")
    for k, (argument, pointed) in enumerate(zip(arguments, parameters, strict=True)):
        here, kind, is_pointer = at["arguments"][k], argument["kind"], bool(pointed)
        if is_pointer != (kind != "number"):
            here["kind"].refuse(f"{shown(kind)} should be {'a buffer' if is_pointer else 'a number'}")
        if not is_pointer:
            continue
        size = _size(sizes, kind, argument["index"], here)
        ports = {"input": "inputs", "output": "outputs"}.get(kind)
        holds = manifest[ports][argument["index"]]["type"] if ports else manifest["type"]
        dialect = C99 if manifest["backend"] == PLAIN_C else OPENCL
        if dialect.element_types[holds] != pointed:
            here.refuse(f"buffer {kind} holds {holds}, but kernel {launch['kernel']} takes {pointed}")
        behind = arguments[k + 1] if k + 1 < len(arguments) and kind != "zeros" else None
        if behind is not None and behind["kind"] == "number" and behind["value"] >= max(size, 1):
            at["arguments"][k + 1]["value"].refuse(
                f"{behind['value']} is not in buffer {kind}, which has {size} elements"
            )
    for key in ("reads", "writes") if "reads" in launch else ():
        for name in launch[key] if key == "reads" else [launch[key]]:
            if name not in manifest["tensors"]:
                at[key].refuse(f"{shown(name)} is none of the tensors")


_KERNEL = re.compile(r"^(?:KERNEL|STEP)\(\d+, \d+, \d+\)\nvoid (\w+)\(([^()]*)\)", re.MULTILINE)


def _signatures(source: str) -> dict[str, list[str]]:
    """The kernels of a program: for each parameter the type that it points to, "" if it is not a pointer."""
    return {
        name: [
            parameter.partition("*")[0].split()[-1] if "*" in parameter else ""
            for parameter in parameters.replace(" OF_GRID", "").split(",")
        ]
        for name, parameters in re.findall(
            r"^(?:KERNEL|STEP)\(\d+, \d+, \d+\)\nvoid (\w+)\(([^()]*)\)", source, re.MULTILINE
        )
    }
