"""Finds the network's tensors in a checkpoint, as training scripts store several sets of weights, and other state."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

from codegen.frontend.parameters.archive import Archive, Stored, Unreadable
from codegen.frontend.parameters.pickled import Foreign
from codegen.frontend.spec.place import listed, show

MOST_SETS = 1000
MOST_NESTED = 8
MOST_CHARACTERS = 200  # characters of a key
_MOST_SHOWN = 8  # keys that an error lists

# Keys under which training scripts keep the weights.
_USUAL = ("state_dict", "model_state_dict", "model")
# Words in keys of state that only training needs.
_OF_TRAINING = re.compile(r"optim|sched|scaler|loop|callback|hparam|hyper_parameters|random|rng", re.I)
# Words in keys of moving averages of weights.
_AVERAGED = re.compile(r"(^|[._])(ema|averaged|avg|swa)($|[._])", re.I)
_SAVE = "save model.state_dict() instead"

Sets = Mapping[str, Archive]
"""The sets of tensors in a file, by the keys that lead to each, joined by dots; "" is the file itself."""


def sets_of(value: Any, stored: Callable[[Any], Stored | None]) -> Sets:
    """The dictionaries of tensors within a file's value; raises Unreadable if there are none.

    Dictionaries nested deeper than MOST_NESTED, or under keys longer than MOST_CHARACTERS, are left out.  ``stored``
    returns the tensor that an item of a dictionary stands for, None for other items.
    """
    found: dict[str, dict[str, Stored]] = {}
    foreign: dict[str, str] = {}
    seen: set[int] = set()
    # Level by level, as the weights are not nested deeply.
    level: list[tuple[str, Any]] = [("", value)]
    for _ in range(MOST_NESTED):
        deeper: list[tuple[str, Any]] = []
        for path, item in level:
            if isinstance(item, Foreign):
                foreign.setdefault(path, item.name)
            # Dictionaries may be referenced in several places, even by themselves.
            if not isinstance(item, dict) or id(item) in seen or len(found) == MOST_SETS:
                continue
            seen.add(id(item))
            tensors = {key: stored(x) for key, x in item.items() if isinstance(key, str)}
            held = {key: tensor for key, tensor in tensors.items() if tensor is not None}
            if held:
                found[path] = held
            for key, inner in item.items():
                if isinstance(inner, (dict, Foreign)) and len(str(key)) <= MOST_CHARACTERS:
                    deeper.append((f"{path}.{key}" if path else str(key), inner))
        level = deeper
    if not found:
        raise _without_tensors(value, foreign)
    return found


def _without_tensors(value: Any, foreign: Mapping[str, str]) -> Unreadable:
    objects = {path: name for path, name in foreign.items() if path in ("", *_USUAL, "ema")}
    for path, name in objects.items():
        under = f" under {show(path)}" if path else ""
        class_name = show(name)[1:-1]
        return Unreadable(f"holds an object of class {class_name}{under}, and nothing of a file is executed; {_SAVE}")
    if not isinstance(value, dict):
        return Unreadable(f"holds no state_dict; {_SAVE}")
    held = f"; it has {listed(map(str, islice(value, _MOST_SHOWN)), 'and')}" if value else ""
    return Unreadable(f"holds no tensors{held}; {_SAVE}")


def chosen(sets: Sets, key: str | None) -> Archive:
    """The network's tensors: those under ``key``, or without a key the only plausible set.

    Raises Unreadable if there are several, such as weights and their moving average.
    """
    if key is not None:
        return _under(sets, key)
    wanted = {path: tensors for path, tensors in sets.items() if not _OF_TRAINING.search(path)} or dict(sets)
    # Numbers next to the sets, such as the number of epochs.
    wanted = {path: t for path, t in wanted.items() if any(math.prod(x.shape) != 1 for x in t.values())} or wanted
    averaged = [path for path in wanted if _AVERAGED.search(path)]
    usual = [path for path in _USUAL if path in wanted]
    best = [] if averaged else usual if len(usual) == 1 else [""] if "" in wanted else []
    if best or len(wanted) == 1:
        return wanted[next(iter(best or wanted))]
    named = listed(islice(wanted, _MOST_SHOWN), "and")
    average = f"{listed(averaged[:_MOST_SHOWN], 'and')} should be their moving average (EMA); " if averaged else ""
    raise Unreadable(f'holds several state_dicts, {named}; {average}say which with weights_key = "..." in [model]')


def _under(sets: Sets, key: str) -> Archive:
    """The tensors whose full names, with the keys that lead to their set, start with ``key`` and a dot."""
    found: dict[str, Stored] = {}
    for path, tensors in sets.items():
        for name, tensor in tensors.items():
            whole = f"{path}.{name}" if path else name
            if whole.startswith(f"{key}."):
                found[whole.removeprefix(f"{key}.")] = tensor
    if not found:
        paths = [path for path in sets if path] or sorted({name.partition(".")[0] for name in sets[""]})
        held = listed(paths[:_MOST_SHOWN], "and") + (", ..." if len(paths) > _MOST_SHOWN else "")
        raise Unreadable(f"has no tensors under weights_key = {show(key)}; it has {held}")
    return found
