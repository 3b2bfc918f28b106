"""Document -> readable TOML and .safetensors bytes, reproducible for the same model."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import safetensors.numpy

from codegen.frontend.spec.place import toml
from codegen.graph.ops import Shape
from codegen.graph.types import FLOAT32
from codegen.importers.document import Document, Layer, Port
from codegen.importers.tidy import without_defaults

_SEAL = b"\n# While this fits, clgen import replaces the file and its weights:\n# sha256 "


@dataclass(frozen=True)
class Imported:
    """The files of an import: ``text`` is NAME.toml, ``weights`` is NAME.safetensors, empty without parameters.

    The text ends with a hash of both files, from which the next import can tell whether they were edited.
    """

    name: str
    text: bytes
    weights: bytes

    @property
    def files(self) -> dict[str, bytes]:
        """The files by name; the spec comes first and names the other."""
        weights = {f"{self.name}.safetensors": self.weights} if self.weights else {}
        return {f"{self.name}.toml": self.text, **weights}

    def is_imported(self, there: Mapping[str, bytes]) -> bool:
        """True if the existing files of this name are unedited results of an import."""
        text, weights = (there.get(f"{self.name}.{ending}", b"") for ending in ("toml", "safetensors"))
        above, mark, digest = text.rpartition(_SEAL)
        return bool(mark) and digest.strip().decode("ascii", "replace") == _digest(above, weights)


def write_document(document: Document) -> Imported:
    lines = [f"# Imported from {_comment(document.source)}.", *(f"# Note: {_comment(n)}." for n in document.notes), ""]
    lines += ["[model]", f"name = {toml(document.name)}"]
    if document.arrays:
        lines.append(f"weights = {toml(document.name + '.safetensors')}")
    if document.batch != 1:
        lines.append(f"batch = {document.batch}")
    if document.arrays and document.weight_layout != "OIHW":
        lines.append(f"weight_layout = {toml(document.weight_layout)}")
    for port in document.inputs:
        lines += ["", "[[input]]", *_port(port, document.inputs), *_shape(port.shape, document)]
    for name, tensor in document.constants.items():
        lines += ["", "[[constant]]", f"name = {toml(name)}", *([f"tensor = {toml(tensor)}"] if tensor != name else [])]
    before = document.inputs[0].name if len(document.inputs) == 1 else None
    for layer in document.layers.values():
        lines += ["", *_layer(layer, before, document.arrays)]
        before = layer.name
    spatial = any(len(port.shape) > 2 for port in document.inputs)
    for port in document.outputs:
        lines += ["", "[[output]]", *_port(port, document.outputs)]
        if port.value != port.name:
            lines.append(f"from = {toml(port.value)}")
        if document.channels_last and not spatial and len(port.shape) > 2:
            lines.append('layout = "NHWC"')
    weights = safetensors.numpy.save(dict(document.arrays)) if document.arrays else b""
    text = ("\n".join(lines) + "\n").encode()
    return Imported(document.name, text + _SEAL + _digest(text, weights).encode() + b"\n", weights)


def _digest(text: bytes, weights: bytes) -> str:
    return hashlib.sha256(hashlib.sha256(text).digest() + hashlib.sha256(weights).digest()).hexdigest()


def _shape(shape: Shape, document: Document) -> list[str]:
    batch, sample = shape[:1], shape[1:]
    if not sample or batch != (document.batch,):
        return [f"full_shape = {toml(shape)}"]
    if document.channels_last and len(sample) > 1:
        return [f"shape = {toml([*sample[1:], sample[0]])}", 'layout = "NHWC"']
    return [f"shape = {toml(sample)}"]


def _port(port: Port, ports: Sequence[Port]) -> list[str]:
    """The table of one of several inputs or outputs: its names and type."""
    lines = [f"name = {toml(port.name)}"]
    first = next(other for other in ports if other.original == port.original)
    if port.original != port.name and first is port and _is_storable(port.original):
        lines.append(f"original = {toml(port.original)}")
    return [*lines, *([f"type = {toml(port.type)}"] if port.type != FLOAT32 else [])]


def _is_storable(name: str) -> bool:
    """False for names with lone surrogates, which JSON may contain and UTF-8 cannot encode."""
    return not any("\ud800" <= c <= "\udfff" for c in name)


def _layer(layer: Layer, before: str | None, arrays: Collection[str]) -> list[str]:
    lines = ["[[layer]]", f"name = {toml(layer.name)}"]
    if layer.node not in ("", layer.name) and _is_storable(layer.node):
        lines.append(f"original = {toml(layer.node)}")
    lines.append(f"op = {toml(layer.op)}")
    if len(layer.inputs) > 1:
        lines.append(f"inputs = {toml(layer.inputs)}")
    elif layer.inputs[0] != before:
        lines.append(f"input = {toml(layer.inputs[0])}")
    return lines + [f"{key} = {toml(value)}" for key, value in without_defaults(layer, arrays).items()]


def _comment(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:200])
