"""Names in the generated C."""

from __future__ import annotations

import itertools
import re


class Names:
    """C identifiers with the model's prefix, each used once."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.taken = {f"{model}_network".lower()}  # the persistent kernel

    def new(self, text: str, suffixes: tuple[str, ...] = ()) -> str:
        """A free name that is also free with each of the suffixes."""
        name = f"{self.model}_" + re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_")
        for k in itertools.count(2):
            family = {n.lower() for n in (name, *(f"{name}_{suffix}" for suffix in suffixes))}
            if not family & self.taken:
                self.taken |= family
                break
            name = re.sub(r"(_v\d+)?$", f"_v{k}", name, count=1)
        return name
