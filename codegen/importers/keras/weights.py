"""The arrays of each layer, in the two HDF5 layouts that Keras has used.

``.h5``: model_weights/<layer> has an attribute weight_names that lists the paths of its arrays; a nested model has the
arrays of all its layers in one such list.  ``.keras``: layers/<class>_<n>/vars/<i>, models nested as groups.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from codegen.frontend.spec.place import Place, listed, show
from codegen.importers.keras.hdf5 import Array, Group


@dataclass(frozen=True)
class Entry:
    """An array in the file; ``word`` is the layer's name for it, "" if the file does not say."""

    word: str
    array: Array


class Weights(ABC):
    """The arrays of one model's layers."""

    @abstractmethod
    def entries(self, layer: str, group: str, place: Place) -> list[Entry]:
        """The arrays of a layer, in the layer's order."""

    @abstractmethod
    def nested(self, layer: str, group: str, place: Place) -> Weights:
        """The weights of a model that is a layer."""

    @abstractmethod
    def wrapped(self, layer: str, group: str, place: Place) -> Weights:
        """The weights of the layer that a wrapper holds."""

    @abstractmethod
    def inside(self, layer: str, group: str, place: Place) -> dict[str, list[Entry]]:
        """The weights of layers that a layer creates itself, by their names in it."""

    def read(self, layer: str, group: str, words: Sequence[str], place: Place) -> dict[str, NDArray[Any]]:
        """The arrays of a layer, by word; raises ParameterError unless the layer has exactly these.

        A word may list alternatives, "kernel|depthwise_kernel": the first is the key.  "query_dense|query/kernel" is an
        array of a layer that the layer creates itself.
        """
        if any("/" in word for word in words):
            return self._read_inside(layer, group, words, place)
        return self._matched(self.entries(layer, group, place), words, place)

    def _read_inside(self, layer: str, group: str, words: Sequence[str], place: Place) -> dict[str, NDArray[Any]]:
        found, arrays = self.inside(layer, group, place), {}
        for names in dict.fromkeys(word.split("/")[0] for word in words):
            known = names.split("|")
            entries = next((found.pop(name) for name in known if name in found), [])
            own = [word.split("/")[1] for word in words if word.split("/")[0] == names]
            inner = self._matched(entries, own, place.key(known[0]))
            arrays.update({f"{known[0]}/{word}": array for word, array in inner.items()})
        if any(found.values()):
            raise place.parameter_error(f"has arrays of {listed(sorted(found), 'and')} in the file, which is not known")
        return arrays

    @staticmethod
    def _matched(entries: Sequence[Entry], words: Sequence[str], place: Place) -> dict[str, NDArray[Any]]:
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
            if entry.array.fault:
                raise place.key(known[0]).parameter_error(entry.array.fault)
            arrays[known[0]] = entry.array.values
        return arrays


class Legacy(Weights):
    """The group model_weights of an ``.h5`` file."""

    def __init__(self, group: Group) -> None:
        self._group = group

    def entries(self, layer: str, group: str, place: Place) -> list[Entry]:
        return [Entry(path[-1], array) for path, array in self._listed(layer, place)]

    def nested(self, layer: str, group: str, place: Place) -> Weights:
        return Flat(self._listed(layer, place), layer)

    def wrapped(self, layer: str, group: str, place: Place) -> Weights:
        return Flat(self._listed(layer, place), layer, True)

    def inside(self, layer: str, group: str, place: Place) -> dict[str, list[Entry]]:
        return _by_owner(self._listed(layer, place))

    def _listed(self, layer: str, place: Place) -> list[tuple[list[str], Array]]:
        group = self._group.group(layer)
        if group is None:
            raise place.parameter_error("has no weights in the file")
        found = []
        for name in _weight_names(group, place):
            member: Group | Array | None = group
            for part in name.split("/"):
                member = member.members.get(part) if isinstance(member, Group) else None
            if not isinstance(member, Array):
                raise place.parameter_error(f"array {show(name)} is not in the file")
            found.append(([p.split(":")[0] for p in name.split("/")], member))
        return found


def _by_owner(arrays: list[tuple[list[str], Array]]) -> dict[str, list[Entry]]:
    found: dict[str, list[Entry]] = {}
    for path, array in arrays:
        found.setdefault(path[-2] if len(path) > 1 else "", []).append(Entry(path[-1], array))
    return found


class Flat(Weights):
    """The list of a nested model's arrays in an ``.h5`` file, each under a path that ends in <layer>/<word>.

    For a wrapper, the path may contain the wrapper's name in place of the layer's.
    """

    def __init__(self, arrays: list[tuple[list[str], Array]], parent: str, wrapper: bool = False) -> None:
        self._arrays, self._parent, self._wrapper = arrays, parent, wrapper

    def entries(self, layer: str, group: str, place: Place) -> list[Entry]:
        found = [(path, d) for path, d in self._arrays if len(path) > 1 and path[-2] == layer]
        # Layers of other models in the list may have this name: take those under the model's own name, or under none.
        for parent in ([self._parent], []):
            if any(path[-3:-2] == parent for path, _ in found):
                found = [(path, d) for path, d in found if path[-3:-2] == parent]
                break
        if not found:
            # TensorFlow makes names unique with a numeric suffix.
            alike = [
                path[-2] for path, _ in self._arrays if len(path) > 1 and re.fullmatch(r"_\d+", _rest(path, layer))
            ]
            found = [(path, d) for path, d in self._arrays if len(set(alike)) == 1 and path[-2:-1] == alike[:1]]
        if not found and self._wrapper:
            found = [(path, d) for path, d in self._arrays if path[-2:-1] == [self._parent] and path[-1] not in _SIGMA]
        return [Entry(path[-1], array) for path, array in found]

    def nested(self, layer: str, group: str, place: Place) -> Weights:
        return Flat(self._below(layer) or self._arrays, layer)

    def wrapped(self, layer: str, group: str, place: Place) -> Weights:
        own = [(path, d) for path, d in self._arrays if path[-2:-1] == [layer]]
        return Flat(self._below(layer) + own, layer, True)

    def inside(self, layer: str, group: str, place: Place) -> dict[str, list[Entry]]:
        return _by_owner(self._below(layer) or self._arrays)

    def _below(self, layer: str) -> list[tuple[list[str], Array]]:
        return [(path, d) for path, d in self._arrays if layer in path[:-2]]


_SIGMA = ("vector_u", "sn_u")  # estimates of a spectral norm, used in training only


class Grouped(Weights):
    """The group of a model in a ``.keras`` file, which contains a group "layers"."""

    def __init__(self, group: Group) -> None:
        self._layers = group.group("layers") or group.group("_layer_checkpoint_dependencies") or Group()
        # Keras 3 stores the layers' names next to their arrays.
        self._by_name: dict[str, list[Group]] = {}
        for name in self._layers.members:
            child = self._layers.group(name)
            said = child and child.group("vars")
            if child is not None and said is not None and said.text("name"):
                self._by_name.setdefault(str(said.text("name")), []).append(child)

    def entries(self, layer: str, group: str, place: Place) -> list[Entry]:
        return _numbered(self._child(layer, group))

    def wrapped(self, layer: str, group: str, place: Place) -> Weights:
        return Wrapped(self._child(layer, group).group("layer") or Group())

    def inside(self, layer: str, group: str, place: Place) -> dict[str, list[Entry]]:
        child = self._child(layer, group)
        found = {name: _numbered(child.group(name) or Group()) for name in child.members}
        return {name: entries for name, entries in found.items() if entries}

    def nested(self, layer: str, group: str, place: Place) -> Weights:
        return Grouped(self._child(layer, group))

    def _child(self, layer: str, group: str) -> Group:
        said = self._by_name.get(layer, [])
        return (said[0] if len(said) == 1 else self._layers.group(group)) or Group()


class Wrapped(Grouped):
    """The group of a wrapper's inner layer in a ``.keras`` file, whatever its name."""

    def __init__(self, group: Group) -> None:
        super().__init__(Group())
        self._own = group

    def _child(self, layer: str, group: str) -> Group:
        return self._own


def _numbered(group: Group) -> list[Entry]:
    """The arrays vars/0, vars/1, ... of a layer's group."""
    kept = group.group("vars") or Group()
    arrays = [(key, member) for key, member in kept.members.items() if isinstance(member, Array)]
    return [Entry("", array) for _, array in sorted(arrays, key=lambda item: (len(item[0]), item[0]))]


def snake_case(class_name: str) -> str:
    """Conv2DTranspose -> conv2d_transpose, as in Keras."""
    text = re.sub(r"\W+", "", class_name)
    text = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", text)
    return re.sub("([a-z])([A-Z])", r"\1_\2", text).lower()


def _weight_names(group: Group, place: Place) -> list[str]:
    """The attribute weight_names; a long one is split into weight_names0, weight_names1, ..."""
    key = "weight_names"
    pieces = [key] if key in group.attributes else []
    while not pieces or pieces != [key]:
        piece = f"{key}{len(pieces)}"
        if piece not in group.attributes:
            break
        pieces.append(piece)
    if not pieces:
        raise place.parameter_error(f"has no attribute {show(key)} in the file")
    values = [group.attributes[piece] for piece in pieces]
    return [name for value in values for name in (value if isinstance(value, list) else [value])]


def _rest(path: list[str], layer: str) -> str:
    return path[-2].removeprefix(layer) if path[-2].startswith(layer) else ""
