"""The arrays of each layer, from the two layouts of HDF5 that Keras has had.

``.h5``: model_weights/<layer> has an attribute weight_names with the paths of its arrays below; a nested model has the
arrays of all its layers in one such list.  ``.keras``: layers/<class>_<n>/vars/<i>, models nested as groups.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from codegen.errors import ClgenError
from codegen.frontend.archive import MAX_ELEMENTS
from codegen.frontend.place import Place, listed, show

_MOST_COMPRESSED = 1100  # bytes that a byte of deflate can hold: 1032


@dataclass(frozen=True)
class Entry:
    """An array in the file; ``word`` is what the layer calls it, "" where the file does not say."""

    word: str
    dataset: Any


class Weights(ABC):
    """The arrays of one model's layers."""

    def __init__(self, file: str) -> None:
        self.file = file

    @abstractmethod
    def entries(self, layer: str, group: str) -> list[Entry]:
        """Those of a layer, in the layer's order."""

    @abstractmethod
    def nested(self, layer: str, group: str) -> Weights:
        """Those of a model that is a layer."""

    def read(self, layer: str, group: str, words: Sequence[str], place: Place) -> dict[str, NDArray[Any]]:
        """The arrays of a layer that has just these, by word.  A word may say alternatives, "kernel|depthwise_kernel":
        the first is the key."""
        with reading(self.file):
            entries = self.entries(layer, group)
            if len(entries) != len(words):
                have = f"{listed([e.word or '?' for e in entries], 'and')}" if entries else "none"
                raise place.parameter_error(
                    f"has {len(entries)} arrays in the file ({have}), but the layer has "
                    f"{listed([w.split('|')[0] for w in words], 'and')}: is the file whole?"
                )
            arrays = {}
            for entry, names in zip(entries, words, strict=True):
                known = names.split("|")
                if entry.word and entry.word not in known:
                    raise place.parameter_error(f"array {show(entry.word)} is where {listed(known)} should be")
                arrays[known[0]] = _load(entry.dataset, place.key(known[0]))
            return arrays


class Legacy(Weights):
    """``.h5``: the group model_weights."""

    def __init__(self, file: str, group: Any) -> None:
        super().__init__(file)
        self._group = group

    def entries(self, layer: str, group: str) -> list[Entry]:
        return [Entry(path[-1], dataset) for path, dataset in self._listed(layer)]

    def nested(self, layer: str, group: str) -> Weights:
        with reading(self.file):
            return Flat(self.file, self._listed(layer), layer)

    def _listed(self, layer: str) -> list[tuple[list[str], Any]]:
        group = member(self._group, layer)
        found = []
        for name in names(group, "weight_names"):
            dataset = group
            for part in name.split("/"):
                dataset = member(dataset, part)
            found.append(([p.split(":")[0] for p in name.split("/")], dataset))
        return found


class Flat(Weights):
    """``.h5``: the one list of a nested model, each array under a path that ends in <layer>/<word>."""

    def __init__(self, file: str, arrays: list[tuple[list[str], Any]], parent: str) -> None:
        super().__init__(file)
        self._arrays, self._parent = arrays, parent

    def entries(self, layer: str, group: str) -> list[Entry]:
        found = [(path, d) for path, d in self._arrays if len(path) > 1 and path[-2] == layer]
        # Layers of other models in the list may have the same name: below the model's own, or below none.
        for parent in ([self._parent], []):
            if any(path[-3:-2] == parent for path, _ in found):
                found = [(path, d) for path, d in found if path[-3:-2] == parent]
                break
        if not found:
            # TensorFlow made names unique by a number behind.
            alike = [
                path[-2] for path, _ in self._arrays if len(path) > 1 and re.fullmatch(r"_\d+", _rest(path, layer))
            ]
            found = [(path, d) for path, d in self._arrays if len(set(alike)) == 1 and path[-2:-1] == alike[:1]]
        return [Entry(path[-1], dataset) for path, dataset in found]

    def nested(self, layer: str, group: str) -> Weights:
        inside = [(path, d) for path, d in self._arrays if layer in path[:-2]]
        return Flat(self.file, inside or self._arrays, layer)


class Grouped(Weights):
    """``.keras``: the group of a model, which has the group layers."""

    def __init__(self, file: str, group: Any) -> None:
        super().__init__(file)
        with reading(file):
            kept = next((k for k in ("layers", "_layer_checkpoint_dependencies") if k in group), None)
            self._layers = None if kept is None else member(group, kept)
            # The layers' names are beside their arrays since Keras 3.
            self._by_name: dict[str, list[str]] = {}
            for key in () if self._layers is None else self._layers:
                child = member(self._layers, key)
                said = member(child, "vars").attrs.get("name") if "vars" in child else None
                if isinstance(said, (str, bytes)):
                    self._by_name.setdefault(_text(said), []).append(key)

    def entries(self, layer: str, group: str) -> list[Entry]:
        child = self._child(layer, group)
        if child is None or "vars" not in child:
            return []
        kept = member(child, "vars")
        keys = sorted(kept, key=lambda key: (len(key), key))
        return [Entry("", member(kept, key)) for key in keys]

    def nested(self, layer: str, group: str) -> Weights:
        with reading(self.file):
            child = self._child(layer, group)
        return Grouped(self.file, {} if child is None else child)

    def _child(self, layer: str, group: str) -> Any:
        said = self._by_name.get(layer, [])
        key = said[0] if len(said) == 1 else group
        if self._layers is None or key not in self._layers:
            return None
        return member(self._layers, key)


@contextmanager
def reading(file: str) -> Iterator[None]:
    """h5py raises whatever a damaged byte leads to."""
    place = Place(file)
    try:
        yield
    except ClgenError:
        raise
    except MemoryError as error:
        raise place.parameter_error("does not fit into memory") from error
    except Exception as error:
        raise place.parameter_error(f"is damaged: {error}") from error


def member(group: Any, name: str) -> Any:
    """A group or dataset that is in the file itself: links may lead into any other."""
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"{show(name)} is not in {show(str(group.name))} of the file itself")
    return group[name]


def names(group: Any, key: str) -> list[str]:
    """An attribute that lists names; long ones are in pieces, <key>0, <key>1, ..."""
    pieces = [key] if key in group.attrs else []
    while not pieces or pieces[-1] != key:
        piece = f"{key}{len(pieces)}"
        if piece not in group.attrs:
            break
        pieces.append(piece)
    if not pieces:
        raise ValueError(f"{show(str(group.name))} has no attribute {show(key)}")
    return [_text(item) for piece in pieces for item in np.asarray(group.attrs[piece]).reshape(-1)]


def snake_case(class_name: str) -> str:
    """Conv2DTranspose -> conv2d_transpose, the way Keras does it."""
    text = re.sub(r"\W+", "", class_name)
    text = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", text)
    return re.sub("([a-z])([A-Z])", r"\1_\2", text).lower()


def _load(dataset: Any, place: Place) -> NDArray[Any]:
    if not isinstance(dataset, h5py.Dataset):
        raise place.parameter_error("is not an array")
    shape, dtype = dataset.shape, dataset.dtype
    # bfloat16 has no type in HDF5: Keras stores its two bytes as they are.
    number = (dtype.kind in "fiu" and dtype.itemsize <= 8) or dtype == np.dtype("V2")
    if shape is None or not number:
        raise place.parameter_error(f"holds {dtype}; it should hold floating-point numbers or integers")
    elements = math.prod(shape)
    if elements > MAX_ELEMENTS:
        raise place.parameter_error(f"has {elements} elements; {MAX_ELEMENTS} are the most")
    if dataset.is_virtual or dataset.external:
        raise place.parameter_error("is in another file")
    stored = dataset.id.get_storage_size()
    if elements * dtype.itemsize > stored * (_MOST_COMPRESSED if dataset.id.get_create_plist().get_nfilters() else 1):
        raise place.parameter_error(f"has {stored} bytes in the file for {list(shape)} of {dtype}: is it whole?")
    values = dataset[()]
    if dtype.kind == "V":
        values = (np.frombuffer(values.tobytes(), "<u2").astype("<u4") << 16).view("<f4").reshape(shape)
    return np.asarray(values)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _rest(path: list[str], layer: str) -> str:
    return path[-2].removeprefix(layer) if path[-2].startswith(layer) else ""
