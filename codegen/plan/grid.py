"""The work-items of a launch."""

from __future__ import annotations

import math
from dataclasses import dataclass

Three = tuple[int, int, int]


@dataclass(frozen=True)
class Grid:
    """``groups`` work-groups along each axis, of ``local`` work-items each."""

    groups: Three
    local: Three = (1, 1, 1)

    def __post_init__(self) -> None:
        assert min(self.groups) >= 1 and min(self.local) >= 1, self

    @property
    def items(self) -> Three:
        """Work-items along each axis: OpenCL's global size."""
        x, y, z = (n * m for n, m in zip(self.groups, self.local, strict=True))
        return x, y, z

    @property
    def count(self) -> int:
        """Work-items in all."""
        return math.prod(self.items)

    @property
    def group(self) -> int:
        """Work-items of a work-group."""
        return math.prod(self.local)

    @property
    def single(self) -> bool:
        """True if every work-group has one work-item."""
        return self.local == (1, 1, 1)
