"""Names of tensors with and without what wrappers of a network put before them.

DataParallel, torch.compile, AveragedModel and training frameworks save a network's tensors as ``module.stem.weight`` or
``model._orig_mod.stem.weight``; a spec names them ``stem.weight``.
"""

from __future__ import annotations

from collections.abc import Collection

# Modules that hold a network, or a part of one, and add nothing: these may stand anywhere.
_ANYWHERE = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
# Attributes in which classes of training keep networks: these may stand in front.
_IN_FRONT = frozenset(
    {"averaged_model", "ema", "ema_model", "model", "model_ema", "net", "net_ema", "network", "student", "teacher"}
)


class Names:
    """The tensors of a file by their own names, or by what is left of those without wrappers."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = names
        # Counters stand beside a wrapped network: n_averaged of AveragedModel.
        paths = [path for path in map(_path, names) if len(path) > 1]
        self._common = 0  # words with which all names begin, and which are not of one layer only
        while paths and all(len(p) > self._common + 2 and p[self._common] == paths[0][self._common] for p in paths):
            self._common += 1
        self._by_form: dict[str, list[str]] = {}
        for name in names:
            for form in self.forms(name):
                self._by_form.setdefault(form, []).append(name)

    def find(self, wanted: str) -> list[str]:
        """The tensors that ``wanted`` may mean: the one of that name, else all that differ by wrappers only."""
        if wanted in self._names:
            return [wanted]
        found = self._by_form.get(".".join(_path(wanted)), [])
        # A module of the network's own may be called like a wrapper.
        ending = [name for name in found if name.endswith(f".{wanted}")]
        return ending if len(ending) == 1 else found

    def forms(self, name: str) -> list[str]:
        """A tensor's name without wrappers, and without some or all of the words that may stand in front."""
        path = _path(name)
        count = 0
        while count + 1 < len(path) and (count < self._common or path[count] in _IN_FRONT):
            count += 1
        return [".".join(path[start:]) for start in range(count + 1)]


def _path(name: str) -> list[str]:
    """The words of a tensor's name without those of wrappers."""
    *path, last = name.split(".")
    return [*(word for word in path if word not in _ANYWHERE), last]
