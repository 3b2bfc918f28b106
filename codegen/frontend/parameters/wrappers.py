"""Names of tensors with and without the prefixes that wrappers of a network add.

DataParallel, torch.compile, AveragedModel and training frameworks save a network's tensors as ``module.stem.weight`` or
``model._orig_mod.stem.weight``; a spec names them ``stem.weight``.
"""

from __future__ import annotations

from collections.abc import Collection

# Modules that only hold a network or a part of one: these may occur anywhere in a name.
_ANYWHERE = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
# Attributes in which training classes keep networks: these may occur at the front.
_IN_FRONT = frozenset(
    {"averaged_model", "ema", "ema_model", "model", "model_ema", "net", "net_ema", "network", "student", "teacher"}
)


class Names:
    """The tensors of a file by their own names, and by their names without wrappers."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = names
        # A counter may be next to a wrapped network: AveragedModel's n_averaged.
        paths = [path for path in map(_path, names) if len(path) > 1]
        self._common = 0  # leading words of all names that do not belong to a single layer
        while paths and all(len(p) > self._common + 2 and p[self._common] == paths[0][self._common] for p in paths):
            self._common += 1
        self._by_form: dict[str, list[str]] = {}
        for name in names:
            for form in self.forms(name):
                self._by_form.setdefault(form, []).append(name)

    def find(self, wanted: str) -> list[str]:
        """The tensors that ``wanted`` may mean: the one of that name, else all that differ in wrappers only."""
        if wanted in self._names:
            return [wanted]
        found = self._by_form.get(".".join(_path(wanted)), [])
        # A module of the network itself may be named like a wrapper.
        ending = [name for name in found if name.endswith(f".{wanted}")]
        return ending if len(ending) == 1 else found

    def forms(self, name: str) -> list[str]:
        """A tensor's names without wrappers, and without some or all of the possible leading words."""
        path = _path(name)
        count = 0
        while count + 1 < len(path) and (count < self._common or path[count] in _IN_FRONT):
            count += 1
        return [".".join(path[start:]) for start in range(count + 1)]


def _path(name: str) -> list[str]:
    """The words of a tensor's name without those of wrappers."""
    *path, last = name.split(".")
    return [*(word for word in path if word not in _ANYWHERE), last]
