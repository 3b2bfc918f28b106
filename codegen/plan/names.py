"""Names in the generated C."""

from __future__ import annotations

import itertools
import re


class Names:
    """C identifiers with the model's prefix, each used once."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.taken = {f"{model}_network".lower()}  # the persistent kernel

    def new(self, text: str, suffixes: tuple[str, ...] = (), node: str = "") -> str:
        """A free name that is also free with each of the suffixes.

        If the text is taken, the name of the ``node`` is added to it, and if that is taken too, a number.
        """
        start = f"{self.model}_{_identifier(text)}"
        longer = f"{start}_{_identifier(node)}" if node else start
        for name in itertools.chain([start, longer], (f"{longer}_{k}" for k in itertools.count(2))):
            family = {n.lower() for n in (name, *(f"{name}_{suffix}" for suffix in suffixes))}
            if not family & self.taken:
                self.taken |= family
                return name
        raise AssertionError("not reached")


def _identifier(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_")
