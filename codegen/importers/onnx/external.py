"""External data of ONNX models, read from files in the model's folder and from nowhere else."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import onnx
from onnx import AttributeProto, TensorProto

from codegen.errors import ParameterError
from codegen.frontend.parameters.archive import MAX_BYTES
from codegen.frontend.spec.place import Place, show


def load_external(model: onnx.ModelProto, path: Path, place: Place) -> None:
    """Loads tensors that are stored in files beside ``path`` into the model.

    Raises ParameterError, which names the file, if a file is missing, too short or outside the model's folder.
    """
    by_location: dict[str, list[TensorProto]] = {}
    for tensor in _tensors(model):
        if tensor.data_location == TensorProto.EXTERNAL:
            by_location.setdefault(_facts(tensor).get("location", ""), []).append(tensor)
    total = 0
    for location, tensors in by_location.items():
        held = f"which holds tensor {show(tensors[0].name)}"
        held += f" and {len(tensors) - 1} more" if len(tensors) > 1 else ""
        file = _file(location, path, held, place)
        size = file.stat().st_size
        with file.open("rb") as stream:
            for tensor in tensors:
                start, length = _range(tensor, size, location, place)
                total += length
                if total > MAX_BYTES:
                    raise place.parameter_error(f"has more than {MAX_BYTES} bytes of tensors in other files")
                stream.seek(start)
                tensor.raw_data = stream.read(length)
                tensor.data_location = TensorProto.DEFAULT
                del tensor.external_data[:]


def _file(location: str, model: Path, held: str, place: Place) -> Path:
    """The path of a file, given relative to the model's folder, in which it must lie."""
    relative = PurePosixPath(location.replace("\\", "/"))
    if not location.isprintable() or not relative.name or relative.is_absolute() or ".." in relative.parts:
        raise place.parameter_error(
            f"{show(location)}, {held}, is not a file in the model's folder; only those are read"
        )
    file = model.parent / relative
    try:
        mode = file.stat().st_mode
        # If the model is a link, its tensors may be next to the link's target.
        folders = {model.parent.resolve(), model.resolve().parent}
        within = not folders.isdisjoint(file.resolve().parents)
    except FileNotFoundError:
        raise _missing(location, held, place) from None
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, or an invalid file name
        raise place.parameter_error(f"{location}, {held}, cannot be read: {error}") from error
    if not within:
        raise place.parameter_error(f"{location}, {held}, leads out of the model's folder; only files in it are read")
    if not stat.S_ISREG(mode):
        raise place.parameter_error(f"{location}, {held}, is not a regular file")
    return file


def _missing(location: str, held: str, place: Place) -> ParameterError:
    return place.parameter_error(
        f"{location}, {held}, is missing beside the model: put it there, or save the model with its tensors inside"
    )


def _range(tensor: TensorProto, size: int, location: str, place: Place) -> tuple[int, int]:
    """The tensor's offset in a file of ``size`` bytes, and its length in bytes."""
    facts = _facts(tensor)
    try:
        start = int(facts.get("offset", 0))
        length = int(facts.get("length", size - start))
    except ValueError:
        start = length = -1
    if start < 0 or length < 0 or start + length > size:
        words = " and ".join(f"{key} {facts[key][:20]}" for key in ("offset", "length") if key in facts)
        raise place.parameter_error(
            f"{location} has {size} bytes, which do not hold tensor {show(tensor.name)} {list(tensor.dims)} of "
            f"{words or 'it'}: is the file whole?"
        )
    return start, length


def _facts(tensor: TensorProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in tensor.external_data}


def _tensors(model: onnx.ModelProto) -> Iterator[TensorProto]:
    yield from _of_graph(model.graph)
    for function in model.functions:
        for node in function.node:
            yield from _of_node(node)


def _of_graph(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        yield from _of_node(node)


def _of_node(node: onnx.NodeProto) -> Iterator[TensorProto]:
    for attribute in node.attribute:
        if attribute.type == AttributeProto.TENSOR:
            yield attribute.t
        yield from attribute.tensors
        if attribute.type == AttributeProto.GRAPH:
            yield from _of_graph(attribute.g)
        for graph in attribute.graphs:
            yield from _of_graph(graph)
